#include "planner/core/state.h"

#include <math.h>
#include <string.h>

#include "planner/core/state_parts.h"
#include "proto/units.h"
#include "proto/util.h"

int64_t state_count(const struct state *s, int set, int domain)
{
    return counts_get(&s->counts[set], domain);
}

/* ---- costs ---- */

/* The change of one evenness term when `amount` goes from one host to another. */
static int64_t even_delta(const struct state *s, int i, int64_t amount, int from, int to,
                          struct state_even *ret)
{
    const struct inst_even *e = &s->in->even[i];
    const struct state_even *now = &s->even[i];
    size_t r = (size_t)e->resource, n_res = (size_t)s->in->n_resources;
    *ret = *now;
    const int hosts[2] = {from, to};
    for (int k = 0; k < 2; k++) {
        if (e->base[hosts[k]] <= 0)
            continue;
        int64_t use = s->use[(size_t)hosts[k] * n_res + r];
        int64_t x = share(use, e->base[hosts[k]]);
        int64_t y = share(k == 0 ? use - amount : use + amount, e->base[hosts[k]]);
        ret->sum += y - x;
        ret->squares += (__int128)y * y - (__int128)x * x;
    }
    cost_even(e, ret);
    return ret->cost - now->cost;
}

/* The same in floating point, for judging only: what is made is counted exactly. */
static int64_t even_estimate(const struct state *s, int i, int64_t amount, int from, int to)
{
    const struct inst_even *e = &s->in->even[i];
    const struct state_even *now = &s->even[i];
    size_t r = (size_t)e->resource, n_res = (size_t)s->in->n_resources;
    double sum = (double)now->sum, squares = (double)now->squares, n = now->n, d = (double)amount;
    if (amount == 0 || n == 0)
        return 0;
    if (e->base[from] > 0) {
        double unit = SHARE_UNIT / (double)e->base[from];
        double x = (double)s->use[(size_t)from * n_res + r] * unit, dx = d * unit;
        sum -= dx;
        squares += dx * (dx - 2 * x);
    }
    if (e->base[to] > 0) {
        double unit = SHARE_UNIT / (double)e->base[to];
        double x = (double)s->use[(size_t)to * n_res + r] * unit, dx = d * unit;
        sum += dx;
        squares += dx * (dx + 2 * x);
    }
    double variance = squares * n - sum * sum;
    double after = variance > 0 ? sqrt(variance) / (SHARE_UNIT * n) : 0;
    return (int64_t)(after * (double)e->weight) - now->cost;
}

/* ---- rules ---- */

static int64_t rule_delta(const struct state *s, int rule, bool as_other, int da, int db)
{
    const struct inst_rule *r = &s->in->rules[rule];
    const struct state_counts *c = &s->counts[r->set];
    switch (r->kind) {
    case INST_APART:
        return (counts_get(c, db) >= 1) - (counts_get(c, da) >= 2);
    case INST_SPREAD: {
        int after = c->distinct + (counts_get(c, db) == 0) - (counts_get(c, da) == 1);
        int64_t lack_now = r->minimum - c->distinct, lack = r->minimum - after;
        return MAX(lack, 0) - MAX(lack_now, 0);
    }
    case INST_BESIDE: {
        const struct state_counts *o = &s->counts[r->other];
        if (!as_other)
            return (counts_get(o, db) == 0) - (counts_get(o, da) == 0);
        return (counts_get(o, da) == 1 ? counts_get(c, da) : 0) -
               (counts_get(o, db) == 0 ? counts_get(c, db) : 0);
    }
    case INST_TOGETHER: {
        const struct inst_set *set = &s->in->sets[r->set];
        const int *domain = s->in->domain[set->scope];
        int64_t most = 0, present = 0;
        for (int i = 0; i < set->n; i++) {
            if (s->at[set->members[i]] < 0)
                continue;
            present++;
            int d = domain[s->at[set->members[i]]];
            int64_t n = counts_get(c, d) - (d == da) + (d == db);
            most = MAX(most, n);
        }
        most = MAX(most, counts_get(c, db) + 1);
        return (present - most) - s->violations[rule];
    }
    case INST_ALONE: {
        int ca = counts_get(c, da), cb = counts_get(c, db);
        int64_t leaves = ca == 1 ? s->n_on[da] - 1 : 0;
        int64_t joins = cb == 0 ? s->n_on[db] : 0;
        return joins - leaves;
    }
    }
    return 0;
}

