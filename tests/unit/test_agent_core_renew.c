#include "tests/lib/test.h"

#include "agent/core/renew.h"

#define DAY ((msec)86400000)
#define MINUTE ((msec)60000)

static void at_two_thirds(void **state)
{
    (void)state;
    struct renew r = {.not_before = 10 * DAY, .not_after = 40 * DAY};
    assert_int_equal(renew_at(&r), 30 * DAY);
    for (uint64_t seed = 1; seed < 1000; seed++) {
        r.seed = seed * 0x9E3779B97F4A7C15u;
        assert_true(renew_at(&r) <= 30 * DAY && renew_at(&r) > 30 * DAY - 3 * DAY / 2);
    }
    struct renew a = r, b = r;
    a.seed = 1, b.seed = 12345678;
    assert_int_not_equal(renew_at(&a), renew_at(&b)); /* not together */
    r.seed = 0;
    r.not_after = r.not_before; /* made by somebody else, and senseless */
    assert_int_equal(renew_at(&r), r.not_before);
    r.not_after = 0;
    assert_int_equal(renew_at(&r), r.not_before);
}

static void again_after_a_failure(void **state)
{
    (void)state;
    struct renew r = {.not_after = 30 * DAY, .failures = 1, .tried_at = 20 * DAY};
    assert_int_equal(renew_at(&r), 20 * DAY + MINUTE);
    r.failures = 3;
    assert_int_equal(renew_at(&r), 20 * DAY + 4 * MINUTE);
    r.failures = 1000000000;
    assert_int_equal(renew_at(&r), 20 * DAY + 60 * MINUTE);
    r.tried_at = DAY; /* somebody gave it a new one meanwhile */
    assert_int_equal(renew_at(&r), 20 * DAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_two_thirds),
        cmocka_unit_test(again_after_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
