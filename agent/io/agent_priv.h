/* agent_priv.h - what the agent's rooms share: agent.c (opens and closes, time, the hypervisor's
 * answers), agent_effects.c (effects out), agent_peers.c (links and what comes over them),
 * agent_voters.c (the voters' agreement), agent_callers.c (the API), agent_issuer.c (hosts that
 * join). */
#ifndef SKEIN_AGENT_IO_AGENT_PRIV_H
#define SKEIN_AGENT_IO_AGENT_PRIV_H

#include <uv.h>

#include "agent/core/node.h"
#include "agent/io/agent.h"
#include "proto/skein.pb-c.h"

struct agent {
    const struct config *config;
    uv_loop_t loop;
    uv_timer_t tick, trim, left;
    msec began, tick_at; /* mono: of the loop's clock; when the tick is set to */
    msec resign_by;      /* mono: told to stop, it waits until then for another planner */
    uv_signal_t on_term, on_int, on_hup;
    uint64_t incarnation;
    char *store_path;

    struct trust_store *trust;
    struct node_conf *node_conf;
    struct store *store;
    struct node *node;
    struct performer *performer;
    struct council *council;
    struct jobs *jobs;
    struct mesh *mesh;
    struct evaluator *evaluator;
    struct recorder *recorder;
    struct http *http;
    struct api_local *api_local;
    struct doctor *doctor;
    struct agent_audit *audit;
    struct agent_roots *roots;
    struct renewer *renewer; /* NULL: this host does not renew by itself */
    struct issuer *issuer;   /* NULL: this host issues no certificates */

    msec refused_at;  /* mono: when a stranger was last logged */
    unsigned refused; /* not logged since */
    bool leaving, stopping, trimmed;
    int64_t week_seen; /* of node_week() */
    bool abandons;     /* a migration's call goes on in libvirt while this process ends */
    struct err fatal;  /* why it cannot go on; ERR_OK: it was told to stop */
};

struct moment agent_now(const struct agent *a);
void agent_step(struct agent *a, const struct event *event); /* nothing when it stops */
/* It cannot go on. */
void agent_fail(struct agent *a, const struct err *err, const char *what);
void agent_store_failed(void *arg, const struct err *err);

/* Each opens its own part, after those that it uses. */
void agent_open_performer(struct agent *a);
int agent_open_mesh(struct agent *a, struct err *err);
int agent_open_http(struct agent *a, struct err *err);
int agent_open_council(struct agent *a, struct err *err);

/* Before the doors are opened, where the configuration wants it. */
int agent_open_issuer(struct agent *a, struct err *err);
/* True: it was an answer for the issuer. */
bool agent_issuer_answered(struct agent *a, uint64_t token, unsigned status, const void *body,
                           size_t len);
void agent_host_asks(void *arg, uint64_t token, void *session, const char *network,
                     const Skein__ApiCall *call);

/* With the certificate that its directory holds now. */
int agent_renew_http(struct agent *a, struct err *err);

#endif
