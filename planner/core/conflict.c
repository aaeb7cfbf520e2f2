/* The rules that reach vm through shared VMs are taken together; whether some of them can be kept
 * is found by trying: one VM after another is given a host, and taken back where a rule breaks.
 * What is infeasible is made smaller by leaving rules out, and by looking for pairs and triples. */
#include "planner/core/conflict.h"

#include <string.h>

#include "proto/util.h"

#define VMS_MAX 24
#define HOSTS_MAX 96
/* Placements tried: of one set of rules, and of one run of the planner in all. */
#define TRIES 20000
#define TRIES_IN_ALL 4000000
/* Sets of two and three rules are looked at among so many. */
#define SMALL_MAX 14

struct conflict {
    struct lower *l;
    const struct state *s;
    int rules[CONFLICT_RULES_MAX], n_rules; /* of the model */
    int counted[CONFLICT_RULES_MAX];        /* the same in the instance, or -1: about hosts only */
    int vms[VMS_MAX], n_vms;
    int *hosts[VMS_MAX], n_hosts[VMS_MAX];
    int at[VMS_MAX];
    int tries;
};

/* ---- what hangs together ---- */

static bool names(const struct model_rule *r, int vm)
{
    for (int i = 0; i < r->n_vms; i++)
        if (r->vms[i] == vm)
            return true;
    return false;
}

static int index_of(const struct conflict *c, int vm)
{
    for (int i = 0; i < c->n_vms; i++)
        if (c->vms[i] == vm)
            return i;
    return -1;
}

static int counted_rule(const struct lower *l, int origin)
{
    for (int i = 0; i < l->in.n_rules; i++)
        if (l->in.rules[i].origin == origin)
            return i;
    return -1;
}

static bool add_vm(struct conflict *c, int vm)
{
    bool runs = c->s->at[vm] >= 0 || vm == c->vms[0];
    if (!runs || index_of(c, vm) >= 0)
        return true;
    if (c->n_vms == VMS_MAX)
        return false;
    c->vms[c->n_vms++] = vm;
    return true;
}

static bool has_rule(const struct conflict *c, int rule)
{
    for (int i = 0; i < c->n_rules; i++)
        if (c->rules[i] == rule)
            return true;
    return false;
}

/* Everything that vm's rules reach; false: too much. */
static bool gather(struct conflict *c, int vm)
{
    const struct model *m = c->l->m;
    c->vms[c->n_vms++] = vm;
    for (int i = 0; i < c->n_vms; i++)
        for (int r = 0; r < m->n_rules; r++) {
            if (!m->rules[r].must || has_rule(c, r) || !names(&m->rules[r], c->vms[i]))
                continue;
            if (c->n_rules == CONFLICT_RULES_MAX)
                return false;
            c->counted[c->n_rules] = counted_rule(c->l, r);
            c->rules[c->n_rules++] = r;
            for (int k = 0; k < m->rules[r].n_vms; k++)
                if (!add_vm(c, m->rules[r].vms[k]))
                    return false;
        }
    return c->n_rules > 0;
}

/* ---- hosts of each ---- */

static bool has_host(const struct conflict *c, int i, int host)
{
    for (int k = 0; k < c->n_hosts[i]; k++)
        if (c->hosts[i][k] == host)
            return true;
    return false;
}

/* May it move, a rule that keeps it apart? */
static bool is_fixed(const struct conflict *c, int vm)
{
    enum fit_code code = c->l->movable[vm];
    return code != FIT_OK && code != FIT_RULE_KEEP;
}

static void offer(struct conflict *c, int i, int host)
{
    int vm = c->vms[i], now = c->s->at[vm];
    bool stays = host == now && (!c->l->in.closed[host] || is_fixed(c, vm));
    if (c->n_hosts[i] == HOSTS_MAX || has_host(c, i, host))
        return;
    if (stays || (!is_fixed(c, vm) && !c->l->in.closed[host] &&
                  (host == c->l->m->vms[vm].host ||
                   fit_compatible(c->l->m, vm, host, c->l->p->copy_storage, NULL) == FIT_OK)))
        c->hosts[i][c->n_hosts[i]++] = host;
}

/* Where the others are, what rules name, then any: of those that no rule tells apart, a few more
 * than there are VMs suffice. */
static void find_hosts(struct conflict *c)
{
    const struct model *m = c->l->m;
    for (int i = 0; i < c->n_vms; i++) {
        c->hosts[i] = xcalloc(HOSTS_MAX, sizeof(int));
        for (int k = 0; k < c->n_vms; k++)
            if (c->s->at[c->vms[k]] >= 0)
                offer(c, i, c->s->at[c->vms[k]]);
        for (int r = 0; r < c->n_rules; r++)
            for (int k = 0; k < m->rules[c->rules[r]].n_hosts; k++)
                offer(c, i, m->rules[c->rules[r]].hosts[k]);
        for (int h = 0; h < m->n_hosts; h++)
            offer(c, i, h);
    }
}

/* ---- can they be kept? ---- */

static int domain_of(const struct conflict *c, const struct inst_rule *r, int i)
{
    return c->at[i] < 0 ? -1 : c->l->in.domain[c->l->in.sets[r->set].scope][c->at[i]];
}

static bool in_set(const struct conflict *c, int set, int vm)
{
    for (int k = 0; k < c->l->in.sets[set].n; k++)
        if (c->l->in.sets[set].members[k] == vm)
            return true;
    return false;
}

