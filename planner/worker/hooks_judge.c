/* filter and score. They are asked about so many pairs that nothing else of a run costs as much:
 * what every pair needs stands on Lua's stack for good, both are called from Lua (the prelude's
 * judge()) in one protected call, and C looks closer only at answers that are not the usual ones.
 */
#include "planner/worker/hooks_internal.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

/* From k->judge_base on. */
enum slot { SLOT_FILTER, SLOT_SCORE, SLOT_BOTH, SLOT_CONTEXT, SLOT_HOSTS, SLOT_VMS, N_SLOTS };

void hooks_reserve_judge(struct hooks *k)
{
    if (k->api == NULL)
        return;
    k->judge_base = lua_gettop(hooks_lua(k)) + 1;
    lua_settop(hooks_lua(k), k->judge_base + N_SLOTS - 1);
}

/* ---- the answers */

/* (call, the filter's answer): nil, true and allow() accept. */
static int l_take_filter(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    struct planner_verdict *v = c->verdict;
    int type = lua_type(L, -1);
    if (type == LUA_TNIL || (type == LUA_TBOOLEAN && lua_toboolean(L, -1)))
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->policy->ref_allow);
    bool allow = lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    if (allow)
        return 0;
    if (!hooks_has_class(L, -1, c->k->policy->ref_reject)) {
        if (type != LUA_TBOOLEAN)
            luaL_error(L, "%s: 'filter' returned a %s; nil accepts, reject(...) refuses",
                       c->k->policy->file, luaL_typename(L, -1));
        snprintf(v->code, sizeof v->code, "POLICY");
        snprintf(v->message, sizeof v->message, "%s says no", c->k->policy->name);
        v->reject = true;
        return 0;
    }
    l_hook_part(L, -1, 1, v->code, sizeof v->code);
    l_hook_part(L, -1, 2, v->message, sizeof v->message);
    v->reject = true;
    return 0;
}

static int64_t score_of(double v)
{
    return v <= 0 ? 0 : v >= 100 ? 100000 : llround(v * 1000);
}

/* (call, the score's answers): a number, and perhaps a reason: text, or a format and its values. */
static int l_take_score(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    const int at = 2;
    int n = lua_gettop(L) - at + 1;
    double v = n > 0 ? lua_tonumber(L, at) : 0;
    if (n == 0 || lua_type(L, at) != LUA_TNUMBER || isnan(v))
        luaL_error(L, "%s: 'score' returned %s; a number from 0 to 100 is expected",
                   c->k->policy->file,
                   n > 0 && lua_type(L, at) == LUA_TNUMBER ? "NaN" : luaL_typename(L, at));
    c->verdict->score = score_of(v);
    if (c->depth < JUDGE_REASON || n < 2)
        return 0;
    if (n > 2) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->policy->ref_format);
        lua_insert(L, at + 1);
        lua_call(L, n - 1, 1);
    }
    l_hook_text(L, at + 1, c->verdict->reason, sizeof c->verdict->reason);
    return 0;
}

/* ---- the questions */

static int l_open_view(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    const struct policy *p = c->k->policy;
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_hook[HOOK_FILTER]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_hook[HOOK_SCORE]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref_judge);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_call(L, 2, 1);
    l_push_context(c->k->api, c->view);
    l_push_made(c->k->api, c->view);
    return N_SLOTS;
}

/* Fill the slots for the view at its first use; the projected view is another each time. */
static int open_view(struct call *c, struct err *err)
{
    struct hooks *k = c->k;
    lua_State *L = hooks_lua(k);
    if (c->view == k->judge_view && c->view != API_PROJECTED)
        return 0;
    lua_pushcfunction(L, l_open_view);
    lua_pushlightuserdata(L, c);
    int rc = sandbox_call(k->policy->sb, 1, N_SLOTS, err);
    if (rc < 0)
        return rc;
    for (int i = N_SLOTS - 1; i >= 0; i--)
        lua_replace(L, k->judge_base + i);
    k->judge_view = c->view;
    return 0;
}

static int l_make_pair(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    l_push_vm(c->k->api, c->view, c->vm);
    l_push_host(c->k->api, c->view, c->host);
    return 2;
}

/* Push the pair's VM and host. */
static int push_pair(struct call *c, struct err *err)
{
    struct hooks *k = c->k;
    lua_State *L = hooks_lua(k);
    bool made = lua_rawgeti(L, k->judge_base + SLOT_VMS, c->vm + 1) == LUA_TTABLE;
    made = lua_rawgeti(L, k->judge_base + SLOT_HOSTS, c->host + 1) == LUA_TTABLE && made;
    if (!made) {
        lua_pop(L, 2);
        lua_pushcfunction(L, l_make_pair);
        lua_pushlightuserdata(L, c);
        int rc = sandbox_call(k->policy->sb, 1, 2, err);
        if (rc < 0)
            return rc;
    }
    api_judge(k->api, c->view, c->vm, c->host, -2, -1);
    return 0;
}

