#include "tests/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "planner/worker/request.h"
#include "planner/worker/worker.h"

static const char snapshot[] =
    "{\"schema\":\"skein.snapshot/"
    "1\",\"cluster\":\"t\",\"taken_at\":\"2026-11-22T01:30:00Z\",\"seed\":1,"
    "\"hosts\":[{\"name\":\"hv1\",\"state\":\"up\",\"cpu\":{\"cores\":8}}],\"vms\":[]}";

static msec now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct worker_request request(const char *policy)
{
    return (struct worker_request){.task = WORKER_PLAN,
                                   .snapshot = snapshot,
                                   .snapshot_len = strlen(snapshot),
                                   .policy = policy,
                                   .policy_len = strlen(policy),
                                   .policy_name = "p.lua"};
}

static const char idle[] = "local P = policy { name = 'idle', api = 1 }\n"
                           "function P.trigger(c) return false, 'calm' end\n"
                           "function P.score(c, vm, host) return 1 end\n"
                           "return P\n";
static const char spinning[] = "local P = policy { name = 'spin', api = 1 }\n"
                               "function P.trigger(c) while true do end end\n"
                               "function P.score(c, vm, host) return 1 end\n";
/* Never looks at the hook: one pattern match. */
static const char stuck[] = "string.find(string.rep('a', 40), string.rep('.-', 14) .. 'b')\n";

static int count_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void no_children_are_left(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_calm_policy_proposes_nothing(void **state)
{
    (void)state;
    struct worker_request req = request(idle);
    _cleanup_(worker_result_done) struct worker_result r = {0};
    struct err err = {0};
    int files = count_files();
    assert_ok(worker_run(&req, &r, &err), &err);
    assert_string_equal(json_string_value(json_object_get(r.body, "reason")),
                        "not triggered: calm");
    assert_int_equal(json_array_size(json_object_get(r.body, "steps")), 0);
    assert_string_equal(json_string_value(json_object_get(r.manifest, "name")), "idle");
    assert_int_equal(count_files(), files);
    no_children_are_left();
}

static void a_loop_ends_at_its_deadline(void **state)
{
    (void)state;
    struct worker_request req = request(spinning);
    req.limits.lua_ms = 200;
    struct worker_result r = {0};
    struct err err = {0};
    msec start = now_ms();
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY,
               "p.lua:2: over the time limit of 200 ms");
    assert_true(now_ms() - start < 5000); /* the machine may be busy: tests/lua/hostile measures */
    no_children_are_left();
}

static void a_stuck_library_call_is_killed(void **state)
{
    (void)state;
    struct worker_request req = request(stuck);
    req.limits.lua_ms = 100;
    struct worker_result r = {0};
    struct err err = {0};
    int files = count_files();
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY,
               "p.lua: over the time limit of 100 ms, in a library function");
    assert_int_equal(count_files(), files);
    no_children_are_left();
}

/* A machine that does something else for longer than Lua may take ends no good policy. */
static void time_without_the_processor_does_not_count(void **state)
{
    (void)state;
    static const char counting[] = "local P = policy { name = 'count', api = 1 }\n"
                                   "function P.trigger(c)\n"
                                   "  local n = 0 for i = 1, 3000000 do n = n + i end\n"
                                   "  return false, 'counted'\n"
                                   "end\n"
                                   "function P.score(c, vm, host) return 1 end\n";
    struct worker_request req = request(counting);
    req.limits.lua_ms = 400;
    struct worker *w;
    struct err err = {0};
    assert_ok(worker_start(&req, &w, &err), &err);
    poll(NULL, 0, 15); /* it has begun, most likely */
    kill(worker_pid(w), SIGSTOP);
    for (msec until = now_ms() + 700; now_ms() < until; poll(NULL, 0, 20))
        assert_int_equal(worker_tick(w, now_ms()), WORKER_RUNS);
    kill(worker_pid(w), SIGCONT);
    struct pollfd p = {.fd = worker_fd(w), .events = POLLIN};
    while (worker_read(w) == WORKER_RUNS && worker_tick(w, now_ms()) == WORKER_RUNS)
        poll(&p, 1, 20);
    _cleanup_(worker_result_done) struct worker_result r = {0};
    assert_ok(worker_finish(w, &r, &err), &err);
    assert_string_equal(json_string_value(json_object_get(r.body, "reason")),
                        "not triggered: counted");
    no_children_are_left();
}

