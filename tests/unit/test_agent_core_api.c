/* The API's answers against a hand-built view and state; people's envelopes are plain JSON here,
 * and the planner's duty is a stand-in. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "agent/core/api.h"
#include "proto/canon.h"
#include "proto/codec.h"

#define WALL 1795000000000
#define UUID "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f01"
#define UUID2 "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f02"
#define CLUSTER_UUID "3c9c1f7a-1111-4222-8333-0123456789ab"

/* ---- stand-ins for the planner's duty ---- */

static Skein__Progress progress = SKEIN__PROGRESS__INIT;

const Skein__Progress *duty_progress_of(const struct duty *d _unused_, const char *plan _unused_,
                                        const char *action _unused_)
{
    return progress.has_percent ? &progress : NULL;
}

const char *duty_idle_reason(const struct duty *d _unused_)
{
    return "nothing is hot";
}

json_t *duty_status(const struct duty *d _unused_)
{
    return json_pack("{s:s, s:[{s:s, s:s, s:i}]}", "idle_reason", "nothing is hot", "policies",
                     "name", "thermal_relief", "outcome", "line 3: no such field", "failures", 2);
}

/* ---- people: {"person", "roles", "nonce", "command"} ---- */

static int fake_verify(void *arg _unused_, const uint8_t *bytes, size_t len, msec wall,
                       struct trust_command *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    if (canon_parse((const char *)bytes, len, "envelope", &doc, err) < 0)
        return -(int)err->code;
    const char *person = json_string_value(json_object_get(doc, "person"));
    if (person == NULL)
        return err_set(err, ERR_UNAUTHENTICATED, "the signature does not fit");
    *ret = (struct trust_command){
        .roles = (unsigned)json_integer_value(json_object_get(doc, "roles")),
        .issued_at = wall,
        .expires_at = wall + 60000,
        .command = json_incref(json_object_get(doc, "command")),
    };
    snprintf(ret->person, sizeof ret->person, "%s", person);
    snprintf(ret->nonce, sizeof ret->nonce, "%s", json_string_value(json_object_get(doc, "nonce")));
    uint8_t hash[HASH_SIZE];
    hash_sha256(person, strlen(person), hash);
    hash_hex(hash, ret->key);
    hash_sha256(bytes, len, hash);
    hash_hex(hash, ret->digest);
    return 0;
}

static const struct trust trust = {.verify = fake_verify};

/* ---- one agent ---- */

struct world {
    struct node_conf conf;
    struct step step;
    struct effects out;
    uint64_t rng, token, index;
    struct api *api;
    struct api_context c;
    struct view *view;
    struct state *state;
};

static const char *const voters[] = {"hv1", "hv2", "hv3"};

static void add_host(struct world *w, const char *name, bool own)
{
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__VmDetail vm = SKEIN__VM_DETAIL__INIT, *vms[] = {&vm};
    summary.host = (char *)name;
    summary.has_incarnation = summary.has_sequence = summary.has_state = 1;
    summary.incarnation = summary.sequence = 1;
    summary.state = SKEIN__HOST_STATE__HOST_UP;
    summary.has_vms = 1;
    summary.vms = own;
    vm.uuid = (char *)UUID;
    vm.name = (char *)"web1";
    vm.has_state = 1;
    vm.state = SKEIN__VM_STATE__VM_RUNNING;
    detail.summary = &summary;
    detail.vms = vms;
    detail.n_vms = own;
    if (!own)
        view_peer(w->view, name, true, w->step.now);
    view_detail(w->view, &detail, w->step.now, own);
}

static struct world *world_new(const char *leader)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->conf = (struct node_conf){
        .cluster = "dc1",
        .cluster_uuid = CLUSTER_UUID,
        .host = "hv1",
        .voters = voters,
        .n_voters = ARRAY_SIZE(voters),
        .stale_after = 15000,
        .clock_skew_limit = 2000,
        .limit_total = 5,
        .trust = &trust,
    };
    w->step = (struct step){
        .now = {.mono = 1000000, .wall = WALL},
        .conf = &w->conf,
        .out = &w->out,
        .rng = &w->rng,
        .next_token = &w->token,
    };
    w->view = view_new();
    w->state = state_new(&w->conf);
    w->api = api_new();
    w->c = (struct api_context){
        .step = &w->step,
        .view = w->view,
        .state = w->state,
        .leader = leader,
        .term = leader[0] != '\0' ? 4 : 0,
    };
    add_host(w, "hv1", true);
    add_host(w, "hv2", false);
    return w;
}

