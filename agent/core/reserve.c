/* reserve.c - reservations: asked for, checked, held, ended. */
#include <stdio.h>

#include "agent/core/reserve_priv.h"
#include "agent/core/state.h"
#include "proto/codec.h"

/* A domain still arriving when its reservation ends is looked at again after this. */
#define EXTENSION 10000
/* So long may the source of a post-copy that broke come back through the firewall. */
#define RECOVERY (3600 * 1000)
/* A request is checked for at most this long: the source asks again while the permit lives. */
#define CHECK_PATIENCE 15000

struct reserve *reserve_new(const struct view *view, const struct state *state)
{
    struct reserve *r = xcalloc(1, sizeof *r);
    r->view = view;
    r->state = state;
    r->budget = budget_new("destination");
    return r;
}

static void hold_free(struct hold *h)
{
    if (h->record != NULL)
        skein__journal_record__free_unpacked(h->record, NULL);
    if (h->vm != NULL)
        skein__vm_detail__free_unpacked(h->vm, NULL);
    confirm_free(h->confirm);
    free(h->asker);
    free(h);
}

void reserve_free(struct reserve *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++)
        hold_free(r->holds[i]);
    budget_free(r->budget);
    reserve_start_free(r);
    reserve_look_free(r);
    free(r->holds);
    free(r);
}

static struct hold *hold_add(struct reserve *r)
{
    ARRAY_RESERVE(r->holds, r->cap, r->n + 1);
    return r->holds[r->n++] = xcalloc(1, sizeof(struct hold));
}

void reserve_load(struct reserve *r, const Skein__JournalRecord *record)
{
    budget_load(r->budget, record);
    bool usable = record->acts_as_destination &&
                  record->state == SKEIN__JOURNAL_STATE__JOURNAL_RESERVED && record->plan != NULL &&
                  record->action != NULL && record->uuid != NULL && record->vm != NULL &&
                  record->from != NULL && record->to != NULL && record->permit != NULL &&
                  record->permit->id != NULL && record->reservation != NULL &&
                  strlen(record->reservation) == RESERVE_ID_DIGITS;
    if (!usable)
        return;
    struct hold *h = hold_add(r);
    h->state = HOLD_HELD;
    h->record = (Skein__JournalRecord *)codec_copy(&record->base);
    memcpy(h->id, record->reservation, sizeof h->id);
}

void reserve_role(struct reserve *r, uint64_t term)
{
    r->term = MAX(r->term, term);
}

static void journal_key(const Skein__JournalRecord *record, char *ret, size_t size)
{
    snprintf(ret, size, "destination:%s/%s", record->plan, record->action);
}

bool reserve_is_held(const struct hold *h)
{
    return h->state == HOLD_HELD || h->state == HOLD_EXPIRED;
}

static bool is_open(const struct step *s, const struct hold *h)
{
    return s->conf->firewall && h->record->source_addresses != NULL &&
           (h->state == HOLD_OPEN || reserve_is_held(h));
}

/* A job that lets its source's connections in, or no more. */
static struct hv_job firewall_job(const struct step *s, const struct hold *h, enum hv_kind kind)
{
    struct hv_job job = {.kind = kind};
    bool recovers = migrate_is_postcopy(h->how.mode);
    msec time = recovers ? RECOVERY : s->conf->reservation_lifetime + EXTENSION;
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", h->record->uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", h->record->vm);
    snprintf(job.move.sources, sizeof job.move.sources, "%s", h->record->source_addresses);
    job.move.timeout_ms = (uint32_t)time;
    return job;
}

/* Unless another one holds the same way open, or it may be needed to recover a post-copy: then its
 * time ends it. */
static void close_way(const struct reserve *r, struct step *s, const struct hold *h)
{
    if (!is_open(s, h) || migrate_is_postcopy(h->how.mode))
        return;
    for (size_t i = 0; i < r->n; i++)
        if (r->holds[i] != h && is_open(s, r->holds[i]) &&
            strcmp(r->holds[i]->record->source_addresses, h->record->source_addresses) == 0)
            return;
    struct hv_job job = firewall_job(s, h, HV_CLOSE);
    effect_job(s, OWNER_RESERVE, &job);
}

/* Forget it; what was journaled is taken out of the journal, unless it shall start with this host:
 * whether it has arrived or not, the hypervisor knows. */
