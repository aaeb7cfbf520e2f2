/* cmd_plan_offline.h - plans without an agent: made from a snapshot file, checked against one, and
 * room for more. argv[0] is the command's own word ("make"). They return the exit status: 0 done, 1
 * refused or failed, 2 wrong usage. */
#ifndef SKEIN_AGENT_CTL_CMD_PLAN_OFFLINE_H
#define SKEIN_AGENT_CTL_CMD_PLAN_OFFLINE_H

#include <stdio.h>

#include "planner/core/plan_doc.h"

int cmd_plan_make(int argc, char **argv);
int cmd_plan_verify(int argc, char **argv);
int cmd_plan_fit(int argc, char **argv);

/* A plan's body for people: reason, steps, refusals. */
void plan_print(FILE *to, const struct plan_doc *plan);

#endif
