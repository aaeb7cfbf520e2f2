#include "agent/core/history.h"

#include <string.h>

#include "proto/canon.h"
#include "proto/util.h"

#define UNKNOWN INT32_MIN

/* Of one quantity. Its minute is the one that is being measured. */
struct series {
    int64_t minute, sum;
    uint32_t count;
    int32_t *means; /* ring, by minute; within its track */
};

enum { CPU_UTIL, CPU_PSI, MEM_USED, TEMP_INLET, TEMP_CPU, POWER_WATTS, N_HOST_SERIES };

static const char *const host_names[N_HOST_SERIES] = {
    "cpu.util", "cpu.psi", "mem.used", "temp.inlet", "temp.cpu", "power.watts",
};
static const char *const vm_names[] = {"cpu.used"};

/* Of one host or VM. */
struct track {
    char *key; /* owned */
    msec heard;
    struct series *series; /* [n_series of its table]; owned */
    int32_t *ring;         /* of all of them; owned */
};

struct table {
    const char *const *names;
    size_t n_series;
    int64_t size;         /* samples of a series */
    struct track *tracks; /* sorted by key */
    size_t n, cap;
};

struct history {
    struct table hosts, vms;
};

struct history *history_new(void)
{
    struct history *h = xcalloc(1, sizeof *h);
    h->hosts =
        (struct table){.names = host_names, .n_series = N_HOST_SERIES, .size = HISTORY_OF_HOST};
    h->vms = (struct table){.names = vm_names, .n_series = 1, .size = HISTORY_OF_VM};
    return h;
}

static void track_done(struct track *t)
{
    free(t->key);
    free(t->series);
    free(t->ring);
}

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        track_done(&t->tracks[i]);
    free(t->tracks);
}

void history_free(struct history *h)
{
    if (h == NULL)
        return;
    table_done(&h->hosts);
    table_done(&h->vms);
    free(h);
}

/* ---- one series */

static int32_t mean_of(const struct series *s)
{
    int64_t mean = s->count > 0 ? s->sum / s->count : UNKNOWN;
    return (int32_t)MAX(MIN(mean, (int64_t)INT32_MAX), (int64_t)UNKNOWN);
}

/* The minute under way ends; those up to the next one had no measurement. */
static void series_turn(struct series *s, int64_t size, int64_t minute)
{
    s->means[s->minute % size] = mean_of(s);
    int64_t missed = MIN(minute - s->minute - 1, size);
    for (int64_t i = 1; i <= missed; i++)
        s->means[(s->minute + i) % size] = UNKNOWN;
    s->minute = minute;
    s->sum = s->count = 0;
}

static void series_reset(struct series *s, int64_t size, int64_t minute)
{
    for (int64_t i = 0; i < size; i++)
        s->means[i] = UNKNOWN;
    s->minute = minute;
    s->sum = s->count = 0;
}

/* A clock that was set back by more than the whole history begins anew; by less, its measurements
 * count to the minute under way. */
static void series_add(struct series *s, int64_t size, int64_t minute, int64_t value)
{
    if (minute < s->minute - size)
        series_reset(s, size, minute);
    else if (minute > s->minute)
        series_turn(s, size, minute);
    s->sum = sat_add(s->sum, value);
    s->count++;
}

static json_t *series_json(struct series *s, int64_t size, int64_t until)
{
    json_t *list = json_array();
    if (until > s->minute)
        series_turn(s, size, until);
    for (int64_t m = MAX(until - size, (int64_t)0); m < until; m++) {
        bool held = m < s->minute && m >= s->minute - size;
        int32_t mean = held ? s->means[m % size] : UNKNOWN;
        if (mean != UNKNOWN)
            json_array_append_new(list, canon_milli(mean));
        else if (json_array_size(list) > 0)
            json_array_append_new(list, json_null());
    }
    return list;
}

/* ---- tables */

static struct track *track_get(struct table *t, const char *key, int64_t minute)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(t->tracks[mid].key, key);
        if (order == 0)
            return &t->tracks[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    ARRAY_RESERVE(t->tracks, t->cap, t->n + 1);
    memmove(&t->tracks[lo + 1], &t->tracks[lo], (t->n++ - lo) * sizeof *t->tracks);
    struct track *track = &t->tracks[lo];
    *track = (struct track){.key = xstrdup(key),
                            .series = xcalloc(t->n_series, sizeof *track->series),
                            .ring = xcalloc(t->n_series * (size_t)t->size, sizeof *track->ring)};
    for (size_t i = 0; i < t->n_series; i++) {
        track->series[i].means = track->ring + i * (size_t)t->size;
        series_reset(&track->series[i], t->size, minute);
    }
    return track;
}

static int64_t minute_of(msec wall)
{
    return MAX(wall, (msec)0) / HISTORY_EVERY;
}

static void add(struct table *t, struct track *track, size_t which, bool known, int64_t value,
                msec wall)
{
    track->heard = wall;
    if (known)
        series_add(&track->series[which], t->size, minute_of(wall), value);
}

void history_host(struct history *h, const Skein__HostSummary *s, msec wall)
{
    struct table *t = &h->hosts;
    struct track *track = track_get(t, s->host, minute_of(wall));
    bool util = s->has_used_millicores && s->has_cores && s->cores > 0;
    add(t, track, CPU_UTIL, util, util ? 100 * (int64_t)s->used_millicores / s->cores : 0, wall);
    add(t, track, CPU_PSI, s->has_pressure_cpu_milli, s->pressure_cpu_milli, wall);
    add(t, track, MEM_USED, s->has_memory_used_mib,
        sat_mul((int64_t)MIN(s->memory_used_mib, (uint64_t)INT64_MAX), 1000), wall);
    add(t, track, TEMP_INLET, s->has_inlet_millicelsius, s->inlet_millicelsius, wall);
    add(t, track, TEMP_CPU, s->has_cpu_millicelsius, s->cpu_millicelsius, wall);
    add(t, track, POWER_WATTS, s->has_power_milliwatts, s->power_milliwatts, wall);
}

void history_vm(struct history *h, const char *uuid, int64_t used_millicores, msec wall)
{
    struct track *track = track_get(&h->vms, uuid, minute_of(wall));
    add(&h->vms, track, 0, true, used_millicores, wall);
}

/* ---- telling */

static void table_forget(struct table *t, msec wall)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->tracks[i].heard < wall - t->size * HISTORY_EVERY)
            track_done(&t->tracks[i]);
        else
            t->tracks[kept++] = t->tracks[i];
    }
    t->n = kept;
}

static json_t *table_json(struct table *t, int64_t until)
{
    json_t *all = json_object();
    for (size_t i = 0; i < t->n; i++) {
        json_t *one = json_object();
        for (size_t k = 0; k < t->n_series; k++) {
            json_t *list = series_json(&t->tracks[i].series[k], t->size, until);
            if (json_array_size(list) > 0)
                json_object_set(one, t->names[k], list);
            json_decref(list);
        }
        if (json_object_size(one) > 0)
            json_object_set(all, t->tracks[i].key, one);
        json_decref(one);
    }
    return all;
}

json_t *history_json(struct history *h, msec wall)
{
    int64_t until = minute_of(wall);
    char text[TIME_TEXT_SIZE];
    time_format(until * HISTORY_EVERY, text);
    table_forget(&h->hosts, wall);
    table_forget(&h->vms, wall);
    return json_pack("{s:i, s:s, s:o, s:o}", "every_s", HISTORY_EVERY / 1000, "until", text,
                     "hosts", table_json(&h->hosts, until), "vms", table_json(&h->vms, until));
}
