/* hypervisor_libvirt_observe.c - the host and its VMs.
 *
 * One call brings the numbers of all domains. What a domain's XML says is kept: it is fetched when
 * an event says that it changed, when the domain is another life of the VM, and now and then in
 * case an event was lost. One observation runs at a time; a second one waits a
 * little for it. One that hangs is given up together with its observer, and the next begins anew.
 */
#include <stdio.h>
#include <time.h>

#include "agent/io/clock.h"
#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_host.h"
#include "agent/io/probe.h"
#include "proto/codec.h"
#include "proto/hash.h"
#include "proto/log.h"

#define PATIENCE 3000            /* of an observation with one that runs already */
#define XML_ROUNDS 30            /* observations until a domain's XML is fetched again; spread */
#define RESOURCE_PERIOD 15000    /* pools and networks change rarely, and cost a call each */
#define CAPABILITY_PERIOD 600000 /* an upgrade of QEMU is found by then */
#define CPU_INTERVAL_MIN 500     /* shorter ones measure the scheduler's ticks */
#define DIRTY_MAX 256
#define CPU_AVERAGE_MS 10000 /* time constant of the average */
#define CPU_MILLICORES_MAX 1000000u

/* What is kept of a domain from one observation to the next. */
struct known {
    char uuid[UUID_SIZE];
    struct domain_xml xml; /* vm NULL: not fetched, or not to be understood */
    bool fetch;            /* the XML is out of date */
    unsigned id;           /* libvirt's number of this life; UINT_MAX while not running */
    bool was_running;      /* here: it cannot be incoming any more */
    bool autostart, persistent;
    unsigned snapshots;
    uint64_t round;     /* of the last observation that saw it */
    uint64_t xml_round; /* when its XML was fetched */
    uint64_t cpu_ns;
    msec cpu_at;            /* monotonic; 0: never */
    int64_t cpu_microcores; /* averaged */
    char warned[256];       /* the last warning about its metadata that was logged */
};

struct observer {
    pthread_mutex_t lock;
    pthread_cond_t ended; /* no longer busy */
    unsigned refs;
    bool busy, forget_all;
    char dirty[DIRTY_MAX][UUID_SIZE];
    size_t n_dirty;

    /* of the one observation that runs */
    struct known *vms; /* sorted by UUID */
    size_t n_vms, cap_vms;
    uint64_t round;
    Skein__HostCapability *capability; /* what stays */
    Skein__HostCapability *current;    /* and what does not */
    struct host_pools pools;
    msec capability_at, resources_at;
};

struct observer *observer_new(void)
{
    struct observer *o = xcalloc(1, sizeof *o);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&o->ended, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&o->lock, NULL);
    o->refs = 1;
    return o;
}

static void known_done(struct known *k)
{
    domain_xml_done(&k->xml);
}

static void capability_drop(Skein__HostCapability **p)
{
    if (*p != NULL)
        skein__host_capability__free_unpacked(TAKE_PTR(*p), NULL);
}

