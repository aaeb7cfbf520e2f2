/* deciders.h - voters with duty and state, a log, hosts and people in one process, on a simulated
 * clock. The network loses, delays, doubles and reorders as world.faults says; everything follows
 * from world.seed. Sources are a model of what agent/core/exec promises the planner: idempotent,
 * journalled, acting only on what a majority of voters confirms. */
#ifndef SKEIN_TESTS_LIB_DECIDERS_H
#define SKEIN_TESTS_LIB_DECIDERS_H

#include "agent/core/duty.h"
#include "planner/check/check.h"
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
    bool undefined[VMS];              /* it runs where it is, without a definition */
    bool host_up[HOSTS];
    msec host_back[HOSTS];
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
    struct buf audit; /* "event event ..." of the leaders */
    unsigned starts;
    char *asked; /* the hooks' last questions; owned ... */
    unsigned n_asked;
    enum err_code hook_says; /* ... and what all of them answer */
};

static struct world *world_now; /* for the checker below, and for messages */

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            print_message("seed %llu, at %lld ms: ", (unsigned long long)world_now->seed,          \
                          (long long)world_now->now);                                              \
            fail_msg(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

/* Stands in for the independent checker at link time. */
int plan_check(const char *snapshot, size_t snapshot_len, const char *plan, size_t plan_len,
               const struct check_options *options, struct check_report **ret, struct err *err)
{
    (void)snapshot, (void)snapshot_len, (void)plan, (void)plan_len, (void)options, (void)err;
    struct check_report *r = xcalloc(1, sizeof *r);
    r->ok = !world_now->checker_refuses;
    if (!r->ok) {
        r->findings = xcalloc(1, sizeof *r->findings);
        r->findings[0] = (struct check_finding){
            .action = "s1-0", .code = "CAPACITY", .message = "hv2 lacks 4 GiB"};
        r->n_findings = 1;
    }
    *ret = r;
    return 0;
}

void check_report_free(struct check_report *r)
{
    if (r == NULL)
        return;
    free(r->findings);
    free(r);
}

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

/* ---- voters ---- */

static void perform(struct world *w, int v, struct effects *out);

#define WITH_STEP(w, v, call)                                                                      \
    do {                                                                                           \
        struct effects out_ = {0};                                                                 \
        struct voter *me = &(w)->voters[v];                                                        \
        struct step step_ = {.now = {.mono = (w)->now, .wall = wall(w)},                           \
                             .conf = &me->conf,                                                    \
                             .out = &out_,                                                         \
                             .rng = &me->rng,                                                      \
                             .next_token = &me->next_token};                                       \
        struct step *s = &step_;                                                                   \
        call;                                                                                      \
        perform(w, v, &out_);                                                                      \
        effects_clear(&out_);                                                                      \
    } while (0)

static void check_limits(struct world *w, const struct voter *me)
{
    struct plan *const *plans;
    size_t n = state_plans(me->st, &plans);
    unsigned total = 0, in[HOSTS] = {0}, out[HOSTS] = {0};
    for (size_t i = 0; i < n; i++) {
        struct err err;
        CHECK(plan_invariant(plans[i], &err) == 0, "%s", err.msg);
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &plans[i]->items[k];
            if (!plan_item_live(item))
                continue;
            total++;
            in[host_index(item->move->to)]++;
            out[host_index(item->move->from)]++;
        }
    }
    CHECK(total <= me->conf.limit_total, "%u moves at once", total);
    for (int h = 0; h < HOSTS; h++)
        CHECK(in[h] <= me->conf.limit_inflow && out[h] <= me->conf.limit_outflow,
              "%s: %u in, %u out", host_names[h], in[h], out[h]);
    (void)w;
}

static void announce(struct world *w, int v)
{
    WITH_STEP(w, v, duty_applied(me->d, s, me->st, state_last(me->st)));
}

static void catch_up(struct world *w, int v)
{
    struct voter *me = &w->voters[v];
    while (me->applied < w->n_log) {
        struct committed *c = &w->log[me->applied++];
        struct err err = {0};
        (void)state_apply(me->st, c->entry, me->applied, c->term, &err);
        check_limits(w, me);
        announce(w, v);
    }
}

