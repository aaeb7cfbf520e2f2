#include "agent/core/plan.h"

#include <stdio.h>

#include "proto/codec.h"

#define BIT(x) (1u << (x))

/* What each state may become. People alone give APPROVED, REJECTED and CANCELLING (state.c). */
static const unsigned plan_next[] = {
    [SKEIN__PLAN_STATE__PLAN_DRAFT] =
        BIT(SKEIN__PLAN_STATE__PLAN_RECOMMENDED) | BIT(SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL),
    [SKEIN__PLAN_STATE__PLAN_RECOMMENDED] =
        BIT(SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL) | BIT(SKEIN__PLAN_STATE__PLAN_APPROVED) |
        BIT(SKEIN__PLAN_STATE__PLAN_SUPERSEDED) | BIT(SKEIN__PLAN_STATE__PLAN_EXPIRED) |
        BIT(SKEIN__PLAN_STATE__PLAN_REJECTED) | BIT(SKEIN__PLAN_STATE__PLAN_CANCELLED),
    [SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL] =
        BIT(SKEIN__PLAN_STATE__PLAN_APPROVED) | BIT(SKEIN__PLAN_STATE__PLAN_SUPERSEDED) |
        BIT(SKEIN__PLAN_STATE__PLAN_EXPIRED) | BIT(SKEIN__PLAN_STATE__PLAN_REJECTED) |
        BIT(SKEIN__PLAN_STATE__PLAN_CANCELLED),
    [SKEIN__PLAN_STATE__PLAN_APPROVED] =
        BIT(SKEIN__PLAN_STATE__PLAN_ONGOING) | BIT(SKEIN__PLAN_STATE__PLAN_SUPERSEDED) |
        BIT(SKEIN__PLAN_STATE__PLAN_EXPIRED) | BIT(SKEIN__PLAN_STATE__PLAN_REJECTED) |
        BIT(SKEIN__PLAN_STATE__PLAN_CANCELLED),
    [SKEIN__PLAN_STATE__PLAN_ONGOING] =
        BIT(SKEIN__PLAN_STATE__PLAN_PAUSED) | BIT(SKEIN__PLAN_STATE__PLAN_CANCELLING) |
        BIT(SKEIN__PLAN_STATE__PLAN_ROLLING_BACK) | BIT(SKEIN__PLAN_STATE__PLAN_SUCCEEDED) |
        BIT(SKEIN__PLAN_STATE__PLAN_PARTIAL) | BIT(SKEIN__PLAN_STATE__PLAN_FAILED),
    [SKEIN__PLAN_STATE__PLAN_PAUSED] =
        BIT(SKEIN__PLAN_STATE__PLAN_ONGOING) | BIT(SKEIN__PLAN_STATE__PLAN_CANCELLING) |
        BIT(SKEIN__PLAN_STATE__PLAN_ROLLING_BACK) | BIT(SKEIN__PLAN_STATE__PLAN_SUCCEEDED) |
        BIT(SKEIN__PLAN_STATE__PLAN_PARTIAL) | BIT(SKEIN__PLAN_STATE__PLAN_FAILED),
    [SKEIN__PLAN_STATE__PLAN_CANCELLING] =
        BIT(SKEIN__PLAN_STATE__PLAN_CANCELLED) | BIT(SKEIN__PLAN_STATE__PLAN_SUCCEEDED),
    [SKEIN__PLAN_STATE__PLAN_ROLLING_BACK] =
        BIT(SKEIN__PLAN_STATE__PLAN_ROLLED_BACK) | BIT(SKEIN__PLAN_STATE__PLAN_CANCELLING) |
        BIT(SKEIN__PLAN_STATE__PLAN_PARTIAL) | BIT(SKEIN__PLAN_STATE__PLAN_FAILED),
    [SKEIN__PLAN_STATE__PLAN_REJECTED] = 0, /* the last: the ended states have no successor */
};

/* Ended without ever having run. */
static const unsigned plan_never_ran =
    BIT(SKEIN__PLAN_STATE__PLAN_SUPERSEDED) | BIT(SKEIN__PLAN_STATE__PLAN_EXPIRED) |
    BIT(SKEIN__PLAN_STATE__PLAN_REJECTED) | BIT(SKEIN__PLAN_STATE__PLAN_DRAFT) |
    BIT(SKEIN__PLAN_STATE__PLAN_RECOMMENDED) | BIT(SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL) |
    BIT(SKEIN__PLAN_STATE__PLAN_APPROVED);

static const unsigned action_ended =
    BIT(SKEIN__ACTION_STATE__ACTION_SUCCEEDED) | BIT(SKEIN__ACTION_STATE__ACTION_FAILED) |
    BIT(SKEIN__ACTION_STATE__ACTION_SKIPPED) | BIT(SKEIN__ACTION_STATE__ACTION_CANCELLED) |
    BIT(SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR);

