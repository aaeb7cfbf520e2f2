/* api_metrics.h - GET /metrics: the node in numbers (agent/core/metrics.h), and what this process
 * takes. */
#ifndef SKEIN_AGENT_IO_API_METRICS_H
#define SKEIN_AGENT_IO_API_METRICS_H

#include "agent/core/node.h"
#include "agent/io/http.h"
#include "agent/io/mesh.h"

/* Everything is borrowed. True when the call was this one; it is answered. */
bool api_metrics_call(struct http *http, struct node *node, const struct mesh *mesh,
                      struct moment now, uint64_t token, const Skein__ApiCall *call);

#endif
