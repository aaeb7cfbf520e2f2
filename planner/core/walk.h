/* walk.h - one annealing walk over an instance's assignments: moves and swaps, capacity at a price
 * that rises, must rules always held. Pure; internal to the search.
 *
 * Annealing after Kirkpatrick et al. (Science 220, 1983); shifts and swaps serve machine
 * reassignment well (ROADEF/EURO challenge 2012). VMs that left keep holding transient resources
 * where they began, and that soon fills a host: so a VM that is away is offered its home often,
 * against one that is still there. */
#ifndef SKEIN_PLANNER_CORE_WALK_H
#define SKEIN_PLANNER_CORE_WALK_H

#include "planner/core/state.h"

/* What all walks of a search read. */
struct ground {
    const struct instance *in;
    int *vms, n_vms;         /* that may move */
    int *hosts, n_hosts;     /* that may receive */
    bool transient;          /* some resource is held where a VM began */
    int **near, *near_first; /* [scope] hosts by domain, CSR over domains */
};

void ground_init(struct ground *g, const struct instance *in);
void ground_done(struct ground *g);

struct walk;

/* Walks in s, which stays the caller's. */
struct walk *walk_new(const struct ground *g, struct state *s, uint64_t seed);
void walk_free(struct walk *x);

/* The mean of some dearer steps from here: what "warm" means for this instance. */
double walk_typical_step(struct walk *x);

/* Begin to anneal from one temperature to the other, over so many evaluations. */
void walk_begin(struct walk *x, double warm, double cold, int64_t tries);
void walk_on(struct walk *x, int64_t tries);

/* So much of that way is gone, 0 to 1, whatever was done of it; and so many evaluations are all. */
void walk_steer(struct walk *x, double gone, int64_t tries);

/* The best assignment that fits, seen since the walk was made. */
int64_t walk_best_cost(const struct walk *x);
const int *walk_best(const struct walk *x);

/* Make it, or another's best, the current one. */
void walk_go_to_best(struct walk *x);
void walk_adopt(struct walk *x, const int *at);

#endif
