/* pool.h - memory for Lua: many small objects that are looked at in no order.
 * What holds a table begins with a cache line, so that looking at it takes one and not two, and
 * what is made together lies together. Bytes given back are used again for the same size only. */
#ifndef SKEIN_PLANNER_WORKER_POOL_H
#define SKEIN_PLANNER_WORKER_POOL_H

#include <stddef.h>

#define POOL_LINE 64  /* bytes of a cache line */
#define POOL_FINE 16  /* sizes up to POOL_LINE - POOL_FINE are multiples of it */
#define POOL_MAX 1024 /* larger ones are malloc's */
#define POOL_CLASSES (POOL_LINE / POOL_FINE - 1 + POOL_MAX / POOL_LINE)

struct pool {
    struct pool_free *free[POOL_CLASSES];
    struct pool_slab *slabs;
    char *at[2], *end[2]; /* what is left of the newest slab: of small sizes, of others */
};

/* Zeros are an empty pool. Everything of it ends with it. */
void pool_done(struct pool *p);

/* What size bytes take of the memory, at least size; 0 of 0. */
size_t pool_size(size_t size);

/* As realloc(), with the size that it had; NULL where there is no memory. */
void *pool_realloc(struct pool *p, void *old, size_t old_size, size_t size);
void pool_free(struct pool *p, void *old, size_t old_size);

#endif
