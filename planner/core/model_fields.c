#include "planner/core/model_fields.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- parts of a host ---- */

#define HOST(f) offsetof(struct model_host, f)

static const struct field cpu_fields[] = {
    {"cores", FIELD_MILLI, HOST(cores), NULL},
    {"used_cores", FIELD_MILLI, HOST(used_cores), NULL},
    {"overcommit", FIELD_MILLI, HOST(cpu_overcommit), NULL},
    {"model", FIELD_STRING, HOST(cpu_model), NULL},
    {"features", FIELD_STRINGS, HOST(cpu_features), NULL},
    {"usable_models", FIELD_STRINGS, HOST(usable_models), NULL},
    {0},
};

static const struct field memory_fields[] = {
    {"total_mib", FIELD_FLOOR, HOST(total_mib), NULL},
    {"reserved_mib", FIELD_CEIL, HOST(reserved_mib), NULL},
    {"used_mib", FIELD_CEIL, HOST(used_mib), NULL},
    {"overcommit", FIELD_MILLI, HOST(memory_overcommit), NULL},
    {0},
};

static const struct field pressure_fields[] = {
    {"cpu", FIELD_MILLI, HOST(pressure_cpu), NULL},
    {"memory", FIELD_MILLI, HOST(pressure_memory), NULL},
    {"io", FIELD_MILLI, HOST(pressure_io), NULL},
    {0},
};

static const struct field temperature_fields[] = {
    {"inlet_celsius", FIELD_CELSIUS, HOST(inlet_celsius), NULL},
    {"inlet_max_celsius", FIELD_CELSIUS, HOST(inlet_max_celsius), NULL},
    {"outlet_celsius", FIELD_CELSIUS, HOST(outlet_celsius), NULL},
    {"cpu_celsius", FIELD_CELSIUS, HOST(cpu_celsius), NULL},
    {"cpu_max_celsius", FIELD_CELSIUS, HOST(cpu_max_celsius), NULL},
    {"trend_celsius_per_min", FIELD_SIGNED, HOST(trend_celsius_per_min), NULL},
    {0},
};

static int read_curve(struct fields_ctx *c, const struct jnode *v, const struct where *w, void *obj)
{
    struct model_host *h = obj;
    if (v->type != J_ARRAY || v->n != MODEL_CURVE)
        return fields_bad(c, w, "must be a list of %d numbers, watts at 0, 10 ... 100 %% load",
                          MODEL_CURVE);
    for (int i = 0; i < MODEL_CURVE; i++) {
        const struct jnode *x = v->items[i];
        struct where at = {.up = w, .index = i};
        if ((x->type != J_INTEGER && x->type != J_REAL) || x->real < 0)
            return fields_bad(c, &at, "must be a number, not negative");
        h->curve_watts[i] = (milli)(x->real * 1000 + 0.5);
    }
    return 0;
}

static const struct field power_fields[] = {
    {"watts", FIELD_MILLI, HOST(watts), NULL},
    {"curve_watts", FIELD_CALL, 0, read_curve},
    {"can_wake", FIELD_BOOL, HOST(can_wake), NULL},
    {"wake_seconds", FIELD_CEIL, HOST(wake_seconds), NULL},
    {"standby_allowed", FIELD_BOOL, HOST(standby_allowed), NULL},
    {"last_wake_proof", FIELD_TIME, HOST(last_wake_proof), NULL},
    {0},
};

#define PART(name)                                                                                 \
    static int read_##name(struct fields_ctx *c, const struct jnode *v, const struct where *w,     \
                           void *obj)                                                              \
    {                                                                                              \
        return fields_read(c, name##_fields, v, w, obj);                                           \
    }
PART(cpu)
PART(memory)
PART(pressure)
PART(temperature)
PART(power)

static const struct field hugepages_fields[] = {
    {"size_kib", FIELD_FLOOR, offsetof(struct model_hugepages, size_kib), NULL},
    {"total", FIELD_FLOOR, offsetof(struct model_hugepages, total), NULL},
    {"free", FIELD_FLOOR, offsetof(struct model_hugepages, free), NULL},
    {0},
};

static int read_hugepages(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                          void *obj)
{
    struct model_host *h = obj;
    int rc = fields_array(c, v, w);
    h->hugepages = arena_array(c->arena, v->n, sizeof *h->hugepages);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        struct model_hugepages *p = &h->hugepages[i];
        *p = (struct model_hugepages){QUANTITY_UNKNOWN, QUANTITY_UNKNOWN, QUANTITY_UNKNOWN};
        rc = fields_read(c, hugepages_fields, v->items[i], &at, p);
        if (rc == 0 && p->size_kib <= 0)
            rc = fields_bad(c, &at, "size_kib is missing");
        for (size_t j = 0; rc == 0 && j < i; j++)
            if (h->hugepages[j].size_kib == p->size_kib)
                rc = fields_bad(c, &at, "size_kib %" PRId64 " stands twice", p->size_kib);
    }
    h->n_hugepages = rc == 0 ? (int)v->n : 0;
    h->hugepages_known = rc == 0;
    return rc;
}

