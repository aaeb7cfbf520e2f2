/* state_priv.h - what the parts of the replicated state share: state.c (lookups, applying),
 * state_plans.c (plans made and changed), state_votes.c (people's commands), state_actions.c
 * (permits and reports), state_power.c (hosts that sleep), state_voters.c (the next group of
 * voters), state_audit.c (heads of the audit logs), state_image.c. Not for others. */
#ifndef SKEIN_AGENT_CORE_STATE_PRIV_H
#define SKEIN_AGENT_CORE_STATE_PRIV_H

#include <stdio.h>

#include "agent/core/state.h"
#include "proto/codec.h"

struct state {
    const struct node_conf *conf;
    uint64_t index, term;
    struct plan **plans; /* oldest first */
    size_t n_plans, cap_plans;
    Skein__RequestRecord **requests; /* oldest first */
    size_t n_requests, cap_requests;
    Skein__UsedCommand **used; /* oldest first */
    size_t n_used, cap_used;
    struct admin *admin;       /* owned */
    struct library *library;   /* owned */
    struct rulebook *rulebook; /* owned */
    struct tokens *tokens;     /* owned */
    Skein__AuditHead **heads;  /* sorted by host */
    size_t n_heads, cap_heads;
    Skein__Vote **orders; /* oldest first */
    size_t n_orders, cap_orders;
    struct trust *agreed;     /* owned; NULL: nothing is agreed on */
    Skein__HostPower **power; /* sorted by host */
    size_t n_power, cap_power;
    struct state_change last;
    struct voter_group next; /* number 0, or not the one after conf's: none is named */
};

static inline void set_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

/* ---- state.c ---- */

struct plan *state_find_plan(const struct state *st, const char *id); /* or NULL */
int state_need_plan(const struct state *st, const char *id, struct plan **ret, struct err *err);
Skein__RequestRecord *state_find_request(const struct state *st, const char *nonce);
bool state_request_open(const Skein__RequestRecord *r);
/* The newest permit with this id, and where it stands. */
const Skein__Permit *state_find_permit(const struct state *st, const char *id,
                                       const struct plan **ret_plan,
                                       const struct plan_item **ret_item);

/* ---- state_plans.c ---- */

int state_apply_put(struct state *st, const Skein__PlanPut *put, struct err *err);
int state_apply_change(struct state *st, const Skein__PlanChange *change, struct err *err);
/* The transition must be allowed. */
void state_set(struct state *st, struct plan *p, Skein__PlanState to, const char *reason);

/* ---- state_votes.c ---- */

int state_apply_envelope(struct state *st, const Skein__EnvelopePut *put, struct err *err);
int state_apply_token_use(struct state *st, const Skein__TokenUse *use, struct err *err);
int state_apply_close(struct state *st, const Skein__RequestClose *close, struct err *err);
/* state_gate without a verdict. */
int state_judge(const struct state *st, const struct plan *p, msec at, struct err *err);
void state_add_vote(struct plan *p, Skein__Vote *vote); /* takes vote */

Skein__Vote *state_vote_record(const struct gate_vote *v, const ProtobufCBinaryData *envelope,
                               msec at); /* new */

/* ---- state_orders.c ---- */

int state_apply_order(struct state *st, const struct gate_vote *v, const json_t *command,
                      const ProtobufCBinaryData *envelope, struct err *err);
int state_apply_order_remove(struct state *st, const struct gate_vote *v, struct err *err);
int state_apply_order_use(struct state *st, const Skein__OrderUse *use, struct err *err);
void state_add_order(struct state *st, Skein__Vote *vote); /* takes vote */

/* ---- state_roots.c ---- */

int state_apply_roots(struct state *st, const Skein__Roots *roots, struct err *err);
int state_restore_roots(struct state *st, const Skein__Roots *roots, msec at, struct err *err);
void state_drop_roots(struct state *st);
/* By what commands are judged when they are applied. */
int state_trust(const struct state *st, const struct trust **ret, struct err *err);

/* ---- state_actions.c ---- */

int state_apply_permit(struct state *st, const Skein__Permit *t, struct err *err);
int state_apply_report(struct state *st, const Skein__ActionReport *r, struct err *err);

/* ---- state_power.c ---- */

/* What an action's report, just taken, says of a host's sleep; others change nothing. */
void state_power_reported(struct state *st, const struct plan_move *m,
                          const Skein__ActionReport *r);
void state_power_clear(struct state *st);
void state_power_image(const struct state *st, Skein__StateImage *m);
int state_power_restore(struct state *st, const Skein__StateImage *m, struct err *err);

/* ---- state_voters.c ---- */

int state_apply_voters(struct state *st, const Skein__VoterGroup *m, struct err *err);

/* ---- state_audit.c ---- */

int state_apply_head(struct state *st, const Skein__AuditHead *head, struct err *err);

#endif
