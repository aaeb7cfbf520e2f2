#include "planner/check/world.h"

#include <math.h>
#include <string.h>

#include "proto/canon.h"
#include "proto/util.h"

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A whole amount, or -1. up: what is needed is rounded up, what there is down. */
static int64_t amount(const json_t *o, const char *key, bool up)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        return -1;
    double x = json_number_value(v);
    if (x < 0 || x > 1e15)
        return -1;
    return (int64_t)(up ? ceil(x) : floor(x));
}

static double number_or(const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static bool exceeds(const json_t *o, const char *a, const char *b)
{
    const json_t *x = json_object_get(o, a), *y = json_object_get(o, b);
    return json_is_number(x) && json_is_number(y) && json_number_value(x) > json_number_value(y);
}

static bool zero(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) && json_number_value(v) <= 0;
}

static double pools_mib(const json_t *host, bool *known, bool *plausible)
{
    double sum = 0;
    size_t i;
    const json_t *p;
    json_array_foreach(json_object_get(host, "hugepages"), i, p)
    {
        if (!json_is_number(json_object_get(p, "total")))
            *known = false;
        if (exceeds(p, "free", "total"))
            *plausible = false;
        sum += ceil(number_or(p, "total", 0) * number_or(p, "size_kib", 0) / 1024);
    }
    return sum;
}

static void read_host(const json_t *o, struct w_host *h)
{
    const json_t *cpu = json_object_get(o, "cpu"), *memory = json_object_get(o, "memory"), *s;
    bool known = true, plausible = true;
    size_t i;
    *h = (struct w_host){.name = text(o, "name"),
                         .state = text(o, "state"),
                         .domain = text(o, "failure_domain"),
                         .json = o};
    double pools = pools_mib(o, &known, &plausible);
    plausible = plausible && !zero(cpu, "cores") && !exceeds(cpu, "used_cores", "cores") &&
                !zero(memory, "total_mib") && !exceeds(memory, "used_mib", "total_mib") &&
                !exceeds(memory, "reserved_mib", "total_mib") &&
                !(pools > number_or(memory, "total_mib", INFINITY));
    json_array_foreach(json_object_get(o, "storage"), i, s) plausible =
        plausible && !exceeds(s, "free_mib", "total_mib");
    h->plausible = plausible;
    int64_t total = amount(memory, "total_mib", false);
    double rest = (double)total - ceil(number_or(memory, "reserved_mib", 0)) - pools;
    h->memory = total < 0 || !known
                    ? -1
                    : (int64_t)floor(MAX(rest, 0) * number_or(memory, "overcommit", 1) + 1e-6);
    double cores = number_or(cpu, "cores", -1);
    h->vcpus = cores < 0 ? -1 : (int64_t)floor(cores * number_or(cpu, "overcommit", 1) + 1e-6);
}

static bool is_one_of(const char *s, const char *a, const char *b)
{
    return s != NULL && (strcmp(s, a) == 0 || strcmp(s, b) == 0);
}

static void read_vm(const struct world *w, const json_t *o, struct w_vm *v)
{
    *v = (struct w_vm){.name = text(o, "name"), .uuid = text(o, "uuid"), .json = o};
    const char *host = text(o, "host");
    v->home = v->at = host == NULL ? -1 : world_host(w, host);
    v->counts = v->at >= 0 && !is_one_of(text(o, "state"), "stopped", "crashed");
    v->memory = amount(o, "memory_mib", true);
    v->vcpus = amount(o, "vcpus", true);
    v->page_kib = MAX(amount(o, "hugepages_kib", false), 0);
    if (v->page_kib > 0 && v->memory >= 0)
        v->pages = (v->memory * 1024 + v->page_kib - 1) / v->page_kib;
}

static bool tags_fit(const json_t *have, const json_t *want)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)want, key, value)
    {
        if (!json_equal(json_object_get(have, key), value))
            return false;
    }
    return true;
}

static void add_member(struct w_rule *r, int vm)
{
    for (int i = 0; i < r->n_vms; i++)
        if (r->vms[i] == vm)
            return;
    r->vms[r->n_vms++] = vm;
}

static void read_members(const struct world *w, const json_t *o, struct w_rule *r)
{
    const json_t *names = json_object_get(o, "vms"), *select = json_object_get(o, "select");
    r->vms = xcalloc((size_t)w->n_vms + 1, sizeof *r->vms);
    for (int v = 0; select != NULL && v < w->n_vms; v++)
        if (tags_fit(json_object_get(w->vms[v].json, "tags"), select))
            add_member(r, v);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        int v = name == NULL ? -1 : world_vm(w, name, name);
        if (v >= 0)
            add_member(r, v);
        else if (i == 0 && strcmp(r->type, "depends-on") == 0)
            return; /* who depends is not here */
    }
}

static void read_rule(const struct world *w, const json_t *o, struct w_rule *r)
{
    const char *enforcement = text(o, "enforcement");
    *r = (struct w_rule){.name = text(o, "name"), .type = text(o, "type")};
    r->name = r->name == NULL ? "" : r->name;
    r->type = r->type == NULL ? "" : r->type;
    r->must = enforcement == NULL || strcmp(enforcement, "must") == 0;
    r->scope = text(o, "scope");
    if (r->scope == NULL)
        r->scope = strcmp(r->type, "spread") == 0 ? "failure_domain" : "host";
    r->level = amount(o, "level", false);
    r->minimum = amount(o, "minimum", true);
    read_members(w, o, r);
    r->hosts = xcalloc((size_t)w->n_hosts + 1, sizeof *r->hosts);
    size_t i;
    const json_t *name;
    json_array_foreach(json_object_get(o, "hosts"), i, name)
    {
        int h = json_is_string(name) ? world_host(w, json_string_value(name)) : -1;
        if (h >= 0)
            r->hosts[h] = true;
    }
}

