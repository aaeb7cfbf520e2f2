/* gossip_net.h - agents' gossip (agent/core/gossip.h) on a simulated network, with virtual time.
 *
 * Links behave as TCP under TLS does: in order, delayed, late by retransmissions when packets are
 * lost, broken at once when the process at the other end dies, silent when its host vanishes or the
 * network between is cut, and given up after ten seconds of that. An agent that is paused gets
 * everything late, its timer first. Items are shared between all agents: ten thousand know each
 * other in some 5 GiB.
 *
 * Deterministic: the same seed and the same calls give the same run. */
#ifndef SKEIN_TESTS_LIB_GOSSIP_NET_H
#define SKEIN_TESTS_LIB_GOSSIP_NET_H

#include <stdio.h>

#include "agent/core/gossip.h"

#define NET_LATENCY_US 250
#define NET_JITTER_US 250
#define NET_HANDSHAKE_US 5000
#define NET_RETRANSMIT_US 200000 /* Linux' least, doubled each time */
#define NET_SILENCE_US 10000000  /* tls/transport.h: silence_ms */
#define NET_REDIAL_MIN_US 250000
#define NET_REDIAL_MAX_US 15000000
#define NET_CLOCK_MS 1000 /* the agents' clocks at the beginning */

/* What a message takes on the wire beside its items: frame, TLS record, TCP/IP, Ethernet, and the
 * packet that acknowledges it. */
#define NET_MESSAGE_BYTES (4 + 24 + 22 + 66 + 66)
#define NET_PACKET_BYTES 1448
#define NET_ITEM_BYTES 8 /* its frame in the message, and its age */

typedef int64_t usec;

enum net_event_kind { NET_TICK, NET_MESSAGE, NET_UP, NET_DOWN, NET_DIAL, NET_TELL, NET_RESUME };

struct net_event {
    usec at;
    uint64_t sequence;
    enum net_event_kind kind;
    uint32_t node, peer;
    uint64_t life; /* of the link or, for DIAL and TICK, of the node */
    struct gossip_message *message;
};

struct net_dial {
    uint32_t peer;
    usec wait;
    bool pending; /* an attempt is under way */
};

struct net_link {
    uint32_t peer;
    uint64_t life;
    usec last_delivery; /* to the peer */
    bool cut;           /* nothing comes through any more: the end is due at the silence limit */
};

struct net_node {
    struct gossip *gossip; /* NULL: not running */
    struct gossip_conf conf;
    char name[32], address[32], domain[32];
    uint64_t life;
    bool vanished;
    unsigned group; /* of the partition */
    usec paused_until, tick_at;
    uint64_t summary_sequence;
    struct net_dial *dials;
    size_t n_dials, cap_dials;
    struct net_link *links;
    size_t n_links, cap_links;
    uint64_t bytes_in, messages_in, bytes_out;
};

struct net {
    struct net_node *nodes;
    uint32_t n;
    usec now;
    uint64_t sequence, rng, lives;
    double loss;
    bool tell; /* hosts tell summaries */
    msec summary_every;
    size_t summary_bytes;
    struct net_event *heap;
    size_t n_heap, cap_heap;
    struct gossip_out out;
    /* What the test looks at. */
    void (*on_change)(struct net *net, uint32_t node, const struct gossip_effect *e);
    void (*on_news)(struct net *net, uint32_t node, const struct gossip_effect *e);
    void *arg;
    uint64_t delivered; /* summaries */
    uint64_t steps;
};

static inline uint64_t net_random(struct net *net)
{
    uint64_t z = net->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline double net_chance(struct net *net)
{
    return (double)(net_random(net) >> 11) / 9007199254740992.0;
}

static inline msec net_ms(const struct net *net)
{
    return NET_CLOCK_MS + net->now / 1000;
}

/* ---- the queue of events ---- */

static inline bool net_before(const struct net_event *a, const struct net_event *b)
{
    return a->at != b->at ? a->at < b->at : a->sequence < b->sequence;
}

static inline void net_push(struct net *net, struct net_event e)
{
    e.sequence = ++net->sequence;
    ARRAY_RESERVE(net->heap, net->cap_heap, net->n_heap + 1);
    size_t i = net->n_heap++;
    for (size_t up; i > 0 && net_before(&e, &net->heap[up = (i - 1) / 2]); i = up)
        net->heap[i] = net->heap[up];
    net->heap[i] = e;
}

static inline struct net_event net_pop(struct net *net)
{
    struct net_event top = net->heap[0], last = net->heap[--net->n_heap];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < net->n_heap; i = down) {
        if (down + 1 < net->n_heap && net_before(&net->heap[down + 1], &net->heap[down]))
            down++;
        if (!net_before(&net->heap[down], &last))
            break;
        net->heap[i] = net->heap[down];
    }
    net->heap[i] = last;
    return top;
}

