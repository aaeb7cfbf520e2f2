/* acting_base.h - what the acting world (acting_world.h) is made of, its chance, and its wire: what
 * is on its way to an agent, and when it comes. */
#ifndef SKEIN_TESTS_UNIT_ACTING_BASE_H
#define SKEIN_TESTS_UNIT_ACTING_BASE_H

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>

#include "agent/core/exec.h"
#include "agent/core/reserve.h"
#include "agent/core/state.h"
#include "agent/core/view.h"
#include "proto/codec.h"

#define HOSTS 3
#define VMS 4
#define WORLD_WALL 1795311000000 /* a wall clock to start from */
#define HOST_MIB 8192
#define VM_MIB 3000
#define CLUSTER "11111111-1111-1111-1111-111111111111"
#define KEYS_MAX 64

static const char *const host_names[HOSTS] = {"hv1", "hv2", "hv3"};
static const char *const vm_names[VMS] = {"vm1", "vm2", "vm3", "vm4"};

/* What the guests' metadata says of them all. */
static Skein__Tag fake_tag = {PROTOBUF_C_MESSAGE_INIT(&skein__tag__descriptor), (char *)"tier",
                              (char *)"gold"};
static Skein__Tag *fake_tags[] = {&fake_tag};

struct dom {
    bool present, persistent, job;
    bool halted; /* paused by a migration that is over */
    msec job_began;
    Skein__VmState state;
};

enum fate {
    FATE_MOVES,
    FATE_MOVES_SAYS_FAILED, /* success followed by an error return */
    FATE_MOVES_EARLY_ERROR, /* the call fails at once, the job goes on and succeeds */
    FATE_LEAVES_DEFINITION, /* ... and the call says failed or not */
    FATE_FAILS,
    FATE_FAILS_SAYS_MOVED,
    FATE_STUCK,          /* never ends by itself */
    FATE_STUCK_FOR_GOOD, /* not even aborted */
    FATE_HALTED,         /* paused by it at the source, nothing at the destination */
    FATE_HALTED_MOVES,   /* likewise, and the destination runs it */
    FATE_PAUSED,         /* paused by someone at the source, nothing at the destination */
    FATE_LOST,           /* nowhere: the destination lost power after the switch */
    FATE_TWICE,          /* the destination runs it and the source resumed it */
    FATE_NOT_DEFINED,    /* runs at the destination, but is not defined there */
    FATES
};

struct migration {
    bool active, aborted;
    int vm, from, to;
    enum fate fate;
    uint64_t job;
    unsigned life;
    msec ends;
};

struct stored {
    char *key;
    uint8_t *data;
    size_t len;
};

struct host {
    int index;
    struct node_conf conf;
    Skein__HostDetail own; /* its settings: without its overcommit, a host has two cores */
    Skein__HostSummary own_summary;
    bool up;
    unsigned life;
    msec up_at, skew, libvirt_down_until, observed;
    struct view *view;
    struct state *state;
    struct exec *exec;
    struct reserve *reserve;
    uint64_t rng, next_token, sequence;
    struct stored journal[KEYS_MAX];
    size_t n_journal, applied;
    uint64_t term;
    char leader[16];
};

enum happening_kind { HAPPEN_FRAME, HAPPEN_HV, HAPPEN_ORDER };

struct happening {
    enum happening_kind kind;
    msec at;
    uint64_t order;
    int from, to;
    unsigned life;
    uint8_t *data;
    size_t len;
    struct hv_job job; /* HV: evaluated when it comes due */
    bool ready;        /* HV: result is there already */
    struct hv_result result;
};

struct entry_bytes {
    uint8_t *data;
    size_t len;
    uint64_t term;
};

