/* The log, the term and the snapshot on the disk. */
#include "agent/io/raft_backend.h"

#include <string.h>

#include "agent/io/store_db.h"
#include "proto/util.h"

static struct disk_work *work_new(struct raft_backend *b, int kind)
{
    struct disk_work *w = xcalloc(1, sizeof *w);
    w->b = b;
    w->kind = kind;
    return w;
}

/* libraft before 0.17.2 forgets the array of a snapshot's buffers when it does not restore it. */
static void free_forgotten(struct disk_work *w)
{
#ifdef RAFT_FORGETS_BUFS
    if (w->b->closing || raft_of(w->b)->last_stored != w->b->restoring)
        raft_free(w->installed);
#else
    (void)w;
#endif
}

/* status 0 for an append while closing, whatever became of it: libraft is deaf by then, and its way
 * of undoing a failed append is wrong when two are under way. */
static void answer_work(struct disk_work *w, int status)
{
    struct raft_backend *b = w->b;
    switch (w->kind) {
    case WORK_APPEND:
        w->append->cb(w->append, b->closing ? 0 : status);
        break;
    case WORK_SNAPSHOT_PUT:
        w->put->cb(w->put, status);
        free_forgotten(w);
        break;
    case WORK_SNAPSHOT_GET:
        w->get->cb(w->get, NULL, status);
        break;
    case WORK_TRUNCATE:
        break;
    }
    free(w);
}

/* The disk works no more: libraft is told nothing that it would act on; close answers these. */
static void set_aside(struct disk_work *w, const struct err *err)
{
    struct raft_backend *b = w->b;
    raft_backend_fail(b, err);
    w->next = b->stuck;
    b->stuck = w;
}

static void work_ended(struct raft_backend *b, int kind)
{
    b->disk_busy--;
    if (kind == WORK_APPEND && --b->appends_busy == 0)
        b->drain = false;
}

static void on_written(void *arg, const struct err *err)
{
    struct disk_work *w = arg;
    struct raft_backend *b = w->b;
    int kind = w->kind;
    b->conf.enter(b->conf.arg);
    work_ended(b, kind);
    if (err != NULL && !b->closing)
        set_aside(w, err);
    else
        answer_work(w, err == NULL ? 0 : RAFT_CANCELED);
    if (kind == WORK_APPEND && !b->closing)
        raft_net_deliver_held(b);
    b->conf.leave(b->conf.arg);
}

static int submit_work(struct raft_backend *b, struct store_batch *batch, struct disk_work *w)
{
    struct err err;
    if (b->failure.code != ERR_OK ||
        b->conf.disk.submit(b->conf.disk.arg, batch, on_written, w, &err) < 0) {
        if (b->failure.code != ERR_OK)
            store_batch_free(batch);
        else
            raft_backend_fail(b, &err);
        free(w);
        return RAFT_IOERR;
    }
    b->disk_busy++;
    b->appends_busy += w->kind == WORK_APPEND;
    return 0;
}

int raft_disk_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct raft_backend *b = backend_of(io);
    struct store_batch *batch = store_batch_new();
    for (unsigned i = 0; i < n; i++)
        store_raft_append(batch, b->next_index + i, entries[i].term, entries[i].type,
                          entries[i].buf.base, entries[i].buf.len);
    struct disk_work *w = work_new(b, WORK_APPEND);
    req->cb = cb;
    w->append = req;
    int rv = submit_work(b, batch, w);
    if (rv != 0)
        return rv;
    b->next_index += n;
    raft_net_note_append(b);
    return 0;
}

int raft_disk_truncate(struct raft_io *io, raft_index index)
{
    struct raft_backend *b = backend_of(io);
    struct store_batch *batch = store_batch_new();
    store_raft_truncate(batch, index);
    int rv = submit_work(b, batch, work_new(b, WORK_TRUNCATE));
    if (rv != 0)
        return rv;
    b->next_index = index;
    b->drain = b->appends_busy > 0;
    return 0;
}

static void *join(const struct raft_buffer *bufs, unsigned n, size_t *ret_len)
{
    struct buf all = {0};
    for (unsigned i = 0; i < n; i++)
        buf_add(&all, bufs[i].base, bufs[i].len);
    *ret_len = all.len;
    return buf_take(&all);
}

