/* record.h - an audit record in one line. */
#ifndef SKEIN_AGENT_CTL_RECORD_H
#define SKEIN_AGENT_CTL_RECORD_H

#include <jansson.h>
#include <stdbool.h>

/* Everything of a record that has no column of its own (at, host, event, and plan unless
 * with_plan), as KEY=VALUE; to be freed. */
char *record_details(const json_t *record, bool with_plan);

#endif
