/* setback.h - what failed lately, and what follows from it. Read from the plans in the replicated
 * state, so that a new planner knows as much as the last. Pure. */
#ifndef SKEIN_AGENT_CORE_SETBACK_H
#define SKEIN_AGENT_CORE_SETBACK_H

#include "agent/core/state.h"

#define SETBACK_FIRST_MS 60000 /* a VM whose move failed rests so long, ... */
#define SETBACK_LONGEST_MS                                                                         \
    (60 * 60000) /* ... twice as long after each failure more, at most this */
#define SETBACK_MEMORY_MS (24 * 60 * 60000LL) /* older failures are forgotten */

/* The fleet's circuit breaker: so many moves that had begun failed within the window, and they are
 * at least this share of those that ended in it. Then only what a person asks for moves, until they
 * have aged. Not what was refused before it began: a refusal is safe. */
#define BREAKER_WINDOW_MS (15 * 60000)
#define BREAKER_FAILURES 5
#define BREAKER_PERCENT 50

/* A VM that is in back-off. Strings are borrowed from the state's plans. */
struct setback {
    const char *uuid, *vm;
    unsigned failures; /* in a row */
    msec failed_at, until;
};

/* Sorted by UUID; the caller frees the array. */
size_t setbacks(const struct state *st, msec wall, struct setback **ret);

struct breaker {
    bool open;
    unsigned failed, ended; /* within the window */
    msec until;             /* open: when it closes unless more fails */
};

void breaker_read(const struct state *st, msec wall, struct breaker *ret);
/* 0, or ERR_UNAVAILABLE: no move of this class begins now. */
int breaker_check(const struct state *st, const char *class, msec wall, struct err *err);

#endif
