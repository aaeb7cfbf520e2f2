#include "agent/core/snapshot.h"

#include "agent/core/learn.h"
#include "agent/core/plan.h"
#include "agent/core/setback.h"
#include "agent/core/state.h"
#include "proto/canon.h"

/* Numbers above this are nobody's quantity: left out, since one of them would spoil the whole. */
#define QUANTITY_MAX 1000000000000000u /* 1e15, as the planner's reader has it */

/* Seeds that survive every JSON reader. */
#define SEED_MASK ((UINT64_C(1) << 48) - 1)

#define DAY_MS ((msec)24 * 3600 * 1000)

/* ---- putting known things into an object ---- */

static void put_number(json_t *o, const char *key, bool has, uint64_t value)
{
    if (has && value <= QUANTITY_MAX)
        json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void put_milli(json_t *o, const char *key, bool has, int64_t thousandths)
{
    if (has)
        json_object_set_new(o, key, canon_milli(thousandths));
}

static void put_bool(json_t *o, const char *key, bool has, bool value)
{
    if (has)
        json_object_set_new(o, key, json_boolean(value));
}

static void put_text(json_t *o, const char *key, const char *value)
{
    if (value != NULL && value[0] != '\0')
        json_object_set_new(o, key, json_string(value));
}

static void put_time(json_t *o, const char *key, bool has, uint64_t wall)
{
    char text[TIME_TEXT_SIZE];
    if (!has || wall == 0 || wall > QUANTITY_MAX / 10)
        return;
    time_format((msec)wall, text);
    json_object_set_new(o, key, json_string(text));
}

/* A moment that an agent's wall clock stamped, by the clock of the world that policies plan for. */
static uint64_t in_world(const struct moment *now, uint64_t wall)
{
    return (uint64_t)MAX(hv_clock_at(&now->clock, (msec)MIN(wall, (uint64_t)INT64_MAX)), (msec)0);
}

/* An empty list on the wire says nothing: it is left out. */
static void put_texts(json_t *o, const char *key, char *const *values, size_t n)
{
    if (n == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(values[i]));
    json_object_set_new(o, key, list);
}

static void put_tags(json_t *o, Skein__Tag *const *tags, size_t n)
{
    json_t *object = json_object();
    for (size_t i = 0; i < n; i++)
        if (tags[i]->key != NULL && tags[i]->value != NULL)
            json_object_set_new(object, tags[i]->key, json_string(tags[i]->value));
    if (json_object_size(object) > 0)
        json_object_set(o, "tags", object);
    json_decref(object);
}

static void put_list(json_t *o, const char *key, json_t *list)
{
    if (json_array_size(list) > 0)
        json_object_set(o, key, list);
    json_decref(list);
}

/* A part of which nothing is known is left out too. */
static void put_part(json_t *o, const char *key, json_t *part)
{
    if (json_object_size(part) > 0)
        json_object_set(o, key, part);
    json_decref(part);
}

/* ---- hosts ---- */

static const char *host_state_text(const Skein__HostSummary *s)
{
    if (s == NULL || !s->has_state)
        return NULL;
    switch (s->state) {
    case SKEIN__HOST_STATE__HOST_UP:
        return "up";
    case SKEIN__HOST_STATE__HOST_CORDONED:
        return "cordoned";
    case SKEIN__HOST_STATE__HOST_DRAINING:
        return "draining";
    case SKEIN__HOST_STATE__HOST_MAINTENANCE:
        return "maintenance";
    case SKEIN__HOST_STATE__HOST_QUARANTINE:
        return "quarantine";
    case SKEIN__HOST_STATE__HOST_STANDBY:
        return "standby";
    case SKEIN__HOST_STATE__HOST_OFFLINE:
        return "offline";
    case _SKEIN__HOST_STATE_IS_INT_SIZE:
        break;
    }
    return NULL; /* a newer agent's word: unknown */
}

static json_t *cpu_part(const Skein__HostSummary *s, const Skein__HostCapability *c)
{
    json_t *o = json_object();
    if (s != NULL) {
        put_number(o, "cores", s->has_cores, s->cores);
        put_milli(o, "used_cores", s->has_used_millicores, s->used_millicores);
        put_milli(o, "overcommit", s->has_cpu_overcommit_milli, s->cpu_overcommit_milli);
    }
    if (c != NULL) {
        put_text(o, "model", c->cpu_model);
        put_texts(o, "features", c->cpu_features, c->n_cpu_features);
        put_texts(o, "usable_models", c->usable_models, c->n_usable_models);
    }
    return o;
}

static json_t *memory_part(const Skein__HostSummary *s)
{
    json_t *o = json_object();
    put_number(o, "total_mib", s->has_memory_total_mib, s->memory_total_mib);
    put_number(o, "reserved_mib", s->has_memory_reserved_mib, s->memory_reserved_mib);
    put_number(o, "used_mib", s->has_memory_used_mib, s->memory_used_mib);
    put_milli(o, "overcommit", s->has_memory_overcommit_milli, s->memory_overcommit_milli);
    return o;
}

static json_t *pressure_part(const Skein__HostSummary *s)
{
    json_t *o = json_object();
    put_milli(o, "cpu", s->has_pressure_cpu_milli, s->pressure_cpu_milli);
    put_milli(o, "memory", s->has_pressure_memory_milli, s->pressure_memory_milli);
    put_milli(o, "io", s->has_pressure_io_milli, s->pressure_io_milli);
    return o;
}

static json_t *temperature_part(const Skein__HostSummary *s)
{
    json_t *o = json_object();
    put_milli(o, "inlet_celsius", s->has_inlet_millicelsius, s->inlet_millicelsius);
    put_milli(o, "inlet_max_celsius", s->has_inlet_max_millicelsius, s->inlet_max_millicelsius);
    put_milli(o, "outlet_celsius", s->has_outlet_millicelsius, s->outlet_millicelsius);
    put_milli(o, "cpu_celsius", s->has_cpu_millicelsius, s->cpu_millicelsius);
    put_milli(o, "cpu_max_celsius", s->has_cpu_max_millicelsius, s->cpu_max_millicelsius);
    put_milli(o, "trend_celsius_per_min", s->has_trend_millicelsius_per_min,
              s->trend_millicelsius_per_min);
    return o;
}

static json_t *power_part(const Skein__HostSummary *s, const Skein__HostCapability *c)
{
    enum { CURVE_POINTS = 11 };

    json_t *o = json_object();
    if (s != NULL)
        put_milli(o, "watts", s->has_power_milliwatts, s->power_milliwatts);
    if (c == NULL)
        return o;
    if (c->n_curve_milliwatts == CURVE_POINTS) {
        json_t *curve = json_array();
        for (size_t i = 0; i < CURVE_POINTS; i++)
            json_array_append_new(curve, canon_milli(c->curve_milliwatts[i]));
        json_object_set_new(o, "curve_watts", curve);
    }
    put_bool(o, "standby_allowed", c->has_standby_allowed, c->standby_allowed);
    return o;
}

/* That it wakes counts when it was seen. One that sleeps is tried in any case. */
static void put_wake(json_t *o, const Skein__HostCapability *c, const Skein__HostPower *p,
                     const struct moment *now)
{
    bool known = c != NULL && c->has_can_wake;
    bool proven = p != NULL && (p->proof_ms != 0 || p->asleep);
    put_bool(o, "can_wake", known, known && c->can_wake && proven);
    put_time(o, "last_wake_proof", p != NULL && p->proof_ms != 0,
             p != NULL ? in_world(now, p->proof_ms) : 0);
}

static void put_hugepages(json_t *o, const Skein__HostCapability *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_hugepages; i++) {
        const Skein__HugePages *p = c->hugepages[i];
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again = again || c->hugepages[k]->size_kib == p->size_kib;
        if (p->size_kib == 0 || again)
            continue;
        json_t *item = json_object();
        put_number(item, "size_kib", true, p->size_kib);
        put_number(item, "total", p->has_total, p->total);
        put_number(item, "free", p->has_free, p->free);
        json_array_append_new(list, item);
    }
    if (json_array_size(list) > 0)
        json_object_set(o, "hugepages", list);
    json_decref(list);
}

