#include "agent/io/http.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/io/http_crowd.h"
#include "agent/io/http_socket.h"
#include "proto/hash.h"
#include "proto/util.h"
#include "tls/guest.h"

/* One request, from its first line to its last byte answered. */
struct exchange {
    struct http *http;
    struct door *door;
    struct MHD_Connection *connection;
    uint64_t token; /* 0 until the call is given on */
    char *method, *path;
    struct buf query, body;
    bool too_large, suspended, answered;
    const char *type; /* of the answer's content; NULL: JSON */
    bool follows;     /* a stream; else one answer, and done */
    bool ended;       /* nothing more comes */
    unsigned status;
    struct buf answer; /* of a stream: what it has not been given yet */
    struct exchange *next;
};

/* Where clients come in: a daemon of MHD's, which the loop watches. */
struct door {
    struct http *http;
    struct MHD_Daemon *daemon; /* NULL: closed */
    uv_poll_t *poll;
    bool secure;              /* TLS */
    char *listen;             /* secure: its address; owned; NULL: there is none */
    uint8_t shown[HASH_SIZE]; /* digest of what it was opened with */
    bool full;                /* as many connections as are allowed, when MHD had run last */
    struct crowd crowd;       /* at the hosts' door */
};

struct http {
    struct http_conf conf; /* its texts are not kept */
    char *socket;
    struct door doors[HTTP_DOORS];
    uv_timer_t timer;
    unsigned open_handles;
    struct exchange *exchanges;
    uint64_t last_token;
    bool resumed; /* since MHD ran last: it must run again before the loop sleeps */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void on_timer(uv_timer_t *timer);

static unsigned connections_max(const struct door *door)
{
    bool hosts = door == &door->http->doors[HTTP_HOSTS];
    return hosts ? HTTP_HOSTS_CONNECTIONS_MAX : HTTP_CONNECTIONS_MAX;
}

/* At its limit MHD leaves off listening; once clients have gone it goes on with that only when it
 * runs again, which nothing else may ever make it do. */
static bool was_full(struct door *door)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(door->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    bool was = door->full;
    door->full = info != NULL && info->num_connections >= connections_max(door);
    return was && !door->full;
}

static msec now_of(const struct http *http)
{
    return (msec)uv_now(http->conf.loop);
}

/* Those that came long ago leave the hosts' door; *soonest, how long the loop may sleep, is brought
 * forward to the next. */
static void end_guests(struct http *http, bool *waits, MHD_UNSIGNED_LONG_LONG *soonest)
{
    struct crowd *crowd = &http->doors[HTTP_HOSTS].crowd;
    crowd_end(crowd, now_of(http) - HTTP_HOSTS_S * 1000);
    msec since = crowd_since(crowd);
    if (since < 0)
        return;
    MHD_UNSIGNED_LONG_LONG left =
        (MHD_UNSIGNED_LONG_LONG)(since + HTTP_HOSTS_S * 1000 + 1 - now_of(http));
    *soonest = *waits ? MIN(*soonest, left) : left;
    *waits = true;
}

/* Let MHD do what it can, then come back when it wants to. */
static void run(struct http *http)
{
    if (http->closing)
        return;
    bool again;
    do {
        again = http->resumed = false;
        for (struct door *d = http->doors; d < http->doors + HTTP_DOORS; d++)
            if (d->daemon != NULL) {
                MHD_run(d->daemon);
                again |= was_full(d);
            }
    } while (http->resumed || again);
    MHD_UNSIGNED_LONG_LONG wait, soonest = 0;
    bool waits = false;
    for (struct door *d = http->doors; d < http->doors + HTTP_DOORS; d++)
        if (d->daemon != NULL && MHD_get_timeout(d->daemon, &wait) == MHD_YES) {
            soonest = waits ? MIN(soonest, wait) : wait;
            waits = true;
        }
    end_guests(http, &waits, &soonest);
    if (waits)
        uv_timer_start(&http->timer, on_timer, soonest, 0);
    else
        uv_timer_stop(&http->timer);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

/* ---- a request comes in ---- */

static enum MHD_Result add_argument(void *arg, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    struct exchange *x = arg;
    (void)kind;
    buf_addf(&x->query, "%s%s=%s", x->query.len > 0 ? "&" : "", key, value != NULL ? value : "");
    return MHD_YES;
}

static struct exchange *exchange_new(struct door *door, struct MHD_Connection *connection,
                                     const char *path, const char *method)
{
    struct http *http = door->http;
    struct exchange *x = xcalloc(1, sizeof *x);
    x->http = http;
    x->door = door;
    x->connection = connection;
    x->method = xstrdup(method);
    x->path = xstrdup(path);
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, add_argument, x);
    x->next = http->exchanges;
    http->exchanges = x;
    return x;
}

static void exchange_free(struct exchange *x)
{
    for (struct exchange **p = &x->http->exchanges; *p != NULL; p = &(*p)->next)
        if (*p == x) {
            *p = x->next;
            break;
        }
    free(x->method);
    free(x->path);
    buf_done(&x->query);
    buf_done(&x->body);
    buf_done(&x->answer);
    free(x);
}

static bool is_hosts(const struct exchange *x)
{
    return x->door == &x->http->doors[HTTP_HOSTS];
}

static size_t body_max(const struct exchange *x)
{
    return is_hosts(x) ? x->http->conf.hosts_body_max : HTTP_BODY_MAX;
}

static void take_body(struct exchange *x, const char *data, size_t len)
{
    if (x->body.len + len > body_max(x))
        x->too_large = true;
    else
        buf_add(&x->body, data, len);
}

static void set_answer(struct exchange *x, unsigned status, const void *body, size_t len)
{
    x->answered = true;
    x->status = status;
    x->answer.len = 0;
    buf_add(&x->answer, body, len);
}

static void set_error(struct exchange *x, unsigned status, const char *code, const char *message)
{
    json_t *doc = json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message);
    _cleanup_(freep) char *text = json_dumps(doc, JSON_COMPACT);
    json_decref(doc);
    REQUIRE(text != NULL);
    set_answer(x, status, text, strlen(text));
}

