#include "planner/core/relax.h"

#include <math.h>

#include "proto/util.h"

/* Two resources at a time: what the oldest processors of the architecture do in one instruction. */
typedef double lane __attribute__((vector_size(16)));
typedef int64_t mask __attribute__((vector_size(16)));

#define WIDTH 2
#define LANES_MAX (INSTANCE_RESOURCES_MAX / WIDTH)

/* One row a host, each of n lanes: use above the safety level, and use with what is held above the
 * limit (less than 0: below). */
enum { ABOVE, BEYOND, ROW };

/* One row a VM: what it takes of use and of what is held; the latter where it began, too. */
enum { DEMAND, AT_HOME, VM_ROW };

struct relax {
    struct state *s;
    const struct instance *in;
    size_t n; /* lanes */
    lane *host, *vm;
    lane weight[LANES_MAX], unit[LANES_MAX]; /* above the safety level, above the limit */
    int64_t *lack,
        *pull;      /* [host or VM * n_balances + i] what is lacking; less with the VM there */
    int64_t *limit; /* [host * n_resources + r] */
    double *over;   /* [host] above its limit, in units */
    double over_sum;
    int n_over; /* hosts above */
    bool *closed;
    double price;
};

static inline lane above_zero(lane v)
{
    return (lane)((mask)v & (v > (lane){0, 0}));
}

static inline double sum_of(lane v)
{
    return v[0] + v[1];
}

static lane *host_row(const struct relax *x, int host)
{
    return &x->host[(size_t)host * ROW * x->n];
}

static void put(lane *row, size_t r, int64_t value)
{
    row[r / WIDTH][r % WIDTH] = (double)value;
}

static void refresh_balances(struct relax *x, int host)
{
    const struct instance *in = x->in;
    size_t at = (size_t)host * (size_t)in->n_resources;
    for (int i = 0; i < in->n_balances; i++) {
        const struct inst_balance *b = &in->balances[i];
        size_t r1 = at + (size_t)b->r1, r2 = at + (size_t)b->r2;
        x->lack[(size_t)host * (size_t)in->n_balances + (size_t)i] =
            b->target * (in->capacity[r1] - x->s->use[r1]) - (in->capacity[r2] - x->s->use[r2]);
    }
}

/* What is above the limits is counted anew: exactly 0 where nothing is. */
static void refresh(struct relax *x, int host)
{
    const struct state *s = x->s;
    size_t n = (size_t)x->in->n_resources, at = (size_t)host * n;
    lane *row = host_row(x, host), over = {0, 0};
    for (size_t r = 0; r < n; r++) {
        put(row + ABOVE * x->n, r, s->use[at + r] - x->in->safety[at + r]);
        put(row + BEYOND * x->n, r, s->use[at + r] + s->held[at + r] - x->limit[at + r]);
    }
    for (size_t k = 0; k < x->n; k++)
        over += x->unit[k] * above_zero(row[BEYOND * x->n + k]);
    double sum = sum_of(over);
    x->n_over += (sum > 0) - (x->over[host] > 0);
    x->over_sum = x->n_over == 0 ? 0 : x->over_sum + sum - x->over[host];
    x->over[host] = sum;
    refresh_balances(x, host);
}

static void lay_out_hosts(struct relax *x)
{
    const struct instance *in = x->in;
    size_t n = (size_t)in->n_resources;
    for (int h = 0; h < in->n_hosts; h++) {
        x->closed[h] = in->closed != NULL && in->closed[h];
        for (size_t r = 0; r < n; r++) {
            size_t at = (size_t)h * n + r;
            int64_t taken = x->s->use[at] + x->s->held[at];
            x->limit[at] = MAX(in->capacity[at], taken);
            x->closed[h] = x->closed[h] || taken > in->capacity[at];
        }
        refresh(x, h);
    }
}