static void world_free(struct world *w)
{
    effects_clear(&w->out);
    api_free(w->api);
    state_free(w->state);
    view_free(w->view);
    free(w);
}

static struct effect *find_effect(struct world *w, enum effect_kind kind)
{
    struct effect *found = NULL;
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.items[i].kind == kind) {
            assert_null(found); /* one of a kind */
            found = &w->out.items[i];
        }
    return found;
}

static void call(struct world *w, const char *method, const char *path, const char *query,
                 const char *body)
{
    Skein__ApiCall c = SKEIN__API_CALL__INIT;
    c.method = (char *)method;
    c.path = (char *)path;
    c.query = (char *)query;
    c.has_body = body != NULL;
    c.body = (ProtobufCBinaryData){.data = (uint8_t *)body, .len = body != NULL ? strlen(body) : 0};
    effects_clear(&w->out);
    api_call(w->api, &w->c, 77, &c);
}

/* The answer that was given, which has this status; a new reference. */
static json_t *answered(struct world *w, unsigned status)
{
    struct effect *e = find_effect(w, EFFECT_ANSWER);
    assert_non_null(e);
    assert_int_equal(e->token, 77);
    json_t *body = json_loadb((char *)e->data, e->len, 0, NULL);
    assert_non_null(body);
    if (e->status != status)
        fail_msg("status %u, not %u: %s", e->status, status, (char *)e->data);
    return body;
}

static const char *text_at(const json_t *o, const char *path)
{
    char part[64];
    while (*path != '\0') {
        size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        bool index = json_is_array(o);
        o = index ? json_array_get(o, (size_t)strtoul(part, NULL, 10)) : json_object_get(o, part);
        path += n + (path[n] == '.');
    }
    return json_string_value(o);
}

