/* Opening, the schema and its migrations, and every write. */
#include "agent/io/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <zstd.h>

#include "proto/util.h"

#define APPLICATION_ID 0x534b4549 /* "SKEI": the database is ours */
#define SNAPSHOTS_MAX 512
#define SNAPSHOTS_MAX_BYTES (256ull << 20)
#define BUSY_MS 5000 /* a reader of the audit may hold up a checkpoint, never for long */

/* Step i brings a database of version i to version i + 1. Never change one that was released. */
static const char *const migrations[] = {
    "CREATE TABLE raft_log(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, type INTEGER NOT NULL,"
    " data BLOB NOT NULL, sum BLOB NOT NULL);"
    "CREATE TABLE raft_meta(id INTEGER PRIMARY KEY CHECK(id = 1), term INTEGER NOT NULL,"
    " vote INTEGER NOT NULL);"
    "CREATE TABLE raft_snapshot(id INTEGER PRIMARY KEY CHECK(id = 1), idx INTEGER NOT NULL,"
    " term INTEGER NOT NULL, config BLOB NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE journal(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, sum BLOB NOT NULL);"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, prev BLOB NOT NULL,"
    " hash BLOB NOT NULL, record TEXT NOT NULL);"
    "CREATE TABLE snapshots(digest TEXT PRIMARY KEY NOT NULL, at_ms INTEGER NOT NULL,"
    " serial INTEGER NOT NULL UNIQUE, data BLOB NOT NULL);"
    "CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;",

    /* The chain becomes a tree; its nodes are made when it is loaded. */
    "ALTER TABLE audit RENAME TO audit_1;"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, hash BLOB NOT NULL,"
    " record TEXT NOT NULL);"
    "CREATE TABLE audit_node(level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY(level, idx)) WITHOUT ROWID;"
    "INSERT INTO audit SELECT seq, at_ms, skein_leaf(record), record FROM audit_1 ORDER BY seq;"
    "DROP TABLE audit_1;",
};

#define SCHEMA_VERSION ((int)ARRAY_SIZE(migrations))

static const char *const statement_text[] = {
#define X(name, text) text,
    STORE_STATEMENTS(X)
#undef X
};

int store_db_error(struct store_db *db, const char *what, struct err *err)
{
    int rc = sqlite3_extended_errcode(db->sql);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return err_set(err, ERR_IO, "%s: %s: the disk is full", db->path, what);
    case SQLITE_CORRUPT:
        return err_set(err, ERR_IO, "%s: %s: the database is corrupt", db->path, what);
    case SQLITE_NOTADB:
        return err_set(err, ERR_IO, "%s: %s: this is not a database", db->path, what);
    case SQLITE_BUSY:
        return err_set(err, ERR_CONFLICT, "%s: %s: another process holds it", db->path, what);
    case SQLITE_NOMEM:
        return err_set(err, ERR_NO_MEMORY, "%s: %s: out of memory", db->path, what);
    default:
        return err_set(err, ERR_IO, "%s: %s: %s (%d)", db->path, what, sqlite3_errmsg(db->sql), rc);
    }
}

