/* figures.h - what policies ask about hosts beside what was observed: sums over their VMs, and the
 * same after a move. Pure; unknown parts make unknown sums. */
#ifndef SKEIN_PLANNER_WORKER_FIGURES_H
#define SKEIN_PLANNER_WORKER_FIGURES_H

#include "planner/core/model.h"

/* One host, as observed and then with the moves of a projection. */
struct figures {
    milli used_cores;
    int64_t memory_mib; /* committed to VMs */
    int64_t memory_used_mib;
    int64_t vcpus; /* committed */
    milli cpu_celsius;
    int64_t vms; /* that hold resources */
};

void figures_of_host(const struct model *m, int host, struct figures *ret);

/* sign +1: the VM arrives, -1: it leaves. heat: what it adds to the host's CPU temperature, milli
 * degrees. */
void figures_move(struct figures *f, const struct model_vm *vm, milli heat, int sign);

/* What each VM adds to its host's CPU temperature, in milli-degrees: the part of the rise over the
 * inlet that load causes (all but the idle part of the power curve, or 60 % without a curve),
 * shared among the running VMs by CPU use, or by vCPUs where a use is unknown or none is used.
 * QUANTITY_UNKNOWN where the host's temperature is. A linear model: dissipated power through a
 * constant thermal resistance. ret has n_vms elements. */
void figures_heat(const struct model *m, milli *ret);

#endif
