/* sim.h - a whole cluster in one process, in virtual time: real nodes (agent/core) on simulated
 * hypervisors, disks, clocks, links and people, with every fault that chance allows. The invariants
 * (tests/lib/invariants.h) are checked after every event. The same seed gives the same run.
 *
 *   world.c      hypervisors: guests, and migrations with every ending
 *   agent.c      one agent: its node, its disk, its death between any two effects
 *   agreement.c  the voters' agreement: one log, terms, old planners that do not know it yet
 *   plans.c      what a policy's worker would answer
 *   people.c     requests, approvals, cancels, and those who forge them
 *   faults.c     what goes wrong
 *   witness.c    turns what happens into facts
 *   sim.c        the clock; one seed from its beginning to its end */
#ifndef SKEIN_TESTS_SIM_SIM_H
#define SKEIN_TESTS_SIM_SIM_H

#include <stdio.h>

#include "agent/core/node.h"
#include "agent/core/state.h"
#include "proto/codec.h"
#include "tests/lib/agenda.h"
#include "tests/lib/invariants.h"
#include "tests/lib/network.h"
#include "tests/lib/rng.h"

#define SIM_HOSTS_MAX 64
#define SIM_VMS_MAX 64
#define SIM_WALL 1900000000000 /* the true wall clock at virtual time 0 */
#define SIM_START 100000       /* virtual time at which a run begins: no duration reaches 0 */
#define SIM_CLUSTER "11111111-1111-4111-8111-111111111111"

struct sim;
struct sim_host;

/* ---- the world ---- */

struct dom {
    bool present, persistent, job;
    Skein__VmState state;
};

/* How a migration ends; what the caller is told is another matter. */
#define FATES(X)                                                                                   \
    X(MOVES)                                                                                       \
    X(MOVES_SAYS_FAILED)                                                                           \
    X(MOVES_EARLY_ERROR) /* the call fails at once, the job goes on and succeeds */                \
    X(LEAVES_DEFINITION) /* moves; its definition stays at the source */                           \
    X(FAILS)                                                                                       \
    X(FAILS_SAYS_MOVED)                                                                            \
    X(FAILS_EARLY_ERROR)                                                                           \
    X(STUCK)          /* never ends by itself */                                                   \
    X(STUCK_FOR_GOOD) /* not even when it is aborted */                                            \
    X(PAUSED)         /* paused at the source, nothing at the destination */                       \
    X(LOST)           /* nowhere */                                                                \
    X(TWICE)          /* runs on both */                                                           \
    X(NOT_DEFINED)    /* runs at the destination, but is not defined there */

enum fate {

#define X(name) FATE_##name,
    FATES(X)
#undef X
        FATE_COUNT
};

struct migration {
    bool active, aborted, by_hand;
    int vm, from, to;
    enum fate fate;
    uint64_t job;
    unsigned life; /* of the agent that ordered it */
    msec began;
};

/* ---- agents ---- */

struct stored {
    char *key;
    uint8_t *data;
    size_t len;
};

/* The effects of one step, waiting for the disk. */
struct group {
    struct group *next;
    struct effects effects;
    msec due;
};

struct cancelled {
    char plan[PLAN_ID_SIZE];
    uint64_t index;
};

#define DECISIONS 64 /* moves that are decided and not yet handed to the hypervisor, by token */

struct sim_host {
    int index;
    char name[16], address[24];
    bool newer;                    /* of the next version: says what this one does not know */
    msec detail_at[SIM_HOSTS_MAX]; /* it was told of that host's VMs; 0: not yet */
    msec led_until;                /* it was last told that it plans; 0: never in this life */
    msec leads_from;               /* and since then without a longer gap */
    bool closed, drains;           /* by people's order, as was agreed */
    bool voter, captured;          /* captured: its agent believes forged signatures */
    struct node_conf conf;
    Skein__HostDetail own;
    Skein__HostSummary own_summary;
    Skein__HostCapability own_capability;
    uint64_t memory_mib, vcpus; /* for VMs, after all settings: what the checker is told */

