/* recorder.h - the snapshots that policies were shown on this agent, kept for a while in files of
 * their own (planner/trace/ring.h): what "skein policy record export" reads and a backtest lives
 * through again. Only the planner has snapshots, so that only it records; after a change of planner
 * the record goes on at the next one. What cannot be recorded is logged and costs nothing else. */
#ifndef SKEIN_AGENT_IO_RECORDER_H
#define SKEIN_AGENT_IO_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#include "proto/units.h"
#include "proto/util.h"

struct recorder; /* opaque; belongs to the loop thread */

struct recorder_conf {
    const char *directory; /* made when there is something to record */
    msec every;            /* between two snapshots; 0: nothing is recorded */
    uint64_t bytes_max;    /* of all files: the oldest go. At least one stays */
    msec age_max;          /* older files go */
};

struct recorder *recorder_new(const struct recorder_conf *conf);
void recorder_free(struct recorder *r); /* NULL is fine */
DEFINE_CLEANUP(struct recorder, recorder_free)

/* A policy is asked about this snapshot: it is recorded, if it is time. */
void recorder_offer(struct recorder *r, msec mono, msec wall, const char *text, size_t len);

#endif
