/* planner.h - the public entry: a frozen model and a goal in, a plan of safe steps with reasons
 * out. Pure: no clock, no random numbers but those drawn from the seed, no threads. The same
 * problem gives the same result, byte for byte. Rules and capacity are held by the core itself; a
 * policy (the caller's callbacks) may only narrow and rank. */
#ifndef SKEIN_PLANNER_CORE_PLANNER_H
#define SKEIN_PLANNER_CORE_PLANNER_H

#include "planner/core/fit.h"
#include "planner/core/migration.h"
#include "planner/core/model.h"

#define PLANNER_MODES(X)                                                                           \
    X(RELIEVE, "relieve")         /* the smallest sufficient set of VMs leaves the sources */      \
    X(BALANCE, "balance")         /* even out, worth its moves */                                  \
    X(CONSOLIDATE, "consolidate") /* fewest hosts in use */                                        \
    X(DRAIN, "drain")             /* everything leaves the sources */                              \
    X(ENFORCE, "enforce")         /* repair violated rules, touch nothing else */                  \
    X(MOVES, "moves")             /* exactly the moves asked for */                                \
    X(RESTART, "restart")         /* VMs of the sources, which are lost, start elsewhere */

enum planner_mode {

#define X(name, text) PLANNER_##name,
    PLANNER_MODES(X)
#undef X
};

const char *planner_mode_name(enum planner_mode mode);

struct planner_move {
    int vm, to;
};

/* A policy's answer for one pair. */
struct planner_verdict {
    bool reject;
    char code[64];              /* rejected: the policy's own code */
    char message[FIT_TEXT_MAX]; /* rejected: why */
    milli score;                /* 0..100000, higher is better; used where rank is set */
    char reason[FIT_TEXT_MAX];  /* why this host is good; may be empty */
};

/* What the search weighs; each 0 switches its term off. Costs are in one unit: a milli-point. */
struct planner_weights {
    int64_t imbalance;   /* per 0.1 % of imbalance (0-100 %) */
    int64_t overload;    /* per milli-core (or MiB) above safety_pct of the host */
    int64_t ratio;       /* per MiB that a host's free vCPUs lack of what all hosts have for each */
    int64_t host_used;   /* per host in use */
    int64_t watt;        /* per watt that a host in use draws when idle, or draws now */
    int64_t soft_rule;   /* per violation of a should rule of weight 1 */
    int64_t move;        /* per move */
    int64_t move_gib;    /* per GiB of memory carried */
    int64_t owner_moves; /* per move of the owner with the most of them */
    int64_t distance;    /* per level of the failure domain that a move's ends do not share */
    int64_t score;       /* per point of the policy's score that a move misses */
};

struct planner_problem {
    const struct model *model;
    enum planner_mode mode;
    msec now;            /* wall clock: the snapshot's time or --at */
    msec cooldown_ms;    /* no second move of a VM within; 0 = none */
    bool override_holds; /* class safety, drain or user */
    bool copy_storage;   /* local disks may be copied */
    bool power;          /* hosts may be woken for it, and put on standby where it empties them */
    const bool *wake;    /* [n_hosts] sleeping hosts that are woken first, whatever follows; NULL =
                          * none.    They take VMs then */
    bool alternatives;   /* say of each action what other hosts would cost; for plans people read */

    /* relieve, drain: the hosts that VMs leave. consolidate: hosts that may be emptied; none = all.
     */
    const int *sources;
    int n_sources;
    const bool *candidate;   /* [n_vms] VMs that may move, NULL = all movable ones */
    const bool *destination; /* [n_hosts] hosts that may receive, NULL = all that are up */

    /* A resource of the caller's own, such as degrees: what each VM brings (milli of any one unit),
     * and how much each host may still take. NULL = none. An unknown VM load or host room refuses
     * the pair. The unit's name is for messages. */
    const int64_t *vm_load;     /* [n_vms] */
    const int64_t *host_room;   /* [n_hosts] */
    const int64_t *host_relief; /* [n_hosts] relieve: how much of it must leave; 0 = nothing */
    /* What a VM's load is on the destination, where it differs from vm_load (hosts differ in how
     * much a core heats them): load x host_gain / 1000. NULL = 1000. */
    const int64_t *host_gain; /* [n_hosts] */
    const char *load_unit;    /* of what the thousandths are of, for messages: "°C" */

    /* Lua's side: NULL = allows all. Called once a pair at most, only for pairs that rules and
     * capacity allow, in a fixed order. */
    void (*judge)(void *ctx, int vm, int host, struct planner_verdict *ret);
    void *judge_ctx;

