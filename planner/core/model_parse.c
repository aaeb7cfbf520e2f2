/* model_parse.c - skein.snapshot/1 into struct model. The document is read piece by piece; names
 * are resolved at the end, when every host and VM is known. */
#include <inttypes.h>
#include <stdio.h>

#include "planner/core/model_fields.h"

#define SNAPSHOT_SCHEMA "skein.snapshot/1"
#define ENTITIES_MAX 1000000

struct raw_hold {
    const char *host_name, *vm_name, *to_name;
    int64_t memory_mib, vcpus;
    int index;
};

struct member {
    char *key, *text; /* owned; text is the canonical value, NULL for the streamed ones */
};

struct parser {
    struct fields_ctx c; /* first: callbacks get it */
    struct model *m;
    struct raw_host *hosts;
    size_t n_hosts, cap_hosts;
    struct raw_vm *vms;
    size_t n_vms, cap_vms;
    struct raw_rule *rules;
    size_t n_rules, cap_rules;
    struct raw_hold *flights, *reservations;
    size_t n_flights, cap_flights, n_reservations, cap_reservations;
    struct buf canon;       /* of elements, back to back */
    struct member *members; /* of the top object */
    size_t n_members, cap_members;
    bool have_schema, have_hosts, have_vms, have_rules;
};

/* ---- elements ---- */

static int keep_text(struct parser *p, const struct jnode *v, struct piece_text *ret)
{
    ret->at = p->canon.len;
    int rc = jnode_canon(v, &p->canon, p->c.err);
    ret->len = p->canon.len - ret->at;
    return rc < 0 ? err_wrap(p->c.err, "snapshot") : 0;
}

static int add_host(struct parser *p, const struct jnode *v, const struct where *w)
{
    ARRAY_RESERVE(p->hosts, p->cap_hosts, p->n_hosts + 1);
    struct raw_host *raw = &p->hosts[p->n_hosts];
    int rc = model_read_host(&p->c, v, w, raw);
    if (rc < 0)
        return rc;
    p->n_hosts++;
    return keep_text(p, v, &raw->text);
}

static int add_vm(struct parser *p, const struct jnode *v, const struct where *w)
{
    ARRAY_RESERVE(p->vms, p->cap_vms, p->n_vms + 1);
    struct raw_vm *raw = &p->vms[p->n_vms];
    int rc = model_read_vm(&p->c, v, w, raw);
    if (rc < 0)
        return rc;
    p->n_vms++;
    return keep_text(p, v, &raw->text);
}

static int add_rule(struct parser *p, const struct jnode *v, const struct where *w)
{
    ARRAY_RESERVE(p->rules, p->cap_rules, p->n_rules + 1);
    struct raw_rule *raw = &p->rules[p->n_rules];
    int rc = model_read_rule(&p->c, v, w, raw);
    if (rc < 0)
        return rc;
    p->n_rules++;
    return keep_text(p, v, &raw->text);
}

/* ---- the other members ---- */

static const struct field limit_fields[] = {
    {"total", FIELD_FLOOR, offsetof(struct model_limits, total), NULL},
    {"inflow_per_host", FIELD_FLOOR, offsetof(struct model_limits, inflow_per_host), NULL},
    {"outflow_per_host", FIELD_FLOOR, offsetof(struct model_limits, outflow_per_host), NULL},
    {"n_plus", FIELD_FLOOR, offsetof(struct model_limits, n_plus), NULL},
    {0},
};

static int read_limits(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                       void *obj)
{
    return fields_read(c, limit_fields, v, w, &((struct parser *)obj)->m->limits);
}

static const struct field hold_fields[] = {
    {"vm", FIELD_STRING, offsetof(struct raw_hold, vm_name), NULL},
    {"host", FIELD_STRING, offsetof(struct raw_hold, host_name), NULL},
    {"from", FIELD_ANY, 0, NULL},
    {"to", FIELD_STRING, offsetof(struct raw_hold, to_name), NULL},
    {"memory_mib", FIELD_CEIL, offsetof(struct raw_hold, memory_mib), NULL},
    {"vcpus", FIELD_CEIL, offsetof(struct raw_hold, vcpus), NULL},
    {"plan", FIELD_ANY, 0, NULL},
    {"action", FIELD_ANY, 0, NULL},
    {"expires_at", FIELD_ANY, 0, NULL},
    {"started_at", FIELD_ANY, 0, NULL},
    {0},
};