static void commit(struct world *w, Skein__Entry *entry)
{
    ARRAY_RESERVE(w->log, w->cap_log, w->n_log + 1);
    w->log[w->n_log++] = (struct committed){entry, w->term};
}

static void commit_proposal(struct world *w, struct message *m)
{
    if (m->voter != w->leader || m->term != w->term)
        return;
    bool lost = chance(w, w->faults.proposal_loss), silent = chance(w, w->faults.proposal_loss);
    if (!lost) {
        commit(w, TAKE_PTR(m->entry));
        catch_up(w, m->voter);
    }
    struct err err = {0};
    if (lost)
        err_set(&err, ERR_UNKNOWN, "leadership was lost");
    else if (state_last(w->voters[m->voter].st)->kind == STATE_REFUSED)
        err = state_last(w->voters[m->voter].st)->err;
    if (!silent)
        WITH_STEP(w, m->voter, duty_proposed(me->d, s, me->st, m->token, &err));
}

static void perform_audit(struct world *w, const json_t *record)
{
    CHECK(json_object_get(record, "defect") == NULL, "audit: %s",
          json_string_value(json_object_get(record, "defect")));
    buf_addf(&w->audit, "%s ", json_string_value(json_object_get(record, "event")));
}

static void perform_send(struct world *w, int v, const struct effect *e)
{
    Skein__Frame *frame = NULL;
    struct err err = {0};
    CHECK(codec_frame(e->data, e->len, &frame, &err) == 0, "frame: %s", err.msg);
    struct message m = {.voter = v, .host = host_index(e->key)};
    CHECK(m.host >= 0, "sent to %s", e->key);
    if (frame->kind_case == SKEIN__FRAME__KIND_REQUEST)
        m.kind = M_REQUEST;
    else if (frame->kind_case == SKEIN__FRAME__KIND_REPLY)
        m.kind = M_REPLY;
    if (frame->kind_case != SKEIN__FRAME__KIND_SNAPSHOT)
        post_frame(w, m, frame);
    skein_frame_free(frame);
}

static void perform(struct world *w, int v, struct effects *out)
{
    for (size_t i = 0; i < out->n; i++) {
        struct effect *e = &out->items[i];
        struct message m = {.voter = v, .token = e->token, .term = w->term};
        struct err err = {0};
        if (e->kind == EFFECT_SEND) {
            perform_send(w, v, e);
        } else if (e->kind == EFFECT_PROPOSE) {
            CHECK(v == w->leader, "hv%d proposes and does not lead", v + 1);
            CHECK(codec_entry(e->data, e->len, &m.entry, &err) == 0, "entry: %s", err.msg);
            m.kind = M_COMMIT;
            post(w, m, true);
        } else if (e->kind == EFFECT_EVALUATE) {
            m.kind = M_EVALUATED;
            m.eval = TAKE_PTR(e->evaluation);
            post(w, m, true);
        } else if (e->kind == EFFECT_JOB) {
            CHECK(e->job->kind == HV_ASK, "a planner does more than ask");
            free(w->asked);
            w->asked = TAKE_PTR(e->job->questions);
            w->n_asked++;
            m.kind = M_ASKED;
            post(w, m, true);
        } else if (e->kind == EFFECT_AUDIT) {
            perform_audit(w, e->record);
        } else if (e->kind == EFFECT_TRACE && getenv("SKEIN_TRACE") != NULL) {
            print_message("%8lld %s: %s\n", (long long)w->now, host_names[v], e->key);
        }
    }
}

static void evaluated(struct world *w, struct message *m)
{
    if (m->voter != w->leader || m->term != w->term)
        return;
    struct err err = {0};
    const char *nothing = NULL;
    size_t len = 0;
    _cleanup_(freep) char *body = w->worker(w, m->eval, &len, &nothing);
    if (body == NULL && nothing == NULL)
        err_set(&err, ERR_POLICY, "thermal.lua:12: attempt to index a nil value");
    struct evaluated answer = {.body = body,
                               .body_len = len,
                               .nothing = (char *)nothing,
                               .agreement = w->agreement,
                               .hold = w->hold};
    WITH_STEP(w, m->voter, duty_evaluated(me->d, s, me->view, me->st, m->token, &err, &answer));
}