struct world {
    uint64_t seed, rng, order;
    msec now;          /* mono */
    msec cancelled_at; /* 0: not */
    msec order_delay;  /* until the hypervisor acts on an order; 0: chance */
    uint64_t vm_mib;
    bool faults, no_planner, excused[VMS];
    bool silent_on_age; /* hypervisors do not say for how long a job has run */
    struct host hosts[HOSTS];
    struct dom doms[HOSTS][VMS];
    struct migration migrations[16];
    struct happening *queue;
    size_t n_queue, cap_queue;
    msec cut_until[HOSTS][HOSTS];
    struct entry_bytes log[256];
    size_t n_log;
    uint64_t term;
    int leader;
    /* the mini planner */
    char plan[PLAN_ID_SIZE];
    char *body;
    size_t body_len;
    char digest[HASH_HEX_SIZE];
    msec asked[VMS];
    bool pending_said[VMS];
    uint64_t planner_token;
    /* what was seen */
    unsigned migrate_calls[VMS], abort_calls, audits_refused, ended[VMS];
    bool autostart; /* what send_reserve() says of its VM */
    unsigned autostarts;
    unsigned autostart_refused; /* so often at first */
    const char *becomes;        /* after a move: its card, of this kind; NULL: not said */
    const char *becomes_kind;   /* "def", "set" */
    const char *stops;       /* what a2 does to vm2 on hv1 instead of moving it; NULL: it moves */
    bool guests_listen;      /* when they are asked to shut down, ... */
    unsigned stops_asked;    /* ... so often */
    unsigned opened, closed; /* calls to the firewall */
    unsigned hooks_asked;    /* ... and to hooks, ... */
    struct err hook_says;    /* ... which answer so */
    enum exec_state end_state[VMS];
    struct err last_reply;
    Skein__ActionState last_report;
    bool replied;
    char uuids[VMS][UUID_SIZE];
    void (*on_audit)(struct world *w, const json_t *record);
    unsigned
        only_crash_after; /* directed: die after this many effects of hv1 with a journal write */
    enum fate force_fate;
    bool fate_forced;
};

static inline uint64_t rnd(struct world *w)
{
    uint64_t z = w->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline bool chance(struct world *w, unsigned percent_tenths)
{
    return rnd(w) % 1000 < percent_tenths;
}

static inline msec between(struct world *w, msec low, msec high)
{
    return low + (msec)(rnd(w) % (uint64_t)(high - low + 1));
}

#define WORLD_FAIL(w, ...)                                                                         \
    do {                                                                                           \
        char why_[512];                                                                            \
        snprintf(why_, sizeof why_, __VA_ARGS__);                                                  \
        fail_msg("at %lld ms: %s\nreplay: SKEIN_TEST_SEED=%llu %s", (long long)(w)->now, why_,     \
                 (unsigned long long)(w)->seed, program_invocation_name);                          \
    } while (0)

static inline int host_index(const char *name)
{
    for (int i = 0; i < HOSTS; i++)
        if (strcmp(host_names[i], name) == 0)
            return i;
    return -1;
}

static inline int vm_index(const struct world *w, const char *uuid)
{
    for (int i = 0; i < VMS; i++)
        if (strcmp(w->uuids[i], uuid) == 0)
            return i;
    return -1;
}

static inline struct step step_of(struct world *w, struct host *h, struct effects *out)
{
    return (struct step){.now = {w->now, WORLD_WALL + w->now + h->skew},
                         .conf = &h->conf,
                         .out = out,
                         .rng = &h->rng,
                         .next_token = &h->next_token};
}

/* ---- the wire ---- */

static inline struct happening *happen(struct world *w, enum happening_kind kind, msec delay)
{
    ARRAY_RESERVE(w->queue, w->cap_queue, w->n_queue + 1);
    struct happening *x = &w->queue[w->n_queue++];
    *x = (struct happening){.kind = kind, .at = w->now + delay, .order = w->order++};
    return x;
}

static inline void happening_done(struct happening *x)
{
    free(x->data);
    hv_job_done(&x->job);
    hv_result_done(&x->result);
}

static inline void post(struct world *w, int from, int to, const uint8_t *data, size_t len)
{
    bool local = from == to;
    if (!local && (w->cut_until[from][to] > w->now || (w->faults && chance(w, 60))))
        return;
    unsigned copies = !local && w->faults && chance(w, 40) ? 2 : 1;
    for (unsigned i = 0; i < copies; i++) {
        msec delay = local ? 0 : between(w, 1, w->faults && chance(w, 30) ? 3000 : 40);
        struct happening *x = happen(w, HAPPEN_FRAME, delay);
        x->from = from;
        x->to = to;
        x->life = w->hosts[to].life;
        x->data = xmemdup(data, len);
        x->len = len;
    }
}

#endif
