/* duty_priv.h - what duty.c (life of plans), duty_evaluate.c (snapshots to questions),
 * duty_answer.c (to plans), duty_drive.c (permits to reports) and their smaller rooms share. */
#ifndef SKEIN_AGENT_CORE_DUTY_PRIV_H
#define SKEIN_AGENT_CORE_DUTY_PRIV_H

#include "agent/core/duty.h"
#include "proto/canon.h"
#include "proto/codec.h"

#define DUTY_PROPOSAL_MS 10000   /* a proposal without an answer for so long may be made again */
#define DUTY_EVALUATION_MS 60000 /* likewise an evaluation */
#define DUTY_HOME_MS 5000        /* between two plannings of what comes home */
#define DUTY_KEY_SIZE 160
#define DUTY_UNDECIDED (-1)
#define DUTY_TEXT_MAX 1000 /* bytes of a reason or message in an entry */

/* What was handed to the replicated log, or refused a moment ago: its subject ("PLAN",
 * "PLAN/ACTION", "policy NAME", "request NONCE") is left alone until it is answered. */
struct proposal {
    uint64_t token; /* 0: answered with a refusal */
    char key[DUTY_KEY_SIZE];
    msec until;                             /* mono */
    char reply_host[HV_NAME_MAX];           /* "" or whose report it is ... */
    uint64_t reply_id;                      /* ... and the request's id */
    char request[HASH_HEX_SIZE];            /* a plan for this request */
    char out[HV_NAME_MAX], in[HV_NAME_MAX]; /* a permit: between these hosts */
};

/* What one side of a move says of the VM. */
struct side {
    uint64_t token; /* of the look that is awaited */
    bool known;
    bool present, running, persistent, job;
};

/* A start or query that may still be answered. */
struct asked {
    uint64_t token;
    bool final; /* a query sent when the permit had expired */
};

#define DUTY_ASKED 8 /* questions to a source whose answers are still heard */

/* Where a VM is, as a plan's move has its way. */
enum place { PLACE_SOURCE, PLACE_DESTINATION, PLACE_ELSEWHERE, PLACE_GONE, PLACE_UNSURE };

/* An action that has not ended, as this planner follows it. */
struct run {
    char plan[PLAN_ID_SIZE], action[PLAN_ACTION_ID_MAX];
    char permit[40];          /* id of the one that the rest is about */
    msec next_ask, next_look; /* mono */
    struct asked asked[DUTY_ASKED];
    unsigned n_asked;
    msec answered;    /* mono: the source's last answer, or when the run began */
    bool not_started; /* it answered so, and cannot start under this permit any more */
    bool lost;        /* it should know the action and does not */
    bool stop;        /* it refused for good */
    struct err err;   /* its last refusal */
    struct side from, to;
    bool transient;            /* its source, when the VM was last there, had no definition of it */
    int agreed;                /* what both sides show: Skein__ActionState, or -1 */
    msec agreed_since;         /* mono */
    int astray;                /* pending: where the VM is instead; enum place */
    msec astray_since;         /* mono; 0: it is in its place */
    msec blocked_since;        /* mono; 0: nothing is in the way */
    Skein__Progress *progress; /* owned */
};

/* Between two looks at newer files; one that finds none costs nothing. */
#define DUTY_ROOTS_MS 500
#define DUTY_EXPLAIN_MS 1000 /* between two makings of the idle reason when nothing happens */

/* What is remembered of a version that is in shadow, since this agent plans. */
struct shadow {
    unsigned rounds;              /* with an answer */
    unsigned proposed;            /* of them: with moves */
    unsigned agreed, differed;    /* of them: against the active version on the same snapshot */
    char compared[HASH_HEX_SIZE]; /* the snapshot of the last comparison */
    json_t *recorded;             /* owned: the moves that entered the audit last, or NULL ... */
    msec recorded_at;             /* ... mono */
};

/* One version of a policy, or (the last one) people's requests. */
struct evaluator {
    char *policy; /* owned; NULL: requests */
    bool in_shadow;
    char digest[HASH_HEX_SIZE]; /* of the version that runs; "" before the first round */
    bool proven;                /* it has answered */
    char broken[HASH_HEX_SIZE]; /* a version that never answered: the one before it runs */
    char broken_why[200];
    char heard[HASH_HEX_SIZE]; /* the snapshot that was answered last ... */
    json_t *moves;             /* ... and the answer: [{"vm", "uuid", "from", "to", "reason"}], or
                                * NULL; owned */
    struct shadow shadow;
    bool implicit;  /* the drains' policy, where the configuration does not name it: it ... */
    bool resting;   /* ... rests while no host is being drained */
    msec next;      /* mono */
    uint64_t token; /* awaited; 0: none */
    msec asked;     /* mono */
    uint64_t seed;  /* of the question ... */
    bool power;     /* ... and whether standby and wake may be part of the answer */
    char *snapshot; /* owned: what was asked about */
    size_t snapshot_len;
    char snapshot_digest[HASH_HEX_SIZE];
    char request[HASH_HEX_SIZE]; /* nonce */
    char home[HV_NAME_MAX];      /* requests: or the restored host to which VMs come home, ... */
    char home_person[128];       /* ... and who restored it */
    unsigned failures;           /* in a row */
    unsigned disagreed;          /* evaluations in a row that did not repeat the plan that waits */
    msec disagreed_since;        /* mono: the first of them */
    unsigned wanted;             /* evaluations in a row that proposed moves */
    msec wanted_since;           /* of the world: the first of them */
    msec at;                     /* wall, of the last outcome; 0: none yet */
    char *outcome;               /* owned */
    char *health;                /* owned; JSON or NULL */
    json_t *refused;             /* owned; of the last outcome, or NULL */
};