static void put_numa(json_t *o, const Skein__HostCapability *c)
{
    if (c->n_numa == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_numa; i++) {
        json_t *item = json_object();
        put_number(item, "cores", c->numa[i]->has_cores, c->numa[i]->cores);
        put_number(item, "memory_mib", c->numa[i]->has_memory_mib, c->numa[i]->memory_mib);
        put_number(item, "free_mib", c->numa[i]->has_free_mib, c->numa[i]->free_mib);
        json_array_append_new(list, item);
    }
    json_object_set_new(o, "numa", list);
}

static bool pool_named_before(const Skein__HostCapability *c, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (c->storage[k]->name != NULL && strcmp(c->storage[k]->name, c->storage[i]->name) == 0)
            return true;
    return false;
}

static void put_storage(json_t *o, const Skein__HostCapability *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_storage; i++) {
        const Skein__Pool *p = c->storage[i];
        if (p->name == NULL || p->name[0] == '\0' || pool_named_before(c, i))
            continue;
        json_t *item = json_object();
        put_text(item, "name", p->name);
        put_bool(item, "shared", p->has_shared, p->shared);
        put_number(item, "free_mib", p->has_free_mib, p->free_mib);
        put_number(item, "total_mib", p->has_total_mib, p->total_mib);
        json_array_append_new(list, item);
    }
    if (json_array_size(list) > 0)
        json_object_set(o, "storage", list);
    json_decref(list);
}

