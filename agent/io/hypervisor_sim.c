#include "agent/io/hypervisor_sim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/sim.pb-c.h"
#include "proto/util.h"

#define QUERY_PATIENCE 20000 /* beyond that of agent/io/jobs.h: a hanging call's thread ends */
#define BACKOFF_MIN 200
#define BACKOFF_MAX 5000

struct sim {
    struct hypervisor base;
    char *socket, *host;
    struct sensors *sensors; /* not asked: the world has its own */
    pthread_t watcher;
    int stop[2]; /* a pipe: a byte in it tells the watcher to end */

    pthread_mutex_t lock; /* of the two below */
    hypervisor_changed changed;
    void *changed_arg;
};

/* ---- one call ---- */

static int reply_error(const Skein__SimReply *reply, struct err *err)
{
    if (reply->code == NULL)
        return 0;
    enum err_code code = err_from_name(reply->code);
    return err_set(err, code != ERR_OK ? code : ERR_UNKNOWN, "%s",
                   reply->message != NULL ? reply->message : reply->code);
}

static int read_reply(int fd, msec patience, Skein__SimReply **ret, struct err *err)
{
    _cleanup_(freep) uint8_t *bytes = NULL;
    ProtobufCMessage *m = NULL;
    size_t len;
    int rc = frame_receive(fd, patience, &bytes, &len, err);
    if (rc == 0)
        rc = codec_unpack(&skein__sim_reply__descriptor, "the world's reply", bytes, len, &m, err);
    if (rc == 0)
        *ret = (Skein__SimReply *)m;
    return rc;
}

/* *ret, when there is a reply, is the caller's, also when it says an error. */
static int call_host(const struct sim *sim, const char *host, msec patience,
                     Skein__SimRequest *request, Skein__SimReply **ret, struct err *err)
{
    int fd = frame_connect(sim->socket, err);
    if (fd < 0)
        return err_wrap(err, "the simulated world");
    request->has_id = 1;
    request->id = 1;
    request->host = (char *)(uintptr_t)host;
    int rc = frame_send(fd, &request->base, err);
    if (rc == 0)
        rc = read_reply(fd, patience, ret, err);
    close(fd);
    return rc < 0 ? err_wrap(err, "the simulated world") : reply_error(*ret, err);
}

static int call(const struct sim *sim, Skein__SimRequest *request, Skein__SimReply **ret,
                struct err *err)
{
    return call_host(sim, sim->host, QUERY_PATIENCE, request, ret, err);
}

static void reply_drop(Skein__SimReply **p)
{
    if (*p != NULL)
        skein__sim_reply__free_unpacked(*p, NULL);
}

#define _cleanup_reply_ _cleanup_(reply_drop)

static int unexpected(struct err *err)
{
    return err_set(err, ERR_HYPERVISOR, "the simulated world answers something else than asked");
}

static void fill_move(const struct hv_move *move, Skein__SimMove *ret)
{
    skein__sim_move__init(ret);
    ret->uuid = (char *)(uintptr_t)move->uuid;
    ret->vm = (char *)(uintptr_t)move->vm;
    ret->to = (char *)(uintptr_t)move->to;
    ret->has_persistent = ret->has_auto_converge = ret->has_bandwidth_mib_s = 1;
    ret->has_downtime_ms = ret->has_parallel = 1;
    ret->persistent = move->persistent;
    ret->has_recover = ret->has_xbzrle = 1;
    ret->recover = move->recover;
    ret->xbzrle = move->how.xbzrle;
    ret->mode = (char *)(uintptr_t)migrate_mode_name(move->how.mode);
    ret->copy_storage = (char *)(uintptr_t)migrate_storage_name(move->how.storage);
    ret->auto_converge = move->how.auto_converge;
    ret->bandwidth_mib_s = move->bandwidth_mib_s;
    ret->downtime_ms = move->downtime_ms;
    ret->parallel = move->how.parallel;
}

/* ---- observe, look ---- */

static bool detail_ok(const Skein__HostDetail *d)
{
    if (d->summary == NULL || d->capability == NULL)
        return false;
    for (size_t i = 0; i < d->n_vms; i++) {
        const Skein__VmDetail *vm = d->vms[i];
        if (vm->uuid == NULL || !uuid_is_valid(vm->uuid) || vm->name == NULL ||
            (i > 0 && strcmp(d->vms[i - 1]->uuid, vm->uuid) >= 0))
            return false;
    }
    return true;
}

