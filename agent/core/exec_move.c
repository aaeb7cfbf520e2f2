/* exec_move.c - the states of an action up to the end of its job, and the tidying after it. */
#include <stdio.h>

#include "agent/core/exec_action.h"
#include "agent/core/hook.h"
#include "agent/core/state.h"

#define CONFIRM_PATIENCE 15000  /* ms to get the voters' word; the planner asks again */
#define SIDE_JOB_PATIENCE 10000 /* ms after which a progress or abort call is given up */

static void main_job(struct action *a, struct step *s, enum hv_kind kind)
{
    a->job = action_job(a, s, kind);
    a->job_mono = s->now.mono;
}

/* Errors that may be gone in a moment: nothing was started, a new permit may try again. */
static bool may_pass(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_LIMIT ||
           code == ERR_CONFLICT || code == ERR_STALE || code == ERR_UNKNOWN;
}

/* ---- CONFIRM ---- */

void move_confirm(struct exec *e, struct action *a, struct step *s)
{
    const Skein__Permit *permit = a->record->permit;
    a->state = EXEC_CONFIRM;
    a->since_mono = s->now.mono;
    a->start_by_mono = verify_start_by(s, permit);
    msec deadline = MIN(a->start_by_mono, s->now.mono + CONFIRM_PATIENCE);
    a->confirm = confirm_new(s, OWNER_EXEC, e->state, e->term, permit, deadline);
    effect_trace(s, "exec %s/%s: CONFIRM: permit %s", a->record->plan, a->record->action,
                 permit->id);
}

static bool tick_confirm(struct exec *e, struct action *a, struct step *s)
{
    struct err err = {0};
    enum confirm_outcome outcome = confirm_tick(a->confirm, s, e->state, e->term);
    if (outcome == CONFIRM_ASKING)
        return false;
    if (confirm_why(a->confirm, outcome, &err) < 0) {
        action_forget(e, s, a, &err);
        return true;
    }
    confirm_free(TAKE_PTR(a->confirm));
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_RECEIVED);
    action_goto(a, s, EXEC_LOOK, "the voters confirmed the permit");
    action_answer_start(a, s, NULL);
    if (a->type == PLAN_MIGRATE || action_is_in_place(a))
        main_job(a, s, HV_LOOK);
    else
        power_confirmed(e, a, s);
    return false;
}

/* ---- LOOK, PRECHECK ---- */

static void looked(struct action *a, struct step *s, const struct hv_seen *seen)
{
    struct err err = {0};
    if (!seen->present) {
        settle_begin(a, s, "the VM is not here");
        return;
    }
    bool offline = a->move.how.mode == MIGRATE_OFFLINE;
    if (seen->job)
        err_set(&err, ERR_CONFLICT, "%s is being migrated by someone else", a->record->vm);
    else if (offline && (seen->state != SKEIN__VM_STATE__VM_STOPPED || !seen->persistent))
        err_set(&err, ERR_CONFLICT, "%s is not shut off here: it is not moved offline",
                a->record->vm);
    else if (!offline && seen->state != SKEIN__VM_STATE__VM_RUNNING)
        err_set(&err, ERR_CONFLICT, "%s is not running here", a->record->vm);
    if (err.code != ERR_OK) {
        action_undone(a, s, &err);
        return;
    }
    a->autostart = seen->autostart;
    a->record->has_persistent = 1;
    a->record->persistent = a->move.persistent = seen->persistent;
    action_goto(a, s, EXEC_PRECHECK, offline ? "the VM is defined here" : "the VM runs here");
    main_job(a, s, HV_PRECHECK);
}

static const Skein__VmDetail *own_detail(const struct exec *e, const struct action *a,
                                         const struct step *s)
{
    const struct view_host *own = view_find(e->view, s->conf->host);
    for (size_t i = 0; own != NULL && i < own->n_vms; i++)
        if (own->vms[i]->uuid != NULL && strcmp(own->vms[i]->uuid, a->record->uuid) == 0)
            return own->vms[i];
    return NULL;
}