/* ---- links ---- */

static inline struct net_link *net_link(struct net_node *node, uint32_t peer)
{
    for (size_t i = 0; i < node->n_links; i++)
        if (node->links[i].peer == peer)
            return &node->links[i];
    return NULL;
}

static inline bool net_reaches(const struct net *net, uint32_t a, uint32_t b)
{
    return !net->nodes[a].vanished && !net->nodes[b].vanished &&
           net->nodes[a].group == net->nodes[b].group;
}

static inline usec net_delay(struct net *net)
{
    usec delay = NET_LATENCY_US + (usec)(net_random(net) % NET_JITTER_US);
    for (usec again = NET_RETRANSMIT_US; net->loss > 0 && net_chance(net) < net->loss; again *= 2)
        delay += again;
    return delay;
}

static inline void net_unlink(struct net_node *node, uint32_t peer)
{
    for (size_t i = 0; i < node->n_links; i++)
        if (node->links[i].peer == peer)
            node->links[i--] = node->links[--node->n_links];
}

static inline uint32_t net_find(const struct net *net, gossip_id id)
{
    for (uint32_t i = 0; i < net->n; i++)
        if (gossip_id_of(net->nodes[i].name) == id)
            return i;
    return UINT32_MAX;
}

static inline uint32_t net_of_address(const char *address)
{
    return (uint32_t)strtoul(address + 1, NULL, 10);
}

static inline uint64_t net_bytes_of(const struct gossip_message *m)
{
    uint64_t bytes = m->n_list * 20 + m->n_want * 8 + m->n_pull * 12;
    bytes += m->digest != NULL ? GOSSIP_BUCKETS * 8 : 0;
    for (size_t i = 0; i < m->n_items; i++)
        bytes += m->items[i].item->wire_len + NET_ITEM_BYTES;
    return bytes + NET_MESSAGE_BYTES * (1 + bytes / NET_PACKET_BYTES);
}

static inline void net_schedule_dial(struct net *net, uint32_t node, struct net_dial *dial)
{
    if (dial->pending)
        return;
    dial->pending = true;
    net_push(net, (struct net_event){.at = net->now + NET_HANDSHAKE_US + dial->wait,
                                     .kind = NET_DIAL,
                                     .node = node,
                                     .peer = dial->peer,
                                     .life = net->nodes[node].life});
}

static inline struct net_dial *net_dial(struct net_node *node, uint32_t peer)
{
    for (size_t i = 0; i < node->n_dials; i++)
        if (node->dials[i].peer == peer)
            return &node->dials[i];
    return NULL;
}

static inline void net_do_dial(struct net *net, uint32_t from, uint32_t to)
{
    struct net_node *node = &net->nodes[from];
    if (to == from || to >= net->n || net_dial(node, to) != NULL)
        return;
    ARRAY_RESERVE(node->dials, node->cap_dials, node->n_dials + 1);
    node->dials[node->n_dials++] = (struct net_dial){.peer = to};
    net_schedule_dial(net, from, &node->dials[node->n_dials - 1]);
}

/* Both ends lose the link: at once here, a moment later there. */
static inline void net_break(struct net *net, uint32_t a, uint32_t b, usec after)
{
    for (int end = 0; end < 2 && b < net->n; end++) { /* nobody is called so any more: a clone */
        uint32_t node = end == 0 ? a : b, peer = end == 0 ? b : a;
        struct net_link *link = net_link(&net->nodes[node], peer);
        if (link != NULL)
            net_push(net, (struct net_event){.at = net->now + after,
                                             .kind = NET_DOWN,
                                             .node = node,
                                             .peer = peer,
                                             .life = link->life});
    }
}

