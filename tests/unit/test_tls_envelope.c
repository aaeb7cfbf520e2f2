#include "tests/unit/tls_fixture.h"

#include "proto/canon.h"
#include "tls/envelope.h"

struct court {
    struct world world;
    struct identity *admin, *alice,
        *mallory; /* mallory has a certificate, no place in the roster */
    struct roster *roster;
};

static const uint8_t nonce[ENVELOPE_NONCE_SIZE] = {1, 2, 3, 0xff};

static struct roster_person person_of(const struct identity *id, const char *name, roles set)
{
    struct roster_person p = {.roles = set};
    snprintf(p.name, sizeof p.name, "%s", name);
    snprintf(p.key, sizeof p.key, "%s", identity_key(id));
    return p;
}

static int set_up(void **state)
{
    static struct court c;
    struct err err = {0};
    world_init(&c.world, "dc1", UUID_ONE);
    c.admin = make_person(&c.world, "admin");
    c.alice = make_person(&c.world, "alice");
    c.mallory = make_person(&c.world, "mallory");
    c.roster = xcalloc(1, sizeof *c.roster);
    *c.roster = (struct roster){.version = 1, .threshold = 1, .issued_at = NOW};
    snprintf(c.roster->cluster, sizeof c.roster->cluster, "%s", UUID_ONE);
    struct roster_person admin = person_of(c.admin, "admin", ROLE_ADMIN);
    struct roster_person alice = person_of(c.alice, "alice", ROLE_APPROVER | ROLE_OPERATOR);
    assert_ok(roster_set(c.roster, &alice, &err), &err);
    assert_ok(roster_set(c.roster, &admin, &err), &err);
    *state = &c;
    return 0;
}

static int tear_down(void **state)
{
    struct court *c = *state;
    identity_free(c->admin);
    identity_free(c->alice);
    identity_free(c->mallory);
    roster_free(c->roster);
    world_done(&c->world);
    return 0;
}

static char *sign(const struct court *c, const struct identity *id, const char *command)
{
    struct err err = {0};
    _cleanup_json_ json_t *doc = NULL;
    char *text = NULL;
    assert_ok(canon_parse(command, strlen(command), "command", &doc, &err), &err);
    assert_ok(envelope_sign(doc, id, &c->world.cluster, NOW, 60000, nonce, &text, &err), &err);
    return text;
}

static int verify_at(const struct court *c, const char *text, msec now, struct envelope *ret,
                     struct err *err)
{
    return envelope_verify(text, strlen(text), c->roster, c->world.people_anchor, &c->world.cluster,
                           now, ret, err);
}

static void signed_command_says_who(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text =
        sign(c, c->alice, "{\"type\":\"approve\",\"plan\":\"p1\",\"n\":1.5}");
    assert_ok(verify_at(c, text, NOW + 1000, &e, &err), &err);
    assert_string_equal(e.person, "alice");
    assert_int_equal(e.roles, ROLE_APPROVER | ROLE_OPERATOR);
    assert_string_equal(e.key, identity_key(c->alice));
    assert_string_equal(e.nonce, "010203ff000000000000000000000000");
    assert_int_equal(e.issued_at, NOW);
    assert_int_equal(e.expires_at, NOW + 60000);
    assert_string_equal(json_string_value(json_object_get(e.command, "plan")), "p1");
    char digest[HASH_HEX_SIZE];
    memcpy(digest, e.digest, sizeof digest);
    envelope_done(&e);

    /* Signed again: another signature, the same command and digest. */
    _cleanup_(freep) char *again =
        sign(c, c->alice, "{\"type\":\"approve\",\"plan\":\"p1\",\"n\":1.5}");
    assert_ok(verify_at(c, again, NOW, &e, &err), &err);
    assert_string_equal(e.digest, digest);
    envelope_done(&e);
}

