#include "planner/core/profile.h"

#include "proto/canon.h"
#include "proto/util.h"

#define CORES_MAX 1e9

void profile_init(struct profile *p)
{
    *p = (struct profile){0};
    for (int i = 0; i < PROFILE_SLOTS; i++)
        p->used[i] = QUANTITY_UNKNOWN;
}

static int64_t slot_at(msec wall)
{
    return MAX(wall, (msec)0) / PROFILE_EVERY;
}

/* 1970 began on a Thursday. */
static size_t of_week(int64_t slot)
{
    return (size_t)((slot + 3 * (int64_t)PROFILE_DAY) % PROFILE_SLOTS);
}

static void end_slot(struct profile *p)
{
    if (p->count == 0)
        return;
    milli *at = &p->used[of_week(p->slot)], mean = p->sum / p->count;
    *at = *at == QUANTITY_UNKNOWN ? mean : *at + (mean - *at) / 2;
}

void profile_add(struct profile *p, milli used_cores, msec wall)
{
    int64_t slot = slot_at(wall);
    if (used_cores == QUANTITY_UNKNOWN || used_cores < 0)
        return;
    if (slot != p->slot) {
        if (slot > p->slot)
            end_slot(p);
        p->slot = slot;
        p->sum = p->count = 0;
    }
    p->sum = sat_add(p->sum, used_cores);
    p->count++;
}

json_t *profile_json(const struct profile *p)
{
    milli least, most;
    if (!profile_range(p, &least, &most))
        return NULL;
    json_t *list = json_array();
    for (int i = 0; i < PROFILE_SLOTS; i++)
        json_array_append_new(list, p->used[i] == QUANTITY_UNKNOWN ? json_null()
                                                                   : canon_milli(p->used[i]));
    return json_pack("{s:i, s:o}", "every_s", PROFILE_EVERY / 1000, "used_cores", list);
}

void profile_take(struct profile *p, const json_t *doc)
{
    const json_t *list = json_object_get(doc, "used_cores");
    if (json_integer_value(json_object_get(doc, "every_s")) != PROFILE_EVERY / 1000 ||
        json_array_size(list) != PROFILE_SLOTS)
        return;
    for (size_t i = 0; i < PROFILE_SLOTS; i++) {
        const json_t *v = json_array_get(list, i);
        double cores = json_number_value(v);
        if (json_is_number(v) && cores >= 0 && cores <= CORES_MAX)
            p->used[i] = (milli)(cores * 1000 + 0.5);
    }
}

milli profile_at(const struct profile *p, msec wall)
{
    size_t at = of_week(slot_at(wall));
    milli most = p->used[at];
    for (size_t day = 1; day < 7 && p->used[at] == QUANTITY_UNKNOWN; day++) {
        milli other = p->used[(at + day * PROFILE_DAY) % PROFILE_SLOTS];
        if (other != QUANTITY_UNKNOWN && (most == QUANTITY_UNKNOWN || other > most))
            most = other;
    }
    return most;
}

bool profile_range(const struct profile *p, milli *ret_least, milli *ret_most)
{
    milli least = QUANTITY_UNKNOWN, most = QUANTITY_UNKNOWN;
    for (int i = 0; i < PROFILE_SLOTS; i++) {
        milli v = p->used[i];
        if (v == QUANTITY_UNKNOWN)
            continue;
        least = least == QUANTITY_UNKNOWN ? v : MIN(least, v);
        most = most == QUANTITY_UNKNOWN ? v : MAX(most, v);
    }
    if (least == QUANTITY_UNKNOWN)
        return false;
    *ret_least = least;
    *ret_most = most;
    return true;
}
