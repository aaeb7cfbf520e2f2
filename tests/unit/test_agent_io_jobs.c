/* The worker threads with a hypervisor that does as it is told: hang, end, be aborted. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>

#include "agent/io/jobs.h"
#include "proto/util.h"

#define UUID(n) "00000000-0000-4000-8000-00000000000" n

/* Calls wait at gates that tests open. */
struct fake {
    struct hypervisor base;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool look_open, migrate_open, aborted, deaf;
    unsigned resets, looks, migrating, aborts;
    hypervisor_changed changed;
    void *changed_arg;
};

static unsigned closed_fakes;

static void wait_for(struct fake *f, const bool *gate, const bool *other)
{
    pthread_mutex_lock(&f->lock);
    while (!*gate && !*other)
        pthread_cond_wait(&f->cond, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void set(struct fake *f, bool *flag, bool value)
{
    pthread_mutex_lock(&f->lock);
    *flag = value;
    pthread_cond_broadcast(&f->cond);
    pthread_mutex_unlock(&f->lock);
}

static void count(struct fake *f, unsigned *counter)
{
    pthread_mutex_lock(&f->lock);
    ++*counter;
    pthread_mutex_unlock(&f->lock);
}

static unsigned get(struct fake *f, const unsigned *counter)
{
    pthread_mutex_lock(&f->lock);
    unsigned n = *counter;
    pthread_mutex_unlock(&f->lock);
    return n;
}

static void fake_close(struct hypervisor *hv)
{
    struct fake *f = (struct fake *)hv;
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->cond);
    free(f);
    __atomic_add_fetch(&closed_fakes, 1, __ATOMIC_SEQ_CST);
}

static void fake_watch(struct hypervisor *hv, hypervisor_changed changed, void *arg)
{
    struct fake *f = (struct fake *)hv;
    pthread_mutex_lock(&f->lock);
    f->changed = changed;
    f->changed_arg = arg;
    pthread_mutex_unlock(&f->lock);
}

static void fake_reset(struct hypervisor *hv)
{
    count((struct fake *)hv, &((struct fake *)hv)->resets);
}

static int fake_observe(struct hypervisor *hv, Skein__HostDetail **ret, struct hv_clock *ret_clock,
                        struct err *err)
{
    (void)ret_clock;
    (void)hv;
    (void)err;
    Skein__HostDetail *d = xmalloc(sizeof *d);
    skein__host_detail__init(d);
    *ret = d;
    return 0;
}

static int fake_look(struct hypervisor *hv, const char *uuid, struct hv_seen *ret, struct err *err)
{
    struct fake *f = (struct fake *)hv;
    (void)uuid;
    (void)err;
    count(f, &f->looks);
    wait_for(f, &f->look_open, &f->look_open);
    ret->present = true;
    return 0;
}

static int fake_migrate(struct hypervisor *hv, const struct hv_move *move, struct hv_stats *ret,
                        struct err *err)
{
    struct fake *f = (struct fake *)hv;
    (void)move;
    count(f, &f->migrating);
    wait_for(f, &f->migrate_open, &f->aborted);
    ret->elapsed_ms = 7;
    return f->aborted ? err_set(err, ERR_CANCELLED, "aborted") : 0;
}

static int fake_progress(struct hypervisor *hv, const char *uuid, struct hv_progress *ret,
                         struct err *err)
{
    (void)hv;
    (void)uuid;
    (void)err;
    ret->running = true;
    return 0;
}

static int fake_abort(struct hypervisor *hv, const char *uuid, struct err *err)
{
    struct fake *f = (struct fake *)hv;
    (void)uuid;
    count(f, &f->aborts);
    if (f->deaf)
        return err_set(err, ERR_CONFLICT, "nothing to abort");
    set(f, &f->aborted, true);
    return 0;
}

static const struct hypervisor_ops fake_ops = {
    .scheme = "fake",
    .close = fake_close,
    .watch = fake_watch,
    .reset = fake_reset,
    .observe = fake_observe,
    .look = fake_look,
    .migrate = fake_migrate,
    .progress = fake_progress,
    .abort = fake_abort,
};

#define RESULTS 256

struct world {
    uv_loop_t loop;
    uv_timer_t timer;
    struct jobs *jobs;
    struct fake *fake;
    struct hv_result results[RESULTS];
    size_t n, changes;
    bool closed, expired;
};

static void on_done(void *arg, struct hv_result *result)
{
    struct world *w = arg;
    assert_true(w->n < RESULTS);
    w->results[w->n] = *result;
    w->results[w->n++].detail = NULL;
    hv_result_done(result);
}

static void on_changed(void *arg)
{
    ((struct world *)arg)->changes++;
}

static void on_closed(void *arg)
{
    ((struct world *)arg)->closed = true;
}

static void on_expired(uv_timer_t *timer)
{
    ((struct world *)timer->data)->expired = true;
}

static void begin(struct world *w, struct jobs_conf conf)
{
    struct err err = {0};
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->timer);
    w->timer.data = w;
    w->fake = xcalloc(1, sizeof *w->fake);
    w->fake->base.ops = &fake_ops;
    pthread_mutex_init(&w->fake->lock, NULL);
    pthread_cond_init(&w->fake->cond, NULL);
    conf.done = on_done;
    conf.changed = on_changed;
    conf.arg = w;
    assert_ok(jobs_open(&w->loop, &w->fake->base, &conf, &w->jobs, &err), &err);
}

