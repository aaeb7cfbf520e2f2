#include "tls/checkpoint.h"

#include <stdio.h>

#include "proto/canon.h"
#include "tls/envelope.h"
#include "tls/handles.h"

#define CERTIFICATE_MAX 16384

static json_t *body_json(const struct checkpoint *c, const struct cluster *cluster)
{
    char root[HASH_HEX_SIZE], at[TIME_TEXT_SIZE];
    hash_hex(c->root, root);
    time_format(c->at, at);
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "cluster", cluster->uuid, "host", c->host, "size",
                     (json_int_t)c->size, "root", root, "at", at);
}

/* {"body", "certificate", "signature"} */
static int sign_body(json_t *body, const char *schema, const struct identity *identity,
                     json_t **ret, struct err *err)
{
    _cleanup_(freep) char *signature = NULL;
    int rc = signature_make(identity, schema, body, &signature, err);
    if (rc == 0)
        *ret = json_pack("{s:O, s:s, s:s}", "body", body, "certificate",
                         identity_certificate(identity), "signature", signature);
    return rc;
}

int checkpoint_sign(const struct checkpoint *c, const struct cluster *cluster,
                    const struct identity *host, char **ret, struct err *err)
{
    _cleanup_json_ json_t *body = body_json(c, cluster), *doc = NULL;
    int rc = sign_body(body, CHECKPOINT_SCHEMA, host, &doc, err);
    if (rc < 0)
        return rc;
    json_object_set_new(doc, "schema", json_string(CHECKPOINT_SCHEMA));
    json_object_set_new(doc, "cosignatures", json_array());
    return canon_dump(doc, ret, NULL, err);
}

int host_signature_check(const json_t *doc, const char *schema, const struct anchor *machines,
                         const struct cluster *cluster, msec at, struct subject *ret,
                         struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {0};
    const char *pem = json_string_value(json_object_get(doc, "certificate"));
    const char *signature = json_string_value(json_object_get(doc, "signature"));
    const json_t *body = json_object_get(doc, "body");
    if (pem == NULL || signature == NULL || !json_is_object(body) || strlen(pem) > CERTIFICATE_MAX)
        return err_set(err, ERR_INVALID, "wants body, certificate and signature");
    int rc;
    if ((rc = chain_read(pem, &chain, err)) < 0 ||
        (rc = anchor_verify(machines, chain.crts, chain.n, cluster->name, USE_AGENT, at, ret,
                            err)) < 0)
        return rc;
    return signature_check(chain.crts[0], schema, body, signature, err);
}

static int parse_body(json_t *body, const struct cluster *cluster, msec now, struct checkpoint *ret,
                      struct err *err)
{
    const char *uuid, *host, *root, *at;
    json_int_t size;
    struct checkpoint c = {0};
    int rc;
    if (json_unpack(body, "{s:s, s:s, s:I, s:s, s:s !}", "cluster", &uuid, "host", &host, "size",
                    &size, "root", &root, "at", &at) < 0)
        return err_set(err, ERR_INVALID, "body wants cluster, host, size, root and at alone");
    if (strcmp(uuid, cluster->uuid) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "of another cluster (%.40s)", uuid);
    if ((rc = name_check("host", host, err)) < 0 || (rc = time_parse(at, &c.at, err)) < 0)
        return rc;
    if (size < 0 || size > (json_int_t)CANON_NUMBER_MAX || !hash_from_hex(root, c.root))
        return err_set(err, ERR_INVALID, "size or root is malformed");
    if (c.at > now + ENVELOPE_SKEW)
        return err_set(err, ERR_EXPIRED, "not valid yet: signed at %.40s; do the clocks agree?",
                       at);
    snprintf(c.host, sizeof c.host, "%s", host);
    c.size = (uint64_t)size;
    *ret = c;
    return 0;
}

static int body_digest(const json_t *doc, char ret[HASH_HEX_SIZE], struct err *err)
{
    return canon_digest(CHECKPOINT_SCHEMA, json_object_get(doc, "body"), ret, err);
}

static int check_cosignature(const json_t *cosignature, const char *digest,
                             const struct anchor *machines, const struct cluster *cluster, msec now,
                             struct checkpoint_witness *ret, struct err *err)
{
    const char *of, *witness, *at;
    struct subject subject;
    int rc;
    if (json_unpack(json_object_get(cosignature, "body"), "{s:s, s:s, s:s !}", "checkpoint", &of,
                    "witness", &witness, "at", &at) < 0)
        return err_set(err, ERR_INVALID, "body wants checkpoint, witness and at alone");
    if (strcmp(of, digest) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "of another checkpoint");
    if ((rc = time_parse(at, &ret->at, err)) < 0)
        return rc;
    if (ret->at > now + ENVELOPE_SKEW)
        return err_set(err, ERR_EXPIRED, "not valid yet: signed at %.40s", at);
    if ((rc = host_signature_check(cosignature, COSIGNATURE_SCHEMA, machines, cluster, ret->at,
                                   &subject, err)) < 0)
        return rc;
    if (strcmp(subject.name, witness) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "signed by %s in the name of %.64s", subject.name,
                       witness);
    memcpy(ret->host, subject.name, sizeof ret->host);
    return 0;
}

