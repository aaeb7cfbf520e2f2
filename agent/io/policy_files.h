/* policy_files.h - the policies that the configuration names, read once at the start: what a new
 * cluster begins with. Later the voters hold them, and the files are not looked at any more. */
#ifndef SKEIN_AGENT_IO_POLICY_FILES_H
#define SKEIN_AGENT_IO_POLICY_FILES_H

#include "agent/core/step.h"
#include "agent/io/config.h"

/* The active policies and the drains' one, as far as they can be read; the rest is logged. */
struct node_policy *policy_files_read(const struct config *config, size_t *ret_n);
void policy_files_free(struct node_policy *policies, size_t n);
/* Can each active policy be read? For the check of the configuration. */
int policy_files_check(const struct config *config, struct err *err);

#endif
