/* survive.c - would the VMs of any k occupied hosts fit on the others that are up? A yes is a
 * packing that was found: the largest VM first, tried on every host that can take it, that with
 * most memory left first, going back where it leads nowhere, as often as the budget allows. */
#include <string.h>

#include "planner/check/world.h"
#include "proto/util.h"

#define TRIES 20000

struct loss {
    const struct world *w;
    bool *lost;              /* [host] */
    int64_t *memory, *vcpus; /* [host] left */
    int *vms, n_vms;         /* to be placed, the largest first */
    int tries;
};

static bool present(const struct world *w, int vm)
{
    return w->vms[vm].counts && w->vms[vm].at >= 0;
}

static int64_t plain_memory(const struct w_vm *vm)
{
    return vm->pages > 0 ? 0 : MAX(vm->memory, 0);
}

/* Pages of the VM's size free on a host as things stand: those free in the snapshot, and what its
 * VMs gave and took since. */
static int64_t free_pages(const struct world *w, const struct w_vm *vm, int host)
{
    size_t i;
    const json_t *pool;
    int64_t left = 0;
    json_array_foreach(json_object_get(w->hosts[host].json, "hugepages"), i, pool)
    {
        if (json_integer_value(json_object_get(pool, "size_kib")) == vm->page_kib)
            left = json_integer_value(json_object_get(pool, "free"));
    }
    for (int v = 0; v < w->n_vms; v++) {
        const struct w_vm *o = &w->vms[v];
        if (!o->counts || o->pages == 0 || o->page_kib != vm->page_kib)
            continue;
        left += o->home == host && !o->started && o->at != host ? o->pages : 0;
        left -= (o->home != host || o->started) && o->at == host ? o->pages : 0;
    }
    return left;
}

/* Of those placed on host before number n, the pages that are taken from vm's size. */
static int64_t pages_placed(const struct loss *x, const int *place, int n, int vm, int host)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        const struct w_vm *o = &x->w->vms[x->vms[i]];
        if (place[i] == host && o->page_kib == x->w->vms[vm].page_kib)
            sum += o->pages;
    }
    return sum;
}

/* Room for its disk is not counted, but a storage there must be, and be known. */
static bool disk_has_place(const struct loss *x, int vm, int host)
{
    const struct w_vm *v = &x->w->vms[vm];
    if (v->home == host || world_incompatible(x->w, vm, v->home, host, false) == NULL)
        return true; /* nothing to copy */
    const json_t *storages = json_object_get(x->w->hosts[host].json, "storage");
    int i = world_copy_target(v->json, storages);
    return i >= 0 &&
           json_is_number(json_object_get(json_array_get(storages, (size_t)i), "free_mib"));
}

static bool can_take(const struct loss *x, const int *place, int n, int vm, int host)
{
    const struct w_vm *v = &x->w->vms[vm];
    if (x->lost[host] || (plain_memory(v) > 0 && x->memory[host] < plain_memory(v)) ||
        (v->vcpus > 0 && x->vcpus[host] < v->vcpus) ||
        world_incompatible(x->w, vm, v->home, host, true) != NULL ||
        world_incompatible(x->w, vm, v->at, host, true) != NULL || !disk_has_place(x, vm, host))
        return false;
    return v->pages == 0 ||
           free_pages(x->w, v, host) - pages_placed(x, place, n, vm, host) >= v->pages;
}

static bool place_from(struct loss *x, int *place, int n)
{
    if (n == x->n_vms)
        return true;
    int vm = x->vms[n], hosts = x->w->n_hosts;
    const struct w_vm *v = &x->w->vms[vm];
    if (v->memory < 0 || v->vcpus < 0)
        return false; /* nobody can promise room for it */
    _cleanup_(freep) bool *tried = xcalloc((size_t)hosts + 1, sizeof *tried);
    while (x->tries > 0) {
        int best = -1;
        for (int h = 0; h < hosts; h++)
            if (!tried[h] && (best < 0 || x->memory[h] > x->memory[best]))
                best = h;
        if (best < 0)
            return false;
        tried[best] = true;
        if (!can_take(x, place, n, vm, best))
            continue;
        x->tries--;
        place[n] = best;
        x->memory[best] -= plain_memory(v);
        x->vcpus[best] -= v->vcpus;
        bool ok = place_from(x, place, n + 1);
        x->memory[best] += plain_memory(v);
        x->vcpus[best] += v->vcpus;
        if (ok)
            return true;
    }
    return false;
}

static void list_vms(struct loss *x)
{
    const struct world *w = x->w;
    x->n_vms = 0;
    for (int v = 0; v < w->n_vms; v++) {
        if (!present(w, v) || !x->lost[w->vms[v].at])
            continue;
        int at = x->n_vms++;
        for (; at > 0 && w->vms[x->vms[at - 1]].memory < w->vms[v].memory; at--)
            x->vms[at] = x->vms[at - 1];
        x->vms[at] = v;
    }
}

static void take_stock(struct loss *x)
{
    const struct world *w = x->w;
    for (int h = 0; h < w->n_hosts; h++) {
        x->memory[h] = w->hosts[h].memory;
        x->vcpus[h] = w->hosts[h].vcpus;
    }
    for (int v = 0; v < w->n_vms; v++)
        if (present(w, v)) {
            x->memory[w->vms[v].at] -= plain_memory(&w->vms[v]);
            x->vcpus[w->vms[v].at] -= MAX(w->vms[v].vcpus, 0);
        }
}

static bool fits_elsewhere(struct loss *x)
{
    _cleanup_(freep) int *place = xcalloc((size_t)x->w->n_vms + 1, sizeof *place);
    list_vms(x);
    x->tries = TRIES;
    return place_from(x, place, 0);
}

static bool lose(struct loss *x, int first, int64_t k)
{
    const struct world *w = x->w;
    bool any = false;
    if (k == 0)
        return fits_elsewhere(x);
    for (int h = first; h < w->n_hosts; h++) {
        bool occupied = false;
        for (int v = 0; v < w->n_vms && !occupied; v++)
            occupied = present(w, v) && w->vms[v].at == h;
        if (!occupied)
            continue;
        any = true;
        x->lost[h] = true;
        bool ok = lose(x, h + 1, k - 1);
        x->lost[h] = false;
        if (!ok)
            return false;
    }
    return any || fits_elsewhere(x);
}

bool world_survives(const struct world *w, int64_t k)
{
    size_t hosts = (size_t)w->n_hosts + 1;
    struct loss x = {.w = w,
                     .lost = xcalloc(hosts, sizeof(bool)),
                     .memory = xcalloc(hosts, sizeof(int64_t)),
                     .vcpus = xcalloc(hosts, sizeof(int64_t)),
                     .vms = xcalloc((size_t)w->n_vms + 1, sizeof(int))};
    take_stock(&x);
    bool ok = lose(&x, 0, k);
    free(x.lost);
    free(x.memory);
    free(x.vcpus);
    free(x.vms);
    return ok;
}
