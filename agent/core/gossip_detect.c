/* Who has died? SWIM (Das, Gupta, Motivala 2002) with Lifeguard's lesson (Dadgar, Phillips, Currey
 * 2018): the slow one is often the observer.
 *
 * The neighbours of a host by the rings watch it: they ask when it is silent, and vote when an
 * answer is long overdue or its link has broken and does not come back. Votes are rumours, so the
 * host hears of them, and a higher epoch from it makes them void. A watcher that votes itself, and
 * counts a majority of those who can watch now (alive, not suspected, heard of lately), from two
 * failure domains where they are in two, says that the host is dead. */
#include "agent/core/gossip_priv.h"

/* How much longer everything takes when this host was slow of late: 1, 1.5, ... 3 times. */
static msec patience(const struct gossip *g, msec base)
{
    return base * (2 + (msec)g->slow) / 2;
}

static struct suspicion *suspicion_find(const struct gossip *g, gossip_id host)
{
    for (size_t i = 0; i < g->n_suspicions; i++)
        if (g->suspicions[i].host == host)
            return &g->suspicions[i];
    return NULL;
}

bool detect_suspected(const struct gossip *g, gossip_id host)
{
    return suspicion_find(g, host) != NULL;
}

/* It lives, but a link to it does not: it is of an earlier life, or something on the way has
 * forgotten it. Another one shall take its place. */
static void replace_silent(struct gossip *g, struct gossip_link *l)
{
    if (l->asked_at == 0 || l->bye || !member_alive(g, l->id))
        return;
    l->bye = true;
    gossip_effect(g, GOSSIP_CLOSE, l->id);
}

void detect_settled(struct gossip *g, gossip_id host)
{
    struct suspicion *s = suspicion_find(g, host);
    struct gossip_link *l = gossip_link_find(g, host);
    if (s != NULL)
        *s = g->suspicions[--g->n_suspicions];
    if (l == NULL)
        return;
    l->voted = false;
    replace_silent(g, l);
}

void detect_heard(struct gossip *g, struct gossip_link *l)
{
    l->heard_at = g->now;
    if (l->asked_at != 0 && g->n_avoids > 0)
        avoid_drop(g, l->id);
    l->asked_at = 0;
}

/* ---- votes ---- */

static void add_voter(struct suspicion *s, gossip_id voter)
{
    for (size_t i = 0; i < s->n_voters; i++)
        if (s->voters[i] == voter)
            return;
    if (s->n_voters < GOSSIP_VOTERS_MAX)
        s->voters[s->n_voters++] = voter;
}

static bool has_voted(const struct suspicion *s, gossip_id voter)
{
    for (size_t i = 0; i < s->n_voters; i++)
        if (s->voters[i] == voter)
            return true;
    return false;
}

/* Can this one watch now? After a stall of our own we have not heard of anybody for a while: then
 * everybody counts. */
static bool can_watch(const struct gossip *g, gossip_id id)
{
    size_t place = members_find(g, id);
    if (place == NO_PLACE || g->members[place].verdict != NULL || detect_suspected(g, id))
        return false;
    return g->now - g->stalled_at < 3 * g->conf.summary_every ||
           member_fresh(g, &g->members[place]);
}

static uint64_t domain_of(const struct gossip *g, gossip_id id)
{
    return g->members[members_find(g, id)].item->domain_hash;
}

/* Does anybody else hear us? A host that is cut off must not bury the others. */
static bool has_company(const struct gossip *g, const struct suspicion *s)
{
    if (s->n_voters > 1 || g->n_alive <= 2)
        return true;
    for (size_t i = 0; i < g->n_links; i++) {
        const struct gossip_link *l = g->links[i];
        if (l->id != s->host && l->heard && l->asked_at == 0 && !detect_suspected(g, l->id))
            return true;
    }
    return false;
}

struct count {
    size_t can, votes;
    uint64_t domain, vote_domain;
    bool domains, vote_domains; /* more than one */
};

static void count_one(const struct gossip *g, const struct suspicion *s, gossip_id id,
                      struct count *c)
{
    uint64_t domain = domain_of(g, id);
    c->domains |= c->can > 0 && domain != c->domain;
    c->domain = domain;
    c->can++;
    if (!has_voted(s, id))
        return;
    c->vote_domains |= c->votes > 0 && domain != c->vote_domain;
    c->vote_domain = domain;
    c->votes++;
}

