/* errand.h - work in a thread of its own whose result comes to a loop. Nobody waits for the thread:
 * where who asked has gone meanwhile, the result is dropped. */
#ifndef SKEIN_AGENT_IO_ERRAND_H
#define SKEIN_AGENT_IO_ERRAND_H

#include <uv.h>

#include "proto/err.h"

struct errand; /* opaque */

struct errand_conf {
    uv_async_t *async;        /* is sent when run has returned */
    void (*run)(void *work);  /* in the thread; reaches nothing but its work */
    void (*drop)(void *work); /* frees it, in whichever thread is the last to know it */
};

/* Takes work, on failure too: ERR_CAPACITY, there is no thread to be had. */
int errand_start(const struct errand_conf *conf, void *work, struct errand **ret, struct err *err);
/* The work once it is done, borrowed until errand_end(); NULL before. */
void *errand_result(struct errand *e);
/* Its result was taken, or nobody wants it any more. NULL is fine. */
void errand_end(struct errand *e);

#endif
