#include "planner/core/walk.h"

#include <string.h>

#include "planner/core/random.h"
#include "planner/core/relax.h"
#include "proto/util.h"

/* Shares of tries in percent, by trial on the published instances: swaps; of VMs, those drawn from
 * the dearer of two hosts; of shifts, home and to a host of the same domain; of swaps, with a VM at
 * one's home and with one of the same domain. */
#define SWAPS 70
#define FROM_DEARER 30
#define SHIFTS_HOME 5
#define SHIFTS_NEAR 30
#define SWAPS_HOME 40
#define SWAPS_NEAR 20
/* Price of a unit above capacity, in units above the safety level, at the beginning and the end;
 * and from which part of the way on none is left standing. */
#define PRICE_FIRST 3.0
#define PRICE_LAST 10000.0
#define PRICE_FORBIDS 1e8
#define FORBID_FROM 0.8
/* Most of the way goes down to this share of the first temperature, where what is large settles;
 * the rest to the last one, for what is small; the very last is downhill only. */
#define SETTLED 0.01
#define SETTLE_UNTIL 0.7
#define QUENCH_FROM 0.96
/* Making room: tries of 65536; hosts the VM is drawn from, the dearest counting; VMs passed on at
 * most, and hosts looked at for each. */
#define ROOM_SHARE 30
#define ROOM_FROM 0.4 /* of the way: while it is warm, large VMs find their way themselves */
#define ROOM_DEAREST 16
#define PASSED_ON_MAX 40
#define PASSED_ON_HOSTS 20
/* Temperature and price are set anew every so many tries. */
#define STRIDE 1024
#define CHANGES_MAX 4096
#define EXPONENTIALS 4096

struct walk {
    const struct ground *g;
    const struct instance *in;
    struct state *s;
    struct relax *relax;
    struct random rng;
    int **on, *n_on, *cap_on; /* [host] VMs there that may move */
    int *place;               /* [vm] in that list */
    int *best;                /* assignment */
    int64_t best_cost;
    int *changed, n_changed; /* VMs moved since `best` was taken; -1: too many */
    double warm, cold;
    int64_t done, length; /* evaluations since the beginning, and in all */
    double exponential[EXPONENTIALS];
};

/* ---- the ground ---- */

/* Where the scope's domains begin in near_first; each scope has one entry more than domains. */
static int scope_offset(const struct instance *in, int scope)
{
    int n = 0;
    for (int k = 1; k < scope; k++)
        n += in->n_domains[k] + 1;
    return n;
}

/* Hosts sorted by domain, for each scope but the first. */
static void find_near(struct ground *g)
{
    const struct instance *in = g->in;
    g->near = xcalloc((size_t)in->n_scopes + 1, sizeof *g->near);
    g->near_first = xcalloc((size_t)scope_offset(in, in->n_scopes) + 1, sizeof *g->near_first);
    for (int k = 1; k < in->n_scopes; k++) {
        int *first = &g->near_first[scope_offset(in, k)];
        g->near[k] = xcalloc((size_t)in->n_hosts + 1, sizeof(int));
        for (int h = 0; h < in->n_hosts; h++)
            first[in->domain[k][h] + 1]++;
        for (int d = 0; d < in->n_domains[k]; d++)
            first[d + 1] += first[d];
        _cleanup_(freep) int *fill = xmemdup(first, ((size_t)in->n_domains[k] + 1) * sizeof *fill);
        for (int h = 0; h < in->n_hosts; h++)
            g->near[k][fill[in->domain[k][h]]++] = h;
    }
}

void ground_init(struct ground *g, const struct instance *in)
{
    *g = (struct ground){.in = in};
    g->vms = xcalloc((size_t)in->n_vms + 1, sizeof *g->vms);
    g->hosts = xcalloc((size_t)in->n_hosts + 1, sizeof *g->hosts);
    for (int v = 0; v < in->n_vms; v++)
        if (in->initial[v] >= 0 && (in->fixed == NULL || !in->fixed[v]) &&
            (in->joined == NULL || !in->joined[v]))
            g->vms[g->n_vms++] = v;
    for (int h = 0; h < in->n_hosts; h++)
        if (in->closed == NULL || !in->closed[h])
            g->hosts[g->n_hosts++] = h;
    for (int r = 0; r < in->n_resources; r++)
        g->transient = g->transient || in->resource[r].transient;
    find_near(g);
}

