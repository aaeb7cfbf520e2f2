#include "agent/core/pace.h"

#include "proto/util.h"

bool pace_take(struct pace *p, msec now)
{
    msec from = MAX(p->empty_at, now);
    if (from - now > p->every * (msec)(p->burst - 1))
        return false;
    p->empty_at = from + p->every;
    return true;
}
