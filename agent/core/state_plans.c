/* state_plans.c - plans enter the state and change; what a planner may make of one by its word. */
#include "agent/core/state_priv.h"

void state_set(struct state *st, struct plan *p, Skein__PlanState to, const char *reason)
{
    REQUIRE(plan_transition_allowed(p->state, to));
    p->state = to;
    p->changed_at = st->last.at;
    free(p->reason);
    p->reason = xstrdup(reason != NULL ? reason : "");
    st->last.to = to;
}

/* A VM belongs to one running plan at a time. */
static int check_vms_free(const struct state *st, const struct plan *p, struct err *err)
{
    for (size_t i = 0; i < st->n_plans; i++) {
        const struct plan *o = st->plans[i];
        if (o == p || !plan_state_running(o->state))
            continue;
        for (size_t k = 0; k < p->body->n_moves; k++)
            for (size_t j = 0; j < o->body->n_moves; j++)
                if (plan_move_same_subject(&p->body->moves[k], &o->body->moves[j]))
                    return err_set(err, ERR_CONFLICT, "%s %s is part of plan %s, which is %s",
                                   plan_move_what(&p->body->moves[k]), p->body->moves[k].vm,
                                   o->body->id, plan_state_name(o->state));
    }
    return 0;
}

static int check_put(const struct state *st, const Skein__PlanPut *put, struct err *err)
{
    size_t open = 0;
    for (size_t i = 0; i < st->n_plans; i++)
        open += !plan_state_ended(st->plans[i]->state);
    if (open >= STATE_OPEN_MAX)
        return err_set(err, ERR_LIMIT, "%zu plans are open", open);
    if (put->n_gates > GATES_MAX)
        return err_set(err, ERR_LIMIT, "a new plan under more than %d gate rules", GATES_MAX);
    if (state_find_plan(st, put->id) != NULL)
        return err_set(err, ERR_EXISTS, "plan %s is there already", put->id);
    if (!put->has_state || (put->state != SKEIN__PLAN_STATE__PLAN_RECOMMENDED &&
                            put->state != SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL))
        return err_set(err, ERR_INVALID, "a new plan is RECOMMENDED or PENDING_APPROVAL");
    if (!put->has_expires_at_ms || put->expires_at_ms > INT64_MAX ||
        (msec)put->expires_at_ms <= st->last.at)
        return err_set(err, ERR_EXPIRED, "a new plan that has expired already");
    return 0;
}

/* The move of a plan that has taken this VM away from where it goes now. */
static bool has_moved(const struct plan *p, const struct plan_move *back)
{
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (back->type == PLAN_MIGRATE && p->body->moves[i].type == PLAN_MIGRATE &&
            strcmp(p->body->moves[i].uuid, back->uuid) == 0 &&
            strcmp(p->body->moves[i].from, back->to) == 0 &&
            plan_item_state(&p->items[i]) == SKEIN__ACTION_STATE__ACTION_SUCCEEDED)
            return true;
    return false;
}

/* Every move undoes one of the plan rolled back, whose approvals come along as far as they say that
 * this is included. */
