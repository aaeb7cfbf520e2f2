#include "agent/io/raft_wire.h"

#include <string.h>

#include "agent/io/consensus.h"
#include "proto/util.h"

#define NUMBER_MAX ((uint64_t)1 << 62) /* terms, indices: sums of two cannot overflow */
#define MEMORY_FACTOR 16               /* an entry of 8 bytes on the wire takes 72 in memory */
#define MEMORY_FLOOR (64u << 10)

/* ---- packing ---- */

static uint8_t *pack(Skein__RaftMessage *m, uint64_t group, size_t *ret_len)
{
    m->group = group;
    size_t len = skein__raft_message__get_packed_size(m);
    uint8_t *bytes = xmalloc(len);
    *ret_len = skein__raft_message__pack(m, bytes);
    return bytes;
}

/* How many of the entries go into one message. */
static size_t entries_that_fit(const struct raft_append_entries *a)
{
    size_t n = 0, bytes = 0;
    while (n < a->n_entries && n < RAFT_WIRE_APPEND_ENTRIES) {
        bytes += a->entries[n].buf.len;
        if (n > 0 && bytes > RAFT_WIRE_APPEND_BYTES)
            break;
        n++;
    }
    return n;
}

static uint8_t *pack_append(const struct raft_wire *w, const struct raft_append_entries *a,
                            size_t *ret_len)
{
    size_t n = entries_that_fit(a);
    _cleanup_(freep) Skein__RaftEntry *entries = xcalloc(n + 1, sizeof *entries);
    _cleanup_(freep) Skein__RaftEntry **pointers = xcalloc(n + 1, sizeof *pointers);
    for (size_t i = 0; i < n; i++) {
        skein__raft_entry__init(&entries[i]);
        entries[i].term = a->entries[i].term;
        entries[i].type = a->entries[i].type;
        entries[i].data.data = a->entries[i].buf.base;
        entries[i].data.len = a->entries[i].buf.len;
        pointers[i] = &entries[i];
    }
    Skein__RaftAppend append = SKEIN__RAFT_APPEND__INIT;
    append.term = a->term;
    append.prev_index = a->prev_log_index;
    append.prev_term = a->prev_log_term;
    append.commit = a->leader_commit;
    append.n_entries = n;
    append.entries = pointers;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_APPEND;
    m.append = &append;
    return pack(&m, w->group, ret_len);
}

static uint8_t *pack_append_result(const struct raft_wire *w,
                                   const struct raft_append_entries_result *a, size_t *ret_len)
{
    Skein__RaftAppendResult result = SKEIN__RAFT_APPEND_RESULT__INIT;
    result.term = a->term;
    result.rejected = a->rejected;
    result.last_index = a->last_log_index;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_APPEND_RESULT;
    m.append_result = &result;
    return pack(&m, w->group, ret_len);
}

static uint8_t *pack_vote(const struct raft_wire *w, const struct raft_request_vote *a,
                          size_t *ret_len)
{
    Skein__RaftVote vote = SKEIN__RAFT_VOTE__INIT;
    vote.term = a->term;
    vote.last_index = a->last_log_index;
    vote.last_term = a->last_log_term;
    vote.disrupt_leader = a->disrupt_leader;
    vote.pre_vote = a->pre_vote;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_VOTE;
    m.vote = &vote;
    return pack(&m, w->group, ret_len);
}

static uint8_t *pack_vote_result(const struct raft_wire *w,
                                 const struct raft_request_vote_result *a, size_t *ret_len)
{
    Skein__RaftVoteResult result = SKEIN__RAFT_VOTE_RESULT__INIT;
    result.term = a->term;
    result.granted = a->vote_granted;
    result.pre_vote = a->pre_vote == raft_tribool_true;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_VOTE_RESULT;
    m.vote_result = &result;
    return pack(&m, w->group, ret_len);
}

static uint8_t *pack_install(const struct raft_wire *w, const struct raft_install_snapshot *a,
                             size_t *ret_len)
{
    Skein__RaftInstall install = SKEIN__RAFT_INSTALL__INIT;
    install.term = a->term;
    install.last_index = a->last_index;
    install.last_term = a->last_term;
    install.data.data = a->data.base;
    install.data.len = a->data.len;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_INSTALL;
    m.install = &install;
    return pack(&m, w->group, ret_len);
}

