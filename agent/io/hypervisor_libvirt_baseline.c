/* hypervisor_libvirt_baseline.c - what a VM is like on this host, to be compared after a move. */
#include <stdio.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_xml.h"

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_address(struct baseline *b, const virDomainInterface *card)
{
    struct buf list = {0};
    const char *texts[16];
    size_t n = 0;
    for (unsigned i = 0; i < card->naddrs && n < ARRAY_SIZE(texts); i++)
        texts[n++] = card->addrs[i].addr;
    qsort(texts, n, sizeof *texts, compare_texts);
    for (size_t i = 0; i < n; i++)
        buf_addf(&list, "%s%s", i > 0 ? " " : "", texts[i]);
    _cleanup_(freep) char *subject =
        xasprintf("addresses of %s", card->hwaddr != NULL ? card->hwaddr : "?");
    if (n > 0)
        baseline_add(b, "run", subject, list.data);
    buf_done(&list);
}

/* Those that this host has in its ARP table: the guest itself is not asked, it may not answer. */
static void add_addresses(virDomainPtr dom, struct baseline *b)
{
    virDomainInterfacePtr *cards = NULL;
    int n = virDomainInterfaceAddresses(dom, &cards, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, 0);
    for (int i = 0; i < n; i++) {
        add_address(b, cards[i]);
        virDomainInterfaceFree(cards[i]);
    }
    free(cards);
}

/* What is counted of it: what stops being counted by a move is told. */
static void add_statistics(virDomainPtr dom, struct baseline *b)
{
    virDomainInfo info;
    virDomainMemoryStatStruct memory[VIR_DOMAIN_MEMORY_STAT_NR];
    char count[16];
    if (virDomainGetInfo(dom, &info) == 0) {
        snprintf(count, sizeof count, "%u", info.nrVirtCpu);
        baseline_add(b, "set", "processors in use", count);
        baseline_add(b, "set", "statistics of processors", info.cpuTime > 0 ? "counted" : "none");
    }
    int n = virDomainMemoryStats(dom, memory, ARRAY_SIZE(memory), 0);
    baseline_add(b, "set", "statistics of memory", n > 0 ? "counted" : "none");
}

int libvirt_baseline(struct hypervisor *hv, const char *uuid, struct baseline *ret, struct err *err)
{
    struct libvirt *lv = (struct libvirt *)hv;
    struct err ours = {0};
    _cleanup_call_ struct libvirt_call call = {0};
    _cleanup_dom_ virDomainPtr dom = NULL;
    if (err == NULL)
        err = &ours;
    if (libvirt_begin(lv, &call, err) < 0 || libvirt_domain(call.conn, uuid, &dom, err) < 0)
        return -(int)err->code;
    _cleanup_(freep) char *text = virDomainGetXMLDesc(dom, 0);
    if (text == NULL)
        return libvirt_error(err, "the VM's definition");
    if (baseline_xml_read(text, ret, err) < 0)
        return -(int)err->code;
    if (virDomainIsActive(dom) == 1) {
        add_addresses(dom, ret);
        add_statistics(dom, ret);
    }
    return 0;
}
