/* whatif.h - the snapshot as it would be, were hosts lost, added or drained, or rules gone. */
#ifndef SKEIN_AGENT_CTL_WHATIF_H
#define SKEIN_AGENT_CTL_WHATIF_H

#include <stddef.h>

#include "agent/ctl/plan_args.h"

/* Read a->snapshot and alter it as asked: lost hosts are offline and their VMs crashed; new hosts
 * are there, rules gone. Hosts to be drained are marked so only for a policy: the core is told them
 * beside the snapshot, which stays as it is. The text is to be freed. */
int whatif_snapshot(const struct plan_args *a, char **ret, size_t *ret_len, struct err *err);

#endif
