/* node.c - the modules and what flows between them: events in, effects out. */
#include "agent/core/node_priv.h"

#include <stdio.h>

#include "agent/core/confirm.h"
#include "agent/core/metrics.h"
#include "proto/codec.h"

#define CHANGED_DELAY_MS 200 /* changes come in bursts: one observation after the first of them */

static void news_arrived(void *arg, struct step *s, const Skein__HostSummary *summary, msec age);

int node_new(const struct node_conf *conf, uint64_t seed,
             const Skein__JournalRecord *const *journal, size_t n_journal, struct node **ret,
             struct err *err)
{
    if (conf->trust == NULL || conf->host == NULL || conf->cluster_uuid == NULL ||
        conf->own == NULL)
        return err_set(err, ERR_INTERNAL, "node: the configuration is not complete");
    struct node *node = xcalloc(1, sizeof *node);
    node->conf = conf;
    node->rng = seed;
    node->view = view_new();
    node->membership = membership_new(node->view, seed ^ conf->incarnation, news_arrived, node);
    node->state = state_new(conf);
    node->duty = duty_new(conf);
    node->exec = exec_new(node->view, node->state);
    node->reserve = reserve_new(node->view, node->state);
    node->api = api_new();
    node->electorate = electorate_new();
    for (size_t i = 0; i < n_journal; i++) {
        exec_load(node->exec, journal[i]);
        reserve_load(node->reserve, journal[i]);
    }
    *ret = node;
    return 0;
}

void node_free(struct node *node)
{
    if (node == NULL)
        return;
    electorate_free(node->electorate);
    api_free(node->api);
    reserve_free(node->reserve);
    exec_free(node->exec);
    duty_free(node->duty);
    state_free(node->state);
    membership_free(node->membership);
    news_done(&node->news);
    tally_done(&node->tally);
    view_free(node->view);
    free(node);
}

const struct state *node_state(const struct node *node)
{
    return node->state;
}

bool node_knows_host(const struct node *node, const char *host)
{
    return view_find(node->view, host) != NULL;
}

const char *node_planner(const struct node *node)
{
    return node->leader;
}

uint8_t *node_image(const struct node *node, size_t *ret_len)
{
    Skein__StateImage *image = state_image(node->state);
    uint8_t *bytes = codec_pack(&image->base, ret_len);
    skein__state_image__free_unpacked(image, NULL);
    return bytes;
}

static struct api_context api_context(const struct node *node, struct step *s)
{
    return (struct api_context){
        .step = s,
        .view = node->view,
        .membership = node->membership,
        .state = node->state,
        .duty = node->duty,
        .exec = node->exec,
        .reserve = node->reserve,
        .leader = node->leader,
        .term = node->term,
    };
}

char *node_metrics(struct node *node, struct moment now)
{
    struct effects none = {0};
    struct step s = {.now = now, .conf = node->conf, .out = &none};
    struct buf text = {0};
    s.now.clock = node->clock;
    const struct api_context context = api_context(node, &s);
    metrics_render(&context, &node->tally, &text);
    effects_clear(&none);
    return buf_take(&text);
}

/* ---- frames ---- */

/* A host speaks for itself only. */
static bool speaks_for(const char *from, const char *host)
{
    return host != NULL && strcmp(from, host) == 0;
}

static void set_leader(struct node *node, struct step *s, uint64_t term, const char *leader)
{
    if (term < node->term || (term == node->term && strcmp(leader, node->leader) == 0))
        return;
    node->term = term;
    snprintf(node->leader, sizeof node->leader, "%s", leader);
    effect_trace(s, "term %llu: %s plans", (unsigned long long)term,
                 leader[0] != '\0' ? leader : "nobody");
    duty_role(node->duty, s, term, leader);
    exec_role(node->exec, leader, term);
    reserve_role(node->reserve, term);
    node->detail_at = node->look_at = s->now.mono;
}

static void hear_clock(struct node *node, const struct step *s, const Skein__HostSummary *summary,
                       msec age)
{
    if (summary->has_told_at_ms && strcmp(summary->host, node->leader) == 0 &&
        strcmp(node->leader, s->conf->host) != 0)
        skew_heard(&node->skew, node->leader, (msec)MIN(summary->told_at_ms, (uint64_t)INT64_MAX),
                   age, s->now.wall);
}