static void the_whole_run_is_limited_too(void **state)
{
    (void)state;
    struct worker_request req = request(spinning);
    req.limits.lua_ms = 60000;
    req.limits.run_ms = 150;
    struct worker_result r = {0};
    struct err err = {0};
    msec start = now_ms();
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY, "it ran longer than 150 ms");
    assert_true(now_ms() - start < 5000); /* the machine may be busy: tests/lua/hostile measures */
}

static void bad_snapshots_and_policies_are_told_apart(void **state)
{
    (void)state;
    struct worker_request req = request("x = ");
    struct worker_result r = {0};
    struct err err = {0};
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY, "p.lua:1: unexpected symbol");
    req = request(idle);
    req.snapshot = "{\"schema\":1}";
    req.snapshot_len = strlen(req.snapshot);
    assert_err(worker_run(&req, &r, &err), &err, ERR_INVALID, "snapshot");
    static char big[((size_t)1 << 20) + 2];
    memset(big, ' ', sizeof big - 1);
    req = request(big);
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY, "p.lua: larger than 1 MiB");
}

/* As a loop would do it, two at once; one is ended early. */
static void workers_run_side_by_side(void **state)
{
    (void)state;
    struct worker_request a = request(idle), b = request(spinning);
    struct worker *wa, *wb;
    struct err err = {0};
    b.limits.lua_ms = 60000;
    assert_ok(worker_start(&b, &wb, &err), &err);
    assert_ok(worker_start(&a, &wa, &err), &err);
    assert_true(worker_pid(wa) != worker_pid(wb));
    assert_true(worker_deadline(wa) > now_ms());
    while (worker_read(wa) == WORKER_RUNS) {
        struct pollfd p = {.fd = worker_fd(wa), .events = POLLIN};
        assert_true(poll(&p, 1, 5000) == 1);
        assert_int_equal(worker_tick(wa, now_ms()), WORKER_RUNS);
    }
    _cleanup_(worker_result_done) struct worker_result r = {0};
    assert_ok(worker_finish(wa, &r, &err), &err);
    assert_int_equal(worker_read(wb), WORKER_RUNS);
    worker_kill(wb, "no longer wanted");
    assert_err(worker_finish(wb, &r, &err), &err, ERR_POLICY, "no longer wanted");
    no_children_are_left();
}

