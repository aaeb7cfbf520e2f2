#include "tests/unit/tls_fixture.h"

#include "proto/canon.h"

struct office {
    struct world world;
    struct identity *ann, *ben, *eve; /* two admins, and one who would like to be */
};

static int set_up(void **state)
{
    static struct office o;
    world_init(&o.world, "dc1", UUID_ONE);
    o.ann = make_person(&o.world, "ann");
    o.ben = make_person(&o.world, "ben");
    o.eve = make_person(&o.world, "eve");
    *state = &o;
    return 0;
}

static int tear_down(void **state)
{
    struct office *o = *state;
    identity_free(o->ann);
    identity_free(o->ben);
    identity_free(o->eve);
    world_done(&o->world);
    return 0;
}

static struct roster *roster_make(uint64_t version, unsigned threshold)
{
    struct roster *r = xcalloc(1, sizeof *r);
    *r = (struct roster){.version = version, .threshold = threshold, .issued_at = NOW};
    snprintf(r->cluster, sizeof r->cluster, "%s", UUID_ONE);
    return r;
}

static void name(struct roster *r, const char *who, const struct identity *id, roles set)
{
    struct err err = {0};
    struct roster_person p = {.roles = set};
    snprintf(p.name, sizeof p.name, "%s", who);
    snprintf(p.key, sizeof p.key, "%s", identity_key(id));
    assert_ok(roster_set(r, &p, &err), &err);
}

static char *sign(const struct roster *r, const struct identity *one, const struct identity *two)
{
    struct err err = {0};
    char *text = NULL, *both = NULL;
    assert_ok(roster_sign(r, one, &text, &err), &err);
    if (two == NULL)
        return text;
    assert_ok(roster_cosign(text, strlen(text), two, &both, &err), &err);
    free(text);
    return both;
}

static int verify(const struct office *o, const char *text, const struct roster *previous, msec now,
                  struct roster **ret, struct err *err)
{
    return roster_verify(text, strlen(text), o->world.people_anchor, &o->world.cluster, previous,
                         now, ret, err);
}

static void roles_are_words(void **state)
{
    (void)state;
    struct err err = {0};
    roles set;
    char text[ROLES_TEXT_SIZE];
    assert_ok(roles_parse("admin,viewer,approver,operator", &set, &err), &err);
    roles_format(set, text);
    assert_string_equal(text, "viewer,operator,approver,admin");
    assert_ok(roles_parse("approver", &set, &err), &err);
    assert_int_equal(set, ROLE_APPROVER);
    assert_err(roles_parse("aprover", &set, &err), &err, ERR_INVALID, "did you mean \"approver\"");
    assert_err(roles_parse("", &set, &err), &err, ERR_INVALID, "no role");
    assert_err(roles_parse("viewer,", &set, &err), &err, ERR_INVALID, "no role");
}

static void first_version_names_its_signer(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 1), *got = NULL, *none = NULL;
    name(r, "zoe", o->eve, ROLE_VIEWER | ROLE_APPROVER);
    name(r, "ann", o->ann, ROLE_ADMIN);
    _cleanup_(freep) char *text = sign(r, o->ann, NULL);
    assert_ok(verify(o, text, NULL, NOW, &got, &err), &err);
    assert_int_equal(got->version, 1);
    assert_int_equal(got->issued_at, NOW);
    assert_int_equal(got->n_people, 2);
    assert_string_equal(got->people[0].name, "ann");
    assert_string_equal(roster_by_key(got, identity_key(o->eve))->name, "zoe");
    assert_int_equal(roster_by_name(got, "zoe")->roles, ROLE_VIEWER | ROLE_APPROVER);
    assert_null(roster_by_key(got, identity_key(o->ben)));
    assert_null(roster_by_name(got, "ben"));

    _cleanup_(freep) char *by_other = sign(r, o->eve, NULL);
    assert_err(verify(o, by_other, NULL, NOW, &none, &err), &err, ERR_UNAUTHENTICATED,
               "signed by 0 of the admins");
}

