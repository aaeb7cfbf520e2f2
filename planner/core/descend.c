#include "planner/core/descend.h"

#include <string.h>

#include "planner/core/random.h"
#include "proto/util.h"

/* Up to here every pair is looked at in each round; beyond it the hosts most in need of losing and
 * best at taking, this many of each. */
#define PAIRS_MAX 200000
#define SOURCES 16
#define DESTINATIONS 24
/* How long the moves made are exchanged for better ones, in evaluations for each. */
#define POLISH_EACH 400

struct descent {
    struct state *s;
    const struct instance *in;
    const struct descend_conf *conf;
    int64_t end; /* evaluations */
    bool stopped;
    int *first_on, *next_on; /* VMs by host, linked */
    double *pressure;        /* [host] */
    int *sources, n_sources, *destinations, n_destinations;
    struct random rng;
};

static bool is_over(struct descent *x)
{
    if (!x->stopped && x->conf->stop != NULL && x->conf->stop(x->conf->stop_ctx))
        x->stopped = true;
    return x->stopped || x->s->evaluations >= x->end;
}

static bool may_move(const struct instance *in, int vm)
{
    return in->initial[vm] >= 0 && (in->fixed == NULL || !in->fixed[vm]) &&
           (in->joined == NULL || !in->joined[vm]);
}

/* ---- VMs by host ---- */

static void link_vm(struct descent *x, int vm, int host)
{
    x->next_on[vm] = x->first_on[host];
    x->first_on[host] = vm;
}

static void unlink_vm(struct descent *x, int vm, int host)
{
    int *at = &x->first_on[host];
    while (*at != vm)
        at = &x->next_on[*at];
    *at = x->next_on[vm];
}

static void move(struct descent *x, int vm, int host)
{
    unlink_vm(x, vm, x->s->at[vm]);
    state_move(x->s, vm, host);
    link_vm(x, vm, host);
}

/* ---- which hosts to look at ---- */

/* The slope of the objective in the host's use: how much it presses to lose something. */
static void find_pressure(struct descent *x)
{
    const struct state *s = x->s;
    const struct instance *in = x->in;
    for (int h = 0; h < in->n_hosts; h++) {
        x->pressure[h] = (double)s->host_cost[h];
        for (int i = 0; i < in->n_even; i++) {
            const struct inst_even *e = &in->even[i];
            if (e->base[h] <= 0 || s->even[i].deviation <= 0)
                continue;
            double use = (double)s->use[(size_t)h * (size_t)in->n_resources + (size_t)e->resource];
            x->pressure[h] += use / (double)e->base[h] * (double)e->weight /
                              (s->even[i].deviation * s->even[i].n);
        }
    }
}

/* Keep the `most` hosts of highest sign * pressure in list, best first. */
static void offer(struct descent *x, int *list, int *n, int most, int host, int sign)
{
    int at = *n < most ? (*n)++ : most;
    while (at > 0 && sign * x->pressure[host] > sign * x->pressure[list[at - 1]]) {
        if (at < most)
            list[at] = list[at - 1];
        at--;
    }
    if (at < most)
        list[at] = host;
}

static void choose_hosts(struct descent *x, int n_movable)
{
    const struct instance *in = x->in;
    bool all = (int64_t)n_movable * in->n_hosts <= PAIRS_MAX;
    int most_from = all ? in->n_hosts : SOURCES, most_to = all ? in->n_hosts : DESTINATIONS;
    x->n_sources = x->n_destinations = 0;
    if (!all)
        find_pressure(x);
    for (int h = 0; h < in->n_hosts; h++) {
        bool open = in->closed == NULL || !in->closed[h];
        if (all) {
            x->sources[x->n_sources++] = h;
            if (open)
                x->destinations[x->n_destinations++] = h;
            continue;
        }
        if (x->s->n_on[h] > 0)
            offer(x, x->sources, &x->n_sources, most_from, h, 1);
        if (open)
            offer(x, x->destinations, &x->n_destinations, most_to, h, -1);
    }
}

/* ---- one round ---- */

struct candidate {
    int vm, to;
    int64_t delta;
};

