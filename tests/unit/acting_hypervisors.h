/* acting_hypervisors.h - the hypervisors of the acting world: migrations with every end that chance
 * allows, and what a call finds when it is carried out. */
#ifndef SKEIN_TESTS_UNIT_ACTING_HYPERVISORS_H
#define SKEIN_TESTS_UNIT_ACTING_HYPERVISORS_H

#include "tests/unit/acting_base.h"

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
        if (w->becomes != NULL && job->kind == HV_PRECHECK) {
            baseline_add(&r->baseline, "def", "memory", "64 MiB");
            baseline_add(&r->baseline, w->becomes_kind, "card", "virtio");
        }
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
    case HV_BASELINE:
        if (w->becomes != NULL)
            baseline_add(&r->baseline, "def", "memory", "64 MiB");
        if (w->becomes != NULL)
            baseline_add(&r->baseline, w->becomes_kind, "card", w->becomes);
        break;
    case HV_MIGRATE:
    case HV_EXAMINE:
        break;
    case HV_AUTOSTART:
        w->autostarts++;
        if (w->autostart_refused > 0) {
            w->autostart_refused--;
            err_set(&r->err, ERR_CONFLICT, "not here to stay yet");
        }
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
    case HV_SHUTDOWN:
    case HV_SUSPEND:
        w->stops_asked++;
        if (w->guests_listen)
            w->doms[h->index][vm].state = SKEIN__VM_STATE__VM_STOPPED;
        break;
    case HV_TUNE:
    case HV_POSTCOPY: /* these plans do not allow it */
    case HV_STANDBY:
    case HV_WAKE:
    case HV_KINDS:
        break;
    }
}

#endif