static void hook_answers(struct world *w, const struct message *m)
{
    struct hv_result r = {.job = m->token, .kind = HV_ASK};
    if (w->hook_says != ERR_OK)
        err_set(&r.err, w->hook_says, "gate rule asks: its hook does not say yes");
    WITH_STEP(w, m->voter, duty_hv(me->d, s, &r));
}

/* ---- sources ---- */

static struct journal *find_journal(struct world *w, int host, const char *plan, const char *action)
{
    for (size_t i = w->n_journals; i-- > 0;) { /* of several attempts the last */
        struct journal *j = &w->journals[i];
        if (j->source == host && !j->forgotten && strcmp(j->plan, plan) == 0 &&
            strcmp(j->action, action) == 0)
            return j;
    }
    return NULL;
}

static void fill_report(const struct world *w, const struct journal *j, Skein__ActionReport *r)
{
    r->plan = (char *)j->plan;
    r->action = (char *)j->action;
    r->has_state = 1;
    r->state = !j->ended     ? SKEIN__ACTION_STATE__ACTION_RUNNING
               : j->succeeds ? SKEIN__ACTION_STATE__ACTION_SUCCEEDED
                             : SKEIN__ACTION_STATE__ACTION_FAILED;
    r->permit = (char *)j->permit;
    if (j->ended && !j->succeeds)
        r->code = (char *)w->faults.failure_code;
    if (j->ended) {
        r->has_ended_at_ms = 1;
        r->ended_at_ms = (uint64_t)(NOW + MIN(j->ends, w->now));
    }
}

static void reply_report(struct world *w, const struct message *m, const Skein__ActionReport *r)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    struct message back = {.kind = M_REPLY, .voter = m->voter, .host = m->host, .to_voter = true};
    reply.has_id = 1;
    reply.id = m->frame->request->id;
    reply.kind_case = SKEIN__REPLY__KIND_REPORT;
    reply.report = (Skein__ActionReport *)r;
    frame.kind_case = SKEIN__FRAME__KIND_REPLY;
    frame.reply = &reply;
    post_frame(w, back, &frame);
}

static void reply_error(struct world *w, const struct message *m, enum err_code code,
                        const char *message)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    struct message back = {.kind = M_REPLY, .voter = m->voter, .host = m->host, .to_voter = true};
    reply.has_id = 1;
    reply.id = m->frame->request->id;
    reply.code = (char *)err_name(code);
    reply.message = (char *)message;
    frame.kind_case = SKEIN__FRAME__KIND_REPLY;
    frame.reply = &reply;
    post_frame(w, back, &frame);
}

/* What a source asks before it begins. */
static int may_begin(struct world *w, const struct message *m, const Skein__StartAction *start,
                     struct err *err)
{
    char digest[HASH_HEX_SIZE];
    struct gate_verdict verdict;
    unsigned yes = 0;
    if (w->start_refusal != ERR_OK)
        return err_set(err, w->start_refusal, "refused by the test");
    if (chance(w, w->faults.refusal))
        return err_set(err, ERR_CAPACITY, "the destination is full");
    if (gate_check(&test_trust, "cluster", start->body.data, start->body.len, start->approvals,
                   start->n_approvals, NULL, wall(w), digest, &verdict, err) < 0)
        return -(int)err->code;
    for (int v = 0; v < VOTERS; v++)
        yes += state_confirm(w->voters[v].st, start->permit, wall(w), err) == 0;
    if (2 * yes <= VOTERS)
        return err_set(err, ERR_TIMEOUT, "%u of %d voters confirm", yes, VOTERS);
    if (host_index(start->permit->source) != m->host || strcmp(digest, start->permit->digest) != 0)
        return err_set(err, ERR_DENIED, "another's permit");
    return 0;
}

