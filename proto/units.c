#include "proto/units.h"

#include <stdio.h>
#include <string.h>

/* Days since 1970-01-01 of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level
 * date algorithms", days_from_civil). */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static void civil_from_days(int64_t z, int *y, unsigned *m, unsigned *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)((int64_t)yoe + era * 400 + (*m <= 2));
}

/* "Z", "+HH:MM" or "-HH:MM" -> minutes east; false when it is none of them. */
static bool parse_offset(const char *s, int *ret_minutes)
{
    int h, m, n = 0;
    char sign;
    if (strcmp(s, "Z") == 0 || strcmp(s, "z") == 0) {
        *ret_minutes = 0;
        return true;
    }
    if (sscanf(s, "%c%2d:%2d%n", &sign, &h, &m, &n) != 3 || n != 6 || s[n] != '\0')
        return false;
    if ((sign != '+' && sign != '-') || h < 0 || h > 23 || m < 0 || m > 59)
        return false;
    *ret_minutes = (sign == '-' ? -1 : 1) * (h * 60 + m);
    return true;
}

static bool date_is_valid(int y, unsigned m, unsigned d)
{
    if (y < 1970 || y > 9999 || m < 1 || m > 12 || d < 1 || d > 31)
        return false;
    int y2;
    unsigned m2, d2;
    civil_from_days(days_from_civil(y, m, d), &y2, &m2, &d2);
    return y2 == y && m2 == m && d2 == d;
}

int time_parse(const char *text, msec *ret_wall, struct err *err)
{
    int y, h, mi, s, n = 0, offset;
    unsigned mo, d;
    int64_t ms = 0;
    if (sscanf(text, "%4d-%2u-%2u%*1[Tt]%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &n) != 6 ||
        n != 19)
        goto bad;
    const char *p = text + n;
    if (*p == '.') {
        int64_t scale = 100;
        for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
            ms += scale * (*p - '0');
    }
    if (!parse_offset(p, &offset) || !date_is_valid(y, mo, d) || h < 0 || h > 23 || mi < 0 ||
        mi > 59 || s < 0 || s > 60)
        goto bad;
    *ret_wall =
        ((days_from_civil(y, mo, d) * 24 + h) * 60 + mi - offset) * 60000 + s * (int64_t)1000 + ms;
    return 0;
bad:
    return err_set(err, ERR_INVALID, "\"%.40s\" is not a time like 2026-11-22T01:30:00Z", text);
}

void time_format(msec wall, char ret[TIME_TEXT_SIZE])
{
    int64_t days = wall / 86400000, rest = wall % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int y;
    unsigned m, d;
    civil_from_days(days, &y, &m, &d);
    int n = snprintf(ret, TIME_TEXT_SIZE, "%04d-%02u-%02uT%02d:%02d:%02d", y, m, d,
                     (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60));
    if (rest % 1000 != 0)
        n += snprintf(ret + n, TIME_TEXT_SIZE - (size_t)n, ".%03d", (int)(rest % 1000));
    snprintf(ret + n, TIME_TEXT_SIZE - (size_t)n, "Z");
}
