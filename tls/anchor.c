#include "tls/anchor.h"

#include <stdio.h>

#include "tls/file.h"
#include "tls/handles.h"

#define ROOT_MAX 65536
#define CRL_MAX (4 << 20)

struct anchor {
    gnutls_x509_trust_list_t list; /* owned, with the root and its revocation list ... */
    gnutls_x509_crl_t crl;         /* ... which is this one; NULL: none */
    msec next_update;
    uint64_t crl_number;
};

void anchor_free(struct anchor *anchor)
{
    if (anchor == NULL)
        return;
    if (anchor->list != NULL)
        gnutls_x509_trust_list_deinit(anchor->list, 1);
    free(anchor);
}

static int add_root(struct anchor *anchor, const char *pem, gnutls_x509_crt_t *ret_borrowed,
                    struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t root = NULL;
    gnutls_datum_t in = datum_text(pem);
    int rc;
    if ((rc = gnutls_x509_crt_init(&root)) < 0 ||
        (rc = gnutls_x509_crt_import(root, &in, GNUTLS_X509_FMT_PEM)) < 0)
        return tls_error(err, rc, "root certificate");
    if (gnutls_x509_crt_get_basic_constraints(root, NULL, NULL, NULL) <= 0)
        return err_set(err, ERR_INVALID, "root certificate: it is no certificate authority");
    if ((rc = gnutls_x509_trust_list_add_cas(anchor->list, &root, 1, 0)) < 0)
        return tls_error(err, rc, "root certificate");
    *ret_borrowed = TAKE_PTR(root);
    return 0;
}

static bool is_of_root(gnutls_x509_crl_t crl, gnutls_x509_crt_t root)
{
    return gnutls_x509_crl_check_issuer(crl, root) != 0;
}

