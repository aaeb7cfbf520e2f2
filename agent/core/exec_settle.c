/* exec_settle.c - what really happened? Both hosts are observed, in rounds, until what they say
 * agrees. Nothing is inferred from silence, from an error or from a success that was reported. */
#include <stdio.h>

#include "agent/core/exec_action.h"

#define FIRST_TIME_PATIENCE                                                                        \
    5000 /* ms to find a VM that is not here and was never started to move */

/* ---- one round of looking ---- */

static void glance_take(struct glance *g, const struct hv_seen *seen, msec mono)
{
    *g = (struct glance){.done = true, .known = true, .seen = *seen};
    if (seen->job && seen->job_ms > 0)
        g->job_began = MAX(sat_sub(mono, seen->job_ms), (msec)1);
}

static void glance_fail(struct glance *g, const char *why)
{
    *g = (struct glance){.done = true};
    err_set(&g->err, ERR_UNAVAILABLE, "%s", why);
}

static void look_there(struct action *a, struct step *s)
{
    Skein__LookVm look = SKEIN__LOOK_VM__INIT;
    look.uuid = a->record->uuid;
    look.plan = a->record->plan;
    look.action = a->record->action;
    if (action_has_started(a)) {
        look.before = a->record->before;
        look.n_before = a->record->n_before;
    }
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_LOOK;
    request.look = &look;
    a->look_request = effect_request(s, OWNER_EXEC, a->record->to, &request);
}

static void round_begin(struct action *a, struct step *s)
{
    a->here = a->there = (struct glance){0};
    a->round = true;
    a->round_mono = s->now.mono;
    a->remote_job = 0;
    a->look_job = action_job(a, s, HV_LOOK);
    look_there(a, s);
}

/* The destination's agent is silent or cannot say: its hypervisor is asked from here. */
static void look_past_agent(struct action *a, struct step *s)
{
    a->look_request = 0;
    a->remote_job = action_job(a, s, HV_LOOK_REMOTE);
}

static void round_tick(struct action *a, struct step *s)
{
    msec since = s->now.mono - a->round_mono;
    if (!a->there.done && a->remote_job == 0 &&
        (a->look_request == 0 || since >= s->conf->request_timeout))
        look_past_agent(a, s);
    if (since < s->conf->request_timeout + EXEC_JOB_PATIENCE)
        return;
    if (!a->here.done)
        glance_fail(&a->here, "the hypervisor does not answer");
    if (!a->there.done)
        glance_fail(&a->there, "neither agent nor hypervisor answers");
}

void settle_look_here(struct action *a, struct step *s)
{
    if (a->look_job == 0 && !a->here.done && s->now.mono >= a->next_round_mono) {
        a->look_job = action_job(a, s, HV_LOOK);
        a->round_mono = s->now.mono;
    }
    if (a->look_job != 0 && s->now.mono - a->round_mono >= EXEC_JOB_PATIENCE) {
        a->look_job = 0;
        glance_fail(&a->here, "the hypervisor does not answer");
    }
}

bool settle_hv(struct action *a, const struct step *s, const struct hv_result *result)
{
    bool here = a->look_job != 0 && a->look_job == result->job;
    bool there = a->remote_job != 0 && a->remote_job == result->job;
    if (!here && !there)
        return false;
    struct glance *g = here ? &a->here : &a->there;
    if (here)
        a->look_job = 0;
    if (result->err.code == ERR_OK)
        glance_take(g, &result->seen, s->now.mono);
    else
        glance_fail(g, result->err.msg);
    return true;
}

bool settle_reply(struct action *a, const char *from, const Skein__Reply *reply)
{
    if (a->look_request == 0 || a->look_request != reply->id || strcmp(from, a->record->to) != 0)
        return false;
    a->look_request = 0;
    if (a->there.done || reply->kind_case != SKEIN__REPLY__KIND_SEEN)
        return true; /* cannot say: the next tick asks its hypervisor */
    const Skein__VmSeen *seen = reply->seen;
    struct hv_seen copy = {.present = seen->present,
                           .state = seen->state,
                           .persistent = seen->persistent,
                           .job = seen->job};
    snprintf(copy.reason, sizeof copy.reason, "%s", seen->reason != NULL ? seen->reason : "");
    glance_take(&a->there, &copy, 0);
    if (action_is_terminal(a)) /* what it was is no longer kept: it was compared before */
        return true;
    snprintf(a->changed, sizeof a->changed, "%s", action_text(seen->changed_reason));
    snprintf(a->wrong, sizeof a->wrong, "%s", action_text(seen->wrong_reason));
    return true;
}

