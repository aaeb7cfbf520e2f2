#include "agent/io/power_driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "proto/units.h"
#include "proto/util.h"

#define COMMAND_PATIENCE 120000 /* ms that a command may take, then it is killed */
#define COMMAND_LOOK 20         /* ms between two looks whether it has ended */
#define WAKE_PORT 9             /* discard: nobody listens, cards do */
#define WAKE_PACKETS 3          /* one may be lost */
#define SUSPEND "/usr/bin/systemctl"

extern char **environ;

struct power_driver {
    char *driver, *command, *broadcast;
};

struct power_driver *power_driver_new(const struct power_driver_conf *conf)
{
    struct power_driver *p = xcalloc(1, sizeof *p);
    p->driver = xstrdup(conf->driver);
    p->command = xstrdup(conf->command);
    p->broadcast = xstrdup(conf->broadcast);
    return p;
}

void power_driver_free(struct power_driver *p)
{
    if (p == NULL)
        return;
    free(p->driver);
    free(p->command);
    free(p->broadcast);
    free(p);
}

/* ---- commands ---- */

/* In a session of its own, so that it goes on when this agent is stopped, and can be killed with
 * all that it started. */
static int spawn(char *const *argv, int said, pid_t *ret, struct err *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t usual;
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, said, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_setsigdefault(&attr, &usual);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(ret, argv[0], &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return rc == 0 ? 0 : err_set(err, ERR_IO, "%s: %s", argv[0], strerror(rc));
}

/* False: it had to be killed. */
static bool wait_for(pid_t pid, int *ret_status)
{
    const struct timespec pause = {.tv_nsec = COMMAND_LOOK * 1000000L};
    msec until = clock_mono() + COMMAND_PATIENCE;
    while (waitpid(pid, ret_status, WNOHANG) == 0) {
        if (clock_mono() >= until) {
            kill(-pid, SIGKILL);
            waitpid(pid, ret_status, 0);
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

/* The last line of what it said. */
static void read_said(int fd, char *ret, size_t size)
{
    char text[512];
    ssize_t n = read(fd, text, sizeof text - 1);
    text[MAX(n, (ssize_t)0)] = '\0';
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        text[--len] = '\0';
    const char *line = strrchr(text, '\n');
    snprintf(ret, size, "%s", line != NULL ? line + 1 : text);
}

static int run(char *const *argv, struct err *err)
{
    int said[2], status = 0;
    pid_t pid;
    char text[200];
    if (pipe2(said, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(err, ERR_IO, "no pipe: %m");
    int rc = spawn(argv, said[1], &pid, err);
    close(said[1]);
    if (rc == 0 && !wait_for(pid, &status))
        rc = err_set(err, ERR_TIMEOUT, "%s %s did not end within %d s", argv[0], argv[1],
                     COMMAND_PATIENCE / 1000);
    read_said(said[0], text, sizeof text);
    close(said[0]);
    if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        rc = err_set(err, ERR_HYPERVISOR, "%s %s failed%s%s", argv[0], argv[1],
                     text[0] != '\0' ? ": " : "", text);
    return rc;
}

static int run_command(const struct power_driver *p, const char *what, const char *host,
                       const char *mac, struct err *err)
{
    char *const argv[] = {p->command, (char *)(uintptr_t)what, (char *)(uintptr_t)host,
                          (char *)(uintptr_t)mac, NULL};
    return run(argv, err);
}

/* ---- wake-on-LAN ---- */

int power_driver_mac(const char *text, unsigned char ret[6], struct err *err)
{
    unsigned char mac[6];
    int end = 0;
    bool good = strspn(text, "0123456789abcdefABCDEF:") == strlen(text) && strlen(text) == 17 &&
                sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
                       &mac[3], &mac[4], &mac[5], &end) == 6 &&
                end == 17;
    if (!good)
        return err_set(err, ERR_INVALID, "\"%s\" is no hardware address like 52:54:00:12:34:56",
                       text);
    if (ret != NULL)
        memcpy(ret, mac, sizeof mac);
    return 0;
}

void power_driver_packet(const unsigned char mac[6], unsigned char ret[POWER_DRIVER_PACKET])
{
    memset(ret, 0xff, 6);
    for (size_t i = 0; i < 16; i++)
        memcpy(ret + 6 + 6 * i, mac, 6);
}

static int send_packets(const struct power_driver *p, const unsigned char *packet, struct err *err)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(WAKE_PORT)};
    int on = 1, rc = 0;
    if (inet_pton(AF_INET, p->broadcast, &to.sin_addr) != 1)
        return err_set(err, ERR_INVALID, "power.broadcast: \"%s\" is no address", p->broadcast);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "no socket for wake-on-LAN: %m");
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    for (int i = 0; i < WAKE_PACKETS && rc == 0; i++)
        if (sendto(fd, packet, POWER_DRIVER_PACKET, 0, (struct sockaddr *)&to, sizeof to) < 0)
            rc = err_set(err, ERR_IO, "wake-on-LAN to %s: %m", p->broadcast);
    close(fd);
    return rc;
}

/* ---- both ---- */

static int no_driver(struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "power.driver is off in this host's configuration");
}

int power_driver_standby(const struct power_driver *p, const char *host, struct err *err)
{
    static char *const suspend[] = {(char *)(uintptr_t)SUSPEND, (char *)(uintptr_t) "suspend",
                                    NULL};
    if (strcmp(p->driver, "command") == 0)
        return run_command(p, "standby", host, NULL, err);
    return strcmp(p->driver, "suspend") == 0 ? run(suspend, err) : no_driver(err);
}

int power_driver_wake(const struct power_driver *p, const char *host, const char *mac,
                      struct err *err)
{
    unsigned char binary[6], packet[POWER_DRIVER_PACKET];
    if (strcmp(p->driver, "command") == 0)
        return run_command(p, "wake", host, mac, err);
    if (strcmp(p->driver, "suspend") != 0)
        return no_driver(err);
    if (power_driver_mac(mac, binary, err) < 0)
        return err_wrap(err, "%s cannot be woken", host);
    power_driver_packet(binary, packet);
    return send_packets(p, packet, err);
}
