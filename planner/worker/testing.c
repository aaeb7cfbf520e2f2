#include "planner/worker/testing.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#include "planner/check/check.h"
#include "planner/core/plan_doc.h"
#include "planner/worker/evaluate.h"
#include "planner/worker/testkit_lua.h" /* generated from testkit.lua */
#include "planner/worker/variations.h"
#include "proto/canon.h"

#define POLICY_MS 2000 /* of one run: counting lines costs more than running them */
#define DEPTH_MAX 32
#define TESTS_MAX 1000
#define FAILURES_MAX 200

struct testing {
    const struct worker_request *req;
    struct sandbox *sandbox;              /* the tests' own */
    json_t *fixtures, *snapshot, *answer; /* of the last run */
    char *params;                         /* of the last run, JSON or NULL */
    bool has_at, has_seed;
    msec at;
    uint64_t seed;
    json_t *tests, *failures;        /* what came of them */
    char name[SANDBOX_TEXT_MAX + 1]; /* of the test that runs */
    int64_t runs, checks;
    struct sandbox_coverage coverage;
    int ref_tests, ref_begin, ref_array;
};

static struct testing *testing_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static void testing_done(struct testing *t)
{
    sandbox_free(t->sandbox);
    json_decref(t->fixtures);
    json_decref(t->snapshot);
    json_decref(t->answer);
    json_decref(t->tests);
    json_decref(t->failures);
    free(t->params);
    free(t->coverage.lines);
}

/* ---- JSON and Lua */

/* May raise a memory error; v must be owned by the testing. */
static void l_push_json(lua_State *L, const struct testing *t, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    luaL_checkstack(L, 6, NULL);
    if (json_is_object(v)) {
        lua_createtable(L, 0, (int)json_object_size(v));
        json_object_foreach((json_t *)v, key, item)
        {
            l_push_json(L, t, item);
            lua_setfield(L, -2, key);
        }
    } else if (json_is_array(v)) {
        lua_createtable(L, (int)json_array_size(v), 0);
        json_array_foreach(v, i, item)
        {
            l_push_json(L, t, item);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_array);
        lua_setmetatable(L, -2);
    } else {
        l_push_json_scalar(L, v);
    }
}

static json_t *table_to_json(lua_State *L, const struct testing *t, int idx, int depth);

/* A new reference, or NULL for what has no JSON. Raises nothing. */
static json_t *to_json(lua_State *L, const struct testing *t, int idx, int depth)
{
    size_t len;
    const char *s;
    switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, idx));
    case LUA_TNUMBER:
        if (lua_isinteger(L, idx))
            return json_integer(lua_tointeger(L, idx));
        return json_real(lua_tonumber(L, idx)); /* NULL where not finite */
    case LUA_TSTRING:
        s = lua_tolstring(L, idx, &len);
        return json_stringn(s, len); /* NULL where not UTF-8 */
    case LUA_TTABLE:
        return depth < DEPTH_MAX && lua_checkstack(L, 6) ? table_to_json(L, t, idx, depth) : NULL;
    default:
        return NULL;
    }
}

static bool is_array(lua_State *L, const struct testing *t, int idx)
{
    if (lua_rawlen(L, idx) > 0)
        return true;
    if (!lua_getmetatable(L, idx))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_array);
    bool yes = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return yes;
}

static json_t *table_to_json(lua_State *L, const struct testing *t, int idx, int depth)
{
    idx = lua_absindex(L, idx);
    _cleanup_json_ json_t *out = is_array(L, t, idx) ? json_array() : json_object();
    if (json_is_array(out)) {
        for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, idx); i++) {
            lua_rawgeti(L, idx, i);
            json_t *v = to_json(L, t, -1, depth + 1);
            lua_pop(L, 1);
            if (v == NULL)
                return NULL;
            json_array_append_new(out, v);
        }
        return TAKE_PTR(out);
    }
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        json_t *v = lua_type(L, -2) == LUA_TSTRING ? to_json(L, t, -1, depth + 1) : NULL;
        if (v == NULL || json_object_set_new(out, lua_tostring(L, -2), v) != 0) {
            lua_pop(L, 2);
            return NULL;
        }
    }
    return TAKE_PTR(out);
}

