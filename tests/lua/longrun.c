/* Shipped policies over simulated weeks: what they promise, measured.
 *
 *   longrun balance FILE [DAYS [SEED]]   noisy load with a daily curve, at any hour
 *   longrun thermal FILE [SPOTS [SEED]]  hosts whose fans fail, one after the other
 *   longrun night FILE [NIGHTS [SEED]]   20 hosts, 200 VMs that do little at night
 *   longrun week FILE [NIGHTS [SEED]]    the same, and the day begins earlier on weekdays than the
 *                                        window ends: what a week without moves has taught
 *
 * Prints a JSON object of figures; exit status 1 where a bar is missed, with the reason on stderr
 * and the command that repeats it. Virtual time: a month takes minutes. */
#include <math.h>
#include <stdio.h>

#include "planner/trace/replay.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

#define HOSTS 12
#define VMS_PER_HOST 8
#define VMS (HOSTS * VMS_PER_HOST)
#define NIGHT_HOSTS 20
#define NIGHT_VMS_PER_HOST 10
#define NIGHT_VMS (NIGHT_HOSTS * NIGHT_VMS_PER_HOST)
#define STEP 300000 /* milliseconds */
#define DAY 86400000
#define START 1795305600000 /* 2026-11-22T00:00:00Z */
#define CORES 32
#define COOLDOWN (6 * 3600000) /* balance's */

static uint64_t rng;

static double uniform(void) /* splitmix64; from 0 to 1 */
{
    uint64_t z = rng += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static double between(double lo, double hi)
{
    return lo + (hi - lo) * uniform();
}

/* ---- the fleet */

static json_t *host_new(int h)
{
    json_t *curve = json_array();
    for (int i = 0; i <= 10; i++)
        json_array_append_new(curve, json_integer(120 + 28 * i));
    char name[16], rack[16];
    snprintf(name, sizeof name, "h%02d", h);
    snprintf(rack, sizeof rack, "dc/r%d", h / 4);
    /* at half load: 260 W, 40 degrees above the inlet */
    return json_pack("{s:s, s:s, s:s, s:{s:i, s:i}, s:{s:i}, s:{s:o, s:i, s:b, s:b, s:i}, "
                     "s:{s:i, s:i, s:i, s:i}, s:i, s:s}",
                     "name", name, "state", "up", "failure_domain", rack, "cpu", "cores", CORES,
                     "overcommit", 4, "memory", "total_mib", 262144, "power", "curve_watts", curve,
                     "watts", 260, "can_wake", 1, "standby_allowed", 1, "wake_seconds", 180,
                     "temperature", "inlet_celsius", 22, "inlet_max_celsius", 35, "cpu_celsius", 62,
                     "cpu_max_celsius", 90, "migration_mbps", 10000, "arch", "x86_64");
}

static json_t *vm_new(int v, int host)
{
    char name[16], uuid[UUID_SIZE], on[16];
    snprintf(name, sizeof name, "vm%03d", v);
    snprintf(on, sizeof on, "h%02d", host);
    snprintf(uuid, sizeof uuid, "00000000-0000-4000-8000-%012d", v);
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "name", name, "uuid", uuid,
                     "host", on, "state", "running", "vcpus", 4, "memory_mib", 8192,
                     "memory_used_mib", 6000, "dirty_mib_s", 20, "wset_mib", 600);
}

static struct trace *trace_of(int n_hosts, int vms_per_host, int n_samples)
{
    struct trace *t = xcalloc(1, sizeof *t);
    size_t n_vms = (size_t)(n_hosts * vms_per_host);
    *t = (struct trace){
        .n_hosts = n_hosts, .n_vms = (int)n_vms, .n_samples = n_samples, .last = STEP};
    json_t *hosts = json_array(), *vms = json_array();
    for (int h = 0; h < n_hosts; h++)
        json_array_append_new(hosts, host_new(h));
    for (int v = 0; v < t->n_vms; v++)
        json_array_append_new(vms, vm_new(v, v / vms_per_host));
    t->base = json_pack("{s:s, s:s, s:i, s:o, s:o}", "schema", "skein.snapshot/1", "cluster",
                        "longrun", "seed", 1, "hosts", hosts, "vms", vms);
    t->at = xcalloc((size_t)n_samples, sizeof *t->at);
    t->used = xcalloc((size_t)n_samples * n_vms, sizeof *t->used);
    for (int s = 0; s < n_samples; s++)
        t->at[s] = START + s * (msec)STEP;
    return t;
}

