/* c: what every hook gets first. */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>
#include <math.h>

#define NOTES_MAX 200
#define REFUSALS_MAX 2000

/* ---- c */

static int l_find(lua_State *L)
{
    struct api *a = api_of(L);
    struct object o = object_of(sandbox_identity(L, 1));
    bool host = lua_toboolean(L, lua_upvalueindex(1));
    if (o.kind != KIND_CONTEXT)
        return luaL_error(L, "called on c: c:%s(name)", host ? "host" : "vm");
    const char *name = luaL_checkstring(L, 2);
    int i = host ? model_find_host(a->model, name) : model_find_vm(a->model, name);
    if (i == MODEL_NONE)
        lua_pushnil(L);
    else if (host)
        l_push_host(a, o.view, i);
    else
        l_push_vm(a, o.view, i);
    return 1;
}

/* c:note(key, value): kept with the decision. */
static int l_note(lua_State *L)
{
    struct api *a = api_of(L);
    size_t key_len, len;
    const char *key = luaL_checklstring(L, 2, &key_len), *s = l_tostring(L, 3, &len);
    if (json_object_size(a->notes) >= NOTES_MAX)
        return 0;
    _cleanup_(freep) char *k = sandbox_clean_text(key, key_len);
    _cleanup_(freep) char *v = sandbox_clean_text(s, len);
    double n = lua_tonumber(L, 3);
    if (lua_isinteger(L, 3) && llabs(lua_tointeger(L, 3)) < (int64_t)1e12)
        json_object_set_new(a->notes, k, json_integer(lua_tointeger(L, 3)));
    else if (lua_type(L, 3) == LUA_TNUMBER && isfinite(n) && fabs(n) < 1e12)
        json_object_set_new(a->notes, k, json_real(n));
    else
        json_object_set_new(a->notes, k, json_string(v));
    return 0;
}

static void copy_clean(char *to, size_t size, const char *s, size_t len)
{
    char *text = sandbox_clean_text(s, len);
    sandbox_text(to, size, "%s", text);
    free(text);
}

/* c:refuse(vm or host, verdict): why nothing is proposed for it, shown with the plan. */
static int l_refuse(lua_State *L)
{
    struct api *a = api_of(L);
    struct api_refusal r = {.vm = api_vm_at(a, 2), .host = api_host_at(a, 2)};
    if (r.vm == MODEL_NONE && r.host == MODEL_NONE)
        return luaL_error(L, "c:refuse wants a host or a VM first, then reject(...)");
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->policy->ref_reject);
    if (!lua_getmetatable(L, 3) || !lua_rawequal(L, -1, -2))
        return luaL_error(L, "c:refuse wants what reject(code, message) gives as its second");
    size_t len;
    lua_rawgeti(L, 3, 1);
    const char *s = lua_tolstring(L, -1, &len);
    copy_clean(r.code, sizeof r.code, s, len);
    lua_rawgeti(L, 3, 2);
    s = lua_tolstring(L, -1, &len);
    copy_clean(r.message, sizeof r.message, s, len);
    for (size_t i = 0; i < a->n_refusals; i++)
        if (a->refusals[i].vm == r.vm && a->refusals[i].host == r.host &&
            strcmp(a->refusals[i].code, r.code) == 0)
            return 0;
    if (a->n_refusals < REFUSALS_MAX) {
        ARRAY_RESERVE(a->refusals, a->cap_refusals, a->n_refusals + 1);
        a->refusals[a->n_refusals++] = r;
    }
    return 0;
}

static void l_push_utc(lua_State *L, msec now)
{
    static const char *const days[] = {"thu", "fri", "sat", "sun", "mon", "tue", "wed"};
    char text[TIME_TEXT_SIZE];
    time_format(now, text);
    lua_createtable(L, 0, 8);

    static const struct {
        const char *name;
        int at, len;
    } fields[] = {{"year", 0, 4},  {"month", 5, 2},   {"day", 8, 2},
                  {"hour", 11, 2}, {"minute", 14, 2}, {"second", 17, 2}};

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        char part[5] = {0};
        memcpy(part, text + fields[i].at, (size_t)fields[i].len);
        l_put_integer(L, fields[i].name, atoi(part));
    }
    l_put_text(L, "weekday", days[now / 86400000 % 7]);
    l_put_text(L, "text", text);
    l_freeze(L, "utc", 0);
}

static void l_push_limits(lua_State *L, const struct model_limits *limits)
{
    lua_createtable(L, 0, 4);
    l_put_integer(L, "total", limits->total);
    l_put_integer(L, "inflow_per_host", limits->inflow_per_host);
    l_put_integer(L, "outflow_per_host", limits->outflow_per_host);
    l_put_integer(L, "n_plus", limits->n_plus);
    l_freeze(L, "limits", 0);
}

static void l_push_window(struct api *a)
{
    lua_State *L = a->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->policy->ref_window_at);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->policy->ref_schedule);
    lua_pushinteger(L, a->now / 1000);
    lua_call(L, 2, 1);
    l_freeze(L, "window", 0);
}

static void l_add_finder(struct api *a, const char *name, bool host)
{
    lua_pushboolean(a->L, host);
    lua_pushcclosure(a->L, l_find, 1);
    lua_setfield(a->L, -2, name);
}

static void l_new_context(struct api *a, int view)
{
    lua_State *L = a->L;
    struct object o = {KIND_CONTEXT, view, 0};
    l_new_values(a, o, 22);
    l_put_seconds(L, "now", a->now);
    l_put_seconds(L, "taken_at", a->model->taken_at);
    l_put_text(L, "cluster", a->model->cluster);
    l_put_text(L, "policy", a->policy->name);
    lua_pushinteger(L, (lua_Integer)a->seed);
    lua_setfield(L, -2, "seed");
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->policy->ref_params);
    lua_setfield(L, -2, "params");
    l_push_window(a);
    lua_setfield(L, -2, "window");
    l_push_utc(L, a->now);
    lua_setfield(L, -2, "utc");
    l_push_limits(L, &a->model->limits);
    lua_setfield(L, -2, "limits");
    l_add_finder(a, "host", true);
    l_add_finder(a, "vm", false);
    l_add_method(a, "note", l_note);
    l_add_method(a, "refuse", l_refuse);
    l_add_method(a, "usual", l_usual);
    l_add_method(a, "usual_range", l_usual_range);
    l_freeze(L, "context", object_identity(KIND_CONTEXT, view, 0));
}

void l_push_context(struct api *a, int view)
{
    struct view *v = &a->views[view];
    luaL_checkstack(a->L, 12, NULL);
    if (v->ref_context != LUA_NOREF) {
        lua_rawgeti(a->L, LUA_REGISTRYINDEX, v->ref_context);
        return;
    }
    l_new_context(a, view);
    lua_pushvalue(a->L, -1);
    v->ref_context = luaL_ref(a->L, LUA_REGISTRYINDEX);
}
