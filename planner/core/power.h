/* power.h - hosts that a plan wakes, and those it puts on standby. Pure; internal to the core. */
#ifndef SKEIN_PLANNER_CORE_POWER_H
#define SKEIN_PLANNER_CORE_POWER_H

#include "planner/core/solve.h"

/* Hosts that stand empty at the end, and may, go on standby in a step after all others; those whose
 * spare room the loss of hosts would need stay up. */
void power_add_standby(const struct solve *x, struct planner_result *r);

/* Where VMs found no host: the same problem with hosts of standby woken first, as few as help. *r
 * is replaced by the better plan. */
int power_wake(const struct planner_problem *p, struct planner_result **r, struct err *err);

/* p->wake: its hosts are woken in a first step, and the rest is planned as if they were up. */
int power_wake_first(const struct planner_problem *p, struct planner_result **r, struct err *err);

#endif
