#include "agent/io/http_socket.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/util.h"

/* A socket file that nobody listens on is left over from a killed agent. */
static int remove_stale(const char *path, const struct sockaddr_un *address, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS, "api.socket: %s is there and is no socket", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "api.socket: %m");
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    close(fd);
    if (rc == 0)
        return err_set(err, ERR_CONFLICT, "api.socket: another agent answers at %s", path);
    if (unlink(path) < 0)
        return err_set(err, ERR_IO, "api.socket: %s: %m", path);
    return 0;
}

int http_socket_unix(const char *path, int *ret, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_INVALID, "api.socket: the path is longer than %zu bytes",
                       sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    int rc = remove_stale(path, &address, err);
    if (rc < 0)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "api.socket: %m");
    mode_t old = umask(0117); /* 0660 from the first moment */
    rc = bind(fd, (const struct sockaddr *)&address, sizeof address);
    umask(old);
    if (rc < 0 || listen(fd, 64) < 0) {
        rc = err_set(err, ERR_IO, "api.socket: %s: %m", path);
        close(fd);
        return rc;
    }
    *ret = fd;
    return 0;
}

static int bind_to(const struct addrinfo *info, const char *address, int *ret, struct err *err)
{
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "api.listen: %m");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, 64) < 0) {
        int rc = err_set(err, ERR_IO, "api.listen: %s: %m", address);
        close(fd);
        return rc;
    }
    *ret = fd;
    return 0;
}

int http_socket_tcp(const char *address, int *ret, struct err *err)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
    };
    _cleanup_(freep) char *host = xstrdup(address);
    char *colon = strrchr(host, ':');
    if (colon == NULL)
        return err_set(err, ERR_INVALID, "api.listen: \"%s\" is not HOST:PORT", address);
    *colon = '\0';
    bool bracketed = host[0] == '[' && colon > host + 1 && colon[-1] == ']';
    if (bracketed)
        colon[-1] = '\0';
    struct addrinfo *info = NULL;
    int rc = getaddrinfo(host + bracketed, colon + 1, &hints, &info);
    if (rc != 0)
        return err_set(err, ERR_INVALID, "api.listen: %s: %s", address, gai_strerror(rc));
    rc = bind_to(info, address, ret, err);
    freeaddrinfo(info);
    return rc;
}
