/* The hooks that see moves: accept, permit, migration. */
#include <lauxlib.h>
#include <math.h>

#include "planner/worker/hooks_internal.h"

/* ---- accept */

static void l_set_number(lua_State *L, const char *key, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, key);
}

static void l_set_integer(lua_State *L, const char *key, int64_t v)
{
    lua_pushinteger(L, v);
    lua_setfield(L, -2, key);
}

static void l_push_move(struct call *c, const struct planner_action *x)
{
    lua_State *L = hooks_lua(c->k);
    lua_createtable(L, 0, 8);
    l_push_vm(c->k->api, 0, x->vm);
    lua_setfield(L, -2, "vm");
    l_push_host(c->k->api, 0, x->from);
    lua_setfield(L, -2, "from");
    l_push_host(c->k->api, 0, x->to);
    lua_setfield(L, -2, "to");
    l_set_integer(L, "step", x->step + 1);
    l_set_number(L, "seconds", (double)x->estimate.ms / 1000);
    l_set_number(L, "downtime_ms", (double)x->estimate.downtime_ms);
    l_set_integer(L, "mib", x->estimate.mib);
    l_freeze(L, "move", 0);
}

/* Those that the plan puts on standby, or wakes. */
static void l_push_hosts_of(struct call *c, enum plan_action_type type)
{
    lua_State *L = hooks_lua(c->k);
    lua_newtable(L);
    for (int i = 0, n = 0; i < c->result->n_actions; i++) {
        if (c->result->actions[i].type != type)
            continue;
        l_push_host(c->k->api, 0, c->result->actions[i].to);
        lua_rawseti(L, -2, ++n);
    }
    l_make_list(c->k->api);
}

static void l_push_plan(struct call *c)
{
    lua_State *L = hooks_lua(c->k);
    const struct planner_result *r = c->result;
    lua_createtable(L, 0, 14);
    lua_createtable(L, r->n_actions, 0);
    for (int i = 0, n = 0; i < r->n_actions; i++) {
        if (r->actions[i].type != PLAN_MIGRATE)
            continue;
        l_push_move(c, &r->actions[i]);
        lua_rawseti(L, -2, ++n);
    }
    l_make_list(c->k->api);
    lua_setfield(L, -2, "moves");
    l_push_hosts_of(c, PLAN_STANDBY);
    lua_setfield(L, -2, "standby");
    l_push_hosts_of(c, PLAN_WAKE);
    lua_setfield(L, -2, "wake");
    l_set_integer(L, "steps", r->n_steps);
    l_set_number(L, "imbalance_before", (double)r->imbalance_before / 1000);
    l_set_number(L, "imbalance_after", (double)r->imbalance_after / 1000);
    l_set_integer(L, "hosts_used_before", r->hosts_used_before);
    l_set_integer(L, "hosts_used_after", r->hosts_used_after);
    l_set_integer(L, "hosts_freed", r->hosts_used_before - r->hosts_used_after);
    l_set_integer(L, "violations_before", r->violations_before);
    l_set_integer(L, "violations_after", r->violations_after);
    l_set_integer(L, "cost_before", r->cost_before);
    l_set_integer(L, "cost_after", r->cost_after);
    l_set_number(L, "relief_missing", (double)r->relief_missing / 1000);
    l_set_number(L, "seconds", (double)r->makespan_ms / 1000);
    l_freeze(L, "plan", 0);
}

static int l_accept(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    l_hook_begin(L, c);
    l_push_plan(c);
    lua_call(L, 2, 2);
    c->yes = lua_toboolean(L, -2);
    if (hooks_has_class(L, -2, c->k->policy->ref_reject)) {
        c->yes = false;
        l_hook_part(L, -2, 2, c->reason, FIT_TEXT_MAX);
        return 0;
    }
    l_hook_text(L, -1, c->reason, FIT_TEXT_MAX);
    return 0;
}

int hook_accept(struct hooks *k, const struct planner_result *r, bool *ret,
                char reason[FIT_TEXT_MAX], struct err *err)
{
    struct call c = {.k = k, .hook = HOOK_ACCEPT, .result = r, .reason = reason};
    int rc = hooks_run(&c, l_accept, err);
    *ret = rc == 0 && c.yes;
    return rc;
}

/* ---- permit and migration */

