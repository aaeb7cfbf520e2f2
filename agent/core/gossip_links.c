/* Which links there should be, and what waits to be sent on each. */
#include "agent/core/gossip_priv.h"

struct gossip_link *gossip_link_find(const struct gossip *g, gossip_id id)
{
    for (size_t i = 0; i < g->n_links; i++)
        if (g->links[i]->id == id)
            return g->links[i];
    return NULL;
}

static struct want *want_find(const struct gossip *g, gossip_id id)
{
    for (size_t i = 0; i < g->n_wants; i++)
        if (g->wants[i].id == id)
            return &g->wants[i];
    return NULL;
}

/* ---- hosts that could not be reached ---- */

bool avoid_is(const struct gossip *g, gossip_id id)
{
    for (size_t i = 0; i < g->n_avoids; i++)
        if (g->avoids[i].id == id)
            return g->now < g->avoids[i].until;
    return false;
}

void avoid_add(struct gossip *g, gossip_id id)
{
    size_t i = 0;
    while (i < g->n_avoids && g->avoids[i].id != id)
        i++;
    if (i == g->n_avoids) {
        ARRAY_RESERVE(g->avoids, g->cap_avoids, g->n_avoids + 1);
        g->avoids[g->n_avoids++] = (struct avoid){.id = id};
    }
    g->avoids[i].until = g->now + AVOID_FOR;
    g->rings_changed = true;
    gossip_wake(g, g->avoids[i].until);
}

void avoid_drop(struct gossip *g, gossip_id id)
{
    for (size_t i = 0; i < g->n_avoids; i++)
        if (g->avoids[i].id == id) {
            g->avoids[i] = g->avoids[--g->n_avoids];
            g->rings_changed = true;
            return;
        }
}

static void avoids_tick(struct gossip *g)
{
    for (size_t i = 0; i < g->n_avoids;)
        if (g->now >= g->avoids[i].until) {
            g->avoids[i] = g->avoids[--g->n_avoids];
            g->rings_changed = true;
        } else {
            i++;
        }
}

/* ---- saying something ---- */

struct gossip_message *gossip_link_message(struct gossip *g, struct gossip_link *l)
{
    struct gossip_message *m = gossip_message_new();
    m->root = g->root;
    m->root_sequence = g->root == g->id ? g->own_sequence : g->root_sequence;
    m->distance = g->distance;
    m->parent = g->parent == l->id;
    m->orphan = tree_is_orphan(g);
    m->mesh = l->mine;
    return m;
}

/* What waits goes along with whatever is sent. */
static void take_queue(struct gossip *g, struct gossip_link *l, struct gossip_message *m)
{
    REQUIRE(m->n_items == 0);
    for (size_t i = 0; i < l->n_queue; i++)
        l->queue[i].age = MAX(g->now - l->queue[i].age, (msec)0);
    m->items = TAKE_PTR(l->queue);
    m->n_items = l->n_queue;
    m->cap_items = l->cap_queue;
    l->n_queue = l->cap_queue = l->queue_bytes = 0;
    l->flush_at = QUANTITY_UNKNOWN;
}

void gossip_link_send(struct gossip *g, struct gossip_link *l, struct gossip_message *m)
{
    take_queue(g, l, m);
    l->said = true;
    l->said_mesh = m->mesh;
    l->said_parent = m->parent;
    l->said_orphan = m->orphan;
    l->sent_at = g->now;
    gossip_effect(g, GOSSIP_SEND, l->id)->message = m;
}

static void flush_link(struct gossip *g, struct gossip_link *l)
{
    gossip_link_send(g, l, gossip_link_message(g, l));
}

void gossip_link_wake(struct gossip *g, struct gossip_link *l)
{
    l->flush_at = g->now;
}

void gossip_link_queue(struct gossip *g, struct gossip_link *l, struct gossip_item *item, msec born,
                       bool at_once)
{
    ARRAY_RESERVE(l->queue, l->cap_queue, l->n_queue + 1);
    l->queue[l->n_queue++] = (struct gossip_carried){gossip_item_ref(item), born};
    l->queue_bytes += item->wire_len;
    msec at = at_once ? g->now : MAX(g->now, l->sent_at + FLUSH_EVERY);
    if (l->flush_at == QUANTITY_UNKNOWN || at < l->flush_at)
        l->flush_at = at;
    if (l->queue_bytes >= FLUSH_BYTES)
        flush_link(g, l);
    else
        gossip_wake(g, l->flush_at);
}

void links_flush(struct gossip *g)
{
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        if (l->flush_at == QUANTITY_UNKNOWN)
            continue;
        if (g->now >= l->flush_at)
            flush_link(g, l);
        else
            gossip_wake(g, l->flush_at);
    }
}

/* ---- wanting links ---- */

static void dial(struct gossip *g, enum gossip_effect_kind kind, gossip_id id, const char *address)
{
    gossip_effect(g, kind, id)->address = xstrdup(address);
}

