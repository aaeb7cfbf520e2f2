/* renew.h - when a certificate is renewed: at two thirds of its life, a little earlier by a part of
 * its own, so that hosts made together do not ask together. Pure: time is an argument. */
#ifndef SKEIN_AGENT_CORE_RENEW_H
#define SKEIN_AGENT_CORE_RENEW_H

#include <stdint.h>

#include "proto/units.h"

#define RENEW_RETRY_MIN_MS 60000               /* after a failure, doubling, ... */
#define RENEW_RETRY_MAX_MS (3600 * (msec)1000) /* ... up to this */

struct renew {
    msec not_before, not_after; /* wall; of the one that is held now */
    uint64_t seed;              /* of this host's part of the jitter */
    unsigned failures;          /* in a row, since it is held */
    msec tried_at;              /* wall; of the last of them */
};

/* Wall clock: not before that, then as soon as can be. */
msec renew_at(const struct renew *r);

#endif
