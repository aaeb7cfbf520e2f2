/* api_internal.h - what the files of the API share; see api.h. */
#ifndef SKEIN_PLANNER_WORKER_API_INTERNAL_H
#define SKEIN_PLANNER_WORKER_API_INTERNAL_H

#include "planner/core/profile.h"
#include "planner/worker/api.h"

#define N_PARTS 4
#define FIELDS_MAX 10 /* of one part, and a NULL */

enum kind { KIND_NONE, KIND_HOST, KIND_VM, KIND_CONTEXT };

struct view {
    int *place;                          /* [n_vms] host, or MODEL_NONE */
    struct figures *figures;             /* [n_hosts] */
    int ref_context, ref_hosts, ref_vms; /* objects made so far */
};

/* host:after(vm), host:without(vm) and their parts are a number each, see api_parts.c: part 4 bits
 * (0: the host, else 1 + index of the part), after 1, view 12, host 20, vm 24. */
#define PROJECTION_PART ((uintptr_t)15)
#define PROJECTION_AFTER ((uintptr_t)1 << 4)

static inline uintptr_t projection_of(int view, int host, int vm)
{
    return (uintptr_t)view << 5 | (uintptr_t)host << 17 | (uintptr_t)vm << 37;
}

/* The pair that was judged last: its objects live as long as their view, so that equal addresses
 * mean them, and nobody has to ask which they are. NULL before the view's first. */
struct judged {
    const void *host_object, *vm_object;
    uintptr_t pair; /* as projection_of() */
};

/* What the last projection that was looked at is; policies often ask for several of its fields. */
struct projected {
    uintptr_t which; /* without its part; PROJECTION_NONE: nothing yet */
    const struct model_host *host;
    struct figures figures;
};

#define PROJECTION_NONE UINTPTR_MAX

/* The name of a part (`part` 0), or of a field of the part `part`, and its number. */
struct known_name {
    const void *name;
    unsigned part, number;
};

#define NAMES_KNOWN 64

struct api {
    struct policy *policy;
    lua_State *L;
    const struct model *model;
    msec now;
    uint64_t seed;
    milli *heat;
    bool *movable;
    struct view *views;
    int n_views;
    int ref_class[KIND_CONTEXT + 1]; /* metatable of the values behind an object */
    int ref_part[N_PARTS];
    /* Interned by Lua, see l_keep_name(). */
    const void *part_names[N_PARTS], *field_names[N_PARTS][FIELDS_MAX];
    struct known_name known[NAMES_KNOWN]; /* what was found lately, by the name's address */
    struct judged judged;
    struct projected last;
    json_t *notes;
    json_t *history;      /* the snapshot's, once it was asked for */
    struct profile *week; /* likewise; owned */
    struct api_refusal *refusals;
    size_t n_refusals, cap_refusals;
};

/* An object's identity: kind, view, index in one number. */
static inline lua_Integer object_identity(enum kind k, int view, int index)
{
    return (lua_Integer)index << 24 | (lua_Integer)view << 4 | (lua_Integer)k;
}

struct object {
    enum kind kind;
    int view, index;
};

static inline struct object object_of(lua_Integer id)
{
    return (struct object){(enum kind)(id & 15), (int)(id >> 4 & 0xfffff), (int)(id >> 24)};
}

/* The values of an object hold its identity under the api's address, where no policy can look. */
static inline struct object object_self(struct api *a, int idx)
{
    if (lua_type(a->L, idx) != LUA_TTABLE)
        return (struct object){0};
    lua_rawgetp(a->L, idx, a);
    lua_Integer id = lua_tointeger(a->L, -1);
    lua_pop(a->L, 1);
    return object_of(id);
}

static inline struct api *api_of(lua_State *L)
{
    return sandbox_user(L);
}

/* ---- api_values.c: numbers and texts of the model as Lua has them */

/* Set a field of the table on top; nothing where the value is unknown. May raise. */
void l_put_milli(lua_State *L, const char *key, milli v);
void l_put_integer(lua_State *L, const char *key, int64_t v);
void l_put_text(lua_State *L, const char *key, const char *s);
void l_put_tri(lua_State *L, const char *key, enum tri t);
void l_put_seconds(lua_State *L, const char *key, msec wall);

/* Push the value, or nil where it is unknown. */
void api_push_milli(lua_State *L, milli v);
void api_push_integer(lua_State *L, int64_t v);
void api_push_percent(lua_State *L, int64_t part, int64_t whole);
void api_push_tri(lua_State *L, enum tri t);
void api_push_seconds(lua_State *L, msec wall);

int64_t api_difference(int64_t a, int64_t b); /* unknown where one is */

/* Push a new table. */
void l_fill_tags(lua_State *L, const struct model_tags *tags);
void l_fill_strings(lua_State *L, const struct model_strings *s);
void l_fill_storage(lua_State *L, const struct model_host *h);

/* Raise: index 2 is no field of a `what`; the nearest of names was perhaps meant. */
int l_no_such_field(lua_State *L, const char *what, const char *const *names);

/* ---- api_parts.c: host.cpu, host.mem, host.temp, host.power, and the same in projections */

struct part;

struct seen {
    const struct model_host *host;
    const struct figures *figures;
};

const struct part *api_part_named(const char *name); /* NULL: no part */
void l_push_part(struct api *a, const struct part *part, struct seen x);
/* Methods. */
int l_after(lua_State *L);
int l_without(lua_State *L);
int l_pct(lua_State *L); /* self.util */
void l_set_part_classes(struct api *a);
void l_set_projection_class(struct api *a);

/* ---- api_history.c */

/* Methods: of hosts and VMs, of c. */
int l_history(lua_State *L);
int l_usual(lua_State *L);
int l_usual_range(lua_State *L);

/* ---- api_objects.c */

void l_push_hosts(struct api *a, int view);         /* a list of all */
void l_push_vms(struct api *a, int view, int host); /* of a host, or MODEL_NONE: all */
void l_new_values(struct api *a, struct object o,
                  int fields); /* a table of values of that object */
void l_add_method(struct api *a, const char *name, lua_CFunction f);
int l_missing_field(lua_State *L);

#endif