bool move_ask_hooks(const struct exec *e, struct action *a, struct step *s)
{
    struct err err;
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    struct gate_facts facts = {.vm = own_detail(e, a, s)};
    if (plan_body_parse(a->record->body.data, a->record->body.len, &body, &err) < 0)
        return false; /* it was read before */
    const struct plan_move *move = plan_body_move(body, a->record->action);
    char *questions =
        hook_questions(s->conf, trust_gates(s->conf->trust), &facts, body, move, e->view);
    if (questions == NULL)
        return false;
    struct hv_job job = hook_job(questions, move);
    a->job = effect_job(s, OWNER_EXEC, &job);
    a->job_mono = s->now.mono;
    return true;
}

static void keep_baseline(Skein__JournalRecord *r, const struct baseline *b)
{
    for (size_t i = 0; i < r->n_before; i++)
        free(r->before[i]);
    free(r->before);
    r->before = xcalloc(b->n + 1, sizeof *r->before);
    r->n_before = b->n;
    for (size_t i = 0; i < b->n; i++)
        r->before[i] = xstrdup(b->lines[i]);
}

/* True: forgotten. */
static bool prechecked(struct exec *e, struct action *a, struct step *s, const struct err *err)
{
    bool first = !a->hooks_asked;
    a->hooks_asked = true;
    if (err->code == ERR_OK && first && move_ask_hooks(e, a, s))
        return false;
    if (err->code == ERR_OK) {
        action_goto(a, s, EXEC_RESERVE, "it may leave");
        action_progress(e, a, s, "reserve");
        return false;
    }
    if (may_pass(err->code)) {
        action_forget(e, s, a, err);
        return true;
    }
    action_undone(a, s, err);
    return false;
}

/* ---- RESERVE ---- */

static void ask_reserve(struct exec *e, struct action *a, struct step *s)
{
    const Skein__VmDetail *vm = own_detail(e, a, s);
    a->retry_mono = s->now.mono + EXEC_RETRY;
    if (vm == NULL) /* not observed yet */
        return;
    if (migrate_is_postcopy(a->move.how.mode) && !vm->postcopy_allowed) {
        struct err err;
        err_set(&err, ERR_DENIED, "%s does not allow post-copy (postcopy_allowed in its metadata)",
                a->record->vm);
        action_undone(a, s, &err);
        return;
    }
    Skein__Reserve reserve = SKEIN__RESERVE__INIT;
    reserve.has_body = 1;
    reserve.body = a->record->body;
    reserve.n_approvals = a->record->n_approvals;
    reserve.approvals = a->record->approvals;
    reserve.permit = a->record->permit;
    Skein__VmDetail fresh = *vm; /* nothing tells when its autostart changes */
    fresh.has_persistent = fresh.has_autostart = 1;
    fresh.persistent = a->move.persistent;
    fresh.autostart = a->autostart || (vm->has_autostart && vm->autostart);
    reserve.vm = &fresh;
    reserve.source_addresses = (char *)s->conf->source_addresses;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_RESERVE;
    request.reserve = &reserve;
    verify_ask(s, OWNER_EXEC, a->record->to, &request, &a->request);
}

/* Journal first: the shell makes it durable before it gives the job to the hypervisor. */
static void start(struct exec *e, struct action *a, struct step *s, const char *address)
{
    snprintf(a->move.migration_address, sizeof a->move.migration_address, "%s", address);
    msec timeout = MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms));
    a->move.timeout_ms = (uint32_t)MIN(timeout, (msec)UINT32_MAX);
    a->run_until_mono = sat_add(s->now.mono, timeout);
    ladder_init(&a->ladder, a->move.downtime_ms, &a->move.how, a->run_until_mono);
    a->move.first_downtime_ms = a->ladder.downtime_ms;
    a->outcome = (struct err){0};
    a->record->has_started_at_ms = 1;
    a->record->started_at_ms = (uint64_t)s->now.wall;
    a->record->has_started_mono_ms = 1;
    a->record->started_mono_ms = (uint64_t)s->now.mono;
    action_goto(a, s, EXEC_RUNNING, "the destination has reserved");
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_STARTED);
    budget_spend(e->budget, s, &a->order, a->record->plan, a->record->action);
    action_audit(a, s, "move.started");
    a->migrate = action_job(a, s, HV_MIGRATE);
    a->migrating = true;
    action_progress(e, a, s, a->move.how.mode == MIGRATE_OFFLINE ? "offline" : "pre-copy");
}

