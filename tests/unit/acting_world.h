/* acting_world.h - three hosts that move guests among themselves, in one process, with every fault
 * that chance allows: the network loses, doubles, delays and cuts; agents die between any two
 * effects and come back with their journal; hypervisors go away, lie about success, get stuck. The
 * invariants are checked after every event. The same seed gives the same run. */
#ifndef SKEIN_TESTS_UNIT_ACTING_WORLD_H
#define SKEIN_TESTS_UNIT_ACTING_WORLD_H

#include "tests/lib/test.h"

#include <errno.h>
#include <stdio.h>

#include "agent/core/confirm.h"
#include "agent/core/exec.h"
#include "agent/core/reserve.h"
#include "agent/core/snapshot.h"
#include "agent/core/state.h"
#include "agent/core/view.h"
#include "proto/canon.h"
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

/* ---- trust: an envelope is plain JSON that says who signed it ---- */

static inline int fake_verify(void *arg, const uint8_t *bytes, size_t len, msec wall,
                              struct trust_command *ret, struct err *err)
{
    (void)arg;
    _cleanup_json_ json_t *e = json_loadb((const char *)bytes, len, 0, NULL);
    const char *person = json_string_value(json_object_get(e, "person"));
    const char *cluster = json_string_value(json_object_get(e, "cluster"));
    if (person == NULL || cluster == NULL || json_is_true(json_object_get(e, "forged")))
        return err_set(err, ERR_UNAUTHENTICATED, "the signature is not valid");
    if (strcmp(cluster, CLUSTER) != 0)
        return err_set(err, ERR_DENIED, "signed for another cluster");
    struct trust_command c = {0};
    snprintf(c.person, sizeof c.person, "%s", person);
    c.roles = (unsigned)json_integer_value(json_object_get(e, "roles"));
    snprintf(c.key, sizeof c.key, "%064x", (unsigned)strlen(person) * 77 + (unsigned)person[0]);
    uint8_t hash[HASH_SIZE];
    hash_sha256(bytes, len, hash);
    hash_hex(hash, c.digest);
    hash_hex(hash, c.nonce);
    c.issued_at = WORLD_WALL - 1000;
    c.expires_at = json_integer_value(json_object_get(e, "expires"));
    if (wall >= c.expires_at)
        return err_set(err, ERR_EXPIRED, "the envelope has expired");
    c.command = json_incref(json_object_get(e, "command"));
    *ret = c;
    return 0;
}

static struct gate_rules *fake_rules; /* of one attempt: what the admins signed; NULL: none */

static inline const struct gate_rules *fake_gates(const struct trust *trust)
{
    (void)trust;
    return fake_rules;
}

static const struct trust fake_trust = {.verify = fake_verify, .gates = fake_gates};

/* What the guests' metadata says of them all. */
static Skein__Tag fake_tag = {PROTOBUF_C_MESSAGE_INIT(&skein__tag__descriptor), (char *)"tier",
                              (char *)"gold"};
static Skein__Tag *fake_tags[] = {&fake_tag};

/* ---- the world ---- */

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

/* ---- happenings ---- */

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

/* ---- the hypervisors ---- */

static inline void hv_later(struct world *w, int host, unsigned life, uint64_t job,
                            enum hv_kind kind, msec delay, enum err_code code, const char *message)
{
    struct happening *x = happen(w, HAPPEN_HV, delay);
    x->to = host;
    x->life = life;
    x->ready = true;
    x->result = (struct hv_result){.job = job, .kind = kind};
    if (code != ERR_OK)
        err_set(&x->result.err, code, "%s", message);
}

static inline struct migration *migration_of(struct world *w, int vm)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->migrations); i++)
        if (w->migrations[i].active && w->migrations[i].vm == vm)
            return &w->migrations[i];
    return NULL;
}

static inline void migrate_begin(struct world *w, int host, unsigned life, const struct hv_job *job)
{
    int vm = vm_index(w, job->move.uuid), to = host_index(job->move.to);
    struct dom *here = &w->doms[host][vm], *there = &w->doms[to][vm];
    w->migrate_calls[vm]++;
    if (w->migrate_calls[vm] > 1)
        WORLD_FAIL(w, "%s: started twice", vm_names[vm]);
    if (!here->present || here->state != SKEIN__VM_STATE__VM_RUNNING || there->present ||
        migration_of(w, vm) != NULL) {
        hv_later(w, host, life, job->id, HV_MIGRATE, 5, ERR_HYPERVISOR, "not here");
        return;
    }
    struct migration *m = NULL;
    for (size_t i = 0; m == NULL && i < ARRAY_SIZE(w->migrations); i++)
        if (!w->migrations[i].active)
            m = &w->migrations[i];
    assert_non_null(m);
    enum fate fate = w->fate_forced ? w->force_fate
                     : w->faults    ? (enum fate)(rnd(w) % FATES)
                                    : FATE_MOVES;
    if (!w->fate_forced && fate >= FATE_STUCK_FOR_GOOD && !chance(w, 300))
        fate = FATE_MOVES;
    *m = (struct migration){.active = true,
                            .vm = vm,
                            .from = host,
                            .to = to,
                            .fate = fate,
                            .job = job->id,
                            .life = life,
                            .ends = w->now + between(w, 300, 6000)};
    here->job = true;
    here->job_began = w->now;
    *there = (struct dom){.present = true, .state = SKEIN__VM_STATE__VM_INCOMING};
    if (fate == FATE_MOVES_EARLY_ERROR)
        hv_later(w, host, m->life, job->id, HV_MIGRATE, between(w, 1, 1000), ERR_HYPERVISOR,
                 "connection reset");
}

static inline bool fate_moves(enum fate f)
{
    return f == FATE_MOVES || f == FATE_MOVES_SAYS_FAILED || f == FATE_MOVES_EARLY_ERROR ||
           f == FATE_LEAVES_DEFINITION;
}

