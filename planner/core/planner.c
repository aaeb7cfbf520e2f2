#include "planner/core/planner.h"

#include <stdio.h>
#include <string.h>

#include "planner/core/alternatives.h"
#include "planner/core/applied.h"
#include "planner/core/lower.h"
#include "planner/core/power.h"
#include "planner/core/result.h"
#include "planner/core/sequence.h"
#include "planner/core/solve.h"
#include "planner/core/survive.h"
#include "proto/util.h"

#define DEFAULT_EFFORT 5000000

const char *planner_mode_name(enum planner_mode mode)
{
    static const char *const names[] = {
#define X(name, text) text,
        PLANNER_MODES(X)
#undef X
    };
    return names[mode];
}

/* ---- is the problem in order? ---- */

static int check_indices(const struct planner_problem *p, struct err *err)
{
    for (int i = 0; i < p->n_sources; i++)
        if (p->sources[i] < 0 || p->sources[i] >= p->model->n_hosts)
            return err_set(err, ERR_INVALID, "planner: sources[%d]: no such host", i);
    for (int i = 0; i < p->n_moves; i++)
        if (p->moves[i].vm < 0 || p->moves[i].vm >= p->model->n_vms || p->moves[i].to < 0 ||
            p->moves[i].to >= p->model->n_hosts)
            return err_set(err, ERR_INVALID, "planner: moves[%d]: no such VM or host", i);
    return 0;
}

static int check_loads(const struct planner_problem *p, struct err *err)
{
    if (p->mode == PLANNER_RESTART && p->copy_storage)
        return err_set(err, ERR_INVALID, "planner: the disks of a lost host cannot be copied");
    if (p->mode == PLANNER_RELIEVE && p->vm_load == NULL)
        return err_set(err, ERR_INVALID, "planner: relief needs the VMs' loads");
    for (int v = 0; p->vm_load != NULL && v < p->model->n_vms; v++)
        if (p->vm_load[v] != QUANTITY_UNKNOWN &&
            (p->vm_load[v] < 0 || p->vm_load[v] > (int64_t)1 << 40))
            return err_set(err, ERR_INVALID, "planner: the load of %s is out of range",
                           vm_label(&p->model->vms[v]));
    return 0;
}

/* ---- what could not be done ---- */

static void add_left_out(struct solve *x, const struct sequence *q)
{
    for (int i = 0; i < q->n_left_out; i++)
        solve_refuse(x, q->left_out[i].vm, q->left_out[i].to,
                     fit_code_name(q->left_out[i].why.code))
            ->why = q->left_out[i].why;
}

static void say_nothing_to_do(const struct solve *x, struct planner_result *r)
{
    if (x->reason[0] != '\0')
        snprintf(r->reason, sizeof r->reason, "%s", x->reason);
    else if (r->n_refusals > 0)
        snprintf(r->reason, sizeof r->reason, "nothing can be moved: %.200s",
                 r->refusals[r->n_refusals - 1].why.message);
    else
        snprintf(r->reason, sizeof r->reason, "nothing better was found");
}

static void solve_mode(struct solve *x)
{
    switch (x->p->mode) {
    case PLANNER_RELIEVE:
        solve_relieve(x);
        break;
    case PLANNER_BALANCE:
        solve_balance(x);
        break;
    case PLANNER_CONSOLIDATE:
        solve_consolidate(x);
        break;
    case PLANNER_DRAIN:
        solve_drain(x);
        break;
    case PLANNER_ENFORCE:
        solve_enforce(x);
        break;
    case PLANNER_MOVES:
        solve_moves(x);
        break;
    case PLANNER_RESTART:
        solve_restart(x);
        break;
    }
}

/* ---- solving, and going on from there ---- */

/* Planning again after each plan finds what its moves made possible; so often, where that is cheap.
 */
#define ROUNDS_MAX 8
#define ROUNDS_PAIRS 4000000

struct run {
    const struct planner_problem *p;
    struct verdicts verdicts;
    struct lower *l;
    struct state *s; /* of l; after each round at what the steps reach */
    struct solve x;  /* the newest whose moves were taken */
    struct sequence q;
    int64_t effort, spent; /* evaluations: allowed, of all rounds */
};

static int64_t n_plus_of(const struct planner_problem *p)
{
    return p->n_plus == QUANTITY_UNKNOWN ? p->model->limits.n_plus : p->n_plus;
}

static int *copy_at(const struct state *s)
{
    return xmemdup(s->at, (size_t)MAX(s->in->n_vms, 1) * sizeof *s->at);
}

/* Steps from l's beginning to target; s ends at what they reach. */
static void sequence_to(struct lower *l, struct state *s, const int *target, msec elapsed_ms,
                        struct sequence *ret)
{
    state_assign(s, l->in.initial);
    state_ratchet(s);
    sequence_make(l, s, target, n_plus_of(l->p), elapsed_ms, ret);
}

