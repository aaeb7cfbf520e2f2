/* exec_power.c - this host is put on standby, or another is woken from here.
 *
 * A host that goes to sleep tells everybody before: its summary says so, the voters have it
 * committed, and it says goodbye to the mesh in the step that orders its sleep. So nobody takes it
 * for dead. That it slept shows afterwards, in time that passed without it; that it does not shows
 * in its being awake. That a host woke shows in its own word, and in nothing else. Neither can be
 * taken back once it was ordered, and both may be ordered twice without harm. */
#include <stdio.h>

#include "agent/core/exec_action.h"

#define SLEEP_GAP 5000            /* ms between two ticks: no agent that runs is that slow */
#define SLEEP_PATIENCE 60000      /* ms to fall asleep, after the order was accepted */
#define SLEEP_JOB_PATIENCE 180000 /* ms for the order itself; the shell ends it before */
#define SLEEP_TOLD_EVERY 1000     /* ms between two tries to have it committed */
#define WAKE_AGAIN 30000          /* ms between two orders: a packet may be lost */

bool power_is_sleeping(const struct action *a)
{
    return a->type == PLAN_STANDBY && !action_is_terminal(a) && a->state != EXEC_CONFIRM &&
           a->state != EXEC_LOOK;
}

/* ---- whether it may be ----*/

static bool has_driver(const Skein__HostCapability *c)
{
    return c != NULL && c->power != NULL && strcmp(c->power, "off") != 0;
}

static int check_standby(const struct exec *e, const struct step *s, struct err *err)
{
    const Skein__HostCapability *own = s->conf->own->capability;
    if (step_votes(s->conf, s->conf->host))
        return err_set(err, ERR_DENIED, "%s votes: voters do not sleep", s->conf->host);
    if (!has_driver(own))
        return err_set(err, ERR_UNSUPPORTED, "%s: power.driver is off in its configuration",
                       s->conf->host);
    if (own->has_standby_allowed && !own->standby_allowed)
        return err_set(err, ERR_DENIED, "%s: power.standby is \"never\" in its configuration",
                       s->conf->host);
    if (e->arrivals > 0)
        return err_set(err, ERR_LIMIT, "%zu VMs are arriving", e->arrivals);
    for (size_t i = 0; i < e->n; i++)
        if (!action_is_terminal(e->actions[i]))
            return err_set(err, ERR_LIMIT, "action %s/%s has not ended here",
                           e->actions[i]->record->plan, e->actions[i]->record->action);
    return 0;
}

int power_check(const struct exec *e, const struct step *s, const struct plan_move *move,
                struct err *err)
{
    if (move->type == PLAN_STANDBY)
        return check_standby(e, s, err);
    if (!has_driver(s->conf->own->capability))
        return err_set(err, ERR_UNSUPPORTED, "%s: power.driver is off in its configuration",
                       s->conf->host);
    for (size_t i = 0; i < e->n; i++)
        if (!action_is_terminal(e->actions[i]) && e->actions[i]->type == PLAN_WAKE &&
            strcmp(e->actions[i]->record->to, move->to) == 0)
            return err_set(err, ERR_CONFLICT, "%s is being woken already", move->to);
    return 0;
}

/* ---- the order ---- */

static void order(struct action *a, struct step *s)
{
    struct hv_job job = {.kind = a->type == PLAN_WAKE ? HV_WAKE : HV_STANDBY, .move = a->move};
    snprintf(job.mac, sizeof job.mac, "%s", a->mac);
    a->job = effect_job(s, OWNER_EXEC, &job);
    a->job_mono = s->now.mono;
}

/* Journal first, as for a move. */
static void begin(struct exec *e, struct action *a, struct step *s, const char *why)
{
    a->outcome = (struct err){0};
    a->record->has_started_at_ms = 1;
    a->record->started_at_ms = (uint64_t)s->now.wall;
    a->ordered_mono = s->now.mono;
    a->away = a->type == PLAN_STANDBY;
    a->seen_wall = s->now.wall;
    a->run_until_mono =
        s->now.mono + MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms)); /* wake */
    action_goto(a, s, EXEC_RUNNING, why);
    action_journal(a, s, SKEIN__JOURNAL_STATE__JOURNAL_STARTED);
    budget_spend(e->budget, s, &a->order, a->record->plan, a->record->action);
    action_audit_what(a, s, "started");
    order(a, s);
}

