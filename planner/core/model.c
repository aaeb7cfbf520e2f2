#include "planner/core/model.h"

#include <string.h>

#include "planner/core/arena.h"
#include "proto/util.h"

void model_free(struct model *m)
{
    if (m == NULL)
        return;
    arena_done(&m->arena);
    free(m);
}

int model_find_host(const struct model *m, const char *name)
{
    int lo = 0, hi = m->n_hosts;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        int c = strcmp(m->hosts[mid].name, name);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return MODEL_NONE;
}

int model_find_vm(const struct model *m, const char *name_or_uuid)
{
    int found = MODEL_NONE, named = 0;
    for (int v = 0; v < m->n_vms; v++) {
        if (strcmp(m->vms[v].id, name_or_uuid) == 0)
            return v;
        if (m->vms[v].name != NULL && strcmp(m->vms[v].name, name_or_uuid) == 0) {
            found = v;
            named++;
        }
    }
    return named == 1 ? found : MODEL_NONE;
}

const char *model_tag(const struct model_tags *tags, const char *key)
{
    for (int i = 0; i < tags->n; i++)
        if (strcmp(tags->items[i].key, key) == 0)
            return tags->items[i].value;
    return NULL;
}

const char *host_state_name(enum host_state s)
{
    static const char *const names[] = {
#define X(name, text) text,
        HOST_STATES(X)
#undef X
    };
    return names[s];
}

const char *vm_state_name(enum vm_state s)
{
    static const char *const names[] = {
#define X(name, text) text,
        VM_STATES(X)
#undef X
    };
    return names[s];
}

const char *rule_type_name(enum rule_type t)
{
    static const char *const names[] = {
#define X(name, text) text,
        RULE_TYPES(X)
#undef X
    };
    return names[t];
}

static int64_t scale(int64_t amount, milli factor)
{
    return sat_mul(amount, factor) / 1000;
}

int64_t host_memory_for_vms_mib(const struct model_host *h)
{
    if (h->total_mib == QUANTITY_UNKNOWN)
        return QUANTITY_UNKNOWN;
    int64_t rest = sat_sub(h->total_mib, h->reserved_mib);
    for (int i = 0; i < h->n_hugepages; i++) {
        const struct model_hugepages *p = &h->hugepages[i];
        if (p->total == QUANTITY_UNKNOWN)
            return QUANTITY_UNKNOWN;
        rest = sat_sub(rest, (sat_mul(p->total, p->size_kib) + 1023) / 1024);
    }
    return rest <= 0 ? 0 : scale(rest, h->memory_overcommit);
}

int64_t host_vcpus(const struct model_host *h)
{
    return h->cores == QUANTITY_UNKNOWN ? QUANTITY_UNKNOWN
                                        : scale(h->cores, h->cpu_overcommit) / 1000;
}

milli host_watts_at(const struct model_host *h, milli used_cores)
{
    if (h->curve_watts[0] == QUANTITY_UNKNOWN || h->cores == QUANTITY_UNKNOWN || h->cores <= 0)
        return QUANTITY_UNKNOWN;
    int64_t tenths = sat_mul(MIN(MAX(used_cores, 0), h->cores), 10);
    int64_t i = MIN(tenths / h->cores, MODEL_CURVE - 2);
    int64_t part = tenths - i * h->cores; /* of one step, in units of cores */
    milli lo = h->curve_watts[i], hi = h->curve_watts[i + 1];
    return lo + sat_mul(hi - lo, part) / h->cores;
}
