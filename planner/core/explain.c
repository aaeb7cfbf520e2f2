/* explain.c - why a VM cannot go to a host, in words and numbers, with the smallest change that
 * would allow it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "planner/core/lower.h"
#include "proto/util.h"

static enum fit_code explain_room(struct lower *l, const struct state *s, int vm, int host, int r,
                                  struct fit_refusal *ret)
{
    size_t at = (size_t)host * (size_t)l->in.n_resources + (size_t)r;
    int64_t need = l->in.demand[(size_t)vm * (size_t)l->in.n_resources + (size_t)r];
    int64_t room = l->in.capacity[at] - s->use[at] - s->held[at];
    int64_t lack = need - room;
    const char *name = l->m->hosts[host].name, *who = vm_label(&l->m->vms[vm]);
    const char *unit = l->p->load_unit != NULL ? l->p->load_unit : "units of load";
    enum fit_code c;
    switch (r) {
    case LOWER_MEMORY:
        c = fit_refuse(ret, FIT_MEMORY,
                       "%s needs %" PRId64 " MiB, %s has %" PRId64 " MiB left for VMs", who, need,
                       name, MAX(room, 0));
        return fit_relax(ret, c, "memory_mib", lack, NULL, "free %" PRId64 " MiB on %s", lack,
                         name);
    case LOWER_VCPUS:
        c = fit_refuse(ret, FIT_VCPUS, "%s needs %" PRId64 " vCPUs, %s has %" PRId64 " left", who,
                       need, name, MAX(room, 0));
        return fit_relax(ret, c, "vcpus", lack, NULL, "free %" PRId64 " vCPUs on %s", lack, name);
    case LOWER_CPU:
        c = fit_refuse(ret, FIT_LOAD,
                       "%s uses %" PRId64 " milli-cores, %s has %" PRId64
                       " left below its safety level",
                       who, need, name, MAX(room, 0));
        return fit_relax(ret, c, "milli_cores", lack, NULL, "unload %s by %" PRId64 " milli-cores",
                         name, lack);
    case LOWER_LOAD:
        c = fit_refuse(ret, FIT_LOAD, "%s brings %.1f %s, %s has room for %.1f", who,
                       (double)need / 1000, unit, name, (double)MAX(room, 0) / 1000);
        return fit_relax(ret, c, "load", lack, NULL, "make room for %.1f %s on %s",
                         (double)lack / 1000, unit, name);
    case LOWER_DISK:
        c = fit_refuse(ret, FIT_STORAGE_SPACE,
                       "%s needs %" PRId64 " MiB of local storage, %s has %" PRId64, who, need,
                       name, MAX(room, 0));
        return fit_relax(ret, c, "disk_mib", lack, NULL, "free %" PRId64 " MiB of disk on %s", lack,
                         name);
    default:
        c = fit_refuse(ret, FIT_HUGEPAGES,
                       "%s needs %" PRId64 " pages of %" PRId64 " KiB, %s has %" PRId64 " free",
                       who, need, l->page_kib[r], name, MAX(room, 0));
        return fit_relax(ret, c, "hugepages", lack, NULL,
                         "free %" PRId64 " pages of %" PRId64 " KiB on %s", lack, l->page_kib[r],
                         name);
    }
}

static enum fit_code code_of_rule(enum rule_type type)
{
    switch (type) {
    case RULE_ANTI_AFFINITY:
        return FIT_RULE_ANTI_AFFINITY;
    case RULE_AFFINITY:
        return FIT_RULE_AFFINITY;
    case RULE_RUN_ON:
        return FIT_RULE_RUN_ON;
    case RULE_NOT_ON:
        return FIT_RULE_NOT_ON;
    case RULE_SPREAD:
        return FIT_RULE_SPREAD;
    case RULE_DEPENDS_ON:
        return FIT_RULE_DEPENDS_ON;
    case RULE_EXCLUSIVE:
        return FIT_RULE_EXCLUSIVE;
    case RULE_KEEP:
        return FIT_RULE_KEEP;
    }
    return FIT_RULES_CONFLICT;
}

static enum fit_code explain_rule(const struct lower *l, int rule, int vm, int host,
                                  struct fit_refusal *ret)
{
    const struct model_rule *r = &l->m->rules[rule];
    enum fit_code c =
        fit_refuse(ret, code_of_rule(r->type), "rule %s (%s) would be broken by %s on %s", r->name,
                   rule_type_name(r->type), vm_label(&l->m->vms[vm]), l->m->hosts[host].name);
    return fit_relax(ret, c, "rule", QUANTITY_UNKNOWN, r->name, "relax %s", r->name);
}

static enum fit_code explain_load(const struct lower *l, int vm, int host, struct fit_refusal *ret)
{
    const struct planner_problem *p = l->p;
    if (p->vm_load == NULL || p->host_room == NULL)
        return FIT_OK;
    if (p->vm_load[vm] == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_LOAD, "the load of %s is not known",
                          vm_label(&l->m->vms[vm]));
    if (p->host_room[host] == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_LOAD, "how much %s can still take is not known",
                          l->m->hosts[host].name);
    return FIT_OK;
}

static enum fit_code explain_vm(struct lower *l, int vm, struct fit_refusal *ret)
{
    if (l->movable[vm] == FIT_NOT_CANDIDATE)
        return fit_refuse(ret, FIT_NOT_CANDIDATE, "the policy did not select %s",
                          vm_label(&l->m->vms[vm]));
    return fit_movable(l->m, vm, l->p->now, l->p->cooldown_ms, l->p->override_holds, ret);
}

/* A VM that is nowhere comes: it is put there, and taken back. */
static int broken_by_coming(const struct state *s, int vm, int host)
{
    struct state *x = (struct state *)s;
    int broken = -1;
    state_put(x, vm, host);
    for (int i = 0; i < s->in->n_rules && broken < 0; i++)
        if (s->in->rules[i].hard && s->violations[i] > s->violations_before[i])
            broken = i;
    state_put(x, vm, -1);
    return broken;
}

