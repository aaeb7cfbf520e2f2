/* hypervisor_libvirt_xml.c - a VM's definition. */
#include <stdio.h>

#include "agent/io/hypervisor_libvirt_xml_priv.h"
#include "proto/codec.h"
#include "proto/hash.h"
#include "proto/units.h"

#define TAGS_MAX 64

/* ---- our metadata ---- */

static void warn(struct domain_xml *d, const char *element, const char *why)
{
    if (d->warning[0] == '\0')
        snprintf(d->warning, sizeof d->warning, "metadata <%s>: %s", element, why);
}

static void metadata_tag(struct domain_xml *d, node_t n)
{
    _cleanup_(freep) char *name = xml_clean_attr(n, "name");
    _xml_text_ value = xml_attr(n, "value");
    if (name == NULL || value == NULL || !codec_text_ok(value, CODEC_NAME_MAX)) {
        warn(d, "tag", "it wants a name and a value, without control characters");
        return;
    }
    Skein__VmDetail *vm = d->vm;
    for (size_t i = 0; i < vm->n_tags; i++)
        if (strcmp(vm->tags[i]->key, name) == 0) {
            warn(d, "tag", "one name stands twice; the first counts");
            return;
        }
    if (vm->n_tags >= TAGS_MAX) {
        warn(d, "tag", "more than 64");
        return;
    }
    vm->tags = xrealloc(vm->tags, vm->n_tags + 1, sizeof *vm->tags);
    Skein__Tag *tag = vm->tags[vm->n_tags++] = xmalloc(sizeof *tag);
    skein__tag__init(tag);
    tag->key = TAKE_PTR(name);
    tag->value = xstrdup(value);
}

static bool yes_or_no(const char *text, protobuf_c_boolean *ret)
{
    bool yes = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
    *ret = yes;
    return yes || strcmp(text, "no") == 0 || strcmp(text, "false") == 0;
}

static void metadata_element(struct domain_xml *d, node_t n)
{
    Skein__VmDetail *vm = d->vm;
    _xml_text_ text = xml_content(n);
    uint64_t value;
    msec at;
    if (xml_is(n, "tag")) {
        metadata_tag(d, n);
    } else if (xml_is(n, "owner")) {
        free(vm->owner);
        vm->owner = xml_clean(text);
        if (vm->owner == NULL)
            warn(d, "owner", "not a name");
    } else if (xml_is(n, "priority")) {
        vm->has_priority = xml_number(text, 1000, &value);
        vm->priority = vm->has_priority ? (uint32_t)value : 0;
        if (!vm->has_priority)
            warn(d, "priority", "not a number up to 1000");
    } else if (xml_is(n, "max_downtime_ms")) {
        vm->has_max_downtime_ms = xml_number(text, 3600000, &value);
        vm->max_downtime_ms = vm->has_max_downtime_ms ? (uint32_t)value : 0;
        if (!vm->has_max_downtime_ms)
            warn(d, "max_downtime_ms", "not a number of milliseconds");
    } else if (xml_is(n, "postcopy_allowed")) {
        vm->has_postcopy_allowed = yes_or_no(text, &vm->postcopy_allowed);
        if (!vm->has_postcopy_allowed)
            warn(d, "postcopy_allowed", "neither yes nor no");
    } else if (xml_is(n, "hold_until")) {
        vm->has_hold_until_ms = time_parse(text, &at, NULL) == 0 && at >= 0;
        vm->hold_until_ms = vm->has_hold_until_ms ? (uint64_t)at : 0;
        if (!vm->has_hold_until_ms) {
            /* someone wanted it held: what cannot be read must not set it free */
            vm->has_hold_until_ms = 1;
            vm->hold_until_ms = UINT64_C(253402300799000); /* the year 9999 */
            warn(d, "hold_until", "not a time; the VM is held");
        }
    } else {
        warn(d, codec_text_ok((const char *)n->name, 64) ? (const char *)n->name : "?",
             "not known");
    }
}

static int compare_tags(const void *a, const void *b)
{
    return strcmp((*(Skein__Tag *const *)a)->key, (*(Skein__Tag *const *)b)->key);
}

static void read_metadata(struct domain_xml *d, node_t root)
{
    node_t metadata = xml_child(root, "metadata");
    for (node_t n = metadata != NULL ? metadata->children : NULL; n != NULL; n = n->next) {
        if (n->type != XML_ELEMENT_NODE || n->ns == NULL ||
            strcmp((const char *)n->ns->href, LIBVIRT_METADATA_URI) != 0)
            continue;
        for (node_t e = n->children; e != NULL; e = e->next)
            if (e->type == XML_ELEMENT_NODE)
                metadata_element(d, e);
    }
    if (d->vm->n_tags > 1)
        qsort(d->vm->tags, d->vm->n_tags, sizeof *d->vm->tags, compare_tags);
}

/* ---- disks ---- */

static void disk_done(struct domain_disk *disk)
{
    free(disk->target);
    free(disk->path);
    free(disk->pool);
    free(disk->source);
}

