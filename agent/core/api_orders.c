/* api_orders.c - what people have ordered, as JSON: hosts that are not up and how far their drains
 * are, freezes, holds, standing orders, rules. Answered by the planner, which knows every VM. */
#include "agent/core/api_priv.h"
#include "agent/core/plan.h"
#include "proto/canon.h"

static json_t *order_json(const Skein__Vote *v, uint64_t since)
{
    return json_pack("{s:s, s:s, s:o}", "person", v->person, "reason", v->reason, "since",
                     canon_time(since));
}

/* ---- drains ---- */

/* Does this VM run here as far as is known, so that the host is not empty? */
static bool runs(const Skein__VmDetail *vm)
{
    return view_counts(vm) && vm->has_state && vm->state != SKEIN__VM_STATE__VM_STOPPED &&
           vm->state != SKEIN__VM_STATE__VM_CRASHED;
}

static json_t *vms_json(const struct view_host *host)
{
    json_t *list = json_array();
    for (size_t i = 0; host != NULL && i < host->n_vms; i++)
        if (runs(host->vms[i]) && host->vms[i]->name != NULL && host->vms[i]->uuid != NULL)
            json_array_append_new(list, json_pack("{s:s, s:s}", "vm", host->vms[i]->name, "uuid",
                                                  host->vms[i]->uuid));
    return list;
}

size_t api_host_vms(const struct api_context *c, const char *host)
{
    size_t n = 0;
    const struct view_host *h = view_find(c->view, host);
    for (size_t i = 0; h != NULL && i < h->n_vms; i++)
        n += runs(h->vms[i]);
    return n;
}

static json_t *away_json(const Skein__HostAdmin *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_departures; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "vm", r->departures[i]->vm, "uuid",
                                              r->departures[i]->uuid));
    return list;
}

static bool leaves(const struct plan *p, const char *host)
{
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (strcmp(p->body->moves[i].from, host) == 0)
            return true;
    return false;
}

/* The refusals of one list that concern VMs of this host, each VM once. */
static void add_blocked(json_t *blocked, const json_t *refused, const json_t *vms)
{
    size_t i, k, n;
    const json_t *one, *vm, *known;
    json_array_foreach(refused, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "vm"));
        bool here = false, again = false;
        json_array_foreach(vms, k, vm)
        {
            here = here || (name != NULL &&
                            strcmp(name, json_string_value(json_object_get(vm, "vm"))) == 0);
        }
        json_array_foreach(blocked, n, known)
        {
            again = again || json_equal(json_object_get(known, "vm"), json_object_get(one, "vm"));
        }
        if (here && !again)
            json_array_append(blocked, (json_t *)(uintptr_t)one);
    }
}

/* Of the drain's plans: those that have not ended, and what the newest one refused. */
static json_t *plans_json(const struct api_context *c, const char *host, json_t *blocked,
                          const json_t *vms)
{
    struct plan *const *plans;
    json_t *list = json_array();
    bool read = false;
    for (size_t i = state_plans(c->state, &plans); i-- > 0;) {
        const struct plan *p = plans[i];
        if (strcmp(p->body->policy, ADMIN_DRAIN_POLICY) != 0 || plan_state_ended(p->state))
            continue;
        if (leaves(p, host))
            json_array_append_new(list, plan_summary(p));
        if (!read) {
            _cleanup_json_ json_t *doc = plan_doc(p);
            const json_t *body = json_object_get(doc, "body");
            add_blocked(blocked, json_object_get(body, "refused"), vms);
            read = true;
        }
    }
    return list;
}

/* What the drains' policy said last, when it found nothing to move. */
static void add_outcome(const struct api_context *c, json_t *o, json_t *blocked, const json_t *vms)
{
    _cleanup_json_ json_t *duty = duty_status(c->duty);
    size_t i;
    json_t *policy;
    json_array_foreach(json_object_get(duty, "policies"), i, policy)
    {
        const char *name = json_string_value(json_object_get(policy, "name"));
        if (name == NULL || strcmp(name, ADMIN_DRAIN_POLICY) != 0)
            continue;
        add_blocked(blocked, json_object_get(policy, "refused"), vms);
        json_object_set(o, "outcome", json_object_get(policy, "outcome"));
    }
}

static size_t count_moving(const struct api_context *c, const char *host)
{
    size_t n = 0;
    struct plan *const *plans;
    for (size_t i = state_plans(c->state, &plans); i-- > 0;)
        for (size_t k = 0; plan_state_running(plans[i]->state) && k < plans[i]->body->n_moves; k++)
            n += plan_item_live(&plans[i]->items[k]) &&
                 strcmp(plans[i]->items[k].move->from, host) == 0;
    return n;
}

static json_t *host_json(const struct api_context *c, const Skein__HostAdmin *r)
{
    const struct view_host *host = view_find(c->view, r->host);
    json_t *o = order_json(r->vote, r->since_ms);
    json_t *blocked = json_array(), *vms = vms_json(host);
    json_object_set_new(o, "host", json_string(r->host));
    json_object_set_new(o, "state", json_string(admin_state_name(r->state)));
    json_object_set_new(o, "vms", vms);
    json_object_set_new(o, "moving", json_integer((json_int_t)count_moving(c, r->host)));
    json_object_set_new(o, "away", away_json(r));
    json_object_set_new(o, "deadline", canon_time(r->has_deadline_ms ? r->deadline_ms : 0));
    json_object_set_new(o, "concurrency",
                        r->has_concurrency ? json_integer(r->concurrency) : json_null());
    json_object_set_new(o, "fallback",
                        r->fallback != NULL ? json_string(r->fallback) : json_null());
    json_object_set_new(o, "plans", plans_json(c, r->host, blocked, vms));
    add_outcome(c, o, blocked, vms);
    json_object_set_new(o, "blocked", blocked);
    return o;
}

