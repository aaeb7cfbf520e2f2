/* duty_answer.c - from an evaluation's answer to a plan that the state takes, or to the reason why
 * there is none. An evaluation that fails costs only itself. */
#include <stdio.h>
#include <zstd.h>

#include "agent/core/duty_priv.h"
#include "planner/check/check.h"

#define REQUEST_FAILURES_MAX 3 /* a person waits for the answer */
#define REFUSED_MAX 200        /* VMs whose refusals are kept for the status */

/* Stored here, and sent to the other voters: what a plan was made from outlives its planner. */
void duty_keep_snapshot(const struct duty *d, struct step *s, const struct evaluator *e)
{
    effect_snapshot(s, e->snapshot_digest, e->snapshot, e->snapshot_len);
    size_t cap = ZSTD_compressBound(e->snapshot_len);
    _cleanup_(freep) uint8_t *packed = xmalloc(cap);
    size_t len = ZSTD_compress(packed, cap, e->snapshot, e->snapshot_len, 3);
    if (ZSTD_isError(len) || len > CODEC_FRAME_MAX - 1024) {
        effect_trace(s, "duty: snapshot %.12s is not copied: %zu bytes", e->snapshot_digest, len);
        return;
    }
    Skein__SnapshotCopy copy = SKEIN__SNAPSHOT_COPY__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    copy.digest = (char *)e->snapshot_digest;
    copy.has_data = copy.has_at_ms = 1;
    copy.data = (ProtobufCBinaryData){.len = len, .data = packed};
    copy.at_ms = (uint64_t)s->now.wall;
    frame.kind_case = SKEIN__FRAME__KIND_SNAPSHOT;
    frame.snapshot = &copy;
    for (size_t i = 0; i < d->conf->n_voters; i++)
        if (strcmp(d->conf->voters[i], d->conf->host) != 0)
            effect_send(s, d->conf->voters[i], &frame);
}

/* The independent second opinion. */
static int check_body(const struct evaluator *e, const struct evaluated *answer, msec now,
                      struct err *err)
{
    const struct check_options options = {.now = now};
    _cleanup_(check_report_freep) struct check_report *report = NULL;
    if (plan_check(e->snapshot, e->snapshot_len, answer->body, answer->body_len, &options, &report,
                   err) < 0)
        return err_wrap(err, "checker");
    if (report->ok)
        return 0;
    _cleanup_(buf_done) struct buf text = {0};
    for (int i = 0; i < report->n_findings && i < DUTY_CHECK_FINDINGS; i++) {
        const struct check_finding *f = &report->findings[i];
        buf_addf(&text, "%s%s %s: %s", i > 0 ? "; " : "", f->code, f->action, f->message);
    }
    return err_set(err, ERR_POLICY, "the checker refuses the plan: %s",
                   text.data != NULL ? text.data : "without a finding");
}

static msec cooldown_time(const char *policy)
{
    return strcmp(policy, ADMIN_DRAIN_POLICY) == 0 ? 0 : DUTY_COOLDOWN_MS;
}

static bool moved_lately(const struct step *s, const struct state *state,
                         const struct plan_body *body, const char **ret_vm)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &plans[i]->items[k];
            if (item->permit == NULL || item->report == NULL ||
                !duty_lately(s, (msec)item->report->ended_at_ms, cooldown_time(body->policy)))
                continue;
            for (size_t j = 0; j < body->n_moves; j++)
                if (plan_move_same_subject(&body->moves[j], item->move)) {
                    *ret_vm = item->move->vm;
                    return true;
                }
        }
    return false;
}

/* The names (borrowed) of gate rules that the tags of a plan's VMs bring in; to be freed. The
 * voters take the planner's word for it; source and destination look for themselves. */
static char **tag_gates(const struct state *state, const struct view *view,
                        const struct plan_body *body, size_t *ret_n)
{
    const struct gate_rules *rules = state_gates(state);
    const struct view_host *host;
    char **names = xcalloc(rules != NULL ? rules->n : 0, sizeof *names);
    *ret_n = 0;
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        for (size_t k = 0; rules->rules[i].n_tags > 0 && k < body->n_moves; k++) {
            const Skein__VmDetail *vm = view_vm(view, body->moves[k].uuid, &host);
            if (vm == NULL || !gate_rule_tags(&rules->rules[i], vm))
                continue;
            names[(*ret_n)++] = rules->rules[i].name;
            break;
        }
    return names;
}

