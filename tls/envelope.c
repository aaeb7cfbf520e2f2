#include "tls/envelope.h"

#include <stdio.h>

#include "proto/canon.h"
#include "tls/handles.h"

#define CERTIFICATE_MAX 16384

static int check_command(const json_t *command, struct err *err)
{
    const char *type = json_string_value(json_object_get(command, "type"));
    if (!json_is_object(command) || type == NULL || type[0] == '\0')
        return err_set(err, ERR_INVALID, "envelope: command wants to be an object with a \"type\"");
    return 0;
}

static int check_lifetime(msec lifetime, struct err *err)
{
    if (lifetime <= 0 || lifetime > ENVELOPE_LIFETIME_MAX)
        return err_set(err, ERR_INVALID,
                       "envelope: a lifetime of %lld s: wants more than 0, at "
                       "most %lld",
                       (long long)(lifetime / 1000), (long long)(ENVELOPE_LIFETIME_MAX / 1000));
    return 0;
}

static json_t *payload_json(const json_t *command, const struct cluster *cluster, msec now,
                            msec lifetime, const uint8_t nonce[ENVELOPE_NONCE_SIZE])
{
    char issued_at[TIME_TEXT_SIZE], expires_at[TIME_TEXT_SIZE], hex[2 * ENVELOPE_NONCE_SIZE + 1];
    time_format(now, issued_at);
    time_format(now + lifetime, expires_at);
    for (size_t i = 0; i < ENVELOPE_NONCE_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", nonce[i]);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "cluster", cluster->uuid, "nonce", hex,
                     "issued_at", issued_at, "expires_at", expires_at, "command",
                     json_deep_copy(command));
}

int envelope_sign(const json_t *command, const struct identity *identity,
                  const struct cluster *cluster, msec now, msec lifetime,
                  const uint8_t nonce[ENVELOPE_NONCE_SIZE], char **ret, struct err *err)
{
    _cleanup_json_ json_t *payload = NULL, *doc = NULL;
    _cleanup_(freep) char *signature = NULL, *text = NULL;
    size_t len;
    int rc;
    if ((rc = check_command(command, err)) < 0 || (rc = check_lifetime(lifetime, err)) < 0)
        return rc;
    payload = payload_json(command, cluster, now, lifetime, nonce);
    if ((rc = signature_make(identity, ENVELOPE_SCHEMA, payload, &signature, err)) < 0)
        return rc;
    doc = json_pack("{s:s, s:O, s:s, s:s}", "schema", ENVELOPE_SCHEMA, "payload", payload,
                    "certificate", identity_certificate(identity), "signature", signature);
    if ((rc = canon_dump(doc, &text, &len, err)) < 0)
        return rc;
    if (len > ENVELOPE_MAX)
        return err_set(err, ERR_LIMIT, "envelope: larger than %d bytes", ENVELOPE_MAX);
    *ret = TAKE_PTR(text);
    return 0;
}

void envelope_done(struct envelope *e)
{
    json_decref(e->command);
    *e = (struct envelope){0};
}

struct parts {
    json_t *payload;                     /* borrowed from the document */
    const char *certificate, *signature; /* likewise */
};

static int parse_outer(const json_t *doc, struct parts *ret, struct err *err)
{
    const char *schema;
    if (json_unpack((json_t *)(uintptr_t)doc, "{s:s, s:o, s:s, s:s !}", "schema", &schema,
                    "payload", &ret->payload, "certificate", &ret->certificate, "signature",
                    &ret->signature) < 0)
        return err_set(err, ERR_INVALID,
                       "envelope: wants schema, payload, certificate and signature alone");
    if (strcmp(schema, ENVELOPE_SCHEMA) != 0)
        return err_set(err, ERR_INVALID, "envelope: schema \"%.60s\" is not \"%s\"", schema,
                       ENVELOPE_SCHEMA);
    return 0;
}

static bool is_nonce(const char *s)
{
    return strlen(s) == (size_t)2 * ENVELOPE_NONCE_SIZE &&
           strspn(s, "0123456789abcdef") == (size_t)2 * ENVELOPE_NONCE_SIZE;
}

static int parse_time(const char *what, const char *text, msec *ret, struct err *err)
{
    int rc = time_parse(text, ret, err);
    return rc < 0 ? err_wrap(err, "envelope: %s", what) : 0;
}

