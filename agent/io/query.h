/* query.h - reading a call's query: KEY=VALUE&KEY=VALUE, without escapes. */
#ifndef SKEIN_AGENT_IO_QUERY_H
#define SKEIN_AGENT_IO_QUERY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The value's beginning (it ends at '&' or NUL), or NULL; query may be NULL. */
static inline const char *query_find(const char *query, const char *key)
{
    size_t len = strlen(key);
    for (const char *p = query; p != NULL && *p != '\0'; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncmp(p, key, len) == 0 && p[len] == '=')
            return p + len + 1;
    }
    return NULL;
}

static inline uint64_t query_number(const char *query, const char *key, uint64_t fallback)
{
    const char *value = query_find(query, key);
    return value != NULL ? strtoull(value, NULL, 10) : fallback;
}

#endif
