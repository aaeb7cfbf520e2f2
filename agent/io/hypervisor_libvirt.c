/* hypervisor_libvirt.c - the connection, its events, its errors; look. */
#include "agent/io/hypervisor_libvirt.h"

#include <stdio.h>
#include <time.h>

#include "agent/io/clock.h"
#include "proto/log.h"

#define KEEPALIVE_INTERVAL 2 /* seconds; of a silent libvirtd we know after 2 * (3 + 1) */
#define KEEPALIVE_COUNT 3
#define OPEN_PATIENCE 3000 /* how long a call waits for another one's attempt to connect */
#define BACKOFF_MIN 250
#define BACKOFF_MAX 10000

/* ---- errors ---- */

static enum err_code code_of(int code)
{
    static const struct {
        int libvirt;
        enum err_code code;
    } codes[] = {
        {VIR_ERR_NO_DOMAIN, ERR_NOT_FOUND},
        {VIR_ERR_OPERATION_ABORTED, ERR_CANCELLED},
        {VIR_ERR_OPERATION_TIMEOUT, ERR_TIMEOUT},
        {VIR_ERR_CPU_INCOMPATIBLE, ERR_INCOMPATIBLE},
        {VIR_ERR_MIGRATE_UNSAFE, ERR_INCOMPATIBLE},
        {VIR_ERR_CONFIG_UNSUPPORTED, ERR_INCOMPATIBLE},
        {VIR_ERR_NO_SUPPORT, ERR_UNSUPPORTED},
        {VIR_ERR_OPERATION_UNSUPPORTED, ERR_UNSUPPORTED},
        {VIR_ERR_ARGUMENT_UNSUPPORTED, ERR_UNSUPPORTED},
        {VIR_ERR_AUTH_FAILED, ERR_DENIED},
        {VIR_ERR_AUTH_CANCELLED, ERR_DENIED},
        {VIR_ERR_AUTH_UNAVAILABLE, ERR_DENIED},
        {VIR_ERR_ACCESS_DENIED, ERR_DENIED},
        {VIR_ERR_OPERATION_DENIED, ERR_DENIED},
        {VIR_ERR_NO_MEMORY, ERR_NO_MEMORY},
        {VIR_ERR_GNUTLS_ERROR, ERR_TLS},
        {VIR_ERR_RPC, ERR_UNAVAILABLE},
        {VIR_ERR_NO_CONNECT, ERR_UNAVAILABLE},
        {VIR_ERR_INVALID_CONN, ERR_UNAVAILABLE},
        {VIR_ERR_RESOURCE_BUSY, ERR_CONFLICT},
        {VIR_ERR_OPERATION_INVALID, ERR_CONFLICT},
        {VIR_ERR_DOM_EXIST, ERR_EXISTS},
    };

    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        if (codes[i].libvirt == code)
            return codes[i].code;
    return ERR_HYPERVISOR;
}

int libvirt_error(struct err *err, const char *fmt, ...)
{
    char doing[256];
    const virError *e = virGetLastError();
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(doing, sizeof doing, fmt, ap);
    va_end(ap);
    if (e == NULL || e->code == VIR_ERR_OK)
        return err_set(err, ERR_HYPERVISOR, "%s: libvirt failed without saying why", doing);
    return err_set(err, code_of(e->code), "%s: %s (libvirt error %d)", doing,
                   e->message != NULL ? e->message : "no message", e->code);
}

static void keep_quiet(void *arg, virErrorPtr error)
{
    (void)arg;
    (void)error; /* each failing call reports its own */
}

/* ---- libvirt's event loop ---- */

static void *event_main(void *arg)
{
    (void)arg;
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    return NULL;
}

static void event_start(void)
{
    pthread_t thread;
    virSetErrorFunc(NULL, keep_quiet);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        log_fatal("libvirt cannot be initialized");
    if (pthread_create(&thread, NULL, event_main, NULL) != 0)
        log_fatal("cannot start libvirt's event thread");
    pthread_detach(thread);
}

/* ---- lifetime ---- */

static void lv_unref(void *arg)
{
    struct libvirt *lv = arg;
    pthread_mutex_lock(&lv->lock);
    bool last = --lv->refs == 0;
    pthread_mutex_unlock(&lv->lock);
    if (!last)
        return;
    sensors_close(lv->sensors);
    observer_unref(lv->observer);
    pthread_cond_destroy(&lv->cond);
    pthread_mutex_destroy(&lv->lock);
    free(lv->uri);
    free(lv->peer_uri);
    free(lv);
}