static bool is_decided(const struct gossip *g, const struct suspicion *s)
{
    gossip_id watchers[GOSSIP_VOTERS_MAX];
    struct count c = {0};
    size_t n = rings_watchers(g, s->host, watchers);
    count_one(g, s, g->id, &c);
    for (size_t i = 0; i < n; i++)
        if (watchers[i] != g->id && can_watch(g, watchers[i]))
            count_one(g, s, watchers[i], &c);
    return c.votes > c.can / 2 && (c.vote_domains || !c.domains) && has_company(g, s);
}

static void declare_dead(struct gossip *g, const struct suspicion *s)
{
    struct gossip_item *item = gossip_item_new(GOSSIP_DEAD, g->id, s->host);
    item->incarnation = s->incarnation;
    item->epoch = s->epoch;
    item->urgent = true;
    item->voters = xmemdup(s->voters, s->n_voters * sizeof *s->voters);
    item->n_voters = s->n_voters;
    item->wire_len = 48 + 8 * s->n_voters;
    spread_take(g, NULL, item, g->now); /* settles the suspicion */
    gossip_item_unref(item);
}

static void decide(struct gossip *g, gossip_id host)
{
    const struct suspicion *s = suspicion_find(g, host);
    if (s != NULL && s->mine && is_decided(g, s))
        declare_dead(g, s);
}

static struct suspicion *suspicion_get(struct gossip *g, const struct member *m)
{
    struct suspicion *s = suspicion_find(g, m->item->host);
    if (s != NULL)
        return s;
    ARRAY_RESERVE(g->suspicions, g->cap_suspicions, g->n_suspicions + 1);
    s = &g->suspicions[g->n_suspicions++];
    *s = (struct suspicion){.host = m->item->host,
                            .incarnation = m->item->incarnation,
                            .epoch = m->item->epoch,
                            .since = g->now};
    members_tell(g, (size_t)(m - g->members));
    return s;
}

void detect_vote(struct gossip *g, gossip_id host)
{
    size_t place = members_find(g, host);
    struct gossip_link *l = gossip_link_find(g, host);
    if (place == NO_PLACE || g->members[place].verdict != NULL || g->left)
        return;
    if (l != NULL)
        l->voted = true;
    struct suspicion *s = suspicion_get(g, &g->members[place]);
    if (s->mine)
        return;
    s->mine = true;
    add_voter(s, g->id);
    g->stats.votes++;
    struct gossip_item *item = gossip_item_new(GOSSIP_SUSPECT, g->id, host);
    item->incarnation = s->incarnation;
    item->epoch = s->epoch;
    item->urgent = true;
    item->wire_len = 48;
    spread_rumour(g, NULL, item, g->now);
    gossip_item_unref(item);
    decide(g, host);
}

void detect_suspect(struct gossip *g, struct gossip_link *from, struct gossip_item *item, msec born)
{
    size_t place = members_find(g, item->host);
    if (place == NO_PLACE || g->members[place].verdict != NULL)
        return;
    const struct member *m = &g->members[place];
    if (item->incarnation != m->item->incarnation || item->epoch != m->item->epoch)
        return; /* refuted, or of a life not yet heard of */
    struct suspicion *s = suspicion_get(g, m);
    if (has_voted(s, item->by) || s->n_voters == GOSSIP_VOTERS_MAX)
        return;
    add_voter(s, item->by);
    spread_rumour(g, from, item, born);
    decide(g, item->host);
}

void detect_lost(struct gossip *g, gossip_id id)
{
    ARRAY_RESERVE(g->lost, g->cap_lost, g->n_lost + 1);
    g->lost[g->n_lost++] = (struct lost){id, g->now};
    gossip_wake(g, g->now + patience(g, LOST_AFTER));
}

/* ---- own slowness ---- */

static void be_slow(struct gossip *g)
{
    g->slow = MIN(g->slow + 1, (unsigned)SLOW_MAX);
    g->slow_at = g->now;
}

