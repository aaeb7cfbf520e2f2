#include "agent/io/week.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/canon.h"
#include "proto/log.h"
#include "proto/util.h"
#include "tls/file.h"

#define WEEK_MAX ((size_t)64 << 10) /* bytes; a week has some thousand */

json_t *week_read(const char *directory)
{
    _cleanup_(freep) char *path = xasprintf("%s/" WEEK_FILE, directory), *text = NULL;
    struct err err;
    size_t len;
    json_t *week = NULL;
    int rc = file_read(path, WEEK_MAX, &text, &len, &err);
    if (rc == -ERR_NOT_FOUND)
        return NULL;
    if (rc == 0)
        rc = canon_parse(text, len, path, &week, &err);
    if (rc < 0)
        log_err(&err, "the fleet's week");
    return week;
}

static int write_all(const char *path, const char *text, size_t len, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n = fd >= 0 ? write(fd, text, len) : -1;
    if (fd >= 0 && close(fd) < 0)
        n = -1;
    return n == (ssize_t)len ? 0 : err_set(err, ERR_IO, "%s: %m", path);
}

void week_write(const char *directory, const json_t *week)
{
    _cleanup_(freep) char *path = xasprintf("%s/" WEEK_FILE, directory), *text = NULL;
    _cleanup_(freep) char *beside = xasprintf("%s.new", path);
    struct err err;
    size_t len;
    int rc = canon_dump(week, &text, &len, &err);
    if (rc == 0)
        rc = write_all(beside, text, len, &err);
    if (rc == 0 && rename(beside, path) < 0)
        rc = err_set(&err, ERR_IO, "%s: %m", path);
    if (rc < 0)
        log_err(&err, "the fleet's week");
}
