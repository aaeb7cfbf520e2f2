/* plans.h - plans and people for tests of agent/core: bodies, envelopes of a trust that believes
 * whatever the envelope says (unless it says "forged"), entries. */
#ifndef SKEIN_TESTS_LIB_PLANS_H
#define SKEIN_TESTS_LIB_PLANS_H

#include <stdio.h>

#include "agent/core/state.h"
#include "proto/canon.h"
#include "proto/codec.h"

#define NOW ((msec)1900000000000) /* 2030: the tests' wall clock begins here */
#define MINUTE ((msec)60000)
#define TEST_POLICY_DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* ---- bodies ---- */

struct test_move {
    unsigned step;
    int vm; /* number: "vm3" and its UUID */
    const char *from, *to;
};

static inline const char *test_uuid(int vm, char ret[UUID_SIZE])
{
    snprintf(ret, UUID_SIZE, "00000000-0000-4000-8000-%012d", vm);
    return ret;
}

static inline json_t *test_action(const struct test_move *m, size_t index)
{
    char uuid[UUID_SIZE], id[32], vm[32];
    snprintf(id, sizeof id, "s%u-%zu", m->step + 1, index);
    snprintf(vm, sizeof vm, "vm%d", m->vm);
    if (strcmp(m->from, m->to) == 0) /* it stays, and is stopped */
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", id, "type", "shutdown", "vm",
                         vm, "uuid", test_uuid(m->vm, uuid), "from", m->from, "to", m->to, "reason",
                         "it cannot move");
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:b}, s:{s:i, s:i, s:i}}", "id",
                     id, "type", "migrate", "vm", vm, "uuid", test_uuid(m->vm, uuid), "from",
                     m->from, "to", m->to, "reason", "hot", "parameters", "mode", "precopy", "tls",
                     1, "estimate", "ms", 4000, "downtime_ms", 60, "mib", 512);
}

/* Canonical, to be freed. policy "" and class "user": a person's own move. snapshot_digest NULL: a
 * made-up one. */
static inline char *test_body(const char *policy, const char *class, uint64_t seed,
                              const char *snapshot_digest, const struct test_move *moves, size_t n,
                              size_t *ret_len)
{
    char digest[HASH_HEX_SIZE];
    snprintf(digest, sizeof digest, "%064llx", (unsigned long long)seed);
    json_t *steps = json_array(), *doc;
    for (size_t i = 0; i < n; i++) {
        while (json_array_size(steps) <= moves[i].step)
            json_array_append_new(steps, json_pack("{s:[]}", "actions"));
        json_array_append_new(json_object_get(json_array_get(steps, moves[i].step), "actions"),
                              test_action(&moves[i], i));
    }
    json_t *origin = policy[0] != '\0'
                         ? json_pack("{s:s, s:s}", "name", policy, "digest", TEST_POLICY_DIGEST)
                         : json_null();
    doc = json_pack("{s:o, s:s, s:s, s:s, s:I, s:o}", "policy", origin, "class", class, "reason",
                    "hv1 is hot", "snapshot_digest",
                    snapshot_digest != NULL ? snapshot_digest : digest, "seed", (json_int_t)seed,
                    "steps", steps);
    char *text = NULL;
    struct err err;
    REQUIRE(canon_dump(doc, &text, ret_len, &err) == 0);
    json_decref(doc);
    return text;
}

/* ---- people ---- */

/* {"person", "roles", "nonce", "issued_at", "expires_at", "command"}: what a real envelope says. */
static inline int test_verify(void *arg, const uint8_t *envelope, size_t len, msec wall,
                              struct trust_command *ret, struct err *err)
{
    (void)arg;
    _cleanup_json_ json_t *e = NULL;
    if (canon_parse((const char *)envelope, len, "envelope", &e, err) < 0)
        return -(int)err->code;
    if (json_is_true(json_object_get(e, "forged")))
        return err_set(err, ERR_UNAUTHENTICATED, "envelope: the signature does not fit");
    struct trust_command c = {0};
    const char *person = json_string_value(json_object_get(e, "person"));
    c.roles = (unsigned)json_integer_value(json_object_get(e, "roles"));
    c.issued_at = json_integer_value(json_object_get(e, "issued_at")) * 1000;
    c.expires_at = json_integer_value(json_object_get(e, "expires_at")) * 1000;
    if (wall >= c.expires_at)
        return err_set(err, ERR_EXPIRED, "envelope: it has expired");
    uint8_t hash[HASH_SIZE];
    snprintf(c.person, sizeof c.person, "%s", person);
    snprintf(c.nonce, sizeof c.nonce, "%s", json_string_value(json_object_get(e, "nonce")));
    hash_sha256(person, strlen(person), hash);
    hash_hex(hash, c.key);
    hash_sha256(envelope, len, hash);
    hash_hex(hash, c.digest);
    c.command = json_incref(json_object_get(e, "command"));
    *ret = c;
    return 0;
}

/* What the tests' admins signed; NULL: no rules. */
static const struct gate_rules *test_rules;

static inline const struct gate_rules *test_gates(const struct trust *trust)
{
    (void)trust;
    return test_rules;
}

static const struct trust test_trust = {.verify = test_verify, .gates = test_gates};

