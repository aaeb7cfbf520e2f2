/* What the worker answers to each task. */
#include "planner/worker/evaluate.h"
#include "planner/worker/request.h"
#include "planner/worker/testing.h"
#include "proto/canon.h"

static json_t *warnings_of(const struct model *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->n_warnings; i++) {
        _cleanup_(freep) char *s = sandbox_clean_text(m->warnings[i], strlen(m->warnings[i]));
        json_array_append_new(list, json_string(s));
    }
    return list;
}

static json_t *error_answer(const struct err *err)
{
    _cleanup_(freep) char *text = sandbox_clean_text(err->msg, strlen(err->msg));
    return json_pack("{s:{s:s, s:s}}", "error", "code", err_name(err->code), "message", text);
}

/* The pairs that the request asks about, or NULL. */
static json_t *asked_pairs(struct evaluation *e, struct err *err)
{
    const struct worker_request *req = e->req;
    int vm = MODEL_NONE, host = MODEL_NONE;
    if (req->explain_vm == NULL)
        return NULL;
    if ((vm = model_find_vm(e->model, req->explain_vm)) == MODEL_NONE)
        err_set(err, ERR_NOT_FOUND, "no VM \"%s\" in the snapshot", req->explain_vm);
    else if (req->explain_host != NULL &&
             (host = model_find_host(e->model, req->explain_host)) == MODEL_NONE)
        err_set(err, ERR_NOT_FOUND, "no host \"%s\" in the snapshot", req->explain_host);
    return err->code != ERR_OK ? NULL : evaluation_pairs(e, vm, host);
}

static json_t *answer_plan(const struct worker_request *req, struct sandbox_clock *clock)
{
    _cleanup_(evaluation_done) struct evaluation e = {.req = req, .clock = clock};
    struct err err = {0};
    json_t *body = NULL, *pairs = NULL;
    if (evaluation_run(&e, &err) < 0 || evaluation_body(&e, &body, &err) < 0)
        return error_answer(&err);
    pairs = asked_pairs(&e, &err);
    if (err.code != ERR_OK) {
        json_decref(body);
        return error_answer(&err);
    }
    json_t *answer =
        json_pack("{s:o, s:O, s:o, s:o, s:O, s:o}", "body", body, "approvals", e.approvals,
                  "health", policy_health(&e.policy), "warnings", warnings_of(e.model), "notes",
                  api_notes(e.api), "manifest", policy_manifest(&e.policy));
    if (pairs != NULL)
        json_object_set_new(answer, "pairs", pairs);
    json_object_set(answer, "log", e.policy.log);
    return answer;
}

static json_t *answer_check(const struct worker_request *req, struct sandbox_clock *clock)
{
    _cleanup_(sandbox_freep) struct sandbox *sb = NULL;
    _cleanup_(policy_done) struct policy p = {0}; /* goes before the sandbox */
    struct err err = {0};
    if (evaluation_sandbox(req, clock, 1, NULL, &sb, &err) < 0 ||
        policy_load(&p, sb, req->policy, req->policy_len, req->policy_name, NULL, &err) < 0)
        return error_answer(&err);
    return json_pack("{s:o}", "manifest", policy_manifest(&p));
}

static json_t *answer_task(const struct worker_request *req, struct sandbox_clock *clock)
{
    struct err err = {0};
    json_t *answer = NULL;
    switch (req->task) {
    case WORKER_PLAN:
        return answer_plan(req, clock);
    case WORKER_CHECK:
        return answer_check(req, clock);
    case WORKER_TEST:
        return testing_run(req, clock, &answer, &err) < 0 ? error_answer(&err) : answer;
    }
    return NULL;
}

char *worker_answer(const struct worker_request *req, struct sandbox_clock *clock, size_t *ret_len)
{
    _cleanup_json_ json_t *answer = answer_task(req, clock);
    struct err err = {0};
    char *text = NULL;
    if (answer == NULL)
        err_set(&err, ERR_INTERNAL, "the answer could not be written");
    else if (canon_dump(answer, &text, ret_len, &err) == 0)
        return text;
    _cleanup_json_ json_t *failure = error_answer(&err);
    int rc = canon_dump(failure, &text, ret_len, &err);
    REQUIRE(rc == 0);
    return text;
}
