/* Hosts, VMs and lists of them. */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>

/* ---- lists */

void l_make_list(struct api *a)
{
    lua_rawgeti(a->L, LUA_REGISTRYINDEX, a->policy->ref_list_meta);
    lua_setmetatable(a->L, -2);
    l_freeze(a->L, "list", 0);
}

/* The VMs of a host (MODEL_NONE: all VMs) in a view. */
void l_push_vms(struct api *a, int view, int host)
{
    const struct model *m = a->model;
    const struct view *v = &a->views[view];
    lua_newtable(a->L);
    lua_Integer n = 0;
    if (view == 0 && host != MODEL_NONE) {
        for (int i = 0; i < m->hosts[host].n_vms; i++) {
            l_push_vm(a, view, m->hosts[host].vms[i]);
            lua_rawseti(a->L, -2, ++n);
        }
    } else {
        for (int i = 0; i < m->n_vms; i++) {
            if (host != MODEL_NONE && v->place[i] != host)
                continue;
            l_push_vm(a, view, i);
            lua_rawseti(a->L, -2, ++n);
        }
    }
    l_make_list(a);
}

void l_push_hosts(struct api *a, int view)
{
    lua_createtable(a->L, a->model->n_hosts, 0);
    for (int i = 0; i < a->model->n_hosts; i++) {
        l_push_host(a, view, i);
        lua_rawseti(a->L, -2, i + 1);
    }
    l_make_list(a);
}

/* The other hosts of the same failure domain; where a host has none it has no neighbours. */
static void l_push_neighbours(struct api *a, int view, int host)
{
    const char *domain = a->model->hosts[host].failure_domain;
    lua_newtable(a->L);
    lua_Integer n = 0;
    for (int i = 0; domain != NULL && i < a->model->n_hosts; i++) {
        if (i == host || a->model->hosts[i].failure_domain != domain) /* interned */
            continue;
        l_push_host(a, view, i);
        lua_rawseti(a->L, -2, ++n);
    }
    l_make_list(a);
}

/* ---- hosts and VMs: an object's table holds what was read of it so far. Of ten thousand VMs a
 * policy reads few fields, and tables that stay small stay in the cache. */

struct host_field {
    const char *name;
    void (*push)(const struct api *a, const struct model_host *h); /* one value, nil: unknown */
};

struct vm_field {
    const char *name;
    void (*push)(const struct api *a, const struct model_vm *vm, int i);
};

static void push_age(const struct api *a, msec observed_at)
{
    api_push_milli(a->L, observed_at == QUANTITY_UNKNOWN
                             ? QUANTITY_UNKNOWN
                             : MAX(sat_sub(a->now, observed_at), (msec)0));
}

#define HOST_FIELDS(X)                                                                             \
    X(name, lua_pushstring(a->L, h->name))                                                         \
    X(state, lua_pushstring(a->L, host_state_name(h->state)))                                      \
    X(failure_domain, lua_pushstring(a->L, h->failure_domain))                                     \
    X(voter, api_push_tri(a->L, h->voter))                                                         \
    X(age, push_age(a, h->observed_at))                                                            \
    X(qemu, lua_pushstring(a->L, h->qemu))                                                         \
    X(libvirt, lua_pushstring(a->L, h->libvirt))                                                   \
    X(arch, lua_pushstring(a->L, h->arch))                                                         \
    X(implausible, lua_pushstring(a->L, h->implausible))                                           \
    X(psi_io, api_push_milli(a->L, h->pressure_io))                                                \
    X(migration_mbps, api_push_integer(a->L, h->migration_mbps))                                   \
    X(after, lua_pushcfunction(a->L, l_after))                                                     \
    X(without, lua_pushcfunction(a->L, l_without))                                                 \
    X(history, lua_pushcfunction(a->L, l_history))