static inline void migrate_end(struct world *w, struct migration *m)
{
    struct dom *here = &w->doms[m->from][m->vm], *there = &w->doms[m->to][m->vm];
    bool moves = fate_moves(m->fate) && !m->aborted;
    m->active = false;
    here->job = false;
    if (moves) {
        *there =
            (struct dom){.present = true, .persistent = true, .state = SKEIN__VM_STATE__VM_RUNNING};
        *here = (struct dom){.present = m->fate == FATE_LEAVES_DEFINITION,
                             .persistent = m->fate == FATE_LEAVES_DEFINITION,
                             .state = SKEIN__VM_STATE__VM_STOPPED};
    } else if (m->fate == FATE_STUCK_FOR_GOOD || m->fate < FATE_HALTED || m->aborted) {
        *there = (struct dom){0};
    } else if (m->fate == FATE_HALTED || m->fate == FATE_HALTED_MOVES) {
        *there = (struct dom){.present = m->fate == FATE_HALTED_MOVES,
                              .persistent = m->fate == FATE_HALTED_MOVES,
                              .state = SKEIN__VM_STATE__VM_RUNNING};
        here->state = SKEIN__VM_STATE__VM_PAUSED;
        here->halted = true;
        w->excused[m->vm] = m->fate == FATE_HALTED; /* until it goes on */
    } else {
        w->excused[m->vm] = true;
        *there = (struct dom){.present = m->fate == FATE_TWICE || m->fate == FATE_NOT_DEFINED,
                              .persistent = m->fate == FATE_TWICE,
                              .state = SKEIN__VM_STATE__VM_RUNNING};
        if (m->fate == FATE_PAUSED)
            here->state = SKEIN__VM_STATE__VM_PAUSED;
        else if (m->fate == FATE_LOST)
            *here = (struct dom){0};
        else if (m->fate == FATE_NOT_DEFINED)
            here->state = SKEIN__VM_STATE__VM_STOPPED;
    }
    if (m->fate == FATE_MOVES_EARLY_ERROR)
        return; /* answered long ago */
    bool well = m->fate == FATE_FAILS_SAYS_MOVED || m->fate == FATE_MOVES ||
                (m->fate == FATE_LEAVES_DEFINITION && m->vm % 2 == 0);
    if (m->aborted)
        well = false;
    hv_later(w, m->from, m->life, m->job, HV_MIGRATE, between(w, 1, 50),
             well         ? ERR_OK
             : m->aborted ? ERR_CANCELLED
                          : ERR_HYPERVISOR,
             "operation failed");
}

static inline Skein__HostDetail *observe(struct world *w, struct host *h)
{
    Skein__HostSummary s = SKEIN__HOST_SUMMARY__INIT;
    s.host = (char *)h->conf.host;
    s.has_incarnation = s.has_sequence = s.has_cores = s.has_memory_total_mib = 1;
    s.incarnation = 1;
    s.sequence = ++h->sequence;
    s.has_observed_at_ms = 1;
    s.observed_at_ms = (uint64_t)(WORLD_WALL + w->now);
    s.cores = 2;
    s.memory_total_mib = HOST_MIB;
    Skein__VmDetail vms[VMS], *list[VMS];
    Skein__HostDetail d = SKEIN__HOST_DETAIL__INIT;
    d.summary = &s;
    d.vms = list;
    for (int i = 0; i < VMS; i++) {
        const struct dom *dom = &w->doms[h->index][i];
        skein__vm_detail__init(&vms[i]);
        vms[i].uuid = w->uuids[i];
        vms[i].name = (char *)vm_names[i];
        vms[i].has_state = vms[i].has_vcpus = vms[i].has_memory_mib = vms[i].has_persistent = 1;
        vms[i].state = dom->state;
        vms[i].vcpus = 2;
        vms[i].memory_mib = w->vm_mib;
        vms[i].persistent = dom->persistent;
        vms[i].n_tags = 1;
        vms[i].tags = fake_tags;
        if (dom->present)
            list[d.n_vms++] = &vms[i];
    }
    return (Skein__HostDetail *)codec_copy(&d.base);
}

static inline void hv_look(const struct world *w, const struct dom *d, struct hv_result *r)
{
    r->seen = (struct hv_seen){
        .present = d->present, .state = d->state, .persistent = d->persistent, .job = d->job};
    if (d->job && !w->silent_on_age)
        r->seen.job_ms = MAX(w->now - d->job_began, (msec)1);
    if (d->halted)
        snprintf(r->seen.reason, sizeof r->seen.reason, "%s", HV_REASON_MIGRATING);
}

static inline bool runs_elsewhere(const struct world *w, int host, int vm)
{
    for (int i = 0; i < HOSTS; i++)
        if (i != host && w->doms[i][vm].present &&
            w->doms[i][vm].state == SKEIN__VM_STATE__VM_RUNNING)
            return true;
    return false;
}

static inline void hv_repair(struct world *w, int host, int vm, struct hv_result *r)
{
    struct dom *d = &w->doms[host][vm];
    if (!d->present || !d->halted || d->job) {
        err_set(&r->err, ERR_CONFLICT, "no migration left it paused");
        return;
    }
    bool elsewhere = runs_elsewhere(w, host, vm);
    if (elsewhere == (r->kind == HV_RESUME))
        WORLD_FAIL(w, "%s: %s", vm_names[vm],
                   elsewhere ? "a second copy was started" : "the only copy was destroyed");
    d->halted = false;
    w->excused[vm] = false;
    d->state = elsewhere ? SKEIN__VM_STATE__VM_STOPPED : SKEIN__VM_STATE__VM_RUNNING;
}

static inline void hv_tidy(struct world *w, int host, int vm, struct hv_result *r)
{
    struct dom *d = &w->doms[host][vm];
    if (d->present && d->state != SKEIN__VM_STATE__VM_STOPPED) {
        err_set(&r->err, ERR_CONFLICT, "it runs");
        return;
    }
    bool elsewhere = false;
    for (int i = 0; i < HOSTS; i++)
        elsewhere = elsewhere || (i != host && w->doms[i][vm].present && w->doms[i][vm].persistent);
    if (!elsewhere)
        WORLD_FAIL(w, "%s: its only definition was removed", vm_names[vm]);
    *d = (struct dom){0};
}

