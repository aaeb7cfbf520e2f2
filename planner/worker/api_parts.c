/* host.cpu, host.mem, host.temp, host.power, and the same of hosts as they would be. */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>

/* ---- the parts: what each field is, from the host as observed and its figures */

struct field {
    const char *name;
    void (*push)(lua_State *L, struct seen x);
};

static milli curve_watts(const struct model_host *h, const struct figures *f)
{
    return f->used_cores != QUANTITY_UNKNOWN ? host_watts_at(h, f->used_cores) : QUANTITY_UNKNOWN;
}

static void push_pct(lua_State *L, struct seen x)
{
    (void)x;
    lua_pushcfunction(L, l_pct);
}

/* name, how it is pushed; h is the host, f its figures */
#define CPU_FIELDS(X)                                                                              \
    X(cpu, cores, api_push_milli(L, h->cores))                                                     \
    X(cpu, used, api_push_milli(L, f->used_cores))                                                 \
    X(cpu, free, api_push_milli(L, api_difference(h->cores, f->used_cores)))                       \
    X(cpu, util, api_push_percent(L, f->used_cores, h->cores))                                     \
    X(cpu, vcpus, api_push_integer(L, f->vcpus))                                                   \
    X(cpu, capacity, api_push_integer(L, host_vcpus(h)))                                           \
    X(cpu, model, lua_pushstring(L, h->cpu_model))                                                 \
    X(cpu, psi, api_push_milli(L, h->pressure_cpu))

#define MEM_FIELDS(X)                                                                              \
    X(mem, total, api_push_integer(L, h->total_mib))                                               \
    X(mem, reserved, api_push_integer(L, h->reserved_mib))                                         \
    X(mem, used, api_push_integer(L, f->memory_used_mib))                                          \
    X(mem, committed, api_push_integer(L, f->memory_mib))                                          \
    X(mem, capacity, api_push_integer(L, host_memory_for_vms_mib(h)))                              \
    X(mem, free, api_push_integer(L, api_difference(host_memory_for_vms_mib(h), f->memory_mib)))   \
    X(mem, util, api_push_percent(L, f->memory_mib, host_memory_for_vms_mib(h)))                   \
    X(mem, psi, api_push_milli(L, h->pressure_memory))

#define TEMP_FIELDS(X)                                                                             \
    X(temp, inlet, api_push_milli(L, h->inlet_celsius))                                            \
    X(temp, inlet_max, api_push_milli(L, h->inlet_max_celsius))                                    \
    X(temp, inlet_headroom,                                                                        \
      api_push_milli(L, api_difference(h->inlet_max_celsius, h->inlet_celsius)))                   \
    X(temp, outlet, api_push_milli(L, h->outlet_celsius))                                          \
    X(temp, cpu, api_push_milli(L, f->cpu_celsius))                                                \
    X(temp, cpu_max, api_push_milli(L, h->cpu_max_celsius))                                        \
    X(temp, headroom, api_push_milli(L, api_difference(h->cpu_max_celsius, f->cpu_celsius)))       \
    X(temp, rise, api_push_milli(L, api_difference(f->cpu_celsius, h->inlet_celsius)))             \
    X(temp, trend, api_push_milli(L, h->trend_celsius_per_min))

#define POWER_FIELDS(X)                                                                            \
    X(power, watts, api_push_milli(L, h->watts))                                                   \
    X(power, idle, api_push_milli(L, h->curve_watts[0]))                                           \
    X(power, model, api_push_milli(L, curve_watts(h, f)))                                          \
    X(power, can_wake, api_push_tri(L, h->can_wake))                                               \
    X(power, wake_seconds, api_push_integer(L, h->wake_seconds))                                   \
    X(power, standby_allowed, api_push_tri(L, h->standby_allowed))                                 \
    X(power, last_wake_proof, api_push_seconds(L, h->last_wake_proof))

#define DEFINE_FIELD(part, name, push)                                                             \
    static void part##_##name(lua_State *L, struct seen x)                                         \
    {                                                                                              \
        _unused_ const struct model_host *h = x.host;                                              \
        _unused_ const struct figures *f = x.figures;                                              \
        push;                                                                                      \
    }