/* What a stranger's move changes for rules that want hosts for themselves. */
static int64_t stranger_delta(const struct state *s, int rule, int from, int to)
{
    const struct state_counts *c = &s->counts[s->in->rules[rule].set];
    return (counts_get(c, to) > 0) - (counts_get(c, from) > 0);
}

/* While a move runs the VM is at both ends: what it adds where it comes is not made good by what it
 * leaves. Only rules that must hold on both ends ask this. */
static int64_t arrival_delta(const struct state *s, int rule, int db)
{
    const struct inst_rule *r = &s->in->rules[rule];
    const struct state_counts *c = &s->counts[r->set];
    if (r->kind == INST_APART)
        return counts_get(c, db) >= 1;
    if (r->kind == INST_ALONE)
        return counts_get(c, db) == 0 ? s->n_on[db] : 0;
    return 0;
}

/* One of several leaves for a domain where none of the set is: whoever counts domains, rather than
 * those outside the largest part, finds that worse. */
static bool scatters(const struct state *s, int rule, int da, int db)
{
    const struct inst_rule *r = &s->in->rules[rule];
    const struct state_counts *c = &s->counts[r->set];
    return r->kind == INST_TOGETHER && counts_get(c, db) == 0 && counts_get(c, da) > 1;
}

static bool gets_worse(const struct state *s, int rule, int64_t d)
{
    return d > 0 && s->violations[rule] + d > s->violations_before[rule];
}

/* Calls that need every rule a move changes share this loop: the soft cost's change is returned;
 * the first hard rule made worse goes to *ret_broken (-1: none), and ends the loop where stop is
 * set. */
static int64_t rules_delta(const struct state *s, int vm, int to, bool stop, int *ret_broken)
{
    const struct instance *in = s->in;
    int from = s->at[vm];
    int64_t soft = 0;
    *ret_broken = -1;
    for (int i = s->vm_set_first[vm]; i < s->vm_set_first[vm + 1]; i++) {
        int set = s->vm_set[i];
        const int *domain = in->domain[in->sets[set].scope];
        int da = domain[from], db = domain[to];
        if (da == db)
            continue;
        for (int k = s->set_rule_first[set]; k < s->set_rule_first[set + 1]; k++) {
            int rule = s->set_rule[k] < 0 ? ~s->set_rule[k] : s->set_rule[k];
            int64_t d = rule_delta(s, rule, s->set_rule[k] < 0, da, db);
            if (!in->rules[rule].hard)
                soft += d * in->rules[rule].weight;
            else if (gets_worse(s, rule, d) || gets_worse(s, rule, arrival_delta(s, rule, db)) ||
                     scatters(s, rule, da, db)) {
                *ret_broken = *ret_broken < 0 ? rule : *ret_broken;
                if (stop)
                    return soft;
            }
        }
    }
    if (s->n_alone_rules == 0 || (s->alone_on[from] == 0 && s->alone_on[to] == 0))
        return soft;
    for (int k = 0; k < s->n_alone_rules; k++) {
        int rule = s->alone_rules[k];
        if (in_set(s, vm, in->rules[rule].set))
            continue;
        int64_t d = stranger_delta(s, rule, from, to);
        if (!in->rules[rule].hard)
            soft += d * in->rules[rule].weight;
        else if (*ret_broken < 0 &&
                 gets_worse(s, rule, counts_get(&s->counts[in->rules[rule].set], to) > 0))
            *ret_broken = rule;
    }
    return soft;
}

