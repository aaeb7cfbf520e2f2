/* survive.h - would the rest hold the VMs of lost hosts? Pure.
 * Asked of k = n_plus occupied hosts at a time: do their VMs fit on the other hosts that are up, in
 * memory, vCPUs, huge pages and compatibility? Rules, and room promised to moves under way, are not
 * counted. A yes is proved by a packing; packing is hard, so several ways are tried, and on few VMs
 * all. */
#ifndef SKEIN_PLANNER_CORE_SURVIVE_H
#define SKEIN_PLANNER_CORE_SURVIVE_H

#include "planner/core/lower.h"
#include "planner/core/state.h"

struct survive;

/* As s stands now and where it goes; both are borrowed. NULL where the loss of k is not survivable
 * now: then it cannot be asked of what follows. */
struct survive *survive_new(struct lower *l, const struct state *s, int k);
void survive_free(struct survive *x);

/* Is it still? Every way of packing that sufficed at the beginning must suffice: whoever judges by
 * one of them alone agrees. */
bool survive_step(struct survive *x);

/* Would it still be, were host asleep too? It then is, for what is asked later; else it stays up.
 */
bool survive_without(struct survive *x, int host);

#endif