void observer_unref(struct observer *o)
{
    pthread_mutex_lock(&o->lock);
    bool last = --o->refs == 0;
    pthread_mutex_unlock(&o->lock);
    if (!last)
        return;
    for (size_t i = 0; i < o->n_vms; i++)
        known_done(&o->vms[i]);
    free(o->vms);
    capability_drop(&o->capability);
    capability_drop(&o->current);
    host_pools_done(&o->pools);
    pthread_cond_destroy(&o->ended);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

bool observer_is_busy(struct observer *o)
{
    pthread_mutex_lock(&o->lock);
    bool busy = o->busy;
    pthread_mutex_unlock(&o->lock);
    return busy;
}

static struct observer *observer_get(struct libvirt *lv)
{
    pthread_mutex_lock(&lv->lock);
    struct observer *o = lv->observer;
    pthread_mutex_lock(&o->lock);
    o->refs++;
    pthread_mutex_unlock(&o->lock);
    pthread_mutex_unlock(&lv->lock);
    return o;
}

void libvirt_forget(struct libvirt *lv, const char *uuid)
{
    struct observer *o = observer_get(lv);
    pthread_mutex_lock(&o->lock);
    if (uuid == NULL || o->n_dirty == DIRTY_MAX)
        o->forget_all = true;
    else
        memcpy(o->dirty[o->n_dirty++], uuid, UUID_SIZE);
    pthread_mutex_unlock(&o->lock);
    observer_unref(o);
}

/* ---- what is known of the domains ---- */

static struct known *known_find(struct observer *o, const char *uuid, bool add)
{
    size_t low = 0, high = o->n_vms;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(o->vms[mid].uuid, uuid);
        if (order == 0)
            return &o->vms[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (!add)
        return NULL;
    ARRAY_RESERVE(o->vms, o->cap_vms, o->n_vms + 1);
    memmove(&o->vms[low + 1], &o->vms[low], (o->n_vms - low) * sizeof *o->vms);
    o->n_vms++;
    o->vms[low] = (struct known){.fetch = true, .cpu_microcores = QUANTITY_UNKNOWN};
    memcpy(o->vms[low].uuid, uuid, UUID_SIZE);
    return &o->vms[low];
}

static void known_forget_absent(struct observer *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->n_vms; i++) {
        if (o->vms[i].round == o->round)
            o->vms[kept++] = o->vms[i];
        else
            known_done(&o->vms[i]);
    }
    o->n_vms = kept;
}

/* Locked. What events have said since the last time. */
static void take_news(struct observer *o)
{
    for (size_t i = 0; i < o->n_dirty; i++) {
        struct known *k = known_find(o, o->dirty[i], false);
        if (k != NULL)
            k->fetch = true;
    }
    for (size_t i = 0; i < o->n_vms && o->forget_all; i++)
        o->vms[i].fetch = true;
    if (o->forget_all) /* the daemon may be another one than before */
        o->capability_at = o->resources_at = 0;
    o->n_dirty = 0;
    o->forget_all = false;
}

/* False: another observation runs and does not end. */
static bool observer_begin(struct observer *o)
{
    msec end = clock_mono() + PATIENCE;
    struct timespec until = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};
    pthread_mutex_lock(&o->lock);
    while (o->busy && pthread_cond_timedwait(&o->ended, &o->lock, &until) == 0)
        ;
    bool mine = !o->busy;
    if (mine) {
        o->busy = true;
        o->round++;
        take_news(o);
    }
    pthread_mutex_unlock(&o->lock);
    return mine;
}

static void observer_end(struct observer *o)
{
    pthread_mutex_lock(&o->lock);
    o->busy = false;
    pthread_cond_signal(&o->ended);
    pthread_mutex_unlock(&o->lock);
}

/* ---- the host ---- */

static int refresh_host(struct observer *o, virConnectPtr conn, struct err *err)
{
    msec now = clock_mono();
    if (o->capability == NULL || o->capability_at == 0 ||
        now - o->capability_at >= CAPABILITY_PERIOD) {
        Skein__HostCapability *fresh;
        if (host_capability(conn, &fresh, err) < 0)
            return -(int)err->code;
        capability_drop(&o->capability);
        o->capability = fresh;
        o->capability_at = now;
        o->resources_at = 0;
    }
    if (o->current != NULL && o->resources_at != 0 && now - o->resources_at < RESOURCE_PERIOD)
        return 0;
    _cleanup_(capability_drop) Skein__HostCapability *cap =
        (Skein__HostCapability *)codec_copy(&o->capability->base);
    struct host_pools pools = {0};
    if (host_resources(conn, cap, &pools, err) < 0)
        return -(int)err->code;
    host_pools_done(&o->pools);
    o->pools = pools;
    capability_drop(&o->current);
    o->current = TAKE_PTR(cap);
    o->resources_at = now;
    return 0;
}

bool libvirt_is_local(const struct libvirt *lv)
{
    return strstr(lv->uri, ":///") != NULL && strncmp(lv->uri, "test:", 5) != 0;
}

static void fill_pressure(Skein__HostSummary *s)
{
    struct probe_pressure p;
    probe_pressure(&p);
    s->has_pressure_cpu_milli = p.cpu != QUANTITY_UNKNOWN;
    s->pressure_cpu_milli = s->has_pressure_cpu_milli ? (uint32_t)p.cpu : 0;
    s->has_pressure_memory_milli = p.memory != QUANTITY_UNKNOWN;
    s->pressure_memory_milli = s->has_pressure_memory_milli ? (uint32_t)p.memory : 0;
    s->has_pressure_io_milli = p.io != QUANTITY_UNKNOWN;
    s->pressure_io_milli = s->has_pressure_io_milli ? (uint32_t)p.io : 0;
}

