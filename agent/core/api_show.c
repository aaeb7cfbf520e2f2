/* api_show.c - hosts, VMs, plans and reports as JSON. */
#include <stdio.h>

#include "agent/core/api_priv.h"
#include "agent/core/plan.h"
#include "agent/core/snapshot.h"
#include "proto/canon.h"

#define PLANS_LIMIT 100 /* of a list, when the caller names no limit */

bool api_leads(const struct api_context *c)
{
    return c->leader[0] != '\0' && strcmp(c->leader, c->step->conf->host) == 0;
}

json_t *api_text(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("(not UTF-8)");
}

/* ---- the query ---- */

/* The value of key in "a=1&b=2" as a number from 1 to max; fallback when it is absent. */
static int query_number(const char *query, const char *key, size_t max, size_t fallback,
                        size_t *ret, struct err *err)
{
    size_t len = strlen(key);
    *ret = fallback;
    for (const char *p = query; *p != '\0';) {
        size_t part = strcspn(p, "&");
        if (part <= len || strncmp(p, key, len) != 0 || p[len] != '=')
            return err_set(err, ERR_INVALID, "query \"%.*s\": only %s is known here", (int)part, p,
                           key);
        char *end;
        unsigned long long v = strtoull(p + len + 1, &end, 10);
        if (p[len + 1] < '0' || p[len + 1] > '9' || end != p + part || v < 1 || v > max)
            return err_set(err, ERR_INVALID, "query \"%.*s\": wants a number from 1 to %zu",
                           (int)part, p, max);
        *ret = (size_t)v;
        p += part + (p[part] == '&');
    }
    return 0;
}

/* ---- hosts and VMs ---- */

static json_t *host_json(const struct api_context *c, const struct view_host *host)
{
    json_t *o = snapshot_host(host, c->state, c->step);
    const Skein__HostSummary *s = host->summary;
    msec heard = MAX(host->summary_mono, host->detail_mono);
    bool own = strcmp(host->name, c->step->conf->host) == 0;
    json_object_set_new(o, "linked", json_boolean(own || host->linked));
    json_object_set_new(o, "alive", json_boolean(own || (host->member && !host->gone)));
    json_object_set_new(o, "suspected", json_boolean(host->suspected));
    json_object_set_new(o, "planner", json_boolean(strcmp(host->name, c->leader) == 0));
    json_object_set_new(o, "age_seconds",
                        heard == 0 ? json_null()
                                   : json_integer(MAX(0, c->step->now.mono - heard) / 1000));
    if (s != NULL && s->has_vms)
        json_object_set_new(o, "vms", json_integer(s->vms));
    if (s != NULL && s->has_in_flight)
        json_object_set_new(o, "in_flight", json_integer(s->in_flight));
    if (s != NULL && s->has_hypervisor_ok)
        json_object_set_new(o, "hypervisor_ok", json_boolean(s->hypervisor_ok));
    return o;
}

int api_show_hosts(const struct api_context *c, const struct api_request *r _unused_, json_t **ret,
                   struct err *err _unused_)
{
    json_t *list = json_array();
    for (size_t i = 0; i < view_count(c->view); i++)
        json_array_append_new(list, host_json(c, view_at(c->view, i)));
    *ret = json_pack("{s:o}", "hosts", list);
    return 0;
}

int api_show_snapshot(const struct api_context *c, const struct api_request *r _unused_,
                      json_t **ret, struct err *err _unused_)
{
    *ret = snapshot_make(c->view, c->state, c->step, step_random(c->step));
    return 0;
}

/* Every host tells its VMs to the planner; another agent knows its own alone: partial. */
int api_show_vms(const struct api_context *c, const struct api_request *r, json_t **ret,
                 struct err *err)
{
    _cleanup_json_ json_t *snapshot = NULL;
    api_show_snapshot(c, r, &snapshot, err);
    *ret =
        json_pack("{s:O, s:b}", "vms", json_object_get(snapshot, "vms"), "partial", !api_leads(c));
    return 0;
}

/* ---- moves under way ---- */

static json_t *progress_json(const Skein__Progress *p)
{
    json_t *o = json_object();

    const struct {
        const char *key;
        bool has;
        uint64_t value;
    } numbers[] = {
        {"percent", p->has_percent, p->percent},
        {"total_mib", p->has_total_mib, p->total_mib},
        {"remaining_mib", p->has_remaining_mib, p->remaining_mib},
        {"transferred_mib", p->has_transferred_mib, p->transferred_mib},
        {"iteration", p->has_iteration, p->iteration},
        {"elapsed_ms", p->has_elapsed_ms, p->elapsed_ms},
    };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (numbers[i].has && numbers[i].value <= INT64_MAX)
            json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    if (p->has_dirty_milli_mib_s)
        json_object_set_new(o, "dirty_mib_s", canon_milli(p->dirty_milli_mib_s));
    if (p->has_bandwidth_milli_mib_s)
        json_object_set_new(o, "bandwidth_mib_s", canon_milli(p->bandwidth_milli_mib_s));
    if (p->phase != NULL)
        json_object_set_new(o, "phase", json_string(p->phase));
    if (p->has_remaining_mib && p->has_bandwidth_milli_mib_s && p->bandwidth_milli_mib_s > 0 &&
        p->remaining_mib < INT64_MAX / 1000000)
        json_object_set_new(
            o, "eta_ms",
            json_integer((json_int_t)(p->remaining_mib * 1000000 / p->bandwidth_milli_mib_s)));
    return o;
}