/* "rbd" + "vms/disk1" -> "rbd:vms". */
static char *network_source(node_t source)
{
    _cleanup_(freep) char *protocol = xml_clean_attr(source, "protocol");
    _cleanup_(freep) char *name = xml_clean_attr(source, "name");
    if (protocol == NULL)
        return NULL;
    size_t first = name != NULL ? strcspn(name, "/") : 0;
    return xasprintf("%s:%.*s", protocol, (int)first, name != NULL ? name : "");
}

static void read_disk_source(struct domain_disk *disk, node_t n)
{
    node_t source = xml_child(n, "source");
    _xml_text_ type = xml_attr(n, "type");
    if (xml_text_is(type, "file")) {
        disk->kind = DISK_FILE;
        disk->path = xml_clean_attr(source, "file");
    } else if (xml_text_is(type, "block")) {
        disk->kind = DISK_BLOCK;
        disk->path = xml_clean_attr(source, "dev");
    } else if (xml_text_is(type, "volume")) {
        disk->kind = DISK_VOLUME;
        disk->pool = xml_clean_attr(source, "pool");
    } else if (xml_text_is(type, "network")) {
        disk->kind = DISK_NETWORK;
        disk->source = network_source(source);
    } else {
        disk->kind = DISK_OTHER;
    }
}

/* A drive without a medium needs nothing. */
static bool is_empty(const struct domain_disk *disk)
{
    return (disk->kind == DISK_FILE || disk->kind == DISK_BLOCK) && disk->path == NULL &&
           disk->cdrom;
}

static void add_blocker(Skein__VmDetail *vm, const char *what, const char *of)
{
    _cleanup_(freep) char *text = of != NULL ? xasprintf("%s %s", what, of) : xstrdup(what);
    strings_add(&vm->blockers, &vm->n_blockers, text);
}

static void read_disk(struct domain_xml *d, node_t n)
{
    struct domain_disk disk = {0};
    read_disk_source(&disk, n);
    disk.target = xml_clean_attr(xml_child(n, "target"), "dev");
    disk.cdrom = xml_attr_is(n, "device", "cdrom") || xml_attr_is(n, "device", "floppy");
    disk.readonly = xml_child(n, "readonly") != NULL;
    disk.shareable = xml_child(n, "shareable") != NULL;
    disk.transient = xml_child(n, "transient") != NULL;
    if (xml_child(n, "mirror") != NULL)
        add_blocker(d->vm, "a block job on disk", disk.target);
    if (disk.transient)
        add_blocker(d->vm, "transient disk", disk.target);
    if (is_empty(&disk) || d->n_disks >= XML_ITEMS_MAX) {
        disk_done(&disk);
        return;
    }
    d->disks = xrealloc(d->disks, d->n_disks + 1, sizeof *d->disks);
    d->disks[d->n_disks++] = disk;
}

/* ---- devices ---- */

static void add_device(Skein__VmDetail *vm, const char *type, const char *what)
{
    if (vm->n_devices >= XML_ITEMS_MAX)
        return;
    vm->devices = xrealloc(vm->devices, vm->n_devices + 1, sizeof *vm->devices);
    Skein__Device *device = vm->devices[vm->n_devices++] = xmalloc(sizeof *device);
    skein__device__init(device);
    device->type = what != NULL ? xasprintf("%s-%s", type, what) : xstrdup(type);
    device->has_migratable = 1;
    device->migratable = 0;
}

/* A bridge and a libvirt network are needs that the other host can state. */
static void read_interface(struct domain_xml *d, node_t n)
{
    Skein__VmDetail *vm = d->vm;
    node_t source = xml_child(n, "source");
    _cleanup_(freep) char *type = xml_clean_attr(n, "type");
    if (type == NULL)
        return;
    if (strcmp(type, "network") == 0)
        xml_add_attr(&vm->networks, &vm->n_networks, source, "network");
    else if (strcmp(type, "bridge") == 0)
        xml_add_attr(&vm->networks, &vm->n_networks, source, "bridge");
    else if (strcmp(type, "direct") == 0)
        xml_add_attr(&vm->networks, &vm->n_networks, source, "dev");
    else if (strcmp(type, "hostdev") == 0 || strcmp(type, "vdpa") == 0)
        add_device(vm, "interface", type);
}

static void read_devices(struct domain_xml *d, node_t devices)
{
    static const char *const local[] = {"filesystem", "shmem", NULL}; /* state outside of QEMU */
    foreach (n, devices, "disk")
        read_disk(d, n);
    foreach (n, devices, "interface")
        read_interface(d, n);
    foreach (n, devices, "hostdev") {
        _cleanup_(freep) char *type = xml_clean_attr(n, "type");
        add_device(d->vm, "hostdev", type);
    }
    for (size_t i = 0; local[i] != NULL; i++)
        foreach (n, devices, local[i])
            add_device(d->vm, local[i], NULL);
    d->locked_by_lease = xml_child(devices, "lease") != NULL;
}

