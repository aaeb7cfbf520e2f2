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

bool hush_tells(struct hush *h, msec now, unsigned *ret_untold)
{
    *ret_untold = h->untold;
    if (now < h->until) {
        h->untold++;
        return false;
    }
    *h = (struct hush){.until = now + HUSH_MS};
    return true;
}
