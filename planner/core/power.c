#include "planner/core/power.h"

#include <stdio.h>
#include <string.h>

#include "planner/core/applied.h"
#include "planner/core/survive.h"
#include "proto/util.h"

static struct planner_action *add_action(struct planner_result *r, enum plan_action_type type,
                                         int host, int step)
{
    r->actions = xrealloc(r->actions, (size_t)r->n_actions + 1, sizeof *r->actions);
    struct planner_action *a = &r->actions[r->n_actions++];
    *a = (struct planner_action){
        .type = type, .vm = MODEL_NONE, .from = MODEL_NONE, .to = host, .step = step};
    return a;
}

/* ---- standby ---- */

static bool is_awaited(const struct solve *x, int host)
{
    const struct model *m = x->l->m;
    for (int v = 0; v < m->n_vms; v++)
        if (m->vms[v].in_flight && m->vms[v].in_flight_to == host)
            return true;
    for (int i = 0; i < m->n_reservations; i++)
        if (m->reservations[i].host == host)
            return true;
    return false;
}

/* Only what is known to wake again, and whose owner lets it sleep; a voter never. */
static bool may_sleep(const struct solve *x, int host)
{
    const struct model_host *h = &x->l->m->hosts[host];
    return h->state == HOST_UP && h->implausible == NULL && x->s->n_on[host] == 0 &&
           h->standby_allowed == TRI_YES && h->can_wake == TRI_YES && h->voter != TRI_YES &&
           !is_awaited(x, host);
}

void power_add_standby(const struct solve *x, struct planner_result *r)
{
    struct survive *survive = r->n_plus > 0 ? survive_new(x->l, x->s, (int)r->n_plus) : NULL;
    int step = r->n_steps;
    for (int h = 0; h < x->l->m->n_hosts; h++) {
        const struct model_host *host = &x->l->m->hosts[h];
        if (!may_sleep(x, h) ||
            (r->n_plus > 0 && (survive == NULL || !survive_without(survive, h))))
            continue;
        struct planner_action *a = add_action(r, PLAN_STANDBY, h, step);
        milli watts = host_watts_at(host, 0);
        if (watts != QUANTITY_UNKNOWN)
            snprintf(a->reason, sizeof a->reason, "%s stands empty: %lld W less", host->name,
                     (long long)watts / 1000);
        else
            snprintf(a->reason, sizeof a->reason, "%s stands empty", host->name);
        r->n_steps = step + 1;
    }
    survive_free(survive);
}

/* ---- waking ---- */

/* What the snapshot has running on a sleeping host is not to be set free by waking it. */
static bool can_be_woken(const struct model *m, const struct model_host *h)
{
    for (int i = 0; i < h->n_vms; i++)
        if (vm_takes_resources(&m->vms[h->vms[i]]))
            return false;
    return h->state == HOST_STANDBY && h->implausible == NULL && h->can_wake == TRI_YES;
}

/* How much found no host. */
static int64_t missing(const struct planner_result *r)
{
    int64_t n = r->relief_missing;
    for (int i = 0; i < r->n_refusals; i++)
        n += r->refusals[i].vm != MODEL_NONE && r->refusals[i].host == MODEL_NONE &&
             r->refusals[i].why.code >= FIT_HOST_IS_SOURCE; /* not about the VM alone */
    return n;
}

/* With these up; NULL: the first n that can be woken. */
static struct model *with_woken(const struct model *m, const bool *wake, int n)
{
    _cleanup_(freep) int *at = xcalloc((size_t)m->n_vms + 1, sizeof *at);
    for (int v = 0; v < m->n_vms; v++)
        at[v] = -1; /* nothing moves */
    struct model *x = applied_new(m, at);
    for (int h = 0; h < x->n_hosts && n > 0; h++)
        if (can_be_woken(x, &x->hosts[h]) && (wake == NULL || wake[h])) {
            x->hosts[h].state = HOST_UP;
            n--;
        }
    return x;
}

/* Before all that the result does: hosts that its moves use, and those of wake (NULL: none). */
static void add_wakes(const struct model *m, const bool *wake, struct planner_result *r)
{
    int64_t longest = 0;
    int n = r->n_actions;
    _cleanup_(freep) bool *used = xcalloc((size_t)m->n_hosts + 1, sizeof *used);
    for (int i = 0; i < n; i++) {
        used[r->actions[i].to] = r->actions[i].type != PLAN_STANDBY;
        r->actions[i].step++;
    }
    for (int h = 0; h < m->n_hosts; h++) {
        const struct model_host *host = &m->hosts[h];
        bool asked = wake != NULL && wake[h];
        if ((!used[h] && !asked) || !can_be_woken(m, host))
            continue;
        struct planner_action *a = add_action(r, PLAN_WAKE, h, 0);
        a->estimate.ms = host->wake_seconds == QUANTITY_UNKNOWN ? 0 : host->wake_seconds * 1000;
        longest = MAX(longest, a->estimate.ms);
        snprintf(a->reason, sizeof a->reason,
                 asked ? "%s is wanted awake" : "%s is needed: without it VMs find no host",
                 host->name);
    }
    if (r->n_actions == n) { /* none was needed after all */
        for (int i = 0; i < n; i++)
            r->actions[i].step--;
        return;
    }
    size_t woken = (size_t)(r->n_actions - n);
    struct planner_action *front = xcalloc((size_t)r->n_actions, sizeof *front);
    memcpy(front, &r->actions[n], woken * sizeof *front);
    memcpy(front + woken, r->actions, (size_t)n * sizeof *front);
    free(r->actions);
    r->actions = front;
    r->n_steps++;
    r->makespan_ms = sat_add(r->makespan_ms, longest);
}

static int count_asleep(const struct model *m)
{
    int n = 0;
    for (int h = 0; h < m->n_hosts; h++)
        n += can_be_woken(m, &m->hosts[h]);
    return n;
}

int power_wake(const struct planner_problem *p, struct planner_result **r, struct err *err)
{
    int asleep = count_asleep(p->model);
    for (int n = 1; missing(*r) > 0 && n / 2 < asleep; n *= 2) {
        _cleanup_(model_freep) struct model *m = with_woken(p->model, NULL, n);
        struct planner_problem with = *p;
        struct planner_result *better = NULL;
        with.model = m;
        with.power = false;
        int rc = planner_run(&with, &better, err);
        if (rc < 0)
            return rc;
        if (missing(better) < missing(*r)) {
            add_wakes(p->model, NULL, better);
            planner_result_free(*r);
            *r = better;
        } else {
            planner_result_free(better);
        }
    }
    return 0;
}

int power_wake_first(const struct planner_problem *p, struct planner_result **r, struct err *err)
{
    _cleanup_(model_freep) struct model *m = with_woken(p->model, p->wake, p->model->n_hosts);
    struct planner_problem with = *p;
    with.model = m;
    with.wake = NULL;
    int rc = planner_run(&with, r, err);
    if (rc == 0)
        add_wakes(p->model, p->wake, *r);
    return rc;
}
