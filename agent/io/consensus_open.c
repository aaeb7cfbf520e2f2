/* Opening: the configuration, libraft's start, and the store, loop and clock beneath it. */
#include <string.h>
#include <sys/random.h>

#include "agent/io/consensus_impl.h"

#define ELECTION_TIMEOUT_MS 1000
#define SNAPSHOT_THRESHOLD 1024
#define SNAPSHOT_TRAILING 256

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int check_voter(const char *name, struct err *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > CONSENSUS_HOST_MAX)
        return err_set(err, ERR_INVALID, "voters: a name of %zu bytes", len);
    return 0;
}

static int copy_voters(struct consensus *c, const struct consensus_conf *conf, struct err *err)
{
    if (conf->n_voters < 1 || conf->n_voters > CONSENSUS_VOTERS_MAX)
        return err_set(err, ERR_INVALID, "voters: %zu given, 1 to %d are possible", conf->n_voters,
                       CONSENSUS_VOTERS_MAX);
    int rv;
    for (size_t i = 0; i < conf->n_voters; i++) {
        if ((rv = check_voter(conf->voters[i], err)) < 0)
            return rv;
        c->voters[i] = xstrdup(conf->voters[i]);
    }
    qsort(c->voters, conf->n_voters, sizeof c->voters[0], compare_names);
    c->self = conf->n_voters;
    for (size_t i = 0; i < conf->n_voters; i++) {
        if (i > 0 && strcmp(c->voters[i], c->voters[i - 1]) == 0)
            return err_set(err, ERR_INVALID, "voters: %s is named twice", c->voters[i]);
        if (strcmp(c->voters[i], conf->self) == 0)
            c->self = i;
    }
    if (c->self == conf->n_voters)
        return err_set(err, ERR_INVALID, "voters: %s is not one of them", conf->self);
    return 0;
}

static int check_conf(struct consensus *c, const struct consensus_conf *conf, struct err *err)
{
    c->conf = *conf;
    struct consensus_conf *k = &c->conf;
    k->voters = NULL;
    k->self = k->cluster = NULL;
    if (k->election_timeout_ms == 0)
        k->election_timeout_ms = ELECTION_TIMEOUT_MS;
    if (k->heartbeat_ms == 0)
        k->heartbeat_ms = MAX(k->election_timeout_ms / 10, 1u);
    if (k->heartbeat_ms >= k->election_timeout_ms || k->election_timeout_ms > 600000)
        return err_set(err, ERR_INVALID, "heartbeat of %u ms for an election timeout of %u ms",
                       k->heartbeat_ms, k->election_timeout_ms);
    if (k->snapshot_threshold == 0)
        k->snapshot_threshold = SNAPSHOT_THRESHOLD;
    if (k->snapshot_trailing == 0)
        k->snapshot_trailing = SNAPSHOT_TRAILING;
    return copy_voters(c, conf, err);
}

static int backend_send(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct consensus *c = arg;
    return c->cb.send(c->cb.arg, host, bytes, len);
}

static int new_backend(struct consensus *c, struct err *err)
{
    struct raft_backend_conf conf = {.cluster = c->cluster,
                                     .voters = (const char *const *)c->voters,
                                     .n_voters = c->conf.n_voters,
                                     .self = c->self,
                                     .group = c->conf.group,
                                     .base_index = c->conf.base_index,
                                     .election_timeout_ms = c->conf.election_timeout_ms,
                                     .disk = c->seams.disk,
                                     .clock = c->seams.clock,
                                     .arg = c,
                                     .send = backend_send,
                                     .enter = consensus_enter,
                                     .leave = consensus_leave};
    c->conf.group = NULL; /* the caller's */
    return raft_backend_new(&conf, &c->backend, err);
}

