/* Who gets no link, or loses it: strangers, other clusters, the silent, the revoked. */
#include "tests/unit/transport_fixture.h"

#include "tls/guest.h"

#include <errno.h>
#include <gnutls/gnutls.h>

static void foreign_roots_are_refused(void **state)
{
    (void)state;
    struct world twin;
    world_init(&twin, "dc1", UUID_ONE); /* all the same but the keys */
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&twin, "hv2");
    dial(a, b);
    dial(b, a);
    run_until(a->refusals >= 2 && b->refusals >= 2);
    assert_int_equal(a->ups + b->ups, 0);
    assert_non_null(strstr(a->refused_why, "not signed by the cluster's root"));
    node_stop(b);
    world_done(&twin);
}

static void two_clusters_of_one_root_never_join(void **state)
{
    (void)state;
    struct world renamed = world_one, reborn = world_one;
    snprintf(renamed.cluster.name, sizeof renamed.cluster.name, "dc2");
    snprintf(reborn.cluster.uuid, sizeof reborn.cluster.uuid, "%s", UUID_TWO);
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&renamed, "hv2"),
                *c = node_new(&reborn, "hv3");
    dial(a, b);
    dial(c, a);
    run_until(a->refusals >= 2 && b->refusals >= 1 && c->refusals >= 1);
    assert_int_equal(a->ups + b->ups + c->ups, 0);
    assert_non_null(strstr(a->refused_why, "of another cluster"));
    assert_non_null(strstr(c->refused_why, "of another cluster"));
}

/* A client of our own: a TCP connection, then TLS with the files of a directory (NULL: none). */
struct caller {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
};

static void caller_start(struct caller *c, const struct node *to, const char *crt, const char *key,
                         const char *priority)
{
    *c = (struct caller){.fd = caller_connect(to)};
    gnutls_certificate_allocate_credentials(&c->credentials);
    if (crt != NULL)
        assert_int_equal(
            gnutls_certificate_set_x509_key_file(c->credentials, crt, key, GNUTLS_X509_FMT_PEM), 0);
    gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    assert_int_equal(gnutls_priority_set_direct(c->session, priority, NULL), 0);
    gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials);
    gnutls_transport_set_int(c->session, c->fd);
}

/* Runs the handshake, then reads until the other side has closed; 0 when TLS went through. */
static int caller_finish(struct caller *c)
{
    int rc = GNUTLS_E_AGAIN;
    char buffer[256];
    msec until = mono() + 10000;
    while ((rc = gnutls_handshake(c->session)) == GNUTLS_E_AGAIN && mono() < until)
        turn();
    if (rc == 0) {
        ssize_t n = GNUTLS_E_AGAIN;
        while (n == GNUTLS_E_AGAIN && mono() < until) {
            turn();
            n = gnutls_record_recv(c->session, buffer, sizeof buffer);
        }
        rc = (int)n;
    }
    gnutls_deinit(c->session);
    gnutls_certificate_free_credentials(c->credentials);
    close(c->fd);
    return rc;
}

