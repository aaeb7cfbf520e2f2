#include "tls/creds.h"

#include "tls/file.h"
#include "tls/handles.h"

#define PEM_MAX 65536

struct creds *creds_ref(struct creds *creds)
{
    creds->refs++;
    return creds;
}

void creds_unref(struct creds *creds)
{
    if (creds == NULL || --creds->refs > 0)
        return;
    if (creds->gnutls != NULL)
        gnutls_certificate_free_credentials(creds->gnutls);
    if (creds->priorities != NULL)
        gnutls_priority_deinit(creds->priorities);
    anchor_free(creds->machines);
    free(creds);
}

static int judge_own(struct creds *creds, const char *pem, const struct cluster *cluster,
                     const char *host, msec wall, struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {0};
    int rc = chain_read(pem, &chain, err);
    if (rc < 0)
        return rc;
    rc = anchor_verify(creds->machines, chain.crts, chain.n, cluster->name, USE_AGENT, wall,
                       &creds->own, err);
    if (rc == 0 && strcmp(creds->own.name, host) != 0)
        return err_set(err, ERR_CONFLICT, "certificate of host %s, not of %s", creds->own.name,
                       host);
    return rc;
}

static int load_own(struct creds *creds, const char *directory, const struct cluster *cluster,
                    const char *host, msec wall, struct err *err)
{
    _cleanup_(freep) char *crt_path = xasprintf("%s/host.pem", directory);
    _cleanup_(freep) char *key_path = xasprintf("%s/host.key", directory);
    _cleanup_(freep) char *crt = NULL, *key = NULL;
    size_t key_len = 0;
    int rc;
    if ((rc = file_read(crt_path, PEM_MAX, &crt, NULL, err)) < 0 ||
        (rc = file_read(key_path, PEM_MAX, &key, &key_len, err)) < 0)
        return rc;
    if ((rc = judge_own(creds, crt, cluster, host, wall, err)) < 0)
        return err_wrap(err, "%s", crt_path);
    gnutls_datum_t crt_in = datum_text(crt), key_in = datum_text(key);
    rc = gnutls_certificate_set_x509_key_mem2(creds->gnutls, &crt_in, &key_in, GNUTLS_X509_FMT_PEM,
                                              NULL, 0);
    explicit_bzero(key, key_len);
    return rc < 0 ? tls_error(err, rc, "%s", key_path) : 0;
}

int creds_load(const char *directory, const struct cluster *cluster, const char *host, msec wall,
               struct creds **ret, struct err *err)
{
    _cleanup_(creds_unrefp) struct creds *creds = xcalloc(1, sizeof *creds);
    _cleanup_(freep) char *root = xasprintf("%s/machines.pem", directory);
    _cleanup_(freep) char *crl = xasprintf("%s/crl.pem", directory);
    creds->refs = 1;
    int rc = gnutls_certificate_allocate_credentials(&creds->gnutls);
    if (rc < 0)
        return tls_error(err, rc, "credentials");
    if ((rc = gnutls_priority_init(&creds->priorities, TLS_PRIORITIES, NULL)) < 0)
        return tls_error(err, rc, "priorities");
    if ((rc = anchor_load(root, crl, &creds->machines, err)) < 0 ||
        (rc = load_own(creds, directory, cluster, host, wall, err)) < 0)
        return rc;
    *ret = TAKE_PTR(creds);
    return 0;
}
