/* revoked.h - whose certificates a list of revocations newly names. A list has serial numbers
 * alone, and libvirt says of a session no more than its name: so the serial numbers that we give
 * carry a mark of whom they are for. */
#ifndef SKEIN_TLS_REVOKED_H
#define SKEIN_TLS_REVOKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/util.h"
#include "tls/names.h"

#define SERIAL_BYTES 20 /* RFC 5280: at most */
#define SERIAL_RANDOM 10

/* A serial number: positive, marked, with a hash of use (USE_COUNT: a root) and name, and random
 * bytes. */
void serial_make(enum identity_use use, const char *name, const uint8_t random[SERIAL_RANDOM],
                 uint8_t ret[SERIAL_BYTES]);

struct revoked {
    char *list;         /* PEM of the root's newest list; owned; NULL: there is none */
    char *issuers_list; /* the same in the issuers' name (tls/pki.h); owned */
    uint8_t (*serials)[SERIAL_BYTES]; /* marked ones that the older list lacks; owned */
    size_t n, cap;
    bool unmarked; /* and others, which may be anybody's */
};

void revoked_done(struct revoked *r);

/* root: PEM. crls: PEM of any lists, those of other roots are not looked at. older (NULL: none):
 * the same of an earlier time. */
int revoked_since(const char *root, const char *crls, const char *older, struct revoked *ret,
                  struct err *err);

/* Does it newly name a certificate of this name for this use? True, too, where that is not known.
 */
bool revoked_names(const struct revoked *r, enum identity_use use, const char *name);

#endif
