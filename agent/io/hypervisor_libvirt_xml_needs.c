/* hypervisor_libvirt_xml_needs.c - what a definition asks of its hosts; networks and bridges. */
#include <ctype.h>
#include <stdio.h>

#include "agent/io/hypervisor_libvirt_needs.h"
#include "agent/io/hypervisor_libvirt_xml_priv.h"

#define CPUS_MAX 65536

void host_names_done(struct host_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct host_names){0};
}

static char *or_empty(char *text)
{
    return text != NULL ? text : xstrdup("");
}

static uint32_t mtu_of(node_t n)
{
    uint64_t mtu;
    _xml_text_ size = xml_attr(xml_child(n, "mtu"), "size");
    return xml_number(size, UINT32_MAX, &mtu) ? (uint32_t)mtu : 0;
}

/* ---- networks and bridges ---- */

int net_xml_parse(const char *text, struct host_net *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    struct err other;
    if (xml_parse("network", text, "network", &doc, &other) < 0 &&
        xml_parse("interface", text, "interface", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc);
    struct host_net net = {.name = xml_clean_content(xml_child(root, "name"))};
    if (net.name == NULL)
        net.name = xml_clean_attr(root, "name"); /* of an interface */
    if (net.name == NULL)
        return err_set(err, ERR_INVALID, "network: its name cannot be used");
    net.mtu = mtu_of(root);
    net.virtualport = or_empty(xml_clean_attr(xml_child(root, "virtualport"), "type"));
    net.portgroups.known = true;
    foreach (group, root, "portgroup")
        xml_add_attr(&net.portgroups.items, &net.portgroups.n, group, "name");
    *ret = net;
    return 0;
}

void net_xml_done(struct host_net *net)
{
    free(net->name);
    free(net->virtualport);
    host_names_done(&net->portgroups);
    *net = (struct host_net){0};
}

/* ---- a list of processors or nodes ---- */

static bool list_number(const char **at, unsigned *ret)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return false;
    unsigned long v = strtoul(*at, &end, 10);
    *at = end;
    *ret = (unsigned)v;
    return v < CPUS_MAX;
}

bool needs_cpu_list(const char *text, uint64_t *ret_bits, int *ret_highest)
{
    uint64_t bits = 0;
    int highest = -1;
    for (const char *at = text;; at++) {
        unsigned first, last;
        bool without = *at == '^';
        at += without;
        if (!list_number(&at, &first))
            return false;
        last = first;
        if (*at == '-' && (at++, !list_number(&at, &last) || last < first))
            return false;
        for (unsigned i = first; i <= last && i < 64; i++)
            bits = without ? bits & ~(UINT64_C(1) << i) : bits | UINT64_C(1) << i;
        if (!without)
            highest = MAX(highest, (int)last);
        if (*at == '\0')
            break;
        if (*at != ',')
            return false;
    }
    *ret_bits = bits;
    *ret_highest = highest;
    return true;
}

/* ---- disks and interfaces ---- */

static void disk_done(struct need_disk *disk)
{
    free(disk->target);
    free(disk->path);
    free(disk->pool);
    free(disk->cache);
    free(disk->secret);
}

static node_t secret_of(node_t disk)
{
    node_t source = xml_child(disk, "source");
    const node_t places[] = {xml_child(disk, "auth"), xml_child(disk, "encryption"),
                             xml_child(source, "auth"), xml_child(source, "encryption")};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (xml_child(places[i], "secret") != NULL)
            return xml_child(places[i], "secret");
    return NULL;
}

static void read_disk(struct vm_needs *n, node_t disk)
{
    node_t source = xml_child(disk, "source");
    struct need_disk d = {.block = xml_attr_is(disk, "type", "block")};
    if (n->n_disks >= XML_ITEMS_MAX)
        return;
    d.path = xml_clean_attr(source, d.block ? "dev" : "file");
    if (xml_attr_is(disk, "type", "volume"))
        d.pool = xml_clean_attr(source, "pool");
    d.target = or_empty(xml_clean_attr(xml_child(disk, "target"), "dev"));
    d.cache = or_empty(xml_clean_attr(xml_child(disk, "driver"), "cache"));
    d.readonly = xml_child(disk, "readonly") != NULL;
    d.secret = xml_clean_attr(secret_of(disk), "uuid");
    n->disks = xrealloc(n->disks, n->n_disks + 1, sizeof *n->disks);
    n->disks[n->n_disks++] = d;
}

static void nic_done(struct need_nic *nic)
{
    free(nic->source);
    free(nic->portgroup);
    free(nic->virtualport);
    free(nic->filter);
}

static void read_nic(struct vm_needs *n, node_t nic)
{
    node_t source = xml_child(nic, "source");
    struct need_nic c = {.network = xml_attr_is(nic, "type", "network")};
    if (n->n_nics >= XML_ITEMS_MAX || (!c.network && !xml_attr_is(nic, "type", "bridge")))
        return;
    c.source = or_empty(xml_clean_attr(source, c.network ? "network" : "bridge"));
    c.portgroup = or_empty(xml_clean_attr(source, "portgroup"));
    c.virtualport = or_empty(xml_clean_attr(xml_child(nic, "virtualport"), "type"));
    c.filter = or_empty(xml_clean_attr(xml_child(nic, "filterref"), "filter"));
    c.mtu = mtu_of(nic);
    n->nics = xrealloc(n->nics, n->n_nics + 1, sizeof *n->nics);
    n->nics[n->n_nics++] = c;
}