/* A voter's own word, over its own link, says who plans. */
static void summary_received(struct node *node, struct step *s, const char *from,
                             const Skein__HostSummary *summary)
{
    if (!speaks_for(from, summary->host))
        return;
    view_summary(node->view, summary, s->now, 0);
    electorate_heard(node->electorate, summary->voters);
    hear_clock(node, s, summary, 0);
    if (!step_votes(node->conf, s->conf->host) && step_votes(node->conf, from) &&
        summary->planner != NULL)
        set_leader(node, s, summary->term, summary->planner);
}

/* What others relay is hearsay: whom it names as planner is called, and says so itself. */
static void news_arrived(void *arg, struct step *s, const Skein__HostSummary *summary, msec age)
{
    struct node *node = arg;
    view_summary(node->view, summary, s->now, age);
    electorate_heard(node->electorate, summary->voters);
    hear_clock(node, s, summary, age);
    bool names = !step_votes(node->conf, s->conf->host) && step_votes(node->conf, summary->host) &&
                 summary->planner != NULL && step_votes(node->conf, summary->planner);
    if (names && summary->term >= node->term && strcmp(summary->planner, node->leader) != 0)
        snprintf(node->named, sizeof node->named, "%s", summary->planner);
}

/* To an agent that does not vote, over a link that stands. */
static void say_who_plans(struct node *node, struct step *s, const char *to)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    if (node->leader[0] == '\0' || !step_votes(node->conf, s->conf->host) ||
        step_votes(node->conf, to))
        return;
    frame.kind_case = SKEIN__FRAME__KIND_SUMMARY;
    frame.summary = node_own_summary(node, s);
    effect_gossip(s, to, &frame);
    skein__host_summary__free_unpacked(frame.summary, NULL);
}

/* What people ordered, told by the planner to an agent that does not vote. The same again costs no
 * signature's check. */
static void bulletin_received(struct node *node, struct step *s, const char *from,
                              const Skein__Bulletin *bulletin)
{
    size_t len;
    uint8_t hash[HASH_SIZE];
    if (step_votes(node->conf, s->conf->host) || strcmp(from, node->leader) != 0)
        return;
    Skein__Bulletin copy = *bulletin; /* the index alone is no news */
    copy.has_index = 0;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&copy.base, &len);
    hash_domain("skein.bulletin/1", bytes, len, hash);
    if (memcmp(hash, node->bulletin, sizeof hash) == 0)
        return;
    memcpy(node->bulletin, hash, sizeof hash);
    state_learn(node->state, bulletin, s->now.wall);
    effect_trace(s, "people's orders as of index %llu", (unsigned long long)bulletin->index);
}

static void confirm_asked(struct node *node, struct step *s, const char *from,
                          const Skein__Request *request)
{
    struct confirm_answer answer;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    if (!step_votes(node->conf, s->conf->host) || request->confirm->permit == NULL) {
        struct err err;
        err_set(&err, ERR_DENIED, "%s does not vote", s->conf->host);
        effect_reply(s, from, request->id, NULL, &err);
        return;
    }
    confirm_answer(node->state, node->term, s, from, request->confirm->permit, &answer);
    reply.kind_case = SKEIN__REPLY__KIND_CONFIRMED;
    reply.confirmed = &answer.confirmed;
    effect_reply(s, from, request->id, &reply, &answer.not_yet);
}

static void look_asked(struct node *node, struct step *s, const char *from,
                       const Skein__Request *request)
{
    const Skein__LookVm *look = request->look;
    Skein__JournalState journal = SKEIN__JOURNAL_STATE__JOURNAL_NONE;
    if (look->plan != NULL && look->action != NULL)
        journal = exec_journal(node->exec, look->plan, look->action);
    reserve_look(node->reserve, s, from, request->id, look, journal);
}

