/* world.c - the hypervisors. What an agent asked for is carried out even when the agent has died.
 */
#include "tests/sim/sim.h"

#define PERSON_MS 3000 /* people take that long to see what happened and do something */
#define HASTE_MS 17000 /* nobody lays hands on a VM so soon after its move began ... */
#define ALIKE_MS 32000 /* ... or where that sends it: the order itself could be so late */
#define HOST_MIB 8192
#define HOST_RESERVED_MIB 3072
#define HOST_CORES 8
#define MEMORY_OVERCOMMIT_MILLI 1250
#define CPU_OVERCOMMIT_MILLI 1000

static const char *state_word(const struct dom *d)
{
    if (!d->present)
        return "absent";
    switch (d->state) {
    case SKEIN__VM_STATE__VM_RUNNING:
        return "running";
    case SKEIN__VM_STATE__VM_PAUSED:
        return "paused";
    case SKEIN__VM_STATE__VM_CRASHED:
        return "crashed";
    case SKEIN__VM_STATE__VM_INCOMING:
        return "incoming";
    case SKEIN__VM_STATE__VM_STOPPED:
    case _SKEIN__VM_STATE_IS_INT_SIZE:
        break;
    }
    return "stopped";
}

void world_set(struct sim *s, int host, int vm, struct dom dom)
{
    struct dom *d = &s->doms[host][vm];
    if (d->present == dom.present && d->persistent == dom.persistent && d->job == dom.job &&
        d->state == dom.state)
        return;
    *d = dom;
    SIM_TRACE(s, "%s on %s: %s%s%s", s->vm_names[vm], s->hosts[host].name, state_word(d),
              d->persistent ? ", defined" : "", d->job ? ", with a job" : "");
    witness_fact(s, (struct fact){.kind = FACT_DOMAIN,
                                  .host = s->hosts[host].name,
                                  .vm = s->uuids[vm],
                                  .what = state_word(d),
                                  .persistent = d->persistent,
                                  .job = d->job});
    struct sim_host *h = &s->hosts[host]; /* libvirt's event, which may be lost */
    if (h->node != NULL && h->libvirt_down_until <= s->now &&
        !sim_chance(s, s->faults ? 30000 : 0)) {
        struct event event = {.kind = EVENT_CHANGED};
        agent_step(s, h, &event);
    }
}

static void about_vm(struct sim *s, enum fact_kind kind, int vm)
{
    witness_fact(s, (struct fact){.kind = kind, .vm = s->uuids[vm]});
}

static bool fits(const struct sim *s, int host, int vm)
{
    uint64_t mib = s->vm_mib[vm], vcpus = s->vm_vcpus[vm];
    for (int i = 0; i < s->n_vms; i++)
        if (i != vm && s->doms[host][i].present) {
            mib += s->vm_mib[i];
            vcpus += s->vm_vcpus[i];
        }
    return mib <= s->hosts[host].memory_mib && vcpus <= s->hosts[host].vcpus;
}

static void make_host(struct sim *s, int index)
{
    struct sim_host *h = &s->hosts[index];
    h->memory_mib = (uint64_t)(HOST_MIB - HOST_RESERVED_MIB) * MEMORY_OVERCOMMIT_MILLI / 1000;
    h->vcpus = (uint64_t)HOST_CORES * CPU_OVERCOMMIT_MILLI / 1000;
    skein__host_detail__init(&h->own);
    skein__host_summary__init(&h->own_summary);
    skein__host_capability__init(&h->own_capability);
    h->own.summary = &h->own_summary;
    h->own.capability = &h->own_capability;
    h->own_summary.host = h->own_capability.host = h->name;
    h->own_capability.power = (char *)(uintptr_t) "command";
    h->own_capability.has_can_wake = h->own_capability.can_wake = 1;
    h->own_summary.has_incarnation = h->own_summary.has_memory_reserved_mib = 1;
    h->own_summary.has_cpu_overcommit_milli = h->own_summary.has_memory_overcommit_milli = 1;
    h->own_summary.memory_reserved_mib = HOST_RESERVED_MIB;
    h->own_summary.cpu_overcommit_milli = CPU_OVERCOMMIT_MILLI;
    h->own_summary.memory_overcommit_milli = MEMORY_OVERCOMMIT_MILLI;
}

