/* One voter, hv1 of three, against messages that the test makes up: libraft's defects that raft_io
 * keeps out, one test each, and everything that must be refused. */
#include "tests/lib/test.h"

#include <raft.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/io/consensus.h"
#include "agent/io/raft_io.h"
#include "agent/io/raft_parts.h"
#include "agent/io/raft_wire.h"
#include "agent/io/store.h"
#include "proto/util.h"

static const char *const names[] = {"hv1", "hv2", "hv3"};

struct voter {
    char dir[64], path[96];
    uv_loop_t loop;
    struct store *store;
    struct consensus *c;
    uint64_t group;
    Skein__RaftMessage *last[2]; /* sent to hv2, hv3 */
    uint64_t granting[8];        /* terms to grant, 2n trial, 2n + 1 in earnest */
    size_t n_granting;
    size_t applied, restored;
    uint64_t applied_index;
    bool leader, failed;
    struct err err;
    size_t closed;
};

static int node_send(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct voter *v = arg;
    Skein__RaftMessage *m = skein__raft_message__unpack(NULL, len, bytes);
    assert_non_null(m);
    size_t to = strcmp(host, "hv2") == 0 ? 0 : 1;
    if (v->last[to] != NULL)
        skein__raft_message__free_unpacked(v->last[to], NULL);
    v->last[to] = m;
    v->group = m->group;
    if (m->kind_case == SKEIN__RAFT_MESSAGE__KIND_VOTE && to == 0 && v->n_granting < 8)
        v->granting[v->n_granting++] = 2 * m->vote->term + !m->vote->pre_vote;
    return 0;
}

static void node_apply(void *arg, uint64_t index, uint64_t term _unused_, const void *b _unused_,
                       size_t len _unused_)
{
    struct voter *v = arg;
    v->applied++;
    v->applied_index = index;
}

static void node_role(void *arg, uint64_t term _unused_, bool is_leader, const char *l _unused_)
{
    ((struct voter *)arg)->leader = is_leader;
}

static int node_snapshot(void *arg _unused_, void **ret, size_t *ret_len, struct err *err _unused_)
{
    *ret = xstrdup("state");
    *ret_len = 5;
    return 0;
}

static int node_restore(void *arg, uint64_t index, const void *bytes _unused_, size_t len,
                        struct err *err)
{
    struct voter *v = arg;
    v->restored = index;
    return len == 3 ? err_set(err, ERR_INVALID, "not a state") : 0;
}

static void node_fail(void *arg, const struct err *err)
{
    struct voter *v = arg;
    v->failed = true;
    v->err = *err;
}

static void open_voter(struct voter *v, unsigned election_ms)
{
    struct err err = {0};
    struct store_conf sc = {.path = v->path, .loop = &v->loop};
    assert_ok(store_open(&sc, &v->store, &err), &err);
    struct consensus_conf conf = {.cluster = "c",
                                  .voters = names,
                                  .n_voters = 3,
                                  .self = "hv1",
                                  .election_timeout_ms = election_ms,
                                  .snapshot_threshold = 8,
                                  .snapshot_trailing = 2};
    struct consensus_callbacks cb = {
        v, node_send, node_apply, node_role, node_snapshot, node_restore, node_fail};
    assert_ok(consensus_open(&conf, v->store, &v->loop, &cb, &v->c, &err), &err);
}

static void on_closed(void *arg)
{
    ((struct voter *)arg)->closed++;
}

static void close_voter(struct voter *v)
{
    size_t want = v->closed + 2;
    consensus_close(v->c, on_closed, v);
    while (v->closed + 1 < want)
        uv_run(&v->loop, UV_RUN_ONCE);
    store_close(v->store, on_closed, v);
    while (v->closed < want)
        uv_run(&v->loop, UV_RUN_ONCE);
    v->leader = false;
}