static void put_plan(struct duty *d, struct step *s, const struct view *view,
                     const struct state *state, const struct evaluator *e,
                     const struct evaluated *answer, const struct plan_body *body)
{
    Skein__PlanPut put = SKEIN__PLAN_PUT__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    const Skein__RequestRecord *request =
        e->policy == NULL ? state_request(state, e->request) : NULL;
    char key[DUTY_KEY_SIZE];
    bool home = e->policy == NULL && e->home[0] != '\0';
    if (home)
        duty_return_key(key, e->home);
    else if (request != NULL)
        duty_request_key(key, request->nonce);
    else
        snprintf(key, sizeof key, "policy %.140s", body->policy);
    if (duty_busy(d, key) || (e->policy == NULL && request == NULL && !home))
        return;
    put.id = (char *)body->id;
    put.digest = (char *)body->digest;
    put.has_body = put.has_state = put.has_expires_at_ms = 1;
    put.body = (ProtobufCBinaryData){.len = answer->body_len, .data = (uint8_t *)answer->body};
    put.state = SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    put.expires_at_ms = (uint64_t)(s->now.wall + d->conf->plan_lifetime);
    put.author = home              ? (char *)e->home_person
                 : request != NULL ? request->vote->person
                                   : (char *)"planner";
    put.request = request != NULL ? request->nonce : NULL;
    _cleanup_(freep) char **gates = tag_gates(state, view, body, &put.n_gates);
    put.gates = gates;
    if (answer->health != NULL && strlen(answer->health) <= CODEC_TEXT_MAX)
        put.health = answer->health;
    entry.kind_case = SKEIN__ENTRY__KIND_PLAN;
    entry.plan = &put;
    duty_keep_snapshot(d, s, e);
    struct proposal *p = duty_propose(d, s, key, &entry);
    if (request != NULL)
        snprintf(p->request, sizeof p->request, "%s", request->nonce);
}

static void refuse_body(struct duty *d, struct step *s, const struct state *state,
                        struct evaluator *e, const struct err *err)
{
    duty_keep_snapshot(d, s, e);
    effect_audit(s, "plan.refused", "{s:s?, s:s, s:s, s:s}", "policy", e->policy, "snapshot",
                 e->snapshot_digest, "code", err_name(err->code), "reason", err->msg);
    duty_outcome(e, s, err->msg);
    e->failures++;
    duty_policy_failed(s, e, state, err->msg);
    if (e->policy == NULL && e->request[0] != '\0')
        duty_close_request(d, s, e->request, err->msg);
}

/* Has the waiting plan been contradicted often and long enough to make way? People read plans
 * before they sign them: noise in what is measured must not pull one from under their eyes. */
static bool contradicted(struct evaluator *e, const struct step *s)
{
    if (e->disagreed++ == 0)
        e->disagreed_since = s->now.mono;
    if (e->disagreed < DUTY_DISAGREED || s->now.mono - e->disagreed_since < DUTY_STAND_MS)
        return false;
    e->disagreed = 0;
    return true;
}

/* An approved plan of this policy that waits for its time, and moves one of these VMs; or NULL. */
static const struct plan *find_for_later(const struct state *state, const struct plan_body *body,
                                         msec wall, struct err *err)
{
    struct plan *const *plans;
    for (size_t i = state_plans(state, &plans); i-- > 0;) {
        if (plans[i]->state != SKEIN__PLAN_STATE__PLAN_APPROVED ||
            strcmp(plans[i]->body->policy, body->policy) != 0 ||
            state_gate_when(state, plans[i], wall, err) == 0)
            continue;
        for (size_t k = 0; k < body->n_moves; k++)
            for (size_t j = 0; j < plans[i]->body->n_moves; j++)
                if (plan_move_same_subject(&body->moves[k], &plans[i]->body->moves[j]))
                    return plans[i];
    }
    return NULL;
}

/* A sound plan of a policy: is it news? */
static void hear_policy_plan(struct duty *d, struct step *s, const struct view *view,
                             const struct state *state, struct evaluator *e,
                             const struct evaluated *answer, const struct plan_body *body)
{
    const char *vm = NULL;
    const struct plan *busy = duty_vms_busy(state, body, NULL, &vm);
    const struct plan *waiting = duty_find_waiting(state, body->policy);
    _cleanup_(freep) char *text = NULL;
    struct err later;
    duty_wanted(e, s);
    if (busy != NULL) {
        text = xasprintf("%s is part of plan %s, which runs", vm, busy->body->id);
    } else if ((text = duty_gives_way(state, body, NULL)) != NULL) {
        e->disagreed = 0; /* what waits of it gives way as well, or not */
    } else if (find_for_later(state, body, s->now.wall, &later) != NULL) {
        text = xasprintf("approved, but %s", later.msg);
    } else if (moved_lately(s, state, body, &vm)) {
        text =
            xasprintf("%s moved less than %d s ago", vm, (int)(cooldown_time(body->policy) / 1000));
    } else if (waiting != NULL && plan_body_same_moves(waiting->body, body)) {
        e->disagreed = 0;
        text = xasprintf("plan %s stands", waiting->body->id);
    } else if (waiting != NULL && !contradicted(e, s)) {
        text = xasprintf("plan %s may have to be replaced", waiting->body->id);
    } else if (waiting != NULL || (text = duty_held(d, s, e, answer, body->class)) == NULL) {
        e->disagreed = 0;
        duty_unwanted(e);
        text = xasprintf("plan %s made", body->id);
        put_plan(d, s, view, state, e, answer, body);
    }
    duty_outcome(e, s, text);
}

