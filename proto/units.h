/* units.h - quantities: names carry the unit, arithmetic saturates, unknown is not zero. */
#ifndef SKEIN_PROTO_UNITS_H
#define SKEIN_PROTO_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

typedef int64_t msec;  /* a duration or a moment, milliseconds */
typedef int64_t milli; /* thousandths of the unit that the name says */

/* A quantity that was not observed. Every optional quantity uses it; sums with it are it. */
#define QUANTITY_UNKNOWN INT64_MIN

static inline int64_t sat_add(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return a < 0 ? INT64_MIN + 1 : INT64_MAX;
    return r;
}

static inline int64_t sat_sub(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_sub_overflow(a, b, &r))
        return a < 0 ? INT64_MIN + 1 : INT64_MAX;
    return r;
}

static inline int64_t sat_mul(int64_t a, int64_t b)
{
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN + 1;
    return r;
}

/* RFC 3339 in UTC, "2026-11-22T01:30:00Z"; milliseconds since 1970 (a fraction is kept to ms). */
#define TIME_TEXT_SIZE 32
int time_parse(const char *text, msec *ret_wall, struct err *err);
void time_format(msec wall, char ret[TIME_TEXT_SIZE]); /* seconds; ms shown only when not 0 */

#endif
