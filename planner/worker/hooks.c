#include "planner/worker/hooks_internal.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

void hooks_init(struct hooks *k, struct policy *p, struct api *a, const struct model *m)
{
    *k = (struct hooks){.policy = p,
                        .api = a,
                        .model = m,
                        .L = a != NULL ? sandbox_lua(p->sb) : NULL,
                        .judge_view = -1};
    hooks_reserve_judge(k);
}

/* Run f(call) protected; a failure goes into the hook's health. */
int hooks_run(struct call *c, lua_CFunction f, struct err *err)
{
    lua_State *L = hooks_lua(c->k);
    struct err mine;
    err = err != NULL ? err : &mine;
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, c);
    int rc = sandbox_call(c->k->policy->sb, 1, 0, err);
    if (rc < 0)
        policy_failed(c->k->policy, c->hook, err);
    return rc;
}

/* Push the hook and its context. */
void l_hook_begin(lua_State *L, struct call *c)
{
    c->k->policy->health[c->hook].calls++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->policy->ref_hook[c->hook]);
    l_push_context(c->k->api, c->view);
}

/* Copy a text for people, whatever the value is; "" for nil. */
void l_hook_text(lua_State *L, int idx, char *to, size_t size)
{
    to[0] = '\0';
    if (lua_isnoneornil(L, idx))
        return;
    size_t len;
    const char *s = l_tostring(L, idx, &len);
    sandbox_copy_text(to, size, s, len);
    lua_pop(L, 1);
}

/* ---- trigger */

static int l_trigger(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->policy->ref_unmet);
    l_push_context(c->k->api, 0);
    lua_call(L, 1, 1);
    if (!lua_isnil(L, -1)) {
        l_hook_text(L, -1, c->reason, FIT_TEXT_MAX);
        return 0;
    }
    l_hook_begin(L, c);
    lua_call(L, 1, 2);
    c->yes = lua_toboolean(L, -2);
    l_hook_text(L, -1, c->reason, FIT_TEXT_MAX);
    return 0;
}

int hook_trigger(struct hooks *k, bool *ret, char reason[FIT_TEXT_MAX], struct err *err)
{
    struct call c = {.k = k, .hook = HOOK_TRIGGER, .reason = reason};
    int rc = hooks_run(&c, l_trigger, err);
    *ret = rc == 0 && c.yes;
    return rc;
}

/* ---- sources and select: one object, or a list of them */

typedef int (*index_fn)(struct api *a, int idx);

static void l_mark_one(lua_State *L, struct call *c, index_fn index_at, const char *what, int idx)
{
    int i = index_at(c->k->api, idx);
    if (i == MODEL_NONE)
        luaL_error(L, "'%s' returned a %s where a %s was expected", policy_hook_name(c->hook),
                   luaL_typename(L, idx), what);
    c->marks[i] = true;
}

static void l_mark(lua_State *L, struct call *c, index_fn index_at, const char *what)
{
    if (lua_isnil(L, -1))
        return;
    if (lua_type(L, -1) != LUA_TTABLE || index_at(c->k->api, -1) != MODEL_NONE) {
        l_mark_one(L, c, index_at, what, -1);
        return;
    }
    int list = lua_gettop(L);
    for (lua_Integer i = 1; lua_geti(L, list, i) != LUA_TNIL; i++) {
        l_mark_one(L, c, index_at, what, -1);
        lua_pop(L, 1);
    }
}

static int l_sources(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    l_hook_begin(L, c);
    lua_call(L, 1, 1);
    l_mark(L, c, api_host_at, "host");
    return 0;
}

int hook_sources(struct hooks *k, bool *sources, struct err *err)
{
    struct call c = {.k = k, .hook = HOOK_SOURCES, .marks = sources};
    return hooks_run(&c, l_sources, err);
}

static int l_select(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    l_hook_begin(L, c);
    l_push_host(c->k->api, c->view, c->host);
    lua_call(L, 2, 1);
    l_mark(L, c, api_vm_at, "VM");
    return 0;
}

int hook_select(struct hooks *k, int host, bool *candidate, struct err *err)
{
    const struct model_host *h = &k->model->hosts[host];
    struct call c = {.k = k, .hook = HOOK_SELECT, .host = host, .marks = candidate};
    if (k->policy->has[HOOK_SELECT])
        return hooks_run(&c, l_select, err);
    for (int i = 0; i < h->n_vms; i++)
        candidate[h->vms[i]] = true;
    return 0;
}

/* ---- objective */

#define WEIGHT_MAX 1e7
#define LOAD_MAX_MILLI 1000000000000LL /* what the planner takes is somewhat more */

