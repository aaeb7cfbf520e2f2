#include "planner/worker/figures.h"

#include "proto/util.h"

/* Without a power curve: the idle share of a loaded server's power (SPECpower results of the last
 * ten years lie between 20 and 50 %). */
#define IDLE_SHARE_PCT 40
/* Without an inlet sensor: what a machine room's cold aisle commonly has. */
#define INLET_GUESS_MILLI 25000

static int64_t add(int64_t a, int64_t b)
{
    if (a == QUANTITY_UNKNOWN || b == QUANTITY_UNKNOWN)
        return QUANTITY_UNKNOWN;
    return sat_add(a, b);
}

static int64_t move(int64_t a, int64_t b, int sign)
{
    if (b == QUANTITY_UNKNOWN)
        return QUANTITY_UNKNOWN;
    return add(a, sign * b);
}

void figures_of_host(const struct model *m, int host, struct figures *ret)
{
    const struct model_host *h = &m->hosts[host];
    *ret = (struct figures){
        .used_cores = h->used_cores, .memory_used_mib = h->used_mib, .cpu_celsius = h->cpu_celsius};
    for (int i = 0; i < h->n_vms; i++) {
        const struct model_vm *vm = &m->vms[h->vms[i]];
        if (!vm_takes_resources(vm))
            continue;
        ret->memory_mib = add(ret->memory_mib, vm->memory_mib);
        ret->vcpus = add(ret->vcpus, vm->vcpus);
        ret->vms++;
    }
}

void figures_move(struct figures *f, const struct model_vm *vm, milli heat, int sign)
{
    f->used_cores = move(f->used_cores, vm->cpu_used_cores, sign);
    f->memory_mib = move(f->memory_mib, vm->memory_mib, sign);
    f->memory_used_mib = move(f->memory_used_mib, vm->memory_used_mib, sign);
    f->vcpus = move(f->vcpus, vm->vcpus, sign);
    f->cpu_celsius = move(f->cpu_celsius, heat, sign);
    f->vms += sign;
    if (f->used_cores != QUANTITY_UNKNOWN)
        f->used_cores = MAX(f->used_cores, (int64_t)0);
    if (f->memory_used_mib != QUANTITY_UNKNOWN)
        f->memory_used_mib = MAX(f->memory_used_mib, (int64_t)0);
}

/* The part of the host's rise over its inlet that its load causes. */
static milli load_rise(const struct model_host *h)
{
    if (h->cpu_celsius == QUANTITY_UNKNOWN)
        return QUANTITY_UNKNOWN;
    milli inlet = h->inlet_celsius != QUANTITY_UNKNOWN ? h->inlet_celsius : INLET_GUESS_MILLI;
    milli rise = MAX(h->cpu_celsius - inlet, (milli)0);
    if (h->curve_watts[0] == QUANTITY_UNKNOWN || h->used_cores == QUANTITY_UNKNOWN)
        return rise * (100 - IDLE_SHARE_PCT) / 100;
    milli now = host_watts_at(h, h->used_cores);
    if (now == QUANTITY_UNKNOWN || now <= 0 || h->curve_watts[0] >= now)
        return rise * (100 - IDLE_SHARE_PCT) / 100;
    return rise * (now - h->curve_watts[0]) / now;
}

/* By what the rise is shared out: CPU use where it is known of every running VM, else vCPUs. */
static bool share_by_use(const struct model *m, const struct model_host *h)
{
    int64_t sum = 0;
    for (int i = 0; i < h->n_vms; i++) {
        const struct model_vm *vm = &m->vms[h->vms[i]];
        if (vm->state != VM_RUNNING)
            continue;
        if (vm->cpu_used_cores == QUANTITY_UNKNOWN)
            return false;
        sum = sat_add(sum, vm->cpu_used_cores);
    }
    return sum > 0;
}

static int64_t share(const struct model_vm *vm, bool by_use)
{
    if (vm->state != VM_RUNNING)
        return 0;
    int64_t s = by_use ? vm->cpu_used_cores : vm->vcpus;
    return s == QUANTITY_UNKNOWN ? 1 : s;
}

static void heat_of_host(const struct model *m, const struct model_host *h, milli *ret)
{
    milli rise = load_rise(h);
    bool by_use = share_by_use(m, h);
    int64_t sum = 0;
    for (int i = 0; i < h->n_vms; i++)
        sum = sat_add(sum, share(&m->vms[h->vms[i]], by_use));
    if (rise == QUANTITY_UNKNOWN || sum <= 0)
        return;
    for (int i = 0; i < h->n_vms; i++)
        ret[h->vms[i]] =
            (milli)((double)rise * (double)share(&m->vms[h->vms[i]], by_use) / (double)sum);
}

void figures_heat(const struct model *m, milli *ret)
{
    for (int v = 0; v < m->n_vms; v++)
        ret[v] = QUANTITY_UNKNOWN;
    for (int i = 0; i < m->n_hosts; i++)
        heat_of_host(m, &m->hosts[i], ret);
}
