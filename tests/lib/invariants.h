/* invariants.h - what must always hold of a cluster, checked from facts.
 *
 * One checker for the simulation, the laboratory and people: it is fed with facts (who runs where,
 * what journals hold, what people signed, what hypervisors were told) in the order in which they
 * became true, and says which invariant a fact or the whole breaks. It shares nothing with the
 * agents: what they believe is a fact about them, never an excuse. A text form of facts
 * (facts_json.h) is described in tests/README.md.
 *
 * Numbers in messages are those of the list that the project keeps:
 *  1 one running copy   2 never in zero places   3 unknown is not failed   4 nothing starts by
 *  inference   5 no act without approval   6 each action once, journal first   7 capacity and order
 *  8 reservations   9 definite ends, cancel works   10 one planner a term   11 agreed state is kept
 *  12 limits   13 cancels and holds are honoured   15 same inputs, same bytes   16 audit first
 *  17 a restart changes nothing */
#ifndef SKEIN_TESTS_LIB_INVARIANTS_H
#define SKEIN_TESTS_LIB_INVARIANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/units.h"

/* name, text, what the fact says. Fields that a kind does not name are not looked at. */
#define FACT_KINDS(X)                                                                              \
    X(COMPLETE, "complete")   /* kinds: all facts of these kinds are given; "vote permit" */       \
    X(LIMITS, "limits")       /* total; ms: until a permit ends, timeout of a move, slack */       \
    X(HOST, "host")           /* host, memory_mib, vcpus: for VMs; inflow, outflow, voter */       \
    X(VM, "vm")               /* vm: its UUID; memory_mib, vcpus */                                \
    X(DOMAIN, "domain")       /* host, vm, what: its state or "absent"; persistent, job */         \
    X(OPERATOR, "operator")   /* vm: a person, not Skein, moves, stops or starts it now */         \
    X(BROKEN, "broken")       /* vm: its hypervisor lost or doubled it */                          \
    X(REPAIRED, "repaired")   /* vm: a person has put that right */                                \
    X(PLAN, "plan")           /* plan, what: its class; person: author of class user */            \
    X(ACTION, "action")       /* plan, action, vm, from, to, step */                               \
    X(VOTE, "vote")           /* plan, person, what: approve, reject, cancel; until */             \
    X(COMMAND, "command")     /* digest: the shared state took this signed command */              \
    X(LEADER, "leader")       /* host, term: it believes that it plans */                          \
    X(PERMIT, "permit")       /* committed: permit, plan, action, term, attempt */                 \
    X(CONFIRMED, "confirmed") /* permit, host: asked, from: the voter said yes, in its term */     \
    X(ADMITTED, "admitted")   /* host, plan, action: it found room, as seen at least at until */   \
    X(JOURNAL, "journal")     /* durable: host, plan, action, what: state or "absent" */           \
    X(AUDIT, "audit")         /* durable: host, what: event; plan, action */                       \
    X(CANCEL_KNOWN, "cancel-known") /* host, plan; what: "forgotten" when its agent died */        \
    X(STARTED, "started")     /* host told its hypervisor: plan, action, vm, to, permit; until:    \
                               * when it decided to */                                             \
    X(ABORTED, "aborted")     /* host told its hypervisor to abort: vm */                          \
    X(JOB_ENDED, "job-ended") /* vm: no migration job runs on it any more */                       \
    X(TIDIED, "tidied")       /* host removed the definition of vm */                              \
    X(ENDED, "ended")         /* host concludes: plan, action, what: succeeded, failed ... */      \
    X(REPORTED, "reported")   /* committed: plan, action, what; "returned": may be tried again */  \
    X(PLAN_STATE, "plan-state") /* committed: plan, what: ONGOING ... */                           \
    X(FORBIDDEN, "forbidden")   /* committed, what: freeze; cordon or drain of host; hold of vm */ \
    X(ALLOWED, "allowed")       /* committed: that has ended, what: freeze, cordon, hold */        \
    X(PLANNING, "planning")     /* host asks a policy; seen: hosts that told it of their VMs */    \
    X(DEAD, "dead")             /* host takes to for dead, though it lives and can be reached */   \
    X(IMAGE, "image")           /* host, index, digest: of the shared state there */               \
    X(CHECK, "check")           /* the whole is checked */                                         \
    X(SETTLED, "settled")       /* faults ended long ago: everything has come to its end */

enum fact_kind {

#define X(name, text) FACT_##name,
    FACT_KINDS(X)
#undef X
        FACT_KIND_COUNT
};

const char *fact_kind_name(enum fact_kind kind);

#define FACT_TEXTS(X)                                                                              \
    X(host) X(vm) X(plan) X(action) X(from) X(to) X(permit) X(person) X(what) X(digest) X(kinds)
#define FACT_NUMBERS(X)                                                                            \
    X(at)    /* ms; one clock for all facts */                                                     \
    X(until) /* ms */                                                                              \
    X(slack)                                                                                       \
    X(timeout)                                                                                     \
    X(seen) X(memory_mib) X(vcpus) X(inflow) X(outflow) X(total) X(term) X(step) X(attempt) X(index)
#define FACT_FLAGS(X)                                                                              \
    X(persistent)                                                                                  \
    X(job)         /* a migration job runs on the domain */                                        \
    X(destination) /* JOURNAL: the record of a reservation */                                      \
    X(voter)       /* HOST */

struct fact {
    enum fact_kind kind;

#define X(name) const char *name; /* borrowed for the call; NULL: not said */
    FACT_TEXTS(X)
#undef X
#define X(name) int64_t name;
    FACT_NUMBERS(X)
#undef X
#define X(name) bool name;
    FACT_FLAGS(X)
#undef X
};

struct invariants; /* opaque */

struct invariants *invariants_new(void);
void invariants_free(struct invariants *inv);

/* Takes a fact in. 0, or negative: it breaks an invariant (ERR_CONFLICT) or says nothing that can
 * be understood (ERR_INVALID). */
int invariants_fact(struct invariants *inv, const struct fact *fact, struct err *err);
/* Of the whole: copies, places, capacity, limits. */
int invariants_check(struct invariants *inv, struct err *err);

#endif
