/* duty_hold.c - stability: what a policy wants must have been wanted for a while, so that a spike
 * in what is measured moves nothing. A new planner begins to count anew. */
#include "agent/core/duty_priv.h"

void duty_wanted(struct evaluator *e, const struct step *s)
{
    if (e->wanted++ == 0)
        e->wanted_since = moment_world(&s->now);
}

void duty_unwanted(struct evaluator *e)
{
    e->wanted = 0;
}

/* What protects people's machines, or what people wait for, does not wait. */
static bool is_urgent(const char *class)
{
    return strcmp(class, "safety") == 0 || strcmp(class, "drain") == 0 ||
           strcmp(class, "user") == 0;
}

char *duty_held(const struct duty *d, const struct step *s, const struct evaluator *e,
                const struct evaluated *answer, const char *class)
{
    unsigned runs = MAX(d->conf->policy_agreement, answer->agreement);
    msec hold = MAX(d->conf->policy_hold, answer->hold);
    msec held = sat_sub(moment_world(&s->now), e->wanted_since);
    if (is_urgent(class) || (e->wanted >= runs && held >= hold))
        return NULL;
    if (e->wanted < runs)
        return xasprintf("wanted in %u of %u evaluations in a row", e->wanted, runs);
    return xasprintf("wanted for %lld of %lld s", (long long)held / 1000, (long long)hold / 1000);
}
