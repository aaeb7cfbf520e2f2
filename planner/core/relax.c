#include "planner/core/relax.h"

#include <math.h>

#include "proto/util.h"

/* Two resources at a time: what the oldest processors of the architecture do in one instruction. */
typedef double lane __attribute__((vector_size(16)));
typedef int64_t mask __attribute__((vector_size(16)));

#define LANES_MAX (INSTANCE_RESOURCES_MAX / 2)

/* One row a host: use, use and what is held, safety level, limit, each n lanes. */
enum { USE, TAKEN, SAFETY, LIMIT, ROW };

/* One row a VM: what it takes of use and of what is held; the latter where it began, too. */
enum { DEMAND, AT_HOME, VM_ROW };

struct relax {
    struct state *s;
    const struct instance *in;
    size_t n; /* lanes */
    lane *host, *vm;
    lane weight[LANES_MAX], unit[LANES_MAX]; /* above the safety level, above the limit */
    double *over;                            /* [host] above its limit, in units */
    double over_sum;
    int n_over; /* hosts above */
    bool *closed;
    double price;
};

static inline lane above_zero(lane v)
{
    return (lane)((mask)v & (v > (lane){0, 0}));
}

static lane *host_row(const struct relax *x, int host)
{
    return &x->host[(size_t)host * ROW * x->n];
}

static void put(lane *row, size_t r, int64_t value)
{
    row[r / 2][r % 2] = (double)value;
}

/* What is above the limits is counted anew: exactly 0 where nothing is. */
static void refresh(struct relax *x, int host)
{
    const struct state *s = x->s;
    size_t n = (size_t)x->in->n_resources, at = (size_t)host * n;
    lane *row = host_row(x, host), over = {0, 0};
    for (size_t r = 0; r < n; r++) {
        put(row + USE * x->n, r, s->use[at + r]);
        put(row + TAKEN * x->n, r, s->use[at + r] + s->held[at + r]);
    }
    for (size_t k = 0; k < x->n; k++)
        over += x->unit[k] * above_zero(row[TAKEN * x->n + k] - row[LIMIT * x->n + k]);
    double sum = over[0] + over[1];
    x->n_over += (sum > 0) - (x->over[host] > 0);
    x->over_sum = x->n_over == 0 ? 0 : x->over_sum + sum - x->over[host];
    x->over[host] = sum;
}

static void lay_out_hosts(struct relax *x)
{
    const struct instance *in = x->in;
    size_t n = (size_t)in->n_resources;
    for (int h = 0; h < in->n_hosts; h++) {
        lane *row = host_row(x, h);
        x->closed[h] = in->closed != NULL && in->closed[h];
        for (size_t r = 0; r < n; r++) {
            size_t at = (size_t)h * n + r;
            int64_t taken = x->s->use[at] + x->s->held[at];
            put(row + SAFETY * x->n, r, in->safety[at]);
            put(row + LIMIT * x->n, r, MAX(in->capacity[at], taken));
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
        for (size_t r = 0; r < n; r++) {
            int64_t d = in->demand[(size_t)v * n + r];
            put(row + DEMAND * x->n, r, d);
            put(row + AT_HOME * x->n, r, in->resource[r].transient ? 0 : d);
        }
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
    x->n = ((size_t)in->n_resources + 1) / 2;
    x->host = xcalloc((size_t)in->n_hosts * ROW * x->n + 1, sizeof *x->host);
    x->vm = xcalloc((size_t)in->n_vms * VM_ROW * x->n + 1, sizeof *x->vm);
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

/* Load at both hosts and price of what is above the limits, were `use` of a to go to b, a to be
 * rid of `gone` and b to get `come`. */
static inline double judge(const struct relax *x, int a, int b, const lane *use, const lane *gone,
                           const lane *come)
{
    const lane *ra = host_row(x, a), *rb = host_row(x, b);
    size_t n = x->n;
    lane load = {0, 0}, over = {0, 0};
    for (size_t k = 0; k < n; k++) {
        load += x->weight[k] * (above_zero(ra[USE * n + k] - use[k] - ra[SAFETY * n + k]) +
                                above_zero(rb[USE * n + k] + use[k] - rb[SAFETY * n + k]));
        over += x->unit[k] * (above_zero(ra[TAKEN * n + k] - gone[k] - ra[LIMIT * n + k]) +
                              above_zero(rb[TAKEN * n + k] + come[k] - rb[LIMIT * n + k]));
    }
    return load[0] + load[1] + x->price * (over[0] + over[1] - x->over[a] - x->over[b]);
}

double relax_shift_delta(const struct relax *x, int vm, int host)
{
    const struct state *s = x->s;
    int from = s->at[vm];
    double d =
        judge(x, from, host, vm_row(x, vm, DEMAND), taken_by(x, vm, from), taken_by(x, vm, host));
    int64_t rest = state_extra_after(s, from, -1, vm) + state_extra_after(s, host, vm, -1) -
                   s->host_cost[from] - s->host_cost[host] + state_travel_delta(s, vm, host);
    if (x->in->n_even > 0)
        rest += state_even_delta(s, vm, host, -1);
    return d + (double)rest;
}

double relax_swap_delta(const struct relax *x, int v, int w)
{
    const struct state *s = x->s;
    int a = s->at[v], b = s->at[w];
    lane use[LANES_MAX], gone[LANES_MAX], come[LANES_MAX];
    const lane *dv = vm_row(x, v, DEMAND), *dw = vm_row(x, w, DEMAND);
    const lane *va = taken_by(x, v, a), *vb = taken_by(x, v, b);
    const lane *wa = taken_by(x, w, a), *wb = taken_by(x, w, b);
    for (size_t k = 0; k < x->n; k++) {
        use[k] = dv[k] - dw[k];
        gone[k] = va[k] - wa[k];
        come[k] = vb[k] - wb[k];
    }
    double d = judge(x, a, b, use, gone, come);
    int64_t rest = state_extra_after(s, a, w, v) + state_extra_after(s, b, v, w) - s->host_cost[a] -
                   s->host_cost[b] + state_travel_delta(s, v, b) + state_travel_delta(s, w, a);
    if (x->in->n_even > 0)
        rest += state_even_delta(s, v, b, w);
    return d + (double)rest;
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
