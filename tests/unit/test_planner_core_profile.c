/* The week of a fleet's load: means of half-hours, what is not known, what other days tell. */
#include "planner/core/profile.h"

#include "proto/canon.h"
#include "tests/lib/test.h"

#define MONDAY 1795392000000 /* 2026-11-23T00:00:00Z */
#define HOUR 3600000
#define DAY (24 * (msec)HOUR)

static void half_hours_are_averaged(void **state)
{
    (void)state;
    struct profile p;
    milli least, most;
    profile_init(&p);
    assert_null(profile_json(&p));
    assert_false(profile_range(&p, &least, &most));
    profile_add(&p, 1000, MONDAY);
    profile_add(&p, 3000, MONDAY + PROFILE_EVERY - 1);
    profile_add(&p, QUANTITY_UNKNOWN, MONDAY + PROFILE_EVERY);
    assert_int_equal(profile_at(&p, MONDAY), QUANTITY_UNKNOWN); /* it has not ended */
    profile_add(&p, 9000, MONDAY + PROFILE_EVERY);
    assert_int_equal(profile_at(&p, MONDAY), 2000);
    profile_add(&p, 5000, MONDAY + 3 * (msec)HOUR);
    assert_int_equal(profile_at(&p, MONDAY + PROFILE_EVERY), 9000);
    assert_true(profile_range(&p, &least, &most));
    assert_int_equal(least, 2000);
    assert_int_equal(most, 9000);
    /* a week later the new one counts for half */
    profile_add(&p, 4000, MONDAY + 7 * DAY);
    profile_add(&p, 4000, MONDAY + 7 * DAY + PROFILE_EVERY);
    assert_int_equal(profile_at(&p, MONDAY), 3000);
}

static void a_day_not_seen_is_like_the_busiest(void **state)
{
    (void)state;
    struct profile p;
    profile_init(&p);
    for (int day = 0; day < 3; day++)
        for (int i = 0; i < 2; i++)
            profile_add(&p, 1000 * (1 + day % 2), MONDAY + day * DAY + i * (msec)PROFILE_EVERY);
    assert_int_equal(profile_at(&p, MONDAY), 1000);
    assert_int_equal(profile_at(&p, MONDAY + DAY), 2000);
    assert_int_equal(profile_at(&p, MONDAY + 2 * DAY), 1000);
    assert_int_equal(profile_at(&p, MONDAY + 5 * DAY), 2000);
    assert_int_equal(profile_at(&p, MONDAY + 5 * DAY + HOUR), QUANTITY_UNKNOWN);
}

static void a_clock_that_is_set_back_does_no_harm(void **state)
{
    (void)state;
    struct profile p;
    profile_init(&p);
    profile_add(&p, 7000, MONDAY + HOUR);
    profile_add(&p, 2000, MONDAY); /* the hour that had begun is forgotten */
    profile_add(&p, 2000, MONDAY + PROFILE_EVERY);
    assert_int_equal(profile_at(&p, MONDAY), 2000);
    assert_int_equal(profile_at(&p, MONDAY + HOUR), QUANTITY_UNKNOWN);
    profile_add(&p, -1, MONDAY + PROFILE_EVERY);
    profile_add(&p, 1000, -5);
}

static void the_document_is_taken_over(void **state)
{
    (void)state;
    struct profile p, q;
    profile_init(&p);
    profile_init(&q);
    for (int i = 0; i < 2 * PROFILE_SLOTS; i++)
        if (i % 5 != 0)
            profile_add(&p, 100 + i, MONDAY + i * (msec)PROFILE_EVERY);
    _cleanup_json_ json_t *doc = profile_json(&p);
    assert_int_equal(json_array_size(json_object_get(doc, "used_cores")), PROFILE_SLOTS);
    profile_take(&q, doc);
    assert_memory_equal(p.used, q.used, sizeof p.used);
    /* what is no such document changes nothing */
    static const char *const strange[] = {"{}", "{\"every_s\":1800,\"used_cores\":[1]}",
                                          "{\"every_s\":1800,\"used_cores\":null}",
                                          "{\"every_s\":\"x\",\"used_cores\":{}}"};
    for (size_t i = 0; i < ARRAY_SIZE(strange); i++) {
        _cleanup_json_ json_t *other = json_loads(strange[i], 0, NULL);
        profile_take(&q, other);
    }
    profile_take(&q, NULL);
    assert_memory_equal(p.used, q.used, sizeof p.used);
    json_array_set_new(json_object_get(doc, "used_cores"), 1, json_integer(-1));
    json_array_set_new(json_object_get(doc, "used_cores"), 2, json_string("9"));
    profile_take(&q, doc);
    assert_memory_equal(p.used, q.used, sizeof p.used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_hours_are_averaged),
        cmocka_unit_test(a_day_not_seen_is_like_the_busiest),
        cmocka_unit_test(a_clock_that_is_set_back_does_no_harm),
        cmocka_unit_test(the_document_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
