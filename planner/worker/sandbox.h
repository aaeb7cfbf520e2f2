/* sandbox.h - a Lua state in which an operator's policy runs.
 * Allow-listed functions, text chunks only, memory cap, time limit, and deterministic: pairs() is
 * sorted, random numbers are seeded, nothing shows an address or a clock.
 * Time is this process's processor time, so that a busy machine ends no good policy. A profiling
 * timer looks every few milliseconds whether Lua runs; when its time is over, it sets the hook that
 * ends it: until then Lua runs without one, which would cost a fifth of its speed.
 * This is the inner wall, for good messages and determinism; the outer wall is the worker's process
 * (confine.h), because a hook cannot stop what runs inside one C function.
 * A C function that may raise a Lua error is named l_* and owns nothing across a raising call. */
#ifndef SKEIN_PLANNER_WORKER_SANDBOX_H
#define SKEIN_PLANNER_WORKER_SANDBOX_H

#include <lua.h>

#include "proto/err.h"
#include "proto/units.h"
#include "proto/util.h"

#define SANDBOX_SOURCE_MAX ((size_t)1 << 20) /* bytes of one policy */
#define SANDBOX_TEXT_MAX 400                 /* bytes kept of any text that a policy gives */
#define SANDBOX_PRELUDE "prelude.lua"        /* the trusted chunk's name: no place to report */

struct sandbox;

/* Shared with another process, hence atomic. */
struct sandbox_clock {
    _Atomic int64_t used_ns; /* of the processor's time, by Lua, as of the last tick */
    _Atomic bool in_lua;     /* Lua runs */
};

/* Which lines of the chunk of that name were run. */
struct sandbox_coverage {
    const char *chunk;
    uint8_t *lines; /* [n_lines], bit 0 set where run; line 1 is lines[0] */
    int n_lines;
};

struct sandbox_conf {
    size_t memory_max; /* bytes that Lua may hold */
    msec lua_ms;       /* processor time that Lua may take in all, over every call */
    uint64_t seed;     /* of math.random */
    /* Where it tells how long Lua ran, so that an outer clock counts the same; may be NULL. */
    struct sandbox_clock *clock;
    struct sandbox_coverage *coverage; /* to be filled; NULL: not wanted */
};

/* Start the process's timer and its handler of SIGPROF, once. sandbox_new() does it; a process that
 * gives up the right to do so calls it before. */
void sandbox_start_ticks(void);

int sandbox_new(const struct sandbox_conf *conf, struct sandbox **ret, struct err *err);
void sandbox_free(struct sandbox *sb); /* NULL is fine */
DEFINE_CLEANUP(struct sandbox, sandbox_free)

lua_State *sandbox_lua(struct sandbox *sb);

/* What a C function called by Lua finds its own data by; NULL before it is set. Not owned. */
struct sandbox_head {
    void *user;
};

void sandbox_set_user(struct sandbox *sb, void *user);

static inline void *sandbox_user(lua_State *L)
{
    return (*(struct sandbox_head **)lua_getextraspace(L))->user;
}

/* The table of globals as the policy sees it, pushed; C adds to it before the policy is loaded. */
void sandbox_push_globals(struct sandbox *sb);

/* Compile text (a BOM is skipped, bytecode refused) and push the function. name shows in messages.
 * trusted: the function sees the whole base library and may touch the globals' backing table. */
int sandbox_load(struct sandbox *sb, const char *text, size_t len, const char *name, bool trusted,
                 struct err *err);

/* lua_pcall, during which the clock of lua_ms runs: 0, or ERR_POLICY with a message that begins
 * "FILE:LINE:" where Lua knows it; the stack is then as before the function and its arguments were
 * pushed. */
int sandbox_call(struct sandbox *sb, int nargs, int nresults, struct err *err);

/* The time is over, or the memory was; every further call fails with the same message. */
bool sandbox_is_spent(const struct sandbox *sb);

/* Make the table on top of the stack read-only: replaces it by an empty table whose metatable leads
 * to it. what names it in messages ("host", "list"). An identity other than 0 can be read back with
 * sandbox_identity and cannot be forged. May raise a memory error. */
void l_freeze(lua_State *L, const char *what, lua_Integer identity);

/* The identity of the frozen value at idx, or 0. Never raises. */
lua_Integer sandbox_identity(lua_State *L, int idx);

/* What tostring() shows: no addresses. Pushes a string. May raise. */
const char *l_tostring(lua_State *L, int idx, size_t *ret_len);

/* Copy at most SANDBOX_TEXT_MAX bytes of text as one line of valid UTF-8 (control characters become
 * spaces, invalid bytes '?'); the caller frees it. */
char *sandbox_clean_text(const char *s, size_t len);

/* The same into to[size], cut where a character ends. */
void sandbox_copy_text(char *to, size_t size, const char *s, size_t len);

/* printf into to[size], cut where a character ends; the same cleaning. */
void sandbox_text(char *to, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Clean a text in place; it never gets longer. A character cut off at its end is removed. */
void sandbox_repair_text(char *s);

#endif
