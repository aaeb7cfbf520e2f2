/* canned_agent.h - skein against a canned agent: a real HTTP server on a real socket, in a thread
 * of its own. For one test file each: everything is static. */
#ifndef SKEIN_TESTS_UNIT_CANNED_AGENT_H
#define SKEIN_TESTS_UNIT_CANNED_AGENT_H

#include "tests/unit/tls_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <uv.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/text.h"
#include "agent/io/http.h"
#include "planner/core/plan_doc.h"
#include "proto/canon.h"
#include "tls/envelope.h"

/* ---- the canned agent ---- */

#define ANSWERS_MAX 16
#define WORDS_MAX 24

struct canned {
    const char *method, *path;
    unsigned status;
    char *body; /* owned */
};

static struct world world; /* keys of persons */
static struct canned answers[ANSWERS_MAX];
static size_t n_answers;
static char *posted; /* the last body posted; owned */
static unsigned calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char socket_path[128];

struct server {
    uv_loop_t loop;
    uv_async_t stop;
    struct http *http;
    pthread_t thread;
};

static inline void on_call(void *arg, uint64_t token, const Skein__ApiCall *call)
{
    static const char none[] = "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"not canned\"}}";
    struct server *server = arg;
    const struct canned *found = NULL;
    pthread_mutex_lock(&lock);
    calls++;
    _cleanup_(freep) char *target = xasprintf("%s%s%s", call->path, call->query != NULL ? "?" : "",
                                              call->query != NULL ? call->query : "");
    for (size_t i = 0; i < n_answers && found == NULL; i++)
        if (strcmp(answers[i].method, call->method) == 0 && strcmp(answers[i].path, target) == 0)
            found = &answers[i];
    if (call->has_body) {
        free(posted);
        posted = xasprintf("%.*s", (int)call->body.len, (const char *)call->body.data);
    }
    if (found != NULL)
        http_answer(server->http, token, found->status, found->body, strlen(found->body));
    else
        http_answer(server->http, token, 404, none, sizeof none - 1);
    pthread_mutex_unlock(&lock);
}