static void begin(struct world *w, const struct message *m, const Skein__StartAction *start,
                  struct err *err)
{
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    if (may_begin(w, m, start, err) < 0 ||
        plan_body_parse(start->body.data, start->body.len, &body, err) < 0)
        return;
    const struct plan_move *move = plan_body_move(body, start->permit->action);
    int vm = vm_index(move->uuid);
    if (w->vm_at[vm] != m->host || w->vm_moves_to[vm] >= 0) {
        err_set(err, ERR_CONFLICT, "the VM is not here, or moves");
        return;
    }
    for (size_t i = 0; i < w->n_journals; i++)
        CHECK(strcmp(w->journals[i].permit, start->permit->id) != 0 || w->journals[i].forgotten,
              "a permit was used twice");
    ARRAY_RESERVE(w->journals, w->cap_journals, w->n_journals + 1);
    struct journal *j = &w->journals[w->n_journals++];
    *j = (struct journal){.source = m->host, .vm = vm, .to = host_index(move->to)};
    snprintf(j->plan, sizeof j->plan, "%s", body->id);
    snprintf(j->action, sizeof j->action, "%s", move->id);
    snprintf(j->permit, sizeof j->permit, "%s", start->permit->id);
    j->ends = w->now + 1000 + rnd(w, 15000);
    j->succeeds = !chance(w, w->faults.failure);
    w->vm_moves_to[vm] = j->to;
    w->starts++;
}

static void hear_start(struct world *w, const struct message *m, const Skein__StartAction *start,
                       bool query)
{
    const Skein__Permit *permit = start->permit;
    struct journal *j = find_journal(w, m->host, permit->plan, permit->action);
    struct err err = {0};
    Skein__ActionReport r = SKEIN__ACTION_REPORT__INIT;
    if (j != NULL && j->ended && !j->succeeds && strcmp(j->permit, permit->id) != 0)
        j = NULL; /* a further attempt */
    if (j == NULL && !query) {
        begin(w, m, start, &err);
        if (err.code != ERR_OK) {
            reply_error(w, m, err.code, err.msg);
            return;
        }
        j = find_journal(w, m->host, permit->plan, permit->action);
    }
    if (j != NULL) {
        fill_report(w, j, &r);
    } else {
        r.plan = permit->plan;
        r.action = permit->action;
        r.has_state = 1;
        r.state = SKEIN__ACTION_STATE__ACTION_PENDING;
    }
    reply_report(w, m, &r);
}

static void hear_look(struct world *w, const struct message *m, const Skein__LookVm *look)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    Skein__VmSeen seen = SKEIN__VM_SEEN__INIT;
    struct message back = {.kind = M_REPLY, .voter = m->voter, .host = m->host, .to_voter = true};
    int vm = vm_index(look->uuid);
    bool arriving = w->vm_moves_to[vm] == m->host;
    seen.has_present = seen.has_state = seen.has_persistent = seen.has_job = 1;
    seen.present = w->vm_at[vm] == m->host || arriving;
    seen.state = arriving ? SKEIN__VM_STATE__VM_INCOMING : SKEIN__VM_STATE__VM_RUNNING;
    seen.persistent = w->vm_at[vm] == m->host && !w->undefined[vm];
    seen.job = seen.present && w->vm_moves_to[vm] >= 0;
    reply.has_id = 1;
    reply.id = m->frame->request->id;
    reply.kind_case = SKEIN__REPLY__KIND_SEEN;
    reply.seen = &seen;
    frame.kind_case = SKEIN__FRAME__KIND_REPLY;
    frame.reply = &reply;
    post_frame(w, back, &frame);
}

/* A reply of the planner to a source's report: its id is the journal's place. */
static void hear_reported(struct world *w, const struct message *m)
{
    const Skein__Reply *reply = m->frame->reply;
    if (reply->id < w->n_journals && reply->code == NULL)
        w->journals[reply->id].reported = true;
}

static void deliver_to_host(struct world *w, struct message *m)
{
    if (!w->host_up[m->host])
        return;
    if (m->kind == M_REPLY) {
        hear_reported(w, m);
        return;
    }
    const Skein__Request *r = m->frame->request;
    if (r->kind_case == SKEIN__REQUEST__KIND_START)
        hear_start(w, m, r->start, false);
    else if (r->kind_case == SKEIN__REQUEST__KIND_QUERY)
        hear_start(w, m, r->query, true);
    else if (r->kind_case == SKEIN__REQUEST__KIND_LOOK)
        hear_look(w, m, r->look);
}