static int look_up(const json_t *index, const char *name)
{
    const json_t *v = name == NULL ? NULL : json_object_get(index, name);
    return v == NULL ? -1 : (int)json_integer_value(v);
}

static void enter(json_t *index, const char *name, int number)
{
    if (name != NULL)
        json_object_set_new(index, name,
                            json_integer(json_object_get(index, name) == NULL ? number : -1));
}

int world_host(const struct world *w, const char *name)
{
    return look_up(w->host_index, name);
}

int world_vm(const struct world *w, const char *name, const char *uuid)
{
    int v = look_up(w->uuid_index, uuid);
    return v >= 0 ? v : look_up(w->name_index, name);
}

/* ---- the digest: hosts, VMs and rules sorted by their canonical bytes ---- */

struct element {
    char *text;
    json_t *json;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct element *)a)->text, ((const struct element *)b)->text);
}

static int sorted(const json_t *array, json_t **ret, struct err *err)
{
    size_t n = json_array_size(array);
    _cleanup_(freep) struct element *list = xcalloc(n + 1, sizeof *list);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        list[i].json = json_array_get(array, i);
        rc = canon_dump(list[i].json, &list[i].text, NULL, err);
    }
    if (rc == 0) {
        qsort(list, n, sizeof *list, by_text);
        *ret = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append(*ret, list[i].json);
    }
    for (size_t i = 0; i < n; i++)
        free(list[i].text);
    return rc;
}

static int read_digest(struct world *w, struct err *err)
{
    static const char *const members[] = {"hosts", "vms", "rules"};
    _cleanup_json_ json_t *copy = json_copy(w->doc);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        json_t *list = NULL;
        if (json_object_get(copy, members[i]) == NULL)
            continue;
        int rc = sorted(json_object_get(copy, members[i]), &list, err);
        if (rc < 0)
            return rc;
        json_object_set_new(copy, members[i], list);
    }
    return canon_digest("skein.snapshot/1", copy, w->digest, err);
}

/* ---- the whole ---- */

static int64_t limit(const json_t *limits, const char *key, int64_t otherwise)
{
    int64_t v = amount(limits, key, false);
    return v < 0 ? otherwise : v;
}

static void read_all(struct world *w)
{
    const json_t *hosts = json_object_get(w->doc, "hosts"), *vms = json_object_get(w->doc, "vms");
    const json_t *rules = json_object_get(w->doc, "rules");
    const json_t *limits = json_object_get(w->doc, "limits");
    w->host_index = json_object();
    w->name_index = json_object();
    w->uuid_index = json_object();
    w->hosts = xcalloc(json_array_size(hosts) + 1, sizeof *w->hosts);
    w->vms = xcalloc(json_array_size(vms) + 1, sizeof *w->vms);
    w->rules = xcalloc(json_array_size(rules) + 1, sizeof *w->rules);
    for (; w->n_hosts < (int)json_array_size(hosts); w->n_hosts++) {
        read_host(json_array_get(hosts, (size_t)w->n_hosts), &w->hosts[w->n_hosts]);
        enter(w->host_index, w->hosts[w->n_hosts].name, w->n_hosts);
    }
    for (; w->n_vms < (int)json_array_size(vms); w->n_vms++) {
        read_vm(w, json_array_get(vms, (size_t)w->n_vms), &w->vms[w->n_vms]);
        enter(w->name_index, w->vms[w->n_vms].name, w->n_vms);
        enter(w->uuid_index, w->vms[w->n_vms].uuid, w->n_vms);
    }
    for (; w->n_rules < (int)json_array_size(rules); w->n_rules++)
        read_rule(w, json_array_get(rules, (size_t)w->n_rules), &w->rules[w->n_rules]);
    w->total = limit(limits, "total", 5);
    w->inflow = limit(limits, "inflow_per_host", 1);
    w->outflow = limit(limits, "outflow_per_host", 2);
    w->n_plus = limit(limits, "n_plus", 0);
}

int world_read(const char *json, size_t len, struct world *ret, struct err *err)
{
    struct world w = {0};
    int rc = canon_parse(json, len, "snapshot", &w.doc, err);
    if (rc < 0)
        return rc;
    if (!json_is_array(json_object_get(w.doc, "hosts")) ||
        !json_is_array(json_object_get(w.doc, "vms")))
        rc = err_set(err, ERR_INVALID, "snapshot: hosts and vms must be lists");
    if (rc == 0)
        rc = read_digest(&w, err);
    if (rc < 0) {
        json_decref(w.doc);
        return rc;
    }
    read_all(&w);
    *ret = w;
    return 0;
}

void world_done(struct world *w)
{
    for (int i = 0; i < w->n_rules; i++) {
        free(w->rules[i].vms);
        free(w->rules[i].hosts);
    }
    for (int i = 0; i < w->n_hosts; i++)
        free(w->hosts[i].copied_in);
    free(w->hosts);
    free(w->vms);
    free(w->rules);
    json_decref(w->host_index);
    json_decref(w->name_index);
    json_decref(w->uuid_index);
    json_decref(w->doc);
}