static const struct field numa_fields[] = {
    {"cores", FIELD_MILLI, offsetof(struct model_numa, cores), NULL},
    {"memory_mib", FIELD_FLOOR, offsetof(struct model_numa, memory_mib), NULL},
    {"free_mib", FIELD_FLOOR, offsetof(struct model_numa, free_mib), NULL},
    {0},
};

static int read_numa(struct fields_ctx *c, const struct jnode *v, const struct where *w, void *obj)
{
    struct model_host *h = obj;
    int rc = fields_array(c, v, w);
    h->numa = arena_array(c->arena, v->n, sizeof *h->numa);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        h->numa[i] = (struct model_numa){QUANTITY_UNKNOWN, QUANTITY_UNKNOWN, QUANTITY_UNKNOWN};
        rc = fields_read(c, numa_fields, v->items[i], &at, &h->numa[i]);
    }
    h->n_numa = rc == 0 ? (int)v->n : 0;
    h->numa_known = rc == 0;
    return rc;
}

static const struct field storage_fields[] = {
    {"name", FIELD_STRING, offsetof(struct model_storage, name), NULL},
    {"shared", FIELD_BOOL, offsetof(struct model_storage, shared), NULL},
    {"free_mib", FIELD_FLOOR, offsetof(struct model_storage, free_mib), NULL},
    {"total_mib", FIELD_FLOOR, offsetof(struct model_storage, total_mib), NULL},
    {0},
};

static int read_one_storage(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                            struct model_storage *ret)
{
    *ret = (struct model_storage){NULL, TRI_UNKNOWN, QUANTITY_UNKNOWN, QUANTITY_UNKNOWN};
    if (v->type == J_STRING)
        return fields_string(c, v, w, &ret->name);
    int rc = fields_read(c, storage_fields, v, w, ret);
    if (rc == 0 && ret->name == NULL)
        rc = fields_bad(c, w, "name is missing");
    return rc;
}

static int read_storage(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    struct model_host *h = obj;
    int rc = fields_array(c, v, w);
    h->storage = arena_array(c->arena, v->n, sizeof *h->storage);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        rc = read_one_storage(c, v->items[i], &at, &h->storage[i]);
        for (size_t j = 0; rc == 0 && j < i; j++)
            if (h->storage[j].name == h->storage[i].name)
                rc = fields_bad(c, &at, "storage \"%s\" stands twice", h->storage[i].name);
    }
    h->n_storage = rc == 0 ? (int)v->n : 0;
    h->storage_known = rc == 0;
    return rc;
}

static int read_tag_list(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                         struct model_tags *ret)
{
    if (v->type != J_OBJECT)
        return fields_bad(c, w, "must be an object of strings");
    ret->items = arena_array(c->arena, v->n, sizeof *ret->items);
    for (size_t i = 0; i < v->n; i++) {
        struct where at = {.up = w, .key = v->items[i]->key};
        ret->items[i].key = intern(&c->strings, v->items[i]->key, v->items[i]->key_len);
        int rc = fields_string(c, v->items[i], &at, &ret->items[i].value);
        if (rc < 0)
            return rc;
    }
    ret->n = (int)v->n;
    return 0;
}

static int read_host_tags(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                          void *obj)
{
    return read_tag_list(c, v, w, &((struct model_host *)obj)->tags);
}

static const char *const host_states[] = {
#define X(name, text) text,
    HOST_STATES(X)
#undef X
        NULL};

static const char *const vm_states[] = {
#define X(name, text) text,
    VM_STATES(X)
#undef X
        NULL};

static const char *const rule_types[] = {
#define X(name, text) text,
    RULE_TYPES(X)
#undef X
        NULL};

static int read_host_state(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                           void *obj)
{
    int state;
    int rc = fields_word(c, v, w, host_states, &state);
    if (rc == 0)
        ((struct model_host *)obj)->state = (enum host_state)state;
    return rc;
}

