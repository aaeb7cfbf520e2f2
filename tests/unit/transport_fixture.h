/* transport_fixture.h - several transports in one process on loopback ports, driven by one loop. */
#ifndef SKEIN_TESTS_UNIT_TRANSPORT_FIXTURE_H
#define SKEIN_TESTS_UNIT_TRANSPORT_FIXTURE_H

#include "tests/unit/tls_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
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

static inline msec test_wall(void *arg)
{
    (void)arg;
    return wall;
}

static inline msec mono(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void on_up(void *arg, const struct transport_peer *peer)
{
    struct node *n = arg;
    for (unsigned i = 0; i < n->n_up; i++)
        assert_string_not_equal(n->up[i], peer->host);
    assert_true(n->n_up < NODES_MAX);
    snprintf(n->up[n->n_up++], sizeof n->up[0], "%s", peer->host);
    n->ups++;
}

static inline void on_down(void *arg, const char *host, const char *reason)
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

static inline void on_frame(void *arg, const char *host, const uint8_t *bytes, size_t len)
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

static inline void on_refused(void *arg, const char *address, const struct err *err)
{
    struct node *n = arg;
    (void)address;
    n->refusals++;
    size_t len = strlen(n->refused_why);
    if (len + strlen(err->msg) + 2 < sizeof n->refused_why)
        snprintf(n->refused_why + len, sizeof n->refused_why - len, "%s\n", err->msg);
}

static inline bool may_join(void *arg, const struct transport_peer *peer, struct err *err)
{
    struct node *n = arg;
    (void)err;
    return n->banned == NULL || strcmp(n->banned, peer->host) != 0;
}

/* A port that was free a moment ago. */
static inline unsigned free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline void put(const struct node *n, const char *name, const char *text)
{
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/%s", n->directory, name);
    assert_ok(file_write(path, text, strlen(text), 0600, FILE_ANY_GROUP, &err), &err);
}

static inline void put_crl(const struct node *n, gnutls_x509_crt_t revoked)
{
    struct err err = {0};
    _cleanup_(freep) char *crl = NULL;
    assert_ok(pki_crl(&n->world->machines, NULL, revoked, 30, NOW, &crl, &err), &err);
    put(n, "crl.pem", crl);
}

static inline struct node *node_make(struct world *w, const char *name)
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

static inline struct transport_conf conf_of(struct node *n)
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

static inline void node_start_with(struct node *n, const struct transport_conf *conf)
{
    struct err err = {0};
    assert_ok(transport_new(conf, &n->t, &err), &err);
}

static inline void node_start(struct node *n)
{
    struct transport_conf conf = conf_of(n);
    node_start_with(n, &conf);
}

static inline struct node *node_new(struct world *w, const char *name)
{
    struct node *n = node_make(w, name);
    node_start(n);
    return n;
}

static inline void node_stop(struct node *n)
{
    transport_free(n->t);
    n->t = NULL;
    n->n_up = 0;
}

static inline void dial(struct node *from, const struct node *to)
{
    struct err err = {0};
    assert_ok(transport_dial(from->t, to->address, &err), &err);
}

/* A TCP connection of our own. */
static inline int caller_connect(const struct node *to)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(to->address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A relay between a dialler and its target, to break a connection on one side alone. */
static struct relay {
    int listener, ends[2]; /* the dialler's, the target's; -1 */
    const struct node *target;
    bool frozen;
} relay = {-1, {-1, -1}, NULL, false};

static inline void relay_pass(int from, int to)
{
    char bytes[16384];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        assert_int_equal(send(to, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

static inline void relay_turn(void)
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

static inline void relay_start(const struct node *target, char address[TRANSPORT_ADDRESS_SIZE])
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

static inline void relay_stop(void)
{
    close(relay.listener);
    close(relay.ends[0]);
    relay.listener = -1;
}

/* As an event loop would do it: drain with a budget, tick when due, sleep on the descriptors. */
static inline void turn(void)
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

static inline void run_for(msec ms)
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

static inline bool linked(const struct node *a, const struct node *b)
{
    return a->t != NULL && b->t != NULL && transport_is_up(a->t, b->name) &&
           transport_is_up(b->t, a->name);
}

static inline bool count_link(void *arg, const struct transport_link *link)
{
    unsigned *n = arg;
    *n += link->state != LINK_CONNECTING;
    return true;
}

static inline unsigned links_of(const struct node *n)
{
    unsigned count = 0;
    transport_links(n->t, count_link, &count);
    return count;
}

static struct world world_one;

static inline int set_up(void **state)
{
    (void)state;
    world_init(&world_one, "dc1", UUID_ONE);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    world_done(&world_one);
    return 0;
}

static inline int stop_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_nodes; i++)
        transport_free(nodes[i].t);
    n_nodes = 0;
    wall = NOW;
    return 0;
}

#endif
