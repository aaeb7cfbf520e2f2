#include "agent/io/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "proto/log.h"
#include "proto/util.h"

#define FILE_PREFIX "file:"
#define WEBHOOK_MS 10000

int publish_check(const char *what, const char *anchor, struct err *err)
{
    bool file = strncmp(anchor, FILE_PREFIX "/", sizeof FILE_PREFIX) == 0;
    if (file || strcmp(anchor, "syslog") == 0 || webhook_url_ok(anchor))
        return 0;
    return err_set(err, ERR_INVALID,
                   "%s: \"%s\" is no anchor: \"file:/PATH\", \"syslog\" or \"https://...\" are "
                   "wanted",
                   what, anchor);
}

/* ---- files: in a thread of libuv's, since a disk may be slow and a network's one may hang ---- */

struct line {
    uv_work_t work;
    char *path, *text;
    int error; /* errno */
};

static void write_line(uv_work_t *work)
{
    struct line *l = work->data;
    size_t len = strlen(l->text);
    int fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        l->error = errno;
        return;
    }
    ssize_t n = write(fd, l->text, len);
    if (n != (ssize_t)len)
        l->error = n < 0 ? errno : ENOSPC;
    else if (fdatasync(fd) < 0 && errno != EINVAL) /* a pipe has nothing to sync */
        l->error = errno;
    close(fd);
}

static void line_written(uv_work_t *work, int status)
{
    struct line *l = work->data;
    if (status == 0 && l->error != 0)
        log_warn("audit anchor %s: %s", l->path, strerror(l->error));
    free(l->path);
    free(l->text);
    free(l);
}

static void to_file(uv_loop_t *loop, const char *path, const char *checkpoint)
{
    struct line *l = xcalloc(1, sizeof *l);
    l->work.data = l;
    l->path = xstrdup(path);
    l->text = xasprintf("%s\n", checkpoint);
    if (uv_queue_work(loop, &l->work, write_line, line_written) != 0)
        line_written(&l->work, UV_ECANCELED);
}

/* ---- the others ---- */

static void to_syslog(const char *checkpoint)
{
    json_t *doc = json_loads(checkpoint, 0, NULL), *body = json_object_get(doc, "body");
    const char *host = json_string_value(json_object_get(body, "host"));
    const char *root = json_string_value(json_object_get(body, "root"));
    const char *at = json_string_value(json_object_get(body, "at"));
    long long size = json_integer_value(json_object_get(body, "size"));
    if (host != NULL && root != NULL && at != NULL)
        syslog(LOG_AUTHPRIV | LOG_NOTICE, "skein audit checkpoint host=%s size=%lld root=%s at=%s",
               host, size, root, at);
    json_decref(doc);
}

static void posted(void *arg, const struct err *err, const char *text, size_t len)
{
    (void)arg;
    (void)text;
    (void)len;
    if (err != NULL)
        log_warn("audit anchor: %s", err->msg);
}

void publish(uv_loop_t *loop, struct webhooks *webhooks, const char *const *anchors, size_t n,
             const char *checkpoint)
{
    struct err err = {0};
    for (size_t i = 0; i < n; i++) {
        if (strncmp(anchors[i], FILE_PREFIX, sizeof FILE_PREFIX - 1) == 0)
            to_file(loop, anchors[i] + sizeof FILE_PREFIX - 1, checkpoint);
        else if (strcmp(anchors[i], "syslog") == 0)
            to_syslog(checkpoint);
        else if (webhook_post(webhooks, anchors[i], checkpoint, WEBHOOK_MS, posted, NULL, &err) < 0)
            log_warn("audit anchor: %s", err.msg);
    }
}
