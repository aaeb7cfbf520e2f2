/* Who there is. A member's version grows with what is newer of it: a newer life, then a higher
 * epoch (it said that it lives), then death over life and farewell over death within an epoch. */
#include "agent/core/gossip_priv.h"

#define BIRTH_UNIT 10

/* 44 bits of incarnation (ms since 1970, for five hundred years), 18 of epoch, 2 of state. */
static uint64_t version_of(uint64_t incarnation, uint32_t epoch, enum gossip_state state)
{
    return incarnation << 20 | (uint64_t)(epoch & 0x3ffff) << 2 | (uint64_t)state;
}

uint64_t item_version(const struct gossip_item *item)
{
    enum gossip_state state = item->kind == GOSSIP_DEAD   ? GOSSIP_GONE_DEAD
                              : item->kind == GOSSIP_LEFT ? GOSSIP_GONE_LEFT
                                                          : GOSSIP_ALIVE;
    return version_of(item->incarnation, item->epoch, state);
}

uint64_t member_version(const struct member *m)
{
    return item_version(m->verdict != NULL ? m->verdict : m->item);
}

enum gossip_state member_state(const struct member *m)
{
    if (m->verdict == NULL)
        return GOSSIP_ALIVE;
    return m->verdict->kind == GOSSIP_LEFT ? GOSSIP_GONE_LEFT : GOSSIP_GONE_DEAD;
}

/* ---- the table ---- */

static size_t slot_of(const struct gossip *g, gossip_id id)
{
    size_t slot = (size_t)id & (g->index_size - 1);
    while (g->index[slot] != 0 && g->members[g->index[slot] - 1].item->host != id)
        slot = (slot + 1) & (g->index_size - 1);
    return slot;
}

size_t members_find(const struct gossip *g, gossip_id id)
{
    if (g->index_size == 0)
        return NO_PLACE;
    uint32_t place = g->index[slot_of(g, id)];
    return place == 0 ? NO_PLACE : place - 1;
}

static void index_grow(struct gossip *g)
{
    if (g->n_members * 5 < g->index_size * 3)
        return;
    free(g->index);
    g->index_size = g->index_size == 0 ? 16 : 2 * g->index_size;
    g->index = xcalloc(g->index_size, sizeof *g->index);
    for (size_t i = 0; i < g->n_members; i++)
        g->index[slot_of(g, g->members[i].item->host)] = (uint32_t)i + 1;
}

static void digest_turn(struct gossip *g, const struct member *m)
{
    gossip_id id = m->item->host;
    g->digest[id >> 58] ^= gossip_mix(id ^ gossip_mix(member_version(m)));
}

/* ---- rings ---- */

static uint64_t position(gossip_id id, unsigned ring)
{
    return gossip_mix(id + ring * 0x9e3779b97f4a7c15u);
}

static uint64_t clockwise(gossip_id from, gossip_id to, unsigned ring)
{
    return position(to, ring) - position(from, ring);
}

/* Keeps near[] sorted; returns the new count. */
static unsigned near_insert(struct near *near, unsigned n, unsigned max, struct near add)
{
    unsigned at = n;
    while (at > 0 && near[at - 1].distance > add.distance)
        at--;
    if (at == max)
        return n;
    n = MIN(n + 1, max);
    memmove(&near[at + 1], &near[at], (n - at - 1) * sizeof *near);
    near[at] = add;
    return n;
}

static void ring_scan(struct gossip *g, unsigned ring)
{
    g->n_near[ring] = 0;
    for (size_t i = 0; i < g->n_members; i++) {
        gossip_id id = g->members[i].item->host;
        if (g->members[i].verdict == NULL && id != g->id)
            g->n_near[ring] = near_insert(g->near[ring], g->n_near[ring], NEAR,
                                          (struct near){clockwise(g->id, id, ring), (uint32_t)i});
    }
}

