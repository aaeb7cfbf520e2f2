#include "planner/core/sequence.h"

#include <stdio.h>
#include <string.h>

#include "planner/core/predict.h"
#include "planner/core/sequence_step.h"
#include "planner/core/survive.h"
#include "proto/util.h"

struct worker {
    struct lower *l;
    struct state *s;
    const struct model_limits *limits;
    struct survive *survive; /* NULL: the loss of hosts is not asked about */
    int64_t n_plus;
    int *target;  /* [vm] */
    int *pending; /* blocks (their number), most urgent first */
    int n_pending;
    int *parked; /* [vm] times */
    struct step step;
    struct sequence *out;
};

static void add_block(struct worker *w, int b, int to, bool parking)
{
    struct sequence *q = w->out;
    int n = block_size(w->l, b);
    ARRAY_RESERVE(q->moves, q->cap_moves, (size_t)(q->n_moves + n));
    for (int i = 0; i < n; i++) {
        int vm = block_members(w->l, b)[i];
        q->moves[q->n_moves++] = (struct sequence_move){
            .vm = vm, .from = w->s->at[vm], .to = to, .step = q->n_steps, .parking = parking};
    }
    step_add(&w->step, b, to);
}

static void apply_step(struct worker *w)
{
    struct sequence *q = w->out;
    q->elapsed_ms = sat_add(q->elapsed_ms, step_duration(&w->step));
    for (size_t i = 0; i < w->step.n_moves; i++)
        state_move(w->s, w->step.moves[i].vm, w->step.moves[i].to);
    state_ratchet(w->s);
    q->n_steps++;
    step_clear(&w->step, q->elapsed_ms);
}

static void undo_step(struct worker *w, int first, msec elapsed_ms)
{
    for (int i = w->out->n_moves - 1; i >= first; i--)
        state_move(w->s, w->out->moves[i].vm, w->out->moves[i].from);
    state_ratchet(w->s);
    w->out->n_moves = first;
    w->out->n_steps--;
    w->out->elapsed_ms = elapsed_ms;
    step_clear(&w->step, elapsed_ms);
}

/* ---- choosing ---- */

static bool at_target(const struct worker *w, int b)
{
    int vm = block_members(w->l, b)[0];
    return w->s->at[vm] == w->target[vm];
}

static void fill_step(struct worker *w)
{
    for (int i = 0; i < w->n_pending && w->step.total < w->limits->total; i++) {
        int b = w->pending[i], to = w->target[block_members(w->l, b)[0]];
        if (step_can_go(&w->step, b, to))
            add_block(w, b, to, false);
    }
}

static void drop_arrived(struct worker *w)
{
    int n = 0;
    for (int i = 0; i < w->n_pending; i++)
        if (!at_target(w, w->pending[i]))
            w->pending[n++] = w->pending[i];
    w->n_pending = n;
}

/* May b stand on host on its way, and go on from there? A disk is not copied twice. */
static bool may_park(const struct worker *w, int b, int host)
{
    const struct instance *in = w->s->in;
    const struct model *m = w->l->m;
    for (int i = 0; i < block_size(w->l, b); i++) {
        int vm = block_members(w->l, b)[i];
        if (host == in->initial[vm] || (in->closed != NULL && in->closed[host]) ||
            (in->allowed != NULL && !in->allowed(in->allowed_ctx, vm, host)) ||
            fit_has_local_disk(&m->vms[vm], &m->hosts[m->vms[vm].host]) ||
            fit_from(m, vm, host, w->target[vm], false, NULL) != FIT_OK)
            return false;
    }
    return true;
}

/* Would b's leaving its host let a pending block in there? */
static bool someone_waits_for(struct worker *w, int b)
{
    int host = w->s->at[block_members(w->l, b)[0]];
    for (int i = 0; i < w->n_pending; i++)
        if (w->pending[i] != b && w->target[block_members(w->l, w->pending[i])[0]] == host)
            return true;
    return false;
}

