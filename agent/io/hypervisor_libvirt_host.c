#include "agent/io/hypervisor_libvirt_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/probe.h"
#include "proto/codec.h"
#include "proto/log.h"

#define CELLS_MAX 256

static void skein_capability_drop(Skein__HostCapability **p)
{
    if (*p != NULL)
        skein__host_capability__free_unpacked(*p, NULL);
}

/* ---- what stays ---- */

static char *version_text(unsigned long v)
{
    return xasprintf("%lu.%lu.%lu", v / 1000000, v / 1000 % 1000, v % 1000);
}

static void read_versions(virConnectPtr conn, Skein__HostCapability *cap)
{
    unsigned long version;
    if (virConnectGetVersion(conn, &version) == 0)
        cap->qemu = version_text(version);
    if (virConnectGetLibVersion(conn, &version) == 0)
        cap->libvirt = version_text(version);
}

/* host-model's <cpu> lists only what differs from its model: libvirt spells it out. */
static void read_cpu_features(virConnectPtr conn, const struct caps_xml *c, const char *type,
                              const char *cpu, Skein__HostCapability *cap)
{
    const char *cpus[] = {cpu};
    struct err err;
    _cleanup_(freep) char *full = virConnectBaselineHypervisorCPU(
        conn, c->emulator, c->arch, NULL, type, cpus, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES);
    if (full == NULL) {
        libvirt_error(&err, "the host's CPU features");
        log_debug("%s", err.msg);
    }
    if (cpu_xml_parse(full != NULL ? full : cpu, cap, &err) < 0)
        log_warn("%s", err.msg);
}

static void forget_models(Skein__HostCapability *cap)
{
    for (size_t i = 0; i < cap->n_usable_models; i++)
        free(cap->usable_models[i]);
    free(cap->usable_models);
    cap->usable_models = NULL;
    cap->n_usable_models = 0;
}

/* There are machines with a /dev/kvm that cannot run the simplest 64-bit model (nested in something
 * that is not quite a processor). Guests there are emulated: that is what counts then. */
static bool kvm_is_real(const Skein__HostCapability *cap)
{
    bool found = strcmp(cap->arch, "x86_64") != 0;
    for (size_t i = 0; i < cap->n_usable_models && !found; i++)
        found = strcmp(cap->usable_models[i], "qemu64") == 0;
    return found;
}

/* Drivers without domain capabilities state no models: then only equal models fit. */
static int read_domain_capabilities(virConnectPtr conn, const struct caps_xml *c,
                                    Skein__HostCapability *cap, struct err *err)
{
    static const char *const types[] = {"kvm", "qemu"};
    for (size_t i = c->kvm ? 0 : 1; i < ARRAY_SIZE(types); i++) {
        _cleanup_(freep) char *cpu = NULL;
        _cleanup_(freep) char *text =
            virConnectGetDomainCapabilities(conn, c->emulator, c->arch, NULL, types[i], 0);
        if (text == NULL)
            return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT
                       ? 0
                       : libvirt_error(err, "domain capabilities");
        if (domcaps_xml_parse(text, cap, &cpu, err) < 0)
            return -(int)err->code;
        if (i == 0 && !kvm_is_real(cap)) {
            forget_models(cap);
            continue;
        }
        if (cpu != NULL)
            read_cpu_features(conn, c, types[i], cpu, cap);
        break;
    }
    return 0;
}

int host_capability(virConnectPtr conn, Skein__HostCapability **ret, struct err *err)
{
    _cleanup_(freep) char *text = virConnectGetCapabilities(conn);
    if (text == NULL)
        return libvirt_error(err, "the host's capabilities");
    _cleanup_(skein_capability_drop) Skein__HostCapability *cap = xmalloc(sizeof *cap);
    skein__host_capability__init(cap);
    struct caps_xml c = {0};
    uint32_t page_kib = (uint32_t)(sysconf(_SC_PAGESIZE) / 1024);
    int rc = caps_xml_parse(text, page_kib, cap, &c, err);
    if (rc == 0)
        rc = read_domain_capabilities(conn, &c, cap, err);
    caps_xml_done(&c);
    if (rc < 0)
        return rc;
    read_versions(conn, cap);
    *ret = TAKE_PTR(cap);
    return 0;
}

/* ---- pools ---- */

static bool pool_is_shared(const char *mounts, const struct pool_xml *p)
{
    static const char *const types[] = {"netfs", "rbd", "gluster", "iscsi", "iscsi-direct", NULL};
    struct probe_mount m;
    for (size_t i = 0; types[i] != NULL; i++)
        if (strcmp(p->type, types[i]) == 0)
            return true;
    return p->path[0] == '/' && probe_mount_of(mounts, p->path, &m) && m.shared;
}

/* Free space: of local directories from the file system itself (libvirt's number is as old as the
 * pool's last refresh), of all others from libvirt, as a dead server must not hang us. */
