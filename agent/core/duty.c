#include "agent/core/duty.h"

#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/setback.h"

struct duty *duty_new(const struct node_conf *conf)
{
    struct duty *d = xcalloc(1, sizeof *d);
    d->conf = conf;
    duty_evaluators_new(d);
    snprintf(d->idle, sizeof d->idle, "no planner is known yet");
    return d;
}

void duty_free(struct duty *d)
{
    if (d == NULL)
        return;
    duty_runs_clear(d);
    duty_hooks_clear(d);
    duty_evaluators_free(d);
    duty_told_clear(d);
    free(d->runs);
    free(d->proposals);
    free(d);
}

bool duty_leads(const struct duty *d)
{
    return d->leads;
}

const char *duty_idle_reason(const struct duty *d)
{
    return d->idle;
}

void duty_role(struct duty *d, struct step *s, uint64_t term, const char *leader)
{
    bool leads = strcmp(leader, d->conf->host) == 0;
    if (leads == d->leads && term == d->term && strcmp(leader, d->leader) == 0)
        return;
    if (leads && (!d->leads || term != d->term)) {
        effect_trace(s, "duty: leads term %llu", (unsigned long long)term);
        effect_audit(s, "planner.begun", "{s:I}", "term", (json_int_t)term);
    }
    /* Agents tell their details to whom they take for the planner: to it since then, without a gap
     * where it is the same one again at once. */
    if (d->leads && !leads)
        d->led_until = s->now.mono;
    if (!d->leads && leads &&
        (d->led_until == 0 || s->now.mono - d->led_until > d->conf->stale_after))
        d->trusted_since = s->now.mono;
    d->leads = leads;
    d->term = term;
    snprintf(d->leader, sizeof d->leader, "%s", leader);
    d->n_proposals = 0;
    duty_runs_clear(d);
    duty_hooks_clear(d);
    duty_told_clear(d); /* a new planner does not know what another one told */
    duty_evaluators_reset(d, s);
    d->explain_at = 0;
    d->yield_at = 0;
    d->n_absences = 0;
    /* until it has heard of all */
    d->voters_at = s->now.mono + MIN(d->conf->stale_after, d->conf->voters_patience);
}

/* ---- proposals ---- */

bool duty_busy(const struct duty *d, const char *key)
{
    for (size_t i = 0; i < d->n_proposals; i++)
        if (strcmp(d->proposals[i].key, key) == 0)
            return true;
    return false;
}

struct proposal *duty_propose(struct duty *d, struct step *s, const char *key, Skein__Entry *entry)
{
    ARRAY_RESERVE(d->proposals, d->cap_proposals, d->n_proposals + 1);
    struct proposal *p = &d->proposals[d->n_proposals++];
    *p = (struct proposal){.until = s->now.mono + DUTY_PROPOSAL_MS};
    snprintf(p->key, sizeof p->key, "%s", key);
    p->token = effect_propose(s, OWNER_DUTY, entry);
    return p;
}

static void forget_old_proposals(struct duty *d, const struct step *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_proposals; i++)
        if (d->proposals[i].until > s->now.mono)
            d->proposals[kept++] = d->proposals[i];
    d->n_proposals = kept;
}

