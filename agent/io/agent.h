/* agent.h - the shell around agent/core/node.h: one libuv loop that turns what happens into events
 * and carries the effects out. Opens everything, runs until it is told to stop, closes everything
 * in the opposite order. */
#ifndef SKEIN_AGENT_IO_AGENT_H
#define SKEIN_AGENT_IO_AGENT_H

#include "agent/io/config.h"
#include "proto/err.h"

/* Everything a start would need, but for the network and the hypervisor: certificates, roster,
 * policies, voters. For skein-agent -n. */
int agent_check(const struct config *config, struct err *err);

/* Runs until SIGTERM or SIGINT (returns 0) or until it cannot go on. SIGHUP reads certificates,
 * revocations and the roster again. */
int agent_run(const struct config *config, struct err *err);

#endif
