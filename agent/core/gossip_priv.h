/* gossip_priv.h - the insides of gossip.h, for its own files:
 *   gossip.c          events, time
 *   gossip_item.c     items and messages
 *   gossip_members.c  who there is; digests; the rings
 *   gossip_links.c    which links there should be; what waits to be sent on each
 *   gossip_tree.c     the tree along which paced summaries go
 *   gossip_spread.c   items taken in and passed on; agreement on the membership; pulls
 *   gossip_detect.c   pings, suspicions, deaths
 * Invariants: members are never taken out of the table (their places are stable); a link's id is
 * in the table or not (somebody who has just joined); at most one link to a host. */
#ifndef SKEIN_AGENT_CORE_GOSSIP_PRIV_H
#define SKEIN_AGENT_CORE_GOSSIP_PRIV_H

#include "agent/core/gossip.h"

/* Every host's summary should be known everywhere when it is 10 s old at most: 6 s, and 4 s for the
 * way (some sixteen hops at ten thousand hosts, each held for FLUSH_EVERY / 2 on average). */
#define SUMMARY_EVERY 6000
/* What is not urgent waits this long for company: a record and its packets cost some 150 bytes and
 * 30 us of a core at both ends, as much as a summary. */
#define FLUSH_EVERY 400
#define FLUSH_BYTES (64u << 10) /* no longer than that: a frame is at most 1 MiB */
/* A neighbour that has been silent this long is asked; most of what an agent at rest says is this.
 */
#define PING_AFTER 1400
/* A neighbour that has not answered for so long is suspected. A pause of 2.5 s (a host that swaps,
 * a guest that is moved) must not do it; one that has stopped for good must be known within 5 s:
 * PING_AFTER + this, and some tenths for votes; the majority's median is half a second sooner. */
#define SUSPECT_AFTER 3200
/* A neighbour whose link broke may redial: a process that crashed is back within a second or two at
 * best, and its death should be known within 3 s. */
#define LOST_AFTER 1500
/* A successor that cannot be dialled: the transport gives a connection up after 3 s. */
#define DIAL_AFTER 4000
/* One that could not be reached is passed over in the choice of links for this long; it may be
 * reachable for others. */
#define AVOID_FOR 15000
/* Suspicions that found no majority. */
#define PROBE_AFTER 1000 /* a suspicion that is not decided by then lacks voters */
#define SUSPICION_LIFE 30000
#define SLOW_MAX 4        /* Lifeguard's local health: suspicions take up to so many times longer */
#define SLOW_DECAY 5000   /* one step back to health after this long without a stall */
#define STALL 300         /* a tick that comes later than this: this host was not running */
#define ROOT_EVERY 1000   /* the root says that it is there */
#define ROOT_TIMEOUT 5000 /* some hops, each FLUSH_EVERY at most, and a lost second or two */
#define LOST_ROOT_FOR 60000 /* what neighbours still say of a silent root has died out by then */
#define ROOT_SETTLE 3000    /* a root by its own word waits this long for a better one */
#define RINGS 3 /* successors, as many predecessors: six links; bounded, and hard to cut */
#define NEAR                                                                                       \
    8 /* next members of a ring that are kept in mind; ring 0 looks among them for                 \
       * another failure domain, so nobody has more callers than this there */
#define NEAR_MIN 4
#define SMALL 7 /* a cluster in which everybody is linked with everybody */
#define TARGETS_MAX (SMALL - 1)
#define SYNC_EVERY 30000  /* one neighbour at random is asked whether the membership is the same */
#define SCAN_EVERY 30000  /* everybody's summaries are looked at: which are missing? */
#define PULL_MAX 512      /* ids in one pull */
#define LINK_IDLE 20000   /* a link that nobody needs is closed */
#define DEMAND_FOR 10000  /* a link dialled for a request that has not come up is given up */
#define SEEDS_AFTER 5000  /* alone for so long: try other seeds */
#define SEEDS_AT_ONCE 3   /* one that answers is enough */
#define REJOIN_EVERY 5000 /* how often somebody in the cluster calls one of the dead */
#define CLONE_FOR 120000  /* two lives of a host are believed over when neither spoke up so long */
#define CLONE_EVERY 30000 /* how often a life that knows of another says so */

#define MEMBERS_MAX 16384 /* names beyond are no hosts of ours: somebody makes them up */