static struct trace *trace_new(int n_samples)
{
    return trace_of(HOSTS, VMS_PER_HOST, n_samples);
}

/* Most VMs do little, a third is busy: hosts come to differ by chance. */
static double some_level(void)
{
    return uniform() < 0.35 ? between(2.5, 3.8) : between(0.1, 0.8);
}

/* Every VM has a level that changes on some days, a daily curve with an hour of its own, and noise
 * of 20 %. Those of one host began as one service: alike at first. */
static void load_noisy(struct trace *t)
{
    double level[VMS], peak[VMS];
    for (int v = 0; v < VMS; v++) {
        bool busy = v / VMS_PER_HOST % 3 == 0;
        level[v] = busy ? between(2, 3.8) : some_level();
        peak[v] = between(8, 18);
    }
    for (int s = 0; s < t->n_samples; s++) {
        double hour = fmod((double)s * STEP / 3600000.0, 24);
        for (int v = 0; v < VMS; v++) {
            if (uniform() < 0.3 / 288) /* a new level on three days of ten */
                level[v] = some_level();
            double curve = 1 + 0.35 * cos((hour - peak[v]) / 12 * M_PI);
            double used = level[v] * curve * between(0.8, 1.2);
            t->used[(size_t)s * VMS + (size_t)v] = (milli)(1000 * MIN(used, 4.0));
        }
    }
}

static void load_steady(struct trace *t)
{
    double level[VMS];
    for (int v = 0; v < VMS; v++)
        level[v] = between(0.5, 2.5);
    for (int s = 0; s < t->n_samples; s++)
        for (int v = 0; v < VMS; v++)
            t->used[(size_t)s * VMS + (size_t)v] = (milli)(1000 * level[v]);
}

/* ---- living */

struct life {
    const char *file;
    char *policy; /* owned */
    size_t policy_len;
    int errors;
    char last_error[256];
};

static int decide(struct life *life, struct replay *r, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL;
    struct worker_request req = {.task = WORKER_PLAN,
                                 .power = true,
                                 .limits = {.lua_ms = 20000}, /* the machine may be busy */
                                 .policy = life->policy,
                                 .policy_len = life->policy_len,
                                 .policy_name = life->file};
    int rc = replay_snapshot(r, &snapshot, &req.snapshot_len, err);
    if (rc < 0)
        return rc;
    req.snapshot = snapshot;
    _cleanup_(worker_result_done) struct worker_result result = {0};
    if ((rc = worker_run(&req, &result, err)) < 0)
        return rc;
    life->errors += json_integer_value(json_object_get(result.health, "errors")) > 0;
    _cleanup_(plan_doc_freep) struct plan_doc *plan = NULL;
    rc = plan_doc_from_json(result.body, &plan, err);
    if (rc == 0)
        replay_begin(r, plan);
    return rc;
}

static int step(struct life *life, struct replay *r, struct err *err)
{
    int rc = life == NULL || replay_busy(r) ? 0 : decide(life, r, err);
    if (rc == 0)
        replay_advance(r);
    return rc;
}

/* ---- balance */

/* Moves of a VM within its cooldown, and moves undone within a day. */
static void count_unrest(const struct replay *r, int *ret_early, int *ret_undone)
{
    int n;
    const struct replay_move *moves = replay_moves(r, &n);
    *ret_early = *ret_undone = 0;
    for (int i = 0; i < n; i++)
        for (int k = i - 1; k >= 0 && moves[i].at - moves[k].at < DAY; k--) {
            if (moves[k].vm != moves[i].vm)
                continue;
            *ret_early += moves[i].at - moves[k].at < COOLDOWN;
            *ret_undone += moves[i].to == moves[k].from;
            break;
        }
}

static double time_below(const struct replay *r, double limit)
{
    int n, below = 0;
    const struct replay_row *rows = replay_rows(r, &n);
    for (int i = 0; i < n; i++)
        below += rows[i].imbalance < limit;
    return 100.0 * below / MAX(n, 1);
}

static bool missed(bool met, const char *bar)
{
    if (!met)
        fprintf(stderr, "longrun: missed: %s\n", bar);
    return !met;
}

