#include "agent/io/hypervisor_libvirt_xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>

#include "proto/codec.h"
#include "proto/hash.h"
#include "proto/units.h"

#define ITEMS_MAX                                                                                  \
    1024 /* disks, networks, machines, models, features: beyond that it is no host                 \
          */
#define TAGS_MAX 64

typedef const xmlNode *node_t;

DEFINE_CLEANUP(xmlDoc, xmlFreeDoc)

/* ---- reading the tree ---- */

static int parse(const char *what, const char *text, const char *root, xmlDoc **ret,
                 struct err *err)
{
    size_t len = strlen(text);
    if (len > LIBVIRT_XML_MAX)
        return err_set(err, ERR_LIMIT, "%s: %zu bytes of XML are too many", what, len);
    int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA;
    _cleanup_(xmlFreeDocp) xmlDoc *doc = xmlReadMemory(text, (int)len, NULL, NULL, options);
    if (doc == NULL)
        return err_set(err, ERR_INVALID, "%s: not well-formed XML", what);
    if (doc->intSubset != NULL)
        return err_set(err, ERR_INVALID, "%s: a document type is not expected", what);
    const xmlNode *top = xmlDocGetRootElement(doc);
    if (top == NULL || strcmp((const char *)top->name, root) != 0)
        return err_set(err, ERR_INVALID, "%s: <%s> expected", what, root);
    *ret = TAKE_PTR(doc);
    return 0;
}

static bool is(node_t n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0;
}

static node_t next_named(node_t n, const char *name)
{
    while (n != NULL && !is(n, name))
        n = n->next;
    return n;
}

static node_t child(node_t n, const char *name)
{
    return n != NULL ? next_named(n->children, name) : NULL;
}

/* Every child of that name. (The macro has the name that clang-format knows.) */
#define foreach(it, of, name)                                                                      \
    for (node_t it = child(of, name); it != NULL; it = next_named(it->next, name))

static char *attr(node_t n, const char *name)
{
    return n != NULL ? (char *)xmlGetNoNsProp(n, (const xmlChar *)name) : NULL;
}

static char *content(node_t n)
{
    return n != NULL ? (char *)xmlNodeGetContent(n) : NULL;
}

#define _xml_text_ _cleanup_(text_freep) char *

static void text_freep(char **p)
{
    xmlFree(*p);
}

static bool text_is(const char *text, const char *want)
{
    return text != NULL && strcmp(text, want) == 0;
}

static bool attr_is(node_t n, const char *name, const char *want)
{
    _xml_text_ value = attr(n, name);
    return text_is(value, want);
}

/* Digits only, at most limit; false otherwise. */
static bool number(const char *text, uint64_t limit, uint64_t *ret)
{
    uint64_t v = 0;
    if (text == NULL || *text == '\0')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (v > limit / 10)
            return false;
        v = v * 10 + (uint64_t)(*text - '0');
    }
    if (*text != '\0' || v > limit)
        return false;
    *ret = v;
    return true;
}

#define BYTES_MAX (UINT64_C(1) << 60)

static uint64_t unit_bytes(const char *unit)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"b", 1},
        {"bytes", 1},
        {"KB", 1000},
        {"k", 1024},
        {"KiB", 1024},
        {"MB", 1000000},
        {"M", 1 << 20},
        {"MiB", 1 << 20},
        {"GB", 1000000000},
        {"G", 1 << 30},
        {"GiB", 1 << 30},
        {"T", UINT64_C(1) << 40},
        {"TiB", UINT64_C(1) << 40},
    };

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].bytes;
    return 0;
}

/* <x unit='KiB'>N</x> in KiB, rounded up. */
static bool size_kib(node_t n, uint64_t *ret)
{
    _xml_text_ unit = attr(n, "unit");
    _xml_text_ text = content(n);
    uint64_t value, scale = unit_bytes(unit != NULL ? unit : "KiB");
    if (scale == 0 || !number(text, BYTES_MAX / scale, &value))
        return false;
    *ret = (value * scale + 1023) / 1024;
    return true;
}

