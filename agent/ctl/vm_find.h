/* vm_find.h - the VM that a word on the command line means: its name, or its UUID. */
#ifndef SKEIN_AGENT_CTL_VM_FIND_H
#define SKEIN_AGENT_CTL_VM_FIND_H

#include <jansson.h>

#include "proto/err.h"

/* list: of /v1/vms; *ret is borrowed from it. */
int vm_find(const json_t *list, const char *word, const json_t **ret, struct err *err);

#endif
