#include "agent/core/skew.h"

#include <stdio.h>
#include <string.h>

#include "proto/util.h"

void skew_heard(struct skew *k, const char *planner, msec told, msec age, msec wall)
{
    if (strcmp(k->planner, planner) != 0) {
        *k = (struct skew){0};
        snprintf(k->planner, sizeof k->planner, "%s", planner);
    }
    k->samples[k->n++ % SKEW_SAMPLES] = sat_sub(sat_sub(wall, age), told);
}

bool skew_known(const struct skew *k, const char *planner, msec *ret)
{
    if (strcmp(k->planner, planner) != 0 || k->n < SKEW_LEAST)
        return false;
    msec least = k->samples[0];
    for (unsigned i = 1; i < MIN(k->n, (unsigned)SKEW_SAMPLES); i++)
        least = MIN(least, k->samples[i]);
    *ret = least;
    return true;
}
