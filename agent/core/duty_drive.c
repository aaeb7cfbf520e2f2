/* duty_drive.c - a running plan's actions under their permits: starts, and what became of them.
 * Those that wait are duty_permit.c's. The source's word decides; where the source is silent or has
 * forgotten, both sides are looked at, and only what they agree on for a while is reported. */
#include <stdio.h>

#include "agent/core/duty_priv.h"

#define PENDING SKEIN__ACTION_STATE__ACTION_PENDING
#define PERMITTED SKEIN__ACTION_STATE__ACTION_PERMITTED
#define SUCCEEDED SKEIN__ACTION_STATE__ACTION_SUCCEEDED
#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED
#define CANCELLED SKEIN__ACTION_STATE__ACTION_CANCELLED
#define UNKNOWN SKEIN__ACTION_STATE__ACTION_UNKNOWN
#define NEEDS_OPERATOR SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR
#define UNDECIDED DUTY_UNDECIDED

/* ---- runs ---- */

struct run *duty_run(struct duty *d, const char *plan, const char *action)
{
    for (size_t i = 0; plan != NULL && action != NULL && i < d->n_runs; i++)
        if (strcmp(d->runs[i].plan, plan) == 0 && strcmp(d->runs[i].action, action) == 0)
            return &d->runs[i];
    return NULL;
}

static struct run *run_get(struct duty *d, const struct step *s, const char *plan,
                           const char *action)
{
    struct run *r = duty_run(d, plan, action);
    if (r != NULL)
        return r;
    ARRAY_RESERVE(d->runs, d->cap_runs, d->n_runs + 1);
    r = &d->runs[d->n_runs++];
    *r = (struct run){.answered = s->now.mono, .agreed = UNDECIDED};
    snprintf(r->plan, sizeof r->plan, "%s", plan);
    snprintf(r->action, sizeof r->action, "%s", action);
    return r;
}

static void run_done(struct run *r)
{
    if (r->progress != NULL)
        skein__progress__free_unpacked(r->progress, NULL);
}

void duty_runs_clear(struct duty *d)
{
    for (size_t i = 0; i < d->n_runs; i++)
        run_done(&d->runs[i]);
    d->n_runs = 0;
}

void duty_runs_forget_ended(struct duty *d, const struct state *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_runs; i++) {
        struct run *r = &d->runs[i];
        const struct plan *p = state_plan(state, r->plan);
        const struct plan_item *item = p != NULL ? plan_item(p, r->action) : NULL;
        if (item == NULL || plan_action_ended(plan_item_state(item)))
            run_done(r);
        else
            d->runs[kept++] = *r;
    }
    d->n_runs = kept;
}

/* ---- reports ---- */

bool duty_action_busy(const struct drive *v)
{
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, v->p->body->id, v->i->move->id);
    return duty_busy(v->d, key);
}

/* Proposes a report as it came; the caller has seen that it is not busy. */
struct proposal *duty_propose_report(struct duty *d, struct step *s,
                                     const Skein__ActionReport *report)
{
    char key[DUTY_KEY_SIZE];
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    duty_action_key(key, report->plan, report->action);
    entry.kind_case = SKEIN__ENTRY__KIND_REPORT;
    entry.report = (Skein__ActionReport *)report;
    return duty_propose(d, s, key, &entry);
}

/* The planner's own finding. */
void duty_found(const struct drive *v, Skein__ActionState state, enum err_code code,
                const char *message, const char *evidence)
{
    if (duty_action_busy(v))
        return;
    Skein__ActionReport r = SKEIN__ACTION_REPORT__INIT;
    r.plan = v->p->body->id;
    r.action = v->i->move->id;
    r.has_state = 1;
    r.state = state;
    r.code = (char *)(code == ERR_OK ? "" : err_name(code));
    _cleanup_(freep) char *text = duty_text(message);
    r.message = text;
    r.reporter = (char *)v->d->conf->host;
    r.evidence = (char *)evidence;
    if (v->i->permit != NULL)
        r.permit = v->i->permit->id;
    duty_propose_report(v->d, v->s, &r);
}

/* ---- actions under a permit ---- */

static bool permit_expired(const struct drive *v)
{
    return v->s->now.wall >= (msec)v->i->permit->expires_at_ms + v->d->conf->clock_skew_limit;
}

