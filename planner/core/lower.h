/* lower.h - a model and a goal as a bare instance: which resources there are, who may move, what
 * rules mean in counts, what each pair's policy says. Pure. */
#ifndef SKEIN_PLANNER_CORE_LOWER_H
#define SKEIN_PLANNER_CORE_LOWER_H

#include "planner/core/arena.h"
#include "planner/core/instance.h"
#include "planner/core/planner.h"
#include "planner/core/state.h"
#include "planner/core/verdicts.h"

/* Resources that every lowered instance has, by index; huge pages of each size follow. */
enum lower_resource {
    LOWER_MEMORY, /* MiB for VMs, hard */
    LOWER_VCPUS,  /* hard */
    LOWER_CPU,    /* milli-cores used: soft; up to the safety level where hosts are packed */
    LOWER_LOAD,   /* the caller's own, hard where there is one */
    LOWER_DISK,   /* MiB of local storage for copied disks; what a mover left is not given back */
    LOWER_PAGES   /* first of the huge-page sizes */
};

struct lower {
    const struct planner_problem *p;
    const struct model *m;
    struct instance in;
    struct arena arena; /* owns the instance's arrays */

    struct planner_weights weights;
    int deepest; /* components of the longest failure domain */

    int64_t page_kib[INSTANCE_RESOURCES_MAX]; /* [resource] size, 0 where it is no page pool */
    int64_t *promised;         /* [host * R + r] of the capacity, to moves under way: taken off */
    int *numa_vms, n_numa_vms; /* those bound to NUMA nodes */
    int *disk_kinds, n_disk_kinds; /* a VM for each list of storages among those with local disks */
    enum fit_code *movable;        /* [vm] FIT_OK, or why it stays */
    int *block; /* [vm] a number shared by VMs that only move together; own index else */
    int *block_first, *block_vms; /* [block] list, CSR by block number; n_vms + 1 */

    int *place_rule_first, *place_rule; /* [vm] must rules run-on and not-on, CSR */
    int *wish_rule_first, *wish_rule;   /* [vm] the same for should */
    uint8_t *rule_host;                 /* [rule * n_hosts + host]: named by a run-on or not-on */
    int *class_of;                      /* [vm] of VMs that fit the same hosts */
    int n_classes;
    uint8_t **class_row; /* [class][host] 0: not asked, 1: yes, 2: no */

    struct verdicts *verdicts; /* borrowed */
    int64_t conflict_tries;    /* left; see conflict.h */
};

/* Borrows both. */
struct lower *lower_new(const struct planner_problem *p, struct verdicts *verdicts);
void lower_free(struct lower *l);

static inline void lower_freep(struct lower **l)
{
    lower_free(*l);
}

static inline int64_t known_or_zero(int64_t q)
{
    return q == QUANTITY_UNKNOWN ? 0 : q;
}

/* Weights of one mode where the caller gave none. */
struct planner_weights lower_default_weights(enum planner_mode mode);

/* The caller's, or the mode's where it gave none. */
struct planner_weights lower_weights(const struct planner_problem *p);

/* What it is worth that the host is not in use: idle watts by its curve, else those it draws. */
int64_t lower_host_worth(const struct lower *l, int host);

/* Costs of the instance, once capacities and rules are in it; lower_new() calls it. */
void lower_terms(struct lower *l, const struct planner_weights *w);

/* The policy's answer, asked once; NULL without a policy. */
const struct planner_verdict *lower_judge(struct lower *l, int vm, int host);

/* Hosts that no must rule of placement forbids the VM: the first rule that does, or MODEL_NONE. */
int lower_place_rule(const struct lower *l, int vm, int host);

bool lower_rule_forbids(const struct lower *l, int rule, int host); /* of a run-on or not-on */

/* Why vm cannot go to host as s stands, with the smallest relaxation; FIT_OK: it can. code_text
 * gets the code's name, which may be the policy's own (64 bytes). */
enum fit_code lower_explain(struct lower *l, const struct state *s, int vm, int host,
                            char code_text[64], struct fit_refusal *ret);

#endif