static void fill_temperature(Skein__HostSummary *s, struct sensors *sensors)
{
    struct sensors_reading r;
    if (sensors == NULL)
        return;
    sensors_read(sensors, &r);

    const struct {
        milli value;
        protobuf_c_boolean *has;
        int32_t *at;
    } fields[] = {
        {r.inlet, &s->has_inlet_millicelsius, &s->inlet_millicelsius},
        {r.inlet_max, &s->has_inlet_max_millicelsius, &s->inlet_max_millicelsius},
        {r.outlet, &s->has_outlet_millicelsius, &s->outlet_millicelsius},
        {r.cpu, &s->has_cpu_millicelsius, &s->cpu_millicelsius},
        {r.cpu_max, &s->has_cpu_max_millicelsius, &s->cpu_max_millicelsius},
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        *fields[i].has = fields[i].value != QUANTITY_UNKNOWN;
        *fields[i].at = *fields[i].has ? (int32_t)fields[i].value : 0;
    }
}

static int fill_host(struct libvirt *lv, virConnectPtr conn, Skein__HostSummary *s, struct err *err)
{
    virNodeInfo node;
    struct host_memory memory;
    bool local = libvirt_is_local(lv);
    if (virNodeGetInfo(conn, &node) < 0)
        return libvirt_error(err, "the host's processors");
    if (host_memory(conn, local, &memory, err) < 0)
        return -(int)err->code;
    s->has_observed_at_ms = s->has_hypervisor_ok = 1;
    s->observed_at_ms = (uint64_t)clock_wall();
    s->hypervisor_ok = 1;
    s->has_cores = node.cpus > 0;
    s->cores = node.cpus;
    s->has_memory_total_mib = s->has_memory_used_mib = memory.total_mib > 0;
    s->memory_total_mib = memory.total_mib;
    s->memory_used_mib = memory.total_mib - memory.available_mib;
    if (local)
        fill_pressure(s);
    fill_temperature(s, lv->sensors);
    return 0;
}

/* ---- one domain ---- */

static void known_warn(struct known *k)
{
    if (strcmp(k->warned, k->xml.warning) != 0 && k->xml.warning[0] != '\0')
        log_warn("VM \"%s\": %s", k->xml.vm->name, k->xml.warning);
    memcpy(k->warned, k->xml.warning, sizeof k->warned);
}

/* Nothing of this asks QEMU, so a hanging one does not hang us. */
static void known_fetch(struct observer *o, struct known *k, virDomainPtr dom)
{
    struct err err = {0};
    struct domain_xml xml = {0};
    int autostart = 0, persistent = virDomainIsPersistent(dom);
    int snapshots = virDomainSnapshotNum(dom, 0);
    _cleanup_(freep) char *text = virDomainGetXMLDesc(dom, 0);
    if (text == NULL)
        return; /* it vanishes just now, or the next round will tell */
    if (persistent > 0)
        virDomainGetAutostart(dom, &autostart);
    if (domain_xml_parse(text, &xml, &err) < 0 && strcmp(k->warned, err.msg) != 0) {
        log_warn("VM %s: %s", k->uuid, err.msg);
        snprintf(k->warned, sizeof k->warned, "%s", err.msg);
    }
    domain_xml_done(&k->xml);
    k->xml = xml;
    k->persistent = persistent > 0;
    k->autostart = autostart != 0;
    k->snapshots = snapshots > 0 ? (unsigned)snapshots : 0;
    k->fetch = false;
    k->xml_round = o->round;
    if (k->xml.vm != NULL)
        known_warn(k);
}

static void known_refresh(struct observer *o, struct known *k, virDomainPtr dom, int state)
{
    unsigned id = virDomainGetID(dom);
    bool active = id != (unsigned)-1;
    uint64_t spread = (uint64_t)(unsigned char)k->uuid[0] % 8;
    if (id != k->id) {
        k->fetch = true;
        k->was_running = false;
        k->cpu_at = 0;
        k->cpu_microcores = QUANTITY_UNKNOWN;
        k->id = id;
    }
    if (k->fetch || o->round - k->xml_round >= XML_ROUNDS + spread)
        known_fetch(o, k, dom);
    if (active && state == VIR_DOMAIN_RUNNING)
        k->was_running = true;
}

/* An exponential average over time, so that what a guest happened to do in the last two seconds
 * does not decide which one is moved; the first interval counts as it is. */
static void known_cpu(struct known *k, uint64_t ns, msec now)
{
    msec interval = now - k->cpu_at;
    if (k->cpu_at != 0 && interval < CPU_INTERVAL_MIN)
        return;
    if (k->cpu_at != 0 && ns >= k->cpu_ns) {
        uint64_t spent = (ns - k->cpu_ns) / (uint64_t)interval; /* ns a ms: microcores */
        int64_t microcores = (int64_t)MIN(spent, CPU_MILLICORES_MAX * UINT64_C(1000));
        if (k->cpu_microcores == QUANTITY_UNKNOWN)
            k->cpu_microcores = microcores;
        else
            k->cpu_microcores +=
                (microcores - k->cpu_microcores) * interval / (interval + CPU_AVERAGE_MS);
    }
    k->cpu_ns = ns;
    k->cpu_at = now;
}

