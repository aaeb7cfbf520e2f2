/* agent.c - one agent: what agent/io does around a node. Effects wait for the disk, group by group
 * and in order (performer.h); death comes between any two, and keeps a prefix of what was being
 * written. */
#include "tests/sim/sim.h"

struct moment agent_time(const struct sim *s, const struct sim_host *h)
{
    return (struct moment){.mono = s->now, .wall = SIM_WALL + s->now + h->skew};
}

static const char *const policies[] = {"simulated"};

void agent_make(struct sim *s, int index)
{
    struct sim_host *h = &s->hosts[index];
    h->index = index;
    snprintf(h->name, sizeof h->name, "hv%d", index + 1);
    snprintf(h->address, sizeof h->address, "10.0.0.%d:7440", index + 1);
    s->addresses[index] = h->address;
    h->voter = index < s->n_voters;
    h->told_leader = -1;
    h->conf = (struct node_conf){
        .cluster = "dc1",
        .cluster_uuid = SIM_CLUSTER,
        .host = h->name,
        .voters = s->voters,
        .n_voters = (size_t)s->n_voters,
        .own = &h->own,
        .migration_address = "10.0.0.1",
        .policies = policies,
        .n_policies = 1,
        .limit_total = s->limit_total,
        .limit_inflow = (unsigned)sim_between(s, 1, 2),
        .limit_outflow = (unsigned)sim_between(s, 1, 2),
        .observe_every = 3000,
        .mesh_address = h->address,
        .seeds = s->addresses,
        .n_seeds = (size_t)s->n_hosts,
        .summary_every = 6000,
        .detail_every = 2000,
        .evaluate_every = s->power ? 4000 : 15000,
        .stale_after = 15000,
        .plan_lifetime = 300000,
        .permit_lifetime = 15000,
        .reservation_lifetime = 60000,
        .request_timeout = 3000,
        .action_timeout = 120000,
        .clock_skew_limit = 2000,
        .trust = &s->trust,
    };
}

/* ---- the disk ---- */

static struct stored *find_stored(struct sim_host *h, const char *key)
{
    for (size_t i = 0; i < h->n_journal; i++)
        if (strcmp(h->journal[i].key, key) == 0)
            return &h->journal[i];
    return NULL;
}

static void drop_stored(struct sim_host *h, struct stored *x)
{
    free(x->key);
    free(x->data);
    *x = h->journal[--h->n_journal];
}

static void store(struct sim *s, struct sim_host *h, const struct effect *e)
{
    struct stored *x = find_stored(h, e->key);
    if (x != NULL)
        drop_stored(h, x);
    if (e->data != NULL) {
        ARRAY_RESERVE(h->journal, h->cap_journal, h->n_journal + 1);
        h->journal[h->n_journal++] =
            (struct stored){xstrdup(e->key), xmemdup(e->data, e->len), e->len};
    }
    witness_journal(s, h, e);
}

static bool is_durable(enum effect_kind kind)
{
    return kind == EFFECT_JOURNAL || kind == EFFECT_AUDIT || kind == EFFECT_SNAPSHOT;
}

static void write_out(struct sim *s, struct sim_host *h, const struct effects *effects)
{
    for (size_t i = 0; i < effects->n; i++) {
        const struct effect *e = &effects->items[i];
        if (e->kind == EFFECT_JOURNAL)
            store(s, h, e);
        else if (e->kind == EFFECT_AUDIT)
            witness_audit(s, h, e);
    }
}

/* ---- versions ---- */

/* A field that this version does not know, at the end of a message. */
static void add_unknown(struct effect *e)
{
    static const uint8_t field[] = {0xfa, 0x3e, 2, 'h', 'i'};
    uint8_t *longer = xmalloc(e->len + sizeof field);
    memcpy(longer, e->data, e->len);
    memcpy(longer + e->len, field, sizeof field);
    free(e->data);
    e->data = longer;
    e->len += sizeof field;
}

