/* metrics.h - the node in numbers, in Prometheus' text format (version 0.0.4). Pure.
 * Of this host and of what it sees; a fleet is the sum of its agents, so that what one says does
 * not grow with the number of hosts. What the process itself takes is the shell's to add. */
#ifndef SKEIN_AGENT_CORE_METRICS_H
#define SKEIN_AGENT_CORE_METRICS_H

#include "agent/core/api.h"
#include "agent/core/tally.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends to ret. */
void metrics_render(const struct api_context *c, const struct tally *tally, struct buf *ret);

/* A family's head, and a sample of it: labels are "a=\"b\"" or NULL. */
void metrics_family(struct buf *b, const char *name, const char *type, const char *help);
void metrics_sample(struct buf *b, const char *name, const char *labels, double value);
/* A family of one sample without labels. */
void metrics_single(struct buf *b, const char *name, const char *type, const char *help,
                    double value);

#endif