/* Only the destination refuses to speak of a migration's statistics; asked for a domain that never
 * ran here and is paused as one that arrives. */
static bool is_incoming(const struct known *k, virDomainPtr dom, int state, int reason)
{
    struct hv_seen seen;
    if (k->was_running || !libvirt_maybe_incoming(state, reason))
        return false;
    return libvirt_seen(dom, &seen, NULL) == 0 && seen.state == SKEIN__VM_STATE__VM_INCOMING;
}

static void fill_disks(const struct observer *o, const struct known *k, Skein__VmDetail *vm)
{
    uint64_t local = 0;
    for (size_t i = 0; i < k->xml.n_disks; i++) {
        char name[CODEC_NAME_MAX + 1];
        bool shared;
        const struct domain_disk *disk = &k->xml.disks[i];
        host_disk_place(&o->pools, disk, name, sizeof name, &shared);
        if (name[0] != '\0')
            strings_add(&vm->storage, &vm->n_storage, name);
        if (!shared)
            local += host_disk_mib(disk);
    }
    strings_sort(vm->storage, vm->n_storage);
    vm->has_local_disk_mib = 1;
    vm->local_disk_mib = local;
}

static void fill_numbers(const struct known *k, const virDomainStatsRecord *r, Skein__VmDetail *vm)
{
    unsigned vcpus;
    unsigned long long kib;
    long long dirty;
    if (virTypedParamsGetUInt(r->params, r->nparams, "vcpu.current", &vcpus) == 1 && vcpus > 0 &&
        vm->has_vcpus)
        vm->vcpus = vcpus;
    if (virTypedParamsGetULLong(r->params, r->nparams, "balloon.rss", &kib) == 1) {
        vm->has_memory_used_mib = 1;
        vm->memory_used_mib = kib >> 10;
    }
    if (virTypedParamsGetLLong(r->params, r->nparams, "dirtyrate.megabytes_per_second", &dirty) ==
            1 &&
        dirty >= 0 && dirty < UINT32_MAX / 1000) {
        vm->has_dirty_milli_mib_s = 1;
        vm->dirty_milli_mib_s = (uint32_t)dirty * 1000;
    }
    vm->has_cpu_used_millicores = k->cpu_microcores != QUANTITY_UNKNOWN;
    vm->cpu_used_millicores =
        vm->has_cpu_used_millicores ? (uint32_t)((k->cpu_microcores + 500) / 1000) : 0;
}

/* A definition that we cannot read still is a VM that is here. */
static Skein__VmDetail *detail_unreadable(const struct known *k, virDomainPtr dom)
{
    Skein__VmDetail *vm = xmalloc(sizeof *vm);
    skein__vm_detail__init(vm);
    const char *name = virDomainGetName(dom);
    bool usable = name != NULL && *name != '\0' && codec_text_ok(name, CODEC_NAME_MAX);
    vm->uuid = xstrdup(k->uuid);
    vm->name = xstrdup(usable ? name : k->uuid);
    strings_add(&vm->blockers, &vm->n_blockers, "its definition cannot be read");
    return vm;
}

static Skein__VmDetail *detail_make(struct observer *o, struct known *k,
                                    const virDomainStatsRecord *r, int state, int reason)
{
    Skein__VmDetail *vm;
    if (k->xml.vm != NULL)
        vm = (Skein__VmDetail *)codec_copy(&k->xml.vm->base);
    else
        vm = detail_unreadable(k, r->dom);
    vm->has_state = state != VIR_DOMAIN_NOSTATE;
    vm->has_persistent = vm->has_autostart = 1;
    vm->state = libvirt_vm_state(state, reason, is_incoming(k, r->dom, state, reason));
    vm->persistent = k->persistent;
    vm->autostart = k->autostart;
    if (k->snapshots > 0) {
        _cleanup_(freep) char *text = xasprintf("%u snapshots", k->snapshots);
        strings_add(&vm->blockers, &vm->n_blockers, text);
    }
    fill_disks(o, k, vm);
    fill_numbers(k, r, vm);
    return vm;
}

/* ---- all domains ---- */

