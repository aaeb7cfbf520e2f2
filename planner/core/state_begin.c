/* state_begin.c - an assignment counted as a whole, or anew around one VM; state.c keeps the counts
 * as VMs move. */
#include "planner/core/state_parts.h"

#include <string.h>

static void counts_init(struct state_counts *c, int members, int domains)
{
    uint32_t size = 4;
    while (size < 2 * (uint32_t)members)
        size *= 2;
    if (size >= (uint32_t)domains) {
        c->counts = xcalloc((size_t)domains + 1, sizeof *c->counts);
        return;
    }
    c->mask = size - 1;
    c->counts = xcalloc(size, sizeof *c->counts);
    c->keys = xmalloc(size * sizeof *c->keys);
    memset(c->keys, 0xff, size * sizeof *c->keys);
}

static void index_sets(struct state *s)
{
    const struct instance *in = s->in;
    s->vm_set_first = xcalloc((size_t)in->n_vms + 2, sizeof(int));
    for (int i = 0; i < in->n_sets; i++)
        for (int k = 0; k < in->sets[i].n; k++)
            s->vm_set_first[in->sets[i].members[k] + 1]++;
    for (int v = 0; v < in->n_vms; v++)
        s->vm_set_first[v + 1] += s->vm_set_first[v];
    s->vm_set = xcalloc((size_t)s->vm_set_first[in->n_vms] + 1, sizeof(int));
    _cleanup_(freep) int *fill = xmemdup(s->vm_set_first, ((size_t)in->n_vms + 1) * sizeof(int));
    for (int i = 0; i < in->n_sets; i++)
        for (int k = 0; k < in->sets[i].n; k++)
            s->vm_set[fill[in->sets[i].members[k]]++] = i;
}

static void index_rules(struct state *s)
{
    const struct instance *in = s->in;
    s->set_rule_first = xcalloc((size_t)in->n_sets + 2, sizeof(int));
    for (int i = 0; i < in->n_rules; i++) {
        s->set_rule_first[in->rules[i].set + 1]++;
        if (in->rules[i].kind == INST_BESIDE)
            s->set_rule_first[in->rules[i].other + 1]++;
    }
    for (int i = 0; i < in->n_sets; i++)
        s->set_rule_first[i + 1] += s->set_rule_first[i];
    s->set_rule = xcalloc((size_t)s->set_rule_first[in->n_sets] + 1, sizeof(int));
    s->alone_rules = xcalloc((size_t)in->n_rules + 1, sizeof(int));
    _cleanup_(freep) int *fill = xmemdup(s->set_rule_first, ((size_t)in->n_sets + 1) * sizeof(int));
    for (int i = 0; i < in->n_rules; i++) {
        s->set_rule[fill[in->rules[i].set]++] = i;
        if (in->rules[i].kind == INST_BESIDE)
            s->set_rule[fill[in->rules[i].other]++] = ~i;
        s->has_soft = s->has_soft || !in->rules[i].hard;
        if (in->rules[i].kind == INST_ALONE)
            s->alone_rules[s->n_alone_rules++] = i;
    }
}

static void count_sets(struct state *s)
{
    const struct instance *in = s->in;
    s->counts = xcalloc((size_t)in->n_sets + 1, sizeof *s->counts);
    for (int i = 0; i < in->n_sets; i++) {
        const struct inst_set *set = &in->sets[i];
        struct state_counts *c = &s->counts[i];
        counts_init(c, set->n, in->n_domains[set->scope]);
        for (int k = 0; k < set->n; k++) {
            int at = s->at[set->members[k]];
            if (at >= 0) {
                int32_t *slot = counts_slot(c, in->domain[set->scope][at]);
                c->distinct += ++*slot == 1;
            }
        }
    }
}

