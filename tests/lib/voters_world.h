/* voters_world.h - voters on simulated disks, network and clock, in one thread: partitions, delays,
 * loss, duplicates, reordering, slow disks, crashes that keep any prefix of what was being written.
 * raft, raft_io, consensus and council are the real ones. Everything follows from the seed. */
#ifndef SKEIN_TESTS_LIB_VOTERS_WORLD_H
#define SKEIN_TESTS_LIB_VOTERS_WORLD_H

#include "tests/lib/test.h"

#include <raft.h>
#include <stdio.h>

#include "agent/io/council_seams.h"
#include "agent/io/raft_parts.h"
#include "agent/io/store_db.h"
#include "proto/util.h"

#define NODES_MAX 7
#define ELECTION_MS 100
#define TICK_MS 5
#define ENTRIES_MAX 4096
#define TERMS_MAX 4096
#define GROUPS_MAX 256

static const char *const names[NODES_MAX] = {"hv1", "hv2", "hv3", "hv4", "hv5", "hv6", "hv7"};

/* One record of the replicated state: which value stands at which place. */
struct record {
    uint64_t index, term, value;
};

struct pending {
    struct pending *next;
    struct store_batch *batch; /* NULL: the snapshot is asked for */
    store_done_cb done;
    store_raft_snapshot_cb snapshot;
    void *arg;
    uint64_t due;
};

/* What survives a crash, and what is on its way there. */
struct disk {
    struct store_raft_state on_disk;
    size_t cap;
    struct voter_groups groups; /* n 0: none was written */
    uint64_t store;
    struct pending *first, **last;
    bool dead; /* its machine crashed: nothing more is written */
};

struct node {
    struct world *w;
    size_t n;
    struct council *c;
    struct voter_group group; /* as its council says */
    bool votes;
    struct disk disk;
    struct record *log; /* the state machine: all that was applied, in order */
    size_t log_n, log_cap;
    bool leader;
    uint64_t slow_until;
};

struct letter {
    struct letter *next;
    size_t from, to;
    uint64_t due;
    size_t len;
    uint8_t bytes[];
};

struct world {
    uint64_t seed, rng, now;
    size_t n, first; /* nodes; those that vote first */
    bool careful;
    struct node nodes[NODES_MAX];
    struct letter *letters;
    bool cut[NODES_MAX][NODES_MAX]; /* one-way */
    unsigned loss_percent, delay_ms, twice_percent, entry_bytes;
    struct record truth[ENTRIES_MAX]; /* by index: what was first applied there */
    uint64_t leader_of[TERMS_MAX];    /* by term: node + 1 */
    uint64_t next_value;
    bool acked[ENTRIES_MAX];               /* by value */
    uint8_t groups[GROUPS_MAX][HASH_SIZE]; /* digests, by number: what was first known of it */
    uint64_t newest;                       /* number of a group */
    size_t n_acked, n_unknown, n_restores, n_crashes, n_elections, n_wiped;
    uint64_t stores;   /* that were made */
    uint64_t proposed; /* the newest group, that may come */
};