static int read_holds(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                      struct raw_hold **list, size_t *n, size_t *cap)
{
    int rc = fields_array(c, v, w);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        ARRAY_RESERVE(*list, *cap, *n + 1);
        struct raw_hold *raw = &(*list)[*n];
        *raw = (struct raw_hold){
            .memory_mib = QUANTITY_UNKNOWN, .vcpus = QUANTITY_UNKNOWN, .index = (int)i};
        rc = fields_read(c, hold_fields, v->items[i], &at, raw);
        (*n)++;
    }
    return rc;
}

static int read_in_flight(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                          void *obj)
{
    struct parser *p = obj;
    return read_holds(c, v, w, &p->flights, &p->n_flights, &p->cap_flights);
}

static int read_reservations(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                             void *obj)
{
    struct parser *p = obj;
    return read_holds(c, v, w, &p->reservations, &p->n_reservations, &p->cap_reservations);
}

static int read_schema(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                       void *obj)
{
    if (v->type != J_STRING || strcmp(v->text, SNAPSHOT_SCHEMA) != 0)
        return fields_bad(c, w, "must be \"%s\"", SNAPSHOT_SCHEMA);
    ((struct parser *)obj)->have_schema = true;
    return 0;
}

static int read_cluster(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    return fields_string(c, v, w, &((struct parser *)obj)->m->cluster);
}

static int read_taken_at(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                         void *obj)
{
    struct err why;
    if (v->type != J_STRING)
        return fields_bad(c, w, "must be a time, \"2026-11-22T01:30:00Z\"");
    if (time_parse(v->text, &((struct parser *)obj)->m->taken_at, &why) < 0)
        return fields_bad(c, w, "%s", why.msg);
    return 0;
}

static int read_seed(struct fields_ctx *c, const struct jnode *v, const struct where *w, void *obj)
{
    if (v->type != J_INTEGER || v->integer < 0)
        return fields_bad(c, w, "must be a whole number, not negative");
    ((struct parser *)obj)->m->seed = (uint64_t)v->integer;
    return 0;
}

static int refuse_streamed(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                           void *obj)
{
    (void)v;
    (void)obj;
    return fields_bad(c, w, "must be a list");
}

static const char *const streamed[] = {"hosts", "vms", "rules", NULL};

static const struct field top_fields[] = {
    {"schema", FIELD_CALL, 0, read_schema},
    {"cluster", FIELD_CALL, 0, read_cluster},
    {"taken_at", FIELD_CALL, 0, read_taken_at},
    {"seed", FIELD_CALL, 0, read_seed},
    {"hosts", FIELD_CALL, 0, refuse_streamed},
    {"vms", FIELD_CALL, 0, refuse_streamed},
    {"rules", FIELD_CALL, 0, refuse_streamed},
    {"limits", FIELD_CALL, 0, read_limits},
    {"history", FIELD_ANY, 0, NULL},
    {"in_flight", FIELD_CALL, 0, read_in_flight},
    {"reservations", FIELD_CALL, 0, read_reservations},
    {"policies", FIELD_ANY, 0, NULL},
    {"decision_state", FIELD_ANY, 0, NULL},
    {0},
};

static int keep_opaque(struct parser *p, const char *key, const struct jnode *v)
{
    const char **at = strcmp(key, "history") == 0          ? &p->m->history_json
                      : strcmp(key, "policies") == 0       ? &p->m->policies_json
                      : strcmp(key, "decision_state") == 0 ? &p->m->decision_state_json
                                                           : NULL;
    if (at == NULL || v->type == J_NULL)
        return 0;
    _cleanup_(buf_done) struct buf b = {0};
    int rc = jnode_canon(v, &b, p->c.err);
    if (rc == 0)
        *at = arena_copy(p->c.arena, b.data, b.len);
    return rc;
}

