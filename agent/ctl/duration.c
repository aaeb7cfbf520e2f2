#include "agent/ctl/duration.h"

#include <stdlib.h>
#include <string.h>

#include "proto/util.h"

int duration_parse(const char *what, const char *text, int64_t max, int64_t *ret, struct err *err)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};

    char *end;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; text[0] >= '0' && text[0] <= '9' && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        if (n < 1 || n > max / units[i].seconds)
            return err_set(err, ERR_INVALID, "%s %s: from 1 second to %lld days", what, text,
                           (long long)max / 86400);
        *ret = n * units[i].seconds;
        return 0;
    }
    return err_set(err, ERR_INVALID, "%s %s: wants a time such as 90s, 30m, 2h or 7d", what, text);
}
