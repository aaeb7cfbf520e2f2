/* state_actions.c - permits, what a voter confirms of them, and what sources report. */
#include "agent/core/setback.h"
#include "agent/core/state_priv.h"

/* ---- permits ---- */

static bool is_hex(const char *s, size_t digits)
{
    return s != NULL && strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

static int check_permit_form(const struct state *st, const Skein__Permit *t, struct err *err)
{
    if (!is_hex(t->id, 32) || t->plan == NULL || t->digest == NULL || t->action == NULL ||
        t->source == NULL || t->destination == NULL || !t->has_term || !t->has_issued_at_ms ||
        !t->has_expires_at_ms || !t->has_attempt)
        return err_set(err, ERR_INVALID, "permit: a field is missing");
    if (t->term != st->term)
        return err_set(err, ERR_STALE, "permit of term %llu, now is term %llu",
                       (unsigned long long)t->term, (unsigned long long)st->term);
    uint64_t at = (uint64_t)st->last.at;
    if (t->issued_at_ms > at || t->expires_at_ms <= at ||
        t->expires_at_ms - t->issued_at_ms > STATE_PERMIT_MAX_MS)
        return err_set(err, ERR_EXPIRED, "permit: issued and expiry do not fit its entry's time");
    const struct plan *p;
    const struct plan_item *i;
    if (state_find_permit(st, t->id, &p, &i) != NULL)
        return err_set(err, ERR_EXISTS, "permit %s was given before", t->id);
    return 0;
}

static int check_permit_plan(const struct state *st, const struct plan *p,
                             const struct plan_item *i, const Skein__Permit *t, struct err *err)
{
    if (p->state != SKEIN__PLAN_STATE__PLAN_ONGOING)
        return err_set(err, ERR_CONFLICT, "plan %s is %s, not ONGOING", p->body->id,
                       plan_state_name(p->state));
    if (state_judge(st, p, st->last.at, err) < 0 || state_gate_when(st, p, st->last.at, err) < 0 ||
        state_gate_canary(st, p, i, st->last.at, err) < 0)
        return -(int)err->code;
    if (strcmp(t->digest, p->body->digest) != 0 ||
        !plan_move_permits(i->move, t->source, t->destination))
        return err_set(err, ERR_INVALID, "permit: not of plan %s, action %s", p->body->id,
                       i->move->id);
    if (i->move->step != plan_step(p))
        return err_set(err, ERR_CONFLICT, "plan %s: action %s is not of the present step",
                       p->body->id, i->move->id);
    return admin_check_move(st->admin, p->body, i->move, p->made_at, st->last.at, err);
}

static int check_permit_action(const struct state *st, const struct plan_item *i,
                               const Skein__Permit *t, struct err *err)
{
    Skein__ActionState s = plan_item_state(i);
    if (s != SKEIN__ACTION_STATE__ACTION_PENDING && s != SKEIN__ACTION_STATE__ACTION_PERMITTED)
        return err_set(err, ERR_CONFLICT, "action %s is %s", i->move->id, plan_action_name(s));
    if (i->permit != NULL && i->permit->expires_at_ms > (uint64_t)st->last.at &&
        !plan_item_returned(i)) /* used up: no source takes one twice */
        return err_set(err, ERR_EXISTS, "action %s has a permit that has not expired", i->move->id);
    if (t->attempt != (i->permit != NULL ? i->permit->attempt : 0) + 1)
        return err_set(err, ERR_STALE, "action %s: attempt %u is not the next", i->move->id,
                       t->attempt);
    return 0;
}

int state_apply_permit(struct state *st, const Skein__Permit *t, struct err *err)
{
    struct plan *p;
    if (check_permit_form(st, t, err) < 0 || state_need_plan(st, t->plan, &p, err) < 0)
        return -(int)err->code;
    struct plan_item *i = plan_item(p, t->action);
    if (i == NULL)
        return err_set(err, ERR_NOT_FOUND, "plan %s has no action %s", p->body->id, t->action);
    if (check_permit_plan(st, p, i, t, err) < 0 || check_permit_action(st, i, t, err) < 0)
        return -(int)err->code;
    if (plan_item_returned(i))
        skein__action_report__free_unpacked(TAKE_PTR(i->report), NULL);
    if (i->permit != NULL)
        skein__permit__free_unpacked(i->permit, NULL);
    i->permit = (Skein__Permit *)codec_copy(&t->base);
    st->last.kind = STATE_PERMIT;
    set_text(st->last.plan, sizeof st->last.plan, p->body->id);
    set_text(st->last.action, sizeof st->last.action, i->move->id);
    st->last.from = st->last.to = p->state;
    return 0;
}

static bool same_permit(const Skein__Permit *a, const Skein__Permit *b)
{
    return b->plan != NULL && b->digest != NULL && b->action != NULL && b->source != NULL &&
           b->destination != NULL && strcmp(a->plan, b->plan) == 0 &&
           strcmp(a->digest, b->digest) == 0 && strcmp(a->action, b->action) == 0 &&
           strcmp(a->source, b->source) == 0 && strcmp(a->destination, b->destination) == 0 &&
           a->term == b->term && a->issued_at_ms == b->issued_at_ms &&
           a->expires_at_ms == b->expires_at_ms && a->attempt == b->attempt;
}

int state_confirm(const struct state *st, const Skein__Permit *permit, msec wall, struct err *err)
{
    const struct plan *p;
    const struct plan_item *i;
    const Skein__Permit *known = state_find_permit(st, permit->id, &p, &i);
    if (known == NULL)
        return err_set(err, ERR_NOT_FOUND, "no such permit at index %llu",
                       (unsigned long long)st->index);
    if (!same_permit(known, permit))
        return err_set(err, ERR_DENIED, "permit %s was altered", known->id);
    if (known->term != st->term)
        return err_set(err, ERR_STALE, "permit of term %llu, now is term %llu",
                       (unsigned long long)known->term, (unsigned long long)st->term);
    if ((msec)known->expires_at_ms <= wall)
        return err_set(err, ERR_EXPIRED, "permit %s has expired", known->id);
    if (p->state != SKEIN__PLAN_STATE__PLAN_ONGOING)
        return err_set(err, ERR_CANCELLED, "plan %s is %s", p->body->id, plan_state_name(p->state));
    if (plan_action_ended(plan_item_state(i)) || plan_item_returned(i))
        return err_set(err, ERR_CONFLICT, "action %s is %s", i->move->id,
                       plan_action_name(plan_item_state(i)));
    if (admin_check_move(st->admin, p->body, i->move, p->made_at, wall, err) < 0 ||
        breaker_check(st, p->body->class, wall, err) < 0)
        return -(int)err->code;
    if (state_gate_when(st, p, wall, err) < 0 || state_gate_canary(st, p, i, wall, err) < 0)
        return -(int)err->code;
    return state_judge(st, p, wall, err);
}

/* ---- reports ---- */

static int check_report(const struct state *st, const struct plan *p, const struct plan_item *i,
                        const Skein__ActionReport *r, struct err *err)
{
    Skein__ActionState to = r->state;
    Skein__ActionState from = plan_item_state(i);
    if (plan_report_is_stale(i, r))
        return err_set(err, ERR_STALE, "action %s: a report of an earlier attempt", i->move->id);
    if (to == SKEIN__ACTION_STATE__ACTION_PENDING &&
        (r->permit == NULL || (p->state != SKEIN__PLAN_STATE__PLAN_ONGOING &&
                               p->state != SKEIN__PLAN_STATE__PLAN_PAUSED)))
        return err_set(err, ERR_CONFLICT, "action %s is not to be tried again", i->move->id);
    bool late = from == SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR && plan_state_ended(p->state);
    if (!plan_state_running(p->state) && !late)
        return err_set(err, ERR_CONFLICT, "plan %s is %s", p->body->id, plan_state_name(p->state));
    if (!plan_report_allowed(from, to))
        return err_set(err, ERR_CONFLICT, "action %s is %s: it cannot become %s", i->move->id,
                       plan_action_name(from), plan_action_name(to));
    bool not_begun =
        to == SKEIN__ACTION_STATE__ACTION_CANCELLED || to == SKEIN__ACTION_STATE__ACTION_SKIPPED;
    if (from == SKEIN__ACTION_STATE__ACTION_PENDING && not_begun && i->move->step > plan_step(p))
        return err_set(err, ERR_CONFLICT, "action %s is not of the present step", i->move->id);
    if (from == SKEIN__ACTION_STATE__ACTION_PERMITTED && not_begun &&
        i->permit->expires_at_ms > (uint64_t)st->last.at)
        return err_set(err, ERR_CONFLICT, "action %s may still begin under its permit",
                       i->move->id);
    return 0;
}

static Skein__ActionReport *keep_report(const struct state *st, const Skein__ActionReport *r,
                                        const struct plan_item *i)
{
    Skein__ActionReport *copy = (Skein__ActionReport *)codec_copy(&r->base);
    if (copy->host != NULL) /* kept elsewhere */
        skein__host_detail__free_unpacked(TAKE_PTR(copy->host), NULL);
    if (!copy->has_started_at_ms && i->report != NULL && i->report->has_started_at_ms) {
        copy->has_started_at_ms = 1;
        copy->started_at_ms = i->report->started_at_ms;
    }
    if (!copy->has_ended_at_ms || copy->ended_at_ms == 0) {
        copy->has_ended_at_ms = 1; /* until it ends: when it was last heard of */
        copy->ended_at_ms = (uint64_t)st->last.at;
    }
    return copy;
}

int state_apply_report(struct state *st, const Skein__ActionReport *r, struct err *err)
{
    struct plan *p;
    if (state_need_plan(st, r->plan, &p, err) < 0)
        return -(int)err->code;
    struct plan_item *i = r->action != NULL ? plan_item(p, r->action) : NULL;
    if (i == NULL || !r->has_state)
        return err_set(err, ERR_NOT_FOUND, "plan %s has no action %s", p->body->id,
                       r->action != NULL ? r->action : "without id");
    set_text(st->last.plan, sizeof st->last.plan, p->body->id);
    set_text(st->last.action, sizeof st->last.action, i->move->id);
    st->last.kind = STATE_REPORT;
    st->last.from = st->last.to = p->state;
    st->last.repeated =
        i->report != NULL && i->report->state == r->state && !plan_report_is_stale(i, r);
    if (st->last.repeated)
        return 0;
    if (check_report(st, p, i, r, err) < 0)
        return -(int)err->code;
    Skein__ActionReport *kept = keep_report(st, r, i);
    if (i->report != NULL)
        skein__action_report__free_unpacked(i->report, NULL);
    i->report = kept;
    if (r->state == SKEIN__ACTION_STATE__ACTION_SUCCEEDED && i->move->type == PLAN_MIGRATE)
        admin_moved(st->admin, p, i->move);
    state_power_reported(st, i->move, r);
    return 0;
}