/* This host was not running: nobody's silence is held against him for that time. */
void detect_stall(struct gossip *g, msec late)
{
    g->stalled_at = g->now;
    be_slow(g);
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        l->heard_at += late;
        if (l->asked_at != 0)
            l->asked_at = g->now;
    }
    for (size_t i = 0; i < g->n_lost; i++)
        g->lost[i].at = g->now;
    for (size_t i = 0; i < g->n_wants; i++)
        if (g->wants[i].since != 0)
            g->wants[i].since = g->now;
    if (g->root != g->id)
        g->root_heard += late;
}

/* When half of the neighbours are silent at once, it is hardly them. */
static void doubt_oneself(struct gossip *g)
{
    size_t mesh = 0, silent = 0;
    for (size_t i = 0; i < g->n_links; i++) {
        const struct gossip_link *l = g->links[i];
        if (!gossip_link_is_mesh(l))
            continue;
        mesh++;
        silent += l->asked_at != 0 && g->now - l->asked_at > SUSPECT_AFTER / 2;
    }
    if (silent >= 2 && 2 * silent >= mesh && g->now - g->slow_at >= 1000)
        be_slow(g);
    if (g->slow > 0 && g->now - g->slow_at >= SLOW_DECAY) {
        g->slow--;
        g->slow_at = g->now;
    }
}

/* ---- time ---- */

static void watch_link(struct gossip *g, struct gossip_link *l)
{
    if (l->asked_at == 0 && g->now - l->heard_at >= PING_AFTER) {
        struct gossip_message *m = gossip_link_message(g, l);
        m->ping = true;
        l->asked_at = g->now;
        gossip_link_send(g, l, m);
    }
    msec due =
        l->asked_at == 0 ? l->heard_at + PING_AFTER : l->asked_at + patience(g, SUSPECT_AFTER);
    if (l->asked_at != 0 && g->now >= due && !l->voted && !l->bye) {
        detect_vote(g, l->id);
        avoid_add(g, l->id);
    } else if (!l->voted) {
        gossip_wake(g, due);
    }
}

static void watch_lost(struct gossip *g)
{
    for (size_t i = g->n_lost; i-- > 0;) {
        gossip_id id = g->lost[i].id;
        bool alive = member_alive(g, id);
        if (alive && g->now - g->lost[i].at < patience(g, LOST_AFTER)) {
            gossip_wake(g, g->lost[i].at + patience(g, LOST_AFTER));
            continue;
        }
        g->lost[i] = g->lost[--g->n_lost];
        if (alive) {
            detect_vote(g, id);
            avoid_add(g, id);
        }
    }
}

/* A watcher without a link of its own (the host died before it was made) looks for itself:
 * otherwise votes would be missing for ever. */
static void probe(struct gossip *g, struct suspicion *s)
{
    gossip_id watchers[GOSSIP_VOTERS_MAX];
    s->checked = true;
    if (gossip_link_find(g, s->host) != NULL)
        return;
    size_t n = rings_watchers(g, s->host, watchers);
    for (size_t i = 0; i < n; i++)
        if (watchers[i] == g->id) {
            s->probed_at = g->now;
            links_demand(g, s->host);
        }
}

static void watch_suspicion(struct gossip *g, struct suspicion *s)
{
    gossip_id host = s->host;
    if (!s->mine && !s->checked && g->now - s->since >= PROBE_AFTER)
        probe(g, s);
    if (!s->mine && s->probed_at != 0 && g->now - s->probed_at >= DIAL_AFTER &&
        gossip_link_find(g, host) == NULL)
        detect_vote(g, host);
    else
        decide(g, host);
}

static void watch_suspicions(struct gossip *g)
{
    for (size_t i = g->n_suspicions; i-- > 0;) {
        struct suspicion *s = &g->suspicions[i];
        gossip_id host = s->host;
        if (g->now - s->since >= SUSPICION_LIFE) {
            *s = g->suspicions[--g->n_suspicions];
            members_tell(g, members_find(g, host));
        } else {
            watch_suspicion(g, s);
        }
        if (i > g->n_suspicions)
            i = g->n_suspicions;
    }
}

void detect_tick(struct gossip *g)
{
    doubt_oneself(g);
    for (size_t i = 0; i < g->n_links; i++)
        if (gossip_link_is_mesh(g->links[i]))
            watch_link(g, g->links[i]);
    watch_lost(g);
    if (g->n_suspicions > 0) {
        watch_suspicions(g);
        gossip_wake(g, g->now + 500);
    }
}
