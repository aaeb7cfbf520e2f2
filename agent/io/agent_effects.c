/* agent_effects.c - effects out: the hands of the performer. */
#include "agent/io/agent_audit.h"
#include "agent/io/agent_priv.h"
#include "agent/io/clock.h"
#include "agent/io/council.h"
#include "agent/io/evaluate.h"
#include "agent/io/http.h"
#include "agent/io/jobs.h"
#include "agent/io/mesh.h"
#include "agent/io/performer.h"
#include "agent/io/recorder.h"
#include "proto/log.h"
#include "proto/util.h"

static void do_send(void *arg, struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    int rc = e->gossip ? mesh_send(a->mesh, e->key, e->data, e->len, &err)
                       : mesh_send_soon(a->mesh, e->key, e->data, e->len, &err);
    if (rc < 0)
        log_debug("nothing sent to %s: %s", e->key, err.msg);
}

static void do_dial(void *arg, const struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    if (e->kind == EFFECT_UNDIAL)
        mesh_undial(a->mesh, e->key);
    else if (e->kind == EFFECT_CLOSE)
        mesh_disconnect(a->mesh, e->key, "not needed any more");
    else if (mesh_dial(a->mesh, e->key, &err) < 0)
        log_err(&err, "mesh");
}

struct proposal {
    struct agent *agent;
    uint64_t token;
};

static void proposed(void *arg, uint64_t index, const struct err *err)
{
    _cleanup_(freep) struct proposal *p = arg;
    struct event event = {.kind = EVENT_PROPOSED, .token = p->token, .index = index};
    if (err != NULL)
        event.err = *err;
    agent_step(p->agent, &event);
}

/* A proposal that is refused at once is answered from the loop, like the others. */
struct refusal {
    struct proposal *proposal;
    struct err err;
    uv_timer_t timer;
};

static void refusal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void refusal_due(uv_timer_t *timer)
{
    struct refusal *r = timer->data;
    proposed(r->proposal, 0, &r->err);
    uv_close((uv_handle_t *)timer, refusal_closed);
}

static void do_propose(void *arg, struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    struct proposal *p = xcalloc(1, sizeof *p);
    *p = (struct proposal){a, e->token};
    if (a->council == NULL)
        err_set(&err, ERR_NOT_LEADER, "%s does not vote yet", a->config->host);
    else if (council_propose(a->council, e->data, e->len, proposed, p, &err) >= 0)
        return;
    struct refusal *r = xcalloc(1, sizeof *r);
    r->proposal = p;
    r->err = err;
    uv_timer_init(&a->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, refusal_due, 0, 0);
}

static void do_answer(void *arg, struct effect *e)
{
    struct agent *a = arg;
    if (!agent_issuer_answered(a, e->token, e->status, e->data, e->len))
        http_answer(a->http, e->token, e->status, e->data, e->len);
}

static void do_job(void *arg, struct effect *e)
{
    struct agent *a = arg;
    jobs_submit(a->jobs, e->job);
}

static void do_evaluate(void *arg, struct effect *e)
{
    struct agent *a = arg;
    const struct evaluation *question = e->evaluation;
    if (question->policy != NULL)
        recorder_offer(a->recorder, (msec)uv_now(&a->loop), clock_wall(), question->snapshot,
                       question->snapshot_len);
    evaluator_run(a->evaluator, e->token, TAKE_PTR(e->evaluation));
}

static void do_yield(void *arg, const char *host)
{
    struct agent *a = arg;
    struct err err = {0};
    if (a->council != NULL && council_transfer(a->council, host, &err) < 0)
        log_debug("planning is not handed over to %s: %s", host, err.msg);
}

static void do_voters(void *arg, const struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    struct voter_groups groups;
    if (groups_unpack(e->data, e->len, &groups, &err) < 0)
        log_err(&err, "voters");
    else if (a->council != NULL)
        council_follow(a->council, &groups.list[groups.n - 1], &groups);
}

static void do_notice(void *arg, const char *line)
{
    (void)arg;
    log_info("%s", line);
}

static void do_trace(void *arg, const char *line)
{
    (void)arg;
    log_debug("%s", line);
}

/* What is audited is what people want to see in the log: "move.started plan=... vm=...". */
static void do_audited(void *arg, const json_t *record)
{
    struct agent *a = arg;
    _cleanup_(buf_done) struct buf line = {0};
    const char *key;
    json_t *value;
    agent_audit_recorded(a->audit, record);
    json_object_foreach((json_t *)(uintptr_t)record, key, value)
    {
        bool shown_otherwise = strcmp(key, "event") == 0 || strcmp(key, "at") == 0 ||
                               strcmp(key, "host") == 0 || strcmp(key, "digest") == 0;
        if (shown_otherwise || json_is_null(value))
            continue;
        _cleanup_(freep) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_addf(&line, " %s=%s", key, text != NULL ? text : "?");
    }
    log_info("%s%s", json_string_value(json_object_get(record, "event")),
             line.len > 0 ? line.data : "");
}

static void open_recorder(struct agent *a)
{
    _cleanup_(freep) char *directory = xasprintf("%s/recorded", a->config->state_dir);
    struct recorder_conf conf = {
        .directory = directory,
        .every = (msec)a->config->record_every_s * 1000,
        .bytes_max = (uint64_t)a->config->record_max_mib << 20,
        .age_max = (msec)a->config->record_days * 86400000,
    };
    a->recorder = recorder_new(&conf);
}

void agent_open_performer(struct agent *a)
{
    struct performer_hands hands = {
        .arg = a,
        .send = do_send,
        .dial = do_dial,
        .propose = do_propose,
        .answer = do_answer,
        .job = do_job,
        .evaluate = do_evaluate,
        .voters = do_voters,
        .yield = do_yield,
        .notice = do_notice,
        .trace = do_trace,
        .audited = do_audited,
        .failed = agent_store_failed,
    };
    open_recorder(a);
    a->performer = performer_new(a->store, &hands);
}