static int sim_observe(struct hypervisor *hv, Skein__HostDetail **ret, struct hv_clock *ret_clock,
                       struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimNothing nothing = SKEIN__SIM_NOTHING__INIT;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_OBSERVE;
    request.observe = &nothing;
    int rc = call((struct sim *)hv, &request, &reply, err);
    if (rc < 0)
        return rc;
    const Skein__SimClock *clock = reply->clock;
    if (reply->kind_case != SKEIN__SIM_REPLY__KIND_DETAIL || !detail_ok(reply->detail) ||
        clock == NULL || clock->speed_milli == 0 || clock->at_ms > INT64_MAX / 2)
        return unexpected(err);
    *ret = TAKE_PTR(reply->detail);
    reply->kind_case = SKEIN__SIM_REPLY__KIND__NOT_SET;
    (*ret)->summary->has_observed_at_ms = 1;
    (*ret)->summary->observed_at_ms = (uint64_t)clock_wall();
    *ret_clock = (struct hv_clock){.wall = (msec)(*ret)->summary->observed_at_ms,
                                   .world = (msec)clock->at_ms,
                                   .speed_milli = clock->speed_milli};
    return 0;
}

/* So much of the world's time in real time, by the speed that the world says it has. */
static msec real_span(const Skein__SimClock *clock, uint64_t ms)
{
    uint64_t speed = clock != NULL && clock->speed_milli != 0 ? clock->speed_milli : 1000;
    return MAX((msec)(MIN(ms, (uint64_t)INT64_MAX / 1000) * 1000 / speed), (msec)1);
}

static int look(const struct sim *sim, const char *host, const char *uuid, struct hv_seen *ret,
                struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_LOOK;
    request.look = (char *)(uintptr_t)uuid;
    int rc = call_host(sim, host, QUERY_PATIENCE, &request, &reply, err);
    if (rc < 0)
        return rc;
    if (reply->kind_case != SKEIN__SIM_REPLY__KIND_SEEN)
        return unexpected(err);
    const Skein__SimSeen *s = reply->seen;
    *ret = (struct hv_seen){.present = s->present,
                            .state = s->state,
                            .persistent = s->persistent,
                            .job = s->job,
                            .job_ms = s->has_job_ms ? real_span(reply->clock, s->job_ms) : 0};
    snprintf(ret->reason, sizeof ret->reason, "%s", s->reason != NULL ? s->reason : "");
    return 0;
}

static int sim_look(struct hypervisor *hv, const char *uuid, struct hv_seen *ret, struct err *err)
{
    const struct sim *sim = (struct sim *)hv;
    return look(sim, sim->host, uuid, ret, err);
}

static int sim_look_remote(struct hypervisor *hv, const struct hv_move *move, struct hv_seen *ret,
                           struct err *err)
{
    return look((struct sim *)hv, move->to, move->uuid, ret, err);
}

/* ---- the move ---- */

static int sim_precheck(struct hypervisor *hv, const struct hv_move *move, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimMove m;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    fill_move(move, &m);
    request.kind_case = SKEIN__SIM_REQUEST__KIND_PRECHECK;
    request.precheck = &m;
    return call((struct sim *)hv, &request, &reply, err);
}

/* A simulated guest has one thing at most in its way. */
static int sim_examine(struct hypervisor *hv, const struct hv_move *move, struct hv_findings *ret,
                       struct err *err)
{
    struct err refused = {0};
    if (sim_precheck(hv, move, &refused) < 0) {
        if (refused.code == ERR_UNAVAILABLE || refused.code == ERR_TIMEOUT)
            return err_set(err, refused.code, "%s", refused.msg);
        finding_add(ret, err_name(refused.code), "see the evidence", "%s", refused.msg);
    }
    return 0;
}

static int sim_admit(struct hypervisor *hv, const struct hv_move *move, const Skein__VmDetail *vm,
                     struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimMove m;
    Skein__SimAdmit admit = SKEIN__SIM_ADMIT__INIT;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    fill_move(move, &m);
    admit.move = &m;
    admit.vm = (Skein__VmDetail *)(uintptr_t)vm;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_ADMIT;
    request.admit = &admit;
    return call((struct sim *)hv, &request, &reply, err);
}

