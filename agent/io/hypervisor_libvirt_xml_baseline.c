/* hypervisor_libvirt_xml_baseline.c - a running VM's definition as lines that both ends of a move
 * say alike: its live XML, without what each start makes anew (aliases, labels, numbers). */
#include <stdio.h>

#include "agent/io/hypervisor_libvirt_xml_priv.h"

static void add_text(struct baseline *b, const char *kind, const char *subject, char *value)
{
    if (value != NULL && value[0] != '\0')
        baseline_add(b, kind, subject, value);
    free(value);
}

/* "a=1 b=2": the attributes of a node. */
static char *attributes(node_t n)
{
    struct buf b = {0};
    for (const xmlAttr *a = n != NULL ? n->properties : NULL; a != NULL; a = a->next) {
        _xml_text_ value = xml_attr(n, (const char *)a->name);
        buf_addf(&b, "%s%s=%s", b.len > 0 ? " " : "", (const char *)a->name, value);
    }
    return b.len > 0 ? buf_take(&b) : NULL;
}

/* "a=1 b=2": the elements in a node, by their texts or attributes. */
static char *elements(node_t n)
{
    struct buf b = {0};
    for (node_t e = n != NULL ? n->children : NULL; e != NULL; e = e->next) {
        if (e->type != XML_ELEMENT_NODE)
            continue;
        _cleanup_(freep) char *attrs = attributes(e);
        _xml_text_ text = xml_content(e);
        buf_addf(&b, "%s%s=%s", b.len > 0 ? " " : "", (const char *)e->name,
                 text != NULL && text[0] != '\0' ? text
                 : attrs != NULL                 ? attrs
                                                 : "");
    }
    return b.len > 0 ? buf_take(&b) : NULL;
}

static void add_disk(struct baseline *b, node_t disk)
{
    static const char *const names[] = {"file", "dev", "protocol", "name", "pool", "volume"};
    node_t target = xml_child(disk, "target"), source = xml_child(disk, "source");
    _cleanup_(freep) char *name = xml_clean_attr(target, "dev");
    _cleanup_(freep) char *bus = xml_clean_attr(target, "bus");
    _cleanup_(freep) char *device = xml_clean_attr(disk, "device");
    if (name == NULL)
        return;
    _cleanup_(freep) char *subject = xasprintf("disk %s", name);
    _cleanup_(freep) char *of = xasprintf("disk %s source", name);
    _cleanup_(freep) char *limits = xasprintf("disk %s limits", name);
    _cleanup_(freep) char *cache = xasprintf("disk %s cache", name);
    struct buf where = {0};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(freep) char *value = xml_clean_attr(source, names[i]);
        if (value != NULL)
            buf_addf(&where, "%s%s", where.len > 0 ? ":" : "", value);
    }
    add_text(b, "def", subject,
             xasprintf("%s %s", device != NULL ? device : "disk", bus != NULL ? bus : "?"));
    add_text(b, "set", of, where.len > 0 ? buf_take(&where) : NULL);
    add_text(b, "set", limits, elements(xml_child(disk, "iotune")));
    add_text(b, "set", cache, xml_clean_attr(xml_child(disk, "driver"), "cache"));
}

static void add_card(struct baseline *b, node_t card)
{
    static const char *const names[] = {"network", "bridge", "dev", "portgroup"};
    _cleanup_(freep) char *mac = xml_clean_attr(xml_child(card, "mac"), "address");
    _cleanup_(freep) char *model = xml_clean_attr(xml_child(card, "model"), "type");
    _cleanup_(freep) char *type = xml_clean_attr(card, "type");
    node_t source = xml_child(card, "source");
    if (mac == NULL)
        return;
    _cleanup_(freep) char *subject = xasprintf("card %s", mac);
    _cleanup_(freep) char *of = xasprintf("card %s source", mac);
    _cleanup_(freep) char *bandwidth = xasprintf("card %s bandwidth", mac);
    _cleanup_(freep) char *filter = xasprintf("card %s filter", mac);
    _cleanup_(freep) char *link = xasprintf("card %s link", mac);
    struct buf where = {0};
    buf_adds(&where, type != NULL ? type : "?");
    /* of a network its bridge is that host's own business */
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(freep) char *value = xml_clean_attr(source, names[i]);
        bool own = i > 0 && i < 3 && type != NULL && strcmp(type, "network") == 0;
        if (value != NULL && !own)
            buf_addf(&where, " %s", value);
    }
    baseline_add(b, "def", subject, model != NULL ? model : "?");
    add_text(b, "set", of, buf_take(&where));
    add_text(b, "set", bandwidth, elements(xml_child(card, "bandwidth")));
    add_text(b, "set", filter, xml_clean_attr(xml_child(card, "filterref"), "filter"));
    add_text(b, "set", link, xml_clean_attr(xml_child(card, "link"), "state"));
}

/* Of <cputune>: where processors are pinned, and the rest by name. */
static void add_tune(struct baseline *b, node_t tune, const char *what)
{
    for (node_t e = tune != NULL ? tune->children : NULL; e != NULL; e = e->next) {
        if (e->type != XML_ELEMENT_NODE)
            continue;
        const char *name = (const char *)e->name;
        _cleanup_(freep) char *of = xml_clean_attr(e, xml_is(e, "vcpupin") ? "vcpu" : "iothread");
        _cleanup_(freep) char *subject =
            xasprintf("%s %s%s%s", what, name, of != NULL ? " " : "", of != NULL ? of : "");
        char *set = xml_clean_attr(e, "cpuset");
        if (set == NULL)
            set = xml_is(e, "memory") ? attributes(e) : xml_clean_content(e);
        add_text(b, "set", subject, set);
    }
}

int baseline_xml_read(const char *text, struct baseline *ret, struct err *err)
{
    _cleanup_(xmlFreeDocp) xmlDoc *doc = NULL;
    if (xml_parse("domain", text, "domain", &doc, err) < 0)
        return -(int)err->code;
    node_t root = xmlDocGetRootElement(doc), devices = xml_child(root, "devices");
    node_t vcpu = xml_child(root, "vcpu");
    uint64_t kib;
    add_text(ret, "def", "name", xml_clean_content(xml_child(root, "name")));
    if (xml_kib(xml_child(root, "memory"), &kib))
        add_text(ret, "def", "memory",
                 xasprintf("%llu MiB", (unsigned long long)(kib + 1023) / 1024));
    add_text(ret, "def", "processors", xml_clean_content(vcpu));
    add_text(ret, "def", "machine",
             xml_clean_attr(xml_child(xml_child(root, "os"), "type"), "machine"));
    add_text(ret, "set", "processors cpuset", xml_clean_attr(vcpu, "cpuset"));
    add_tune(ret, xml_child(root, "cputune"), "processors");
    add_tune(ret, xml_child(root, "memtune"), "memory");
    add_tune(ret, xml_child(root, "blkiotune"), "disks");
    add_tune(ret, xml_child(root, "numatune"), "nodes");
    foreach (disk, devices, "disk")
        add_disk(ret, disk);
    foreach (card, devices, "interface")
        add_card(ret, card);
    return 0;
}
