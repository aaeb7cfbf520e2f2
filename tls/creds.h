/* creds.h - a host's own certificate and what it judges others by, as read from its directory.
 * Counted references: sessions outlive a reload. */
#ifndef SKEIN_TLS_CREDS_H
#define SKEIN_TLS_CREDS_H

#include <gnutls/gnutls.h>

#include "tls/anchor.h"

struct creds {
    unsigned refs;
    gnutls_certificate_credentials_t gnutls; /* owned: own certificate and key */
    gnutls_priority_t priorities;            /* owned; sessions share them, and their 13 KiB */
    struct anchor *machines;                 /* owned */
    struct subject own;
};

/* DIRECTORY/{machines.pem,crl.pem,host.pem,host.key}; the certificate must be that host's, of the
 * agent's use, and valid at wall. */
int creds_load(const char *directory, const struct cluster *cluster, const char *host, msec wall,
               struct creds **ret, struct err *err);
struct creds *creds_ref(struct creds *creds);
void creds_unref(struct creds *creds);
DEFINE_CLEANUP(struct creds, creds_unref)

#endif
