/* anchor.h - is this certificate one of ours, now, for this use? One judge for the mesh, for
 * envelopes and for the roster. Pure: roots, lists and time are arguments. */
#ifndef SKEIN_TLS_ANCHOR_H
#define SKEIN_TLS_ANCHOR_H

#include <gnutls/x509.h>

#include "proto/units.h"
#include "proto/util.h"
#include "tls/names.h"

struct anchor; /* opaque: a root with its revocation lists */

/* root: PEM of one root certificate. crls: PEM of any number of lists (NULL: none); those of other
 * roots are ignored, one of this root with a bad signature is an error. */
int anchor_new(const char *root, const char *crls, struct anchor **ret, struct err *err);
int anchor_load(const char *root_path, const char *crl_path, struct anchor **ret, struct err *err);
void anchor_free(struct anchor *anchor);
DEFINE_CLEANUP(struct anchor, anchor_free)

/* When the root's list should be replaced (nextUpdate); QUANTITY_UNKNOWN without a list. */
msec anchor_crl_next_update(const struct anchor *anchor);

/* The number of the root's list, which grows with each; 0 without a list. */
uint64_t anchor_crl_number(const struct anchor *anchor);

/* Who a certificate says someone is, and what it binds. */
struct subject {
    enum identity_use use;
    char name[NAME_SIZE];
    char key[HASH_HEX_SIZE];    /* SHA-256 of the SubjectPublicKeyInfo */
    msec not_before, not_after; /* wall clock */
};

/* Read the names and the key alone: proves nothing. */
int subject_read(gnutls_x509_crt_t crt, const char *cluster, struct subject *ret, struct err *err);

/* The chain (the leaf first) leads to the root; the leaf is valid at now, not revoked, no
 * authority, of this cluster and use, and its key may sign. ERR_UNAUTHENTICATED, ERR_EXPIRED
 * (also: not valid yet), ERR_DENIED (revoked, or meant for another use). */
int anchor_verify(const struct anchor *anchor, const gnutls_x509_crt_t *chain, unsigned n,
                  const char *cluster, enum identity_use use, msec now, struct subject *ret,
                  struct err *err);

/* Is this an authority below the root, valid at now, not revoked? */
int anchor_verify_issuer(const struct anchor *anchor, gnutls_x509_crt_t crt, msec now,
                         struct err *err);

/* SHA-256 of a certificate's SubjectPublicKeyInfo, in hex. */
int spki_digest(gnutls_x509_crt_t crt, char ret[HASH_HEX_SIZE], struct err *err);
/* Is it a root, signed by itself, whose key has this digest? */
bool root_has_key(gnutls_x509_crt_t crt, const char *digest);
int spki_digest_of_file(const char *path, char ret[HASH_HEX_SIZE], struct err *err);

#endif
