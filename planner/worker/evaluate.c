#include "planner/worker/evaluate.h"

#include <stdio.h>
#include <time.h>

#include "planner/core/plan_doc.h"
#include "planner/worker/waiting.h"
#include "proto/canon.h"

/* Searches at most: each round forbids what the filter refused in a projected state. */
#define ROUNDS_MAX 3
/* The search stops early enough to say what it has found. */
#define SEARCH_SHARE_PCT 70

void evaluation_done(struct evaluation *e)
{
    planner_result_free(e->result);
    policy_api_free(e->api);
    policy_done(&e->policy);
    sandbox_free(e->sandbox);
    model_free(e->model);
    json_decref(e->settings);
    json_decref(e->approvals);
    free(e->is_source);
    free(e->candidate);
    free(e->sources);
    free(e->vm_load);
    free(e->host_room);
    free(e->host_relief);
    free(e->host_gain);
    free(e->objective.wake);
    free(e->refused);
    free(e->refused_of);
}

/* ---- preparing */

int evaluation_sandbox(const struct worker_request *req, struct sandbox_clock *clock, uint64_t seed,
                       struct sandbox_coverage *coverage, struct sandbox **ret, struct err *err)
{
    struct sandbox_conf conf = {.memory_max = req->limits.lua_mib << 20,
                                .lua_ms = req->limits.lua_ms,
                                .seed = seed,
                                .clock = clock,
                                .coverage = coverage};
    return sandbox_new(&conf, ret, err);
}

/* Parameters: the snapshot's for the policy's name, and the request's for whatever it is called. */
static int load_settings(struct evaluation *e, struct err *err)
{
    const char *policies = e->model->policies_json, *params = e->req->params;
    int rc = 0;
    if (policies != NULL)
        rc = canon_parse(policies, strlen(policies), "snapshot: policies", &e->settings, err);
    if (rc < 0 || params == NULL)
        return rc;
    json_t *set = NULL;
    rc = canon_parse(params, strlen(params), "parameters", &set, err);
    if (rc < 0)
        return rc;
    if (e->settings == NULL)
        e->settings = json_array();
    json_array_append_new(e->settings, json_pack("{s:s, s:o}", "name", POLICY_ANY, "params", set));
    return 0;
}

static int load_all(struct evaluation *e, struct err *err)
{
    const struct worker_request *req = e->req;
    int rc = model_parse(req->snapshot, req->snapshot_len, &e->model, err);
    if (rc < 0)
        return rc;
    e->now = req->has_at ? req->at : e->model->taken_at;
    e->seed = req->has_seed ? req->seed : e->model->seed;
    rc = load_settings(e, err);
    if (rc == 0)
        rc = evaluation_sandbox(req, e->clock, e->seed, e->coverage, &e->sandbox, err);
    if (rc == 0)
        rc = policy_load(&e->policy, e->sandbox, req->policy, req->policy_len, req->policy_name,
                         e->settings, err);
    if (rc == 0)
        rc = policy_api_new(&e->policy, e->model, e->now, e->seed, e->policy.cooldown_ms, &e->api,
                            err);
    hooks_init(&e->hooks, &e->policy, e->api, e->model);
    return rc;
}

/* Hosts the policy names, and which of their VMs may leave. */
static int take_sources(struct evaluation *e, struct err *err)
{
    const struct model *m = e->model;
    e->is_source = xcalloc((size_t)m->n_hosts, sizeof *e->is_source);
    e->candidate = xcalloc((size_t)m->n_vms, sizeof *e->candidate);
    e->sources = xcalloc((size_t)m->n_hosts, sizeof *e->sources);
    e->refused_of = xcalloc((size_t)m->n_vms, sizeof *e->refused_of);
    for (int v = 0; v < m->n_vms; v++)
        e->refused_of[v] = -1;
    if (e->policy.has[HOOK_SOURCES]) {
        int rc = hook_sources(&e->hooks, e->is_source, err);
        if (rc < 0)
            return rc;
    } else {
        for (int i = 0; i < m->n_hosts; i++)
            e->is_source[i] = m->hosts[i].n_vms > 0;
    }
    for (int i = 0; i < m->n_hosts; i++) {
        if (!e->is_source[i])
            continue;
        e->sources[e->n_sources++] = i;
        if (hook_select(&e->hooks, i, e->candidate, err) < 0 && sandbox_is_spent(e->sandbox))
            return -(int)err->code; /* a failing select leaves that host's VMs where they are */
    }
    for (int v = 0; v < m->n_vms; v++)
        if (e->candidate[v] && !policy_in_scope(&e->policy, &m->vms[v]))
            e->candidate[v] = false;
    return 0;
}