static void reserve_asked(struct node *node, struct step *s, const char *from,
                          const Skein__Request *request)
{
    struct err err;
    if (!exec_is_closed(node->exec)) {
        reserve_request(node->reserve, s, from, request->id, request->reserve);
        exec_arrivals(node->exec, reserve_count(node->reserve));
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "%s goes to sleep", s->conf->host);
    effect_reply(s, from, request->id, NULL, &err);
}

static void request_received(struct node *node, struct step *s, const char *from,
                             const Skein__Request *request)
{
    struct api_context context = api_context(node, s);
    switch (request->kind_case) {
    case SKEIN__REQUEST__KIND_START:
        exec_start(node->exec, s, from, request->id, request->start, false);
        break;
    case SKEIN__REQUEST__KIND_QUERY:
        exec_start(node->exec, s, from, request->id, request->query, true);
        break;
    case SKEIN__REQUEST__KIND_CONFIRM:
        confirm_asked(node, s, from, request);
        break;
    case SKEIN__REQUEST__KIND_RESERVE:
        reserve_asked(node, s, from, request);
        break;
    case SKEIN__REQUEST__KIND_RELEASE:
        reserve_release(node->reserve, s, from, request->id, request->release);
        break;
    case SKEIN__REQUEST__KIND_LOOK:
        look_asked(node, s, from, request);
        break;
    case SKEIN__REQUEST__KIND_API:
        api_relayed(node->api, &context, from, request->id, request->api);
        break;
    case SKEIN__REQUEST__KIND_VOTERS:
        electorate_asked(s, from, request->id);
        say_who_plans(node, s, from);
        break;
    case SKEIN__REQUEST__KIND_REPORT:
        duty_report(node->duty, s, node->state, from, request->id, request->report);
        break;
    case SKEIN__REQUEST__KIND__NOT_SET:
    case _SKEIN__REQUEST__KIND__CASE_IS_INT_SIZE: {
        struct err err; /* of a newer version */
        err_set(&err, ERR_UNSUPPORTED, "%s does not know this request", s->conf->host);
        effect_reply(s, from, request->id, NULL, &err);
        break;
    }
    }
}

static void reply_received(struct node *node, struct step *s, const char *from,
                           const Skein__Reply *reply)
{
    struct api_context context = api_context(node, s);
    switch (token_owner(reply->id)) {
    case OWNER_EXEC:
        exec_reply(node->exec, s, from, reply);
        break;
    case OWNER_RESERVE:
        reserve_reply(node->reserve, s, from, reply);
        break;
    case OWNER_DUTY:
        duty_reply(node->duty, s, node->state, from, reply);
        break;
    case OWNER_API:
        api_reply(node->api, &context, from, reply);
        break;
    case OWNER_NODE:
        electorate_reply(node->electorate, s, from, reply);
        break;
    case OWNER_VIEW:
    default:
        break;
    }
}

static void frame_received(struct node *node, struct step *s, const char *from,
                           const Skein__Frame *frame)
{
    if (frame->kind_case != SKEIN__FRAME__KIND_GOSSIP)
        membership_used(node->membership, s, from);
    switch (frame->kind_case) {
    case SKEIN__FRAME__KIND_GOSSIP:
        membership_frame(node->membership, s, from, &frame->gossip);
        break;
    case SKEIN__FRAME__KIND_SUMMARY:
        summary_received(node, s, from, frame->summary);
        break;
    case SKEIN__FRAME__KIND_DETAIL:
        if (frame->detail->summary != NULL && speaks_for(from, frame->detail->summary->host))
            view_detail(node->view, frame->detail, s->now, false);
        break;
    case SKEIN__FRAME__KIND_CAPABILITY:
        if (speaks_for(from, frame->capability->host))
            view_capability(node->view, frame->capability, s->now);
        break;
    case SKEIN__FRAME__KIND_REQUEST:
        request_received(node, s, from, frame->request);
        break;
    case SKEIN__FRAME__KIND_REPLY:
        reply_received(node, s, from, frame->reply);
        break;
    case SKEIN__FRAME__KIND_PROGRESS:
        duty_progress(node->duty, s, node->state, from, frame->progress);
        break;
    case SKEIN__FRAME__KIND_BULLETIN:
        bulletin_received(node, s, from, frame->bulletin);
        break;
    case SKEIN__FRAME__KIND_AUDIT:    /* the shell's */
    case SKEIN__FRAME__KIND_EVENT:    /* the shell's */
    case SKEIN__FRAME__KIND_ROOTS:    /* the shell's */
    case SKEIN__FRAME__KIND_SNAPSHOT: /* the shell's: it is stored, not understood */
    case SKEIN__FRAME__KIND_RAFT:     /* the shell's */
    case SKEIN__FRAME__KIND__NOT_SET: /* of a newer version */
    case _SKEIN__FRAME__KIND__CASE_IS_INT_SIZE:
        break;
    }
}

