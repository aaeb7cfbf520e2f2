/* http_json.h - answers of those who have a JSON document at hand, or an error. http NULL: it is
 * gone, nobody is answered. */
#ifndef SKEIN_AGENT_IO_HTTP_JSON_H
#define SKEIN_AGENT_IO_HTTP_JSON_H

#include <jansson.h>

#include "agent/io/http.h"

/* Takes body. */
void http_json_answer(struct http *http, uint64_t token, unsigned status, json_t *body);
/* {"error": {"code", "message"}} with status 404 or 400 where err is of that kind, else otherwise.
 */
void http_json_err(struct http *http, uint64_t token, const struct err *err, unsigned otherwise);

#endif
