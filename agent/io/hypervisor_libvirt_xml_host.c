/* hypervisor_libvirt_xml_host.c - what libvirt says of a host: capabilities, CPU, storage pools. */
#include "agent/io/hypervisor_libvirt_xml_priv.h"

/* ---- capabilities ---- */

static bool has_domain_type(node_t domain_types, const char *type)
{
    foreach (n, domain_types, "domain")
        if (xml_attr_is(n, "type", type))
            return true;
    return false;
}

/* A <domain type> may list machines of its own; then those count. */
static void read_machines(Skein__HostCapability *cap, node_t arch, bool kvm)
{
    node_t from = arch;
    foreach (n, arch, "domain")
        if (xml_attr_is(n, "type", kvm ? "kvm" : "qemu") && xml_child(n, "machine") != NULL)
            from = n;
    foreach (n, from, "machine")
        xml_add_content(&cap->machines, &cap->n_machines, n);
    strings_sort(cap->machines, cap->n_machines);
}

static void read_guest(Skein__HostCapability *cap, struct caps_xml *c, node_t root)
{
    foreach (guest, root, "guest") {
        node_t arch = xml_child(guest, "arch");
        _xml_text_ os = xml_content(xml_child(guest, "os_type"));
        if (!xml_attr_is(arch, "name", c->arch) || !xml_text_is(os, "hvm"))
            continue;
        c->kvm = has_domain_type(arch, "kvm");
        free(c->emulator);
        c->emulator = xml_clean_content(xml_child(arch, "emulator"));
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
        _xml_text_ size = xml_attr(n, "size");
        _xml_text_ count = xml_content(n);
        uint64_t kib, total;
        if (!xml_attr_is(n, "unit", "KiB") || !xml_number(size, 16u << 20, &kib) ||
            kib <= page_kib || !xml_number(count, UINT32_MAX, &total) || total == 0)
            continue;
        Skein__HugePages *h = huge_pages(cap, (uint32_t)kib);
        if (h != NULL)
            h->total += total;
    }
}

static void read_cells(Skein__HostCapability *cap, node_t root, uint32_t page_kib)
{
    node_t cells = xml_child(xml_child(xml_child(root, "host"), "topology"), "cells");
    foreach (cell, cells, "cell") {
        uint64_t kib, cpus;
        _xml_text_ num = xml_attr(xml_child(cell, "cpus"), "num");
        read_cell_pages(cap, cell, page_kib);
        if (cap->n_numa >= XML_ITEMS_MAX)
            continue;
        cap->numa = xrealloc(cap->numa, cap->n_numa + 1, sizeof *cap->numa);
        Skein__NumaNode *node = cap->numa[cap->n_numa++] = xmalloc(sizeof *node);
        skein__numa_node__init(node);
        node->has_memory_mib = xml_kib(xml_child(cell, "memory"), &kib);
        node->memory_mib = node->has_memory_mib ? kib / 1024 : 0;
        node->has_cores = xml_number(num, 65536, &cpus);
        node->cores = node->has_cores ? (uint32_t)cpus : 0;
    }
}

int caps_xml_parse(const char *text, uint32_t page_kib, Skein__HostCapability *cap,
                   struct caps_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("capabilities", text, "capabilities", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc), cpu = xml_child(xml_child(root, "host"), "cpu");
    struct caps_xml c = {.arch = xml_clean_content(xml_child(cpu, "arch"))};
    if (c.arch == NULL)
        return err_set(err, ERR_INVALID, "capabilities: the host's architecture is missing");
    cap->arch = xstrdup(c.arch);
    cap->hypervisor_uuid = xml_clean_content(xml_child(xml_child(root, "host"), "uuid"));
    cap->cpu_model = xml_clean_content(xml_child(cpu, "model"));
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
    if (!xml_attr_is(mode, "supported", "yes") || xml_child(mode, "model") == NULL)
        return NULL;
    struct buf b = {0};
    buf_adds(&b, "<cpu mode='custom' match='exact'>");
    for (node_t n = mode->children; n != NULL; n = n->next) {
        if (!xml_is(n, "model") && !xml_is(n, "vendor") && !xml_is(n, "feature"))
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
    if (xml_parse("domain capabilities", text, "domainCapabilities", &doc, err) < 0)
        return -(int)err->code;
    node_t cpu = xml_child(xmlDocGetRootElement(doc), "cpu");
    *ret_host_cpu = NULL;
    foreach (mode, cpu, "mode") {
        if (xml_attr_is(mode, "name", "host-model") && *ret_host_cpu == NULL)
            *ret_host_cpu = host_cpu(mode);
        if (!xml_attr_is(mode, "name", "custom") || !xml_attr_is(mode, "supported", "yes"))
            continue;
        foreach (model, mode, "model")
            if (xml_attr_is(model, "usable", "yes"))
                xml_add_content(&cap->usable_models, &cap->n_usable_models, model);
    }
    strings_sort(cap->usable_models, cap->n_usable_models);
    return 0;
}

int cpu_xml_parse(const char *text, Skein__HostCapability *cap, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("CPU", text, "cpu", &doc, err) < 0)
        return -(int)err->code;
    xml_add_features(&cap->cpu_features, &cap->n_cpu_features, xmlDocGetRootElement(doc));
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
    char *path = or_empty(xml_clean_content(n));
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    return path;
}

int pool_xml_parse(const char *text, struct pool_xml *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("storage pool", text, "pool", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc);
    char *name = xml_clean_content(xml_child(root, "name"));
    if (name == NULL)
        return err_set(err, ERR_INVALID, "storage pool: its name cannot be used");
    ret->name = name;
    ret->type = or_empty(xml_clean_attr(root, "type"));
    ret->path = clean_path(xml_child(xml_child(root, "target"), "path"));
    ret->source = or_empty(xml_clean_content(xml_child(xml_child(root, "source"), "name")));
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