/* Turns the loop until there are n results, or for ms. */
static void turn(struct world *w, size_t n, unsigned ms)
{
    w->expired = false;
    uv_timer_start(&w->timer, on_expired, ms, 0);
    while (w->n < n && !w->expired)
        uv_run(&w->loop, UV_RUN_ONCE);
}

static void end(struct world *w)
{
    jobs_close(w->jobs, on_closed, w);
    while (!w->closed)
        uv_run(&w->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void submit(struct world *w, uint64_t id, enum hv_kind kind, const char *uuid,
                   uint32_t timeout_ms)
{
    struct hv_job job = {.id = id, .kind = kind};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "vm%llu", (unsigned long long)id);
    job.move.timeout_ms = timeout_ms;
    jobs_submit(w->jobs, &job);
}

static const struct hv_result *result_of(const struct world *w, uint64_t id)
{
    const struct hv_result *found = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (w->results[i].job == id) {
            assert_null(found); /* exactly once */
            found = &w->results[i];
        }
    return found;
}

static enum err_code code_of(const struct world *w, uint64_t id)
{
    const struct hv_result *r = result_of(w, id);
    assert_non_null(r);
    return r->err.code;
}

static void results_come_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){0});
    w.fake->look_open = true;
    for (uint64_t i = 1; i <= 100; i++)
        submit(&w, i, i % 2 == 0 ? HV_LOOK : HV_OBSERVE, UUID("1"), 0);
    submit(&w, 101, HV_LOOK, "not a uuid", 0);
    turn(&w, 101, 5000);
    assert_int_equal(w.n, 101);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(code_of(&w, i), ERR_OK);
    assert_int_equal(code_of(&w, 101), ERR_INVALID);
    end(&w);
}

/* One thread: what is submitted first starts first. */
static void lanes_keep_order(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){.query_threads = 1});
    for (uint64_t i = 1; i <= 50; i++)
        submit(&w, i, HV_PROGRESS, UUID("1"), 0);
    turn(&w, 50, 5000);
    for (uint64_t i = 1; i <= 50; i++)
        assert_int_equal(w.results[i - 1].job, i);
    end(&w);
}

static void migrations_leave_queries_alone(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){.query_threads = 1, .migrate_threads = 2});
    for (uint64_t i = 1; i <= 3; i++)
        submit(&w, i, HV_MIGRATE, i == 1 ? UUID("1") : i == 2 ? UUID("2") : UUID("3"), 0);
    submit(&w, 4, HV_PROGRESS, UUID("1"), 0);
    turn(&w, 1, 5000);
    assert_int_equal(code_of(&w, 4), ERR_OK);
    /* the third waits for a thread: it can be taken back */
    while (get(w.fake, &w.fake->migrating) < 2)
        turn(&w, 99, 5);
    submit(&w, 5, HV_ABORT, UUID("3"), 0);
    turn(&w, 3, 5000);
    assert_int_equal(code_of(&w, 3), ERR_CANCELLED);
    assert_int_equal(code_of(&w, 5), ERR_OK);
    assert_int_equal(get(w.fake, &w.fake->aborts), 0);
    set(w.fake, &w.fake->migrate_open, true);
    turn(&w, 5, 5000);
    assert_int_equal(code_of(&w, 1), ERR_OK);
    assert_int_equal(result_of(&w, 2)->stats.elapsed_ms, 7);
    end(&w);
}

static void hanging_queries_are_given_up(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){.query_threads = 2, .query_timeout = 100, .abandoned_max = 3});
    for (uint64_t i = 1; i <= 4; i++)
        submit(&w, i, HV_LOOK, UUID("1"), 0); /* two run, two wait behind them */
    turn(&w, 4, 5000);
    for (uint64_t i = 1; i <= 4; i++)
        assert_int_equal(code_of(&w, i), ERR_TIMEOUT);
    assert_true(get(w.fake, &w.fake->resets) >= 1);
    assert_int_equal(jobs_load(w.jobs).abandoned, 2);
    submit(&w, 5, HV_PROGRESS, UUID("1"), 0); /* others serve now */
    turn(&w, 5, 5000);
    assert_int_equal(code_of(&w, 5), ERR_OK);
    /* a fourth and fifth hang: only three are replaced, so one thread is left, then none */
    for (uint64_t i = 6; i <= 8; i++)
        submit(&w, i, HV_LOOK, UUID("1"), 0);
    turn(&w, 8, 5000);
    assert_int_equal(jobs_load(w.jobs).abandoned, 5 - (get(w.fake, &w.fake->looks) < 5));
    submit(&w, 9, HV_PROGRESS, UUID("1"), 0);
    turn(&w, 9, 5000);
    assert_non_null(result_of(&w, 9));
    /* they come back: what they bring is dropped, and the lane is whole again */
    set(w.fake, &w.fake->look_open, true);
    while (jobs_load(w.jobs).abandoned > 0)
        turn(&w, 99, 5);
    submit(&w, 10, HV_LOOK, UUID("1"), 0);
    turn(&w, 10, 5000);
    assert_int_equal(code_of(&w, 10), ERR_OK);
    assert_int_equal(w.n, 10);
    end(&w);
}

