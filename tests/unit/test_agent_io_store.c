/* The store: what is acknowledged stays, whatever happens to process and disk. */
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/store.h"
#include "proto/hash.h"
#include "proto/util.h"

struct world {
    char dir[64], path[96];
    uv_loop_t loop;
    struct store *store;
    struct store_conf conf;
    int done, failed, closed, told;
    struct err err;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/skein-store-XXXXXX");
    if (mkdtemp(w->dir) == NULL)
        return -1;
    snprintf(w->path, sizeof w->path, "%s/skein.db", w->dir);
    uv_loop_init(&w->loop);
    *state = w;
    return 0;
}

static void on_closed(void *arg)
{
    ((struct world *)arg)->closed++;
}

static void close_store(struct world *w)
{
    if (w->store == NULL)
        return;
    int before = w->closed;
    store_close(w->store, on_closed, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(w->closed, before + 1);
    w->store = NULL;
}

static int teardown(void **state)
{
    struct world *w = *state;
    close_store(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    static const char *const names[] = {"", "-wal", "-shm", ".lock", NULL};
    for (int i = 0; names[i] != NULL; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", w->path, names[i]);
        unlink(path);
    }
    rmdir(w->dir);
    free(w);
    return 0;
}

static void on_fail(void *arg, const struct err *err)
{
    struct world *w = arg;
    w->told++;
    w->err = *err;
}

static int try_open(struct world *w, struct err *err)
{
    w->conf.path = w->path;
    w->conf.loop = &w->loop;
    w->conf.on_fail = on_fail;
    w->conf.arg = w;
    return store_open(&w->conf, &w->store, err);
}

static void open_store(struct world *w)
{
    struct err err = {0};
    assert_ok(try_open(w, &err), &err);
}

static void on_done(void *arg, const struct err *err)
{
    struct world *w = arg;
    w->done++;
    if (err != NULL) {
        w->failed++;
        w->err = *err;
    }
}

static void settle(struct world *w)
{
    while (store_pending(w->store) > 0)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static void submit(struct world *w, struct store_batch *b)
{
    struct err err = {0};
    assert_ok(store_submit(w->store, b, on_done, w, &err), &err);
}

/* Execute SQL behind the store's back, with the store closed. */
static void tamper(struct world *w, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int collect(void *arg, const char *key, const void *value, size_t len)
{
    buf_addf(arg, "%s=%.*s;", key, (int)len, (const char *)value);
    return 0;
}

static void expect_journal(struct world *w, const char *want)
{
    _cleanup_(buf_done) struct buf b = {0};
    struct err err = {0};
    assert_ok(store_journal_load(w->store, collect, &b, &err), &err);
    assert_string_equal(b.data != NULL ? b.data : "", want);
}

/* ---- the plain life ---- */

static void test_batches_survive_reopening(void **state)
{
    struct world *w = *state;
    open_store(w);
    struct store_batch *b = store_batch_new();
    store_journal_put(b, "b", "two", 3);
    store_journal_put(b, "a", "one", 3);
    store_journal_put(b, "empty", "", 0);
    store_kv_put(b, "colour", "blue", 4);
    store_audit_append(b, 7, "{\"event\":\"start\"}");
    submit(w, b);
    assert_int_equal(w->done, 0); /* never inside the call */
    b = store_batch_new();
    store_journal_put(b, "b", "TWO", 3);
    store_journal_delete(b, "a");
    store_journal_delete(b, "never there");
    submit(w, b);
    settle(w);
    assert_int_equal(w->done, 2);
    assert_int_equal(w->failed, 0);
    close_store(w);

    open_store(w);
    expect_journal(w, "b=TWO;empty=;");
    struct err err = {0};
    _cleanup_(freep) void *value = NULL;
    size_t len;
    assert_ok(store_kv_get(w->store, "colour", &value, &len, &err), &err);
    assert_int_equal(len, 4);
    assert_memory_equal(value, "blue", 4);
    void *none;
    assert_err(store_kv_get(w->store, "shape", &none, &len, &err), &err, ERR_NOT_FOUND, "shape");
    uint64_t seq;
    uint8_t head[HASH_SIZE];
    store_audit_head(w->store, &seq, head);
    assert_int_equal(seq, 1);
}

static void test_closing_answers_everything(void **state)
{
    struct world *w = *state;
    open_store(w);
    for (int i = 0; i < 100; i++) {
        struct store_batch *b = store_batch_new();
        store_audit_append(b, i, "{}");
        submit(w, b);
    }
    close_store(w);
    assert_int_equal(w->done, 100);
    assert_int_equal(w->failed, 0);
    struct audit_verdict v;
    struct err err = {0};
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_int_equal(v.entries, 100);
}

static void test_limits_are_refused_at_submit(void **state)
{
    struct world *w = *state;
    open_store(w);
    struct err err = {0};
    char *key = xmalloc(STORE_KEY_MAX + 2);
    memset(key, 'k', STORE_KEY_MAX + 1);
    key[STORE_KEY_MAX + 1] = '\0';
    struct store_batch *b = store_batch_new();
    store_journal_put(b, key, "", 0);
    assert_err(store_submit(w->store, b, NULL, NULL, &err), &err, ERR_INVALID, "at most 255");
    free(key);
    b = store_batch_new();
    store_kv_put(b, "", "", 0);
    assert_err(store_submit(w->store, b, NULL, NULL, &err), &err, ERR_INVALID, "empty");
    b = store_batch_new();
    store_snapshot_put(b, "xyz", 0, "", 0);
    assert_err(store_submit_wait(w->store, b, &err), &err, ERR_INVALID, "64 hexadecimal");
    char *big = xcalloc(1, STORE_VALUE_MAX + 1);
    b = store_batch_new();
    store_journal_put(b, "k", big, STORE_VALUE_MAX + 1);
    assert_err(store_submit(w->store, b, NULL, NULL, &err), &err, ERR_INVALID, "journal");
    free(big);
    expect_journal(w, "");
    assert_false(store_failed(w->store));
}

/* Memory stays bounded: a submitter that does not wait is refused, and nothing else happens. */
static void test_a_full_queue_refuses(void **state)
{
    struct world *w = *state;
    open_store(w);
    struct err err = {0};
    int taken = 0, rv = 0;
    while (rv >= 0) { /* the loop does not run: nothing is answered */
        struct store_batch *b = store_batch_new();
        store_kv_put(b, "k", "v", 1);
        if ((rv = store_submit(w->store, b, on_done, w, &err)) >= 0)
            taken++;
    }
    assert_int_equal(taken, 4096);
    assert_err(rv, &err, ERR_LIMIT, "too much waits");
    settle(w);
    assert_int_equal(w->done, taken);
    assert_int_equal(w->failed, 0);
}

/* ---- audit ---- */

static void write_audit(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        char record[64];
        snprintf(record, sizeof record, "{\"n\":%d}", i);
        struct store_batch *b = store_batch_new();
        store_audit_append(b, 1000 + i, record);
        store_audit_append(b, 1000 + i, "{\"more\":true}");
        submit(w, b);
    }
    settle(w);
}

static void listed(void *arg, const struct err *err, const struct store_audit_entry *e, size_t n)
{
    assert_null(err);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(e[i].seq, 5 + i);
        uint8_t hash[HASH_SIZE];
        merkle_leaf(e[i].record, strlen(e[i].record), hash);
        assert_memory_equal(hash, e[i].hash, HASH_SIZE);
    }
    assert_string_equal(e[0].record, "{\"n\":2}");
    *(bool *)arg = true;
}

static void test_audit_is_a_tree(void **state)
{
    struct world *w = *state;
    open_store(w);
    write_audit(w, 10);
    bool seen = false;
    struct err err = {0};
    assert_ok(store_audit_list(w->store, 5, 3, listed, &seen, &err), &err);
    settle(w);
    assert_true(seen);
    struct audit_verdict v;
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err); /* while it is in use */
    uint64_t seq;
    uint8_t head[HASH_SIZE];
    store_audit_head(w->store, &seq, head);
    assert_int_equal(seq, 20);
    assert_int_equal(v.entries, 20);
    assert_memory_equal(v.root, head, HASH_SIZE);
    close_store(w);
    open_store(w);
    write_audit(w, 1); /* goes on where it ended */
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_int_equal(v.entries, 22);
}

static void expect_broken(struct world *w, const char *sql, uint64_t seq, const char *how)
{
    tamper(w, "CREATE TABLE keep AS SELECT * FROM audit;"
              "CREATE TABLE keep_node AS SELECT * FROM audit_node");
    tamper(w, sql);
    struct audit_verdict v;
    struct err err = {0};
    assert_err(audit_verify(w->path, NULL, 0, &v, &err), &err, ERR_CONFLICT, how);
    assert_int_equal(v.broken_seq, seq);
    assert_int_equal(v.entries, seq - 1);
    tamper(w, "DELETE FROM audit; INSERT INTO audit SELECT * FROM keep; DROP TABLE keep;"
              "DELETE FROM audit_node; INSERT INTO audit_node SELECT * FROM keep_node;"
              "DROP TABLE keep_node");
}

static void test_tampering_is_found(void **state)
{
    struct world *w = *state;
    open_store(w);
    write_audit(w, 10);
    close_store(w);
    expect_broken(w, "UPDATE audit SET record = '{\"n\":9}' WHERE seq = 7", 7, "was changed");
    expect_broken(w,
                  "UPDATE audit SET seq = -1 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq"
                  " = 6; UPDATE audit SET seq = 6 WHERE seq = -1",
                  6, "completes a node");
    expect_broken(w, "UPDATE audit_node SET hash = zeroblob(32) WHERE level = 1 AND idx = 3", 8,
                  "completes a node");
    expect_broken(w, "DELETE FROM audit WHERE seq = 3", 3, "is missing");
    expect_broken(w, "DELETE FROM audit WHERE seq = 1", 1, "is missing");
    expect_broken(w, "UPDATE audit SET hash = zeroblob(32) WHERE seq = 4", 4, "was changed");
    expect_broken(w, "UPDATE audit SET record = record || char(0) WHERE seq = 2", 2, "damaged");
    struct audit_verdict v;
    struct err err = {0};
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_err(audit_verify("/nonexistent/skein.db", NULL, 0, &v, &err), &err, ERR_IO,
               "/nonexistent");
}

/* Whoever rewrites the whole file cannot rewrite what was signed before. */
static void test_what_was_signed_binds(void **state)
{
    struct world *w = *state;
    struct audit_expect expect[2] = {{.who = "this host signed"}, {.who = "hv2 cosigned"}};
    struct audit_verdict v;
    struct err err = {0};
    open_store(w);
    write_audit(w, 3);
    store_audit_head(w->store, &expect[0].size, expect[0].root);
    write_audit(w, 2);
    store_audit_head(w->store, &expect[1].size, expect[1].root);
    write_audit(w, 1);
    assert_ok(audit_verify(w->path, expect, 2, &v, &err), &err);
    assert_int_equal(v.entries, 12);
    close_store(w);
    tamper(w, "DELETE FROM audit WHERE seq > 8; DELETE FROM audit_node");
    open_store(w); /* makes the nodes anew: in itself the log is sound */
    assert_ok(audit_verify(w->path, expect, 1, &v, &err), &err);
    assert_int_equal(v.entries, 8);
    assert_err(audit_verify(w->path, expect, 2, &v, &err), &err, ERR_CONFLICT, "hv2 cosigned");
    assert_int_equal(v.broken_seq, 9);
    expect[0].root[7] ^= 1;
    assert_err(audit_verify(w->path, expect, 2, &v, &err), &err, ERR_CONFLICT, "this host signed");
    assert_int_equal(v.broken_seq, 6);
}

struct proven {
    struct merkle_proof proof;
    struct err err;
};

static void proved(void *arg, const struct err *err, const struct merkle_proof *proof)
{
    struct proven *p = arg;
    p->err = err != NULL ? *err : (struct err){0};
    p->proof = *proof;
}

static void test_proofs(void **state)
{
    struct world *w = *state;
    struct proven p;
    struct err err = {0};
    uint8_t old[HASH_SIZE], root[HASH_SIZE], leaf[HASH_SIZE];
    uint64_t old_size, size;
    open_store(w);
    write_audit(w, 7);
    store_audit_head(w->store, &old_size, old);
    write_audit(w, 12);
    store_audit_head(w->store, &size, root);
    assert_ok(
        store_audit_proof(w->store, STORE_PROOF_CONSISTENCY, old_size, size, proved, &p, &err),
        &err);
    settle(w);
    assert_int_equal(p.err.code, ERR_OK);
    assert_true(merkle_continues(old_size, old, size, root, &p.proof));
    assert_ok(store_audit_proof(w->store, STORE_PROOF_INCLUSION, 4, size, proved, &p, &err), &err);
    settle(w);
    merkle_leaf("{\"n\":2}", 7, leaf);
    assert_true(merkle_includes(leaf, 4, size, &p.proof, root));
    assert_ok(store_audit_proof(w->store, STORE_PROOF_INCLUSION, 4, size + 1, proved, &p, &err),
              &err);
    settle(w);
    assert_int_equal(p.err.code, ERR_INVALID);
}

/* A database of the first schema: its chain's records become the tree's leaves. */
static void test_a_chain_becomes_a_tree(void **state)
{
    struct world *w = *state;
    struct audit_verdict v;
    struct err err = {0};
    open_store(w);
    write_audit(w, 5);
    close_store(w);
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    tamper(w,
           "CREATE TABLE old(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, prev BLOB NOT NULL,"
           " hash BLOB NOT NULL, record TEXT NOT NULL);"
           "INSERT INTO old SELECT seq, at_ms, zeroblob(32), hash, record FROM audit;"
           "DROP TABLE audit; DROP TABLE audit_node; ALTER TABLE old RENAME TO audit;"
           "PRAGMA user_version = 1");
    open_store(w);
    uint64_t size;
    uint8_t root[HASH_SIZE];
    store_audit_head(w->store, &size, root);
    assert_int_equal(size, 10);
    assert_memory_equal(root, v.root, HASH_SIZE);
    write_audit(w, 1);
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_int_equal(v.entries, 12);
}

/* ---- snapshots ---- */

static void digest_of(int i, char ret[HASH_HEX_SIZE])
{
    uint8_t hash[HASH_SIZE];
    hash_sha256(&i, sizeof i, hash);
    hash_hex(hash, ret);
}

static void put_snapshot(struct world *w, int i, const void *data, size_t len)
{
    char digest[HASH_HEX_SIZE];
    digest_of(i, digest);
    struct store_batch *b = store_batch_new();
    store_snapshot_put(b, digest, i, data, len);
    submit(w, b);
    settle(w);
    assert_int_equal(w->failed, 0);
}

struct kept {
    msec at[64];
    size_t n;
    char *data;
    size_t len;
    struct err err;
};

static void kept_list(void *arg, const struct err *err, const struct store_snapshot_info *infos,
                      size_t n)
{
    struct kept *k = arg;
    assert_null(err);
    k->n = n;
    for (size_t i = 0; i < n; i++)
        k->at[i] = infos[i].at_wall;
}

static void kept_data(void *arg, const struct err *err, const void *data, size_t len)
{
    struct kept *k = arg;
    if (err != NULL)
        k->err = *err;
    else
        k->data = xmemdup(data, k->len = len);
}

static void list_snapshots(struct world *w, struct kept *k)
{
    struct err err = {0};
    assert_ok(store_snapshot_list(w->store, 64, kept_list, k, &err), &err);
    settle(w);
}

static void test_snapshots_are_kept_by_number(void **state)
{
    struct world *w = *state;
    w->conf.snapshots_max = 3;
    open_store(w);
    for (int i = 1; i <= 5; i++)
        put_snapshot(w, i, "{\"schema\":\"x\"}", 14);
    put_snapshot(w, 3, "{\"schema\":\"x\"}", 14); /* again: becomes the newest */
    struct kept k = {0};
    list_snapshots(w, &k);
    assert_int_equal(k.n, 3);
    assert_int_equal(k.at[0], 3);
    assert_int_equal(k.at[1], 5);
    assert_int_equal(k.at[2], 4);
    char digest[HASH_HEX_SIZE];
    struct err err = {0};
    digest_of(4, digest);
    assert_ok(store_snapshot_get(w->store, digest, kept_data, &k, &err), &err);
    settle(w);
    assert_int_equal(k.len, 14);
    assert_memory_equal(k.data, "{\"schema\":\"x\"}", 14);
    free(k.data);
    digest_of(1, digest);
    assert_ok(store_snapshot_get(w->store, digest, kept_data, &k, &err), &err);
    settle(w);
    assert_int_equal(k.err.code, ERR_NOT_FOUND);
}

static void test_snapshots_are_kept_by_size(void **state)
{
    struct world *w = *state;
    w->conf.snapshots_max_bytes = 100 * 1024;
    open_store(w);
    uint8_t noise[40 * 1024];
    srand(1);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rand();
    for (int i = 1; i <= 5; i++)
        put_snapshot(w, i, noise, sizeof noise);
    struct kept k = {0};
    list_snapshots(w, &k);
    assert_int_equal(k.n, 2);
    assert_int_equal(k.at[0], 5);
    char *big = xmalloc(512 * 1024); /* alone over the bound: kept, as the newest */
    for (size_t i = 0; i < 512 * 1024; i++)
        big[i] = (char)rand();
    put_snapshot(w, 6, big, 512 * 1024);
    free(big);
    list_snapshots(w, &k);
    assert_int_equal(k.n, 1);
    assert_int_equal(k.at[0], 6);
}

/* ---- raft's part ---- */

static void append(struct world *w, uint64_t from, uint64_t to, uint64_t term)
{
    struct store_batch *b = store_batch_new();
    for (uint64_t i = from; i <= to; i++)
        store_raft_append(b, i, term, 1, "entry", 5);
    submit(w, b);
}

static void test_raft_log(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    open_store(w);
    struct store_raft_state r;
    assert_ok(store_raft_load(w->store, &r, &err), &err);
    assert_int_equal(r.term, 0);
    assert_int_equal(r.n_entries, 0);
    struct store_batch *b = store_batch_new();
    store_raft_set(b, 4, 2);
    assert_ok(store_submit_wait(w->store, b, &err), &err);
    append(w, 1, 10, 4);
    b = store_batch_new();
    store_raft_truncate(b, 9);
    submit(w, b);
    append(w, 9, 12, 5);
    b = store_batch_new();
    store_raft_snapshot_put(b, 8, 4, "conf", 4, "state", 5, 6);
    submit(w, b);
    settle(w);
    close_store(w);
    open_store(w);
    assert_ok(store_raft_load(w->store, &r, &err), &err);
    assert_int_equal(r.term, 4);
    assert_int_equal(r.vote, 2);
    assert_int_equal(r.snapshot.index, 8);
    assert_memory_equal(r.snapshot.data, "state", 5);
    assert_memory_equal(r.snapshot.config, "conf", 4);
    assert_int_equal(r.n_entries, 7);
    assert_int_equal(r.entries[0].index, 6);
    assert_int_equal(r.entries[2].term, 4);
    assert_int_equal(r.entries[3].term, 5);
    store_raft_state_done(&r);
}

static void expect_raft_damage(struct world *w, const char *sql, const char *part)
{
    tamper(w, sql);
    open_store(w);
    struct store_raft_state r;
    struct err err = {0};
    assert_err(store_raft_load(w->store, &r, &err), &err, ERR_IO, part);
    close_store(w);
}

static void test_damage_of_raft_is_found(void **state)
{
    struct world *w = *state;
    open_store(w);
    append(w, 1, 10, 4);
    struct store_batch *b = store_batch_new();
    store_journal_put(b, "a", "one", 3);
    store_raft_snapshot_put(b, 3, 4, "conf", 4, "state", 5, 1);
    submit(w, b);
    close_store(w);
    expect_raft_damage(w, "UPDATE raft_snapshot SET data = substr(data, 1, 9)", "damaged");
    expect_raft_damage(w, "DELETE FROM raft_snapshot; DELETE FROM raft_log WHERE idx = 5", "gap");
    expect_raft_damage(w, "UPDATE raft_log SET data = 'entrY' WHERE idx = 2", "entry 2");
    tamper(w, "UPDATE journal SET value = 'two'");
    open_store(w);
    _cleanup_(buf_done) struct buf all = {0};
    struct err err = {0};
    assert_err(store_journal_load(w->store, collect, &all, &err), &err, ERR_IO, "entry a");
}

/* ---- refusals at opening ---- */

static void test_a_second_agent_is_refused(void **state)
{
    struct world *w = *state;
    open_store(w);
    struct store *other;
    struct err err = {0};
    assert_err(store_open(&w->conf, &other, &err), &err, ERR_CONFLICT, "another agent holds it");
    close_store(w);
    open_store(w);
}

static void expect_refused(struct world *w, enum err_code code, const char *part)
{
    struct err err = {0};
    assert_err(try_open(w, &err), &err, code, part);
    w->store = NULL;
}

static void test_foreign_files_are_refused(void **state)
{
    struct world *w = *state;
    open_store(w);
    close_store(w);
    tamper(w, "PRAGMA user_version = 99");
    expect_refused(w, ERR_UNSUPPORTED, "newer skein (schema 99");
    unlink(w->path);
    tamper(w, "CREATE TABLE t(x)");
    expect_refused(w, ERR_IO, "another program");
    unlink(w->path);
    int fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write(fd, "this is a text, not a database\n", 31), 31);
    close(fd);
    expect_refused(w, ERR_IO, "not a database");
    unlink(w->path);
    w->conf.path = NULL;
    snprintf(w->path, sizeof w->path, "%s/missing/skein.db", w->dir);
    expect_refused(w, ERR_IO, "No such file");
    snprintf(w->path, sizeof w->path, "%s/skein.db", w->dir);
}

