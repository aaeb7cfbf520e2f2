/* voters.h - which hosts should vote. Pure, and nothing of it is remembered: what is asked for
 * follows from what is known of the hosts now and since when, so that a new planner goes on where
 * the one before it stopped.
 *
 * Voters change rarely. One is replaced when it has been away for a while, or is being emptied, or
 * when all hosts are well and another set stands in more failure domains; one at a time; and only
 * where a majority of the voters before and of those after it is there to agree. */
#ifndef SKEIN_AGENT_CORE_VOTERS_H
#define SKEIN_AGENT_CORE_VOTERS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/units.h"

#define VOTERS_MAX 7
#define VOTERS_WHY_SIZE 160

/* One host, as the planner sees it. */
struct voters_host {
    const char *name;
    const char *domain; /* of failure; NULL: not known, which is one of its own */
    bool votes;
    bool self;    /* the planner: never replaced before it has handed over */
    bool there;   /* it is heard of now */
    msec away;    /* for so long it is not; 0 where it is there */
    bool leaves;  /* people empty it, or it goes to sleep */
    bool fit;     /* may become a voter: takes guests, is not suspected, can follow a change */
    msec settled; /* for so long the mesh knows it, in its present life */
};

struct voters_conf {
    unsigned
        wanted;    /* 1 to VOTERS_MAX; 0: one, of three hosts and more three, of five and more five
                    */
    msec patience; /* a voter that is away for so long is replaced; what moves only for the spread
                    * must have been known for as long */
};

struct voters_change {
    const char *add, *remove; /* of hosts' names; one may be NULL */
    char why[VOTERS_WHY_SIZE];
};

/* How many should vote, of the hosts that are not away for good; three that vote never become one
 * because hosts went away. */
unsigned voters_wanted(const struct voters_conf *conf, const struct voters_host *hosts, size_t n);

/* The next change, if there should be one. hosts: all that are known, and all voters. */
bool voters_choose(const struct voters_conf *conf, const struct voters_host *hosts, size_t n,
                   struct voters_change *ret);

#endif
