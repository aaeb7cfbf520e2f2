/* raft_backend.h - what the three files of raft_io.h's backend share: raft_io.c (life), raft_net.c
 * (messages and the guards on them), raft_disk.c (the log). For them only. */
#ifndef SKEIN_AGENT_IO_RAFT_BACKEND_H
#define SKEIN_AGENT_IO_RAFT_BACKEND_H

#include "agent/io/raft_io.h"
#include "agent/io/raft_parts.h"
#include "agent/io/raft_wire.h"

/* A completion that libraft must not see before its call has returned. */
struct later {
    struct later *next;
    struct raft_io_send *req;
    int status;
};

/* What is being written or read; answered in order by the disk. */
struct disk_work {
    struct disk_work *next; /* in the list of those that failed, until close */
    struct raft_backend *b;

    enum { WORK_APPEND, WORK_TRUNCATE, WORK_SNAPSHOT_PUT, WORK_SNAPSHOT_GET } kind;

    union {
        struct raft_io_append *append;
        struct raft_io_snapshot_put *put;
        struct raft_io_snapshot_get *get;
    };
    struct raft_buffer *installed; /* SNAPSHOT_PUT of a leader's snapshot: libraft's array */
};

struct peer {
    struct parts_out out;
    struct parts_in in;
    struct raft_io_send *out_req; /* answered when all parts have arrived */
    bool held;                    /* an append result waits for the leader's first write */
    struct raft_message answer;
};

struct raft_backend {
    struct raft_backend_conf conf;
    struct raft_io io;
    struct raft_configuration configuration;
    struct raft_wire wire;
    struct store_raft_state loaded; /* until load takes it */
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb close_cb;
    bool started, closing, closed;

    uint64_t term, vote; /* as on the disk */
    uint64_t next_index; /* of the next append */
    uint64_t restoring;  /* see raft_backend_restoring */
    struct later *later, **later_end;
    struct disk_work *stuck; /* the disk failed: answered at close */
    size_t disk_busy, appends_busy;
    bool drain; /* truncated while appends were under way: take no entries until they are done */
    struct err failure;
    uint64_t refused;

    /* This log and that of match_term's leader are alike up to match_index. */
    uint64_t match_term, match_index;
    const struct raft_append_entries *appending; /* handed to libraft just now */

    struct peer peers[CONSENSUS_VOTERS_MAX];
};

static inline struct raft_backend *backend_of(struct raft_io *io)
{
    return io->impl;
}

static inline struct raft *raft_of(struct raft_backend *b)
{
    return b->io.data; /* set by raft_init */
}

/* The disk failed, for good. Returns libraft's code for it. */
int raft_backend_fail(struct raft_backend *b, const struct err *err);

/* ---- raft_net.c ---- */

int raft_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb);
/* The append that libraft was just handed fits this log. */
void raft_net_note_append(struct raft_backend *b);
/* An entry was written: answers that waited for it may be counted. */
void raft_net_deliver_held(struct raft_backend *b);
void raft_net_tick(struct raft_backend *b);
void raft_net_close(struct raft_backend *b); /* answers what is under way with RAFT_CANCELED */

/* ---- raft_disk.c ---- */

/* Load, and write the first entry when there is nothing. */
int raft_disk_open(struct raft_backend *b, struct err *err);
int raft_disk_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries);
int raft_disk_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb);
int raft_disk_truncate(struct raft_io *io, raft_index index);
int raft_disk_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int raft_disk_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb);
int raft_disk_set_term(struct raft_io *io, raft_term term);
int raft_disk_set_vote(struct raft_io *io, raft_id server_id);
void raft_disk_answer_stuck(struct raft_backend *b); /* closing: what the failed disk left */

#endif
