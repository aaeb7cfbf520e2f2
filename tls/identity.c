#include "tls/identity.h"

#include <gnutls/crypto.h>

#include "proto/canon.h"
#include "tls/anchor.h"
#include "tls/file.h"
#include "tls/handles.h"

#define PEM_MAX 65536
#define SIGNATURE_MAX 1024 /* base64 digits; RSA-4096 takes 684 */

struct identity {
    gnutls_x509_crt_t crt; /* owned */
    gnutls_privkey_t key;  /* owned */
    char *pem;             /* owned; the certificate as we wrote it again */
    char digest[HASH_HEX_SIZE];
};

void identity_free(struct identity *id)
{
    if (id == NULL)
        return;
    crt_freep(&id->crt);
    privkey_freep(&id->key);
    free(id->pem);
    free(id);
}

const char *identity_certificate(const struct identity *id)
{
    return id->pem;
}

const char *identity_key(const struct identity *id)
{
    return id->digest;
}

int identity_name(const struct identity *id, const char *cluster, char ret[NAME_SIZE],
                  struct err *err)
{
    struct subject subject;
    int rc = subject_read(id->crt, cluster, &subject, err);
    if (rc == 0)
        memcpy(ret, subject.name, NAME_SIZE);
    return rc;
}

/* Memory that held a secret is cleared before it is freed. */
static void wipe_freep(char **p)
{
    if (*p == NULL)
        return;
    gnutls_memset(*p, 0, strlen(*p));
    free(*p);
}

/* The certificate, and those between it and the root, if there are any. */
static int load_certificate(struct identity *id, const char *path, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(chain_done) struct chain chain = {0};
    struct buf pem = {0};
    int rc = file_read(path, PEM_MAX, &text, NULL, err);
    if (rc < 0 || (rc = chain_read(text, &chain, err)) < 0)
        return rc < 0 ? err_wrap(err, "%s", path) : rc;
    for (unsigned i = 0; i < chain.n; i++) {
        _cleanup_(datum_done) gnutls_datum_t one = {0};
        rc = gnutls_x509_crt_export2(chain.crts[i], GNUTLS_X509_FMT_PEM, &one);
        if (rc < 0) {
            buf_done(&pem);
            return tls_error(err, rc, "%s", path);
        }
        buf_add(&pem, one.data, one.size);
    }
    id->pem = buf_take(&pem);
    id->crt = chain.crts[0]; /* taken */
    memmove(chain.crts, chain.crts + 1, --chain.n * sizeof *chain.crts);
    return spki_digest(id->crt, id->digest, err);
}

static int load_key(struct identity *id, const char *path, identity_passphrase ask, void *user,
                    struct err *err)
{
    _cleanup_(wipe_freep) char *text = NULL, *passphrase = NULL;
    int rc = file_read(path, PEM_MAX, &text, NULL, err);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_privkey_init(&id->key)) < 0)
        return tls_error(err, rc, "%s", path);
    gnutls_datum_t in = datum_text(text);
    if (strstr(text, "BEGIN ENCRYPTED PRIVATE KEY") != NULL) {
        passphrase = ask != NULL ? ask(user, path) : NULL;
        if (passphrase == NULL)
            return err_set(err, ERR_UNAUTHENTICATED, "%s: the key wants its passphrase", path);
    }
    rc = gnutls_privkey_import_x509_raw(id->key, &in, GNUTLS_X509_FMT_PEM, passphrase, 0);
    if (rc == GNUTLS_E_DECRYPTION_FAILED)
        return err_set(err, ERR_UNAUTHENTICATED, "%s: wrong passphrase", path);
    return rc < 0 ? tls_error(err, rc, "%s", path) : 0;
}

static int check_pair(const struct identity *id, const char *crt_path, const char *key_path,
                      struct err *err)
{
    _cleanup_(pubkey_freep) gnutls_pubkey_t public = NULL;
    uint8_t a[HASH_SIZE], b[HASH_SIZE];
    size_t la = sizeof a, lb = sizeof b;
    int rc;
    if ((rc = gnutls_pubkey_init(&public)) < 0 ||
        (rc = gnutls_pubkey_import_privkey(public, id->key, 0, 0)) < 0 ||
        (rc = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, a, &la)) < 0 ||
        (rc = gnutls_x509_crt_get_key_id(id->crt, GNUTLS_KEYID_USE_SHA256, b, &lb)) < 0)
        return tls_error(err, rc, "%s", key_path);
    if (la != lb || memcmp(a, b, la) != 0)
        return err_set(err, ERR_CONFLICT, "%s: not the key of %s", key_path, crt_path);
    return 0;
}

