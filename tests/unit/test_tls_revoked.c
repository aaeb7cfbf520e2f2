/* Serial numbers that say whom they are for, and whom a list newly names. */
#include "tests/unit/tls_fixture.h"

#include "tls/revoked.h"

struct lists {
    struct world world;
    char *root;
};

static int set_up(void **state)
{
    struct lists *t = xcalloc(1, sizeof *t);
    world_init(&t->world, "dc1", UUID_ONE);
    t->root = pki_crt_pem(t->world.machines.crt);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct lists *t = *state;
    world_done(&t->world);
    free(t->root);
    free(t);
    return 0;
}

static char *list_with(struct lists *t, const char *previous, enum identity_use use,
                       const char *name)
{
    struct err err = {0};
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    const struct pki_root *root = use == USE_PERSON ? &t->world.people : &t->world.machines;
    char *list = NULL;
    if (name != NULL)
        make_pair(&t->world, use, name, 365, NOW, NULL, &crt);
    assert_ok(pki_crl(root, previous, crt, 30, NOW, &list, &err), &err);
    return list;
}

static void test_names_of_a_list(void **state)
{
    struct lists *t = *state;
    struct err err = {0};
    struct revoked r = {0};
    _cleanup_(freep) char *first = list_with(t, NULL, USE_LIBVIRT, "hv4");
    _cleanup_(freep) char *second = list_with(t, first, USE_LIBVIRT, "hv5");
    _cleanup_(freep) char *people = list_with(t, NULL, USE_PERSON, "hv6");
    _cleanup_(freep) char *both = xasprintf("%s%s", people, second);
    assert_ok(revoked_since(t->root, both, NULL, &r, &err), &err);
    assert_string_equal(r.list, second); /* the people's list is none of the hypervisors' */
    assert_true(revoked_names(&r, USE_LIBVIRT, "hv4"));
    assert_true(revoked_names(&r, USE_LIBVIRT, "hv5"));
    assert_false(revoked_names(&r, USE_LIBVIRT, "hv6"));
    assert_false(revoked_names(&r, USE_AGENT, "hv4"));
    revoked_done(&r);
    /* What the older list has is not new. */
    assert_ok(revoked_since(t->root, both, first, &r, &err), &err);
    assert_false(revoked_names(&r, USE_LIBVIRT, "hv4"));
    assert_true(revoked_names(&r, USE_LIBVIRT, "hv5"));
    revoked_done(&r);
    assert_ok(revoked_since(t->root, both, second, &r, &err), &err);
    assert_int_equal(r.n, 0);
    revoked_done(&r);
    assert_ok(revoked_since(t->root, people, NULL, &r, &err), &err);
    assert_null(r.list);
    revoked_done(&r);
}

/* Nothing that a revoked issuer made counts any more: sessions of all whom it may have made end. */
static void test_a_revoked_issuer_is_everybody(void **state)
{
    struct lists *t = *state;
    struct err err = {0};
    struct revoked r = {0};
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    _cleanup_(freep) char *list = NULL;
    assert_ok(
        pki_issuer_create(&t->world.machines, &t->world.cluster, "hv1", 365, NOW, &issuer, &err),
        &err);
    assert_ok(pki_crl(&t->world.machines, NULL, issuer.crt, 30, NOW, &list, &err), &err);
    assert_ok(revoked_since(t->root, list, NULL, &r, &err), &err);
    assert_true(revoked_names(&r, USE_LIBVIRT, "hv9"));
    revoked_done(&r);
}

/* Numbers of older versions may be anybody's. */
static void test_unmarked_is_everybody(void **state)
{
    struct lists *t = *state;
    struct err err = {0};
    struct revoked r = {0};
    _cleanup_(crl_freep) gnutls_x509_crl_t crl = NULL;
    const uint8_t serial[16] = {0x41, 1, 2, 3};
    gnutls_datum_t out;
    assert_int_equal(gnutls_x509_crl_init(&crl), 0);
    gnutls_x509_crl_set_version(crl, 2);
    gnutls_x509_crl_set_this_update(crl, (time_t)(NOW / 1000));
    gnutls_x509_crl_set_next_update(crl, (time_t)(NOW / 1000) + 86400);
    gnutls_x509_crl_set_crt_serial(crl, serial, sizeof serial, (time_t)(NOW / 1000));
    assert_int_equal(gnutls_x509_crl_sign2(crl, t->world.machines.crt, t->world.machines.key,
                                           GNUTLS_DIG_SHA256, 0),
                     0);
    assert_int_equal(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &out), 0);
    _cleanup_(freep) char *text = xasprintf("%.*s", (int)out.size, (char *)out.data);
    gnutls_free(out.data);
    assert_ok(revoked_since(t->root, text, NULL, &r, &err), &err);
    assert_true(revoked_names(&r, USE_LIBVIRT, "hv1"));
    revoked_done(&r);
    assert_true(revoked_since(t->root, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
                              NULL, &r, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_of_a_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_revoked_issuer_is_everybody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unmarked_is_everybody, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
