/* instance.h - a placement problem in bare numbers: what the search and the sequencer work on.
 * Made from a model (lower.h), or by a reader of another format. Pure; only read while searching.
 *
 * VMs need resources, hosts have them; sets of VMs are counted by the domains of a scope (scope 0:
 * each host its own domain), and rules speak of those counts. Costs are saturating integers. */
#ifndef SKEIN_PLANNER_CORE_INSTANCE_H
#define SKEIN_PLANNER_CORE_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_RESOURCES_MAX 32
#define INSTANCE_EVEN_MAX 8

struct inst_resource {
    bool transient;      /* a VM that left keeps holding it where it began */
    int64_t load_weight; /* cost of each unit above the host's safety level */
};

/* Counted by domain; members do not change. */
struct inst_set {
    const int *members;
    int n, scope;
};

enum inst_kind {
    INST_APART,    /* at most one of the set in a domain; a violation: each one above */
    INST_TOGETHER, /* all of the set in one domain; each one outside the largest part */
    INST_SPREAD,   /* the set in at least `minimum` domains; each one missing */
    INST_BESIDE,   /* each of the set has one of `other` in its domain; each one without */
    INST_ALONE     /* no others on hosts of the set; each other one */
};

struct inst_rule {
    enum inst_kind kind;
    bool hard;
    int set, other;
    int64_t minimum, weight; /* weight: cost of a violation of a soft one */
    int origin;              /* the model's rule, or -1 */
};

/* Free amount of r2 wanted for each free unit of r1: weight * max(0, target*free1 - free2). */
struct inst_balance {
    int r1, r2;
    int64_t target, weight;
};

/* Evenness: weight times the standard deviation over hosts of use[r] / base[host] (hosts with base
 * 0 are left out): the cost of a deviation of 1. */
struct inst_even {
    int resource;
    const int64_t *base; /* [n_hosts] */
    int64_t weight;
};

struct instance {
    int n_hosts, n_vms, n_resources;
    struct inst_resource resource[INSTANCE_RESOURCES_MAX];
    int64_t *capacity, *safety; /* [host * n_resources + r] */
    int64_t *demand;            /* [vm * n_resources + r] */
    int *initial;               /* [vm]; -1: it is nowhere and stays out */
    bool *fixed;                /* [vm] it may not move; NULL: all may */
    bool *joined;               /* [vm] it moves only with others: searches let it be; NULL: none */
    bool *closed;               /* [host] nothing enters; NULL: all are open */

    int n_scopes;
    int **domain;   /* [scope][host] */
    int *n_domains; /* [scope] */
    struct inst_set *sets;
    int n_sets;
    struct inst_rule *rules;
    int n_rules;

    /* May vm live on host, other VMs apart? NULL: it may. Answers must not change. */
    bool (*allowed)(void *ctx, int vm, int host);
    void *allowed_ctx;

    struct inst_balance *balances;
    int n_balances;
    struct inst_even even[INSTANCE_EVEN_MAX];
    int n_even;
    int64_t *open_cost; /* [host] for being in use; NULL: none */
    int64_t *move_cost; /* [vm]; NULL: none */
    int *service;       /* [vm] for service_weight; NULL: none */
    int n_services;
    int64_t service_weight;  /* times the most moves of any service */
    const int64_t *distance; /* [from * n_hosts + to]; NULL: none */
    int64_t distance_weight;
    int64_t (*pair_cost)(void *ctx, int vm, int host); /* only where vm is not at home; or NULL */
    void *pair_ctx;
};

#endif