static void l_check_field(lua_State *L, const char *what, const char *const *names)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    for (const char *const *n = names; *n != NULL; n++)
        if (strcmp(*n, key) == 0)
            return;
    const char *near = nearest_word(key, names);
    if (near != NULL)
        luaL_error(L, "%s: unknown field '%s'; did you mean '%s'?", what, key, near);
    luaL_error(L, "%s: unknown field '%s'", what, key);
}

void l_hook_fields(lua_State *L, const char *what, const char *const *names)
{
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: a table was expected, not a %s", what, luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        l_check_field(L, what, names);
}

/* A field that counts something, from 0 to max; absent leaves *to as it is. The bounds keep the
 * planner's sums of products far from the end of 64 bits. */
static void l_take_number(lua_State *L, const char *field, double max, int64_t *to)
{
    if (lua_getfield(L, -1, field) != LUA_TNIL) {
        double v = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(v >= 0 && v <= max))
            luaL_error(L, "objective: %s must be a number from 0 to %f", field, max);
        *to = llround(v);
    }
    lua_pop(L, 1);
}

static int l_take_function(lua_State *L, const char *field)
{
    int type = lua_getfield(L, -1, field);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return LUA_NOREF;
    }
    if (type != LUA_TFUNCTION)
        luaL_error(L, "objective: resource.%s must be a function", field);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void l_take_resource(lua_State *L, struct objective *o)
{
    static const char *const names[] = {"unit", "load", "room", "relief", "gain", NULL};
    if (lua_getfield(L, -1, "resource") != LUA_TNIL) {
        l_hook_fields(L, "objective", names);
        lua_getfield(L, -1, "unit");
        lua_pushstring(L, luaL_optstring(L, -1, "units of the policy's resource"));
        l_hook_text(L, -1, o->unit, sizeof o->unit);
        lua_pop(L, 2);
        o->ref_load = l_take_function(L, "load");
        o->ref_room = l_take_function(L, "room");
        o->ref_relief = l_take_function(L, "relief");
        o->ref_gain = l_take_function(L, "gain");
        if (o->ref_load == LUA_NOREF)
            luaL_error(L, "objective: resource.load is missing");
        o->has_resource = true;
    }
    lua_pop(L, 1);
}

static void l_take_weights(lua_State *L, struct planner_weights *w)
{
    static const char *const names[] = {"imbalance",   "overload",  "ratio", "host_used",
                                        "watt",        "soft_rule", "move",  "move_gib",
                                        "owner_moves", "distance",  "score", NULL};
    if (lua_getfield(L, -1, "weights") != LUA_TNIL) {
        l_hook_fields(L, "objective", names);
        l_take_number(L, "imbalance", WEIGHT_MAX, &w->imbalance);
        l_take_number(L, "overload", WEIGHT_MAX, &w->overload);
        l_take_number(L, "ratio", WEIGHT_MAX, &w->ratio);
        l_take_number(L, "host_used", WEIGHT_MAX, &w->host_used);
        l_take_number(L, "watt", WEIGHT_MAX, &w->watt);
        l_take_number(L, "soft_rule", WEIGHT_MAX, &w->soft_rule);
        l_take_number(L, "move", WEIGHT_MAX, &w->move);
        l_take_number(L, "move_gib", WEIGHT_MAX, &w->move_gib);
        l_take_number(L, "owner_moves", WEIGHT_MAX, &w->owner_moves);
        l_take_number(L, "distance", WEIGHT_MAX, &w->distance);
        l_take_number(L, "score", WEIGHT_MAX, &w->score);
    }
    lua_pop(L, 1);
}

/* wake: a host or a list of them; goal: this run's, where it is not the policy's. */
static void l_take_power(lua_State *L, struct call *c)
{
    struct objective *o = c->objective;
    int top = lua_gettop(L);
    if (lua_getfield(L, -1, "wake") != LUA_TNIL) {
        o->wake = xcalloc((size_t)c->k->model->n_hosts + 1, sizeof *o->wake);
        c->marks = o->wake; /* the objective's owner frees it, also when this raises */
        l_mark(L, c, api_host_at, "host");
    }
    lua_settop(L, top);
    if (lua_getfield(L, -1, "goal") != LUA_TNIL) {
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        int m = PLANNER_RELIEVE;
        while (m < PLANNER_MOVES &&
               (m == PLANNER_RESTART || strcmp(planner_mode_name((enum planner_mode)m), name) != 0))
            m++;
        if (m == PLANNER_MOVES)
            luaL_error(L,
                       "objective: goal must be relieve, balance, consolidate, drain or enforce");
        o->goal = (enum planner_mode)m;
    }
    lua_pop(L, 1);
}

