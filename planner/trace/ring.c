#include "planner/trace/ring.h"

#include <endian.h>
#include <zstd.h>

#include "proto/hash.h"

#define LEVEL 3       /* of compression: some 100 MB a second */
#define WINDOW_MIN 10 /* log2 of how far back it looks: zstd's least, ... */
#define WINDOW_MAX 27 /* ... and what any reader of zstd allows */
#define SUM_SIZE 8    /* bytes of the packed text's hash: against damage, not against people */

/* Little-endian. */
struct head {
    uint64_t at;
    uint32_t packed, text; /* bytes */
    uint8_t whole, pad[7];
    uint8_t sum[SUM_SIZE];
};

_Static_assert(sizeof(struct head) == 32, "the head has no holes");

void ring_writer_done(struct ring_writer *w)
{
    free(w->last);
    *w = (struct ring_writer){0};
}

static void sum_of(const void *data, size_t len, uint8_t ret[SUM_SIZE])
{
    uint8_t hash[HASH_SIZE];
    hash_sha256(data, len, hash);
    memcpy(ret, hash, SUM_SIZE);
}

/* So that all of the one before is within reach. */
static int window_for(size_t len)
{
    int bits = WINDOW_MIN;
    while (bits < WINDOW_MAX && (size_t)1 << bits < len)
        bits++;
    return bits;
}

static size_t compress(const struct ring_writer *w, const char *text, size_t len, char *to,
                       size_t cap)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    size_t got = ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, LEVEL);
    if (!ZSTD_isError(got))
        got = ZSTD_CCtx_setParameter(ctx, ZSTD_c_windowLog, window_for(w->last_len + len));
    if (!ZSTD_isError(got) && w->last != NULL)
        got = ZSTD_CCtx_setParameter(ctx, ZSTD_c_enableLongDistanceMatching, 1);
    if (!ZSTD_isError(got) && w->last != NULL)
        got = ZSTD_CCtx_refPrefix(ctx, w->last, w->last_len);
    if (!ZSTD_isError(got))
        got = ZSTD_compress2(ctx, to, cap, text, len);
    ZSTD_freeCCtx(ctx);
    return got;
}

int ring_pack(struct ring_writer *w, msec at, const char *text, size_t len, struct buf *out,
              struct err *err)
{
    if (len == 0 || len > RING_TEXT_MAX)
        return err_set(err, ERR_LIMIT, "a snapshot of %zu bytes is not recorded", len);
    size_t cap = ZSTD_compressBound(len);
    _cleanup_(freep) char *packed = xmalloc(cap);
    size_t n = compress(w, text, len, packed, cap);
    if (ZSTD_isError(n))
        return err_set(err, ERR_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(n));
    struct head head = {.at = htole64((uint64_t)at),
                        .packed = htole32((uint32_t)n),
                        .text = htole32((uint32_t)len),
                        .whole = w->last == NULL};
    sum_of(packed, n, head.sum);
    if (w->n == 0)
        buf_adds(out, RING_MAGIC);
    buf_add(out, &head, sizeof head);
    buf_add(out, packed, n);
    free(w->last);
    w->last = xmemdup(text, len);
    w->last_len = len;
    w->n++;
    return 0;
}

static size_t decompress(const struct ring_reader *r, const char *packed, size_t len, bool whole,
                         char *to, size_t cap)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    size_t got = ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, WINDOW_MAX);
    if (!ZSTD_isError(got) && !whole)
        got = ZSTD_DCtx_refPrefix(ctx, r->text, r->text_len);
    if (!ZSTD_isError(got))
        got = ZSTD_decompressDCtx(ctx, to, cap, packed, len);
    ZSTD_freeDCtx(ctx);
    return got;
}

static int damaged(const struct ring_reader *r, struct err *err)
{
    return err_set(err, ERR_INVALID, "damaged at byte %zu", r->pos);
}

int ring_next(struct ring_reader *r, struct err *err)
{
    const size_t magic = strlen(RING_MAGIC);
    struct head head;
    uint8_t sum[SUM_SIZE];
    if (r->pos == 0) {
        if (r->len < magic || memcmp(r->data, RING_MAGIC, magic) != 0)
            return err_set(err, ERR_INVALID, "not a file of recorded snapshots");
        r->pos = magic;
    }
    if (r->len - r->pos < sizeof head)
        return 0;
    memcpy(&head, r->data + r->pos, sizeof head);
    size_t packed = le32toh(head.packed), len = le32toh(head.text);
    if (len == 0 || len > RING_TEXT_MAX || (!head.whole && r->text == NULL))
        return damaged(r, err);
    if (r->len - r->pos - sizeof head < packed)
        return 0;
    const char *from = r->data + r->pos + sizeof head;
    sum_of(from, packed, sum);
    if (memcmp(sum, head.sum, sizeof sum) != 0)
        return damaged(r, err);
    _cleanup_(freep) char *text = xmalloc(len + 1);
    if (decompress(r, from, packed, head.whole, text, len) != len)
        return damaged(r, err);
    text[len] = '\0';
    free(r->text);
    r->text = TAKE_PTR(text);
    r->text_len = len;
    r->at = (msec)le64toh(head.at);
    r->pos += sizeof head + packed;
    return 1;
}

void ring_reader_done(struct ring_reader *r)
{
    free(r->text);
    r->text = NULL;
}

bool ring_is_name(const char *name)
{
    size_t len = strlen(name), tail = strlen(RING_ENDING);
    return len > tail && strcmp(name + len - tail, RING_ENDING) == 0;
}
