/* duty_evaluate.c - when a policy, a request or what comes home is asked about, and the frozen
 * snapshot that goes with the question. */
#include <stdio.h>

#include "agent/core/duty_priv.h"
#include "agent/core/snapshot.h"

#define SNAPSHOT_DOMAIN "skein.snapshot/1"
#define SEED_RANGE 1000000000 /* a seed is a number that JSON and Lua hold exactly */

void duty_evaluator_forget(struct evaluator *e)
{
    e->token = 0;
    free(TAKE_PTR(e->snapshot));
}

void duty_evaluators_reset(struct duty *d, struct step *s)
{
    for (size_t i = 0; i < d->n_evaluators; i++) {
        struct evaluator *e = &d->evaluators[i];
        duty_evaluator_forget(e);
        e->next = s->now.mono;
        e->failures = e->disagreed = 0;
        duty_unwanted(e);
        e->digest[0] = e->broken[0] = e->heard[0] = '\0';
        e->proven = false;
    }
}

bool duty_time_known(const struct duty *d, const struct step *s)
{
    return !d->conf->simulated || s->now.clock.speed_milli != 0;
}

bool duty_data_fresh(const struct duty *d, const struct step *s, const struct view *view,
                     const struct state *state, size_t *ret_fresh, size_t *ret_all)
{
    size_t fresh = 0, sleep = 0;
    for (size_t i = 0; i < view_count(view); i++) {
        const struct view_host *h = view_at(view, i);
        fresh += h->detail_mono != 0 && h->detail_mono >= d->trusted_since &&
                 view_fresh(h, s->now, d->conf->stale_after);
        sleep += snapshot_sleeps(h, state, s);
    }
    *ret_fresh = fresh;
    *ret_all = MAX(view_count(view) - sleep, d->conf->n_voters);
    return 2 * fresh > *ret_all;
}

void duty_outcome(struct evaluator *e, const struct step *s, const char *text)
{
    char *copy = xstrdup(text);
    free(e->outcome);
    e->outcome = copy;
    e->at = s->now.wall;
}

/* A drain's own bound on moves at once, where it is the tighter. */
static void limit_drain(json_t *doc, const struct state *state)
{
    Skein__HostAdmin *const *hosts;
    json_t *limits = json_object_get(doc, "limits");
    for (size_t i = admin_hosts(state_admin(state), &hosts); i-- > 0;)
        if (hosts[i]->has_concurrency && admin_drains(state_admin(state), hosts[i]->host) &&
            hosts[i]->concurrency < json_integer_value(json_object_get(limits, "total")))
            json_object_set_new(limits, "total", json_integer(hosts[i]->concurrency));
}

/* Who asks for a move by name knows that the last one failed. */
static void drop_back_off(json_t *doc)
{
    json_t *rules = json_object_get(doc, "rules");
    for (size_t i = json_array_size(rules); i-- > 0;) {
        const char *name = json_string_value(json_object_get(json_array_get(rules, i), "name"));
        if (name != NULL && strncmp(name, SNAPSHOT_BACK_OFF, strlen(SNAPSHOT_BACK_OFF)) == 0)
            json_array_remove(rules, i);
    }
}

static int freeze(struct step *s, const struct view *view, const struct state *state, bool drain,
                  bool asked, struct evaluation *e, struct err *err)
{
    static const char *const sets[] = {"hosts", "vms", "rules", NULL};
    _cleanup_json_ json_t *doc = snapshot_make(view, state, s, e->seed);
    if (asked)
        drop_back_off(doc);
    if (drain)
        limit_drain(doc, state);
    if (canon_dump_sets(doc, sets, &e->snapshot, &e->snapshot_len, err) < 0)
        return err_wrap(err, "snapshot");
    uint8_t hash[HASH_SIZE];
    hash_domain(SNAPSHOT_DOMAIN, e->snapshot, e->snapshot_len, hash);
    hash_hex(hash, e->snapshot_digest);
    return 0;
}

