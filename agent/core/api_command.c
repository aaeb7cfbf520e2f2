/* api_command.c - what people signed: verified, proposed, and answered when it was applied. */
#include <stdio.h>

#include "agent/core/api_priv.h"
#include "agent/core/plan.h"
#include "proto/canon.h"

/* What was signed: about a plan, an order of hosts, VMs or the whole, a policy, a rule, a token. */
struct signed_command {
    enum { ABOUT_PLAN, ABOUT_ORDER, ABOUT_POLICY, ABOUT_RULE, ABOUT_TOKEN } about;
    struct gate_vote vote;
    struct admin_command order;
    struct library_command policy;
    struct rulebook_command rule;
    struct tokens_command token;
};

static void signed_free(struct signed_command *w)
{
    if (w == NULL)
        return;
    library_command_done(&w->policy);
    rulebook_command_done(&w->rule);
    free(w);
}
DEFINE_CLEANUP(struct signed_command, signed_free)

static const char *person_of(const struct signed_command *w)
{
    switch (w->about) {
    case ABOUT_ORDER:
        return w->order.person;
    case ABOUT_POLICY:
        return w->policy.person;
    case ABOUT_RULE:
        return w->rule.person;
    case ABOUT_TOKEN:
        return w->token.person;
    case ABOUT_PLAN:
        break;
    }
    return w->vote.person;
}

static const char *verb_of(const struct signed_command *w, unsigned *ret_bit)
{
    switch (w->about) {
    case ABOUT_ORDER:
        *ret_bit = API_BIT(API_ORDERS, w->order.verb);
        return admin_verb_name(w->order.verb);
    case ABOUT_POLICY:
        *ret_bit = API_BIT(API_POLICIES, w->policy.verb);
        return library_verb_name(w->policy.verb);
    case ABOUT_RULE:
        *ret_bit = API_BIT(API_RULES, w->rule.verb);
        return rulebook_verb_name(w->rule.verb);
    case ABOUT_TOKEN:
        *ret_bit = API_BIT(API_TOKENS, w->token.verb);
        return tokens_verb_name(w->token.verb);
    case ABOUT_PLAN:
        break;
    }
    *ret_bit = API_BIT(API_VERBS, w->vote.verb);
    return gate_verb_name(w->vote.verb);
}

/* A refusal is part of the record, wherever it was given. */
static void audit_refusal(struct api_context *c, const struct api_request *r,
                          const struct signed_command *w, const struct err *err)
{
    const char *person = person_of(w);
    effect_audit(c->step, "approval.refused", "{s:s, s:o, s:s, s:s*}", "code", err_name(err->code),
                 "reason", api_text(err->msg), "path", r->path, "who",
                 person[0] != '\0' ? person : NULL);
}

/* The command is what this path is for. */
static int check_path(const struct api_request *r, unsigned verbs, const struct signed_command *w,
                      struct err *err)
{
    unsigned bit;
    const char *verb = verb_of(w, &bit);
    if ((verbs & bit) == 0)
        return err_set(err, ERR_INVALID, "a signed \"%s\" does not belong to %s", verb, r->path);
    if (r->id[0] != '\0' && strncmp(w->vote.plan, r->id, strlen(r->id)) != 0)
        return err_set(err, ERR_INVALID, "what was signed is about plan %s, not %s", w->vote.plan,
                       r->id);
    return 0;
}

/* Reads what the command's type says it is about. */
static int read_command(const struct trust_command *command, struct signed_command *ret,
                        struct err *err)
{
    const char *type = command_type(command);
    if (admin_is_verb(type)) {
        ret->about = ABOUT_ORDER;
        return admin_read(command, &ret->order, err);
    }
    if (library_is_verb(type)) {
        ret->about = ABOUT_POLICY;
        return library_read(command, &ret->policy, err);
    }
    if (rulebook_is_verb(type)) {
        ret->about = ABOUT_RULE;
        return rulebook_read(command, &ret->rule, err);
    }
    if (tokens_is_verb(type)) {
        ret->about = ABOUT_TOKEN;
        return tokens_read(command, &ret->token, err);
    }
    return gate_command(command, &ret->vote, err);
}