static int64_t count_rule(const struct state *s, const struct inst_rule *r)
{
    const struct instance *in = s->in;
    const struct inst_set *set = &in->sets[r->set];
    const struct state_counts *c = &s->counts[r->set];
    const int *domain = in->domain[set->scope];
    int64_t present = 0, most = 0, without = 0, strangers = 0;
    for (int k = 0; k < set->n; k++) {
        int at = s->at[set->members[k]];
        if (at < 0)
            continue;
        present++;
        most = MAX(most, counts_get(c, domain[at]));
        if (r->kind == INST_BESIDE)
            without += counts_get(&s->counts[r->other], domain[at]) == 0;
        bool first = true; /* of the set on its host, so that each host counts once */
        for (int j = 0; j < k && first; j++)
            first = s->at[set->members[j]] != at;
        if (r->kind == INST_ALONE && first)
            strangers += s->n_on[at] - counts_get(c, at);
    }
    switch (r->kind) {
    case INST_APART:
        return present - c->distinct;
    case INST_TOGETHER:
        return present - most;
    case INST_SPREAD:
        return MAX(r->minimum - c->distinct, 0);
    case INST_BESIDE:
        return without;
    case INST_ALONE:
        return strangers;
    }
    return 0;
}

static void count_rules(struct state *s)
{
    const struct instance *in = s->in;
    s->violations = xcalloc((size_t)in->n_rules + 1, sizeof *s->violations);
    s->alone_on = xcalloc((size_t)in->n_hosts + 1, sizeof *s->alone_on);
    for (int i = 0; i < in->n_rules; i++) {
        const struct inst_rule *r = &in->rules[i];
        s->violations[i] = count_rule(s, r);
        if (r->hard)
            s->hard_violations += s->violations[i];
        else
            s->cost += s->violations[i] * r->weight;
        if (r->kind != INST_ALONE)
            continue;
        for (int h = 0; h < in->n_hosts; h++)
            s->alone_on[h] += counts_get(&s->counts[r->set], h) > 0;
    }
    s->violations_before = xmemdup(s->violations, ((size_t)in->n_rules + 1) * sizeof(int64_t));
}

static void count_use(struct state *s)
{
    const struct instance *in = s->in;
    size_t n = (size_t)in->n_resources, hosts = (size_t)in->n_hosts;
    s->use = xcalloc(hosts * n + 1, sizeof *s->use);
    s->held = xcalloc(hosts * n + 1, sizeof *s->held);
    s->n_on = xcalloc(hosts + 1, sizeof *s->n_on);
    s->host_cost = xcalloc(hosts + 1, sizeof *s->host_cost);
    for (int v = 0; v < in->n_vms; v++) {
        if (s->at[v] < 0)
            continue;
        s->n_on[s->at[v]]++;
        for (size_t r = 0; r < n; r++)
            s->use[(size_t)s->at[v] * n + r] += in->demand[(size_t)v * n + r];
    }
    for (int h = 0; h < in->n_hosts; h++) {
        s->host_cost[h] = cost_of_host(in, h, &s->use[(size_t)h * n], s->n_on[h]);
        s->cost += s->host_cost[h];
    }
}

static void count_even(struct state *s)
{
    const struct instance *in = s->in;
    for (int i = 0; i < in->n_even; i++) {
        const struct inst_even *e = &in->even[i];
        struct state_even *x = &s->even[i];
        for (int h = 0; h < in->n_hosts; h++) {
            if (e->base[h] <= 0)
                continue;
            int64_t p = share(s->use[(size_t)h * (size_t)in->n_resources + (size_t)e->resource],
                              e->base[h]);
            x->n++;
            x->sum += p;
            x->squares += (__int128)p * p;
        }
        cost_even(e, x);
        s->cost += x->cost;
    }
}

static void recount_rule(struct state *s, int rule)
{
    add_violations(s, rule, count_rule(s, &s->in->rules[rule]) - s->violations[rule]);
}

/* Rules whose count the VM's being there changes: those of its sets, and all that want hosts for
 * themselves. */
static void recount_rules(struct state *s, int vm)
{
    for (int i = s->vm_set_first[vm]; i < s->vm_set_first[vm + 1]; i++)
        for (int set = s->vm_set[i], k = s->set_rule_first[set]; k < s->set_rule_first[set + 1];
             k++)
            recount_rule(s, s->set_rule[k] < 0 ? ~s->set_rule[k] : s->set_rule[k]);
    for (int k = 0; k < s->n_alone_rules; k++)
        recount_rule(s, s->alone_rules[k]);
}