    struct node *node; /* NULL: down */
    unsigned life;
    bool asleep; /* by an order of ours: its machine does nothing until it is woken */
    msec up_at, started, skew;
    msec frozen_until, libvirt_down_until, disk_slow_until, hv_slow_until, power_until;
    struct stored *journal;
    size_t n_journal, cap_journal;
    struct group *first, **last;
    bool linked[SIM_HOSTS_MAX];
    msec decided[DECISIONS];
    msec reachable_since[SIM_HOSTS_MAX], cut_since[SIM_HOSTS_MAX];
    uint64_t links_seen; /* the world's links_changed when all links stood; 0: not all do */

    /* the voter */
    const char *voter_names[GROUP_VOTERS_MAX]; /* as it knows them, where they are replaced */
    bool fresh;                                /* it votes now and was not given the state yet */
    uint64_t disk_term;                        /* newest that it voted in or heard of */
    size_t on_disk, applied;                   /* entries */
    uint64_t told_term;
    int told_leader;            /* -1: nobody */
    uint8_t *image;             /* owned: a snapshot of the state ... */
    size_t image_len, image_at; /* ... as of so many entries */
};

/* ---- the log ---- */

struct log_entry {
    uint8_t *data;
    size_t len;
    uint64_t term;
};

struct pending {
    uint64_t token;
    uint8_t *data;
    size_t len;
    bool leaked; /* another voter has it: the next planner may commit it */
};

struct agreement {
    struct log_entry *log;
    size_t n_log, cap_log;
    uint64_t term;
    int leader; /* of term; -1: none */
    unsigned leader_life;
    bool leader_knows; /* it still believes it */
    msec quorum_seen, trouble_since, patience;
    struct pending *pending;
    size_t n_pending, cap_pending;
};

/* ---- people ---- */

struct envelope_kept {
    char *text;
    char path[96];
};

struct envelope_read {
    uint8_t *bytes; /* owned */
    size_t len;
    bool forged;
    struct trust_command command;
};

#define ENVELOPES_READ 32

struct people {
    struct envelope_kept *kept; /* what somebody on the wire has seen, to give it again */
    size_t n_kept, cap_kept;
    struct envelope_read read[ENVELOPES_READ]; /* the last ones, oldest at next_read */
    size_t next_read;
    uint64_t nonce;
    msec next_request, next_order;
    bool order; /* freezes, cordons, drains, holds: not in every run */
};

/* ---- the whole ---- */

struct sim_rates { /* in 100000 a tick of 100 ms, for the whole cluster */
    unsigned cut, crash, effect_crash, libvirt, freeze, jump, slow_disk, slow_hv, by_hand, power;
    unsigned bad_fate; /* in 100000 migrations */
};

/* How each thing that can happen did, over many seeds: a simulation in which nothing happens proves
 * nothing. */
#define SIM_COUNTS(X)                                                                              \
    X(events)                                                                                      \
    X(frames)                                                                                      \
    X(crashes)                                                                                     \
    X(elections)                                                                                   \
    X(replaced) /* groups of voters after the first */                                             \
    X(handovers)                                                                                   \
    X(plans)                                                                                       \
    X(approvals)                                                                                   \
    X(permits)                                                                                     \
    X(started)                                                                                     \
    X(succeeded)                                                                                   \
    X(failed)                                                                                      \
    X(cancelled)                                                                                   \
    X(skipped)                                                                                     \
    X(needs_operator)                                                                              \
    X(by_hand)                                                                                     \
    X(restores)                                                                                    \
    X(unknown_proposals)                                                                           \
    X(forged)                                                                                      \
    X(orders)                                                                                      \
    X(drains)                                                                                      \
    X(newer) /* runs in which versions are mixed */                                                \
    X(power_losses)                                                                                \
    X(freezes)                                                                                     \
    X(sleeps)                                                                                      \
    X(wakes)                                                                                       \
    X(jumps)

struct sim_counts {
#define X(name) uint64_t name;
    SIM_COUNTS(X)
#undef X
    uint64_t virtual_ms;
};

struct sim_conf {
    uint64_t seed;
    int hosts;  /* 0: by the seed */
    bool trace; /* print what happens */
    bool quiet; /* no faults at all: for measuring */
    msec chaos; /* ms of faults; 0: by the seed */
    struct sim_counts *counts;
};

