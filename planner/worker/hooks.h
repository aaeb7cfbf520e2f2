/* hooks.h - calling a policy's hooks: arguments in, checked answers out. Inside the worker only.
 * Every function returns 0, or ERR_POLICY with the hook's failure already noted in its health. */
#ifndef SKEIN_PLANNER_WORKER_HOOKS_H
#define SKEIN_PLANNER_WORKER_HOOKS_H

#include "planner/worker/api.h"

struct hooks {
    struct policy *policy;
    struct api *api;
    const struct model *model;
    lua_State *L;
    int judge_view, judge_base; /* for hook_judge() alone: the view its stack is of, and where */
};

/* Once a policy, with nothing on Lua's stack that leaves it later. a NULL: no hook will be called.
 */
void hooks_init(struct hooks *k, struct policy *p, struct api *a, const struct model *m);

/* What `objective` answered; what it left out keeps the value it had. */
struct objective {
    struct planner_weights weights;
    int64_t max_moves, min_gain, safety_pct, effort;
    int64_t deadline_s; /* from now, by when every move must have ended; 0 = none */
    int64_t n_plus;     /* QUANTITY_UNKNOWN: the snapshot's limit */
    bool copy_storage;
    bool *wake;             /* [n_hosts] to be woken first; owned, or NULL */
    enum planner_mode goal; /* of this run; the policy's where it names none */
    bool has_resource;
    char unit[64];
    int ref_load, ref_room, ref_relief, ref_gain; /* Lua functions, or LUA_NOREF */
};

int hook_trigger(struct hooks *k, bool *ret, char reason[FIT_TEXT_MAX], struct err *err);

/* Marks sources[n_hosts]. */
int hook_sources(struct hooks *k, bool *sources, struct err *err);

/* Marks in candidate[n_vms] the VMs of host that may leave; without the hook the movable ones. */
int hook_select(struct hooks *k, int host, bool *candidate, struct err *err);

int hook_objective(struct hooks *k, struct objective *o, struct err *err);

/* One number a host (VM) from a function of the objective's resource, in thousandths;
 * QUANTITY_UNKNOWN for nil. want[] may be NULL: all. */
int hook_host_numbers(struct hooks *k, int ref, const bool *want, int64_t *ret, struct err *err);
int hook_vm_numbers(struct hooks *k, int ref, const bool *want, int64_t *ret, struct err *err);

/* What is wanted of a pair. The reason of a score is text that is formatted for every pair, and
 * shown for few. */
enum judge_depth { JUDGE_FILTER, JUDGE_SCORE, JUDGE_REASON };

/* filter, then score, of one pair in one view. Never fails: a filter's error refuses, a score's
 * ranks last. */
void hook_judge(struct hooks *k, int view, int vm, int host, enum judge_depth depth,
                struct planner_verdict *ret);

int hook_accept(struct hooks *k, const struct planner_result *r, bool *ret,
                char reason[FIT_TEXT_MAX], struct err *err);

enum permit_answer { PERMIT_ALLOW, PERMIT_WAIT, PERMIT_DENY };

struct permit {
    enum permit_answer answer;
    char approvers[64];            /* wait: who */
    int64_t timeout_s;             /* wait: for how long; 0 = the plan's own life */
    char reason[FIT_TEXT_MAX];     /* wait */
    struct planner_verdict denied; /* deny: code and message */
};

/* permit, for one move. Never fails: an error waits for an approver. */
void hook_permit(struct hooks *k, const struct planner_action *x, struct permit *ret);

/* unplaceable, for a VM that finds no host: the policy's own code and words replace the planner's,
 * or it names what it would do instead. An error leaves the refusal as it is. */
void hook_unplaceable(struct hooks *k, struct planner_refusal *r);

/* verify, before the plan is carried out: figures that the policy expects of it, as {name: number};
 * a new reference, or NULL. */
json_t *hook_verify(struct hooks *k, const struct planner_result *r);

/* migration, for one move: may lower downtime and bandwidth, choose auto-converge, allow post-copy
 * where the VM does. An error leaves the parameters as they are. */
void hook_migration(struct hooks *k, struct planner_action *x);

#endif
