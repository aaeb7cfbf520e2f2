/* world.c - hosts, the guests on them, and time.
 *
 * Between two moments everything runs at constant rates, so time passes from one moment at which
 * something changes to the next: the end of a migration's phase, a boot, or a whole second, at
 * which load and heat are reckoned. How often world_step() is called makes no difference. */
#include "agent/sim/world.h"

#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"

/* ---- events ---- */

struct world_event *world_event_add(struct world *w, enum world_event_kind kind)
{
    if (w->first_event > 0 && w->first_event == w->n_events)
        w->first_event = w->n_events = 0;
    ARRAY_RESERVE(w->events, w->cap_events, w->n_events + 1);
    struct world_event *e = &w->events[w->n_events++];
    *e = (struct world_event){.kind = kind};
    return e;
}

void world_changed(struct world *w, const struct host *h)
{
    if (!h->loses_events)
        world_event_add(w, WORLD_CHANGED)->host = h->index;
}

bool world_event(struct world *w, struct world_event *ret)
{
    if (w->first_event == w->n_events)
        return false;
    *ret = w->events[w->first_event++];
    return true;
}

/* ---- domains ---- */

struct domain *domain_find(const struct host *h, const char *uuid)
{
    for (size_t i = 0; i < h->n_domains; i++)
        if (strcmp(h->domains[i]->guest->uuid, uuid) == 0)
            return h->domains[i];
    return NULL;
}

struct domain *domain_add(struct world *w, struct host *h, struct guest *g, Skein__VmState state,
                          const char *reason)
{
    ARRAY_RESERVE(h->domains, h->cap_domains, h->n_domains + 1);
    struct domain *d = h->domains[h->n_domains++] = xcalloc(1, sizeof *d);
    *d = (struct domain){
        .next = g->domains, .guest = g, .host = h, .state = state, .reason = reason};
    g->domains = d;
    world_changed(w, h);
    return d;
}

void domain_remove(struct world *w, struct domain *d)
{
    struct host *h = d->host;
    size_t i = 0;
    while (h->domains[i] != d)
        i++;
    memmove(&h->domains[i], &h->domains[i + 1], (h->n_domains - i - 1) * sizeof *h->domains);
    h->n_domains--;
    struct domain **at = &d->guest->domains;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    free(d);
    world_changed(w, h);
}

void domain_give_up(struct world *w, struct domain *d)
{
    struct guest *g = d->guest;
    domain_remove(w, d);
    g->given_up = g->domains == NULL;
}

void domain_set(struct world *w, struct domain *d, Skein__VmState state, const char *reason)
{
    d->state = state;
    d->reason = reason;
    world_changed(w, d->host);
}

bool domain_active(const struct domain *d)
{
    return d->state != SKEIN__VM_STATE__VM_STOPPED;
}

/* ---- hosts ---- */

bool host_runs(const struct host *h)
{
    return h->power == POWER_ON;
}

double host_memory_taken(const struct host *h)
{
    double mib = 0;
    for (size_t i = 0; i < h->n_domains; i++)
        if (domain_active(h->domains[i]))
            mib += h->domains[i]->guest->memory_mib;
    return mib;
}

double host_memory_available(const struct host *h)
{
    double mib = h->memory_mib - h->reserved_mib;
    for (size_t i = 0; i < h->n_domains; i++) {
        const struct domain *d = h->domains[i];
        bool arriving = d->state == SKEIN__VM_STATE__VM_INCOMING;
        if (domain_active(d))
            mib -= arriving ? d->guest->memory_mib : d->guest->used_mib;
    }
    return MAX(mib, 0);
}

/* What a machine that stops leaves: definitions. What was transient, or only arriving, is gone. */
static void stop_domain(struct world *w, struct domain *d)
{
    if (d->job != NULL) /* whose source does not know yet */
        d->job->target = NULL;
    d->job = NULL;
    if (!domain_active(d))
        return;
    if (d->persistent)
        domain_set(w, d, SKEIN__VM_STATE__VM_STOPPED, "crashed");
    else
        domain_give_up(w, d);
}

void host_stop(struct world *w, struct host *h, enum power power)
{
    h->power = power;
    moves_settle(w); /* those of its guests end */
    for (size_t i = h->n_domains; i-- > 0;)
        stop_domain(w, h->domains[i]);
    moves_rates(w);
}

/* As QEMU's locks on the disks of a guest have it. */
static bool is_locked(const struct guest *g)
{
    for (const struct domain *d = g->domains; d != NULL; d = d->next)
        if (domain_active(d))
            return true;
    return false;
}

void host_boot(struct world *w, struct host *h)
{
    h->power = POWER_ON;
    h->silent = false;
    for (size_t i = 0; i < h->n_domains; i++) {
        struct domain *d = h->domains[i];
        if (!d->guest->detail->autostart || is_locked(d->guest))
            continue;
        d->guest->starts++;
        domain_set(w, d, SKEIN__VM_STATE__VM_RUNNING, "booted");
    }
    world_changed(w, h);
}

