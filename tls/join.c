#include "tls/join.h"

#include <stdio.h>

#include "proto/canon.h"
#include "tls/anchor.h"
#include "tls/handles.h"
#include "tls/roster.h"

#define REQUEST_SCHEMA "skein.join/1"
#define ANSWER_SCHEMA "skein.joined/1"
#define ADDRESS_MAX 63 /* "[IPv6]:PORT" */
#define RSA_MIN 3072
#define RSA_MAX 4096 /* more is work for whoever checks it, and nothing else */

/* ---- requests: who asks ---- */

static int make_csr(gnutls_x509_privkey_t key, char **ret, struct err *err)
{
    gnutls_x509_crq_t crq = NULL;
    gnutls_datum_t out = {0};
    int rc = gnutls_x509_crq_init(&crq);
    if (rc < 0)
        return tls_error(err, rc, "certificate request");
    if ((rc = gnutls_x509_crq_set_version(crq, 1)) < 0 ||
        (rc = gnutls_x509_crq_set_key(crq, key)) < 0 ||
        (rc = gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0)) < 0 ||
        (rc = gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &out)) < 0)
        err_set(err, ERR_TLS, "certificate request: %s", gnutls_strerror(rc));
    else
        *ret = xasprintf("%.*s", (int)out.size, (char *)out.data);
    gnutls_free(out.data);
    gnutls_x509_crq_deinit(crq);
    return rc < 0 ? -ERR_TLS : 0;
}

/* New; NULL when there is nothing in it. */
static json_t *present_json(char *const present[JOIN_USES])
{
    json_t *o = NULL;
    for (enum identity_use use = 0; present != NULL && use < JOIN_USES; use++) {
        if (present[use] == NULL)
            continue;
        if (o == NULL)
            o = json_object();
        json_object_set_new(o, use_name(use), json_string(present[use]));
    }
    return o;
}

int join_request_write(const char *host, const char *secret,
                       const gnutls_x509_privkey_t keys[JOIN_USES], char *const present[JOIN_USES],
                       char **ret, struct err *err)
{
    _cleanup_json_ json_t *requests = json_object();
    for (enum identity_use use = 0; use < JOIN_USES; use++) {
        _cleanup_(freep) char *csr = NULL;
        int rc = keys[use] != NULL ? make_csr(keys[use], &csr, err) : 0;
        if (rc < 0)
            return rc;
        if (csr != NULL)
            json_object_set_new(requests, use_name(use), json_string(csr));
    }
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:s, s:s*, s:O, s:o*}", "schema", REQUEST_SCHEMA, "host", host, "secret",
                  secret, "requests", requests, "present", present_json(present));
    if (doc == NULL)
        return err_set(err, ERR_INVALID, "the host's name is not UTF-8");
    return canon_dump(doc, ret, NULL, err);
}

/* ---- requests: who is asked ---- */

void join_request_done(struct join_request *request)
{
    for (size_t i = 0; i < JOIN_USES; i++) {
        pubkey_freep(&request->keys[i]);
        request->keys[i] = NULL;
        free(TAKE_PTR(request->present[i]));
    }
    explicit_bzero(request->secret, sizeof request->secret);
}

/* An exponent as large as the modulus makes one check of a signature take a tenth of a second. */
static bool has_small_exponent(gnutls_pubkey_t key)
{
    _cleanup_(datum_done) gnutls_datum_t m = {0}, e = {0};
    return gnutls_pubkey_export_rsa_raw2(key, &m, &e, GNUTLS_EXPORT_FLAG_NO_LZ) == 0 && e.size <= 4;
}

static int check_key(gnutls_pubkey_t key, enum identity_use use, struct err *err)
{
    unsigned bits = 0;
    gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;
    int algorithm = gnutls_pubkey_get_pk_algorithm(key, &bits);
    if (use == USE_AGENT) {
        if (algorithm != GNUTLS_PK_ECDSA ||
            gnutls_pubkey_export_ecc_raw2(key, &curve, NULL, NULL, 0) < 0 ||
            curve != GNUTLS_ECC_CURVE_SECP256R1)
            return err_set(err, ERR_INVALID, "wants an ECDSA key on P-256");
    } else if (algorithm != GNUTLS_PK_RSA || bits < RSA_MIN || bits > RSA_MAX ||
               !has_small_exponent(key)) {
        return err_set(err, ERR_INVALID, "wants an RSA key of %d to %d bits", RSA_MIN, RSA_MAX);
    }
    return 0;
}

