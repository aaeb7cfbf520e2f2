#include "planner/worker/policy.h"

#include <lauxlib.h>
#include <stdio.h>

#include "planner/core/settings.h"
#include "planner/worker/prelude_lua.h" /* generated from policies/prelude.lua */
#include "planner/worker/zone.h"

static const struct {
    const char *name;
    int params;
} hooks[] = {

#define X(id, name, params) {name, params},
    POLICY_HOOKS(X)
#undef X
};

const char *policy_hook_name(enum policy_hook h)
{
    return hooks[h].name;
}

/* ---- what C lends to the prelude */

int l_native_nearest(lua_State *L)
{
    const char *word = luaL_checkstring(L, 1), *names[128];
    size_t n = 0;
    for (lua_Integer i = 1; n + 1 < ARRAY_SIZE(names) && lua_rawgeti(L, 2, i) == LUA_TSTRING; i++)
        names[n++] = lua_tostring(L, -1); /* the list keeps them alive */
    names[n] = NULL;
    lua_pushstring(L, nearest_word(word, names));
    return 1;
}

int l_native_freeze(lua_State *L)
{
    const char *what = luaL_checkstring(L, 2);
    lua_pushvalue(L, 1);
    l_freeze(L, what, 0);
    return 1;
}

static int l_zone_offset(lua_State *L)
{
    int64_t seconds;
    if (zone_offset(luaL_checkstring(L, 1), luaL_checkinteger(L, 2), &seconds))
        lua_pushinteger(L, seconds);
    else
        lua_pushnil(L);
    return 1;
}

/* More parameters than the hook is given: its author thinks of another hook. */
static int l_check_hook(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_Debug ar;
    lua_pushvalue(L, 2);
    lua_getinfo(L, ">u", &ar);
    for (size_t i = 0; i < HOOK_COUNT; i++)
        if (strcmp(hooks[i].name, name) == 0 && ar.nparams > hooks[i].params) {
            luaL_where(L, 3);
            lua_pushfstring(L, "%shook '%s' has %d parameters, it is given %d", lua_tostring(L, -1),
                            name, (int)ar.nparams, hooks[i].params);
            return lua_error(L);
        }
    return 0;
}

void l_push_json_scalar(lua_State *L, const json_t *v)
{
    if (json_is_string(v))
        lua_pushlstring(L, json_string_value(v), json_string_length(v));
    else if (json_is_integer(v))
        lua_pushinteger(L, json_integer_value(v));
    else if (json_is_real(v))
        lua_pushnumber(L, json_real_value(v));
    else if (json_is_boolean(v))
        lua_pushboolean(L, json_is_true(v));
    else
        lua_pushnil(L);
}

/* Set the fields of the table on top. */
static void l_put_params(lua_State *L, json_t *params)
{
    const char *key;
    json_t *v;
    json_object_foreach(params, key, v)
    {
        l_push_json_scalar(L, v);
        lua_setfield(L, -2, key);
    }
}

/* The settings of that name, onto the table on top. */
static void l_put_settings(lua_State *L, const struct policy *p, const char *name)
{
    for (size_t i = 0; i < json_array_size(p->settings); i++) {
        const json_t *item = json_array_get(p->settings, i);
        const char *its = json_string_value(json_object_get(item, "name"));
        if (its != NULL && strcmp(its, name) == 0)
            l_put_params(L, json_object_get(item, "params"));
    }
}

/* settings(NAME): the parameters that were set for the policy of that name; the later ones count.
 */
static int l_settings(lua_State *L)
{
    const struct policy *p = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_checkstring(L, 1);
    lua_newtable(L);
    l_put_settings(L, p, name);
    l_put_params(L, p->carried);
    l_put_settings(L, p, POLICY_ANY);
    return 1;
}

/* log(text): kept with the answer, as far as there is room. */
static int l_log(lua_State *L)
{
    struct policy *p = lua_touserdata(L, lua_upvalueindex(1));
    size_t len;
    const char *s = luaL_checklstring(L, 1, &len);
    if (json_array_size(p->log) < POLICY_LOG_MAX) {
        char *clean = sandbox_clean_text(s, len);
        json_array_append_new(p->log, json_string(clean));
        free(clean);
    }
    return 0;
}

