/* plan_args.h - the options of plan make, verify and fit, which work on files and ask no agent. */
#ifndef SKEIN_AGENT_CTL_PLAN_ARGS_H
#define SKEIN_AGENT_CTL_PLAN_ARGS_H

#include <jansson.h>
#include <stdbool.h>

#include "planner/worker/worker.h"
#include "proto/err.h"
#include "proto/units.h"

#define PLAN_NAMES_MAX 256

/* Words given several times, or several at once between commas; borrowed from argv, but for those
 * between commas. */
struct plan_names {
    const char *items[PLAN_NAMES_MAX];
    int n;
};

struct plan_args {
    const char *command, *help;
    const char *snapshot, *policy, *save, *mode, *like;
    struct plan_names drain, domains, fail, add, rules;
    bool json, copy_storage, standby, has_seed, has_at;
    uint64_t seed;
    msec at;
    int lua_ms, deadline_s, max_moves;       /* 0: not given */
    int64_t n_plus, vcpus, memory_mib, most; /* QUANTITY_UNKNOWN: not given */
    json_t *params;                          /* owned; NULL while there are none */
    char **operands;
    int n_operands;
};

enum { PLAN_ARGS_GO = -1 }; /* go on; else the exit status */

/* take: the long options that the command knows, NULL-terminated. */
int plan_args_parse(struct plan_args *a, int argc, char **argv, const char *const *take);
void plan_args_done(struct plan_args *a);

/* A run of the policy that they name, which wants a snapshot besides. It borrows of them, and of
 * the two texts, which the caller frees, on error too. */
int plan_args_policy(const struct plan_args *a, struct worker_request *ret, char **ret_policy,
                     char **ret_params, struct err *err);

/* Does anything alter the snapshot, or ask for a plan of the core's own? */
bool plan_args_what_if(const struct plan_args *a);

#endif