static inline void on_stop(uv_async_t *async)
{
    struct server *server = async->data;
    http_close(server->http, NULL, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static inline void *run_server(void *arg)
{
    uv_run(&((struct server *)arg)->loop, UV_RUN_DEFAULT);
    return NULL;
}

static inline struct server *server_start(void)
{
    struct err err = {0};
    struct server *s = xcalloc(1, sizeof *s);
    struct http_conf conf = {.loop = &s->loop, .socket = socket_path, .arg = s, .on_call = on_call};
    uv_loop_init(&s->loop);
    uv_async_init(&s->loop, &s->stop, on_stop);
    s->stop.data = s;
    assert_ok(http_open(&conf, &s->http, &err), &err);
    assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
    return s;
}

static inline void server_stop(struct server *s)
{
    uv_async_send(&s->stop);
    pthread_join(s->thread, NULL);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    free(s);
}

/* The newest answer to a path counts. */
static inline void answer_with(const char *method, const char *path, unsigned status,
                               const char *body)
{
    pthread_mutex_lock(&lock);
    assert_true(n_answers < ANSWERS_MAX);
    memmove(&answers[1], &answers[0], n_answers++ * sizeof *answers);
    answers[0] = (struct canned){method, path, status, xstrdup(body)};
    pthread_mutex_unlock(&lock);
}

static inline void forget_answers(void)
{
    pthread_mutex_lock(&lock);
    while (n_answers > 0)
        free(answers[--n_answers].body);
    free(TAKE_PTR(posted));
    calls = 0;
    pthread_mutex_unlock(&lock);
}

/* ---- running a command ---- */

static char *printed, *complained; /* of the last run */

static inline int redirect(int fd, const char *path)
{
    int kept = dup(fd), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(to >= 0);
    dup2(to, fd);
    close(to);
    return kept;
}

static inline void restore(int fd, int kept)
{
    dup2(kept, fd);
    close(kept);
}

static inline char *slurp(const char *path)
{
    struct err err = {0};
    char *text = NULL;
    assert_ok(file_read(path, 1 << 20, &text, NULL, &err), &err);
    return text;
}

/* Words are separated by blanks; "@" at the beginning of one is the directory of the keys. */
static inline int skein(const char *line)
{
    char *words[WORDS_MAX + 1] = {0}, *rest;
    int n = 0;
    _cleanup_(freep) char *copy = xstrdup(line), *out = path_in(&world, "out"),
                          *errors = path_in(&world, "err");
    words[n++] = xstrdup("skein");
    for (char *w = strtok_r(copy, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        assert_true(n < WORDS_MAX);
        words[n++] = w[0] == '@' ? path_in(&world, w + 1) : xstrdup(w);
    }
    fflush(stdout);
    fflush(stderr);
    int kept_in = dup(0), null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    close(null);
    int kept_out = redirect(1, out), kept_err = redirect(2, errors);
    char *argv[WORDS_MAX + 1];
    memcpy(argv, words, sizeof argv); /* getopt moves them about */
    int rc = ctl_main(n, argv);
    fflush(stdout);
    fflush(stderr);
    restore(1, kept_out);
    restore(2, kept_err);
    restore(0, kept_in);
    while (n > 0)
        free(words[--n]);
    free(printed);
    free(complained);
    printed = slurp(out);
    complained = slurp(errors);
    return rc;
}

static inline void expect(const char *line, int status, const char *out, const char *error)
{
    int rc = skein(line);
    if (rc != status)
        fail_msg("skein %s: status %d, not %d: %s%s", line, rc, status, printed, complained);
    assert_string_equal(printed, out);
    assert_string_equal(complained, error);
}

static inline void expect_error(const char *line, int status, const char *part)
{
    int rc = skein(line);
    if (rc != status || strstr(complained, part) == NULL)
        fail_msg("skein %s: status %d, not %d, or without \"%s\": %s", line, rc, status, part,
                 complained);
    size_t lines = 0;
    for (const char *p = complained; *p != '\0'; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1); /* an error is one line */
    assert_string_equal(printed, "");
}

static inline void assert_says(const char *part)
{
    if (strstr(printed, part) == NULL)
        fail_msg("output lacks \"%s\":\n%s", part, printed);
}

/* ---- what was posted ---- */

static inline void can_status(void)
{
    _cleanup_(freep) char *text = xasprintf("{\"cluster\":\"%s\",\"cluster_uuid\":\"%s\"}",
                                            world.cluster.name, world.cluster.uuid);
    answer_with("GET", "/v1/status", 200, text);
}

/* What was posted, verified as an agent does it. */
static inline json_t *posted_command(const char *person)
{
    struct err err = {0};
    struct envelope e = {0};
    struct roster_person anna = {.roles = ROLE_APPROVER};
    struct roster roster = {.version = 1, .threshold = 1, .people = &anna, .n_people = 1};
    _cleanup_(identity_freep) struct identity *id = load_pair(&world, person);
    snprintf(anna.name, sizeof anna.name, "%s", person);
    snprintf(anna.key, sizeof anna.key, "%s", identity_key(id));
    snprintf(roster.cluster, sizeof roster.cluster, "%s", world.cluster.uuid);
    assert_non_null(posted);
    assert_ok(envelope_verify(posted, strlen(posted), &roster, world.people_anchor, &world.cluster,
                              args_now(), &e, &err),
              &err);
    json_t *command = json_incref(e.command);
    envelope_done(&e);
    return command;
}

/* ---- a test file's life ---- */

static struct server *server;

static inline int set_up(void **unused _unused_)
{
    world_init(&world, "dc1", UUID_ONE);
    make_pair(&world, USE_PERSON, "anna", 365, NOW, NULL, NULL);
    make_pair(&world, USE_PERSON, "olga", 365, NOW, NULL, NULL);
    make_pair(&world, USE_PERSON, "paul", 365, NOW, PERSONS_PASSPHRASE, NULL);
    snprintf(socket_path, sizeof socket_path, "%s/agent.sock", world.directory);
    setenv("SKEIN_SOCKET", socket_path, 1);
    unsetenv("SKEIN_KEY");
    unsetenv("SKEIN_CERT");
    server = server_start();
    return 0;
}

static inline int tear_down(void **unused _unused_)
{
    server_stop(server);
    world_done(&world);
    free(printed);
    free(complained);
    return 0;
}

static inline int forget(void **unused _unused_)
{
    forget_answers();
    return 0;
}

#endif