/* (loaded prelude, policy): runs it, keeps what it returns. */
static int l_prelude(lua_State *L)
{
    struct policy *p = lua_touserdata(L, 2);
    lua_pushvalue(L, 1);
    lua_newtable(L);
    static const luaL_Reg natives[] = {{"nearest", l_native_nearest},
                                       {"freeze", l_native_freeze},
                                       {"zone_offset", l_zone_offset},
                                       {"check_hook", l_check_hook},
                                       {NULL, NULL}};
    luaL_setfuncs(L, natives, 0);
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, l_settings, 1);
    lua_setfield(L, -2, "settings");
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, l_log, 1);
    lua_setfield(L, -2, "log");
    sandbox_push_globals(p->sb);
    lua_getfield(L, -1, "pairs");
    lua_setfield(L, -3, "pairs");
    lua_getfield(L, -1, "tostring");
    lua_setfield(L, -3, "tostring");
    lua_getfield(L, -1, "string");
    lua_getfield(L, -1, "format");
    lua_pushvalue(L, -1);
    p->ref_format = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setfield(L, -4, "format");
    lua_pop(L, 1);
    lua_getfield(L, -1, "table");
    lua_getfield(L, -1, "sort");
    lua_setfield(L, -4, "sort");
    lua_pop(L, 1);
    lua_call(L, 2, 1);

    struct {
        const char *name;
        int *ref;
    } kept[] = {{"window_at", &p->ref_window_at},
                {"unmet", &p->ref_unmet},
                {"list_meta", &p->ref_list_meta},
                {"reject_meta", &p->ref_reject},
                {"wait_meta", &p->ref_wait},
                {"allow", &p->ref_allow},
                {"judge", &p->ref_judge},
                {"declared", &p->ref_params},
                {"series_meta", &p->ref_series_meta},
                {"fallback_meta", &p->ref_fallback}};

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        lua_getfield(L, -1, kept[i].name);
        *kept[i].ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 0;
}

static enum planner_mode goal_of(const char *name)
{
    for (int m = PLANNER_RELIEVE; m <= PLANNER_MOVES; m++)
        if (strcmp(planner_mode_name((enum planner_mode)m), name) == 0)
            return (enum planner_mode)m;
    return PLANNER_BALANCE;
}

static void copy_text(lua_State *L, const char *field, char *to, size_t size)
{
    lua_getfield(L, -1, field);
    const char *s = lua_tostring(L, -1);
    snprintf(to, size, "%s", s != NULL ? s : "");
    lua_pop(L, 1);
}

/* The declaration is on top; its scope is a table of texts, as the prelude has checked. */
static void l_take_scope(lua_State *L, struct policy *p)
{
    if (lua_getfield(L, -1, "scope") == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (p->n_scope == SCOPE_MAX)
                luaL_error(L, "%s: scope: more than %d tags", p->file, SCOPE_MAX);
            int i = p->n_scope++;
            snprintf(p->scope[i].key, sizeof p->scope[i].key, "%s", lua_tostring(L, -2));
            snprintf(p->scope[i].value, sizeof p->scope[i].value, "%s", lua_tostring(L, -1));
        }
    }
    lua_pop(L, 1);
}

/* (policy): takes over what policy{} was told. */
static int l_take_declaration(lua_State *L)
{
    struct policy *p = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_params); /* until now the prelude's declared() */
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1))
        return luaL_error(L, "%s: it declares no policy: policy { name = ..., api = 1 } is missing",
                          p->file);
    char goal[16];
    copy_text(L, "name", p->name, sizeof p->name);
    copy_text(L, "class", p->class, sizeof p->class);
    copy_text(L, "goal", goal, sizeof goal);
    p->goal = goal_of(goal);
    lua_getfield(L, -1, "cooldown_ms");
    p->cooldown_ms = lua_tointeger(L, -1);
    lua_getfield(L, -2, "agreement");
    p->agreement = lua_tointeger(L, -1);
    lua_getfield(L, -3, "hold_ms");
    p->hold_ms = lua_tointeger(L, -1);
    lua_pop(L, 3);
    l_take_scope(L, p);
    lua_getfield(L, -1, "schedule");
    p->ref_schedule = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, -1, "hooks");
    int n = 0;
    for (int i = 0; i < HOOK_COUNT; i++) {
        p->has[i] = lua_getfield(L, -1, hooks[i].name) == LUA_TFUNCTION;
        p->ref_hook[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        n += p->has[i];
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "params");
    luaL_unref(L, LUA_REGISTRYINDEX, p->ref_params);
    p->ref_params = luaL_ref(L, LUA_REGISTRYINDEX);
    if (!p->has[HOOK_TRIGGER])
        return luaL_error(L, "%s: hook 'trigger' is missing: function P.trigger(c) ... end",
                          p->file);
    if (n < 2)
        return luaL_error(L, "%s: a policy needs one more hook beside 'trigger'", p->file);
    return 0;
}

