#include "agent/core/gate.h"

#include <stdio.h>

#include "proto/canon.h"

static const struct command_verb verbs[] = {
    [GATE_APPROVE] = {"approve", TRUST_APPROVER | TRUST_ADMIN},
    [GATE_REJECT] = {"reject", TRUST_APPROVER | TRUST_ADMIN},
    [GATE_CANCEL] = {"cancel", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN},
    [GATE_MIGRATE] = {"migrate", TRUST_OPERATOR | TRUST_ADMIN},
    [GATE_ORDER] = {"order", TRUST_ADMIN},
    [GATE_ORDER_REMOVE] = {"order-remove", TRUST_APPROVER | TRUST_ADMIN},
    [GATE_PAUSE] = {"pause", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN},
    [GATE_RESUME] = {"resume", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN},
    [GATE_ROLLBACK] = {"rollback", TRUST_OPERATOR | TRUST_ADMIN},
    [GATE_DRILL] = {"drill", TRUST_OPERATOR | TRUST_ADMIN},
};

const char *gate_verb_name(enum gate_verb v)
{
    REQUIRE((size_t)v < ARRAY_SIZE(verbs));
    return verbs[v].name;
}

static int read_verb(const json_t *command, struct gate_vote *v, struct err *err)
{
    const char *type = json_string_value(json_object_get(command, "type"));
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), type);
    if (verb < 0)
        return err_set(err, ERR_UNSUPPORTED, "command: \"%s\" is unknown to this version", type);
    v->verb = (enum gate_verb)verb;
    return 0;
}

/* How it is to be moved: checked here, so that nothing illegal enters the state. */
static int read_how(const json_t *command, struct gate_vote *v, struct err *err)
{
    const json_t *parameters = json_object_get(command, "parameters");
    struct migration_choice how = {0};
    if (parameters == NULL)
        return 0;
    if (!json_is_object(parameters))
        return err_set(err, ERR_INVALID, "command: \"parameters\" is not an object");
    if (migration_read(parameters, "parameters", &how, err) < 0)
        return -(int)err->code;
    _cleanup_(freep) char *text = json_dumps(parameters, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL || strlen(text) >= sizeof v->parameters)
        return err_set(err, ERR_LIMIT, "command: \"parameters\" are too long");
    snprintf(v->parameters, sizeof v->parameters, "%s", text);
    return 0;
}

static int read_request(const json_t *command, struct gate_vote *v, struct err *err)
{
    if (command_text(command, "vm", false, v->vm, sizeof v->vm, err) < 0 ||
        command_text(command, "uuid", true, v->uuid, sizeof v->uuid, err) < 0 ||
        command_text(command, "to", true, v->to, sizeof v->to, err) < 0)
        return -(int)err->code;
    if (!uuid_is_valid(v->uuid))
        return err_set(err, ERR_INVALID, "command: \"uuid\" is not a UUID");
    return read_how(command, v, err);
}

static int read_command(const json_t *command, struct gate_vote *v, struct err *err)
{
    if (read_verb(command, v, err) < 0 ||
        command_text(command, "reason", false, v->reason, sizeof v->reason, err) < 0)
        return -(int)err->code;
    if (v->verb == GATE_MIGRATE)
        return read_request(command, v, err);
    if (v->verb == GATE_DRILL)
        return command_text(command, "host", true, v->to, sizeof v->to, err);
    if (v->verb == GATE_ORDER)
        return order_read(command, &v->order, err);
    if (v->verb == GATE_ORDER_REMOVE)
        return command_text(command, "order", true, v->digest, sizeof v->digest, err);
    v->rollback = json_is_true(json_object_get(command, "rollback"));
    if (command_text(command, "ticket", false, v->ticket, sizeof v->ticket, err) < 0)
        return -(int)err->code;
    if (command_text(command, "plan", true, v->plan, sizeof v->plan, err) < 0 ||
        command_text(command, "digest", true, v->digest, sizeof v->digest, err) < 0)
        return -(int)err->code;
    return 0;
}