static void make_vm(struct sim *s, int vm)
{
    snprintf(s->uuids[vm], UUID_SIZE, "%08x-0000-4000-8000-000000000000", vm + 1);
    snprintf(s->vm_names[vm], sizeof s->vm_names[vm], "vm%d", vm + 1);
    s->vm_mib[vm] = 500 * (uint64_t)sim_between(s, 2, 7);
    s->vm_vcpus[vm] = (uint32_t)sim_between(s, 1, 3);
    witness_fact(s, (struct fact){.kind = FACT_VM,
                                  .vm = s->uuids[vm],
                                  .memory_mib = (int64_t)s->vm_mib[vm],
                                  .vcpus = s->vm_vcpus[vm]});
    int n_homes = s->power ? s->n_hosts - 1 : s->n_hosts; /* one stands empty */
    int home = (int)rng_below(&s->rng, (uint64_t)n_homes);
    for (int i = 0; i < s->n_hosts && !fits(s, home, vm); i++)
        home = (home + 1) % s->n_hosts;
    world_set(
        s, home, vm,
        (struct dom){.present = true, .persistent = true, .state = SKEIN__VM_STATE__VM_RUNNING});
}

void world_make(struct sim *s)
{
    for (int i = 0; i < s->n_hosts; i++)
        make_host(s, i);
    for (int i = 0; i < s->n_hosts; i++)
        witness_host(s, &s->hosts[i], s->hosts[i].voter);
    for (int i = 0; i < s->n_vms; i++)
        make_vm(s, i);
}

/* ---- answers ---- */

static void answer_now(struct sim *s, struct later *l)
{
    struct hv_result *r = l->data;
    struct event event = {.kind = EVENT_HV, .result = r};
    agent_step(s, &s->hosts[l->host], &event);
}

static void answer(struct sim *s, int host, unsigned life, uint64_t job, enum hv_kind kind,
                   msec delay, enum err_code code, const char *message)
{
    struct hv_result *r = xcalloc(1, sizeof *r);
    *r = (struct hv_result){.job = job, .kind = kind};
    if (code != ERR_OK)
        err_set(&r->err, code, "%s", message);
    else if (kind == HV_MIGRATE)
        r->stats = (struct hv_stats){.downtime_ms = 60, .transferred_mib = 2000, .elapsed_ms = 900};
    struct later *l = sim_later(s, delay, host, answer_now);
    l->life = life;
    l->data = r;
}

/* ---- migrations ---- */

static bool fate_moves(enum fate f)
{
    return f == FATE_MOVES || f == FATE_MOVES_SAYS_FAILED || f == FATE_MOVES_EARLY_ERROR ||
           f == FATE_LEAVES_DEFINITION;
}

static bool fate_breaks(enum fate f)
{
    return f == FATE_PAUSED || f == FATE_LOST || f == FATE_TWICE || f == FATE_NOT_DEFINED;
}

static const struct dom gone;
static const struct dom runs = {
    .present = true, .persistent = true, .state = SKEIN__VM_STATE__VM_RUNNING};

static void end_moved(struct sim *s, const struct migration *m)
{
    struct dom left = {.present = m->fate == FATE_LEAVES_DEFINITION,
                       .persistent = true,
                       .state = SKEIN__VM_STATE__VM_STOPPED};
    world_set(s, m->from, m->vm, left.present ? left : gone);
    world_set(s, m->to, m->vm, runs);
}

