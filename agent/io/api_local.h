/* api_local.h - the API's answers that come from the store of this host (those of the audit:
 * api_audit.h). GET /v1/snapshots/DIGEST. */
#ifndef SKEIN_AGENT_IO_API_LOCAL_H
#define SKEIN_AGENT_IO_API_LOCAL_H

#include <stdbool.h>

#include "agent/io/http.h"
#include "agent/io/store.h"

struct api_local; /* opaque; belongs to the loop thread */

/* Borrows store and http. */
struct api_local *api_local_new(struct store *store, struct http *http);
void api_local_stop(struct api_local *local); /* before http closes */
void api_local_free(struct api_local *local); /* after the store has closed */
/* True when the call is one of these; it is then answered, now or later. */
bool api_local_call(struct api_local *local, uint64_t token, const Skein__ApiCall *call);

#endif