/* ---- time ---- */

/* The planner looks around all the time; the others have nothing to do but for what they began. */
static bool is_busy(const struct node *node)
{
    return duty_leads(node->duty) || exec_waits(node->exec) || reserve_waits(node->reserve) ||
           api_waits(node->api) || electorate_waits(node->electorate, node->conf);
}

msec node_deadline(const struct node *node, msec now)
{
    if (is_busy(node))
        return now;
    msec due = MIN(membership_deadline(node->membership), node->look_at);
    due = MIN(due, MIN(node->summary_at, node->detail_at));
    if (node->observing == 0)
        due = MIN(due, node->observe_at);
    return MAX(due, now);
}

/* ---- events ---- */

static void tick(struct node *node, struct step *s)
{
    struct api_context context = api_context(node, s);
    membership_tick(node->membership, s);
    electorate_tick(node->electorate, s, node->leader[0] != '\0');
    node_observe_and_tell(node, s);
    reserve_tick(node->reserve, s);
    exec_arrivals(node->exec, reserve_count(node->reserve));
    exec_tick(node->exec, s);
    duty_tick(node->duty, s, node->view, node->state);
    api_tick(node->api, &context);
}

static void applied(struct node *node, struct step *s, const struct event *event)
{
    struct err err = {0};
    if (state_apply(node->state, event->entry, event->index, event->term, &err) < 0)
        effect_trace(s, "entry %llu refused: %s", (unsigned long long)event->index, err.msg);
    duty_applied(node->duty, s, node->state, state_last(node->state));
}

/* Committed is not yet accepted: what the state refused when it was applied is the answer. */
static void proposed(struct node *node, struct step *s, const struct event *event)
{
    struct api_context context = api_context(node, s);
    const struct state_change *last = state_last(node->state);
    const struct err *err = &event->err;
    if (err->code == ERR_OK && last->index == event->index && last->kind == STATE_REFUSED)
        err = &last->err;
    if (token_owner(event->token) == OWNER_DUTY)
        duty_proposed(node->duty, s, node->state, event->token, err);
    else if (token_owner(event->token) == OWNER_API)
        api_proposed(node->api, &context, event->token, err);
}

static void hypervisor_answered(struct node *node, struct step *s, const struct hv_result *result)
{
    if (token_owner(result->job) == OWNER_EXEC)
        exec_hv(node->exec, s, result);
    else if (token_owner(result->job) == OWNER_RESERVE)
        reserve_hv(node->reserve, s, result);
    else if (token_owner(result->job) == OWNER_DUTY)
        duty_hv(node->duty, s, result);
    else if (result->job == node->observing)
        node_own_observed(node, s, result);
}

static void restored(struct node *node, struct step *s, const struct event *event)
{
    struct err err = {0};
    if (state_restore(node->state, event->image, &err) < 0)
        effect_trace(s, "state image refused: %s", err.msg);
}

/* Others than before vote: everybody is told at once that there are. */
static void voters_changed(struct node *node, struct step *s)
{
    bool known = node->voters != 0;
    electorate_changed(node->electorate, s);
    state_voters_changed(node->state);
    membership_voters(node->membership, s);
    if (known && node->voters != s->conf->group.number)
        node_tell_at_once(node, s);
    node->voters = s->conf->group.number;
}

