/* Consensus over real stores and a real loop: elections, commits and what they cost, restarts, a
 * whole cluster killed while it writes, and a disk that fails. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/consensus.h"
#include "agent/io/store.h"
#include "proto/util.h"

#define NODES 3
#define ELECTION_MS 150
#define VALUES_MAX 100000

static const char *const names[] = {"hv1", "hv2", "hv3"};

struct node {
    struct cluster *k;
    size_t n;
    struct store *store;
    struct consensus *c;
    uint32_t *values; /* applied, in order */
    size_t values_n, cap;
    bool leader, failed, cut;
    struct err err;
};

struct letter {
    struct letter *next;
    size_t from, to, len;
    uint8_t bytes[];
};

struct cluster {
    char dir[64];
    uv_loop_t loop;
    uv_async_t mail;
    struct letter *first, **last;
    struct node nodes[NODES];
    size_t closing;
    size_t acked, failed;
    uint32_t highest; /* value acknowledged */
    int report;       /* descriptor that is told of acknowledged values; -1: none */
    unsigned threshold;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the mail between them ---- */

static int node_send(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct node *n = arg;
    size_t to = (size_t)(host[2] - '1');
    if (n->cut || n->k->nodes[to].cut)
        return -ERR_UNAVAILABLE;
    struct letter *l = xmalloc(sizeof *l + len);
    *l = (struct letter){.from = n->n, .to = to, .len = len};
    memcpy(l->bytes, bytes, len);
    *n->k->last = l;
    n->k->last = &l->next;
    uv_async_send(&n->k->mail);
    return 0;
}

static void on_mail(uv_async_t *async)
{
    struct cluster *k = async->data;
    while (k->first != NULL) {
        struct letter *l = k->first;
        k->first = l->next;
        if (k->first == NULL)
            k->last = &k->first;
        struct node *to = &k->nodes[l->to];
        struct err err;
        if (to->c != NULL && !to->cut && !to->failed && k->closing == 0)
            assert_ok(consensus_receive(to->c, names[l->from], l->bytes, l->len, &err), &err);
        free(l);
    }
}

/* ---- the state machine ---- */

static void add_value(struct node *n, uint32_t value)
{
    ARRAY_RESERVE(n->values, n->cap, n->values_n + 1);
    n->values[n->values_n++] = value;
}

static void node_apply(void *arg, uint64_t index _unused_, uint64_t term _unused_,
                       const void *bytes, size_t len)
{
    uint32_t value;
    assert_true(len >= sizeof value);
    memcpy(&value, bytes, sizeof value);
    add_value(arg, value);
}

static void node_role(void *arg, uint64_t term _unused_, bool is_leader,
                      const char *leader _unused_)
{
    ((struct node *)arg)->leader = is_leader;
}

static int node_snapshot(void *arg, void **ret, size_t *ret_len, struct err *err _unused_)
{
    struct node *n = arg;
    *ret_len = n->values_n * sizeof *n->values;
    *ret = xmemdup(n->values, *ret_len);
    return 0;
}

static int node_restore(void *arg, uint64_t index _unused_, const void *bytes, size_t len,
                        struct err *err _unused_)
{
    struct node *n = arg;
    n->values_n = 0;
    for (size_t i = 0; i < len / sizeof(uint32_t); i++)
        add_value(n, ((const uint32_t *)bytes)[i]);
    return 0;
}

static void node_fail(void *arg, const struct err *err)
{
    struct node *n = arg;
    n->failed = true;
    n->err = *err;
}

/* ---- life ---- */

static void open_store(struct node *n)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%zu.db", n->k->dir, n->n);
    struct store_conf conf = {.path = path, .loop = &n->k->loop};
    struct err err = {0};
    assert_ok(store_open(&conf, &n->store, &err), &err);
}

static int try_start(struct node *n, const char *const *voters, size_t n_voters, struct err *err)
{
    struct consensus_conf conf = {.cluster = "c",
                                  .voters = voters,
                                  .n_voters = n_voters,
                                  .self = names[n->n],
                                  .election_timeout_ms = ELECTION_MS,
                                  .snapshot_threshold = n->k->threshold};
    struct consensus_callbacks cb = {.arg = n,
                                     .send = node_send,
                                     .on_apply = node_apply,
                                     .on_role = node_role,
                                     .snapshot = node_snapshot,
                                     .restore = node_restore,
                                     .on_fail = node_fail};
    n->values_n = 0;
    n->failed = false;
    return consensus_open(&conf, n->store, &n->k->loop, &cb, &n->c, err);
}

static void start(struct node *n)
{
    struct err err = {0};
    open_store(n);
    assert_ok(try_start(n, names, NODES, &err), &err);
}