static int start_raft(struct consensus *c, struct err *err)
{
    struct raft *r = &c->raft;
    consensus_set_fsm(c);
    if (raft_init(r, raft_backend_io(c->backend), &c->fsm, c->self + 1, c->voters[c->self]) != 0)
        return err_set(err, ERR_NO_MEMORY, "raft: %s", raft_errmsg(r));
    c->raft_ready = true;
    r->data = c;
    raft_set_election_timeout(r, c->conf.election_timeout_ms);
    raft_set_heartbeat_timeout(r, c->conf.heartbeat_ms);
    raft_set_install_snapshot_timeout(r, 10 * c->conf.election_timeout_ms);
    raft_set_snapshot_threshold(r, c->conf.snapshot_threshold);
    raft_set_snapshot_trailing(r, c->conf.snapshot_trailing);
    raft_set_pre_vote(r, true);
    int rv = raft_start(r);
    if (c->failed)
        return err_set(err, c->failure.code, "%s", c->failure.msg);
    if (rv != 0)
        return err_set(err, ERR_IO, "raft does not start: %s %s", raft_strerror(rv),
                       raft_errmsg(r));
    return 0;
}

/* Opening failed after raft_init: close at once. The disk has nothing under way then. */
static void abandon(struct consensus *c)
{
    c->closing = true;
    raft_close(&c->raft, NULL);
    raft_backend_finish_close(c->backend);
}

int consensus_open_over(const struct consensus_conf *conf, const struct consensus_seams *seams,
                        const struct consensus_callbacks *cb, struct consensus **ret,
                        struct err *err)
{
    _cleanup_(consensus_freep) struct consensus *c = xcalloc(1, sizeof *c);
    c->cb = *cb;
    c->seams = *seams;
    c->waiting_end = &c->waiting;
    c->cluster = xstrdup(conf->cluster);
    int rv;
    if ((rv = check_conf(c, conf, err)) < 0 || (rv = new_backend(c, err)) < 0)
        return rv;
    c->quiet = true;
    consensus_enter(c);
    rv = start_raft(c, err);
    if (rv < 0) {
        if (c->raft_ready)
            abandon(c);
        return rv;
    }
    consensus_leave(c);
    c->quiet = false;
    *ret = TAKE_PTR(c);
    return 0;
}

/* ---- over the store and the loop ---- */

static int disk_load(void *arg, struct store_raft_state *ret, struct err *err)
{
    return store_raft_load(arg, ret, err);
}

static int disk_submit(void *arg, struct store_batch *b, store_done_cb cb, void *cb_arg,
                       struct err *err)
{
    return store_submit(arg, b, cb, cb_arg, err);
}

static int disk_submit_wait(void *arg, struct store_batch *b, struct err *err)
{
    return store_submit_wait(arg, b, err);
}

static int disk_snapshot_get(void *arg, store_raft_snapshot_cb cb, void *cb_arg, struct err *err)
{
    return store_raft_snapshot_get(arg, cb, cb_arg, err);
}

static uint64_t clock_now(void *arg _unused_)
{
    return uv_hrtime() / 1000000;
}

static uint64_t clock_random(void *arg _unused_, uint64_t below)
{
    uint64_t v = 0;
    REQUIRE(getrandom(&v, sizeof v, 0) == sizeof v);
    return v % below;
}

static void on_timer(uv_timer_t *timer)
{
    consensus_tick(timer->data);
}

struct consensus_seams consensus_store_seams(struct store *store)
{
    return (struct consensus_seams){
        .disk = {store, disk_load, disk_submit, disk_submit_wait, disk_snapshot_get},
        .clock = {NULL, clock_now, clock_random}};
}

int consensus_open(const struct consensus_conf *conf, struct store *store, uv_loop_t *loop,
                   const struct consensus_callbacks *cb, struct consensus **ret, struct err *err)
{
    struct consensus_seams seams = consensus_store_seams(store);
    struct consensus *c = NULL;
    int rv = consensus_open_over(conf, &seams, cb, &c, err);
    if (rv < 0)
        return rv;
    c->has_timer = true;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    /* Twice a heartbeat: a tick that comes a little early would otherwise skip every second one. */
    uint64_t every = MAX(c->conf.heartbeat_ms / 2, 1u);
    uv_timer_start(&c->timer, on_timer, every, every);
    *ret = c;
    return 0;
}