static uint8_t *pack_timeout_now(const struct raft_wire *w, const struct raft_timeout_now *a,
                                 size_t *ret_len)
{
    Skein__RaftTimeoutNow now = SKEIN__RAFT_TIMEOUT_NOW__INIT;
    now.term = a->term;
    now.last_index = a->last_log_index;
    now.last_term = a->last_log_term;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_TIMEOUT_NOW;
    m.timeout_now = &now;
    return pack(&m, w->group, ret_len);
}

uint8_t *raft_wire_pack(const struct raft_wire *w, const struct raft_message *m, size_t *ret_len)
{
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return pack_append(w, &m->append_entries, ret_len);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return pack_append_result(w, &m->append_entries_result, ret_len);
    case RAFT_IO_REQUEST_VOTE:
        return pack_vote(w, &m->request_vote, ret_len);
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return pack_vote_result(w, &m->request_vote_result, ret_len);
    case RAFT_IO_INSTALL_SNAPSHOT:
        return pack_install(w, &m->install_snapshot, ret_len);
    default:
        REQUIRE(m->type == RAFT_IO_TIMEOUT_NOW);
        return pack_timeout_now(w, &m->timeout_now, ret_len);
    }
}

uint8_t *raft_wire_pack_part(const struct raft_wire *w, uint64_t id, const uint8_t *whole,
                             size_t total, size_t offset, size_t len, size_t *ret_len)
{
    Skein__RaftPart part = SKEIN__RAFT_PART__INIT;
    part.id = id;
    part.total = (uint32_t)total;
    part.offset = (uint32_t)offset;
    part.data.data = (uint8_t *)whole + offset;
    part.data.len = len;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_PART;
    m.part = &part;
    return pack(&m, w->group, ret_len);
}

uint8_t *raft_wire_pack_part_ack(const struct raft_wire *w, uint64_t id, size_t received,
                                 size_t *ret_len)
{
    Skein__RaftPartAck ack = SKEIN__RAFT_PART_ACK__INIT;
    ack.id = id;
    ack.received = (uint32_t)received;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_PART_ACK;
    m.part_ack = &ack;
    return pack(&m, w->group, ret_len);
}

/* ---- unpacking ---- */

static void *capped_alloc(void *budget, size_t size)
{
    size_t *left = budget;
    if (size > *left)
        return NULL;
    *left -= size;
    return malloc(size);
}

static void capped_free(void *budget _unused_, void *p)
{
    free(p);
}

int raft_wire_open(const struct raft_wire *w, const uint8_t *bytes, size_t len,
                   Skein__RaftMessage **ret, struct err *err)
{
    if (len > RAFT_WIRE_MAX)
        return err_set(err, ERR_INVALID, "raft message of %zu bytes: at most %u", len,
                       RAFT_WIRE_MAX);
    size_t budget = MEMORY_FLOOR + len * MEMORY_FACTOR;
    ProtobufCAllocator capped = {capped_alloc, capped_free, &budget};
    Skein__RaftMessage *m = skein__raft_message__unpack(&capped, len, bytes);
    if (m == NULL)
        return err_set(err, ERR_INVALID, "raft message of %zu bytes is malformed", len);
    if (m->group != w->group) {
        skein__raft_message__free_unpacked(m, NULL);
        return err_set(err, ERR_DENIED, "raft message of another cluster or set of voters");
    }
    *ret = m;
    return 0;
}

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "raft message: %s", what);
}

static bool is_number(uint64_t v)
{
    return v <= NUMBER_MAX;
}

/* A term of a message, or index and term of an entry that exists. */
static bool is_counted(uint64_t v)
{
    return v >= 1 && v <= NUMBER_MAX;
}

