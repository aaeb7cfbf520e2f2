#include "tls/pki.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <stdio.h>

#include "tls/file.h"
#include "tls/handles.h"
#include "tls/revoked.h"

#define RSA_BITS 3072    /* as strong as P-256 */
#define CLOCK_SKEW_S 300 /* a new certificate is valid on a host whose clock is this late */
#define DAY_S 86400
#define PEM_MAX 65536

#define ISSUER_UNIT "issuer"

static const char *const root_names[] = {[ROOT_MACHINES] = "machines", [ROOT_PEOPLE] = "people"};

void pki_root_done(struct pki_root *root)
{
    crt_freep(&root->crt);
    key_freep(&root->key);
    *root = (struct pki_root){0};
}

void pki_pair_done(struct pki_pair *pair)
{
    crt_freep(&pair->crt);
    key_freep(&pair->key);
    *pair = (struct pki_pair){0};
}

static int generate(bool rsa, gnutls_x509_privkey_t *ret, struct err *err)
{
    _cleanup_(key_freep) gnutls_x509_privkey_t key = NULL;
    int rc = gnutls_x509_privkey_init(&key);
    if (rc == 0)
        rc = gnutls_x509_privkey_generate(
            key, rsa ? GNUTLS_PK_RSA : GNUTLS_PK_ECDSA,
            rsa ? RSA_BITS : GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rc < 0)
        return tls_error(err, rc, "making a key");
    *ret = TAKE_PTR(key);
    return 0;
}

int pki_key_generate(enum identity_use use, gnutls_x509_privkey_t *ret, struct err *err)
{
    return generate(use == USE_LIBVIRT || use == USE_QEMU, ret, err);
}

/* What every certificate has: version, a serial number, its times. A root is nobody's. */
static int set_basics(gnutls_x509_crt_t crt, enum identity_use use, const char *name, int days,
                      msec now)
{
    uint8_t serial[SERIAL_BYTES], random[SERIAL_RANDOM];
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof random);
    if (rc < 0)
        return rc;
    serial_make(use, name, random, serial);
    time_t from = (time_t)(now / 1000) - CLOCK_SKEW_S;
    if ((rc = gnutls_x509_crt_set_version(crt, 3)) < 0 ||
        (rc = gnutls_x509_crt_set_serial(crt, serial, sizeof serial)) < 0 ||
        (rc = gnutls_x509_crt_set_activation_time(crt, from)) < 0 ||
        (rc = gnutls_x509_crt_set_expiration_time(crt,
                                                  (time_t)(now / 1000) + (time_t)days * DAY_S)) < 0)
        return rc;
    return 0;
}

static int set_dn(gnutls_x509_crt_t crt, const char *oid, const char *value)
{
    return gnutls_x509_crt_set_dn_by_oid(crt, oid, 0, value, (unsigned)strlen(value));
}

static int key_id(gnutls_x509_crt_t crt, uint8_t ret[HASH_SIZE])
{
    size_t len = HASH_SIZE;
    return gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, ret, &len);
}

static int set_subject_key_id(gnutls_x509_crt_t crt)
{
    uint8_t id[HASH_SIZE];
    int rc = key_id(crt, id);
    return rc < 0 ? rc : gnutls_x509_crt_set_subject_key_id(crt, id, 20);
}

static int set_authority_key_id(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer)
{
    uint8_t id[HASH_SIZE];
    size_t len = sizeof id;
    int rc = gnutls_x509_crt_get_subject_key_id(issuer, id, &len, NULL);
    return rc < 0 ? rc : gnutls_x509_crt_set_authority_key_id(crt, id, len);
}

