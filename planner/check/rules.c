/* rules.c - how many violations of a rule there are, counted plainly. */
#include <string.h>

#include "planner/check/world.h"
#include "proto/util.h"

static size_t prefix(const char *path, int64_t level)
{
    size_t n = 0;
    for (; path[n] != '\0'; n++)
        if (path[n] == '/' && level > 0 && --level == 0)
            break;
    return n;
}

bool world_same_domain(const struct world *w, const struct w_rule *r, int a, int b)
{
    if (a == b)
        return true;
    const char *x = w->hosts[a].domain, *y = w->hosts[b].domain;
    if (strcmp(r->scope, "host") == 0 || x == NULL || y == NULL)
        return false;
    size_t n = prefix(x, r->level), m = prefix(y, r->level);
    return n == m && memcmp(x, y, n) == 0;
}

static bool present(const struct world *w, int vm)
{
    return w->vms[vm].counts && w->vms[vm].at >= 0;
}

/* Is vm in the domain of host, at either end of its way? */
static bool is_in(const struct world *w, const struct w_rule *r, int vm, int host, const int *to)
{
    return world_same_domain(w, r, w->vms[vm].at, host) ||
           (to != NULL && to[vm] >= 0 && world_same_domain(w, r, to[vm], host));
}

static int64_t members_in(const struct world *w, const struct w_rule *r, int host, const int *to,
                          int first)
{
    int64_t n = 0;
    for (int i = first; i < r->n_vms; i++)
        n += present(w, r->vms[i]) && is_in(w, r, r->vms[i], host, to);
    return n;
}

static int64_t n_present(const struct world *w, const struct w_rule *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->n_vms; i++)
        n += present(w, r->vms[i]);
    return n;
}

static bool is_member(const struct w_rule *r, int vm)
{
    for (int i = 0; i < r->n_vms; i++)
        if (r->vms[i] == vm)
            return true;
    return false;
}

/* One host for each domain that the rule's VMs are in, at either end of their way. */
static int list_domains(const struct world *w, const struct w_rule *r, const int *to, int *ret)
{
    int n = 0;
    for (int i = 0; i < 2 * r->n_vms; i++) {
        int vm = r->vms[i / 2];
        int host = i % 2 == 0 ? w->vms[vm].at : to == NULL ? -1 : to[vm];
        bool is_new = host >= 0 && present(w, vm);
        for (int k = 0; is_new && k < n; k++)
            is_new = !world_same_domain(w, r, ret[k], host);
        if (is_new)
            ret[n++] = host;
    }
    return n;
}

static int64_t strangers(const struct world *w, const struct w_rule *r, const int *to)
{
    _cleanup_(freep) bool *taken = xcalloc((size_t)w->n_hosts + 1, sizeof *taken);
    int64_t n = 0;
    for (int i = 0; i < r->n_vms; i++) {
        int vm = r->vms[i];
        if (!present(w, vm))
            continue;
        taken[w->vms[vm].at] = true;
        if (to != NULL && to[vm] >= 0)
            taken[to[vm]] = true;
    }
    for (int v = 0; v < w->n_vms; v++) {
        if (!present(w, v) || is_member(r, v))
            continue;
        n += taken[w->vms[v].at];
        n += to != NULL && to[v] >= 0 && taken[to[v]];
    }
    return n;
}

int64_t world_violations(const struct world *w, const struct w_rule *r, const int *to)
{
    int64_t sum = 0, most = 0;
    if (strcmp(r->type, "exclusive") == 0)
        return strangers(w, r, to);
    if (strcmp(r->type, "depends-on") == 0) {
        if (r->n_vms < 2 || !present(w, r->vms[0]))
            return 0;
        return members_in(w, r, w->vms[r->vms[0]].at, NULL, 1) == 0;
    }
    _cleanup_(freep) int *domains = xcalloc(2 * (size_t)r->n_vms + 1, sizeof *domains);
    int distinct = list_domains(w, r, to, domains);
    for (int i = 0; i < distinct; i++) {
        int64_t n = members_in(w, r, domains[i], to, 0);
        sum += MAX(n - 1, 0);
        most = MAX(most, n);
    }
    if (strcmp(r->type, "anti-affinity") == 0)
        return sum;
    if (strcmp(r->type, "affinity") == 0)
        return n_present(w, r) - most;
    if (strcmp(r->type, "spread") == 0)
        return MAX(r->minimum - distinct, 0);
    return 0;
}

#define ENUMERATED_MAX 12

static int64_t count_domains(const struct world *w, const struct w_rule *r, const int *at)
{
    int64_t n = 0;
    for (int i = 0; i < r->n_vms; i++) {
        bool first = present(w, r->vms[i]) && at[i] >= 0;
        for (int j = 0; first && j < i; j++)
            first = !(present(w, r->vms[j]) && at[j] >= 0 && world_same_domain(w, r, at[i], at[j]));
        n += first;
    }
    return n;
}

int64_t world_fewest_domains(const struct world *w, const struct w_rule *r, const int *to)
{
    _cleanup_(freep) int *at = xcalloc((size_t)r->n_vms + 1, sizeof *at);
    int moving[ENUMERATED_MAX], n = 0;
    for (int i = 0; i < r->n_vms; i++) {
        at[i] = w->vms[r->vms[i]].at;
        if (to[r->vms[i]] < 0)
            continue;
        if (n < ENUMERATED_MAX)
            moving[n++] = i;
        else
            at[i] = -1; /* too many to try every order: as if it were nowhere */
    }
    int64_t fewest = INT64_MAX;
    for (unsigned done = 0; done < 1U << n; done++) {
        for (int k = 0; k < n; k++) {
            int vm = r->vms[moving[k]];
            at[moving[k]] = (done >> k & 1) != 0 ? to[vm] : w->vms[vm].at;
        }
        fewest = MIN(fewest, count_domains(w, r, at));
    }
    return fewest;
}