char *duty_text(const char *text)
{
    size_t len = strnlen(text, DUTY_TEXT_MAX);
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--; /* the cut fell into a character: it goes too */
    char *copy = xcalloc(len + 1, 1);
    for (size_t i = 0; i < len; i++)
        copy[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    return copy;
}

void duty_action_key(char key[DUTY_KEY_SIZE], const char *plan, const char *action)
{
    snprintf(key, DUTY_KEY_SIZE, "%s/%s", plan, action);
}

void duty_change(struct duty *d, struct step *s, const struct plan *p, Skein__PlanState to,
                 const char *reason)
{
    if (duty_busy(d, p->body->id))
        return;
    Skein__PlanChange change = SKEIN__PLAN_CHANGE__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    change.plan = p->body->id;
    change.has_state = 1;
    change.state = to;
    _cleanup_(freep) char *text = duty_text(reason);
    change.reason = text;
    entry.kind_case = SKEIN__ENTRY__KIND_CHANGE;
    entry.change = &change;
    duty_propose(d, s, p->body->id, &entry);
}

/* The report that a proposal stood for is in the state now, or was refused. */
static void answer_report(struct step *s, const struct state *state, const struct proposal *p,
                          const struct err *err)
{
    char id[PLAN_ID_SIZE];
    snprintf(id, sizeof id, "%s", p->key);
    const struct plan *plan = state_plan(state, id);
    struct err stop = {0};
    if (err->code == ERR_OK && plan != NULL && plan->state == SKEIN__PLAN_STATE__PLAN_CANCELLING) {
        err_set(&stop, ERR_CANCELLED, "plan %s is being cancelled", id);
        err = &stop;
    }
    effect_reply(s, p->reply_host, p->reply_id, NULL, err);
}

void duty_proposed(struct duty *d, struct step *s, const struct state *state, uint64_t token,
                   const struct err *err)
{
    size_t i = 0;
    while (i < d->n_proposals && d->proposals[i].token != token)
        i++;
    if (i == d->n_proposals || token == 0)
        return;
    struct proposal p = d->proposals[i];
    if (p.reply_host[0] != '\0')
        answer_report(s, state, &p, err);
    if (err->code == ERR_OK) {
        d->proposals[i] = d->proposals[--d->n_proposals];
        return;
    }
    effect_trace(s, "duty: %s refused: %s: %s", p.key, err_name(err->code), err->msg);
    d->proposals[i] = (struct proposal){.until = s->now.mono + DUTY_RESEND_MS};
    memcpy(d->proposals[i].key, p.key, sizeof p.key);
    bool final = err->code != ERR_NOT_LEADER && err->code != ERR_UNKNOWN &&
                 err->code != ERR_UNAVAILABLE && err->code != ERR_IO;
    if (p.request[0] != '\0' && final) {
        d->proposals[i].until = 0; /* its key is needed for the answer */
        forget_old_proposals(d, s);
        duty_close_request(d, s, p.request, err->msg);
    }
}

/* ---- the life of plans ---- */

const struct plan *duty_vms_busy(const struct state *state, const struct plan_body *body,
                                 const struct plan *p, const char **ret_vm)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = 0; i < n; i++) {
        if (plans[i] == p || !plan_state_running(plans[i]->state))
            continue;
        for (size_t k = 0; k < body->n_moves; k++)
            for (size_t j = 0; j < plans[i]->body->n_moves; j++)
                if (plan_move_same_subject(&body->moves[k], &plans[i]->body->moves[j])) {
                    *ret_vm = body->moves[k].vm;
                    return plans[i];
                }
    }
    return NULL;
}

static bool waits_for_approval(const struct plan *p)
{
    return p->state == SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL ||
           p->state == SKEIN__PLAN_STATE__PLAN_RECOMMENDED;
}

/* A later plan of the same policy that waits too: policies have one plan waiting at most. */
static const struct plan *find_successor(const struct state *state, const struct plan *p)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = n; i-- > 0 && plans[i] != p;)
        if (waits_for_approval(plans[i]) && p->body->policy[0] != '\0' &&
            strcmp(plans[i]->body->policy, p->body->policy) == 0)
            return plans[i];
    return NULL;
}

/* A plan to empty hosts none of which is being emptied any more. */
static bool drain_taken_back(const struct state *state, const struct plan *p)
{
    if (strcmp(p->body->policy, ADMIN_DRAIN_POLICY) != 0)
        return false;
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (admin_drains(state_admin(state), p->body->moves[i].from))
            return false;
    return true;
}

