/* revoker.h - revocations for this host's hypervisor: libvirtd and QEMU know nothing of the mesh,
 * and believe every certificate of the machines' root until they have a list.
 *
 * A newer list is written where both read it, libvirtd reads its files again, and its live sessions
 * of hosts that the list newly names end. Until libvirtd has done so it is tried again: what it has
 * is remembered in the state directory, over restarts. The work blocks, and is done in a thread of
 * its own; QEMU, and libvirtd as a client, read the list anew for each connection. */
#ifndef SKEIN_AGENT_IO_REVOKER_H
#define SKEIN_AGENT_IO_REVOKER_H

#include <uv.h>

#include "proto/err.h"
#include "proto/units.h"
#include "tls/revoked.h"

/* All strings are copied. */
struct revoker_conf {
    uv_loop_t *loop;
    const char *state_dir;
    const char *libvirt_crl, *qemu_crl; /* where to; "", or in no folder that exists: not at all */
    msec retry_after;                   /* 0: 5 s */
    void *arg;
    /* On the loop: this list holds now (NULL: nothing was new), and how many sessions were ended;
     * or err says why it does not yet, and it will be tried again. */
    void (*done)(void *arg, const struct revoked *revoked, unsigned ended, const struct err *err);
    /* In the thread; NULL: libvirtd's administration. libvirtd reads its files again, and ends
     * the sessions of those whom revoked names. */
    int (*reload)(const struct revoked *revoked, unsigned *ret_ended, struct err *err);
};

struct revoker; /* opaque; used on the loop thread only */

struct revoker *revoker_open(const struct revoker_conf *conf);
/* The list that holds from now on; root and crls as in revoked_since. Copied. */
void revoker_take(struct revoker *r, const char *root, const char *crls);
/* Nothing is called any more; a thread that hangs is left behind. Run the loop afterwards. */
void revoker_close(struct revoker *r);

/* revoker_conf's reload, by libvirt-admin (hypervisor_libvirt_admin.c). */
int revoker_reload_libvirt(const struct revoked *revoked, unsigned *ret_ended, struct err *err);
/* That needs a process of its own: this program again, which must call this first in main. */
void revoker_main_if_asked(int argc, char **argv);

#endif
