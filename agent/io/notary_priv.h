/* notary_priv.h - what the notary's two sides share: notary.c (this host's own log), witness.c
 * (others' logs, as a voter). */
#ifndef SKEIN_AGENT_IO_NOTARY_PRIV_H
#define SKEIN_AGENT_IO_NOTARY_PRIV_H

#include "agent/io/notary.h"
#include "tls/checkpoint.h"

/* What this voter has seen of a log. */
struct seen {
    char host[NAME_SIZE];
    uint64_t size;
    uint8_t root[HASH_SIZE];
    bool told; /* that it does not go on was audited: once is enough */
};

struct witness {
    struct seen *items;
    size_t n, cap;
};

/* Another voter, as one that cosigns this host's log. */
struct notary_voter {
    uint64_t known;  /* what it has seen of this log, as it said */
    unsigned tries;  /* in this round */
    bool done;       /* cosigned, or refused for good */
    bool complained; /* its refusal was told */
};

struct waiter {
    notary_done_cb cb;
    void *arg;
};

struct notary {
    struct notary_conf conf;
    struct identity *identity; /* owned */
    struct anchor *machines;   /* owned; with revocations */

    bool active; /* a round is under way */
    struct checkpoint head;
    char *bare, *text; /* owned; of head: as signed, and with cosignatures */
    size_t cosigned;
    msec begun, again;           /* mono */
    struct notary_voter *voters; /* owned; as conf's */
    char *latest;                /* owned: of the last round */
    uint64_t latest_size;
    bool latest_enough;

    struct waiter *waiters; /* for the round after the one that runs */
    size_t n_waiters, cap_waiters;
    struct waiter *served; /* by the round that runs */
    size_t n_served, cap_served;

    struct witness witness;
};

/* witness.c */
void witness_ask(struct notary *n, struct moment now, const char *from,
                 const Skein__CosignAsk *ask);
void witness_done(struct witness *w);

#endif
