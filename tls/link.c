#include <inttypes.h>
#include <stdio.h>

#include "tls/transport_parts.h"

#define DRAIN_MS 1000 /* what a link still carries when another takes over has arrived by then */
#define GOODBYE_MAX 200
#define FLUSH_BYTES 65536 /* more than that does not wait for the end of the turn */

static void set_state(struct link *link, enum transport_link_state state)
{
    bool was = link->state == LINK_UP || link->state == LINK_DRAINING;
    bool is = state == LINK_UP || state == LINK_DRAINING;
    if (!was && is) {
        link->t->n_unjoined--;
        link->t->n_busy -= link->dialled;
    }
    link->state = state;
    link->since = link->t->now;
    transport_want(link->t, link->t->now); /* another state, another due time */
}

struct link *link_new(struct transport *t, bool dialled, uint32_t route, const char *address)
{
    struct link *link = xcalloc(1, sizeof *link);
    *link = (struct link){.t = t,
                          .id = ++t->next_id,
                          .route = route,
                          .dialled = dialled,
                          .since = t->now,
                          .born = t->now,
                          .last_in = t->now,
                          .rtt = QUANTITY_UNKNOWN,
                          .index = t->n_links};
    link->sequence = link->id;
    snprintf(link->address, sizeof link->address, "%s", address);
    ARRAY_RESERVE(t->links, t->cap_links, t->n_links + 1);
    t->links[t->n_links++] = link;
    t->n_unjoined++;
    t->n_busy += dialled;
    route_add(t, route, link);
    transport_want(t, t->now);
    return link;
}

void link_free(struct link *link)
{
    wire_free(link->wire);
    free(link);
}

void link_fail_err(struct link *link, const struct err *err)
{
    if (link->failed)
        return;
    link->failed = true;
    link->why = *err;
    link->t->n_failed++;
    transport_want(link->t, link->t->now);
}

void link_fail(struct link *link, enum err_code code, const char *fmt, ...)
{
    struct err err;
    va_list ap;
    va_start(ap, fmt);
    err_setv(&err, code, fmt, ap);
    va_end(ap);
    link_fail_err(link, &err);
}

static struct link **bucket_of(const struct transport *t, const char *host)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (const char *p = host; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return (struct link **)(uintptr_t)&t->hosts[h % TABLE_SIZE];
}

struct link *link_current(const struct transport *t, const char *host)
{
    struct link *link = *bucket_of(t, host);
    while (link != NULL && strcmp(link->peer.host, host) != 0)
        link = link->next_host;
    return link;
}

static void make_current(struct link *link)
{
    struct link **head = bucket_of(link->t, link->peer.host);
    link->next_host = *head;
    *head = link;
    set_state(link, LINK_UP);
}

static void unmake_current(struct link *link)
{
    struct link **p = bucket_of(link->t, link->peer.host);
    while (*p != link)
        p = &(*p)->next_host;
    *p = link->next_host;
}

/* ---- output ---- */

void link_flush(struct link *link)
{
    struct err err;
    const uint8_t *bytes;
    size_t len;
    if (link->blocked) {
        link->blocked = false;
        link->t->n_blocked--;
    }
    if (link->waits) {
        link->waits = false;
        link->t->n_waiting--;
    }
    while (link->wire != NULL) {
        int rc = wire_take(link->wire, &bytes, &len, &err);
        if (rc < 0)
            return link_fail_err(link, &err);
        if (len == 0)
            return;
        rc = socket_send(link->t, link->route, bytes, len, &err);
        if (rc < 0)
            return link_fail_err(link, &err);
        if (rc > 0) {
            link->blocked = true;
            link->t->n_blocked++;
            return;
        }
        link->bytes_out += len;
        wire_sent(link->wire);
    }
}

static void send_control(struct link *link, enum wire_kind kind, const void *bytes, size_t len)
{
    wire_queue(link->wire, kind, bytes, len);
    link_flush(link);
}