sqlite3_stmt *store_db_statement(struct store_db *db, enum store_statement which, struct err *err)
{
    sqlite3_stmt **slot = &db->statements[which];
    if (*slot == NULL && sqlite3_prepare_v3(db->sql, statement_text[which], -1,
                                            SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK)
        store_db_error(db, "prepare", err);
    return *slot;
}

void store_db_reset(sqlite3_stmt **statement)
{
    if (*statement == NULL)
        return;
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
}

/* ---- opening ---- */

/* Two agents on one state directory would each believe that they remember: never both. */
static int lock_path(struct store_db *db, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s.lock", db->path);
    db->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (db->lock < 0)
        return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(db->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_CONFLICT, "%s: another agent holds it", path);
    return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static int run(struct store_db *db, const char *sql, const char *what, struct err *err)
{
    if (sqlite3_exec(db->sql, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_db_error(db, what, err);
    return 0;
}

static int pragma_int(struct store_db *db, const char *sql, int *ret, struct err *err)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(db->sql, sql, -1, &s, NULL) == SQLITE_OK &&
              sqlite3_step(s) == SQLITE_ROW;
    if (ok)
        *ret = sqlite3_column_int(s, 0);
    int rv = ok ? 0 : store_db_error(db, "open", err);
    sqlite3_finalize(s);
    return rv;
}

static int set_up(struct store_db *db, struct err *err)
{
    sqlite3_busy_timeout(db->sql, BUSY_MS);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* FULL: a commit is on the disk when it returns. 1 MiB of cache is plenty for what is small. */
    return run(db,
               "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;"
               "PRAGMA journal_size_limit = 4194304; PRAGMA temp_store = MEMORY;"
               "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
               "open", err);
}

static int migrate_step(struct store_db *db, int from, struct err *err)
{
    _cleanup_(freep) char *sql = xasprintf(
        "BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
        migrations[from], APPLICATION_ID, from + 1);
    if (run(db, sql, "migrate", err) == 0)
        return 0;
    sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    return -(int)(err != NULL ? err->code : ERR_IO);
}

static int migrate(struct store_db *db, struct err *err)
{
    int version = 0, application = 0, tables = 0, rv;
    if ((rv = pragma_int(db, "PRAGMA user_version", &version, err)) < 0 ||
        (rv = pragma_int(db, "PRAGMA application_id", &application, err)) < 0 ||
        (rv = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err)) < 0)
        return rv;
    if (application != APPLICATION_ID && (tables > 0 || version != 0))
        return err_set(err, ERR_IO, "%s: a database of another program", db->path);
    if (version > SCHEMA_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: written by a newer skein (schema %d, this one knows %d)", db->path,
                       version, SCHEMA_VERSION);
    for (; version < SCHEMA_VERSION; version++)
        if ((rv = migrate_step(db, version, err)) < 0)
            return rv;
    return 0;
}

static int open_locked(struct store_db *db, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(db->path, &db->sql, flags, NULL) != SQLITE_OK)
        return store_db_error(db, "open", err);
    int rv;
    store_db_audit_functions(db);
    if ((rv = set_up(db, err)) < 0 || (rv = migrate(db, err)) < 0)
        return rv;
    return store_db_audit_load(db, err);
}

DEFINE_CLEANUP(struct store_db, store_db_close)

int store_db_open(const struct store_conf *conf, struct store_db **ret, struct err *err)
{
    _cleanup_(store_db_closep) struct store_db *db = xcalloc(1, sizeof *db);
    db->path = xstrdup(conf->path);
    db->lock = -1;
    db->snapshots_max = conf->snapshots_max > 0 ? conf->snapshots_max : SNAPSHOTS_MAX;
    db->snapshots_max_bytes =
        conf->snapshots_max_bytes > 0 ? conf->snapshots_max_bytes : SNAPSHOTS_MAX_BYTES;
    int rv;
    if ((rv = lock_path(db, err)) < 0 || (rv = open_locked(db, err)) < 0)
        return rv;
    *ret = TAKE_PTR(db);
    return 0;
}

void store_db_close(struct store_db *db)
{
    for (size_t i = 0; i < STORE_STATEMENT_COUNT; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sql);
    if (db->lock >= 0)
        close(db->lock);
    free(db->path);
    free(db);
}

/* ---- sums, compression ---- */

static void sum_of(const char *domain, const struct buf *b, uint8_t ret[STORE_SUM_SIZE])
{
    uint8_t hash[HASH_SIZE];
    hash_domain(domain, b->data, b->len, hash);
    memcpy(ret, hash, STORE_SUM_SIZE);
}

void store_db_entry_sum(uint64_t index, uint64_t term, unsigned type, const void *data, size_t len,
                        uint8_t ret[STORE_SUM_SIZE])
{
    _cleanup_(buf_done) struct buf b = {0};
    buf_addf(&b, "%llu %llu %u ", (unsigned long long)index, (unsigned long long)term, type);
    buf_add(&b, data, len);
    sum_of("skein.raft-entry/1", &b, ret);
}

void store_db_journal_sum(const char *key, const void *value, size_t len,
                          uint8_t ret[STORE_SUM_SIZE])
{
    _cleanup_(buf_done) struct buf b = {0};
    buf_add(&b, key, strlen(key) + 1);
    buf_add(&b, value, len);
    sum_of("skein.journal/1", &b, ret);
}

int store_compress(const void *data, size_t len, void **ret, size_t *ret_len, struct err *err)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    if (ctx == NULL)
        return err_set(err, ERR_NO_MEMORY, "compression: out of memory");
    ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, 1);
    size_t cap = ZSTD_compressBound(len);
    void *out = xmalloc(MAX(cap, (size_t)1));
    size_t n = ZSTD_compress2(ctx, out, cap, data, len);
    ZSTD_freeCCtx(ctx);
    if (ZSTD_isError(n)) {
        free(out);
        return err_set(err, ERR_NO_MEMORY, "compression: %s", ZSTD_getErrorName(n));
    }
    *ret = xrealloc(out, MAX(n, (size_t)1), 1);
    *ret_len = n;
    return 0;
}

