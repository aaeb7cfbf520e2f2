/* The audit: records are the leaves of a Merkle tree whose nodes are kept beside them, so that a
 * root and a proof cost some 20 rows; and the walk that needs nothing but the file. */
#include <string.h>

#include "agent/io/store_db.h"
#include "proto/util.h"

/* ---- nodes ---- */

static int node_put(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_SIZE],
                    struct err *err)
{
    struct store_db *db = arg;
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_AUDIT_NODE_PUT, err);
    if (s == NULL)
        return -ERR_IO;
    sqlite3_bind_int64(s, 1, level);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)index);
    sqlite3_bind_blob(s, 3, hash, HASH_SIZE, SQLITE_STATIC);
    return sqlite3_step(s) == SQLITE_DONE ? 0 : store_db_error(db, "write the audit's tree", err);
}

static int node_get(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_SIZE],
                    struct err *err)
{
    struct store_db *db = arg;
    _cleanup_reset_ sqlite3_stmt *s =
        store_db_statement(db, level == 0 ? STORE_SQL_AUDIT_LEAF : STORE_SQL_AUDIT_NODE, err);
    if (s == NULL)
        return -ERR_IO;
    sqlite3_bind_int64(s, 1, level == 0 ? (sqlite3_int64)index : (sqlite3_int64)level);
    if (level > 0)
        sqlite3_bind_int64(s, 2, (sqlite3_int64)index);
    if (sqlite3_step(s) != SQLITE_ROW || sqlite3_column_bytes(s, 0) != HASH_SIZE)
        return err_set(err, ERR_NOT_FOUND, "%s: the audit's tree lacks node %u/%llu", db->path,
                       level, (unsigned long long)index);
    memcpy(ret, sqlite3_column_blob(s, 0), HASH_SIZE);
    return 0;
}

/* ---- opening ---- */

static int load_peaks(struct store_db *db, uint64_t size, struct merkle_tree *ret, struct err *err)
{
    struct merkle_tree tree = {.size = size};
    for (unsigned level = 0; level < 63; level++) {
        if ((size >> level & 1) == 0)
            continue;
        int rc = node_get(db, level, (size >> level) - 1, tree.peaks[level], err);
        if (rc < 0)
            return rc;
    }
    *ret = tree;
    return 0;
}

/* The nodes once more from the leaves: after the schema's change, or when some were lost. */
static int rebuild(struct store_db *db, uint64_t size, struct merkle_tree *ret, struct err *err)
{
    struct merkle_tree tree = {0};
    uint8_t leaf[HASH_SIZE];
    int rc = store_db_begin(db, err);
    for (uint64_t i = 0; i < size && rc >= 0; i++) {
        rc = node_get(db, 0, i, leaf, err);
        if (rc >= 0)
            rc = merkle_append(&tree, leaf, node_put, db, err);
    }
    if (rc >= 0)
        rc = store_db_commit(db, err);
    if (rc < 0) {
        store_db_rollback(db);
        return rc;
    }
    *ret = tree;
    return 0;
}

int store_db_audit_load(struct store_db *db, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_AUDIT_SIZE, err);
    if (s == NULL)
        return -ERR_IO;
    if (sqlite3_step(s) != SQLITE_ROW)
        return store_db_error(db, "read the audit's end", err);
    uint64_t size = (uint64_t)sqlite3_column_int64(s, 0);
    store_db_reset(&s);
    struct err lost = {0};
    if (load_peaks(db, size, &db->audit, &lost) == 0)
        return 0;
    return rebuild(db, size, &db->audit, err);
}

static void leaf_function(sqlite3_context *context, int n, sqlite3_value **values)
{
    uint8_t hash[HASH_SIZE];
    (void)n;
    const void *text = sqlite3_value_text(values[0]);
    merkle_leaf(text, (size_t)sqlite3_value_bytes(values[0]), hash);
    sqlite3_result_blob(context, hash, HASH_SIZE, SQLITE_TRANSIENT);
}

void store_db_audit_functions(struct store_db *db)
{
    sqlite3_create_function(db->sql, "skein_leaf", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            leaf_function, NULL, NULL);
}

/* ---- appending, and what is asked of it ---- */

int store_db_audit_append(struct store_db *db, sqlite3_stmt *s, const struct store_op *op,
                          struct err *err)
{
    uint8_t hash[HASH_SIZE];
    merkle_leaf(op->data, op->len, hash);
    sqlite3_bind_int64(s, 1, (sqlite3_int64)db->audit.size + 1);
    sqlite3_bind_int64(s, 2, op->at_wall);
    sqlite3_bind_blob(s, 3, hash, HASH_SIZE, SQLITE_STATIC);
    sqlite3_bind_text64(s, 4, (const char *)op->data, op->len, SQLITE_STATIC, SQLITE_UTF8);
    if (sqlite3_step(s) != SQLITE_DONE)
        return store_db_error(db, "append to the audit", err);
    return merkle_append(&db->audit, hash, node_put, db, err);
}

void store_db_audit_head(const struct store_db *db, uint64_t *ret_size, uint8_t ret_root[HASH_SIZE])
{
    *ret_size = db->audit.size;
    merkle_root(&db->audit, ret_root);
}