/* ---- processor, memory, labels ---- */

static char *dump(node_t node)
{
    xmlBuffer *out = xmlBufferCreate();
    xmlNodeDump(out, node->doc, (xmlNode *)node, 0, 0);
    char *text = xstrdup((const char *)xmlBufferContent(out));
    xmlBufferFree(out);
    return text;
}

static void read_cpu(struct vm_needs *n, node_t root)
{
    node_t cpu = xml_child(root, "cpu");
    if (cpu == NULL)
        return;
    n->cpu_of_host =
        xml_attr_is(cpu, "mode", "host-passthrough") || xml_attr_is(cpu, "mode", "maximum");
    if (!n->cpu_of_host && xml_child(cpu, "model") != NULL)
        n->cpu = dump(cpu);
}

static void read_pins(struct vm_needs *n, node_t root)
{
    uint64_t bits;
    int highest;
    node_t tune = xml_child(root, "cputune");
    _xml_text_ all = xml_attr(xml_child(root, "vcpu"), "cpuset");
    n->cpu_highest = -1;
    if (all != NULL && needs_cpu_list(all, &bits, &highest))
        n->cpu_highest = highest;
    static const char *const pins[] = {"vcpupin", "emulatorpin", "iothreadpin"};
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
        foreach (pin, tune, pins[i]) {
            _xml_text_ set = xml_attr(pin, "cpuset");
            if (set != NULL && needs_cpu_list(set, &bits, &highest))
                n->cpu_highest = MAX(n->cpu_highest, highest);
        }
}

static void read_nodes(struct vm_needs *n, node_t tune)
{
    static const char *const places[] = {"memory", "memnode"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        foreach (memory, tune, places[i]) {
            uint64_t bits;
            int highest;
            _xml_text_ set = xml_attr(memory, "nodeset");
            _xml_text_ mode = xml_attr(memory, "mode");
            bool strict = mode == NULL || strcmp(mode, "strict") == 0;
            if (strict && set != NULL && needs_cpu_list(set, &bits, &highest))
                n->numa_nodes |= bits;
        }
}

static void read_pages(struct vm_needs *n, node_t root)
{
    node_t pages = xml_child(xml_child(root, "memoryBacking"), "hugepages");
    node_t page = xml_child(pages, "page");
    _xml_text_ size = xml_attr(page, "size");
    _xml_text_ unit = xml_attr(page, "unit");
    uint64_t value, scale = xml_unit(unit != NULL ? unit : "KiB");
    if (scale > 0 && xml_number(size, UINT64_C(1) << 40, &value) &&
        value <= (UINT64_C(1) << 40) / scale)
        n->page_kib = (uint32_t)(value * scale / 1024);
}

/* A label that is made at start is made anew by the host that it arrives at. */
static void read_label(struct vm_needs *n, node_t root)
{
    foreach (label, root, "seclabel") {
        _cleanup_(freep) char *model = xml_clean_attr(label, "model");
        if (xml_attr_is(label, "type", "static") && model != NULL && n->security_model == NULL)
            n->security_model = TAKE_PTR(model);
    }
}

int needs_xml_parse(const char *text, struct vm_needs *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("domain", text, "domain", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc), os = xml_child(xml_child(root, "os"), "type");
    node_t devices = xml_child(root, "devices");
    uint64_t kib = 0;
    struct vm_needs n = {.name = or_empty(xml_clean_content(xml_child(root, "name")))};
    n.type = xml_clean_attr(root, "type");
    n.arch = xml_clean_attr(os, "arch");
    n.machine = xml_clean_attr(os, "machine");
    n.emulator = xml_clean_content(xml_child(devices, "emulator"));
    if (xml_kib(xml_child(root, "memory"), &kib))
        n.memory_mib = (kib + 1023) / 1024;
    read_cpu(&n, root);
    read_pins(&n, root);
    read_nodes(&n, xml_child(root, "numatune"));
    read_pages(&n, root);
    read_label(&n, root);
    foreach (disk, devices, "disk")
        read_disk(&n, disk);
    foreach (nic, devices, "interface")
        read_nic(&n, nic);
    *ret = n;
    return 0;
}

void needs_done(struct vm_needs *n)
{
    for (size_t i = 0; i < n->n_disks; i++)
        disk_done(&n->disks[i]);
    for (size_t i = 0; i < n->n_nics; i++)
        nic_done(&n->nics[i]);
    free(n->disks);
    free(n->nics);
    free(n->name);
    free(n->type);
    free(n->arch);
    free(n->machine);
    free(n->emulator);
    free(n->cpu);
    free(n->security_model);
    *n = (struct vm_needs){0};
}
