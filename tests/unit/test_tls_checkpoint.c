/* Signed tree heads: what is altered, foreign or in another's name does not hold. */
#include "tests/unit/tls_fixture.h"

#include "tls/checkpoint.h"

struct notaries {
    struct world world;
    struct anchor *machines;
    struct identity *hv1, *hv2, *hv3;
};

static struct identity *make_host(const struct world *w, const char *name)
{
    make_pair(w, USE_AGENT, name, 365, NOW, NULL, NULL);
    return load_pair(w, name);
}

static int set_up(void **state)
{
    struct notaries *t = xcalloc(1, sizeof *t);
    struct err err = {0};
    world_init(&t->world, "dc1", UUID_ONE);
    _cleanup_(freep) char *root = pki_crt_pem(t->world.machines.crt);
    assert_ok(anchor_new(root, NULL, &t->machines, &err), &err);
    t->hv1 = make_host(&t->world, "hv1");
    t->hv2 = make_host(&t->world, "hv2");
    t->hv3 = make_host(&t->world, "hv3");
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct notaries *t = *state;
    identity_free(t->hv1);
    identity_free(t->hv2);
    identity_free(t->hv3);
    anchor_free(t->machines);
    world_done(&t->world);
    free(t);
    return 0;
}

static char *sign(const struct notaries *t, const char *host, const struct identity *by, msec at)
{
    struct checkpoint c = {.size = 12, .root = {1, 2, 3}, .at = at};
    char *text = NULL;
    struct err err = {0};
    snprintf(c.host, sizeof c.host, "%s", host);
    assert_ok(checkpoint_sign(&c, &t->world.cluster, by, &text, &err), &err);
    return text;
}

static int verify(const struct notaries *t, const char *text, struct checkpoint *ret,
                  struct checkpoint_witness *witnesses, size_t *n, struct err *err)
{
    return checkpoint_verify(text, strlen(text), t->machines, &t->world.cluster, NOW + 1000, ret,
                             witnesses, n, err);
}

static char *cosign(const struct notaries *t, const char *text, const char *name,
                    const struct identity *by, struct err *err)
{
    _cleanup_(freep) char *cosignature = NULL;
    char *ret = NULL;
    assert_ok(cosignature_sign(text, strlen(text), name, by, NOW, &cosignature, err), err);
    if (checkpoint_cosigned(text, strlen(text), cosignature, strlen(cosignature), t->machines,
                            &t->world.cluster, NOW, &ret, err) < 0)
        return NULL;
    return ret;
}

static void test_holds(void **state)
{
    const struct notaries *t = *state;
    struct checkpoint c;
    struct err err = {0};
    _cleanup_(freep) char *text = sign(t, "hv1", t->hv1, NOW);
    assert_ok(verify(t, text, &c, NULL, NULL, &err), &err);
    assert_string_equal(c.host, "hv1");
    assert_int_equal(c.size, 12);
    assert_int_equal(c.root[2], 3);
    assert_true(c.at == NOW);
}

static void test_cosigned(void **state)
{
    const struct notaries *t = *state;
    struct checkpoint_witness witnesses[CHECKPOINT_COSIGNATURES_MAX];
    struct checkpoint c;
    struct err err = {0};
    size_t n;
    _cleanup_(freep) char *text = sign(t, "hv1", t->hv1, NOW);
    _cleanup_(freep) char *one = cosign(t, text, "hv2", t->hv2, &err);
    _cleanup_(freep) char *two = cosign(t, one, "hv3", t->hv3, &err);
    assert_ok(verify(t, two, &c, witnesses, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(witnesses[1].host, "hv3");
    assert_null(cosign(t, two, "hv3", t->hv3, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_null(cosign(t, one, "hv3", t->hv2, &err)); /* in another's name */
    assert_int_equal(err.code, ERR_UNAUTHENTICATED);
    _cleanup_(freep) char *other = sign(t, "hv1", t->hv1, NOW - 5000);
    _cleanup_(freep) char *of_other = NULL, *ret = NULL;
    assert_ok(cosignature_sign(other, strlen(other), "hv3", t->hv3, NOW, &of_other, &err), &err);
    assert_err(checkpoint_cosigned(one, strlen(one), of_other, strlen(of_other), t->machines,
                                   &t->world.cluster, NOW, &ret, &err),
               &err, ERR_UNAUTHENTICATED, "another checkpoint");
}

static void test_does_not_hold(void **state)
{
    const struct notaries *t = *state;
    struct checkpoint c;
    struct err err = {0};
    _cleanup_(freep) char *forged = sign(t, "hv1", t->hv2, NOW);
    assert_err(verify(t, forged, &c, NULL, NULL, &err), &err, ERR_UNAUTHENTICATED, "signed by hv2");
    _cleanup_(freep) char *early = sign(t, "hv1", t->hv1, NOW + 60000);
    assert_err(verify(t, early, &c, NULL, NULL, &err), &err, ERR_EXPIRED, "not valid yet");
    _cleanup_(freep) char *altered = sign(t, "hv1", t->hv1, NOW);
    strstr(altered, "\"size\":12")[8] = '3';
    assert_err(verify(t, altered, &c, NULL, NULL, &err), &err, ERR_UNAUTHENTICATED, "does not fit");
    _cleanup_(freep) char *text = sign(t, "hv1", t->hv1, NOW);
    struct cluster other = t->world.cluster;
    memcpy(other.uuid, UUID_TWO, sizeof UUID_TWO);
    assert_err(
        checkpoint_verify(text, strlen(text), t->machines, &other, NOW, &c, NULL, NULL, &err), &err,
        ERR_UNAUTHENTICATED, "another cluster");
    assert_err(verify(t, "{}", &c, NULL, NULL, &err), &err, ERR_INVALID, "skein.checkpoint/1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cosigned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_does_not_hold, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