/* MHD asks for more of a stream: what waits, or to be left alone until there is something. */
static ssize_t give_more(void *arg, uint64_t at, char *to, size_t max)
{
    struct exchange *x = arg;
    (void)at;
    if (x->answer.len > HTTP_BEHIND_MAX)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (x->answer.len == 0 && x->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (x->answer.len == 0) {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
        return 0;
    }
    size_t n = MIN(max, x->answer.len);
    memcpy(to, x->answer.data, n);
    memmove(x->answer.data, x->answer.data + n, x->answer.len - n);
    x->answer.len -= n;
    return (ssize_t)n;
}

static enum MHD_Result queue(struct exchange *x, struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type",
                            x->type != NULL ? x->type : "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (x->door->secure)
        MHD_add_response_header(response, "Strict-Transport-Security", "max-age=31536000");
    enum MHD_Result rc = MHD_queue_response(x->connection, x->status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result send_answer(struct exchange *x)
{
    if (x->follows)
        return queue(
            x, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, give_more, x, NULL));
    return queue(
        x, MHD_create_response_from_buffer(x->answer.len, x->answer.data, MHD_RESPMEM_MUST_COPY));
}

/* What a path of ours looks like; anything else never leaves this file. */
static bool path_is_plain(const char *path)
{
    size_t n = 0;
    while (path[n] > ' ' && path[n] < 0x7f)
        n++;
    return path[n] == '\0' && n <= 1024;
}

static void *session_of(const struct exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info != NULL ? info->tls_session : NULL;
}

static const struct sockaddr *address_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    static const struct sockaddr unknown = {.sa_family = AF_UNSPEC};
    return info != NULL && info->client_addr != NULL ? info->client_addr : &unknown;
}

static void give_on(struct exchange *x)
{
    Skein__ApiCall call = SKEIN__API_CALL__INIT;
    x->token = ++x->http->last_token;
    call.method = x->method;
    call.path = x->path;
    call.query = x->query.data;
    call.has_body = x->body.len > 0;
    call.body = (ProtobufCBinaryData){.data = (uint8_t *)x->body.data, .len = x->body.len};
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    if (is_hosts(x)) {
        char network[HTTP_NETWORK_SIZE];
        http_network(address_of(x->connection), network);
        x->http->conf.on_host(x->http->conf.arg, x->token, session_of(x), network, &call);
    } else
        x->http->conf.on_call(x->http->conf.arg, x->token, &call);
}

/* May this client ask at all? */
static bool is_admitted(struct exchange *x)
{
    struct http *http = x->http;
    struct err err = {0};
    if (!x->door->secure || is_hosts(x))
        return true; /* who can open the socket's file; who brings a token with his request */
    void *session = session_of(x);
    if (session == NULL)
        err_set(&err, ERR_UNAUTHENTICATED, "no TLS session");
    else if (http->conf.admit(http->conf.arg, session, &err) == 0)
        return true;
    err_wrap(&err, "a person's certificate is wanted");
    set_error(x, err.code == ERR_DENIED ? MHD_HTTP_FORBIDDEN : MHD_HTTP_UNAUTHORIZED,
              err_name(err.code), err.msg);
    return false;
}

static void set_too_large(struct exchange *x)
{
    char text[64];
    snprintf(text, sizeof text, "the body is larger than %zu KiB", body_max(x) >> 10);
    set_error(x, MHD_HTTP_CONTENT_TOO_LARGE, "LIMIT", text);
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *data_len, void **state)
{
    struct door *door = arg;
    struct exchange *x = *state;
    (void)version;
    if (x == NULL) {
        *state = x = exchange_new(door, connection, path, method);
        is_admitted(x); /* before a byte of its body is read */
        return MHD_YES;
    }
    if (*data_len > 0) {
        if (!x->answered)
            take_body(x, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    if (!x->answered && x->token == 0) {
        if (x->too_large)
            set_too_large(x);
        else if (!path_is_plain(x->path))
            set_error(x, MHD_HTTP_BAD_REQUEST, "INVALID", "the path is not plain ASCII");
        else if (door->http->closing)
            set_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "UNAVAILABLE", "the agent stops");
        else
            give_on(x);
    }
    return x->answered && !x->suspended ? send_answer(x) : MHD_YES;
}

static void completed(void *arg, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode why)
{
    (void)arg;
    (void)connection;
    (void)why;
    if (*state != NULL)
        exchange_free(*state);
    *state = NULL;
}

static struct exchange *find_exchange(struct http *http, uint64_t token)
{
    struct exchange *x = http->exchanges;
    while (x != NULL && x->token != token)
        x = x->next;
    return x;
}

static void resume(struct exchange *x)
{
    struct http *http = x->http;
    x->suspended = false;
    http->resumed = true;
    MHD_resume_connection(x->connection);
    if (!http->closing)
        uv_timer_start(&http->timer, on_timer, 0, 0);
}

void http_answer(struct http *http, uint64_t token, unsigned status, const void *body, size_t len)
{
    struct exchange *x = find_exchange(http, token);
    if (x == NULL || x->answered)
        return;
    set_answer(x, status, body, len);
    resume(x);
}

void http_answer_text(struct http *http, uint64_t token, const char *content_type, const void *body,
                      size_t len)
{
    struct exchange *x = find_exchange(http, token);
    if (x != NULL && !x->answered)
        x->type = content_type;
    http_answer(http, token, MHD_HTTP_OK, body, len);
}

void http_follow(struct http *http, uint64_t token, const char *content_type, const void *data,
                 size_t len)
{
    struct exchange *x = find_exchange(http, token);
    if (x == NULL || x->answered)
        return;
    x->answered = x->follows = true;
    x->type = content_type;
    x->status = MHD_HTTP_OK;
    buf_add(&x->answer, data, len);
    resume(x);
}

void http_stream(struct http *http, const void *data, size_t len)
{
    for (struct exchange *x = http->exchanges; x != NULL; x = x->next) {
        if (!x->follows || x->ended || x->answer.len > HTTP_BEHIND_MAX)
            continue;
        buf_add(&x->answer, data, len);
        if (x->suspended)
            resume(x);
    }
}

/* ---- the doors ---- */

static enum MHD_Result may_come(void *arg, const struct sockaddr *from, socklen_t len)
{
    const struct door *door = arg;
    (void)len;
    bool hosts = door == &door->http->doors[HTTP_HOSTS];
    return !hosts || crowd_admits(&door->crowd, from, HTTP_HOSTS_PER_NETWORK) ? MHD_YES : MHD_NO;
}

/* At the hosts' door: one came, or went. */
static void on_guest(void *arg, struct MHD_Connection *connection, void **guest,
                     enum MHD_ConnectionNotificationCode what)
{
    struct door *door = arg;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (door != &door->http->doors[HTTP_HOSTS])
        return;
    if (what == MHD_CONNECTION_NOTIFY_STARTED && info != NULL) {
        uv_update_time(door->http->conf.loop);
        *guest =
            crowd_add(&door->crowd, address_of(connection), info->connect_fd, now_of(door->http));
    } else if (what == MHD_CONNECTION_NOTIFY_CLOSED && *guest != NULL) {
        crowd_remove(&door->crowd, *guest);
        *guest = NULL;
    }
}

static struct MHD_Daemon *start(struct door *door, int listener, const struct http_tls *tls)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (door->secure ? MHD_USE_TLS : 0u);
    bool hosts = door == &door->http->doors[HTTP_HOSTS];
    struct MHD_OptionItem secure[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)(tls != NULL ? tls->certificate : NULL)},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)(tls != NULL ? tls->key : NULL)},
        {MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)(tls != NULL ? tls->people : NULL)},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t)(hosts ? host_priorities : guest_priorities)},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(
        flags, 0, may_come, door, handle, door, MHD_OPTION_LISTEN_SOCKET, listener,
        MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
        connections_max(door), MHD_OPTION_NOTIFY_CONNECTION, on_guest, door,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S, MHD_OPTION_ARRAY,
        door->secure ? secure : &secure[ARRAY_SIZE(secure) - 1], MHD_OPTION_END);
}

