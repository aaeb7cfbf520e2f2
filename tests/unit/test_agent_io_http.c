/* The API's door, over a real Unix socket: the server on a loop here, clients in threads. */
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/io/http.h"
#include "proto/util.h"

/* ---- the server ---- */

enum behaviour { ANSWER_AT_ONCE, ANSWER_LATER, ANSWER_NEVER };

struct world {
    char directory[64], socket[96];
    uv_loop_t loop;
    uv_timer_t timer;
    struct http *http;
    enum behaviour behaviour;
    uint64_t waiting; /* token to be answered later */
    int waits;        /* ticks until then */
    unsigned calls;
    char method[16], path[256], query[256];
    size_t body_len;
    int ticks, close_after; /* ticks; 0: when the client is done */
    bool closed;
    /* the client's */
    void (*client)(struct world *w);
    atomic_bool done;
    char answer[4096];
};

static void on_call(void *arg, uint64_t token, const Skein__ApiCall *call)
{
    struct world *w = arg;
    w->calls++;
    snprintf(w->method, sizeof w->method, "%s", call->method);
    snprintf(w->path, sizeof w->path, "%s", call->path);
    snprintf(w->query, sizeof w->query, "%s", call->query != NULL ? call->query : "(none)");
    w->body_len = call->has_body ? call->body.len : 0;
    if (w->behaviour == ANSWER_AT_ONCE)
        http_answer(w->http, token, 200, "{\"ok\":true}", 11);
    w->waiting = token;
    w->waits = 3;
}

static void on_closed(void *arg)
{
    struct world *w = arg;
    w->closed = true;
    uv_close((uv_handle_t *)&w->timer, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct world *w = timer->data;
    w->ticks++;
    if (w->behaviour == ANSWER_LATER && w->waiting != 0 && --w->waits == 0) {
        http_answer(w->http, w->waiting, 202, "{\"late\":true}", 13);
        http_answer(w->http, w->waiting, 500, "{}", 2); /* the second time: nothing */
        w->waiting = 0;
    }
    bool end = w->close_after > 0 ? w->ticks == w->close_after : atomic_load(&w->done);
    if (end && w->http != NULL)
        http_close(TAKE_PTR(w->http), on_closed, w);
}

static void *run_client(void *arg)
{
    struct world *w = arg;
    w->client(w);
    atomic_store(&w->done, true);
    return NULL;
}

/* Everything from opening the door to closing it, while client does its work. */
static void serve(struct world *w, void (*client)(struct world *w))
{
    struct err err = {0};
    pthread_t thread;
    struct http_conf conf = {.loop = &w->loop, .socket = w->socket, .arg = w, .on_call = on_call};
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_timer, 10, 10);
    assert_ok(http_open(&conf, &w->http, &err), &err);
    w->client = client;
    atomic_store(&w->done, false);
    assert_int_equal(pthread_create(&thread, NULL, run_client, w), 0);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_true(w->closed);
    assert_int_equal(access(w->socket, F_OK), -1);
}

static struct world *world_new(enum behaviour behaviour)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->behaviour = behaviour;
    snprintf(w->directory, sizeof w->directory, "/tmp/skein-http-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    snprintf(w->socket, sizeof w->socket, "%s/agent.sock", w->directory);
    return w;
}

static void world_free(struct world *w)
{
    unlink(w->socket);
    assert_int_equal(rmdir(w->directory), 0);
    free(w);
}

/* ---- the clients: blocking, in their thread; they assert nothing ---- */

static int dial(const struct world *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, w->socket);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool say(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* All that comes until the server closes (Connection: close), or five seconds are over. */
static void hear(struct world *w, int fd)
{
    size_t len = 0;
    ssize_t n;
    while (len + 1 < sizeof w->answer &&
           (n = recv(fd, w->answer + len, sizeof w->answer - 1 - len, 0)) > 0)
        len += (size_t)n;
    w->answer[len] = '\0';
    close(fd);
}

static void ask(struct world *w, const char *request)
{
    int fd = dial(w);
    say(fd, request, strlen(request));
    hear(w, fd);
}

static void post(struct world *w, size_t size)
{
    _cleanup_(freep) char *head =
        xasprintf("POST /v1/migrations HTTP/1.1\r\nHost: x\r\nConnection: "
                  "close\r\nContent-Length: %zu\r\n\r\n",
                  size);
    _cleanup_(freep) char *body = xcalloc(1, size);
    memset(body, 'x', size);
    int fd = dial(w);
    if (say(fd, head, strlen(head)))
        say(fd, body, size);
    hear(w, fd);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void assert_answer(const struct world *w, const char *status, const char *part)
{
    if (strncmp(w->answer, "HTTP/1.1 ", 9) != 0 || strncmp(w->answer + 9, status, 3) != 0 ||
        strstr(w->answer, part) == NULL)
        fail_msg("answer lacks %s or %s: %s", status, part, w->answer);
}

/* ---- tests ---- */

static void client_get(struct world *w)
{
    ask(w, GET("/v1/plans?limit=5&state=a%20b"));
}

static void test_get(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_get);
    assert_answer(w, "200", "{\"ok\":true}");
    assert_answer(w, "200", "application/json");
    assert_string_equal(w->method, "GET");
    assert_string_equal(w->path, "/v1/plans");
    assert_string_equal(w->query, "limit=5&state=a b");
    assert_int_equal(w->body_len, 0);
    world_free(w);
}

static void client_status(struct world *w)
{
    ask(w, GET("/v1/status"));
}

static void test_answered_later(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_LATER);
    serve(w, client_status);
    assert_answer(w, "202", "{\"late\":true}");
    assert_string_equal(w->query, "(none)");
    world_free(w);
}

