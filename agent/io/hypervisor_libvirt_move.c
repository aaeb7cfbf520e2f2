/* hypervisor_libvirt_move.c - what a move consists of: look, migrate, tune, abort, tidy, repair.
 * What is checked before it: hypervisor_libvirt_check.c. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_host.h"
#include "proto/codec.h"
#include "proto/log.h"

#define CONNECT_PATIENCE 3000    /* of a look at another host, until its libvirtd accepts */
#define COMPLETED_PATIENCE 500   /* for libvirt's event with a migration's figures */
#define ABORT_PATIENCE 5000      /* for a migration that was told to start but has not begun */
#define ABORT_INTERVAL 100000000 /* ns */

/* ---- look ---- */

int libvirt_look_on(virConnectPtr conn, const char *uuid, struct hv_seen *ret, struct err *err)
{
    _cleanup_dom_ virDomainPtr dom = NULL;
    *ret = (struct hv_seen){0};
    int rc = libvirt_domain(conn, uuid, &dom, err);
    if (rc == 0)
        rc = libvirt_seen(dom, ret, err);
    if (rc == -(int)ERR_NOT_FOUND) { /* which is an answer */
        *err = (struct err){0};
        rc = 0;
    }
    return rc;
}

int libvirt_look(struct hypervisor *hv, const char *uuid, struct hv_seen *ret, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    int rc = libvirt_begin((struct libvirt *)hv, &call, err);
    return rc < 0 ? rc : libvirt_look_on(call.conn, uuid, ret, err);
}

/* Names and addresses become parts of URIs. */
int libvirt_check_name(const char *what, const char *name, const char *also, struct err *err)
{
    bool valid = *name != '\0' && *name != '-';
    for (const char *c = name; valid && *c != '\0'; c++)
        valid = isalnum((unsigned char)*c) || strchr(".-_", *c) != NULL || strchr(also, *c) != NULL;
    if (!valid)
        return err_set(err, ERR_INVALID, "%s \"%.64s\" is not valid", what, name);
    return 0;
}

static char *peer_uri(const struct libvirt *lv, const char *host)
{
    const char *at = strstr(lv->peer_uri, "HOST");
    return xasprintf("%.*s%s%s", (int)(at - lv->peer_uri), lv->peer_uri, host, at + 4);
}

static int connect_error(const char *host, const char *why, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "libvirt at %s does not answer: %s", host, why);
}

static int try_connect(const struct addrinfo *a, const char *host, struct err *err)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), status = 0;
    socklen_t len = sizeof status;
    if (fd < 0)
        return connect_error(host, strerror(errno), err);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
        status = errno;
    else if (poll(&p, 1, CONNECT_PATIENCE) == 0)
        status = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &status, &len);
    close(fd);
    return status == 0 ? 0 : connect_error(host, strerror(status), err);
}

/* libvirt itself would wait for minutes for a host that is switched off, here and, when it
 * migrates, in libvirtd, where nothing can be aborted before it is connected. */
int libvirt_check_reachable(const struct libvirt *lv, const char *host, struct err *err)
{
    if (strncmp(lv->peer_uri, "qemu+tls://HOST/", 16) != 0)
        return 0; /* another port or transport: unknown to us */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(host, LIBVIRT_TLS_PORT, &hints, &list);
    if (rc != 0)
        return connect_error(host, gai_strerror(rc), err);
    rc = try_connect(list, host, err);
    freeaddrinfo(list);
    return rc;
}

static int peer_reserve(struct libvirt *lv, const char *host, const char *key, size_t *ret_slot,
                        struct err *err)
{
    size_t slot = LIBVIRT_LOOKS;
    bool twice = false;
    pthread_mutex_lock(&lv->lock);
    for (size_t i = 0; i < LIBVIRT_LOOKS; i++) {
        if (lv->looking[i] == NULL)
            slot = i;
        else
            twice = twice || strcmp(lv->looking[i], key) == 0;
    }
    if (!twice && slot < LIBVIRT_LOOKS)
        lv->looking[slot] = xstrdup(key);
    pthread_mutex_unlock(&lv->lock);
    *ret_slot = slot;
    if (twice)
        return err_set(err, ERR_UNAVAILABLE, "an earlier look at %s still waits for its libvirt",
                       host);
    return slot < LIBVIRT_LOOKS ? 0 : err_set(err, ERR_LIMIT, "too many looks at other hosts");
}

