#include "tests/lib/test.h"

#include "tests/lib/plans.h"

struct fixture {
    char *body;
    size_t len;
    char digest[HASH_HEX_SIZE], id[PLAN_ID_SIZE];
    char *envelopes[20];
    size_t n;
};

static void open_fixture(struct fixture *f, const char *policy, const char *class)
{
    const struct test_move moves[] = {{0, 1, "hv1", "hv2"}};
    struct err err = {0};
    *f = (struct fixture){0};
    f->body = test_body(policy, class, 1, NULL, moves, 1, &f->len);
    _cleanup_(plan_body_freep) struct plan_body *b = NULL;
    assert_ok(plan_body_parse((uint8_t *)f->body, f->len, &b, &err), &err);
    memcpy(f->digest, b->digest, sizeof f->digest);
    memcpy(f->id, b->id, sizeof f->id);
}

static void close_fixture(struct fixture *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->envelopes[i]);
    free(f->body);
}

static void say(struct fixture *f, const char *person, unsigned roles, json_t *command)
{
    f->envelopes[f->n] = test_envelope(person, roles, (int)f->n + 1, NOW + MINUTE, command);
    f->n++;
}

static int check(struct fixture *f, msec wall, struct gate_verdict *verdict, struct err *err)
{
    ProtobufCBinaryData list[20];
    char digest[HASH_HEX_SIZE];
    for (size_t i = 0; i < f->n; i++)
        list[i] = (ProtobufCBinaryData){.data = (uint8_t *)f->envelopes[i],
                                        .len = strlen(f->envelopes[i])};
    int rc = gate_check(&test_trust, "cluster", (uint8_t *)f->body, f->len, list, f->n, NULL, wall,
                        digest, verdict, err);
    assert_string_equal(digest, f->digest);
    assert_int_equal(rc == 0, verdict->open);
    return rc;
}

#define WITH_FIXTURE(policy, class)                                                                \
    struct fixture f __attribute__((cleanup(close_fixture)));                                      \
    struct gate_verdict v;                                                                         \
    struct err err = {0};                                                                          \
    open_fixture(&f, policy, class)

static void one_approver_opens(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1 approvals");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err);
    assert_string_equal(v.approvers, "anna");
    assert_int_equal(v.open_until, NOW + MINUTE);
    assert_err(check(&f, NOW + MINUTE, &v, &err), &err, ERR_DENIED, "has expired");
}

