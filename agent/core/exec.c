/* exec.c - the actions of this host: which there are, how they start, what drives them. */
#include "agent/core/exec.h"

#include <stdio.h>

#include "agent/core/exec_action.h"
#include "agent/core/state.h"
#include "proto/codec.h"

#define REPORT_FIRST 1000
#define REPORT_SLOWEST 30000

/* ---- the collection ---- */

struct exec *exec_new(const struct view *view, const struct state *state)
{
    struct exec *e = xcalloc(1, sizeof *e);
    e->view = view;
    e->state = state;
    e->budget = budget_new("source");
    return e;
}

void exec_free(struct exec *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n; i++)
        action_free(e->actions[i]);
    budget_free(e->budget);
    free(e->actions);
    free(e);
}

static int compare(const struct action *a, const char *plan, const char *action)
{
    int order = strcmp(a->record->plan, plan);
    return order != 0 ? order : strcmp(a->record->action, action);
}

static struct action *find(const struct exec *e, const char *plan, const char *action)
{
    for (size_t i = 0; i < e->n; i++)
        if (compare(e->actions[i], plan, action) == 0)
            return e->actions[i];
    return NULL;
}

/* Takes record. */
static struct action *action_add(struct exec *e, Skein__JournalRecord *record)
{
    size_t at = 0;
    while (at < e->n && compare(e->actions[at], record->plan, record->action) < 0)
        at++;
    ARRAY_RESERVE(e->actions, e->cap, e->n + 1);
    memmove(&e->actions[at + 1], &e->actions[at], (e->n++ - at) * sizeof *e->actions);
    struct action *a = e->actions[at] = xcalloc(1, sizeof *a);
    a->record = record;
    snprintf(a->move.uuid, sizeof a->move.uuid, "%s", record->uuid);
    snprintf(a->move.vm, sizeof a->move.vm, "%s", record->vm);
    snprintf(a->move.to, sizeof a->move.to, "%s", record->to);
    a->move.persistent = record->persistent;
    return a;
}

static void take_parameters(struct action *a, const struct plan_move *m)
{
    a->type = m->type;
    a->move.how = m->how;
    a->move.bandwidth_mib_s = m->bandwidth_mib_s;
    a->move.downtime_ms = m->downtime_ms;
    a->estimate_ms = m->estimate_ms;
}

static enum exec_state state_to_load(Skein__JournalState state)
{
    switch (state) {
    case SKEIN__JOURNAL_STATE__JOURNAL_NONE:
    case SKEIN__JOURNAL_STATE__JOURNAL_RECEIVED:
    case SKEIN__JOURNAL_STATE__JOURNAL_RESERVED:
        return EXEC_LOOK; /* nothing was told to the hypervisor: the first tick forgets it */
    case SKEIN__JOURNAL_STATE__JOURNAL_STARTED:
    case SKEIN__JOURNAL_STATE__JOURNAL_FINISHED:
        return EXEC_SETTLE;
    case SKEIN__JOURNAL_STATE__JOURNAL_DONE:
        return EXEC_DONE;
    case SKEIN__JOURNAL_STATE__JOURNAL_UNDONE:
        return EXEC_UNDONE;
    case SKEIN__JOURNAL_STATE__JOURNAL_NEEDS_OPERATOR:
    case _SKEIN__JOURNAL_STATE_IS_INT_SIZE:
        break;
    }
    return EXEC_NEEDS_OPERATOR; /* a newer version's state is nothing to act on */
}

void exec_load(struct exec *e, const Skein__JournalRecord *record)
{
    budget_load(e->budget, record);
    bool usable = !record->acts_as_destination && record->plan != NULL && record->action != NULL &&
                  record->uuid != NULL && record->vm != NULL && record->from != NULL &&
                  record->to != NULL && record->permit != NULL && record->permit->digest != NULL &&
                  find(e, record->plan, record->action) == NULL;
    if (!usable)
        return;
    struct action *a = action_add(e, (Skein__JournalRecord *)codec_copy(&record->base));
    a->loaded = a->journaled = true;
    a->state = state_to_load(record->state);
    a->finished = record->state == SKEIN__JOURNAL_STATE__JOURNAL_FINISHED;
    struct plan_body *body;
    if (record->has_body &&
        plan_body_parse(record->body.data, record->body.len, &body, NULL) >= 0) {
        const struct plan_move *move = plan_body_move(body, record->action);
        if (move != NULL)
            take_parameters(a, move);
        plan_body_free(body);
    }
}