static void assert_refused(struct world *w, unsigned status, const char *code, const char *part)
{
    _cleanup_json_ json_t *body = answered(w, status);
    assert_string_equal(text_at(body, "error.code"), code);
    if (strstr(text_at(body, "error.message"), part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", text_at(body, "error.message"), part);
}

/* ---- plans ---- */

static char *body_text(const char *class)
{
    _cleanup_json_ json_t *body = json_pack(
        "{s:s, s:s, s:{s:s}, s:s, s:[{s:[{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:i}}]}]}", "class",
        class, "reason", "hv1 is hot", "policy", "name", "thermal_relief", "snapshot_digest",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "steps", "actions",
        "id", "s1-1", "type", "migrate", "vm", "web1", "uuid", UUID, "from", "hv1", "to", "hv2",
        "reason", "coolest", "estimate", "ms", 14000);
    assert_non_null(body);
    char *text;
    size_t len;
    struct err err = {0};
    assert_ok(canon_dump(body, &text, &len, &err), &err);
    return text;
}

static void apply(struct world *w, Skein__Entry *entry)
{
    struct err err = {0};
    entry->has_at_ms = 1;
    entry->at_ms = (uint64_t)w->step.now.wall;
    assert_ok(state_apply(w->state, entry, ++w->index, 4, &err), &err);
}

/* A plan in the state; its digest in ret. */
static void add_plan(struct world *w, const char *class, const char *request,
                     char ret[HASH_HEX_SIZE])
{
    _cleanup_(freep) char *text = body_text(class);
    _cleanup_json_ json_t *body = json_loads(text, 0, NULL);
    struct err err = {0};
    assert_ok(canon_digest(PLAN_SCHEMA, body, ret, &err), &err);
    char id[PLAN_ID_SIZE];
    snprintf(id, sizeof id, "%.12s", ret);
    Skein__PlanPut put = SKEIN__PLAN_PUT__INIT;
    put.id = id;
    put.digest = ret;
    put.has_body = put.has_state = put.has_expires_at_ms = 1;
    put.body = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
    put.state = SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    put.expires_at_ms = WALL + 3600000;
    put.author = request != NULL ? (char *)"olga" : (char *)"planner";
    put.request = (char *)request;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_PLAN;
    entry.plan = &put;
    apply(w, &entry);
}

#define NONCE "00112233445566778899aabbccddeeff"

static char *approval(const char *person, unsigned roles, const char *type, const char *digest)
{
    return xasprintf("{\"person\":\"%s\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":"
                     "{\"type\":\"%s\",\"plan\":\"%.12s\",\"digest\":\"%s\"}}",
                     person, roles, type, digest, digest);
}

static char *migration(const char *uuid, const char *to)
{
    return xasprintf("{\"person\":\"olga\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":"
                     "{\"type\":\"migrate\",\"vm\":\"web1\",\"uuid\":\"%s\",\"to\":\"%s\"}}",
                     TRUST_OPERATOR, uuid, to);
}

/* Commits what was proposed, as the voters would, and tells the API. */
static void commit_proposal(struct world *w)
{
    struct effect *e = find_effect(w, EFFECT_PROPOSE);
    assert_non_null(e);
    assert_int_equal(token_owner(e->token), OWNER_API);
    struct err err = {0};
    Skein__Entry *entry;
    assert_ok(codec_entry(e->data, e->len, &entry, &err), &err);
    uint64_t token = e->token;
    entry->has_at_ms = 1;
    entry->at_ms = (uint64_t)w->step.now.wall;
    err = (struct err){0};
    state_apply(w->state, entry, ++w->index, 4, &err);
    skein_entry_free(entry);
    effects_clear(&w->out);
    api_proposed(w->api, &w->c, token, &err);
}

/* ---- reading ---- */

static void test_status(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE];
    add_plan(w, "safety", NULL, digest);
    call(w, "GET", "/v1/status", NULL, NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_string_equal(text_at(o, "cluster"), "dc1");
    assert_string_equal(text_at(o, "cluster_uuid"), CLUSTER_UUID);
    assert_string_equal(text_at(o, "planner.host"), "hv1");
    assert_string_equal(text_at(o, "idle_reason"), "nothing is hot");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "hosts"), "up")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "vms")), 1);
    assert_string_equal(text_at(o, "waiting.0.class"), "safety");
    /* hv3 was never heard of, and a policy fails */
    const json_t *health = json_object_get(o, "health");
    assert_int_equal(json_array_size(health), 2);
    assert_string_equal(text_at(health, "0.code"), "SKEIN_VOTER_DOWN");
    assert_string_equal(text_at(health, "1.code"), "SKEIN_POLICY_FAILS");
    world_free(w);
}

