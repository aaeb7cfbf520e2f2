/* Commands to the world, as they are typed. */
#include "tests/lib/test.h"

#include "agent/sim/ctl.h"
#include "proto/util.h"

#define WORDS_MAX 6

static int parse(const char *line, Skein__SimInject *ret, struct err *err)
{
    static char copy[256]; /* what is parsed borrows from it */
    char *words[WORDS_MAX], *save;
    int n = 0;
    strncpy(copy, line, sizeof copy - 1);
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    return ctl_parse(n, words, ret, err);
}

static void commands_are_understood(void **state)
{
    (void)state;
    struct err err = {0};
    Skein__SimInject i;
    assert_ok(parse("heat hv1 80", &i, &err), &err);
    assert_true(i.has_number && !i.relative && !i.inlet);
    assert_true(i.number > 79.9 && i.number < 80.1);
    assert_ok(parse("heat hv1 -3.5 --inlet", &i, &err), &err);
    assert_true(i.has_number && i.relative && i.inlet);
    assert_ok(parse("heat hv1 auto", &i, &err), &err);
    assert_false(i.has_number);
    assert_ok(parse("power hv2 off --silent", &i, &err), &err);
    assert_true(!i.on && i.silent && !i.standby);
    assert_ok(parse("power hv2 standby", &i, &err), &err);
    assert_true(!i.on && i.standby);
    assert_ok(parse("link hv2 2500", &i, &err), &err);
    assert_true(i.on && i.has_number);
    assert_ok(parse("link hv2 down", &i, &err), &err);
    assert_false(i.on);
    assert_ok(parse("fate web1 success-without-move", &i, &err), &err);
    assert_int_equal(i.fate, SKEIN__SIM_FATE__FATE_SUCCESS_WITHOUT_MOVE);
    assert_ok(parse("fate web1 paused", &i, &err), &err);
    assert_int_equal(i.fate, SKEIN__SIM_FATE__FATE_PAUSED);
    assert_string_equal(i.target, "web1");
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line, *part;
    } bad[] = {
        {"haet hv1 80", "did you mean \"heat\""},
        {"heat hv1", "heat wants two words"},
        {"heat hv1 hot", "heat: \"hot\" is not a number"},
        {"heat hv1 nan", "not a number"},
        {"heat hv1 80 --silent", "heat: \"--silent\" is not expected"},
        {"power hv1 on --silent", "is not expected"},
        {"power hv1 asleep", "none of on, off, standby"},
        {"fate web1 doom", "none of none, fail"},
        {"hang hv1 maybe", "none of off, on"},
    };

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        struct err err = {0};
        Skein__SimInject i;
        assert_err(parse(bad[k].line, &i, &err), &err, ERR_INVALID, bad[k].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_understood),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
