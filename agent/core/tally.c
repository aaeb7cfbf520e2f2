#include "agent/core/tally.h"

#include <string.h>

#include "proto/util.h"

#define LINES_MAX 200 /* kinds of records: names are ours, so that this is never reached */

void tally_done(struct tally *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->lines[i].event);
        free(t->lines[i].code);
    }
    free(t->lines);
    *t = (struct tally){0};
}

static void count(struct tally *t, const char *event, const char *code)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->lines[i].event, event) == 0 && strcmp(t->lines[i].code, code) == 0) {
            t->lines[i].count++;
            return;
        }
    if (t->n == LINES_MAX)
        return;
    ARRAY_RESERVE(t->lines, t->cap, t->n + 1);
    t->lines[t->n++] = (struct tally_line){xstrdup(event), xstrdup(code), 1};
}

static void observe(struct histogram *h, const unsigned bounds[TALLY_BUCKETS], uint64_t ms)
{
    size_t i = 0;
    while (i < TALLY_BUCKETS && ms > bounds[i])
        i++;
    h->buckets[i]++;
    h->sum_ms += ms;
    h->count++;
}

static uint64_t number(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n > 0 ? (uint64_t)n : 0;
}

void tally_record(struct tally *t, const json_t *record)
{
    static const unsigned durations[] = TALLY_DURATIONS_MS, downtimes[] = TALLY_DOWNTIMES_MS;
    const char *event = json_string_value(json_object_get(record, "event"));
    const char *code = json_string_value(json_object_get(record, "code"));
    if (event == NULL)
        return;
    count(t, event, code != NULL ? code : "");
    const json_t *measured = json_object_get(record, "measured");
    if (measured == NULL || strcmp(event, "move.succeeded") != 0)
        return;
    observe(&t->durations, durations, number(measured, "took_ms"));
    if (json_object_get(measured, "downtime_ms") != NULL)
        observe(&t->downtimes, downtimes, number(measured, "downtime_ms"));
    t->transferred_mib += number(measured, "mib");
}