void move_reserved(struct exec *e, struct action *a, struct step *s, const Skein__Reply *reply)
{
    struct err err = {0};
    a->request = 0;
    if (reply->code != NULL && reply->code[0] != '\0') {
        err_set(&err, MAX(err_from_name(reply->code), ERR_INVALID), "%s refuses: %s", a->record->to,
                reply->message != NULL ? reply->message : reply->code);
        if (may_pass(err.code))
            a->outcome = err; /* should the permit run out meanwhile */
        else
            action_undone(a, s, &err);
        return;
    }
    bool whole = reply->kind_case == SKEIN__REPLY__KIND_RESERVED && reply->reserved->id != NULL &&
                 reply->reserved->migration_address != NULL &&
                 (msec)reply->reserved->expires_at_ms > s->now.wall;
    if (!whole) /* a late answer, or a defect: ask again */
        return;
    free(a->record->reservation);
    a->record->reservation = xstrdup(reply->reserved->id);
    a->record->has_reserved_until_ms = 1;
    a->record->reserved_until_ms = reply->reserved->expires_at_ms;
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_RESERVED);
    const struct admin *admin = state_admin(e->state);
    const Skein__Freeze *freeze = admin_freeze(admin, s->now.wall);
    if (a->cancelled) {
        action_undone(a, s, &a->outcome);
    } else if (freeze != NULL) { /* since the voters confirmed: nothing has begun yet */
        err_set(&err, ERR_CANCELLED, "frozen by %s", freeze->vote->person);
        action_forget(e, s, a, &err);
    } else if (s->now.mono < a->start_by_mono)
        start(e, a, s, reply->reserved->migration_address);
    /* else too late: the next tick forgets it, and releases */
}

/* ---- RUNNING, ADOPTED ---- */

void move_abort(struct action *a, struct step *s)
{
    msec since = s->now.mono - a->abort_mono;
    if (a->abort_mono != 0 && since < (a->abort_job != 0 ? SIDE_JOB_PATIENCE : EXEC_RETRY))
        return;
    a->abort_job = action_job(a, s, HV_ABORT);
    a->abort_mono = MAX(s->now.mono, (msec)1);
}

static void ask_progress(struct action *a, struct step *s)
{
    msec since = s->now.mono - a->progress_mono;
    if (since < (a->progress_job != 0 ? SIDE_JOB_PATIENCE : EXEC_PROGRESS_EVERY))
        return;
    a->progress_job = action_job(a, s, HV_PROGRESS);
    a->progress_mono = s->now.mono;
}

/* The guest goes on at the destination. Refused or lost: the next look asks again. */
static void switch_over(struct action *a, struct step *s)
{
    if (a->cancelled || (a->switch_mono != 0 && s->now.mono - a->switch_mono < SIDE_JOB_PATIENCE))
        return;
    action_audit(a, s, "move.postcopy");
    action_job(a, s, HV_POSTCOPY);
    a->switch_mono = MAX(s->now.mono, (msec)1);
}

/* The next step of the ladder, or its end. */
static void climb(struct action *a, struct step *s)
{
    struct err err = {0};
    switch (ladder_look(&a->ladder, &a->progress, s->now.mono, &err)) {
    case LADDER_GO_ON:
        break;
    case LADDER_ALLOW:
        a->move.first_downtime_ms = a->ladder.downtime_ms;
        effect_trace(s, "exec %s/%s: %s: a pause of %u ms is allowed", a->record->plan,
                     a->record->action, exec_state_name(a->state), a->ladder.downtime_ms);
        action_job(a, s, HV_TUNE); /* lost: the next step allows more */
        break;
    case LADDER_POSTCOPY:
        switch_over(a, s);
        break;
    case LADDER_BREAK:
        if (a->outcome.code == ERR_OK)
            err_set(&a->outcome, ERR_UNAVAILABLE, "nothing was sent any more after the switch");
        move_abort(a, s);
        break;
    case LADDER_ABORT:
        if (a->outcome.code == ERR_OK)
            a->outcome = err;
        a->run_until_mono = MIN(a->run_until_mono, s->now.mono);
        break;
    }
}

