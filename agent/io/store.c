/* The loop thread's side of the store: batches, the queue to the storage thread, the answers back.
 *
 * A request goes queue -> storage thread -> answered list -> (uv_async) loop thread. Order is that
 * of submission throughout; what stands together at the head of the queue and writes is one
 * transaction. Shared between the threads, under the lock: queue, answered, stop, queued_bytes. */
#include "agent/io/store.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "agent/io/store_db.h"
#include "proto/util.h"

/* Bounds of what waits. Raft's batches are not counted against them: raft bounds itself, and a
 * refusal there would end this voter. */
#define PENDING_MAX 4096 /* requests, until they are answered */
#define QUEUE_MAX_BYTES (128u << 20)
#define GROUP_MAX_BYTES (16u << 20) /* of one transaction: bounds how long a commit takes */
#define LIST_MAX 1000

struct request;

struct request_kind {
    int (*read)(struct store_db *db, struct request *r, struct err *err); /* NULL: it writes */
    void (*answer)(struct request *r, const struct err *err);
};

struct request {
    struct request *next;
    const struct request_kind *kind;
    struct err err;  /* code ERR_OK: it went well */
    bool waited_for; /* by the loop thread, which releases it */
    bool answered;
    struct store_batch *batch; /* owned */
    uint64_t audit_size;       /* the head after this write */
    uint8_t audit_root[HASH_SIZE];

    /* questions */
    char *key; /* owned */
    uint64_t from_seq;
    size_t limit;
    enum store_proof proof_kind;
    uint64_t size;

    /* answers */
    struct store_pairs pairs;
    struct store_audit_entries audit;
    struct merkle_proof proof;
    struct store_snapshot_infos infos;
    struct store_raft_state raft;
    struct store_raft_snapshot raft_snapshot;
    void *data;
    size_t len;

    union {
        store_done_cb done;
        store_audit_cb audit;
        store_proof_cb proof;
        store_data_cb data;
        store_snapshots_cb snapshots;
        store_raft_snapshot_cb raft_snapshot;
    } cb;

    void *arg;
};

struct list {
    struct request *first, **last;
    size_t n;
};

struct store {
    struct store_conf conf;
    char *path;
    struct store_db *db; /* the storage thread's, while it runs */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, answer;
    struct list queue, answered;
    size_t queued_bytes; /* of batches counted against the bound */
    bool stop;
    uv_async_t async;

    /* loop thread only */
    size_t pending;
    struct err failure; /* code ERR_OK: none */
    bool announced;     /* on_fail was called */
    bool closing;       /* nothing is accepted any more */
    uint64_t audit_size;
    uint8_t audit_root[HASH_SIZE];
    void (*closed)(void *arg);
    void *closed_arg;

    bool broken; /* storage thread only: a write failed, no other may follow */
    struct err why;
};

static void list_add(struct list *l, struct request *r)
{
    r->next = NULL;
    if (l->first == NULL)
        l->last = &l->first;
    *l->last = r;
    l->last = &r->next;
    l->n++;
}

static struct request *list_take(struct list *l)
{
    struct request *r = l->first;
    l->first = r->next;
    l->n--;
    return r;
}

DEFINE_CLEANUP(struct store_batch, store_batch_free)

/* ---- the storage thread ---- */

static bool is_write(const struct request *r)
{
    return r->kind->read == NULL;
}

/* Take the requests that are done together: one question, or writes up to a transaction's size. */
static bool take_group(struct store *s, struct list *ret)
{
    *ret = (struct list){0};
    pthread_mutex_lock(&s->lock);
    while (s->queue.n == 0 && !s->stop)
        pthread_cond_wait(&s->work, &s->lock);
    size_t bytes = 0;
    while (s->queue.n > 0) {
        struct request *r = s->queue.first;
        if (ret->n > 0 && (!is_write(r) || bytes + r->batch->bytes > GROUP_MAX_BYTES))
            break;
        list_add(ret, list_take(&s->queue));
        if (!is_write(r))
            break;
        bytes += r->batch->bytes;
        s->queued_bytes -= r->batch->raft ? 0 : r->batch->bytes;
    }
    pthread_mutex_unlock(&s->lock);
    return ret->n > 0;
}

static int write_batch(struct store_db *db, const struct store_batch *b, struct err *err)
{
    for (size_t i = 0; i < b->n; i++) {
        int rv = store_db_apply(db, &b->ops[i], err);
        if (rv < 0)
            return rv;
    }
    return 0;
}

static int write_group(struct store_db *db, const struct list *group, struct err *err)
{
    int rv = store_db_begin(db, err);
    for (struct request *r = group->first; r != NULL && rv >= 0; r = r->next) {
        rv = write_batch(db, r->batch, err);
        store_db_audit_head(db, &r->audit_size, r->audit_root);
    }
    return rv < 0 ? rv : store_db_commit(db, err);
}

