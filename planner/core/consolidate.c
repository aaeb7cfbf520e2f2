/* consolidate.c - fewest hosts in use, by few moves.
 *
 * The hosts with the fewest VMs are to be emptied, as many as the free capacity of the others
 * allows in sum; their VMs are packed largest first, each where it leaves least room. VMs that find
 * none are made room for by passing one on; where even that fails, a host that was to be emptied is
 * kept in use after all. So no VM moves that need not, and none twice. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "planner/core/solve.h"
#include "proto/util.h"

/* Looks at pairs for passing VMs on, in all: a second of work. */
#define PASSING_ON 10000000

struct donor {
    int host, n_vms;
    int64_t cost; /* of moving all */
};

struct packing {
    struct solve *x;
    struct state *s;
    const struct instance *in;
    struct donor *donors; /* those to be emptied first */
    int n_donors;
    bool *emptied; /* [host] */
    int *receivers, n_receivers;
    int *vms, n_vms; /* blocks to be placed */
    int scarcest;
    int64_t widest;                          /* most of it that a host has at all */
    int64_t tries;                           /* of passing on, left */
    double scarcity[INSTANCE_RESOURCES_MAX]; /* share of all capacity that is demanded */
};

static int64_t capacity(const struct instance *in, int host, int r)
{
    return in->capacity[(size_t)host * (size_t)in->n_resources + (size_t)r];
}

static int64_t room(const struct packing *p, int host, int r)
{
    size_t at = (size_t)host * (size_t)p->in->n_resources + (size_t)r;
    return p->in->capacity[at] - p->s->use[at] - p->s->held[at];
}

static int64_t demand(const struct packing *p, int vm, int r)
{
    return p->in->demand[(size_t)vm * (size_t)p->in->n_resources + (size_t)r];
}

/* ---- who could be emptied ---- */

static bool is_asked(const struct solve *x, int host)
{
    for (int i = 0; i < x->p->n_sources; i++)
        if (x->p->sources[i] == host)
            return true;
    return x->p->n_sources == 0;
}

static bool can_be_emptied(const struct solve *x, int host, int64_t *ret_cost)
{
    const struct model_host *h = &x->l->m->hosts[host];
    *ret_cost = 0;
    if (!is_asked(x, host) || h->state != HOST_UP || h->standby_allowed == TRI_NO)
        return false;
    for (int i = 0; i < h->n_vms; i++) {
        if (x->l->in.initial[h->vms[i]] < 0)
            continue;
        if (x->l->in.fixed[h->vms[i]])
            return false;
        *ret_cost = sat_add(*ret_cost, x->l->in.move_cost[h->vms[i]]);
    }
    return true;
}

static int by_effort(const void *a, const void *b)
{
    const struct donor *x = a, *y = b;
    if (x->n_vms != y->n_vms)
        return x->n_vms - y->n_vms;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->host - y->host;
}

static void find_donors(struct packing *p)
{
    const struct planner_weights *w = &p->x->l->weights;
    bool given = w->host_used > 0 || w->watt > 0;
    int64_t usual = lower_default_weights(PLANNER_CONSOLIDATE).host_used;
    for (int h = 0; h < p->in->n_hosts; h++) {
        int64_t cost, worth = given ? lower_host_worth(p->x->l, h) : usual;
        if (p->s->n_on[h] > 0 && can_be_emptied(p->x, h, &cost) && cost < worth)
            p->donors[p->n_donors++] = (struct donor){h, p->s->n_on[h], cost};
    }
    if (p->n_donors > 0)
        qsort(p->donors, (size_t)p->n_donors, sizeof *p->donors, by_effort);
}

static bool is_limited(const struct packing *p, int r)
{
    return r != LOWER_LOAD && (r != LOWER_CPU || capacity(p->in, 0, r) < (int64_t)1 << 50);
}

/* As many donors as the others could take in sum, resource by resource, and as many as the moves
 * allowed can empty: one that is emptied in part is not worth any. */
static int most_donors(struct packing *p)
{
    int64_t free[INSTANCE_RESOURCES_MAX] = {0}, need[INSTANCE_RESOURCES_MAX] = {0};
    int64_t moves = p->x->p->max_moves > 0 ? p->x->p->max_moves : INT64_MAX;
    int most = 0;
    for (int h = 0; h < p->in->n_hosts; h++)
        for (int r = 0; r < p->in->n_resources; r++)
            if (!p->in->closed[h] && p->s->n_on[h] > 0)
                free[r] = sat_add(free[r], MAX(room(p, h, r), 0));
    for (int i = 0; i < p->n_donors; i++) {
        int h = p->donors[i].host;
        bool fits = p->donors[i].n_vms <= moves;
        moves -= p->donors[i].n_vms;
        for (int r = 0; r < p->in->n_resources; r++) {
            need[r] += p->s->use[(size_t)h * (size_t)p->in->n_resources + (size_t)r];
            if (!p->in->closed[h])
                free[r] -= MAX(room(p, h, r), 0);
            fits = fits && (!is_limited(p, r) || need[r] <= free[r]);
        }
        if (!fits)
            break;
        most = i + 1;
    }
    for (int r = 0; r < p->in->n_resources; r++) {
        p->scarcity[r] = free[r] > 0 && is_limited(p, r) ? (double)need[r] / (double)free[r] : 0;
        if (p->scarcity[r] > p->scarcity[p->scarcest])
            p->scarcest = r;
    }
    return most;
}