/* Evenness once the host's use has become what it is from `before`. */
static void even_host(struct state *s, int host, size_t resource, int64_t before)
{
    const struct instance *in = s->in;
    for (int i = 0; i < in->n_even; i++) {
        const struct inst_even *e = &in->even[i];
        struct state_even *even = &s->even[i];
        if ((size_t)e->resource != resource || e->base[host] <= 0)
            continue;
        size_t at = (size_t)host * (size_t)in->n_resources + resource;
        int64_t x = share(before, e->base[host]), y = share(s->use[at], e->base[host]);
        even->sum += y - x;
        even->squares += (__int128)y * y - (__int128)x * x;
        s->cost -= even->cost;
        cost_even(e, even);
        s->cost += even->cost;
    }
}

static void count_in_sets(struct state *s, int vm, int host, int by)
{
    const struct instance *in = s->in;
    for (int i = s->vm_set_first[vm]; i < s->vm_set_first[vm + 1]; i++) {
        struct state_counts *c = &s->counts[s->vm_set[i]];
        int32_t *slot = counts_slot(c, in->domain[in->sets[s->vm_set[i]].scope][host]);
        c->distinct += by > 0 && *slot == 0;
        *slot += by;
        c->distinct -= by < 0 && *slot == 0;
    }
    for (int k = 0; k < s->n_alone_rules; k++) {
        int set = in->rules[s->alone_rules[k]].set;
        int32_t n = counts_get(&s->counts[set], host);
        if (in_set(s, vm, set))
            s->alone_on[host] += by > 0 ? n == 1 : -(n == 0);
    }
}

void state_put(struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    int there = host >= 0 ? host : s->at[vm], by = host >= 0 ? 1 : -1;
    size_t n = (size_t)in->n_resources;
    REQUIRE((host >= 0) != (s->at[vm] >= 0));
    s->at[vm] = host;
    s->n_on[there] += by;
    s->cost -= s->host_cost[there];
    for (size_t r = 0; r < n; r++) {
        int64_t before = s->use[(size_t)there * n + r];
        s->use[(size_t)there * n + r] += by * in->demand[(size_t)vm * n + r];
        even_host(s, there, r, before);
    }
    s->host_cost[there] = cost_of_host(in, there, &s->use[(size_t)there * n], s->n_on[there]);
    s->cost += s->host_cost[there];
    count_in_sets(s, vm, there, by);
    recount_rules(s, vm);
}

static void count_services(struct state *s)
{
    const struct instance *in = s->in;
    if (in->service == NULL)
        return;
    s->service_moves = xcalloc((size_t)in->n_services + 1, sizeof(int));
    s->moves_histogram = xcalloc((size_t)in->n_vms + 2, sizeof(int));
    s->moves_histogram[0] = in->n_services;
}

struct state *search_state_new(const struct instance *in)
{
    struct state *s = xcalloc(1, sizeof *s);
    s->in = in;
    s->at = xmemdup(in->initial, (size_t)MAX(in->n_vms, 1) * sizeof *s->at);
    index_sets(s);
    index_rules(s);
    count_use(s);
    count_sets(s);
    count_rules(s);
    count_even(s);
    count_services(s);
    return s;
}

struct state *state_copy(const struct state *s)
{
    struct state *copy = search_state_new(s->in);
    state_assign(copy, s->at);
    memcpy(copy->violations_before, s->violations_before, (size_t)s->in->n_rules * sizeof(int64_t));
    copy->n_worse = s->n_worse;
    return copy;
}

void search_state_free(struct state *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->in->n_sets; i++) {
        free(s->counts[i].keys);
        free(s->counts[i].counts);
    }
    void *const owned[] = {s->at,
                           s->use,
                           s->held,
                           s->n_on,
                           s->host_cost,
                           s->service_moves,
                           s->moves_histogram,
                           s->counts,
                           s->violations,
                           s->violations_before,
                           s->alone_on,
                           s->vm_set_first,
                           s->vm_set,
                           s->set_rule_first,
                           s->set_rule,
                           s->alone_rules,
                           s};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}