/* It speaks itself, and its hypervisor answers it: since then, or (0) within the usual time. */
static bool is_awake(const struct exec *e, const struct action *a, const struct step *s, msec since)
{
    const struct view_host *h = view_find(e->view, a->record->to);
    if (h == NULL || h->gone || h->summary == NULL ||
        h->summary->state == SKEIN__HOST_STATE__HOST_STANDBY ||
        (h->summary->has_hypervisor_ok && !h->summary->hypervisor_ok))
        return false;
    return since != 0 ? h->summary_mono > since : view_fresh(h, s->now, s->conf->stale_after);
}

void power_confirmed(struct exec *e, struct action *a, struct step *s)
{
    struct err err;
    if (a->type == PLAN_STANDBY) {
        a->job = action_job(a, s, HV_OBSERVE);
        a->job_mono = s->now.mono;
    } else if (is_awake(e, a, s, 0)) {
        err_set(&err, ERR_EXISTS, "%s is awake already", a->record->to);
        action_undone(a, s, &err);
    } else {
        begin(e, a, s, "nothing is heard of it");
    }
}

/* ---- standby, before the order ---- */

static const Skein__VmDetail *find_active(const Skein__HostDetail *d)
{
    for (size_t i = 0; d != NULL && i < d->n_vms; i++)
        if (!d->vms[i]->has_state || d->vms[i]->state != SKEIN__VM_STATE__VM_STOPPED)
            return d->vms[i];
    return NULL;
}

/* What is here? A person may have started something since the plan was made. */
static void looked(struct exec *e, struct action *a, struct step *s, const Skein__HostDetail *seen)
{
    const Skein__VmDetail *vm = find_active(seen);
    struct err err;
    if (vm != NULL)
        err_set(&err, ERR_CONFLICT, "VM %s is active here", vm->name != NULL ? vm->name : "?");
    else if (e->arrivals > 0)
        err_set(&err, ERR_CONFLICT, "%zu VMs are arriving here", e->arrivals);
    else {
        action_goto(a, s, EXEC_ANNOUNCE, "nothing runs here");
        return;
    }
    action_undone(a, s, &err);
}

/* The report that it is about to sleep, with what is remembered of it meanwhile. */
static void tell_planner(struct exec *e, struct action *a, struct step *s)
{
    const struct view_host *own = view_find(e->view, s->conf->host);
    Skein__ActionReport report = action_report(a, s);
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__Request request = SKEIN__REQUEST__INIT;
    a->retry_mono = s->now.mono + SLEEP_TOLD_EVERY;
    if (e->leader[0] == '\0' || own == NULL || own->summary == NULL)
        return;
    detail.summary = (Skein__HostSummary *)(uintptr_t)own->summary;
    detail.capability = (Skein__HostCapability *)(uintptr_t)own->capability;
    report.host = &detail;
    request.kind_case = SKEIN__REQUEST__KIND_REPORT;
    request.report = &report;
    if (strcmp(a->request_to, e->leader) != 0)
        a->request = 0;
    snprintf(a->request_to, sizeof a->request_to, "%s", e->leader);
    verify_ask(s, OWNER_EXEC, e->leader, &request, &a->request);
}

static void tick_announce(struct exec *e, struct action *a, struct step *s)
{
    struct err err = a->outcome;
    if (a->cancelled) {
        action_undone(a, s, &err);
    } else if (s->now.mono >= a->start_by_mono) {
        err_set(&err, ERR_UNAVAILABLE, "the planner did not confirm in time that it sleeps");
        action_undone(a, s, &err);
    } else if (s->now.mono >= a->retry_mono) {
        tell_planner(e, a, s);
    }
}

bool power_reply(struct exec *e, struct action *a, struct step *s, const char *from,
                 const Skein__Reply *reply)
{
    if (a->state != EXEC_ANNOUNCE || a->request == 0 || a->request != reply->id ||
        strcmp(from, a->request_to) != 0)
        return false;
    a->request = 0;
    if (reply->code != NULL && reply->code[0] != '\0')
        a->retry_mono = s->now.mono + SLEEP_TOLD_EVERY;
    else if (!a->cancelled && s->now.mono < a->start_by_mono)
        begin(e, a, s, "the voters know that it sleeps");
    return true;
}