static void end_broken(struct sim *s, const struct migration *m)
{
    s->vm_broken[m->vm] = true;
    about_vm(s, FACT_BROKEN, m->vm);
    struct dom there = runs, here = runs;
    there.persistent = m->fate == FATE_TWICE;
    if (m->fate == FATE_PAUSED)
        here.state = SKEIN__VM_STATE__VM_PAUSED;
    if (m->fate == FATE_NOT_DEFINED)
        here.state = SKEIN__VM_STATE__VM_STOPPED;
    world_set(s, m->from, m->vm, m->fate == FATE_LOST ? gone : here);
    world_set(s, m->to, m->vm, m->fate == FATE_TWICE || m->fate == FATE_NOT_DEFINED ? there : gone);
}

static void end_stayed(struct sim *s, const struct migration *m)
{
    struct dom here = s->doms[m->from][m->vm];
    here.job = false;
    world_set(s, m->from, m->vm, here);
    if (s->doms[m->to][m->vm].state == SKEIN__VM_STATE__VM_INCOMING)
        world_set(s, m->to, m->vm, gone);
}

static void migration_end(struct sim *s, struct migration *m)
{
    struct migration was = *m;
    m->active = false;
    s->vm_moved_at[m->vm] = s->now;
    if (!was.aborted && fate_moves(was.fate))
        end_moved(s, &was);
    else if (!was.aborted && fate_breaks(was.fate))
        end_broken(s, &was);
    else
        end_stayed(s, &was);
    about_vm(s, was.by_hand ? FACT_OPERATOR : FACT_JOB_ENDED, was.vm);
    if (was.by_hand)
        return;
    if (was.fate == FATE_MOVES_EARLY_ERROR || was.fate == FATE_FAILS_EARLY_ERROR)
        return; /* answered long ago */
    bool well = !was.aborted && (was.fate == FATE_MOVES || was.fate == FATE_FAILS_SAYS_MOVED ||
                                 (was.fate == FATE_LEAVES_DEFINITION && was.vm % 2 == 0));
    answer(s, was.from, was.life, was.job, HV_MIGRATE, sim_between(s, 1, 50),
           well          ? ERR_OK
           : was.aborted ? ERR_CANCELLED
                         : ERR_HYPERVISOR,
           "operation failed");
}

static void migration_due(struct sim *s, struct later *l)
{
    struct migration *m = &s->migrations[l->a];
    bool stuck = m->fate == FATE_STUCK_FOR_GOOD || (m->fate == FATE_STUCK && !m->aborted);
    if (m->active && m->job == l->b && !stuck)
        migration_end(s, m);
}

static void migration_ends_in(struct sim *s, const struct migration *m, msec delay)
{
    struct later *l = sim_later(s, delay, -1, migration_due);
    l->a = (uint64_t)m->vm;
    l->b = m->job;
}

static enum fate choose_fate(struct sim *s)
{
    if (!s->faults || !sim_chance(s, s->rates.bad_fate))
        return FATE_MOVES;
    enum fate fate = (enum fate)rng_below(&s->rng, FATE_COUNT);
    return fate < FATE_STUCK_FOR_GOOD || sim_chance(s, 30000) ? fate : FATE_MOVES;
}

static void migration_begin(struct sim *s, const struct migration *with)
{
    struct migration *m = &s->migrations[with->vm];
    *m = *with;
    m->active = true;
    m->began = s->now;
    m->fate = m->by_hand ? FATE_MOVES : choose_fate(s);
    struct dom here = s->doms[m->from][m->vm];
    here.job = true;
    world_set(s, m->from, m->vm, here);
    world_set(s, m->to, m->vm,
              (struct dom){.present = true, .state = SKEIN__VM_STATE__VM_INCOMING});
    migration_ends_in(s, m, sim_between(s, 300, 6000));
    if (m->fate == FATE_MOVES_EARLY_ERROR || m->fate == FATE_FAILS_EARLY_ERROR)
        answer(s, m->from, m->life, m->job, HV_MIGRATE, sim_between(s, 1, 1000), ERR_HYPERVISOR,
               "connection reset");
}

