/* What the planner and the policy say of single pairs. */
#include <stdio.h>

#include "planner/worker/evaluate.h"
#include "proto/canon.h"

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text[0] == '\0')
        return;
    _cleanup_(freep) char *clean = sandbox_clean_text(text, strlen(text));
    json_object_set_new(o, key, json_string(clean));
}

static void explain_refusal(json_t *o, struct fit_refusal *why)
{
    json_object_set_new(o, "code", json_string(fit_code_name(why->code)));
    set_text(o, "message", why->message);
    set_text(o, "relax", why->relax);
}

/* The policy's own resource, which the core accounts for. */
static bool explain_load(const struct evaluation *e, int vm, int host, json_t *o)
{
    char text[FIT_TEXT_MAX];
    const char *name = e->model->hosts[host].name, *label = vm_label(&e->model->vms[vm]);
    if (e->vm_load == NULL || !e->candidate[vm])
        return false;
    int64_t load = e->vm_load[vm], room = e->host_room != NULL ? e->host_room[host] : INT64_MAX;
    int64_t gain = e->host_gain != NULL ? e->host_gain[host] : 1000;
    bool known = load != QUANTITY_UNKNOWN && room != QUANTITY_UNKNOWN && gain != QUANTITY_UNKNOWN;
    double brings = (double)load * (double)gain / 1e6;
    if (known && brings <= (double)room / 1000)
        return false;
    if (known)
        sandbox_text(text, sizeof text, "%s brings %.1f, %s has room for %.1f", label, brings, name,
                     (double)room / 1000);
    else
        sandbox_text(text, sizeof text, "the load of %s or the room of %s is not known", label,
                     name);
    json_object_set_new(o, "code", json_string(fit_code_name(known ? FIT_LOAD : FIT_UNKNOWN_LOAD)));
    set_text(o, "message", text);
    return true;
}

/* What the core says of the pair alone, then what the policy says. */
static json_t *explain_pair(struct evaluation *e, int vm, int host)
{
    const struct model *m = e->model;
    struct fit_refusal why = {0};
    struct planner_verdict v;
    json_t *o = json_pack("{s:s, s:s}", "vm", vm_label(&m->vms[vm]), "host", m->hosts[host].name);
    bool override = policy_overrides_holds(&e->policy);
    if (fit_movable(m, vm, e->now, e->policy.cooldown_ms, override, &why) != FIT_OK ||
        fit_compatible(m, vm, host, e->objective.copy_storage, &why) != FIT_OK) {
        explain_refusal(o, &why);
        return o;
    }
    hook_judge(&e->hooks, 0, vm, host, JUDGE_REASON, &v);
    if (v.reject) {
        json_object_set_new(o, "code", json_string(v.code));
        set_text(o, "message", v.message);
        return o;
    }
    if (explain_load(e, vm, host, o))
        return o;
    json_object_set_new(o, "score", canon_milli(v.score));
    set_text(o, "reason", v.reason);
    return o;
}

json_t *evaluation_pairs(struct evaluation *e, int vm, int host)
{
    const struct model *m = e->model;
    json_t *list = json_array();
    for (int v = 0; v < m->n_vms; v++) {
        if (vm != MODEL_NONE ? v != vm : e->candidate == NULL || !e->candidate[v])
            continue;
        for (int h = 0; h < m->n_hosts; h++) {
            if ((host != MODEL_NONE && h != host) || h == m->vms[v].host)
                continue;
            if (json_array_size(list) >= EVALUATION_PAIRS_MAX || sandbox_is_spent(e->sandbox))
                return list;
            json_array_append_new(list, explain_pair(e, v, h));
        }
    }
    return list;
}