static bool is_drain(const struct evaluator *e)
{
    return e->policy != NULL && strcmp(e->policy, ADMIN_DRAIN_POLICY) == 0;
}

static void add_move(struct evaluation *q, const char *uuid, const char *to)
{
    q->moves = xrealloc(q->moves, q->n_moves + 1, sizeof *q->moves);
    struct evaluation_move *m = &q->moves[q->n_moves++];
    snprintf(m->uuid, sizeof m->uuid, "%s", uuid);
    snprintf(m->to, sizeof m->to, "%s", to);
}

/* Who left this host for its drain comes home. */
static void ask_return(struct evaluator *e, struct evaluation *q, const Skein__HostAdmin *home)
{
    for (size_t i = 0; i < home->n_departures && i < PLAN_MOVES_MAX; i++)
        add_move(q, home->departures[i]->uuid, home->host);
    q->class = "restore";
    q->reason =
        xasprintf("%s is restored by %s: what left comes home", home->host, home->vote->person);
    snprintf(e->home, sizeof e->home, "%s", home->host);
    snprintf(e->home_person, sizeof e->home_person, "%s", home->vote->person);
    e->request[0] = '\0';
}

/* Each VM to where the plan's first move of it took it from. */
static void ask_rollback(struct evaluator *e, struct evaluation *q, const struct state *state,
                         const Skein__RequestRecord *request)
{
    const struct plan *p = state_plan(state, request->rolls_back);
    for (size_t i = 0; p != NULL && i < p->body->n_moves; i++) {
        bool again = false;
        for (size_t k = 0; k < q->n_moves; k++)
            again = again || strcmp(q->moves[k].uuid, p->body->moves[i].uuid) == 0;
        if (!again && plan_item_state(&p->items[i]) == SKEIN__ACTION_STATE__ACTION_SUCCEEDED &&
            p->body->moves[i].type == PLAN_MIGRATE)
            add_move(q, p->body->moves[i].uuid, p->body->moves[i].from);
    }
    q->class = "rollback";
    q->reason = xasprintf("rollback of plan %s, asked for by %s%s%s", request->rolls_back,
                          request->vote->person, request->vote->reason[0] != '\0' ? ": " : "",
                          request->vote->reason);
    snprintf(e->request, sizeof e->request, "%s", request->nonce);
    e->home[0] = '\0';
}

/* Asks, and remembers what. Takes question. */
static void hold_question(struct evaluator *e, struct step *s, struct evaluation *question)
{
    e->snapshot = xmemdup(question->snapshot, question->snapshot_len);
    e->snapshot_len = question->snapshot_len;
    e->seed = question->seed;
    e->power = question->power;
    memcpy(e->snapshot_digest, question->snapshot_digest, sizeof e->snapshot_digest);
    e->asked = s->now.mono;
    e->token = effect_evaluate(s, OWNER_DUTY, question);
}

static void ask(const struct duty *d, struct evaluator *e, struct step *s, const struct view *view,
                const struct state *state, const Skein__RequestRecord *request,
                const Skein__HostAdmin *home)
{
    struct evaluation *question = xcalloc(1, sizeof *question);
    struct err err;
    question->seed = step_random(s) % SEED_RANGE;
    question->at = moment_world(&s->now);
    question->power = duty_power_possible(d, view);
    if (freeze(s, view, state, is_drain(e), request != NULL, question, &err) < 0) {
        duty_outcome(e, s, err.msg);
        e->failures++;
        evaluation_free(question);
        return;
    }
    question->class = "user";
    if (home != NULL) {
        ask_return(e, question, home);
    } else if (request == NULL) {
        size_t len;
        char digest[HASH_HEX_SIZE];
        const char *source = duty_source(d, e, state, &len, digest);
        question->policy = xstrdup(e->policy);
        question->source = source != NULL ? xmemdup(source, len) : NULL;
        question->source_len = source != NULL ? len : 0;
    } else if (request->rolls_back != NULL) {
        ask_rollback(e, question, state, request);
    } else {
        snprintf(question->uuid, sizeof question->uuid, "%s", request->uuid);
        snprintf(question->to, sizeof question->to, "%s", request->to);
        snprintf(e->request, sizeof e->request, "%s", request->nonce);
        e->home[0] = '\0';
        question->drill = request->drill;
        if (request->drill)
            question->class = "drill";
        if (request->parameters != NULL)
            question->parameters = xstrdup(request->parameters);
        const char *why = request->vote->reason;
        question->reason =
            xasprintf("asked for by %s%s%s", request->vote->person,
                      why != NULL && why[0] != '\0' ? ": " : "", why != NULL ? why : "");
    }
    hold_question(e, s, question);
}

