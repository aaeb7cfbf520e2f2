/* agent_audit.h - the agent's audit beyond its own disk: the notary, its anchors, and the events
 * that peers tell each other. One object that agent.c opens, feeds and closes.
 * Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_AGENT_AUDIT_H
#define SKEIN_AGENT_IO_AGENT_AUDIT_H

#include <jansson.h>
#include <uv.h>

#include "agent/core/node.h"
#include "agent/io/config.h"
#include "agent/io/http.h"
#include "agent/io/mesh.h"
#include "agent/io/store.h"

struct agent_audit; /* opaque */

struct agent_audit_conf {
    uv_loop_t *loop;
    const struct config *config;
    const struct cluster *cluster;
    struct store *store;
    const char *store_path;
    struct http *http;
    struct mesh *mesh;
    const struct node *node;
    void *arg;
    void (*propose)(void *arg, const uint8_t *entry, size_t len); /* when this host plans */
    /* A log contradicts what was seen of it: to be audited. */
    void (*conflict)(void *arg, const char *host, const char *message);
};

int agent_audit_open(const struct agent_audit_conf *conf, msec wall, struct agent_audit **ret,
                     struct err *err);
/* Others vote now: they cosign. Borrowed. */
void agent_audit_voters(struct agent_audit *a, const char *const *voters, size_t n);
int agent_audit_reload(struct agent_audit *a, msec wall, struct err *err);
void agent_audit_stop(struct agent_audit *a); /* nothing goes out any more; closes its handles */
void agent_audit_free(struct agent_audit *a); /* after the loop has run out */

void agent_audit_tick(struct agent_audit *a, struct moment now);
/* A record of this host's that is on the disk now, in their order. */
void agent_audit_recorded(struct agent_audit *a, const json_t *record);
/* AUDIT and EVENT frames. */
void agent_audit_frame(struct agent_audit *a, struct moment now, const char *host,
                       const Skein__Frame *frame);
void agent_audit_peer(struct agent_audit *a, const char *host, bool up);
/* To every linked peer. */
void agent_audit_tell_all(struct agent_audit *a, const Skein__Frame *frame);
bool agent_audit_call(struct agent_audit *a, struct moment now, uint64_t token,
                      const Skein__ApiCall *call);

#endif
