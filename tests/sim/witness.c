/* witness.c - sees everything and believes nobody: turns what happens into facts for the checker.
 * It has its own copy of the shared state, of all that was committed at the moment it was. */
#include "proto/canon.h"
#include "tests/sim/sim.h"

/* How old an agent's own data may be when it admits a VM (reserve.c), and a tick. */
#define OWN_DATA_AGE 2100

void witness_fact(struct sim *s, struct fact f)
{
    if (s->failed)
        return;
    f.at = s->now;
    s->unchecked = true;
    if (invariants_fact(s->inv, &f, &s->err) < 0)
        s->failed = true;
}

void witness_check(struct sim *s)
{
    if (!s->unchecked || s->failed)
        return;
    s->unchecked = false;
    if (invariants_check(s->inv, &s->err) < 0)
        s->failed = true;
}

bool witness_is_power(const struct sim *s, const char *plan, const char *action)
{
    const struct plan *p = plan != NULL ? state_plan(s->witness, plan) : NULL;
    const struct plan_item *i = p != NULL && action != NULL ? plan_item(p, action) : NULL;
    return i != NULL && plan_move_is_power(i->move);
}

/* ---- the shared state ---- */

static void see_plan(struct sim *s, const struct plan *p)
{
    s->counts->plans++;
    bool user = strcmp(p->body->class, "user") == 0;
    witness_fact(s, (struct fact){.kind = FACT_PLAN,
                                  .plan = p->body->id,
                                  .what = p->body->class,
                                  .person = user ? p->put->author : NULL});
    for (size_t i = 0; i < p->body->n_moves; i++) {
        const struct plan_move *m = &p->body->moves[i];
        if (plan_move_is_power(m))
            continue;
        witness_fact(s, (struct fact){.kind = FACT_ACTION,
                                      .plan = p->body->id,
                                      .action = m->id,
                                      .vm = m->uuid,
                                      .from = m->from,
                                      .to = m->to,
                                      .step = m->step});
    }
    people_plan(s, p->body->id);
}

static void see_command(struct sim *s, const Skein__Entry *entry)
{
    uint8_t hash[HASH_SIZE];
    char hex[HASH_HEX_SIZE];
    if (entry->kind_case != SKEIN__ENTRY__KIND_ENVELOPE)
        return;
    hash_sha256(entry->envelope->envelope.data, entry->envelope->envelope.len, hash);
    hash_hex(hash, hex);
    witness_fact(s, (struct fact){.kind = FACT_COMMAND, .digest = hex});
}

static void see_state(struct sim *s, const struct plan *p, uint64_t index)
{
    witness_fact(s, (struct fact){.kind = FACT_PLAN_STATE,
                                  .plan = p->body->id,
                                  .what = plan_state_name(p->state)});
    if (p->state != SKEIN__PLAN_STATE__PLAN_CANCELLING)
        return;
    ARRAY_RESERVE(s->cancelled, s->cap_cancelled, s->n_cancelled + 1);
    struct cancelled *c = &s->cancelled[s->n_cancelled++];
    c->index = index;
    snprintf(c->plan, sizeof c->plan, "%s", p->body->id);
}

static void see_permit(struct sim *s, const struct plan *p, const struct plan_item *i)
{
    s->counts->permits++;
    if (plan_move_is_power(i->move))
        return;
    witness_fact(s, (struct fact){.kind = FACT_PERMIT,
                                  .permit = i->permit->id,
                                  .plan = p->body->id,
                                  .action = i->move->id,
                                  .term = (int64_t)i->permit->term,
                                  .attempt = i->permit->attempt,
                                  .what = s->captured ? "its voters are captured" : NULL});
}

static const char *outcome_of(Skein__ActionState state)
{
    switch (state) {
    case SKEIN__ACTION_STATE__ACTION_SUCCEEDED:
        return "succeeded";
    case SKEIN__ACTION_STATE__ACTION_FAILED:
        return "failed";
    case SKEIN__ACTION_STATE__ACTION_CANCELLED:
        return "cancelled";
    case SKEIN__ACTION_STATE__ACTION_SKIPPED:
        return "skipped";
    case SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR:
        return "needs-operator";
    case SKEIN__ACTION_STATE__ACTION_PENDING:
    case SKEIN__ACTION_STATE__ACTION_PERMITTED:
    case SKEIN__ACTION_STATE__ACTION_RUNNING:
    case SKEIN__ACTION_STATE__ACTION_UNKNOWN:
    case _SKEIN__ACTION_STATE_IS_INT_SIZE:
        break;
    }
    return NULL;
}

