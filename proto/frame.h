/* frame.h - messages over a local stream: four bytes of length, most significant first, then the
 * packed message. For programs of one machine; the mesh has its own transport (tls/transport.h). */
#ifndef SKEIN_PROTO_FRAME_H
#define SKEIN_PROTO_FRAME_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/units.h"

#define FRAME_HEADER 4
#define FRAME_REQUEST_MAX (1u << 20) /* bytes of a message */
#define FRAME_REPLY_MAX (64u << 20)  /* the status of a large world */

/* Header and message; the caller frees it. */
uint8_t *frame_pack(const ProtobufCMessage *message, size_t *ret_len);

/* Is a whole frame at the beginning of these bytes? 1: *ret_len of message follow the header; 0:
 * not yet; negative: it is larger than max. */
int frame_peek(const uint8_t *bytes, size_t len, size_t max, size_t *ret_len, struct err *err);

/* Blocking, for clients. -1 as timeout: for ever. */

/* A connected Unix socket; ERR_UNAVAILABLE when nobody listens. */
int frame_connect(const char *path, struct err *err);

/* ERR_UNAVAILABLE when the other end is gone. */
int frame_send(int fd, const ProtobufCMessage *message, struct err *err);

/* The message's bytes, which the caller frees. ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_LIMIT. */
int frame_receive(int fd, msec timeout, uint8_t **ret, size_t *ret_len, struct err *err);

#endif
