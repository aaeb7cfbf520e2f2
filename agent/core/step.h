/* step.h - events in, effects out: how the pure modules of agent/core talk to the shell.
 *
 * The shell calls node_step() with one event and the time, then performs the effects in one place
 * and one order: first all that must be durable (journal, audit, snapshots; it waits for the
 * commit), then sends, proposals and answers, then jobs and evaluations. A module that must write
 * before it acts therefore just emits both in the same step.
 *
 * Every module function takes struct step: the time, the randomness, the configuration and where
 * effects go. Nothing in agent/core reads a clock, a file or a socket. */
#ifndef SKEIN_AGENT_CORE_STEP_H
#define SKEIN_AGENT_CORE_STEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/group.h"
#include "agent/core/hv.h"
#include "agent/core/trust.h"
#include "proto/err.h"
#include "proto/skein.pb-c.h"
#include "proto/units.h"
#include "proto/util.h"

struct moment {
    msec mono; /* never goes back; deadlines use it */
    msec wall; /* since 1970; expiry of what people signed and what other hosts issued uses it */
    struct hv_clock clock; /* the node's: from wall to the world's time, which snapshots, policies
                            * and the history of moves follow. Not the shell's to fill in */
};

static inline msec moment_world(const struct moment *now)
{
    return hv_clock_at(&now->clock, now->wall);
}

struct node_policy {
    char *name, *source;
    size_t source_len;
};

/* Constant for the agent's life, but for the voters, which the shell replaces right before
 * EVENT_VOTERS. Strings are owned by whoever made it. */
struct node_conf {
    const char *cluster; /* name */
    const char *cluster_uuid;
    const char *host;
    uint64_t incarnation;      /* wall ms at start */
    const char *const *voters; /* host names, sorted */
    size_t n_voters;
    struct voter_group group;   /* the same, where they may be replaced; number 0: they are fixed */
    struct voter_groups groups; /* it, and what is known of those before */
    uint64_t store;             /* of this host's store; see group.h */
    bool begins;                /* its store is empty, and it may be one of the first voters */
    unsigned voters_wanted;     /* see voters.h */
    msec voters_patience;
    const Skein__HostDetail *own; /* what the configuration knows of this host: laid over what the
                                   * hypervisor says in every observation */
    const char *migration_address;
    const char *source_addresses; /* from which this host's migrations leave, separated by blanks */
    bool firewall;                /* migrations come in only where a reservation opened the way */
    const char *mesh_address;     /* where others dial this host */
    const char *const *seeds;     /* addresses by which to join */
    size_t n_seeds;
    const char *const *policies; /* names of the active policies, in order */
    size_t n_policies;
    const json_t *policy_params;       /* [{"name": POLICY, "params": {NAME: value}}], or NULL */
    const struct node_policy *sources; /* texts of these and of the drains' policy, as the files had
                                        * them at the start; where the voters know none */
    size_t n_sources;
    unsigned limit_total, limit_inflow, limit_outflow; /* migrations at once: fleet, host in, out */
    msec observe_every, summary_every, detail_every, evaluate_every;
    /* What a policy wants becomes a plan only when it was wanted in so many evaluations in a row,
     * and for so long, in the world's time. 0: at once. */
    unsigned policy_agreement;
    msec policy_hold;
    msec stale_after;     /* a host's data older than this takes it out of plans */
    msec plan_lifetime;   /* unapproved plans expire after this */
    msec permit_lifetime; /* seconds */
    msec reservation_lifetime;
    msec request_timeout;  /* one request between agents */
    msec action_timeout;   /* floor; or 4 times the estimate */
    msec clock_skew_limit; /* approvals are refused beyond it */
    bool simulated;        /* the hypervisors' world has a clock of its own */
    const struct trust *trust;
};

bool step_votes(const struct node_conf *conf, const char *host); /* is it one of the voters? */

/* Which module a reply, result or proposal goes back to; low bits of the token. */
enum owner { OWNER_NODE, OWNER_EXEC, OWNER_RESERVE, OWNER_DUTY, OWNER_API, OWNER_VIEW };

#define OWNER_BITS 3

static inline enum owner token_owner(uint64_t token)
{
    return (enum owner)(token & ((1u << OWNER_BITS) - 1));
}

enum effect_kind {
    EFFECT_JOURNAL,  /* durable: key -> record, or delete when record is NULL */
    EFFECT_AUDIT,    /* durable: append */
    EFFECT_SNAPSHOT, /* durable: keep a snapshot's text under its digest */
    EFFECT_SEND,     /* a packed Frame to a host; waits a moment for a link that is being dialled */
    EFFECT_PROPOSE,  /* a packed Entry to the replicated log; EVENT_PROPOSED follows */
    EFFECT_ANSWER,   /* to an API request of this agent's own API */
    EFFECT_JOB,      /* hypervisor; EVENT_HV follows */
    EFFECT_EVALUATE, /* worker process; EVENT_EVALUATED follows */
    EFFECT_DIAL,     /* keep a link to an address */
    EFFECT_UNDIAL,   /* not any more; a link that stands stays */
    EFFECT_CLOSE,    /* the link to a host */
    EFFECT_VOTERS,   /* follow the last of these groups of voters; EVENT_VOTERS may follow */
    EFFECT_YIELD,    /* planning is handed over to a voter, if it can take it */
    EFFECT_NOTICE,   /* for the log that people read */
    EFFECT_TRACE,    /* what happened, for the debug log and the tests' oracle */
};