/* What the next version might say: fields, requests and frames that this one does not know. */
static void speak_newer(struct sim *s, const struct sim_host *h, struct effects *effects)
{
    static const uint8_t request[] = {14 << 3 | 2, 7, 1 << 3, 5, 0xfa, 0x3e, 2, 'h', 'i'};
    for (size_t i = 0; i < effects->n; i++) {
        struct effect *e = &effects->items[i];
        bool message = e->kind == EFFECT_SEND || e->kind == EFFECT_PROPOSE ||
                       (e->kind == EFFECT_JOURNAL && e->data != NULL);
        if (message)
            add_unknown(e);
        if (e->kind == EFFECT_SEND && sim_chance(s, 1000)) {
            int to = sim_host_index(s, e->key);
            size_t from = sim_chance(s, 50000) ? 0 : 4; /* a request, or a frame, of no kind */
            if (to >= 0 && h->linked[to])
                network_send(s->net, s->now, h->index, to, request + from, sizeof request - from);
        }
    }
}

/* ---- effects ---- */

static void hand_out(struct sim *s, struct sim_host *h, struct effect *e)
{
    int to;
    switch (e->kind) {
    case EFFECT_SEND:
        to = sim_host_index(s, e->key);
        if (to >= 0 && h->linked[to])
            network_send(s->net, s->now, h->index, to, e->data, e->len);
        break;
    case EFFECT_PROPOSE:
        agreement_propose(s, h, e);
        break;
    case EFFECT_ANSWER:
        people_answered(s, h, e);
        break;
    case EFFECT_JOB:
        witness_job(s, h, e->job);
        world_job(s, h, e);
        break;
    case EFFECT_EVALUATE:
        plans_evaluate(s, h, e->token, TAKE_PTR(e->evaluation));
        break;
    case EFFECT_VOTERS:
        electors_follow(s, h, e);
        break;
    case EFFECT_YIELD:
        agreement_yield(s, h, e->key);
        break;
    case EFFECT_DIAL: /* everybody is linked with everybody who can be reached */
    case EFFECT_UNDIAL:
    case EFFECT_CLOSE:
    case EFFECT_JOURNAL:
    case EFFECT_AUDIT:
    case EFFECT_SNAPSHOT:
    case EFFECT_NOTICE:
    case EFFECT_TRACE:
        break;
    }
}

static bool is_job(enum effect_kind kind)
{
    return kind == EFFECT_JOB || kind == EFFECT_EVALUATE;
}

/* False: it died on the way. */
static bool perform(struct sim *s, struct sim_host *h, struct effects *effects)
{
    for (int jobs = 0; jobs <= 1; jobs++)
        for (size_t i = 0; i < effects->n; i++) {
            struct effect *e = &effects->items[i];
            if (is_durable(e->kind) || e->kind == EFFECT_TRACE || is_job(e->kind) != (jobs == 1))
                continue;
            hand_out(s, h, e);
            bool important = e->kind == EFFECT_JOB && e->job->kind != HV_OBSERVE;
            if (s->faults && s->rates.effect_crash != 0 &&
                sim_chance(s, important ? 20 * s->rates.effect_crash : s->rates.effect_crash))
                return false;
        }
    return true;
}

static void pop_group(struct sim_host *h)
{
    struct group *g = h->first;
    h->first = g->next;
    if (h->first == NULL)
        h->last = &h->first;
    effects_clear(&g->effects);
    free(g);
}

static void groups_due(struct sim *s, struct later *l)
{
    struct sim_host *h = &s->hosts[l->host];
    while (h->first != NULL && h->first->due <= s->now) {
        struct group *g = h->first;
        write_out(s, h, &g->effects);
        bool dies =
            s->faults && s->rates.effect_crash != 0 && sim_chance(s, 20 * s->rates.effect_crash);
        struct effects effects = g->effects;
        g->effects = (struct effects){0};
        pop_group(h);
        bool alive = !dies && perform(s, h, &effects);
        effects_clear(&effects);
        if (!alive) {
            agent_crash(s, h, sim_between(s, 200, 6000));
            return;
        }
    }
}

static msec disk_delay(struct sim *s, const struct sim_host *h)
{
    return h->disk_slow_until > s->now ? sim_between(s, 100, 3000) : sim_between(s, 1, 8);
}

