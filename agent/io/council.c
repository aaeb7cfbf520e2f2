#include "agent/io/council.h"

#include <string.h>

#include "agent/io/council_seams.h"
#include "proto/log.h"
#include "proto/raft.pb-c.h"
#include "proto/util.h"

#define SAY_EVERY_MS 100 /* "your group has ended", whoever has to hear it */

struct council {
    struct council_conf conf; /* but its names: */
    char *cluster, *self;
    struct council_callbacks cb;
    struct council_seams seams;
    struct store *store; /* with a loop; NULL: over the seams alone */
    uv_loop_t *loop;

    struct voter_group group;   /* the newest */
    struct voter_groups groups; /* with those before it */
    uint64_t store_id;
    bool is_new; /* council_is_new */
    struct consensus *consensus;
    uint64_t applied, term; /* of the state machine; newest told */

    struct voter_group next;
    bool switching; /* to next: nothing of group is applied any more ... */
    bool reached;   /* ... and the state is that of its last entry */
    bool busy;      /* between two groups: a close waits */
    uint64_t said_at;

    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void council_free(struct council *c)
{
    free(c->cluster);
    free(c->self);
    free(c);
}

DEFINE_CLEANUP(struct council, council_free)

const struct voter_group *council_group(const struct council *c)
{
    return &c->group;
}

uint64_t council_store(const struct council *c)
{
    return c->store_id;
}

const struct voter_groups *council_groups(const struct council *c)
{
    return &c->groups;
}

bool council_votes(const struct council *c)
{
    return !c->is_new && group_has(&c->group, c->self, c->store_id);
}

bool council_is_new(const struct council *c)
{
    return c->is_new;
}

static void fail(struct council *c, const struct err *err)
{
    c->cb.on_fail(c->cb.arg, err);
}

/* ---- the end of a group ---- */

static void switched(void *arg);

static void leave_group(struct council *c, const struct voter_group *next,
                        const struct voter_groups *said)
{
    if (c->switching || c->closing)
        return;
    c->next = *next;
    if (next->number == 1)
        c->groups.n = 0; /* with its stores, now */
    groups_follow(&c->groups, said, next);
    c->switching = true;
    if (c->consensus == NULL)
        return;
    c->cb.on_role(c->cb.arg, c->term, false, NULL);
    consensus_close(c->consensus, switched, c);
}

static void applied(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len)
{
    struct council *c = arg;
    struct voter_group next;
    if (c->switching)
        return; /* behind the group's last entry, or given up */
    c->applied = index;
    if (!c->cb.on_apply(c->cb.arg, index, term, bytes, len, &next))
        return;
    c->reached = true;
    leave_group(c, &next, NULL);
}

static void role(void *arg, uint64_t term, bool is_leader, const char *leader)
{
    struct council *c = arg;
    if (c->switching || c->closing)
        return;
    c->term = MAX(c->term, term);
    c->cb.on_role(c->cb.arg, term, is_leader, leader);
}

/* None of a state beyond which the group has ended: a laggard would not see the end. */
static int snapshot(void *arg, void **ret_bytes, size_t *ret_len, struct err *err)
{
    struct council *c = arg;
    if (c->switching)
        return err_set(err, ERR_UNAVAILABLE, "the group of voters has ended");
    return c->cb.snapshot(c->cb.arg, ret_bytes, ret_len, err);
}

static int restore(void *arg, uint64_t index, const void *bytes, size_t len, struct err *err)
{
    struct council *c = arg;
    if (c->switching)
        return 0;
    int rc = c->cb.restore(c->cb.arg, index, bytes, len, err);
    if (rc >= 0)
        c->applied = index;
    return rc;
}

static int send_on(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct council *c = arg;
    return c->cb.send(c->cb.arg, host, bytes, len);
}

static void failed(void *arg, const struct err *err)
{
    fail(arg, err);
}

/* ---- a group's beginning ---- */

static int open_group(struct council *c, struct err *err)
{
    const char *voters[GROUP_VOTERS_MAX];
    uint8_t digest[HASH_SIZE];
    for (size_t i = 0; i < c->group.n; i++)
        voters[i] = c->group.voters[i].host;
    group_digest(&c->group, digest);
    struct consensus_conf conf = {.cluster = c->cluster,
                                  .voters = voters,
                                  .n_voters = c->group.n,
                                  .self = c->self,
                                  .group = c->group.number > 1 ? digest : NULL,
                                  .base_index = c->group.index,
                                  .election_timeout_ms = c->conf.election_timeout_ms,
                                  .heartbeat_ms = c->conf.heartbeat_ms,
                                  .snapshot_threshold = c->conf.snapshot_threshold,
                                  .snapshot_trailing = c->conf.snapshot_trailing};
    struct consensus_callbacks cb = {.arg = c,
                                     .send = send_on,
                                     .on_apply = applied,
                                     .on_role = role,
                                     .snapshot = snapshot,
                                     .restore = restore,
                                     .on_fail = failed};
    int rc = c->loop != NULL ? consensus_open(&conf, c->store, c->loop, &cb, &c->consensus, err)
                             : consensus_open_over(&conf, &c->seams.raft, &cb, &c->consensus, err);
    if (rc >= 0 && c->switching) /* its log was known to reach to its end */
        consensus_close(c->consensus, switched, c);
    return rc;
}

/* What is committed for certain, as whoever names the next group knows, is applied here too, if it
 * is here. */
static void replay(struct council *c, const struct store_raft_state *log)
{
    bool here = false;
    for (size_t i = 0; i < log->n_entries; i++)
        here |= log->entries[i].index == c->next.index && log->entries[i].term == c->next.term;
    for (size_t i = 0; here && !c->reached && i < log->n_entries; i++) {
        const struct store_raft_entry *e = &log->entries[i];
        struct voter_group next;
        if (e->index <= c->applied || e->index > c->next.index || e->type != RAFT_COMMAND)
            continue;
        c->applied = e->index;
        c->reached = c->cb.on_apply(c->cb.arg, e->index, e->term, e->data, e->len, &next);
    }
}

/* The log of the new group: of who saw the old one's end, the state as of then; of another, what it
 * has that is committed, if anything. */
static int write_log(struct council *c, struct store_batch *b, const struct store_raft_state *log,
                     struct err *err)
{
    const char *voters[GROUP_VOTERS_MAX];
    struct raft_configuration configuration;
    struct raft_buffer encoded = {0};
    const struct store_raft_snapshot *s = &log->snapshot;
    uint64_t term = MAX(MAX(log->term, s->term), MAX(c->next.term, (uint64_t)1));
    for (size_t i = 0; i < c->next.n; i++)
        voters[i] = c->next.voters[i].host;
    _cleanup_(freep) void *image = NULL;
    size_t len = 0;
    int rc = raft_voters_encode(voters, c->next.n, &configuration, &encoded, err);
    if (rc >= 0 && c->reached)
        rc = c->cb.snapshot(c->cb.arg, &image, &len, err);
    if (rc >= 0) {
        store_raft_truncate(b, 1);
        store_raft_set(b, term, 0);
        if (c->reached)
            store_raft_snapshot_put(b, c->next.index, c->next.term, encoded.base, encoded.len,
                                    image, len, c->next.index + 1);
        else if (s->index > 0)
            store_raft_snapshot_put(b, s->index, s->term, encoded.base, encoded.len, s->data,
                                    s->len, s->index + 1);
        else
            store_raft_append(b, 1, 1, RAFT_CHANGE, encoded.base, encoded.len);
    }
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
    return rc;
}

static int write_group(struct council *c, struct err *err)
{
    const struct raft_disk *disk = &c->seams.raft.disk;
    struct store_raft_state log = {0};
    bool voted = council_votes(c);
    int rc = disk->load(disk->arg, &log, err);
    if (rc < 0)
        return rc;
    if (voted)
        replay(c, &log);
    struct store_batch *b = store_batch_new();
    size_t len;
    _cleanup_(freep) uint8_t *bytes = groups_pack(&c->groups, &len);
    store_kv_put(b, COUNCIL_KEY_GROUP, bytes, len);
    bool first = c->next.number == 1; /* its log begins as it always did */
    if (!first && group_has(&c->next, c->self, c->store_id))
        rc = write_log(c, b, &log, err);
    store_raft_state_done(&log);
    if (rc < 0) {
        store_batch_free(b);
        return rc;
    }
    return disk->submit_wait(disk->arg, b, err);
}

static void close_further(struct council *c)
{
    void (*closed)(void *arg) = c->closed;
    void *arg = c->closed_arg;
    council_free(c);
    if (closed != NULL)
        closed(arg);
}

static void begin_group(struct council *c)
{
    struct err err;
    int rc = write_group(c, &err);
    if (rc >= 0) {
        c->group = c->next;
        c->is_new = c->switching = c->reached = false;
        c->cb.on_group(c->cb.arg, c);
        if (!c->closing && council_votes(c))
            rc = open_group(c, &err);
    }
    if (rc < 0) {
        err_wrap(&err, "group %llu of voters", (unsigned long long)c->next.number);
        fail(c, &err);
    }
}

static void finish_close(struct council *c)
{
    if (c->consensus == NULL)
        close_further(c);
    else if (!c->switching) /* else it is being closed already */
        consensus_close(c->consensus, switched, c);
}

static void switched(void *arg)
{
    struct council *c = arg;
    c->consensus = NULL;
    c->busy = true;
    if (!c->closing)
        begin_group(c);
    c->busy = false;
    if (c->closing)
        finish_close(c);
}

void council_follow(struct council *c, const struct voter_group *group,
                    const struct voter_groups *said)
{
    bool first = c->is_new && group->number == 1;
    if (c->switching || c->closing || (group->number <= c->group.number && !first))
        return;
    bool runs = c->consensus != NULL;
    leave_group(c, group, said);
    if (!runs)
        switched(c);
}

/* ---- messages ---- */

/* Which group is it of? libraft's border packs it first. */
static bool group_of(const uint8_t *bytes, size_t len, uint64_t *ret)
{
    if (len < 9 || bytes[0] != (1 << 3 | 1))
        return false;
    *ret = 0;
    for (size_t i = 0; i < 8; i++)
        *ret |= (uint64_t)bytes[1 + i] << 8 * i;
    return true;
}

static void say_ended(struct council *c, const char *to)
{
    const struct raft_clock *clock = &c->seams.raft.clock;
    uint64_t now = clock->now(clock->arg);
    if (c->said_at != 0 && now - c->said_at < SAY_EVERY_MS)
        return;
    c->said_at = now;
    Skein__RaftMessage m = SKEIN__RAFT_MESSAGE__INIT;
    size_t len;
    _cleanup_(freep) uint8_t *groups = groups_pack(&c->groups, &len);
    m.kind_case = SKEIN__RAFT_MESSAGE__KIND_ENDED;
    m.ended = (ProtobufCBinaryData){.data = groups, .len = len};
    size_t packed_len = skein__raft_message__get_packed_size(&m);
    _cleanup_(freep) uint8_t *packed = xmalloc(packed_len);
    skein__raft_message__pack(&m, packed);
    c->cb.send(c->cb.arg, to, packed, packed_len);
}

/* Another voter says that the group has ended, and with which entry: who has that entry too knows
 * by this that it is committed, as it would by the commit index of a leader. */
static int hear_ended(struct council *c, const char *from, const uint8_t *bytes, size_t len,
                      struct err *err)
{
    struct voter_groups groups;
    if (!c->conf.replaces)
        return err_set(err, ERR_UNSUPPORTED, "the voters are fixed here");
    Skein__RaftMessage *m = skein__raft_message__unpack(NULL, len, bytes);
    if (m == NULL || m->kind_case != SKEIN__RAFT_MESSAGE__KIND_ENDED) {
        if (m != NULL)
            skein__raft_message__free_unpacked(m, NULL);
        return err_set(err, ERR_INVALID, "raft message of no group");
    }
    int rc = groups_unpack(m->ended.data, m->ended.len, &groups, err);
    skein__raft_message__free_unpacked(m, NULL);
    if (rc < 0)
        return rc;
    const struct voter_group *next = groups_after(&groups, &c->group);
    if (groups.list[groups.n - 1].number < c->group.number)
        say_ended(c, from);
    if (next == NULL || c->switching || c->consensus == NULL || next->index == 0 ||
        group_find(&c->group, from) == NULL || group_check_next(&c->group, next, err) < 0 ||
        consensus_term_at(c->consensus, next->index) != next->term)
        return 0; /* nothing that can be told from here */
    council_follow(c, next, &groups);
    return 0;
}

int council_receive(struct council *c, const char *from_host, const uint8_t *bytes, size_t len,
                    struct err *err)
{
    uint64_t group;
    if (!group_of(bytes, len, &group))
        return err_set(err, ERR_INVALID, "raft message of %zu bytes is malformed", len);
    if (group == 0)
        return hear_ended(c, from_host, bytes, len, err);
    if (c->switching || c->is_new)
        return 0;
    if (c->consensus == NULL || group != consensus_group(c->consensus)) {
        say_ended(c, from_host);
        return 0;
    }
    return consensus_receive(c->consensus, from_host, bytes, len, err);
}

/* ---- what the caller asks ---- */

struct asked {
    struct council *c;
    consensus_done_cb cb;
    void *arg;
};

/* What stands behind the group's last entry does not count. */
static void answered(void *arg, uint64_t index, const struct err *err)
{
    _cleanup_(freep) struct asked *q = arg;
    struct err ended;
    if (err == NULL && q->c->reached && index > q->c->next.index) {
        err_set(&ended, ERR_NOT_LEADER, "the group of voters had ended");
        err = &ended;
    }
    q->cb(q->arg, index, err);
}

static int check_votes(const struct council *c, struct err *err)
{
    if (c->consensus != NULL && !c->switching && !c->closing)
        return 0;
    return err_set(err, ERR_NOT_LEADER, c->switching ? "the voters change" : "%s does not vote",
                   c->self);
}

int council_propose(struct council *c, const void *bytes, size_t len, consensus_done_cb cb,
                    void *arg, struct err *err)
{
    int rc = check_votes(c, err);
    if (rc < 0)
        return rc;
    if (cb == NULL)
        return consensus_propose(c->consensus, bytes, len, NULL, NULL, err);
    struct asked *q = xcalloc(1, sizeof *q);
    *q = (struct asked){.c = c, .cb = cb, .arg = arg};
    rc = consensus_propose(c->consensus, bytes, len, answered, q, err);
    if (rc < 0)
        free(q);
    return rc;
}

int council_transfer(struct council *c, const char *host, struct err *err)
{
    int rc = check_votes(c, err);
    return rc < 0 ? rc : consensus_transfer(c->consensus, host, err);
}

void council_status(const struct council *c, struct consensus_status *ret)
{
    *ret = (struct consensus_status){0};
    if (c->consensus != NULL)
        consensus_status(c->consensus, ret);
    if (c->switching)
        ret->leader = false;
}

void council_tick(struct council *c)
{
    if (c->consensus != NULL)
        consensus_tick(c->consensus);
}

/* ---- opening ---- */

/* This store's number; a store that has none is given one. */
static int read_store(struct council *c, struct err *err)
{
    const struct raft_disk *disk = &c->seams.raft.disk;
    const struct raft_clock *clock = &c->seams.raft.clock;
    _cleanup_(freep) void *value = NULL;
    size_t len = 0;
    int rc = c->seams.kv_get(disk->arg, COUNCIL_KEY_STORE, &value, &len, err);
    if (rc >= 0 && len != sizeof c->store_id)
        return err_set(err, ERR_IO, "the number of the store is damaged");
    if (rc >= 0)
        memcpy(&c->store_id, value, len);
    if (rc != -ERR_NOT_FOUND)
        return rc;
    c->store_id = 1 + clock->random(clock->arg, (uint64_t)1 << 62);
    struct store_batch *b = store_batch_new();
    store_kv_put(b, COUNCIL_KEY_STORE, &c->store_id, sizeof c->store_id);
    return disk->submit_wait(disk->arg, b, err);
}

/* What was configured when this host last started; noted where it is another now. */
static int note_configured(struct council *c, const struct voter_group *first, bool *ret_changed,
                           struct err *err)
{
    const struct raft_disk *disk = &c->seams.raft.disk;
    uint8_t digest[HASH_SIZE];
    _cleanup_(freep) void *value = NULL;
    size_t len = 0;
    group_digest(first, digest);
    int rc = c->seams.kv_get(disk->arg, COUNCIL_KEY_CONFIGURED, &value, &len, err);
    *ret_changed = rc >= 0 && (len != sizeof digest || memcmp(value, digest, len) != 0);
    if (rc < 0 && rc != -ERR_NOT_FOUND)
        return rc;
    if (rc >= 0 && !*ret_changed)
        return 0;
    struct store_batch *b = store_batch_new();
    store_kv_put(b, COUNCIL_KEY_CONFIGURED, digest, sizeof digest);
    return disk->submit_wait(disk->arg, b, err);
}

/* The groups that are known. A host that does not vote and whose configuration was given other
 * voters asks those: the ones that it knew may be gone (skein recover). */
static int read_groups(struct council *c, const struct voter_group *first, struct err *err)
{
    const struct raft_disk *disk = &c->seams.raft.disk;
    _cleanup_(freep) void *value = NULL;
    size_t len = 0;
    bool changed = false;
    int rc = c->seams.kv_get(disk->arg, COUNCIL_KEY_GROUP, &value, &len, err);
    if (rc < 0 && rc != -ERR_NOT_FOUND)
        return rc;
    if (rc >= 0 && (rc = groups_unpack(value, len, &c->groups, err)) < 0)
        return rc;
    if ((rc = note_configured(c, first, &changed, err)) < 0)
        return rc;
    bool votes =
        c->groups.n > 0 && group_has(&c->groups.list[c->groups.n - 1], c->self, c->store_id);
    if (changed && !votes)
        c->groups.n = 0;
    return 0;
}

static int read_group(struct council *c, struct err *err)
{
    const struct raft_disk *disk = &c->seams.raft.disk;
    struct store_raft_state log = {0};
    struct voter_group first;
    int rc = group_first(c->conf.first, c->conf.n_first, &first, err);
    if (rc < 0 || (rc = read_groups(c, &first, err)) < 0)
        return rc;
    if (c->groups.n > 0) {
        c->group = c->groups.list[c->groups.n - 1];
        return 0;
    }
    c->group = first;
    groups_add(&c->groups, &c->group);
    if ((rc = disk->load(disk->arg, &log, err)) < 0)
        return rc;
    c->is_new = c->conf.careful && c->group.n > 1 && group_find(&c->group, c->self) != NULL &&
                log.term == 0 && log.n_entries == 0 && log.snapshot.index == 0;
    store_raft_state_done(&log);
    return 0;
}

static int open_council(struct council *c, struct council **ret, struct err *err)
{
    int rc;
    if ((rc = read_store(c, err)) < 0 || (rc = read_group(c, err)) < 0)
        return rc;
    c->cb.on_group(c->cb.arg, c);
    if (council_votes(c) && (rc = open_group(c, err)) < 0)
        return rc;
    *ret = c;
    return 0;
}

static struct council *new_council(const struct council_conf *conf,
                                   const struct council_callbacks *cb)
{
    struct council *c = xcalloc(1, sizeof *c);
    c->conf = *conf;
    c->cb = *cb;
    c->cluster = xstrdup(conf->cluster);
    c->self = xstrdup(conf->self);
    return c;
}

int council_open_over(const struct council_conf *conf, const struct council_seams *seams,
                      const struct council_callbacks *cb, struct council **ret, struct err *err)
{
    _cleanup_(council_freep) struct council *c = new_council(conf, cb);
    c->seams = *seams;
    int rc = open_council(c, ret, err);
    if (rc >= 0)
        c = NULL;
    return rc;
}

static int store_kv(void *arg, const char *key, void **ret_value, size_t *ret_len, struct err *err)
{
    return store_kv_get(arg, key, ret_value, ret_len, err);
}

int council_open(const struct council_conf *conf, struct store *store, uv_loop_t *loop,
                 const struct council_callbacks *cb, struct council **ret, struct err *err)
{
    _cleanup_(council_freep) struct council *c = new_council(conf, cb);
    c->store = store;
    c->loop = loop;
    c->seams = (struct council_seams){.raft = consensus_store_seams(store), .kv_get = store_kv};
    int rc = open_council(c, ret, err);
    if (rc >= 0)
        c = NULL;
    return rc;
}

void council_close(struct council *c, void (*closed)(void *arg), void *arg)
{
    c->closed = closed;
    c->closed_arg = arg;
    c->closing = true;
    if (!c->busy)
        finish_close(c);
}
