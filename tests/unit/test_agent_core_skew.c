/* How far a host's clock is off the planner's. */
#include "tests/lib/test.h"

#include "agent/core/skew.h"

static void the_fastest_word_counts(void **state)
{
    (void)state;
    struct skew k = {0};
    msec ms = 0;
    assert_false(skew_known(&k, "hv1", &ms));
    /* This clock is 3 s ahead; the way took 5, 900 and 40 ms, of which relays know some. */
    skew_heard(&k, "hv1", 1000000, 0, 1003005);
    skew_heard(&k, "hv1", 1006000, 700, 1009900);
    assert_false(skew_known(&k, "hv1", &ms));
    skew_heard(&k, "hv1", 1012000, 30, 1015040);
    assert_true(skew_known(&k, "hv1", &ms));
    assert_int_equal(ms, 3005);
    assert_false(skew_known(&k, "hv2", &ms));
    /* The clock is set forward: known when the old words are forgotten. */
    for (int i = 0; i < SKEW_SAMPLES; i++)
        skew_heard(&k, "hv1", 2000000 + i, 0, 2010010 + i);
    assert_true(skew_known(&k, "hv1", &ms));
    assert_int_equal(ms, 10010);
    /* Set back, at once. */
    skew_heard(&k, "hv1", 3000000, 0, 2999000);
    assert_true(skew_known(&k, "hv1", &ms));
    assert_int_equal(ms, -1000);
    /* Of another planner nothing is known. */
    skew_heard(&k, "hv2", 3000000, 0, 3000000);
    assert_false(skew_known(&k, "hv1", &ms));
    assert_false(skew_known(&k, "hv2", &ms));
    skew_heard(&k, "hv2", INT64_MIN, 0, INT64_MAX); /* saturates */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_fastest_word_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