static void hear_nothing(struct duty *d, struct step *s, const struct state *state,
                         struct evaluator *e, const char *why)
{
    bool news = e->outcome == NULL || strcmp(e->outcome, why) != 0;
    duty_unwanted(e);
    if (e->policy == NULL) {
        duty_outcome(e, s, why);
        if (e->request[0] != '\0')
            duty_close_request(d, s, e->request, why);
        return;
    }
    if (news)
        effect_trace(s, "duty: %s: %s", e->policy, why);
    duty_outcome(e, s, why);
    const struct plan *waiting = duty_find_waiting(state, e->policy);
    if (waiting == NULL || !contradicted(e, s))
        return;
    _cleanup_(freep) char *reason = xasprintf("not needed any more: %s", why);
    duty_change(d, s, waiting, SKEIN__PLAN_STATE__PLAN_SUPERSEDED, reason);
}

static void hear_failure(struct duty *d, struct step *s, const struct state *state,
                         struct evaluator *e, const struct err *err)
{
    duty_unwanted(e);
    if (e->failures++ == 0) {
        duty_keep_snapshot(d, s, e); /* so that it can be replayed */
        effect_audit(s, "policy.failed", "{s:s?, s:s, s:s, s:s}", "policy", e->policy, "snapshot",
                     e->snapshot_digest, "code", err_name(err->code), "reason", err->msg);
    }
    duty_outcome(e, s, err->msg);
    duty_policy_failed(s, e, state, err->msg);
    if (e->policy == NULL && e->request[0] != '\0' &&
        (e->failures >= REQUEST_FAILURES_MAX || err->code == ERR_INVALID ||
         err->code == ERR_NOT_FOUND)) {
        e->failures = 0;
        duty_close_request(d, s, e->request, err->msg);
    }
}

/* Is this VM among them already? One reason each is enough. */
static bool is_refused(const json_t *refused, const json_t *one)
{
    size_t i;
    const json_t *other;
    json_array_foreach(refused, i, other)
    {
        if (json_equal(json_object_get(other, "vm"), json_object_get(one, "vm")))
            return true;
    }
    return false;
}

/* A body without steps says why in its reason and its refusals. The text is to be freed; NULL: the
 * body has steps (or is malformed, which parsing will say). */
static char *read_nothing(struct evaluator *e, const struct evaluated *answer)
{
    struct err err;
    _cleanup_json_ json_t *body = NULL;
    if (canon_parse(answer->body, answer->body_len, "plan", &body, &err) < 0)
        return NULL;
    const json_t *steps = json_object_get(body, "steps"), *one;
    if (!json_is_array(steps) || json_array_size(steps) > 0)
        return NULL;
    const char *reason = json_string_value(json_object_get(body, "reason"));
    struct buf text = {0};
    buf_adds(&text, reason != NULL ? reason : "nothing to do");
    size_t i;
    json_array_foreach(json_object_get(body, "refused"), i, one)
    {
        const char *vm = json_string_value(json_object_get(one, "vm"));
        const char *host = json_string_value(json_object_get(one, "host"));
        const char *message = json_string_value(json_object_get(one, "message"));
        if (i == 0)
            buf_addf(&text, " (%s%s%s: %s)", vm != NULL ? vm : "",
                     vm != NULL && host != NULL ? " to " : "", host != NULL ? host : "",
                     message != NULL ? message : "refused");
        if (!is_refused(e->refused, one) && json_array_size(e->refused) < REFUSED_MAX) {
            e->refused = e->refused != NULL ? e->refused : json_array();
            json_array_append(e->refused, (json_t *)one);
        }
    }
    return buf_take(&text);
}