CPU_FIELDS(DEFINE_FIELD)
MEM_FIELDS(DEFINE_FIELD)
TEMP_FIELDS(DEFINE_FIELD)
POWER_FIELDS(DEFINE_FIELD)

#define LIST_FIELD(part, name, push) {#name, part##_##name},

/* Parts and their fields; ended by a NULL name. */
static const struct part {
    const char *name;
    struct field fields[FIELDS_MAX];
    struct field util; /* what pct() answers of a projection; no name: there is no pct() */
} parts[N_PARTS] = {{"cpu", {CPU_FIELDS(LIST_FIELD){"pct", push_pct}}, {"util", cpu_util}},
                    {"mem", {MEM_FIELDS(LIST_FIELD){"pct", push_pct}}, {"util", mem_util}},
                    {.name = "temp", .fields = {TEMP_FIELDS(LIST_FIELD)}},
                    {.name = "power", .fields = {POWER_FIELDS(LIST_FIELD)}}};

static int l_no_part_field(lua_State *L, const struct part *part)
{
    const char *names[FIELDS_MAX + 1] = {NULL};
    for (size_t i = 0; i < FIELDS_MAX; i++)
        names[i] = part->fields[i].name;
    return l_no_such_field(L, part->name, names);
}

/* Upvalue: the part. A field that is not in the values is unknown, or does not exist. */
static int l_part_missing(lua_State *L)
{
    const struct part *part = lua_touserdata(L, lua_upvalueindex(1));
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t i = 0; i < FIELDS_MAX && part->fields[i].name != NULL; i++)
        if (strcmp(part->fields[i].name, key) == 0) {
            lua_pushnil(L);
            return 1;
        }
    return l_no_part_field(L, part);
}

/* Push the values of one part, with their class. */
void l_push_part(struct api *a, const struct part *part, struct seen x)
{
    lua_State *L = a->L;
    lua_createtable(L, 0, FIELDS_MAX);
    for (size_t i = 0; i < FIELDS_MAX && part->fields[i].name != NULL; i++) {
        part->fields[i].push(L, x);
        lua_setfield(L, -2, part->fields[i].name);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->ref_part[part - parts]);
    lua_setmetatable(L, -2);
}

const struct part *api_part_named(const char *name)
{
    for (size_t i = 0; i < N_PARTS; i++)
        if (strcmp(parts[i].name, name) == 0)
            return &parts[i];
    return NULL;
}

/* ---- projections: host:after(vm), host:without(vm). They are made for every pair that is judged,
 * so they cost no memory: a light userdata whose bits say which part of which host after which VM's
 * arrival or departure. Policies cannot make such values. */

static void push_projection(lua_State *L, uintptr_t p)
{
    lua_pushlightuserdata(L, (void *)p);
}

static int view_of(uintptr_t p)
{
    return (int)(p >> 5 & 0xfff);
}

static int host_of(uintptr_t p)
{
    return (int)(p >> 17 & 0xfffff);
}

static int vm_of(uintptr_t p)
{
    return (int)(p >> 37);
}

/* The pair of the host at 1 and the VM at 2, whatever objects they are. */
static uintptr_t l_check_pair(lua_State *L, const char *name)
{
    struct object o = object_of(sandbox_identity(L, 1));
    int vm = api_vm_at(api_of(L), 2);
    if (o.kind != KIND_HOST)
        luaL_error(L, "%s is called on a host: host:%s(vm)", name, name);
    if (vm == MODEL_NONE)
        luaL_error(L, "host:%s(vm) wants a VM, not a %s", name, luaL_typename(L, 2));
    return projection_of(o.view, o.index, vm);
}

static uintptr_t l_pair(lua_State *L, const char *name)
{
    const struct judged *j = &api_of(L)->judged;
    if (j->vm_object != NULL && lua_topointer(L, 1) == j->host_object &&
        lua_topointer(L, 2) == j->vm_object)
        return j->pair;
    return l_check_pair(L, name);
}

