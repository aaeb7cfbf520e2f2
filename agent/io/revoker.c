#include "agent/io/revoker.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "tls/file.h"

#define RETRY_MS 5000
#define CRL_MAX (1 << 20)
#define APPLIED "hypervisor-crl.pem" /* what libvirtd has, in the state directory */

/* One list on its way, in the thread. Nothing of the loop's side is reached from there but async,
 * under the lock, while somebody listens. */
struct work {
    pthread_mutex_t lock;
    uv_async_t *async; /* NULL: nobody listens any more */
    unsigned refs;     /* the thread's and the loop's */
    char *root, *crls, *applied, *libvirt_crl, *qemu_crl;
    int (*reload)(const struct revoked *revoked, unsigned *ret_ended, struct err *err);
    struct revoked revoked; /* .list NULL: nothing is new */
    unsigned ended;
    struct err err;
};

struct revoker {
    struct revoker_conf conf; /* its strings are owned here */
    char *root, *crls;        /* the newest; NULL: none yet */
    bool waits;               /* it has not been given to a thread */
    struct work *work;        /* the thread's; NULL: none runs */
    uv_async_t async;
    uv_timer_t retry;
    unsigned handles;
};

static void work_unref(struct work *w)
{
    pthread_mutex_lock(&w->lock);
    bool last = --w->refs == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&w->lock);
    revoked_done(&w->revoked);
    free(w->root);
    free(w->crls);
    free(w->applied);
    free(w->libvirt_crl);
    free(w->qemu_crl);
    free(w);
}

/* ---- in the thread ---- */

/* Where the folder is missing, nobody reads it. */
static int put(const char *path, const char *list, struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    _cleanup_(freep) char *folder = xasprintf("%.*s", (int)(slash - path), path);
    if (access(folder, F_OK) < 0)
        return 0;
    return file_write(path, list, strlen(list), FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}

static int carry_out(struct work *w, struct revoked *ret, struct err *err)
{
    _cleanup_(freep) char *older = NULL;
    _cleanup_(revoked_done) struct revoked r = {0};
    int rc = file_read(w->applied, CRL_MAX, &older, NULL, err);
    if (rc < 0 && rc != -ERR_NOT_FOUND)
        return rc;
    *err = (struct err){0};
    if ((rc = revoked_since(w->root, w->crls, older, &r, err)) < 0)
        return rc;
    if (r.list == NULL || (older != NULL && strcmp(older, r.list) == 0))
        return 0;
    _cleanup_(freep) char *both = xasprintf("%s%s", r.list, r.issuers_list);
    if ((rc = put(w->libvirt_crl, both, err)) < 0 || (rc = put(w->qemu_crl, both, err)) < 0)
        return rc;
    if ((rc = w->reload(&r, &w->ended, err)) < 0 ||
        (rc = file_write(w->applied, r.list, strlen(r.list), 0600, FILE_ANY_GROUP, err)) < 0)
        return rc;
    *ret = r;
    r = (struct revoked){0};
    return 0;
}

static void *thread_main(void *arg)
{
    struct work *w = arg;
    struct revoked revoked = {0};
    struct err err = {0};
    int rc = carry_out(w, &revoked, &err);
    pthread_mutex_lock(&w->lock);
    w->revoked = revoked;
    w->err = rc < 0 ? err : (struct err){0};
    if (w->async != NULL)
        uv_async_send(w->async);
    pthread_mutex_unlock(&w->lock);
    work_unref(w);
    return NULL;
}

/* ---- on the loop ---- */

static void again(struct revoker *r);

static void start(struct revoker *r)
{
    struct work *w = xcalloc(1, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    w->async = &r->async;
    w->refs = 2;
    w->root = xstrdup(r->root);
    w->crls = xstrdup(r->crls);
    w->applied = xasprintf("%s/" APPLIED, r->conf.state_dir);
    w->libvirt_crl = xstrdup(r->conf.libvirt_crl);
    w->qemu_crl = xstrdup(r->conf.qemu_crl);
    w->reload = r->conf.reload;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, thread_main, w);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        w->refs = 1;
        work_unref(w);
        again(r);
        return;
    }
    r->waits = false;
    r->work = w;
}

static void retry_due(uv_timer_t *timer)
{
    struct revoker *r = timer->data;
    if (r->work == NULL && r->waits)
        start(r);
}

static void again(struct revoker *r)
{
    r->waits = true;
    uv_timer_start(&r->retry, retry_due, (uint64_t)r->conf.retry_after, 0);
}

static void on_async(uv_async_t *async)
{
    struct revoker *r = async->data;
    struct work *w = TAKE_PTR(r->work);
    if (w == NULL)
        return;
    if (w->err.code != ERR_OK)
        again(r);
    r->conf.done(r->conf.arg, w->err.code == ERR_OK && w->revoked.list != NULL ? &w->revoked : NULL,
                 w->ended, &w->err);
    if (r->waits && w->err.code == ERR_OK) /* a newer one came meanwhile */
        start(r);
    work_unref(w);
}

struct revoker *revoker_open(const struct revoker_conf *conf)
{
    struct revoker *r = xcalloc(1, sizeof *r);
    r->conf = *conf;
    r->conf.state_dir = xstrdup(conf->state_dir);
    r->conf.libvirt_crl = xstrdup(conf->libvirt_crl);
    r->conf.qemu_crl = xstrdup(conf->qemu_crl);
    if (r->conf.retry_after == 0)
        r->conf.retry_after = RETRY_MS;
    if (r->conf.reload == NULL)
        r->conf.reload = revoker_reload_libvirt;
    uv_async_init(conf->loop, &r->async, on_async);
    uv_timer_init(conf->loop, &r->retry);
    r->async.data = r->retry.data = r;
    r->handles = 2;
    return r;
}

void revoker_take(struct revoker *r, const char *root, const char *crls)
{
    free(r->root);
    free(r->crls);
    r->root = xstrdup(root);
    r->crls = xstrdup(crls);
    r->waits = true;
    if (r->work == NULL)
        start(r);
}

static void handle_closed(uv_handle_t *handle)
{
    struct revoker *r = handle->data;
    if (--r->handles > 0)
        return;
    free(r->root);
    free(r->crls);
    free((char *)(uintptr_t)r->conf.state_dir);
    free((char *)(uintptr_t)r->conf.libvirt_crl);
    free((char *)(uintptr_t)r->conf.qemu_crl);
    free(r);
}

void revoker_close(struct revoker *r)
{
    if (r == NULL)
        return;
    struct work *w = TAKE_PTR(r->work);
    if (w != NULL) {
        pthread_mutex_lock(&w->lock);
        w->async = NULL;
        pthread_mutex_unlock(&w->lock);
        work_unref(w);
    }
    uv_close((uv_handle_t *)&r->async, handle_closed);
    uv_close((uv_handle_t *)&r->retry, handle_closed);
}