static void lv_ref(struct libvirt *lv)
{
    pthread_mutex_lock(&lv->lock);
    lv->refs++;
    pthread_mutex_unlock(&lv->lock);
}

/* The hook only posts, so it may run under the lock; that is what lets watch() promise that none
 * runs after it. */
static void tell_changed(struct libvirt *lv)
{
    pthread_mutex_lock(&lv->lock);
    if (lv->changed != NULL)
        lv->changed(lv->changed_arg);
    pthread_mutex_unlock(&lv->lock);
}

static void lv_watch(struct hypervisor *hv, hypervisor_changed changed, void *arg)
{
    struct libvirt *lv = (struct libvirt *)hv;
    pthread_mutex_lock(&lv->lock);
    lv->changed = changed;
    lv->changed_arg = arg;
    pthread_mutex_unlock(&lv->lock);
}

static void lv_reset(struct hypervisor *hv)
{
    struct libvirt *lv = (struct libvirt *)hv;
    pthread_mutex_lock(&lv->lock);
    lv->generation++;
    struct observer *old = observer_is_busy(lv->observer) ? lv->observer : NULL;
    if (old != NULL)
        lv->observer = observer_new();
    pthread_mutex_unlock(&lv->lock);
    if (old != NULL)
        observer_unref(old);
}

/* ---- events ---- */

static void domain_changed(struct libvirt *lv, virDomainPtr dom)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (virDomainGetUUIDString(dom, uuid) == 0)
        libvirt_forget(lv, uuid);
    tell_changed(lv);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
    (void)conn;
    (void)event;
    (void)detail;
    domain_changed(arg, dom);
    return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri, void *arg)
{
    (void)conn;
    (void)type;
    (void)uri;
    domain_changed(arg, dom);
}

static void on_device(virConnectPtr conn, virDomainPtr dom, const char *device, void *arg)
{
    (void)conn;
    (void)device;
    domain_changed(arg, dom);
}

static void on_block_job(virConnectPtr conn, virDomainPtr dom, const char *disk, int type,
                         int status, void *arg)
{
    (void)conn;
    (void)disk;
    (void)type;
    (void)status;
    domain_changed(arg, dom);
}

static void on_disk(virConnectPtr conn, virDomainPtr dom, const char *before, const char *after,
                    const char *device, int reason, void *arg)
{
    (void)conn;
    (void)before;
    (void)after;
    (void)device;
    (void)reason;
    domain_changed(arg, dom);
}

static void on_job_completed(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params,
                             int n, void *arg)
{
    struct libvirt *lv = arg;
    char uuid[VIR_UUID_STRING_BUFLEN];
    unsigned long long downtime = 0, bytes = 0, elapsed = 0;
    (void)conn;
    if (virDomainGetUUIDString(dom, uuid) < 0)
        return;
    virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_DOWNTIME, &downtime);
    virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_DATA_PROCESSED, &bytes);
    virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_TIME_ELAPSED, &elapsed);
    pthread_mutex_lock(&lv->lock);
    for (struct libvirt_move *m = lv->moves; m != NULL; m = m->next) {
        if (strcmp(m->uuid, uuid) != 0)
            continue;
        m->completed = true;
        m->stats.downtime_ms = (uint32_t)MIN(downtime, UINT32_MAX);
        m->stats.transferred_mib = bytes >> 20;
        m->stats.elapsed_ms = elapsed;
    }
    pthread_cond_broadcast(&lv->cond);
    pthread_mutex_unlock(&lv->lock);
}

static void on_closed(virConnectPtr conn, int reason, void *arg)
{
    struct libvirt *lv = arg;
    (void)conn;
    (void)reason;
    pthread_mutex_lock(&lv->lock);
    lv->generation++; /* the others have lost the same libvirtd; the next call connects anew */
    pthread_mutex_unlock(&lv->lock);
    tell_changed(lv);
}

/* ---- the connection ---- */

static void events_register(struct libvirt *lv, virConnectPtr conn, int ids[LIBVIRT_EVENTS])
{
    static const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
    } events[] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
        {VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job)},
        {VIR_DOMAIN_EVENT_ID_DISK_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_disk)},
        {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed)},
    };

    for (size_t i = 0; i < LIBVIRT_EVENTS; i++)
        ids[i] = -1;
    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        lv_ref(lv);
        ids[i] = virConnectDomainEventRegisterAny(conn, NULL, events[i].id, events[i].callback, lv,
                                                  lv_unref);
        if (ids[i] < 0) /* some drivers lack some; polling sees the change later */
            lv_unref(lv);
    }
    /* Without a reference: some drivers accept it and never free it. None runs any more once it is
     * unregistered. */
    virConnectRegisterCloseCallback(conn, on_closed, lv, NULL);
}

