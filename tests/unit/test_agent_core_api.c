/* The API's answers: what is read, and what people sign. */
#include "tests/unit/api_fixture.h"

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

/* ---- tokens ---- */

#define USE "{\"proof\":\"%s\",\"request\":\"%s\",\"host\":\"hv9\",\"role\":\"agent\"}"
#define SECRET "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static void learn_tokens(struct world *w, const char *host)
{
    Skein__HostCapability capability = SKEIN__HOST_CAPABILITY__INIT;
    capability.host = (char *)(uintptr_t)host;
    capability.has_tokens = capability.tokens = 1;
    view_capability(w->view, &capability, w->step.now);
}

static struct world *world_with_tokens(void)
{
    struct world *w = world_new("hv1");
    for (size_t i = 0; i < ARRAY_SIZE(voters); i++)
        learn_tokens(w, voters[i]);
    return w;
}

/* A voter that does not know tokens would disagree; a host that is there is not replaced by
 * mistake. */
static void test_tokens_that_are_not_given(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    static const char form[] =
        "{\"person\":\"anna\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":{\"type\":"
        "\"token-create\",\"host\":\"%s\",\"role\":\"agent\",\"hash\":\"" SECRET "\"%s}}";
    _cleanup_(freep) char *new = xasprintf(form, TRUST_ADMIN, "hv9", "");
    _cleanup_(freep) char *member = xasprintf(form, TRUST_ADMIN, "hv2", "");
    _cleanup_(freep) char *voter = xasprintf(form, TRUST_ADMIN, "hv3", "");
    _cleanup_(freep) char *replaced = xasprintf(form, TRUST_ADMIN, "hv3", ",\"replace\":true");
    _cleanup_(freep) char *odd = xasprintf(form, TRUST_ADMIN, "hv9", ",\"replace\":1");
    learn_tokens(w, "hv1");
    learn_tokens(w, "hv2");
    assert_refused_here(w, "/v1/tokens", new, 503, "UNAVAILABLE", "not all voters");
    learn_tokens(w, "hv3");
    assert_refused_here(w, "/v1/tokens", member, 409, "CONFLICT", "--replace");
    assert_refused_here(w, "/v1/tokens", voter, 409, "CONFLICT", "--replace");
    assert_refused_here(w, "/v1/tokens", odd, 400, "INVALID", "replace");
    call(w, "POST", "/v1/tokens", NULL, replaced);
    commit_proposal(w);
    json_decref(answered(w, 200));
    world_free(w);
}

static void test_tokens(void **unused _unused_)
{
    struct world *w = world_with_tokens();
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    assert_true(token_proof(SECRET, proof) && token_hash(proof, hash));
    _cleanup_(freep) char *create =
        xasprintf("{\"person\":\"anna\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":{\"type\":"
                  "\"token-create\",\"host\":\"hv9\",\"role\":\"agent\",\"hash\":\"%s\"}}",
                  TRUST_ADMIN, hash);
    _cleanup_(freep) char *use = xasprintf(USE, proof, hash);
    call(w, "POST", "/v1/tokens/use", NULL, use); /* there is none yet: nothing is proposed */
    assert_null(find_effect(w, EFFECT_PROPOSE));
    assert_refused(w, 404, "NOT_FOUND", "no such token");
    assert_string_equal(text_at(find_effect(w, EFFECT_AUDIT)->record, "event"), "token.refused");
    call(w, "POST", "/v1/tokens/use", NULL, use); /* guesses fill no audit */
    assert_refused(w, 404, "NOT_FOUND", "no such token");
    assert_null(find_effect(w, EFFECT_AUDIT));
    w->step.now.mono += 60000;
    call(w, "POST", "/v1/tokens/use", NULL, use);
    assert_int_equal(
        json_integer_value(json_object_get(find_effect(w, EFFECT_AUDIT)->record, "untold")), 1);
    w->step.now.mono -= 60000;
    assert_refused_here(w, "/v1/rules", create, 400, "INVALID", "does not belong to");
    call(w, "POST", "/v1/tokens", NULL, create);
    commit_proposal(w);
    _cleanup_json_ json_t *made = answered(w, 200);
    assert_memory_equal(text_at(made, "token"), hash, 12);
    call(w, "POST", "/v1/tokens/use", NULL, "{\"proof\":\"x\"}");
    assert_refused(w, 400, "INVALID", "wants proof and request");
    call(w, "POST", "/v1/tokens/use", NULL, use);
    assert_null(find_effect(w, EFFECT_ANSWER)); /* not before it is committed */
    commit_proposal(w);
    _cleanup_json_ json_t *used = answered(w, 200);
    assert_string_equal(text_at(used, "hash"), hash);
    assert_string_equal(text_at(used, "envelope"), create);
    call(w, "POST", "/v1/tokens/use", NULL, use);
    assert_refused(w, 409, "CONFLICT", "used already");
    call(w, "GET", "/v1/tokens", NULL, NULL);
    _cleanup_json_ json_t *list = answered(w, 200);
    assert_string_equal(text_at(list, "tokens.0.status"), "used");
    assert_string_equal(text_at(list, "tokens.0.used.issuer"), "hv1");
    assert_string_equal(text_at(list, "tokens.0.created.person"), "anna");
    _cleanup_(freep) char *shown = json_dumps(list, 0);
    assert_null(strstr(shown, proof));
    world_free(w);
}

/* Two joiners at once: both are proposed before either is committed. */
static void test_a_token_used_twice_at_once(void **unused _unused_)
{
    struct world *w = world_with_tokens();
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    assert_true(token_proof(SECRET, proof) && token_hash(proof, hash));
    _cleanup_(freep) char *create =
        xasprintf("{\"person\":\"anna\",\"roles\":%u,\"nonce\":\"" NONCE "\",\"command\":{\"type\":"
                  "\"token-create\",\"host\":\"hv9\",\"role\":\"agent\",\"hash\":\"%s\"}}",
                  TRUST_ADMIN, hash);
    _cleanup_(freep) char *use = xasprintf(USE, proof, hash);
    call(w, "POST", "/v1/tokens", NULL, create);
    commit_proposal(w);
    struct effects first = {0};
    call(w, "POST", "/v1/tokens/use", NULL, use);
    first = w->out;
    w->out = (struct effects){0};
    call(w, "POST", "/v1/tokens/use", NULL, use);
    struct effects second = w->out;
    w->out = first;
    commit_proposal(w);
    json_decref(answered(w, 200));
    effects_clear(&w->out);
    w->out = second;
    commit_proposal(w);
    assert_refused(w, 409, "CONFLICT", "used already");
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
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_tokens_that_are_not_given),
        cmocka_unit_test(test_a_token_used_twice_at_once),
        cmocka_unit_test(test_approve),
        cmocka_unit_test(test_refused_commands),
        cmocka_unit_test(test_other_digest),
        cmocka_unit_test(test_migrate),
        cmocka_unit_test(test_migrate_without_plan),
        cmocka_unit_test(test_migrate_too_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