void exec_role(struct exec *e, const char *leader, uint64_t term)
{
    e->term = MAX(e->term, term);
    if (strcmp(e->leader, leader) == 0)
        return;
    snprintf(e->leader, sizeof e->leader, "%s", leader);
    for (size_t i = 0; i < e->n; i++) {
        struct action *a = e->actions[i];
        if (action_is_terminal(a)) {
            a->tries = 0;
            a->request = 0;
            a->retry_mono = 0;
        }
    }
}

/* ---- starting ---- */

static void answer_pending(const struct exec *e, struct step *s, const char *from, uint64_t id,
                           const Skein__Permit *permit)
{
    Skein__ActionReport report = SKEIN__ACTION_REPORT__INIT;
    report.plan = permit->plan;
    report.action = permit->action;
    report.has_state = 1;
    report.state = SKEIN__ACTION_STATE__ACTION_PENDING;
    report.reporter = (char *)s->conf->host;
    for (unsigned i = 0; i < EXEC_FORGOTTEN; i++) { /* the newest of several stands last */
        const struct forgotten *f = &e->forgotten[(e->next_forgotten + i) % EXEC_FORGOTTEN];
        if (strcmp(f->plan, permit->plan) == 0 && strcmp(f->action, permit->action) == 0) {
            report.code = (char *)err_name(f->err.code);
            report.message = (char *)f->err.msg;
        }
    }
    action_answer(s, from, id, &report);
}

/* Every action of the plan stops as soon as that is safe. exec_tick finds cancelled plans in
 * this host's own state; a host that does not vote learns of them from the signed cancel that the
 * planner's next start or query carries. */
static void cancel(struct exec *e, struct step *s, const char *plan, const char *reason)
{
    for (size_t i = 0; i < e->n; i++) {
        struct action *a = e->actions[i];
        if (strcmp(a->record->plan, plan) != 0 || action_is_terminal(a) || a->cancelled)
            continue;
        a->cancelled = true;
        if (a->outcome.code == ERR_OK || !action_has_started(a))
            err_set(&a->outcome, ERR_CANCELLED, "%s", reason);
        effect_trace(s, "exec %s/%s: %s: cancelled: %s", plan, a->record->action,
                     exec_state_name(a->state), reason);
    }
}

/* The planner hands on what people signed; a cancel among it counts whoever brings it. */
static void look_for_cancel(struct exec *e, struct step *s, const struct action *a,
                            const Skein__StartAction *start)
{
    char digest[HASH_HEX_SIZE] = "";
    struct gate_verdict verdict = {0};
    if (action_is_terminal(a) || start->n_approvals == a->record->n_approvals)
        return;
    gate_check(s->conf->trust, s->conf->cluster_uuid, start->body.data, start->body.len,
               start->approvals, start->n_approvals, NULL, s->now.wall, digest, &verdict, NULL);
    if (strcmp(digest, a->record->permit->digest) == 0 && (verdict.cancelled || verdict.rejected))
        cancel(e, s, a->record->plan, "people cancelled the plan");
}

/* The last attempt left the VM where it was, and another permit was committed since. */
static bool is_further_attempt(const struct action *a, const Skein__Permit *permit)
{
    const Skein__Permit *known = a->record->permit;
    return a->state == EXEC_UNDONE && permit->id != NULL && strcmp(permit->id, known->id) != 0 &&
           permit->issued_at_ms > known->issued_at_ms;
}