void duty_request_key(char key[DUTY_KEY_SIZE], const char *nonce)
{
    snprintf(key, DUTY_KEY_SIZE, "request %s", nonce);
}

void duty_close_request(struct duty *d, struct step *s, const char *nonce, const char *reason)
{
    char key[DUTY_KEY_SIZE];
    duty_request_key(key, nonce);
    if (duty_busy(d, key))
        return;
    Skein__RequestClose close = SKEIN__REQUEST_CLOSE__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    close.nonce = (char *)nonce;
    _cleanup_(freep) char *text = duty_text(reason);
    close.reason = text;
    entry.kind_case = SKEIN__ENTRY__KIND_CLOSE;
    entry.close = &close;
    duty_propose(d, s, key, &entry);
}

/* The oldest request that is not answered and not just being answered; expired ones are closed. */
static const Skein__RequestRecord *next_request(struct duty *d, struct step *s,
                                                const struct state *state)
{
    Skein__RequestRecord *const *requests;
    size_t n = state_requests(state, &requests);
    const Skein__RequestRecord *next = NULL;
    for (size_t i = 0; i < n; i++) {
        const Skein__RequestRecord *r = requests[i];
        char key[DUTY_KEY_SIZE];
        if (r->plan != NULL || r->message != NULL) /* most: asked ten times a second */
            continue;
        duty_request_key(key, r->nonce);
        if (duty_busy(d, key))
            continue;
        if ((msec)r->vote->expires_at_ms <= s->now.wall)
            duty_close_request(d, s, r->nonce, "it expired before it could be planned");
        else if (next == NULL)
            next = r;
    }
    return next;
}

void duty_return_key(char key[DUTY_KEY_SIZE], const char *host)
{
    snprintf(key, DUTY_KEY_SIZE, "return %.140s", host);
}

static bool touches(const struct plan *p, const char *host)
{
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (strcmp(p->body->moves[i].from, host) == 0 || strcmp(p->body->moves[i].to, host) == 0)
            return true;
    return false;
}

/* Is there a plan already that brings VMs home to this host? Or did one that touches it end just
 * now, so that hosts have yet to tell where their VMs are? */
static bool returning(const struct step *s, const struct state *state, const char *host)
{
    struct plan *const *plans;
    for (size_t i = state_plans(state, &plans); i-- > 0;) {
        const struct plan *p = plans[i];
        bool ended = plan_state_ended(p->state);
        bool lately = ended && s->now.wall - p->changed_at < DUTY_SEEN_MS;
        bool waits = !ended && strcmp(p->body->class, "restore") == 0;
        if ((lately || waits) && touches(p, host))
            return true;
    }
    return false;
}

