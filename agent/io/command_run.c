#include "agent/io/command_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "proto/util.h"

#define LOOK_MS 5 /* between two looks whether a silent one has ended */

extern char **environ;

/* In a group of its own, to be killed with all that it started; one socket is all three of its
 * standard files. */
static int spawn(const char *const *argv, int its, pid_t *ret, struct err *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t usual;
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    for (int fd = 0; fd <= 2; fd++)
        posix_spawn_file_actions_adddup2(&files, its, fd);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_setsigdefault(&attr, &usual);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawnp(ret, argv[0], &files, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (rc == 0)
        return 0;
    return err_set(err, rc == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", argv[0], strerror(rc));
}

/* One talk with it: what it is told, and what it says. */
struct talk {
    int fd;
    const char *input;
    size_t left;
    char *said;
    size_t len, size;
};

static void listen_to(struct talk *t)
{
    char spare[4096];
    ssize_t n = recv(t->fd, spare, sizeof spare, MSG_DONTWAIT);
    if (n <= 0)
        return;
    size_t room = t->size > 0 ? t->size - 1 - t->len : 0, fits = MIN((size_t)n, room);
    if (fits > 0)
        memcpy(t->said + t->len, spare, fits);
    t->len += fits;
}

static void tell(struct talk *t)
{
    ssize_t n = send(t->fd, t->input, t->left, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        t->input += n;
        t->left -= (size_t)n;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        t->left = 0; /* it does not listen */
    }
    if (t->left == 0)
        shutdown(t->fd, SHUT_WR);
}

/* Until it has ended; false: it had to be killed. */
static bool attend(struct talk *t, pid_t pid, msec patience, int *ret_status)
{
    msec until = clock_mono() + patience;
    bool ended = false;
    if (t->left == 0)
        shutdown(t->fd, SHUT_WR);
    while (!ended) {
        struct pollfd p = {.fd = t->fd, .events = (short)(POLLIN | (t->left > 0 ? POLLOUT : 0))};
        poll(&p, 1, LOOK_MS);
        ended = waitpid(pid, ret_status, WNOHANG) == pid;
        if (t->left > 0 && !ended)
            tell(t);
        listen_to(t);
        if ((p.revents & POLLHUP) != 0 && !ended) /* poll would not wait any more */
            nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        if (!ended && clock_mono() >= until) {
            kill(-pid, SIGKILL);
            waitpid(pid, ret_status, 0);
            return false;
        }
    }
    for (size_t before = (size_t)-1; before != t->len;) { /* its last words */
        before = t->len;
        listen_to(t);
    }
    return true;
}

int command_run(const char *const *argv, const char *input, msec patience, char *said, size_t size,
                int *ret_status, struct err *err)
{
    int ends[2], status = 0;
    pid_t pid;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(err, ERR_IO, "%s: no socket: %m", argv[0]);
    int rc = spawn(argv, ends[1], &pid, err);
    close(ends[1]);
    struct talk t = {.fd = ends[0],
                     .input = input,
                     .left = input != NULL ? strlen(input) : 0,
                     .said = said,
                     .size = said != NULL ? size : 0};
    if (rc == 0 && !attend(&t, pid, patience, &status))
        rc = err_set(err, ERR_TIMEOUT, "%s did not end within %lld ms", argv[0],
                     (long long)patience);
    if (t.size > 0)
        said[t.len] = '\0';
    close(ends[0]);
    if (rc < 0)
        return rc;
    if (!WIFEXITED(status))
        return err_set(err, ERR_IO, "%s was ended by signal %d", argv[0], WTERMSIG(status));
    *ret_status = WEXITSTATUS(status);
    return 0;
}
