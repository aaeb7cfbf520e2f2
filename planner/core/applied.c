#include "planner/core/applied.h"

#include <string.h>

#include "proto/util.h"

static void *copy_array(struct arena *a, const void *from, int n, size_t size)
{
    void *to = arena_array(a, (size_t)n, size);
    if (n > 0)
        memcpy(to, from, (size_t)n * size);
    return to;
}

static void copy_hosts(struct model *m)
{
    struct arena *a = &m->arena;
    m->hosts = copy_array(a, m->hosts, m->n_hosts, sizeof *m->hosts);
    for (int i = 0; i < m->n_hosts; i++) {
        struct model_host *h = &m->hosts[i];
        h->hugepages = copy_array(a, h->hugepages, h->n_hugepages, sizeof *h->hugepages);
        h->numa = copy_array(a, h->numa, h->n_numa, sizeof *h->numa);
        h->storage = copy_array(a, h->storage, h->n_storage, sizeof *h->storage);
        h->n_vms = 0;
    }
}

static void list_vms(struct model *m)
{
    for (int v = 0; v < m->n_vms; v++)
        if (m->vms[v].host != MODEL_NONE)
            m->hosts[m->vms[v].host].n_vms++;
    for (int h = 0; h < m->n_hosts; h++) {
        m->hosts[h].vms = arena_array(&m->arena, (size_t)m->hosts[h].n_vms, sizeof(int));
        m->hosts[h].n_vms = 0;
    }
    for (int v = 0; v < m->n_vms; v++)
        if (m->vms[v].host != MODEL_NONE) {
            struct model_host *h = &m->hosts[m->vms[v].host];
            h->vms[h->n_vms++] = v;
        }
}

static void add_pages(struct model_host *h, const struct model_vm *vm, int64_t pages)
{
    for (int i = 0; i < h->n_hugepages; i++)
        if (h->hugepages[i].size_kib == vm->hugepages_kib &&
            h->hugepages[i].free != QUANTITY_UNKNOWN)
            h->hugepages[i].free += pages;
}

static void take_disk(struct model_host *h, const struct model_vm *vm)
{
    struct model_storage *s = (struct model_storage *)fit_copy_target(vm, h); /* of m's copy */
    if (s != NULL && s->free_mib != QUANTITY_UNKNOWN && vm->local_disk_mib != QUANTITY_UNKNOWN)
        s->free_mib = MAX(s->free_mib - vm->local_disk_mib, 0);
}

bool applied_take_nodes(const struct model_vm *vm, const struct model_host *h, int64_t *free_mib)
{
    int64_t nodes = vm->numa_nodes, mib = (vm->memory_mib + nodes - 1) / nodes;
    uint64_t taken = 0;
    for (int64_t k = 0; k < nodes; k++) {
        int best = -1;
        for (int i = 0; i < MIN(h->n_numa, 64); i++)
            if ((taken >> i & 1) == 0 && sat_mul(h->numa[i].cores, nodes) >= vm->vcpus * 1000 &&
                (best < 0 || free_mib[i] > free_mib[best]))
                best = i;
        if (best < 0 || free_mib[best] < mib)
            return false;
        taken |= UINT64_C(1) << best;
        free_mib[best] -= mib;
    }
    return true;
}

static void take_nodes(struct model_host *h, const struct model_vm *vm)
{
    if (vm->numa_nodes == QUANTITY_UNKNOWN || vm->numa_nodes <= 0 || h->n_numa == 0)
        return;
    _cleanup_(freep) int64_t *free_mib = xcalloc((size_t)h->n_numa, sizeof *free_mib);
    for (int i = 0; i < h->n_numa; i++)
        free_mib[i] = h->numa[i].free_mib;
    if (!applied_take_nodes(vm, h, free_mib))
        return;
    for (int i = 0; i < h->n_numa; i++)
        h->numa[i].free_mib = free_mib[i];
}

static void move(struct model *m, int v, int to)
{
    struct model_vm *vm = &m->vms[v];
    struct model_host *a = &m->hosts[vm->host], *b = &m->hosts[to];
    add_pages(a, vm, fit_hugepages(vm));
    add_pages(b, vm, -fit_hugepages(vm));
    if (fit_has_local_disk(vm, a))
        take_disk(b, vm);
    take_nodes(b, vm);
    vm->host = to;
}

struct model *applied_new(const struct model *m, const int *at)
{
    struct model *x = xcalloc(1, sizeof *x);
    *x = *m;
    x->arena = (struct arena){0};
    copy_hosts(x);
    x->vms = copy_array(&x->arena, m->vms, m->n_vms, sizeof *x->vms);
    for (int v = 0; v < m->n_vms; v++)
        if (at[v] >= 0 && at[v] != x->vms[v].host)
            move(x, v, at[v]);
    list_vms(x);
    return x;
}