/* Learn the group's digest from the first request for a vote; then be calm. */
static int setup(void **state)
{
    struct voter *v = xcalloc(1, sizeof *v);
    snprintf(v->dir, sizeof v->dir, "/tmp/skein-raft-XXXXXX");
    assert_non_null(mkdtemp(v->dir));
    snprintf(v->path, sizeof v->path, "%s/skein.db", v->dir);
    uv_loop_init(&v->loop);
    open_voter(v, 10);
    while (v->group == 0)
        uv_run(&v->loop, UV_RUN_ONCE);
    close_voter(v);
    v->n_granting = 0;
    open_voter(v, 60000);
    *state = v;
    return 0;
}

static int teardown(void **state)
{
    struct voter *v = *state;
    close_voter(v);
    uv_run(&v->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&v->loop), 0);
    for (int i = 0; i < 2; i++)
        if (v->last[i] != NULL)
            skein__raft_message__free_unpacked(v->last[i], NULL);
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", v->path, ends[i]);
        unlink(path);
    }
    rmdir(v->dir);
    free(v);
    return 0;
}

/* ---- making messages up ---- */

static int give(struct voter *v, const char *from, Skein__RaftMessage *m, struct err *err)
{
    m->group = m->group != 0 ? m->group : v->group;
    size_t len = skein__raft_message__get_packed_size(m);
    _cleanup_(freep) uint8_t *bytes = xmalloc(len);
    skein__raft_message__pack(m, bytes);
    return consensus_receive(v->c, from, bytes, len, err);
}

struct append {
    uint64_t term, prev_index, prev_term, commit;
    size_t n;
    uint64_t terms[16]; /* of the entries */
    uint32_t type;      /* of the entries; 0: commands */
};

static int try_append(struct voter *v, const char *from, struct append a, struct err *err)
{
    Skein__RaftEntry entries[16], *pointers[16];
    for (size_t i = 0; i < a.n; i++) {
        skein__raft_entry__init(&entries[i]);
        entries[i].term = a.terms[i];
        entries[i].type = a.type != 0 ? a.type : RAFT_COMMAND;
        entries[i].data.data = (uint8_t *)"entry";
        entries[i].data.len = 5;
        pointers[i] = &entries[i];
    }
    Skein__RaftAppend append = SKEIN__RAFT_APPEND__INIT;
    append.term = a.term;
    append.prev_index = a.prev_index;
    append.prev_term = a.prev_term;
    append.commit = a.commit;
    append.n_entries = a.n;
    append.entries = pointers;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_APPEND;
    m.append = &append;
    return give(v, from, &m, err);
}

static void append(struct voter *v, const char *from, struct append a)
{
    struct err err = {0};
    assert_ok(try_append(v, from, a, &err), &err);
    while (store_pending(v->store) > 0)
        uv_run(&v->loop, UV_RUN_ONCE);
}

static int try_result(struct voter *v, const char *from, uint64_t term, uint64_t last,
                      struct err *err)
{
    Skein__RaftAppendResult r = SKEIN__RAFT_APPEND_RESULT__INIT;
    r.term = term;
    r.last_index = last;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_APPEND_RESULT;
    m.append_result = &r;
    return give(v, from, &m, err);
}

static void result(struct voter *v, const char *from, uint64_t term, uint64_t last)
{
    struct err err = {0};
    assert_ok(try_result(v, from, term, last, &err), &err);
}

static int try_install(struct voter *v, uint64_t term, uint64_t index, uint64_t last_term,
                       const char *data, struct err *err)
{
    Skein__RaftInstall i = SKEIN__RAFT_INSTALL__INIT;
    i.term = term;
    i.last_index = index;
    i.last_term = last_term;
    i.data.data = (uint8_t *)data;
    i.data.len = strlen(data);
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_INSTALL;
    m.install = &i;
    return give(v, "hv2", &m, err);
}

static struct consensus_status status(struct voter *v)
{
    struct consensus_status s;
    consensus_status(v->c, &s);
    return s;
}

static const Skein__RaftAppendResult *answer_to(struct voter *v, size_t peer)
{
    assert_non_null(v->last[peer]);
    assert_int_equal(v->last[peer]->kind_case, SKEIN__RAFT_MESSAGE__KIND_APPEND_RESULT);
    return v->last[peer]->append_result;
}

