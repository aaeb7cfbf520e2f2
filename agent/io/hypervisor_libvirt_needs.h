/* hypervisor_libvirt_needs.h - what a VM's definition asks of the hosts that it leaves and arrives
 * at, and what of it is wanting: pure. The VM's size, disks and devices are domain_xml's
 * (hypervisor_libvirt_xml.h); here is what only a look at both hosts can answer. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_NEEDS_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_NEEDS_H

#include "agent/core/hv.h"
#include "agent/io/hypervisor_libvirt_xml.h"

/* Names that were asked for; known is false where the host could not be asked. */
struct host_names {
    bool known;
    char **items;
    size_t n;
};

void host_names_done(struct host_names *names);

/* A network or a bridge. */
struct host_net {
    char *name;
    uint32_t mtu;      /* 0: not said */
    char *virtualport; /* "openvswitch", "802.1Qbh", ...; "" */
    struct host_names portgroups;
};

/* <network> or, of a host's bridge, <interface type='bridge'>. *ret is one that is to be freed. */
int net_xml_parse(const char *text, struct host_net *ret, struct err *err);
void net_xml_done(struct host_net *net);

struct need_disk {
    char *target, *path; /* path: of files and block devices; or NULL */
    char *pool;          /* of a volume; or NULL */
    char *cache;         /* "none", "writeback", ...; "" */
    char *secret;        /* UUID of what unlocks it or logs in; or NULL */
    bool block, readonly;
};

struct need_nic {
    bool network;                                    /* of libvirt's; else a bridge */
    char *source, *portgroup, *virtualport, *filter; /* "" where there is none */
    uint32_t mtu;                                    /* 0: not said */
};

struct vm_needs {
    char *name, *type, *arch, *machine, *emulator; /* or NULL */
    char *cpu; /* its <cpu> alone, to be compared; NULL: none, or one that is the host's own */
    bool cpu_of_host; /* host-passthrough or maximum: wants all that this host's processor has */
    char *security_model; /* of a label that is written down, not made at start; or NULL */
    uint64_t memory_mib;
    uint32_t page_kib;   /* huge pages; 0: none */
    uint64_t numa_nodes; /* bits of the nodes it is bound to strictly; 0: none */
    int cpu_highest;     /* number of the highest processor it is pinned to; -1: none */
    struct need_disk *disks;
    size_t n_disks;
    struct need_nic *nics;
    size_t n_nics;
};

int needs_xml_parse(const char *text, struct vm_needs *ret, struct err *err);
void needs_done(struct vm_needs *n);

/* What is known of one host. 0 and NULL: not known. */
struct host_facts {
    uint64_t qemu, libvirt;             /* versions, as libvirt counts them */
    Skein__HostCapability *cap;         /* machines, pages, nodes; owned */
    char *security_model;               /* "apparmor", "selinux"; "": none confines */
    struct host_names networks_of_host; /* active: of libvirt's */
    struct host_net *nets;              /* networks and bridges that could be read */
    size_t n_nets;
    struct host_names bridges, filters, secrets, pools;
    int cpus;       /* that it has; 0: not known */
    bool cpu_wrong; /* its processor cannot run the VM's <cpu>: */
    char cpu_why[256];
};

void host_facts_done(struct host_facts *f);

/* Adds what is wanting at the source itself (cache mode, names of devices). */
void needs_check_here(const struct vm_needs *n, const struct host_facts *here,
                      struct hv_findings *f);
/* Adds what is wanting at the destination, "to". */
void needs_check_there(const struct vm_needs *n, const struct host_facts *here, const char *to,
                       const struct host_facts *there, struct hv_findings *f);

/* "0-3,8" -> bits of the first 64, and the highest number; false: no such list. */
bool needs_cpu_list(const char *text, uint64_t *ret_bits, int *ret_highest);

#endif