static void store_closed(void *arg)
{
    struct node *n = arg;
    n->store = NULL;
    n->k->closing--;
}

static void consensus_closed(void *arg)
{
    struct node *n = arg;
    n->c = NULL;
    store_close(n->store, store_closed, n);
}

static void stop(struct node *n)
{
    if (n->c == NULL && n->store == NULL)
        return;
    n->k->closing++;
    n->leader = false;
    if (n->c != NULL)
        consensus_close(n->c, consensus_closed, n);
    else
        store_close(n->store, store_closed, n);
    while (n->k->closing > 0)
        uv_run(&n->k->loop, UV_RUN_ONCE);
}

static void init(struct cluster *k)
{
    snprintf(k->dir, sizeof k->dir, "/tmp/skein-consensus-XXXXXX");
    assert_non_null(mkdtemp(k->dir));
    uv_loop_init(&k->loop);
    uv_async_init(&k->loop, &k->mail, on_mail);
    k->mail.data = k;
    k->last = &k->first;
    k->report = -1;
    for (size_t i = 0; i < NODES; i++) {
        k->nodes[i].k = k;
        k->nodes[i].n = i;
    }
}

static int setup(void **state)
{
    struct cluster *k = xcalloc(1, sizeof *k);
    init(k);
    *state = k;
    return 0;
}

static void remove_files(struct cluster *k)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < NODES * ARRAY_SIZE(ends); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%zu.db%s", k->dir, i / ARRAY_SIZE(ends),
                 ends[i % ARRAY_SIZE(ends)]);
        unlink(path);
    }
    rmdir(k->dir);
}

static int teardown(void **state)
{
    struct cluster *k = *state;
    for (size_t i = 0; i < NODES; i++) {
        stop(&k->nodes[i]);
        free(k->nodes[i].values);
    }
    on_mail(&k->mail);
    uv_close((uv_handle_t *)&k->mail, NULL);
    uv_run(&k->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&k->loop), 0);
    remove_files(k);
    free(k);
    return 0;
}

static void start_all(struct cluster *k)
{
    for (size_t i = 0; i < NODES; i++)
        if (k->nodes[i].c == NULL)
            start(&k->nodes[i]);
}

static struct node *leader_of(struct cluster *k)
{
    for (size_t i = 0; i < NODES; i++)
        if (k->nodes[i].leader && !k->nodes[i].cut)
            return &k->nodes[i];
    return NULL;
}

static struct node *wait_for_leader(struct cluster *k)
{
    double until = now_ms() + 10000;
    while (leader_of(k) == NULL) {
        assert_true(now_ms() < until);
        uv_run(&k->loop, UV_RUN_ONCE);
    }
    return leader_of(k);
}

static void on_proposed(void *arg, uint64_t index _unused_, const struct err *err)
{
    struct cluster *k = arg;
    k->acked += err == NULL;
    k->failed += err != NULL;
    if (err != NULL || k->report < 0)
        return;
    k->highest++; /* they come in order */
    if (write(k->report, &k->highest, sizeof k->highest) != sizeof k->highest)
        _exit(1);
}

static void propose(struct cluster *k, uint32_t value)
{
    struct err err = {0};
    assert_ok(consensus_propose(leader_of(k)->c, &value, sizeof value, on_proposed, k, &err), &err);
}

static void wait_acked(struct cluster *k, size_t want)
{
    double until = now_ms() + 10000;
    while (k->acked < want) {
        assert_true(now_ms() < until);
        uv_run(&k->loop, UV_RUN_ONCE);
    }
}

static void wait_alike(struct cluster *k)
{
    double until = now_ms() + 10000;
    while (k->nodes[0].values_n != k->nodes[1].values_n ||
           k->nodes[0].values_n != k->nodes[2].values_n) {
        assert_true(now_ms() < until);
        uv_run(&k->loop, UV_RUN_ONCE);
    }
    for (size_t i = 1; i < NODES; i++)
        assert_memory_equal(k->nodes[i].values, k->nodes[0].values,
                            k->nodes[0].values_n * sizeof(uint32_t));
}

