/* invariants_rules.c - the invariants themselves. */
#include <stdio.h>

#include "tests/lib/invariants_priv.h"

#define KNOWN_GRACE 300      /* ms from hearing of a cancel to heeding it: ticks are 100 ms apart */
#define BROKEN_SHADOW 5000   /* ms in which what was seen just before still counts */
#define ABORT_PATIENCE 20000 /* ms in which a cancelled move's job is told to end */

static const char *host_name(const struct invariants *inv, int host)
{
    return host != NOWHERE ? inv->hosts[host].name : "nowhere";
}

static const struct domain *domain_at(const struct invariants *inv, int host, int vm)
{
    return &inv->hosts[host].domains[vm];
}

/* Told to run, not known to have ended, and not given up for a person. */
static bool is_open(const struct inv_action *a)
{
    return a->job && strcmp(a->outcome, "needs-operator") != 0;
}

/* ---- copies and places (1, 2, 4) ---- */

static int check_copies(const struct invariants *inv, int vm, struct err *err)
{
    int first = NOWHERE, present = 0;
    for (size_t i = 0; i < inv->n_hosts; i++) {
        const struct domain *d = domain_at(inv, (int)i, vm);
        present += d->state != DOMAIN_ABSENT;
        if (!domain_runs(d))
            continue;
        if (first != NOWHERE)
            return BROKEN(err, 1, "%s runs on %s and on %s", inv->vms[vm].uuid,
                          host_name(inv, first), host_name(inv, (int)i));
        first = (int)i;
    }
    if (present == 0 && inv->vms[vm].seen && !in_shadow(inv, &inv->vms[vm], inv->now))
        return BROKEN(err, 2, "%s is on no host", inv->vms[vm].uuid);
    return 0;
}

/* It came to run here: by a move that was ordered, or by a person's hand. */
static bool may_run_here(const struct invariants *inv, int host, int vm)
{
    const struct inv_vm *v = &inv->vms[vm];
    if (v->broken || in_shadow(inv, v, inv->now))
        return true;
    for (size_t i = 0; i < inv->n_actions; i++) {
        const struct inv_action *a = &inv->actions[i];
        if (a->vm == vm && a->started > 0 && (a->to == host || a->from == host))
            return true;
    }
    return false;
}

int rule_domain(struct invariants *inv, int host, int vm, const struct domain *before,
                struct err *err)
{
    const struct domain *d = domain_at(inv, host, vm);
    if (d->state != DOMAIN_ABSENT)
        for (size_t i = 0; i < inv->n_actions; i++)
            if (inv->actions[i].vm == vm && inv->actions[i].to == host && inv->actions[i].job)
                inv->actions[i].arrived = true;
    bool first_sight = before->since == 0;
    if (domain_runs(d) && !domain_runs(before) && !first_sight && is_complete(inv, FACT_STARTED) &&
        !may_run_here(inv, host, vm))
        return BROKEN(err, 4, "%s began to run on %s, and nobody ordered that", inv->vms[vm].uuid,
                      host_name(inv, host));
    return 0;
}

/* ---- capacity (7, 8) ---- */

struct sum {
    int64_t memory_mib, vcpus;
};

static void add_vm(const struct invariants *inv, struct sum *s, int vm)
{
    s->memory_mib += inv->vms[vm].memory_mib;
    s->vcpus += inv->vms[vm].vcpus;
}

/* What is there since seen_at at least, and what is held for others that are not there yet. */
static struct sum sum_taken(const struct invariants *inv, int host, int but_vm, int64_t seen_at)
{
    struct sum s = {0};
    for (size_t vm = 0; vm < inv->n_vms; vm++) {
        const struct domain *d = domain_at(inv, host, (int)vm);
        if ((int)vm != but_vm && domain_takes(d) && d->since <= seen_at)
            add_vm(inv, &s, (int)vm);
    }
    for (size_t i = 0; i < inv->n_actions; i++) {
        const struct inv_action *a = &inv->actions[i];
        const struct domain *d = domain_at(inv, host, a->vm);
        bool counted = domain_takes(d) && d->since <= seen_at;
        if (a->to == host && a->held && a->vm != but_vm && !counted && !a->arrived)
            add_vm(inv, &s, a->vm);
    }
    return s;
}