/* A copy, or NULL when there is no text or it may not stand in a message. */
static char *clean(const char *text)
{
    return text != NULL && *text != '\0' && codec_text_ok(text, CODEC_NAME_MAX) ? xstrdup(text)
                                                                                : NULL;
}

static char *clean_attr(node_t n, const char *name)
{
    _xml_text_ text = attr(n, name);
    return clean(text);
}

static char *clean_content(node_t n)
{
    _xml_text_ text = content(n);
    return clean(text);
}

void strings_add(char ***items, size_t *n, const char *text)
{
    if (*n >= ITEMS_MAX)
        return;
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*items)[i], text) == 0)
            return;
    *items = xrealloc(*items, *n + 1, sizeof **items);
    (*items)[(*n)++] = xstrdup(text);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void strings_sort(char **items, size_t n)
{
    if (n > 1)
        qsort(items, n, sizeof *items, compare_strings);
}

static void add_attr(char ***items, size_t *n, node_t node, const char *name)
{
    _cleanup_(freep) char *text = clean_attr(node, name);
    if (text != NULL)
        strings_add(items, n, text);
}

static void add_content(char ***items, size_t *n, node_t node)
{
    _cleanup_(freep) char *text = clean_content(node);
    if (text != NULL)
        strings_add(items, n, text);
}

/* ---- our metadata ---- */

static void warn(struct domain_xml *d, const char *element, const char *why)
{
    if (d->warning[0] == '\0')
        snprintf(d->warning, sizeof d->warning, "metadata <%s>: %s", element, why);
}

static void metadata_tag(struct domain_xml *d, node_t n)
{
    _cleanup_(freep) char *name = clean_attr(n, "name");
    _xml_text_ value = attr(n, "value");
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
    _xml_text_ text = content(n);
    uint64_t value;
    msec at;
    if (is(n, "tag")) {
        metadata_tag(d, n);
    } else if (is(n, "owner")) {
        free(vm->owner);
        vm->owner = clean(text);
        if (vm->owner == NULL)
            warn(d, "owner", "not a name");
    } else if (is(n, "priority")) {
        vm->has_priority = number(text, 1000, &value);
        vm->priority = vm->has_priority ? (uint32_t)value : 0;
        if (!vm->has_priority)
            warn(d, "priority", "not a number up to 1000");
    } else if (is(n, "max_downtime_ms")) {
        vm->has_max_downtime_ms = number(text, 3600000, &value);
        vm->max_downtime_ms = vm->has_max_downtime_ms ? (uint32_t)value : 0;
        if (!vm->has_max_downtime_ms)
            warn(d, "max_downtime_ms", "not a number of milliseconds");
    } else if (is(n, "postcopy_allowed")) {
        vm->has_postcopy_allowed = yes_or_no(text, &vm->postcopy_allowed);
        if (!vm->has_postcopy_allowed)
            warn(d, "postcopy_allowed", "neither yes nor no");
    } else if (is(n, "hold_until")) {
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
    node_t metadata = child(root, "metadata");
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
    _cleanup_(freep) char *protocol = clean_attr(source, "protocol");
    _cleanup_(freep) char *name = clean_attr(source, "name");
    if (protocol == NULL)
        return NULL;
    size_t first = name != NULL ? strcspn(name, "/") : 0;
    return xasprintf("%s:%.*s", protocol, (int)first, name != NULL ? name : "");
}

static void read_disk_source(struct domain_disk *disk, node_t n)
{
    node_t source = child(n, "source");
    _xml_text_ type = attr(n, "type");
    if (text_is(type, "file")) {
        disk->kind = DISK_FILE;
        disk->path = clean_attr(source, "file");
    } else if (text_is(type, "block")) {
        disk->kind = DISK_BLOCK;
        disk->path = clean_attr(source, "dev");
    } else if (text_is(type, "volume")) {
        disk->kind = DISK_VOLUME;
        disk->pool = clean_attr(source, "pool");
    } else if (text_is(type, "network")) {
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
    disk.target = clean_attr(child(n, "target"), "dev");
    disk.cdrom = attr_is(n, "device", "cdrom") || attr_is(n, "device", "floppy");
    disk.readonly = child(n, "readonly") != NULL;
    disk.shareable = child(n, "shareable") != NULL;
    disk.transient = child(n, "transient") != NULL;
    if (child(n, "mirror") != NULL)
        add_blocker(d->vm, "a block job on disk", disk.target);
    if (disk.transient)
        add_blocker(d->vm, "transient disk", disk.target);
    if (is_empty(&disk) || d->n_disks >= ITEMS_MAX) {
        disk_done(&disk);
        return;
    }
    d->disks = xrealloc(d->disks, d->n_disks + 1, sizeof *d->disks);
    d->disks[d->n_disks++] = disk;
}

/* ---- devices ---- */

static void add_device(Skein__VmDetail *vm, const char *type, const char *what)
{
    if (vm->n_devices >= ITEMS_MAX)
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
    node_t source = child(n, "source");
    _cleanup_(freep) char *type = clean_attr(n, "type");
    if (type == NULL)
        return;
    if (strcmp(type, "network") == 0)
        add_attr(&vm->networks, &vm->n_networks, source, "network");
    else if (strcmp(type, "bridge") == 0)
        add_attr(&vm->networks, &vm->n_networks, source, "bridge");
    else if (strcmp(type, "direct") == 0)
        add_attr(&vm->networks, &vm->n_networks, source, "dev");
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
        _cleanup_(freep) char *type = clean_attr(n, "type");
        add_device(d->vm, "hostdev", type);
    }
    for (size_t i = 0; local[i] != NULL; i++)
        foreach (n, devices, local[i])
            add_device(d->vm, local[i], NULL);
    d->locked_by_lease = child(devices, "lease") != NULL;
}

/* ---- CPU, memory, identity ---- */

static void read_features(char ***items, size_t *n, node_t cpu)
{
    foreach (f, cpu, "feature") {
        _xml_text_ policy = attr(f, "policy");
        if (policy == NULL || strcmp(policy, "require") == 0 || strcmp(policy, "force") == 0)
            add_attr(items, n, f, "name");
    }
    strings_sort(*items, *n);
}

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
    _cleanup_(freep) char *mode = clean_attr(cpu, "mode");
    if (mode != NULL && strcmp(mode, "custom") != 0)
        vm->cpu_model = TAKE_PTR(mode); /* host-model, host-passthrough, maximum */
    else
        vm->cpu_model = clean_content(child(cpu, "model"));
    read_features(&vm->cpu_features, &vm->n_cpu_features, cpu);
    if (attr_is(cpu, "migratable", "off"))
        add_blocker(vm, "its CPU is defined as not migratable", NULL);
    if (requires_feature(vm, "invtsc"))
        add_blocker(vm, "CPU feature invtsc", NULL);
}