static void send_report(struct world *w, struct journal *j)
{
    if (w->leader < 0 || w->now < j->next_report)
        return;
    j->next_report = w->now + 2000;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Request request = SKEIN__REQUEST__INIT;
    Skein__ActionReport report = SKEIN__ACTION_REPORT__INIT;
    struct message m = {.kind = M_REQUEST, .voter = w->leader, .host = j->source, .to_voter = true};
    fill_report(w, j, &report);
    request.has_id = 1;
    request.id = (uint64_t)(j - w->journals);
    request.kind_case = SKEIN__REQUEST__KIND_REPORT;
    request.report = &report;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = &request;
    post_frame(w, m, &frame);
}

/* Moves end whether or not the agent lives: libvirt carries them. */
static void tick_sources(struct world *w)
{
    for (size_t i = 0; i < w->n_journals; i++) {
        struct journal *j = &w->journals[i];
        if (!j->ended && w->now >= j->ends) {
            j->ended = true;
            w->vm_moves_to[j->vm] = -1;
            if (j->succeeds)
                w->vm_at[j->vm] = j->to;
        }
        if (j->ended && !j->reported && !j->forgotten && w->host_up[j->source])
            send_report(w, j);
    }
}

/* ---- the view ---- */

static void show_host(struct world *w, int h)
{
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__VmDetail vms[VMS], *list[VMS];
    char uuids[VMS][UUID_SIZE], names[VMS][8];
    summary.host = (char *)host_names[h];
    summary.has_incarnation = summary.has_sequence = summary.has_hypervisor_ok = 1;
    summary.incarnation = 1;
    summary.sequence = (uint64_t)(w->now / TICK) + 1;
    summary.hypervisor_ok = 1;
    detail.summary = &summary;
    detail.vms = list;
    for (int i = 0; i < VMS; i++) {
        if (w->vm_at[i] != h)
            continue;
        Skein__VmDetail *d = &vms[i];
        skein__vm_detail__init(d);
        snprintf(names[i], sizeof names[i], "vm%d", i);
        d->uuid = (char *)test_uuid(i, uuids[i]);
        d->name = names[i];
        d->has_state = d->has_persistent = 1;
        d->state = SKEIN__VM_STATE__VM_RUNNING;
        d->persistent = !w->undefined[i];
        list[detail.n_vms++] = d;
    }
    struct moment now = {.mono = w->now, .wall = wall(w)};
    for (int v = 0; v < VOTERS; v++)
        view_detail(w->voters[v].view, &detail, now, v == h);
}

static void show_hosts(struct world *w)
{
    struct moment now = {.mono = w->now, .wall = wall(w)};
    for (int h = 0; h < HOSTS; h++) {
        for (int v = 0; v < VOTERS; v++)
            view_peer(w->voters[v].view, host_names[h], w->host_up[h], now);
        if (w->host_up[h] && !w->views_frozen && (w->now / TICK) % 4 == h % 4)
            show_host(w, h);
    }
}

/* ---- the world ---- */

static void deliver(struct world *w, struct message *m)
{
    switch (m->kind) {
    case M_COMMIT:
        commit_proposal(w, m);
        break;
    case M_EVALUATED:
        evaluated(w, m);
        break;
    case M_ASKED:
        hook_answers(w, m);
        break;
    case M_REQUEST:
    case M_REPLY:
        if (!m->to_voter)
            deliver_to_host(w, m);
        else if (w->host_up[m->host] && m->kind == M_REPLY)
            WITH_STEP(w, m->voter,
                      duty_reply(me->d, s, me->st, host_names[m->host], m->frame->reply));
        else if (w->host_up[m->host])
            WITH_STEP(w, m->voter,
                      duty_report(me->d, s, me->st, host_names[m->host], m->frame->request->id,
                                  m->frame->request->report));
        break;
    }
}

static void deliver_due(struct world *w)
{
    for (size_t i = 0; i < w->n_queue;) {
        if (w->queue[i].at > w->now) {
            i++;
            continue;
        }
        struct message m = w->queue[i];
        w->queue[i] = w->queue[--w->n_queue];
        deliver(w, &m);
        message_done(&m);
    }
}

/* A new leader, or none (-1). It has applied all that was committed. */
static void elect(struct world *w, int leader)
{
    w->leader = leader;
    w->term += leader >= 0;
    if (leader >= 0)
        catch_up(w, leader);
    for (int v = 0; v < VOTERS; v++)
        WITH_STEP(w, v, duty_role(me->d, s, w->term, leader >= 0 ? host_names[leader] : ""));
}