/* What a short call finds when it is carried out. */
static inline void hv_evaluate(struct world *w, struct host *h, const struct hv_job *job,
                               struct hv_result *r)
{
    int vm = job->kind == HV_OBSERVE ? 0 : vm_index(w, job->move.uuid);
    *r = (struct hv_result){.job = job->id, .kind = job->kind};
    int target = job->kind == HV_LOOK_REMOTE ? host_index(job->move.to) : h->index;
    bool cut = target != h->index && w->cut_until[h->index][target] > w->now;
    if (w->hosts[target].libvirt_down_until > w->now || cut) {
        err_set(&r->err, ERR_UNAVAILABLE, "the hypervisor of %s\ndoes not answer",
                host_names[target]);
        return;
    }
    struct migration *m = migration_of(w, vm);
    switch (job->kind) {
    case HV_OBSERVE:
        r->detail = observe(w, h);
        break;
    case HV_LOOK:
    case HV_LOOK_REMOTE:
        hv_look(w, &w->doms[target][vm], r);
        break;
    case HV_PRECHECK:
    case HV_ADMIT:
        if (w->faults && chance(w, 30))
            err_set(&r->err, ERR_INCOMPATIBLE, "a device cannot move");
        break;
    case HV_PROGRESS:
        r->progress = (struct hv_progress){.running = m != NULL,
                                           .total_mib = w->vm_mib,
                                           .remaining_mib = w->vm_mib / 2,
                                           .transferred_mib = (uint64_t)w->now / 1000};
        break;
    case HV_ABORT:
        w->abort_calls++;
        if (m == NULL)
            err_set(&r->err, ERR_NOT_FOUND, "no job");
        else if (m->fate != FATE_STUCK_FOR_GOOD) {
            m->aborted = true;
            m->ends = MIN(m->ends, w->now + 100);
            if (m->fate == FATE_STUCK)
                m->ends = w->now + 100;
        }
        break;
    case HV_TIDY:
        hv_tidy(w, h->index, vm, r);
        break;
    case HV_RESUME:
    case HV_DISCARD:
        hv_repair(w, h->index, vm, r);
        break;
    case HV_MIGRATE:
    case HV_EXAMINE:
    case HV_AUTOSTART:
        w->autostarts++;
        break;
    case HV_ASK:
        w->hooks_asked++;
        r->err = w->hook_says;
        break;
    case HV_OPEN:
        w->opened++;
        break;
    case HV_CLOSE:
        w->closed++;
        break;
    case HV_TUNE:
    case HV_POSTCOPY: /* these plans do not allow it */
    case HV_STANDBY:
    case HV_WAKE:
    case HV_KINDS:
        break;
    }
}

/* ---- an agent ---- */

static inline void store(struct host *h, const char *key, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < h->n_journal; i++)
        if (strcmp(h->journal[i].key, key) == 0) {
            free(h->journal[i].data);
            h->journal[i].data = NULL;
            if (data == NULL) {
                free(h->journal[i].key);
                h->journal[i] = h->journal[--h->n_journal];
                return;
            }
            h->journal[i].data = xmemdup(data, len);
            h->journal[i].len = len;
            return;
        }
    if (data == NULL)
        return;
    assert_true(h->n_journal < KEYS_MAX);
    h->journal[h->n_journal++] = (struct stored){xstrdup(key), xmemdup(data, len), len};
}

static inline Skein__JournalRecord *stored_record(const struct host *h, size_t i)
{
    Skein__JournalRecord *record;
    struct err err;
    assert_ok(codec_journal(h->journal[i].data, h->journal[i].len, &record, &err), &err);
    return record;
}

static inline void agent_down(struct world *w, struct host *h)
{
    exec_free(h->exec);
    reserve_free(h->reserve);
    view_free(h->view);
    h->exec = NULL;
    h->reserve = NULL;
    h->view = NULL;
    h->up = false;
    h->life++;
    h->up_at = w->now + between(w, 200, 5000);
}

static inline void agent_up(struct host *h)
{
    h->up = true;
    h->view = view_new();
    h->exec = exec_new(h->view, h->state);
    h->reserve = reserve_new(h->view, h->state);
    h->term = 0;
    h->leader[0] = '\0';
    h->observed = 0;
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *record = stored_record(h, i);
        exec_load(h->exec, record);
        reserve_load(h->reserve, record);
        skein__journal_record__free_unpacked(record, NULL);
    }
}

/* The journal must say it first, and the permit must be of now. */
static inline void check_start_allowed(struct world *w, const struct host *h, const char *uuid)
{
    bool found = false;
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *r = stored_record(h, i);
        if (!r->acts_as_destination && strcmp(r->uuid, uuid) == 0 &&
            r->state == SKEIN__JOURNAL_STATE__JOURNAL_STARTED) {
            found = true;
            if (WORLD_WALL + w->now > (msec)r->permit->expires_at_ms + 500)
                WORLD_FAIL(w, "%s: started under an expired permit", r->vm);
        }
        skein__journal_record__free_unpacked(r, NULL);
    }
    if (!found)
        WORLD_FAIL(w, "%s: started before the journal says so", uuid);
    if (w->cancelled_at != 0 && w->now > w->cancelled_at + 10500)
        WORLD_FAIL(w, "%s: started long after the plan was cancelled", uuid);
}

