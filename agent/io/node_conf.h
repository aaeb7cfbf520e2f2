/* node_conf.h - from the configuration file's words to what the cores want to know. */
#ifndef SKEIN_AGENT_IO_NODE_CONF_H
#define SKEIN_AGENT_IO_NODE_CONF_H

#include "agent/core/step.h"
#include "agent/io/config.h"
#include "agent/io/trust.h"

/* Borrows config and trust for its life. incarnation: wall ms at the start. */
struct node_conf *node_conf_new(const struct config *config, const struct trust_store *trust,
                                uint64_t incarnation);
/* Where voters are replaced: who votes now, and this host's store. */
void node_conf_voters(struct node_conf *conf, const struct voter_groups *groups, uint64_t store,
                      bool begins);
void node_conf_free(struct node_conf *conf);

#endif