static void time_bounds_it(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text = sign(c, c->alice, "{\"type\":\"freeze\"}");
    assert_ok(verify_at(c, text, NOW - 2000, &e, &err), &err);
    envelope_done(&e);
    assert_err(verify_at(c, text, NOW - 2001, &e, &err), &err, ERR_EXPIRED, "not valid yet");
    assert_ok(verify_at(c, text, NOW + 59999, &e, &err), &err);
    envelope_done(&e);
    assert_err(verify_at(c, text, NOW + 60000, &e, &err), &err, ERR_EXPIRED, "expired at");
    _cleanup_json_ json_t *command = json_pack("{s:s}", "type", "freeze");
    char *none = NULL;
    assert_err(envelope_sign(command, c->alice, &c->world.cluster, NOW, 0, nonce, &none, &err),
               &err, ERR_INVALID, "lifetime");
    assert_err(envelope_sign(command, c->alice, &c->world.cluster, NOW, ENVELOPE_LIFETIME_MAX + 1,
                             nonce, &none, &err),
               &err, ERR_INVALID, "lifetime");
}

static void every_altered_byte_is_refused(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text = sign(c, c->alice, "{\"type\":\"drain\",\"host\":\"hv1\"}");
    size_t len = strlen(text);
    char *payload = strstr(text, "\"payload\""), *end = strstr(text, ",\"schema\"");
    assert_non_null(payload);
    assert_non_null(end);
    for (char *p = payload; p < end; p++) {
        char saved = *p;
        *p = saved == '7' ? '8' : '7';
        assert_int_not_equal(envelope_verify(text, len, c->roster, c->world.people_anchor,
                                             &c->world.cluster, NOW, &e, &err),
                             0);
        *p = saved;
    }
    assert_ok(verify_at(c, text, NOW, &e, &err), &err);
    envelope_done(&e);
}

/* The document with one member of the given path replaced. */
static char *with(const char *text, const char *object, const char *member, json_t *value)
{
    struct err err = {0};
    char *out = NULL;
    _cleanup_json_ json_t *doc = NULL;
    assert_ok(canon_parse(text, strlen(text), "doc", &doc, &err), &err);
    json_t *at = object != NULL ? json_object_get(doc, object) : doc;
    json_object_set_new(at, member, value);
    assert_ok(canon_dump(doc, &out, NULL, &err), &err);
    return out;
}

static void refuse(const struct court *c, const char *object, const char *member, json_t *value,
                   enum err_code code, const char *says)
{
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text = sign(c, c->alice, "{\"type\":\"drain\",\"host\":\"hv1\"}");
    _cleanup_(freep) char *changed = with(text, object, member, value);
    assert_err(verify_at(c, changed, NOW, &e, &err), &err, code, says);
}

static void forged_parts_are_refused(void **state)
{
    const struct court *c = *state;
    const char *mallory = identity_certificate(c->mallory);
    refuse(c, "payload", "cluster", json_string(UUID_TWO), ERR_UNAUTHENTICATED, "another cluster");
    refuse(c, "payload", "nonce", json_string("00"), ERR_INVALID, "nonce");
    refuse(c, "payload", "command", json_string("x"), ERR_INVALID, "type");
    refuse(c, "payload", "command", json_object(), ERR_INVALID, "type");
    refuse(c, "payload", "command", json_pack("{s:s}", "type", "freeze"), ERR_UNAUTHENTICATED,
           "signature does not fit");
    refuse(c, "payload", "issued_at", json_string("yesterday"), ERR_INVALID, "issued_at");
    refuse(c, "payload", "expires_at", json_string("2099-01-01T00:00:00Z"), ERR_INVALID,
           "lifetime");
    refuse(c, "payload", "extra", json_true(), ERR_INVALID, "alone");
    refuse(c, NULL, "extra", json_true(), ERR_INVALID, "alone");
    refuse(c, NULL, "schema", json_string("skein.envelope/2"), ERR_INVALID, "schema");
    refuse(c, NULL, "certificate", json_string("none"), ERR_INVALID, "certificate");
    refuse(c, NULL, "certificate", json_string(mallory), ERR_UNAUTHENTICATED, "does not fit");
    refuse(c, NULL, "signature", json_string("!!"), ERR_UNAUTHENTICATED, "base64");
    refuse(c, NULL, "signature", json_string(""), ERR_UNAUTHENTICATED, "base64");
    refuse(c, NULL, "signature", json_string("AAAA"), ERR_UNAUTHENTICATED, "does not fit");
}

