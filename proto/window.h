/* window.h - times of the week, UTC: "mon-fri 22:00-06:00". A window that passes midnight belongs
 * to the day on which it begins. Pure. */
#ifndef SKEIN_PROTO_WINDOW_H
#define SKEIN_PROTO_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/units.h"

struct window {
    uint8_t days;      /* bit 0: Monday */
    uint16_t from, to; /* minutes of the day; from > to passes midnight; equal: all day */
};

/* "[DAY[-DAY][,DAY...] ]HH:MM-HH:MM"; without days: every day. */
int window_parse(const char *text, struct window *ret, struct err *err);
/* Is one of them open? Without any: always. */
bool window_open(const struct window *windows, size_t n, msec wall);

#endif
