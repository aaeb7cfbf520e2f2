/* store_fixture.h - a store in a folder of its own, for the tests of agent/io/store. */
#ifndef SKEIN_TESTS_UNIT_STORE_FIXTURE_H
#define SKEIN_TESTS_UNIT_STORE_FIXTURE_H

#include "tests/lib/test.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/io/store.h"
#include "proto/util.h"

struct world {
    char dir[64], path[96];
    uv_loop_t loop;
    struct store *store;
    struct store_conf conf;
    int done, failed, closed, told;
    struct err err;
};

static inline int setup(void **state)
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

static inline void on_closed(void *arg)
{
    ((struct world *)arg)->closed++;
}

static inline void close_store(struct world *w)
{
    if (w->store == NULL)
        return;
    int before = w->closed;
    store_close(w->store, on_closed, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(w->closed, before + 1);
    w->store = NULL;
}

static inline int teardown(void **state)
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

static inline void on_fail(void *arg, const struct err *err)
{
    struct world *w = arg;
    w->told++;
    w->err = *err;
}

static inline int try_open(struct world *w, struct err *err)
{
    w->conf.path = w->path;
    w->conf.loop = &w->loop;
    w->conf.on_fail = on_fail;
    w->conf.arg = w;
    return store_open(&w->conf, &w->store, err);
}

static inline void open_store(struct world *w)
{
    struct err err = {0};
    assert_ok(try_open(w, &err), &err);
}

static inline void on_done(void *arg, const struct err *err)
{
    struct world *w = arg;
    w->done++;
    if (err != NULL) {
        w->failed++;
        w->err = *err;
    }
}

static inline void settle(struct world *w)
{
    while (store_pending(w->store) > 0)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static inline void submit(struct world *w, struct store_batch *b)
{
    struct err err = {0};
    assert_ok(store_submit(w->store, b, on_done, w, &err), &err);
}

/* Execute SQL behind the store's back, with the store closed. */
static inline void tamper(struct world *w, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static inline int collect(void *arg, const char *key, const void *value, size_t len)
{
    buf_addf(arg, "%s=%.*s;", key, (int)len, (const char *)value);
    return 0;
}

static inline void expect_journal(struct world *w, const char *want)
{
    _cleanup_(buf_done) struct buf b = {0};
    struct err err = {0};
    assert_ok(store_journal_load(w->store, collect, &b, &err), &err);
    assert_string_equal(b.data != NULL ? b.data : "", want);
}

static inline void write_audit(struct world *w, int n)
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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