static int keep_member(struct parser *p, const char *key, const struct jnode *v)
{
    struct buf b = {0};
    int rc = v != NULL ? jnode_canon(v, &b, p->c.err) : 0;
    ARRAY_RESERVE(p->members, p->cap_members, p->n_members + 1);
    p->members[p->n_members++] =
        (struct member){.key = xstrdup(key), .text = v != NULL ? buf_take(&b) : NULL};
    return rc < 0 ? err_wrap(p->c.err, "snapshot: %s", key) : 0;
}

static int read_member(struct parser *p, const char *key, const struct jnode *v)
{
    struct jnode *item = &(struct jnode){0};
    *item = *v;
    item->key = key;
    item->key_len = strlen(key);
    const struct jnode top = {.type = J_OBJECT, .items = &item, .n = 1};
    int rc = fields_read(&p->c, top_fields, &top, NULL, p);
    if (rc == 0)
        rc = keep_opaque(p, key, v);
    if (rc == 0)
        rc = keep_member(p, key, v);
    return rc;
}

static int end_streamed(struct parser *p, const char *key)
{
    bool *have = strcmp(key, "hosts") == 0 ? &p->have_hosts
                 : strcmp(key, "vms") == 0 ? &p->have_vms
                                           : &p->have_rules;
    if (*have)
        return err_set(p->c.err, ERR_INVALID, "snapshot: duplicate key \"%s\"", key);
    *have = true;
    return keep_member(p, key, NULL);
}

static int on_piece(void *ctx, const char *key, int index, const struct jnode *v, struct err *err)
{
    struct parser *p = ctx;
    (void)err;
    if (v == NULL)
        return end_streamed(p, key);
    if (index < 0)
        return read_member(p, key, v);
    struct where top = {.key = key}, w = {.up = &top, .index = index};
    if (index >= ENTITIES_MAX)
        return fields_bad(&p->c, &w, "more than %d are not supported", ENTITIES_MAX);
    if (strcmp(key, "hosts") == 0)
        return add_host(p, v, &w);
    return strcmp(key, "vms") == 0 ? add_vm(p, v, &w) : add_rule(p, v, &w);
}

/* ---- names into indices ---- */

static int hosts_by_name(const void *a, const void *b)
{
    return strcmp(((const struct raw_host *)a)->host.name, ((const struct raw_host *)b)->host.name);
}

static int vms_by_id(const void *a, const void *b)
{
    return strcmp(((const struct raw_vm *)a)->vm.id, ((const struct raw_vm *)b)->vm.id);
}

static int rules_by_name(const void *a, const void *b)
{
    return strcmp(((const struct raw_rule *)a)->rule.name, ((const struct raw_rule *)b)->rule.name);
}

static int sort_and_copy(struct parser *p)
{
    struct model *m = p->m;
    if (p->n_hosts > 0)
        qsort(p->hosts, p->n_hosts, sizeof *p->hosts, hosts_by_name);
    if (p->n_vms > 0)
        qsort(p->vms, p->n_vms, sizeof *p->vms, vms_by_id);
    if (p->n_rules > 0)
        qsort(p->rules, p->n_rules, sizeof *p->rules, rules_by_name);
    for (size_t i = 1; i < p->n_hosts; i++)
        if (p->hosts[i - 1].host.name == p->hosts[i].host.name)
            return err_set(p->c.err, ERR_INVALID,
                           "snapshot: hosts[%d]: the name \"%s\" stands twice",
                           MAX(p->hosts[i - 1].index, p->hosts[i].index), p->hosts[i].host.name);
    for (size_t i = 1; i < p->n_vms; i++)
        if (p->vms[i - 1].vm.id == p->vms[i].vm.id)
            return err_set(p->c.err, ERR_INVALID, "snapshot: vms[%d]: \"%s\" stands twice",
                           MAX(p->vms[i - 1].index, p->vms[i].index), p->vms[i].vm.id);
    for (size_t i = 1; i < p->n_rules; i++)
        if (p->rules[i - 1].rule.name == p->rules[i].rule.name)
            return err_set(p->c.err, ERR_INVALID,
                           "snapshot: rules[%d]: the name \"%s\" stands twice",
                           MAX(p->rules[i - 1].index, p->rules[i].index), p->rules[i].rule.name);
    m->n_hosts = (int)p->n_hosts;
    m->hosts = arena_array(p->c.arena, p->n_hosts, sizeof *m->hosts);
    for (size_t i = 0; i < p->n_hosts; i++)
        m->hosts[i] = p->hosts[i].host;
    m->n_vms = (int)p->n_vms;
    m->vms = arena_array(p->c.arena, p->n_vms, sizeof *m->vms);
    for (size_t i = 0; i < p->n_vms; i++)
        m->vms[i] = p->vms[i].vm;
    return 0;
}

