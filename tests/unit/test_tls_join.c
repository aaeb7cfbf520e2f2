/* What hosts that join ask, and what they take from an issuer. */
#include "tests/unit/tls_fixture.h"

#include "proto/canon.h"
#include "tls/join.h"

#define SECRET "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static int set_up(void **state)
{
    static struct world world;
    world_init(&world, "dc1", UUID_ONE);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    world_done(*state);
    return 0;
}

struct keys {
    gnutls_x509_privkey_t of[JOIN_USES];
};

static void keys_done(struct keys *k)
{
    for (size_t i = 0; i < JOIN_USES; i++)
        key_freep(&k->of[i]);
}

static void make_keys(struct keys *k, bool all)
{
    struct err err = {0};
    for (enum identity_use use = 0; use < (all ? JOIN_USES : USE_AGENT + 1); use++)
        assert_ok(pki_key_generate(use, &k->of[use], &err), &err);
}

static char *asked(const char *host, const char *secret, const struct keys *k)
{
    struct err err = {0};
    char *text = NULL;
    assert_ok(join_request_write(host, secret, k->of, NULL, &text, &err), &err);
    return text;
}

static int read_text(const char *text, struct join_request *ret, struct err *err)
{
    *err = (struct err){0};
    return join_request_read(text, strlen(text), ret, err);
}

static void request_there_and_back(void **state _unused_)
{
    struct err err = {0};
    _cleanup_(keys_done) struct keys one = {0};
    _cleanup_(keys_done) struct keys all = {0};
    _cleanup_(join_request_done) struct join_request r = {.secret = ""};
    _cleanup_(join_request_done) struct join_request s = {.secret = ""};
    make_keys(&one, false);
    make_keys(&all, true);
    _cleanup_(freep) char *small = asked("hv9", SECRET, &one), *large = asked("hv9", NULL, &all);
    assert_ok(read_text(small, &r, &err), &err);
    assert_string_equal(r.host, "hv9");
    assert_string_equal(r.secret, SECRET);
    assert_string_equal(join_request_role(&r), "agent");
    assert_ok(read_text(large, &s, &err), &err);
    assert_string_equal(s.secret, "");
    assert_string_equal(join_request_role(&s), "host");
    assert_string_not_equal(r.digest, s.digest);
    assert_true(strlen(large) < JOIN_REQUEST_MAX / 2);
}

static json_t *parsed(const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    return doc;
}

