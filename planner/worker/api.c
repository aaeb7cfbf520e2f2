/* The API's life: views of the fleet, and what policies left behind. */
#include "planner/worker/api_internal.h"

#include <lauxlib.h>

int api_host_at(struct api *a, int idx)
{
    lua_Integer id = sandbox_identity(a->L, idx);
    return object_of(id).kind == KIND_HOST ? object_of(id).index : MODEL_NONE;
}

int api_vm_at(struct api *a, int idx)
{
    lua_Integer id = sandbox_identity(a->L, idx);
    return object_of(id).kind == KIND_VM ? object_of(id).index : MODEL_NONE;
}

/* ---- life */

static int l_setup(lua_State *L)
{
    struct api *a = lua_touserdata(L, 1);
    for (int k = KIND_HOST; k <= KIND_CONTEXT; k++) {
        lua_createtable(L, 0, 1);
        l_add_method(a, "__index", l_missing_field);
        a->ref_class[k] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    l_set_part_classes(a);
    l_set_projection_class(a);
    return 0;
}

static int l_new_caches(lua_State *L)
{
    struct view *v = lua_touserdata(L, 1);
    lua_newtable(L);
    v->ref_hosts = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    v->ref_vms = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* Reserve a view without Lua's side, which is made when it is first used. */
static struct view *new_view(struct api *a)
{
    const struct model *m = a->model;
    a->views = xrealloc(a->views, (size_t)a->n_views + 1, sizeof *a->views);
    struct view *v = &a->views[a->n_views++];
    *v = (struct view){.place = xcalloc((size_t)m->n_vms, sizeof *v->place),
                       .figures = xcalloc((size_t)m->n_hosts, sizeof *v->figures),
                       .ref_context = LUA_NOREF,
                       .ref_hosts = LUA_NOREF,
                       .ref_vms = LUA_NOREF};
    return v;
}

static int add_base_view(struct api *a, struct err *err)
{
    const struct model *m = a->model;
    struct view *v = new_view(a);
    for (int i = 0; i < m->n_vms; i++)
        v->place[i] = m->vms[i].host;
    for (int i = 0; i < m->n_hosts; i++)
        figures_of_host(m, i, &v->figures[i]);
    lua_pushcfunction(a->L, l_new_caches);
    lua_pushlightuserdata(a->L, v);
    return sandbox_call(a->policy->sb, 1, 0, err);
}

/* What Lua holds of the projected view is dropped. */
static void forget(struct api *a, struct view *v)
{
    luaL_unref(a->L, LUA_REGISTRYINDEX, v->ref_context);
    luaL_unref(a->L, LUA_REGISTRYINDEX, v->ref_hosts);
    luaL_unref(a->L, LUA_REGISTRYINDEX, v->ref_vms);
    v->ref_context = v->ref_hosts = v->ref_vms = LUA_NOREF;
}

int api_project(struct api *a, const struct planner_move *moves, int n, struct err *err)
{
    const struct model *m = a->model;
    if (a->n_views == API_PROJECTED)
        new_view(a);
    struct view *v = &a->views[API_PROJECTED], *base = &a->views[API_SNAPSHOT];
    forget(a, v);
    a->last.which = PROJECTION_NONE;
    a->judged = (struct judged){0};
    memcpy(v->place, base->place, (size_t)m->n_vms * sizeof *v->place);
    memcpy(v->figures, base->figures, (size_t)m->n_hosts * sizeof *v->figures);
    for (int i = 0; i < n; i++) {
        int vm = moves[i].vm, from = v->place[vm];
        if (from != MODEL_NONE)
            figures_move(&v->figures[from], &m->vms[vm], a->heat[vm], -1);
        figures_move(&v->figures[moves[i].to], &m->vms[vm], a->heat[vm], 1);
        v->place[vm] = moves[i].to;
    }
    lua_pushcfunction(a->L, l_new_caches);
    lua_pushlightuserdata(a->L, v);
    return sandbox_call(a->policy->sb, 1, 0, err);
}

int policy_api_new(struct policy *p, const struct model *m, msec now, uint64_t seed,
                   msec cooldown_ms, struct api **ret, struct err *err)
{
    _cleanup_(policy_api_freep) struct api *a = xcalloc(1, sizeof *a);
    *a = (struct api){.policy = p,
                      .L = sandbox_lua(p->sb),
                      .model = m,
                      .now = now,
                      .seed = seed,
                      .heat = xcalloc((size_t)m->n_vms, sizeof *a->heat),
                      .movable = xcalloc((size_t)m->n_vms, sizeof *a->movable),
                      .last = {.which = PROJECTION_NONE},
                      .notes = json_object()};
    sandbox_set_user(p->sb, a);
    figures_heat(m, a->heat);
    for (int v = 0; v < m->n_vms; v++)
        a->movable[v] =
            fit_movable(m, v, now, cooldown_ms, policy_overrides_holds(p), NULL) == FIT_OK;
    lua_pushcfunction(a->L, l_setup);
    lua_pushlightuserdata(a->L, a);
    int rc = sandbox_call(p->sb, 1, 0, err);
    if (rc == 0)
        rc = add_base_view(a, err);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(a);
    return 0;
}

void policy_api_free(struct api *a)
{
    if (a == NULL)
        return;
    for (int i = 0; i < a->n_views; i++) {
        free(a->views[i].place);
        free(a->views[i].figures);
    }
    free(a->views);
    free(a->heat);
    free(a->movable);
    free(a->refusals);
    json_decref(a->notes);
    json_decref(a->history);
    free(a->week);
    free(a);
}

const milli *api_heat(const struct api *a)
{
    return a->heat;
}

const json_t *api_notes(const struct api *a)
{
    return a->notes;
}

void api_note(struct api *a, const char *key, json_t *value)
{
    json_object_set_new(a->notes, key, value);
}

const struct api_refusal *api_refusals(const struct api *a, int *ret_n)
{
    *ret_n = (int)a->n_refusals;
    return a->refusals;
}
