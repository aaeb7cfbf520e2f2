/* http_socket.h - the sockets that the API's doors listen on. */
#ifndef SKEIN_AGENT_IO_HTTP_SOCKET_H
#define SKEIN_AGENT_IO_HTTP_SOCKET_H

#include "proto/err.h"

/* A listening descriptor, of mode 0660 from its first moment; a stale socket file is replaced, a
 * live one is ERR_CONFLICT. */
int http_socket_unix(const char *path, int *ret, struct err *err);
/* address: "HOST:PORT", numeric; "[::1]:7443" for IPv6. */
int http_socket_tcp(const char *address, int *ret, struct err *err);

#endif