/* Is it `score` that judge() called last? */
static bool was_scoring(struct hooks *k)
{
    lua_State *L = hooks_lua(k);
    const char *name;
    bool yes = false;
    for (int i = 1; (name = lua_getupvalue(L, k->judge_base + SLOT_BOTH, i)) != NULL; i++) {
        yes = yes || (strcmp(name, "scoring") == 0 && lua_toboolean(L, -1));
        lua_pop(L, 1);
    }
    return yes;
}

/* Run f(call, the n values on top), protected. */
static int take(struct call *c, lua_CFunction f, int n, struct err *err)
{
    lua_State *L = hooks_lua(c->k);
    if (!lua_checkstack(L, 4))
        return err_set(err, ERR_POLICY, "%s: too many values returned", c->k->policy->file);
    lua_pushcfunction(L, f);
    lua_insert(L, -n - 1);
    lua_pushlightuserdata(L, c);
    lua_insert(L, -n - 1);
    return sandbox_call(c->k->policy->sb, n + 1, 0, err);
}

/* Part i of what reject() gave, which stands at idx: a text. Raises nothing. */
static bool copy_part(lua_State *L, int idx, lua_Integer i, char *to, size_t size)
{
    size_t len;
    bool text = lua_rawgeti(L, idx, i) == LUA_TSTRING;
    const char *s = text ? lua_tolstring(L, -1, &len) : NULL;
    if (text)
        sandbox_copy_text(to, size, s, len);
    lua_pop(L, 1);
    return text;
}

/* The filter's answer stands at idx; pushes nothing. */
static int take_filter(struct call *c, int idx, struct err *err)
{
    lua_State *L = hooks_lua(c->k);
    struct planner_verdict *v = c->verdict;
    if (lua_isnoneornil(L, idx) || (lua_isboolean(L, idx) && lua_toboolean(L, idx)))
        return 0;
    lua_settop(L, idx);
    if (lua_checkstack(L, 4) && hooks_has_class(L, idx, c->k->policy->ref_reject) &&
        copy_part(L, idx, 1, v->code, sizeof v->code) &&
        copy_part(L, idx, 2, v->message, sizeof v->message)) {
        v->reject = true;
        return 0;
    }
    return take(c, l_take_filter, 1, err);
}

/* The score's answers stand from idx on. */
static int take_score(struct call *c, int idx, struct err *err)
{
    lua_State *L = hooks_lua(c->k);
    int n = lua_gettop(L) - idx + 1;
    if (n > 0 && lua_type(L, idx) == LUA_TNUMBER && (n == 1 || c->depth < JUDGE_REASON)) {
        double v = lua_tonumber(L, idx);
        if (!isnan(v)) {
            c->verdict->score = score_of(v);
            return 0;
        }
    }
    return take(c, l_take_score, n, err);
}

static int ask(struct call *c, struct err *err)
{
    struct policy *p = c->k->policy;
    lua_State *L = hooks_lua(c->k);
    bool filter = p->has[HOOK_FILTER], score = p->has[HOOK_SCORE] && c->depth != JUDGE_FILTER;
    if (!filter && !score)
        return 0;
    enum slot slot = filter && score ? SLOT_BOTH : filter ? SLOT_FILTER : SLOT_SCORE;
    c->hook = filter ? HOOK_FILTER : HOOK_SCORE;
    int rc = open_view(c, err), at = c->k->judge_base + N_SLOTS; /* where the answers will stand */
    if (rc < 0)
        return rc;
    lua_pushvalue(L, c->k->judge_base + (int)slot);
    lua_pushvalue(L, c->k->judge_base + SLOT_CONTEXT);
    if ((rc = push_pair(c, err)) < 0)
        return rc;
    p->health[c->hook].calls++;
    rc = sandbox_call(p->sb, 3, LUA_MULTRET, err);
    bool scored = slot == SLOT_BOTH && (rc == 0 ? lua_isnil(L, at) : was_scoring(c->k));
    if (rc == 0 && filter && !scored)
        return take_filter(c, at, err);
    if (scored) {
        c->hook = HOOK_SCORE;
        p->health[HOOK_SCORE].calls++;
        at++;
    }
    return rc < 0 ? rc : take_score(c, at, err);
}

void hook_judge(struct hooks *k, int view, int vm, int host, enum judge_depth depth,
                struct planner_verdict *ret)
{
    ret->reject = false;
    ret->score = 0;
    ret->code[0] = ret->message[0] = ret->reason[0] = '\0';
    struct call c = {.k = k, .view = view, .vm = vm, .host = host, .depth = depth, .verdict = ret};
    struct err err;
    int rc = ask(&c, &err);
    lua_settop(hooks_lua(k), k->judge_base + N_SLOTS - 1);
    if (rc == 0)
        return;
    policy_failed(k->policy, c.hook, &err);
    if (c.hook == HOOK_SCORE) {
        ret->score = 0;
        sandbox_text(ret->reason, sizeof ret->reason, "ranked last: score failed: %.200s", err.msg);
        return;
    }
    ret->reject = true;
    snprintf(ret->code, sizeof ret->code, "POLICY_ERROR");
    sandbox_text(ret->message, sizeof ret->message, "%s", err.msg);
}
