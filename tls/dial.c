#include <stdio.h>

#include "tls/transport_parts.h"

#define STEADY_MS 10000   /* a link that held so long was a success: back off anew after it */
#define STARTS_PER_TICK 8 /* pacing: a thousand at once time out together */
#define PACE_MS 20
#define SELF_MS 600000 /* an address that was this host itself: hardly ever changes */

struct dial *dial_find(const struct transport *t, const char *address)
{
    for (size_t i = 0; i < t->n_dials; i++)
        if (strcmp(t->dials[i]->address, address) == 0)
            return t->dials[i];
    return NULL;
}

void dial_add(struct transport *t, const char *address)
{
    struct dial *dial = xcalloc(1, sizeof *dial);
    snprintf(dial->address, sizeof dial->address, "%s", address);
    dial->at = t->now;
    ARRAY_RESERVE(t->dials, t->cap_dials, t->n_dials + 1);
    t->dials[t->n_dials++] = dial;
    transport_want(t, t->now);
}

void dial_remove(struct transport *t, struct dial *dial)
{
    if (dial->link != NULL) {
        dial->link->dial = NULL;
        if (dial->link->state != LINK_UP && dial->link->state != LINK_DRAINING)
            link_fail(dial->link, ERR_CANCELLED, "not wanted any more");
    }
    for (size_t i = 0; i < t->n_dials; i++)
        if (t->dials[i] == dial)
            t->dials[i] = t->dials[--t->n_dials];
    free(dial);
}

void dials_free(struct transport *t)
{
    for (size_t i = 0; i < t->n_dials; i++)
        free(t->dials[i]);
    free(t->dials);
}

static msec jitter(struct transport *t, msec range)
{
    return range > 0 ? (msec)(transport_random(t) % (uint64_t)range) : 0;
}

static void wait_until(struct transport *t, struct dial *dial, msec at)
{
    dial->state = DIAL_WAITING;
    dial->link = NULL;
    dial->at = at;
    transport_want(t, at);
}

/* Half fixed, half random, doubling: peers of a host that returns do not all come at once. */
static msec backoff(struct transport *t, unsigned failures)
{
    msec range = t->conf.redial_min_ms;
    for (unsigned i = 0; i < failures && range < t->conf.redial_max_ms; i++)
        range *= 2;
    range = MIN(range, t->conf.redial_max_ms);
    return range / 2 + jitter(t, range / 2 + 1);
}

void dial_park(struct link *link)
{
    if (link->dial == NULL)
        return;
    link->dial->state = DIAL_PARKED;
    link->dial->link = NULL;
    link->dial->failures = 0;
    link->dial = NULL;
}

void dial_ended(struct link *link)
{
    struct transport *t = link->t;
    struct dial *dial = link->dial;
    if (dial == NULL)
        return;
    link->dial = NULL;
    if (link->why.code == ERR_CONFLICT && link->state == LINK_HANDSHAKING) {
        wait_until(t, dial, t->now + SELF_MS);
        return;
    }
    if (link->state == LINK_UP && t->now - link->since >= STEADY_MS)
        dial->failures = 0;
    wait_until(t, dial, t->now + backoff(t, dial->failures));
    dial->failures++;
}

void dials_wake(struct transport *t, const char *host)
{
    for (size_t i = 0; i < t->n_dials; i++)
        if (t->dials[i]->state == DIAL_PARKED && strcmp(t->dials[i]->host, host) == 0)
            wait_until(t, t->dials[i], t->now + backoff(t, 0));
}

static void start(struct transport *t, struct dial *dial)
{
    struct err err;
    uint32_t route;
    if (socket_connect(t, dial->address, &route, &err) < 0) {
        if (t->conf.on_refused != NULL)
            t->conf.on_refused(t->conf.arg, dial->address, &err);
        wait_until(t, dial, t->now + backoff(t, dial->failures++));
        return;
    }
    dial->state = DIAL_BUSY;
    dial->link = link_new(t, true, route, dial->address);
    dial->link->dial = dial;
}

/* An address whose link is still being closed, or drained, would share its endpoint. */
static bool is_taken(const struct transport *t, const struct dial *dial)
{
    for (size_t i = 0; i < t->n_links; i++)
        if (t->links[i]->dialled && strcmp(t->links[i]->address, dial->address) == 0)
            return true;
    return false;
}

static msec try_one(struct transport *t, struct dial *dial, unsigned *started)
{
    if (t->now < dial->at)
        return dial->at;
    if (dial->host[0] != '\0' && link_current(t, dial->host) != NULL) {
        dial->state = DIAL_PARKED;
        return INT64_MAX;
    }
    if (*started >= STARTS_PER_TICK || t->n_busy >= t->conf.max_dials ||
        t->n_links >= t->conf.max_links || is_taken(t, dial))
        return t->now + PACE_MS;
    start(t, dial);
    ++*started;
    return t->now + PACE_MS;
}

msec dials_tick(struct transport *t)
{
    msec next = INT64_MAX;
    unsigned started = 0;
    for (size_t i = 0; i < t->n_dials; i++)
        if (t->dials[i]->state == DIAL_WAITING)
            next = MIN(next, try_one(t, t->dials[i], &started));
    return next;
}