/* Start while that is allowed, else ask. Both name the permit, so that the source knows of what. */
static void ask_source(const struct drive *v)
{
    struct run *r = v->run;
    if (v->s->now.mono < r->next_ask)
        return;
    r->next_ask = v->s->now.mono + DUTY_RESEND_MS;
    bool start = plan_item_state(v->i) == PERMITTED && !r->stop &&
                 v->s->now.wall < (msec)v->i->permit->expires_at_ms &&
                 v->p->state == SKEIN__PLAN_STATE__PLAN_ONGOING;
    Skein__StartAction question = SKEIN__START_ACTION__INIT;
    Skein__Request request = SKEIN__REQUEST__INIT;
    _cleanup_(freep) ProtobufCBinaryData *envelopes = plan_envelopes(v->p);
    question.has_body = 1;
    question.body = v->p->put->body;
    question.n_approvals = v->p->n_votes;
    question.approvals = envelopes;
    question.permit = v->i->permit;
    if (v->i->move->type == PLAN_WAKE)
        question.target = (Skein__HostCapability *)(uintptr_t)duty_sleeper(v);
    if (start) {
        request.kind_case = SKEIN__REQUEST__KIND_START;
        request.start = &question;
    } else {
        request.kind_case = SKEIN__REQUEST__KIND_QUERY;
        request.query = &question;
    }
    r->asked[r->n_asked++ % DUTY_ASKED] =
        (struct asked){.token = effect_request(v->s, OWNER_DUTY, duty_actor(v->i), &request),
                       .final = !start && permit_expired(v)};
}

static uint64_t look_at(const struct drive *v, const char *host)
{
    Skein__LookVm look = SKEIN__LOOK_VM__INIT;
    Skein__Request request = SKEIN__REQUEST__INIT;
    look.uuid = v->i->move->uuid;
    look.plan = v->p->body->id;
    look.action = v->i->move->id;
    request.kind_case = SKEIN__REQUEST__KIND_LOOK;
    request.look = &look;
    return effect_request(v->s, OWNER_DUTY, host, &request);
}

static bool source_silent(const struct drive *v)
{
    return v->s->now.mono - v->run->answered >= DUTY_SILENT_MS;
}

/* Is nothing of it ever defined on disk? Then its arrival shows in its running alone. Only its
 * source can tell: at the destination it may be that its definition has not arrived. */
static void note_transient(const struct drive *v)
{
    const struct view_host *host;
    const Skein__VmDetail *vm = view_vm(v->view, v->i->move->uuid, &host);
    if (vm != NULL && strcmp(host->name, v->i->move->from) == 0 && vm->has_persistent)
        v->run->transient = !vm->persistent;
}

/* Of a VM that stays where it is there is one side. */
static int in_place_agreement(const struct drive *v)
{
    const struct side *at = &v->run->from;
    if (!at->known || !at->present || at->job)
        return UNDECIDED;
    if (!at->running)
        return (int)SUCCEEDED;
    return !source_silent(v) && permit_expired(v) ? (int)FAILED : UNDECIDED;
}

/* What both sides show, when they show one thing. */
static int agreement(const struct drive *v)
{
    const struct side *from = &v->run->from, *to = &v->run->to;
    if (plan_move_is_power(v->i->move))
        return duty_power_agreement(v);
    if (plan_move_is_in_place(v->i->move))
        return in_place_agreement(v);
    bool arrived = to->known && to->present && to->running && !to->job &&
                   (to->persistent || v->run->transient);
    bool left = source_silent(v) || (from->known && !(from->present && from->running));
    if (arrived && left)
        return (int)SUCCEEDED;
    bool stayed = from->known && from->present && from->running && !from->job;
    if (stayed && !source_silent(v) && to->known && !to->present && permit_expired(v))
        return (int)FAILED;
    return UNDECIDED;
}

static void conclude(const struct drive *v)
{
    struct run *r = v->run;
    int agreed = agreement(v);
    if (agreed != r->agreed) {
        r->agreed = agreed;
        r->agreed_since = v->s->now.mono;
    }
    if (agreed == UNDECIDED || v->s->now.mono - r->agreed_since < DUTY_PROOF_MS)
        return;
    const char *why = source_silent(v) ? "source silent" : "the source has forgotten the action";
    char evidence[2 * HV_NAME_MAX + 128];
    if (plan_move_is_power(v->i->move))
        snprintf(evidence, sizeof evidence, "%s; %s was so for %d s", why, v->i->move->to,
                 DUTY_PROOF_MS / 1000);
    else if (plan_move_is_in_place(v->i->move))
        snprintf(evidence, sizeof evidence, "%s; seen %s on %s for %d s", why,
                 agreed == (int)SUCCEEDED ? "shut off" : "running", v->i->move->from,
                 DUTY_PROOF_MS / 1000);
    else
        snprintf(evidence, sizeof evidence, "%s; seen running on %s for %d s", why,
                 agreed == (int)SUCCEEDED ? v->i->move->to : v->i->move->from,
                 DUTY_PROOF_MS / 1000);
    if (agreed == (int)SUCCEEDED)
        duty_found(v, SUCCEEDED, ERR_OK, "", evidence);
    else
        duty_found(v, FAILED, ERR_UNKNOWN, "it left no trace", evidence);
}