/* GnuTLS verifies what was imported: a certificate just made lacks the parts it keeps aside. */
static int reread(gnutls_x509_crt_t *crt)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t fresh = NULL;
    _cleanup_(datum_done) gnutls_datum_t der = {0};
    int rc;
    if ((rc = gnutls_x509_crt_export2(*crt, GNUTLS_X509_FMT_DER, &der)) < 0 ||
        (rc = gnutls_x509_crt_init(&fresh)) < 0 ||
        (rc = gnutls_x509_crt_import(fresh, &der, GNUTLS_X509_FMT_DER)) < 0)
        return rc;
    gnutls_x509_crt_deinit(*crt);
    *crt = TAKE_PTR(fresh);
    return 0;
}

/* virt-pki-validate wants the root's common name to be its leaves' organization. below: how many
 * authorities may stand under this one; negative: any number. */
static int fill_authority(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *cluster,
                          const char *unit, int below)
{
    int rc;
    if ((rc = gnutls_x509_crt_set_key(crt, key)) < 0 ||
        (rc = set_dn(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, unit)) < 0 ||
        (rc = set_dn(crt, GNUTLS_OID_X520_COMMON_NAME, cluster)) < 0 ||
        (rc = gnutls_x509_crt_set_basic_constraints(crt, 1, below)) < 0 ||
        (rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)) <
            0)
        return rc;
    return set_subject_key_id(crt);
}

static int fill_root(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *cluster,
                     const char *unit, int days, msec now)
{
    int rc;
    if ((rc = set_basics(crt, USE_COUNT, "root", days, now)) < 0 ||
        (rc = fill_authority(crt, key, cluster, unit, -1)) < 0)
        return rc;
    return gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

/* All issuers of a cluster have one name, so that one list in that name is for all of them; which
 * host each is for stands beside it. */
static int fill_issuer(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key,
                       const struct pki_root *root, const struct cluster *cluster, const char *host,
                       int days, msec now)
{
    int rc;
    if ((rc = set_basics(crt, USE_COUNT, "issuer", days, now)) < 0 ||
        (rc = fill_authority(crt, key, cluster->name, ISSUER_UNIT, 0)) < 0 ||
        (rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host,
                                                   (unsigned)strlen(host), GNUTLS_FSAN_SET)) < 0 ||
        (rc = set_authority_key_id(crt, root->crt)) < 0)
        return rc;
    return gnutls_x509_crt_sign2(crt, root->crt, root->key, GNUTLS_DIG_SHA256, 0);
}

int pki_issuer_create(const struct pki_root *root, const struct cluster *cluster, const char *host,
                      int days, msec now, struct pki_root *ret, struct err *err)
{
    _cleanup_(pki_root_done) struct pki_root issuer = {.kind = ROOT_MACHINES};
    REQUIRE(root->kind == ROOT_MACHINES);
    if (days < 1 || days > PKI_ROOT_DAYS)
        return err_set(err, ERR_INVALID, "%d days: wants 1 to %d", days, PKI_ROOT_DAYS);
    int rc;
    if ((rc = name_check("host", host, err)) < 0 || (rc = generate(true, &issuer.key, err)) < 0)
        return rc;
    if ((rc = gnutls_x509_crt_init(&issuer.crt)) < 0 ||
        (rc = fill_issuer(issuer.crt, issuer.key, root, cluster, host, days, now)) < 0 ||
        (rc = reread(&issuer.crt)) < 0)
        return tls_error(err, rc, "making an issuer's certificate");
    *ret = issuer;
    issuer = (struct pki_root){0};
    return 0;
}

int pki_root_create(const struct cluster *cluster, enum pki_root_kind kind, int days, msec now,
                    struct pki_root *ret, struct err *err)
{
    _cleanup_(pki_root_done) struct pki_root root = {.kind = kind};
    int rc = generate(kind == ROOT_MACHINES, &root.key, err);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_x509_crt_init(&root.crt)) < 0 ||
        (rc = fill_root(root.crt, root.key, cluster->name, root_names[kind], days, now)) < 0 ||
        (rc = reread(&root.crt)) < 0)
        return tls_error(err, rc, "making the %s root", root_names[kind]);
    *ret = root;
    root = (struct pki_root){0};
    return 0;
}