int store_db_audit_proof(struct store_db *db, enum store_proof kind, uint64_t from, uint64_t size,
                         struct merkle_proof *ret, struct err *err)
{
    if (size > db->audit.size)
        return err_set(err, ERR_INVALID, "the audit has %llu records, not %llu",
                       (unsigned long long)db->audit.size, (unsigned long long)size);
    return kind == STORE_PROOF_INCLUSION ? merkle_inclusion(node_get, db, from, size, ret, err)
                                         : merkle_consistency(node_get, db, from, size, ret, err);
}

/* ---- the walk ---- */

struct walk {
    const char *path;
    sqlite3 *db;
    sqlite3_stmt *rows, *node;
    struct merkle_tree tree;
    const struct audit_expect *expect;
    size_t n_expect;
};

/* Every node that the records make is the one that is kept: proofs come from those. */
static int same_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_SIZE],
                     struct err *err)
{
    struct walk *w = arg;
    sqlite3_bind_int64(w->node, 1, level);
    sqlite3_bind_int64(w->node, 2, (sqlite3_int64)index);
    bool same = sqlite3_step(w->node) == SQLITE_ROW &&
                sqlite3_column_bytes(w->node, 0) == HASH_SIZE &&
                memcmp(sqlite3_column_blob(w->node, 0), hash, HASH_SIZE) == 0;
    sqlite3_reset(w->node);
    return same ? 0 : err_set(err, ERR_CONFLICT, "completes a node of the tree that differs");
}

static int take_row(struct walk *w, struct err *err)
{
    uint8_t hash[HASH_SIZE];
    const char *record = (const char *)sqlite3_column_text(w->rows, 2);
    size_t len = (size_t)sqlite3_column_bytes(w->rows, 2);
    if ((uint64_t)sqlite3_column_int64(w->rows, 0) != w->tree.size + 1)
        return err_set(err, ERR_CONFLICT, "is missing");
    if (record == NULL || strlen(record) != len)
        return err_set(err, ERR_CONFLICT, "has a damaged record");
    merkle_leaf(record, len, hash);
    if (sqlite3_column_bytes(w->rows, 1) != HASH_SIZE ||
        memcmp(sqlite3_column_blob(w->rows, 1), hash, HASH_SIZE) != 0)
        return err_set(err, ERR_CONFLICT, "was changed: its hash differs");
    return merkle_append(&w->tree, hash, same_node, w, err);
}

/* What was signed when the log was as long as it is now. */
static int meet_expectations(struct walk *w, struct err *err)
{
    uint8_t root[HASH_SIZE];
    for (; w->n_expect > 0 && w->expect->size == w->tree.size; w->n_expect--, w->expect++) {
        merkle_root(&w->tree, root);
        if (memcmp(root, w->expect->root, HASH_SIZE) != 0)
            return err_set(err, ERR_CONFLICT, "or one before it is not what %s", w->expect->who);
    }
    return 0;
}

static int broken(struct walk *w, uint64_t seq, struct audit_verdict *ret, struct err *err)
{
    struct err how = *err;
    ret->broken_seq = seq;
    ret->entries = seq - 1;
    return err_set(err, how.code, "%s: audit entry %llu %s", w->path, (unsigned long long)seq,
                   how.msg);
}

static int walk(struct walk *w, struct audit_verdict *ret, struct err *err)
{
    int rc;
    while ((rc = sqlite3_step(w->rows)) == SQLITE_ROW) {
        uint64_t seq = w->tree.size + 1;
        if (take_row(w, err) < 0 || meet_expectations(w, err) < 0)
            return broken(w, seq, ret, err);
        ret->entries = seq;
        merkle_root(&w->tree, ret->root);
    }
    if (rc != SQLITE_DONE)
        return err_set(err, ERR_IO, "%s: read the audit: %s", w->path, sqlite3_errmsg(w->db));
    if (w->n_expect == 0)
        return 0;
    err_set(err, ERR_CONFLICT, "is missing: %llu records are what %s",
            (unsigned long long)w->expect->size, w->expect->who);
    return broken(w, w->tree.size + 1, ret, err);
}

int audit_verify(const char *path, const struct audit_expect *expect, size_t n_expect,
                 struct audit_verdict *ret, struct err *err)
{
    static const char rows[] = "SELECT seq, hash, record FROM audit ORDER BY seq";
    static const char node[] = "SELECT hash FROM audit_node WHERE level = ?1 AND idx = ?2";
    struct walk w = {.path = path, .expect = expect, .n_expect = n_expect};
    int rv, flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
    *ret = (struct audit_verdict){0};
    merkle_root(&w.tree, ret->root);
    for (; w.n_expect > 0 && w.expect->size == 0; w.n_expect--)
        w.expect++;
    if (sqlite3_open_v2(path, &w.db, flags, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(w.db, 5000) != SQLITE_OK ||
        sqlite3_exec(w.db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK || /* one moment of it */
        sqlite3_prepare_v2(w.db, rows, -1, &w.rows, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(w.db, node, -1, &w.node, NULL) != SQLITE_OK)
        rv = err_set(err, ERR_IO, "%s: %s", path, sqlite3_errmsg(w.db));
    else
        rv = walk(&w, ret, err);
    sqlite3_finalize(w.rows);
    sqlite3_finalize(w.node);
    sqlite3_close(w.db);
    return rv;
}
