/* identity.h - a person who can sign: certificate and private key. */
#ifndef SKEIN_TLS_IDENTITY_H
#define SKEIN_TLS_IDENTITY_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <jansson.h>

#include "proto/err.h"
#include "proto/util.h"
#include "tls/names.h"

struct identity; /* opaque; the key is wiped when freed */

/* Asked for an encrypted key's passphrase: a string to be freed (it is wiped first), or NULL to
 * give up. path is the key's. */
typedef char *(*identity_passphrase)(void *user, const char *path);

/* Key: PEM (PKCS#8, encrypted or not). ERR_UNAUTHENTICATED when the passphrase is wrong or
 * missing; ERR_CONFLICT when the key is not the certificate's. ask may be NULL. */
int identity_load(const char *crt_path, const char *key_path, identity_passphrase ask, void *user,
                  struct identity **ret, struct err *err);
void identity_free(struct identity *id);
DEFINE_CLEANUP(struct identity, identity_free)

const char *
identity_certificate(const struct identity *id);     /* PEM, with those above it; borrowed */
const char *identity_key(const struct identity *id); /* SPKI SHA-256 in hex, borrowed */

/* The name that the certificate gives itself in this cluster; proves nothing. */
int identity_name(const struct identity *id, const char *cluster, char ret[NAME_SIZE],
                  struct err *err);

/* Signatures are over DOMAIN, NUL, canonical JSON: what is signed in one place means nothing in
 * another. Base64; to be freed. */
int signature_make(const struct identity *id, const char *domain, const json_t *doc, char **ret,
                   struct err *err);

/* ERR_UNAUTHENTICATED when it does not fit. */
int signature_check(gnutls_x509_crt_t crt, const char *domain, const json_t *doc,
                    const char *signature, struct err *err);

#endif
