/* raft_parts.h - large messages between two voters, in acknowledged parts.
 *
 * The mesh carries frames of bounded size in bounded queues; a snapshot is larger than either. One
 * whole goes at a time in each direction; a window of parts is under way; what is lost is sent
 * again from the last acknowledgement on, a few times. Pure: no clock, no I/O. */
#ifndef SKEIN_AGENT_IO_RAFT_PARTS_H
#define SKEIN_AGENT_IO_RAFT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARTS_SIZE (192u << 10)       /* bytes of a part: with its frame well below 256 KiB */
#define PARTS_WINDOW (4 * PARTS_SIZE) /* bytes sent and not acknowledged */
#define PARTS_TRIES 4                 /* rewinds without progress before giving up */

/* All zero: nothing is under way. */
struct parts_out {
    uint64_t id;    /* of the last whole */
    uint8_t *bytes; /* owned; NULL: none */
    size_t len, sent, acked;
    uint64_t progress_at; /* ms, the caller's clock */
    unsigned tries;
};

struct parts_in {
    uint64_t id;
    uint8_t *bytes; /* owned; grows with what arrives */
    size_t total, received, cap;
};

/* Takes bytes (malloc). Only when nothing is under way. */
void parts_start(struct parts_out *out, uint8_t *bytes, size_t len, uint64_t now);
/* The next piece to send now; false: none. */
bool parts_next(struct parts_out *out, size_t *ret_offset, size_t *ret_len);
/* True when the whole has arrived: out is free again. */
bool parts_acked(struct parts_out *out, uint64_t id, size_t received, uint64_t now);
/* Call now and then. True when given up: out is free again. */
bool parts_timeout(struct parts_out *out, uint64_t now, uint64_t patience_ms);
void parts_out_reset(struct parts_out *out);

/* A part that arrived; total is bounded by max. True when the whole is there: take in->bytes with
 * parts_in_reset after use. In any case in->received is what to acknowledge for id. */
bool parts_add(struct parts_in *in, uint64_t id, size_t total, size_t offset, const uint8_t *data,
               size_t len, size_t max);
void parts_in_reset(struct parts_in *in); /* keeps id and received: late repeats are answered */

#endif