static void take(struct sim *s, struct sim_host *h, struct effects *out)
{
    bool durable = false;
    for (size_t i = 0; i < out->n; i++)
        durable = durable || is_durable(out->items[i].kind);
    if (!durable && h->first == NULL) {
        bool alive = perform(s, h, out);
        effects_clear(out);
        if (!alive)
            agent_crash(s, h, sim_between(s, 200, 6000));
        return;
    }
    struct group *g = xcalloc(1, sizeof *g), *before = NULL;
    for (struct group *x = h->first; x != NULL; x = x->next)
        before = x;
    g->effects = *out;
    g->due = MAX(before != NULL ? before->due : 0, s->now + (durable ? disk_delay(s, h) : 0));
    *out = (struct effects){0};
    *h->last = g;
    h->last = &g->next;
    sim_later(s, g->due - s->now, h->index, groups_due);
}

static void trace_effects(struct sim *s, const struct sim_host *h, const struct effects *out)
{
    for (size_t i = 0; i < out->n; i++)
        if (out->items[i].kind == EFFECT_TRACE)
            sim_trace(s, "%s: %s", h->name, out->items[i].key);
}

void agent_step(struct sim *s, struct sim_host *h, const struct event *event)
{
    struct effects out = {0};
    if (h->node == NULL || s->failed)
        return;
    s->counts->events++;
    node_step(h->node, event, agent_time(s, h), &out);
    if (s->conf.trace)
        trace_effects(s, h, &out);
    if (event->kind == EVENT_FRAME && event->frame->kind_case == SKEIN__FRAME__KIND_REQUEST &&
        event->frame->request->kind_case == SKEIN__REQUEST__KIND_CONFIRM)
        witness_confirms(s, h, event->host, event->frame->request, &out);
    if (out.n == 0) {
        effects_clear(&out); /* what it sent to itself left a list behind */
        return;
    }
    if (h->newer)
        speak_newer(s, h, &out);
    witness_effects(s, h, &out);
    take(s, h, &out);
    witness_check(s);
}

/* ---- life and death ---- */

void agent_up(struct sim *s, struct sim_host *h)
{
    struct err err;
    const Skein__JournalRecord **records = xcalloc(h->n_journal + 1, sizeof *records);
    for (size_t i = 0; i < h->n_journal; i++) {
        Skein__JournalRecord *record = NULL;
        if (codec_journal(h->journal[i].data, h->journal[i].len, &record, &err) < 0)
            sim_fail(s, "%s: its journal cannot be read: %s", h->name, err.msg);
        records[i] = record;
    }
    h->conf.incarnation = (uint64_t)agent_time(s, h).wall;
    h->own_summary.incarnation = h->conf.incarnation;
    h->started = s->now;
    h->last = &h->first;
    if (!s->failed &&
        node_new(&h->conf, rng_next(&s->rng), records, h->n_journal, &h->node, &err) < 0)
        sim_fail(s, "%s: %s", h->name, err.msg);
    for (size_t i = 0; i < h->n_journal; i++)
        if (records[i] != NULL)
            skein__journal_record__free_unpacked((Skein__JournalRecord *)(uintptr_t)records[i],
                                                 NULL);
    free(records);
    SIM_TRACE(s, "%s: its agent starts", h->name);
    electors_tell(s, h);
    if (h->voter)
        agreement_agent_up(s, h);
}

void agent_unlink(struct sim *s, struct sim_host *h)
{
    s->links_changed++;
    for (int i = 0; i < s->n_hosts; i++) {
        struct sim_host *other = &s->hosts[i];
        h->linked[i] = false;
        h->reachable_since[i] = h->cut_since[i] = 0;
        other->reachable_since[h->index] = 0;
        if (!other->linked[h->index])
            continue;
        other->linked[h->index] = false;
        struct event event = {.kind = EVENT_PEER_DOWN, .host = h->name};
        agent_step(s, other, &event);
    }
}

/* What was being written is there up to some point; nothing more was done. */
static void lose_groups(struct sim *s, struct sim_host *h)
{
    bool written = true;
    while (h->first != NULL) {
        written = written && sim_chance(s, 50000);
        if (written)
            write_out(s, h, &h->first->effects);
        pop_group(h);
    }
}

