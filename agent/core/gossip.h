/* gossip.h - membership, the partial mesh, and what is told to everybody.
 *
 * Every agent knows every member; it is linked with few of them. Three rings order the members,
 * each by another hash of their names, and an agent keeps a link to its successor on each of them
 * (on the first one to a successor in another failure domain where there is one near): about six
 * links an agent whatever the cluster's size, and a random regular graph, whose diameter grows with
 * the logarithm. Who leaves takes three links with him, and the rings close.
 *
 * Rumours (who joins, leaves, is suspected or dead, urgent summaries) go over every one of those
 * links at once, and on from each agent that has not seen them (epidemic). Paced summaries go along
 * a tree of those links (gossip_tree.c), once to everybody; what is missed is pulled.
 *
 * A member is watched by those who are linked with it by the rings (gossip_detect.c).
 *
 * Pure: no I/O, no clock, no randomness but its seed. Not thread-safe. Ten thousand of them stand
 * in one process in tests/bench/mesh_sim.c: items are shared between them. */
#ifndef SKEIN_AGENT_CORE_GOSSIP_H
#define SKEIN_AGENT_CORE_GOSSIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/skein.pb-c.h"
#include "proto/units.h"
#include "proto/util.h"

typedef uint64_t gossip_id; /* hash of a host's name; 0: nobody */

gossip_id gossip_id_of(const char *host);

/* ---- items: what is relayed as its origin said it ---- */

enum gossip_kind {
    GOSSIP_SUMMARY, /* a host of its load */
    GOSSIP_MEMBER,  /* a host of itself: here I am; with a higher epoch: no, I am not dead */
    GOSSIP_SUSPECT, /* a watcher of a host that it cannot reach */
    GOSSIP_DEAD,    /* a watcher of a host that most of its watchers cannot reach */
    GOSSIP_LEFT,    /* a host of itself: goodbye */
};

#define GOSSIP_VOTERS_MAX 32

/* Immutable once made, counted references; strings and arrays are owned. */
struct gossip_item {
    unsigned refs;
    enum gossip_kind kind;
    bool urgent;          /* SUMMARY: goes as a rumour does */
    bool verified;        /* its signature was looked at, and holds */
    gossip_id by;         /* who says it */
    gossip_id host;       /* of whom */
    uint64_t incarnation; /* of host: wall ms at its start */
    uint32_t epoch;       /* of host: how often it had to say that it lives; not of SUMMARY */
    uint64_t sequence;    /* SUMMARY: within an incarnation */
    char *name;           /* MEMBER: of host */
    char *address;        /* MEMBER: "IP:PORT" */
    char *domain;         /* MEMBER: failure domain, "" for none */
    uint64_t domain_hash; /* MEMBER */
    gossip_id *voters;    /* DEAD: the watchers that suspected it */
    size_t n_voters;
    Skein__HostSummary *summary; /* SUMMARY; NULL in simulation */
    uint8_t *wire;               /* as it is relayed; NULL: not packed yet */
    size_t wire_len;             /* what it takes in a message */
};

struct gossip_item *gossip_item_new(enum gossip_kind kind, gossip_id by, gossip_id host);
struct gossip_item *gossip_item_ref(struct gossip_item *item);
void gossip_item_unref(struct gossip_item *item); /* NULL is fine */

/* An item, and how old what it says is. */
struct gossip_carried {
    struct gossip_item *item;
    msec age;
};

/* ---- messages between neighbours ---- */

#define GOSSIP_BUCKETS 64 /* of the digest of the membership */

struct gossip_listed { /* one member in a list of a bucket */
    gossip_id id;
    uint64_t version;
};

struct gossip_message {
    /* How the tree stands at the sender: see gossip_tree.c. */
    gossip_id root;
    uint32_t root_sequence, distance;
    bool parent; /* the receiver is the sender's parent */
    bool orphan; /* the sender has no parent */
    bool mesh;   /* the sender keeps this link as one of the mesh's, not for a request alone */
    bool bye;    /* the sender will close the link: not a sign of its death */
    bool ping;   /* answer at once */

    struct gossip_carried *items; /* owned, with a reference each */
    size_t n_items, cap_items;
    uint64_t *digest; /* owned; GOSSIP_BUCKETS hashes of the membership, or NULL */
    uint64_t listed;  /* bit b: list holds all members of bucket b that the sender knows */
    struct gossip_listed *list; /* owned */
    size_t n_list, cap_list;
    gossip_id *want; /* owned: send what you know of these (membership) */
    size_t n_want, cap_want;
    gossip_id *pull; /* owned: send newer summaries of these than of sequence */
    uint64_t *pull_sequence;
    size_t n_pull, cap_pull, cap_pull_sequence;
};