static void pool_space(virStoragePoolPtr pool, const struct host_pool *p, Skein__Pool *out)
{
    struct statvfs fs;
    virStoragePoolInfo info;
    bool directory = strcmp(p->xml.type, "dir") == 0 || strcmp(p->xml.type, "fs") == 0;
    if (!p->shared && directory && statvfs(p->xml.path, &fs) == 0) {
        out->free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
        out->total_mib = (uint64_t)fs.f_blocks * fs.f_frsize >> 20;
    } else if (virStoragePoolGetInfo(pool, &info) == 0) {
        out->free_mib = info.available >> 20;
        out->total_mib = info.capacity >> 20;
    } else {
        return;
    }
    out->has_free_mib = out->has_total_mib = out->free_mib <= out->total_mib;
}

static void add_pool(virStoragePoolPtr pool, Skein__HostCapability *cap, struct host_pools *pools)
{
    struct err err = {0};
    struct host_pool p = {0};
    _cleanup_(freep) char *text = virStoragePoolGetXMLDesc(pool, 0);
    if (text == NULL)
        return; /* stopped meanwhile */
    if (pool_xml_parse(text, &p.xml, &err) < 0) {
        log_warn("%s", err.msg);
        return;
    }
    p.shared = pool_is_shared(pools->mounts, &p.xml);
    pools->items = xrealloc(pools->items, pools->n + 1, sizeof *pools->items);
    pools->items[pools->n++] = p;
    cap->storage = xrealloc(cap->storage, cap->n_storage + 1, sizeof *cap->storage);
    Skein__Pool *out = cap->storage[cap->n_storage++] = xmalloc(sizeof *out);
    skein__pool__init(out);
    out->name = xstrdup(p.xml.name);
    out->has_shared = 1;
    out->shared = p.shared;
    pool_space(pool, &p, out);
}

static int compare_pools(const void *a, const void *b)
{
    return strcmp((*(Skein__Pool *const *)a)->name, (*(Skein__Pool *const *)b)->name);
}

static int read_pools(virConnectPtr conn, Skein__HostCapability *cap, struct host_pools *pools,
                      struct err *err)
{
    virStoragePoolPtr *list = NULL;
    int n = virConnectListAllStoragePools(conn, &list, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE);
    if (n < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0
                                                           : libvirt_error(err, "storage pools");
    for (int i = 0; i < n; i++) {
        add_pool(list[i], cap, pools);
        virStoragePoolFree(list[i]);
    }
    free(list);
    if (cap->n_storage > 1)
        qsort(cap->storage, cap->n_storage, sizeof *cap->storage, compare_pools);
    return 0;
}

void host_pools_done(struct host_pools *pools)
{
    for (size_t i = 0; i < pools->n; i++)
        pool_xml_done(&pools->items[i].xml);
    free(pools->items);
    free(pools->mounts);
    *pools = (struct host_pools){0};
}

/* ---- networks, memory ---- */

static int read_networks(virConnectPtr conn, Skein__HostCapability *cap, struct err *err)
{
    virNetworkPtr *list = NULL;
    int n = virConnectListAllNetworks(conn, &list, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
    if (n < 0 && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
        return libvirt_error(err, "networks");
    for (int i = 0; i < n; i++) {
        const char *name = virNetworkGetName(list[i]);
        if (name != NULL && codec_text_ok(name, CODEC_NAME_MAX))
            strings_add(&cap->networks, &cap->n_networks, name);
        virNetworkFree(list[i]);
    }
    free(list);
    size_t n_bridges;
    char **bridges = probe_bridges(&n_bridges);
    for (size_t i = 0; i < n_bridges; i++) {
        if (codec_text_ok(bridges[i], CODEC_NAME_MAX))
            strings_add(&cap->networks, &cap->n_networks, bridges[i]);
        free(bridges[i]);
    }
    free(bridges);
    strings_sort(cap->networks, cap->n_networks);
    return 0;
}

void host_free_pages(virConnectPtr conn, Skein__HostCapability *cap)
{
    for (size_t i = 0; i < cap->n_hugepages; i++) {
        Skein__HugePages *h = cap->hugepages[i];
        unsigned size = h->size_kib;
        unsigned long long count = 0;
        h->has_free =
            virNodeGetFreePages(conn, 1, &size, -1, 1, &count, 0) == 1 && count <= h->total;
        h->free = h->has_free ? count : 0;
    }
}

/* A node that says it has more free than it has is not believed, and then none is. */
static void read_cells(virConnectPtr conn, Skein__HostCapability *cap)
{
    unsigned long long free_bytes[CELLS_MAX];
    int n = cap->n_numa <= CELLS_MAX
                ? virNodeGetCellsFreeMemory(conn, free_bytes, 0, (int)cap->n_numa)
                : -1;
    bool believed = n == (int)cap->n_numa;
    for (int i = 0; believed && i < n; i++)
        believed = cap->numa[i]->has_memory_mib && free_bytes[i] >> 20 <= cap->numa[i]->memory_mib;
    for (size_t i = 0; believed && i < cap->n_numa; i++) {
        cap->numa[i]->has_free_mib = 1;
        cap->numa[i]->free_mib = free_bytes[i] >> 20;
    }
}

int host_storage(virConnectPtr conn, Skein__HostCapability *cap, struct host_pools *ret,
                 struct err *err)
{
    struct host_pools pools = {.mounts = probe_mounts()};
    if (pools.mounts == NULL)
        pools.mounts = xstrdup("");
    if (read_pools(conn, cap, &pools, err) < 0) {
        host_pools_done(&pools);
        return -(int)err->code;
    }
    *ret = pools;
    return 0;
}

int host_resources(virConnectPtr conn, Skein__HostCapability *cap, struct host_pools *ret,
                   struct err *err)
{
    if (read_networks(conn, cap, err) < 0)
        return -(int)err->code;
    host_free_pages(conn, cap);
    read_cells(conn, cap);
    return host_storage(conn, cap, ret, err);
}

/* False: this driver has no such statistics. */
static bool memory_stats(virConnectPtr conn, struct host_memory *ret)
{
    virNodeMemoryStats stats[16];
    int n = 0;
    if (virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &n, 0) < 0 || n <= 0 ||
        n > (int)ARRAY_SIZE(stats) ||
        virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &n, 0) < 0)
        return false;
    for (int i = 0; i < n; i++) {
        if (strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL) == 0)
            ret->total_mib = stats[i].value >> 10;
        else
            ret->available_mib += stats[i].value >> 10; /* free, buffers, cached */
    }
    return true;
}