static int64_t *numbers(int n)
{
    return xcalloc((size_t)n, sizeof(int64_t));
}

/* The objective's own resource, asked of hosts and VMs. */
static int take_resource(struct evaluation *e, struct err *err)
{
    const struct objective *o = &e->objective;
    if (!o->has_resource)
        return 0;
    const struct model *m = e->model;
    int rc = 0;
    e->vm_load = numbers(m->n_vms);
    rc = hook_vm_numbers(&e->hooks, o->ref_load, e->candidate, e->vm_load, err);
    if (rc == 0 && o->ref_room >= 0) {
        e->host_room = numbers(m->n_hosts);
        rc = hook_host_numbers(&e->hooks, o->ref_room, NULL, e->host_room, err);
    }
    if (rc == 0 && o->ref_relief >= 0) {
        e->host_relief = numbers(m->n_hosts);
        rc = hook_host_numbers(&e->hooks, o->ref_relief, e->is_source, e->host_relief, err);
    }
    if (rc == 0 && o->ref_gain >= 0) {
        e->host_gain = numbers(m->n_hosts);
        rc = hook_host_numbers(&e->hooks, o->ref_gain, NULL, e->host_gain, err);
    }
    return rc;
}

/* ---- searching */

static const struct pair *refused_before(const struct evaluation *e, int vm, int host)
{
    for (int i = e->refused_of[vm]; i >= 0; i = e->refused[i].next)
        if (e->refused[i].host == host)
            return &e->refused[i];
    return NULL;
}

static void refuse(struct planner_verdict *ret, const char *code, const char *message)
{
    *ret = (struct planner_verdict){.reject = true};
    snprintf(ret->code, sizeof ret->code, "%s", code);
    snprintf(ret->message, sizeof ret->message, "%s", message);
}

static void judge(void *ctx, int vm, int host, struct planner_verdict *ret)
{
    struct evaluation *e = ctx;
    const struct pair *p = refused_before(e, vm, host);
    if (p != NULL) {
        *ret = p->verdict;
    } else if (sandbox_is_spent(e->sandbox)) {
        refuse(ret, "POLICY_ERROR", "the policy's time was over");
    } else if (e->policy.pairs_asked >= e->req->limits.pairs) {
        e->policy.pairs_not_asked++;
        refuse(ret, "NOT_ASKED", "the policy was asked about as many pairs as one run allows");
    } else {
        e->policy.pairs_asked++;
        hook_judge(&e->hooks, 0, vm, host, JUDGE_SCORE, ret);
    }
}

static msec monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool stop_search(void *ctx)
{
    const struct evaluation *e = ctx;
    return sandbox_is_spent(e->sandbox) || monotonic_ms() >= e->search_until;
}

static void set_problem(struct evaluation *e, struct planner_problem *p)
{
    const struct objective *o = &e->objective;
    *p = (struct planner_problem){.model = e->model,
                                  .mode = o->goal,
                                  .now = e->now,
                                  .cooldown_ms = e->policy.cooldown_ms,
                                  .override_holds = policy_overrides_holds(&e->policy),
                                  .copy_storage = o->copy_storage,
                                  .power = e->req->power,
                                  .wake = e->req->power ? o->wake : NULL,
                                  .alternatives = true,
                                  .sources = e->sources,
                                  .n_sources = e->n_sources,
                                  .candidate = e->candidate,
                                  .vm_load = e->vm_load,
                                  .host_room = e->host_room,
                                  .host_relief = e->host_relief,
                                  .host_gain = e->host_gain,
                                  .load_unit = o->unit[0] != '\0' ? o->unit : NULL,
                                  .weights = o->weights,
                                  .safety_pct = o->safety_pct,
                                  .min_gain = o->min_gain,
                                  .max_moves = o->max_moves,
                                  .deadline_ms = sat_mul(o->deadline_s, 1000),
                                  .n_plus = o->n_plus,
                                  .seed = e->seed,
                                  .effort = o->effort,
                                  .stop = stop_search,
                                  .stop_ctx = e};
    if (e->policy.has[HOOK_FILTER] || e->policy.has[HOOK_SCORE] || e->policy.has[HOOK_PERMIT]) {
        p->judge = judge;
        p->judge_ctx = e;
    }
}