struct gossip_message *gossip_message_new(void);
void gossip_message_free(struct gossip_message *m); /* NULL is fine */
DEFINE_CLEANUP(struct gossip_message, gossip_message_free)

/* ---- the machine ---- */

enum gossip_state { GOSSIP_ALIVE, GOSSIP_GONE_DEAD, GOSSIP_GONE_LEFT };

struct gossip_conf { /* borrowed for the gossip's life */
    const char *host, *address, *domain;
    uint64_t incarnation;
    uint64_t seed;
    const char *const *seeds; /* addresses to join by */
    size_t n_seeds;
    const char *const *keep; /* names of hosts to which a link is always kept (voters) */
    size_t n_keep;
    msec summary_every; /* how often hosts tell their summaries, all alike; 0: the default */
};

enum gossip_event_kind {
    GOSSIP_TICK,      /* at gossip_deadline at the latest */
    GOSSIP_LINK_UP,   /* host: a link stands */
    GOSSIP_LINK_DOWN, /* host: it broke */
    GOSSIP_MESSAGE,   /* host, message */
    GOSSIP_TELL,      /* item: this host's own summary; the reference is taken */
    GOSSIP_USED,      /* host: a request or an answer went over its link, either way */
    GOSSIP_DEMAND,    /* host: a link is wanted for a request */
    GOSSIP_LEAVE,     /* say goodbye */
    GOSSIP_RETURN,    /* here again, after a goodbye */
};

struct gossip_event {
    enum gossip_event_kind kind;
    gossip_id host;
    const struct gossip_message *message;
    struct gossip_item *item;
};

enum gossip_effect_kind {
    GOSSIP_SEND,   /* host, message: owned by the effect */
    GOSSIP_DIAL,   /* address: keep a link to it */
    GOSSIP_UNDIAL, /* address: not any more; a link that stands stays */
    GOSSIP_CLOSE,  /* host: close the link */
    GOSSIP_NEWS,   /* item: a summary; born */
    GOSSIP_CHANGE, /* host, state, suspected: of a member; item: its MEMBER item */
};

struct gossip_effect {
    enum gossip_effect_kind kind;
    gossip_id host;
    struct gossip_message *message;
    char *address;            /* owned by the effect */
    struct gossip_item *item; /* a reference of the effect */
    msec born;                /* mono: when what the item says was so */
    enum gossip_state state;
    bool suspected, cloned;
};

struct gossip_out {
    struct gossip_effect *items;
    size_t n, cap;
};

void gossip_out_clear(struct gossip_out *out); /* frees what effects own; keeps the array */
void gossip_out_done(struct gossip_out *out);

struct gossip; /* opaque */

struct gossip *gossip_new(const struct gossip_conf *conf, msec now);
void gossip_free(struct gossip *g); /* NULL is fine */
/* Other hosts than before are those to which a link is always kept; borrowed. */
void gossip_keep(struct gossip *g, const char *const *keep, size_t n);

/* Advance by one event; effects are appended. */
void gossip_step(struct gossip *g, const struct gossip_event *event, msec now,
                 struct gossip_out *out);
msec gossip_deadline(const struct gossip *g); /* mono: when GOSSIP_TICK is due */

/* Know members beforehand, without a word to anybody: where simulations begin. */
void gossip_acquaint(struct gossip *g, struct gossip_item *const *members, size_t n);
struct gossip_item *gossip_own(const struct gossip *g); /* own MEMBER item, borrowed */

/* ---- looking at it ---- */

struct gossip_member {
    const struct gossip_item *item; /* MEMBER */
    enum gossip_state state;
    bool suspected;
    bool cloned; /* two lives of it speak at once */
    bool linked;
    const struct gossip_item *summary; /* NULL: none yet */
    msec born;                         /* mono; of the summary */
};

size_t gossip_count(const struct gossip *g); /* all ever known */
void gossip_at(const struct gossip *g, size_t i, struct gossip_member *ret);
bool gossip_find(const struct gossip *g, gossip_id id, struct gossip_member *ret);

struct gossip_stats {
    size_t alive, links, mesh_links;
    gossip_id root;
    unsigned distance;
    bool orphan;
    uint64_t summaries, repeats; /* taken, and had already */
    uint64_t pulls, refutations, votes;
    unsigned slow; /* own slowness, 0 to 4 */
};

void gossip_stats(const struct gossip *g, struct gossip_stats *ret);

#endif
