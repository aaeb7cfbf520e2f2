/* host:history("temp.inlet"), vm:history("cpu.used"): what was measured before the snapshot, from
 * its part `history`:
 *
 *   {"every_s": 60, "until": TIME, "hosts": {NAME: {"temp.inlet": [NUMBER or null, ...]}},
 *    "vms": {UUID: {"cpu.used": [...]}}, "week": {"every_s": 1800, "used_cores": [336 NUMBERs or
 * null]}}
 *
 * Each number is the mean over every_s seconds, the oldest first; the last ends at `until`. `week`
 * is the whole fleet's, see planner/core/profile.h: c:usual(TIME), c:usual_range(). */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>

#include "proto/canon.h"

#define SAMPLES_MAX 100000

static const char *const host_series[] = {"cpu.util", "cpu.psi",     "mem.used", "temp.inlet",
                                          "temp.cpu", "power.watts", NULL};
static const char *const vm_series[] = {"cpu.used", NULL};

/* Read when it is first asked for; an empty object where there is none. */
static const json_t *history_of(struct api *a)
{
    const char *text = a->model->history_json;
    if (a->history == NULL && text != NULL)
        a->history = json_loads(text, 0, NULL);
    if (a->history == NULL)
        a->history = json_object();
    return a->history;
}

static bool is_series(const char *const *names, const char *key)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, key) == 0)
            return true;
    return false;
}

/* Unknown samples are false: a hole in a list of Lua would end it. */
static void l_fill_samples(lua_State *L, const json_t *samples)
{
    size_t n = json_array_size(samples);
    if (samples != NULL && !json_is_array(samples) && !json_is_null(samples))
        luaL_error(L, "the snapshot's history is not a list of numbers");
    if (n > SAMPLES_MAX)
        luaL_error(L, "the snapshot's history has more than %d samples", SAMPLES_MAX);
    lua_createtable(L, (int)n, 2);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(samples, i);
        if (json_is_number(v))
            lua_pushnumber(L, json_number_value(v));
        else
            lua_pushboolean(L, 0);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

int l_history(lua_State *L)
{
    struct api *a = api_of(L);
    struct object o = object_of(sandbox_identity(L, 1));
    if (o.kind != KIND_HOST && o.kind != KIND_VM)
        return luaL_error(L, "history is called on a host or VM: host:history(\"temp.inlet\")");
    bool host = o.kind == KIND_HOST;
    const char *key = luaL_checkstring(L, 2);
    const char *const *names = host ? host_series : vm_series;
    if (!is_series(names, key)) {
        const char *near = nearest_word(key, names);
        return luaL_error(L, "no history of '%s' is kept for a %s%s%s%s", key, host ? "host" : "VM",
                          near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                          near != NULL ? "'?" : "");
    }
    const json_t *all = history_of(a);
    const char *id = host ? a->model->hosts[o.index].name : a->model->vms[o.index].id;
    const json_t *one = json_object_get(json_object_get(all, host ? "hosts" : "vms"), id);
    const json_t *every = json_object_get(all, "every_s");
    const char *until_text = json_string_value(json_object_get(all, "until"));
    msec until = a->model->taken_at;
    struct err err;
    if (until_text != NULL && time_parse(until_text, &until, &err) < 0)
        return luaL_error(L, "the snapshot's history.until is not a time");
    l_fill_samples(L, json_object_get(one, key));
    lua_pushnumber(L, json_is_number(every) ? MAX(json_number_value(every), 1.0) : 60.0);
    lua_setfield(L, -2, "every");
    lua_pushnumber(L, (lua_Number)MAX(sat_sub(a->now, until), (msec)0) / 1000);
    lua_setfield(L, -2, "ended");
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->policy->ref_series_meta);
    lua_setmetatable(L, -2);
    l_freeze(L, "series", 0);
    return 1;
}

/* ---- the week */

static const struct profile *week_of(struct api *a)
{
    if (a->week == NULL) {
        a->week = xcalloc(1, sizeof *a->week);
        profile_init(a->week);
        profile_take(a->week, json_object_get(history_of(a), "week"));
    }
    return a->week;
}

static void l_check_context(lua_State *L, const char *name)
{
    if (object_of(sandbox_identity(L, 1)).kind != KIND_CONTEXT)
        luaL_error(L, "%s is called on c: c:%s(...)", name, name);
}

/* Seconds, from a number or what duration() understands. */
static lua_Number l_seconds(lua_State *L, struct api *a, int idx)
{
    if (lua_type(L, idx) != LUA_TNUMBER) {
        sandbox_push_globals(a->policy->sb);
        lua_getfield(L, -1, "duration");
        lua_pushvalue(L, idx);
        lua_call(L, 1, 1);
        lua_remove(L, -2);
        lua_replace(L, idx);
    }
    return lua_tonumber(L, idx);
}

/* c:usual(time): the cores that the fleet usually uses at the time of the week that is so far
 * ahead. */
int l_usual(lua_State *L)
{
    struct api *a = api_of(L);
    lua_settop(L, 2);
    l_check_context(L, "usual");
    lua_Number ahead = lua_isnil(L, 2) ? 0 : l_seconds(L, a, 2);
    if (!(ahead >= 0 && ahead <= 7 * 86400))
        return luaL_error(L, "c:usual takes a time ahead of at most 7 days, like \"45m\"");
    api_push_milli(L, profile_at(week_of(a), a->now + (msec)(ahead * 1000)));
    return 1;
}

/* c:usual_range(): the least and the most of any time of the week. */
int l_usual_range(lua_State *L)
{
    milli least = QUANTITY_UNKNOWN, most = QUANTITY_UNKNOWN;
    l_check_context(L, "usual_range");
    profile_range(week_of(api_of(L)), &least, &most);
    api_push_milli(L, least);
    api_push_milli(L, most);
    return 2;
}
