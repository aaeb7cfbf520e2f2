#include "tls/transport.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <zmq.h>

#include "proto/log.h"
#include "tls/transport_parts.h"

#define SWEEP_MS 1000 /* certificates' ends and old tombstones */
#define BLOCKED_RETRY_MS 20
#define SPARE_FILES 64 /* what the process opens besides links */

static void default_size(size_t *value, size_t standard)
{
    if (*value == 0)
        *value = standard;
}

static void default_count(unsigned *value, unsigned standard)
{
    if (*value == 0)
        *value = standard;
}

static void default_ms(msec *value, msec standard)
{
    if (*value == 0)
        *value = standard;
}

static void fill_defaults(struct transport_conf *c)
{
    default_size(&c->max_frame, 1u << 20);
    default_size(&c->max_queue, 4u << 20);
    default_count(&c->max_links, 1024);
    default_count(&c->max_dials, 32);
    default_ms(&c->handshake_ms, 10000);
    default_ms(&c->connect_ms, 3000);
    default_ms(&c->ping_ms, 2000);
    default_ms(&c->silence_ms, 10000);
    default_ms(&c->redial_min_ms, 250);
    default_ms(&c->redial_max_ms, 15000);
}

/* Without file descriptors ZeroMQ stops accepting, and says nothing: keep below the limit. */
static void respect_file_limit(struct transport_conf *c)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= (rlim_t)c->max_links + SPARE_FILES)
        return;
    unsigned fits =
        limit.rlim_cur > 2 * SPARE_FILES ? (unsigned)limit.rlim_cur - SPARE_FILES : SPARE_FILES;
    log_warn("mesh: %llu open files are allowed: at most %u links, not %u",
             (unsigned long long)limit.rlim_cur, fits, c->max_links);
    c->max_links = fits;
}

static int check_conf(const struct transport_conf *c, struct err *err)
{
    int rc;
    if (c->max_frame > WIRE_FRAME_LIMIT)
        return err_set(err, ERR_INVALID, "frames of %zu bytes: at most %u", c->max_frame,
                       WIRE_FRAME_LIMIT);
    if ((rc = name_check("host", c->host, err)) < 0 ||
        (c->listen != NULL && (rc = address_check(c->listen, err)) < 0) ||
        (c->advertise != NULL && (rc = address_check(c->advertise, err)) < 0))
        return rc;
    return 0;
}

static char *copy_or_null(const char *s)
{
    return s != NULL ? xstrdup(s) : NULL;
}

static struct transport *copy_conf(const struct transport_conf *conf)
{
    struct transport *t = xcalloc(1, sizeof *t);
    t->conf = *conf;
    t->host = xstrdup(conf->host);
    t->listen = copy_or_null(conf->listen);
    t->advertise = copy_or_null(conf->advertise != NULL ? conf->advertise : conf->listen);
    t->directory = xstrdup(conf->directory);
    t->version = xasprintf("%.*s", NAME_SIZE - 1, conf->version != NULL ? conf->version : "");
    t->random = conf->seed ^ 0x9e3779b97f4a7c15u;
    fill_defaults(&t->conf);
    respect_file_limit(&t->conf);
    return t;
}

int transport_new(const struct transport_conf *conf, struct transport **ret, struct err *err)
{
    int rc = check_conf(conf, err);
    if (rc < 0)
        return rc;
    _cleanup_(transport_freep) struct transport *t = copy_conf(conf);
    if ((rc = creds_load(t->directory, &t->conf.cluster, t->host, transport_wall(t), &t->creds,
                         err)) < 0 ||
        (rc = socket_open(t, err)) < 0)
        return rc;
    *ret = TAKE_PTR(t);
    return 0;
}

void transport_free(struct transport *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n_links; i++)
        link_free(t->links[i]);
    free(t->links);
    dials_free(t);
    routes_free(t);
    socket_close(t);
    creds_unref(t->creds);
    free(t->host);
    free(t->listen);
    free(t->advertise);
    free(t->directory);
    free(t->version);
    free(t);
}

