/* state_parts.h - what making a move (state.c) and the counting of the whole (state_begin.c) share.
 * Pure; internal to the state. */
#ifndef SKEIN_PLANNER_CORE_STATE_PARTS_H
#define SKEIN_PLANNER_CORE_STATE_PARTS_H

#include <math.h>

#include "planner/core/state.h"
#include "proto/err.h"
#include "proto/util.h"

/* ---- counts of a set by domain ---- */

static inline uint32_t spread_bits(int domain)
{
    return (uint32_t)domain * 2654435769U >> 7;
}

static inline int32_t counts_get(const struct state_counts *c, int domain)
{
    if (c->keys == NULL)
        return c->counts[domain];
    uint32_t at = spread_bits(domain);
    for (uint32_t i = 0; i <= c->mask; i++, at++) {
        if (c->keys[at & c->mask] == domain)
            return c->counts[at & c->mask];
        if (c->keys[at & c->mask] < 0)
            return 0;
    }
    return 0;
}

/* The counter to change; a domain that is new takes a free slot, or one whose count is 0. There are
 * twice as many slots as members, so there is one. */
static inline int32_t *counts_slot(struct state_counts *c, int domain)
{
    if (c->keys == NULL)
        return &c->counts[domain];
    uint32_t at = spread_bits(domain), reuse = UINT32_MAX;
    for (uint32_t i = 0; i <= c->mask; i++, at++) {
        uint32_t slot = at & c->mask;
        if (c->keys[slot] == domain)
            return &c->counts[slot];
        if (c->counts[slot] == 0 && reuse == UINT32_MAX)
            reuse = slot;
        if (c->keys[slot] < 0)
            break;
    }
    REQUIRE(reuse != UINT32_MAX);
    c->keys[reuse] = domain;
    return &c->counts[reuse];
}

/* ---- costs ---- */

static inline int64_t load_cost(const struct instance *in, int host, const int64_t *use)
{
    const int64_t *safety = &in->safety[(size_t)host * (size_t)in->n_resources];
    int64_t cost = 0;
    for (int r = 0; r < in->n_resources; r++)
        if (in->resource[r].load_weight != 0 && use[r] > safety[r])
            cost += in->resource[r].load_weight * (use[r] - safety[r]);
    return cost;
}

static inline int64_t balance_cost(const struct instance *in, int host, const int64_t *use)
{
    const int64_t *capacity = &in->capacity[(size_t)host * (size_t)in->n_resources];
    int64_t cost = 0;
    for (int i = 0; i < in->n_balances; i++) {
        const struct inst_balance *b = &in->balances[i];
        int64_t lack = b->target * (capacity[b->r1] - use[b->r1]) - (capacity[b->r2] - use[b->r2]);
        if (lack > 0)
            cost += b->weight * lack;
    }
    return cost;
}

static inline int64_t cost_of_host(const struct instance *in, int host, const int64_t *use,
                                   int n_on)
{
    int64_t cost = load_cost(in, host, use) + balance_cost(in, host, use);
    if (in->open_cost != NULL && n_on > 0)
        cost += in->open_cost[host];
    return cost;
}

#define SHARE_UNIT 1e9

static inline int64_t share(int64_t use, int64_t base)
{
    int64_t scaled;
    if (base <= 0)
        return 0;
    if (!__builtin_mul_overflow(use, (int64_t)1000000000, &scaled))
        return scaled / base;
    return (int64_t)((__int128)use * 1000000000 / base);
}

static inline double deviation(const struct state_even *x)
{
    __int128 variance = x->squares * x->n - x->sum * x->sum; /* times n^2 */
    return variance > 0 ? sqrt((double)variance) / (SHARE_UNIT * x->n) : 0;
}

static inline void cost_even(const struct inst_even *e, struct state_even *x)
{
    x->deviation = x->n == 0 ? 0 : deviation(x);
    x->cost = (int64_t)(x->deviation * (double)e->weight);
}

/* ---- rules ---- */

static inline bool in_set(const struct state *s, int vm, int set)
{
    for (int i = s->vm_set_first[vm]; i < s->vm_set_first[vm + 1]; i++)
        if (s->vm_set[i] == set)
            return true;
    return false;
}

static inline void add_violations(struct state *s, int rule, int64_t d)
{
    const struct inst_rule *r = &s->in->rules[rule];
    if (d == 0)
        return;
    if (!r->hard) {
        s->cost += d * r->weight;
    } else {
        bool was = s->violations[rule] > s->violations_before[rule];
        bool is = s->violations[rule] + d > s->violations_before[rule];
        s->hard_violations += d;
        s->n_worse += is - was;
    }
    s->violations[rule] += d;
}

#endif
