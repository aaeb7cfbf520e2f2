#include "planner/worker/pool.h"

#include <stdlib.h>
#include <string.h>

#include "proto/util.h"

#define SLAB_BYTES ((size_t)128 << 10)

/* A sanitizer watches malloc's memory only. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define POOLED_MAX 0
#else
#define POOLED_MAX POOL_MAX
#endif

struct pool_free {
    struct pool_free *next;
};

struct pool_slab {
    struct pool_slab *next;
    char pad[POOL_LINE - sizeof(struct pool_slab *)];
    char data[];
};

void pool_done(struct pool *p)
{
    while (p->slabs != NULL) {
        struct pool_slab *next = p->slabs->next;
        free(p->slabs);
        p->slabs = next;
    }
    *p = (struct pool){0};
}

static bool is_small(size_t size)
{
    return size <= POOL_LINE - POOL_FINE;
}

static size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

size_t pool_size(size_t size)
{
    if (size > POOLED_MAX)
        return size;
    return round_up(size, is_small(size) ? POOL_FINE : POOL_LINE);
}

static size_t class_of(size_t size)
{
    return is_small(size) ? (size - 1) / POOL_FINE
                          : POOL_LINE / POOL_FINE - 2 + (size + POOL_LINE - 1) / POOL_LINE;
}

static void *take(struct pool *p, size_t size)
{
    struct pool_free **list = &p->free[class_of(size)], *found = *list;
    if (found != NULL) {
        *list = found->next;
        return found;
    }
    bool small = is_small(size);
    size = pool_size(size);
    if ((size_t)(p->end[small] - p->at[small]) < size) {
        struct pool_slab *slab = aligned_alloc(POOL_LINE, SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        slab->next = p->slabs;
        p->slabs = slab;
        p->at[small] = slab->data;
        p->end[small] = (char *)slab + SLAB_BYTES;
    }
    void *got = p->at[small];
    p->at[small] += size;
    return got;
}

void pool_free(struct pool *p, void *old, size_t old_size)
{
    if (old == NULL)
        return;
    if (old_size > POOLED_MAX) {
        free(old);
        return;
    }
    struct pool_free *f = old, **list = &p->free[class_of(old_size)];
    f->next = *list;
    *list = f;
}

void *pool_realloc(struct pool *p, void *old, size_t old_size, size_t size)
{
    bool was = old != NULL && old_size <= POOLED_MAX, is = size <= POOLED_MAX;
    if (!is && !was)
        return realloc(old, size);
    if (was && is && pool_size(old_size) == pool_size(size))
        return old;
    void *got = is ? take(p, size) : malloc(size);
    if (got == NULL && old != NULL && size <= old_size)
        return old; /* Lua does not expect that less is not to be had */
    if (got != NULL && old != NULL) {
        memcpy(got, old, MIN(old_size, size));
        pool_free(p, old, old_size);
    }
    return got;
}
