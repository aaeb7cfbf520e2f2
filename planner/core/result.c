#include "planner/core/result.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "planner/core/predict.h"
#include "proto/util.h"

/* ---- hosts before and after ---- */

static void forecast(const struct lower *l, const struct state *s, struct planner_forecast *ret)
{
    const struct model *m = l->m;
    size_t n = (size_t)l->in.n_resources;
    for (int h = 0; h < m->n_hosts; h++) {
        const int64_t *use = &s->use[(size_t)h * n];
        ret[h] = (struct planner_forecast){.vms = s->n_on[h],
                                           .vcpus = use[LOWER_VCPUS],
                                           .memory_mib = use[LOWER_MEMORY],
                                           .used_cores = use[LOWER_CPU],
                                           .load = use[LOWER_LOAD]};
        for (int r = LOWER_PAGES; r < l->in.n_resources; r++)
            ret[h].memory_mib += use[r] * l->page_kib[r] / 1024;
    }
    for (int v = 0; v < m->n_vms; v++)
        if (s->at[v] >= 0 && m->vms[v].cpu_used_cores == QUANTITY_UNKNOWN)
            ret[s->at[v]].used_cores = QUANTITY_UNKNOWN;
}

/* Twice the standard deviation of used shares, cpu and memory averaged: 0 to 100 %. */
static milli imbalance(const struct lower *l, const struct state *s)
{
    double sum = 0;
    const int resources[2] = {LOWER_CPU, LOWER_MEMORY};
    for (int k = 0; k < 2; k++) {
        double n = 0, x = 0, xx = 0;
        for (int h = 0; h < l->m->n_hosts; h++) {
            const struct model_host *host = &l->m->hosts[h];
            size_t at = (size_t)h * (size_t)l->in.n_resources + (size_t)resources[k];
            int64_t base = resources[k] == LOWER_CPU ? host->cores : l->in.capacity[at];
            if (host->state != HOST_UP || host->implausible != NULL || base <= 0)
                continue;
            double share = MIN((double)s->use[at] / (double)base, 1.0);
            n++;
            x += share;
            xx += share * share;
        }
        if (n > 0)
            sum += sqrt(MAX(xx / n - x / n * (x / n), 0));
    }
    return (milli)(sum * 100000 + 0.5);
}

static int64_t hosts_used(const struct state *s)
{
    int64_t n = 0;
    for (int h = 0; h < s->in->n_hosts; h++)
        n += s->n_on[h] > 0;
    return n;
}

void result_measure_before(const struct solve *x, struct planner_result *r)
{
    r->before = xcalloc((size_t)x->l->m->n_hosts + 1, sizeof *r->before);
    r->after = xcalloc((size_t)x->l->m->n_hosts + 1, sizeof *r->after);
    r->cost_before = x->s->cost;
    r->violations_before = x->s->hard_violations;
    r->imbalance_before = imbalance(x->l, x->s);
    r->hosts_used_before = hosts_used(x->s);
    forecast(x->l, x->s, r->before);
}

void result_measure_after(const struct solve *x, struct planner_result *r)
{
    r->cost_after = x->s->cost;
    r->violations_after = x->s->hard_violations;
    r->imbalance_after = imbalance(x->l, x->s);
    r->hosts_used_after = hosts_used(x->s);
    forecast(x->l, x->s, r->after);
}

/* ---- actions ---- */

static void describe(const struct lower *l, const struct sequence_move *move,
                     struct planner_action *a)
{
    const struct model *m = l->m;
    const char *to = m->hosts[move->to].name, *from = m->hosts[move->from].name;
    const struct planner_verdict *v = lower_judge((struct lower *)l, move->vm, move->to);
    if (move->parking)
        snprintf(a->reason, sizeof a->reason, "waits on %s, so that another VM can come to %s", to,
                 from);
    else if (v != NULL && v->reason[0] != '\0')
        snprintf(a->reason, sizeof a->reason, "%s: %s", planner_mode_name(l->p->mode), v->reason);
    else
        snprintf(a->reason, sizeof a->reason, "%s: %s is the best of the hosts that can take it",
                 planner_mode_name(l->p->mode), to);
}