static uint64_t rnd(struct world *w, uint64_t below)
{
    w->rng += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = w->rng;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

#define BROKEN(w, ...)                                                                             \
    do {                                                                                           \
        print_error("seed %llu, at %llu ms: ", (unsigned long long)(w)->seed,                      \
                    (unsigned long long)(w)->now);                                                 \
        fail_msg(__VA_ARGS__);                                                                     \
    } while (0)

/* ---- disk ---- */

static void free_entry(struct store_raft_entry *e)
{
    free(e->data);
}

static void cut_from(struct disk *d, uint64_t index)
{
    struct store_raft_state *s = &d->on_disk;
    while (s->n_entries > 0 && s->entries[s->n_entries - 1].index >= index)
        free_entry(&s->entries[--s->n_entries]);
}

static void cut_before(struct disk *d, uint64_t index)
{
    struct store_raft_state *s = &d->on_disk;
    size_t k = 0;
    while (k < s->n_entries && s->entries[k].index < index)
        free_entry(&s->entries[k++]);
    memmove(s->entries, s->entries + k, (s->n_entries - k) * sizeof *s->entries);
    s->n_entries -= k;
}

static void write_entry(struct disk *d, const struct store_op *op)
{
    struct store_raft_state *s = &d->on_disk;
    if (s->n_entries > 0)
        assert_int_equal(op->index, s->entries[s->n_entries - 1].index + 1);
    ARRAY_RESERVE(s->entries, d->cap, s->n_entries + 1);
    s->entries[s->n_entries++] = (struct store_raft_entry){.index = op->index,
                                                           .term = op->term,
                                                           .type = op->type,
                                                           .data = xmemdup(op->data, op->len),
                                                           .len = op->len};
}

static void write_snapshot(struct disk *d, const struct store_op *op)
{
    struct store_raft_snapshot *s = &d->on_disk.snapshot;
    free(s->config);
    free(s->data);
    *s = (struct store_raft_snapshot){.index = op->index,
                                      .term = op->term,
                                      .config = xmemdup(op->config, op->config_len),
                                      .config_len = op->config_len,
                                      .data = xmemdup(op->data, op->len + 1),
                                      .len = op->len};
    cut_before(d, op->keep_from);
}

static void write_kv(struct disk *d, const struct store_op *op)
{
    struct err err = {0};
    if (strcmp(op->key, COUNCIL_KEY_GROUP) == 0)
        assert_ok(groups_unpack(op->data, op->len, &d->groups, &err), &err);
    else if (strcmp(op->key, COUNCIL_KEY_STORE) == 0)
        memcpy(&d->store, op->data, sizeof d->store);
}

static void write_op(struct disk *d, const struct store_op *op)
{
    if (op->kind == STORE_RAFT_SET) {
        d->on_disk.term = op->term;
        d->on_disk.vote = op->vote;
    } else if (op->kind == STORE_RAFT_APPEND) {
        write_entry(d, op);
    } else if (op->kind == STORE_RAFT_TRUNCATE) {
        cut_from(d, op->index);
    } else if (op->kind == STORE_KV_PUT) {
        write_kv(d, op);
    } else {
        write_snapshot(d, op);
    }
}

static void write_batch(struct disk *d, struct store_batch **b)
{
    for (size_t i = 0; *b != NULL && i < (*b)->n; i++)
        write_op(d, &(*b)->ops[i]);
    store_batch_free(TAKE_PTR(*b));
}

static int disk_load(void *arg, struct store_raft_state *ret, struct err *err _unused_)
{
    const struct store_raft_state *s = &((struct node *)arg)->disk.on_disk;
    *ret = *s;
    ret->entries = xcalloc(s->n_entries + 1, sizeof *s->entries);
    for (size_t i = 0; i < s->n_entries; i++) {
        ret->entries[i] = s->entries[i];
        ret->entries[i].data = xmemdup(s->entries[i].data, s->entries[i].len);
    }
    if (s->snapshot.index > 0) {
        ret->snapshot.config = xmemdup(s->snapshot.config, s->snapshot.config_len);
        ret->snapshot.data = xmemdup(s->snapshot.data, s->snapshot.len + 1);
    }
    return 0;
}

static int kv_get(void *arg, const char *key, void **ret, size_t *ret_len, struct err *err)
{
    const struct disk *d = &((struct node *)arg)->disk;
    bool group = strcmp(key, COUNCIL_KEY_GROUP) == 0;
    bool known = group ? d->groups.n > 0 : strcmp(key, COUNCIL_KEY_STORE) == 0 && d->store != 0;
    if (!known)
        return err_set(err, ERR_NOT_FOUND, "%s is not there", key);
    *ret_len = sizeof d->store;
    *ret = group ? groups_pack(&d->groups, ret_len) : xmemdup(&d->store, sizeof d->store);
    return 0;
}

static struct pending *disk_add(struct node *n, struct store_batch *b, void *arg)
{
    struct pending *p = xcalloc(1, sizeof *p);
    p->batch = b;
    p->arg = arg;
    bool slow = n->slow_until > n->w->now;
    p->due = n->w->now + rnd(n->w, slow ? 300 : 4);
    *n->disk.last = p;
    n->disk.last = &p->next;
    return p;
}

static int disk_submit(void *arg, struct store_batch *b, store_done_cb cb, void *cb_arg,
                       struct err *err)
{
    struct node *n = arg;
    if (n->disk.dead) {
        store_batch_free(b);
        return err_set(err, ERR_IO, "crashed");
    }
    disk_add(n, b, cb_arg)->done = cb;
    return 0;
}

static int disk_submit_wait(void *arg, struct store_batch *b, struct err *err)
{
    struct node *n = arg;
    if (n->disk.dead) {
        store_batch_free(b);
        return err_set(err, ERR_IO, "crashed");
    }
    for (struct pending *p = n->disk.first; p != NULL; p = p->next)
        write_batch(&n->disk, &p->batch);
    write_batch(&n->disk, &b);
    return 0;
}

static int disk_snapshot_get(void *arg, store_raft_snapshot_cb cb, void *cb_arg,
                             struct err *err _unused_)
{
    disk_add(arg, NULL, cb_arg)->snapshot = cb;
    return 0;
}

static void answer_snapshot(struct node *n, struct pending *p)
{
    const struct store_raft_snapshot *s = &n->disk.on_disk.snapshot;
    struct store_raft_snapshot copy = *s;
    struct err err;
    if (n->disk.dead || s->index == 0) {
        err_set(&err, ERR_NOT_FOUND, "no snapshot");
        p->snapshot(p->arg, &err, &copy);
        return;
    }
    copy.data = xmemdup(s->data, s->len + 1);
    p->snapshot(p->arg, NULL, &copy);
    free(copy.data);
}

static void disk_answer(struct node *n)
{
    struct pending *p = n->disk.first;
    n->disk.first = p->next;
    if (p->next == NULL)
        n->disk.last = &n->disk.first;
    struct err err;
    if (p->snapshot != NULL) {
        answer_snapshot(n, p);
    } else if (n->disk.dead) {
        store_batch_free(TAKE_PTR(p->batch));
        err_set(&err, ERR_IO, "crashed");
        p->done(p->arg, &err);
    } else {
        write_batch(&n->disk, &p->batch);
        p->done(p->arg, NULL);
    }
    free(p);
}

static void disk_run(struct node *n)
{
    while (n->disk.first != NULL && n->disk.first->due <= n->w->now)
        disk_answer(n);
}

/* ---- clock, network ---- */

static uint64_t clock_now(void *arg)
{
    return ((struct node *)arg)->w->now;
}

static uint64_t clock_random(void *arg, uint64_t below)
{
    return rnd(((struct node *)arg)->w, below);
}

static void post(struct world *w, size_t from, size_t to, const uint8_t *bytes, size_t len)
{
    struct letter *l = xmalloc(sizeof *l + len);
    *l = (struct letter){.next = w->letters, .from = from, .to = to, .len = len};
    l->due = w->now + 1 + rnd(w, w->delay_ms);
    memcpy(l->bytes, bytes, len);
    w->letters = l;
}

static int node_send(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct node *n = arg;
    struct world *w = n->w;
    size_t to = (size_t)(host[2] - '1');
    assert_true(to < w->n && to != n->n);
    assert_true(len <= CONSENSUS_MESSAGE_MAX);
    if (n->disk.dead || w->cut[n->n][to])
        return rnd(w, 2) == 0 ? -ERR_UNAVAILABLE : 0;
    if (rnd(w, 100) < w->loss_percent)
        return 0;
    post(w, n->n, to, bytes, len);
    if (rnd(w, 100) < w->twice_percent)
        post(w, n->n, to, bytes, len);
    return 0;
}

static void deliver(struct world *w, struct letter *l)
{
    struct node *n = &w->nodes[l->to];
    struct err err;
    if (n->c != NULL && !w->cut[l->from][l->to] &&
        council_receive(n->c, names[l->from], l->bytes, l->len, &err) < 0)
        BROKEN(w, "%s refuses a message: %s", names[l->to], err.msg);
    free(l);
}

static void network_run(struct world *w)
{
    for (struct letter **at = &w->letters; *at != NULL;) {
        struct letter *l = *at;
        if (l->due > w->now) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        deliver(w, l);
        at = &w->letters; /* new ones came in front */
    }
}

/* ---- the state machine and what must hold ---- */

static void add_record(struct node *n, struct record r)
{
    ARRAY_RESERVE(n->log, n->log_cap, n->log_n + 1);
    n->log[n->log_n++] = r;
}

static void check_truth(struct node *n, struct record r)
{
    struct world *w = n->w;
    assert_true(r.index < ENTRIES_MAX);
    struct record *t = &w->truth[r.index];
    if (t->index == 0)
        *t = r;
    if (t->term != r.term || t->value != r.value)
        BROKEN(w, "%s applies value %llu of term %llu at %llu, another applied %llu of term %llu",
               names[n->n], (unsigned long long)r.value, (unsigned long long)r.term,
               (unsigned long long)r.index, (unsigned long long)t->value,
               (unsigned long long)t->term);
}

/* Does this entry name the next group, one that may follow? As state_voters.c. */
static bool names_group(const struct node *n, struct record r, const void *bytes, size_t len,
                        struct voter_group *ret)
{
    struct err err = {0};
    const uint8_t *b = bytes;
    if (len <= sizeof r.value + 1 || b[sizeof r.value] != 'G')
        return false;
    b += sizeof r.value + 1;
    struct voter_groups named;
    assert_ok(groups_unpack(b, len - sizeof r.value - 1, &named, &err), &err);
    *ret = named.list[0];
    ret->index = r.index;
    ret->term = r.term;
    return group_check_next(&n->group, ret, &err) == 0;
}

static bool node_apply(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len,
                       struct voter_group *ret_next)
{
    struct node *n = arg;
    struct record r = {.index = index, .term = term};
    assert_true(len >= sizeof r.value);
    memcpy(&r.value, bytes, sizeof r.value);
    if (n->log_n > 0 && index <= n->log[n->log_n - 1].index)
        BROKEN(n->w, "%s applies %llu out of order", names[n->n], (unsigned long long)index);
    check_truth(n, r);
    add_record(n, r);
    return names_group(n, r, bytes, len, ret_next);
}

/* Of each number there is one group, whoever tells of it. */
static void node_group(void *arg, const struct council *council)
{
    const struct voter_group *group = council_group(council);
    struct node *n = arg;
    struct world *w = n->w;
    uint8_t digest[HASH_SIZE];
    assert_true(group->number < GROUPS_MAX);
    group_digest(group, digest);
    bool known = group->number <= w->newest && group->number > 1;
    if (known && memcmp(w->groups[group->number], digest, sizeof digest) != 0)
        BROKEN(w, "%s knows another group %llu", names[n->n], (unsigned long long)group->number);
    memcpy(w->groups[group->number], digest, sizeof digest);
    w->newest = MAX(w->newest, group->number);
    n->group = *group;
    n->votes = council_votes(council);
    n->log_n = 0; /* it is restored */
}

static bool holds_value(const struct node *n, uint64_t value)
{
    for (size_t i = 0; i < n->log_n; i++)
        if (n->log[i].value == value)
            return true;
    return false;
}

/* Every acknowledged value is there. */
static void check_acked(struct node *n)
{
    for (uint64_t v = 1; v <= n->w->next_value; v++)
        if (n->w->acked[v] && !holds_value(n, v))
            BROKEN(n->w, "%s lacks the acknowledged value %llu", names[n->n],
                   (unsigned long long)v);
}

static void node_role(void *arg, uint64_t term, bool is_leader, const char *leader _unused_)
{
    struct node *n = arg;
    n->leader = is_leader;
    if (!is_leader)
        return;
    n->w->n_elections++;
    assert_true(term < ARRAY_SIZE(n->w->leader_of));
    uint64_t *of = &n->w->leader_of[term];
    if (*of != 0 && *of != n->n + 1)
        BROKEN(n->w, "two leaders in term %llu", (unsigned long long)term);
    *of = n->n + 1;
    check_acked(n);
}

static int node_snapshot(void *arg, void **ret, size_t *ret_len, struct err *err _unused_)
{
    struct node *n = arg;
    *ret_len = n->log_n * sizeof *n->log;
    *ret = xmemdup(n->log, *ret_len);
    return 0;
}

static int node_restore(void *arg, uint64_t index, const void *bytes, size_t len,
                        struct err *err _unused_)
{
    struct node *n = arg;
    size_t count = len / sizeof(struct record);
    if (count < n->log_n)
        BROKEN(n->w, "%s goes back by a restore", names[n->n]);
    n->log_n = 0;
    for (size_t i = 0; i < count; i++) {
        struct record r;
        memcpy(&r, (const uint8_t *)bytes + i * sizeof r, sizeof r);
        check_truth(n, r);
        add_record(n, r);
        if (r.index > index)
            BROKEN(n->w, "%s restores what came after the snapshot", names[n->n]);
    }
    n->w->n_restores++;
    return 0;
}

static void node_fail(void *arg, const struct err *err)
{
    struct node *n = arg;
    if (!n->disk.dead)
        BROKEN(n->w, "%s failed: %s", names[n->n], err->msg);
}

/* ---- life and death ---- */

static void start(struct node *n)
{
    struct council_conf conf = {.cluster = "c",
                                .first = names,
                                .n_first = n->w->first,
                                .replaces = true,
                                .careful = n->w->careful,
                                .self = names[n->n],
                                .election_timeout_ms = ELECTION_MS,
                                .snapshot_threshold = 12,
                                .snapshot_trailing = 4};
    struct council_seams seams = {
        .raft = {.disk = {n, disk_load, disk_submit, disk_submit_wait, disk_snapshot_get},
                 .clock = {n, clock_now, clock_random}},
        .kv_get = kv_get};
    struct council_callbacks cb = {.arg = n,
                                   .send = node_send,
                                   .on_apply = node_apply,
                                   .on_role = node_role,
                                   .snapshot = node_snapshot,
                                   .restore = node_restore,
                                   .on_fail = node_fail,
                                   .on_group = node_group};
    n->disk.dead = false;
    n->disk.last = &n->disk.first;
    n->log_n = 0;
    struct err err = {0};
    assert_ok(council_open_over(&conf, &seams, &cb, &n->c, &err), &err);
}

static void on_closed(void *arg)
{
    ((struct node *)arg)->c = NULL;
}

static void end_node(struct node *n)
{
    council_close(n->c, on_closed, n);
    while (n->disk.first != NULL)
        disk_answer(n);
    assert_null(n->c);
    n->leader = false;
}

/* Some of what was being written arrives, the rest never does. */
static void crash(struct node *n)
{
    size_t under_way = 0;
    for (struct pending *p = n->disk.first; p != NULL; p = p->next)
        under_way++;
    size_t keep = under_way > 0 ? rnd(n->w, under_way + 1) : 0;
    for (struct pending *p = n->disk.first; p != NULL && keep > 0; p = p->next, keep--)
        write_batch(&n->disk, &p->batch);
    n->disk.dead = true;
    n->w->n_crashes++;
    end_node(n);
}

static void on_proposed(void *arg, uint64_t index, const struct err *err)
{
    struct world *w = arg;
    if (err != NULL) {
        w->n_unknown += err->code == ERR_UNKNOWN;
        return;
    }
    uint64_t value = w->truth[index].value;
    assert_true(value > 0);
    w->acked[value] = true;
    w->n_acked++;
}

static void propose(struct world *w)
{
    struct node *n = &w->nodes[rnd(w, w->n)];
    if (n->c == NULL || !n->leader || w->next_value + 1 >= ENTRIES_MAX / 4)
        return;
    uint64_t value = w->next_value + 1;
    size_t len = sizeof value + w->entry_bytes;
    _cleanup_(freep) uint8_t *bytes = xcalloc(1, len);
    memcpy(bytes, &value, sizeof value);
    struct err err;
    if (council_propose(n->c, bytes, len, on_proposed, w, &err) >= 0)
        w->next_value = value;
}

/* ---- schedules ---- */

static void step(struct world *w)
{
    w->now++;
    for (size_t i = 0; i < w->n; i++) {
        struct node *n = &w->nodes[i];
        if (n->c == NULL)
            continue;
        disk_run(n);
        if ((w->now + i) % TICK_MS == 0)
            council_tick(n->c);
    }
    network_run(w);
}

static inline void heal(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
}

static inline void cut_some(struct world *w)
{
    heal(w);
    unsigned how = (unsigned)rnd(w, 3);
    size_t lone = rnd(w, w->n);
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->n; k++)
            w->cut[i][k] = how == 0   ? (i == lone) != (k == lone)        /* one alone */
                           : how == 1 ? rnd(w, 3) == 0                    /* any ways */
                                      : (i < w->n / 2) != (k < w->n / 2); /* halves */
}

