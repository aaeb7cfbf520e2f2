/* node_priv.h - within node: what its rooms share. Not for others. */
#ifndef SKEIN_AGENT_CORE_NODE_PRIV_H
#define SKEIN_AGENT_CORE_NODE_PRIV_H

#include "agent/core/api.h"
#include "agent/core/electorate.h"
#include "agent/core/membership.h"
#include "agent/core/news.h"
#include "agent/core/node.h"
#include "agent/core/skew.h"
#include "agent/core/tally.h"
#include "proto/hash.h"

struct node {
    const struct node_conf *conf;
    struct view *view;
    struct membership *membership;
    struct state *state;
    struct duty *duty;
    struct exec *exec;
    struct reserve *reserve;
    struct api *api;
    struct electorate *electorate;
    struct tally tally;
    uint64_t rng, next_token;

    char leader[HV_NAME_MAX]; /* "" when nobody is known to plan */
    char named[HV_NAME_MAX];  /* planner by hearsay, to be called at the end of the step */
    uint64_t term;            /* the newest heard of */
    uint64_t voters;          /* number of the group of voters; 0: not told */

    uint64_t observing;                     /* token of the observation under way; 0: none */
    msec observe_at, summary_at, detail_at; /* mono: when the next is due */
    msec look_at;                           /* mono: is there something important to tell? */
    uint64_t sequence;                      /* of this host's summaries */
    struct news news;                       /* what the others know of this host already */
    bool hypervisor_ok;
    uint8_t bulletin[HASH_SIZE]; /* digest of the last that was learnt */
    struct hv_clock clock;       /* of the hypervisors' world */
    bool away;                   /* it has left the mesh, to sleep */
    struct skew skew;            /* of this host's clock against the planner's */
};

/* ---- node_own.c ---- */

/* An observation's answer came. */
void node_own_observed(struct node *node, struct step *s, const struct hv_result *result);
/* Observes, and tells the others and the planner, when that is due. */
void node_observe_and_tell(struct node *node, struct step *s);
void node_tell_at_once(struct node *node, struct step *s);
void node_send_capability(const struct node *node, struct step *s, const char *to);
/* The newest summary of this host; without an answer of the hypervisor, one that says just that.
 * To be freed. */
Skein__HostSummary *node_own_summary(struct node *node, struct step *s);

#endif
