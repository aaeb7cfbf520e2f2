/* picture.h - a replay as a picture: hosts in use, what the VMs ask for, and moves over time. */
#ifndef SKEIN_PLANNER_TRACE_PICTURE_H
#define SKEIN_PLANNER_TRACE_PICTURE_H

#include <stdio.h>

#include "planner/trace/replay.h"

/* An SVG document. title is text, escaped here. */
void picture_write(FILE *to, const char *title, const struct replay_row *rows, int n);

#endif