static void events_drop(virConnectPtr conn, const int ids[LIBVIRT_EVENTS])
{
    if (conn == NULL)
        return;
    for (size_t i = 0; i < LIBVIRT_EVENTS; i++)
        if (ids[i] >= 0)
            virConnectDomainEventDeregisterAny(conn, ids[i]);
    virConnectUnregisterCloseCallback(conn, on_closed);
    virConnectClose(conn);
}

static virConnectPtr connect_to(const struct libvirt *lv, struct err *err)
{
    virConnectPtr conn = virConnectOpen(lv->uri);
    if (conn != NULL)
        return conn;
    libvirt_error(err, "connecting to %s", lv->uri);
    if (err->code == ERR_HYPERVISOR || err->code == ERR_UNSUPPORTED)
        err->code = ERR_UNAVAILABLE; /* it is not there: mostly a plain system error */
    return NULL;
}

/* Only the thread that opens comes here, with nothing locked. */
static int events_connect(struct libvirt *lv, struct err *err)
{
    int ids[LIBVIRT_EVENTS], old_ids[LIBVIRT_EVENTS];
    pthread_mutex_lock(&lv->lock);
    bool good = lv->events != NULL && virConnectIsAlive(lv->events) == 1;
    pthread_mutex_unlock(&lv->lock);
    if (good)
        return 0;
    virConnectPtr conn = connect_to(lv, err);
    if (conn == NULL)
        return -(int)err->code;
    events_register(lv, conn, ids);
    virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT);
    libvirt_forget(lv, NULL);
    pthread_mutex_lock(&lv->lock);
    virConnectPtr old = lv->events;
    memcpy(old_ids, lv->event_ids, sizeof old_ids);
    lv->events = conn;
    memcpy(lv->event_ids, ids, sizeof ids);
    pthread_mutex_unlock(&lv->lock);
    events_drop(old, old_ids);
    return 0;
}

/* Locked on entry and exit. */
static int call_connect(struct libvirt *lv, struct libvirt_call *ret, struct err *err)
{
    lv->opening = true;
    ret->generation = lv->generation;
    pthread_mutex_unlock(&lv->lock);
    int rc = events_connect(lv, err);
    if (rc == 0) {
        ret->conn = connect_to(lv, err);
        rc = ret->conn != NULL ? 0 : -(int)err->code;
    }
    pthread_mutex_lock(&lv->lock);
    lv->opening = false;
    if (rc == 0) {
        lv->failures = 0;
    } else {
        msec pause = (msec)BACKOFF_MIN << MIN(lv->failures, 6u);
        lv->failures++;
        lv->retry_at = clock_mono() + MIN(pause, (msec)BACKOFF_MAX);
        lv->last_open = *err;
    }
    pthread_cond_broadcast(&lv->cond);
    return rc;
}

static bool idle_is_good(const struct libvirt *lv, size_t i)
{
    return lv->idle_generation[i] == lv->generation && virConnectIsAlive(lv->idle[i]) == 1;
}

/* Locked. */
static virConnectPtr idle_take(struct libvirt *lv)
{
    for (size_t i = 0; i < LIBVIRT_IDLE; i++)
        if (lv->idle[i] != NULL && idle_is_good(lv, i))
            return TAKE_PTR(lv->idle[i]);
    return NULL;
}

/* Closes those that are not to be used again; only when libvirtd just answered, as closing asks it.
 */
static void idle_clean(struct libvirt *lv)
{
    for (size_t i = 0; i < LIBVIRT_IDLE; i++) {
        virConnectPtr conn = NULL;
        pthread_mutex_lock(&lv->lock);
        if (lv->idle[i] != NULL && !idle_is_good(lv, i))
            conn = TAKE_PTR(lv->idle[i]);
        pthread_mutex_unlock(&lv->lock);
        if (conn != NULL)
            virConnectClose(conn);
    }
}

/* Locked. False when the patience is over. */
static bool wait_until(struct libvirt *lv, msec end)
{
    struct timespec ts = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};
    return pthread_cond_timedwait(&lv->cond, &lv->lock, &ts) == 0;
}