static void test_status_without_planner(void **unused _unused_)
{
    struct world *w = world_new("");
    call(w, "GET", "/v1/status", NULL, NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_true(json_is_null(json_object_get(o, "planner")));
    assert_non_null(strstr(text_at(o, "idle_reason"), "hv1 reaches 2 of 3 voters, 2 are needed"));
    assert_string_equal(text_at(o, "health.0.code"), "SKEIN_NO_PLANNER");
    assert_string_equal(text_at(o, "health.0.severity"), "error");
    world_free(w);
}

static void test_hosts_and_vms(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    w->step.now.mono += 4200;
    call(w, "GET", "/v1/hosts", NULL, NULL);
    _cleanup_json_ json_t *hosts = answered(w, 200);
    const json_t *first = json_array_get(json_object_get(hosts, "hosts"), 0);
    assert_string_equal(text_at(first, "name"), "hv1");
    assert_int_equal(json_integer_value(json_object_get(first, "age_seconds")), 4);
    assert_true(json_is_true(json_object_get(first, "planner")));
    call(w, "GET", "/v1/vms", NULL, NULL);
    _cleanup_json_ json_t *vms = answered(w, 200);
    assert_string_equal(text_at(vms, "vms.0.name"), "web1");
    assert_false(json_is_true(json_object_get(vms, "partial")));
    call(w, "GET", "/v1/snapshot", NULL, NULL);
    _cleanup_json_ json_t *snapshot = answered(w, 200);
    assert_string_equal(text_at(snapshot, "schema"), "skein.snapshot/1");
    world_free(w);
}

static void test_plans(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    call(w, "GET", "/v1/plans", "limit=5", NULL);
    _cleanup_json_ json_t *list = answered(w, 200);
    assert_string_equal(text_at(list, "plans.0.state"), "PENDING_APPROVAL");
    snprintf(path, sizeof path, "/v1/plans/%.6s", digest);
    call(w, "GET", path, NULL, NULL);
    _cleanup_json_ json_t *plan = answered(w, 200);
    assert_string_equal(text_at(plan, "digest"), digest);
    assert_non_null(strstr(text_at(plan, "gate.message"), "0 of 1 approvals"));
    snprintf(path, sizeof path, "/v1/plans/%.12s/report", digest);
    call(w, "GET", path, NULL, NULL);
    _cleanup_json_ json_t *report = answered(w, 200);
    assert_string_equal(text_at(report, "moves.0.vm"), "web1");
    world_free(w);
}

static void test_progress_of_a_running_move(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    _cleanup_(freep) char *text = approval("anna", TRUST_APPROVER, "approve", digest);
    snprintf(path, sizeof path, "/v1/plans/%.12s/approvals", digest);
    call(w, "POST", path, NULL, text);
    commit_proposal(w);
    char id[PLAN_ID_SIZE];
    snprintf(id, sizeof id, "%.12s", digest);
    Skein__PlanChange change = SKEIN__PLAN_CHANGE__INIT;
    change.plan = id;
    change.has_state = 1;
    change.state = SKEIN__PLAN_STATE__PLAN_ONGOING;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_CHANGE;
    entry.change = &change;
    apply(w, &entry);
    call(w, "GET", "/v1/report", NULL, NULL);
    assert_refused(w, 404, "NOT_FOUND", "no plan has been carried out yet");
    Skein__Permit permit = SKEIN__PERMIT__INIT;
    permit.id = (char *)NONCE;
    permit.plan = id;
    permit.digest = digest;
    permit.action = (char *)"s1-1";
    permit.source = (char *)"hv1";
    permit.destination = (char *)"hv2";
    permit.has_term = permit.has_issued_at_ms = permit.has_expires_at_ms = permit.has_attempt = 1;
    permit.term = 4;
    permit.issued_at_ms = WALL;
    permit.expires_at_ms = WALL + 15000;
    permit.attempt = 1;
    Skein__Entry second = SKEIN__ENTRY__INIT;
    second.kind_case = SKEIN__ENTRY__KIND_PERMIT;
    second.permit = &permit;
    apply(w, &second);
    progress.has_percent = progress.has_remaining_mib = progress.has_bandwidth_milli_mib_s = 1;
    progress.percent = 40;
    progress.remaining_mib = 4800;
    progress.bandwidth_milli_mib_s = 600000;
    call(w, "GET", "/v1/status", NULL, NULL);
    progress = (Skein__Progress)SKEIN__PROGRESS__INIT;
    _cleanup_json_ json_t *o = answered(w, 200);
    const json_t *flight = json_array_get(json_object_get(o, "in_flight"), 0);
    assert_string_equal(text_at(flight, "vm"), "web1");
    assert_int_equal(json_integer_value(json_object_get(flight, "percent")), 40);
    assert_int_equal(json_integer_value(json_object_get(flight, "eta_ms")), 8000);
    call(w, "GET", "/v1/report", NULL, NULL);
    _cleanup_json_ json_t *report = answered(w, 200);
    assert_string_equal(text_at(report, "digest"), digest);
    world_free(w);
}

static void test_wrong_paths(void **unused _unused_)
{
    static const struct {
        const char *method, *path, *query;
        unsigned status;
        const char *code, *part;
    } cases[] = {
        {"GET", "/v1/staus", NULL, 404, "NOT_FOUND", "try /v1/status"},
        {"GET", "/v1/plan", NULL, 404, "NOT_FOUND", "try /v1/plans"},
        {"GET", "/v1/pl\xff", NULL, 400, "INVALID", "printable ASCII"},
        {"GET", "/v1/plans", "limit=\n", 400, "INVALID", "printable ASCII"},
        {"GET", "/", NULL, 404, "NOT_FOUND", "there is no /"},
        {"GET", "/v1/plans/", NULL, 404, "NOT_FOUND", "there is no /v1/plans/"},
        {"GET", "/v1/plans/abc/report/x", NULL, 404, "NOT_FOUND", "there is no"},
        {"POST", "/v1/status", NULL, 405, "UNSUPPORTED", "try GET"},
        {"GET", "/v1/migrations", NULL, 405, "UNSUPPORTED", "try POST"},
        {"POST", "/v1/audit", NULL, 405, "UNSUPPORTED", "try GET"},
        {"DELETE", "/v1/plans/abc", NULL, 405, "UNSUPPORTED", "try GET"},
        {"GET", "/v1/plans/abc", NULL, 404, "NOT_FOUND", "there is no plan \"abc\""},
        {"GET", "/v1/plans", "limit=0", 400, "INVALID", "a number from 1"},
        {"GET", "/v1/plans", "limit=-1", 400, "INVALID", "a number from 1"},
        {"GET", "/v1/plans", "limit=5x", 400, "INVALID", "a number from 1"},
        {"GET", "/v1/plans", "limt=5", 400, "INVALID", "only limit is known"},
        {"GET", "/v1/plans", "limit=99999999999999999999999", 400, "INVALID", "a number from 1"},
    };

    struct world *w = world_new("hv1");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        call(w, cases[i].method, cases[i].path, cases[i].query, NULL);
        assert_refused(w, cases[i].status, cases[i].code, cases[i].part);
    }
    world_free(w);
}