static inline void do_job(struct world *w, struct host *h, struct effect *x)
{
    if (x->job->kind == HV_MIGRATE) {
        check_start_allowed(w, h, x->job->move.uuid);
        struct happening *order =
            happen(w, HAPPEN_ORDER,
                   w->order_delay != 0 ? w->order_delay : between(w, 1, w->faults ? 900 : 10));
        order->to = h->index;
        order->life = h->life;
        order->job = *x->job;
        return;
    }
    struct happening *e =
        happen(w, HAPPEN_HV, between(w, 1, w->faults && chance(w, 20) ? 8000 : 60));
    e->to = h->index;
    e->life = h->life;
    e->job = *x->job;
    x->job->questions = NULL;
    x->job->vm = NULL;
}

/* As the shell does: what must be durable first, then the rest. Death between any two. */
static inline void perform(struct world *w, struct host *h, struct effects *out)
{
    bool died = false;
    for (int pass = 0; pass < 2 && !died; pass++) {
        for (size_t i = 0; i < out->n && !died; i++) {
            struct effect *x = &out->items[i];
            bool durable = x->kind == EFFECT_JOURNAL || x->kind == EFFECT_AUDIT;
            if (durable != (pass == 0))
                continue;
            if (getenv("SKEIN_TEST_TRACE") != NULL && x->kind == EFFECT_TRACE)
                printf("%8lld %s %s\n", (long long)w->now, h->conf.host, x->key);
            if (x->kind == EFFECT_JOURNAL)
                store(h, x->key, x->data, x->len);
            else if (x->kind == EFFECT_AUDIT && w->on_audit != NULL)
                w->on_audit(w, x->record);
            else if (x->kind == EFFECT_SEND)
                post(w, h->index, host_index(x->key), x->data, x->len);
            else if (x->kind == EFFECT_JOB)
                do_job(w, h, x);
            bool counted = x->kind == EFFECT_JOURNAL && h->index == 0 && w->only_crash_after > 0 &&
                           --w->only_crash_after == 0;
            died = counted || (w->faults && x->kind != EFFECT_TRACE &&
                               chance(w, x->kind == EFFECT_JOURNAL ? 40 : 1));
        }
    }
    effects_clear(out);
    if (died)
        agent_down(w, h);
}

/* ---- the shared log, and a planner that is only as clever as it must be ---- */

static inline bool commit(struct world *w, Skein__Entry *entry, struct err *err)
{
    assert_true(w->n_log < ARRAY_SIZE(w->log));
    entry->has_at_ms = 1;
    entry->at_ms = (uint64_t)(WORLD_WALL + w->now);
    entry->proposer = (char *)host_names[w->leader];
    struct entry_bytes *b = &w->log[w->n_log++];
    b->data = codec_pack(&entry->base, &b->len);
    b->term = w->term;
    /* the leader applies at once and hears of a refusal */
    struct host *h = &w->hosts[w->leader];
    int rc = 0;
    while (h->applied < w->n_log) {
        struct entry_bytes *next = &w->log[h->applied];
        Skein__Entry *copy;
        struct err bad = {0};
        assert_ok(codec_entry(next->data, next->len, &copy, &bad), &bad);
        rc = state_apply(h->state, copy, ++h->applied, next->term, err);
        skein_entry_free(copy);
    }
    return rc >= 0;
}

static inline void catch_up(struct world *w, struct host *h, bool all)
{
    while (h->applied < w->n_log && (all || chance(w, 500))) {
        struct entry_bytes *next = &w->log[h->applied];
        Skein__Entry *copy;
        struct err err = {0};
        assert_ok(codec_entry(next->data, next->len, &copy, &err), &err);
        state_apply(h->state, copy, ++h->applied, next->term, &err);
        skein_entry_free(copy);
    }
}

static inline char *envelope(const struct world *w, const char *person, unsigned roles,
                             const char *verb, const char *cluster, bool forged, msec expires)
{
    json_t *e =
        json_pack("{s:s, s:i, s:s, s:b, s:I, s:{s:s, s:s, s:s}}", "person", person, "roles",
                  (int)roles, "cluster", cluster, "forged", forged, "expires", (json_int_t)expires,
                  "command", "type", verb, "plan", w->plan, "digest", w->digest);
    char *text = json_dumps(e, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(e);
    return text;
}

static inline void commit_envelope(struct world *w, const char *person, const char *verb)
{
    _cleanup_(freep) char *text =
        envelope(w, person, TRUST_APPROVER, verb, CLUSTER, false, WORLD_WALL + 86400000);
    Skein__EnvelopePut put = SKEIN__ENVELOPE_PUT__INIT;
    put.has_envelope = 1;
    put.envelope.data = (uint8_t *)text;
    put.envelope.len = strlen(text);
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_ENVELOPE;
    entry.envelope = &put;
    struct err err = {0};
    if (strcmp(verb, "cancel") == 0)
        w->cancelled_at = w->now;
    if (!commit(w, &entry, &err) && strcmp(verb, "approve") == 0)
        WORLD_FAIL(w, "approval refused: %s", err.msg);
}

static inline void commit_change(struct world *w, Skein__PlanState state)
{
    Skein__PlanChange change = SKEIN__PLAN_CHANGE__INIT;
    change.plan = w->plan;
    change.has_state = 1;
    change.state = state;
    change.reason = (char *)"test";
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_CHANGE;
    entry.change = &change;
    struct err err = {0};
    if (!commit(w, &entry, &err))
        WORLD_FAIL(w, "change refused: %s", err.msg);
}

static inline json_t *action_json(const struct world *w, int vm, const char *from, const char *to)
{
    char id[8];
    snprintf(id, sizeof id, "a%d", vm + 1);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:b}, s:{s:i}}", "id", id, "type",
                     "migrate", "vm", vm_names[vm], "uuid", w->uuids[vm], "from", from, "to", to,
                     "reason", "heat", "parameters", "auto_converge", 1, "estimate", "ms", 2000);
}

/* vm1 hv1->hv2, vm2 hv1->hv3 and vm4 hv3->hv2, for which hv2 has no room beside vm1; then vm3
 * hv2->hv1. */
