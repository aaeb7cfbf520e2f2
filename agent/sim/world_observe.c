/* world_observe.c - what a host's hypervisor says: of the host, of a guest, of a move to come. */
#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"
#include "proto/codec.h"
#include "proto/hash.h"

/* ---- observe ---- */

static int by_uuid(const void *a, const void *b)
{
    return strcmp((*(Skein__VmDetail *const *)a)->uuid, (*(Skein__VmDetail *const *)b)->uuid);
}

static Skein__VmDetail *observe_domain(const struct domain *d)
{
    const struct guest *g = d->guest;
    Skein__VmDetail *vm = (Skein__VmDetail *)codec_copy(&g->detail->base);
    bool runs = d->state == SKEIN__VM_STATE__VM_RUNNING, active = domain_active(d);
    vm->has_state = vm->has_persistent = 1;
    vm->state = d->state;
    vm->persistent = d->persistent;
    vm->has_cpu_used_millicores = runs;
    vm->cpu_used_millicores = runs ? (uint32_t)lround(g->used * 1000) : 0;
    vm->has_memory_used_mib = active;
    vm->memory_used_mib = active ? (uint64_t)g->used_mib : 0;
    vm->has_dirty_milli_mib_s = vm->has_wset_mib = runs;
    vm->dirty_milli_mib_s = runs ? (uint32_t)(g->dirty_mib_s * 1000) : 0;
    vm->wset_mib = runs ? (uint64_t)g->wset_mib : 0;
    vm->has_last_move_ms = g->last_move > 0;
    vm->last_move_ms = vm->has_last_move_ms ? (uint64_t)g->last_move : 0;
    return vm;
}

static int32_t shown(double now, double held)
{
    double celsius = MIN(MAX(celsius_shown(now, held), -1e6), 1e6);
    return (int32_t)lround(celsius * 1000);
}

/* Pressure as the kernel tells it: the share of time in which some task had to wait. */
static uint32_t pressure(double wanted, double had)
{
    return wanted > had ? (uint32_t)lround((wanted - had) / wanted * 100000) : 0;
}

static Skein__HostSummary *observe_host(const struct host *h)
{
    Skein__HostSummary *s = xmalloc(sizeof *s);
    double used_mib = h->reserved_mib;
    uint32_t vms = 0;
    skein__host_summary__init(s);
    for (size_t i = 0; i < h->n_domains; i++) {
        if (!domain_active(h->domains[i]))
            continue;
        vms++;
        used_mib += h->domains[i]->guest->used_mib;
    }
    s->has_cores = s->has_used_millicores = s->has_memory_total_mib = s->has_memory_used_mib = 1;
    s->has_pressure_cpu_milli = s->has_pressure_memory_milli = s->has_pressure_io_milli = 1;
    s->has_inlet_millicelsius = s->has_inlet_max_millicelsius = s->has_cpu_millicelsius = 1;
    s->has_cpu_max_millicelsius = s->has_power_milliwatts = s->has_vms = s->has_hypervisor_ok = 1;
    s->cores = (uint32_t)h->cores;
    s->used_millicores = (uint32_t)lround(h->used * 1000);
    s->memory_total_mib = (uint64_t)h->memory_mib;
    s->memory_used_mib = (uint64_t)MIN(used_mib, h->memory_mib);
    s->pressure_cpu_milli = pressure(h->demand, h->cores);
    s->pressure_memory_milli = pressure(used_mib, h->memory_mib);
    s->inlet_millicelsius = shown(h->inlet, h->inlet_held);
    s->inlet_max_millicelsius = shown(h->inlet_max, NAN);
    s->cpu_millicelsius = shown(h->cpu, h->cpu_held);
    s->cpu_max_millicelsius = shown(h->cpu_max, NAN);
    s->power_milliwatts = (uint32_t)lround(h->watts * 1000);
    s->vms = vms;
    s->hypervisor_ok = 1;
    return s;
}

