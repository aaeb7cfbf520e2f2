/* enforce.c - repair violated must rules, and touch nothing else: the cheapest moves that lessen
 * violations, one after another, until none is left or none can be lessened. */
#include <stdio.h>

#include "planner/core/solve.h"
#include "proto/util.h"

/* VMs that stand where a rule of placement forbids. */
static bool misplaced(const struct solve *x, int vm)
{
    return x->s->at[vm] >= 0 && lower_place_rule(x->l, vm, x->s->at[vm]) != MODEL_NONE;
}

static int n_misplaced(const struct solve *x, int vm)
{
    int n, count = 0;
    const int *vms = solve_block(x->l, vm, &n);
    for (int i = 0; i < n; i++)
        count += misplaced(x, vms[i]);
    return count;
}

struct repair {
    int vm, to;
    int64_t gain, cost; /* violations fewer; cost of the move */
};

/* Every move of vm that makes violations fewer; the best goes to *best. */
static void try_vm(struct solve *x, int vm, struct repair *best)
{
    struct state *s = x->s;
    int home = s->at[vm];
    int was_misplaced = n_misplaced(x, vm);
    for (int h = 0; h < s->in->n_hosts; h++) {
        int64_t cost = h == home ? STATE_INFEASIBLE : solve_block_delta(x, vm, h);
        if (cost == STATE_INFEASIBLE)
            continue;
        int64_t before = s->hard_violations;
        solve_move_block(x, vm, h);
        int64_t gain = before - s->hard_violations + was_misplaced - n_misplaced(x, vm);
        solve_move_block(x, vm, home);
        if (gain > 0 && (best->vm == MODEL_NONE || gain > best->gain ||
                         (gain == best->gain && cost < best->cost)))
            *best = (struct repair){vm, h, gain, cost};
    }
}

/* VMs that a violated rule speaks of; for a rule that wants hosts for its own, strangers too. */
static void mark_concerned(const struct solve *x, bool *concerned)
{
    const struct state *s = x->s;
    const struct instance *in = s->in;
    for (int v = 0; v < in->n_vms; v++)
        concerned[v] = false;
    for (int v = 0; v < in->n_vms; v++)
        if (misplaced(x, v)) /* it moves with its block, which is known by its first */
            concerned[v] = concerned[x->l->block[v]] = true;
    for (int i = 0; i < in->n_rules; i++) {
        const struct inst_rule *r = &in->rules[i];
        if (!r->hard || s->violations[i] == 0)
            continue;
        for (int k = 0; k < in->sets[r->set].n; k++)
            concerned[in->sets[r->set].members[k]] = true;
        if (r->kind == INST_BESIDE)
            for (int k = 0; k < in->sets[r->other].n; k++)
                concerned[in->sets[r->other].members[k]] = true;
        for (int v = 0; r->kind == INST_ALONE && v < in->n_vms; v++)
            if (s->at[v] >= 0 && state_count(s, r->set, s->at[v]) > 0)
                concerned[v] = true;
    }
}

static bool any_concerned(const bool *concerned, int n)
{
    for (int v = 0; v < n; v++)
        if (concerned[v])
            return true;
    return false;
}

void solve_enforce(struct solve *x)
{
    const struct instance *in = x->s->in;
    _cleanup_(freep) bool *concerned = xcalloc((size_t)in->n_vms + 1, sizeof *concerned);
    mark_concerned(x, concerned);
    if (!any_concerned(concerned, in->n_vms)) {
        snprintf(x->reason, sizeof x->reason, "every rule holds");
        return;
    }
    while (!solve_out_of_effort(x)) {
        struct repair best = {.vm = MODEL_NONE};
        for (int v = 0; v < in->n_vms; v++)
            if (concerned[v] && x->s->at[v] >= 0 && x->l->block[v] == v && solve_may_move(x, v))
                try_vm(x, v, &best);
        if (best.vm == MODEL_NONE)
            break;
        solve_move_block(x, best.vm, best.to);
        mark_concerned(x, concerned);
    }
    for (int v = 0; v < in->n_vms; v++)
        if (concerned[v] && x->s->at[v] >= 0 && !solve_may_move(x, v))
            solve_refuse_limit(x, v);
        else if (concerned[v])
            solve_explain_vm(x, v);
}
