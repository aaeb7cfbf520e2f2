/* world_priv.h - what the world's files share. */
#ifndef SKEIN_AGENT_SIM_WORLD_PRIV_H
#define SKEIN_AGENT_SIM_WORLD_PRIV_H

#include "agent/sim/world.h"
#include "proto/util.h"

#define CURVE_POINTS 11
#define ENVIRONMENT_MS 1000 /* load and heat are reckoned at whole seconds of the world */
#define MIB_PER_MBIT (1e6 / 8 / (1 << 20))

struct migration;
struct host;

/* A guest as it is, wherever it is. */
struct guest {
    char uuid[UUID_SIZE];
    Skein__VmDetail *detail; /* owned: what its definition says */
    uint32_t vcpus;
    double memory_mib, used_mib, wset_mib, dirty_mib_s;

    double cores;   /* its use, on average */
    double swing;   /* 0: always the same; 1: between nothing and double, over the day */
    double peak;    /* hour of the day, UTC, when it is busiest */
    double held;    /* use that was commanded; negative: none */
    uint8_t *trace; /* owned; NULL: none */
    size_t n_trace;
    msec trace_period;

    struct domain *domains; /* wherever it is known */
    Skein__SimFate fate;    /* of its next migration */
    double demand, used;    /* cores, now */
    uint32_t starts;
    bool given_up;  /* its last definition was removed, or it was transient and its host failed */
    msec last_move; /* wall clock of the world; 0: never */
};

/* A guest's copy or definition on one host. */
struct domain {
    struct domain *next; /* of the same guest */
    struct guest *guest;
    struct host *host;
    Skein__VmState state;
    bool persistent;
    const char *reason;
    struct migration *job; /* of which it is either end; NULL: none */
    bool arrived;          /* by a migration: not counted when the world was made */
};

enum power { POWER_ON, POWER_OFF, POWER_BOOTING, POWER_STANDBY };

struct host {
    size_t index;
    const char *name;                  /* the capability's */
    Skein__HostCapability *capability; /* owned */
    Skein__HostSummary *settings;      /* owned: overcommit and reserve, for whoever configures */
    struct domain **domains;           /* owned, in the order of arrival */
    size_t n_domains, cap_domains;

    double cores, memory_mib, reserved_mib, link_mib_s;
    double curve_watts[CURVE_POINTS];

    enum power power;
    msec boot_ms, boot_until;
    bool silent; /* switched off without a word */
    bool hung, loses_events, disk_full, unlinked;

    double demand, used, watts;  /* now */
    double joules;               /* since the world began */
    double room;                 /* cold air that reaches it, without what neighbours blow back */
    double celsius_per_watt;     /* processor above inlet */
    double fan;                  /* 1: as built; 0.5: moves half of the heat */
    double inlet, cpu;           /* now */
    double inlet_add, cpu_add;   /* commanded */
    double inlet_held, cpu_held; /* commanded; NAN: none */
    double inlet_max, cpu_max;
    size_t rack; /* number of its failure domain */
    size_t rank; /* its place in by_rack: neighbours stand one away */
};

enum migration_phase {
    PHASE_SETUP,
    PHASE_DISKS, /* local disks are copied, the guest runs at the source */
    PHASE_COPY,
    PHASE_SWITCH,
    PHASE_POSTCOPY, /* the guest runs at the target, its memory follows */
    PHASE_BROKEN,   /* ... and does not any more: waits for a recovery */
};

struct migration {
    uint64_t id;
    struct guest *guest;
    struct domain *source, *target; /* target: NULL when its host lost power */
    struct host *to;
    struct hv_move move;
    Skein__SimFate fate;
    enum migration_phase phase;
    bool live;         /* memory is copied; else only the definition goes */
    msec began, until; /* until: end of SETUP and SWITCH */
    msec cut_since;    /* the ends do not reach each other since; -1: they do */
    double total_mib, round_mib, remaining_mib, sent_mib;
    double disks_mib;           /* that are copied before the memory */
    double round_seconds;       /* of the present round */
    double rate_mib_s;          /* now */
    unsigned iteration, behind; /* rounds in a row that dirtied more than half of what they sent */
    double throttle;            /* 0 ... 0.99 of the guest's processor time is taken away */
    msec downtime;
};

struct world {
    struct world_conf conf;
    msec now, environment_at;
    struct host **hosts; /* owned, sorted by name */
    size_t n_hosts, cap_hosts;
    struct guest **guests; /* owned */
    size_t n_guests, cap_guests;
    struct host **by_rack;         /* owned: rack by rack */
    struct migration **migrations; /* owned */
    size_t n_migrations, cap_migrations;
    uint64_t next_migration;
    struct world_event *events; /* ring of what the caller has not taken */
    size_t first_event, n_events, cap_events;
};

/* ---- world.c ---- */

struct domain *domain_find(const struct host *h, const char *uuid);
struct domain *domain_add(struct world *w, struct host *h, struct guest *g, Skein__VmState state,
                          const char *reason);
void domain_remove(struct world *w, struct domain *d);
void domain_give_up(struct world *w, struct domain *d); /* removes it; if the last, knowingly */
void domain_set(struct world *w, struct domain *d, Skein__VmState state, const char *reason);
bool domain_active(const struct domain *d); /* holds memory */
void world_changed(struct world *w, const struct host *h);
struct world_event *world_event_add(struct world *w, enum world_event_kind kind);
void host_stop(struct world *w, struct host *h, enum power power);
void host_boot(struct world *w, struct host *h);
bool host_runs(const struct host *h);
double host_memory_taken(const struct host *h);     /* MiB that active domains may use */
double host_memory_available(const struct host *h); /* MiB that are not in use */

/* ---- world_make.c ---- */

struct world *make_world(const struct world_conf *conf);
struct host *make_host(struct world *w, const char *name);
struct guest *make_guest(struct world *w, struct host *h, const char *uuid, const char *name,
                         Skein__VmState state);
void make_finish(struct world *w); /* all are there: racks, load and heat of the first moment */
void strings_set(char ***list, size_t *n, const char *const *items, size_t n_items);

/* ---- world_load.c, world_heat.c ---- */

uint64_t mix(uint64_t a, uint64_t b);    /* one well-stirred number of two */
double mix_unit(uint64_t a, uint64_t b); /* [0, 1) */
void load_reckon(struct world *w);
double host_power_at(const struct host *h, double used_cores); /* watts when it runs */
double heat_inlet_target(const struct world *w, const struct host *h);
double heat_blown_back(const struct world *w, const struct host *h);
void heat_pass(struct world *w, double seconds);
double celsius_shown(double now, double held);

/* ---- world_move.c ---- */

void moves_pass(struct world *w, msec dt);
msec moves_next(const struct world *w); /* a moment, given that rates stay as they are */
void moves_settle(struct world *w);     /* those that are due */
void moves_rates(struct world *w);
void migration_fail(struct world *w, struct migration *m, enum err_code code, const char *why);

#endif
