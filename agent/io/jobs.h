/* jobs.h - hypervisor calls off the loop: our own worker threads, two lanes.
 *
 * The query lane runs everything that should be short; the migrate lane runs HV_MIGRATE, which
 * keeps its thread for the move's whole life, so that queries (progress, abort) always get through.
 *
 * Order: a lane starts its jobs in the order of submission; with several threads they end, and are
 * reported, in any order. Results are reported on the loop thread only, each job's exactly once.
 *
 * Deadlines: a query that is not done query_timeout after its submission is reported as
 * ERR_TIMEOUT. Its thread, if it has one, is abandoned (what it brings later is dropped), replaced
 * unless abandoned_max are hanging already, and the hypervisor is told to use fresh connections. A
 * migration that outlives move.timeout_ms is aborted and then reported as ERR_TIMEOUT; if it has
 * not ended abort_grace later, it is reported as ERR_UNKNOWN and its thread abandoned: look at both
 * sides. HV_ABORT of a migration that still waits for a thread takes it out of the queue. */
#ifndef SKEIN_AGENT_IO_JOBS_H
#define SKEIN_AGENT_IO_JOBS_H

#include <uv.h>

#include "agent/core/hv.h"
#include "agent/io/hypervisor.h"
#include "proto/err.h"
#include "proto/units.h"

/* 0 stands for the default in brackets. */
struct jobs_conf {
    unsigned query_threads;   /* [4]: an observation, two progresses and an abort side by side */
    unsigned migrate_threads; /* [4]: as many moves leave at once; the limit of outflow */
    unsigned abandoned_max;   /* [8] hanging threads a lane */
    msec query_timeout;       /* [10 s]: libvirt's keepalive gives a dead peer up within 8 s */
    msec abort_grace;         /* [30 s] */
    /* On the loop thread. result is the callee's: hv_result_done(). */
    void (*done)(void *arg, struct hv_result *result);
    /* On the loop thread, at most once a turn: something changed, observe soon. May be NULL. */
    void (*changed)(void *arg);
    void *arg;
};

struct jobs; /* opaque; used on the loop thread only */

/* Takes hv, also on failure: it is closed when the last call on it has returned. */
int jobs_open(uv_loop_t *loop, struct hypervisor *hv, const struct jobs_conf *conf,
              struct jobs **ret, struct err *err);

/* Takes what the job owns; job->id comes back as result.job. done() is never called from within. */
void jobs_submit(struct jobs *jobs, struct hv_job *job);

/* Abort every migration, begun or waiting, that which says true of; returns how many. Each ends as
 * if HV_ABORT had been submitted for it. */
unsigned jobs_abort_moves(struct jobs *jobs, bool (*which)(void *arg, const struct hv_move *move),
                          void *arg);

/* Stop: queued jobs are dropped, idle threads joined, busy ones left to end by themselves (a
 * migration goes on without us). No callback comes any more, but closed(arg), once, from the loop;
 * the struct is freed then. Run the loop until it is called. */
void jobs_close(struct jobs *jobs, void (*closed)(void *arg), void *arg);

struct jobs_load {
    unsigned queued, running, abandoned;
};

struct jobs_load jobs_load(const struct jobs *jobs); /* both lanes together */

#endif
