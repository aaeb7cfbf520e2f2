#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/worker/evaluate.h"
#include "planner/worker/request.h"

/* hv1 is known in all its parts, hv2 in none. */
static const char snapshot[] =
    "{\"schema\":\"skein.snapshot/"
    "1\",\"cluster\":\"t\",\"taken_at\":\"2026-11-22T01:30:00Z\",\"seed\":7,"
    "\"hosts\":[{\"name\":\"hv1\",\"state\":\"up\",\"observed_at\":\"2026-11-22T01:29:50Z\","
    "\"failure_domain\":\"dc/r1\",\"tags\":{\"gen\":\"milan\"},"
    "\"cpu\":{\"cores\":8,\"used_cores\":4,\"overcommit\":2},"
    "\"memory\":{\"total_mib\":10000,\"reserved_mib\":2000,\"used_mib\":5000},"
    "\"temperature\":{\"inlet_celsius\":20,\"cpu_celsius\":70,\"cpu_max_celsius\":90},"
    "\"power\":{\"watts\":200,\"curve_watts\":[100,120,140,160,180,200,220,240,260,280,300]},"
    "\"storage\":[{\"name\":\"s\",\"shared\":true}],\"networks\":[\"br\"]},"
    "{\"name\":\"hv2\",\"state\":\"up\",\"failure_domain\":\"dc/r1\"},"
    "{\"name\":\"hv3\",\"state\":\"offline\",\"failure_domain\":\"dc/r2\"}],"
    "\"vms\":[{\"name\":\"a\",\"uuid\":\"00000000-0000-4000-8000-000000000001\",\"host\":\"hv1\","
    "\"state\":\"running\",\"vcpus\":2,\"cpu_used_cores\":1.5,\"memory_mib\":1000,"
    "\"memory_used_mib\":800,\"tags\":{\"tier\":\"gold\"}},"
    "{\"name\":\"b\",\"uuid\":\"00000000-0000-4000-8000-000000000002\",\"host\":\"hv1\","
    "\"state\":\"running\",\"vcpus\":4,\"cpu_used_cores\":0.5,\"memory_mib\":3000},"
    "{\"name\":\"c\",\"uuid\":\"00000000-0000-4000-8000-000000000003\",\"host\":\"hv2\","
    "\"state\":\"running\"}],"
    "\"history\":{\"every_s\":60,\"until\":\"2026-11-22T01:29:30Z\",\"hosts\":{\"hv1\":{"
    "\"temp.inlet\":[10,20,null,22,26,null],\"cpu.util\":[50,null,null,null]}},"
    "\"vms\":{\"00000000-0000-4000-8000-000000000001\":{\"cpu.used\":[1,2,3]}}}}";

/* The reason that a trigger with this body gives, or the error. */
static void run(const char *body, char *ret, size_t size)
{
    _cleanup_(freep) char *policy =
        xasprintf("local P = policy { name = 'x', api = 1,\n"
                  "params = { p = { type = 'percent', default = 70 } },\n"
                  "schedule = { from = '22:00', to = '06:00' } }\n"
                  "function P.score(c, vm, host) return 1 end\n"
                  "function P.trigger(c)\n"
                  "local hv1, hv2, a, b = c:host('hv1'), c:host('hv2'), "
                  "c:vm('a'), c:vm('b')\n"
                  "return false, (function() %s end)()\nend\n",
                  body);
    struct worker_request req = {.snapshot = snapshot,
                                 .snapshot_len = sizeof snapshot - 1,
                                 .policy = policy,
                                 .policy_len = strlen(policy),
                                 .policy_name = "x.lua"};
    worker_limits_default(&req.limits);
    _cleanup_(evaluation_done) struct evaluation e = {.req = &req};
    struct err err = {0};
    if (evaluation_run(&e, &err) < 0)
        snprintf(ret, size, "error: %s", err.msg);
    else
        snprintf(ret, size, "%s", e.reason + (strlen(e.reason) > 15 ? 15 : 0));
}

#define check(body, want)                                                                          \
    do {                                                                                           \
        char got[512];                                                                             \
        run("return tostring(" body ")", got, sizeof got);                                         \
        assert_string_equal(got, want);                                                            \
    } while (0)

