/* reserve_priv.h - within reserve: reservations, room, looks and what starts with its host. Not for
 * others. */
#ifndef SKEIN_AGENT_CORE_RESERVE_PRIV_H
#define SKEIN_AGENT_CORE_RESERVE_PRIV_H

#include "agent/core/budget.h"
#include "agent/core/confirm.h"
#include "agent/core/reserve.h"
#include "agent/core/verify.h"

/* A hypervisor's answer that has not come after this is asked for again. */
#define RESERVE_JOB_PATIENCE 60000
#define RESERVE_LOOKS_MAX 64
#define RESERVE_ID_DIGITS 32

enum hold_state {
    HOLD_CONFIRM, /* asking the voters */
    HOLD_OBSERVE, /* counting what is here */
    HOLD_ADMIT,   /* asking the hypervisor */
    HOLD_OPEN,    /* opening the firewall */
    HOLD_HELD,
    HOLD_EXPIRED, /* its time is over: is the domain arriving? */
};

/* A reservation, from the moment it is asked for: it counts at once, so that of two requests for
 * the last room only one can win. */
struct hold {
    enum hold_state state;
    char id[RESERVE_ID_DIGITS + 1];
    Skein__JournalRecord *record; /* plan, action, uuid, vm, from, to, permit, vcpus ...; owned */
    Skein__VmDetail *vm;          /* as its host described it; owned; NULL when from the journal */
    struct migration_choice how;
    struct confirm *confirm;   /* HOLD_CONFIRM; owned */
    uint64_t job;              /* whose result is awaited; 0: none */
    msec job_mono;             /* since when */
    msec deadline_mono;        /* of the checking; held: when the reservation ends */
    msec since_mono;           /* held since; 0: from the journal, before the first tick */
    struct budget_order order; /* the standing order that approves it, if it is one */
    char *asker;               /* owned; whom to answer, */
    uint64_t request;          /* and to what; 0: nobody waits */
};

struct look {
    uint64_t job, request;
    char from[HV_NAME_MAX];
    Skein__JournalState journal;
    msec deadline_mono;
    Skein__LookVm *question; /* owned */
    bool comparing;          /* the job is the second one: what it is like */
    struct hv_seen seen;     /* ... and this was seen by the first */
};

/* A VM that arrived and shall start with this host. */
struct start {
    char *key, *vm; /* owned; of the journal */
    char uuid[UUID_SIZE];
    uint64_t job; /* whose result is awaited; 0: none */
    msec next_mono, until_mono;
};

struct reserve {
    const struct view *view;   /* borrowed */
    const struct state *state; /* borrowed */
    uint64_t term;
    struct hold **holds;
    size_t n, cap;
    struct look looks[RESERVE_LOOKS_MAX];
    size_t n_looks;
    struct start *starts;
    size_t n_starts, cap_starts;
    struct verify_refusals refusals;
    struct budget *budget; /* owned */
};

/* This host as observed. */
struct room {
    const Skein__HostSummary *summary;
    const Skein__HostCapability *capability; /* NULL: without huge pages */
    Skein__VmDetail *const *vms;
    size_t n_vms;
};

static inline int64_t clamp(uint64_t v)
{
    return (int64_t)MIN(v, (uint64_t)INT64_MAX);
}

/* ---- reserve.c ---- */

bool reserve_is_held(const struct hold *h);
struct hold *reserve_find(const struct reserve *r, const char *plan,
                          const char *action); /* or NULL */

/* ---- reserve_room.c ---- */

/* Room for self, next to all that is here or expected? ERR_CAPACITY, CONFLICT or UNAVAILABLE. */
int reserve_check_room(const struct reserve *r, const struct room *room, const struct hold *self,
                       struct err *err);
bool reserve_size_known(const Skein__VmDetail *vm);
bool reserve_takes_room(const Skein__VmDetail *vm); /* does it take room, in its state? */
const Skein__VmDetail *reserve_find_vm(Skein__VmDetail *const *vms, size_t n, const char *uuid);

/* ---- reserve_look.c ---- */

/* Answers the look that it is of, if it is one's. */
void reserve_look_result(struct reserve *r, struct step *s, const struct hv_result *result);
void reserve_look_tick(struct reserve *r, const struct step *s);
void reserve_look_free(struct reserve *r);

/* ---- reserve_start.c ---- */

/* The hold's reservation is over; key: its record's, which leaves the journal when this is done. */
void reserve_start(struct reserve *r, struct step *s, const struct hold *h, const char *key);
void reserve_start_forget(struct reserve *r, const char *key); /* another record has the key now */
bool reserve_start_result(struct reserve *r, struct step *s, const struct hv_result *result);
void reserve_start_tick(struct reserve *r, struct step *s);
void reserve_start_free(struct reserve *r);

#endif
