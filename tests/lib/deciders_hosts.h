/* deciders_hosts.h - the hosts of deciders.h: sources that act on permits and report, and what of
 * them the voters see. */
#ifndef SKEIN_TESTS_LIB_DECIDERS_HOSTS_H
#define SKEIN_TESTS_LIB_DECIDERS_HOSTS_H

#include "tests/lib/deciders_base.h"

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
    bool arriving = w->vm_moves_to[vm] == m->host && w->vm_at[vm] != m->host;
    seen.has_present = seen.has_state = seen.has_persistent = seen.has_job = 1;
    seen.present = w->vm_at[vm] == m->host || arriving;
    seen.state = arriving         ? SKEIN__VM_STATE__VM_INCOMING
                 : w->stopped[vm] ? SKEIN__VM_STATE__VM_STOPPED
                                  : SKEIN__VM_STATE__VM_RUNNING;
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
            if (j->succeeds && j->to == j->source) /* it was to be stopped there */
                w->stopped[j->vm] = true;
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
    summary.has_voters = w->voters[0].conf.group.number != 0;
    summary.voters = w->begins[h] ? 0 : w->voters[0].conf.group.number;
    Skein__HostCapability capability = SKEIN__HOST_CAPABILITY__INIT;
    capability.host = (char *)host_names[h];
    capability.has_store = summary.has_voters;
    capability.store = w->stores[h];
    detail.summary = &summary;
    detail.vms = list;
    detail.capability = summary.has_voters ? &capability : NULL;
    for (int i = 0; i < VMS; i++) {
        if (w->vm_at[i] != h)
            continue;
        Skein__VmDetail *d = &vms[i];
        skein__vm_detail__init(d);
        snprintf(names[i], sizeof names[i], "vm%d", i);
        d->uuid = (char *)test_uuid(i, uuids[i]);
        d->name = names[i];
        d->has_state = d->has_persistent = 1;
        d->state = w->stopped[i] ? SKEIN__VM_STATE__VM_STOPPED : SKEIN__VM_STATE__VM_RUNNING;
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
        for (int v = 0; v < VOTERS && w->voters[0].conf.group.number != 0; v++)
            view_member(w->voters[v].view, host_names[h],
                        &(struct view_member){.gone = !w->host_up[h]});
        if (w->host_up[h] && !w->views_frozen && (w->now / TICK) % 4 == h % 4)
            show_host(w, h);
    }
}

#endif