static bool answer_known(struct exec *e, struct step *s, const char *from, uint64_t id,
                         const Skein__StartAction *start)
{
    struct action *a = find(e, start->permit->plan, start->permit->action);
    if (a == NULL || is_further_attempt(a, start->permit))
        return false;
    struct err err;
    if (start->permit->digest != NULL &&
        strcmp(start->permit->digest, a->record->permit->digest) != 0) {
        err_set(&err, ERR_CONFLICT, "another plan of the name %s is known here", a->record->plan);
        effect_reply(s, from, id, NULL, &err);
        return true;
    }
    look_for_cancel(e, s, a, start);
    if (a->state == EXEC_CONFIRM) { /* the newest question gets the answer */
        action_set_text(&a->asker, from);
        a->asked = id;
    } else {
        Skein__ActionReport report = action_report(a, s);
        action_answer(s, from, id, &report);
    }
    return true;
}

static int check_start(const struct exec *e, const struct step *s, const Skein__Permit *permit,
                       const struct plan_move *move, struct err *err)
{
    unsigned outflow = 0;
    if (strcmp(permit->source, s->conf->host) != 0)
        return err_set(err, ERR_DENIED, "permit %s is for %s", permit->id, permit->source);
    if (exec_is_closed(e))
        return err_set(err, ERR_UNAVAILABLE, "%s goes to sleep", s->conf->host);
    if (plan_move_is_power(move))
        return power_check(e, s, move, err);
    for (size_t i = 0; i < e->n; i++) {
        const struct action *a = e->actions[i];
        bool about_vm = a->type == PLAN_MIGRATE || action_is_in_place(a);
        bool busy = !action_is_terminal(a) && about_vm;
        bool open = a->state == EXEC_NEEDS_OPERATOR && !a->settled;
        if ((busy || open) && strcmp(a->record->uuid, move->uuid) == 0)
            return err_set(err, ERR_CONFLICT, "%s is in action %s/%s, which %s", move->vm,
                           a->record->plan, a->record->action,
                           busy ? "has not ended" : "needs an operator");
        outflow += busy && a->type == PLAN_MIGRATE;
    }
    if (move->type == PLAN_MIGRATE && outflow >= s->conf->limit_outflow)
        return err_set(err, ERR_LIMIT, "%u moves leave this host, %u may at once", outflow,
                       s->conf->limit_outflow);
    return 0;
}

static Skein__JournalRecord *record_new(const struct plan_body *body, const struct plan_move *move,
                                        const Skein__StartAction *start)
{
    Skein__JournalRecord r = SKEIN__JOURNAL_RECORD__INIT;
    r.has_state = 1;
    r.state = SKEIN__JOURNAL_STATE__JOURNAL_NONE;
    r.plan = (char *)body->id;
    r.action = move->id;
    r.uuid = move->uuid;
    r.vm = move->vm;
    r.from = move->from;
    r.to = move->to;
    r.has_body = 1;
    r.body = start->body;
    r.n_approvals = start->n_approvals;
    r.approvals = start->approvals;
    r.permit = start->permit;
    return (Skein__JournalRecord *)codec_copy(&r.base);
}

/* Those under the same order that were accepted and have not begun count too. */
static int check_budget(const struct exec *e, const struct gate_verdict *verdict,
                        const struct plan_body *body, const struct plan_move *move, msec wall,
                        struct err *err)
{
    struct budget_order order = budget_order_of(verdict);
    unsigned pending = 0;
    for (size_t i = 0; i < e->n; i++) {
        const struct action *a = e->actions[i];
        pending += order.order[0] != '\0' && strcmp(a->order.order, order.order) == 0 &&
                   !action_has_started(a) && !action_is_terminal(a);
    }
    return budget_check(e->budget, &order, pending, body->id, move->id, wall, err);
}

