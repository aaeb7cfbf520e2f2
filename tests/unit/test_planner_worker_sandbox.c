#include "tests/lib/test.h"

#include <lauxlib.h>
#include <stdio.h>

#include "planner/worker/sandbox.h"

static struct sandbox *new_sandbox_for(uint64_t seed, msec lua_ms)
{
    struct sandbox_conf conf = {.memory_max = (size_t)32 << 20, .lua_ms = lua_ms, .seed = seed};
    struct sandbox *sb = NULL;
    struct err err = {0};
    assert_ok(sandbox_new(&conf, &sb, &err), &err);
    return sb;
}

static struct sandbox *new_sandbox(uint64_t seed)
{
    return new_sandbox_for(seed, 300);
}

/* Run a chunk that returns one text. */
static int run(struct sandbox *sb, const char *text, char *ret, size_t size, struct err *err)
{
    int rc = sandbox_load(sb, text, strlen(text), "t.lua", false, err);
    if (rc == 0)
        rc = sandbox_call(sb, 0, 1, err);
    if (rc < 0)
        return rc;
    const char *s = lua_tostring(sandbox_lua(sb), -1);
    snprintf(ret, size, "%s", s != NULL ? s : "(none)");
    lua_pop(sandbox_lua(sb), 1);
    return 0;
}

static void check(const char *text, const char *want)
{
    _cleanup_(sandbox_freep) struct sandbox *sb = new_sandbox(1);
    struct err err = {0};
    char got[4096];
    assert_ok(run(sb, text, got, sizeof got, &err), &err);
    assert_string_equal(got, want);
}

static void check_error(const char *text, const char *part)
{
    _cleanup_(sandbox_freep) struct sandbox *sb = new_sandbox(1);
    struct err err = {0};
    char got[64];
    assert_err(run(sb, text, got, sizeof got, &err), &err, ERR_POLICY, part);
}

static void pairs_is_sorted(void **state)
{
    (void)state;
    check("local s = '' for k, v in pairs({ z = 1, a = 2, [3] = 3, [1] = 4, [2.5] = 5, [true] = 6 "
          "}) do "
          "s = s .. tostring(k) .. '=' .. v .. ' ' end return s",
          "1=4 2.5=5 3=3 a=2 z=1 true=6 ");
    check("local n = 0 for k in pairs({}) do n = n + 1 end return '' .. n", "0");
    check("local t = { a = 1, b = 2 } for k in pairs(t) do t[k] = nil end "
          "local n = 0 for k in pairs(t) do n = n + 1 end return '' .. n",
          "0");
    check_error("for k in pairs({ [{}] = 1 }) do end", "a table as key has no order");
    check_error("next({})", "'next' is not offered");
}

static void sort_is_stable_and_ours(void **state)
{
    (void)state;
    check("local t = {} for i = 1, 300 do t[i] = { i % 3, i } end "
          "table.sort(t, function(a, b) return a[1] < b[1] end) "
          "local ok = true for i = 2, 300 do ok = ok and (t[i-1][1] < t[i][1] or "
          "t[i-1][1] == t[i][1] and t[i-1][2] < t[i][2]) end return tostring(ok)",
          "true");
    check("local t = { 3, 1, 2 } table.sort(t) return table.concat(t, ' ')", "1 2 3");
    check("local t = { 1 } table.sort(t) return table.concat(t, ' ')", "1");
    check_error("table.sort({ 1, 'x' })", "t.lua:1: attempt to compare");
}

static void no_addresses_show(void **state)
{
    (void)state;
    check("return tostring({}) .. tostring(pairs) .. string.format('%s', {})",
          "tablefunctiontable");
    check_error("return string.format('%5p', {})", "%p is not offered");
    check_error("return string.format('%-5p', 'x')", "%p is not offered");
    check("return string.format('%%p %5.1f|%-3d|%q', 2.25, 7, 'a')", "%p   2.2|7  |\"a\"");
}

static void random_follows_the_seed(void **state)
{
    (void)state;
    const char *text = "return math.random(1, 1000000) .. ' ' .. math.random()";
    struct err err = {0};
    char a[128], b[128], c[128];
    _cleanup_(sandbox_freep) struct sandbox *one = new_sandbox(7), *same = new_sandbox(7),
                                            *other = new_sandbox(8);
    assert_ok(run(one, text, a, sizeof a, &err), &err);
    assert_ok(run(same, text, b, sizeof b, &err), &err);
    assert_ok(run(other, text, c, sizeof c, &err), &err);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
}

static void nothing_dangerous_is_there(void **state)
{
    (void)state;
    static const char *const names[] = {
        "io",     "os",     "debug",    "package",        "require",
        "load",   "dofile", "loadfile", "collectgarbage", "coroutine",
        "rawset", "rawget", "next"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char text[64], want[64];
        snprintf(text, sizeof text, "return %s", names[i]);
        snprintf(want, sizeof want, "'%s' is not offered", names[i]);
        check_error(text, want);
    }
    check_error("return string.dump(function() end)", "attempt to call a nil value");
    check_error("return math.randomseed(1)", "attempt to call a nil value");
    check_error("return _G", "'_G' is not defined");
    check_error("return stirng", "did you mean 'string'");
}

