#include "agent/core/renew.h"

#include "proto/util.h"

/* Up to a twentieth of its life. */
static msec jitter(const struct renew *r, msec life)
{
    msec range = life / 20;
    return range > 0 ? (msec)(r->seed % (uint64_t)range) : 0;
}

msec renew_at(const struct renew *r)
{
    msec life = MAX(0, r->not_after - r->not_before);
    msec at = r->not_before + life / 3 * 2 - jitter(r, life), pause = RENEW_RETRY_MIN_MS;
    if (r->failures == 0)
        return at;
    for (unsigned i = 1; i < r->failures && pause < RENEW_RETRY_MAX_MS; i++)
        pause *= 2;
    return MAX(at, r->tried_at + MIN(pause, RENEW_RETRY_MAX_MS));
}
