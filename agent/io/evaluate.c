#include "agent/io/evaluate.h"

#include <stdio.h>

#include "planner/core/plan_doc.h"
#include "planner/core/planner.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"

struct pending {
    uint64_t token;
    struct evaluation *evaluation;
};

struct evaluator {
    struct evaluator_conf conf;
    struct pending *queue; /* the first is running when worker is set */
    size_t n, cap;
    struct worker *worker;
    uv_poll_t poll; /* of the worker's descriptor; made anew for each worker */
    bool polling;
    uv_timer_t timer; /* the worker's deadline, or 0 ms: begin the next */
    unsigned open_handles;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void begin_next(struct evaluator *ev);

static void answer(struct evaluator *ev, const struct err *err, const struct evaluated *evaluated)
{
    struct pending first = ev->queue[0];
    memmove(ev->queue, ev->queue + 1, --ev->n * sizeof *ev->queue);
    ev->conf.done(ev->conf.arg, first.token, err, err->code == ERR_OK ? evaluated : NULL);
    evaluation_free(first.evaluation);
}

/* ---- a person's own moves ---- */

static int find_move(const struct model *model, const char *uuid, const char *to,
                     struct planner_move *ret, struct err *err)
{
    *ret = (struct planner_move){model_find_vm(model, uuid), model_find_host(model, to)};
    if (ret->vm == MODEL_NONE)
        return err_set(err, ERR_NOT_FOUND, "no VM %s is known", uuid);
    if (ret->to == MODEL_NONE)
        return err_set(err, ERR_NOT_FOUND, "no host %s is known", to);
    return 0;
}

/* One that must be possible, or several as far as there is something to move. */
static int find_moves(const struct model *model, const struct evaluation *e,
                      struct planner_move **ret, int *ret_n, struct err *err)
{
    *ret = xcalloc(e->n_moves + 1, sizeof **ret);
    if (e->n_moves == 0) {
        *ret_n = 1;
        return find_move(model, e->uuid, e->to, *ret, err);
    }
    for (size_t i = 0; i < e->n_moves; i++) {
        struct planner_move *m = &(*ret)[*ret_n];
        if (find_move(model, e->moves[i].uuid, e->moves[i].to, m, err) == 0 &&
            model->vms[m->vm].host != m->to)
            ++*ret_n;
    }
    return *ret_n > 0 ? 0
                      : err_set(err, ERR_NOT_FOUND,
                                "none of the VMs is known elsewhere: there is nothing to move");
}

static int read_how(const char *text, struct migration_choice *ret, struct err *err)
{
    _cleanup_json_ json_t *parameters = NULL;
    if (canon_parse(text, strlen(text), "parameters", &parameters, err) < 0)
        return -(int)err->code;
    return migration_read(parameters, "parameters", ret, err);
}

/* One host sleeps and wakes, or only wakes where it sleeps already: two steps, and no search. */
static int drill_body(const struct evaluation *e, const struct model *model, struct evaluated *ret,
                      struct err *err)
{
    int host = model_find_host(model, e->to);
    if (host == MODEL_NONE)
        return err_set(err, ERR_NOT_FOUND, "no host %s is known", e->to);
    const struct model_host *h = &model->hosts[host];
    struct planner_action actions[2] = {
        {.type = PLAN_STANDBY, .vm = MODEL_NONE, .from = MODEL_NONE, .to = host},
        {.type = PLAN_WAKE, .vm = MODEL_NONE, .from = MODEL_NONE, .to = host, .step = 1}};
    bool sleeps = h->state == HOST_STANDBY;
    if (h->wake_seconds != QUANTITY_UNKNOWN)
        actions[1].estimate.ms = h->wake_seconds * 1000;
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        snprintf(actions[i].reason, sizeof actions[i].reason, "%s",
                 i == 0 ? "does it sleep?" : "does it wake?");
    actions[1].step = sleeps ? 0 : 1;
    struct planner_result result = {.actions = sleeps ? &actions[1] : actions,
                                    .n_actions = sleeps ? 1 : 2,
                                    .n_steps = sleeps ? 1 : 2,
                                    .stopped_by = ""};
    struct planner_forecast *none = xcalloc((size_t)model->n_hosts + 1, sizeof *none);
    struct plan_origin origin = {.class = e->class, .reason = e->reason, .seed = e->seed};
    _cleanup_json_ json_t *body = NULL;
    result.before = result.after = none;
    int rc = plan_body_new(model, &result, &origin, &body, err);
    free(none);
    return rc < 0 ? rc : canon_dump(body, &ret->body, &ret->body_len, err);
}

static int explicit_body(const struct evaluation *e, struct evaluated *ret, struct err *err)
{
    _cleanup_(model_freep) struct model *model = NULL;
    _cleanup_(planner_result_freep) struct planner_result *result = NULL;
    _cleanup_json_ json_t *body = NULL;
    int rc = model_parse(e->snapshot, e->snapshot_len, &model, err);
    if (rc < 0)
        return rc;
    if (e->drill)
        return drill_body(e, model, ret, err);
    int n_moves = 0;
    _cleanup_(freep) struct planner_move *moves = NULL;
    if ((rc = find_moves(model, e, &moves, &n_moves, err)) < 0)
        return rc;
    struct migration_choice how = {0};
    if (e->parameters != NULL && read_how(e->parameters, &how, err) < 0)
        return -(int)err->code;
    struct planner_problem problem = {
        .model = model,
        .mode = PLANNER_MOVES,
        .how = e->parameters != NULL ? &how : NULL,
        .copy_storage = how.storage != MIGRATE_STORAGE_NONE,
        .now = e->at,
        .override_holds = true,
        .moves = moves,
        .n_moves = n_moves,
        .n_plus = QUANTITY_UNKNOWN,
        .seed = e->seed,
    };
    if ((rc = planner_run(&problem, &result, err)) < 0)
        return rc;
    if (result->n_actions == 0) {
        const struct planner_refusal *why = result->n_refusals > 0 ? &result->refusals[0] : NULL;
        ret->nothing = why != NULL ? xasprintf("%s: %s", why->code, why->why.message)
                                   : xstrdup(result->reason);
        return 0;
    }
    struct plan_origin origin = {.class = e->class, .reason = e->reason, .seed = e->seed};
    if ((rc = plan_body_new(model, result, &origin, &body, err)) < 0)
        return rc;
    return canon_dump(body, &ret->body, &ret->body_len, err);
}

static void run_explicit(struct evaluator *ev)
{
    struct evaluated evaluated = {0};
    struct err err = {0};
    explicit_body(ev->queue[0].evaluation, &evaluated, &err);
    answer(ev, &err, &evaluated);
    free(evaluated.body);
    free(evaluated.nothing);
}

/* ---- a policy's run ---- */

/* A number of the policy's description, from an enemy: within bounds. */
static json_int_t described(const json_t *manifest, const char *key, json_int_t max)
{
    return MIN(MAX(json_integer_value(json_object_get(manifest, key)), (json_int_t)0), max);
}

/* A body without steps is an answer, too: it says why there is nothing to do. */
static int body_of(const struct worker_result *result, struct evaluated *ret, struct err *err)
{
    int rc = 0;
    ret->agreement = (unsigned)described(result->manifest, "agreement", 100);
    ret->hold = described(result->manifest, "hold_ms", (json_int_t)7 * 86400000);
    if (result->health != NULL)
        rc = canon_dump(result->health, &ret->health, NULL, err);
    return rc < 0 ? rc : canon_dump(result->body, &ret->body, &ret->body_len, err);
}

static void worker_ended(struct evaluator *ev)
{
    struct worker_result result = {0};
    struct evaluated evaluated = {0};
    struct err err = {0};
    if (worker_finish(TAKE_PTR(ev->worker), &result, &err) == 0)
        body_of(&result, &evaluated, &err);
    worker_result_done(&result);
    answer(ev, &err, &evaluated);
    free(evaluated.body);
    free(evaluated.nothing);
    free(evaluated.health);
    begin_next(ev);
}

static void handle_closed(uv_handle_t *handle);

static void poll_closed(uv_handle_t *handle)
{
    struct evaluator *ev = handle->data;
    ev->polling = false;
    if (ev->closing) {
        handle_closed(handle);
        return;
    }
    worker_ended(ev);
}

/* The poll handle must be closed before the worker's descriptor is. */
static void end_worker(struct evaluator *ev)
{
    uv_timer_stop(&ev->timer);
    uv_close((uv_handle_t *)&ev->poll, poll_closed);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct evaluator *ev = poll->data;
    (void)status;
    (void)events;
    if (!uv_is_closing((uv_handle_t *)poll) && worker_read(ev->worker) == WORKER_ENDED)
        end_worker(ev);
}

static msec mono_now(struct evaluator *ev)
{
    uv_update_time(ev->conf.loop);
    return (msec)uv_now(ev->conf.loop);
}

static void on_timer(uv_timer_t *timer)
{
    struct evaluator *ev = timer->data;
    if (ev->worker == NULL) {
        begin_next(ev);
        return;
    }
    if (uv_is_closing((uv_handle_t *)&ev->poll))
        return;
    if (worker_tick(ev->worker, mono_now(ev)) == WORKER_ENDED) {
        end_worker(ev);
        return;
    }
    msec wait = worker_deadline(ev->worker) - mono_now(ev);
    uv_timer_start(&ev->timer, on_timer, (uint64_t)MAX(wait, (msec)1), 0);
}

static int start_worker(struct evaluator *ev, const struct evaluation *e, struct err *err)
{
    _cleanup_(freep) char *file = xasprintf("%s.lua", e->policy);
    int rc;
    if (e->source == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "policy %s: no version of it is held; try: skein policy promote FILE",
                       e->policy);
    struct worker_request request = {
        .task = WORKER_PLAN,
        .snapshot = e->snapshot,
        .snapshot_len = e->snapshot_len,
        .policy = e->source,
        .policy_len = e->source_len,
        .policy_name = file,
        .has_seed = true,
        .seed = e->seed,
        .has_at = true,
        .at = e->at,
        .power = e->power,
        .limits = {.lua_ms = ev->conf.lua_ms},
    };
    if ((rc = worker_start(&request, &ev->worker, err)) < 0)
        return rc;
    uv_poll_init(ev->conf.loop, &ev->poll, worker_fd(ev->worker));
    ev->poll.data = ev;
    ev->polling = true;
    uv_poll_start(&ev->poll, UV_READABLE | UV_DISCONNECT, on_readable);
    msec wait = worker_deadline(ev->worker) - mono_now(ev);
    uv_timer_start(&ev->timer, on_timer, (uint64_t)MAX(wait, (msec)1), 0);
    return 0;
}

static void begin_next(struct evaluator *ev)
{
    while (ev->n > 0 && ev->worker == NULL && !ev->closing) {
        const struct evaluation *e = ev->queue[0].evaluation;
        struct err err = {0};
        if (e->policy == NULL)
            run_explicit(ev);
        else if (start_worker(ev, e, &err) < 0)
            answer(ev, &err, NULL);
    }
}

int evaluator_open(const struct evaluator_conf *conf, struct evaluator **ret, struct err *err)
{
    struct evaluator *ev = xcalloc(1, sizeof *ev);
    ev->conf = *conf;
    if (uv_timer_init(conf->loop, &ev->timer) != 0) {
        free(ev);
        return err_set(err, ERR_INTERNAL, "no timer for evaluations");
    }
    ev->timer.data = ev;
    ev->open_handles = 1;
    *ret = ev;
    return 0;
}

void evaluator_run(struct evaluator *ev, uint64_t token, struct evaluation *e)
{
    ARRAY_RESERVE(ev->queue, ev->cap, ev->n + 1);
    ev->queue[ev->n++] = (struct pending){token, e};
    if (ev->worker == NULL && !uv_is_active((uv_handle_t *)&ev->timer))
        uv_timer_start(&ev->timer, on_timer, 0, 0);
}

static void handle_closed(uv_handle_t *handle)
{
    struct evaluator *ev = handle->data;
    if (--ev->open_handles > 0)
        return;
    if (ev->worker != NULL) {
        struct worker_result result = {0};
        struct err err;
        worker_kill(ev->worker, "the agent stops");
        if (worker_finish(ev->worker, &result, &err) == 0)
            worker_result_done(&result);
    }
    for (size_t i = 0; i < ev->n; i++)
        evaluation_free(ev->queue[i].evaluation);
    free(ev->queue);
    if (ev->closed != NULL)
        ev->closed(ev->closed_arg);
    free(ev);
}

void evaluator_close(struct evaluator *ev, void (*closed)(void *arg), void *arg)
{
    ev->closing = true;
    ev->closed = closed;
    ev->closed_arg = arg;
    if (ev->polling) {
        ev->open_handles++;
        if (!uv_is_closing((uv_handle_t *)&ev->poll))
            uv_close((uv_handle_t *)&ev->poll, poll_closed);
    }
    uv_close((uv_handle_t *)&ev->timer, handle_closed);
}
