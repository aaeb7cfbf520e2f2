/* Roots, revocations and roster: what the voters agree on, and what each host follows of it. */
#include "tests/unit/tls_fixture.h"

#include "agent/io/trust.h"
#include "proto/canon.h"
#include "tls/envelope.h"

struct court {
    struct world world;
    struct trust_store *store;
    struct identity *ada, *bert;
    char *machines, *people, *crl, *roster; /* as on the disk */
};

static char *make_crl(struct court *t, const char *previous, gnutls_x509_crt_t revoked)
{
    struct err err = {0};
    char *machines = NULL, *people = NULL;
    assert_ok(pki_crl(&t->world.machines, previous, NULL, 30, NOW, &machines, &err), &err);
    assert_ok(pki_crl(&t->world.people, previous, revoked, 30, NOW, &people, &err), &err);
    char *both = xasprintf("%s%s", machines, people);
    free(machines);
    free(people);
    return both;
}

static char *make_roster(struct court *t, uint64_t version, unsigned bert_roles,
                         const struct identity *by)
{
    struct roster r = {.version = version, .threshold = 1, .issued_at = NOW};
    struct roster_person ada = {.name = "ada", .roles = ROLE_ADMIN};
    struct roster_person bert = {.name = "bert", .roles = bert_roles};
    struct err err = {0};
    char *text = NULL;
    snprintf(r.cluster, sizeof r.cluster, "%s", t->world.cluster.uuid);
    snprintf(ada.key, sizeof ada.key, "%s", identity_key(t->ada));
    snprintf(bert.key, sizeof bert.key, "%s", identity_key(t->bert));
    assert_ok(roster_set(&r, &ada, &err), &err);
    assert_ok(roster_set(&r, &bert, &err), &err);
    assert_ok(roster_sign(&r, by, &text, &err), &err);
    free(r.people);
    return text;
}

static int set_up(void **state)
{
    struct court *t = xcalloc(1, sizeof *t);
    struct err err = {0};
    world_init(&t->world, "dc1", UUID_ONE);
    t->ada = make_person(&t->world, "ada");
    t->bert = make_person(&t->world, "bert");
    t->machines = pki_crt_pem(t->world.machines.crt);
    t->people = pki_crt_pem(t->world.people.crt);
    t->crl = make_crl(t, NULL, NULL);
    t->roster = make_roster(t, 1, ROLE_APPROVER, t->ada);
    write_text(&t->world, "machines.pem", t->machines);
    write_text(&t->world, "people.pem", t->people);
    write_text(&t->world, "crl.pem", t->crl);
    write_text(&t->world, "roster.json", t->roster);
    _cleanup_(freep) char *path = path_in(&t->world, "cluster.json");
    assert_ok(cluster_save(path, &t->world.cluster, &err), &err);
    assert_ok(trust_open(t->world.directory, NOW, &t->store, &err), &err);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct court *t = *state;
    trust_close(t->store);
    identity_free(t->ada);
    identity_free(t->bert);
    free(t->machines);
    free(t->people);
    free(t->crl);
    free(t->roster);
    world_done(&t->world);
    free(t);
    return 0;
}

static int follow(const struct court *t, const char *crl, const char *roster,
                  const struct trust *previous, struct trust **ret, struct err *err)
{
    const struct trust *own = trust_of(t->store);
    struct trust_roots roots = {t->machines, t->people, crl, roster, 0, 0};
    *err = (struct err){0};
    return own->follow(own->arg, &roots, previous, NOW, ret, err);
}

static int says(const struct court *t, const struct trust *trust, const struct identity *who,
                unsigned *ret_roles, struct err *err)
{
    _cleanup_json_ json_t *command = json_pack("{s:s}", "type", "approve");
    _cleanup_(freep) char *envelope = NULL;
    struct trust_command c = {0};
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {1};
    assert_ok(envelope_sign(command, who, &t->world.cluster, NOW, 60000, nonce, &envelope, err),
              err);
    int rc = trust->verify(trust->arg, (uint8_t *)envelope, strlen(envelope), NOW, &c, err);
    *ret_roles = c.roles;
    trust_command_done(&c);
    return rc;
}

