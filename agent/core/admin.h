/* admin.h - what people have ordered of hosts, VMs and the whole: cordons, drains, maintenance,
 * freezes, holds. Part of the replicated state: deterministic, time comes from the entries. Every
 * record carries the signed command it stands for. A host without a record is up.
 *
 *   up -> cordoned -> draining -> maintenance      (each may follow each)
 *   cordoned -> up                                 uncordon
 *   draining, maintenance -> up                    restore: while VMs that left for the drain are
 *                                                  away, the record stays and they are brought home
 *
 * A move that these forbid gets no permit, is not confirmed, and is refused by both its agents. */
#ifndef SKEIN_AGENT_CORE_ADMIN_H
#define SKEIN_AGENT_CORE_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/core/command.h"
#include "agent/core/plan.h"
#include "proto/skein.pb-c.h"

#define ADMIN_COMMAND_HOSTS 64    /* hosts that one command may name */
#define ADMIN_HOSTS_MAX 1024      /* records */
#define ADMIN_DEPARTURES_MAX 2000 /* of one host */
#define ADMIN_FREEZES_MAX 16
#define ADMIN_HOLDS_MAX 1000
#define ADMIN_FREEZE_MAX_S (30 * 86400)
#define ADMIN_HOLD_MAX_S (365 * 86400)
#define ADMIN_ID_SIZE 13 /* of a freeze */
#define ADMIN_DRAIN_POLICY                                                                         \
    "maintenance_drain" /* what empties hosts; moves only while they drain                         \
                         */

/* name, roles that may give it */
#define ADMIN_VERBS(X)                                                                             \
    X(CORDON, "cordon", TRUST_OPERATOR | TRUST_ADMIN)                                              \
    X(UNCORDON, "uncordon", TRUST_OPERATOR | TRUST_ADMIN)                                          \
    X(DRAIN, "drain", TRUST_OPERATOR | TRUST_ADMIN)                                                \
    X(MAINTENANCE, "maintenance", TRUST_OPERATOR | TRUST_ADMIN)                                    \
    X(RESTORE, "restore", TRUST_OPERATOR | TRUST_ADMIN)                                            \
    X(FREEZE, "freeze", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN)                             \
    X(UNFREEZE, "unfreeze", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN)                         \
    X(HOLD, "hold", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN)                                 \
    X(RELEASE, "release", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN)

enum admin_verb {

#define X(name, text, roles) ADMIN_##name,
    ADMIN_VERBS(X)
#undef X
        ADMIN_VERB_COUNT
};

const char *admin_verb_name(enum admin_verb v);
bool admin_is_verb(const char *type); /* is this command read here? */

/* A verified command. */
struct admin_command {
    enum admin_verb verb;
    char person[128], key[HASH_HEX_SIZE], nonce[HASH_HEX_SIZE], digest[HASH_HEX_SIZE];
    unsigned roles;
    msec issued_at, expires_at;
    char reason[COMMAND_REASON_MAX];
    char hosts[ADMIN_COMMAND_HOSTS][256]; /* cordon ... restore; without doubles */
    size_t n_hosts;
    unsigned concurrency;          /* drain; 0: the fleet's limits */
    msec deadline;                 /* drain: wall; 0: none */
    char fallback[16];             /* drain: wait, skip, shutdown, suspend */
    bool no_return;                /* restore: those who left stay where they are */
    msec until;                    /* freeze, hold: wall */
    char id[HASH_HEX_SIZE];        /* unfreeze: a freeze's, or "" for every one */
    char vm[256], uuid[UUID_SIZE]; /* hold, release */
};

/* Reads what was verified: well formed, a role that may give it. */
int admin_read(const struct trust_command *c, struct admin_command *ret, struct err *err);

struct admin; /* opaque */

/* only: an agent that does not vote learns the orders of its own host alone, and judges by them
 * alone; NULL: it has all. Borrowed. */
struct admin *admin_new(const char *only);
void admin_set_only(struct admin *a, const char *only); /* it votes from now on, or no more */
void admin_free(struct admin *a);
DEFINE_CLEANUP(struct admin, admin_free)

/* 0, or refused with nothing changed. at: the entry's time. */
int admin_apply(struct admin *a, const struct admin_command *c, const ProtobufCBinaryData *envelope,
                msec at, struct err *err);
/* Entries' times are what planners' clocks said: one of them may have been fast. What was agreed on
 * later is newer all the same: the hold is after that moment; and the newest hold's moment, or 0.
 */
void admin_hold_after(struct admin *a, const char *uuid, msec moment);
msec admin_newest_hold(const struct admin *a);
/* What has ended by then is forgotten. */
void admin_expire(struct admin *a, msec at);
/* A move of this plan has succeeded: who left for a drain is remembered, who came home is not. */
void admin_moved(struct admin *a, const struct plan *p, const struct plan_move *m);

/* ---- asked ---- */

size_t admin_hosts(const struct admin *a, Skein__HostAdmin *const **ret); /* sorted by name */
const Skein__HostAdmin *admin_host(const struct admin *a, const char *host);
Skein__HostState admin_host_state(const struct admin *a, const char *host); /* UP without record */
const char *admin_state_name(Skein__HostState s);                           /* "cordoned" */
bool admin_drains(const struct admin *a, const char *host); /* draining or in maintenance */
size_t admin_freezes(const struct admin *a, Skein__Freeze *const **ret);
size_t admin_holds(const struct admin *a, Skein__Hold *const **ret); /* sorted by UUID */
/* That is in force at wall, or NULL. */
const Skein__Freeze *admin_freeze(const struct admin *a, msec wall);
const Skein__Hold *admin_hold(const struct admin *a, const char *uuid, msec wall);

/* May this move begin? A freeze stops all; a destination that takes nothing, what comes; a hold,
 * its VM: all but the classes that go over holds (safety, drain, user), and these too when the hold
 * is newer than the plan, whose approvers did not know of it. Moves of a drain that was taken back
 * end. made_at: of the plan; 0: not known. */
int admin_check_move(const struct admin *a, const struct plan_body *body, const struct plan_move *m,
                     msec made_at, msec wall, struct err *err);

/* ---- images ---- */

void admin_image(const struct admin *a, Skein__StateImage *image);
int admin_restore(struct admin *a, const Skein__StateImage *image, struct err *err);

/* For an agent that does not vote: records of that host, all freezes and holds. The caller frees
 * it. */
Skein__Bulletin *admin_bulletin(const struct admin *a, const char *host, uint64_t index);
/* The reader's side: replaces everything by what it says, where the commands verify as of the time
 * at which they were applied; others are left out. It only ever forbids. */
void admin_learn(struct admin *a, const Skein__Bulletin *bulletin, const struct trust *trust,
                 const char *cluster_uuid, msec wall);

#endif