/* What a report may make of an action. Evidence that comes late still replaces NEEDS_OPERATOR. An
 * attempt that left the VM where it was makes the action wait again (PENDING): another permit may
 * try it. */
static const unsigned action_next[] = {
    [SKEIN__ACTION_STATE__ACTION_PENDING] = BIT(SKEIN__ACTION_STATE__ACTION_SKIPPED) |
                                            BIT(SKEIN__ACTION_STATE__ACTION_CANCELLED) |
                                            BIT(SKEIN__ACTION_STATE__ACTION_FAILED),
    [SKEIN__ACTION_STATE__ACTION_PERMITTED] =
        action_ended | BIT(SKEIN__ACTION_STATE__ACTION_RUNNING) |
        BIT(SKEIN__ACTION_STATE__ACTION_UNKNOWN) | BIT(SKEIN__ACTION_STATE__ACTION_PENDING),
    [SKEIN__ACTION_STATE__ACTION_RUNNING] = action_ended |
                                            BIT(SKEIN__ACTION_STATE__ACTION_UNKNOWN) |
                                            BIT(SKEIN__ACTION_STATE__ACTION_PENDING),
    [SKEIN__ACTION_STATE__ACTION_UNKNOWN] = action_ended |
                                            BIT(SKEIN__ACTION_STATE__ACTION_RUNNING) |
                                            BIT(SKEIN__ACTION_STATE__ACTION_PENDING),
    [SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR] =
        action_ended & ~BIT(SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR),
};

const char *plan_state_name(Skein__PlanState s)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&skein__plan_state__descriptor, (int)s);
    return v != NULL ? v->name + strlen("PLAN_") : "UNKNOWN";
}

const char *plan_action_name(Skein__ActionState s)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&skein__action_state__descriptor, (int)s);
    return v != NULL ? v->name + strlen("ACTION_") : "UNKNOWN";
}

bool plan_transition_allowed(Skein__PlanState from, Skein__PlanState to)
{
    if ((size_t)from >= ARRAY_SIZE(plan_next) || (size_t)to >= ARRAY_SIZE(plan_next))
        return false;
    return (plan_next[from] & BIT(to)) != 0;
}

bool plan_state_ended(Skein__PlanState s)
{
    return (size_t)s >= ARRAY_SIZE(plan_next) || plan_next[s] == 0;
}

bool plan_state_running(Skein__PlanState s)
{
    return s == SKEIN__PLAN_STATE__PLAN_ONGOING || s == SKEIN__PLAN_STATE__PLAN_PAUSED ||
           s == SKEIN__PLAN_STATE__PLAN_CANCELLING || s == SKEIN__PLAN_STATE__PLAN_ROLLING_BACK;
}

bool plan_action_ended(Skein__ActionState s)
{
    return (unsigned)s < 32 && (action_ended & BIT(s)) != 0;
}

bool plan_report_allowed(Skein__ActionState from, Skein__ActionState to)
{
    if ((size_t)from >= ARRAY_SIZE(action_next) || (unsigned)to >= 32)
        return false;
    return (action_next[from] & BIT(to)) != 0;
}

int plan_new(const Skein__PlanPut *put, struct plan **ret, struct err *err)
{
    if (put->id == NULL || put->digest == NULL || !put->has_body)
        return err_set(err, ERR_INVALID, "plan: id, digest or body is missing");
    _cleanup_(plan_freep) struct plan *p = xcalloc(1, sizeof *p);
    if (plan_body_parse(put->body.data, put->body.len, &p->body, err) < 0)
        return -(int)err->code;
    if (strcmp(p->body->digest, put->digest) != 0 || strcmp(p->body->id, put->id) != 0)
        return err_set(err, ERR_INVALID, "plan %.12s: the digest is not the body's (%.12s)",
                       put->digest, p->body->digest);
    p->put = (Skein__PlanPut *)codec_copy(&put->base);
    p->state = put->has_state ? put->state : SKEIN__PLAN_STATE__PLAN_DRAFT;
    p->reason = xstrdup("");
    p->items = xcalloc(p->body->n_moves, sizeof *p->items);
    for (size_t i = 0; i < p->body->n_moves; i++)
        p->items[i].move = &p->body->moves[i];
    *ret = TAKE_PTR(p);
    return 0;
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; p->items != NULL && i < p->body->n_moves; i++) {
        if (p->items[i].permit != NULL)
            skein__permit__free_unpacked(p->items[i].permit, NULL);
        if (p->items[i].report != NULL)
            skein__action_report__free_unpacked(p->items[i].report, NULL);
    }
    for (size_t i = 0; i < p->n_votes; i++)
        skein__vote__free_unpacked(p->votes[i], NULL);
    free(p->items);
    free(p->votes);
    free(p->reason);
    if (p->put != NULL)
        skein__plan_put__free_unpacked(p->put, NULL);
    plan_body_free(p->body);
    free(p);
}

