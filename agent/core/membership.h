/* membership.h - the node's part in the mesh: puts gossip (gossip.h) between frames, the view and
 * the links that the shell keeps.
 * What it hears of hosts goes into the view; whom it wants to be linked with goes out as effects.
 */
#ifndef SKEIN_AGENT_CORE_MEMBERSHIP_H
#define SKEIN_AGENT_CORE_MEMBERSHIP_H

#include "agent/core/gossip.h"
#include "agent/core/step.h"
#include "agent/core/view.h"

struct membership; /* opaque */

/* A host's summary has come; age: how long ago what it says was so. */
typedef void (*membership_news_cb)(void *arg, struct step *s, const Skein__HostSummary *summary,
                                   msec age);

/* view: borrowed; members' states go there, summaries to on_news. */
struct membership *membership_new(struct view *view, uint64_t seed, membership_news_cb on_news,
                                  void *arg);
void membership_free(struct membership *m);

void membership_tick(struct membership *m, struct step *s);
void membership_peer(struct membership *m, struct step *s, const char *host, bool up);
void membership_frame(struct membership *m, struct step *s, const char *from,
                      const ProtobufCBinaryData *bytes);
/* Tell everybody; urgent: at once. */
void membership_tell(struct membership *m, struct step *s, const Skein__HostSummary *summary,
                     bool urgent);
/* A request or an answer came from there, or is about to go there: have a link. */
void membership_used(struct membership *m, struct step *s, const char *host);
void membership_reach(struct membership *m, struct step *s, const char *host);
/* Other hosts vote than before. */
void membership_voters(struct membership *m, const struct step *s);
void membership_leave(struct membership *m, struct step *s);
void membership_return(struct membership *m, struct step *s); /* after a goodbye */

/* The incarnation under which this host speaks: later than any life of it that the mesh knows. */
uint64_t membership_incarnation(const struct membership *m, const struct node_conf *conf);
bool membership_cloned(const struct membership *m, const struct node_conf *conf);
/* How many members live, this host too; and how the mesh stands. */
size_t membership_alive(const struct membership *m);
void membership_stats(const struct membership *m, struct gossip_stats *ret);
msec membership_deadline(const struct membership *m);

#endif