static void hold_drop(struct reserve *r, struct step *s, struct hold *h, const char *why)
{
    effect_trace(s, "reserve %s/%s: dropped: %s", h->record->plan, h->record->action, why);
    char key[2 * HV_NAME_MAX + 32];
    journal_key(h->record, key, sizeof key);
    if (reserve_is_held(h) && h->record->autostart)
        reserve_start(r, s, h, key);
    else if (reserve_is_held(h))
        effect_journal(s, key, NULL);
    close_way(r, s, h);
    for (size_t i = 0; i < r->n; i++)
        if (r->holds[i] == h) {
            r->holds[i] = r->holds[--r->n];
            break;
        }
    hold_free(h);
}

struct hold *reserve_find(const struct reserve *r, const char *plan, const char *action)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->holds[i]->record->plan, plan) == 0 &&
            strcmp(r->holds[i]->record->action, action) == 0)
            return r->holds[i];
    return NULL;
}

static struct hold *hold_by_job(const struct reserve *r, uint64_t job)
{
    for (size_t i = 0; i < r->n; i++)
        if (job != 0 && r->holds[i]->job == job)
            return r->holds[i];
    return NULL;
}

static void hold_job(struct step *s, struct hold *h, enum hv_kind kind)
{
    struct hv_job job = {.kind = kind};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", h->record->uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", h->record->vm);
    snprintf(job.move.to, sizeof job.move.to, "%s", h->record->to);
    job.move.persistent = h->record->persistent;
    job.move.how = h->how;
    if (kind == HV_ADMIT)
        job.vm = (Skein__VmDetail *)codec_copy(&h->vm->base);
    h->job = effect_job(s, OWNER_RESERVE, &job);
    h->job_mono = s->now.mono;
}

/* ---- refusing and answering ---- */

static void answer_refused(struct reserve *r, struct step *s, const char *from, uint64_t id,
                           const Skein__Permit *permit, const struct err *err)
{
    verify_refused(&r->refusals, s, "reserve.refused", from, permit, err);
    effect_reply(s, from, id, NULL, err);
}

static void hold_refuse(struct reserve *r, struct step *s, struct hold *h, const struct err *err)
{
    if (h->request != 0)
        answer_refused(r, s, h->asker, h->request, h->record->permit, err);
    hold_drop(r, s, h, err->msg);
}

static void answer_held(struct step *s, const struct hold *h, const char *from, uint64_t id)
{
    Skein__Reserved reserved = SKEIN__RESERVED__INIT;
    reserved.id = (char *)h->id;
    reserved.has_expires_at_ms = 1;
    reserved.expires_at_ms = h->record->reserved_until_ms;
    reserved.migration_address = (char *)s->conf->migration_address;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    reply.kind_case = SKEIN__REPLY__KIND_RESERVED;
    reply.reserved = &reserved;
    effect_reply(s, from, id, &reply, NULL);
}

/* ---- a request ---- */

/* Under the same order, and not held yet. */
static unsigned count_pending(const struct reserve *r, const struct budget_order *order)
{
    unsigned n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += order->order[0] != '\0' && !reserve_is_held(r->holds[i]) &&
             strcmp(r->holds[i]->order.order, order->order) == 0;
    return n;
}

static int check_request(const struct reserve *r, const Skein__Reserve *q, const struct step *s,
                         const char *from, struct budget_order *ret_order,
                         struct plan_body **ret_body, const struct plan_move **ret_move,
                         struct err *err)
{
    struct gate_verdict verdict;
    int rc = verify_action(s, &q->body, q->approvals, q->n_approvals, q->permit,
                           &(struct verify_vm){.vm = q->vm}, &verdict, ret_body, ret_move, err);
    if (rc < 0)
        return rc;
    *ret_order = budget_order_of(&verdict);
    if ((rc = budget_check(r->budget, ret_order, count_pending(r, ret_order), (*ret_body)->id,
                           (*ret_move)->id, s->now.wall, err)) < 0)
        return rc;
    if (strcmp(q->permit->destination, s->conf->host) != 0)
        return err_set(err, ERR_DENIED, "permit %s is for %s", q->permit->id,
                       q->permit->destination);
    if (strcmp(q->permit->source, from) != 0)
        return err_set(err, ERR_DENIED, "permit %s is for %s, not for %s", q->permit->id,
                       q->permit->source, from);
    if (q->vm == NULL || q->vm->uuid == NULL || strcmp(q->vm->uuid, (*ret_move)->uuid) != 0)
        return err_set(err, ERR_INVALID, "the VM described is not the action's");
    if (!reserve_size_known(q->vm))
        return err_set(err, ERR_INVALID, "the size of %s is not known", (*ret_move)->vm);
    const char *sources = q->source_addresses;
    if (s->conf->firewall && (sources == NULL || strlen(sources) >= HV_NAME_MAX))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s does not say from which addresses it sends, and the firewall wants them",
                       from);
    return 0;
}

