#include "tls/revoked.h"

#include "tls/handles.h"
#include "tls/pki.h"

/* Positive and not 0; numbers of older versions are shorter. */
static const uint8_t mark[] = {0x53, 0x4b};

#define HASHED (SERIAL_BYTES - SERIAL_RANDOM - sizeof mark)

static void hash_of(enum identity_use use, const char *name, uint8_t ret[HASHED])
{
    uint8_t hash[HASH_SIZE];
    _cleanup_(freep) char *text =
        xasprintf("%s/%s", use < USE_COUNT ? use_name(use) : "root", name);
    hash_domain("skein.serial/1", text, strlen(text), hash);
    memcpy(ret, hash, HASHED);
}

void serial_make(enum identity_use use, const char *name, const uint8_t random[SERIAL_RANDOM],
                 uint8_t ret[SERIAL_BYTES])
{
    memcpy(ret, mark, sizeof mark);
    hash_of(use, name, ret + sizeof mark);
    memcpy(ret + sizeof mark + HASHED, random, SERIAL_RANDOM);
}

void revoked_done(struct revoked *r)
{
    free(TAKE_PTR(r->list));
    free(TAKE_PTR(r->issuers_list));
    free(TAKE_PTR(r->serials));
    r->n = r->cap = 0;
}

/* The root's own list among those in text; *ret NULL: there is none. */
static int list_of(gnutls_x509_crt_t root, const char *text, gnutls_x509_crl_t *ret)
{
    gnutls_datum_t pem = datum_text(text);
    gnutls_x509_crl_t *lists;
    unsigned n;
    int rc = gnutls_x509_crl_list_import2(&lists, &n, &pem, GNUTLS_X509_FMT_PEM, 0);
    *ret = NULL;
    if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND)
        return 0;
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < n; i++) {
        if (*ret == NULL && gnutls_x509_crl_check_issuer(lists[i], root) != 0)
            *ret = lists[i];
        else
            gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return 0;
}

static bool stands_in(gnutls_x509_crl_t list, const uint8_t *serial, size_t len)
{
    int n = list != NULL ? gnutls_x509_crl_get_crt_count(list) : 0;
    for (int i = 0; i < n; i++) {
        uint8_t other[64];
        size_t other_len = sizeof other;
        if (gnutls_x509_crl_get_crt_serial(list, (unsigned)i, other, &other_len, NULL) == 0 &&
            other_len == len && memcmp(other, serial, len) == 0)
            return true;
    }
    return false;
}

/* Whom an issuer made hosts of, its number does not say: it is about everybody. */
static bool is_issuers(const uint8_t serial[SERIAL_BYTES])
{
    uint8_t hash[HASHED];
    hash_of(USE_COUNT, "issuer", hash);
    return memcmp(serial + sizeof mark, hash, HASHED) == 0;
}

static int add_new(gnutls_x509_crl_t list, gnutls_x509_crl_t older, struct revoked *r)
{
    int n = gnutls_x509_crl_get_crt_count(list);
    for (int i = 0; i < n; i++) {
        uint8_t serial[64];
        size_t len = sizeof serial;
        int rc = gnutls_x509_crl_get_crt_serial(list, (unsigned)i, serial, &len, NULL);
        if (rc < 0)
            return rc;
        if (stands_in(older, serial, len))
            continue;
        if (len != SERIAL_BYTES || memcmp(serial, mark, sizeof mark) != 0 || is_issuers(serial)) {
            r->unmarked = true;
            continue;
        }
        ARRAY_RESERVE(r->serials, r->cap, r->n + 1);
        memcpy(r->serials[r->n++], serial, SERIAL_BYTES);
    }
    return n < 0 ? n : 0;
}

int revoked_since(const char *root, const char *crls, const char *older, struct revoked *ret,
                  struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    _cleanup_(crl_freep) gnutls_x509_crl_t list = NULL;
    _cleanup_(crl_freep) gnutls_x509_crl_t before = NULL;
    _cleanup_(revoked_done) struct revoked r = {0};
    gnutls_datum_t pem = datum_text(root), out;
    int rc;
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM)) < 0 ||
        (rc = list_of(crt, crls, &list)) < 0 ||
        (older != NULL && (rc = list_of(crt, older, &before)) < 0) ||
        (list != NULL && (rc = add_new(list, before, &r)) < 0) ||
        (list != NULL && (rc = gnutls_x509_crl_export2(list, GNUTLS_X509_FMT_PEM, &out)) < 0))
        return tls_error(err, rc, "list of revocations");
    if (list != NULL) {
        r.list = xasprintf("%.*s", (int)out.size, (char *)out.data);
        gnutls_free(out.data);
    }
    if (list != NULL && (rc = pki_issuers_crl(crt, list, &r.issuers_list, err)) < 0)
        return rc;
    *ret = r;
    r = (struct revoked){0};
    return 0;
}

bool revoked_names(const struct revoked *r, enum identity_use use, const char *name)
{
    uint8_t hash[HASHED];
    hash_of(use, name, hash);
    for (size_t i = 0; i < r->n; i++)
        if (memcmp(r->serials[i] + sizeof mark, hash, HASHED) == 0)
            return true;
    return r->unmarked;
}
