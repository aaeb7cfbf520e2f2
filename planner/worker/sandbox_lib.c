#include "planner/worker/sandbox_lib.h"

#include <lauxlib.h>
#include <lualib.h>

#include "planner/worker/sandbox.h"

/* ---- frozen tables: an empty table whose metatable leads to the one that holds the values. The
 * metatable's [1] is the identity, [2] true: policies cannot make such a metatable, because
 * setmetatable copies only text keys and __metatable shields this one. */

static int l_readonly(lua_State *L)
{
    lua_getmetatable(L, 1);
    lua_getfield(L, -1, "__name");
    size_t len;
    const char *key = l_tostring(L, 2, &len);
    return luaL_error(L, "%s is read-only (\"%s\" set)", lua_tostring(L, -2), key);
}

static int l_length(lua_State *L)
{
    lua_getmetatable(L, 1);
    lua_getfield(L, -1, "__index");
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
    return 1;
}

void l_freeze(lua_State *L, const char *what, lua_Integer identity)
{
    luaL_checkstack(L, 4, NULL);
    bool has_items = lua_rawlen(L, -1) > 0; /* else what stands in its place has the same length */
    lua_createtable(L, 0, 0);
    lua_createtable(L, 2, has_items ? 5 : 4);
    lua_pushinteger(L, identity);
    lua_rawseti(L, -2, 1);
    lua_pushboolean(L, 1);
    lua_rawseti(L, -2, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_readonly);
    lua_setfield(L, -2, "__newindex");
    if (has_items) {
        lua_pushcfunction(L, l_length);
        lua_setfield(L, -2, "__len");
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushstring(L, what);
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* Is the value at idx frozen? Then its metatable is pushed. */
static bool push_frozen_meta(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
        return false;
    bool frozen = lua_rawgeti(L, -1, 2) == LUA_TBOOLEAN;
    lua_pop(L, 1);
    if (!frozen)
        lua_pop(L, 1);
    return frozen;
}

lua_Integer sandbox_identity(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
        return 0;
    lua_rawgeti(L, -1, 1);
    lua_Integer id = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    lua_pop(L, 2);
    return id;
}

/* ---- text */

const char *l_tostring(lua_State *L, int idx, size_t *ret_len)
{
    idx = lua_absindex(L, idx);
    switch (lua_type(L, idx)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
    case LUA_TBOOLEAN:
    case LUA_TNIL:
        return luaL_tolstring(L, idx, ret_len);
    case LUA_TTABLE:
        if (push_frozen_meta(L, idx)) {
            if (lua_getfield(L, -1, "__text") != LUA_TSTRING) {
                lua_pop(L, 1);
                lua_getfield(L, -1, "__name");
            }
            lua_remove(L, -2);
            return lua_tolstring(L, -1, ret_len);
        }
        if (luaL_getmetafield(L, idx, "__tostring") != LUA_TNIL) {
            lua_pop(L, 1);
            return luaL_tolstring(L, idx, ret_len);
        }
        break;
    default:
        break;
    }
    lua_pushstring(L, luaL_typename(L, idx));
    return lua_tolstring(L, -1, ret_len);
}

static int l_lib_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    l_tostring(L, 1, NULL);
    return 1;
}

/* string.format without %p, and without the addresses that %s shows of tables. */
static int l_format(lua_State *L)
{
    const char *fmt = luaL_checkstring(L, 1);
    int n = lua_gettop(L);
    for (const char *p = strchr(fmt, '%'); p != NULL; p = strchr(p, '%')) {
        p += 1 + strspn(p + 1, "-+ #0123456789.");
        if (*p == 'p')
            return luaL_error(L, "string.format: %%p is not offered, addresses differ each time");
        p += *p != '\0';
    }
    for (int i = 2; i <= n; i++)
        if (lua_type(L, i) > LUA_TSTRING) {
            l_tostring(L, i, NULL);
            lua_replace(L, i);
        }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

/* ---- pairs in a fixed order: integers and floats rising, then strings by bytes, then booleans */

static int key_rank(lua_State *L, int idx)
{
    int t = lua_type(L, idx);
    return t == LUA_TNUMBER ? 0 : t == LUA_TSTRING ? 1 : t == LUA_TBOOLEAN ? 2 : 3;
}

/* Keys at a and b on the stack. strcmp would stop at a NUL and follow the locale. */
static bool key_less(lua_State *L, int a, int b)
{
    int ra = key_rank(L, a), rb = key_rank(L, b);
    if (ra != rb)
        return ra < rb;
    if (ra == 0)
        return lua_compare(L, a, b, LUA_OPLT);
    if (ra == 2)
        return !lua_toboolean(L, a) && lua_toboolean(L, b);
    size_t la, lb;
    const char *sa = lua_tolstring(L, a, &la), *sb = lua_tolstring(L, b, &lb);
    int c = memcmp(sa, sb, MIN(la, lb));
    return c != 0 ? c < 0 : la < lb;
}

/* May raise; the arguments are two stack positions. */
typedef bool (*less_fn)(lua_State *L, int a, int b, int comparator);

static bool l_less_key(lua_State *L, int a, int b, int comparator)
{
    (void)comparator;
    return key_less(L, a, b);
}

static bool l_less_value(lua_State *L, int a, int b, int comparator)
{
    if (comparator == 0)
        return lua_compare(L, a, b, LUA_OPLT);
    lua_pushvalue(L, comparator);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    lua_call(L, 2, 1);
    bool less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return less;
}

/* Merge the sorted runs [lo, mid) and [mid, hi) of the table at `from` into the one at `to`. */
static void l_merge(lua_State *L, int from, int to, lua_Integer lo, lua_Integer mid, lua_Integer hi,
                    less_fn less, int comparator)
{
    lua_Integer i = lo, j = mid;
    for (lua_Integer k = lo; k < hi; k++) {
        bool right = i >= mid;
        if (!right && j < hi) {
            lua_rawgeti(L, from, j);
            lua_rawgeti(L, from, i);
            int top = lua_gettop(L);
            right = less(L, top - 1, top, comparator);
            lua_pop(L, 2);
        }
        lua_rawgeti(L, from, right ? j++ : i++);
        lua_rawseti(L, to, k);
    }
}

/* Stable merge sort of [1, n] of the table at idx; leaves the stack as it was. Lua's own sort draws
 * its pivots from the clock, so that equal elements would change places between runs. */
static void l_sort_range(lua_State *L, int idx, lua_Integer n, less_fn less, int comparator)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 8, NULL);
    lua_createtable(L, (int)MIN(n, (lua_Integer)1 << 20), 0);
    int from = idx, to = lua_gettop(L), spare = to;
    for (lua_Integer width = 1; width < n; width *= 2) {
        for (lua_Integer lo = 1; lo <= n; lo += 2 * width)
            l_merge(L, from, to, lo, MIN(lo + width, n + 1), MIN(lo + 2 * width, n + 1), less,
                    comparator);
        int swap = from;
        from = to;
        to = swap;
    }
    if (from == spare)
        for (lua_Integer i = 1; i <= n; i++) {
            lua_rawgeti(L, spare, i);
            lua_rawseti(L, idx, i);
        }
    lua_pop(L, 1);
}