struct sim {
    struct sim_conf conf;
    uint64_t seed;
    struct rng rng;
    msec now;
    bool faults;      /* things may go wrong now */
    bool people_rest; /* no new requests */
    bool power;       /* plans put hosts on standby and wake them: not in every run */
    struct sim_rates rates;
    struct agenda agenda;
    struct network *net;
    uint64_t links_changed; /* counts the agents' deaths: links that all stood need a look */
    struct invariants *inv;
    struct sim_counts *counts;
    struct trust trust, captured_trust;

    int n_hosts, n_voters, n_vms; /* n_voters: at first */
    bool replaces;                /* voters are replaced: not in every run */
    struct voter_groups groups;   /* of voters, that were */
    unsigned limit_total;
    struct sim_host hosts[SIM_HOSTS_MAX];
    const char *voters[SIM_HOSTS_MAX], *addresses[SIM_HOSTS_MAX];
    struct dom doms[SIM_HOSTS_MAX][SIM_VMS_MAX];
    char uuids[SIM_VMS_MAX][UUID_SIZE], vm_names[SIM_VMS_MAX][16];
    uint64_t vm_mib[SIM_VMS_MAX];
    uint32_t vm_vcpus[SIM_VMS_MAX];
    bool vm_broken[SIM_VMS_MAX];
    bool vm_held[SIM_VMS_MAX], frozen;        /* by people's order, as was agreed */
    msec vm_moved_at[SIM_VMS_MAX];            /* a migration of it ended; 0: never */
    struct migration migrations[SIM_VMS_MAX]; /* one a VM */

    struct agreement agreement;
    struct state *witness; /* the state by all that is committed */
    struct node_conf witness_conf;
    struct cancelled *cancelled; /* owned */
    size_t n_cancelled, cap_cancelled;
    struct people people;

    bool captured;  /* some voters are */
    bool unchecked; /* facts came since the whole was checked */
    bool failed;
    struct err err;
    uint64_t hash; /* of all that happened: two runs of a seed agree */
};

/* One seed. 0, or negative with err: what is broken. */
int sim_run(const struct sim_conf *conf, struct sim_counts *counts, uint64_t *ret_hash,
            struct err *err);

/* What happens later: run is called unless host's agent has died since (life, where host >= 0). */
struct later {
    struct happening when;
    void (*run)(struct sim *s, struct later *l);
    void (*orphaned)(struct sim *s, struct later *l); /* instead, when it has; may be NULL */
    void (*forget)(struct later *l);                  /* instead, at the end; may be NULL */
    int host;
    unsigned life;
    bool always; /* whatever became of the agent */
    msec again;  /* run sets it: once more after so long; 0: it is over */
    uint64_t a, b;
    void *data; /* freed with free() after run */
};

struct later *sim_later(struct sim *s, msec delay, int host,
                        void (*run)(struct sim *, struct later *));

#define SIM_TRACE(s, ...)                                                                          \
    do {                                                                                           \
        if ((s)->conf.trace)                                                                       \
            sim_trace((s), __VA_ARGS__);                                                           \
    } while (0)