/* ---- after the order ---- */

/* Time that passed without this agent: its host slept. */
static bool note_gap(struct action *a, const struct step *s)
{
    msec gap = a->seen_wall != 0 ? s->now.wall - a->seen_wall : 0;
    a->seen_wall = s->now.wall;
    if (a->type != PLAN_STANDBY || gap < SLEEP_GAP)
        return false;
    a->slept_ms = sat_add(a->slept_ms, gap);
    return true;
}

static void settle(struct action *a, struct step *s, const char *why)
{
    action_goto(a, s, EXEC_SETTLE, why);
    a->deadline_mono = s->now.mono + (a->outcome.code != ERR_OK ? EXEC_AGREE_ODD : SLEEP_PATIENCE);
}

static void tick_running(struct action *a, struct step *s)
{
    if (note_gap(a, s))
        a->job_mono = s->now.mono;
    if (s->now.mono - a->job_mono < SLEEP_JOB_PATIENCE)
        return;
    err_set(&a->outcome, ERR_TIMEOUT, "the order was not answered");
    settle(a, s, "the order is not answered");
}

/* Awake all the time since: it did not work. */
static void settle_standby(struct action *a, struct step *s)
{
    struct err err = a->outcome;
    char message[64];
    note_gap(a, s);
    if (a->slept_ms > 0 && a->outcome.code == ERR_OK) {
        snprintf(message, sizeof message, "it slept for %lld s", (long long)a->slept_ms / 1000);
        action_done(a, s, message);
    } else if (s->now.mono >= a->deadline_mono) {
        if (err.code == ERR_OK)
            err_set(&err, ERR_TIMEOUT, "it did not fall asleep");
        action_undone(a, s, &err);
    }
}

static void settle_wake(struct exec *e, struct action *a, struct step *s)
{
    struct err err = a->outcome;
    char message[HV_NAME_MAX + 64];
    bool failed = a->outcome.code != ERR_OK && s->now.mono >= a->deadline_mono;
    if (is_awake(e, a, s, a->ordered_mono)) {
        snprintf(message, sizeof message, "%.200s is heard again", a->record->to);
        action_done(a, s, message);
    } else if (a->cancelled || failed || s->now.mono >= a->run_until_mono) {
        if (err.code == ERR_OK)
            err_set(&err, ERR_TIMEOUT, "%s was not heard of", a->record->to);
        action_undone(a, s, &err);
    } else if (a->job == 0 && s->now.mono - a->job_mono >= WAKE_AGAIN) {
        order(a, s);
    }
}

void power_adopt(struct action *a, struct step *s)
{
    bool wake = a->type == PLAN_WAKE;
    a->ordered_mono = s->now.mono;
    a->job_mono = s->now.mono;
    a->run_until_mono = s->now.mono + MAX(s->conf->action_timeout, sat_mul(4, a->estimate_ms));
    a->deadline_mono = s->now.mono + EXEC_AGREE_ODD;
    if (!wake)
        err_set(&a->outcome, ERR_UNAVAILABLE, "its agent was restarted, and the host is awake");
}

void power_tick(struct exec *e, struct action *a, struct step *s)
{
    if (a->state == EXEC_ANNOUNCE)
        tick_announce(e, a, s);
    else if (a->state == EXEC_RUNNING)
        tick_running(a, s);
    else if (a->state == EXEC_SETTLE && a->type == PLAN_STANDBY)
        settle_standby(a, s);
    else if (a->state == EXEC_SETTLE)
        settle_wake(e, a, s);
}

bool power_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result)
{
    if (a->job == 0 || a->job != result->job)
        return false;
    a->job = 0;
    if (a->state == EXEC_LOOK && result->err.code == ERR_OK)
        looked(e, a, s, result->detail);
    else if (a->state == EXEC_LOOK)
        a->retry_mono = s->now.mono + EXEC_RETRY;
    if (a->state != EXEC_RUNNING && a->state != EXEC_SETTLE)
        return true;
    a->outcome = result->err;
    if (a->state == EXEC_RUNNING)
        settle(a, s, result->err.code == ERR_OK ? "it was ordered" : result->err.msg);
    else if (a->outcome.code != ERR_OK) /* a later order of the same */
        a->deadline_mono = s->now.mono + EXEC_AGREE_ODD;
    return true;
}