/* An order is with the hypervisor, whatever became of the agent that gave it. */
static void order_arrives(struct sim *s, struct later *l)
{
    const struct hv_job *job = l->data;
    int vm = sim_vm_index(s, job->move.uuid), to = sim_host_index(s, job->move.to), from = l->host;
    const struct sim_host *source = &s->hosts[from], *target = &s->hosts[to];
    const struct dom *here = &s->doms[from][vm], *there = &s->doms[to][vm];
    const char *why = NULL;
    enum err_code code = ERR_UNAVAILABLE;
    if (target->asleep && source->power_until <= s->now)
        sim_fail(s, "invariant 7 is broken: %s moves %s to %s, which sleeps", source->name,
                 job->move.vm, target->name);
    if (source->power_until > s->now || source->libvirt_down_until > s->now)
        why = "the hypervisor does not answer";
    else if (target->power_until > s->now || target->libvirt_down_until > s->now ||
             network_is_cut(s->net, s->now, from, to))
        why = "unable to connect to the destination";
    else if (!here->present || here->state != SKEIN__VM_STATE__VM_RUNNING || here->job ||
             s->migrations[vm].active)
        code = ERR_CONFLICT, why = "domain is not running, or has a job";
    else if (there->present && there->state != SKEIN__VM_STATE__VM_STOPPED)
        code = ERR_EXISTS, why = "domain exists at the destination";
    if (why != NULL) {
        about_vm(s, FACT_JOB_ENDED, vm);
        answer(s, from, l->life, job->id, HV_MIGRATE, 5, code, why);
        return;
    }
    migration_begin(
        s, &(struct migration){.vm = vm, .from = from, .to = to, .job = job->id, .life = l->life});
}

void world_move_by_hand(struct sim *s, int vm, int to)
{
    for (int from = 0; from < s->n_hosts; from++) {
        const struct dom *d = &s->doms[from][vm];
        bool usable = d->present && d->state == SKEIN__VM_STATE__VM_RUNNING && !d->job &&
                      !s->migrations[vm].active && from != to && !s->doms[to][vm].present &&
                      s->hosts[from].power_until <= s->now && s->hosts[to].power_until <= s->now;
        bool seen = s->now - s->vm_moved_at[vm] >= PERSON_MS;
        if (!usable || s->vm_broken[vm] || !seen ||
            witness_began(&s->hosts[from], s->uuids[vm], NULL, s->now - HASTE_MS) ||
            witness_began(&s->hosts[from], s->uuids[vm], s->hosts[to].name, s->now - ALIKE_MS))
            continue;
        SIM_TRACE(s, "a person moves %s to %s", s->vm_names[vm], s->hosts[to].name);
        s->counts->by_hand++;
        about_vm(s, FACT_OPERATOR, vm);
        migration_begin(
            s, &(struct migration){
                   .vm = vm, .from = from, .to = to, .by_hand = true, .job = rng_next(&s->rng)});
        return;
    }
}

/* Everything that ran here stops; definitions stay. */
void world_power_loss(struct sim *s, struct sim_host *h)
{
    for (int vm = 0; vm < s->n_vms; vm++) {
        struct migration *m = &s->migrations[vm];
        struct dom d = s->doms[h->index][vm];
        bool ran = d.present && d.state != SKEIN__VM_STATE__VM_STOPPED &&
                   d.state != SKEIN__VM_STATE__VM_INCOMING;
        if (ran) {
            s->vm_broken[vm] = true;
            about_vm(s, FACT_BROKEN, vm);
        }
        if (m->active && (m->from == h->index || m->to == h->index)) {
            m->aborted = true;
            migration_end(s, m);
        }
        d = s->doms[h->index][vm];
        d.job = false;
        d.state = SKEIN__VM_STATE__VM_STOPPED;
        if (ran)
            world_set(s, h->index, vm, d.persistent ? d : gone);
    }
}

