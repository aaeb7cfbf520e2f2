/* ask.h - one question over TLS 1.3 to an issuer's door, as HTTP POST; blocking, for the command
 * line and for threads of their own. Whom to believe is said by the digest of the root's key, by
 * those who have no more than a token, or by the root itself. */
#ifndef SKEIN_TLS_ASK_H
#define SKEIN_TLS_ASK_H

#include "proto/units.h"
#include "proto/util.h"
#include "tls/names.h"

struct ask {
    const char *address;        /* HOST:PORT; the certificate has to name HOST */
    const char *cluster;        /* name */
    const char *root;           /* digest of the machines' root's key; NULL: machines says it ... */
    const char *machines, *crl; /* ... PEM; crl may be NULL */
    const char *certificate, *key; /* own, PEM with what stands above it; NULL: none */
    msec now;                      /* wall clock */
    msec patience;                 /* for all that is said; 0: twenty seconds */
};

/* *ret: the answer's body, NUL-terminated, to be freed. ERR_UNAUTHENTICATED: not an agent of this
 * cluster under this root, or of another name; ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_LIMIT. An answer
 * that is an error of the agent's own comes back as that error. */
int ask(const struct ask *ask, const char *path, const char *body, size_t max, char **ret,
        size_t *ret_len, struct err *err);

#endif
