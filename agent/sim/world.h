/* world.h - the simulated world: hosts, their guests, heat, links and migrations.
 *
 * Pure: time, seed and every command are arguments; the same calls give the same world. It owns the
 * guests, so they outlive the agents that watch and move them. Moments are milliseconds of the
 * world's own time since it began; how fast that time passes is the caller's affair.
 *
 * Quantities are those of agent/core/hv.h and proto/skein.proto. Hosts and guests are named by
 * index where the world hands them out, by name or UUID where others ask. Not thread-safe. */
#ifndef SKEIN_AGENT_SIM_WORLD_H
#define SKEIN_AGENT_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/hv.h"
#include "planner/core/model.h"
#include "proto/err.h"
#include "proto/sim.pb-c.h"
#include "proto/units.h"

struct world; /* opaque */

#define WORLD_NEVER INT64_MAX
#define WORLD_HOSTS_MAX 10000
#define WORLD_GUESTS_MAX 200000

/* 0 stands for the default in brackets. */
struct world_conf {
    uint64_t seed;
    msec begins;         /* the world's wall clock at its moment 0 */
    double room_celsius; /* [22] cold air, where the snapshot states no inlet temperature */
    double heat_seconds; /* [60] time constant of a processor's temperature; the inlet's is 3 times
                          * that */
    bool daily;          /* guests of a snapshot follow the day; else they use what it says */
};

/* ---- making ---- */

/* From a snapshot. Hosts without cores or memory and guests without vCPUs, memory, UUID or host
 * are errors: a world cannot run on unknowns. Other unknowns get ordinary values. */
int world_from_model(const struct world_conf *conf, const struct model *model, struct world **ret,
                     struct err *err);

/* A fleet of ordinary machines: racks of ten, two generations, guests of mixed sizes; a part of
 * the guests follows the day, a part the night, a part nothing. ERR_LIMIT, ERR_CAPACITY. */
int world_generate(const struct world_conf *conf, size_t hosts, size_t guests, struct world **ret,
                   struct err *err);
void world_free(struct world *w); /* NULL is fine */

/* Processor use of one guest, percent of its vCPUs, one number for each period; it repeats.
 * From the next whole second of the world on. */
void world_trace(struct world *w, size_t guest, const uint8_t *percent, size_t n, msec period);

size_t world_hosts(const struct world *w);
size_t world_guests(const struct world *w);
int world_find_host(const struct world *w, const char *name, size_t *ret, struct err *err);

/* ---- time ---- */

/* Let time pass until now; never back. */
void world_step(struct world *w, msec now);
msec world_now(const struct world *w);
msec world_wall(const struct world *w); /* its wall clock */

/* When a migration or a boot next changes its state by itself; WORLD_NEVER. */
msec world_next(const struct world *w);

enum world_event_kind {
    WORLD_CHANGED, /* a VM of this host did: observe soon */
    WORLD_MOVED,   /* this migration ended */
};

struct world_event {
    enum world_event_kind kind;
    size_t host;
    uint64_t migration;
    struct err err; /* what the source's hypervisor says, which fates may make a lie */
    struct hv_stats stats;
};

bool world_event(struct world *w, struct world_event *ret); /* the oldest; false: none */

/* ---- what a hypervisor does (agent/io/hypervisor.h) ---- */

enum world_answers {
    WORLD_ANSWERS,
    WORLD_REFUSES, /* switched off, and the network says so */
    WORLD_SILENT,  /* hangs, or is gone without a word: no answer ever, or when it comes back */
};

enum world_answers world_answers(const struct world *w, size_t host);

Skein__HostDetail *world_observe(const struct world *w, size_t host); /* the caller's */
void world_look(const struct world *w, size_t host, const char *uuid, struct hv_seen *ret);
int world_precheck(const struct world *w, size_t host, const struct hv_move *move, struct err *err);
int world_admit(const struct world *w, size_t host, const struct hv_move *move,
                const Skein__VmDetail *vm, struct err *err);
/* Begins; WORLD_MOVED with this number follows. */
int world_migrate(struct world *w, size_t host, const struct hv_move *move, uint64_t *ret,
                  struct err *err);
int world_progress(const struct world *w, size_t host, const char *uuid, struct hv_progress *ret,
                   struct err *err);
/* Its guest goes on at the other end; what is left of its memory follows. */
int world_postcopy(struct world *w, size_t host, const char *uuid, struct err *err);
int world_abort(struct world *w, size_t host, const char *uuid, struct err *err);
/* Its guests obey at once. reason: "shut down", "saved"; borrowed, for ever. */
int world_stop(struct world *w, size_t host, const char *uuid, const char *reason, struct err *err);
int world_tidy(struct world *w, size_t host, const char *uuid, struct err *err);

/* ---- what happens to it ---- */

int world_inject(struct world *w, const Skein__SimInject *inject, struct err *err);
Skein__SimStatus *world_status(const struct world *w); /* the caller's */

/* What must always hold, whatever is injected: no guest runs twice, none is forgotten, temperatures
 * and shares are finite. NULL when it does, else what does not. */
const char *world_broken(const struct world *w);

#endif
