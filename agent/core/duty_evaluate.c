/* duty_evaluate.c - from a frozen snapshot to a plan that the state takes, or to the reason why
 * there is none. An evaluation that fails costs only itself. */
#include <stdio.h>
#include <zstd.h>

#include "agent/core/duty_priv.h"
#include "agent/core/snapshot.h"
#include "planner/check/check.h"

#define SNAPSHOT_DOMAIN "skein.snapshot/1"
#define SEED_RANGE 1000000000  /* a seed is a number that JSON and Lua hold exactly */
#define REQUEST_FAILURES_MAX 3 /* a person waits for the answer */
#define REFUSED_MAX 200        /* VMs whose refusals are kept for the status */

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

static void set_outcome(struct evaluator *e, const struct step *s, const char *text)
{
    char *copy = xstrdup(text);
    free(e->outcome);
    e->outcome = copy;
    e->at = s->now.wall;
}

/* ---- asking ---- */

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
            !plan_move_is_power(&p->body->moves[i]))
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
        set_outcome(e, s, err.msg);
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

static void request_key(char key[DUTY_KEY_SIZE], const char *nonce)
{
    snprintf(key, DUTY_KEY_SIZE, "request %s", nonce);
}

void duty_close_request(struct duty *d, struct step *s, const char *nonce, const char *reason)
{
    char key[DUTY_KEY_SIZE];
    request_key(key, nonce);
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
        request_key(key, r->nonce);
        if (duty_busy(d, key))
            continue;
        if ((msec)r->vote->expires_at_ms <= s->now.wall)
            duty_close_request(d, s, r->nonce, "it expired before it could be planned");
        else if (next == NULL)
            next = r;
    }
    return next;
}

static void return_key(char key[DUTY_KEY_SIZE], const char *host)
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
        return_key(key, hosts[i]->host);
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

static msec cooldown_time(const char *policy)
{
    return strcmp(policy, ADMIN_DRAIN_POLICY) == 0 ? 0 : DUTY_COOLDOWN_MS;
}

static bool anything_drains(const struct state *state)
{
    Skein__HostAdmin *const *hosts;
    for (size_t i = admin_hosts(state_admin(state), &hosts); i-- > 0;)
        if (admin_drains(state_admin(state), hosts[i]->host))
            return true;
    return false;
}

/* Is that less than this time of the hypervisors' world ago, or so little real time that not all
 * hosts have told what came of it? wall is what an agent's clock said. */
static bool lately(const struct step *s, msec wall, msec world_time)
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
             (carried_out && lately(s, p->changed_at, settle_time(policy)))))
            return p;
    }
    return NULL;
}

/* The plan of this policy that waits for approval, or NULL. */
static const struct plan *find_waiting(const struct state *state, const char *policy)
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
    const struct plan *waiting = e->in_shadow ? NULL : find_waiting(state, e->policy);
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
    set_outcome(e, s, text);
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
            set_outcome(e, s, "the evaluation was not answered");
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

/* ---- hearing ---- */

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

static bool moved_lately(const struct step *s, const struct state *state,
                         const struct plan_body *body, const char **ret_vm)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &plans[i]->items[k];
            if (item->permit == NULL || item->report == NULL ||
                !lately(s, (msec)item->report->ended_at_ms, cooldown_time(body->policy)))
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
        return_key(key, e->home);
    else if (request != NULL)
        request_key(key, request->nonce);
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
    set_outcome(e, s, err->msg);
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
    const struct plan *waiting = find_waiting(state, body->policy);
    _cleanup_(freep) char *text = NULL;
    struct err later;
    duty_wanted(e, s);
    if (busy != NULL) {
        text = xasprintf("VM %s is part of plan %s, which runs", vm, busy->body->id);
    } else if (find_for_later(state, body, s->now.wall, &later) != NULL) {
        text = xasprintf("approved, but %s", later.msg);
    } else if (moved_lately(s, state, body, &vm)) {
        text = xasprintf("VM %s moved less than %d s ago", vm,
                         (int)(cooldown_time(body->policy) / 1000));
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
    set_outcome(e, s, text);
}

static void hear_nothing(struct duty *d, struct step *s, const struct state *state,
                         struct evaluator *e, const char *why)
{
    bool news = e->outcome == NULL || strcmp(e->outcome, why) != 0;
    duty_unwanted(e);
    if (e->policy == NULL) {
        set_outcome(e, s, why);
        if (e->request[0] != '\0')
            duty_close_request(d, s, e->request, why);
        return;
    }
    if (news)
        effect_trace(s, "duty: %s: %s", e->policy, why);
    set_outcome(e, s, why);
    const struct plan *waiting = find_waiting(state, e->policy);
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
    set_outcome(e, s, err->msg);
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
    set_outcome(e, s, text);
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
        set_outcome(e, s, nothing);
        return;
    }
    if (check_body(e, answer, moment_world(&s->now), &err) < 0) {
        e->failures++;
        set_outcome(e, s, err.msg);
        return;
    }
    e->failures = 0;
    e->shadow.proposed++;
    size_t n = json_array_size(e->moves);
    _cleanup_(freep) char *text = xasprintf("would move %zu VM%s", n, n == 1 ? "" : "s");
    set_outcome(e, s, text);
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
