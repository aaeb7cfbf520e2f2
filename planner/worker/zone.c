#include "planner/worker/zone.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/worker/zone_table.h"

#define DAY 86400

/* When summer time begins or ends: month, week (5 = last), weekday (0 = Sunday), seconds of the day
 * in the time that ends then. month 0: day `week` of the year, from 1, without 29 February. */
struct turn {
    int month, week, weekday;
    int64_t seconds;
};

struct law {
    int64_t standard, summer; /* seconds east of UTC */
    bool has_summer;
    struct turn start, end;
};

/* ---- reading POSIX TZ, as it stands in the table */

static const char *skip_name(const char *s)
{
    if (*s == '<')
        return strchr(s, '>') != NULL ? strchr(s, '>') + 1 : NULL;
    while (isalpha((unsigned char)*s))
        s++;
    return s;
}

/* [+-]H[H][:MM[:SS]] in seconds. */
static const char *read_time(const char *s, int64_t *ret)
{
    char *end;
    bool negative = *s == '-';
    if (*s == '+' || *s == '-')
        s++;
    int64_t t = strtol(s, &end, 10) * 3600;
    for (int64_t unit = 60; *end == ':' && unit > 0; unit /= 60)
        t += strtol(end + 1, &end, 10) * unit;
    *ret = negative ? -t : t;
    return end;
}

static const char *read_turn(const char *s, struct turn *t)
{
    int n = 0;
    *t = (struct turn){.seconds = 2 * 3600};
    if (sscanf(s, ",M%d.%d.%d%n", &t->month, &t->week, &t->weekday, &n) != 3 || n == 0) {
        t->month = 0;
        if (sscanf(s, ",J%d%n", &t->week, &n) != 1 || n == 0)
            return NULL;
    }
    s += n;
    return *s == '/' ? read_time(s + 1, &t->seconds) : s;
}

/* Offsets count westwards in the text, eastwards in the law. */
static bool read_law(const char *s, struct law *law)
{
    *law = (struct law){0};
    if ((s = skip_name(s)) == NULL)
        return false;
    s = read_time(s, &law->standard);
    law->standard = -law->standard;
    law->summer = law->standard + 3600;
    if (*s == '\0')
        return true;
    law->has_summer = true;
    if ((s = skip_name(s)) == NULL)
        return false;
    if (*s != ',' && *s != '\0') {
        s = read_time(s, &law->summer);
        law->summer = -law->summer;
    }
    s = read_turn(s, &law->start);
    return s != NULL && read_turn(s, &law->end) != NULL;
}

/* ---- the calendar */

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days from 1970-01-01 to the first day of the year. */
static int64_t days_to_year(int64_t y)
{
    int64_t p = y - 1;
    return 365 * (y - 1970) + (p / 4 - p / 100 + p / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static int64_t year_of(int64_t seconds)
{
    int64_t y = 1970 + seconds / (365 * DAY + DAY / 4);
    while (days_to_year(y + 1) * DAY <= seconds)
        y++;
    while (days_to_year(y) * DAY > seconds)
        y--;
    return y;
}

static int month_length(int64_t y, int month)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return lengths[month - 1] + (month == 2 && is_leap(y));
}

/* Seconds since 1970, in the local time that then ends. */
static int64_t turn_at(const struct turn *t, int64_t y)
{
    int64_t day = days_to_year(y);
    if (t->month == 0)
        return (day + t->week - 1 + (is_leap(y) && t->week > 59)) * DAY + t->seconds;
    for (int m = 1; m < t->month; m++)
        day += month_length(y, m);
    int first = (int)((day + 4) % 7); /* 1970-01-01 was a Thursday */
    int date = (t->weekday - first + 7) % 7 + (t->week - 1) * 7;
    while (date >= month_length(y, t->month))
        date -= 7;
    return (day + date) * DAY + t->seconds;
}

static int64_t offset_at(const struct law *law, int64_t at)
{
    if (!law->has_summer)
        return law->standard;
    int64_t y = year_of(at + law->standard);
    int64_t start = turn_at(&law->start, y) - law->standard;
    int64_t end = turn_at(&law->end, y) - law->summer;
    bool summer = start < end ? at >= start && at < end : at >= start || at < end;
    return summer ? law->summer : law->standard;
}

/* ---- names */

static int by_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct zone *)item)->name);
}

/* "+HH:MM" */
static bool read_fixed(const char *zone, int64_t *ret)
{
    if ((zone[0] != '+' && zone[0] != '-') || strlen(zone) != 6 || zone[3] != ':')
        return false;
    for (int i = 1; i < 6; i++)
        if (i != 3 && !isdigit((unsigned char)zone[i]))
            return false;
    int h = (zone[1] - '0') * 10 + zone[2] - '0', m = (zone[4] - '0') * 10 + zone[5] - '0';
    *ret = (zone[0] == '-' ? -60 : 60) * (int64_t)(h * 60 + m);
    return h <= 14 && m <= 59;
}

bool zone_offset(const char *zone, int64_t at, int64_t *ret_seconds)
{
    if (strcmp(zone, "UTC") == 0 || strcmp(zone, "Z") == 0) {
        *ret_seconds = 0;
        return true;
    }
    if (read_fixed(zone, ret_seconds))
        return true;
    const struct zone *z =
        bsearch(zone, zones, sizeof zones / sizeof *zones, sizeof *zones, by_name);
    struct law law;
    if (z == NULL || !read_law(z->rule, &law))
        return false;
    *ret_seconds = offset_at(&law, at);
    return true;
}
