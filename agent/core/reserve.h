/* reserve.h - moves that arrive: the destination's verification, admission and reservations.
 * Pure. Nothing is reserved on anybody's word: approvals are verified here again, the permit is
 * confirmed with a majority of voters by this host itself, capacity is counted from this host's own
 * fresh observation plus what is reserved already (also by requests still being checked), and the
 * hypervisor is asked whether the VM can arrive. Never double-books; always expires, unless the
 * domain is arriving. Reservations are in the journal: a restarted agent still holds them.
 *
 * Sends to this host itself (conf->host) must come back as frames; node does that. */
#ifndef SKEIN_AGENT_CORE_RESERVE_H
#define SKEIN_AGENT_CORE_RESERVE_H

#include "agent/core/step.h"
#include "agent/core/view.h"

struct state;
struct reserve; /* opaque */

/* view and state are borrowed for the object's life. */
struct reserve *reserve_new(const struct view *view, const struct state *state);
void reserve_free(struct reserve *r);
/* A record of an earlier life with acts_as_destination; others are ignored. */
void reserve_load(struct reserve *r, const Skein__JournalRecord *record);

/* from: the authenticated sender. Answered by Reserved, or by an error: DENIED, EXPIRED (never by
 * this permit), LIMIT, CAPACITY, UNAVAILABLE, TIMEOUT (perhaps later), INCOMPATIBLE, CONFLICT... A
 * repeated request is answered with the reservation that stands. */
void reserve_request(struct reserve *r, struct step *s, const char *from, uint64_t id,
                     const Skein__Reserve *request);
void reserve_release(struct reserve *r, struct step *s, const char *from, uint64_t id,
                     const Skein__ReleaseReservation *request);
/* What this host's hypervisor sees of a VM (source or destination). journal: what exec knows of the
 * action (exec_journal); a reservation here is added to it. */
void reserve_look(struct reserve *r, struct step *s, const char *from, uint64_t id,
                  const Skein__LookVm *request, Skein__JournalState journal);

/* Results and replies whose token has OWNER_RESERVE. */
void reserve_hv(struct reserve *r, struct step *s, const struct hv_result *result);
void reserve_reply(struct reserve *r, struct step *s, const char *from, const Skein__Reply *reply);
void reserve_tick(struct reserve *r, struct step *s);
/* The newest term heard of (EVENT_ROLE). */
void reserve_role(struct reserve *r, uint64_t term);

/* Reservations and requests being checked: for the summary's in_flight and the API. */
struct reserve_item {
    const char *id, *plan, *action, *uuid, *vm, *from; /* borrowed until the next change */
    bool held;                                         /* false: still being checked */
    uint32_t vcpus;
    uint64_t memory_mib;
    msec expires_wall;
};

bool reserve_waits(const struct reserve *r); /* for reserve_tick: something is held or looked at */
size_t reserve_count(const struct reserve *r);
void reserve_item(const struct reserve *r, size_t i, struct reserve_item *ret);

#endif
