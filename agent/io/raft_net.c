/* Messages to and from the other voters, and the guards on them that raft_io.h lists. */
#include "agent/io/raft_backend.h"

#include <string.h>

#include "proto/util.h"

/* ---- sending ---- */

static void answer_later(struct raft_backend *b, struct raft_io_send *req, int status)
{
    if (req == NULL || req->cb == NULL)
        return;
    struct later *l = xcalloc(1, sizeof *l);
    l->req = req;
    l->status = status;
    *b->later_end = l;
    b->later_end = &l->next;
}

bool raft_backend_flush(struct raft_backend *b)
{
    bool any = b->later != NULL;
    while (b->later != NULL) {
        struct later *l = b->later;
        b->later = l->next;
        if (b->later == NULL)
            b->later_end = &b->later;
        l->req->cb(l->req, b->closing ? RAFT_CANCELED : l->status);
        free(l);
    }
    return any;
}

static int transmit(struct raft_backend *b, size_t peer, const uint8_t *bytes, size_t len)
{
    return b->conf.send(b->conf.arg, b->conf.voters[peer], bytes, len) < 0 ? RAFT_NOCONNECTION : 0;
}

/* Send what the window allows. What the mesh refuses is sent again when the parts time out. */
static void send_parts(struct raft_backend *b, size_t peer)
{
    struct parts_out *out = &b->peers[peer].out;
    size_t offset, len, packed_len;
    while (parts_next(out, &offset, &len)) {
        _cleanup_(freep) uint8_t *packed =
            raft_wire_pack_part(&b->wire, out->id, out->bytes, out->len, offset, len, &packed_len);
        if (transmit(b, peer, packed, packed_len) != 0)
            return;
    }
}

static void send_packed(struct raft_backend *b, size_t peer, uint8_t *packed, size_t len,
                        struct raft_io_send *req)
{
    struct peer *p = &b->peers[peer];
    if (len <= PARTS_SIZE) {
        answer_later(b, req, transmit(b, peer, packed, len));
        free(packed);
    } else if (p->out.bytes != NULL) {
        answer_later(b, req, RAFT_NOCONNECTION); /* one at a time; libraft tries again */
        free(packed);
    } else {
        p->out_req = req;
        parts_start(&p->out, packed, len, b->conf.clock.now(b->conf.clock.arg));
        send_parts(b, peer);
    }
}

static void note_match(struct raft_backend *b, uint64_t term, uint64_t index)
{
    if (term < b->match_term)
        return;
    b->match_index = term == b->match_term ? MAX(b->match_index, index) : index;
    b->match_term = term;
}

/* libraft found the append that it was just handed to fit this log. */
void raft_net_note_append(struct raft_backend *b)
{
    const struct raft_append_entries *a = b->appending;
    if (a != NULL)
        note_match(b, a->term, a->prev_log_index + a->n_entries);
}

/* What this voter may say of its log to the leader of this term, and should: what is committed is
 * in the leader's log for certain. libraft refuses what it has compacted, and a leader that goes
 * back one entry a heartbeat to where both have none would never find it out. */
static void guard_append_result(struct raft_backend *b, struct raft_append_entries_result *a)
{
    const struct raft *r = raft_of(b);
    bool of_this_term = b->appending != NULL && b->appending->term == a->term;
    uint64_t commit = MIN(r->commit_index, r->last_stored);
    if (of_this_term && a->rejected > 0 && a->rejected <= commit) {
        a->rejected = 0;
        a->last_log_index = commit;
        return;
    }
    if (a->rejected > 0) {
        if (a->last_log_index >= a->rejected) /* both have one there, of different terms */
            a->last_log_index = MIN(a->rejected - 1, commit);
        return;
    }
    if (of_this_term)
        raft_net_note_append(b);
    uint64_t alike = b->match_term == a->term ? MAX(b->match_index, commit) : commit;
    a->last_log_index = MAX(MIN(a->last_log_index, alike), commit);
}

/* libraft answers a trial vote with the asker's own term: one with the longest log but an old term
 * would never learn why it is refused, and nobody else can win. */
static void guard_vote_result(const struct raft *r, struct raft_request_vote_result *a)
{
    if (a->pre_vote == raft_tribool_true && !a->vote_granted)
        a->term = MAX(a->term, r->current_term);
}

/* Parts take their time, and may have to wait: the follower must hear of its leader meanwhile. What
 * is known to match serves as the place, so that nothing is refused. */
