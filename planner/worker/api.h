/* api.h - the snapshot as policies see it: c, hosts, VMs, lists. Inside the worker only.
 *
 * Read-only tables, built when they are first looked at. An unknown quantity is nil, never 0; a
 * field that does not exist is an error. A view is one state of the fleet: the snapshot, or the
 * snapshot after some moves, each with objects of its own. */
#ifndef SKEIN_PLANNER_WORKER_API_H
#define SKEIN_PLANNER_WORKER_API_H

#include <jansson.h>

#include "planner/worker/figures.h"
#include "planner/worker/policy.h"

struct api;

/* What a policy said with c:refuse(). */
struct api_refusal {
    int vm, host; /* MODEL_NONE where it does not say */
    char code[64];
    char message[FIT_TEXT_MAX];
};

/* m and p are borrowed for the api's life. seed is shown as c.seed. */
int policy_api_new(struct policy *p, const struct model *m, msec now, uint64_t seed,
                   msec cooldown_ms, struct api **ret, struct err *err);
void policy_api_free(struct api *a);
DEFINE_CLEANUP(struct api, policy_api_free)

/* Make view API_PROJECTED the snapshot after these moves (vm -> to); what it was before is gone. */
enum { API_SNAPSHOT, API_PROJECTED };

int api_project(struct api *a, const struct planner_move *moves, int n, struct err *err);

/* Push c, a host, a VM of a view. May raise. */
void l_push_context(struct api *a, int view);
void l_push_host(struct api *a, int view, int host);
void l_push_vm(struct api *a, int view, int vm);

/* Push the tables of the view's hosts and of its VMs made so far, by index + 1. May raise. */
void l_push_made(struct api *a, int view);

/* The pair that is judged now, whose objects stand at these indices of the stack: what a policy
 * asks about just these two is answered sooner. Never raises. */
void api_judge(struct api *a, int view, int vm, int host, int idx_vm, int idx_host);

/* The index of the host (VM) that stands at idx, of any view, or MODEL_NONE. Never raises. */
int api_host_at(struct api *a, int idx);
int api_vm_at(struct api *a, int idx);

/* A list object from the table of items on top of the stack, which it replaces. May raise. */
void l_make_list(struct api *a);

const milli *api_heat(const struct api *a); /* [n_vms], see figures_heat() */

const json_t *api_notes(const struct api *a);                 /* {key: value} of c:note() */
void api_note(struct api *a, const char *key, json_t *value); /* takes value */
const struct api_refusal *api_refusals(const struct api *a, int *ret_n);

#endif
