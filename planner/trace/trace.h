/* trace.h - what a fleet's VMs asked for over time, to run policies over again (skein policy
 * backtest). Pure: whoever reads the files hands their texts in.
 *
 * Two sources: recorded snapshots (skein.snapshot/1, one after the other), and the CPU traces of
 * PlanetLab with the hosts of CloudSim's power model (Beloglazov and Buyya, CCPE 24(13), 2012;
 * CloudSim 3.0.3), on which published consolidation heuristics are compared. There, a core is
 * 1,000 MIPS. */
#ifndef SKEIN_PLANNER_TRACE_TRACE_H
#define SKEIN_PLANNER_TRACE_TRACE_H

#include <jansson.h>
#include <stdbool.h>

#include "proto/err.h"
#include "proto/units.h"
#include "proto/util.h"

struct trace {
    json_t *base; /* the fleet at the start, skein.snapshot/1; owned */
    int n_hosts, n_vms, n_samples;
    msec *at;    /* [n_samples] wall clock, ascending; a sample holds until the next */
    milli *used; /* [n_samples * n_vms] cores asked for; QUANTITY_UNKNOWN: not running */
    msec last;   /* how long the last sample holds */
    /* [n_samples * n_hosts] how much warmer a watt makes the processor than at the start (1000: no
     * warmer): a fan that fails. NULL: never. Owned. */
    milli *warming;
    bool empty_takes_off; /* a host without VMs draws nothing and needs no waking */
};

/* ---- recorded */

/* Snapshots come in the order of their taken_at; VMs that the first does not know are left out
 * (counted in *ret_left_out). what names the text in messages. */
int trace_recorded_add(struct trace **t, const char *text, size_t len, const char *what,
                       int *ret_left_out, struct err *err);

/* ---- PlanetLab */

#define PLANETLAB_SAMPLES 288 /* of five minutes */
#define PLANETLAB_HOSTS 800

/* One VM's file: 288 integers, percent of its CPU. */
int planetlab_parse(const char *text, size_t len, const char *what, int ret[PLANETLAB_SAMPLES],
                    struct err *err);

/* percent[n_vms][PLANETLAB_SAMPLES], VMs in the byte order of their files' names. memory_counts:
 * with hosts large enough to hold the VMs' memory, which the published model does not look at. */
struct trace *trace_planetlab(const int (*percent)[PLANETLAB_SAMPLES], int n_vms, msec start,
                              bool memory_counts);

void trace_free(struct trace *t);

static inline void trace_freep(struct trace **t)
{
    trace_free(*t);
}

#endif
