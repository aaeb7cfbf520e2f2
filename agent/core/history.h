/* history.h - what was measured of hosts and VMs over the last minutes, for policies.
 * Pure. Means of whole minutes by the clock that it is given; a minute without a measurement is
 * unknown. Hosts have an hour, VMs a quarter of one: there are many more of them, and only the
 * planner hears of all. What has not been heard of for that long is forgotten. */
#ifndef SKEIN_AGENT_CORE_HISTORY_H
#define SKEIN_AGENT_CORE_HISTORY_H

#include <jansson.h>

#include "proto/skein.pb-c.h"
#include "proto/units.h"

#define HISTORY_EVERY 60000 /* milliseconds */
#define HISTORY_OF_HOST 60  /* samples */
#define HISTORY_OF_VM 15

struct history;

struct history *history_new(void);
void history_free(struct history *h);

void history_host(struct history *h, const Skein__HostSummary *summary, msec wall);
void history_vm(struct history *h, const char *uuid, int64_t used_millicores, msec wall);

/* The snapshot's part: {every_s, until, hosts: {NAME: {"temp.inlet": [...]}}, vms: {UUID: ...}},
 * the oldest first, null where unknown; leading unknown ones are left out. A new reference. */
json_t *history_json(struct history *h, msec wall);

#endif
