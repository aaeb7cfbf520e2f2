/* mesh.h - the TLS transport (tls/transport.h) on the agent's loop.
 * ZMQ_FD is edge-triggered and says little: before the loop sleeps the socket is asked again
 * (prepare), and an idle handle keeps the loop awake while there is more (check drains a budget).
 */
#ifndef SKEIN_AGENT_IO_MESH_H
#define SKEIN_AGENT_IO_MESH_H

#include <uv.h>

#include "agent/io/config.h"
#include "proto/err.h"
#include "tls/names.h"
#include "tls/transport.h"

struct mesh; /* opaque; belongs to the loop thread */

struct mesh_conf {
    uv_loop_t *loop;
    const struct config *config;
    const struct cluster *cluster;
    uint64_t incarnation, seed;
    void *arg;
    void (*on_up)(void *arg, const char *host);
    void (*on_down)(void *arg, const char *host, const char *reason);
    void (*on_frame)(void *arg, const char *host, const uint8_t *bytes, size_t len);
    void (*on_refused)(void *arg, const char *address, const struct err *err);
};

/* Binds. Which links there are is decided by the cores. */
int mesh_open(const struct mesh_conf *conf, struct mesh **ret, struct err *err);
/* Best effort: 0, or negative when it is known that it cannot arrive. */
int mesh_send(struct mesh *mesh, const char *host, const uint8_t *bytes, size_t len,
              struct err *err);
/* Likewise; without a link the frame waits for one for three seconds, as requests do. */
int mesh_send_soon(struct mesh *mesh, const char *host, const uint8_t *bytes, size_t len,
                   struct err *err);
int mesh_dial(struct mesh *mesh, const char *address, struct err *err); /* keep a link to it */
void mesh_undial(struct mesh *mesh, const char *address); /* not any more; one that stands stays */
void mesh_disconnect(struct mesh *mesh, const char *host, const char *reason);
bool mesh_is_up(const struct mesh *mesh, const char *host);
int mesh_reload(struct mesh *mesh, struct err *err); /* certificates and revocations */
/* Wall clock: the ends of this host's certificate, and of its roots' list of revocations
 * (QUANTITY_UNKNOWN without one). */
void mesh_validity(const struct mesh *mesh, msec *ret_certificate, msec *ret_crl);
void mesh_close(struct mesh *mesh, void (*closed)(void *arg), void *arg);

#endif