static int attach_rollback(struct state *st, struct plan *p, const Skein__RequestRecord *r,
                           struct err *err)
{
    struct plan *of;
    if (state_need_plan(st, r->rolls_back, &of, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (!has_moved(of, &p->body->moves[i]))
            return err_set(err, ERR_DENIED, "plan %s: it does not undo plan %s: VM %s to %s",
                           p->body->id, of->body->id, p->body->moves[i].vm, p->body->moves[i].to);
    if (gate_rollback_names(st->conf->trust, st->conf->cluster_uuid, p->body, &r->vote->envelope, 1,
                            st->last.at, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < of->n_votes && p->n_votes < GATE_VOTES_MAX / 2; i++) {
        if (strcmp(of->votes[i]->verdict, gate_verb_name(GATE_APPROVE)) != 0 ||
            !of->votes[i]->rollback || of->votes[i]->plan != NULL)
            continue;
        Skein__Vote *copy = (Skein__Vote *)codec_copy(&of->votes[i]->base);
        copy->plan = xstrdup(of->body->id);
        copy->digest = xstrdup(of->body->digest);
        state_add_vote(p, copy);
    }
    return 0;
}

static int check_asked(const struct state *st, const struct plan *p, const Skein__RequestRecord *r,
                       struct err *err)
{
    if (p->put->author == NULL || strcmp(p->put->author, r->vote->person) != 0)
        return err_set(err, ERR_DENIED, "plan %s: its author is %s", p->body->id, r->vote->person);
    if ((msec)r->vote->expires_at_ms <= st->last.at)
        return err_set(err, ERR_EXPIRED, "the request of %s has expired", r->vote->person);
    if (r->rolls_back != NULL)
        return 0;
    if (r->drill && gate_is_drill(p->body, r->to))
        return 0;
    if (r->drill || p->body->n_moves != 1 || strcmp(p->body->moves[0].uuid, r->uuid) != 0 ||
        strcmp(p->body->moves[0].to, r->to) != 0)
        return err_set(err, ERR_DENIED, "plan %s is not what %s asked for", p->body->id,
                       r->vote->person);
    return 0;
}

/* What class of plan answers this request. */
static const char *class_for(const Skein__RequestRecord *r)
{
    return r->rolls_back != NULL ? "rollback" : r->drill ? "drill" : "user";
}

/* Such a class and a person's request belong together. */
static int attach_request(struct state *st, struct plan *p, struct err *err)
{
    bool rollback = strcmp(p->body->class, "rollback") == 0;
    Skein__RequestRecord *r = state_find_request(st, p->put->request);
    if (!plan_class_is_asked_for(p->body->class) && p->put->request == NULL)
        return 0;
    bool fits = r != NULL && strcmp(class_for(r), p->body->class) == 0;
    if (!fits || !state_request_open(r))
        return err_set(err, ERR_DENIED, "plan %s: class %s, but %s", p->body->id, p->body->class,
                       r == NULL ? "there is no such request"
                       : !fits   ? "it answers a person's request"
                                 : "the request was answered before");
    if (check_asked(st, p, r, err) < 0)
        return -(int)err->code;
    state_add_vote(p, (Skein__Vote *)codec_copy(&r->vote->base));
    if (rollback && attach_rollback(st, p, r, err) < 0)
        return -(int)err->code;
    struct err closed;
    if (rollback && state_judge(st, p, st->last.at, &closed) == 0) {
        p->state = SKEIN__PLAN_STATE__PLAN_APPROVED;
        free(p->reason);
        p->reason = xasprintf("rollback is included in the approval of plan %s", r->rolls_back);
    }
    r->plan = xstrdup(p->body->id);
    set_text(st->last.request, sizeof st->last.request, r->nonce);
    set_text(st->last.who, sizeof st->last.who, r->vote->person);
    return 0;
}

int state_apply_put(struct state *st, const Skein__PlanPut *put, struct err *err)
{
    _cleanup_(plan_freep) struct plan *p = NULL;
    if (check_put(st, put, err) < 0 || plan_new(put, &p, err) < 0 ||
        check_vms_free(st, p, err) < 0 || attach_request(st, p, err) < 0)
        return -(int)err->code;
    p->changed_at = st->last.at;
    p->made_at = MAX(st->last.at, admin_newest_hold(st->admin));
    p->made_in_term = st->term;
    st->last.kind = STATE_PLAN_NEW;
    set_text(st->last.plan, sizeof st->last.plan, p->body->id);
    st->last.from = SKEIN__PLAN_STATE__PLAN_DRAFT;
    st->last.to = p->state;
    ARRAY_RESERVE(st->plans, st->cap_plans, st->n_plans + 1);
    st->plans[st->n_plans++] = TAKE_PTR(p);
    return 0;
}

static int check_end(const struct plan *p, Skein__PlanState to, struct err *err)
{
    if (plan_step(p) < p->body->n_steps)
        return err_set(err, ERR_CONFLICT, "plan %s has actions that have not ended", p->body->id);
    if (plan_outcome(p) != to)
        return err_set(err, ERR_CONFLICT, "plan %s has %s", p->body->id,
                       plan_state_name(plan_outcome(p)));
    return 0;
}

/* What the planner may make of a plan by its own word; the rest is people's. */
static int check_change(const struct state *st, const struct plan *p, Skein__PlanState to,
                        struct err *err)
{
    struct err closed;
    switch (to) {
    case SKEIN__PLAN_STATE__PLAN_ONGOING:
        if (p->state != SKEIN__PLAN_STATE__PLAN_APPROVED) /* paused: people resume it */
            return err_set(err, ERR_DENIED, "plan %s is %s: people alone let it go on", p->body->id,
                           plan_state_name(p->state));
        if (state_judge(st, p, st->last.at, err) < 0 ||
            state_gate_when(st, p, st->last.at, err) < 0)
            return -(int)err->code;
        return check_vms_free(st, p, err);
    case SKEIN__PLAN_STATE__PLAN_EXPIRED:
        if (p->state == SKEIN__PLAN_STATE__PLAN_APPROVED
                ? state_judge(st, p, st->last.at, &closed) == 0
                : (msec)p->put->expires_at_ms > st->last.at)
            return err_set(err, ERR_CONFLICT, "plan %s has not expired", p->body->id);
        return 0;
    case SKEIN__PLAN_STATE__PLAN_SUCCEEDED:
    case SKEIN__PLAN_STATE__PLAN_PARTIAL:
    case SKEIN__PLAN_STATE__PLAN_FAILED:
    case SKEIN__PLAN_STATE__PLAN_CANCELLED:
        return check_end(p, to, err);
    case SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL:
    case SKEIN__PLAN_STATE__PLAN_SUPERSEDED:
        return 0;
    case SKEIN__PLAN_STATE__PLAN_DRAFT:
    case SKEIN__PLAN_STATE__PLAN_RECOMMENDED:
    case SKEIN__PLAN_STATE__PLAN_APPROVED:
    case SKEIN__PLAN_STATE__PLAN_REJECTED:
    case SKEIN__PLAN_STATE__PLAN_CANCELLING:
    case SKEIN__PLAN_STATE__PLAN_PAUSED:
    case SKEIN__PLAN_STATE__PLAN_ROLLING_BACK:
    case SKEIN__PLAN_STATE__PLAN_ROLLED_BACK:
    case _SKEIN__PLAN_STATE_IS_INT_SIZE:
        break;
    }
    return err_set(err, ERR_DENIED, "plan %s: a planner does not make it %s", p->body->id,
                   plan_state_name(to));
}

int state_apply_change(struct state *st, const Skein__PlanChange *change, struct err *err)
{
    struct plan *p;
    if (state_need_plan(st, change->plan, &p, err) < 0)
        return -(int)err->code;
    if (!change->has_state || !plan_transition_allowed(p->state, change->state))
        return err_set(err, ERR_CONFLICT, "plan %s is %s: it cannot become %s", p->body->id,
                       plan_state_name(p->state), plan_state_name(change->state));
    if (check_change(st, p, change->state, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_PLAN_CHANGED;
    set_text(st->last.plan, sizeof st->last.plan, p->body->id);
    st->last.from = p->state;
    state_set(st, p, change->state, change->reason);
    return 0;
}
