/* evaluate.h - carries out EFFECT_EVALUATE: policies in worker processes, one at a time, watched by
 * the loop; a move that a person asked for by name is planned here, without Lua. */
#ifndef SKEIN_AGENT_IO_EVALUATE_H
#define SKEIN_AGENT_IO_EVALUATE_H

#include <uv.h>

#include "agent/core/step.h"

struct evaluator; /* opaque; belongs to the loop thread */

struct evaluator_conf {
    uv_loop_t *loop;
    msec lua_ms; /* a policy's time in Lua */
    void *arg;
    /* evaluated is borrowed; NULL when err says what went wrong. Never from within a call. */
    void (*done)(void *arg, uint64_t token, const struct err *err,
                 const struct evaluated *evaluated);
};

int evaluator_open(const struct evaluator_conf *conf, struct evaluator **ret, struct err *err);
/* Takes e. */
void evaluator_run(struct evaluator *ev, uint64_t token, struct evaluation *e);
/* Kills what runs; no done comes any more. */
void evaluator_close(struct evaluator *ev, void (*closed)(void *arg), void *arg);

#endif
