/* Gate rules: read strictly, matched to plans, demanded of everybody who acts. */
#include "tests/lib/test.h"

#include "tests/lib/rules.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};
static const struct test_move moves[] = {
    {0, 1, "hv1", "hv2"}, {0, 2, "hv1", "hv3"}, {0, 3, "hv2", "hv1"}};

/* ---- reading ---- */

static void wrong_rules_are_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"{}", "not a list"},
        {"[1]", "not an object"},
        {"[{}]", "\"name\" is missing"},
        {"[{\"name\":\"a\",\"aprovers\":2}]", "did you mean \"approvers\""},
        {"[{\"name\":\"a\",\"approvers\":0}]", "\"approvers\""},
        {"[{\"name\":\"a\",\"approvers\":9}]", "\"approvers\""},
        {"[{\"name\":\"a\",\"approvers\":2,\"people\":[\"ann\"]}]", "\"people\" names 1"},
        {"[{\"name\":\"a\",\"people\":[]}]", "\"people\""},
        {"[{\"name\":\"a\",\"classes\":\"safety\"}]", "\"classes\""},
        {"[{\"name\":\"a\",\"hosts\":[1]}]", "\"hosts\""},
        {"[{\"name\":\"a\",\"tags\":{\"tier\":1}}]", "\"tags\""},
        {"[{\"name\":\"a\",\"windows\":[\"noon\"]}]", "window"},
        {"[{\"name\":\"a\",\"overrun_minutes\":5}]", "without \"windows\""},
        {"[{\"name\":\"a\",\"ticket\":\"CHG(\"}]", "regular expression"},
        {"[{\"name\":\"a\",\"soak_seconds\":5}]", "without \"canary\""},
        {"[{\"name\":\"a\",\"orders\":1}]", "\"orders\""},
        {"[{\"name\":\"a\",\"hook\":\"../sh\"}]", "\"hook\""},
        {"[{\"name\":\"a\",\"hook\":\"ftp://x/\"}]", "\"hook\""},
        {"[{\"name\":\"a\",\"hook\":\"ask\",\"hook_seconds\":60}]", "\"hook_seconds\""},
        {"[{\"name\":\"a\",\"hook_seconds\":2}]", "without \"hook\""},
        {"[{\"name\":\"a\",\"notice_seconds\":0}]", "\"notice_seconds\""},
        {"[{\"name\":\"a\"},{\"name\":\"a\"}]", "two rules a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct gate_rules *rules = NULL;
        struct err err = {0};
        _cleanup_json_ json_t *list = json_loads(wrong[i].text, 0, NULL);
        assert_err(gate_rules_read(list, &rules, &err), &err, ERR_INVALID, wrong[i].message);
    }
    struct gate_rules *none = NULL;
    struct err err = {0};
    assert_ok(gate_rules_read(NULL, &none, &err), &err);
    assert_int_equal(none->n, 0);
    gate_rules_free(none);
}

/* ---- judging ---- */

struct court {
    char *body;
    size_t len;
    char digest[HASH_HEX_SIZE];
    char *envelopes[8];
    size_t n;
};

static void open_court(struct court *c, const char *policy, const char *class)
{
    struct err err = {0};
    *c = (struct court){0};
    c->body = test_body(policy, class, 1, NULL, moves, class[0] == 'u' ? 1 : 3, &c->len);
    _cleanup_(plan_body_freep) struct plan_body *b = NULL;
    assert_ok(plan_body_parse((uint8_t *)c->body, c->len, &b, &err), &err);
    memcpy(c->digest, b->digest, sizeof c->digest);
}

static void close_court(struct court *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->envelopes[i]);
    free(c->body);
}

#define WITH_COURT(policy, class)                                                                  \
    struct court c __attribute__((cleanup(close_court)));                                          \
    struct gate_verdict v;                                                                         \
    struct err err = {0};                                                                          \
    open_court(&c, policy, class)

static void says(struct court *c, const char *person, unsigned roles, msec until, json_t *command)
{
    c->envelopes[c->n] = test_envelope(person, roles, (int)c->n + 1, until, command);
    c->n++;
}

static void approves(struct court *c, const char *person, const char *ticket)
{
    json_t *command = test_vote("approve", c->digest);
    if (ticket != NULL)
        json_object_set_new(command, "ticket", json_string(ticket));
    says(c, person, TRUST_APPROVER, NOW + MINUTE, command);
}

