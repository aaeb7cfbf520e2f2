/* zone.h - local time for schedules, with no look at the machine's own settings. */
#ifndef SKEIN_PLANNER_WORKER_ZONE_H
#define SKEIN_PLANNER_WORKER_ZONE_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds to add to UTC at that moment (seconds since 1970). zone is "UTC", "Z", "+HH:MM", or a
 * name of the IANA database such as "Europe/Berlin", whose present law is taken for every year.
 * false: no such zone. */
bool zone_offset(const char *zone, int64_t at, int64_t *ret_seconds);

#endif
