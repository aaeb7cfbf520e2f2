/* world_inject.c - what happens to the world, and how it looks from above. */
#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"

#define CELSIUS_LEAST (-60.0)
#define CELSIUS_MOST 1000.0 /* sensors lie */
#define FAN_LEAST 0.01
#define FAN_MOST 10.0

/* ---- targets ---- */

static int find_guest(const struct world *w, const char *name, struct guest **ret, struct err *err)
{
    struct guest *found = NULL;
    for (size_t i = 0; i < w->n_guests; i++) {
        struct guest *g = w->guests[i];
        if (strcmp(g->uuid, name) == 0) {
            *ret = g;
            return 0;
        }
        if (strcmp(g->detail->name, name) != 0)
            continue;
        if (found != NULL)
            return err_set(err, ERR_INVALID, "several VMs are called \"%s\": say which by UUID",
                           name);
        found = g;
    }
    if (found == NULL)
        return err_set(err, ERR_NOT_FOUND, "this world has no VM \"%s\"", name);
    *ret = found;
    return 0;
}

static int in_range(double v, double least, double most, const char *what, struct err *err)
{
    if (v >= least && v <= most)
        return 0;
    return err_set(err, ERR_INVALID, "%s: %g is not between %g and %g", what, v, least, most);
}

/* ---- commands ---- */

static int heat(struct host *h, const Skein__SimInject *i, struct err *err)
{
    double *held = i->inlet ? &h->inlet_held : &h->cpu_held;
    double *add = i->inlet ? &h->inlet_add : &h->cpu_add;
    if (i->has_number && in_range(i->number, CELSIUS_LEAST, CELSIUS_MOST, "heat", err) < 0)
        return -(int)err->code;
    *held = i->has_number && !i->relative ? i->number : NAN;
    *add = i->has_number && i->relative ? i->number : 0;
    return 0;
}

static int fan(struct host *h, const Skein__SimInject *i, struct err *err)
{
    if (in_range(i->number, FAN_LEAST, FAN_MOST, "fan", err) < 0)
        return -(int)err->code;
    h->fan = i->number;
    return 0;
}

static int load(struct world *w, struct guest *g, const Skein__SimInject *i, struct err *err)
{
    if (i->has_number && in_range(i->number, 0, 4096, "load", err) < 0)
        return -(int)err->code;
    g->held = i->has_number ? i->number : -1;
    load_reckon(w);
    return 0;
}

static int power_on(struct world *w, struct host *h, struct err *err)
{
    if (h->power == POWER_ON || h->power == POWER_BOOTING)
        return err_set(err, ERR_CONFLICT, "%s is on already", h->name);
    h->power = POWER_BOOTING;
    h->silent = false;
    h->hung = false;
    h->boot_until = w->now + h->boot_ms;
    return 0;
}

static int power(struct world *w, struct host *h, const Skein__SimInject *i, struct err *err)
{
    if (i->on)
        return power_on(w, h, err);
    if (i->standby && host_memory_taken(h) > 0)
        return err_set(err, ERR_CONFLICT, "guests run on %s", h->name);
    h->silent = i->silent;
    host_stop(w, h, i->standby ? POWER_STANDBY : POWER_OFF);
    load_reckon(w);
    return 0;
}

static int link_set(struct host *h, const Skein__SimInject *i, struct err *err)
{
    if (i->has_number && in_range(i->number, 1, 1e7, "link", err) < 0)
        return -(int)err->code;
    if (i->has_number)
        h->link_mib_s = i->number * MIB_PER_MBIT;
    h->unlinked = !i->on;
    return 0;
}