static int read_key(gnutls_x509_crq_t crq, enum identity_use use, gnutls_pubkey_t *ret,
                    struct err *err)
{
    _cleanup_(pubkey_freep) gnutls_pubkey_t key = NULL;
    int rc;
    if ((rc = gnutls_pubkey_init(&key)) < 0 ||
        (rc = gnutls_pubkey_import_x509_crq(key, crq, 0)) < 0)
        return err_set(err, ERR_INVALID, "%s", gnutls_strerror(rc));
    if ((rc = check_key(key, use, err)) < 0)
        return rc;
    if (gnutls_x509_crq_verify(crq, 0) < 0)
        return err_set(err, ERR_UNAUTHENTICATED, "its key did not sign it");
    *ret = TAKE_PTR(key);
    return 0;
}

static int read_csr(const char *pem, enum identity_use use, gnutls_pubkey_t *ret, struct err *err)
{
    gnutls_x509_crq_t crq = NULL;
    gnutls_datum_t in = datum_text(pem);
    int rc = gnutls_x509_crq_init(&crq);
    if (rc < 0)
        return tls_error(err, rc, "certificate request");
    rc = gnutls_x509_crq_import(crq, &in, GNUTLS_X509_FMT_PEM);
    rc = rc < 0 ? err_set(err, ERR_INVALID, "%s", gnutls_strerror(rc))
                : read_key(crq, use, ret, err);
    gnutls_x509_crq_deinit(crq);
    return rc;
}

static int read_requests(const json_t *requests, struct join_request *r, struct err *err)
{
    size_t n = 0;
    for (enum identity_use use = 0; use < JOIN_USES; use++) {
        const char *pem = json_string_value(json_object_get(requests, use_name(use)));
        if (pem == NULL)
            continue;
        if (read_csr(pem, use, &r->keys[use], err) < 0)
            return err_wrap(err, "request for %s", use_name(use));
        n++;
    }
    if (!json_is_object(requests) || json_object_size(requests) != n ||
        join_request_role(r) == NULL)
        return err_set(err, ERR_INVALID, "requests: wants agent, or agent, libvirt and qemu");
    return 0;
}

static int read_present(const json_t *present, struct join_request *r, struct err *err)
{
    size_t n = 0;
    for (enum identity_use use = 0; use < JOIN_USES; use++) {
        const char *pem = json_string_value(json_object_get(present, use_name(use)));
        if (pem == NULL)
            continue;
        r->present[use] = xstrdup(pem);
        n++;
    }
    if (present != NULL && (!json_is_object(present) || json_object_size(present) != n))
        return err_set(err, ERR_INVALID, "present: wants agent, libvirt and qemu, as texts");
    return 0;
}

static bool is_secret(const char *text)
{
    return strlen(text) == HASH_HEX_SIZE - 1 && strspn(text, "0123456789abcdef") == strlen(text);
}

