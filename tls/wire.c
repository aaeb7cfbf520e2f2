#include "tls/wire.h"

#include <errno.h>
#include <stdio.h>

#include "tls/handles.h"

#define HEADER_SIZE 4
#define RECORD_MAX 16384            /* plaintext of a TLS record */
#define BATCH 65536                 /* ciphertext handed out at once, about */
#define HANDSHAKE_MESSAGE_MAX 32768 /* a chain of P-256 certificates takes 2 KiB */

/* Bytes appended at the end, taken from the front. */
struct fifo {
    struct buf buf;
    size_t at;
};

struct wire {
    gnutls_session_t session; /* owned */
    struct creds *creds;      /* owned reference: the session uses it */
    char cluster[NAME_SIZE];
    size_t max_frame;
    msec wall;
    struct fifo in, plain_in, plain_out, out;
    bool judged; /* the peer's certificates were found good */
    struct subject subject;
    struct err verdict; /* why the peer's certificate was refused */
};

static size_t fifo_len(const struct fifo *f)
{
    return f->buf.len - f->at;
}

static const uint8_t *fifo_data(const struct fifo *f)
{
    return (const uint8_t *)f->buf.data + f->at;
}

static void fifo_drop(struct fifo *f, size_t n)
{
    f->at += n;
    if (f->at == f->buf.len) {
        f->buf.len = f->at = 0;
        if (f->buf.cap > (size_t)4 * BATCH) /* a burst's memory is not kept */
            buf_done(&f->buf);
    } else if (f->at > f->buf.len / 2 && f->at > BATCH) {
        memmove(f->buf.data, f->buf.data + f->at, fifo_len(f));
        f->buf.len -= f->at;
        f->at = 0;
    }
}

static ssize_t push(gnutls_transport_ptr_t ptr, const void *data, size_t len)
{
    struct wire *w = ptr;
    buf_add(&w->out.buf, data, len);
    return (ssize_t)len;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *data, size_t size)
{
    struct wire *w = ptr;
    size_t n = MIN(size, fifo_len(&w->in));
    if (n == 0) {
        gnutls_transport_set_errno(w->session, EAGAIN);
        return -1;
    }
    memcpy(data, fifo_data(&w->in), n);
    fifo_drop(&w->in, n);
    return (ssize_t)n;
}

static int pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms _unused_)
{
    const struct wire *w = ptr;
    return fifo_len(&w->in) > 0;
}

int wire_judge(struct wire *w, struct creds *creds, msec wall, struct err *err)
{
    struct chain chain = {0};
    int rc = chain_of_peer(w->session, &chain, err);
    if (rc == 0)
        rc = anchor_verify(creds->machines, chain.crts, chain.n, w->cluster, USE_AGENT, wall,
                           &w->subject, err);
    chain_done(&chain);
    w->judged = rc == 0;
    return rc;
}