static int l_objective(lua_State *L)
{
    static const char *const names[] = {"weights", "resource", "max_moves",    "min_gain",
                                        "safety",  "effort",   "copy_storage", "deadline",
                                        "n_plus",  "wake",     "goal",         NULL};
    struct call *c = lua_touserdata(L, 1);
    struct objective *o = c->objective;
    l_hook_begin(L, c);
    lua_call(L, 1, 1);
    l_hook_fields(L, "objective", names);
    l_take_weights(L, &o->weights);
    l_take_resource(L, o);
    l_take_number(L, "max_moves", 1e6, &o->max_moves);
    l_take_number(L, "min_gain", 1e12, &o->min_gain);
    l_take_number(L, "safety", 1000, &o->safety_pct);
    l_take_number(L, "effort", 1e9, &o->effort);
    l_take_number(L, "deadline", 1e8, &o->deadline_s);
    l_take_number(L, "n_plus", 1000, &o->n_plus);
    lua_getfield(L, -1, "copy_storage");
    o->copy_storage = lua_toboolean(L, -1);
    lua_pop(L, 1);
    l_take_power(L, c);
    return 0;
}

int hook_objective(struct hooks *k, struct objective *o, struct err *err)
{
    *o = (struct objective){.n_plus = QUANTITY_UNKNOWN,
                            .goal = k->policy->goal,
                            .ref_load = LUA_NOREF,
                            .ref_room = LUA_NOREF,
                            .ref_relief = LUA_NOREF,
                            .ref_gain = LUA_NOREF};
    struct call c = {.k = k, .hook = HOOK_OBJECTIVE, .objective = o};
    return k->policy->has[HOOK_OBJECTIVE] ? hooks_run(&c, l_objective, err) : 0;
}

/* The number on top of the stack in thousandths, popped. */
static int64_t l_take_milli(lua_State *L)
{
    int type = lua_type(L, -1);
    double v = lua_tonumber(L, -1);
    if (type != LUA_TNIL && (type != LUA_TNUMBER || isnan(v)))
        luaL_error(L, "objective: a resource's function returned a %s instead of a number",
                   type == LUA_TNUMBER ? "NaN" : lua_typename(L, type));
    lua_pop(L, 1);
    if (type == LUA_TNIL)
        return QUANTITY_UNKNOWN;
    return llround(fmin(fmax(v, -1e12), 1e12) * 1000);
}

static int l_host_numbers(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    for (int i = 0; i < c->k->model->n_hosts; i++) {
        c->numbers[i] = 0;
        if (c->want != NULL && !c->want[i])
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
        l_push_host(c->k->api, c->view, i);
        lua_call(L, 1, 1);
        c->numbers[i] = l_take_milli(L);
    }
    return 0;
}

int hook_host_numbers(struct hooks *k, int ref, const bool *want, int64_t *ret, struct err *err)
{
    struct call c = {.k = k, .hook = HOOK_OBJECTIVE, .ref = ref, .want = want, .numbers = ret};
    return hooks_run(&c, l_host_numbers, err);
}

static int l_vm_numbers(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    for (int i = 0; i < c->k->model->n_vms; i++) {
        c->numbers[i] = 0;
        if (c->want != NULL && !c->want[i])
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
        l_push_vm(c->k->api, c->view, i);
        lua_call(L, 1, 1);
        c->numbers[i] = l_take_milli(L);
        if (c->numbers[i] != QUANTITY_UNKNOWN &&
            (c->numbers[i] < 0 || c->numbers[i] > LOAD_MAX_MILLI))
            luaL_error(L, "objective: resource.load of %s is not from 0 to %d",
                       vm_label(&c->k->model->vms[i]), (int)(LOAD_MAX_MILLI / 1000));
    }
    return 0;
}

int hook_vm_numbers(struct hooks *k, int ref, const bool *want, int64_t *ret, struct err *err)
{
    struct call c = {.k = k, .hook = HOOK_OBJECTIVE, .ref = ref, .want = want, .numbers = ret};
    return hooks_run(&c, l_vm_numbers, err);
}

/* ---- values with a class of their own */

/* Does the value at idx have that metatable, as what reject(), wait() give? */
bool hooks_has_class(lua_State *L, int idx, int ref)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    bool yes = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return yes;
}

/* What such a value holds at position i. */
void l_hook_part(lua_State *L, int idx, lua_Integer i, char *to, size_t size)
{
    idx = lua_absindex(L, idx);
    lua_rawgeti(L, idx, i);
    l_hook_text(L, -1, to, size);
    lua_pop(L, 1);
}
