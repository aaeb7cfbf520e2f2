#include "tls/handles.h"

#include <stdio.h>

#include "tls/file.h"

#define PEM_MAX 65536

int tls_error(struct err *err, int gnutls_code, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(err, ERR_TLS, "%s: %s", what, gnutls_strerror(gnutls_code));
}

void chain_done(struct chain *chain)
{
    for (unsigned i = 0; i < chain->n; i++)
        gnutls_x509_crt_deinit(chain->crts[i]);
    chain->n = 0;
}

int chain_read(const char *pem, struct chain *chain, struct err *err)
{
    gnutls_datum_t in = datum_text(pem);
    unsigned n = CHAIN_MAX;
    int rc = gnutls_x509_crt_list_import(chain->crts, &n, &in, GNUTLS_X509_FMT_PEM,
                                         GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    if (rc <= 0)
        return err_set(err, ERR_INVALID, "certificate: %s",
                       rc < 0 ? gnutls_strerror(rc) : "there is none");
    chain->n = (unsigned)rc;
    return 0;
}

int chain_of_peer(gnutls_session_t session, struct chain *chain, struct err *err)
{
    unsigned n = 0;
    const gnutls_datum_t *certificates = gnutls_certificate_get_peers(session, &n);
    if (certificates == NULL || n == 0)
        return err_set(err, ERR_UNAUTHENTICATED, "the peer showed no certificate");
    if (n > CHAIN_MAX)
        return err_set(err, ERR_UNAUTHENTICATED, "the peer showed %u certificates", n);
    chain_done(chain);
    for (unsigned i = 0; i < n; i++) {
        int rc = gnutls_x509_crt_init(&chain->crts[i]);
        if (rc < 0)
            return tls_error(err, rc, "certificate");
        chain->n++;
        if (gnutls_x509_crt_import(chain->crts[i], &certificates[i], GNUTLS_X509_FMT_DER) < 0)
            return err_set(err, ERR_UNAUTHENTICATED, "the peer's certificate is malformed");
    }
    return 0;
}

bool crl_names(gnutls_x509_crl_t crl, gnutls_x509_crt_t crt)
{
    uint8_t own[64], other[64];
    size_t own_len = sizeof own, other_len = sizeof other;
    gnutls_x509_crl_iter_t at = NULL;
    bool found = false;
    if (gnutls_x509_crt_get_serial(crt, own, &own_len) < 0)
        return true;
    while (!found && gnutls_x509_crl_iter_crt_serial(crl, &at, other, &other_len, NULL) >= 0) {
        found = own_len == other_len && memcmp(own, other, own_len) == 0;
        other_len = sizeof other;
    }
    gnutls_x509_crl_iter_deinit(at);
    return found;
}

int crt_load(const char *path, gnutls_x509_crt_t *ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    size_t len;
    int rc = file_read(path, PEM_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    gnutls_datum_t pem = datum_of(text, len);
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM)) < 0)
        return tls_error(err, rc, "%s", path);
    *ret = TAKE_PTR(crt);
    return 0;
}
