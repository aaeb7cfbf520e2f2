#include "planner/worker/sandbox.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

#include "planner/worker/pool.h"
#include "planner/worker/sandbox_lib.h"

/* Between two looks at the clock. The kernel makes it its own tick, 4 to 10 ms, where that is more.
 */
#define TICK_US 2000

/* Garbage is collected only from this size on, or this part of what Lua may hold: a run is short,
 * and most end before. Then the percent of the memory in use at which collection begins anew: the
 * snapshot's objects would be looked through again and again. */
#define GC_FROM ((size_t)64 << 20)
#define GC_FROM_PART 4
#define GC_PAUSE 400

/* Where l_add_place() stands on the stack of a state. */
#define HANDLER 1

struct sandbox {
    struct sandbox_head head; /* first: sandbox_user() finds it there */
    lua_State *L;
    struct pool pool;
    size_t memory_used, memory_max; /* as the pool counts */
    msec lua_ms;
    struct sandbox_clock *clock, own_clock;
    struct sandbox_coverage *coverage;
    volatile sig_atomic_t expired;
    int ref_globals, ref_backing;
};

static struct sandbox *sandbox_of(lua_State *L)
{
    return *(struct sandbox **)lua_getextraspace(L);
}

static void *allocate(void *arg, void *p, size_t old, size_t size)
{
    struct sandbox *sb = arg;
    if (p == NULL)
        old = 0; /* then it says what kind of object is wanted */
    size_t had = pool_size(old), has = pool_size(size);
    if (size == 0) {
        pool_free(&sb->pool, p, old);
        sb->memory_used -= had;
        return NULL;
    }
    if (has > had && has - had > sb->memory_max - sb->memory_used)
        return NULL;
    void *q = pool_realloc(&sb->pool, p, old, size);
    if (q != NULL)
        sb->memory_used = sb->memory_used - had + has;
    return q;
}

static void note_line(lua_State *L, lua_Debug *ar, struct sandbox_coverage *c)
{
    lua_getinfo(L, "S", ar);
    if (ar->currentline > 0 && ar->currentline <= c->n_lines &&
        strcmp(ar->short_src, c->chunk) == 0)
        c->lines[ar->currentline - 1] |= 1;
}

/* Raises, but for lines that are noted. */
static void l_hook(lua_State *L, lua_Debug *ar)
{
    struct sandbox *sb = sandbox_of(L);
    if (ar->event == LUA_HOOKLINE) {
        note_line(L, ar, sb->coverage);
        return;
    }
    luaL_where(L, 0);
    lua_pushfstring(L, "%sover the time limit of %d ms", lua_tostring(L, -1), (int)sb->lua_ms);
    lua_error(L);
}

/* One writer, and readers that need no order between the two: relaxed is enough, and this stands
 * around every judged pair. */
static int64_t used_ns(const struct sandbox *sb)
{
    return atomic_load_explicit(&sb->clock->used_ns, memory_order_relaxed);
}

static void set_in_lua(struct sandbox *sb, bool yes)
{
    atomic_store_explicit(&sb->clock->in_lua, yes, memory_order_relaxed);
}

/* With count 1 the hook meets every instruction from now on, so that no pcall swallows the end.
 * Lua allows to set it from a signal's handler. */
static void end_if_spent(struct sandbox *sb)
{
    if (sb->expired || used_ns(sb) < sb->lua_ms * 1000000)
        return;
    sb->expired = true;
    lua_sethook(sb->L, l_hook, LUA_MASKCOUNT, 1);
}

/* ---- the clock */

static struct sandbox *volatile running; /* whose Lua runs in this process */
static int64_t last_tick_ns;

static int64_t processor_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The time since the last tick counts as Lua's if it is Lua that was interrupted: search and hooks
 * alternate far faster than ticks come, and asking the clock for each pair would cost more. */
static void on_tick(int signum)
{
    (void)signum;
    int saved = errno;
    struct sandbox *sb = running;
    int64_t now = processor_ns(), since = now - last_tick_ns;
    last_tick_ns = now;
    if (sb != NULL) {
        atomic_store_explicit(&sb->clock->used_ns, used_ns(sb) + since, memory_order_relaxed);
        end_if_spent(sb);
    }
    errno = saved;
}

void sandbox_start_ticks(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    last_tick_ns = processor_ns();
    struct sigaction sa = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    struct itimerval every = {{.tv_usec = TICK_US}, {.tv_usec = TICK_US}};
    REQUIRE(sigaction(SIGPROF, &sa, NULL) == 0 && setitimer(ITIMER_PROF, &every, NULL) == 0);
}

