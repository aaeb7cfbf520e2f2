/* exec_vm.c - a VM is shut down, or saved to disk, where it is: what a drain does with one that can
 * go nowhere, where people ordered that.
 *
 * The guest is asked, never killed: one that does not go down in time runs on, and the action is
 * undone. What became of it shows in the VM's own state, in nothing else; asking twice does no
 * harm, so that an agent that was restarted looks, and asks no more. */
#include <stdio.h>

#include "agent/core/exec_action.h"
#include "agent/core/state.h"

#define LOOK_EVERY 1000

bool action_is_in_place(const struct action *a)
{
    return a->type == PLAN_SHUTDOWN || a->type == PLAN_SUSPEND;
}

static bool is_suspend(const struct action *a)
{
    return a->type == PLAN_SUSPEND;
}

static void look(struct action *a, struct step *s)
{
    a->look_job = action_job(a, s, HV_LOOK);
    a->round_mono = s->now.mono;
}

static void keep_evidence(struct action *a, const struct hv_seen *seen)
{
    _cleanup_(freep) char *text = xasprintf(
        "%s: %s%s%s%s", a->record->from,
        !seen->present                               ? "absent"
        : seen->state == SKEIN__VM_STATE__VM_STOPPED ? "shut off"
        : seen->state == SKEIN__VM_STATE__VM_RUNNING ? "running"
                                                     : "neither running nor shut off",
        seen->reason[0] != '\0' ? " (" : "", seen->reason, seen->reason[0] != '\0' ? ")" : "");
    action_set_text(&a->record->evidence, text);
}

/* Journal first, as for a move. */
static void begin(struct exec *e, struct action *a, struct step *s)
{
    msec patience = MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms));
    a->outcome = (struct err){0};
    a->record->has_started_at_ms = 1;
    a->record->started_at_ms = (uint64_t)s->now.wall;
    a->run_until_mono = sat_add(s->now.mono, patience);
    a->move.timeout_ms = (uint32_t)MIN(patience, (msec)UINT32_MAX);
    action_goto(a, s, EXEC_RUNNING, "the VM runs here");
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_STARTED);
    budget_spend(e->budget, s, &a->order, a->record->plan, a->record->action);
    action_audit_what(a, s, "started");
    a->migrate = action_job(a, s, is_suspend(a) ? HV_SUSPEND : HV_SHUTDOWN);
    a->migrating = true;
    a->next_round_mono = s->now.mono + LOOK_EVERY;
}

/* Since the voters confirmed, people may have frozen all, and time has passed. */
static void begin_if_allowed(struct exec *e, struct action *a, struct step *s)
{
    struct err err;
    const Skein__Freeze *freeze = admin_freeze(state_admin(e->state), s->now.wall);
    if (freeze != NULL) {
        err_set(&err, ERR_CANCELLED, "frozen by %s", freeze->vote->person);
        action_forget(e, s, a, &err);
    } else if (s->now.mono < a->start_by_mono) {
        begin(e, a, s);
    } /* else too late: the next tick forgets it */
}

/* Before the order. */
static void looked(struct exec *e, struct action *a, struct step *s, const struct hv_seen *seen)
{
    struct err err = {0};
    keep_evidence(a, seen);
    if (!seen->present)
        err_set(&err, ERR_NOT_FOUND, "%s is not here any more", a->record->vm);
    else if (seen->state == SKEIN__VM_STATE__VM_STOPPED)
        err_set(&err, ERR_EXISTS, "%s does not run any more", a->record->vm);
    else if (seen->job)
        err_set(&err, ERR_CONFLICT, "%s: another job runs on it", a->record->vm);
    else if (seen->state != SKEIN__VM_STATE__VM_RUNNING)
        err_set(&err, ERR_CONFLICT, "%s is not running here", a->record->vm);
    else if (!seen->persistent)
        err_set(&err, ERR_CONFLICT, "%s has no definition here: nothing would be left of it",
                a->record->vm);
    bool first = !a->hooks_asked;
    a->hooks_asked = true;
    if (err.code != ERR_OK)
        action_undone(a, s, &err);
    else if (!first || !move_ask_hooks(e, a, s)) /* what they say comes before another look */
        begin_if_allowed(e, a, s);
}

