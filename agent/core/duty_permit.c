/* duty_permit.c - actions that wait: whether one may begin, within the limits, people's orders and
 * the gate rules, and the permit that lets it. */
#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/setback.h"

#define PERMITTED SKEIN__ACTION_STATE__ACTION_PERMITTED
#define SUCCEEDED SKEIN__ACTION_STATE__ACTION_SUCCEEDED
#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED
#define SKIPPED SKEIN__ACTION_STATE__ACTION_SKIPPED
#define CANCELLED SKEIN__ACTION_STATE__ACTION_CANCELLED

enum place duty_find_vm(const struct drive *v, const char **ret_host)
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
            duty_found(v, SKIPPED, ERR_OK, host, "");
        return due;
    }
    enum place place = duty_find_vm(v, &host);
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
    duty_found(v, SKIPPED, place == PLACE_DESTINATION ? ERR_OK : ERR_CONFLICT, text, "");
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
            if (!plan_item_live(item) || item->move->type != PLAN_MIGRATE)
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
    if (v->i->move->type != PLAN_MIGRATE) /* no link is taken */
        return true;
    if (!drain_has_room(v))
        return false;
    return n.total < c->limit_total && n.out < c->limit_outflow && n.in < c->limit_inflow;
}

static void propose_permit(const struct drive *v)
{
    if (duty_action_busy(v))
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
    /* A further permit of a live one keeps its place; only moves take one. */
    if (!plan_item_live(v->i) && m->type == PLAN_MIGRATE) {
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
    duty_found(v, FAILED, code != ERR_OK ? code : ERR_UNKNOWN, r->message != NULL ? r->message : "",
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
    duty_found(v, CANCELLED, ERR_UNAVAILABLE, text, "");
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
            (!plan_move_is_in_place(m) && !plan_move_is_in_place(o->move) &&
             strcmp(domain_of(v, o->move->from), domain_of(v, m->to)) == 0))
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
        duty_found(v, CANCELLED, ERR_CANCELLED, err.msg, "");
    return false;
}

/* By the hooks that gate rules name. */
static bool hooks_allow(const struct drive *v)
{
    struct err err;
    int rc = duty_hooks_allow(v->d, v->s, v->view, v->state, v->p, v->i, &err);
    if (rc == -ERR_DENIED)
        duty_found(v, CANCELLED, ERR_DENIED, err.msg, "");
    return rc == 0;
}

void duty_drive_pending(const struct drive *v)
{
    const struct plan_item *earlier = rests_on(v);
    struct gate_verdict verdict;
    struct err err;
    if (v->p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING)
        duty_found(v, CANCELLED, ERR_CANCELLED, "the plan was cancelled", "");
    else if (earlier != NULL) {
        if (plan_move_is_power(earlier->move))
            err_set(&err, ERR_CONFLICT, "host %s did not %s", earlier->move->vm,
                    earlier->move->type == PLAN_WAKE ? "wake" : "go to sleep");
        else
            err_set(&err, ERR_CONFLICT, "VM %s stayed on %s", earlier->move->vm,
                    earlier->move->from);
        duty_found(v, CANCELLED, ERR_CONFLICT, err.msg, "");
    } else if (v->p->state != SKEIN__PLAN_STATE__PLAN_ONGOING)
        return;
    else if (state_gate(v->state, v->p, v->s->now.wall, &verdict, &err) < 0)
        duty_found(v, CANCELLED, ERR_EXPIRED, err.msg, "");
    else if (duty_action_busy(v) || is_frozen(v) || !retry_due(v) || !is_time(v))
        return;
    else if (is_forbidden(v, &err))
        duty_found(v, CANCELLED, ERR_CANCELLED, err.msg, "");
    else if (!is_in_place(v) || !hosts_reachable(v))
        wait_for_hosts(v);
    else {
        v->run->blocked_since = 0;
        if (has_room(v) && hooks_allow(v))
            propose_permit(v);
    }
}

/* It did not start and cannot any more: try again, or give it up. */
void duty_retry(const struct drive *v)
{
    struct run *r = v->run;
    const struct err *why = &r->err;
    enum err_code code = why->code != ERR_OK ? why->code : ERR_TIMEOUT;
    const char *text = why->code != ERR_OK ? why->msg : "the source did not start it";
    if (v->p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING) {
        duty_found(v, CANCELLED, ERR_CANCELLED, "the plan was cancelled", "");
        return;
    }
    bool again = plan_item_state(v->i) == PERMITTED && !r->stop &&
                 v->i->permit->attempt < DUTY_ATTEMPTS &&
                 v->p->state == SKEIN__PLAN_STATE__PLAN_ONGOING;
    msec away = away_for(v);
    if (again && away > 0 && away < DUTY_RETURN_MS)
        return;
    if (!again || away > 0) {
        duty_found(v, FAILED, code, text, "the source never started it");
        return;
    }
    struct gate_verdict verdict;
    struct err closed;
    if (state_gate(v->state, v->p, v->s->now.wall, &verdict, &closed) < 0)
        duty_found(v, CANCELLED, ERR_EXPIRED, closed.msg, "the source never started it");
    else if (state_gate_when(v->state, v->p, v->s->now.wall, &closed) < 0)
        return; /* until the window opens again, or the approvals end */
    else if (is_forbidden(v, &closed))
        duty_found(v, CANCELLED, ERR_CANCELLED, closed.msg, "the source never started it");
    else
        propose_permit(v);
}