static uint64_t number_of(gnutls_x509_crl_t crl)
{
    uint8_t bytes[20];
    size_t len = sizeof bytes;
    uint64_t number = 0;
    if (gnutls_x509_crl_get_number(crl, bytes, &len, NULL) < 0)
        return 0;
    for (size_t i = 0; i < len; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* The list now owns the crl when *added. */
static int add_crl(struct anchor *anchor, gnutls_x509_crl_t crl, gnutls_x509_crt_t root,
                   bool *added, struct err *err)
{
    unsigned status = 0;
    int rc = gnutls_x509_crl_verify(crl, &root, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status);
    if (rc < 0 || status != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "revocation list: not signed by its root");
    time_t next = gnutls_x509_crl_get_next_update(crl);
    if (next != (time_t)-1)
        anchor->next_update = (msec)next * 1000;
    bool newest = anchor->crl == NULL || number_of(crl) >= anchor->crl_number;
    anchor->crl_number = MAX(anchor->crl_number, number_of(crl));
    if ((rc = gnutls_x509_trust_list_add_crls(anchor->list, &crl, 1, 0, 0)) < 0)
        return tls_error(err, rc, "revocation list");
    if (newest)
        anchor->crl = crl;
    *added = true;
    return 0;
}

static int add_crls(struct anchor *anchor, const char *pem, gnutls_x509_crt_t root, struct err *err)
{
    gnutls_datum_t in = datum_text(pem);
    gnutls_x509_crl_t *lists;
    unsigned n;
    int rc = gnutls_x509_crl_list_import2(&lists, &n, &in, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0)
        return tls_error(err, rc, "revocation list");
    rc = 0;
    for (unsigned i = 0; i < n; i++) {
        bool added = false;
        if (rc == 0 && is_of_root(lists[i], root))
            rc = add_crl(anchor, lists[i], root, &added, err);
        if (!added)
            gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return rc;
}

int anchor_new(const char *root, const char *crls, struct anchor **ret, struct err *err)
{
    _cleanup_(anchor_freep) struct anchor *anchor = xcalloc(1, sizeof *anchor);
    anchor->next_update = QUANTITY_UNKNOWN;
    gnutls_x509_crt_t crt = NULL;
    int rc = gnutls_x509_trust_list_init(&anchor->list, 0);
    if (rc < 0)
        return tls_error(err, rc, "trust list");
    if ((rc = add_root(anchor, root, &crt, err)) < 0)
        return rc;
    if (crls != NULL && (rc = add_crls(anchor, crls, crt, err)) < 0)
        return rc;
    *ret = TAKE_PTR(anchor);
    return 0;
}

int anchor_load(const char *root_path, const char *crl_path, struct anchor **ret, struct err *err)
{
    _cleanup_(freep) char *root = NULL, *crl = NULL;
    int rc;
    if ((rc = file_read(root_path, ROOT_MAX, &root, NULL, err)) < 0 ||
        (crl_path != NULL && (rc = file_read(crl_path, CRL_MAX, &crl, NULL, err)) < 0))
        return rc;
    rc = anchor_new(root, crl, ret, err);
    return rc < 0 ? err_wrap(err, "%s", root_path) : 0;
}

uint64_t anchor_crl_number(const struct anchor *anchor)
{
    return anchor->crl_number;
}

msec anchor_crl_next_update(const struct anchor *anchor)
{
    return anchor->next_update;
}

int spki_digest(gnutls_x509_crt_t crt, char ret[HASH_HEX_SIZE], struct err *err)
{
    _cleanup_(pubkey_freep) gnutls_pubkey_t key = NULL;
    _cleanup_(datum_done) gnutls_datum_t der = {0};
    int rc;
    if ((rc = gnutls_pubkey_init(&key)) < 0 || (rc = gnutls_pubkey_import_x509(key, crt, 0)) < 0 ||
        (rc = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der)) < 0)
        return tls_error(err, rc, "public key");
    uint8_t hash[HASH_SIZE];
    hash_sha256(der.data, der.size, hash);
    hash_hex(hash, ret);
    return 0;
}

/* The length of the DER element that begins here, with its head; 0: not within n bytes. */
static size_t der_element(const uint8_t *p, size_t n, size_t *ret_head)
{
    size_t digits = n >= 2 && p[1] > 0x7f ? p[1] & 0x7f : 0, len = 0;
    if (n < 2 + digits || digits > 4)
        return 0;
    for (size_t i = 0; i < digits; i++)
        len = len << 8 | p[2 + i];
    *ret_head = 2 + digits;
    len = *ret_head + (digits > 0 ? len : p[1]);
    return len <= n ? len : 0;
}

/* GnuTLS takes a certificate that stands in the list to verify by for true: its signature has to be
 * looked at here. */
static bool signed_itself(gnutls_x509_crt_t crt)
{
    _cleanup_(pubkey_freep) gnutls_pubkey_t key = NULL;
    _cleanup_(datum_done) gnutls_datum_t der = {0};
    uint8_t bytes[1024];
    size_t len = sizeof bytes, head, inner, signed_len;
    int algorithm = gnutls_x509_crt_get_signature_algorithm(crt);
    if (algorithm < 0 || gnutls_x509_crt_get_signature(crt, (char *)bytes, &len) < 0 ||
        gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) < 0 ||
        gnutls_pubkey_init(&key) < 0 || gnutls_pubkey_import_x509(key, crt, 0) < 0 ||
        der_element(der.data, der.size, &head) == 0 ||
        (signed_len = der_element(der.data + head, der.size - head, &inner)) == 0)
        return false;
    const gnutls_datum_t text = datum_of(der.data + head, signed_len);
    const gnutls_datum_t signature = datum_of(bytes, len);
    return gnutls_pubkey_verify_data2(key, (gnutls_sign_algorithm_t)algorithm, 0, &text,
                                      &signature) >= 0;
}

bool root_has_key(gnutls_x509_crt_t crt, const char *digest)
{
    struct err err;
    char own[HASH_HEX_SIZE];
    return gnutls_x509_crt_check_issuer(crt, crt) != 0 && spki_digest(crt, own, &err) == 0 &&
           strcmp(own, digest) == 0 && signed_itself(crt);
}

int spki_digest_of_file(const char *path, char ret[HASH_HEX_SIZE], struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    int rc = crt_load(path, &crt, err);
    return rc < 0 ? rc : spki_digest(crt, ret, err);
}

/* Exactly one URI: with two, what reads the first and what reads the last would differ. */
static int read_uri(gnutls_x509_crt_t crt, char ret[URI_SIZE], struct err *err)
{
    bool found = false;
    for (unsigned i = 0;; i++) {
        char name[512];
        size_t len = sizeof name;
        int type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &len, NULL);
        if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (type < 0)
            return tls_error(err, type, "certificate's alternative name %u", i);
        if (type != GNUTLS_SAN_URI)
            continue;
        if (found)
            return err_set(err, ERR_UNAUTHENTICATED, "certificate with more than one URI");
        if (len >= URI_SIZE || memchr(name, '\0', len) != NULL)
            return err_set(err, ERR_UNAUTHENTICATED, "certificate with a malformed URI");
        memcpy(ret, name, len);
        ret[len] = '\0';
        found = true;
    }
    return found ? 0 : err_set(err, ERR_UNAUTHENTICATED, "certificate without a URI");
}