/* Locked. */
static int call_open(struct libvirt *lv, struct libvirt_call *ret, struct err *err)
{
    msec end = clock_mono() + OPEN_PATIENCE;
    while (lv->opening)
        if (!wait_until(lv, end))
            return err_set(err, ERR_UNAVAILABLE, "libvirt at %s does not answer", lv->uri);
    if (lv->failures > 0 && clock_mono() < lv->retry_at) {
        *err = lv->last_open;
        return -(int)err->code;
    }
    return call_connect(lv, ret, err);
}

int libvirt_begin(struct libvirt *lv, struct libvirt_call *ret, struct err *err)
{
    struct libvirt_call call = {.lv = lv};
    int rc = 0;
    pthread_mutex_lock(&lv->lock);
    call.generation = lv->generation;
    call.conn = idle_take(lv);
    bool fresh = call.conn == NULL;
    if (fresh)
        rc = call_open(lv, &call, err);
    pthread_mutex_unlock(&lv->lock);
    if (rc < 0)
        return rc;
    if (fresh)
        idle_clean(lv);
    *ret = call;
    return 0;
}

void libvirt_end(struct libvirt_call *call)
{
    struct libvirt *lv = call->lv;
    virConnectPtr conn = TAKE_PTR(call->conn);
    if (conn == NULL)
        return;
    bool good = virConnectIsAlive(conn) == 1;
    pthread_mutex_lock(&lv->lock);
    good = good && call->generation == lv->generation;
    for (size_t i = 0; i < LIBVIRT_IDLE && good && conn != NULL; i++) {
        if (lv->idle[i] != NULL)
            continue;
        lv->idle_generation[i] = call->generation;
        lv->idle[i] = TAKE_PTR(conn);
    }
    pthread_mutex_unlock(&lv->lock);
    if (conn != NULL)
        virConnectClose(conn);
}

/* ---- open, close ---- */

static int lv_open(const struct hypervisor_conf *conf, const char *uri, struct hypervisor **ret,
                   struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *peer = conf->peer_uri != NULL ? conf->peer_uri : "qemu+tls://HOST/system";
    if (strstr(uri, ":/") == NULL)
        return err_set(err, ERR_INVALID, "hypervisor: \"%s\" is not a libvirt URI like \"%s\"", uri,
                       "qemu:///system");
    if (strstr(peer, "HOST") == NULL)
        return err_set(err, ERR_INVALID, "hypervisor: \"%s\" lacks HOST", peer);
    pthread_once(&once, event_start);
    struct libvirt *lv = xcalloc(1, sizeof *lv);
    lv->base.ops = &hypervisor_libvirt_ops;
    lv->uri = xstrdup(uri);
    lv->peer_uri = xstrdup(peer);
    lv->unlocked_disks = conf->unlocked_disks;
    lv->sensors = conf->sensors;
    lv->observer = observer_new();
    lv->refs = 1;
    pthread_mutex_init(&lv->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lv->cond, &attr);
    pthread_condattr_destroy(&attr);
    *ret = &lv->base;
    return 0;
}

static void lv_close(struct hypervisor *hv)
{
    struct libvirt *lv = (struct libvirt *)hv;
    pthread_mutex_lock(&lv->lock);
    virConnectPtr events = TAKE_PTR(lv->events), idle[LIBVIRT_IDLE];
    memcpy(idle, lv->idle, sizeof idle);
    memset(lv->idle, 0, sizeof lv->idle);
    lv->changed = NULL;
    pthread_mutex_unlock(&lv->lock);
    events_drop(events, lv->event_ids);
    for (size_t i = 0; i < LIBVIRT_IDLE; i++)
        if (idle[i] != NULL)
            virConnectClose(idle[i]);
    lv_unref(lv);
}

/* ---- look ---- */

int libvirt_domain(virConnectPtr conn, const char *uuid, virDomainPtr *ret, struct err *err)
{
    *ret = virDomainLookupByUUIDString(conn, uuid);
    return *ret != NULL ? 0 : libvirt_error(err, "VM %s", uuid);
}

bool libvirt_maybe_incoming(int state, int reason)
{
    return state == VIR_DOMAIN_PAUSED &&
           (reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_STARTING_UP);
}