static int check_others(const struct reserve *r, const struct step *s, const struct plan_move *move,
                        struct err *err)
{
    const struct view_host *own = view_find(r->view, s->conf->host);
    unsigned inflow = 0;
    for (size_t i = 0; i < r->n; i++) {
        const Skein__JournalRecord *record = r->holds[i]->record;
        const Skein__VmDetail *here =
            own != NULL ? reserve_find_vm(own->vms, own->n_vms, record->uuid) : NULL;
        bool arrived =
            here != NULL && reserve_takes_room(here) && here->state != SKEIN__VM_STATE__VM_INCOMING;
        if (strcmp(record->uuid, move->uuid) == 0)
            return err_set(err, ERR_CONFLICT, "%s is expected here by action %s/%s", move->vm,
                           record->plan, record->action);
        inflow += !arrived;
    }
    if (inflow >= s->conf->limit_inflow)
        return err_set(err, ERR_LIMIT, "%u VMs are arriving here, %u may at once", inflow,
                       s->conf->limit_inflow);
    return 0;
}

static Skein__JournalRecord *record_new(const struct plan_body *body, const struct plan_move *move,
                                        const Skein__Reserve *q)
{
    Skein__JournalRecord record = SKEIN__JOURNAL_RECORD__INIT;
    record.has_state = record.has_acts_as_destination = 1;
    record.state = SKEIN__JOURNAL_STATE__JOURNAL_RESERVED;
    record.acts_as_destination = 1;
    record.plan = (char *)body->id;
    record.action = move->id;
    record.uuid = move->uuid;
    record.vm = move->vm;
    record.from = move->from;
    record.to = move->to;
    record.permit = q->permit;
    record.has_vcpus = record.has_memory_mib = record.has_persistent = 1;
    record.vcpus = q->vm->vcpus;
    record.memory_mib = q->vm->memory_mib;
    record.persistent = q->vm->persistent;
    record.has_autostart = 1;
    record.autostart = q->vm->persistent && q->vm->autostart;
    record.source_addresses = q->source_addresses;
    return (Skein__JournalRecord *)codec_copy(&record.base);
}

static void hold_wait_for(struct hold *h, const char *from, uint64_t id)
{
    free(h->asker);
    h->asker = xstrdup(from);
    h->request = id;
}

/* The same action again: answer by what stands; true when that was it. */
static bool answer_known(const struct reserve *r, struct step *s, const char *from, uint64_t id,
                         const Skein__Permit *permit)
{
    struct hold *h = reserve_find(r, permit->plan, permit->action);
    if (h == NULL || strcmp(h->record->permit->id, permit->id) != 0 ||
        strcmp(h->record->from, from) != 0)
        return false;
    if (h->state == HOLD_HELD)
        answer_held(s, h, from, id);
    else
        hold_wait_for(h, from, id);
    return true;
}

void reserve_request(struct reserve *r, struct step *s, const char *from, uint64_t id,
                     const Skein__Reserve *q)
{
    struct err err = {0};
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    const struct plan_move *move = NULL;
    struct budget_order order;
    if (check_request(r, q, s, from, &order, &body, &move, &err) < 0) {
        answer_refused(r, s, from, id, q->permit, &err);
        return;
    }
    if (admin_check_move(state_admin(r->state), body, move, 0, s->now.wall, &err) < 0) {
        answer_refused(r, s, from, id, q->permit, &err);
        return;
    }
    if (answer_known(r, s, from, id, q->permit))
        return;
    /* A newer permit for the same action: what the old one got is given up and checked anew. */
    struct hold *old = reserve_find(r, body->id, move->id);
    if (old != NULL && old->state != HOLD_EXPIRED)
        hold_drop(r, s, old, "asked for again under another permit");
    if (check_others(r, s, move, &err) < 0) {
        answer_refused(r, s, from, id, q->permit, &err);
        return;
    }
    struct hold *h = hold_add(r);
    h->state = HOLD_CONFIRM;
    step_random_hex(s, h->id, RESERVE_ID_DIGITS);
    h->record = record_new(body, move, q);
    h->order = order;
    h->how = move->how;
    h->vm = (Skein__VmDetail *)codec_copy(&q->vm->base);
    hold_wait_for(h, from, id);
    h->deadline_mono = MIN(verify_start_by(s, q->permit), s->now.mono + CHECK_PATIENCE);
    h->confirm = confirm_new(s, OWNER_RESERVE, r->state, r->term, q->permit, h->deadline_mono);
    effect_trace(s, "reserve %s/%s: asked for by %s", body->id, move->id, from);
}

