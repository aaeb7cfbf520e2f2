#include <errno.h>
#include <stdio.h>
#include <zmq.h>

#include "tls/transport_parts.h"

#define ROUTE_SIZE 5       /* ZMQ_STREAM's automatic ids: a zero byte and a 32-bit counter */
#define TOMBSTONE_MS 60000 /* far longer than what was on its way can take */
#define HIGH_WATER_OUT                                                                             \
    64                    /* messages of at most about 64 KiB: beyond, batches form in our queue   \
                           */
#define HIGH_WATER_IN 256 /* messages of at most 8 KiB */
#define BACKLOG 1024
#define SHARE 8 /* of the links: what callers of one address may take before they join */
#define SHARE_MIN 16
#define STRANGER_MS 2000 /* joining takes some 20 ms, a second on a crowded machine */
#define RECONNECT_MS 250 /* libzmq's own retries, within our connect_ms */

static int zmq_failed(struct err *err, const char *what)
{
    return err_set(err, ERR_IO, "%s: %s", what, zmq_strerror(errno));
}

static int set_options(struct transport *t, struct err *err)
{
    static const struct {
        int option, value;
    } options[] = {
        {ZMQ_LINGER, 0},        {ZMQ_SNDHWM, HIGH_WATER_OUT},      {ZMQ_RCVHWM, HIGH_WATER_IN},
        {ZMQ_BACKLOG, BACKLOG}, {ZMQ_RECONNECT_IVL, RECONNECT_MS}, {ZMQ_IPV6, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (zmq_setsockopt(t->socket, options[i].option, &options[i].value,
                           sizeof options[i].value) < 0)
            return zmq_failed(err, "ZMQ_STREAM socket");
    return 0;
}

int socket_open(struct transport *t, struct err *err)
{
    if ((t->zmq = zmq_ctx_new()) == NULL)
        return zmq_failed(err, "ZeroMQ");
    if ((t->socket = zmq_socket(t->zmq, ZMQ_STREAM)) == NULL)
        return zmq_failed(err, "ZMQ_STREAM socket");
    int rc = set_options(t, err);
    if (rc < 0 || t->listen == NULL)
        return rc;
    char endpoint[TRANSPORT_ADDRESS_SIZE + 8];
    snprintf(endpoint, sizeof endpoint, "tcp://%s", t->listen);
    return zmq_bind(t->socket, endpoint) < 0 ? zmq_failed(err, t->listen) : 0;
}

void socket_close(struct transport *t)
{
    if (t->socket != NULL)
        zmq_close(t->socket);
    if (t->zmq != NULL)
        zmq_ctx_term(t->zmq);
}

static void route_pack(uint32_t id, uint8_t ret[ROUTE_SIZE])
{
    ret[0] = 0;
    memcpy(ret + 1, &id, sizeof id); /* opaque: only ever given back */
}

static bool route_unpack(const void *bytes, size_t len, uint32_t *ret)
{
    if (len != ROUTE_SIZE)
        return false;
    memcpy(ret, (const uint8_t *)bytes + 1, sizeof *ret); /* may lie unaligned */
    return true;
}

static size_t bucket_of(uint32_t id)
{
    return (id * 2654435761u) >> 22; /* Knuth's multiplicative hash, 10 bits */
}

struct route *route_find(struct transport *t, uint32_t id)
{
    struct route *r = t->routes[bucket_of(id)];
    while (r != NULL && r->id != id)
        r = r->next;
    return r;
}

void route_add(struct transport *t, uint32_t id, struct link *link)
{
    struct route **head = &t->routes[bucket_of(id)];
    struct route *r = xcalloc(1, sizeof *r);
    *r = (struct route){.id = id, .link = link, .until = t->now + TOMBSTONE_MS, .next = *head};
    *head = r;
}

void routes_sweep(struct transport *t)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        for (struct route **p = &t->routes[i]; *p != NULL;) {
            struct route *r = *p;
            if (r->link == NULL && t->now >= r->until) {
                *p = r->next;
                free(r);
            } else {
                p = &r->next;
            }
        }
}

void routes_free(struct transport *t)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        for (struct route *r = t->routes[i], *next; r != NULL; r = next) {
            next = r->next;
            free(r);
        }
}

int socket_connect(struct transport *t, const char *address, uint32_t *ret_route, struct err *err)
{
    char endpoint[TRANSPORT_ADDRESS_SIZE + 8];
    uint8_t id[256];
    size_t len = sizeof id;
    snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
    t->drained = false;
    if (zmq_connect(t->socket, endpoint) < 0)
        return zmq_failed(err, address);
    /* Choosing the id ourselves (ZMQ_CONNECT_ROUTING_ID) aborts when it is still in use. */
    if (zmq_getsockopt(t->socket, ZMQ_ROUTING_ID, id, &len) < 0 ||
        !route_unpack(id, len, ret_route)) {
        zmq_disconnect(t->socket, endpoint);
        return err_set(err, ERR_INTERNAL, "%s: the connection has no routing id", address);
    }
    return 0;
}

/* Any call of ZeroMQ may take the signal that there is something to read, and leave it unread:
 * after each `drained` is false until it was looked at again.
 *
 * Both halves or none: after a failed id frame the payload would be taken for the next id. */
