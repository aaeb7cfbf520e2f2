#include "planner/core/sequence_step.h"

#include <string.h>

#include "planner/core/applied.h"
#include "planner/core/predict.h"
#include "proto/util.h"

void step_init(struct step *t, struct lower *l, struct state *s, msec deadline_ms)
{
    size_t hosts = (size_t)s->in->n_hosts + 1, sets = (size_t)s->in->n_sets + 1;
    *t = (struct step){.l = l,
                       .s = s,
                       .deadline_ms = deadline_ms,
                       .arriving = xcalloc(hosts * (size_t)s->in->n_resources, sizeof(int64_t)),
                       .inflow = xcalloc(hosts, sizeof(int)),
                       .outflow = xcalloc(hosts, sizeof(int)),
                       .vms_in = xcalloc(hosts, sizeof(int)),
                       .vms_out = xcalloc(hosts, sizeof(int)),
                       .hosts = xcalloc(hosts, sizeof(int)),
                       .set_use = xcalloc(sets, sizeof(int)),
                       .sets = xcalloc(sets, sizeof(int))};
}

void step_done(struct step *t)
{
    void *const owned[] = {t->moves,   t->arriving, t->inflow,  t->outflow, t->vms_in,
                           t->vms_out, t->hosts,    t->set_use, t->sets,    t->entered};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}

void step_clear(struct step *t, msec begins_ms)
{
    size_t n = (size_t)t->s->in->n_resources;
    for (int i = 0; i < t->n_hosts; i++) {
        int h = t->hosts[i];
        memset(&t->arriving[(size_t)h * n], 0, n * sizeof *t->arriving);
        t->inflow[h] = t->outflow[h] = t->vms_in[h] = t->vms_out[h] = 0;
    }
    for (int i = 0; i < t->n_sets; i++)
        t->set_use[t->sets[i]] = 0;
    t->n_hosts = t->n_sets = t->total = 0;
    t->n_moves = t->n_entered = 0;
    t->alone = false;
    t->begins_ms = begins_ms;
}

/* ---- room ---- */

static bool within_limits(const struct step *t, int from, int to)
{
    const struct model_limits *k = &t->l->m->limits;
    return t->total < k->total && t->inflow[to] < k->inflow_per_host &&
           t->outflow[from] < k->outflow_per_host;
}

static bool has_room(const struct step *t, int b, int to)
{
    const struct instance *in = t->s->in;
    size_t n = (size_t)in->n_resources, base = (size_t)to * n;
    for (size_t r = 0; r < n; r++) {
        int64_t need = 0;
        for (int i = 0; i < block_size(t->l, b); i++) {
            int vm = block_members(t->l, b)[i];
            if (!in->resource[r].transient || in->initial[vm] != to)
                need += in->demand[(size_t)vm * n + r];
        }
        if (need > 0 && t->s->use[base + r] + t->s->held[base + r] + t->arriving[base + r] + need >
                            in->capacity[base + r])
            return false;
    }
    return true;
}

/* Do the host's NUMA nodes hold everything that has come, comes, and would come? The pair alone is
 * fit.h's matter. */
static bool nodes_have_room(const struct step *t, int b, int to)
{
    const struct lower *l = t->l;
    const struct model_host *h = &l->m->hosts[to];
    bool asks = false;
    for (int i = 0; i < block_size(l, b); i++)
        asks = asks || l->m->vms[block_members(l, b)[i]].numa_nodes > 0;
    if (!asks)
        return true;
    _cleanup_(freep) int64_t *left = xcalloc((size_t)h->n_numa + 1, sizeof *left);
    for (int i = 0; i < h->n_numa; i++)
        left[i] = h->numa[i].free_mib;
    bool fits = true;
    for (int k = 0; fits && k < l->n_numa_vms; k++) {
        int vm = l->numa_vms[k];
        bool comes = t->s->at[vm] == to || l->block[vm] == b;
        for (size_t i = 0; !comes && i < t->n_moves; i++)
            comes = t->moves[i].vm == vm && t->moves[i].to == to;
        if (comes && t->s->in->initial[vm] != to)
            fits = applied_take_nodes(&l->m->vms[vm], h, left);
    }
    return fits;
}