/* Called by GnuTLS within the handshake, on both sides. */
static int verify(gnutls_session_t session)
{
    struct wire *w = gnutls_session_get_ptr(session);
    return wire_judge(w, w->creds, w->wall, &w->verdict) < 0 ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

static int set_up(struct wire *w, bool client)
{
    unsigned flags = (client ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NONBLOCK |
                     GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
    int rc;
    if ((rc = gnutls_init(&w->session, flags)) < 0 ||
        (rc = gnutls_priority_set(w->session, w->creds->priorities)) < 0 ||
        (rc = gnutls_credentials_set(w->session, GNUTLS_CRD_CERTIFICATE, w->creds->gnutls)) < 0)
        return rc;
    if (!client)
        gnutls_certificate_server_set_request(w->session, GNUTLS_CERT_REQUIRE);
    gnutls_handshake_set_max_packet_length(w->session, HANDSHAKE_MESSAGE_MAX);
    gnutls_session_set_ptr(w->session, w);
    gnutls_session_set_verify_function(w->session, verify);
    gnutls_transport_set_ptr(w->session, w);
    gnutls_transport_set_push_function(w->session, push);
    gnutls_transport_set_pull_function(w->session, pull);
    gnutls_transport_set_pull_timeout_function(w->session, pull_timeout);
    return 0;
}

int wire_new(const struct wire_conf *conf, struct wire **ret, struct err *err)
{
    REQUIRE(conf->max_frame <= WIRE_FRAME_LIMIT);
    _cleanup_(wire_freep) struct wire *w = xcalloc(1, sizeof *w);
    w->creds = creds_ref(conf->creds);
    w->max_frame = conf->max_frame;
    w->wall = conf->wall;
    snprintf(w->cluster, sizeof w->cluster, "%s", conf->cluster->name);
    int rc = set_up(w, conf->client);
    if (rc < 0)
        return tls_error(err, rc, "session");
    *ret = TAKE_PTR(w);
    return 0;
}

void wire_free(struct wire *w)
{
    if (w == NULL)
        return;
    if (w->session != NULL)
        gnutls_deinit(w->session);
    creds_unref(w->creds);
    buf_done(&w->in.buf);
    buf_done(&w->plain_in.buf);
    buf_done(&w->plain_out.buf);
    buf_done(&w->out.buf);
    free(w);
}

void wire_set_max_frame(struct wire *w, size_t max_frame)
{
    REQUIRE(max_frame <= WIRE_FRAME_LIMIT);
    w->max_frame = max_frame;
}

void wire_feed(struct wire *w, const void *bytes, size_t len)
{
    buf_add(&w->in.buf, bytes, len);
}

/* Say what failed in the peer's words, ours, or GnuTLS'. */
static int explain(struct wire *w, int code, struct err *err)
{
    if (w->verdict.code != ERR_OK)
        return err_set(err, w->verdict.code, "%s", w->verdict.msg);
    if (code == GNUTLS_E_FATAL_ALERT_RECEIVED || code == GNUTLS_E_WARNING_ALERT_RECEIVED) {
        const char *alert = gnutls_alert_get_name(gnutls_alert_get(w->session));
        return err_set(err, ERR_DENIED, "refused by the peer: %s", alert != NULL ? alert : "alert");
    }
    if (code == GNUTLS_E_NO_CERTIFICATE_FOUND || code == GNUTLS_E_CERTIFICATE_REQUIRED)
        return err_set(err, ERR_UNAUTHENTICATED, "the peer showed no certificate");
    return tls_error(err, code, "TLS");
}

int wire_handshake(struct wire *w, struct err *err)
{
    int rc;
    do
        rc = gnutls_handshake(w->session);
    while (rc == GNUTLS_E_INTERRUPTED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (rc == GNUTLS_E_AGAIN)
        return 0;
    if (rc == 0 && !w->judged)
        return err_set(err, ERR_UNAUTHENTICATED, "the peer showed no certificate");
    if (rc == 0)
        return 1;
    gnutls_alert_send_appropriate(w->session, rc);
    return explain(w, rc, err);
}

const struct subject *wire_subject(const struct wire *w)
{
    return &w->subject;
}

typedef int (*frame_handler)(void *arg, unsigned kind, const uint8_t *bytes, size_t len,
                             struct err *err);

/* Hand up what is whole in plain_in. */
static int deliver(struct wire *w, frame_handler on_frame, void *arg, struct err *err)
{
    while (fifo_len(&w->plain_in) >= HEADER_SIZE) {
        const uint8_t *p = fifo_data(&w->plain_in);
        size_t len = (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (len > w->max_frame)
            return err_set(err, ERR_LIMIT, "a frame of %zu bytes, at most %zu are taken", len,
                           w->max_frame);
        if (fifo_len(&w->plain_in) < HEADER_SIZE + len)
            break;
        int rc = on_frame(arg, p[0], p + HEADER_SIZE, len, err);
        if (rc != 0)
            return rc;
        fifo_drop(&w->plain_in, HEADER_SIZE + len);
    }
    return 0;
}

int wire_receive(struct wire *w, frame_handler on_frame, void *arg, struct err *err)
{
    for (;;) {
        struct buf *b = &w->plain_in.buf;
        ARRAY_RESERVE(b->data, b->cap, b->len + RECORD_MAX + 1);
        ssize_t n = gnutls_record_recv(w->session, b->data + b->len, RECORD_MAX);
        if (n == GNUTLS_E_AGAIN)
            break;
        if (n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, "the peer ended the session");
        if (n < 0)
            return explain(w, (int)n, err);
        b->len += (size_t)n;
        int rc = deliver(w, on_frame, arg, err);
        if (rc != 0)
            return rc;
    }
    if (fifo_len(&w->plain_in) == 0) /* an idle link keeps no buffers */
        buf_done(&w->plain_in.buf);
    if (fifo_len(&w->in) == 0)
        buf_done(&w->in.buf);
    return 0;
}

void wire_queue(struct wire *w, enum wire_kind kind, const void *bytes, size_t len)
{
    REQUIRE(len <= WIRE_FRAME_LIMIT);
    const uint8_t header[HEADER_SIZE] = {(uint8_t)kind, (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                                         (uint8_t)len};
    buf_add(&w->plain_out.buf, header, sizeof header);
    buf_add(&w->plain_out.buf, bytes, len);
}

size_t wire_queued(const struct wire *w)
{
    return fifo_len(&w->plain_out) + fifo_len(&w->out);
}

int wire_take(struct wire *w, const uint8_t **ret, size_t *ret_len, struct err *err)
{
    while (fifo_len(&w->out) < BATCH && fifo_len(&w->plain_out) > 0) {
        size_t n = MIN(fifo_len(&w->plain_out), (size_t)RECORD_MAX);
        ssize_t sent = gnutls_record_send(w->session, fifo_data(&w->plain_out), n);
        if (sent <= 0)
            return explain(w, (int)sent, err);
        fifo_drop(&w->plain_out, (size_t)sent);
    }
    *ret = fifo_data(&w->out);
    *ret_len = fifo_len(&w->out);
    return 0;
}

void wire_sent(struct wire *w)
{
    fifo_drop(&w->out, fifo_len(&w->out));
    if (fifo_len(&w->plain_out) == 0) {
        buf_done(&w->out.buf);
        buf_done(&w->plain_out.buf);
    }
}
