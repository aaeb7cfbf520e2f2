/* acting_plans.h - the people and plans of the acting world: envelopes and who believes them, the
 * log that all share, and a planner that is only as clever as it must be. */
#ifndef SKEIN_TESTS_UNIT_ACTING_PLANS_H
#define SKEIN_TESTS_UNIT_ACTING_PLANS_H

#include "proto/canon.h"
#include "tests/unit/acting_base.h"

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

/* ---- the shared log ---- */

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

/* What nothing may refuse. */
static inline void commit_surely(struct world *w, Skein__Entry *entry, const char *what)
{
    struct err err = {0};
    if (!commit(w, entry, &err))
        WORLD_FAIL(w, "%s refused: %s", what, err.msg);
}

/* ---- people and the plan ---- */

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
    commit_surely(w, &entry, "change");
}

static inline json_t *action_json(const struct world *w, int vm, const char *from, const char *to)
{
    char id[8];
    snprintf(id, sizeof id, "a%d", vm + 1);
    if (w->stops != NULL && vm == 1)
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:i}}", "id", id, "type", w->stops,
                         "vm", vm_names[vm], "uuid", w->uuids[vm], "from", from, "to", from,
                         "reason", "it cannot move", "estimate", "ms", 2000);
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
    commit_surely(w, &entry, "plan");
}

/* ---- a planner that is only as clever as it must be ---- */

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

#endif
