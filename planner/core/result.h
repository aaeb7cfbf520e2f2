/* result.h - what planner_run() hands back: actions with reasons, hosts before and after. Pure;
 * internal to the core. */
#ifndef SKEIN_PLANNER_CORE_RESULT_H
#define SKEIN_PLANNER_CORE_RESULT_H

#include "planner/core/sequence.h"
#include "planner/core/solve.h"

/* As the state stands at the beginning, and at the end. */
void result_measure_before(const struct solve *x, struct planner_result *r);
void result_measure_after(const struct solve *x, struct planner_result *r);

void result_add_actions(const struct lower *l, const struct sequence *q, struct planner_result *r);
/* VMs that were nowhere and have a host now start there, in one step. */
void result_add_starts(const struct lower *l, const struct state *s, struct planner_result *r);

#endif