static void others_do_not_count(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    say(&f, "victor", TRUST_VIEWER, test_vote("approve", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "victor has no role that may approve");
    say(&f, "olga", TRUST_OPERATOR, test_vote("approve", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1");
    char other[HASH_HEX_SIZE];
    memcpy(other, f.digest, sizeof other);
    other[40] = other[40] == 'a' ? 'b' : 'a';
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", other));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1");
    json_t *command = test_vote("approve", f.digest);
    json_object_set_new(command, "cluster", json_string("another"));
    say(&f, "anna", TRUST_APPROVER, command);
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1");
    say(&f, "anna", TRUST_APPROVER, test_vote("praise", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1");
}

static void forged_and_broken_envelopes_do_not_count(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    f.envelopes[f.n++] = xstrdup("{\"forged\":true}");
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "the signature does not fit");
    f.envelopes[f.n++] = xstrdup("\x01\x02");
    say(&f, "anna", TRUST_ADMIN, test_vote("approve", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err); /* nor do they take the gate away */
}

static void an_altered_body_opens_nothing(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    char *at = strstr(f.body, "\"to\":\"hv2\"");
    at[strlen("\"to\":\"hv")] = '3';
    char digest[HASH_HEX_SIZE];
    ProtobufCBinaryData one = {.data = (uint8_t *)f.envelopes[0], .len = strlen(f.envelopes[0])};
    assert_err(gate_check(&test_trust, "cluster", (uint8_t *)f.body, f.len, &one, 1, NULL, NOW,
                          digest, &v, &err),
               &err, ERR_DENIED, "0 of 1");
    assert_string_not_equal(digest, f.digest);
}

static void one_no_stands_against_many(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    say(&f, "bert", TRUST_APPROVER, test_vote("approve", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err);
    assert_int_equal(v.approvals, 2);
    assert_string_equal(v.approvers, "anna, bert");
    say(&f, "carl", TRUST_APPROVER, test_vote("reject", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "rejected by carl: because");
    assert_true(v.rejected);
}

static void a_cancel_closes(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    say(&f, "victor", TRUST_VIEWER, test_vote("cancel", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err);
    say(&f, "olga", TRUST_OPERATOR, test_vote("cancel", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "cancelled by olga");
    assert_true(v.cancelled);
}

static void one_person_counts_once(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err);
    assert_int_equal(v.approvals, 1);
}

static void a_persons_move_needs_the_person_and_another(void **state)
{
    (void)state;
    WITH_FIXTURE("", "user");
    say(&f, "anna", TRUST_APPROVER, test_vote("approve", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "without a valid request");
    say(&f, "olga", TRUST_ADMIN, test_request(2, "hv2"));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "without a valid request");
    say(&f, "olga", TRUST_ADMIN, test_request(1, "hv2"));
    assert_ok(check(&f, NOW, &v, &err), &err);
    assert_string_equal(v.author, "olga");
}

static void an_author_does_not_approve(void **state)
{
    (void)state;
    WITH_FIXTURE("", "user");
    say(&f, "olga", TRUST_ADMIN, test_request(1, "hv2"));
    say(&f, "olga", TRUST_ADMIN, test_vote("approve", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_DENIED, "0 of 1");
    say(&f, "anna", TRUST_ADMIN, test_vote("approve", f.digest));
    assert_ok(check(&f, NOW, &v, &err), &err);
}

static void too_much_is_refused(void **state)
{
    (void)state;
    WITH_FIXTURE("p", "safety");
    for (int i = 0; i < GATE_VOTES_MAX + 1; i++)
        say(&f, "anna", TRUST_ADMIN, test_vote("approve", f.digest));
    assert_err(check(&f, NOW, &v, &err), &err, ERR_LIMIT, "more than");
    struct gate_vote vote;
    _cleanup_(freep) uint8_t *large = xcalloc(GATE_ENVELOPE_MAX + 1, 1);
    assert_err(gate_read(&test_trust, "cluster", large, GATE_ENVELOPE_MAX + 1, NOW, &vote, &err),
               &err, ERR_LIMIT, "too large");
}

static void malformed_commands_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *command, *message;
    } cases[] = {
        {"{}", "\"type\" is missing"},
        {"{\"type\":\"approve\"}", "\"plan\" is missing"},
        {"{\"type\":\"approve\",\"plan\":\"p\"}", "\"digest\" is missing"},
        {"{\"type\":\"approve\",\"plan\":7,\"digest\":\"d\"}", "\"plan\" is not a text"},
        {"{\"type\":\"approve\",\"plan\":\"0123456789abcdef\",\"digest\":\"d\"}", "longer than"},
        {"{\"type\":\"migrate\",\"uuid\":\"x\",\"to\":\"hv1\"}", "not a UUID"},
        {"{\"type\":\"migrate\",\"to\":\"hv1\"}", "\"uuid\" is missing"},
        {"{\"type\":\"reject\",\"reason\":\"a\\u0007\"}", "control character"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        struct gate_vote vote;
        json_t *command = NULL;
        assert_ok(
            canon_parse(cases[i].command, strlen(cases[i].command), "command", &command, &err),
            &err);
        _cleanup_(freep) char *e = test_envelope("anna", TRUST_ADMIN, 1, NOW + MINUTE, command);
        if (gate_read(&test_trust, "c", (uint8_t *)e, strlen(e), NOW, &vote, &err) == 0)
            fail_msg("%s was taken", cases[i].command);
        if (strstr(err.msg, cases[i].message) == NULL)
            fail_msg("%s: %s", cases[i].command, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_approver_opens),
        cmocka_unit_test(others_do_not_count),
        cmocka_unit_test(forged_and_broken_envelopes_do_not_count),
        cmocka_unit_test(an_altered_body_opens_nothing),
        cmocka_unit_test(one_no_stands_against_many),
        cmocka_unit_test(a_cancel_closes),
        cmocka_unit_test(one_person_counts_once),
        cmocka_unit_test(a_persons_move_needs_the_person_and_another),
        cmocka_unit_test(an_author_does_not_approve),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(malformed_commands_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