/* trailing 0: the snapshot came from the leader and replaces the whole log. */
int raft_disk_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raft_backend *b = backend_of(io);
    uint64_t keep_from = snapshot->index > trailing ? snapshot->index - trailing + 1 : 1;
    size_t len;
    _cleanup_(freep) void *data = join(snapshot->bufs, snapshot->n_bufs, &len);
    struct store_batch *batch = store_batch_new();
    if (trailing == 0)
        store_raft_truncate(batch, 1);
    store_raft_snapshot_put(batch, snapshot->index, snapshot->term, b->wire.encoded.base,
                            b->wire.encoded.len, data, len, keep_from);
    struct disk_work *w = work_new(b, WORK_SNAPSHOT_PUT);
    req->cb = cb;
    w->put = req;
    w->installed = trailing == 0 ? snapshot->bufs : NULL;
    int rv = submit_work(b, batch, w);
    if (rv == 0 && trailing == 0) {
        b->next_index = snapshot->index + 1;
        b->restoring = snapshot->index;
    }
    return rv;
}

/* libraft's form of a stored snapshot; takes its data. The voters are always the same. */
static struct raft_snapshot *snapshot_of(struct raft_backend *b, struct store_raft_snapshot *from)
{
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    struct raft_buffer *buf = raft_calloc(1, sizeof *buf);
    REQUIRE(s != NULL && buf != NULL);
    s->index = from->index;
    s->term = from->term;
    raft_configuration_init(&s->configuration);
    for (unsigned i = 0; i < b->configuration.n; i++)
        REQUIRE(raft_configuration_add(&s->configuration, i + 1, b->conf.voters[i], RAFT_VOTER) ==
                0);
    s->configuration_index = 1;
    *buf = (struct raft_buffer){TAKE_PTR(from->data), from->len};
    s->bufs = buf;
    s->n_bufs = 1;
    return s;
}

static void on_snapshot_read(void *arg, const struct err *err, struct store_raft_snapshot *snap)
{
    struct disk_work *w = arg;
    struct raft_backend *b = w->b;
    b->conf.enter(b->conf.arg);
    work_ended(b, w->kind);
    if (err != NULL || b->closing) {
        answer_work(w, b->closing ? RAFT_CANCELED : RAFT_IOERR);
    } else {
        w->get->cb(w->get, snapshot_of(b, snap), 0);
        free(w);
    }
    b->conf.leave(b->conf.arg);
}

int raft_disk_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct raft_backend *b = backend_of(io);
    struct disk_work *w = work_new(b, WORK_SNAPSHOT_GET);
    req->cb = cb;
    w->get = req;
    struct err err;
    if (b->conf.disk.snapshot_get(b->conf.disk.arg, on_snapshot_read, w, &err) < 0) {
        free(w);
        return RAFT_BUSY;
    }
    b->disk_busy++;
    return 0;
}

/* On the disk when it returns; behind all that was submitted before. */
static int set_term_and_vote(struct raft_backend *b, uint64_t term, uint64_t vote)
{
    if (b->failure.code != ERR_OK)
        return RAFT_IOERR;
    struct store_batch *batch = store_batch_new();
    store_raft_set(batch, term, vote);
    struct err err;
    if (b->conf.disk.submit_wait(b->conf.disk.arg, batch, &err) < 0)
        return raft_backend_fail(b, &err);
    b->term = term;
    b->vote = vote;
    return 0;
}

int raft_disk_set_term(struct raft_io *io, raft_term term)
{
    return set_term_and_vote(backend_of(io), term, 0); /* a new term: no vote yet */
}

int raft_disk_set_vote(struct raft_io *io, raft_id server_id)
{
    struct raft_backend *b = backend_of(io);
    return set_term_and_vote(b, b->term, server_id);
}

void raft_disk_answer_stuck(struct raft_backend *b)
{
    while (b->stuck != NULL) {
        struct disk_work *w = b->stuck;
        b->stuck = w->next;
        answer_work(w, RAFT_CANCELED);
    }
}

/* ---- loading ---- */

static int load_entries(struct raft_backend *b, struct raft_entry **ret, size_t *ret_n)
{
    size_t n = b->loaded.n_entries;
    *ret = NULL;
    *ret_n = n;
    if (n == 0)
        return 0;
    struct raft_entry *entries = raft_calloc(n, sizeof *entries);
    if (entries == NULL)
        return RAFT_NOMEM;
    for (size_t i = 0; i < n; i++) { /* a batch for each: compaction frees them one by one */
        struct store_raft_entry *e = &b->loaded.entries[i];
        void *data = TAKE_PTR(e->data);
        entries[i] = (struct raft_entry){
            .term = e->term, .type = (unsigned short)e->type, .buf = {data, e->len}, .batch = data};
    }
    *ret = entries;
    return 0;
}

