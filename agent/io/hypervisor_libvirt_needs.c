/* hypervisor_libvirt_needs.c - what a definition needs, held against two hosts. What is not known
 * of a host is not held against it: it is checked again by the one that can. */
#include "agent/io/hypervisor_libvirt_needs.h"

#include <stdio.h>

#include "agent/io/hypervisor.h"

#define QEMU_DROPS_CACHE 4000000 /* 4.0: it drops a file's pages before the other end reads it */

void host_facts_done(struct host_facts *f)
{
    if (f->cap != NULL)
        skein__host_capability__free_unpacked(f->cap, NULL);
    for (size_t i = 0; i < f->n_nets; i++)
        net_xml_done(&f->nets[i]);
    free(f->nets);
    free(f->security_model);
    host_names_done(&f->networks_of_host);
    host_names_done(&f->bridges);
    host_names_done(&f->filters);
    host_names_done(&f->secrets);
    host_names_done(&f->pools);
    *f = (struct host_facts){0};
}

static bool has(char *const *items, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

static bool lacks(const struct host_names *names, const char *text)
{
    return names->known && text != NULL && text[0] != '\0' && !has(names->items, names->n, text);
}

/* ---- at the source ---- */

/* With "unsafe", what the guest has flushed may be in this host's memory only. The others rely on
 * QEMU's dropping of what it holds of a file. */
static void check_cache(const struct vm_needs *n, const struct host_facts *here,
                        struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_disks; i++) {
        const struct need_disk *d = &n->disks[i];
        bool direct = strcmp(d->cache, "none") == 0 || strcmp(d->cache, "directsync") == 0;
        bool old = here->qemu != 0 && here->qemu < QEMU_DROPS_CACHE;
        if (d->readonly || direct || (!old && strcmp(d->cache, "unsafe") != 0))
            continue;
        finding_add(f, "CACHE_MODE", "set cache='none' on the disk, and restart the VM",
                    "disk %s is cached by this host (%s): the other end may read what is older",
                    d->target, d->cache[0] != '\0' ? d->cache : "QEMU's default");
    }
}

/* Such names are given in the order in which a kernel finds the devices. */
static bool name_is_unstable(const char *path)
{
    static const char *const of_kernel[] = {"/dev/sd", "/dev/vd", "/dev/hd", "/dev/dm-",
                                            "/dev/nvme"};
    for (size_t i = 0; i < ARRAY_SIZE(of_kernel); i++)
        if (strncmp(path, of_kernel[i], strlen(of_kernel[i])) == 0)
            return true;
    return false;
}

static void check_names(const struct vm_needs *n, struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_disks; i++)
        if (n->disks[i].block && n->disks[i].path != NULL && name_is_unstable(n->disks[i].path))
            finding_advise(f, "UNSTABLE_PATH",
                           "name it by /dev/disk/by-id, or by /dev/mapper with its multipath alias",
                           "disk %s is %s: another host may call another device that",
                           n->disks[i].target, n->disks[i].path);
}

void needs_check_here(const struct vm_needs *n, const struct host_facts *here,
                      struct hv_findings *f)
{
    check_cache(n, here, f);
    check_names(n, f);
}

/* ---- at the destination ---- */

static void version_text(uint64_t v, char ret[32])
{
    snprintf(ret, 32, "%u.%u.%u", (unsigned)(v / 1000000), (unsigned)(v / 1000 % 1000),
             (unsigned)(v % 1000));
}

static bool is_older(uint64_t here, uint64_t there, char ret_here[32], char ret_there[32])
{
    version_text(here, ret_here);
    version_text(there, ret_there);
    return here != 0 && there != 0 && there < here;
}

static void check_versions(const struct host_facts *here, const char *to,
                           const struct host_facts *there, struct hv_findings *f)
{
    static const char remedy[] = "upgrade that host first: a VM moves to newer ones";
    char a[32], b[32];
    if (is_older(here->qemu, there->qemu, a, b))
        finding_add(f, "QEMU_OLDER", remedy, "QEMU of %s is %s, this host's is %s", to, b, a);
    if (is_older(here->libvirt, there->libvirt, a, b))
        finding_advise(f, "LIBVIRT_OLDER", remedy, "libvirt of %s is %s, this host's is %s", to, b,
                       a);
}

static void check_processor(const struct vm_needs *n, const char *to,
                            const struct host_facts *there, struct hv_findings *f)
{
    const Skein__HostCapability *cap = there->cap;
    if (cap != NULL && n->arch != NULL && cap->arch != NULL && strcmp(n->arch, cap->arch) != 0)
        finding_add(f, "ARCH", "choose a host of the same architecture", "the VM is %s, %s is %s",
                    n->arch, to, cap->arch);
    if (cap != NULL && n->machine != NULL && cap->n_machines > 0 &&
        !has(cap->machines, cap->n_machines, n->machine))
        finding_add(f, "MACHINE", "upgrade QEMU there, or give the VM an older machine type",
                    "QEMU of %s does not know machine type %s", to, n->machine);
    if (there->cpu_wrong)
        finding_add(f, "CPU",
                    "give the VM a model that all hosts have (virsh hypervisor-cpu-baseline)",
                    "the processor of %s cannot run %s%s%s", to,
                    n->cpu_of_host ? "what the VM was given of this host's" : "the VM's CPU",
                    there->cpu_why[0] != '\0' ? ": " : "", there->cpu_why);
}

