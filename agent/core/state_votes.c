/* state_votes.c - people's commands: verified, counted, never taken twice. */
#include "agent/core/state_priv.h"

/* ---- votes ---- */

Skein__Vote *state_vote_record(const struct gate_vote *v, const ProtobufCBinaryData *envelope,
                               msec at)
{
    Skein__Vote r = SKEIN__VOTE__INIT;
    r.has_envelope = r.has_roles = r.has_at_ms = r.has_expires_at_ms = r.has_rollback = 1;
    r.envelope = *envelope;
    r.verdict = (char *)gate_verb_name(v->verb);
    r.person = (char *)v->person;
    r.roles = v->roles;
    r.key = (char *)v->key;
    r.at_ms = (uint64_t)at;
    r.expires_at_ms = (uint64_t)v->expires_at;
    r.reason = (char *)v->reason;
    r.rollback = v->rollback;
    r.ticket = v->ticket[0] != '\0' ? (char *)v->ticket : NULL;
    if (v->verb == GATE_ROLLBACK) {
        r.plan = (char *)v->plan;
        r.digest = (char *)v->digest;
    }
    return (Skein__Vote *)codec_copy(&r.base);
}

/* What a plan's votes said when they were verified. */
static size_t read_votes(const struct plan *p, struct gate_vote votes[GATE_VOTES_MAX])
{
    for (size_t i = 0; i < p->n_votes; i++) {
        const Skein__Vote *r = p->votes[i];
        struct gate_vote v = {.roles = r->roles, .expires_at = (msec)r->expires_at_ms};
        for (int verb = GATE_APPROVE; verb <= GATE_DRILL; verb++)
            if (strcmp(r->verdict, gate_verb_name((enum gate_verb)verb)) == 0)
                v.verb = (enum gate_verb)verb;
        v.rollback = r->rollback != 0;
        set_text(v.person, sizeof v.person, r->person);
        set_text(v.key, sizeof v.key, r->key);
        /* The request for a rollback and what it stands on are about the plan rolled back. */
        bool other = r->plan != NULL && r->digest != NULL;
        set_text(v.plan, sizeof v.plan, other ? r->plan : p->body->id);
        set_text(v.digest, sizeof v.digest, other ? r->digest : p->body->digest);
        set_text(v.uuid, sizeof v.uuid, p->body->moves[0].uuid);
        set_text(v.to, sizeof v.to, p->body->moves[0].to);
        set_text(v.reason, sizeof v.reason, r->reason);
        set_text(v.ticket, sizeof v.ticket, r->ticket);
        struct err err;
        if (v.verb == GATE_ORDER) {
            set_text(v.envelope_digest, sizeof v.envelope_digest, r->key);
            if (state_read_order(r, &v.order, &err) < 0)
                v.expires_at = 0; /* it was read before it came in: counts for nothing */
        }
        votes[i] = v;
    }
    return p->n_votes;
}

const struct gate_rules *state_gates(const struct state *st)
{
    const struct trust *trust;
    struct err err;
    return state_trust(st, &trust, &err) < 0 ? NULL : trust_gates(trust);
}

struct gate_facts state_gate_facts(const struct plan *p)
{
    return (struct gate_facts){.rules = p->put->gates, .n_rules = p->put->n_gates};
}

int state_gate(const struct state *st, const struct plan *p, msec wall, struct gate_verdict *ret,
               struct err *err)
{
    struct gate_vote votes[GATE_VOTES_MAX];
    struct gate_facts facts = state_gate_facts(p);
    size_t n = read_votes(p, votes);
    return gate_judge(state_gates(st), &facts, p->body, votes, n, wall, ret, err);
}

/* When the last of what opens its gate came. */
static msec approved_at(const struct plan *p)
{
    msec at = 0;
    for (size_t i = 0; i < p->n_votes; i++)
        at = MAX(at, (msec)p->votes[i]->at_ms);
    return at;
}

static int check_notice(const struct gate_rule *r, const struct plan *p, msec wall, struct err *err)
{
    msec until = sat_add(approved_at(p), r->notice);
    if (r->notice == 0 || wall >= until)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "gate rule %s: %lld s are left of the notice", r->name,
                   (long long)((until - wall + 999) / 1000));
}

int state_gate_when(const struct state *st, const struct plan *p, msec wall, struct err *err)
{
    const struct gate_rules *rules = state_gates(st);
    struct gate_facts facts = state_gate_facts(p);
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        if (gate_rule_concerns(&rules->rules[i], p->body, &facts) &&
            check_notice(&rules->rules[i], p, wall, err) < 0)
            return -(int)err->code;
    return gate_when(rules, &facts, p->body, plan_state_running(p->state), wall, err);
}

