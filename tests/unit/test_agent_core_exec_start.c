/* What may start a move, and what must not: source and destination refuse by themselves, whatever
 * planner and voters make of it. */
#include "tests/unit/acting_world.h"

/* The agent asked refuses, says so in its audit, and nothing is started or held. */
static void refused(struct attempt *t, enum err_code code, const char *side)
{
    struct world *w = &t->w;
    run(w, 15000);
    if (!w->replied || w->last_reply.code != code)
        fail_msg("%s: %s wanted, got %s %s", side, err_name(code), err_name(w->last_reply.code),
                 w->last_reply.msg);
    assert_int_equal(w->audits_refused, 1);
    assert_int_equal(exec_count(w->hosts[0].exec), 0);
    assert_int_equal(reserve_count(w->hosts[2].reserve), 0);
    assert_int_equal(w->migrate_calls[1], 0);
    attempt_done(t);
}

static void refused_by_both(void (*spoil)(struct attempt *t), enum err_code code)
{
    struct attempt t;
    attempt_init(&t);
    spoil(&t);
    send_start(&t.w, 1, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    refused(&t, code, "source");
    attempt_init(&t);
    spoil(&t);
    send_reserve(&t, 0, "hv3");
    refused(&t, code, "destination");
}

/* The source asks the hooks itself, whatever the planner says. */
static void hook_says(struct attempt *t, enum err_code code)
{
    struct err err = {0};
    _cleanup_json_ json_t *list = json_loads("[{\"name\":\"asks\",\"hook\":\"ask\"}]", 0, NULL);
    attempt_init(t);
    assert_ok(gate_rules_read(list, &fake_rules, &err), &err);
    if (code != ERR_OK)
        err_set(&t->w.hook_says, code, "its hook does not say yes");
    send_start(&t->w, 1, "hv1", &t->permit, &t->body, t->approvals, t->n_approvals, false);
    run(&t->w, 20000);
    assert_int_equal(t->w.hooks_asked, 1);
    assert_int_equal(t->w.migrate_calls[1], code == ERR_OK);
}

static void the_source_asks_hooks(void **state)
{
    (void)state;
    struct attempt t;
    hook_says(&t, ERR_OK);
    attempt_done(&t);
    hook_says(&t, ERR_DENIED);
    assert_int_equal(exec_count(t.w.hosts[0].exec), 1); /* its end is remembered */
    assert_int_equal(exec_active(t.w.hosts[0].exec), 0);
    attempt_done(&t);
    hook_says(&t, ERR_UNAVAILABLE); /* nothing was begun: a new permit may try again */
    assert_int_equal(exec_count(t.w.hosts[0].exec), 0);
    attempt_done(&t);
}

static void the_honest_attempt_starts(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    send_start(&t.w, 1, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    run(&t.w, 20000);
    assert_int_equal(t.w.migrate_calls[1], 1);
    assert_int_equal(t.w.audits_refused, 0);
    /* and again: the same answer, no second start */
    send_start(&t.w, 1, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    run(&t.w, 1000);
    assert_int_equal(t.w.last_report, SKEIN__ACTION_STATE__ACTION_SUCCEEDED);
    assert_int_equal(t.w.migrate_calls[1], 1);
    attempt_done(&t);
}

static void alter_body(struct attempt *t)
{
    char *reason = memmem(t->body.data, t->body.len, "heat", 4);
    assert_non_null(reason);
    reason[0] ^= 1; /* one letter of an action's reason */
}

static void an_altered_body_is_refused(void **state)
{
    (void)state;
    refused_by_both(alter_body, ERR_DENIED);
}

static void take_approval_away(struct attempt *t)
{
    free(t->approvals[0].data);
    t->n_approvals = 0;
}

static void no_approval_is_refused(void **state)
{
    (void)state;
    refused_by_both(take_approval_away, ERR_DENIED);
}

static const struct {
    unsigned roles;
    const char *cluster;
    bool forged;
    msec expires;
} bad_approvals[] = {
    {TRUST_VIEWER, CLUSTER, false, WORLD_WALL + 86400000},
    {TRUST_OPERATOR, CLUSTER, false, WORLD_WALL + 86400000},
    {TRUST_APPROVER, "22222222-2222-2222-2222-222222222222", false, WORLD_WALL + 86400000},
    {TRUST_APPROVER, CLUSTER, true, WORLD_WALL + 86400000},
    {TRUST_APPROVER, CLUSTER, false, WORLD_WALL + 2500},
};

static size_t bad_approval;

static void spoil_approval(struct attempt *t)
{
    size_t i = bad_approval;
    replace_approval(t, envelope(&t->w, "vera", bad_approvals[i].roles, "approve",
                                 bad_approvals[i].cluster, bad_approvals[i].forged,
                                 bad_approvals[i].expires));
}

static void other_peoples_approvals_are_refused(void **state)
{
    (void)state;
    for (bad_approval = 0; bad_approval < ARRAY_SIZE(bad_approvals); bad_approval++)
        refused_by_both(spoil_approval, ERR_DENIED);
}

/* What admins signed holds for whoever acts, whatever planner and voters make of it. */
static const char *signed_rules;

static void sign_rules(struct attempt *t)
{
    (void)t;
    struct err err = {0};
    _cleanup_json_ json_t *list = json_loads(signed_rules, 0, NULL);
    assert_ok(gate_rules_read(list, &fake_rules, &err), &err);
}

static void sign_rules_and_approve_twice(struct attempt *t)
{
    sign_rules(t);
    assert_int_equal(t->n_approvals, 1);
    char *again = xasprintf("%.*s ", (int)t->approvals[0].len, (char *)t->approvals[0].data);
    t->approvals[t->n_approvals++] = (ProtobufCBinaryData){strlen(again), (uint8_t *)again};
}

static void gate_rules_bind_both(void **state)
{
    (void)state;
    signed_rules = "[{\"name\":\"two\",\"approvers\":2}]";
    refused_by_both(sign_rules, ERR_DENIED);
    refused_by_both(sign_rules_and_approve_twice, ERR_DENIED);
    signed_rules = "[{\"name\":\"gold\",\"tags\":{\"tier\":\"gold\"},\"approvers\":2}]";
    refused_by_both(sign_rules, ERR_DENIED);
    signed_rules = "[{\"name\":\"change\",\"ticket\":\"CHG.*\"}]";
    refused_by_both(sign_rules, ERR_DENIED);
    msec hour = WORLD_WALL / 3600000 % 24;
    _cleanup_(freep) char *past =
        xasprintf("[{\"name\":\"night\",\"windows\":[\"%02d:00-%02d:00\"],\"overrun_minutes\":30}]",
                  (int)(hour + 20) % 24, (int)(hour + 22) % 24);
    signed_rules = past;
    refused_by_both(sign_rules, ERR_UNAVAILABLE);
}

static void rules_for_others_do_not_bind(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    signed_rules = "[{\"name\":\"silver\",\"tags\":{\"tier\":\"silver\"},\"approvers\":2}]";
    sign_rules(&t);
    send_start(&t.w, 1, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    run(&t.w, 20000);
    assert_int_equal(t.w.migrate_calls[1], 1);
    attempt_done(&t);
}

static void forge_permit(struct attempt *t)
{
    t->id[3] = t->id[3] == 'a' ? 'b' : 'a'; /* no voter knows it */
}

static void lengthen_permit(struct attempt *t)
{
    t->permit.expires_at_ms += 200000;
}

static void use_other_permit(struct attempt *t) /* good for a2, used for another action */
{
    t->permit.action = (char *)"a1";
}

static void permits_that_nobody_gave_are_refused(void **state)
{
    (void)state;
    refused_by_both(forge_permit, ERR_TIMEOUT);
    refused_by_both(lengthen_permit, ERR_STALE);
    refused_by_both(use_other_permit, ERR_DENIED);
}

static void let_time_pass(struct attempt *t)
{
    run(&t->w, 11000);
}

static void set_clock_back(struct attempt *t) /* of both who check */
{
    t->w.hosts[0].skew = t->w.hosts[2].skew = -5000;
}

static void permits_of_another_time_are_refused(void **state)
{
    (void)state;
    refused_by_both(let_time_pass, ERR_EXPIRED);
    refused_by_both(set_clock_back, ERR_DENIED);
}

static void elect_another(struct attempt *t) /* nothing committed yet: voters know by their vote */
{
    t->w.term++;
    run(&t->w, 200);
}

static void permits_of_an_old_term_are_refused(void **state)
{
    (void)state;
    refused_by_both(elect_another, ERR_STALE);
}

static void cancel_plan(struct attempt *t)
{
    commit_envelope(&t->w, "bert", "cancel");
}

static void a_cancelled_plan_is_not_started(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    cancel_plan(&t);
    send_start(&t.w, 1, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    refused(&t, ERR_CANCELLED, "source");
    attempt_init(&t);
    cancel_plan(&t);
    send_reserve(&t, 0, "hv3");
    refused(&t, ERR_STALE, "destination");
}

static void cut_voters(struct attempt *t)
{
    for (int i = 0; i < HOSTS; i++)
        for (int k = 0; k < HOSTS; k++)
            t->w.cut_until[i][k] = t->w.now + 600000;
}

static void a_minority_of_voters_is_not_enough(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    cut_voters(&t);
    send_start(&t.w, 0, "hv1", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    t.w.leader = 0;
    run(&t.w, 12000);
    assert_non_null(strstr(t.w.last_reply.msg, "1 of 3 voters, 2 are needed"));
    refused(&t, ERR_TIMEOUT, "source");
}

static void only_the_source_may_ask_to_reserve(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    send_reserve(&t, 1, "hv3"); /* hv2 asks, the permit is hv1's */
    run(&t.w, 3000);
    assert_int_equal(t.w.last_reply.code, ERR_DENIED);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    send_start(&t.w, 1, "hv2", &t.permit, &t.body, t.approvals, t.n_approvals, false);
    run(&t.w, 3000);
    assert_int_equal(t.w.last_reply.code, ERR_DENIED); /* hv2 is not its source */
    assert_int_equal(t.w.migrate_calls[1], 0);
    attempt_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_honest_attempt_starts),
        cmocka_unit_test(the_source_asks_hooks),
        cmocka_unit_test(an_altered_body_is_refused),
        cmocka_unit_test(no_approval_is_refused),
        cmocka_unit_test(other_peoples_approvals_are_refused),
        cmocka_unit_test(gate_rules_bind_both),
        cmocka_unit_test(rules_for_others_do_not_bind),
        cmocka_unit_test(permits_that_nobody_gave_are_refused),
        cmocka_unit_test(permits_of_another_time_are_refused),
        cmocka_unit_test(permits_of_an_old_term_are_refused),
        cmocka_unit_test(a_cancelled_plan_is_not_started),
        cmocka_unit_test(a_minority_of_voters_is_not_enough),
        cmocka_unit_test(only_the_source_may_ask_to_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
