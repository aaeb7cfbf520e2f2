/* profile.h - how busy a fleet is at each half-hour of a week: what mornings are learned from.
 * Pure, of fixed size. Of each half-hour the mean of the weeks, in which the last one counts as
 * much as all before it together; what was never measured is unknown. */
#ifndef SKEIN_PLANNER_CORE_PROFILE_H
#define SKEIN_PLANNER_CORE_PROFILE_H

#include <jansson.h>

#include "proto/units.h"

#define PROFILE_EVERY 1800000 /* milliseconds */
#define PROFILE_DAY 48        /* slots */
#define PROFILE_SLOTS (7 * PROFILE_DAY)

struct profile {
    milli used[PROFILE_SLOTS]; /* cores; from Monday 00:00 UTC on; QUANTITY_UNKNOWN */
    int64_t slot;              /* since 1970, which is being measured */
    int64_t sum, count;        /* of its measurements */
};

void profile_init(struct profile *p);

/* The cores that were used together at that time. Measurements come in the order of time; one of an
 * earlier half-hour than the last (the clock was set back) begins that one anew. */
void profile_add(struct profile *p, milli used_cores, msec wall);

/* {"every_s": 1800, "used_cores": [NUMBER or null, ...]}, the half-hours that have ended; a new
 * reference, or NULL where nothing is known. */
json_t *profile_json(const struct profile *p);

/* Take over what that document says, as far as it is one; NULL is fine. */
void profile_take(struct profile *p, const json_t *doc);

/* What was used at that time of the week; where that is not known, the most that was at this time
 * of any day: who wakes hosts by it had rather be early. QUANTITY_UNKNOWN where no day is known. */
milli profile_at(const struct profile *p, msec wall);

/* The least and the most of the whole week; false: nothing is known. */
bool profile_range(const struct profile *p, milli *ret_least, milli *ret_most);

#endif