/* ---- signed commands ---- */

static void test_approve(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    _cleanup_(freep) char *text = approval("anna", TRUST_APPROVER, "approve", digest);
    snprintf(path, sizeof path, "/v1/plans/%.12s/approvals", digest);
    call(w, "POST", path, NULL, text);
    assert_null(find_effect(w, EFFECT_ANSWER)); /* not before it is committed */
    commit_proposal(w);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_string_equal(text_at(o, "state"), "APPROVED");
    assert_string_equal(text_at(o, "person"), "anna");
    assert_string_equal(text_at(o, "verdict"), "approve");
    call(w, "POST", path, NULL, text); /* the same again */
    commit_proposal(w);
    assert_refused(w, 409, "EXISTS", "given before");
    world_free(w);
}

/* Refused before anything is proposed, and in the audit. */
static void assert_refused_here(struct world *w, const char *path, const char *body,
                                unsigned status, const char *code, const char *part)
{
    call(w, "POST", path, NULL, body);
    assert_null(find_effect(w, EFFECT_PROPOSE));
    assert_refused(w, status, code, part);
    struct effect *audit = find_effect(w, EFFECT_AUDIT);
    assert_non_null(audit);
    assert_string_equal(text_at(audit->record, "event"), "approval.refused");
    assert_string_equal(text_at(audit->record, "code"), code);
    assert_string_equal(text_at(audit->record, "path"), path);
}

static void test_refused_commands(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE], approvals[128], cancel[128];
    add_plan(w, "safety", NULL, digest);
    snprintf(approvals, sizeof approvals, "/v1/plans/%.12s/approvals", digest);
    snprintf(cancel, sizeof cancel, "/v1/plans/%.12s/cancel", digest);
    _cleanup_(freep) char *viewer = approval("vera", TRUST_VIEWER, "approve", digest);
    _cleanup_(freep) char *good = approval("anna", TRUST_APPROVER, "approve", digest);
    _cleanup_(freep) char *large = xmalloc(GATE_ENVELOPE_MAX + 2);
    memset(large, ' ', GATE_ENVELOPE_MAX + 1);
    large[GATE_ENVELOPE_MAX + 1] = '\0';
    _cleanup_(freep) char *nowhere = migration(UUID2, "hv2");
    _cleanup_(freep) char *no_host = migration(UUID, "hv9");
    _cleanup_(freep) char *stays = migration(UUID, "hv1");
    assert_refused_here(w, approvals, NULL, 400, "INVALID", "the body is empty");
    assert_refused_here(w, approvals, "{", 400, "INVALID", "envelope");
    assert_refused_here(w, approvals, "{}", 401, "UNAUTHENTICATED", "does not fit");
    assert_refused_here(w, approvals, viewer, 403, "DENIED", "vera has no role that may approve");
    assert_refused_here(w, approvals, large, 413, "LIMIT", "too large");
    assert_refused_here(w, cancel, good, 400, "INVALID", "does not belong to");
    assert_refused_here(w, "/v1/migrations", good, 400, "INVALID", "does not belong to");
    assert_refused_here(w, "/v1/plans/abcdef/approvals", good, 400, "INVALID", "is about plan");
    assert_refused_here(w, "/v1/migrations", nowhere, 404, "NOT_FOUND", "is on no host");
    assert_refused_here(w, "/v1/migrations", no_host, 404, "NOT_FOUND", "no host \"hv9\"");
    assert_refused_here(w, "/v1/migrations", stays, 409, "CONFLICT", "runs on hv1 already");
    world_free(w);
}