/* Each VM may go straight to where it ends. */
static bool straight(const struct run *run, const int *target)
{
    const struct instance *in = &run->l->in;
    for (int v = 0; v < in->n_vms; v++)
        if (in->initial[v] >= 0 && target[v] != in->initial[v] &&
            (in->closed[target[v]] || !in->allowed(in->allowed_ctx, v, target[v])))
            return false;
    return true;
}

/* The moves of all rounds as one plan, each VM at most once (parking apart); false: not in a safe
 * order. */
static bool merge(struct run *run, const int *target)
{
    struct sequence q;
    if (!straight(run, target))
        return false;
    _cleanup_(freep) int *reached = copy_at(run->s);
    sequence_to(run->l, run->s, target, 0, &q);
    if (q.n_left_out > 0) {
        sequence_done(&q);
        state_assign(run->s, reached);
        return false;
    }
    sequence_done(&run->q);
    run->q = q;
    return true;
}

static void append(struct run *run, const struct sequence *more)
{
    struct sequence *q = &run->q;
    ARRAY_RESERVE(q->moves, q->cap_moves, (size_t)(q->n_moves + more->n_moves) + 1);
    for (int i = 0; i < more->n_moves; i++) {
        q->moves[q->n_moves] = more->moves[i];
        q->moves[q->n_moves++].step += q->n_steps;
        state_move(run->s, more->moves[i].vm, more->moves[i].to);
    }
    q->n_steps += more->n_steps;
    q->elapsed_ms = more->elapsed_ms;
}

/* Does a VM come back to where it was before? Then rounds could go to and fro. */
static bool comes_back(const struct run *run, const struct sequence *more)
{
    for (int i = 0; i < more->n_moves; i++)
        for (int k = 0; k < run->q.n_moves; k++)
            if (run->q.moves[k].vm == more->moves[i].vm &&
                run->q.moves[k].from == more->moves[i].to)
                return true;
    return false;
}

/* Steps that reach only part of a target may not be worth their moves: for balance, where nothing
 * but the cost is asked for, they are not where it does not fall. */
static bool is_worth(const struct planner_problem *p, const struct sequence *q, int64_t before,
                     int64_t after)
{
    return q->n_moves > 0 && (p->mode != PLANNER_BALANCE || q->n_left_out == 0 || after < before);
}

/* What the steps so far have moved is asked for no more. */
static void ask_less(const struct run *run, struct planner_problem *p, int64_t *relief,
                     int64_t *room)
{
    const struct model *m = run->p->model;
    for (int v = 0; v < m->n_vms; v++) {
        int from = run->l->in.initial[v], to = run->s->at[v];
        if (from < 0 || from == to || p->vm_load == NULL || p->vm_load[v] == QUANTITY_UNKNOWN)
            continue;
        int64_t gain = p->host_gain != NULL ? p->host_gain[to] : 1000;
        relief[from] = MAX(relief[from] - p->vm_load[v], 0);
        if (room[to] != QUANTITY_UNKNOWN && gain != QUANTITY_UNKNOWN)
            room[to] = MAX(room[to] - sat_mul(p->vm_load[v], gain) / 1000, 0);
    }
    p->host_relief = p->host_relief != NULL ? relief : NULL;
    p->host_room = p->host_room != NULL ? room : NULL;
    if (p->max_moves > 0)
        p->max_moves = MAX(p->max_moves - run->s->n_moved, 0);
}

static bool may_go_on(const struct run *run)
{
    const struct planner_problem *p = run->p;
    bool cheap = (int64_t)p->model->n_hosts * p->model->n_vms <= ROUNDS_PAIRS;
    bool room = p->max_moves == 0 || run->s->n_moved < p->max_moves;
    bool searches = p->mode != PLANNER_MOVES && p->mode != PLANNER_RESTART;
    return cheap && room && searches && run->s->n_moved > 0 && !run->x.stopped &&
           run->spent < run->effort;
}

