/* duty_power.c - standby and wake, where the planner treats them differently from moves: who acts,
 * what is seen of it. A host that sleeps says nothing: that it told so before, and is silent since,
 * is all there is to see. */
#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/snapshot.h"

#define SUCCEEDED SKEIN__ACTION_STATE__ACTION_SUCCEEDED
#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED

const char *duty_actor(const struct plan_item *i)
{
    if (i->move->type != PLAN_WAKE)
        return i->move->from;
    return i->permit != NULL ? i->permit->source : NULL;
}

const Skein__HostCapability *duty_sleeper(const struct drive *v)
{
    const struct view_host *h = view_find(v->view, v->i->move->to);
    const Skein__HostPower *p = state_power(v->state, v->i->move->to);
    if (h != NULL && h->capability != NULL)
        return h->capability;
    return p != NULL && p->detail != NULL ? p->detail->capability : NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a != NULL && b != NULL && a[0] != '\0' && strcmp(a, b) == 0;
}

/* By its means: a command reaches any host, a packet those of its own segment whose card is known.
 */
static bool can_wake(const struct drive *v, const char *host)
{
    const struct view_host *h = view_find(v->view, host);
    const Skein__HostCapability *c = h != NULL ? h->capability : NULL, *to = duty_sleeper(v);
    bool here = h != NULL && (strcmp(host, v->d->conf->host) == 0 || view_reachable(h)) &&
                view_fresh(h, v->s->now, v->d->conf->stale_after) && h->summary != NULL &&
                h->summary->state != SKEIN__HOST_STATE__HOST_STANDBY;
    if (!here || c == NULL || c->power == NULL || strcmp(host, v->i->move->to) == 0)
        return false;
    if (strcmp(c->power, "command") == 0)
        return true;
    return strcmp(c->power, "suspend") == 0 && to != NULL && to->wake_mac != NULL &&
           same_text(c->segment, to->segment);
}

const char *duty_waker(const struct drive *v)
{
    const char *before = duty_actor(v->i);
    if (before != NULL && can_wake(v, before))
        return before;
    if (can_wake(v, v->d->conf->host))
        return v->d->conf->host;
    for (size_t i = 0; i < view_count(v->view); i++)
        if (can_wake(v, view_at(v->view, i)->name))
            return view_at(v->view, i)->name;
    return NULL;
}

static bool sleeps(const struct drive *v)
{
    const struct view_host *h = view_find(v->view, v->i->move->to);
    const struct view_host unseen = {.name = v->i->move->to};
    return snapshot_sleeps(h != NULL ? h : &unseen, v->state, v->s);
}

static bool is_awake(const struct drive *v)
{
    const struct view_host *h = view_find(v->view, v->i->move->to);
    return h != NULL && h->summary != NULL && !h->gone &&
           view_fresh(h, v->s->now, v->d->conf->stale_after) &&
           h->summary->state != SKEIN__HOST_STATE__HOST_STANDBY;
}

bool duty_power_is_due(const struct drive *v, const char **ret_why)
{
    bool standby = v->i->move->type == PLAN_STANDBY;
    *ret_why = standby ? "the host sleeps already" : "the host is awake already";
    return standby ? !sleeps(v) : !is_awake(v);
}

int duty_power_agreement(const struct drive *v)
{
    bool standby = v->i->move->type == PLAN_STANDBY;
    const struct view_host *h = view_find(v->view, v->i->move->to);
    bool told =
        h != NULL && h->summary != NULL && h->summary->state == SKEIN__HOST_STATE__HOST_STANDBY;
    bool silent = v->s->now.mono - v->run->answered >= DUTY_RESEND_MS * 2;
    if (standby && told && silent && h->gone)
        return (int)SUCCEEDED;
    if (!standby && is_awake(v))
        return (int)SUCCEEDED;
    return standby && v->run->lost && is_awake(v) ? (int)FAILED : DUTY_UNDECIDED;
}

bool duty_stops_possible(const struct duty *d, const struct view *view)
{
    for (size_t i = 0; i < d->conf->n_voters; i++) {
        const struct view_host *h = view_find(view, d->conf->voters[i]);
        if (h == NULL || h->capability == NULL || !h->capability->stops_vms)
            return false;
    }
    return true;
}

bool duty_power_possible(const struct duty *d, const struct view *view)
{
    for (size_t i = 0; i < d->conf->n_voters; i++) {
        const struct view_host *h = view_find(view, d->conf->voters[i]);
        if (h == NULL || h->capability == NULL || h->capability->power == NULL)
            return false;
    }
    return true;
}
