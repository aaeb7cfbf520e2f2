#include "agent/core/gossip_priv.h"

uint64_t gossip_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
uint64_t gossip_random(struct gossip *g)
{
    return gossip_mix(g->rng += 0x9e3779b97f4a7c15u);
}

void gossip_wake(struct gossip *g, msec at)
{
    g->deadline = MIN(g->deadline, at);
}

struct gossip_effect *gossip_effect(struct gossip *g, enum gossip_effect_kind kind, gossip_id host)
{
    ARRAY_RESERVE(g->out->items, g->out->cap, g->out->n + 1);
    struct gossip_effect *e = &g->out->items[g->out->n++];
    *e = (struct gossip_effect){.kind = kind, .host = host};
    return e;
}

static struct gossip_item *own_item(const struct gossip *g, uint64_t incarnation, uint32_t epoch)
{
    struct gossip_item *item = gossip_item_new(GOSSIP_MEMBER, g->id, g->id);
    const char *domain = g->conf.domain != NULL ? g->conf.domain : "";
    item->incarnation = incarnation;
    item->epoch = epoch;
    item->urgent = true;
    item->name = xstrdup(g->conf.host);
    item->address = xstrdup(g->conf.address);
    item->domain = xstrdup(domain);
    /* A host without a domain is one of its own. */
    item->domain_hash = domain[0] != '\0' ? gossip_id_of(domain) : g->id;
    item->wire_len = 64 + strlen(item->name) + strlen(item->address) + strlen(item->domain);
    return item;
}

struct gossip *gossip_new(const struct gossip_conf *conf, msec now)
{
    struct gossip *g = xcalloc(1, sizeof *g);
    g->conf = *conf;
    if (g->conf.summary_every == 0)
        g->conf.summary_every = SUMMARY_EVERY;
    g->id = gossip_id_of(conf->host);
    g->rng = conf->seed ^ g->id;
    g->began = g->now = g->ticked = now;
    g->own = own_item(g, conf->incarnation, 0);
    g->domain_hash = g->own->domain_hash;
    members_add(g, g->own);
    g->root = g->id;
    g->root_since = now;
    g->own_sequence = (uint32_t)(conf->incarnation / ROOT_EVERY); /* beyond an earlier life's */
    g->seeds_at = now;
    g->stalled_at = now;
    g->slow_at = now;
    g->next_sync = now + (msec)(gossip_random(g) % SYNC_EVERY);
    g->next_scan = now + (msec)(gossip_random(g) % SCAN_EVERY);
    g->next_rejoin = now + (msec)(gossip_random(g) % REJOIN_EVERY);
    g->next_rate = now + g->conf.summary_every;
    g->deadline = now;
    return g;
}

void gossip_free(struct gossip *g)
{
    if (g == NULL)
        return;
    links_done(g);
    members_done(g);
    gossip_item_unref(g->own);
    gossip_item_unref(g->own_news);
    free(g->suspicions);
    free(g->clones);
    free(g);
}

void gossip_acquaint(struct gossip *g, struct gossip_item *const *members, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (members_find(g, members[i]->host) == NO_PLACE)
            members_add(g, members[i]);
}

struct gossip_item *gossip_own(const struct gossip *g)
{
    return g->own;
}

void gossip_own_renew(struct gossip *g, uint64_t incarnation, uint32_t epoch)
{
    gossip_item_unref(g->own);
    g->own = own_item(g, incarnation, epoch);
}

msec gossip_deadline(const struct gossip *g)
{
    return g->deadline;
}

static void tick(struct gossip *g)
{
    msec late = g->now - MAX(g->deadline, g->ticked);
    if (late >= STALL && g->ticked != g->began)
        detect_stall(g, late);
    g->ticked = g->now;
    g->deadline = g->now + 1000;
    detect_tick(g);
    tree_tick(g);
    spread_tick(g);
    links_tick(g);
}

static void message(struct gossip *g, gossip_id host, const struct gossip_message *m)
{
    struct gossip_link *l = gossip_link_find(g, host);
    if (l == NULL)
        return;
    l->theirs = m->mesh;
    l->bye |= m->bye;
    detect_heard(g, l);
    tree_heard(g, l, m);
    spread_message(g, l, m);
    if (m->ping && (l = gossip_link_find(g, host)) != NULL)
        gossip_link_wake(g, l);
}

/* Goodbye, over every link at once; whoever hears it takes the links that end for no death. */
static void leave(struct gossip *g)
{
    struct gossip_item *item = gossip_item_new(GOSSIP_LEFT, g->id, g->id);
    item->incarnation = g->own->incarnation;
    item->epoch = g->own->epoch;
    item->wire_len = 40;
    g->left = true;
    spread_rumour(g, NULL, item, g->now);
    gossip_item_unref(item);
}

void gossip_step(struct gossip *g, const struct gossip_event *event, msec now,
                 struct gossip_out *out)
{
    g->now = now;
    g->out = out;
    switch (event->kind) {
    case GOSSIP_TICK:
        tick(g);
        break;
    case GOSSIP_LINK_UP:
        links_up(g, event->host);
        break;
    case GOSSIP_LINK_DOWN:
        links_down(g, event->host);
        break;
    case GOSSIP_MESSAGE:
        message(g, event->host, event->message);
        break;
    case GOSSIP_TELL:
        spread_own(g, event->item);
        break;
    case GOSSIP_USED:
        links_used(g, event->host);
        break;
    case GOSSIP_DEMAND:
        links_demand(g, event->host);
        break;
    case GOSSIP_LEAVE:
        leave(g);
        break;
    case GOSSIP_RETURN:
        g->left = false;
        spread_return(g);
        break;
    }
    if (g->rings_changed)
        links_choose(g);
    links_flush(g);
    g->out = NULL;
}

size_t gossip_count(const struct gossip *g)
{
    return g->n_members;
}

void gossip_at(const struct gossip *g, size_t i, struct gossip_member *ret)
{
    const struct member *m = &g->members[i];
    *ret = (struct gossip_member){.item = m->item,
                                  .state = member_state(m),
                                  .suspected = detect_suspected(g, m->item->host),
                                  .cloned = spread_is_clone(g, m->item->host),
                                  .linked = gossip_link_find(g, m->item->host) != NULL,
                                  .summary = m->news,
                                  .born = member_born(g, m)};
}

bool gossip_find(const struct gossip *g, gossip_id id, struct gossip_member *ret)
{
    size_t place = members_find(g, id);
    if (place != NO_PLACE)
        gossip_at(g, place, ret);
    return place != NO_PLACE;
}

void gossip_stats(const struct gossip *g, struct gossip_stats *ret)
{
    *ret = g->stats;
    ret->alive = g->n_alive;
    ret->links = g->n_links;
    ret->mesh_links = 0;
    for (size_t i = 0; i < g->n_links; i++)
        ret->mesh_links += gossip_link_is_mesh(g->links[i]);
    ret->root = g->root;
    ret->distance = g->distance;
    ret->orphan = tree_is_orphan(g);
    ret->slow = g->slow;
}
