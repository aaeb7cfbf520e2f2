#include "agent/sim/server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "agent/sim/answer.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/log.h"
#include "proto/util.h"

#define BACKLOG 512
#define READ_SIZE 65536
#define QUEUE_MAX (128u << 20) /* bytes that a client does not fetch: it is given up */
#define PENDING_MAX 10000      /* requests that wait */
#define SLEEP_MAX_MS 1000      /* the world's time never stands still for longer */
#define NO_HOST SIZE_MAX

struct server;

struct conn {
    uv_pipe_t pipe;
    struct server *server;
    struct conn *next, **at;
    struct buf in;
    size_t watched;    /* host whose changes are told; NO_HOST */
    uint64_t watch_id; /* of the request to watch */
};

/* A request that waits for its host to answer, or for its migration to end. */
struct pending {
    struct conn *conn;
    Skein__SimRequest *request; /* owned */
    uint64_t migration;         /* 0: none was begun */
    bool moved;                 /* it has ended: */
    struct world_event end;
};

struct server {
    uv_loop_t loop;
    uv_pipe_t listener;
    uv_timer_t timer;
    uv_signal_t on_term, on_int;
    struct world *world;
    double speed;
    uint64_t began; /* uv_hrtime() at the world's moment 0 */
    struct conn *conns;
    struct pending *pending;
    size_t n_pending, cap_pending;
    bool *changed; /* host by host: to be told */
    bool tell_all; /* whether or not something changed */
    bool stopping;
};

/* ---- connections ---- */

static void conn_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    buf_done(&c->in);
    free(c);
}

static void conn_close(struct conn *c)
{
    struct server *s = c->server;
    size_t kept = 0;
    if (uv_is_closing((uv_handle_t *)&c->pipe))
        return;
    for (size_t i = 0; i < s->n_pending; i++) {
        if (s->pending[i].conn == c)
            skein__sim_request__free_unpacked(s->pending[i].request, NULL);
        else
            s->pending[kept++] = s->pending[i];
    }
    s->n_pending = kept;
    *c->at = c->next;
    if (c->next != NULL)
        c->next->at = c->at;
    uv_close((uv_handle_t *)&c->pipe, conn_closed);
}

struct writing {
    uv_write_t write;
    uint8_t *bytes;
};

static void written(uv_write_t *write, int status)
{
    struct writing *w = (struct writing *)write;
    struct conn *c = write->data;
    free(w->bytes);
    free(w);
    if (status < 0 && status != UV_ECANCELED)
        conn_close(c);
}

/* Takes reply. */
static void conn_reply(struct conn *c, Skein__SimReply *reply)
{
    struct server *s = c->server;
    size_t len;
    Skein__SimClock clock = SKEIN__SIM_CLOCK__INIT;
    clock.has_at_ms = clock.has_speed_milli = 1;
    clock.at_ms = (uint64_t)MAX(world_wall(s->world), 0);
    clock.speed_milli = (uint32_t)(s->speed * 1000 + 0.5);
    reply->clock = &clock;
    struct writing *w = xcalloc(1, sizeof *w);
    w->bytes = frame_pack(&reply->base, &len);
    w->write.data = c;
    reply->clock = NULL;
    skein__sim_reply__free_unpacked(reply, NULL);
    uv_buf_t buf = uv_buf_init((char *)w->bytes, (unsigned)len);
    bool full = uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > QUEUE_MAX;
    if (full || uv_is_closing((uv_handle_t *)&c->pipe) ||
        uv_write(&w->write, (uv_stream_t *)&c->pipe, &buf, 1, written) < 0) {
        free(w->bytes);
        free(w);
        conn_close(c);
    }
}

/* ---- speed ---- */

static void let_time_pass(struct server *s)
{
    double real_ms = (double)(uv_hrtime() - s->began) / 1e6;
    world_step(s->world, (msec)(real_ms * s->speed));
}

/* The moment stays, what follows passes faster or slower. */
static void run_at(struct server *s, double speed)
{
    s->speed = speed;
    s->began = uv_hrtime() - (uint64_t)((double)world_now(s->world) / speed * 1e6);
}

static Skein__SimReply *change_speed(struct server *s, const Skein__SimRequest *r)
{
    struct err err = {0};
    if (!(r->speed >= SERVER_SPEED_MIN && r->speed <= SERVER_SPEED_MAX))
        err_set(&err, ERR_INVALID, "speed: %g is not between %g and %g", r->speed, SERVER_SPEED_MIN,
                SERVER_SPEED_MAX);
    else
        run_at(s, r->speed);
    s->tell_all = err.code == ERR_OK; /* so that all agents look at the clock */
    return answer_empty(r->id, &err);
}

