/* Standing orders: what they cover, what they do not, who may give them, and what they cost. */
#include "tests/lib/test.h"

#include "agent/core/budget.h"
#include "tests/lib/plans.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};
static const struct test_move moves[] = {{0, 1, "hv1", "hv2"}, {1, 2, "hv1", "hv2"}};

static json_t *order_json(const char *extra)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i}", "type", "order", "name", "night", "policy",
                          "p", "policy_digest", TEST_POLICY_DIGEST, "moves_per_hour", 3);
    json_t *more = json_loads(extra, 0, NULL);
    REQUIRE(more != NULL);
    json_object_update(o, more);
    json_decref(more);
    return o;
}

/* ---- windows ---- */

static bool open_at(const char *text, msec wall)
{
    struct window w;
    struct err err;
    assert_ok(window_parse(text, &w, &err), &err);
    return window_open(&w, 1, wall);
}

static void test_windows(void **state)
{
    msec midnight = 1900108800000 - 1900108800000 % 86400000; /* of a Monday */
    struct window w;
    struct err err;
    (void)state;
    while ((midnight / 86400000 + 3) % 7 != 0)
        midnight += 86400000;
    msec hour = 3600000;
    assert_true(open_at("mon-fri 22:00-06:00", midnight + 23 * hour));
    assert_true(open_at("mon-fri 22:00-06:00", midnight + 29 * hour)); /* Tuesday, 5 o'clock */
    assert_false(open_at("mon-fri 22:00-06:00", midnight + 5 * hour)); /* it began on Sunday */
    assert_false(open_at("mon-fri 22:00-06:00", midnight + 6 * hour));
    assert_true(open_at("fri 22:00-06:00", midnight + (4 * 24 + 26) * hour)); /* Saturday, 2 */
    assert_true(open_at("sat-mon 00:00-24:00", midnight + 12 * hour));
    assert_false(open_at("tue,thu 00:00-24:00", midnight + 12 * hour));
    assert_true(open_at("08:00-09:00", midnight + 8 * hour));
    assert_false(open_at("08:00-09:00", midnight + 9 * hour));
    assert_true(window_open(NULL, 0, midnight));
    static const char *const wrong[] = {
        "", "mon", "22:00", "25:00-26:00", "xyz 1:00-2:00", "mon 1:00-2:00x", "mon-  1:00-2:00"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(window_parse(wrong[i], &w, &err), -ERR_INVALID);
}

/* ---- what an order covers ---- */

static int gate_with(const char *extra, unsigned roles, const char *class, msec wall,
                     struct gate_verdict *ret, struct err *err)
{
    size_t len;
    char digest[HASH_HEX_SIZE];
    _cleanup_(freep) char *body = test_body("p", class, 1, NULL, moves, 2, &len);
    _cleanup_(freep) char *e = test_envelope("ada", roles, 1, NOW + 60 * MINUTE, order_json(extra));
    ProtobufCBinaryData one = {strlen(e), (uint8_t *)e};
    return gate_check(&test_trust, "cluster", (uint8_t *)body, len, &one, 1, NULL, wall, digest,
                      ret, err);
}

static void test_covers(void **state)
{
    struct gate_verdict v;
    struct err err;
    (void)state;
    assert_ok(gate_with("{}", TRUST_ADMIN, "thermal", NOW, &v, &err), &err);
    assert_true(v.open);
    assert_string_equal(v.order_name, "night");
    assert_int_equal(v.order_moves_per_hour, 3);
    assert_ok(gate_with("{\"hosts\":[\"hv1\",\"hv2\"],\"classes\":[\"thermal\"],\"max_actions\":2}",
                        TRUST_ADMIN, "thermal", NOW, &v, &err),
              &err);
}

static void test_does_not_cover(void **state)
{
    static const struct {
        const char *extra, *why;
        unsigned roles;
        msec wall;
    } cases[] = {
        {"{\"policy\":\"q\"}", "is for policy q", TRUST_ADMIN, NOW},
        {"{\"policy_digest\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}",
         "another version", TRUST_ADMIN, NOW},
        {"{\"classes\":[\"drain\"]}", "not for class", TRUST_ADMIN, NOW},
        {"{\"hosts\":[\"hv1\"]}", "does not name hv2", TRUST_ADMIN, NOW},
        {"{\"max_actions\":1}", "of 1 actions, not 2", TRUST_ADMIN, NOW},
        {"{}", "no role that may order", TRUST_APPROVER | TRUST_OPERATOR, NOW},
        {"{}", "expired", TRUST_ADMIN, NOW + 61 * MINUTE},
        {"{\"only_on\":\"sundays\"}", "is unknown here", TRUST_ADMIN, NOW},
        {"{\"moves_per_hour\":0}", "moves_per_hour", TRUST_ADMIN, NOW},
        {"{\"cluster\":\"another\"}", "cluster another", TRUST_ADMIN, NOW},
        {"{\"windows\":[\"nonsense\"]}", "window", TRUST_ADMIN, NOW},
    };

    struct gate_verdict v;
    struct err err;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        err = (struct err){0};
        if (gate_with(cases[i].extra, cases[i].roles, "thermal", cases[i].wall, &v, &err) == 0)
            fail_msg("covered: %s", cases[i].extra);
        if (strstr(err.msg, cases[i].why) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].extra, err.msg, cases[i].why);
        assert_false(v.open);
    }
    int hour = (int)(NOW / 3600000 % 24);
    _cleanup_(freep) char *closed =
        xasprintf("{\"windows\":[\"%02d:00-%02d:00\"]}", (hour + 2) % 24, (hour + 3) % 24);
    assert_err(gate_with(closed, TRUST_ADMIN, "thermal", NOW, &v, &err), &err, ERR_DENIED,
               "outside its window");
}