static int panic(lua_State *L)
{
    (void)L;
    static const char text[] = "skein: a Lua error outside a protected call\n";
    fputs(text, stderr);
    return 0; /* Lua then aborts */
}

/* The message without a place in the prelude, which says nothing to a policy's author. */
static const char *without_prelude(const char *s)
{
    static const char name[] = SANDBOX_PRELUDE ":";
    size_t n = strlen(name), digits = 0;
    if (strncmp(s, name, n) != 0)
        return s;
    digits = strspn(s + n, "0123456789");
    return digits > 0 && strncmp(s + n + digits, ": ", 2) == 0 ? s + n + digits + 2 : s;
}

/* Lua's handler of an error: a message from inside a C function gets the place in the policy from
 * where that was called. */
static int l_add_place(lua_State *L)
{
    lua_Debug ar;
    if (lua_type(L, 1) != LUA_TSTRING)
        return 1;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline <= 0 || strcmp(ar.short_src, SANDBOX_PRELUDE) == 0)
            continue;
        size_t n = strlen(ar.short_src);
        const char *s = lua_tostring(L, 1);
        if (strncmp(s, ar.short_src, n) != 0 || s[n] != ':')
            lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, without_prelude(s));
        return 1;
    }
    return 1;
}

static int l_setup(lua_State *L)
{
    struct sandbox *sb = sandbox_of(L);
    uint64_t *seed = lua_touserdata(L, 1);
    l_open_libraries(L, (lua_Integer)*seed); /* leaves the policy's globals, then their backing */
    sb->ref_backing = luaL_ref(L, LUA_REGISTRYINDEX);
    sb->ref_globals = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int sandbox_new(const struct sandbox_conf *conf, struct sandbox **ret, struct err *err)
{
    _cleanup_(sandbox_freep) struct sandbox *sb = xcalloc(1, sizeof *sb);
    sandbox_start_ticks();
    *sb = (struct sandbox){.memory_max = conf->memory_max,
                           .lua_ms = conf->lua_ms,
                           .clock = conf->clock,
                           .coverage = conf->coverage};
    if (sb->clock == NULL)
        sb->clock = &sb->own_clock;
    sb->L = lua_newstate(allocate, sb);
    if (sb->L == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for Lua");
    *(struct sandbox **)lua_getextraspace(sb->L) = sb;
    lua_atpanic(sb->L, panic);
    lua_gc(sb->L, LUA_GCINC, GC_PAUSE, 0, 0);
    size_t from = MIN(GC_FROM, sb->memory_max / GC_FROM_PART);
    lua_gc(sb->L, LUA_GCSTEP, -(int)(from >> 10)); /* it owes a step once so much was allocated */
    uint64_t seed = conf->seed;
    lua_pushcfunction(sb->L, l_setup);
    lua_pushlightuserdata(sb->L, &seed);
    if (lua_pcall(sb->L, 1, 0, 0) != LUA_OK)
        return err_set(err, ERR_NO_MEMORY, "no memory for Lua's libraries");
    lua_pushcfunction(sb->L, l_add_place); /* at HANDLER for good */
    if (conf->coverage != NULL)
        lua_sethook(sb->L, l_hook, LUA_MASKLINE, 0);
    *ret = TAKE_PTR(sb);
    return 0;
}

void sandbox_free(struct sandbox *sb)
{
    if (sb == NULL)
        return;
    if (sb->L != NULL)
        lua_close(sb->L);
    pool_done(&sb->pool);
    free(sb);
}

lua_State *sandbox_lua(struct sandbox *sb)
{
    return sb->L;
}

void sandbox_set_user(struct sandbox *sb, void *user)
{
    sb->head.user = user;
}

void sandbox_push_globals(struct sandbox *sb)
{
    lua_rawgeti(sb->L, LUA_REGISTRYINDEX, sb->ref_backing);
}

int sandbox_load(struct sandbox *sb, const char *text, size_t len, const char *name, bool trusted,
                 struct err *err)
{
    if (len > SANDBOX_SOURCE_MAX)
        return err_set(err, ERR_POLICY, "%s: larger than 1 MiB", name);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (len > 0 && text[0] == LUA_SIGNATURE[0])
        return err_set(err, ERR_POLICY, "%s:1: compiled Lua is refused, give its source", name);
    char chunk[128];
    snprintf(chunk, sizeof chunk, "@%s", name);
    if (luaL_loadbufferx(sb->L, text, len, chunk, "t") != LUA_OK) {
        size_t n;
        const char *s = lua_tolstring(sb->L, -1, &n);
        _cleanup_(freep) char *clean = sandbox_clean_text(
            s != NULL ? s : "not enough memory", s != NULL ? n : strlen("not enough memory"));
        lua_pop(sb->L, 1);
        return err_set(err, ERR_POLICY, "%s", clean);
    }
    if (!trusted) {
        lua_rawgeti(sb->L, LUA_REGISTRYINDEX, sb->ref_globals);
        lua_setupvalue(sb->L, -2, 1);
    }
    return 0;
}

/* The error value on top of the stack, popped, as a message. No metamethod is asked: it would be
 * the policy's code running where nobody expects it. */
static int error_from_top(struct sandbox *sb, int status, struct err *err)
{
    size_t len = 0;
    const char *s = lua_type(sb->L, -1) == LUA_TSTRING ? lua_tolstring(sb->L, -1, &len) : NULL;
    _cleanup_(freep) char *text = s != NULL ? sandbox_clean_text(s, len) : NULL;
    const char *type = luaL_typename(sb->L, -1);
    lua_pop(sb->L, 1);
    if (status == LUA_ERRMEM)
        return err_set(err, ERR_POLICY, "over the memory limit of %zu MiB", sb->memory_max >> 20);
    if (text == NULL)
        return err_set(err, ERR_POLICY, "an error that is no text but a %s", type);
    return err_set(err, ERR_POLICY, "%s", text);
}

int sandbox_call(struct sandbox *sb, int nargs, int nresults, struct err *err)
{
    struct sandbox *outer = running; /* a policy's tests run it, in a state of its own */
    REQUIRE(outer != sb);
    end_if_spent(sb);
    running = sb;
    set_in_lua(sb, true);
    int status = lua_pcall(sb->L, nargs, nresults, HANDLER);
    running = outer;
    set_in_lua(sb, outer != NULL);
    return status == LUA_OK ? 0 : error_from_top(sb, status, err);
}

bool sandbox_is_spent(const struct sandbox *sb)
{
    return sb->expired;
}

/* Length of the valid UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_length(const unsigned char *s, size_t len)
{
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* A control that some terminals obey (C1), or one that turns the direction of writing or does not
 * show: with those, a text can look like another. */
static bool is_deceptive(const unsigned char *p, size_t n)
{
    if (n == 2)
        return p[0] == 0xc2 && p[1] < 0xa0;
    if (n != 3)
        return false;
    unsigned c = (p[0] & 15U) << 12 | (p[1] & 63U) << 6 | (p[2] & 63U);
    return (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

/* Clean [s, s + len) into to, at most size - 1 bytes of whole characters; to may be s. */
static void clean(char *to, size_t size, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t w = 0;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length(p + i, len - i);
        if (w + MAX(n, (size_t)1) > size - 1)
            break;
        if (n == 0)
            to[w++] = '?';
        else if (n == 1)
            to[w++] = p[i] < 0x20 || p[i] == 0x7f ? ' ' : (char)p[i];
        else if (is_deceptive(p + i, n))
            to[w++] = ' ';
        else
            memmove(to + w, p + i, n), w += n;
        i += MAX(n, (size_t)1);
    }
    to[w] = '\0';
}

char *sandbox_clean_text(const char *s, size_t len)
{
    char *out = xmalloc(SANDBOX_TEXT_MAX + 1);
    clean(out, SANDBOX_TEXT_MAX + 1, s, len);
    return out;
}

void sandbox_copy_text(char *to, size_t size, const char *s, size_t len)
{
    clean(to, MIN(size, (size_t)SANDBOX_TEXT_MAX + 1), s, len);
}

void sandbox_repair_text(char *s)
{
    size_t len = strlen(s), back = 0;
    while (back < 4 && back < len && ((unsigned char)s[len - 1 - back] & 0xc0) == 0x80)
        back++;
    if (back < len && ((unsigned char)s[len - 1 - back] & 0xc0) == 0xc0 &&
        utf8_length((unsigned char *)s + len - 1 - back, back + 1) == 0)
        len -= back + 1;
    clean(s, len + 1, s, len);
}

void sandbox_text(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(to, size, fmt, ap);
    va_end(ap);
    sandbox_repair_text(to);
}