static int verify(const struct api_context *c, const struct api_request *r, unsigned verbs,
                  struct signed_command *ret, struct err *err)
{
    const struct node_conf *conf = c->step->conf;
    _cleanup_(trust_command_done) struct trust_command command = {0};
    if (r->body_len == 0)
        return err_set(err, ERR_INVALID, "the body is empty: a signed envelope is wanted");
    if (command_open(conf->trust, conf->cluster_uuid, r->body, r->body_len, c->step->now.wall,
                     &command, err) < 0)
        return -(int)err->code;
    int rc = read_command(&command, ret, err);
    return rc < 0 ? rc : check_path(r, verbs, ret, err);
}

static int check_drill(const struct api_context *c, const char *host, struct err *err)
{
    if (view_find(c->view, host) == NULL && state_power(c->state, host) == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no host \"%s\"; try: skein hosts", host);
    if (step_votes(c->step->conf, host))
        return err_set(err, ERR_CONFLICT, "%s votes: voters do not sleep", host);
    if (!duty_power_possible(c->duty, c->view))
        return err_set(err, ERR_UNAVAILABLE,
                       "not all voters are known to carry out standby and wake yet");
    return 0;
}

/* A request for a move is answered at once where it is plain that there will be no plan. */
static int check_request(const struct api_context *c, const struct gate_vote *vote, struct err *err)
{
    const struct view_host *from;
    if (vote->verb == GATE_DRILL)
        return check_drill(c, vote->to, err);
    if (vote->verb != GATE_MIGRATE)
        return 0;
    if (view_vm(c->view, vote->uuid, &from) == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s (%s) is on no host that is known; try: skein vms",
                       vote->vm[0] != '\0' ? vote->vm : "?", vote->uuid);
    if (view_find(c->view, vote->to) == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no host \"%s\"; try: skein hosts", vote->to);
    if (strcmp(from->name, vote->to) == 0)
        return err_set(err, ERR_CONFLICT, "VM %s runs on %s already",
                       vote->vm[0] != '\0' ? vote->vm : vote->uuid, vote->to);
    return 0;
}

/* The voters do not know which hosts and VMs there are: a typing error is caught here. */
static int check_order(const struct api_context *c, const struct admin_command *order,
                       struct err *err)
{
    const struct view_host *host;
    for (size_t i = 0; i < order->n_hosts; i++)
        if (view_find(c->view, order->hosts[i]) == NULL &&
            admin_host(state_admin(c->state), order->hosts[i]) == NULL)
            return err_set(err, ERR_NOT_FOUND, "there is no host \"%s\"; try: skein hosts",
                           order->hosts[i]);
    bool stops =
        strcmp(order->fallback, "shutdown") == 0 || strcmp(order->fallback, "suspend") == 0;
    if (order->verb == ADMIN_DRAIN && stops && !duty_stops_possible(c->duty, c->view))
        return err_set(err, ERR_UNAVAILABLE, "not all voters are known to carry out \"%s\" yet",
                       order->fallback);
    if (order->verb == ADMIN_HOLD && view_vm(c->view, order->uuid, &host) == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s (%s) is on no host that is known; try: skein vms",
                       order->vm[0] != '\0' ? order->vm : "?", order->uuid);
    return 0;
}

/* Likewise; and what the planner cannot read must not come in: no plan could be made. */
static int check_rule(const struct api_context *c, const struct rulebook_command *rule,
                      struct err *err)
{
    int rc = rulebook_check(rule, err);
    if (rc < 0 || rule->rule == NULL)
        return rc;
    _cleanup_json_ json_t *doc = json_loadb(rule->rule, rule->rule_len, 0, NULL);
    const struct view_host *at;
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(doc, "hosts"), i, item)
    {
        if (view_find(c->view, json_string_value(item)) == NULL)
            return err_set(err, ERR_NOT_FOUND, "there is no host \"%s\"; try: skein hosts",
                           json_string_value(item));
    }
    json_array_foreach(json_object_get(doc, "vms"), i, item)
    {
        if (view_vm(c->view, json_string_value(item), &at) == NULL)
            return err_set(err, ERR_NOT_FOUND, "VM %s is on no host that is known; try: skein vms",
                           json_string_value(item));
    }
    return 0;
}