static int inject_host(struct world *w, struct host *h, const Skein__SimInject *i, struct err *err)
{
    switch (i->kind) {
    case SKEIN__SIM_INJECT_KIND__INJECT_HEAT:
        return heat(h, i, err);
    case SKEIN__SIM_INJECT_KIND__INJECT_FAN:
        return fan(h, i, err);
    case SKEIN__SIM_INJECT_KIND__INJECT_POWER:
        return power(w, h, i, err);
    case SKEIN__SIM_INJECT_KIND__INJECT_LINK:
        return link_set(h, i, err);
    case SKEIN__SIM_INJECT_KIND__INJECT_HANG:
        h->hung = i->on;
        break;
    case SKEIN__SIM_INJECT_KIND__INJECT_LOSE_EVENTS:
        h->loses_events = i->on;
        break;
    case SKEIN__SIM_INJECT_KIND__INJECT_DISK_FULL:
        h->disk_full = i->on;
        break;
    case SKEIN__SIM_INJECT_KIND__INJECT_LOAD:
    case SKEIN__SIM_INJECT_KIND__INJECT_FATE:
    case _SKEIN__SIM_INJECT_KIND_IS_INT_SIZE:
        break;
    }
    return 0;
}

int world_inject(struct world *w, const Skein__SimInject *i, struct err *err)
{
    const char *target = i->target != NULL ? i->target : "";
    struct guest *g = NULL;
    size_t host;
    int rc;
    bool of_guest = i->kind == SKEIN__SIM_INJECT_KIND__INJECT_LOAD ||
                    i->kind == SKEIN__SIM_INJECT_KIND__INJECT_FATE;
    if (!i->has_kind || (unsigned)i->kind > SKEIN__SIM_INJECT_KIND__INJECT_LINK ||
        (unsigned)i->fate > SKEIN__SIM_FATE__FATE_PAUSED)
        return err_set(err, ERR_UNSUPPORTED, "this world does not know that command");
    if (of_guest && (rc = find_guest(w, target, &g, err)) < 0)
        return rc;
    if (i->kind == SKEIN__SIM_INJECT_KIND__INJECT_LOAD)
        return load(w, g, i, err);
    if (i->kind == SKEIN__SIM_INJECT_KIND__INJECT_FATE) {
        g->fate = i->fate;
        return 0;
    }
    if ((rc = world_find_host(w, target, &host, err)) < 0 ||
        (rc = inject_host(w, w->hosts[host], i, err)) < 0)
        return rc;
    moves_settle(w);
    moves_rates(w);
    return 0;
}

/* ---- status ---- */

static const char *power_text(const struct host *h)
{
    switch (h->power) {
    case POWER_ON:
        return "on";
    case POWER_BOOTING:
        return "booting";
    case POWER_STANDBY:
        return "standby";
    case POWER_OFF:
        break;
    }
    return "off";
}

static char *trouble_text(const struct host *h)
{
    struct buf b = {0};
    if (h->hung)
        buf_adds(&b, "hangs, ");
    if (h->unlinked)
        buf_adds(&b, "link down, ");
    if (h->disk_full)
        buf_adds(&b, "disk full, ");
    if (h->loses_events)
        buf_adds(&b, "loses events, ");
    if (h->fan < 1 || h->fan > 1)
        buf_addf(&b, "fan x%g, ", h->fan);
    if (!isnan(h->cpu_held) || !isnan(h->inlet_held))
        buf_adds(&b, "sensor held, ");
    if (fabs(h->cpu_add) > 0 || fabs(h->inlet_add) > 0)
        buf_adds(&b, "heated, ");
    if (b.len > 0)
        b.data[b.len - 2] = '\0';
    return buf_take(&b);
}

static void settings_status(const struct host *h, Skein__SimHostStatus *s)
{
    const Skein__HostCapability *c = h->capability;
    if (c->failure_domain != NULL)
        s->failure_domain = xstrdup(c->failure_domain);
    s->tags = xcalloc(c->n_tags, sizeof *s->tags);
    for (; s->n_tags < c->n_tags; s->n_tags++) {
        Skein__Tag *t = s->tags[s->n_tags] = xmalloc(sizeof *t);
        skein__tag__init(t);
        t->key = xstrdup(c->tags[s->n_tags]->key);
        t->value = xstrdup(c->tags[s->n_tags]->value);
    }
    s->has_migration_mbps = s->has_cpu_overcommit_milli = s->has_memory_overcommit_milli = 1;
    s->has_memory_reserved_mib = 1;
    s->migration_mbps = (uint32_t)lround(h->link_mib_s / MIB_PER_MBIT);
    s->cpu_overcommit_milli = h->settings->cpu_overcommit_milli;
    s->memory_overcommit_milli = h->settings->memory_overcommit_milli;
    s->memory_reserved_mib = h->settings->memory_reserved_mib;
}

