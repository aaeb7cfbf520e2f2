/* random.h - numbers drawn from a seed, the same on every machine: integers; and exponentials
 * made with nothing but additions, multiplications and divisions, so that no libm's rounding
 * enters. xoshiro256** (Blackman and Vigna, 2018). */
#ifndef SKEIN_PLANNER_CORE_RANDOM_H
#define SKEIN_PLANNER_CORE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t s[4];
};

void random_seed(struct random *r, uint64_t seed);

static inline uint64_t random_bits(struct random *r)
{
    uint64_t *s = r->s, m = s[1] * 5, result = (m << 7 | m >> 57) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* 0 .. n-1; the bias of at most n / 2^32 does not matter to a search. */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
    return (uint32_t)((random_bits(r) >> 32) * n >> 32);
}

/* The quantile u, 0 < u < 1, of the exponential distribution of mean 1. */
double random_exponential_at(double u);

/* base^exponent for base > 0 and 0 <= exponent <= 1. */
double random_power(double base, double exponent);

#endif