int l_after(lua_State *L)
{
    push_projection(L, l_pair(L, "after") | PROJECTION_AFTER);
    return 1;
}

int l_without(lua_State *L)
{
    push_projection(L, l_pair(L, "without"));
    return 1;
}

/* The host's figures with the VM there, or without it; where it already is so, nothing changes. */
static void project(struct api *a, uintptr_t which)
{
    int host = host_of(which), vm = vm_of(which);
    const struct view *view = &a->views[view_of(which)];
    bool there = view->place[vm] == host, after = (which & PROJECTION_AFTER) != 0;
    a->last = (struct projected){which, &a->model->hosts[host], view->figures[host]};
    if (after != there)
        figures_move(&a->last.figures, &a->model->vms[vm], a->heat[vm], after ? 1 : -1);
}

static void push_projected(struct api *a, uintptr_t p, const struct field *field)
{
    uintptr_t which = p & ~PROJECTION_PART;
    if (a->last.which != which)
        project(a, which);
    field->push(a->L, (struct seen){a->last.host, &a->last.figures});
}

/* The number of the name in a list, or FIELDS_MAX. Names are interned, and those of the lists are
 * kept: equal texts have equal addresses. */
static unsigned find_name(struct api *a, unsigned part, const void *key)
{
    struct known_name *known = &a->known[((uintptr_t)key >> 4 ^ part) % NAMES_KNOWN];
    if (key != NULL && known->name == key && known->part == part)
        return known->number;
    const void *const *names = part > 0 ? a->field_names[part - 1] : a->part_names;
    unsigned n = part > 0 ? FIELDS_MAX : N_PARTS;
    for (unsigned i = 0; i < n && names[i] != NULL; i++)
        if (names[i] == key) {
            *known = (struct known_name){key, part, i};
            return i;
        }
    return FIELDS_MAX;
}

static int l_projection_index(lua_State *L)
{
    struct api *a = api_of(L);
    uintptr_t p = (uintptr_t)lua_touserdata(L, 1);
    unsigned part = (unsigned)(p & PROJECTION_PART);
    unsigned i = find_name(a, part, lua_topointer(L, 2));
    if (part != 0) {
        if (i == FIELDS_MAX)
            return l_no_part_field(L, &parts[part - 1]);
        push_projected(a, p, &parts[part - 1].fields[i]);
    } else if (i != FIELDS_MAX) {
        push_projection(L, p | (i + 1));
    } else {
        l_push_host(a, view_of(p), host_of(p)); /* what a move does not change */
        lua_pushvalue(L, 2);
        lua_gettable(L, -2);
    }
    return 1;
}

int l_pct(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TLIGHTUSERDATA) {
        uintptr_t p = (uintptr_t)lua_touserdata(L, 1);
        unsigned part = (unsigned)(p & PROJECTION_PART);
        if (part != 0 && parts[part - 1].util.name != NULL)
            return push_projected(api_of(L), p, &parts[part - 1].util), 1;
    }
    lua_getfield(L, 1, "util");
    return 1;
}

/* All light userdata that a policy can get are projections, so their class is that of the type. */
void l_set_projection_class(struct api *a)
{
    lua_State *L = a->L;
    lua_pushlightuserdata(L, NULL);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, l_projection_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "projection");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* Keep a name in the table on top of the stack, and the address of what Lua has as its text. */
static const void *l_keep_name(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    const void *kept = lua_topointer(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    return kept;
}

void l_set_part_classes(struct api *a)
{
    lua_State *L = a->L;
    lua_newtable(L);
    for (size_t i = 0; i < N_PARTS; i++) {
        a->part_names[i] = l_keep_name(L, parts[i].name);
        for (size_t k = 0; k < FIELDS_MAX && parts[i].fields[k].name != NULL; k++)
            a->field_names[i][k] = l_keep_name(L, parts[i].fields[k].name);
        lua_createtable(L, 0, 1);
        lua_pushlightuserdata(L, (void *)&parts[i]);
        lua_pushcclosure(L, l_part_missing, 1);
        lua_setfield(L, -2, "__index");
        a->ref_part[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    luaL_ref(L, LUA_REGISTRYINDEX);
}
