/* skew.h - how far this host's wall clock is off the planner's, from what that says of the time
 * when it speaks. What came through relays names the time it was held, but not that on the wire: of
 * the last few, the one that was fastest counts. Pure. */
#ifndef SKEIN_AGENT_CORE_SKEW_H
#define SKEIN_AGENT_CORE_SKEW_H

#include <stdbool.h>

#include "agent/core/hv.h"
#include "proto/units.h"

#define SKEW_SAMPLES 8 /* a minute of summaries: a clock that was set is known within it */
#define SKEW_LEAST 3   /* one alone may have been slow */

struct skew {
    char planner[HV_NAME_MAX];
    msec samples[SKEW_SAMPLES];
    unsigned n;
};

/* The planner said that it is told at its clock; age: for how long that was on its way, as far as
 * is known. */
void skew_heard(struct skew *k, const char *planner, msec told, msec age, msec wall);
/* Positive: this host's clock is ahead. False: not known of this planner. */
bool skew_known(const struct skew *k, const char *planner, msec *ret);

#endif
