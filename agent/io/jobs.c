#include "agent/io/jobs.h"

#include <pthread.h>
#include <stdio.h>

#include "proto/util.h"

#define QUERY_THREADS 4
#define MIGRATE_THREADS 4
#define ABANDONED_MAX 8
#define QUERY_TIMEOUT 10000
#define ABORT_GRACE 30000
#define CLOSE_PATIENCE 1000   /* what busy threads get at the end, before they are left behind */
#define STACK_SIZE (2u << 20) /* libvirt's XDR and XML need far less; sanitizers do not */

enum lane_id { LANE_QUERY, LANE_MIGRATE, LANES };

enum task_state { TASK_QUEUED, TASK_RUNNING, TASK_ABANDONED };

/* Owned by its lane while queued; by its thread while it runs, and listed in the lane then. */
struct task {
    struct task *next;
    struct hv_job job;
    enum task_state state;
    msec started, deadline; /* of the loop's clock; 0: not started, none */
    bool aborted;           /* its time is up, an abort was asked for */
    bool internal;          /* our own abort: nobody waits for the result */
    struct hv_result result;
};

struct tasks {
    struct task *head, *tail;
};

struct lane {
    pthread_cond_t work;
    struct tasks queued;
    struct tasks running; /* abandoned ones too */
    unsigned wanted;      /* threads that serve */
    unsigned threads;     /* alive, abandoned ones included */
    unsigned abandoned;
};

/* What the loop and the threads share. Lock order: the pool's lock is the innermost; nothing of the
 * hypervisor is called under it. */
struct pool {
    pthread_mutex_t lock;
    struct hypervisor *hv;
    struct lane lanes[LANES];
    struct tasks done;
    uv_async_t *async; /* NULL once nobody listens */
    bool open;
    bool changed;
    unsigned threads; /* the last one to leave closes the hypervisor */
    unsigned refs;    /* threads and the loop's side */
    bool hv_closed;
    unsigned abandoned_max;
};

