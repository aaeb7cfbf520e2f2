/* hypervisor_libvirt_compare.c - a VM that would leave, held against both hosts: what runs on its
 * disks, and what the other one lacks. The same before every move and for people. */
#include <stdio.h>

#include "agent/io/hypervisor_libvirt.h"
#include "agent/io/hypervisor_libvirt_facts.h"
#include "agent/io/probe.h"

static void find_block_jobs(virDomainPtr dom, const struct vm_needs *n, struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_disks; i++) {
        virDomainBlockJobInfo info;
        if (n->disks[i].target[0] != '\0' &&
            virDomainGetBlockJobInfo(dom, n->disks[i].target, &info, 0) == 1)
            finding_add(f, "BLOCK_JOB", "wait for it, or end it (virsh blockjob --abort)",
                        "a block job runs on disk %s", n->disks[i].target);
    }
}

static void find_backup(virDomainPtr dom, struct hv_findings *f)
{
    _cleanup_(freep) char *backup = virDomainBackupGetXMLDesc(dom, 0);
    if (backup != NULL)
        finding_add(f, "BACKUP", "wait for its end, or abort it (virsh domjobabort)",
                    "a backup of the VM is in progress");
}

static void find_paths(const struct vm_needs *n, struct hv_findings *f)
{
    for (size_t i = 0; i < n->n_disks; i++) {
        struct probe_multipath m;
        const struct need_disk *d = &n->disks[i];
        if (!d->block || d->path == NULL || !probe_multipath("/sys", d->path, &m) || m.up >= 2)
            continue;
        finding_advise(f, "MULTIPATH", "repair the paths (multipath -ll)",
                       "disk %s (%s) has %u of %u paths left", d->target, d->path, m.up, m.all);
    }
}

static int find_there(struct libvirt *lv, virConnectPtr conn, const struct vm_needs *n,
                      const struct hv_move *move, struct hv_findings *f, struct err *err)
{
    struct host_facts here, there;
    _cleanup_(libvirt_peer_end) struct libvirt_peer peer = {0};
    _cleanup_(freep) char *key = xasprintf("%s of %s", move->to, move->uuid);
    host_facts_here(conn, n, &here);
    needs_check_here(n, &here, f);
    int rc = libvirt_peer_begin(lv, move->to, key, LIBVIRT_PEER_ASK, &peer, err);
    if (rc == 0) {
        host_facts_there(conn, peer.conn, n, &there);
        needs_check_there(n, &here, move->to, &there, f);
        host_facts_done(&there);
    }
    host_facts_done(&here);
    return rc;
}

int libvirt_compare(struct libvirt *lv, virConnectPtr conn, virDomainPtr dom,
                    const struct hv_move *move, struct hv_findings *f, struct err *err)
{
    struct vm_needs n = {0};
    _cleanup_(freep) char *text = virDomainGetXMLDesc(dom, 0);
    if (text == NULL)
        return libvirt_error(err, "the VM's definition");
    if (needs_xml_parse(text, &n, err) < 0)
        return -(int)err->code;
    if (virDomainIsActive(dom) == 0)
        n.page_kib = 0; /* a definition takes no memory */
    find_block_jobs(dom, &n, f);
    find_backup(dom, f);
    find_paths(&n, f);
    int rc = find_there(lv, conn, &n, move, f, err);
    needs_done(&n);
    return rc;
}