/* Takes doc. */
static void refused(json_t *doc, enum err_code code, const char *why)
{
    struct err err;
    struct join_request r = {.secret = ""};
    _cleanup_(freep) char *text = json_dumps(doc, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(doc);
    assert_err(read_text(text, &r, &err), &err, code, why);
    for (size_t i = 0; i < JOIN_USES; i++)
        assert_null(r.keys[i]); /* untouched */
}

static json_t *with(const char *text, const char *key, json_t *value)
{
    json_t *doc = parsed(text);
    json_object_set_new(doc, key, value);
    return doc;
}

/* The request for a use that text has, put in place of another's. */
static json_t *swapped(const char *text, const char *from, const char *to)
{
    json_t *doc = parsed(text), *requests = json_object_get(doc, "requests");
    json_object_set(requests, to, json_object_get(requests, from));
    return doc;
}

static void what_is_no_request_is_refused(void **state _unused_)
{
    _cleanup_(keys_done) struct keys all = {0};
    make_keys(&all, true);
    _cleanup_(freep) char *text = asked("hv9", SECRET, &all), *none = xstrdup("{}");
    refused(with(text, "host", json_string("../hv9")), ERR_INVALID, "host name");
    refused(with(text, "host", json_integer(9)), ERR_INVALID, "wants schema");
    refused(with(text, "secret", json_string("FF")), ERR_INVALID, "secret");
    refused(with(text, "more", json_true()), ERR_INVALID, "wants schema");
    refused(with(text, "schema", json_string("skein.join/2")), ERR_INVALID, "wants schema");
    refused(with(text, "requests", json_array()), ERR_INVALID, "requests: wants");
    refused(with(text, "requests", json_object()), ERR_INVALID, "requests: wants");
    refused(with(text, "requests", json_pack("{s:s}", "agent", "x")), ERR_INVALID, "for agent");
    refused(swapped(text, "libvirt", "agent"), ERR_INVALID, "P-256");
    refused(swapped(text, "agent", "qemu"), ERR_INVALID, "RSA");
    refused(swapped(text, "agent", "person"), ERR_INVALID, "requests: wants");
    refused(parsed(none), ERR_INVALID, "wants schema");
    struct err err = {0};
    struct join_request r;
    _cleanup_(freep) char *large = xcalloc(JOIN_REQUEST_MAX + 2, 1);
    memset(large, ' ', JOIN_REQUEST_MAX + 1);
    assert_err(read_text(large, &r, &err), &err, ERR_LIMIT, "more than");
    assert_err(read_text("", &r, &err), &err, ERR_INVALID, "request");
}

/* A key that its owner did not sign with, and keys that are too weak or too much work. */
static void keys_are_looked_at(void **state _unused_)
{
    struct err err = {0};
    _cleanup_(keys_done) struct keys k = {0};
    make_keys(&k, false);
    _cleanup_(freep) char *text = asked("hv9", SECRET, &k);
    _cleanup_json_ json_t *doc = parsed(text);
    const char *pem = json_string_value(json_object_get(json_object_get(doc, "requests"), "agent"));
    gnutls_datum_t in = datum_text(pem), der = {0}, out = {0};
    assert_int_equal(gnutls_pem_base64_decode2("NEW CERTIFICATE REQUEST", &in, &der), 0);
    der.data[der.size - 1] ^= 1; /* the signature's last byte */
    assert_int_equal(gnutls_pem_base64_encode2("NEW CERTIFICATE REQUEST", &der, &out), 0);
    _cleanup_(freep) char *forged = xasprintf("%.*s", (int)out.size, (char *)out.data);
    refused(with(text, "requests", json_pack("{s:s}", "agent", forged)), ERR_UNAUTHENTICATED,
            "did not sign");
    gnutls_free(der.data);
    gnutls_free(out.data);

    _cleanup_(keys_done) struct keys weak = {0};
    make_keys(&weak, true);
    gnutls_x509_privkey_deinit(weak.of[USE_QEMU]);
    assert_int_equal(gnutls_x509_privkey_init(&weak.of[USE_QEMU]), 0);
    assert_int_equal(gnutls_x509_privkey_generate(weak.of[USE_QEMU], GNUTLS_PK_RSA, 2048, 0), 0);
    _cleanup_(freep) char *small = asked("hv9", SECRET, &weak);
    refused(parsed(small), ERR_INVALID, "3072");
    gnutls_x509_privkey_deinit(weak.of[USE_AGENT]);
    assert_int_equal(gnutls_x509_privkey_init(&weak.of[USE_AGENT]), 0);
    assert_int_equal(gnutls_x509_privkey_generate(weak.of[USE_AGENT], GNUTLS_PK_ECDSA,
                                                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1),
                                                  0),
                     0);
    _cleanup_(freep) char *curve = asked("hv9", SECRET, &weak);
    refused(parsed(curve), ERR_INVALID, "P-256");
    (void)err;
}

/* ---- answers ---- */

struct scene {
    struct pki_root issuer;
    struct keys keys;
    char *certificate, *issuer_pem, *machines;
    char root[HASH_HEX_SIZE];
    json_t *peers, *voters;
    char *people, *roster;
};

static char *certificate_for(const struct world *w, const struct pki_root *root, const char *name,
                             enum identity_use use, gnutls_x509_privkey_t key)
{
    struct err err = {0};
    struct pki_request request = {.use = use, .name = name, .days = 30};
    gnutls_pubkey_t public;
    gnutls_privkey_t private;
    gnutls_x509_crt_t crt;
    assert_int_equal(gnutls_pubkey_init(&public), 0);
    assert_int_equal(gnutls_privkey_init(&private), 0);
    assert_int_equal(gnutls_privkey_import_x509(private, key, 0), 0);
    assert_int_equal(gnutls_pubkey_import_privkey(public, private, 0, 0), 0);
    assert_ok(pki_certify(root, &w->cluster, &request, public, NOW, &crt, &err), &err);
    char *pem = pki_crt_pem(crt);
    gnutls_x509_crt_deinit(crt);
    gnutls_pubkey_deinit(public);
    gnutls_privkey_deinit(private);
    return pem;
}

static char *roster_of(const struct world *w, const char *uuid)
{
    struct err err = {0};
    char *text = NULL;
    struct roster r = {.version = 1, .threshold = 1, .issued_at = NOW};
    struct roster_person ada = {.name = "ada", .roles = ROLE_ADMIN};
    _cleanup_(identity_freep) struct identity *signer = make_person(w, "ada");
    snprintf(r.cluster, sizeof r.cluster, "%s", uuid);
    snprintf(ada.key, sizeof ada.key, "%s", identity_key(signer));
    assert_ok(roster_set(&r, &ada, &err), &err);
    assert_ok(roster_sign(&r, signer, &text, &err), &err);
    free(r.people);
    return text;
}