/* May this action begin, by one rule's canary? */
static int check_canary(const struct gate_rule *r, const struct plan *p, const struct plan_item *i,
                        msec wall, struct err *err)
{
    size_t at = (size_t)(i - p->items);
    msec ended = 0;
    for (size_t k = 0; at >= r->canary && k < r->canary; k++) {
        const struct plan_item *o = &p->items[k];
        Skein__ActionState s = plan_item_state(o);
        if (!plan_action_ended(s))
            return err_set(err, ERR_UNAVAILABLE, "gate rule %s: %s goes first", r->name,
                           o->move->vm);
        if (s != SKEIN__ACTION_STATE__ACTION_SUCCEEDED && s != SKEIN__ACTION_STATE__ACTION_SKIPPED)
            return err_set(err, ERR_CANCELLED, "gate rule %s: %s, which went first, %s", r->name,
                           o->move->vm, plan_action_name(s));
        ended = MAX(ended, (msec)o->report->ended_at_ms);
    }
    if (wall < sat_add(ended, r->soak) && ended > 0)
        return err_set(err, ERR_UNAVAILABLE, "gate rule %s: %lld s are left of its rest", r->name,
                       (long long)((ended + r->soak - wall + 999) / 1000));
    return 0;
}

int state_gate_canary(const struct state *st, const struct plan *p, const struct plan_item *i,
                      msec wall, struct err *err)
{
    const struct gate_rules *rules = state_gates(st);
    struct gate_facts facts = state_gate_facts(p);
    for (size_t k = 0; rules != NULL && k < rules->n; k++)
        if (rules->rules[k].canary > 0 && gate_rule_concerns(&rules->rules[k], p->body, &facts) &&
            check_canary(&rules->rules[k], p, i, wall, err) < 0)
            return -(int)err->code;
    return 0;
}

int state_judge(const struct state *st, const struct plan *p, msec at, struct err *err)
{
    struct gate_verdict verdict;
    return state_gate(st, p, at, &verdict, err);
}

void state_add_vote(struct plan *p, Skein__Vote *vote)
{
    ARRAY_RESERVE(p->votes, p->cap_votes, p->n_votes + 1);
    p->votes[p->n_votes++] = vote;
}

/* ---- people's commands ---- */

/* Later than this after its expiry no proposer's clock accepts an envelope any more. */
#define USED_SLACK_MS (5 * 60000)

static void forget_used(struct state *st)
{
    size_t kept = 0;
    for (size_t i = 0; i < st->n_used; i++) {
        Skein__UsedCommand *u = st->used[i];
        if (sat_add((msec)u->expires_at_ms, USED_SLACK_MS) > st->last.at)
            st->used[kept++] = u;
        else
            skein__used_command__free_unpacked(u, NULL);
    }
    st->n_used = kept;
}

static int check_unused(const struct state *st, const struct trust_command *c, struct err *err)
{
    for (size_t i = 0; i < st->n_used; i++)
        if (strcmp(st->used[i]->digest, c->digest) == 0)
            return err_set(err, ERR_EXISTS, "this command of %s was given before", c->person);
    if (st->n_used >= STATE_USED_MAX)
        return err_set(err, ERR_LIMIT, "too many commands that have not expired");
    return 0;
}

static void remember_used(struct state *st, const struct trust_command *c)
{
    Skein__UsedCommand u = SKEIN__USED_COMMAND__INIT;
    u.digest = (char *)c->digest;
    u.has_expires_at_ms = 1;
    u.expires_at_ms = (uint64_t)c->expires_at;
    ARRAY_RESERVE(st->used, st->cap_used, st->n_used + 1);
    st->used[st->n_used++] = (Skein__UsedCommand *)codec_copy(&u.base);
}

static int make_room_for_request(struct state *st, struct err *err)
{
    if (st->n_requests < STATE_REQUESTS_MAX)
        return 0;
    for (size_t i = 0; i < st->n_requests; i++) {
        if (state_request_open(st->requests[i]))
            continue;
        skein__request_record__free_unpacked(st->requests[i], NULL);
        memmove(&st->requests[i], &st->requests[i + 1],
                (--st->n_requests - i) * sizeof *st->requests);
        return 0;
    }
    return err_set(err, ERR_LIMIT, "%d requests wait already", STATE_REQUESTS_MAX);
}

