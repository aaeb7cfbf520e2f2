/* The snapshot says what is known, in the contract's words, and the planner can read it. */
#include <stdio.h>

#include "planner/core/model.h"
#include "tests/unit/acting_world.h"

static json_t *text_path(json_t *o, const char *a, const char *b)
{
    json_t *part = json_object_get(o, a);
    return b != NULL ? json_object_get(part, b) : part;
}

static json_t *by_name(json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
            return o;
    }
    return NULL;
}

static char *dump(json_t *o, size_t *len)
{
    char *text;
    struct err err;
    assert_ok(canon_dump(o, &text, len, &err), &err);
    json_decref(o);
    return text;
}

static void full_host(struct view *v, struct moment now)
{
    Skein__HostSummary s = SKEIN__HOST_SUMMARY__INIT;
    s.host = (char *)"hv9";
    s.has_state = s.has_cores = s.has_used_millicores = s.has_memory_total_mib = 1;
    s.has_incarnation = s.has_observed_at_ms = s.has_inlet_millicelsius = 1;
    s.has_cpu_millicelsius = s.has_power_milliwatts = s.has_pressure_cpu_milli = 1;
    s.incarnation = 1795311000000;
    s.observed_at_ms = 1795311000500;
    s.state = SKEIN__HOST_STATE__HOST_QUARANTINE;
    s.cores = 32;
    s.used_millicores = 9100;
    s.memory_total_mib = 262144;
    s.inlet_millicelsius = 24500;
    s.cpu_millicelsius = 900000;
    s.power_milliwatts = 310000;
    s.pressure_cpu_milli = 12500;
    s.has_memory_used_mib = 1;
    s.memory_used_mib = UINT64_MAX; /* absurd: left out */
    Skein__Pool pool = SKEIN__POOL__INIT, again = SKEIN__POOL__INIT, *pools[] = {&pool, &again};
    pool.name = again.name = (char *)"ceph";
    pool.has_shared = pool.has_free_mib = 1;
    pool.shared = 1;
    pool.free_mib = 900;
    Skein__Tag tag = SKEIN__TAG__INIT, *tags[] = {&tag};
    tag.key = (char *)"gen";
    tag.value = (char *)"milan";
    char *networks[] = {(char *)"br-vm"};
    uint32_t curve[] = {1, 2, 3};
    Skein__HostCapability c = SKEIN__HOST_CAPABILITY__INIT;
    c.host = s.host;
    c.storage = pools;
    c.n_storage = 2;
    c.tags = tags;
    c.n_tags = 1;
    c.networks = networks;
    c.n_networks = 1;
    c.curve_milliwatts = curve;
    c.n_curve_milliwatts = 3; /* not the whole curve: left out */
    c.qemu = (char *)"7.2.22";
    Skein__HostDetail d = SKEIN__HOST_DETAIL__INIT;
    d.summary = &s;
    d.capability = &c;
    view_detail(v, &d, now, false);
}

static void check_full_host(json_t *h)
{
    assert_string_equal(json_string_value(text_path(h, "state", NULL)), "quarantine");
    assert_string_equal(json_string_value(text_path(h, "observed_at", NULL)),
                        "2026-11-22T01:30:00.500Z");
    assert_string_equal(json_string_value(text_path(h, "tags", "gen")), "milan");
    assert_int_equal(json_integer_value(text_path(h, "cpu", "cores")), 32);
    assert_int_equal(canon_to_milli(text_path(h, "cpu", "used_cores")), 9100);
    assert_int_equal(canon_to_milli(text_path(h, "temperature", "inlet_celsius")), 24500);
    assert_null(text_path(h, "temperature", "cpu_celsius")); /* 900 degrees */
    assert_null(text_path(h, "memory", "used_mib"));
    assert_null(text_path(h, "power", "curve_watts"));
    assert_int_equal(json_integer_value(text_path(h, "power", "watts")), 310);
    assert_int_equal(json_array_size(text_path(h, "storage", NULL)), 1);
    assert_null(text_path(h, "machines", NULL)); /* an empty list says nothing */
    assert_false(json_is_true(text_path(h, "voter", NULL)));
}