#define check_error(body, part)                                                                    \
    do {                                                                                           \
        char got[512];                                                                             \
        run(body, got, sizeof got);                                                                \
        if (strncmp(got, "error: x.lua:", 13) != 0 || strstr(got, part) == NULL)                   \
            fail_msg("\"%s\" lacks \"%s\"", got, part);                                            \
    } while (0)

static void known_quantities_have_their_values(void **state)
{
    (void)state;
    check("hv1.cpu.util", "50.0");
    check("hv1.cpu:pct()", "50.0");
    check("hv1.cpu.vcpus", "6");
    check("hv1.cpu.capacity", "16");
    check("hv1.mem.capacity", "8000");
    check("hv1.mem.committed", "4000");
    check("hv1.mem.free", "4000");
    check("hv1.temp.headroom", "20.0");
    check("hv1.temp.rise", "50.0");
    check("hv1.power.model", "200.0");
    check("hv1.age", "10.0");
    check("hv1.tags.gen", "milan");
    check("hv1.vms:names()", "a, b");
    check("hv1.neighbours:names()", "hv2");
    check("a.host.name .. a.cpu.used .. a.mem.max", "hv11.51000");
    check("a.cpu.util", "75.0");
    check("c.now", "1795311000");
    check("c.utc.weekday .. c.utc.hour", "sun1");
    check("c.params.p", "70");
    check("c.seed", "7");
    check("tostring(c.window.open) .. c.window.ends_in", "true16200");
    check("#c.hosts .. #c.vms", "33");
}

static void unknown_quantities_are_nil(void **state)
{
    (void)state;
    check("hv2.cpu.util", "nil");
    check("hv2.mem.free", "nil");
    check("hv2.temp.cpu", "nil");
    check("hv2.power.watts", "nil");
    check("hv2.age", "nil");
    check("hv2.tags.gen", "nil");
    check("hv2.networks", "nil");
    check("c:vm('c').mem.max", "nil");
    check("c:vm('c').heat", "nil");
    check("hv1.temp.inlet_max", "nil");
    check("hv1:after(c:vm('c')).cpu.used", "nil");
    check("c.hosts:sum('cpu.used')", "nil");
    check("c:host('none')", "nil");
    check("c:vm('none')", "nil");
}

static void mistakes_are_told(void **state)
{
    (void)state;
    check_error("return hv1.tmep", "a host has no field 'tmep'; did you mean 'temp'?");
    check_error("return hv1.temp.cpus", "a temp has no field 'cpus'; did you mean 'cpu'?");
    check_error("return hv1:after(a).temp.cpus", "a temp has no field 'cpus'");
    check_error("return hv1:after(a)[1]", "a host has named fields only");
    check_error("return hv1:after(a).mem[1]", "a mem has named fields only");
    check_error("return a.hots", "did you mean 'host'?");
    check_error("return c.host.name", "attempt to index");
    check_error("return c.params.q", "unknown parameter 'q'");
    check_error("return c.hosts:wehre{}", "did you mean 'where'?");
    check_error("hv1.name = 'x'", "host is read-only");
    check_error("hv1.cpu.used = 0", "cpu is read-only");
    check_error("a.tags.tier = 'x'", "tags is read-only");
    check_error("c.hosts[1] = nil", "list is read-only");
    check_error("table.insert(c.hosts, hv1)", "list is read-only");
    check_error("table.sort(c.hosts)", "use :sort_by()");
    check_error("return hv1:after(hv2)", "wants a VM");
    check_error("return hv1.after(a)", "called on a host");
    check_error("return c.hosts:sort_by('cpu.util', 'up')", "\"asc\" or \"desc\"");
    check_error("c:refuse(hv1, 'no')", "what reject(code, message) gives");
    check_error("return reject('lower case')", "the code must be like");
    check_error("return nowhere", "'nowhere' is not defined");
}