void ground_done(struct ground *g)
{
    for (int k = 1; k < g->in->n_scopes; k++)
        free(g->near[k]);
    void *const owned[] = {g->vms, g->hosts, g->near, g->near_first};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}

/* ---- remembering the best ---- */

static void note_change(struct walk *x, int vm)
{
    if (x->n_changed >= 0 && x->n_changed < CHANGES_MAX)
        x->changed[x->n_changed++] = vm;
    else
        x->n_changed = -1;
}

static void keep_best(struct walk *x)
{
    x->best_cost = x->s->cost;
    if (x->n_changed < 0)
        memcpy(x->best, x->s->at, (size_t)x->in->n_vms * sizeof *x->best);
    for (int i = 0; i < x->n_changed; i++)
        x->best[x->changed[i]] = x->s->at[x->changed[i]];
    x->n_changed = 0;
}

int64_t walk_best_cost(const struct walk *x)
{
    return x->best_cost;
}

const int *walk_best(const struct walk *x)
{
    return x->best;
}

/* ---- VMs by host ---- */

static void list_vm(struct walk *x, int vm, int host)
{
    size_t cap = (size_t)x->cap_on[host];
    ARRAY_RESERVE(x->on[host], cap, (size_t)x->n_on[host] + 1);
    x->cap_on[host] = (int)cap;
    x->place[vm] = x->n_on[host];
    x->on[host][x->n_on[host]++] = vm;
}

static void move(struct walk *x, int vm, int host)
{
    int from = x->s->at[vm];
    if (from == host)
        return;
    relax_move(x->relax, vm, host);
    int last = x->on[from][--x->n_on[from]];
    x->on[from][x->place[vm]] = last;
    x->place[last] = x->place[vm];
    list_vm(x, vm, host);
    note_change(x, vm);
}

void walk_go_to_best(struct walk *x)
{
    walk_adopt(x, x->best);
}

void walk_adopt(struct walk *x, const int *at)
{
    for (int i = 0; i < x->g->n_vms; i++)
        move(x, x->g->vms[i], at[x->g->vms[i]]);
    if (relax_fits(x->relax) && x->s->cost <= x->best_cost)
        keep_best(x);
}

/* ---- one try ---- */

static int draw(struct walk *x, int n)
{
    return (int)random_below(&x->rng, (uint32_t)n);
}

static bool pair_ok(const struct walk *x, int vm, int host)
{
    const struct instance *in = x->in;
    if (host == in->initial[vm])
        return true;
    return !relax_is_closed(x->relax, host) &&
           (in->allowed == NULL || in->allowed(in->allowed_ctx, vm, host));
}

static bool try_shift(struct walk *x, int vm, int host, double threshold)
{
    struct state *s = x->s;
    if (s->at[vm] == host)
        return false;
    double delta = relax_shift_delta(x->relax, vm, host);
    if (s->has_soft)
        delta += (double)state_soft_delta(s, vm, host);
    if (delta > threshold || state_broken_rule(s, vm, host) >= 0 || !pair_ok(x, vm, host))
        return false;
    move(x, vm, host);
    return true;
}

static bool try_swap(struct walk *x, int v, int w, double threshold)
{
    struct state *s = x->s;
    int a = s->at[v], b = s->at[w];
    if (a == b || relax_swap_delta(x->relax, v, w) > threshold)
        return false;
    if (!state_share_set(s, v, w) &&
        (state_broken_rule(s, v, b) >= 0 || state_broken_rule(s, w, a) >= 0))
        return false;
    if (!pair_ok(x, v, b) || !pair_ok(x, w, a))
        return false;
    double before = relax_energy(x->relax);
    move(x, v, b);
    move(x, w, a);
    if (state_rules_hold(s) && relax_energy(x->relax) - before <= threshold)
        return true;
    move(x, w, b);
    move(x, v, a);
    return false;
}

/* What costs is looked at more often. */
static int pick_vm(struct walk *x)
{
    if (draw(x, 100) < FROM_DEARER) {
        int a = draw(x, x->in->n_hosts), b = draw(x, x->in->n_hosts);
        int host = relax_host_energy(x->relax, a) >= relax_host_energy(x->relax, b) ? a : b;
        if (x->n_on[host] > 0)
            return x->on[host][draw(x, x->n_on[host])];
    }
    return x->g->vms[draw(x, x->g->n_vms)];
}

