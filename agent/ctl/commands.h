/* commands.h - the commands of skein, held once: dispatch, help and the nearest word for a typing
 * error all come from these tables. */
#ifndef SKEIN_AGENT_CTL_COMMANDS_H
#define SKEIN_AGENT_CTL_COMMANDS_H

#include <stddef.h>

/* A word and what it does. run gets its own word as argv[0] and returns the exit status: 0 done,
 * 1 refused or failed, 2 wrong usage, 3 not possible here. */
struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};

/* Run argv[1] of the table; prefix: the words before it ("skein plan"). usage stands above the list
 * of words in the help, footer (may be NULL) below. */
int commands_run(const char *prefix, const struct command *table, size_t n, const char *footer,
                 int argc, char **argv);

/* All of skein. */
int ctl_main(int argc, char **argv);

int cmd_status(int argc, char **argv);
int cmd_hosts(int argc, char **argv);
int cmd_vms(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_plan_list(int argc, char **argv);
int cmd_plan_show(int argc, char **argv);
int cmd_plan_explain(int argc, char **argv);
int cmd_plan_approve(int argc, char **argv);
int cmd_plan_reject(int argc, char **argv);
int cmd_plan_cancel(int argc, char **argv);
int cmd_plan_pause(int argc, char **argv);
int cmd_plan_resume(int argc, char **argv);
int cmd_plan_rollback(int argc, char **argv);
int cmd_freeze(int argc, char **argv);
int cmd_unfreeze(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_drill(int argc, char **argv);
int cmd_cordon(int argc, char **argv);
int cmd_uncordon(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_maintenance(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_recover(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_support_bundle(int argc, char **argv);
int cmd_order(int argc, char **argv);
int cmd_rule(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_audit(int argc, char **argv);

#endif