msec transport_wall(const struct transport *t)
{
    if (t->conf.wall != NULL)
        return t->conf.wall(t->conf.arg);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (msec)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* xorshift64*: jitter wants no more. */
uint64_t transport_random(struct transport *t)
{
    t->random ^= t->random >> 12;
    t->random ^= t->random << 25;
    t->random ^= t->random >> 27;
    return (t->random * 2685821657736338717u) >> 16;
}

void transport_want(struct transport *t, msec at)
{
    t->deadline = MIN(t->deadline, at);
}

int transport_fd(const struct transport *t)
{
    int fd = -1;
    size_t len = sizeof fd;
    int rc = zmq_getsockopt(t->socket, ZMQ_FD, &fd, &len);
    REQUIRE(rc == 0);
    return fd;
}

/* What was queued for one peer since the last turn is one record, and one message of ZeroMQ's. */
static void send_waiting(struct transport *t)
{
    for (size_t i = 0; t->n_waiting > 0 && i < t->n_links; i++)
        if (t->links[i]->waits && !t->links[i]->failed)
            link_flush(t->links[i]);
}

bool transport_pending(struct transport *t)
{
    send_waiting(t);
    return t->more || t->n_failed > 0 || (!t->drained && socket_readable(t));
}

static void retry_blocked(struct transport *t)
{
    for (size_t i = 0; t->n_blocked > 0 && i < t->n_links; i++)
        if (t->links[i]->blocked && !t->links[i]->failed)
            link_flush(t->links[i]);
    if (t->n_blocked > 0)
        transport_want(t, t->now + BLOCKED_RETRY_MS);
}

bool transport_process(struct transport *t, msec now, unsigned budget)
{
    t->now = now;
    while (budget > 0 && socket_receive(t))
        budget--;
    retry_blocked(t);
    send_waiting(t);
    links_reap(t);
    t->more = budget == 0 && socket_readable(t);
    return t->more;
}

/* A link whose peer's certificate has ended, or is not accepted any more. */
static void judge_link(struct link *link, msec wall)
{
    struct err err;
    if (link->state < LINK_GREETING || link->failed)
        return;
    if (wire_judge(link->wire, link->t->creds, wall, &err) < 0) {
        link->say_bye = true;
        link_fail_err(link, &err);
    }
}

static void sweep(struct transport *t)
{
    if (t->now < t->next_sweep)
        return;
    t->next_sweep = t->now + SWEEP_MS;
    msec wall = transport_wall(t);
    for (size_t i = 0; i < t->n_links; i++)
        if (t->links[i]->state >= LINK_GREETING &&
            wall >= wire_subject(t->links[i]->wire)->not_after)
            judge_link(t->links[i], wall);
    routes_sweep(t);
}

/* Called late, we were the slow one: nobody's silence is held against him for that time. */
static void forgive_own_stall(struct transport *t)
{
    msec late = t->now - t->deadline;
    if (t->deadline <= 0 || late < t->conf.ping_ms)
        return;
    for (size_t i = 0; i < t->n_links; i++) {
        t->links[i]->last_in += late;
        t->links[i]->born += late;
    }
}

msec transport_tick(struct transport *t, msec now)
{
    t->now = now;
    forgive_own_stall(t);
    t->deadline = INT64_MAX;
    sweep(t);
    msec next = t->next_sweep;
    for (size_t i = 0; i < t->n_links; i++)
        next = MIN(next, link_tick(t->links[i]));
    retry_blocked(t);
    send_waiting(t);
    links_reap(t);
    next = MIN(next, dials_tick(t));
    transport_want(t, next);
    return t->deadline;
}

msec transport_deadline(const struct transport *t)
{
    return t->deadline;
}

int transport_dial(struct transport *t, const char *address, struct err *err)
{
    int rc = address_check(address, err);
    if (rc == 0 && dial_find(t, address) == NULL)
        dial_add(t, address);
    return rc;
}

void transport_undial(struct transport *t, const char *address)
{
    struct dial *dial = dial_find(t, address);
    if (dial != NULL)
        dial_remove(t, dial);
}

void transport_close(struct transport *t, const char *host, const char *reason)
{
    for (size_t i = 0; i < t->n_links; i++) {
        struct link *link = t->links[i]; /* a draining one must not step in */
        if (link->failed || link->state < LINK_UP || strcmp(link->peer.host, host) != 0)
            continue;
        link->say_bye = true;
        link_fail(link, ERR_CANCELLED, "%s", reason);
    }
}

int transport_send(struct transport *t, const char *host, const void *bytes, size_t len,
                   struct err *err)
{
    struct link *link = link_current(t, host);
    if (link == NULL || link->failed)
        return err_set(err, ERR_UNAVAILABLE, "%s is not linked", host);
    if (len > t->conf.max_frame)
        return err_set(err, ERR_LIMIT, "a frame of %zu bytes, at most %zu are sent", len,
                       t->conf.max_frame);
    return link_send(link, bytes, len, err);
}

bool transport_is_up(const struct transport *t, const char *host)
{
    const struct link *link = link_current(t, host);
    return link != NULL && !link->failed;
}

int transport_reload(struct transport *t, struct err *err)
{
    struct creds *creds;
    msec wall = transport_wall(t);
    int rc = creds_load(t->directory, &t->conf.cluster, t->host, wall, &creds, err);
    if (rc < 0)
        return rc;
    creds_unref(t->creds);
    t->creds = creds;
    for (size_t i = 0; i < t->n_links; i++)
        judge_link(t->links[i], wall);
    return 0;
}

static struct transport_link describe(const struct link *link)
{
    struct transport_link out = {.id = link->id,
                                 .state = link->state,
                                 .dialled = link->dialled,
                                 .peer = link->peer,
                                 .expires_wall = QUANTITY_UNKNOWN,
                                 .since = link->since,
                                 .rtt_ms = link->rtt,
                                 .frames_in = link->frames_in,
                                 .frames_out = link->frames_out,
                                 .bytes_in = link->bytes_in,
                                 .bytes_out = link->bytes_out};
    memcpy(out.address, link->address, sizeof out.address);
    if (link->wire != NULL)
        out.queued = wire_queued(link->wire);
    if (link->state >= LINK_GREETING) {
        const struct subject *subject = wire_subject(link->wire);
        memcpy(out.key, subject->key, sizeof out.key);
        out.expires_wall = subject->not_after;
    }
    return out;
}

void transport_links(const struct transport *t,
                     bool (*visit)(void *arg, const struct transport_link *link), void *arg)
{
    for (size_t i = 0; i < t->n_links; i++) {
        struct transport_link link = describe(t->links[i]);
        if (!t->links[i]->failed && !visit(arg, &link))
            return;
    }
}

void transport_validity(const struct transport *t, msec *ret_certificate, msec *ret_crl)
{
    *ret_certificate = t->creds->own.not_after;
    *ret_crl = anchor_crl_next_update(t->creds->machines);
}