static bool same_demand(const struct instance *in, int v, int w)
{
    size_t n = (size_t)in->n_resources;
    return memcmp(&in->demand[(size_t)v * n], &in->demand[(size_t)w * n], n * sizeof(int64_t)) == 0;
}

/* With no rules and no pairs to tell them apart, one of a kind stands for all on its host. */
static bool has_twin_before(const struct descent *x, int vm, int first)
{
    const struct instance *in = x->in;
    if (in->allowed != NULL || in->pair_cost != NULL || in->n_rules > 0 || in->move_cost != NULL ||
        in->distance != NULL || in->service != NULL)
        return false;
    for (int v = first; v != vm; v = x->next_on[v])
        if (may_move(in, v) && same_demand(in, v, vm))
            return true;
    return false;
}

static void try_vm(struct descent *x, int vm, struct candidate *best)
{
    for (int i = 0; i < x->n_destinations; i++) {
        int to = x->destinations[i];
        if (to == x->s->at[vm])
            continue;
        if (!state_has_room(x->s, vm, to, NULL))
            continue;
        int64_t delta = state_cost_delta(x->s, vm, to);
        if (delta >= best->delta && !x->s->has_soft)
            continue;
        delta = state_delta(x->s, vm, to);
        if (delta < best->delta)
            *best = (struct candidate){vm, to, delta};
    }
}

static struct candidate best_move(struct descent *x, int n_movable)
{
    struct candidate best = {.vm = -1, .delta = 0};
    choose_hosts(x, n_movable);
    for (int i = 0; i < x->n_sources; i++) {
        int first = x->first_on[x->sources[i]];
        for (int vm = first; vm >= 0; vm = x->next_on[vm])
            if (may_move(x->in, vm) && !has_twin_before(x, vm, first))
                try_vm(x, vm, &best);
    }
    return best;
}

static bool worth_it(const struct descent *x, int64_t delta)
{
    const struct descend_conf *c = x->conf;
    bool asked = c->min_gain > 0 && (c->min_gain_below == 0 || x->s->cost < c->min_gain_below);
    return delta < 0 && (!asked || -delta >= c->min_gain);
}

static void steepest(struct descent *x, int n_movable)
{
    while (!is_over(x)) {
        struct candidate best = best_move(x, n_movable);
        if (best.vm < 0 || !worth_it(x, best.delta))
            break;
        bool is_new = x->s->at[best.vm] == x->in->initial[best.vm];
        if (is_new && x->conf->max_moves > 0 && x->s->n_moved >= x->conf->max_moves)
            break;
        move(x, best.vm, best.to);
    }
}

/* ---- the same number of moves, put to better use ---- */

static int list_moved(const struct descent *x, int *moved)
{
    int n = 0;
    for (int v = 0; v < x->in->n_vms; v++)
        if (x->in->initial[v] >= 0 && x->s->at[v] != x->in->initial[v])
            moved[n++] = v;
    return n;
}

/* v's move is replaced by one of u to the same or another host. */
static bool try_exchange(struct descent *x, int v, int u, int to)
{
    struct state *s = x->s;
    int was = s->at[v], home = x->in->initial[v], from = s->at[u];
    if (u == v || from == to || !state_has_room(s, v, home, NULL) ||
        state_broken_rule(s, v, home) >= 0)
        return false;
    int64_t before = s->cost;
    state_move(s, v, home);
    int64_t delta = state_delta(s, u, to);
    if (delta != STATE_INFEASIBLE && s->cost + delta < before) {
        state_move(s, u, to);
        if (s->cost < before && state_rules_hold(s)) {
            unlink_vm(x, v, was);
            link_vm(x, v, home);
            unlink_vm(x, u, from);
            link_vm(x, u, to);
            return true;
        }
        state_move(s, u, from);
    }
    state_move(s, v, was);
    return false;
}

static bool try_retarget(struct descent *x, int v, int to)
{
    if (x->s->at[v] == to)
        return false;
    int64_t delta = state_delta(x->s, v, to);
    if (delta == STATE_INFEASIBLE || delta >= 0)
        return false;
    move(x, v, to);
    return true;
}

