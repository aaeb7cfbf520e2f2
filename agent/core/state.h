/* state.h - the replicated state machine: plans, permits, what people signed.
 * Deterministic: the same entries give the same state, and the same image to the byte, on every
 * voter; time comes from the entries. What an entry may not do is refused, and then changes nothing
 * but index and term. It is here that a planner is held to the rules: no permit without approval,
 * one live permit an action, no state that people alone may give. */
#ifndef SKEIN_AGENT_CORE_STATE_H
#define SKEIN_AGENT_CORE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/admin.h"
#include "agent/core/gate.h"
#include "agent/core/library.h"
#include "agent/core/plan.h"
#include "agent/core/rulebook.h"
#include "agent/core/step.h"
#include "agent/core/tokens.h"
#include "proto/err.h"
#include "proto/skein.pb-c.h"

#define STATE_ENDED_MAX 500             /* ended plans that are kept, ... */
#define STATE_ENDED_BYTES (16u << 20)   /* ... within so many bytes of bodies */
#define STATE_OPEN_MAX 64               /* plans that have not ended */
#define STATE_REQUESTS_MAX 64           /* people's requests; answered ones go first */
#define STATE_USED_MAX 4096             /* envelopes that are remembered until they expire */
#define STATE_PERMIT_MAX_MS (5 * 60000) /* no permit lives longer */

struct state;

enum state_change_kind {
    STATE_PLAN_NEW,
    STATE_PLAN_CHANGED,
    STATE_APPROVAL, /* approve, reject, cancel, or a standing order; the plan's state may have
                       changed with it */
    STATE_PERMIT,
    STATE_REPORT,
    STATE_COMMAND, /* a request for a move came or was closed */
    STATE_ADMIN,   /* a person ordered something of hosts, VMs or the whole */
    STATE_ORDER,   /* a standing order was given or taken back: verb, about */
    STATE_HEAD,    /* of a host's audit log */
    STATE_POLICY,  /* a policy came or changed its stage: about; policy, unless from a file */
    STATE_RULE,    /* a person gave a rule or took one back: about, its name; rule */
    STATE_TOKEN,   /* a token was given, taken back or used: about, its host; token; digest */
    STATE_VOTERS,  /* the group of voters has ended: state_next_group */
    STATE_ROOTS,   /* roots, revocations or roster: about */
    STATE_REFUSED,
};

/* What the last state_apply did. */
struct state_change {
    enum state_change_kind kind;
    uint64_t index, term;
    msec at;
    char plan[PLAN_ID_SIZE];         /* "" where none is concerned */
    char action[PLAN_ACTION_ID_MAX]; /* PERMIT, REPORT */
    bool repeated;                   /* REPORT: it was known already; nothing changed */
    Skein__PlanState from, to;       /* equal where the plan's state stays */
    bool command;                    /* a person's: APPROVAL, COMMAND, ADMIN, REFUSED */
    enum gate_verb verb;             /* APPROVAL */
    enum admin_verb admin;           /* ADMIN */
    enum library_verb policy;        /* POLICY with command */
    enum rulebook_verb rule;         /* RULE */
    enum tokens_verb token;          /* TOKEN */
    char about[512];                 /* ADMIN: hosts, the VM, or until when; POLICY: its name ... */
    char digest[HASH_HEX_SIZE];      /* ... and the version */
    char reason[COMMAND_REASON_MAX]; /* ADMIN */
    char who[128];                   /* ... the person */
    char request[HASH_HEX_SIZE];     /* COMMAND, PLAN_NEW of class user: its nonce */
    struct err err;                  /* REFUSED */
};

/* Borrows conf (trust, cluster_uuid). */
struct state *state_new(const struct node_conf *conf);
void state_free(struct state *st);
DEFINE_CLEANUP(struct state, state_free)

/* 0, or negative: refused, err says why. term is the one that the entry was committed in. */
int state_apply(struct state *st, const Skein__Entry *entry, uint64_t index, uint64_t term,
                struct err *err);
const struct state_change *state_last(const struct state *st); /* of the last state_apply */

