/* The model's numbers and texts as Lua has them. */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>

/* ---- setting fields of the table on top: nothing where the value is unknown */

void l_put_milli(lua_State *L, const char *key, milli v)
{
    if (v == QUANTITY_UNKNOWN)
        return;
    lua_pushnumber(L, (lua_Number)v / 1000);
    lua_setfield(L, -2, key);
}

void l_put_integer(lua_State *L, const char *key, int64_t v)
{
    if (v == QUANTITY_UNKNOWN)
        return;
    lua_pushinteger(L, v);
    lua_setfield(L, -2, key);
}

void l_put_text(lua_State *L, const char *key, const char *s)
{
    if (s == NULL)
        return;
    lua_pushstring(L, s);
    lua_setfield(L, -2, key);
}

void l_put_tri(lua_State *L, const char *key, enum tri t)
{
    if (t == TRI_UNKNOWN)
        return;
    lua_pushboolean(L, t == TRI_YES);
    lua_setfield(L, -2, key);
}

void l_put_seconds(lua_State *L, const char *key, msec wall)
{
    if (wall == QUANTITY_UNKNOWN)
        return;
    lua_pushinteger(L, wall / 1000);
    lua_setfield(L, -2, key);
}

int64_t api_difference(int64_t a, int64_t b)
{
    return a == QUANTITY_UNKNOWN || b == QUANTITY_UNKNOWN ? QUANTITY_UNKNOWN : sat_sub(a, b);
}

void api_push_milli(lua_State *L, milli v)
{
    if (v == QUANTITY_UNKNOWN)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)v / 1000);
}

void api_push_integer(lua_State *L, int64_t v)
{
    if (v == QUANTITY_UNKNOWN)
        lua_pushnil(L);
    else
        lua_pushinteger(L, v);
}

void api_push_percent(lua_State *L, int64_t part, int64_t whole)
{
    if (part == QUANTITY_UNKNOWN || whole == QUANTITY_UNKNOWN || whole <= 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)part * 100 / (lua_Number)whole);
}

void api_push_tri(lua_State *L, enum tri t)
{
    if (t == TRI_UNKNOWN)
        lua_pushnil(L);
    else
        lua_pushboolean(L, t == TRI_YES);
}

void api_push_seconds(lua_State *L, msec wall)
{
    api_push_integer(L, wall == QUANTITY_UNKNOWN ? wall : wall / 1000);
}

int l_no_such_field(lua_State *L, const char *what, const char *const *names)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "a %s has named fields only", what);
    const char *key = lua_tostring(L, 2), *near = nearest_word(key, names);
    if (near != NULL)
        return luaL_error(L, "a %s has no field '%s'; did you mean '%s'?", what, key, near);
    return luaL_error(L, "a %s has no field '%s'", what, key);
}

void l_fill_tags(lua_State *L, const struct model_tags *tags)
{
    lua_createtable(L, 0, tags->n);
    for (int i = 0; i < tags->n; i++)
        l_put_text(L, tags->items[i].key, tags->items[i].value);
}

void l_fill_strings(lua_State *L, const struct model_strings *s)
{
    lua_createtable(L, s->n, 0);
    for (int i = 0; i < s->n; i++) {
        lua_pushstring(L, s->items[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

void l_fill_storage(lua_State *L, const struct model_host *h)
{
    lua_createtable(L, h->n_storage, 0);
    for (int i = 0; i < h->n_storage; i++) {
        lua_createtable(L, 0, 4);
        l_put_text(L, "name", h->storage[i].name);
        l_put_tri(L, "shared", h->storage[i].shared);
        l_put_integer(L, "free", h->storage[i].free_mib);
        l_put_integer(L, "total", h->storage[i].total_mib);
        l_freeze(L, "storage", 0);
        lua_rawseti(L, -2, i + 1);
    }
}