void exec_start(struct exec *e, struct step *s, const char *from, uint64_t id,
                const Skein__StartAction *start, bool query_only)
{
    struct err err = {0};
    const Skein__Permit *permit = start->permit;
    if (permit == NULL || permit->plan == NULL || permit->action == NULL) {
        err_set(&err, ERR_INVALID, "start: the permit is incomplete");
        effect_reply(s, from, id, NULL, &err);
        return;
    }
    if (answer_known(e, s, from, id, start))
        return;
    if (query_only) {
        answer_pending(e, s, from, id, permit);
        return;
    }
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    const struct plan_move *move = NULL;
    struct gate_verdict verdict;
    if (verify_action(s, &start->body, start->approvals, start->n_approvals, permit,
                      &(struct verify_vm){.view = e->view}, &verdict, &body, &move, &err) < 0 ||
        check_budget(e, &verdict, body, move, s->now.wall, &err) < 0 ||
        admin_check_move(state_admin(e->state), body, move, 0, s->now.wall, &err) < 0 ||
        check_start(e, s, permit, move, &err) < 0) {
        verify_refused(&e->refusals, s, "start.refused", from, permit, &err);
        effect_reply(s, from, id, NULL, &err);
        return;
    }
    struct action *a = find(e, permit->plan, permit->action);
    if (a != NULL) /* what became of the earlier attempt is told and audited */
        action_remove(e, s, a);
    a = action_add(e, record_new(body, move, start));
    a->order = budget_order_of(&verdict);
    take_parameters(a, move);
    if (start->target != NULL && start->target->wake_mac != NULL)
        snprintf(a->mac, sizeof a->mac, "%s", start->target->wake_mac);
    a->asker = xstrdup(from);
    a->asked = id;
    move_confirm(e, a, s);
}

/* ---- events ---- */

void exec_hv(struct exec *e, struct step *s, const struct hv_result *result)
{
    for (size_t i = 0; i < e->n; i++) {
        struct action *a = e->actions[i];
        bool known = a->type == PLAN_MIGRATE ? settle_hv(a, s, result) || move_hv(e, a, s, result)
                     : action_is_in_place(a) ? vm_hv(e, a, s, result)
                                             : power_hv(e, a, s, result);
        if (known)
            return;
    }
}

static bool report_reply(struct action *a, struct step *s, const char *from,
                         const Skein__Reply *reply)
{
    if (!action_is_terminal(a) || a->request == 0 || a->request != reply->id ||
        strcmp(from, a->request_to) != 0)
        return false;
    if (reply->code == NULL || reply->code[0] == '\0') {
        a->record->has_reported = a->record->reported = 1;
        action_journal(a, s, a->record->state);
    }
    a->request = 0;
    return true;
}

void exec_reply(struct exec *e, struct step *s, const char *from, const Skein__Reply *reply)
{
    for (size_t i = 0; i < e->n; i++) {
        struct action *a = e->actions[i];
        if (a->confirm != NULL && confirm_reply(a->confirm, s, from, reply)) {
            move_tick(e, a, s);
            return;
        }
        if (settle_reply(a, from, reply) || report_reply(a, s, from, reply) ||
            power_reply(e, a, s, from, reply))
            return;
        if (a->state == EXEC_RESERVE && a->request != 0 && a->request == reply->id &&
            strcmp(from, a->record->to) == 0) {
            move_reserved(e, a, s, reply);
            return;
        }
    }
}

/* Until the planner has committed it. */
static void report_tick(const struct exec *e, struct action *a, struct step *s)
{
    if (a->record->reported || e->leader[0] == '\0' || s->now.mono < a->retry_mono)
        return;
    Skein__ActionReport report = action_report(a, s);
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_REPORT;
    request.report = &report;
    if (strcmp(a->request_to, e->leader) != 0)
        a->request = 0;
    snprintf(a->request_to, sizeof a->request_to, "%s", e->leader);
    verify_ask(s, OWNER_EXEC, e->leader, &request, &a->request);
    a->retry_mono = s->now.mono + MIN(REPORT_SLOWEST, REPORT_FIRST << MIN(a->tries, 5u));
    a->tries++;
}

/* True: it was forgotten. */
static bool end_tick(struct exec *e, struct action *a, struct step *s)
{
    report_tick(e, a, s);
    bool open = a->state == EXEC_NEEDS_OPERATOR && !a->settled && a->type == PLAN_MIGRATE;
    if (open)
        settle_watch(a, s);
    bool old = sat_sub(s->now.wall, (msec)a->record->ended_at_ms) > EXEC_KEEP;
    if (open || !a->record->reported || !old)
        return false;
    action_remove(e, s, a);
    return true;
}

