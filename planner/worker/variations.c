#include "planner/worker/variations.h"

#include <stdio.h>

#include "planner/worker/figures.h"
#include "proto/util.h"

/* The item of an array whose "name" or "uuid" it is. */
static json_t *named(const json_t *array, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        const char *n = json_string_value(json_object_get(item, "name"));
        const char *u = json_string_value(json_object_get(item, "uuid"));
        if (name != NULL &&
            ((n != NULL && strcmp(n, name) == 0) || (u != NULL && strcmp(u, name) == 0)))
            return item;
    }
    return NULL;
}

/* object[part][field] += by, not below 0; nothing where it is unknown. */
static void add(json_t *object, const char *part, const char *field, double by)
{
    json_t *o = json_object_get(object, part), *v = json_object_get(o, field);
    if (json_is_number(v))
        json_object_set_new(o, field, json_real(MAX(json_number_value(v) + by, 0)));
}

static double number(const json_t *o, const char *field)
{
    return json_number_value(json_object_get(o, field)); /* 0 where it is unknown */
}

static void shift(json_t *host, const json_t *vm, double heat, double sign)
{
    if (host == NULL)
        return;
    add(host, "cpu", "used_cores", sign * number(vm, "cpu_used_cores"));
    add(host, "memory", "used_mib", sign * number(vm, "memory_used_mib"));
    add(host, "temperature", "cpu_celsius", sign * heat);
}

/* Degrees that each VM of the snapshot brings, by its name as the plan says it. */
static double heat_of(const struct model *m, const milli *heat, const char *vm)
{
    int i = m != NULL ? model_find_vm(m, vm) : MODEL_NONE;
    return i == MODEL_NONE || heat[i] == QUANTITY_UNKNOWN ? 0 : (double)heat[i] / 1000;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* Every action of that type of a body, in order: a borrowed array to be freed by json_decref. */
static json_t *actions(const json_t *body, const char *type)
{
    json_t *list = json_array(), *step, *action;
    size_t i, k;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            if (text_of(action, "type") != NULL && strcmp(text_of(action, "type"), type) == 0)
                json_array_append(list, action);
        }
    }
    return list;
}

/* Hosts that are woken come before the first move, those that go to sleep after the last. */
static void set_power(json_t *hosts, const json_t *body, const char *type, const char *state)
{
    json_t *list = actions(body, type), *action;
    size_t i;
    json_array_foreach(list, i, action)
    {
        json_t *host = named(hosts, text_of(action, "host"));
        if (host != NULL)
            json_object_set_new(host, "state", json_string(state));
    }
    json_decref(list);
}

json_t *variation_apply(const json_t *snapshot, const json_t *body, int n)
{
    json_t *after = json_deep_copy(snapshot);
    json_t *hosts = json_object_get(after, "hosts"), *vms = json_object_get(after, "vms"), *action;
    _cleanup_(freep) char *text = json_dumps(snapshot, JSON_COMPACT | JSON_REAL_PRECISION(15));
    _cleanup_(model_freep) struct model *m = NULL;
    struct err err;
    if (model_parse(text, strlen(text), &m, &err) < 0)
        m = NULL;
    _cleanup_(freep) milli *heat = xcalloc(m != NULL ? (size_t)m->n_vms : 0, sizeof *heat);
    if (m != NULL)
        figures_heat(m, heat);
    json_t *list = actions(body, "migrate");
    size_t i;
    set_power(hosts, body, "wake", "up");
    if (n >= (int)json_array_size(list))
        set_power(hosts, body, "standby", "standby");
    json_array_foreach(list, i, action)
    {
        const char *id = text_of(action, "uuid");
        json_t *vm = named(vms, id != NULL ? id : text_of(action, "vm"));
        if ((int)i >= n || vm == NULL)
            break;
        double degrees = heat_of(m, heat, id != NULL ? id : text_of(action, "vm"));
        shift(named(hosts, text_of(action, "from")), vm, degrees, -1);
        shift(named(hosts, text_of(action, "to")), vm, degrees, 1);
        json_object_set(vm, "host", json_object_get(action, "to"));
    }
    json_decref(list);
    return after;
}

/* xorshift64*: -1 to 1. */
static double noise(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 2685821657736338717ULL) >> 11) / (double)(1ULL << 52) - 1;
}

json_t *variation_noise(const json_t *snapshot, uint64_t seed)
{
    json_t *noisy = json_deep_copy(snapshot), *item, *v;
    uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
    size_t i;
    json_array_foreach(json_object_get(noisy, "hosts"), i, item)
    {
        double used = number(json_object_get(item, "cpu"), "used_cores");
        add(item, "cpu", "used_cores", 0.02 * used * noise(&state));
        add(item, "temperature", "cpu_celsius", 0.3 * noise(&state));
    }
    json_array_foreach(json_object_get(noisy, "vms"), i, item)
    {
        if ((v = json_object_get(item, "cpu_used_cores")) != NULL && json_is_number(v))
            json_object_set_new(item, "cpu_used_cores",
                                json_real(json_number_value(v) * (1 + 0.02 * noise(&state))));
    }
    return noisy;
}

bool variation_moves_again(const json_t *body, const json_t *next, bool back, char *text,
                           size_t size)
{
    json_t *first = actions(body, "migrate"), *second = actions(next, "migrate"), *a, *b;
    size_t i, k;
    bool found = false;
    json_array_foreach(first, i, a)
    {
        json_array_foreach(second, k, b)
        {
            bool same = json_equal(json_object_get(a, "uuid"), json_object_get(b, "uuid")) &&
                        json_equal(json_object_get(a, "vm"), json_object_get(b, "vm"));
            bool home = json_equal(json_object_get(a, "from"), json_object_get(b, "to"));
            if (!same || (back && !home) || found)
                continue;
            snprintf(text, size, "%.60s went from %.60s to %.60s and then would go to %.60s",
                     text_of(a, "vm"), text_of(a, "from"), text_of(a, "to"), text_of(b, "to"));
            found = true;
        }
    }
    json_decref(first);
    json_decref(second);
    return found;
}