static int check_times(const struct envelope *e, msec now, struct err *err)
{
    char text[TIME_TEXT_SIZE];
    int rc = check_lifetime(e->expires_at - e->issued_at, err);
    if (rc < 0)
        return rc;
    if (e->issued_at > now + ENVELOPE_SKEW) {
        time_format(e->issued_at, text);
        return err_set(err, ERR_EXPIRED,
                       "envelope: not valid yet: issued at %s; do the clocks agree?", text);
    }
    if (now >= e->expires_at) {
        time_format(e->expires_at, text);
        return err_set(err, ERR_EXPIRED, "envelope: expired at %s", text);
    }
    return 0;
}

/* Numbers are signed with three decimals: what is acted on is what was signed, so the payload is
 * read from its canonical form. */
static int canonical_copy(const json_t *payload, json_t **ret, char ret_digest[HASH_HEX_SIZE],
                          struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    uint8_t hash[HASH_SIZE];
    int rc = canon_dump(payload, &text, &len, err);
    if (rc < 0 || (rc = canon_parse(text, len, "envelope", ret, err)) < 0)
        return rc;
    hash_domain(ENVELOPE_SCHEMA, text, len, hash);
    hash_hex(hash, ret_digest);
    return 0;
}

static int parse_payload(const json_t *raw, const struct cluster *cluster, msec now,
                         struct envelope *e, struct err *err)
{
    _cleanup_json_ json_t *payload = NULL;
    const char *uuid, *nonce, *issued_at, *expires_at;
    json_t *command;
    int rc = canonical_copy(raw, &payload, e->digest, err);
    if (rc < 0)
        return rc;
    if (json_unpack(payload, "{s:s, s:s, s:s, s:s, s:o !}", "cluster", &uuid, "nonce", &nonce,
                    "issued_at", &issued_at, "expires_at", &expires_at, "command", &command) < 0)
        return err_set(err, ERR_INVALID,
                       "envelope: payload wants cluster, nonce, issued_at, "
                       "expires_at and command alone");
    if (strcmp(uuid, cluster->uuid) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "envelope: for another cluster (%.40s)", uuid);
    if (!is_nonce(nonce))
        return err_set(err, ERR_INVALID, "envelope: nonce is not %d hexadecimal digits",
                       2 * ENVELOPE_NONCE_SIZE);
    snprintf(e->nonce, sizeof e->nonce, "%s", nonce);
    if ((rc = check_command(command, err)) < 0 ||
        (rc = parse_time("issued_at", issued_at, &e->issued_at, err)) < 0 ||
        (rc = parse_time("expires_at", expires_at, &e->expires_at, err)) < 0 ||
        (rc = check_times(e, now, err)) < 0)
        return rc;
    e->command = json_incref(command);
    return 0;
}

static int check_signer(const struct parts *parts, const struct roster *roster,
                        const struct anchor *people, const struct cluster *cluster, msec now,
                        struct envelope *e, struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject subject;
    const struct roster_person *person;
    gnutls_datum_t pem = datum_text(parts->certificate);
    if (pem.size > CERTIFICATE_MAX)
        return err_set(err, ERR_LIMIT, "certificate larger than %d bytes", CERTIFICATE_MAX);
    int rc;
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM)) < 0)
        return err_set(err, ERR_INVALID, "certificate: %s", gnutls_strerror(rc));
    if ((rc = anchor_verify(people, &crt, 1, cluster->name, USE_PERSON, now, &subject, err)) < 0 ||
        (rc = signature_check(crt, ENVELOPE_SCHEMA, parts->payload, parts->signature, err)) < 0 ||
        (rc = roster_admit(roster, &subject, &person, err)) < 0)
        return rc;
    snprintf(e->person, sizeof e->person, "%s", person->name);
    memcpy(e->key, subject.key, sizeof e->key);
    e->roles = person->roles;
    return 0;
}

int envelope_verify(const char *bytes, size_t len, const struct roster *roster,
                    const struct anchor *people, const struct cluster *cluster, msec now,
                    struct envelope *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(envelope_done) struct envelope e = {0};
    struct parts parts;
    if (len > ENVELOPE_MAX)
        return err_set(err, ERR_LIMIT, "envelope: larger than %d bytes", ENVELOPE_MAX);
    int rc;
    if ((rc = canon_parse(bytes, len, "envelope", &doc, err)) < 0 ||
        (rc = parse_outer(doc, &parts, err)) < 0 ||
        (rc = parse_payload(parts.payload, cluster, now, &e, err)) < 0)
        return rc;
    if ((rc = check_signer(&parts, roster, people, cluster, now, &e, err)) < 0)
        return err_wrap(err, "envelope");
    *ret = e;
    e = (struct envelope){0};
    return 0;
}
