/* performer.h - carries the effects of a step out, in one place and one order: what must be durable
 * first (and the rest waits for the disk), then sends, proposals and answers, then jobs and
 * evaluations. Steps are performed in the order they came: none overtakes one that waits. Gossip
 * alone does not wait: a host whose disk is slow still answers its neighbours. */
#ifndef SKEIN_AGENT_IO_PERFORMER_H
#define SKEIN_AGENT_IO_PERFORMER_H

#include "agent/core/step.h"
#include "agent/io/store.h"

struct performer; /* opaque; belongs to the loop thread */

/* Each carries out one effect; it may take parts of it (set them to NULL). Never called from
 * within performer_take when something before it still waits for the disk. */
struct performer_hands {
    void *arg;
    void (*send)(void *arg, struct effect *effect);
    void (*dial)(void *arg, const struct effect *effect); /* DIAL, UNDIAL, CLOSE */
    void (*propose)(void *arg, struct effect *effect);
    void (*answer)(void *arg, struct effect *effect);
    void (*job)(void *arg, struct effect *effect);
    void (*evaluate)(void *arg, struct effect *effect);
    void (*voters)(void *arg, const struct effect *effect);
    void (*yield)(void *arg, const char *host);
    void (*notice)(void *arg, const char *line);
    void (*trace)(void *arg, const char *line);
    void (*audited)(void *arg, const json_t *record); /* it is on the disk */
    void (*failed)(void *arg, const struct err *err); /* the store refused; nothing more happens */
};

struct performer *performer_new(struct store *store, const struct performer_hands *hands);
/* Takes all effects and leaves the list empty. */
void performer_take(struct performer *p, msec wall, struct effects *effects);
/* Nothing more is carried out from now on; answers of the store that are awaited are dropped. */
void performer_stop(struct performer *p);
/* After the store has closed. */
void performer_free(struct performer *p);

#endif
