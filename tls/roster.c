#include "tls/roster.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/canon.h"
#include "tls/handles.h"

#define PEOPLE_MAX 10000
#define SIGNATURES_MAX 64

static const char *const role_names[] = {"viewer", "operator", "approver", "admin", NULL};

static roles role_of(const char *name)
{
    for (unsigned i = 0; role_names[i] != NULL; i++)
        if (strcmp(name, role_names[i]) == 0)
            return 1u << i;
    return 0;
}

static int unknown_role(const char *word, struct err *err)
{
    const char *near = nearest_word(word, role_names);
    if (near != NULL)
        return err_set(err, ERR_INVALID, "\"%.40s\" is no role; did you mean \"%s\"?", word, near);
    return err_set(err, ERR_INVALID, "\"%.40s\" is no role: viewer, operator, approver or admin",
                   word);
}

int roles_parse(const char *text, roles *ret, struct err *err)
{
    _cleanup_(freep) char *copy = xstrdup(text);
    roles set = 0;
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        roles role = role_of(word);
        if (role == 0)
            return unknown_role(word, err);
        set |= role;
    }
    *ret = set;
    return 0;
}

void roles_format(roles set, char ret[ROLES_TEXT_SIZE])
{
    size_t n = 0;
    ret[0] = '\0';
    for (unsigned i = 0; role_names[i] != NULL; i++)
        if ((set & 1u << i) != 0)
            n += (size_t)snprintf(ret + n, ROLES_TEXT_SIZE - n, "%s%s", n > 0 ? "," : "",
                                  role_names[i]);
}

void roster_free(struct roster *roster)
{
    if (roster == NULL)
        return;
    free(roster->people);
    json_decref(roster->gates_json);
    gate_rules_free(roster->gates);
    free(roster);
}

const struct roster_person *roster_by_key(const struct roster *roster, const char *key)
{
    for (size_t i = 0; i < roster->n_people; i++)
        if (strcmp(roster->people[i].key, key) == 0)
            return &roster->people[i];
    return NULL;
}

const struct roster_person *roster_by_name(const struct roster *roster, const char *name)
{
    for (size_t i = 0; i < roster->n_people; i++)
        if (strcmp(roster->people[i].name, name) == 0)
            return &roster->people[i];
    return NULL;
}

static size_t position_of(const struct roster *roster, const char *name)
{
    size_t i = 0;
    while (i < roster->n_people && strcmp(roster->people[i].name, name) < 0)
        i++;
    return i;
}

int roster_admit(const struct roster *roster, const struct subject *subject,
                 const struct roster_person **ret, struct err *err)
{
    const struct roster_person *person = roster_by_key(roster, subject->key);
    if (person == NULL || strcmp(person->name, subject->name) != 0)
        return err_set(err, ERR_DENIED, "%s is not in the roster with this key", subject->name);
    *ret = person;
    return 0;
}

int roster_set(struct roster *roster, const struct roster_person *person, struct err *err)
{
    const struct roster_person *other = roster_by_key(roster, person->key);
    if (other != NULL && strcmp(other->name, person->name) != 0)
        return err_set(err, ERR_CONFLICT, "%s and %s have the same key", other->name, person->name);
    size_t at = position_of(roster, person->name);
    if (at < roster->n_people && strcmp(roster->people[at].name, person->name) == 0) {
        roster->people[at] = *person;
        return 0;
    }
    roster->people = xrealloc(roster->people, roster->n_people + 1, sizeof *roster->people);
    memmove(&roster->people[at + 1], &roster->people[at],
            (roster->n_people - at) * sizeof *roster->people);
    roster->people[at] = *person;
    roster->n_people++;
    return 0;
}

int roster_remove(struct roster *roster, const char *name, struct err *err)
{
    size_t at = position_of(roster, name);
    if (at == roster->n_people || strcmp(roster->people[at].name, name) != 0)
        return err_set(err, ERR_NOT_FOUND, "the roster does not name %s", name);
    memmove(&roster->people[at], &roster->people[at + 1],
            (--roster->n_people - at) * sizeof *roster->people);
    return 0;
}