static int resolve_vm_hosts(struct parser *p)
{
    struct model *m = p->m;
    for (size_t i = 0; i < p->n_vms; i++) {
        const char *name = p->vms[i].host_name;
        if (name == NULL)
            continue;
        m->vms[i].host = m->vms[i].home = model_find_host(m, name);
        if (m->vms[i].host == MODEL_NONE)
            return err_set(p->c.err, ERR_INVALID, "snapshot: vms[%d].host: no host \"%s\"",
                           p->vms[i].index, name);
        m->hosts[m->vms[i].host].n_vms++;
    }
    for (int h = 0; h < m->n_hosts; h++) {
        m->hosts[h].vms = arena_array(p->c.arena, (size_t)m->hosts[h].n_vms, sizeof(int));
        m->hosts[h].n_vms = 0;
    }
    for (int v = 0; v < m->n_vms; v++)
        if (m->vms[v].host != MODEL_NONE) {
            struct model_host *h = &m->hosts[m->vms[v].host];
            h->vms[h->n_vms++] = v;
        }
    return 0;
}

/* VM indices sorted by name, for references by name. */
struct name_index {
    const struct model *m;
    int *by_name;
    int n;
};

static int by_vm_name(const void *a, const void *b, void *ctx)
{
    const struct model *m = ctx;
    int x = *(const int *)a, y = *(const int *)b;
    int c = strcmp(m->vms[x].name, m->vms[y].name);
    return c != 0 ? c : (x > y) - (x < y);
}

static void index_names(const struct model *m, struct name_index *ret)
{
    ret->m = m;
    ret->by_name = xcalloc((size_t)m->n_vms + 1, sizeof *ret->by_name);
    for (int v = 0; v < m->n_vms; v++)
        if (m->vms[v].name != NULL)
            ret->by_name[ret->n++] = v;
    qsort_r(ret->by_name, (size_t)ret->n, sizeof *ret->by_name, by_vm_name, (void *)m);
}

static int find_vm_by_id(const struct model *m, const char *id)
{
    int lo = 0, hi = m->n_vms;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        int c = strcmp(m->vms[mid].id, id);
        if (c == 0)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return MODEL_NONE;
}

#define VM_AMBIGUOUS (-2)