static const struct field host_fields[] = {
    {"name", FIELD_STRING, HOST(name), NULL},
    {"state", FIELD_CALL, 0, read_host_state},
    {"observed_at", FIELD_TIME, HOST(observed_at), NULL},
    {"incarnation", FIELD_FLOOR, HOST(incarnation), NULL},
    {"failure_domain", FIELD_STRING, HOST(failure_domain), NULL},
    {"drain_fallback", FIELD_STRING, HOST(drain_fallback), NULL},
    {"tags", FIELD_CALL, 0, read_host_tags},
    {"voter", FIELD_BOOL, HOST(voter), NULL},
    {"cpu", FIELD_CALL, 0, read_cpu},
    {"memory", FIELD_CALL, 0, read_memory},
    {"pressure", FIELD_CALL, 0, read_pressure},
    {"hugepages", FIELD_CALL, 0, read_hugepages},
    {"numa", FIELD_CALL, 0, read_numa},
    {"temperature", FIELD_CALL, 0, read_temperature},
    {"power", FIELD_CALL, 0, read_power},
    {"storage", FIELD_CALL, 0, read_storage},
    {"networks", FIELD_STRINGS, HOST(networks), NULL},
    {"migration_mbps", FIELD_FLOOR, HOST(migration_mbps), NULL},
    {"measured_out_mbps", FIELD_FLOOR, HOST(measured_out_mbps), NULL},
    {"measured_in_mbps", FIELD_FLOOR, HOST(measured_in_mbps), NULL},
    {"arch", FIELD_STRING, HOST(arch), NULL},
    {"machines", FIELD_STRINGS, HOST(machines), NULL},
    {"qemu", FIELD_STRING, HOST(qemu), NULL},
    {"libvirt", FIELD_STRING, HOST(libvirt), NULL},
    {0},
};

static const struct model_host host_unknown = {
    .observed_at = QUANTITY_UNKNOWN,
    .incarnation = QUANTITY_UNKNOWN,
    .voter = TRI_UNKNOWN,
    .cores = QUANTITY_UNKNOWN,
    .used_cores = QUANTITY_UNKNOWN,
    .cpu_overcommit = 1000,
    .total_mib = QUANTITY_UNKNOWN,
    .used_mib = QUANTITY_UNKNOWN,
    .reserved_mib = 0,
    .memory_overcommit = 1000,
    .pressure_cpu = QUANTITY_UNKNOWN,
    .pressure_memory = QUANTITY_UNKNOWN,
    .pressure_io = QUANTITY_UNKNOWN,
    .inlet_celsius = QUANTITY_UNKNOWN,
    .inlet_max_celsius = QUANTITY_UNKNOWN,
    .outlet_celsius = QUANTITY_UNKNOWN,
    .cpu_celsius = QUANTITY_UNKNOWN,
    .cpu_max_celsius = QUANTITY_UNKNOWN,
    .trend_celsius_per_min = QUANTITY_UNKNOWN,
    .watts = QUANTITY_UNKNOWN,
    .curve_watts = {QUANTITY_UNKNOWN},
    .can_wake = TRI_UNKNOWN,
    .standby_allowed = TRI_UNKNOWN,
    .wake_seconds = QUANTITY_UNKNOWN,
    .last_wake_proof = QUANTITY_UNKNOWN,
    .migration_mbps = QUANTITY_UNKNOWN,
    .measured_out_mbps = QUANTITY_UNKNOWN,
    .measured_in_mbps = QUANTITY_UNKNOWN,
};

static bool above(int64_t a, int64_t b)
{
    return a != QUANTITY_UNKNOWN && b != QUANTITY_UNKNOWN && a > b;
}

/* Data that cannot be: the host takes nothing until someone looks. NULL: plausible. */
static const char *find_implausible(const struct model_host *h)
{
    if (h->cores == 0)
        return "it has 0 cores";
    if (above(h->used_cores, h->cores))
        return "more cores are used than there are";
    if (above(h->used_mib, h->total_mib))
        return "more memory is used than there is";
    if (h->total_mib == 0)
        return "it has no memory";
    if (above(h->reserved_mib, h->total_mib))
        return "more memory is reserved than there is";
    int64_t pools = 0;
    for (int i = 0; i < h->n_hugepages; i++) {
        const struct model_hugepages *p = &h->hugepages[i];
        if (above(p->free, p->total))
            return "more huge pages are free than there are";
        if (p->total != QUANTITY_UNKNOWN)
            pools = sat_add(pools, sat_mul(p->total, p->size_kib) / 1024);
    }
    if (above(pools, h->total_mib))
        return "the huge-page pools are larger than the memory";
    for (int i = 0; i < h->n_storage; i++)
        if (above(h->storage[i].free_mib, h->storage[i].total_mib))
            return "a storage has more free space than space";
    return NULL;
}