static inline void net_do_send(struct net *net, uint32_t from, struct gossip_effect *e)
{
    struct net_node *node = &net->nodes[from];
    struct net_link *link = NULL;
    for (size_t i = 0; i < node->n_links && link == NULL; i++)
        if (gossip_id_of(net->nodes[node->links[i].peer].name) == e->host)
            link = &node->links[i];
    if (link == NULL || link->cut)
        return;
    uint64_t bytes = net_bytes_of(e->message);
    node->bytes_out += bytes;
    if (!net_reaches(net, from, link->peer)) {
        link->cut = true;
        net_break(net, from, link->peer, NET_SILENCE_US);
        return;
    }
    link->last_delivery = MAX(link->last_delivery + 1, net->now + net_delay(net));
    net_push(net, (struct net_event){.at = link->last_delivery,
                                     .kind = NET_MESSAGE,
                                     .node = link->peer,
                                     .peer = from,
                                     .life = link->life,
                                     .message = TAKE_PTR(e->message)});
}

static inline void net_undial(struct net_node *node, uint32_t peer)
{
    for (size_t i = 0; i < node->n_dials; i++)
        if (node->dials[i].peer == peer)
            node->dials[i--] = node->dials[--node->n_dials];
}

static inline void net_perform(struct net *net, uint32_t from)
{
    for (size_t i = 0; i < net->out.n; i++) {
        struct gossip_effect *e = &net->out.items[i];
        switch (e->kind) {
        case GOSSIP_SEND:
            net_do_send(net, from, e);
            break;
        case GOSSIP_DIAL:
            net_do_dial(net, from, net_of_address(e->address));
            break;
        case GOSSIP_UNDIAL:
            net_undial(&net->nodes[from], net_of_address(e->address));
            break;
        case GOSSIP_CLOSE:
            net_break(net, from, net_find(net, e->host), 1000);
            break;
        case GOSSIP_NEWS:
            net->delivered++;
            if (net->on_news != NULL)
                net->on_news(net, from, e);
            break;
        case GOSSIP_CHANGE:
            if (net->on_change != NULL)
                net->on_change(net, from, e);
            break;
        }
    }
    gossip_out_clear(&net->out);
}

static inline void net_step(struct net *net, uint32_t at, const struct gossip_event *event)
{
    struct net_node *node = &net->nodes[at];
    if (node->gossip == NULL)
        return;
    net->steps++;
    gossip_step(node->gossip, event, net_ms(net), &net->out);
    net_perform(net, at);
    usec due = MAX((usec)(gossip_deadline(node->gossip) - NET_CLOCK_MS) * 1000, net->now + 1000);
    if (due < node->tick_at || node->tick_at <= net->now) {
        node->tick_at = due;
        net_push(net,
                 (struct net_event){.at = due, .kind = NET_TICK, .node = at, .life = node->life});
    }
}

/* ---- events ---- */

static inline void net_linked(struct net *net, uint32_t a, uint32_t b)
{
    uint64_t life = ++net->lives;
    for (int end = 0; end < 2 && b < net->n; end++) { /* nobody is called so any more: a clone */
        uint32_t node = end == 0 ? a : b, peer = end == 0 ? b : a;
        struct net_node *n = &net->nodes[node];
        ARRAY_RESERVE(n->links, n->cap_links, n->n_links + 1);
        n->links[n->n_links++] = (struct net_link){.peer = peer, .life = life};
        net_step(net, node,
                 &(struct gossip_event){.kind = GOSSIP_LINK_UP,
                                        .host = gossip_id_of(net->nodes[peer].name)});
    }
}

static inline void net_on_dial(struct net *net, const struct net_event *e)
{
    struct net_node *node = &net->nodes[e->node], *peer = &net->nodes[e->peer];
    struct net_dial *dial = net_dial(node, e->peer);
    if (node->gossip == NULL || e->life != node->life || dial == NULL)
        return;
    dial->pending = false;
    if (net_link(node, e->peer) != NULL)
        return;
    if (peer->paused_until > net->now && net_reaches(net, e->node, e->peer)) {
        dial->wait = peer->paused_until - net->now; /* the kernel accepts, nobody answers */
        net_schedule_dial(net, e->node, dial);
        dial->wait = 0;
        return;
    }
    if (peer->gossip != NULL && net_reaches(net, e->node, e->peer) &&
        net_link(peer, e->node) == NULL) {
        dial->wait = 0;
        net_linked(net, e->node, e->peer);
        return;
    }
    dial->wait = MIN(MAX(2 * dial->wait, (usec)NET_REDIAL_MIN_US), (usec)NET_REDIAL_MAX_US);
    net_schedule_dial(net, e->node, dial);
}