/* A plan within a standing order's bounds, budget included, waits for nobody. */
static void use_order(struct duty *d, struct step *s, const struct state *state,
                      const struct plan *p)
{
    struct err why;
    const Skein__Vote *order = state_order_for(state, p, s->now.wall, &why);
    if (order == NULL || duty_busy(d, p->body->id))
        return;
    Skein__OrderUse use = SKEIN__ORDER_USE__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    use.plan = p->body->id;
    use.order = order->key;
    entry.kind_case = SKEIN__ENTRY__KIND_ORDER_USE;
    entry.order_use = &use;
    duty_propose(d, s, p->body->id, &entry);
}

static void tend_waiting(struct duty *d, struct step *s, const struct state *state,
                         const struct plan *p)
{
    const char *vm;
    const struct plan *busy = duty_vms_busy(state, p->body, p, &vm);
    const struct plan *successor = find_successor(state, p);
    _cleanup_(freep) char *reason = NULL;
    if (s->now.wall >= (msec)p->put->expires_at_ms) {
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_EXPIRED, "nobody decided in time");
        return;
    }
    if (drain_taken_back(state, p))
        reason = xasprintf("%s is not being drained any more", p->body->moves[0].from);
    else if (busy != NULL)
        reason = xasprintf("%s is part of plan %s, which runs", vm, busy->body->id);
    else if (successor != NULL)
        reason = xasprintf("replaced by plan %s", successor->body->id);
    else
        reason = duty_gives_way(state, p->body, p);
    if (reason != NULL)
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_SUPERSEDED, reason);
    else
        use_order(d, s, state, p);
}

static void tend_approved(struct duty *d, struct step *s, const struct view *view,
                          const struct state *state, const struct plan *p)
{
    const char *vm;
    struct gate_verdict verdict;
    struct err err;
    if (state_gate(state, p, s->now.wall, &verdict, &err) < 0)
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_EXPIRED, err.msg);
    else if (drain_taken_back(state, p))
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_SUPERSEDED, "the drain was taken back");
    else if (duty_hooks_vetoed(d, p, &err) < 0)
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_SUPERSEDED, err.msg);
    else if (duty_hooks_told(d, s, view, state, p) &&
             admin_freeze(state_admin(state), s->now.wall) == NULL &&
             state_gate_when(state, p, s->now.wall, &err) == 0 &&
             duty_vms_busy(state, p->body, p, &vm) == NULL)
        duty_change(d, s, p, SKEIN__PLAN_STATE__PLAN_ONGOING, "");
}

static void tend(struct duty *d, struct step *s, const struct view *view, const struct state *state,
                 const struct plan *p)
{
    if (waits_for_approval(p))
        tend_waiting(d, s, state, p);
    else if (p->state == SKEIN__PLAN_STATE__PLAN_APPROVED)
        tend_approved(d, s, view, state, p);
    else if (plan_state_running(p->state))
        duty_drive(d, s, view, state, p);
}

/* ---- why nothing is happening ---- */

static void add_policies(const struct duty *d, struct buf *text)
{
    for (size_t i = 0; i + 1 < d->n_evaluators; i++) {
        const struct evaluator *e = &d->evaluators[i];
        if (e->resting)
            continue;
        buf_addf(text, "%s%s: %s", text->len > 0 ? "; " : "", e->policy,
                 e->outcome != NULL ? e->outcome : "not evaluated yet");
    }
    if (text->len == 0)
        buf_adds(text, "no policy is active");
}

static void add_freeze(const struct step *s, const struct state *state, struct buf *text)
{
    char until[TIME_TEXT_SIZE];
    const Skein__Freeze *f = admin_freeze(state_admin(state), s->now.wall);
    if (f == NULL)
        return;
    time_format((msec)f->until_ms, until);
    buf_addf(text, "frozen by %s until %s%s%s", f->vote->person, until,
             f->vote->reason[0] != '\0' ? ": " : "", f->vote->reason);
}