static bool is_not_first(void *arg, const struct hv_move *move)
{
    ++*(unsigned *)arg;
    return strcmp(move->uuid, UUID("1")) != 0;
}

/* Of three moves, one waits for a thread; two are to end, whether begun or not. */
static void some_moves_are_aborted(void **state)
{
    (void)state;
    struct world w;
    unsigned asked = 0;
    begin(&w, (struct jobs_conf){.migrate_threads = 2});
    for (uint64_t i = 1; i <= 3; i++)
        submit(&w, i, HV_MIGRATE, i == 1 ? UUID("1") : i == 2 ? UUID("2") : UUID("3"), 0);
    while (get(w.fake, &w.fake->migrating) < 2)
        turn(&w, 99, 5);
    assert_int_equal(jobs_abort_moves(w.jobs, is_not_first, &asked), 2);
    assert_int_equal(asked, 3);
    turn(&w, 3, 5000); /* the stand-in's abort ends all that run */
    assert_int_equal(code_of(&w, 2), ERR_CANCELLED);
    assert_int_equal(code_of(&w, 3), ERR_CANCELLED);
    assert_int_equal(get(w.fake, &w.fake->migrating), 2);
    assert_int_equal(get(w.fake, &w.fake->aborts), 1);
    end(&w);
}

static void late_migrations_are_aborted(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){0});
    submit(&w, 1, HV_MIGRATE, UUID("1"), 50);
    turn(&w, 1, 5000);
    assert_int_equal(code_of(&w, 1), ERR_TIMEOUT);
    assert_int_equal(get(w.fake, &w.fake->aborts), 1);
    assert_int_equal(w.n, 1); /* the abort was ours alone */
    end(&w);
}

static void deaf_migrations_are_unknown(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct jobs_conf){.abort_grace = 50});
    w.fake->deaf = true;
    submit(&w, 1, HV_MIGRATE, UUID("1"), 50);
    turn(&w, 1, 5000);
    assert_int_equal(code_of(&w, 1), ERR_UNKNOWN);
    assert_int_equal(jobs_load(w.jobs).abandoned, 1);
    set(w.fake, &w.fake->migrate_open, true); /* it succeeds after all: nobody is told twice */
    while (jobs_load(w.jobs).abandoned > 0)
        turn(&w, 99, 5);
    assert_int_equal(w.n, 1);
    end(&w);
}

static void *burst(void *arg)
{
    struct fake *f = arg;
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&f->lock);
        if (f->changed != NULL)
            f->changed(f->changed_arg);
        pthread_mutex_unlock(&f->lock);
    }
    return NULL;
}

static void changes_are_told(void **state)
{
    (void)state;
    struct world w;
    pthread_t thread;
    begin(&w, (struct jobs_conf){0});
    pthread_create(&thread, NULL, burst, w.fake);
    while (w.changes == 0)
        turn(&w, 1, 5);
    pthread_join(thread, NULL);
    turn(&w, 1, 5);
    assert_in_range(w.changes, 1, 1000);
    end(&w);
}

/* A call that runs on at the end is left behind, and closes the hypervisor when it returns. */
static void close_waits_for_nobody(void **state)
{
    (void)state;
    struct world w;
    unsigned closed = __atomic_load_n(&closed_fakes, __ATOMIC_SEQ_CST);
    begin(&w, (struct jobs_conf){.query_threads = 1, .migrate_threads = 1});
    struct fake *f = w.fake;
    submit(&w, 1, HV_MIGRATE, UUID("1"), 0);
    submit(&w, 2, HV_MIGRATE, UUID("2"), 0);
    while (get(f, &f->migrating) == 0)
        turn(&w, 99, 5);
    end(&w);
    assert_int_equal(w.n, 0);
    assert_int_equal(__atomic_load_n(&closed_fakes, __ATOMIC_SEQ_CST), closed);
    set(f, &f->migrate_open, true);
    for (int i = 0; i < 500 && __atomic_load_n(&closed_fakes, __ATOMIC_SEQ_CST) == closed; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(__atomic_load_n(&closed_fakes, __ATOMIC_SEQ_CST), closed + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_back),
        cmocka_unit_test(lanes_keep_order),
        cmocka_unit_test(migrations_leave_queries_alone),
        cmocka_unit_test(hanging_queries_are_given_up),
        cmocka_unit_test(some_moves_are_aborted),
        cmocka_unit_test(late_migrations_are_aborted),
        cmocka_unit_test(deaf_migrations_are_unknown),
        cmocka_unit_test(changes_are_told),
        cmocka_unit_test(close_waits_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