static void check_caller_refused(struct node *a, const char *crt, const char *key,
                                 const char *priority, const char *says)
{
    struct caller c;
    unsigned before = a->refusals;
    a->refused_why[0] = '\0';
    caller_start(&c, a, crt, key, priority);
    assert_true(caller_finish(&c) < 0);
    run_until(a->refusals > before);
    if (strstr(a->refused_why, says) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", a->refused_why, says);
    assert_int_equal(a->ups, 0);
}

/* QEMU's certificate for a key of the kind that agents have. */
static void make_odd(const struct world *w, const char *name)
{
    struct err err = {0};
    struct pki_request request = {.use = USE_QEMU, .name = name, .days = 30};
    _cleanup_(key_freep) gnutls_x509_privkey_t key = NULL;
    _cleanup_(privkey_freep) gnutls_privkey_t private = NULL;
    _cleanup_(pubkey_freep) gnutls_pubkey_t public = NULL;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    assert_ok(pki_key_generate(USE_AGENT, &key, &err), &err);
    assert_int_equal(gnutls_privkey_init(&private), 0);
    assert_int_equal(gnutls_pubkey_init(&public), 0);
    assert_int_equal(gnutls_privkey_import_x509(private, key, 0), 0);
    assert_int_equal(gnutls_pubkey_import_privkey(public, private, 0, 0), 0);
    assert_ok(pki_certify(&w->machines, &w->cluster, &request, public, NOW, &crt, &err), &err);
    _cleanup_(freep) char *crt_pem = pki_crt_pem(crt), *key_pem = NULL;
    _cleanup_(freep) char *crt_name = xasprintf("%s.pem", name);
    _cleanup_(freep) char *key_name = xasprintf("%s.key", name);
    assert_ok(pki_key_pem(key, NULL, &key_pem, &err), &err);
    write_text(w, crt_name, crt_pem);
    write_text(w, key_name, key_pem);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    const char *tls13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
    struct node *a = node_new(&world_one, "hv1");
    make_pair(&world_one, USE_PERSON, "alice", 30, NOW, NULL, NULL);
    make_pair(&world_one, USE_QEMU, "qemu", 30, NOW, NULL, NULL);
    make_odd(&world_one, "odd");
    make_pair(&world_one, USE_AGENT, "stale", 1, NOW - 5 * DAY, NULL, NULL);

    static const struct {
        const char *name, *says;
    } cases[] = {{"alice", "not signed by the cluster's root"},
                 {"qemu", "no certificate"}, /* its key is RSA: it cannot show it */
                 {"odd", "certificate of qemu"},
                 {"stale", "expired at"}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *crt = xasprintf("%s/%s.pem", world_one.directory, cases[i].name);
        _cleanup_(freep) char *key = xasprintf("%s/%s.key", world_one.directory, cases[i].name);
        check_caller_refused(a, crt, key, tls13, cases[i].says);
    }
    check_caller_refused(a, NULL, NULL, tls13, "no certificate");
    check_caller_refused(a, NULL, NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS");
}

/* Right in all but who signed it: its own key. */
static void make_self_signed(const char *crt_path, const char *key_path)
{
    struct err err = {0};
    struct world other;
    struct pki_pair pair = {0};
    world_init(&other, "dc1", UUID_ONE);
    struct pki_request request = {.use = USE_AGENT, .name = "hv2", .days = 30};
    assert_ok(pki_issue(&other.machines, &other.cluster, &request, NOW, &pair, &err), &err);
    assert_int_equal(gnutls_x509_crt_sign2(pair.crt, pair.crt, pair.key, GNUTLS_DIG_SHA256, 0), 0);
    _cleanup_(freep) char *crt = pki_crt_pem(pair.crt), *key = NULL;
    assert_ok(pki_key_pem(pair.key, NULL, &key, &err), &err);
    assert_ok(file_write(crt_path, crt, strlen(crt), 0600, FILE_ANY_GROUP, &err), &err);
    assert_ok(file_write(key_path, key, strlen(key), 0600, FILE_ANY_GROUP, &err), &err);
    pki_pair_done(&pair);
    world_done(&other);
}

static void self_signed_is_refused(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1");
    _cleanup_(freep) char *crt = path_in(&world_one, "self.pem");
    _cleanup_(freep) char *key = path_in(&world_one, "self.key");
    make_self_signed(crt, key);
    check_caller_refused(a, crt, key, "NORMAL:-VERS-ALL:+VERS-TLS1.3", "not signed");
}

static void garbage_is_refused(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    for (unsigned i = 0; i < 8; i++) {
        uint8_t bytes[4096];
        unsigned seed = i;
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)rand_r(&seed);
        if (i % 2 == 1)
            memcpy(bytes, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11); /* ClientHello */
        unsigned before = a->refusals;
        int fd = caller_connect(a);
        assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
        run_until(a->refusals > before);
        close(fd);
    }
    assert_true(linked(a, b));
    assert_int_equal(a->downs, 0);
}

static void silent_callers_are_dropped(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1");
    struct transport_conf conf = conf_of(a);
    conf.handshake_ms = 200;
    conf.max_links = 8;
    node_start_with(a, &conf);
    int fds[6];
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = caller_connect(a);
    run_until(a->refusals == 6); /* two at once for want of room, four by the timer */
    assert_non_null(strstr(a->refused_why, "no room"));
    assert_non_null(strstr(a->refused_why, "no TLS handshake within 200 ms"));
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        char byte;
        ssize_t n = -1;
        run_until((n = read(fds[i], &byte, 1)) >= 0 || errno != EAGAIN);
        assert_true(n <= 0);
        close(fds[i]);
    }
    assert_int_equal(links_of(a), 0);
}

/* Those who only fill the places of one address do not keep others of it out for long. */
static void silent_callers_make_way(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_conf conf = conf_of(a);
    conf.max_links = 64;
    node_start_with(a, &conf);
    int fds[20];
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = caller_connect(a);
    run_until(a->refusals == 4); /* 16 for one address */
    assert_non_null(strstr(a->refused_why, "16 of these from there: no room"));
    assert_int_equal(links_of(a), 16);
    dial(b, a);
    run_until(linked(a, b));
    assert_non_null(strstr(a->refused_why, "made way"));
    assert_int_equal(links_of(a), 16);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    run_until(links_of(a) == 1);
    assert_true(linked(a, b));
    assert_int_equal(a->downs, 0);
}

static gnutls_x509_crt_t crt_of(const struct node *n)
{
    struct err err = {0};
    gnutls_x509_crt_t crt = NULL;
    _cleanup_(freep) char *path = xasprintf("%s/host.pem", n->directory), *text = NULL;
    assert_ok(file_read(path, 65536, &text, NULL, &err), &err);
    gnutls_datum_t in = datum_text(text);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &in, GNUTLS_X509_FMT_PEM), 0);
    return crt;
}

