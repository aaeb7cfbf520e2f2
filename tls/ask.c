#include "tls/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/canon.h"
#include "tls/anchor.h"
#include "tls/handles.h"

#define CONNECT_MS 5000
#define EXCHANGE_MS                                                                                \
    20000 /* from the first word to the answer's last; the agent gives up after 10 */

/* Everything of one call, for one end of it. */
struct caller {
    const struct ask *ask;
    char *host; /* owned; of the address */
    int fd;
    msec deadline; /* of all that is said; monotonic */
    gnutls_certificate_credentials_t own;
    gnutls_session_t session;
};

static void caller_done(struct caller *c)
{
    if (c->session != NULL)
        gnutls_deinit(c->session);
    if (c->own != NULL)
        gnutls_certificate_free_credentials(c->own);
    if (c->fd >= 0)
        close(c->fd);
    free(c->host);
}

/* ---- the connection ---- */

static msec now_mono(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* After code, of a call of GnuTLS that did not do all: should it be called again? E_AGAIN may come
 * with bytes that were there, and says nothing of time. False: it is over, and *err says why. */
static bool once_more(const struct caller *c, int code, struct err *err)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (code == GNUTLS_E_INTERRUPTED || (code != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(code)))
        return true;
    if (code != GNUTLS_E_AGAIN) {
        tls_error(err, code, "TLS with %s", c->ask->address);
        return false;
    }
    if (gnutls_record_get_direction(c->session) != 0)
        p.events = POLLOUT;
    msec left = c->deadline - now_mono();
    int rc = left > 0 ? poll(&p, 1, (int)left) : 0;
    if (rc > 0 || (rc < 0 && errno == EINTR))
        return true;
    err_set(err, ERR_TIMEOUT, "%s takes too long", c->ask->address);
    return false;
}

static int connect_in_time(int fd, const struct addrinfo *to)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int why = 0;
    socklen_t len = sizeof why;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    int rc = poll(&p, 1, CONNECT_MS);
    if (rc <= 0)
        return rc == 0 ? -ETIMEDOUT : -errno;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len);
    return -why;
}

static int open_one(const struct addrinfo *to)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect_in_time(fd, to);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static int open_connection(struct caller *c, struct err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(c->ask->address, ':');
    struct addrinfo *info = NULL;
    if (colon == NULL || colon == c->ask->address || colon[1] == '\0')
        return err_set(err, ERR_INVALID, "\"%.100s\" is not HOST:PORT", c->ask->address);
    bool bracketed = c->ask->address[0] == '[' && colon[-1] == ']';
    c->host = xasprintf("%.*s", (int)(colon - c->ask->address) - 2 * bracketed,
                        c->ask->address + bracketed);
    int rc = getaddrinfo(c->host, colon + 1, &hints, &info);
    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", c->ask->address, gai_strerror(rc));
    rc = -EHOSTUNREACH;
    for (const struct addrinfo *i = info; i != NULL && rc < 0; i = i->ai_next)
        rc = open_one(i);
    freeaddrinfo(info);
    if (rc < 0)
        return err_set(err, rc == -ETIMEDOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE,
                       "nobody answers at %s: %s", c->ask->address, strerror(-rc));
    c->fd = rc;
    return 0;
}

/* ---- TLS ---- */

static int begin_tls(struct caller *c, struct err *err)
{
    int rc = gnutls_certificate_allocate_credentials(&c->own);
    if (rc == 0 && c->ask->certificate != NULL) {
        gnutls_datum_t crt = datum_text(c->ask->certificate), key = datum_text(c->ask->key);
        rc = gnutls_certificate_set_x509_key_mem2(c->own, &crt, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    }
    if (rc < 0 || (rc = gnutls_init(&c->session, GNUTLS_CLIENT)) < 0 ||
        (rc = gnutls_priority_set_direct(c->session, TLS_PRIORITIES, NULL)) < 0 ||
        (rc = gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->own)) < 0)
        return tls_error(err, rc, "TLS");
    gnutls_transport_set_int(c->session, c->fd);
    c->deadline = now_mono() + (c->ask->patience > 0 ? c->ask->patience : EXCHANGE_MS);
    while ((rc = gnutls_handshake(c->session)) < 0)
        if (!once_more(c, rc, err))
            return -(int)err->code;
    return 0;
}

/* The root that the door shows must be the one whose digest is known. */
static int anchor_of(const struct caller *c, const struct chain *chain, struct anchor **ret,
                     struct err *err)
{
    if (c->ask->root == NULL)
        return anchor_new(c->ask->machines, c->ask->crl, ret, err);
    for (unsigned i = 0; i < chain->n; i++) {
        gnutls_x509_crt_t crt = chain->crts[i];
        if (!root_has_key(crt, c->ask->root))
            continue;
        _cleanup_(datum_done) gnutls_datum_t out = {0};
        int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out);
        if (rc < 0)
            return tls_error(err, rc, "root");
        _cleanup_(freep) char *pem = xasprintf("%.*s", (int)out.size, (char *)out.data);
        return anchor_new(pem, NULL, ret, err);
    }
    return err_set(err, ERR_UNAUTHENTICATED,
                   "%s is not under the root that the token names: do not go on, it may be "
                   "somebody else",
                   c->ask->address);
}

