/* api_fixture.h - one agent's API with a hand-built view and state; people's envelopes are plain
 * JSON here, and the planner's duty is a stand-in. */
#ifndef SKEIN_TESTS_UNIT_API_FIXTURE_H
#define SKEIN_TESTS_UNIT_API_FIXTURE_H

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

static inline int fake_verify(void *arg _unused_, const uint8_t *bytes, size_t len, msec wall,
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

static inline void add_host(struct world *w, const char *name, bool own)
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

static inline struct world *world_new(const char *leader)
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

static inline void world_free(struct world *w)
{
    effects_clear(&w->out);
    api_free(w->api);
    state_free(w->state);
    view_free(w->view);
    free(w);
}

static inline struct effect *find_effect(struct world *w, enum effect_kind kind)
{
    struct effect *found = NULL;
    for (size_t i = 0; i < w->out.n; i++)
        if (w->out.items[i].kind == kind) {
            assert_null(found); /* one of a kind */
            found = &w->out.items[i];
        }
    return found;
}

static inline void call(struct world *w, const char *method, const char *path, const char *query,
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
static inline json_t *answered(struct world *w, unsigned status)
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

static inline const char *text_at(const json_t *o, const char *path)
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

static inline void assert_refused(struct world *w, unsigned status, const char *code,
                                  const char *part)
{
    _cleanup_json_ json_t *body = answered(w, status);
    assert_string_equal(text_at(body, "error.code"), code);
    if (strstr(text_at(body, "error.message"), part) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", text_at(body, "error.message"), part);
}

/* ---- plans ---- */

static inline char *body_text(const char *class)
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

static inline void apply(struct world *w, Skein__Entry *entry)
{
    struct err err = {0};
    entry->has_at_ms = 1;
    entry->at_ms = (uint64_t)w->step.now.wall;
    assert_ok(state_apply(w->state, entry, ++w->index, 4, &err), &err);
}

/* A plan in the state; its digest in ret. */
static inline void add_plan(struct world *w, const char *class, const char *request,
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

static inline char *approval(const char *person, unsigned roles, const char *type,
                             const char *digest)
{
    return xasprintf("{\"person\":\"%s\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":"
                     "{\"type\":\"%s\",\"plan\":\"%.12s\",\"digest\":\"%s\"}}",
                     person, roles, type, digest, digest);
}

static inline char *migration(const char *uuid, const char *to)
{
    return xasprintf("{\"person\":\"olga\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":"
                     "{\"type\":\"migrate\",\"vm\":\"web1\",\"uuid\":\"%s\",\"to\":\"%s\"}}",
                     TRUST_OPERATOR, uuid, to);
}

/* Commits what was proposed, as the voters would, and tells the API. */
static inline void commit_proposal(struct world *w)
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

/* Refused before anything is proposed, and in the audit. */
static inline void assert_refused_here(struct world *w, const char *path, const char *body,
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

#endif
