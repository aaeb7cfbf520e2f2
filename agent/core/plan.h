/* plan.h - one plan in the replicated state: what its body says, where it stands, what came of it.
 * Pure and deterministic. state.c changes plans; everyone else reads them. */
#ifndef SKEIN_AGENT_CORE_PLAN_H
#define SKEIN_AGENT_CORE_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "planner/core/migration.h"
#include "planner/core/plan_doc.h" /* PLAN_SCHEMA, PLAN_ID_SIZE */
#include "proto/err.h"
#include "proto/hash.h"
#include "proto/skein.pb-c.h"
#include "proto/units.h"
#include "proto/util.h"

#define PLAN_BODY_MAX (512u << 10) /* with its approvals it must fit into one frame */
#define PLAN_MOVES_MAX 1000
#define PLAN_ACTION_ID_MAX 64

/* An action of a body. This version carries out migrations over TLS, shuts VMs down and saves them
 * to disk where they are, puts hosts on standby and wakes them, and refuses bodies that ask for
 * anything else. Only migrations go from one host to another: of the others from and to are the
 * host; of those about a host alone vm is its name, and uuid is "". Strings are owned by the body.
 */
struct plan_move {
    enum plan_action_type type; /* PLAN_MIGRATE, _SHUTDOWN, _SUSPEND, _STANDBY, _WAKE */
    char *id, *vm, *uuid, *from, *to, *reason;
    unsigned step; /* from 0; a step begins when the earlier ones have ended */
    struct migration_choice how;
    uint32_t bandwidth_mib_s, downtime_ms; /* 0: not asked for */
    msec estimate_ms;                      /* predictions; 0: none */
    uint32_t estimate_downtime_ms;
    uint64_t estimate_mib;
};

/* What those who carry a plan out need of its body. */
struct plan_body {
    char digest[HASH_HEX_SIZE]; /* recomputed */
    char id[PLAN_ID_SIZE];
    char *class, *reason;              /* owned */
    char *policy, *snapshot_digest;    /* owned; policy is "" for a person's own move */
    char policy_digest[HASH_HEX_SIZE]; /* "" where the body has none */
    struct plan_move *moves;           /* in the order of steps */
    size_t n_moves;
    unsigned n_steps;
};

/* Strict: a field that is missing, of another type or out of range, an action of an unknown type,
 * a VM moved twice in a step are errors that name the place. */
int plan_body_parse(const uint8_t *bytes, size_t len, struct plan_body **ret, struct err *err);
void plan_body_free(struct plan_body *b);
DEFINE_CLEANUP(struct plan_body, plan_body_free)
const struct plan_move *plan_body_move(const struct plan_body *b, const char *action);
bool plan_move_is_power(const struct plan_move *m);    /* standby or wake: of a host, not of a VM */
bool plan_move_is_in_place(const struct plan_move *m); /* shutdown or suspend, of a VM */
const char *plan_move_what(const struct plan_move *m); /* "VM" or "host", before its name */
/* Are both about one VM, or both about one host's power? */
bool plan_move_same_subject(const struct plan_move *a, const struct plan_move *b);
/* Who acts under a permit: of a migration the VM's host; of standby the host itself; a host is
 * woken by any other, whom the planner chooses. */
bool plan_move_permits(const struct plan_move *m, const char *source, const char *destination);
bool plan_body_switches_power(const struct plan_body *b); /* is any action standby or wake? */
bool plan_body_only_moves(const struct plan_body *b);     /* is every action a migration? */
/* Classes of plans that answer a person's request: user, rollback, drill. */
bool plan_class_is_asked_for(const char *class);
/* The same VMs from and to the same hosts, in any order, for the same policy. */
bool plan_body_same_moves(const struct plan_body *a, const struct plan_body *b);

/* An action's life. */
struct plan_item {
    const struct plan_move *move; /* in plan->body */
    Skein__Permit *permit;        /* the newest, or NULL; owned */
    Skein__ActionReport *report;  /* the newest, or NULL; owned */
};

struct plan {
    Skein__PlanPut *put;    /* id, digest, body bytes, expires_at_ms, author, request; owned */
    struct plan_body *body; /* owned */
    Skein__PlanState state;
    char *reason; /* of the last change of state; owned, never NULL */
    msec made_at, changed_at;
    uint64_t made_in_term;
    struct plan_item *items; /* n = body->n_moves, same order; owned */
    Skein__Vote **votes;     /* owned */
    size_t n_votes, cap_votes;
};

/* Parses and checks put; copies it. State, times and term are the caller's to set. */
int plan_new(const Skein__PlanPut *put, struct plan **ret, struct err *err);
void plan_free(struct plan *p);
DEFINE_CLEANUP(struct plan, plan_free)

const char *plan_state_name(Skein__PlanState s);    /* "PENDING_APPROVAL" */
const char *plan_action_name(Skein__ActionState s); /* "NEEDS_OPERATOR" */
bool plan_state_ended(Skein__PlanState s);          /* nothing changes any more */
bool plan_state_running(Skein__PlanState s);        /* ONGOING, PAUSED, CANCELLING, ROLLING_BACK */
bool plan_action_ended(Skein__ActionState s);       /* NEEDS_OPERATOR too */
bool plan_transition_allowed(Skein__PlanState from, Skein__PlanState to);
bool plan_report_allowed(Skein__ActionState from, Skein__ActionState to);
/* What must hold of every plan after every change; 0, or ERR_INTERNAL naming what does not. */
int plan_invariant(const struct plan *p, struct err *err);

struct plan_item *plan_item(const struct plan *p, const char *action); /* or NULL */
Skein__ActionState plan_item_state(const struct plan_item *i);
/* A permit was committed and the action has not ended: it takes a place within the limits. */
bool plan_item_live(const struct plan_item *i);
/* An attempt failed and left the VM where it was: it waits for another permit. */
bool plan_item_returned(const struct plan_item *i);
/* The step whose actions may run: the first with an action not ended; n_steps when all ended. */
unsigned plan_step(const struct plan *p);
size_t plan_count(const struct plan *p, Skein__ActionState s);
/* SUCCEEDED, PARTIAL, FAILED or CANCELLED: what a plan whose actions have all ended ends in. */
Skein__PlanState plan_outcome(const struct plan *p);

/* A failure under another permit than the newest: of an attempt that is over. A success under any
 * permit counts. */
bool plan_report_is_stale(const struct plan_item *i, const Skein__ActionReport *r);

/* The votes' envelopes, for Request.start; an array of n_votes to be freed, bytes borrowed. */
ProtobufCBinaryData *plan_envelopes(const struct plan *p);

json_t *plan_doc(const struct plan *p);     /* skein.plan/1 with approvals and results */
json_t *plan_summary(const struct plan *p); /* one line of a list */
json_t *plan_report(const struct plan *p);  /* what, why, who, how long; predicted and measured */

#endif