/* A host of the same domain of some scope, where that scope's rules do not mind. */
static int near_host(struct walk *x, int vm)
{
    const struct instance *in = x->in;
    if (in->n_scopes < 2)
        return x->g->hosts[draw(x, x->g->n_hosts)];
    int scope = 1 + draw(x, in->n_scopes - 1);
    const int *first = &x->g->near_first[scope_offset(in, scope) + in->domain[scope][x->s->at[vm]]];
    return x->g->near[scope][first[0] + draw(x, first[1] - first[0])];
}

static bool try_any_shift(struct walk *x, int vm, double threshold)
{
    int kind = draw(x, 100), host;
    if (kind < SHIFTS_HOME)
        host = x->in->initial[vm];
    else if (kind < SHIFTS_HOME + SHIFTS_NEAR)
        host = near_host(x, vm);
    else
        host = x->g->hosts[draw(x, x->g->n_hosts)];
    return try_shift(x, vm, host, threshold);
}

static bool try_any_swap(struct walk *x, int vm, double threshold)
{
    int kind = draw(x, 100), home = x->in->initial[vm];
    if (kind < SWAPS_HOME && x->g->transient && x->s->at[vm] != home && x->n_on[home] > 0)
        return try_swap(x, vm, x->on[home][draw(x, x->n_on[home])], threshold);
    if (kind >= 100 - SWAPS_NEAR) {
        int host = near_host(x, vm);
        return x->n_on[host] > 0 && try_swap(x, vm, x->on[host][draw(x, x->n_on[host])], threshold);
    }
    return try_swap(x, vm, x->g->vms[draw(x, x->g->n_vms)], threshold);
}

/* ---- making room: a VM comes to a host whose others are passed on ---- */

struct trail {
    int vm[PASSED_ON_MAX + 1], from[PASSED_ON_MAX + 1], n;
};

static void follow(struct walk *x, struct trail *t, int vm, int host)
{
    t->vm[t->n] = vm;
    t->from[t->n++] = x->s->at[vm];
    move(x, vm, host);
}

/* The host where u costs less than now, the most so of `first` and some drawn ones; or -1. */
static int better_host(struct walk *x, int u, int first)
{
    int best = -1;
    double least = 0;
    for (int i = 0; i <= PASSED_ON_HOSTS; i++) {
        int h = i == 0 ? first : x->g->hosts[draw(x, x->g->n_hosts)];
        if (h == x->s->at[u])
            continue;
        x->s->evaluations++;
        double delta = relax_shift_delta(x->relax, u, h);
        if (delta < least && pair_ok(x, u, h) && state_broken_rule(x->s, u, h) < 0) {
            least = delta;
            best = h;
        }
    }
    return best;
}

static int dearest_host(struct walk *x)
{
    int host = draw(x, x->in->n_hosts);
    for (int i = 1; i < ROOM_DEAREST; i++) {
        int h = draw(x, x->in->n_hosts);
        if (relax_host_energy(x->relax, h) > relax_host_energy(x->relax, host))
            host = h;
    }
    return host;
}

static bool try_room(struct walk *x, double threshold)
{
    struct trail t = {.n = 0};
    int from = dearest_host(x), host = x->g->hosts[draw(x, x->g->n_hosts)];
    if (x->n_on[from] == 0 || host == from)
        return false;
    int vm = x->on[from][draw(x, x->n_on[from])];
    if (!pair_ok(x, vm, host) || state_broken_rule(x->s, vm, host) >= 0)
        return false;
    double before = relax_energy(x->relax);
    follow(x, &t, vm, host);
    for (int i = 0; i < 2 * PASSED_ON_MAX && t.n <= PASSED_ON_MAX && x->n_on[host] > 1 &&
                    relax_host_energy(x->relax, host) > 0;
         i++) {
        int u = x->on[host][draw(x, x->n_on[host])];
        int to = u == vm ? -1 : better_host(x, u, from);
        if (to >= 0)
            follow(x, &t, u, to);
    }
    if (state_rules_hold(x->s) && relax_energy(x->relax) - before <= threshold)
        return true;
    while (t.n-- > 0)
        move(x, t.vm[t.n], t.from[t.n]);
    return false;
}