static int l_permit(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    const struct policy *p = c->k->policy;
    struct permit *r = c->permit;
    l_hook_begin(L, c);
    l_push_move(c, c->action);
    lua_call(L, 2, 1);
    if (hooks_has_class(L, -1, p->ref_reject)) {
        r->answer = PERMIT_DENY;
        r->denied.reject = true;
        l_hook_part(L, -1, 1, r->denied.code, sizeof r->denied.code);
        l_hook_part(L, -1, 2, r->denied.message, sizeof r->denied.message);
    } else if (hooks_has_class(L, -1, p->ref_wait)) {
        r->answer = PERMIT_WAIT;
        l_hook_part(L, -1, 1, r->approvers, sizeof r->approvers);
        l_hook_part(L, -1, 3, r->reason, sizeof r->reason);
        lua_rawgeti(L, -1, 2);
        r->timeout_s = (int64_t)fmin(fmax(lua_tonumber(L, -1), 0), 1e9);
    } else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
        r->answer = PERMIT_DENY;
        r->denied = (struct planner_verdict){.reject = true, .code = "POLICY"};
        sandbox_text(r->denied.message, sizeof r->denied.message, "%s does not permit it", p->name);
    }
    return 0;
}

void hook_permit(struct hooks *k, const struct planner_action *x, struct permit *ret)
{
    *ret = (struct permit){.answer = PERMIT_ALLOW};
    struct call c = {.k = k, .hook = HOOK_PERMIT, .action = x, .permit = ret};
    struct err err;
    if (!k->policy->has[HOOK_PERMIT] || hooks_run(&c, l_permit, &err) == 0)
        return;
    *ret = (struct permit){.answer = PERMIT_WAIT, .approvers = "approver"};
    sandbox_text(ret->reason, sizeof ret->reason, "permit failed: %s", err.msg);
}

/* A number that may only get smaller. */
static void l_lower(lua_State *L, const char *field, int64_t *to)
{
    int64_t asked = *to;
    if (lua_getfield(L, -1, field) != LUA_TNIL) {
        double v = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(v >= 1 && v <= 1e12))
            luaL_error(L, "migration: %s must be a number of at least 1", field);
        asked = llround(v);
    }
    *to = *to > 0 ? MIN(*to, asked) : asked;
    lua_pop(L, 1);
}

static const char *l_word(lua_State *L, const char *field)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "migration: %s must be a text", field);
    return lua_tostring(L, -1);
}

static uint32_t l_connections(lua_State *L)
{
    double v = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(v >= 1 && v <= 255))
        luaL_error(L, "migration: parallel must be a number from 1 to 255");
    return (uint32_t)v;
}

/* postcopy = true is short for mode = "postcopy"; what does not go with the new mode, and was the
 * planner's choice, makes way. */
static void l_choose_mode(lua_State *L, struct planner_parameters *p)
{
    enum migrate_mode mode = p->how.mode;
    if (lua_getfield(L, -1, "postcopy") != LUA_TNIL)
        mode = lua_toboolean(L, -1) ? MIGRATE_POSTCOPY : MIGRATE_PRECOPY;
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "mode") != LUA_TNIL &&
        (!migrate_mode_find(l_word(L, "mode"), &mode) || mode == MIGRATE_OFFLINE))
        luaL_error(L, "migration: mode is \"precopy\", \"postcopy\" or "
                      "\"postcopy-after-precopy\"");
    lua_pop(L, 1);
    if (migrate_is_postcopy(mode) && !migrate_is_postcopy(p->how.mode))
        p->how.parallel = 0;
    if (mode == MIGRATE_POSTCOPY_AFTER_PRECOPY)
        p->how.auto_converge = false;
    p->how.mode = mode;
}

static int l_migration(lua_State *L)
{
    static const char *const names[] = {
        "downtime_ms", "bandwidth_mib_s", "auto_converge", "postcopy",
        "mode",        "compression",     "parallel",      NULL};
    struct call *c = lua_touserdata(L, 1);
    struct planner_parameters p = *c->parameters;
    l_hook_begin(L, c);
    l_push_move(c, c->action);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1))
        return 0;
    l_hook_fields(L, "migration", names);
    l_lower(L, "downtime_ms", &p.downtime_ms);
    l_lower(L, "bandwidth_mib_s", &p.bandwidth_mib_s);
    if (lua_getfield(L, -1, "auto_converge") != LUA_TNIL)
        p.how.auto_converge = lua_toboolean(L, -1);
    lua_pop(L, 1);
    l_choose_mode(L, &p);
    if (lua_getfield(L, -1, "compression") != LUA_TNIL) {
        if (strcmp(l_word(L, "compression"), "xbzrle") != 0)
            return luaL_error(L, "migration: compression is \"xbzrle\" or absent");
        p.how.xbzrle = true;
        p.how.parallel = 0;
    }
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "parallel") != LUA_TNIL)
        p.how.parallel = l_connections(L);
    lua_pop(L, 1);
    if (migrate_is_postcopy(p.how.mode) &&
        c->k->model->vms[c->action->vm].postcopy_allowed != TRI_YES)
        return luaL_error(L, "migration: post-copy is not allowed for this VM");
    struct err err;
    if (migration_check(&p.how, &err) < 0) {
        lua_pushfstring(L, "migration: %s", err.msg);
        return lua_error(L);
    }
    *c->parameters = p;
    return 0;
}