int gate_command(const struct trust_command *c, struct gate_vote *ret, struct err *err)
{
    struct gate_vote v = {
        .roles = c->roles, .issued_at = c->issued_at, .expires_at = c->expires_at};
    memcpy(v.person, c->person, sizeof v.person);
    memcpy(v.key, c->key, sizeof v.key);
    memcpy(v.nonce, c->nonce, sizeof v.nonce);
    memcpy(v.envelope_digest, c->digest, sizeof v.envelope_digest);
    if (read_command(c->command, &v, err) < 0)
        return -(int)err->code;
    if ((v.roles & verbs[v.verb].roles) == 0)
        return err_set(err, ERR_DENIED, "%s has no role that may %s", v.person, verbs[v.verb].name);
    *ret = v;
    return 0;
}

int gate_read(const struct trust *trust, const char *cluster_uuid, const uint8_t *envelope,
              size_t len, msec wall, struct gate_vote *ret, struct err *err)
{
    _cleanup_(trust_command_done) struct trust_command c = {0};
    if (command_open(trust, cluster_uuid, envelope, len, wall, &c, err) < 0)
        return -(int)err->code;
    return gate_command(&c, ret, err);
}

static bool same_person(const struct gate_vote *a, const struct gate_vote *b)
{
    return strcmp(a->person, b->person) == 0 || strcmp(a->key, b->key) == 0;
}

/* Who said how is the author of nothing else. */
static bool same_how(const struct gate_vote *v, const struct migration_choice *how)
{
    struct migration_choice asked = {0};
    struct err err;
    if (v->parameters[0] == '\0')
        return true;
    _cleanup_json_ json_t *parameters = json_loads(v->parameters, JSON_REJECT_DUPLICATES, NULL);
    return parameters != NULL && migration_read(parameters, "parameters", &asked, &err) == 0 &&
           asked.mode == how->mode && asked.storage == how->storage &&
           asked.auto_converge == how->auto_converge && asked.xbzrle == how->xbzrle &&
           asked.parallel == how->parallel && strcmp(asked.disks, how->disks) == 0;
}

bool gate_is_drill(const struct plan_body *body, const char *host)
{
    bool only = strcmp(body->class, "drill") == 0;
    for (size_t i = 0; i < body->n_moves; i++)
        only = only && plan_move_is_power(&body->moves[i]) && strcmp(body->moves[i].to, host) == 0;
    return only && body->moves[body->n_moves - 1].type == PLAN_WAKE;
}

static bool counts(const struct gate_vote *v, const struct plan_body *body, msec wall)
{
    if (wall >= v->expires_at || (v->roles & verbs[v->verb].roles) == 0)
        return false;
    if (v->verb == GATE_MIGRATE)
        return body->n_moves == 1 && strcmp(v->uuid, body->moves[0].uuid) == 0 &&
               strcmp(v->to, body->moves[0].to) == 0 && same_how(v, &body->moves[0].how);
    struct err why;
    if (v->verb == GATE_ORDER)
        return order_covers(&v->order, body, wall, &why) == 0;
    if (v->verb == GATE_DRILL)
        return gate_is_drill(body, v->to);
    if (v->verb == GATE_ROLLBACK) /* that it names the moves is seen to elsewhere */
        return strcmp(body->class, "rollback") == 0;
    return strcmp(v->digest, body->digest) == 0 && strcmp(v->plan, body->id) == 0;
}

bool gate_asks_for_plan(enum gate_verb verb)
{
    return verb == GATE_MIGRATE || verb == GATE_ROLLBACK || verb == GATE_DRILL;
}

/* Who asked for a plan of class "user", "rollback" or "drill"; NULL when nobody did. */
static const struct gate_vote *find_author(const struct plan_body *body,
                                           const struct gate_vote *votes, size_t n, msec wall)
{
    for (size_t i = 0; i < n; i++)
        if (gate_asks_for_plan(votes[i].verb) && counts(&votes[i], body, wall))
            return &votes[i];
    return NULL;
}

/* An approval of the plan that is rolled back, which said that rolling it back is included. */
static bool includes_rollback(const struct gate_vote *v, const struct gate_vote *author, msec wall)
{
    return author != NULL && author->verb == GATE_ROLLBACK && v->verb == GATE_APPROVE &&
           v->rollback && wall < v->expires_at && (v->roles & verbs[v->verb].roles) != 0 &&
           strcmp(v->plan, author->plan) == 0 && strcmp(v->digest, author->digest) == 0;
}