int link_send(struct link *link, const void *bytes, size_t len, struct err *err)
{
    if (wire_queued(link->wire) + len > link->t->conf.max_queue)
        return err_set(err, ERR_CAPACITY, "%s: %zu bytes wait for it already", link->peer.host,
                       wire_queued(link->wire));
    wire_queue(link->wire, WIRE_DATA, bytes, len);
    link->frames_out++;
    if (link->blocked)
        return 0;
    if (!link->waits) {
        link->waits = true;
        link->t->n_waiting++;
    }
    if (wire_queued(link->wire) >= FLUSH_BYTES)
        link_flush(link);
    return 0;
}

static void send_hello(struct link *link, enum wire_kind kind)
{
    const struct transport *t = link->t;
    struct hello hello = {.protocol = HELLO_PROTOCOL, .link = link->sequence};
    memcpy(hello.cluster, t->conf.cluster.uuid, sizeof hello.cluster);
    hello.peer.incarnation = t->conf.incarnation;
    snprintf(hello.peer.host, sizeof hello.peer.host, "%s", t->host);
    snprintf(hello.peer.version, sizeof hello.peer.version, "%s", t->version);
    snprintf(hello.peer.listen, sizeof hello.peer.listen, "%s",
             t->advertise != NULL ? t->advertise : "");
    size_t len;
    _cleanup_(freep) uint8_t *bytes = hello_pack(&hello, &len);
    send_control(link, kind, bytes, len);
}

static void ping(struct link *link)
{
    link->pinged = true;
    link->ping_at = link->t->now;
    send_control(link, WIRE_PING, &link->ping_at, sizeof link->ping_at);
}

/* ---- joining ---- */

/* Which of two links to one host both sides keep: of the peer's newest life, then dialled by the
 * host that sorts first, then the newest (which its dialler numbers). */
static bool is_better(const struct link *a, const struct link *b)
{
    if (a->peer.incarnation != b->peer.incarnation)
        return a->peer.incarnation > b->peer.incarnation;
    if (a->dialled != b->dialled)
        return a->dialled == (strcmp(a->t->host, a->peer.host) < 0);
    return a->sequence > b->sequence;
}

static void drain(struct link *link)
{
    dial_park(link);
    set_state(link, LINK_DRAINING);
}

static void joined(struct link *link)
{
    struct transport *t = link->t;
    struct link *other = link_current(t, link->peer.host);
    bool alive = other != NULL && !other->failed;
    bool news = !alive || other->peer.incarnation != link->peer.incarnation;
    if (link->dial != NULL)
        snprintf(link->dial->host, sizeof link->dial->host, "%s", link->peer.host);
    if (alive && !is_better(link, other)) {
        ping(other); /* is it? see end_drain */
        return drain(link);
    }
    if (other != NULL) {
        unmake_current(other);
        drain(other);
        if (news)
            link_fail(other, ERR_STALE, "%s was restarted", other->peer.host);
    }
    make_current(link);
    struct transport_peer peer = link->peer;
    if (other != NULL && news)
        t->conf.on_down(t->conf.arg, peer.host, other->why.msg);
    if (news)
        t->conf.on_up(t->conf.arg, &peer);
}

static int check_hello(struct link *link, const struct hello *hello, struct err *err)
{
    const struct transport *t = link->t;
    const struct subject *subject = wire_subject(link->wire);
    if (strcmp(hello->cluster, t->conf.cluster.uuid) != 0)
        return err_set(err, ERR_DENIED, "of another cluster (%s)", hello->cluster);
    if (strcmp(hello->peer.host, subject->name) != 0)
        return err_set(err, ERR_DENIED, "calls itself %s with the certificate of %s",
                       hello->peer.host, subject->name);
    if (hello->protocol != HELLO_PROTOCOL)
        return err_set(err, ERR_INCOMPATIBLE, "%s speaks protocol %" PRIu32 ", we speak %d",
                       hello->peer.host, hello->protocol, HELLO_PROTOCOL);
    if (link->dialled && hello->link != link->sequence)
        return err_set(err, ERR_INVALID, "%s answered another link's hello", hello->peer.host);
    if (t->conf.may_join != NULL && !t->conf.may_join(t->conf.arg, &hello->peer, err))
        return err->code != ERR_OK ? -(int)err->code
                                   : err_set(err, ERR_DENIED, "%s is no member", subject->name);
    return 0;
}

