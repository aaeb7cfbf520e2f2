#include "agent/core/ladder.h"

#include <stdio.h>

#include "proto/util.h"

#define FIRST_SHARE 8       /* the first step allows this part of the limit ... */
#define FIRST_LEAST 50      /* ... but not less ms: QEMU's own switch takes as long */
#define STEP_EVERY 3000     /* ms that a step gets to show that it is enough */
#define SETTLE_ITERATIONS 2 /* of the first one, all memory, nothing is to be learnt */
#define STALL 30000         /* ms without a byte: the other end is gone, and TCP has not said so */
#define HOPELESS 60000 /* ms that a migration which cannot end is watched before it is given up */
#define MOMENT_PATIENCE 10000 /* ms that a good moment to switch is waited for */
#define LIVELY 3000           /* ms: bytes that moved so lately move still */

void ladder_init(struct ladder *l, uint32_t limit_ms, const struct migration_choice *how,
                 msec deadline)
{
    uint32_t limit = limit_ms > 0 ? limit_ms : LADDER_LIMIT_MS;
    *l = (struct ladder){.limit_ms = limit,
                         .downtime_ms = MIN(limit, MAX(limit / FIRST_SHARE, FIRST_LEAST)),
                         .throttles = how->auto_converge,
                         .mode = how->mode,
                         .deadline = deadline};
}

/* The pause in which all that is left could be sent; 0 where the rate is not known. */
static uint32_t pause_needed(const struct hv_progress *p)
{
    if (p->bandwidth_milli_mib_s == 0)
        return 0;
    int64_t ms = sat_mul((int64_t)MIN(p->remaining_mib, (uint64_t)INT32_MAX), 1000000) /
                 p->bandwidth_milli_mib_s;
    return (uint32_t)MAX(MIN(ms, (int64_t)UINT32_MAX), (int64_t)1);
}

static bool stalls(struct ladder *l, const struct hv_progress *p, msec now)
{
    if (l->moved == 0 || p->transferred_mib != l->transferred) {
        l->moved = now;
        l->transferred = p->transferred_mib;
    }
    return now - l->moved >= STALL;
}

/* It is dirtied as fast as it is sent: more rounds bring it no nearer to its end. */
static bool diverges(const struct hv_progress *p)
{
    return p->iteration > SETTLE_ITERATIONS && p->bandwidth_milli_mib_s > 0 &&
           (uint64_t)p->dirty_milli_mib_s * 10 >= (uint64_t)p->bandwidth_milli_mib_s * 9;
}

/* The least step that would end it now, or the next one: twice as much. */
static uint32_t next_step(const struct ladder *l)
{
    uint32_t twice = (uint32_t)MIN((uint64_t)l->downtime_ms * 2, (uint64_t)l->limit_ms);
    return MIN(MAX(twice, l->needed_ms <= l->limit_ms ? l->needed_ms : 0), l->limit_ms);
}

static enum ladder_advice look_hopeless(struct ladder *l, const struct hv_progress *p, msec now,
                                        struct err *err)
{
    bool none_left = l->downtime_ms >= l->limit_ms && l->needed_ms > l->limit_ms;
    if (l->throttles || !none_left || !diverges(p)) {
        l->hopeless = 0;
        return LADDER_GO_ON;
    }
    if (l->hopeless == 0)
        l->hopeless = now;
    if (now - l->hopeless < HOPELESS)
        return LADDER_GO_ON;
    err_set(
        err, ERR_TIMEOUT,
        "it does not converge: %u MiB/s are dirtied, %u MiB/s are sent, a pause of %u ms would be "
        "needed and %u ms are allowed; allow auto_converge or a longer pause",
        p->dirty_milli_mib_s / 1000, p->bandwidth_milli_mib_s / 1000, l->needed_ms, l->limit_ms);
    return LADDER_ABORT;
}

static void note_round(struct ladder *l, const struct hv_progress *p, msec now)
{
    if (l->round_since != 0 && p->iteration == l->iteration)
        return;
    l->iteration = p->iteration;
    l->round_mib = p->remaining_mib;
    l->round_since = now;
}

/* Bytes move, and most of the round is over: little is left for the guest to wait for. */
static bool good_moment(const struct ladder *l, const struct hv_progress *p, msec now)
{
    return now - l->moved <= LIVELY &&
           (p->remaining_mib <= l->round_mib / 2 || now - l->round_since >= MOMENT_PATIENCE);
}

/* Shall it be switched to post-copy? */
static bool wants_switch(const struct ladder *l, const struct hv_progress *p, msec now)
{
    if (!migrate_is_postcopy(l->mode) || p->iteration < SETTLE_ITERATIONS)
        return false;
    bool late = l->deadline != 0 && now + MAX((msec)l->needed_ms, (msec)STEP_EVERY) >= l->deadline;
    if (l->mode == MIGRATE_POSTCOPY_AFTER_PRECOPY || late)
        return now - l->moved <= LIVELY;
    bool tried = l->stepped != 0 && now - l->stepped >= STEP_EVERY;
    return tried && l->needed_ms > l->limit_ms && good_moment(l, p, now);
}

enum ladder_advice ladder_look(struct ladder *l, const struct hv_progress *p, msec now,
                               struct err *err)
{
    if (!p->running || p->total_mib == 0)
        return LADDER_GO_ON;
    l->looked = now;
    l->switched = l->switched || p->postcopy;
    if (l->switched) /* there is no way back, only another connection */
        return stalls(l, p, now) ? LADDER_BREAK : LADDER_GO_ON;
    l->needed_ms = pause_needed(p);
    note_round(l, p, now);
    if (stalls(l, p, now)) {
        err_set(err, ERR_UNAVAILABLE, "nothing was sent for %d s: the other end is out of reach",
                STALL / 1000);
        return LADDER_ABORT;
    }
    if (p->iteration < SETTLE_ITERATIONS)
        return LADDER_GO_ON;
    if (l->stepped == 0)
        l->stepped = now; /* the first step counts from the second round on */
    if (wants_switch(l, p, now))
        return LADDER_POSTCOPY;
    bool due = now - l->stepped >= STEP_EVERY && l->needed_ms > l->downtime_ms;
    if (due && l->downtime_ms < l->limit_ms) {
        l->downtime_ms = next_step(l);
        l->stepped = now;
        return LADDER_ALLOW;
    }
    return look_hopeless(l, p, now, err);
}

void ladder_phase(const struct ladder *l, char *ret, size_t size)
{
    if (l->switched)
        snprintf(ret, size, "post-copy: it runs at the destination");
    else if (l->hopeless != 0)
        snprintf(ret, size, "pre-copy, does not converge");
    else
        snprintf(ret, size, "pre-copy, pause up to %u ms", l->downtime_ms);
}