static struct want *want_add(struct gossip *g, gossip_id id)
{
    size_t place = members_find(g, id);
    struct want *w = want_find(g, id);
    if (w != NULL || place == NO_PLACE || id == g->id)
        return w;
    ARRAY_RESERVE(g->wants, g->cap_wants, g->n_wants + 1);
    w = &g->wants[g->n_wants++];
    *w = (struct want){.id = id,
                       .address = xstrdup(g->members[place].item->address),
                       .since = gossip_link_find(g, id) != NULL ? 0 : MAX(g->now, (msec)1)};
    dial(g, GOSSIP_DIAL, id, w->address);
    gossip_wake(g, g->now + DIAL_AFTER);
    return w;
}

static void want_remove(struct gossip *g, struct want *w)
{
    dial(g, GOSSIP_UNDIAL, w->id, w->address);
    free(w->address);
    *w = g->wants[--g->n_wants];
}

static void want_review(struct gossip *g, struct want *w)
{
    bool linked = gossip_link_find(g, w->id) != NULL;
    if (!w->ring && !w->keep && (linked || g->now >= w->demand_until))
        want_remove(g, w);
}

static bool is_in(const gossip_id *ids, size_t n, gossip_id id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static void keep_links(struct gossip *g)
{
    for (size_t i = 0; i < g->conf.n_keep; i++) {
        struct want *w = want_add(g, gossip_id_of(g->conf.keep[i]));
        if (w != NULL)
            w->keep = true;
    }
}

void gossip_keep(struct gossip *g, const char *const *keep, size_t n)
{
    g->conf.keep = keep;
    g->conf.n_keep = n;
    for (size_t i = 0; i < g->n_wants; i++)
        g->wants[i].keep = false;
    g->rings_changed = true; /* the links are chosen anew */
    gossip_wake(g, g->now);
}

/* As long as nobody is known, whoever answers at a seed's address is a neighbour. */
static bool is_mine(const gossip_id *targets, size_t n, gossip_id id)
{
    return n == 0 || is_in(targets, n, id);
}

void links_choose(struct gossip *g)
{
    gossip_id targets[TARGETS_MAX];
    g->rings_changed = false;
    size_t n = rings_targets(g, targets);
    for (size_t i = 0; i < n; i++)
        want_add(g, targets[i]);
    keep_links(g);
    for (size_t i = g->n_wants; i-- > 0;) {
        g->wants[i].ring = is_in(targets, n, g->wants[i].id);
        want_review(g, &g->wants[i]);
    }
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        l->mine = is_mine(targets, n, l->id);
        if (l->mine != l->said_mesh) {
            l->used_at = g->now;
            gossip_link_wake(g, l);
        }
    }
}

void links_demand(struct gossip *g, gossip_id id)
{
    struct gossip_link *l = gossip_link_find(g, id);
    if (l != NULL) {
        l->used_at = g->now;
        return;
    }
    struct want *w = want_add(g, id);
    if (w != NULL)
        w->demand_until = g->now + DEMAND_FOR;
}

void links_used(struct gossip *g, gossip_id id)
{
    struct gossip_link *l = gossip_link_find(g, id);
    if (l != NULL)
        l->used_at = g->now;
}

void links_address_changed(struct gossip *g, const struct gossip_item *item)
{
    struct want *w = want_find(g, item->host);
    if (w == NULL || strcmp(w->address, item->address) == 0)
        return;
    dial(g, GOSSIP_UNDIAL, w->id, w->address);
    free(w->address);
    w->address = xstrdup(item->address);
    dial(g, GOSSIP_DIAL, w->id, w->address);
}

/* ---- links that come and go ---- */

static void lost_drop(struct gossip *g, gossip_id id)
{
    for (size_t i = g->n_lost; i-- > 0;)
        if (g->lost[i].id == id)
            g->lost[i] = g->lost[--g->n_lost];
}

void links_up(struct gossip *g, gossip_id id)
{
    gossip_id targets[TARGETS_MAX];
    if (gossip_link_find(g, id) != NULL || id == g->id)
        return;
    size_t n = rings_targets(g, targets);
    struct gossip_link *l = xcalloc(1, sizeof *l);
    *l = (struct gossip_link){.id = id,
                              .mine = is_mine(targets, n, id),
                              .up_at = g->now,
                              .heard_at = g->now,
                              .sent_at = g->now,
                              .used_at = g->now,
                              .flush_at = g->now};
    ARRAY_RESERVE(g->links, g->cap_links, g->n_links + 1);
    g->links[g->n_links++] = l;
    lost_drop(g, id);
    avoid_drop(g, id);
    struct want *w = want_find(g, id);
    if (w != NULL) {
        w->since = 0;
        want_review(g, w);
    }
    if (l->mine || !member_alive(g, id))
        spread_sync(g, l);
    gossip_wake(g, g->now + PING_AFTER);
}

static void gossip_link_free(struct gossip_link *l)
{
    for (size_t i = 0; i < l->n_queue; i++)
        gossip_item_unref(l->queue[i].item);
    free(l->queue);
    free(l);
}

