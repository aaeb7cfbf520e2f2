/* pace.h - no more than so many in a time: a bucket that fills again. Pure: time is an argument. */
#ifndef SKEIN_AGENT_CORE_PACE_H
#define SKEIN_AGENT_CORE_PACE_H

#include <stdbool.h>

#include "proto/units.h"

struct pace {
    msec every;     /* one more may come after so long, ... */
    unsigned burst; /* ... and so many at once after a rest; at least 1 */
    msec empty_at;  /* mono: all that was taken is made up for then */
};

/* True, and taken, when one more may come now. */
bool pace_take(struct pace *p, msec now);

#endif