/* The digest of something else: the voters refuse it, and nothing changes. */
static void test_other_digest(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    snprintf(path, sizeof path, "/v1/plans/%.12s/approvals", digest);
    char other[HASH_HEX_SIZE];
    memcpy(other, digest, sizeof other);
    other[20] = other[20] == '0' ? '1' : '0';
    _cleanup_(freep) char *text = approval("anna", TRUST_APPROVER, "approve", other);
    call(w, "POST", path, NULL, text);
    commit_proposal(w);
    assert_refused(w, 403, "DENIED", "another digest");
    assert_int_equal(state_plan(w->state, digest)->state, SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL);
    world_free(w);
}

static void test_migrate(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    call(w, "POST", "/v1/migrations", NULL, text);
    commit_proposal(w);
    assert_null(find_effect(w, EFFECT_ANSWER)); /* there is no plan yet */
    w->step.now.mono += 500;
    api_tick(w->api, &w->c);
    assert_null(find_effect(w, EFFECT_ANSWER));
    char digest[HASH_HEX_SIZE];
    add_plan(w, "user", NONCE, digest);
    api_tick(w->api, &w->c);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_memory_equal(text_at(o, "plan"), digest, PLAN_ID_SIZE - 1);
    assert_string_equal(text_at(o, "state"), "PENDING_APPROVAL");
    effects_clear(&w->out);
    w->step.now.mono += API_TIMEOUT_MS;
    api_tick(w->api, &w->c);
    assert_int_equal(w->out.n, 0); /* answered once */
    world_free(w);
}

static void test_migrate_without_plan(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    call(w, "POST", "/v1/migrations", NULL, text);
    commit_proposal(w);
    Skein__RequestClose close = SKEIN__REQUEST_CLOSE__INIT;
    close.nonce = (char *)NONCE;
    close.reason = (char *)"hv2 lacks 2 GiB";
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_CLOSE;
    entry.close = &close;
    apply(w, &entry);
    api_tick(w->api, &w->c);
    assert_refused(w, 409, "CONFLICT", "no plan: hv2 lacks 2 GiB");
    world_free(w);
}

static void test_migrate_too_slow(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    call(w, "POST", "/v1/migrations", NULL, text);
    commit_proposal(w);
    w->step.now.mono += API_TIMEOUT_MS;
    api_tick(w->api, &w->c);
    assert_refused(w, 504, "TIMEOUT", "no plan for it yet; try: skein plan list");
    world_free(w);
}

/* ---- between agents ---- */

/* The one frame sent, to host; free it. */
static Skein__Frame *sent(struct world *w, const char *host)
{
    struct effect *e = find_effect(w, EFFECT_SEND);
    assert_non_null(e);
    assert_string_equal(e->key, host);
    Skein__Frame *frame;
    struct err err = {0};
    assert_ok(codec_frame(e->data, e->len, &frame, &err), &err);
    return frame;
}

static uint64_t asked(struct world *w, const char *host)
{
    _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, host);
    assert_int_equal(frame->kind_case, SKEIN__FRAME__KIND_REQUEST);
    assert_int_equal(token_owner(frame->request->id), OWNER_API);
    return frame->request->id;
}

static void reply(struct world *w, uint64_t id, unsigned status, const char *body, const char *code)
{
    Skein__ApiAnswer answer = SKEIN__API_ANSWER__INIT;
    Skein__Reply r = SKEIN__REPLY__INIT;
    r.has_id = 1;
    r.id = id;
    r.code = (char *)code;
    if (code == NULL) {
        r.kind_case = SKEIN__REPLY__KIND_API;
        r.api = &answer;
        answer.has_status = answer.has_body = 1;
        answer.status = status;
        answer.body = (ProtobufCBinaryData){.data = (uint8_t *)body, .len = strlen(body)};
    } else {
        r.message = (char *)body;
    }
    effects_clear(&w->out);
    api_reply(w->api, &w->c, "hv3", &r); /* who was not asked: nothing */
    assert_int_equal(w->out.n, 0);
    api_reply(w->api, &w->c, "hv2", &r);
}

