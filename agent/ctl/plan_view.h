/* plan_view.h - a plan (skein.plan/1 with its life) for people. Documents must be tidy (text.h). */
#ifndef SKEIN_AGENT_CTL_PLAN_VIEW_H
#define SKEIN_AGENT_CTL_PLAN_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "agent/ctl/cli.h"
#include "proto/units.h"

/* Its moves step by step, hosts before and after, what is not moved, approvals, one line in sum.
 * full: parameters of each move too. */
void plan_view(FILE *to, const json_t *doc, bool full);
/* Why not: all refusals with what would allow them; only of one VM when vm is not NULL. */
void plan_view_refusals(FILE *to, const json_t *doc, const char *vm);

bool plan_has_ended(const char *state);
/* What came of one action, or how far it is: "RUNNING  62 %  1.2 GiB left  ~8 s". */
#define PLAN_ACTION_TEXT_SIZE 256
const char *plan_action_text(const json_t *doc, const json_t *action,
                             char ret[PLAN_ACTION_TEXT_SIZE]);

/* Says on `to` what changes between two looks at a plan (tidy): in place on a terminal, in plain
 * lines elsewhere. */
struct plan_follower;
struct plan_follower *plan_follower_new(FILE *to);
void plan_follower_show(struct plan_follower *f, const json_t *doc);
void plan_follower_free(struct plan_follower *f);

/* Look every second until the plan has ended, saying on `to` what changes: in place on a terminal,
 * in plain lines elsewhere. Survives a change of planner and an agent that restarts. limit 0: as
 * long as it takes. 0 with the last document in *ret; ERR_TIMEOUT when the limit came first. */
int plan_follow(const struct cli *cli, const char *id, FILE *to, msec limit, json_t **ret,
                struct err *err);

/* What everything that looks again and again has in common. */
#define FOLLOW_EVERY_MS 1000
#define FOLLOW_PATIENCE_MS 60000 /* for an agent that does not answer, or no planner */
msec follow_now(void);           /* monotonic */
void follow_pause(void);         /* until the next look */
/* It may be over soon: a planner is elected, the agent restarts. */
bool follow_may_pass(const struct err *err);

#endif