static int sim_migrate(struct hypervisor *hv, const struct hv_move *move, struct hv_stats *ret,
                       struct err *err)
{
    const struct sim *sim = (struct sim *)hv;
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimMove m;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    fill_move(move, &m);
    request.kind_case = SKEIN__SIM_REQUEST__KIND_MIGRATE;
    request.migrate = &m;
    int rc = call_host(sim, sim->host, -1, &request, &reply, err);
    if (reply != NULL && reply->kind_case == SKEIN__SIM_REPLY__KIND_STATS)
        *ret = (struct hv_stats){.downtime_ms = reply->stats->downtime_ms,
                                 .transferred_mib = reply->stats->transferred_mib,
                                 .elapsed_ms = reply->stats->elapsed_ms};
    else if (rc == 0)
        rc = unexpected(err);
    return rc;
}

static int sim_progress(struct hypervisor *hv, const char *uuid, struct hv_progress *ret,
                        struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_PROGRESS;
    request.progress = (char *)(uintptr_t)uuid;
    int rc = call((struct sim *)hv, &request, &reply, err);
    if (rc < 0)
        return rc;
    if (reply->kind_case != SKEIN__SIM_REPLY__KIND_PROGRESS)
        return unexpected(err);
    const Skein__SimProgress *p = reply->progress;
    *ret = (struct hv_progress){.running = p->running,
                                .postcopy = p->postcopy,
                                .total_mib = p->total_mib,
                                .remaining_mib = p->remaining_mib,
                                .transferred_mib = p->transferred_mib,
                                .elapsed_ms = p->elapsed_ms,
                                .dirty_milli_mib_s = p->dirty_milli_mib_s,
                                .bandwidth_milli_mib_s = p->bandwidth_milli_mib_s,
                                .iteration = p->iteration};
    return 0;
}

/* Its migrations begin with the longest pause that is allowed: nothing is left to be raised. */
static int sim_tune(struct hypervisor *hv, const struct hv_move *move, struct err *err)
{
    (void)hv;
    (void)move;
    (void)err;
    return 0;
}

static int sim_postcopy(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_POSTCOPY;
    request.postcopy = (char *)(uintptr_t)uuid;
    return call((struct sim *)hv, &request, &reply, err);
}

static int sim_abort(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_ABORT;
    request.abort = (char *)(uintptr_t)uuid;
    return call((struct sim *)hv, &request, &reply, err);
}

static int sim_tidy(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_TIDY;
    request.tidy = (char *)(uintptr_t)uuid;
    return call((struct sim *)hv, &request, &reply, err);
}

static int sim_shutdown(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_SHUTDOWN;
    request.shutdown = (char *)(uintptr_t)uuid;
    return call((struct sim *)hv, &request, &reply, err);
}

static int sim_suspend(struct hypervisor *hv, const char *uuid, struct err *err)
{
    _cleanup_reply_ Skein__SimReply *reply = NULL;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_SUSPEND;
    request.suspend = (char *)(uintptr_t)uuid;
    return call((struct sim *)hv, &request, &reply, err);
}

/* Its migrations leave nothing behind that could go on. */
static int sim_no_repair(struct hypervisor *hv, const char *uuid, struct err *err)
{
    (void)hv;
    return err_set(err, ERR_UNSUPPORTED, "the simulated world cannot repair VM %s", uuid);
}

/* Its guests keep their definition wherever they are. */
static int sim_autostart(struct hypervisor *hv, const char *uuid, struct err *err)
{
    (void)hv;
    (void)uuid;
    (void)err;
    return 0;
}

/* ---- changes ---- */

static void tell_changed(struct sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    if (sim->changed != NULL)
        sim->changed(sim->changed_arg);
    pthread_mutex_unlock(&sim->lock);
}

static void sim_watch(struct hypervisor *hv, hypervisor_changed changed, void *arg)
{
    struct sim *sim = (struct sim *)hv;
    pthread_mutex_lock(&sim->lock);
    sim->changed = changed;
    sim->changed_arg = arg;
    pthread_mutex_unlock(&sim->lock);
}