static int balance(struct life *life, int days, struct err *err)
{
    _cleanup_(trace_freep) struct trace *t = trace_new(days * (int)(DAY / STEP));
    _cleanup_(replay_freep) struct replay *r = NULL, *idle = NULL;
    load_noisy(t);
    int rc = replay_new(t, &r, err);
    if (rc == 0)
        rc = replay_new(t, &idle, err);
    while (rc == 0 && !replay_ended(r))
        if ((rc = step(life, r, err)) == 0)
            rc = step(NULL, idle, err);
    if (rc < 0)
        return rc;
    int early, undone;
    count_unrest(r, &early, &undone);
    double even = time_below(r, 15), moves = (double)replay_totals(r)->migrations / days;
    printf("{\"days\":%d,\"imbalance_under_15_pct_of_time\":%.2f,\"without_moves\":%.2f,"
           "\"moves_a_day\":%.2f,\"moves_within_cooldown\":%d,\"moves_undone_within_a_day\":%d,"
           "\"policy_errors\":%d}\n",
           days, even, time_below(idle, 15), moves, early, undone, life->errors);
    bool bad = missed(even >= 95, "imbalance under 15 % for 95 % of the time");
    bad |= missed(moves >= 1, "at least one move a day");
    bad |= missed(early == 0, "no VM moves twice within its cooldown");
    bad |= missed(undone == 0, "no move is undone within a day");
    bad |= missed(life->errors == 0, "no hook fails");
    return bad;
}

/* ---- thermal */

#define SPOT_SAMPLES 24 /* two hours: one of failure, one in which all recovers */
#define SPOT_STEP 60000
#define LIMIT 75.0 /* thermal_relief's */

/* The fewest VMs whose departure brings the host to the limit in the end, heaviest first. */
static int fewest(const struct replay *r, int host)
{
    struct replay_host h;
    double watts_per_core = 280.0 / CORES, taken = 0;
    bool gone[VMS] = {false};
    replay_host(r, host, &h);
    for (int n = 0; n < VMS; n++) {
        double watts = 120 + (h.asked - taken) * watts_per_core;
        if (h.inlet_celsius + h.celsius_per_watt * watts < LIMIT)
            return n;
        int best = -1;
        for (int v = 0; v < VMS; v++)
            if (replay_vm_host(r, v) == host && !gone[v] &&
                (best < 0 || replay_vm_asked(r, v) > replay_vm_asked(r, best)))
                best = v;
        if (best < 0)
            return n;
        gone[best] = true;
        taken += replay_vm_asked(r, best);
    }
    return VMS;
}

/* Seconds that processors spent above the limit, and hosts that an arrival pushed over theirs. */
struct heat {
    double over_s;
    int pushed;
};

static void heat_add(const struct replay *r, int spot, const bool *was_over, struct heat *sum)
{
    for (int h = 0; h < HOSTS; h++) {
        struct replay_host host;
        replay_host(r, h, &host);
        sum->over_s += host.celsius > LIMIT ? SPOT_STEP / 1000.0 : 0;
        sum->pushed += h != spot && host.celsius > LIMIT && !was_over[h];
    }
}

static int spot(struct life *life, int host, double warming, struct heat *with,
                struct heat *without, int *moves, int *needed, struct err *err)
{
    _cleanup_(trace_freep) struct trace *t = trace_new(SPOT_SAMPLES);
    _cleanup_(replay_freep) struct replay *r = NULL, *idle = NULL;
    load_steady(t);
    t->warming = xcalloc((size_t)SPOT_SAMPLES * HOSTS, sizeof *t->warming);
    t->last = SPOT_STEP;
    for (int s = 0; s < SPOT_SAMPLES; s++) {
        t->at[s] = START + s * (msec)SPOT_STEP;
        for (int h = 0; h < HOSTS; h++)
            t->warming[s * HOSTS + h] = h == host && s > 0 ? (milli)(1000 * warming) : 1000;
    }
    int rc = replay_new(t, &r, err);
    if (rc == 0)
        rc = replay_new(t, &idle, err);
    for (int s = 0; rc == 0 && !replay_ended(r); s++) {
        bool over[HOSTS] = {false};
        if ((rc = step(life, r, err)) == 0)
            rc = step(NULL, idle, err);
        if (rc == 0 && s == 1)
            *needed += fewest(idle, host);
        if (rc < 0)
            break;
        heat_add(r, host, over, with);
        heat_add(idle, host, over, without);
    }
    if (rc == 0)
        *moves += (int)replay_totals(r)->migrations;
    return rc;
}

