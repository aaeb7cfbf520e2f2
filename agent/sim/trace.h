/* trace.h - recorded processor use, as the PlanetLab traces have it. */
#ifndef SKEIN_AGENT_SIM_TRACE_H
#define SKEIN_AGENT_SIM_TRACE_H

#include "agent/sim/world.h"

/* Each guest gets the next file of the directory, in the byte order of their names, and from the
 * beginning again when there are fewer: one whole number from 0 to 100 a line, percent of its
 * vCPUs, every five minutes. Errors name file and line. */
int trace_load(const char *directory, struct world *world, struct err *err);

#endif