static int on_hello(struct link *link, enum wire_kind kind, const uint8_t *bytes, size_t len,
                    struct err *err)
{
    struct hello hello;
    int rc;
    *err = (struct err){0};
    if (link->state != LINK_GREETING || (kind == WIRE_HELLO_ACK) != link->dialled)
        return err_set(err, ERR_INVALID, "a hello out of turn");
    if ((rc = hello_unpack(bytes, len, &hello, err)) < 0 ||
        (rc = check_hello(link, &hello, err)) < 0) {
        link->say_bye = true;
        return rc;
    }
    link->peer = hello.peer;
    link->sequence = hello.link;
    wire_set_max_frame(link->wire, link->t->conf.max_frame);
    if (!link->dialled)
        send_hello(link, WIRE_HELLO_ACK);
    joined(link);
    return 0;
}

/* ---- input ---- */

static int on_pong(struct link *link, const uint8_t *bytes, size_t len)
{
    if (link->pinged && len == sizeof link->ping_at &&
        memcmp(bytes, &link->ping_at, sizeof link->ping_at) == 0) {
        link->rtt = link->t->now - link->ping_at;
        link->pinged = false;
    }
    return 0;
}

/* The peer's words are shown to people: printable ASCII alone. */
static int on_bye(const uint8_t *bytes, size_t len, struct err *err)
{
    char text[GOODBYE_MAX + 1];
    size_t n = MIN(len, (size_t)GOODBYE_MAX);
    for (size_t i = 0; i < n; i++)
        text[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '?';
    text[n] = '\0';
    return err_set(err, ERR_UNAVAILABLE, "the peer says: %s", text);
}

static int on_frame(void *arg, unsigned kind, const uint8_t *bytes, size_t len, struct err *err)
{
    struct link *link = arg;
    const struct transport *t = link->t;
    bool is_joined = link->state == LINK_UP || link->state == LINK_DRAINING;
    if (kind == WIRE_BYE)
        return on_bye(bytes, len, err);
    if (kind == WIRE_HELLO || kind == WIRE_HELLO_ACK)
        return on_hello(link, kind, bytes, len, err);
    if (!is_joined)
        return err_set(err, ERR_DENIED, "a frame before the hello");
    if (kind == WIRE_PONG)
        return on_pong(link, bytes, len);
    if (kind == WIRE_PING && len == sizeof(msec)) {
        send_control(link, WIRE_PONG, bytes, len);
    } else if (kind == WIRE_DATA) {
        link->frames_in++;
        t->conf.on_frame(t->conf.arg, link->peer.host, bytes, len);
    } else {
        return err_set(err, ERR_INVALID, "a malformed frame of kind %u", kind);
    }
    return link->failed ? 1 : 0;
}

void link_connected(struct link *link)
{
    struct transport *t = link->t;
    struct err err;
    struct wire_conf conf = {.creds = t->creds,
                             .cluster = &t->conf.cluster,
                             .client = link->dialled,
                             .max_frame = HELLO_MAX,
                             .wall = transport_wall(t)};
    set_state(link, LINK_HANDSHAKING);
    link->born = t->now;
    if (wire_new(&conf, &link->wire, &err) < 0)
        return link_fail_err(link, &err);
    link_input(link, "", 0);
}

/* Own name at the other end: either we called ourselves, or a clone has our key. */
static int check_not_self(const struct link *link, struct err *err)
{
    if (strcmp(wire_subject(link->wire)->name, link->t->host) == 0)
        return err_set(err, ERR_CONFLICT, "the other end is %s too, as this host is",
                       link->t->host);
    return 0;
}

static int advance(struct link *link, struct err *err)
{
    int rc;
    if (link->state == LINK_HANDSHAKING) {
        if ((rc = wire_handshake(link->wire, err)) <= 0)
            return rc;
        if ((rc = check_not_self(link, err)) < 0)
            return rc;
        set_state(link, LINK_GREETING);
        if (link->dialled)
            send_hello(link, WIRE_HELLO);
    }
    return wire_receive(link->wire, on_frame, link, err);
}

void link_input(struct link *link, const void *bytes, size_t len)
{
    struct err err = {0};
    if (link->wire == NULL)
        return; /* of an earlier connection */
    link->bytes_in += len;
    link->last_in = link->t->now;
    wire_feed(link->wire, bytes, len);
    int rc = advance(link, &err);
    link_flush(link); /* an alert, too */
    if (rc < 0)
        link_fail_err(link, &err);
}

/* ---- time and the end ---- */

static msec tick_joined(struct link *link)
{
    const struct transport_conf *conf = &link->t->conf;
    msec now = link->t->now, silent_until = link->last_in + conf->silence_ms;
    if (now >= silent_until) {
        link_fail(link, ERR_TIMEOUT, "no answer for %" PRId64 " ms", now - link->last_in);
        return now;
    }
    msec ping_due = MAX(link->last_in, link->ping_at) + conf->ping_ms;
    if (now >= ping_due) {
        ping(link);
        ping_due = now + conf->ping_ms;
    }
    return MIN(ping_due, silent_until);
}

static msec tick_until(struct link *link, msec due, const char *what)
{
    if (link->t->now >= due)
        link_fail(link, ERR_TIMEOUT, "%s within %" PRId64 " ms", what, due - link->born);
    return due;
}

/* The other link is kept, unless it has been silent since, though asked: then the peer dialled
 * because it knew before us that the other one is dead. */
static void end_drain(struct link *link)
{
    struct transport *t = link->t;
    struct link *other = link_current(t, link->peer.host);
    if (other != NULL && (other->failed || other->last_in >= link->since)) {
        link->say_bye = true;
        link_fail(link, ERR_CONFLICT, "another link to %s is kept", link->peer.host);
        return;
    }
    if (other != NULL) {
        unmake_current(other);
        drain(other);
        link_fail(other, ERR_TIMEOUT, "silent, and %s has dialled anew", other->peer.host);
    }
    make_current(link);
    if (other == NULL) {
        struct transport_peer peer = link->peer;
        t->conf.on_up(t->conf.arg, &peer);
    }
}

msec link_tick(struct link *link)
{
    const struct transport_conf *conf = &link->t->conf;
    if (link->failed)
        return link->t->now;
    switch (link->state) {
    case LINK_CONNECTING:
        return tick_until(link, link->born + conf->connect_ms, "no connection");
    case LINK_HANDSHAKING:
        return tick_until(link, link->born + conf->handshake_ms, "no TLS handshake");
    case LINK_GREETING:
        return tick_until(link, link->born + conf->handshake_ms, "no hello");
    case LINK_UP:
        return tick_joined(link);
    case LINK_DRAINING:
        if (link->t->now >= link->since + DRAIN_MS)
            end_drain(link);
        return link->since + DRAIN_MS;
    }
    return link->t->now;
}

static void take_out(struct link *link)
{
    struct transport *t = link->t;
    t->links[link->index] = t->links[--t->n_links];
    t->links[link->index]->index = link->index;
    t->n_failed--;
    t->n_blocked -= link->blocked;
    link->blocked = false;
    t->n_waiting -= link->waits;
    link->waits = false;
    if (link->state != LINK_UP && link->state != LINK_DRAINING) {
        t->n_unjoined--;
        t->n_busy -= link->dialled;
    }
}

static void reap(struct link *link)
{
    struct transport *t = link->t;
    bool up = link->state == LINK_UP;
    if (link->say_bye && link->wire != NULL && !link->blocked) {
        size_t len = strnlen(link->why.msg, GOODBYE_MAX);
        wire_queue(link->wire, WIRE_BYE, link->why.msg, len);
        link_flush(link);
    }
    take_out(link);
    if (up)
        unmake_current(link);
    socket_drop(t, link);
    dial_ended(link);
    if (up)
        dials_wake(t, link->peer.host);
    if (up)
        t->conf.on_down(t->conf.arg, link->peer.host, link->why.msg);
    else if (link->state != LINK_DRAINING && t->conf.on_refused != NULL)
        t->conf.on_refused(t->conf.arg, link->address, &link->why);
    link_free(link);
}

void links_reap(struct transport *t)
{
    for (size_t i = 0; t->n_failed > 0;) {
        if (i >= t->n_links)
            i = 0; /* a callback may have failed one passed already */
        if (t->links[i]->failed)
            reap(t->links[i]); /* another one takes its place */
        else
            i++;
    }
}