/* ---- tests ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_election_and_latency(void **state)
{
    struct cluster *k = *state;
    double at = now_ms();
    start_all(k);
    wait_for_leader(k);
    double elected = now_ms() - at;

    enum { N = 200 };

    double took[N];
    for (uint32_t i = 0; i < N; i++) {
        at = now_ms();
        propose(k, i);
        wait_acked(k, i + 1);
        took[i] = now_ms() - at;
    }
    qsort(took, N, sizeof took[0], compare_doubles);
    at = now_ms();
    for (uint32_t i = 0; i < 1000; i++)
        propose(k, i);
    wait_acked(k, N + 1000);
    double many = now_ms() - at;
    wait_alike(k);
    print_message(
        "first leader after %.0f ms; commit p50 %.2f ms, p99 %.2f ms; 1000 at once %.0f ms"
        " (election timeout %d ms)\n",
        elected, took[N / 2], took[N * 99 / 100], many, ELECTION_MS);
    assert_true(took[N / 2] < 100);
}

static void test_the_limit_of_proposals(void **state)
{
    struct cluster *k = *state;
    start_all(k);
    struct node *leader = wait_for_leader(k);
    struct err err = {0};
    uint32_t value = 1;
    for (int i = 0; i < CONSENSUS_PROPOSALS_MAX; i++)
        propose(k, value);
    assert_err(consensus_propose(leader->c, &value, sizeof value, NULL, NULL, &err), &err,
               ERR_LIMIT, "1024 proposals");
    assert_err(consensus_propose(leader->c, &value, 0, NULL, NULL, &err), &err, ERR_INVALID,
               "0 bytes");
    struct node *other = &k->nodes[(leader->n + 1) % NODES];
    assert_err(consensus_propose(other->c, &value, sizeof value, NULL, NULL, &err), &err,
               ERR_NOT_LEADER, names[leader->n]);
    wait_acked(k, CONSENSUS_PROPOSALS_MAX);
    wait_alike(k);
}

static void test_failover(void **state)
{
    struct cluster *k = *state;
    start_all(k);
    double total = 0;

    enum { ROUNDS = 5 };

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct node *leader = wait_for_leader(k);
        propose(k, i);
        wait_acked(k, i + 1);
        leader->cut = true;
        double at = now_ms();
        assert_true(wait_for_leader(k) != leader);
        total += now_ms() - at;
        double until = now_ms() + 5000;
        while (leader->leader && now_ms() < until) /* the old one finds out by itself */
            uv_run(&k->loop, UV_RUN_ONCE);
        assert_false(leader->leader);
        leader->cut = false;
        wait_alike(k);
    }
    print_message("failover %.0f ms on average\n", total / ROUNDS);
}

static void test_restart_from_disk(void **state)
{
    struct cluster *k = *state;
    k->threshold = 20; /* so that all three stand on a snapshot and a tail */
    start_all(k);
    wait_for_leader(k);
    for (uint32_t i = 0; i < 105; i++) {
        propose(k, i);
        wait_acked(k, i + 1);
    }
    wait_alike(k);
    for (size_t i = 0; i < NODES; i++)
        stop(&k->nodes[i]);
    start_all(k);
    wait_for_leader(k);
    propose(k, 105);
    wait_acked(k, 106);
    wait_alike(k);
    assert_int_equal(k->nodes[0].values_n, 106);
    for (uint32_t i = 0; i < 106; i++)
        assert_int_equal(k->nodes[0].values[i], i);
}

static void test_a_wiped_laggard_gets_a_snapshot(void **state)
{
    struct cluster *k = *state;
    k->threshold = 20;
    start_all(k);
    struct node *leader = wait_for_leader(k);
    struct node *laggard = &k->nodes[(leader->n + 1) % NODES];
    stop(laggard);
    for (uint32_t i = 0; i < 600; i++) { /* beyond the trailing entries */
        propose(k, i);
        wait_acked(k, i + 1);
    }
    start(laggard);
    wait_alike(k);
    struct consensus_status s;
    consensus_status(laggard->c, &s);
    assert_true(s.snapshot_index > 300);
    assert_false(s.leader);
    assert_string_equal(s.leader_host, names[leader->n]);
}

/* ---- killed while writing ---- */

/* In the child: values 1, 2, 3... some at a time, each told to the parent once acknowledged. */
static void write_until_killed(struct cluster *k, int fd)
{
    k->report = fd;
    k->threshold = 50;
    start_all(k);
    uint32_t value = 0;
    for (;;) {
        if (leader_of(k) != NULL && value - k->acked < 5)
            propose(k, ++value);
        else
            uv_run(&k->loop, UV_RUN_ONCE);
    }
}

static uint32_t kill_cluster(struct cluster *k, useconds_t after_us)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        uv_loop_fork(&k->loop);
        write_until_killed(k, fds[1]);
    }
    assert_true(pid > 0);
    close(fds[1]);
    uint32_t value, last = 0;
    if (read(fds[0], &value, sizeof value) == sizeof value)
        last = value;
    usleep(after_us);
    kill(pid, SIGKILL);
    while (read(fds[0], &value, sizeof value) == sizeof value)
        last = value;
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return last;
}

