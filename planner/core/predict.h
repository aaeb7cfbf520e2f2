/* predict.h - how long a migration takes, how long the guest stands still, how much crosses the
 * link, and the parameters chosen for it. Pure.
 * Pre-copy as a geometric series: round k copies what was dirtied during round k-1, never more than
 * the writable working set (Akoush et al., MASCOTS 2010; Strunk, 2012).
 *
 * What was measured corrects it: a link that carried less than it is said to is reckoned as it was,
 * and a VM that sent more or less than the series says (at the rate it had then) is reckoned by the
 * same factor the next time. */
#ifndef SKEIN_PLANNER_CORE_PREDICT_H
#define SKEIN_PLANNER_CORE_PREDICT_H

#include "planner/core/planner.h"

/* out_count and in_count: moves of the same step that share the source's and destination's link. */
void predict_move(const struct model *m, int vm, int from, int to, bool copy_storage,
                  int64_t out_count, int64_t in_count, struct planner_parameters *ret_parameters,
                  struct planner_estimate *ret);

/* The same for a way that a person chose, alone on its links; parameters as predict_move() left
 * them. */
void predict_as_asked(const struct model *m, int vm, int from, int to,
                      const struct migration_choice *how, struct planner_parameters *parameters,
                      struct planner_estimate *ret);

/* Whether it ends by itself: false where memory changes faster than it can be copied and post-copy
 * is not allowed (auto-converge then slows the guest). */
bool predict_converges(const struct model *m, int vm, int from, int to);

#endif