/* One more round, in the model as the steps leave it; false: it finds nothing. */
static bool take_round(struct run *run, const struct planner_problem *p)
{
    _cleanup_(lower_freep) struct lower *l = lower_new(p, &run->verdicts);
    _cleanup_(search_state_freep) struct state *s = search_state_new(&l->in);
    int64_t before = s->cost;
    struct solve x = {.l = l, .s = s, .p = p, .effort = run->effort - run->spent};
    solve_mode(&x);
    run->spent += s->evaluations;
    _cleanup_(freep) int *target = copy_at(s);
    bool found = memcmp(target, run->s->at, (size_t)p->model->n_vms * sizeof *target) != 0;
    if (found && !merge(run, target)) {
        struct sequence more;
        sequence_to(l, s, target, run->q.elapsed_ms, &more);
        found = is_worth(p, &more, before, s->cost) &&
                (p->mode == PLANNER_BALANCE || !comes_back(run, &more));
        if (found)
            append(run, &more);
        sequence_done(&more);
    }
    if (found) {
        free(run->x.refusals);
        run->x = x;
        run->x.l = run->l;
        run->x.s = run->s;
        run->x.p = run->p;
    } else {
        free(x.refusals);
        run->x.stopped = run->x.stopped || x.stopped;
    }
    return found;
}

static bool go_on(struct run *run)
{
    size_t hosts = (size_t)run->p->model->n_hosts + 1;
    struct planner_problem p = *run->p;
    if (!may_go_on(run))
        return false;
    _cleanup_(model_freep) struct model *m = applied_new(p.model, run->s->at);
    _cleanup_(freep) int64_t *relief = xcalloc(hosts, sizeof *relief);
    _cleanup_(freep) int64_t *room = xcalloc(hosts, sizeof *room);
    if (p.host_relief != NULL)
        memcpy(relief, p.host_relief, (hosts - 1) * sizeof *relief);
    if (p.host_room != NULL)
        memcpy(room, p.host_room, (hosts - 1) * sizeof *room);
    ask_less(run, &p, relief, room);
    p.model = m;
    return take_round(run, &p);
}

static void solve_rounds(struct run *run)
{
    int64_t before = run->s->cost;
    solve_mode(&run->x);
    run->spent = run->s->evaluations;
    if (run->p->mode == PLANNER_RESTART)
        return; /* all start at once: nothing has to make room for another */
    _cleanup_(freep) int *target = copy_at(run->s);
    sequence_to(run->l, run->s, target, 0, &run->q);
    if (!is_worth(run->p, &run->q, before, run->s->cost)) {
        run->q.n_moves = run->q.n_steps = 0; /* what was left out stays said */
        run->q.elapsed_ms = 0;
        state_assign(run->s, run->l->in.initial);
    }
    for (int i = 1; i < ROUNDS_MAX && go_on(run); i++)
        ;
}

static void take_result(struct run *run, struct planner_result *r)
{
    if (run->p->mode == PLANNER_RESTART)
        result_add_starts(run->l, run->s, r);
    else
        result_add_actions(run->l, &run->q, r);
    add_left_out(&run->x, &run->q);
    result_measure_after(&run->x, r);
    if (run->p->alternatives)
        alternatives_find(&run->x, r);
    if (run->p->power && run->p->mode == PLANNER_CONSOLIDATE)
        power_add_standby(&run->x, r);
    r->effort = run->spent;
    r->refusals = run->x.refusals;
    r->n_refusals = (int)run->x.n_refusals;
    r->relief_missing = run->x.relief_missing;
    r->stopped_by = run->x.stopped ? "clock" : r->effort >= run->effort ? "effort" : "done";
    if (r->n_actions == 0)
        say_nothing_to_do(&run->x, r);
}

int planner_run(const struct planner_problem *p, struct planner_result **ret, struct err *err)
{
    int rc = check_indices(p, err);
    if (rc == 0)
        rc = check_loads(p, err);
    if (rc < 0)
        return rc;
    if (p->wake != NULL)
        return power_wake_first(p, ret, err);
    struct run run = {.p = p, .effort = p->effort > 0 ? p->effort : DEFAULT_EFFORT};
    struct planner_result *r = xcalloc(1, sizeof *r);
    verdicts_init(&run.verdicts, p);
    run.l = lower_new(p, &run.verdicts);
    run.s = search_state_new(&run.l->in);
    run.x = (struct solve){.l = run.l, .s = run.s, .p = p, .effort = run.effort};
    result_measure_before(&run.x, r);
    r->n_plus = n_plus_of(p);
    struct survive *before = r->n_plus > 0 ? survive_new(run.l, run.s, (int)r->n_plus) : NULL;
    r->n_plus_holds = r->n_plus == 0 || before != NULL;
    survive_free(before);
    solve_rounds(&run);
    take_result(&run, r);
    sequence_done(&run.q);
    search_state_free(run.s);
    lower_free(run.l);
    verdicts_done(&run.verdicts);
    rc = p->power ? power_wake(p, &r, err) : 0;
    if (rc < 0)
        planner_result_free(r);
    else
        *ret = r;
    return rc;
}

void planner_result_free(struct planner_result *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < r->n_actions; i++)
        free(r->actions[i].alternatives);
    free(r->actions);
    free(r->refusals);
    free(r->before);
    free(r->after);
    free(r);
}
