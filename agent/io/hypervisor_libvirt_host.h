/* hypervisor_libvirt_host.h - what the host has, through libvirt: capability, pools, networks. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_HOST_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_HOST_H

#include <libvirt/libvirt.h>

#include "agent/io/hypervisor_libvirt_xml.h"

struct host_pool {
    struct pool_xml xml;
    bool shared;
};

struct host_pools {
    struct host_pool *items;
    size_t n;
    char *mounts; /* as they were then, "" when unreadable */
};

void host_pools_done(struct host_pools *pools);

/* What changes with an upgrade only: architecture, CPU, machine types, sizes of memory, versions.
 * Some 100 ms. The caller frees it. */
int host_capability(virConnectPtr conn, Skein__HostCapability **ret, struct err *err);

/* Adds to cap the storage pools, and says them to put disks to. */
int host_storage(virConnectPtr conn, Skein__HostCapability *cap, struct host_pools *ret,
                 struct err *err);

/* How many of its huge pages are free, where that is known. */
void host_free_pages(virConnectPtr conn, Skein__HostCapability *cap);

/* Adds to cap what changes while the host runs: storage, networks, free pages and free memory of
 * the nodes; and says the pools to put disks to. */
int host_resources(virConnectPtr conn, Skein__HostCapability *cap, struct host_pools *ret,
                   struct err *err);

/* The storage that this disk needs, by name. It is "" where the VM needs no storage of the host: a
 * network disk without a pool, which QEMU reaches from anywhere or else refuses in time; a local
 * file outside of all pools. A shared file system without a pool is named by where it is mounted,
 * which no host states: define a pool. */
void host_disk_place(const struct host_pools *pools, const struct domain_disk *disk, char *name,
                     size_t size, bool *ret_shared);

/* MiB that must be copied if this local disk is to move; at least 1. */
uint64_t host_disk_mib(const struct domain_disk *disk);

struct host_memory {
    uint64_t total_mib, available_mib;
};

/* local: the connection is to this very machine. */
int host_memory(virConnectPtr conn, bool local, struct host_memory *ret, struct err *err);

#endif
