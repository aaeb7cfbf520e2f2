/* lower_terms.c - what a placement costs: the terms of the objective, as costs of the instance. */
#include "planner/core/lower.h"

#include <string.h>

#include "proto/util.h"

struct planner_weights lower_default_weights(enum planner_mode mode)
{
    struct planner_weights w = {.imbalance = 10, .overload = 1, .soft_rule = 20000, .score = 1000};
    switch (mode) {
    case PLANNER_BALANCE:
        w.imbalance = 1000;
        w.move = 500;
        w.move_gib = 20;
        w.score = 10;
        break;
    case PLANNER_CONSOLIDATE:
        w.host_used = 100000;
        w.move = 1000;
        w.move_gib = 50;
        w.score = 10;
        break;
    case PLANNER_RELIEVE:
    case PLANNER_DRAIN:
    case PLANNER_ENFORCE:
    case PLANNER_MOVES:
    case PLANNER_RESTART:
        w.move = 1000;
        w.move_gib = 100;
        break;
    }
    return w;
}

struct planner_weights lower_weights(const struct planner_problem *p)
{
    static const struct planner_weights none;
    return memcmp(&p->weights, &none, sizeof none) == 0 ? lower_default_weights(p->mode)
                                                        : p->weights;
}

/* ---- of hosts ---- */

static bool counts_for_balance(const struct model_host *h)
{
    return h->state == HOST_UP && h->implausible == NULL;
}

/* 100 % is a standard deviation of one half, the largest there can be; cpu and memory half each: so
 * 0.1 % of imbalance is a deviation of 0.001 in one of them. */
static void set_evenness(struct lower *l, int64_t weight)
{
    struct instance *in = &l->in;
    if (weight == 0)
        return;
    const int resources[2] = {LOWER_CPU, LOWER_MEMORY};
    for (int i = 0; i < 2; i++) {
        int64_t *base = arena_array(&l->arena, (size_t)in->n_hosts, sizeof *base);
        for (int h = 0; h < in->n_hosts; h++) {
            const struct model_host *host = &l->m->hosts[h];
            if (counts_for_balance(host))
                base[h] = i == 0 ? known_or_zero(host->cores)
                                 : in->capacity[(size_t)h * (size_t)in->n_resources + LOWER_MEMORY];
        }
        in->even[in->n_even++] =
            (struct inst_even){.resource = resources[i], .base = base, .weight = weight * 1000};
    }
}

/* Memory that free vCPUs lack of what all hosts have of it for each: vCPUs that no VM can use. */
static void set_ratio(struct lower *l, int64_t weight)
{
    struct instance *in = &l->in;
    int64_t memory = 0, vcpus = 0;
    for (int h = 0; h < in->n_hosts; h++) {
        if (!counts_for_balance(&l->m->hosts[h]))
            continue;
        memory = sat_add(memory, in->capacity[(size_t)h * (size_t)in->n_resources + LOWER_MEMORY]);
        vcpus = sat_add(vcpus, in->capacity[(size_t)h * (size_t)in->n_resources + LOWER_VCPUS]);
    }
    if (weight == 0 || vcpus <= 0 || memory <= 0)
        return;
    in->balances = arena_alloc(&l->arena, sizeof *in->balances);
    in->balances[in->n_balances++] = (struct inst_balance){
        .r1 = LOWER_VCPUS, .r2 = LOWER_MEMORY, .target = memory / vcpus, .weight = weight};
}

int64_t lower_host_worth(const struct lower *l, int host)
{
    const struct model_host *h = &l->m->hosts[host];
    milli watts = host_watts_at(h, 0);
    if (watts == QUANTITY_UNKNOWN)
        watts = known_or_zero(h->watts);
    return sat_add(l->weights.host_used, sat_mul(l->weights.watt, watts / 1000));
}

/* Packing weighs by itself which hosts are worth being emptied. */
static void set_open_costs(struct lower *l)
{
    struct instance *in = &l->in;
    if (l->p->mode == PLANNER_CONSOLIDATE || (l->weights.host_used == 0 && l->weights.watt == 0))
        return;
    in->open_cost = arena_array(&l->arena, (size_t)in->n_hosts, sizeof *in->open_cost);
    for (int h = 0; h < in->n_hosts; h++)
        in->open_cost[h] = lower_host_worth(l, h);
}

/* ---- of moves ---- */

