/* The tree: of the mesh's links those along which paced summaries go, so that each comes to
 * everybody once. It is rooted at the member whose id is least and grows breadth first, as bridges
 * agree on theirs (IEEE 802.1D); the root's sequence number keeps loops out (DSDV, Perkins and
 * Bhagwat 1994): an agent follows a neighbour that knows a newer number, or the same number nearer
 * to the root. Whether a link belongs to the tree follows from what both ends said last: nothing
 * has to be grafted or pruned, and whoever has lost its parent takes and gives over all its links
 * until it has one again. */
#include "agent/core/gossip_priv.h"

#define FAR 200 /* more hops than any sound tree has: a loop */

static bool newer(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

bool tree_is_orphan(const struct gossip *g)
{
    return g->parent == 0 && (g->root != g->id || g->now - g->root_since < ROOT_SETTLE);
}

bool tree_link(const struct gossip *g, const struct gossip_link *l)
{
    if (!gossip_link_is_mesh(l))
        return false;
    return l->id == g->parent || l->parent || l->orphan || !l->heard || tree_is_orphan(g);
}

/* Who has to be told: the old parent, the new one, and all when what they see of us changed. */
static void tell_changes(struct gossip *g)
{
    bool orphan = tree_is_orphan(g);
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        if (gossip_link_is_mesh(l) && l->said &&
            (l->said_orphan != orphan || l->said_parent != (g->parent == l->id)))
            gossip_link_wake(g, l);
    }
}

static void root_advanced(struct gossip *g, uint32_t sequence)
{
    g->root_sequence = sequence;
    g->root_heard = g->now;
    for (size_t i = 0; i < g->n_links; i++) {
        struct gossip_link *l = g->links[i];
        if (l->parent && gossip_link_is_mesh(l)) {
            msec at = MAX(g->now, l->sent_at + FLUSH_EVERY);
            if (l->flush_at == QUANTITY_UNKNOWN || at < l->flush_at)
                l->flush_at = at;
            gossip_wake(g, l->flush_at);
        }
    }
}

static void adopt(struct gossip *g, const struct gossip_link *l)
{
    g->root = l->root;
    g->distance = l->distance + 1;
    g->parent = l->id;
    root_advanced(g, l->root_sequence);
    tell_changes(g);
}

static void leave_parent(struct gossip *g)
{
    g->parent = 0;
    tell_changes(g);
}

static bool believable(const struct gossip *g, const struct gossip_link *l)
{
    return l->heard && gossip_link_is_mesh(l) && !l->parent && l->root != 0 && l->root != g->id &&
           l->distance < FAR &&
           (l->root != g->lost_root || newer(l->root_sequence, g->lost_sequence));
}

static void parent_spoke(struct gossip *g, const struct gossip_link *l)
{
    if (!believable(g, l) || l->root > g->root) {
        leave_parent(g);
        return;
    }
    g->distance = l->distance + 1;
    if (newer(l->root_sequence, g->root_sequence))
        root_advanced(g, l->root_sequence);
}

static bool is_better(const struct gossip *g, const struct gossip_link *l)
{
    if (!believable(g, l) || l->root > g->root)
        return false;
    if (l->root < g->root)
        return true;
    if (newer(l->root_sequence, g->root_sequence))
        return g->parent == 0 || l->distance + 1 < g->distance ||
               newer(l->root_sequence, g->root_sequence + 2); /* the parent is behind */
    return l->root_sequence == g->root_sequence &&
           l->distance + (g->parent != 0 ? 1 : 0) < g->distance;
}

void tree_heard(struct gossip *g, struct gossip_link *l, const struct gossip_message *m)
{
    l->heard = true;
    l->root = m->root;
    l->root_sequence = m->root_sequence;
    l->distance = m->distance;
    l->parent = m->parent;
    l->orphan = m->orphan;
    if (g->parent == l->id && l->root == g->root)
        parent_spoke(g, l);
    else if (is_better(g, l))
        adopt(g, l);
    else if (g->parent == l->id)
        parent_spoke(g, l);
}

void tree_link_gone(struct gossip *g, gossip_id id)
{
    if (g->parent != id)
        return;
    leave_parent(g);
    for (size_t i = 0; i < g->n_links && g->parent == 0; i++)
        if (g->links[i]->id != id && is_better(g, g->links[i]))
            adopt(g, g->links[i]);
}

void tree_tick(struct gossip *g)
{
    if (g->lost_root != 0 && g->now - g->lost_at >= LOST_ROOT_FOR)
        g->lost_root = 0;
    if (g->root == g->id) {
        if (g->now >= g->next_root) {
            g->next_root = g->now + ROOT_EVERY;
            g->distance = 0;
            root_advanced(g, ++g->own_sequence);
        }
        gossip_wake(g, g->next_root);
        if (g->now - g->root_since >= ROOT_SETTLE)
            tell_changes(g);
        return;
    }
    if (g->now - g->root_heard < ROOT_TIMEOUT)
        return;
    g->lost_at = g->now;
    g->lost_root = g->root;
    g->lost_sequence = g->root_sequence;
    g->root = g->id;
    g->distance = 0;
    g->root_sequence = g->own_sequence;
    g->root_since = g->now;
    leave_parent(g);
}