/* Two that have hosts. */
static bool pair_stands(const struct conflict *c, const struct inst_rule *r, int i, int k)
{
    bool a = in_set(c, r->set, c->vms[i]), b = in_set(c, r->set, c->vms[k]);
    if (r->kind == INST_ALONE)
        return a == b || c->at[i] != c->at[k];
    if (!a || !b)
        return true;
    bool same = domain_of(c, r, i) == domain_of(c, r, k);
    return r->kind == INST_APART ? !same : r->kind != INST_TOGETHER || same;
}

/* All have hosts. */
static bool sums_stand(const struct conflict *c, const struct inst_rule *r)
{
    int64_t distinct = 0, without = 0;
    for (int i = 0; i < c->n_vms; i++) {
        if (!in_set(c, r->set, c->vms[i]))
            continue;
        bool is_new = true, beside = false;
        for (int k = 0; k < c->n_vms; k++) {
            bool same = domain_of(c, r, k) == domain_of(c, r, i);
            is_new = is_new && !(k < i && same && in_set(c, r->set, c->vms[k]));
            beside = beside || (r->other >= 0 && same && in_set(c, r->other, c->vms[k]));
        }
        distinct += is_new;
        without += !beside;
    }
    if (r->kind == INST_SPREAD)
        return distinct >= r->minimum;
    return r->kind != INST_BESIDE || without == 0;
}

static bool host_stands(const struct conflict *c, int rule, int vm, int host)
{
    const struct model_rule *r = &c->l->m->rules[c->rules[rule]];
    if (!names(r, vm))
        return true;
    if (r->type == RULE_KEEP)
        return host == c->l->m->vms[vm].host;
    bool about_hosts = r->type == RULE_RUN_ON || r->type == RULE_NOT_ON;
    return !about_hosts || !lower_rule_forbids(c->l, c->rules[rule], host);
}

static bool stands(const struct conflict *c, uint32_t asked, int i)
{
    bool last = i + 1 == c->n_vms;
    for (int r = 0; r < c->n_rules; r++) {
        if ((asked >> r & 1) == 0)
            continue;
        if (!host_stands(c, r, c->vms[i], c->at[i]))
            return false;
        if (c->counted[r] < 0)
            continue;
        const struct inst_rule *rule = &c->l->in.rules[c->counted[r]];
        for (int k = 0; k < i; k++)
            if (!pair_stands(c, rule, i, k))
                return false;
        if (last && !sums_stand(c, rule))
            return false;
    }
    return true;
}

static bool place_from(struct conflict *c, uint32_t asked, int i)
{
    if (i == c->n_vms)
        return true;
    for (int k = 0; k < c->n_hosts[i]; k++) {
        if (c->tries-- <= 0)
            return true; /* not known: no conflict is claimed */
        c->at[i] = c->hosts[i][k];
        if (stands(c, asked, i) && place_from(c, asked, i + 1))
            return true;
    }
    c->at[i] = -1;
    return false;
}

static bool can_be_kept(struct conflict *c, uint32_t asked)
{
    c->tries = (int)MIN(TRIES, c->l->conflict_tries);
    memset(c->at, 0xff, sizeof c->at);
    int before = c->tries;
    bool kept = place_from(c, asked, 0);
    c->l->conflict_tries -= before - MAX(c->tries, 0);
    return kept;
}

/* ---- the smallest ---- */

static uint32_t without_needless(struct conflict *c, uint32_t rules)
{
    for (int i = 0; i < c->n_rules; i++) {
        uint32_t fewer = rules & ~(UINT32_C(1) << i);
        if (fewer != rules && !can_be_kept(c, fewer))
            rules = fewer;
    }
    return rules;
}

static uint32_t find_small(struct conflict *c, uint32_t rules)
{
    int n = MIN(c->n_rules, SMALL_MAX), size = __builtin_popcount(rules);
    for (int i = 0; i < n && size > 1; i++)
        if (!can_be_kept(c, UINT32_C(1) << i))
            return UINT32_C(1) << i;
    for (int i = 0; i < n && size > 2; i++)
        for (int k = 0; k < i; k++)
            if (!can_be_kept(c, UINT32_C(1) << i | UINT32_C(1) << k))
                return UINT32_C(1) << i | UINT32_C(1) << k;
    for (int i = 0; i < n && size > 3; i++)
        for (int k = 0; k < i; k++)
            for (int j = 0; j < k; j++) {
                uint32_t three = UINT32_C(1) << i | UINT32_C(1) << k | UINT32_C(1) << j;
                if (!can_be_kept(c, three))
                    return three;
            }
    return rules;
}

int conflict_find(struct lower *l, const struct state *s, int vm, int ret[CONFLICT_RULES_MAX])
{
    struct conflict c = {.l = l, .s = s};
    int n = 0;
    if (l->conflict_tries == 0)
        l->conflict_tries = TRIES_IN_ALL;
    if (l->conflict_tries > TRIES && gather(&c, vm)) {
        find_hosts(&c);
        uint32_t rules = (UINT32_C(1) << c.n_rules) - 1;
        if (can_be_kept(&c, 0) && !can_be_kept(&c, rules))
            rules = find_small(&c, without_needless(&c, rules));
        else
            rules = 0;
        for (int i = 0; i < c.n_rules; i++)
            if ((rules >> i & 1) != 0)
                ret[n++] = c.rules[i];
    }
    for (int i = 0; i < c.n_vms; i++)
        free(c.hosts[i]);
    return n;
}