int api_show_maintenance(const struct api_context *c, const struct api_request *r _unused_,
                         json_t **ret, struct err *err _unused_)
{
    json_t *list = json_array();
    Skein__HostAdmin *const *hosts;
    size_t n = admin_hosts(state_admin(c->state), &hosts);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, host_json(c, hosts[i]));
    *ret = json_pack("{s:o}", "hosts", list);
    return 0;
}

/* ---- freezes and holds: those in force ---- */

int api_show_freezes(const struct api_context *c, const struct api_request *r _unused_,
                     json_t **ret, struct err *err _unused_)
{
    json_t *list = json_array();
    Skein__Freeze *const *freezes;
    size_t n = admin_freezes(state_admin(c->state), &freezes);
    for (size_t i = 0; i < n; i++) {
        if ((msec)freezes[i]->until_ms <= c->step->now.wall)
            continue;
        json_t *o = order_json(freezes[i]->vote, freezes[i]->since_ms);
        json_object_set_new(o, "id", json_string(freezes[i]->id));
        json_object_set_new(o, "until", canon_time(freezes[i]->until_ms));
        json_array_append_new(list, o);
    }
    *ret = json_pack("{s:o}", "freezes", list);
    return 0;
}

int api_show_holds(const struct api_context *c, const struct api_request *r _unused_, json_t **ret,
                   struct err *err _unused_)
{
    json_t *list = json_array();
    Skein__Hold *const *holds;
    size_t n = admin_holds(state_admin(c->state), &holds);
    for (size_t i = 0; i < n; i++) {
        if ((msec)holds[i]->until_ms <= c->step->now.wall)
            continue;
        json_t *o = order_json(holds[i]->vote, holds[i]->since_ms);
        json_object_set_new(o, "vm", json_string(holds[i]->vm));
        json_object_set_new(o, "uuid", json_string(holds[i]->uuid));
        json_object_set_new(o, "until", canon_time(holds[i]->until_ms));
        json_array_append_new(list, o);
    }
    *ret = json_pack("{s:o}", "holds", list);
    return 0;
}

/* ---- standing orders ---- */

static json_t *standing_json(const Skein__Vote *v)
{
    json_t *command = json_loadb((const char *)v->command.data, v->command.len, 0, NULL);
    json_t *o = json_object();
    static const char *const keys[] = {"name",           "policy",  "policy_digest",
                                       "classes",        "hosts",   "max_actions",
                                       "moves_per_hour", "windows", "rollback"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (json_object_get(command, keys[i]) != NULL)
            json_object_set(o, keys[i], json_object_get(command, keys[i]));
    json_object_set_new(o, "id", json_stringn(v->key, MIN(strlen(v->key), (size_t)12)));
    json_object_set_new(o, "digest", json_string(v->key));
    json_object_set_new(o, "person", json_string(v->person));
    json_object_set_new(o, "reason", json_string(v->reason));
    json_object_set_new(o, "since", canon_time(v->at_ms));
    json_object_set_new(o, "expires_at", canon_time(v->expires_at_ms));
    json_decref(command);
    return o;
}

int api_show_orders(const struct api_context *c, const struct api_request *r, json_t **ret,
                    struct err *err)
{
    Skein__Vote *const *orders;
    size_t n = state_orders(c->state, &orders);
    json_t *list = json_array();
    (void)r;
    (void)err;
    for (size_t i = 0; i < n; i++)
        if ((msec)orders[i]->expires_at_ms > c->step->now.wall)
            json_array_append_new(list, standing_json(orders[i]));
    *ret = json_pack("{s:o}", "orders", list);
    return 0;
}

/* ---- rules ---- */

/* The VMs' names beside the rule's UUIDs; null for one that is not known. */
static json_t *names_of(const struct api_context *c, const json_t *uuids)
{
    json_t *list = json_array();
    const json_t *uuid;
    size_t i;
    json_array_foreach(uuids, i, uuid)
    {
        const struct view_host *host;
        const Skein__VmDetail *vm = view_vm(c->view, json_string_value(uuid), &host);
        json_array_append_new(list,
                              vm != NULL && vm->name != NULL ? json_string(vm->name) : json_null());
    }
    return list;
}

int api_show_rules(const struct api_context *c, const struct api_request *r, json_t **ret,
                   struct err *err)
{
    (void)r, (void)err;
    Skein__Rule *const *rules;
    size_t n = rulebook_rules(state_rulebook(c->state), &rules);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *rule = json_loadb((const char *)rules[i]->rule.data, rules[i]->rule.len, 0, NULL);
        json_t *o = order_json(rules[i]->vote, rules[i]->vote->at_ms);
        json_object_set_new(o, "vms", names_of(c, json_object_get(rule, "vms")));
        json_object_set_new(o, "name", json_string(rules[i]->name));
        json_object_set_new(o, "rule", rule);
        json_array_append_new(list, o);
    }
    *ret = json_pack("{s:o}", "rules", list);
    return 0;
}
