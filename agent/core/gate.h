/* gate.h - may this plan be acted on? Asked by the voters, the source and the destination, each
 * with its own trust and its own clock. Pure.
 *
 * Every plan needs a standing order that covers it, or one approver (role approver or admin) who is
 * not the plan's author; gate rules that match it (proto/gates.h, signed by admins in the roster)
 * demand more. One rejection by an approver or admin vetoes; a cancel by an operator, approver or
 * admin ends it. A plan of class "user", which overrides holds, also needs
 * the signed request (operator or admin) of exactly its move, whose signer is its author: no
 * planner can invent one. A plan of class "rollback" needs the signed request (operator or admin)
 * that names every one of its moves; it is open by a fresh approval, or by one of the plan rolled
 * back that said that this is included. A plan of class "drill" does nothing but put one host on
 * standby and wake it, and needs the signed request (operator or admin) that names it. */
#ifndef SKEIN_AGENT_CORE_GATE_H
#define SKEIN_AGENT_CORE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/command.h"
#include "agent/core/order.h"
#include "agent/core/plan.h"
#include "agent/core/trust.h"
#include "proto/err.h"
#include "proto/gates.h"
#include "proto/hash.h"
#include "proto/skein.pb-c.h"
#include "proto/units.h"

#define GATE_ENVELOPE_MAX COMMAND_POLICY_MAX
#define GATE_VOTES_MAX 16 /* envelopes a plan may carry */
#define GATE_REASON_MAX COMMAND_REASON_MAX
#define GATE_PARAMETERS_MAX 512

enum gate_verb {
    GATE_APPROVE,
    GATE_REJECT,
    GATE_CANCEL,
    GATE_MIGRATE,
    GATE_ORDER,
    GATE_ORDER_REMOVE,
    GATE_PAUSE,
    GATE_RESUME,
    GATE_ROLLBACK,
    GATE_DRILL
};

const char *gate_verb_name(enum gate_verb v); /* "approve" */
bool gate_asks_for_plan(enum gate_verb v);    /* a request, not a word about a plan that there is */

/* A verified command about a plan, or a request for a move. */
struct gate_vote {
    enum gate_verb verb;
    char person[128], key[HASH_HEX_SIZE], nonce[HASH_HEX_SIZE];
    char envelope_digest[HASH_HEX_SIZE];
    unsigned roles;
    msec issued_at, expires_at;
    char plan[PLAN_ID_SIZE], digest[HASH_HEX_SIZE]; /* all but migrate */
    bool rollback;                                  /* approve: putting things back included */
    char vm[256], uuid[UUID_SIZE], to[256];         /* migrate; drill: to, the host */
    char parameters[GATE_PARAMETERS_MAX];           /* migrate: how, as JSON; "": as is best */
    char reason[GATE_REASON_MAX];                   /* may be empty */
    char ticket[GATES_TICKET_MAX + 1];              /* approve; may be empty */
    struct order order;                             /* order; order-remove: its id is in digest */
};

/* Reads a command that was verified: known type, all fields well formed, a role that may give it.
 */
int gate_command(const struct trust_command *c, struct gate_vote *ret, struct err *err);
/* Verifies one envelope as of wall and reads its command: known type, all fields well formed, a
 * role that may give it. ERR_DENIED for the role, trust's errors for the rest. */
int gate_read(const struct trust *trust, const char *cluster_uuid, const uint8_t *envelope,
              size_t len, msec wall, struct gate_vote *ret, struct err *err);

struct gate_verdict {
    bool open; /* it may be acted on */
    bool rejected, cancelled, rollback;
    unsigned approvals, needed; /* distinct people who count; of the rule that asks most */
    char author[128];           /* class user: who asked; else "" */
    char approvers[256];        /* "anna, bert", cut if longer */
    char order[HASH_HEX_SIZE];  /* of the standing order that approves it; "": people do */
    char order_name[65];
    unsigned order_moves_per_hour;
    msec open_until; /* open: when the approvals that count have expired */
};

/* What gate rules ask about VMs, which a body does not say. */
struct gate_facts {
    const Skein__VmDetail *vm; /* whoever acts: its move's VM as it is; NULL: not known */
    char *const *rules;        /* voters: names of the rules that the VMs' tags bring in */
    size_t n_rules;
};

/* Does this rule concern the plan? facts may be NULL. A rule for tags concerns it where the VM
 * known has them, or where it is named. */
bool gate_rule_concerns(const struct gate_rule *rule, const struct plan_body *body,
                        const struct gate_facts *facts);
/* Does a VM carry all of the rule's tags? */
bool gate_rule_tags(const struct gate_rule *rule, const Skein__VmDetail *vm);

/* The rules over votes already verified; those expired at wall or about another plan do not count.
 * 0 when open; else ERR_DENIED with the reason in one line. ret is filled either way. rules and
 * facts may be NULL. */
int gate_judge(const struct gate_rules *rules, const struct gate_facts *facts,
               const struct plan_body *body, const struct gate_vote *votes, size_t n, msec wall,
               struct gate_verdict *ret, struct err *err);

/* Is it nothing but this host's sleep and wake, or its wake alone? */
bool gate_is_drill(const struct plan_body *body, const char *host);

/* May moves of this plan begin at wall, by the rules' windows? begun: the plan has (whoever acts
 * cannot tell, and says yes). 0, or ERR_UNAVAILABLE, which passes with time. */
int gate_when(const struct gate_rules *rules, const struct gate_facts *facts,
              const struct plan_body *body, bool begun, msec wall, struct err *err);

/* Is there a signed rollback among these envelopes that names every move of the body? */
int gate_rollback_names(const struct trust *trust, const char *cluster_uuid,
                        const struct plan_body *body, const ProtobufCBinaryData *approvals,
                        size_t n, msec wall, struct err *err);

/* Everything from bytes: recomputes the digest from the body, verifies each envelope, judges by
 * trust's rules. What does not verify does not count; err then says why the first such one did not.
 * 0 when open. */
int gate_check(const struct trust *trust, const char *cluster_uuid, const uint8_t *body,
               size_t body_len, const ProtobufCBinaryData *approvals, size_t n,
               const struct gate_facts *facts, msec wall, char ret_digest[HASH_HEX_SIZE],
               struct gate_verdict *ret, struct err *err);

#endif
