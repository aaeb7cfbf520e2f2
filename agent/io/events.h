/* events.h - what happens in the fleet, as it happens: the newest audit records of this host and
 * of those it is linked with, for GET /v1/events (server-sent events) and /v1/events/recent.
 * Nothing here is kept or proven; the audit is. Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_EVENTS_H
#define SKEIN_AGENT_IO_EVENTS_H

#include <stdbool.h>

#include "agent/io/http.h"
#include "proto/units.h"

#define EVENTS_KEPT 500
#define EVENTS_RECORD_MAX (64u << 10) /* bytes of a record that another host sends */

struct events; /* opaque */

struct events *events_new(struct http *http);
void events_free(struct events *e);

/* A record of a host's log, as its text; what is no JSON object is dropped. */
void events_add(struct events *e, const char *host, uint64_t seq, const char *record, size_t len);
/* Now and then: clients that are gone are noticed by writing to them. */
void events_tick(struct events *e, msec mono);
/* True when the call was for events: it is answered, or its client follows from now on. */
bool events_call(struct events *e, uint64_t token, const Skein__ApiCall *call);

#endif