static inline void net_on_down(struct net *net, const struct net_event *e)
{
    struct net_node *node = &net->nodes[e->node];
    const struct net_link *link = net_link(node, e->peer);
    if (link == NULL || link->life != e->life)
        return;
    net_unlink(node, e->peer);
    net_step(net, e->node,
             &(struct gossip_event){.kind = GOSSIP_LINK_DOWN,
                                    .host = gossip_id_of(net->nodes[e->peer].name)});
    struct net_dial *dial = net_dial(node, e->peer);
    if (dial != NULL) {
        dial->wait = NET_REDIAL_MIN_US / 2;
        net_schedule_dial(net, e->node, dial);
    }
}

static inline void net_on_message(struct net *net, const struct net_event *e)
{
    struct net_node *node = &net->nodes[e->node];
    const struct net_link *link = net_link(node, e->peer);
    if (link != NULL && link->life == e->life && node->gossip != NULL && !node->vanished) {
        node->bytes_in += net_bytes_of(e->message);
        node->messages_in++;
        net_step(net, e->node,
                 &(struct gossip_event){.kind = GOSSIP_MESSAGE,
                                        .host = gossip_id_of(net->nodes[e->peer].name),
                                        .message = e->message});
    }
    gossip_message_free(e->message);
}

static inline void net_on_tell(struct net *net, const struct net_event *e)
{
    struct net_node *node = &net->nodes[e->node];
    if (node->gossip == NULL || node->life != e->life)
        return;
    gossip_id id = gossip_id_of(node->name);
    struct gossip_item *item = gossip_item_new(GOSSIP_SUMMARY, id, id);
    item->incarnation = gossip_own(node->gossip)->incarnation;
    item->sequence = ++node->summary_sequence;
    item->wire_len = net->summary_bytes;
    net_step(net, e->node, &(struct gossip_event){.kind = GOSSIP_TELL, .item = item});
    net_push(net, (struct net_event){.at = net->now + net->summary_every * 1000,
                                     .kind = NET_TELL,
                                     .node = e->node,
                                     .life = node->life});
}

static inline void net_handle(struct net *net, struct net_event *e)
{
    struct net_node *node = &net->nodes[e->node];
    if (node->paused_until > net->now && e->kind != NET_RESUME) {
        e->at = node->paused_until;
        net_push(net, *e);
        return;
    }
    switch (e->kind) {
    case NET_TICK:
        if (node->life == e->life && node->tick_at == e->at)
            net_step(net, e->node, &(struct gossip_event){.kind = GOSSIP_TICK});
        break;
    case NET_RESUME:
        net_step(net, e->node, &(struct gossip_event){.kind = GOSSIP_TICK});
        break;
    case NET_MESSAGE:
        net_on_message(net, e);
        break;
    case NET_UP:
        break;
    case NET_DOWN:
        net_on_down(net, e);
        break;
    case NET_DIAL:
        net_on_dial(net, e);
        break;
    case NET_TELL:
        net_on_tell(net, e);
        break;
    }
}

/* ---- the test's hands ---- */

static inline void net_run(struct net *net, usec until)
{
    while (net->n_heap > 0 && net->heap[0].at <= until) {
        struct net_event e = net_pop(net);
        net->now = MAX(net->now, e.at);
        net_handle(net, &e);
    }
    net->now = MAX(net->now, until);
}

/* domains: the hosts are spread over so many failure domains. */
static inline void net_init(struct net *net, uint32_t n, unsigned domains, uint64_t seed)
{
    *net = (struct net){
        .n = n, .rng = seed, .tell = true, .summary_every = 6000, .summary_bytes = 200 + 72};
    net->nodes = xcalloc(n, sizeof *net->nodes);
    for (uint32_t i = 0; i < n; i++) {
        struct net_node *node = &net->nodes[i];
        snprintf(node->name, sizeof node->name, "hv%05u", i);
        snprintf(node->address, sizeof node->address, "@%u", i);
        snprintf(node->domain, sizeof node->domain, "dc/rack%u", domains > 0 ? i % domains : i);
    }
}