/* ---- rules ---- */

static bool touches_alone(const struct step *t, int b, int from, int to)
{
    const struct state *s = t->s;
    if (s->n_alone_rules == 0)
        return false;
    if (s->alone_on[from] > 0 || s->alone_on[to] > 0)
        return true;
    for (int i = 0; i < block_size(t->l, b); i++) {
        int vm = block_members(t->l, b)[i];
        for (int k = s->vm_set_first[vm]; k < s->vm_set_first[vm + 1]; k++)
            for (int j = s->set_rule_first[s->vm_set[k]]; j < s->set_rule_first[s->vm_set[k] + 1];
                 j++)
                if (s->set_rule[j] >= 0 && s->in->rules[s->set_rule[j]].kind == INST_ALONE)
                    return true;
    }
    return false;
}

static bool is_entered(const struct step *t, int set, int domain)
{
    for (size_t i = 0; i < t->n_entered; i++)
        if (t->entered[i].set == set && t->entered[i].domain == domain)
            return true;
    return false;
}

/* VMs only kept apart may go together where none comes to another's domain: that they do not meet
 * those who are there is for the rules to say. */
static bool set_is_free(const struct step *t, int set, int to)
{
    const struct state *s = t->s;
    const struct instance *in = s->in;
    if (t->set_use[set] == 0)
        return true;
    for (int j = s->set_rule_first[set]; j < s->set_rule_first[set + 1]; j++)
        if (s->set_rule[j] < 0 || in->rules[s->set_rule[j]].kind != INST_APART)
            return false;
    return !is_entered(t, set, in->domain[in->sets[set].scope][to]);
}

/* BESIDE speaks of two sets: both are taken by one move. */
static bool partners_free(const struct step *t, int set)
{
    const struct state *s = t->s;
    for (int j = s->set_rule_first[set]; j < s->set_rule_first[set + 1]; j++) {
        int rule = s->set_rule[j] < 0 ? ~s->set_rule[j] : s->set_rule[j];
        const struct inst_rule *r = &s->in->rules[rule];
        if (r->kind == INST_BESIDE && (t->set_use[r->set] > 0 || t->set_use[r->other] > 0))
            return false;
    }
    return true;
}

static bool sets_free(const struct step *t, int b, int to)
{
    const struct state *s = t->s;
    for (int i = 0; i < block_size(t->l, b); i++) {
        int vm = block_members(t->l, b)[i];
        for (int k = s->vm_set_first[vm]; k < s->vm_set_first[vm + 1]; k++)
            if (!set_is_free(t, s->vm_set[k], to) || !partners_free(t, s->vm_set[k]))
                return false;
    }
    return true;
}

/* Do the rules hold once it has moved? For one VM without touching the state. */
static bool rules_after(const struct step *t, int b, int to)
{
    struct state *s = t->s;
    const int *vms = block_members(t->l, b);
    int n = block_size(t->l, b);
    if (n == 1)
        return state_broken_rule(s, vms[0], to) < 0;
    int from = s->at[vms[0]];
    if (state_broken_during(s, vms, n, to) >= 0)
        return false;
    for (int i = 0; i < n; i++)
        state_move(s, vms[i], to);
    bool hold = state_rules_hold(s);
    for (int i = 0; i < n; i++)
        state_move(s, vms[i], from);
    return hold;
}

/* ---- time ---- */

static int64_t move_ms(const struct step *t, int vm, int from, int to, int out, int in)
{
    struct planner_parameters p;
    struct planner_estimate e;
    bool copies =
        t->l->p->copy_storage && fit_has_local_disk(&t->l->m->vms[vm], &t->l->m->hosts[from]);
    predict_move(t->l->m, vm, from, to, copies, out, in, &p, &e);
    return e.ms;
}