static void lay_out_vms(struct relax *x)
{
    const struct instance *in = x->in;
    size_t n = (size_t)in->n_resources;
    for (int v = 0; v < in->n_vms; v++) {
        lane *row = &x->vm[(size_t)v * VM_ROW * x->n];
        const int64_t *demand = &in->demand[(size_t)v * n];
        for (size_t r = 0; r < n; r++) {
            put(row + DEMAND * x->n, r, demand[r]);
            put(row + AT_HOME * x->n, r, in->resource[r].transient ? 0 : demand[r]);
        }
        for (int i = 0; i < in->n_balances; i++)
            x->pull[(size_t)v * (size_t)in->n_balances + (size_t)i] =
                in->balances[i].target * demand[in->balances[i].r1] - demand[in->balances[i].r2];
    }
}

/* A unit of a resource without a weight is worth as much as those of all VMs are of the others: it
 * must be comparable, not exact. */
static void weigh_units(struct relax *x)
{
    const struct instance *in = x->in;
    size_t n = (size_t)in->n_resources;
    double sum[INSTANCE_RESOURCES_MAX] = {0}, worth = 0;
    int n_worth = 0;
    for (int v = 0; v < in->n_vms; v++)
        for (size_t r = 0; r < n; r++)
            sum[r] += (double)in->demand[(size_t)v * n + r];
    for (size_t r = 0; r < n; r++) {
        double w = (double)in->resource[r].load_weight;
        put(x->weight, r, in->resource[r].load_weight);
        put(x->unit, r, in->resource[r].load_weight);
        worth += w * sum[r];
        n_worth += w * sum[r] > 0;
    }
    for (size_t r = 0; r < n; r++)
        if (in->resource[r].load_weight == 0 && sum[r] > 0)
            put(x->unit, r, (int64_t)(n_worth > 0 ? ceil(worth / n_worth / sum[r]) : 1));
}

struct relax *relax_new(struct state *s)
{
    const struct instance *in = s->in;
    struct relax *x = xcalloc(1, sizeof *x);
    x->s = s;
    x->in = in;
    x->n = ((size_t)in->n_resources + WIDTH - 1) / WIDTH;
    x->host = xcalloc((size_t)in->n_hosts * ROW * x->n + 1, sizeof *x->host);
    x->vm = xcalloc((size_t)in->n_vms * VM_ROW * x->n + 1, sizeof *x->vm);
    x->lack = xcalloc((size_t)in->n_hosts * (size_t)in->n_balances + 1, sizeof *x->lack);
    x->pull = xcalloc((size_t)in->n_vms * (size_t)in->n_balances + 1, sizeof *x->pull);
    x->limit = xcalloc((size_t)in->n_hosts * (size_t)in->n_resources + 1, sizeof *x->limit);
    x->over = xcalloc((size_t)in->n_hosts + 1, sizeof *x->over);
    x->closed = xcalloc((size_t)in->n_hosts + 1, sizeof *x->closed);
    weigh_units(x);
    lay_out_hosts(x);
    lay_out_vms(x);
    return x;
}

void relax_free(struct relax *x)
{
    if (x == NULL)
        return;
    free(x->host);
    free(x->vm);
    free(x->lack);
    free(x->pull);
    free(x->limit);
    free(x->over);
    free(x->closed);
    free(x);
}

void relax_set_price(struct relax *x, double price)
{
    x->price = price;
}

static const lane *vm_row(const struct relax *x, int vm, int what)
{
    return &x->vm[((size_t)vm * VM_ROW + (size_t)what) * x->n];
}

/* What it takes of a host: nothing of what is held for it where it began. */
static const lane *taken_by(const struct relax *x, int vm, int host)
{
    return vm_row(x, vm, x->in->initial[vm] == host ? AT_HOME : DEMAND);
}

