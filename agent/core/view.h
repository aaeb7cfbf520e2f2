/* view.h - what this agent knows of every host: summaries, details, capabilities, links.
 * Pure. Ages count on this host's monotonic clock, from when something arrived here less the time
 * it was on its way through relays: other hosts' clocks are not asked. Older lives and reordered
 * messages never replace newer ones. Temperatures that no machine has (0, -3, 900 degrees) are kept
 * out: unknown. Where a host sends no trend, it is computed here from the samples that arrived. */
#ifndef SKEIN_AGENT_CORE_VIEW_H
#define SKEIN_AGENT_CORE_VIEW_H

#include <jansson.h>

#include "agent/core/step.h"

struct view; /* opaque */

struct view *view_new(void);
void view_free(struct view *view);

/* Messages are copied. The caller has checked that the sender speaks for itself. own: this host's
 * own observation, which is always the newest. A detail carries a summary and perhaps a capability;
 * without VMs it says that there are none. */
void view_detail(struct view *view, const Skein__HostDetail *detail, struct moment now, bool own);
void view_summary(struct view *view, const Skein__HostSummary *summary, struct moment now,
                  msec age); /* of what it says: relays hold it for a while */
void view_capability(struct view *view, const Skein__HostCapability *capability, struct moment now);
void view_peer(struct view *view, const char *host, bool up, struct moment now);

/* What the mesh says of a member. */
struct view_member {
    bool gone;      /* dead, or it said goodbye */
    bool suspected; /* a watcher cannot reach it */
    bool cloned;    /* two hosts speak in its name */
    const char *failure_domain;
};

void view_member(struct view *view, const char *host, const struct view_member *member);

/* One host; everything is borrowed until the view's next change. */
struct view_host {
    const char *name;
    bool linked;                             /* a link to it stands here; few hosts have one */
    bool member, gone, suspected, cloned;    /* member: the mesh knows it; see view_member */
    const char *failure_domain;              /* NULL: not known, or none */
    msec link_changed_mono;                  /* 0: never */
    msec summary_mono, detail_mono;          /* when what the newest says was so; 0: never */
    msec capability_mono;                    /* likewise */
    const Skein__HostSummary *summary;       /* NULL: none yet */
    const Skein__HostCapability *capability; /* NULL: none yet */
    Skein__VmDetail *const *vms;
    size_t n_vms;
};

size_t view_count(const struct view *view);
const struct view_host *view_at(const struct view *view, size_t i); /* sorted by name */
const struct view_host *view_find(const struct view *view, const char *host);

/* The VM's copy that counts: a running one before a paused, crashed or stopped one, then the one
 * seen last. A domain that is only being received never counts. NULL when it is nowhere. */
const Skein__VmDetail *view_vm(const struct view *view, const char *uuid,
                               const struct view_host **ret_host);

/* Is it a copy that counts at all; and does copy a count rather than copy b of the same VM? */
bool view_counts(const Skein__VmDetail *vm);
bool view_prefers(const Skein__VmDetail *a, const struct view_host *a_host,
                  const Skein__VmDetail *b, const struct view_host *b_host);

/* What was measured of hosts and VMs before: the snapshot's `history`, a new reference. */
json_t *view_history(const struct view *view, struct moment now);

/* The fleet's week as it is known (planner/core/profile.h), where that has changed since *seen was
 * set here (0: ever): a new reference, or NULL. And what an earlier life knew, before anything else
 * is heard; NULL is fine. */
json_t *view_week(const struct view *view, int64_t *seen);
void view_week_take(struct view *view, const json_t *week);

/* Does it live, as far as is known? Requests to it are worth while. */
bool view_reachable(const struct view_host *host);

/* Is there something heard of this host that is at most max_age old? */
bool view_fresh(const struct view_host *host, struct moment now, msec max_age);

#endif
