/* confirm.h - "did the voters really permit this?", both sides of the question.
 * Pure. A permit counts only where a majority of the voters, each from its own replicated state,
 * says that it was committed in the present term, belongs to an ongoing plan and is not used up.
 * Neither the planner's word nor any single voter's is enough, and silence is no answer; nor is
 * that of a voter whose clock differs from ours by more than approvals bear. */
#ifndef SKEIN_AGENT_CORE_CONFIRM_H
#define SKEIN_AGENT_CORE_CONFIRM_H

#include "agent/core/step.h"

struct state;

/* ---- voter's side ---- */

struct confirm_answer {
    Skein__PermitConfirmed confirmed; /* reason points into this struct: do not copy it */
    struct err why;                   /* set: not valid, and this is the reason */
    struct err not_yet; /* set: the permit is not known here (yet); the asker tries again */
};

/* from: the authenticated asker, which must be the permit's source or destination. term: the newest
 * that this agent has heard of (EVENT_ROLE), so that a voter that elected someone else refuses what
 * the old planner permitted. Answer it with effect_reply(s, from, id, &reply, &ret->not_yet). */
void confirm_answer(const struct state *state, uint64_t term, const struct step *s,
                    const char *from, const Skein__Permit *permit, struct confirm_answer *ret);

/* ---- asker's side, used by exec and reserve ---- */

enum confirm_outcome {
    CONFIRM_ASKING,
    CONFIRM_VALID,   /* a majority said yes, in one term */
    CONFIRM_REFUSED, /* so many said no that a majority cannot say yes any more */
    CONFIRM_TIMEOUT, /* too few answered, or do not know the permit, by the deadline */
};

struct confirm; /* opaque */

/* Asks every voter but itself (requests of this owner); a voter answers itself from state. permit
 * is copied. Call confirm_tick() at least every 100 ms. */
struct confirm *confirm_new(struct step *s, enum owner owner, const struct state *state,
                            uint64_t term, const Skein__Permit *permit, msec deadline_mono);
void confirm_free(struct confirm *c);

/* True when the reply was to a question of this object. from: its authenticated sender. */
bool confirm_reply(struct confirm *c, const struct step *s, const char *from,
                   const Skein__Reply *reply);
/* Asks again those that did not answer. */
enum confirm_outcome confirm_tick(struct confirm *c, struct step *s, const struct state *state,
                                  uint64_t term);
/* Who said what, for people: fills err with STALE (this permit is void; another may not be),
 * TIMEOUT or nothing. Returns like err_set. */
int confirm_why(const struct confirm *c, enum confirm_outcome outcome, struct err *err);

#endif
