/* request.h - what the parent hands to the worker: one sealed memory file, and the clock page. */
#ifndef SKEIN_PLANNER_WORKER_REQUEST_H
#define SKEIN_PLANNER_WORKER_REQUEST_H

#include <stdint.h>

#include "planner/worker/sandbox.h"
#include "planner/worker/worker.h"

/* Where the worker finds its files. */
enum {
    WORKER_FD_REPLY = 3,
    WORKER_FD_REQUEST = 4,
    WORKER_FD_CLOCK = 5,
};

#define WORKER_MAGIC 0x31776e6965c7e1ULL

enum request_text {
    TEXT_SNAPSHOT,
    TEXT_POLICY,
    TEXT_POLICY_NAME,
    TEXT_PARAMS,
    TEXT_TEST,
    TEXT_TEST_NAME,
    TEXT_EXPLAIN_VM,
    TEXT_EXPLAIN_HOST,
    N_TEXTS
};

#define TEXT_ABSENT UINT64_MAX

/* At the request file's start; after it the texts, one behind the other, each with a NUL. Both ends
 * are the same program, so that a plain struct will do. */
struct request_header {
    uint64_t magic;
    uint64_t len[N_TEXTS]; /* without the NUL; TEXT_ABSENT: none */
    uint64_t seed;
    int64_t at;
    int32_t task;
    uint8_t has_seed, has_at, power;
    struct worker_limits limits;
};

/* The answer is a uint64_t of its length, then that many bytes of JSON. */

/* What the worker's process does once it is confined: a whole answer, never NULL. */
char *worker_answer(const struct worker_request *req, struct sandbox_clock *clock, size_t *ret_len);

/* The request's numbers with defaults filled in. */
void worker_limits_default(struct worker_limits *l);

/* Parent's side: is this answer well-formed? Fills *ret, or says what the worker reported. */
int reply_parse(const char *text, size_t len, enum worker_task task, struct worker_result *ret,
                struct err *err);

#endif