int pki_certificate_life(const char *path, msec *ret_from, msec *ret_to, struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    int rc = crt_load(path, &crt, err);
    if (rc < 0)
        return rc;
    *ret_from = (msec)gnutls_x509_crt_get_activation_time(crt) * 1000;
    *ret_to = (msec)gnutls_x509_crt_get_expiration_time(crt) * 1000;
    return 0;
}

int pki_certificate_end(const char *path, msec *ret, struct err *err)
{
    msec from;
    return pki_certificate_life(path, &from, ret, err);
}

static int load_key(const char *path, gnutls_x509_privkey_t *ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(key_freep) gnutls_x509_privkey_t key = NULL;
    size_t len;
    int rc = file_read(path, PEM_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    gnutls_datum_t pem = datum_of(text, len);
    if ((rc = gnutls_x509_privkey_init(&key)) == 0)
        rc = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_memset(text, 0, len);
    if (rc < 0)
        return tls_error(err, rc, "%s", path);
    *ret = TAKE_PTR(key);
    return 0;
}

static int check_pair(const struct pki_root *root, const char *crt_path, const char *key_path,
                      struct err *err)
{
    uint8_t a[HASH_SIZE], b[HASH_SIZE];
    size_t len = sizeof b;
    int rc = key_id(root->crt, a);
    if (rc == 0)
        rc = gnutls_x509_privkey_get_key_id(root->key, GNUTLS_KEYID_USE_SHA256, b, &len);
    if (rc < 0)
        return tls_error(err, rc, "%s", crt_path);
    if (memcmp(a, b, sizeof a) != 0)
        return err_set(err, ERR_CONFLICT, "%s is not the key of %s", key_path, crt_path);
    return 0;
}

static int load_authority(const char *crt, const char *key, enum pki_root_kind kind,
                          struct pki_root *ret, struct err *err)
{
    _cleanup_(pki_root_done) struct pki_root root = {.kind = kind};
    int rc;
    if ((rc = crt_load(crt, &root.crt, err)) < 0 || (rc = load_key(key, &root.key, err)) < 0 ||
        (rc = check_pair(&root, crt, key, err)) < 0)
        return rc;
    if (gnutls_x509_crt_get_basic_constraints(root.crt, NULL, NULL, NULL) <= 0)
        return err_set(err, ERR_INVALID, "%s: it is no certificate authority", crt);
    *ret = root;
    root = (struct pki_root){0};
    return 0;
}

int pki_issuer_load(const char *crt_path, const char *key_path, struct pki_root *ret,
                    struct err *err)
{
    return load_authority(crt_path, key_path, ROOT_MACHINES, ret, err);
}

int pki_root_load(const char *directory, enum pki_root_kind kind, struct pki_root *ret,
                  struct err *err)
{
    _cleanup_(freep) char *crt = xasprintf("%s/%s.pem", directory, root_names[kind]);
    _cleanup_(freep) char *key = xasprintf("%s/%s.key", directory, root_names[kind]);
    return load_authority(crt, key, kind, ret, err);
}

int pki_root_save(const char *directory, const struct pki_root *root, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s.pem", directory, root_names[root->kind]);
    _cleanup_(freep) char *key_path = xasprintf("%s/%s.key", directory, root_names[root->kind]);
    _cleanup_(freep) char *pem = pki_crt_pem(root->crt);
    _cleanup_(freep) char *key = NULL;
    int rc = pki_key_pem(root->key, NULL, &key, err);
    if (rc < 0)
        return rc;
    rc = file_write(key_path, key, strlen(key), FILE_KEY_MODE, FILE_ANY_GROUP, err);
    gnutls_memset(key, 0, strlen(key));
    if (rc < 0)
        return rc;
    return file_write(path, pem, strlen(pem), FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}

static int add_address(gnutls_x509_crt_t crt, const char *text, struct err *err)
{
    uint8_t ip[16];
    unsigned len = inet_pton(AF_INET, text, ip) == 1    ? 4
                   : inet_pton(AF_INET6, text, ip) == 1 ? 16
                                                        : 0;
    if (len == 0)
        return err_set(err, ERR_INVALID, "\"%.60s\" is not an IP address", text);
    int rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, len,
                                                  GNUTLS_FSAN_APPEND);
    return rc < 0 ? tls_error(err, rc, "address %s", text) : 0;
}

static int add_dns(gnutls_x509_crt_t crt, const char *text, struct err *err)
{
    if (strlen(text) > 253 ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789.-_") != strlen(text) ||
        text[0] == '\0')
        return err_set(err, ERR_INVALID, "\"%.80s\" is not a DNS name", text);
    int rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, text,
                                                  (unsigned)strlen(text), GNUTLS_FSAN_APPEND);
    return rc < 0 ? tls_error(err, rc, "DNS name %s", text) : 0;
}