static void test_relay(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/plans", "limit=3", "ignored");
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_string_equal(frame->request->api->path, "/v1/plans");
        assert_string_equal(frame->request->api->query, "limit=3");
        assert_int_equal(frame->request->api->body.len, 0);
    }
    uint64_t id = asked(w, "hv2");
    reply(w, id, 200, "{\"plans\":[],\"total\":0}", NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_true(json_is_array(json_object_get(o, "plans")));
    reply(w, id, 200, "{}", NULL); /* again: too late */
    assert_int_equal(w->out.n, 0);
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 200, "not JSON", NULL);
    assert_refused(w, 502, "UNAVAILABLE", "no sound answer");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 999, "{}", NULL);
    assert_refused(w, 502, "UNAVAILABLE", "no sound answer");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 0, "an answer of 2000 KiB", "LIMIT");
    assert_refused(w, 429, "LIMIT", "an answer of 2000 KiB");
    call(w, "GET", "/v1/plans", NULL, NULL);
    w->step.now.mono += API_TIMEOUT_MS;
    effects_clear(&w->out);
    api_tick(w->api, &w->c);
    assert_refused(w, 504, "TIMEOUT", "hv2 did not answer");
    world_free(w);
}

/* Waits for an election that brings nobody. */
static void call_in_vain(struct world *w)
{
    call(w, "GET", "/v1/plans", NULL, NULL);
    for (msec end = w->step.now.mono + 4900; w->step.now.mono < end; w->step.now.mono += 100) {
        api_tick(w->api, &w->c);
        assert_int_equal(w->out.n, 0);
    }
    w->step.now.mono += 400;
    api_tick(w->api, &w->c);
}

/* An election is under way, or the agent has just started: what comes meanwhile waits for it. */
static void test_relay_waits_for_an_election(void **unused _unused_)
{
    struct world *w = world_new("");
    call(w, "GET", "/v1/plans", NULL, NULL);
    for (int i = 0; i < 30; i++) {
        w->step.now.mono += 100;
        api_tick(w->api, &w->c);
        assert_int_equal(w->out.n, 0);
    }
    w->c.leader = "hv2";
    w->step.now.mono += 250;
    api_tick(w->api, &w->c);
    reply(w, asked(w, "hv2"), 200, "{\"plans\":[],\"total\":0}", NULL);
    json_decref(answered(w, 200));
    world_free(w);
}

static void test_relay_needs_a_planner(void **unused _unused_)
{
    struct world *w = world_new("");
    call_in_vain(w);
    assert_refused(w, 503, "UNAVAILABLE", "no planner is elected");
    w->c.leader = "hv3"; /* never linked */
    call_in_vain(w);
    assert_refused(w, 503, "UNAVAILABLE", "hv1 does not hear of the planner hv3");
    call(w, "GET", "/v1/vms", NULL, NULL); /* better than nothing */
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_true(json_is_true(json_object_get(o, "partial")));
    world_free(w);
}

/* The planner changes while a caller waits: reading calls go to the new one. */
static void test_relay_follows_the_planner(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 0, "hv2 does not plan", "NOT_LEADER");
    assert_int_equal(w->out.n, 0);
    w->c.leader = "hv1";
    w->step.now.mono += 250;
    api_tick(w->api, &w->c);
    json_decref(answered(w, 200));
    w->c.leader = "hv2";
    call(w, "GET", "/v1/plans", NULL, NULL);
    effects_clear(&w->out);
    w->c.leader = "hv1";
    api_tick(w->api, &w->c);
    json_decref(answered(w, 200));
    world_free(w);
}