/* ---- packing ---- */

static double size_of(const struct packing *p, int vm)
{
    int n;
    const int *vms = solve_block(p->x->l, vm, &n);
    double size = 0;
    for (int i = 0; i < n; i++)
        for (int r = 0; r < p->in->n_resources; r++) {
            int64_t c = p->n_receivers > 0 ? capacity(p->in, p->receivers[0], r) : 1;
            size += p->scarcity[r] * (double)demand(p, vms[i], r) / (double)MAX(c, 1);
        }
    return size;
}

struct sized {
    int vm;
    double size;
};

static int by_size(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size > y->size || x->size < y->size)
        return x->size > y->size ? -1 : 1;
    return x->vm - y->vm;
}

static void sort_vms(struct packing *p)
{
    _cleanup_(freep) struct sized *list = xcalloc((size_t)p->n_vms + 1, sizeof *list);
    for (int i = 0; i < p->n_vms; i++)
        list[i] = (struct sized){p->vms[i], size_of(p, p->vms[i])};
    if (p->n_vms > 0)
        qsort(list, (size_t)p->n_vms, sizeof *list, by_size);
    for (int i = 0; i < p->n_vms; i++)
        p->vms[i] = list[i].vm;
}

/* What would be left on the host, weighed: little is good. */
static double waste(const struct packing *p, int vm, int host)
{
    double sum = 0;
    for (int r = 0; r < p->in->n_resources; r++) {
        if (p->scarcity[r] <= 0)
            continue;
        double left = (double)(room(p, host, r) - demand(p, vm, r)) /
                      (double)MAX(capacity(p->in, host, r), 1);
        sum += p->scarcity[r] * left * left;
    }
    return sum;
}

/* No host with that much room of the scarcest resource wastes less. */
static double least_waste(const struct packing *p, int vm, int host)
{
    int r = p->scarcest;
    double left = (double)(room(p, host, r) - demand(p, vm, r)) / (double)MAX(p->widest, 1);
    return p->scarcity[r] > 0 ? p->scarcity[r] * left * left : 0;
}

static bool can_enter(const struct packing *p, int vm, int host)
{
    if (p->in->joined[vm])
        return solve_block_delta(p->x, vm, host) != STATE_INFEASIBLE;
    if (!state_has_room(p->s, vm, host, NULL) || p->s->at[vm] == host)
        return false;
    p->s->evaluations++;
    return state_broken_rule(p->s, vm, host) < 0 && p->in->allowed(p->in->allowed_ctx, vm, host);
}

/* Receivers are sorted by the room they have left of the scarcest resource. */
static void settle(struct packing *p, int at)
{
    int h = p->receivers[at];
    int64_t left = room(p, h, p->scarcest);
    for (; at > 0 && room(p, p->receivers[at - 1], p->scarcest) > left; at--)
        p->receivers[at] = p->receivers[at - 1];
    for (; at + 1 < p->n_receivers && room(p, p->receivers[at + 1], p->scarcest) < left; at++)
        p->receivers[at] = p->receivers[at + 1];
    p->receivers[at] = h;
}

static void sort_receivers(struct packing *p)
{
    int n = p->n_receivers;
    for (p->n_receivers = 1; p->n_receivers <= n; p->n_receivers++)
        settle(p, p->n_receivers - 1);
    p->n_receivers = n;
}