static int set_names(gnutls_x509_crt_t crt, const struct cluster *cluster,
                     const struct pki_request *request, struct err *err)
{
    char uri[URI_SIZE];
    uri_format(cluster->name, request->use, request->name, uri);
    int rc;
    if ((rc = set_dn(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, cluster->name)) < 0 ||
        (rc = set_dn(crt, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, use_name(request->use))) < 0 ||
        (rc = set_dn(crt, GNUTLS_OID_X520_COMMON_NAME, request->name)) < 0 ||
        (rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_URI, uri, (unsigned)strlen(uri),
                                                   GNUTLS_FSAN_SET)) < 0)
        return tls_error(err, rc, "names of %s", request->name);
    for (size_t i = 0; i < request->n_dns; i++)
        if ((rc = add_dns(crt, request->dns[i], err)) < 0)
            return rc;
    for (size_t i = 0; i < request->n_addresses; i++)
        if ((rc = add_address(crt, request->addresses[i], err)) < 0)
            return rc;
    return 0;
}

static int set_usage(gnutls_x509_crt_t crt, enum identity_use use)
{
    unsigned usage = GNUTLS_KEY_DIGITAL_SIGNATURE;
    if (use == USE_LIBVIRT || use == USE_QEMU)
        usage |= GNUTLS_KEY_KEY_ENCIPHERMENT;
    int rc;
    if ((rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) < 0 ||
        (rc = gnutls_x509_crt_set_key_usage(crt, usage)) < 0 ||
        (rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0)) < 0)
        return rc;
    if (use != USE_PERSON)
        rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    return rc;
}

static int check_request(const struct pki_root *root, const struct pki_request *request,
                         struct err *err)
{
    bool person = request->use == USE_PERSON;
    REQUIRE(person == (root->kind == ROOT_PEOPLE));
    if (request->days < 1 || request->days > PKI_ROOT_DAYS)
        return err_set(err, ERR_INVALID, "%d days: wants 1 to %d", request->days, PKI_ROOT_DAYS);
    return name_check(person ? "person" : "host", request->name, err);
}

int pki_certify(const struct pki_root *root, const struct cluster *cluster,
                const struct pki_request *request, gnutls_pubkey_t key, msec now,
                gnutls_x509_crt_t *ret, struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    int rc = check_request(root, request, err);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = set_basics(crt, request->use, request->name, request->days, now)) < 0 ||
        (rc = gnutls_x509_crt_set_pubkey(crt, key)) < 0 || (rc = set_usage(crt, request->use)) < 0)
        return tls_error(err, rc, "certificate for %s", request->name);
    if ((rc = set_names(crt, cluster, request, err)) < 0)
        return rc;
    if ((rc = set_subject_key_id(crt)) < 0 || (rc = set_authority_key_id(crt, root->crt)) < 0 ||
        (rc = gnutls_x509_crt_sign2(crt, root->crt, root->key, GNUTLS_DIG_SHA256, 0)) < 0 ||
        (rc = reread(&crt)) < 0)
        return tls_error(err, rc, "certificate for %s", request->name);
    *ret = TAKE_PTR(crt);
    return 0;
}