static inline void make_body(struct world *w)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:{s:s}, s:[{s:[o, o, o]}, {s:[o]}]}", "class", "safety", "reason", "hot",
        "snapshot_digest", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "policy", "name", "thermal_relief", "steps", "actions", action_json(w, 0, "hv1", "hv2"),
        action_json(w, 1, "hv1", "hv3"), action_json(w, 3, "hv3", "hv2"), "actions",
        action_json(w, 2, "hv2", "hv1"));
    struct err err = {0};
    assert_non_null(body);
    assert_ok(canon_dump(body, &w->body, &w->body_len, &err), &err);
    assert_ok(canon_digest(PLAN_SCHEMA, body, w->digest, &err), &err);
    snprintf(w->plan, sizeof w->plan, "%.12s", w->digest);
    json_decref(body);
}

static inline void commit_plan(struct world *w)
{
    Skein__PlanPut put = SKEIN__PLAN_PUT__INIT;
    put.id = w->plan;
    put.digest = w->digest;
    put.has_body = put.has_state = put.has_expires_at_ms = 1;
    put.body.data = (uint8_t *)w->body;
    put.body.len = w->body_len;
    put.state = SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    put.expires_at_ms = (uint64_t)(WORLD_WALL + w->now + 86400000);
    put.author = (char *)"planner";
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_PLAN;
    entry.plan = &put;
    struct err err = {0};
    if (!commit(w, &entry, &err))
        WORLD_FAIL(w, "plan refused: %s", err.msg);
}

static inline Skein__Permit make_permit(struct world *w, const struct plan_item *item, char id[33])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 32; i++)
        id[i] = digits[rnd(w) & 15];
    id[32] = '\0';
    Skein__Permit p = SKEIN__PERMIT__INIT;
    p.id = id;
    p.plan = w->plan;
    p.digest = w->digest;
    p.action = item->move->id;
    p.has_term = p.has_issued_at_ms = p.has_expires_at_ms = p.has_attempt = 1;
    p.term = w->term;
    p.issued_at_ms = (uint64_t)(WORLD_WALL + w->now);
    p.expires_at_ms = p.issued_at_ms + 10000;
    p.source = item->move->from;
    p.destination = item->move->to;
    p.attempt = (item->permit != NULL ? item->permit->attempt : 0) + 1;
    return p;
}

static inline bool commit_permit(struct world *w, const Skein__Permit *permit)
{
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_PERMIT;
    entry.permit = (Skein__Permit *)permit;
    struct err err = {0};
    return commit(w, &entry, &err);
}

static inline bool commit_report(struct world *w, const Skein__ActionReport *report)
{
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_REPORT;
    entry.report = (Skein__ActionReport *)report;
    struct err err = {0};
    return commit(w, &entry, &err);
}

static inline void send_start(struct world *w, int from, const char *to,
                              const Skein__Permit *permit, const ProtobufCBinaryData *body,
                              ProtobufCBinaryData *approvals, size_t n_approvals, bool query)
{
    Skein__StartAction start = SKEIN__START_ACTION__INIT;
    start.has_body = 1;
    start.body = *body;
    start.approvals = approvals;
    start.n_approvals = n_approvals;
    start.permit = (Skein__Permit *)permit;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.has_id = 1;
    request.id = ++w->planner_token << OWNER_BITS | OWNER_DUTY;
    request.kind_case = query ? SKEIN__REQUEST__KIND_QUERY : SKEIN__REQUEST__KIND_START;
    if (query)
        request.query = &start;
    else
        request.start = &start;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = &request;
    size_t len;
    _cleanup_(freep) uint8_t *data = codec_pack(&frame.base, &len);
    post(w, from, host_index(to), data, len);
}

static inline struct plan *the_plan(struct world *w)
{
    return state_plan(w->hosts[w->leader].state, w->plan);
}

static inline void planner_end(struct world *w, const struct plan_item *item,
                               Skein__ActionState state)
{
    Skein__ActionReport r = SKEIN__ACTION_REPORT__INIT;
    r.plan = w->plan;
    r.action = item->move->id;
    r.has_state = 1;
    r.state = state;
    r.reporter = (char *)host_names[w->leader];
    r.permit = item->permit != NULL ? item->permit->id : NULL;
    r.code = (char *)(state == SKEIN__ACTION_STATE__ACTION_CANCELLED ? "CANCELLED" : "EXPIRED");
    r.message = (char *)"never started";
    commit_report(w, &r);
}

static inline void planner_item(struct world *w, struct plan *p, struct plan_item *item)
{
    int vm = vm_index(w, item->move->uuid);
    uint64_t wall = (uint64_t)(WORLD_WALL + w->now);
    bool live = item->permit != NULL && item->permit->expires_at_ms + 1000 > wall &&
                item->permit->term == w->term;
    bool over = item->permit == NULL || (item->permit->expires_at_ms + 2000 < wall);
    if (over && (item->permit == NULL || w->pending_said[vm])) {
        if (p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING)
            planner_end(w, item, SKEIN__ACTION_STATE__ACTION_CANCELLED);
        else if (item->permit != NULL && item->permit->attempt >= 8)
            planner_end(w, item, SKEIN__ACTION_STATE__ACTION_FAILED);
        else {
            char id[33];
            Skein__Permit permit = make_permit(w, item, id);
            if (commit_permit(w, &permit))
                w->asked[vm] = 0;
        }
        w->pending_said[vm] = false;
        return;
    }
    if (item->permit == NULL || w->now - w->asked[vm] < 1000)
        return;
    w->asked[vm] = w->now;
    ProtobufCBinaryData *votes = plan_envelopes(p);
    ProtobufCBinaryData body = {w->body_len, (uint8_t *)w->body};
    send_start(w, w->leader, item->move->from, item->permit, &body, votes, p->n_votes,
               !live || p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING);
    free(votes);
}