static void count_outcome(struct sim_counts *c, Skein__ActionState state)
{
    c->succeeded += state == SKEIN__ACTION_STATE__ACTION_SUCCEEDED;
    c->failed += state == SKEIN__ACTION_STATE__ACTION_FAILED;
    c->cancelled += state == SKEIN__ACTION_STATE__ACTION_CANCELLED;
    c->skipped += state == SKEIN__ACTION_STATE__ACTION_SKIPPED;
    c->needs_operator += state == SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR;
}

static void see_report(struct sim *s, const struct plan *p, const struct plan_item *i)
{
    Skein__ActionState state = plan_item_state(i);
    SIM_TRACE(s, "committed: %s/%s is %s, says %s: %s (%s)", p->body->id, i->move->id,
              plan_action_name(state), i->report->reporter,
              i->report->message != NULL ? i->report->message : "",
              i->report->evidence != NULL ? i->report->evidence : "");
    bool returned = plan_item_returned(i),
         captured = s->hosts[sim_host_index(s, i->move->from)].captured;
    const char *outcome = returned ? "returned" : outcome_of(state);
    if (outcome == NULL || (returned && captured)) /* what a captured source does is not followed */
        return;
    count_outcome(s->counts, state);
    if (plan_move_is_power(i->move))
        return;
    witness_fact(
        s, (struct fact){
               .kind = FACT_REPORTED, .plan = p->body->id, .action = i->move->id, .what = outcome});
}

static void see_order(struct sim *s, bool on, const char *what, int host, int vm)
{
    SIM_TRACE(s, "committed: %s %s%s%s", on ? "forbidden by" : "no more", what,
              host >= 0 || vm >= 0 ? " of " : "",
              host >= 0 ? s->hosts[host].name
              : vm >= 0 ? s->vm_names[vm]
                        : "");
    s->counts->orders += on;
    witness_fact(s, (struct fact){.kind = on ? FACT_FORBIDDEN : FACT_ALLOWED,
                                  .what = what,
                                  .host = host >= 0 ? s->hosts[host].name : NULL,
                                  .vm = vm >= 0 ? s->uuids[vm] : NULL});
}

/* What people have forbidden, as of now. They forbid for longer than a run lasts. */
static void see_orders(struct sim *s)
{
    const struct admin *admin = state_admin(s->witness);
    Skein__Freeze *const *freezes;
    bool frozen = admin_freezes(admin, &freezes) > 0;
    if (frozen != s->frozen)
        see_order(s, s->frozen = frozen, "freeze", -1, -1);
    for (int i = 0; i < s->n_hosts; i++) {
        struct sim_host *h = &s->hosts[i];
        bool drains = admin_drains(admin, h->name);
        bool closed = admin_host_state(admin, h->name) != SKEIN__HOST_STATE__HOST_UP;
        if (closed != h->closed || drains != h->drains)
            see_order(s, closed, drains ? "drain" : "cordon", i, -1);
        h->closed = closed;
        h->drains = drains;
    }
    for (int i = 0; i < s->n_vms; i++) {
        bool held = admin_hold(admin, s->uuids[i], 0) != NULL;
        if (held != s->vm_held[i])
            see_order(s, s->vm_held[i] = held, "hold", -1, i);
    }
}

static void see_change(struct sim *s, const Skein__Entry *entry, const struct state_change *c)
{
    const struct plan *p = c->plan[0] != '\0' ? state_plan(s->witness, c->plan) : NULL;
    const struct plan_item *i = p != NULL && c->action[0] != '\0' ? plan_item(p, c->action) : NULL;
    if (c->kind == STATE_REFUSED) {
        SIM_TRACE(s, "committed, and refused: %s", c->err.msg);
        return;
    }
    see_command(s, entry);
    if (p != NULL && plan_invariant(p, &s->err) < 0)
        s->failed = true;
    if (p != NULL && c->kind == STATE_PLAN_NEW)
        see_plan(s, p);
    if (p != NULL && c->from != c->to) {
        SIM_TRACE(s, "committed: plan %s is %s: %s", p->body->id, plan_state_name(p->state),
                  p->reason);
        see_state(s, p, c->index);
    }
    if (c->kind == STATE_ADMIN)
        see_orders(s);
    s->counts->approvals += c->kind == STATE_APPROVAL && c->verb == GATE_APPROVE;
    if (i != NULL && c->kind == STATE_PERMIT)
        see_permit(s, p, i);
    if (i != NULL && c->kind == STATE_REPORT && !c->repeated)
        see_report(s, p, i);
}

