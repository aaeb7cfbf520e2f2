/* hypervisor_sim.h - "sim:SOCKET": this host is one of a simulated world's (skein-sim).
 *
 * Each call has a connection of its own, so that one which waits for a hanging host keeps no other;
 * connecting to a local socket costs less than remembering connections would. One thread keeps a
 * connection on which the world tells changes, and makes it anew when the world was restarted. */
#ifndef SKEIN_AGENT_IO_HYPERVISOR_SIM_H
#define SKEIN_AGENT_IO_HYPERVISOR_SIM_H

#include "agent/io/hypervisor.h"

extern const struct hypervisor_ops hypervisor_sim_ops;

#endif
