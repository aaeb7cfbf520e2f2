/* world.h - the checker's own reading of a snapshot. Internal to check/.
 * -1 is "not known" for amounts. JSON is borrowed from world.doc. */
#ifndef SKEIN_PLANNER_CHECK_WORLD_H
#define SKEIN_PLANNER_CHECK_WORLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/hash.h"

struct w_host {
    const char *name, *state, *domain; /* domain may be NULL */
    bool plausible;
    int64_t memory, vcpus; /* what VMs may have of it, MiB and number */
    const json_t *json;
    double *copied_in; /* [storage] MiB of disks copied to it so far; NULL: none. Owned */
};

struct w_vm {
    const char *name, *uuid;
    int home, at;                           /* host, -1: nowhere */
    bool counts;                            /* it takes resources */
    bool started;                           /* by the plan: it held nothing at home */
    int64_t memory, vcpus, page_kib, pages; /* pages: then memory is not plain */
    const json_t *json;
};

struct w_rule {
    const char *name, *type;
    bool must;
    const char *scope;
    int64_t level, minimum;
    int *vms, n_vms;
    bool *hosts;    /* [n_hosts] named */
    int64_t before; /* violations in the state before */
};

struct world {
    json_t *doc;
    struct w_host *hosts;
    struct w_vm *vms;
    struct w_rule *rules;
    int n_hosts, n_vms, n_rules;
    json_t *host_index, *name_index, *uuid_index; /* name to number; -1: several of that name */
    int64_t total, inflow, outflow, n_plus;
    char digest[HASH_HEX_SIZE];
};

int world_read(const char *text, size_t len, struct world *ret, struct err *err);
void world_done(struct world *w);

int world_host(const struct world *w, const char *name);                 /* -1: none */
int world_vm(const struct world *w, const char *name, const char *uuid); /* -1: none or several */

/* Why vm, which runs on source, may not go to host, others apart; NULL: it may. copy: its local
 * disk is copied. */
const char *world_incompatible(const struct world *w, int vm, int source, int host, bool copy);

/* Where a copied disk goes: the number of the VM's storage that is local there, else of the freest;
 * -1: there is none. */
int world_copy_target(const json_t *vm, const json_t *storages);

/* Violations of one rule, with every VM at w->vms[].at; to, where given, is [n_vms] the hosts that
 * VMs are also at (-1: none), because they are on their way: rules that hold on both ends. */
int64_t world_violations(const struct world *w, const struct w_rule *r, const int *to);

/* The fewest domains the rule's VMs are spread over in any order of finishing the moves in to. */
int64_t world_fewest_domains(const struct world *w, const struct w_rule *r, const int *to);

bool world_same_domain(const struct world *w, const struct w_rule *r, int a, int b);

/* Would the VMs of any k occupied hosts fit on the others that are up? */
bool world_survives(const struct world *w, int64_t k);

#endif
