/* drain.h - emptying hosts, as an operator sees it: what will move and what cannot, before anything
 * is signed; how far it is; what came of it. */
#ifndef SKEIN_AGENT_CTL_DRAIN_H
#define SKEIN_AGENT_CTL_DRAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/ctl/cli.h"
#include "proto/units.h"

struct drain_hosts {
    const char **names; /* borrowed from the command line or from what answered */
    size_t n;
};

/* Computed here from the agent's snapshot, by capacity and rules alone (the policy may narrow it):
 * {"hosts": [{"host", "vms"}], "moves": [{vm, from, to, ms, downtime_ms, mib, step}], "blocked":
 * [{vm, host, code, message, relax}], "ms"}. */
int drain_preview(const struct cli *cli, const struct drain_hosts *hosts, unsigned concurrency,
                  json_t **ret, struct err *err);
/* Blockers always; the moves too when full. */
void drain_print_preview(FILE *to, const json_t *preview, bool full);

enum drain_until {
    DRAIN_PLANNED, /* there is something to approve, or nothing to do */
    DRAIN_DONE,    /* nothing is left that can move */
};

/* Watches, saying on `to` what changes. 0 with the hosts' last records in *ret (an array, of
 * /v1/maintenance) and in *ret_plans the ids of the plans seen (an array). limit 0: as long as it
 * takes. ERR_TIMEOUT when the limit came first, ERR_CANCELLED when the drain was taken back,
 * ERR_CONFLICT when VMs stay that cannot move (unless they may be skipped): *ret is filled then
 * too. */
int drain_follow(const struct cli *cli, const struct drain_hosts *hosts, enum drain_until until,
                 msec limit, FILE *to, json_t **ret, json_t **ret_plans, struct err *err);

/* What moved, from where to where, how long; from the plans' own reports. */
void drain_print_report(const struct cli *cli, const json_t *plans, FILE *to);

#endif
