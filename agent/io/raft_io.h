/* raft_io.h - libraft's I/O over the store and the mesh, and the guards around libraft.
 *
 * The library in Debian (0.15) has defects that lose committed entries. Upstream fixed them later;
 * here they are kept from happening, at the border:
 * - commit beyond what was sent: leader_commit is cut to the last entry of its message;
 * - an answer that vouches for entries of another leader: last_log_index is cut to what is known to
 *   match the leader of this term, or is committed;
 * - entries of earlier terms committed by counting: a leader hears no answer before an entry of its
 *   own term is on its disk (consensus.c writes a barrier at once);
 * - entries before the compacted log appended behind it: what is committed is cut off on arrival;
 * - a leader that goes back and back before a follower's compacted log: the follower answers with
 *   what is committed;
 * - voters that refuse each other's trial votes for ever, because the answer hides their term;
 * - an entry truncated and appended again while the first write is under way: such appends wait.
 * Its methods never fail in a way that libraft mishandles: a send "fails" later, and when the disk
 * fails this voter ends.
 *
 * Internal to consensus.c and the tests. Same thread as the loop. */
#ifndef SKEIN_AGENT_IO_RAFT_IO_H
#define SKEIN_AGENT_IO_RAFT_IO_H

#include <raft.h>

#include "agent/io/consensus.h"
#include "agent/io/store.h"

/* The store, or in tests a disk that crashes on command. Semantics are those of store.h. */
struct raft_disk {
    void *arg;
    int (*load)(void *arg, struct store_raft_state *ret, struct err *err);
    int (*submit)(void *arg, struct store_batch *b, store_done_cb cb, void *cb_arg,
                  struct err *err);
    int (*submit_wait)(void *arg, struct store_batch *b, struct err *err);
    int (*snapshot_get)(void *arg, store_raft_snapshot_cb cb, void *cb_arg, struct err *err);
};

struct raft_clock {
    void *arg;
    uint64_t (*now)(void *arg);                    /* ms, monotonic */
    uint64_t (*random)(void *arg, uint64_t below); /* 0 to below - 1 */
};

struct raft_backend;

struct raft_backend_conf {
    const char *cluster;
    const char *const *voters; /* sorted; a voter's id is its place, from 1; borrowed */
    size_t n_voters;
    size_t self;          /* place of this one, from 0 */
    const uint8_t *group; /* see consensus.h; borrowed by raft_backend_new */
    uint64_t base_index;
    unsigned election_timeout_ms;
    struct raft_disk disk;
    struct raft_clock clock;
    void *arg; /* of the functions below */
    int (*send)(void *arg, const char *host, const uint8_t *bytes, size_t len);
    /* Something arrived or was written: called with enter before and leave after libraft's work. */
    void (*enter)(void *arg);
    void (*leave)(void *arg);
};

/* The voters (sorted, numbered from 1) as the log names them, the same bytes everywhere; both are
 * the caller's to free (raft_configuration_close, raft_free), also after an error. */
int raft_voters_encode(const char *const *voters, size_t n, struct raft_configuration *ret,
                       struct raft_buffer *ret_encoded, struct err *err);

/* Reads the disk, and writes the first configuration when it is empty. */
int raft_backend_new(const struct raft_backend_conf *conf, struct raft_backend **ret,
                     struct err *err);
void raft_backend_free(struct raft_backend *b);

struct raft_io *raft_backend_io(struct raft_backend *b);
int raft_backend_receive(struct raft_backend *b, const char *from_host, const uint8_t *bytes,
                         size_t len, struct err *err);
void raft_backend_tick(struct raft_backend *b);

/* Run completions that were put off, now that no libraft function is on the stack. False: none. */
bool raft_backend_flush(struct raft_backend *b);

/* After raft_close: true when all has been answered and libraft has closed, once. */
bool raft_backend_finish_close(struct raft_backend *b);

/* NULL while the disk works. */
const struct err *raft_backend_failure(const struct raft_backend *b);
uint64_t raft_backend_group(const struct raft_backend *b);
/* The last entry in the snapshot that libraft restores just now. */
uint64_t raft_backend_restoring(const struct raft_backend *b);
uint64_t raft_backend_refused(const struct raft_backend *b);

/* The term of an entry of libraft's log; 0 when it is not there. */
uint64_t raft_backend_term_of(const struct raft *r, uint64_t index);

/* consensus_open over other seams; no timer runs: call consensus_tick every few ms of that clock.
 */
struct consensus_seams {
    struct raft_disk disk;
    struct raft_clock clock;
};

struct consensus_seams consensus_store_seams(struct store *store); /* and the real clock */

int consensus_open_over(const struct consensus_conf *conf, const struct consensus_seams *seams,
                        const struct consensus_callbacks *cb, struct consensus **ret,
                        struct err *err);
void consensus_tick(struct consensus *c);

#endif