int libvirt_peer_begin(struct libvirt *lv, const char *host, const char *key,
                       enum libvirt_peer_use use, struct libvirt_peer *ret, struct err *err)
{
    _cleanup_(libvirt_peer_end) struct libvirt_peer peer = {0};
    _cleanup_(freep) char *uri = peer_uri(lv, host);
    if (peer_reserve(lv, host, key, &peer.slot, err) < 0)
        return -(int)err->code;
    peer.lv = lv;
    if (libvirt_check_reachable(lv, host, err) < 0)
        return -(int)err->code;
    peer.conn = use == LIBVIRT_PEER_LOOK ? virConnectOpenReadOnly(uri) : virConnectOpen(uri);
    if (peer.conn == NULL)
        return libvirt_error(err, "connecting to %s", uri);
    virConnectSetKeepAlive(peer.conn, 2, 3);
    *ret = peer;
    peer.lv = NULL;
    return 0;
}

void libvirt_peer_end(struct libvirt_peer *peer)
{
    struct libvirt *lv = TAKE_PTR(peer->lv);
    if (lv == NULL)
        return;
    if (peer->conn != NULL)
        virConnectClose(peer->conn);
    pthread_mutex_lock(&lv->lock);
    free(TAKE_PTR(lv->looking[peer->slot]));
    pthread_mutex_unlock(&lv->lock);
}

int libvirt_look_remote(struct hypervisor *hv, const struct hv_move *move, struct hv_seen *ret,
                        struct err *err)
{
    _cleanup_(libvirt_peer_end) struct libvirt_peer peer = {0};
    if (libvirt_check_name("host", move->to, "", err) < 0 ||
        libvirt_peer_begin((struct libvirt *)hv, move->to, move->to, LIBVIRT_PEER_LOOK, &peer,
                           err) < 0)
        return -(int)err->code;
    return libvirt_look_on(peer.conn, move->uuid, ret, err);
}

/* ---- migrate ---- */

struct params {
    virTypedParameterPtr items;
    int n, max;
};

static void params_done(struct params *p)
{
    virTypedParamsFree(p->items, p->n);
}

static int migrate_params(const struct hv_move *move, const struct libvirt_disks *disks,
                          struct params *p, struct err *err)
{
    int rc = 0;
    if (move->migration_address[0] != '\0') {
        bool six = strchr(move->migration_address, ':') != NULL;
        _cleanup_(freep) char *uri =
            xasprintf(six ? "tcp://[%s]" : "tcp://%s", move->migration_address);
        rc |= virTypedParamsAddString(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_URI, uri);
        /* the address is not what the certificate is made out for */
        rc |= virTypedParamsAddString(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_TLS_DESTINATION,
                                      move->to);
    }
    if (move->bandwidth_mib_s > 0)
        rc |= virTypedParamsAddULLong(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_BANDWIDTH,
                                      move->bandwidth_mib_s);
    if (move->bandwidth_mib_s > 0 && migrate_is_postcopy(move->how.mode))
        rc |= virTypedParamsAddULLong(&p->items, &p->n, &p->max,
                                      VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, move->bandwidth_mib_s);
    if (move->how.parallel > 1)
        rc |=
            virTypedParamsAddInt(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
                                 (int)MIN(move->how.parallel, 255u));
    if (move->how.xbzrle)
        rc |= virTypedParamsAddString(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_COMPRESSION,
                                      "xbzrle");
    for (size_t i = 0; i < disks->n; i++)
        rc |= virTypedParamsAddString(&p->items, &p->n, &p->max, VIR_MIGRATE_PARAM_MIGRATE_DISKS,
                                      disks->targets[i]);
    return rc < 0 ? libvirt_error(err, "the migration's parameters") : 0;
}

static unsigned storage_flag(enum migrate_storage storage)
{
    return storage == MIGRATE_STORAGE_ALL           ? VIR_MIGRATE_NON_SHARED_DISK
           : storage == MIGRATE_STORAGE_INCREMENTAL ? VIR_MIGRATE_NON_SHARED_INC
                                                    : 0;
}