static int get_stats(virConnectPtr conn, virDomainStatsRecordPtr **ret, struct err *err)
{
    unsigned groups = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL |
                      VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU | VIR_DOMAIN_STATS_DIRTYRATE;
    int n =
        virConnectGetAllDomainStats(conn, groups, ret, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0 && virGetLastErrorCode() == VIR_ERR_INVALID_ARG) /* drivers without NOWAIT */
        n = virConnectGetAllDomainStats(conn, groups, ret, 0);
    return n >= 0 ? n : libvirt_error(err, "the VMs' statistics");
}

static Skein__VmDetail *observe_domain(struct observer *o, const virDomainStatsRecord *r)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    unsigned long long ns;
    if (virDomainGetUUIDString(r->dom, uuid) < 0 || !uuid_is_valid(uuid))
        return NULL;
    virTypedParamsGetInt(r->params, r->nparams, "state.state", &state);
    virTypedParamsGetInt(r->params, r->nparams, "state.reason", &reason);
    struct known *k = known_find(o, uuid, true);
    k->round = o->round;
    known_refresh(o, k, r->dom, state);
    if (virTypedParamsGetULLong(r->params, r->nparams, "cpu.time", &ns) == 1)
        known_cpu(k, ns, clock_mono());
    return detail_make(o, k, r, state, reason);
}

static int compare_vms(const void *a, const void *b)
{
    return strcmp((*(Skein__VmDetail *const *)a)->uuid, (*(Skein__VmDetail *const *)b)->uuid);
}

/* What guests use is what is known of them; nothing while nothing is known of those that run. */
static void sum_up(Skein__HostDetail *detail)
{
    Skein__HostSummary *s = detail->summary;
    uint64_t used = 0;
    size_t active = 0, measured = 0;
    for (size_t i = 0; i < detail->n_vms; i++) {
        const Skein__VmDetail *vm = detail->vms[i];
        active += vm->state != SKEIN__VM_STATE__VM_STOPPED;
        measured += vm->has_cpu_used_millicores != 0;
        used += vm->has_cpu_used_millicores ? vm->cpu_used_millicores : 0;
    }
    s->has_vms = 1;
    s->vms = (uint32_t)active;
    s->has_used_millicores = measured > 0 || active == 0;
    s->used_millicores = s->has_used_millicores ? (uint32_t)MIN(used, UINT32_MAX) : 0;
}

static int observe_domains(struct observer *o, virConnectPtr conn, Skein__HostDetail *detail,
                           struct err *err)
{
    virDomainStatsRecordPtr *records = NULL;
    int n = get_stats(conn, &records, err);
    if (n < 0)
        return n;
    detail->vms = xcalloc((size_t)n, sizeof *detail->vms);
    for (int i = 0; i < n; i++) {
        Skein__VmDetail *vm = observe_domain(o, records[i]);
        if (vm != NULL)
            detail->vms[detail->n_vms++] = vm;
    }
    virDomainStatsRecordListFree(records);
    known_forget_absent(o);
    if (detail->n_vms > 1)
        qsort(detail->vms, detail->n_vms, sizeof *detail->vms, compare_vms);
    sum_up(detail);
    return 0;
}

static void detail_drop(Skein__HostDetail **p)
{
    if (*p != NULL)
        skein__host_detail__free_unpacked(TAKE_PTR(*p), NULL);
}

static int observe(struct libvirt *lv, struct observer *o, virConnectPtr conn,
                   Skein__HostDetail **ret, struct err *err)
{
    _cleanup_(detail_drop) Skein__HostDetail *detail = xmalloc(sizeof *detail);
    skein__host_detail__init(detail);
    detail->summary = xmalloc(sizeof *detail->summary);
    skein__host_summary__init(detail->summary);
    if (refresh_host(o, conn, err) < 0 || fill_host(lv, conn, detail->summary, err) < 0 ||
        observe_domains(o, conn, detail, err) < 0)
        return -(int)err->code;
    detail->capability = (Skein__HostCapability *)codec_copy(&o->current->base);
    *ret = TAKE_PTR(detail);
    return 0;
}

int libvirt_observe(struct hypervisor *hv, Skein__HostDetail **ret, struct hv_clock *ret_clock,
                    struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    _cleanup_call_ struct libvirt_call call = {0};
    (void)ret_clock;
    int rc = libvirt_begin(lv, &call, err);
    if (rc < 0)
        return rc;
    struct observer *o = observer_get(lv);
    if (observer_begin(o)) {
        rc = observe(lv, o, call.conn, ret, err);
        observer_end(o);
    } else {
        rc = err_set(err, ERR_UNAVAILABLE, "an earlier observation of the host still runs");
    }
    observer_unref(o);
    return rc;
}
