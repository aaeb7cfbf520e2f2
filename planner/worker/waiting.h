/* waiting.h - a policy's own proposal that nobody has answered yet: proposed again while it is as
 * good as what a new search finds, so that a plan does not change under its approver's eyes. */
#ifndef SKEIN_PLANNER_WORKER_WAITING_H
#define SKEIN_PLANNER_WORKER_WAITING_H

#include "planner/worker/evaluate.h"

/* Its moves, from the snapshot's decision_state: {"waiting": [{"policy": NAME, "moves": [{"vm":
 * UUID, "to": HOST}]}]}. How many; 0 where one of them is not possible any more. *ret is to be
 * freed. */
int waiting_moves(const struct evaluation *e, struct planner_move **ret);

/* By the measure of the goal, does the old result do no worse than the new? */
bool waiting_is_as_good(const struct evaluation *e, const struct planner_result *old,
                        const struct planner_result *new);

#endif