static void kept_roster_outlives_certificates(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 1), *got = NULL, *none = NULL;
    name(r, "ann", o->ann, ROLE_ADMIN);
    _cleanup_(freep) char *text = sign(r, o->ann, NULL);
    assert_ok(verify(o, text, NULL, NOW + 1000 * DAY, &got, &err), &err);
    /* As a change, it is judged now. */
    _cleanup_(roster_freep) struct roster *old = roster_make(1, 1);
    name(old, "ann", o->ann, ROLE_ADMIN);
    r->version = 2;
    _cleanup_(freep) char *next = sign(r, o->ann, NULL);
    assert_err(verify(o, next, old, NOW + 1000 * DAY, &none, &err), &err, ERR_UNAUTHENTICATED,
               "expired at");
}

static void nobody_makes_himself_admin(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *old = roster_make(4, 1), *new = roster_make(5, 1);
    struct roster *none = NULL;
    name(old, "ann", o->ann, ROLE_ADMIN);
    name(old, "eve", o->eve, ROLE_OPERATOR);
    name(new, "eve", o->eve, ROLE_ADMIN);
    _cleanup_(freep) char *text = sign(new, o->eve, NULL);
    assert_err(verify(o, text, old, NOW, &none, &err), &err, ERR_UNAUTHENTICATED,
               "of the admins of version 4");
    _cleanup_(roster_freep) struct roster *got = NULL;
    _cleanup_(freep) char *agreed = sign(new, o->eve, o->ann);
    assert_ok(verify(o, agreed, old, NOW, &got, &err), &err);
    assert_int_equal(got->version, 5);
}

static void threshold_counts_distinct_admins(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 2), *got = NULL;
    struct roster *none = NULL;
    name(r, "ann", o->ann, ROLE_ADMIN);
    name(r, "ben", o->ben, ROLE_ADMIN);
    name(r, "eve", o->eve, ROLE_APPROVER);
    _cleanup_(freep) char *alone = sign(r, o->ann, NULL), *twice = sign(r, o->ann, o->ann);
    _cleanup_(freep) char *approver = sign(r, o->ann, o->eve), *both = sign(r, o->ann, o->ben);
    assert_err(verify(o, alone, NULL, NOW, &none, &err), &err, ERR_UNAUTHENTICATED, "wants 2");
    assert_err(verify(o, twice, NULL, NOW, &none, &err), &err, ERR_UNAUTHENTICATED, "by 1 of");
    assert_err(verify(o, approver, NULL, NOW, &none, &err), &err, ERR_UNAUTHENTICATED, "by 1 of");
    assert_ok(verify(o, both, NULL, NOW, &got, &err), &err);
    assert_err(verify(o, both, got, NOW, &none, &err), &err, ERR_STALE, "does not follow");
}

static void revoked_signers_do_not_count(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 1), *got = NULL, *none = NULL;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    gnutls_datum_t pem = datum_text(identity_certificate(o->ben));
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &pem, GNUTLS_X509_FMT_PEM), 0);
    _cleanup_(anchor_freep) struct anchor *people = people_without(&o->world, crt);
    name(r, "ann", o->ann, ROLE_ADMIN);
    name(r, "ben", o->ben, ROLE_ADMIN);
    _cleanup_(freep) char *by_ben = sign(r, o->ben, NULL), *both = sign(r, o->ben, o->ann);
    assert_err(
        roster_verify(by_ben, strlen(by_ben), people, &o->world.cluster, NULL, NOW, &none, &err),
        &err, ERR_UNAUTHENTICATED, "not counted: certificate revoked");
    assert_ok(roster_verify(both, strlen(both), people, &o->world.cluster, NULL, NOW, &got, &err),
              &err);
}

static void one_key_one_person(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 1);
    name(r, "ann", o->ann, ROLE_ADMIN);
    struct roster_person twin = {.name = "twin", .roles = ROLE_APPROVER};
    snprintf(twin.key, sizeof twin.key, "%s", identity_key(o->ann));
    assert_err(roster_set(r, &twin, &err), &err, ERR_CONFLICT, "same key");
    name(r, "ann", o->ben, ROLE_ADMIN); /* a new key for the same person */
    assert_int_equal(r->n_people, 1);
    assert_string_equal(r->people[0].key, identity_key(o->ben));
}