int join_request_read(const char *bytes, size_t len, struct join_request *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(join_request_done) struct join_request r = {.secret = ""};
    const char *schema, *host, *secret = NULL;
    json_t *requests, *present = NULL;
    uint8_t hash[HASH_SIZE];
    if (len > JOIN_REQUEST_MAX)
        return err_set(err, ERR_LIMIT, "a request of more than %u bytes", JOIN_REQUEST_MAX);
    int rc = canon_parse(bytes, len, "request", &doc, err);
    if (rc < 0)
        return rc;
    if (json_unpack(doc, "{s:s, s:s, s?s, s:o, s?o !}", "schema", &schema, "host", &host, "secret",
                    &secret, "requests", &requests, "present", &present) < 0 ||
        strcmp(schema, REQUEST_SCHEMA) != 0)
        return err_set(err, ERR_INVALID,
                       "wants schema " REQUEST_SCHEMA ", host, secret, requests and present alone");
    if ((rc = name_check("host", host, err)) < 0)
        return rc;
    if (secret != NULL && !is_secret(secret))
        return err_set(err, ERR_INVALID, "the token's secret is not of 64 hexadecimal digits");
    if ((rc = read_requests(requests, &r, err)) < 0 || (rc = read_present(present, &r, err)) < 0)
        return rc;
    snprintf(r.host, sizeof r.host, "%s", host);
    snprintf(r.secret, sizeof r.secret, "%s", secret != NULL ? secret : "");
    hash_domain(REQUEST_SCHEMA, bytes, len, hash);
    hash_hex(hash, r.digest);
    *ret = r;
    r = (struct join_request){.secret = ""};
    return 0;
}

const char *join_request_role(const struct join_request *r)
{
    bool libvirt = r->keys[USE_LIBVIRT] != NULL, qemu = r->keys[USE_QEMU] != NULL;
    if (r->keys[USE_AGENT] == NULL || libvirt != qemu)
        return NULL;
    return libvirt ? "host" : "agent";
}

/* ---- answers ---- */

char *join_answer_write(const struct join_answer *a)
{
    json_t *certificates = json_object();
    for (enum identity_use use = 0; use < JOIN_USES; use++)
        if (a->certificates[use] != NULL)
            json_object_set_new(certificates, use_name(use), json_string(a->certificates[use]));
    _cleanup_json_ json_t *doc = json_pack(
        "{s:s, s:{s:s, s:s}, s:o, s:s, s:s, s:s, s:s, s:s, s:O, s:O}", "schema", ANSWER_SCHEMA,
        "cluster", "name", a->cluster.name, "uuid", a->cluster.uuid, "certificates", certificates,
        "issuer", a->issuer, "machines", a->machines, "people", a->people, "crl", a->crl, "roster",
        a->roster, "peers", a->peers, "voters", a->voters);
    REQUIRE(doc != NULL);
    return json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
}

void join_answer_done(struct join_answer *answer)
{
    json_decref(answer->doc);
    *answer = (struct join_answer){0};
}

/* They are shown to be put into a configuration: addresses with a port, hosts' names, no more. */
static bool are_addresses(const json_t *list)
{
    static const char chars[] = "0123456789abcdefABCDEF.:[]";
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        if (text == NULL || strchr(text, ':') == NULL || strlen(text) > ADDRESS_MAX ||
            strspn(text, chars) != strlen(text))
            return false;
    }
    return json_is_array(list);
}

static bool are_hosts(const json_t *list)
{
    struct err err;
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item) || name_check("host", json_string_value(item), &err) < 0)
            return false;
    }
    return json_is_array(list);
}

int join_answer_read(const char *bytes, size_t len, struct join_answer *ret, struct err *err)
{
    _cleanup_(join_answer_done) struct join_answer a = {0};
    const char *schema = "", *name = "", *uuid = "";
    json_t *certificates = NULL, *peers = NULL, *voters = NULL;
    a.doc = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_unpack(a.doc, "{s:s, s:{s:s, s:s}, s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "schema",
                    &schema, "cluster", "name", &name, "uuid", &uuid, "certificates", &certificates,
                    "issuer", &a.issuer, "machines", &a.machines, "people", &a.people, "crl",
                    &a.crl, "roster", &a.roster, "peers", &peers, "voters", &voters) < 0 ||
        strcmp(schema, ANSWER_SCHEMA) != 0 || !are_addresses(peers) || !are_hosts(voters) ||
        !uuid_is_valid(uuid))
        return err_set(err, ERR_INVALID, "that is no answer of an issuer");
    int rc = name_check("cluster", name, err);
    if (rc < 0)
        return rc;
    snprintf(a.cluster.name, sizeof a.cluster.name, "%s", name);
    snprintf(a.cluster.uuid, sizeof a.cluster.uuid, "%s", uuid);
    a.peers = peers;
    a.voters = voters;
    for (enum identity_use use = 0; use < JOIN_USES; use++)
        a.certificates[use] = json_string_value(json_object_get(certificates, use_name(use)));
    *ret = a;
    a.doc = NULL;
    return 0;
}