static void builtins_and_metatables_are_shielded(void **state)
{
    (void)state;
    check_error("string.rep = nil", "string is read-only");
    check_error("pairs = 1", "'pairs' is built in");
    check_error("setmetatable(string, {})", "protected");
    check_error("setmetatable({}, { __gc = function() end })", "__gc is not allowed");
    check_error("setmetatable({}, { __mode = 'k' })", "__mode is not allowed");
    check("return tostring(getmetatable(''))", "nil");
    check("return tostring(getmetatable(string))", "nil");
    check("helper = function(x) return x + 1 end return '' .. helper(1)", "2");
    check("local m = { __index = { a = 1 } } return '' .. setmetatable({}, m).a", "1");
    check("local m = {} local t = setmetatable({}, m) m.__mode = 'k' return "
          "tostring(getmetatable(t).__mode)",
          "nil");
}

static void messages_name_the_line(void **state)
{
    (void)state;
    check_error("\n\nlocal x = nil + 1", "t.lua:3: attempt to perform arithmetic");
    check_error("x = = 1", "t.lua:1: unexpected symbol");
    check_error("\xef\xbb\xbflocal = 1", "t.lua:1:");
    check("\xef\xbb\xbfreturn 'bom'", "bom");
    check_error("error({})", "no text but a table");
    check_error("error('a\\27[2Jb')", "a [2Jb");
}

static void time_is_limited(void **state)
{
    (void)state;
    _cleanup_(sandbox_freep) struct sandbox *sb = new_sandbox(1);
    struct err err = {0};
    char got[64];
    assert_err(run(sb, "\nwhile true do pcall(function() while true do end end) end", got,
                   sizeof got, &err),
               &err, ERR_POLICY, "t.lua:2: over the time limit of 300 ms");
    assert_true(sandbox_is_spent(sb));
    assert_err(run(sb, "local x = 1 for i = 1, 10 do x = x + 1 end", got, sizeof got, &err), &err,
               ERR_POLICY, "over the time limit");
}

static void memory_is_limited(void **state)
{
    (void)state;
    _cleanup_(sandbox_freep) struct sandbox *sb = new_sandbox_for(1, 20000);
    struct err err = {0};
    char got[64];
    assert_err(run(sb, "return #string.rep('x', 1 << 26)", got, sizeof got, &err), &err, ERR_POLICY,
               "over the memory limit of 32 MiB");
    assert_ok(run(sb, "return #string.rep('x', 1 << 20) .. ''", got, sizeof got, &err), &err);
    assert_string_equal(got, "1048576");
    assert_ok(run(sb,
                  "local n = 0 for i = 1, 100 do n = n + #(string.rep('x', 1 << 20) .. i) end "
                  "return n",
                  got, sizeof got, &err),
              &err); /* garbage is no use of it */
    assert_string_equal(got, "104857792");
}

/* Every allocation of a run fails once: no crash, no leak, an error each time. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char text[] = "local t = {} for i = 1, 20 do t[i] = { tostring(i), i } end "
                               "table.sort(t, function(a, b) return a[2] > b[2] end) "
                               "local s = '' for k, v in pairs(t) do s = s .. v[1] end return s";
    int failed = 0;
    for (size_t memory = 1000;; memory += 53) {
        struct sandbox_conf conf = {.memory_max = memory, .lua_ms = 1000, .seed = 1};
        _cleanup_(sandbox_freep) struct sandbox *sb = NULL;
        struct err err = {0};
        char got[128];
        if (sandbox_new(&conf, &sb, &err) == 0 && run(sb, text, got, sizeof got, &err) == 0)
            break;
        failed++;
    }
    assert_true(failed > 100);
}

static void texts_are_cleaned(void **state)
{
    (void)state;

    static const struct {
        const char *in, *want;
    } cases[] = {{"a\tb\n\x1b[1m", "a b  [1m"},
                 {"\xff\xc3\xa9", "?\xc3\xa9"},
                 {"\xc0\x80", "??"},
                 {"\xed\xa0\x80", "???"},
                 {"\xf4\x90\x80\x80", "????"},
                 {"a\xe2\x80\xae"
                  "b\xc2\x9b"
                  "c",
                  "a b c"},
                 {"", ""}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *got = sandbox_clean_text(cases[i].in, strlen(cases[i].in));
        assert_string_equal(got, cases[i].want);
    }
    char text[8];
    sandbox_text(text, sizeof text, "%s", "12345\xc3\xa9 6");
    assert_string_equal(text, "12345\xc3\xa9");
    sandbox_text(text, sizeof text, "%s", "123456\xc3\xa9");
    assert_string_equal(text, "123456");
    sandbox_text(text, sizeof text, "%s", "1234\xe2\x82\xac");
    assert_string_equal(text, "1234\xe2\x82\xac");
    sandbox_text(text, sizeof text, "%s", "12345\xe2\x82\xac");
    assert_string_equal(text, "12345");
    char big[2 * SANDBOX_TEXT_MAX];
    memset(big, 'x', sizeof big);
    _cleanup_(freep) char *cut = sandbox_clean_text(big, sizeof big);
    assert_int_equal(strlen(cut), SANDBOX_TEXT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_is_sorted),
        cmocka_unit_test(sort_is_stable_and_ours),
        cmocka_unit_test(no_addresses_show),
        cmocka_unit_test(random_follows_the_seed),
        cmocka_unit_test(nothing_dangerous_is_there),
        cmocka_unit_test(builtins_and_metatables_are_shielded),
        cmocka_unit_test(messages_name_the_line),
        cmocka_unit_test(time_is_limited),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(texts_are_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
