/* deciders_base.h - what the world of deciders.h is made of, its chance, and what is on its way. */
#ifndef SKEIN_TESTS_LIB_DECIDERS_BASE_H
#define SKEIN_TESTS_LIB_DECIDERS_BASE_H

#include "agent/core/duty.h"
#include "tests/lib/plans.h"

#define HOSTS 4
#define VOTERS 3
#define VMS 6
#define TICK ((msec)250)
#define MOVES_MAX 4

static const char *const host_names[HOSTS] = {"hv1", "hv2", "hv3", "hv4"};
static const char *const policy_names[] = {"alpha", "beta"};

enum message_kind { M_COMMIT, M_REQUEST, M_REPLY, M_EVALUATED, M_ASKED };

struct message {
    msec at;
    enum message_kind kind;
    int voter;     /* whose proposal, request or evaluation; to whom a reply goes */
    int host;      /* the other end of a request or reply */
    bool to_voter; /* REQUEST, REPLY: the direction */
    uint64_t token, term;
    Skein__Entry *entry;     /* COMMIT */
    Skein__Frame *frame;     /* REQUEST, REPLY */
    struct evaluation *eval; /* EVALUATED; owned */
};

struct voter {
    struct node_conf conf;
    struct state *st;
    struct duty *d;
    struct view *view;
    uint64_t rng, next_token;
    size_t applied; /* entries of the log */
};

/* A source's journal of one action. */
struct journal {
    char plan[PLAN_ID_SIZE], action[PLAN_ACTION_ID_MAX], permit[40];
    int source, vm, to;
    msec ends; /* mono */
    bool succeeds, ended, reported, forgotten;
    msec next_report;
};

struct committed {
    Skein__Entry *entry;
    uint64_t term;
};

struct world {
    uint64_t seed, rng;
    msec now; /* mono; the wall clock is NOW more */
    struct voter voters[VOTERS];
    int leader; /* -1: none */
    uint64_t term;
    struct message *queue;
    size_t n_queue, cap_queue;
    struct committed *log;
    size_t n_log, cap_log;
    struct journal *journals;
    size_t n_journals, cap_journals;
    int vm_at[VMS], vm_moves_to[VMS]; /* -1: it does not move */
    bool stopped[VMS];                /* by an action of a plan */
    bool undefined[VMS];              /* it runs where it is, without a definition */
    bool host_up[HOSTS];
    msec host_back[HOSTS];
    uint64_t stores[HOSTS]; /* where voters are replaced */
    bool begins[HOSTS];     /* it waits, with an empty store */
    int nonce;

    struct {
        unsigned loss, doubled, slow; /* percent of messages */
        unsigned proposal_loss;       /* percent of proposals */
        unsigned refusal, failure;    /* percent of starts, of moves */
        const char *failure_code;     /* NULL: none */
    } faults;

    /* What the policies want: a body for this evaluation, or NULL with *ret_nothing. */
    char *(*worker)(struct world *w, const struct evaluation *e, size_t *ret_len,
                    const char **ret_nothing);
    struct test_move wanted[MOVES_MAX]; /* of worker_wants() */
    size_t n_wanted;
    unsigned wanted_seed;
    enum err_code start_refusal; /* every start is answered with this; ERR_OK: none */
    bool views_frozen;           /* hosts tell the voters nothing */
    bool checker_refuses;
    unsigned agreement; /* what the policies ask for */
    msec hold;
    struct buf audit;          /* "event event ..." of the leaders */
    char yielded[HV_NAME_MAX]; /* whom a planner asked last to plan */
    unsigned n_yielded;
    unsigned starts;
    char *asked; /* the hooks' last questions; owned ... */
    unsigned n_asked;
    enum err_code hook_says; /* ... and what all of them answer */
};

static struct world *world_now; /* for the checker, and for messages */

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            print_message("seed %llu, at %lld ms: ", (unsigned long long)world_now->seed,          \
                          (long long)world_now->now);                                              \
            fail_msg(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

static unsigned rnd(struct world *w, unsigned below)
{
    struct step s = {.rng = &w->rng};
    return below == 0 ? 0 : (unsigned)(step_random(&s) % below);
}

static bool chance(struct world *w, unsigned percent)
{
    return percent > 0 && rnd(w, 100) < percent;
}

static msec wall(const struct world *w)
{
    return NOW + w->now;
}

static int host_index(const char *name)
{
    for (int i = 0; i < HOSTS; i++)
        if (strcmp(host_names[i], name) == 0)
            return i;
    return -1;
}

static int vm_index(const char *uuid)
{
    char u[UUID_SIZE];
    for (int i = 0; i < VMS; i++)
        if (strcmp(test_uuid(i, u), uuid) == 0)
            return i;
    return -1;
}

/* ---- the queue ---- */

static void post(struct world *w, struct message m, bool network)
{
    m.at = w->now + (network ? 1 + rnd(w, 100) : 0);
    if (network && chance(w, w->faults.slow))
        m.at += rnd(w, 8000);
    ARRAY_RESERVE(w->queue, w->cap_queue, w->n_queue + 1);
    w->queue[w->n_queue++] = m;
}

static void message_done(struct message *m)
{
    if (m->entry != NULL)
        skein_entry_free(m->entry);
    if (m->frame != NULL)
        skein__frame__free_unpacked(m->frame, NULL);
    evaluation_free(m->eval);
}

static void post_frame(struct world *w, struct message m, const Skein__Frame *frame)
{
    if (chance(w, w->faults.loss))
        return;
    for (int copies = chance(w, w->faults.doubled) ? 2 : 1; copies > 0; copies--) {
        m.frame = (Skein__Frame *)codec_copy(&frame->base);
        post(w, m, true);
    }
}

#endif