static void a_killed_worker_is_noticed(void **state)
{
    (void)state;
    struct worker_request req = request(spinning);
    req.limits.lua_ms = 60000;
    struct worker *w;
    struct worker_result r = {0};
    struct err err = {0};
    assert_ok(worker_start(&req, &w, &err), &err);
    kill(worker_pid(w), SIGTERM);
    struct pollfd p = {.fd = worker_fd(w), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(worker_read(w), WORKER_ENDED);
    assert_err(worker_finish(w, &r, &err), &err, ERR_POLICY, "ended by signal 15");
}

static void a_check_describes_the_policy(void **state)
{
    (void)state;
    struct worker_request req = request(idle);
    req.task = WORKER_CHECK;
    req.snapshot = NULL;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    struct err err = {0};
    assert_ok(worker_run(&req, &r, &err), &err);
    char digest[HASH_HEX_SIZE];
    worker_policy_digest(idle, strlen(idle), digest);
    assert_string_equal(json_string_value(json_object_get(r.manifest, "digest")), digest);
    assert_int_equal(json_integer_value(json_object_get(r.manifest, "agreement")), 1);
    assert_int_equal(json_integer_value(json_object_get(r.manifest, "hold_ms")), 0);
    assert_null(r.body);
}

/* As the planner's agent puts them there. */
static void parameters_come_with_the_snapshot(void **state)
{
    (void)state;
    static const char policy[] = "local P = policy { name = 'set', api = 1, params = {\n"
                                 "a = { type = 'percent', default = 1 },\n"
                                 "t = { type = 'duration', default = '1m' } } }\n"
                                 "function P.trigger(c) return false, c.params.a .. ' ' .. "
                                 "c.params.t end function P.score(c, vm, host) end\n";

    static const struct {
        const char *policies, *reason;
    } cases[] = {
        {"[{\"name\":\"set\",\"params\":{\"a\":7.5,\"t\":\"5m\"}}]", "not triggered: 7.5 300"},
        {"[{\"name\":\"other\",\"params\":{\"a\":7.5}}]", "not triggered: 1 60"},
        {"[{\"name\":\"set\",\"params\":{\"aa\":7.5}}]", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct worker_request req = request(policy);
        _cleanup_(freep) char *text = xasprintf("%.*s,\"policies\":%s}", (int)strlen(snapshot) - 1,
                                                snapshot, cases[i].policies);
        req.snapshot = text;
        req.snapshot_len = strlen(text);
        _cleanup_(worker_result_done) struct worker_result r = {0};
        struct err err = {0};
        if (cases[i].reason == NULL) {
            assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY,
                       "unknown parameter 'aa'; did you mean 'a'?");
            continue;
        }
        assert_ok(worker_run(&req, &r, &err), &err);
        assert_string_equal(json_string_value(json_object_get(r.body, "reason")), cases[i].reason);
    }
}

/* The command line's before the version's own before the snapshot's before the default. */
static void parameters_come_with_the_version(void **state)
{
    (void)state;
#define SET                                                                                        \
    "local P = policy { name = 'set', api = 1, params = {\n"                                       \
    "a = { type = 'percent', default = 1 }, b = { type = 'percent', default = 2 },\n"              \
    "d = { type = 'percent', default = 3 }, e = { type = 'percent', default = 4 } } }\n"           \
    "function P.trigger(c) local p = c.params return false, p.a .. ' ' .. p.b .. ' ' .. p.d .. "   \
    "' ' .. p.e end function P.score(c, vm, host) end\n"

    static const struct {
        const char *policy, *reason;
    } cases[] = {
        {SET, "not triggered: 11 12 23 4"},
        {"--[==[skein:params {\"b\":32,\"d\":33,\"e\":34}]==] " SET, "not triggered: 11 32 23 34"},
        {"--[==[skein:params {\"ee\":1}]==] " SET, "x.lua:1: unknown parameter 'ee'; did you mean"},
        {"--[==[skein:params {\"e\":101}]==] " SET, "x.lua:1: parameter 'e' is 101, allowed is 0"},
        {"--[==[skein:params {\"e\":\"x\"}]==] " SET, "x.lua:1: parameter 'e' must be a number"},
        {"--[==[skein:params {\"e\":1]==] " SET,
         "x.lua:1: the parameters before the policy's text"},
    };

    _cleanup_(freep) char *text =
        xasprintf("%.*s,\"policies\":[{\"name\":\"set\",\"params\":{\"a\":11,\"b\":12,\"d\":13}}]}",
                  (int)strlen(snapshot) - 1, snapshot);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct worker_request req = request(cases[i].policy);
        req.policy_name = "x.lua";
        req.snapshot = text;
        req.snapshot_len = strlen(text);
        req.params = "{\"d\":23}";
        _cleanup_(worker_result_done) struct worker_result r = {0};
        struct err err = {0};
        if (strncmp(cases[i].reason, "x.lua", 5) == 0) {
            assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY, cases[i].reason);
            continue;
        }
        assert_ok(worker_run(&req, &r, &err), &err);
        assert_string_equal(json_string_value(json_object_get(r.body, "reason")), cases[i].reason);
    }
}

static void a_policy_says_how_long_it_is_held(void **state)
{
    (void)state;
    static const char held[] = "local P = policy { name = 'held', api = 1, agreement = 3, "
                               "hold = '5m' }\n"
                               "function P.trigger(c) end function P.score(c, vm, host) end\n";
    struct worker_request req = request(held);
    req.task = WORKER_CHECK;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    struct err err = {0};
    assert_ok(worker_run(&req, &r, &err), &err);
    assert_int_equal(json_integer_value(json_object_get(r.manifest, "agreement")), 3);
    assert_int_equal(json_integer_value(json_object_get(r.manifest, "hold_ms")), 300000);
    req = request("policy { name = 'x', api = 1, agreement = 0 }\n");
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY,
               "p.lua:1: policy: agreement is a number of evaluations from 1 to 100");
    req = request("policy { name = 'x', api = 1, hold = '8d' }\n");
    assert_err(worker_run(&req, &r, &err), &err, ERR_POLICY, "p.lua:1: policy: hold is a time");
}