/* Of pages in use by guests the pools know nothing else: what is taken is not free. */
static void take_pages(const struct host *h, Skein__HostCapability *c)
{
    for (size_t i = 0; i < h->n_domains; i++) {
        const Skein__VmDetail *vm = h->domains[i]->guest->detail;
        if (!vm->has_hugepages_kib || vm->hugepages_kib == 0 || !h->domains[i]->arrived ||
            !domain_active(h->domains[i]))
            continue;
        for (size_t k = 0; k < c->n_hugepages; k++) {
            Skein__HugePages *p = c->hugepages[k];
            uint64_t pages = (vm->memory_mib << 10) / vm->hugepages_kib;
            if (p->size_kib == vm->hugepages_kib)
                p->free -= MIN(p->free, pages);
        }
    }
}

static Skein__HostCapability *observe_capability(const struct host *h)
{
    Skein__HostCapability *c = (Skein__HostCapability *)codec_copy(&h->capability->base);
    for (size_t i = 0; i < c->n_tags; i++)
        skein__tag__free_unpacked(c->tags[i], NULL);
    free(TAKE_PTR(c->tags));
    c->n_tags = 0; /* these, the place and the name are the configuration's */
    free(TAKE_PTR(c->failure_domain));
    free(TAKE_PTR(c->host));
    for (size_t i = 0; i < c->n_storage && h->disk_full; i++)
        c->storage[i]->free_mib = 0;
    take_pages(h, c);
    return c;
}

Skein__HostDetail *world_observe(const struct world *w, size_t host)
{
    const struct host *h = w->hosts[host];
    Skein__HostDetail *detail = xmalloc(sizeof *detail);
    skein__host_detail__init(detail);
    detail->summary = observe_host(h);
    detail->capability = observe_capability(h);
    detail->vms = xcalloc(h->n_domains, sizeof *detail->vms);
    while (detail->n_vms < h->n_domains) {
        detail->vms[detail->n_vms] = observe_domain(h->domains[detail->n_vms]);
        detail->n_vms++;
    }
    if (detail->n_vms > 1)
        qsort(detail->vms, detail->n_vms, sizeof *detail->vms, by_uuid);
    return detail;
}

/* ---- look, pre-check ---- */

void world_look(const struct world *w, size_t host, const char *uuid, struct hv_seen *ret)
{
    const struct domain *d = domain_find(w->hosts[host], uuid);
    *ret = (struct hv_seen){0};
    if (d == NULL)
        return;
    ret->present = true;
    ret->state = d->state;
    ret->persistent = d->persistent;
    ret->job = d->job != NULL;
    ret->job_ms = d->job != NULL ? MAX(w->now - d->job->began, (msec)1) : 0;
    snprintf(ret->reason, sizeof ret->reason, "%s", d->reason);
}

static int check_leaving(const struct domain *d, const struct hv_move *move, struct err *err)
{
    const Skein__VmDetail *vm = d->guest->detail;
    bool runs = d->state == SKEIN__VM_STATE__VM_RUNNING;
    if (d->job != NULL)
        return err_set(err, ERR_CONFLICT, "VM \"%s\": another job runs on it", vm->name);
    if (!runs && !(d->state == SKEIN__VM_STATE__VM_STOPPED && d->persistent))
        return err_set(err, ERR_CONFLICT, "VM \"%s\" is not running (%s)", vm->name, d->reason);
    for (size_t i = 0; i < vm->n_devices; i++)
        if (!vm->devices[i]->migratable)
            return err_set(err, ERR_INCOMPATIBLE,
                           "VM \"%s\" holds a device that cannot be migrated", vm->name);
    if (vm->n_blockers > 0)
        return err_set(err, ERR_INCOMPATIBLE, "VM \"%s\" cannot be migrated: %s", vm->name,
                       vm->blockers[0]);
    if (vm->local_disk_mib > 0 && move->how.storage == MIGRATE_STORAGE_NONE)
        return err_set(err, ERR_INCOMPATIBLE, "a disk of VM \"%s\" is on this host only", vm->name);
    return 0;
}

