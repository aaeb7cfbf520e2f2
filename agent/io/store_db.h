/* store_db.h - the database behind store.c: schema, statements, one function a question.
 * Used by one thread at a time: by the storage thread, once it runs. */
#ifndef SKEIN_AGENT_IO_STORE_DB_H
#define SKEIN_AGENT_IO_STORE_DB_H

#include <sqlite3.h>

#include "agent/io/store.h"

enum store_op_kind {
    STORE_JOURNAL_PUT,
    STORE_JOURNAL_DELETE,
    STORE_KV_PUT,
    STORE_KV_DELETE,
    STORE_AUDIT,
    STORE_SNAPSHOT,
    STORE_RAFT_SET,
    STORE_RAFT_APPEND,
    STORE_RAFT_TRUNCATE,
    STORE_RAFT_SNAPSHOT,
};

struct store_op {
    enum store_op_kind kind;
    unsigned type;              /* of a raft entry */
    uint64_t index, term, vote; /* raft */
    uint64_t keep_from;         /* RAFT_SNAPSHOT */
    msec at_wall;               /* AUDIT, SNAPSHOT */
    char *key;                  /* owned; journal, kv; SNAPSHOT: digest */
    uint8_t *data;              /* owned; value, record, entry, document */
    size_t len;
    uint8_t *config; /* owned; RAFT_SNAPSHOT */
    size_t config_len;
};

struct store_batch {
    struct store_op *ops;
    size_t n, cap;
    size_t bytes;   /* of all ops, with something for their bookkeeping */
    bool raft;      /* has raft's operations, which bound themselves */
    struct err err; /* the first limit broken; code ERR_OK: none */
};

/* Statements are prepared at first use and kept. */
#define STORE_STATEMENTS(X)                                                                        \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(JOURNAL_PUT, "INSERT OR REPLACE INTO journal(key, value, sum) VALUES(?1, ?2, ?3)")           \
    X(JOURNAL_DELETE, "DELETE FROM journal WHERE key = ?1")                                        \
    X(JOURNAL_ALL, "SELECT key, value, sum FROM journal ORDER BY key")                             \
    X(KV_PUT, "INSERT OR REPLACE INTO kv(key, value) VALUES(?1, ?2)")                              \
    X(KV_DELETE, "DELETE FROM kv WHERE key = ?1")                                                  \
    X(KV_GET, "SELECT value FROM kv WHERE key = ?1")                                               \
    X(AUDIT_APPEND, "INSERT INTO audit(seq, at_ms, hash, record) VALUES(?1, ?2, ?3, ?4)")          \
    X(AUDIT_SIZE, "SELECT coalesce(max(seq), 0) FROM audit")                                       \
    X(AUDIT_FROM, "SELECT seq, at_ms, hash, record FROM audit WHERE seq >= ?1"                     \
                  " ORDER BY seq LIMIT ?2")                                                        \
    X(AUDIT_LEAF, "SELECT hash FROM audit WHERE seq = ?1 + 1")                                     \
    X(AUDIT_NODE, "SELECT hash FROM audit_node WHERE level = ?1 AND idx = ?2")                     \
    X(AUDIT_NODE_PUT, "INSERT OR REPLACE INTO audit_node(level, idx, hash) VALUES(?1, ?2, ?3)")    \
    X(SNAPSHOT_PUT, "INSERT OR REPLACE INTO snapshots(digest, at_ms, serial, data)"                \
                    " VALUES(?1, ?2, (SELECT coalesce(max(serial), 0) + 1 FROM snapshots), ?3)")   \
    X(SNAPSHOT_AGE, "DELETE FROM snapshots WHERE serial IN"                                        \
                    " (SELECT serial FROM snapshots ORDER BY serial DESC LIMIT -1 OFFSET ?1)")     \
    X(SNAPSHOT_FIT,                                                                                \
      "DELETE FROM snapshots WHERE serial IN (SELECT serial FROM"                                  \
      " (SELECT serial, sum(length(data)) OVER (ORDER BY serial DESC) AS total FROM snapshots)"    \
      " WHERE total > ?1 AND serial < (SELECT max(serial) FROM snapshots))")                       \
    X(SNAPSHOT_GET, "SELECT data FROM snapshots WHERE digest = ?1")                                \
    X(SNAPSHOT_LIST, "SELECT digest, at_ms, length(data) FROM snapshots"                           \
                     " ORDER BY serial DESC LIMIT ?1")                                             \
    X(RAFT_SET, "INSERT OR REPLACE INTO raft_meta(id, term, vote) VALUES(1, ?1, ?2)")              \
    X(RAFT_META, "SELECT term, vote FROM raft_meta WHERE id = 1")                                  \
    X(RAFT_APPEND, "INSERT INTO raft_log(idx, term, type, data, sum)"                              \
                   " VALUES(?1, ?2, ?3, ?4, ?5)")                                                  \
    X(RAFT_TRUNCATE, "DELETE FROM raft_log WHERE idx >= ?1")                                       \
    X(RAFT_COMPACT, "DELETE FROM raft_log WHERE idx < ?1")                                         \
    X(RAFT_ENTRIES, "SELECT idx, term, type, data, sum FROM raft_log ORDER BY idx")                \
    X(RAFT_SNAPSHOT_PUT, "INSERT OR REPLACE INTO raft_snapshot(id, idx, term, config, data)"       \
                         " VALUES(1, ?1, ?2, ?3, ?4)")                                             \
    X(RAFT_SNAPSHOT_GET, "SELECT idx, term, config, data FROM raft_snapshot WHERE id = 1")