static void hold_keep(struct reserve *reserve, struct step *s, struct hold *h)
{
    char key[2 * HV_NAME_MAX + 32];
    h->state = HOLD_HELD;
    h->since_mono = s->now.mono;
    h->deadline_mono = s->now.mono + s->conf->reservation_lifetime;
    h->record->has_reserved_until_ms = 1;
    h->record->reserved_until_ms = (uint64_t)(s->now.wall + s->conf->reservation_lifetime);
    h->record->reservation = xstrdup(h->id);
    journal_key(h->record, key, sizeof key);
    reserve_start_forget(reserve, key);
    effect_journal(s, key, h->record);
    const Skein__JournalRecord *r = h->record;
    budget_spend(reserve->budget, s, &h->order, r->plan, r->action);
    effect_audit(s, "reserve.granted", "{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "plan", r->plan,
                 "action", r->action, "vm", r->vm, "uuid", r->uuid, "from", r->from, "permit",
                 r->permit->id, "reservation", h->id);
    answer_held(s, h, h->asker, h->request);
    h->request = 0;
}

static void hold_admit(struct reserve *r, struct step *s, struct hold *h, const struct room *room)
{
    struct err err = {0};
    if (reserve_check_room(r, room, h, &err) < 0) {
        hold_refuse(r, s, h, &err);
        return;
    }
    h->state = HOLD_ADMIT;
    hold_job(s, h, HV_ADMIT);
}

/* Counted on what the hypervisor says now: what was observed a moment ago may lack a VM that has
 * arrived since and whose reservation is released. */
static void hold_confirmed(struct step *s, struct hold *h)
{
    confirm_free(TAKE_PTR(h->confirm));
    h->state = HOLD_OBSERVE;
    hold_job(s, h, HV_OBSERVE);
}

void reserve_release(struct reserve *r, struct step *s, const char *from, uint64_t id,
                     const Skein__ReleaseReservation *q)
{
    for (size_t i = 0; i < r->n; i++) {
        struct hold *h = r->holds[i];
        if (q->id == NULL || strcmp(h->id, q->id) != 0 || strcmp(h->record->from, from) != 0)
            continue;
        hold_drop(r, s, h, q->reason != NULL ? q->reason : "released");
        break;
    }
    effect_reply(s, from, id, NULL, NULL); /* unknown is released too */
}

/* ---- what comes back ---- */

static void expired_seen(struct reserve *r, struct step *s, struct hold *h,
                         const struct hv_result *result)
{
    bool arriving = result->seen.present && result->seen.state == SKEIN__VM_STATE__VM_INCOMING;
    if (result->err.code != ERR_OK || arriving) { /* not known, or still coming */
        h->state = HOLD_HELD;
        h->deadline_mono = s->now.mono + EXTENSION;
        if (is_open(s, h)) {
            struct hv_job job = firewall_job(s, h, HV_OPEN);
            effect_job(s, OWNER_RESERVE, &job);
        }
        return;
    }
    hold_drop(r, s, h, result->seen.present ? "it has arrived" : "expired");
}

void reserve_hv(struct reserve *r, struct step *s, const struct hv_result *result)
{
    struct hold *h = hold_by_job(r, result->job);
    if (h == NULL) {
        if (!reserve_start_result(r, s, result))
            reserve_look_result(r, s, result);
        return;
    }
    h->job = 0;
    if (h->state == HOLD_EXPIRED) {
        expired_seen(r, s, h, result);
    } else if (result->err.code != ERR_OK) {
        hold_refuse(r, s, h, &result->err);
    } else if (h->state == HOLD_ADMIT && s->conf->firewall) {
        struct hv_job job = firewall_job(s, h, HV_OPEN);
        h->state = HOLD_OPEN;
        h->job = effect_job(s, OWNER_RESERVE, &job);
        h->job_mono = s->now.mono;
    } else if (h->state == HOLD_ADMIT || h->state == HOLD_OPEN) {
        hold_keep(r, s, h);
    } else if (h->state == HOLD_OBSERVE && result->detail != NULL) {
        Skein__HostDetail *d = step_own_detail(s, result->detail);
        hold_admit(r, s, h, &(struct room){d->summary, d->capability, d->vms, d->n_vms});
        skein__host_detail__free_unpacked(d, NULL);
    }
}

