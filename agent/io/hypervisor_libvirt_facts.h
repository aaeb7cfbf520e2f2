/* hypervisor_libvirt_facts.h - what two hosts have of what a VM needs. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_FACTS_H
#define SKEIN_AGENT_IO_HYPERVISOR_LIBVIRT_FACTS_H

#include <libvirt/libvirt.h>

#include "agent/io/hypervisor_libvirt_host.h"
#include "agent/io/hypervisor_libvirt_needs.h"

/* The caller frees both with host_facts_done. */
void host_facts_here(virConnectPtr conn, const struct vm_needs *n, struct host_facts *ret);
void host_facts_there(virConnectPtr here, virConnectPtr there, const struct vm_needs *n,
                      struct host_facts *ret);

#endif
