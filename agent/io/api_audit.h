/* api_audit.h - this host's audit log over the API:
 *   GET /v1/audit?from=SEQ&limit=N     records
 *   GET /v1/audit/verify               recomputed, and held against what was signed
 *   GET /v1/audit/export               a fresh checkpoint, the heads of the other logs: what stands
 *                                      before the records in an export
 *   GET /v1/audit/proof?seq=SEQ        a record, with its path to a fresh checkpoint
 *   GET /v1/audit/consistency?from=N   the proof that a fresh checkpoint goes on from N records
 * Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_API_AUDIT_H
#define SKEIN_AGENT_IO_API_AUDIT_H

#include <stdbool.h>

#include "agent/core/state.h"
#include "agent/io/http.h"
#include "agent/io/notary.h"
#include "agent/io/store.h"

struct api_audit; /* opaque */

struct api_audit_conf {
    struct store *store;
    const char *path; /* of its database */
    struct http *http;
    struct notary *notary;
    const struct cluster *cluster;
    const char *host;
    const struct state *state; /* for the heads */
};

struct api_audit *api_audit_new(const struct api_audit_conf *conf);
void api_audit_stop(struct api_audit *a); /* before http closes */
void api_audit_free(struct api_audit *a);
/* True when the call was for the audit; its answer follows. */
bool api_audit_call(struct api_audit *a, struct moment now, uint64_t token,
                    const Skein__ApiCall *call);

#endif
