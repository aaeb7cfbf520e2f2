/* api.c - routes, and the calls that wait.
 * A call is answered exactly once: at once, or when what it waits for has come, or when its time is
 * up. What it may wait for: the planner's answer (other agents hand the call on), the commit of an
 * envelope (at the planner), the plan that answers a request. */
#include "agent/core/api.h"

#include <stdio.h>

#include "agent/core/api_priv.h"
#include "agent/core/plan.h"
#include "proto/codec.h"

#define CALLS_MAX 256        /* that wait at once; more are refused */
#define RESEND_MS 200        /* to the new planner, when the one asked said it is none */
#define ELECTION_MS 5000     /* for a planner, when there is none yet */
#define STATUS_WAIT_MS 2000  /* for the planner's part of a status; then without */
#define RELAY_MARGIN_MS 1000 /* the planner's own timeout arrives before the asker's ends */
#define TARGET_MAX 1024      /* bytes of a path, and of a query */
#define REPLY_MAX (CODEC_FRAME_MAX - 4096)

/* ---- calls ---- */

struct api *api_new(void)
{
    return xcalloc(1, sizeof(struct api));
}

static void call_done(struct call *call)
{
    if (call->call != NULL)
        skein__api_call__free_unpacked(call->call, NULL);
    json_decref(call->answer);
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    for (size_t i = 0; i < api->n; i++)
        call_done(&api->calls[i]);
    free(api->calls);
    free(api);
}

/* Calls are few: a list will do. */
struct call *api_find_call(struct api *api, enum call_stage stage, uint64_t key)
{
    for (size_t i = 0; i < api->n; i++)
        if (api->calls[i].stage == stage && api->calls[i].key == key)
            return &api->calls[i];
    return NULL;
}

void api_add_call(struct api *api, const struct call *call)
{
    ARRAY_RESERVE(api->calls, api->cap, api->n + 1);
    api->calls[api->n++] = *call;
}

/* Out of the list; the caller of this function owns what it holds. */
struct call api_take_call(struct api *api, struct call *at)
{
    struct call call = *at;
    *at = api->calls[--api->n];
    return call;
}

/* ---- answers ---- */

unsigned api_status_of(enum err_code code)
{
    static const unsigned short statuses[ERR_COUNT] = {
        [ERR_INVALID] = 400,      [ERR_UNAUTHENTICATED] = 401, [ERR_DENIED] = 403,
        [ERR_EXPIRED] = 403,      [ERR_NOT_FOUND] = 404,       [ERR_EXISTS] = 409,
        [ERR_STALE] = 409,        [ERR_CONFLICT] = 409,        [ERR_CAPACITY] = 409,
        [ERR_INCOMPATIBLE] = 409, [ERR_CANCELLED] = 409,       [ERR_LIMIT] = 429,
        [ERR_UNSUPPORTED] = 501,  [ERR_UNAVAILABLE] = 503,     [ERR_NOT_LEADER] = 503,
        [ERR_TIMEOUT] = 504,      [ERR_UNKNOWN] = 504,
    };

    unsigned status = (size_t)code < ERR_COUNT ? statuses[code] : 0;
    return status != 0 ? status : 500;
}

static void reply_answer(struct api_context *c, const struct caller *to, unsigned status,
                         json_t *body)
{
    Skein__ApiAnswer answer = SKEIN__API_ANSWER__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    struct err err = {0};
    _cleanup_(freep) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    REQUIRE(text != NULL);
    answer.has_status = answer.has_body = 1;
    answer.status = status;
    answer.body = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
    reply.kind_case = SKEIN__REPLY__KIND_API;
    reply.api = &answer;
    if (answer.body.len > REPLY_MAX) {
        err_set(&err, ERR_LIMIT, "an answer of %zu KiB is not handed on: ask on the host %s",
                answer.body.len >> 10, c->step->conf->host);
        reply = (Skein__Reply)SKEIN__REPLY__INIT;
    }
    effect_reply(c->step, to->host, to->id, &reply, &err);
}

/* Takes body. */
void api_answer(struct api_context *c, const struct caller *to, unsigned status, json_t *body)
{
    if (to->remote)
        reply_answer(c, to, status, body);
    else
        effect_answer(c->step, to->token, status, body);
}

void api_answer_status(struct api_context *c, const struct caller *to, unsigned status,
                       const struct err *err)
{
    api_answer(c, to, status,
               json_pack("{s:{s:s, s:o}}", "error", "code", err_name(err->code), "message",
                         api_text(err->msg)));
}

