/* http_tls.h - what the HTTPS door shows and asks for, read from the TLS directory. */
#ifndef SKEIN_AGENT_IO_HTTP_TLS_H
#define SKEIN_AGENT_IO_HTTP_TLS_H

#include "proto/err.h"
#include "proto/util.h"

/* PEM texts: what this host shows, and the root of those who may call. */
struct http_tls {
    char *certificate, *key, *people; /* owned */
};

/* DIRECTORY/{host.pem,host.key,people.pem} */
int http_tls_read(const char *directory, struct http_tls *ret, struct err *err);
/* The same for the hosts' door: it shows the root too, which those who join know by its digest, and
 * asks for certificates of machines. */
int http_tls_read_hosts(const char *directory, struct http_tls *ret, struct err *err);
void http_tls_done(struct http_tls *tls); /* the key is wiped */

#endif