/* What has ended, and moved something, may be put back; once. */
static int check_rollback(const struct state *st, const struct gate_vote *v, struct err *err)
{
    struct plan *p;
    if (state_need_plan(st, v->plan, &p, err) < 0)
        return -(int)err->code;
    if (strcmp(v->digest, p->body->digest) != 0)
        return err_set(err, ERR_DENIED, "plan %s: what %s signed has another digest", p->body->id,
                       v->person);
    if (!plan_state_ended(p->state))
        return err_set(err, ERR_CONFLICT, "plan %s is %s; try: skein plan cancel %s", p->body->id,
                       plan_state_name(p->state), p->body->id);
    if (plan_count(p, SKEIN__ACTION_STATE__ACTION_SUCCEEDED) == 0)
        return err_set(err, ERR_CONFLICT, "plan %s has moved nothing", p->body->id);
    return 0;
}

static int apply_request(struct state *st, const struct gate_vote *v,
                         const ProtobufCBinaryData *envelope, struct err *err)
{
    if (v->verb == GATE_ROLLBACK && check_rollback(st, v, err) < 0)
        return -(int)err->code;
    if (state_find_request(st, v->nonce) != NULL)
        return err_set(err, ERR_EXISTS, "this request was made before");
    if (make_room_for_request(st, err) < 0)
        return -(int)err->code;
    Skein__RequestRecord r = SKEIN__REQUEST_RECORD__INIT;
    r.nonce = (char *)v->nonce;
    r.vote = state_vote_record(v, envelope, st->last.at);
    r.vm = (char *)v->vm;
    r.uuid = (char *)v->uuid;
    r.to = (char *)v->to;
    r.parameters = v->parameters[0] != '\0' ? (char *)v->parameters : NULL;
    r.rolls_back = v->verb == GATE_ROLLBACK ? (char *)v->plan : NULL;
    r.has_drill = r.drill = v->verb == GATE_DRILL;
    ARRAY_RESERVE(st->requests, st->cap_requests, st->n_requests + 1);
    st->requests[st->n_requests++] = (Skein__RequestRecord *)codec_copy(&r.base);
    skein__vote__free_unpacked(r.vote, NULL);
    st->last.kind = STATE_COMMAND;
    set_text(st->last.request, sizeof st->last.request, v->nonce);
    return 0;
}

/* Does this verb make sense in the plan's state? Cancelling does in every one. */
static bool vote_in_time(const struct plan *p, enum gate_verb verb)
{
    bool waits = p->state == SKEIN__PLAN_STATE__PLAN_RECOMMENDED ||
                 p->state == SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL;
    switch (verb) {
    case GATE_APPROVE:
        return waits;
    case GATE_REJECT:
        return waits || p->state == SKEIN__PLAN_STATE__PLAN_APPROVED;
    case GATE_CANCEL:
        return !plan_state_ended(p->state) && p->state != SKEIN__PLAN_STATE__PLAN_CANCELLING;
    case GATE_PAUSE:
        return p->state == SKEIN__PLAN_STATE__PLAN_ONGOING;
    case GATE_RESUME:
        return p->state == SKEIN__PLAN_STATE__PLAN_PAUSED;
    case GATE_MIGRATE:
    case GATE_ORDER:
    case GATE_ORDER_REMOVE:
    case GATE_ROLLBACK:
    case GATE_DRILL:
        break;
    }
    return false;
}

/* May this person say this of this plan now? */
static int check_vote(const struct plan *p, const struct gate_vote *v, struct err *err)
{
    if (strcmp(v->digest, p->body->digest) != 0)
        return err_set(err, ERR_DENIED, "plan %s: what %s signed has another digest", p->body->id,
                       v->person);
    if (!vote_in_time(p, v->verb))
        return err_set(err, ERR_STALE, "plan %s is %s: too %s to %s it", p->body->id,
                       plan_state_name(p->state),
                       v->verb == GATE_PAUSE && !plan_state_ended(p->state) ? "early" : "late",
                       gate_verb_name(v->verb));
    for (size_t i = 0; v->verb == GATE_APPROVE && i < p->n_votes; i++) {
        const Skein__Vote *o = p->votes[i];
        bool same = strcmp(o->person, v->person) == 0 || strcmp(o->key, v->key) == 0;
        bool asked = strcmp(o->verdict, gate_verb_name(GATE_MIGRATE)) == 0 ||
                     strcmp(o->verdict, gate_verb_name(GATE_ROLLBACK)) == 0 ||
                     strcmp(o->verdict, gate_verb_name(GATE_DRILL)) == 0;
        if (same && asked)
            return err_set(err, ERR_DENIED, "plan %s: %s asked for it and does not approve it",
                           p->body->id, v->person);
        if (same)
            return err_set(err, ERR_EXISTS, "plan %s: %s has approved it", p->body->id, v->person);
    }
    return 0;
}