/* command is taken. Times are cut to seconds: a canonical number is too small for more. */
static inline char *test_envelope(const char *person, unsigned roles, int nonce, msec expires_at,
                                  json_t *command)
{
    _cleanup_json_ json_t *e =
        json_pack("{s:s, s:i, s:o, s:I, s:I, s:o}", "person", person, "roles", (int)roles, "nonce",
                  json_sprintf("%032x", (unsigned)nonce), "issued_at", (json_int_t)NOW / 1000,
                  "expires_at", (json_int_t)expires_at / 1000, "command", command);
    char *text = NULL;
    struct err err;
    REQUIRE(canon_dump(e, &text, NULL, &err) == 0);
    return text;
}

static inline json_t *test_vote(const char *verb, const char *digest)
{
    return json_pack("{s:s, s:s%, s:s, s:s}", "type", verb, "plan", digest,
                     (size_t)(PLAN_ID_SIZE - 1), "digest", digest, "reason", "because");
}

static inline json_t *test_request(int vm, const char *to)
{
    char uuid[UUID_SIZE];
    return json_pack("{s:s, s:s, s:s, s:s}", "type", "migrate", "vm", "its name", "uuid",
                     test_uuid(vm, uuid), "to", to);
}

/* ---- entries ---- */

static inline Skein__Entry *test_entry(msec at)
{
    Skein__Entry *e = xmalloc(sizeof *e);
    skein__entry__init(e);
    e->has_at_ms = 1;
    e->at_ms = (uint64_t)at;
    e->proposer = xstrdup("hv1");
    return e;
}

/* person NULL: the planner's plan. */
static inline Skein__Entry *test_put(msec at, const char *body, size_t len, const char *author,
                                     const char *request)
{
    struct plan_body *b = NULL;
    struct err err;
    if (plan_body_parse((const uint8_t *)body, len, &b, &err) < 0)
        REQUIRE(false);
    Skein__Entry *e = test_entry(at);
    Skein__PlanPut *put = xmalloc(sizeof *put);
    skein__plan_put__init(put);
    put->id = xstrdup(b->id);
    put->digest = xstrdup(b->digest);
    put->has_body = put->has_state = put->has_expires_at_ms = 1;
    put->body = (ProtobufCBinaryData){.len = len, .data = xmemdup(body, len)};
    put->state = SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    put->expires_at_ms = (uint64_t)(at + 30 * MINUTE);
    put->author = xstrdup(author != NULL ? author : "planner");
    put->request = request != NULL ? xstrdup(request) : NULL;
    plan_body_free(b);
    e->kind_case = SKEIN__ENTRY__KIND_PLAN;
    e->plan = put;
    return e;
}

static inline Skein__Entry *test_change(msec at, const char *plan, Skein__PlanState to)
{
    Skein__Entry *e = test_entry(at);
    e->kind_case = SKEIN__ENTRY__KIND_CHANGE;
    e->change = xmalloc(sizeof *e->change);
    skein__plan_change__init(e->change);
    e->change->plan = xstrdup(plan);
    e->change->has_state = 1;
    e->change->state = to;
    e->change->reason = xstrdup("test");
    return e;
}

/* envelope is taken. */
static inline Skein__Entry *test_said(msec at, char *envelope)
{
    Skein__Entry *e = test_entry(at);
    e->kind_case = SKEIN__ENTRY__KIND_ENVELOPE;
    e->envelope = xmalloc(sizeof *e->envelope);
    skein__envelope_put__init(e->envelope);
    e->envelope->has_envelope = 1;
    e->envelope->envelope =
        (ProtobufCBinaryData){.len = strlen(envelope), .data = (uint8_t *)envelope};
    return e;
}

static inline Skein__Entry *test_permit(msec at, const struct plan *p, const char *action,
                                        uint64_t term, uint32_t attempt)
{
    const struct plan_move *m = plan_body_move(p->body, action);
    Skein__Entry *e = test_entry(at);
    Skein__Permit *t = xmalloc(sizeof *t);
    static unsigned serial;
    skein__permit__init(t);
    t->id = xasprintf("%032x", ++serial);
    t->plan = xstrdup(p->body->id);
    t->digest = xstrdup(p->body->digest);
    t->action = xstrdup(action);
    t->has_term = t->has_issued_at_ms = t->has_expires_at_ms = t->has_attempt = 1;
    t->term = term;
    t->issued_at_ms = (uint64_t)at;
    t->expires_at_ms = (uint64_t)at + 10000;
    t->source = xstrdup(m != NULL ? m->from : "hv1");
    t->destination = xstrdup(m != NULL ? m->to : "hv2");
    t->attempt = attempt;
    e->kind_case = SKEIN__ENTRY__KIND_PERMIT;
    e->permit = t;
    return e;
}

static inline Skein__Entry *test_report(msec at, const char *plan, const char *action,
                                        Skein__ActionState state)
{
    Skein__Entry *e = test_entry(at);
    Skein__ActionReport *r = xmalloc(sizeof *r);
    skein__action_report__init(r);
    r->plan = xstrdup(plan);
    r->action = xstrdup(action);
    r->has_state = 1;
    r->state = state;
    r->reporter = xstrdup("hv1");
    r->has_started_at_ms = 1;
    r->started_at_ms = (uint64_t)at - 3000;
    r->has_downtime_ms = r->has_transferred_mib = 1;
    r->downtime_ms = 50;
    r->transferred_mib = 600;
    e->kind_case = SKEIN__ENTRY__KIND_REPORT;
    e->report = r;
    return e;
}

#endif
