/* duty_hooks.c - the planner asks the hooks that gate rules name: a plan's owners are told of it in
 * time, and each move is asked about before it gets a permit. What was answered is the planner's
 * own affair: another one asks anew, and the source asks in any case. */
#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/hook.h"

#define ASK_AGAIN_MS 10000 /* after an answer that was no yes, ... */
#define FRESH_MS 15000     /* ... and so long a yes is one */
#define LOST_MS 60000      /* the shell answers within 10 s */

void duty_hooks_clear(struct duty *d)
{
    free(TAKE_PTR(d->inquiries));
    d->n_inquiries = d->cap_inquiries = 0;
}

void duty_hooks_forget_ended(struct duty *d, const struct state *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n_inquiries; i++) {
        const struct plan *p = state_plan(state, d->inquiries[i].plan);
        if (p != NULL && !plan_state_ended(p->state))
            d->inquiries[kept++] = d->inquiries[i];
    }
    d->n_inquiries = kept;
}

static struct inquiry *get(struct duty *d, const char *plan, const char *action)
{
    for (size_t i = 0; i < d->n_inquiries; i++)
        if (strcmp(d->inquiries[i].plan, plan) == 0 && strcmp(d->inquiries[i].action, action) == 0)
            return &d->inquiries[i];
    ARRAY_RESERVE(d->inquiries, d->cap_inquiries, d->n_inquiries + 1);
    struct inquiry *q = &d->inquiries[d->n_inquiries++];
    *q = (struct inquiry){0};
    snprintf(q->plan, sizeof q->plan, "%s", plan);
    snprintf(q->action, sizeof q->action, "%s", action);
    return q;
}

/* item NULL: the notice. False: there is nothing to be asked. */
static bool ask(struct duty *d, struct step *s, const struct view *view, const struct state *state,
                const struct plan *p, const struct plan_item *item, struct inquiry *q)
{
    struct gate_facts facts = state_gate_facts(p);
    const struct plan_move *move = item != NULL ? item->move : NULL;
    char *questions = hook_questions(d->conf, state_gates(state), &facts, p->body, move, view);
    if (questions == NULL)
        return false;
    struct hv_job job = hook_job(questions, move != NULL ? move : &p->body->moves[0]);
    q->token = effect_job(s, OWNER_DUTY, &job);
    q->asked = s->now.mono;
    return true;
}

static bool may_ask(const struct inquiry *q, msec now)
{
    if (q->token != 0)
        return now - q->asked >= LOST_MS;
    return q->answered == 0 || now - q->answered >= ASK_AGAIN_MS;
}

static bool has_hooks(const struct state *state)
{
    const struct gate_rules *rules = state_gates(state);
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        if (rules->rules[i].hook != NULL)
            return true;
    return false;
}

int duty_hooks_allow(struct duty *d, struct step *s, const struct view *view,
                     const struct state *state, const struct plan *p, const struct plan_item *item,
                     struct err *err)
{
    if (!has_hooks(state))
        return 0;
    struct inquiry *q = get(d, p->body->id, item->move->id);
    msec now = MAX(s->now.mono, (msec)1);
    bool answered = q->token == 0 && q->answered != 0;
    if (answered && q->err.code == ERR_OK && now - q->answered < FRESH_MS)
        return 0;
    if (answered && q->err.code == ERR_DENIED) {
        *err = q->err;
        return -ERR_DENIED;
    }
    bool yes = answered && q->err.code == ERR_OK; /* of too long ago */
    if ((yes || may_ask(q, now)) && !ask(d, s, view, state, p, item, q))
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "%s",
                   q->err.code != ERR_OK ? q->err.msg : "a gate rule's hook is being asked");
}

/* The longest notice that a rule wants. */
static msec notice_of(const struct state *state, const struct plan *p)
{
    const struct gate_rules *rules = state_gates(state);
    struct gate_facts facts = state_gate_facts(p);
    msec longest = 0;
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        if (rules->rules[i].hook != NULL && gate_rule_concerns(&rules->rules[i], p->body, &facts))
            longest = MAX(longest, rules->rules[i].notice);
    return longest;
}

bool duty_hooks_told(struct duty *d, struct step *s, const struct view *view,
                     const struct state *state, const struct plan *p)
{
    msec notice = notice_of(state, p), now = MAX(s->now.mono, (msec)1);
    if (notice == 0)
        return true;
    struct inquiry *q = get(d, p->body->id, "");
    if (q->token == 0 && q->answered != 0 && q->err.code == ERR_OK)
        return now - q->answered >= notice;
    if (may_ask(q, now) && !ask(d, s, view, state, p, NULL, q))
        return true;
    return false;
}

int duty_hooks_vetoed(const struct duty *d, const struct plan *p, struct err *err)
{
    for (size_t i = 0; i < d->n_inquiries; i++) {
        const struct inquiry *q = &d->inquiries[i];
        if (q->action[0] == '\0' && strcmp(q->plan, p->body->id) == 0 &&
            q->err.code == ERR_DENIED) {
            *err = q->err;
            return -ERR_DENIED;
        }
    }
    return 0;
}

void duty_hv(struct duty *d, struct step *s, const struct hv_result *result)
{
    for (size_t i = 0; i < d->n_inquiries; i++) {
        struct inquiry *q = &d->inquiries[i];
        if (q->token == 0 || q->token != result->job)
            continue;
        bool news = q->answered == 0 || q->err.code != result->err.code;
        q->token = 0;
        q->answered = MAX(s->now.mono, (msec)1);
        q->err = result->err;
        if (news)
            effect_audit(s, q->action[0] == '\0' ? "owners.told" : "hook.answered",
                         "{s:s, s:s, s:s, s:s}", "plan", q->plan, "action", q->action, "code",
                         q->err.code == ERR_OK ? "" : err_name(q->err.code), "reason",
                         q->err.code == ERR_OK ? "" : q->err.msg);
        return;
    }
}
