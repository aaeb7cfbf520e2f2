/* agent_roots.h - roots, revocations and roster of this host and of the others: told to peers,
 * followed where theirs are newer and prove themselves, read again when a person says so, and given
 * to those who must know: the mesh, the API, the audit, the hypervisor. */
#ifndef SKEIN_AGENT_IO_AGENT_ROOTS_H
#define SKEIN_AGENT_IO_AGENT_ROOTS_H

#include "agent/io/agent_audit.h"
#include "agent/io/config.h"
#include "agent/io/jobs.h"
#include "agent/io/mesh.h"
#include "agent/io/trust.h"

/* Everything is borrowed. */
struct agent_roots_conf {
    uv_loop_t *loop;
    const struct config *config;
    struct trust_store *trust;
    struct mesh *mesh;
    struct agent_audit *audit;
    struct jobs *jobs;
    void *arg;
    /* The hypervisor holds the newest list of revocations; sessions of others were ended. */
    void (*hypervisor_told)(void *arg, unsigned ended);
};

struct agent_roots; /* opaque */

struct agent_roots *agent_roots_open(const struct agent_roots_conf *conf);
void agent_roots_stop(struct agent_roots *r); /* run the loop afterwards */
void agent_roots_free(struct agent_roots *r);

void agent_roots_tell(struct agent_roots *r, const char *host); /* NULL: all peers */
/* What another host holds. */
void agent_roots_told(struct agent_roots *r, const char *host, const Skein__Roots *roots);
/* What the voters agreed on; NULL: nothing. */
void agent_roots_agreed(struct agent_roots *r, const struct trust_roots *agreed);
/* This host's files are new. On error what was in use stays. */
int agent_roots_reload(struct agent_roots *r, struct err *err);

#endif