static int check(struct court *c, const struct gate_facts *facts, struct gate_verdict *v,
                 struct err *err)
{
    ProtobufCBinaryData list[8];
    char digest[HASH_HEX_SIZE];
    for (size_t i = 0; i < c->n; i++)
        list[i] = (ProtobufCBinaryData){.data = (uint8_t *)c->envelopes[i],
                                        .len = strlen(c->envelopes[i])};
    int rc = gate_check(&test_trust, "cluster", (uint8_t *)c->body, c->len, list, c->n, facts, NOW,
                        digest, v, err);
    assert_int_equal(rc == 0, v->open);
    return rc;
}

static void two_distinct_people(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"two\",\"approvers\":2}]");
    WITH_COURT("p", "safety");
    approves(&c, "anna", NULL);
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED,
               "1 of 2 approvals that gate rule two counts");
    assert_int_equal(v.needed, 2);
    approves(&c, "anna", NULL); /* the same person twice */
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "1 of 2");
    says(&c, "olga", TRUST_OPERATOR, NOW + MINUTE, test_vote("approve", c.digest));
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "1 of 2"); /* in no role for it */
    says(&c, "bert", TRUST_APPROVER, NOW + MINUTE / 2, test_vote("approve", c.digest));
    assert_ok(check(&c, NULL, &v, &err), &err);
    assert_int_equal(v.approvals, 2);
    assert_int_equal(v.open_until, NOW + MINUTE / 2); /* then one is left */
    says(&c, "carl", TRUST_ADMIN, NOW + MINUTE, test_vote("reject", c.digest));
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "rejected by carl");
}

static void who_asked_does_not_count(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"two\",\"classes\":[\"user\"],\"approvers\":2}]");
    WITH_COURT("", "user");
    char uuid[UUID_SIZE];
    says(&c, "olga", TRUST_ADMIN, NOW + MINUTE,
         json_pack("{s:s, s:s, s:s}", "type", "migrate", "uuid", test_uuid(1, uuid), "to", "hv2"));
    says(&c, "olga", TRUST_ADMIN, NOW + MINUTE, test_vote("approve", c.digest));
    approves(&c, "anna", NULL);
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "1 of 2");
    approves(&c, "bert", NULL);
    assert_ok(check(&c, NULL, &v, &err), &err);
    assert_string_equal(v.author, "olga");
}

static void only_those_named(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"db\",\"approvers\":1,\"people\":[\"dora\",\"emil\"]}]");
    WITH_COURT("p", "safety");
    approves(&c, "anna", NULL);
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "0 of 1 approvals that gate rule db");
    approves(&c, "emil", NULL);
    assert_ok(check(&c, NULL, &v, &err), &err);
}

static void each_approval_names_a_ticket(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"change\",\"ticket\":\"CHG[0-9]{4}\"}]");
    WITH_COURT("p", "safety");
    approves(&c, "anna", NULL);
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "CHG[0-9]{4}");
    approves(&c, "bert", "CHG12345"); /* the whole of it must fit */
    assert_err(check(&c, NULL, &v, &err), &err, ERR_DENIED, "0 of 1");
    approves(&c, "carl", "CHG1234");
    assert_ok(check(&c, NULL, &v, &err), &err);
}

