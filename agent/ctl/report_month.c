#include "agent/ctl/report_month.h"

#include <stdlib.h>
#include <string.h>

#include "agent/ctl/text.h"
#include "proto/util.h"

#define MONTH_LEN 7

bool report_month_ok(const char *month)
{
    static const char form[] = "dddd-dd";
    if (strlen(month) != MONTH_LEN)
        return false;
    for (size_t i = 0; i < MONTH_LEN; i++)
        if (form[i] == 'd' ? month[i] < '0' || month[i] > '9' : month[i] != form[i])
            return false;
    int number = (month[5] - '0') * 10 + month[6] - '0';
    return number >= 1 && number <= 12;
}

bool report_month_has(const char *month, const json_t *plan)
{
    const char *at = text_or(plan, "started_at", text_or(plan, "made_at", ""));
    return strncmp(at, month, MONTH_LEN) == 0;
}

/* ---- counting ---- */

static void count(json_t *counts, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(counts, key));
    json_object_set_new(counts, key, json_integer(n + 1));
}

struct figures {
    int64_t *items;
    size_t n, cap;
};

static void add(struct figures *f, int64_t value)
{
    if (value == QUANTITY_UNKNOWN)
        return;
    ARRAY_RESERVE(f->items, f->cap, f->n + 1);
    f->items[f->n++] = value;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static json_t *median(struct figures *f)
{
    if (f->n == 0)
        return json_null();
    qsort(f->items, f->n, sizeof *f->items, by_value);
    return json_integer(f->items[(f->n - 1) / 2]);
}

static json_t *spread(struct figures *f)
{
    json_t *middle = median(f); /* sorts */
    return json_pack("{s:o, s:o}", "median", middle, "longest",
                     f->n > 0 ? json_integer(f->items[f->n - 1]) : json_null());
}

struct month {
    json_t *states, *classes, *outcomes, *failures; /* owned by the answer */
    struct figures durations, downtimes, errors;
    int64_t mib, moves, ended, succeeded;
};

static void add_move(struct month *m, const json_t *move)
{
    const char *state = text_or(move, "state", "?");
    int64_t ms = number_at(move, "duration_ms"),
            predicted = number_at(move, "predicted.duration_ms");
    bool succeeded = strcmp(state, "SUCCEEDED") == 0;
    m->moves++;
    m->ended += succeeded || strcmp(state, "FAILED") == 0 || strcmp(state, "NEEDS_OPERATOR") == 0;
    m->succeeded += succeeded;
    count(m->outcomes, state);
    if (text_at(move, "failure.kind") != NULL)
        count(m->failures, text_at(move, "failure.kind"));
    if (number_at(move, "transferred_mib") != QUANTITY_UNKNOWN)
        m->mib = sat_add(m->mib, number_at(move, "transferred_mib"));
    if (!succeeded)
        return;
    add(&m->durations, ms);
    add(&m->downtimes, number_at(move, "downtime_ms"));
    if (ms > 0 && predicted > 0)
        add(&m->errors, sat_mul(ms > predicted ? ms - predicted : predicted - ms, 100) / ms);
}

json_t *report_month(const char *month, const json_t *reports)
{
    struct month m = {.states = json_object(),
                      .classes = json_object(),
                      .outcomes = json_object(),
                      .failures = json_object()};
    size_t i, k;
    const json_t *report, *move;
    json_array_foreach(reports, i, report)
    {
        count(m.states, text_or(report, "state", "?"));
        count(m.classes, text_or(report, "class", "?"));
        json_array_foreach(json_object_get(report, "moves"), k, move)
        {
            add_move(&m, move);
        }
    }
    json_t *o = json_pack(
        "{s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "month", month, "plans",
        (json_int_t)json_array_size(reports), "states", m.states, "classes", m.classes, "moves",
        (json_int_t)m.moves, "outcomes", m.outcomes, "failures", m.failures, "transferred_mib",
        (json_int_t)m.mib, "duration_ms", spread(&m.durations), "downtime_ms", spread(&m.downtimes),
        "prediction_error_pct", median(&m.errors), "success_pct",
        m.ended > 0 ? json_integer((json_int_t)(m.succeeded * 100 / m.ended)) : json_null());
    free(m.durations.items);
    free(m.downtimes.items);
    free(m.errors.items);
    return o;
}
