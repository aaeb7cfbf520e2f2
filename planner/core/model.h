/* model.h - the frozen snapshot as plain C: what the planner knows, and nothing else.
 * Pure. Parsed once by model_parse(), then only read; index-based, so that arrays beside it
 * (one entry a host, one a VM) need no pointers. Every string belongs to the model and is interned:
 * within one model, equal strings have equal pointers.
 *
 * Quantities are int64 in the unit that the name says; milli where fractions matter (thousandths).
 * What was absent or null is QUANTITY_UNKNOWN (numbers), NULL (strings), TRI_UNKNOWN, or a list
 * with known == false. Unknown is never 0: who needs an unknown quantity must refuse. */
#ifndef SKEIN_PLANNER_CORE_MODEL_H
#define SKEIN_PLANNER_CORE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "planner/core/arena.h"
#include "proto/err.h"
#include "proto/hash.h"
#include "proto/units.h"

#define MODEL_NONE (-1) /* no host, no VM, no rule */

enum tri { TRI_UNKNOWN = -1, TRI_NO = 0, TRI_YES = 1 };

/* enum name, name in documents */
#define HOST_STATES(X)                                                                             \
    X(UNKNOWN, "unknown")                                                                          \
    X(UP, "up")                                                                                    \
    X(CORDONED, "cordoned")                                                                        \
    X(DRAINING, "draining")                                                                        \
    X(MAINTENANCE, "maintenance")                                                                  \
    X(QUARANTINE, "quarantine")                                                                    \
    X(STANDBY, "standby")                                                                          \
    X(OFFLINE, "offline")

#define VM_STATES(X)                                                                               \
    X(UNKNOWN, "unknown")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(PAUSED, "paused")                                                                            \
    X(SUSPENDED, "suspended")                                                                      \
    X(STOPPED, "stopped")                                                                          \
    X(CRASHED, "crashed")

#define RULE_TYPES(X)                                                                              \
    X(ANTI_AFFINITY, "anti-affinity")                                                              \
    X(AFFINITY, "affinity")                                                                        \
    X(RUN_ON, "run-on")                                                                            \
    X(NOT_ON, "not-on")                                                                            \
    X(SPREAD, "spread")                                                                            \
    X(DEPENDS_ON, "depends-on")                                                                    \
    X(EXCLUSIVE, "exclusive")                                                                      \
    X(KEEP, "keep")

enum host_state {

#define X(name, text) HOST_##name,
    HOST_STATES(X)
#undef X
};

enum vm_state {

#define X(name, text) VM_##name,
    VM_STATES(X)
#undef X
};

enum rule_type {

#define X(name, text) RULE_##name,
    RULE_TYPES(X)
#undef X
};

enum rule_scope { SCOPE_HOST, SCOPE_DOMAIN };

struct model_strings {
    const char **items;
    int n;
    bool known; /* false: the snapshot does not say; known and n == 0: there are none */
};

struct model_tag {
    const char *key, *value;
};

struct model_tags {
    struct model_tag *items; /* in the document's order */
    int n;
};

struct model_hugepages {
    int64_t size_kib, total, free; /* pages */
};

struct model_numa {
    milli cores;
    int64_t memory_mib, free_mib;
};

struct model_storage {
    const char *name;
    enum tri shared;
    int64_t free_mib, total_mib;
};

#define MODEL_CURVE 11 /* watts at 0, 10, ... 100 % load */

struct model_host {
    const char *name;
    enum host_state state;
    const char *implausible; /* why nothing may enter it, or NULL */
    msec observed_at;        /* wall clock */
    int64_t incarnation;
    const char *failure_domain; /* path with '/', or NULL: a domain of its own */
    struct model_tags tags;
    enum tri voter;
    const char *drain_fallback; /* of VMs that cannot leave: "shutdown", "suspend", ...; or NULL */

    milli cores, used_cores;
    milli cpu_overcommit; /* a setting: 1000 where absent */
    const char *cpu_model;
    struct model_strings cpu_features, usable_models;

    int64_t total_mib, used_mib;
    int64_t reserved_mib;                             /* a setting: 0 where absent */
    milli memory_overcommit;                          /* a setting: 1000 where absent */
    milli pressure_cpu, pressure_memory, pressure_io; /* percent */

    struct model_hugepages *hugepages;
    int n_hugepages;
    bool hugepages_known;
    struct model_numa *numa;
    int n_numa;
    bool numa_known;

    milli inlet_celsius, inlet_max_celsius, outlet_celsius, cpu_celsius, cpu_max_celsius;
    milli trend_celsius_per_min;

    milli watts;
    milli curve_watts[MODEL_CURVE]; /* [0] is QUANTITY_UNKNOWN where the curve is not known */
    enum tri can_wake, standby_allowed;
    int64_t wake_seconds;
    msec last_wake_proof;

    struct model_storage *storage;
    int n_storage;
    bool storage_known;
    struct model_strings networks, machines;
    int64_t migration_mbps;                      /* 10^6 bit/s */
    int64_t measured_out_mbps, measured_in_mbps; /* where moves found the link slower */
    const char *arch, *qemu, *libvirt;

