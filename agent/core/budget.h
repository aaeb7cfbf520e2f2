/* budget.h - what an agent itself has done under each standing order in the last hour, whatever
 * planner and voters say: a bound of an order holds on every host. Journaled. Pure. */
#ifndef SKEIN_AGENT_CORE_BUDGET_H
#define SKEIN_AGENT_CORE_BUDGET_H

#include "agent/core/gate.h"
#include "agent/core/step.h"

struct budget; /* opaque */

/* side: "source" or "destination": moves that leave and arrive are counted apart. */
struct budget *budget_new(const char *side);
void budget_free(struct budget *b);
void budget_load(struct budget *b, const Skein__JournalRecord *record); /* others': ignored */

/* What an action needs to know of the order that approves it; order "": people do. */
struct budget_order {
    char order[HASH_HEX_SIZE], name[65];
    unsigned moves_per_hour;
};

struct budget_order budget_order_of(const struct gate_verdict *verdict);

/* May this action begin here? 0, also where no order is needed; or ERR_LIMIT. One that was counted
 * may go on. pending: others under the same order that are on their way to begin. */
int budget_check(const struct budget *b, const struct budget_order *o, unsigned pending,
                 const char *plan, const char *action, msec wall, struct err *err);
/* It begins. */
void budget_spend(struct budget *b, struct step *s, const struct budget_order *o, const char *plan,
                  const char *action);

#endif
