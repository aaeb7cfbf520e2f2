/* restart.c - hosts are lost: each of their VMs starts on another, the most important first, where
 * it costs least and no rule gets worse. VMs that must be together start together. */
#include <stdio.h>
#include <string.h>

#include "planner/core/solve.h"
#include "planner/core/survive.h"
#include "proto/util.h"

struct unit {
    int first, n; /* in restart.vms */
    int64_t priority, size;
    bool done;
};

struct restart {
    struct solve *x;
    struct survive *survive; /* NULL: not asked */
    int *vms, n_vms;
    struct unit *units;
    int n_units;
};

static bool was_on_source(const struct solve *x, int vm)
{
    const struct model_vm *v = &x->l->m->vms[vm];
    for (int i = 0; i < x->p->n_sources; i++)
        if (v->host == x->p->sources[i])
            return vm_takes_resources(v);
    return false;
}

/* ---- who starts together ---- */

static int find_root(int *parent, int v)
{
    while (parent[v] != v)
        v = parent[v] = parent[parent[v]];
    return v;
}

static void join_groups(const struct restart *r, int *parent)
{
    const struct instance *in = &r->x->l->in;
    for (int i = 0; i < in->n_rules; i++) {
        const struct inst_set *set = &in->sets[in->rules[i].set];
        int last = -1;
        if (in->rules[i].kind != INST_TOGETHER || !in->rules[i].hard || set->scope != 0)
            continue;
        for (int k = 0; k < set->n; k++) {
            if (!was_on_source(r->x, set->members[k]))
                continue;
            if (last >= 0)
                parent[find_root(parent, set->members[k])] = find_root(parent, last);
            last = set->members[k];
        }
    }
}

static int by_importance(const void *a, const void *b, void *ctx)
{
    const struct unit *x = a, *y = b;
    const struct restart *r = ctx;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return r->vms[x->first] - r->vms[y->first];
}

static void add_unit(struct restart *r, int *parent, int root)
{
    const struct model *m = r->x->l->m;
    struct unit u = {.first = r->n_vms, .priority = INT64_MIN};
    for (int v = 0; v < m->n_vms; v++) {
        if (find_root(parent, v) != root || !was_on_source(r->x, v))
            continue;
        r->vms[r->n_vms++] = v;
        u.n++;
        u.priority = MAX(u.priority, m->vms[v].priority);
        u.size = sat_add(u.size, MAX(m->vms[v].memory_mib, 0));
    }
    r->units[r->n_units++] = u;
}

static void find_units(struct restart *r)
{
    const struct model *m = r->x->l->m;
    _cleanup_(freep) int *parent = xcalloc((size_t)m->n_vms + 1, sizeof *parent);
    _cleanup_(freep) bool *seen = xcalloc((size_t)m->n_vms + 1, sizeof *seen);
    for (int v = 0; v < m->n_vms; v++)
        parent[v] = v;
    join_groups(r, parent);
    for (int v = 0; v < m->n_vms; v++) {
        int root = find_root(parent, v);
        if (was_on_source(r->x, v) && !seen[root])
            add_unit(r, parent, root);
        seen[root] = seen[root] || was_on_source(r->x, v);
    }
    if (r->n_units > 0)
        qsort_r(r->units, (size_t)r->n_units, sizeof *r->units, by_importance, r);
}

/* ---- where ---- */

static void take_out(struct restart *r, const struct unit *u, int n)
{
    for (int i = 0; i < n; i++)
        state_put(r->x->s, r->vms[u->first + i], -1);
}

/* All of u on host; false, and none of them, where that is not allowed. */
static bool put(struct restart *r, const struct unit *u, int host)
{
    struct state *s = r->x->s;
    const struct instance *in = s->in;
    int i = 0;
    for (; i < u->n; i++) {
        int vm = r->vms[u->first + i];
        s->evaluations++;
        if (in->fixed[vm] || in->closed[host] || !state_has_room(s, vm, host, NULL) ||
            !in->allowed(in->allowed_ctx, vm, host))
            break;
        state_put(s, vm, host);
    }
    if (i == u->n && state_rules_hold(s))
        return true;
    take_out(r, u, i);
    return false;
}

static int best_host(struct restart *r, const struct unit *u)
{
    int best = MODEL_NONE;
    int64_t least = INT64_MAX;
    for (int h = 0; h < r->x->s->in->n_hosts; h++) {
        if (!put(r, u, h))
            continue;
        int64_t cost = r->x->s->cost;
        take_out(r, u, u->n);
        if (cost < least) {
            least = cost;
            best = h;
        }
    }
    return best;
}

static void refuse_n_plus(struct restart *r, const struct unit *u)
{
    for (int i = 0; i < u->n; i++) {
        int vm = r->vms[u->first + i];
        struct planner_refusal *x = solve_refuse(r->x, vm, MODEL_NONE, fit_code_name(FIT_N_PLUS));
        fit_refuse(&x->why, FIT_N_PLUS,
                   "with %s started, too little would be left were one more "
                   "host lost",
                   vm_label(&r->x->l->m->vms[vm]));
    }
}

/* One after another, and again while that helps: a VM may want to be beside one that comes later.
 */
static void start_all(struct restart *r)
{
    for (bool progress = true; progress;) {
        progress = false;
        for (int i = 0; i < r->n_units; i++) {
            struct unit *u = &r->units[i];
            int host = u->done ? MODEL_NONE : best_host(r, u);
            if (host == MODEL_NONE || !put(r, u, host))
                continue;
            u->done = true;
            if (r->survive != NULL && !survive_step(r->survive)) {
                take_out(r, u, u->n);
                refuse_n_plus(r, u);
                continue;
            }
            progress = true;
            state_ratchet(r->x->s);
        }
    }
}

void solve_restart(struct solve *x)
{
    size_t vms = (size_t)x->l->m->n_vms + 1;
    struct restart r = {
        .x = x, .vms = xcalloc(vms, sizeof *r.vms), .units = xcalloc(vms, sizeof *r.units)};
    int64_t k = x->p->n_plus == QUANTITY_UNKNOWN ? x->l->m->limits.n_plus : x->p->n_plus;
    r.survive = k > 0 ? survive_new(x->l, x->s, (int)k) : NULL;
    find_units(&r);
    start_all(&r);
    for (int i = 0; i < r.n_units; i++)
        for (int k2 = 0; !r.units[i].done && k2 < r.units[i].n; k2++)
            solve_explain_vm(x, r.vms[r.units[i].first + k2]);
    if (r.n_vms == 0)
        snprintf(x->reason, sizeof x->reason, "nothing ran there");
    survive_free(r.survive);
    free(r.vms);
    free(r.units);
}
