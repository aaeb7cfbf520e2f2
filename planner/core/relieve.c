/* relieve.c - the smallest sufficient relief: for each source, the cheapest set of VMs whose load
 * adds up to what must leave, each with a host that can take it.
 *
 * Which set: a covering knapsack, solved exactly over loads in 1/RELIEF_STEPS of the need (rounded
 * down, so that what it calls sufficient is). What then finds no host is set aside and the choice
 * is made anew. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "planner/core/solve.h"
#include "proto/util.h"

#define RELIEF_STEPS 400

struct offer {
    int vm; /* the block's first */
    int64_t load, cost;
    bool out; /* found no host */
    bool chosen;
};

struct relief {
    struct solve *x;
    int source;
    int64_t need;
    struct offer *offers;
    int n;
    bool limited; /* by how many may move */
};

static int64_t block_load(const struct solve *x, int vm, int64_t *ret_cost)
{
    int n;
    const int *vms = solve_block(x->l, vm, &n);
    const struct instance *in = &x->l->in;
    int64_t load = 0;
    *ret_cost = 0;
    for (int i = 0; i < n; i++) {
        load = sat_add(load, in->demand[(size_t)vms[i] * (size_t)in->n_resources + LOWER_LOAD]);
        *ret_cost = sat_add(*ret_cost, in->move_cost[vms[i]]);
    }
    return load;
}

static bool block_can_leave(const struct solve *x, int vm)
{
    int n;
    const int *vms = solve_block(x->l, vm, &n);
    for (int i = 0; i < n; i++)
        if (x->l->movable[vms[i]] != FIT_OK || x->p->vm_load[vms[i]] == QUANTITY_UNKNOWN)
            return false;
    return true;
}

static void refuse_unknown_load(struct solve *x, int vm)
{
    struct fit_refusal why;
    fit_refuse(&why, FIT_UNKNOWN_LOAD, "the load of %s is not known", vm_label(&x->l->m->vms[vm]));
    solve_refuse(x, vm, MODEL_NONE, fit_code_name(why.code))->why = why;
}

static void find_offers(struct relief *r)
{
    const struct solve *x = r->x;
    const struct model_host *h = &x->l->m->hosts[r->source];
    for (int i = 0; i < h->n_vms; i++) {
        int vm = h->vms[i];
        if (x->l->in.initial[vm] < 0)
            continue;
        if (x->l->movable[vm] != FIT_OK) {
            solve_explain_vm(r->x, vm);
        } else if (x->p->vm_load[vm] == QUANTITY_UNKNOWN) {
            refuse_unknown_load(r->x, vm);
        } else if (x->l->block[vm] == vm && block_can_leave(x, vm)) {
            struct offer o = {.vm = vm};
            o.load = block_load(x, vm, &o.cost);
            /* Among equally cheap sets the one that takes least too much away. */
            o.cost = sat_add(sat_mul(o.cost, 1000), (int64_t)((__int128)o.load * 100 / r->need));
            if (o.load > 0)
                r->offers[r->n++] = o;
        }
    }
}

/* best[j]: least cost of a load of at least j steps; take[i][j]: whether offer i is part of it. */
static bool choose_cover(struct relief *r)
{
    int64_t best[RELIEF_STEPS + 1];
    size_t width = RELIEF_STEPS + 1;
    _cleanup_(freep) bool *take = xcalloc((size_t)r->n * width + 1, sizeof *take);
    for (int j = 0; j <= RELIEF_STEPS; j++)
        best[j] = j == 0 ? 0 : INT64_MAX;
    for (int i = 0; i < r->n; i++) {
        const struct offer *o = &r->offers[i];
        int64_t steps = (int64_t)((__int128)o->load * RELIEF_STEPS / r->need);
        if (o->out || steps == 0)
            continue;
        for (int64_t j = RELIEF_STEPS; j > 0; j--) {
            int64_t before = best[MAX(j - steps, 0)];
            if (before != INT64_MAX && sat_add(before, o->cost) < best[j]) {
                best[j] = sat_add(before, o->cost);
                take[(size_t)i * width + (size_t)j] = true;
            }
        }
    }
    if (best[RELIEF_STEPS] == INT64_MAX)
        return false;
    int64_t j = RELIEF_STEPS;
    for (int i = r->n - 1; i >= 0; i--) {
        r->offers[i].chosen = j > 0 && take[(size_t)i * width + (size_t)j];
        if (r->offers[i].chosen)
            j = MAX(j - (int64_t)((__int128)r->offers[i].load * RELIEF_STEPS / r->need), 0);
    }
    return true;
}

