/* hypervisor_libvirt_check.c - what is checked before a move: at the source, for the agents and for
 * people, and at the destination. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_host.h"
#include "agent/io/libvirt_conf.h"
#include "proto/codec.h"

/* ---- pre-check, at the source ---- */

static int check_tls_files(const char *end, struct err *err)
{
    char directory[256], path[512];
    libvirt_migration_pki(LIBVIRT_CONF_DIRECTORY, LIBVIRT_PKI_DIRECTORY, directory,
                          sizeof directory);
    const char *const files[] = {"ca-cert.pem", "-cert.pem", "-key.pem"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof path, "%s/%s%s", directory, i > 0 ? end : "", files[i]);
        if (access(path, R_OK) < 0)
            return err_set(err, ERR_TLS, "QEMU's %s: %s; a migration needs it", path,
                           strerror(errno));
    }
    return 0;
}

static int check_devices(const Skein__VmDetail *vm, struct err *err)
{
    for (size_t i = 0; i < vm->n_devices; i++)
        if (!vm->devices[i]->migratable)
            return err_set(err, ERR_INCOMPATIBLE,
                           "VM \"%s\" holds a device that cannot be migrated (%s): detach it",
                           vm->name, vm->devices[i]->type);
    if (vm->n_blockers > 0)
        return err_set(err, ERR_INCOMPATIBLE, "VM \"%s\" cannot be migrated: %s; remove that",
                       vm->name, vm->blockers[0]);
    return 0;
}

/* QEMU locks image files and block devices itself; of network disks only RBD brings a lock. */
static bool disk_is_locked(const struct domain_xml *d, const struct domain_disk *disk)
{
    if (disk->readonly || disk->shareable || d->locked_by_lease)
        return true;
    return disk->kind != DISK_NETWORK ||
           (disk->source != NULL && strncmp(disk->source, "rbd:", 4) == 0);
}

