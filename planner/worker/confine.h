/* confine.h - the walls around the policy worker, put up by the worker itself before it reads
 * anything that others wrote: resource limits, no new privileges, closed files, and a seccomp
 * allow-list whose violation ends the process. There is no way back. */
#ifndef SKEIN_PLANNER_WORKER_CONFINE_H
#define SKEIN_PLANNER_WORKER_CONFINE_H

#include <stdint.h>

#include "proto/err.h"

struct confine_limits {
    uint64_t memory_bytes; /* of address space */
    uint64_t cpu_seconds;  /* a last resort: the parent's clock strikes first */
};

/* files up to keep_fd stay open. */
int confine_self(const struct confine_limits *limits, int keep_fd, struct err *err);

#endif