/* The longest of the step's moves with `out` more VMs leaving `from`, and as many coming to `to`.
 */
static int64_t longest_with(const struct step *t, int from, int to, int more)
{
    int64_t longest = 0;
    for (size_t i = 0; i < t->n_moves; i++) {
        const struct step_move *m = &t->moves[i];
        int out = t->vms_out[m->from] + (m->from == from ? more : 0);
        int in = t->vms_in[m->to] + (m->to == to ? more : 0);
        longest = MAX(longest, move_ms(t, m->vm, m->from, m->to, out, in));
    }
    return longest;
}

int64_t step_duration(const struct step *t)
{
    return longest_with(t, -1, -1, 0);
}

static int64_t block_ms(const struct step *t, int b, int to, bool alone)
{
    int n = block_size(t->l, b), from = t->s->at[block_members(t->l, b)[0]];
    int out = n + (alone ? 0 : t->vms_out[from]), in = n + (alone ? 0 : t->vms_in[to]);
    int64_t longest = 0;
    for (int i = 0; i < n; i++)
        longest = MAX(longest, move_ms(t, block_members(t->l, b)[i], from, to, out, in));
    return longest;
}

bool step_in_time(const struct step *t, int b, int to)
{
    return t->deadline_ms == 0 || sat_add(t->begins_ms, block_ms(t, b, to, true)) <= t->deadline_ms;
}

/* Neither it nor those it shares a link with come too late. */
static bool all_in_time(const struct step *t, int b, int to)
{
    if (t->deadline_ms == 0)
        return true;
    int from = t->s->at[block_members(t->l, b)[0]];
    int64_t ms = MAX(block_ms(t, b, to, false), longest_with(t, from, to, block_size(t->l, b)));
    return sat_add(t->begins_ms, ms) <= t->deadline_ms;
}

/* ---- the whole ---- */

bool step_can_go(struct step *t, int b, int to)
{
    int from = t->s->at[block_members(t->l, b)[0]];
    if (t->alone || !within_limits(t, from, to) || !has_room(t, b, to))
        return false;
    if (touches_alone(t, b, from, to) && t->total > 0)
        return false;
    return sets_free(t, b, to) && rules_after(t, b, to) && nodes_have_room(t, b, to) &&
           all_in_time(t, b, to);
}

static void touch_host(struct step *t, int h)
{
    if (t->inflow[h] == 0 && t->outflow[h] == 0)
        t->hosts[t->n_hosts++] = h;
}

static void note_sets(struct step *t, int vm, int to)
{
    const struct state *s = t->s;
    for (int k = s->vm_set_first[vm]; k < s->vm_set_first[vm + 1]; k++) {
        int set = s->vm_set[k];
        if (t->set_use[set]++ == 0)
            t->sets[t->n_sets++] = set;
        ARRAY_RESERVE(t->entered, t->cap_entered, t->n_entered + 1);
        t->entered[t->n_entered++] =
            (struct step_entry){set, s->in->domain[s->in->sets[set].scope][to]};
    }
}

void step_add(struct step *t, int b, int to)
{
    const struct instance *in = t->s->in;
    size_t n = (size_t)in->n_resources;
    int from = t->s->at[block_members(t->l, b)[0]], size = block_size(t->l, b);
    touch_host(t, from);
    t->outflow[from]++;
    touch_host(t, to);
    t->inflow[to]++;
    t->vms_out[from] += size;
    t->vms_in[to] += size;
    t->total++;
    t->alone = t->alone || touches_alone(t, b, from, to);
    for (int i = 0; i < size; i++) {
        int vm = block_members(t->l, b)[i];
        for (size_t r = 0; r < n; r++)
            t->arriving[(size_t)to * n + r] += in->demand[(size_t)vm * n + r];
        note_sets(t, vm, to);
        ARRAY_RESERVE(t->moves, t->cap_moves, t->n_moves + 1);
        t->moves[t->n_moves++] = (struct step_move){vm, from, to};
    }
}
