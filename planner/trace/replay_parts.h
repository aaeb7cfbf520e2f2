/* replay_parts.h - the fleet as replay.c and replay_snapshot.c see it. */
#ifndef SKEIN_PLANNER_TRACE_REPLAY_PARTS_H
#define SKEIN_PLANNER_TRACE_REPLAY_PARTS_H

#include "planner/core/profile.h"
#include "planner/trace/replay.h"

#define CURVE_POINTS 11

enum fleet_power { FLEET_ON, FLEET_STANDBY, FLEET_WAKING };

struct fleet_host {
    json_t *doc; /* within replay.doc */
    const char *name;
    enum fleet_power power;
    double cores, curve[CURVE_POINTS];
    bool has_curve;
    msec wake_ms;
    double celsius, inlet, limit, celsius_per_watt; /* NAN: not known */
    double celsius_before, trend; /* at the sample before; degrees a minute since, NAN: not known */
    /* As last counted. */
    double asked, watts; /* cores */
    int n_vms;
};

struct fleet_vm {
    json_t *doc; /* within replay.doc */
    int host;    /* -1: nowhere */
    int left;    /* the host before, or -1 */
    bool moving;
    msec last_move; /* wall, or QUANTITY_UNKNOWN */
    int moves_24h;
};

/* One action of the plan under way. */
struct fleet_act {
    enum plan_action_type type;
    int step, vm, to; /* vm -1: concerns the host */
    msec takes, ends; /* ends -1: not begun */
};

struct fleet_key {
    const char *key; /* UUID or name, within replay.doc */
    int vm;
};

struct replay {
    const struct trace *t; /* borrowed */
    json_t *doc;           /* the snapshot as it was last made */
    struct fleet_host *hosts;
    struct fleet_vm *vms;
    struct fleet_key *keys; /* sorted */
    size_t n_keys;
    struct fleet_act *acts; /* left of the plan under way, in the order of its steps */
    size_t n_acts;
    msec now;
    int sample, moves;
    struct profile
        profile; /* learned since the beginning, and what the first snapshot had learned */
    struct replay_totals totals;
    struct replay_row *rows;
    struct replay_move *log;
    size_t n_log, cap_log;
};

double fleet_asked(const struct replay *r, int vm); /* cores, now */
double fleet_celsius_per_watt(const struct replay *r, int host);
void fleet_count(struct replay *r); /* what each host is asked for */

#endif
