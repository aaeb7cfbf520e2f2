#include "agent/io/revoker.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/io/errand.h"
#include "tls/file.h"

#define RETRY_MS 5000
#define CRL_MAX (1 << 20)
#define APPLIED "hypervisor-crl.pem" /* what libvirtd has, in the state directory */

/* One list on its way, in the thread. */
struct work {
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
    struct errand *errand;    /* NULL: none runs */
    uv_async_t async;
    uv_timer_t retry;
    unsigned handles;
};

static void work_drop(void *arg)
{
    struct work *w = arg;
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

static void work_run(void *arg)
{
    struct work *w = arg;
    struct err err = {0};
    if (carry_out(w, &w->revoked, &err) < 0)
        w->err = err;
}

/* ---- on the loop ---- */

static void again(struct revoker *r);

static void start(struct revoker *r)
{
    struct work *w = xcalloc(1, sizeof *w);
    w->root = xstrdup(r->root);
    w->crls = xstrdup(r->crls);
    w->applied = xasprintf("%s/" APPLIED, r->conf.state_dir);
    w->libvirt_crl = xstrdup(r->conf.libvirt_crl);
    w->qemu_crl = xstrdup(r->conf.qemu_crl);
    w->reload = r->conf.reload;
    struct errand_conf conf = {.async = &r->async, .run = work_run, .drop = work_drop};
    struct err err;
    if (errand_start(&conf, w, &r->errand, &err) < 0)
        again(r);
    else
        r->waits = false;
}

static void retry_due(uv_timer_t *timer)
{
    struct revoker *r = timer->data;
    if (r->errand == NULL && r->waits)
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
    const struct work *w = r->errand != NULL ? errand_result(r->errand) : NULL;
    if (w == NULL)
        return;
    struct errand *done = TAKE_PTR(r->errand);
    bool well = w->err.code == ERR_OK;
    if (!well)
        again(r);
    r->conf.done(r->conf.arg, well && w->revoked.list != NULL ? &w->revoked : NULL, w->ended,
                 &w->err);
    if (r->waits && well) /* a newer one came meanwhile */
        start(r);
    errand_end(done);
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
    if (r->errand == NULL)
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
    errand_end(TAKE_PTR(r->errand));
    uv_close((uv_handle_t *)&r->async, handle_closed);
    uv_close((uv_handle_t *)&r->retry, handle_closed);
}