/* ---- what it means ---- */

static bool runs(const struct hv_seen *v)
{
    return v->present && v->state == SKEIN__VM_STATE__VM_RUNNING;
}

/* Nothing here can come to life by itself: no domain, or only its definition. */
static bool at_rest(const struct hv_seen *v)
{
    return !v->present || v->state == SKEIN__VM_STATE__VM_STOPPED;
}

static bool paused_by_migration(const struct hv_seen *v)
{
    return v->present && v->state == SKEIN__VM_STATE__VM_PAUSED &&
           strcmp(v->reason, HV_REASON_MIGRATING) == 0;
}

static bool broken_postcopy(const struct hv_seen *v)
{
    return v->present && strcmp(v->reason, HV_REASON_POSTCOPY_FAILED) == 0;
}

/* No job runs on either side, and it is not simply here or there. */
static enum settled decide_odd(const struct action *a, const struct hv_seen *here,
                               const struct hv_seen *there)
{
    if (paused_by_migration(here) && at_rest(there))
        return SETTLED_HALTED;
    if (paused_by_migration(here) && runs(there) && (there->persistent || !a->record->persistent))
        return SETTLED_DOUBLE;
    if (!here->present && !there->present)
        return SETTLED_GONE;
    if (at_rest(here) && !there->present) /* its host lost its power, its owner shut it down */
        return SETTLED_STOPPED;
    if (!here->present && at_rest(there)) /* moved, and stopped since */
        return SETTLED_MOVED;
    return SETTLED_ODD;
}

enum settled settle_decide(const struct action *a)
{
    const struct hv_seen *here = &a->here.seen, *there = &a->there.seen;
    bool settled_before = a->finished || !action_has_started(a);
    if (a->here.known && !a->there.known && runs(here) && !here->job && !settled_before)
        return SETTLED_ALONE;
    if (!a->here.known || !a->there.known)
        return SETTLED_NOT;
    bool defined = !a->record->persistent || there->persistent;
    if (a->finished) /* it was seen there once; its owner may have stopped it since */
        return there->present && there->state != SKEIN__VM_STATE__VM_INCOMING && defined &&
                       at_rest(here)
                   ? SETTLED_MOVED
                   : SETTLED_NOT;
    if (broken_postcopy(here) && action_has_started(a))
        return at_rest(there) || there->state == SKEIN__VM_STATE__VM_CRASHED ? SETTLED_LOST
                                                                             : SETTLED_BROKEN;
    if (here->job)
        return SETTLED_NOT;
    if (!action_has_started(a)) {
        if (here->present)
            return SETTLED_STAYED;
        return runs(there) ? SETTLED_ELSEWHERE : SETTLED_GONE;
    }
    if (runs(there) && defined && at_rest(here))
        return SETTLED_MOVED;
    if (runs(here) && at_rest(there))
        return SETTLED_STAYED;
    return there->job || there->state == SKEIN__VM_STATE__VM_INCOMING ? SETTLED_NOT
                                                                      : decide_odd(a, here, there);
}

static const char *state_word(const struct hv_seen *v)
{
    switch (v->state) {
    case SKEIN__VM_STATE__VM_RUNNING:
        return "running";
    case SKEIN__VM_STATE__VM_PAUSED:
        return "paused";
    case SKEIN__VM_STATE__VM_STOPPED:
        return "shut off";
    case SKEIN__VM_STATE__VM_CRASHED:
        return "crashed";
    case SKEIN__VM_STATE__VM_INCOMING:
        return "arriving";
    case _SKEIN__VM_STATE_IS_INT_SIZE:
        break;
    }
    return "in an unknown state";
}

