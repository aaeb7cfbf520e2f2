#include "proto/util.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/err.h"

static _Noreturn void out_of_memory(size_t size)
{
    fprintf(stderr, "skein: out of memory (%zu bytes wanted)\n", size);
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size == 0 ? 1 : size);
    if (p == NULL)
        out_of_memory(size);
    return p;
}

/* Debian 12's calloc passes malloc's cache of small pieces by, and what it takes comes back into
 * it: twice as slow as this. */
#define SMALL 1024

void *xcalloc(size_t n, size_t size)
{
    size_t bytes;
    if (!__builtin_mul_overflow(n, size, &bytes) && bytes <= SMALL)
        return memset(xmalloc(bytes), 0, bytes);
    void *p = calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);
    if (p == NULL)
        out_of_memory(n * size);
    return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
    void *q = reallocarray(p, n == 0 ? 1 : n, size);
    if (q == NULL)
        out_of_memory(n * size);
    return q;
}

char *xstrdup(const char *s)
{
    return xmemdup(s, strlen(s) + 1);
}

void *xmemdup(const void *p, size_t size)
{
    void *q = xmalloc(size);
    if (size > 0)
        memcpy(q, p, size);
    return q;
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0 || s == NULL)
        out_of_memory(0);
    return s;
}

void array_reserve(void **array, size_t *cap, size_t need, size_t item_size)
{
    if (need <= *cap)
        return;
    size_t n = MAX(MAX(need, *cap + *cap / 2), (size_t)8);
    *array = xrealloc(*array, n, item_size);
    *cap = n;
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    REQUIRE(n >= 0);
    ARRAY_RESERVE(b->data, b->cap, b->len + (size_t)n + 1);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

char *buf_take(struct buf *b)
{
    char *s = b->data != NULL ? b->data : xstrdup("");
    *b = (struct buf){0};
    return s;
}

/* Optimal string alignment distance; words longer than the table are never near. */
static size_t word_distance(const char *a, const char *b)
{
    enum { WORD_MAX = 48 };

    size_t la = strlen(a), lb = strlen(b);
    if (la >= WORD_MAX || lb >= WORD_MAX)
        return SIZE_MAX;
    size_t d[WORD_MAX][WORD_MAX];
    for (size_t i = 0; i <= la; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= lb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= la; i++)
        for (size_t j = 1; j <= lb; j++) {
            size_t cost = a[i - 1] != b[j - 1];
            size_t best = MIN(MIN(d[i - 1][j] + 1, d[i][j - 1] + 1), d[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    return d[la][lb];
}

const char *nearest_word(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t limit = MAX(strlen(word) / 3, (size_t)1), best_distance = limit + 1;
    for (; *names != NULL; names++) {
        size_t distance = word_distance(word, *names);
        if (distance < best_distance) {
            best = *names;
            best_distance = distance;
        }
    }
    return best;
}
