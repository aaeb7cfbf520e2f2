/* show.h - a world's status for people and for programs. */
#ifndef SKEIN_AGENT_SIM_SHOW_H
#define SKEIN_AGENT_SIM_SHOW_H

#include <stdio.h>

#include "proto/sim.pb-c.h"

void show_table(const Skein__SimStatus *status, FILE *out);

/* {at, kwh, hosts: [{name, failure_domain, power, trouble, cores, used_cores, memory_mib,
 * memory_taken_mib, inlet_celsius, cpu_celsius, watts, running, migration_mbps, cpu_overcommit,
 * memory_overcommit, memory_reserved_mib, tags}], guests: [{name, uuid, host, running, defined,
 * starts, used_cores, moving_to}]} */
void show_json(const Skein__SimStatus *status, FILE *out);

#endif