static void describe(struct buf *b, const char *host, const struct glance *g)
{
    buf_addf(b, "%s: ", host);
    if (!g->known)
        buf_addf(b, "not known (%.300s)", g->done ? g->err.msg : "no answer yet");
    else if (!g->seen.present)
        buf_adds(b, "absent");
    else
        buf_addf(b, "%s%s%s%s%s%s", state_word(&g->seen), g->seen.reason[0] != '\0' ? " (" : "",
                 g->seen.reason, g->seen.reason[0] != '\0' ? ")" : "",
                 g->seen.persistent ? ", defined" : "", g->seen.job ? ", with a job" : "");
}

static void keep_evidence(struct action *a)
{
    struct buf b = {0};
    describe(&b, a->record->from, &a->here);
    buf_adds(&b, "; ");
    describe(&b, a->record->to, &a->there);
    if (a->wrong[0] != '\0')
        buf_addf(&b, "; another definition than before: %s", a->wrong);
    if (a->changed[0] != '\0')
        buf_addf(&b, "; not as before: %s", a->changed);
    struct err line; /* makes it one line of UTF-8 */
    err_set(&line, ERR_UNKNOWN, "%s", b.data);
    buf_done(&b);
    free(a->record->evidence);
    a->record->evidence = xstrdup(line.msg);
}

/* ---- SETTLE ---- */

void settle_begin(struct action *a, struct step *s, const char *why)
{
    msec patience = action_has_started(a) ? s->conf->action_timeout : FIRST_TIME_PATIENCE;
    if (a->state != EXEC_SETTLE)
        action_goto(a, s, EXEC_SETTLE, why);
    a->deadline_mono = sat_add(s->now.mono, patience);
    a->agreed = SETTLED_NOT;
    round_begin(a, s);
}

static void stayed(struct action *a, struct step *s)
{
    struct err err = a->outcome;
    if (err.code == ERR_OK && !action_has_started(a))
        err_set(&err, ERR_CONFLICT, "%s is not running here", a->record->vm);
    else if (err.code == ERR_OK && a->migrate != 0)
        err_set(&err, ERR_UNKNOWN, "the hypervisor reported success, but the VM runs where it was");
    else if (err.code == ERR_OK)
        err_set(&err, ERR_UNAVAILABLE, "the move did not survive a restart of the agent");
    action_undone(a, s, &err);
}

static void moved(struct action *a, struct step *s)
{
    a->finished = true;
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_FINISHED);
    if (a->wrong[0] != '\0') { /* what is left here is left: it may say what it was */
        action_needs_operator(a, s, "it moved, but its definition there is not what it was");
        return;
    }
    if (a->here.seen.present) {
        move_tidy(a, s);
        return;
    }
    struct err note = {0};
    if (a->outcome.code != ERR_OK)
        err_set(&note, ERR_UNKNOWN, "moved all the same: %s", a->outcome.msg);
    action_done(a, s, note.msg);
}

static void elsewhere(struct action *a, struct step *s, bool there)
{
    struct err err;
    if (there)
        err_set(&err, ERR_EXISTS, "%s is on %s already", a->record->vm, a->record->to);
    else
        err_set(&err, ERR_NOT_FOUND, "%s is not on %s any more", a->record->vm, a->record->from);
    action_undone(a, s, &err);
}

/* It runs here, which is all that is claimed. Before another attempt the destination looks for
 * itself. */
static void stayed_alone(struct action *a, struct step *s)
{
    struct err err = a->outcome;
    if (err.code == ERR_OK)
        err_set(&err, ERR_UNAVAILABLE, "%s runs on %s, and %s cannot be looked at", a->record->vm,
                a->record->from, a->record->to);
    action_undone(a, s, &err);
}

static void stopped(struct action *a, struct step *s)
{
    struct err err;
    err_set(&err, ERR_CONFLICT, "%s did not move and is shut off on %s%s%s", a->record->vm,
            a->record->from, a->outcome.code != ERR_OK ? "; it began with: " : "",
            a->outcome.code != ERR_OK ? a->outcome.msg : "");
    action_undone(a, s, &err);
}