void witness_host(struct sim *s, const struct sim_host *h, bool votes)
{
    witness_fact(s, (struct fact){.kind = FACT_HOST,
                                  .host = h->name,
                                  .memory_mib = (int64_t)h->memory_mib,
                                  .vcpus = (int64_t)h->vcpus,
                                  .inflow = h->conf.limit_inflow,
                                  .outflow = h->conf.limit_outflow,
                                  .voter = votes});
}

void witness_committed(struct sim *s, const struct log_entry *e, uint64_t index)
{
    struct err err;
    _cleanup_(skein_entry_freep) Skein__Entry *entry = NULL;
    if (codec_entry(e->data, e->len, &entry, &err) < 0) {
        sim_fail(s, "an entry that nobody accepts: %s", err.msg);
        return;
    }
    sim_mix(s, e->data, e->len);
    state_apply(s->witness, entry, index, e->term, &err);
    see_change(s, entry, state_last(s->witness));
}

/* ---- who knows of a cancel ---- */

static void cancel_known(struct sim *s, const struct sim_host *h, const struct cancelled *c,
                         const char *what)
{
    witness_fact(s, (struct fact){
                        .kind = FACT_CANCEL_KNOWN, .host = h->name, .plan = c->plan, .what = what});
}

void witness_applied(struct sim *s, struct sim_host *h, uint64_t before)
{
    for (size_t i = 0; i < s->n_cancelled; i++)
        if (s->cancelled[i].index > before && s->cancelled[i].index <= h->applied)
            cancel_known(s, h, &s->cancelled[i], NULL);
}

void witness_forgot(struct sim *s, struct sim_host *h)
{
    for (size_t i = 0; i < s->n_cancelled; i++)
        cancel_known(s, h, &s->cancelled[i], "forgotten");
}

/* ---- what an agent decides ---- */

/* The action that moves this VM there now, as far as the shared state tells. */
static const struct plan_item *find_action(const struct sim *s, const char *uuid, const char *from,
                                           const char *to, bool live, const struct plan **ret_plan)
{
    struct plan *const *plans;
    for (size_t n = state_plans(s->witness, &plans); n-- > 0;)
        for (size_t i = 0; i < plans[n]->body->n_moves; i++) {
            const struct plan_item *item = &plans[n]->items[i];
            if (item->permit == NULL || plan_item_live(item) != live ||
                strcmp(item->move->uuid, uuid) != 0 ||
                (from != NULL && strcmp(item->move->from, from) != 0) ||
                (to != NULL && strcmp(item->move->to, to) != 0))
                continue;
            *ret_plan = plans[n];
            return item;
        }
    return NULL;
}

static void see_admitted(struct sim *s, const struct sim_host *h, const struct hv_job *job)
{
    const struct plan *p;
    const struct plan_item *i = find_action(s, job->move.uuid, NULL, h->name, true, &p);
    if (i != NULL)
        witness_fact(s, (struct fact){.kind = FACT_ADMITTED,
                                      .host = h->name,
                                      .plan = p->body->id,
                                      .action = i->move->id,
                                      .until = s->now - OWN_DATA_AGE});
}

static const char *concluded(const Skein__JournalRecord *r)
{
    if (r->state == SKEIN__JOURNAL_STATE__JOURNAL_DONE)
        return "succeeded";
    if (r->state == SKEIN__JOURNAL_STATE__JOURNAL_NEEDS_OPERATOR)
        return "needs-operator";
    if (r->state != SKEIN__JOURNAL_STATE__JOURNAL_UNDONE)
        return NULL;
    if (r->code != NULL && strcmp(r->code, err_name(ERR_CANCELLED)) == 0)
        return "cancelled";
    bool elsewhere = r->code != NULL && (strcmp(r->code, err_name(ERR_EXISTS)) == 0 ||
                                         strcmp(r->code, err_name(ERR_NOT_FOUND)) == 0);
    return elsewhere ? "skipped" : "failed";
}

