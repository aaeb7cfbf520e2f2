/* Every question asked of the database. What comes back from the disk is checked like any input. */
#include <string.h>

#include "agent/io/store_db.h"
#include "proto/util.h"

static void *column_copy(sqlite3_stmt *s, int at, size_t *ret_len)
{
    size_t len = (size_t)sqlite3_column_bytes(s, at);
    char *copy = xmalloc(len + 1);
    if (len > 0)
        memcpy(copy, sqlite3_column_blob(s, at), len);
    copy[len] = '\0';
    *ret_len = len;
    return copy;
}

static char *column_text(sqlite3_stmt *s, int at)
{
    size_t len;
    return column_copy(s, at, &len);
}

static bool sum_holds(sqlite3_stmt *s, int at, const uint8_t want[STORE_SUM_SIZE])
{
    return sqlite3_column_bytes(s, at) == STORE_SUM_SIZE &&
           memcmp(sqlite3_column_blob(s, at), want, STORE_SUM_SIZE) == 0;
}

/* ---- journal, kv ---- */

void store_pairs_done(struct store_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        free(pairs->items[i].key);
        free(pairs->items[i].value);
    }
    free(pairs->items);
    *pairs = (struct store_pairs){0};
}

static int add_pair(struct store_db *db, sqlite3_stmt *s, struct store_pairs *list, struct err *err)
{
    ARRAY_RESERVE(list->items, list->cap, list->n + 1);
    struct store_pair *pair = &list->items[list->n++];
    pair->key = column_text(s, 0);
    pair->value = column_copy(s, 1, &pair->len);
    uint8_t sum[STORE_SUM_SIZE];
    store_db_journal_sum(pair->key, pair->value, pair->len, sum);
    if (!sum_holds(s, 2, sum))
        return err_set(err, ERR_IO, "%s: the journal's entry %s is damaged", db->path, pair->key);
    return 0;
}

int store_db_journal(struct store_db *db, struct store_pairs *ret, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_JOURNAL_ALL, err);
    if (s == NULL)
        return -ERR_IO;
    _cleanup_(store_pairs_done) struct store_pairs list = {0};
    int rc, rv;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if ((rv = add_pair(db, s, &list, err)) < 0)
            return rv;
    if (rc != SQLITE_DONE)
        return store_db_error(db, "read the journal", err);
    *ret = list;
    list = (struct store_pairs){0};
    return 0;
}

/* The first row's statement for a text key; NULL with err set, NOT_FOUND included. */
static sqlite3_stmt *row_for(struct store_db *db, enum store_statement which, const char *key,
                             const char *what, struct err *err)
{
    sqlite3_stmt *s = store_db_statement(db, which, err);
    if (s == NULL)
        return NULL;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return s;
    if (rc == SQLITE_DONE)
        err_set(err, ERR_NOT_FOUND, "no %s %s", what, key);
    else
        store_db_error(db, what, err);
    store_db_reset(&s);
    return NULL;
}

int store_db_kv_get(struct store_db *db, const char *key, void **ret, size_t *ret_len,
                    struct err *err)
{
    struct err own;
    err = err != NULL ? err : &own;
    _cleanup_reset_ sqlite3_stmt *s = row_for(db, STORE_SQL_KV_GET, key, "value", err);
    if (s == NULL)
        return -(int)err->code;
    *ret = column_copy(s, 0, ret_len);
    return 0;
}

/* ---- audit ---- */

void store_audit_entries_done(struct store_audit_entries *list)
{
    for (size_t i = 0; i < list->n; i++)
        free((char *)list->items[i].record);
    free(list->items);
    *list = (struct store_audit_entries){0};
}

static int add_audit(struct store_db *db, sqlite3_stmt *s, struct store_audit_entries *list,
                     struct err *err)
{
    long long seq = sqlite3_column_int64(s, 0);
    if (sqlite3_column_bytes(s, 2) != HASH_SIZE)
        return err_set(err, ERR_IO, "%s: audit entry %lld is damaged", db->path, seq);
    ARRAY_RESERVE(list->items, list->cap, list->n + 1);
    struct store_audit_entry *e = &list->items[list->n++];
    e->seq = (uint64_t)seq;
    e->at_wall = sqlite3_column_int64(s, 1);
    memcpy(e->hash, sqlite3_column_blob(s, 2), HASH_SIZE);
    e->record = column_text(s, 3);
    return 0;
}

int store_db_audit_list(struct store_db *db, uint64_t from_seq, size_t limit,
                        struct store_audit_entries *ret, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_AUDIT_FROM, err);
    if (s == NULL)
        return -ERR_IO;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)MIN(from_seq, (uint64_t)INT64_MAX));
    sqlite3_bind_int64(s, 2, (sqlite3_int64)limit);
    _cleanup_(store_audit_entries_done) struct store_audit_entries list = {0};
    int rc, rv;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if ((rv = add_audit(db, s, &list, err)) < 0)
            return rv;
    if (rc != SQLITE_DONE)
        return store_db_error(db, "read the audit", err);
    *ret = list;
    list = (struct store_audit_entries){0};
    return 0;
}

/* ---- the planner's snapshots ---- */

