/* hypervisor_libvirt.h - what the files of the libvirt implementation share.
 *
 * Each call has a connection of its own while it lasts; idle ones are kept for the next. They are
 * never shared: in libvirt before 10.3 a second thread that calls on a connection where one waits
 * leaves an event source behind that points into the first one's dead stack (CVE-2024-4418; seen as
 * a crash here, with libvirtd stopped). For the same reason they have no keepalive, which is sent
 * by another thread: a call on a libvirtd that hangs hangs with it, and agent/io/jobs.c gives it
 * up. One more connection brings the events; no call is made on it, and its keepalive tells us of a
 * libvirtd that hangs.
 *
 * One thread at a time opens connections, as that may hang too; others wait a little for it.
 * lv->lock guards the fields named below it and is never held across a call that leaves the
 * process. libvirt's event loop runs in one thread for the whole process, for ever. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "agent/io/hypervisor.h"
#include "proto/util.h"

extern const struct hypervisor_ops hypervisor_libvirt_ops;

#define LIBVIRT_EVENTS 8
#define LIBVIRT_TLS_PORT "16514"
#define LIBVIRT_IDLE 4   /* connections kept for the next calls */
#define LIBVIRT_LOOKS 16 /* connections to other hosts at once */

struct observer; /* hypervisor_libvirt_observe.c: what is kept from one observation to the next */

/* A migration that this process carries out. On the stack of its thread, listed in lv->moves. */
struct libvirt_move {
    struct libvirt_move *next;
    const char *uuid;
    bool cancelled;        /* asked for; the migration may not have begun */
    bool completed;        /* libvirt told the job's end: */
    struct hv_stats stats; /* as it said */
};

struct libvirt {
    struct hypervisor base;
    char *uri, *peer_uri;
    bool unlocked_disks;
    struct sensors *sensors;

    pthread_mutex_t lock;
    pthread_cond_t cond; /* a connection attempt or a migration's job ended */
    unsigned refs;       /* the owner's and one for each registered callback */
    struct observer *observer;
    unsigned generation; /* of connections: older ones are not used again */
    virConnectPtr idle[LIBVIRT_IDLE];
    unsigned idle_generation[LIBVIRT_IDLE];
    virConnectPtr events; /* NULL: none */
    int event_ids[LIBVIRT_EVENTS];
    bool opening;
    unsigned failures;
    msec retry_at;        /* monotonic; not before */
    struct err last_open; /* why it failed */
    hypervisor_changed changed;
    void *changed_arg;
    struct libvirt_move *moves;
    char *looking[LIBVIRT_LOOKS]; /* keys of the connections to other hosts */
};

bool libvirt_is_local(const struct libvirt *lv); /* it manages this very machine */

/* A connection for one call. */
struct libvirt_call {
    struct libvirt *lv;
    virConnectPtr conn; /* NULL: none */
    unsigned generation;
};

/* Waits a little while another thread connects. ERR_UNAVAILABLE, ERR_TLS, ERR_DENIED. */
int libvirt_begin(struct libvirt *lv, struct libvirt_call *ret, struct err *err);
void libvirt_end(struct libvirt_call *call);