static void check_memory(const struct vm_needs *n, const char *to, const struct host_facts *there,
                         struct hv_findings *f)
{
    const Skein__HostCapability *cap = there->cap;
    uint64_t free_mib = 0;
    if (cap == NULL)
        return;
    for (size_t i = 0; i < cap->n_hugepages; i++)
        if (cap->hugepages[i]->size_kib == n->page_kib && cap->hugepages[i]->has_free)
            free_mib = cap->hugepages[i]->free * n->page_kib >> 10;
    if (n->page_kib > 0 && free_mib < n->memory_mib)
        finding_add(f, "HUGEPAGES", "reserve more there (vm.nr_hugepages)",
                    "the VM needs %llu MiB in pages of %u KiB, %s has %llu MiB of them free",
                    (unsigned long long)n->memory_mib, n->page_kib, to,
                    (unsigned long long)free_mib);
    if (cap->n_numa > 0 && cap->n_numa < 64 && n->numa_nodes >> cap->n_numa != 0)
        finding_add(f, "NUMA", "choose a host with as many nodes, or change the VM's <numatune>",
                    "the VM is bound to NUMA nodes that %s, with %zu, does not have", to,
                    cap->n_numa);
    if (there->cpus > 0 && n->cpu_highest >= there->cpus)
        finding_add(f, "PINNING", "change the VM's pinning (virsh vcpupin, emulatorpin)",
                    "the VM is pinned to processor %d, %s has %d", n->cpu_highest, to, there->cpus);
}

static void check_disks(const struct vm_needs *n, const char *to, const struct host_facts *there,
                        struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_disks; i++) {
        const struct need_disk *d = &n->disks[i];
        if (lacks(&there->pools, d->pool))
            finding_add(f, "STORAGE", "start it there (virsh pool-start)",
                        "disk %s is in pool %s, which is not active on %s", d->target, d->pool, to);
        if (lacks(&there->secrets, d->secret))
            finding_add(f, "SECRET", "define it there too (virsh secret-define, secret-set-value)",
                        "disk %s needs secret %s, which %s does not know", d->target, d->secret,
                        to);
    }
}

static const struct host_net *find_net(const struct host_facts *h, const char *name)
{
    for (size_t i = 0; i < h->n_nets; i++)
        if (strcmp(h->nets[i].name, name) == 0)
            return &h->nets[i];
    return NULL;
}

/* An unsaid MTU is the usual one. */
static uint32_t usual_mtu(uint32_t mtu)
{
    return mtu != 0 ? mtu : 1500;
}

/* The net is there on both hosts, under the same name: is it the same? */
static void check_net(const struct need_nic *nic, const struct host_net *here, const char *to,
                      const struct host_net *there, struct hv_findings *f)
{
    uint32_t wanted = MAX(nic->mtu, here != NULL ? usual_mtu(here->mtu) : 0);
    if (usual_mtu(there->mtu) < wanted)
        finding_add(f, "MTU", "raise it there: larger packets would be lost",
                    "\"%s\" has an MTU of %u on %s, the VM uses %u", nic->source,
                    usual_mtu(there->mtu), to, wanted);
    if (lacks(&there->portgroups, nic->portgroup))
        finding_add(f, "PORTGROUP", "add it to the network there (virsh net-edit)",
                    "network \"%s\" of %s has no port group \"%s\"", nic->source, to,
                    nic->portgroup);
    if (here != NULL && strcmp(here->virtualport, there->virtualport) != 0)
        finding_add(f, "VIRTUALPORT", "make the two networks alike",
                    "\"%s\" is of port type \"%s\" here, and \"%s\" on %s", nic->source,
                    here->virtualport, there->virtualport, to);
}

static void check_nics(const struct vm_needs *n, const struct host_facts *here, const char *to,
                       const struct host_facts *there, struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_nics; i++) {
        const struct need_nic *nic = &n->nics[i];
        const struct host_net *net = find_net(there, nic->source);
        if (lacks(nic->network ? &there->networks_of_host : &there->bridges, nic->source))
            finding_add(f, "NETWORK", "define and start it there", "%s \"%s\" is not active on %s",
                        nic->network ? "network" : "bridge", nic->source, to);
        else if (net != NULL)
            check_net(nic, find_net(here, nic->source), to, net, f);
        if (lacks(&there->filters, nic->filter))
            finding_add(f, "NWFILTER", "define it there too (virsh nwfilter-define)",
                        "filter \"%s\" is not defined on %s", nic->filter, to);
    }
}

static void check_security(const struct vm_needs *n, const struct host_facts *here, const char *to,
                           const struct host_facts *there, struct hv_findings *f)
{
    if (there->security_model == NULL)
        return;
    const char *name = there->security_model[0] != '\0' ? there->security_model : "none";
    if (n->security_model != NULL && strcmp(n->security_model, "dac") != 0 &&
        strcmp(n->security_model, there->security_model) != 0)
        finding_add(f, "SECURITY_MODEL", "choose a host of the same model, or drop the label",
                    "the VM's label is one of %s, %s has %s", n->security_model, to, name);
    else if (here->security_model != NULL && here->security_model[0] != '\0' &&
             there->security_model[0] == '\0')
        finding_advise(f, "SECURITY_MODEL", "set security_driver in its qemu.conf",
                       "this host confines its VMs by %s, %s by nothing", here->security_model, to);
}

void needs_check_there(const struct vm_needs *n, const struct host_facts *here, const char *to,
                       const struct host_facts *there, struct hv_findings *f)
{
    check_versions(here, to, there, f);
    check_processor(n, to, there, f);
    check_memory(n, to, there, f);
    check_disks(n, to, there, f);
    check_nics(n, here, to, there, f);
    check_security(n, here, to, there, f);
}
