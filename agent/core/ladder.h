/* ladder.h - how a running pre-copy is helped to its end, step by step, within what was approved.
 * Pure: fed with progress and the time, it says what to do next.
 *
 * A guest stops when what is left fits into the pause that is allowed. The ladder begins with a
 * short pause, so that a quiet guest stands still no longer than it must, and allows more in steps
 * up to the move's own limit, as long as the migration shows that it needs it. The hypervisor
 * throttles the guest meanwhile, if the plan says so (auto_converge). What cannot converge even so
 * is given up early, with the figures; what sends nothing any more is given up as lost.
 *
 * Where the plan allows post-copy, what does not converge is switched instead: not in the first
 * round, not on a link that stands still (the guest would stand still with it), and late in a
 * round, when most of what was dirty is there. From the switch on nothing can be taken back. */
#ifndef SKEIN_AGENT_CORE_LADDER_H
#define SKEIN_AGENT_CORE_LADDER_H

#include "agent/core/hv.h"

#define LADDER_LIMIT_MS 500 /* where the plan allows no other pause: planner/core's default */

enum ladder_advice {
    LADDER_GO_ON,
    LADDER_ALLOW,    /* ladder.downtime_ms from now on */
    LADDER_POSTCOPY, /* the guest goes on at the destination now */
    LADDER_BREAK,    /* its connection is dead: break it, so that it can be recovered */
    LADDER_ABORT,    /* for this reason: err of ladder_look() */
};

struct ladder {
    uint32_t limit_ms, downtime_ms; /* downtime_ms: allowed now */
    bool throttles;
    enum migrate_mode mode;
    bool switched;      /* to post-copy: it was seen */
    msec deadline;      /* what may be switched is switched before; 0: none */
    uint32_t iteration; /* of which ... */
    uint64_t round_mib; /* ... so much was left at its first look */
    msec round_since;
    msec looked, stepped; /* monotonic; 0: not yet */
    msec moved;           /* when bytes were last seen to move */
    uint64_t transferred; /* MiB */
    msec hopeless;        /* since when no step is left and it does not converge; 0: not so */
    uint32_t needed_ms;   /* the pause that it would take now; 0: not known */
};

/* For a move with this limit (0: none said). downtime_ms is what the migration is to begin with. */
void ladder_init(struct ladder *l, uint32_t limit_ms, const struct migration_choice *how,
                 msec deadline);
/* One look at a running job. */
enum ladder_advice ladder_look(struct ladder *l, const struct hv_progress *p, msec now,
                               struct err *err);
/* A few words for people: "pre-copy, pause up to 125 ms". */
void ladder_phase(const struct ladder *l, char *ret, size_t size);

#endif