/* ---- requests ---- */

static void note_watch(struct conn *c, const Skein__SimRequest *r)
{
    if (r->kind_case != SKEIN__SIM_REQUEST__KIND_WATCH)
        return;
    c->watch_id = r->id;
    if (world_find_host(c->server->world, r->host, &c->watched, NULL) < 0)
        c->watched = NO_HOST;
}

/* Takes request. False: it has to wait once more. */
static bool serve(struct conn *c, Skein__SimRequest *request)
{
    struct server *s = c->server;
    struct pending p = {.conn = c, .request = request};
    Skein__SimReply *reply = NULL;
    enum answer answer = ANSWER_NOW;
    if (request->kind_case == SKEIN__SIM_REQUEST__KIND_SPEED)
        reply = change_speed(s, request);
    else
        answer = answer_request(s->world, request, &reply, &p.migration);
    if (answer == ANSWER_NOW) {
        if (reply->code == NULL)
            note_watch(c, request);
        skein__sim_request__free_unpacked(request, NULL);
        conn_reply(c, reply);
        return true;
    }
    ARRAY_RESERVE(s->pending, s->cap_pending, s->n_pending + 1);
    s->pending[s->n_pending++] = p;
    return answer == ANSWER_MOVED;
}

/* Every waiting request once: what can be answered is, the rest waits on. */
static void serve_pending(struct server *s)
{
    for (size_t left = s->n_pending; left > 0 && s->n_pending > 0; left--) {
        struct pending p = s->pending[0];
        s->n_pending--;
        memmove(&s->pending[0], &s->pending[1], s->n_pending * sizeof *s->pending);
        size_t host;
        bool silent = world_find_host(s->world, p.request->host, &host, NULL) == 0 &&
                      world_answers(s->world, host) == WORLD_SILENT;
        if (p.migration == 0) {
            serve(p.conn, p.request);
        } else if (p.moved && !silent) {
            conn_reply(p.conn, answer_moved(p.request->id, &p.end));
            skein__sim_request__free_unpacked(p.request, NULL);
        } else {
            s->pending[s->n_pending++] = p;
        }
    }
}

static void tell_changes(struct server *s)
{
    for (struct conn *c = s->conns, *next; c != NULL; c = next) {
        next = c->next;
        if (c->watched == NO_HOST || !(s->changed[c->watched] || s->tell_all) ||
            world_answers(s->world, c->watched) != WORLD_ANSWERS)
            continue;
        Skein__SimReply *reply = answer_empty(c->watch_id, NULL);
        reply->kind_case = SKEIN__SIM_REPLY__KIND_CHANGED;
        reply->changed = xmalloc(sizeof *reply->changed);
        skein__sim_nothing__init(reply->changed);
        conn_reply(c, reply);
    }
    memset(s->changed, 0, world_hosts(s->world) * sizeof *s->changed);
}

/* ---- time ---- */

static void take_events(struct server *s)
{
    struct world_event e;
    bool any = false;
    while (world_event(s->world, &e)) {
        if (e.kind == WORLD_CHANGED) {
            s->changed[e.host] = any = true;
            continue;
        }
        for (size_t i = 0; i < s->n_pending; i++) {
            if (s->pending[i].migration != e.migration)
                continue;
            s->pending[i].moved = true;
            s->pending[i].end = e;
        }
    }
    if (any || s->tell_all)
        tell_changes(s);
    s->tell_all = false;
}

static void due(uv_timer_t *timer);

static void turn(struct server *s)
{
    take_events(s);
    serve_pending(s);
    take_events(s);
    msec next = world_next(s->world), now = world_now(s->world);
    double real_ms = next == WORLD_NEVER ? SLEEP_MAX_MS : (double)(next - now) / s->speed;
    uint64_t sleep = (uint64_t)MIN(MAX(real_ms, 0), (double)SLEEP_MAX_MS) + 1;
    uv_timer_start(&s->timer, due, sleep, 0);
}

static void due(uv_timer_t *timer)
{
    let_time_pass(timer->data);
    turn(timer->data);
}

/* ---- reading ---- */

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(xmalloc(READ_SIZE), READ_SIZE);
}