struct member {
    struct gossip_item *item;    /* MEMBER; never NULL */
    struct gossip_item *verdict; /* DEAD or LEFT; NULL: alive */
    struct gossip_item *news;    /* SUMMARY; NULL: none yet */
    uint32_t born;               /* of the news, in hundredths of a second since g->began */
};

struct near {
    uint64_t distance;
    uint32_t place; /* in g->members */
};

struct gossip_link {
    gossip_id id;
    bool mine, theirs; /* kept by the rings: of this host, of the peer */
    bool bye;
    bool heard;     /* an advertisement has come */
    gossip_id root; /* the peer's words: see struct gossip_message */
    uint32_t root_sequence, distance;
    bool parent, orphan;
    bool said_mesh, said_parent, said_orphan, said; /* what the peer was told last */
    msec up_at, heard_at, sent_at, used_at;
    msec asked_at; /* of the first ping since it was heard; 0: none */
    bool voted;
    bool answer;                  /* a ping waits for any message */
    struct gossip_carried *queue; /* age: mono birth while it waits */
    size_t n_queue, cap_queue, queue_bytes;
    msec flush_at; /* QUANTITY_UNKNOWN: nothing waits */
};

struct lost {
    gossip_id id;
    msec at;
};

struct want {
    gossip_id id;
    char *address; /* owned */
    bool ring, keep;
    msec demand_until;
    msec since; /* not linked since; 0: linked */
};

struct suspicion {
    gossip_id host;
    uint64_t incarnation;
    uint32_t epoch;
    bool mine;    /* this host votes so, too */
    bool checked; /* whether this host should watch, though it has no link */
    msec since;
    msec probed_at; /* dialled to see for itself; 0: not */
    gossip_id voters[GOSSIP_VOTERS_MAX];
    size_t n_voters;
};

struct avoid {
    gossip_id id;
    msec until;
    unsigned times;
};

struct clone { /* a host whose incarnation was raised by hand: it met an older life of itself */
    gossip_id id;
    unsigned raises;
    msec at;    /* of the last */
    msec until; /* it is taken for cloned; 0: not */
};

struct gossip {
    struct gossip_conf conf;
    gossip_id id;
    uint64_t domain_hash, incarnation;
    struct gossip_item *own; /* MEMBER */
    struct gossip_item *own_news;
    msec began, now, deadline, ticked;
    struct gossip_out *out;
    uint64_t rng;
    bool left;

    struct member *members;
    size_t n_members, cap_members, n_alive;
    uint32_t *index; /* open addressing: place + 1 */
    size_t index_size;
    uint64_t digest[GOSSIP_BUCKETS];
    struct near near[RINGS][NEAR];
    unsigned n_near[RINGS];
    bool rings_changed;

    struct gossip_link **links;
    size_t n_links, cap_links;
    struct lost *lost;
    size_t n_lost, cap_lost;
    struct want *wants;
    size_t n_wants, cap_wants;
    struct suspicion *suspicions;
    size_t n_suspicions, cap_suspicions;
    struct avoid *avoids;
    size_t n_avoids, cap_avoids;
    struct clone *clones;
    size_t n_clones, cap_clones;

    gossip_id root; /* of the tree */
    uint32_t root_sequence, distance;
    gossip_id parent; /* 0: none */
    msec root_heard, root_since;
    gossip_id lost_root; /* silent: not believed again without a newer sequence */
    uint32_t lost_sequence, own_sequence;
    msec lost_at;

    msec next_sync, next_scan, next_rate, next_rejoin, next_root, seeds_at, stalled_at;
    const char *called[SEEDS_AT_ONCE]; /* seeds that are being dialled; of conf */
    size_t n_called;
    unsigned rate; /* summaries since the last look */
    msec pulled_at;
    unsigned slow;
    msec slow_at, raised_at;
    struct gossip_stats stats;
};

/* gossip.c */
uint64_t gossip_random(struct gossip *g);
void gossip_wake(struct gossip *g, msec at); /* tick no later than that */
struct gossip_effect *gossip_effect(struct gossip *g, enum gossip_effect_kind kind, gossip_id host);
uint64_t gossip_mix(uint64_t x);
void gossip_own_renew(struct gossip *g, uint64_t incarnation, uint32_t epoch);