void world_release(struct sim *s)
{
    for (int vm = 0; vm < s->n_vms; vm++)
        if (s->migrations[vm].active) {
            s->migrations[vm].aborted = true;
            migration_end(s, &s->migrations[vm]);
        }
}

bool world_migrating(const struct sim *s)
{
    for (int vm = 0; vm < s->n_vms; vm++)
        if (s->migrations[vm].active && s->migrations[vm].fate != FATE_STUCK_FOR_GOOD)
            return true;
    return false;
}

void world_repair(struct sim *s)
{
    for (int vm = 0; vm < s->n_vms; vm++) {
        int home = -1;
        if (!s->vm_broken[vm])
            continue;
        about_vm(s, FACT_OPERATOR, vm);
        for (int i = s->n_hosts; i-- > 0;)
            if (s->doms[i][vm].present)
                home = i;
        home = home < 0 ? vm % s->n_hosts : home;
        for (int i = 0; i < s->n_hosts; i++)
            if (i != home)
                world_set(s, i, vm, gone);
        world_set(s, home, vm, runs);
        s->vm_broken[vm] = false;
        about_vm(s, FACT_REPAIRED, vm);
    }
}

/* ---- sleep ---- */

#define FOR_GOOD (INT64_MAX / 4)
#define SLEEP_FAILS 20000 /* in 100000 orders: it answers with an error, and stays awake */
#define SLEEP_COLD 30000  /* ... its agent ends with it, and starts anew */
#define WAKE_FAILS 10000
#define WAKE_LOST 15000 /* nothing comes of it, and nobody says so */

static void fall_asleep(struct sim *s, struct later *l)
{
    struct sim_host *h = &s->hosts[l->host];
    for (int vm = 0; vm < s->n_vms; vm++)
        if (s->doms[h->index][vm].present &&
            s->doms[h->index][vm].state != SKEIN__VM_STATE__VM_STOPPED)
            return; /* a person has been faster */
    if (h->asleep || h->power_until > s->now)
        return;
    SIM_TRACE(s, "%s falls asleep%s", h->name, l->a != 0 ? ", and its agent ends" : "");
    s->counts->sleeps++;
    h->asleep = true;
    h->power_until = h->libvirt_down_until = FOR_GOOD;
    if (l->a != 0)
        agent_crash(s, h, 0);
    else
        h->frozen_until = FOR_GOOD;
    s->links_changed++;
}

void world_wake(struct sim *s, struct sim_host *h)
{
    if (!h->asleep)
        return;
    SIM_TRACE(s, "%s wakes", h->name);
    s->counts->wakes++;
    h->asleep = false;
    h->power_until = h->libvirt_down_until = h->frozen_until = s->now;
    h->up_at = s->now + sim_between(s, 500, 3000);
    for (int i = 0; i < s->n_hosts && h->node != NULL; i++) {
        struct event event = {.kind = EVENT_PEER_DOWN, .host = s->hosts[i].name};
        if (h->linked[i])
            agent_step(s, h, &event);
    }
    agent_unlink(s, h);
}

static void wake_due(struct sim *s, struct later *l)
{
    world_wake(s, &s->hosts[l->a]);
}

/* An order to sleep, or to wake another: carried out whatever becomes of the agent that gave it. */
static void power_arrives(struct sim *s, struct later *l)
{
    const struct hv_job *job = l->data;
    struct sim_host *h = &s->hosts[l->host];
    bool wake = job->kind == HV_WAKE;
    if (h->power_until > s->now)
        return;
    if (sim_chance(s, wake ? WAKE_FAILS : SLEEP_FAILS)) {
        answer(s, l->host, l->life, job->id, job->kind, 5, ERR_HYPERVISOR, "the command failed");
        return;
    }
    answer(s, l->host, l->life, job->id, job->kind, 5, ERR_OK, NULL);
    if (wake && sim_chance(s, WAKE_LOST))
        return;
    struct later *next = sim_later(s, sim_between(s, 20, wake ? 5000 : 1500), l->host,
                                   wake ? wake_due : fall_asleep);
    next->always = true;
    next->a = wake ? (uint64_t)sim_host_index(s, job->move.to) : sim_chance(s, SLEEP_COLD);
}