/* ---- in the replicated state ---- */

struct fixture {
    struct state *st;
    uint64_t index;
    int nonce;
    msec now;
    struct err err;
};

static int apply(struct fixture *f, Skein__Entry *e)
{
    f->err = (struct err){0};
    int rc = state_apply(f->st, e, ++f->index, 3, &f->err);
    skein_entry_free(e);
    Skein__StateImage *image = state_image(f->st); /* and everything survives compaction */
    assert_ok(state_restore(f->st, image, &f->err), &f->err);
    skein__state_image__free_unpacked(image, NULL);
    return rc;
}

static int said(struct fixture *f, unsigned roles, json_t *command)
{
    return apply(
        f, test_said(f->now, test_envelope("ada", roles, ++f->nonce, NOW + 600 * MINUTE, command)));
}

static struct plan *put(struct fixture *f, uint64_t seed, const struct test_move *m, size_t n)
{
    size_t len;
    struct plan *const *plans;
    _cleanup_(freep) char *body = test_body("p", "thermal", seed, NULL, m, n, &len);
    assert_ok(apply(f, test_put(f->now, body, len, NULL, NULL)), &f->err);
    size_t all = state_plans(f->st, &plans);
    return plans[all - 1];
}

static int use(struct fixture *f, const struct plan *p, const char *order)
{
    Skein__Entry *e = test_entry(f->now);
    e->kind_case = SKEIN__ENTRY__KIND_ORDER_USE;
    e->order_use = xmalloc(sizeof *e->order_use);
    skein__order_use__init(e->order_use);
    e->order_use->plan = xstrdup(p->body->id);
    e->order_use->order = xstrdup(order);
    return apply(f, e);
}

static void test_an_order_approves(void **state)
{
    struct fixture f = {.st = state_new(&conf), .now = NOW};
    Skein__Vote *const *orders;
    char digest[HASH_HEX_SIZE];
    struct err err;
    (void)state;
    char id[PLAN_ID_SIZE];
    struct plan *p = put(&f, 1, moves, 2); /* every entry makes all plans anew */
    memcpy(id, p->body->id, sizeof id);
    assert_null(state_order_for(f.st, p, NOW, &err));
    assert_err(said(&f, TRUST_APPROVER, order_json("{}")), &f.err, ERR_DENIED, "no role");
    assert_ok(said(&f, TRUST_ADMIN, order_json("{}")), &f.err);
    assert_int_equal(state_orders(f.st, &orders), 1);
    snprintf(digest, sizeof digest, "%s", orders[0]->key);
    p = state_plan(f.st, id);
    assert_non_null(state_order_for(f.st, p, NOW, &err));
    assert_ok(use(&f, p, digest), &f.err);
    p = state_plan(f.st, id);
    assert_int_equal(p->state, SKEIN__PLAN_STATE__PLAN_APPROVED);
    assert_err(use(&f, p, digest), &f.err, ERR_STALE, "APPROVED");

    static const struct test_move others[] = {{0, 3, "hv1", "hv2"}, {1, 4, "hv1", "hv2"}};
    struct plan *second = put(&f, 2, others, 2); /* 2 of 3 moves are spoken for */
    assert_null(state_order_for(f.st, second, NOW, &err));
    char second_id[PLAN_ID_SIZE];
    memcpy(second_id, second->body->id, sizeof second_id);
    assert_err(use(&f, second, digest), &f.err, ERR_LIMIT, "2 of its 3 moves");
    second = state_plan(f.st, second_id);
    assert_err(use(&f, second, TEST_POLICY_DIGEST), &f.err, ERR_NOT_FOUND, "no standing order");

    /* Taken back: nothing of the approved plan begins any more, and it cannot be given again. */
    assert_err(
        said(&f, TRUST_OPERATOR, json_pack("{s:s, s:s}", "type", "order-remove", "order", digest)),
        &f.err, ERR_DENIED, "no role");
    assert_ok(
        said(&f, TRUST_ADMIN, json_pack("{s:s, s:s}", "type", "order-remove", "order", digest)),
        &f.err);
    assert_int_equal(state_orders(f.st, &orders), 0);
    p = state_plan(f.st, id);
    struct gate_verdict v;
    assert_err(state_gate(f.st, p, NOW, &v, &err), &err, ERR_DENIED, "0 of 1 approvals");
    f.nonce = 1;
    assert_err(said(&f, TRUST_ADMIN, order_json("{}")), &f.err, ERR_EXISTS, "given before");
    state_free(f.st);
}

