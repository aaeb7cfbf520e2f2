/* store.h - everything that an agent must not forget: one SQLite database, one storage thread.
 *
 * The loop thread builds batches and submits them; the storage thread writes them in the order of
 * submission, as many as wait in one transaction, and syncs before it answers; the answer runs on
 * the loop thread. A batch is written whole or not at all.
 *
 * Fails closed: after the first write that fails (disk full, I/O error, corruption) no later write
 * is accepted, every waiting one fails, reads go on, and on_fail tells the owner, who should end
 * the process: what the database then holds is exactly the prefix that was acknowledged, or one
 * transaction more.
 *
 * Not thread-safe: all functions belong to the loop thread. Callbacks never run inside a call. */
#ifndef SKEIN_AGENT_IO_STORE_H
#define SKEIN_AGENT_IO_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proto/err.h"
#include "proto/hash.h"
#include "proto/merkle.h"
#include "proto/units.h"

struct store;
struct store_batch;

#define STORE_FILE "skein.db"      /* in an agent's state directory */
#define STORE_KEY_MAX 255          /* bytes of a key of journal, kv */
#define STORE_VALUE_MAX (2u << 20) /* bytes of a value, an audit record, a raft entry */
#define STORE_DOCUMENT_MAX                                                                         \
    (64u << 20) /* bytes of a snapshot, of either kind, before compression                         \
                 */

struct store_conf {
    const char *path;             /* of the database; its directory exists */
    uv_loop_t *loop;              /* borrowed until store_close has called back */
    unsigned snapshots_max;       /* retention of planner snapshots; 0: 512 */
    uint64_t snapshots_max_bytes; /* compressed; 0: 256 MiB. The newest stays in any case */
    void (*on_fail)(void *arg, const struct err *err); /* once, at the first failed write */
    void *arg;
};

/* Open or create, check the schema's version and migrate it. Blocks for as long as the disk takes.
 * ERR_CONFLICT: another process has it open. ERR_UNSUPPORTED: written by a newer version.
 * ERR_IO: not a database, corrupt, or the disk failed. */
int store_open(const struct store_conf *conf, struct store **ret, struct err *err);

/* Write what was submitted, answer it, close, then call closed (on the loop). */
void store_close(struct store *s, void (*closed)(void *arg), void *arg);

/* ---- writing ---- */

/* A batch copies what it is given. What breaks a limit is remembered: store_submit refuses it. */
struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *b); /* one that is not submitted after all */

void store_journal_put(struct store_batch *b, const char *key, const void *value, size_t len);
void store_journal_delete(struct store_batch *b, const char *key); /* absent: nothing happens */
void store_kv_put(struct store_batch *b, const char *key, const void *value, size_t len);
void store_kv_delete(struct store_batch *b, const char *key);
void store_audit_append(struct store_batch *b, msec at_wall, const char *record);
/* Stored compressed under its digest (hex); one that is there already becomes the newest. */
void store_snapshot_put(struct store_batch *b, const char *digest, msec at_wall, const void *data,
                        size_t len);

/* err is NULL when the batch is on the disk. */
typedef void (*store_done_cb)(void *arg, const struct err *err);

/* Takes the batch in every case. cb may be NULL. Returns 0 and answers later; or refuses now:
 * ERR_INVALID (a limit broken), ERR_LIMIT (too much waits to be written), ERR_IO (failed). */
int store_submit(struct store *s, struct store_batch *b, store_done_cb cb, void *arg,
                 struct err *err);

/* The same, but returns when it is on the disk. For raft's term and vote, and for tests. */
int store_submit_wait(struct store *s, struct store_batch *b, struct err *err);

bool store_failed(const struct store *s);
size_t store_pending(const struct store *s); /* requests not yet answered */

/* ---- reading at start: these block ---- */

/* Calls each for every journal entry in the order of keys; stops at a negative answer, which is
 * returned. */
int store_journal_load(struct store *s,
                       int (*each)(void *arg, const char *key, const void *value, size_t len),
                       void *arg, struct err *err);

/* ret_value is the caller's to free. ERR_NOT_FOUND. */
int store_kv_get(struct store *s, const char *key, void **ret_value, size_t *ret_len,
                 struct err *err);

/* ---- the audit: an append-only log under a Merkle tree (proto/merkle.h) ----
 * A leaf is a record's text, byte for byte; seq counts from 1 without gaps and is leaf seq - 1. */

