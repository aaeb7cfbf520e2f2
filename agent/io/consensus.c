/* The narrow interface over libraft: proposals in groups, roles told when they are true.
 *
 * Everything goes through consensus_enter and _leave; when the outermost one is left, settle does
 * what follows: completions that were put off, a new leader's barrier, the next group of proposals,
 * the callbacks. So no libraft function is ever on the stack when another is called, nor when the
 * caller's callbacks run (on_apply, restore and snapshot excepted, which libraft calls). */
#include "agent/io/consensus.h"

#include <string.h>

#include "agent/io/consensus_impl.h"
#include "proto/log.h"

#define GROUP_BYTES (1u << 20)
#define ANY_VOTER UINT64_MAX

static void settle(struct consensus *c);
static void end(struct consensus *c);

void consensus_enter(void *arg)
{
    struct consensus *c = arg;
    c->depth++;
}

void consensus_leave(void *arg)
{
    struct consensus *c = arg;
    if (c->depth == 1)
        settle(c);
    c->depth--;
    if (c->depth == 0 && c->raft_closed)
        end(c);
}

/* ---- failing ---- */

static void fail(struct consensus *c, const struct err *err)
{
    if (c->failed)
        return;
    c->failed = true;
    c->failure = *err;
}

static void notice_failure(struct consensus *c)
{
    const struct err *disk = raft_backend_failure(c->backend);
    if (disk != NULL)
        fail(c, disk);
    if (c->failed || c->closing || c->raft.state != RAFT_UNAVAILABLE)
        return;
    struct err err;
    err_set(&err, ERR_INTERNAL, "raft has stopped: %s", raft_errmsg(&c->raft));
    fail(c, &err);
}

/* ---- the state machine ---- */

/* Answer the proposal of this entry, if it is one of ours that is under way. */
static void answer_applied(struct consensus *c, uint64_t index, uint64_t term)
{
    if (c->group_done == c->group_n || term != c->group_term ||
        index != c->group_index + c->group_done)
        return;
    _cleanup_(freep) struct proposal *p = c->group[c->group_done++];
    c->proposals--;
    if (p->cb != NULL)
        p->cb(p->arg, index, NULL);
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct consensus *c = fsm->data;
    uint64_t index = c->raft.last_applied + 1;
    uint64_t term = raft_backend_term_of(&c->raft, index);
    *result = NULL;
    c->cb.on_apply(c->cb.arg, index, term, buf->base, buf->len);
    answer_applied(c, index, term);
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct consensus *c = fsm->data;
    struct err err;
    _cleanup_(freep) void *bytes = NULL;
    size_t len = 0;
    int rv = c->cb.snapshot(c->cb.arg, &bytes, &len, &err);
    if (rv >= 0 && len > CONSENSUS_SNAPSHOT_MAX)
        rv = err_set(&err, ERR_LIMIT, "the shared state of %zu bytes is too big", len);
    if (rv < 0) {
        log_err(&err, "consensus: snapshot");
        return RAFT_BUSY; /* tried again at the next entry; the log grows meanwhile */
    }
    struct raft_buffer *buf = raft_malloc(sizeof *buf);
    if (buf == NULL)
        return RAFT_BUSY;
    *buf = (struct raft_buffer){TAKE_PTR(bytes), len};
    *bufs = buf;
    *n_bufs = 1;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct consensus *c = fsm->data;
    struct err err;
    uint64_t index = raft_backend_restoring(c->backend);
    if (c->cb.restore(c->cb.arg, index, buf->base, buf->len, &err) < 0) {
        err_wrap(&err, "restore the shared state of entry %llu", (unsigned long long)index);
        fail(c, &err);
        return RAFT_CORRUPT;
    }
    raft_free(buf->base);
    return 0;
}

void consensus_set_fsm(struct consensus *c)
{
    c->fsm = (struct raft_fsm){.version = 1,
                               .data = c,
                               .apply = fsm_apply,
                               .snapshot = fsm_snapshot,
                               .restore = fsm_restore};
}

/* ---- proposals ---- */

static void answer_failed(struct consensus *c, struct proposal *p, const struct err *err)
{
    c->proposals--;
    if (p->cb != NULL)
        p->cb(p->arg, 0, err);
    raft_free(p->bytes);
    free(p);
}