static int public_half(gnutls_x509_privkey_t key, gnutls_pubkey_t ret)
{
    _cleanup_(privkey_freep) gnutls_privkey_t abstract = NULL;
    int rc;
    if ((rc = gnutls_privkey_init(&abstract)) < 0 ||
        (rc = gnutls_privkey_import_x509(abstract, key, 0)) < 0)
        return rc;
    return gnutls_pubkey_import_privkey(ret, abstract, 0, 0);
}

int pki_issue(const struct pki_root *root, const struct cluster *cluster,
              const struct pki_request *request, msec now, struct pki_pair *ret, struct err *err)
{
    _cleanup_(pki_pair_done) struct pki_pair pair = {0};
    _cleanup_(pubkey_freep) gnutls_pubkey_t public = NULL;
    int rc = check_request(root, request, err);
    if (rc < 0 || (rc = pki_key_generate(request->use, &pair.key, err)) < 0)
        return rc;
    if ((rc = gnutls_pubkey_init(&public)) < 0 || (rc = public_half(pair.key, public)) < 0)
        return tls_error(err, rc, "key of %s", request->name);
    if ((rc = pki_certify(root, cluster, request, public, now, &pair.crt, err)) < 0)
        return rc;
    *ret = pair;
    pair = (struct pki_pair){0};
    return 0;
}

/* GnuTLS' datum -> a string of our own; the datum is wiped and freed. */
static char *datum_take(gnutls_datum_t *d)
{
    char *text = xmalloc((size_t)d->size + 1);
    memcpy(text, d->data, d->size);
    text[d->size] = '\0';
    gnutls_memset(d->data, 0, d->size);
    gnutls_free(d->data);
    return text;
}

char *pki_crt_pem(gnutls_x509_crt_t crt)
{
    gnutls_datum_t out;
    int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out);
    REQUIRE(rc == 0);
    return datum_take(&out);
}

int pki_key_pem(gnutls_x509_privkey_t key, const char *passphrase, char **ret, struct err *err)
{
    gnutls_datum_t out;
    unsigned flags = passphrase != NULL ? GNUTLS_PKCS_PBES2_AES_256 : GNUTLS_PKCS_PLAIN;
    int rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, passphrase, flags, &out);
    if (rc < 0)
        return tls_error(err, rc, "writing a key");
    *ret = datum_take(&out);
    return 0;
}

void pki_serial(gnutls_x509_crt_t crt, char ret[SERIAL_SIZE])
{
    uint8_t serial[(SERIAL_SIZE - 1) / 2];
    size_t len = sizeof serial;
    if (gnutls_x509_crt_get_serial(crt, serial, &len) < 0)
        len = 0;
    for (size_t i = 0; i < len; i++)
        snprintf(ret + 2 * i, 3, "%02X", serial[i]);
    ret[2 * len] = '\0';
}

static bool is_by_root(gnutls_x509_crl_t crl, gnutls_x509_crt_t root)
{
    _cleanup_(datum_done) gnutls_datum_t issuer = {0}, subject = {0};
    return gnutls_x509_crl_get_raw_issuer_dn(crl, &issuer) == 0 &&
           gnutls_x509_crt_get_raw_dn(root, &subject) == 0 && issuer.size == subject.size &&
           memcmp(issuer.data, subject.data, issuer.size) == 0;
}

static uint64_t crl_number(gnutls_x509_crl_t crl)
{
    uint8_t bytes[32];
    size_t len = sizeof bytes;
    uint64_t n = 0;
    if (gnutls_x509_crl_get_number(crl, bytes, &len, NULL) < 0)
        return 0;
    for (size_t i = 0; i < len; i++)
        n = n << 8 | bytes[i];
    return n;
}