static inline void planner_tick(struct world *w)
{
    struct plan *p = the_plan(w);
    if (p == NULL || w->no_planner || !w->hosts[w->leader].up)
        return;
    if (p->state != SKEIN__PLAN_STATE__PLAN_ONGOING &&
        p->state != SKEIN__PLAN_STATE__PLAN_CANCELLING)
        return;
    for (size_t i = 0; i < p->body->n_moves; i++) {
        if (p->items[i].move->step == plan_step(p) &&
            !plan_action_ended(plan_item_state(&p->items[i])))
            planner_item(w, p, &p->items[i]);
        p = the_plan(w);
    }
}

static inline void planner_report(struct world *w, const Skein__ActionReport *r, bool solicited)
{
    struct plan *p = the_plan(w);
    struct plan_item *item = p != NULL && r->action != NULL ? plan_item(p, r->action) : NULL;
    if (item == NULL)
        return;
    if (solicited && r->state == SKEIN__ACTION_STATE__ACTION_PENDING)
        w->pending_said[vm_index(w, item->move->uuid)] = true;
    if (plan_action_ended(r->state) && !plan_action_ended(plan_item_state(item)) &&
        !plan_report_is_stale(item, r))
        commit_report(w, r);
}

/* ---- what an agent does with a frame: what node.c does ---- */

static inline void on_request(struct world *w, struct host *h, struct step *s, const char *from,
                              const Skein__Request *q)
{
    struct confirm_answer answer;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    switch (q->kind_case) {
    case SKEIN__REQUEST__KIND_START:
    case SKEIN__REQUEST__KIND_QUERY:
        exec_start(h->exec, s, from, q->id, q->start, q->kind_case == SKEIN__REQUEST__KIND_QUERY);
        break;
    case SKEIN__REQUEST__KIND_CONFIRM:
        confirm_answer(h->state, h->term, s, from, q->confirm->permit, &answer);
        reply.kind_case = SKEIN__REPLY__KIND_CONFIRMED;
        reply.confirmed = &answer.confirmed;
        effect_reply(s, from, q->id, &reply, &answer.not_yet);
        break;
    case SKEIN__REQUEST__KIND_RESERVE:
        reserve_request(h->reserve, s, from, q->id, q->reserve);
        break;
    case SKEIN__REQUEST__KIND_RELEASE:
        reserve_release(h->reserve, s, from, q->id, q->release);
        break;
    case SKEIN__REQUEST__KIND_LOOK:
        reserve_look(h->reserve, s, from, q->id, q->look,
                     exec_journal(h->exec, q->look->plan, q->look->action));
        break;
    case SKEIN__REQUEST__KIND_REPORT: {
        struct err err = {0};
        if (h->index != w->leader)
            err_set(&err, ERR_NOT_LEADER, "not me");
        else
            planner_report(w, q->report, false);
        effect_reply(s, from, q->id, NULL, &err);
        break;
    }
    case SKEIN__REQUEST__KIND__NOT_SET:
    case SKEIN__REQUEST__KIND_API:
    case _SKEIN__REQUEST__KIND__CASE_IS_INT_SIZE:
        fail_msg("a request that nobody here sends");
    }
}

static inline void on_reply(struct world *w, struct host *h, struct step *s, const char *from,
                            const Skein__Reply *r)
{
    if (token_owner(r->id) == OWNER_EXEC) {
        exec_reply(h->exec, s, from, r);
    } else if (token_owner(r->id) == OWNER_RESERVE) {
        reserve_reply(h->reserve, s, from, r);
    } else {
        w->replied = true;
        w->last_reply = (struct err){0};
        if (r->code != NULL)
            err_set(&w->last_reply, err_from_name(r->code), "%s", r->message);
        else if (r->kind_case == SKEIN__REPLY__KIND_REPORT) {
            w->last_report = r->report->state;
            if (h->index == w->leader)
                planner_report(w, r->report, true);
        }
    }
}

static inline void on_frame(struct world *w, struct host *h, const struct happening *x)
{
    Skein__Frame *frame;
    struct err err = {0};
    if (codec_frame(x->data, x->len, &frame, &err) < 0)
        WORLD_FAIL(w, "a frame that nobody accepts: %s", err.msg);
    struct effects out = {0};
    struct step s = step_of(w, h, &out);
    if (frame->kind_case == SKEIN__FRAME__KIND_REQUEST)
        on_request(w, h, &s, host_names[x->from], frame->request);
    else if (frame->kind_case == SKEIN__FRAME__KIND_REPLY)
        on_reply(w, h, &s, host_names[x->from], frame->reply);
    skein_frame_free(frame);
    perform(w, h, &out);
}

static inline void on_hv(struct world *w, struct host *h, struct happening *x)
{
    if (!x->ready)
        hv_evaluate(w, h, &x->job, &x->result);
    struct effects out = {0};
    struct step s = step_of(w, h, &out);
    if (token_owner(x->result.job) == OWNER_EXEC)
        exec_hv(h->exec, &s, &x->result);
    else
        reserve_hv(h->reserve, &s, &x->result);
    perform(w, h, &out);
}

static inline void host_tick(struct world *w, struct host *h)
{
    if (!h->up) {
        if (w->now < h->up_at)
            return;
        agent_up(h);
    }
    catch_up(w, h, !w->faults);
    struct effects out = {0};
    struct step s = step_of(w, h, &out);
    if (h->term != w->term && (!w->faults || chance(w, 200))) {
        h->term = w->term;
        snprintf(h->leader, sizeof h->leader, "%s", host_names[w->leader]);
        exec_role(h->exec, h->leader, h->term);
        reserve_role(h->reserve, h->term);
    }
    if ((h->observed == 0 || w->now - h->observed >= 3000) && h->libvirt_down_until <= w->now) {
        Skein__HostDetail *seen = observe(w, h);
        Skein__HostDetail *d = step_own_detail(&s, seen);
        skein__host_detail__free_unpacked(seen, NULL);
        view_detail(h->view, d, s.now, true);
        skein__host_detail__free_unpacked(d, NULL);
        h->observed = w->now;
    }
    exec_tick(h->exec, &s);
    reserve_tick(h->reserve, &s);
    perform(w, h, &out);
}

