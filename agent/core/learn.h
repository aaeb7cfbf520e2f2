/* learn.h - what past moves teach about the next ones: how much a VM's move really sent and took,
 * and how fast a host's link really was. Pure; from the results in the replicated state, so that
 * every planner learns the same, and none forgets when another takes over.
 *
 * Of a VM the mean of its newest moves counts; of a link the fastest of the newest, as those that
 * shared it were slower. A move that was as fast as it was allowed to be says nothing about its
 * link, and a short one says little. */
#ifndef SKEIN_AGENT_CORE_LEARN_H
#define SKEIN_AGENT_CORE_LEARN_H

#include <jansson.h>
#include <stdint.h>

#include "agent/core/step.h"

struct state;

#define LEARN_MOVES 4 /* of a VM, the newest */
#define LEARN_LINKS 8 /* of a host's link, in either direction */

struct learnt_vm {
    const char *uuid;     /* borrowed from the state */
    uint64_t ms, mib;     /* means */
    uint32_t downtime_ms; /* the longest */
    unsigned n;
};

struct learnt_link {
    const char *host;           /* borrowed from the state */
    uint64_t out_mbps, in_mbps; /* 0: nothing is known against what it is said to carry */
};

struct learnt {
    struct learnt_vm *vms; /* sorted by UUID */
    size_t n_vms, cap_vms;
    struct learnt_link *links; /* sorted by host */
    size_t n_links, cap_links;
};

void learn(const struct state *state, struct learnt *ret); /* state NULL: nothing */
void learnt_done(struct learnt *l);
const struct learnt_vm *learnt_vm(const struct learnt *l, const char *uuid);     /* or NULL */
const struct learnt_link *learnt_link(const struct learnt *l, const char *host); /* or NULL */

/* Into a snapshot's lists: moved_ms, moved_mib, moved_downtime_ms of VMs; measured_out_mbps and
 * measured_in_mbps of hosts. */
void learn_put(const struct state *state, const struct moment *now, json_t *vms, json_t *hosts);

#endif
