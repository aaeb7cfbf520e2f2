#include "agent/io/renewer.h"

#include <stdio.h>

#include "agent/core/renew.h"
#include "agent/io/clock.h"
#include "agent/io/errand.h"
#include "agent/io/revoker.h"
#include "proto/hash.h"
#include "proto/util.h"
#include "tls/file.h"
#include "tls/pki.h"

#define LOOK_MAX_MS (3600 * (msec)1000) /* clocks are set, files replaced by hand: look again */
#define LOOK_MIN_MS 1000

/* One renewal on its way, in the thread. */
struct work {
    char *out, *from; /* owned */
    msec now;
    int (*renew)(const struct renewal *r, struct err *err);
    int (*reload)(struct err *err);
    struct err err;
};

struct renewer {
    struct renewer_conf conf;
    char *out; /* owned: the folder above tls.directory */
    struct renew when;
    size_t next;           /* which issuer is asked */
    struct errand *errand; /* NULL: none runs */
    uv_async_t async;
    uv_timer_t timer;
    unsigned handles;
};

static void work_drop(void *arg)
{
    struct work *w = arg;
    free(w->out);
    free(w->from);
    free(w);
}

/* ---- in the thread ---- */

static int carry_out(struct work *w, struct err *err)
{
    struct renewal renewal = {.out = w->out, .from = w->from, .now = w->now};
    _cleanup_(freep) char *libvirt = xasprintf("%s/libvirt/servercert.pem", w->out);
    int rc = w->renew(&renewal, err);
    if (rc < 0 || !file_exists(libvirt))
        return rc;
    rc = w->reload(err);
    return rc < 0 ? err_wrap(err, "libvirtd does not read its new certificate") : 0;
}

static void work_run(void *arg)
{
    struct work *w = arg;
    struct err err = {0};
    if (carry_out(w, &err) < 0)
        w->err = err;
}

/* ---- on the loop ---- */

static void look(struct renewer *r);

static int reload_libvirt(struct err *err)
{
    const struct revoked nobody = {.n = 0};
    unsigned ended = 0;
    return revoker_reload_libvirt(&nobody, &ended, err);
}

static void concluded(struct renewer *r, const struct err *err)
{
    if (err->code == ERR_OK) {
        r->when.failures = 0;
    } else {
        r->when.failures++;
        r->when.tried_at = r->conf.wall();
        r->next++;
    }
    r->conf.done(r->conf.arg, err);
    look(r);
}

static void start(struct renewer *r)
{
    const struct config *c = r->conf.config;
    struct work *w = xcalloc(1, sizeof *w);
    w->out = xstrdup(r->out);
    w->from = xstrdup(c->issuer_from[r->next % c->n_issuer_from]);
    w->now = r->conf.wall();
    w->renew = r->conf.renew;
    w->reload = r->conf.reload;
    struct errand_conf conf = {.async = &r->async, .run = work_run, .drop = work_drop};
    struct err err = {0};
    if (errand_start(&conf, w, &r->errand, &err) < 0)
        concluded(r, &err);
}

static void on_async(uv_async_t *async)
{
    struct renewer *r = async->data;
    const struct work *w = r->errand != NULL ? errand_result(r->errand) : NULL;
    if (w == NULL)
        return;
    struct err err = w->err;
    errand_end(TAKE_PTR(r->errand));
    concluded(r, &err);
}

static int read_times(struct renewer *r, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/host.pem", r->conf.config->tls_directory);
    return pki_certificate_life(path, &r->when.not_before, &r->when.not_after, err);
}

static void on_timer(uv_timer_t *timer)
{
    struct renewer *r = timer->data;
    struct err err = {0};
    if (r->errand != NULL)
        return;
    if (read_times(r, &err) < 0)
        concluded(r, &err);
    else if (r->conf.wall() >= renew_at(&r->when))
        start(r);
    else
        look(r);
}

/* Sets when it is looked next. */
static void look(struct renewer *r)
{
    msec wait = renew_at(&r->when) - r->conf.wall();
    wait = MAX(LOOK_MIN_MS, MIN(wait, LOOK_MAX_MS));
    uv_timer_start(&r->timer, on_timer, (uint64_t)wait, 0);
}

static uint64_t seed_of(const char *host)
{
    uint8_t hash[HASH_SIZE];
    uint64_t seed;
    hash_domain("skein.renew/1", host, strlen(host), hash);
    memcpy(&seed, hash, sizeof seed);
    return seed;
}

int renewer_open(const struct renewer_conf *conf, struct renewer **ret, struct err *err)
{
    const char *directory = conf->config->tls_directory, *slash = strrchr(directory, '/');
    if (slash == NULL || slash == directory || strcmp(slash, "/skein") != 0)
        return err_set(err, ERR_INVALID,
                       "issuer.from: tls.directory \"%s\" is no folder \"skein\", beside which "
                       "libvirt's and QEMU's certificates are",
                       directory);
    struct renewer *r = xcalloc(1, sizeof *r);
    r->conf = *conf;
    r->out = xasprintf("%.*s", (int)(slash - directory), directory);
    r->when.seed = seed_of(conf->config->host);
    if (r->conf.wall == NULL)
        r->conf.wall = clock_wall;
    if (r->conf.renew == NULL)
        r->conf.renew = renew;
    if (r->conf.reload == NULL)
        r->conf.reload = reload_libvirt;
    uv_async_init(conf->loop, &r->async, on_async);
    uv_timer_init(conf->loop, &r->timer);
    r->async.data = r->timer.data = r;
    r->handles = 2;
    uv_timer_start(&r->timer, on_timer, LOOK_MIN_MS, 0);
    *ret = r;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct renewer *r = handle->data;
    if (--r->handles > 0)
        return;
    free(r->out);
    free(r);
}

void renewer_close(struct renewer *r)
{
    if (r == NULL)
        return;
    errand_end(TAKE_PTR(r->errand));
    uv_close((uv_handle_t *)&r->async, handle_closed);
    uv_close((uv_handle_t *)&r->timer, handle_closed);
}