int state_broken_rule(const struct state *s, int vm, int host)
{
    int broken;
    rules_delta(s, vm, host, true, &broken);
    return broken;
}

/* The destination's violations with several VMs come and none gone, less those it has. */
static int64_t joint_arrival(const struct state *s, int rule, const int *vms, int n, int to)
{
    const struct inst_rule *r = &s->in->rules[rule];
    const int *domain = s->in->domain[s->in->sets[r->set].scope];
    int64_t there = counts_get(&s->counts[r->set], domain[to]), members = 0, others = 0;
    for (int i = 0; i < n; i++) {
        if (domain[s->at[vms[i]]] == domain[to])
            continue;
        if (in_set(s, vms[i], r->set))
            members++;
        else
            others++;
    }
    if (r->kind == INST_APART)
        return MAX(there + members - 1, 0) - MAX(there - 1, 0);
    int64_t strangers = s->n_on[to] - there;
    return (there + members > 0 ? strangers + others : 0) - (there > 0 ? strangers : 0);
}

int state_broken_during(const struct state *s, const int *vms, int n, int to)
{
    for (int i = 0; i < s->in->n_rules; i++) {
        const struct inst_rule *r = &s->in->rules[i];
        if (r->hard && (r->kind == INST_APART || r->kind == INST_ALONE) &&
            gets_worse(s, i, joint_arrival(s, i, vms, n, to)))
            return i;
    }
    return -1;
}

/* ---- judging a move ---- */

bool state_has_room(const struct state *s, int vm, int host, int *ret_resource)
{
    const struct instance *in = s->in;
    size_t n = (size_t)in->n_resources, base = (size_t)host * n;
    const int64_t *demand = &in->demand[(size_t)vm * n];
    bool home = in->initial[vm] == host;
    for (size_t r = 0; r < n; r++) {
        if (demand[r] == 0 || (home && in->resource[r].transient))
            continue;
        if (s->use[base + r] + s->held[base + r] + demand[r] > in->capacity[base + r]) {
            if (ret_resource != NULL)
                *ret_resource = (int)r;
            return false;
        }
    }
    return true;
}

bool state_host_fits(const struct state *s, int host)
{
    const struct instance *in = s->in;
    size_t n = (size_t)in->n_resources, base = (size_t)host * n;
    for (size_t r = 0; r < n; r++)
        if (s->use[base + r] + s->held[base + r] > in->capacity[base + r])
            return false;
    return true;
}

/* Everything but evenness. */
static int64_t plain_delta(const struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    int from = s->at[vm];
    size_t n = (size_t)in->n_resources;
    const int64_t *demand = &in->demand[(size_t)vm * n];
    const int64_t *ua = &s->use[(size_t)from * n], *ub = &s->use[(size_t)host * n];
    int64_t a[INSTANCE_RESOURCES_MAX], b[INSTANCE_RESOURCES_MAX];
    for (size_t r = 0; r < n; r++) {
        a[r] = ua[r] - demand[r];
        b[r] = ub[r] + demand[r];
    }
    int64_t delta = cost_of_host(in, from, a, s->n_on[from] - 1) +
                    cost_of_host(in, host, b, s->n_on[host] + 1) - s->host_cost[from] -
                    s->host_cost[host];
    return delta + state_travel_delta(s, vm, host);
}

int64_t state_cost_delta(struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    const int64_t *demand = &in->demand[(size_t)vm * (size_t)in->n_resources];
    s->evaluations++;
    int64_t delta = plain_delta(s, vm, host);
    for (int i = 0; i < in->n_even; i++)
        delta += even_estimate(s, i, demand[in->even[i].resource], s->at[vm], host);
    return delta;
}

int64_t state_even_delta(const struct state *s, int v, int host, int w)
{
    const struct instance *in = s->in;
    size_t n = (size_t)in->n_resources;
    int64_t delta = 0;
    for (int i = 0; i < in->n_even; i++) {
        size_t r = (size_t)in->even[i].resource;
        int64_t back = w >= 0 ? in->demand[(size_t)w * n + r] : 0;
        delta += even_estimate(s, i, in->demand[(size_t)v * n + r] - back, s->at[v], host);
    }
    return delta;
}