/* An action of an earlier life begins here. */
static bool load_tick(struct exec *e, struct action *a, struct step *s)
{
    a->loaded = false;
    a->since_mono = s->now.mono;
    if (action_is_terminal(a))
        return false;
    if (!action_has_started(a)) {
        /* The permit may start it again, and be given the same reservation: a release that is slow
         * on its way would then take it from under the move. It expires by itself. */
        free(TAKE_PTR(a->record->reservation));
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, "the agent was restarted before it began");
        action_forget(e, s, a, &err);
        return true;
    }
    if (a->type != PLAN_MIGRATE) {
        if (action_is_in_place(a))
            vm_adopt(a, s);
        else
            power_adopt(a, s);
        return false;
    }
    a->run_until_mono = s->now.mono + MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms));
    settle_begin(a, s, "the agent was restarted");
    return false;
}

static void find_cancelled(struct exec *e, struct step *s)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct action *a = e->actions[i];
        if (action_is_terminal(a) || a->cancelled || e->state == NULL)
            continue;
        const struct plan *plan = state_plan(e->state, a->record->plan);
        if (plan != NULL && (plan->state == SKEIN__PLAN_STATE__PLAN_CANCELLING ||
                             plan->state == SKEIN__PLAN_STATE__PLAN_CANCELLED))
            cancel(e, s, a->record->plan, "the plan was cancelled");
    }
}

void exec_tick(struct exec *e, struct step *s)
{
    find_cancelled(e, s);
    for (size_t i = 0; i < e->n;) {
        struct action *a = e->actions[i];
        bool freed = a->loaded && load_tick(e, a, s);
        if (!freed && action_is_terminal(a))
            freed = end_tick(e, a, s);
        else if (!freed && action_is_in_place(a) && a->state != EXEC_CONFIRM &&
                 a->state != EXEC_LOOK)
            vm_tick(a, s);
        else if (!freed && a->type != PLAN_MIGRATE && a->state != EXEC_CONFIRM &&
                 a->state != EXEC_LOOK)
            power_tick(e, a, s);
        else if (!freed && a->state == EXEC_SETTLE)
            settle_tick(a, s);
        else if (!freed)
            freed = move_tick(e, a, s);
        i += !freed;
    }
}

/* ---- looking from outside ---- */

Skein__JournalState exec_journal(const struct exec *e, const char *plan, const char *action)
{
    const struct action *a = find(e, plan, action);
    return a != NULL ? a->record->state : SKEIN__JOURNAL_STATE__JOURNAL_NONE;
}

bool exec_is_closed(const struct exec *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->actions[i]->type == PLAN_STANDBY && !action_is_terminal(e->actions[i]))
            return true;
    return false;
}

bool exec_is_sleeping(const struct exec *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (power_is_sleeping(e->actions[i]))
            return true;
    return false;
}

bool exec_is_away(const struct exec *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->actions[i]->away)
            return true;
    return false;
}

void exec_arrivals(struct exec *e, size_t n)
{
    e->arrivals = n;
}

size_t exec_count(const struct exec *e)
{
    return e->n;
}

void exec_item(const struct exec *e, size_t i, struct exec_item *ret)
{
    REQUIRE(i < e->n);
    const struct action *a = e->actions[i];
    const Skein__JournalRecord *r = a->record;
    const char *code = action_text(r->code);
    *ret = (struct exec_item){.type = a->type,
                              .plan = r->plan,
                              .action = r->action,
                              .vm = r->vm,
                              .uuid = r->uuid,
                              .from = r->from,
                              .to = r->to,
                              .state = a->state,
                              .active = !action_is_terminal(a),
                              .reported = r->reported,
                              .code = code[0] != '\0' ? err_from_name(code) : ERR_OK,
                              .message = action_text(r->message),
                              .evidence = action_text(r->evidence),
                              .started_at_ms = r->started_at_ms,
                              .ended_at_ms = r->ended_at_ms,
                              .progress = a->progress};
}

bool exec_waits(const struct exec *e)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct action *a = e->actions[i];
        bool open = a->state == EXEC_NEEDS_OPERATOR && !a->settled;
        if (a->loaded || open || !action_is_terminal(a) || !a->record->reported)
            return true;
    }
    return false;
}

size_t exec_active(const struct exec *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++)
        n += !action_is_terminal(e->actions[i]);
    return n;
}