static void rules_concern_what_they_say(void **state)
{
    (void)state;
    WITH_COURT("p", "safety");
    approves(&c, "anna", NULL);

    static const struct {
        const char *rule;
        bool concerns;
    } cases[] = {
        {"\"classes\":[\"balance\",\"safety\"]", true},
        {"\"classes\":[\"balance\"]", false},
        {"\"hosts\":[\"hv3\"]", true},
        {"\"hosts\":[\"hv4\"]", false},
        {"\"hosts\":[\"hv*\"]", true},
        {"\"hosts\":[\"rack*\"]", false},
        {"\"min_actions\":3", true},
        {"\"min_actions\":4", false},
        {"\"tags\":{\"tier\":\"gold\"}", false},
        {"\"hosts\":[\"hv3\"],\"classes\":[\"balance\"]", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *text =
            xasprintf("[{\"name\":\"two\",\"approvers\":2,%s}]", cases[i].rule);
        WITH_RULES(text);
        assert_int_equal(check(&c, NULL, &v, &err) < 0, cases[i].concerns);
    }
}

static void tags_are_those_of_the_vm(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"gold\",\"approvers\":2,\"tags\":{\"tier\":\"gold\",\"app\":\"db\"}}]");
    WITH_COURT("p", "safety");
    approves(&c, "anna", NULL);
    Skein__Tag tier = SKEIN__TAG__INIT, app = SKEIN__TAG__INIT, *tags[] = {&tier, &app};
    tier.key = "tier", tier.value = "gold", app.key = "app", app.value = "web";
    Skein__VmDetail vm = SKEIN__VM_DETAIL__INIT;
    vm.n_tags = 2;
    vm.tags = tags;
    struct gate_facts facts = {.vm = &vm};
    assert_ok(check(&c, &facts, &v, &err), &err);
    app.value = "db";
    assert_err(check(&c, &facts, &v, &err), &err, ERR_DENIED, "gold");
    char *named[] = {"silver", "gold"};
    struct gate_facts told = {.rules = named, .n_rules = 1};
    assert_ok(check(&c, &told, &v, &err), &err);
    told.n_rules = 2;
    assert_err(check(&c, &told, &v, &err), &err, ERR_DENIED, "gold");
}

static void orders_do_where_a_rule_allows_them(void **state)
{
    (void)state;

    static const struct {
        const char *rule;
        bool opens;
    } cases[] = {{"\"min_actions\":1", true},
                 {"\"approvers\":1", false},
                 {"\"ticket\":\"x\"", false},
                 {"\"approvers\":2,\"orders\":true", true},
                 {"\"orders\":false", false}};

    WITH_COURT("p", "safety");
    says(&c, "ada", TRUST_ADMIN, NOW + MINUTE,
         json_pack("{s:s, s:s, s:s, s:s, s:i}", "type", "order", "name", "night", "policy", "p",
                   "policy_digest", TEST_POLICY_DIGEST, "moves_per_hour", 3));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *text = xasprintf("[{\"name\":\"r\",%s}]", cases[i].rule);
        WITH_RULES(text);
        assert_int_equal(check(&c, NULL, &v, &err) == 0, cases[i].opens);
        assert_int_equal(v.open && v.order[0] == '\0', false); /* it is charged */
    }
}

/* ---- the voters ---- */

struct voters {
    struct state *st;
    uint64_t index;
    msec now;
    int nonce;
    struct plan *p;
    struct err err;
};

static int apply(struct voters *f, Skein__Entry *e)
{
    f->err = (struct err){0};
    int rc = state_apply(f->st, e, ++f->index, 3, &f->err);
    skein_entry_free(e);
    return rc;
}

static int vote(struct voters *f, const char *person)
{
    return apply(f, test_said(f->now, test_envelope(person, TRUST_APPROVER, ++f->nonce,
                                                    f->now + 600 * MINUTE,
                                                    test_vote("approve", f->p->body->digest))));
}

static void begin(struct voters *f, msec now, const char *tag_rule)
{
    size_t len;
    struct plan *const *plans;
    *f = (struct voters){.st = state_new(&conf), .now = now};
    _cleanup_(freep) char *body = test_body("p", "safety", 1, NULL, moves, 3, &len);
    Skein__Entry *e = test_put(now, body, len, NULL, NULL);
    e->plan->expires_at_ms = (uint64_t)(now + 600 * MINUTE);
    if (tag_rule != NULL) {
        e->plan->gates = xcalloc(1, sizeof *e->plan->gates);
        e->plan->gates[e->plan->n_gates++] = xstrdup(tag_rule);
    }
    assert_ok(apply(f, e), &f->err);
    state_plans(f->st, &plans);
    f->p = plans[0];
}

static int to(struct voters *f, Skein__PlanState state)
{
    return apply(f, test_change(f->now, f->p->body->id, state));
}

static int permits(struct voters *f, const char *action)
{
    return apply(f, test_permit(f->now, f->p, action, 3, 1));
}

static int reports(struct voters *f, const char *action, Skein__ActionState state)
{
    return apply(f, test_report(f->now, f->p->body->id, action, state));
}

