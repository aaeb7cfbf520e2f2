/* webhook.h - POST a document to a URL, with libcurl, on the agent's loop. The system's
 * certificate authorities judge HTTPS; redirects are not followed.
 * Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_WEBHOOK_H
#define SKEIN_AGENT_IO_WEBHOOK_H

#include <stdbool.h>
#include <uv.h>

#include "proto/err.h"
#include "proto/util.h"

#define WEBHOOK_ANSWER_MAX (64u << 10) /* bytes */
#define WEBHOOK_AT_ONCE 32             /* further ones are refused */

struct webhooks; /* opaque */

/* Is this an http or https URL? */
bool webhook_url_ok(const char *url);

int webhooks_open(uv_loop_t *loop, struct webhooks **ret, struct err *err);
/* Ends what is under way, unanswered; closed is called from the loop. */
void webhooks_close(struct webhooks *w, void (*closed)(void *arg), void *arg);

/* A POST of body as curl (a CURL) does it, for those who perform it themselves, in a thread of
 * their own. What is answered goes to answer, up to WEBHOOK_ANSWER_MAX; all of these outlive curl.
 */
struct curl_slist;
void webhook_prepare(void *curl, const char *url, const struct curl_slist *headers,
                     const char *body, long timeout_ms, struct buf *answer);

/* err NULL: answered with a status of 2xx; text (which lives for the callback only) is its body.
 * Else why not: ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_DENIED (another status), ERR_LIMIT. */
typedef void (*webhook_done)(void *arg, const struct err *err, const char *text, size_t len);

/* Copies the body. done (NULL allowed) is called from the loop, never from within. */
int webhook_post(struct webhooks *w, const char *url, const char *body, long timeout_ms,
                 webhook_done done, void *arg, struct err *err);

#endif