static bool is_named(const char *list, const char *target)
{
    size_t len = strlen(target);
    for (const char *at = list; (at = strstr(at, target)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

/* Does the move copy this disk, which is on this host only? */
static bool is_copied(const struct hv_move *move, const struct domain_disk *disk)
{
    const char *disks = move->how.disks;
    return move->how.storage != MIGRATE_STORAGE_NONE && disk->target != NULL && !disk->readonly &&
           !disk->cdrom && !disk->shareable && (disks[0] == '\0' || is_named(disks, disk->target));
}

static int check_disks(const struct libvirt *lv, const struct domain_xml *d,
                       const struct host_pools *pools, const struct hv_move *move, struct err *err)
{
    for (size_t i = 0; i < d->n_disks; i++) {
        const struct domain_disk *disk = &d->disks[i];
        const char *target = disk->target != NULL ? disk->target : "?";
        char name[CODEC_NAME_MAX + 1];
        bool shared;
        host_disk_place(pools, disk, name, sizeof name, &shared);
        if (!shared && is_copied(move, disk)) /* each end locks its own */
            continue;
        if (!shared)
            return err_set(err, ERR_INCOMPATIBLE,
                           "disk %s of VM \"%s\" (%s) is on this host only: put it on shared "
                           "storage, or let it be copied",
                           target, d->vm->name, disk->path != NULL ? disk->path : name);
        if (!disk_is_locked(d, disk) && !lv->unlocked_disks)
            return err_set(err, ERR_INCOMPATIBLE,
                           "no lock guards disk %s of VM \"%s\" (%s) against a second running "
                           "copy: add a lease, or allow it on this host",
                           target, d->vm->name, disk->source != NULL ? disk->source : name);
    }
    return 0;
}

static int read_definition(virDomainPtr dom, struct domain_xml *ret, struct err *err)
{
    _cleanup_(freep) char *text = virDomainGetXMLDesc(dom, 0);
    return text != NULL ? domain_xml_parse(text, ret, err)
                        : libvirt_error(err, "the VM's definition");
}

/* The pools alone, to put disks to. */
static int read_pools(virConnectPtr conn, struct host_pools *ret, struct err *err)
{
    Skein__HostCapability *storage = xmalloc(sizeof *storage);
    skein__host_capability__init(storage);
    int rc = host_storage(conn, storage, ret, err);
    skein__host_capability__free_unpacked(storage, NULL);
    return rc;
}

static int check_definition(struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                            const struct hv_move *move, struct err *err)
{
    struct domain_xml d = {0};
    struct host_pools pools = {0};
    int rc = read_definition(dom, &d, err);
    if (rc == 0)
        rc = check_devices(d.vm, err);
    if (rc == 0)
        rc = read_pools(conn, &pools, err);
    if (rc == 0)
        rc = check_disks(lv, &d, &pools, move, err);
    host_pools_done(&pools);
    domain_xml_done(&d);
    return rc;
}

static int add_disks(const struct domain_xml *d, const struct host_pools *pools,
                     const struct hv_move *move, struct libvirt_disks *ret, struct err *err)
{
    char name[CODEC_NAME_MAX + 1];
    size_t named = move->how.disks[0] != '\0';
    for (const char *c = move->how.disks; *c != '\0'; c++)
        named += *c == ',';
    for (size_t i = 0; i < d->n_disks; i++) {
        bool shared;
        host_disk_place(pools, &d->disks[i], name, sizeof name, &shared);
        if (!shared && is_copied(move, &d->disks[i]))
            strings_add(&ret->targets, &ret->n, d->disks[i].target);
    }
    if (ret->n < named)
        return err_set(err, ERR_INVALID,
                       "not all of \"%s\" are disks of VM \"%s\" that are on this host only",
                       move->how.disks, move->vm);
    return ret->n > 0 ? 0
                      : err_set(err, ERR_INVALID,
                                "VM \"%s\" has no disk on this host only: copy none", move->vm);
}

int libvirt_copied_disks(virConnectPtr conn, virDomainPtr dom, const struct hv_move *move,
                         struct libvirt_disks *ret, struct err *err)
{
    struct domain_xml d = {0};
    struct host_pools pools = {0};
    if (move->how.storage == MIGRATE_STORAGE_NONE)
        return 0;
    int rc = read_definition(dom, &d, err);
    if (rc == 0)
        rc = read_pools(conn, &pools, err);
    if (rc == 0)
        rc = add_disks(&d, &pools, move, ret, err);
    host_pools_done(&pools);
    domain_xml_done(&d);
    return rc;
}

void libvirt_disks_done(struct libvirt_disks *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->targets[i]);
    free(d->targets);
}

static int check_leaving(virDomainPtr dom, const struct hv_move *move, struct err *err)
{
    struct hv_seen seen;
    if (libvirt_seen(dom, &seen, err) < 0)
        return -(int)err->code;
    if (seen.job)
        return err_set(err, ERR_CONFLICT, "VM \"%s\": another job runs on it", move->vm);
    bool runs = seen.state == SKEIN__VM_STATE__VM_RUNNING;
    if (!runs && !(seen.state == SKEIN__VM_STATE__VM_STOPPED && seen.persistent))
        return err_set(err, ERR_CONFLICT, "VM \"%s\" is not running (%s)", move->vm, seen.reason);
    int snapshots = virDomainSnapshotNum(dom, 0);
    if (snapshots > 0)
        return err_set(err, ERR_INCOMPATIBLE,
                       "VM \"%s\" has %d snapshots, with which libvirt moves no VM: delete them",
                       move->vm, snapshots);
    return 0;
}

/* The first of what forbids it, as an error. A libvirt there that cannot be asked now may be back
 * in a moment; one that we are not to trust is not. */
static int check_both(struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                      const struct hv_move *move, struct err *err)
{
    struct hv_findings found = {0};
    if (libvirt_compare(lv, conn, dom, move, &found, err) < 0) {
        if (err->code == ERR_HYPERVISOR || err->code == ERR_UNSUPPORTED)
            err->code = ERR_UNAVAILABLE;
        return -(int)err->code;
    }
    for (size_t i = 0; i < found.n; i++)
        if (!found.items[i].advice)
            return err_set(err, ERR_INCOMPATIBLE, "%s: %s; %s", found.items[i].code,
                           found.items[i].evidence, found.items[i].remedy);
    return 0;
}

int libvirt_precheck(struct hypervisor *hv, const struct hv_move *move, struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_check_name("host", move->to, "", err) < 0 || libvirt_begin(lv, &call, err) < 0 ||
        libvirt_domain(call.conn, move->uuid, &dom, err) < 0 || check_leaving(dom, move, err) < 0 ||
        check_definition(lv, call.conn, dom, move, err) < 0 || check_tls_files("client", err) < 0)
        return -(int)err->code;
    return check_both(lv, call.conn, dom, move, err);
}

/* ---- all that is in the way, for people ---- */

static void examine_state(virDomainPtr dom, struct hv_findings *f)
{
    struct hv_seen seen;
    struct err err = {0};
    if (libvirt_seen(dom, &seen, &err) < 0) {
        finding_add(f, "NOT_KNOWN", "see what libvirtd says", "%s", err.msg);
        return;
    }
    if (seen.job)
        finding_add(f, "JOB_RUNS", "wait for it, or abort it (virsh domjobabort)",
                    "a job runs on the VM: a migration, a backup or a block job");
    if (seen.state != SKEIN__VM_STATE__VM_RUNNING && seen.state != SKEIN__VM_STATE__VM_STOPPED)
        finding_add(f, "NOT_RUNNING", "let it run, or shut it down", "the VM is paused (%s)",
                    seen.reason);
    int snapshots = virDomainSnapshotNum(dom, 0);
    if (snapshots > 0)
        finding_add(f, "SNAPSHOTS", "delete them (virsh snapshot-delete)",
                    "%d snapshots: libvirt moves no VM that has some", snapshots);
    int checkpoints = virDomainListAllCheckpoints(dom, NULL, 0);
    if (checkpoints > 0)
        finding_add(f, "CHECKPOINTS", "delete their metadata (virsh checkpoint-delete)",
                    "%d checkpoints of a backup", checkpoints);
}

static void examine_disk(const struct libvirt *lv, const struct domain_xml *d,
                         const struct domain_disk *disk, const struct host_pools *pools,
                         struct hv_findings *f)
{
    char name[CODEC_NAME_MAX + 1];
    bool shared;
    const char *target = disk->target != NULL ? disk->target : "?";
    host_disk_place(pools, disk, name, sizeof name, &shared);
    if (!shared)
        finding_add(f, "LOCAL_DISK", "put it on storage that both hosts see",
                    "disk %s (%s) is on this host only", target,
                    disk->path != NULL ? disk->path : name);
    else if (!disk_is_locked(d, disk) && !lv->unlocked_disks)
        finding_add(f, "NO_DISK_LOCK", "add a lease to the VM, or use RBD with its exclusive lock",
                    "no lock guards disk %s (%s) against a second running copy", target,
                    disk->source != NULL ? disk->source : name);
}

static int examine_definition(const struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                              struct hv_findings *f, struct err *err)
{
    struct domain_xml d = {0};
    struct host_pools pools = {0};
    int rc = read_definition(dom, &d, err);
    if (rc == 0)
        rc = read_pools(conn, &pools, err);
    for (size_t i = 0; rc == 0 && i < d.vm->n_devices; i++)
        if (!d.vm->devices[i]->migratable)
            finding_add(f, "DEVICE", "detach it (virsh detach-device)",
                        "the VM holds a device that cannot be migrated: %s",
                        d.vm->devices[i]->type);
    for (size_t i = 0; rc == 0 && i < d.vm->n_blockers; i++)
        finding_add(f, "BLOCKER", "remove that", "%s", d.vm->blockers[i]);
    for (size_t i = 0; rc == 0 && i < d.n_disks; i++)
        examine_disk(lv, &d, &d.disks[i], &pools, f);
    host_pools_done(&pools);
    domain_xml_done(&d);
    return rc;
}

int libvirt_examine(struct hypervisor *hv, const struct hv_move *move, struct hv_findings *ret,
                    struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    struct err refused = {0};
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (libvirt_check_name("host", move->to, "", err) < 0 || libvirt_begin(lv, &call, err) < 0 ||
        libvirt_domain(call.conn, move->uuid, &dom, err) < 0)
        return -(int)err->code;
    examine_state(dom, ret);
    if (examine_definition(lv, call.conn, dom, ret, err) < 0)
        return -(int)err->code;
    if (check_tls_files("client", &refused) < 0)
        finding_add(ret, "NO_TLS", "issue it (skein cert issue --host) and put it there", "%s",
                    refused.msg);
    if (libvirt_compare(lv, call.conn, dom, move, ret, &refused) < 0) {
        bool distrust = refused.code == ERR_TLS || refused.code == ERR_DENIED ||
                        strstr(refused.msg, " TLS ") != NULL;
        finding_add(ret, distrust ? "PEER_CERTIFICATE" : "OUT_OF_REACH",
                    distrust ? "see both hosts' certificates, and tls_allowed_dn_list there"
                             : "start libvirtd there with -l, and open its port " LIBVIRT_TLS_PORT,
                    "%s", refused.msg);
    }
    return 0;
}

/* ---- admit, at the destination ---- */

static bool has(char *const *items, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

static int admit_processor(const Skein__HostCapability *cap, const Skein__VmDetail *vm,
                           struct err *err)
{
    if (vm->arch != NULL && (cap->arch == NULL || strcmp(vm->arch, cap->arch) != 0))
        return err_set(err, ERR_INCOMPATIBLE, "VM \"%s\" is of architecture %s, this host is %s",
                       vm->name, vm->arch, cap->arch != NULL ? cap->arch : "unknown");
    if (vm->machine != NULL && !has(cap->machines, cap->n_machines, vm->machine))
        return err_set(err, ERR_INCOMPATIBLE, "QEMU here does not know machine type %s",
                       vm->machine);
    bool named = vm->cpu_model != NULL && strcmp(vm->cpu_model, "host-passthrough") != 0 &&
                 strcmp(vm->cpu_model, "host-model") != 0 && strcmp(vm->cpu_model, "maximum") != 0;
    if (!named) /* the planner has compared the two hosts; libvirt checks at arrival */
        return 0;
    if (!has(cap->usable_models, cap->n_usable_models, vm->cpu_model))
        return err_set(err, ERR_INCOMPATIBLE, "this host's processor cannot run CPU model %s",
                       vm->cpu_model);
    for (size_t i = 0; i < vm->n_cpu_features; i++)
        if (!has(cap->cpu_features, cap->n_cpu_features, vm->cpu_features[i]))
            return err_set(err, ERR_INCOMPATIBLE, "this host's processor lacks feature %s",
                           vm->cpu_features[i]);
    return 0;
}

/* The disks that are copied need room in this host's own pools, under the same name. */
static int admit_copies(const Skein__HostCapability *cap, const Skein__VmDetail *vm,
                        const struct hv_move *move, struct err *err)
{
    uint64_t free_mib = 0;
    if (move->how.storage == MIGRATE_STORAGE_NONE)
        return 0;
    for (size_t i = 0; i < cap->n_storage; i++)
        if (!cap->storage[i]->shared && has(vm->storage, vm->n_storage, cap->storage[i]->name))
            free_mib = MAX(free_mib, cap->storage[i]->free_mib);
    if (vm->local_disk_mib > free_mib)
        return err_set(err, ERR_CAPACITY,
                       "the disks of VM \"%s\" need %llu MiB, %llu MiB are free here", vm->name,
                       (unsigned long long)vm->local_disk_mib, (unsigned long long)free_mib);
    return 0;
}

static int admit_places(const Skein__HostCapability *cap, const Skein__VmDetail *vm,
                        struct err *err)
{
    for (size_t i = 0; i < vm->n_storage; i++) {
        bool found = false;
        for (size_t k = 0; k < cap->n_storage && !found; k++)
            found = strcmp(cap->storage[k]->name, vm->storage[i]) == 0;
        if (!found)
            return err_set(err, ERR_INCOMPATIBLE, "storage \"%s\" is not active here",
                           vm->storage[i]);
    }
    for (size_t i = 0; i < vm->n_networks; i++)
        if (!has(cap->networks, cap->n_networks, vm->networks[i]))
            return err_set(err, ERR_INCOMPATIBLE, "network \"%s\" is not active here",
                           vm->networks[i]);
    return 0;
}

static int admit_memory(const struct libvirt *lv, virConnectPtr conn,
                        const Skein__HostCapability *cap, const Skein__VmDetail *vm,
                        struct err *err)
{
    struct host_memory memory;
    if (!vm->has_memory_mib)
        return err_set(err, ERR_INVALID, "how much memory VM \"%s\" needs is not known", vm->name);
    if (vm->has_hugepages_kib && vm->hugepages_kib > 0) {
        uint64_t free_mib = 0;
        for (size_t i = 0; i < cap->n_hugepages; i++)
            if (cap->hugepages[i]->size_kib == vm->hugepages_kib && cap->hugepages[i]->has_free)
                free_mib = cap->hugepages[i]->free * vm->hugepages_kib >> 10;
        return free_mib >= vm->memory_mib
                   ? 0
                   : err_set(err, ERR_CAPACITY,
                             "VM \"%s\" needs %llu MiB in pages of %u KiB, %llu MiB are free",
                             vm->name, (unsigned long long)vm->memory_mib, vm->hugepages_kib,
                             (unsigned long long)free_mib);
    }
    if (host_memory(conn, libvirt_is_local(lv), &memory, err) < 0)
        return -(int)err->code;
    return memory.available_mib >= vm->memory_mib
               ? 0
               : err_set(err, ERR_CAPACITY, "VM \"%s\" needs %llu MiB, %llu MiB are available",
                         vm->name, (unsigned long long)vm->memory_mib,
                         (unsigned long long)memory.available_mib);
}

/* A shut off definition of the same VM, left by an earlier visit, is in nobody's way. */
static int admit_identity(virConnectPtr conn, const struct hv_move *move, const char *name,
                          struct err *err)
{
    struct hv_seen seen;
    if (libvirt_look_on(conn, move->uuid, &seen, err) < 0)
        return -(int)err->code;
    if (seen.present && seen.state != SKEIN__VM_STATE__VM_STOPPED)
        return err_set(err, ERR_EXISTS, "VM \"%s\" is active here already (%s)", name, seen.reason);
    _cleanup_dom_ virDomainPtr other = virDomainLookupByName(conn, name);
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (other != NULL && virDomainGetUUIDString(other, uuid) == 0 && strcmp(uuid, move->uuid) != 0)
        return err_set(err, ERR_EXISTS, "another VM here is called \"%s\" (%s)", name, uuid);
    return 0;
}

static int admit(struct libvirt *lv, virConnectPtr conn, Skein__HostCapability *cap,
                 const struct hv_move *move, const Skein__VmDetail *vm, struct err *err)
{
    struct host_pools pools = {0};
    if (host_resources(conn, cap, &pools, err) < 0)
        return -(int)err->code;
    host_pools_done(&pools);
    if (admit_identity(conn, move, vm->name != NULL ? vm->name : move->vm, err) < 0 ||
        admit_processor(cap, vm, err) < 0 || admit_places(cap, vm, err) < 0 ||
        admit_copies(cap, vm, move, err) < 0 || admit_memory(lv, conn, cap, vm, err) < 0)
        return -(int)err->code;
    return check_tls_files("server", err);
}

int libvirt_admit(struct hypervisor *hv, const struct hv_move *move, const Skein__VmDetail *vm,
                  struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    _cleanup_call_ struct libvirt_call call = {0};
    Skein__HostCapability *cap = NULL;
    int rc = libvirt_begin(lv, &call, err);
    if (rc == 0)
        rc = host_capability(call.conn, &cap, err);
    if (rc == 0)
        rc = admit(lv, call.conn, cap, move, vm, err);
    if (cap != NULL)
        skein__host_capability__free_unpacked(cap, NULL);
    return rc;
}
