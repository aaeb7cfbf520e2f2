/* alternatives.h - why this host: what the others would cost, or why they refuse. Pure; internal to
 * the core. */
#ifndef SKEIN_PLANNER_CORE_ALTERNATIVES_H
#define SKEIN_PLANNER_CORE_ALTERNATIVES_H

#include "planner/core/solve.h"

/* For each migration of r, as x's state stands at the end; of long plans the first ones only. The
 * policy is not asked about pairs that it was not asked about before. */
void alternatives_find(struct solve *x, struct planner_result *r);

#endif