void agent_crash(struct sim *s, struct sim_host *h, msec back_in)
{
    if (h->node == NULL)
        return;
    SIM_TRACE(s, "%s: its agent dies", h->name);
    s->counts->crashes++;
    h->life++;
    memset(h->detail_at, 0, sizeof h->detail_at);
    h->up_at = s->now + back_in;
    node_free(TAKE_PTR(h->node));
    lose_groups(s, h);
    witness_forgot(s, h);
    agent_unlink(s, h);
    if (h->voter || s->replaces)
        agreement_agent_down(s, h);
    people_agent_died(s, h);
}

void agent_done(struct sim_host *h)
{
    node_free(h->node);
    while (h->first != NULL)
        pop_group(h);
    for (size_t i = 0; i < h->n_journal; i++) {
        free(h->journal[i].key);
        free(h->journal[i].data);
    }
    free(h->journal);
    free(h->image);
}

/* ---- links ---- */

bool agent_reachable(const struct sim *s, int from, int to)
{
    return s->hosts[from].node != NULL && s->hosts[to].node != NULL && !s->hosts[from].asleep &&
           !s->hosts[to].asleep &&
           (from == to || (!network_is_cut(s->net, s->now, from, to) &&
                           !network_is_cut(s->net, s->now, to, from)));
}

#define LINK_MS 300    /* to make one */
#define NOTICE_MS 6000 /* to give a silent one up */

static void watch_link(struct sim *s, struct sim_host *h, int to)
{
    if (!agent_reachable(s, h->index, to)) {
        h->reachable_since[to] = 0;
        h->cut_since[to] = h->cut_since[to] != 0 ? h->cut_since[to] : s->now;
        if (h->linked[to] && s->now - h->cut_since[to] >= NOTICE_MS) {
            h->linked[to] = false;
            struct event event = {.kind = EVENT_PEER_DOWN, .host = s->hosts[to].name};
            agent_step(s, h, &event);
        }
        return;
    }
    h->cut_since[to] = 0;
    h->reachable_since[to] = h->reachable_since[to] != 0 ? h->reachable_since[to] : s->now;
    if (h->linked[to] || s->now - h->reachable_since[to] < LINK_MS)
        return;
    h->linked[to] = true;
    struct event event = {.kind = EVENT_PEER_UP, .host = s->hosts[to].name};
    agent_step(s, h, &event);
}

/* Mostly all links stand, and nothing is cut. */
static void watch_links(struct sim *s, struct sim_host *h)
{
    bool cuts = network_has_cuts(s->net, s->now), all = true;
    if (!cuts && h->links_seen == s->links_changed)
        return;
    for (int i = 0; i < s->n_hosts && h->node != NULL; i++)
        if (i != h->index) {
            watch_link(s, h, i);
            all = all && h->linked[i] && h->cut_since[i] == 0;
        }
    h->links_seen = all ? s->links_changed : 0;
}

/* ---- what comes ---- */

void agent_frame(struct sim *s, const struct letter *l)
{
    struct sim_host *h = &s->hosts[l->to];
    struct err err;
    _cleanup_(skein_frame_freep) Skein__Frame *frame = NULL;
    if (h->node == NULL)
        return;
    s->counts->frames++;
    if (codec_frame(l->bytes, l->len, &frame, &err) < 0) {
        sim_fail(s, "%s sends %s a frame that is refused: %s", s->hosts[l->from].name, h->name,
                 err.msg);
        return;
    }
    if (frame->kind_case == SKEIN__FRAME__KIND_SNAPSHOT)
        return;
    if (frame->kind_case == SKEIN__FRAME__KIND_DETAIL)
        h->detail_at[l->from] = s->now;
    struct event event = {.kind = EVENT_FRAME, .host = s->hosts[l->from].name, .frame = frame};
    agent_step(s, h, &event);
}

void agent_tick(struct sim *s, struct sim_host *h)
{
    if (h->node == NULL) {
        if (s->now >= h->up_at && s->now >= h->power_until)
            agent_up(s, h);
        return;
    }
    watch_links(s, h);
    struct event event = {.kind = EVENT_TICK};
    agent_step(s, h, &event);
}