static void rings_add(struct gossip *g, size_t place)
{
    gossip_id id = g->members[place].item->host;
    if (id == g->id)
        return;
    for (unsigned ring = 0; ring < RINGS; ring++) {
        struct near add = {clockwise(g->id, id, ring), (uint32_t)place};
        unsigned n = g->n_near[ring];
        bool whole = n + 2 >= g->n_alive; /* all others but this one are in it */
        if (n < NEAR ? !whole && n > 0 && add.distance > g->near[ring][n - 1].distance
                     : add.distance > g->near[ring][NEAR - 1].distance)
            continue;
        g->n_near[ring] = near_insert(g->near[ring], n, NEAR, add);
        g->rings_changed = true;
    }
}

static void rings_remove(struct gossip *g, size_t place)
{
    for (unsigned ring = 0; ring < RINGS; ring++) {
        struct near *near = g->near[ring];
        unsigned at = 0;
        while (at < g->n_near[ring] && near[at].place != place)
            at++;
        if (at == g->n_near[ring])
            continue;
        g->rings_changed = true;
        g->n_near[ring]--;
        memmove(&near[at], &near[at + 1], (g->n_near[ring] - at) * sizeof *near);
        if (g->n_near[ring] < NEAR_MIN && g->n_near[ring] + 1 < g->n_alive)
            ring_scan(g, ring);
    }
}

static void add_once(gossip_id *ids, size_t *n, size_t max, gossip_id id)
{
    for (size_t i = 0; i < *n; i++)
        if (ids[i] == id)
            return;
    if (*n < max)
        ids[(*n)++] = id;
}

static const struct member *near_member(const struct gossip *g, unsigned ring, unsigned i)
{
    return &g->members[g->near[ring][i].place];
}

/* The next on a ring; on the first one the next of another failure domain, where one is near. */
static gossip_id ring_target(const struct gossip *g, unsigned ring)
{
    gossip_id first = 0;
    for (unsigned i = 0; i < g->n_near[ring]; i++) {
        const struct gossip_item *item = near_member(g, ring, i)->item;
        if (avoid_is(g, item->host))
            continue;
        if (ring != 0 || item->domain_hash != g->domain_hash)
            return item->host;
        if (first == 0)
            first = item->host;
    }
    return first;
}

size_t rings_targets(const struct gossip *g, gossip_id ret[TARGETS_MAX])
{
    size_t n = 0;
    if (g->n_alive <= SMALL) {
        for (unsigned i = 0; i < g->n_near[0]; i++)
            if (!avoid_is(g, near_member(g, 0, i)->item->host))
                add_once(ret, &n, TARGETS_MAX, near_member(g, 0, i)->item->host);
        return n;
    }
    for (unsigned ring = 0; ring < RINGS; ring++) {
        gossip_id id = ring_target(g, ring);
        if (id != 0)
            add_once(ret, &n, TARGETS_MAX, id);
    }
    return n;
}

/* The neighbours of a host on one ring, nearest first: those before it and those behind it. */
struct around {
    struct near before[NEAR], behind[NEAR];
    unsigned n_before, n_behind;
};

static void look_around(const struct gossip *g, gossip_id host, unsigned ring, struct around *ret)
{
    ret->n_before = ret->n_behind = 0;
    for (size_t i = 0; i < g->n_members; i++) {
        gossip_id id = g->members[i].item->host;
        if (g->members[i].verdict != NULL || id == host)
            continue;
        struct near behind = {clockwise(host, id, ring), (uint32_t)i};
        struct near before = {clockwise(id, host, ring), (uint32_t)i};
        ret->n_behind = near_insert(ret->behind, ret->n_behind, NEAR, behind);
        ret->n_before = near_insert(ret->before, ret->n_before, NEAR, before);
    }
}

/* Ring 0: i-th before the host chooses it when all between are of its own domain and the host is
 * not, or when it is the next and nobody near behind is of another domain either. */
static bool chooses(const struct gossip *g, const struct around *a, unsigned i,
                    uint64_t host_domain)
{
    uint64_t domain = g->members[a->before[i].place].item->domain_hash;
    for (unsigned k = 0; k < i; k++)
        if (g->members[a->before[k].place].item->domain_hash != domain)
            return false;
    if (host_domain != domain)
        return true;
    for (unsigned k = 0; k + 1 < NEAR && k < a->n_behind; k++)
        if (g->members[a->behind[k].place].item->domain_hash != domain)
            return false;
    return i == 0;
}

