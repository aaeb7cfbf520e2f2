#include "planner/core/solve.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "planner/core/conflict.h"
#include "proto/util.h"

const int *solve_block(const struct lower *l, int vm, int *ret_n)
{
    int b = l->block[vm];
    *ret_n = l->block_first[b + 1] - l->block_first[b];
    return &l->block_vms[l->block_first[b]];
}

static bool block_may_move(const struct solve *x, const int *vms, int n)
{
    for (int i = 0; i < n; i++)
        if (x->l->in.fixed[vms[i]])
            return false;
    return true;
}

/* Several VMs: make the moves, look, and take them back. */
static int64_t joint_delta(struct solve *x, const int *vms, int n, int host)
{
    struct state *s = x->s;
    const struct instance *in = s->in;
    int from = s->at[vms[0]];
    if (!block_may_move(x, vms, n) || in->closed[host] || state_broken_during(s, vms, n, host) >= 0)
        return STATE_INFEASIBLE;
    for (int i = 0; i < n; i++)
        if (!in->allowed(in->allowed_ctx, vms[i], host))
            return STATE_INFEASIBLE;
    int64_t before = s->cost;
    for (int i = 0; i < n; i++)
        state_move(s, vms[i], host);
    int64_t delta =
        state_rules_hold(s) && state_host_fits(s, host) ? s->cost - before : STATE_INFEASIBLE;
    for (int i = 0; i < n; i++)
        state_move(s, vms[i], from);
    s->evaluations += n;
    return delta;
}

int64_t solve_block_delta(struct solve *x, int vm, int host)
{
    int n;
    const int *vms = solve_block(x->l, vm, &n);
    if (x->s->at[vm] == host)
        return STATE_INFEASIBLE;
    if (n == 1)
        return x->l->in.fixed[vm] ? STATE_INFEASIBLE : state_delta(x->s, vm, host);
    return joint_delta(x, vms, n, host);
}

void solve_move_block(struct solve *x, int vm, int host)
{
    int n;
    const int *vms = solve_block(x->l, vm, &n);
    for (int i = 0; i < n; i++)
        state_move(x->s, vms[i], host);
}

int solve_best_host(struct solve *x, int vm, int64_t *ret_delta)
{
    int best = MODEL_NONE;
    int64_t least = STATE_INFEASIBLE;
    for (int h = 0; h < x->s->in->n_hosts; h++) {
        if (x->l->in.closed[h])
            continue;
        int64_t d = solve_block_delta(x, vm, h);
        if (d < least) {
            least = d;
            best = h;
        }
    }
    if (ret_delta != NULL)
        *ret_delta = least;
    return best;
}

bool solve_out_of_effort(struct solve *x)
{
    if (!x->stopped && x->p->stop != NULL && x->p->stop(x->p->stop_ctx))
        x->stopped = true;
    return x->stopped || x->s->evaluations >= x->effort;
}

bool solve_may_move(const struct solve *x, int vm)
{
    int n;
    solve_block(x->l, vm, &n);
    if (x->s->at[vm] != x->l->in.initial[vm])
        n = 0;
    return x->p->max_moves == 0 || x->s->n_moved + n <= x->p->max_moves;
}

void solve_refuse_limit(struct solve *x, int vm)
{
    struct fit_refusal why;
    fit_refuse(&why, FIT_LIMIT, "%s stays: the plan makes %" PRId64 " moves at most",
               vm_label(&x->l->m->vms[vm]), x->p->max_moves);
    solve_refuse(x, vm, MODEL_NONE, fit_code_name(why.code))->why = why;
}

struct planner_refusal *solve_refuse(struct solve *x, int vm, int host, const char *code)
{
    ARRAY_RESERVE(x->refusals, x->cap_refusals, x->n_refusals + 1);
    struct planner_refusal *r = &x->refusals[x->n_refusals++];
    *r = (struct planner_refusal){.vm = vm, .host = host, .why = {.amount = QUANTITY_UNKNOWN}};
    snprintf(r->code, sizeof r->code, "%s", code);
    return r;
}

/* ---- explaining ---- */

#define HOSTS_EXPLAINED 8

/* How far from allowed: what only lacks an amount comes before what another kind of change needs.
 */
static int64_t distance_of(const struct fit_refusal *r, int vm_specific)
{
    if (vm_specific)
        return INT64_MAX;
    return r->amount == QUANTITY_UNKNOWN ? INT64_MAX - 1 : r->amount;
}

struct near {
    int host;
    int64_t distance;
};

static int by_distance(const void *a, const void *b)
{
    const struct near *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return (x->host > y->host) - (x->host < y->host);
}

/* "r1, r2 and r3" */
static void list_rules(const struct model *m, const int *rules, int n, char *ret, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < n && at < size; i++) {
        const char *before = i == 0 ? "" : i + 1 < n ? ", " : " and ";
        at += (size_t)snprintf(ret + at, size - at, "%s%s", before, m->rules[rules[i]].name);
    }
}

