/* hello.h - the first frame of each side of a link: encode, decode with every bound checked. */
#ifndef SKEIN_TLS_HELLO_H
#define SKEIN_TLS_HELLO_H

#include "tls/transport.h"

#define HELLO_PROTOCOL 1
#define HELLO_MAX 1024 /* bytes on the wire; what an unjoined peer can make us keep */

struct hello {
    uint32_t protocol;
    char cluster[UUID_SIZE];
    struct transport_peer peer;
    uint64_t link; /* the dialler's number for the link */
};

/* To be freed. */
uint8_t *hello_pack(const struct hello *hello, size_t *ret_len);
int hello_unpack(const uint8_t *bytes, size_t len, struct hello *ret, struct err *err);

/* "IP:PORT" or "[IPv6]:PORT", numeric: names would be looked up behind our back. */
int address_check(const char *address, struct err *err);

#endif