/* ---- libraft's defects ---- */

/* hv2 left two entries here that it never committed. hv3 leads now, has committed others at those
 * places, and sends a heartbeat that names neither: cowsql/raft 000eacf2. */
static void test_a_heartbeat_commits_no_stale_entries(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 1, 2, {2, 2}, 0});
    assert_int_equal(answer_to(v, 0)->last_index, 3);
    append(v, "hv3", (struct append){3, 1, 1, 3, 0, {0}, 0});
    assert_int_equal(status(v).commit_index, 1);
    assert_int_equal(v->applied, 0);
    append(v, "hv3", (struct append){3, 1, 1, 3, 2, {3, 3}, 0});
    assert_int_equal(v->applied, 2);
    assert_int_equal(v->applied_index, 3);
}

/* Nor may this voter's answer vouch for them: hv3 would count it as a copy of its own entries. */
static void test_stale_entries_are_not_vouched_for(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 1, 2, {2, 2}, 0});
    append(v, "hv3", (struct append){3, 1, 1, 1, 0, {0}, 0});
    const Skein__RaftAppendResult *a = answer_to(v, 1);
    assert_int_equal(a->rejected, 0);
    assert_int_equal(a->term, 3);
    assert_int_equal(a->last_index, 1);
}

/* The same when the write was under way as the leader changed: the answer goes to the new one. */
static void test_a_late_write_is_not_vouched_for(void **state)
{
    struct voter *v = *state;
    struct err err = {0};
    assert_ok(try_append(v, "hv2", (struct append){2, 1, 1, 1, 2, {2, 2}, 0}, &err), &err);
    append(v, "hv3", (struct append){3, 1, 1, 1, 0, {0}, 0});
    assert_int_equal(answer_to(v, 1)->last_index, 1);
}

static void vote_for(struct voter *v, uint64_t granting)
{
    Skein__RaftVoteResult r = SKEIN__RAFT_VOTE_RESULT__INIT;
    r.term = granting / 2;
    r.granted = true;
    r.pre_vote = granting % 2 == 0;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_VOTE_RESULT;
    m.vote_result = &r;
    struct err err = {0};
    assert_ok(give(v, "hv2", &m, &err), &err);
}

/* Become leader by hv2's votes; returns the term. Its first entry is not on the disk yet. */
static uint64_t elect(struct voter *v)
{
    close_voter(v);
    v->n_granting = 0;
    open_voter(v, 300);
    for (size_t i = 0;; i++) {
        while (v->n_granting <= i)
            uv_run(&v->loop, UV_RUN_ONCE);
        vote_for(v, v->granting[i]);
        if (v->granting[i] % 2 == 1)
            return v->granting[i] / 2;
    }
}

/* Raft, figure 8: copies of an earlier term's entry on a majority do not commit it. */
static void test_earlier_terms_are_not_committed_by_counting(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 1, 1, {2}, 0});
    uint64_t term = elect(v);
    result(v, "hv2", term, 2);
    result(v, "hv3", term, 2);
    assert_int_equal(status(v).commit_index, 1);
    while (store_pending(v->store) > 0)
        uv_run(&v->loop, UV_RUN_ONCE);
    assert_int_equal(status(v).last_index, 3); /* the barrier */
    assert_int_equal(status(v).commit_index, 1);
    assert_false(v->leader);
    result(v, "hv3", term, 3);
    assert_int_equal(status(v).commit_index, 3);
    assert_int_equal(v->applied, 1);
    assert_true(v->leader);
}

/* After a compaction, a leader that begins at the very first entry again. */
static void test_entries_before_the_compacted_log(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 11, 10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, 0});
    assert_int_equal(v->applied, 10);
    assert_int_equal(status(v).snapshot_index, 11);
    append(v, "hv3", (struct append){3, 2, 2, 11, 10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 3}, 0});
    assert_int_equal(status(v).last_index, 12);
    assert_int_equal(status(v).commit_index, 11);
    assert_int_equal(answer_to(v, 1)->last_index, 12);
    append(v, "hv3", (struct append){3, 3, 2, 11, 2, {2, 2}, 0});
    assert_int_equal(status(v).last_index, 12);
    assert_int_equal(answer_to(v, 1)->rejected, 0);
    append(v, "hv3", (struct append){3, 12, 3, 12, 0, {0}, 0});
    assert_int_equal(v->applied_index, 12);
}