static bool try_cross(struct descent *x, int v, int w)
{
    struct state *s = x->s;
    int a = s->at[v], b = s->at[w];
    if (a == b || !state_swap_fits(s, v, w) || state_swap_delta(s, v, w) >= 0)
        return false;
    const struct instance *in = x->in;
    const int pair[2][2] = {{v, b}, {w, a}};
    for (int k = 0; k < 2; k++)
        if (in->allowed != NULL && pair[k][1] != in->initial[pair[k][0]] &&
            !in->allowed(in->allowed_ctx, pair[k][0], pair[k][1]))
            return false;
    int64_t before = s->cost;
    move(x, v, b);
    move(x, w, a);
    if (state_rules_hold(s) && s->cost < before)
        return true;
    move(x, w, b);
    move(x, v, a);
    return false;
}

static void polish(struct descent *x)
{
    const struct instance *in = x->in;
    _cleanup_(freep) int *moved = xcalloc((size_t)in->n_vms + 1, sizeof *moved);
    int n = list_moved(x, moved);
    int64_t end = MIN(x->end, x->s->evaluations + (int64_t)POLISH_EACH * n);
    for (int64_t tries = 0; n > 1 && x->n_destinations > 0; tries++) {
        if (x->s->evaluations >= end || tries > (int64_t)4 * POLISH_EACH * n ||
            (tries % 256 == 0 && is_over(x)))
            break;
        int v = moved[random_below(&x->rng, (uint32_t)n)];
        int to = x->destinations[random_below(&x->rng, (uint32_t)x->n_destinations)];
        bool changed = false;
        switch (random_below(&x->rng, 4)) {
        case 0:
            changed = try_retarget(x, v, to);
            break;
        case 1:
            changed = try_cross(x, v, moved[random_below(&x->rng, (uint32_t)n)]);
            break;
        default: {
            int u = (int)random_below(&x->rng, (uint32_t)in->n_vms);
            if (random_below(&x->rng, 2) == 0)
                to = x->s->at[v];
            changed = may_move(in, u) && x->s->at[u] == in->initial[u] && try_exchange(x, v, u, to);
            break;
        }
        }
        if (changed)
            n = list_moved(x, moved);
    }
}

/* Moves that later ones made needless: back home where that costs nothing, or less than a move must
 * gain and no more than the exchange of moves has saved since the cost was `limit`. */
static void take_back(struct descent *x, int64_t limit)
{
    const struct instance *in = x->in;
    for (int v = 0; v < in->n_vms; v++) {
        int home = in->initial[v];
        if (home < 0 || x->s->at[v] == home)
            continue;
        int64_t delta = state_has_room(x->s, v, home, NULL) && state_broken_rule(x->s, v, home) < 0
                            ? state_cost_delta(x->s, v, home) + state_soft_delta(x->s, v, home)
                            : STATE_INFEASIBLE;
        if (delta <= 0 || (delta < x->conf->min_gain && delta <= limit - x->s->cost))
            move(x, v, home);
    }
}

bool planner_descend(struct state *s, const struct descend_conf *conf)
{
    const struct instance *in = s->in;
    struct descent x = {.s = s, .in = in, .conf = conf, .end = s->evaluations + conf->effort};
    size_t hosts = (size_t)in->n_hosts + 1, vms = (size_t)in->n_vms + 1;
    x.first_on = xcalloc(hosts, sizeof *x.first_on);
    x.next_on = xcalloc(vms, sizeof *x.next_on);
    x.pressure = xcalloc(hosts, sizeof *x.pressure);
    x.sources = xcalloc(hosts, sizeof *x.sources);
    x.destinations = xcalloc(hosts, sizeof *x.destinations);
    memset(x.first_on, 0xff, hosts * sizeof *x.first_on);
    random_seed(&x.rng, conf->seed);
    int n_movable = 0;
    for (int v = in->n_vms - 1; v >= 0; v--) {
        if (s->at[v] >= 0)
            link_vm(&x, v, s->at[v]);
        n_movable += may_move(in, v);
    }
    steepest(&x, n_movable);
    int64_t limit = s->cost;
    polish(&x);
    take_back(&x, limit);
    free(x.first_on);
    free(x.next_on);
    free(x.pressure);
    free(x.sources);
    free(x.destinations);
    return !x.stopped;
}
