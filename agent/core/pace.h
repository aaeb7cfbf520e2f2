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

/* Of what anybody can cause, one in a while is told, with how many were not: for the audit. */
struct hush {
    msec until;      /* mono; nothing is told before */
    unsigned untold; /* since the last that was */
};

#define HUSH_MS 60000

/* True: this one is told; *ret_untold were not before it. */
bool hush_tells(struct hush *h, msec now, unsigned *ret_untold);

#endif
