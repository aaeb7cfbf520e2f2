/* clock.h - the time, for the shell; cores are given it. */
#ifndef SKEIN_AGENT_IO_CLOCK_H
#define SKEIN_AGENT_IO_CLOCK_H

#include "proto/units.h"

msec clock_mono(void); /* since some moment; never goes back */
msec clock_wall(void); /* since 1970 */

#endif