static void send_heartbeat(struct raft_backend *b, size_t peer, struct raft_append_entries a)
{
    const struct raft *r = raft_of(b);
    if (r->state != RAFT_LEADER)
        return;
    uint64_t match = r->leader_state.progress[peer].match_index;
    uint64_t term = raft_backend_term_of(r, match);
    if (term > 0) {
        a.prev_log_index = match;
        a.prev_log_term = term;
    }
    a.n_entries = 0;
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES, .append_entries = a};
    size_t len;
    _cleanup_(freep) uint8_t *packed = raft_wire_pack(&b->wire, &m, &len);
    transmit(b, peer, packed, len);
}

int raft_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb)
{
    struct raft_backend *b = backend_of(io);
    struct raft_message m = *message;
    req->cb = cb;
    /* libraft may read the leader's id out of a union that holds something else by now. */
    if (m.server_id < 1 || m.server_id > b->conf.n_voters || m.server_id == b->conf.self + 1) {
        answer_later(b, req, RAFT_NOCONNECTION);
        return 0;
    }
    if (m.type == RAFT_IO_REQUEST_VOTE && m.request_vote.last_log_index < b->conf.base_index) {
        answer_later(b, req, RAFT_NOCONNECTION); /* see take_vote */
        return 0;
    }
    if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT)
        guard_append_result(b, &m.append_entries_result);
    if (m.type == RAFT_IO_REQUEST_VOTE_RESULT)
        guard_vote_result(raft_of(b), &m.request_vote_result);
    size_t peer = (size_t)m.server_id - 1, len;
    uint8_t *packed = raft_wire_pack(&b->wire, &m, &len);
    if (m.type == RAFT_IO_APPEND_ENTRIES && len > PARTS_SIZE)
        send_heartbeat(b, peer, m.append_entries);
    send_packed(b, peer, packed, len, req);
    return 0;
}

/* ---- receiving ---- */

/* Drop the first entries of a message; the place moves on behind them. */
static void skip_entries(struct raft_append_entries *a, unsigned n)
{
    a->prev_log_index += n;
    a->prev_log_term = a->entries[n - 1].term;
    a->n_entries -= n;
    if (a->n_entries > 0) {
        memmove(a->entries, a->entries + n, a->n_entries * sizeof *a->entries);
        return;
    }
    raft_free(a->entries[0].batch);
    raft_free(TAKE_PTR(a->entries));
}

/* What is committed here is the same there. libraft must not see it: entries before its compacted
 * log it takes for new ones and appends them at the wrong place. */
static void skip_committed(const struct raft *r, struct raft_append_entries *a)
{
    if (a->n_entries > 0 && a->prev_log_index < r->commit_index)
        skip_entries(a, (unsigned)MIN(a->n_entries, r->commit_index - a->prev_log_index));
}

static void take_append(struct raft_backend *b, struct raft_message *m)
{
    struct raft_append_entries *a = &m->append_entries;
    skip_committed(raft_of(b), a);
    if (b->drain && a->n_entries > 0) {
        raft_wire_release(m); /* the leader sends them again */
        return;
    }
    a->leader_commit = MIN(a->leader_commit, a->prev_log_index + a->n_entries);
    struct raft_append_entries handed = *a;
    b->appending = &handed;
    b->recv(&b->io, m);
    b->appending = NULL;
}

static void take_install(struct raft_backend *b, struct raft_message *m)
{
    const struct raft_install_snapshot *s = &m->install_snapshot;
    if (raft_backend_term_of(raft_of(b), s->last_index) == s->last_term)
        note_match(b, s->term, s->last_index);
    b->recv(&b->io, m);
}

/* A leader may count answers only when an entry of its own term is the last on its disk. */
static bool may_count(struct raft_backend *b)
{
    const struct raft *r = raft_of(b);
    return r->state != RAFT_LEADER || raft_backend_term_of(r, r->last_stored) == r->current_term;
}

static void take_append_result(struct raft_backend *b, struct raft_message *m)
{
    struct peer *p = &b->peers[m->server_id - 1];
    p->held = !may_count(b);
    if (p->held)
        p->answer = *m;
    else
        b->recv(&b->io, m);
}

void raft_net_deliver_held(struct raft_backend *b)
{
    for (size_t i = 0; i < b->conf.n_voters; i++) {
        struct peer *p = &b->peers[i];
        if (!p->held || !may_count(b))
            continue;
        p->held = false;
        b->recv(&b->io, &p->answer);
    }
}

/* A log that does not reach to where the group began lacks what was agreed on before: two voters
 * that both begin with nothing must not elect each other. */
static void take_vote(struct raft_backend *b, struct raft_message *m)
{
    if (m->request_vote.last_log_index >= b->conf.base_index)
        b->recv(&b->io, m);
}