/* Each VM parks at most once: the number of steps stays bounded. */
static bool park_one(struct worker *w)
{
    for (int i = w->n_pending - 1; i >= 0; i--) { /* least urgent, smallest first */
        int b = w->pending[i], vm = block_members(w->l, b)[0];
        if (w->parked[vm] > 0 || !someone_waits_for(w, b))
            continue;
        for (int h = 0; h < w->s->in->n_hosts; h++)
            if (h != w->s->at[vm] && h != w->target[vm] && may_park(w, b, h) &&
                step_can_go(&w->step, b, h)) {
                w->parked[vm]++;
                add_block(w, b, h, true);
                return true;
            }
    }
    return false;
}

/* After the step, with k hosts lost, the rest must hold their VMs. If not, the moves are tried one
 * by one, so that one bad move does not stop the others. */
static bool survivable(struct worker *w)
{
    return w->survive == NULL || survive_step(w->survive);
}

static void leave_out(struct worker *w, int b, const struct fit_refusal *why)
{
    struct sequence *q = w->out;
    for (int i = 0; i < block_size(w->l, b); i++) {
        int vm = block_members(w->l, b)[i];
        ARRAY_RESERVE(q->left_out, q->cap_left_out, (size_t)q->n_left_out + 1);
        q->left_out[q->n_left_out++] =
            (struct left_out){.vm = vm, .to = w->target[vm], .why = *why};
    }
}

static void refuse_n_plus(struct worker *w, int b)
{
    struct fit_refusal why;
    int vm = block_members(w->l, b)[0];
    fit_refuse(&why, FIT_N_PLUS, "with %s on %s, too little would be left were %lld hosts lost",
               vm_label(&w->l->m->vms[vm]), w->l->m->hosts[w->target[vm]].name,
               (long long)w->n_plus);
    leave_out(w, b, &why);
}

/* One at a time; what endangers N+k alone is given up. */
static bool step_of_one(struct worker *w)
{
    for (int i = 0; i < w->n_pending; i++) {
        int b = w->pending[i], to = w->target[block_members(w->l, b)[0]];
        if (!step_can_go(&w->step, b, to))
            continue;
        int first = w->out->n_moves;
        msec elapsed_ms = w->out->elapsed_ms;
        add_block(w, b, to, false);
        apply_step(w);
        if (survivable(w))
            return true;
        undo_step(w, first, elapsed_ms);
        refuse_n_plus(w, b);
        memmove(&w->pending[i], &w->pending[i + 1],
                (size_t)(w->n_pending - i - 1) * sizeof *w->pending);
        w->n_pending--;
        i--;
    }
    return false;
}

static bool advance(struct worker *w)
{
    int first = w->out->n_moves;
    msec elapsed_ms = w->out->elapsed_ms;
    fill_step(w);
    if (w->step.total == 0 && !park_one(w))
        return false;
    apply_step(w);
    if (survivable(w))
        return true;
    undo_step(w, first, elapsed_ms);
    return step_of_one(w);
}

/* ---- what is left out ---- */

static void explain_left_out(struct worker *w, int b)
{
    struct fit_refusal why;
    int vm = block_members(w->l, b)[0], to = w->target[vm];
    const char *name = vm_label(&w->l->m->vms[vm]), *host = w->l->m->hosts[to].name;
    char code[64];
    enum fit_code c = lower_explain(w->l, w->s, vm, to, code, &why);
    const struct model_limits *k = w->limits;
    if (k->total <= 0 || k->inflow_per_host <= 0 || k->outflow_per_host <= 0)
        fit_refuse(&why, FIT_LIMIT, "a limit of 0 moves holds %s where it is", name);
    else if (!step_in_time(&w->step, b, to))
        fit_refuse(&why, FIT_DEADLINE, "%s would not arrive on %s in time", name, host);
    else if (c == FIT_OK && w->l->m->vms[vm].numa_nodes > 0)
        fit_refuse(&why, FIT_NUMA, "the NUMA nodes of %s do not hold %s with what comes there too",
                   host, name);
    else if (c == FIT_OK)
        fit_refuse(&why, FIT_NO_ORDER, "no safe order of moves brings %s to %s", name, host);
    leave_out(w, b, &why);
}

/* ---- the beginning ---- */

struct urgency {
    int block;
    int64_t priority, ms;
};