/* least: rules that it must be of. */
static bool explain_conflict(struct solve *x, int vm, int least)
{
    int rules[CONFLICT_RULES_MAX];
    char names[160];
    int n = conflict_find(x->l, x->s, vm, rules);
    if (n < least)
        return false;
    list_rules(x->l->m, rules, n, names, sizeof names);
    struct planner_refusal *r = solve_refuse(x, vm, MODEL_NONE, fit_code_name(FIT_RULES_CONFLICT));
    fit_refuse(&r->why, FIT_RULES_CONFLICT, "rule%s %s cannot be kept%s, whatever moves: %s stays",
               n == 1 ? "" : "s", names, n == 1 ? "" : " together", vm_label(&x->l->m->vms[vm]));
    r->n_rules = MIN(n, PLANNER_CONFLICT_MAX);
    memcpy(r->rules, rules, (size_t)r->n_rules * sizeof *rules);
    fit_relax(&r->why, FIT_RULES_CONFLICT, "rule", QUANTITY_UNKNOWN, x->l->m->rules[rules[0]].name,
              n == 1 ? "relax %s" : "relax one of %s", names);
    return true;
}

static void explain_whole(struct solve *x, int vm, int n_hosts, int nearest)
{
    char code[64];
    struct fit_refusal why;
    if (nearest == MODEL_NONE) {
        struct planner_refusal *r = solve_refuse(x, vm, MODEL_NONE, "NO_HOST");
        fit_refuse(&r->why, FIT_NO_HOST, "no host is offered to %s", vm_label(&x->l->m->vms[vm]));
        return;
    }
    enum fit_code c = lower_explain(x->l, x->s, vm, nearest, code, &why);
    struct planner_refusal *r = solve_refuse(x, vm, MODEL_NONE, "NO_HOST");
    r->why = why;
    r->why.code = FIT_NO_HOST;
    if (c == FIT_OK) { /* one of those that move with it is in the way */
        fit_refuse(&r->why, FIT_NO_HOST, "no host takes %s with those it must stay with",
                   vm_label(&x->l->m->vms[vm]));
        return;
    }
    snprintf(r->why.message, sizeof r->why.message, "none of %d hosts would do; nearest: %.180s",
             n_hosts, why.message);
}

void solve_explain_vm(struct solve *x, int vm)
{
    const struct model *m = x->l->m;
    struct fit_refusal why;
    if (x->l->movable[vm] != FIT_OK) {
        if (x->l->movable[vm] == FIT_NOT_CANDIDATE ||
            (x->l->movable[vm] == FIT_RULE_KEEP && explain_conflict(x, vm, 2)))
            return;
        fit_movable(m, vm, x->p->now, x->p->cooldown_ms, x->p->override_holds, &why);
        solve_refuse(x, vm, MODEL_NONE, fit_code_name(why.code))->why = why;
        return;
    }
    _cleanup_(freep) struct near *list = xcalloc((size_t)m->n_hosts + 1, sizeof *list);
    int n = 0;
    for (int h = 0; h < m->n_hosts; h++) {
        char code[64];
        if (h == x->s->at[vm] || h == m->vms[vm].host)
            continue;
        enum fit_code c = lower_explain(x->l, x->s, vm, h, code, &why);
        bool state_only = c == FIT_HOST_STATE || c == FIT_NOT_DESTINATION;
        if (c != FIT_OK)
            list[n++] = (struct near){h, distance_of(&why, state_only)};
    }
    if (n > 0)
        qsort(list, (size_t)n, sizeof *list, by_distance);
    for (int i = 0; i < MIN(n, HOSTS_EXPLAINED); i++) {
        char code[64];
        lower_explain(x->l, x->s, vm, list[i].host, code, &why);
        solve_refuse(x, vm, list[i].host, code)->why = why;
    }
    if (!explain_conflict(x, vm, 1))
        explain_whole(x, vm, n, n > 0 ? list[0].host : MODEL_NONE);
}

/* ---- mode: exactly the moves asked for ---- */

static bool all_together(struct solve *x)
{
    struct state *s = x->s;
    const struct instance *in = s->in;
    for (int i = 0; i < x->p->n_moves; i++) {
        int vm = x->p->moves[i].vm, to = x->p->moves[i].to;
        if (in->initial[vm] < 0 || in->fixed[vm] || in->closed[to] || to == in->initial[vm] ||
            !in->allowed(in->allowed_ctx, vm, to))
            return false;
    }
    for (int i = 0; i < x->p->n_moves; i++)
        state_move(s, x->p->moves[i].vm, x->p->moves[i].to);
    bool fit = state_rules_hold(s);
    for (int i = 0; fit && i < x->p->n_moves; i++)
        fit = state_host_fits(s, x->p->moves[i].to);
    for (int i = 0; !fit && i < x->p->n_moves; i++)
        state_move(s, x->p->moves[i].vm, in->initial[x->p->moves[i].vm]);
    return fit;
}

