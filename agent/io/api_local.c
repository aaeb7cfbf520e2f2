#include "agent/io/api_local.h"

#include <jansson.h>

#include "proto/util.h"

struct api_local {
    struct store *store;
    struct http *http; /* NULL when it is gone; the store may still answer */
};

/* An answer that the store owes; ends with its callback. */
struct waiting {
    struct api_local *local;
    uint64_t token;
};

struct api_local *api_local_new(struct store *store, struct http *http)
{
    struct api_local *local = xcalloc(1, sizeof *local);
    local->store = store;
    local->http = http;
    return local;
}

void api_local_stop(struct api_local *local)
{
    local->http = NULL;
}

void api_local_free(struct api_local *local)
{
    free(local);
}

static void answer(struct api_local *local, uint64_t token, unsigned status, json_t *body)
{
    _cleanup_(freep) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    REQUIRE(text != NULL);
    if (local->http != NULL)
        http_answer(local->http, token, status, text, strlen(text));
}

static void answer_err(struct api_local *local, uint64_t token, const struct err *err)
{
    unsigned status = err->code == ERR_NOT_FOUND ? 404 : err->code == ERR_INVALID ? 400 : 500;
    answer(local, token, status,
           json_pack("{s:{s:s,s:s}}", "error", "code", err_name(err->code), "message", err->msg));
}

static void snapshot_got(void *arg, const struct err *err, const void *data, size_t len)
{
    _cleanup_(freep) struct waiting *w = arg;
    if (err != NULL)
        answer_err(w->local, w->token, err);
    else if (w->local->http != NULL)
        http_answer(w->local->http, w->token, 200, data, len);
}

static void snapshot(struct api_local *local, uint64_t token, const char *digest)
{
    struct waiting *w = xcalloc(1, sizeof *w);
    struct err err = {0};
    *w = (struct waiting){local, token};
    if (store_snapshot_get(local->store, digest, snapshot_got, w, &err) < 0) {
        free(w);
        answer_err(local, token, &err);
    }
}

bool api_local_call(struct api_local *local, uint64_t token, const Skein__ApiCall *call)
{
    static const char snapshots[] = "/v1/snapshots/";
    if (strcmp(call->method, "GET") != 0)
        return false;
    if (strncmp(call->path, snapshots, sizeof snapshots - 1) != 0)
        return false;
    snapshot(local, token, call->path + sizeof snapshots - 1);
    return true;
}