static void put_capability(json_t *o, const Skein__HostCapability *c)
{
    put_text(o, "failure_domain", c->failure_domain);
    put_tags(o, c->tags, c->n_tags);
    put_hugepages(o, c);
    put_numa(o, c);
    put_storage(o, c);
    put_texts(o, "networks", c->networks, c->n_networks);
    put_number(o, "migration_mbps", c->has_migration_mbps, c->migration_mbps);
    put_text(o, "arch", c->arch);
    put_texts(o, "machines", c->machines, c->n_machines);
    put_text(o, "qemu", c->qemu);
    put_text(o, "libvirt", c->libvirt);
}

/* Heard of lately, and nobody has buried it since. */
static bool is_here(const struct view_host *host, const struct step *s)
{
    return view_fresh(host, s->now, s->conf->stale_after) && (!host->gone || host->linked);
}

bool snapshot_sleeps(const struct view_host *host, const struct state *state, const struct step *s)
{
    if (is_here(host, s))
        return false;
    if (host->summary != NULL)
        return host->summary->has_state && host->summary->state == SKEIN__HOST_STATE__HOST_STANDBY;
    const Skein__HostPower *p = state != NULL ? state_power(state, host->name) : NULL;
    return p != NULL && p->asleep;
}

/* Is this a state that people order? */
static bool is_ordered(const Skein__HostSummary *summary)
{
    return summary != NULL && summary->has_state &&
           (summary->state == SKEIN__HOST_STATE__HOST_CORDONED ||
            summary->state == SKEIN__HOST_STATE__HOST_DRAINING ||
            summary->state == SKEIN__HOST_STATE__HOST_MAINTENANCE);
}

/* What people ordered of it counts, whatever it says of itself: it may not know yet. Offline is
 * offline. */
static const char *state_text(const struct view_host *host, const struct state *state,
                              const struct step *s)
{
    if (!is_here(host, s))
        return snapshot_sleeps(host, state, s) ? "standby" : "offline";
    if (host->cloned)
        return "quarantine";
    const Skein__HostAdmin *admin =
        state != NULL ? admin_host(state_admin(state), host->name) : NULL;
    if (admin != NULL && admin->state != SKEIN__HOST_STATE__HOST_UP)
        return admin_state_name(admin->state);
    if (is_ordered(host->summary) && step_votes(s->conf, s->conf->host))
        return "up"; /* a voter knows of every order: that one was taken back */
    return host_state_text(host->summary);
}