static void known_fields_in_the_contracts_words(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.no_planner = true;
    run(&w, 2000);
    struct effects out = {0};
    struct host *me = &w.hosts[0];
    struct step s = step_of(&w, me, &out);
    s.now.wall = 1795311001000;
    full_host(me->view, s.now);
    view_peer(me->view, "hv8", false, s.now); /* a name, nothing else */
    _cleanup_json_ json_t *o = snapshot_make(me->view, me->state, &s, UINT64_MAX);
    json_t *hosts = json_object_get(o, "hosts");
    check_full_host(by_name(hosts, "hv9"));
    assert_string_equal(json_string_value(json_object_get(by_name(hosts, "hv8"), "state")),
                        "offline");
    assert_true(json_is_true(json_object_get(by_name(hosts, "hv1"), "voter")));
    json_t *vm = by_name(json_object_get(o, "vms"), "vm1");
    assert_string_equal(json_string_value(json_object_get(vm, "host")), "hv1");
    assert_string_equal(json_string_value(json_object_get(vm, "state")), "running");
    assert_int_equal(json_integer_value(json_object_get(vm, "moves_24h")), 0);
    assert_null(json_object_get(vm, "last_move"));
    assert_null(json_object_get(vm, "hold_until"));
    world_done(&w);
}

static void the_planner_reads_it_and_bytes_repeat(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    run(&w, 2000);
    struct effects out = {0};
    struct host *me = &w.hosts[0];
    struct step s = step_of(&w, me, &out);
    full_host(me->view, s.now);
    for (int i = 1; i < HOSTS; i++) {
        Skein__HostDetail *d = observe(&w, &w.hosts[i]);
        view_detail(me->view, d, s.now, false);
        skein__host_detail__free_unpacked(d, NULL);
    }
    size_t len, len2;
    _cleanup_json_ json_t *params =
        json_pack("[{s:s, s:{s:i}}]", "name", "balance", "params", "threshold", 15);
    me->conf.policy_params = params;
    _cleanup_(freep) char *text = dump(snapshot_make(me->view, me->state, &s, 7), &len);
    _cleanup_(freep) char *text2 = dump(snapshot_make(me->view, me->state, &s, 7), &len2);
    assert_int_equal(len, len2);
    assert_memory_equal(text, text2, len);
    _cleanup_(model_freep) struct model *m = NULL;
    struct err err;
    assert_ok(model_parse(text, len, &m, &err), &err);
    for (int i = 0; i < m->n_warnings; i++)
        fail_msg("the planner warns: %s", m->warnings[i]);
    assert_int_equal(m->n_hosts, 4);
    assert_int_equal(m->n_vms, VMS);
    assert_int_equal(m->limits.outflow_per_host, 2);
    assert_int_equal(m->vms[0].vcpus, 2);
    assert_string_equal(m->policies_json, "[{\"name\":\"balance\",\"params\":{\"threshold\":15}}]");
    world_done(&w);
}

/* The planner has heard of every host. */
static void hear_all(struct world *w, struct host *me, struct moment now)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->hosts); i++) {
        Skein__HostDetail *d = observe(w, &w->hosts[i]);
        view_detail(me->view, d, now, false);
        skein__host_detail__free_unpacked(d, NULL);
    }
}

/* Moves that do not get on; the planner. */
static struct host *moves_under_way(struct world *w)
{
    world_init(w, 1);
    run(w, 2000);
    world_begin(w);
    w->fate_forced = true;
    w->force_fate = FATE_STUCK;
    run(w, 2000);
    return &w->hosts[w->leader];
}

