/* world_make.c - worlds from a snapshot. What a snapshot does not say gets an ordinary value, since
 * a world has to run; what would change who fits where must be said. */
#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"

#define ROOM_CELSIUS 22.0
#define HEAT_SECONDS 60.0
#define RISE_CELSIUS 45.0 /* of a processor above the inlet, at full power */
#define RISE_MIN 2.0      /* a snapshot that states less has a sensor elsewhere */
#define CPU_MAX 95.0
#define INLET_MAX 35.0
#define LINK_MBPS 10000
#define BOOT_MS 120000
#define IDLE_WATTS 60.0 /* without a curve: this, and for each core as follows */
#define IDLE_WATTS_CORE 2.0
#define BUSY_WATTS_CORE 9.0
#define DIRTY_MIB_S_CORE 8.0 /* of memory written by a busy core */
#define WORKING_SET 0.25     /* of memory used */
#define USED 0.8             /* of memory allowed */
#define LOAD 0.1             /* of the vCPUs */
#define SWING 0.6

void strings_set(char ***list, size_t *n, const char *const *items, size_t n_items)
{
    *list = xcalloc(n_items, sizeof **list);
    for (*n = 0; *n < n_items; ++*n)
        (*list)[*n] = xstrdup(items[*n]);
}

struct world *make_world(const struct world_conf *conf)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->conf = *conf;
    if (w->conf.room_celsius <= 0)
        w->conf.room_celsius = ROOM_CELSIUS;
    if (w->conf.heat_seconds <= 0)
        w->conf.heat_seconds = HEAT_SECONDS;
    w->environment_at = ENVIRONMENT_MS;
    w->next_migration = 1;
    return w;
}

struct host *make_host(struct world *w, const char *name)
{
    ARRAY_RESERVE(w->hosts, w->cap_hosts, w->n_hosts + 1);
    struct host *h = w->hosts[w->n_hosts] = xcalloc(1, sizeof *h);
    h->index = w->n_hosts++;
    h->capability = xmalloc(sizeof *h->capability);
    skein__host_capability__init(h->capability);
    h->settings = xmalloc(sizeof *h->settings);
    skein__host_summary__init(h->settings);
    h->name = h->capability->host = xstrdup(name);
    h->fan = 1;
    h->boot_ms = BOOT_MS;
    h->cpu_held = h->inlet_held = h->cpu = h->inlet = NAN;
    h->cpu_max = CPU_MAX;
    h->inlet_max = INLET_MAX;
    h->room = NAN;
    h->link_mib_s = LINK_MBPS * MIB_PER_MBIT;
    return h;
}

struct guest *make_guest(struct world *w, struct host *h, const char *uuid, const char *name,
                         Skein__VmState state)
{
    ARRAY_RESERVE(w->guests, w->cap_guests, w->n_guests + 1);
    struct guest *g = w->guests[w->n_guests++] = xcalloc(1, sizeof *g);
    snprintf(g->uuid, sizeof g->uuid, "%s", uuid);
    g->detail = xmalloc(sizeof *g->detail);
    skein__vm_detail__init(g->detail);
    g->detail->uuid = xstrdup(uuid);
    g->detail->name = xstrdup(name);
    g->held = -1;
    g->starts = state == SKEIN__VM_STATE__VM_STOPPED ? 0 : 1;
    domain_add(w, h, g, state, state == SKEIN__VM_STATE__VM_STOPPED ? "shut down" : "booted");
    return g;
}

/* ---- the first moment ---- */

static int by_rack(const void *a, const void *b)
{
    const struct host *x = *(struct host *const *)a, *y = *(struct host *const *)b;
    const char *rx = x->capability->failure_domain, *ry = y->capability->failure_domain;
    int order = strcmp(rx != NULL ? rx : x->name, ry != NULL ? ry : y->name);
    return order != 0 ? order : strcmp(x->name, y->name);
}

static bool same_rack(const struct host *a, const struct host *b)
{
    const char *x = a->capability->failure_domain, *y = b->capability->failure_domain;
    return x != NULL && y != NULL && strcmp(x, y) == 0;
}

static void place_in_racks(struct world *w)
{
    w->by_rack = xmemdup(w->hosts, w->n_hosts * sizeof *w->hosts);
    qsort(w->by_rack, w->n_hosts, sizeof *w->by_rack, by_rack);
    for (size_t i = 0, rack = 0; i < w->n_hosts; i++) {
        rack += i > 0 && !same_rack(w->by_rack[i - 1], w->by_rack[i]);
        w->by_rack[i]->rack = rack;
        w->by_rack[i]->rank = i;
    }
}