void api_answer_err(struct api_context *c, const struct caller *to, const struct err *err)
{
    api_answer_status(c, to, api_status_of(err->code), err);
}

/* ---- handing on to the planner ---- */

bool api_can_wait(const struct api *api, struct err *err)
{
    if (api->n < CALLS_MAX)
        return true;
    err_set(err, ERR_UNAVAILABLE, "%zu calls wait already; try again later", api->n);
    return false;
}

static bool planner_reachable(const struct api_context *c, struct err *err)
{
    if (c->leader[0] == '\0') {
        api_no_planner(c, err);
        return false;
    }
    const struct view_host *host = view_find(c->view, c->leader);
    if (host != NULL && view_reachable(host))
        return true;
    err_set(err, ERR_UNAVAILABLE,
            "%s does not hear of the planner %s; try again, or ask on the planner",
            c->step->conf->host, c->leader);
    return false;
}

/* Nobody was asked, or one who was not the planner: nothing was done, so that asking the next one
 * is safe. Takes what call holds. */
static void ask_again(struct api *api, struct api_context *c, struct call *call)
{
    call->stage = CALL_RESEND;
    call->resend_at = c->step->now.mono + RESEND_MS;
    api_add_call(api, call);
}

/* Takes what call holds. */
static void relay(struct api *api, struct api_context *c, struct call *call)
{
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_API;
    request.api = call->call;
    call->stage = CALL_RELAYED;
    call->key = effect_request(c->step, OWNER_API, c->leader, &request);
    snprintf(call->asked, sizeof call->asked, "%s", c->leader);
    api_add_call(api, call);
}

/* A copy to hand on; what a reading call carries as body says nothing. */
static Skein__ApiCall *copy_call(const struct api_request *r)
{
    Skein__ApiCall call = SKEIN__API_CALL__INIT;
    call.method = (char *)r->method;
    call.path = (char *)r->path;
    call.query = r->query[0] != '\0' ? (char *)r->query : NULL;
    call.has_body = strcmp(r->method, "GET") != 0;
    call.body = (ProtobufCBinaryData){.data = (uint8_t *)r->body, .len = r->body_len};
    return (Skein__ApiCall *)codec_copy(&call.base);
}

int api_hand_on(struct api *api, struct api_context *c, const struct caller *caller,
                const struct api_request *r, bool merges_status, struct err *err)
{
    bool reachable = planner_reachable(c, err);
    bool waits = !reachable && !merges_status && c->step->now.mono < caller->planner_by;
    if ((!reachable && !waits) || !api_can_wait(api, err))
        return -(int)err->code;
    struct call call = {
        .caller = *caller,
        .call = copy_call(r),
        .merges_status = merges_status,
    };
    if (merges_status)
        call.caller.deadline = MIN(caller->deadline, c->step->now.mono + STATUS_WAIT_MS);
    if (waits)
        ask_again(api, c, &call);
    else
        relay(api, c, &call);
    return 0;
}

/* A planner judges what people signed once the voters have agreed on a roster, which is a moment
 * after the first of all elections; until then a call waits, here or where it came from. */
static bool wait_for_roster(struct api *api, struct api_context *c, const struct caller *caller,
                            const struct api_request *r)
{
    struct err err;
    bool judges = c->step->conf->trust->follow == NULL || state_roots(c->state) != NULL;
    if (!api_leads(c) || judges)
        return false;
    if (caller->remote) {
        err_set(&err, ERR_NOT_LEADER, "%s will plan once the voters have agreed on a roster",
                c->step->conf->host);
        effect_reply(c->step, caller->host, caller->id, NULL, &err);
        return true;
    }
    if (c->step->now.mono >= caller->planner_by || !api_can_wait(api, &err))
        return false;
    struct call call = {.caller = *caller, .call = copy_call(r)};
    ask_again(api, c, &call);
    return true;
}

/* ---- routes ---- */

enum place {
    HERE,    /* any agent */
    PLANNER, /* the planner; the others hand on */
    BETTER,  /* the planner knows more; without one, what is known here */
    SHELL,   /* the agent's shell: it never comes here */
};