int rule_admitted(struct invariants *inv, const struct inv_action *a, int64_t seen_at,
                  struct err *err)
{
    const struct inv_host *h = &inv->hosts[a->to];
    struct sum s = sum_taken(inv, a->to, a->vm, seen_at);
    add_vm(inv, &s, a->vm);
    if (h->memory_mib != 0 && s.memory_mib > h->memory_mib)
        return BROKEN(err, 7, "%s found room for %s: that makes %lld of %lld MiB", h->name,
                      inv->vms[a->vm].uuid, (long long)s.memory_mib, (long long)h->memory_mib);
    if (h->vcpus != 0 && s.vcpus > h->vcpus)
        return BROKEN(err, 7, "%s found room for %s: that makes %lld of %lld vCPUs", h->name,
                      inv->vms[a->vm].uuid, (long long)s.vcpus, (long long)h->vcpus);
    return 0;
}

int rule_released(struct invariants *inv, const struct inv_action *a, struct err *err)
{
    bool there = domain_takes(domain_at(inv, a->to, a->vm)); /* a person may have brought it */
    if (a->job && !a->arrived && !there && inv->now < a->held_until - inv->slack &&
        !inv->vms[a->vm].broken)
        return BROKEN(err, 8, "%s let go what it held for %s, which is on its way",
                      host_name(inv, a->to), inv->vms[a->vm].uuid);
    return 0;
}

/* ---- approval (5), permit and majority (10), limits (12), cancels (13) ---- */

static bool is_approved(const struct invariants *inv, const struct inv_plan *p, bool ever)
{
    bool approved = false;
    for (size_t i = 0; i < inv->n_votes; i++) {
        const struct inv_vote *v = &inv->votes[i];
        bool valid = ever || v->until == 0 || inv->now <= v->until + inv->slack;
        if (strcmp(v->plan, p->plan) == 0 && strcmp(v->what, "approve") == 0 && valid &&
            strcmp(v->person, p->author) != 0)
            approved = true;
    }
    return approved;
}

static bool is_vetoed(const struct invariants *inv, const struct inv_action *a)
{
    for (size_t i = 0; i < inv->n_votes; i++)
        if (strcmp(inv->votes[i].plan, a->plan) == 0 && strcmp(inv->votes[i].what, "approve") != 0)
            return true;
    return false;
}

/* ever: an approval that has expired will do. */
static int check_approved(struct invariants *inv, const struct inv_action *a, bool ever,
                          struct err *err)
{
    const struct inv_plan *p = inv_plan(inv, a->plan);
    if (p == NULL || !is_complete(inv, FACT_VOTE))
        return 0;
    if (!is_approved(inv, p, ever))
        return BROKEN(err, 5, "action %s/%s: nobody who may approve it has done so", a->plan,
                      a->action);
    return 0;
}

static int check_cancelled(struct invariants *inv, const struct inv_action *a, int host,
                           int64_t decided, struct err *err)
{
    const struct inv_plan *p = inv_plan(inv, a->plan);
    for (size_t i = 0; p != NULL && i < p->n_known; i++)
        if (p->cancel_known[i].host == host && decided - p->cancel_known[i].at > KNOWN_GRACE)
            return BROKEN(err, 13, "%s knew for %lld ms that plan %s is cancelled",
                          host_name(inv, host), (long long)(inv->now - p->cancel_known[i].at),
                          a->plan);
    return 0;
}

static bool goes_over_holds(const char *class)
{
    return strcmp(class, "safety") == 0 || strcmp(class, "drain") == 0 ||
           strcmp(class, "user") == 0;
}