static void acted_on_is_what_was_signed(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text = sign(c, c->alice, "{\"type\":\"limit\",\"n\":1}");
    _cleanup_(freep) char *changed =
        with(text, "payload", "command", json_pack("{s:s,s:f}", "type", "limit", "n", 1.0));
    char *n = strstr(changed, "\"n\":1"); /* 1.0004 is signed like 1, so it must be read as 1 */
    assert_non_null(n);
    size_t at = (size_t)(n - changed) + strlen("\"n\":1");
    _cleanup_(freep) char *fine = xasprintf("%.*s.0004%s", (int)at, changed, changed + at);
    assert_ok(verify_at(c, fine, NOW, &e, &err), &err);
    assert_true(json_number_value(json_object_get(e.command, "n")) == 1.0);
    envelope_done(&e);
}

static void strangers_are_refused(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(freep) char *text = sign(c, c->mallory, "{\"type\":\"freeze\"}");
    assert_err(verify_at(c, text, NOW, &e, &err), &err, ERR_DENIED, "not in the roster");

    struct world other;
    world_init(&other, "dc1", UUID_ONE);
    _cleanup_(identity_freep) struct identity *foreign = make_person(&other, "alice");
    _cleanup_(freep) char *foreign_text = sign(c, foreign, "{\"type\":\"freeze\"}");
    assert_err(verify_at(c, foreign_text, NOW, &e, &err), &err, ERR_UNAUTHENTICATED, "root");

    /* The same name with a new key under the right root is still someone else. */
    struct world twin = c->world;
    snprintf(twin.directory, sizeof twin.directory, "%s", other.directory);
    _cleanup_(identity_freep) struct identity *second = make_person(&twin, "alice");
    _cleanup_(freep) char *second_text = sign(c, second, "{\"type\":\"freeze\"}");
    assert_err(verify_at(c, second_text, NOW, &e, &err), &err, ERR_DENIED, "with this key");
    world_done(&other);
}

static void hosts_do_not_command(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    make_pair(&c->world, USE_AGENT, "hv1", 7, NOW, NULL, NULL);
    _cleanup_(identity_freep) struct identity *host = load_pair(&c->world, "hv1");
    _cleanup_(freep) char *text = sign(c, host, "{\"type\":\"freeze\"}");
    assert_err(verify_at(c, text, NOW, &e, &err), &err, ERR_UNAUTHENTICATED, "root");
}

static void revoked_people_are_refused(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    gnutls_datum_t pem = datum_text(identity_certificate(c->alice));
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM), 0);
    _cleanup_(anchor_freep) struct anchor *people = people_without(&c->world, crt);
    _cleanup_(freep) char *text = sign(c, c->alice, "{\"type\":\"freeze\"}");
    assert_err(
        envelope_verify(text, strlen(text), c->roster, people, &c->world.cluster, NOW, &e, &err),
        &err, ERR_DENIED, "revoked");
}

static void size_is_bounded(void **state)
{
    const struct court *c = *state;
    struct err err = {0};
    struct envelope e = {0};
    char *none = NULL;
    _cleanup_(freep) char *big = xmalloc(ENVELOPE_MAX + 2);
    memset(big, ' ', ENVELOPE_MAX + 1);
    big[ENVELOPE_MAX + 1] = '\0';
    assert_err(verify_at(c, big, NOW, &e, &err), &err, ERR_LIMIT, "larger");
    _cleanup_json_ json_t *command = json_pack("{s:s, s:s}", "type", "x", "text", big);
    assert_err(envelope_sign(command, c->alice, &c->world.cluster, NOW, 1000, nonce, &none, &err),
               &err, ERR_LIMIT, "larger");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_command_says_who),
        cmocka_unit_test(time_bounds_it),
        cmocka_unit_test(every_altered_byte_is_refused),
        cmocka_unit_test(forged_parts_are_refused),
        cmocka_unit_test(acted_on_is_what_was_signed),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(hosts_do_not_command),
        cmocka_unit_test(revoked_people_are_refused),
        cmocka_unit_test(size_is_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
