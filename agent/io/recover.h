/* recover.h - other voters, when the majority of those that were is lost: what `skein recover` does
 * on a host whose agent is stopped.
 *
 * The log of this host is taken for the cluster's: with all that it holds, also what was never
 * agreed on, and without what only the lost ones had. It is given the voters of the configuration,
 * a new term, and an audit record, in one transaction. Hosts that vote anew are given the same log
 * (out here, from there), so that no two of them could agree on another one. Messages of voters
 * with another list are not heard by them: see raft_io.h. */
#ifndef SKEIN_AGENT_IO_RECOVER_H
#define SKEIN_AGENT_IO_RECOVER_H

#include <stdio.h>

#include "agent/io/config.h"
#include "proto/err.h"
#include "proto/units.h"

struct recover_conf {
    const struct config *config; /* raft.voters: those that shall vote, this host among them */
    const char *reason;          /* for the audit; wanted for apply */
    const char *who;             /* for the audit */
    const char *out;             /* write the log for the other new voters there; NULL: do not */
    const char *from;            /* take the log from there; NULL: the own one */
    bool apply;                  /* false: say what there is and what would be done */
    msec wall;
};

/* Prints what is held and what was, or would be, done. ERR_CONFLICT: the agent runs, or the log has
 * these voters already. ERR_NOT_FOUND: there is no log. ERR_INVALID: the configuration. */
int recover_run(const struct recover_conf *conf, FILE *to, struct err *err);

#endif
