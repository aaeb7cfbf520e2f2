/* hook.h - what is asked outside of Skein before a move: gate rules name hooks (proto/gates.h),
 * which the planner asks before it gives a permit, and the source again, by itself, before it
 * begins. Pure: questions are made here, and asked by the shell (HV_ASK). */
#ifndef SKEIN_AGENT_CORE_HOOK_H
#define SKEIN_AGENT_CORE_HOOK_H

#include "agent/core/gate.h"
#include "agent/core/step.h"
#include "agent/core/view.h"

/* The questions of all rules with a hook that concern the body, as JSON: a list of {"hook",
 * "seconds", "question": {"schema", "event", "cluster", "host", "rule", "plan", "digest", "class",
 * "policy", "moves": [{"action", "vm", "uuid", "owner"?, "from", "to"}]}}. To be freed; NULL: there
 * are none. move NULL: the event "notice", about all moves, of those rules that want one; else
 * "move", about this one. */
char *hook_questions(const struct node_conf *conf, const struct gate_rules *rules,
                     const struct gate_facts *facts, const struct plan_body *body,
                     const struct plan_move *move, const struct view *view);

/* The job that asks them; takes questions. */
struct hv_job hook_job(char *questions, const struct plan_move *move);

#endif