/* A voter of an older version would refuse such a command, and the voters would disagree. */
static bool tokens_possible(const struct node_conf *conf, const struct view *view)
{
    for (size_t i = 0; i < conf->n_voters; i++) {
        const struct view_host *h = view_find(view, conf->voters[i]);
        if (h == NULL || h->capability == NULL || !h->capability->tokens)
            return false;
    }
    return true;
}

/* The issuer asks that again: here it is said before the token is given. */
static int check_token(const struct api_context *c, const struct tokens_command *token,
                       struct err *err)
{
    if (!tokens_possible(c->step->conf, c->view))
        return err_set(err, ERR_UNAVAILABLE, "not all voters are known to remember tokens yet");
    if (token->verb == TOKENS_CREATE && !token->replace &&
        (step_votes(c->step->conf, token->host) || view_find(c->view, token->host) != NULL))
        return err_set(err, ERR_CONFLICT,
                       "there is a host %s already; a token that replaces it wants --replace",
                       token->host);
    return 0;
}

/* What only an agent that sees the whole fleet can judge. */
static int check(const struct api_context *c, const struct signed_command *w, struct err *err)
{
    switch (w->about) {
    case ABOUT_PLAN:
        return check_request(c, &w->vote, err);
    case ABOUT_ORDER:
        return check_order(c, &w->order, err);
    case ABOUT_RULE:
        return check_rule(c, &w->rule, err);
    case ABOUT_TOKEN:
        return check_token(c, &w->token, err);
    case ABOUT_POLICY:
        break;
    }
    return 0;
}

static json_t *order_answer(const struct admin_command *order)
{
    json_t *hosts = json_array();
    for (size_t i = 0; i < order->n_hosts; i++)
        json_array_append_new(hosts, json_string(order->hosts[i]));
    json_t *o =
        json_pack("{s:s, s:s, s:s%, s:o}", "order", admin_verb_name(order->verb), "person",
                  order->person, "id", order->nonce, (size_t)(ADMIN_ID_SIZE - 1), "hosts", hosts);
    char until[TIME_TEXT_SIZE];
    if (order->until != 0) {
        time_format(order->until, until);
        json_object_set_new(o, "until", json_string(until));
    }
    return o;
}

static json_t *policy_answer(const struct library_command *c)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "order", library_verb_name(c->verb), "person",
                     c->person, "policy", c->policy, "digest", c->digest);
}

static json_t *rule_answer(const struct rulebook_command *c)
{
    return json_pack("{s:s, s:s, s:s}", "order", rulebook_verb_name(c->verb), "person", c->person,
                     "rule", c->name);
}

static json_t *token_answer(const struct tokens_command *c)
{
    return json_pack("{s:s, s:s, s:s}", "order", tokens_verb_name(c->verb), "person", c->person,
                     "token", c->id);
}

/* What is answered when it was applied; NULL: what became of the plan. */
static json_t *answer_of(const struct signed_command *w)
{
    switch (w->about) {
    case ABOUT_ORDER:
        return order_answer(&w->order);
    case ABOUT_POLICY:
        return policy_answer(&w->policy);
    case ABOUT_RULE:
        return rule_answer(&w->rule);
    case ABOUT_TOKEN:
        return token_answer(&w->token);
    case ABOUT_PLAN:
        break;
    }
    return NULL;
}