/* A result with no moves, from the core, so that it has all its parts. */
static int propose_nothing(struct evaluation *e, const char *reason, struct err *err)
{
    struct planner_result *none = NULL;
    struct planner_problem p = {.model = e->model,
                                .mode = PLANNER_MOVES,
                                .now = e->now,
                                .n_plus = QUANTITY_UNKNOWN,
                                .seed = e->seed};
    int rc = planner_run(&p, &none, err);
    if (rc < 0)
        return rc;
    json_array_clear(e->approvals);
    sandbox_text(none->reason, sizeof none->reason, "%s", reason);
    planner_result_free(e->result);
    e->result = none;
    return 0;
}

/* The rest is about hosts alone: nothing for filter, permit or migration. */
static bool is_move(const struct planner_action *x)
{
    return x->type == PLAN_MIGRATE;
}

/* Make the view in which step `step` moves `vm`: earlier steps done, the others of its step
 * arrived. Which view that is, or negative. */
static int view_for(struct evaluation *e, int step, int vm, struct err *err)
{
    const struct planner_result *r = e->result;
    _cleanup_(freep) struct planner_move *moves = xcalloc((size_t)r->n_actions, sizeof *moves);
    int n = 0;
    for (int i = 0; i < r->n_actions; i++)
        if (is_move(&r->actions[i]) &&
            (r->actions[i].step < step || (r->actions[i].step == step && r->actions[i].vm != vm)))
            moves[n++] = (struct planner_move){r->actions[i].vm, r->actions[i].to};
    if (n == 0)
        return API_SNAPSHOT;
    int rc = api_project(e->api, moves, n, err);
    return rc < 0 ? rc : API_PROJECTED;
}

static void remember_refused(struct evaluation *e, const struct pair *p)
{
    if (refused_before(e, p->vm, p->host) != NULL)
        return;
    ARRAY_RESERVE(e->refused, e->cap_refused, e->n_refused + 1);
    e->refused[e->n_refused] = *p;
    e->refused[e->n_refused].next = e->refused_of[p->vm];
    e->refused_of[p->vm] = (int)e->n_refused++;
}

/* Ask the filter about each move in the state in which it will happen. *ret_refused: how many it
 * refused there, which are remembered. */
static int ask_again(struct evaluation *e, int *ret_refused, struct err *err)
{
    const struct planner_result *r = e->result;
    *ret_refused = 0;
    for (int i = 0; i < r->n_actions; i++) {
        const struct planner_action *x = &r->actions[i];
        struct pair p = {.vm = x->vm, .host = x->to};
        int view = is_move(x) ? view_for(e, x->step, x->vm, err) : API_SNAPSHOT;
        if (view < 0)
            return view;
        if (view == API_SNAPSHOT)
            continue; /* asked already, in this very state */
        hook_judge(&e->hooks, view, x->vm, x->to, JUDGE_FILTER, &p.verdict);
        if (p.verdict.reject) {
            remember_refused(e, &p);
            (*ret_refused)++;
        }
    }
    return 0;
}

/* Ask permit about each move: what it denies is refused, what it lets wait is kept for the answer.
 */
