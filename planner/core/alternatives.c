#include "planner/core/alternatives.h"

#include <stdio.h>
#include <string.h>

#include "proto/util.h"

/* Plans are signed, replicated and read: so many actions have alternatives, of so many pairs. */
#define ACTIONS_MAX 100
#define PAIRS_MAX 200000
#define REFUSED_MAX 2

struct option {
    int host;
    int64_t cost; /* QUANTITY_UNKNOWN: refused */
};

static int by_cost(const void *a, const void *b)
{
    const struct option *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return (x->host > y->host) - (x->host < y->host);
}

/* Back where it came from, whatever that host now refuses. */
static int64_t cost_of_staying(struct solve *x, int vm)
{
    int n, home = x->l->in.initial[vm], at = x->s->at[vm];
    const int *vms = solve_block(x->l, vm, &n);
    int64_t before = x->s->cost;
    for (int i = 0; i < n; i++)
        state_move(x->s, vms[i], home);
    int64_t cost = x->s->cost - before;
    for (int i = 0; i < n; i++)
        state_move(x->s, vms[i], at);
    return cost;
}

static void add(struct planner_action *a, int host, int64_t cost)
{
    a->alternatives[a->n_alternatives++] = (struct planner_alternative){.host = host, .cost = cost};
}

static void add_refused(struct solve *x, struct planner_action *a, int host)
{
    struct fit_refusal why;
    struct planner_alternative *o = &a->alternatives[a->n_alternatives];
    add(a, host, QUANTITY_UNKNOWN);
    if (lower_explain(x->l, x->s, a->vm, host, o->code, &why) == FIT_OK) {
        a->n_alternatives--; /* one of those that move with it is refused */
        return;
    }
    snprintf(o->message, sizeof o->message, "%s", why.message);
}

static void find(struct solve *x, struct planner_action *a, struct option *list)
{
    int n = 0, n_fit = 0, home = x->l->in.initial[a->vm];
    for (int h = 0; h < x->l->m->n_hosts; h++) {
        if (h == a->to || h == home || x->l->m->hosts[h].state != HOST_UP)
            continue;
        int64_t delta = solve_block_delta(x, a->vm, h);
        bool fits = delta != STATE_INFEASIBLE;
        list[n++] = (struct option){h, fits ? delta : INT64_MAX};
        n_fit += fits;
    }
    if (n > 0)
        qsort(list, (size_t)n, sizeof *list, by_cost);
    a->alternatives = xcalloc(PLANNER_ALTERNATIVES, sizeof *a->alternatives);
    a->n_hosts_fit = n_fit + 1;
    for (int i = 0; i < n_fit && a->n_alternatives < PLANNER_ALTERNATIVES - REFUSED_MAX - 1; i++)
        add(a, list[i].host, list[i].cost);
    add(a, home, cost_of_staying(x, a->vm));
    for (int i = n_fit; i < n && a->n_alternatives < PLANNER_ALTERNATIVES; i++)
        add_refused(x, a, list[i].host);
}

void alternatives_find(struct solve *x, struct planner_result *r)
{
    int64_t pairs = 0;
    _cleanup_(freep) struct option *list = xcalloc((size_t)x->l->m->n_hosts + 1, sizeof *list);
    x->l->verdicts->closed = true;
    for (int i = 0; i < MIN(r->n_actions, ACTIONS_MAX) && pairs < PAIRS_MAX; i++) {
        struct planner_action *a = &r->actions[i];
        if (a->type != PLAN_MIGRATE || x->s->at[a->vm] != a->to)
            continue; /* a stop on the way */
        find(x, a, list);
        pairs += x->l->m->n_hosts;
    }
    x->l->verdicts->closed = false;
}