/* What a host costs beside load, once `enters` is there and `leaves` is gone (-1: none). */
static inline int64_t extra_after(const struct relax *x, int host, int enters, int leaves)
{
    const struct instance *in = x->in;
    size_t n = (size_t)in->n_balances;
    int n_on = x->s->n_on[host] + (enters >= 0) - (leaves >= 0);
    int64_t cost = in->open_cost != NULL && n_on > 0 ? in->open_cost[host] : 0;
    for (size_t i = 0; i < n; i++) {
        int64_t lack = x->lack[(size_t)host * n + i];
        if (enters >= 0)
            lack -= x->pull[(size_t)enters * n + i];
        if (leaves >= 0)
            lack += x->pull[(size_t)leaves * n + i];
        cost += in->balances[i].weight * MAX(lack, 0);
    }
    return cost;
}

/* The load's change and the price's. */
static inline double total(const struct relax *x, int a, int b, lane load, lane over)
{
    return sum_of(load) + x->price * (sum_of(over) - x->over[a] - x->over[b]);
}

double relax_shift_delta(const struct relax *x, int vm, int host)
{
    const struct state *s = x->s;
    int a = s->at[vm], b = host;
    const lane *ra = host_row(x, a), *rb = host_row(x, b), *use = vm_row(x, vm, DEMAND);
    const lane *gone = taken_by(x, vm, a), *come = taken_by(x, vm, b);
    size_t n = x->n;
    lane load = {0, 0}, over = {0, 0};
    for (size_t k = 0; k < n; k++) {
        load += x->weight[k] *
                (above_zero(ra[ABOVE * n + k] - use[k]) + above_zero(rb[ABOVE * n + k] + use[k]));
        over += x->unit[k] * (above_zero(ra[BEYOND * n + k] - gone[k]) +
                              above_zero(rb[BEYOND * n + k] + come[k]));
    }
    int64_t rest = extra_after(x, a, -1, vm) + extra_after(x, b, vm, -1) - s->host_cost[a] -
                   s->host_cost[b] + state_travel_delta(s, vm, b);
    if (x->in->n_even > 0)
        rest += state_even_delta(s, vm, b, -1);
    return total(x, a, b, load, over) + (double)rest;
}

double relax_swap_delta(const struct relax *x, int v, int w)
{
    const struct state *s = x->s;
    int a = s->at[v], b = s->at[w];
    const lane *ra = host_row(x, a), *rb = host_row(x, b);
    const lane *dv = vm_row(x, v, DEMAND), *dw = vm_row(x, w, DEMAND);
    const lane *va = taken_by(x, v, a), *vb = taken_by(x, v, b);
    const lane *wa = taken_by(x, w, a), *wb = taken_by(x, w, b);
    size_t n = x->n;
    lane load = {0, 0}, over = {0, 0};
    for (size_t k = 0; k < n; k++) {
        lane use = dv[k] - dw[k];
        load += x->weight[k] *
                (above_zero(ra[ABOVE * n + k] - use) + above_zero(rb[ABOVE * n + k] + use));
        over += x->unit[k] * (above_zero(ra[BEYOND * n + k] - va[k] + wa[k]) +
                              above_zero(rb[BEYOND * n + k] + vb[k] - wb[k]));
    }
    int64_t rest = extra_after(x, a, w, v) + extra_after(x, b, v, w) - s->host_cost[a] -
                   s->host_cost[b] + state_travel_delta(s, v, b) + state_travel_delta(s, w, a);
    if (x->in->n_even > 0)
        rest += state_even_delta(s, v, b, w);
    return total(x, a, b, load, over) + (double)rest;
}

double relax_energy(const struct relax *x)
{
    return (double)x->s->cost + x->price * x->over_sum;
}

double relax_host_energy(const struct relax *x, int host)
{
    return (double)x->s->host_cost[host] + x->price * x->over[host];
}

bool relax_fits(const struct relax *x)
{
    return x->n_over == 0;
}

bool relax_is_closed(const struct relax *x, int host)
{
    return x->closed[host];
}

void relax_move(struct relax *x, int vm, int host)
{
    int from = x->s->at[vm];
    if (from == host)
        return;
    state_move(x->s, vm, host);
    refresh(x, from);
    refresh(x, host);
}