static void test_an_order_expires(void **state)
{
    struct fixture f = {.st = state_new(&conf), .now = NOW};
    Skein__Vote *const *orders;
    char digest[HASH_HEX_SIZE];
    (void)state;
    assert_ok(said(&f, TRUST_ADMIN, order_json("{}")), &f.err);
    assert_int_equal(state_orders(f.st, &orders), 1);
    snprintf(digest, sizeof digest, "%s", orders[0]->key);
    f.now = NOW + 601 * MINUTE;
    struct plan *p = put(&f, 1, moves, 2);
    assert_err(use(&f, p, digest), &f.err, ERR_NOT_FOUND, "no standing order");
    state_free(f.st);
}

/* ---- each agent counts for itself ---- */

static void test_budget(void **state)
{
    struct budget *b = budget_new("source");
    struct effects effects = {0};
    uint64_t rng = 1, token = 0;
    struct step s = {
        .now = {.wall = NOW}, .conf = &conf, .out = &effects, .rng = &rng, .next_token = &token};
    struct budget_order o = {.order = "00aa", .name = "night", .moves_per_hour = 2};
    struct budget_order people = {.order = ""};
    struct err err;
    (void)state;
    assert_ok(budget_check(b, &o, 0, "p1", "a1", NOW, &err), &err);
    budget_spend(b, &s, &o, "p1", "a1");
    budget_spend(b, &s, &o, "p1", "a1"); /* the same action once more: counted once */
    assert_ok(budget_check(b, &o, 0, "p1", "a2", NOW, &err), &err);
    assert_err(budget_check(b, &o, 1, "p1", "a2", NOW, &err), &err, ERR_LIMIT, "2 may be");
    budget_spend(b, &s, &o, "p1", "a2");
    assert_err(budget_check(b, &o, 0, "p1", "a3", NOW, &err), &err, ERR_LIMIT, "night");
    assert_ok(budget_check(b, &o, 0, "p1", "a2", NOW, &err), &err); /* it may go on */
    assert_ok(budget_check(b, &people, 9, "p1", "a3", NOW, &err), &err);
    assert_err(budget_check(b, &o, 0, "p1", "a3", NOW - 5 * MINUTE, &err), &err, ERR_LIMIT, "");

    /* A new life of the agent remembers. */
    Skein__JournalRecord *record = NULL;
    for (size_t i = 0; i < effects.n; i++)
        if (effects.items[i].kind == EFFECT_JOURNAL) {
            if (record != NULL)
                skein__journal_record__free_unpacked(record, NULL);
            assert_string_equal(effects.items[i].key, "budget:source");
            assert_ok(codec_journal(effects.items[i].data, effects.items[i].len, &record, &err),
                      &err);
        }
    struct budget *again = budget_new("source"), *other = budget_new("destination");
    budget_load(again, record);
    budget_load(other, record);
    assert_err(budget_check(again, &o, 0, "p1", "a3", NOW, &err), &err, ERR_LIMIT, "night");
    assert_ok(budget_check(other, &o, 0, "p1", "a3", NOW, &err), &err);
    assert_ok(budget_check(again, &o, 0, "p1", "a3", NOW + 61 * MINUTE, &err), &err);
    skein__journal_record__free_unpacked(record, NULL);
    budget_free(b);
    budget_free(again);
    budget_free(other);
    effects_clear(&effects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),          cmocka_unit_test(test_covers),
        cmocka_unit_test(test_does_not_cover),   cmocka_unit_test(test_an_order_approves),
        cmocka_unit_test(test_an_order_expires), cmocka_unit_test(test_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
