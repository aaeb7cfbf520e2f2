/* command_run.h - a program that is run and waited for, but not for longer than it may take: the
 * firewall's, people's hooks. Blocks: for worker threads. */
#ifndef SKEIN_AGENT_IO_COMMAND_RUN_H
#define SKEIN_AGENT_IO_COMMAND_RUN_H

#include <stddef.h>

#include "proto/err.h"
#include "proto/units.h"

/* argv[0] is a path, or is looked for in PATH. input (NULL: none) becomes its standard input;
 * said (size bytes; NULL: nobody cares) gets the beginning of what it prints on either output. 0
 * with its exit status, ERR_TIMEOUT when it was killed with all that it started, ERR_NOT_FOUND when
 * there is no such program, ERR_IO when a signal ended it. */
int command_run(const char *const *argv, const char *input, msec patience, char *said, size_t size,
                int *ret_status, struct err *err);

#endif