/* Nothing is permitted that people have forbidden, from the moment at which that is agreed on. */
static int check_orders(const struct invariants *inv, const struct inv_action *a, struct err *err)
{
    const struct inv_host *from = &inv->hosts[a->from], *to = &inv->hosts[a->to];
    const struct inv_vm *vm = &inv->vms[a->vm];
    const struct inv_plan *p = inv_plan(((struct invariants *)(uintptr_t)inv), a->plan);
    if (inv->frozen_at != 0)
        return BROKEN(err, 13, "action %s/%s: permitted while everything is frozen", a->plan,
                      a->action);
    if (to->closed_at != 0)
        return BROKEN(err, 13, "action %s/%s: permitted, but %s takes nothing", a->plan, a->action,
                      to->name);
    if (p != NULL && strcmp(p->class, "drain") == 0 && !from->drains)
        return BROKEN(err, 13, "action %s/%s: permitted, but %s is drained no more", a->plan,
                      a->action, from->name);
    if (p != NULL && vm->held_at != 0 && (vm->held_at > p->at || !goes_over_holds(p->class)))
        return BROKEN(err, 13, "action %s/%s: permitted, but its VM is held", a->plan, a->action);
    return 0;
}

/* No policy is asked on the word of a few: what it does not know of would look empty. */
int rule_planning(const struct invariants *inv, const struct fact *f, struct err *err)
{
    int64_t voters = 0;
    for (size_t i = 0; i < inv->n_hosts; i++)
        voters += inv->hosts[i].voter;
    if (2 * f->seen <= voters)
        return BROKEN(err, 14, "%s plans, and knows the VMs of %lld of at least %lld hosts",
                      f->host != NULL ? f->host : "?", (long long)f->seen, (long long)voters);
    return 0;
}

/* A permit that was given before lives on for a moment, and no longer. */
static int check_frozen(const struct invariants *inv, const struct inv_action *a, struct err *err)
{
    int64_t since = MAX(inv->frozen_at, inv->hosts[a->to].closed_at);
    if (since != 0 && inv->permit_lifetime != 0 &&
        inv->now - since > inv->permit_lifetime + inv->slack)
        return BROKEN(err, 13, "action %s/%s: started %lld ms after it was forbidden", a->plan,
                      a->action, (long long)(inv->now - since));
    return 0;
}

int rule_permit(struct invariants *inv, const struct inv_action *a, const struct fact *f,
                struct err *err)
{
    if (a->reported[0] != '\0')
        return BROKEN(err, 6, "action %s/%s: permitted again after it ended (%s)", a->plan,
                      a->action, a->reported);
    if (a->permit[0] != '\0' && f->attempt <= a->attempt)
        return BROKEN(err, 6, "action %s/%s: attempt %lld follows %lld", a->plan, a->action,
                      (long long)f->attempt, (long long)a->attempt);
    if (check_orders(inv, a, err) < 0)
        return -(int)err->code;
    /* By the planner's clock, which may be wrong: those who act look at their own. */
    return f->what != NULL ? 0 : check_approved(inv, a, true, err);
}

/* f->term: the newest that the voter itself had heard of. */
int rule_confirmed(const struct inv_action *a, const struct fact *f, struct err *err)
{
    bool newest = strcmp(f->permit, a->permit) == 0;
    if (newest && f->term > a->permit_term)
        return BROKEN(err, 10, "%s, in term %lld, confirms a permit of term %lld", f->from,
                      (long long)f->term, (long long)a->permit_term);
    return 0;
}

static int check_confirmed(const struct invariants *inv, const struct inv_action *a,
                           const struct fact *f, struct err *err)
{
    unsigned voters = 0, yes = 0;
    for (size_t i = 0; i < inv->n_hosts; i++) {
        voters += inv->hosts[i].voter;
        bool own = inv->hosts[i].voter && (int)i == a->from; /* a voter does not ask itself */
        yes += inv->hosts[i].voter && (own || (a->confirmed_source & UINT64_C(1) << (i & 63)) != 0);
    }
    if (f->permit == NULL || strcmp(f->permit, a->permit) != 0)
        return BROKEN(err, 10, "action %s/%s: started under a permit that is not the newest",
                      a->plan, a->action);
    if (is_complete(inv, FACT_CONFIRMED) && yes < voters / 2 + 1)
        return BROKEN(err, 10, "action %s/%s: started with the word of %u of %u voters", a->plan,
                      a->action, yes, voters);
    if (inv->permit_lifetime != 0 && inv->now - a->permit_at > inv->permit_lifetime + inv->slack)
        return BROKEN(err, 5, "action %s/%s: started %lld ms after its permit was given", a->plan,
                      a->action, (long long)(inv->now - a->permit_at));
    return 0;
}

