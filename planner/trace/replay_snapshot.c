/* replay_snapshot.c - the fleet of a replay as a snapshot: what the trace and the plans have
 * changed is written into the first snapshot's document, the rest stays as it was. */
#include <math.h>

#include "planner/trace/replay_parts.h"
#include "proto/canon.h"

static json_t *part(json_t *o, const char *key)
{
    json_t *p = json_object_get(o, key);
    if (!json_is_object(p))
        json_object_set_new(o, key, p = json_object());
    return json_object_get(o, key);
}

static json_t *real(double v)
{
    return canon_milli((int64_t)llround(v * 1000));
}

static json_t *time_of(msec wall)
{
    char text[TIME_TEXT_SIZE];
    if (wall == QUANTITY_UNKNOWN)
        return json_null();
    time_format(wall, text);
    return json_string(text);
}

static const char *state_of(const struct fleet_host *h)
{
    switch (h->power) {
    case FLEET_STANDBY:
        return "standby";
    case FLEET_WAKING:
        return "offline"; /* takes nothing yet */
    case FLEET_ON:
        break;
    }
    return "up";
}

/* What people had set (cordoned, draining) stays. */
static void set_state(struct fleet_host *h)
{
    const char *was = json_string_value(json_object_get(h->doc, "state"));
    bool of_power = was == NULL || strcmp(was, "up") == 0 || strcmp(was, "standby") == 0 ||
                    strcmp(was, "offline") == 0;
    if (of_power)
        json_object_set_new(h->doc, "state", json_string(state_of(h)));
}

static void set_host(const struct replay *r, struct fleet_host *h)
{
    double missing = MAX(h->asked - h->cores, 0.0);
    set_state(h);
    json_object_set_new(h->doc, "observed_at", time_of(r->now));
    json_object_set_new(part(h->doc, "cpu"), "used_cores", real(MIN(h->asked, h->cores)));
    if (h->asked > 0)
        json_object_set_new(part(h->doc, "pressure"), "cpu", real(100 * missing / h->asked));
    if (h->has_curve)
        json_object_set_new(part(h->doc, "power"), "watts", real(h->watts));
    if (!isnan(h->celsius_per_watt) && !isnan(h->celsius))
        json_object_set_new(part(h->doc, "temperature"), "cpu_celsius", real(h->celsius));
    if (!isnan(h->trend))
        json_object_set_new(part(h->doc, "temperature"), "trend_celsius_per_min", real(h->trend));
}

static void set_vm(const struct replay *r, const struct fleet_vm *vm, int v)
{
    double asked = fleet_asked(r, v), got = asked;
    const struct fleet_host *h = vm->host >= 0 ? &r->hosts[vm->host] : NULL;
    if (h != NULL && h->asked > h->cores)
        got = asked * h->cores / h->asked;
    json_object_set_new(vm->doc, "host", h != NULL ? json_string(h->name) : json_null());
    json_object_set_new(vm->doc, "cpu_used_cores", real(got));
    if (vm->last_move != QUANTITY_UNKNOWN) {
        bool today = r->now - vm->last_move < 86400000;
        json_object_set_new(vm->doc, "last_move", time_of(vm->last_move));
        json_object_set_new(vm->doc, "moves_24h", json_integer(today ? vm->moves_24h : 0));
    }
}

static void set_week(struct replay *r)
{
    json_t *week = profile_json(&r->profile);
    if (week != NULL)
        json_object_set_new(part(r->doc, "history"), "week", week);
}

int replay_snapshot(struct replay *r, char **ret, size_t *ret_len, struct err *err)
{
    fleet_count(r);
    json_object_set_new(r->doc, "taken_at", time_of(r->now));
    for (int h = 0; h < r->t->n_hosts; h++)
        set_host(r, &r->hosts[h]);
    for (int v = 0; v < r->t->n_vms; v++)
        set_vm(r, &r->vms[v], v);
    set_week(r);
    return canon_dump(r->doc, ret, ret_len, err);
}