/* A restored host to which VMs are still to come home. */
static const Skein__HostAdmin *next_return(const struct duty *d, const struct step *s,
                                           const struct state *state)
{
    Skein__HostAdmin *const *hosts;
    size_t n = admin_hosts(state_admin(state), &hosts);
    for (size_t i = 0; i < n && s->now.mono >= d->return_at; i++) {
        char key[DUTY_KEY_SIZE];
        duty_return_key(key, hosts[i]->host);
        if (hosts[i]->state == SKEIN__HOST_STATE__HOST_UP && hosts[i]->n_departures > 0 &&
            !duty_busy(d, key) && !returning(s, state, hosts[i]->host))
            return hosts[i];
    }
    return NULL;
}

static void tick_requests(struct duty *d, struct step *s, struct evaluator *e,
                          const struct view *view, const struct state *state, bool fresh)
{
    const Skein__RequestRecord *r = next_request(d, s, state);
    if (e->token != 0 || !fresh || s->now.mono < e->next)
        return;
    const Skein__HostAdmin *home = r == NULL ? next_return(d, s, state) : NULL;
    if (r == NULL && home == NULL)
        return;
    e->next = s->now.mono + DUTY_RESEND_MS;
    if (home != NULL)
        d->return_at = s->now.mono + DUTY_HOME_MS;
    ask(d, e, s, view, state, r, home);
    if (e->token == 0 && r != NULL)
        duty_close_request(d, s, r->nonce, e->outcome);
}

/* A drain measures nothing that has to settle: only what was seen before the moves must be gone. */
static msec settle_time(const char *policy)
{
    return strcmp(policy, ADMIN_DRAIN_POLICY) == 0 ? 0 : DUTY_SETTLE_MS;
}

static bool anything_drains(const struct state *state)
{
    Skein__HostAdmin *const *hosts;
    for (size_t i = admin_hosts(state_admin(state), &hosts); i-- > 0;)
        if (admin_drains(state_admin(state), hosts[i]->host))
            return true;
    return false;
}

bool duty_lately(const struct step *s, msec wall, msec world_time)
{
    msec world = hv_clock_at(&s->now.clock, wall);
    return sat_sub(moment_world(&s->now), world) < world_time ||
           sat_sub(s->now.wall, wall) < DUTY_SEEN_MS;
}

/* A policy whose plan runs, or ran until just now, waits for what the plan does: a host cools for
 * minutes after its guests left, and what is measured meanwhile would ask for too much. That takes
 * the world's time; that agents see it and say so takes real time, too. The plan, or NULL. */
static const struct plan *settling(const struct step *s, const struct state *state,
                                   const char *policy)
{
    struct plan *const *plans;
    for (size_t i = state_plans(state, &plans); i-- > 0;) {
        const struct plan *p = plans[i];
        bool carried_out = p->state == SKEIN__PLAN_STATE__PLAN_SUCCEEDED ||
                           p->state == SKEIN__PLAN_STATE__PLAN_PARTIAL ||
                           p->state == SKEIN__PLAN_STATE__PLAN_FAILED;
        if (strcmp(p->body->policy, policy) == 0 &&
            (p->state == SKEIN__PLAN_STATE__PLAN_APPROVED || plan_state_running(p->state) ||
             (carried_out && duty_lately(s, p->changed_at, settle_time(policy)))))
            return p;
    }
    return NULL;
}

const struct plan *duty_find_waiting(const struct state *state, const char *policy)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = n; i-- > 0;)
        if ((plans[i]->state == SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL ||
             plans[i]->state == SKEIN__PLAN_STATE__PLAN_RECOMMENDED) &&
            strcmp(plans[i]->body->policy, policy) == 0)
            return plans[i];
    return NULL;
}

/* A version that is new here starts with a clean record, and what the one before it proposed does
 * not stand any more: an approval or a standing order is for one version's plans. */