int store_uncompress(const void *data, size_t len, void **ret, size_t *ret_len, struct err *err)
{
    unsigned long long size = ZSTD_getFrameContentSize(data, len);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN ||
        size > STORE_DOCUMENT_MAX)
        return err_set(err, ERR_IO, "a stored snapshot is damaged");
    _cleanup_(freep) void *out = xmalloc(size + 1);
    size_t n = ZSTD_decompress(out, size, data, len);
    if (ZSTD_isError(n) || n != size)
        return err_set(err, ERR_IO, "a stored snapshot is damaged");
    ((char *)out)[n] = '\0';
    *ret = TAKE_PTR(out);
    *ret_len = n;
    return 0;
}

/* ---- writing ---- */

static int finish(struct store_db *db, sqlite3_stmt *s, const char *what, struct err *err)
{
    return sqlite3_step(s) == SQLITE_DONE ? 0 : store_db_error(db, what, err);
}

static int simple(struct store_db *db, enum store_statement which, const char *what,
                  struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, which, err);
    return s == NULL ? -ERR_IO : finish(db, s, what, err);
}

int store_db_begin(struct store_db *db, struct err *err)
{
    return simple(db, STORE_SQL_BEGIN, "begin", err);
}

int store_db_commit(struct store_db *db, struct err *err)
{
    return simple(db, STORE_SQL_COMMIT, "commit", err);
}

void store_db_rollback(struct store_db *db)
{
    if (sqlite3_get_autocommit(db->sql) == 0)
        simple(db, STORE_SQL_ROLLBACK, "rollback", NULL);
}

/* Blobs of length 0 are still blobs, not NULL. */
static void bind_bytes(sqlite3_stmt *s, int at, const void *data, size_t len)
{
    sqlite3_bind_blob64(s, at, len > 0 ? data : "", len, SQLITE_STATIC);
}

static int put_journal(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                       struct err *err)
{
    uint8_t sum[STORE_SUM_SIZE];
    store_db_journal_sum(op->key, op->data, op->len, sum);
    sqlite3_bind_text(s, 1, op->key, -1, SQLITE_STATIC);
    bind_bytes(s, 2, op->data, op->len);
    bind_bytes(s, 3, sum, sizeof sum);
    return finish(db, s, "write the journal", err);
}

static int put_kv(struct store_db *db, sqlite3_stmt *s, const struct store_op *op, struct err *err)
{
    sqlite3_bind_text(s, 1, op->key, -1, SQLITE_STATIC);
    bind_bytes(s, 2, op->data, op->len);
    return finish(db, s, "write a value", err);
}

static int delete_key(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                      struct err *err)
{
    sqlite3_bind_text(s, 1, op->key, -1, SQLITE_STATIC);
    return finish(db, s, "delete a key", err);
}

