/* variations.h - other worlds made from a snapshot document: after a plan's moves, with noise. For
 * checking that a policy comes to rest. Pure. */
#ifndef SKEIN_PLANNER_WORKER_VARIATIONS_H
#define SKEIN_PLANNER_WORKER_VARIATIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The snapshot after the first n moves of the body: VMs elsewhere, and with them their CPU use,
 * memory and heat. No cooldown is recorded, so that nothing but the policy itself keeps a VM from
 * moving again. A new reference. */
json_t *variation_apply(const json_t *snapshot, const json_t *body, int n);

/* CPU use off by up to 2 %, temperatures by up to 0.3 degrees. A new reference. */
json_t *variation_noise(const json_t *snapshot, uint64_t seed);

/* Does `next` move a VM that `body` moved (back: to where it came from)? Says which in text. */
bool variation_moves_again(const json_t *body, const json_t *next, bool back, char *text,
                           size_t size);

#endif