static void do_writes(struct store *s, const struct list *group)
{
    if (!s->broken && write_group(s->db, group, &s->why) < 0) {
        store_db_rollback(s->db);
        s->broken = true;
    }
    for (struct request *r = group->first; r != NULL; r = r->next) {
        store_batch_free(TAKE_PTR(r->batch));
        if (s->broken)
            r->err = s->why;
    }
}

/* Hand over the answers; who waits for one releases it himself. */
static void post(struct store *s, struct list *group)
{
    pthread_mutex_lock(&s->lock);
    while (group->n > 0) {
        struct request *r = list_take(group);
        r->answered = true;
        if (!r->waited_for)
            list_add(&s->answered, r);
    }
    pthread_cond_broadcast(&s->answer);
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->async);
}

static void answer_question(struct store_db *db, struct request *r)
{
    if (r->kind->read(db, r, &r->err) >= 0)
        r->err.code = ERR_OK; /* what a successful read came across on its way */
}

static void *storage_thread(void *arg)
{
    struct store *s = arg;
    struct list group;
    while (take_group(s, &group)) {
        struct request *r = group.first;
        if (is_write(r))
            do_writes(s, &group);
        else
            answer_question(s->db, r);
        post(s, &group);
    }
    return NULL;
}

/* ---- requests on the loop thread ---- */

static void request_free(struct request *r)
{
    store_batch_free(r->batch);
    store_pairs_done(&r->pairs);
    store_audit_entries_done(&r->audit);
    free(r->infos.items);
    store_raft_state_done(&r->raft);
    free(r->raft_snapshot.config);
    free(r->raft_snapshot.data);
    free(r->data);
    free(r->key);
    free(r);
}

DEFINE_CLEANUP(struct request, request_free)

/* Answers that were waited for overtake others: the audit's head only moves forward. */
static void note_write(struct store *s, const struct request *r)
{
    if (r->err.code != ERR_OK) {
        if (s->failure.code == ERR_OK)
            s->failure = r->err;
    } else if (r->audit_size > s->audit_size) {
        s->audit_size = r->audit_size;
        memcpy(s->audit_root, r->audit_root, HASH_SIZE);
    }
}

static void announce_failure(struct store *s)
{
    if (s->failure.code == ERR_OK || s->announced)
        return;
    s->announced = true;
    if (s->conf.on_fail != NULL)
        s->conf.on_fail(s->conf.arg, &s->failure);
}

static void deliver(struct store *s, struct request *r)
{
    s->pending--;
    if (is_write(r))
        note_write(s, r);
    announce_failure(s);
    r->kind->answer(r, r->err.code == ERR_OK ? NULL : &r->err);
    request_free(r);
}

/* Answers are delivered one by one: a callback may submit, or wait, and nothing is lost. */
static void deliver_answers(struct store *s)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct request *r = s->answered.n > 0 ? list_take(&s->answered) : NULL;
        pthread_mutex_unlock(&s->lock);
        if (r == NULL)
            break;
        deliver(s, r);
    }
    announce_failure(s);
}

static void on_handle_closed(uv_handle_t *handle);

/* The thread ends once its queue is empty; what its last answers submit would find nobody. */
static void finish_closing(struct store *s)
{
    pthread_join(s->thread, NULL);
    deliver_answers(s);
    uv_close((uv_handle_t *)&s->async, on_handle_closed);
}

static void on_async(uv_async_t *async)
{
    struct store *s = async->data;
    deliver_answers(s);
    if (s->closing && !uv_is_closing((uv_handle_t *)async))
        finish_closing(s);
}

static bool is_full(struct store *s, size_t bytes)
{
    pthread_mutex_lock(&s->lock);
    bool full = s->queued_bytes + bytes > QUEUE_MAX_BYTES;
    pthread_mutex_unlock(&s->lock);
    return full || s->pending >= PENDING_MAX;
}

/* May this be queued? Only the loop thread adds, so that the answer stays true. */
static int admit(struct store *s, const struct store_batch *b, struct err *err)
{
    if (s->closing)
        return err_set(err, ERR_IO, "%s is being closed", s->path);
    if (s->failure.code != ERR_OK)
        return err_set(err, ERR_IO, "the store has failed: %s", s->failure.msg);
    if (b->err.code != ERR_OK)
        return err_set(err, b->err.code, "%s", b->err.msg);
    if (!b->raft && is_full(s, b->bytes))
        return err_set(err, ERR_LIMIT, "too much waits to be written to %s", s->path);
    return 0;
}

