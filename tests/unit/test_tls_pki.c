#include "tests/unit/tls_fixture.h"

#include <gnutls/gnutls.h>
#include <sys/stat.h>

#include "tls/revoked.h"

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

static struct anchor *machines_anchor(const struct world *w, const char *crl)
{
    struct err err = {0};
    struct anchor *anchor = NULL;
    _cleanup_(freep) char *root = pki_crt_pem(w->machines.crt);
    assert_ok(anchor_new(root, crl, &anchor, &err), &err);
    return anchor;
}

static void uri_names_who(void **state)
{
    (void)state;
    struct err err = {0};
    char uri[URI_SIZE], name[NAME_SIZE];
    enum identity_use use;
    for (enum identity_use u = 0; u < USE_COUNT; u++) {
        uri_format("dc1", u, "hv-1.lab", uri);
        assert_ok(uri_parse(uri, "dc1", &use, name, &err), &err);
        assert_int_equal(use, u);
        assert_string_equal(name, "hv-1.lab");
    }
    assert_err(uri_parse("spiffe://dc2/host/hv1", "dc1", &use, name, &err), &err,
               ERR_UNAUTHENTICATED, "another cluster");
    const char *const bad[] = {"https://dc1/host/hv1",   "spiffe:///host/hv1",
                               "spiffe://dc1",           "spiffe://dc1/host/",
                               "spiffe://dc1/host/a/b",  "spiffe://dc1/host/hv1/",
                               "spiffe://dc1/person//x", "spiffe://dc1/host/../x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_err(uri_parse(bad[i], "dc1", &use, name, &err), &err, ERR_INVALID, "spiffe:");
}

static void names_are_checked(void **state)
{
    (void)state;
    struct err err = {0};
    assert_ok(name_check("host", "HV-1.example_x", &err), &err);
    assert_err(name_check("host", "", &err), &err, ERR_INVALID, "host name");
    assert_err(name_check("host", "-x", &err), &err, ERR_INVALID, "first");
    assert_err(name_check("host", "a/b", &err), &err, ERR_INVALID, "a/b");
    assert_err(name_check("host", "h\xc3\xa9", &err), &err, ERR_INVALID, "letters");
    assert_err(name_check("cluster", "DC1", &err), &err, ERR_INVALID, "capitals");
    char name[NAME_SIZE + 1];
    memset(name, 'a', sizeof name);
    name[NAME_SIZE] = '\0';
    assert_err(name_check("host", name, &err), &err, ERR_INVALID, "64");
    name[NAME_SIZE - 1] = '\0';
    assert_ok(name_check("host", name, &err), &err);
}

static void host_certificates_serve_and_call(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    const char *dns[] = {"hv1", "hv1.example"}, *ips[] = {"10.77.0.1", "fd00::1"};
    for (enum identity_use use = USE_AGENT; use <= USE_QEMU; use++) {
        _cleanup_(pki_pair_done) struct pki_pair pair = {0};
        struct pki_request request = {use, "hv1", dns, ips, 2, 2, 7};
        assert_ok(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err);
        unsigned usage = 0;
        assert_int_equal(gnutls_x509_crt_get_key_usage(pair.crt, &usage, NULL), 0);
        assert_true(usage & GNUTLS_KEY_DIGITAL_SIGNATURE);
        bool rsa = gnutls_x509_crt_get_pk_algorithm(pair.crt, NULL) == GNUTLS_PK_RSA;
        assert_int_equal(rsa, use != USE_AGENT);
        assert_int_equal((usage & GNUTLS_KEY_KEY_ENCIPHERMENT) != 0, rsa);
        assert_true(gnutls_x509_crt_check_hostname(pair.crt, "hv1.example"));
        assert_true(gnutls_x509_crt_check_hostname(pair.crt, "10.77.0.1"));
        assert_true(gnutls_x509_crt_check_hostname(pair.crt, "fd00::1"));
        assert_false(gnutls_x509_crt_check_hostname(pair.crt, "hv2"));
        assert_true(gnutls_x509_crt_check_key_purpose(pair.crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
        assert_true(gnutls_x509_crt_check_key_purpose(pair.crt, GNUTLS_KP_TLS_WWW_CLIENT, 0));

        _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, NULL);
        struct subject s;
        assert_ok(anchor_verify(anchor, &pair.crt, 1, "dc1", use, NOW, &s, &err), &err);
        assert_string_equal(s.name, "hv1");
        assert_int_equal(s.not_after, NOW + 7 * DAY);
        if (use != USE_AGENT)
            assert_err(anchor_verify(anchor, &pair.crt, 1, "dc1", USE_AGENT, NOW, &s, &err), &err,
                       ERR_DENIED, use_name(use));
    }
}

static void requests_are_checked(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct pki_pair pair = {0};
    const char *bad_ip = "10.0.0.256", *bad_dns = "a b";
    struct pki_request request = {.use = USE_AGENT, .name = "hv1", .days = 0};
    assert_err(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err, ERR_INVALID,
               "0 days");
    request.days = 1;
    request.addresses = &bad_ip;
    request.n_addresses = 1;
    assert_err(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err, ERR_INVALID,
               "10.0.0.256");
    request.n_addresses = 0;
    request.dns = &bad_dns;
    request.n_dns = 1;
    assert_err(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err, ERR_INVALID,
               "DNS");
    request = (struct pki_request){.use = USE_AGENT, .name = "../x", .days = 1};
    assert_err(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err, ERR_INVALID,
               "../x");
}

static void certificates_have_their_time(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct subject s;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, NULL);
    make_pair(w, USE_AGENT, "timed", 7, NOW, NULL, &crt);
    assert_ok(anchor_verify(anchor, &crt, 1, "dc1", USE_AGENT, NOW - 299000, &s, &err), &err);
    assert_err(anchor_verify(anchor, &crt, 1, "dc1", USE_AGENT, NOW - 301000, &s, &err), &err,
               ERR_EXPIRED, "not valid before");
    assert_ok(anchor_verify(anchor, &crt, 1, "dc1", USE_AGENT, NOW + 7 * DAY - 1, &s, &err), &err);
    assert_err(anchor_verify(anchor, &crt, 1, "dc1", USE_AGENT, NOW + 7 * DAY, &s, &err), &err,
               ERR_EXPIRED, "expired at");
}

static void revoked_is_refused(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct subject s;
    _cleanup_(crt_freep) gnutls_x509_crt_t one = NULL, two = NULL, three = NULL;
    make_pair(w, USE_AGENT, "one", 7, NOW, NULL, &one);
    make_pair(w, USE_AGENT, "two", 7, NOW, NULL, &two);
    make_pair(w, USE_AGENT, "three", 7, NOW, NULL, &three);
    _cleanup_(freep) char *empty = NULL, *first = NULL, *second = NULL, *people = NULL;
    assert_ok(pki_crl(&w->machines, NULL, NULL, 30, NOW, &empty, &err), &err);
    assert_ok(pki_crl(&w->people, NULL, NULL, 30, NOW, &people, &err), &err);
    assert_ok(pki_crl(&w->machines, empty, one, 30, NOW, &first, &err), &err);
    _cleanup_(freep) char *both = xasprintf("%s%s", people, first);
    assert_ok(pki_crl(&w->machines, both, two, 30, NOW, &second, &err), &err);
    _cleanup_(freep) char *all = xasprintf("%s%s", people, second);
    _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, all);
    assert_int_equal(anchor_crl_next_update(anchor), NOW + 30 * DAY);
    assert_err(anchor_verify(anchor, &one, 1, "dc1", USE_AGENT, NOW, &s, &err), &err, ERR_DENIED,
               "revoked");
    assert_err(anchor_verify(anchor, &two, 1, "dc1", USE_AGENT, NOW, &s, &err), &err, ERR_DENIED,
               "revoked");
    assert_ok(anchor_verify(anchor, &three, 1, "dc1", USE_AGENT, NOW, &s, &err), &err);
}