int model_read_host(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                    struct raw_host *ret)
{
    *ret = (struct raw_host){.host = host_unknown, .index = w->index};
    int rc = fields_read(c, host_fields, v, w, &ret->host);
    if (rc < 0)
        return rc;
    if (ret->host.name == NULL || ret->host.name[0] == '\0')
        return fields_bad(c, w, "name is missing");
    ret->host.implausible = find_implausible(&ret->host);
    if (ret->host.implausible != NULL)
        fields_warn(c, w, "host %s takes nothing: %s", ret->host.name, ret->host.implausible);
    return 0;
}

/* ---- VMs ---- */

#define VM(f) offsetof(struct model_vm, f)

static int read_vm_tags(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    return read_tag_list(c, v, w, &((struct model_vm *)obj)->tags);
}

static int read_vm_state(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                         void *obj)
{
    int state;
    int rc = fields_word(c, v, w, vm_states, &state);
    if (rc == 0)
        ((struct model_vm *)obj)->state = (enum vm_state)state;
    return rc;
}

static int read_vm_host(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    /* The struct is the first member of its raw_vm. */
    return fields_string(c, v, w, &((struct raw_vm *)obj)->host_name);
}

/* Names, or objects with a name: what a VM needs of storage. */
static int read_vm_storage(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                           void *obj)
{
    struct model_vm *vm = obj;
    int rc = fields_array(c, v, w);
    if (rc < 0)
        return rc;
    vm->storage.items = arena_array(c->arena, v->n, sizeof *vm->storage.items);
    for (size_t i = 0; i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        struct model_storage s;
        rc = read_one_storage(c, v->items[i], &at, &s);
        if (rc < 0)
            return rc;
        vm->storage.items[i] = s.name;
    }
    vm->storage.n = (int)v->n;
    vm->storage.known = true;
    return 0;
}

/* A number of nodes, or a list with one entry a node. */
static int read_vm_numa(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    struct model_vm *vm = obj;
    if (v->type == J_ARRAY)
        vm->numa_nodes = (int64_t)v->n;
    else if (v->type == J_INTEGER && v->integer >= 0)
        vm->numa_nodes = v->integer;
    else
        return fields_bad(c, w, "must be a number of nodes or a list of them");
    return 0;
}

struct raw_device {
    const char *type;
    enum tri migratable;
};

static const struct field device_fields[] = {
    {"type", FIELD_STRING, offsetof(struct raw_device, type), NULL},
    {"migratable", FIELD_BOOL, offsetof(struct raw_device, migratable), NULL},
    {"address", FIELD_ANY, 0, NULL},
    {"name", FIELD_ANY, 0, NULL},
    {0},
};

static int read_devices(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        void *obj)
{
    struct model_vm *vm = obj;
    int rc = fields_array(c, v, w);
    if (rc < 0)
        return rc;
    vm->devices = arena_array(c->arena, v->n, sizeof *vm->devices);
    for (size_t i = 0; i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        struct raw_device d = {.migratable = TRI_UNKNOWN};
        rc = v->items[i]->type == J_STRING ? fields_string(c, v->items[i], &at, &d.type)
                                           : fields_read(c, device_fields, v->items[i], &at, &d);
        if (rc < 0)
            return rc;
        vm->devices[i].type = d.type != NULL ? d.type : "device";
        vm->devices[i].migratable = d.migratable == TRI_YES;
    }
    vm->n_devices = (int)v->n;
    return 0;
}