static void explain_leading(struct duty *d, const struct step *s, const struct view *view,
                            const struct state *state)
{
    _cleanup_(buf_done) struct buf text = {0};
    struct plan *const *plans;
    size_t n = state_plans(state, &plans), fresh, all;
    bool running = false;
    add_freeze(s, state, &text);
    struct err open;
    if (breaker_check(state, "", s->now.wall, &open) < 0)
        buf_addf(&text, "%s%s", text.len > 0 ? "; " : "", open.msg);
    bool frozen = text.len > 0;
    for (size_t i = 0; i < n && !frozen; i++) {
        running = running || plan_state_running(plans[i]->state) ||
                  plans[i]->state == SKEIN__PLAN_STATE__PLAN_APPROVED;
        if (waits_for_approval(plans[i]))
            buf_addf(&text, "%splan %s waits for an approval", text.len > 0 ? "; " : "",
                     plans[i]->body->id);
    }
    if (text.len == 0 && !duty_time_known(d, s))
        buf_adds(&text, "the time of the simulated world is not known yet");
    if (text.len == 0 && !duty_data_fresh(d, s, view, state, &fresh, &all))
        buf_addf(&text, "fresh data of only %zu of %zu hosts", fresh, all);
    if (text.len == 0 && !running)
        add_policies(d, &text);
    snprintf(d->idle, sizeof d->idle, "%s",
             (running && !frozen) || text.data == NULL ? "" : text.data);
}

/* At once when something was agreed on, evaluated or elected; what only time changes, every second.
 */
static void explain_idle(struct duty *d, const struct step *s, const struct view *view,
                         const struct state *state)
{
    if (s->now.mono < d->explain_at)
        return;
    d->explain_at = s->now.mono + DUTY_EXPLAIN_MS;
    if (d->leads)
        explain_leading(d, s, view, state);
    else if (d->leader[0] != '\0')
        snprintf(d->idle, sizeof d->idle, "%.200s plans", d->leader);
    else
        snprintf(d->idle, sizeof d->idle, "no planner: a majority of the voters is missing");
}

/* What this host holds that is newer than what the voters agreed on, and follows it. */
static void agree_on_roots(struct duty *d, struct step *s, const struct state *state)
{
    const struct trust *trust = s->conf->trust;
    if (trust->follow == NULL || s->now.mono < d->roots_at || duty_busy(d, "roots"))
        return;
    d->roots_at = s->now.mono + DUTY_ROOTS_MS;
    const struct trust_roots *own = trust->roots(trust), *agreed = state_roots(state);
    struct trust_roots next = agreed != NULL ? *agreed : *own;
    if (own->revocations > next.revocations)
        next.crl = own->crl;
    if (own->roster_version > next.roster_version)
        next.roster = own->roster;
    if (agreed != NULL && next.crl == agreed->crl && next.roster == agreed->roster)
        return;
    struct err err;
    if (state_check_roots(state, &next, s->now.wall, &err) < 0) {
        effect_trace(s, "duty: roots are not proposed: %s", err.msg);
        return;
    }
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_ROOTS;
    entry.roots = state_roots_message(&next);
    duty_propose(d, s, "roots", &entry);
    skein__roots__free_unpacked(entry.roots, NULL);
}

void duty_tick(struct duty *d, struct step *s, const struct view *view, const struct state *state)
{
    if (!d->leads) {
        explain_idle(d, s, view, state);
        return;
    }
    forget_old_proposals(d, s);
    agree_on_roots(d, s, state);
    duty_runs_forget_ended(d, state);
    duty_hooks_forget_ended(d, state);
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = 0; i < n; i++)
        tend(d, s, view, state, plans[i]);
    duty_policies(d, s, state);
    duty_evaluate(d, s, view, state);
    duty_tell_others(d, s, view, state);
    duty_yield(d, s, view, state);
    duty_voters(d, s, view, state);
    explain_idle(d, s, view, state);
}

/* ---- the audit of what was agreed ---- */

