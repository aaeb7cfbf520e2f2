#include "agent/sim/answer.h"

#include <stdio.h>

#include "proto/util.h"

Skein__SimReply *answer_empty(uint64_t id, const struct err *err)
{
    Skein__SimReply *reply = xmalloc(sizeof *reply);
    skein__sim_reply__init(reply);
    reply->has_id = 1;
    reply->id = id;
    if (err != NULL && err->code != ERR_OK) {
        reply->code = xstrdup(err_name(err->code));
        reply->message = xstrdup(err->msg);
    }
    return reply;
}

Skein__SimReply *answer_moved(uint64_t id, const struct world_event *event)
{
    Skein__SimReply *reply = answer_empty(id, &event->err);
    Skein__SimStats *s = xmalloc(sizeof *s);
    skein__sim_stats__init(s);
    s->has_downtime_ms = s->has_transferred_mib = s->has_elapsed_ms = 1;
    s->downtime_ms = event->stats.downtime_ms;
    s->transferred_mib = event->stats.transferred_mib;
    s->elapsed_ms = event->stats.elapsed_ms;
    reply->kind_case = SKEIN__SIM_REPLY__KIND_STATS;
    reply->stats = s;
    return reply;
}

/* ---- what comes in ---- */

static int read_uuid(const char *uuid, struct err *err)
{
    if (uuid != NULL && uuid_is_valid(uuid))
        return 0;
    return err_set(err, ERR_INVALID, "\"%.64s\" is not a VM's UUID", uuid != NULL ? uuid : "");
}

static int read_move(const Skein__SimMove *from, struct hv_move *ret, struct err *err)
{
    int rc = read_uuid(from->uuid, err);
    if (rc < 0)
        return rc;
    *ret = (struct hv_move){.persistent = from->persistent,
                            .recover = from->recover,
                            .bandwidth_mib_s = from->bandwidth_mib_s,
                            .downtime_ms = from->downtime_ms,
                            .how = {.auto_converge = from->auto_converge,
                                    .xbzrle = from->xbzrle,
                                    .parallel = from->parallel}};
    if ((from->mode != NULL && !migrate_mode_find(from->mode, &ret->how.mode)) ||
        (from->copy_storage != NULL &&
         !migrate_storage_find(from->copy_storage, &ret->how.storage)))
        return err_set(err, ERR_UNSUPPORTED, "this world does not know that mode");
    snprintf(ret->uuid, sizeof ret->uuid, "%s", from->uuid);
    snprintf(ret->vm, sizeof ret->vm, "%s", from->vm != NULL ? from->vm : "");
    snprintf(ret->to, sizeof ret->to, "%s", from->to != NULL ? from->to : "");
    return 0;
}

/* ---- what goes out ---- */

static void set_seen(Skein__SimReply *reply, const struct hv_seen *seen)
{
    Skein__SimSeen *s = xmalloc(sizeof *s);
    skein__sim_seen__init(s);
    s->has_present = s->has_state = s->has_persistent = s->has_job = 1;
    s->present = seen->present;
    s->state = seen->state;
    s->persistent = seen->persistent;
    s->job = seen->job;
    s->has_job_ms = seen->job_ms > 0;
    s->job_ms = (uint64_t)seen->job_ms;
    s->reason = xstrdup(seen->reason);
    reply->kind_case = SKEIN__SIM_REPLY__KIND_SEEN;
    reply->seen = s;
}

static void set_progress(Skein__SimReply *reply, const struct hv_progress *p)
{
    Skein__SimProgress *s = xmalloc(sizeof *s);
    skein__sim_progress__init(s);
    s->has_running = s->has_total_mib = s->has_remaining_mib = s->has_transferred_mib = 1;
    s->has_elapsed_ms = s->has_dirty_milli_mib_s = s->has_bandwidth_milli_mib_s = 1;
    s->has_iteration = s->has_postcopy = 1;
    s->postcopy = p->postcopy;
    s->running = p->running;
    s->total_mib = p->total_mib;
    s->remaining_mib = p->remaining_mib;
    s->transferred_mib = p->transferred_mib;
    s->elapsed_ms = p->elapsed_ms;
    s->dirty_milli_mib_s = p->dirty_milli_mib_s;
    s->bandwidth_milli_mib_s = p->bandwidth_milli_mib_s;
    s->iteration = p->iteration;
    reply->kind_case = SKEIN__SIM_REPLY__KIND_PROGRESS;
    reply->progress = s;
}

/* ---- of a host that answers ---- */

static void look(struct world *w, size_t host, const char *uuid, Skein__SimReply *reply,
                 struct err *err)
{
    struct hv_seen seen;
    if (read_uuid(uuid, err) < 0)
        return;
    world_look(w, host, uuid, &seen);
    set_seen(reply, &seen);
}