enum store_statement {

#define X(name, sql) STORE_SQL_##name,
    STORE_STATEMENTS(X)
#undef X
        STORE_STATEMENT_COUNT
};

#define STORE_SUM_SIZE 8

struct store_db {
    sqlite3 *sql;
    char *path;
    int lock; /* descriptor of PATH.lock, locked for as long as it is open */
    unsigned snapshots_max;
    uint64_t snapshots_max_bytes;
    struct merkle_tree audit; /* as of the last operation applied */
    sqlite3_stmt *statements[STORE_STATEMENT_COUNT];
};

/* A statement ready for its parameters; NULL with err set. Give it back with store_db_reset. */
sqlite3_stmt *store_db_statement(struct store_db *db, enum store_statement which, struct err *err);
void store_db_reset(sqlite3_stmt **statement);
#define _cleanup_reset_ _cleanup_(store_db_reset)
/* What SQLite reported last, as an error: "PATH: WHAT: ...". Returns a negative code. */
int store_db_error(struct store_db *db, const char *what, struct err *err);

/* The sums that guard a row against rot that SQLite does not see. */
void store_db_entry_sum(uint64_t index, uint64_t term, unsigned type, const void *data, size_t len,
                        uint8_t ret[STORE_SUM_SIZE]);
void store_db_journal_sum(const char *key, const void *value, size_t len,
                          uint8_t ret[STORE_SUM_SIZE]);

/* Compressed with a checksum; the caller frees. */
int store_compress(const void *data, size_t len, void **ret, size_t *ret_len, struct err *err);
int store_uncompress(const void *data, size_t len, void **ret, size_t *ret_len, struct err *err);

int store_db_open(const struct store_conf *conf, struct store_db **ret, struct err *err);
void store_db_close(struct store_db *db);

/* One transaction. A failed operation or commit rolls back, and all later writes fail. */
int store_db_begin(struct store_db *db, struct err *err);
int store_db_apply(struct store_db *db, const struct store_op *op, struct err *err);
int store_db_commit(struct store_db *db, struct err *err);
void store_db_rollback(struct store_db *db);

/* ---- the audit (store_audit.c) ---- */

int store_db_audit_load(struct store_db *db, struct err *err);
int store_db_audit_append(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                          struct err *err);
/* As of the last operation applied. */
void store_db_audit_head(const struct store_db *db, uint64_t *ret_size,
                         uint8_t ret_root[HASH_SIZE]);
int store_db_audit_proof(struct store_db *db, enum store_proof kind, uint64_t from, uint64_t size,
                         struct merkle_proof *ret, struct err *err);
/* For migrating: the SQL function skein_leaf(TEXT). */
void store_db_audit_functions(struct store_db *db);

/* A journal entry, in the order of keys; memory owned by the list. */
struct store_pair {
    char *key;
    void *value;
    size_t len;
};

struct store_pairs {
    struct store_pair *items;
    size_t n, cap;
};

void store_pairs_done(struct store_pairs *pairs);
int store_db_journal(struct store_db *db, struct store_pairs *ret, struct err *err);
int store_db_kv_get(struct store_db *db, const char *key, void **ret, size_t *ret_len,
                    struct err *err);

struct store_audit_entries {
    struct store_audit_entry *items; /* their records are owned */
    size_t n, cap;
};

void store_audit_entries_done(struct store_audit_entries *list);
int store_db_audit_list(struct store_db *db, uint64_t from_seq, size_t limit,
                        struct store_audit_entries *ret, struct err *err);

struct store_snapshot_infos {
    struct store_snapshot_info *items;
    size_t n, cap;
};

int store_db_snapshot_list(struct store_db *db, size_t limit, struct store_snapshot_infos *ret,
                           struct err *err);
int store_db_snapshot_get(struct store_db *db, const char *digest, void **ret, size_t *ret_len,
                          struct err *err);

int store_db_raft_load(struct store_db *db, struct store_raft_state *ret, struct err *err);
int store_db_raft_snapshot(struct store_db *db, struct store_raft_snapshot *ret, struct err *err);

#endif
