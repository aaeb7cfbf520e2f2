/* hypervisor_libvirt_facts.c - what two hosts have of what a VM needs, asked of their libvirts.
 * What cannot be asked is not known, and not an error. */
#include <stdio.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_facts.h"
#include "proto/codec.h"

#define PAGE_KIB 4 /* what every host has is not asked for */

/* ---- names ---- */

static void name_add(struct host_names *names, const char *name)
{
    if (name != NULL && codec_text_ok(name, CODEC_NAME_MAX))
        strings_add(&names->items, &names->n, name);
}

/* Lists what LIST(conn) has, by what NAME(item) says. */
#define LIST_NAMES(type, list, flags, get_name, drop)                                              \
    do {                                                                                           \
        type *items = NULL;                                                                        \
        int n = list(conn, &items, flags);                                                         \
        ret->known = n >= 0;                                                                       \
        for (int i = 0; i < n; i++) {                                                              \
            name_add(ret, get_name(items[i]));                                                     \
            drop(items[i]);                                                                        \
        }                                                                                          \
        free(items);                                                                               \
    } while (0)

static void read_network_names(virConnectPtr conn, struct host_names *ret)
{
    LIST_NAMES(virNetworkPtr, virConnectListAllNetworks, VIR_CONNECT_LIST_NETWORKS_ACTIVE,
               virNetworkGetName, virNetworkFree);
}

/* A host without any interface has none that could be asked. */
static void read_bridge_names(virConnectPtr conn, struct host_names *ret)
{
    LIST_NAMES(virInterfacePtr, virConnectListAllInterfaces, VIR_CONNECT_LIST_INTERFACES_ACTIVE,
               virInterfaceGetName, virInterfaceFree);
    ret->known = ret->n > 0;
}

static void read_filter_names(virConnectPtr conn, struct host_names *ret)
{
    LIST_NAMES(virNWFilterPtr, virConnectListAllNWFilters, 0, virNWFilterGetName, virNWFilterFree);
}

static void read_pool_names(virConnectPtr conn, struct host_names *ret)
{
    LIST_NAMES(virStoragePoolPtr, virConnectListAllStoragePools,
               VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, virStoragePoolGetName, virStoragePoolFree);
}

static void read_secrets(virConnectPtr conn, struct host_names *ret)
{
    virSecretPtr *items = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int n = virConnectListAllSecrets(conn, &items, 0);
    ret->known = n >= 0;
    for (int i = 0; i < n; i++) {
        if (virSecretGetUUIDString(items[i], uuid) == 0)
            name_add(ret, uuid);
        virSecretFree(items[i]);
    }
    free(items);
}

/* ---- networks and bridges that the VM uses ---- */

static char *network_xml(virConnectPtr conn, const char *name)
{
    virNetworkPtr net = virNetworkLookupByName(conn, name);
    char *text = net != NULL ? virNetworkGetXMLDesc(net, 0) : NULL;
    if (net != NULL)
        virNetworkFree(net);
    return text;
}

static char *bridge_xml(virConnectPtr conn, const char *name)
{
    virInterfacePtr bridge = virInterfaceLookupByName(conn, name);
    char *text = bridge != NULL ? virInterfaceGetXMLDesc(bridge, 0) : NULL;
    if (bridge != NULL)
        virInterfaceFree(bridge);
    return text;
}

static void read_nets(virConnectPtr conn, const struct vm_needs *n, struct host_facts *f)
{
    f->nets = xcalloc(n->n_nics + 1, sizeof *f->nets);
    for (size_t i = 0; i < n->n_nics; i++) {
        struct err err;
        const struct need_nic *nic = &n->nics[i];
        _cleanup_(freep) char *text =
            nic->network ? network_xml(conn, nic->source) : bridge_xml(conn, nic->source);
        if (text != NULL && net_xml_parse(text, &f->nets[f->n_nets], &err) == 0)
            f->n_nets++;
    }
}

/* ---- processor, memory, security ---- */

static void read_capability(virConnectPtr conn, struct host_facts *f)
{
    struct err err;
    struct caps_xml c = {0};
    _cleanup_(freep) char *text = virConnectGetCapabilities(conn);
    Skein__HostCapability *cap = xmalloc(sizeof *cap);
    skein__host_capability__init(cap);
    if (text != NULL && caps_xml_parse(text, PAGE_KIB, cap, &c, &err) == 0) {
        host_free_pages(conn, cap);
        f->cap = cap;
    } else {
        skein__host_capability__free_unpacked(cap, NULL);
    }
    caps_xml_done(&c);
}

/* What this host's processor gives to a VM that is to have all of it. */
static char *own_cpu(virConnectPtr conn, const struct vm_needs *n)
{
    struct err err;
    char *cpu = NULL;
    _cleanup_(freep) char *text =
        virConnectGetDomainCapabilities(conn, NULL, n->arch, NULL, n->type, 0);
    Skein__HostCapability *cap = xmalloc(sizeof *cap);
    skein__host_capability__init(cap);
    if (text != NULL && domcaps_xml_parse(text, cap, &cpu, &err) < 0)
        cpu = NULL;
    skein__host_capability__free_unpacked(cap, NULL);
    return cpu;
}

static void compare_cpu(virConnectPtr here, virConnectPtr there, const struct vm_needs *n,
                        struct host_facts *f)
{
    _cleanup_(freep) char *own = n->cpu_of_host ? own_cpu(here, n) : NULL;
    const char *cpu = n->cpu_of_host ? own : n->cpu;
    if (cpu == NULL || n->arch == NULL || n->type == NULL)
        return;
    int rc = virConnectCompareHypervisorCPU(there, NULL, n->arch, NULL, n->type, cpu,
                                            VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE);
    const virError *e = virGetLastError();
    f->cpu_wrong = rc == VIR_CPU_COMPARE_INCOMPATIBLE ||
                   (rc < 0 && e != NULL && e->code == VIR_ERR_CPU_INCOMPATIBLE);
    if (f->cpu_wrong && e != NULL && e->message != NULL)
        snprintf(f->cpu_why, sizeof f->cpu_why, "%s", e->message);
}

static void read_host(virConnectPtr conn, struct host_facts *f)
{
    unsigned long version;
    virSecurityModel model;
    f->qemu = virConnectGetVersion(conn, &version) == 0 ? version : 0;
    f->libvirt = virConnectGetLibVersion(conn, &version) == 0 ? version : 0;
    if (virNodeGetSecurityModel(conn, &model) == 0)
        f->security_model = xstrdup(strcmp(model.model, "none") == 0 ? "" : model.model);
    f->cpus = MAX(virNodeGetCPUMap(conn, NULL, NULL, 0), 0);
}

void host_facts_here(virConnectPtr conn, const struct vm_needs *n, struct host_facts *ret)
{
    *ret = (struct host_facts){0};
    read_host(conn, ret);
    read_nets(conn, n, ret);
}

void host_facts_there(virConnectPtr here, virConnectPtr there, const struct vm_needs *n,
                      struct host_facts *ret)
{
    *ret = (struct host_facts){0};
    read_host(there, ret);
    read_capability(there, ret);
    compare_cpu(here, there, n, ret);
    read_nets(there, n, ret);
    read_network_names(there, &ret->networks_of_host);
    read_bridge_names(there, &ret->bridges);
    read_filter_names(there, &ret->filters);
    read_pool_names(there, &ret->pools);
    read_secrets(there, &ret->secrets);
}