/* A heartbeat at a place that is compacted here: answered, not refused for ever. */
static void test_a_place_before_the_compacted_log(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 11, 10, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, 0});
    append(v, "hv3", (struct append){3, 4, 2, 4, 0, {0}, 0});
    assert_int_equal(answer_to(v, 1)->rejected, 0);
    assert_int_equal(answer_to(v, 1)->last_index, 11);
}

static void test_a_conflict_names_what_is_committed(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 3, 6, {2, 2, 2, 2, 2, 2}, 0});
    append(v, "hv3", (struct append){4, 6, 3, 3, 0, {0}, 0});
    assert_int_equal(answer_to(v, 1)->rejected, 6);
    assert_int_equal(answer_to(v, 1)->last_index, 3);
}

static void test_a_trial_vote_is_refused_with_the_own_term(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){7, 1, 1, 1, 1, {7}, 0});
    Skein__RaftVote vote = SKEIN__RAFT_VOTE__INIT;
    vote.term = 4;
    vote.last_index = 9;
    vote.last_term = 3;
    vote.pre_vote = true;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_VOTE;
    m.vote = &vote;
    struct err err = {0};
    assert_ok(give(v, "hv3", &m, &err), &err);
    assert_int_equal(v->last[1]->kind_case, SKEIN__RAFT_MESSAGE__KIND_VOTE_RESULT);
    assert_false(v->last[1]->vote_result->granted);
    assert_int_equal(v->last[1]->vote_result->term, 7);
}

/* An entry cut off while its write is under way comes again, from a third leader: it waits until
 * libraft has let go of the first copy. */
static void test_an_entry_cut_off_and_back_again(void **state)
{
    struct voter *v = *state;
    struct err err = {0};
    struct append again = {4, 1, 1, 1, 2, {2, 2}, 0};
    assert_ok(try_append(v, "hv2", (struct append){2, 1, 1, 1, 2, {2, 2}, 0}, &err), &err);
    assert_ok(try_append(v, "hv3", (struct append){3, 1, 1, 1, 1, {3}, 0}, &err), &err);
    assert_ok(try_append(v, "hv2", again, &err), &err);
    assert_int_equal(status(v).term, 3); /* not even its term was heard */
    assert_int_equal(status(v).last_index, 2);
    while (store_pending(v->store) > 0)
        uv_run(&v->loop, UV_RUN_ONCE);
    append(v, "hv2", again);
    assert_int_equal(status(v).term, 4);
    assert_int_equal(status(v).last_index, 3);
    assert_int_equal(answer_to(v, 0)->last_index, 3);
}

/* ---- what contradicts what is committed ends this voter ---- */

static void test_a_conflict_with_the_committed_ends(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 3, 2, {2, 2}, 0});
    assert_int_equal(v->applied, 2);
    append(v, "hv3", (struct append){5, 1, 1, 3, 3, {4, 4, 4}, 0});
    assert_true(v->failed);
    assert_int_equal(v->err.code, ERR_INTERNAL);
    struct err err;
    assert_err(try_append(v, "hv3", (struct append){5, 3, 2, 3, 0, {0}, 0}, &err), &err, ERR_IO,
               "stopped");
    assert_int_equal(v->applied, 2);
}

static void test_a_snapshot_that_cannot_be_restored_ends(void **state)
{
    struct voter *v = *state;
    struct err err = {0};
    assert_ok(try_install(v, 3, 40, 2, "bad", &err), &err);
    while (!v->failed)
        uv_run(&v->loop, UV_RUN_ONCE);
    assert_int_equal(v->err.code, ERR_INVALID);
    assert_non_null(strstr(v->err.msg, "entry 40"));
}