static Skein__SimHostStatus *host_status(const struct host *h)
{
    Skein__SimHostStatus *s = xmalloc(sizeof *s);
    skein__sim_host_status__init(s);
    s->name = xstrdup(h->name);
    s->power = xstrdup(power_text(h));
    s->trouble = trouble_text(h);
    s->has_cores = s->has_used_millicores = s->has_memory_mib = s->has_memory_taken_mib = 1;
    s->has_inlet_millicelsius = s->has_cpu_millicelsius = s->has_power_milliwatts = 1;
    s->has_running = 1;
    s->cores = (uint32_t)h->cores;
    s->used_millicores = (uint32_t)lround(h->used * 1000);
    s->memory_mib = (uint64_t)h->memory_mib;
    s->memory_taken_mib = (uint64_t)host_memory_taken(h);
    s->inlet_millicelsius = (int32_t)lround(celsius_shown(h->inlet, h->inlet_held) * 1000);
    s->cpu_millicelsius = (int32_t)lround(celsius_shown(h->cpu, h->cpu_held) * 1000);
    s->power_milliwatts = (uint32_t)lround(h->watts * 1000);
    for (size_t i = 0; i < h->n_domains; i++)
        s->running += h->domains[i]->state == SKEIN__VM_STATE__VM_RUNNING;
    settings_status(h, s);
    return s;
}

static Skein__SimGuestStatus *guest_status(const struct guest *g)
{
    Skein__SimGuestStatus *s = xmalloc(sizeof *s);
    skein__sim_guest_status__init(s);
    s->uuid = xstrdup(g->uuid);
    s->name = xstrdup(g->detail->name);
    s->has_running = s->has_starts = s->has_used_millicores = 1;
    s->starts = g->starts;
    size_t n = 0;
    for (const struct domain *d = g->domains; d != NULL; d = d->next)
        n++;
    s->defined = xcalloc(n, sizeof *s->defined);
    for (const struct domain *d = g->domains; d != NULL; d = d->next) {
        if (d->job != NULL && d->job->source == d)
            s->moving_to = xstrdup(d->job->move.to);
        if (d->state != SKEIN__VM_STATE__VM_RUNNING) {
            s->defined[s->n_defined++] = xstrdup(d->host->name);
            continue;
        }
        s->running++;
        s->used_millicores = (uint32_t)lround(g->used * 1000);
        if (s->host == NULL)
            s->host = xstrdup(d->host->name);
    }
    return s;
}

Skein__SimStatus *world_status(const struct world *w)
{
    double joules = 0;
    Skein__SimStatus *s = xmalloc(sizeof *s);
    skein__sim_status__init(s);
    s->has_at_ms = s->has_kwh = 1;
    s->at_ms = (uint64_t)MAX(world_wall(w), 0);
    s->hosts = xcalloc(w->n_hosts, sizeof *s->hosts);
    for (; s->n_hosts < w->n_hosts; s->n_hosts++) {
        s->hosts[s->n_hosts] = host_status(w->hosts[s->n_hosts]);
        joules += w->hosts[s->n_hosts]->joules;
    }
    s->guests = xcalloc(w->n_guests, sizeof *s->guests);
    for (; s->n_guests < w->n_guests; s->n_guests++)
        s->guests[s->n_guests] = guest_status(w->guests[s->n_guests]);
    s->kwh = joules / 3.6e6;
    return s;
}