/* What is agreed on judges, not the files: all voters alike. */
static void test_agreed_roots_judge(void **state)
{
    struct court *t = *state;
    const struct trust *own = trust_of(t->store);
    struct trust *first, *second;
    struct err err;
    unsigned bits;
    assert_ok(follow(t, t->crl, t->roster, NULL, &first, &err), &err);
    assert_int_equal(first->roots(first)->roster_version, 1);
    _cleanup_(freep) char *next = make_roster(t, 2, ROLE_VIEWER, t->ada);
    assert_ok(follow(t, t->crl, next, first, &second, &err), &err);
    assert_ok(says(t, second, t->bert, &bits, &err), &err);
    assert_int_equal(bits, ROLE_VIEWER);
    assert_ok(says(t, own, t->bert, &bits, &err), &err); /* the file has not changed */
    assert_int_equal(bits, ROLE_APPROVER);
    own->drop(first);
    own->drop(second);
}

/* A majority of liars among the voters changes no roster: each of these is refused by all. */
static void test_what_does_not_follow(void **state)
{
    struct court *t = *state;
    const struct trust *own = trust_of(t->store);
    struct trust *first, *none;
    struct err err;
    bool changed;
    assert_ok(follow(t, t->crl, t->roster, NULL, &first, &err), &err);
    _cleanup_(freep) char *coup = make_roster(t, 2, ROLE_ADMIN, t->bert);
    assert_err(follow(t, t->crl, coup, first, &none, &err), &err, ERR_UNAUTHENTICATED,
               "admins of version 1");
    _cleanup_(freep) char *old = make_roster(t, 1, ROLE_ADMIN, t->ada);
    assert_err(follow(t, t->crl, old, first, &none, &err), &err, ERR_STALE, "does not follow");
    struct world other;
    world_init(&other, "dc1", UUID_ONE);
    _cleanup_(freep) char *foreign = pki_crt_pem(other.people.crt);
    struct trust_roots roots = {t->machines, foreign, t->crl, t->roster, 0, 0};
    assert_true(own->follow(own->arg, &roots, first, NOW, &none, &err) < 0);
    world_done(&other);

    /* nor does any host adopt it */
    struct trust_roots told = {t->machines, t->people, t->crl, coup, 0, 0};
    assert_true(trust_adopt(t->store, &told, NOW, &changed, &err) < 0);
    assert_false(changed);
    assert_int_equal(own->roots(own)->roster_version, 1);
    own->drop(first);
}

static void test_revocations_only_grow(void **state)
{
    struct court *t = *state;
    const struct trust *own = trust_of(t->store);
    struct trust *first, *second, *none;
    struct err err;
    unsigned bits;
    bool changed;
    _cleanup_(crt_freep) gnutls_x509_crt_t carl = NULL;
    make_pair(&t->world, USE_PERSON, "carl", 365, NOW, NULL, &carl);
    _cleanup_(freep) char *longer = make_crl(t, t->crl, carl);
    assert_ok(follow(t, t->crl, t->roster, NULL, &first, &err), &err);
    assert_ok(follow(t, longer, t->roster, first, &second, &err), &err);
    assert_err(follow(t, t->crl, t->roster, second, &none, &err), &err, ERR_STALE, "older list");
    own->drop(first);
    own->drop(second);

    /* A host that hears of it keeps it, also for its next life. */
    struct trust_roots told = {t->machines, t->people, longer, t->roster, 0, 0};
    assert_ok(trust_adopt(t->store, &told, NOW, &changed, &err), &err);
    assert_true(changed);
    assert_ok(trust_adopt(t->store, &told, NOW, &changed, &err), &err);
    assert_false(changed);
    uint64_t before = own->roots(own)->revocations;
    told.crl = t->crl; /* the old list once more changes nothing */
    assert_ok(trust_adopt(t->store, &told, NOW, &changed, &err), &err);
    assert_false(changed);
    trust_close(t->store);
    assert_ok(trust_open(t->world.directory, NOW, &t->store, &err), &err);
    own = trust_of(t->store);
    assert_true(own->roots(own)->revocations == before);
    assert_ok(says(t, own, t->bert, &bits, &err), &err);
}

static void test_reload(void **state)
{
    struct court *t = *state;
    struct err err = {0};
    assert_ok(trust_reload(t->store, NOW, &err), &err); /* nothing has changed */
    _cleanup_(freep) char *coup = make_roster(t, 2, ROLE_ADMIN, t->bert);
    write_text(&t->world, "roster.json", coup);
    assert_err(trust_reload(t->store, NOW, &err), &err, ERR_UNAUTHENTICATED, "roster.json");
    _cleanup_(freep) char *next = make_roster(t, 2, ROLE_ADMIN, t->ada);
    write_text(&t->world, "roster.json", next);
    assert_ok(trust_reload(t->store, NOW, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agreed_roots_judge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_follow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_revocations_only_grow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
