/* solve.h - what each mode does: from the snapshot's assignment to a better one. Pure; internal to
 * the core. */
#ifndef SKEIN_PLANNER_CORE_SOLVE_H
#define SKEIN_PLANNER_CORE_SOLVE_H

#include "planner/core/lower.h"
#include "planner/core/state.h"

struct solve {
    struct lower *l;
    struct state *s; /* ends at the target */
    const struct planner_problem *p;
    int64_t effort;                   /* evaluations left in all */
    bool stopped;                     /* by the caller's clock */
    struct planner_refusal *refusals; /* owned until handed over */
    size_t n_refusals, cap_refusals;
    int64_t relief_missing;
    char reason[FIT_TEXT_MAX]; /* why nothing is to be done */
};

void solve_relieve(struct solve *x);
void solve_drain(struct solve *x);
void solve_moves(struct solve *x);
void solve_enforce(struct solve *x);
void solve_balance(struct solve *x);
void solve_restart(struct solve *x);
void solve_consolidate(struct solve *x);

/* Shared by the modes. */

/* All VMs that move with vm, as a list within l. */
const int *solve_block(const struct lower *l, int vm, int *ret_n);

/* Cost of putting vm's block on host; STATE_INFEASIBLE where it cannot. */
int64_t solve_block_delta(struct solve *x, int vm, int host);
void solve_move_block(struct solve *x, int vm, int host);

/* The cheapest host for vm's block as things stand, or MODEL_NONE. */
int solve_best_host(struct solve *x, int vm, int64_t *ret_delta);

bool solve_out_of_effort(struct solve *x);

/* May vm's block move, too, with no more moves than the problem allows? If not, refuses it where
 * asked. */
bool solve_may_move(const struct solve *x, int vm);
void solve_refuse_limit(struct solve *x, int vm);

struct planner_refusal *solve_refuse(struct solve *x, int vm, int host, const char *code);

/* Why vm's block has no host: one refusal for each of a few hosts, nearest to allowing it first,
 * and one for all. */
void solve_explain_vm(struct solve *x, int vm);

#endif
