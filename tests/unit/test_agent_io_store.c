/* The store: what was written is there again; limits, snapshots, raft, what is refused. */
#include "tests/unit/store_fixture.h"

#include <time.h>

#include "proto/hash.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_batches_survive_reopening),
        T(test_closing_answers_everything),
        T(test_limits_are_refused_at_submit),
        T(test_a_full_queue_refuses),
        T(test_snapshots_are_kept_by_number),
        T(test_snapshots_are_kept_by_size),
        T(test_raft_log),
        T(test_damage_of_raft_is_found),
        T(test_a_second_agent_is_refused),
        T(test_foreign_files_are_refused),
        T(test_corrupt_pages_are_an_error),
        T(test_commit_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