/* ---- CPU, memory, identity ---- */

static bool requires_feature(const Skein__VmDetail *vm, const char *name)
{
    for (size_t i = 0; i < vm->n_cpu_features; i++)
        if (strcmp(vm->cpu_features[i], name) == 0)
            return true;
    return false;
}

/* A running domain's host-model is a custom model already: libvirt has put in what it stands for.
 */
static void read_cpu(Skein__VmDetail *vm, node_t cpu)
{
    if (cpu == NULL)
        return;
    _cleanup_(freep) char *mode = xml_clean_attr(cpu, "mode");
    if (mode != NULL && strcmp(mode, "custom") != 0)
        vm->cpu_model = TAKE_PTR(mode); /* host-model, host-passthrough, maximum */
    else
        vm->cpu_model = xml_clean_content(xml_child(cpu, "model"));
    xml_add_features(&vm->cpu_features, &vm->n_cpu_features, cpu);
    if (xml_attr_is(cpu, "migratable", "off"))
        add_blocker(vm, "its CPU is defined as not migratable", NULL);
    if (requires_feature(vm, "invtsc"))
        add_blocker(vm, "CPU feature invtsc", NULL);
}

/* The page size that the VM's memory takes; the default size of the host where none is named. */
static void read_hugepages(Skein__VmDetail *vm, node_t root)
{
    node_t huge = xml_child(xml_child(root, "memoryBacking"), "hugepages");
    if (huge == NULL)
        return;
    uint64_t kib = 2048;
    node_t page = xml_child(huge, "page");
    _xml_text_ unit = xml_attr(page, "unit");
    _xml_text_ size = xml_attr(page, "size");
    uint64_t scale = xml_unit(unit != NULL ? unit : "KiB"), value;
    if (scale != 0 && xml_number(size, XML_BYTES_MAX / scale, &value))
        kib = value * scale / 1024;
    vm->has_hugepages_kib = 1;
    vm->hugepages_kib = kib > 0 && kib <= 16u << 20 ? (uint32_t)kib : 2048;
}

static int read_identity(Skein__VmDetail *vm, node_t root, struct err *err)
{
    vm->uuid = xml_clean_content(xml_child(root, "uuid"));
    vm->name = xml_clean_content(xml_child(root, "name"));
    if (vm->uuid == NULL || !uuid_is_valid(vm->uuid))
        return err_set(err, ERR_INVALID, "domain: no valid <uuid>");
    if (vm->name == NULL)
        return err_set(err, ERR_INVALID, "domain %s: its name cannot be used", vm->uuid);
    return 0;
}

static int read_size(Skein__VmDetail *vm, node_t root, struct err *err)
{
    uint64_t kib, vcpus;
    node_t vcpu = xml_child(root, "vcpu");
    _xml_text_ current = xml_attr(vcpu, "current");
    _xml_text_ maximum = xml_content(vcpu);
    if (!xml_kib(xml_child(root, "memory"), &kib))
        return err_set(err, ERR_INVALID, "domain \"%s\": no valid <memory>", vm->name);
    if (!xml_number(current != NULL ? current : maximum, 65536, &vcpus) || vcpus == 0)
        return err_set(err, ERR_INVALID, "domain \"%s\": no valid <vcpu>", vm->name);
    vm->has_memory_mib = vm->has_vcpus = 1;
    vm->memory_mib = (kib + 1023) / 1024;
    vm->vcpus = (uint32_t)vcpus;
    return 0;
}

static int read_domain(struct domain_xml *d, node_t root, struct err *err)
{
    Skein__VmDetail *vm = d->vm;
    if (read_identity(vm, root, err) < 0 || read_size(vm, root, err) < 0)
        return -(int)err->code;
    node_t type = xml_child(xml_child(root, "os"), "type");
    vm->machine = xml_clean_attr(type, "machine");
    vm->arch = xml_clean_attr(type, "arch");
    read_cpu(vm, xml_child(root, "cpu"));
    read_hugepages(vm, root);
    read_devices(d, xml_child(root, "devices"));
    if (xml_child(root, "launchSecurity") != NULL)
        add_device(vm, "launch-security", NULL);
    read_metadata(d, root);
    strings_sort(vm->networks, vm->n_networks);
    return 0;
}

int domain_xml_parse(const char *text, struct domain_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("domain", text, "domain", &doc, err) < 0)
        return -(int)err->code;
    struct domain_xml d = {.vm = xmalloc(sizeof *d.vm)};
    skein__vm_detail__init(d.vm);
    if (read_domain(&d, xmlDocGetRootElement(doc), err) < 0) {
        domain_xml_done(&d);
        return -(int)err->code;
    }
    *ret = d;
    return 0;
}

void domain_xml_done(struct domain_xml *d)
{
    if (d->vm != NULL)
        skein__vm_detail__free_unpacked(d->vm, NULL);
    for (size_t i = 0; i < d->n_disks; i++)
        disk_done(&d->disks[i]);
    free(d->disks);
    *d = (struct domain_xml){0};
}