static const struct field vm_fields[] = {
    {"name", FIELD_STRING, VM(name), NULL},
    {"uuid", FIELD_STRING, VM(uuid), NULL},
    {"host", FIELD_CALL, 0, read_vm_host},
    {"state", FIELD_CALL, 0, read_vm_state},
    {"owner", FIELD_STRING, VM(owner), NULL},
    {"priority", FIELD_FLOOR, VM(priority), NULL},
    {"tags", FIELD_CALL, 0, read_vm_tags},
    {"persistent", FIELD_BOOL, VM(persistent), NULL},
    {"autostart", FIELD_BOOL, VM(autostart), NULL},
    {"vcpus", FIELD_CEIL, VM(vcpus), NULL},
    {"cpu_used_cores", FIELD_MILLI, VM(cpu_used_cores), NULL},
    {"memory_mib", FIELD_CEIL, VM(memory_mib), NULL},
    {"memory_used_mib", FIELD_CEIL, VM(memory_used_mib), NULL},
    {"dirty_mib_s", FIELD_MILLI, VM(dirty_mib_s), NULL},
    {"wset_mib", FIELD_CEIL, VM(wset_mib), NULL},
    {"storage", FIELD_CALL, 0, read_vm_storage},
    {"local_disk_mib", FIELD_CEIL, VM(local_disk_mib), NULL},
    {"networks", FIELD_STRINGS, VM(networks), NULL},
    {"machine", FIELD_STRING, VM(machine), NULL},
    {"cpu_model", FIELD_STRING, VM(cpu_model), NULL},
    {"cpu_features", FIELD_STRINGS, VM(cpu_features), NULL},
    {"hugepages_kib", FIELD_FLOOR, VM(hugepages_kib), NULL},
    {"numa", FIELD_CALL, 0, read_vm_numa},
    {"devices", FIELD_CALL, 0, read_devices},
    {"blockers", FIELD_STRINGS, VM(blockers), NULL},
    {"max_downtime_ms", FIELD_FLOOR, VM(max_downtime_ms), NULL},
    {"postcopy_allowed", FIELD_BOOL, VM(postcopy_allowed), NULL},
    {"last_move", FIELD_TIME, VM(last_move), NULL},
    {"moves_24h", FIELD_FLOOR, VM(moves_24h), NULL},
    {"moved_ms", FIELD_FLOOR, VM(moved_ms), NULL},
    {"moved_mib", FIELD_FLOOR, VM(moved_mib), NULL},
    {"moved_downtime_ms", FIELD_FLOOR, VM(moved_downtime_ms), NULL},
    {"hold_until", FIELD_TIME, VM(hold_until), NULL},
    {0},
};

static const struct model_vm vm_unknown = {
    .host = MODEL_NONE,
    .home = MODEL_NONE,
    .priority = 50,
    .persistent = TRI_UNKNOWN,
    .autostart = TRI_UNKNOWN,
    .vcpus = QUANTITY_UNKNOWN,
    .cpu_used_cores = QUANTITY_UNKNOWN,
    .memory_mib = QUANTITY_UNKNOWN,
    .memory_used_mib = QUANTITY_UNKNOWN,
    .dirty_mib_s = QUANTITY_UNKNOWN,
    .wset_mib = QUANTITY_UNKNOWN,
    .local_disk_mib = QUANTITY_UNKNOWN,
    .hugepages_kib = QUANTITY_UNKNOWN,
    .numa_nodes = QUANTITY_UNKNOWN,
    .max_downtime_ms = QUANTITY_UNKNOWN,
    .postcopy_allowed = TRI_UNKNOWN,
    .last_move = QUANTITY_UNKNOWN,
    .hold_until = QUANTITY_UNKNOWN,
    .moves_24h = QUANTITY_UNKNOWN,
    .moved_ms = QUANTITY_UNKNOWN,
    .moved_mib = QUANTITY_UNKNOWN,
    .moved_downtime_ms = QUANTITY_UNKNOWN,
    .in_flight_to = MODEL_NONE,
    .keep_rule = MODEL_NONE,
};

int model_read_vm(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                  struct raw_vm *ret)
{
    *ret = (struct raw_vm){.vm = vm_unknown, .index = w->index};
    int rc = fields_read(c, vm_fields, v, w, ret);
    if (rc < 0)
        return rc;
    ret->vm.id = ret->vm.uuid != NULL ? ret->vm.uuid : ret->vm.name;
    if (ret->vm.id == NULL || ret->vm.id[0] == '\0')
        return fields_bad(c, w, "uuid is missing");
    return 0;
}

/* ---- rules ---- */

static int read_rule_type(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                          void *obj)
{
    int type;
    int rc = fields_word(c, v, w, rule_types, &type);
    if (rc == 0)
        ((struct model_rule *)obj)->type = (enum rule_type)type;
    return rc;
}