static void audit_plan(struct step *s, const struct plan *p, const struct state_change *c)
{
    if (c->kind == STATE_PLAN_NEW) {
        effect_audit(s, "plan.made", "{s:s, s:s, s:s, s:s, s:s, s:s?, s:i}", "plan", p->body->id,
                     "digest", p->body->digest, "class", p->body->class, "policy", p->body->policy,
                     "reason", p->body->reason, "who", p->put->author, "actions",
                     (int)p->body->n_moves);
        return;
    }
    char event[64];
    snprintf(event, sizeof event, "plan.%s", plan_state_name(c->to));
    effect_audit(s, event, "{s:s, s:s, s:s}", "plan", p->body->id, "from", plan_state_name(c->from),
                 "reason", p->reason);
}

static void audit_vote(struct step *s, const struct plan *p, const struct state_change *c)
{
    static const char *const events[] = {
        [GATE_APPROVE] = "plan.approved",        [GATE_REJECT] = "plan.rejected",
        [GATE_CANCEL] = "plan.cancelled",        [GATE_MIGRATE] = "move.requested",
        [GATE_ORDER] = "plan.approved_by_order", [GATE_PAUSE] = "plan.paused",
        [GATE_RESUME] = "plan.resumed",          [GATE_ROLLBACK] = "rollback.requested",
        [GATE_DRILL] = "drill.requested"};
    effect_audit(s, events[c->verb], "{s:s, s:s, s:s, s:s, s:s?}", "plan", p->body->id, "digest",
                 p->body->digest, "who", c->who, "state", plan_state_name(p->state), "reason",
                 c->reason);
}

static const char *report_event(Skein__ActionState s)
{
    switch (s) {
    case SKEIN__ACTION_STATE__ACTION_RUNNING:
        return "move.started";
    case SKEIN__ACTION_STATE__ACTION_SUCCEEDED:
        return "move.succeeded";
    case SKEIN__ACTION_STATE__ACTION_FAILED:
        return "move.failed";
    case SKEIN__ACTION_STATE__ACTION_SKIPPED:
        return "move.skipped";
    case SKEIN__ACTION_STATE__ACTION_CANCELLED:
        return "move.cancelled";
    case SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR:
        return "needs.operator";
    case SKEIN__ACTION_STATE__ACTION_PENDING:
        return "move.returned";
    case SKEIN__ACTION_STATE__ACTION_UNKNOWN:
    case SKEIN__ACTION_STATE__ACTION_PERMITTED:
    case _SKEIN__ACTION_STATE_IS_INT_SIZE:
        break;
    }
    return "move.unknown";
}

static void audit_action(struct step *s, const struct plan *p, const struct state_change *c)
{
    const struct plan_item *i = plan_item(p, c->action);
    const struct plan_move *m = i->move;
    if (c->kind == STATE_PERMIT) {
        effect_audit(s, "permit.issued", "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i}", "plan",
                     p->body->id, "action", m->id, "vm", m->vm, "uuid", m->uuid, "from", m->from,
                     "to", m->to, "permit", i->permit->id, "term", (json_int_t)i->permit->term,
                     "attempt", (int)i->permit->attempt);
    } else if (!c->repeated) {
        const Skein__ActionReport *r = i->report;
        effect_audit(s, report_event(r->state),
                     "{s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s?}", "plan", p->body->id,
                     "action", m->id, "vm", m->vm, "uuid", m->uuid, "from", m->from, "to", m->to,
                     "code", r->code, "reason", r->message, "evidence", r->evidence, "reporter",
                     r->reporter);
    }
}

static void audit_request(struct step *s, const struct state *state, const struct state_change *c)
{
    const Skein__RequestRecord *r = state_request(state, c->request);
    if (r == NULL)
        return;
    effect_audit(s, r->message != NULL ? "request.closed" : "request.made",
                 "{s:s, s:s, s:s, s:s, s:s, s:s?}", "request", r->nonce, "who", r->vote->person,
                 "vm", r->vm, "uuid", r->uuid, "to", r->to, "reason",
                 r->message != NULL ? r->message : r->vote->reason);
}