/* ---- what must always hold ---- */

static inline void check_ends(struct world *w, const struct host *h)
{
    for (size_t i = 0; i < exec_count(h->exec); i++) {
        struct exec_item item;
        exec_item(h->exec, i, &item);
        int vm = vm_index(w, item.uuid);
        if (item.active || w->ended[vm])
            continue;
        w->ended[vm]++;
        w->end_state[vm] = item.state;
        const struct dom *there = &w->doms[host_index(item.to)][vm];
        const struct dom *here = &w->doms[h->index][vm];
        bool runs_there = there->present && there->state == SKEIN__VM_STATE__VM_RUNNING;
        bool runs_here = here->present && here->state == SKEIN__VM_STATE__VM_RUNNING;
        bool told = item.state == EXEC_NEEDS_OPERATOR;
        if (w->excused[vm] && !told)
            WORLD_FAIL(w, "%s: needs an operator, and is %s (%s)", item.vm,
                       exec_state_name(item.state), item.evidence);
        if (item.state == EXEC_DONE && (!runs_there || runs_here))
            WORLD_FAIL(w, "%s: said to have moved, but it did not (%s)", item.vm, item.evidence);
        if (item.state == EXEC_UNDONE && runs_there && item.code != ERR_EXISTS)
            WORLD_FAIL(w, "%s: said not to have moved, but it did (%s)", item.vm, item.evidence);
        if (item.state == EXEC_UNDONE && !runs_here && item.code != ERR_EXISTS &&
            item.code != ERR_NOT_FOUND)
            WORLD_FAIL(w, "%s: said to have stayed, but does not run (%s)", item.vm, item.evidence);
    }
}

static inline void check_world(struct world *w)
{
    unsigned in[HOSTS] = {0}, outgoing[HOSTS] = {0};
    int64_t used[HOSTS] = {0};
    for (int vm = 0; vm < VMS; vm++) {
        int running = 0;
        for (int i = 0; i < HOSTS; i++) {
            const struct dom *d = &w->doms[i][vm];
            running += d->present && d->state == SKEIN__VM_STATE__VM_RUNNING;
            if (d->present && d->state != SKEIN__VM_STATE__VM_STOPPED)
                used[i] += (int64_t)w->vm_mib;
        }
        if (w->excused[vm])
            continue;
        if (running > 1)
            WORLD_FAIL(w, "%s runs %d times", vm_names[vm], running);
        if (running == 0)
            WORLD_FAIL(w, "%s runs nowhere", vm_names[vm]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(w->migrations); i++)
        if (w->migrations[i].active && !w->ended[w->migrations[i].vm]) { /* given up: not ours */
            in[w->migrations[i].to]++;
            outgoing[w->migrations[i].from]++;
        }
    for (int i = 0; i < HOSTS; i++) {
        if (used[i] > HOST_MIB)
            WORLD_FAIL(w, "%s holds %lld MiB", host_names[i], (long long)used[i]);
        if (in[i] > w->hosts[i].conf.limit_inflow || outgoing[i] > w->hosts[i].conf.limit_outflow)
            WORLD_FAIL(w, "%s: too many moves at once", host_names[i]);
        if (w->hosts[i].up)
            check_ends(w, &w->hosts[i]);
    }
}

/* ---- time ---- */

static inline void faults_tick(struct world *w)
{
    if (chance(w, 20))
        w->cut_until[rnd(w) % HOSTS][rnd(w) % HOSTS] = w->now + between(w, 100, 8000);
    if (chance(w, 5))
        w->hosts[rnd(w) % HOSTS].libvirt_down_until = w->now + between(w, 100, 8000);
    if (chance(w, 5)) {
        struct host *h = &w->hosts[rnd(w) % HOSTS];
        if (h->up)
            agent_down(w, h);
    }
    if (chance(w, 5)) {
        w->term++;
        w->leader = (int)(rnd(w) % HOSTS);
        catch_up(w, &w->hosts[w->leader], true);
    }
}

static inline bool next_happening(struct world *w, msec until, struct happening *ret)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < w->n_queue; i++)
        if (w->queue[i].at <= until &&
            (best == SIZE_MAX || w->queue[i].at < w->queue[best].at ||
             (w->queue[i].at == w->queue[best].at && w->queue[i].order < w->queue[best].order)))
            best = i;
    if (best == SIZE_MAX)
        return false;
    *ret = w->queue[best];
    w->queue[best] = w->queue[--w->n_queue];
    return true;
}

static inline void run(struct world *w, msec duration)
{
    for (msec end = w->now + duration; w->now < end; w->now += 100) {
        struct happening x;
        msec tick_end = w->now + 100, tick = w->now;
        while (next_happening(w, tick_end - 1, &x)) {
            w->now = MAX(x.at, w->now);
            struct host *h = &w->hosts[x.to];
            if (x.kind == HAPPEN_ORDER) { /* is with the hypervisor, whoever gave it */
                migrate_begin(w, x.to, x.life, &x.job);
                check_world(w);
            } else if (h->up && (x.kind == HAPPEN_FRAME || x.life == h->life)) {
                if (x.kind == HAPPEN_FRAME)
                    on_frame(w, h, &x);
                else
                    on_hv(w, h, &x);
                check_world(w);
            } else if (x.kind == HAPPEN_HV && !x.ready && x.job.kind == HV_TIDY) {
                struct hv_result r; /* libvirt carries on without its client */
                hv_evaluate(w, h, &x.job, &r);
                hv_result_done(&r);
            }
            happening_done(&x);
        }
        w->now = tick;
        for (size_t i = 0; i < ARRAY_SIZE(w->migrations); i++) {
            struct migration *m = &w->migrations[i];
            bool stuck = (m->fate == FATE_STUCK && !m->aborted) || m->fate == FATE_STUCK_FOR_GOOD;
            if (m->active && !stuck && w->now >= m->ends)
                migrate_end(w, m);
        }
        if (w->faults)
            faults_tick(w);
        for (int i = 0; i < HOSTS; i++)
            host_tick(w, &w->hosts[i]);
        if (w->now % 500 == 0)
            planner_tick(w);
        check_world(w);
    }
}

