/* duty.h - the planner's duty: from snapshots to plans, from approvals to permits, until every plan
 * has ended. Pure; active only while this agent leads.
 *
 * What it must know across a change of leader is in the replicated state, and only there: here are
 * timers, answers that are awaited and what the last evaluations said. A new leader therefore goes
 * on from the state alone; doing a thing twice is harmless, because the state refuses the second.
 */
#ifndef SKEIN_AGENT_CORE_DUTY_H
#define SKEIN_AGENT_CORE_DUTY_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/state.h"
#include "agent/core/step.h"
#include "agent/core/view.h"

struct duty;

#define DUTY_RESEND_MS 2000    /* start, query and look, until there is an answer that counts */
#define DUTY_SILENT_MS 10000   /* a source that long without an answer: look at the destination */
#define DUTY_PROOF_MS 10000    /* both sides must look the same that long to decide without it */
#define DUTY_UNKNOWN_MS 600000 /* undecided that long: an operator is needed */
#define DUTY_ATTEMPTS 4        /* permits an action gets before it has failed */
#define DUTY_RETRY_MS 2000     /* before the second one, twice that before the third ... */
#define DUTY_RETURN_MS 15000   /* a host that is away after an attempt gets this to come back */
#define DUTY_COOLDOWN_MS                                                                           \
    60000 /* of the world: policies leave a VM alone after a move, well or not */
#define DUTY_DISAGREED                                                                             \
    3 /* evaluations in a row before a waiting plan is replaced or dropped ...                     \
       */
#define DUTY_SEEN_MS                                                                               \
    6000 /* until hosts have told where VMs are after a plan: policies wait for it */
#define DUTY_STAND_MS 30000   /* ... and so much time between the first and the last of them */
#define DUTY_SETTLE_MS 30000  /* of the world: a policy rests after its plan was carried out */
#define DUTY_CHECK_FINDINGS 3 /* of a body that the checker refused, in the audit */

struct duty *duty_new(const struct node_conf *conf); /* borrows conf */
void duty_free(struct duty *d);
DEFINE_CLEANUP(struct duty, duty_free)

/* leader "" when none is known. */
void duty_role(struct duty *d, struct step *s, uint64_t term, const char *leader);
bool duty_leads(const struct duty *d);
void duty_tick(struct duty *d, struct step *s, const struct view *view, const struct state *state);
/* This agent will stop: the best voter that is there is asked to plan. */
void duty_resign(struct duty *d, struct step *s, const struct view *view,
                 const struct state *state);
/* A result whose token has OWNER_DUTY: what hooks answered. */
void duty_hv(struct duty *d, struct step *s, const struct hv_result *result);
/* After every state_apply, refused or not, with state_last(state). Audits while leader. */
void duty_applied(struct duty *d, struct step *s, const struct state *state,
                  const struct state_change *change);
/* EVENT_PROPOSED and EVENT_EVALUATED with OWNER_DUTY tokens. */
void duty_proposed(struct duty *d, struct step *s, const struct state *state, uint64_t token,
                   const struct err *err);
void duty_evaluated(struct duty *d, struct step *s, const struct view *view,
                    const struct state *state, uint64_t token, const struct err *err,
                    const struct evaluated *answer);
/* A reply to an OWNER_DUTY request. */
void duty_reply(struct duty *d, struct step *s, const struct state *state, const char *host,
                const Skein__Reply *reply);
/* Request.report from a source (or destination): answered without error once it is committed, or
 * once there is nothing more to say of that action (ended otherwise, or unknown here). */
void duty_report(struct duty *d, struct step *s, const struct state *state, const char *host,
                 uint64_t id, const Skein__ActionReport *report);
void duty_progress(struct duty *d, struct step *s, const struct state *state, const char *host,
                   const Skein__Progress *progress);
/* The latest of a running action, or NULL; borrowed until the next call. */
const Skein__Progress *duty_progress_of(const struct duty *d, const char *plan, const char *action);

/* Why nothing is happening, in one line; "" while something is. */
const char *duty_idle_reason(const struct duty *d);
/* {"idle_reason", "policies": [{"name", "at", "outcome", "failures", "health"}]}; a new reference.
 */
json_t *duty_status(const struct duty *d);

/* Are all agents that vote known to carry out standby and wake? One of an older version would
 * refuse such a plan, and the voters would disagree. */
bool duty_power_possible(const struct duty *d, const struct view *view);
/* Likewise: do they know of plans that shut VMs down or suspend them? */
bool duty_stops_possible(const struct duty *d, const struct view *view);

#endif