static void scene_open(const struct world *w, struct scene *s)
{
    struct err err = {0};
    *s = (struct scene){.peers = json_pack("[s]", "10.0.0.1:7440"),
                        .voters = json_pack("[s]", "hv1"),
                        .people = pki_crt_pem(w->people.crt)};
    s->roster = roster_of(w, w->cluster.uuid);
    assert_ok(pki_issuer_create(&w->machines, &w->cluster, "hv1", 365, NOW, &s->issuer, &err),
              &err);
    make_keys(&s->keys, false);
    s->certificate = certificate_for(w, &s->issuer, "hv9", USE_AGENT, s->keys.of[USE_AGENT]);
    s->issuer_pem = pki_crt_pem(s->issuer.crt);
    s->machines = pki_crt_pem(w->machines.crt);
    assert_ok(spki_digest(w->machines.crt, s->root, &err), &err);
}

static void scene_done(struct scene *s)
{
    pki_root_done(&s->issuer);
    keys_done(&s->keys);
    free(s->certificate);
    free(s->issuer_pem);
    free(s->machines);
    json_decref(s->peers);
    json_decref(s->voters);
    free(s->people);
    free(s->roster);
}

static struct join_answer answer_of(const struct world *w, const struct scene *s)
{
    return (struct join_answer){
        .cluster = w->cluster,
        .certificates = {[USE_AGENT] = s->certificate},
        .issuer = s->issuer_pem,
        .machines = s->machines,
        .people = s->people,
        .crl = NULL,
        .roster = s->roster,
        .peers = s->peers,
        .voters = s->voters,
    };
}

static void answer_is_checked(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(scene_done) struct scene s = {.root = ""};
    scene_open(w, &s);
    struct join_answer a = answer_of(w, &s);
    const gnutls_x509_privkey_t *keys = s.keys.of;
    assert_ok(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err);
    assert_err(join_answer_check(&a, SECRET, "dc1", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "another machines' root");
    assert_err(join_answer_check(&a, s.root, "dc2", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "cluster dc1");
    assert_err(join_answer_check(&a, s.root, "dc1", "hv8", keys, NOW, &err), &err, ERR_CONFLICT,
               "of host hv9");
    _cleanup_(keys_done) struct keys others = {0};
    make_keys(&others, false);
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", others.of, NOW, &err), &err,
               ERR_CONFLICT, "another key");
    _cleanup_(freep) char *libvirts =
        certificate_for(w, &s.issuer, "hv9", USE_LIBVIRT, s.keys.of[USE_AGENT]);
    a.certificates[USE_AGENT] = libvirts;
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err, ERR_DENIED,
               "certificate of libvirt");
    a.certificates[USE_AGENT] = NULL;
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err, ERR_INVALID,
               "missing");
    a.certificates[USE_AGENT] = s.certificate;
    a.issuer = "";
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by");
}

static void answer_there_and_back(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(scene_done) struct scene s = {.root = ""};
    _cleanup_(join_answer_done) struct join_answer b = {0};
    scene_open(w, &s);
    struct join_answer a = answer_of(w, &s);
    a.crl = "";
    _cleanup_(freep) char *text = join_answer_write(&a);
    assert_ok(join_answer_read(text, strlen(text), &b, &err), &err);
    assert_string_equal(b.cluster.uuid, UUID_ONE);
    assert_string_equal(b.certificates[USE_AGENT], s.certificate);
    assert_null(b.certificates[USE_QEMU]);
    assert_string_equal(json_string_value(json_array_get(b.peers, 0)), "10.0.0.1:7440");
    static const char *const bad[] = {"", "{}", "[]", "{\"schema\":\"skein.joined/1\"}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct join_answer c;
        assert_err(join_answer_read(bad[i], strlen(bad[i]), &c, &err), &err, ERR_INVALID,
                   "no answer of an issuer");
    }
}

/* What is shown to be put into a configuration says nothing else there. */
static void peers_and_voters_are_plain(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(scene_done) struct scene s = {.root = ""};
    scene_open(w, &s);
    struct join_answer a = answer_of(w, &s);
    static const char *const bad[] = {"", "10.0.0.1", "x\"];\n}", "10.0.0.1:7440\n", "\x1b[2J:1"};
    a.crl = "";
    for (size_t i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
        _cleanup_json_ json_t *list = json_pack("[s]", bad[i / 2]);
        struct join_answer b;
        a.peers = i % 2 == 0 ? list : s.peers;
        a.voters = i % 2 == 1 && i / 2 != 1 ? list : s.voters; /* 10.0.0.1 may be a name */
        if (a.voters == s.voters && a.peers == s.peers)
            continue;
        _cleanup_(freep) char *text = join_answer_write(&a);
        assert_err(join_answer_read(text, strlen(text), &b, &err), &err, ERR_INVALID,
                   "no answer of an issuer");
    }
}