static int thermal(struct life *life, int spots, struct err *err)
{
    struct heat with = {0}, without = {0};
    int moves = 0, needed = 0;
    for (int i = 0; i < spots; i++) {
        int rc = spot(life, (int)between(0, HOSTS - 0.001), between(1.35, 1.9), &with, &without,
                      &moves, &needed, err);
        if (rc < 0)
            return rc;
    }
    printf("{\"hot_spots\":%d,\"over_limit_s\":%.0f,\"without_moves_s\":%.0f,\"moves\":%d,"
           "\"fewest\":%d,\"pushed_over\":%d,\"policy_errors\":%d}\n",
           spots, with.over_s, without.over_s, moves, needed, with.pushed, life->errors);
    bool bad = missed(with.over_s <= without.over_s / 4, "a quarter of the time over the limit");
    bad |= missed(moves <= 1.5 * needed, "moves at most 1.5 times the fewest");
    bad |= missed(with.pushed == 0, "no host is pushed over its limit by an arrival");
    bad |= missed(life->errors == 0, "no hook fails");
    return bad;
}

/* ---- night */

#define WINDOW_FROM 22.0 /* night_consolidation's */
#define WINDOW_TO 5.5
#define NIGHT_START (START + DAY / 2) /* noon */
#define VM_MIB 8192
#define HOST_MIB 262144
#define VM_VCPUS 4

/* `week`: the window is open until ten, the load comes at four, on weekends at half past eight. */
#define WEEK_WINDOW "10:00"
#define WEEKDAY_RAMP 4.0
#define WEEKEND_RAMP 8.5

static double hour_of(msec at)
{
    return (double)(at % DAY) / 3600000.0;
}

/* The hour at which the day's load comes. */
static double ramp_at(msec at, bool week)
{
    int day = (int)((at / DAY + 3) % 7); /* 0: Monday */
    return !week ? WINDOW_TO : day < 5 ? WEEKDAY_RAMP : WEEKEND_RAMP;
}

/* From 0 at night to 1 by day: the ramp takes two hours. */
static double of_day(msec at, bool week)
{
    double up = (hour_of(at) - ramp_at(at, week)) / 2, down = (21.5 - hour_of(at)) / 3;
    return MAX(MIN(MIN(up, down), 1.0), 0.0);
}

static void load_nightly(struct trace *t, bool week)
{
    double level[NIGHT_VMS], night[NIGHT_VMS];
    for (int v = 0; v < NIGHT_VMS; v++) {
        level[v] = between(0.6, 2.6);
        night[v] = between(0.1, 0.4);
    }
    for (int s = 0; s < t->n_samples; s++) {
        t->at[s] = NIGHT_START + s * (msec)STEP;
        double day = of_day(t->at[s], week);
        for (int v = 0; v < NIGHT_VMS; v++) {
            double used = level[v] * (night[v] + (1 - night[v]) * day);
            t->used[(size_t)s * NIGHT_VMS + (size_t)v] =
                (milli)(1000 * MIN(used * between(0.8, 1.2), (double)VM_VCPUS));
        }
    }
}

/* Would the VMs of any one host fit on the others that are awake? All VMs are of one size. */
static bool survives(const struct replay *r)
{
    struct replay_host h[NIGHT_HOSTS];
    int room = 0, free_of[NIGHT_HOSTS] = {0};
    for (int i = 0; i < NIGHT_HOSTS; i++) {
        replay_host(r, i, &h[i]);
        int most = MIN(HOST_MIB / VM_MIB, CORES * 4 / VM_VCPUS);
        free_of[i] = h[i].awake ? most - h[i].vms : 0;
        room += free_of[i];
    }
    for (int i = 0; i < NIGHT_HOSTS; i++)
        if (h[i].vms > room - free_of[i])
            return false;
    return true;
}

struct nights {
    long in_window, asleep; /* samples of hosts */
    long overloaded, unsafe;
    long late; /* hosts asleep, or still holding what a full day needs elsewhere, at the ramp */
};

