#include <string.h>

#include "planner/core/model.h"
#include "planner/trace/trace.h"
#include "proto/canon.h"

void trace_free(struct trace *t)
{
    if (t == NULL)
        return;
    json_decref(t->base);
    free(t->at);
    free(t->used);
    free(t->warming);
    free(t);
}

static const char *vm_key(const json_t *vm)
{
    const char *uuid = json_string_value(json_object_get(vm, "uuid"));
    return uuid != NULL ? uuid : json_string_value(json_object_get(vm, "name"));
}

static int begin(struct trace **ret, const char *text, size_t len, const char *what,
                 struct err *err)
{
    json_t *base;
    int rc = canon_parse(text, len, what, &base, err);
    if (rc < 0)
        return rc;
    struct trace *t = xcalloc(1, sizeof *t);
    t->base = base;
    t->n_hosts = (int)json_array_size(json_object_get(base, "hosts"));
    t->n_vms = (int)json_array_size(json_object_get(base, "vms"));
    *ret = t;
    return 0;
}

/* The sample's VMs by the first snapshot's order; those that are gone ask for nothing. */
static int take_sample(struct trace *t, const struct model *m)
{
    milli *used = t->used + (size_t)(t->n_samples - 1) * (size_t)t->n_vms;
    int found = 0;
    for (int v = 0; v < t->n_vms; v++) {
        int at =
            model_find_vm(m, vm_key(json_array_get(json_object_get(t->base, "vms"), (size_t)v)));
        bool runs = at != MODEL_NONE && m->vms[at].state == VM_RUNNING;
        used[v] = runs ? m->vms[at].cpu_used_cores : QUANTITY_UNKNOWN;
        found += at != MODEL_NONE;
    }
    return m->n_vms - found;
}

int trace_recorded_add(struct trace **t, const char *text, size_t len, const char *what,
                       int *ret_left_out, struct err *err)
{
    struct model *m;
    int rc = model_parse(text, len, &m, err);
    if (rc < 0)
        return err_wrap(err, "%s", what);
    _cleanup_(model_freep) struct model *owned = m;
    if (*t != NULL && m->taken_at <= (*t)->at[(*t)->n_samples - 1])
        return err_set(err, ERR_INVALID, "%s: taken_at is not later than the snapshot before",
                       what);
    if (*t == NULL && (rc = begin(t, text, len, what, err)) < 0)
        return rc;
    struct trace *trace = *t;
    size_t n = (size_t)++trace->n_samples;
    trace->at = xrealloc(trace->at, n, sizeof *trace->at);
    trace->used =
        xrealloc(trace->used, MAX(n * (size_t)trace->n_vms, (size_t)1), sizeof *trace->used);
    trace->at[n - 1] = m->taken_at;
    trace->last = n > 1 ? trace->at[n - 1] - trace->at[n - 2] : 60000;
    *ret_left_out = take_sample(trace, m);
    return 0;
}