int socket_send(struct transport *t, uint32_t route, const void *bytes, size_t len, struct err *err)
{
    uint8_t id[ROUTE_SIZE];
    int n;
    route_pack(route, id);
    t->drained = false;
    do
        n = zmq_send(t->socket, id, sizeof id, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 1;
    if (n < 0)
        return zmq_failed(err, "sending");
    do
        n = zmq_send(t->socket, bytes, len, ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    REQUIRE(n >= 0); /* the id was taken: the payload is queued, or dropped if the pipe just went */
    return 0;
}

void socket_drop(struct transport *t, const struct link *link)
{
    struct route *r = route_find(t, link->route);
    REQUIRE(r != NULL && r->link == link);
    r->link = NULL;
    r->until = t->now + TOMBSTONE_MS;
    if (link->dialled) {
        char endpoint[TRANSPORT_ADDRESS_SIZE + 8];
        snprintf(endpoint, sizeof endpoint, "tcp://%s", link->address);
        t->drained = false;
        zmq_disconnect(t->socket, endpoint); /* one link an endpoint: it drops them all */
    } else {
        socket_send(t, link->route, "", 0, NULL);
    }
}

bool socket_readable(struct transport *t)
{
    int events = 0;
    size_t len = sizeof events;
    if (zmq_getsockopt(t->socket, ZMQ_EVENTS, &events, &len) < 0)
        return false;
    t->drained = (events & ZMQ_POLLIN) == 0;
    return !t->drained;
}

static void close_caller(struct transport *t, uint32_t id)
{
    route_add(t, id, NULL);
    socket_send(t, id, "", 0, NULL);
}

/* Callers that have not joined yet: how many come from there, and the oldest, of them or of all. */
struct strangers {
    size_t same;
    struct link *oldest_same, *oldest;
};

static struct strangers strangers_of(const struct transport *t, const char *address)
{
    struct strangers s = {0};
    for (size_t i = 0; i < t->n_links; i++) {
        struct link *link = t->links[i];
        bool same = strcmp(link->address, address) == 0;
        if (link->dialled || link->failed || link->state >= LINK_UP)
            continue;
        if (s.oldest == NULL || link->born < s.oldest->born)
            s.oldest = link;
        if (same && (s.oldest_same == NULL || link->born < s.oldest_same->born))
            s.oldest_same = link;
        s.same += same;
    }
    return s;
}

/* Whoever only fills places must not keep others out: one address has a share of them, and a caller
 * that has had time to join makes way, when there is no room, for the next. */
static bool has_room(const struct transport *t, const char *address, struct err *err)
{
    const struct transport_conf *conf = &t->conf;
    size_t share = MAX(conf->max_links / SHARE, (unsigned)SHARE_MIN);
    bool full = t->n_links >= conf->max_links || t->n_unjoined >= conf->max_links / 2;
    if (!full && t->n_unjoined < share)
        return true;
    struct strangers s = strangers_of(t, address);
    if (!full && s.same < share)
        return true;
    struct link *way = s.same >= share ? s.oldest_same : s.oldest;
    if (way != NULL && t->now - way->born >= STRANGER_MS) {
        link_fail(way, ERR_CAPACITY, "not joined for %d ms, it made way for another caller",
                  STRANGER_MS);
        return true;
    }
    err_set(err, ERR_CAPACITY,
            "%zu links, %zu of them not joined, %zu of these from there: no room for another",
            t->n_links, t->n_unjoined, s.same);
    return false;
}

/* An id never seen says that it has connected. */
static void accept_caller(struct transport *t, uint32_t id, const char *address)
{
    struct err err = {0};
    if (has_room(t, address, &err)) {
        link_connected(link_new(t, false, id, address));
        return;
    }
    close_caller(t, id);
    if (t->conf.on_refused != NULL)
        t->conf.on_refused(t->conf.arg, address, &err);
}

/* Connect and disconnect are both told by an empty message: which one follows from the state. */
static void on_message(struct transport *t, uint32_t id, const void *bytes, size_t len,
                       const char *address)
{
    const struct route *r = route_find(t, id);
    if (r == NULL) {
        if (len == 0)
            accept_caller(t, id, address);
        return;
    }
    struct link *link = r->link;
    if (link == NULL || link->failed)
        return;
    if (len > 0)
        link_input(link, bytes, len);
    else if (link->state == LINK_CONNECTING)
        link_connected(link);
    else
        link_fail(link, ERR_UNAVAILABLE, "connection closed");
}

bool socket_receive(struct transport *t)
{
    zmq_msg_t id, body;
    uint32_t route;
    zmq_msg_init(&id);
    zmq_msg_init(&body);
    bool got = zmq_msg_recv(&id, t->socket, ZMQ_DONTWAIT) >= 0;
    t->drained = !got && errno == EAGAIN;
    if (got && zmq_msg_more(&id) && zmq_msg_recv(&body, t->socket, ZMQ_DONTWAIT) >= 0 &&
        route_unpack(zmq_msg_data(&id), zmq_msg_size(&id), &route)) {
        const char *address = zmq_msg_gets(&body, "Peer-Address");
        on_message(t, route, zmq_msg_data(&body), zmq_msg_size(&body),
                   address != NULL ? address : "unknown");
    }
    zmq_msg_close(&id);
    zmq_msg_close(&body);
    return got;
}