static void see_record(struct sim *s, struct sim_host *h, const struct effect *e)
{
    Skein__JournalRecord *r;
    struct err err;
    if (e->data == NULL || strncmp(e->key, "source:", 7) != 0)
        return;
    if (codec_journal(e->data, e->len, &r, &err) < 0) {
        sim_fail(s, "%s writes a record that it cannot read: %s", h->name, err.msg);
        return;
    }
    const char *outcome = witness_is_power(s, r->plan, r->action) ? NULL : concluded(r);
    if (outcome != NULL && !r->reported && !h->captured) {
        SIM_TRACE(s, "%s concludes: %s/%s %s: %s (%s)", h->name, r->plan, r->action, outcome,
                  r->message, r->evidence != NULL ? r->evidence : "");
        witness_fact(s, (struct fact){.kind = FACT_ENDED,
                                      .host = h->name,
                                      .plan = r->plan,
                                      .action = r->action,
                                      .what = outcome});
    }
    skein__journal_record__free_unpacked(r, NULL);
}

void witness_effects(struct sim *s, struct sim_host *h, const struct effects *out)
{
    for (size_t i = 0; i < out->n; i++) {
        const struct effect *e = &out->items[i];
        if (e->kind == EFFECT_JOURNAL)
            see_record(s, h, e);
        else if (e->kind == EFFECT_JOB && e->job->kind == HV_ADMIT && !h->captured)
            see_admitted(s, h, e->job);
        else if (e->kind == EFFECT_JOB && e->job->kind == HV_MIGRATE)
            h->decided[e->job->id % DECISIONS] = s->now;
    }
}

/* A voter said yes. */
void witness_confirms(struct sim *s, struct sim_host *h, const char *asker,
                      const Skein__Request *request, const struct effects *out)
{
    const Skein__Permit *permit = request->confirm->permit;
    if (witness_is_power(s, permit->plan, permit->action))
        return;
    for (size_t i = 0; i < out->n; i++) {
        const struct effect *e = &out->items[i];
        struct err err;
        _cleanup_(skein_frame_freep) Skein__Frame *frame = NULL;
        if (e->kind != EFFECT_SEND || codec_frame(e->data, e->len, &frame, &err) < 0 ||
            frame->kind_case != SKEIN__FRAME__KIND_REPLY || frame->reply->id != request->id ||
            frame->reply->kind_case != SKEIN__REPLY__KIND_CONFIRMED ||
            !frame->reply->confirmed->valid || frame->reply->code != NULL)
            continue;
        witness_fact(s, (struct fact){.kind = FACT_CONFIRMED,
                                      .permit = permit->id,
                                      .plan = permit->plan,
                                      .action = permit->action,
                                      .host = asker,
                                      .from = h->name,
                                      .term = (int64_t)h->disk_term});
    }
}

/* ---- what is durable, and what was handed out ---- */

void witness_journal(struct sim *s, struct sim_host *h, const struct effect *e)
{
    char plan[PLAN_ID_SIZE];
    const char *at = strchr(e->key, ':'), *slash = strchr(e->key, '/');
    Skein__JournalRecord *r = NULL;
    struct err err;
    if (at == NULL || slash == NULL)
        return;
    snprintf(plan, sizeof plan, "%.*s", (int)(slash - at - 1), at + 1);
    if (witness_is_power(s, plan, slash + 1))
        return;
    if (e->data != NULL && codec_journal(e->data, e->len, &r, &err) < 0)
        return;
    const ProtobufCEnumValue *state =
        r != NULL
            ? protobuf_c_enum_descriptor_get_value(&skein__journal_state__descriptor, (int)r->state)
            : NULL;
    witness_fact(s,
                 (struct fact){.kind = FACT_JOURNAL,
                               .host = h->name,
                               .plan = plan,
                               .action = slash + 1,
                               .what = state != NULL ? state->name + strlen("JOURNAL_") : "absent",
                               .destination = strncmp(e->key, "destination:", 12) == 0,
                               .until = r != NULL && r->has_reserved_until_ms
                                            ? (int64_t)r->reserved_until_ms - SIM_WALL
                                            : 0});
    if (r != NULL)
        skein__journal_record__free_unpacked(r, NULL);
}

void witness_audit(struct sim *s, struct sim_host *h, const struct effect *e)
{
    witness_fact(s,
                 (struct fact){.kind = FACT_AUDIT,
                               .host = h->name,
                               .what = json_string_value(json_object_get(e->record, "event")),
                               .plan = json_string_value(json_object_get(e->record, "plan")),
                               .action = json_string_value(json_object_get(e->record, "action"))});
}

struct started {
    char plan[PLAN_ID_SIZE], action[PLAN_ACTION_ID_MAX], permit[64];
};