int64_t state_soft_delta(const struct state *s, int vm, int host)
{
    int broken;
    return rules_delta(s, vm, host, false, &broken);
}

/* What a VM's coming takes, or its going gives, of one resource on a host: nothing where it holds
 * it there all the time. */
static inline int64_t change_on(const struct instance *in, int vm, int host, size_t r)
{
    bool stays = in->resource[r].transient && in->initial[vm] == host;
    return stays ? 0 : in->demand[(size_t)vm * (size_t)in->n_resources + r];
}

bool state_swap_fits(const struct state *s, int v, int w)
{
    const struct instance *in = s->in;
    size_t n = (size_t)in->n_resources;
    int a = s->at[v], b = s->at[w];
    size_t at_a = (size_t)a * n, at_b = (size_t)b * n;
    for (size_t r = 0; r < n; r++) {
        int64_t more_a = change_on(in, w, a, r) - change_on(in, v, a, r);
        int64_t more_b = change_on(in, v, b, r) - change_on(in, w, b, r);
        if ((more_a > 0 &&
             s->use[at_a + r] + s->held[at_a + r] + more_a > in->capacity[at_a + r]) ||
            (more_b > 0 && s->use[at_b + r] + s->held[at_b + r] + more_b > in->capacity[at_b + r]))
            return false;
    }
    return true;
}

int64_t state_swap_delta(struct state *s, int v, int w)
{
    const struct instance *in = s->in;
    int from = s->at[v], to = s->at[w];
    size_t n = (size_t)in->n_resources;
    const int64_t *dv = &in->demand[(size_t)v * n], *dw = &in->demand[(size_t)w * n];
    const int64_t *ua = &s->use[(size_t)from * n], *ub = &s->use[(size_t)to * n];
    int64_t a[INSTANCE_RESOURCES_MAX], b[INSTANCE_RESOURCES_MAX];
    for (size_t r = 0; r < n; r++) {
        a[r] = ua[r] - dv[r] + dw[r];
        b[r] = ub[r] + dv[r] - dw[r];
    }
    s->evaluations++;
    int64_t delta = cost_of_host(in, from, a, s->n_on[from]) +
                    cost_of_host(in, to, b, s->n_on[to]) - s->host_cost[from] - s->host_cost[to];
    delta += state_travel_delta(s, v, to) + state_travel_delta(s, w, from);
    for (int i = 0; i < in->n_even; i++) {
        int r = in->even[i].resource;
        delta += even_estimate(s, i, dv[r] - dw[r], from, to);
    }
    return delta;
}

bool state_share_set(const struct state *s, int v, int w)
{
    for (int i = s->vm_set_first[v]; i < s->vm_set_first[v + 1]; i++)
        if (in_set(s, w, s->vm_set[i]))
            return true;
    return false;
}

int64_t state_delta(struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    if ((in->closed != NULL && in->closed[host] && host != in->initial[vm]) ||
        !state_has_room(s, vm, host, NULL))
        return STATE_INFEASIBLE;
    int broken;
    int64_t soft = rules_delta(s, vm, host, true, &broken);
    if (broken >= 0)
        return STATE_INFEASIBLE;
    if (in->allowed != NULL && host != in->initial[vm] && !in->allowed(in->allowed_ctx, vm, host))
        return STATE_INFEASIBLE;
    return state_cost_delta(s, vm, host) + soft;
}

/* ---- making it ---- */