/* The temperatures of the snapshot are those of balance: they stay while the load does. */
static void balance_heat(struct world *w, struct host *h)
{
    if (isnan(h->inlet))
        h->room = w->conf.room_celsius;
    else
        h->room = h->inlet - heat_blown_back(w, h);
    h->inlet = heat_inlet_target(w, h);
    double full = h->curve_watts[CURVE_POINTS - 1];
    h->celsius_per_watt = RISE_CELSIUS / full;
    if (!isnan(h->cpu) && h->watts > 0 && h->cpu - h->inlet >= RISE_MIN)
        h->celsius_per_watt = (h->cpu - h->inlet) / h->watts;
    h->cpu = h->inlet + h->watts * h->celsius_per_watt;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct host *const *)a)->name, (*(struct host *const *)b)->name);
}

void make_finish(struct world *w)
{
    qsort(w->hosts, w->n_hosts, sizeof *w->hosts, by_name);
    for (size_t i = 0; i < w->n_hosts; i++)
        w->hosts[i]->index = i;
    place_in_racks(w);
    load_reckon(w);
    heat_pass(w, 0);
    for (size_t i = 0; i < w->n_hosts; i++)
        balance_heat(w, w->hosts[i]);
    w->first_event = w->n_events = 0;
}

/* ---- from a snapshot: hosts ---- */

static bool known(int64_t v)
{
    return v != QUANTITY_UNKNOWN;
}

static double real(milli v)
{
    return (double)v / 1000;
}

static void copy_strings(const struct model_strings *from, char ***list, size_t *n)
{
    if (from->known)
        strings_set(list, n, from->items, (size_t)from->n);
}