static void forged_list_is_refused(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct world other;
    world_init(&other, "dc1", UUID_TWO);
    struct anchor *anchor = NULL;
    _cleanup_(freep) char *crl = NULL, *root = pki_crt_pem(w->machines.crt);
    assert_ok(pki_crl(&other.machines, NULL, NULL, 30, NOW, &crl, &err), &err);
    assert_err(anchor_new(root, crl, &anchor, &err), &err, ERR_UNAUTHENTICATED, "not signed");
    world_done(&other);
}

static void foreign_is_refused(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct subject s;
    struct world other;
    world_init(&other, "dc1", UUID_TWO); /* same names, other keys */
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL, person = NULL;
    _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, NULL);
    make_pair(&other, USE_AGENT, "hv1", 7, NOW, NULL, &crt);
    assert_err(anchor_verify(anchor, &crt, 1, "dc1", USE_AGENT, NOW, &s, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by the cluster's root");
    make_pair(w, USE_PERSON, "alice", 7, NOW, NULL, &person);
    assert_err(anchor_verify(anchor, &person, 1, "dc1", USE_AGENT, NOW, &s, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by the cluster's root");
    assert_err(anchor_verify(w->people_anchor, &person, 1, "dc2", USE_PERSON, NOW, &s, &err), &err,
               ERR_UNAUTHENTICATED, "another cluster");
    assert_err(anchor_verify(w->people_anchor, &w->people.crt, 1, "dc1", USE_PERSON, NOW, &s, &err),
               &err, ERR_UNAUTHENTICATED, "without a URI");
    world_done(&other);
}

static void roots_are_kept_with_their_keys(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(pki_root_done) struct pki_root again = {0};
    assert_ok(pki_root_save(w->directory, &w->machines, &err), &err);
    assert_ok(pki_root_save(w->directory, &w->people, &err), &err);
    assert_ok(pki_root_load(w->directory, ROOT_MACHINES, &again, &err), &err);
    _cleanup_(freep) char *key = path_in(w, "machines.key"), *crt = path_in(w, "machines.pem");
    _cleanup_(freep) char *wrong = path_in(w, "people.pem");
    struct stat st;
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(rename(wrong, crt), 0);
    struct pki_root bad = {0};
    assert_err(pki_root_load(w->directory, ROOT_MACHINES, &bad, &err), &err, ERR_CONFLICT,
               "is not the key");
}

static char *give(void *user, const char *path)
{
    (void)path;
    return user != NULL ? xstrdup(user) : NULL;
}

static void passphrase_guards_a_key(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct identity *id = NULL;
    make_pair(w, USE_PERSON, "carol", 7, NOW, PERSONS_PASSPHRASE, NULL);
    make_pair(w, USE_PERSON, "dave", 7, NOW, NULL, NULL);
    _cleanup_(freep) char *crt = path_in(w, "carol.pem"), *key = path_in(w, "carol.key");
    _cleanup_(freep) char *other = path_in(w, "dave.pem");
    _cleanup_(freep) char *text = NULL;
    assert_ok(file_read(key, 65536, &text, NULL, &err), &err);
    assert_non_null(strstr(text, "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_err(identity_load(crt, key, NULL, NULL, &id, &err), &err, ERR_UNAUTHENTICATED,
               "wants its passphrase");
    assert_err(identity_load(crt, key, give, NULL, &id, &err), &err, ERR_UNAUTHENTICATED,
               "wants its passphrase");
    assert_err(identity_load(crt, key, give, "wrong", &id, &err), &err, ERR_UNAUTHENTICATED,
               "wrong passphrase");
    assert_err(identity_load(other, key, give, PERSONS_PASSPHRASE, &id, &err), &err, ERR_CONFLICT,
               "not the key of");
    assert_ok(identity_load(crt, key, give, PERSONS_PASSPHRASE, &id, &err), &err);
    char name[NAME_SIZE];
    assert_ok(identity_name(id, "dc1", name, &err), &err);
    assert_string_equal(name, "carol");
    identity_free(id);
}

static void files_are_whole_or_absent(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(freep) char *path = path_in(w, "deep/er/file"), *dir = path_in(w, "deep/er");
    assert_err(file_write(path, "x", 1, 0640, FILE_ANY_GROUP, &err), &err, ERR_NOT_FOUND, path);
    assert_ok(file_make_directory(dir, 0700, &err), &err);
    assert_ok(file_make_directory(dir, 0700, &err), &err);
    assert_ok(file_write(path, "hello", 5, 0640, FILE_ANY_GROUP, &err), &err);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    _cleanup_(freep) char *text = NULL;
    size_t len;
    assert_ok(file_read(path, 5, &text, &len, &err), &err);
    assert_string_equal(text, "hello");
    char *none = NULL;
    assert_err(file_read(path, 4, &none, NULL, &err), &err, ERR_LIMIT, "larger than 4");
    assert_err(file_make_directory(path, 0700, &err), &err, ERR_IO, "Not a directory");
}

static void cluster_file_is_strict(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct cluster c = {0};
    _cleanup_(freep) char *path = path_in(w, "cluster.json");
    assert_ok(cluster_save(path, &w->cluster, &err), &err);
    assert_ok(cluster_load(path, &c, &err), &err);
    assert_string_equal(c.name, "dc1");
    assert_string_equal(c.uuid, UUID_ONE);
    const char *extra =
        "{\"schema\":\"skein.cluster/1\",\"name\":\"a\",\"uuid\":\"" UUID_ONE "\",\"x\":1}";
    assert_err(cluster_parse(extra, strlen(extra), "f", &c, &err), &err, ERR_INVALID, "f: wants");
    const char *uuid = "{\"schema\":\"skein.cluster/1\",\"name\":\"a\",\"uuid\":\"X\"}";
    assert_err(cluster_parse(uuid, strlen(uuid), "f", &c, &err), &err, ERR_INVALID, "UUID");
}

/* ---- below an issuer ---- */

/* A leaf of use by an issuer, and the issuer: chain[0], chain[1]. */
static void below_issuer(const struct world *w, enum identity_use use, struct pki_root *ret_issuer,
                         struct pki_pair *ret)
{
    struct err err = {0};
    struct pki_request request = {.use = use, .name = "hv9", .days = 30};
    assert_ok(pki_issuer_create(&w->machines, &w->cluster, "hv1", 365, NOW, ret_issuer, &err),
              &err);
    assert_ok(pki_issue(ret_issuer, &w->cluster, &request, NOW, ret, &err), &err);
}

static void issuer_issues_hosts(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct subject subject;
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    _cleanup_(pki_pair_done) struct pki_pair leaf = {0};
    _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, NULL);
    below_issuer(w, USE_AGENT, &issuer, &leaf);
    gnutls_x509_crt_t chain[] = {leaf.crt, issuer.crt};
    assert_ok(anchor_verify(anchor, chain, 2, "dc1", USE_AGENT, NOW, &subject, &err), &err);
    assert_string_equal(subject.name, "hv9");
    assert_err(anchor_verify(anchor, chain, 1, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by");
    assert_err(anchor_verify(anchor, &issuer.crt, 1, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_UNAUTHENTICATED, "URI");
    /* An issuer makes no issuers. */
    _cleanup_(pki_root_done) struct pki_root second = {0};
    _cleanup_(pki_pair_done) struct pki_pair deep = {0};
    struct pki_request request = {.use = USE_AGENT, .name = "hv8", .days = 30};
    assert_ok(pki_issuer_create(&issuer, &w->cluster, "hv8", 30, NOW, &second, &err), &err);
    assert_ok(pki_issue(&second, &w->cluster, &request, NOW, &deep, &err), &err);
    gnutls_x509_crt_t long_chain[] = {deep.crt, second.crt, issuer.crt};
    assert_err(anchor_verify(anchor, long_chain, 3, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by");
    /* Nor does a host's certificate make one. */
    struct pki_root false_one = {.kind = ROOT_MACHINES, .crt = leaf.crt, .key = leaf.key};
    _cleanup_(pki_pair_done) struct pki_pair forged = {0};
    assert_ok(pki_issue(&false_one, &w->cluster, &request, NOW, &forged, &err), &err);
    gnutls_x509_crt_t forged_chain[] = {forged.crt, leaf.crt, issuer.crt};
    assert_err(anchor_verify(anchor, forged_chain, 3, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_UNAUTHENTICATED, "not signed by");
}

static void the_roots_list_is_for_all_below(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    struct subject subject;
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    _cleanup_(pki_pair_done) struct pki_pair leaf = {0};
    _cleanup_(freep) char *one = NULL, *both = NULL;
    below_issuer(w, USE_AGENT, &issuer, &leaf);
    gnutls_x509_crt_t chain[] = {leaf.crt, issuer.crt};
    assert_ok(pki_crl(&w->machines, NULL, leaf.crt, 30, NOW, &one, &err), &err);
    _cleanup_(anchor_freep) struct anchor *anchor = machines_anchor(w, one);
    assert_err(anchor_verify(anchor, chain, 2, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_DENIED, "revoked");
    assert_ok(pki_crl(&w->machines, NULL, issuer.crt, 30, NOW, &both, &err), &err);
    _cleanup_(anchor_freep) struct anchor *without = machines_anchor(w, both);
    assert_err(anchor_verify(without, chain, 2, "dc1", USE_AGENT, NOW, &subject, &err), &err,
               ERR_DENIED, "revoked");
}

/* As libvirt and QEMU read their files: the root, or with it the issuer, as authorities; the lists
 * from a file. */
static unsigned judged_as_libvirt_does(const char *authorities, const char *crls,
                                       const gnutls_x509_crt_t *chain, unsigned n)
{
    gnutls_x509_trust_list_t list;
    gnutls_datum_t ca = datum_text(authorities), crl = datum_text(crls);
    unsigned status = 0;
    assert_int_equal(gnutls_x509_trust_list_init(&list, 0), 0);
    assert_true(gnutls_x509_trust_list_add_trust_mem(list, &ca, &crl, GNUTLS_X509_FMT_PEM, 0, 0) >
                0);
    assert_int_equal(
        gnutls_x509_trust_list_verify_crt2(list, (gnutls_x509_crt_t *)(uintptr_t)chain, n, NULL, 0,
                                           GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status, NULL),
        0);
    gnutls_x509_trust_list_deinit(list, 1);
    return status;
}

static void libvirt_refuses_what_the_root_revoked(void **state)
{
    const struct world *w = *state;
    struct err err = {0};
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    _cleanup_(pki_pair_done) struct pki_pair leaf = {0};
    _cleanup_(pki_pair_done) struct pki_pair other = {0};
    _cleanup_(freep) char *crl = NULL;
    struct pki_request request = {.use = USE_LIBVIRT, .name = "hv8", .days = 30};
    below_issuer(w, USE_LIBVIRT, &issuer, &leaf);
    assert_ok(pki_issue(&issuer, &w->cluster, &request, NOW, &other, &err), &err);
    assert_ok(pki_crl(&w->machines, NULL, leaf.crt, 30, NOW, &crl, &err), &err);
    _cleanup_(freep) char *root = pki_crt_pem(w->machines.crt), *below = pki_crt_pem(issuer.crt);
    _cleanup_(revoked_done) struct revoked revoked = {0};
    assert_ok(revoked_since(root, crl, NULL, &revoked, &err), &err);
    assert_true(revoked_names(&revoked, USE_LIBVIRT, "hv9"));
    _cleanup_(freep) char *lists = xasprintf("%s%s", revoked.list, revoked.issuers_list);
    _cleanup_(freep) char *with = xasprintf("%s%s", root, below);
    gnutls_x509_crt_t chain[] = {leaf.crt, issuer.crt}, good[] = {other.crt, issuer.crt};
    assert_int_equal(judged_as_libvirt_does(root, lists, good, 2), 0);
    assert_int_equal(judged_as_libvirt_does(with, lists, good, 2), 0);
    assert_int_equal(judged_as_libvirt_does(with, lists, good, 1), 0); /* its own, at its start */
    assert_true(judged_as_libvirt_does(root, lists, chain, 2) & GNUTLS_CERT_REVOKED);
    assert_true(judged_as_libvirt_does(with, lists, chain, 2) & GNUTLS_CERT_REVOKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(issuer_issues_hosts),
        cmocka_unit_test(the_roots_list_is_for_all_below),
        cmocka_unit_test(libvirt_refuses_what_the_root_revoked),
        cmocka_unit_test(uri_names_who),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(host_certificates_serve_and_call),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(certificates_have_their_time),
        cmocka_unit_test(revoked_is_refused),
        cmocka_unit_test(forged_list_is_refused),
        cmocka_unit_test(foreign_is_refused),
        cmocka_unit_test(passphrase_guards_a_key),
        cmocka_unit_test(files_are_whole_or_absent),
        cmocka_unit_test(cluster_file_is_strict),
        cmocka_unit_test(roots_are_kept_with_their_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
