/* state_power.c - which hosts sleep by an action of ours, and which were seen to wake. */
#include "agent/core/state_priv.h"

#define POWER_MAX 10000 /* hosts; as many as a cluster is meant to have */

static size_t place_of(const struct state *st, const char *host)
{
    size_t at = 0;
    while (at < st->n_power && strcmp(st->power[at]->host, host) < 0)
        at++;
    return at;
}

static Skein__HostPower *find(const struct state *st, const char *host)
{
    size_t at = place_of(st, host);
    return at < st->n_power && strcmp(st->power[at]->host, host) == 0 ? st->power[at] : NULL;
}

const Skein__HostPower *state_power(const struct state *st, const char *host)
{
    return find(st, host);
}

size_t state_powers(const struct state *st, Skein__HostPower *const **ret)
{
    *ret = st->power;
    return st->n_power;
}

/* Takes record; NULL where there are too many. */
static Skein__HostPower *add(struct state *st, Skein__HostPower *record)
{
    if (st->n_power >= POWER_MAX) {
        skein__host_power__free_unpacked(record, NULL);
        return NULL;
    }
    size_t at = place_of(st, record->host);
    ARRAY_RESERVE(st->power, st->cap_power, st->n_power + 1);
    memmove(&st->power[at + 1], &st->power[at], (st->n_power++ - at) * sizeof *st->power);
    return st->power[at] = record;
}

static Skein__HostPower *get(struct state *st, const char *host)
{
    Skein__HostPower *known = find(st, host);
    if (known != NULL)
        return known;
    Skein__HostPower record = SKEIN__HOST_POWER__INIT;
    record.host = (char *)(uintptr_t)host;
    return add(st, (Skein__HostPower *)codec_copy(&record.base));
}

static void set_asleep(Skein__HostPower *p, bool asleep, msec at)
{
    p->has_asleep = p->has_since_ms = 1;
    p->asleep = asleep;
    p->since_ms = (uint64_t)at;
}

/* It speaks for itself, and has no VM then. */
static bool detail_is_sound(const Skein__HostDetail *d, const char *host)
{
    return d->n_vms == 0 && d->summary != NULL && d->summary->host != NULL &&
           strcmp(d->summary->host, host) == 0;
}

void state_power_reported(struct state *st, const struct plan_move *m, const Skein__ActionReport *r)
{
    bool well = r->state == SKEIN__ACTION_STATE__ACTION_SUCCEEDED;
    bool told = m->type == PLAN_STANDBY && r->host != NULL && detail_is_sound(r->host, m->to);
    Skein__HostPower *p = plan_move_is_power(m) && (well || told) ? get(st, m->to) : NULL;
    if (p == NULL)
        return;
    if (told) {
        if (p->detail != NULL)
            skein__host_detail__free_unpacked(p->detail, NULL);
        p->detail = (Skein__HostDetail *)codec_copy(&r->host->base);
    }
    if (!well)
        return;
    set_asleep(p, m->type == PLAN_STANDBY, st->last.at);
    if (m->type == PLAN_WAKE) {
        p->has_proof_ms = 1;
        p->proof_ms = (uint64_t)st->last.at;
    }
}

void state_power_clear(struct state *st)
{
    for (size_t i = 0; i < st->n_power; i++)
        skein__host_power__free_unpacked(st->power[i], NULL);
    free(st->power);
}

void state_power_image(const struct state *st, Skein__StateImage *m)
{
    m->power = xcalloc(st->n_power, sizeof(Skein__HostPower *));
    for (size_t i = 0; i < st->n_power; i++)
        m->power[m->n_power++] = (Skein__HostPower *)codec_copy(&st->power[i]->base);
}

int state_power_restore(struct state *st, const Skein__StateImage *m, struct err *err)
{
    for (size_t i = 0; i < m->n_power; i++) {
        const Skein__HostPower *p = m->power[i];
        bool whole = p->host != NULL && (p->detail == NULL || detail_is_sound(p->detail, p->host));
        if (!whole || find(st, p->host) != NULL ||
            add(st, (Skein__HostPower *)codec_copy(&p->base)) == NULL)
            return err_set(err, ERR_INVALID, "power[%zu]", i);
    }
    return 0;
}