/* ---- short calls ---- */

static Skein__HostDetail *observe(struct sim *s, struct sim_host *h)
{
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__VmDetail vms[SIM_VMS_MAX], *list[SIM_VMS_MAX];
    summary.host = h->name;
    summary.has_cores = summary.has_memory_total_mib = summary.has_observed_at_ms = 1;
    summary.cores = HOST_CORES;
    summary.memory_total_mib = HOST_MIB;
    summary.observed_at_ms = (uint64_t)agent_time(s, h).wall;
    detail.summary = &summary;
    detail.vms = list;
    for (int i = 0; i < s->n_vms; i++) {
        const struct dom *dom = &s->doms[h->index][i];
        if (!dom->present)
            continue;
        Skein__VmDetail *vm = list[detail.n_vms] = &vms[detail.n_vms];
        detail.n_vms++;
        skein__vm_detail__init(vm);
        vm->uuid = s->uuids[i];
        vm->name = s->vm_names[i];
        vm->has_state = vm->has_vcpus = vm->has_memory_mib = vm->has_persistent = 1;
        vm->state = dom->state;
        vm->vcpus = s->vm_vcpus[i];
        vm->memory_mib = s->vm_mib[i];
        vm->persistent = dom->persistent;
    }
    return (Skein__HostDetail *)codec_copy(&detail.base);
}

static void tidy(struct sim *s, struct sim_host *h, int vm, struct hv_result *r)
{
    const struct dom *d = &s->doms[h->index][vm];
    if (d->present && d->state != SKEIN__VM_STATE__VM_STOPPED) {
        err_set(&r->err, ERR_CONFLICT, "it runs");
        return;
    }
    if (!d->present)
        return;
    witness_fact(s, (struct fact){.kind = FACT_TIDIED, .host = h->name, .vm = s->uuids[vm]});
    world_set(s, h->index, vm, gone);
}

/* What an unfinished migration left paused here goes on, or is removed. */
static void repair(struct sim *s, struct sim_host *h, int vm, struct hv_result *r)
{
    struct dom d = s->doms[h->index][vm];
    bool paused = d.present && d.state == SKEIN__VM_STATE__VM_PAUSED && !s->migrations[vm].active;
    if (!paused) {
        err_set(&r->err, ERR_CONFLICT, "it was not left paused by a migration");
        return;
    }
    if (r->kind == HV_DISCARD) {
        witness_fact(s, (struct fact){.kind = FACT_TIDIED, .host = h->name, .vm = s->uuids[vm]});
        world_set(s, h->index, vm, gone);
        return;
    }
    d.state = SKEIN__VM_STATE__VM_RUNNING;
    world_set(s, h->index, vm, d);
}

static void abort_job(struct sim *s, const struct sim_host *h, int vm, struct hv_result *r)
{
    struct migration *m = &s->migrations[vm];
    if (!m->active || m->from != h->index)
        err_set(&r->err, ERR_NOT_FOUND, "no job");
    else if (m->fate != FATE_STUCK_FOR_GOOD) {
        m->aborted = true;
        migration_ends_in(s, m, 100);
    }
}

static bool answers(struct sim *s, const struct sim_host *h, const struct sim_host *target)
{
    return target->libvirt_down_until <= s->now && target->power_until <= s->now &&
           (target == h || !network_is_cut(s->net, s->now, h->index, target->index));
}

