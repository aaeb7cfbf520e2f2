/* Several transports in one process on loopback ports, driven by one loop. */
#include "tests/unit/tls_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "tls/transport.h"

#define NODES_MAX 8

struct node {
    struct world *world;
    char name[16], directory[96], address[TRANSPORT_ADDRESS_SIZE];
    struct transport *t;
    char up[NODES_MAX][16]; /* hosts that on_up named and on_down has not since */
    unsigned n_up, ups, downs, refusals;
    uint64_t frames, bytes;
    char down_why[ERR_MSG_MAX], refused_why[ERR_MSG_MAX * 4];
    bool echo, in_order;
    uint32_t expect;
    const char *banned;
};

static struct node nodes[NODES_MAX];
static size_t n_nodes;
static msec wall = NOW;

static msec test_wall(void *arg)
{
    (void)arg;
    return wall;
}

static msec mono(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_up(void *arg, const struct transport_peer *peer)
{
    struct node *n = arg;
    for (unsigned i = 0; i < n->n_up; i++)
        assert_string_not_equal(n->up[i], peer->host);
    assert_true(n->n_up < NODES_MAX);
    snprintf(n->up[n->n_up++], sizeof n->up[0], "%s", peer->host);
    n->ups++;
}

static void on_down(void *arg, const char *host, const char *reason)
{
    struct node *n = arg;
    unsigned i = 0;
    while (i < n->n_up && strcmp(n->up[i], host) != 0)
        i++;
    assert_true(i < n->n_up);
    memmove(n->up[i], n->up[n->n_up - 1], sizeof n->up[0]);
    n->n_up--;
    n->downs++;
    snprintf(n->down_why, sizeof n->down_why, "%s", reason);
}

static void on_frame(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct node *n = arg;
    struct err err = {0};
    uint32_t number;
    n->frames++;
    n->bytes += len;
    if (n->echo)
        (void)transport_send(n->t, host, bytes, len, &err);
    if (n->in_order && len >= sizeof number) {
        memcpy(&number, bytes, sizeof number);
        assert_int_equal(number, n->expect);
        n->expect++;
    }
}

static void on_refused(void *arg, const char *address, const struct err *err)
{
    struct node *n = arg;
    (void)address;
    n->refusals++;
    size_t len = strlen(n->refused_why);
    if (len + strlen(err->msg) + 2 < sizeof n->refused_why)
        snprintf(n->refused_why + len, sizeof n->refused_why - len, "%s\n", err->msg);
}

static bool may_join(void *arg, const struct transport_peer *peer, struct err *err)
{
    struct node *n = arg;
    (void)err;
    return n->banned == NULL || strcmp(n->banned, peer->host) != 0;
}

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void put(const struct node *n, const char *name, const char *text)
{
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/%s", n->directory, name);
    assert_ok(file_write(path, text, strlen(text), 0600, FILE_ANY_GROUP, &err), &err);
}

static void put_crl(const struct node *n, gnutls_x509_crt_t revoked)
{
    struct err err = {0};
    _cleanup_(freep) char *crl = NULL;
    assert_ok(pki_crl(&n->world->machines, NULL, revoked, 30, NOW, &crl, &err), &err);
    put(n, "crl.pem", crl);
}

static struct node *node_make(struct world *w, const char *name)
{
    struct err err = {0};
    struct node *n = &nodes[n_nodes++];
    *n = (struct node){.world = w};
    snprintf(n->name, sizeof n->name, "%s", name);
    snprintf(n->directory, sizeof n->directory, "%s/%s-%zu", w->directory, name, n_nodes);
    snprintf(n->address, sizeof n->address, "127.0.0.1:%u", free_port());
    assert_ok(file_make_directory(n->directory, 0700, &err), &err);
    _cleanup_(pki_pair_done) struct pki_pair pair = {0};
    struct pki_request request = {.use = USE_AGENT, .name = name, .days = 30};
    assert_ok(pki_issue(&w->machines, &w->cluster, &request, NOW, &pair, &err), &err);
    _cleanup_(freep) char *crt = pki_crt_pem(pair.crt), *key = NULL;
    _cleanup_(freep) char *root = pki_crt_pem(w->machines.crt);
    assert_ok(pki_key_pem(pair.key, NULL, &key, &err), &err);
    put(n, "host.pem", crt);
    put(n, "host.key", key);
    put(n, "machines.pem", root);
    put_crl(n, NULL);
    return n;
}

static struct transport_conf conf_of(struct node *n)
{
    static uint64_t incarnation = 1;
    return (struct transport_conf){.cluster = n->world->cluster,
                                   .host = n->name,
                                   .listen = n->address,
                                   .directory = n->directory,
                                   .version = "test",
                                   .incarnation = incarnation++,
                                   .seed = incarnation,
                                   .wall = test_wall,
                                   .redial_min_ms = 20,
                                   .redial_max_ms = 200,
                                   .arg = n,
                                   .on_up = on_up,
                                   .on_down = on_down,
                                   .on_frame = on_frame,
                                   .may_join = may_join,
                                   .on_refused = on_refused};
}

static void node_start_with(struct node *n, const struct transport_conf *conf)
{
    struct err err = {0};
    assert_ok(transport_new(conf, &n->t, &err), &err);
}

static void node_start(struct node *n)
{
    struct transport_conf conf = conf_of(n);
    node_start_with(n, &conf);
}

static struct node *node_new(struct world *w, const char *name)
{
    struct node *n = node_make(w, name);
    node_start(n);
    return n;
}

static void node_stop(struct node *n)
{
    transport_free(n->t);
    n->t = NULL;
    n->n_up = 0;
}

static void dial(struct node *from, const struct node *to)
{
    struct err err = {0};
    assert_ok(transport_dial(from->t, to->address, &err), &err);
}

/* A relay between a dialler and its target, to break a connection on one side alone. */
static struct relay {
    int listener, ends[2]; /* the dialler's, the target's; -1 */
    const struct node *target;
    bool frozen;
} relay = {-1, {-1, -1}, NULL, false};

static int caller_connect(const struct node *to);

static void relay_pass(int from, int to)
{
    char bytes[16384];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        assert_int_equal(send(to, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

static void relay_turn(void)
{
    if (relay.listener < 0 || relay.frozen)
        return;
    if (relay.ends[0] < 0) {
        relay.ends[0] = accept4(relay.listener, NULL, NULL, SOCK_NONBLOCK);
        if (relay.ends[0] >= 0)
            relay.ends[1] = caller_connect(relay.target);
        return;
    }
    relay_pass(relay.ends[0], relay.ends[1]);
    relay_pass(relay.ends[1], relay.ends[0]);
}

static void relay_start(const struct node *target, char address[TRANSPORT_ADDRESS_SIZE])
{
    unsigned port = free_port();
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    relay =
        (struct relay){socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), {-1, -1}, target, false};
    assert_int_equal(bind(relay.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(relay.listener, 4), 0);
    snprintf(address, TRANSPORT_ADDRESS_SIZE, "127.0.0.1:%u", port);
}

static void relay_stop(void)
{
    close(relay.listener);
    close(relay.ends[0]);
    relay.listener = -1;
}

/* As an event loop would do it: drain with a budget, tick when due, sleep on the descriptors. */
static void turn(void)
{
    struct pollfd fds[NODES_MAX];
    nfds_t n = 0;
    msec wait = relay.listener >= 0 ? 1 : 20;
    relay_turn();
    for (size_t i = 0; i < n_nodes; i++) {
        struct transport *t = nodes[i].t;
        if (t == NULL)
            continue;
        transport_process(t, mono(), 64);
        if (mono() >= transport_deadline(t))
            transport_tick(t, mono());
        msec left = transport_deadline(t) - mono();
        wait = transport_pending(t) || left < 0 ? 0 : MIN(wait, left);
        fds[n++] = (struct pollfd){.fd = transport_fd(t), .events = POLLIN};
    }
    poll(fds, n, (int)wait);
}

static void run_for(msec ms)
{
    for (msec until = mono() + ms; mono() < until;)
        turn();
}

#define run_until(condition)                                                                       \
    do {                                                                                           \
        msec until_ = mono() + 15000;                                                              \
        while (!(condition) && mono() < until_)                                                    \
            turn();                                                                                \
        if (!(condition))                                                                          \
            fail_msg("never: %s", #condition);                                                     \
    } while (0)

static bool linked(const struct node *a, const struct node *b)
{
    return a->t != NULL && b->t != NULL && transport_is_up(a->t, b->name) &&
           transport_is_up(b->t, a->name);
}

static bool count_link(void *arg, const struct transport_link *link)
{
    unsigned *n = arg;
    *n += link->state != LINK_CONNECTING;
    return true;
}

static unsigned links_of(const struct node *n)
{
    unsigned count = 0;
    transport_links(n->t, count_link, &count);
    return count;
}

static struct world world_one;

static int set_up(void **state)
{
    (void)state;
    world_init(&world_one, "dc1", UUID_ONE);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_done(&world_one);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_nodes; i++)
        transport_free(nodes[i].t);
    n_nodes = 0;
    wall = NOW;
    return 0;
}

static bool check_status(void *arg, const struct transport_link *link)
{
    const struct node *peer = arg;
    assert_int_equal(link->state, LINK_UP);
    assert_string_equal(link->peer.host, peer->name);
    assert_string_equal(link->peer.listen, peer->address);
    assert_string_equal(link->peer.version, "test");
    assert_int_equal(strlen(link->key), 64);
    assert_int_equal(link->expires_wall, NOW + 30 * DAY);
    return true;
}

static void two_join_and_talk(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = true;
    assert_err(transport_send(a->t, "hv2", "x", 1, &err), &err, ERR_UNAVAILABLE, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    transport_links(a->t, check_status, b);
    transport_links(b->t, check_status, a);
    assert_ok(transport_send(a->t, "hv2", "hello", 5, &err), &err);
    run_until(a->frames == 1);
    assert_int_equal(a->bytes, 5);
    assert_ok(transport_send(a->t, "hv2", "", 0, &err), &err);
    run_until(a->frames == 2);
    msec certificate, crl;
    transport_validity(a->t, &certificate, &crl);
    assert_int_equal(certificate, NOW + 30 * DAY);
    assert_int_equal(crl, NOW + 30 * DAY);
}

static void large_frames_pass_up_to_the_limit(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = true;
    dial(a, b);
    run_until(linked(a, b));
    size_t max = 1u << 20;
    _cleanup_(freep) uint8_t *frame = xcalloc(1, max + 1);
    assert_ok(transport_send(a->t, "hv2", frame, max, &err), &err);
    assert_err(transport_send(a->t, "hv2", frame, max + 1, &err), &err, ERR_LIMIT, "1048577");
    run_until(a->frames == 1);
    assert_int_equal(a->bytes, max);
}

/* More than the queues hold at a time, both ways: bounded, nothing lost, order kept. */
static void twenty_thousand_frames(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = b->in_order = a->in_order = true;
    dial(a, b);
    run_until(linked(a, b));
    uint8_t frame[300] = {0};
    uint32_t sent = 0;
    msec started = mono();
    while (a->frames < 20000 && mono() < started + 60000) {
        for (int i = 0; i < 100 && sent < 20000; i++) {
            memcpy(frame, &sent, sizeof sent);
            if (transport_send(a->t, "hv2", frame, sizeof frame, &err) < 0)
                break;
            sent++;
        }
        turn();
    }
    assert_int_equal(a->frames, 20000);
    print_message("20000 echoes of 300 B in %lld ms\n", (long long)(mono() - started));
}

static bool take_link(void *arg, const struct transport_link *link)
{
    *(struct transport_link *)arg = *link;
    return link->state != LINK_UP;
}

/* What is sent in one turn of the loop to one peer is one record: a record costs both ends more
 * than what stands in it. */
static void frames_of_one_turn_go_together(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_link before, after;
    b->in_order = true;
    dial(a, b);
    run_until(linked(a, b));
    run_for(50);
    transport_links(a->t, take_link, &before);
    for (uint32_t i = 0; i < 100; i++)
        assert_ok(transport_send(a->t, "hv2", &i, sizeof i, &err), &err);
    run_until(b->frames == 100);
    transport_links(a->t, take_link, &after);
    assert_int_equal(after.frames_out - before.frames_out, 100);
    assert_in_range(after.bytes_out - before.bytes_out, 100 * 8, 100 * 8 + 100);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    size_t size = 100000;
    _cleanup_(freep) uint8_t *frame = xcalloc(1, size);
    unsigned sent = 0;
    while (transport_send(a->t, "hv2", frame, size, &err) == 0) /* b does not read */
        assert_true(++sent < 1000);
    assert_string_equal(err_name(err.code), "CAPACITY");
    assert_true(sent >= 40);
    run_until(b->frames == sent); /* and all of what was taken arrives */
    assert_ok(transport_send(a->t, "hv2", frame, size, &err), &err);
    run_until(b->frames == sent + 1);
}

static void both_dial_and_one_link_stays(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(b, a);
    run_until(linked(a, b));
    run_for(1500);
    assert_true(linked(a, b));
    assert_int_equal(links_of(a), 1);
    assert_int_equal(links_of(b), 1);
    assert_int_equal(a->ups, 1);
    assert_int_equal(b->ups, 1);
    assert_int_equal(a->downs + b->downs, 0);
}

static void peer_dies_and_returns(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(b, a);
    run_until(linked(a, b));
    for (unsigned round = 1; round <= 3; round++) {
        node_stop(b);
        run_until(a->downs == round);
        run_for(100);
        node_start(b);
        if (round == 2)
            dial(b, a);
        run_until(linked(a, b));
        assert_int_equal(a->ups, round + 1);
    }
    b->frames = 0;
    assert_ok(transport_send(a->t, "hv2", "x", 1, &err), &err);
    run_until(b->frames == 1);
}

static void four_make_a_mesh(void **state)
{
    (void)state;
    struct node *n[4];
    const char *const names[] = {"hv1", "hv2", "hv3", "hv4"};
    for (size_t i = 0; i < 4; i++)
        n[i] = node_new(&world_one, names[i]);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            dial(n[i], n[j]); /* itself, too */
    run_until(n[0]->n_up == 3 && n[1]->n_up == 3 && n[2]->n_up == 3 && n[3]->n_up == 3);
    run_for(1300);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(links_of(n[i]), 3);
        assert_int_equal(n[i]->downs, 0);
    }
}

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

static int caller_connect(const struct node *to)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(to->address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

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

static void strangers_are_refused(void **state)
{
    (void)state;
    const char *tls13 = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
    struct node *a = node_new(&world_one, "hv1");
    make_pair(&world_one, USE_PERSON, "alice", 30, NOW, NULL, NULL);
    make_pair(&world_one, USE_QEMU, "qemu", 30, NOW, NULL, NULL);
    make_pair(&world_one, USE_AGENT, "stale", 1, NOW - 5 * DAY, NULL, NULL);

    static const struct {
        const char *name, *says;
    } cases[] = {{"alice", "not signed by the cluster's root"},
                 {"qemu", "certificate of qemu"},
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

/* hv2 knows that the link hv1 dialled is dead, hv1 does not, and would prefer it: hv2's new link
 * must win all the same, and stay. */
static void half_dead_link_gives_way(void **state)
{
    (void)state;
    struct err err = {0};
    char address[TRANSPORT_ADDRESS_SIZE];
    struct node *one = node_new(&world_one, "hv1"), *two = node_new(&world_one, "hv2");
    relay_start(two, address);
    assert_ok(transport_dial(one->t, address, &err), &err);
    run_until(linked(one, two));
    relay.frozen = true;
    close(relay.ends[1]);
    run_until(two->downs == 1);
    dial(two, one);
    run_until(transport_is_up(two->t, "hv1"));
    run_for(2500);
    assert_true(linked(one, two));
    assert_int_equal(two->downs, 1);
    assert_int_equal(one->downs, 0);
    assert_ok(transport_send(one->t, "hv2", "a", 1, &err), &err);
    assert_ok(transport_send(two->t, "hv1", "b", 1, &err), &err);
    run_until(one->frames == 1 && two->frames == 1);
    relay_stop();
}

/* Stopped, not closed: TCP stays open, nobody answers. */
static void silent_peers_are_given_up(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_conf conf = conf_of(a);
    conf.ping_ms = 50;
    conf.silence_ms = 300;
    node_start_with(a, &conf);
    dial(a, b);
    run_until(linked(a, b));
    run_for(600); /* pings keep it */
    assert_int_equal(a->downs, 0);
    struct transport *held = b->t;
    b->t = NULL;
    run_until(a->downs == 1);
    assert_non_null(strstr(a->down_why, "no answer for"));
    b->t = held;
    run_until(linked(a, b));
}

static void own_slowness_blames_nobody(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_conf conf = conf_of(a);
    conf.ping_ms = 50;
    conf.silence_ms = 300;
    node_start_with(a, &conf);
    dial(a, b);
    run_until(linked(a, b));
    struct timespec nap = {.tv_nsec = 700000000};
    nanosleep(&nap, NULL);
    transport_tick(a->t, mono()); /* before it has read what came meanwhile */
    run_for(500);
    assert_string_equal(a->down_why, "");
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

static void closing_and_undialling(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(a, b);
    run_until(linked(a, b));
    transport_close(a->t, "hv2", "too many links");
    run_until(a->downs == 1 && b->downs == 1);
    assert_non_null(strstr(b->down_why, "too many links"));
    run_until(linked(a, b)); /* still dialled */
    transport_undial(a->t, b->address);
    transport_close(a->t, "hv2", "enough");
    run_until(a->downs == 2 && b->downs == 2);
    run_for(300);
    assert_false(transport_is_up(a->t, "hv2"));
    assert_err(transport_dial(a->t, "hv2:7440", &err), &err, ERR_INVALID, "not an IP address");
    assert_err(transport_dial(a->t, "127.0.0.1", &err), &err, ERR_INVALID, "IP:PORT");
    assert_err(transport_dial(a->t, "127.0.0.1:0", &err), &err, ERR_INVALID, "port");
    assert_err(transport_dial(a->t, "127.0.0.1:70000", &err), &err, ERR_INVALID, "port");
    assert_err(transport_dial(a->t, "[::1:7440", &err), &err, ERR_INVALID, "IP");
    assert_ok(transport_dial(a->t, "[::1]:7440", &err), &err);
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
        cmocka_unit_test_teardown(two_join_and_talk, stop_all),
        cmocka_unit_test_teardown(large_frames_pass_up_to_the_limit, stop_all),
        cmocka_unit_test_teardown(twenty_thousand_frames, stop_all),
        cmocka_unit_test_teardown(frames_of_one_turn_go_together, stop_all),
        cmocka_unit_test_teardown(queue_is_bounded, stop_all),
        cmocka_unit_test_teardown(both_dial_and_one_link_stays, stop_all),
        cmocka_unit_test_teardown(peer_dies_and_returns, stop_all),
        cmocka_unit_test_teardown(four_make_a_mesh, stop_all),
        cmocka_unit_test_teardown(foreign_roots_are_refused, stop_all),
        cmocka_unit_test_teardown(two_clusters_of_one_root_never_join, stop_all),
        cmocka_unit_test_teardown(strangers_are_refused, stop_all),
        cmocka_unit_test_teardown(self_signed_is_refused, stop_all),
        cmocka_unit_test_teardown(garbage_is_refused, stop_all),
        cmocka_unit_test_teardown(silent_callers_are_dropped, stop_all),
        cmocka_unit_test_teardown(silent_callers_make_way, stop_all),
        cmocka_unit_test_teardown(silent_peers_are_given_up, stop_all),
        cmocka_unit_test_teardown(half_dead_link_gives_way, stop_all),
        cmocka_unit_test_teardown(own_slowness_blames_nobody, stop_all),
        cmocka_unit_test_teardown(revocation_cuts_a_live_link, stop_all),
        cmocka_unit_test_teardown(failed_reload_changes_nothing, stop_all),
        cmocka_unit_test_teardown(expiry_cuts_a_live_link, stop_all),
        cmocka_unit_test_teardown(membership_is_asked, stop_all),
        cmocka_unit_test_teardown(closing_and_undialling, stop_all),
        cmocka_unit_test_teardown(clones_are_refused, stop_all),
        cmocka_unit_test_teardown(wrong_files_are_told, stop_all),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