/* True while the job may go on. */
static bool keep_running(struct action *a, struct step *s)
{
    if (a->ladder.switched) /* neither a deadline nor a person can take it back */
        return true;
    bool over = s->now.mono >= a->run_until_mono;
    if (over && a->outcome.code == ERR_OK)
        err_set(&a->outcome, ERR_TIMEOUT, "the move took longer than it may");
    if (over || a->cancelled)
        move_abort(a, s);
    return !over;
}

/* An agent that stood still hears first of what happened meanwhile: its job may have ended, and a
 * person's may run. */
static void tick_running(struct action *a, struct step *s)
{
    msec since = s->now.mono - MAX(a->tick_mono, a->since_mono);
    a->tick_mono = s->now.mono;
    ask_progress(a, s);
    if (since >= EXEC_STOOD_STILL)
        return;
    if (!keep_running(a, s) && s->now.mono >= sat_add(a->run_until_mono, EXEC_ABORT_GRACE))
        settle_begin(a, s, "the job does not end");
}

static bool postcopy_of(const struct hv_seen *here)
{
    return strcmp(here->reason, HV_REASON_POSTCOPY) == 0;
}

void move_adopt(struct action *a, struct step *s)
{
    action_goto(a, s, EXEC_ADOPTED, "a job of an earlier life runs");
    action_audit(a, s, "move.adopted");
    ladder_init(&a->ladder, a->move.downtime_ms, &a->move.how, a->run_until_mono);
    a->adopted_began = a->here.job_began;
    a->ladder.switched = postcopy_of(&a->here.seen);
    a->next_round_mono = s->now.mono + EXEC_RETRY;
}

/* Another one may have begun since the last look. */
static bool adopted_runs(const struct action *a)
{
    const struct glance *g = &a->here;
    bool same = g->job_began == 0 || a->adopted_began == 0 ||
                llabs(g->job_began - a->adopted_began) <= EXEC_ORDER_SLACK;
    return g->seen.job && same;
}

/* What is done to the job is done on the word of a look, just then: no call waits for its end. */
static void tick_adopted(struct action *a, struct step *s)
{
    ask_progress(a, s);
    settle_look_here(a, s);
    if (!a->here.done)
        return;
    if (a->here.known && !adopted_runs(a)) {
        settle_begin(a, s, "the job has ended");
        return;
    }
    bool late = s->now.mono >= a->run_until_mono && !a->ladder.switched;
    if (a->here.known ? !keep_running(a, s) : late) {
        settle_begin(a, s, "the move took longer than it may");
        return;
    }
    a->here = (struct glance){0};
    a->next_round_mono = s->now.mono + EXEC_RETRY;
}

static void migrated(struct action *a, struct step *s, const struct hv_result *result)
{
    Skein__JournalRecord *r = a->record;
    a->migrating = false;
    if (action_is_terminal(a))
        return;
    if (result->err.code == ERR_OK) {
        r->has_downtime_ms = r->has_transferred_mib = 1;
        r->downtime_ms = result->stats.downtime_ms;
        r->transferred_mib = result->stats.transferred_mib;
    } else if (a->outcome.code == ERR_OK) {
        a->outcome = result->err;
    }
    if (result->err.code == ERR_CONFLICT && !a->move.recover) /* a person was faster: it is not our
                                                                job that runs */
        action_job_over(a, s);
    if (a->state == EXEC_RUNNING)
        settle_begin(a, s, result->err.code == ERR_OK ? "the job ended well" : result->err.msg);
}

/* ---- TIDY ---- */

