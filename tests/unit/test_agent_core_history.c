/* Means of whole minutes, and what is said of those that nobody measured. */
#include "agent/core/history.h"

#include "proto/canon.h"
#include "tests/lib/test.h"

#define NOON 1795348800000 /* a whole minute */

static void hear(struct history *h, const char *host, int millicelsius, msec wall)
{
    Skein__HostSummary s = SKEIN__HOST_SUMMARY__INIT;
    s.host = (char *)host;
    s.has_inlet_millicelsius = 1;
    s.inlet_millicelsius = millicelsius;
    s.has_cores = s.has_used_millicores = 1;
    s.cores = 4;
    s.used_millicores = 1000;
    history_host(h, &s, wall);
}

/* Of one part: {"hv1": {...}} as text. */
static void is(struct history *h, msec wall, const char *part, const char *want)
{
    _cleanup_json_ json_t *all = history_json(h, wall);
    _cleanup_(freep) char *text = NULL;
    struct err err = {0};
    assert_ok(canon_dump(json_object_get(all, part), &text, NULL, &err), &err);
    assert_string_equal(text, want);
}

static void minutes_are_averaged_and_holes_are_null(void **state)
{
    (void)state;
    struct history *h = history_new();
    hear(h, "hv1", 20000, NOON);
    hear(h, "hv1", 22000, NOON + 30000);
    is(h, NOON + 59999, "hosts", "{}"); /* the minute is not over */
    hear(h, "hv1", 30000, NOON + 60000);
    is(h, NOON + 119999, "hosts", "{\"hv1\":{\"cpu.util\":[25],\"temp.inlet\":[21]}}");
    hear(h, "hv1", 24000, NOON + 240000);
    is(h, NOON + 300000, "hosts",
       "{\"hv1\":{\"cpu.util\":[25,25,null,null,25],\"temp.inlet\":[21,30,null,null,24]}}");
    /* silent since: nulls follow, then it is forgotten */
    is(h, NOON + 360000, "hosts",
       "{\"hv1\":{\"cpu.util\":[25,25,null,null,25,null],"
       "\"temp.inlet\":[21,30,null,null,24,null]}}");
    is(h, NOON + 240000 + (HISTORY_OF_HOST + 1) * (msec)HISTORY_EVERY, "hosts", "{}");
    history_free(h);
}

static void the_ring_holds_its_time(void **state)
{
    (void)state;
    struct history *h = history_new();
    for (int i = 0; i < 40; i++)
        history_vm(h, "u", 1000 + i, NOON + i * (msec)HISTORY_EVERY);
    is(h, NOON + 40 * (msec)HISTORY_EVERY, "vms",
       "{\"u\":{\"cpu.used\":[1.025,1.026,1.027,1.028,1.029,1.03,1.031,1.032,1.033,1.034,1.035,"
       "1.036,1.037,1.038,1.039]}}");
    history_free(h);
}

static void a_clock_that_is_set_does_no_harm(void **state)
{
    (void)state;
    struct history *h = history_new();
    hear(h, "hv1", 20000, NOON);
    hear(h, "hv1", 40000, NOON - 30000); /* counts to the minute under way */
    is(h, NOON + 60000, "hosts", "{\"hv1\":{\"cpu.util\":[25],\"temp.inlet\":[30]}}");
    hear(h, "hv1", 50000, NOON - 86400000); /* a day back: a new history */
    is(h, NOON - 86400000 + 60000, "hosts", "{\"hv1\":{\"cpu.util\":[25],\"temp.inlet\":[50]}}");
    hear(h, "hv1", 60000, NOON);
    is(h, NOON + 60000, "hosts", "{\"hv1\":{\"cpu.util\":[25],\"temp.inlet\":[60]}}");
    hear(h, "hv1", 60000, 0); /* before there were clocks */
    is(h, 60000, "hosts", "{\"hv1\":{\"cpu.util\":[25],\"temp.inlet\":[60]}}");
    history_free(h);
}

static void hosts_are_told_apart(void **state)
{
    (void)state;
    struct history *h = history_new();
    for (int i = 9; i >= 0; i--) {
        char name[8];
        snprintf(name, sizeof name, "hv%d", i);
        hear(h, name, 1000 * (20 + i), NOON);
    }
    _cleanup_json_ json_t *all = history_json(h, NOON + 60000);
    for (int i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof name, "hv%d", i);
        const json_t *list =
            json_object_get(json_object_get(json_object_get(all, "hosts"), name), "temp.inlet");
        assert_int_equal(canon_to_milli(json_array_get(list, 0)), 1000 * (20 + i));
    }
    assert_string_equal(json_string_value(json_object_get(all, "until")), "2026-11-22T12:01:00Z");
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minutes_are_averaged_and_holes_are_null),
        cmocka_unit_test(the_ring_holds_its_time),
        cmocka_unit_test(a_clock_that_is_set_does_no_harm),
        cmocka_unit_test(hosts_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