static int read_enforcement(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                            void *obj)
{
    static const char *const words[] = {"should", "must", NULL};
    int word;
    int rc = fields_word(c, v, w, words, &word);
    if (rc == 0)
        ((struct model_rule *)obj)->must = word == 1;
    return rc;
}

#define SCOPE_UNSET 99

static int read_scope(struct fields_ctx *c, const struct jnode *v, const struct where *w, void *obj)
{
    static const char *const words[] = {"host", "failure_domain", NULL};
    int word;
    int rc = fields_word(c, v, w, words, &word);
    if (rc == 0)
        ((struct model_rule *)obj)->scope = word == 0 ? SCOPE_HOST : SCOPE_DOMAIN;
    return rc;
}

static int read_rule_names(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                           const char ***ret, int *ret_n)
{
    struct model_strings s = {0};
    int rc = fields_strings(c, v, w, &s);
    *ret = s.items;
    *ret_n = s.n;
    return rc;
}

static int read_rule_vms(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                         void *obj)
{
    struct raw_rule *raw = obj;
    return read_rule_names(c, v, w, &raw->vm_names, &raw->n_vm_names);
}

static int read_rule_hosts(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                           void *obj)
{
    struct raw_rule *raw = obj;
    return read_rule_names(c, v, w, &raw->host_names, &raw->n_host_names);
}

static int read_rule_select(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                            void *obj)
{
    struct raw_rule *raw = obj;
    raw->has_select = true;
    return read_tag_list(c, v, w, &raw->select);
}

static const struct field rule_fields[] = {
    {"name", FIELD_STRING, offsetof(struct model_rule, name), NULL},
    {"type", FIELD_CALL, 0, read_rule_type},
    {"enforcement", FIELD_CALL, 0, read_enforcement},
    {"weight", FIELD_MILLI, offsetof(struct model_rule, weight), NULL},
    {"scope", FIELD_CALL, 0, read_scope},
    {"level", FIELD_FLOOR, offsetof(struct model_rule, level), NULL},
    {"minimum", FIELD_CEIL, offsetof(struct model_rule, minimum), NULL},
    {"vms", FIELD_CALL, 0, read_rule_vms},
    {"hosts", FIELD_CALL, 0, read_rule_hosts},
    {"select", FIELD_CALL, 0, read_rule_select},
    {"description", FIELD_ANY, 0, NULL},
    {0},
};

static int check_rule(struct fields_ctx *c, const struct raw_rule *raw, const struct where *w)
{
    const struct model_rule *r = &raw->rule;
    bool names_hosts = r->type == RULE_RUN_ON || r->type == RULE_NOT_ON;
    if (r->name == NULL || r->name[0] == '\0')
        return fields_bad(c, w, "name is missing");
    if ((int)r->type < 0)
        return fields_bad(c, w, "type is missing");
    if (raw->vm_names == NULL && !raw->has_select)
        return fields_bad(c, w, "\"vms\" or \"select\" is missing");
    if (raw->vm_names != NULL && raw->has_select)
        return fields_bad(c, w, "\"vms\" and \"select\" exclude each other");
    if (names_hosts && raw->host_names == NULL)
        return fields_bad(c, w, "\"hosts\" is missing");
    if (!names_hosts && raw->host_names != NULL)
        return fields_bad(c, w, "\"hosts\" belongs to run-on and not-on only");
    if (r->type == RULE_SPREAD && r->minimum == QUANTITY_UNKNOWN)
        return fields_bad(c, w, "\"minimum\" is missing");
    if (r->type == RULE_DEPENDS_ON && raw->has_select)
        return fields_bad(c, w, "depends-on needs \"vms\": the first depends on the others");
    if (r->level == 0)
        return fields_bad(c, w, "level counts from 1");
    return 0;
}

int model_read_rule(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                    struct raw_rule *ret)
{
    *ret = (struct raw_rule){.rule = {.type = (enum rule_type) - 1,
                                      .must = true,
                                      .weight = 1000,
                                      .scope = (enum rule_scope)SCOPE_UNSET,
                                      .level = QUANTITY_UNKNOWN,
                                      .minimum = QUANTITY_UNKNOWN},
                             .index = w->index};
    int rc = fields_read(c, rule_fields, v, w, ret);
    if (rc == 0)
        rc = check_rule(c, ret, w);
    if (rc == 0 && ret->rule.scope == (enum rule_scope)SCOPE_UNSET)
        ret->rule.scope = ret->rule.type == RULE_SPREAD ? SCOPE_DOMAIN : SCOPE_HOST;
    return rc;
}