static void hear_body(struct duty *d, struct step *s, const struct view *view,
                      const struct state *state, struct evaluator *e,
                      const struct evaluated *answer)
{
    struct err err = {0};
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    int rc = plan_body_parse((const uint8_t *)answer->body, answer->body_len, &body, &err);
    if (rc == 0 && strcmp(body->snapshot_digest, e->snapshot_digest) != 0)
        rc = err_set(&err, ERR_STALE, "plan %s was made from another snapshot", body->id);
    if (rc == 0 && strcmp(body->policy, e->policy != NULL ? e->policy : "") != 0)
        rc = err_set(&err, ERR_POLICY, "the plan is of policy \"%s\", asked was \"%s\"",
                     body->policy, e->policy != NULL ? e->policy : "");
    if (rc == 0 && e->policy != NULL && e->digest[0] != '\0' &&
        strcmp(body->policy_digest, e->digest) != 0)
        rc = err_set(&err, ERR_POLICY, "the plan is of version %.12s, asked was %.12s",
                     body->policy_digest, e->digest);
    if (rc == 0)
        rc = check_body(e, answer, moment_world(&s->now), &err);
    if (rc < 0) {
        refuse_body(d, s, state, e, &err);
        return;
    }
    e->failures = 0;
    if (e->policy != NULL) {
        hear_policy_plan(d, s, view, state, e, answer, body);
        return;
    }
    put_plan(d, s, view, state, e, answer, body);
    _cleanup_(freep) char *text = xasprintf("plan %s made", body->id);
    duty_outcome(e, s, text);
}

static struct evaluator *find_evaluator(struct duty *d, uint64_t token)
{
    for (size_t i = 0; i < d->n_evaluators; i++)
        if (d->evaluators[i].token == token && token != 0)
            return &d->evaluators[i];
    return NULL;
}

/* The moves of a body, in their order: what an evaluation would have done, in short. A new list. */
static json_t *moves_of(const struct evaluated *answer)
{
    struct err err;
    json_t *moves = json_array();
    _cleanup_json_ json_t *body = NULL;
    if (answer->body == NULL ||
        canon_parse(answer->body, answer->body_len, "plan", &body, &err) < 0)
        return moves;
    size_t i, k;
    const json_t *step, *action;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            json_array_append_new(moves, json_pack("{s:O?, s:O?, s:O?, s:O?, s:O?}", "vm",
                                                   json_object_get(action, "vm"), "uuid",
                                                   json_object_get(action, "uuid"), "from",
                                                   json_object_get(action, "from"), "to",
                                                   json_object_get(action, "to"), "reason",
                                                   json_object_get(action, "reason")));
        }
    }
    return moves;
}

/* Nothing comes of it but the record. */
static void hear_shadow(const struct step *s, struct evaluator *e, const struct evaluated *answer,
                        const char *nothing)
{
    struct err err;
    e->shadow.rounds++;
    if (nothing != NULL) {
        e->failures = 0;
        duty_outcome(e, s, nothing);
        return;
    }
    if (check_body(e, answer, moment_world(&s->now), &err) < 0) {
        e->failures++;
        duty_outcome(e, s, err.msg);
        return;
    }
    e->failures = 0;
    e->shadow.proposed++;
    size_t n = json_array_size(e->moves);
    _cleanup_(freep) char *text = xasprintf("would move %zu VM%s", n, n == 1 ? "" : "s");
    duty_outcome(e, s, text);
}

/* What a shadow is compared by. */
static void remember_answer(struct evaluator *e, const struct evaluated *answer)
{
    json_decref(TAKE_PTR(e->moves));
    e->heard[0] = '\0';
    if (answer == NULL)
        return;
    e->moves = moves_of(answer);
    memcpy(e->heard, e->snapshot_digest, sizeof e->heard);
}

void duty_evaluated(struct duty *d, struct step *s, const struct view *view,
                    const struct state *state, uint64_t token, const struct err *err,
                    const struct evaluated *answer)
{
    struct evaluator *e = find_evaluator(d, token);
    if (e == NULL || !d->leads)
        return;
    d->explain_at = 0;
    json_decref(TAKE_PTR(e->refused));
    free(TAKE_PTR(e->health));
    if (answer != NULL && answer->health != NULL)
        e->health = xstrdup(answer->health);
    bool failed = err->code != ERR_OK || answer == NULL;
    _cleanup_(freep) char *nothing = NULL;
    if (!failed && answer->body != NULL)
        nothing = read_nothing(e, answer);
    else if (!failed)
        nothing = xstrdup(answer->nothing != NULL ? answer->nothing : "nothing to do");
    remember_answer(e, failed ? NULL : answer);
    if (failed) {
        hear_failure(d, s, state, e, err);
    } else if (e->in_shadow) {
        hear_shadow(s, e, answer, nothing);
    } else if (nothing != NULL) {
        e->failures = 0;
        hear_nothing(d, s, state, e, nothing);
    } else {
        hear_body(d, s, view, state, e, answer);
    }
    e->proven = e->proven || e->failures == 0;
    struct evaluator *shadow = e->policy == NULL ? NULL
                               : e->in_shadow    ? e
                                                 : duty_shadow_of(d, e->policy);
    if (shadow != NULL)
        duty_shadow_heard(d, s, shadow);
    duty_evaluator_forget(e);
}