static Skein__PlanState after_vote(const struct state *st, const struct plan *p,
                                   enum gate_verb verb)
{
    struct err why;
    if (verb == GATE_PAUSE)
        return SKEIN__PLAN_STATE__PLAN_PAUSED;
    if (verb == GATE_RESUME)
        return SKEIN__PLAN_STATE__PLAN_ONGOING;
    if (verb == GATE_REJECT)
        return SKEIN__PLAN_STATE__PLAN_REJECTED;
    if (verb == GATE_CANCEL)
        return plan_state_running(p->state) ? SKEIN__PLAN_STATE__PLAN_CANCELLING
                                            : SKEIN__PLAN_STATE__PLAN_CANCELLED;
    return state_judge(st, p, st->last.at, &why) == 0 ? SKEIN__PLAN_STATE__PLAN_APPROVED : p->state;
}

static int apply_vote(struct state *st, const struct gate_vote *v,
                      const ProtobufCBinaryData *envelope, struct err *err)
{
    struct plan *p;
    if (state_need_plan(st, v->plan, &p, err) < 0 || check_vote(p, v, err) < 0)
        return -(int)err->code;
    /* The last place is kept for a no. Pausing and resuming may be done often: the plan's state is
     * all that is kept of them. */
    bool kept = v->verb != GATE_PAUSE && v->verb != GATE_RESUME;
    size_t limit = v->verb == GATE_APPROVE ? GATE_VOTES_MAX - 1 : GATE_VOTES_MAX;
    if (kept && p->n_votes >= limit)
        return err_set(err, ERR_LIMIT, "plan %s carries too many commands", p->body->id);
    if (kept)
        state_add_vote(p, state_vote_record(v, envelope, st->last.at));
    set_text(st->last.reason, sizeof st->last.reason, v->reason);
    st->last.kind = STATE_APPROVAL;
    st->last.verb = v->verb;
    st->last.from = st->last.to = p->state;
    Skein__PlanState to = after_vote(st, p, v->verb);
    if (to != p->state) {
        _cleanup_(freep) char *reason =
            xasprintf("%s by %s%s%s", v->verb == GATE_RESUME ? "resumed" : plan_state_name(to),
                      v->person, v->reason[0] != '\0' ? ": " : "", v->reason);
        state_set(st, p, to, reason);
    }
    return 0;
}

static int apply_plan_command(struct state *st, const struct trust_command *c,
                              const ProtobufCBinaryData *envelope, struct err *err)
{
    struct gate_vote v;
    if (gate_command(c, &v, err) < 0)
        return -(int)err->code;
    set_text(st->last.plan, sizeof st->last.plan, v.plan);
    if (check_unused(st, c, err) < 0)
        return -(int)err->code;
    if (v.verb == GATE_ORDER)
        return state_apply_order(st, &v, c->command, envelope, err);
    if (v.verb == GATE_ORDER_REMOVE)
        return state_apply_order_remove(st, &v, err);
    bool request = v.verb == GATE_MIGRATE || v.verb == GATE_ROLLBACK || v.verb == GATE_DRILL;
    return request ? apply_request(st, &v, envelope, err) : apply_vote(st, &v, envelope, err);
}

/* What it is about, for the audit. */
static void describe(const struct admin_command *c, char *ret, size_t size)
{
    struct buf text = {0};
    char until[TIME_TEXT_SIZE];
    for (size_t i = 0; i < c->n_hosts; i++)
        buf_addf(&text, "%s%s", i > 0 ? ", " : "", c->hosts[i]);
    if (c->uuid[0] != '\0')
        buf_addf(&text, "VM %s (%s)", c->vm, c->uuid);
    if (c->until != 0) {
        time_format(c->until, until);
        buf_addf(&text, "%suntil %s", text.len > 0 ? " " : "", until);
    }
    buf_adds(&text, c->id);
    snprintf(ret, size, "%s", text.data != NULL ? text.data : "");
    buf_done(&text);
}

