/* deciders_voters.h - the voters of deciders.h: duty and state behind a log, and the worker,
 * checker and hooks that answer them. */
#ifndef SKEIN_TESTS_LIB_DECIDERS_VOTERS_H
#define SKEIN_TESTS_LIB_DECIDERS_VOTERS_H

#include "planner/check/check.h"
#include "tests/lib/deciders_base.h"

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
        } else if (e->kind == EFFECT_YIELD) {
            snprintf(w->yielded, sizeof w->yielded, "%s", e->key);
            w->n_yielded++;
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

#endif