static int run_prelude(struct policy *p, struct err *err)
{
    lua_State *L = sandbox_lua(p->sb);
    lua_pushcfunction(L, l_prelude);
    int rc =
        sandbox_load(p->sb, (const char *)prelude_lua, prelude_lua_len, SANDBOX_PRELUDE, true, err);
    if (rc < 0)
        return rc;
    lua_pushlightuserdata(L, p);
    return sandbox_call(p->sb, 2, 0, err);
}

/* Does the message begin with "FILE:", as Lua's own do? */
static bool names_file(const char *file, const struct err *err)
{
    size_t n = strlen(file);
    return strncmp(err->msg, file, n) == 0 && err->msg[n] == ':';
}

int policy_load(struct policy *p, struct sandbox *sb, const char *text, size_t len,
                const char *file, json_t *settings, struct err *err)
{
    *p = (struct policy){.sb = sb, .file = file, .settings = settings, .log = json_array()};
    worker_policy_digest(text, len, p->digest);
    if (settings_read(text, len, &p->carried, NULL, err) < 0)
        return err_wrap(err, "%s:1", file);
    int rc = run_prelude(p, err);
    if (rc < 0)
        return rc;
    rc = sandbox_load(sb, text, len, file, false, err);
    if (rc == 0)
        rc = sandbox_call(sb, 0, 0, err);
    if (rc < 0)
        return names_file(file, err) ? rc : err_wrap(err, "%s", file);
    lua_State *L = sandbox_lua(sb);
    lua_pushcfunction(L, l_take_declaration);
    lua_pushlightuserdata(L, p);
    return sandbox_call(sb, 1, 0, err);
}

/* (policy, json object): fills it with the parameters' values. */
static int l_list_params(lua_State *L)
{
    const struct policy *p = lua_touserdata(L, 1);
    json_t *out = lua_touserdata(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_params);
    lua_getmetatable(L, -1);
    lua_getfield(L, -1, "__index");
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *key = lua_tostring(L, -2);
        if (lua_isinteger(L, -1))
            json_object_set_new(out, key, json_integer(lua_tointeger(L, -1)));
        else if (lua_type(L, -1) == LUA_TNUMBER)
            json_object_set_new(out, key, json_real(lua_tonumber(L, -1)));
        else if (lua_isboolean(L, -1))
            json_object_set_new(out, key, json_boolean(lua_toboolean(L, -1)));
        else if (lua_isstring(L, -1)) {
            size_t len;
            const char *s = lua_tolstring(L, -1, &len);
            _cleanup_(freep) char *clean = sandbox_clean_text(s, len);
            json_object_set_new(out, key, json_string(clean));
        }
    }
    return 0;
}

json_t *policy_manifest(struct policy *p)
{
    json_t *names = json_array(), *params = json_object();
    for (int i = 0; i < HOOK_COUNT; i++)
        if (p->has[i])
            json_array_append_new(names, json_string(hooks[i].name));
    lua_State *L = sandbox_lua(p->sb);
    lua_pushcfunction(L, l_list_params);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, params);
    struct err err;
    if (sandbox_call(p->sb, 2, 0, &err) < 0)
        json_object_clear(params); /* no memory even for this */
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:o, s:I, s:I}", "name", p->name, "api", 1,
                     "class", p->class, "goal", planner_mode_name(p->goal), "digest", p->digest,
                     "hooks", names, "params", params, "agreement", (json_int_t)p->agreement,
                     "hold_ms", (json_int_t)p->hold_ms);
}