static int ask_permit(struct evaluation *e)
{
    const struct planner_result *r = e->result;
    int denied = 0;
    json_array_clear(e->approvals);
    for (int i = 0, number = 0; i < r->n_actions; i++) {
        const struct planner_action *x = &r->actions[i];
        struct permit permit;
        number = i > 0 && x->step == r->actions[i - 1].step ? number + 1 : 1;
        if (!is_move(x))
            continue;
        hook_permit(&e->hooks, x, &permit);
        if (permit.answer == PERMIT_DENY) {
            struct pair p = {.vm = x->vm, .host = x->to, .verdict = permit.denied};
            remember_refused(e, &p);
            denied++;
        } else if (permit.answer == PERMIT_WAIT) {
            char id[32];
            snprintf(id, sizeof id, "s%d-%d", x->step + 1, number); /* as plan_body_new() counts */
            json_array_append_new(e->approvals,
                                  json_pack("{s:s, s:s, s:I, s:s}", "action", id, "approvers",
                                            permit.approvers, "timeout_ms",
                                            (json_int_t)(permit.timeout_s * 1000), "reason",
                                            permit.reason));
        }
    }
    return denied;
}

static int fail_if_spent(const struct evaluation *e, struct err *err)
{
    if (!sandbox_is_spent(e->sandbox))
        return 0;
    const struct err *why = &e->policy.spent;
    if (why->code != ERR_OK)
        return err_set(err, why->code, "%s", why->msg);
    return err_set(err, ERR_POLICY, "%s: over the time limit of %lld ms", e->req->policy_name,
                   (long long)e->req->limits.lua_ms);
}

static int run_search(struct evaluation *e, const struct planner_problem *p, struct err *err)
{
    struct planner_result *r = NULL;
    int rc = planner_run(p, &r, err);
    if (rc < 0)
        return rc;
    planner_result_free(e->result);
    e->result = r;
    return fail_if_spent(e, err);
}

/* 1: the policy accepts the result as it stands, in each of its states. */
static int accepts_states(struct evaluation *e, struct err *err)
{
    int refused = 0, rc = 0;
    if (e->policy.has[HOOK_FILTER])
        rc = ask_again(e, &refused, err);
    if (rc == 0 && refused == 0)
        refused = ask_permit(e);
    return rc < 0 ? rc : refused == 0;
}

/* Instead of what the search found, what waits already, where it is as good and still allowed. */
static int keep_waiting(struct evaluation *e, struct err *err)
{
    _cleanup_(freep) struct planner_move *moves = NULL;
    struct planner_result *found = e->result, *old = NULL;
    struct planner_problem p;
    int n = found->n_actions > 0 ? waiting_moves(e, &moves) : 0;
    if (n == 0)
        return 0;
    set_problem(e, &p);
    p.mode = PLANNER_MOVES;
    p.moves = moves;
    p.n_moves = n;
    int rc = planner_run(&p, &old, err);
    if (rc < 0)
        return rc;
    if (old->n_actions == n && waiting_is_as_good(e, old, found)) {
        e->result = old;
        old = found;
        rc = accepts_states(e, err);
        if (rc == 0) { /* not as it stands now: back to what was found */
            old = e->result;
            e->result = found;
            ask_permit(e);
        }
    }
    planner_result_free(old);
    return MIN(rc, 0);
}

/* The rounds are over: what is left of the plan without the moves that the policy refuses. Fewer
 * moves mean fuller sources only, so that this comes to an end; it gives up all the same. */
static int prune(struct evaluation *e, struct err *err)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        const struct planner_result *r = e->result;
        _cleanup_(freep) struct planner_move *moves = xcalloc((size_t)r->n_actions, sizeof *moves);
        struct planner_problem p;
        set_problem(e, &p);
        p.mode = PLANNER_MOVES;
        p.moves = moves;
        for (int i = 0; i < r->n_actions; i++)
            if (is_move(&r->actions[i]) &&
                refused_before(e, r->actions[i].vm, r->actions[i].to) == NULL)
                moves[p.n_moves++] = (struct planner_move){r->actions[i].vm, r->actions[i].to};
        int rc = run_search(e, &p, err);
        if (rc == 0)
            rc = accepts_states(e, err);
        if (rc >= 0 && fail_if_spent(e, err) < 0)
            return -(int)err->code;
        if (rc != 0)
            return MIN(rc, 0);
    }
    return propose_nothing(
        e, "the policy refuses the moves in the states in which they would happen", err);
}

/* Search, ask the policy about what came of it, forbid what it refuses, search again. */
static int search(struct evaluation *e, struct err *err)
{
    struct planner_problem p;
    set_problem(e, &p);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        int rc = run_search(e, &p, err), accepted = 0;
        if (rc == 0)
            rc = accepted = accepts_states(e, err);
        if (rc >= 0 && fail_if_spent(e, err) < 0)
            return -(int)err->code;
        if (rc < 0)
            return rc;
        if (accepted)
            return keep_waiting(e, err);
    }
    return prune(e, err);
}