/* What an unfinished migration left paused here is put right: it goes on here, or makes way for the
 * copy that runs there. The hypervisor refuses unless it is still that. */
static void repair(struct action *a, struct step *s, enum hv_kind kind)
{
    if (a->repair_mono != 0 && s->now.mono - a->repair_mono < EXEC_AGREE_ODD)
        return;
    action_audit(a, s, kind == HV_RESUME ? "move.resume" : "move.discard");
    action_job(a, s, kind); /* what came of it shows in the next round */
    a->repair_mono = MAX(s->now.mono, (msec)1);
}

/* The connection broke after the guest had gone on at the destination: what is left of its memory
 * is still here, and is sent over a new connection. */
static void recover(struct action *a, struct step *s)
{
    if (a->repair_mono != 0 && s->now.mono - a->repair_mono < EXEC_AGREE_ODD)
        return;
    action_audit(a, s, "move.recover");
    a->move.recover = true;
    a->migrate = action_job(a, s, HV_MIGRATE);
    a->migrating = true;
    a->repair_mono = MAX(s->now.mono, (msec)1);
}

/* ---- whose job is it? ---- */

/* When the one that was ordered can have begun: so long after STARTED at the latest. */
static bool job_began_within(const struct action *a, msec latest)
{
    msec began = a->here.job_began, started = (msec)a->record->started_mono_ms;
    if (began == 0 || !a->record->has_started_mono_ms)
        return true; /* an older version's record, or a hypervisor that does not say */
    return began >= sat_sub(started, EXEC_ORDER_SLACK) && began <= sat_add(started, latest);
}

/* A job of ours sends what is left: it cannot be taken back, and is waited for. */
static bool postcopy_runs(const struct action *a)
{
    return a->here.known && a->here.seen.job && (a->migrating || !a->record->job_over) &&
           strcmp(a->here.seen.reason, HV_REASON_POSTCOPY) == 0;
}

/* A person may move the VM by hand as soon as our job has ended, and an agent that was down, or
 * whose hypervisor was slow, did not see that. Ours began when it was ordered, and its guest
 * arrives where it was sent. What is not ours, or not yet seen to be, is waited for. */
static bool job_is_ours(const struct action *a)
{
    const struct hv_seen *there = &a->there.seen;
    bool arrives = there->present && there->state != SKEIN__VM_STATE__VM_STOPPED;
    if (!a->here.known || !a->here.seen.job || !action_has_started(a) || a->record->job_over)
        return false;
    return a->migrating || (a->there.known ? arrives && job_began_within(a, EXEC_ORDER_LATEST)
                                           : job_began_within(a, EXEC_ORDER_SOON));
}

static msec patience_for(enum settled what, bool started)
{
    switch (what) {
    case SETTLED_STAYED:
    case SETTLED_ELSEWHERE:
    case SETTLED_BROKEN: /* the guest may stand still meanwhile */
        return EXEC_AGREE;
    case SETTLED_ALONE:
        return EXEC_AGREE_ALONE;
    case SETTLED_GONE:
        if (!started)
            return EXEC_AGREE;
        break;
    case SETTLED_NOT:
    case SETTLED_MOVED:
    case SETTLED_STOPPED:
    case SETTLED_HALTED:
    case SETTLED_DOUBLE:
    case SETTLED_LOST:
    case SETTLED_ODD:
        break;
    }
    return EXEC_AGREE_ODD;
}

/* Two rounds must agree that nothing moved: an order of an earlier life, or a job that is being
 * wound up, may still be on its way through the hypervisor. */
static bool agreed_long_enough(struct action *a, const struct step *s, enum settled now)
{
    if (a->agreed != now) {
        a->agreed = now;
        a->agreed_mono = s->now.mono;
        return false;
    }
    return s->now.mono - a->agreed_mono >= patience_for(now, action_has_started(a)) &&
           !a->migrating;
}

