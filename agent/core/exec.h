/* exec.h - what this host does: the state machine of an action. Moves that leave it; its own
 * standby; other hosts that it wakes.
 * Pure. Acts only on what it verified itself: approvals over the plan's digest, the permit with a
 * majority of voters. The journal is written before each act (STARTED in the same step as the
 * hypervisor's job: the shell makes it durable first). Unknown is not failed: when a job has ended,
 * well or not, or a restarted agent finds STARTED, both hosts are observed until what they say
 * agrees; only then is anything tidied or reported. Every state has a deadline, and cancelling
 * works in every state.
 *
 *   CONFIRM -> LOOK -> PRECHECK -> RESERVE -> RUNNING -> SETTLE -> TIDY -> DONE
 *      (each of the first four may end as NOT_STARTED: forgotten, a new permit may start it; or
 *      as UNDONE)                         ADOPTED <-> SETTLE -> UNDONE | NEEDS_OPERATOR
 *
 * Of standby: CONFIRM -> LOOK -> ANNOUNCE -> RUNNING -> SETTLE -> DONE | UNDONE, and of a wake
 * without ANNOUNCE: exec_power.c.
 *
 * UNDONE is an attempt's end: a permit that was issued later may begin another one.
 *
 * Sends to this host itself (conf->host) must come back as frames; node does that. */
#ifndef SKEIN_AGENT_CORE_EXEC_H
#define SKEIN_AGENT_CORE_EXEC_H

#include "agent/core/step.h"
#include "agent/core/view.h"
#include "planner/core/planner.h" /* enum plan_action_type */

struct state;
struct exec; /* opaque */

/* name, what the planner is told */
#define EXEC_STATES(X)                                                                             \
    X(CONFIRM, ACTION_PERMITTED)  /* asking the voters */                                          \
    X(LOOK, ACTION_PERMITTED)     /* is the VM here and idle? */                                   \
    X(PRECHECK, ACTION_PERMITTED) /* may it leave? */                                              \
    X(RESERVE, ACTION_PERMITTED)  /* asking the destination */                                     \
    X(ANNOUNCE, ACTION_RUNNING)   /* standby: telling everybody */                                 \
    X(RUNNING, ACTION_RUNNING)    /* our job runs */                                               \
    X(ADOPTED, ACTION_RUNNING)    /* a job of an earlier life runs */                              \
    X(SETTLE, ACTION_UNKNOWN)     /* observing both hosts */                                       \
    X(TIDY, ACTION_RUNNING)       /* removing the definition left here */                          \
    X(DONE, ACTION_SUCCEEDED)                                                                      \
    X(UNDONE, ACTION_FAILED) /* or CANCELLED, SKIPPED: by its code */                              \
    X(NEEDS_OPERATOR, ACTION_NEEDS_OPERATOR)

enum exec_state {

#define X(name, action) EXEC_##name,
    EXEC_STATES(X)
#undef X
        EXEC_STATE_COUNT
};

const char *exec_state_name(enum exec_state state);
bool exec_transition_allowed(enum exec_state from, enum exec_state to);

/* view and state are borrowed for the object's life. */
struct exec *exec_new(const struct view *view, const struct state *state);
void exec_free(struct exec *e);
/* A record of an earlier life; those of a destination are ignored. Work on it begins with the first
 * tick. */
void exec_load(struct exec *e, const Skein__JournalRecord *record);

/* Request.start and, query_only, Request.query. Idempotent: an action that is known is answered by
 * its present ActionReport at once. A new one is answered when the voters have spoken: by a report
 * (PERMITTED), or by an error with nothing started: DENIED, EXPIRED and INVALID for good, LIMIT,
 * CONFLICT, UNAVAILABLE and TIMEOUT perhaps later. query_only answers PENDING for an action that
 * was never started here. */
void exec_start(struct exec *e, struct step *s, const char *from, uint64_t id,
                const Skein__StartAction *start, bool query_only);

/* Results and replies whose token has OWNER_EXEC. from: the reply's authenticated sender. */
void exec_hv(struct exec *e, struct step *s, const struct hv_result *result);
void exec_reply(struct exec *e, struct step *s, const char *from, const Skein__Reply *reply);
void exec_tick(struct exec *e, struct step *s);
/* Who plans now ("" when unknown) and the newest term heard of. */
void exec_role(struct exec *e, const char *leader, uint64_t term);

/* What the journal of this source holds of an action; JOURNAL_NONE when it knows nothing of it. */
Skein__JournalState exec_journal(const struct exec *e, const char *plan, const char *action);

/* Standby: nothing may arrive any more; this host tells that it sleeps; it has left the mesh until
 * it has slept, or did not. */
bool exec_is_closed(const struct exec *e);
bool exec_is_sleeping(const struct exec *e);
bool exec_is_away(const struct exec *e);
/* How many VMs are arriving here, as reserve counts them: none may when it is put on standby. */
void exec_arrivals(struct exec *e, size_t n);

/* For the API and the summary's in_flight. Sorted by plan and action. */
struct exec_item {
    enum plan_action_type type;
    const char *plan, *action, *vm, *uuid, *from, *to; /* borrowed until the next change */
    enum exec_state state;
    bool active; /* not terminal */
    bool reported;
    enum err_code code;
    const char *message, *evidence; /* "" when there is none */
    uint64_t started_at_ms, ended_at_ms;
    struct hv_progress progress; /* the last seen */
};

size_t exec_count(const struct exec *e);
void exec_item(const struct exec *e, size_t i, struct exec_item *ret);
bool exec_waits(const struct exec *e);    /* for exec_tick: something is not told or not ended */
size_t exec_active(const struct exec *e); /* moves leaving now */

#endif