/* The agent dies and comes back with what its log says. */
static void restart_voter(struct world *w, int v)
{
    struct voter *me = &w->voters[v];
    Skein__StateImage *image = state_image(me->st);
    struct err err;
    state_free(me->st);
    duty_free(me->d);
    me->st = state_new(&me->conf);
    me->d = duty_new(&me->conf);
    CHECK(state_restore(me->st, image, &err) == 0, "restore: %s", err.msg);
    skein__state_image__free_unpacked(image, NULL);
}

static void world_tick(struct world *w)
{
    w->now += TICK;
    show_hosts(w);
    tick_sources(w);
    deliver_due(w);
    for (int v = 0; v < VOTERS; v++) {
        if (w->leader >= 0 && (v == w->leader || chance(w, 50)))
            catch_up(w, v);
        WITH_STEP(w, v, duty_tick(me->d, s, me->view, me->st));
    }
}

static void world_run(struct world *w, msec duration)
{
    for (msec end = w->now + duration; w->now < end;)
        world_tick(w);
}

static void say(struct world *w, const char *person, unsigned roles, json_t *command)
{
    Skein__Entry *e = test_said(
        wall(w), test_envelope(person, roles, ++w->nonce, wall(w) + 20 * MINUTE, command));
    commit(w, e);
    catch_up(w, w->leader);
}

/* The moves in w->wanted, as a body of this evaluation. */
static char *worker_wants(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    if (e->policy == NULL) {
        int vm = vm_index(e->uuid);
        struct test_move move = {0, vm, host_names[w->vm_at[vm]], e->to};
        if (strcmp(move.from, e->to) != 0)
            return test_body("", "user", e->seed, e->snapshot_digest, &move, 1, ret_len);
        *ret_nothing = "the VM is there already";
        return NULL;
    }
    if (w->n_wanted == 0 || strcmp(e->policy, "alpha") != 0) {
        *ret_nothing = "no host is hot";
        return NULL;
    }
    return test_body(e->policy, "safety", w->wanted_seed + e->seed, e->snapshot_digest, w->wanted,
                     w->n_wanted, ret_len);
}

static void world_open(struct world *w, uint64_t seed)
{
    *w = (struct world){.seed = seed, .rng = seed, .leader = -1, .worker = worker_wants};
    world_now = w;
    for (int v = 0; v < VOTERS; v++) {
        struct voter *me = &w->voters[v];
        me->conf = (struct node_conf){.cluster = "dc1",
                                      .cluster_uuid = "cluster",
                                      .host = host_names[v],
                                      .voters = host_names,
                                      .n_voters = VOTERS,
                                      .policies = policy_names,
                                      .n_policies = ARRAY_SIZE(policy_names),
                                      .limit_total = 3,
                                      .limit_inflow = 1,
                                      .limit_outflow = 2,
                                      .evaluate_every = 5000,
                                      .stale_after = 10000,
                                      .plan_lifetime = 5 * MINUTE,
                                      .permit_lifetime = 10000,
                                      .request_timeout = 2000,
                                      .action_timeout = 2 * MINUTE,
                                      .clock_skew_limit = 2000,
                                      .trust = &test_trust};
        me->st = state_new(&me->conf);
        me->d = duty_new(&me->conf);
        me->view = view_new();
        me->rng = seed + (uint64_t)v;
    }
    for (int i = 0; i < VMS; i++) {
        w->vm_at[i] = i % 2;
        w->vm_moves_to[i] = -1;
    }
    for (int h = 0; h < HOSTS; h++)
        w->host_up[h] = true;
    elect(w, 0);
    world_run(w, 2000);
}

static void world_close(struct world *w)
{
    for (int v = 0; v < VOTERS; v++) {
        state_free(w->voters[v].st);
        duty_free(w->voters[v].d);
        view_free(w->voters[v].view);
    }
    for (size_t i = 0; i < w->n_queue; i++)
        message_done(&w->queue[i]);
    for (size_t i = 0; i < w->n_log; i++)
        skein_entry_free(w->log[i].entry);
    free(w->queue);
    free(w->log);
    free(w->journals);
    free(w->asked);
    buf_done(&w->audit);
}

#endif
