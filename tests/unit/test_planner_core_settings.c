/* The parameters that a policy's text carries: written, read again, and what only looks like them.
 */
#include "planner/core/settings.h"

#include "proto/canon.h"
#include "tests/lib/test.h"

#define TEXT "local P = policy { name = 'x' }\nreturn P\n"

static json_t *read_text(const char *text, size_t len, size_t *ret_len)
{
    json_t *params;
    struct err err = {0};
    assert_ok(settings_read(text, len, &params, ret_len, &err), &err);
    return params;
}

static char *write_text(const char *text, const char *params)
{
    _cleanup_json_ json_t *p = json_loads(params, 0, NULL);
    struct err err = {0};
    size_t len;
    char *ret;
    assert_ok(settings_write(text, strlen(text), p, &ret, &len, &err), &err);
    assert_int_equal(len, strlen(ret));
    return ret;
}

static void what_is_written_is_read(void **state)
{
    (void)state;

    static const char *const cases[] = {
        "{\"a\":1}",
        "{\"a\":-2.5,\"b\":true,\"c\":\"5m\"}",
        "{\"a\":\"]==] os.exit() --\"}",
        "{\"a\":\"line\\nline\\u0001 \\\"q\\\" \\\\ ]]\"}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *text = write_text(TEXT, cases[i]);
        _cleanup_json_ json_t *want = json_loads(cases[i], 0, NULL);
        size_t own;
        _cleanup_json_ json_t *got = read_text(text, strlen(text), &own);
        assert_true(json_equal(got, want));
        assert_string_equal(text + own, TEXT);
        assert_null(memchr(text, '\n', own)); /* lines keep their numbers */
        const char *end = strstr(text, "]==]");
        assert_ptr_equal(end, strstr(text, "]==] local P"));
    }
}

static void parameters_are_replaced_by_name(void **state)
{
    (void)state;
    _cleanup_(freep) char *one = write_text(TEXT, "{\"a\":1,\"b\":2}");
    _cleanup_(freep) char *two = write_text(one, "{\"b\":3,\"c\":4}");
    assert_string_equal(two, "--[==[skein:params {\"a\":1,\"b\":3,\"c\":4}]==] " TEXT);
    _cleanup_(freep) char *same = write_text(TEXT, "{}");
    assert_string_equal(same, TEXT);
    _cleanup_(freep) char *marked = write_text("\xef\xbb\xbf" TEXT, "{\"a\":1}");
    assert_string_equal(marked, "--[==[skein:params {\"a\":1}]==] " TEXT);
}

static void texts_without_carry_none(void **state)
{
    (void)state;

    static const char *const cases[] = {"", "-", "--[==[ a comment ]==] x", TEXT,
                                        "\xef\xbb\xbf" TEXT};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_null(read_text(cases[i], strlen(cases[i]), NULL));
}

static void what_is_not_well_formed_is_refused(void **state)
{
    (void)state;

    static const char *const cases[] = {
        "--[==[skein:params {\"a\":1}",
        "--[==[skein:params {\"a\":1}]==]x",
        "--[==[skein:params {\"a\":[1]}]==] x",
        "--[==[skein:params {\"a\":null}]==] x",
        "--[==[skein:params {\"a\":{}}]==] x",
        "--[==[skein:params [1]]==] x",
        "--[==[skein:params {\"a\":1,\"a\":2}]==] x",
        "--[==[skein:params ]==] x",
        "--[==[skein:params a=1]==] x",
    };

    json_t *params;
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(settings_read(cases[i], strlen(cases[i]), &params, NULL, &err),
                         -ERR_POLICY);
}

static void there_are_bounds(void **state)
{
    (void)state;
    _cleanup_json_ json_t *many = json_object(), *large = json_object(), *list = json_object();
    struct err err;
    char name[16], *text;
    size_t len;
    for (int i = 0; i <= SETTINGS_MAX; i++) {
        snprintf(name, sizeof name, "p%d", i);
        json_object_set_new(many, name, json_integer(i));
    }
    _cleanup_(freep) char *long_text = xcalloc(1, SETTINGS_TEXT_MAX + 1);
    memset(long_text, 'x', SETTINGS_TEXT_MAX);
    json_object_set_new(large, "p", json_string(long_text));
    json_object_set_new(list, "p", json_array());
    assert_int_equal(settings_write(TEXT, strlen(TEXT), many, &text, &len, &err), -ERR_INVALID);
    assert_int_equal(settings_write(TEXT, strlen(TEXT), large, &text, &len, &err), -ERR_LIMIT);
    assert_int_equal(settings_write(TEXT, strlen(TEXT), list, &text, &len, &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(parameters_are_replaced_by_name),
        cmocka_unit_test(texts_without_carry_none),
        cmocka_unit_test(what_is_not_well_formed_is_refused),
        cmocka_unit_test(there_are_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