int subject_read(gnutls_x509_crt_t crt, const char *cluster, struct subject *ret, struct err *err)
{
    struct subject s = {0};
    char uri[URI_SIZE];
    int rc;
    if ((rc = read_uri(crt, uri, err)) < 0 ||
        (rc = uri_parse(uri, cluster, &s.use, s.name, err)) < 0 ||
        (rc = spki_digest(crt, s.key, err)) < 0)
        return rc;
    s.not_before = (msec)gnutls_x509_crt_get_activation_time(crt) * 1000;
    s.not_after = (msec)gnutls_x509_crt_get_expiration_time(crt) * 1000;
    *ret = s;
    return 0;
}

static int check_time(gnutls_x509_crt_t crt, msec now, struct err *err)
{
    msec from = (msec)gnutls_x509_crt_get_activation_time(crt) * 1000;
    msec to = (msec)gnutls_x509_crt_get_expiration_time(crt) * 1000;
    char text[TIME_TEXT_SIZE];
    if (now < from) {
        time_format(from, text);
        return err_set(err, ERR_EXPIRED, "certificate not valid before %s", text);
    }
    if (now >= to) {
        time_format(to, text);
        return err_set(err, ERR_EXPIRED, "certificate expired at %s", text);
    }
    return 0;
}

static int check_usage(gnutls_x509_crt_t crt, enum identity_use use, struct err *err)
{
    unsigned usage = 0;
    if (gnutls_x509_crt_get_basic_constraints(crt, NULL, NULL, NULL) > 0)
        return err_set(err, ERR_DENIED, "certificate of an authority, not of a %s", use_name(use));
    if (gnutls_x509_crt_get_key_usage(crt, &usage, NULL) < 0 ||
        (usage & GNUTLS_KEY_DIGITAL_SIGNATURE) == 0)
        return err_set(err, ERR_DENIED, "certificate whose key usage does not allow signing");
    if (!gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0) ||
        (use != USE_PERSON && !gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_SERVER, 0)))
        return err_set(err, ERR_DENIED, "certificate whose key purpose is not that of a %s",
                       use_name(use));
    return 0;
}

/* GnuTLS looks for a certificate in the list of who signed it. The root's list is for all below it:
 * serial numbers are of 80 random bits, whoever gave them. */
static bool is_revoked(const struct anchor *anchor, const gnutls_x509_crt_t *chain, unsigned n)
{
    for (unsigned i = 0; n > 1 && anchor->crl != NULL && i < n; i++)
        if (crl_names(anchor->crl, chain[i]))
            return true;
    return false;
}

static int check_chain(const struct anchor *anchor, const gnutls_x509_crt_t *chain, unsigned n,
                       msec now, struct err *err)
{
    unsigned status = 0;
    int rc = gnutls_x509_trust_list_verify_crt2(
        anchor->list, (gnutls_x509_crt_t *)(uintptr_t)chain, n, NULL, 0,
        GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DO_NOT_ALLOW_SAME, &status, NULL);
    if (rc < 0)
        return tls_error(err, rc, "certificate");
    if ((status & GNUTLS_CERT_REVOKED) != 0 || is_revoked(anchor, chain, n))
        return err_set(err, ERR_DENIED, "certificate revoked");
    if (status != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "certificate not signed by the cluster's root");
    for (unsigned i = 0; i < n; i++)
        if ((rc = check_time(chain[i], now, err)) < 0)
            return rc;
    return 0;
}

int anchor_verify(const struct anchor *anchor, const gnutls_x509_crt_t *chain, unsigned n,
                  const char *cluster, enum identity_use use, msec now, struct subject *ret,
                  struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_UNAUTHENTICATED, "no certificate");
    struct subject s;
    int rc;
    if ((rc = check_chain(anchor, chain, n, now, err)) < 0 ||
        (rc = subject_read(chain[0], cluster, &s, err)) < 0)
        return rc;
    if (s.use != use)
        return err_set(err, ERR_DENIED, "certificate of %s %s where a %s's is wanted",
                       use_name(s.use), s.name, use_name(use));
    if ((rc = check_usage(chain[0], use, err)) < 0)
        return rc;
    *ret = s;
    return 0;
}

int anchor_verify_issuer(const struct anchor *anchor, gnutls_x509_crt_t crt, msec now,
                         struct err *err)
{
    int rc = check_chain(anchor, &crt, 1, now, err);
    if (rc == 0 && gnutls_x509_crt_get_basic_constraints(crt, NULL, NULL, NULL) <= 0)
        return err_set(err, ERR_DENIED, "certificate of no authority");
    return rc;
}