static int copy_entries(gnutls_x509_crl_t from, gnutls_x509_crl_t to)
{
    int n = gnutls_x509_crl_get_crt_count(from);
    for (int i = 0; i < n; i++) {
        uint8_t serial[64];
        size_t len = sizeof serial;
        time_t when;
        int rc = gnutls_x509_crl_get_crt_serial(from, (unsigned)i, serial, &len, &when);
        if (rc < 0 || (rc = gnutls_x509_crl_set_crt_serial(to, serial, len, when)) < 0)
            return rc;
    }
    return n < 0 ? n : 0;
}

/* Take over what the root's own list among those in text says. */
static int follow(const struct pki_root *root, const char *text, gnutls_x509_crl_t to,
                  uint64_t *number)
{
    gnutls_datum_t pem = datum_text(text);
    gnutls_x509_crl_t *lists;
    unsigned n;
    int rc = gnutls_x509_crl_list_import2(&lists, &n, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0)
        return rc;
    rc = 0;
    for (unsigned i = 0; i < n; i++) {
        if (rc == 0 && is_by_root(lists[i], root->crt)) {
            *number = crl_number(lists[i]) + 1;
            rc = copy_entries(lists[i], to);
        }
        gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return rc;
}

static int fill_crl(const struct pki_root *root, uint64_t number, int days, msec now,
                    gnutls_x509_crl_t crl)
{
    uint8_t id[HASH_SIZE], be[8];
    size_t len = sizeof id;
    for (size_t i = 0; i < sizeof be; i++)
        be[i] = (uint8_t)(number >> (56 - 8 * i));
    size_t skip = 0; /* DER integers are minimal and positive */
    while (skip < sizeof be - 1 && be[skip] == 0 && be[skip + 1] < 0x80)
        skip++;
    time_t t = (time_t)(now / 1000);
    int rc;
    if ((rc = gnutls_x509_crl_set_version(crl, 2)) < 0 ||
        (rc = gnutls_x509_crl_set_this_update(crl, t)) < 0 ||
        (rc = gnutls_x509_crl_set_next_update(crl, t + (time_t)days * DAY_S)) < 0 ||
        (rc = gnutls_x509_crl_set_number(crl, be + skip, sizeof be - skip)) < 0 ||
        (rc = gnutls_x509_crt_get_subject_key_id(root->crt, id, &len, NULL)) < 0 ||
        (rc = gnutls_x509_crl_set_authority_key_id(crl, id, len)) < 0)
        return rc;
    return gnutls_x509_crl_sign2(crl, root->crt, root->key, GNUTLS_DIG_SHA256, 0);
}

static int copy_list(gnutls_x509_crl_t from, gnutls_x509_crl_t to)
{
    int rc;
    if ((rc = gnutls_x509_crl_set_version(to, 2)) < 0 ||
        (rc = gnutls_x509_crl_set_this_update(to, gnutls_x509_crl_get_this_update(from))) < 0 ||
        (rc = gnutls_x509_crl_set_next_update(to, gnutls_x509_crl_get_next_update(from))) < 0)
        return rc;
    return copy_entries(from, to);
}

/* A certificate for its name alone: a list is written in it. */
static int issuers_name(gnutls_x509_crt_t root, gnutls_x509_crt_t ret)
{
    char cluster[NAME_SIZE];
    size_t len = sizeof cluster;
    int rc = gnutls_x509_crt_get_dn_by_oid(root, GNUTLS_OID_X520_COMMON_NAME, 0, 0, cluster, &len);
    if (rc < 0 || (rc = set_dn(ret, GNUTLS_OID_X520_ORGANIZATIONAL_UNIT_NAME, ISSUER_UNIT)) < 0)
        return rc;
    return set_dn(ret, GNUTLS_OID_X520_COMMON_NAME, cluster);
}

int pki_issuers_crl(gnutls_x509_crt_t root, gnutls_x509_crl_t list, char **ret, struct err *err)
{
    _cleanup_(crl_freep) gnutls_x509_crl_t copy = NULL;
    _cleanup_(crt_freep) gnutls_x509_crt_t name = NULL;
    _cleanup_(key_freep) gnutls_x509_privkey_t key = NULL;
    gnutls_datum_t out;
    int rc = generate(false, &key, err);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_x509_crl_init(&copy)) < 0 || (rc = gnutls_x509_crt_init(&name)) < 0 ||
        (rc = issuers_name(root, name)) < 0 || (rc = gnutls_x509_crt_set_key(name, key)) < 0 ||
        (rc = copy_list(list, copy)) < 0 ||
        (rc = gnutls_x509_crl_sign2(copy, name, key, GNUTLS_DIG_SHA256, 0)) < 0 ||
        (rc = gnutls_x509_crl_export2(copy, GNUTLS_X509_FMT_PEM, &out)) < 0)
        return tls_error(err, rc, "revocation list of the issuers");
    *ret = datum_take(&out);
    return 0;
}

