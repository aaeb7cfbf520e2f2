/* descend.h - few moves, each worth it: steepest descent, then the same number of moves put to
 * better use. For balancing, where every move must be paid for. Pure. */
#ifndef SKEIN_PLANNER_CORE_DESCEND_H
#define SKEIN_PLANNER_CORE_DESCEND_H

#include "planner/core/state.h"

struct descend_conf {
    int64_t min_gain;       /* of one move, once the cost is below min_gain_below */
    int64_t min_gain_below; /* 0: min_gain is asked always */
    int64_t max_moves;      /* 0: no bound */
    int64_t effort;         /* evaluations at most */
    uint64_t seed;
    bool (*stop)(void *ctx);
    void *stop_ctx;
};

/* Returns false where stop ended it early. */
bool planner_descend(struct state *s, const struct descend_conf *conf);

#endif
