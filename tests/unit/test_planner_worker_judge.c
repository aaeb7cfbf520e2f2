/* filter and score of single pairs: whose failure is whose, and projections that policies keep. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/worker/hooks.h"

static const char snapshot[] =
    "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"t\",\"taken_at\":\"2026-11-22T01:30:00Z\","
    "\"seed\":7,\"hosts\":["
    "{\"name\":\"hv1\",\"state\":\"up\",\"cpu\":{\"cores\":8,\"used_cores\":2},"
    "\"memory\":{\"total_mib\":10000}},"
    "{\"name\":\"hv2\",\"state\":\"up\",\"cpu\":{\"cores\":8,\"used_cores\":4},"
    "\"memory\":{\"total_mib\":10000}}],\"vms\":["
    "{\"name\":\"a\",\"uuid\":\"00000000-0000-4000-8000-000000000001\",\"host\":\"hv1\","
    "\"state\":\"running\",\"vcpus\":2,\"cpu_used_cores\":1.5,\"memory_mib\":1000},"
    "{\"name\":\"b\",\"uuid\":\"00000000-0000-4000-8000-000000000002\",\"host\":\"hv1\","
    "\"state\":\"running\",\"vcpus\":2,\"cpu_used_cores\":0.5,\"memory_mib\":3000}]}";

enum { HV1, HV2 };

enum { VM_A, VM_B };

struct court {
    struct model *m;
    struct sandbox *sb;
    struct policy p;
    struct api *api;
    struct hooks k;
    struct planner_verdict v;
};

/* body: the hooks, from line 2 on. */
static void open_court(struct court *t, const char *body)
{
    struct err err = {0};
    struct sandbox_conf conf = {.memory_max = (size_t)32 << 20, .lua_ms = 5000, .seed = 1};
    _cleanup_(freep) char *text =
        xasprintf("local P = policy { name = 'x', api = 1 } function P.trigger(c) end\n%s", body);
    *t = (struct court){0};
    assert_ok(model_parse(snapshot, sizeof snapshot - 1, &t->m, &err), &err);
    assert_ok(sandbox_new(&conf, &t->sb, &err), &err);
    assert_ok(policy_load(&t->p, t->sb, text, strlen(text), "x.lua", NULL, &err), &err);
    assert_ok(policy_api_new(&t->p, t->m, t->m->taken_at, 1, 0, &t->api, &err), &err);
    hooks_init(&t->k, &t->p, t->api, t->m);
}

static void close_court(struct court *t)
{
    policy_api_free(t->api);
    policy_done(&t->p);
    sandbox_free(t->sb);
    model_free(t->m);
}

static void ask(struct court *t, int vm, int host, enum judge_depth depth)
{
    hook_judge(&t->k, API_SNAPSHOT, vm, host, depth, &t->v);
}

static void answers_of_the_filter(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        bool reject;
        const char *code, *message;
    } cases[] = {
        {"", false, "", ""},
        {"nil", false, "", ""},
        {"true", false, "", ""},
        {"allow()", false, "", ""},
        {"false", true, "POLICY", "x says no"},
        {"reject('HOT', '%s to %s', vm.name, host.name)", true, "HOT", "a to hv2"},
        {"reject('HOT')", true, "HOT", ""},
        {"7", true, "POLICY_ERROR", "x.lua: 'filter' returned a number"},
        {"setmetatable({}, { __eq = function() return true end })", true, "POLICY_ERROR",
         "x.lua: 'filter' returned a table"},
        {"nil + 1", true, "POLICY_ERROR", "x.lua:2: attempt to perform arithmetic"},
        {"error('bad', 2)", true, "POLICY_ERROR", "x.lua:2: bad"},
    };

    for (int with_score = 0; with_score < 2; with_score++)
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            struct court t;
            _cleanup_(freep) char *body =
                xasprintf("function P.filter(c, vm, host) return %s end %s", cases[i].value,
                          with_score ? "function P.score(c, vm, host) return 40 end" : "");
            open_court(&t, body);
            ask(&t, VM_A, HV2, JUDGE_SCORE);
            assert_int_equal(t.v.reject, cases[i].reject);
            assert_string_equal(t.v.code, cases[i].code);
            if (strncmp(t.v.message, cases[i].message, strlen(cases[i].message)) != 0)
                fail_msg("%s: \"%s\"", cases[i].value, t.v.message);
            bool failed = strcmp(cases[i].code, "POLICY_ERROR") == 0;
            assert_int_equal(t.v.score, with_score && !t.v.reject ? 40000 : 0);
            assert_int_equal(t.p.health[HOOK_FILTER].calls, 1);
            assert_int_equal(t.p.health[HOOK_FILTER].errors, failed);
            assert_int_equal(t.p.health[HOOK_SCORE].calls, with_score && !t.v.reject);
            assert_int_equal(t.p.health[HOOK_SCORE].errors, 0);
            close_court(&t);
        }
}