static void projections_add_and_take_away(void **state)
{
    (void)state;
    check("hv1:without(a).cpu.used", "2.5");
    check("hv1:without(a).mem.committed", "3000");
    check("hv1:without(a).cpu.vcpus", "4");
    check("hv1:after(a).cpu.used", "4.0"); /* it is there already */
    check("hv1:without(c:vm('c')).cpu.used", "4.0");
    check("hv1:without(b).mem.used", "nil"); /* b's use is not known */
    check("hv1:after(a).name", "hv1");
    check("hv1:after(a) == hv1:after(a)", "true");
    /* Load causes half of the 50 degrees' rise (idle 100 of 200 W): 25, shared 1.5 to 0.5. */
    check("a.heat", "18.75");
    check("hv1:without(a).temp.cpu", "51.25");
    check("hv1:without(a).temp.headroom", "38.75");
}

static void the_past_is_averaged_ranked_and_fitted(void **state)
{
    (void)state;
    check("hv1:history('temp.inlet'):avg('6m')", "19.5");
    check("hv1:history('temp.inlet'):avg('3m')", "24.0");
    check("hv1:history('temp.inlet'):p(50, '6m')", "20.0");
    check("hv1:history('temp.inlet'):p(51, '6m')", "22.0");
    check("hv1:history('temp.inlet'):max('6m')", "26.0");
    check("hv1:history('temp.inlet'):min('5m')", "20.0");
    check("a:history('cpu.used'):trend('3m')", "1.0");
    check("c:usual()", "nil");
    check("c:usual('45m')", "nil");
    check("c:usual_range()", "nil");
    check_error("return c:usual('x')", "'x' is not a duration");
    check_error("return c:usual('8d')", "at most 7 days");
    check_error("return c:usual(0/0)", "at most 7 days");
    check_error("return c.usual(5)", "called on c");
    check("a:history('cpu.used'):avg(60)", "3.0");
    check("hv1:history('temp.inlet'):age()", "90.0"); /* 30 s, and one sample missing */
    /* unknown: too little of that time is known, or nothing at all */
    check("hv1:history('temp.inlet'):avg('1m')", "nil");
    check("hv1:history('cpu.util'):avg('4m')", "nil");
    check("hv1:history('temp.inlet'):trend('2h')", "nil");
    check("hv2:history('temp.inlet'):avg('5m')", "nil");
    check("hv2:history('temp.inlet'):age()", "nil");
    check("b:history('cpu.used'):p(66, '5m')", "nil");
    check_error("return hv1:history('temp.inlt')", "did you mean 'temp.inlet'?");
    check_error("return a:history('temp.cpu')", "is kept for a VM");
    check_error("return hv1:history('temp.inlet'):average('5m')", "method of a history");
    check_error("return hv1:history('temp.inlet'):p(166, '5m')", "percentage");
    check_error("return hv1:history('temp.inlet'):avg('5 minutes')", "duration");
    check_error("hv1:history('temp.inlet')[1] = 5", "read-only");
}

static void lists_do_what_they_say(void **state)
{
    (void)state;
    check("c.hosts:where{ state = 'up' }:names()", "hv1, hv2");
    check("c.vms:where{ tags = { tier = 'gold' } }:names()", "a");
    check("c.vms:where(function(v) return v.vcpus == 4 end):first().name", "b");
    check("c.hosts:sort_by('-name'):names()", "hv3, hv2, hv1");
    check("c.hosts:sort_by('load'):names()", "hv1, hv2, hv3");
    check("c.vms:sort_by('cpu.used'):names()", "b, a, c");
    check("c.vms:sort_by('cpu.used', 'desc'):names()", "a, b, c");
    check("c.vms:max('cpu.used')", "1.5");
    check("hv1.vms:mean('cpu.used')", "1.0");
    check("hv1.vms:deviation('cpu.used')", "0.5");
    check("hv1.vms:contains(a)", "true");
    check("hv1.vms:contains(c:vm('c'))", "false");
    check("c.hosts:take(2):count()", "2");
    check("c.hosts:any{ state = 'offline' }", "true");
    check("c.hosts:all{ state = 'up' }", "false");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_quantities_have_their_values),
        cmocka_unit_test(unknown_quantities_are_nil),
        cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(projections_add_and_take_away),
        cmocka_unit_test(the_past_is_averaged_ranked_and_fitted),
        cmocka_unit_test(lists_do_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