/* One move's effect on every rule, the counts being those before it. */
static void move_rules(struct state *s, int vm, int to)
{
    const struct instance *in = s->in;
    int from = s->at[vm];
    for (int k = 0; k < s->n_alone_rules; k++)
        if (!in_set(s, vm, in->rules[s->alone_rules[k]].set))
            add_violations(s, s->alone_rules[k], stranger_delta(s, s->alone_rules[k], from, to));
    for (int i = s->vm_set_first[vm]; i < s->vm_set_first[vm + 1]; i++) {
        int set = s->vm_set[i];
        const int *domain = in->domain[in->sets[set].scope];
        int da = domain[from], db = domain[to];
        if (da == db)
            continue;
        for (int k = s->set_rule_first[set]; k < s->set_rule_first[set + 1]; k++) {
            int rule = s->set_rule[k] < 0 ? ~s->set_rule[k] : s->set_rule[k];
            add_violations(s, rule, rule_delta(s, rule, s->set_rule[k] < 0, da, db));
        }
        struct state_counts *c = &s->counts[set];
        int32_t *slot = counts_slot(c, da);
        c->distinct -= --*slot == 0;
        slot = counts_slot(c, db);
        c->distinct += ++*slot == 1;
    }
    for (int k = 0; k < s->n_alone_rules; k++) {
        int set = in->rules[s->alone_rules[k]].set;
        if (!in_set(s, vm, set))
            continue;
        s->alone_on[from] -= counts_get(&s->counts[set], from) == 0;
        s->alone_on[to] += counts_get(&s->counts[set], to) == 1;
    }
}

static void move_service(struct state *s, int vm, int to)
{
    const struct instance *in = s->in;
    int change = (to != in->initial[vm]) - (s->at[vm] != in->initial[vm]);
    s->n_moved += change;
    if (change == 0 || in->service == NULL)
        return;
    int service = in->service[vm];
    s->moves_histogram[s->service_moves[service]]--;
    s->service_moves[service] += change;
    s->moves_histogram[s->service_moves[service]]++;
    if (s->service_moves[service] > s->most_moves)
        s->most_moves = s->service_moves[service];
    while (s->most_moves > 0 && s->moves_histogram[s->most_moves] == 0)
        s->most_moves--;
}

static void move_use(struct state *s, int vm, int to)
{
    const struct instance *in = s->in;
    int from = s->at[vm], home = in->initial[vm];
    size_t n = (size_t)in->n_resources;
    const int64_t *demand = &in->demand[(size_t)vm * n];
    for (size_t r = 0; r < n; r++) {
        s->use[(size_t)from * n + r] -= demand[r];
        s->use[(size_t)to * n + r] += demand[r];
        if (!in->resource[r].transient)
            continue;
        if (from == home)
            s->held[(size_t)home * n + r] += demand[r];
        if (to == home)
            s->held[(size_t)home * n + r] -= demand[r];
    }
    s->n_on[from]--;
    s->n_on[to]++;
    const int hosts[2] = {from, to};
    for (int k = 0; k < 2; k++) {
        s->cost -= s->host_cost[hosts[k]];
        s->host_cost[hosts[k]] =
            cost_of_host(in, hosts[k], &s->use[(size_t)hosts[k] * n], s->n_on[hosts[k]]);
        s->cost += s->host_cost[hosts[k]];
    }
}

void state_move(struct state *s, int vm, int host)
{
    const struct instance *in = s->in;
    if (s->at[vm] == host)
        return;
    const int64_t *demand = &in->demand[(size_t)vm * (size_t)in->n_resources];
    s->cost += state_travel_delta(s, vm, host);
    for (int i = 0; i < in->n_even; i++) {
        struct state_even after;
        s->cost += even_delta(s, i, demand[in->even[i].resource], s->at[vm], host, &after);
        s->even[i] = after;
    }
    move_rules(s, vm, host);
    move_service(s, vm, host);
    move_use(s, vm, host);
    s->at[vm] = host;
}

void state_ratchet(struct state *s)
{
    memcpy(s->violations_before, s->violations, (size_t)s->in->n_rules * sizeof(int64_t));
    s->n_worse = 0;
}

void state_assign(struct state *s, const int *at)
{
    for (int v = 0; v < s->in->n_vms; v++)
        if (at[v] >= 0 && at[v] != s->at[v])
            state_move(s, v, at[v]);
}
