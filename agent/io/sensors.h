/* sensors.h - temperatures of this host through libsensors.
 * Readings are outside input: 0, negative ones, 150 degrees and more, and errors are "unknown".
 * Thread-safe: one reading at a time, others wait (a reading takes milliseconds). */
#ifndef SKEIN_AGENT_IO_SENSORS_H
#define SKEIN_AGENT_IO_SENSORS_H

#include "proto/err.h"
#include "proto/units.h"

/* A sensor is named "CHIP/LABEL" as `sensors` prints them, with shell wildcards,
 * for instance "coretemp-isa-0000/Package id ?". NULL: guessed from what the chips and labels are
 * called. */
struct sensors_conf {
    const char *source; /* "hwmon", or "none" */
    const char *inlet, *outlet, *cpu;
    milli inlet_max_millicelsius, cpu_max_millicelsius; /* 0: as the chip says */
};

/* Millidegrees Celsius or QUANTITY_UNKNOWN. cpu is the hottest of the CPU's sensors, cpu_max the
 * limit of that one. */
struct sensors_reading {
    milli inlet, inlet_max, outlet, cpu, cpu_max;
};

struct sensors; /* opaque */

/* Chips may appear and vanish later: none at all is no error. */
int sensors_open(const struct sensors_conf *conf, struct sensors **ret, struct err *err);
void sensors_close(struct sensors *sensors); /* NULL is fine */
void sensors_read(struct sensors *sensors, struct sensors_reading *ret);

#endif