/* Takes the listener. */
static int door_open(struct http *http, struct door *door, int listener, const struct http_tls *tls,
                     struct err *err)
{
    door->http = http;
    door->secure = tls != NULL;
    door->full = false;
    door->daemon = start(door, listener, tls);
    if (door->daemon == NULL) {
        close(listener);
        return err_set(err, ERR_IO, "%s: the HTTP server does not start%s",
                       door->secure ? door->listen : "api.socket",
                       door->secure ? "; is the certificate sound?" : "");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(door->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    REQUIRE(info != NULL);
    door->poll = xcalloc(1, sizeof *door->poll);
    uv_poll_init(http->conf.loop, door->poll, info->epoll_fd);
    door->poll->data = http;
    http->open_handles++;
    uv_poll_start(door->poll, UV_READABLE, on_poll);
    return 0;
}

static void handle_over(struct http *http)
{
    if (--http->open_handles > 0)
        return;
    if (http->closed != NULL)
        http->closed(http->closed_arg);
    free(http->socket);
    for (size_t i = 0; i < HTTP_DOORS; i++)
        free(http->doors[i].listen);
    free(http);
}

static void poll_closed(uv_handle_t *handle)
{
    struct http *http = handle->data;
    free(handle);
    handle_over(http);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_over(handle->data);
}

/* Those who wait are told why, those who follow that it is over; nobody is left suspended. */
static void door_close(struct http *http, struct door *door, const char *why)
{
    if (door->daemon == NULL)
        return;
    for (struct exchange *x = http->exchanges; x != NULL; x = x->next) {
        if (x->door != door)
            continue;
        x->ended = true;
        if (x->suspended && !x->follows)
            set_error(x, MHD_HTTP_SERVICE_UNAVAILABLE, "UNAVAILABLE", why);
        if (x->suspended)
            resume(x);
    }
    MHD_run(door->daemon);
    uv_close((uv_handle_t *)door->poll, poll_closed);
    door->poll = NULL;
    MHD_stop_daemon(door->daemon); /* closes the listener */
    door->daemon = NULL;
}

static int open_secure(struct http *http, struct door *door, const struct http_tls *tls,
                       struct err *err)
{
    int fd, rc = http_socket_tcp(door->listen, &fd, err);
    if (rc == 0)
        rc = door_open(http, door, fd, tls, err);
    return rc;
}

static void digest_of(const struct http_tls *tls, uint8_t ret[HASH_SIZE])
{
    _cleanup_(buf_done) struct buf all = {0};
    buf_addf(&all, "%s%s%s", tls->certificate, tls->key, tls->people);
    hash_domain("skein.http-tls/1", all.data, all.len, ret);
    explicit_bzero(all.data, all.len);
}

int http_renew(struct http *http, enum http_door which, const struct http_tls *tls, struct err *err)
{
    uint8_t digest[HASH_SIZE];
    struct door *door = &http->doors[which];
    if (door->listen == NULL || http->closing)
        return 0;
    digest_of(tls, digest);
    if (door->daemon != NULL && memcmp(digest, door->shown, sizeof digest) == 0)
        return 0;
    memcpy(door->shown, digest, sizeof digest);
    door_close(http, door, "the certificate changes; ask again");
    int rc = open_secure(http, door, tls, err);
    run(http);
    return rc;
}

static int open_if_wanted(struct http *http, enum http_door which, const char *listen,
                          const struct http_tls *tls, struct err *err)
{
    struct door *door = &http->doors[which];
    if (listen == NULL || listen[0] == '\0')
        return 0;
    door->listen = xstrdup(listen);
    digest_of(tls, door->shown);
    return open_secure(http, door, tls, err);
}

int http_open(const struct http_conf *conf, struct http **ret, struct err *err)
{
    int fd, rc = http_socket_unix(conf->socket, &fd, err);
    if (rc < 0)
        return rc;
    struct http *http = xcalloc(1, sizeof *http);
    http->conf = *conf;
    http->socket = xstrdup(conf->socket);
    uv_timer_init(conf->loop, &http->timer);
    http->timer.data = http;
    http->open_handles = 1;
    rc = door_open(http, &http->doors[HTTP_LOCAL], fd, NULL, err);
    if (rc < 0 || (rc = open_if_wanted(http, HTTP_PEOPLE, conf->listen, conf->tls, err)) < 0 ||
        (rc = open_if_wanted(http, HTTP_HOSTS, conf->hosts_listen, conf->hosts_tls, err)) < 0) {
        http_close(http, NULL, NULL);
        return rc;
    }
    run(http);
    *ret = http;
    return 0;
}

void http_close(struct http *http, void (*closed)(void *arg), void *arg)
{
    http->closing = true;
    http->closed = closed;
    http->closed_arg = arg;
    for (struct door *d = http->doors; d < http->doors + HTTP_DOORS; d++)
        door_close(http, d, "the agent stops");
    unlink(http->socket);
    uv_close((uv_handle_t *)&http->timer, timer_closed);
}
