/* relax.h - load and room of all hosts laid out for judging moves and swaps quickly, where capacity
 * may be exceeded at a price: what a search looks at beside the exact state. Pure.
 *
 * Plans may not exceed capacity, but a search that must not either can hardly move in a full
 * cluster: it walks through overfull assignments and pays for them, more and more. Numbers are
 * floating point and used to judge only; what is made is counted exactly by the state. They are
 * added in a fixed order, so that every machine judges alike. */
#ifndef SKEIN_PLANNER_CORE_RELAX_H
#define SKEIN_PLANNER_CORE_RELAX_H

#include "planner/core/state.h"

struct relax;

/* Keeps s, which must be moved through relax_move() from here on. */
struct relax *relax_new(struct state *s);
void relax_free(struct relax *x);

/* What a unit above capacity costs, as a multiple of what one above the safety level costs. */
void relax_set_price(struct relax *x, double price);

/* The change of cost and price were vm on host, or v and w changing places: rules apart. */
double relax_shift_delta(const struct relax *x, int vm, int host);
double relax_swap_delta(const struct relax *x, int v, int w);

/* Cost of the state and price of what is above capacity. */
double relax_energy(const struct relax *x);
double relax_host_energy(const struct relax *x, int host);

/* Is every host within its capacity, or with no more than at the start? */
bool relax_fits(const struct relax *x);

/* May VMs come to the host? Not where it was above its capacity when the search began. */
bool relax_is_closed(const struct relax *x, int host);

void relax_move(struct relax *x, int vm, int host);

#endif