/* The order was given once. When no job is seen after our call came back, one that comes later is a
 * person's, who moves the VM by hand: it is waited for, never aborted. An order of an earlier life
 * may still be on its way: then only what lasts counts. The journal keeps it for the next life. */
static void note_job(struct action *a, struct step *s)
{
    bool idle = a->here.known && !a->here.seen.job && !a->migrating;
    if (a->here.known && !idle)
        a->idle_mono = 0;
    else if (idle && a->idle_mono == 0)
        a->idle_mono = MAX(s->now.mono, (msec)1);
    bool lasts = idle && s->now.mono - a->idle_mono >= EXEC_AGREE;
    if (lasts || (idle && a->migrate != 0))
        action_job_over(a, s);
}

static void conclude(struct action *a, struct step *s)
{
    enum settled what = settle_decide(a);
    a->round = false;
    a->next_round_mono = s->now.mono + EXEC_RETRY;
    keep_evidence(a);
    note_job(a, s);
    bool sure = agreed_long_enough(a, s, what);
    bool job = job_is_ours(a);
    switch (what) {
    case SETTLED_MOVED:
        moved(a, s);
        break;
    case SETTLED_STAYED:
        if (sure)
            stayed(a, s);
        break;
    case SETTLED_ALONE:
        if (sure)
            stayed_alone(a, s);
        break;
    case SETTLED_STOPPED:
        if (sure)
            stopped(a, s);
        break;
    case SETTLED_HALTED:
    case SETTLED_DOUBLE:
        if (sure)
            repair(a, s, what == SETTLED_HALTED ? HV_RESUME : HV_DISCARD);
        break;
    case SETTLED_BROKEN:
        if (sure)
            recover(a, s);
        break;
    case SETTLED_LOST:
        if (sure)
            action_needs_operator(a, s,
                                  "post-copy lost the copy that had gone on at the destination");
        break;
    case SETTLED_ELSEWHERE:
        if (sure)
            elsewhere(a, s, true);
        break;
    case SETTLED_GONE:
        if (sure && action_has_started(a))
            action_needs_operator(a, s, "the VM is on neither host");
        else if (sure)
            elsewhere(a, s, false);
        break;
    case SETTLED_ODD:
        if (sure)
            action_needs_operator(a, s, "what the two hosts have does not fit together");
        break;
    case SETTLED_NOT:
        if (postcopy_runs(a))
            a->deadline_mono = sat_add(s->now.mono, s->conf->action_timeout);
        else if (job && (a->cancelled || s->now.mono >= a->run_until_mono))
            move_abort(a, s);
        else if (job && !a->migrating)
            move_adopt(a, s);
        break;
    }
}

static void give_up(struct action *a, struct step *s)
{
    keep_evidence(a);
    if (!action_has_started(a))
        elsewhere(a, s, false);
    else if (a->finished)
        action_done(a, s, "moved; what is left of it here was not touched");
    else
        action_needs_operator(a, s, "what became of the move cannot be told");
}

void settle_tick(struct action *a, struct step *s)
{
    if (a->round)
        round_tick(a, s);
    if (a->round && a->here.done && a->there.done)
        conclude(a, s);
    else if (!a->round && s->now.mono >= a->next_round_mono)
        round_begin(a, s);
    if (a->state == EXEC_SETTLE && s->now.mono >= a->deadline_mono)
        give_up(a, s);
}

/* ---- after NEEDS_OPERATOR ---- */

void settle_watch(struct action *a, struct step *s)
{
    if (a->round)
        round_tick(a, s);
    if (!a->round) {
        if (s->now.mono >= a->next_round_mono)
            round_begin(a, s);
        return;
    }
    if (!a->here.done || !a->there.done)
        return;
    a->round = false;
    a->next_round_mono = s->now.mono + EXEC_WATCH_EVERY;
    keep_evidence(a);
    const struct hv_seen *here = &a->here.seen, *there = &a->there.seen;
    bool known = a->here.known && a->there.known && !here->job && !there->job;
    a->settled = known && ((runs(here) && at_rest(there)) || (runs(there) && at_rest(here)));
    if (a->settled)
        action_audit(a, s, "operator.resolved");
}