static void propose(struct api *api, struct api_context *c, const struct caller *caller,
                    const struct api_request *r, const struct signed_command *w)
{
    Skein__EnvelopePut put = SKEIN__ENVELOPE_PUT__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    put.has_envelope = 1;
    put.envelope = (ProtobufCBinaryData){.data = (uint8_t *)r->body, .len = r->body_len};
    entry.kind_case = SKEIN__ENTRY__KIND_ENVELOPE;
    entry.envelope = &put;
    struct call call = {.stage = CALL_PROPOSED, .caller = *caller, .answer = answer_of(w)};
    if (w->about == ABOUT_PLAN) {
        const struct gate_vote *vote = &w->vote;
        call.verb = vote->verb;
        memcpy(call.person, vote->person, sizeof call.person);
        memcpy(call.plan, vote->plan, sizeof call.plan);
        memcpy(call.nonce, vote->nonce, sizeof call.nonce);
        memcpy(call.digest, vote->envelope_digest, sizeof call.digest);
    }
    call.key = effect_propose(c->step, OWNER_API, &entry);
    api_add_call(api, &call);
}

/* Verified by the first agent, so that a mistake is told at once; again by the planner; and by
 * every voter when it is applied. */
void api_command(struct api *api, struct api_context *c, const struct caller *caller,
                 const struct api_request *r, unsigned verbs)
{
    _cleanup_(signed_freep) struct signed_command *w = xcalloc(1, sizeof *w);
    struct err err = {0};
    int rc = verify(c, r, verbs, w, &err);
    if (rc == 0 && api_leads(c))
        rc = check(c, w, &err);
    if (rc < 0) {
        audit_refusal(c, r, w, &err);
        api_answer_status(c, caller,
                          r->body_len > GATE_ENVELOPE_MAX ? 413 : api_status_of(err.code), &err);
        return;
    }
    if (!api_leads(c)) {
        if (api_hand_on(api, c, caller, r, false, &err) < 0)
            api_answer_err(c, caller, &err);
    } else if (api_can_wait(api, &err)) {
        propose(api, c, caller, r, w);
    } else {
        api_answer_err(c, caller, &err);
    }
}

/* What became of the plan that somebody signed for. */
static void answer_vote(struct api_context *c, const struct call *call)
{
    const struct plan *plan = state_plan(c->state, call->plan);
    json_t *o = json_pack("{s:s, s:s, s:s}", "plan", call->plan, "verdict",
                          gate_verb_name(call->verb), "person", call->person);
    if (plan != NULL) {
        json_object_set_new(o, "state", json_string(plan_state_name(plan->state)));
        json_object_set_new(o, "reason", json_string(plan->reason));
    }
    if (call->verb == GATE_ORDER)
        json_object_set_new(o, "order", json_string(call->digest));
    api_answer(c, &call->caller, 200, o);
}

/* True when the request has its answer, which was given. */
bool api_answer_request(struct api_context *c, const struct call *call)
{
    struct err err;
    const Skein__RequestRecord *r = state_request(c->state, call->nonce);
    if (r != NULL && r->plan == NULL && r->message == NULL)
        return false;
    if (r != NULL && r->plan != NULL) {
        const struct plan *plan = state_plan(c->state, r->plan);
        api_answer(
            c, &call->caller, 200,
            json_pack("{s:s, s:s, s:o}", "plan", r->plan, "request", call->nonce, "state",
                      plan != NULL ? json_string(plan_state_name(plan->state)) : json_null()));
        return true;
    }
    if (r == NULL) /* pushed out by newer ones */
        err_set(&err, ERR_UNKNOWN, "the request is not remembered; try: skein plan list");
    else
        err_set(&err, ERR_CONFLICT, "no plan: %s", r->message);
    api_answer_err(c, &call->caller, &err);
    return true;
}

void api_proposed(struct api *api, struct api_context *c, uint64_t token, const struct err *err)
{
    struct call *at = api_find_call(api, CALL_PROPOSED, token);
    if (at == NULL)
        return;
    if (err->code == ERR_OK && at->answer == NULL && gate_asks_for_plan(at->verb) &&
        !api_answer_request(c, at)) {
        at->stage = CALL_PLANNING;
        return;
    }
    struct call call = api_take_call(api, at);
    if (err->code != ERR_OK)
        api_answer_err(c, &call.caller, err);
    else if (call.answer != NULL)
        api_answer(c, &call.caller, 200, TAKE_PTR(call.answer));
    else if (!gate_asks_for_plan(call.verb))
        answer_vote(c, &call);
    json_decref(call.answer);
}