/* Roots at the end of what was shown are no part of the chain. */
static unsigned without_roots(const struct chain *chain)
{
    unsigned n = chain->n;
    while (n > 1 && gnutls_x509_crt_check_issuer(chain->crts[n - 1], chain->crts[n - 1]) != 0)
        n--;
    return n;
}

static int judge(const struct caller *c, struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {0};
    _cleanup_(anchor_freep) struct anchor *anchor = NULL;
    struct subject subject;
    int rc;
    if ((rc = chain_of_peer(c->session, &chain, err)) < 0 ||
        (rc = anchor_of(c, &chain, &anchor, err)) < 0)
        return rc;
    if ((rc = anchor_verify(anchor, chain.crts, without_roots(&chain), c->ask->cluster, USE_AGENT,
                            c->ask->now, &subject, err)) < 0)
        return err_wrap(err, "%s", c->ask->address);
    if (!gnutls_x509_crt_check_hostname(chain.crts[0], c->host))
        return err_set(err, ERR_UNAUTHENTICATED,
                       "the certificate of %s does not name %s; name the host as its certificate "
                       "does",
                       subject.name, c->host);
    return 0;
}

/* ---- HTTP ---- */

static int send_all(struct caller *c, const char *text, struct err *err)
{
    size_t len = strlen(text), at = 0;
    while (at < len) {
        ssize_t n = gnutls_record_send(c->session, text + at, len - at);
        if (n < 0 && !once_more(c, (int)n, err))
            return -(int)err->code;
        if (n < 0)
            continue;
        at += (size_t)n;
    }
    return 0;
}

/* To its end: the connection is for one answer. */
static int receive_all(struct caller *c, size_t max, struct buf *to, struct err *err)
{
    char piece[16384];
    for (;;) {
        ssize_t n = gnutls_record_recv(c->session, piece, sizeof piece);
        if (n == 0 || (n == GNUTLS_E_PREMATURE_TERMINATION && to->len > 0))
            return 0;
        if (n < 0 && !once_more(c, (int)n, err))
            return -(int)err->code;
        if (n < 0)
            continue;
        if (now_mono() > c->deadline)
            return err_set(err, ERR_TIMEOUT, "%s takes too long", c->ask->address);
        if (to->len + (size_t)n > max)
            return err_set(err, ERR_LIMIT, "%s answers more than %zu KiB", c->ask->address,
                           max >> 10);
        buf_add(to, piece, (size_t)n);
    }
}

static int error_of(const struct caller *c, unsigned status, const char *body, struct err *err)
{
    _cleanup_json_ json_t *doc = json_loads(body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *error = json_object_get(doc, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    if (code == NULL || message == NULL)
        return err_set(err, ERR_UNAVAILABLE, "%s answers with status %u", c->ask->address, status);
    enum err_code known = err_from_name(code);
    return err_set(err, known != ERR_OK ? known : ERR_UNKNOWN, "%s", message);
}

/* "Content-Length: N" says whether all of it came. */
static bool is_whole(const char *head, size_t body_len)
{
    const char *line = strcasestr(head, "\r\ncontent-length:");
    return line != NULL && strtoull(line + strlen("\r\ncontent-length:"), NULL, 10) == body_len;
}

static int take_answer(const struct caller *c, struct buf *answer, char **ret, size_t *ret_len,
                       struct err *err)
{
    unsigned status = 0;
    buf_add(answer, "", 1); /* ends it as a text */
    answer->len--;
    char *end = strstr(answer->data, "\r\n\r\n");
    if (end == NULL || sscanf(answer->data, "HTTP/1.%*1[01] %3u", &status) != 1)
        return err_set(err, ERR_UNAVAILABLE, "%s does not speak HTTP", c->ask->address);
    end[2] = '\0';
    const char *body = end + 4;
    size_t len = answer->len - (size_t)(body - answer->data);
    if (!is_whole(answer->data, len))
        return err_set(err, ERR_UNAVAILABLE, "the answer of %s is cut off", c->ask->address);
    if (status != 200)
        return error_of(c, status, body, err);
    *ret = xmemdup(body, len + 1);
    *ret_len = len;
    return 0;
}

int ask(const struct ask *question, const char *path, const char *body, size_t max, char **ret,
        size_t *ret_len, struct err *err)
{
    _cleanup_(caller_done) struct caller c = {.ask = question, .fd = -1};
    _cleanup_(buf_done) struct buf answer = {0};
    int rc;
    if ((rc = open_connection(&c, err)) < 0 || (rc = begin_tls(&c, err)) < 0 ||
        (rc = judge(&c, err)) < 0)
        return rc;
    _cleanup_(freep) char *text = xasprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: "
                                            "application/json\r\nContent-Length: "
                                            "%zu\r\nConnection: close\r\n\r\n%s",
                                            path, c.host, strlen(body), body);
    rc = send_all(&c, text, err);
    explicit_bzero(text, strlen(text)); /* it may hold a secret */
    if (rc < 0 || (rc = receive_all(&c, max + 4096, &answer, err)) < 0)
        return rc;
    return take_answer(&c, &answer, ret, ret_len, err);
}
