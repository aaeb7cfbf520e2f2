#include "agent/io/mesh.h"

#include "proto/log.h"

/* Messages taken in one turn of the loop: enough to keep up with any peer, few enough that timers
 * and other sockets are not kept waiting for more than some milliseconds. */
#define MESH_BUDGET 64

/* Frames that wait for a link. */
#define WAITING_FOR_MS 3000
#define WAITING_MAX 1024
#define WAITING_BYTES_MAX (8u << 20)

/* The cores ask their neighbours themselves; this is for links that stand for requests alone. */
#define PING_MS 5000
#define SILENCE_MS 15000

struct waiting {
    char *host;
    uint8_t *bytes;
    size_t len;
    msec until;
};

struct mesh {
    struct transport *transport;
    struct mesh_conf conf;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    msec timer_at;           /* QUANTITY_UNKNOWN: not set */
    bool readable;           /* the socket's descriptor says that there may be something */
    struct waiting *waiting; /* in their order */
    size_t n_waiting, cap_waiting, waiting_bytes;
    unsigned open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

static msec mono_now(const struct mesh *mesh)
{
    return (msec)uv_now(mesh->conf.loop);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is what counts: the loop does not sleep */
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct mesh *mesh = poll->data;
    (void)status;
    (void)events;
    mesh->readable = true; /* check does the work */
}

static void on_timer(uv_timer_t *timer)
{
    struct mesh *mesh = timer->data;
    mesh->timer_at = QUANTITY_UNKNOWN;
    transport_tick(mesh->transport, mono_now(mesh));
}

/* Before sleeping: is there something after all, and when is the next thing due? */
static void on_prepare(uv_prepare_t *prepare)
{
    struct mesh *mesh = prepare->data;
    if (transport_pending(mesh->transport))
        uv_idle_start(&mesh->idle, on_idle);
    msec at = transport_deadline(mesh->transport);
    if (at == mesh->timer_at)
        return;
    mesh->timer_at = at;
    uv_timer_start(&mesh->timer, on_timer, (uint64_t)MAX(at - mono_now(mesh), (msec)0), 0);
}

static void on_check(uv_check_t *check)
{
    struct mesh *mesh = check->data;
    if (!mesh->readable && !uv_is_active((uv_handle_t *)&mesh->idle))
        return;
    mesh->readable = false;
    bool more = transport_process(mesh->transport, mono_now(mesh), MESH_BUDGET);
    if (!more)
        uv_idle_stop(&mesh->idle);
}

/* ---- frames that wait for a link ---- */

static void waiting_drop(struct mesh *mesh, size_t i)
{
    struct waiting *w = &mesh->waiting[i];
    mesh->waiting_bytes -= w->len;
    free(w->host);
    free(w->bytes);
    memmove(w, w + 1, (mesh->n_waiting - i - 1) * sizeof *w);
    mesh->n_waiting--;
}

static void waiting_expire(struct mesh *mesh)
{
    while (mesh->n_waiting > 0 && mono_now(mesh) >= mesh->waiting[0].until)
        waiting_drop(mesh, 0);
}

static void waiting_send(struct mesh *mesh, const char *host)
{
    struct err err = {0};
    for (size_t i = 0; i < mesh->n_waiting;) {
        const struct waiting *w = &mesh->waiting[i];
        if (strcmp(w->host, host) != 0) {
            i++;
            continue;
        }
        if (transport_send(mesh->transport, host, w->bytes, w->len, &err) < 0)
            log_debug("nothing sent to %s: %s", host, err.msg);
        waiting_drop(mesh, i);
    }
}

int mesh_send_soon(struct mesh *mesh, const char *host, const uint8_t *bytes, size_t len,
                   struct err *err)
{
    if (transport_is_up(mesh->transport, host))
        return transport_send(mesh->transport, host, bytes, len, err);
    waiting_expire(mesh);
    if (mesh->n_waiting >= WAITING_MAX || mesh->waiting_bytes + len > WAITING_BYTES_MAX)
        return err_set(err, ERR_CAPACITY, "%zu frames wait for links already", mesh->n_waiting);
    ARRAY_RESERVE(mesh->waiting, mesh->cap_waiting, mesh->n_waiting + 1);
    mesh->waiting[mesh->n_waiting++] = (struct waiting){
        .host = xstrdup(host),
        .bytes = xmemdup(bytes, len),
        .len = len,
        .until = mono_now(mesh) + WAITING_FOR_MS,
    };
    mesh->waiting_bytes += len;
    return 0;
}

/* ---- the transport's word ---- */

static void peer_up(void *arg, const struct transport_peer *peer)
{
    struct mesh *mesh = arg;
    mesh->conf.on_up(mesh->conf.arg, peer->host);
    waiting_send(mesh, peer->host);
}

static void peer_down(void *arg, const char *host, const char *reason)
{
    struct mesh *mesh = arg;
    mesh->conf.on_down(mesh->conf.arg, host, reason);
}

static void frame(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct mesh *mesh = arg;
    mesh->conf.on_frame(mesh->conf.arg, host, bytes, len);
}

static void refused(void *arg, const char *address, const struct err *err)
{
    struct mesh *mesh = arg;
    mesh->conf.on_refused(mesh->conf.arg, address, err);
}

static int transport_open(struct mesh *mesh, struct err *err)
{
    const struct config *config = mesh->conf.config;
    struct transport_conf conf = {
        .cluster = *mesh->conf.cluster,
        .host = config->host,
        .listen = config->mesh_listen,
        .directory = config->tls_directory,
        .version = SKEIN_VERSION,
        .incarnation = mesh->conf.incarnation,
        .seed = mesh->conf.seed,
        .ping_ms = PING_MS,
        .silence_ms = SILENCE_MS,
        .arg = mesh,
        .on_up = peer_up,
        .on_down = peer_down,
        .on_frame = frame,
        .on_refused = refused,
    };
    return transport_new(&conf, &mesh->transport, err);
}

static void handle_closed(uv_handle_t *handle)
{
    struct mesh *mesh = handle->data;
    if (--mesh->open_handles > 0)
        return;
    transport_free(mesh->transport);
    while (mesh->n_waiting > 0)
        waiting_drop(mesh, mesh->n_waiting - 1);
    free(mesh->waiting);
    if (mesh->closed != NULL)
        mesh->closed(mesh->closed_arg);
    free(mesh);
}

int mesh_open(const struct mesh_conf *conf, struct mesh **ret, struct err *err)
{
    struct mesh *mesh = xcalloc(1, sizeof *mesh);
    mesh->conf = *conf;
    mesh->timer_at = QUANTITY_UNKNOWN;
    uv_update_time(conf->loop);
    int rc = transport_open(mesh, err);
    if (rc < 0) {
        transport_free(mesh->transport);
        free(mesh);
        return rc;
    }
    uv_poll_init(conf->loop, &mesh->poll, transport_fd(mesh->transport));
    uv_prepare_init(conf->loop, &mesh->prepare);
    uv_check_init(conf->loop, &mesh->check);
    uv_idle_init(conf->loop, &mesh->idle);
    uv_timer_init(conf->loop, &mesh->timer);
    mesh->poll.data = mesh->prepare.data = mesh->check.data = mesh->idle.data = mesh->timer.data =
        mesh;
    mesh->open_handles = 5;
    uv_poll_start(&mesh->poll, UV_READABLE, on_poll);
    uv_prepare_start(&mesh->prepare, on_prepare);
    uv_check_start(&mesh->check, on_check);
    *ret = mesh;
    return 0;
}

int mesh_send(struct mesh *mesh, const char *host, const uint8_t *bytes, size_t len,
              struct err *err)
{
    return transport_send(mesh->transport, host, bytes, len, err);
}

int mesh_dial(struct mesh *mesh, const char *address, struct err *err)
{
    return transport_dial(mesh->transport, address, err);
}

void mesh_undial(struct mesh *mesh, const char *address)
{
    transport_undial(mesh->transport, address);
}

void mesh_disconnect(struct mesh *mesh, const char *host, const char *reason)
{
    transport_close(mesh->transport, host, reason);
}

bool mesh_is_up(const struct mesh *mesh, const char *host)
{
    return transport_is_up(mesh->transport, host);
}

void mesh_validity(const struct mesh *mesh, msec *ret_certificate, msec *ret_crl)
{
    transport_validity(mesh->transport, ret_certificate, ret_crl);
}

int mesh_reload(struct mesh *mesh, struct err *err)
{
    return transport_reload(mesh->transport, err);
}

void mesh_close(struct mesh *mesh, void (*closed)(void *arg), void *arg)
{
    mesh->closed = closed;
    mesh->closed_arg = arg;
    uv_close((uv_handle_t *)&mesh->poll, handle_closed);
    uv_close((uv_handle_t *)&mesh->prepare, handle_closed);
    uv_close((uv_handle_t *)&mesh->check, handle_closed);
    uv_close((uv_handle_t *)&mesh->idle, handle_closed);
    uv_close((uv_handle_t *)&mesh->timer, handle_closed);
}