struct plan_item *plan_item(const struct plan *p, const char *action)
{
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (strcmp(p->items[i].move->id, action) == 0)
            return &p->items[i];
    return NULL;
}

Skein__ActionState plan_item_state(const struct plan_item *i)
{
    if (i->report != NULL)
        return i->report->state;
    return i->permit != NULL ? SKEIN__ACTION_STATE__ACTION_PERMITTED
                             : SKEIN__ACTION_STATE__ACTION_PENDING;
}

bool plan_item_live(const struct plan_item *i)
{
    Skein__ActionState s = plan_item_state(i);
    return i->permit != NULL && s != SKEIN__ACTION_STATE__ACTION_PENDING && !plan_action_ended(s);
}

bool plan_item_returned(const struct plan_item *i)
{
    return i->permit != NULL && plan_item_state(i) == SKEIN__ACTION_STATE__ACTION_PENDING;
}

bool plan_report_is_stale(const struct plan_item *i, const Skein__ActionReport *r)
{
    return r->state == SKEIN__ACTION_STATE__ACTION_FAILED && i->permit != NULL &&
           r->permit != NULL && strcmp(i->permit->id, r->permit) != 0;
}

unsigned plan_step(const struct plan *p)
{
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (!plan_action_ended(plan_item_state(&p->items[i])))
            return p->items[i].move->step;
    return p->body->n_steps;
}

size_t plan_count(const struct plan *p, Skein__ActionState s)
{
    size_t n = 0;
    for (size_t i = 0; i < p->body->n_moves; i++)
        n += plan_item_state(&p->items[i]) == s;
    return n;
}

Skein__PlanState plan_outcome(const struct plan *p)
{
    size_t succeeded = plan_count(p, SKEIN__ACTION_STATE__ACTION_SUCCEEDED);
    size_t skipped = plan_count(p, SKEIN__ACTION_STATE__ACTION_SKIPPED);
    if (succeeded + skipped == p->body->n_moves)
        return SKEIN__PLAN_STATE__PLAN_SUCCEEDED;
    if (p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING)
        return SKEIN__PLAN_STATE__PLAN_CANCELLED;
    return succeeded > 0 ? SKEIN__PLAN_STATE__PLAN_PARTIAL : SKEIN__PLAN_STATE__PLAN_FAILED;
}

ProtobufCBinaryData *plan_envelopes(const struct plan *p)
{
    ProtobufCBinaryData *list = xcalloc(p->n_votes, sizeof *list);
    for (size_t i = 0; i < p->n_votes; i++)
        list[i] = p->votes[i]->envelope;
    return list;
}

/* ---- the invariant ---- */

static int check_item(const struct plan *p, const struct plan_item *i, struct err *err)
{
    const struct plan_move *m = i->move;
    Skein__ActionState s = plan_item_state(i);
    bool acted = i->permit != NULL || i->report != NULL;
    if (acted && (plan_never_ran & BIT(p->state)) != 0)
        return err_set(err, ERR_INTERNAL, "action %s was begun in a plan that never ran", m->id);
    if (plan_state_ended(p->state) && (plan_never_ran & BIT(p->state)) == 0 && acted &&
        !plan_action_ended(s))
        return err_set(err, ERR_INTERNAL, "action %s is open in a plan that ended", m->id);
    if (acted && m->step > plan_step(p))
        return err_set(err, ERR_INTERNAL, "action %s ran ahead of its step", m->id);
    if (i->permit == NULL)
        return 0;
    const Skein__Permit *permit = i->permit;
    if (strcmp(permit->plan, p->body->id) != 0 || strcmp(permit->action, m->id) != 0 ||
        strcmp(permit->digest, p->body->digest) != 0 ||
        !plan_move_permits(m, permit->source, permit->destination))
        return err_set(err, ERR_INTERNAL, "action %s has a permit of something else", m->id);
    return 0;
}

static bool has_approval(const struct plan *p)
{
    for (size_t i = 0; i < p->n_votes; i++)
        if (strcmp(p->votes[i]->verdict, "approve") == 0 ||
            strcmp(p->votes[i]->verdict, "order") == 0)
            return true;
    return false;
}

int plan_invariant(const struct plan *p, struct err *err)
{
    bool approved = p->state == SKEIN__PLAN_STATE__PLAN_APPROVED || plan_state_running(p->state);
    if (approved && !has_approval(p))
        return err_set(err, ERR_INTERNAL, "plan %s: %s without an approval", p->body->id,
                       plan_state_name(p->state));
    for (size_t i = 0; i < p->body->n_moves; i++) {
        if (check_item(p, &p->items[i], err) < 0)
            return err_wrap(err, "plan %s", p->body->id);
        if (p->items[i].permit != NULL && !has_approval(p))
            return err_set(err, ERR_INTERNAL, "plan %s: a permit without an approval", p->body->id);
    }
    return 0;
}