static void enqueue(struct store *s, struct request *r)
{
    pthread_mutex_lock(&s->lock);
    list_add(&s->queue, r);
    if (is_write(r) && !r->batch->raft)
        s->queued_bytes += r->batch->bytes;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* Queue and wait; answers of earlier requests stay for the loop. The request stays the caller's. */
static void ask(struct store *s, struct request *r)
{
    r->waited_for = true;
    enqueue(s, r);
    pthread_mutex_lock(&s->lock);
    while (!r->answered)
        pthread_cond_wait(&s->answer, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static int outcome(const struct request *r, struct err *err)
{
    return r->err.code == ERR_OK ? 0 : err_set(err, r->err.code, "%s", r->err.msg);
}

static void post_request(struct store *s, struct request *r)
{
    s->pending++;
    enqueue(s, r);
}

/* ---- writing ---- */

static void answer_write(struct request *r, const struct err *err)
{
    if (r->cb.done != NULL)
        r->cb.done(r->arg, err);
}

static const struct request_kind write_kind = {.answer = answer_write};

static struct request *request_new(const struct request_kind *kind, void *arg)
{
    struct request *r = xcalloc(1, sizeof *r);
    r->kind = kind;
    r->arg = arg;
    return r;
}

int store_submit(struct store *s, struct store_batch *batch, store_done_cb cb, void *arg,
                 struct err *err)
{
    _cleanup_(store_batch_freep) struct store_batch *b = batch;
    int rv = admit(s, b, err);
    if (rv < 0)
        return rv;
    struct request *r = request_new(&write_kind, arg);
    r->batch = TAKE_PTR(b);
    r->cb.done = cb;
    post_request(s, r);
    return 0;
}

int store_submit_wait(struct store *s, struct store_batch *batch, struct err *err)
{
    _cleanup_(store_batch_freep) struct store_batch *b = batch;
    int rv = admit(s, b, err);
    if (rv < 0)
        return rv;
    _cleanup_(request_freep) struct request *r = request_new(&write_kind, NULL);
    r->batch = TAKE_PTR(b);
    ask(s, r);
    note_write(s, r);
    if (r->err.code != ERR_OK)
        uv_async_send(&s->async); /* on_fail is told from the loop */
    return outcome(r, err);
}

bool store_failed(const struct store *s)
{
    return s->failure.code != ERR_OK;
}

size_t store_pending(const struct store *s)
{
    return s->pending;
}

void store_audit_head(const struct store *s, uint64_t *ret_size, uint8_t ret_root[HASH_SIZE])
{
    *ret_size = s->audit_size;
    memcpy(ret_root, s->audit_root, HASH_SIZE);
}

/* ---- questions that block ---- */

static int read_journal(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_journal(db, &r->pairs, err);
}

int store_journal_load(struct store *s,
                       int (*each)(void *arg, const char *key, const void *value, size_t len),
                       void *arg, struct err *err)
{
    static const struct request_kind kind = {.read = read_journal};
    _cleanup_(request_freep) struct request *r = request_new(&kind, NULL);
    ask(s, r);
    int rv = outcome(r, err);
    for (size_t i = 0; i < r->pairs.n && rv >= 0; i++)
        rv = each(arg, r->pairs.items[i].key, r->pairs.items[i].value, r->pairs.items[i].len);
    return rv;
}

static int read_kv(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_kv_get(db, r->key, &r->data, &r->len, err);
}

int store_kv_get(struct store *s, const char *key, void **ret_value, size_t *ret_len,
                 struct err *err)
{
    static const struct request_kind kind = {.read = read_kv};
    _cleanup_(request_freep) struct request *r = request_new(&kind, NULL);
    r->key = xstrdup(key);
    ask(s, r);
    int rv = outcome(r, err);
    if (rv < 0)
        return rv;
    *ret_value = TAKE_PTR(r->data);
    *ret_len = r->len;
    return 0;
}

static int read_raft(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_raft_load(db, &r->raft, err);
}

int store_raft_load(struct store *s, struct store_raft_state *ret, struct err *err)
{
    static const struct request_kind kind = {.read = read_raft};
    _cleanup_(request_freep) struct request *r = request_new(&kind, NULL);
    ask(s, r);
    int rv = outcome(r, err);
    if (rv < 0)
        return rv;
    *ret = r->raft;
    r->raft = (struct store_raft_state){0};
    return 0;
}

/* ---- questions with a callback ---- */

static int read_audit(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_audit_list(db, r->from_seq, r->limit, &r->audit, err);
}

static void answer_audit(struct request *r, const struct err *err)
{
    r->cb.audit(r->arg, err, r->audit.items, r->audit.n);
}

static int ask_later(struct store *s, struct request *question, struct err *err)
{
    _cleanup_(request_freep) struct request *r = question;
    if (s->closing)
        return err_set(err, ERR_IO, "%s is being closed", s->path);
    if (is_full(s, 0))
        return err_set(err, ERR_LIMIT, "too much waits for %s", s->path);
    post_request(s, TAKE_PTR(r));
    return 0;
}

int store_audit_list(struct store *s, uint64_t from_seq, size_t limit, store_audit_cb cb, void *arg,
                     struct err *err)
{
    static const struct request_kind kind = {.read = read_audit, .answer = answer_audit};
    struct request *r = request_new(&kind, arg);
    r->from_seq = from_seq;
    r->limit = MIN(limit, (size_t)LIST_MAX);
    r->cb.audit = cb;
    return ask_later(s, r, err);
}

static int read_proof(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_audit_proof(db, r->proof_kind, r->from_seq, r->size, &r->proof, err);
}

static void answer_proof(struct request *r, const struct err *err)
{
    r->cb.proof(r->arg, err, &r->proof);
}

int store_audit_proof(struct store *s, enum store_proof proof, uint64_t from, uint64_t size,
                      store_proof_cb cb, void *arg, struct err *err)
{
    static const struct request_kind kind = {.read = read_proof, .answer = answer_proof};
    struct request *r = request_new(&kind, arg);
    r->proof_kind = proof;
    r->from_seq = from;
    r->size = size;
    r->cb.proof = cb;
    return ask_later(s, r, err);
}

static int read_snapshot(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_snapshot_get(db, r->key, &r->data, &r->len, err);
}

static void answer_data(struct request *r, const struct err *err)
{
    r->cb.data(r->arg, err, r->data, r->len);
}

int store_snapshot_get(struct store *s, const char *digest, store_data_cb cb, void *arg,
                       struct err *err)
{
    static const struct request_kind kind = {.read = read_snapshot, .answer = answer_data};
    struct request *r = request_new(&kind, arg);
    r->key = xstrdup(digest);
    r->cb.data = cb;
    return ask_later(s, r, err);
}

static int read_snapshots(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_snapshot_list(db, r->limit, &r->infos, err);
}

static void answer_snapshots(struct request *r, const struct err *err)
{
    r->cb.snapshots(r->arg, err, r->infos.items, r->infos.n);
}

int store_snapshot_list(struct store *s, size_t limit, store_snapshots_cb cb, void *arg,
                        struct err *err)
{
    static const struct request_kind kind = {.read = read_snapshots, .answer = answer_snapshots};
    struct request *r = request_new(&kind, arg);
    r->limit = MIN(limit, (size_t)LIST_MAX);
    r->cb.snapshots = cb;
    return ask_later(s, r, err);
}

static int read_raft_snapshot(struct store_db *db, struct request *r, struct err *err)
{
    return store_db_raft_snapshot(db, &r->raft_snapshot, err);
}

static void answer_raft_snapshot(struct request *r, const struct err *err)
{
    r->cb.raft_snapshot(r->arg, err, &r->raft_snapshot);
}

int store_raft_snapshot_get(struct store *s, store_raft_snapshot_cb cb, void *arg, struct err *err)
{
    static const struct request_kind kind = {.read = read_raft_snapshot,
                                             .answer = answer_raft_snapshot};
    struct request *r = request_new(&kind, arg);
    r->cb.raft_snapshot = cb;
    return ask_later(s, r, err);
}

/* ---- opening and closing ---- */

/* Signals are the loop thread's. */
static int start_thread(struct store *s, struct err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&s->thread, NULL, storage_thread, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? 0 : err_set(err, ERR_NO_MEMORY, "storage thread: %s", strerror(rc));
}

static void store_free(struct store *s)
{
    if (s->db != NULL)
        store_db_close(s->db);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->answer);
    free(s->path);
    free(s);
}

DEFINE_CLEANUP(struct store, store_free)

static void on_handle_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    void (*closed)(void *arg) = s->closed;
    void *arg = s->closed_arg;
    store_free(s);
    if (closed != NULL)
        closed(arg);
}

int store_open(const struct store_conf *conf, struct store **ret, struct err *err)
{
    _cleanup_(store_freep) struct store *s = xcalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->answer, NULL);
    s->path = xstrdup(conf->path);
    s->conf = *conf;
    s->conf.path = s->path;
    int rv = store_db_open(&s->conf, &s->db, err);
    if (rv < 0)
        return rv;
    store_db_audit_head(s->db, &s->audit_size, s->audit_root);
    if ((rv = uv_async_init(conf->loop, &s->async, on_async)) < 0)
        return err_set(err, ERR_IO, "%s: event loop: %s", s->path, uv_strerror(rv));
    s->async.data = s;
    if ((rv = start_thread(s, err)) < 0) {
        uv_close((uv_handle_t *)&TAKE_PTR(s)->async, on_handle_closed);
        return rv;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

void store_close(struct store *s, void (*closed)(void *arg), void *arg)
{
    s->closed = closed;
    s->closed_arg = arg;
    s->closing = true;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->async);
}