/* Leadership went while they were under way: the next leader decides what becomes of them. */
static void give_up_group(struct consensus *c)
{
    struct err err;
    err_set(&err, ERR_UNKNOWN, "leadership was lost: the entry may be committed yet");
    while (c->group_done < c->group_n)
        answer_failed(c, c->group[c->group_done++], &err);
}

static void give_up_waiting(struct consensus *c, enum err_code code, const char *why)
{
    struct err err;
    err_set(&err, code, "%s", why);
    while (c->waiting != NULL) {
        struct proposal *p = c->waiting;
        c->waiting = p->next;
        if (c->waiting == NULL)
            c->waiting_end = &c->waiting;
        answer_failed(c, p, &err);
    }
}

static bool is_ready_leader(const struct consensus *c)
{
    return !c->failed && !c->closing && c->raft.state == RAFT_LEADER &&
           c->ready_term == c->raft.current_term;
}

static void take_group(struct consensus *c, struct raft_buffer bufs[GROUP_MAX])
{
    size_t bytes = 0;
    c->group_n = c->group_done = 0;
    while (c->waiting != NULL && c->group_n < GROUP_MAX) {
        struct proposal *p = c->waiting;
        bytes += p->len;
        if (c->group_n > 0 && bytes > GROUP_BYTES)
            break;
        c->waiting = p->next;
        if (c->waiting == NULL)
            c->waiting_end = &c->waiting;
        bufs[c->group_n] = (struct raft_buffer){TAKE_PTR(p->bytes), p->len};
        c->group[c->group_n++] = p;
    }
}

static bool is_handing_over(const struct consensus *c)
{
    return c->transfer_to != 0 || c->raft.transfer != NULL;
}

/* libraft did not take them: the disk failed, or there is no memory. */
static void refuse_group(struct consensus *c, const struct raft_buffer *bufs)
{
    for (size_t i = 0; i < c->group_n; i++)
        c->group[i]->bytes = bufs[i].base;
    notice_failure(c);
    struct err err;
    err_set(&err, ERR_INTERNAL, "raft takes no entries: %s", raft_errmsg(&c->raft));
    fail(c, &err);
}

/* Hand the next group to libraft. False: there is none, or one is under way. */
static bool start_group(struct consensus *c)
{
    if (c->waiting == NULL || c->group_done < c->group_n || !is_ready_leader(c) ||
        is_handing_over(c))
        return false;
    struct raft_buffer bufs[GROUP_MAX];
    take_group(c, bufs);
    c->group_index = raft_last_index(&c->raft) + 1;
    c->group_term = c->raft.current_term;
    if (raft_apply(&c->raft, &c->apply, bufs, (unsigned)c->group_n, NULL) != 0)
        refuse_group(c, bufs);
    return true;
}

/* ---- handing over ---- */

/* A voter that is wanted and has the whole log: libraft itself asks one that may not have it yet,
 * which then ignores it. */
static raft_id up_to_date_voter(const struct consensus *c)
{
    uint64_t last = raft_last_index((struct raft *)&c->raft);
    for (size_t i = 0; i < c->conf.n_voters; i++)
        if (i != c->self && (c->transfer_to == ANY_VOTER || c->transfer_to == i + 1) &&
            c->raft.leader_state.progress[i].match_index == last)
            return i + 1;
    return 0;
}

/* No group starts meanwhile; so the log comes to rest, and some voter to have all of it. */
static bool hand_over(struct consensus *c)
{
    if (c->transfer_to == 0)
        return false;
    bool late = c->seams.clock.now(c->seams.clock.arg) >= c->transfer_until;
    if (late || !is_ready_leader(c) || c->raft.transfer != NULL) {
        c->transfer_to = 0;
        return true;
    }
    raft_id id = c->group_done == c->group_n ? up_to_date_voter(c) : 0;
    if (id == 0)
        return false;
    c->transfer_to = 0;
    raft_transfer(&c->raft, &c->transfer, id, NULL);
    return true;
}

/* ---- what follows from a change ---- */

static void on_barrier(struct raft_barrier *req, int status)
{
    struct consensus *c = req->data;
    if (status == 0)
        c->ready_term = c->barrier_term;
}