json_t *snapshot_host(const struct view_host *host, const struct state *state, const struct step *s)
{
    const Skein__HostPower *sleep = state != NULL ? state_power(state, host->name) : NULL;
    const Skein__HostDetail *kept = sleep != NULL && sleep->asleep ? sleep->detail : NULL;
    const Skein__HostSummary *summary =
        host->summary == NULL && kept != NULL ? kept->summary : host->summary;
    const Skein__HostCapability *capability =
        host->capability == NULL && kept != NULL ? kept->capability : host->capability;
    json_t *o = json_object();
    put_text(o, "name", host->name);
    put_bool(o, "voter", true, step_votes(s->conf, host->name));
    put_text(o, "state", state_text(host, state, s));
    const Skein__HostAdmin *order =
        state != NULL ? admin_host(state_admin(state), host->name) : NULL;
    if (order != NULL && order->state == SKEIN__HOST_STATE__HOST_DRAINING)
        put_text(o, "drain_fallback", order->fallback);
    put_part(o, "cpu", cpu_part(summary, capability));
    json_t *power = power_part(summary, capability);
    put_wake(power, capability, sleep, &s->now);
    put_part(o, "power", power);
    if (summary != NULL) {
        put_time(o, "observed_at", summary->has_observed_at_ms,
                 in_world(&s->now, summary->observed_at_ms));
        put_number(o, "incarnation", summary->has_incarnation, summary->incarnation);
        put_part(o, "memory", memory_part(summary));
        put_part(o, "pressure", pressure_part(summary));
        put_part(o, "temperature", temperature_part(summary));
    }
    if (capability != NULL)
        put_capability(o, capability);
    else
        put_text(o, "failure_domain", host->failure_domain);
    return o;
}

/* ---- VMs ---- */

static const char *vm_state_text(const Skein__VmDetail *vm)
{
    if (!vm->has_state)
        return NULL;
    switch (vm->state) {
    case SKEIN__VM_STATE__VM_RUNNING:
        return "running";
    case SKEIN__VM_STATE__VM_PAUSED:
        return "paused";
    case SKEIN__VM_STATE__VM_STOPPED:
        return "stopped";
    case SKEIN__VM_STATE__VM_CRASHED:
        return "crashed";
    case SKEIN__VM_STATE__VM_INCOMING:
    case _SKEIN__VM_STATE_IS_INT_SIZE:
        break;
    }
    return NULL;
}

static void put_devices(json_t *o, const Skein__VmDetail *vm)
{
    if (vm->n_devices == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < vm->n_devices; i++) {
        json_t *item = json_object();
        put_text(item, "type", vm->devices[i]->type);
        put_bool(item, "migratable", true, vm->devices[i]->migratable);
        json_array_append_new(list, item);
    }
    json_object_set_new(o, "devices", list);
}

static void put_needs(json_t *o, const Skein__VmDetail *vm)
{
    put_texts(o, "storage", vm->storage, vm->n_storage);
    put_number(o, "local_disk_mib", vm->has_local_disk_mib, vm->local_disk_mib);
    put_texts(o, "networks", vm->networks, vm->n_networks);
    put_text(o, "machine", vm->machine);
    put_text(o, "cpu_model", vm->cpu_model);
    put_texts(o, "cpu_features", vm->cpu_features, vm->n_cpu_features);
    put_number(o, "hugepages_kib", vm->has_hugepages_kib, vm->hugepages_kib);
    put_devices(o, vm);
    put_texts(o, "blockers", vm->blockers, vm->n_blockers);
    put_number(o, "max_downtime_ms", vm->has_max_downtime_ms, vm->max_downtime_ms);
    put_bool(o, "postcopy_allowed", vm->has_postcopy_allowed, vm->postcopy_allowed);
}