int raft_disk_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct raft_backend *b = backend_of(io);
    struct store_raft_state *l = &b->loaded;
    *start_index = l->n_entries > 0 ? l->entries[0].index : l->snapshot.index + 1;
    int rv = load_entries(b, entries, n_entries);
    if (rv != 0)
        return rv;
    *term = b->term;
    *voted_for = b->vote;
    b->restoring = l->snapshot.index;
    *snapshot = l->snapshot.index > 0 ? snapshot_of(b, &l->snapshot) : NULL;
    store_raft_state_done(l);
    return 0;
}

static bool is_encoded(const struct raft_backend *b, const void *data, size_t len)
{
    return len == b->wire.encoded.len && memcmp(data, b->wire.encoded.base, len) == 0;
}

static int other_voters(const struct raft_backend *b, struct err *err)
{
    _cleanup_(buf_done) struct buf names = {0};
    for (size_t i = 0; i < b->conf.n_voters; i++)
        buf_addf(&names, "%s%s", i > 0 ? ", " : "", b->conf.voters[i]);
    return err_set(err, ERR_CONFLICT,
                   "the stored log belongs to other voters than those configured (%s)", names.data);
}

static int check_entry(const struct raft_backend *b, const struct store_raft_entry *e,
                       struct err *err)
{
    if (e->type == RAFT_CHANGE)
        return is_encoded(b, e->data, e->len) ? 0 : other_voters(b, err);
    if ((e->type != RAFT_COMMAND && e->type != RAFT_BARRIER) || e->index == 1 || e->len == 0 ||
        e->term > b->loaded.term)
        return err_set(err, ERR_IO, "the stored log is damaged at entry %llu",
                       (unsigned long long)e->index);
    return 0;
}

/* libraft only asserts these. */
static int check_loaded(const struct raft_backend *b, struct err *err)
{
    const struct store_raft_state *l = &b->loaded;
    const struct store_raft_snapshot *s = &l->snapshot;
    if (s->index > 0 && !is_encoded(b, s->config, s->config_len))
        return other_voters(b, err);
    uint64_t first = l->n_entries > 0 ? l->entries[0].index : s->index + 1;
    if (s->index == 0 ? first != 1 || l->n_entries == 0 : first > s->index + 1)
        return err_set(err, ERR_IO, "the stored log begins at entry %llu, after a gap",
                       (unsigned long long)first);
    if (first + l->n_entries <= s->index || s->term > l->term)
        return err_set(err, ERR_IO, "the stored log and its snapshot do not fit together");
    for (size_t i = 0; i < l->n_entries; i++) {
        int rv = check_entry(b, &l->entries[i], err);
        if (rv < 0)
            return rv;
    }
    return 0;
}

/* The same bytes on every voter: term 1, entry 1 names the voters. */
static int write_first_entry(struct raft_backend *b, struct err *err)
{
    struct store_batch *batch = store_batch_new();
    store_raft_set(batch, 1, 0);
    store_raft_append(batch, 1, 1, RAFT_CHANGE, b->wire.encoded.base, b->wire.encoded.len);
    return b->conf.disk.submit_wait(b->conf.disk.arg, batch, err);
}

int raft_disk_open(struct raft_backend *b, struct err *err)
{
    struct store_raft_state *l = &b->loaded;
    int rv = b->conf.disk.load(b->conf.disk.arg, l, err);
    if (rv < 0)
        return rv;
    if (l->term == 0 && l->n_entries == 0 && l->snapshot.index == 0) {
        store_raft_state_done(l);
        if ((rv = write_first_entry(b, err)) < 0 ||
            (rv = b->conf.disk.load(b->conf.disk.arg, l, err)) < 0)
            return rv;
    }
    if ((rv = check_loaded(b, err)) < 0)
        return rv;
    b->term = l->term;
    b->vote = l->vote;
    b->next_index = (l->n_entries > 0 ? l->entries[0].index + l->n_entries : l->snapshot.index + 1);
    return 0;
}
