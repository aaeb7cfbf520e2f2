/* exec_action.h - within exec: one action, and what its states share. Not for others. */
#ifndef SKEIN_AGENT_CORE_EXEC_ACTION_H
#define SKEIN_AGENT_CORE_EXEC_ACTION_H

#include "agent/core/budget.h"
#include "agent/core/confirm.h"
#include "agent/core/exec.h"
#include "agent/core/ladder.h"
#include "agent/core/plan.h"
#include "agent/core/verify.h"

#define EXEC_RETRY 1000         /* ms between tries of what may come right by itself */
#define EXEC_PROGRESS_EVERY 500 /* ms: what people watch */
#define EXEC_ABORT_GRACE                                                                           \
    30000                       /* ms that an aborted job has to end: libvirt's keepalive and undo \
                                 */
#define EXEC_JOB_PATIENCE 30000 /* ms for a hypervisor's short answer; later ones count as none */
#define EXEC_TIDY_PATIENCE 60000 /* ms to get a definition removed that is only in the way */
#define EXEC_AGREE 1000          /* ms that both sides must show the same before "it stayed" */
#define EXEC_AGREE_ALONE                                                                           \
    10000                     /* ... with the other side silent: nothing is started on that word   \
                               */
#define EXEC_AGREE_ODD 15000  /* ... and before anything that is no ordinary end of a move */
#define EXEC_STOOD_STILL 1000 /* ms without a tick */
#define EXEC_ORDER_LATEST                                                                          \
    30000 /* ms from STARTED to the job: a slow disk, a slow hypervisor, its keepalive */
#define EXEC_ORDER_SOON                                                                            \
    15000 /* ... where the destination cannot be asked whether the guest arrives there */
#define EXEC_ORDER_SLACK                                                                           \
    2000 /* ms by which a job's age may be off: its answer took so long; people take longer */
#define EXEC_WATCH_EVERY 10000 /* ms between looks at what an operator must see to */
#define EXEC_KEEP                                                                                  \
    (24 * 3600000LL) /* ms that a reported end is remembered: permits live minutes                 \
                      */

/* What was last seen on one side. */
struct glance {
    bool done;  /* this round has its answer, or will have none */
    bool known; /* and it is this: */
    struct hv_seen seen;
    msec job_began; /* mono, at the latest; 0: no job, or not known */
    struct err err; /* not known: why */
};

enum settled {
    SETTLED_NOT, /* one side does not say, or it is still under way */
    SETTLED_MOVED,
    SETTLED_STAYED,
    SETTLED_ALONE,   /* it runs here; the other side does not say anything */
    SETTLED_STOPPED, /* it did not move, and does not run any more either */
    SETTLED_HALTED,  /* the migration left it paused here, and nothing of it is there */
    SETTLED_DOUBLE,  /* it runs there; what the migration left paused here is in the way */
    SETTLED_BROKEN,  /* post-copy broke: its memory is on both hosts, and it can go on */
    SETTLED_LOST,    /* post-copy broke, and what had gone on there is gone */
    SETTLED_ELSEWHERE,
    SETTLED_GONE, /* neither here nor there */
    SETTLED_ODD,  /* both sides say what they have, and it makes no sense */
};

struct action {
    Skein__JournalRecord *record; /* as the journal has it, or will; owned */
    enum plan_action_type type;   /* as of a plan_move */
    enum exec_state state;
    msec since_mono;    /* in this state */
    msec deadline_mono; /* of this state */
    bool loaded;        /* from the journal, before its first tick */
    bool journaled;

    struct budget_order order; /* the standing order that approves it, if it is one */

    /* of the plan */
    struct hv_move move; /* without the address */
    msec estimate_ms;

    /* before the start */
    struct confirm *confirm; /* CONFIRM; owned */
    char *asker;             /* owned: whom to answer when the voters have spoken ... */
    uint64_t asked;          /* ... and to which request; 0: nobody waits */
    msec start_by_mono;
    msec retry_mono; /* not before */

    bool hooks_asked; /* of the gate rules, for this start */

    bool autostart;                /* it starts with this host, as was just seen */
    char changed[512], wrong[512]; /* as its destination compared it with what it was; "" */
    bool cancelled;
    struct err outcome; /* what is to be told of a failure; ERR_OK: nothing yet */

    uint64_t job;     /* the state's own: LOOK, PRECHECK, MIGRATE, TIDY; 0: none */
    msec job_mono;    /* since when */
    bool migrating;   /* HV_MIGRATE of this life has not come back */
    uint64_t migrate; /* its token */
    uint64_t request; /* reserve or report that is awaited */
    char request_to[HV_NAME_MAX];
    unsigned tries; /* of the report */

    /* while it runs */
    msec run_until_mono;
    msec tick_mono;     /* RUNNING: last; 0: not yet */
    msec adopted_began; /* ADOPTED: when that job began, as job_began of a glance */
    uint64_t progress_job, abort_job;
    msec progress_mono, abort_mono;
    struct hv_progress progress;
    struct ladder ladder;

    /* observing both sides */
    struct glance here, there;
    uint64_t look_job, remote_job, look_request;
    msec round_mono; /* when this round began */
    msec next_round_mono;
    bool round; /* one is under way */
    enum settled agreed;
    msec agreed_mono;
    msec repair_mono; /* when it was last tried; 0: never */
    msec switch_mono; /* when post-copy was last asked for; 0: never */
    msec idle_mono;   /* no job was seen here since, our call having come back; 0: one was */
    bool finished;    /* it was seen moved: only tidying is left */
    bool settled;     /* NEEDS_OPERATOR: both sides agree again */