static int find_named(const struct name_index *names, const char *name)
{
    int v = find_vm_by_id(names->m, name);
    if (v != MODEL_NONE)
        return v;
    int lo = 0, hi = names->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (strcmp(names->m->vms[names->by_name[mid]].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == names->n || strcmp(names->m->vms[names->by_name[lo]].name, name) != 0)
        return MODEL_NONE;
    if (lo + 1 < names->n && strcmp(names->m->vms[names->by_name[lo + 1]].name, name) == 0)
        return VM_AMBIGUOUS;
    return names->by_name[lo];
}

static int int_order(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static bool tags_match(const struct model_tags *have, const struct model_tags *want)
{
    for (int i = 0; i < want->n; i++) {
        const char *value = model_tag(have, want->items[i].key);
        if (value == NULL || strcmp(value, want->items[i].value) != 0)
            return false;
    }
    return true;
}

static void add_unique(int *list, int *n, int value)
{
    for (int i = 0; i < *n; i++)
        if (list[i] == value)
            return;
    list[(*n)++] = value;
}

static int resolve_named_vms(struct parser *p, const struct name_index *names,
                             const struct raw_rule *raw, struct model_rule *r)
{
    r->vms = arena_array(p->c.arena, (size_t)raw->n_vm_names, sizeof *r->vms);
    for (int i = 0; i < raw->n_vm_names; i++) {
        int v = find_named(names, raw->vm_names[i]);
        struct where top = {.key = "rules"}, at = {.up = &top, .index = raw->index};
        if (v == VM_AMBIGUOUS)
            return fields_bad(&p->c, &at, "more than one VM is called \"%s\": use the uuid",
                              raw->vm_names[i]);
        if (v == MODEL_NONE) {
            fields_warn(&p->c, &at, "rule %s names no VM of the snapshot: \"%s\"", r->name,
                        raw->vm_names[i]);
            if (i == 0 && r->type == RULE_DEPENDS_ON)
                return 0; /* nothing depends on anything */
            continue;
        }
        r->vms[r->n_vms++] = v;
    }
    return 0;
}

/* Sorted, each once; the first of depends-on stays in front. */
static void tidy_vms(struct model_rule *r)
{
    int from = r->type == RULE_DEPENDS_ON && r->n_vms > 0 ? 1 : 0;
    if (r->n_vms == 0)
        return;
    qsort(r->vms + from, (size_t)(r->n_vms - from), sizeof *r->vms, int_order);
    int n = from;
    for (int i = from; i < r->n_vms; i++)
        if ((n == from || r->vms[n - 1] != r->vms[i]) && (from == 0 || r->vms[i] != r->vms[0]))
            r->vms[n++] = r->vms[i];
    r->n_vms = n;
}

static void select_vms(struct parser *p, const struct raw_rule *raw, struct model_rule *r)
{
    const struct model *m = p->m;
    int n = 0;
    for (int v = 0; v < m->n_vms; v++)
        n += tags_match(&m->vms[v].tags, &raw->select);
    r->vms = arena_array(p->c.arena, (size_t)n, sizeof *r->vms);
    for (int v = 0; v < m->n_vms; v++)
        if (tags_match(&m->vms[v].tags, &raw->select))
            r->vms[r->n_vms++] = v;
    if (n == 0) {
        struct where top = {.key = "rules"}, at = {.up = &top, .index = raw->index};
        fields_warn(&p->c, &at, "rule %s selects no VM", r->name);
    }
}

static void resolve_rule_hosts(struct parser *p, const struct raw_rule *raw, struct model_rule *r)
{
    r->hosts = arena_array(p->c.arena, (size_t)raw->n_host_names, sizeof *r->hosts);
    for (int i = 0; i < raw->n_host_names; i++) {
        int h = model_find_host(p->m, raw->host_names[i]);
        struct where top = {.key = "rules"}, at = {.up = &top, .index = raw->index};
        if (h == MODEL_NONE)
            fields_warn(&p->c, &at, "rule %s names no host of the snapshot: \"%s\"", r->name,
                        raw->host_names[i]);
        else
            add_unique(r->hosts, &r->n_hosts, h);
    }
}

static int resolve_rules(struct parser *p, const struct name_index *names)
{
    struct model *m = p->m;
    m->n_rules = (int)p->n_rules;
    m->rules = arena_array(p->c.arena, p->n_rules, sizeof *m->rules);
    for (size_t i = 0; i < p->n_rules; i++) {
        const struct raw_rule *raw = &p->rules[i];
        struct model_rule *r = &m->rules[i];
        *r = raw->rule;
        int rc = 0;
        if (raw->has_select)
            select_vms(p, raw, r);
        else
            rc = resolve_named_vms(p, names, raw, r);
        if (rc < 0)
            return rc;
        tidy_vms(r);
        resolve_rule_hosts(p, raw, r);
        for (int k = 0; r->must && r->type == RULE_KEEP && k < r->n_vms; k++)
            if (m->vms[r->vms[k]].keep_rule == MODEL_NONE)
                m->vms[r->vms[k]].keep_rule = (int)i;
    }
    return 0;
}

/* A VM or host that a flight or reservation names must exist; a stale one would hide a mistake. */
static int resolve_name(struct parser *p, const char *member, int index, const char *what,
                        const char *name, int found)
{
    if (name == NULL || found >= 0)
        return 0;
    return err_set(p->c.err, ERR_INVALID, "snapshot: %s[%d].%s: no such name \"%s\"", member, index,
                   what, name);
}

static int resolve_flights(struct parser *p, const struct name_index *names)
{
    struct model *m = p->m;
    for (size_t i = 0; i < p->n_flights; i++) {
        const struct raw_hold *raw = &p->flights[i];
        int v = raw->vm_name == NULL ? MODEL_NONE : find_named(names, raw->vm_name);
        int to = raw->to_name == NULL ? MODEL_NONE : model_find_host(m, raw->to_name);
        int rc = resolve_name(p, "in_flight", raw->index, "vm", raw->vm_name, v);
        if (rc == 0)
            rc = resolve_name(p, "in_flight", raw->index, "to", raw->to_name, to);
        if (rc < 0)
            return rc;
        if (v >= 0) {
            m->vms[v].in_flight = true;
            m->vms[v].in_flight_to = to;
        }
    }
    return 0;
}

static int resolve_reservations(struct parser *p, const struct name_index *names)
{
    struct model *m = p->m;
    m->reservations = arena_array(p->c.arena, p->n_reservations, sizeof *m->reservations);
    for (size_t i = 0; i < p->n_reservations; i++) {
        const struct raw_hold *raw = &p->reservations[i];
        int v = raw->vm_name == NULL ? MODEL_NONE : find_named(names, raw->vm_name);
        int h = raw->host_name == NULL ? MODEL_NONE : model_find_host(m, raw->host_name);
        int rc = resolve_name(p, "reservations", raw->index, "host", raw->host_name, h);
        if (rc < 0)
            return rc;
        if (h == MODEL_NONE)
            return err_set(p->c.err, ERR_INVALID, "snapshot: reservations[%d]: host is missing",
                           raw->index);
        m->reservations[m->n_reservations++] =
            (struct model_reservation){.host = h,
                                       .vm = MAX(v, MODEL_NONE),
                                       .memory_mib = raw->memory_mib,
                                       .vcpus = raw->vcpus};
    }
    return 0;
}

/* ---- the digest ---- */

/* Texts of one list begin alike; the bytes behind that decide nearly always. */
struct text_ref {
    const char *text;
    size_t len;
    uint64_t key; /* the first bytes behind what all have in common, big-endian */
};

static int by_text(const void *a, const void *b)
{
    const struct text_ref *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    int c = memcmp(x->text, y->text, MIN(x->len, y->len));
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static size_t common_length(const struct text_ref *refs, size_t n)
{
    size_t common = n > 0 ? refs[0].len : 0;
    for (size_t i = 1; i < n; i++) {
        size_t k = 0;
        common = MIN(common, refs[i].len);
        while (k < common && refs[i].text[k] == refs[0].text[k])
            k++;
        common = k;
    }
    return common;
}

static void sort_texts(struct text_ref *refs, size_t n)
{
    size_t common = common_length(refs, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof refs[i].key; k++) {
            size_t at = common + k;
            refs[i].key =
                refs[i].key << 8 | (at < refs[i].len ? (unsigned char)refs[i].text[at] : 0);
        }
    if (n > 0)
        qsort(refs, n, sizeof *refs, by_text);
}

static void hash_list(struct hash_run *hash, struct text_ref *refs, size_t n)
{
    sort_texts(refs, n);
    hash_more(hash, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            hash_more(hash, ",", 1);
        hash_more(hash, refs[i].text, refs[i].len);
    }
    hash_more(hash, "]", 1);
}

#define HASH_ELEMENTS(hash, p, list, n_list)                                                       \
    do {                                                                                           \
        _cleanup_(freep) struct text_ref *refs = xcalloc((p)->n_list + 1, sizeof *refs);           \
        for (size_t i_ = 0; i_ < (p)->n_list; i_++)                                                \
            refs[i_] = (struct text_ref){.text = (p)->canon.data + (p)->list[i_].text.at,          \
                                         .len = (p)->list[i_].text.len};                           \
        hash_list(hash, refs, (p)->n_list);                                                        \
    } while (0)

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_member(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static int check_members(struct parser *p)
{
    if (!p->have_schema)
        return err_set(p->c.err, ERR_INVALID, "snapshot: schema: must be \"%s\"", SNAPSHOT_SCHEMA);
    if (!p->have_hosts)
        return err_set(p->c.err, ERR_INVALID, "snapshot: hosts: is missing");
    if (!p->have_vms)
        return err_set(p->c.err, ERR_INVALID, "snapshot: vms: is missing");
    qsort(p->members, p->n_members, sizeof *p->members, by_member);
    for (size_t i = 1; i < p->n_members; i++)
        if (by_member(&p->members[i - 1], &p->members[i]) == 0)
            return err_set(p->c.err, ERR_INVALID, "snapshot: duplicate key \"%s\"",
                           p->members[i].key);
    return 0;
}

static void hash_member(struct parser *p, const struct member *member, struct hash_run *hash)
{
    const struct jnode name = {.type = J_STRING, .text = member->key, .len = strlen(member->key)};
    _cleanup_(buf_done) struct buf key = {0};
    jnode_canon(&name, &key, NULL);
    hash_more(hash, key.data, key.len);
    hash_more(hash, ":", 1);
    if (member->text != NULL)
        hash_more(hash, member->text, strlen(member->text));
    else if (strcmp(member->key, "hosts") == 0)
        HASH_ELEMENTS(hash, p, hosts, n_hosts);
    else if (strcmp(member->key, "vms") == 0)
        HASH_ELEMENTS(hash, p, vms, n_vms);
    else
        HASH_ELEMENTS(hash, p, rules, n_rules);
}

static void make_digest(struct parser *p)
{
    uint8_t digest[HASH_SIZE];
    struct hash_run *hash = hash_begin(SNAPSHOT_SCHEMA);
    hash_more(hash, "{", 1);
    for (size_t i = 0; i < p->n_members; i++) {
        if (i > 0)
            hash_more(hash, ",", 1);
        hash_member(p, &p->members[i], hash);
    }
    hash_more(hash, "}", 1);
    hash_done(hash, digest);
    hash_hex(digest, p->m->digest);
}

/* ---- the whole ---- */

static void take_warnings(struct parser *p)
{
    struct model *m = p->m;
    if (p->c.n_warnings > 0) /* by text, so that a shuffled document warns alike */
        qsort(p->c.warnings, p->c.n_warnings, sizeof *p->c.warnings, by_string);
    m->n_warnings = (int)p->c.n_warnings;
    m->warnings = arena_array(p->c.arena, p->c.n_warnings, sizeof *m->warnings);
    for (size_t i = 0; i < p->c.n_warnings; i++)
        m->warnings[i] = p->c.warnings[i];
}

static int resolve(struct parser *p)
{
    int rc = sort_and_copy(p);
    if (rc == 0)
        rc = resolve_vm_hosts(p);
    if (rc < 0)
        return rc;
    struct name_index names = {0};
    index_names(p->m, &names);
    rc = resolve_rules(p, &names);
    if (rc == 0)
        rc = resolve_flights(p, &names);
    if (rc == 0)
        rc = resolve_reservations(p, &names);
    free(names.by_name);
    return rc;
}

static void parser_done(struct parser *p)
{
    free(p->hosts);
    free(p->vms);
    free(p->rules);
    free(p->flights);
    free(p->reservations);
    buf_done(&p->canon);
    for (size_t i = 0; i < p->n_members; i++) {
        free(p->members[i].key);
        free(p->members[i].text);
    }
    free(p->members);
    free(p->c.warnings);
    intern_done(&p->c.strings);
}

static int parse_into(struct model *m, const char *text, size_t len, struct err *err)
{
    struct arena *arena = &m->arena;
    struct parser p = {.c = {.arena = arena, .strings = {.arena = arena}, .err = err}, .m = m};
    struct jread conf = {.streamed = streamed, .piece = on_piece, .ctx = &p};
    int rc = jread_run(&conf, "snapshot", text, len, err);
    if (rc == 0)
        rc = check_members(&p);
    if (rc == 0)
        rc = resolve(&p);
    if (rc == 0) {
        make_digest(&p);
        take_warnings(&p);
    }
    parser_done(&p);
    return rc;
}

int model_parse(const char *text, size_t len, struct model **ret, struct err *err)
{
    struct err local;
    _cleanup_(model_freep) struct model *m = xcalloc(1, sizeof *m);
    m->taken_at = QUANTITY_UNKNOWN;
    m->limits = (struct model_limits){.total = 5, .inflow_per_host = 1, .outflow_per_host = 2};
    int rc = parse_into(m, text, len, err != NULL ? err : &local);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(m);
    return 0;
}
