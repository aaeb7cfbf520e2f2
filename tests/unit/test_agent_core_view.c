/* What is believed of other hosts, and for how long. */
#include "tests/lib/test.h"

#include "agent/core/view.h"

static struct moment at(msec mono)
{
    return (struct moment){.mono = mono};
}

static Skein__HostSummary summary(const char *host, uint64_t incarnation, uint64_t sequence)
{
    Skein__HostSummary s = SKEIN__HOST_SUMMARY__INIT;
    s.host = (char *)host;
    s.has_incarnation = s.has_sequence = 1;
    s.incarnation = incarnation;
    s.sequence = sequence;
    return s;
}

static void put_cpu(struct view *v, uint64_t sequence, int millicelsius, msec mono)
{
    Skein__HostSummary s = summary("hv1", 1, sequence);
    s.has_cpu_millicelsius = 1;
    s.cpu_millicelsius = millicelsius;
    view_summary(v, &s, at(mono), 0);
}

static void newer_lives_and_messages_win(void **state)
{
    (void)state;
    struct view *v = view_new();
    const uint64_t order[][2] = {{5, 1}, {5, 3}, {5, 2}, {4, 9}, {5, 3}, {6, 1}, {5, 8}};
    const uint64_t want[][2] = {{5, 1}, {5, 3}, {5, 3}, {5, 3}, {5, 3}, {6, 1}, {6, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        Skein__HostSummary s = summary("hv1", order[i][0], order[i][1]);
        view_summary(v, &s, at(100 * (msec)(i + 1)), 0);
        const struct view_host *h = view_find(v, "hv1");
        assert_int_equal(h->summary->incarnation, want[i][0]);
        assert_int_equal(h->summary->sequence, want[i][1]);
    }
    /* a repeated message does not make it look fresh */
    assert_int_equal(view_find(v, "hv1")->summary_mono, 600);
    /* a host whose clock was set back before it was restarted is not ignored for ever */
    Skein__HostSummary s = summary("hv1", 2, 1);
    view_summary(v, &s, at(20000), 0);
    assert_int_equal(view_find(v, "hv1")->summary->incarnation, 6);
    view_summary(v, &s, at(31000), 0);
    assert_int_equal(view_find(v, "hv1")->summary->incarnation, 2);
    view_free(v);
}

static void ages_do_not_ask_any_clock(void **state)
{
    (void)state;
    struct view *v = view_new();
    Skein__HostSummary s = summary("hv1", 1, 1);
    s.has_observed_at_ms = 1;
    s.observed_at_ms = 99999999999999;
    view_summary(v, &s, at(5000), 0);
    assert_true(view_fresh(view_find(v, "hv1"), at(14000), 9000));
    assert_false(view_fresh(view_find(v, "hv1"), at(14001), 9000));
    view_peer(v, "hv0", true, at(7));
    assert_false(view_fresh(view_find(v, "hv0"), at(8), 9000));
    assert_true(view_find(v, "hv0")->linked);
    view_peer(v, "hv0", true, at(9));
    assert_int_equal(view_find(v, "hv0")->link_changed_mono, 7);
    assert_int_equal(view_count(v), 2);
    assert_string_equal(view_at(v, 0)->name, "hv0");
    view_free(v);
}

static void nonsense_temperatures_are_unknown(void **state)
{
    (void)state;
    const int bad[] = {0, -3000, -1, 150000, 900000, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct view *v = view_new();
        Skein__HostSummary s = summary("hv1", 1, 1);
        s.has_inlet_millicelsius = s.has_cpu_millicelsius = s.has_outlet_millicelsius = 1;
        s.has_inlet_max_millicelsius = s.has_cpu_max_millicelsius = 1;
        s.inlet_millicelsius = s.outlet_millicelsius = s.cpu_millicelsius = bad[i];
        s.inlet_max_millicelsius = s.cpu_max_millicelsius = bad[i];
        view_summary(v, &s, at(1), 0);
        const Skein__HostSummary *got = view_find(v, "hv1")->summary;
        assert_false(got->has_inlet_millicelsius || got->has_outlet_millicelsius ||
                     got->has_cpu_millicelsius || got->has_inlet_max_millicelsius ||
                     got->has_cpu_max_millicelsius || got->has_trend_millicelsius_per_min);
        view_free(v);
    }
}

static void the_trend_is_the_slope_of_what_arrived(void **state)
{
    (void)state;
    struct view *v = view_new();
    for (int i = 0; i < 120; i++) {
        put_cpu(v, (uint64_t)i + 1, 60000 + i * 10 + (i % 2 == 0 ? 300 : -300), 1000 + i * 1000);
        const Skein__HostSummary *s = view_find(v, "hv1")->summary;
        if (i < 20)
            assert_false(s->has_trend_millicelsius_per_min); /* too few yet */
    }
    const Skein__HostSummary *s = view_find(v, "hv1")->summary;
    assert_true(s->has_trend_millicelsius_per_min); /* 10 m°C a second, with noise */
    assert_in_range(s->trend_millicelsius_per_min, 500, 700);
    /* one broken reading ends it: what comes back may be another sensor */
    put_cpu(v, 200, 0, 122000);
    put_cpu(v, 201, 40000, 126000);
    assert_false(view_find(v, "hv1")->summary->has_trend_millicelsius_per_min);
    /* what the host says itself counts */
    Skein__HostSummary own = summary("hv1", 1, 300);
    own.has_trend_millicelsius_per_min = 1;
    own.trend_millicelsius_per_min = -1234;
    view_summary(v, &own, at(130000), 0);
    assert_int_equal(view_find(v, "hv1")->summary->trend_millicelsius_per_min, -1234);
    view_free(v);
}

/* A world in which a minute passes in a second: degrees per minute are those of its minutes. */
static void the_trend_is_of_the_worlds_time(void **state)
{
    (void)state;
    struct view *v = view_new();
    const struct hv_clock clock = {.wall = 500000, .world = 9000000, .speed_milli = 60000};
    for (int i = 0; i < 30; i++) {
        Skein__HostSummary s = summary("hv1", 1, (uint64_t)i + 1);
        s.has_cpu_millicelsius = 1;
        s.cpu_millicelsius = 60000 + i * 300;
        view_summary(v, &s, (struct moment){1000 + i * 1000, 500000 + i * 1000, clock}, 0);
        if (i < 12)
            assert_false(view_find(v, "hv1")->summary->has_trend_millicelsius_per_min);
    }
    assert_true(view_find(v, "hv1")->summary->has_trend_millicelsius_per_min);
    assert_in_range(view_find(v, "hv1")->summary->trend_millicelsius_per_min, 299, 301);
    view_free(v);
}

static void put_vm(struct view *v, const char *host, const char *uuid, Skein__VmState st, msec mono)
{
    static uint64_t sequence;
    Skein__HostSummary s = summary(host, 1, ++sequence);
    Skein__VmDetail vm = SKEIN__VM_DETAIL__INIT, *list[] = {&vm};
    vm.uuid = (char *)uuid;
    vm.has_state = 1;
    vm.state = st;
    Skein__HostDetail d = SKEIN__HOST_DETAIL__INIT;
    d.summary = &s;
    d.vms = list;
    d.n_vms = uuid != NULL ? 1 : 0;
    view_detail(v, &d, at(mono), false);
}

static void the_copy_that_runs_counts(void **state)
{
    (void)state;
    const char *u = "00000001-0000-4000-8000-000000000000";
    const struct view_host *where;
    struct view *v = view_new();
    assert_null(view_vm(v, u, &where));
    put_vm(v, "hv1", u, SKEIN__VM_STATE__VM_INCOMING, 1);
    assert_null(view_vm(v, u, &where));
    put_vm(v, "hv2", u, SKEIN__VM_STATE__VM_RUNNING, 2);
    put_vm(v, "hv3", u, SKEIN__VM_STATE__VM_STOPPED, 3);
    assert_non_null(view_vm(v, u, &where));
    assert_string_equal(where->name, "hv2");
    put_vm(v, "hv1", u, SKEIN__VM_STATE__VM_RUNNING, 4); /* it moved; hv2's word is older */
    assert_non_null(view_vm(v, u, &where));
    assert_string_equal(where->name, "hv1");
    put_vm(v, "hv1", NULL, SKEIN__VM_STATE__VM_RUNNING, 5);
    put_vm(v, "hv2", NULL, SKEIN__VM_STATE__VM_RUNNING, 5);
    assert_non_null(view_vm(v, u, &where));
    assert_string_equal(where->name, "hv3");
    view_free(v);
}

static void own_observation_is_always_the_newest(void **state)
{
    (void)state;
    struct view *v = view_new();
    Skein__HostSummary s = summary("hv1", 9, 9);
    Skein__HostCapability c = SKEIN__HOST_CAPABILITY__INIT;
    c.host = (char *)"hv1";
    c.qemu = (char *)"7.2.22";
    Skein__HostDetail d = SKEIN__HOST_DETAIL__INIT;
    d.summary = &s;
    d.capability = &c;
    view_detail(v, &d, at(1), true);
    s.sequence = 1;
    view_detail(v, &d, at(2), true);
    assert_int_equal(view_find(v, "hv1")->detail_mono, 2);
    assert_string_equal(view_find(v, "hv1")->capability->qemu, "7.2.22");
    d.summary = NULL; /* from a peer that forgets it: ignored */
    view_detail(v, &d, at(3), false);
    s.host = (char *)"";
    view_summary(v, &s, at(3), 0);
    assert_int_equal(view_count(v), 1);
    view_free(v);
}

/* One host's use at a time, heard now. */
static void put_use(struct view *v, const char *host, uint32_t millicores, msec t)
{
    static uint64_t sequence;
    Skein__HostSummary s = summary(host, 1, ++sequence);
    s.has_used_millicores = millicores != UINT32_MAX;
    s.used_millicores = millicores;
    view_summary(v, &s, (struct moment){.mono = t, .wall = t}, 0);
}

static const json_t *week(struct view *v, msec t, json_t **ret_all)
{
    *ret_all = view_history(v, (struct moment){.mono = t, .wall = t});
    return json_object_get(json_object_get(*ret_all, "week"), "used_cores");
}

static void the_fleets_load_is_learned(void **state)
{
    (void)state;
    const msec hour = 3600000, slot = hour / 2;
    struct view *v = view_new();
    json_t *all;
    msec t = 1000;
    put_use(v, "hv1", 60000, t); /* the first to be heard: not the whole fleet */
    for (t += hour; t < 3 * hour; t += 30000) {
        put_use(v, "hv1", 1000, t);
        if (t < 2 * hour)
            put_use(v, "hv2", 3000, t);
        else if (t >= 2 * hour + slot)
            put_use(v, "hv2", UINT32_MAX, t); /* it lives and does not say */
    }
    const json_t *list = week(v, t, &all); /* 1970 began on a Thursday */
    size_t first = 3 * 48;
    assert_true(json_is_null(json_array_get(list, first)));
    assert_int_equal(json_number_value(json_array_get(list, first + 3)), 4);
    double off = json_number_value(json_array_get(list, first + 4)); /* hv2 is off after a minute */
    assert_true(off > 1 && off < 1.5);
    assert_true(json_is_null(json_array_get(list, first + 5)));
    json_decref(all);
    /* it outlives the agent, and is told once for each half-hour */
    int64_t seen = 0;
    json_t *known = view_week(v, &seen);
    assert_non_null(known);
    assert_null(view_week(v, &seen));
    struct view *next = view_new();
    view_week_take(next, known);
    view_week_take(next, NULL);
    list = week(next, t, &all);
    assert_int_equal(json_number_value(json_array_get(list, first + 3)), 4);
    json_decref(all);
    json_decref(known);
    view_free(next);
    view_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_lives_and_messages_win),
        cmocka_unit_test(ages_do_not_ask_any_clock),
        cmocka_unit_test(nonsense_temperatures_are_unknown),
        cmocka_unit_test(the_trend_is_the_slope_of_what_arrived),
        cmocka_unit_test(the_trend_is_of_the_worlds_time),
        cmocka_unit_test(the_copy_that_runs_counts),
        cmocka_unit_test(own_observation_is_always_the_newest),
        cmocka_unit_test(the_fleets_load_is_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
