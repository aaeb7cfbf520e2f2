/* The store when things break: what is acknowledged stays, whatever happens to process and disk. */
#include "tests/unit/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_write_errors_fail_closed),
        T(test_a_full_disk_fails_closed),
        T(test_a_killed_writer_loses_nothing_acknowledged),
        T(test_a_torn_end_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