void sim_trace(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mix(struct sim *s, const void *data, size_t len); /* into the hash */

static inline bool sim_chance(struct sim *s, unsigned in_100000)
{
    return rng_chance(&s->rng, in_100000);
}

static inline msec sim_between(struct sim *s, msec low, msec high)
{
    return rng_between(&s->rng, low, high);
}

int sim_host_index(const struct sim *s, const char *name);
int sim_vm_index(const struct sim *s, const char *uuid);

/* ---- world.c ---- */

void world_make(struct sim *s);
void world_job(struct sim *s, struct sim_host *h, struct effect *e);
/* A person moves a VM, unless it cannot be moved now. */
void world_move_by_hand(struct sim *s, int vm, int to);
void world_power_loss(struct sim *s, struct sim_host *h);
/* What hung for good lets go; what broke is put right by a person. */
void world_release(struct sim *s);
void world_repair(struct sim *s);
bool world_migrating(const struct sim *s);
void world_wake(struct sim *s, struct sim_host *h); /* nothing, where it does not sleep */
void world_set(struct sim *s, int host, int vm, struct dom dom);

/* ---- agent.c ---- */

void agent_make(struct sim *s, int index);
void agent_done(struct sim_host *h);
void agent_up(struct sim *s, struct sim_host *h);
void agent_crash(struct sim *s, struct sim_host *h, msec back_in);
void agent_step(struct sim *s, struct sim_host *h, const struct event *event);
void agent_frame(struct sim *s, const struct letter *l);
void agent_tick(struct sim *s, struct sim_host *h);
void agent_unlink(struct sim *s, struct sim_host *h); /* its links break, and all others see it */
bool agent_reachable(const struct sim *s, int from, int to); /* both ways, both up */
struct moment agent_time(const struct sim *s, const struct sim_host *h);

/* ---- agreement.c ---- */

void agreement_tick(struct sim *s); /* every 100 ms */
void agreement_propose(struct sim *s, struct sim_host *h, const struct effect *e);
void agreement_yield(struct sim *s, struct sim_host *h, const char *to);
void agreement_agent_down(struct sim *s, struct sim_host *h);
void agreement_agent_up(struct sim *s, struct sim_host *h); /* restores its state */
void agreement_done(struct sim *s);

void agreement_no_planner(struct sim *s, struct sim_host *h);
void agreement_catch_up(struct sim *s, struct sim_host *h, size_t until);

/* ---- electors.c ---- */

void electors_make(struct sim *s);
/* Who votes in the newest group. */
size_t electors_list(const struct sim *s, int ret[SIM_HOSTS_MAX]);
bool electors_know(const struct sim *s, const struct sim_host *h); /* that group */
void electors_tell(struct sim *s, struct sim_host *h);             /* its node, at its start */
/* After what was applied: true, and the host is in the next group. */
bool electors_ended(struct sim *s, struct sim_host *h);
void electors_follow(struct sim *s, struct sim_host *h, const struct effect *e);
/* After what was committed: true, and there is a new group. */
bool electors_committed(struct sim *s);
/* Is there one that has not got what the newest group has agreed on? */
bool electors_under_way(const struct sim *s);
void electors_tick(struct sim *s);

/* ---- plans.c ---- */

void plans_evaluate(struct sim *s, struct sim_host *h, uint64_t token,
                    struct evaluation *e); /* takes e */

/* ---- people.c ---- */

void people_make(struct sim *s);
void people_tick(struct sim *s);                   /* every 100 ms */
void people_plan(struct sim *s, const char *plan); /* there is a new one */
void people_agent_died(struct sim *s, const struct sim_host *h);
void people_answered(struct sim *s, struct sim_host *h, const struct effect *e);
void people_done(struct sim *s);

/* ---- faults.c ---- */

void faults_make(struct sim *s);
void faults_tick(struct sim *s); /* every 100 ms */
void faults_end(struct sim *s);

/* ---- witness.c ---- */

void witness_fact(struct sim *s, struct fact f); /* "at" is filled in */
void witness_host(struct sim *s, const struct sim_host *h, bool votes);
void witness_check(struct sim *s);
void witness_committed(struct sim *s, const struct log_entry *e, uint64_t index);
void witness_applied(struct sim *s, struct sim_host *h, uint64_t before);
void witness_planning(struct sim *s, const struct sim_host *h);
void witness_forgot(struct sim *s, struct sim_host *h);
void witness_effects(struct sim *s, struct sim_host *h, const struct effects *out); /* decided */
void witness_confirms(struct sim *s, struct sim_host *h, const char *asker,
                      const Skein__Request *request, const struct effects *out);
void witness_journal(struct sim *s, struct sim_host *h, const struct effect *e); /* durable */
void witness_audit(struct sim *s, struct sim_host *h, const struct effect *e);   /* durable */
void witness_job(struct sim *s, struct sim_host *h, const struct hv_job *job);   /* handed out */
/* Its journal says that this VM's move there (NULL: anywhere) was begun, then at the earliest. */
bool witness_began(const struct sim_host *h, const char *uuid, const char *to, msec since);
/* What has not come to its end; NULL: everything has. */
const char *witness_open(const struct sim *s);
/* Is this action about a host's power? Only what is told of moves goes to the checker. */
bool witness_is_power(const struct sim *s, const char *plan, const char *action);
void witness_end(struct sim *s);

#endif
