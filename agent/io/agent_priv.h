/* agent_priv.h - what the agent's rooms share: agent.c (opens and closes, time, the hypervisor's
 * answers), agent_effects.c (effects out), agent_peers.c (links and what comes over them),
 * agent_voters.c (the voters' agreement), agent_callers.c (the API). */
#ifndef SKEIN_AGENT_IO_AGENT_PRIV_H
#define SKEIN_AGENT_IO_AGENT_PRIV_H

#include <uv.h>

#include "agent/core/node.h"
#include "agent/io/agent.h"

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
    struct consensus *consensus; /* NULL: this host does not vote */
    struct jobs *jobs;
    struct mesh *mesh;
    struct evaluator *evaluator;
    struct recorder *recorder;
    struct http *http;
    struct api_local *api_local;
    struct doctor *doctor;
    struct agent_audit *audit;
    struct agent_roots *roots;

    msec refused_at;  /* mono: when a stranger was last logged */
    unsigned refused; /* not logged since */
    bool leaving, stopping, trimmed;
    bool abandons;    /* a migration's call goes on in libvirt while this process ends */
    struct err fatal; /* why it cannot go on; ERR_OK: it was told to stop */
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
int agent_open_consensus(struct agent *a, struct err *err); /* of a host that votes */

/* With the certificate that its directory holds now. */
int agent_renew_http(struct agent *a, struct err *err);

#endif
