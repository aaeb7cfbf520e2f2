#include "planner/core/survive.h"

#include <string.h>

#include "proto/util.h"

/* Each VM, the largest first, goes to the host that has most left, least, or that comes first. */
enum way { MOST_LEFT, LEAST_LEFT, FIRST, WAYS };

/* Beyond so many hosts, or sets of k of them, only the first way is tried. */
#define MANY_HOSTS 500
#define MANY_SETS 5000
/* Which VM could come to which host is remembered for so many pairs at most: 32 MiB. */
#define PAIRS_MAX (16 << 20)
/* Placements tried one after another where the ways fail: more than the checker tries, so that what
 * it finds survivable at the beginning is asked of every step. */
#define TRIES 100000
#define FEW_VMS 200

struct survive {
    struct lower *l;
    const struct state *s;
    int k;
    unsigned ways;   /* bits of those that suffice; 0: only trying all does */
    int64_t *left;   /* [host * R + r] */
    bool *up, *lost; /* [host] */
    int *order;      /* hosts, those with most memory left first */
    int *first, *on; /* VMs by host, CSR */
    int *vms;        /* of the lost hosts, the largest first */
    int n_vms;
    int *placed;       /* [n_vms of vms] the host, to be taken back */
    int *used, n_used; /* hosts that took some */
    int tries;
    int *chosen;             /* [k] hosts lost just now */
    int *worst, n_worst;     /* [k] whose loss was last found too much: looked at first */
    struct answers *answers; /* [vm]; NULL: too many */
    uint8_t *answer;         /* their memory */
};

static int64_t demand(const struct survive *x, int vm, size_t r)
{
    return x->s->in->demand[(size_t)vm * (size_t)x->s->in->n_resources + r];
}

static bool counts(size_t r)
{
    return r == LOWER_MEMORY || r == LOWER_VCPUS || r >= LOWER_PAGES;
}

static int64_t memory_left(const struct survive *x, int host)
{
    return x->left[(size_t)host * (size_t)x->s->in->n_resources + LOWER_MEMORY];
}

/* ---- one VM ---- */

static bool could_come(const struct model *m, int vm, int from, int host)
{
    return from == host || fit_from(m, vm, from, host, true, NULL) == FIT_OK;
}

/* What is known of the VM and each host; from two sources, and what the second is. */
struct answers {
    int source;            /* of what is in `there`; -1: nothing is */
    uint8_t *home, *there; /* [host] 0: not asked; else 1 + could_come() */
};

static bool ask(const struct model *m, int vm, int from, int host, uint8_t *known)
{
    if (*known == 0)
        *known = (uint8_t)(1 + could_come(m, vm, from, host));
    return *known == 2;
}

/* From where it was in the snapshot, and from where it is by then: who looks at either agrees. */
static bool may_run(const struct survive *x, int vm, int host)
{
    const struct model *m = x->l->m;
    int at = x->s->at[vm], home = m->vms[vm].home;
    if (x->answers == NULL)
        return could_come(m, vm, home, host) && (at == home || could_come(m, vm, at, host));
    struct answers *a = &x->answers[vm];
    if (!ask(m, vm, home, host, &a->home[host]))
        return false;
    if (at == home)
        return true;
    if (a->source != at) {
        memset(a->there, 0, (size_t)m->n_hosts);
        a->source = at;
    }
    return ask(m, vm, at, host, &a->there[host]);
}

static bool can_take(const struct survive *x, int vm, int host)
{
    const struct model_vm *v = &x->l->m->vms[vm];
    size_t n = (size_t)x->s->in->n_resources;
    if (x->lost[host] || !x->up[host] || v->memory_mib == QUANTITY_UNKNOWN ||
        v->vcpus == QUANTITY_UNKNOWN) /* nobody can promise room for what is not known */
        return false;
    for (size_t r = 0; r < n; r++)
        if (counts(r) && demand(x, vm, r) > 0 && x->left[(size_t)host * n + r] < demand(x, vm, r))
            return false;
    return may_run(x, vm, host);
}

static void take(struct survive *x, int vm, int host, int sign)
{
    size_t n = (size_t)x->s->in->n_resources;
    for (size_t r = 0; r < n; r++)
        x->left[(size_t)host * n + r] -= sign * demand(x, vm, r);
}

/* Hosts that took some have less left than their place in the order says: they are compared. */
static int most_left(const struct survive *x, int vm)
{
    int best = -1;
    for (int i = 0; i < x->n_used; i++)
        if (can_take(x, vm, x->used[i]) &&
            (best < 0 || memory_left(x, x->used[i]) > memory_left(x, best)))
            best = x->used[i];
    for (int i = 0; i < x->s->in->n_hosts; i++) {
        int h = x->order[i];
        if (memory_left(x, h) < demand(x, vm, LOWER_MEMORY) && demand(x, vm, LOWER_MEMORY) > 0 &&
            !x->lost[h] && i > x->n_used)
            break; /* nor have those behind */
        if (can_take(x, vm, h))
            return best < 0 || memory_left(x, h) > memory_left(x, best) ? h : best;
    }
    return best;
}