/* The policy's words for a move, under its goal; what the core says of a detour stays. */
static void word_action(struct evaluation *e, struct planner_action *a)
{
    struct planner_verdict v = {0};
    const char *goal = planner_mode_name(e->objective.goal), *core = strchr(a->reason, ':');
    size_t n = core != NULL ? (size_t)(core - a->reason) : 0;
    bool kept = n == strlen("moves") && strncmp(a->reason, "moves", n) == 0;
    if (!kept && (n != strlen(goal) || strncmp(a->reason, goal, n) != 0))
        return;
    if (e->policy.has[HOOK_SCORE])
        hook_judge(&e->hooks, 0, a->vm, a->to, JUDGE_REASON, &v);
    if (!v.reject && v.reason[0] != '\0')
        sandbox_text(a->reason, sizeof a->reason, "%s: %s", goal, v.reason);
    else if (kept)
        sandbox_text(a->reason, sizeof a->reason, "%s: %s can take it", goal,
                     e->model->hosts[a->to].name);
}

/* Now that the moves are known: reasons and parameters. */
static void finish_actions(struct evaluation *e)
{
    for (int i = 0; i < e->result->n_actions; i++) {
        if (!is_move(&e->result->actions[i]))
            continue;
        word_action(e, &e->result->actions[i]);
        hook_migration(&e->hooks, &e->result->actions[i]);
    }
}

static int ask_accept(struct evaluation *e, struct err *err)
{
    if (!e->policy.has[HOOK_ACCEPT] || e->result->n_actions == 0)
        return 0;
    char why[FIT_TEXT_MAX], text[FIT_TEXT_MAX];
    bool yes;
    struct err failure;
    if (hook_accept(&e->hooks, e->result, &yes, why, &failure) < 0) {
        if (fail_if_spent(e, err) < 0)
            return -(int)err->code;
        sandbox_text(text, sizeof text, "accept failed: %.200s", failure.msg);
    } else if (yes) {
        return 0;
    } else {
        sandbox_text(text, sizeof text, "not accepted: %.200s",
                     why[0] != '\0' ? why : "not worth it");
    }
    return propose_nothing(e, text, err);
}

/* What the policy says of VMs that should have left and find no host. */
static void ask_unplaceable(struct evaluation *e)
{
    struct planner_result *r = e->result;
    for (int i = 0; i < r->n_refusals && e->policy.has[HOOK_UNPLACEABLE]; i++)
        if (r->refusals[i].vm != MODEL_NONE && r->refusals[i].host == MODEL_NONE &&
            e->candidate[r->refusals[i].vm])
            hook_unplaceable(&e->hooks, &r->refusals[i]);
}

/* What may be otherwise in a moment is no reason to stop a VM; nor is what is not known. */
static bool is_final(const struct planner_refusal *r)
{
    static const char *const passing[] = {
        "IN_FLIGHT", "HOLD",           "COOLDOWN", "LIMIT",        "DEADLINE",
        "NO_ORDER",  "VM_NOT_RUNNING", "NO_GAIN",  "SOURCE_STATE", "NOT_CANDIDATE"};
    for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
        if (strcmp(r->code, passing[i]) == 0)
            return false;
    return strncmp(r->code, "UNKNOWN_", 8) != 0;
}

/* What its host's drain orders of a VM that finds no place; PLAN_MIGRATE: nothing. */
static enum plan_action_type fallback_of(const struct evaluation *e,
                                         const struct planner_refusal *r)
{
    if (strcmp(e->policy.class, "drain") != 0 || r->vm == MODEL_NONE || r->host != MODEL_NONE ||
        !e->candidate[r->vm] || !is_final(r))
        return PLAN_MIGRATE;
    const struct model_vm *vm = &e->model->vms[r->vm];
    const struct model_host *host = vm->host != MODEL_NONE ? &e->model->hosts[vm->host] : NULL;
    if (host == NULL || vm->state != VM_RUNNING || host->state != HOST_DRAINING ||
        host->drain_fallback == NULL)
        return PLAN_MIGRATE;
    return strcmp(host->drain_fallback, "shutdown") == 0  ? PLAN_SHUTDOWN
           : strcmp(host->drain_fallback, "suspend") == 0 ? PLAN_SUSPEND
                                                          : PLAN_MIGRATE;
}