static unsigned migrate_flags(const struct hv_move *move, bool running)
{
    unsigned flags = VIR_MIGRATE_PEER2PEER;
    if (move->persistent || !running)
        flags |= VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;
    if (!running)
        return flags | VIR_MIGRATE_OFFLINE; /* no memory, no connection between the QEMUs */
    flags |= VIR_MIGRATE_LIVE | VIR_MIGRATE_TLS | VIR_MIGRATE_ABORT_ON_ERROR;
    if (move->how.auto_converge)
        flags |= VIR_MIGRATE_AUTO_CONVERGE;
    if (move->how.parallel > 1)
        flags |= VIR_MIGRATE_PARALLEL;
    if (move->how.xbzrle)
        flags |= VIR_MIGRATE_COMPRESSED;
    if (migrate_is_postcopy(move->how.mode))
        flags |= VIR_MIGRATE_POSTCOPY;
    if (move->recover)
        flags |= VIR_MIGRATE_POSTCOPY_RESUME;
    return flags | storage_flag(move->how.storage);
}

static int move_begin(struct libvirt *lv, struct libvirt_move *self, struct err *err)
{
    bool twice = false;
    pthread_mutex_lock(&lv->lock);
    for (const struct libvirt_move *m = lv->moves; m != NULL; m = m->next)
        twice = twice || strcmp(m->uuid, self->uuid) == 0;
    if (!twice) {
        self->next = lv->moves;
        lv->moves = self;
    }
    pthread_mutex_unlock(&lv->lock);
    return twice ? err_set(err, ERR_CONFLICT, "a migration of VM %s runs already", self->uuid) : 0;
}

/* Waits a little for the figures of a migration that ended well. */
static void move_end(struct libvirt *lv, struct libvirt_move *self, bool well)
{
    msec end = clock_mono() + COMPLETED_PATIENCE;
    struct timespec until = {.tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000};
    pthread_mutex_lock(&lv->lock);
    while (well && !self->completed &&
           pthread_cond_timedwait(&lv->cond, &lv->lock, &until) != ETIMEDOUT)
        ;
    struct libvirt_move **at = &lv->moves;
    while (*at != self)
        at = &(*at)->next;
    *at = self->next;
    pthread_cond_broadcast(&lv->cond);
    pthread_mutex_unlock(&lv->lock);
}

static bool move_cancelled(struct libvirt *lv, const struct libvirt_move *self)
{
    pthread_mutex_lock(&lv->lock);
    bool cancelled = self->cancelled;
    pthread_mutex_unlock(&lv->lock);
    return cancelled;
}

static bool in_postcopy(virDomainPtr dom)
{
    int state, reason;
    return virDomainGetState(dom, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           (reason == VIR_DOMAIN_PAUSED_POSTCOPY || reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED);
}

/* An abort of ours shows as whatever it broke first: "canceled by client", or a channel that QEMU
 * had closed. Breaking a post-copy's connection is no end. */
static int migrate_failed(struct libvirt *lv, virDomainPtr dom, const struct hv_move *move,
                          const struct libvirt_move *self, struct err *err)
{
    libvirt_error(err, "migrating VM \"%s\" to %s", move->vm, move->to);
    if (err->code == ERR_HYPERVISOR && move_cancelled(lv, self) && !in_postcopy(dom))
        err->code = ERR_CANCELLED;
    return -(int)err->code;
}

static int migrate(struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                   const struct hv_move *move, const struct libvirt_move *self, struct err *err)
{
    int state, reason;
    struct params params __attribute__((cleanup(params_done))) = {0};
    struct libvirt_disks disks __attribute__((cleanup(libvirt_disks_done))) = {0};
    _cleanup_(freep) char *uri = peer_uri(lv, move->to);
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return libvirt_error(err, "VM \"%s\"", move->vm);
    bool running = state != VIR_DOMAIN_SHUTOFF;
    if (libvirt_check_reachable(lv, move->to, err) < 0 ||
        libvirt_copied_disks(conn, dom, move, &disks, err) < 0 ||
        migrate_params(move, &disks, &params, err) < 0)
        return -(int)err->code;
    uint32_t pause = move->first_downtime_ms > 0 ? move->first_downtime_ms : move->downtime_ms;
    if (running && pause > 0 && !move->recover && virDomainMigrateSetMaxDowntime(dom, pause, 0) < 0)
        return libvirt_error(err, "the longest pause of VM \"%s\"", move->vm);
    if (move_cancelled(lv, self))
        return err_set(err, ERR_CANCELLED, "VM \"%s\": cancelled before the migration began",
                       move->vm);
    if (virDomainMigrateToURI3(dom, uri, params.items, (unsigned)params.n,
                               migrate_flags(move, running)) < 0)
        return migrate_failed(lv, dom, move, self, err);
    return 0;
}

int libvirt_migrate(struct hypervisor *hv, const struct hv_move *move, struct hv_stats *ret,
                    struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    struct libvirt_move self = {.uuid = move->uuid};
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_check_name("host", move->to, "", err) < 0 ||
        (move->migration_address[0] != '\0' &&
         libvirt_check_name("migration address", move->migration_address, ":", err) < 0) ||
        libvirt_begin(lv, &call, err) < 0 || libvirt_domain(call.conn, move->uuid, &dom, err) < 0 ||
        move_begin(lv, &self, err) < 0)
        return -(int)err->code;
    msec start = clock_mono();
    int rc = migrate(lv, call.conn, dom, move, &self, err);
    msec took = clock_mono() - start;
    move_end(lv, &self, rc == 0);
    *ret = self.stats;
    ret->elapsed_ms = (uint64_t)took;
    return rc;
}