static int check_cosignatures(const json_t *doc, const struct anchor *machines,
                              const struct cluster *cluster, msec now,
                              struct checkpoint_witness witnesses[CHECKPOINT_COSIGNATURES_MAX],
                              size_t *ret_n, struct err *err)
{
    const json_t *list = json_object_get(doc, "cosignatures");
    char digest[HASH_HEX_SIZE];
    size_t n = json_array_size(list);
    int rc = body_digest(doc, digest, err);
    if (rc < 0)
        return rc;
    if (!json_is_array(list) || n > CHECKPOINT_COSIGNATURES_MAX)
        return err_set(err, ERR_INVALID, "cosignatures must be a list of at most %d",
                       CHECKPOINT_COSIGNATURES_MAX);
    for (size_t i = 0; i < n; i++) {
        if ((rc = check_cosignature(json_array_get(list, i), digest, machines, cluster, now,
                                    &witnesses[i], err)) < 0)
            return err_wrap(err, "cosignature %zu", i + 1);
        for (size_t k = 0; k < i; k++)
            if (strcmp(witnesses[k].host, witnesses[i].host) == 0)
                return err_set(err, ERR_INVALID, "cosigned by %s twice", witnesses[i].host);
    }
    *ret_n = n;
    return 0;
}

static int parse(const char *bytes, size_t len, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    if (len > CHECKPOINT_MAX)
        return err_set(err, ERR_LIMIT, "checkpoint: larger than %d bytes", CHECKPOINT_MAX);
    int rc = canon_parse(bytes, len, "checkpoint", &doc, err);
    if (rc < 0)
        return rc;
    const char *schema;
    json_t *body, *certificate, *signature, *cosignatures;
    if (json_unpack(doc, "{s:s, s:o, s:o, s:o, s:o !}", "schema", &schema, "body", &body,
                    "certificate", &certificate, "signature", &signature, "cosignatures",
                    &cosignatures) < 0 ||
        strcmp(schema, CHECKPOINT_SCHEMA) != 0)
        return err_set(err, ERR_INVALID, "checkpoint: not a document of schema %s",
                       CHECKPOINT_SCHEMA);
    *ret = TAKE_PTR(doc);
    return 0;
}

int checkpoint_verify(const char *bytes, size_t len, const struct anchor *machines,
                      const struct cluster *cluster, msec now, struct checkpoint *ret,
                      struct checkpoint_witness *ret_witnesses, size_t *ret_n, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    struct checkpoint_witness witnesses[CHECKPOINT_COSIGNATURES_MAX];
    struct checkpoint c;
    struct subject subject;
    size_t n = 0;
    int rc = parse(bytes, len, &doc, err);
    if (rc < 0)
        return rc;
    if ((rc = parse_body(json_object_get(doc, "body"), cluster, now, &c, err)) < 0 ||
        (rc = host_signature_check(doc, CHECKPOINT_SCHEMA, machines, cluster, c.at, &subject,
                                   err)) < 0 ||
        (rc = check_cosignatures(doc, machines, cluster, now, witnesses, &n, err)) < 0)
        return err_wrap(err, "checkpoint");
    if (strcmp(subject.name, c.host) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "checkpoint: signed by %s in the name of %s",
                       subject.name, c.host);
    *ret = c;
    if (ret_witnesses != NULL)
        memcpy(ret_witnesses, witnesses, n * sizeof *witnesses);
    if (ret_n != NULL)
        *ret_n = n;
    return 0;
}

int cosignature_sign(const char *checkpoint, size_t len, const char *witness,
                     const struct identity *identity, msec now, char **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL, *body = NULL, *cosignature = NULL;
    char digest[HASH_HEX_SIZE], at[TIME_TEXT_SIZE];
    int rc;
    if ((rc = parse(checkpoint, len, &doc, err)) < 0 || (rc = body_digest(doc, digest, err)) < 0)
        return rc;
    time_format(now, at);
    body = json_pack("{s:s, s:s, s:s}", "checkpoint", digest, "witness", witness, "at", at);
    rc = sign_body(body, COSIGNATURE_SCHEMA, identity, &cosignature, err);
    return rc < 0 ? rc : canon_dump(cosignature, ret, NULL, err);
}

static bool has_witness(const json_t *list, const char *host)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *body = json_object_get(json_array_get(list, i), "body");
        const char *witness = json_string_value(json_object_get(body, "witness"));
        if (witness != NULL && strcmp(witness, host) == 0)
            return true;
    }
    return false;
}

int checkpoint_cosigned(const char *checkpoint, size_t len, const char *cosignature,
                        size_t cosignature_len, const struct anchor *machines,
                        const struct cluster *cluster, msec now, char **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL, *one = NULL;
    char digest[HASH_HEX_SIZE];
    struct checkpoint_witness witness;
    int rc;
    if (cosignature_len > CHECKPOINT_MAX)
        return err_set(err, ERR_LIMIT, "cosignature: larger than %d bytes", CHECKPOINT_MAX);
    if ((rc = parse(checkpoint, len, &doc, err)) < 0 ||
        (rc = canon_parse(cosignature, cosignature_len, "cosignature", &one, err)) < 0 ||
        (rc = body_digest(doc, digest, err)) < 0)
        return rc;
    if ((rc = check_cosignature(one, digest, machines, cluster, now, &witness, err)) < 0)
        return err_wrap(err, "cosignature");
    json_t *list = json_object_get(doc, "cosignatures");
    if (has_witness(list, witness.host))
        return err_set(err, ERR_EXISTS, "%s has cosigned it", witness.host);
    if (json_array_size(list) >= CHECKPOINT_COSIGNATURES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d cosignatures", CHECKPOINT_COSIGNATURES_MAX);
    json_array_append(list, one);
    return canon_dump(doc, ret, NULL, err);
}