/* The first receiver with that much room of it. */
static int first_with(const struct packing *p, int64_t need)
{
    int lo = 0, hi = p->n_receivers;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (room(p, p->receivers[mid], p->scarcest) < need)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Of the tightest hosts that can take it, this many are weighed against one another. */
#define WEIGHED 48

static bool place(struct packing *p, int vm)
{
    int best = -1, weighed = 0;
    double least = 0;
    for (int i = first_with(p, demand(p, vm, p->scarcest)); i < p->n_receivers && weighed < WEIGHED;
         i++) {
        int h = p->receivers[i];
        if (best >= 0 && least_waste(p, vm, h) >= least)
            break; /* all that follow have more room left */
        if (!state_has_room(p->s, vm, h, NULL))
            continue;
        double w = waste(p, vm, h);
        if ((best >= 0 && w >= least) || !can_enter(p, vm, h))
            continue;
        best = i;
        least = w;
        weighed++;
    }
    if (best < 0)
        return false;
    solve_move_block(p->x, vm, p->receivers[best]);
    settle(p, best);
    return true;
}

/* A VM that moves anyway is passed on from a receiver, so that vm finds room there. */
static bool place_by_passing_on(struct packing *p, int vm, const int *moved, int n_moved)
{
    for (int i = 0; i < n_moved; i++) {
        int w = moved[i], from = p->s->at[w];
        if (w == vm || p->emptied[from] || p->in->joined[w] || p->tries < 0)
            continue;
        for (int k = first_with(p, demand(p, w, p->scarcest)); k < p->n_receivers; k++) {
            int to = p->receivers[k];
            p->tries--;
            if (to == from || !can_enter(p, w, to))
                continue;
            state_move(p->s, w, to);
            if (can_enter(p, vm, from)) {
                solve_move_block(p->x, vm, from);
                sort_receivers(p);
                return true;
            }
            state_move(p->s, w, from);
            break; /* where it goes does not matter to the room it leaves */
        }
    }
    return false;
}

/* A host that was to be emptied stays in use: its VMs come home, and it takes others. */
static void keep_host(struct packing *p, int host)
{
    const struct model_host *h = &p->x->l->m->hosts[host];
    for (int i = 0; i < h->n_vms; i++)
        if (p->in->initial[h->vms[i]] >= 0)
            state_move(p->s, h->vms[i], host);
    p->emptied[host] = false;
    if (!p->in->closed[host])
        p->receivers[p->n_receivers++] = host;
    sort_receivers(p);
}

static int place_some(struct packing *p, const int *vms, int n, int *left)
{
    int n_left = 0;
    for (int i = 0; i < n; i++)
        if (p->emptied[p->s->at[vms[i]]] && !place(p, vms[i]))
            left[n_left++] = vms[i];
    return n_left;
}

static void pack(struct packing *p)
{
    _cleanup_(freep) int *left = xcalloc((size_t)p->n_vms + 1, sizeof *left);
    int n = place_some(p, p->vms, p->n_vms, left);
    int n_left = 0;
    for (int i = 0; i < n; i++)
        if (!place_by_passing_on(p, left[i], p->vms, p->n_vms))
            left[n_left++] = left[i];
    while (n_left > 0) { /* the home of the first that has none is kept; then the rest may fit */
        keep_host(p, p->s->at[left[0]]);
        n_left = place_some(p, left, n_left, left);
    }
}

static void prepare(struct packing *p, int n_donors)
{
    for (int i = 0; i < n_donors; i++)
        p->emptied[p->donors[i].host] = true;
    for (int h = 0; h < p->in->n_hosts; h++)
        p->widest = MAX(p->widest, capacity(p->in, h, p->scarcest));
    for (int h = 0; h < p->in->n_hosts; h++)
        if (p->s->n_on[h] > 0 && !p->emptied[h] && !p->in->closed[h])
            p->receivers[p->n_receivers++] = h;
    for (int i = 0; i < n_donors; i++) {
        const struct model_host *h = &p->x->l->m->hosts[p->donors[i].host];
        for (int k = 0; k < h->n_vms; k++)
            if (p->in->initial[h->vms[k]] >= 0 && p->x->l->block[h->vms[k]] == h->vms[k])
                p->vms[p->n_vms++] = h->vms[k];
    }
    sort_vms(p);
    sort_receivers(p);
}

void solve_consolidate(struct solve *x)
{
    const struct instance *in = x->s->in;
    size_t hosts = (size_t)in->n_hosts + 1;
    struct packing p = {.x = x, .s = x->s, .in = in, .tries = PASSING_ON};
    p.donors = xcalloc(hosts, sizeof *p.donors);
    p.emptied = xcalloc(hosts, sizeof *p.emptied);
    p.receivers = xcalloc(hosts, sizeof *p.receivers);
    p.vms = xcalloc((size_t)in->n_vms + 1, sizeof *p.vms);
    find_donors(&p);
    int n = most_donors(&p);
    if (n == 0 && x->p->max_moves > 0 && p.n_donors > 0 && p.donors[0].n_vms > x->p->max_moves)
        snprintf(x->reason, sizeof x->reason,
                 "no host can be emptied with %" PRId64 " moves: the least needs %d",
                 x->p->max_moves, p.donors[0].n_vms);
    else if (n == 0)
        snprintf(x->reason, sizeof x->reason,
                 p.n_donors == 0 ? "no host can be emptied at a gain"
                                 : "no host's VMs fit on the others");
    prepare(&p, n);
    pack(&p);
    free(p.donors);
    free(p.emptied);
    free(p.receivers);
    free(p.vms);
}