    int *vms; /* indices of the VMs on it (stopped ones too), in the model's order */
    int n_vms;
};

struct model_device {
    const char *type;
    bool migratable;
};

struct model_vm {
    const char *name, *uuid; /* one of them may be NULL */
    const char *id;          /* the uuid, or where there is none the name: unique, never NULL */
    int host;                /* index, or MODEL_NONE */
    int home;                /* the snapshot's host, whatever moves were applied since */
    enum vm_state state;
    const char *owner;
    int64_t priority; /* 50 where absent */
    struct model_tags tags;
    enum tri persistent, autostart;

    int64_t vcpus;
    milli cpu_used_cores;
    int64_t memory_mib, memory_used_mib;
    milli dirty_mib_s;
    int64_t wset_mib;
    struct model_strings storage; /* not known = no need, as all below */
    int64_t local_disk_mib;
    struct model_strings networks;
    const char *machine, *cpu_model;
    struct model_strings cpu_features;
    int64_t hugepages_kib; /* 0 or unknown: none */
    int64_t numa_nodes;    /* nodes it is bound to, 0 or unknown: none */
    struct model_device *devices;
    int n_devices;
    struct model_strings blockers;
    int64_t max_downtime_ms;
    enum tri postcopy_allowed;
    msec last_move, hold_until; /* wall clock */
    int64_t moves_24h;
    int64_t moved_ms, moved_mib, moved_downtime_ms; /* its newest moves: means, and the longest */
    int keep_rule;  /* the first must rule of type keep that names it, or MODEL_NONE */
    bool in_flight; /* being moved right now: it stays out of any plan, and counts on both hosts */
    int in_flight_to; /* host or MODEL_NONE */
};

struct model_rule {
    const char *name;
    enum rule_type type;
    bool must; /* else should */
    milli weight;
    enum rule_scope scope;
    int64_t level; /* leading components of the failure domain; QUANTITY_UNKNOWN: all */
    int *vms;      /* for depends-on in the document's order: the first depends on the others */
    int n_vms;
    int *hosts; /* run-on, not-on */
    int n_hosts;
    int64_t minimum; /* spread: domains */
};

struct model_reservation {
    int host, vm; /* vm may be MODEL_NONE */
    int64_t memory_mib, vcpus;
};

struct model_limits {
    int64_t total, inflow_per_host, outflow_per_host; /* migrations in one step */
    int64_t n_plus;
};

struct model {
    const char *cluster;
    msec taken_at;
    uint64_t seed;
    struct model_host *hosts; /* sorted by name */
    int n_hosts;
    struct model_vm *vms; /* sorted by id */
    int n_vms;
    struct model_rule *rules; /* sorted by name */
    int n_rules;
    struct model_limits limits; /* defaults 5, 1, 2, 0 where absent */
    struct model_reservation *reservations;
    int n_reservations;
    /* Parts the core does not read, as canonical JSON text; NULL where absent. */
    const char *history_json, *policies_json, *decision_state_json;
    const char **warnings; /* one line each, "hosts[3]: ..." */
    int n_warnings;
    char digest[HASH_HEX_SIZE]; /* of the canonical snapshot, hosts, VMs and rules sorted */
    struct arena arena;         /* owns everything above */
};

/* Parse skein.snapshot/1. Every number, name and reference is checked; the message names the place:
 * "snapshot: hosts[3].cpu.cores: ...". A near miss of a known key is an error, other unknown keys
 * are warnings. A new model in *ret, to be freed with model_free(). */
int model_parse(const char *text, size_t len, struct model **ret, struct err *err);
void model_free(struct model *m);

static inline void model_freep(struct model **m)
{
    model_free(*m);
}

/* MODEL_NONE where there is none. A VM is found by uuid, or by its name where that is unique. */
int model_find_host(const struct model *m, const char *name);
int model_find_vm(const struct model *m, const char *name_or_uuid);

const char *model_tag(const struct model_tags *tags, const char *key); /* value or NULL */

const char *host_state_name(enum host_state s);
const char *vm_state_name(enum vm_state s);
const char *rule_type_name(enum rule_type t);

/* The name people know a VM by; never NULL. */
static inline const char *vm_label(const struct model_vm *vm)
{
    return vm->name != NULL ? vm->name : vm->id;
}

/* Does it hold resources? Stopped and crashed ones do not. */
static inline bool vm_takes_resources(const struct model_vm *vm)
{
    return vm->state != VM_STOPPED && vm->state != VM_CRASHED;
}

/* What a host offers: memory for VMs and vCPUs, after reserve, huge-page pools and overcommit.
 * QUANTITY_UNKNOWN where a part is unknown. */
int64_t host_memory_for_vms_mib(const struct model_host *h);
int64_t host_vcpus(const struct model_host *h);

/* Milliwatts drawn at a load of used_cores, from its
 * curve; QUANTITY_UNKNOWN without one. */
milli host_watts_at(const struct model_host *h, milli used_cores);

#endif
