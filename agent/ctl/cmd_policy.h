/* cmd_policy.h - what policy authors do, most of it without an agent. argv[0] is the command's own
 * word. Exit status as in cmd_plan_offline.h. */
#ifndef SKEIN_AGENT_CTL_CMD_POLICY_H
#define SKEIN_AGENT_CTL_CMD_POLICY_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/ctl/cli.h"
#include "proto/err.h"

/* Bytes of a policy's file that are read: one more than allowed, so that the worker says so. */
#define POLICY_MAX (((size_t)1 << 20) + 1)
#define SNAPSHOT_MAX ((size_t)1 << 30) /* and of a snapshot's */

int cmd_policy(int argc, char **argv); /* the others by their word, and `check` */
int cmd_policy_test(int argc, char **argv);
int cmd_policy_explain(int argc, char **argv);
int cmd_policy_eval(int argc, char **argv);
int cmd_policy_diff(int argc, char **argv);
int cmd_policy_backtest(int argc, char **argv);
int cmd_policy_record(int argc, char **argv);
/* Of those that the cluster holds; these ask the agent. */
int cmd_policy_list(int argc, char **argv);
int cmd_policy_shadow(int argc, char **argv);
int cmd_policy_promote(int argc, char **argv);
int cmd_policy_revert(int argc, char **argv);

#define POLICY_NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

/* --param NAME=VALUE, any number of times: {"param", CLI_MANY, NULL, P.texts} in the options. */
#define POLICY_PARAM_HELP                                                                          \
    "  --param NAME=VALUE      the version carries this parameter and keeps it wherever it "       \
    "runs;\n"                                                                                      \
    "                          any number of times\n"

struct policy_params {
    const char *texts[CLI_MANY_MAX + 1];
    json_t *all; /* owned; NULL: none */
};

void policy_params_done(struct policy_params *p);
/* After cli_parse(): 0, or 2: said. */
int policy_params_take(const struct cli *cli, struct policy_params *p);
/* Make the owned source one that carries them. */
int policy_params_write(const struct policy_params *p, char **source, size_t *len, struct err *err);

/* Shared by them. */
struct policy_options {
    const char *command;
    const char *snapshot;
    bool json;
};

/* 0 with optind at the first operand, 1 when help was printed, -1 on wrong usage. */
int policy_parse(const char *command, int argc, char **argv, struct policy_options *o);
int policy_print_json(const json_t *doc, struct err *err);

#endif