void move_tidy(struct action *a, struct step *s)
{
    action_goto(a, s, EXEC_TIDY, "a definition is left here");
    a->deadline_mono = s->now.mono + EXEC_TIDY_PATIENCE;
    main_job(a, s, HV_TIDY);
}

static void tick_tidy(struct action *a, struct step *s)
{
    char message[2 * HV_NAME_MAX];
    if (s->now.mono >= a->deadline_mono) {
        snprintf(message, sizeof message, "moved; its old definition is still on %.200s",
                 s->conf->host);
        action_done(a, s, message);
    } else if (a->job == 0 && s->now.mono >= a->retry_mono) {
        main_job(a, s, HV_TIDY);
    }
}

/* ---- routing ---- */

static bool tick_before_start(struct exec *e, struct action *a, struct step *s)
{
    struct err err = a->outcome;
    if (a->state == EXEC_CONFIRM && !a->cancelled)
        return tick_confirm(e, a, s); /* its deadline is not later than the permit's */
    if (a->cancelled && a->state != EXEC_CONFIRM) {
        action_undone(a, s, &err);
        return false;
    }
    if (s->now.mono >= a->start_by_mono && err.code == ERR_OK)
        err_set(&err, ERR_EXPIRED, "permit %s ran out in state %s", a->record->permit->id,
                exec_state_name(a->state));
    if (a->cancelled || s->now.mono >= a->start_by_mono) {
        action_forget(e, s, a, &err);
        return true;
    }
    if (a->state == EXEC_LOOK && a->job == 0 && s->now.mono >= a->retry_mono)
        main_job(a, s, a->type == PLAN_MIGRATE || action_is_in_place(a) ? HV_LOOK : HV_OBSERVE);
    if (a->state == EXEC_RESERVE && s->now.mono >= a->retry_mono)
        ask_reserve(e, a, s);
    return false;
}

bool move_tick(struct exec *e, struct action *a, struct step *s)
{
    switch (a->state) {
    case EXEC_CONFIRM:
    case EXEC_LOOK:
    case EXEC_PRECHECK:
    case EXEC_RESERVE:
        return tick_before_start(e, a, s);
    case EXEC_RUNNING:
        tick_running(a, s);
        break;
    case EXEC_ADOPTED:
        tick_adopted(a, s);
        break;
    case EXEC_TIDY:
        tick_tidy(a, s);
        break;
    case EXEC_ANNOUNCE: /* exec_power.c's */
    case EXEC_SETTLE:
    case EXEC_DONE:
    case EXEC_UNDONE:
    case EXEC_NEEDS_OPERATOR:
    case EXEC_STATE_COUNT:
        break;
    }
    return false;
}

/* The state's own job came back. True: forgotten. */
static bool job_done(struct exec *e, struct action *a, struct step *s,
                     const struct hv_result *result)
{
    a->job = 0;
    if (a->state == EXEC_PRECHECK && result->kind == HV_PRECHECK)
        keep_baseline(a->record, &result->baseline);
    if (a->state == EXEC_PRECHECK)
        return prechecked(e, a, s, &result->err);
    if (a->state == EXEC_TIDY && result->err.code == ERR_OK)
        action_done(a, s, "");
    else if (a->state == EXEC_LOOK && result->err.code == ERR_OK)
        looked(a, s, &result->seen);
    else
        a->retry_mono = s->now.mono + EXEC_RETRY;
    return false;
}

bool move_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result)
{
    if (a->migrate != 0 && a->migrate == result->job) {
        migrated(a, s, result);
    } else if (a->progress_job != 0 && a->progress_job == result->job) {
        a->progress_job = 0;
        if (result->err.code == ERR_OK && !action_is_terminal(a)) {
            char phase[64];
            a->progress = result->progress;
            climb(a, s);
            ladder_phase(&a->ladder, phase, sizeof phase);
            action_progress(e, a, s, phase);
        }
    } else if (a->abort_job != 0 && a->abort_job == result->job) {
        a->abort_job = 0;
    } else if (a->job != 0 && a->job == result->job) {
        job_done(e, a, s, result);
    } else {
        return false;
    }
    return true;
}