static int l_sort(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (push_frozen_meta(L, 1))
        return luaL_error(L, "table.sort: a %s is read-only, use :sort_by()",
                          l_tostring(L, 1, NULL));
    int comparator = lua_isnoneornil(L, 2) ? 0 : 2;
    if (comparator != 0)
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= n; i++)
        if (lua_rawgeti(L, 1, i) == LUA_TNIL)
            return luaL_error(L, "table.sort: the list has a hole at %I", i);
        else
            lua_pop(L, 1);
    l_sort_range(L, 1, n, l_less_value, comparator);
    return 0;
}

/* The table of values that stands behind idx, pushed: itself, or what a frozen one leads to. */
static void l_push_backing(lua_State *L, int idx)
{
    if (push_frozen_meta(L, idx)) {
        lua_getfield(L, -1, "__index");
        lua_remove(L, -2);
    } else {
        lua_pushvalue(L, idx);
    }
}

/* Iterator: upvalues are the keys, the position, the table. */
static int l_pairs_next(lua_State *L)
{
    for (;;) {
        lua_Integer i = lua_tointeger(L, lua_upvalueindex(2)) + 1;
        lua_pushinteger(L, i);
        lua_replace(L, lua_upvalueindex(2));
        if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL)
            return 1;
        lua_pushvalue(L, -1);
        lua_gettable(L, lua_upvalueindex(3));
        if (!lua_isnil(L, -1))
            return 2;
        lua_pop(L, 2);
    }
}