/* Start an agent that knows this seed (UINT32_MAX: none). */
static inline void net_start(struct net *net, uint32_t i, uint32_t seed)
{
    struct net_node *node = &net->nodes[i];
    static const char *seeds[1]; /* read while the agent starts and joins alone: by address */
    node->life = ++net->lives;
    node->vanished = false;
    node->paused_until = 0;
    node->conf = (struct gossip_conf){.host = node->name,
                                      .address = node->address,
                                      .domain = node->domain,
                                      .incarnation = 1700000000000u + (uint64_t)net_ms(net),
                                      .seed = net_random(net)};
    if (seed != UINT32_MAX) {
        const char **own = xcalloc(1, sizeof *own); /* freed with the node */
        own[0] = net->nodes[seed].address;
        node->conf.seeds = own;
        node->conf.n_seeds = 1;
    }
    (void)seeds;
    node->gossip = gossip_new(&node->conf, net_ms(net));
    node->tick_at = 0;
    net_push(net, (struct net_event){.at = net->now + (usec)(net_random(net) % 100000),
                                     .kind = NET_RESUME,
                                     .node = i,
                                     .life = node->life});
    usec phase = (usec)(net_random(net) % (uint64_t)(net->summary_every * 1000));
    if (net->tell)
        net_push(net, (struct net_event){.at = net->now + 200000 + phase,
                                         .kind = NET_TELL,
                                         .node = i,
                                         .life = node->life});
}

static inline void net_forget(struct net *net, uint32_t i)
{
    struct net_node *node = &net->nodes[i];
    gossip_free(TAKE_PTR(node->gossip));
    free((void *)(uintptr_t)node->conf.seeds);
    node->conf.seeds = NULL;
    node->n_dials = 0;
    node->life = ++net->lives;
}

/* The process dies: its sockets are closed by the kernel. */
static inline void net_kill(struct net *net, uint32_t i)
{
    struct net_node *node = &net->nodes[i];
    for (size_t k = 0; k < node->n_links; k++) {
        uint32_t peer = node->links[k].peer;
        struct net_link *other = net_link(&net->nodes[peer], i);
        if (other != NULL && !net->nodes[i].vanished)
            net_push(net, (struct net_event){.at = net->now + net_delay(net),
                                             .kind = NET_DOWN,
                                             .node = peer,
                                             .peer = i,
                                             .life = other->life});
    }
    node->n_links = 0;
    net_forget(net, i);
}

/* The host loses its power: nothing is said any more. */
static inline void net_vanish(struct net *net, uint32_t i)
{
    struct net_node *node = &net->nodes[i];
    node->vanished = true;
    for (size_t k = 0; k < node->n_links; k++)
        net_break(net, i, node->links[k].peer, NET_SILENCE_US);
    node->n_links = 0;
    net_forget(net, i);
}

static inline void net_pause(struct net *net, uint32_t i, usec how_long)
{
    struct net_node *node = &net->nodes[i];
    if (node->gossip == NULL || node->paused_until > net->now)
        return;
    node->paused_until = net->now + how_long;
    net_push(net, (struct net_event){
                      .at = node->paused_until, .kind = NET_RESUME, .node = i, .life = node->life});
}

static inline void net_leave(struct net *net, uint32_t i)
{
    net_step(net, i, &(struct gossip_event){.kind = GOSSIP_LEAVE});
    net_kill(net, i);
}

/* All know each other from the beginning. */
static inline void net_acquaint(struct net *net)
{
    struct gossip_item **items = xcalloc(net->n, sizeof *items);
    for (uint32_t i = 0; i < net->n; i++)
        items[i] = gossip_own(net->nodes[i].gossip);
    for (uint32_t i = 0; i < net->n; i++)
        gossip_acquaint(net->nodes[i].gossip, items, net->n);
    free(items);
}

static inline void net_done(struct net *net)
{
    for (size_t i = 0; i < net->n_heap; i++)
        if (net->heap[i].kind == NET_MESSAGE)
            gossip_message_free(net->heap[i].message);
    for (uint32_t i = 0; i < net->n; i++) {
        gossip_free(net->nodes[i].gossip);
        free((void *)(uintptr_t)net->nodes[i].conf.seeds);
        free(net->nodes[i].dials);
        free(net->nodes[i].links);
    }
    gossip_out_done(&net->out);
    free(net->nodes);
    free(net->heap);
}

/* How many agents that run hold that opinion of host? */
static inline uint32_t net_count(const struct net *net, uint32_t host, enum gossip_state state)
{
    uint32_t n = 0;
    gossip_id id = gossip_id_of(net->nodes[host].name);
    for (uint32_t i = 0; i < net->n; i++) {
        struct gossip_member m;
        if (net->nodes[i].gossip != NULL && i != host &&
            gossip_find(net->nodes[i].gossip, id, &m) && m.state == state)
            n++;
    }
    return n;
}

static inline uint32_t net_running(const struct net *net)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < net->n; i++)
        n += net->nodes[i].gossip != NULL;
    return n;
}

#endif
