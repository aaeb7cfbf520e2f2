#include "tests/lib/test.h"

#include "tests/lib/plans.h"

static const struct test_move two_steps[] = {
    {0, 1, "hv1", "hv2"}, {0, 2, "hv1", "hv3"}, {1, 3, "hv2", "hv1"}};

static struct plan *make_plan(void)
{
    struct err err = {0};
    struct plan *p = NULL;
    size_t len;
    _cleanup_(freep) char *body =
        test_body("thermal_relief", "safety", 1, NULL, two_steps, 3, &len);
    _cleanup_(skein_entry_freep) Skein__Entry *e = test_put(NOW, body, len, NULL, NULL);
    assert_ok(plan_new(e->plan, &p, &err), &err);
    return p;
}

static void a_body_is_read(void **state)
{
    (void)state;
    _cleanup_(plan_freep) struct plan *p = make_plan();
    assert_int_equal(p->body->n_moves, 3);
    assert_int_equal(p->body->n_steps, 2);
    assert_string_equal(p->body->policy, "thermal_relief");
    assert_string_equal(p->body->moves[2].from, "hv2");
    assert_int_equal(p->body->moves[2].step, 1);
    assert_int_equal(p->body->moves[0].estimate_mib, 512);
    assert_non_null(plan_body_move(p->body, "s1-1"));
    assert_null(plan_body_move(p->body, "s9-9"));
}

/* The planner's own reader computes the same digest and id. */
static void the_digest_is_the_planners(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(plan_freep) struct plan *p = make_plan();
    _cleanup_json_ json_t *body = NULL;
    assert_ok(canon_parse((const char *)p->put->body.data, p->put->body.len, "b", &body, &err),
              &err);
    char digest[HASH_HEX_SIZE], id[PLAN_ID_SIZE];
    assert_ok(plan_body_digest(body, digest, &err), &err);
    plan_id(digest, id);
    assert_string_equal(digest, p->body->digest);
    assert_string_equal(id, p->body->id);
}

/* Replaces one piece of a good body's text and expects this refusal. */
static void expect_refusal(const char *piece, const char *with, enum err_code code,
                           const char *message)
{
    struct err err = {0};
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "safety", 1, NULL, two_steps, 3, &len);
    const char *at = strstr(body, piece);
    if (at == NULL)
        fail_msg("the body has no %s", piece);
    _cleanup_(freep) char *bad =
        xasprintf("%.*s%s%s", (int)(at - body), body, with, at + strlen(piece));
    struct plan_body *b = NULL;
    assert_err(plan_body_parse((uint8_t *)bad, strlen(bad), &b, &err), &err, code, message);
    assert_null(b);
}

static void bad_bodies_are_refused_by_place(void **state)
{
    (void)state;
    expect_refusal("\"migrate\"", "\"resume\"", ERR_UNSUPPORTED, "steps[0].actions[0].type");
    expect_refusal("\"migrate\"", "\"shutdown\"", ERR_INVALID, "the VM is to stay");
    expect_refusal("\"precopy\"", "\"teleport\"", ERR_UNSUPPORTED, "parameters.mode");
    expect_refusal("\"precopy\"", "\"postcopy\",\"parallel\":4", ERR_UNSUPPORTED, "multifd");
    expect_refusal("\"mode\":", "\"copy_storage\":\"some\",\"mode\":", ERR_INVALID, "copy_storage");
    expect_refusal("\"mode\":", "\"disks\":[\"vda\"],\"mode\":", ERR_INVALID,
                   "none is to be copied");
    expect_refusal("\"tls\":true", "\"tls\":false", ERR_UNSUPPORTED, "over TLS only");
    expect_refusal("\"vm\":\"vm1\"", "\"vm\":\"\"", ERR_INVALID, "actions[0].vm");
    expect_refusal("\"vm\":\"vm1\"", "\"vm\":\"a\\nb\"", ERR_INVALID, "control character");
    expect_refusal("00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000001",
                   ERR_INVALID, "moves twice in one step");
    expect_refusal("00000000-0000-4000-8000-000000000002", "x", ERR_INVALID, "not a UUID");
    expect_refusal("\"s1-1\"", "\"s1-0\"", ERR_INVALID, "there twice");
    expect_refusal("\"to\":\"hv2\"", "\"to\":\"hv1\"", ERR_INVALID, "the same host");
    expect_refusal("\"ms\":4000", "\"ms\":-1", ERR_INVALID, "estimate.ms");
    expect_refusal("\"ms\":4000", "\"ms\":\"4\"", ERR_INVALID, "estimate.ms");
    expect_refusal("\"class\":\"safety\",", "", ERR_INVALID, "plan.class");
    expect_refusal("\"steps\":", "\"stairs\":", ERR_INVALID, "plan.steps");
    expect_refusal("\"snapshot_digest\":\"0", "\"snapshot_digest\":\"x", ERR_INVALID,
                   "not a digest");
    expect_refusal("{", "{\"class\":\"a\",", ERR_INVALID, "plan:1:");
    expect_refusal("{", "[", ERR_INVALID, "plan:1:");
}

static void truncated_bodies_never_parse(void **state)
{
    (void)state;
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "safety", 1, NULL, two_steps, 3, &len);
    for (size_t n = 0; n < len; n++) {
        struct err err = {0};
        struct plan_body *b = NULL;
        assert_true(plan_body_parse((uint8_t *)body, n, &b, &err) < 0);
        assert_null(b);
    }
}