static int l_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    l_push_backing(L, 1);
    lua_newtable(L);
    lua_Integer n = 0;
    for (lua_pushnil(L); lua_next(L, 2);) {
        lua_pop(L, 1);
        if (key_rank(L, -1) == 3)
            return luaL_error(L, "pairs: a %s as key has no order that is the same every time",
                              luaL_typename(L, -1));
        lua_pushvalue(L, -1);
        lua_rawseti(L, 3, ++n);
    }
    l_sort_range(L, 3, n, l_less_key, 0);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, l_pairs_next, 3);
    return 1;
}

/* ---- metatables: a copy of the text keys, without what would run unseen */

static int l_setmetatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "setmetatable: the table is protected");
    if (lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        lua_setmetatable(L, 1);
        lua_settop(L, 1);
        return 1;
    }
    static const char *const refused[] = {"__gc", "__mode", "__close", "__metatable", "__name"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "setmetatable: %s is not allowed", refused[i]);
        lua_pop(L, 1);
    }
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, 2);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        if (lua_type(L, -2) == LUA_TSTRING)
            lua_rawset(L, 3);
        else
            lua_pop(L, 2);
    }
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int l_getmetatable(lua_State *L)
{
    luaL_checkany(L, 1);
    if (lua_type(L, 1) != LUA_TTABLE || push_frozen_meta(L, 1) || !lua_getmetatable(L, 1))
        lua_pushnil(L);
    return 1;
}

/* Without random access to memory that a list does not have: bounded, so that no C loop of billions
 * of steps can be asked for. The same for unpack. */
#define RANGE_MAX 1000000

static void l_check_range(lua_State *L, const char *what, lua_Integer from, lua_Integer to)
{
    if (to > from && (lua_Unsigned)to - (lua_Unsigned)from > RANGE_MAX)
        luaL_error(L, "%s: more than %d elements", what, RANGE_MAX);
}

static int l_move(lua_State *L)
{
    l_check_range(L, "table.move", luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
    if (push_frozen_meta(L, lua_istable(L, 5) ? 5 : 1))
        return luaL_error(L, "table.move: the target is read-only");
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

static int l_concat(lua_State *L)
{
    if (lua_gettop(L) >= 4)
        l_check_range(L, "table.concat", luaL_optinteger(L, 3, 1), luaL_optinteger(L, 4, 1));
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, 1);
    return 1;
}

/* ---- the globals */

/* The table of globals answers for an undefined name; upvalue: the backing table. */
static int l_undefined(lua_State *L)
{
    static const char *const gone[] = {
        "io",      "os",   "debug",  "load",   "loadfile",  "dofile",  "collectgarbage",
        "require", "next", "rawset", "rawget", "coroutine", "package", NULL};
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    for (size_t i = 0; gone[i] != NULL; i++)
        if (strcmp(gone[i], name) == 0)
            return luaL_error(L, "'%s' is not offered to policies", name);
    const char *names[128];
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && n + 1 < ARRAY_SIZE(names))
            names[n++] = lua_tostring(L, -2);
    names[n] = NULL;
    const char *near = nearest_word(name, names);
    if (near != NULL)
        return luaL_error(L, "'%s' is not defined; did you mean '%s'?", name, near);
    return luaL_error(L, "'%s' is not defined", name);
}