struct effect {
    enum effect_kind kind;
    uint64_t token; /* PROPOSE, JOB, EVALUATE, ANSWER */
    char *key;      /* JOURNAL key; SEND, CLOSE, YIELD host; DIAL, UNDIAL address; SNAPSHOT digest;
                       NOTICE, TRACE line */
    uint8_t *data;  /* JOURNAL, SEND, PROPOSE, VOTERS packed bytes; SNAPSHOT, ANSWER, text */
    size_t len;
    unsigned status;               /* ANSWER: HTTP status */
    bool gossip;                   /* SEND: goes over a link that stands, or not at all */
    json_t *record;                /* AUDIT */
    struct hv_job *job;            /* JOB; owned */
    struct evaluation *evaluation; /* EVALUATE; owned */
};

struct evaluation_move {
    char uuid[UUID_SIZE], to[HV_NAME_MAX];
};

/* What the worker process is asked. */
struct evaluation {
    char *snapshot; /* canonical JSON */
    size_t snapshot_len;
    char snapshot_digest[HASH_HEX_SIZE];
    char *policy; /* name of the policy; NULL for explicit moves */
    char *source; /* its text; owned */
    size_t source_len;
    char uuid[UUID_SIZE];          /* one explicit move: this VM ... */
    char to[HV_NAME_MAX];          /* ... to this host */
    bool drill;                    /* no move: the host `to` is to sleep, and to wake */
    struct evaluation_move *moves; /* several, as far as they are possible; owned */
    size_t n_moves;
    char *parameters;  /* one explicit move: how, as JSON; NULL: as is best; owned */
    const char *class; /* of explicit moves: "user", "restore", "rollback" */
    char *reason;      /* explicit moves: who asked */
    msec at;           /* wall */
    uint64_t seed;
    bool power; /* standby and wake may be part of the answer */
};

void evaluation_free(struct evaluation *e);

struct effects {
    struct effect *items;
    size_t n, cap;
};

struct step {
    struct moment now;
    const struct node_conf *conf;
    struct effects *out;
    uint64_t *rng; /* state of the node's generator */
    uint64_t *next_token;
};

/* Emitters. Packed or copied at once: arguments stay the caller's unless said otherwise. */
void effect_send(struct step *s, const char *host, const Skein__Frame *frame);
void effect_gossip(struct step *s, const char *host, const Skein__Frame *frame);
/* Sets request->id to a fresh token of this owner and sends it; returns the token. */
uint64_t effect_request(struct step *s, enum owner owner, const char *host,
                        Skein__Request *request);
/* Sends reply with this id; with err set, its code and message are filled in. */
void effect_reply(struct step *s, const char *host, uint64_t id, Skein__Reply *reply,
                  const struct err *err);
uint64_t effect_propose(struct step *s, enum owner owner, Skein__Entry *entry); /* fills at, who */
void effect_journal(struct step *s, const char *key, const Skein__JournalRecord *record);
/* One line of audit: json_pack's format and arguments make the record's object; "at", "host" and
 * "event" are added. */
void effect_audit(struct step *s, const char *event, const char *fmt, ...);
void effect_snapshot(struct step *s, const char *digest, const char *text, size_t len);
uint64_t effect_job(struct step *s, enum owner owner, struct hv_job *job); /* takes what job owns */
uint64_t effect_evaluate(struct step *s, enum owner owner, struct evaluation *e);  /* takes e */
void effect_answer(struct step *s, uint64_t token, unsigned status, json_t *body); /* takes body */
void effect_dial(struct step *s, enum effect_kind kind, const char *key); /* DIAL, UNDIAL, CLOSE */
void effect_voters(struct step *s, const struct voter_groups *groups);
void effect_yield(struct step *s, const char *host);
void effect_notice(struct step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void effect_trace(struct step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void effects_clear(struct effects *effects);

/* What the hypervisor says of this host, with what its configuration says (overcommit, reserve)
 * laid over it: nobody looks at the one without the other. A copy, the caller's. */
Skein__HostDetail *step_own_detail(const struct step *s, const Skein__HostDetail *observed);

uint64_t step_random(struct step *s);
void step_random_hex(struct step *s, char *ret, size_t digits); /* NUL-terminated */

enum event_kind {
    EVENT_TICK,      /* 100 ms after node_deadline at the latest */
    EVENT_PEER_UP,   /* host */
    EVENT_PEER_DOWN, /* host */
    EVENT_FRAME,     /* host, frame: authenticated sender, decoded and bounded */
    EVENT_ROLE,      /* term, leader: "" when none is known */
    EVENT_APPLIED,   /* index, term, entry: committed; the same sequence on every voter */
    EVENT_RESTORED,  /* image: the state machine was replaced by a snapshot */
    EVENT_PROPOSED,  /* token, index, err: committed and applied just before (ERR_OK), or not */
    EVENT_HV,        /* result */
    EVENT_EVALUATED, /* token, err, evaluated */
    EVENT_API,       /* token, call: from this agent's own API */
    EVENT_CHANGED,   /* something changed at the hypervisor: observe soon */
    EVENT_VOTERS,    /* conf has the newest group of voters; at the start, and when it changed */
    EVENT_RESIGN,    /* this agent will stop: let another voter plan, if it is the planner */
    EVENT_LEAVE,     /* it stops now: say goodbye */
};

/* The worker's answer. With neither body nor error: nothing to do, and why. */
struct evaluated {
    char *body; /* canonical plan body, or NULL */
    size_t body_len;
    char *nothing; /* why there is no plan */
    char *health;  /* JSON of the policy's health, or NULL */
    /* What the policy asks to be wanted before it becomes a plan; see node_conf. */
    unsigned agreement;
    msec hold;
};

struct event {
    enum event_kind kind;
    const char *host;
    const Skein__Frame *frame;
    const Skein__Entry *entry;
    const Skein__StateImage *image;
    const char *leader;
    uint64_t term, index, token;
    struct err err;
    const struct hv_result *result;
    const struct evaluated *evaluated;
    const Skein__ApiCall *call;
};

#endif