static int check_steps(const struct invariants *inv, const struct inv_action *a, struct err *err)
{
    for (size_t i = 0; i < inv->n_actions; i++) {
        const struct inv_action *o = &inv->actions[i];
        if (strcmp(o->plan, a->plan) == 0 && o->step < a->step && o->reported[0] == '\0')
            return BROKEN(err, 7, "action %s/%s: started before %s of an earlier step ended",
                          a->plan, a->action, o->action);
    }
    return 0;
}

static int check_limits(const struct invariants *inv, const struct inv_action *a, struct err *err)
{
    int64_t total = 0, out = 0, in = 0;
    for (size_t i = 0; i < inv->n_actions; i++) {
        const struct inv_action *o = &inv->actions[i];
        if (!is_open(o))
            continue;
        total++;
        out += o->from == a->from;
        in += o->to == a->to;
    }
    const struct inv_host *from = &inv->hosts[a->from], *to = &inv->hosts[a->to];
    if (inv->total != 0 && total > inv->total)
        return BROKEN(err, 12, "%lld moves at once, %lld may", (long long)total,
                      (long long)inv->total);
    if (from->outflow != 0 && out > from->outflow)
        return BROKEN(err, 12, "%lld moves leave %s at once, %lld may", (long long)out, from->name,
                      (long long)from->outflow);
    if (to->inflow != 0 && in > to->inflow)
        return BROKEN(err, 12, "%lld moves come to %s at once, %lld may", (long long)in, to->name,
                      (long long)to->inflow);
    return 0;
}

static int check_first(const struct invariants *inv, const struct inv_action *a, int host,
                       const struct fact *f, struct err *err)
{
    if (a->started > 1)
        return BROKEN(err, 6, "action %s/%s: started %u times", a->plan, a->action, a->started);
    if (host != a->from || f->vm == NULL || strcmp(f->vm, inv->vms[a->vm].uuid) != 0 ||
        f->to == NULL || strcmp(f->to, host_name(inv, a->to)) != 0)
        return BROKEN(err, 5, "action %s/%s: %s moves %s to %s, which is not what was approved",
                      a->plan, a->action, host_name(inv, host), f->vm != NULL ? f->vm : "?",
                      f->to != NULL ? f->to : "?");
    if (a->reported[0] != '\0')
        return BROKEN(err, 6, "action %s/%s: started after it ended (%s)", a->plan, a->action,
                      a->reported);
    if (is_complete(inv, FACT_JOURNAL) && !a->journal_started)
        return BROKEN(err, 6, "action %s/%s: started before the journal says so", a->plan,
                      a->action);
    if (is_complete(inv, FACT_AUDIT) && !a->audit_started)
        return BROKEN(err, 16, "action %s/%s: started before the audit says so", a->plan,
                      a->action);
    if (is_complete(inv, FACT_JOURNAL) && !a->held && inv->now < a->held_until - inv->slack &&
        !in_shadow(inv, &inv->vms[a->vm], inv->now))
        return BROKEN(err, 8, "action %s/%s: started, but %s holds nothing for it", a->plan,
                      a->action, host_name(inv, a->to));
    if (is_complete(inv, FACT_JOURNAL) && a->held_until == 0)
        return BROKEN(err, 8, "action %s/%s: started without a reservation on %s", a->plan,
                      a->action, host_name(inv, a->to));
    return 0;
}

int rule_started(struct invariants *inv, struct inv_action *a, const struct fact *f, int host,
                 struct err *err)
{
    a->started++;
    a->started_at = inv->now;
    a->job = true;
    a->arrived = false;
    if (check_first(inv, a, host, f, err) < 0 || check_approved(inv, a, false, err) < 0 ||
        check_cancelled(inv, a, host, f->until != 0 ? f->until : inv->now, err) < 0 ||
        check_frozen(inv, a, err) < 0 || check_steps(inv, a, err) < 0 ||
        check_limits(inv, a, err) < 0)
        return -(int)err->code;
    return is_complete(inv, FACT_PERMIT) ? check_confirmed(inv, a, f, err) : 0;
}