static int broken_rule(const struct state *s, int vm, int host)
{
    return s->at[vm] < 0 ? broken_by_coming(s, vm, host) : state_broken_rule(s, vm, host);
}

static enum fit_code explain_core(struct lower *l, const struct state *s, int vm, int host,
                                  struct fit_refusal *ret)
{
    enum fit_code c = explain_vm(l, vm, ret);
    if (c != FIT_OK)
        return c;
    c = fit_compatible(l->m, vm, host, l->p->copy_storage, ret);
    if (c != FIT_OK)
        return c;
    if (l->in.closed[host])
        return fit_refuse(ret, FIT_NOT_DESTINATION, "%s is not offered as a destination",
                          l->m->hosts[host].name);
    int rule = lower_place_rule(l, vm, host), r;
    if (rule != MODEL_NONE)
        return explain_rule(l, rule, vm, host, ret);
    c = explain_load(l, vm, host, ret);
    if (c != FIT_OK)
        return c;
    if (!state_has_room(s, vm, host, &r))
        return explain_room(l, s, vm, host, r, ret);
    rule = broken_rule(s, vm, host);
    return rule < 0 ? FIT_OK : explain_rule(l, l->in.rules[rule].origin, vm, host, ret);
}

enum fit_code lower_explain(struct lower *l, const struct state *s, int vm, int host,
                            char code_text[64], struct fit_refusal *ret)
{
    enum fit_code c = explain_core(l, s, vm, host, ret);
    const struct planner_verdict *v = c == FIT_OK ? lower_judge(l, vm, host) : NULL;
    if (v != NULL && v->reject) {
        c = fit_refuse(ret, FIT_POLICY, "%s", v->message);
        snprintf(code_text, 64, "%s", v->code[0] != '\0' ? v->code : fit_code_name(c));
        return c;
    }
    snprintf(code_text, 64, "%s", fit_code_name(c));
    return c;
}