static void put_load(json_t *o, const Skein__VmDetail *vm)
{
    put_number(o, "vcpus", vm->has_vcpus, vm->vcpus);
    put_milli(o, "cpu_used_cores", vm->has_cpu_used_millicores, vm->cpu_used_millicores);
    put_number(o, "memory_mib", vm->has_memory_mib, vm->memory_mib);
    put_number(o, "memory_used_mib", vm->has_memory_used_mib, vm->memory_used_mib);
    put_milli(o, "dirty_mib_s", vm->has_dirty_milli_mib_s, vm->dirty_milli_mib_s);
    put_number(o, "wset_mib", vm->has_wset_mib, vm->wset_mib);
}

/* ---- what the shared state tells of moves ---- */

struct moved {
    const char *uuid; /* borrowed from the state's plans */
    uint64_t last_ms;
    uint64_t human_ms; /* ... that a person asked for by name; 0: none */
    unsigned within_day;
};

struct history {
    struct moved *items; /* one a move until sorted out, then one a VM, sorted */
    size_t n, cap;
};

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct moved *)a)->uuid, ((const struct moved *)b)->uuid);
}

static void history_add(struct history *h, const struct plan *plan, const struct moment *now)
{
    bool human = strcmp(plan->body->class, "user") == 0;
    for (size_t i = 0; i < plan->body->n_moves; i++) {
        const Skein__ActionReport *report = plan->items[i].report;
        if (report == NULL || report->state != SKEIN__ACTION_STATE__ACTION_SUCCEEDED ||
            plan->items[i].move->type != PLAN_MIGRATE)
            continue;
        ARRAY_RESERVE(h->items, h->cap, h->n + 1);
        uint64_t ended = in_world(now, report->ended_at_ms);
        bool recent = sat_sub(moment_world(now), (msec)ended) < DAY_MS;
        h->items[h->n++] =
            (struct moved){plan->items[i].move->uuid, ended, human ? ended : 0, recent};
    }
}

static void history_make(struct history *h, const struct state *state, const struct moment *now)
{
    struct plan *const *plans;
    size_t n = state != NULL ? state_plans(state, &plans) : 0;
    for (size_t i = 0; i < n; i++)
        history_add(h, plans[i], now);
    if (h->n == 0)
        return;
    qsort(h->items, h->n, sizeof *h->items, by_uuid);
    size_t kept = 0;
    for (size_t i = 1; i < h->n; i++) {
        struct moved *at = &h->items[kept];
        if (strcmp(at->uuid, h->items[i].uuid) != 0) {
            h->items[++kept] = h->items[i];
            continue;
        }
        at->last_ms = MAX(at->last_ms, h->items[i].last_ms);
        at->human_ms = MAX(at->human_ms, h->items[i].human_ms);
        at->within_day += h->items[i].within_day;
    }
    h->n = kept + 1;
}

/* Until when it is left alone: by its own metadata, by somebody's order, or because somebody has
 * just moved it where it is. */
static void put_hold(json_t *o, const Skein__VmDetail *vm, const struct moved *moved,
                     const struct state *state, const struct moment *now)
{
    const Skein__Hold *hold = state != NULL && vm->uuid != NULL
                                  ? admin_hold(state_admin(state), vm->uuid, now->wall)
                                  : NULL;
    uint64_t until = vm->has_hold_until_ms ? vm->hold_until_ms : 0;
    if (hold != NULL)
        until = MAX(until, in_world(now, hold->until_ms));
    if (moved != NULL && moved->human_ms != 0)
        until = MAX(until, moved->human_ms + SNAPSHOT_HUMAN_MS);
    put_time(o, "hold_until", true, until);
}