static inline void trouble(struct world *w)
{
    struct node *n = &w->nodes[rnd(w, w->n)];
    switch (rnd(w, 6)) {
    case 0:
        cut_some(w);
        break;
    case 1:
        heal(w);
        break;
    case 2:
        if (n->c != NULL)
            crash(n);
        if (n->c == NULL && rnd(w, 2) == 0)
            start(n); /* back at once, with what it had written and nobody else has */
        break;
    case 3:
        n->slow_until = w->now + rnd(w, 400);
        break;
    default:
        if (n->c == NULL)
            start(n);
        break;
    }
}

/* n nodes, of which the first vote at the beginning. */
static struct world *world_of(uint64_t seed, size_t n, size_t first, bool careful)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->seed = w->rng = seed;
    w->n = n;
    w->first = first;
    w->careful = careful;
    w->delay_ms = 5;
    for (size_t i = 0; i < n; i++) {
        w->nodes[i].w = w;
        w->nodes[i].n = i;
        w->nodes[i].disk.store = ++w->stores;
        start(&w->nodes[i]);
    }
    return w;
}

static inline struct world *world_new(uint64_t seed, size_t n)
{
    return world_of(seed, n, n, false);
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct node *n = &w->nodes[i];
        if (n->c != NULL)
            end_node(n);
        store_raft_state_done(&n->disk.on_disk);
        free(n->log);
    }
    while (w->letters != NULL) {
        struct letter *l = w->letters;
        w->letters = l->next;
        free(l);
    }
    free(w);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s != NULL ? strtoull(s, NULL, 10) : otherwise;
}

static inline void run_for(struct world *w, uint64_t ms)
{
    for (uint64_t until = w->now + ms; w->now < until;)
        step(w);
}

static inline struct node *wait_for_leader(struct world *w, uint64_t ms)
{
    for (uint64_t until = w->now + ms; w->now < until;) {
        step(w);
        for (size_t i = 0; i < w->n; i++)
            if (w->nodes[i].c != NULL && w->nodes[i].leader && !w->cut[i][(i + 1) % w->n])
                return &w->nodes[i];
    }
    fail_msg("no leader after %llu ms", (unsigned long long)ms);
    return NULL;
}

static inline void propose_some(struct world *w, size_t count)
{
    size_t want = w->n_acked + count;
    for (uint64_t until = w->now + 20000; w->n_acked < want && w->now < until;) {
        propose(w);
        step(w);
    }
    assert_true(w->n_acked >= want);
}

static inline bool has_leader(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].c != NULL && w->nodes[i].leader)
            return true;
    return false;
}

#endif