/* What the hooks say. No is no; no answer is not yet: a new permit may try again. */
static void asked(struct exec *e, struct action *a, struct step *s, const struct err *err)
{
    if (err->code == ERR_OK)
        a->retry_mono = s->now.mono; /* the next tick looks again */
    else if (err->code == ERR_DENIED)
        action_undone(a, s, err);
    else
        action_forget(e, s, a, err);
}

static void settle(struct action *a, struct step *s, const char *why)
{
    action_goto(a, s, EXEC_SETTLE, why);
    a->deadline_mono = s->now.mono + EXEC_JOB_PATIENCE;
    look(a, s);
}

/* It runs on: because it was not asked, or because it does not listen. */
static void runs_on(struct action *a, struct step *s)
{
    struct err err = a->outcome;
    if (err.code == ERR_OK && a->cancelled)
        err_set(&err, ERR_CANCELLED, "the plan was cancelled; a guest that was asked may still go");
    else if (err.code == ERR_OK)
        err_set(&err, ERR_TIMEOUT, "%s was asked, and runs on", a->record->vm);
    action_undone(a, s, &err);
}

/* After the order. Gone for good it cannot be: its definition was seen. */
static void seen_after(struct action *a, struct step *s, const struct hv_seen *seen)
{
    bool over = s->now.mono >= a->run_until_mono || a->cancelled || a->outcome.code != ERR_OK;
    keep_evidence(a, seen);
    if (seen->present && seen->state == SKEIN__VM_STATE__VM_STOPPED) {
        if (a->state == EXEC_RUNNING)
            action_goto(a, s, EXEC_SETTLE, "it is shut off");
        action_done(a, s, "");
    } else if (a->state == EXEC_SETTLE && !seen->present) {
        action_needs_operator(a, s, "the VM is not here any more, and nobody was to move it");
    } else if (a->state == EXEC_SETTLE && over && !seen->job) {
        runs_on(a, s);
    } else if (a->state == EXEC_RUNNING && over && !a->migrating) {
        settle(a, s, a->outcome.code != ERR_OK ? a->outcome.msg : "its time is over");
    }
}

void vm_tick(struct action *a, struct step *s)
{
    msec since = s->now.mono - a->round_mono;
    if (a->state != EXEC_RUNNING && a->state != EXEC_SETTLE)
        return;
    if (a->look_job != 0 && since >= EXEC_JOB_PATIENCE)
        a->look_job = 0;
    if (a->state == EXEC_SETTLE && s->now.mono >= sat_add(a->deadline_mono, EXEC_ABORT_GRACE)) {
        action_needs_operator(a, s, "its hypervisor does not say what became of it");
        return;
    }
    if (a->state == EXEC_RUNNING && a->migrating &&
        s->now.mono >= sat_add(a->run_until_mono, EXEC_ABORT_GRACE)) {
        a->migrating = false;
        settle(a, s, "the order is not answered");
    } else if (a->look_job == 0 && since >= LOOK_EVERY) {
        look(a, s);
    }
}

void vm_adopt(struct action *a, struct step *s)
{
    a->run_until_mono = s->now.mono + MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms));
    a->deadline_mono = a->run_until_mono; /* it may still be on its way down */
}

bool vm_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result)
{
    bool well = result->err.code == ERR_OK;
    if (a->migrate != 0 && a->migrate == result->job) {
        a->migrate = 0;
        a->migrating = false;
        if (!action_is_terminal(a) && !well)
            a->outcome = result->err;
        return true;
    }
    if (a->job != 0 && a->job == result->job) { /* LOOK, before the order */
        a->job = 0;
        if (a->state == EXEC_LOOK && result->kind == HV_ASK)
            asked(e, a, s, &result->err);
        else if (a->state == EXEC_LOOK && well)
            looked(e, a, s, &result->seen);
        else
            a->retry_mono = s->now.mono + EXEC_RETRY;
        return true;
    }
    if (a->look_job == 0 || a->look_job != result->job)
        return false;
    a->look_job = 0;
    if (well && !action_is_terminal(a))
        seen_after(a, s, &result->seen);
    return true;
}
