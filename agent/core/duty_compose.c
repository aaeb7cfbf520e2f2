/* duty_compose.c - several policies at once: what merely makes things better gives way to what
 * protects machines, empties hosts or was asked for by people, and the later of two that do gives
 * way to the earlier; so that no two plans pull at one VM, or at one host in two directions. Plans
 * that protect do not wait for one another's approval: of the VMs of one that runs the others keep
 * their hands off (duty_vms_busy). */
#include "agent/core/duty_priv.h"

/* Classes that give way to no other. All else optimises. */
static bool is_needed(const char *class)
{
    static const char *const needed[] = {"safety", "drain", "thermal", "restore"};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (strcmp(class, needed[i]) == 0)
            return true;
    return plan_class_is_asked_for(class);
}

static bool pull(const struct plan_move *a, const struct plan_move *b)
{
    return a->type == PLAN_MIGRATE && b->type == PLAN_MIGRATE && strcmp(a->from, b->to) == 0;
}

/* What both are about, to be freed; NULL: nothing. */
static char *common(const struct plan_body *a, const struct plan_body *b)
{
    for (size_t i = 0; i < a->n_moves; i++)
        for (size_t k = 0; k < b->n_moves; k++) {
            const struct plan_move *x = &a->moves[i], *y = &b->moves[k];
            if (plan_move_same_subject(x, y))
                return xasprintf("%s %s is part of both", plan_move_what(x), x->vm);
            if (pull(x, y))
                return xasprintf("it brings VMs to %s, from which this takes some", x->from);
            if (pull(y, x))
                return xasprintf("it takes VMs from %s, to which this brings some", y->from);
        }
    return NULL;
}

char *duty_gives_way(const struct state *state, const struct plan_body *body,
                     const struct plan *self)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans); /* the earlier ones first */
    bool earlier = true;
    if (body->policy[0] == '\0' || is_needed(body->class))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const struct plan *p = plans[i];
        earlier = earlier && p != self;
        if (plan_state_ended(p->state) || p->state == SKEIN__PLAN_STATE__PLAN_RECOMMENDED ||
            strcmp(p->body->policy, body->policy) == 0 || !(earlier || is_needed(p->body->class)))
            continue;
        _cleanup_(freep) char *why = common(body, p->body);
        if (why != NULL)
            return xasprintf("gives way to plan %s (%s): %s", p->body->id, p->body->class, why);
    }
    return NULL;
}
