/* agent_issuer.c - the door for hosts that join, and the issuer behind it. */
#include "agent/core/api.h"
#include "agent/core/state.h"
#include "agent/io/agent_priv.h"
#include "agent/io/clock.h"
#include "agent/io/http.h"
#include "agent/io/http_json.h"
#include "agent/io/issuer.h"
#include "agent/io/performer.h"
#include "agent/io/trust.h"
#include "proto/util.h"

/* An own call, as if it had come in by a door. */
static void spend(void *arg, uint64_t token, const char *body)
{
    Skein__ApiCall call = SKEIN__API_CALL__INIT;
    call.method = (char *)"POST";
    call.path = (char *)"/v1/tokens/use";
    call.has_body = 1;
    call.body = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)body, .len = strlen(body)};
    agent_step(arg, &(struct event){.kind = EVENT_API, .token = token, .call = &call});
}

static void answer(void *arg, uint64_t to, char *body, const struct err *err)
{
    struct agent *a = arg;
    _cleanup_(freep) char *text = body;
    if (text != NULL)
        http_answer(a->http, to, 200, text, strlen(text));
    else
        http_json_err(a->http, to, err, api_status_of(err->code));
}

static bool known(void *arg, const char *host)
{
    const struct agent *a = arg;
    return node_knows_host(a->node, host);
}

static const Skein__Token *remembered(void *arg, const char *hash)
{
    const struct agent *a = arg;
    return tokens_find(state_tokens(node_state(a->node)), hash);
}

static void audit(void *arg, const char *event, const json_t *fields)
{
    struct agent *a = arg;
    struct effects effects = {0};
    struct step step = {.now = agent_now(a), .conf = a->node_conf, .out = &effects};
    effect_audit(&step, event, "O", fields);
    performer_take(a->performer, step.now.wall, &effects);
}

/* An answer to one of its questions comes while effects are performed: dealt with after them. */
struct answered {
    struct agent *agent;
    uint64_t token;
    unsigned status;
    void *body; /* owned */
    size_t len;
    uv_timer_t timer;
};

static void answered_closed(uv_handle_t *handle)
{
    struct answered *d = handle->data;
    free(d->body);
    free(d);
}

static void answered_due(uv_timer_t *timer)
{
    struct answered *d = timer->data;
    if (!d->agent->stopping)
        issuer_answered(d->agent->issuer, agent_now(d->agent), d->token, d->status, d->body,
                        d->len);
    uv_close((uv_handle_t *)timer, answered_closed);
}

bool agent_issuer_answered(struct agent *a, uint64_t token, unsigned status, const void *body,
                           size_t len)
{
    if (!issuer_asked(a->issuer, token))
        return false;
    struct answered *d = xcalloc(1, sizeof *d);
    *d = (struct answered){
        .agent = a, .token = token, .status = status, .body = xmemdup(body, len), .len = len};
    uv_timer_init(&a->loop, &d->timer);
    d->timer.data = d;
    uv_timer_start(&d->timer, answered_due, 0, 0);
    return true;
}

int agent_open_issuer(struct agent *a, struct err *err)
{
    if (a->config->issuer_listen[0] == '\0')
        return 0;
    struct issuer_conf conf = {
        .config = a->config,
        .trust = a->trust,
        .arg = a,
        .spend = spend,
        .answer = answer,
        .known = known,
        .remembered = remembered,
        .audit = audit,
    };
    return issuer_open(&conf, clock_wall(), &a->issuer, err);
}

void agent_host_asks(void *arg, uint64_t token, void *session, const char *network,
                     const Skein__ApiCall *call)
{
    struct agent *a = arg;
    struct err err;
    const char *bytes = (const char *)call->body.data;
    bool join = strcmp(call->path, "/v1/join") == 0;
    if (!join && strcmp(call->path, "/v1/renew") != 0)
        err_set(&err, ERR_NOT_FOUND, "there is no %s at this door", call->path);
    else if (strcmp(call->method, "POST") != 0)
        err_set(&err, ERR_UNSUPPORTED, "%s does not go with %s; try POST", call->method,
                call->path);
    else if (a->stopping)
        err_set(&err, ERR_UNAVAILABLE, "the agent stops");
    else if (join) {
        issuer_join(a->issuer, agent_now(a), token, network, bytes, call->body.len);
        return;
    } else {
        issuer_renew(a->issuer, agent_now(a), token, session, network, bytes, call->body.len);
        return;
    }
    answer(a, token, NULL, &err);
}
