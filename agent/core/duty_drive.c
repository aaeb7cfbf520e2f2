/* duty_drive.c - a running plan's actions: permits within the limits, starts, and what became of
 * them. The source's word decides; where the source is silent or has forgotten, both sides are
 * looked at, and only what they agree on for a while is reported. */
#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/setback.h"

#define PENDING SKEIN__ACTION_STATE__ACTION_PENDING
#define PERMITTED SKEIN__ACTION_STATE__ACTION_PERMITTED
#define RUNNING SKEIN__ACTION_STATE__ACTION_RUNNING
#define SUCCEEDED SKEIN__ACTION_STATE__ACTION_SUCCEEDED
#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED
#define SKIPPED SKEIN__ACTION_STATE__ACTION_SKIPPED
#define CANCELLED SKEIN__ACTION_STATE__ACTION_CANCELLED
#define UNKNOWN SKEIN__ACTION_STATE__ACTION_UNKNOWN
#define NEEDS_OPERATOR SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR
#define UNDECIDED DUTY_UNDECIDED

/* ---- runs ---- */

static struct run *run_find(struct duty *d, const char *plan, const char *action)
{
    for (size_t i = 0; plan != NULL && action != NULL && i < d->n_runs; i++)
        if (strcmp(d->runs[i].plan, plan) == 0 && strcmp(d->runs[i].action, action) == 0)
            return &d->runs[i];
    return NULL;
}

static struct run *run_get(struct duty *d, const struct step *s, const char *plan,
                           const char *action)
{
    struct run *r = run_find(d, plan, action);
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

static bool busy(const struct drive *v)
{
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, v->p->body->id, v->i->move->id);
    return duty_busy(v->d, key);
}

