#include "tls/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/util.h"

static int io_error(struct err *err, const char *path)
{
    return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
}

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, path);
    _cleanup_(buf_done) struct buf out = {0};
    char chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(err, path);
        if (n == 0)
            break;
        if (out.len + (size_t)n > max)
            return err_set(err, ERR_LIMIT, "%s: larger than %zu bytes", path, max);
        buf_add(&out, chunk, (size_t)n);
    }
    if (ret_len != NULL)
        *ret_len = out.len;
    *ret = buf_take(&out);
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int fill_and_sync(int fd, const void *data, size_t len, mode_t mode, gid_t group)
{
    if (group != FILE_ANY_GROUP && fchown(fd, (uid_t)-1, group) < 0)
        return -1;
    return fchmod(fd, mode) < 0 || write_all(fd, data, len) < 0 || fsync(fd) < 0 ? -1 : 0;
}

/* A rename is durable only once its directory is. */
static int sync_parent(const char *path)
{
    _cleanup_(freep) char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        slash[slash == dir] = '\0';
    _cleanup_(closep) int fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -1 : 0;
}

int file_write(const char *path, const void *data, size_t len, mode_t mode, gid_t group,
               struct err *err)
{
    _cleanup_(freep) char *temporary = xasprintf("%s.XXXXXX", path);
    _cleanup_(closep) int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return io_error(err, path);
    if (fill_and_sync(fd, data, len, mode, group) == 0 && rename(temporary, path) == 0 &&
        sync_parent(path) == 0)
        return 0;
    int rc = io_error(err, path);
    unlink(temporary);
    return rc;
}

int file_make_directory(const char *path, mode_t mode, struct err *err)
{
    _cleanup_(freep) char *partial = xstrdup(path);
    for (char *p = partial; *p != '\0';) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char saved = *p;
        *p = '\0';
        struct stat st;
        if (mkdir(partial, mode) < 0 &&
            (errno != EEXIST || stat(partial, &st) < 0 || !S_ISDIR(st.st_mode))) {
            if (errno == EEXIST)
                errno = ENOTDIR;
            return io_error(err, partial);
        }
        *p = saved;
    }
    return 0;
}

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}