#define VM_FIELDS(X)                                                                               \
    X(name, lua_pushstring(a->L, vm_label(vm)))                                                    \
    X(uuid, lua_pushstring(a->L, vm->uuid))                                                        \
    X(state, lua_pushstring(a->L, vm_state_name(vm->state)))                                       \
    X(owner, lua_pushstring(a->L, vm->owner))                                                      \
    X(priority, api_push_integer(a->L, vm->priority))                                              \
    X(persistent, api_push_tri(a->L, vm->persistent))                                              \
    X(autostart, api_push_tri(a->L, vm->autostart))                                                \
    X(vcpus, api_push_integer(a->L, vm->vcpus))                                                    \
    X(heat, api_push_milli(a->L, a->heat[i]))                                                      \
    X(dirty_rate, api_push_milli(a->L, vm->dirty_mib_s))                                           \
    X(wset, api_push_integer(a->L, vm->wset_mib))                                                  \
    X(local_disk, api_push_integer(a->L, vm->local_disk_mib))                                      \
    X(machine, lua_pushstring(a->L, vm->machine))                                                  \
    X(cpu_model, lua_pushstring(a->L, vm->cpu_model))                                              \
    X(movable, lua_pushboolean(a->L, a->movable[i]))                                               \
    X(last_move, api_push_seconds(a->L, vm->last_move))                                            \
    X(moves_24h, api_push_integer(a->L, vm->moves_24h))                                            \
    X(hold_until, api_push_seconds(a->L, vm->hold_until))                                          \
    X(postcopy_allowed, api_push_tri(a->L, vm->postcopy_allowed))                                  \
    X(history, lua_pushcfunction(a->L, l_history))

#define DEFINE_HOST_FIELD(name, push)                                                              \
    static void host_##name(const struct api *a, _unused_ const struct model_host *h)              \
    {                                                                                              \
        push;                                                                                      \
    }
#define DEFINE_VM_FIELD(name, push)                                                                \
    static void vm_##name(const struct api *a, _unused_ const struct model_vm *vm, _unused_ int i) \
    {                                                                                              \
        push;                                                                                      \
    }
#define LIST_HOST_FIELD(name, push) {#name, host_##name},
#define LIST_VM_FIELD(name, push) {#name, vm_##name},
HOST_FIELDS(DEFINE_HOST_FIELD)
VM_FIELDS(DEFINE_VM_FIELD)

static const struct host_field host_values[] = {HOST_FIELDS(LIST_HOST_FIELD)};
static const struct vm_field vm_values[] = {VM_FIELDS(LIST_VM_FIELD)};

/* Parts of an object that are made when first read; 1 pushed, or 0. */
static int l_host_part(struct api *a, struct object o, const char *key)
{
    const struct model_host *h = &a->model->hosts[o.index];
    const struct part *part = api_part_named(key);
    lua_State *L = a->L;
    for (size_t i = 0; i < ARRAY_SIZE(host_values); i++)
        if (strcmp(key, host_values[i].name) == 0)
            return host_values[i].push(a, h), 1;
    if (part != NULL) {
        l_push_part(a, part, (struct seen){h, &a->views[o.view].figures[o.index]});
        l_freeze(L, key, 0);
        return 1;
    }
    if (strcmp(key, "tags") == 0)
        l_fill_tags(L, &h->tags);
    else if (strcmp(key, "networks") == 0 && h->networks.known)
        l_fill_strings(L, &h->networks);
    else if (strcmp(key, "storage") == 0 && h->storage_known)
        l_fill_storage(L, h);
    else if (strcmp(key, "vms") == 0)
        return l_push_vms(a, o.view, o.index), 1;
    else if (strcmp(key, "neighbours") == 0)
        return l_push_neighbours(a, o.view, o.index), 1;
    else
        return 0;
    l_freeze(L, key, 0);
    return 1;
}

static int l_vm_part_missing(lua_State *L)
{
    static const char *const names[] = {"max", "used", "vcpus", "util", "pct", NULL};
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], key) == 0)
            return 0;
    return l_no_such_field(L, "part of a VM", names);
}

/* Class and freeze of the values on top. */
static void l_finish_vm_part(lua_State *L, const char *name)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_vm_part_missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    l_freeze(L, name, 0);
}