static int choose(const struct survive *x, int vm, enum way way)
{
    int best = -1;
    if (way == MOST_LEFT)
        return most_left(x, vm);
    for (int h = 0; h < x->s->in->n_hosts; h++) {
        if ((best >= 0 && memory_left(x, h) >= memory_left(x, best)) || !can_take(x, vm, h))
            continue;
        if (way == FIRST)
            return h;
        best = h;
    }
    return best;
}

/* ---- all of the lost ---- */

static void take_back(struct survive *x, int n)
{
    for (int i = 0; i < n; i++)
        take(x, x->vms[i], x->placed[i], -1);
    x->n_used = 0;
}

static bool pack(struct survive *x, enum way way)
{
    int i = 0;
    for (; i < x->n_vms; i++) {
        int h = choose(x, x->vms[i], way);
        if (h < 0)
            break;
        take(x, x->vms[i], h, 1);
        x->placed[i] = h;
        x->used[x->n_used++] = h;
    }
    take_back(x, i);
    return i == x->n_vms;
}

static bool try_all(struct survive *x, int i)
{
    if (i == x->n_vms)
        return true;
    for (int h = 0; h < x->s->in->n_hosts && x->tries > 0; h++) {
        if (!can_take(x, x->vms[i], h))
            continue;
        x->tries--;
        take(x, x->vms[i], h, 1);
        bool ok = try_all(x, i + 1);
        take(x, x->vms[i], h, -1);
        if (ok)
            return true;
    }
    return false;
}

static int by_size(const void *a, const void *b, void *ctx)
{
    const struct survive *x = ctx;
    int p = *(const int *)a, q = *(const int *)b;
    int64_t m = x->l->m->vms[p].memory_mib, n = x->l->m->vms[q].memory_mib;
    if (m != n)
        return m > n ? -1 : 1;
    return (p > q) - (p < q);
}

static void list_lost(struct survive *x)
{
    x->n_vms = 0;
    for (int h = 0; h < x->s->in->n_hosts; h++)
        for (int i = x->first[h]; x->lost[h] && i < x->first[h + 1]; i++)
            x->vms[x->n_vms++] = x->on[i];
    if (x->n_vms > 0)
        qsort_r(x->vms, (size_t)x->n_vms, sizeof *x->vms, by_size, x);
}

/* Bits of the ways in `asked` that suffice; 1 << WAYS: no way was asked, but some packing does. */
static unsigned ways_out(struct survive *x, unsigned asked)
{
    unsigned good = 0;
    list_lost(x);
    for (int w = 0; w < WAYS; w++)
        if ((asked >> w & 1) != 0 && pack(x, (enum way)w))
            good |= 1U << w;
    if (good != 0 || asked != 1U << WAYS)
        return good;
    for (int w = 0; w < WAYS; w++)
        if (pack(x, (enum way)w))
            return asked;
    x->tries = TRIES;
    return x->n_vms <= FEW_VMS && try_all(x, 0) ? asked : 0;
}

/* ---- every set of k ---- */

/* The first `depth` of chosen are lost: the ways in `asked` that suffice. */
static unsigned judge(struct survive *x, int depth, unsigned asked)
{
    unsigned good = ways_out(x, asked);
    if (good != asked) {
        memcpy(x->worst, x->chosen, (size_t)depth * sizeof *x->worst);
        x->n_worst = depth;
    }
    return good;
}

/* strict: to be left as soon as one of the ways fails. */
static unsigned lose_from(struct survive *x, int first, int depth, unsigned asked, bool strict)
{
    if (depth == x->k)
        return judge(x, depth, asked);
    bool any = false;
    for (int h = first; h < x->s->in->n_hosts && asked != 0; h++) {
        if (x->s->n_on[h] == 0)
            continue;
        any = true;
        x->chosen[depth] = h;
        x->lost[h] = true;
        unsigned good = asked & lose_from(x, h + 1, depth + 1, asked, strict);
        x->lost[h] = false;
        if (strict && good != asked)
            return good;
        asked = good;
    }
    return any ? asked : judge(x, depth, asked); /* fewer occupied hosts than k are left */
}

/* What was too much for the last step that failed is often too much for the next. */
static bool worst_is_too_much(struct survive *x, unsigned asked)
{
    bool occupied = x->n_worst == x->k;
    for (int i = 0; occupied && i < x->k; i++)
        occupied = x->s->n_on[x->worst[i]] > 0;
    if (!occupied)
        return false;
    for (int i = 0; i < x->k; i++)
        x->lost[x->worst[i]] = true;
    bool fails = ways_out(x, asked) != asked;
    for (int i = 0; i < x->k; i++)
        x->lost[x->worst[i]] = false;
    return fails;
}