static void hand_over(struct raft_backend *b, struct raft_message *m)
{
    switch (m->type) {
    case RAFT_IO_REQUEST_VOTE:
        take_vote(b, m);
        break;
    case RAFT_IO_APPEND_ENTRIES:
        take_append(b, m);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        take_append_result(b, m);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        take_install(b, m);
        break;
    default:
        b->recv(&b->io, m);
        break;
    }
}

static int receive_message(struct raft_backend *b, size_t peer, const Skein__RaftMessage *wire,
                           struct err *err)
{
    struct raft_message m;
    int rv = raft_wire_decode(&b->wire, wire, peer + 1, &m, err);
    if (rv < 0)
        return rv;
    m.server_id = peer + 1;
    m.server_address = b->conf.voters[peer];
    hand_over(b, &m);
    return 0;
}

static int receive_bytes(struct raft_backend *b, size_t peer, const uint8_t *bytes, size_t len,
                         bool whole, struct err *err);

static void acknowledge_part(struct raft_backend *b, size_t peer)
{
    size_t len;
    struct parts_in *in = &b->peers[peer].in;
    _cleanup_(freep) uint8_t *ack = raft_wire_pack_part_ack(&b->wire, in->id, in->received, &len);
    transmit(b, peer, ack, len);
}

static int receive_part(struct raft_backend *b, size_t peer, const Skein__RaftPart *part,
                        struct err *err)
{
    struct parts_in *in = &b->peers[peer].in;
    bool whole = parts_add(in, part->id, part->total, part->offset, part->data.data, part->data.len,
                           RAFT_WIRE_MAX);
    if (part->id == in->id)
        acknowledge_part(b, peer);
    if (!whole)
        return 0;
    int rv = receive_bytes(b, peer, in->bytes, in->total, true, err);
    parts_in_reset(in);
    return rv;
}

static void finish_parts(struct raft_backend *b, size_t peer, int status)
{
    answer_later(b, TAKE_PTR(b->peers[peer].out_req), status);
}

static void receive_part_ack(struct raft_backend *b, size_t peer, const Skein__RaftPartAck *ack)
{
    uint64_t now = b->conf.clock.now(b->conf.clock.arg);
    if (parts_acked(&b->peers[peer].out, ack->id, ack->received, now))
        finish_parts(b, peer, 0);
    send_parts(b, peer);
}

static void skein_raft_message_free(Skein__RaftMessage *m)
{
    skein__raft_message__free_unpacked(m, NULL);
}

DEFINE_CLEANUP(Skein__RaftMessage, skein_raft_message_free)

static int receive_bytes(struct raft_backend *b, size_t peer, const uint8_t *bytes, size_t len,
                         bool whole, struct err *err)
{
    _cleanup_(skein_raft_message_freep) Skein__RaftMessage *m = NULL;
    int rv = raft_wire_open(&b->wire, bytes, len, &m, err);
    if (rv < 0)
        return rv;
    if (!whole && m->kind_case == SKEIN__RAFT_MESSAGE__KIND_PART)
        return receive_part(b, peer, m->part, err);
    if (!whole && m->kind_case == SKEIN__RAFT_MESSAGE__KIND_PART_ACK) {
        receive_part_ack(b, peer, m->part_ack);
        return 0;
    }
    return receive_message(b, peer, m, err);
}

int raft_backend_receive(struct raft_backend *b, const char *from_host, const uint8_t *bytes,
                         size_t len, struct err *err)
{
    size_t peer = 0;
    while (peer < b->conf.n_voters && strcmp(b->conf.voters[peer], from_host) != 0)
        peer++;
    int rv;
    if (peer == b->conf.n_voters || peer == b->conf.self)
        rv = err_set(err, ERR_DENIED, "raft message from %s, which is no other voter", from_host);
    else if (!b->started || b->closing || b->failure.code != ERR_OK)
        return err_set(err, ERR_IO, "consensus has stopped here");
    else
        rv = receive_bytes(b, peer, bytes, len, false, err);
    b->refused += rv < 0;
    return rv;
}

/* ---- time and end ---- */

void raft_net_tick(struct raft_backend *b)
{
    uint64_t now = b->conf.clock.now(b->conf.clock.arg);
    for (size_t i = 0; i < b->conf.n_voters; i++) {
        if (parts_timeout(&b->peers[i].out, now, b->conf.election_timeout_ms))
            finish_parts(b, i, RAFT_NOCONNECTION);
        send_parts(b, i);
    }
}

void raft_net_close(struct raft_backend *b)
{
    for (size_t i = 0; i < b->conf.n_voters; i++) {
        parts_out_reset(&b->peers[i].out);
        finish_parts(b, i, RAFT_CANCELED);
    }
}
