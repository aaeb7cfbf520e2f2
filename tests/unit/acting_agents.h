/* acting_agents.h - the agents of the acting world: their disk, their life, what they do as the
 * shell does around exec and reserve. They die between any two effects. */
#ifndef SKEIN_TESTS_UNIT_ACTING_AGENTS_H
#define SKEIN_TESTS_UNIT_ACTING_AGENTS_H

#include "agent/core/confirm.h"
#include "agent/core/snapshot.h"
#include "tests/unit/acting_hypervisors.h"
#include "tests/unit/acting_plans.h"

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
    case SKEIN__REQUEST__KIND_VOTERS:
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

#endif