/* The journal's word for what is started: its newest record of this VM's leaving. */
static bool find_started(const struct sim_host *h, const struct hv_job *job, struct started *ret)
{
    bool found = false;
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *r;
        struct err err;
        if (codec_journal(h->journal[i].data, h->journal[i].len, &r, &err) < 0)
            continue;
        if (!r->acts_as_destination && r->state == SKEIN__JOURNAL_STATE__JOURNAL_STARTED &&
            strcmp(r->uuid, job->move.uuid) == 0) {
            found = true;
            snprintf(ret->plan, sizeof ret->plan, "%s", r->plan);
            snprintf(ret->action, sizeof ret->action, "%s", r->action);
            snprintf(ret->permit, sizeof ret->permit, "%s", r->permit->id);
        }
        skein__journal_record__free_unpacked(r, NULL);
    }
    return found;
}

bool witness_began(const struct sim_host *h, const char *uuid, const char *to, msec since)
{
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *r;
        struct err err;
        if (codec_journal(h->journal[i].data, h->journal[i].len, &r, &err) < 0)
            continue;
        bool began = !r->acts_as_destination && r->state == SKEIN__JOURNAL_STATE__JOURNAL_STARTED &&
                     strcmp(r->uuid, uuid) == 0 && (to == NULL || strcmp(r->to, to) == 0) &&
                     (msec)r->started_mono_ms >= since;
        skein__journal_record__free_unpacked(r, NULL);
        if (began)
            return true;
    }
    return false;
}

static void see_started(struct sim *s, struct sim_host *h, const struct hv_job *job)
{
    const struct plan *p;
    struct started x;
    s->counts->started++;
    if (h->captured) { /* what it does by itself is nobody's measure */
        witness_fact(s, (struct fact){.kind = FACT_OPERATOR, .vm = job->move.uuid});
        return;
    }
    if (!find_started(h, job, &x)) {
        const struct plan_item *i = find_action(s, job->move.uuid, h->name, job->move.to, true, &p);
        if (i == NULL)
            i = find_action(s, job->move.uuid, h->name, job->move.to, false, &p);
        if (i == NULL) {
            sim_fail(s, "invariant 5 is broken: %s moves %s to %s, and there is no such action",
                     h->name, job->move.vm, job->move.to);
            return;
        }
        snprintf(x.plan, sizeof x.plan, "%s", p->body->id);
        snprintf(x.action, sizeof x.action, "%s", i->move->id);
        snprintf(x.permit, sizeof x.permit, "%s", i->permit->id);
    }
    witness_fact(s, (struct fact){.kind = FACT_STARTED,
                                  .host = h->name,
                                  .plan = x.plan,
                                  .action = x.action,
                                  .vm = job->move.uuid,
                                  .to = job->move.to,
                                  .permit = x.permit,
                                  .until = h->decided[job->id % DECISIONS]});
}

/* Journal first, under a permit that was committed for it; no voter, and nobody else, sleeps. */
static void see_power(struct sim *s, const struct sim_host *h, const struct hv_job *job)
{
    struct started x;
    const struct plan *p = NULL;
    const struct plan_item *i = NULL;
    bool wake = job->kind == HV_WAKE;
    if (find_started(h, job, &x) && (p = state_plan(s->witness, x.plan)) != NULL)
        i = plan_item(p, x.action);
    bool sound = i != NULL && i->permit != NULL && strcmp(i->move->to, job->move.to) == 0 &&
                 i->move->type == (wake ? PLAN_WAKE : PLAN_STANDBY) &&
                 (wake || strcmp(i->move->to, h->name) == 0);
    if (!sound || (!wake && h->voter))
        sim_fail(s, "invariant 5 is broken: %s %s %s, and that was not permitted", h->name,
                 wake ? "wakes" : "puts to sleep", job->move.to);
}

void witness_job(struct sim *s, struct sim_host *h, const struct hv_job *job)
{
    if ((job->kind == HV_STANDBY || job->kind == HV_WAKE) && !h->captured)
        see_power(s, h, job);
    else if (job->kind == HV_MIGRATE)
        see_started(s, h, job);
    else if (job->kind == HV_ABORT && !h->captured)
        witness_fact(s, (struct fact){.kind = FACT_ABORTED, .host = h->name, .vm = job->move.uuid});
}

/* ---- the end ---- */

static bool journal_is_quiet(const struct sim_host *h)
{
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *r;
        struct err err;
        if (codec_journal(h->journal[i].data, h->journal[i].len, &r, &err) < 0)
            return false;
        bool quiet = !r->acts_as_destination && r->reported;
        skein__journal_record__free_unpacked(r, NULL);
        if (!quiet)
            return false;
    }
    return true;
}

