/* reserve_room.c - is there room? What this host offers, what is taken of it here and by what is
 * expected, what one VM more needs. */
#include "agent/core/reserve_priv.h"

bool reserve_takes_room(const Skein__VmDetail *vm)
{
    return !vm->has_state ||
           (vm->state != SKEIN__VM_STATE__VM_STOPPED && vm->state != SKEIN__VM_STATE__VM_CRASHED);
}

const Skein__VmDetail *reserve_find_vm(Skein__VmDetail *const *vms, size_t n, const char *uuid)
{
    for (size_t i = 0; i < n; i++)
        if (vms[i]->uuid != NULL && strcmp(vms[i]->uuid, uuid) == 0)
            return vms[i];
    return NULL;
}

struct need {
    int64_t memory_mib, vcpus, pages;
};

static void need_add(struct need *sum, const struct need *more)
{
    sum->memory_mib = sat_add(sum->memory_mib, more->memory_mib);
    sum->vcpus = sat_add(sum->vcpus, more->vcpus);
    sum->pages = sat_add(sum->pages, more->pages);
}

bool reserve_size_known(const Skein__VmDetail *vm)
{
    return vm->has_memory_mib && vm->memory_mib != 0 && vm->has_vcpus && vm->vcpus != 0;
}

/* What a VM takes: pages of its size, or plain memory; pages of other sizes than page_kib are not
 * counted here. False where the size is unknown. */
static bool need_of(const Skein__VmDetail *vm, uint32_t page_kib, struct need *ret)
{
    *ret = (struct need){0};
    if (!reserve_size_known(vm))
        return false;
    ret->vcpus = vm->vcpus;
    if (!vm->has_hugepages_kib || vm->hugepages_kib == 0)
        ret->memory_mib = clamp(vm->memory_mib);
    else if (vm->hugepages_kib == page_kib)
        ret->pages = (sat_mul(clamp(vm->memory_mib), 1024) + page_kib - 1) / page_kib;
    return true;
}

/* What a hold takes beyond the domains that are there. From the journal only plain sizes are known:
 * counted as plain memory. */
static struct need need_of_hold(const struct hold *h, uint32_t page_kib)
{
    struct need need = {.memory_mib = clamp(h->record->memory_mib), .vcpus = h->record->vcpus};
    if (h->vm != NULL)
        need_of(h->vm, page_kib, &need);
    return need;
}

static int64_t hugepage_pools_mib(const struct room *room)
{
    int64_t sum = 0;
    const Skein__HostCapability *c = room->capability;
    for (size_t i = 0; c != NULL && i < c->n_hugepages; i++)
        sum =
            sat_add(sum, sat_mul(clamp(c->hugepages[i]->total), c->hugepages[i]->size_kib) / 1024);
    return sum;
}

static int64_t free_pages(const struct room *room, uint32_t page_kib)
{
    const Skein__HostCapability *c = room->capability;
    for (size_t i = 0; c != NULL && i < c->n_hugepages; i++)
        if (c->hugepages[i]->size_kib == page_kib && c->hugepages[i]->has_free)
            return clamp(c->hugepages[i]->free);
    return 0;
}

static int check_host(const struct room *room, struct err *err)
{
    const Skein__HostSummary *s = room->summary;
    if (s == NULL)
        return err_set(err, ERR_UNAVAILABLE, "this host has not been observed yet");
    if (s->has_hypervisor_ok && !s->hypervisor_ok)
        return err_set(err, ERR_UNAVAILABLE, "the hypervisor does not answer");
    if (s->has_state && s->state != SKEIN__HOST_STATE__HOST_UP)
        return err_set(err, ERR_UNAVAILABLE, "this host takes nothing in its state");
    if (!s->has_cores || s->cores == 0 || !s->has_memory_total_mib)
        return err_set(err, ERR_CAPACITY, "this host's cores or memory are not known");
    if (s->memory_used_mib > s->memory_total_mib || s->memory_reserved_mib > s->memory_total_mib)
        return err_set(err, ERR_CAPACITY, "this host's memory figures are implausible");
    return 0;
}

