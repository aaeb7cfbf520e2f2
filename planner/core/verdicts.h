/* verdicts.h - the policy's answers, each pair asked once. Pure. */
#ifndef SKEIN_PLANNER_CORE_VERDICTS_H
#define SKEIN_PLANNER_CORE_VERDICTS_H

#include "planner/core/arena.h"
#include "planner/core/planner.h"

struct verdict_slot {
    uint64_t key;                          /* vm * n_hosts + host + 1; 0: free */
    const struct planner_verdict *verdict; /* perhaps shared with others */
};

struct verdicts {
    void (*judge)(void *ctx, int vm, int host, struct planner_verdict *ret); /* NULL: no policy */
    void *ctx;
    uint64_t n_hosts;
    struct verdict_slot *slots; /* hash */
    size_t n, n_slots;
    const struct planner_verdict *last; /* in the arena */
    bool closed; /* what was not asked before is not asked now, and refused */
    struct arena arena;
};

void verdicts_init(struct verdicts *v, const struct planner_problem *p);
void verdicts_done(struct verdicts *v);

/* NULL without a policy. */
const struct planner_verdict *verdicts_ask(struct verdicts *v, int vm, int host);

#endif