static void revocation_cuts_a_live_link(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2"),
                *c = node_new(&world_one, "hv3");
    dial(a, b);
    dial(c, a);
    run_until(linked(a, b) && linked(a, c));
    _cleanup_(crt_freep) gnutls_x509_crt_t revoked = crt_of(b);
    put_crl(a, revoked);
    assert_ok(transport_reload(a->t, &err), &err);
    assert_err(transport_send(a->t, "hv2", "x", 1, &err), &err, ERR_UNAVAILABLE, "hv2");
    run_until(a->downs == 1 && b->downs == 1);
    assert_non_null(strstr(a->down_why, "revoked"));
    assert_non_null(strstr(b->down_why, "certificate revoked"));
    run_until(a->refusals >= 2); /* and it does not come back */
    assert_false(transport_is_up(a->t, "hv2"));
    assert_true(linked(a, c));
    assert_int_equal(c->downs, 0);

    put_crl(a, NULL);
    assert_ok(transport_reload(a->t, &err), &err);
    run_until(linked(a, b));
}

static void failed_reload_changes_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    put(a, "crl.pem", "rubbish");
    assert_err(transport_reload(a->t, &err), &err, ERR_TLS, "revocation list");
    run_for(50);
    assert_true(linked(a, b));
}

static void expiry_cuts_a_live_link(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    wall = NOW + 30 * DAY;
    run_until(a->downs == 1 && b->downs == 1);
    assert_non_null(strstr(a->down_why, "expired"));
}

static void membership_is_asked(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    a->banned = "hv2";
    dial(b, a);
    run_until(a->refusals >= 1 && b->refusals >= 1);
    assert_int_equal(a->ups + b->ups, 0);
    assert_non_null(strstr(b->refused_why, "hv2 is no member"));
    a->banned = NULL;
    run_until(linked(a, b));
}

static void clones_are_refused(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *clone = node_new(&world_one, "hv1");
    dial(a, clone);
    run_until(a->refusals >= 1);
    assert_int_equal(a->ups + clone->ups, 0);
    assert_non_null(strstr(a->refused_why, "as this host is"));
}

static bool takes_rsa(const char *priorities)
{
    gnutls_priority_t p;
    const unsigned *list;
    bool found = false;
    assert_int_equal(gnutls_priority_init(&p, priorities, NULL), 0);
    int n = gnutls_priority_sign_list(p, &list);
    assert_true(n > 0);
    for (int i = 0; i < n; i++)
        found |= list[i] == GNUTLS_SIGN_RSA_PSS_RSAE_SHA256;
    gnutls_priority_deinit(p);
    return found;
}

/* A stranger's huge RSA key would take the time of whoever checks what it signed; people have
 * theirs in tokens. */
static void no_host_proves_itself_by_rsa(void **state _unused_)
{
    assert_false(takes_rsa(TLS_PRIORITIES));
    assert_false(takes_rsa(host_priorities));
    assert_true(takes_rsa(guest_priorities));
}

static void wrong_files_are_told(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_make(&world_one, "hv1");
    struct transport *t = NULL;
    struct transport_conf conf = conf_of(a);
    conf.host = "hv9";
    assert_err(transport_new(&conf, &t, &err), &err, ERR_CONFLICT, "certificate of host hv1");
    conf = conf_of(a);
    conf.listen = "localhost:1";
    assert_err(transport_new(&conf, &t, &err), &err, ERR_INVALID, "localhost");
    conf = conf_of(a);
    conf.directory = "/nonexistent";
    assert_err(transport_new(&conf, &t, &err), &err, ERR_NOT_FOUND, "/nonexistent/machines.pem");
    wall = NOW + 31 * DAY;
    conf = conf_of(a);
    assert_err(transport_new(&conf, &t, &err), &err, ERR_EXPIRED, "host.pem");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(foreign_roots_are_refused, stop_all),
        cmocka_unit_test_teardown(two_clusters_of_one_root_never_join, stop_all),
        cmocka_unit_test_teardown(strangers_are_refused, stop_all),
        cmocka_unit_test_teardown(self_signed_is_refused, stop_all),
        cmocka_unit_test_teardown(garbage_is_refused, stop_all),
        cmocka_unit_test_teardown(silent_callers_are_dropped, stop_all),
        cmocka_unit_test_teardown(silent_callers_make_way, stop_all),
        cmocka_unit_test_teardown(revocation_cuts_a_live_link, stop_all),
        cmocka_unit_test_teardown(failed_reload_changes_nothing, stop_all),
        cmocka_unit_test_teardown(expiry_cuts_a_live_link, stop_all),
        cmocka_unit_test_teardown(membership_is_asked, stop_all),
        cmocka_unit_test_teardown(clones_are_refused, stop_all),
        cmocka_unit_test(no_host_proves_itself_by_rsa),
        cmocka_unit_test_teardown(wrong_files_are_told, stop_all),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
