#include "agent/io/events.h"

#include <jansson.h>
#include <stdio.h>

#include "agent/io/query.h"
#include "proto/util.h"

#define KEEPALIVE_MS 15000
#define RECENT 100 /* when the caller names no number */

struct events {
    struct http *http;

    struct kept {
        char *data;  /* owned; {"host", "record", "seq"} */
        char *frame; /* owned; as it stands in the stream */
    } kept[EVENTS_KEPT];

    size_t next;
    msec alive_at;
};

struct events *events_new(struct http *http)
{
    struct events *e = xcalloc(1, sizeof *e);
    e->http = http;
    return e;
}

void events_free(struct events *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < EVENTS_KEPT; i++) {
        free(e->kept[i].data);
        free(e->kept[i].frame);
    }
    free(e);
}

/* One event of the stream. The record's own word for itself becomes the event's type; it is of
 * another host perhaps, hence looked at. */
static char *frame_of(const char *host, uint64_t seq, const json_t *record, const char *data)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-";
    const char *type = json_string_value(json_object_get(record, "event"));
    size_t n = type != NULL ? strspn(type, letters) : 0;
    bool plain = n > 0 && n < 64 && type[n] == '\0';
    return xasprintf("id: %s/%llu\n%s%s%sdata: %s\n\n", host, (unsigned long long)seq,
                     plain ? "event: " : "", plain ? type : "", plain ? "\n" : "", data);
}

static void keep(struct events *e, const char *host, uint64_t seq, json_t *record)
{
    json_t *doc =
        json_pack("{s:s, s:I, s:O}", "host", host, "seq", (json_int_t)seq, "record", record);
    struct kept *k = &e->kept[e->next++ % EVENTS_KEPT];
    free(k->data);
    free(k->frame);
    k->data = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
    k->frame = frame_of(host, seq, record, k->data);
    json_decref(doc);
    http_stream(e->http, k->frame, strlen(k->frame));
}

void events_add(struct events *e, const char *host, uint64_t seq, const char *record, size_t len)
{
    json_t *object =
        len <= EVENTS_RECORD_MAX ? json_loadb(record, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(object))
        keep(e, host, seq, object);
    json_decref(object);
}

void events_tick(struct events *e, msec mono)
{
    static const char alive[] = ": alive\n\n";
    if (mono < e->alive_at)
        return;
    e->alive_at = mono + KEEPALIVE_MS;
    http_stream(e->http, alive, sizeof alive - 1);
}

/* How many of the newest were asked for. */
static size_t number_of(const struct events *e, const Skein__ApiCall *call, uint64_t fallback)
{
    uint64_t n = query_number(call->query, "limit", fallback);
    return (size_t)MIN(n, (uint64_t)MIN(e->next, (size_t)EVENTS_KEPT));
}

/* The oldest of them first. */
static void recent(struct events *e, uint64_t token, size_t n)
{
    _cleanup_(buf_done) struct buf b = {0};
    buf_adds(&b, "{\"events\":[");
    for (size_t i = e->next - n; i < e->next; i++)
        buf_addf(&b, "%s%s", i > e->next - n ? "," : "", e->kept[i % EVENTS_KEPT].data);
    buf_adds(&b, "]}");
    http_answer(e->http, token, 200, b.data, b.len);
}

static void follow(struct events *e, uint64_t token, size_t n)
{
    _cleanup_(buf_done) struct buf b = {0};
    buf_adds(&b, ": these are the newest audit records of this host and its peers\n\n");
    for (size_t i = e->next - n; i < e->next; i++)
        buf_adds(&b, e->kept[i % EVENTS_KEPT].frame);
    http_follow(e->http, token, "text/event-stream", b.data, b.len);
}

bool events_call(struct events *e, uint64_t token, const Skein__ApiCall *call)
{
    if (strcmp(call->method, "GET") != 0)
        return false;
    if (strcmp(call->path, "/v1/events") == 0)
        follow(e, token, number_of(e, call, 0));
    else if (strcmp(call->path, "/v1/events/recent") == 0)
        recent(e, token, number_of(e, call, RECENT));
    else
        return false;
    return true;
}