/* ---- ends (2, 3, 9) ---- */

/* Aborted for a reason: a person cancelled, or it took longer than it may. */
int rule_aborted(struct invariants *inv, int host, int vm, struct err *err)
{
    for (size_t i = 0; i < inv->n_actions; i++) {
        struct inv_action *a = &inv->actions[i];
        if (a->vm != vm || a->started == 0 || !a->job)
            continue;
        a->aborted_at = inv->now;
        bool long_enough = inv->now - a->started_at >= inv->timeout - inv->slack;
        if (inv->timeout != 0 && !long_enough && is_complete(inv, FACT_VOTE) && !is_vetoed(inv, a))
            return BROKEN(err, 17, "action %s/%s: aborted without a reason", a->plan, a->action);
        return 0;
    }
    if (domain_at(inv, host, vm)->job)
        return BROKEN(err, 17, "a move of %s that Skein did not begin was aborted",
                      inv->vms[vm].uuid);
    return 0;
}

int rule_tidied(struct invariants *inv, int host, int vm, struct err *err)
{
    for (size_t i = 0; i < inv->n_hosts; i++) {
        const struct domain *d = domain_at(inv, (int)i, vm);
        if ((int)i != host && d->state != DOMAIN_ABSENT && d->state != DOMAIN_INCOMING &&
            d->persistent)
            return 0;
    }
    return BROKEN(err, 2, "%s removed its definition of %s, and no other host has one",
                  host_name(inv, host), inv->vms[vm].uuid);
}

int rule_ended(struct invariants *inv, const struct inv_action *a, const char *outcome,
               struct err *err)
{
    const struct domain *here = domain_at(inv, a->from, a->vm),
                        *there = domain_at(inv, a->to, a->vm);
    const struct inv_vm *vm = &inv->vms[a->vm];
    bool moved = strcmp(outcome, "succeeded") == 0;
    bool stayed = strcmp(outcome, "failed") == 0 || strcmp(outcome, "cancelled") == 0;
    if (in_shadow(inv, vm, a->started_at != 0 ? a->started_at : inv->now) ||
        (vm->broken_at != 0 && inv->now - vm->broken_at < BROKEN_SHADOW))
        return 0;
    /* The planner's own finding is about the destination: a silent source cannot be seen. */
    bool off_there = vm->broken && there->state == DOMAIN_STOPPED; /* its host lost power since */
    if (moved && ((!domain_runs(there) && !off_there) || (domain_runs(here) && a->ended) ||
                  (!there->persistent && inv->vms[a->vm].persistent)))
        return BROKEN(err, 3, "action %s/%s: said to have moved, but it did not", a->plan,
                      a->action);
    /* Of a VM that its hypervisor doubled, a source that cannot see the other copy says what is. */
    bool doubled = vm->broken && domain_runs(here) && !a->job;
    if (stayed && a->started > 0 && !doubled && (domain_runs(there) || a->job))
        return BROKEN(err, 3, "action %s/%s: said to have stayed (%s), but it %s", a->plan,
                      a->action, outcome, a->job ? "is on its way" : "moved");
    bool shut_off = vm->broken && here->state == DOMAIN_STOPPED; /* its host lost power */
    if (stayed && a->started > 0 && !domain_runs(here) && !shut_off)
        return BROKEN(err, 3, "action %s/%s: said to have stayed (%s), but it does not run",
                      a->plan, a->action, outcome);
    return 0;
}

/* The VM is where it was, by its source's word: no reason to try again is any other. */
int rule_returned(struct invariants *inv, const struct inv_action *a, struct err *err)
{
    if (is_complete(inv, FACT_ENDED) && strcmp(a->outcome, "failed") != 0)
        return BROKEN(err, 3, "action %s/%s: to be tried again, but its source says \"%s\"",
                      a->plan, a->action, a->outcome);
    return rule_ended(inv, a, "failed", err);
}