static inline void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){
        .seed = seed, .rng = seed * 77 + 5, .now = 1000, .term = 1, .vm_mib = VM_MIB};
    for (int i = 0; i < VMS; i++)
        snprintf(w->uuids[i], UUID_SIZE, "%08d-0000-4000-8000-000000000000", i + 1);
    static const int homes[VMS] = {0, 0, 1, 2};
    for (int i = 0; i < VMS; i++)
        w->doms[homes[i]][i] =
            (struct dom){.present = true, .persistent = true, .state = SKEIN__VM_STATE__VM_RUNNING};
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];
        h->index = i;
        h->rng = seed + (uint64_t)i;
        h->next_token = (uint64_t)(i + 1) * 1000000;
        skein__host_summary__init(&h->own_summary);
        h->own_summary.has_cpu_overcommit_milli = 1;
        h->own_summary.cpu_overcommit_milli = 8000;
        skein__host_detail__init(&h->own);
        h->own.summary = &h->own_summary;
        h->conf = (struct node_conf){.cluster = "dc1",
                                     .cluster_uuid = CLUSTER,
                                     .host = host_names[i],
                                     .incarnation = 1,
                                     .voters = host_names,
                                     .n_voters = HOSTS,
                                     .migration_address = "10.0.0.1",
                                     .limit_total = 5,
                                     .limit_inflow = 1,
                                     .limit_outflow = 2,
                                     .stale_after = 10000,
                                     .permit_lifetime = 10000,
                                     .reservation_lifetime = 20000,
                                     .request_timeout = 2000,
                                     .action_timeout = 30000,
                                     .clock_skew_limit = 2000,
                                     .own = &h->own,
                                     .trust = &fake_trust};
        h->state = state_new(&h->conf);
        agent_up(h);
    }
    make_body(w);
}

static inline void world_done(struct world *w)
{
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];
        exec_free(h->exec);
        reserve_free(h->reserve);
        view_free(h->view);
        state_free(h->state);
        for (size_t k = 0; k < h->n_journal; k++) {
            free(h->journal[k].key);
            free(h->journal[k].data);
        }
    }
    for (size_t i = 0; i < w->n_queue; i++)
        happening_done(&w->queue[i]);
    for (size_t i = 0; i < w->n_log; i++)
        free(w->log[i].data);
    free(w->queue);
    free(w->body);
}

/* The plan, approved by anna and begun. */
static inline void world_begin(struct world *w)
{
    commit_plan(w);
    commit_envelope(w, "anna", "approve");
    commit_change(w, SKEIN__PLAN_STATE__PLAN_ONGOING);
}

/* ---- one approved action with a committed permit, and nobody planning ---- */

static inline void count_refusal(struct world *w, const json_t *record)
{
    const char *event = json_string_value(json_object_get(record, "event"));
    w->audits_refused +=
        strcmp(event, "start.refused") == 0 || strcmp(event, "reserve.refused") == 0;
}

struct attempt {
    struct world w;
    char id[33];
    Skein__Permit permit;
    ProtobufCBinaryData body, approvals[4];
    size_t n_approvals;
};

/* An approved, ongoing plan with a committed permit for a2 (vm2 hv1->hv3), and nobody planning. */
static inline void attempt_init(struct attempt *t)
{
    world_init(&t->w, 11);
    t->w.no_planner = true;
    run(&t->w, 2000);
    world_begin(&t->w);
    const struct plan *p = the_plan(&t->w);
    t->permit = make_permit(&t->w, plan_item(p, "a2"), t->id);
    assert_true(commit_permit(&t->w, &t->permit));
    t->body = (ProtobufCBinaryData){t->w.body_len, xmemdup(t->w.body, t->w.body_len)};
    char *text =
        envelope(&t->w, "anna", TRUST_APPROVER, "approve", CLUSTER, false, WORLD_WALL + 86400000);
    t->approvals[0] = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    t->n_approvals = 1;
    t->w.on_audit = count_refusal;
}

static inline void replace_approval(struct attempt *t, char *text)
{
    free(t->approvals[0].data);
    t->approvals[0] = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

static inline void attempt_done(struct attempt *t)
{
    free(t->body.data);
    for (size_t i = 0; i < t->n_approvals; i++)
        free(t->approvals[i].data);
    gate_rules_free(fake_rules);
    fake_rules = NULL;
    world_done(&t->w);
}

static inline void send_reserve(struct attempt *t, int from, const char *to)
{
    struct world *w = &t->w;
    Skein__VmDetail vm = SKEIN__VM_DETAIL__INIT;
    vm.uuid = w->uuids[1];
    vm.name = (char *)vm_names[1];
    vm.has_memory_mib = vm.has_vcpus = 1;
    vm.memory_mib = w->vm_mib;
    vm.vcpus = 2;
    vm.has_persistent = vm.has_autostart = 1;
    vm.persistent = vm.autostart = w->autostart;
    vm.n_tags = 1;
    vm.tags = fake_tags;
    Skein__Reserve reserve = SKEIN__RESERVE__INIT;
    reserve.has_body = 1;
    reserve.body = t->body;
    reserve.approvals = t->approvals;
    reserve.n_approvals = t->n_approvals;
    reserve.permit = &t->permit;
    reserve.vm = &vm;
    reserve.source_addresses = (char *)w->hosts[from].conf.source_addresses;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.has_id = 1;
    request.id = ++w->planner_token << OWNER_BITS | OWNER_DUTY;
    request.kind_case = SKEIN__REQUEST__KIND_RESERVE;
    request.reserve = &reserve;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = &request;
    size_t len;
    _cleanup_(freep) uint8_t *data = codec_pack(&frame.base, &len);
    post(w, from, host_index(to), data, len);
}

#endif