static void set_move_costs(struct lower *l, const struct planner_weights *w)
{
    for (int v = 0; v < l->in.n_vms; v++) {
        const struct model_vm *vm = &l->m->vms[v];
        l->in.move_cost[v] =
            sat_add(w->move, sat_mul(w->move_gib, known_or_zero(vm->memory_mib)) / 1024);
    }
}

struct owned {
    const char *owner; /* NULL: nobody's */
    int vm;
};

static int by_owner(const void *a, const void *b)
{
    const struct owned *x = a, *y = b;
    int c = strcmp(x->owner != NULL ? x->owner : "", y->owner != NULL ? y->owner : "");
    return c != 0 ? c : x->vm - y->vm;
}

/* VMs of one owner count together, one that is nobody's for itself. */
static void set_owners(struct lower *l, int64_t weight)
{
    struct instance *in = &l->in;
    if (weight == 0 || in->n_vms == 0)
        return;
    _cleanup_(freep) struct owned *list = xcalloc((size_t)in->n_vms, sizeof *list);
    for (int v = 0; v < in->n_vms; v++)
        list[v] = (struct owned){l->m->vms[v].owner, v};
    qsort(list, (size_t)in->n_vms, sizeof *list, by_owner);
    in->service = arena_array(&l->arena, (size_t)in->n_vms, sizeof *in->service);
    for (int i = 0; i < in->n_vms; i++) {
        bool same = i > 0 && list[i].owner != NULL && list[i - 1].owner != NULL &&
                    strcmp(list[i].owner, list[i - 1].owner) == 0;
        in->n_services += !same;
        in->service[list[i].vm] = in->n_services - 1;
    }
    in->service_weight = weight;
}

static int depth(const char *domain)
{
    int n = *domain != '\0';
    for (const char *p = domain; (p = strchr(p, '/')) != NULL; p++)
        n++;
    return n;
}

/* Components of the failure domains that two hosts do not share; of a host whose domain nobody
 * knows, as many as there are at most. */
static int64_t levels_apart(const struct lower *l, int from, int to)
{
    const char *a = l->m->hosts[from].failure_domain, *b = l->m->hosts[to].failure_domain;
    if (a == NULL || b == NULL)
        return l->deepest;
    int shared = 0;
    const char *p = a, *q = b;
    for (;;) {
        size_t n = strcspn(p, "/"), k = strcspn(q, "/");
        if (n == 0 || n != k || strncmp(p, q, n) != 0)
            break;
        shared++;
        if (p[n] == '\0' || q[n] == '\0')
            break;
        p += n + 1;
        q += n + 1;
    }
    return MAX(depth(a), depth(b)) - shared;
}

static void find_deepest(struct lower *l)
{
    for (int h = 0; h < l->m->n_hosts; h++)
        if (l->m->hosts[h].failure_domain != NULL)
            l->deepest = MAX(l->deepest, depth(l->m->hosts[h].failure_domain));
}

static int64_t wishes(const struct lower *l, int vm, int host)
{
    int64_t n = 0;
    for (int i = l->wish_rule_first[vm]; i < l->wish_rule_first[vm + 1]; i++) {
        const struct model_rule *r = &l->m->rules[l->wish_rule[i]];
        bool unmet = r->type == RULE_KEEP ? host != l->m->vms[vm].home
                                          : lower_rule_forbids(l, l->wish_rule[i], host);
        n += unmet ? r->weight : 0;
    }
    return n;
}

static int64_t pair_cost(void *ctx, int vm, int host)
{
    struct lower *l = ctx;
    const struct planner_weights *w = &l->weights;
    int home = l->m->vms[vm].host;
    int64_t cost = w->distance != 0 ? w->distance * levels_apart(l, home, host) : 0;
    if (l->wish_rule_first[vm] < l->wish_rule_first[vm + 1])
        cost += w->soft_rule * (wishes(l, vm, host) - wishes(l, vm, home)) / 1000;
    const struct planner_verdict *v = w->score != 0 ? lower_judge(l, vm, host) : NULL;
    if (v != NULL)
        cost += w->score * (100000 - MIN(MAX(v->score, 0), 100000)) / 1000;
    return cost;
}

void lower_terms(struct lower *l, const struct planner_weights *w)
{
    l->weights = *w;
    set_evenness(l, w->imbalance);
    set_ratio(l, w->ratio);
    set_open_costs(l);
    set_move_costs(l, w);
    set_owners(l, w->owner_moves);
    find_deepest(l);
    l->in.pair_cost = pair_cost;
    l->in.pair_ctx = l;
}