/* libvirt's last error of this thread as one line: "DOING: MESSAGE (libvirt error CODE)". */
int libvirt_error(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The domain, or ERR_NOT_FOUND. */
int libvirt_domain(virConnectPtr conn, const char *uuid, virDomainPtr *ret, struct err *err);

/* What libvirt knows of this domain's state; asks for the job only where it matters. */
int libvirt_seen(virDomainPtr dom, struct hv_seen *ret, struct err *err);

/* One VM on this connection; absent is an answer. */
int libvirt_look_on(virConnectPtr conn, const char *uuid, struct hv_seen *ret, struct err *err);
/* Names and addresses become parts of URIs; also: characters that may stand in it beside the
 * ordinary ones. */
int libvirt_check_name(const char *what, const char *name, const char *also, struct err *err);
/* ERR_UNAVAILABLE when libvirtd there accepts no connection within 3 s. */
int libvirt_check_reachable(const struct libvirt *lv, const char *host, struct err *err);

/* A connection to another host's libvirt. */
struct libvirt_peer {
    struct libvirt *lv; /* NULL: none */
    size_t slot;
    virConnectPtr conn;
};

enum libvirt_peer_use {
    LIBVIRT_PEER_LOOK, /* reads only */
    LIBVIRT_PEER_ASK,  /* asks what libvirt answers only to those who may change things */
};

/* Of equal keys only one is open at a time: a libvirtd that hangs there holds one thread here. */
int libvirt_peer_begin(struct libvirt *lv, const char *host, const char *key,
                       enum libvirt_peer_use use, struct libvirt_peer *ret, struct err *err);
void libvirt_peer_end(struct libvirt_peer *peer);

/* Adds all that only both hosts together can say: what runs on the VM's disks, and what the other
 * host lacks of its needs. Fails where the other one cannot be asked. */
int libvirt_compare(struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                    const struct hv_move *move, struct hv_findings *f, struct err *err);

/* A domain's state and reason in our words. incoming decides between the two ends of a migration.
 */
Skein__VmState libvirt_vm_state(int state, int reason, bool incoming);
bool libvirt_maybe_incoming(int state, int reason);

/* Events, from libvirt's event thread (hypervisor_libvirt_observe.c). NULL: forget everything. */
void libvirt_forget(struct libvirt *lv, const char *uuid);

struct observer *observer_new(void);
void observer_unref(struct observer *o);
bool observer_is_busy(struct observer *o);

int libvirt_observe(struct hypervisor *hv, Skein__HostDetail **ret, struct hv_clock *ret_clock,
                    struct err *err);
int libvirt_look(struct hypervisor *hv, const char *uuid, struct hv_seen *ret, struct err *err);
int libvirt_look_remote(struct hypervisor *hv, const struct hv_move *move, struct hv_seen *ret,
                        struct err *err);
int libvirt_precheck(struct hypervisor *hv, const struct hv_move *move, struct err *err);
int libvirt_examine(struct hypervisor *hv, const struct hv_move *move, struct hv_findings *ret,
                    struct err *err);
int libvirt_baseline(struct hypervisor *hv, const char *uuid, struct baseline *ret,
                     struct err *err);
int libvirt_admit(struct hypervisor *hv, const struct hv_move *move, const Skein__VmDetail *vm,
                  struct err *err);
int libvirt_migrate(struct hypervisor *hv, const struct hv_move *move, struct hv_stats *ret,
                    struct err *err);
int libvirt_progress(struct hypervisor *hv, const char *uuid, struct hv_progress *ret,
                     struct err *err);
int libvirt_tune(struct hypervisor *hv, const struct hv_move *move, struct err *err);
int libvirt_postcopy(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_abort(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_tidy(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_resume(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_shutdown(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_suspend(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_autostart(struct hypervisor *hv, const char *uuid, struct err *err);
int libvirt_discard(struct hypervisor *hv, const char *uuid, struct err *err);

/* Targets of the disks that a move copies. */
struct libvirt_disks {
    char **targets;
    size_t n;
};

/* Those that the move names, else all that are on this host only and are written; libvirt itself
 * would copy disks on shared storage onto themselves. ERR_INVALID: one named is not such a disk. */
int libvirt_copied_disks(virConnectPtr conn, virDomainPtr dom, const struct hv_move *move,
                         struct libvirt_disks *ret, struct err *err);
void libvirt_disks_done(struct libvirt_disks *d);

/* ---- cleanup ---- */

static inline void libvirt_connp(virConnectPtr *p)
{
    if (*p != NULL)
        virConnectClose(*p);
}

static inline void libvirt_domp(virDomainPtr *p)
{
    if (*p != NULL)
        virDomainFree(*p);
}

#define _cleanup_conn_ _cleanup_(libvirt_connp)
#define _cleanup_call_ _cleanup_(libvirt_end)
#define _cleanup_dom_ _cleanup_(libvirt_domp)

#endif