static void dispatch(struct node *node, struct step *s, const struct event *event)
{
    struct api_context context = api_context(node, s);
    switch (event->kind) {
    case EVENT_TICK:
        tick(node, s);
        break;
    case EVENT_PEER_UP:
        view_peer(node->view, event->host, true, s->now);
        membership_peer(node->membership, s, event->host, true);
        say_who_plans(node, s, event->host);
        node_send_capability(node, s, event->host);
        break;
    case EVENT_PEER_DOWN:
        view_peer(node->view, event->host, false, s->now);
        membership_peer(node->membership, s, event->host, false);
        break;
    case EVENT_FRAME:
        frame_received(node, s, event->host, event->frame);
        break;
    case EVENT_ROLE:
        set_leader(node, s, event->term, event->leader);
        for (size_t i = 0; i < view_count(node->view); i++)
            if (view_at(node->view, i)->linked)
                say_who_plans(node, s, view_at(node->view, i)->name);
        break;
    case EVENT_APPLIED:
        applied(node, s, event);
        break;
    case EVENT_RESTORED:
        restored(node, s, event);
        break;
    case EVENT_PROPOSED:
        proposed(node, s, event);
        break;
    case EVENT_HV:
        hypervisor_answered(node, s, event->result);
        break;
    case EVENT_EVALUATED:
        duty_evaluated(node->duty, s, node->view, node->state, event->token, &event->err,
                       event->evaluated);
        break;
    case EVENT_API:
        api_call(node->api, &context, event->token, event->call);
        break;
    case EVENT_CHANGED:
        node->observe_at = MIN(node->observe_at, s->now.mono + CHANGED_DELAY_MS);
        break;
    case EVENT_VOTERS:
        voters_changed(node, s);
        break;
    case EVENT_RESIGN:
        duty_resign(node->duty, s, node->view, node->state);
        break;
    case EVENT_LEAVE:
        membership_leave(node->membership, s);
        break;
    }
}

/* Goodbye before it sleeps, so that nobody takes it for dead; and back. */
static void follow_sleep(struct node *node, struct step *s)
{
    bool away = exec_is_away(node->exec);
    if (away == node->away)
        return;
    node->away = away;
    if (away) {
        node_tell_at_once(node, s);
        membership_leave(node->membership, s);
    } else {
        membership_return(node->membership, s);
        node->look_at = node->observe_at = s->now.mono;
    }
}

/* What a module sends to its own host comes back as a frame, without a network. Returns the frame
 * taken out of the effects, or NULL when there is none from index *i on. */
static Skein__Frame *take_own(const struct node *node, struct effects *out, size_t *i)
{
    for (; *i < out->n; (*i)++) {
        struct effect *e = &out->items[*i];
        if (e->kind != EFFECT_SEND || strcmp(e->key, node->conf->host) != 0)
            continue;
        Skein__Frame *frame = skein__frame__unpack(NULL, e->len, e->data);
        REQUIRE(frame != NULL);
        free(e->key);
        free(e->data);
        memmove(e, e + 1, (out->n - *i - 1) * sizeof *e);
        out->n--;
        return frame;
    }
    return NULL;
}

json_t *node_week(const struct node *node, int64_t *seen)
{
    return view_week(node->view, seen);
}

void node_week_take(struct node *node, const json_t *week)
{
    view_week_take(node->view, week);
}

void node_step(struct node *node, const struct event *event, struct moment now, struct effects *out)
{
    struct step s = {
        .now = now,
        .conf = node->conf,
        .out = out,
        .rng = &node->rng,
        .next_token = &node->next_token,
    };
    s.now.clock = node->clock;
    size_t seen = out->n, first = seen;
    dispatch(node, &s, event);
    Skein__Frame *own;
    while ((own = take_own(node, out, &seen)) != NULL) {
        frame_received(node, &s, node->conf->host, own);
        skein__frame__free_unpacked(own, NULL);
    }
    follow_sleep(node, &s);
    if (node->named[0] != '\0') /* not while the membership is at work */
        membership_reach(node->membership, &s, node->named);
    node->named[0] = '\0';
    for (size_t i = first; i < out->n; i++) {
        if (out->items[i].kind == EFFECT_SEND && !out->items[i].gossip)
            membership_reach(node->membership, &s, out->items[i].key);
        if (out->items[i].kind == EFFECT_AUDIT)
            tally_record(&node->tally, out->items[i].record);
    }
}