Skein__VmState libvirt_vm_state(int state, int reason, bool incoming)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN: /* on its way down, but its processor runs */
        return SKEIN__VM_STATE__VM_RUNNING;
    case VIR_DOMAIN_SHUTOFF:
        return SKEIN__VM_STATE__VM_STOPPED;
    case VIR_DOMAIN_CRASHED:
        return SKEIN__VM_STATE__VM_CRASHED;
    default:
        return incoming && libvirt_maybe_incoming(state, reason) ? SKEIN__VM_STATE__VM_INCOMING
                                                                 : SKEIN__VM_STATE__VM_PAUSED;
    }
}

static const char *reason_text(int state, int reason)
{
    static const struct {
        int state, reason;
        const char *text;
    } texts[] = {
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, "booted"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATED, "migrated"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_RESTORED, "restored"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_FROM_SNAPSHOT, "from snapshot"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, "unpaused"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, "migration cancelled"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_SAVE_CANCELED, "save cancelled"},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY, HV_REASON_POSTCOPY},
        {VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY_FAILED, HV_REASON_POSTCOPY_FAILED},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, "user"},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION, HV_REASON_MIGRATING},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SAVE, "saving"},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR, "input or output failed"},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP, "starting up"},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY, HV_REASON_POSTCOPY},
        {VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_POSTCOPY_FAILED, HV_REASON_POSTCOPY_FAILED},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN, "shut down"},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED, "destroyed"},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED, "crashed"},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_MIGRATED, "migrated"},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SAVED, "saved"},
        {VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED, "failed to start"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].state == state && texts[i].reason == reason)
            return texts[i].text;
    return "";
}

/* Of a migration libvirt gives statistics on the source only; the destination's refusal is what
 * tells it from the source. *ret_age: for how long it has run, in ms; 0: not known. */
static bool job_of(virDomainPtr dom, bool *ret_incoming, msec *ret_age)
{
    int type = VIR_DOMAIN_JOB_NONE, n = 0;
    unsigned long long elapsed = 0;
    virTypedParameterPtr params = NULL;
    *ret_incoming = false;
    *ret_age = 0;
    if (virDomainGetJobStats(dom, &type, &params, &n, 0) < 0) {
        int code = virGetLastErrorCode();
        *ret_incoming = code == VIR_ERR_OPERATION_UNSUPPORTED || code == VIR_ERR_OPERATION_INVALID;
        return *ret_incoming;
    }
    int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    if (virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_TIME_ELAPSED, &elapsed) > 0)
        *ret_age = (msec)MIN(elapsed, (unsigned long long)INT64_MAX);
    virTypedParamsFree(params, n);
    *ret_incoming = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN;
    return type != VIR_DOMAIN_JOB_NONE;
}

int libvirt_seen(virDomainPtr dom, struct hv_seen *ret, struct err *err)
{
    struct hv_seen seen = {.present = true};
    int state, reason;
    bool incoming = false;
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return libvirt_error(err, "the VM's state");
    int persistent = virDomainIsPersistent(dom);
    if (persistent < 0)
        return libvirt_error(err, "whether the VM is persistent");
    if (state != VIR_DOMAIN_SHUTOFF)
        seen.job = job_of(dom, &incoming, &seen.job_ms);
    seen.persistent = persistent != 0;
    int autostart = 0;
    if (persistent != 0 && virDomainGetAutostart(dom, &autostart) == 0)
        seen.autostart = autostart != 0;
    seen.state = libvirt_vm_state(state, reason, incoming);
    snprintf(seen.reason, sizeof seen.reason, "%s", reason_text(state, reason));
    *ret = seen;
    return 0;
}

const struct hypervisor_ops hypervisor_libvirt_ops = {
    .scheme = "libvirt",
    .open = lv_open,
    .close = lv_close,
    .watch = lv_watch,
    .reset = lv_reset,
    .observe = libvirt_observe,
    .look = libvirt_look,
    .look_remote = libvirt_look_remote,
    .precheck = libvirt_precheck,
    .examine = libvirt_examine,
    .baseline = libvirt_baseline,
    .admit = libvirt_admit,
    .migrate = libvirt_migrate,
    .progress = libvirt_progress,
    .tune = libvirt_tune,
    .postcopy = libvirt_postcopy,
    .abort = libvirt_abort,
    .tidy = libvirt_tidy,
    .resume = libvirt_resume,
    .discard = libvirt_discard,
    .shutdown = libvirt_shutdown,
    .suspend = libvirt_suspend,
    .autostart = libvirt_autostart,
};