static void take_version(struct duty *d, struct step *s, struct evaluator *e,
                         const struct state *state)
{
    size_t len;
    char digest[HASH_HEX_SIZE];
    if (duty_source(d, e, state, &len, digest) == NULL || strcmp(digest, e->digest) == 0)
        return;
    memcpy(e->digest, digest, sizeof e->digest);
    e->failures = e->disagreed = 0;
    duty_unwanted(e);
    e->proven = false;
    const struct plan *waiting = e->in_shadow ? NULL : duty_find_waiting(state, e->policy);
    if (waiting == NULL || strcmp(waiting->body->policy_digest, digest) == 0)
        return;
    _cleanup_(freep) char *reason = xasprintf("policy %s is version %.12s now", e->policy, digest);
    duty_change(d, s, waiting, SKEIN__PLAN_STATE__PLAN_SUPERSEDED, reason);
}

/* The version in shadow answers the same question as the active one has just been asked. */
static void ask_shadow(struct duty *d, struct step *s, const struct evaluator *active,
                       const struct state *state)
{
    struct evaluator *e = duty_shadow_of(d, active->policy);
    if (e == NULL || e->token != 0 || active->token == 0)
        return;
    take_version(d, s, e, state);
    struct evaluation *question = xcalloc(1, sizeof *question);
    size_t len;
    char digest[HASH_HEX_SIZE];
    const char *source = duty_source(d, e, state, &len, digest);
    *question = (struct evaluation){
        .snapshot = xmemdup(active->snapshot, active->snapshot_len),
        .snapshot_len = active->snapshot_len,
        .policy = xstrdup(e->policy),
        .source = xmemdup(source, len),
        .source_len = len,
        .class = "user",
        .seed = active->seed,
        .at = moment_world(&s->now),
        .power = active->power,
    };
    memcpy(question->snapshot_digest, active->snapshot_digest, sizeof question->snapshot_digest);
    hold_question(e, s, question);
}

static void tick_policy(struct duty *d, struct step *s, struct evaluator *e,
                        const struct view *view, const struct state *state)
{
    const struct plan *plan = settling(s, state, e->policy);
    take_version(d, s, e, state);
    e->resting = e->implicit && !anything_drains(state);
    e->next = s->now.mono + (e->resting ? DUTY_RESEND_MS : d->conf->evaluate_every);
    if (is_drain(e)) /* people wait for it */
        e->next = s->now.mono + MIN(d->conf->evaluate_every, (msec)DUTY_RESEND_MS);
    if (e->resting) {
        e->failures = 0;
        return;
    }
    if (plan == NULL) {
        ask(d, e, s, view, state, NULL, NULL);
        ask_shadow(d, s, e, state);
        return;
    }
    _cleanup_(freep) char *text =
        xasprintf(plan_state_ended(plan->state) ? "settling after plan %s" : "plan %s is under way",
                  plan->body->id);
    duty_outcome(e, s, text);
}

static bool has_active(const struct duty *d, const struct evaluator *shadow)
{
    for (size_t i = 0; i + 1 < d->n_evaluators; i++)
        if (!d->evaluators[i].in_shadow && strcmp(d->evaluators[i].policy, shadow->policy) == 0)
            return true;
    return false;
}

void duty_evaluate(struct duty *d, struct step *s, const struct view *view,
                   const struct state *state)
{
    size_t n_fresh, n_all;
    bool fresh = duty_data_fresh(d, s, view, state, &n_fresh, &n_all) && duty_time_known(d, s);
    for (size_t i = 0; i < d->n_evaluators; i++) {
        struct evaluator *e = &d->evaluators[i];
        if (e->token != 0 && s->now.mono - e->asked >= DUTY_EVALUATION_MS) {
            duty_evaluator_forget(e);
            e->failures++;
            duty_outcome(e, s, "the evaluation was not answered");
        }
        if (e->in_shadow && has_active(d, e)) /* asked with the active version */
            continue;
        if (e->policy == NULL) {
            tick_requests(d, s, e, view, state, fresh);
        } else if (fresh && e->token == 0 && s->now.mono >= e->next) {
            tick_policy(d, s, e, view, state);
            d->explain_at = 0;
        }
    }
}
