/* Items taken in and passed on; agreement on who there is (anti-entropy); what is missed. */
#include "agent/core/gossip_priv.h"

/* ---- passing on ---- */

/* Over every link but the one it came by: the shortest way to everybody, and many of them. */
void spread_rumour(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                   msec born)
{
    for (size_t i = 0; i < g->n_links; i++)
        if (g->links[i] != from && gossip_link_is_mesh(g->links[i]))
            gossip_link_queue(g, g->links[i], item, born, true);
}

static void along_tree(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                       msec born)
{
    for (size_t i = 0; i < g->n_links; i++)
        if (g->links[i] != from && tree_link(g, g->links[i]))
            gossip_link_queue(g, g->links[i], item, born, false);
}

static void pass_on(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                    msec born)
{
    if (item->urgent)
        spread_rumour(g, from, item, born);
    else
        along_tree(g, from, item, born);
}

/* ---- summaries ---- */

static bool is_newer(const struct gossip_item *item, const struct gossip_item *than)
{
    if (than == NULL || item->incarnation != than->incarnation)
        return than == NULL || item->incarnation > than->incarnation;
    return item->sequence > than->sequence;
}

static void take_summary(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                         msec born)
{
    size_t place = members_find(g, item->host);
    if (place == NO_PLACE || item->host == g->id)
        return;
    struct member *m = &g->members[place];
    if (item->incarnation < m->item->incarnation || !is_newer(item, m->news)) {
        g->stats.repeats++;
        return;
    }
    gossip_item_unref(m->news);
    m->news = gossip_item_ref(item);
    m->born = (uint32_t)(MAX(born - g->began, (msec)0) / 10);
    g->stats.summaries++;
    g->rate++;
    struct gossip_effect *e = gossip_effect(g, GOSSIP_NEWS, item->host);
    e->item = gossip_item_ref(item);
    e->born = born;
    pass_on(g, from, item, born);
}

void spread_own(struct gossip *g, struct gossip_item *item)
{
    gossip_item_unref(g->own_news);
    g->own_news = item;
    size_t place = members_find(g, g->id);
    struct member *m = &g->members[place];
    gossip_item_unref(m->news);
    m->news = gossip_item_ref(item);
    m->born = (uint32_t)((g->now - g->began) / 10);
    if (!g->left)
        pass_on(g, NULL, item, g->now);
}

/* ---- two lives of one host ---- */

static struct clone *clone_find(const struct gossip *g, gossip_id id)
{
    for (size_t i = 0; i < g->n_clones; i++)
        if (g->clones[i].id == id)
            return &g->clones[i];
    return NULL;
}

bool spread_is_clone(const struct gossip *g, gossip_id id)
{
    const struct clone *c = clone_find(g, id);
    return c != NULL && g->now < c->until;
}

/* A life raises its incarnation to one more than another's when it hears of that: once after its
 * clock was set back, again and again when the other one lives. */
static void note_raise(struct gossip *g, gossip_id id)
{
    struct clone *c = clone_find(g, id);
    if (c == NULL) {
        ARRAY_RESERVE(g->clones, g->cap_clones, g->n_clones + 1);
        c = &g->clones[g->n_clones++];
        *c = (struct clone){.id = id};
    } else if (g->now - c->at > CLONE_FOR) {
        c->raises = 0;
    }
    c->at = g->now;
    if (++c->raises > 1)
        c->until = g->now + CLONE_FOR;
    gossip_wake(g, g->now + CLONE_FOR);
}

/* ---- membership ---- */

static void announce(struct gossip *g, uint64_t incarnation, uint32_t epoch)
{
    gossip_own_renew(g, incarnation, epoch);
    member_set(g, members_find(g, g->id), g->own, NULL);
    spread_rumour(g, NULL, g->own, g->now);
}

void spread_return(struct gossip *g)
{
    announce(g, g->own->incarnation, g->own->epoch + 1);
}

