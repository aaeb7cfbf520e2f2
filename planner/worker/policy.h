/* policy.h - a policy loaded into its sandbox: what it declares, its hooks, how they fare.
 * Inside the worker only. */
#ifndef SKEIN_PLANNER_WORKER_POLICY_H
#define SKEIN_PLANNER_WORKER_POLICY_H

#include <jansson.h>

#include "planner/core/planner.h"
#include "planner/worker/sandbox.h"
#include "planner/worker/worker.h"
#include "proto/hash.h"

/* enum name, name in Lua, parameters at most */
#define POLICY_HOOKS(X)                                                                            \
    X(TRIGGER, "trigger", 1)         /* (c): shall anything be done? */                            \
    X(SOURCES, "sources", 1)         /* (c): the hosts that VMs leave */                           \
    X(SELECT, "select", 2)           /* (c, host): which of its VMs may */                         \
    X(FILTER, "filter", 3)           /* (c, vm, host): is that pair acceptable? */                 \
    X(SCORE, "score", 3)             /* (c, vm, host): how good is it, 0 to 100 */                 \
    X(OBJECTIVE, "objective", 1)     /* (c): what the search weighs */                             \
    X(ACCEPT, "accept", 2)           /* (c, plan): is the plan worth it? */                        \
    X(PERMIT, "permit", 2)           /* (c, move): allow, wait or deny */                          \
    X(MIGRATION, "migration", 2)     /* (c, move): the migration's parameters */                   \
    X(UNPLACEABLE, "unplaceable", 3) /* (c, vm, why): what of a VM that finds no host? */          \
    X(VERIFY, "verify", 4)           /* (c, plan, before, after): what is expected of the plan? */

enum policy_hook {

#define X(id, name, params) HOOK_##id,
    POLICY_HOOKS(X)
#undef X
        HOOK_COUNT
};

#define SCOPE_MAX 8

struct hook_health {
    int64_t calls, errors;
    char last_error[SANDBOX_TEXT_MAX + 1];
};

struct policy {
    struct sandbox *sb; /* borrowed */
    const char *file;   /* borrowed */
    char name[64], class[16];
    enum planner_mode goal;
    msec cooldown_ms;
    int64_t agreement; /* evaluations in a row in which a plan is wanted before it is made */
    msec hold_ms;      /* and for how long */
    char digest[HASH_HEX_SIZE];
    bool has[HOOK_COUNT];
    int ref_hook[HOOK_COUNT]; /* in the registry */
    int ref_params, ref_schedule, ref_window_at, ref_unmet, ref_format, ref_list_meta, ref_reject,
        ref_wait, ref_allow, ref_judge, ref_series_meta, ref_fallback;
    struct hook_health health[HOOK_COUNT];
    struct err spent;                     /* what ended its time, once that is over */
    int64_t pairs_asked, pairs_not_asked; /* by the search; the budget was used up */

    struct {
        char key[64], value[64];
    } scope[SCOPE_MAX]; /* tags that a VM must have to be moved */

    int n_scope;
    json_t *settings; /* [{name, params}] from outside; borrowed; NULL = none */
    json_t *carried;  /* {parameter: value} that its text carries; owned; NULL = none */
    json_t *log;      /* [text] that it printed */
};

const char *policy_hook_name(enum policy_hook h);

#define POLICY_LOG_MAX 100 /* lines of print() that are kept */
#define POLICY_ANY "*"     /* settings under this name are for the policy whatever its name */

/* Load the policy's text into a fresh sandbox. settings is a list [{name, params}] as the snapshot
 * has it, or NULL. A parameter is what settings have for POLICY_ANY, else what the text carries
 * (planner/core/settings.h), else what they have for the policy's name, else its default.
 * ERR_POLICY with "FILE:LINE: ..." when it is not a good policy. */
int policy_load(struct policy *p, struct sandbox *sb, const char *text, size_t len,
                const char *file, json_t *settings, struct err *err);

void policy_done(struct policy *p); /* before the sandbox goes; a zeroed one is fine */

/* {name, api, class, goal, digest, hooks, params}: a new reference. */
json_t *policy_manifest(struct policy *p);
/* {errors, state, hooks: {NAME: {calls, errors, last_error}}, pairs_asked, pairs_not_asked}: a new
 * reference. */
json_t *policy_health(const struct policy *p);

/* Note a hook's failure; the message then names the file. */
void policy_failed(struct policy *p, enum policy_hook h, struct err *err);

/* class safety, drain or user: holds and cooldowns give way. */
bool policy_overrides_holds(const struct policy *p);

/* Mark the lines of the policy that hold code, in its hooks and the functions they reach. */
#define COVERAGE_RUN 1
#define COVERAGE_CODE 2
void policy_mark_code(struct policy *p, struct sandbox_coverage *c);

/* Has the VM the tags of the policy's scope? */
bool policy_in_scope(const struct policy *p, const struct model_vm *vm);

/* Lent to trusted Lua: nearest(word, list of words), freeze(table, name). */
int l_native_nearest(lua_State *L);
int l_native_freeze(lua_State *L);

/* A scalar of JSON pushed as Lua has it; nil for anything else. May raise. */
void l_push_json_scalar(lua_State *L, const json_t *v);

#endif