static void l_push_vm_mem(lua_State *L, const struct model_vm *vm)
{
    lua_createtable(L, 0, 2);
    l_put_integer(L, "max", vm->memory_mib);
    l_put_integer(L, "used", vm->memory_used_mib);
    l_finish_vm_part(L, "mem");
}

static void l_push_vm_cpu(lua_State *L, const struct model_vm *vm)
{
    lua_createtable(L, 0, 4);
    l_put_integer(L, "vcpus", vm->vcpus);
    l_put_milli(L, "used", vm->cpu_used_cores);
    if (vm->vcpus != QUANTITY_UNKNOWN) {
        api_push_percent(L, vm->cpu_used_cores, sat_mul(vm->vcpus, 1000));
        lua_setfield(L, -2, "util");
    }
    lua_pushcfunction(L, l_pct);
    lua_setfield(L, -2, "pct");
    l_finish_vm_part(L, "cpu");
}

static void l_push_devices(lua_State *L, const struct model_vm *vm)
{
    lua_createtable(L, vm->n_devices, 0);
    for (int i = 0; i < vm->n_devices; i++) {
        lua_createtable(L, 0, 2);
        l_put_text(L, "type", vm->devices[i].type);
        lua_pushboolean(L, vm->devices[i].migratable);
        lua_setfield(L, -2, "migratable");
        l_freeze(L, "device", 0);
        lua_rawseti(L, -2, i + 1);
    }
    l_freeze(L, "devices", 0);
}

static int l_vm_part(struct api *a, struct object o, const char *key)
{
    const struct model_vm *vm = &a->model->vms[o.index];
    lua_State *L = a->L;
    int host = a->views[o.view].place[o.index];
    for (size_t i = 0; i < ARRAY_SIZE(vm_values); i++)
        if (strcmp(key, vm_values[i].name) == 0)
            return vm_values[i].push(a, vm, o.index), 1;
    if (strcmp(key, "host") == 0 && host != MODEL_NONE)
        l_push_host(a, o.view, host);
    else if (strcmp(key, "mem") == 0)
        l_push_vm_mem(L, vm);
    else if (strcmp(key, "cpu") == 0)
        l_push_vm_cpu(L, vm);
    else if (strcmp(key, "devices") == 0)
        l_push_devices(L, vm);
    else if (strcmp(key, "tags") == 0) {
        l_fill_tags(L, &vm->tags);
        l_freeze(L, key, 0);
    } else if (strcmp(key, "blockers") == 0 && vm->blockers.known) {
        l_fill_strings(L, &vm->blockers);
        l_freeze(L, key, 0);
    } else if (strcmp(key, "storage") == 0 && vm->storage.known) {
        l_fill_strings(L, &vm->storage);
        l_freeze(L, key, 0);
    } else if (strcmp(key, "networks") == 0 && vm->networks.known) {
        l_fill_strings(L, &vm->networks);
        l_freeze(L, key, 0);
    } else
        return 0;
    return 1;
}

static int l_context_part(struct api *a, struct object o, const char *key)
{
    if (strcmp(key, "hosts") == 0)
        l_push_hosts(a, o.view);
    else if (strcmp(key, "vms") == 0)
        l_push_vms(a, o.view, MODEL_NONE);
    else
        return 0;
    return 1;
}

static const char *const host_fields[] = {
    "name",    "state",   "tags",  "failure_domain", "voter",          "age",         "cpu",
    "mem",     "temp",    "power", "storage",        "networks",       "vms",         "neighbours",
    "qemu",    "libvirt", "arch",  "psi_io",         "migration_mbps", "implausible", "after",
    "without", "history", NULL};
static const char *const vm_fields[] = {"name",      "uuid",       "host",
                                        "state",     "owner",      "priority",
                                        "tags",      "persistent", "autostart",
                                        "vcpus",     "cpu",        "mem",
                                        "heat",      "dirty_rate", "wset",
                                        "storage",   "networks",   "local_disk",
                                        "machine",   "cpu_model",  "devices",
                                        "blockers",  "movable",    "last_move",
                                        "moves_24h", "hold_until", "postcopy_allowed",
                                        "history",   NULL};