static void client_full_body(struct world *w)
{
    post(w, HTTP_BODY_MAX);
}

static void client_oversize_body(struct world *w)
{
    post(w, HTTP_BODY_MAX + 1);
}

static void test_bodies(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_full_body);
    assert_answer(w, "200", "ok");
    assert_int_equal(w->body_len, HTTP_BODY_MAX);
    w->calls = 0;
    serve(w, client_oversize_body);
    assert_answer(w, "413", "\"LIMIT\"");
    assert_int_equal(w->calls, 0); /* it never left the door */
    world_free(w);
}

/* Two requests on one connection, the second after the first was answered late. */
static void client_keeps_alive(struct world *w)
{
    static const char first[] = "GET /v1/hosts HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = dial(w);
    say(fd, first, sizeof first - 1);
    if (recv(fd, w->answer, sizeof w->answer, 0) > 0)
        say(fd, GET("/v1/vms"), sizeof GET("/v1/vms") - 1);
    hear(w, fd);
}

static void test_keep_alive(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_LATER);
    serve(w, client_keeps_alive);
    assert_answer(w, "202", "late");
    assert_int_equal(w->calls, 2);
    assert_string_equal(w->path, "/v1/vms");
    world_free(w);
}

/* A byte now and then, while another client is served at once. */
static void client_slow(struct world *w)
{
    static const char request[] = GET("/v1/slow");
    int fd = dial(w);
    for (size_t i = 0; i + 1 < sizeof request; i++) {
        say(fd, request + i, 1);
        usleep(2000);
        if (i == 10)
            ask(w, GET("/v1/fast"));
    }
    hear(w, fd);
}

static void test_slow_client(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_slow);
    assert_answer(w, "200", "ok");
    assert_int_equal(w->calls, 2);
    assert_string_equal(w->path, "/v1/slow"); /* the last */
    world_free(w);
}

static void client_gone(struct world *w)
{
    int fd = dial(w);
    say(fd, GET("/v1/gone"), sizeof GET("/v1/gone") - 1);
    usleep(15000); /* it is waited for by now */
    close(fd);
    usleep(60000);
    ask(w, GET("/v1/next"));
}

static void test_client_gone_before_the_answer(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_LATER);
    serve(w, client_gone);
    assert_answer(w, "202", "late"); /* the next one */
    assert_int_equal(w->calls, 2);
    world_free(w);
}

static void client_half_gone(struct world *w)
{
    int fd = dial(w);
    say(fd, "POST /v1/migrations HTTP/1.1\r\nContent-Le", 40);
    close(fd);
    fd = dial(w);
    say(fd, "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", 55);
    close(fd);
    ask(w, GET("/v1/next"));
}

static void test_half_a_request(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_half_gone);
    assert_answer(w, "200", "ok");
    assert_int_equal(w->calls, 1);
    world_free(w);
}

static void client_garbage(struct world *w)
{
    ask(w, "\x16\x03\x01\x02 garbage\r\n\r\n");
    ask(w, GET("/v1/next"));
}

static void client_odd_path(struct world *w)
{
    ask(w, GET("/v1/%ff%00x"));
}

static void test_garbage(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_garbage);
    assert_answer(w, "200", "ok");
    assert_int_equal(w->calls, 1);
    serve(w, client_odd_path);
    assert_answer(w, "400", "plain ASCII");
    assert_int_equal(w->calls, 1);
    world_free(w);
}

/* The agent stops while a client waits. */
static void test_closing(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_NEVER);
    w->close_after = 10;
    serve(w, client_status);
    assert_answer(w, "503", "the agent stops");
    world_free(w);
}

/* More than may be open at once: the server lives on, and serves those that come later. */
static void client_crowd(struct world *w)
{
    int fds[HTTP_CONNECTIONS_MAX + 20];
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial(w);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    usleep(50000);
    ask(w, GET("/v1/next"));
}

static void test_crowd(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_crowd);
    assert_answer(w, "200", "ok");
    world_free(w);
}

/* ---- the socket file ---- */

static int try_open(struct world *w, const char *path, struct err *err)
{
    struct http_conf conf = {.loop = &w->loop, .socket = path, .arg = w, .on_call = on_call};
    return http_open(&conf, &w->http, err);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_socket_file(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    struct err err = {0};
    char long_path[200];
    uv_loop_init(&w->loop);
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    assert_err(try_open(w, long_path, &err), &err, ERR_INVALID, "longer than");
    assert_err(try_open(w, "/nonexistent/a.sock", &err), &err, ERR_IO, "/nonexistent/a.sock");
    int fd = open(w->socket, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_err(try_open(w, w->socket, &err), &err, ERR_EXISTS, "is no socket");
    unlink(w->socket);
    fd = listen_at(w->socket);
    assert_err(try_open(w, w->socket, &err), &err, ERR_CONFLICT, "another agent answers");
    close(fd); /* killed: its file is left */
    uv_loop_close(&w->loop);
    serve(w, client_status);
    assert_answer(w, "200", "ok");
    world_free(w);
}

static void client_looks_at_mode(struct world *w)
{
    struct stat st;
    if (stat(w->socket, &st) == 0)
        snprintf(w->answer, sizeof w->answer, "%o", st.st_mode & 0777);
}

static void test_socket_mode(void **unused _unused_)
{
    struct world *w = world_new(ANSWER_AT_ONCE);
    serve(w, client_looks_at_mode);
    assert_string_equal(w->answer, "660");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_answered_later),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_client_gone_before_the_answer),
        cmocka_unit_test(test_half_a_request),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_socket_file),
        cmocka_unit_test(test_socket_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