/* What holds others, and does not hold this class. */
static void note_overrides(const struct lower *l, struct planner_action *a)
{
    const struct planner_problem *p = l->p;
    if (!p->override_holds)
        return;
    enum fit_code c = fit_movable(l->m, a->vm, p->now, p->cooldown_ms, false, NULL);
    a->over_hold = c == FIT_HOLD;
    a->over_cooldown = c == FIT_COOLDOWN;
    size_t n = strlen(a->reason);
    if (a->over_hold || a->over_cooldown)
        snprintf(a->reason + n, sizeof a->reason - n, "; its %s does not bind this class",
                 a->over_hold ? "hold" : "cooldown");
}

/* Moves of the step that begins at move `first`, counted by the hosts at their ends. */
static int count_ends(const struct sequence *q, int first, int *out, int *in, int by)
{
    int i = first;
    for (; i < q->n_moves && q->moves[i].step == q->moves[first].step; i++) {
        out[q->moves[i].from] += by;
        in[q->moves[i].to] += by;
    }
    return i;
}

static int by_step(const void *a, const void *b)
{
    const struct planner_action *x = a, *y = b;
    return x->step != y->step ? x->step - y->step : x->vm - y->vm;
}

static int64_t add_action(const struct lower *l, const struct sequence_move *move, int64_t out,
                          int64_t in, struct planner_action *a)
{
    const struct model_vm *vm = &l->m->vms[move->vm];
    bool copies = l->p->copy_storage && fit_has_local_disk(vm, &l->m->hosts[move->from]);
    *a = (struct planner_action){.type = PLAN_MIGRATE,
                                 .vm = move->vm,
                                 .from = move->from,
                                 .to = move->to,
                                 .step = move->step};
    predict_move(l->m, move->vm, move->from, move->to, copies, out, in, &a->parameters,
                 &a->estimate);
    if (l->p->how != NULL)
        predict_as_asked(l->m, move->vm, move->from, move->to, l->p->how, &a->parameters,
                         &a->estimate);
    describe(l, move, a);
    note_overrides(l, a);
    return a->estimate.ms;
}

void result_add_actions(const struct lower *l, const struct sequence *q, struct planner_result *r)
{
    size_t hosts = (size_t)l->m->n_hosts + 1;
    _cleanup_(freep) int *out = xcalloc(hosts, sizeof *out), *in = xcalloc(hosts, sizeof *in);
    r->actions = xcalloc((size_t)q->n_moves + 1, sizeof *r->actions);
    r->n_actions = q->n_moves;
    r->n_steps = q->n_steps;
    for (int first = 0, end; first < q->n_moves; first = end) {
        int64_t longest = 0;
        end = count_ends(q, first, out, in, 1);
        for (int i = first; i < end; i++) {
            const struct sequence_move *move = &q->moves[i];
            int64_t ms = add_action(l, move, out[move->from], in[move->to], &r->actions[i]);
            longest = MAX(longest, ms);
        }
        count_ends(q, first, out, in, -1);
        r->makespan_ms = sat_add(r->makespan_ms, longest);
    }
    if (r->n_actions > 0)
        qsort(r->actions, (size_t)r->n_actions, sizeof *r->actions, by_step);
}

void result_add_starts(const struct lower *l, const struct state *s, struct planner_result *r)
{
    r->actions = xcalloc((size_t)l->m->n_vms + 1, sizeof *r->actions);
    for (int v = 0; v < l->m->n_vms; v++) {
        const struct model_vm *vm = &l->m->vms[v];
        if (l->in.initial[v] >= 0 || s->at[v] < 0)
            continue;
        struct planner_action *a = &r->actions[r->n_actions++];
        *a = (struct planner_action){.type = PLAN_START, .vm = v, .from = vm->host, .to = s->at[v]};
        snprintf(a->reason, sizeof a->reason, "%s: %s is lost; %s is the best that can take it",
                 planner_mode_name(l->p->mode), l->m->hosts[a->from].name, l->m->hosts[a->to].name);
    }
    r->n_steps = r->n_actions > 0;
}
