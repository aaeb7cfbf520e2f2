#include "tests/lib/test.h"

#include "agent/core/pace.h"

static void a_burst_and_then_in_step(void **state)
{
    (void)state;
    struct pace p = {.every = 500, .burst = 3};
    for (int i = 0; i < 3; i++)
        assert_true(pace_take(&p, 1000));
    assert_false(pace_take(&p, 1000));
    assert_false(pace_take(&p, 1499));
    assert_true(pace_take(&p, 1500));
    assert_false(pace_take(&p, 1500));
    /* After a rest a whole burst again, and no more. */
    for (int i = 0; i < 3; i++)
        assert_true(pace_take(&p, 100000));
    assert_false(pace_take(&p, 100000));
}

static void one_a_minute_is_told(void **state)
{
    struct hush h = {0};
    unsigned untold, told = 0;
    (void)state;
    assert_true(hush_tells(&h, 5, &untold));
    assert_int_equal(untold, 0);
    for (msec now = 6; now < HUSH_MS + 5; now += 1000)
        told += hush_tells(&h, now, &untold);
    assert_int_equal(told, 0);
    assert_true(hush_tells(&h, HUSH_MS + 5, &untold));
    assert_int_equal(untold, 60);
    assert_false(hush_tells(&h, HUSH_MS + 6, &untold));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_in_step),
        cmocka_unit_test(one_a_minute_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