json_t *policy_health(const struct policy *p)
{
    json_t *list = json_object();
    int64_t errors = 0;
    for (int i = 0; i < HOOK_COUNT; i++) {
        const struct hook_health *h = &p->health[i];
        errors += h->errors;
        if (h->calls == 0)
            continue;
        json_t *item =
            json_pack("{s:I, s:I}", "calls", (json_int_t)h->calls, "errors", (json_int_t)h->errors);
        if (h->errors > 0)
            json_object_set_new(item, "last_error", json_string(h->last_error));
        json_object_set_new(list, hooks[i].name, item);
    }
    return json_pack("{s:I, s:s, s:o, s:I, s:I}", "errors", (json_int_t)errors, "state",
                     errors == 0 ? "healthy" : "failing", "hooks", list, "pairs_asked",
                     (json_int_t)p->pairs_asked, "pairs_not_asked", (json_int_t)p->pairs_not_asked);
}

void policy_failed(struct policy *p, enum policy_hook h, struct err *err)
{
    size_t n = strlen(hooks[h].name);
    bool names_hook = strncmp(err->msg, hooks[h].name, n) == 0 && err->msg[n] == ':';
    if (!names_file(p->file, err) && names_hook)
        err_wrap(err, "%s", p->file);
    else if (!names_file(p->file, err))
        err_wrap(err, "%s: %s", p->file, hooks[h].name);
    p->health[h].errors++;
    sandbox_text(p->health[h].last_error, sizeof p->health[h].last_error, "%s", err->msg);
    if (sandbox_is_spent(p->sb) && p->spent.code == ERR_OK)
        p->spent = *err;
}

bool policy_overrides_holds(const struct policy *p)
{
    return strcmp(p->class, "safety") == 0 || strcmp(p->class, "drain") == 0 ||
           strcmp(p->class, "user") == 0;
}

void policy_done(struct policy *p)
{
    json_decref(p->log);
    json_decref(p->carried);
    p->log = p->carried = NULL;
}

/* ---- coverage */

/* The function on top of the stack, popped. */
static void l_mark_lines(lua_State *L, struct sandbox_coverage *c)
{
    lua_Debug ar;
    lua_getinfo(L, ">SL", &ar);
    if (strcmp(ar.short_src, c->chunk) == 0 && lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            lua_Integer line = lua_tointeger(L, -2);
            if (line > 0 && line <= c->n_lines)
                c->lines[line - 1] |= COVERAGE_CODE;
        }
    lua_pop(L, 1);
}

/* The function on top and those among its upvalues, each once; seen is the table at index 1. */
static void l_mark_reached(lua_State *L, struct sandbox_coverage *c)
{
    luaL_checkstack(L, 10, NULL);
    lua_pushvalue(L, -1);
    if (lua_iscfunction(L, -1) || lua_rawget(L, 1) != LUA_TNIL) {
        lua_pop(L, 2);
        return;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, 1);
    for (int i = 1; lua_getupvalue(L, -1, i) != NULL; i++)
        if (lua_isfunction(L, -1))
            l_mark_reached(L, c);
        else
            lua_pop(L, 1);
    l_mark_lines(L, c);
}

static int l_mark_code(lua_State *L)
{
    const struct policy *p = lua_touserdata(L, 1);
    struct sandbox_coverage *c = lua_touserdata(L, 2);
    lua_settop(L, 0);
    lua_newtable(L);
    for (int i = 0; i < HOOK_COUNT; i++)
        if (p->has[i]) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_hook[i]);
            l_mark_reached(L, c);
        }
    return 0;
}

void policy_mark_code(struct policy *p, struct sandbox_coverage *c)
{
    struct err err;
    lua_State *L = sandbox_lua(p->sb);
    lua_pushcfunction(L, l_mark_code);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, c);
    sandbox_call(p->sb, 2, 0, &err); /* out of memory or time: fewer lines are known */
}

bool policy_in_scope(const struct policy *p, const struct model_vm *vm)
{
    for (int i = 0; i < p->n_scope; i++) {
        const char *value = model_tag(&vm->tags, p->scope[i].key);
        if (value == NULL || strcmp(value, p->scope[i].value) != 0)
            return false;
    }
    return true;
}