/* ---- answers from an enemy */

static int parse(const char *text, struct err *err)
{
    _cleanup_(worker_result_done) struct worker_result r = {0};
    return reply_parse(text, strlen(text), WORKER_CHECK, &r, err);
}

static void false_answers_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *text, *part;
        enum err_code code;
    } cases[] = {
        {"", "not JSON", ERR_POLICY},
        {"[]", "malformed", ERR_POLICY},
        {"{}", "described no policy", ERR_POLICY},
        {"{\"manifest\":[]}", "wrong type", ERR_POLICY},
        {"{\"manifest\":{},\"extra\":1}", "no known name", ERR_POLICY},
        {"{\"manifest\":{},\"manifest\":{}}", "not JSON", ERR_POLICY},
        {"{\"manifest\":{\"name\":\"a\\u001b[2J\"}}", "malformed", ERR_POLICY},
        {"{\"manifest\":{\"a\\nb\":1}}", "malformed", ERR_POLICY},
        {"{\"manifest\":{},\"warnings\":[1]}", "not texts", ERR_POLICY},
        {"{\"manifest\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", "malformed", ERR_POLICY},
        {"{\"error\":1}", "without a message", ERR_POLICY},
        {"{\"error\":{\"code\":\"DENIED\",\"message\":\"m\"}}", "m", ERR_POLICY},
        {"{\"error\":{\"code\":\"INVALID\",\"message\":\"m\"}}", "m", ERR_INVALID},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        assert_err(parse(cases[i].text, &err), &err, cases[i].code, cases[i].part);
    }
    struct err err = {0};
    assert_ok(parse("{\"manifest\":{\"name\":\"a\"}}", &err), &err);
}

static void too_many_values_are_refused(void **state)
{
    (void)state;
    size_t n = (size_t)5 << 20;
    _cleanup_(freep) char *text = xmalloc(n + 1);
    memset(text, '[', n);
    text[n] = '\0';
    struct err err = {0};
    assert_err(parse(text, &err), &err, ERR_LIMIT, "too many values");
}

/* Bytes changed, cut and doubled at random: never a crash (this runs under the sanitizers too). */
static void mangled_answers_do_no_harm(void **state)
{
    (void)state;
    static const char good[] = "{\"body\":{\"class\":\"thermal\",\"reason\":\"r\",\"steps\":[{"
                               "\"actions\":[{\"id\":\"s1-1\"}]}]},"
                               "\"health\":{\"errors\":0},\"manifest\":{\"name\":\"a\",\"params\":{"
                               "\"x\":1.5}},\"warnings\":[\"w\"]}";
    uint64_t seed = 88172645463325252ULL;
    for (int i = 0; i < 20000; i++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (int k = 0; k < 3; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            text[seed % (sizeof good - 1)] = (char)(seed >> 32);
        }
        _cleanup_(worker_result_done) struct worker_result r = {0};
        struct err err = {0};
        reply_parse(text, (seed >> 40) % sizeof good, (seed & 1) ? WORKER_PLAN : WORKER_CHECK, &r,
                    &err);
    }
}

int main(int argc, char **argv)
{
    worker_main_if_asked(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_calm_policy_proposes_nothing),
        cmocka_unit_test(a_loop_ends_at_its_deadline),
        cmocka_unit_test(a_stuck_library_call_is_killed),
        cmocka_unit_test(time_without_the_processor_does_not_count),
        cmocka_unit_test(the_whole_run_is_limited_too),
        cmocka_unit_test(bad_snapshots_and_policies_are_told_apart),
        cmocka_unit_test(workers_run_side_by_side),
        cmocka_unit_test(a_killed_worker_is_noticed),
        cmocka_unit_test(a_check_describes_the_policy),
        cmocka_unit_test(parameters_come_with_the_snapshot),
        cmocka_unit_test(parameters_come_with_the_version),
        cmocka_unit_test(a_policy_says_how_long_it_is_held),
        cmocka_unit_test(false_answers_are_refused),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(mangled_answers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