/* Somebody says something newer of this host than it said itself. */
static void hear_of_self(struct gossip *g, const struct gossip_item *item)
{
    uint64_t said = item_version(item) | (item->kind == GOSSIP_SUSPECT ? GOSSIP_GONE_DEAD : 0);
    if (g->left || said <= item_version(g->own))
        return;
    if (item->incarnation == g->own->incarnation) {
        g->stats.refutations++;
        announce(g, g->own->incarnation, item->epoch + 1);
        return;
    }
    const struct clone *c = clone_find(g, g->id);
    if (c != NULL && c->raises > 2 && g->now - g->raised_at < CLONE_EVERY)
        return;
    g->raised_at = g->now;
    note_raise(g, g->id);
    announce(g, item->incarnation + 1, 0);
    members_tell(g, members_find(g, g->id));
}

static void take_member(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                        msec born)
{
    size_t place = members_find(g, item->host);
    if (item->host == g->id) {
        hear_of_self(g, item);
        return;
    }
    if (place == NO_PLACE && g->n_members >= MEMBERS_MAX)
        return;
    if (place == NO_PLACE) {
        place = members_add(g, item);
    } else {
        struct member *m = &g->members[place];
        if (item_version(item) <= member_version(m))
            return;
        if (item->incarnation == m->item->incarnation + 1)
            note_raise(g, item->host);
        if (item->incarnation > m->item->incarnation)
            avoid_drop(g, item->host); /* that was another life */
        links_address_changed(g, item);
        member_set(g, place, item, NULL);
        detect_settled(g, item->host);
    }
    members_tell(g, place);
    spread_rumour(g, from, item, born);
}

static void take_verdict(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                         msec born)
{
    size_t place = members_find(g, item->host);
    if (item->host == g->id) {
        hear_of_self(g, item);
        return;
    }
    if (place == NO_PLACE || item_version(item) <= member_version(&g->members[place]))
        return;
    member_set(g, place, NULL, item);
    detect_settled(g, item->host);
    members_tell(g, place);
    spread_rumour(g, from, item, born);
}

void spread_take(struct gossip *g, struct gossip_link *from, struct gossip_item *item, msec born)
{
    switch (item->kind) {
    case GOSSIP_SUMMARY:
        take_summary(g, from, item, born);
        break;
    case GOSSIP_MEMBER:
        take_member(g, from, item, born);
        break;
    case GOSSIP_SUSPECT:
        if (item->host == g->id)
            hear_of_self(g, item);
        else
            detect_suspect(g, from, item, born);
        break;
    case GOSSIP_DEAD:
    case GOSSIP_LEFT:
        take_verdict(g, from, item, born);
        break;
    }
}

/* ---- agreement on the membership ----
 * The one asks with 64 hashes; the other lists its members in the buckets that differ; the one
 * sends what is newer here and asks for what is newer there. */

static void give(struct gossip *g, struct gossip_link *l, const struct member *m)
{
    gossip_link_queue(g, l, m->item, g->now, true);
    if (m->verdict != NULL)
        gossip_link_queue(g, l, m->verdict, g->now, true);
}

void spread_sync(struct gossip *g, struct gossip_link *l)
{
    struct gossip_message *m = gossip_link_message(g, l);
    m->digest = xmemdup(g->digest, sizeof g->digest);
    gossip_link_send(g, l, m);
}

static void list_member(struct gossip_message *m, const struct member *member)
{
    ARRAY_RESERVE(m->list, m->cap_list, m->n_list + 1);
    m->list[m->n_list++] = (struct gossip_listed){member->item->host, member_version(member)};
}

static void answer_digest(struct gossip *g, struct gossip_link *l, const uint64_t *theirs)
{
    uint64_t differ = 0;
    for (unsigned b = 0; b < GOSSIP_BUCKETS; b++)
        if (g->digest[b] != theirs[b])
            differ |= (uint64_t)1 << b;
    if (differ == 0)
        return;
    struct gossip_message *m = gossip_link_message(g, l);
    m->listed = differ;
    for (size_t i = 0; i < g->n_members; i++)
        if ((differ >> (g->members[i].item->host >> 58) & 1) != 0)
            list_member(m, &g->members[i]);
    gossip_link_send(g, l, m);
}

static void want(struct gossip_message *m, gossip_id id)
{
    ARRAY_RESERVE(m->want, m->cap_want, m->n_want + 1);
    m->want[m->n_want++] = id;
}

