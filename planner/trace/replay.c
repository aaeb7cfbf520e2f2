#include "planner/trace/replay.h"

#include <math.h>

#include "planner/trace/replay_parts.h"
#include "proto/canon.h"

#define MOVING_COSTS 0.1   /* of a VM's processor, while it is copied (CloudSim's figure) */
#define STANDBY_WATTS 4.0  /* memory is kept alive */
#define WAKE_SECONDS 180   /* where the host does not say */
#define HEAT_SECONDS 180.0 /* a processor with its heat sink and fan follows the power drawn */
#define DAY 86400000

static double number_at(const json_t *o, const char *part, const char *key, double otherwise)
{
    const json_t *v = json_object_get(part != NULL ? json_object_get(o, part) : o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static void host_init(struct fleet_host *h, json_t *doc)
{
    h->doc = doc;
    h->cores = number_at(doc, "cpu", "cores", 0);
    const json_t *curve = json_object_get(json_object_get(doc, "power"), "curve_watts");
    h->has_curve = json_array_size(curve) == CURVE_POINTS;
    for (size_t i = 0; i < CURVE_POINTS && h->has_curve; i++)
        h->curve[i] = json_number_value(json_array_get(curve, i));
    h->wake_ms = (msec)(1000 * number_at(doc, "power", "wake_seconds", WAKE_SECONDS));
    const char *state = json_string_value(json_object_get(doc, "state"));
    h->power = state != NULL && strcmp(state, "standby") == 0 ? FLEET_STANDBY : FLEET_ON;
    h->celsius = number_at(doc, "temperature", "cpu_celsius", NAN);
    h->inlet = number_at(doc, "temperature", "inlet_celsius", NAN);
    h->limit = number_at(doc, "temperature", "cpu_max_celsius", NAN);
    h->celsius_before = h->trend = NAN;
    double watts = number_at(doc, "power", "watts", NAN);
    h->celsius_per_watt = watts > 0 ? (h->celsius - h->inlet) / watts : NAN;
}

static int host_named(const struct replay *r, const char *name)
{
    for (int h = 0; name != NULL && h < r->t->n_hosts; h++)
        if (strcmp(r->hosts[h].name, name) == 0)
            return h;
    return -1;
}

static int by_key(const void *a, const void *b)
{
    const struct fleet_key *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* UUID or name, as plans name VMs. */
static int vm_named(const struct replay *r, const char *uuid, const char *name)
{
    for (int i = 0; i < 2; i++) {
        struct fleet_key wanted = {.key = i == 0 ? uuid : name};
        const struct fleet_key *found =
            wanted.key == NULL ? NULL
                               : bsearch(&wanted, r->keys, r->n_keys, sizeof *r->keys, by_key);
        if (found != NULL)
            return found->vm;
    }
    return -1;
}

static void key_add(struct replay *r, const char *key, int vm)
{
    if (key != NULL)
        r->keys[r->n_keys++] = (struct fleet_key){key, vm};
}

int replay_new(const struct trace *t, struct replay **ret, struct err *err)
{
    struct replay *r = xcalloc(1, sizeof *r);
    _cleanup_(replay_freep) struct replay *owned = r;
    r->t = t;
    r->doc = json_deep_copy(t->base);
    r->hosts = xcalloc((size_t)MAX(t->n_hosts, 1), sizeof *r->hosts);
    r->vms = xcalloc((size_t)MAX(t->n_vms, 1), sizeof *r->vms);
    r->keys = xcalloc(2 * (size_t)MAX(t->n_vms, 1), sizeof *r->keys);
    r->rows = xcalloc((size_t)MAX(t->n_samples, 1), sizeof *r->rows);
    for (int h = 0; h < t->n_hosts; h++) {
        json_t *doc = json_array_get(json_object_get(r->doc, "hosts"), (size_t)h);
        host_init(&r->hosts[h], doc);
        r->hosts[h].name = json_string_value(json_object_get(doc, "name"));
    }
    for (int v = 0; v < t->n_vms; v++) {
        struct fleet_vm *vm = &r->vms[v];
        vm->doc = json_array_get(json_object_get(r->doc, "vms"), (size_t)v);
        vm->host = host_named(r, json_string_value(json_object_get(vm->doc, "host")));
        vm->left = -1;
        vm->last_move = QUANTITY_UNKNOWN;
        key_add(r, json_string_value(json_object_get(vm->doc, "uuid")), v);
        key_add(r, json_string_value(json_object_get(vm->doc, "name")), v);
    }
    if (t->n_samples == 0)
        return err_set(err, ERR_INVALID, "the trace is empty");
    qsort(r->keys, r->n_keys, sizeof *r->keys, by_key);
    r->now = t->at[0];
    profile_init(&r->profile);
    profile_take(&r->profile, json_object_get(json_object_get(r->doc, "history"), "week"));
    *ret = TAKE_PTR(owned);
    return 0;
}

void replay_free(struct replay *r)
{
    if (r == NULL)
        return;
    json_decref(r->doc);
    free(r->hosts);
    free(r->vms);
    free(r->keys);
    free(r->rows);
    free(r->acts);
    free(r->log);
    free(r);
}

msec replay_now(const struct replay *r)
{
    return r->now;
}

bool replay_ended(const struct replay *r)
{
    return r->sample >= r->t->n_samples;
}

bool replay_busy(const struct replay *r)
{
    return r->n_acts > 0;
}

const struct replay_totals *replay_totals(const struct replay *r)
{
    return &r->totals;
}

const struct replay_row *replay_rows(const struct replay *r, int *ret_n)
{
    *ret_n = r->sample;
    return r->rows;
}

void replay_host(const struct replay *r, int host, struct replay_host *ret)
{
    const struct fleet_host *h = &r->hosts[host];
    *ret = (struct replay_host){.name = h->name,
                                .celsius = h->celsius,
                                .limit_celsius = h->limit,
                                .asked = h->asked,
                                .cores = h->cores,
                                .watts = h->watts,
                                .celsius_per_watt = fleet_celsius_per_watt(r, host),
                                .inlet_celsius = h->inlet,
                                .vms = h->n_vms,
                                .awake = h->power == FLEET_ON};
}

int replay_vm_host(const struct replay *r, int vm)
{
    return r->vms[vm].host;
}

double replay_vm_asked(const struct replay *r, int vm)
{
    return fleet_asked(r, vm);
}

const struct replay_move *replay_moves(const struct replay *r, int *ret_n)
{
    *ret_n = (int)r->n_log;
    return r->log;
}

double fleet_celsius_per_watt(const struct replay *r, int host)
{
    int sample = MIN(r->sample, r->t->n_samples - 1);
    const milli *warming = r->t->warming;
    double factor =
        warming == NULL
            ? 1
            : (double)warming[(size_t)sample * (size_t)r->t->n_hosts + (size_t)host] / 1000;
    return r->hosts[host].celsius_per_watt * factor;
}

double fleet_asked(const struct replay *r, int vm)
{
    int sample = MIN(r->sample, r->t->n_samples - 1);
    milli used = r->t->used[(size_t)sample * (size_t)r->t->n_vms + (size_t)vm];
    return used == QUANTITY_UNKNOWN ? 0 : (double)used / 1000;
}

/* ---- a plan carried out, step after step */

static bool act_new(const struct replay *r, const struct plan_action *a, struct fleet_act *ret)
{
    *ret = (struct fleet_act){.type = a->type, .step = a->step, .vm = -1, .ends = -1};
    if (a->type == PLAN_STANDBY || a->type == PLAN_WAKE) {
        ret->to = host_named(r, a->host);
        ret->takes = a->type == PLAN_WAKE && ret->to >= 0 ? r->hosts[ret->to].wake_ms : 0;
        return ret->to >= 0;
    }
    ret->vm = vm_named(r, a->uuid, a->vm);
    ret->to = host_named(r, a->to);
    ret->takes = MAX(a->estimate.ms, (msec)1);
    return a->type == PLAN_MIGRATE && ret->vm >= 0 && ret->to >= 0;
}

static void act_begin(struct replay *r, struct fleet_act *a)
{
    a->ends = r->now + a->takes;
    if (a->type == PLAN_STANDBY)
        r->hosts[a->to].power = FLEET_STANDBY;
    else if (a->type == PLAN_WAKE)
        r->hosts[a->to].power = FLEET_WAKING;
    else
        r->vms[a->vm].moving = true;
}

static void vm_arrived(struct replay *r, int v, int to)
{
    struct fleet_vm *vm = &r->vms[v];
    ARRAY_RESERVE(r->log, r->cap_log, r->n_log + 1);
    r->log[r->n_log++] = (struct replay_move){.at = r->now, .vm = v, .from = vm->host, .to = to};
    bool back = to == vm->left && r->now - vm->last_move < DAY;
    r->totals.pingpongs += back;
    r->totals.migrations++;
    vm->moves_24h =
        vm->last_move != QUANTITY_UNKNOWN && r->now - vm->last_move < DAY ? vm->moves_24h + 1 : 1;
    vm->left = vm->host;
    vm->host = to;
    vm->last_move = r->now;
    vm->moving = false;
    r->moves++;
}

static void act_end(struct replay *r, const struct fleet_act *a)
{
    if (a->type == PLAN_WAKE)
        r->hosts[a->to].power = FLEET_ON;
    else if (a->type == PLAN_MIGRATE)
        vm_arrived(r, a->vm, a->to);
}

/* Steps are barriers: the next one's actions begin when the step before has ended. */
static void begin_next_step(struct replay *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_acts; i++)
        if (r->acts[i].ends >= 0)
            return;
    for (; n < r->n_acts && r->acts[n].step == r->acts[0].step; n++)
        act_begin(r, &r->acts[n]);
}

static void end_due(struct replay *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n_acts; i++) {
        struct fleet_act a = r->acts[i];
        if (a.ends >= 0 && a.ends <= r->now)
            act_end(r, &a);
        else
            r->acts[kept++] = a;
    }
    r->n_acts = kept;
    begin_next_step(r);
}

void replay_begin(struct replay *r, const struct plan_doc *plan)
{
    REQUIRE(!replay_busy(r));
    r->acts = xrealloc(r->acts, (size_t)MAX(plan->n_actions, 1), sizeof *r->acts);
    for (int i = 0; i < plan->n_actions; i++)
        r->n_acts += act_new(r, &plan->actions[i], &r->acts[r->n_acts]);
    begin_next_step(r);
}

/* ---- time */

static double watts_of(const struct replay *r, const struct fleet_host *h)
{
    if (h->power == FLEET_STANDBY)
        return STANDBY_WATTS;
    if (!h->has_curve || (r->t->empty_takes_off && h->n_vms == 0))
        return 0;
    double load = h->cores > 0 ? MIN(h->asked / h->cores, 1.0) * (CURVE_POINTS - 1) : 0;
    size_t at = MIN((size_t)load, (size_t)CURVE_POINTS - 2);
    return h->curve[at] + (h->curve[at + 1] - h->curve[at]) * (load - (double)at);
}

void fleet_count(struct replay *r)
{
    for (int h = 0; h < r->t->n_hosts; h++) {
        r->hosts[h].asked = 0;
        r->hosts[h].n_vms = 0;
    }
    for (int v = 0; v < r->t->n_vms; v++)
        if (r->vms[v].host >= 0) {
            r->hosts[r->vms[v].host].asked += fleet_asked(r, v);
            r->hosts[r->vms[v].host].n_vms++;
        }
    for (int h = 0; h < r->t->n_hosts; h++)
        r->hosts[h].watts = watts_of(r, &r->hosts[h]);
}

static void heat(struct replay *r, int host, double seconds)
{
    struct fleet_host *h = &r->hosts[host];
    if (isnan(h->celsius_per_watt) || isnan(h->celsius))
        return;
    double before = h->celsius, target = h->inlet + fleet_celsius_per_watt(r, host) * h->watts;
    h->celsius += (target - before) * (1 - exp(-seconds / HEAT_SECONDS));
    r->totals.excursions += before <= h->limit && h->celsius > h->limit;
}

/* Nothing changes meanwhile. */
static void pass(struct replay *r, double seconds)
{
    struct replay_totals *sum = &r->totals;
    fleet_count(r);
    for (int h = 0; h < r->t->n_hosts; h++) {
        struct fleet_host *host = &r->hosts[h];
        double missing = MAX(host->asked - host->cores, 0.0);
        sum->joules += host->watts * seconds;
        sum->asked += host->asked * seconds;
        sum->unmet += missing * seconds;
        if (host->n_vms > 0) {
            sum->active_s += seconds;
            sum->overloaded_s += missing > 0 ? seconds : 0;
        }
        heat(r, h, seconds);
    }
    for (int v = 0; v < r->t->n_vms; v++)
        if (r->vms[v].moving)
            sum->unmet_moving += MOVING_COSTS * fleet_asked(r, v) * seconds;
}

static double imbalance(const struct replay *r)
{
    double sum = 0, mean, deviation = 0;
    int awake = 0;
    for (int pass = 0; pass < 2; pass++) {
        mean = awake > 0 ? sum / awake : 0;
        for (int h = 0; h < r->t->n_hosts; h++) {
            const struct fleet_host *host = &r->hosts[h];
            if (host->power != FLEET_ON || host->cores <= 0)
                continue;
            double use = 100 * MIN(host->asked / host->cores, 1.0);
            sum += pass == 0 ? use : 0;
            awake += pass == 0;
            deviation += pass == 1 ? fabs(use - mean) : 0;
        }
    }
    return awake > 0 ? deviation / awake : 0;
}

static void row_add(struct replay *r)
{
    struct replay_row *row = &r->rows[r->sample];
    *row = (struct replay_row){.at = r->now, .moves = r->moves};
    r->moves = 0;
    fleet_count(r);
    row->imbalance = imbalance(r);
    for (int h = 0; h < r->t->n_hosts; h++) {
        row->active_hosts += r->hosts[h].n_vms > 0;
        row->asked += r->hosts[h].asked;
        row->watts += r->hosts[h].watts;
    }
}

static void note_trends(struct replay *r, msec passed)
{
    for (int h = 0; h < r->t->n_hosts; h++) {
        struct fleet_host *host = &r->hosts[h];
        host->trend = (host->celsius - host->celsius_before) * 60000 / (double)MAX(passed, (msec)1);
        host->celsius_before = host->celsius;
    }
}

void replay_advance(struct replay *r)
{
    msec began = r->now;
    const struct trace *t = r->t;
    REQUIRE(!replay_ended(r));
    msec until = r->sample + 1 < t->n_samples ? t->at[r->sample + 1] : t->at[r->sample] + t->last;
    row_add(r);
    profile_add(&r->profile, (milli)llround(1000 * r->rows[r->sample].asked), r->now);
    while (r->now < until) {
        msec next = until;
        for (size_t i = 0; i < r->n_acts; i++)
            if (r->acts[i].ends > r->now)
                next = MIN(next, r->acts[i].ends);
        pass(r, (double)(next - r->now) / 1000);
        r->now = next;
        end_due(r);
    }
    r->sample++;
    note_trends(r, r->now - began);
}
