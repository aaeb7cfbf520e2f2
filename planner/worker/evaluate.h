/* evaluate.h - one evaluation: trigger, sources, select, search (which asks filter and score),
 * filter and permit again on each projected state of the plan's steps, accept. Inside the worker
 * only. */
#ifndef SKEIN_PLANNER_WORKER_EVALUATE_H
#define SKEIN_PLANNER_WORKER_EVALUATE_H

#include "planner/core/planner.h"
#include "planner/worker/hooks.h"
#include "planner/worker/worker.h"

struct pair {
    int vm, host;
    struct planner_verdict verdict;
    int next; /* another one of the VM in evaluation.refused, or -1 */
};

struct evaluation {
    const struct worker_request *req;  /* borrowed, as the next two */
    struct sandbox_clock *clock;       /* NULL: nobody else counts Lua's time */
    struct sandbox_coverage *coverage; /* NULL: not wanted */

    /* The rest is evaluation_run()'s. */
    struct model *model;
    struct policy policy;
    struct sandbox *sandbox;
    struct api *api;
    struct hooks hooks;
    json_t *settings; /* [{name, params}] */
    msec now;
    uint64_t seed;
    bool triggered;
    char reason[FIT_TEXT_MAX];

    struct objective objective;
    bool *is_source, *candidate;
    int *sources;
    int n_sources;
    int64_t *vm_load, *host_room, *host_relief, *host_gain;
    struct pair *refused; /* in projected states of earlier rounds */
    size_t n_refused, cap_refused;
    int *refused_of;   /* [n_vms] the VM's newest in refused, or -1 */
    json_t *approvals; /* that permit asks for */
    struct planner_result *result;
    msec search_until; /* CLOCK_MONOTONIC: the search ends early there */
};

/* Evaluate: e->result is then the plan, with no actions where none is proposed, and e->reason why.
 * *e begins as {.req = ...}; evaluation_done() whatever comes of it. */
int evaluation_run(struct evaluation *e, struct err *err);
void evaluation_done(struct evaluation *e);

/* A sandbox as the request wants it. */
int evaluation_sandbox(const struct worker_request *req, struct sandbox_clock *clock, uint64_t seed,
                       struct sandbox_coverage *coverage, struct sandbox **ret, struct err *err);

/* The plan's body, from a finished evaluation; a new reference. */
int evaluation_body(struct evaluation *e, json_t **ret, struct err *err);

/* For one VM (MODEL_NONE: all candidates) and host (MODEL_NONE: all others): why it may not go
 * there, or its score: [{vm, host, code, message, relax, score, reason}]. At most
 * EVALUATION_PAIRS_MAX. A new reference. */
#define EVALUATION_PAIRS_MAX 20000
json_t *evaluation_pairs(struct evaluation *e, int vm, int host);

#endif
