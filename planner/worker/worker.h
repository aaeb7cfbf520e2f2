/* worker.h - one evaluation of one policy over one snapshot, in a process of its own.
 *
 * The worker is this very program started again with the argument --policy-worker: a process that
 * holds Lua and the search, and nothing else: no files, no network, no secrets, only what its
 * request says. Whatever happens in it costs this one run. What it answers is treated as input from
 * an enemy: bounded, parsed, checked. The caller then has the plan checked (planner/check).
 *
 * Two clocks: Lua's own processor time (limits.lua_ms) counts only while Lua runs, and not while
 * the machine does something else; and the time of the whole run (limits.run_ms), which bounds
 * search and everything else, whatever the worker says.
 *
 * No event loop inside: the caller watches worker_fd() for reading and calls worker_read(), and
 * calls worker_tick() at worker_deadline(); or uses worker_run(). Not thread-safe. */
#ifndef SKEIN_PLANNER_WORKER_WORKER_H
#define SKEIN_PLANNER_WORKER_WORKER_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/err.h"
#include "proto/hash.h"
#include "proto/units.h"
#include "proto/util.h"

#define WORKER_ARGUMENT "--policy-worker"

/* Zero means the default. */
struct worker_limits {
    msec lua_ms;        /* processor time for Lua alone; default 500 */
    msec run_ms;        /* time for the whole run; default 30000 */
    int64_t pairs;      /* pairs that the search may ask filter and score about; default 300000 */
    size_t lua_mib;     /* memory for Lua; default 256 */
    size_t process_mib; /* address space of the process; default 2048 */
    size_t reply_bytes; /* largest answer; default 8 MiB */
};

enum worker_task {
    WORKER_PLAN,  /* evaluate: snapshot and policy -> plan body */
    WORKER_CHECK, /* load the policy only and describe it; no snapshot */
    WORKER_TEST,  /* run its tests; the snapshot is {NAME: snapshot} of fixtures */
};

/* Everything is borrowed for the time of worker_start() only. */
struct worker_request {
    enum worker_task task;
    const char *snapshot; /* skein.snapshot/1 */
    size_t snapshot_len;
    const char *policy; /* Lua source */
    size_t policy_len;
    const char *policy_name; /* the file's name, for messages */
    const char *params;      /* JSON object of parameters, over the snapshot's; NULL = none */
    bool has_seed;
    uint64_t seed; /* instead of the snapshot's */
    bool power;    /* whoever carries the plan out can wake hosts and put them on standby */
    bool has_at;
    msec at;                               /* wall clock, instead of the snapshot's taken_at */
    const char *explain_vm, *explain_host; /* WORKER_PLAN: also say what of that pair (host NULL: of
                                              that VM and every host); NULL = nothing */
    const char *test;                      /* WORKER_TEST: Lua source */
    size_t test_len;
    const char *test_name;
    struct worker_limits limits;
};

/* A field is NULL where it does not apply. All owned by the result. */
struct worker_result {
    json_t *body;     /* WORKER_PLAN: the plan's body; its steps may be empty */
    json_t *health;   /* {errors, hooks: {NAME: {calls, errors, last_error}}, lua_ms_limit, ...} */
    json_t *warnings; /* [text] */
    json_t *notes;    /* {key: value} that the policy recorded */
    json_t *log;      /* [text] that the policy printed */
    json_t *pairs;    /* [{vm, host, code, message, relax, score, reason}] of explain_vm */
    json_t *tests;    /* {tests: [{name, ok, message}], failures: [{test, property, message}], runs,
                         checks, coverage: {lines, run, missed}} */
    json_t *manifest; /* {name, api, class, goal, params, hooks, digest} */
    json_t *
        approvals; /* [{action, approvers, timeout_ms, reason}] that the policy's permit asks for */
};

void worker_result_done(struct worker_result *r);

struct worker;

int worker_start(const struct worker_request *req, struct worker **ret, struct err *err);

/* Readable when worker_read() has something to do. Non-blocking; belongs to the worker. */
int worker_fd(const struct worker *w);
pid_t worker_pid(const struct worker *w);

enum worker_progress { WORKER_RUNS, WORKER_ENDED };

/* Take what is there. WORKER_ENDED: call worker_finish(). */
enum worker_progress worker_read(struct worker *w);

/* CLOCK_MONOTONIC, milliseconds: when to call worker_tick() next. */
msec worker_deadline(const struct worker *w);
/* Ends the worker if one of its clocks has run out; else the next deadline is later. */
enum worker_progress worker_tick(struct worker *w, msec now_monotonic);

void worker_kill(struct worker *w, const char *why);

/* End the worker if it still runs, reap it, free w. 0 with *ret filled, or the reason:
 * ERR_POLICY when the policy is at fault ("thermal.lua:12: ..."), ERR_INVALID for the snapshot. */
int worker_finish(struct worker *w, struct worker_result *ret, struct err *err);

/* All of the above, waiting. */
int worker_run(const struct worker_request *req, struct worker_result *ret, struct err *err);

/* How a policy is named in plans, orders and the audit: SHA-256 of "skein.policy/1" and its source.
 */
void worker_policy_digest(const char *policy, size_t len, char ret[HASH_HEX_SIZE]);

/* First thing in main(): does not return when this process was started to be a worker. */
void worker_main_if_asked(int argc, char **argv);

#endif