/* "host.drain", "vm.hold", "cluster.freeze" */
static void audit_admin(struct step *s, const struct state_change *c)
{
    bool vm = c->admin == ADMIN_HOLD || c->admin == ADMIN_RELEASE;
    bool whole = c->admin == ADMIN_FREEZE || c->admin == ADMIN_UNFREEZE;
    char event[64];
    snprintf(event, sizeof event, "%s.%s",
             vm      ? "vm"
             : whole ? "cluster"
                     : "host",
             admin_verb_name(c->admin));
    effect_audit(s, event, "{s:s, s:s, s:s}", "who", c->who, "about", c->about, "reason",
                 c->reason);
}

static void audit_policy(struct step *s, const struct state_change *c)
{
    static const char *const events[] = {
        [LIBRARY_SHADOW] = "policy.shadowed",
        [LIBRARY_PROMOTE] = "policy.promoted",
        [LIBRARY_REVERT] = "policy.reverted",
    };

    if (c->command)
        effect_audit(s, events[c->policy], "{s:s, s:s, s:s, s:s}", "policy", c->about, "digest",
                     c->digest, "who", c->who, "reason", c->reason);
    else
        effect_audit(s, "policy.known", "{s:s, s:s, s:s}", "policy", c->about, "digest", c->digest,
                     "who", "planner");
}

static void audit_refused(struct step *s, const struct state_change *c)
{
    if (c->command)
        effect_audit(s, "approval.refused", "{s:s, s:s, s:s, s:s}", "plan", c->plan, "who", c->who,
                     "code", err_name(c->err.code), "reason", c->err.msg);
    else
        effect_trace(s, "duty: entry %llu refused: %s", (unsigned long long)c->index, c->err.msg);
}

void duty_applied(struct duty *d, struct step *s, const struct state *state,
                  const struct state_change *change)
{
    d->explain_at = 0;
    if (!d->leads)
        return;
    const struct plan *p = change->plan[0] != '\0' ? state_plan(state, change->plan) : NULL;
    switch (change->kind) {
    case STATE_PLAN_NEW:
    case STATE_PLAN_CHANGED:
        if (p != NULL) /* else retention took it at once */
            audit_plan(s, p, change);
        break;
    case STATE_APPROVAL:
        if (p != NULL)
            audit_vote(s, p, change);
        break;
    case STATE_PERMIT:
    case STATE_REPORT:
        if (p != NULL)
            audit_action(s, p, change);
        break;
    case STATE_COMMAND:
        audit_request(s, state, change);
        break;
    case STATE_ADMIN:
        audit_admin(s, change);
        break;
    case STATE_ORDER:
        effect_audit(s, change->verb == GATE_ORDER ? "order.given" : "order.removed",
                     "{s:s, s:s, s:s}", "who", change->who, "order", change->about, "reason",
                     change->reason);
        break;
    case STATE_RULE:
        effect_audit(s, change->rule == RULEBOOK_ADD ? "rule.added" : "rule.removed",
                     "{s:s, s:s, s:s}", "who", change->who, "rule", change->about, "reason",
                     change->reason);
        break;
    case STATE_TOKEN:
        effect_audit(s, tokens_event(change->token), "{s:s, s:s, s:s, s:s*}", "who", change->who,
                     "token", change->digest, "of", change->about, "reason",
                     change->token != TOKENS_USE ? change->reason : NULL);
        break;
    case STATE_ROOTS:
        effect_audit(s, "roots.agreed", "{s:s}", "roots", change->about);
        break;
    case STATE_POLICY:
        audit_policy(s, change);
        break;
    case STATE_VOTERS: /* every host does, when it learns of it */
    case STATE_HEAD:   /* a record of it would want a new head */
        break;
    case STATE_REFUSED:
        audit_refused(s, change);
        break;
    }
}