static void answers_of_the_score(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        int64_t score;
        const char *reason;
        bool failed;
    } cases[] = {
        {"12.5", 12500, "", false},
        {"-3", 0, "", false},
        {"1/0", 100000, "", false},
        {"5, 'why'", 5000, "why", false},
        {"5, '%s on %s', vm.name, host.name", 5000, "a on hv2", false},
        {"5, nil", 5000, "", false},
        {"", 0, "ranked last: score failed: x.lua: 'score' returned no value", true},
        {"nil", 0, "ranked last: score failed: x.lua: 'score' returned nil", true},
        {"0/0", 0, "ranked last: score failed: x.lua: 'score' returned NaN", true},
        {"'5'", 0, "ranked last: score failed: x.lua: 'score' returned string", true},
        {"nil + 1", 0, "ranked last: score failed: x.lua:2: attempt", true},
        {"5, '%d', 'x'", 0, "ranked last: score failed: ", true},
    };

    for (int with_filter = 0; with_filter < 2; with_filter++)
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            struct court t;
            _cleanup_(freep) char *body =
                xasprintf("function P.score(c, vm, host) return %s end %s", cases[i].value,
                          with_filter ? "function P.filter(c, vm, host) end" : "");
            open_court(&t, body);
            ask(&t, VM_A, HV2, JUDGE_REASON);
            assert_false(t.v.reject);
            assert_int_equal(t.v.score, cases[i].score);
            if (strncmp(t.v.reason, cases[i].reason, strlen(cases[i].reason)) != 0)
                fail_msg("%s: \"%s\"", cases[i].value, t.v.reason);
            assert_int_equal(t.p.health[HOOK_SCORE].calls, 1);
            assert_int_equal(t.p.health[HOOK_SCORE].errors, cases[i].failed);
            assert_int_equal(t.p.health[HOOK_FILTER].errors, 0);
            ask(&t, VM_B, HV2, JUDGE_FILTER); /* asks no score */
            assert_int_equal(t.p.health[HOOK_SCORE].calls, 1);
            close_court(&t);
        }
}

/* One pair's failure says nothing about the next, whichever hook it was. */
static void failures_are_local(void **state)
{
    (void)state;
    struct court t;
    open_court(&t, "local n = 0\n"
                   "function P.filter(c, vm, host) n = n + 1 if n == 2 then error('f') end end\n"
                   "function P.score(c, vm, host) if n == 3 then error('s') end return n end");
    int top = lua_gettop(sandbox_lua(t.sb));
    ask(&t, VM_A, HV2, JUDGE_SCORE);
    assert_int_equal(t.v.score, 1000);
    ask(&t, VM_B, HV2, JUDGE_SCORE);
    assert_true(t.v.reject);
    assert_string_equal(t.v.message, "x.lua:3: f");
    ask(&t, VM_A, HV2, JUDGE_SCORE);
    assert_false(t.v.reject);
    assert_string_equal(t.v.reason, "ranked last: score failed: x.lua:4: s");
    ask(&t, VM_B, HV2, JUDGE_SCORE);
    assert_int_equal(t.v.score, 4000);
    assert_int_equal(t.p.health[HOOK_FILTER].calls, 4);
    assert_int_equal(t.p.health[HOOK_SCORE].calls, 3);
    assert_int_equal(lua_gettop(sandbox_lua(t.sb)), top);
    close_court(&t);
}

/* A projection is a value: what was kept of one pair stays that pair's. */
static void projections_can_be_kept(void **state)
{
    (void)state;
    struct court t;
    open_court(&t, "local kept, part = {}, nil\n"
                   "function P.score(c, vm, host)\n"
                   "  kept[#kept + 1] = host:after(vm)\n"
                   "  part = part or host:after(vm).mem\n"
                   "  local other = c:host('hv1'):without(c:vm('b')).cpu.used\n"
                   "  return kept[1].cpu.used * 10 + other + part:pct() / 100, '%.1f %.1f %s',\n"
                   "    kept[1].cpu.used, host:after(vm).cpu.used, kept[1].name\n"
                   "end");
    ask(&t, VM_A, HV2, JUDGE_REASON);
    assert_string_equal(t.v.reason, "5.5 5.5 hv2");
    assert_int_equal(t.v.score, 55000 + 1500 + 100);
    ask(&t, VM_B, HV2, JUDGE_REASON);
    assert_string_equal(t.v.reason, "5.5 4.5 hv2");
    assert_int_equal(t.v.score, 55000 + 1500 + 100);
    struct planner_move move = {VM_A, HV2};
    struct err err = {0};
    assert_ok(api_project(t.api, &move, 1, &err), &err);
    hook_judge(&t.k, API_PROJECTED, VM_B, HV2, JUDGE_REASON, &t.v);
    assert_string_equal(t.v.reason, "5.5 6.0 hv2");
    assert_int_equal(t.v.score, 55000 + 0 + 100); /* hv1 without a and b */
    ask(&t, VM_B, HV2, JUDGE_REASON);
    assert_string_equal(t.v.reason, "5.5 4.5 hv2");
    close_court(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_the_filter),
        cmocka_unit_test(answers_of_the_score),
        cmocka_unit_test(failures_are_local),
        cmocka_unit_test(projections_can_be_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