static int by_urgency(const void *a, const void *b)
{
    const struct urgency *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    if (x->ms != y->ms) /* longest first: steps are barriers, so like goes with like */
        return x->ms > y->ms ? -1 : 1;
    return (x->block > y->block) - (x->block < y->block);
}

static struct urgency urgency_of(const struct worker *w, int b)
{
    struct urgency u = {.block = b, .priority = INT64_MIN};
    for (int i = 0; i < block_size(w->l, b); i++) {
        int vm = block_members(w->l, b)[i];
        struct planner_parameters p;
        struct planner_estimate e;
        predict_move(w->l->m, vm, w->s->at[vm], w->target[vm], false, 1, 1, &p, &e);
        u.ms = MAX(u.ms, e.ms);
        u.priority = MAX(u.priority, w->l->m->vms[vm].priority);
    }
    return u;
}

static void find_pending(struct worker *w)
{
    const struct instance *in = w->s->in;
    _cleanup_(freep) struct urgency *list = xcalloc((size_t)in->n_vms + 1, sizeof *list);
    for (int v = 0; v < in->n_vms; v++)
        if (w->l->block[v] == v && in->initial[v] >= 0 && w->target[v] != w->s->at[v])
            list[w->n_pending++] = urgency_of(w, v);
    if (w->n_pending > 0)
        qsort(list, (size_t)w->n_pending, sizeof *list, by_urgency);
    w->pending = xcalloc((size_t)w->n_pending + 1, sizeof *w->pending);
    for (int i = 0; i < w->n_pending; i++)
        w->pending[i] = list[i].block;
}

/* ---- the whole ---- */

static void run(struct lower *l, struct state *s, int *target, int64_t n_plus, struct sequence *q)
{
    struct worker w = {
        .l = l, .s = s, .limits = &l->m->limits, .n_plus = n_plus, .target = target, .out = q};
    w.parked = xcalloc((size_t)s->in->n_vms + 1, sizeof *w.parked);
    w.survive = n_plus > 0 ? survive_new(l, s, (int)n_plus) : NULL;
    step_init(&w.step, l, s, l->p->deadline_ms);
    step_clear(&w.step, q->elapsed_ms);
    find_pending(&w);
    while (w.n_pending > 0 && advance(&w))
        drop_arrived(&w);
    drop_arrived(&w);
    for (int i = 0; i < w.n_pending; i++)
        explain_left_out(&w, w.pending[i]);
    step_done(&w.step);
    survive_free(w.survive);
    free(w.pending);
    free(w.parked);
}

/* Those that stand on a host of passage, and get no further, need not have set out. */
static bool stay_home(const struct state *s, const struct sequence *q, int *target)
{
    bool any = false;
    for (int i = 0; i < q->n_left_out; i++) {
        int vm = q->left_out[i].vm, home = s->in->initial[vm];
        any = any || s->at[vm] != home;
        target[vm] = s->at[vm] != home ? home : target[vm];
    }
    return any;
}

static void keep_reasons(const struct sequence *from, const int *target, struct sequence *to)
{
    for (int i = 0; i < from->n_left_out; i++) {
        if (target[from->left_out[i].vm] == from->left_out[i].to)
            continue; /* it is asked for again */
        ARRAY_RESERVE(to->left_out, to->cap_left_out, (size_t)to->n_left_out + 1);
        to->left_out[to->n_left_out++] = from->left_out[i];
    }
}

void sequence_make(struct lower *l, struct state *s, const int *target, int64_t n_plus,
                   msec elapsed_ms, struct sequence *ret)
{
    _cleanup_(freep) int *wanted = xmemdup(target, (size_t)MAX(l->m->n_vms, 1) * sizeof *target);
    *ret = (struct sequence){.elapsed_ms = elapsed_ms};
    run(l, s, wanted, n_plus, ret);
    while (stay_home(s, ret, wanted)) {
        struct sequence again = {.elapsed_ms = elapsed_ms};
        state_assign(s, l->in.initial);
        state_ratchet(s);
        keep_reasons(ret, wanted, &again);
        run(l, s, wanted, n_plus, &again);
        sequence_done(ret);
        *ret = again;
    }
}

void sequence_done(struct sequence *q)
{
    free(q->moves);
    free(q->left_out);
    *q = (struct sequence){0};
}