int host_memory(virConnectPtr conn, bool local, struct host_memory *ret, struct err *err)
{
    struct host_memory m = {0};
    if (!memory_stats(conn, &m)) {
        virNodeInfo info;
        if (virNodeGetInfo(conn, &info) < 0)
            return libvirt_error(err, "the host's memory");
        m.total_mib = info.memory >> 10;
        m.available_mib = virNodeGetFreeMemory(conn) >> 20;
    }
    int64_t exact = local ? probe_available_mib() : QUANTITY_UNKNOWN;
    if (exact != QUANTITY_UNKNOWN)
        m.available_mib = (uint64_t)exact;
    m.available_mib = MIN(m.available_mib, m.total_mib);
    *ret = m;
    return 0;
}

/* ---- disks ---- */

static bool is_below(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return n > 1 && strncmp(path, directory, n) == 0 && path[n] == '/';
}

static const struct host_pool *pool_of(const struct host_pools *pools,
                                       const struct domain_disk *disk)
{
    const struct host_pool *best = NULL;
    for (size_t i = 0; i < pools->n; i++) {
        const struct host_pool *p = &pools->items[i];
        bool match = false;
        if (disk->kind == DISK_VOLUME) {
            match = disk->pool != NULL && strcmp(p->xml.name, disk->pool) == 0;
        } else if (disk->kind == DISK_NETWORK) {
            _cleanup_(freep) char *source = xasprintf("%s:%s", p->xml.type, p->xml.source);
            match = disk->source != NULL && strcmp(source, disk->source) == 0;
        } else {
            match = disk->path != NULL && is_below(disk->path, p->xml.path);
        }
        if (match && (best == NULL || strlen(p->xml.path) > strlen(best->xml.path)))
            best = p;
    }
    return best;
}

void host_disk_place(const struct host_pools *pools, const struct domain_disk *disk, char *name,
                     size_t size, bool *ret_shared)
{
    const struct host_pool *pool = pool_of(pools, disk);
    struct probe_mount mount;
    name[0] = '\0';
    *ret_shared = disk->kind == DISK_NETWORK;
    if (pool != NULL) {
        snprintf(name, size, "%s", pool->xml.name);
        *ret_shared = pool->shared;
    } else if (disk->kind == DISK_VOLUME) {
        snprintf(name, size, "%s", disk->pool != NULL ? disk->pool : "");
    } else if (disk->kind == DISK_FILE && disk->path != NULL &&
               probe_mount_of(pools->mounts, disk->path, &mount) && mount.shared &&
               codec_text_ok(mount.target, CODEC_NAME_MAX)) {
        snprintf(name, size, "%s", mount.target);
        *ret_shared = true;
    }
}

uint64_t host_disk_mib(const struct domain_disk *disk)
{
    struct stat st;
    off_t bytes = 0;
    if (disk->path == NULL || stat(disk->path, &st) < 0)
        return 1;
    if (S_ISREG(st.st_mode)) {
        bytes = st.st_size;
    } else if (S_ISBLK(st.st_mode)) {
        int fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0) {
            bytes = lseek(fd, 0, SEEK_END);
            close(fd);
        }
    }
    return MAX((uint64_t)MAX(bytes, 0) >> 20, UINT64_C(1));
}
