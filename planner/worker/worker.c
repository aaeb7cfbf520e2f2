#include "planner/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "planner/worker/request.h"

/* After the end of Lua's time the worker may say so itself, with the line where it was. */
#define GRACE_MS 50
/* The worker's own clock ticks no faster: to look at it more often shows nothing. */
#define LOOK_MS 10
/* What one worker_read() takes at most, so that a flood does not hold up the caller's loop. */
#define READ_BUDGET 64

struct worker {
    pid_t pid;
    int fd;
    struct sandbox_clock *clock; /* shared with the worker; believed for Lua's time only */
    struct worker_limits limits;
    enum worker_task task;
    msec run_until; /* CLOCK_MONOTONIC */
    struct buf reply;
    bool ended;
    char killed[128]; /* why it was ended, or empty */
    char name[64];    /* of the policy's file */
};

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static msec now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void worker_limits_default(struct worker_limits *l)
{
    l->lua_ms = l->lua_ms > 0 ? l->lua_ms : 500;
    l->run_ms = l->run_ms > 0 ? l->run_ms : 30000;
    l->pairs = l->pairs > 0 ? l->pairs : 300000;
    l->lua_mib = l->lua_mib > 0 ? l->lua_mib : 256;
    l->process_mib = l->process_mib > 0 ? l->process_mib : 2048;
    l->reply_bytes = l->reply_bytes > 0 ? l->reply_bytes : (size_t)8 << 20;
}

static int write_all(int fd, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* File descriptors well above those that the worker gets, so that dup2 does not meet them. */
static int raise_fd(int fd)
{
    if (fd < 0)
        return -1;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, 32);
    close(fd);
    return up;
}

