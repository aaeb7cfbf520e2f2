/* answer.h - one request to the world, answered. No I/O. */
#ifndef SKEIN_AGENT_SIM_ANSWER_H
#define SKEIN_AGENT_SIM_ANSWER_H

#include "agent/sim/world.h"

enum answer {
    ANSWER_NOW,   /* *ret is the reply */
    ANSWER_MOVED, /* it comes with the end of migration *ret_migration */
    ANSWER_HELD,  /* the host is silent: ask again when the world has changed */
};

/* *ret is the caller's: skein__sim_reply__free_unpacked(). A watch is answered here
 * but kept by whoever has the connection. */
enum answer answer_request(struct world *world, const Skein__SimRequest *request,
                           Skein__SimReply **ret, uint64_t *ret_migration);

/* A reply without contents; err may be NULL. */
Skein__SimReply *answer_empty(uint64_t id, const struct err *err);
Skein__SimReply *answer_moved(uint64_t id, const struct world_event *event);

#endif