static const struct route {
    const char *method, *pattern; /* "*": a plan's id */
    enum place place;
    api_show *show; /* GET */
    unsigned verbs; /* POST: the signed commands that belong here */
} routes[] = {
    {"GET", "/v1/status", HERE, api_show_status, 0},
    {"GET", "/v1/hosts", HERE, api_show_hosts, 0},
    {"GET", "/v1/vms", BETTER, api_show_vms, 0},
    {"GET", "/v1/snapshot", BETTER, api_show_snapshot, 0},
    {"GET", "/v1/plans", PLANNER, api_show_plans, 0},
    {"GET", "/v1/plans/*", PLANNER, api_show_plan, 0},
    {"GET", "/v1/plans/*/report", PLANNER, api_show_plan_report, 0},
    {"POST", "/v1/plans/*/approvals", PLANNER, NULL, API_VERB(APPROVE) | API_VERB(REJECT)},
    {"POST", "/v1/plans/*/cancel", PLANNER, NULL, API_VERB(CANCEL)},
    {"POST", "/v1/plans/*/pause", PLANNER, NULL, API_VERB(PAUSE)},
    {"POST", "/v1/plans/*/resume", PLANNER, NULL, API_VERB(RESUME)},
    {"POST", "/v1/plans/*/rollback", PLANNER, NULL, API_VERB(ROLLBACK)},
    {"POST", "/v1/migrations", PLANNER, NULL, API_VERB(MIGRATE)},
    {"POST", "/v1/drills", PLANNER, NULL, API_VERB(DRILL)},
    {"GET", "/v1/maintenance", PLANNER, api_show_maintenance, 0},
    {"POST", "/v1/maintenance", PLANNER, NULL,
     API_ORDER(CORDON) | API_ORDER(UNCORDON) | API_ORDER(DRAIN) | API_ORDER(MAINTENANCE) |
         API_ORDER(RESTORE)},
    {"GET", "/v1/freezes", PLANNER, api_show_freezes, 0},
    {"POST", "/v1/freezes", PLANNER, NULL, API_ORDER(FREEZE) | API_ORDER(UNFREEZE)},
    {"GET", "/v1/holds", PLANNER, api_show_holds, 0},
    {"POST", "/v1/holds", PLANNER, NULL, API_ORDER(HOLD) | API_ORDER(RELEASE)},
    {"GET", "/v1/orders", PLANNER, api_show_orders, 0},
    {"POST", "/v1/orders", PLANNER, NULL, API_VERB(ORDER) | API_VERB(ORDER_REMOVE)},
    {"GET", "/v1/policies", PLANNER, api_show_policies, 0},
    {"GET", "/v1/policies/*", PLANNER, api_show_policy, 0},
    {"POST", "/v1/policies", PLANNER, NULL,
     API_POLICY(SHADOW) | API_POLICY(PROMOTE) | API_POLICY(REVERT)},
    {"GET", "/v1/rules", PLANNER, api_show_rules, 0},
    {"POST", "/v1/rules", PLANNER, NULL, API_RULE(ADD) | API_RULE(REMOVE)},
    {"GET", "/v1/tokens", PLANNER, api_show_tokens, 0},
    {"POST", "/v1/tokens", PLANNER, NULL, API_TOKEN(CREATE) | API_TOKEN(REVOKE)},
    {"POST", "/v1/tokens/use", PLANNER, NULL, 0},
    {"GET", "/v1/report", PLANNER, api_show_report, 0},
    {"GET", "/v1/audit", SHELL, NULL, 0},
    {"GET", "/v1/audit/verify", SHELL, NULL, 0},
    {"GET", "/v1/audit/export", SHELL, NULL, 0},
    {"GET", "/v1/audit/proof", SHELL, NULL, 0},
    {"GET", "/v1/audit/consistency", SHELL, NULL, 0},
    {"GET", "/v1/events", SHELL, NULL, 0},
    {"GET", "/v1/events/recent", SHELL, NULL, 0},
    {"GET", "/v1/snapshots/*", SHELL, NULL, 0},
};

/* Does path fit? Then id is what stands for "*". */
static bool matches(const char *pattern, const char *path, char *id, size_t size)
{
    id[0] = '\0';
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern != '*') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t n = strcspn(path, "/");
        if (n == 0 || n >= size)
            return false;
        memcpy(id, path, n);
        id[n] = '\0';
        path += n;
        pattern++;
    }
    return *pattern == '\0' && *path == '\0';
}

/* 404 with the nearest path, or 405 with the methods that there are. */
static void no_route(struct api_context *c, const struct caller *caller,
                     const struct api_request *r)
{
    const char *paths[ARRAY_SIZE(routes) + 1];
    const char *method = NULL;
    size_t n = 0;
    char id[HASH_HEX_SIZE];
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (matches(routes[i].pattern, r->path, id, sizeof id))
            method = routes[i].method;
        if (strchr(routes[i].pattern, '*') == NULL)
            paths[n++] = routes[i].pattern;
    }
    paths[n] = NULL;
    if (method != NULL) {
        err_set(&err, ERR_UNSUPPORTED, "%s does not go with %s; try %s", r->method, r->path,
                method);
        api_answer_status(c, caller, 405, &err);
        return;
    }
    const char *near = nearest_word(r->path, paths);
    err_set(&err, ERR_NOT_FOUND, "there is no %s; try %s", r->path,
            near != NULL ? near : "/v1/status");
    api_answer_err(c, caller, &err);
}

