/* state.h - an assignment of VMs to hosts with everything counted, so that a move costs
 * O(resources + rules of the VM) to judge and to make. Pure. */
#ifndef SKEIN_PLANNER_CORE_STATE_H
#define SKEIN_PLANNER_CORE_STATE_H

#include <stddef.h>

#include "planner/core/instance.h"

#define STATE_INFEASIBLE INT64_MAX

/* Counts of one set by domain: a direct table, or a small hash where domains are many. */
struct state_counts {
    int32_t *keys; /* NULL: direct */
    int32_t *counts;
    uint32_t mask; /* of the hash */
    int distinct;
};

struct state_even {
    __int128 sum, squares; /* of shares in parts per 10^9 */
    int n;                 /* hosts that count */
    double deviation;      /* of the shares */
    int64_t cost;
};

struct state {
    const struct instance *in;
    int *at;            /* [vm] host, or -1 */
    int64_t *use;       /* [host * R + r] by the VMs there */
    int64_t *held;      /* [host * R + r] by VMs that left it (transient resources) */
    int *n_on;          /* [host] VMs there */
    int64_t *host_cost; /* [host] */
    int *service_moves;
    int *moves_histogram; /* [moves] services with so many */
    int most_moves;
    int64_t cost; /* of everything but hard violations */
    int n_moved;

    struct state_counts *counts;             /* [set] */
    int64_t *violations, *violations_before; /* [rule] */
    int64_t hard_violations;
    int n_worse;   /* hard rules with more violations than at the start */
    int *alone_on; /* [host] rules of kind ALONE with members there */
    struct state_even even[INSTANCE_EVEN_MAX];

    /* Where to look things up. */
    int *vm_set_first, *vm_set;     /* [n_vms + 1] */
    int *set_rule_first, *set_rule; /* rule index; ~index where the set is its `other` */
    int *alone_rules, n_alone_rules;
    bool has_soft; /* there are soft rules */
    int64_t evaluations;
};

struct state *search_state_new(const struct instance *in);

/* Another one of the same instance, at the same assignment, with the same rules to hold. */
struct state *state_copy(const struct state *s);
void search_state_free(struct state *s);

static inline void search_state_freep(struct state **s)
{
    search_state_free(*s);
}

/* Room on the host for the VM's demand, capacity alone. The resource that lacks it in *ret_resource
 * (NULL allowed). */
bool state_has_room(const struct state *s, int vm, int host, int *ret_resource);

/* The change of cost were vm on host; STATE_INFEASIBLE where capacity, rules or the pair forbid. */
int64_t state_delta(struct state *s, int vm, int host);

/* The cost's change alone, whatever the rules say. */
int64_t state_cost_delta(struct state *s, int vm, int host);

/* The change of soft rules' cost alone. */
int64_t state_soft_delta(const struct state *s, int vm, int host);

/* Two VMs changing places: room for both, counting that they go; the change of cost, soft rules
 * left out; whether a set has both (then the rules must be judged by making the moves). */
bool state_swap_fits(const struct state *s, int v, int w);
int64_t state_swap_delta(struct state *s, int v, int w);
bool state_share_set(const struct state *s, int v, int w);

/* Two parts of those changes, for searches that judge load and room themselves: what the VM's own
 * way costs more; what evenness does once v is on host and w (-1: none) where v was. */
static inline int64_t state_travel_delta(const struct state *s, int vm, int host);
int64_t state_even_delta(const struct state *s, int v, int host, int w);

/* The first hard rule that would have more violations than both now and at the start, or -1. */
int state_broken_rule(const struct state *s, int vm, int host);

/* The first hard rule that would be broken while these VMs move together to host, being at both
 * ends (kept apart, or alone); or -1. Slow: for VMs that move as one. */
int state_broken_during(const struct state *s, const int *vms, int n, int host);

/* Make the move, whatever the rules say. */
void state_move(struct state *s, int vm, int host);

/* A VM that was nowhere (at -1) comes to host, or goes back to nowhere (host -1). Slow: rules of
 * the VM are counted anew. */
void state_put(struct state *s, int vm, int host);

/* Is every host that got a VM within its capacity, and no hard rule worse than at the start? */
static inline bool state_rules_hold(const struct state *s)
{
    return s->n_worse == 0;
}

bool state_host_fits(const struct state *s, int host);

int64_t state_count(const struct state *s, int set, int domain);

/* From here on no rule may have more violations than it has now. */
void state_ratchet(struct state *s);

/* Take over another state's assignment (of the same instance). */
void state_assign(struct state *s, const int *at);

/* ---- looked at for every move: inline ---- */

/* What being on host instead of at home costs. */
static inline int64_t state_away_cost(const struct instance *in, int vm, int host)
{
    int home = in->initial[vm];
    if (host == home)
        return 0;
    int64_t cost = in->move_cost != NULL ? in->move_cost[vm] : 0;
    if (in->distance != NULL)
        cost +=
            in->distance_weight * in->distance[(size_t)home * (size_t)in->n_hosts + (size_t)host];
    if (in->pair_cost != NULL)
        cost += in->pair_cost(in->pair_ctx, vm, host);
    return cost;
}

/* The most moves of any service, were vm's to have `change` more, less the most now. */
static inline int64_t state_service_delta(const struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    if (in->service_weight == 0 || in->service == NULL)
        return 0;
    int change = (host != in->initial[vm]) - (s->at[vm] != in->initial[vm]);
    int moves = s->service_moves[in->service[vm]];
    if (change == 0 || moves + (change > 0) < s->most_moves)
        return 0;
    if (change > 0)
        return moves + 1 > s->most_moves ? in->service_weight : 0;
    return s->moves_histogram[moves] == 1 ? -in->service_weight : 0;
}

static inline int64_t state_travel_delta(const struct state *s, int vm, int host)
{
    return state_away_cost(s->in, vm, host) - state_away_cost(s->in, vm, s->at[vm]) +
           state_service_delta(s, vm, host);
}

#endif