int pki_crl(const struct pki_root *root, const char *previous, gnutls_x509_crt_t revoke, int days,
            msec now, char **ret, struct err *err)
{
    _cleanup_(crl_freep) gnutls_x509_crl_t crl = NULL;
    uint64_t number = 1;
    gnutls_datum_t out;
    int rc;
    if ((rc = gnutls_x509_crl_init(&crl)) < 0 ||
        (previous != NULL && (rc = follow(root, previous, crl, &number)) < 0) ||
        (revoke != NULL && (rc = gnutls_x509_crl_set_crt(crl, revoke, (time_t)(now / 1000))) < 0) ||
        (rc = fill_crl(root, number, days, now, crl)) < 0 ||
        (rc = gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &out)) < 0)
        return tls_error(err, rc, "revocation list of the %s root", root_names[root->kind]);
    *ret = datum_take(&out);
    return 0;
}

void pki_names_done(struct pki_names *names)
{
    for (size_t i = 0; i < names->n_dns; i++)
        free((char *)(uintptr_t)names->dns[i]);
    for (size_t i = 0; i < names->n_addresses; i++)
        free((char *)(uintptr_t)names->addresses[i]);
    names->n_dns = names->n_addresses = 0;
}

static int take_name(int type, const char *value, size_t len, struct pki_names *names,
                     struct err *err)
{
    char text[INET6_ADDRSTRLEN];
    bool dns = type == GNUTLS_SAN_DNSNAME;
    if (!dns && type != GNUTLS_SAN_IPADDRESS)
        return 0;
    if ((dns ? names->n_dns : names->n_addresses) == PKI_NAMES_MAX)
        return err_set(err, ERR_LIMIT, "certificate with more than %d names", PKI_NAMES_MAX);
    if (dns)
        names->dns[names->n_dns++] = xasprintf("%.*s", (int)len, value);
    else if ((len == 4 || len == 16) &&
             inet_ntop(len == 4 ? AF_INET : AF_INET6, value, text, sizeof text) != NULL)
        names->addresses[names->n_addresses++] = xstrdup(text);
    return 0;
}

int pki_names_read(gnutls_x509_crt_t crt, struct pki_names *ret, struct err *err)
{
    _cleanup_(pki_names_done) struct pki_names names = {.n_dns = 0};
    for (unsigned i = 0;; i++) {
        char value[512];
        size_t len = sizeof value;
        int type = gnutls_x509_crt_get_subject_alt_name(crt, i, value, &len, NULL);
        if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            break;
        if (type < 0)
            return tls_error(err, type, "certificate's alternative name %u", i);
        int rc = take_name(type, value, len, &names, err);
        if (rc < 0)
            return rc;
    }
    *ret = names;
    names.n_dns = names.n_addresses = 0;
    return 0;
}