static void show(struct api_context *c, const struct caller *caller, const struct api_request *r,
                 api_show *function)
{
    json_t *body = NULL;
    struct err err = {0};
    if (function(c, r, &body, &err) < 0)
        api_answer_err(c, caller, &err);
    else
        api_answer(c, caller, 200, body);
}

static void show_status(struct api_context *c, const struct caller *caller, const json_t *planner,
                        const char *why)
{
    json_t *own = NULL;
    api_show_status(c, NULL, &own, NULL);
    api_answer(c, caller, 200, api_merge_status(own, planner, why));
}

static void read_at_planner(struct api *api, struct api_context *c, const struct caller *caller,
                            const struct api_request *r, const struct route *route)
{
    struct err err = {0};
    struct caller asker = *caller;
    if (route->place == BETTER) /* what is known here is answer enough */
        asker.planner_by = 0;
    if (api_leads(c))
        show(c, caller, r, route->show);
    else if (api_hand_on(api, c, &asker, r, false, &err) == 0)
        return;
    else if (route->place == BETTER)
        show(c, caller, r, route->show);
    else
        api_answer_err(c, caller, &err);
}

static void read_here(struct api *api, struct api_context *c, const struct caller *caller,
                      const struct api_request *r, const struct route *route)
{
    struct err err = {0};
    bool status = route->show == api_show_status && !caller->remote && !api_leads(c);
    if (!status || c->leader[0] == '\0')
        show(c, caller, r, route->show);
    else if (api_hand_on(api, c, caller, r, true, &err) < 0)
        show_status(c, caller, NULL, err.msg);
}

/* Paths and queries of ours are printable ASCII. */
static bool is_plain(const char *text)
{
    size_t n = 0;
    while (text[n] > ' ' && text[n] < 0x7f)
        n++;
    return text[n] == '\0' && n <= TARGET_MAX;
}

static void serve(struct api *api, struct api_context *c, const struct caller *caller,
                  const Skein__ApiCall *call)
{
    char id[HASH_HEX_SIZE];
    struct api_request r = {
        .method = call->method != NULL ? call->method : "",
        .path = call->path != NULL ? call->path : "",
        .query = call->query != NULL ? call->query : "",
        .id = id,
        .body = call->body.data,
        .body_len = call->has_body ? call->body.len : 0,
    };
    if (!is_plain(r.path) || !is_plain(r.query)) {
        struct err err;
        err_set(&err, ERR_INVALID, "path and query are printable ASCII of at most %d bytes",
                TARGET_MAX);
        api_answer_err(c, caller, &err);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        const struct route *route = &routes[i];
        if (route->place == SHELL || strcmp(r.method, route->method) != 0 ||
            !matches(route->pattern, r.path, id, sizeof id))
            continue;
        if (route->verbs != 0 && wait_for_roster(api, c, caller, &r))
            return;
        if (route->verbs != 0)
            api_command(api, c, caller, &r, route->verbs);
        else if (route->show == NULL)
            api_token_use(api, c, caller, &r);
        else if (route->place == HERE)
            read_here(api, c, caller, &r, route);
        else
            read_at_planner(api, c, caller, &r, route);
        return;
    }
    no_route(c, caller, &r);
}

void api_call(struct api *api, struct api_context *c, uint64_t token, const Skein__ApiCall *call)
{
    msec now = c->step->now.mono;
    struct caller caller = {
        .token = token, .deadline = now + API_TIMEOUT_MS, .planner_by = now + ELECTION_MS};
    serve(api, c, &caller, call);
}

void api_relayed(struct api *api, struct api_context *c, const char *from, uint64_t id,
                 const Skein__ApiCall *call)
{
    struct caller caller = {
        .remote = true,
        .id = id,
        .deadline = c->step->now.mono + API_TIMEOUT_MS - RELAY_MARGIN_MS,
    };
    snprintf(caller.host, sizeof caller.host, "%s", from);
    if (!api_leads(c)) {
        struct err err;
        err_set(&err, ERR_NOT_LEADER, "%s does not plan; %s%s", c->step->conf->host,
                c->leader[0] != '\0' ? c->leader : "nobody",
                c->leader[0] != '\0' ? " does" : " is elected");
        effect_reply(c->step, from, id, NULL, &err);
        return;
    }
    serve(api, c, &caller, call);
}