static void test_a_killed_cluster_keeps_what_it_acknowledged(void **state)
{
    struct cluster *k = *state;
    for (unsigned round = 0; round < 4; round++) {
        uint32_t last = kill_cluster(k, 20000 + 31000 * round);
        assert_true(last > 0);
        k->threshold = 50;
        start_all(k);
        wait_for_leader(k);
        wait_alike(k);
        struct node *n = &k->nodes[0];
        assert_true(n->values_n >= last && n->values_n <= last + 5);
        for (uint32_t i = 0; i < n->values_n; i++)
            assert_int_equal(n->values[i], i + 1);
        for (size_t i = 0; i < NODES; i++)
            stop(&k->nodes[i]);
        for (size_t i = 0; i < NODES; i++) { /* the next round begins afresh */
            char path[128];
            static const char *const ends[] = {"", "-wal", "-shm"};
            for (size_t e = 0; e < ARRAY_SIZE(ends); e++) {
                snprintf(path, sizeof path, "%s/%zu.db%s", k->dir, i, ends[e]);
                unlink(path);
            }
        }
    }
}

/* ---- refusals and failures ---- */

static void test_other_voters_are_refused(void **state)
{
    struct cluster *k = *state;
    start_all(k);
    wait_for_leader(k);
    stop(&k->nodes[0]);
    static const char *const others[] = {"hv1", "hv2", "hv4"};
    static const char *const twice[] = {"hv1", "hv2", "hv2"};
    struct node *n = &k->nodes[0];
    struct err err = {0};
    open_store(n);
    n->c = NULL;
    assert_err(try_start(n, others, 3, &err), &err, ERR_CONFLICT, "hv1, hv2, hv4");
    assert_err(try_start(n, names, 2, &err), &err, ERR_CONFLICT, "other voters");
    assert_err(try_start(n, twice, 3, &err), &err, ERR_INVALID, "hv2 is named twice");
    assert_err(try_start(n, others + 1, 2, &err), &err, ERR_INVALID, "hv1 is not one");
    assert_err(try_start(n, names, 0, &err), &err, ERR_INVALID, "1 to 7");
    assert_ok(try_start(n, names, NODES, &err), &err);
}

/* One voter's disk fails: it ends, the others go on, and nothing that was acknowledged is lost. */
static void test_a_disk_that_fails(void **state)
{
    struct cluster *k = *state;
    start_all(k);
    struct node *leader = wait_for_leader(k);
    propose(k, 1);
    wait_acked(k, 1);
    wait_alike(k);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, tight;
    getrlimit(RLIMIT_FSIZE, &old);
    tight = (struct rlimit){1, old.rlim_max}; /* it applies to whoever writes next: the leader */
    setrlimit(RLIMIT_FSIZE, &tight);
    propose(k, 2);
    while (!leader->failed)
        uv_run(&k->loop, UV_RUN_ONCE);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(leader->err.code, ERR_IO);
    assert_int_equal(k->failed, 1);
    assert_false(leader->leader);
    struct err err;
    uint32_t value = 3;
    assert_err(consensus_propose(leader->c, &value, sizeof value, NULL, NULL, &err), &err, ERR_IO,
               "stopped");
    for (size_t i = 0; i < NODES; i++) /* others may have met the same limit */
        if (k->nodes[i].failed)
            stop(&k->nodes[i]);
    start_all(k);
    wait_for_leader(k);
    propose(k, 4);
    wait_acked(k, 2);
    wait_alike(k);
    assert_int_equal(k->nodes[0].values[0], 1);
    assert_int_equal(k->nodes[0].values[k->nodes[0].values_n - 1], 4);
}

static void closed_inside(void *arg)
{
    consensus_closed(arg);
}

static void close_when_done(void *arg, uint64_t index _unused_, const struct err *err)
{
    struct node *n = arg;
    assert_null(err);
    n->k->closing++;
    consensus_close(n->c, closed_inside, n);
}

static void test_closing_inside_a_callback(void **state)
{
    struct cluster *k = *state;
    start_all(k);
    struct node *leader = wait_for_leader(k);
    uint32_t value = 1;
    struct err err;
    assert_ok(consensus_propose(leader->c, &value, 4, close_when_done, leader, &err), &err);
    assert_ok(consensus_propose(leader->c, &value, 4, on_proposed, k, &err), &err);
    while (leader->store != NULL)
        uv_run(&k->loop, UV_RUN_ONCE);
    assert_int_equal(k->acked + k->failed, 1); /* each is answered, once */
    leader->leader = false;
    wait_for_leader(k);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_election_and_latency),
        T(test_the_limit_of_proposals),
        T(test_failover),
        T(test_restart_from_disk),
        T(test_a_wiped_laggard_gets_a_snapshot),
        T(test_a_killed_cluster_keeps_what_it_acknowledged),
        T(test_other_voters_are_refused),
        T(test_a_disk_that_fails),
        T(test_closing_inside_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