/* The approvals that count, each person once, and the standing order that does. */
struct ballots {
    const struct gate_vote *yes[GATE_VOTES_MAX], *order;
    size_t n;
};

static void add_approval(struct ballots *b, const struct gate_vote *v)
{
    for (size_t i = 0; i < b->n; i++)
        if (same_person(b->yes[i], v))
            return;
    b->yes[b->n++] = v;
}

/* An order approves alone; of several, the one that lasts longest is charged. */
static void add_order(struct ballots *b, const struct gate_vote *v)
{
    if (b->order == NULL || v->expires_at > b->order->expires_at)
        b->order = v;
}

/* Why the first order among the votes does not cover the plan, where there is one. */
static int why_not_ordered(const struct plan_body *body, const struct gate_vote *votes, size_t n,
                           msec wall, struct err *err)
{
    struct err why;
    for (size_t i = 0; i < n; i++)
        if (votes[i].verb == GATE_ORDER && wall < votes[i].expires_at &&
            order_covers(&votes[i].order, body, wall, &why) < 0)
            return err_set(err, ERR_DENIED, "plan %s: %s", body->id, why.msg);
    return 0;
}

/* ---- rules ---- */

/* What every plan needs. */
static const struct gate_rule everyones = {.approvers = 1, .orders = true};

static bool names_a_host(const struct gate_rule *rule, const struct plan_body *body)
{
    for (size_t i = 0; i < body->n_moves; i++)
        if (gate_rule_names_host(rule, body->moves[i].from) ||
            gate_rule_names_host(rule, body->moves[i].to))
            return true;
    return false;
}

static bool has_tag(const Skein__VmDetail *vm, const struct gate_tag *tag)
{
    for (size_t i = 0; i < vm->n_tags; i++)
        if (vm->tags[i]->key != NULL && vm->tags[i]->value != NULL &&
            strcmp(vm->tags[i]->key, tag->key) == 0 && strcmp(vm->tags[i]->value, tag->value) == 0)
            return true;
    return false;
}

bool gate_rule_tags(const struct gate_rule *rule, const Skein__VmDetail *vm)
{
    for (size_t i = 0; i < rule->n_tags; i++)
        if (!has_tag(vm, &rule->tags[i]))
            return false;
    return true;
}

static bool brings_tags(const struct gate_rule *rule, const struct gate_facts *facts)
{
    if (rule->n_tags == 0)
        return true;
    if (facts == NULL)
        return false;
    for (size_t i = 0; i < facts->n_rules; i++)
        if (strcmp(facts->rules[i], rule->name) == 0)
            return true;
    return facts->vm != NULL && gate_rule_tags(rule, facts->vm);
}

bool gate_rule_concerns(const struct gate_rule *rule, const struct plan_body *body,
                        const struct gate_facts *facts)
{
    return gate_rule_names_class(rule, body->class) && body->n_moves >= rule->min_actions &&
           names_a_host(rule, body) && brings_tags(rule, facts);
}

static bool is_yes(const struct gate_rule *rule, const struct gate_vote *v)
{
    return gate_rule_names_person(rule, v->person) && gate_rule_takes_ticket(rule, v->ticket);
}

static unsigned count_yes(const struct gate_rule *rule, const struct ballots *b)
{
    unsigned n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += is_yes(rule, b->yes[i]);
    return n;
}

/* Until when so many of them hold: the rule's approvers'th latest end. */
static msec holds_until(const struct gate_rule *rule, const struct ballots *b)
{
    msec until = 0;
    for (size_t i = 0; i < b->n; i++) {
        unsigned longer = 0;
        for (size_t k = 0; k < b->n; k++)
            longer += is_yes(rule, b->yes[k]) && b->yes[k]->expires_at >= b->yes[i]->expires_at;
        if (is_yes(rule, b->yes[i]) && longer >= rule->approvers)
            until = MAX(until, b->yes[i]->expires_at);
    }
    return until;
}