static int check_entry(const struct raft_wire *w, const Skein__RaftEntry *e, uint64_t at_least,
                       uint64_t at_most, struct err *err)
{
    if (e->term < at_least || e->term > at_most || e->term < 1)
        return bad(err, "an entry's term is out of order");
    if (e->data.len < 1 || e->data.len > CONSENSUS_ENTRY_MAX)
        return bad(err, "an entry's size");
    if (e->type == RAFT_CHANGE)
        return e->data.len == w->encoded.len &&
                       memcmp(e->data.data, w->encoded.base, w->encoded.len) == 0
                   ? 0
                   : bad(err, "another set of voters");
    return e->type == RAFT_COMMAND || e->type == RAFT_BARRIER ? 0 : bad(err, "an entry's type");
}

static int check_append(const struct raft_wire *w, const Skein__RaftAppend *a, size_t *ret_bytes,
                        struct err *err)
{
    if (!is_counted(a->term) || !is_number(a->prev_index) || !is_number(a->commit) ||
        a->prev_term > a->term || (a->prev_index == 0) != (a->prev_term == 0))
        return bad(err, "an append's numbers");
    if (a->n_entries > RAFT_WIRE_APPEND_ENTRIES)
        return bad(err, "too many entries");
    if (a->prev_index == 0 && a->n_entries > 0 && a->entries[0]->type != RAFT_CHANGE)
        return bad(err, "a log that does not begin with its voters");
    uint64_t term = a->prev_term;
    for (size_t i = 0; i < a->n_entries; i++) {
        int rv = check_entry(w, a->entries[i], term, a->term, err);
        if (rv < 0)
            return rv;
        term = a->entries[i]->term;
        *ret_bytes += a->entries[i]->data.len;
    }
    return 0;
}

/* libraft wants the entries in an array, their data in one batch beside it. */
static int decode_entries(const Skein__RaftAppend *a, size_t bytes, struct raft_append_entries *ret,
                          struct err *err)
{
    if (a->n_entries == 0)
        return 0;
    struct raft_entry *entries = raft_malloc(a->n_entries * sizeof *entries);
    uint8_t *batch = raft_malloc(bytes);
    if (entries == NULL || batch == NULL) {
        raft_free(entries);
        raft_free(batch);
        return err_set(err, ERR_NO_MEMORY, "raft message: out of memory");
    }
    uint8_t *at = batch;
    for (size_t i = 0; i < a->n_entries; i++) {
        const Skein__RaftEntry *e = a->entries[i];
        memcpy(at, e->data.data, e->data.len);
        entries[i] = (struct raft_entry){.term = e->term,
                                         .type = (unsigned short)e->type,
                                         .buf = {at, e->data.len},
                                         .batch = batch};
        at += e->data.len;
    }
    ret->entries = entries;
    ret->n_entries = (unsigned)a->n_entries;
    return 0;
}

static int decode_append(const struct raft_wire *w, const Skein__RaftAppend *a,
                         struct raft_message *ret, struct err *err)
{
    size_t bytes = 0;
    int rv = check_append(w, a, &bytes, err);
    if (rv < 0)
        return rv;
    ret->type = RAFT_IO_APPEND_ENTRIES;
    ret->append_entries = (struct raft_append_entries){.term = a->term,
                                                       .prev_log_index = a->prev_index,
                                                       .prev_log_term = a->prev_term,
                                                       .leader_commit = a->commit};
    return decode_entries(a, bytes, &ret->append_entries, err);
}

static int decode_append_result(const Skein__RaftAppendResult *a, struct raft_message *ret,
                                struct err *err)
{
    if (!is_counted(a->term) || !is_number(a->rejected) || !is_number(a->last_index))
        return bad(err, "an append result's numbers");
    ret->type = RAFT_IO_APPEND_ENTRIES_RESULT;
    ret->append_entries_result = (struct raft_append_entries_result){
        .term = a->term, .rejected = a->rejected, .last_log_index = a->last_index};
    return 0;
}

static int decode_vote(const Skein__RaftVote *a, raft_id from, struct raft_message *ret,
                       struct err *err)
{
    if (!is_counted(a->term) || !is_number(a->last_index) || a->last_term > a->term)
        return bad(err, "a vote's numbers");
    ret->type = RAFT_IO_REQUEST_VOTE;
    ret->request_vote = (struct raft_request_vote){.term = a->term,
                                                   .candidate_id = from,
                                                   .last_log_index = a->last_index,
                                                   .last_log_term = a->last_term,
                                                   .disrupt_leader = a->disrupt_leader,
                                                   .pre_vote = a->pre_vote};
    return 0;
}

