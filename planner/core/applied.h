/* applied.h - the model as it will be once VMs have moved: what a plan can go on from. Pure. */
#ifndef SKEIN_PLANNER_CORE_APPLIED_H
#define SKEIN_PLANNER_CORE_APPLIED_H

#include "planner/core/planner.h"

/* at: [vm] its host then, or -1 where the model's VM takes no part. Huge pages, local storage and
 * NUMA nodes of the hosts are counted on; all else is m's, which must outlive the copy. To be freed
 * with model_free(). */
struct model *applied_new(const struct model *m, const int *at);

/* Nodes of h's that take vm, the freest first, are given to it; false where they have no room. Both
 * arrays are of h's length. */
bool applied_take_nodes(const struct model_vm *vm, const struct model_host *h, int64_t *free_mib);

#endif