/* What a short call finds when it is carried out. */
static void carry_out(struct sim *s, struct sim_host *h, const struct hv_job *job,
                      struct hv_result *r)
{
    bool about_vm = job->kind != HV_OBSERVE && job->kind != HV_STANDBY && job->kind != HV_WAKE;
    int vm = !about_vm ? 0 : sim_vm_index(s, job->move.uuid);
    struct sim_host *target =
        job->kind == HV_LOOK_REMOTE ? &s->hosts[sim_host_index(s, job->move.to)] : h;
    const struct dom *d = &s->doms[target->index][vm];
    *r = (struct hv_result){.job = job->id, .kind = job->kind};
    if (!answers(s, h, target)) {
        err_set(&r->err, ERR_UNAVAILABLE, "the hypervisor of %s does not answer", target->name);
        return;
    }
    switch (job->kind) {
    case HV_OBSERVE:
        r->detail = observe(s, h);
        h->detail_at[h->index] = s->now;
        break;
    case HV_LOOK:
    case HV_LOOK_REMOTE:
        r->seen = (struct hv_seen){
            .present = d->present, .state = d->state, .persistent = d->persistent, .job = d->job};
        if (d->job)
            r->seen.job_ms = MAX(s->now - s->migrations[vm].began, (msec)1);
        break;
    case HV_PRECHECK:
    case HV_ADMIT:
        if (s->faults && sim_chance(s, 2000))
            err_set(&r->err, ERR_INCOMPATIBLE, "a device cannot move");
        break;
    case HV_PROGRESS:
        r->progress = (struct hv_progress){.running = s->migrations[vm].active,
                                           .total_mib = s->vm_mib[vm],
                                           .remaining_mib = s->vm_mib[vm] / 2};
        break;
    case HV_ABORT:
        abort_job(s, h, vm, r);
        break;
    case HV_TIDY:
        tidy(s, h, vm, r);
        break;
    case HV_RESUME:
    case HV_DISCARD:
        repair(s, h, vm, r);
        break;
    case HV_BASELINE:  /* its hypervisors do not say */
    case HV_AUTOSTART: /* its VMs do not */
    case HV_TUNE:
    case HV_POSTCOPY: /* its plans do not allow it */
    case HV_EXAMINE:  /* people ask, not agents */
    case HV_MIGRATE:  /* orders */
    case HV_SHUTDOWN: /* no plan of it asks for that */
    case HV_SUSPEND:
    case HV_STANDBY:
    case HV_WAKE:
    case HV_ASK:  /* no hooks */
    case HV_OPEN: /* no firewall */
    case HV_CLOSE:
    case HV_KINDS:
        break;
    }
}

static void call_due(struct sim *s, struct later *l)
{
    struct hv_result r;
    struct sim_host *h = &s->hosts[l->host];
    carry_out(s, h, l->data, &r);
    if (h->node != NULL && h->life == l->life) {
        struct event event = {.kind = EVENT_HV, .result = &r};
        agent_step(s, h, &event);
    }
    hv_result_done(&r);
}

/* Its agent has died: what changes something is carried out all the same. */
static void call_orphaned(struct sim *s, struct later *l)
{
    const struct hv_job *job = l->data;
    if (job->kind == HV_TIDY || job->kind == HV_ABORT || job->kind == HV_RESUME ||
        job->kind == HV_DISCARD)
        call_due(s, l);
}

void world_job(struct sim *s, struct sim_host *h, struct effect *e)
{
    struct hv_job *job = xmemdup(e->job, sizeof *job);
    job->vm = NULL;
    bool power = job->kind == HV_STANDBY || job->kind == HV_WAKE;
    bool order = job->kind == HV_MIGRATE || power;
    bool slow = h->hv_slow_until > s->now;
    msec delay = slow ? sim_between(s, 100, 8000) : sim_between(s, 1, order ? 200 : 60);
    struct later *l = sim_later(s, delay, h->index,
                                power   ? power_arrives
                                : order ? order_arrives
                                        : call_due);
    l->always = order;
    l->orphaned = call_orphaned;
    l->data = job;
}
