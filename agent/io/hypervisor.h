/* hypervisor.h - what carries out agent/core/hv.h on this host.
 *
 * One vtable, an implementation a scheme: "libvirt:URI", "sim:SOCKET"; they register in
 * hypervisor.c.
 * Every operation blocks and runs in a worker (agent/io/jobs.h), several at once, so
 * implementations are thread-safe; only hypervisor_close() must not run beside another call. A call
 * that hangs must not keep the others: no lock is held across a call that leaves the process.
 *
 * What the hypervisor answers is outside input: implementations bound and validate it. Errors are
 * one line each with the hypervisor's own code; ERR_UNAVAILABLE when it does not answer at all. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_H
#define SKEIN_AGENT_IO_HYPERVISOR_H

#include "agent/core/hv.h"
#include "agent/io/firewall.h"
#include "agent/io/hooks.h"
#include "agent/io/power_driver.h"
#include "agent/io/sensors.h"
#include "proto/err.h"
#include "proto/units.h"

/* All strings are copied. */
struct hypervisor_conf {
    const char *uri;      /* the configuration's value: "libvirt:qemu:///system" */
    const char *host;     /* this host's name: which of a simulated world's it is */
    const char *peer_uri; /* how to reach another host's hypervisor, HOST in it is replaced by its
                           * name; NULL: "qemu+tls://HOST/system" */
    bool unlocked_disks;  /* an admin's exception: VMs may leave though no lock guards their disks
                           * against a second running copy */
    const char *hooks;    /* folder of the gate rules' hooks; NULL: HOOKS_DIRECTORY */
    const char *firewall_ports; /* to be closed to all but reserved sources; NULL: no firewall */
    struct sensors *sensors;    /* temperatures; taken, also on failure; NULL: none known */
    struct power_driver
        *power; /* how it sleeps and wakes others; taken likewise; NULL: it does not */
};

struct hypervisor; /* begins with its ops */

/* Something about a VM or the connection changed: observe soon. Called from any thread; must only
 * post. Calls may come in bursts. */
typedef void (*hypervisor_changed)(void *arg);

struct hypervisor_ops {
    const char *scheme;
    int (*open)(const struct hypervisor_conf *conf, const char *rest, struct hypervisor **ret,
                struct err *err);
    void (*close)(struct hypervisor *hv);
    /* Call changed from now on; NULL: no more, and none is running when this returns. */
    void (*watch)(struct hypervisor *hv, hypervisor_changed changed, void *arg);
    /* A call hung: use fresh connections from now on. Never blocks. */
    void (*reset)(struct hypervisor *hv);
    /* summary (observed_at, cores, used, memory, pressure, temperature, vms, hypervisor_ok),
     * capability (what the hypervisor and the hardware have) and vms, sorted by UUID. What only the
     * configuration or the mesh knows (host, incarnation, tags, addresses, state...) is absent.
     * *ret_clock is left alone where the wall clock is the world's. */
    int (*observe)(struct hypervisor *hv, Skein__HostDetail **ret, struct hv_clock *ret_clock,
                   struct err *err);
    int (*look)(struct hypervisor *hv, const char *uuid, struct hv_seen *ret, struct err *err);
    int (*look_remote)(struct hypervisor *hv, const struct hv_move *move, struct hv_seen *ret,
                       struct err *err);
    int (*precheck)(struct hypervisor *hv, const struct hv_move *move, struct err *err);
    /* Adds what is in the way; fails only where it cannot look. */
    int (*examine)(struct hypervisor *hv, const struct hv_move *move, struct hv_findings *ret,
                   struct err *err);
    /* What the VM is like, to be compared after a move; NULL: this hypervisor does not say. */
    int (*baseline)(struct hypervisor *hv, const char *uuid, struct baseline *ret, struct err *err);
    int (*admit)(struct hypervisor *hv, const struct hv_move *move, const Skein__VmDetail *vm,
                 struct err *err);
    /* ret is filled as far as it is known, also on failure. */
    int (*migrate)(struct hypervisor *hv, const struct hv_move *move, struct hv_stats *ret,
                   struct err *err);
    int (*progress)(struct hypervisor *hv, const char *uuid, struct hv_progress *ret,
                    struct err *err);
    int (*tune)(struct hypervisor *hv, const struct hv_move *move, struct err *err);
    int (*postcopy)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*abort)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*tidy)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*resume)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*shutdown)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*suspend)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*autostart)(struct hypervisor *hv, const char *uuid, struct err *err);
    int (*discard)(struct hypervisor *hv, const char *uuid, struct err *err);
};

struct hypervisor {
    const struct hypervisor_ops *ops;
    struct power_driver *power; /* owned; hypervisor.c's */
    char host[HV_NAME_MAX];
    struct firewall *firewall; /* owned by hypervisor.c; NULL: none */
    char *hooks;               /* likewise: the folder of the gate rules' hooks; never NULL */
};

/* Checks the URI and prepares; a hypervisor that does not answer yet is no error (calls say so).
 * Unknown schemes: ERR_INVALID naming those that exist. */
int hypervisor_open(const struct hypervisor_conf *conf, struct hypervisor **ret, struct err *err);
void hypervisor_close(struct hypervisor *hv); /* NULL is fine */

/* What forbids a move; what is only to be known. evidence is formatted; beyond HV_FINDINGS_MAX
 * nothing is added. */
void finding_add(struct hv_findings *f, const char *code, const char *remedy, const char *evidence,
                 ...) __attribute__((format(printf, 4, 5)));
void finding_advise(struct hv_findings *f, const char *code, const char *remedy,
                    const char *evidence, ...) __attribute__((format(printf, 4, 5)));

/* Carry out one job; blocks. Fills all of *ret (job, kind and err included). */
void hypervisor_call(struct hypervisor *hv, const struct hv_job *job, struct hv_result *ret);

#endif