static json_t *vm_object(const struct view_host *host, const Skein__VmDetail *vm,
                         const struct history *h, const struct state *state,
                         const struct moment *now)
{
    json_t *o = json_object();
    put_text(o, "name", vm->name);
    put_text(o, "uuid", vm->uuid);
    put_text(o, "host", host->name);
    put_text(o, "state", vm_state_text(vm));
    put_text(o, "owner", vm->owner);
    put_number(o, "priority", vm->has_priority, vm->priority);
    put_tags(o, vm->tags, vm->n_tags);
    put_bool(o, "persistent", vm->has_persistent, vm->persistent);
    put_bool(o, "autostart", vm->has_autostart, vm->autostart);
    put_load(o, vm);
    put_needs(o, vm);
    const struct moved key = {.uuid = vm->uuid};
    const struct moved *moved =
        h->n > 0 ? bsearch(&key, h->items, h->n, sizeof *h->items, by_uuid) : NULL;
    uint64_t last = vm->has_last_move_ms ? vm->last_move_ms : 0;
    put_time(o, "last_move", true, moved != NULL ? MAX(last, moved->last_ms) : last);
    put_number(o, "moves_24h", true, moved != NULL ? moved->within_day : 0);
    put_hold(o, vm, moved, state, now);
    return o;
}

/* ---- the whole ---- */

struct placed {
    const struct view_host *host;
    const Skein__VmDetail *vm;
};

static int by_vm_uuid(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    int order = strcmp(x->vm->uuid, y->vm->uuid);
    return order != 0 ? order : strcmp(x->host->name, y->host->name);
}

/* Every VM once, where its copy that counts is. */
static struct placed *place_vms(const struct view *view, size_t *ret_n)
{
    struct placed *all = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < view_count(view); i++) {
        const struct view_host *host = view_at(view, i);
        for (size_t k = 0; k < host->n_vms; k++) {
            const Skein__VmDetail *vm = host->vms[k];
            if (vm->uuid == NULL || !uuid_is_valid(vm->uuid) || !view_counts(vm))
                continue;
            ARRAY_RESERVE(all, cap, n + 1);
            all[n++] = (struct placed){host, vm};
        }
    }
    if (n > 0)
        qsort(all, n, sizeof *all, by_vm_uuid);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool again = kept > 0 && strcmp(all[kept - 1].vm->uuid, all[i].vm->uuid) == 0;
        if (!again)
            all[kept++] = all[i];
        else if (view_prefers(all[i].vm, all[i].host, all[kept - 1].vm, all[kept - 1].host))
            all[kept - 1] = all[i];
    }
    *ret_n = kept;
    return all;
}

static json_t *vms_list(const struct view *view, const struct state *state,
                        const struct moment *now)
{
    struct history h = {0};
    history_make(&h, state, now);
    size_t n;
    _cleanup_(freep) struct placed *vms = place_vms(view, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, vm_object(vms[i].host, vms[i].vm, &h, state, now));
    free(h.items);
    return list;
}

static json_t *hosts_list(const struct view *view, const struct state *state, const struct step *s)
{
    json_t *list = json_array();
    Skein__HostPower *const *powers;
    for (size_t i = 0; i < view_count(view); i++)
        json_array_append_new(list, snapshot_host(view_at(view, i), state, s));
    /* Those that sleep since before this agent knew anybody. */
    for (size_t i = state != NULL ? state_powers(state, &powers) : 0; i-- > 0;) {
        const struct view_host unseen = {.name = powers[i]->host};
        if (powers[i]->asleep && view_find(view, powers[i]->host) == NULL)
            json_array_append_new(list, snapshot_host(&unseen, state, s));
    }
    return list;
}

static bool is_listed(const json_t *list, const char *member, const char *value)
{
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *text = json_string_value(json_object_get(o, member));
        if (text != NULL && strcmp(text, value) == 0)
            return true;
    }
    return false;
}

/* Of the VMs and hosts that are listed. Where a VM is whose host died before this planner heard of
 * it, only its move's end will tell. */
static json_t *in_flight_list(const struct state *state, const json_t *hosts, const json_t *vms)
{
    json_t *list = json_array();
    struct plan *const *plans;
    size_t n = state != NULL ? state_plans(state, &plans) : 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &plans[i]->items[k];
            if (!plan_state_running(plans[i]->state) || !plan_item_live(item) ||
                item->move->type != PLAN_MIGRATE)
                continue;
            const struct plan_move *m = item->move;
            if (!is_listed(vms, "uuid", m->uuid) || !is_listed(hosts, "name", m->to))
                continue;
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "vm", m->uuid,
                                                  "from", m->from, "to", m->to, "plan",
                                                  plans[i]->body->id, "action", m->id));
        }
    }
    return list;
}