/* ---- running the policy once */

static json_t *failure(const struct err *err)
{
    _cleanup_(freep) char *text = sandbox_clean_text(err->msg, strlen(err->msg));
    return json_pack("{s:{s:s, s:s}}", "error", "code", err_name(err->code), "message", text);
}

static json_t *answer_of(struct evaluation *e, json_t *body)
{
    return json_pack("{s:o, s:O, s:o, s:O, s:o}", "body", body, "approvals", e->approvals, "health",
                     policy_health(&e->policy), "notes", api_notes(e->api), "pairs",
                     evaluation_pairs(e, MODEL_NONE, MODEL_NONE));
}

/* {body, ...} or {error}; a new reference. */
static json_t *run_once(struct testing *t, const json_t *snapshot)
{
    _cleanup_(freep) char *text = json_dumps(snapshot, JSON_COMPACT | JSON_REAL_PRECISION(15));
    struct err err = {0};
    struct worker_request req = *t->req;
    req.snapshot = text;
    req.snapshot_len = text != NULL ? strlen(text) : 0;
    req.params = t->params;
    req.has_at = t->has_at;
    req.at = t->at;
    req.has_seed = t->has_seed;
    req.seed = t->seed;
    req.limits.lua_ms = POLICY_MS;
    _cleanup_(evaluation_done) struct evaluation e = {.req = &req, .coverage = &t->coverage};
    json_t *body = NULL;
    t->runs++;
    int rc = evaluation_run(&e, &err);
    if (e.policy.sb != NULL)
        policy_mark_code(&e.policy, &t->coverage);
    if (rc < 0 || evaluation_body(&e, &body, &err) < 0)
        return failure(&err);
    return answer_of(&e, body);
}

/* ---- what every policy is checked for */

static void add_failure(struct testing *t, const char *property, const char *message)
{
    if (json_array_size(t->failures) >= FAILURES_MAX)
        return;
    _cleanup_(freep) char *clean = sandbox_clean_text(message, strlen(message));
    json_array_append_new(t->failures, json_pack("{s:s, s:s, s:s}", "test", t->name, "property",
                                                 property, "message", clean));
}

static void check_deterministic(struct testing *t, const json_t *body)
{
    _cleanup_json_ json_t *again = run_once(t, t->snapshot);
    t->checks++;
    if (!json_equal(json_object_get(again, "body"), body))
        add_failure(t, "deterministic", "the same snapshot gave another plan");
}

/* The independent checker agrees. */
static void check_step_safe(struct testing *t, const json_t *snapshot, json_t *body,
                            const char *property)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(check_report_freep) struct check_report *report = NULL;
    struct err err = {0};
    t->checks++;
    if (plan_doc_new(body, &doc, &err) < 0) {
        add_failure(t, property, err.msg);
        return;
    }
    _cleanup_(freep) char *plan = json_dumps(doc, JSON_COMPACT);
    _cleanup_(freep) char *text = json_dumps(snapshot, JSON_COMPACT | JSON_REAL_PRECISION(15));
    struct check_options options = {.now = t->has_at ? t->at : QUANTITY_UNKNOWN};
    if (plan_check(text, strlen(text), plan, strlen(plan), &options, &report, &err) < 0)
        add_failure(t, property, err.msg);
    else if (!report->ok)
        add_failure(t, property, report->findings[0].message);
}

/* In the world after: does a VM that has just moved move again (back: only to where it was)? */
static void check_rests(struct testing *t, const json_t *after, const json_t *body, bool back,
                        const char *property)
{
    _cleanup_json_ json_t *then = run_once(t, after);
    const json_t *moved = json_object_get(then, "body");
    char text[SANDBOX_TEXT_MAX];
    t->checks++;
    if (moved == NULL)
        sandbox_text(text, sizeof text, "the next run failed: %.200s",
                     json_string_value(json_object_get(json_object_get(then, "error"), "message")));
    else if (!variation_moves_again(body, moved, back, text, sizeof text))
        return;
    add_failure(t, property, text);
}