void hook_migration(struct hooks *k, struct planner_action *x)
{
    struct call c = {.k = k, .hook = HOOK_MIGRATION, .action = x, .parameters = &x->parameters};
    if (k->policy->has[HOOK_MIGRATION])
        hooks_run(&c, l_migration, NULL);
}

/* ---- unplaceable */

static int l_unplaceable(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    const struct policy *p = c->k->policy;
    struct planner_refusal *r = c->refusal;
    l_hook_begin(L, c);
    l_push_vm(c->k->api, 0, r->vm);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, r->code);
    lua_setfield(L, -2, "code");
    lua_pushstring(L, r->why.message);
    lua_setfield(L, -2, "message");
    lua_pushstring(L, r->why.relax);
    lua_setfield(L, -2, "relax");
    l_freeze(L, "why", 0);
    lua_call(L, 3, 1);
    if (hooks_has_class(L, -1, p->ref_reject)) {
        l_hook_part(L, -1, 1, r->code, sizeof r->code);
        l_hook_part(L, -1, 2, r->why.message, sizeof r->why.message);
    } else if (hooks_has_class(L, -1, p->ref_fallback)) {
        char verb[16];
        l_hook_part(L, -1, 1, verb, sizeof verb);
        l_hook_part(L, -1, 2, r->why.relax, sizeof r->why.relax);
        r->fallback = strcmp(verb, "suspend") == 0 ? "suspend" : "shutdown";
    } else if (!lua_isnil(L, -1)) {
        return luaL_error(L,
                          "'unplaceable' returned a %s; shutdown(why), suspend(why) or "
                          "reject(code, why) is expected",
                          luaL_typename(L, -1));
    }
    return 0;
}

void hook_unplaceable(struct hooks *k, struct planner_refusal *r)
{
    struct call c = {.k = k, .hook = HOOK_UNPLACEABLE, .refusal = r};
    hooks_run(&c, l_unplaceable, NULL);
}

/* ---- verify */

#define FIGURES_MAX 32

static int l_verify(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    l_hook_begin(L, c);
    l_push_plan(c);
    l_push_context(c->k->api, 0);
    l_push_context(c->k->api, c->view);
    lua_call(L, 4, 1);
    if (lua_isnil(L, -1))
        return 0;
    if (!lua_istable(L, -1))
        return luaL_error(L, "'verify' returned a %s; figures like { watts = 12 } are expected",
                          luaL_typename(L, -1));
    int n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        double v = lua_tonumber(L, -1);
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TNUMBER || !isfinite(v))
            return luaL_error(L, "'verify': figures are numbers under names");
        if (++n > FIGURES_MAX)
            return luaL_error(L, "'verify': more than %d figures", FIGURES_MAX);
        size_t len;
        const char *name = lua_tolstring(L, -2, &len);
        char *clean = sandbox_clean_text(name, MIN(len, (size_t)64)); /* nothing below raises */
        json_object_set_new(c->figures, clean, json_real(v));
        free(clean);
    }
    return 0;
}

json_t *hook_verify(struct hooks *k, const struct planner_result *r)
{
    _cleanup_(freep) struct planner_move *moves = xcalloc((size_t)r->n_actions + 1, sizeof *moves);
    struct err err;
    int n = 0;
    for (int i = 0; i < r->n_actions; i++)
        if (r->actions[i].type == PLAN_MIGRATE)
            moves[n++] = (struct planner_move){r->actions[i].vm, r->actions[i].to};
    if (!k->policy->has[HOOK_VERIFY] || api_project(k->api, moves, n, &err) < 0)
        return NULL;
    struct call c = {
        .k = k, .hook = HOOK_VERIFY, .result = r, .view = API_PROJECTED, .figures = json_object()};
    if (hooks_run(&c, l_verify, NULL) == 0)
        return c.figures;
    json_decref(c.figures);
    return NULL;
}
