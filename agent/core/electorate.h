/* electorate.h - how an agent learns who votes, where voters are replaced. Pure.
 *
 * It knows one group of voters, at first the one of its configuration. That there is a later one it
 * hears of anybody; which one, it asks the voters that it knows, and follows what a majority of
 * them says: no single voter gives it others. One that has lost its store says nothing against it.
 *
 * An agent with an empty store that its configuration names among the first voters asks whether
 * they begin too: all of them do, or one of them knows how they began. */
#ifndef SKEIN_AGENT_CORE_ELECTORATE_H
#define SKEIN_AGENT_CORE_ELECTORATE_H

#include "agent/core/step.h"

struct electorate;

struct electorate *electorate_new(void);
void electorate_free(struct electorate *e);

/* A host says that it knows the group of this number. */
void electorate_heard(struct electorate *e, uint64_t number);
/* EVENT_VOTERS: audits who came and who went. */
void electorate_changed(struct electorate *e, struct step *s);
/* Who voted and does not any more asks until it is told who plans. */
void electorate_tick(struct electorate *e, struct step *s, bool planner_known);
/* Does it ask? */
bool electorate_waits(const struct electorate *e, const struct node_conf *conf);
/* A reply to a request of OWNER_NODE. */
void electorate_reply(struct electorate *e, struct step *s, const char *from,
                      const Skein__Reply *reply);
/* Request.voters. */
void electorate_asked(struct step *s, const char *from, uint64_t id);

#endif
