/* Planning handed to another voter before this host is emptied or stops: a planner that is missed
 * costs an election's timeouts, one that hands over a few milliseconds. */
#include "agent/core/duty_priv.h"

/* One that did not take it (it lacked entries, or was cut off) is not asked all the time. */
#define DUTY_YIELD_MS 10000

/* The voter that shall plan next: one that is linked, rather up than cordoned, by name. Those
 * that are emptied themselves only when any is better than none. NULL: nobody. */
static const char *find_successor(const struct duty *d, const struct view *view,
                                  const struct admin *admin, bool any)
{
    const char *found = NULL;
    Skein__HostState best = SKEIN__HOST_STATE__HOST_MAINTENANCE;
    for (size_t i = 0; i < d->conf->n_voters; i++) {
        const char *name = d->conf->voters[i];
        const struct view_host *h = view_find(view, name);
        Skein__HostState is = admin_host_state(admin, name);
        if (strcmp(name, d->conf->host) == 0 || h == NULL || !h->linked ||
            (!any && admin_drains(admin, name)) || (found != NULL && is >= best))
            continue;
        found = name;
        best = is;
    }
    return found;
}

static void yield_to(struct step *s, const char *host, const char *reason)
{
    effect_audit(s, "planner.yielded", "{s:s, s:s}", "to", host, "reason", reason);
    effect_yield(s, host);
}

void duty_yield(struct duty *d, struct step *s, const struct view *view, const struct state *state)
{
    const struct admin *admin = state_admin(state);
    if (s->now.mono < d->yield_at || !admin_drains(admin, d->conf->host))
        return;
    const char *to = find_successor(d, view, admin, false);
    if (to == NULL)
        return;
    d->yield_at = s->now.mono + DUTY_YIELD_MS;
    yield_to(s, to, "this host is being emptied");
}

void duty_resign(struct duty *d, struct step *s, const struct view *view, const struct state *state)
{
    const struct admin *admin = state_admin(state);
    if (!d->leads)
        return;
    const char *to = find_successor(d, view, admin, false);
    if (to == NULL)
        to = find_successor(d, view, admin, true);
    if (to != NULL)
        yield_to(s, to, "its agent is told to stop");
}
