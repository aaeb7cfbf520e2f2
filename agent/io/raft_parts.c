#include "agent/io/raft_parts.h"

#include <string.h>

#include "proto/err.h"
#include "proto/util.h"

void parts_start(struct parts_out *out, uint8_t *bytes, size_t len, uint64_t now)
{
    REQUIRE(out->bytes == NULL);
    *out = (struct parts_out){.id = out->id + 1, .bytes = bytes, .len = len, .progress_at = now};
}

bool parts_next(struct parts_out *out, size_t *ret_offset, size_t *ret_len)
{
    if (out->bytes == NULL || out->sent == out->len || out->sent - out->acked >= PARTS_WINDOW)
        return false;
    *ret_offset = out->sent;
    *ret_len = MIN(out->len - out->sent, (size_t)PARTS_SIZE);
    out->sent += *ret_len;
    return true;
}

bool parts_acked(struct parts_out *out, uint64_t id, size_t received, uint64_t now)
{
    if (out->bytes == NULL || id != out->id || received <= out->acked || received > out->len)
        return false;
    out->acked = received;
    out->sent = MAX(out->sent, received);
    out->progress_at = now;
    out->tries = 0;
    if (out->acked < out->len)
        return false;
    parts_out_reset(out);
    return true;
}

bool parts_timeout(struct parts_out *out, uint64_t now, uint64_t patience_ms)
{
    if (out->bytes == NULL || now - out->progress_at < patience_ms)
        return false;
    out->progress_at = now;
    out->sent = out->acked;
    if (++out->tries < PARTS_TRIES)
        return false;
    parts_out_reset(out);
    return true;
}

void parts_out_reset(struct parts_out *out)
{
    free(out->bytes);
    *out = (struct parts_out){.id = out->id};
}

bool parts_add(struct parts_in *in, uint64_t id, size_t total, size_t offset, const uint8_t *data,
               size_t len, size_t max)
{
    if (id != in->id && offset == 0 && total > 0 && total <= max) {
        parts_in_reset(in);
        *in = (struct parts_in){.id = id, .total = total};
    }
    if (id != in->id || total != in->total || offset != in->received || len == 0 ||
        len > in->total - in->received)
        return false;
    ARRAY_RESERVE(in->bytes, in->cap, in->received + len);
    memcpy(in->bytes + in->received, data, len);
    in->received += len;
    return in->received == in->total;
}

void parts_in_reset(struct parts_in *in)
{
    free(TAKE_PTR(in->bytes));
    in->cap = 0;
}
