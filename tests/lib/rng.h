/* rng.h - chance from a seed: the same on every machine. SplitMix64 (Steele, Lea, Flood, OOPSLA
 * 2014). */
#ifndef SKEIN_TESTS_LIB_RNG_H
#define SKEIN_TESTS_LIB_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 to n - 1. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

static inline int64_t rng_between(struct rng *r, int64_t low, int64_t high)
{
    return low + (int64_t)rng_below(r, (uint64_t)(high - low + 1));
}

/* True so many times in a hundred thousand. */
static inline bool rng_chance(struct rng *r, unsigned in_100000)
{
    return rng_below(r, 100000) < in_100000;
}

#endif