static bool acts_on(const struct planner_result *r, int vm)
{
    for (int i = 0; i < r->n_actions; i++)
        if (r->actions[i].vm == vm)
            return true;
    return false;
}

static int by_vm(const void *a, const void *b)
{
    const struct planner_action *x = a, *y = b;
    return (x->vm > y->vm) - (x->vm < y->vm);
}

/* The drain's fallback, in a step of its own behind all moves: they may fail, and these need them
 * not. Why the VM cannot move stays said among the refusals. */
static void add_fallbacks(struct evaluation *e)
{
    struct planner_result *r = e->result;
    int before = r->n_actions;
    for (int i = 0; i < r->n_refusals; i++) {
        enum plan_action_type type = fallback_of(e, &r->refusals[i]);
        int vm = r->refusals[i].vm;
        if (type == PLAN_MIGRATE || acts_on(r, vm))
            continue;
        r->actions = xrealloc(r->actions, (size_t)r->n_actions + 1, sizeof *r->actions);
        struct planner_action *a = &r->actions[r->n_actions++];
        int host = e->model->vms[vm].host;
        *a = (struct planner_action){
            .type = type, .vm = vm, .from = host, .to = host, .step = r->n_steps};
        sandbox_text(a->reason, sizeof a->reason, "the drain's fallback: %.200s",
                     r->refusals[i].why.message);
        r->refusals[i].fallback = type == PLAN_SHUTDOWN ? "shutdown" : "suspend";
    }
    if (r->n_actions == before)
        return;
    qsort(&r->actions[before], (size_t)(r->n_actions - before), sizeof *r->actions, by_vm);
    r->n_steps++;
}

/* More hosts than a third that say what cannot be: something measures wrongly, and then it is wise
 * to leave alone what works. Only what people wait for, or what protects them, goes on. */
#define IMPLAUSIBLE_SHARE 3

static bool data_is_implausible(const struct evaluation *e, char *why, size_t size)
{
    const struct model *m = e->model;
    int n = 0, first = MODEL_NONE;
    for (int h = 0; h < m->n_hosts; h++)
        if (m->hosts[h].implausible != NULL) {
            first = first == MODEL_NONE ? h : first;
            n++;
        }
    if (policy_overrides_holds(&e->policy) || n < 2 || n * IMPLAUSIBLE_SHARE <= m->n_hosts)
        return false;
    snprintf(why, size, "the data of %d of %d hosts cannot be true (%s: %.100s): nothing is begun",
             n, m->n_hosts, m->hosts[first].name, m->hosts[first].implausible);
    return true;
}

static int evaluate(struct evaluation *e, struct err *err)
{
    char why[FIT_TEXT_MAX];
    int rc = hook_trigger(&e->hooks, &e->triggered, why, err);
    if (rc < 0)
        return rc;
    sandbox_text(e->reason, sizeof e->reason, "%s", why[0] != '\0' ? why : e->policy.name);
    if (!e->triggered) {
        char text[FIT_TEXT_MAX];
        sandbox_text(text, sizeof text, "not triggered%s%.200s", why[0] != '\0' ? ": " : "", why);
        sandbox_text(e->reason, sizeof e->reason, "%s", text);
        return propose_nothing(e, text, err);
    }
    if (data_is_implausible(e, why, sizeof why)) {
        e->triggered = false;
        sandbox_text(e->reason, sizeof e->reason, "%s", why);
        return propose_nothing(e, why, err);
    }
    if ((rc = take_sources(e, err)) < 0 ||
        (rc = hook_objective(&e->hooks, &e->objective, err)) < 0 ||
        (rc = take_resource(e, err)) < 0 || (rc = search(e, err)) < 0)
        return rc;
    if ((rc = ask_accept(e, err)) < 0)
        return rc;
    finish_actions(e);
    ask_unplaceable(e);
    add_fallbacks(e);
    json_t *figures = e->result->n_actions > 0 ? hook_verify(&e->hooks, e->result) : NULL;
    if (figures != NULL)
        api_note(e->api, "verify", figures);
    return fail_if_spent(e, err);
}