const char *witness_open(const struct sim *s)
{
    struct plan *const *plans;
    Skein__RequestRecord *const *requests;
    for (size_t n = state_plans(s->witness, &plans); n-- > 0;)
        if (plan_state_running(plans[n]->state) ||
            plans[n]->state == SKEIN__PLAN_STATE__PLAN_APPROVED)
            return plans[n]->body->id;
    for (size_t n = state_requests(s->witness, &requests); n-- > 0;)
        if (requests[n]->plan == NULL && requests[n]->message == NULL)
            return "a person's request";
    for (int i = 0; i < s->n_hosts; i++) {
        const struct sim_host *h = &s->hosts[i];
        if (h->node == NULL || h->first != NULL || !journal_is_quiet(h))
            return h->name;
    }
    if (s->agreement.n_pending != 0)
        return "a proposal";
    if (electors_under_way(s))
        return "a change of voters";
    return world_migrating(s) ? "a migration" : NULL;
}

/* A policy is asked, on what this planner has heard since it plans. */
void witness_planning(struct sim *s, const struct sim_host *h)
{
    int64_t seen = 0, asleep = 0;
    for (int i = 0; i < s->n_hosts; i++)
        asleep += s->hosts[i].asleep;
    seen += (asleep + 1) / 2; /* more than half of those that are awake will do */
    for (int i = 0; i < s->n_hosts; i++)
        seen += h->detail_at[i] != 0 && h->detail_at[i] >= h->leads_from;
    witness_fact(s, (struct fact){.kind = FACT_PLANNING, .host = h->name, .seen = seen});
}

/* Whom this agent takes for dead, or does not know, by its own API. */
static void see_dead(struct sim *s, struct sim_host *h, const struct effect *answer)
{
    _cleanup_json_ json_t *doc = json_loadb((const char *)answer->data, answer->len, 0, NULL);
    const json_t *list = json_is_array(doc) ? doc : json_object_get(doc, "hosts"), *o;
    bool alive[SIM_HOSTS_MAX] = {false};
    size_t i;
    json_array_foreach(list, i, o)
    {
        int index = sim_host_index(s, json_string_value(json_object_get(o, "name")));
        if (index >= 0)
            alive[index] = json_is_true(json_object_get(o, "alive"));
    }
    for (int k = 0; k < s->n_hosts; k++)
        if (!alive[k])
            witness_fact(s,
                         (struct fact){.kind = FACT_DEAD, .host = h->name, .to = s->hosts[k].name});
}

static void ask_for_dead(struct sim *s, struct sim_host *h)
{
    Skein__ApiCall c = SKEIN__API_CALL__INIT;
    struct effects out = {0};
    c.method = (char *)"GET";
    c.path = (char *)"/v1/hosts";
    struct event event = {.kind = EVENT_API, .token = 1, .call = &c};
    node_step(h->node, &event, agent_time(s, h), &out);
    bool answered = false;
    for (size_t i = 0; i < out.n; i++)
        if (out.items[i].kind == EFFECT_ANSWER && out.items[i].status == 200) {
            see_dead(s, h, &out.items[i]);
            answered = true;
        }
    if (!answered)
        sim_fail(s, "%s does not say which hosts it knows", h->name);
    effects_clear(&out);
}

static void same_images(struct sim *s)
{
    int voters[SIM_HOSTS_MAX];
    size_t n = electors_list(s, voters);
    for (size_t i = 0; i < n; i++) {
        const struct sim_host *h = &s->hosts[voters[i]];
        uint8_t hash[HASH_SIZE];
        char hex[HASH_HEX_SIZE];
        size_t len;
        if (h->applied != s->agreement.n_log) {
            sim_fail(s, "invariant 11 is broken: %s has %zu of %zu entries", h->name, h->applied,
                     s->agreement.n_log);
            return;
        }
        uint8_t *image = node_image(h->node, &len);
        hash_sha256(image, len, hash);
        hash_hex(hash, hex);
        free(image);
        witness_fact(s, (struct fact){.kind = FACT_IMAGE,
                                      .host = h->name,
                                      .index = (int64_t)h->applied,
                                      .digest = hex});
    }
}

void witness_end(struct sim *s)
{
    same_images(s);
    for (int i = 0; i < s->n_hosts && !s->failed; i++)
        ask_for_dead(s, &s->hosts[i]);
    witness_fact(s, (struct fact){.kind = FACT_SETTLED});
}