static json_t *roles_json(roles set)
{
    json_t *out = json_array();
    for (unsigned i = 0; role_names[i] != NULL; i++)
        if ((set & 1u << i) != 0)
            json_array_append_new(out, json_string(role_names[i]));
    return out;
}

static json_t *body_json(const struct roster *roster)
{
    char issued_at[TIME_TEXT_SIZE];
    time_format(roster->issued_at, issued_at);
    json_t *people = json_array();
    for (size_t i = 0; i < roster->n_people; i++) {
        const struct roster_person *p = &roster->people[i];
        json_array_append_new(people, json_pack("{s:s, s:o, s:s}", "name", p->name, "roles",
                                                roles_json(p->roles), "key", p->key));
    }
    json_t *body =
        json_pack("{s:s, s:I, s:I, s:s, s:o}", "cluster", roster->cluster, "version",
                  (json_int_t)roster->version, "threshold", (json_int_t)roster->threshold,
                  "issued_at", issued_at, "people", people);
    if (roster->gates_json != NULL)
        json_object_set(body, "gates", roster->gates_json);
    return body;
}

static int add_signature(json_t *doc, const struct identity *admin, struct err *err)
{
    _cleanup_(freep) char *signature = NULL;
    int rc = signature_make(admin, ROSTER_SCHEMA, json_object_get(doc, "body"), &signature, err);
    if (rc < 0)
        return rc;
    json_array_append_new(json_object_get(doc, "signatures"),
                          json_pack("{s:s, s:s}", "certificate", identity_certificate(admin),
                                    "signature", signature));
    return 0;
}

int roster_sign(const struct roster *roster, const struct identity *admin, char **ret,
                struct err *err)
{
    _cleanup_json_ json_t *doc = json_pack("{s:s, s:o, s:[]}", "schema", ROSTER_SCHEMA, "body",
                                           body_json(roster), "signatures");
    int rc = add_signature(doc, admin, err);
    return rc < 0 ? rc : canon_dump(doc, ret, NULL, err);
}

/* The document with its outer form checked: schema, body (an object), signatures (an array). */
static int parse_document(const char *bytes, size_t len, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    if (len > ROSTER_MAX)
        return err_set(err, ERR_LIMIT, "roster: larger than %d bytes", ROSTER_MAX);
    int rc = canon_parse(bytes, len, "roster", &doc, err);
    if (rc < 0)
        return rc;
    const char *schema;
    json_t *body, *signatures;
    if (json_unpack(doc, "{s:s, s:o, s:o !}", "schema", &schema, "body", &body, "signatures",
                    &signatures) < 0 ||
        !json_is_object(body) || !json_is_array(signatures))
        return err_set(err, ERR_INVALID, "roster: wants schema, body and signatures alone");
    if (strcmp(schema, ROSTER_SCHEMA) != 0)
        return err_set(err, ERR_INVALID, "roster: schema \"%.60s\" is not \"%s\"", schema,
                       ROSTER_SCHEMA);
    *ret = TAKE_PTR(doc);
    return 0;
}

int roster_cosign(const char *bytes, size_t len, const struct identity *admin, char **ret,
                  struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc;
    if ((rc = parse_document(bytes, len, &doc, err)) < 0 ||
        (rc = add_signature(doc, admin, err)) < 0)
        return rc;
    return canon_dump(doc, ret, NULL, err);
}

static int parse_roles(const json_t *array, roles *ret, struct err *err)
{
    roles set = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *word = json_string_value(json_array_get(array, i));
        roles role = word != NULL ? role_of(word) : 0;
        if (role == 0)
            return unknown_role(word != NULL ? word : "", err);
        set |= role;
    }
    if (set == 0)
        return err_set(err, ERR_INVALID, "no roles");
    *ret = set;
    return 0;
}

