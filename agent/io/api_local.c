#include "agent/io/api_local.h"

#include "agent/io/http_json.h"
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

static void snapshot_got(void *arg, const struct err *err, const void *data, size_t len)
{
    _cleanup_(freep) struct waiting *w = arg;
    if (err != NULL)
        http_json_err(w->local->http, w->token, err, 500);
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
        http_json_err(local->http, token, &err, 500);
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
