/* renewer.h - this host's certificates are renewed in time (agent/core/renew.h), from the issuers
 * of its configuration in turn, with the keys that it has. The work blocks, and is done in a thread
 * of its own; libvirtd is told to read its files again, QEMU reads its own for each connection. */
#ifndef SKEIN_AGENT_IO_RENEWER_H
#define SKEIN_AGENT_IO_RENEWER_H

#include <uv.h>

#include "agent/io/config.h"
#include "proto/err.h"
#include "tls/renew.h"

/* Everything is borrowed. */
struct renewer_conf {
    uv_loop_t *loop;
    const struct config *config;
    void *arg;
    /* On the loop: new ones are in the files (ERR_OK), or why not; it will be tried again. */
    void (*done)(void *arg, const struct err *err);
    msec (*wall)(void);                                     /* NULL: the clock */
    int (*renew)(const struct renewal *r, struct err *err); /* in the thread; NULL: tls/renew.h */
    int (*reload)(struct err *err); /* in the thread; NULL: libvirtd, where it has certificates */
};

struct renewer; /* opaque; used on the loop thread only */

/* ERR_INVALID: tls.directory is no folder "skein", beside which the others are. */
int renewer_open(const struct renewer_conf *conf, struct renewer **ret, struct err *err);
/* Nothing is called any more; a thread that hangs is left behind. Run the loop afterwards. */
void renewer_close(struct renewer *r);

#endif
