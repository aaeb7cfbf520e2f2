/* replay.h - a trace lived through again, with somebody deciding what moves.
 * Pure. The fleet's state between samples follows from the plans that are handed in: migrations
 * take the time that their plan predicts and cost the VM 10 % of its processor meanwhile (as in
 * CloudSim), hosts draw power by their curve, and where the first snapshot shows how warm a host is
 * at how many watts, its processor follows the power drawn with one lag.
 *
 * Measures (Beloglazov and Buyya, CCPE 24(13), 2012): SLATAH is the share of active host time in
 * which VMs asked for more than the host has; PDM what migrations kept from VMs, of all that was
 * asked for; SLAV their product; ESV that times the energy. */
#ifndef SKEIN_PLANNER_TRACE_REPLAY_H
#define SKEIN_PLANNER_TRACE_REPLAY_H

#include "planner/core/plan_doc.h"
#include "planner/trace/trace.h"

struct replay;

/* Borrows the trace. */
int replay_new(const struct trace *t, struct replay **ret, struct err *err);
void replay_free(struct replay *r);

static inline void replay_freep(struct replay **r)
{
    replay_free(*r);
}

msec replay_now(const struct replay *r);
bool replay_ended(const struct replay *r);
/* A plan is being carried out: nothing new is decided meanwhile. */
bool replay_busy(const struct replay *r);

/* skein.snapshot/1 as of now, to be freed. */
int replay_snapshot(struct replay *r, char **ret, size_t *ret_len, struct err *err);

/* Begin a plan made from that snapshot; copies what it needs. Actions that do not fit the fleet are
 * skipped, as an agent's pre-check would. */
void replay_begin(struct replay *r, const struct plan_doc *plan);

/* On to the next sample. */
void replay_advance(struct replay *r);

struct replay_totals {
    double joules, asked, unmet, unmet_moving; /* core seconds */
    double active_s, overloaded_s;             /* of hosts */
    long migrations, pingpongs, excursions;    /* excursions: times a processor passed its limit */
};

const struct replay_totals *replay_totals(const struct replay *r);

/* A host as it is now. */
struct replay_host {
    const char *name;
    double celsius, limit_celsius; /* of the processor; NAN: not known */
    double asked, cores, watts;
    double celsius_per_watt, inlet_celsius; /* NAN: not known */
    int vms;
    bool awake;
};

void replay_host(const struct replay *r, int host, struct replay_host *ret);
int replay_vm_host(const struct replay *r, int vm); /* or -1 */
double replay_vm_asked(const struct replay *r, int vm);

/* Every move that has ended, in order. */
struct replay_move {
    msec at;
    int vm, from, to;
};

const struct replay_move *replay_moves(const struct replay *r, int *ret_n);

/* One row a sample, for the picture. */
struct replay_row {
    msec at;
    int active_hosts, moves;
    double asked, watts; /* cores */
    double imbalance;    /* mean absolute deviation of the use of hosts that are awake, percent */
};

const struct replay_row *replay_rows(const struct replay *r, int *ret_n);

#endif
