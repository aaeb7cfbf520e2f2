/* conflict.h - do must rules contradict one another? Pure; internal to the core. */
#ifndef SKEIN_PLANNER_CORE_CONFLICT_H
#define SKEIN_PLANNER_CORE_CONFLICT_H

#include "planner/core/lower.h"

#define CONFLICT_RULES_MAX 24

/* A smallest set of must rules that no placement of the VMs they speak of can keep all of, vm among
 * them: without any one of them there is one. VMs that may not move stay where they are; hosts are
 * those that each VM fits otherwise; capacity is not asked. The number of rules (of the model) in
 * ret; 0: the rules can be kept, or it could not be told within the effort. */
int conflict_find(struct lower *l, const struct state *s, int vm, int ret[CONFLICT_RULES_MAX]);

#endif