int identity_load(const char *crt_path, const char *key_path, identity_passphrase ask, void *user,
                  struct identity **ret, struct err *err)
{
    _cleanup_(identity_freep) struct identity *id = xcalloc(1, sizeof *id);
    int rc;
    if ((rc = load_certificate(id, crt_path, err)) < 0 ||
        (rc = load_key(id, key_path, ask, user, err)) < 0 ||
        (rc = check_pair(id, crt_path, key_path, err)) < 0)
        return rc;
    *ret = TAKE_PTR(id);
    return 0;
}

/* One algorithm for each kind of key, so that nobody else chooses it. */
static gnutls_sign_algorithm_t algorithm_for(int pk)
{
    if (pk == GNUTLS_PK_ECDSA)
        return GNUTLS_SIGN_ECDSA_SHA256;
    if (pk == GNUTLS_PK_EDDSA_ED25519)
        return GNUTLS_SIGN_EDDSA_ED25519;
    return pk == GNUTLS_PK_RSA ? GNUTLS_SIGN_RSA_SHA256 : GNUTLS_SIGN_UNKNOWN;
}

static int signed_bytes(const char *domain, const json_t *doc, struct buf *ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    int rc = canon_dump(doc, &text, &len, err);
    if (rc < 0)
        return rc;
    buf_add(ret, domain, strlen(domain) + 1);
    buf_add(ret, text, len);
    return 0;
}

int signature_make(const struct identity *id, const char *domain, const json_t *doc, char **ret,
                   struct err *err)
{
    _cleanup_(buf_done) struct buf bytes = {0};
    _cleanup_(datum_done) gnutls_datum_t raw = {0}, text = {0};
    gnutls_sign_algorithm_t algorithm =
        algorithm_for(gnutls_privkey_get_pk_algorithm(id->key, NULL));
    if (algorithm == GNUTLS_SIGN_UNKNOWN)
        return err_set(err, ERR_UNSUPPORTED, "signing wants an ECDSA, Ed25519 or RSA key");
    int rc = signed_bytes(domain, doc, &bytes, err);
    if (rc < 0)
        return rc;
    gnutls_datum_t data = datum_of(bytes.data, bytes.len);
    if ((rc = gnutls_privkey_sign_data2(id->key, algorithm, 0, &data, &raw)) < 0 ||
        (rc = gnutls_base64_encode2(&raw, &text)) < 0)
        return tls_error(err, rc, "signing");
    bytes.len = 0;
    buf_add(&bytes, text.data, text.size);
    *ret = buf_take(&bytes);
    return 0;
}

int signature_check(gnutls_x509_crt_t crt, const char *domain, const json_t *doc,
                    const char *signature, struct err *err)
{
    _cleanup_(buf_done) struct buf bytes = {0};
    _cleanup_(datum_done) gnutls_datum_t raw = {0};
    _cleanup_(pubkey_freep) gnutls_pubkey_t key = NULL;
    gnutls_datum_t text = datum_text(signature);
    if (text.size == 0 || text.size > SIGNATURE_MAX || gnutls_base64_decode2(&text, &raw) < 0)
        return err_set(err, ERR_UNAUTHENTICATED, "signature is not base64");
    int rc;
    if ((rc = gnutls_pubkey_init(&key)) < 0 || (rc = gnutls_pubkey_import_x509(key, crt, 0)) < 0)
        return tls_error(err, rc, "public key");
    gnutls_sign_algorithm_t algorithm = algorithm_for(gnutls_pubkey_get_pk_algorithm(key, NULL));
    if (algorithm == GNUTLS_SIGN_UNKNOWN)
        return err_set(err, ERR_UNAUTHENTICATED, "signer's key is of a kind that signs nothing");
    if ((rc = signed_bytes(domain, doc, &bytes, err)) < 0)
        return rc;
    gnutls_datum_t data = datum_of(bytes.data, bytes.len);
    if (gnutls_pubkey_verify_data2(key, algorithm, 0, &data, &raw) < 0)
        return err_set(err, ERR_UNAUTHENTICATED, "signature does not fit what is signed");
    return 0;
}