/* Not enough in all: everything that helps goes. */
static void choose_everything(struct relief *r)
{
    for (int i = 0; i < r->n; i++)
        r->offers[i].chosen = !r->offers[i].out;
}

static int64_t block_size(const struct relief *r, const struct offer *o)
{
    int n;
    solve_block(r->x->l, o->vm, &n);
    return n;
}

/* Where the chosen are more than may move: those of most load that are not. */
static void keep_to_limit(struct relief *r)
{
    int64_t left = r->x->p->max_moves - r->x->s->n_moved, n = 0;
    for (int i = 0; i < r->n; i++)
        n += r->offers[i].chosen ? block_size(r, &r->offers[i]) : 0;
    r->limited = r->x->p->max_moves > 0 && n > left;
    for (int i = 0; r->limited && i < r->n; i++) {
        struct offer *o = &r->offers[i];
        o->chosen = !o->out && block_size(r, o) <= left;
        left -= o->chosen ? block_size(r, o) : 0;
    }
}

static int by_load(const void *a, const void *b)
{
    const struct offer *x = a, *y = b;
    if (x->load != y->load)
        return x->load > y->load ? -1 : 1;
    return x->vm - y->vm;
}

/* Place the chosen, largest first. One that finds no host is marked, and all come home again. */
static bool place_chosen(struct relief *r)
{
    for (int i = 0; i < r->n; i++) {
        struct offer *o = &r->offers[i];
        if (!o->chosen)
            continue;
        int to = solve_best_host(r->x, o->vm, NULL);
        if (to != MODEL_NONE) {
            solve_move_block(r->x, o->vm, to);
            continue;
        }
        o->out = true;
        solve_explain_vm(r->x, o->vm);
        for (int k = 0; k < i; k++)
            if (r->offers[k].chosen)
                solve_move_block(r->x, r->offers[k].vm, r->source);
        return false;
    }
    return true;
}

static int64_t placed_load(const struct relief *r)
{
    int64_t sum = 0;
    for (int i = 0; i < r->n; i++)
        if (r->offers[i].chosen)
            sum = sat_add(sum, r->offers[i].load);
    return sum;
}

static void say_missing(struct relief *r, int64_t missing)
{
    const char *unit = r->x->p->load_unit != NULL ? r->x->p->load_unit : "units of load";
    const char *name = r->x->l->m->hosts[r->source].name;
    struct fit_refusal why;
    fit_refuse(&why, r->limited ? FIT_LIMIT : FIT_NO_HOST, "%.1f %s of %.1f cannot leave %s%s",
               (double)missing / 1000, unit, (double)r->need / 1000, name,
               r->limited ? " with the moves that are allowed" : "");
    if (!r->limited)
        fit_relax(&why, FIT_NO_HOST, "load", missing, name, "make room for %.1f %s on other hosts",
                  (double)missing / 1000, unit);
    solve_refuse(r->x, MODEL_NONE, r->source, fit_code_name(why.code))->why = why;
    r->x->relief_missing = sat_add(r->x->relief_missing, missing);
}

static void relieve_one(struct solve *x, int source, int64_t need)
{
    struct relief r = {.x = x, .source = source, .need = need};
    r.offers = xcalloc((size_t)x->l->m->hosts[source].n_vms + 1, sizeof *r.offers);
    find_offers(&r);
    if (r.n > 0)
        qsort(r.offers, (size_t)r.n, sizeof *r.offers, by_load);
    do {
        if (!choose_cover(&r))
            choose_everything(&r);
        keep_to_limit(&r);
    } while (!place_chosen(&r));
    int64_t placed = placed_load(&r);
    if (placed < need)
        say_missing(&r, need - placed);
    free(r.offers);
}

void solve_relieve(struct solve *x)
{
    const struct planner_problem *p = x->p;
    bool any = false;
    for (int i = 0; i < p->n_sources; i++) {
        int64_t need = p->host_relief != NULL ? p->host_relief[p->sources[i]] : 0;
        if (need <= 0 || p->vm_load == NULL)
            continue;
        any = true;
        relieve_one(x, p->sources[i], need);
    }
    if (!any)
        snprintf(x->reason, sizeof x->reason, "no host needs relief");
}