int world_precheck(const struct world *w, size_t host, const struct hv_move *move, struct err *err)
{
    size_t at;
    const struct host *h = w->hosts[host];
    const struct domain *d = domain_find(h, move->uuid);
    if (world_find_host(w, move->to, &at, err) < 0)
        return -(int)err->code;
    if (at == host)
        return err_set(err, ERR_INVALID, "VM %s is on %s already", move->uuid, h->name);
    if (d == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s is not on %s", move->uuid, h->name);
    if (check_leaving(d, move, err) < 0)
        return -(int)err->code;
    const struct host *to = w->hosts[at];
    if (!host_runs(to) || to->unlinked || h->unlinked)
        return err_set(err, ERR_UNAVAILABLE, "%s does not answer %s", to->name, h->name);
    return 0;
}

/* ---- admit ---- */

static bool has(char *const *items, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

static int admit_places(const struct host *h, const Skein__VmDetail *vm, struct err *err)
{
    const Skein__HostCapability *c = h->capability;
    for (size_t i = 0; i < vm->n_storage; i++) {
        bool found = false;
        for (size_t k = 0; k < c->n_storage && !found; k++)
            found = strcmp(c->storage[k]->name, vm->storage[i]) == 0;
        if (!found)
            return err_set(err, ERR_INCOMPATIBLE, "storage \"%s\" is not active here",
                           vm->storage[i]);
    }
    for (size_t i = 0; i < vm->n_networks; i++)
        if (!has(c->networks, c->n_networks, vm->networks[i]))
            return err_set(err, ERR_INCOMPATIBLE, "network \"%s\" is not active here",
                           vm->networks[i]);
    return 0;
}

static int admit_processor(const struct host *h, const Skein__VmDetail *vm, struct err *err)
{
    const Skein__HostCapability *c = h->capability;
    bool named = vm->cpu_model != NULL && strcmp(vm->cpu_model, "host-passthrough") != 0 &&
                 strcmp(vm->cpu_model, "host-model") != 0;
    if (vm->machine != NULL && !has(c->machines, c->n_machines, vm->machine))
        return err_set(err, ERR_INCOMPATIBLE, "machine type %s is not known here", vm->machine);
    if (named && !has(c->usable_models, c->n_usable_models, vm->cpu_model) &&
        (c->cpu_model == NULL || strcmp(c->cpu_model, vm->cpu_model) != 0))
        return err_set(err, ERR_INCOMPATIBLE, "this host's processor cannot run CPU model %s",
                       vm->cpu_model);
    return 0;
}

static int admit_identity(const struct host *h, const struct hv_move *move, const char *name,
                          struct err *err)
{
    const struct domain *d = domain_find(h, move->uuid);
    if (d != NULL && domain_active(d))
        return err_set(err, ERR_EXISTS, "VM \"%s\" is active here already (%s)", name, d->reason);
    for (size_t i = 0; i < h->n_domains; i++)
        if (h->domains[i] != d && strcmp(h->domains[i]->guest->detail->name, name) == 0)
            return err_set(err, ERR_EXISTS, "another VM here is called \"%s\"", name);
    return 0;
}

int world_admit(const struct world *w, size_t host, const struct hv_move *move,
                const Skein__VmDetail *vm, struct err *err)
{
    const struct host *h = w->hosts[host];
    const char *name = vm->name != NULL ? vm->name : move->vm;
    if (!vm->has_memory_mib)
        return err_set(err, ERR_INVALID, "how much memory VM \"%s\" needs is not known", name);
    if (admit_identity(h, move, name, err) < 0 || admit_processor(h, vm, err) < 0 ||
        admit_places(h, vm, err) < 0)
        return -(int)err->code;
    double free_mib = host_memory_available(h);
    if (free_mib < (double)vm->memory_mib)
        return err_set(err, ERR_CAPACITY, "VM \"%s\" needs %llu MiB, %.0f MiB are available", name,
                       (unsigned long long)vm->memory_mib, free_mib);
    if (h->disk_full)
        return err_set(err, ERR_CAPACITY, "the disk of %s is full", h->name);
    return 0;
}

/* ---- tidy ---- */

int world_tidy(struct world *w, size_t host, const char *uuid, struct err *err)
{
    struct domain *d = domain_find(w->hosts[host], uuid);
    if (d == NULL) /* tidy already */
        return 0;
    if (domain_active(d) || d->job != NULL)
        return err_set(err, ERR_CONFLICT, "VM %s is active here (%s): its definition stays", uuid,
                       d->reason);
    domain_give_up(w, d);
    return 0;
}