static int parse_person(json_t *doc, struct roster *roster, struct err *err)
{
    const char *name, *key;
    json_t *list;
    uint8_t digest[HASH_SIZE];
    struct roster_person person = {0};
    if (json_unpack(doc, "{s:s, s:o, s:s !}", "name", &name, "roles", &list, "key", &key) < 0)
        return err_set(err, ERR_INVALID, "wants name, roles and key alone");
    int rc;
    if ((rc = name_check("person", name, err)) < 0 ||
        (rc = parse_roles(list, &person.roles, err)) < 0)
        return rc;
    if (!hash_from_hex(key, digest))
        return err_set(err, ERR_INVALID, "key of %s is not 64 hexadecimal digits", name);
    size_t n = roster->n_people;
    if (n > 0 && strcmp(roster->people[n - 1].name, name) >= 0)
        return err_set(err, ERR_INVALID, "%s stands out of order, or twice", name);
    snprintf(person.name, sizeof person.name, "%s", name);
    hash_hex(digest, person.key);
    return roster_set(roster, &person, err);
}

static int parse_people(const json_t *people, struct roster *roster, struct err *err)
{
    if (!json_is_array(people) || json_array_size(people) > PEOPLE_MAX)
        return err_set(err, ERR_INVALID, "roster: people must be a list of at most %d", PEOPLE_MAX);
    for (size_t i = 0; i < json_array_size(people); i++) {
        int rc = parse_person(json_array_get(people, i), roster, err);
        if (rc < 0)
            return err_wrap(err, "roster: person %zu", i + 1);
    }
    return 0;
}

static size_t count_admins(const struct roster *roster)
{
    size_t n = 0;
    for (size_t i = 0; i < roster->n_people; i++)
        n += (roster->people[i].roles & ROLE_ADMIN) != 0;
    return n;
}

static int parse_body(json_t *body, struct roster *roster, struct err *err)
{
    const char *cluster, *issued_at;
    json_int_t version, threshold;
    json_t *people, *gates = NULL;
    if (json_unpack(body, "{s:s, s:I, s:I, s:s, s:o, s?o !}", "cluster", &cluster, "version",
                    &version, "threshold", &threshold, "issued_at", &issued_at, "people", &people,
                    "gates", &gates) < 0)
        return err_set(
            err, ERR_INVALID,
            "roster: body wants cluster, version, threshold, issued_at, people and gates alone");
    if (!uuid_is_valid(cluster))
        return err_set(err, ERR_INVALID, "roster: cluster is not a lower-case UUID");
    if (version < 1 || version > (json_int_t)CANON_NUMBER_MAX)
        return err_set(err, ERR_INVALID, "roster: version %" PRId64 " is out of range",
                       (int64_t)version);
    snprintf(roster->cluster, sizeof roster->cluster, "%s", cluster);
    roster->version = (uint64_t)version;
    int rc;
    if ((rc = time_parse(issued_at, &roster->issued_at, err)) < 0)
        return err_wrap(err, "roster: issued_at");
    if ((rc = parse_people(people, roster, err)) < 0 ||
        (rc = gate_rules_read(gates, &roster->gates, err)) < 0)
        return rc;
    roster->gates_json = json_incref(gates);
    size_t admins = count_admins(roster);
    if (threshold < 1 || (size_t)threshold > admins)
        return err_set(err, ERR_INVALID,
                       "roster: threshold %" PRId64 " with %zu admins: wants 1 to their number",
                       (int64_t)threshold, admins);
    roster->threshold = (unsigned)threshold;
    return 0;
}

/* Keys of those whose signatures hold, each once. */
struct signers {
    char keys[SIGNATURES_MAX][HASH_HEX_SIZE];
    size_t n;
    struct err skipped; /* why the last one not counted was not; code ERR_OK: all were */
};

static void add_signer(struct signers *signers, const char *key)
{
    for (size_t i = 0; i < signers->n; i++)
        if (strcmp(signers->keys[i], key) == 0)
            return;
    memcpy(signers->keys[signers->n++], key, HASH_HEX_SIZE);
}