static bool try_any(struct walk *x, double threshold)
{
    if (random_below(&x->rng, 1 << 16) < ROOM_SHARE &&
        (double)x->done >= ROOM_FROM * (double)x->length)
        return try_room(x, threshold);
    int vm = pick_vm(x);
    if (draw(x, 100) < SWAPS)
        return try_any_swap(x, vm, threshold);
    return try_any_shift(x, vm, threshold);
}

static void try_once(struct walk *x, double temperature)
{
    double threshold = temperature * x->exponential[draw(x, EXPONENTIALS)];
    x->s->evaluations++;
    if (try_any(x, threshold) && x->s->cost < x->best_cost && relax_fits(x->relax))
        keep_best(x);
}

/* ---- annealing ---- */

double walk_typical_step(struct walk *x)
{
    double sum = 0;
    int n = 0;
    relax_set_price(x->relax, 0);
    for (int i = 0; i < 20000 && n < 2000; i++) {
        int vm = x->g->vms[draw(x, x->g->n_vms)], host = x->g->hosts[draw(x, x->g->n_hosts)];
        if (x->s->at[vm] == host)
            continue;
        double d = relax_shift_delta(x->relax, vm, host);
        if (d > 0) {
            sum += d;
            n++;
        }
    }
    return n > 0 ? sum / n : 0;
}

static double temperature_at(const struct walk *x, double part)
{
    double settled = MAX(x->warm * SETTLED, x->cold);
    if (part >= QUENCH_FROM)
        return 0;
    if (part < SETTLE_UNTIL)
        return x->warm * random_power(settled / x->warm, part / SETTLE_UNTIL);
    return settled * random_power(x->cold / settled, (part - SETTLE_UNTIL) / (1 - SETTLE_UNTIL));
}

void walk_begin(struct walk *x, double warm, double cold, int64_t tries)
{
    x->warm = warm;
    x->cold = MIN(cold, warm);
    x->done = 0;
    x->length = tries;
}

void walk_steer(struct walk *x, double gone, int64_t tries)
{
    x->length = tries;
    x->done = (int64_t)((double)x->length * MIN(MAX(gone, 0.0), 1.0));
}

void walk_on(struct walk *x, int64_t tries)
{
    if (x->g->n_vms == 0 || x->g->n_hosts < 2 || x->warm <= 0)
        return;
    while (tries > 0) {
        double part = MIN((double)x->done / (double)MAX(x->length, 1), 1.0);
        double temperature = temperature_at(x, part);
        double price = PRICE_FIRST * random_power(PRICE_LAST / PRICE_FIRST, part);
        relax_set_price(x->relax, part >= FORBID_FROM ? PRICE_FORBIDS : price);
        int64_t before = x->s->evaluations;
        for (int i = 0; i < MIN(tries, STRIDE); i++)
            try_once(x, temperature);
        x->done += x->s->evaluations - before; /* making room takes many for one try */
        tries -= x->s->evaluations - before;
    }
}

/* ---- life ---- */

struct walk *walk_new(const struct ground *g, struct state *s, uint64_t seed)
{
    const struct instance *in = g->in;
    struct walk *x = xcalloc(1, sizeof *x);
    x->g = g;
    x->in = in;
    x->s = s;
    x->relax = relax_new(s);
    random_seed(&x->rng, seed);
    x->on = xcalloc((size_t)in->n_hosts + 1, sizeof *x->on);
    x->n_on = xcalloc((size_t)in->n_hosts + 1, sizeof *x->n_on);
    x->cap_on = xcalloc((size_t)in->n_hosts + 1, sizeof *x->cap_on);
    x->place = xcalloc((size_t)in->n_vms + 1, sizeof *x->place);
    for (int i = 0; i < g->n_vms; i++)
        list_vm(x, g->vms[i], s->at[g->vms[i]]);
    x->best = xmemdup(s->at, (size_t)MAX(in->n_vms, 1) * sizeof *x->best);
    x->best_cost = s->cost;
    x->changed = xcalloc(CHANGES_MAX, sizeof *x->changed);
    for (int i = 0; i < EXPONENTIALS; i++)
        x->exponential[i] = random_exponential_at((i + 0.5) / EXPONENTIALS);
    return x;
}

void walk_free(struct walk *x)
{
    if (x == NULL)
        return;
    relax_free(x->relax);
    for (int h = 0; h < x->in->n_hosts; h++)
        free(x->on[h]);
    void *const owned[] = {x->on, x->n_on, x->cap_on, x->place, x->best, x->changed, x};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}
