#include "agent/io/recorder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "planner/trace/ring.h"
#include "proto/log.h"

struct recorder {
    char *directory;
    struct recorder_conf conf;
    struct ring_writer writer;
    int fd;   /* of the file that grows; -1: none */
    msec due; /* mono */
};

struct recorder *recorder_new(const struct recorder_conf *conf)
{
    struct recorder *r = xcalloc(1, sizeof *r);
    *r = (struct recorder){.directory = xstrdup(conf->directory), .conf = *conf, .fd = -1};
    return r;
}

static void end_file(struct recorder *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    ring_writer_done(&r->writer);
}

void recorder_free(struct recorder *r)
{
    if (r == NULL)
        return;
    end_file(r);
    free(r->directory);
    free(r);
}

static int is_ring(const struct dirent *e)
{
    return ring_is_name(e->d_name);
}

/* Names are times of the same length: the newest first. */
static int newest_first(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name);
}

/* Drop the oldest files, until what is left is small and young enough. */
static void drop_old(const struct recorder *r, msec wall)
{
    struct dirent **files;
    int n = scandir(r->directory, &files, is_ring, newest_first);
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", r->directory, files[i]->d_name);
        struct stat st;
        if (stat(path, &st) == 0) {
            sum += (uint64_t)st.st_size;
            msec age = wall - (msec)st.st_mtim.tv_sec * 1000;
            if (i > 0 && (sum > r->conf.bytes_max || age > r->conf.age_max))
                unlink(path);
        }
        free(files[i]);
    }
    if (n >= 0)
        free(files);
}

static int begin_file(struct recorder *r, msec wall, struct err *err)
{
    if (mkdir(r->directory, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: %s", r->directory, strerror(errno));
    _cleanup_(freep) char *path =
        xasprintf("%s/%015lld" RING_ENDING, r->directory, (long long)wall);
    r->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_EXCL | O_CLOEXEC, 0600);
    if (r->fd < 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    drop_old(r, wall);
    return 0;
}

static int record(struct recorder *r, msec wall, const char *text, size_t len, struct err *err)
{
    _cleanup_(buf_done) struct buf out = {0};
    if (r->writer.n >= RING_RECORDS)
        end_file(r);
    int rc = r->fd < 0 ? begin_file(r, wall, err) : 0;
    if (rc == 0)
        rc = ring_pack(&r->writer, wall, text, len, &out, err);
    if (rc < 0)
        return rc;
    ssize_t n = write(r->fd, out.data, out.len);
    if (n != (ssize_t)out.len)
        return err_set(err, ERR_IO, "%s: %s", r->directory,
                       n < 0 ? strerror(errno) : "the disk is full");
    return 0;
}

void recorder_offer(struct recorder *r, msec mono, msec wall, const char *text, size_t len)
{
    struct err err;
    if (r->conf.every == 0 || mono < r->due)
        return;
    r->due = mono + r->conf.every;
    if (record(r, wall, text, len, &err) == 0)
        return;
    end_file(r); /* the next one begins another */
    log_warn("a snapshot is not recorded: %s", err.msg);
}