static int check_signature(json_t *entry, const json_t *body, const struct anchor *people,
                           const char *cluster, msec at, struct signers *signers, struct err *err)
{
    const char *pem, *signature;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject subject;
    if (json_unpack(entry, "{s:s, s:s !}", "certificate", &pem, "signature", &signature) < 0)
        return err_set(err, ERR_INVALID, "wants certificate and signature alone");
    gnutls_datum_t in = datum_text(pem);
    int rc;
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = gnutls_x509_crt_import(crt, &in, GNUTLS_X509_FMT_PEM)) < 0)
        return tls_error(err, rc, "certificate");
    /* A signer who has expired or been revoked since does not count; the others may suffice. */
    if (anchor_verify(people, &crt, 1, cluster, USE_PERSON, at, &subject, &signers->skipped) < 0)
        return 0;
    if ((rc = signature_check(crt, ROSTER_SCHEMA, body, signature, err)) < 0)
        return err_wrap(err, "of %s", subject.name);
    add_signer(signers, subject.key);
    return 0;
}

static int check_signatures(const json_t *doc, const struct anchor *people, const char *cluster,
                            msec at, struct signers *signers, struct err *err)
{
    const json_t *list = json_object_get(doc, "signatures"), *body = json_object_get(doc, "body");
    if (json_array_size(list) > SIGNATURES_MAX)
        return err_set(err, ERR_LIMIT, "roster: more than %d signatures", SIGNATURES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        int rc = check_signature(json_array_get(list, i), body, people, cluster, at, signers, err);
        if (rc < 0)
            return err_wrap(err, "roster: signature %zu", i + 1);
    }
    return 0;
}

static int check_threshold(const struct roster *roster, const struct signers *signers,
                           struct err *err)
{
    unsigned n = 0;
    for (size_t i = 0; i < signers->n; i++) {
        const struct roster_person *p = roster_by_key(roster, signers->keys[i]);
        n += p != NULL && (p->roles & ROLE_ADMIN) != 0;
    }
    if (n < roster->threshold)
        return err_set(err, ERR_UNAUTHENTICATED,
                       "roster: signed by %u of the admins of version %" PRIu64 ", wants %u%s%s", n,
                       roster->version, roster->threshold,
                       signers->skipped.code != ERR_OK ? "; not counted: " : "",
                       signers->skipped.msg);
    return 0;
}

static int check_succession(const struct roster *roster, const struct roster *previous,
                            const struct cluster *cluster, struct err *err)
{
    if (strcmp(roster->cluster, cluster->uuid) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "roster: of another cluster (%s)",
                       roster->cluster);
    if (previous != NULL && roster->version <= previous->version)
        return err_set(err, ERR_STALE,
                       "roster: version %" PRIu64 " does not follow version %" PRIu64,
                       roster->version, previous->version);
    return 0;
}

int roster_peek(const char *bytes, size_t len, struct roster **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(roster_freep) struct roster *roster = xcalloc(1, sizeof *roster);
    int rc;
    if ((rc = parse_document(bytes, len, &doc, err)) < 0 ||
        (rc = parse_body(json_object_get(doc, "body"), roster, err)) < 0)
        return rc;
    *ret = TAKE_PTR(roster);
    return 0;
}

int roster_verify(const char *bytes, size_t len, const struct anchor *people,
                  const struct cluster *cluster, const struct roster *previous, msec now,
                  struct roster **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(roster_freep) struct roster *roster = xcalloc(1, sizeof *roster);
    struct signers signers = {.n = 0};
    int rc;
    if ((rc = parse_document(bytes, len, &doc, err)) < 0 ||
        (rc = parse_body(json_object_get(doc, "body"), roster, err)) < 0 ||
        (rc = check_succession(roster, previous, cluster, err)) < 0)
        return rc;
    msec at = previous != NULL ? now : MIN(now, roster->issued_at);
    if ((rc = check_signatures(doc, people, cluster->name, at, &signers, err)) < 0 ||
        (rc = check_threshold(roster, &signers, err)) < 0 ||
        (previous != NULL && (rc = check_threshold(previous, &signers, err)) < 0))
        return rc;
    *ret = TAKE_PTR(roster);
    return 0;
}