void reserve_reply(struct reserve *r, struct step *s, const char *from, const Skein__Reply *reply)
{
    for (size_t i = 0; i < r->n; i++) {
        struct hold *h = r->holds[i];
        if (h->confirm != NULL && confirm_reply(h->confirm, s, from, reply)) {
            reserve_tick(r, s);
            return;
        }
    }
}

static void tick_checking(struct reserve *r, struct step *s, struct hold *h)
{
    struct err err = {0};
    if (h->state == HOLD_CONFIRM) {
        enum confirm_outcome outcome = confirm_tick(h->confirm, s, r->state, r->term);
        if (outcome == CONFIRM_VALID)
            hold_confirmed(s, h);
        else if (confirm_why(h->confirm, outcome, &err) < 0)
            hold_refuse(r, s, h, &err);
        return;
    }
    if (s->now.mono >= h->deadline_mono) {
        err_set(&err, ERR_TIMEOUT, "the hypervisor of %s did not answer in time", s->conf->host);
        hold_refuse(r, s, h, &err);
    }
}

/* A record of an earlier life gets the time that it has left, never more than a whole one. */
static void hold_revive(struct step *s, struct hold *h)
{
    msec left = sat_sub(clamp(h->record->reserved_until_ms), s->now.wall);
    left = MAX((msec)0, MIN(left, s->conf->reservation_lifetime));
    h->since_mono = MAX(s->now.mono, (msec)1);
    h->deadline_mono = s->now.mono + left;
}

static bool has_arrived(const struct reserve *r, const struct step *s, const struct hold *h)
{
    const struct view_host *own = view_find(r->view, s->conf->host);
    if (own == NULL || own->detail_mono <= h->since_mono)
        return false;
    const Skein__VmDetail *vm = reserve_find_vm(own->vms, own->n_vms, h->record->uuid);
    return vm != NULL && vm->has_state && vm->state == SKEIN__VM_STATE__VM_RUNNING;
}

static void tick_held(struct reserve *r, struct step *s, struct hold *h)
{
    if (h->since_mono == 0)
        hold_revive(s, h);
    if (has_arrived(r, s, h)) {
        hold_drop(r, s, h, "it has arrived");
        return;
    }
    bool over = h->state == HOLD_HELD && s->now.mono >= h->deadline_mono;
    bool lost = h->state == HOLD_EXPIRED && s->now.mono - h->job_mono >= RESERVE_JOB_PATIENCE;
    if (over || lost) {
        h->state = HOLD_EXPIRED;
        hold_job(s, h, HV_LOOK);
    }
}

void reserve_tick(struct reserve *r, struct step *s)
{
    for (size_t i = r->n; i-- > 0;) { /* from the end: dropping puts the last into the place */
        struct hold *h = r->holds[i];
        if (reserve_is_held(h))
            tick_held(r, s, h);
        else
            tick_checking(r, s, h);
    }
    reserve_look_tick(r, s);
    reserve_start_tick(r, s);
}

bool reserve_waits(const struct reserve *r)
{
    return r->n > 0 || r->n_looks > 0 || r->n_starts > 0;
}

size_t reserve_count(const struct reserve *r)
{
    return r->n;
}

void reserve_item(const struct reserve *r, size_t i, struct reserve_item *ret)
{
    REQUIRE(i < r->n);
    const struct hold *h = r->holds[i];
    *ret = (struct reserve_item){.id = h->id,
                                 .plan = h->record->plan,
                                 .action = h->record->action,
                                 .uuid = h->record->uuid,
                                 .vm = h->record->vm,
                                 .from = h->record->from,
                                 .held = reserve_is_held(h),
                                 .vcpus = h->record->vcpus,
                                 .memory_mib = h->record->memory_mib,
                                 .expires_wall = clamp(h->record->reserved_until_ms)};
}