int store_db_snapshot_list(struct store_db *db, size_t limit, struct store_snapshot_infos *ret,
                           struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_SNAPSHOT_LIST, err);
    if (s == NULL)
        return -ERR_IO;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)MIN(limit, (size_t)INT32_MAX));
    struct store_snapshot_infos list = {0};
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (sqlite3_column_bytes(s, 0) != HASH_HEX_SIZE - 1)
            continue; /* not written by store_snapshot_put */
        ARRAY_RESERVE(list.items, list.cap, list.n + 1);
        struct store_snapshot_info *info = &list.items[list.n++];
        memcpy(info->digest, sqlite3_column_text(s, 0), HASH_HEX_SIZE);
        info->at_wall = sqlite3_column_int64(s, 1);
        info->stored_bytes = (uint64_t)sqlite3_column_int64(s, 2);
    }
    if (rc != SQLITE_DONE) {
        free(list.items);
        return store_db_error(db, "list the snapshots", err);
    }
    *ret = list;
    return 0;
}

int store_db_snapshot_get(struct store_db *db, const char *digest, void **ret, size_t *ret_len,
                          struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = row_for(db, STORE_SQL_SNAPSHOT_GET, digest, "snapshot", err);
    if (s == NULL)
        return -(int)err->code;
    return store_uncompress(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0), ret,
                            ret_len, err);
}

/* ---- raft ---- */

static int raft_snapshot_row(sqlite3_stmt *s, struct store_raft_snapshot *ret, struct err *err)
{
    int64_t index = sqlite3_column_int64(s, 0), term = sqlite3_column_int64(s, 1);
    if (index < 1 || term < 1)
        return err_set(err, ERR_IO, "raft's stored snapshot is damaged");
    struct store_raft_snapshot snap = {.index = (uint64_t)index, .term = (uint64_t)term};
    int rv = store_uncompress(sqlite3_column_blob(s, 3), (size_t)sqlite3_column_bytes(s, 3),
                              &snap.data, &snap.len, err);
    if (rv < 0)
        return rv;
    snap.config = column_copy(s, 2, &snap.config_len);
    *ret = snap;
    return 0;
}

int store_db_raft_snapshot(struct store_db *db, struct store_raft_snapshot *ret, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_RAFT_SNAPSHOT_GET, err);
    if (s == NULL)
        return -ERR_IO;
    int rc = sqlite3_step(s);
    if (rc == SQLITE_DONE)
        return err_set(err, ERR_NOT_FOUND, "no snapshot of raft's log");
    if (rc != SQLITE_ROW)
        return store_db_error(db, "read raft's snapshot", err);
    int rv = raft_snapshot_row(s, ret, err);
    return rv < 0 ? err_wrap(err, "%s", db->path) : 0;
}

static int load_meta(struct store_db *db, struct store_raft_state *state, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_RAFT_META, err);
    if (s == NULL)
        return -ERR_IO;
    int rc = sqlite3_step(s);
    if (rc == SQLITE_DONE)
        return 0;
    if (rc != SQLITE_ROW)
        return store_db_error(db, "read raft's term", err);
    state->term = (uint64_t)sqlite3_column_int64(s, 0);
    state->vote = (uint64_t)sqlite3_column_int64(s, 1);
    return 0;
}

static int add_entry(struct store_db *db, sqlite3_stmt *s, struct store_raft_state *state,
                     size_t *cap, struct err *err)
{
    ARRAY_RESERVE(state->entries, *cap, state->n_entries + 1);
    struct store_raft_entry *e = &state->entries[state->n_entries++];
    e->index = (uint64_t)sqlite3_column_int64(s, 0);
    e->term = (uint64_t)sqlite3_column_int64(s, 1);
    e->type = (unsigned)sqlite3_column_int(s, 2);
    e->data = column_copy(s, 3, &e->len);
    uint8_t sum[STORE_SUM_SIZE];
    store_db_entry_sum(e->index, e->term, e->type, e->data, e->len, sum);
    if (!sum_holds(s, 4, sum))
        return err_set(err, ERR_IO, "%s: entry %llu of raft's log is damaged", db->path,
                       (unsigned long long)e->index);
    if (state->n_entries > 1 && (e->index != e[-1].index + 1 || e->term < e[-1].term))
        return err_set(err, ERR_IO, "%s: raft's log has a gap before entry %llu", db->path,
                       (unsigned long long)e->index);
    return 0;
}

static int load_entries(struct store_db *db, struct store_raft_state *state, struct err *err)
{
    _cleanup_reset_ sqlite3_stmt *s = store_db_statement(db, STORE_SQL_RAFT_ENTRIES, err);
    if (s == NULL)
        return -ERR_IO;
    size_t cap = 0;
    int rc, rv;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if ((rv = add_entry(db, s, state, &cap, err)) < 0)
            return rv;
    return rc == SQLITE_DONE ? 0 : store_db_error(db, "read raft's log", err);
}

int store_db_raft_load(struct store_db *db, struct store_raft_state *ret, struct err *err)
{
    struct err own;
    err = err != NULL ? err : &own;
    _cleanup_(store_raft_state_done) struct store_raft_state state = {0};
    int rv = load_meta(db, &state, err);
    if (rv < 0)
        return rv;
    rv = store_db_raft_snapshot(db, &state.snapshot, err);
    if (rv < 0 && err->code != ERR_NOT_FOUND)
        return rv;
    if ((rv = load_entries(db, &state, err)) < 0)
        return rv;
    *ret = state;
    state = (struct store_raft_state){0};
    return 0;
}

void store_raft_state_done(struct store_raft_state *state)
{
    for (size_t i = 0; i < state->n_entries; i++)
        free(state->entries[i].data);
    free(state->entries);
    free(state->snapshot.config);
    free(state->snapshot.data);
    *state = (struct store_raft_state){0};
}
