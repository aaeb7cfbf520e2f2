/* notary.h - what makes this host's audit log binding: its head is signed, cosigned by voters that
 * saw it only go on, committed to the replicated state, and published outside the cluster. And the
 * other side: this host, as a voter, is witness of the others' logs.
 *
 * A round signs the log as it is, asks every other voter, each with a proof of consistency from
 * what that voter has seen before, and ends when enough of them (a majority, with this host where
 * it votes) have cosigned. What a witness has seen is on its disk before it says so.
 * Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_NOTARY_H
#define SKEIN_AGENT_IO_NOTARY_H

#include "agent/core/step.h" /* struct moment */
#include "agent/io/store.h"
#include "proto/skein.pb-c.h"
#include "tls/names.h"

struct notary; /* opaque */

struct notary_conf {
    struct store *store; /* borrowed; answers all before the notary is freed */
    const struct cluster *cluster;
    const char *host, *tls_directory; /* host.pem, host.key, machines.pem, crl.pem */
    const char *const *voters;
    size_t n_voters;
    msec every; /* between rounds, when there is something new */
    void *arg;
    /* Best effort. */
    void (*send)(void *arg, const char *host, Skein__AuditFrame *frame);
    /* Cosigned: to the replicated state. Best effort; the next round's head replaces it. */
    void (*commit)(void *arg, Skein__AuditHead *head);
    /* Cosigned: to the world outside. */
    void (*publish)(void *arg, const char *checkpoint);
    /* Another host's log contradicts what was seen of it, or a witness says so of this one's. */
    void (*conflict)(void *arg, const char *host, const char *message);
};

int notary_open(const struct notary_conf *conf, msec wall, struct notary **ret, struct err *err);
void notary_free(struct notary *n);
/* Others vote now; borrowed. */
void notary_voters(struct notary *n, const char *const *voters, size_t n_voters);
int notary_reload(struct notary *n, msec wall, struct err *err); /* the files again */

void notary_tick(struct notary *n, struct moment now);
void notary_frame(struct notary *n, struct moment now, const char *from,
                  const Skein__AuditFrame *frame);

/* The newest checkpoint with its cosignatures, or NULL; borrowed. */
const char *notary_checkpoint(const struct notary *n);

/* A checkpoint of the log as it is now, once it is cosigned; after a few seconds with as many
 * cosignatures as came. text lives for the callback only. */
typedef void (*notary_done_cb)(void *arg, const struct err *err, const char *text);
void notary_fresh(struct notary *n, struct moment now, notary_done_cb cb, void *arg);

#endif