static int decode_vote_result(const Skein__RaftVoteResult *a, struct raft_message *ret,
                              struct err *err)
{
    if (!is_counted(a->term))
        return bad(err, "a vote result's term");
    ret->type = RAFT_IO_REQUEST_VOTE_RESULT;
    ret->request_vote_result = (struct raft_request_vote_result){
        .term = a->term, .vote_granted = a->granted, .pre_vote = TO_RAFT_TRIBOOL(a->pre_vote)};
    return 0;
}

static int copy_configuration(const struct raft_configuration *from, struct raft_configuration *ret)
{
    raft_configuration_init(ret);
    int rv = 0;
    for (unsigned i = 0; i < from->n && rv == 0; i++)
        rv = raft_configuration_add(ret, from->servers[i].id, from->servers[i].address,
                                    from->servers[i].role);
    return rv;
}

static int decode_install(const struct raft_wire *w, const Skein__RaftInstall *a,
                          struct raft_message *ret, struct err *err)
{
    if (!is_counted(a->term) || !is_counted(a->last_index) || !is_counted(a->last_term) ||
        a->last_term > a->term)
        return bad(err, "a snapshot's numbers");
    if (a->data.len > CONSENSUS_SNAPSHOT_MAX)
        return bad(err, "a snapshot's size");
    ret->type = RAFT_IO_INSTALL_SNAPSHOT;
    struct raft_install_snapshot *s = &ret->install_snapshot;
    *s = (struct raft_install_snapshot){
        .term = a->term, .last_index = a->last_index, .last_term = a->last_term, .conf_index = 1};
    s->data.len = a->data.len;
    s->data.base = raft_malloc(MAX(a->data.len, (size_t)1));
    if (s->data.base == NULL || copy_configuration(w->configuration, &s->conf) != 0) {
        raft_wire_release(ret);
        return err_set(err, ERR_NO_MEMORY, "raft message: out of memory");
    }
    if (a->data.len > 0)
        memcpy(s->data.base, a->data.data, a->data.len);
    return 0;
}

static int decode_timeout_now(const Skein__RaftTimeoutNow *a, struct raft_message *ret,
                              struct err *err)
{
    if (!is_counted(a->term) || !is_number(a->last_index) || a->last_term > a->term)
        return bad(err, "a transfer's numbers");
    ret->type = RAFT_IO_TIMEOUT_NOW;
    ret->timeout_now = (struct raft_timeout_now){
        .term = a->term, .last_log_index = a->last_index, .last_log_term = a->last_term};
    return 0;
}

int raft_wire_decode(const struct raft_wire *w, const Skein__RaftMessage *m, raft_id from,
                     struct raft_message *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    switch (m->kind_case) {
    case SKEIN__RAFT_MESSAGE__KIND_APPEND:
        return decode_append(w, m->append, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_APPEND_RESULT:
        return decode_append_result(m->append_result, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_VOTE:
        return decode_vote(m->vote, from, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_VOTE_RESULT:
        return decode_vote_result(m->vote_result, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_INSTALL:
        return decode_install(w, m->install, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_TIMEOUT_NOW:
        return decode_timeout_now(m->timeout_now, ret, err);
    case SKEIN__RAFT_MESSAGE__KIND_PART:
    case SKEIN__RAFT_MESSAGE__KIND_PART_ACK:
    case SKEIN__RAFT_MESSAGE__KIND_ENDED: /* the council's */
    case SKEIN__RAFT_MESSAGE__KIND__NOT_SET:
    case _SKEIN__RAFT_MESSAGE__KIND__CASE_IS_INT_SIZE:
    default:
        return bad(err, "of an unknown kind");
    }
}

void raft_wire_release(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
    }
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_free(m->install_snapshot.data.base);
        raft_configuration_close(&m->install_snapshot.conf);
    }
}