static gossip_id first_of_other(const struct gossip *g, const struct around *a, uint64_t domain)
{
    for (unsigned i = 0; i < a->n_behind; i++)
        if (g->members[a->behind[i].place].item->domain_hash != domain)
            return g->members[a->behind[i].place].item->host;
    return a->n_behind > 0 ? g->members[a->behind[0].place].item->host : 0;
}

static size_t everybody_but(const struct gossip *g, gossip_id host, gossip_id *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_members && n < SMALL; i++)
        if (g->members[i].verdict == NULL && g->members[i].item->host != host)
            ret[n++] = g->members[i].item->host;
    return n;
}

size_t rings_watchers(const struct gossip *g, gossip_id host, gossip_id ret[GOSSIP_VOTERS_MAX])
{
    size_t n = 0, place = members_find(g, host);
    struct around a;
    if (g->n_alive <= SMALL || place == NO_PLACE)
        return everybody_but(g, host, ret);
    uint64_t domain = g->members[place].item->domain_hash;
    for (unsigned ring = 0; ring < RINGS; ring++) {
        look_around(g, host, ring, &a);
        gossip_id next = ring == 0        ? first_of_other(g, &a, domain)
                         : a.n_behind > 0 ? g->members[a.behind[0].place].item->host
                                          : 0;
        if (next != 0)
            add_once(ret, &n, GOSSIP_VOTERS_MAX, next);
        for (unsigned i = 0; i < a.n_before; i++)
            if (ring == 0 ? chooses(g, &a, i, domain) : i == 0)
                add_once(ret, &n, GOSSIP_VOTERS_MAX, g->members[a.before[i].place].item->host);
    }
    return n;
}

/* ---- changes ---- */

bool member_alive(const struct gossip *g, gossip_id id)
{
    size_t place = members_find(g, id);
    return place != NO_PLACE && g->members[place].verdict == NULL;
}

msec member_born(const struct gossip *g, const struct member *m)
{
    return g->began + (msec)m->born * BIRTH_UNIT;
}

/* Has it told its load as it should? Two rounds missed, and the way. */
bool member_fresh(const struct gossip *g, const struct member *m)
{
    return m->news != NULL && g->now - member_born(g, m) <= 5 * g->conf.summary_every / 2;
}

void members_tell(struct gossip *g, size_t place)
{
    const struct member *m = &g->members[place];
    struct gossip_effect *e = gossip_effect(g, GOSSIP_CHANGE, m->item->host);
    e->item = gossip_item_ref(m->item);
    e->state = member_state(m);
    e->suspected = detect_suspected(g, m->item->host);
    e->cloned = spread_is_clone(g, m->item->host);
}

size_t members_add(struct gossip *g, struct gossip_item *item)
{
    ARRAY_RESERVE(g->members, g->cap_members, g->n_members + 1);
    size_t place = g->n_members++;
    g->members[place] = (struct member){.item = gossip_item_ref(item)};
    index_grow(g);
    g->index[slot_of(g, item->host)] = (uint32_t)place + 1;
    digest_turn(g, &g->members[place]);
    g->n_alive++;
    rings_add(g, place);
    return place;
}

void member_set(struct gossip *g, size_t place, struct gossip_item *item,
                struct gossip_item *verdict)
{
    struct member *m = &g->members[place];
    bool was = m->verdict == NULL, is = verdict == NULL;
    digest_turn(g, m);
    gossip_item_unref(m->verdict);
    m->verdict = verdict != NULL ? gossip_item_ref(verdict) : NULL;
    if (item != NULL) {
        gossip_item_ref(item);
        gossip_item_unref(m->item);
        m->item = item;
    }
    digest_turn(g, m);
    if (was && !is) {
        g->n_alive--;
        rings_remove(g, place);
    } else if (!was && is) {
        g->n_alive++;
        rings_add(g, place);
    }
}

void members_done(struct gossip *g)
{
    for (size_t i = 0; i < g->n_members; i++) {
        gossip_item_unref(g->members[i].item);
        gossip_item_unref(g->members[i].verdict);
        gossip_item_unref(g->members[i].news);
    }
    free(g->members);
    free(g->index);
}