/* False: the watcher shall end. */
static bool watch_wait(const struct sim *sim, int fd, int timeout)
{
    struct pollfd p[] = {{.fd = sim->stop[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int n;
    do
        n = poll(p, fd >= 0 ? 2 : 1, timeout);
    while (n < 0 && errno == EINTR);
    return p[0].revents == 0;
}

static int watch_begin(const struct sim *sim, struct err *err)
{
    Skein__SimNothing nothing = SKEIN__SIM_NOTHING__INIT;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.host = sim->host;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_WATCH;
    request.watch = &nothing;
    int fd = frame_connect(sim->socket, err);
    if (fd >= 0 && frame_send(fd, &request.base, err) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Every message says that something changed, the first one too: what was missed is seen then.
 * Returns when the connection is lost, or refused, or the watcher shall end. */
static void watch_follow(struct sim *sim, int fd, bool *ret_good)
{
    struct err err = {0};
    while (watch_wait(sim, fd, -1)) {
        _cleanup_reply_ Skein__SimReply *reply = NULL;
        if (read_reply(fd, QUERY_PATIENCE, &reply, &err) < 0 || reply_error(reply, &err) < 0)
            return;
        *ret_good = true;
        tell_changed(sim);
    }
}

static void *watcher_main(void *arg)
{
    struct sim *sim = arg;
    int pause = 0;
    while (watch_wait(sim, -1, pause)) {
        struct err err = {0};
        bool good = false;
        int fd = watch_begin(sim, &err);
        if (fd >= 0) {
            watch_follow(sim, fd, &good);
            close(fd);
        }
        pause = good ? BACKOFF_MIN : MIN(MAX(2 * pause, BACKOFF_MIN), BACKOFF_MAX);
    }
    return NULL;
}

/* ---- open, close ---- */

static void sim_reset(struct hypervisor *hv)
{
    (void)hv; /* calls share nothing */
}

static void sim_free(struct sim *sim)
{
    close(sim->stop[0]);
    close(sim->stop[1]);
    sensors_close(sim->sensors);
    pthread_mutex_destroy(&sim->lock);
    free(sim->socket);
    free(sim->host);
    free(sim);
}

static int sim_open(const struct hypervisor_conf *conf, const char *socket, struct hypervisor **ret,
                    struct err *err)
{
    if (socket[0] != '/')
        return err_set(err, ERR_INVALID, "hypervisor \"sim:%s\": the path of a socket is wanted",
                       socket);
    struct sim *sim = xcalloc(1, sizeof *sim);
    if (pipe2(sim->stop, O_CLOEXEC) < 0) {
        free(sim);
        return err_set(err, ERR_IO, "no pipe: %m");
    }
    sim->base.ops = &hypervisor_sim_ops;
    sim->socket = xstrdup(socket);
    sim->host = xstrdup(conf->host);
    pthread_mutex_init(&sim->lock, NULL);
    int rc = pthread_create(&sim->watcher, NULL, watcher_main, sim);
    if (rc != 0) {
        sim_free(sim);
        return err_set(err, ERR_IO, "no thread: %s", strerror(rc));
    }
    sim->sensors = conf->sensors;
    *ret = &sim->base;
    return 0;
}

static void sim_close(struct hypervisor *hv)
{
    struct sim *sim = (struct sim *)hv;
    sim_watch(hv, NULL, NULL);
    REQUIRE(write(sim->stop[1], "", 1) == 1);
    pthread_join(sim->watcher, NULL);
    sim_free(sim);
}

const struct hypervisor_ops hypervisor_sim_ops = {
    .scheme = "sim",
    .open = sim_open,
    .close = sim_close,
    .watch = sim_watch,
    .reset = sim_reset,
    .observe = sim_observe,
    .look = sim_look,
    .look_remote = sim_look_remote,
    .precheck = sim_precheck,
    .examine = sim_examine,
    .admit = sim_admit,
    .migrate = sim_migrate,
    .progress = sim_progress,
    .tune = sim_tune,
    .postcopy = sim_postcopy,
    .abort = sim_abort,
    .tidy = sim_tidy,
    .resume = sim_no_repair,
    .discard = sim_no_repair,
    .shutdown = sim_shutdown,
    .suspend = sim_suspend,
    .autostart = sim_autostart,
};