/* They believe a member gone that speaks here: it shall say itself that it lives. Taking their word
 * would have it dead here, too, until it says so. */
static bool should_challenge(const struct gossip *g, const struct member *m, uint64_t theirs)
{
    bool gone_there = (theirs & 3) == GOSSIP_GONE_DEAD && m->verdict == NULL &&
                      theirs >> 2 == member_version(m) >> 2;
    return gone_there && (m->item->host == g->id || member_fresh(g, m));
}

static void challenge(struct gossip *g, const struct member *m)
{
    if (m->item->host == g->id) {
        announce(g, g->own->incarnation, g->own->epoch + 1);
        return;
    }
    struct gossip_item *item = gossip_item_new(GOSSIP_SUSPECT, g->id, m->item->host);
    item->incarnation = m->item->incarnation;
    item->epoch = m->item->epoch;
    item->urgent = true;
    item->wire_len = 48;
    spread_rumour(g, NULL, item, g->now);
    gossip_item_unref(item);
}

static void compare(struct gossip *g, struct gossip_link *l, const struct gossip_listed *listed,
                    struct gossip_message *back)
{
    size_t place = members_find(g, listed->id);
    if (place == NO_PLACE) {
        want(back, listed->id);
        return;
    }
    const struct member *m = &g->members[place];
    uint64_t mine = member_version(m);
    if (should_challenge(g, m, listed->version))
        challenge(g, m);
    else if (mine < listed->version)
        want(back, listed->id);
    else if (mine > listed->version && mine >> 2 == listed->version >> 2 && m->verdict != NULL)
        list_member(back, m); /* the other end decides whether to believe it */
    else if (mine > listed->version)
        give(g, l, m);
}

static int by_id(const void *a, const void *b)
{
    gossip_id x = ((const struct gossip_listed *)a)->id, y = ((const struct gossip_listed *)b)->id;
    return x < y ? -1 : x > y;
}

static void give_unlisted(struct gossip *g, struct gossip_link *l, const struct gossip_message *m)
{
    _cleanup_(freep) struct gossip_listed *sorted =
        m->n_list > 0 ? xmemdup(m->list, m->n_list * sizeof *m->list) : NULL;
    if (m->n_list > 0)
        qsort(sorted, m->n_list, sizeof *sorted, by_id);
    for (size_t i = 0; i < g->n_members; i++) {
        struct gossip_listed key = {g->members[i].item->host, 0};
        if ((m->listed >> (key.id >> 58) & 1) == 0)
            continue;
        if (m->n_list == 0 || bsearch(&key, sorted, m->n_list, sizeof *sorted, by_id) == NULL)
            give(g, l, &g->members[i]);
    }
}

static void answer_list(struct gossip *g, struct gossip_link *l, const struct gossip_message *m)
{
    struct gossip_message *back = gossip_link_message(g, l);
    for (size_t i = 0; i < m->n_list; i++)
        compare(g, l, &m->list[i], back);
    give_unlisted(g, l, m);
    if (back->n_want > 0 || back->n_list > 0)
        gossip_link_send(g, l, back);
    else
        gossip_message_free(back);
}

/* ---- what is missed ---- */

static void answer_pull(struct gossip *g, struct gossip_link *l, const struct gossip_message *m)
{
    for (size_t i = 0; i < m->n_pull; i++) {
        size_t place = members_find(g, m->pull[i]);
        const struct member *member = place != NO_PLACE ? &g->members[place] : NULL;
        if (member == NULL || member->news == NULL || member->news->sequence <= m->pull_sequence[i])
            continue;
        gossip_link_queue(g, l, member->news, member_born(g, member), true);
    }
}

static bool is_overdue(const struct gossip *g, const struct member *m)
{
    if (m->verdict != NULL || m->item->host == g->id || detect_suspected(g, m->item->host))
        return false;
    return m->news == NULL || g->now - member_born(g, m) > g->conf.summary_every + 1500;
}

/* From any neighbour but the parent, who would have sent them. */
static struct gossip_link *somebody(struct gossip *g, bool not_parent)
{
    size_t n = g->n_links, from = n > 0 ? gossip_random(g) % n : 0;
    struct gossip_link *parent = NULL;
    for (size_t i = 0; i < n; i++) {
        struct gossip_link *l = g->links[(from + i) % n];
        if (!gossip_link_is_mesh(l) || !l->heard || l->asked_at != 0)
            continue;
        if (not_parent && l->id == g->parent)
            parent = l;
        else
            return l;
    }
    return parent;
}

