/* util.h - the few idioms that every file uses: cleanup attributes, ownership, sizes. */
#ifndef SKEIN_PROTO_UTIL_H
#define SKEIN_PROTO_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#undef MIN /* sys/param.h has them too */
#undef MAX
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Hand a pointer over: yields it and leaves NULL, so that a cleanup has nothing to do. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ptr_ = (p);                                                             \
        (p) = NULL;                                                                                \
        take_ptr_;                                                                                 \
    })

/* Define NAMEp(TYPE **), for use as _cleanup_(NAMEp), from NAME(TYPE *). */
#define DEFINE_CLEANUP(type, name)                                                                 \
    static inline void name##p(type **p)                                                           \
    {                                                                                              \
        if (*p != NULL)                                                                            \
            name(*p);                                                                              \
    }

static inline void freep(void *p)
{
    free(*(void **)p);
}

/* Memory for our own bookkeeping: running out of it ends the process with a clear line. Sizes that
 * peers or files choose are bounded before they come here. */
void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));
void *xmemdup(const void *p, size_t size) __attribute__((malloc, returns_nonnull));

/* Grow *array (items of item_size, capacity *cap) to hold at least need items. */
void array_reserve(void **array, size_t *cap, size_t need, size_t item_size);
#define ARRAY_RESERVE(array, cap, need)                                                            \
    array_reserve((void **)&(array), &(cap), (need), sizeof *(array))

/* A growing byte string, always NUL-terminated once something was added. Init with {0}. */
struct buf {
    char *data; /* owned; NULL while empty */
    size_t len, cap;
};

void buf_done(struct buf *b);

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (b->cap - b->len <= n)
        ARRAY_RESERVE(b->data, b->cap, b->len + n + 1);
    if (n > 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *
buf_take(struct buf *b); /* the string, "" when empty; the caller frees it; b is empty after */

/* The entry of names[] (NULL-terminated) nearest to word, or NULL when none is near enough to be
 * what was meant. Damerau-Levenshtein distance of at most a third of the word, at least 1. */
const char *nearest_word(const char *word, const char *const *names);

#endif
