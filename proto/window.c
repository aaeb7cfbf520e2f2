#include "proto/window.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/util.h"

#define DAY_MINUTES 1440

static const char *const day_names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

static int day_of(const char *text)
{
    for (int i = 0; i < 7; i++)
        if (strncasecmp(text, day_names[i], 3) == 0)
            return i;
    return -1;
}

/* "mon-fri,sun": *text is moved behind it. */
static int parse_days(const char **text, uint8_t *ret, struct err *err)
{
    const char *p = *text;
    *ret = 0;
    for (;;) {
        int first = day_of(p), last = first;
        if (first >= 0 && p[3] == '-')
            last = day_of(p += 4);
        if (first < 0 || last < 0)
            return err_set(err, ERR_INVALID, "window \"%.40s\": days are mon, tue ... sun", *text);
        for (int d = first;; d = (d + 1) % 7) { /* sat-mon passes the week's end */
            *ret = (uint8_t)(*ret | 1u << d);
            if (d == last)
                break;
        }
        p += 3;
        if (*p != ',')
            break;
        p++;
    }
    *text = p;
    return 0;
}

int window_parse(const char *text, struct window *ret, struct err *err)
{
    struct window w = {.days = 0x7f};
    const char *p = text;
    unsigned h1, m1, h2, m2;
    int n = 0;
    if (*p < '0' || *p > '9') {
        if (parse_days(&p, &w.days, err) < 0)
            return -(int)err->code;
        if (*p++ != ' ')
            return err_set(err, ERR_INVALID, "window \"%.40s\": a time like 22:00-06:00 is missing",
                           text);
    }
    if (sscanf(p, "%2u:%2u-%2u:%2u%n", &h1, &m1, &h2, &m2, &n) != 4 || p[n] != '\0' || h1 > 23 ||
        m1 > 59 || h2 > 24 || m2 > 59 || (h2 == 24 && m2 > 0))
        return err_set(err, ERR_INVALID, "window \"%.40s\": wants times like mon-fri 22:00-06:00",
                       text);
    w.from = (uint16_t)(60 * h1 + m1);
    w.to = (uint16_t)((60 * h2 + m2) % DAY_MINUTES);
    *ret = w;
    return 0;
}

static bool is_open(const struct window *w, unsigned day, unsigned minute)
{
    bool today = (w->days >> day & 1) != 0, yesterday = (w->days >> (day + 6) % 7 & 1) != 0;
    if (w->from < w->to)
        return today && minute >= w->from && minute < w->to;
    return (today && minute >= w->from) || (yesterday && minute < w->to) ||
           (w->from == w->to && w->from == 0 && today);
}

bool window_open(const struct window *windows, size_t n, msec wall)
{
    int64_t minutes = wall / 60000;
    unsigned day = (unsigned)((minutes / DAY_MINUTES + 3) % 7); /* 1970 began on a Thursday */
    for (size_t i = 0; i < n; i++)
        if (is_open(&windows[i], day, (unsigned)(minutes % DAY_MINUTES)))
            return true;
    return n == 0;
}
