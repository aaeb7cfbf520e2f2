#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "planner/worker/zone.h"
#include "planner/worker/zone_table.h"
#include "proto/units.h"
#include "proto/util.h"

static void check(const char *zone, const char *time, int64_t minutes)
{
    msec wall;
    int64_t seconds;
    struct err err = {0};
    assert_ok(time_parse(time, &wall, &err), &err);
    assert_true(zone_offset(zone, wall / 1000, &seconds));
    assert_int_equal(seconds, minutes * 60);
}

static void summer_begins_and_ends(void **state)
{
    (void)state;
    check("Europe/Berlin", "2026-03-29T00:59:59Z", 60);
    check("Europe/Berlin", "2026-03-29T01:00:00Z", 120);
    check("Europe/Berlin", "2026-10-25T00:59:59Z", 120);
    check("Europe/Berlin", "2026-10-25T01:00:00Z", 60);
    check("America/New_York", "2026-03-08T06:59:59Z", -300);
    check("America/New_York", "2026-03-08T07:00:00Z", -240);
    check("Australia/Sydney", "2026-01-01T00:00:00Z", 660);
    check("Australia/Sydney", "2026-07-01T00:00:00Z", 600);
    check("Asia/Kolkata", "2026-07-01T00:00:00Z", 330);
    check("+05:45", "2026-07-01T00:00:00Z", 345);
    check("UTC", "2026-07-01T00:00:00Z", 0);
}

static void unknown_zones_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",       "Europe/Atlantis", "CET",          "+5:00",
                                      "+15:00", "+01:60",          "europe/berlin"};
    int64_t s;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(zone_offset(bad[i], 0, &s));
}

/* The C library reads the same rules: each zone, over two years, every five days. */
static void the_c_library_agrees(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(zones); i++) {
        if (i > 0)
            assert_true(strcmp(zones[i - 1].name, zones[i].name) < 0);
        setenv("TZ", zones[i].rule, 1);
        tzset();
        for (time_t t = 1767225600; t < 1767225600 + 730 * 86400; t += 5 * 86400 + 3607) {
            struct tm tm;
            int64_t s;
            localtime_r(&t, &tm);
            assert_true(zone_offset(zones[i].name, t, &s));
            if (s != tm.tm_gmtoff)
                fail_msg("%s at %lld: %lld, the C library says %ld", zones[i].name, (long long)t,
                         (long long)s, tm.tm_gmtoff);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summer_begins_and_ends),
        cmocka_unit_test(unknown_zones_are_refused),
        cmocka_unit_test(the_c_library_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