/* gossip_members.c */
#define NO_PLACE SIZE_MAX
size_t members_find(const struct gossip *g, gossip_id id);
size_t members_add(struct gossip *g, struct gossip_item *item); /* takes a reference */
uint64_t member_version(const struct member *m);
uint64_t item_version(const struct gossip_item *item);
enum gossip_state member_state(const struct member *m);
/* Replace the MEMBER item (verdict NULL) or add a verdict; keeps digests and rings. */
void member_set(struct gossip *g, size_t place, struct gossip_item *item,
                struct gossip_item *verdict);
bool member_alive(const struct gossip *g, gossip_id id);
msec member_born(const struct gossip *g, const struct member *m);
bool member_fresh(const struct gossip *g, const struct member *m);
void members_tell(struct gossip *g, size_t place); /* GOSSIP_CHANGE */
/* To whom this host should keep a link by the rings. */
size_t rings_targets(const struct gossip *g, gossip_id ret[TARGETS_MAX]);
/* Who watches a host: its neighbours by the rings. */
size_t rings_watchers(const struct gossip *g, gossip_id host, gossip_id ret[GOSSIP_VOTERS_MAX]);
void members_done(struct gossip *g);

/* gossip_links.c */
struct gossip_link *gossip_link_find(const struct gossip *g, gossip_id id);

static inline bool gossip_link_is_mesh(const struct gossip_link *l)
{
    return l->mine || l->theirs;
}

void links_up(struct gossip *g, gossip_id id);
void links_down(struct gossip *g, gossip_id id);
void links_choose(struct gossip *g); /* after rings_changed */
void links_demand(struct gossip *g, gossip_id id);
void links_used(struct gossip *g, gossip_id id);
void links_address_changed(struct gossip *g, const struct gossip_item *item);
void links_tick(struct gossip *g);
void links_call_stranger(struct gossip *g);
void links_flush(struct gossip *g); /* what is due */
void links_done(struct gossip *g);
bool avoid_is(const struct gossip *g, gossip_id id);
void avoid_add(struct gossip *g, gossip_id id);
void avoid_drop(struct gossip *g, gossip_id id);
/* Queue an item on a link; at once: with what waits there already. */
void gossip_link_queue(struct gossip *g, struct gossip_link *l, struct gossip_item *item, msec born,
                       bool at_once);
void gossip_link_wake(struct gossip *g, struct gossip_link *l); /* something is to be said now */
/* A message for a link, with the advertisement filled in; sent by gossip_link_send, which takes it.
 */
struct gossip_message *gossip_link_message(struct gossip *g, struct gossip_link *l);
void gossip_link_send(struct gossip *g, struct gossip_link *l, struct gossip_message *m);

/* gossip_tree.c */
void tree_heard(struct gossip *g, struct gossip_link *l, const struct gossip_message *m);
void tree_link_gone(struct gossip *g, gossip_id id);
void tree_tick(struct gossip *g);
bool tree_is_orphan(const struct gossip *g);
bool tree_link(const struct gossip *g, const struct gossip_link *l); /* do summaries go over it? */

/* gossip_spread.c */
void spread_take(struct gossip *g, struct gossip_link *from, struct gossip_item *item, msec born);
void spread_message(struct gossip *g, struct gossip_link *l, const struct gossip_message *m);
void spread_rumour(struct gossip *g, const struct gossip_link *from, struct gossip_item *item,
                   msec born);
void spread_return(struct gossip *g); /* say that this host is here, though it had left */
void spread_own(struct gossip *g, struct gossip_item *item); /* takes the reference */
void spread_sync(struct gossip *g, struct gossip_link *l);
void spread_tick(struct gossip *g);
bool spread_is_clone(const struct gossip *g, gossip_id id);

/* gossip_detect.c */
void detect_heard(struct gossip *g, struct gossip_link *l);
void detect_lost(struct gossip *g, gossip_id id);
void detect_vote(struct gossip *g, gossip_id host);
void detect_suspect(struct gossip *g, struct gossip_link *from, struct gossip_item *item,
                    msec born);
void detect_settled(struct gossip *g,
                    gossip_id host); /* alive anew, dead or left: votes are void */
bool detect_suspected(const struct gossip *g, gossip_id host);
void detect_stall(struct gossip *g, msec late);
void detect_tick(struct gossip *g);

#endif