/* What drives one action: read-only but for run. */
struct drive {
    struct duty *d;
    struct step *s;
    const struct view *view;
    const struct state *state;
    const struct plan *p;
    const struct plan_item *i;
    struct run *run; /* borrowed from d until the next run_get */
};

/* What a gate rule's hooks were asked about a move, or (action "") about a plan's notice. */
struct inquiry {
    char plan[PLAN_ID_SIZE], action[PLAN_ACTION_ID_MAX];
    uint64_t token;       /* awaited; 0: none */
    msec asked, answered; /* mono; 0: never */
    struct err err;       /* the last answer: ERR_OK yes, ERR_DENIED no, others wait */
};

struct duty_told { /* what an agent that does not vote was told of people's orders */
    char *host;    /* owned */
    msec at;       /* mono; 0: never */
    uint8_t hash[HASH_SIZE];
};

struct duty_absence { /* of a voter */
    char host[HV_NAME_MAX];
    msec since; /* mono */
};

struct duty {
    const struct node_conf *conf;
    uint64_t term;
    msec roots_at; /* mono: when roots are looked at again */
    bool leads;
    char leader[HV_NAME_MAX];
    struct proposal *proposals;
    size_t n_proposals, cap_proposals;
    struct run *runs;
    size_t n_runs, cap_runs;
    struct inquiry *inquiries;
    size_t n_inquiries, cap_inquiries;
    struct evaluator *evaluators; /* the policies', then the requests' */
    size_t n_evaluators, cap_evaluators;
    unsigned library; /* its generation when they were made; 0: none yet */
    msec bulletin_at; /* mono */
    uint64_t told_index;
    struct duty_told *told; /* sorted by host */
    size_t n_told, cap_told;
    msec return_at; /* mono: when to plan again what comes home */
    char idle[512];
    msec led_until;     /* mono: it last planned then; 0: never */
    msec trusted_since; /* mono: older details are of an earlier time as planner: VMs have moved */
    msec voters_at;     /* mono: when it is looked again who should vote */
    struct duty_absence absences[GROUP_VOTERS_MAX];
    size_t n_absences;
    msec yield_at;   /* mono: not before it is another one asked to plan */
    msec explain_at; /* mono: when idle is to be made anew */
};

/* ---- duty.c ---- */

/* Is there a proposal about this, not yet answered or just refused? */
bool duty_busy(const struct duty *d, const char *key);
/* Proposes; borrowed until the next call. */
struct proposal *duty_propose(struct duty *d, struct step *s, const char *key, Skein__Entry *entry);
void duty_change(struct duty *d, struct step *s, const struct plan *p, Skein__PlanState to,
                 const char *reason);
/* Text for an entry: without control characters, short, cut between characters. To be freed. */
char *duty_text(const char *text);
void duty_action_key(char key[DUTY_KEY_SIZE], const char *plan, const char *action);
/* The running plan that one of these VMs is part of, other than p (which may be NULL). */
const struct plan *duty_vms_busy(const struct state *state, const struct plan_body *body,
                                 const struct plan *p, const char **ret_vm);

/* ---- duty_compose.c ---- */

/* Why a policy's plan (self; NULL: it is not one yet) makes way for another that stands; to be
 * freed. NULL: it need not. */
char *duty_gives_way(const struct state *state, const struct plan_body *body,
                     const struct plan *self);

/* ---- duty_policies.c ---- */

/* Which versions run, from the configuration and what the voters hold. */
void duty_evaluators_new(struct duty *d);
void duty_evaluators_free(struct duty *d);
/* Follows what the voters hold, and has it hold what stands in the configuration's files. */
void duty_policies(struct duty *d, struct step *s, const struct state *state);
/* The text to run now and its digest; NULL: there is none. */
const char *duty_source(const struct duty *d, const struct evaluator *e, const struct state *state,
                        size_t *ret_len, char ret_digest[HASH_HEX_SIZE]);
/* A version that fails before it ever answered makes way for the one before it. */
void duty_policy_failed(struct step *s, struct evaluator *e, const struct state *state,
                        const char *why);
struct evaluator *duty_shadow_of(struct duty *d, const char *policy); /* or NULL */
/* A shadow's answer, or its active version's, came: counts, compares, records. */
void duty_shadow_heard(struct duty *d, struct step *s, struct evaluator *shadow);
void duty_evaluator_forget(struct evaluator *e); /* the question that is open */

/* ---- duty_evaluate.c ---- */