    /* standby and wake */
    char mac[HV_MAC_SIZE]; /* of the host to be woken; "": not known */
    msec ordered_mono;
    bool away;      /* standby: said goodbye to the mesh */
    msec seen_wall; /* of the last tick since the order; 0: none */
    msec slept_ms;  /* that passed between two ticks */
};

/* Attempts that ended before they began, for the planner's next question. */
#define EXEC_FORGOTTEN 16

struct forgotten {
    char plan[PLAN_ID_SIZE], action[PLAN_ACTION_ID_MAX];
    struct err err;
};

struct exec {
    const struct view *view;   /* borrowed */
    const struct state *state; /* borrowed */
    char leader[HV_NAME_MAX];
    uint64_t term;
    struct action **actions; /* sorted by plan and action */
    size_t n, cap;
    struct forgotten forgotten[EXEC_FORGOTTEN];
    unsigned next_forgotten;
    struct verify_refusals refusals;
    struct budget *budget; /* owned */
    size_t arrivals;       /* VMs for which this host holds room, or checks whether it can */
};

/* exec_action.c */
bool action_is_terminal(const struct action *a);
bool action_has_started(const struct action *a); /* the hypervisor may have been told */
void action_goto(struct action *a, struct step *s, enum exec_state to, const char *why);
void action_journal(struct action *a, struct step *s, Skein__JournalState state);
/* A job that is seen on the VM from now on is not this action's. */
void action_job_over(struct action *a, struct step *s);
void action_audit(const struct action *a, struct step *s, const char *event);
/* "move.started", "standby.started", "wake.started": what is "started". */
void action_audit_what(const struct action *a, struct step *s, const char *what);
/* What is told of it now; borrows from the action. */
Skein__ActionReport action_report(const struct action *a, const struct step *s);
uint64_t action_job(struct action *a, struct step *s, enum hv_kind kind);
/* Nothing was started: forget it, tell who asked; a is freed. */
void action_forget(struct exec *e, struct step *s, struct action *a, const struct err *err);
/* The three ends. The report goes out from the next tick on. */
void action_done(struct action *a, struct step *s, const char *message);
void action_undone(struct action *a, struct step *s, const struct err *err);
void action_needs_operator(struct action *a, struct step *s, const char *why);
void action_answer_start(struct action *a, struct step *s, const struct err *err);
void action_answer(struct step *s, const char *to, uint64_t id, Skein__ActionReport *report);
/* Out of the collection and the journal; a is freed. */
void action_remove(struct exec *e, struct step *s, struct action *a);
void action_free(struct action *a);
void action_set_text(char **at, const char *text); /* an owned text, replaced */
const char *action_text(const char *text);         /* "" for NULL */
void action_progress(const struct exec *e, const struct action *a, struct step *s,
                     const char *phase);

/* exec_move.c: all states but SETTLE and the ends. move_tick: true when a was freed; move_hv: true
 * when the result was this action's. */
void move_confirm(struct exec *e, struct action *a, struct step *s);
bool move_tick(struct exec *e, struct action *a, struct step *s);
bool move_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result);
void move_reserved(struct exec *e, struct action *a, struct step *s, const Skein__Reply *reply);
void move_abort(struct action *a, struct step *s);
void move_tidy(struct action *a, struct step *s);
void move_adopt(struct action *a, struct step *s);
/* Asks the gate rules' hooks, by this host itself: the planner may lie. a->job is the question;
 * false: there is none to ask. */
bool move_ask_hooks(const struct exec *e, struct action *a, struct step *s);

/* exec_power.c: standby and wake, from the confirmed permit on. */
int power_check(const struct exec *e, const struct step *s, const struct plan_move *move,
                struct err *err);
void power_confirmed(struct exec *e, struct action *a, struct step *s);
void power_adopt(struct action *a, struct step *s);
void power_tick(struct exec *e, struct action *a, struct step *s);
/* True: it was this action's. */
bool power_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result);
bool power_reply(struct exec *e, struct action *a, struct step *s, const char *from,
                 const Skein__Reply *reply);
bool power_is_sleeping(const struct action *a); /* it tells everybody that it sleeps */

/* exec_vm.c: shutdown and suspend, from the confirmed permit on. */
bool action_is_in_place(const struct action *a);
void vm_adopt(struct action *a, struct step *s);
void vm_tick(struct action *a, struct step *s);
/* True: it was this action's. */
bool vm_hv(struct exec *e, struct action *a, struct step *s, const struct hv_result *result);

/* exec_settle.c */
enum settled settle_decide(const struct action *a);
void settle_begin(struct action *a, struct step *s, const char *why);
void settle_look_here(struct action *a, struct step *s); /* ADOPTED: fills a->here */
void settle_tick(struct action *a, struct step *s);
void settle_watch(struct action *a, struct step *s); /* NEEDS_OPERATOR */
/* True: it was an answer to this action. */
bool settle_hv(struct action *a, const struct step *s, const struct hv_result *result);
bool settle_reply(struct action *a, const char *from, const Skein__Reply *reply);

#endif
