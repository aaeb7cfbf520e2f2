/* publish.h - the audit's anchors outside the cluster: each cosigned checkpoint goes to a file (a
 * line, appended), to syslog, or to a web hook, so that even all hosts together cannot take back
 * what was there. Best effort, and never waited for. Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_PUBLISH_H
#define SKEIN_AGENT_IO_PUBLISH_H

#include <stddef.h>
#include <uv.h>

#include "agent/io/webhook.h"
#include "proto/err.h"

/* "file:/PATH", "syslog", "http://..." or "https://..."; what names it in the error. */
int publish_check(const char *what, const char *anchor, struct err *err);

void publish(uv_loop_t *loop, struct webhooks *webhooks, const char *const *anchors, size_t n,
             const char *checkpoint);

#endif
