/* search.h - from any assignment of an instance to a cheaper one: the one entry that plans and
 * benchmarks share. Pure: the same seed and effort give the same result, however many threads run
 * the walks.
 *
 * Sparing: few moves, each worth it (descend.h). Thorough: several annealing walks (walk.h), whose
 * number does not depend on the machine. First each tries another warmth, for a short time; then
 * all go on from the best with the warmth that served best. */
#ifndef SKEIN_PLANNER_CORE_SEARCH_H
#define SKEIN_PLANNER_CORE_SEARCH_H

#include "planner/core/state.h"

/* The clock is asked between the parts of a thorough search. */
#define SEARCH_PARTS 256

struct search_conf {
    uint64_t seed;
    bool thorough;
    int64_t effort; /* evaluations in all; thorough: of all walks, cooling over them */

    /* Sparing. */
    int64_t min_gain;       /* of one move, once the cost is below min_gain_below */
    int64_t min_gain_below; /* 0: min_gain is asked always */
    int64_t max_moves;      /* 0: no bound */

    /* Thorough: stop after so many parts (to replay a search that was stopped early); 0: all. Run
     * the tasks, at the same time where that is possible, until all have ended; NULL: one after
     * another.
     */
    int parts;
    void (*run)(void *ctx, void (*task)(void *arg), void *const *args, int n);
    void *run_ctx;

    /* Thorough: how much of the time allowed is gone, 0 to 1. Cooling then follows it, and effort
     * is only the guess that says how long a part is: no two runs are alike. NULL: cooling follows
     * the effort. */
    double (*pace)(void *ctx);
    void *pace_ctx;

    bool (*stop)(void *ctx); /* asked now and then; true ends the search early. NULL: never */
    void *stop_ctx;
};

/* The state ends at the best assignment found: never dearer than it began, capacity and hard rules
 * no worse. VMs that are fixed or joined to others stay. Returns false where stop ended it early;
 * after how many parts in *ret_parts (NULL allowed). */
bool planner_search(struct state *s, const struct search_conf *conf, int *ret_parts);

#endif
