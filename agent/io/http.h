/* http.h - the API's doors: HTTP on a Unix socket, which its file's permissions guard, and HTTPS on
 * an address, where people show their certificates; and a door of its own for hosts that join or
 * renew, where nobody has to show one. On the agent's loop, with libmicrohttpd.
 * Turns requests into calls with a token and waits; whoever has the answer gives it by the token,
 * at once or later. Bodies over 1 MiB, more connections than allowed and clients that dawdle are
 * refused here. Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_HTTP_H
#define SKEIN_AGENT_IO_HTTP_H

#include <uv.h>

#include "agent/io/http_tls.h"
#include "proto/err.h"
#include "proto/skein.pb-c.h"

#define HTTP_BODY_MAX (1u << 20)
#define HTTP_CONNECTIONS_MAX 128
#define HTTP_BEHIND_MAX (1u << 20)
#define HTTP_IDLE_S 30 /* a client that neither asks nor reads that long is cut */

#define HTTP_HOSTS_CONNECTIONS_MAX 32 /* at the hosts' door, ... */
#define HTTP_HOSTS_PER_NETWORK 8      /* ... and of one address, or IPv6 network */
#define HTTP_HOSTS_S 30               /* a connection there ends after that, whatever it does */

struct http; /* opaque */

enum http_door { HTTP_LOCAL, HTTP_PEOPLE, HTTP_HOSTS, HTTP_DOORS };

struct http_conf {
    uv_loop_t *loop;
    const char *socket;         /* path; a stale socket file is replaced, a live one is an error */
    const char *listen;         /* "HOST:PORT" of the HTTPS door; "" or NULL: there is none */
    const struct http_tls *tls; /* for that door */
    const char *hosts_listen;   /* likewise of the hosts' door */
    const struct http_tls *hosts_tls;
    size_t hosts_body_max; /* bytes of a request there */
    void *arg;
    /* Who calls over HTTPS? session: a gnutls_session_t; judged at each request. */
    int (*admit)(void *arg, void *session, struct err *err);
    /* A whole request; call is borrowed. Answer it with http_answer, also from within. */
    void (*on_call)(void *arg, uint64_t token, const Skein__ApiCall *call);
    /* The same at the hosts' door. session: as for admit; whoever it is may have shown nothing.
     * network: whence (http_network). */
    void (*on_host)(void *arg, uint64_t token, void *session, const char *network,
                    const Skein__ApiCall *call);
};

int http_open(const struct http_conf *conf, struct http **ret, struct err *err);
/* Another certificate for an HTTPS door, which opens anew: its clients' connections end. On error
 * the old one stays in use. Nothing where there is no such door, or nothing changed. */
int http_renew(struct http *http, enum http_door which, const struct http_tls *tls,
               struct err *err);
/* JSON. A token whose client is gone is fine. The body is copied. */
void http_answer(struct http *http, uint64_t token, unsigned status, const void *body, size_t len);
void http_answer_text(struct http *http, uint64_t token, const char *content_type, const void *body,
                      size_t len); /* status 200, and something else than JSON */
/* The client of this token follows: it is sent data, and then everything that is streamed, as it
 * comes. One that does not read is cut when HTTP_BEHIND_MAX bytes wait for it. */
void http_follow(struct http *http, uint64_t token, const char *content_type, const void *data,
                 size_t len);
void http_stream(struct http *http, const void *data, size_t len);
/* Waiting clients get 503; those who follow are told the end; the socket file is removed; closed is
 * called from the loop. */
void http_close(struct http *http, void (*closed)(void *arg), void *arg);

#endif