static int memory_file(const char *name)
{
    return raise_fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

/* Lua shortens longer names of sources (LUA_IDSIZE), and messages would not name the file. */
static const char *display_name(const char *name)
{
    enum { NAME_MAX_SHOWN = 55 };

    if (name == NULL)
        return "policy.lua";
    if (strlen(name) <= NAME_MAX_SHOWN)
        return name;
    const char *slash = strrchr(name, '/');
    name = slash != NULL ? slash + 1 : name;
    size_t len = strlen(name);
    return len <= NAME_MAX_SHOWN ? name : name + len - NAME_MAX_SHOWN;
}

struct text {
    const char *data;
    size_t len;
};

static struct text text_of(const char *s)
{
    return (struct text){s, s != NULL ? strlen(s) : 0};
}

static int write_texts(int fd, const struct text *texts)
{
    for (int i = 0; i < N_TEXTS; i++)
        if (texts[i].data != NULL &&
            (write_all(fd, texts[i].data, texts[i].len) < 0 || write_all(fd, "", 1) < 0))
            return -1;
    return 0;
}

static int write_request(const struct worker_request *req, const struct worker_limits *limits,
                         int *ret_fd, struct err *err)
{
    const struct text texts[N_TEXTS] = {[TEXT_SNAPSHOT] = {req->snapshot, req->snapshot_len},
                                        [TEXT_POLICY] = {req->policy, req->policy_len},
                                        [TEXT_POLICY_NAME] =
                                            text_of(display_name(req->policy_name)),
                                        [TEXT_PARAMS] = text_of(req->params),
                                        [TEXT_TEST] = {req->test, req->test_len},
                                        [TEXT_TEST_NAME] = text_of(display_name(req->test_name)),
                                        [TEXT_EXPLAIN_VM] = text_of(req->explain_vm),
                                        [TEXT_EXPLAIN_HOST] = text_of(req->explain_host)};
    struct request_header h = {.magic = WORKER_MAGIC,
                               .seed = req->seed,
                               .at = req->at,
                               .task = (int32_t)req->task,
                               .has_seed = req->has_seed,
                               .has_at = req->has_at,
                               .power = req->power,
                               .limits = *limits};
    for (int i = 0; i < N_TEXTS; i++)
        h.len[i] = texts[i].data != NULL ? texts[i].len : TEXT_ABSENT;
    _cleanup_(closep) int fd = memory_file("skein-policy-request");
    if (fd < 0 || write_all(fd, &h, sizeof h) < 0 || write_texts(fd, texts) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return err_set(err, ERR_IO, "request for the policy worker: %s", strerror(errno));
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* The page in which the worker tells how long Lua ran. */
static int make_clock(struct sandbox_clock **ret, int *ret_fd, struct err *err)
{
    _cleanup_(closep) int fd = memory_file("skein-policy-clock");
    if (fd < 0 || ftruncate(fd, sizeof(struct sandbox_clock)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return err_set(err, ERR_IO, "clock of the policy worker: %s", strerror(errno));
    void *p = mmap(NULL, sizeof **ret, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_IO, "clock of the policy worker: %s", strerror(errno));
    *ret = p;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int add_files(posix_spawn_file_actions_t *fa, int reply, int request, int clock)
{
    int rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
    for (int fd = 1; rc == 0 && fd <= 2; fd++) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        if (fd == 2)
            break; /* its report is wanted */
#endif
        rc = posix_spawn_file_actions_addopen(fa, fd, "/dev/null", O_WRONLY, 0);
    }
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(fa, reply, WORKER_FD_REPLY);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(fa, request, WORKER_FD_REQUEST);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(fa, clock, WORKER_FD_CLOCK);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(fa, WORKER_FD_CLOCK + 1);
    return rc;
}

/* No environment, no blocked or handled signals, no files but three. */
static int spawn(int reply, int request, int clock, pid_t *ret, struct err *err)
{
    char *argv[] = {"skein-policy-worker", WORKER_ARGUMENT, NULL};
    char *envp[] = {"ASAN_OPTIONS=detect_leaks=0", NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0); /* a terminal's ^C is the parent's to answer */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int rc = add_files(&fa, reply, request, clock);
    if (rc == 0)
        rc = posix_spawn(ret, "/proc/self/exe", &fa, &attr, argv, envp);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc == 0 ? 0 : err_set(err, ERR_IO, "starting the policy worker: %s", strerror(rc));
}

static void worker_free(struct worker *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->clock != NULL)
        munmap(w->clock, sizeof *w->clock);
    buf_done(&w->reply);
    free(w);
}

DEFINE_CLEANUP(struct worker, worker_free)

int worker_start(const struct worker_request *req, struct worker **ret, struct err *err)
{
    if (req->policy_len > SANDBOX_SOURCE_MAX)
        return err_set(err, ERR_POLICY, "%s: larger than 1 MiB", display_name(req->policy_name));
    _cleanup_(worker_freep) struct worker *w = xcalloc(1, sizeof *w);
    w->fd = -1;
    w->task = req->task;
    snprintf(w->name, sizeof w->name, "%s", display_name(req->policy_name));
    w->limits = req->limits;
    worker_limits_default(&w->limits);
    _cleanup_(closep) int request = -1, clock = -1, theirs = -1;
    int rc = write_request(req, &w->limits, &request, err);
    if (rc < 0)
        return rc;
    rc = make_clock(&w->clock, &clock, err);
    if (rc < 0)
        return rc;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_IO, "socket pair: %s", strerror(errno));
    w->fd = pair[0];
    theirs = raise_fd(pair[1]);
    if (theirs < 0 || fcntl(w->fd, F_SETFL, O_NONBLOCK) < 0)
        return err_set(err, ERR_IO, "socket pair: %s", strerror(errno));
    w->run_until = now_ms() + w->limits.run_ms;
    rc = spawn(theirs, request, clock, &w->pid, err);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(w);
    return 0;
}

int worker_fd(const struct worker *w)
{
    return w->fd;
}

pid_t worker_pid(const struct worker *w)
{
    return w->pid;
}

void worker_kill(struct worker *w, const char *why)
{
    if (w->ended)
        return;
    kill(w->pid, SIGKILL); /* not yet reaped, so the pid is still its own */
    snprintf(w->killed, sizeof w->killed, "%s", why);
    w->ended = true;
}

static bool reply_is_whole(const struct worker *w)
{
    uint64_t len;
    if (w->reply.len < sizeof len)
        return false;
    memcpy(&len, w->reply.data, sizeof len);
    return len == w->reply.len - sizeof len;
}

enum worker_progress worker_read(struct worker *w)
{
    char chunk[16384];
    for (int i = 0; i < READ_BUDGET && !w->ended; i++) {
        ssize_t n = recv(w->fd, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            w->ended = true;
            break;
        }
        buf_add(&w->reply, chunk, (size_t)n);
        if (w->reply.len > w->limits.reply_bytes)
            worker_kill(w, "its answer is too large");
    }
    return w->ended ? WORKER_ENDED : WORKER_RUNS;
}

/* What is left of Lua's time, with the grace. The page is the worker's to write: any value in it
 * leads at worst to the end of the run's own time. */
static msec lua_left(const struct worker *w)
{
    return sat_sub(w->limits.lua_ms + GRACE_MS, MAX(w->clock->used_ns, (int64_t)0) / 1000000);
}

/* A process takes no more of the processor's time than passes, so that before then Lua's cannot be
 * over. */
msec worker_deadline(const struct worker *w)
{
    return MIN(w->run_until, sat_add(now_ms(), MAX(lua_left(w), (msec)LOOK_MS)));
}

enum worker_progress worker_tick(struct worker *w, msec now)
{
    char why[sizeof w->killed];
    if (w->ended)
        return WORKER_ENDED;
    if (now >= w->run_until) {
        snprintf(why, sizeof why, "it ran longer than %lld ms", (long long)w->limits.run_ms);
        worker_kill(w, why);
    } else if (w->clock->in_lua && lua_left(w) <= 0) {
        snprintf(why, sizeof why, "over the time limit of %lld ms, in a library function",
                 (long long)w->limits.lua_ms);
        worker_kill(w, why);
    }
    return w->ended ? WORKER_ENDED : WORKER_RUNS;
}

/* Why it ended without an answer. */
static int blame(const struct worker *w, int status, struct err *err)
{
    const char *policy = w->name;
    if (w->killed[0] != '\0')
        return err_set(err, ERR_POLICY, "%s: %s", policy, w->killed);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        return err_set(err, ERR_POLICY, "%s: it tried a forbidden system call", policy);
    if (WIFSIGNALED(status))
        return err_set(err, ERR_POLICY, "%s: the worker was ended by signal %d (%s)", policy,
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    return err_set(err, ERR_POLICY, "%s: the worker ended with status %d and no answer", policy,
                   WEXITSTATUS(status));
}

int worker_finish(struct worker *worker, struct worker_result *ret, struct err *err)
{
    _cleanup_(worker_freep) struct worker *w = worker;
    bool whole = reply_is_whole(w);
    if (!w->ended)
        worker_kill(w, "it was ended");
    else if (w->killed[0] == '\0')
        kill(w->pid, SIGKILL); /* it may have closed its end and gone on */
    int status = 0;
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!whole || w->killed[0] != '\0')
        return blame(w, status, err);
    return reply_parse(w->reply.data + sizeof(uint64_t), w->reply.len - sizeof(uint64_t), w->task,
                       ret, err);
}

int worker_run(const struct worker_request *req, struct worker_result *ret, struct err *err)
{
    struct worker *w;
    int rc = worker_start(req, &w, err);
    if (rc < 0)
        return rc;
    enum worker_progress p = WORKER_RUNS;
    while (p == WORKER_RUNS) {
        struct pollfd pfd = {.fd = worker_fd(w), .events = POLLIN};
        msec wait = worker_deadline(w) - now_ms();
        if (poll(&pfd, 1, (int)MIN(MAX(wait, (msec)1), (msec)1000)) > 0)
            p = worker_read(w);
        if (p == WORKER_RUNS)
            p = worker_tick(w, now_ms());
    }
    return worker_finish(w, ret, err);
}

void worker_result_done(struct worker_result *r)
{
    json_decref(r->body);
    json_decref(r->health);
    json_decref(r->warnings);
    json_decref(r->notes);
    json_decref(r->manifest);
    json_decref(r->approvals);
    json_decref(r->pairs);
    json_decref(r->log);
    json_decref(r->tests);
    *r = (struct worker_result){0};
}

void worker_policy_digest(const char *policy, size_t len, char ret[HASH_HEX_SIZE])
{
    uint8_t hash[HASH_SIZE];
    hash_domain(HASH_DOMAIN_POLICY, policy, len, hash);
    hash_hex(hash, ret);
}