static int take_request(struct conn *c, const uint8_t *bytes, size_t len, struct err *err)
{
    ProtobufCMessage *m = NULL;
    if (codec_unpack(&skein__sim_request__descriptor, "request", bytes, len, &m, err) < 0)
        return -(int)err->code;
    if (c->server->n_pending >= PENDING_MAX) {
        skein__sim_request__free_unpacked((Skein__SimRequest *)m, NULL);
        return err_set(err, ERR_LIMIT, "too many requests wait");
    }
    serve(c, (Skein__SimRequest *)m);
    return 0;
}

static int take_requests(struct conn *c, struct err *err)
{
    size_t at = 0, len;
    int rc;
    while ((rc = frame_peek((const uint8_t *)c->in.data + at, c->in.len - at, FRAME_REQUEST_MAX,
                            &len, err)) > 0) {
        rc = take_request(c, (const uint8_t *)c->in.data + at + FRAME_HEADER, len, err);
        if (rc < 0 || uv_is_closing((uv_handle_t *)&c->pipe))
            return rc;
        at += FRAME_HEADER + len;
    }
    if (at > 0) {
        memmove(c->in.data, c->in.data + at, c->in.len - at);
        c->in.len -= at;
    }
    return rc;
}

static void arrived(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    struct server *s = c->server;
    struct err err = {0};
    if (n > 0)
        buf_add(&c->in, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0) {
        conn_close(c);
        return;
    }
    let_time_pass(s);
    if (n > 0 && take_requests(c, &err) < 0) {
        log_warn("a client is sent away: %s", err.msg);
        conn_close(c);
    }
    turn(s);
}

static void knocked(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    if (status < 0)
        return;
    struct conn *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->watched = NO_HOST;
    uv_pipe_init(&s->loop, &c->pipe, 0);
    c->pipe.data = c;
    c->next = s->conns;
    c->at = &s->conns;
    if (s->conns != NULL)
        s->conns->at = &c->next;
    s->conns = c;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) < 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, give_room, arrived) < 0)
        conn_close(c);
}

/* ---- opening and closing ---- */

static void stop(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    while (s->conns != NULL)
        conn_close(s->conns);
    uv_close((uv_handle_t *)&s->listener, NULL);
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_close((uv_handle_t *)&s->on_term, NULL);
    uv_close((uv_handle_t *)&s->on_int, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
    log_info("told to stop (signal %d)", number);
    stop(handle->data);
}

static int claim_socket(const char *path, struct err *err)
{
    struct err nobody = {0};
    struct stat st;
    int fd = frame_connect(path, &nobody);
    if (fd >= 0) {
        close(fd);
        return err_set(err, ERR_EXISTS, "%s: another world listens there", path);
    }
    if (nobody.code == ERR_INVALID) {
        *err = nobody;
        return -(int)ERR_INVALID;
    }
    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS, "%s is there and is not a socket", path);
    return unlink(path) == 0 ? 0 : err_set(err, ERR_IO, "%s: %m", path);
}

static int listen_at(struct server *s, const char *path, struct err *err)
{
    int rc = claim_socket(path, err);
    if (rc < 0)
        return rc;
    mode_t before = umask(0177);
    rc = uv_pipe_bind(&s->listener, path);
    umask(before);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, knocked);
    return rc == 0 ? 0 : err_set(err, ERR_IO, "%s: %s", path, uv_strerror(rc));
}

/* Each agent keeps a connection or two. */
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void init_handles(struct server *s)
{
    uv_loop_init(&s->loop);
    uv_pipe_init(&s->loop, &s->listener, 0);
    uv_timer_init(&s->loop, &s->timer);
    uv_signal_init(&s->loop, &s->on_term);
    uv_signal_init(&s->loop, &s->on_int);
    s->listener.data = s->timer.data = s->on_term.data = s->on_int.data = s;
    uv_signal_start(&s->on_term, on_signal, SIGTERM);
    uv_signal_start(&s->on_int, on_signal, SIGINT);
}

int server_run(struct world *world, const struct server_conf *conf, struct err *err)
{
    struct server s = {.world = world};
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    s.changed = xcalloc(world_hosts(world), sizeof *s.changed);
    run_at(&s, conf->speed);
    init_handles(&s);
    int rc = listen_at(&s, conf->socket, err);
    if (rc == 0) {
        log_info("%zu hosts and %zu guests at %s, %g times as fast as real time",
                 world_hosts(world), world_guests(world), conf->socket, s.speed);
        turn(&s);
    } else {
        stop(&s);
    }
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    free(s.pending);
    free(s.changed);
    return rc;
}