static bool all_suffice(struct survive *x, unsigned asked)
{
    return !worst_is_too_much(x, asked) && lose_from(x, 0, 0, asked, true) == asked;
}

static int by_memory_left(const void *a, const void *b, void *ctx)
{
    const struct survive *x = ctx;
    int p = *(const int *)a, q = *(const int *)b;
    int64_t m = memory_left(x, p), n = memory_left(x, q);
    if (m != n)
        return m > n ? -1 : 1;
    return (p > q) - (p < q);
}

static void take_stock(struct survive *x)
{
    const struct instance *in = x->s->in;
    size_t n = (size_t)in->n_resources;
    for (size_t i = 0; i < (size_t)in->n_hosts * n; i++)
        x->left[i] = in->capacity[i] + x->l->promised[i] - x->s->use[i];
    for (int h = 0; h < in->n_hosts; h++)
        x->order[h] = h;
    qsort_r(x->order, (size_t)in->n_hosts, sizeof *x->order, by_memory_left, x);
    memset(x->first, 0, ((size_t)in->n_hosts + 2) * sizeof *x->first);
    for (int v = 0; v < in->n_vms; v++)
        if (x->s->at[v] >= 0)
            x->first[x->s->at[v] + 1]++;
    for (int h = 0; h < in->n_hosts; h++)
        x->first[h + 1] += x->first[h];
    _cleanup_(freep) int *fill = xmemdup(x->first, ((size_t)in->n_hosts + 1) * sizeof *fill);
    for (int v = 0; v < in->n_vms; v++)
        if (x->s->at[v] >= 0)
            x->on[fill[x->s->at[v]]++] = v;
}

/* Sets of k of n hosts; counted no further than they matter. */
static int64_t n_sets(int n, int k)
{
    int64_t sets = 1;
    for (int i = 0; i < k && i < n && sets <= MANY_SETS; i++)
        sets = sets * (n - i) / (i + 1);
    return sets;
}

static void remember_answers(struct survive *x)
{
    size_t hosts = (size_t)x->s->in->n_hosts, vms = (size_t)x->s->in->n_vms;
    if (hosts * vms > PAIRS_MAX)
        return;
    x->answers = xcalloc(vms + 1, sizeof *x->answers);
    x->answer = xcalloc(2 * hosts * vms + 1, sizeof *x->answer);
    for (size_t v = 0; v < vms; v++)
        x->answers[v] = (struct answers){.source = -1,
                                         .home = &x->answer[2 * v * hosts],
                                         .there = &x->answer[(2 * v + 1) * hosts]};
}

struct survive *survive_new(struct lower *l, const struct state *s, int k)
{
    size_t hosts = (size_t)s->in->n_hosts + 2, vms = (size_t)s->in->n_vms + 1;
    struct survive *x = xcalloc(1, sizeof *x);
    *x = (struct survive){.l = l,
                          .s = s,
                          .k = k,
                          .left = xcalloc(hosts * (size_t)s->in->n_resources, sizeof(int64_t)),
                          .up = xcalloc(hosts, sizeof(bool)),
                          .lost = xcalloc(hosts, sizeof(bool)),
                          .order = xcalloc(hosts, sizeof(int)),
                          .first = xcalloc(hosts, sizeof(int)),
                          .on = xcalloc(vms, sizeof(int)),
                          .vms = xcalloc(vms, sizeof(int)),
                          .placed = xcalloc(vms, sizeof(int)),
                          .used = xcalloc(vms, sizeof(int)),
                          .chosen = xcalloc((size_t)k + 1, sizeof(int)),
                          .worst = xcalloc((size_t)k + 1, sizeof(int))};
    remember_answers(x);
    for (int h = 0; h < s->in->n_hosts; h++)
        x->up[h] = l->m->hosts[h].state == HOST_UP && l->m->hosts[h].implausible == NULL;
    take_stock(x);
    unsigned all = n_sets(s->in->n_hosts, k) > MANY_SETS || s->in->n_hosts > MANY_HOSTS
                       ? 1U << MOST_LEFT
                       : (1U << WAYS) - 1;
    x->ways = lose_from(x, 0, 0, all, false);
    if (x->ways != 0 || all_suffice(x, 1U << WAYS))
        return x;
    survive_free(x);
    return NULL;
}

void survive_free(struct survive *x)
{
    if (x == NULL)
        return;
    void *const owned[] = {x->left,   x->up,   x->lost,   x->order, x->first,   x->on,     x->vms,
                           x->placed, x->used, x->chosen, x->worst, x->answers, x->answer, x};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}

bool survive_step(struct survive *x)
{
    unsigned asked = x->ways != 0 ? x->ways : 1U << WAYS;
    take_stock(x);
    return all_suffice(x, asked);
}

bool survive_without(struct survive *x, int host)
{
    x->up[host] = false;
    if (survive_step(x))
        return true;
    x->up[host] = true;
    return false;
}