static void check_properties(struct testing *t, json_t *body)
{
    check_deterministic(t, body);
    check_step_safe(t, t->snapshot, body, "step-safe");
    if (json_array_size(json_object_get(body, "steps")) == 0)
        return;
    _cleanup_json_ json_t *after = variation_apply(t->snapshot, body, INT32_MAX);
    check_rests(t, after, body, false, "idempotent");
    for (uint64_t seed = 1; seed <= 3; seed++) {
        _cleanup_json_ json_t *noisy = variation_noise(after, seed);
        check_rests(t, noisy, body, true, "stable under noise");
    }
    _cleanup_json_ json_t *partly = variation_apply(t->snapshot, body, 1);
    _cleanup_json_ json_t *next = run_once(t, partly);
    json_t *next_body = json_object_get(next, "body");
    if (next_body != NULL)
        check_step_safe(t, partly, next_body, "safe after partial failure");
}

/* ---- what C lends to the test kit */

static void l_take_options(lua_State *L, struct testing *t)
{
    struct err err;
    free(TAKE_PTR(t->params));
    if (lua_getfield(L, 2, "params") == LUA_TTABLE) {
        json_t *params = to_json(L, t, -1, 0);
        t->params = params != NULL ? json_dumps(params, JSON_COMPACT) : NULL;
        json_decref(params);
    }
    t->has_at = lua_getfield(L, 2, "at") == LUA_TSTRING;
    if (t->has_at && time_parse(lua_tostring(L, -1), &t->at, &err) < 0)
        luaL_error(L, "at: %s", err.msg);
    t->has_seed = lua_getfield(L, 2, "seed") == LUA_TNUMBER;
    t->seed = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 3);
}

static int l_run(lua_State *L)
{
    struct testing *t = testing_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    l_take_options(L, t);
    json_decref(t->snapshot);
    t->snapshot = to_json(L, t, 1, 0);
    if (t->snapshot == NULL)
        return luaL_error(L, "the snapshot holds something that is no JSON");
    json_decref(t->answer);
    t->answer = run_once(t, t->snapshot);
    json_t *body = json_object_get(t->answer, "body");
    lua_getfield(L, 2, "unchecked");
    if (body != NULL && !lua_toboolean(L, -1))
        check_properties(t, body);
    l_push_json(L, t, t->answer);
    return 1;
}

static int l_fixture(lua_State *L)
{
    struct testing *t = testing_of(L);
    const json_t *f = json_object_get(t->fixtures, luaL_checkstring(L, 1));
    if (f != NULL)
        l_push_json(L, t, f);
    else
        lua_pushnil(L);
    return 1;
}

static int l_kit(lua_State *L)
{
    struct testing *t = lua_touserdata(L, 2);
    lua_newtable(L);
    t->ref_array = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, 1);
    lua_newtable(L);
    static const luaL_Reg natives[] = {{"run", l_run}, {"fixture", l_fixture}, {NULL, NULL}};
    lua_pushlightuserdata(L, t);
    luaL_setfuncs(L, natives, 1);
    lua_pushcfunction(L, l_native_nearest);
    lua_setfield(L, -2, "nearest");
    lua_pushcfunction(L, l_native_freeze);
    lua_setfield(L, -2, "freeze");
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_array);
    lua_setfield(L, -2, "array_meta");
    sandbox_push_globals(t->sandbox);
    lua_getfield(L, -1, "pairs");
    lua_setfield(L, -3, "pairs");
    lua_call(L, 2, 1);
    lua_getfield(L, -1, "tests");
    t->ref_tests = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, -1, "begin");
    t->ref_begin = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- the tests */

/* (testing, number): fetch test `number`, keep its name, run it. */
static int l_one(lua_State *L)
{
    struct testing *t = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_begin);
    lua_call(L, 0, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_tests);
    lua_rawgeti(L, -1, lua_tointeger(L, 2));
    lua_getfield(L, -1, "name");
    sandbox_text(t->name, sizeof t->name, "%s", lua_tostring(L, -1));
    lua_getfield(L, -2, "run");
    lua_call(L, 0, 0);
    return 0;
}