static void test_relayed_command(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    snprintf(path, sizeof path, "/v1/plans/%.12s/approvals", digest);
    _cleanup_(freep) char *viewer = approval("vera", TRUST_VIEWER, "approve", digest);
    assert_refused_here(w, path, viewer, 403, "DENIED", "vera has no role that may approve");
    _cleanup_(freep) char *text = approval("anna", TRUST_APPROVER, "approve", digest);
    call(w, "POST", path, NULL, text);
    assert_null(find_effect(w, EFFECT_PROPOSE));
    asked(w, "hv2");
    effects_clear(&w->out);
    w->c.leader = "hv1"; /* it may have been recorded: not sent again */
    w->step.now.mono += 1000;
    api_tick(w->api, &w->c);
    assert_int_equal(w->out.n, 0);
    w->step.now.mono += API_TIMEOUT_MS;
    api_tick(w->api, &w->c);
    assert_refused(w, 504, "TIMEOUT", "it is not known whether this was recorded");
    world_free(w);
}

static void relayed(struct world *w, const char *method, const char *path, const char *body)
{
    Skein__ApiCall c = SKEIN__API_CALL__INIT;
    c.method = (char *)method;
    c.path = (char *)path;
    c.has_body = body != NULL;
    c.body = (ProtobufCBinaryData){.data = (uint8_t *)body, .len = body != NULL ? strlen(body) : 0};
    effects_clear(&w->out);
    api_relayed(w->api, &w->c, "hv2", 99, &c);
}

static void test_answers_to_others(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    relayed(w, "GET", "/v1/plans", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->id, 99);
        assert_int_equal(frame->reply->api->status, 200);
    }
    relayed(w, "GET", "/v1/nothing", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->api->status, 404);
    }
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    relayed(w, "POST", "/v1/migrations", text);
    commit_proposal(w);
    w->step.now.mono += API_TIMEOUT_MS - 1000; /* before the asker gives up */
    api_tick(w->api, &w->c);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->api->status, 504);
    }
    w->c.leader = "hv3";
    relayed(w, "GET", "/v1/plans", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_string_equal(frame->reply->code, "NOT_LEADER");
        assert_non_null(strstr(frame->reply->message, "hv3 does"));
    }
    relayed(w, NULL, NULL, NULL);
    world_free(w);
}

static void test_status_is_completed_by_the_planner(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/status", NULL, NULL);
    reply(w, asked(w, "hv2"), 200,
          "{\"idle_reason\":\"a plan waits\",\"plans\":{\"ONGOING\":1},\"host\":\"hv2\","
          "\"health\":[{\"code\":\"SKEIN_VOTER_DOWN\",\"about\":\"hv3\"},"
          "{\"code\":\"SKEIN_NEEDS_OPERATOR\",\"about\":\"abc\"}]}",
          NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_string_equal(text_at(o, "host"), "hv1"); /* its own */
    assert_string_equal(text_at(o, "idle_reason"), "a plan waits");
    assert_int_equal(json_array_size(json_object_get(o, "health")), 2); /* hv3 said once */
    call(w, "GET", "/v1/status", NULL, NULL);
    effects_clear(&w->out);
    w->step.now.mono += 2000;
    api_tick(w->api, &w->c);
    _cleanup_json_ json_t *alone = answered(w, 200);
    assert_string_equal(text_at(alone, "idle_reason"), "the planner hv2 does not answer");
    world_free(w);
}

static void test_bounded_waiting(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    for (int i = 0; i < 256; i++)
        call(w, "GET", "/v1/plans", NULL, NULL);
    call(w, "GET", "/v1/plans", NULL, NULL);
    assert_refused(w, 503, "UNAVAILABLE", "256 calls wait already");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_without_planner),
        cmocka_unit_test(test_hosts_and_vms),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_progress_of_a_running_move),
        cmocka_unit_test(test_wrong_paths),
        cmocka_unit_test(test_approve),
        cmocka_unit_test(test_refused_commands),
        cmocka_unit_test(test_other_digest),
        cmocka_unit_test(test_migrate),
        cmocka_unit_test(test_migrate_without_plan),
        cmocka_unit_test(test_migrate_too_slow),
        cmocka_unit_test(test_relay),
        cmocka_unit_test(test_relay_needs_a_planner),
        cmocka_unit_test(test_relay_waits_for_an_election),
        cmocka_unit_test(test_relay_follows_the_planner),
        cmocka_unit_test(test_relayed_command),
        cmocka_unit_test(test_answers_to_others),
        cmocka_unit_test(test_status_is_completed_by_the_planner),
        cmocka_unit_test(test_bounded_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