/* ---- the whole ---- */

/* A cancel that the source knows of reaches its hypervisor. */
static int check_aborts(const struct invariants *inv, struct err *err)
{
    for (size_t i = 0; i < inv->n_plans; i++)
        for (size_t k = 0; k < inv->plans[i].n_known; k++) {
            const struct known *known = &inv->plans[i].cancel_known[k];
            for (size_t j = 0; j < inv->n_actions; j++) {
                const struct inv_action *a = &inv->actions[j];
                if (strcmp(a->plan, inv->plans[i].plan) == 0 && a->from == known->host &&
                    is_open(a) && !a->ended && a->aborted_at < known->at &&
                    inv->now - MAX(known->at, a->started_at) > ABORT_PATIENCE)
                    return BROKEN(err, 9, "action %s/%s: %s knows of the cancel and lets it run",
                                  a->plan, a->action, host_name(inv, known->host));
            }
        }
    return 0;
}

int invariants_check(struct invariants *inv, struct err *err)
{
    for (size_t vm = 0; vm < inv->n_vms; vm++)
        if (!inv->vms[vm].broken && check_copies(inv, (int)vm, err) < 0)
            return -(int)err->code;
    return check_aborts(inv, err);
}

static int settled_action(struct invariants *inv, const struct inv_action *a, struct err *err)
{
    bool lasting = strcmp(a->outcome, "needs-operator") == 0;
    if (a->job && !lasting)
        return BROKEN(err, 9, "action %s/%s: its job still runs", a->plan, a->action);
    if (a->started > 0 && a->reported[0] == '\0' && is_complete(inv, FACT_REPORTED))
        return BROKEN(err, 9, "action %s/%s was started and has no end", a->plan, a->action);
    if (a->permit[0] != '\0' && a->reported[0] == '\0' && is_complete(inv, FACT_REPORTED))
        return BROKEN(err, 9, "action %s/%s was permitted and has no end", a->plan, a->action);
    if (a->started > 0 && !a->ended && is_complete(inv, FACT_ENDED))
        return BROKEN(err, 9, "action %s/%s: its source has not concluded", a->plan, a->action);
    if (a->held)
        return BROKEN(err, 8, "%s still holds room for action %s/%s", host_name(inv, a->to),
                      a->plan, a->action);
    return 0;
}

static int settled_vm(struct invariants *inv, int vm, struct err *err)
{
    int running = 0;
    const struct inv_vm *v = &inv->vms[vm];
    for (size_t i = 0; i < inv->n_hosts; i++) {
        const struct domain *d = domain_at(inv, (int)i, vm);
        running += domain_runs(d);
        if (d->state == DOMAIN_INCOMING)
            return BROKEN(err, 9, "%s still arrives on %s", v->uuid, host_name(inv, (int)i));
    }
    if (v->seen && running != 1 && v->operator_at == 0)
        return BROKEN(err, running == 0 ? 2 : 1, "%s runs on %d hosts", v->uuid, running);
    return 0;
}

int rule_settled(struct invariants *inv, struct err *err)
{
    if (invariants_check(inv, err) < 0)
        return -(int)err->code;
    for (size_t vm = 0; vm < inv->n_vms; vm++)
        if (!inv->vms[vm].broken && settled_vm(inv, (int)vm, err) < 0)
            return -(int)err->code;
    for (size_t i = 0; i < inv->n_actions; i++)
        if (settled_action(inv, &inv->actions[i], err) < 0)
            return -(int)err->code;
    static const char *const running[] = {"APPROVED", "ONGOING", "PAUSED", "CANCELLING",
                                          "ROLLING_BACK"};
    for (size_t i = 0; i < inv->n_plans; i++)
        for (size_t k = 0; k < ARRAY_SIZE(running); k++)
            if (strcmp(inv->plans[i].state, running[k]) == 0)
                return BROKEN(err, 9, "plan %s is still %s", inv->plans[i].plan,
                              inv->plans[i].state);
    return 0;
}
