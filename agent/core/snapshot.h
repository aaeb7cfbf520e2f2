/* snapshot.h - the view and the shared state frozen into skein.snapshot/1.
 * Pure. Only what is known is there; the rest is absent, never 0. The same view, state, time and
 * seed give the same canonical bytes: hosts are sorted by name, VMs by UUID, tags are objects. */
#ifndef SKEIN_AGENT_CORE_SNAPSHOT_H
#define SKEIN_AGENT_CORE_SNAPSHOT_H

#include <jansson.h>

#include "agent/core/step.h"
#include "agent/core/view.h"

struct state;

#define SNAPSHOT_HUMAN_MS                                                                          \
    3600000 /* of the world: where a person moved a VM, policies that only improve leave it */
#define SNAPSHOT_BACK_OFF "back-off: " /* how the names of its rules begin */
#define SNAPSHOT_SCHEMA "skein.snapshot/1"

/* A new reference. Hosts that were silent for longer than conf's stale_after (and those of which
 * only the name is known) are "offline"; a VM seen on two hosts appears once, where it runs;
 * domains that are being received appear as in_flight only. in_flight: the actions of ongoing plans
 * that hold a permit or run, {vm, uuid, from, to, plan, action, state}. */
json_t *snapshot_make(const struct view *view, const struct state *state, const struct step *s,
                      uint64_t seed);

/* Does it sleep, by its own last word, or (where nobody here has heard it) by what was agreed on?
 */
bool snapshot_sleeps(const struct view_host *host, const struct state *state, const struct step *s);
/* One host as the snapshot shows it; a new reference. */
json_t *snapshot_host(const struct view_host *host, const struct state *state,
                      const struct step *s);

#endif