static void progress(struct world *w, size_t host, const char *uuid, Skein__SimReply *reply,
                     struct err *err)
{
    struct hv_progress p;
    if (read_uuid(uuid, err) == 0 && world_progress(w, host, uuid, &p, err) == 0)
        set_progress(reply, &p);
}

static void admit(struct world *w, size_t host, const Skein__SimAdmit *request, struct err *err)
{
    struct hv_move move;
    if (request->move == NULL || request->vm == NULL)
        err_set(err, ERR_INVALID, "what shall arrive is not said");
    else if (read_move(request->move, &move, err) == 0)
        world_admit(w, host, &move, request->vm, err);
}

/* True: the reply comes with the migration's end. */
static bool ask_host(struct world *w, size_t host, const Skein__SimRequest *r,
                     Skein__SimReply *reply, uint64_t *ret_migration, struct err *err)
{
    struct hv_move move;
    switch (r->kind_case) {
    case SKEIN__SIM_REQUEST__KIND_WATCH:
        break;
    case SKEIN__SIM_REQUEST__KIND_OBSERVE:
        reply->kind_case = SKEIN__SIM_REPLY__KIND_DETAIL;
        reply->detail = world_observe(w, host);
        break;
    case SKEIN__SIM_REQUEST__KIND_LOOK:
        look(w, host, r->look, reply, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_PRECHECK:
        if (read_move(r->precheck, &move, err) == 0)
            world_precheck(w, host, &move, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_ADMIT:
        admit(w, host, r->admit, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_MIGRATE:
        return read_move(r->migrate, &move, err) == 0 &&
               world_migrate(w, host, &move, ret_migration, err) == 0;
    case SKEIN__SIM_REQUEST__KIND_PROGRESS:
        progress(w, host, r->progress, reply, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_ABORT:
        if (read_uuid(r->abort, err) == 0)
            world_abort(w, host, r->abort, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_POSTCOPY:
        if (read_uuid(r->postcopy, err) == 0)
            world_postcopy(w, host, r->postcopy, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_SHUTDOWN:
        if (read_uuid(r->shutdown, err) == 0)
            world_stop(w, host, r->shutdown, "shut down", err);
        break;
    case SKEIN__SIM_REQUEST__KIND_SUSPEND:
        if (read_uuid(r->suspend, err) == 0)
            world_stop(w, host, r->suspend, "saved", err);
        break;
    case SKEIN__SIM_REQUEST__KIND_TIDY:
        if (read_uuid(r->tidy, err) == 0)
            world_tidy(w, host, r->tidy, err);
        break;
    case SKEIN__SIM_REQUEST__KIND_INJECT:
    case SKEIN__SIM_REQUEST__KIND_STATUS:
    case SKEIN__SIM_REQUEST__KIND_SPEED: /* the server's */
    case SKEIN__SIM_REQUEST__KIND__NOT_SET:
    case _SKEIN__SIM_REQUEST__KIND__CASE_IS_INT_SIZE:
        err_set(err, ERR_UNSUPPORTED, "this world does not know that request");
        break;
    }
    return false;
}

static enum answer answer_host(struct world *w, const Skein__SimRequest *r, Skein__SimReply *reply,
                               uint64_t *ret_migration, struct err *err)
{
    size_t host;
    if (world_find_host(w, r->host != NULL ? r->host : "", &host, err) < 0)
        return ANSWER_NOW;
    switch (world_answers(w, host)) {
    case WORLD_SILENT:
        return ANSWER_HELD;
    case WORLD_REFUSES:
        err_set(err, ERR_UNAVAILABLE, "%s is switched off", r->host);
        return ANSWER_NOW;
    case WORLD_ANSWERS:
        break;
    }
    return ask_host(w, host, r, reply, ret_migration, err) ? ANSWER_MOVED : ANSWER_NOW;
}

enum answer answer_request(struct world *w, const Skein__SimRequest *r, Skein__SimReply **ret,
                           uint64_t *ret_migration)
{
    struct err err = {0};
    enum answer answer = ANSWER_NOW;
    Skein__SimReply *reply = answer_empty(r->id, NULL);
    if (r->kind_case == SKEIN__SIM_REQUEST__KIND_INJECT) {
        world_inject(w, r->inject, &err);
    } else if (r->kind_case == SKEIN__SIM_REQUEST__KIND_STATUS) {
        reply->kind_case = SKEIN__SIM_REPLY__KIND_STATUS;
        reply->status = world_status(w);
    } else {
        answer = answer_host(w, r, reply, ret_migration, &err);
    }
    if (answer != ANSWER_NOW) {
        skein__sim_reply__free_unpacked(reply, NULL);
        return answer;
    }
    if (err.code != ERR_OK) {
        reply->code = xstrdup(err_name(err.code));
        reply->message = xstrdup(err.msg);
    }
    *ret = reply;
    return ANSWER_NOW;
}