/* A new leader writes an entry of its own term before anything else: see raft_io.h. */
static bool start_barrier(struct consensus *c)
{
    if (c->failed || c->closing || c->raft.state != RAFT_LEADER ||
        c->barrier_term == c->raft.current_term)
        return false;
    c->barrier.data = c;
    uint64_t before = c->barrier_term;
    c->barrier_term = c->raft.current_term;
    if (raft_barrier(&c->raft, &c->barrier, on_barrier) == 0)
        return true;
    c->barrier_term = before; /* again at the next tick */
    return false;
}

static const char *voter_name(const struct consensus *c, raft_id id)
{
    return id >= 1 && id <= c->conf.n_voters ? c->voters[id - 1] : NULL;
}

static struct role current_role(struct consensus *c)
{
    struct role role = {.term = c->raft.current_term};
    if (c->failed || c->closing)
        return role;
    role.leader = is_ready_leader(c);
    raft_id id;
    const char *address;
    raft_leader(&c->raft, &id, &address);
    if (role.leader)
        role.host = c->voters[c->self];
    else if (c->raft.state == RAFT_FOLLOWER)
        role.host = voter_name(c, id);
    return role;
}

static bool tell_role(struct consensus *c)
{
    struct role role = current_role(c);
    if (role.term == c->told.term && role.leader == c->told.leader && role.host == c->told.host)
        return false;
    c->told = role;
    c->cb.on_role(c->cb.arg, role.term, role.leader, role.host);
    return true;
}

static bool give_up(struct consensus *c)
{
    bool lost = c->failed || c->closing || c->raft.state != RAFT_LEADER ||
                c->raft.current_term != c->group_term;
    if (c->group_done < c->group_n && lost) {
        give_up_group(c);
        return true;
    }
    if (c->waiting != NULL && !is_ready_leader(c)) {
        bool ended = c->failed || c->closing;
        give_up_waiting(c, ended ? ERR_UNAVAILABLE : ERR_NOT_LEADER,
                        ended ? "consensus has stopped here" : "leadership was lost");
        return true;
    }
    return false;
}

static bool tell_failure(struct consensus *c)
{
    if (!c->failed || c->fail_told || c->closing)
        return false;
    c->fail_told = true;
    c->cb.on_fail(c->cb.arg, &c->failure);
    return true;
}

static bool close_further(struct consensus *c);

static void settle(struct consensus *c)
{
    for (;;) {
        if (c->raft_ready && raft_backend_flush(c->backend))
            continue;
        notice_failure(c);
        if (start_barrier(c) || hand_over(c) || start_group(c))
            continue;
        if (c->quiet)
            return;
        if (give_up(c) || tell_role(c) || tell_failure(c) || close_further(c))
            continue;
        return;
    }
}

void consensus_tick(struct consensus *c)
{
    consensus_enter(c);
    if (!c->failed)
        raft_backend_tick(c->backend);
    consensus_leave(c);
}

/* ---- what the caller asks ---- */

int consensus_receive(struct consensus *c, const char *from_host, const uint8_t *bytes, size_t len,
                      struct err *err)
{
    if (c->failed || c->closing)
        return err_set(err, ERR_IO, "consensus has stopped here");
    consensus_enter(c);
    int rv = raft_backend_receive(c->backend, from_host, bytes, len, err);
    consensus_leave(c);
    return rv;
}

/* Do what can be done at once, but call nobody back: see quiet. */
static void leave_quietly(struct consensus *c)
{
    bool before = c->quiet;
    c->quiet = true;
    consensus_leave(c);
    c->quiet = before;
}

static int not_leader(const struct consensus *c, struct err *err)
{
    return err_set(err, ERR_NOT_LEADER, "%s leads", c->told.host != NULL ? c->told.host : "nobody");
}

static int check_proposal(const struct consensus *c, size_t len, struct err *err)
{
    if (c->failed || c->closing)
        return err_set(err, ERR_IO, "consensus has stopped here");
    if (len == 0 || len > CONSENSUS_ENTRY_MAX)
        return err_set(err, ERR_INVALID, "an entry of %zu bytes: 1 to %u are possible", len,
                       CONSENSUS_ENTRY_MAX);
    if (!c->told.leader || !is_ready_leader(c))
        return not_leader(c, err);
    if (c->proposals >= CONSENSUS_PROPOSALS_MAX)
        return err_set(err, ERR_LIMIT, "%zu proposals wait already", c->proposals);
    return 0;
}