struct jobs {
    struct jobs_conf conf;
    struct pool *pool;
    uv_loop_t *loop;
    uv_async_t async;
    uv_timer_t timer;
    bool closing, stopped;
    unsigned handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct worker {
    struct pool *pool;
    enum lane_id lane;
};

static void tasks_push(struct tasks *list, struct task *t)
{
    t->next = NULL;
    if (list->tail != NULL)
        list->tail->next = t;
    else
        list->head = t;
    list->tail = t;
}

static void tasks_remove(struct tasks *list, struct task *t)
{
    struct task **at = &list->head, *before = NULL;
    while (*at != t) {
        before = *at;
        at = &(*at)->next;
    }
    *at = t->next;
    if (list->tail == t)
        list->tail = before;
    t->next = NULL;
}

static void task_free(struct task *t)
{
    hv_job_done(&t->job);
    hv_result_done(&t->result);
    free(t);
}

static void tasks_clear(struct tasks *list)
{
    while (list->head != NULL) {
        struct task *t = list->head;
        tasks_remove(list, t);
        task_free(t);
    }
}

static void pool_unref(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool last = --pool->refs == 0;
    pthread_mutex_unlock(&pool->lock);
    if (!last)
        return;
    for (int i = 0; i < LANES; i++) {
        tasks_clear(&pool->lanes[i].queued);
        pthread_cond_destroy(&pool->lanes[i].work);
    }
    tasks_clear(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Locked. */
static void pool_wake(struct pool *pool)
{
    if (pool->async != NULL)
        uv_async_send(pool->async);
}

/* Locked. */
static void pool_deliver(struct pool *pool, struct task *t)
{
    if (t->internal || pool->async == NULL) {
        task_free(t);
        return;
    }
    tasks_push(&pool->done, t);
    pool_wake(pool);
}

/* Locked. The job's end as the waiting side shall see it, without its task. */
static void pool_deliver_error(struct pool *pool, const struct task *t, const struct err *err)
{
    struct task *answer = xcalloc(1, sizeof *answer);
    answer->internal = t->internal;
    answer->result = (struct hv_result){.job = t->job.id, .kind = t->job.kind, .err = *err};
    pool_deliver(pool, answer);
}

static void on_changed(void *arg)
{
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    pool->changed = true;
    pool_wake(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- threads ---- */

static void task_finish(struct pool *pool, struct lane *lane, struct task *t)
{
    tasks_remove(&lane->running, t);
    if (t->state == TASK_ABANDONED) {
        lane->abandoned--;
        task_free(t);
        return;
    }
    struct err *err = &t->result.err;
    if (t->aborted && err->code == ERR_CANCELLED)
        err_set(err, ERR_TIMEOUT, "%s did not end within %u ms and was aborted", t->job.move.vm,
                t->job.move.timeout_ms);
    pool_deliver(pool, t);
}

/* The last thread out closes the hypervisor, so that the loop never blocks on it. */
static void worker_leave(struct pool *pool, struct lane *lane)
{
    lane->threads--;
    if (--pool->threads == 0) {
        pthread_mutex_unlock(&pool->lock);
        hypervisor_close(pool->hv);
        pthread_mutex_lock(&pool->lock);
        pool->hv_closed = true;
        pool_wake(pool);
    }
}

static void *worker_main(void *arg)
{
    struct worker self = *(struct worker *)arg;
    free(arg);
    struct pool *pool = self.pool;
    struct lane *lane = &pool->lanes[self.lane];
    pthread_mutex_lock(&pool->lock);
    while (pool->open && lane->threads - lane->abandoned <= lane->wanted) {
        struct task *t = lane->queued.head;
        if (t == NULL) {
            pthread_cond_wait(&lane->work, &pool->lock);
            continue;
        }
        tasks_remove(&lane->queued, t);
        tasks_push(&lane->running, t);
        t->state = TASK_RUNNING;
        if (self.lane == LANE_MIGRATE)
            pool_wake(pool); /* the loop has the clock: it sets the deadline */
        pthread_mutex_unlock(&pool->lock);
        hypervisor_call(pool->hv, &t->job, &t->result);
        pthread_mutex_lock(&pool->lock);
        task_finish(pool, lane, t);
    }
    worker_leave(pool, lane);
    pthread_mutex_unlock(&pool->lock);
    pool_unref(pool);
    return NULL;
}

/* Locked. */
static int worker_start(struct pool *pool, enum lane_id id)
{
    struct worker *w = xmalloc(sizeof *w);
    *w = (struct worker){pool, id};
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        free(w);
        return rc;
    }
    pool->lanes[id].threads++;
    pool->threads++;
    pool->refs++;
    return 0;
}

/* ---- the loop's side ---- */

static msec loop_now(const struct jobs *jobs)
{
    return (msec)uv_now(jobs->loop) + 1; /* never 0, which means none */
}

/* Locked. When the next deadline passes, or 0. Gives migrations that have begun since their own. */
static msec next_deadline(struct jobs *jobs)
{
    msec next = 0, now = loop_now(jobs);
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &jobs->pool->lanes[i];
        for (struct task *t = lane->queued.head; t != NULL; t = t->next)
            if (t->deadline != 0 && (next == 0 || t->deadline < next))
                next = t->deadline;
        for (struct task *t = lane->running.head; t != NULL; t = t->next) {
            if (t->started == 0) {
                t->started = now;
                if (i == LANE_MIGRATE && t->job.move.timeout_ms != 0)
                    t->deadline = now + (msec)t->job.move.timeout_ms;
            }
            if (t->state == TASK_RUNNING && t->deadline != 0 && (next == 0 || t->deadline < next))
                next = t->deadline;
        }
    }
    return next;
}

static void on_timer(uv_timer_t *timer);

static void rearm(struct jobs *jobs)
{
    if (jobs->closing)
        return;
    pthread_mutex_lock(&jobs->pool->lock);
    msec next = next_deadline(jobs);
    pthread_mutex_unlock(&jobs->pool->lock);
    msec wait = next - loop_now(jobs);
    if (next == 0)
        uv_timer_stop(&jobs->timer);
    else
        uv_timer_start(&jobs->timer, on_timer, wait > 0 ? (uint64_t)wait : 0, 0);
}

/* Locked. The task hangs: answer for it, and let another thread serve in its place. */
static void task_abandon(struct pool *pool, enum lane_id id, struct task *t, const struct err *err)
{
    struct lane *lane = &pool->lanes[id];
    t->state = TASK_ABANDONED;
    lane->abandoned++;
    pool_deliver_error(pool, t, err);
    if (lane->threads - lane->abandoned < lane->wanted &&
        lane->threads < lane->wanted + pool->abandoned_max)
        worker_start(pool, id); /* failing: the hanging one serves again when it comes back */
}

static const char *kind_name(enum hv_kind kind)
{
    static const char *const names[] = {
        [HV_OBSERVE] = "observing the host",
        [HV_LOOK] = "looking at the VM",
        [HV_LOOK_REMOTE] = "looking at the VM on the other host",
        [HV_PRECHECK] = "the check before leaving",
        [HV_EXAMINE] = "examining the VM",
        [HV_BASELINE] = "comparing the VM with what it was",
        [HV_ADMIT] = "the check before arriving",
        [HV_MIGRATE] = "the migration",
        [HV_PROGRESS] = "asking for progress",
        [HV_TUNE] = "allowing a longer pause",
        [HV_AUTOSTART] = "letting it start with the host",
        [HV_POSTCOPY] = "switching to post-copy",
        [HV_ABORT] = "aborting the migration",
        [HV_TIDY] = "removing the definition",
        [HV_RESUME] = "letting the VM go on",
        [HV_DISCARD] = "removing the paused copy",
        [HV_SHUTDOWN] = "asking the VM to shut down",
        [HV_SUSPEND] = "saving the VM",
        [HV_STANDBY] = "going to sleep",
        [HV_WAKE] = "waking the host",
        [HV_ASK] = "asking the gate rules' hooks",
        [HV_OPEN] = "opening the firewall",
        [HV_CLOSE] = "closing the firewall",
    };
    return names[kind];
}

/* Locked. True when a running query hung. */
static bool expire_queries(struct jobs *jobs, msec now)
{
    struct lane *lane = &jobs->pool->lanes[LANE_QUERY];
    struct err err;
    bool hung = false;
    for (struct task *t = lane->queued.head, *next; t != NULL; t = next) {
        next = t->next;
        if (t->deadline > now)
            continue;
        err_set(&err, ERR_TIMEOUT, "%s waited %lld ms behind calls to the hypervisor that hang",
                kind_name(t->job.kind), (long long)jobs->conf.query_timeout);
        tasks_remove(&lane->queued, t);
        pool_deliver_error(jobs->pool, t, &err);
        task_free(t);
    }
    for (struct task *t = lane->running.head; t != NULL; t = t->next) {
        if (t->state != TASK_RUNNING || t->deadline > now)
            continue;
        err_set(&err, ERR_TIMEOUT, "%s took longer than %lld ms: the hypervisor hangs",
                kind_name(t->job.kind), (long long)jobs->conf.query_timeout);
        task_abandon(jobs->pool, LANE_QUERY, t, &err);
        hung = true;
    }
    return hung;
}

/* Locked. */
static void queue_abort(struct jobs *jobs, const struct task *t, msec now)
{
    struct task *abort_task = xcalloc(1, sizeof *abort_task);
    abort_task->job = (struct hv_job){.kind = HV_ABORT, .move = t->job.move};
    abort_task->internal = true;
    abort_task->deadline = now + jobs->conf.query_timeout;
    struct lane *lane = &jobs->pool->lanes[LANE_QUERY];
    tasks_push(&lane->queued, abort_task);
    pthread_cond_signal(&lane->work);
}

/* Locked. */
static void expire_migrations(struct jobs *jobs, msec now)
{
    struct lane *lane = &jobs->pool->lanes[LANE_MIGRATE];
    struct err err;
    for (struct task *t = lane->running.head; t != NULL; t = t->next) {
        if (t->state != TASK_RUNNING || t->deadline == 0 || t->deadline > now)
            continue;
        if (!t->aborted) {
            t->aborted = true;
            t->deadline = now + jobs->conf.abort_grace;
            queue_abort(jobs, t, now);
            continue;
        }
        err_set(&err, ERR_UNKNOWN,
                "%s: the migration neither ended within %u ms nor let itself be "
                "aborted",
                t->job.move.vm, t->job.move.timeout_ms);
        task_abandon(jobs->pool, LANE_MIGRATE, t, &err);
    }
}

static void finish_close(struct jobs *jobs);

static void on_timer(uv_timer_t *timer)
{
    struct jobs *jobs = timer->data;
    if (jobs->closing) {
        finish_close(jobs);
        return;
    }
    msec now = loop_now(jobs);
    pthread_mutex_lock(&jobs->pool->lock);
    bool hung = expire_queries(jobs, now);
    expire_migrations(jobs, now);
    pthread_mutex_unlock(&jobs->pool->lock);
    if (hung)
        jobs->pool->hv->ops->reset(jobs->pool->hv);
    rearm(jobs);
}

static void on_async(uv_async_t *async)
{
    struct jobs *jobs = async->data;
    struct pool *pool = jobs->pool;
    pthread_mutex_lock(&pool->lock);
    struct tasks done = pool->done;
    pool->done = (struct tasks){0};
    bool changed = pool->changed, hv_closed = pool->hv_closed;
    pool->changed = false;
    pthread_mutex_unlock(&pool->lock);
    if (changed && !jobs->closing && jobs->conf.changed != NULL)
        jobs->conf.changed(jobs->conf.arg);
    while (done.head != NULL && !jobs->closing) {
        struct task *t = done.head;
        tasks_remove(&done, t);
        struct hv_result result = t->result;
        t->result = (struct hv_result){0};
        task_free(t);
        jobs->conf.done(jobs->conf.arg, &result);
    }
    tasks_clear(&done);
    if (jobs->closing && hv_closed)
        finish_close(jobs);
    rearm(jobs);
}

static struct pool *pool_new(struct hypervisor *hv, const struct jobs_conf *conf)
{
    struct pool *pool = xcalloc(1, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pool->hv = hv;
    pool->open = true;
    pool->refs = 1;
    pool->abandoned_max = conf->abandoned_max;
    pool->lanes[LANE_QUERY].wanted = conf->query_threads;
    pool->lanes[LANE_MIGRATE].wanted = conf->migrate_threads;
    for (int i = 0; i < LANES; i++)
        pthread_cond_init(&pool->lanes[i].work, NULL);
    return pool;
}

static void set_defaults(struct jobs_conf *conf)
{
    conf->query_threads = conf->query_threads != 0 ? conf->query_threads : QUERY_THREADS;
    conf->migrate_threads = conf->migrate_threads != 0 ? conf->migrate_threads : MIGRATE_THREADS;
    conf->abandoned_max = conf->abandoned_max != 0 ? conf->abandoned_max : ABANDONED_MAX;
    conf->query_timeout = conf->query_timeout != 0 ? conf->query_timeout : QUERY_TIMEOUT;
    conf->abort_grace = conf->abort_grace != 0 ? conf->abort_grace : ABORT_GRACE;
}

/* The threads that could be started end by themselves; the last one closes the hypervisor. */
static int pool_start(struct pool *pool)
{
    int rc = 0;
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < LANES && rc == 0; i++)
        for (unsigned k = 0; k < pool->lanes[i].wanted && rc == 0; k++)
            rc = worker_start(pool, (enum lane_id)i);
    if (rc != 0)
        pool->open = false;
    bool none = pool->threads == 0;
    for (int i = 0; i < LANES; i++)
        pthread_cond_broadcast(&pool->lanes[i].work);
    pthread_mutex_unlock(&pool->lock);
    if (none)
        hypervisor_close(pool->hv);
    return rc;
}

int jobs_open(uv_loop_t *loop, struct hypervisor *hv, const struct jobs_conf *conf,
              struct jobs **ret, struct err *err)
{
    struct jobs *jobs = xcalloc(1, sizeof *jobs);
    jobs->conf = *conf;
    set_defaults(&jobs->conf);
    jobs->loop = loop;
    jobs->pool = pool_new(hv, &jobs->conf);
    int rc = pool_start(jobs->pool);
    if (rc != 0) {
        pool_unref(jobs->pool);
        free(jobs);
        return err_set(err, ERR_LIMIT, "cannot start the hypervisor's threads: %s", strerror(rc));
    }
    uv_async_init(loop, &jobs->async, on_async);
    uv_timer_init(loop, &jobs->timer);
    jobs->async.data = jobs->timer.data = jobs;
    pthread_mutex_lock(&jobs->pool->lock);
    jobs->pool->async = &jobs->async;
    pthread_mutex_unlock(&jobs->pool->lock);
    hv->ops->watch(hv, on_changed, jobs->pool);
    *ret = jobs;
    return 0;
}

/* Locked. A migration that still waits is not begun. */
static void drop_queued(struct pool *pool, struct lane *lane, struct task *t)
{
    struct err err;
    err_set(&err, ERR_CANCELLED, "%s: cancelled before the migration began", t->job.move.vm);
    tasks_remove(&lane->queued, t);
    pool_deliver_error(pool, t, &err);
    task_free(t);
}

unsigned jobs_abort_moves(struct jobs *jobs, bool (*which)(void *arg, const struct hv_move *move),
                          void *arg)
{
    struct lane *lane = &jobs->pool->lanes[LANE_MIGRATE];
    unsigned n = 0;
    uv_update_time(jobs->loop);
    pthread_mutex_lock(&jobs->pool->lock);
    for (struct task *t = lane->queued.head, *next; t != NULL; t = next) {
        next = t->next;
        if (t->job.kind != HV_MIGRATE || !which(arg, &t->job.move))
            continue;
        drop_queued(jobs->pool, lane, t);
        n++;
    }
    for (struct task *t = lane->running.head; t != NULL; t = t->next) {
        if (t->job.kind != HV_MIGRATE || t->state != TASK_RUNNING || !which(arg, &t->job.move))
            continue;
        queue_abort(jobs, t, loop_now(jobs));
        n++;
    }
    pthread_mutex_unlock(&jobs->pool->lock);
    rearm(jobs);
    return n;
}

/* Locked. Takes the migration of this VM that still waits out of the queue; false when none does.
 */
static bool cancel_queued(struct pool *pool, const struct hv_job *abort_job)
{
    struct lane *lane = &pool->lanes[LANE_MIGRATE];
    for (struct task *t = lane->queued.head; t != NULL; t = t->next) {
        if (t->job.kind != HV_MIGRATE || strcmp(t->job.move.uuid, abort_job->move.uuid) != 0)
            continue;
        drop_queued(pool, lane, t);
        return true;
    }
    return false;
}

void jobs_submit(struct jobs *jobs, struct hv_job *job)
{
    REQUIRE(!jobs->closing);
    struct pool *pool = jobs->pool;
    struct task *t = xcalloc(1, sizeof *t);
    t->job = *job;
    job->vm = NULL;
    job->questions = NULL;
    uv_update_time(jobs->loop);
    bool takes_long = t->job.kind == HV_MIGRATE || t->job.kind == HV_SUSPEND ||
                      t->job.kind == HV_STANDBY || t->job.kind == HV_WAKE;
    enum lane_id id = takes_long ? LANE_MIGRATE : LANE_QUERY;
    if (id == LANE_QUERY)
        t->deadline = loop_now(jobs) + jobs->conf.query_timeout;
    pthread_mutex_lock(&pool->lock);
    if (t->job.kind == HV_ABORT && cancel_queued(pool, &t->job)) {
        t->result = (struct hv_result){.job = t->job.id, .kind = HV_ABORT};
        pool_deliver(pool, t);
    } else {
        tasks_push(&pool->lanes[id].queued, t);
        pthread_cond_signal(&pool->lanes[id].work);
    }
    pthread_mutex_unlock(&pool->lock);
    rearm(jobs);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct jobs *jobs = handle->data;
    if (--jobs->handles > 0)
        return;
    pool_unref(jobs->pool);
    void (*closed)(void *) = jobs->closed;
    void *arg = jobs->closed_arg;
    free(jobs);
    closed(arg);
}

static void finish_close(struct jobs *jobs)
{
    if (jobs->stopped)
        return;
    jobs->stopped = true;
    pthread_mutex_lock(&jobs->pool->lock);
    jobs->pool->async = NULL;
    pthread_mutex_unlock(&jobs->pool->lock);
    jobs->handles = 2;
    uv_close((uv_handle_t *)&jobs->async, on_handle_closed);
    uv_close((uv_handle_t *)&jobs->timer, on_handle_closed);
}

void jobs_close(struct jobs *jobs, void (*closed)(void *arg), void *arg)
{
    struct pool *pool = jobs->pool;
    jobs->closing = true;
    jobs->closed = closed;
    jobs->closed_arg = arg;
    pool->hv->ops->watch(pool->hv, NULL, NULL);
    pthread_mutex_lock(&pool->lock);
    pool->open = false;
    for (int i = 0; i < LANES; i++) {
        tasks_clear(&pool->lanes[i].queued);
        pthread_cond_broadcast(&pool->lanes[i].work);
    }
    pthread_mutex_unlock(&pool->lock);
    uv_timer_start(&jobs->timer, on_timer, CLOSE_PATIENCE, 0);
}

struct jobs_load jobs_load(const struct jobs *jobs)
{
    struct jobs_load load = {0};
    pthread_mutex_lock(&jobs->pool->lock);
    for (int i = 0; i < LANES; i++) {
        const struct lane *lane = &jobs->pool->lanes[i];
        for (const struct task *t = lane->queued.head; t != NULL; t = t->next)
            load.queued++;
        for (const struct task *t = lane->running.head; t != NULL; t = t->next)
            load.running += t->state == TASK_RUNNING;
        load.abandoned += lane->abandoned;
    }
    pthread_mutex_unlock(&jobs->pool->lock);
    return load;
}
