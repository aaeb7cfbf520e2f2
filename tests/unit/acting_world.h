/* acting_world.h - three hosts that move guests among themselves, in one process, with every fault
 * that chance allows: the network loses, doubles, delays and cuts; agents die between any two
 * effects and come back with their journal; hypervisors go away, lie about success, get stuck. The
 * invariants are checked after every event. The same seed gives the same run. */
#ifndef SKEIN_TESTS_UNIT_ACTING_WORLD_H
#define SKEIN_TESTS_UNIT_ACTING_WORLD_H

#include "tests/unit/acting_agents.h"

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
        if (host_index(item.to) == h->index) { /* it was to be stopped where it is */
            if (item.state == EXEC_DONE && runs_here)
                WORLD_FAIL(w, "%s: said to be %s (%s)", item.vm, exec_state_name(item.state),
                           item.evidence);
            continue;
        }
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
        if (w->excused[vm] || (vm == 1 && w->stops != NULL && running == 0))
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
