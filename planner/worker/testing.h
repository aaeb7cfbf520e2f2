/* testing.h - a policy's own tests (NAME_test.lua), run beside it in the worker. */
#ifndef SKEIN_PLANNER_WORKER_TESTING_H
#define SKEIN_PLANNER_WORKER_TESTING_H

#include "planner/worker/worker.h"

struct sandbox_clock;

/* Run req->test over req->policy. *ret is {"tests": {...}}, a new reference. Fails only when the
 * tests could not be run at all. */
int testing_run(const struct worker_request *req, struct sandbox_clock *clock, json_t **ret,
                struct err *err);

#endif