void duty_evaluators_reset(struct duty *d, struct step *s);
void duty_evaluate(struct duty *d, struct step *s, const struct view *view,
                   const struct state *state);
void duty_close_request(struct duty *d, struct step *s, const char *nonce, const char *reason);
/* Is it known what time it is where the hypervisors live? Until then nothing is planned. */
bool duty_time_known(const struct duty *d, const struct step *s);
/* Hosts whose data is fresh enough to plan with, and how many there are that do not sleep. */
bool duty_data_fresh(const struct duty *d, const struct step *s, const struct view *view,
                     const struct state *state, size_t *ret_fresh, size_t *ret_all);

void duty_outcome(struct evaluator *e, const struct step *s, const char *text);
/* The plan of this policy that waits for approval, or NULL. */
const struct plan *duty_find_waiting(const struct state *state, const char *policy);
/* Is that less than this time of the hypervisors' world ago, or so little real time that not all
 * hosts have told what came of it? wall is what an agent's clock said. */
bool duty_lately(const struct step *s, msec wall, msec world_time);
/* Proposals' subjects: a person's request, and what comes home to a host. */
void duty_request_key(char key[DUTY_KEY_SIZE], const char *nonce);
void duty_return_key(char key[DUTY_KEY_SIZE], const char *host);

/* ---- duty_answer.c ---- */

/* Keeps the snapshot of the open question, here and at the other voters. */
void duty_keep_snapshot(const struct duty *d, struct step *s, const struct evaluator *e);

/* ---- duty_power.c: standby and wake, where they are not like moves ---- */

/* Who is asked to act, and answers for it: of a wake whom its permit names. NULL: nobody yet. */
const char *duty_actor(const struct plan_item *i);
/* Who may be asked to wake this host: rather the one before, or this agent. NULL: nobody can. */
const char *duty_waker(const struct drive *v);
/* Is there still something to do? Else *ret_why says why not. */
bool duty_power_is_due(const struct drive *v, const char **ret_why);
/* What is seen of it, where whoever acts does not tell: SUCCEEDED, FAILED or DUTY_UNDECIDED. */
int duty_power_agreement(const struct drive *v);
/* What is known of a host that sleeps, for whoever wakes it; or NULL. */
const Skein__HostCapability *duty_sleeper(const struct drive *v);

/* ---- duty_hold.c ---- */

/* An evaluation proposed moves; or none, or failed. */
void duty_wanted(struct evaluator *e, const struct step *s);
void duty_unwanted(struct evaluator *e);
/* NULL: it was wanted often and long enough for a plan of this class; or how far it is, to be
 * freed.
 */
char *duty_held(const struct duty *d, const struct step *s, const struct evaluator *e,
                const struct evaluated *answer, const char *class);

/* ---- duty_hooks.c ---- */

/* May this move have a permit, by the hooks? 0; ERR_DENIED: no; ERR_UNAVAILABLE: not yet. */
int duty_hooks_allow(struct duty *d, struct step *s, const struct view *view,
                     const struct state *state, const struct plan *p, const struct plan_item *item,
                     struct err *err);
/* Do the owners know of an approved plan, for as long as the rules want? */
bool duty_hooks_told(struct duty *d, struct step *s, const struct view *view,
                     const struct state *state, const struct plan *p);
/* ERR_DENIED: they said no when they were told. */
int duty_hooks_vetoed(const struct duty *d, const struct plan *p, struct err *err);
void duty_hooks_forget_ended(struct duty *d, const struct state *state);
void duty_hooks_clear(struct duty *d);

/* ---- duty_tell.c ---- */

void duty_tell_others(struct duty *d, struct step *s, const struct view *view,
                      const struct state *state);
void duty_told_clear(struct duty *d);

/* ---- duty_yield.c ---- */

/* Where people empty this host another voter plans, if there is one that they do not empty. */
void duty_yield(struct duty *d, struct step *s, const struct view *view, const struct state *state);

/* ---- duty_voters.c ---- */

/* Proposes another group of voters, where there should be one. */
void duty_voters(struct duty *d, struct step *s, const struct view *view,
                 const struct state *state);

/* ---- duty_drive.c ---- */

void duty_drive(struct duty *d, struct step *s, const struct view *view, const struct state *state,
                const struct plan *p);
void duty_runs_clear(struct duty *d);
void duty_runs_forget_ended(struct duty *d, const struct state *state);
struct run *duty_run(struct duty *d, const char *plan, const char *action); /* or NULL */
bool duty_action_busy(const struct drive *v); /* duty_busy of this action */
/* Proposes a report as it came; the caller has seen that it is not busy. */
struct proposal *duty_propose_report(struct duty *d, struct step *s,
                                     const Skein__ActionReport *report);
/* Proposes the planner's own finding, unless it is busy. */
void duty_found(const struct drive *v, Skein__ActionState state, enum err_code code,
                const char *message, const char *evidence);

/* ---- duty_permit.c ---- */

void duty_drive_pending(const struct drive *v);
void duty_retry(const struct drive *v);
/* As the view has it; *ret_host: "" or where it is. */
enum place duty_find_vm(const struct drive *v, const char **ret_host);

#endif