static int not_met(const struct gate_rule *rule, const struct plan_body *body, unsigned n,
                   struct err *err)
{
    if (rule->name == NULL)
        return err_set(err, ERR_DENIED, "plan %s: %u of %u approvals", body->id, n,
                       rule->approvers);
    return err_set(
        err, ERR_DENIED, "plan %s: %u of %u approvals that gate rule %s counts%s%s%s", body->id, n,
        rule->approvers, rule->name, rule->ticket != NULL ? "; each names a ticket like " : "",
        rule->ticket != NULL ? rule->ticket : "", rule->orders ? "" : "; no standing order does");
}

/* One rule's demand: by people, or by the order where it allows that. */
static int judge_rule(const struct gate_rule *rule, const struct plan_body *body,
                      const struct ballots *b, struct gate_verdict *ret, struct err *err)
{
    unsigned n = count_yes(rule, b);
    if (rule->approvers >= ret->needed) {
        ret->needed = rule->approvers;
        ret->approvals = n;
    }
    if (n >= rule->approvers) {
        ret->open_until = MIN(ret->open_until, holds_until(rule, b));
        return 0;
    }
    if (!rule->orders || b->order == NULL)
        return not_met(rule, body, n, err);
    memcpy(ret->order, b->order->envelope_digest, sizeof ret->order);
    memcpy(ret->order_name, b->order->order.name, sizeof ret->order_name);
    ret->order_moves_per_hour = b->order->order.moves_per_hour;
    ret->open_until = MIN(ret->open_until, b->order->expires_at);
    return 0;
}

static int judge_rules(const struct gate_rules *rules, const struct gate_facts *facts,
                       const struct plan_body *body, const struct ballots *b,
                       struct gate_verdict *ret, struct err *err)
{
    struct err later;
    int rc = judge_rule(&everyones, body, b, ret, err);
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        if (gate_rule_concerns(&rules->rules[i], body, facts) &&
            judge_rule(&rules->rules[i], body, b, ret, rc < 0 ? &later : err) < 0)
            rc = -(int)ERR_DENIED;
    return rc;
}

static void name_approvers(const struct ballots *b, struct gate_verdict *ret)
{
    for (size_t i = 0; i < b->n; i++) {
        size_t used = strlen(ret->approvers);
        snprintf(ret->approvers + used, sizeof ret->approvers - used, "%s%s", used > 0 ? ", " : "",
                 b->yes[i]->person);
        ret->rollback = ret->rollback || b->yes[i]->rollback;
    }
    ret->rollback = ret->rollback || (b->order != NULL && b->order->order.rollback);
}

int gate_judge(const struct gate_rules *rules, const struct gate_facts *facts,
               const struct plan_body *body, const struct gate_vote *votes, size_t n, msec wall,
               struct gate_verdict *ret, struct err *err)
{
    *ret = (struct gate_verdict){.needed = 1, .open_until = INT64_MAX};
    const struct gate_vote *no = NULL;
    struct ballots ballots = {.n = 0};
    bool user = plan_class_is_asked_for(body->class);
    const struct gate_vote *author = user ? find_author(body, votes, n, wall) : NULL;
    if (author != NULL)
        memcpy(ret->author, author->person, sizeof ret->author);
    for (size_t i = 0; i < n; i++) {
        const struct gate_vote *v = &votes[i];
        if (includes_rollback(v, author, wall))
            add_approval(&ballots, v);
        if (!counts(v, body, wall))
            continue;
        ret->rejected = ret->rejected || v->verb == GATE_REJECT;
        ret->cancelled = ret->cancelled || v->verb == GATE_CANCEL;
        if (v->verb == GATE_REJECT || v->verb == GATE_CANCEL)
            no = v;
        else if (v->verb == GATE_ORDER && !user)
            add_order(&ballots, v);
        else if (v->verb == GATE_APPROVE && (author == NULL || !same_person(v, author)))
            add_approval(&ballots, v);
    }
    name_approvers(&ballots, ret);
    if (no != NULL)
        return err_set(err, ERR_DENIED, "plan %s: %s by %s%s%s", body->id,
                       no->verb == GATE_REJECT ? "rejected" : "cancelled", no->person,
                       no->reason[0] != '\0' ? ": " : "", no->reason);
    if (user && author == NULL)
        return err_set(err, ERR_DENIED,
                       "plan %s: of class %s, but without a valid request for its moves", body->id,
                       body->class);
    if (judge_rules(rules, facts, body, &ballots, ret, err) < 0) {
        ret->open_until = 0;
        return ballots.n == 0 && ballots.order == NULL &&
                       why_not_ordered(body, votes, n, wall, err) < 0
                   ? -(int)err->code
                   : -(int)ERR_DENIED;
    }
    if (author != NULL)
        ret->open_until = MIN(ret->open_until, author->expires_at);
    ret->open = true;
    return 0;
}