/* What is overdue. */
static void pull_missing(struct gossip *g)
{
    struct gossip_link *l = g->now - g->pulled_at >= 1000 ? somebody(g, true) : NULL;
    if (l == NULL)
        return;
    struct gossip_message *m = NULL;
    size_t from = g->n_members > 0 ? gossip_random(g) % g->n_members : 0;
    for (size_t i = 0; i < g->n_members && (m == NULL || m->n_pull < PULL_MAX); i++) {
        const struct member *member = &g->members[(from + i) % g->n_members];
        if (!is_overdue(g, member))
            continue;
        if (m == NULL)
            m = gossip_link_message(g, l);
        ARRAY_RESERVE(m->pull, m->cap_pull, m->n_pull + 1);
        ARRAY_RESERVE(m->pull_sequence, m->cap_pull_sequence, m->n_pull + 1);
        bool known = member->news != NULL && member->news->incarnation == member->item->incarnation;
        m->pull[m->n_pull] = member->item->host;
        m->pull_sequence[m->n_pull++] = known ? member->news->sequence : 0;
    }
    if (m == NULL)
        return;
    g->pulled_at = g->now;
    g->stats.pulls += m->n_pull;
    gossip_link_send(g, l, m);
}

/* How many should have come since the last look? Few hosts are looked at one by one; with many, a
 * shortfall is looked for by the count. */
static void watch_rate(struct gossip *g)
{
    if (g->now < g->next_rate)
        return;
    size_t expected = (g->n_alive - 1) * 2000 / (size_t)g->conf.summary_every;
    bool few = g->n_alive < 64;
    g->next_rate = g->now + 2000;
    if (few || g->rate * 10 < expected * 7)
        pull_missing(g);
    g->rate = 0;
}

/* Those who are taken for dead may live on the other side of a cut, those who left may be back
 * among hosts that we do not know, and so may a seed. In the whole cluster one call at a time, on
 * average. */
static void call_others(struct gossip *g)
{
    g->next_rejoin = g->now + REJOIN_EVERY;
    if (gossip_random(g) % g->n_alive != 0)
        return;
    links_call_stranger(g);
    size_t from = gossip_random(g) % g->n_members;
    for (size_t i = 0; i < g->n_members; i++) {
        const struct member *m = &g->members[(from + i) % g->n_members];
        if (m->verdict == NULL)
            continue;
        links_demand(g, m->item->host);
        return;
    }
}

void spread_tick(struct gossip *g)
{
    watch_rate(g);
    if (g->now >= g->next_scan) {
        g->next_scan = g->now + SCAN_EVERY;
        pull_missing(g);
    }
    if (g->now >= g->next_sync) {
        struct gossip_link *l = somebody(g, false);
        g->next_sync = g->now + SYNC_EVERY;
        if (l != NULL)
            spread_sync(g, l);
    }
    if (g->now >= g->next_rejoin)
        call_others(g);
    for (size_t i = 0; i < g->n_clones; i++)
        if (g->clones[i].until != 0 && g->now >= g->clones[i].until) {
            g->clones[i].until = 0;
            members_tell(g, members_find(g, g->clones[i].id));
        }
    gossip_wake(g, MIN(g->next_rate, g->next_sync));
}

/* ---- a message ---- */

void spread_message(struct gossip *g, struct gossip_link *l, const struct gossip_message *m)
{
    for (size_t i = 0; i < m->n_items; i++)
        spread_take(g, l, m->items[i].item, g->now - m->items[i].age);
    if (m->digest != NULL)
        answer_digest(g, l, m->digest);
    if (m->n_list > 0 || m->listed != 0)
        answer_list(g, l, m);
    for (size_t i = 0; i < m->n_want; i++) {
        size_t place = members_find(g, m->want[i]);
        if (place != NO_PLACE)
            give(g, l, &g->members[place]);
    }
    if (m->n_pull > 0)
        answer_pull(g, l, m);
}