static int count_tests(struct testing *t)
{
    lua_State *L = sandbox_lua(t->sandbox);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref_tests);
    int n = (int)lua_rawlen(L, -1);
    lua_pop(L, 1);
    return MIN(n, TESTS_MAX);
}

static void run_test(struct testing *t, int number)
{
    struct err err = {0};
    lua_State *L = sandbox_lua(t->sandbox);
    snprintf(t->name, sizeof t->name, "test %d", number);
    lua_pushcfunction(L, l_one);
    lua_pushlightuserdata(L, t);
    lua_pushinteger(L, number);
    int rc = sandbox_call(t->sandbox, 2, 0, &err);
    json_t *o = json_pack("{s:s, s:b}", "name", t->name, "ok", rc == 0);
    if (rc < 0) {
        _cleanup_(freep) char *text = sandbox_clean_text(err.msg, strlen(err.msg));
        json_object_set_new(o, "message", json_string(text));
    }
    json_array_append_new(t->tests, o);
}

static json_t *coverage_json(const struct sandbox_coverage *c)
{
    int code = 0, run = 0;
    json_t *missed = json_array();
    for (int i = 0; i < c->n_lines; i++) {
        if ((c->lines[i] & COVERAGE_CODE) == 0)
            continue;
        code++;
        if ((c->lines[i] & COVERAGE_RUN) != 0)
            run++;
        else
            json_array_append_new(missed, json_integer(i + 1));
    }
    return json_pack("{s:i, s:i, s:o}", "lines", code, "run", run, "missed", missed);
}

static int prepare(struct testing *t, struct sandbox_clock *clock, struct err *err)
{
    const struct worker_request *req = t->req;
    t->coverage.chunk = req->policy_name;
    t->coverage.n_lines = 1;
    for (size_t i = 0; i < req->policy_len; i++)
        t->coverage.n_lines += req->policy[i] == '\n';
    t->coverage.lines = xcalloc((size_t)t->coverage.n_lines, 1);
    int rc = 0;
    if (req->snapshot != NULL)
        rc = canon_parse(req->snapshot, req->snapshot_len, "fixtures", &t->fixtures, err);
    if (rc == 0)
        rc = evaluation_sandbox(req, clock, 1, NULL, &t->sandbox, err);
    if (rc < 0)
        return rc;
    lua_State *L = sandbox_lua(t->sandbox);
    lua_pushcfunction(L, l_kit);
    rc = sandbox_load(t->sandbox, (const char *)testkit_lua, testkit_lua_len, SANDBOX_PRELUDE, true,
                      err);
    if (rc < 0)
        return rc;
    lua_pushlightuserdata(L, t);
    return sandbox_call(t->sandbox, 2, 0, err);
}

static int load_tests(struct testing *t, struct err *err)
{
    const struct worker_request *req = t->req;
    const char *name = req->test_name != NULL ? req->test_name : "test.lua";
    int rc = sandbox_load(t->sandbox, req->test, req->test_len, name, false, err);
    return rc < 0 ? rc : sandbox_call(t->sandbox, 0, 0, err);
}

int testing_run(const struct worker_request *req, struct sandbox_clock *clock, json_t **ret,
                struct err *err)
{
    _cleanup_(testing_done) struct testing t = {
        .req = req, .tests = json_array(), .failures = json_array()};
    if (req->test == NULL)
        return err_set(err, ERR_INVALID, "there are no tests to run");
    int rc = prepare(&t, clock, err);
    if (rc == 0)
        rc = load_tests(&t, err);
    if (rc < 0)
        return rc;
    int n = count_tests(&t);
    for (int i = 1; i <= n && !sandbox_is_spent(t.sandbox); i++)
        run_test(&t, i);
    *ret = json_pack("{s:{s:O, s:O, s:I, s:I, s:o}}", "tests", "tests", t.tests, "failures",
                     t.failures, "runs", (json_int_t)t.runs, "checks", (json_int_t)t.checks,
                     "coverage", coverage_json(&t.coverage));
    return 0;
}