static void night_add(const struct replay *r, msec at, bool week, struct nights *sum)
{
    double hour = hour_of(at);
    bool window = hour >= WINDOW_FROM || hour < ramp_at(at, week);
    for (int i = 0; i < NIGHT_HOSTS; i++) {
        struct replay_host h;
        replay_host(r, i, &h);
        sum->in_window += window;
        sum->asleep += window && !h.awake;
        sum->overloaded += h.asked > h.cores;
        sum->late += !window && !h.awake;
    }
    sum->unsafe += !survives(r);
}

/* Let the policy's window end later. */
static void widen_window(struct life *life)
{
    static const char was[] = "to = \"05:30\"", is[] = "to = \"" WEEK_WINDOW "\"";
    char *at = strstr(life->policy, was);
    REQUIRE(at != NULL && sizeof was == sizeof is);
    memcpy(at, is, sizeof is - 1);
}

static int night(struct life *life, int nights, bool week, struct err *err)
{
    int learn = week ? 7 : 0; /* days */
    _cleanup_(trace_freep) struct trace *t =
        trace_of(NIGHT_HOSTS, NIGHT_VMS_PER_HOST, (learn + nights) * (int)(DAY / STEP));
    _cleanup_(replay_freep) struct replay *r = NULL, *idle = NULL;
    struct nights with = {0}, without = {0};
    if (week)
        widen_window(life);
    load_nightly(t, week);
    int rc = replay_new(t, &r, err);
    if (rc == 0)
        rc = replay_new(t, &idle, err);
    while (rc == 0 && !replay_ended(r)) {
        msec at = replay_now(r);
        bool learns = at < NIGHT_START + learn * (msec)DAY;
        if ((rc = step(learns ? NULL : life, r, err)) < 0 || (rc = step(NULL, idle, err)) < 0)
            break;
        if (learns)
            continue;
        night_add(r, at, week, &with);
        night_add(idle, at, week, &without);
    }
    if (rc < 0)
        return rc;
    double saved = 100.0 * (double)with.asleep / (double)MAX(with.in_window, 1L);
    printf(
        "{\"nights\":%d,\"host_hours_saved_pct_of_window\":%.1f,\"kwh\":%.0f,"
        "\"kwh_without\":%.0f,\"moves_a_night\":%.0f,\"overloaded_host_samples\":%ld,"
        "\"without_moves\":%ld,\"not_n_plus_1\":%ld,\"asleep_by_day\":%ld,\"policy_errors\":%d}\n",
        nights, saved, replay_totals(r)->joules / 3.6e6, replay_totals(idle)->joules / 3.6e6,
        (double)replay_totals(r)->migrations / nights, with.overloaded, without.overloaded,
        with.unsafe, with.late, life->errors);
    bool bad = missed(saved >= 40, "40 % of the host hours of the window are saved");
    bad |= missed(with.overloaded == 0, "no host is overloaded");
    bad |= missed(with.unsafe == 0, "any host may fail at any time");
    bad |= missed(with.late == 0, "all hosts are awake when the day's load comes");
    bad |= missed(life->errors == 0, "no hook fails");
    return bad;
}

int main(int argc, char **argv)
{
    worker_main_if_asked(argc, argv);
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: %s balance|thermal|night|week FILE [DAYS|SPOTS|NIGHTS [SEED]]\n",
                argv[0]);
        return 2;
    }
    bool is_balance = strcmp(argv[1], "balance") == 0, week = strcmp(argv[1], "week") == 0,
         is_night = week || strcmp(argv[1], "night") == 0;
    int n = argc > 3 ? atoi(argv[3]) : is_balance ? 30 : is_night ? 14 : 100;
    rng = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    struct life life = {.file = argv[2]};
    struct err err = {0};
    int rc = file_read(argv[2], (size_t)1 << 20, &life.policy, &life.policy_len, &err);
    if (rc == 0)
        rc = is_balance ? balance(&life, n, &err)
             : is_night ? night(&life, n, week, &err)
                        : thermal(&life, n, &err);
    free(life.policy);
    if (rc < 0)
        fprintf(stderr, "longrun: %s\n", err.msg);
    if (rc != 0)
        fprintf(stderr, "again: %s %s %s %d %s\n", argv[0], argv[1], argv[2], n,
                argc > 4 ? argv[4] : "1");
    return rc != 0;
}