/* What each policy has proposed and nobody has answered yet: it is proposed again while it is as
 * good as what a new search finds, so that a plan does not change under its approver's eyes. */
static json_t *waiting_list(const struct state *state)
{
    json_t *list = json_array();
    struct plan *const *plans;
    size_t n = state != NULL ? state_plans(state, &plans) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct plan_body *body = plans[i]->body;
        if (plans[i]->state != SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL ||
            body->policy[0] == '\0' ||
            plan_body_switches_power(body)) /* its moves alone would not be that plan */
            continue;
        json_t *moves = json_array();
        for (size_t k = 0; k < body->n_moves; k++)
            json_array_append_new(
                moves, json_pack("{s:s, s:s}", "vm", body->moves[k].uuid, "to", body->moves[k].to));
        json_array_append_new(list,
                              json_pack("{s:s, s:o}", "policy", body->policy, "moves", moves));
    }
    return list;
}

/* What people gave. Each was read as JSON before it came in. */
static void add_rules(json_t *list, const struct state *state)
{
    Skein__Rule *const *rules;
    size_t n = state != NULL ? rulebook_rules(state_rulebook(state), &rules) : 0;
    for (size_t i = 0; i < n; i++) {
        json_t *rule = json_loadb((const char *)rules[i]->rule.data, rules[i]->rule.len, 0, NULL);
        if (rule != NULL)
            json_array_append_new(list, rule);
    }
}

/* And VMs whose last move failed stay for a while. The rules' names are what a refusal shows. */
static json_t *rules_list(const struct state *state, msec now)
{
    json_t *list = json_array();
    add_rules(list, state);
    struct setback *items = NULL;
    size_t n = state != NULL ? setbacks(state, now, &items) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct setback *b = &items[i];
        char until[TIME_TEXT_SIZE];
        time_format(b->until, until);
        _cleanup_(freep) char *name =
            xasprintf(SNAPSHOT_BACK_OFF "%.60s failed %u time%s, rests until %s", b->vm,
                      b->failures, b->failures == 1 ? "" : "s", until);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:[s]}", "name", name, "type",
                                              "keep", "enforcement", "must", "vms", b->uuid));
    }
    free(items);
    return list;
}

json_t *snapshot_make(const struct view *view, const struct state *state, const struct step *s,
                      uint64_t seed)
{
    const struct node_conf *conf = s->conf;
    char taken_at[TIME_TEXT_SIZE];
    time_format(moment_world(&s->now), taken_at);
    json_t *o = json_object();
    put_text(o, "schema", SNAPSHOT_SCHEMA);
    put_text(o, "cluster", conf->cluster);
    put_text(o, "taken_at", taken_at);
    put_number(o, "seed", true, seed & SEED_MASK);
    json_t *hosts = hosts_list(view, state, s), *vms = vms_list(view, state, &s->now);
    learn_put(state, &s->now, vms, hosts);
    json_object_set_new(o, "hosts", hosts);
    json_object_set_new(o, "vms", vms);
    json_object_set_new(o, "history", view_history(view, s->now));
    put_list(o, "rules", rules_list(state, s->now.wall));
    json_object_set_new(o, "in_flight", in_flight_list(state, hosts, vms));
    json_object_set_new(o, "decision_state", json_pack("{s:o}", "waiting", waiting_list(state)));
    if (json_array_size(conf->policy_params) > 0)
        json_object_set_new(o, "policies", json_deep_copy(conf->policy_params));
    json_object_set_new(o, "limits",
                        json_pack("{s:i, s:i, s:i, s:i}", "total", (int)conf->limit_total,
                                  "inflow_per_host", (int)conf->limit_inflow, "outflow_per_host",
                                  (int)conf->limit_outflow, "n_plus", 0));
    return o;
}
