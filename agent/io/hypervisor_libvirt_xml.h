/* hypervisor_libvirt_xml.h - what libvirt's XML says, without libvirt: pure and bounded.
 * The texts are outside input: at most LIBVIRT_XML_MAX bytes, no entities, no network; strings that
 * may not stand in a message are dropped or, where they identify, refused. Messages that are filled
 * here are freed with their free_unpacked(m, NULL). */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_XML_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/baseline.h"
#include "proto/err.h"
#include "proto/skein.pb-c.h"
#include "proto/util.h"

#define LIBVIRT_XML_MAX (4u << 20)

/* The namespace of what Skein keeps in a domain's <metadata>:
 *   <skein:vm xmlns:skein="https://skein.dev/domain/1">
 *     <skein:owner>shop</skein:owner> <skein:priority>50</skein:priority>
 *     <skein:tag name="tier" value="gold"/>
 *     <skein:hold_until>2026-12-01T00:00:00Z</skein:hold_until>
 *     <skein:max_downtime_ms>500</skein:max_downtime_ms>
 *     <skein:postcopy_allowed>no</skein:postcopy_allowed>
 *   </skein:vm> */
#define LIBVIRT_METADATA_URI "https://skein.dev/domain/1"

enum disk_kind { DISK_FILE, DISK_BLOCK, DISK_VOLUME, DISK_NETWORK, DISK_OTHER };

struct domain_disk {
    enum disk_kind kind;
    char *target; /* "vda" */
    char *path;   /* FILE, BLOCK; or NULL */
    char *pool;   /* VOLUME: the pool's name */
    char *source; /* NETWORK: protocol and the name's first part: "rbd:vms", "nbd:disk1" */
    bool readonly, shareable, transient, cdrom;
};

struct domain_xml {
    Skein__VmDetail *vm; /* what does not change while it runs; storage and local disks excepted */
    struct domain_disk *disks;
    size_t n_disks;
    bool locked_by_lease; /* a <lease>: a lock manager guards it */
    char warning[256];    /* the first thing wrong with our metadata, or "" */
};

/* Adds to ret what a live definition says, in lines (agent/core/baseline.h). */
int baseline_xml_read(const char *text, struct baseline *ret, struct err *err);

int domain_xml_parse(const char *text, struct domain_xml *ret, struct err *err);
void domain_xml_done(struct domain_xml *d);

/* ---- the host ---- */

/* Adds to cap: arch, cpu_model, machines, huge pages (total) and NUMA nodes (cores, memory). The
 * guest that is read is that of the host's own architecture. */
struct caps_xml {
    char *arch;
    char *emulator; /* or NULL */
    bool kvm;       /* hardware virtualization is there for that guest */
};

int caps_xml_parse(const char *text, uint32_t page_kib, Skein__HostCapability *cap,
                   struct caps_xml *ret, struct err *err);
void caps_xml_done(struct caps_xml *c);

/* Adds usable_models to cap. *ret_host_cpu: the <cpu> that host-model stands for, as XML to expand,
 * or NULL; the caller frees it. */
int domcaps_xml_parse(const char *text, Skein__HostCapability *cap, char **ret_host_cpu,
                      struct err *err);

/* Adds the features that <cpu> requires to cap->cpu_features, sorted. */
int cpu_xml_parse(const char *text, Skein__HostCapability *cap, struct err *err);

struct pool_xml {
    char *name;
    char *type;   /* "dir", "netfs", "rbd", ... */
    char *path;   /* target, "" when there is none */
    char *source; /* its name at the source: rbd's and gluster's pool; "" */
};

int pool_xml_parse(const char *text, struct pool_xml *ret, struct err *err);
void pool_xml_done(struct pool_xml *p);

/* ---- repeated strings of messages ---- */

void strings_add(char ***items, size_t *n, const char *text); /* copies; equal ones only once */
void strings_sort(char **items, size_t n);

#endif