static void test_a_snapshot_is_installed(void **state)
{
    struct voter *v = *state;
    struct err err = {0};
    assert_ok(try_install(v, 3, 40, 2, "a state", &err), &err);
    while (store_pending(v->store) > 0)
        uv_run(&v->loop, UV_RUN_ONCE);
    assert_int_equal(v->restored, 40);
    assert_int_equal(answer_to(v, 0)->last_index, 40);
    append(v, "hv2", (struct append){3, 40, 2, 41, 1, {3}, 0});
    assert_int_equal(v->applied_index, 41);
    close_voter(v);
    v->restored = 0;
    open_voter(v, 60000);
    assert_int_equal(v->restored, 40);
    assert_int_equal(status(v).last_index, 41);
}

/* ---- refusals ---- */

static void test_only_other_voters_are_heard(void **state)
{
    struct voter *v = *state;
    struct append a = {9, 1, 1, 1, 0, {0}, 0};
    struct err err;
    assert_err(try_append(v, "hv1", a, &err), &err, ERR_DENIED, "no other voter");
    assert_err(try_append(v, "hv7", a, &err), &err, ERR_DENIED, "hv7");
    assert_err(try_append(v, "", a, &err), &err, ERR_DENIED, "no other voter");
    uint64_t group = v->group;
    v->group ^= 1;
    assert_err(try_append(v, "hv2", a, &err), &err, ERR_DENIED, "another cluster");
    v->group = group;
    assert_int_equal(status(v).refused_messages, 4);
    assert_int_equal(status(v).term, 1);
}

static void test_unsound_messages_are_refused(void **state)
{
    struct voter *v = *state;

    static const struct {
        struct append a;
        const char *part;
    } bad[] = {
        {{0, 1, 1, 1, 0, {0}, 0}, "numbers"},
        {{2, 1, 3, 1, 0, {0}, 0}, "numbers"},
        {{2, 0, 1, 1, 0, {0}, 0}, "numbers"},
        {{2, 1, 0, 1, 0, {0}, 0}, "numbers"},
        {{UINT64_MAX, 1, 1, 1, 0, {0}, 0}, "numbers"},
        {{2, UINT64_MAX, 1, 1, 0, {0}, 0}, "numbers"},
        {{2, 1, 1, UINT64_MAX, 0, {0}, 0}, "numbers"},
        {{2, 1, 1, 1, 1, {3}, 0}, "out of order"},
        {{3, 1, 1, 1, 2, {3, 2}, 0}, "out of order"},
        {{3, 1, 2, 1, 1, {1}, 0}, "out of order"},
        {{3, 1, 1, 1, 1, {2}, 9}, "type"},
        {{3, 1, 1, 1, 1, {2}, RAFT_CHANGE}, "another set of voters"},
        {{3, 0, 0, 1, 1, {2}, 0}, "begin with its voters"},
    };
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_err(try_append(v, "hv2", bad[i].a, &err), &err, ERR_INVALID, bad[i].part);
    assert_err(try_result(v, "hv2", 0, 1, &err), &err, ERR_INVALID, "numbers");
    assert_err(try_install(v, 2, 0, 1, "x", &err), &err, ERR_INVALID, "numbers");
    assert_err(try_install(v, 2, 5, 3, "x", &err), &err, ERR_INVALID, "numbers");
    assert_err(consensus_receive(v->c, "hv2", (const uint8_t *)"\xff", 1, &err), &err, ERR_INVALID,
               "malformed");
    assert_err(consensus_receive(v->c, "hv2", NULL, 0, &err), &err, ERR_INVALID, "malformed");
    assert_int_equal(status(v).term, 1);
    assert_int_equal(status(v).last_index, 1);
}