static void test_corrupt_pages_are_an_error(void **state)
{
    struct world *w = *state;
    open_store(w);
    write_audit(w, 500);
    close_store(w);
    int fd = open(w->path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t junk[4096];
    memset(junk, 0xa5, sizeof junk);
    for (off_t at = 8 * 4096; at < st.st_size; at += 4096) /* behind the schema and the roots */
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    close(fd);
    expect_refused(w, ERR_IO, "corrupt");
}

/* ---- failing closed ---- */

static void expect_failed_closed(struct world *w)
{
    struct err err = {0};
    assert_true(store_failed(w->store));
    assert_int_equal(w->told, 1);
    struct store_batch *b = store_batch_new();
    store_kv_put(b, "small", "x", 1);
    assert_err(store_submit(w->store, b, on_done, w, &err), &err, ERR_IO, "has failed");
    expect_journal(w, ""); /* reading goes on */
}

/* Each batch must come whole, and nothing after the first that was lost. */
static void expect_prefix(struct world *w, int acknowledged)
{
    struct audit_verdict v;
    struct err err = {0};
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_true((int)v.entries >= acknowledged);
}

static void fill_until_failure(struct world *w)
{
    static char record[64 * 1024];
    memset(record, 'r', sizeof record - 1);
    for (int i = 0; i < 200 && w->failed == 0; i++) {
        struct store_batch *b = store_batch_new();
        store_audit_append(b, i, record);
        struct err err = {0};
        assert_ok(store_submit(w->store, b, on_done, w, &err), &err);
        if (i % 3 == 0)
            settle(w);
    }
    settle(w);
    assert_true(w->failed > 0);
}

/* A file that may not grow: as EFBIG it is one of the errors that are not "full". */
static void test_write_errors_fail_closed(void **state)
{
    struct world *w = *state;
    open_store(w);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, tight;
    getrlimit(RLIMIT_FSIZE, &old);
    tight = (struct rlimit){1 << 20, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    fill_until_failure(w);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(w->err.code, ERR_IO);
    expect_failed_closed(w);
    int acknowledged = w->done - w->failed;
    close_store(w);
    expect_prefix(w, acknowledged);
    w->told = 0;
    open_store(w); /* with room again, the next life goes on */
    write_audit(w, 1);
    assert_int_equal(w->told, 0);
    expect_prefix(w, acknowledged + 2);
}

/* Runs in a child with its own mounts: 0 good, 77 not possible here. */
static int full_disk(struct world *w)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", w->dir, "tmpfs", 0, "size=1m") != 0)
        return 77;
    open_store(w);
    fill_until_failure(w);
    assert_err(-1, &w->err, ERR_IO, "disk is full");
    expect_failed_closed(w);
    int acknowledged = w->done - w->failed;
    close_store(w);
    expect_prefix(w, acknowledged);
    return 0;
}

static void test_a_full_disk_fails_closed(void **state)
{
    struct world *w = *state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_disk(w));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* mounting is not allowed here */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- crashes ---- */

static int report;

static void acknowledge(void *arg, const struct err *err)
{
    uint32_t n = (uint32_t)(uintptr_t)arg;
    if (err != NULL || write(report, &n, sizeof n) != sizeof n)
        _exit(1);
}

/* Write as fast as it goes, a few batches in flight, telling the parent what is acknowledged. */
static void write_forever(struct world *w, int fd)
{
    report = fd;
    open_store(w);
    for (uint32_t i = 1;; i++) {
        char text[256];
        memset(text, 'x', sizeof text);
        snprintf(text, sizeof text, "{\"n\":%u}", i);
        struct store_batch *b = store_batch_new();
        store_audit_append(b, i, text);
        store_journal_put(b, "last", text, i % sizeof text);
        store_raft_append(b, i, 1, 1, text, sizeof text);
        store_kv_put(b, "n", &i, sizeof i);
        struct err err;
        if (store_submit(w->store, b, acknowledge, (void *)(uintptr_t)i, &err) < 0)
            _exit(1);
        while (store_pending(w->store) > 4)
            uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static uint32_t kill_while_writing(struct world *w, useconds_t after_us)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        write_forever(w, fds[1]);
    }
    close(fds[1]);
    uint32_t n, last = 0;
    assert_int_equal(read(fds[0], &n, sizeof n), sizeof n); /* it is under way */
    last = n;
    usleep(after_us);
    kill(pid, SIGKILL);
    while (read(fds[0], &n, sizeof n) == sizeof n)
        last = n;
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    return last;
}

/* All tables end at the same batch: it is returned. */
static uint32_t expect_whole_batches(struct world *w)
{
    struct err err = {0};
    struct audit_verdict v;
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    open_store(w);
    struct store_raft_state r;
    assert_ok(store_raft_load(w->store, &r, &err), &err);
    uint32_t n = (uint32_t)r.n_entries;
    store_raft_state_done(&r);
    assert_int_equal(v.entries, n);
    void *value = NULL;
    size_t len;
    if (n > 0) {
        assert_ok(store_kv_get(w->store, "n", &value, &len, &err), &err);
        assert_memory_equal(value, &n, sizeof n);
        free(value);
    }
    return n;
}

static void wipe(struct world *w)
{
    static const char *const names[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", w->path, names[i]);
        unlink(path);
    }
}

static void test_a_killed_writer_loses_nothing_acknowledged(void **state)
{
    struct world *w = *state;
    for (unsigned round = 0; round < 8; round++) {
        uint32_t acknowledged = kill_while_writing(w, 2000 + round * 7001);
        uint32_t n = expect_whole_batches(w);
        assert_true(n >= acknowledged);
        assert_true(n <= acknowledged + 6);
        close_store(w);
        wipe(w);
    }
}

/* Power lost inside a write: the end of the WAL is missing or rubbish. What remains is a prefix of
 * whole batches; what the disk had promised to keep lies before the tear. */
static void test_a_torn_end_is_cut_off(void **state)
{
    struct world *w = *state;
    srand(7);
    for (unsigned round = 0; round < 8; round++) {
        kill_while_writing(w, 20000);
        char wal[128];
        snprintf(wal, sizeof wal, "%s-wal", w->path);
        int fd = open(wal, O_RDWR);
        assert_true(fd >= 0);
        struct stat st;
        fstat(fd, &st);
        off_t at = st.st_size - 1 - rand() % (20 * 1024);
        at = at < 0 ? 0 : at;
        if (round % 2 == 0)
            assert_int_equal(ftruncate(fd, at), 0);
        else
            assert_int_equal(pwrite(fd, "\xff\x00\x5a", 3, at), 3);
        close(fd);
        expect_whole_batches(w);
        assert_false(store_failed(w->store));
        close_store(w);
        wipe(w);
    }
}

static void test_commit_latency(void **state)
{
    struct world *w = *state;
    open_store(w);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 200; i++) {
        struct store_batch *batch = store_batch_new();
        store_journal_put(batch, "k", "value", 5);
        submit(w, batch);
        settle(w);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double us = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 200e3;
    print_message("one durable batch: %.0f us\n", us);
    assert_int_equal(w->failed, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_batches_survive_reopening),
        T(test_closing_answers_everything),
        T(test_limits_are_refused_at_submit),
        T(test_a_full_queue_refuses),
        T(test_audit_is_a_tree),
        T(test_tampering_is_found),
        T(test_what_was_signed_binds),
        T(test_proofs),
        T(test_a_chain_becomes_a_tree),
        T(test_snapshots_are_kept_by_number),
        T(test_snapshots_are_kept_by_size),
        T(test_raft_log),
        T(test_damage_of_raft_is_found),
        T(test_a_second_agent_is_refused),
        T(test_foreign_files_are_refused),
        T(test_corrupt_pages_are_an_error),
        T(test_write_errors_fail_closed),
        T(test_a_full_disk_fails_closed),
        T(test_a_killed_writer_loses_nothing_acknowledged),
        T(test_a_torn_end_is_cut_off),
        T(test_commit_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