static int key_digest(gnutls_x509_privkey_t key, uint8_t ret[HASH_SIZE])
{
    size_t len = HASH_SIZE;
    return gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, ret, &len);
}

/* One certificate and nothing beside it: it will stand in files whose readers believe all of them.
 */
static int check_single(const char *pem, const char *what, struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {0};
    int rc = chain_read(pem, &chain, err);
    if (rc < 0 || chain.n == 1)
        return rc;
    return err_set(err, ERR_UNAUTHENTICATED, "%s: %u certificates where one is wanted", what,
                   chain.n);
}

/* One root, which signed itself, whose key has this digest. */
static int check_root(const char *pem, const char *digest, const char *what, struct err *err)
{
    _cleanup_(chain_done) struct chain roots = {0};
    int rc;
    if ((rc = check_single(pem, what, err)) < 0 || (rc = chain_read(pem, &roots, err)) < 0)
        return rc;
    if (!root_has_key(roots.crts[0], digest))
        return err_set(err, ERR_UNAUTHENTICATED, "the answer is of another %s", what);
    return 0;
}

static int check_one(const struct join_answer *a, const struct anchor *anchor,
                     enum identity_use use, const char *host, gnutls_x509_privkey_t key, msec now,
                     struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {0};
    struct subject subject;
    uint8_t own[HASH_SIZE];
    char hex[HASH_HEX_SIZE];
    if (a->certificates[use] == NULL)
        return err_set(err, ERR_INVALID, "it is missing");
    _cleanup_(freep) char *pem = xasprintf("%s%s", a->certificates[use], a->issuer);
    int rc;
    if ((rc = check_single(a->certificates[use], "certificate", err)) < 0 ||
        (rc = chain_read(pem, &chain, err)) < 0 ||
        (rc = anchor_verify(anchor, chain.crts, chain.n, a->cluster.name, use, now, &subject,
                            err)) < 0)
        return rc;
    if (strcmp(subject.name, host) != 0)
        return err_set(err, ERR_CONFLICT, "it is of host %s", subject.name);
    if ((rc = key_digest(key, own)) < 0)
        return tls_error(err, rc, "key");
    hash_hex(own, hex);
    if (strcmp(hex, subject.key) != 0)
        return err_set(err, ERR_CONFLICT, "it is of another key");
    return 0;
}

int join_answer_check(const struct join_answer *a, const char *root, const char *cluster,
                      const char *host, const gnutls_x509_privkey_t keys[JOIN_USES], msec now,
                      struct err *err)
{
    _cleanup_(anchor_freep) struct anchor *anchor = NULL;
    int rc;
    if (strcmp(a->cluster.name, cluster) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "the answer is of cluster %s", a->cluster.name);
    if ((rc = check_root(a->machines, root, "machines' root", err)) < 0 ||
        (a->issuer[0] != '\0' && (rc = check_single(a->issuer, "issuer", err)) < 0))
        return rc;
    if ((rc = anchor_new(a->machines, a->crl, &anchor, err)) < 0)
        return rc;
    for (enum identity_use use = 0; use < JOIN_USES; use++)
        if (keys[use] != NULL && check_one(a, anchor, use, host, keys[use], now, err) < 0)
            return err_wrap(err, "certificate for %s", use_name(use));
    return 0;
}

int join_answer_check_people(const struct join_answer *a, const char *root, msec now,
                             struct err *err)
{
    _cleanup_(anchor_freep) struct anchor *anchor = NULL;
    _cleanup_(roster_freep) struct roster *roster = NULL;
    int rc;
    if ((rc = check_root(a->people, root, "people's root", err)) < 0 ||
        (rc = anchor_new(a->people, a->crl, &anchor, err)) < 0)
        return rc;
    rc = roster_verify(a->roster, strlen(a->roster), anchor, &a->cluster, NULL, now, &roster, err);
    return rc < 0 ? err_wrap(err, "roster") : 0;
}
