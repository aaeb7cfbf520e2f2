/* verify.h - what source and destination both check of a request to act, before anything else.
 * Pure. Each calls it with its own trust, clock and name; nobody's check stands for another's. */
#ifndef SKEIN_AGENT_CORE_VERIFY_H
#define SKEIN_AGENT_CORE_VERIFY_H

#include "agent/core/gate.h"
#include "agent/core/plan.h"
#include "agent/core/step.h"
#include "agent/core/view.h"

/* Where to learn the tags of the move's VM: as it was described, else from what this host sees. */
struct verify_vm {
    const Skein__VmDetail *vm;
    const struct view *view;
};

/* Verified: the gate is open for exactly this body and this VM, the permit names one of its actions
 * with its hosts and is of now, the gate rules' windows are open. *ret_body is new; *ret_move is
 * within it. Errors: INVALID, DENIED, EXPIRED, UNSUPPORTED and what trust says. ret_verdict is
 * filled in where the gate was asked (NULL allowed). Whether voters committed the permit is not
 * asked here: confirm.h. */
int verify_action(const struct step *s, const ProtobufCBinaryData *body,
                  const ProtobufCBinaryData *approvals, size_t n_approvals,
                  const Skein__Permit *permit, const struct verify_vm *vm,
                  struct gate_verdict *ret_verdict, struct plan_body **ret_body,
                  const struct plan_move **ret_move, struct err *err);

/* The latest monotonic moment to start under a permit that is valid now: a wall clock that is set
 * back meanwhile cannot prolong it. */
msec verify_start_by(const struct step *s, const Skein__Permit *permit);

/* Refusals that were audited: a request that is repeated every second is told once. */
#define VERIFY_REFUSALS 32

struct verify_refusals {
    char seen[VERIFY_REFUSALS][96];
    unsigned next;
};

/* Audits EVENT with {plan, action, from, code, reason} unless it did lately. */
void verify_refused(struct verify_refusals *r, struct step *s, const char *event, const char *from,
                    const Skein__Permit *permit, const struct err *err);

/* Send a request; again with the same *token once it has one, so that a late answer to an earlier
 * try still counts. */
void verify_ask(struct step *s, enum owner owner, const char *host, Skein__Request *request,
                uint64_t *token);

#endif