static json_t *flight_json(const struct api_context *c, const struct plan *plan,
                           const struct plan_item *item)
{
    const struct plan_move *m = item->move;
    const Skein__Progress *p = duty_progress_of(c->duty, plan->body->id, m->id);
    json_t *o = p != NULL ? progress_json(p) : json_object();
    json_t *what = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "plan", plan->body->id, "action",
                             m->id, "vm", m->vm, "from", m->from, "to", m->to, "state",
                             plan_action_name(plan_item_state(item)));
    json_object_update(o, what);
    json_decref(what);
    return o;
}

json_t *api_in_flight(const struct api_context *c)
{
    json_t *list = json_array();
    struct plan *const *plans;
    size_t n = state_plans(c->state, &plans);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; plan_state_running(plans[i]->state) && k < plans[i]->body->n_moves; k++)
            if (plan_item_live(&plans[i]->items[k]))
                json_array_append_new(list, flight_json(c, plans[i], &plans[i]->items[k]));
    return list;
}

/* ---- plans ---- */

int api_show_plans(const struct api_context *c, const struct api_request *r, json_t **ret,
                   struct err *err)
{
    size_t limit;
    if (query_number(r->query, "limit", STATE_ENDED_MAX + STATE_OPEN_MAX, PLANS_LIMIT, &limit,
                     err) < 0)
        return -(int)err->code;
    struct plan *const *plans;
    size_t n = state_plans(c->state, &plans);
    json_t *list = json_array();
    for (size_t i = 0; i < MIN(n, limit); i++) /* the newest first */
        json_array_append_new(list, plan_summary(plans[n - 1 - i]));
    *ret = json_pack("{s:o, s:I}", "plans", list, "total", (json_int_t)n);
    return 0;
}

static size_t count_matching(const struct state *state, const char *prefix)
{
    struct plan *const *plans;
    size_t n = state_plans(state, &plans), found = 0;
    for (size_t i = 0; i < n; i++)
        found += strncmp(plans[i]->body->digest, prefix, strlen(prefix)) == 0;
    return found;
}

/* The plan with this id or unique beginning of one. */
static int find_plan(const struct api_context *c, const char *id, struct plan **ret,
                     struct err *err)
{
    *ret = state_plan(c->state, id);
    if (*ret != NULL)
        return 0;
    size_t matching = count_matching(c->state, id);
    if (matching > 1)
        return err_set(err, ERR_CONFLICT, "%zu plans begin with %s: give more digits", matching,
                       id);
    return err_set(err, ERR_NOT_FOUND, "there is no plan \"%s\"; try: skein plan list", id);
}

/* What the gate says now, by the rules that the voters agreed on, so that people see what is
 * missing: "0 of 1 approvals". */
static json_t *gate_json(const struct api_context *c, const struct plan *plan)
{
    struct gate_facts facts = state_gate_facts(plan);
    const struct gate_rules *rules = state_gates(c->state);
    struct gate_verdict verdict = {0};
    struct err err = {0};
    int rc = state_gate(c->state, plan, c->step->now.wall, &verdict, &err);
    bool open = rc == 0;
    if (open)
        rc = state_gate_when(c->state, plan, c->step->now.wall, &err);
    json_t *names = json_array();
    for (size_t i = 0; rules != NULL && i < rules->n; i++)
        if (gate_rule_concerns(&rules->rules[i], plan->body, &facts))
            json_array_append_new(names, json_string(rules->rules[i].name));
    return json_pack("{s:b, s:i, s:i, s:o, s:o}", "open", open, "approvals", (int)verdict.approvals,
                     "needed", (int)verdict.needed, "rules", names, "message",
                     rc == 0 ? json_null() : api_text(err.msg));
}

static json_t *plan_progress(const struct api_context *c, const struct plan *plan)
{
    json_t *o = json_object();
    for (size_t i = 0; i < plan->body->n_moves; i++) {
        const char *action = plan->body->moves[i].id;
        const Skein__Progress *p = duty_progress_of(c->duty, plan->body->id, action);
        if (p != NULL && plan_item_live(&plan->items[i]))
            json_object_set_new(o, action, progress_json(p));
    }
    return o;
}

int api_show_plan(const struct api_context *c, const struct api_request *r, json_t **ret,
                  struct err *err)
{
    struct plan *plan;
    if (find_plan(c, r->id, &plan, err) < 0)
        return -(int)err->code;
    json_t *o = plan_doc(plan);
    json_object_set_new(o, "progress", plan_progress(c, plan));
    if (!plan_state_ended(plan->state))
        json_object_set_new(o, "gate", gate_json(c, plan));
    *ret = o;
    return 0;
}

int api_show_plan_report(const struct api_context *c, const struct api_request *r, json_t **ret,
                         struct err *err)
{
    struct plan *plan;
    if (find_plan(c, r->id, &plan, err) < 0)
        return -(int)err->code;
    *ret = plan_report(plan);
    return 0;
}

/* Of the newest plan of which something was carried out. */
int api_show_report(const struct api_context *c, const struct api_request *r _unused_, json_t **ret,
                    struct err *err)
{
    struct plan *const *plans;
    size_t n = state_plans(c->state, &plans);
    for (size_t i = n; i > 0; i--)
        for (size_t k = 0; k < plans[i - 1]->body->n_moves; k++)
            if (plans[i - 1]->items[k].permit != NULL) {
                *ret = plan_report(plans[i - 1]);
                return 0;
            }
    return err_set(err, ERR_NOT_FOUND, "no plan has been carried out yet; try: skein status");
}