static const char *const context_fields[] = {
    "now",    "taken_at", "cluster", "seed", "params", "hosts",  "vms",   "window",      "utc",
    "limits", "host",     "vm",      "note", "refuse", "policy", "usual", "usual_range", NULL};

static const char *const *const class_fields[] = {NULL, host_fields, vm_fields, context_fields};
static const char *const class_names[] = {"", "host", "vm", "context"};

static bool is_listed(const char *const *names, const char *key)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, key) == 0)
            return true;
    return false;
}

/* (values, key), where values has no such key yet: a part to make, an unknown quantity, a mistake.
 */
int l_missing_field(lua_State *L)
{
    struct api *a = api_of(L);
    struct object o = object_self(a, 1);
    if (lua_type(L, 2) != LUA_TSTRING || o.kind == KIND_NONE)
        return luaL_error(L, "a %s has named fields only", class_names[o.kind]);
    const char *key = lua_tostring(L, 2);
    static int (*const make[])(struct api *, struct object,
                               const char *) = {NULL, l_host_part, l_vm_part, l_context_part};
    if (make[o.kind](a, o, key) == 1) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
        return 1;
    }
    if (is_listed(class_fields[o.kind], key)) {
        lua_pushnil(L);
        return 1;
    }
    return l_no_such_field(L, class_names[o.kind], class_fields[o.kind]);
}

/* A new table of values of that object, with its identity and class. */
void l_new_values(struct api *a, struct object o, int fields)
{
    lua_State *L = a->L;
    luaL_checkstack(L, 10, NULL);
    lua_createtable(L, 0, fields);
    lua_pushinteger(L, object_identity(o.kind, o.view, o.index));
    lua_rawsetp(L, -2, a);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->ref_class[o.kind]);
    lua_setmetatable(L, -2);
}

void l_add_method(struct api *a, const char *name, lua_CFunction f)
{
    lua_pushcfunction(a->L, f);
    lua_setfield(a->L, -2, name);
}

/* Push the object cached in the table of that reference; false: not there, the table is left on
 * the stack. */
static bool push_cached(lua_State *L, int ref, int index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    if (lua_rawgeti(L, -1, index + 1) == LUA_TTABLE) {
        lua_remove(L, -2);
        return true;
    }
    lua_pop(L, 1);
    return false;
}

/* The values on top, frozen, into the cache table below, which it replaces. */
static void l_keep_object(lua_State *L, struct object o)
{
    l_freeze(L, class_names[o.kind], object_identity(o.kind, o.view, o.index));
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, o.index + 1);
    lua_remove(L, -2);
}

void l_push_host(struct api *a, int view, int host)
{
    lua_State *L = a->L;
    luaL_checkstack(L, 12, NULL);
    if (push_cached(L, a->views[view].ref_hosts, host))
        return;
    struct object o = {KIND_HOST, view, host};
    l_new_values(a, o, 1);
    l_keep_object(L, o);
}

void l_push_vm(struct api *a, int view, int vm)
{
    lua_State *L = a->L;
    luaL_checkstack(L, 12, NULL);
    if (push_cached(L, a->views[view].ref_vms, vm))
        return;
    struct object o = {KIND_VM, view, vm};
    l_new_values(a, o, 1);
    l_keep_object(L, o);
}

void api_judge(struct api *a, int view, int vm, int host, int idx_vm, int idx_host)
{
    a->judged = (struct judged){.vm_object = lua_topointer(a->L, idx_vm),
                                .host_object = lua_topointer(a->L, idx_host),
                                .pair = projection_of(view, host, vm)};
}

void l_push_made(struct api *a, int view)
{
    lua_rawgeti(a->L, LUA_REGISTRYINDEX, a->views[view].ref_hosts);
    lua_rawgeti(a->L, LUA_REGISTRYINDEX, a->views[view].ref_vms);
}
