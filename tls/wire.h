/* wire.h - one TLS 1.3 session over memory, and the frames in it.
 * No socket: ciphertext is fed in and taken out. A frame is a header of 4 bytes (kind, then the
 * length in 24 bits, big-endian) and its payload. */
#ifndef SKEIN_TLS_WIRE_H
#define SKEIN_TLS_WIRE_H

#include "tls/creds.h"

#define WIRE_FRAME_LIMIT 0xffffffu /* what the header can say */

enum wire_kind { WIRE_DATA, WIRE_HELLO, WIRE_HELLO_ACK, WIRE_PING, WIRE_PONG, WIRE_BYE };

struct wire; /* opaque */

struct wire_conf {
    struct creds *creds; /* a reference is taken */
    const struct cluster *cluster;
    bool client;
    size_t max_frame; /* payload bytes; wire_set_max_frame raises it once the peer is known */
    msec wall;        /* at which the peer's certificate is judged */
};

int wire_new(const struct wire_conf *conf, struct wire **ret, struct err *err);
void wire_free(struct wire *w);
DEFINE_CLEANUP(struct wire, wire_free)

void wire_set_max_frame(struct wire *w, size_t max_frame);

/* Ciphertext from the peer. */
void wire_feed(struct wire *w, const void *bytes, size_t len);

/* Go on as far as what was fed allows: 1 done, 0 wants more, negative: failed, and an alert to
 * the peer may wait to be taken. */
int wire_handshake(struct wire *w, struct err *err);

/* Who the peer proved to be; only after wire_handshake returned 1. */
const struct subject *wire_subject(const struct wire *w);

/* Judge the peer's chain again by other credentials. */
int wire_judge(struct wire *w, struct creds *creds, msec wall, struct err *err);

/* Hand up whole frames, borrowed. on_frame returns 0 to go on; anything else stops and is
 * returned. 0: all taken in. ERR_UNAVAILABLE: the peer ended the session. */
int wire_receive(struct wire *w,
                 int (*on_frame)(void *arg, unsigned kind, const uint8_t *bytes, size_t len,
                                 struct err *err),
                 void *arg, struct err *err);

/* Queue a frame as plaintext. */
void wire_queue(struct wire *w, enum wire_kind kind, const void *bytes, size_t len);
size_t wire_queued(const struct wire *w); /* plaintext and ciphertext bytes waiting */

/* Ciphertext to be sent, made from the queue as needed: at most about 64 KiB, borrowed until
 * wire_sent. *ret_len 0: nothing waits. */
int wire_take(struct wire *w, const uint8_t **ret, size_t *ret_len, struct err *err);
void wire_sent(struct wire *w); /* what wire_take returned is on its way */

#endif