/* A policy may define globals of its own; what is built in stays. Upvalue: the backing table. */
static int l_define(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return luaL_error(L, "'%s' is built in and cannot be replaced", l_tostring(L, 2, NULL));
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

static void push_globals(lua_State *L)
{
    lua_newtable(L); /* the policy's own globals; looks the rest up in the backing table */
    lua_newtable(L); /* backing */
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_define, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -3);
    lua_createtable(L, 0, 2); /* the backing table's own metatable: nothing beyond it */
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, l_undefined, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* Copy the named fields of the library on top of the stack into the table at `to`. */
static void copy_fields(lua_State *L, int to, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, -1, *names);
        REQUIRE(!lua_isnil(L, -1));
        lua_setfield(L, to, *names);
    }
}

static const char *const base_names[] = {"assert",   "error",  "ipairs", "pcall",
                                         "rawequal", "rawlen", "select", "tonumber",
                                         "type",     "xpcall", NULL};
static const char *const string_names[] = {
    "byte", "char",    "find", "gmatch", "gsub", "len",      "lower", "match",
    "rep",  "reverse", "sub",  "unpack", "pack", "packsize", "upper", NULL};
static const char *const table_names[] = {"insert", "pack", "remove", "unpack", NULL};
static const char *const math_names[] = {
    "abs",  "acos",   "asin", "atan", "ceil",       "cos",       "deg",        "exp",  "floor",
    "fmod", "huge",   "log",  "max",  "maxinteger", "min",       "mininteger", "modf", "pi",
    "rad",  "random", "sin",  "sqrt", "tan",        "tointeger", "type",       "ult",  NULL};
static const char *const utf8_names[] = {"char", "charpattern", "codepoint", "codes",
                                         "len",  "offset",      NULL};

/* Open one library, copy the allowed fields to a new table left on the stack above the library. */
static void open_library(lua_State *L, const char *name, lua_CFunction open,
                         const char *const *names)
{
    luaL_requiref(L, name, open, 1); /* seen by trusted code only */
    lua_newtable(L);
    lua_insert(L, -2);
    copy_fields(L, lua_gettop(L) - 1, names);
    lua_insert(L, -2);
}

static void add_function(lua_State *L, const char *name, lua_CFunction f, const char *wrapped)
{
    if (wrapped != NULL)
        lua_getfield(L, -2, wrapped);
    lua_pushcclosure(L, f, wrapped != NULL);
    lua_setfield(L, -2, name);
}

/* The new table on top, its library below: freeze the one, drop the other, set it as a global. */
static void publish(lua_State *L, int backing, const char *name)
{
    l_freeze(L, name, 0);
    lua_setfield(L, backing, name);
    lua_pop(L, 1);
}

static void open_string(lua_State *L, int backing)
{
    open_library(L, "string", luaopen_string, string_names);
    add_function(L, "format", l_format, "format");
    l_freeze(L, "string", 0);
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    lua_setfield(L, backing, "string");
    lua_pop(L, 1);
}

static void open_math(lua_State *L, int backing, lua_Integer seed)
{
    open_library(L, "math", luaopen_math, math_names);
    lua_getfield(L, -2, "randomseed");
    lua_pushinteger(L, seed);
    lua_call(L, 1, 0);
    publish(L, backing, "math");
}

void l_open_libraries(lua_State *L, lua_Integer seed)
{
    push_globals(L);
    int backing = lua_gettop(L);
    luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
    copy_fields(L, backing, base_names);
    lua_pop(L, 1);
    lua_pushvalue(L, backing);
    lua_pushvalue(L, backing);
    add_function(L, "pairs", l_pairs, NULL);
    add_function(L, "tostring", l_lib_tostring, NULL);
    add_function(L, "setmetatable", l_setmetatable, NULL);
    add_function(L, "getmetatable", l_getmetatable, NULL);
    lua_pop(L, 2);
    open_string(L, backing);
    open_library(L, "table", luaopen_table, table_names);
    add_function(L, "sort", l_sort, NULL);
    add_function(L, "move", l_move, "move");
    add_function(L, "concat", l_concat, "concat");
    publish(L, backing, "table");
    open_math(L, backing, seed);
    open_library(L, "utf8", luaopen_utf8, utf8_names);
    publish(L, backing, "utf8");
    lua_settop(L, backing);
}