static char *copy_text(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

static Skein__Tag **copy_tags(const struct model_tags *tags, size_t *n)
{
    Skein__Tag **list = xcalloc((size_t)tags->n, sizeof *list);
    for (*n = 0; *n < (size_t)tags->n; ++*n) {
        Skein__Tag *t = list[*n] = xmalloc(sizeof *t);
        skein__tag__init(t);
        t->key = xstrdup(tags->items[*n].key);
        t->value = xstrdup(tags->items[*n].value);
    }
    return list;
}

static void copy_storage(const struct model_host *from, Skein__HostCapability *to)
{
    to->storage = xcalloc((size_t)from->n_storage, sizeof *to->storage);
    for (int i = 0; i < from->n_storage; i++) {
        Skein__Pool *p = xmalloc(sizeof *p);
        skein__pool__init(p);
        p->name = xstrdup(from->storage[i].name);
        p->has_shared = from->storage[i].shared != TRI_UNKNOWN;
        p->shared = from->storage[i].shared == TRI_YES;
        p->has_free_mib = known(from->storage[i].free_mib);
        p->free_mib = p->has_free_mib ? (uint64_t)from->storage[i].free_mib : 0;
        p->has_total_mib = known(from->storage[i].total_mib);
        p->total_mib = p->has_total_mib ? (uint64_t)from->storage[i].total_mib : 0;
        to->storage[to->n_storage++] = p;
    }
}

static void copy_hugepages(const struct model_host *from, Skein__HostCapability *to)
{
    to->hugepages = xcalloc((size_t)from->n_hugepages, sizeof *to->hugepages);
    for (int i = 0; i < from->n_hugepages; i++) {
        Skein__HugePages *p = xmalloc(sizeof *p);
        const struct model_hugepages *q = &from->hugepages[i];
        skein__huge_pages__init(p);
        p->has_size_kib = known(q->size_kib);
        p->size_kib = p->has_size_kib ? (uint32_t)q->size_kib : 0;
        p->has_total = known(q->total);
        p->total = p->has_total ? (uint64_t)q->total : 0;
        p->has_free = known(q->free);
        p->free = p->has_free ? (uint64_t)q->free : 0;
        to->hugepages[to->n_hugepages++] = p;
    }
}

static void copy_capability(const struct model_host *from, Skein__HostCapability *to)
{
    to->failure_domain = copy_text(from->failure_domain);
    to->tags = copy_tags(&from->tags, &to->n_tags);
    to->cpu_model = copy_text(from->cpu_model);
    to->arch = copy_text(from->arch);
    to->qemu = copy_text(from->qemu);
    to->libvirt = copy_text(from->libvirt);
    copy_strings(&from->cpu_features, &to->cpu_features, &to->n_cpu_features);
    copy_strings(&from->usable_models, &to->usable_models, &to->n_usable_models);
    copy_strings(&from->networks, &to->networks, &to->n_networks);
    copy_strings(&from->machines, &to->machines, &to->n_machines);
    copy_storage(from, to);
    copy_hugepages(from, to);
    to->has_can_wake = from->can_wake != TRI_UNKNOWN;
    to->can_wake = from->can_wake == TRI_YES;
    to->has_standby_allowed = from->standby_allowed != TRI_UNKNOWN;
    to->standby_allowed = from->standby_allowed == TRI_YES;
}

static void copy_power(const struct model_host *from, struct host *to)
{
    for (size_t i = 0; i < CURVE_POINTS; i++)
        to->curve_watts[i] =
            known(from->curve_watts[0])
                ? real(from->curve_watts[i])
                : IDLE_WATTS + to->cores * (IDLE_WATTS_CORE +
                                            BUSY_WATTS_CORE * (double)i / (CURVE_POINTS - 1));
    Skein__HostCapability *c = to->capability;
    c->curve_milliwatts = xcalloc(CURVE_POINTS, sizeof *c->curve_milliwatts);
    for (; c->n_curve_milliwatts < CURVE_POINTS; c->n_curve_milliwatts++)
        c->curve_milliwatts[c->n_curve_milliwatts] =
            (uint32_t)lround(to->curve_watts[c->n_curve_milliwatts] * 1000);
}

static void copy_settings(const struct model_host *from, Skein__HostSummary *to)
{
    to->has_memory_reserved_mib = to->has_cpu_overcommit_milli = 1;
    to->has_memory_overcommit_milli = 1;
    to->memory_reserved_mib = (uint64_t)from->reserved_mib;
    to->cpu_overcommit_milli = (uint32_t)MIN(from->cpu_overcommit, (milli)1000000);
    to->memory_overcommit_milli = (uint32_t)MIN(from->memory_overcommit, (milli)1000000);
}

static void copy_heat(const struct model_host *from, struct host *to)
{
    to->inlet = known(from->inlet_celsius) ? real(from->inlet_celsius) : NAN;
    to->cpu = known(from->cpu_celsius) ? real(from->cpu_celsius) : NAN;
    if (known(from->inlet_max_celsius))
        to->inlet_max = real(from->inlet_max_celsius);
    if (known(from->cpu_max_celsius))
        to->cpu_max = real(from->cpu_max_celsius);
}

static int copy_host(struct world *w, const struct model_host *from, struct err *err)
{
    if (!known(from->cores) || !known(from->total_mib) || from->implausible != NULL)
        return err_set(err, ERR_INVALID, "host \"%s\": %s", from->name,
                       from->implausible != NULL ? from->implausible
                                                 : "a world needs its cores and its memory");
    struct host *h = make_host(w, from->name);
    h->cores = real(from->cores);
    h->memory_mib = (double)from->total_mib;
    h->reserved_mib = (double)from->reserved_mib;
    if (known(from->migration_mbps) && from->migration_mbps > 0)
        h->link_mib_s = (double)from->migration_mbps * MIB_PER_MBIT;
    if (known(from->wake_seconds))
        h->boot_ms = MIN(from->wake_seconds, (int64_t)86400) * 1000;
    copy_capability(from, h->capability);
    copy_power(from, h);
    copy_settings(from, h->settings);
    copy_heat(from, h);
    if (from->state == HOST_STANDBY)
        h->power = POWER_STANDBY;
    if (from->state == HOST_OFFLINE)
        h->power = POWER_OFF;
    return 0;
}

/* ---- from a snapshot: guests ---- */

static Skein__VmState vm_state(const struct model_vm *from, const struct host *h)
{
    switch (from->state) {
    case VM_PAUSED:
    case VM_SUSPENDED:
        return host_runs(h) ? SKEIN__VM_STATE__VM_PAUSED : SKEIN__VM_STATE__VM_STOPPED;
    case VM_STOPPED:
    case VM_CRASHED:
        return SKEIN__VM_STATE__VM_STOPPED;
    case VM_UNKNOWN:
    case VM_RUNNING:
        break;
    }
    return host_runs(h) ? SKEIN__VM_STATE__VM_RUNNING : SKEIN__VM_STATE__VM_STOPPED;
}

static void copy_definition(const struct model_vm *from, Skein__VmDetail *to)
{
    to->owner = copy_text(from->owner);
    to->has_priority = 1;
    to->priority = (uint32_t)MAX(MIN(from->priority, (int64_t)UINT32_MAX), 0);
    to->tags = copy_tags(&from->tags, &to->n_tags);
    to->has_persistent = to->has_autostart = to->has_vcpus = to->has_memory_mib = 1;
    to->persistent = from->persistent != TRI_NO;
    to->autostart = from->autostart == TRI_YES;
    to->vcpus = (uint32_t)from->vcpus;
    to->memory_mib = (uint64_t)from->memory_mib;
    copy_strings(&from->storage, &to->storage, &to->n_storage);
    copy_strings(&from->networks, &to->networks, &to->n_networks);
    copy_strings(&from->cpu_features, &to->cpu_features, &to->n_cpu_features);
    copy_strings(&from->blockers, &to->blockers, &to->n_blockers);
    to->machine = copy_text(from->machine);
    to->cpu_model = copy_text(from->cpu_model);
    to->has_local_disk_mib = known(from->local_disk_mib);
    to->local_disk_mib = to->has_local_disk_mib ? (uint64_t)from->local_disk_mib : 0;
    to->has_hugepages_kib = known(from->hugepages_kib);
    to->hugepages_kib = to->has_hugepages_kib ? (uint32_t)from->hugepages_kib : 0;
    to->has_max_downtime_ms = known(from->max_downtime_ms);
    to->max_downtime_ms = to->has_max_downtime_ms ? (uint32_t)from->max_downtime_ms : 0;
    to->has_postcopy_allowed = from->postcopy_allowed != TRI_UNKNOWN;
    to->postcopy_allowed = from->postcopy_allowed == TRI_YES;
    to->has_hold_until_ms = known(from->hold_until);
    to->hold_until_ms = to->has_hold_until_ms ? (uint64_t)from->hold_until : 0;
    to->devices = xcalloc((size_t)from->n_devices, sizeof *to->devices);
    for (int i = 0; i < from->n_devices; i++) {
        Skein__Device *d = to->devices[to->n_devices++] = xmalloc(sizeof *d);
        skein__device__init(d);
        d->type = copy_text(from->devices[i].type);
        d->has_migratable = 1;
        d->migratable = from->devices[i].migratable;
    }
}

static void copy_use(const struct model_vm *from, bool daily, struct guest *to)
{
    to->vcpus = (uint32_t)from->vcpus;
    to->memory_mib = (double)from->memory_mib;
    to->used_mib =
        known(from->memory_used_mib) ? (double)from->memory_used_mib : USED * to->memory_mib;
    to->used_mib = MIN(to->used_mib, to->memory_mib);
    to->cores = known(from->cpu_used_cores) ? real(from->cpu_used_cores) : LOAD * to->vcpus;
    to->dirty_mib_s =
        known(from->dirty_mib_s) ? real(from->dirty_mib_s) : DIRTY_MIB_S_CORE * to->cores;
    to->wset_mib = known(from->wset_mib) ? (double)from->wset_mib : WORKING_SET * to->used_mib;
    to->wset_mib = MIN(to->wset_mib, to->memory_mib);
    to->last_move = known(from->last_move) ? from->last_move : 0;
    to->swing = daily ? SWING : 0;
    to->peak = 14;
}

static int copy_guest(struct world *w, const struct model *m, const struct model_vm *from,
                      struct err *err)
{
    size_t host;
    if (from->uuid == NULL || !uuid_is_valid(from->uuid) || from->host == MODEL_NONE)
        return err_set(err, ERR_INVALID, "VM \"%s\": a world needs its UUID and its host",
                       vm_label(from));
    if (!known(from->vcpus) || from->vcpus <= 0 || from->vcpus > 4096 || !known(from->memory_mib) ||
        from->memory_mib <= 0)
        return err_set(err, ERR_INVALID, "VM \"%s\": a world needs its vcpus and its memory_mib",
                       vm_label(from));
    if (world_find_host(w, m->hosts[from->host].name, &host, err) < 0)
        return -(int)err->code;
    struct guest *g =
        make_guest(w, w->hosts[host], from->uuid, vm_label(from), vm_state(from, w->hosts[host]));
    copy_definition(from, g->detail);
    copy_use(from, w->conf.daily, g);
    domain_find(w->hosts[host], g->uuid)->persistent = g->detail->persistent;
    return 0;
}

int world_from_model(const struct world_conf *conf, const struct model *m, struct world **ret,
                     struct err *err)
{
    int rc = 0;
    if (m->n_hosts == 0)
        return err_set(err, ERR_INVALID, "a world needs a host");
    if (m->n_hosts > WORLD_HOSTS_MAX || m->n_vms > WORLD_GUESTS_MAX)
        return err_set(err, ERR_LIMIT, "at most %d hosts and %d VMs", WORLD_HOSTS_MAX,
                       WORLD_GUESTS_MAX);
    struct world *w = make_world(conf);
    for (int i = 0; rc == 0 && i < m->n_hosts; i++) /* sorted by name, as ours are */
        rc = copy_host(w, &m->hosts[i], err);
    for (int i = 0; rc == 0 && i < m->n_vms; i++)
        rc = copy_guest(w, m, &m->vms[i], err);
    if (rc < 0) {
        world_free(w);
        return rc;
    }
    make_finish(w);
    *ret = w;
    return 0;
}