struct store_audit_entry {
    uint64_t seq;
    msec at_wall;
    uint8_t hash[HASH_SIZE]; /* of the leaf */
    const char *record;
};

/* What is on the disk: how many records, and the root over them. */
void store_audit_head(const struct store *s, uint64_t *ret_size, uint8_t ret_root[HASH_SIZE]);

/* Entries from seq on, at most limit (capped at 1000). They live for the callback only. */
typedef void (*store_audit_cb)(void *arg, const struct err *err,
                               const struct store_audit_entry *entries, size_t n);
int store_audit_list(struct store *s, uint64_t from_seq, size_t limit, store_audit_cb cb, void *arg,
                     struct err *err);

/* proof lives for the callback only. INCLUSION: of leaf from (an index) in the first size;
 * CONSISTENCY: of the first size with the first from. ERR_INVALID when there is none. */
enum store_proof { STORE_PROOF_INCLUSION, STORE_PROOF_CONSISTENCY };

typedef void (*store_proof_cb)(void *arg, const struct err *err, const struct merkle_proof *proof);
int store_audit_proof(struct store *s, enum store_proof kind, uint64_t from, uint64_t size,
                      store_proof_cb cb, void *arg, struct err *err);

/* What somebody signed of this log earlier. */
struct audit_expect {
    uint64_t size;
    uint8_t root[HASH_SIZE];
    const char *who; /* for the message */
};

struct audit_verdict {
    uint64_t entries;        /* that hold */
    uint64_t broken_seq;     /* the first that does not; 0 when all hold */
    uint8_t root[HASH_SIZE]; /* over those that hold */
};

/* Recompute the log of a database, which may be in use, and hold it against what was signed
 * (ordered by size). 0: it holds. ERR_CONFLICT: it does not, from ret->broken_seq on or somewhere
 * before it, and the message says how. Other codes: it could not be read. */
int audit_verify(const char *path, const struct audit_expect *expect, size_t n_expect,
                 struct audit_verdict *ret, struct err *err);

/* ---- the planner's snapshots ---- */

struct store_snapshot_info {
    char digest[HASH_HEX_SIZE];
    msec at_wall;
    uint64_t stored_bytes;
};

/* data lives for the callback only. ERR_NOT_FOUND. */
typedef void (*store_data_cb)(void *arg, const struct err *err, const void *data, size_t len);
int store_snapshot_get(struct store *s, const char *digest, store_data_cb cb, void *arg,
                       struct err *err);

/* Newest first. */
typedef void (*store_snapshots_cb)(void *arg, const struct err *err,
                                   const struct store_snapshot_info *infos, size_t n);
int store_snapshot_list(struct store *s, size_t limit, store_snapshots_cb cb, void *arg,
                        struct err *err);

/* ---- raft's log: for raft_io.c only ---- */

struct store_raft_entry {
    uint64_t index, term;
    unsigned type;
    void *data; /* owned */
    size_t len;
};

struct store_raft_snapshot {
    uint64_t index, term; /* index 0: there is none */
    void *config;         /* owned */
    size_t config_len;
    void *data; /* owned */
    size_t len;
};

struct store_raft_state {
    uint64_t term, vote; /* 0, 0: nothing was ever stored */
    struct store_raft_snapshot snapshot;
    struct store_raft_entry *entries; /* without gaps, in order */
    size_t n_entries;
};

void store_raft_set(struct store_batch *b, uint64_t term, uint64_t vote);
void store_raft_append(struct store_batch *b, uint64_t index, uint64_t term, unsigned type,
                       const void *data, size_t len);
void store_raft_truncate(struct store_batch *b, uint64_t from_index); /* it and all after */
/* Replaces the snapshot; entries before keep_from go. */
void store_raft_snapshot_put(struct store_batch *b, uint64_t index, uint64_t term,
                             const void *config, size_t config_len, const void *data, size_t len,
                             uint64_t keep_from);

int store_raft_load(struct store *s, struct store_raft_state *ret, struct err *err);
void store_raft_state_done(struct store_raft_state *state);

/* snap lives for the callback only, except members taken with TAKE_PTR. ERR_NOT_FOUND. */
typedef void (*store_raft_snapshot_cb)(void *arg, const struct err *err,
                                       struct store_raft_snapshot *snap);
int store_raft_snapshot_get(struct store *s, store_raft_snapshot_cb cb, void *arg, struct err *err);

#endif