int gate_when(const struct gate_rules *rules, const struct gate_facts *facts,
              const struct plan_body *body, bool begun, msec wall, struct err *err)
{
    for (size_t i = 0; rules != NULL && i < rules->n; i++) {
        const struct gate_rule *r = &rules->rules[i];
        if (gate_rule_concerns(r, body, facts) && !gate_rule_open(r, begun, wall))
            return err_set(err, ERR_UNAVAILABLE, "plan %s: gate rule %s is outside its windows",
                           body->id, r->name);
    }
    return 0;
}

/* {"moves": [{"uuid", "to"}]} of a signed rollback: is this one among them? */
static bool names_move(const json_t *command, const struct plan_move *m)
{
    size_t i;
    const json_t *move;
    json_array_foreach(json_object_get(command, "moves"), i, move)
    {
        const char *uuid = json_string_value(json_object_get(move, "uuid"));
        const char *to = json_string_value(json_object_get(move, "to"));
        if (uuid != NULL && to != NULL && strcmp(uuid, m->uuid) == 0 && strcmp(to, m->to) == 0)
            return true;
    }
    return false;
}

int gate_rollback_names(const struct trust *trust, const char *cluster_uuid,
                        const struct plan_body *body, const ProtobufCBinaryData *approvals,
                        size_t n, msec wall, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_(trust_command_done) struct trust_command c = {0};
        struct gate_vote v;
        if (command_open(trust, cluster_uuid, approvals[i].data, approvals[i].len, wall, &c, err) <
                0 ||
            gate_command(&c, &v, err) < 0 || v.verb != GATE_ROLLBACK)
            continue;
        size_t named = 0;
        while (named < body->n_moves && names_move(c.command, &body->moves[named]))
            named++;
        if (named == body->n_moves)
            return 0;
    }
    return err_set(err, ERR_DENIED, "plan %s: no signed rollback names all of its moves", body->id);
}

int gate_check(const struct trust *trust, const char *cluster_uuid, const uint8_t *body,
               size_t body_len, const ProtobufCBinaryData *approvals, size_t n,
               const struct gate_facts *facts, msec wall, char ret_digest[HASH_HEX_SIZE],
               struct gate_verdict *ret, struct err *err)
{
    *ret = (struct gate_verdict){.needed = 1};
    ret_digest[0] = '\0';
    _cleanup_(plan_body_freep) struct plan_body *b = NULL;
    if (plan_body_parse(body, body_len, &b, err) < 0)
        return -(int)err->code;
    memcpy(ret_digest, b->digest, HASH_HEX_SIZE);
    if (n > GATE_VOTES_MAX)
        return err_set(err, ERR_LIMIT, "plan %s: more than %d signed commands", b->id,
                       GATE_VOTES_MAX);
    struct gate_vote votes[GATE_VOTES_MAX];
    struct err first = {0}, why = {0};
    size_t n_votes = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = gate_read(trust, cluster_uuid, approvals[i].data, approvals[i].len, wall,
                           &votes[n_votes], &why);
        if (rc == 0)
            n_votes++;
        else if (first.code == ERR_OK)
            first = why;
    }
    if (gate_judge(trust_gates(trust), facts, b, votes, n_votes, wall, ret, &why) == 0) {
        if (strcmp(b->class, "rollback") != 0)
            return 0;
        ret->open = gate_rollback_names(trust, cluster_uuid, b, approvals, n, wall, &why) == 0;
        if (ret->open)
            return 0;
    }
    if (first.code != ERR_OK && !ret->rejected && !ret->cancelled)
        return err_set(err, ERR_DENIED, "%s; %s", why.msg, first.msg);
    return err_set(err, why.code, "%s", why.msg);
}