void links_down(struct gossip *g, gossip_id id)
{
    size_t i = 0;
    while (i < g->n_links && g->links[i]->id != id)
        i++;
    if (i == g->n_links)
        return;
    struct gossip_link *l = g->links[i];
    g->links[i] = g->links[--g->n_links];
    struct want *w = want_find(g, id);
    if (w != NULL)
        w->since = MAX(g->now, (msec)1);
    tree_link_gone(g, id);
    if (gossip_link_is_mesh(l) && !l->bye && member_alive(g, id))
        detect_lost(g, id);
    gossip_link_free(l);
}

/* Nobody needs it: neither the rings of either end nor a request. The one whose name sorts later
 * waits a little longer, so that not both close it. */
static bool is_idle(const struct gossip *g, const struct gossip_link *l)
{
    const struct want *w = want_find(g, l->id);
    msec idle = LINK_IDLE + (g->id < l->id ? 0 : 2000);
    return !gossip_link_is_mesh(l) && !l->bye && (w == NULL || (!w->keep && !w->ring)) &&
           g->now - l->used_at >= idle;
}

static void close_idle(struct gossip *g)
{
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        if (!is_idle(g, l))
            continue;
        struct gossip_message *m = gossip_link_message(g, l);
        m->bye = true;
        gossip_link_send(g, l, m);
        l->bye = true;
        gossip_effect(g, GOSSIP_CLOSE, l->id);
    }
}

/* ---- joining ---- */

static bool is_alone(const struct gossip *g)
{
    for (size_t i = 0; i < g->n_links; i++)
        if (gossip_link_is_mesh(g->links[i]) && g->links[i]->heard)
            return false;
    return true;
}

static void call_seeds(struct gossip *g)
{
    size_t from = gossip_random(g) % g->conf.n_seeds;
    for (size_t i = 0; i < g->conf.n_seeds && g->n_called < SEEDS_AT_ONCE; i++) {
        const char *seed = g->conf.seeds[(from + i) % g->conf.n_seeds];
        if (strcmp(seed, g->conf.address) == 0)
            continue;
        g->called[g->n_called++] = seed;
        dial(g, GOSSIP_DIAL, 0, seed);
    }
}

/* A seed's address may be wanted for another reason. */
static void release_seeds(struct gossip *g)
{
    if (g->n_called == 0)
        return;
    while (g->n_called > 0)
        dial(g, GOSSIP_UNDIAL, 0, g->called[--g->n_called]);
    for (size_t i = 0; i < g->n_wants; i++)
        dial(g, GOSSIP_DIAL, g->wants[i].id, g->wants[i].address);
}

static bool is_known(const struct gossip *g, const char *address)
{
    for (size_t i = 0; i < g->n_members; i++)
        if (g->members[i].verdict == NULL && strcmp(g->members[i].item->address, address) == 0)
            return true;
    return false;
}

/* A seed that is no member may belong to others who found together without us: hosts that were all
 * restarted at once. */
void links_call_stranger(struct gossip *g)
{
    if (g->conf.n_seeds == 0 || g->n_called > 0)
        return;
    const char *seed = g->conf.seeds[gossip_random(g) % g->conf.n_seeds];
    if (is_known(g, seed))
        return;
    g->called[g->n_called++] = seed;
    dial(g, GOSSIP_DIAL, 0, seed);
    g->seeds_at = g->now + SEEDS_AFTER;
}

/* Alone: by some of the seeds, by others after a while. */
static void try_seeds(struct gossip *g)
{
    if (!is_alone(g) || g->conf.n_seeds == 0) {
        if (g->now >= g->seeds_at) {
            release_seeds(g);
            g->seeds_at = g->now + SEEDS_AFTER;
        }
    } else if (g->now >= g->seeds_at) {
        release_seeds(g);
        call_seeds(g);
        g->seeds_at = g->now + SEEDS_AFTER;
    }
    gossip_wake(g, MIN(g->seeds_at, g->now + 1000));
}

static void wants_tick(struct gossip *g)
{
    for (size_t i = g->n_wants; i-- > 0;) {
        struct want *w = &g->wants[i];
        gossip_id id = w->id;
        bool overdue = w->ring && w->since != 0 && g->now - w->since >= DIAL_AFTER;
        want_review(g, w);
        if (overdue && member_alive(g, id)) {
            detect_vote(g, id);
            avoid_add(g, id);
        }
    }
}

void links_tick(struct gossip *g)
{
    try_seeds(g);
    avoids_tick(g);
    wants_tick(g);
    close_idle(g);
}

void links_done(struct gossip *g)
{
    for (size_t i = 0; i < g->n_links; i++)
        gossip_link_free(g->links[i]);
    for (size_t i = 0; i < g->n_wants; i++)
        free(g->wants[i].address);
    free(g->links);
    free(g->wants);
    free(g->lost);
    free(g->avoids);
}
