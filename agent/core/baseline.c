#include "agent/core/baseline.h"

#include <stdio.h>

#include "proto/codec.h"

void baseline_add(struct baseline *b, const char *kind, const char *subject, const char *value)
{
    char line[CODEC_NAME_MAX + 1];
    snprintf(line, sizeof line, "%s %s=%s", kind, subject, value);
    if (b->n == BASELINE_LINES_MAX || !codec_text_ok(line, CODEC_NAME_MAX))
        return;
    b->lines = xrealloc(b->lines, b->n + 1, sizeof *b->lines);
    b->lines[b->n++] = xstrdup(line);
}

void baseline_done(struct baseline *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->lines[i]);
    free(b->lines);
    *b = (struct baseline){0};
}

/* The value of what line is about; NULL: it is not there. */
static const char *find(const struct baseline *b, const char *line, size_t key)
{
    for (size_t i = 0; i < b->n; i++)
        if (strncmp(b->lines[i], line, key) == 0 && b->lines[i][key] == '=')
            return b->lines[i] + key + 1;
    return NULL;
}

static void add_difference(struct buf *b, const char *line, size_t key, const char *now)
{
    const char *subject = memchr(line, ' ', key);
    subject = subject != NULL ? subject + 1 : line;
    buf_addf(b, "%s%.*s was %s, ", b->len > 0 ? "; " : "", (int)(key - (size_t)(subject - line)),
             subject, line[key] != '\0' ? line + key + 1 : "");
    if (now != NULL)
        buf_addf(b, "is %s", now);
    else
        buf_adds(b, "is gone");
}

void baseline_compare(char *const *before, size_t n_before, const struct baseline *after,
                      struct buf *changed, struct buf *wrong)
{
    for (size_t i = 0; i < n_before && after->n > 0; i++) {
        const char *line = before[i];
        size_t key = strcspn(line, "=");
        const char *now = find(after, line, key);
        bool same = line[key] == '=' && now != NULL && strcmp(now, line + key + 1) == 0;
        if (same || (now == NULL && strncmp(line, "run ", 4) == 0))
            continue;
        add_difference(strncmp(line, "def ", 4) == 0 ? wrong : changed, line, key, now);
    }
}