/* The source does not tell: look for ourselves. */
static void observe(const struct drive *v)
{
    struct run *r = v->run;
    bool sleeps = v->i->move->type == PLAN_STANDBY && agreement(v) == (int)SUCCEEDED;
    if (!source_silent(v) && !r->lost && !sleeps) {
        r->from.known = r->to.known = false;
        r->agreed = UNDECIDED;
        return;
    }
    if (plan_item_state(v->i) != UNKNOWN && !sleeps)
        duty_found(v, UNKNOWN, ERR_UNKNOWN,
                   source_silent(v) ? "the source does not answer"
                                    : "the source has forgotten the action",
                   "");
    if (v->s->now.mono >= r->next_look && !plan_move_is_power(v->i->move)) {
        r->next_look = v->s->now.mono + DUTY_RESEND_MS;
        if (!plan_move_is_in_place(v->i->move))
            r->to.token = look_at(v, v->i->move->to);
        r->from.token = look_at(v, v->i->move->from);
    }
    conclude(v);
}

/* Nothing stays open for ever: past its own time and DUTY_UNKNOWN_MS a person has to look. */
static bool overdue(const struct drive *v)
{
    msec now = v->s->now.wall;
    const Skein__ActionReport *r = v->i->report;
    if (plan_item_state(v->i) == UNKNOWN && now - (msec)r->ended_at_ms >= DUTY_UNKNOWN_MS)
        return true;
    msec allowed = MAX(v->d->conf->action_timeout, 4 * v->i->move->estimate_ms);
    return now - (msec)v->i->permit->issued_at_ms >= allowed + 2 * DUTY_UNKNOWN_MS;
}

/* A further permit opens a new chance: what was said under the last one is forgotten. */
static void note_permit(const struct drive *v)
{
    struct run *r = v->run;
    if (strcmp(r->permit, v->i->permit->id) == 0)
        return;
    snprintf(r->permit, sizeof r->permit, "%s", v->i->permit->id);
    r->not_started = r->lost = r->stop = false;
    r->err = (struct err){0};
    r->n_asked = 0;
    memset(r->asked, 0, sizeof r->asked);
    r->next_ask = v->s->now.mono;
    r->answered = v->s->now.mono;
}

static void drive_live(const struct drive *v)
{
    note_permit(v);
    note_transient(v);
    if (overdue(v)) {
        duty_found(v, NEEDS_OPERATOR, ERR_UNKNOWN,
                   "what became of the move could not be found out in time", "");
        return;
    }
    if (v->run->not_started && permit_expired(v)) {
        const char *host;
        enum place place = plan_move_is_power(v->i->move) ? PLACE_SOURCE : duty_find_vm(v, &host);
        if (place == PLACE_SOURCE || place == PLACE_UNSURE) {
            duty_retry(v);
            return;
        }
        v->run->lost = true; /* somebody did move it: it may have been this source */
    }
    ask_source(v);
    observe(v);
}

/* ---- plans ---- */

static void end_plan(struct duty *d, struct step *s, const struct plan *p)
{
    size_t done = plan_count(p, SUCCEEDED);
    struct buf text = {0};
    buf_addf(&text, "%zu of %zu %s", done, p->body->n_moves,
             plan_body_only_moves(p->body) ? "moved" : "actions done");
    for (size_t i = 0; i < p->body->n_moves; i++) {
        const struct plan_item *item = &p->items[i];
        Skein__ActionState a = plan_item_state(item);
        if (a != FAILED && a != NEEDS_OPERATOR && a != CANCELLED)
            continue;
        const char *message = item->report->message;
        buf_addf(&text, "; %s %s %s: %s", plan_move_what(item->move), item->move->vm,
                 plan_action_name(a), message != NULL ? message : "");
        break;
    }
    _cleanup_(freep) char *reason = buf_take(&text);
    duty_change(d, s, p, plan_outcome(p), reason);
}

void duty_drive(struct duty *d, struct step *s, const struct view *view, const struct state *state,
                const struct plan *p)
{
    unsigned step = plan_step(p);
    if (step == p->body->n_steps) {
        end_plan(d, s, p);
        return;
    }
    for (size_t i = 0; i < p->body->n_moves; i++) {
        const struct plan_item *item = &p->items[i];
        Skein__ActionState a = plan_item_state(item);
        if (item->move->step != step || plan_action_ended(a))
            continue;
        struct drive v = {d, s, view, state, p, item, run_get(d, s, p->body->id, item->move->id)};
        if (a == PENDING)
            duty_drive_pending(&v);
        else
            drive_live(&v);
    }
}
