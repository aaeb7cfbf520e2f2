/* hypervisor_libvirt_xml_tree.c - a text of libvirt's as a tree: what is common to all of them. */
#include "agent/io/hypervisor_libvirt_xml_priv.h"
#include "proto/codec.h"

int xml_parse(const char *what, const char *text, const char *root, xmlDoc **ret, struct err *err)
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

bool xml_is(node_t n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0;
}

node_t xml_next(node_t n, const char *name)
{
    while (n != NULL && !xml_is(n, name))
        n = n->next;
    return n;
}

node_t xml_child(node_t n, const char *name)
{
    return n != NULL ? xml_next(n->children, name) : NULL;
}

char *xml_attr(node_t n, const char *name)
{
    return n != NULL ? (char *)xmlGetNoNsProp(n, (const xmlChar *)name) : NULL;
}

char *xml_content(node_t n)
{
    return n != NULL ? (char *)xmlNodeGetContent(n) : NULL;
}

bool xml_text_is(const char *text, const char *want)
{
    return text != NULL && strcmp(text, want) == 0;
}

bool xml_attr_is(node_t n, const char *name, const char *want)
{
    _xml_text_ value = xml_attr(n, name);
    return xml_text_is(value, want);
}

bool xml_number(const char *text, uint64_t limit, uint64_t *ret)
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

uint64_t xml_unit(const char *unit)
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

bool xml_kib(node_t n, uint64_t *ret)
{
    _xml_text_ unit = xml_attr(n, "unit");
    _xml_text_ text = xml_content(n);
    uint64_t value, scale = xml_unit(unit != NULL ? unit : "KiB");
    if (scale == 0 || !xml_number(text, XML_BYTES_MAX / scale, &value))
        return false;
    *ret = (value * scale + 1023) / 1024;
    return true;
}

char *xml_clean(const char *text)
{
    return text != NULL && *text != '\0' && codec_text_ok(text, CODEC_NAME_MAX) ? xstrdup(text)
                                                                                : NULL;
}

char *xml_clean_attr(node_t n, const char *name)
{
    _xml_text_ text = xml_attr(n, name);
    return xml_clean(text);
}

char *xml_clean_content(node_t n)
{
    _xml_text_ text = xml_content(n);
    return xml_clean(text);
}

void strings_add(char ***items, size_t *n, const char *text)
{
    if (*n >= XML_ITEMS_MAX)
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

void xml_add_attr(char ***items, size_t *n, node_t node, const char *name)
{
    _cleanup_(freep) char *text = xml_clean_attr(node, name);
    if (text != NULL)
        strings_add(items, n, text);
}

void xml_add_content(char ***items, size_t *n, node_t node)
{
    _cleanup_(freep) char *text = xml_clean_content(node);
    if (text != NULL)
        strings_add(items, n, text);
}

void xml_add_features(char ***items, size_t *n, node_t cpu)
{
    foreach (f, cpu, "feature") {
        _xml_text_ policy = xml_attr(f, "policy");
        if (policy == NULL || strcmp(policy, "require") == 0 || strcmp(policy, "force") == 0)
            xml_add_attr(items, n, f, "name");
    }
    strings_sort(*items, *n);
}