/* ---- progress, abort, tidy ---- */

static uint64_t job_number(virTypedParameterPtr params, int n, const char *field)
{
    unsigned long long value = 0;
    return virTypedParamsGetULLong(params, n, field, &value) == 1 ? value : 0;
}

static uint32_t job_rate(uint64_t bytes_s)
{
    return (uint32_t)MIN((bytes_s * 125) >> 17, UINT32_MAX); /* thousandths of MiB/s */
}

int libvirt_progress(struct hypervisor *hv, const char *uuid, struct hv_progress *ret,
                     struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct params p __attribute__((cleanup(params_done))) = {0};
    int type = VIR_DOMAIN_JOB_NONE, state, reason;
    *ret = (struct hv_progress){0};
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        libvirt_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    if (virDomainGetJobStats(dom, &type, &p.items, &p.n, 0) < 0)
        return libvirt_error(err, "progress");
    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return libvirt_error(err, "the VM's state");
    ret->postcopy = state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_POSTCOPY;
    uint64_t page = job_number(p.items, p.n, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
    ret->running = type != VIR_DOMAIN_JOB_NONE;
    ret->total_mib = job_number(p.items, p.n, VIR_DOMAIN_JOB_DATA_TOTAL) >> 20;
    ret->remaining_mib = job_number(p.items, p.n, VIR_DOMAIN_JOB_DATA_REMAINING) >> 20;
    ret->transferred_mib = job_number(p.items, p.n, VIR_DOMAIN_JOB_DATA_PROCESSED) >> 20;
    ret->elapsed_ms = job_number(p.items, p.n, VIR_DOMAIN_JOB_TIME_ELAPSED);
    ret->dirty_milli_mib_s =
        job_rate(job_number(p.items, p.n, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE) * page);
    ret->bandwidth_milli_mib_s = job_rate(job_number(p.items, p.n, VIR_DOMAIN_JOB_MEMORY_BPS));
    ret->iteration =
        (uint32_t)MIN(job_number(p.items, p.n, VIR_DOMAIN_JOB_MEMORY_ITERATION), UINT32_MAX);
    return 0;
}

int libvirt_tune(struct hypervisor *hv, const struct hv_move *move, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        libvirt_domain(call.conn, move->uuid, &dom, err) < 0)
        return -(int)err->code;
    if (virDomainMigrateSetMaxDowntime(dom, move->first_downtime_ms, 0) < 0)
        return libvirt_error(err, "the longest pause of VM \"%s\"", move->vm);
    return 0;
}

int libvirt_postcopy(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        libvirt_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    return virDomainMigrateStartPostCopy(dom, 0) < 0
               ? libvirt_error(err, "switching VM %s to post-copy", uuid)
               : 0;
}

/* Marks our migration of this VM, if there is one, so that it does not begin any more. */
static bool move_cancel(struct libvirt *lv, const char *uuid)
{
    bool found = false;
    pthread_mutex_lock(&lv->lock);
    for (struct libvirt_move *m = lv->moves; m != NULL; m = m->next)
        if (strcmp(m->uuid, uuid) == 0)
            found = m->cancelled = true;
    pthread_mutex_unlock(&lv->lock);
    return found;
}