    const struct planner_move *moves; /* mode MOVES */
    int n_moves;
    const struct migration_choice *how; /* asked for by a person; NULL: as is best */

    struct planner_weights weights; /* all 0: the mode's defaults */
    int64_t safety_pct;             /* of capacity; 0 = 85 */
    int64_t min_gain;               /* in cost, a whole plan must save; 0 = the mode's default */
    int64_t max_moves;              /* of VMs; 0 = no bound. Not for moves asked for, and starts */
    msec deadline_ms;               /* every move must have ended by then, from now; 0 = none */
    int64_t n_plus;                 /* QUANTITY_UNKNOWN: the snapshot's limit */
    uint64_t seed;
    int64_t effort;          /* evaluations at most; 0 = the mode's default */
    bool (*stop)(void *ctx); /* asked now and then; true ends the search early. NULL = never */
    void *stop_ctx;
};

struct planner_parameters {
    struct migration_choice how;
    int64_t bandwidth_mib_s; /* its share of the link */
    int64_t downtime_ms;     /* the largest that is allowed */
};

/* Unknown inputs (dirty rate, link) give cautious figures, never 0. */
struct planner_estimate {
    int64_t ms, downtime_ms, mib;
};

enum plan_action_type {
    PLAN_MIGRATE,
    PLAN_START,
    PLAN_SHUTDOWN,
    PLAN_SUSPEND,
    PLAN_RESUME,
    PLAN_COPY_STORAGE,
    PLAN_STANDBY,
    PLAN_WAKE
};

/* Another host an action might have chosen, all other actions as they are. */
struct planner_alternative {
    int host;      /* the source itself: not moving */
    int64_t cost;  /* more than the chosen one; QUANTITY_UNKNOWN: refused, why says why */
    char code[64]; /* refused: as in planner_refusal */
    char message[FIT_TEXT_MAX];
};

#define PLANNER_ALTERNATIVES 6

struct planner_action {
    enum plan_action_type type; /* standby and wake have no VM, the host is `to`; a VM that is shut
                                 * down or suspended stays: from is to */
    int vm, from, to;
    int step;
    bool over_hold, over_cooldown; /* the class goes over one that forbids the move */
    struct planner_parameters parameters;
    struct planner_estimate estimate;
    char reason[2 * FIT_TEXT_MAX];
    struct planner_alternative *alternatives; /* owned; the cheapest first, then those refused */
    int n_alternatives, n_hosts_fit;          /* hosts that could take it, the chosen one too */
};

#define PLANNER_CONFLICT_MAX 8

struct planner_refusal {
    int vm;        /* MODEL_NONE: about a host or the whole */
    int host;      /* MODEL_NONE: no host would do */
    char code[64]; /* a fit_code's name, or the policy's own */
    struct fit_refusal why;
    const char
        *fallback; /* what its policy would do instead: "shutdown", "suspend"; NULL: nothing */
    int rules[PLANNER_CONFLICT_MAX], n_rules; /* RULES_CONFLICT: a smallest set, of the model's */
};

/* One host, before and after. */
struct planner_forecast {
    int64_t vms, memory_mib, vcpus;
    milli used_cores; /* QUANTITY_UNKNOWN where a VM's use is not known */
    int64_t load;     /* the caller's resource: change only; before is 0 */
};

struct planner_result {
    struct planner_action *actions; /* sorted by step, then VM id */
    int n_actions;
    int n_steps; /* steps are barriers; actions of one step may run at the same time */
    struct planner_refusal *refusals;
    int n_refusals;
    struct planner_forecast *before, *after; /* [n_hosts] */
    milli imbalance_before, imbalance_after; /* percent */
    int64_t hosts_used_before, hosts_used_after;
    int64_t cost_before, cost_after;             /* of the search's objective, saturated */
    int64_t violations_before, violations_after; /* of must rules */
    int64_t n_plus;         /* asked of each step; what does not hold at the start cannot be */
    bool n_plus_holds;      /* at the start */
    int64_t relief_missing; /* relieve: how much could not leave, over all sources */
    int64_t makespan_ms;
    int64_t effort;            /* evaluations used: give it as problem.effort to replay */
    const char *stopped_by;    /* "done", "effort", "clock" */
    char reason[FIT_TEXT_MAX]; /* no actions: why there is nothing to do */
};

int planner_run(const struct planner_problem *p, struct planner_result **ret, struct err *err);
void planner_result_free(struct planner_result *r);

static inline void planner_result_freep(struct planner_result **r)
{
    planner_result_free(*r);
}

#endif