/* Proposes a report as it came; the caller has seen that it is not busy. */
static struct proposal *propose_report(struct duty *d, struct step *s,
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
static void find(const struct drive *v, Skein__ActionState state, enum err_code code,
                 const char *message, const char *evidence)
{
    if (busy(v))
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
    propose_report(v->d, v->s, &r);
}

/* ---- actions that wait ---- */

enum place { PLACE_SOURCE, PLACE_DESTINATION, PLACE_ELSEWHERE, PLACE_GONE, PLACE_UNSURE };

static enum place find_vm(const struct drive *v, const char **ret_host)
{
    const struct plan_move *m = v->i->move;
    const struct view_host *host = NULL, *from = view_find(v->view, m->from);
    const Skein__VmDetail *vm = view_vm(v->view, m->uuid, &host);
    *ret_host = vm != NULL ? host->name : "";
    if (vm != NULL && strcmp(host->name, m->from) == 0)
        return PLACE_SOURCE;
    if (from == NULL || from->detail_mono == 0 ||
        !view_fresh(from, v->s->now, v->d->conf->stale_after))
        return PLACE_UNSURE;
    if (vm == NULL)
        return PLACE_GONE;
    return strcmp(host->name, m->to) == 0 ? PLACE_DESTINATION : PLACE_ELSEWHERE;
}

/* Still where the plan has it? What the view says otherwise must last before the action is
 * skipped: details arrive late. */
static bool is_in_place(const struct drive *v)
{
    const char *host;
    if (plan_move_is_power(v->i->move)) {
        bool due = duty_power_is_due(v, &host);
        if (!due)
            find(v, SKIPPED, ERR_OK, host, "");
        return due;
    }
    enum place place = find_vm(v, &host);
    if (place == PLACE_SOURCE) {
        v->run->astray_since = 0;
        return true;
    }
    if (v->run->astray_since == 0 || v->run->astray != (int)place) {
        v->run->astray = (int)place;
        v->run->astray_since = v->s->now.mono;
    }
    if (place == PLACE_UNSURE || v->s->now.mono - v->run->astray_since < DUTY_PROOF_MS)
        return false;
    char text[HV_NAME_MAX + 64];
    if (place == PLACE_GONE)
        snprintf(text, sizeof text, "the VM is not on %s any more", v->i->move->from);
    else
        snprintf(text, sizeof text, "the VM is on %s already", host);
    find(v, SKIPPED, place == PLACE_DESTINATION ? ERR_OK : ERR_CONFLICT, text, "");
    return false;
}

static bool reachable(const struct drive *v, const char *host)
{
    if (strcmp(host, v->d->conf->host) == 0)
        return true;
    const struct view_host *h = view_find(v->view, host);
    return h != NULL && view_reachable(h);
}

/* Those who have a part in it. */
static bool hosts_reachable(const struct drive *v)
{
    const struct plan_move *m = v->i->move;
    return m->type == PLAN_WAKE ? duty_waker(v) != NULL
                                : reachable(v, m->from) && reachable(v, m->to);
}

/* Places that permits take: of committed ones until their action has ended, and of proposed ones.
 */
struct places {
    unsigned total, out, in;
};

static struct places count_places(const struct drive *v)
{
    const struct plan_move *m = v->i->move;
    struct places n = {0};
    struct plan *const *plans;
    size_t n_plans = state_plans(v->state, &plans);
    for (size_t i = 0; i < n_plans; i++)
        for (size_t k = 0; plan_state_running(plans[i]->state) && k < plans[i]->body->n_moves;
             k++) {
            const struct plan_item *item = &plans[i]->items[k];
            if (!plan_item_live(item) || plan_move_is_power(item->move))
                continue;
            n.total++;
            n.out += strcmp(item->move->from, m->from) == 0;
            n.in += strcmp(item->move->to, m->to) == 0;
        }
    for (size_t i = 0; i < v->d->n_proposals; i++) {
        const struct proposal *p = &v->d->proposals[i];
        n.total += p->out[0] != '\0';
        n.out += strcmp(p->out, m->from) == 0;
        n.in += strcmp(p->in, m->to) == 0;
    }
    return n;
}

/* Do these hosts belong to one drain? */
static bool same_drain(const struct drive *v, const char *host, const Skein__HostAdmin *drain)
{
    const Skein__HostAdmin *r = admin_host(state_admin(v->state), host);
    return r != NULL && r->drain != NULL && strcmp(r->drain, drain->drain) == 0;
}

/* A drain's own bound on moves at once, over all of its hosts. */
static bool drain_has_room(const struct drive *v)
{
    const Skein__HostAdmin *drain = admin_host(state_admin(v->state), v->i->move->from);
    if (drain == NULL || !drain->has_concurrency || drain->drain == NULL)
        return true;
    unsigned live = 0;
    struct plan *const *plans;
    for (size_t i = state_plans(v->state, &plans); i-- > 0;)
        for (size_t k = 0; plan_state_running(plans[i]->state) && k < plans[i]->body->n_moves; k++)
            live += plan_item_live(&plans[i]->items[k]) &&
                    same_drain(v, plans[i]->items[k].move->from, drain);
    for (size_t i = 0; i < v->d->n_proposals; i++)
        live += v->d->proposals[i].out[0] != '\0' && same_drain(v, v->d->proposals[i].out, drain);
    return live < drain->concurrency;
}

static bool has_room(const struct drive *v)
{
    const struct node_conf *c = v->d->conf;
    struct places n = count_places(v);
    if (plan_move_is_power(v->i->move)) /* no link is taken */
        return true;
    if (!drain_has_room(v))
        return false;
    return n.total < c->limit_total && n.out < c->limit_outflow && n.in < c->limit_inflow;
}

static void propose_permit(const struct drive *v)
{
    if (busy(v))
        return;
    const struct plan_move *m = v->i->move;
    const char *source = m->type == PLAN_WAKE ? duty_waker(v) : m->from;
    if (source == NULL)
        return;
    Skein__Permit t = SKEIN__PERMIT__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    char id[33], key[DUTY_KEY_SIZE];
    step_random_hex(v->s, id, 32);
    t.id = id;
    t.plan = v->p->body->id;
    t.digest = v->p->body->digest;
    t.action = m->id;
    t.has_term = t.has_issued_at_ms = t.has_expires_at_ms = t.has_attempt = 1;
    t.term = v->d->term;
    t.issued_at_ms = (uint64_t)v->s->now.wall;
    t.expires_at_ms =
        (uint64_t)(v->s->now.wall + MIN(v->d->conf->permit_lifetime, (msec)STATE_PERMIT_MAX_MS));
    t.source = (char *)source;
    t.destination = m->to;
    t.attempt = (v->i->permit != NULL ? v->i->permit->attempt : 0) + 1;
    entry.kind_case = SKEIN__ENTRY__KIND_PERMIT;
    entry.permit = &t;
    duty_action_key(key, v->p->body->id, m->id);
    struct proposal *p = duty_propose(v->d, v->s, key, &entry);
    if (!plan_item_live(v->i) &&
        !plan_move_is_power(m)) { /* a further permit of a live one keeps its place */
        snprintf(p->out, sizeof p->out, "%s", m->from);
        snprintf(p->in, sizeof p->in, "%s", m->to);
    }
}

/* How long one of the two hosts has been out of reach; 0: both are there. */
static msec away_for(const struct drive *v)
{
    msec now = MAX(v->s->now.mono, (msec)1);
    if (hosts_reachable(v)) {
        v->run->blocked_since = 0;
        return 0;
    }
    if (v->run->blocked_since == 0)
        v->run->blocked_since = now;
    return MAX(now - v->run->blocked_since, (msec)1);
}

/* An attempt failed in a way that may be gone by now: its time has come again. */
static bool retry_due(const struct drive *v)
{
    if (!plan_item_returned(v->i))
        return true;
    msec pause = DUTY_RETRY_MS << MIN(v->i->permit->attempt - 1, 4u);
    return v->s->now.wall - (msec)v->i->report->ended_at_ms >= pause;
}

/* No further attempt: what became of the last one is what became of the action. */
static void stays_failed(const struct drive *v)
{
    const Skein__ActionReport *r = v->i->report;
    enum err_code code = r->code != NULL ? err_from_name(r->code) : ERR_OK;
    find(v, FAILED, code != ERR_OK ? code : ERR_UNKNOWN, r->message != NULL ? r->message : "",
         r->evidence != NULL ? r->evidence : "");
}

static void wait_for_hosts(const struct drive *v)
{
    if (v->run->blocked_since == 0)
        v->run->blocked_since = v->s->now.mono;
    msec waited = v->s->now.mono - v->run->blocked_since;
    if (plan_item_returned(v->i) && waited >= DUTY_RETURN_MS) {
        stays_failed(v);
        return;
    }
    if (waited < DUTY_UNKNOWN_MS)
        return;
    char text[2 * HV_NAME_MAX + 64];
    snprintf(text, sizeof text, "%s or %s could not be reached for too long", v->i->move->from,
             v->i->move->to);
    find(v, CANCELLED, ERR_UNAVAILABLE, text, "");
}

/* By people's orders. What has not had a permit yet waits for a freeze's end; the rest is final. */
static bool is_forbidden(const struct drive *v, struct err *err)
{
    return admin_check_move(state_admin(v->state), v->p->body, v->i->move, v->p->made_at,
                            v->s->now.wall, err) < 0;
}

static bool is_frozen(const struct drive *v)
{
    struct err err;
    return admin_freeze(state_admin(v->state), v->s->now.wall) != NULL ||
           breaker_check(v->state, v->p->body->class, v->s->now.wall, &err) < 0;
}

static const char *domain_of(const struct drive *v, const char *host)
{
    const struct view_host *h = view_find(v->view, host);
    const char *domain = h != NULL && h->capability != NULL ? h->capability->failure_domain : NULL;
    return domain != NULL && domain[0] != '\0' ? domain : host;
}

/* The move of an earlier step that did not come about and that this one may rest on, or NULL. A VM
 * that stayed takes room and counts for the rules where it is: on its host and in that host's
 * failure domain. Whatever moves elsewhere is as safe as it was planned. */
static const struct plan_item *rests_on(const struct drive *v)
{
    const struct plan_move *m = v->i->move;
    for (size_t i = 0; i < v->p->body->n_moves; i++) {
        const struct plan_item *o = &v->p->items[i];
        Skein__ActionState a = plan_item_state(o);
        if (o->move->step >= m->step || a == SUCCEEDED || a == SKIPPED)
            continue;
        if (plan_move_same_subject(o->move, m) ||
            strcmp(domain_of(v, o->move->from), domain_of(v, m->to)) == 0)
            return o;
    }
    return NULL;
}

/* By the gate rules: within a window, and after the canary has rested. A canary that failed ends
 * the others. */
static bool is_time(const struct drive *v)
{
    struct err err;
    if (state_gate_when(v->state, v->p, v->s->now.wall, &err) < 0)
        return false;
    if (state_gate_canary(v->state, v->p, v->i, v->s->now.wall, &err) == 0)
        return true;
    if (err.code == ERR_CANCELLED)
        find(v, CANCELLED, ERR_CANCELLED, err.msg, "");
    return false;
}

/* By the hooks that gate rules name. */
static bool hooks_allow(const struct drive *v)
{
    struct err err;
    int rc = duty_hooks_allow(v->d, v->s, v->view, v->state, v->p, v->i, &err);
    if (rc == -ERR_DENIED)
        find(v, CANCELLED, ERR_DENIED, err.msg, "");
    return rc == 0;
}

static void drive_pending(const struct drive *v)
{
    const struct plan_item *earlier = rests_on(v);
    struct gate_verdict verdict;
    struct err err;
    if (v->p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING)
        find(v, CANCELLED, ERR_CANCELLED, "the plan was cancelled", "");
    else if (earlier != NULL) {
        if (plan_move_is_power(earlier->move))
            err_set(&err, ERR_CONFLICT, "host %s did not %s", earlier->move->vm,
                    earlier->move->type == PLAN_WAKE ? "wake" : "go to sleep");
        else
            err_set(&err, ERR_CONFLICT, "VM %s stayed on %s", earlier->move->vm,
                    earlier->move->from);
        find(v, CANCELLED, ERR_CONFLICT, err.msg, "");
    } else if (v->p->state != SKEIN__PLAN_STATE__PLAN_ONGOING)
        return;
    else if (state_gate(v->state, v->p, v->s->now.wall, &verdict, &err) < 0)
        find(v, CANCELLED, ERR_EXPIRED, err.msg, "");
    else if (busy(v) || is_frozen(v) || !retry_due(v) || !is_time(v))
        return;
    else if (is_forbidden(v, &err))
        find(v, CANCELLED, ERR_CANCELLED, err.msg, "");
    else if (!is_in_place(v) || !hosts_reachable(v))
        wait_for_hosts(v);
    else {
        v->run->blocked_since = 0;
        if (has_room(v) && hooks_allow(v))
            propose_permit(v);
    }
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

/* What both sides show, when they show one thing. */
static int agreement(const struct drive *v)
{
    const struct side *from = &v->run->from, *to = &v->run->to;
    if (plan_move_is_power(v->i->move))
        return duty_power_agreement(v);
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
    else
        snprintf(evidence, sizeof evidence, "%s; seen running on %s for %d s", why,
                 agreed == (int)SUCCEEDED ? v->i->move->to : v->i->move->from,
                 DUTY_PROOF_MS / 1000);
    if (agreed == (int)SUCCEEDED)
        find(v, SUCCEEDED, ERR_OK, "", evidence);
    else
        find(v, FAILED, ERR_UNKNOWN, "it left no trace", evidence);
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
        find(v, UNKNOWN, ERR_UNKNOWN,
             source_silent(v) ? "the source does not answer"
                              : "the source has forgotten the action",
             "");
    if (v->s->now.mono >= r->next_look && !plan_move_is_power(v->i->move)) {
        r->next_look = v->s->now.mono + DUTY_RESEND_MS;
        r->to.token = look_at(v, v->i->move->to);
        r->from.token = look_at(v, v->i->move->from);
    }
    conclude(v);
}

/* It did not start and cannot any more: try again, or give it up. */
static void retry(const struct drive *v)
{
    struct run *r = v->run;
    const struct err *why = &r->err;
    enum err_code code = why->code != ERR_OK ? why->code : ERR_TIMEOUT;
    const char *text = why->code != ERR_OK ? why->msg : "the source did not start it";
    if (v->p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING) {
        find(v, CANCELLED, ERR_CANCELLED, "the plan was cancelled", "");
        return;
    }
    bool again = plan_item_state(v->i) == PERMITTED && !r->stop &&
                 v->i->permit->attempt < DUTY_ATTEMPTS &&
                 v->p->state == SKEIN__PLAN_STATE__PLAN_ONGOING;
    msec away = away_for(v);
    if (again && away > 0 && away < DUTY_RETURN_MS)
        return;
    if (!again || away > 0) {
        find(v, FAILED, code, text, "the source never started it");
        return;
    }
    struct gate_verdict verdict;
    struct err closed;
    if (state_gate(v->state, v->p, v->s->now.wall, &verdict, &closed) < 0)
        find(v, CANCELLED, ERR_EXPIRED, closed.msg, "the source never started it");
    else if (state_gate_when(v->state, v->p, v->s->now.wall, &closed) < 0)
        return; /* until the window opens again, or the approvals end */
    else if (is_forbidden(v, &closed))
        find(v, CANCELLED, ERR_CANCELLED, closed.msg, "the source never started it");
    else
        propose_permit(v);
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
        find(v, NEEDS_OPERATOR, ERR_UNKNOWN,
             "what became of the move could not be found out in time", "");
        return;
    }
    if (v->run->not_started && permit_expired(v)) {
        const char *host;
        enum place place = plan_move_is_power(v->i->move) ? PLACE_SOURCE : find_vm(v, &host);
        if (place == PLACE_SOURCE || place == PLACE_UNSURE) {
            retry(v);
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
    bool power = false;
    for (size_t i = 0; i < p->body->n_moves; i++)
        power = power || plan_move_is_power(&p->body->moves[i]);
    buf_addf(&text, "%zu of %zu %s", done, p->body->n_moves, power ? "actions done" : "moved");
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
            drive_pending(&v);
        else
            drive_live(&v);
    }
}

/* ---- what is heard ---- */

/* The source knows nothing of the action. Only where nobody ever heard of its start does that,
 * asked after the permit's end, mean that it will not start; else the source has forgotten. */
static void hear_not_started(struct run *r, Skein__ActionState state, bool final)
{
    if (state == PERMITTED && final)
        r->not_started = true;
    else if (state == RUNNING || state == UNKNOWN)
        r->lost = true;
}

/* What hypervisors and networks recover from. Not a refusal, nor a time that was too short. */
static bool may_recover(const char *code)
{
    enum err_code c = code != NULL ? err_from_name(code) : ERR_OK;
    return c == ERR_UNAVAILABLE || c == ERR_HYPERVISOR || c == ERR_UNKNOWN || c == ERR_IO;
}

/* An attempt that failed on the way and left the VM where it was is not the action's end, as long
 * as there are attempts left: the action waits for another permit. */
static void return_instead(const struct plan *p, const struct plan_item *item,
                           Skein__ActionReport *report)
{
    bool again = report->state == FAILED && may_recover(report->code) && item->permit != NULL &&
                 item->permit->attempt < DUTY_ATTEMPTS && report->permit != NULL &&
                 (p->state == SKEIN__PLAN_STATE__PLAN_ONGOING ||
                  p->state == SKEIN__PLAN_STATE__PLAN_PAUSED) &&
                 plan_report_allowed(plan_item_state(item), PENDING);
    if (again)
        report->state = PENDING;
}

static void hear_report(struct duty *d, struct step *s, const struct plan *p,
                        const struct plan_item *item, struct run *r, bool final, const char *host,
                        const Skein__ActionReport *report)
{
    Skein__ActionState now = plan_item_state(item);
    if (!report->has_state || report->plan == NULL || report->action == NULL ||
        strcmp(report->plan, r->plan) != 0 || strcmp(report->action, r->action) != 0 ||
        plan_report_is_stale(item, report) || plan_item_returned(item))
        return;
    if (report->state == PENDING) {
        hear_not_started(r, now, final);
        return;
    }
    r->lost = r->not_started = false;
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, r->plan, r->action);
    if (report->state == now || !plan_report_allowed(now, report->state) || duty_busy(d, key))
        return;
    Skein__ActionReport copy = *report;
    copy.reporter = (char *)host;
    return_instead(p, item, &copy);
    propose_report(d, s, &copy);
}

static bool is_final_refusal(enum err_code code)
{
    return code == ERR_DENIED || code == ERR_INVALID || code == ERR_INCOMPATIBLE ||
           code == ERR_UNSUPPORTED || code == ERR_UNAUTHENTICATED;
}

static void hear_source(struct duty *d, struct step *s, const struct plan *p,
                        const struct plan_item *item, struct run *r, bool final, const char *host,
                        const Skein__Reply *reply)
{
    r->answered = s->now.mono;
    if (reply->code != NULL && reply->code[0] != '\0') {
        err_set(&r->err, err_from_name(reply->code), "%s: %s", host,
                reply->message != NULL ? reply->message : "refused");
        r->stop = r->stop || is_final_refusal(r->err.code);
        effect_trace(s, "duty: %s/%s: %s", r->plan, r->action, r->err.msg);
    } else if (reply->kind_case == SKEIN__REPLY__KIND_REPORT) {
        hear_report(d, s, p, item, r, final, host, reply->report);
    }
}

static void hear_seen(struct side *side, const Skein__Reply *reply)
{
    *side = (struct side){0};
    if (reply->kind_case != SKEIN__REPLY__KIND_SEEN)
        return;
    const Skein__VmSeen *seen = reply->seen;
    bool incoming = seen->has_state && seen->state == SKEIN__VM_STATE__VM_INCOMING;
    side->known = seen->has_present;
    side->present = seen->present;
    side->running = seen->has_state && seen->state == SKEIN__VM_STATE__VM_RUNNING;
    side->persistent = seen->persistent;
    side->job = seen->job || incoming;
}

static bool acts(const struct plan_item *i, const char *host)
{
    const char *actor = duty_actor(i);
    return actor != NULL && strcmp(host, actor) == 0;
}

/* Has it a part in this action? A host that was asked before to wake another may still report. */
static bool may_report(const struct plan_item *i, const char *host)
{
    return acts(i, host) || strcmp(host, i->move->from) == 0 || strcmp(host, i->move->to) == 0 ||
           i->move->type == PLAN_WAKE;
}

static const struct asked *find_asked(const struct run *r, uint64_t token)
{
    for (size_t i = 0; i < DUTY_ASKED; i++)
        if (r->asked[i].token == token)
            return &r->asked[i];
    return NULL;
}

void duty_reply(struct duty *d, struct step *s, const struct state *state, const char *host,
                const Skein__Reply *reply)
{
    if (!d->leads || !reply->has_id || reply->id == 0)
        return;
    for (size_t i = 0; i < d->n_runs; i++) {
        struct run *r = &d->runs[i];
        const struct plan *p = state_plan(state, r->plan);
        const struct plan_item *item = p != NULL ? plan_item(p, r->action) : NULL;
        if (item == NULL)
            continue;
        if (reply->id == r->to.token && strcmp(host, item->move->to) == 0)
            hear_seen(&r->to, reply);
        else if (reply->id == r->from.token && strcmp(host, item->move->from) == 0)
            hear_seen(&r->from, reply);
        else if (acts(item, host)) {
            const struct asked *asked = find_asked(r, reply->id);
            if (asked != NULL)
                hear_source(d, s, p, item, r, asked->final, host, reply);
        }
    }
}

/* Is there something in this report that the state would take? Else there is nothing more to say
 * of the action, and the source must not repeat it for ever. */
static bool is_news(struct step *s, const struct plan *p, const struct plan_item *item,
                    const Skein__ActionReport *report)
{
    Skein__ActionState now = plan_item_state(item);
    if (!report->has_state || report->state == now || report->state == PENDING ||
        report->state == PERMITTED || plan_report_is_stale(item, report) ||
        (plan_item_returned(item) && report->state == FAILED))
        return false;
    if (plan_report_allowed(now, report->state))
        return plan_state_running(p->state) || now == NEEDS_OPERATOR;
    if (plan_move_is_power(
            item->move)) /* it was seen asleep; what it says since is of another time */
        return false;
    effect_audit(s, "report.conflict", "{s:s, s:s, s:s, s:s, s:s?}", "plan", p->body->id, "action",
                 item->move->id, "known", plan_action_name(now), "reported",
                 plan_action_name(report->state), "reason", report->message);
    return false;
}

void duty_report(struct duty *d, struct step *s, const struct state *state, const char *host,
                 uint64_t id, const Skein__ActionReport *report)
{
    struct err err = {0};
    if (!d->leads) {
        err_set(&err, ERR_NOT_LEADER, "%s plans", d->leader[0] != '\0' ? d->leader : "nobody");
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    const struct plan *p =
        report->plan != NULL && report->action != NULL ? state_plan(state, report->plan) : NULL;
    const struct plan_item *item = p != NULL ? plan_item(p, report->action) : NULL;
    if (item == NULL) {
        effect_trace(s, "duty: %s reports an action that is not known", host);
        effect_reply(s, host, id, NULL, NULL);
        return;
    }
    if (!may_report(item, host)) {
        err_set(&err, ERR_DENIED, "%s has no part in action %s", host, report->action);
        effect_audit(s, "report.refused", "{s:s, s:s, s:s}", "plan", p->body->id, "action",
                     item->move->id, "who", host);
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    struct run *r = run_find(d, p->body->id, report->action);
    if (r != NULL && acts(item, host))
        r->answered = s->now.mono;
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, p->body->id, report->action);
    if (!is_news(s, p, item, report)) {
        bool stop = p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING && plan_item_live(item);
        if (stop)
            err_set(&err, ERR_CANCELLED, "plan %s is being cancelled", p->body->id);
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    if (duty_busy(d, key))
        return; /* it will be repeated, and then there is an answer */
    Skein__ActionReport copy = *report;
    copy.plan = p->body->id;
    copy.reporter = (char *)host;
    return_instead(p, item, &copy);
    struct proposal *proposal = propose_report(d, s, &copy);
    snprintf(proposal->reply_host, sizeof proposal->reply_host, "%s", host);
    proposal->reply_id = id;
}

void duty_progress(struct duty *d, struct step *s, const struct state *state, const char *host,
                   const Skein__Progress *progress)
{
    struct run *r = run_find(d, progress->plan, progress->action);
    const struct plan *p = r != NULL ? state_plan(state, r->plan) : NULL;
    const struct plan_item *item = p != NULL ? plan_item(p, r->action) : NULL;
    if (item == NULL || !d->leads || !acts(item, host))
        return;
    r->answered = s->now.mono;
    if (r->progress != NULL)
        skein__progress__free_unpacked(r->progress, NULL);
    r->progress = (Skein__Progress *)codec_copy(&progress->base);
}

const Skein__Progress *duty_progress_of(const struct duty *d, const char *plan, const char *action)
{
    const struct run *r = run_find((struct duty *)d, plan, action);
    return r != NULL ? r->progress : NULL;
}