/* A well-signed roster with one member of its body replaced is refused for that member alone. */
static void refuse_body(const struct office *o, const char *member, json_t *value,
                        enum err_code code, const char *says)
{
    struct err err = {0};
    struct roster *none = NULL;
    _cleanup_(roster_freep) struct roster *r = roster_make(1, 1);
    name(r, "ann", o->ann, ROLE_ADMIN);
    _cleanup_(freep) char *text = sign(r, o->ann, NULL), *changed = NULL;
    _cleanup_json_ json_t *doc = NULL;
    assert_ok(canon_parse(text, strlen(text), "doc", &doc, &err), &err);
    json_object_set_new(json_object_get(doc, "body"), member, value);
    assert_ok(canon_dump(doc, &changed, NULL, &err), &err);
    assert_err(verify(o, changed, NULL, NOW, &none, &err), &err, code, says);
}

static void bodies_are_checked(void **state)
{
    const struct office *o = *state;
    const char *key = identity_key(o->ann);
    refuse_body(o, "cluster", json_string(UUID_TWO), ERR_UNAUTHENTICATED, "another cluster");
    refuse_body(o, "cluster", json_string("x"), ERR_INVALID, "UUID");
    refuse_body(o, "version", json_integer(0), ERR_INVALID, "out of range");
    refuse_body(o, "version", json_integer(2), ERR_UNAUTHENTICATED, "does not fit");
    refuse_body(o, "threshold", json_integer(0), ERR_INVALID, "threshold 0 with 1 admins");
    refuse_body(o, "threshold", json_integer(2), ERR_INVALID, "threshold 2 with 1 admins");
    refuse_body(o, "issued_at", json_string("now"), ERR_INVALID, "issued_at");
    refuse_body(o, "extra", json_true(), ERR_INVALID, "alone");
    refuse_body(o, "people", json_object(), ERR_INVALID, "list");
    refuse_body(o, "people", json_array(), ERR_INVALID, "with 0 admins");
    refuse_body(o, "people",
                json_pack("[{s:s,s:[s],s:s}]", "name", "a/b", "roles", "admin", "key", key),
                ERR_INVALID, "person 1");
    refuse_body(o, "people",
                json_pack("[{s:s,s:[s],s:s}]", "name", "a", "roles", "root", "key", key),
                ERR_INVALID, "\"root\" is no role");
    refuse_body(o, "people", json_pack("[{s:s,s:[],s:s}]", "name", "a", "roles", "key", key),
                ERR_INVALID, "no roles");
    refuse_body(o, "people",
                json_pack("[{s:s,s:[s],s:s}]", "name", "a", "roles", "admin", "key", "00"),
                ERR_INVALID, "64 hexadecimal");
    refuse_body(o, "people",
                json_pack("[{s:s,s:[s],s:s},{s:s,s:[s],s:s}]", "name", "b", "roles", "admin", "key",
                          key, "name", "a", "roles", "admin", "key", identity_key(o->ben)),
                ERR_INVALID, "out of order");
}

static void documents_are_checked(void **state)
{
    const struct office *o = *state;
    struct err err = {0};
    struct roster *none = NULL;
    const char *const bad[] = {"", "[]", "{}",
                               "{\"schema\":\"skein.roster/1\",\"body\":1,"
                               "\"signatures\":[]}",
                               "{\"schema\":\"skein.roster/2\",\"body\":{},\"signatures\":[]}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_err(verify(o, bad[i], NULL, NOW, &none, &err), &err, ERR_INVALID, "roster");
    _cleanup_(freep) char *big = xcalloc(1, ROSTER_MAX + 2);
    memset(big, ' ', ROSTER_MAX + 1);
    assert_err(verify(o, big, NULL, NOW, &none, &err), &err, ERR_LIMIT, "larger");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_are_words),
        cmocka_unit_test(first_version_names_its_signer),
        cmocka_unit_test(kept_roster_outlives_certificates),
        cmocka_unit_test(nobody_makes_himself_admin),
        cmocka_unit_test(threshold_counts_distinct_admins),
        cmocka_unit_test(revoked_signers_do_not_count),
        cmocka_unit_test(one_key_one_person),
        cmocka_unit_test(bodies_are_checked),
        cmocka_unit_test(documents_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