static void refuse_move(struct solve *x, int vm, int to)
{
    char code[64];
    struct fit_refusal why;
    enum fit_code c = lower_explain(x->l, x->s, vm, to, code, &why);
    if (c == FIT_OK) {
        c = fit_refuse(&why, FIT_RULE_AFFINITY, "%s moves only with those it must stay with",
                       vm_label(&x->l->m->vms[vm]));
        snprintf(code, sizeof code, "%s", fit_code_name(c));
    }
    solve_refuse(x, vm, to, code)->why = why;
}

void solve_moves(struct solve *x)
{
    if (all_together(x))
        return;
    _cleanup_(freep) bool *done = xcalloc((size_t)x->p->n_moves + 1, sizeof *done);
    for (bool progress = true; progress;) {
        progress = false;
        for (int i = 0; i < x->p->n_moves; i++) {
            int vm = x->p->moves[i].vm, to = x->p->moves[i].to;
            if (done[i] || x->s->at[vm] < 0 || solve_block_delta(x, vm, to) == STATE_INFEASIBLE)
                continue;
            solve_move_block(x, vm, to);
            done[i] = progress = true;
        }
    }
    for (int i = 0; i < x->p->n_moves; i++)
        if (!done[i] && x->s->at[x->p->moves[i].vm] != x->p->moves[i].to)
            refuse_move(x, x->p->moves[i].vm, x->p->moves[i].to);
}

/* ---- mode: drain ---- */

struct waiting {
    int vm, hosts;
    int64_t size;
};

static int by_difficulty(const void *a, const void *b)
{
    const struct waiting *x = a, *y = b;
    if (x->hosts != y->hosts)
        return x->hosts - y->hosts;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->vm - y->vm;
}

/* Hosts that could ever take it, up to `most`: the fewer, the earlier it is placed. */
static int count_hosts(const struct solve *x, int vm, int most)
{
    const struct instance *in = x->s->in;
    int n = 0;
    for (int h = 0; h < in->n_hosts && n < most; h++)
        n += !in->closed[h] && in->allowed(in->allowed_ctx, vm, h);
    return n;
}

static int64_t size_of(const struct solve *x, int vm)
{
    int n;
    const int *vms = solve_block(x->l, vm, &n);
    int64_t size = 0;
    for (int i = 0; i < n; i++)
        size += x->l->in.demand[(size_t)vms[i] * (size_t)x->l->in.n_resources + LOWER_MEMORY];
    return size;
}

/* One block out of another's way: w leaves `host` for its own best host, so that vm can come. */
static bool make_way(struct solve *x, int vm, int host)
{
    const struct instance *in = x->s->in;
    const struct model_host *h = &x->l->m->hosts[host];
    for (int i = 0; i < h->n_vms; i++) {
        int w = h->vms[i];
        if (x->s->at[w] != host || in->fixed[w] || x->l->block[w] != w || solve_out_of_effort(x))
            continue;
        int to = solve_best_host(x, w, NULL);
        if (to == MODEL_NONE)
            continue;
        solve_move_block(x, w, to);
        if (solve_may_move(x, vm) && solve_block_delta(x, vm, host) != STATE_INFEASIBLE) {
            solve_move_block(x, vm, host);
            return true;
        }
        solve_move_block(x, w, host);
    }
    return false;
}

static bool squeeze_in(struct solve *x, int vm)
{
    const struct instance *in = x->s->in;
    for (int h = 0; h < in->n_hosts; h++)
        if (!in->closed[h] && in->allowed(in->allowed_ctx, vm, h) && make_way(x, vm, h))
            return true;
    return false;
}

/* Put every waiting block somewhere; those that find no host are explained. */
static void place_all(struct solve *x, struct waiting *list, int n)
{
    if (n > 0)
        qsort(list, (size_t)n, sizeof *list, by_difficulty);
    int left = 0;
    for (int i = 0; i < n; i++) {
        if (!solve_may_move(x, list[i].vm)) {
            solve_refuse_limit(x, list[i].vm);
            continue;
        }
        int to = solve_best_host(x, list[i].vm, NULL);
        if (to != MODEL_NONE)
            solve_move_block(x, list[i].vm, to);
        else
            list[left++] = list[i];
    }
    for (int i = 0; i < left; i++)
        if (!squeeze_in(x, list[i].vm))
            solve_explain_vm(x, list[i].vm);
}

void solve_drain(struct solve *x)
{
    const struct model *m = x->l->m;
    _cleanup_(freep) struct waiting *list = xcalloc((size_t)m->n_vms + 1, sizeof *list);
    int n = 0;
    for (int i = 0; i < x->p->n_sources; i++) {
        const struct model_host *h = &m->hosts[x->p->sources[i]];
        for (int k = 0; k < h->n_vms; k++) {
            int vm = h->vms[k];
            if (x->l->in.initial[vm] < 0)
                continue;
            if (x->l->movable[vm] != FIT_OK)
                solve_explain_vm(x, vm);
            else if (x->l->block[vm] == vm)
                list[n++] = (struct waiting){vm, count_hosts(x, vm, 32), size_of(x, vm)};
        }
    }
    if (n == 0)
        snprintf(x->reason, sizeof x->reason, "nothing runs there that could be moved");
    place_all(x, list, n);
}
