/* week.h - the fleet's week (planner/core/profile.h) in a file, so that an agent that is restarted
 * knows what it had learned. Only a convenience: what cannot be read or written is logged, and
 * learned again. */
#ifndef SKEIN_AGENT_IO_WEEK_H
#define SKEIN_AGENT_IO_WEEK_H

#include <jansson.h>

#define WEEK_FILE "week.json" /* in the state directory */

json_t *week_read(const char *directory); /* a new reference, or NULL */
/* Replaces the file; not synced: at worst the file before it, or none, is there after a power cut.
 */
void week_write(const char *directory, const json_t *week);

#endif
