/* raft_wire.h - libraft's messages <-> bytes. Pure. Everything that arrives is checked here, so
 * that libraft, which asserts where it should doubt, sees only what a sound voter could say. */
#ifndef SKEIN_AGENT_IO_RAFT_WIRE_H
#define SKEIN_AGENT_IO_RAFT_WIRE_H

#include <raft.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/raft.pb-c.h"

/* Entries of one append: more is cut off, which raft allows; at least one goes in any case. */
#define RAFT_WIRE_APPEND_BYTES (1u << 20)
#define RAFT_WIRE_APPEND_ENTRIES 1024
/* Of a whole message, parts put together: a snapshot or one largest entry, and the fields. */
#define RAFT_WIRE_MAX (CONSENSUS_SNAPSHOT_MAX + 4096)

/* Borrowed by the functions below. */
struct raft_wire {
    uint64_t group;
    const struct raft_configuration *configuration; /* the voters: for received snapshots */
    struct raft_buffer encoded; /* the same as an entry: the only RAFT_CHANGE that is heard */
};

/* Packed with malloc. The message is one that libraft sends. */
uint8_t *raft_wire_pack(const struct raft_wire *w, const struct raft_message *m, size_t *ret_len);
uint8_t *raft_wire_pack_part(const struct raft_wire *w, uint64_t id, const uint8_t *whole,
                             size_t total, size_t offset, size_t len, size_t *ret_len);
uint8_t *raft_wire_pack_part_ack(const struct raft_wire *w, uint64_t id, size_t received,
                                 size_t *ret_len);

/* The outer form; free with skein__raft_message__free_unpacked(m, NULL). ERR_INVALID, ERR_DENIED
 * (another group). */
int raft_wire_open(const struct raft_wire *w, const uint8_t *bytes, size_t len,
                   Skein__RaftMessage **ret, struct err *err);

/* To libraft's form (not parts). from is the sender's id. What it points to is raft_malloc memory
 * that recv takes over; raft_wire_release frees it when recv is not called after all. */
int raft_wire_decode(const struct raft_wire *w, const Skein__RaftMessage *m, raft_id from,
                     struct raft_message *ret, struct err *err);
void raft_wire_release(struct raft_message *m);

#endif