int evaluation_run(struct evaluation *e, struct err *err)
{
    e->approvals = json_array();
    e->search_until = monotonic_ms() + e->req->limits.run_ms * SEARCH_SHARE_PCT / 100;
    int rc = load_all(e, err);
    return rc < 0 ? rc : evaluate(e, err);
}

/* ---- the body */

/* What was refused in projected states, of VMs that then stay. */
static void add_refused(struct evaluation *e)
{
    struct planner_result *r = e->result;
    r->refusals = xrealloc(r->refusals, (size_t)r->n_refusals + e->n_refused, sizeof *r->refusals);
    _cleanup_(freep) bool *moves = xcalloc((size_t)e->model->n_vms, sizeof *moves);
    for (int i = 0; i < r->n_actions; i++)
        if (is_move(&r->actions[i]))
            moves[r->actions[i].vm] = true;
    for (int i = 0; i < r->n_refusals; i++) /* the search has said it of these */
        if (r->refusals[i].vm != MODEL_NONE)
            moves[r->refusals[i].vm] = true;
    for (size_t i = 0; i < e->n_refused; i++) {
        const struct pair *p = &e->refused[i];
        if (moves[p->vm])
            continue;
        struct planner_refusal *x = &r->refusals[r->n_refusals++];
        *x = (struct planner_refusal){.vm = p->vm, .host = p->host};
        x->why.code = FIT_POLICY;
        x->why.amount = QUANTITY_UNKNOWN;
        memcpy(x->code, p->verdict.code, sizeof x->code);
        memcpy(x->why.message, p->verdict.message, sizeof x->why.message);
    }
}

/* What the policy said with c:refuse() stands before what the search found. */
static void add_refusals(struct evaluation *e)
{
    int n;
    const struct api_refusal *said = api_refusals(e->api, &n);
    struct planner_result *r = e->result;
    if (e->n_refused > 0)
        add_refused(e);
    if (n == 0)
        return;
    r->refusals = xrealloc(r->refusals, (size_t)(r->n_refusals + n), sizeof *r->refusals);
    memmove(r->refusals + n, r->refusals, (size_t)r->n_refusals * sizeof *r->refusals);
    for (int i = 0; i < n; i++) {
        struct planner_refusal *x = &r->refusals[i];
        *x = (struct planner_refusal){.vm = said[i].vm, .host = said[i].host};
        x->why.code = FIT_POLICY;
        x->why.amount = QUANTITY_UNKNOWN;
        memcpy(x->code, said[i].code, sizeof x->code);
        memcpy(x->why.message, said[i].message, sizeof x->why.message);
    }
    r->n_refusals += n;
}

/* Why nothing is proposed although the trigger says that something should be. */
static void explain_nothing(struct evaluation *e)
{
    char why[FIT_TEXT_MAX];
    struct planner_result *r = e->result;
    if (r->n_actions > 0 || !e->triggered)
        return;
    sandbox_text(why, sizeof why, "%.150s; no moves: %.90s", e->reason, r->reason);
    memcpy(r->reason, why, sizeof why);
}

/* The core cuts texts to fit, perhaps within a character, which JSON does not hold. */
static void repair_texts(struct planner_result *r)
{
    sandbox_repair_text(r->reason);
    for (int i = 0; i < r->n_actions; i++)
        sandbox_repair_text(r->actions[i].reason);
    for (int i = 0; i < r->n_refusals; i++) {
        sandbox_repair_text(r->refusals[i].why.message);
        sandbox_repair_text(r->refusals[i].why.relax);
    }
}

int evaluation_body(struct evaluation *e, json_t **ret, struct err *err)
{
    add_refusals(e);
    repair_texts(e->result);
    explain_nothing(e);
    struct plan_origin origin = {.policy_name = e->policy.name,
                                 .policy_digest = e->policy.digest,
                                 .class = e->policy.class,
                                 .reason = e->reason,
                                 .seed = e->seed};
    return plan_body_new(e->model, e->result, &origin, ret, err);
}
