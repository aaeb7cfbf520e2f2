/* sequence.h - from an assignment to another in safe steps. Pure.
 * While a step's moves run, source and destination both hold the VM; every rule holds before,
 * during and after; inflow, outflow and total are kept. What cannot be reached is left out, with
 * what blocks it. Cycles are broken by parking a VM on a third host. */
#ifndef SKEIN_PLANNER_CORE_SEQUENCE_H
#define SKEIN_PLANNER_CORE_SEQUENCE_H

#include "planner/core/lower.h"
#include "planner/core/state.h"

struct sequence_move {
    int vm, from, to, step;
    bool parking; /* a stop on the way */
};

struct left_out {
    int vm, to; /* it did not reach that host */
    struct fit_refusal why;
};

struct sequence {
    struct sequence_move *moves; /* by step; owned */
    int n_moves, n_steps;
    size_t cap_moves;
    struct left_out *left_out; /* owned */
    int n_left_out;
    size_t cap_left_out;
    msec elapsed_ms; /* when the last step ends, from the plan's begin */
};

/* target: [vm] host. s must stand at the instance's beginning, and ends at what the steps reach.
 * n_plus: hosts whose loss must be survivable after each step, 0 = not asked. elapsed_ms: when the
 * first step begins; what would end later than the problem's deadline is left out. */
void sequence_make(struct lower *l, struct state *s, const int *target, int64_t n_plus,
                   msec elapsed_ms, struct sequence *ret);
void sequence_done(struct sequence *q);

#endif