/* A message of very many tiny entries must not take many times its size. */
static void test_amplification_is_capped(void **state)
{
    struct voter *v = *state;
    _cleanup_(buf_done) struct buf inner = {0}, outer = {0};
    for (int i = 0; i < 80000; i++)
        buf_add(&inner, "\x2a\x00", 2); /* entries without their required fields */
    buf_add(&outer, "\x09\0\0\0\0\0\0\0\0\x52\x80\xe2\x09", 13);
    buf_add(&outer, inner.data, inner.len);
    struct err err;
    assert_err(consensus_receive(v->c, "hv2", (const uint8_t *)outer.data, outer.len, &err), &err,
               ERR_INVALID, "malformed");
}

/* Sound messages with a few bytes changed, and rubbish: refused or harmless. */
static void test_mutated_messages(void **state)
{
    struct voter *v = *state;
    append(v, "hv2", (struct append){2, 1, 1, 2, 3, {2, 2, 2}, 0});
    srand(11);
    for (int i = 0; i < 20000 && !v->failed; i++) {
        Skein__RaftMessage *from = v->last[i % 2 == 0 && v->last[1] != NULL];
        uint8_t bytes[512];
        size_t len = skein__raft_message__get_packed_size(from);
        if (len > sizeof bytes)
            continue;
        skein__raft_message__pack(from, bytes);
        for (int k = rand() % 4; k >= 0; k--) /* the group is left alone, or nothing gets in */
            bytes[9 + (size_t)rand() % (len - 9)] = (uint8_t)rand();
        struct err err;
        consensus_receive(v->c, i % 3 == 0 ? "hv3" : "hv2", bytes, len, &err);
        uv_run(&v->loop, UV_RUN_NOWAIT);
    }
}

/* ---- parts ---- */

static void test_parts(void **state _unused_)
{
    struct parts_out out = {0};
    struct parts_in in = {0};
    size_t len = 5 * PARTS_SIZE + 7, offset, n, pieces = 0;
    uint8_t *bytes = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31);
    _cleanup_(freep) uint8_t *copy = xmemdup(bytes, len);
    parts_start(&out, bytes, len, 0);
    while (parts_next(&out, &offset, &n))
        pieces++;
    assert_int_equal(pieces, 4); /* the window */
    assert_false(parts_timeout(&out, 99, 100));
    assert_false(parts_timeout(&out, 100, 100)); /* begins again where it was acknowledged */
    bool whole = false, done = false;
    while (parts_next(&out, &offset, &n)) {
        assert_false(parts_add(&in, out.id, len, offset + 1, copy, n, len)); /* a gap */
        whole = parts_add(&in, out.id, len, offset, copy + offset, n, len);
        parts_add(&in, out.id, len, offset, copy + offset, n, len); /* twice */
        done = parts_acked(&out, out.id, in.received, 100);
        assert_false(parts_acked(&out, out.id + 1, in.received, 100));
    }
    assert_true(whole && done);
    assert_memory_equal(in.bytes, copy, len);
    parts_in_reset(&in);
    assert_false(parts_add(&in, 99, 1000, 0, copy, 10, 999)); /* over the bound */
    assert_false(parts_add(&in, 99, 10, 0, copy, 11, 999));   /* over its own total */
    parts_in_reset(&in);
    parts_start(&out, xmalloc(10), 10, 0);
    int tries = 0;
    for (uint64_t now = 100; !parts_timeout(&out, now, 100); now += 100)
        tries++;
    assert_int_equal(tries, PARTS_TRIES - 1);
    assert_null(out.bytes);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_heartbeat_commits_no_stale_entries),
        T(test_stale_entries_are_not_vouched_for),
        T(test_a_late_write_is_not_vouched_for),
        T(test_earlier_terms_are_not_committed_by_counting),
        T(test_entries_before_the_compacted_log),
        T(test_a_place_before_the_compacted_log),
        T(test_a_conflict_names_what_is_committed),
        T(test_a_trial_vote_is_refused_with_the_own_term),
        T(test_an_entry_cut_off_and_back_again),
        T(test_a_conflict_with_the_committed_ends),
        T(test_a_snapshot_that_cannot_be_restored_ends),
        T(test_a_snapshot_is_installed),
        T(test_only_other_voters_are_heard),
        T(test_unsound_messages_are_refused),
        T(test_amplification_is_capped),
        T(test_mutated_messages),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