int consensus_propose(struct consensus *c, const void *bytes, size_t len, consensus_done_cb cb,
                      void *arg, struct err *err)
{
    int rv = check_proposal(c, len, err);
    if (rv < 0)
        return rv;
    struct proposal *p = xcalloc(1, sizeof *p);
    p->bytes = raft_malloc(len);
    REQUIRE(p->bytes != NULL);
    memcpy(p->bytes, bytes, len);
    p->len = len;
    p->cb = cb;
    p->arg = arg;
    *c->waiting_end = p;
    c->waiting_end = &p->next;
    c->proposals++;
    consensus_enter(c);
    leave_quietly(c);
    return 0;
}

static raft_id voter_id(const struct consensus *c, const char *host)
{
    for (size_t i = 0; i < c->conf.n_voters; i++)
        if (strcmp(c->voters[i], host) == 0)
            return i + 1;
    return 0;
}

int consensus_transfer(struct consensus *c, const char *host, struct err *err)
{
    if (c->failed || c->closing || !is_ready_leader(c))
        return not_leader(c, err);
    if (is_handing_over(c))
        return err_set(err, ERR_CONFLICT, "leadership is being handed over already");
    if (c->conf.n_voters == 1)
        return err_set(err, ERR_UNAVAILABLE, "there is no other voter");
    raft_id id = host != NULL ? voter_id(c, host) : 0;
    if (host != NULL && (id == 0 || id == c->self + 1))
        return err_set(err, ERR_INVALID, "%s is no other voter", host);
    c->transfer_to = host != NULL ? id : ANY_VOTER;
    c->transfer_until = c->seams.clock.now(c->seams.clock.arg) + c->conf.election_timeout_ms;
    consensus_enter(c);
    leave_quietly(c);
    return 0;
}

uint64_t consensus_group(const struct consensus *c)
{
    return raft_backend_group(c->backend);
}

uint64_t consensus_term_at(const struct consensus *c, uint64_t index)
{
    return raft_backend_term_of(&c->raft, index);
}

void consensus_status(const struct consensus *c, struct consensus_status *ret)
{
    const struct raft *r = &c->raft;
    *ret = (struct consensus_status){.leader = c->told.leader,
                                     .leader_host = c->told.host,
                                     .term = r->current_term,
                                     .commit_index = r->commit_index,
                                     .applied_index = r->last_applied,
                                     .last_index = raft_last_index((struct raft *)r),
                                     .snapshot_index = r->log.snapshot.last_index,
                                     .proposals = c->proposals,
                                     .failed = c->failed,
                                     .refused_messages = raft_backend_refused(c->backend)};
}

/* ---- closing ---- */

void consensus_free(struct consensus *c)
{
    if (c->backend != NULL)
        raft_backend_free(c->backend);
    for (size_t i = 0; i < ARRAY_SIZE(c->voters); i++)
        free(c->voters[i]);
    free(c->cluster);
    free(c);
}

static void on_raft_closed(struct raft *r)
{
    struct consensus *c = r->data;
    c->raft_closed = true;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct consensus *c = handle->data;
    c->has_timer = false;
    end(c);
}

/* Closed all through; only the timer's handle may be left. */
static void end(struct consensus *c)
{
    c->raft_closed = false; /* once */
    if (c->has_timer) {
        uv_close((uv_handle_t *)&c->timer, on_timer_closed);
        return;
    }
    void (*closed)(void *arg) = c->closed;
    void *arg = c->closed_arg;
    consensus_free(c);
    if (closed != NULL)
        closed(arg);
}

/* One step towards the end; false: it waits for the disk, or is not wanted. */
static bool close_further(struct consensus *c)
{
    if (!c->closing)
        return false;
    if (!c->raft_closing) {
        c->raft_closing = true;
        raft_close(&c->raft, on_raft_closed);
        return true;
    }
    return raft_backend_finish_close(c->backend);
}

void consensus_close(struct consensus *c, void (*closed)(void *arg), void *arg)
{
    consensus_enter(c);
    c->closing = true;
    c->closed = closed;
    c->closed_arg = arg;
    consensus_leave(c);
}