static void a_put_with_another_digest_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct plan *p = NULL;
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "safety", 1, NULL, two_steps, 3, &len);
    _cleanup_(skein_entry_freep) Skein__Entry *e = test_put(NOW, body, len, NULL, NULL);
    e->plan->digest[20] = e->plan->digest[20] == '0' ? '1' : '0';
    assert_err(plan_new(e->plan, &p, &err), &err, ERR_INVALID, "not the body's");
}

static void same_moves_in_any_order(void **state)
{
    (void)state;
    const struct test_move turned[] = {
        {0, 2, "hv1", "hv3"}, {0, 1, "hv1", "hv2"}, {1, 3, "hv2", "hv1"}};
    const struct test_move other[] = {
        {0, 2, "hv1", "hv2"}, {0, 1, "hv1", "hv2"}, {1, 3, "hv2", "hv1"}};

    struct {
        const struct test_move *moves;
        const char *policy;
        bool same;
    } cases[] = {{turned, "p", true}, {other, "p", false}, {turned, "q", false}};

    size_t len;
    struct err err = {0};
    _cleanup_(freep) char *text = test_body("p", "safety", 1, NULL, two_steps, 3, &len);
    _cleanup_(plan_body_freep) struct plan_body *a = NULL;
    assert_ok(plan_body_parse((uint8_t *)text, len, &a, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *t =
            test_body(cases[i].policy, "safety", 2, NULL, cases[i].moves, 3, &len);
        _cleanup_(plan_body_freep) struct plan_body *b = NULL;
        assert_ok(plan_body_parse((uint8_t *)t, len, &b, &err), &err);
        assert_int_equal(plan_body_same_moves(a, b), cases[i].same);
    }
}

static void ended_states_have_no_successor(void **state)
{
    (void)state;
    for (int from = 0; from <= SKEIN__PLAN_STATE__PLAN_REJECTED; from++) {
        bool any = false;
        for (int to = 0; to <= SKEIN__PLAN_STATE__PLAN_REJECTED; to++) {
            bool allowed = plan_transition_allowed((Skein__PlanState)from, (Skein__PlanState)to);
            any = any || allowed;
            assert_false(allowed && from == to);
        }
        assert_int_equal(any, !plan_state_ended((Skein__PlanState)from));
        assert_false(plan_state_running((Skein__PlanState)from) &&
                     plan_state_ended((Skein__PlanState)from));
    }
    assert_false(plan_transition_allowed((Skein__PlanState)99, SKEIN__PLAN_STATE__PLAN_DRAFT));
    assert_false(plan_transition_allowed(SKEIN__PLAN_STATE__PLAN_DRAFT, (Skein__PlanState)99));
    assert_false(plan_report_allowed((Skein__ActionState)99, (Skein__ActionState)99));
    assert_string_equal(plan_state_name(SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL),
                        "PENDING_APPROVAL");
    assert_string_equal(plan_action_name(SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR),
                        "NEEDS_OPERATOR");
    assert_string_equal(plan_state_name((Skein__PlanState)99), "UNKNOWN");
}

static void the_invariant_names_what_is_wrong(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(plan_freep) struct plan *p = make_plan();
    assert_ok(plan_invariant(p, &err), &err);
    p->state = SKEIN__PLAN_STATE__PLAN_ONGOING;
    assert_err(plan_invariant(p, &err), &err, ERR_INTERNAL, "without an approval");
    p->state = SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    _cleanup_(skein_entry_freep) Skein__Entry *e = test_permit(NOW, p, "s1-0", 1, 1);
    p->items[0].permit = (Skein__Permit *)codec_copy(&e->permit->base);
    assert_err(plan_invariant(p, &err), &err, ERR_INTERNAL, "never ran");
}

static void the_document_has_the_contracts_form(void **state)
{
    (void)state;
    _cleanup_(plan_freep) struct plan *p = make_plan();
    p->made_in_term = 7;
    p->made_at = NOW;
    _cleanup_json_ json_t *doc = plan_doc(p);
    assert_string_equal(json_string_value(json_object_get(doc, "schema")), PLAN_SCHEMA);
    assert_string_equal(json_string_value(json_object_get(doc, "id")), p->body->id);
    assert_string_equal(json_string_value(json_object_get(doc, "digest")), p->body->digest);
    assert_int_equal(json_integer_value(json_object_get(doc, "made_in_term")), 7);
    assert_true(json_is_array(json_object_get(doc, "approvals")));
    assert_int_equal(json_array_size(json_object_get(doc, "results")), 0);
    struct err err = {0};
    char digest[HASH_HEX_SIZE];
    assert_ok(canon_digest(PLAN_SCHEMA, json_object_get(doc, "body"), digest, &err), &err);
    assert_string_equal(digest, p->body->digest);
    _cleanup_json_ json_t *line = plan_summary(p), *report = plan_report(p);
    assert_int_equal(json_integer_value(json_object_get(line, "actions")), 3);
    assert_int_equal(json_array_size(json_object_get(report, "moves")), 3);
    json_t *totals = json_object_get(report, "totals");
    assert_true(json_is_null(json_object_get(totals, "duration_ms")));
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(totals, "predicted"), "transferred_mib")),
                     3 * 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_read),
        cmocka_unit_test(the_digest_is_the_planners),
        cmocka_unit_test(bad_bodies_are_refused_by_place),
        cmocka_unit_test(truncated_bodies_never_parse),
        cmocka_unit_test(a_put_with_another_digest_is_refused),
        cmocka_unit_test(same_moves_in_any_order),
        cmocka_unit_test(ended_states_have_no_successor),
        cmocka_unit_test(the_invariant_names_what_is_wrong),
        cmocka_unit_test(the_document_has_the_contracts_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