static void a_plan_waits_for_all_its_approvals(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"gold\",\"tags\":{\"tier\":\"gold\"},\"approvers\":2}]");
    struct voters f;
    begin(&f, NOW, "gold");
    assert_ok(vote(&f, "anna"), &f.err);
    assert_int_equal(f.p->state, SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL);
    assert_err(vote(&f, "anna"), &f.err, ERR_EXISTS, "has approved it");
    assert_ok(vote(&f, "bert"), &f.err);
    assert_int_equal(f.p->state, SKEIN__PLAN_STATE__PLAN_APPROVED);
    state_free(f.st);
}

/* Rules that admins change meanwhile hold for what waits. */
static void newer_rules_hold_at_once(void **state)
{
    (void)state;
    struct voters f;
    begin(&f, NOW, NULL);
    assert_ok(vote(&f, "anna"), &f.err);
    WITH_RULES("[{\"name\":\"two\",\"approvers\":2}]");
    assert_err(to(&f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f.err, ERR_DENIED, "1 of 2");
    state_free(f.st);
}

static void windows_open_and_run_over(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"night\",\"windows\":[\"22:00-23:00\"],\"overrun_minutes\":30}]");
    msec day = NOW - NOW % 86400000;
    struct voters f;
    begin(&f, day + 1310 * MINUTE, NULL); /* 21:50 */
    assert_ok(vote(&f, "anna"), &f.err);
    assert_int_equal(f.p->state, SKEIN__PLAN_STATE__PLAN_APPROVED);
    assert_err(to(&f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f.err, ERR_UNAVAILABLE,
               "gate rule night is outside its windows");
    f.now = day + 1320 * MINUTE;
    assert_ok(to(&f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f.err);
    assert_ok(permits(&f, "s1-0"), &f.err);
    f.now = day + 1409 * MINUTE; /* 23:29: it began in time */
    assert_ok(permits(&f, "s1-1"), &f.err);
    uint64_t term;
    const Skein__Permit *permit = state_permit(f.st, f.p->items[1].permit->id, &term);
    assert_ok(state_confirm(f.st, permit, f.now, &f.err), &f.err);
    f.now = day + 1411 * MINUTE;
    assert_err(permits(&f, "s1-2"), &f.err, ERR_UNAVAILABLE, "night");
    state_free(f.st);
}

static void a_canary_goes_first_and_rests(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"canary\",\"canary\":1,\"soak_seconds\":60}]");
    struct voters f;
    begin(&f, NOW, NULL);
    assert_ok(vote(&f, "anna"), &f.err);
    assert_ok(to(&f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f.err);
    assert_err(permits(&f, "s1-1"), &f.err, ERR_UNAVAILABLE, "vm1 goes first");
    assert_ok(permits(&f, "s1-0"), &f.err);
    f.now += 5000;
    assert_ok(reports(&f, "s1-0", SKEIN__ACTION_STATE__ACTION_SUCCEEDED), &f.err);
    assert_err(permits(&f, "s1-1"), &f.err, ERR_UNAVAILABLE, "60 s are left of its rest");
    f.now += 60000;
    assert_ok(permits(&f, "s1-1"), &f.err);
    state_free(f.st);
}

static void a_canary_that_failed_is_the_last(void **state)
{
    (void)state;
    WITH_RULES("[{\"name\":\"canary\",\"canary\":1}]");
    struct voters f;
    begin(&f, NOW, NULL);
    assert_ok(vote(&f, "anna"), &f.err);
    assert_ok(to(&f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f.err);
    assert_ok(permits(&f, "s1-0"), &f.err);
    f.now += 5000;
    assert_ok(reports(&f, "s1-0", SKEIN__ACTION_STATE__ACTION_FAILED), &f.err);
    assert_err(permits(&f, "s1-1"), &f.err, ERR_CANCELLED, "vm1, which went first, FAILED");
    state_free(f.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_rules_are_refused),
        cmocka_unit_test(two_distinct_people),
        cmocka_unit_test(who_asked_does_not_count),
        cmocka_unit_test(only_those_named),
        cmocka_unit_test(each_approval_names_a_ticket),
        cmocka_unit_test(rules_concern_what_they_say),
        cmocka_unit_test(tags_are_those_of_the_vm),
        cmocka_unit_test(orders_do_where_a_rule_allows_them),
        cmocka_unit_test(a_plan_waits_for_all_its_approvals),
        cmocka_unit_test(newer_rules_hold_at_once),
        cmocka_unit_test(windows_open_and_run_over),
        cmocka_unit_test(a_canary_goes_first_and_rests),
        cmocka_unit_test(a_canary_that_failed_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