static void boot_those_due(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i]->power == POWER_BOOTING && w->hosts[i]->boot_until <= w->now)
            host_boot(w, w->hosts[i]);
}

enum world_answers world_answers(const struct world *w, size_t host)
{
    const struct host *h = w->hosts[host];
    if (h->power != POWER_ON)
        return h->silent ? WORLD_SILENT : WORLD_REFUSES;
    return h->hung ? WORLD_SILENT : WORLD_ANSWERS;
}

int world_find_host(const struct world *w, const char *name, size_t *ret, struct err *err)
{
    size_t lo = 0, hi = w->n_hosts;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(w->hosts[mid]->name, name);
        if (order == 0) {
            *ret = mid;
            return 0;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return err_set(err, ERR_NOT_FOUND, "this world has no host \"%s\"", name);
}

size_t world_hosts(const struct world *w)
{
    return w->n_hosts;
}

size_t world_guests(const struct world *w)
{
    return w->n_guests;
}

void world_trace(struct world *w, size_t guest, const uint8_t *percent, size_t n, msec period)
{
    struct guest *g = w->guests[guest];
    REQUIRE(n > 0 && period > 0);
    free(g->trace);
    g->trace = xmemdup(percent, n);
    g->n_trace = n;
    g->trace_period = period;
}

/* ---- time ---- */

msec world_now(const struct world *w)
{
    return w->now;
}

msec world_wall(const struct world *w)
{
    return w->conf.begins + w->now;
}

msec world_next(const struct world *w)
{
    msec next = moves_next(w);
    for (size_t i = 0; i < w->n_hosts; i++)
        if (w->hosts[i]->power == POWER_BOOTING)
            next = MIN(next, w->hosts[i]->boot_until);
    return next;
}

static void environment_pass(struct world *w)
{
    if (w->now < w->environment_at)
        return;
    heat_pass(w, ENVIRONMENT_MS / 1000.0);
    load_reckon(w);
    w->environment_at = w->now + ENVIRONMENT_MS;
}

void world_step(struct world *w, msec now)
{
    while (w->now < now) {
        msec next = MIN(MIN(now, w->environment_at), MAX(world_next(w), w->now + 1));
        moves_pass(w, next - w->now);
        w->now = next;
        boot_those_due(w);
        environment_pass(w);
        moves_settle(w);
        moves_rates(w);
    }
}

/* ---- the end ---- */

static void host_free(struct host *h)
{
    for (size_t i = 0; i < h->n_domains; i++)
        free(h->domains[i]);
    free(h->domains);
    skein__host_capability__free_unpacked(h->capability, NULL);
    skein__host_summary__free_unpacked(h->settings, NULL);
    free(h);
}

static void guest_free(struct guest *g)
{
    skein__vm_detail__free_unpacked(g->detail, NULL);
    free(g->trace);
    free(g);
}

void world_free(struct world *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->n_migrations; i++)
        free(w->migrations[i]);
    for (size_t i = 0; i < w->n_hosts; i++)
        host_free(w->hosts[i]);
    for (size_t i = 0; i < w->n_guests; i++)
        guest_free(w->guests[i]);
    free(w->migrations);
    free(w->hosts);
    free(w->by_rack);
    free(w->guests);
    free(w->events);
    free(w);
}

/* ---- invariants ---- */

static const char *broken_host(const struct host *h)
{
    if (!isfinite(h->cpu) || !isfinite(h->inlet) || !isfinite(h->watts) || !isfinite(h->used))
        return "load or heat is not a number";
    if (h->used > h->cores + 1e-6)
        return "more cores are used than there are";
    for (size_t i = 0; i < h->n_domains; i++) {
        const struct domain *d = h->domains[i];
        if (!host_runs(h) && domain_active(d))
            return "a guest runs on a host that does not";
        if (d->state == SKEIN__VM_STATE__VM_INCOMING && d->job == NULL)
            return "a guest arrives and nobody sends it";
    }
    return NULL;
}

static const char *broken_guest(const struct guest *g)
{
    unsigned running = 0;
    for (const struct domain *d = g->domains; d != NULL; d = d->next)
        running += d->state == SKEIN__VM_STATE__VM_RUNNING;
    if (running > 1)
        return "a guest runs twice";
    return g->domains == NULL && !g->given_up ? "a guest is nowhere" : NULL;
}

const char *world_broken(const struct world *w)
{
    const char *why;
    for (size_t i = 0; i < w->n_hosts; i++)
        if ((why = broken_host(w->hosts[i])) != NULL)
            return why;
    for (size_t i = 0; i < w->n_guests; i++)
        if ((why = broken_guest(w->guests[i])) != NULL)
            return why;
    return NULL;
}