/* Stale hosts, moves under way, moves done. */
static void time_and_moves_show(void **state)
{
    (void)state;
    struct world w;
    struct effects out = {0};
    struct host *me = moves_under_way(&w);
    struct step s = step_of(&w, me, &out);
    hear_all(&w, me, s.now);
    json_t *o = snapshot_make(me->view, me->state, &s, 1);
    json_t *flights = json_object_get(o, "in_flight");
    assert_in_range(json_array_size(flights), 2, 3); /* a1, a2, a4 hold permits */
    assert_string_equal(json_string_value(json_object_get(json_array_get(flights, 0), "vm")),
                        w.uuids[0]);
    json_decref(o);
    s.now.mono += 60000;
    o = snapshot_make(me->view, me->state, &s, 1);
    assert_string_equal(
        json_string_value(json_object_get(by_name(json_object_get(o, "hosts"), "hv1"), "state")),
        "offline");
    json_decref(o);
    s.now.mono -= 60000;
    for (size_t i = 0; i < ARRAY_SIZE(w.migrations); i++)
        w.migrations[i].fate = FATE_MOVES;
    run(&w, 100000);
    s = step_of(&w, me, &out);
    Skein__HostDetail *d = observe(&w, &w.hosts[2]);
    view_detail(me->view, d, s.now, false);
    skein__host_detail__free_unpacked(d, NULL);
    o = snapshot_make(me->view, me->state, &s, 1);
    json_t *vm = by_name(json_object_get(o, "vms"), "vm2");
    assert_string_equal(json_string_value(json_object_get(vm, "host")), "hv3");
    assert_int_equal(json_integer_value(json_object_get(vm, "moves_24h")), 1);
    assert_non_null(json_object_get(vm, "last_move"));
    assert_int_equal(json_array_size(json_object_get(o, "in_flight")), 0);
    json_decref(o);
    s.now.wall += 25 * 3600000;
    o = snapshot_make(me->view, me->state, &s, 1);
    vm = by_name(json_object_get(o, "vms"), "vm2");
    assert_int_equal(json_integer_value(json_object_get(vm, "moves_24h")), 0);
    json_decref(o);
    world_done(&w);
}

/* A new planner has not heard of every host yet: moves of VMs that it does not know are left out,
 * so that policies can read the rest. */
static void moves_of_the_unknown_are_left_out(void **state)
{
    (void)state;
    struct world w;
    struct effects out = {0};
    struct host *me = moves_under_way(&w);
    struct step s = step_of(&w, me, &out);
    hear_all(&w, me, s.now);
    struct view *fresh = view_new();
    Skein__HostDetail *own = observe(&w, &w.hosts[2]);
    view_detail(fresh, own, s.now, true);
    skein__host_detail__free_unpacked(own, NULL);
    json_t *all = snapshot_make(me->view, me->state, &s, 1),
           *few = snapshot_make(fresh, me->state, &s, 1);
    assert_true(json_array_size(json_object_get(few, "in_flight")) <
                json_array_size(json_object_get(all, "in_flight")));
    json_decref(all);
    size_t len;
    _cleanup_(freep) char *text = dump(few, &len);
    _cleanup_(model_freep) struct model *m = NULL;
    struct err err;
    assert_ok(model_parse(text, len, &m, &err), &err);
    view_free(fresh);
    effects_clear(&out);
    world_done(&w);
}

/* Policies plan in the hypervisors' world, whatever its clock says of the wall's. */
static void the_worlds_clock_is_the_snapshots(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.no_planner = true;
    run(&w, 2000);
    struct effects out = {0};
    struct host *me = &w.hosts[0];
    struct step s = step_of(&w, me, &out);
    s.now.wall = 1795311001000; /* 2026-11-22T01:30:01Z */
    full_host(me->view, s.now); /* observed half a second ago: half a minute of that world */
    s.now.clock =
        (struct hv_clock){.wall = s.now.wall - 60000, .world = 1000000000000, .speed_milli = 60000};
    _cleanup_json_ json_t *o = snapshot_make(me->view, me->state, &s, 1);
    assert_string_equal(json_string_value(json_object_get(o, "taken_at")), "2001-09-09T02:46:40Z");
    json_t *host = by_name(json_object_get(o, "hosts"), "hv9");
    assert_string_equal(json_string_value(json_object_get(host, "observed_at")),
                        "2001-09-09T02:46:10Z");
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_fields_in_the_contracts_words),
        cmocka_unit_test(the_planner_reads_it_and_bytes_repeat),
        cmocka_unit_test(time_and_moves_show),
        cmocka_unit_test(moves_of_the_unknown_are_left_out),
        cmocka_unit_test(the_worlds_clock_is_the_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
