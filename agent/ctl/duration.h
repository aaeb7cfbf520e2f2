/* duration.h - how long, as people write it: "90", "90s", "30m", "2h", "7d". */
#ifndef SKEIN_AGENT_CTL_DURATION_H
#define SKEIN_AGENT_CTL_DURATION_H

#include <stdint.h>

#include "proto/err.h"

/* Whole seconds from 1 to max; ERR_INVALID names what. */
int duration_parse(const char *what, const char *text, int64_t max, int64_t *ret, struct err *err);

#endif
