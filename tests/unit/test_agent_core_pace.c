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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_in_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