/* What the host has for VMs, after reserve, pools and overcommit. */
static struct need offer_of(const struct room *room, uint32_t page_kib)
{
    const Skein__HostSummary *s = room->summary;
    int64_t memory = clamp(s->memory_total_mib) - clamp(s->memory_reserved_mib);
    memory = MAX(sat_sub(memory, hugepage_pools_mib(room)), (int64_t)0);
    int64_t memory_milli = s->has_memory_overcommit_milli ? s->memory_overcommit_milli : 1000;
    int64_t cpu_milli = s->has_cpu_overcommit_milli ? s->cpu_overcommit_milli : 1000;
    return (struct need){.memory_mib = sat_mul(memory, memory_milli) / 1000,
                         .vcpus = sat_mul(s->cores, cpu_milli) / 1000,
                         .pages = free_pages(room, page_kib)};
}

/* Taken by the domains that are here (arriving ones too) and by the other holds. Pages in use are
 * off the free ones already, except those of domains still to come. */
static int sum_taken(const struct reserve *r, const struct room *room, const struct hold *self,
                     uint32_t page_kib, struct need *ret, struct err *err)
{
    struct need one;
    *ret = (struct need){0};
    for (size_t i = 0; i < room->n_vms; i++) {
        const Skein__VmDetail *vm = room->vms[i];
        if (!reserve_takes_room(vm) ||
            (vm->uuid != NULL && strcmp(vm->uuid, self->record->uuid) == 0))
            continue;
        if (!need_of(vm, 0, &one))
            return err_set(err, ERR_CAPACITY, "the size of %s, which is here, is not known",
                           vm->name != NULL ? vm->name : "a VM");
        need_add(ret, &one);
    }
    for (size_t i = 0; i < r->n; i++) {
        const struct hold *h = r->holds[i];
        const Skein__VmDetail *here = reserve_find_vm(room->vms, room->n_vms, h->record->uuid);
        if (h == self || (here != NULL && reserve_takes_room(here)))
            continue;
        one = need_of_hold(h, page_kib);
        need_add(ret, &one);
    }
    return 0;
}

int reserve_check_room(const struct reserve *r, const struct room *room, const struct hold *self,
                       struct err *err)
{
    uint32_t page_kib = self->vm->has_hugepages_kib ? self->vm->hugepages_kib : 0;
    struct need need, taken;
    if (check_host(room, err) < 0)
        return -(int)err->code;
    const Skein__VmDetail *here = reserve_find_vm(room->vms, room->n_vms, self->record->uuid);
    if (here != NULL && reserve_takes_room(here))
        return err_set(err, ERR_CONFLICT, "%s is on this host already", self->record->vm);
    need_of(self->vm, page_kib, &need);
    if (sum_taken(r, room, self, page_kib, &taken, err) < 0)
        return -(int)err->code;
    struct need offer = offer_of(room, page_kib);
    if (need.memory_mib > 0 && sat_add(taken.memory_mib, need.memory_mib) > offer.memory_mib)
        return err_set(err, ERR_CAPACITY, "%s needs %lld MiB, %lld of %lld MiB are taken",
                       self->record->vm, (long long)need.memory_mib, (long long)taken.memory_mib,
                       (long long)offer.memory_mib);
    if (sat_add(taken.vcpus, need.vcpus) > offer.vcpus)
        return err_set(err, ERR_CAPACITY, "%s needs %lld vCPUs, %lld of %lld are taken",
                       self->record->vm, (long long)need.vcpus, (long long)taken.vcpus,
                       (long long)offer.vcpus);
    if (sat_add(taken.pages, need.pages) > offer.pages)
        return err_set(err, ERR_CAPACITY, "%s needs %lld huge pages of %u KiB, %lld are free",
                       self->record->vm, (long long)need.pages, page_kib,
                       (long long)MAX(offer.pages - taken.pages, 0));
    return 0;
}