/* ---- what was waited for ---- */

static void give_answer(struct api_context *c, const struct call *call,
                        const Skein__ApiAnswer *given)
{
    struct err err = {0};
    _cleanup_(json_decrefp) json_t *body =
        json_loadb((const char *)given->body.data, given->body.len, JSON_REJECT_DUPLICATES, NULL);
    bool sound = body != NULL && given->status >= 200 && given->status <= 599;
    if (call->merges_status) {
        show_status(c, &call->caller, sound && given->status == 200 ? body : NULL,
                    "the planner's status could not be read");
    } else if (sound) {
        api_answer(c, &call->caller, given->status, TAKE_PTR(body));
    } else {
        err_set(&err, ERR_UNAVAILABLE, "the planner %s gave no sound answer", call->asked);
        api_answer_status(c, &call->caller, 502, &err);
    }
}

static void give_refusal(struct api_context *c, const struct call *call, const Skein__Reply *reply)
{
    struct err err;
    err_set(&err, reply->code != NULL ? err_from_name(reply->code) : ERR_UNKNOWN, "%s",
            reply->message != NULL ? reply->message : "the planner gave no reason");
    if (call->merges_status)
        show_status(c, &call->caller, NULL, err.msg);
    else
        api_answer_err(c, &call->caller, &err);
}

void api_reply(struct api *api, struct api_context *c, const char *from, const Skein__Reply *reply)
{
    struct call *at = api_find_call(api, CALL_RELAYED, reply->id);
    if (at == NULL || strcmp(at->asked, from) != 0)
        return; /* answered already, or not the one who was asked */
    struct call call = api_take_call(api, at);
    if (reply->kind_case == SKEIN__REPLY__KIND_API && reply->code == NULL) {
        give_answer(c, &call, reply->api);
    } else if (reply->code != NULL && err_from_name(reply->code) == ERR_NOT_LEADER &&
               c->step->now.mono < call.caller.planner_by) {
        ask_again(api, c, &call);
        return;
    } else {
        give_refusal(c, &call, reply);
    }
    call_done(&call);
}

/* ---- time passes ---- */

static void expire(struct api_context *c, const struct call *call)
{
    struct err err;
    bool reads = call->call != NULL && strcmp(call->call->method, "GET") == 0;
    if (call->merges_status) {
        err_set(&err, ERR_TIMEOUT, "the planner %s does not answer", call->asked);
        show_status(c, &call->caller, NULL, err.msg);
        return;
    }
    if (reads)
        err_set(&err, ERR_TIMEOUT, "the planner %s did not answer in time; try: skein status",
                call->asked);
    else if (call->stage == CALL_PLANNING)
        err_set(&err, ERR_TIMEOUT,
                "the request is recorded, but there is no plan for it yet; try: skein plan list");
    else
        err_set(&err, ERR_TIMEOUT,
                "it is not known whether this was recorded; a command counts once only, so look "
                "before you sign again; try: skein plan list");
    api_answer_err(c, &call->caller, &err);
}

/* A reading call is asked of the new planner too; a signed one may have been recorded already. */
static bool leader_changed(const struct api_context *c, const struct call *call)
{
    return call->stage == CALL_RELAYED && strcmp(call->call->method, "GET") == 0 &&
           c->leader[0] != '\0' && strcmp(c->leader, call->asked) != 0;
}

/* Goes on with one call; when it leaves the list, the last one takes its place. */
static void advance(struct api *api, struct api_context *c, struct call *at)
{
    msec now = c->step->now.mono;
    if (now >= at->caller.deadline) {
        struct call call = api_take_call(api, at);
        expire(c, &call);
        call_done(&call);
        return;
    }
    bool again = (at->stage == CALL_RESEND && now >= at->resend_at) || leader_changed(c, at);
    if (again) {
        struct call call = api_take_call(api, at);
        serve(api, c, &call.caller, call.call);
        call_done(&call);
    } else if (at->stage == CALL_PLANNING && api_answer_request(c, at)) {
        api_take_call(api, at);
    }
}

bool api_waits(const struct api *api)
{
    return api->n > 0;
}

void api_tick(struct api *api, struct api_context *c)
{
    /* From the end: what takes a place that became free was looked at or is new. */
    for (size_t i = api->n; i > 0; i--)
        if (i <= api->n)
            advance(api, c, &api->calls[i - 1]);
}
