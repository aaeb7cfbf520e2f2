/* handles.h - GnuTLS' objects under the house's idioms: cleanup, data from strings, errors. */
#ifndef SKEIN_TLS_HANDLES_H
#define SKEIN_TLS_HANDLES_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "proto/err.h"
#include "proto/util.h"

#define DEFINE_HANDLE_CLEANUP(type, name, deinit)                                                  \
    static inline void name(type *p)                                                               \
    {                                                                                              \
        if (*p != NULL)                                                                            \
            deinit(*p);                                                                            \
    }
DEFINE_HANDLE_CLEANUP(gnutls_x509_crt_t, crt_freep, gnutls_x509_crt_deinit)
DEFINE_HANDLE_CLEANUP(gnutls_x509_privkey_t, key_freep, gnutls_x509_privkey_deinit)
DEFINE_HANDLE_CLEANUP(gnutls_x509_crl_t, crl_freep, gnutls_x509_crl_deinit)
DEFINE_HANDLE_CLEANUP(gnutls_pubkey_t, pubkey_freep, gnutls_pubkey_deinit)
DEFINE_HANDLE_CLEANUP(gnutls_privkey_t, privkey_freep, gnutls_privkey_deinit)

static inline void datum_done(gnutls_datum_t *d)
{
    gnutls_free(d->data);
}

/* Borrows the bytes; GnuTLS does not write to what it imports. */
static inline gnutls_datum_t datum_of(const void *bytes, size_t len)
{
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)bytes, (unsigned)len};
}

static inline gnutls_datum_t datum_text(const char *text)
{
    return datum_of(text, strlen(text));
}

/* TLS 1.3 alone, forward secret by its nature; AEAD ciphers of at least 128 bits. No peer proves
 * itself by an RSA key: agents' are on P-256, and one check by a stranger's huge key takes most of
 * a second. Certificates may be signed by RSA, as the machines' root signs. */
#define TLS_PRIORITIES                                                                             \
    "NONE:+VERS-TLS1.3:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:+AEAD:"                        \
    "+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ECDSA-SECP256R1-SHA256:"                                 \
    "+SIGN-EDDSA-ED25519:+SIGN-RSA-SHA256:+CTYPE-X509"

/* Certificates, the leaf first. */
#define CHAIN_MAX 4

struct chain {
    gnutls_x509_crt_t crts[CHAIN_MAX]; /* owned */
    unsigned n;
};

void chain_done(struct chain *chain);
/* From PEM; replaces nothing: chain is empty. ERR_INVALID: none, more than CHAIN_MAX, malformed. */
int chain_read(const char *pem, struct chain *chain, struct err *err);
/* What the peer of a session showed; replaces what chain held. ERR_UNAUTHENTICATED: nothing, too
 * many, or what is no certificate. */
int chain_of_peer(gnutls_session_t session, struct chain *chain, struct err *err);

/* Does the list hold this certificate's serial number, whoever signed it? */
bool crl_names(gnutls_x509_crl_t crl, gnutls_x509_crt_t crt);

/* The (first) certificate of a PEM file; gnutls_x509_crt_deinit. What file_read says, or ERR_TLS.
 */
int crt_load(const char *path, gnutls_x509_crt_t *ret, struct err *err);

/* ERR_TLS: "WHAT: GnuTLS' words". */
int tls_error(struct err *err, int gnutls_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
