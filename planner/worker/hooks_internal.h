/* hooks_internal.h - what the files of the hooks share; see hooks.h. */
#ifndef SKEIN_PLANNER_WORKER_HOOKS_INTERNAL_H
#define SKEIN_PLANNER_WORKER_HOOKS_INTERNAL_H

#include "planner/worker/hooks.h"

/* The arguments and answers of one protected call. Owns nothing. */
struct call {
    struct hooks *k;
    enum policy_hook hook;
    int view, vm, host, ref;
    bool *marks; /* sources, candidates */
    const bool *want;
    int64_t *numbers;
    struct objective *objective;
    const struct planner_result *result;
    const struct planner_action *action;
    struct permit *permit;
    struct planner_parameters *parameters;
    struct planner_refusal *refusal;
    json_t *figures;
    bool yes;
    enum judge_depth depth;
    char *reason; /* FIT_TEXT_MAX bytes */
    struct planner_verdict *verdict;
};

static inline lua_State *hooks_lua(struct hooks *k)
{
    return k->L;
}

/* Run f(call) protected; a failure goes into the hook's health. err may be NULL. */
int hooks_run(struct call *c, lua_CFunction f, struct err *err);

/* Reserve what hook_judge() keeps on Lua's stack; nothing else may stand above it between calls. */
void hooks_reserve_judge(struct hooks *k);

/* Push the call's hook and its context. */
void l_hook_begin(lua_State *L, struct call *c);

/* Copy a text for people, whatever the value at idx is; "" for nil. */
void l_hook_text(lua_State *L, int idx, char *to, size_t size);

/* Has the value at idx that metatable, as what reject(), wait() give? And what it holds at i. */
bool hooks_has_class(lua_State *L, int idx, int ref);
void l_hook_part(lua_State *L, int idx, lua_Integer i, char *to, size_t size);

/* The value on top is a table with no other fields than these; what names it in messages. */
void l_hook_fields(lua_State *L, const char *what, const char *const *names);

#endif
