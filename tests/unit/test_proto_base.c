#include "tests/lib/test.h"

#include "proto/canon.h"
#include "proto/err.h"
#include "proto/hash.h"
#include "proto/units.h"
#include "proto/util.h"

static void err_keeps_code_and_context(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, ERR_STALE, "plan %s", "p1"), -ERR_STALE);
    assert_int_equal(err_wrap(&err, "approve"), -ERR_STALE);
    assert_string_equal(err.msg, "approve: plan p1");
    assert_string_equal(err_name(err.code), "STALE");
    assert_int_equal(err_from_name("STALE"), ERR_STALE);
    assert_int_equal(err_from_name("no such"), ERR_UNKNOWN);
}

static char *canonical(const char *text)
{
    struct err err = {0};
    _cleanup_json_ json_t *doc = NULL;
    char *out = NULL;
    assert_ok(canon_parse(text, strlen(text), "doc", &doc, &err), &err);
    assert_ok(canon_dump(doc, &out, NULL, &err), &err);
    return out;
}

static void check_canonical(const char *text, const char *want)
{
    _cleanup_(freep) char *got = canonical(text);
    assert_string_equal(got, want);
    _cleanup_(freep) char *again = canonical(got);
    assert_string_equal(again, want);
}

static void canon_is_one_form(void **state)
{
    (void)state;
    check_canonical("{ \"b\": 1.0, \"a\": [ true, null, -0.5 ] }",
                    "{\"a\":[true,null,-0.5],\"b\":1}");
    check_canonical("{\"x\": 1.2004, \"y\": 1e3, \"z\": -0.0001}",
                    "{\"x\":1.2,\"y\":1000,\"z\":0}");
    check_canonical("{\"s\": \"a\\u0001\\\"\\\\\\u00e9/\"}",
                    "{\"s\":\"a\\u0001\\\"\\\\\xc3\xa9/\"}");
    check_canonical("[0.001, 10.25, 123456789.125]", "[0.001,10.25,123456789.125]");
    check_canonical("[0, -1, 9223372036854775807, -9223372036854775808, -0.25]",
                    "[0,-1,9223372036854775807,-9223372036854775808,-0.25]");
    check_canonical("{\"\": \"\", \"q\\\"\": \"\\n\"}", "{\"\":\"\",\"q\\\"\":\"\\u000a\"}");
}

static void sets_have_no_order(void **state)
{
    (void)state;
    static const char *const docs[] = {
        "{\"l\": [2, 1], \"s\": [{\"b\": 1}, {\"a\": [2, 1]}, {\"a\": 10}], \"t\": []}",
        "{\"t\": [], \"s\": [{\"a\": 10}, {\"a\": [2, 1]}, {\"b\": 1}], \"l\": [2, 1]}"};
    static const char *const sets[] = {"s", "t", "no such", NULL};
    for (size_t i = 0; i < ARRAY_SIZE(docs); i++) {
        struct err err = {0};
        size_t len = 0;
        _cleanup_json_ json_t *doc = NULL;
        _cleanup_(freep) char *text = NULL;
        assert_ok(canon_parse(docs[i], strlen(docs[i]), "doc", &doc, &err), &err);
        assert_ok(canon_dump_sets(doc, sets, &text, &len, &err), &err);
        assert_string_equal(text,
                            "{\"l\":[2,1],\"s\":[{\"a\":10},{\"a\":[2,1]},{\"b\":1}],\"t\":[]}");
        assert_int_equal(len, strlen(text));
    }
}

static void canon_refuses_what_has_no_form(void **state)
{
    (void)state;
    struct err err = {0};
    json_t *doc = NULL;
    const char *dup = "{\"a\":1,\n\"a\":2}";
    assert_err(canon_parse(dup, strlen(dup), "f.json", &doc, &err), &err, ERR_INVALID, "f.json:2:");
    assert_err(canon_parse("{\"a\":\"\xff\"}", 10, "f", &doc, &err), &err, ERR_INVALID,
               "unable to decode byte");
    assert_err(canon_parse("{} x", 4, "f", &doc, &err), &err, ERR_INVALID, "end of file");
    _cleanup_json_ json_t *big = json_pack("{s:f}", "n", 1e13);
    char *text = NULL;
    assert_err(canon_dump(big, &text, NULL, &err), &err, ERR_INVALID, "too large");
    assert_null(text);
}

static void digests_are_domain_separated(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_json_ json_t *doc = json_object();
    char a[HASH_HEX_SIZE], b[HASH_HEX_SIZE];
    assert_ok(canon_digest("skein.plan/1", doc, a, &err), &err);
    assert_ok(canon_digest("skein.order/1", doc, b, &err), &err);
    assert_string_not_equal(a, b);
    uint8_t h[HASH_SIZE];
    assert_true(hash_from_hex(a, h));
    assert_false(hash_from_hex("ABC", h));
    hash_sha256("abc", 3, h);
    hash_hex(h, a);
    assert_string_equal(a, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void time_text_round_trips(void **state)
{
    (void)state;
    struct err err = {0};
    msec t;
    char text[TIME_TEXT_SIZE];
    assert_ok(time_parse("2026-11-22T01:30:00Z", &t, &err), &err);
    assert_int_equal(t, 1795311000000);
    time_format(t, text);
    assert_string_equal(text, "2026-11-22T01:30:00Z");
    assert_ok(time_parse("2024-02-29T23:59:59.250+01:00", &t, &err), &err);
    time_format(t, text);
    assert_string_equal(text, "2024-02-29T22:59:59.250Z");
    static const char *const bad[] = {"",
                                      "2026-02-30T00:00:00Z",
                                      "2026-11-22",
                                      "2026-11-22T01:30:00",
                                      "2026-11-22T25:00:00Z",
                                      "yesterday"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_err(time_parse(bad[i], &t, &err), &err, ERR_INVALID, "not a time");
}

static void quantities_saturate(void **state)
{
    (void)state;
    assert_int_equal(sat_add(INT64_MAX, 1), INT64_MAX);
    assert_int_equal(sat_sub(0, INT64_MAX), -INT64_MAX);
    assert_int_equal(sat_mul(INT64_MAX, -2), INT64_MIN + 1);
    assert_int_equal(sat_mul(-3, 4), -12);
}

static void near_words_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"cluster", "host", "mesh", "state_dir", NULL};
    assert_string_equal(nearest_word("hots", names), "host");
    assert_string_equal(nearest_word("statedir", names), "state_dir");
    assert_null(nearest_word("zebra", names));
}

static void err_is_one_line_of_utf8(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_HYPERVISOR, "no\n\tdomain \xff\xc3(");
    assert_string_equal(err.msg, "no  domain ?\?(");
    char name[ERR_MSG_MAX + 1] = {0};
    for (size_t i = 0; i + 2 < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xa4", 2);
    err_set(&err, ERR_INVALID, "%s", name);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
    assert_int_equal(err.msg[ERR_MSG_MAX - 2], '?'); /* half of the last letter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_keeps_code_and_context),
        cmocka_unit_test(err_is_one_line_of_utf8),
        cmocka_unit_test(canon_is_one_form),
        cmocka_unit_test(sets_have_no_order),
        cmocka_unit_test(canon_refuses_what_has_no_form),
        cmocka_unit_test(digests_are_domain_separated),
        cmocka_unit_test(time_text_round_trips),
        cmocka_unit_test(quantities_saturate),
        cmocka_unit_test(near_words_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