static int apply_admin(struct state *st, const struct trust_command *t,
                       const ProtobufCBinaryData *envelope, struct err *err)
{
    _cleanup_(freep) struct admin_command *c = xcalloc(1, sizeof *c);
    admin_expire(st->admin, st->last.at);
    if (admin_read(t, c, err) < 0 || check_unused(st, t, err) < 0 ||
        admin_apply(st->admin, c, envelope, st->last.at, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; c->verb == ADMIN_HOLD && i < st->n_plans; i++)
        admin_hold_after(st->admin, c->uuid, st->plans[i]->made_at);
    st->last.kind = STATE_ADMIN;
    st->last.admin = c->verb;
    describe(c, st->last.about, sizeof st->last.about);
    set_text(st->last.reason, sizeof st->last.reason, c->reason);
    return 0;
}

static int apply_policy(struct state *st, const struct trust_command *t,
                        const ProtobufCBinaryData *envelope, struct err *err)
{
    _cleanup_(library_command_done) struct library_command c = {0};
    if (library_read(t, &c, err) < 0 || check_unused(st, t, err) < 0 ||
        library_apply(st->library, &c, envelope, st->last.at, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_POLICY;
    st->last.policy = c.verb;
    set_text(st->last.about, sizeof st->last.about, c.policy);
    set_text(st->last.digest, sizeof st->last.digest, c.digest);
    set_text(st->last.reason, sizeof st->last.reason, c.reason);
    return 0;
}

static int apply_rule(struct state *st, const struct trust_command *t,
                      const ProtobufCBinaryData *envelope, struct err *err)
{
    _cleanup_(rulebook_command_done) struct rulebook_command c = {0};
    if (rulebook_read(t, &c, err) < 0 || check_unused(st, t, err) < 0 ||
        rulebook_apply(st->rulebook, &c, envelope, st->last.at, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_RULE;
    st->last.rule = c.verb;
    set_text(st->last.about, sizeof st->last.about, c.name);
    set_text(st->last.reason, sizeof st->last.reason, c.reason);
    return 0;
}

static int apply_token(struct state *st, const struct trust_command *t,
                       const ProtobufCBinaryData *envelope, struct err *err)
{
    _cleanup_(freep) struct tokens_command *c = xcalloc(1, sizeof *c);
    if (tokens_read(t, c, err) < 0 || check_unused(st, t, err) < 0 ||
        tokens_apply(st->tokens, c, envelope, st->last.at, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_TOKEN;
    st->last.token = c->verb;
    set_text(st->last.about, sizeof st->last.about, tokens_find(st->tokens, c->id)->host);
    set_text(st->last.digest, sizeof st->last.digest, c->id);
    set_text(st->last.reason, sizeof st->last.reason, c->reason);
    return 0;
}

int state_apply_token_use(struct state *st, const Skein__TokenUse *use, struct err *err)
{
    const Skein__Token *token;
    if (tokens_use(st->tokens, use, st->last.at, &token, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_TOKEN;
    st->last.token = TOKENS_USE;
    set_text(st->last.about, sizeof st->last.about, token->host);
    snprintf(st->last.digest, sizeof st->last.digest, "%.*s", TOKENS_ID_SIZE - 1, token->hash);
    set_text(st->last.who, sizeof st->last.who, token->issuer);
    return 0;
}

static int apply_command(struct state *st, const struct trust_command *c,
                         const ProtobufCBinaryData *envelope, struct err *err)
{
    const char *type = command_type(c);
    if (admin_is_verb(type))
        return apply_admin(st, c, envelope, err);
    if (library_is_verb(type))
        return apply_policy(st, c, envelope, err);
    if (rulebook_is_verb(type))
        return apply_rule(st, c, envelope, err);
    if (tokens_is_verb(type))
        return apply_token(st, c, envelope, err);
    return apply_plan_command(st, c, envelope, err);
}

int state_apply_envelope(struct state *st, const Skein__EnvelopePut *put, struct err *err)
{
    const struct trust *trust;
    _cleanup_(trust_command_done) struct trust_command c = {0};
    st->last.command = true;
    if (!put->has_envelope)
        return err_set(err, ERR_INVALID, "a command without an envelope");
    if (state_trust(st, &trust, err) < 0 ||
        command_open(trust, st->conf->cluster_uuid, put->envelope.data, put->envelope.len,
                     st->last.at, &c, err) < 0)
        return -(int)err->code;
    set_text(st->last.who, sizeof st->last.who, c.person);
    forget_used(st);
    int rc = apply_command(st, &c, &put->envelope, err);
    if (rc == 0)
        remember_used(st, &c);
    return rc;
}

int state_apply_close(struct state *st, const Skein__RequestClose *close, struct err *err)
{
    Skein__RequestRecord *r = state_find_request(st, close->nonce);
    if (r == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no such request");
    if (!state_request_open(r))
        return err_set(err, ERR_CONFLICT, "the request was answered before");
    r->message = xstrdup(close->reason != NULL ? close->reason : "");
    st->last.kind = STATE_COMMAND;
    set_text(st->last.request, sizeof st->last.request, r->nonce);
    set_text(st->last.who, sizeof st->last.who, r->vote->person);
    return 0;
}