/* Delete with a number as the only parameter. */
static int delete_by(struct store_db *db, enum store_statement which, uint64_t number,
                     const char *what, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, which, err);
    if (s == NULL)
        return -ERR_IO;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)number);
    return finish(db, s, what, err);
}

static int put_snapshot(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                        struct err *err)
{
    _cleanup_(freep) void *packed = NULL;
    size_t len;
    int rv = store_compress(op->data, op->len, &packed, &len, err);
    if (rv < 0)
        return rv;
    sqlite3_bind_text(s, 1, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, op->at_wall);
    bind_bytes(s, 3, packed, len);
    if ((rv = finish(db, s, "write a snapshot", err)) < 0 ||
        (rv = delete_by(db, STORE_SQL_SNAPSHOT_AGE, db->snapshots_max, "drop snapshots", err)) < 0)
        return rv;
    return delete_by(db, STORE_SQL_SNAPSHOT_FIT, db->snapshots_max_bytes, "drop snapshots", err);
}

static int set_raft(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                    struct err *err)
{
    sqlite3_bind_int64(s, 1, (sqlite3_int64)op->term);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)op->vote);
    return finish(db, s, "write raft's term", err);
}

static int append_raft(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                       struct err *err)
{
    uint8_t sum[STORE_SUM_SIZE];
    store_db_entry_sum(op->index, op->term, op->type, op->data, op->len, sum);
    sqlite3_bind_int64(s, 1, (sqlite3_int64)op->index);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)op->term);
    sqlite3_bind_int64(s, 3, op->type);
    bind_bytes(s, 4, op->data, op->len);
    bind_bytes(s, 5, sum, sizeof sum);
    return finish(db, s, "append to raft's log", err);
}

static int truncate_raft(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                         struct err *err)
{
    sqlite3_bind_int64(s, 1, (sqlite3_int64)op->index);
    return finish(db, s, "truncate raft's log", err);
}

static int put_raft_snapshot(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                             struct err *err)
{
    _cleanup_(freep) void *packed = NULL;
    size_t len;
    int rv = store_compress(op->data, op->len, &packed, &len, err);
    if (rv < 0)
        return rv;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)op->index);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)op->term);
    bind_bytes(s, 3, op->config, op->config_len);
    bind_bytes(s, 4, packed, len);
    if ((rv = finish(db, s, "write raft's snapshot", err)) < 0)
        return rv;
    return delete_by(db, STORE_SQL_RAFT_COMPACT, op->keep_from, "compact raft's log", err);
}

static const struct {
    enum store_statement statement;
    int (*write)(struct store_db *db, sqlite3_stmt *s, const struct store_op *op, struct err *err);
} writers[] = {
    [STORE_JOURNAL_PUT] = {STORE_SQL_JOURNAL_PUT, put_journal},
    [STORE_JOURNAL_DELETE] = {STORE_SQL_JOURNAL_DELETE, delete_key},
    [STORE_KV_PUT] = {STORE_SQL_KV_PUT, put_kv},
    [STORE_KV_DELETE] = {STORE_SQL_KV_DELETE, delete_key},
    [STORE_AUDIT] = {STORE_SQL_AUDIT_APPEND, store_db_audit_append},
    [STORE_SNAPSHOT] = {STORE_SQL_SNAPSHOT_PUT, put_snapshot},
    [STORE_RAFT_SET] = {STORE_SQL_RAFT_SET, set_raft},
    [STORE_RAFT_APPEND] = {STORE_SQL_RAFT_APPEND, append_raft},
    [STORE_RAFT_TRUNCATE] = {STORE_SQL_RAFT_TRUNCATE, truncate_raft},
    [STORE_RAFT_SNAPSHOT] = {STORE_SQL_RAFT_SNAPSHOT_PUT, put_raft_snapshot},
};

int store_db_apply(struct store_db *db, const struct store_op *op, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, writers[op->kind].statement, err);
    return s == NULL ? -ERR_IO : writers[op->kind].write(db, s, op, err);
}