/* The page size that the VM's memory takes; the default size of the host where none is named. */
static void read_hugepages(Skein__VmDetail *vm, node_t root)
{
    node_t huge = child(child(root, "memoryBacking"), "hugepages");
    if (huge == NULL)
        return;
    uint64_t kib = 2048;
    node_t page = child(huge, "page");
    _xml_text_ unit = attr(page, "unit");
    _xml_text_ size = attr(page, "size");
    uint64_t scale = unit_bytes(unit != NULL ? unit : "KiB"), value;
    if (scale != 0 && number(size, BYTES_MAX / scale, &value))
        kib = value * scale / 1024;
    vm->has_hugepages_kib = 1;
    vm->hugepages_kib = kib > 0 && kib <= 16u << 20 ? (uint32_t)kib : 2048;
}

static int read_identity(Skein__VmDetail *vm, node_t root, struct err *err)
{
    vm->uuid = clean_content(child(root, "uuid"));
    vm->name = clean_content(child(root, "name"));
    if (vm->uuid == NULL || !uuid_is_valid(vm->uuid))
        return err_set(err, ERR_INVALID, "domain: no valid <uuid>");
    if (vm->name == NULL)
        return err_set(err, ERR_INVALID, "domain %s: its name cannot be used", vm->uuid);
    return 0;
}