static unsigned abort_flags(virDomainPtr dom)
{
    int state, reason;
    return virDomainGetState(dom, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
                   reason == VIR_DOMAIN_PAUSED_POSTCOPY
               ? VIR_DOMAIN_ABORT_JOB_POSTCOPY
               : 0;
}

/* libvirt refuses to abort what has not begun; a migration of ours that is about to begin is waited
 * for. One of an earlier life of this agent is libvirt's alone: it runs or it does not. */
int libvirt_abort(struct hypervisor *hv, const char *uuid, struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    msec end = clock_mono() + ABORT_PATIENCE;
    if (libvirt_begin(lv, &call, err) < 0 || libvirt_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    for (;;) {
        bool ours = move_cancel(lv, uuid);
        if (virDomainAbortJobFlags(dom, abort_flags(dom)) == 0)
            return 0;
        libvirt_error(err, "aborting the migration of VM %s", uuid);
        if (!ours || err->code != ERR_CONFLICT || clock_mono() >= end)
            return -(int)err->code;
        nanosleep(&(struct timespec){.tv_nsec = ABORT_INTERVAL}, NULL);
    }
}

int libvirt_tidy(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct hv_seen seen;
    int rc = libvirt_begin((struct libvirt *)hv, &call, err);
    if (rc == 0)
        rc = libvirt_domain(call.conn, uuid, &dom, err);
    if (rc == -(int)ERR_NOT_FOUND) { /* tidy already */
        *err = (struct err){0};
        return 0;
    }
    if (rc < 0 || libvirt_seen(dom, &seen, err) < 0)
        return -(int)err->code;
    if (seen.state != SKEIN__VM_STATE__VM_STOPPED)
        return err_set(err, ERR_CONFLICT, "VM %s is active here (%s): its definition stays", uuid,
                       seen.reason);
    /* The variables' file and the TPM's state may be the ones that the VM now uses elsewhere. A
     * saved image or snapshots make libvirt refuse, rightly. */
    if (virDomainUndefineFlags(dom, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_TPM) <
        0)
        return libvirt_error(err, "removing the definition of VM %s", uuid);
    return 0;
}

/* ---- what an unfinished migration has left ---- */

/* The domain, if a migration left it paused and nothing works on it any more. */
static int halted_domain(virConnectPtr conn, const char *uuid, virDomainPtr *ret, struct err *err)
{
    struct hv_seen seen;
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_domain(conn, uuid, &dom, err) < 0 || libvirt_seen(dom, &seen, err) < 0)
        return -(int)err->code;
    if (seen.job || seen.state != SKEIN__VM_STATE__VM_PAUSED ||
        strcmp(seen.reason, HV_REASON_MIGRATING) != 0)
        return err_set(err, ERR_CONFLICT, "VM %s is not what a migration left paused (%s%s)", uuid,
                       seen.reason, seen.job ? ", with a job" : "");
    *ret = TAKE_PTR(dom);
    return 0;
}

int libvirt_resume(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        halted_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    return virDomainResume(dom) < 0 ? libvirt_error(err, "letting VM %s go on", uuid) : 0;
}

int libvirt_discard(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        halted_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    /* its definition is tidied when it was seen shut off */
    return virDomainDestroy(dom) < 0 ? libvirt_error(err, "removing paused VM %s", uuid) : 0;
}

int libvirt_autostart(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    struct hv_seen seen;
    if (libvirt_begin((struct libvirt *)hv, &call, err) < 0 ||
        libvirt_domain(call.conn, uuid, &dom, err) < 0 || libvirt_seen(dom, &seen, err) < 0)
        return -(int)err->code;
    if (seen.state == SKEIN__VM_STATE__VM_STOPPED)
        return err_set(err, ERR_NOT_FOUND, "VM %s is %s here", uuid, seen.reason);
    if (!seen.persistent)
        return err_set(err, ERR_CONFLICT, "VM %s is not here to stay yet (%s)", uuid, seen.reason);
    return virDomainSetAutostart(dom, 1) < 0
               ? libvirt_error(err, "letting VM %s start with its host", uuid)
               : 0;
}
