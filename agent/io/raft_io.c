/* The life of raft_io.h's backend: what libraft calls first and last. */
#include "agent/io/raft_backend.h"

#include <stdio.h>
#include <string.h>

#include "proto/hash.h"
#include "proto/util.h"

int raft_backend_fail(struct raft_backend *b, const struct err *err)
{
    if (b->failure.code == ERR_OK)
        b->failure = *err;
    snprintf(b->io.errmsg, sizeof b->io.errmsg, "%.200s", err->msg);
    return RAFT_IOERR;
}

uint64_t raft_backend_term_of(const struct raft *r, uint64_t index)
{
    const struct raft_log *l = &r->log;
    if (index > 0 && index == l->snapshot.last_index)
        return l->snapshot.last_term;
    size_t n = l->size == 0          ? 0
               : l->front <= l->back ? l->back - l->front
                                     : l->size - l->front + l->back;
    if (index <= l->offset || index > l->offset + n)
        return 0;
    return l->entries[(l->front + (index - 1 - l->offset)) % l->size].term;
}

void raft_backend_tick(struct raft_backend *b)
{
    if (!b->started || b->closing || b->failure.code != ERR_OK)
        return;
    raft_net_tick(b);
    b->tick(&b->io);
}

static int io_init(struct raft_io *io _unused_, raft_id id _unused_, const char *address _unused_)
{
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs _unused_, raft_io_tick_cb tick,
                    raft_io_recv_cb recv)
{
    struct raft_backend *b = backend_of(io);
    b->tick = tick;
    b->recv = recv;
    b->started = true;
    return 0;
}

static int io_bootstrap(struct raft_io *io _unused_, const struct raft_configuration *c _unused_)
{
    return RAFT_CANTBOOTSTRAP; /* raft_disk_open did */
}

static int io_recover(struct raft_io *io _unused_, const struct raft_configuration *c _unused_)
{
    return RAFT_INVALID; /* the voters are fixed */
}

static raft_time io_time(struct raft_io *io)
{
    const struct raft_clock *clock = &backend_of(io)->conf.clock;
    return clock->now(clock->arg);
}

static int io_random(struct raft_io *io, int min, int max)
{
    const struct raft_clock *clock = &backend_of(io)->conf.clock;
    return max <= min ? min : min + (int)clock->random(clock->arg, (uint64_t)(max - min));
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct raft_backend *b = backend_of(io);
    b->closing = true;
    b->close_cb = cb;
    raft_net_close(b);
}

bool raft_backend_finish_close(struct raft_backend *b)
{
    if (!b->closing || b->closed || b->disk_busy > 0)
        return false;
    raft_disk_answer_stuck(b);
    raft_backend_flush(b);
    b->closed = true;
    b->close_cb(&b->io);
    return true;
}

/* libraft rounds the size up to whole words and leaves what it adds as it was: make it alike on
 * every voter. */
static void clear_padding(const char *const *voters, size_t n, struct raft_buffer *e)
{
    size_t used = 1 + 8;
    for (size_t i = 0; i < n; i++)
        used += 8 + strlen(voters[i]) + 1 + 1;
    REQUIRE(used <= e->len);
    memset((uint8_t *)e->base + used, 0, e->len - used);
}

int raft_voters_encode(const char *const *voters, size_t n, struct raft_configuration *ret,
                       struct raft_buffer *ret_encoded, struct err *err)
{
    raft_configuration_init(ret);
    for (size_t i = 0; i < n; i++)
        if (raft_configuration_add(ret, i + 1, voters[i], RAFT_VOTER) != 0)
            return err_set(err, ERR_NO_MEMORY, "voters: out of memory");
    if (raft_configuration_encode(ret, ret_encoded) != 0)
        return err_set(err, ERR_NO_MEMORY, "voters: out of memory");
    clear_padding(voters, n, ret_encoded);
    return 0;
}

static int make_configuration(struct raft_backend *b, struct err *err)
{
    int rv = raft_voters_encode(b->conf.voters, b->conf.n_voters, &b->configuration,
                                &b->wire.encoded, err);
    if (rv < 0)
        return rv;
    b->wire.configuration = &b->configuration;
    _cleanup_(buf_done) struct buf all = {0};
    buf_adds(&all, b->conf.cluster);
    buf_add(&all, "", 1);
    buf_add(&all, b->wire.encoded.base, b->wire.encoded.len);
    if (b->conf.group != NULL)
        buf_add(&all, b->conf.group, HASH_SIZE);
    uint8_t hash[HASH_SIZE];
    hash_domain("skein.raft-group/1", all.data, all.len, hash);
    memcpy(&b->wire.group, hash, sizeof b->wire.group);
    return 0;
}

uint64_t raft_backend_group(const struct raft_backend *b)
{
    return b->wire.group;
}

DEFINE_CLEANUP(struct raft_backend, raft_backend_free)

int raft_backend_new(const struct raft_backend_conf *conf, struct raft_backend **ret,
                     struct err *err)
{
    _cleanup_(raft_backend_freep) struct raft_backend *b = xcalloc(1, sizeof *b);
    b->conf = *conf;
    b->later_end = &b->later;
    /* A restarted sender must not continue the parts of its earlier life. */
    for (size_t i = 0; i < ARRAY_SIZE(b->peers); i++)
        b->peers[i].out.id = conf->clock.random(conf->clock.arg, (uint64_t)1 << 62);
    b->io = (struct raft_io){.version = 1,
                             .impl = b,
                             .init = io_init,
                             .close = io_close,
                             .load = raft_disk_load,
                             .start = io_start,
                             .bootstrap = io_bootstrap,
                             .recover = io_recover,
                             .set_term = raft_disk_set_term,
                             .set_vote = raft_disk_set_vote,
                             .send = raft_net_send,
                             .append = raft_disk_append,
                             .truncate = raft_disk_truncate,
                             .snapshot_put = raft_disk_snapshot_put,
                             .snapshot_get = raft_disk_snapshot_get,
                             .time = io_time,
                             .random = io_random};
    int rv;
    if ((rv = make_configuration(b, err)) < 0 || (rv = raft_disk_open(b, err)) < 0)
        return rv;
    *ret = TAKE_PTR(b);
    return 0;
}

void raft_backend_free(struct raft_backend *b)
{
    for (size_t i = 0; i < ARRAY_SIZE(b->peers); i++) {
        parts_out_reset(&b->peers[i].out);
        parts_in_reset(&b->peers[i].in);
    }
    store_raft_state_done(&b->loaded);
    raft_configuration_close(&b->configuration);
    raft_free(b->wire.encoded.base);
    free(b);
}

struct raft_io *raft_backend_io(struct raft_backend *b)
{
    return &b->io;
}

const struct err *raft_backend_failure(const struct raft_backend *b)
{
    return b->failure.code == ERR_OK ? NULL : &b->failure;
}

uint64_t raft_backend_restoring(const struct raft_backend *b)
{
    return b->restoring;
}

uint64_t raft_backend_refused(const struct raft_backend *b)
{
    return b->refused;
}