static int read_size(Skein__VmDetail *vm, node_t root, struct err *err)
{
    uint64_t kib, vcpus;
    node_t vcpu = child(root, "vcpu");
    _xml_text_ current = attr(vcpu, "current");
    _xml_text_ maximum = content(vcpu);
    if (!size_kib(child(root, "memory"), &kib))
        return err_set(err, ERR_INVALID, "domain \"%s\": no valid <memory>", vm->name);
    if (!number(current != NULL ? current : maximum, 65536, &vcpus) || vcpus == 0)
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
    node_t type = child(child(root, "os"), "type");
    vm->machine = clean_attr(type, "machine");
    vm->arch = clean_attr(type, "arch");
    read_cpu(vm, child(root, "cpu"));
    read_hugepages(vm, root);
    read_devices(d, child(root, "devices"));
    if (child(root, "launchSecurity") != NULL)
        add_device(vm, "launch-security", NULL);
    read_metadata(d, root);
    strings_sort(vm->networks, vm->n_networks);
    return 0;
}

int domain_xml_parse(const char *text, struct domain_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (parse("domain", text, "domain", &doc, err) < 0)
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

/* ---- capabilities ---- */

static bool has_domain_type(node_t domain_types, const char *type)
{
    foreach (n, domain_types, "domain")
        if (attr_is(n, "type", type))
            return true;
    return false;
}

/* A <domain type> may list machines of its own; then those count. */
static void read_machines(Skein__HostCapability *cap, node_t arch, bool kvm)
{
    node_t from = arch;
    foreach (n, arch, "domain")
        if (attr_is(n, "type", kvm ? "kvm" : "qemu") && child(n, "machine") != NULL)
            from = n;
    foreach (n, from, "machine")
        add_content(&cap->machines, &cap->n_machines, n);
    strings_sort(cap->machines, cap->n_machines);
}

static void read_guest(Skein__HostCapability *cap, struct caps_xml *c, node_t root)
{
    foreach (guest, root, "guest") {
        node_t arch = child(guest, "arch");
        _xml_text_ os = content(child(guest, "os_type"));
        if (!attr_is(arch, "name", c->arch) || !text_is(os, "hvm"))
            continue;
        c->kvm = has_domain_type(arch, "kvm");
        free(c->emulator);
        c->emulator = clean_content(child(arch, "emulator"));
        read_machines(cap, arch, c->kvm);
        return;
    }
}

static Skein__HugePages *huge_pages(Skein__HostCapability *cap, uint32_t size)
{
    for (size_t i = 0; i < cap->n_hugepages; i++)
        if (cap->hugepages[i]->size_kib == size)
            return cap->hugepages[i];
    if (cap->n_hugepages >= 16)
        return NULL;
    cap->hugepages = xrealloc(cap->hugepages, cap->n_hugepages + 1, sizeof *cap->hugepages);
    Skein__HugePages *h = cap->hugepages[cap->n_hugepages++] = xmalloc(sizeof *h);
    skein__huge_pages__init(h);
    h->has_size_kib = h->has_total = 1;
    h->size_kib = size;
    return h;
}

static void read_cell_pages(Skein__HostCapability *cap, node_t cell, uint32_t page_kib)
{
    foreach (n, cell, "pages") {
        _xml_text_ size = attr(n, "size");
        _xml_text_ count = content(n);
        uint64_t kib, total;
        if (!attr_is(n, "unit", "KiB") || !number(size, 16u << 20, &kib) || kib <= page_kib ||
            !number(count, UINT32_MAX, &total) || total == 0)
            continue;
        Skein__HugePages *h = huge_pages(cap, (uint32_t)kib);
        if (h != NULL)
            h->total += total;
    }
}

static void read_cells(Skein__HostCapability *cap, node_t root, uint32_t page_kib)
{
    node_t cells = child(child(child(root, "host"), "topology"), "cells");
    foreach (cell, cells, "cell") {
        uint64_t kib, cpus;
        _xml_text_ num = attr(child(cell, "cpus"), "num");
        read_cell_pages(cap, cell, page_kib);
        if (cap->n_numa >= ITEMS_MAX)
            continue;
        cap->numa = xrealloc(cap->numa, cap->n_numa + 1, sizeof *cap->numa);
        Skein__NumaNode *node = cap->numa[cap->n_numa++] = xmalloc(sizeof *node);
        skein__numa_node__init(node);
        node->has_memory_mib = size_kib(child(cell, "memory"), &kib);
        node->memory_mib = node->has_memory_mib ? kib / 1024 : 0;
        node->has_cores = number(num, 65536, &cpus);
        node->cores = node->has_cores ? (uint32_t)cpus : 0;
    }
}

int caps_xml_parse(const char *text, uint32_t page_kib, Skein__HostCapability *cap,
                   struct caps_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (parse("capabilities", text, "capabilities", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc), cpu = child(child(root, "host"), "cpu");
    struct caps_xml c = {.arch = clean_content(child(cpu, "arch"))};
    if (c.arch == NULL)
        return err_set(err, ERR_INVALID, "capabilities: the host's architecture is missing");
    cap->arch = xstrdup(c.arch);
    cap->hypervisor_uuid = clean_content(child(child(root, "host"), "uuid"));
    cap->cpu_model = clean_content(child(cpu, "model"));
    read_guest(cap, &c, root);
    read_cells(cap, root, page_kib);
    *ret = c;
    return 0;
}

void caps_xml_done(struct caps_xml *c)
{
    free(c->arch);
    free(c->emulator);
    *c = (struct caps_xml){0};
}

/* The children of host-model's <mode>, as a <cpu> of its own. */
static char *host_cpu(node_t mode)
{
    if (!attr_is(mode, "supported", "yes") || child(mode, "model") == NULL)
        return NULL;
    struct buf b = {0};
    buf_adds(&b, "<cpu mode='custom' match='exact'>");
    for (node_t n = mode->children; n != NULL; n = n->next) {
        if (!is(n, "model") && !is(n, "vendor") && !is(n, "feature"))
            continue;
        xmlBuffer *out = xmlBufferCreate();
        xmlNodeDump(out, n->doc, (xmlNode *)n, 0, 0);
        buf_adds(&b, (const char *)xmlBufferContent(out));
        xmlBufferFree(out);
    }
    buf_adds(&b, "</cpu>");
    return buf_take(&b);
}

int domcaps_xml_parse(const char *text, Skein__HostCapability *cap, char **ret_host_cpu,
                      struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (parse("domain capabilities", text, "domainCapabilities", &doc, err) < 0)
        return -(int)err->code;
    node_t cpu = child(xmlDocGetRootElement(doc), "cpu");
    *ret_host_cpu = NULL;
    foreach (mode, cpu, "mode") {
        if (attr_is(mode, "name", "host-model") && *ret_host_cpu == NULL)
            *ret_host_cpu = host_cpu(mode);
        if (!attr_is(mode, "name", "custom") || !attr_is(mode, "supported", "yes"))
            continue;
        foreach (model, mode, "model")
            if (attr_is(model, "usable", "yes"))
                add_content(&cap->usable_models, &cap->n_usable_models, model);
    }
    strings_sort(cap->usable_models, cap->n_usable_models);
    return 0;
}

int cpu_xml_parse(const char *text, Skein__HostCapability *cap, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (parse("CPU", text, "cpu", &doc, err) < 0)
        return -(int)err->code;
    read_features(&cap->cpu_features, &cap->n_cpu_features, xmlDocGetRootElement(doc));
    return 0;
}

/* ---- pools ---- */

static char *or_empty(char *text)
{
    return text != NULL ? text : xstrdup("");
}

/* Paths are compared as text: no slash at the end. */
static char *clean_path(node_t n)
{
    char *path = or_empty(clean_content(n));
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    return path;
}

int pool_xml_parse(const char *text, struct pool_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (parse("storage pool", text, "pool", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc);
    char *name = clean_content(child(root, "name"));
    if (name == NULL)
        return err_set(err, ERR_INVALID, "storage pool: its name cannot be used");
    ret->name = name;
    ret->type = or_empty(clean_attr(root, "type"));
    ret->path = clean_path(child(child(root, "target"), "path"));
    ret->source = or_empty(clean_content(child(child(root, "source"), "name")));
    return 0;
}

void pool_xml_done(struct pool_xml *p)
{
    free(p->name);
    free(p->type);
    free(p->path);
    free(p->source);
    *p = (struct pool_xml){0};
}
