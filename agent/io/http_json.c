#include "agent/io/http_json.h"

#include <string.h>

#include "proto/util.h"

void http_json_answer(struct http *http, uint64_t token, unsigned status, json_t *body)
{
    _cleanup_(freep) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    REQUIRE(text != NULL);
    if (http != NULL)
        http_answer(http, token, status, text, strlen(text));
}

void http_json_err(struct http *http, uint64_t token, const struct err *err, unsigned otherwise)
{
    unsigned status = err->code == ERR_NOT_FOUND ? 404 : err->code == ERR_INVALID ? 400 : otherwise;
    http_json_answer(
        http, token, status,
        json_pack("{s:{s:s,s:s}}", "error", "code", err_name(err->code), "message", err->msg));
}
