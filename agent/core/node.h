/* node.h - one agent, pure: feed events, perform the effects.
 * Owns the modules: view (what is known of the hosts), state (what the voters agreed on), duty (the
 * planner's work, when this agent leads), exec (moves that leave this host), reserve (moves that
 * arrive), api. Not thread-safe; a test runs fifty of them in one process. */
#ifndef SKEIN_AGENT_CORE_NODE_H
#define SKEIN_AGENT_CORE_NODE_H

#include <jansson.h>

#include "agent/core/step.h"

struct node; /* opaque */
struct state;

/* journal: every record the store holds, as written by earlier lives of this agent; borrowed. */
int node_new(const struct node_conf *conf, uint64_t seed,
             const Skein__JournalRecord *const *journal, size_t n_journal, struct node **ret,
             struct err *err);
void node_free(struct node *node);

/* Advance by one event. Effects are appended to out, which the caller clears. */
void node_step(struct node *node, const struct event *event, struct moment now,
               struct effects *out);

/* mono: when EVENT_TICK is due, as things stand; any step may bring it forward. now: at once, or as
 * soon as the shell likes (100 ms): something is under way. */
msec node_deadline(const struct node *node, msec now);

/* Borrowed, until the next step. */
const struct state *node_state(const struct node *node);
bool node_knows_host(const struct node *node, const char *host); /* living or not */
const char *node_planner(const struct node *node);               /* "" when none is known */

/* What this life has learned of the fleet's week, and what the one before had: see view_week(). */
json_t *node_week(const struct node *node, int64_t *seen);
void node_week_take(struct node *node, const json_t *week);

/* This node in numbers: metrics.h; the caller frees it. */
char *node_metrics(struct node *node, struct moment now);
/* The replicated state as packed StateImage, for the log's compaction; the caller frees it. */
uint8_t *node_image(const struct node *node, size_t *ret_len);

#endif