/* The token names the people's root too: nobody else's people count, nor another cluster's. */
static void no_other_people_come_along(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct world other;
    char people[HASH_HEX_SIZE];
    _cleanup_(scene_done) struct scene s = {.root = ""};
    scene_open(w, &s);
    world_init(&other, "dc1", UUID_ONE);
    struct join_answer a = answer_of(w, &s);
    _cleanup_(freep) char *rogue = pki_crt_pem(other.people.crt);
    _cleanup_(freep) char *rogues = roster_of(&other, UUID_ONE);
    _cleanup_(freep) char *others = roster_of(w, UUID_TWO);
    _cleanup_(freep) char *both = xasprintf("%s%s", s.people, rogue);
    world_done(&other);
    assert_ok(spki_digest(w->people.crt, people, &err), &err);
    assert_ok(join_answer_check_people(&a, people, NOW, &err), &err);
    a.people = rogue;
    a.roster = rogues;
    assert_err(join_answer_check_people(&a, people, NOW, &err), &err, ERR_UNAUTHENTICATED,
               "another people's root");
    a.people = both;
    assert_err(join_answer_check_people(&a, people, NOW, &err), &err, ERR_UNAUTHENTICATED,
               "people's root: 2 certificates");
    a.people = s.people;
    assert_true(join_answer_check_people(&a, people, NOW, &err) < 0);
    a.roster = others;
    assert_true(join_answer_check_people(&a, people, NOW, &err) < 0);
    a.roster = s.roster; /* and the UUID is the roster's */
    snprintf(a.cluster.uuid, sizeof a.cluster.uuid, "%s", UUID_TWO);
    assert_true(join_answer_check_people(&a, people, NOW, &err) < 0);
}

/* A root's name and key alone do not make it that root: it signed all that it says. */
static void a_root_is_signed_by_itself(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    char root[HASH_HEX_SIZE];
    gnutls_datum_t der = {0};
    _cleanup_(crt_freep) gnutls_x509_crt_t forged = NULL;
    assert_ok(spki_digest(w->machines.crt, root, &err), &err);
    assert_true(root_has_key(w->machines.crt, root));
    assert_false(root_has_key(w->people.crt, root));
    assert_int_equal(gnutls_x509_crt_export2(w->machines.crt, GNUTLS_X509_FMT_DER, &der), 0);
    der.data[der.size - 1] ^= 1; /* the signature's last byte */
    assert_int_equal(gnutls_x509_crt_init(&forged), 0);
    assert_int_equal(gnutls_x509_crt_import(forged, &der, GNUTLS_X509_FMT_DER), 0);
    assert_false(root_has_key(forged, root));
    gnutls_free(der.data);
}

/* What is written among libvirt's and QEMU's authorities is the root and its issuer, nothing
 * beside. */
static void no_other_authority_comes_along(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct world other;
    _cleanup_(scene_done) struct scene s = {.root = ""};
    scene_open(w, &s);
    world_init(&other, "dc1", UUID_TWO);
    struct join_answer a = answer_of(w, &s);
    const gnutls_x509_privkey_t *keys = s.keys.of;
    _cleanup_(freep) char *rogue = pki_crt_pem(other.machines.crt);
    _cleanup_(freep) char *roots = xasprintf("%s%s", s.machines, rogue);
    _cleanup_(freep) char *issuers = xasprintf("%s%s", s.issuer_pem, rogue);
    _cleanup_(freep) char *leaves = xasprintf("%s%s", s.certificate, rogue);
    world_done(&other);
    a.machines = roots;
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "machines' root: 2 certificates");
    a.machines = s.machines;
    a.issuer = issuers;
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "issuer: 2 certificates");
    a.issuer = s.issuer_pem;
    a.certificates[USE_AGENT] = leaves;
    assert_err(join_answer_check(&a, s.root, "dc1", "hv9", keys, NOW, &err), &err,
               ERR_UNAUTHENTICATED, "2 certificates");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_there_and_back),
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(keys_are_looked_at),
        cmocka_unit_test(answer_is_checked),
        cmocka_unit_test(answer_there_and_back),
        cmocka_unit_test(no_other_authority_comes_along),
        cmocka_unit_test(no_other_people_come_along),
        cmocka_unit_test(peers_and_voters_are_plain),
        cmocka_unit_test(a_root_is_signed_by_itself),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
