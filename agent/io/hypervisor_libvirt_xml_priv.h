/* hypervisor_libvirt_xml_priv.h - a text of libvirt's as a tree, bounded: what the reading of VMs
 * (hypervisor_libvirt_xml.c) and of hosts (hypervisor_libvirt_xml_host.c) share. A node may be NULL
 * everywhere but in xml_is: it has no children, attributes and content. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_XML_PRIV_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_XML_PRIV_H

#include <libxml/parser.h>
#include <libxml/tree.h>

#include "agent/io/hypervisor_libvirt_xml.h"

/* Disks, networks, machines, models, features: beyond that it is no host. */
#define XML_ITEMS_MAX 1024
#define XML_BYTES_MAX (UINT64_C(1) << 60)

typedef const xmlNode *node_t;

DEFINE_CLEANUP(xmlDoc, xmlFreeDoc)

/* what: for messages; root: what the document must be. */
int xml_parse(const char *what, const char *text, const char *root, xmlDoc **ret, struct err *err);

bool xml_is(node_t n, const char *name);
node_t xml_next(node_t n, const char *name); /* n or the next beside it of that name */
node_t xml_child(node_t n, const char *name);

/* Every child of that name. (The macro has the name that clang-format knows.) */
#define foreach(it, of, name)                                                                      \
    for (node_t it = xml_child(of, name); it != NULL; it = xml_next(it->next, name))

/* To be freed by xmlFree: _xml_text_. */
char *xml_attr(node_t n, const char *name);
char *xml_content(node_t n);

#define _xml_text_ _cleanup_(xml_text_freep) char *

static inline void xml_text_freep(char **p)
{
    xmlFree(*p);
}

bool xml_text_is(const char *text, const char *want);
bool xml_attr_is(node_t n, const char *name, const char *want);
/* Digits only, at most limit; false otherwise. */
bool xml_number(const char *text, uint64_t limit, uint64_t *ret);
uint64_t xml_unit(const char *unit); /* in bytes; 0: not known */
/* <x unit='KiB'>N</x> in KiB, rounded up. */
bool xml_kib(node_t n, uint64_t *ret);

/* A copy, or NULL when there is no text or it may not stand in a message. */
char *xml_clean(const char *text);
char *xml_clean_attr(node_t n, const char *name);
char *xml_clean_content(node_t n);

/* To a message's strings, where they are clean. */
void xml_add_attr(char ***items, size_t *n, node_t node, const char *name);
void xml_add_content(char ***items, size_t *n, node_t node);
/* The names of the features that a <cpu> requires, sorted. */
void xml_add_features(char ***items, size_t *n, node_t cpu);

#endif