/* The whole state; free with skein__state_image__free_unpacked(image, NULL). */
Skein__StateImage *state_image(const struct state *st);
/* Replaces everything; on failure nothing changes. */
int state_restore(struct state *st, const Skein__StateImage *image, struct err *err);

/* Plans are borrowed until the next state_apply or state_restore. NULL: none, or not unique. */
struct plan *state_plan(const struct state *st, const char *id_or_unique_prefix);
size_t state_plans(const struct state *st, struct plan *const **ret); /* oldest first */
/* A permit that is the newest of its action, or NULL; and the term it was committed in. */
const Skein__Permit *state_permit(const struct state *st, const char *permit_id,
                                  uint64_t *ret_term_committed);
/* May an action be started under this permit at wall? What a voter answers to ConfirmPermit: the
 * permit is the newest of its action, unchanged, of the present term and not expired; the plan is
 * ONGOING, its gate open, the action not ended. 0, or why not. */
int state_confirm(const struct state *st, const Skein__Permit *permit, msec wall, struct err *err);

/* The policies and their stages; never NULL. */
const struct library *state_library(const struct state *st);
/* The rules that people gave; never NULL. */
const struct rulebook *state_rulebook(const struct state *st);
/* The tokens by which hosts may join; never NULL. */
const struct tokens *state_tokens(const struct state *st);
/* What people have ordered of hosts, VMs and the whole; never NULL. */
const struct admin *state_admin(const struct state *st);
/* On an agent that does not vote: what the planner tells it of these orders; as admin_learn. */
void state_learn(struct state *st, const Skein__Bulletin *bulletin, msec wall);

/* People's requests, oldest first; open ones have neither plan nor message. */
size_t state_requests(const struct state *st, Skein__RequestRecord *const **ret);
const Skein__RequestRecord *state_request(const struct state *st, const char *nonce);

/* Standing orders in force (some may have expired), oldest first; key is the order's digest. */
size_t state_orders(const struct state *st, Skein__Vote *const **ret);
int state_read_order(const Skein__Vote *v, struct order *ret, struct err *err);
/* One that would approve this waiting plan at wall, its budget included; NULL, and why not. */
const Skein__Vote *state_order_for(const struct state *st, const struct plan *p, msec wall,
                                   struct err *err);

/* By what the voters judge what people signed; NULL: nothing is agreed on yet. */
const struct trust_roots *state_roots(const struct state *st);
/* Would these be agreed on at wall? */
int state_check_roots(const struct state *st, const struct trust_roots *roots, msec wall,
                      struct err *err);
Skein__Roots *state_roots_message(const struct trust_roots *roots); /* new */

/* What is known of a host's sleep; NULL: it was never put on standby. All of them, sorted by host.
 */
const Skein__HostPower *state_power(const struct state *st, const char *host);
size_t state_powers(const struct state *st, Skein__HostPower *const **ret);

/* The newest signed heads of the hosts' audit logs, sorted by host. */
size_t state_heads(const struct state *st, Skein__AuditHead *const **ret);

/* The gate of a plan in the state, by the votes verified when they were applied; as gate_judge. */
int state_gate(const struct state *st, const struct plan *p, msec wall, struct gate_verdict *ret,
               struct err *err);
/* What is known of a plan's VMs for the rules. */
struct gate_facts state_gate_facts(const struct plan *p);
/* May its moves begin, by the gate rules' windows and notices: ERR_UNAVAILABLE passes with time. */
int state_gate_when(const struct state *st, const struct plan *p, msec wall, struct err *err);
/* May this action begin, by the rules' canaries: ERR_UNAVAILABLE passes, ERR_CANCELLED does not. */
int state_gate_canary(const struct state *st, const struct plan *p, const struct plan_item *i,
                      msec wall, struct err *err);
/* The rules that the voters judge by; NULL: none. */
const struct gate_rules *state_gates(const struct state *st);

/* The group of voters that was named, the last that was applied in the present one; or NULL. */
const struct voter_group *state_next_group(const struct state *st);
/* The voters of the configuration are others now. */
void state_voters_changed(struct state *st);

uint64_t state_index(const struct state *st);
uint64_t state_term(const struct state *st);

#endif
