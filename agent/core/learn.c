#include "agent/core/learn.h"

#include "agent/core/plan.h"
#include "agent/core/state.h"

#define SETUP_MS 1500 /* of a move that is not copying: connections, and both hosts looked at */
#define LEAST_MS 3000 /* shorter moves are mostly that */
#define AS_ALLOWED 80 /* per cent of the bandwidth it was given: the link is not to blame */

/* One move that succeeded and was measured. */
struct lesson {
    const struct plan_move *move;
    uint64_t ended, ms, mib;
    uint32_t downtime_ms;
};

struct lessons {
    struct lesson *items;
    size_t n, cap;
};

static void add_plan(struct lessons *l, const struct plan *p)
{
    for (size_t i = 0; i < p->body->n_moves; i++) {
        const Skein__ActionReport *r = p->items[i].report;
        bool measured = r != NULL && r->state == SKEIN__ACTION_STATE__ACTION_SUCCEEDED &&
                        r->has_transferred_mib && r->has_downtime_ms && r->started_at_ms != 0 &&
                        r->ended_at_ms > r->started_at_ms;
        if (!measured || p->body->moves[i].how.mode == MIGRATE_OFFLINE ||
            p->body->moves[i].type != PLAN_MIGRATE)
            continue;
        ARRAY_RESERVE(l->items, l->cap, l->n + 1);
        l->items[l->n++] = (struct lesson){.move = &p->body->moves[i],
                                           .ended = r->ended_at_ms,
                                           .ms = r->ended_at_ms - r->started_at_ms,
                                           .mib = r->transferred_mib,
                                           .downtime_ms = r->downtime_ms};
    }
}

static int newest_first(const void *a, const void *b)
{
    const struct lesson *x = a, *y = b;
    if (x->ended != y->ended)
        return x->ended > y->ended ? -1 : 1;
    return strcmp(x->move->uuid, y->move->uuid);
}

/* ---- VMs ---- */

static size_t vm_place(const struct learnt *l, const char *uuid, bool *ret_found)
{
    size_t at = 0;
    while (at < l->n_vms && strcmp(l->vms[at].uuid, uuid) < 0)
        at++;
    *ret_found = at < l->n_vms && strcmp(l->vms[at].uuid, uuid) == 0;
    return at;
}

/* Sums until learn() divides them. */
static void teach_vm(struct learnt *l, const struct lesson *x)
{
    bool found;
    size_t at = vm_place(l, x->move->uuid, &found);
    if (!found) {
        ARRAY_RESERVE(l->vms, l->cap_vms, l->n_vms + 1);
        memmove(&l->vms[at + 1], &l->vms[at], (l->n_vms++ - at) * sizeof *l->vms);
        l->vms[at] = (struct learnt_vm){.uuid = x->move->uuid};
    }
    struct learnt_vm *vm = &l->vms[at];
    if (vm->n == LEARN_MOVES)
        return;
    vm->n++;
    vm->ms += MIN(x->ms, (uint64_t)INT32_MAX);
    vm->mib += MIN(x->mib, (uint64_t)INT32_MAX);
    vm->downtime_ms = MAX(vm->downtime_ms, x->downtime_ms);
}

/* ---- links ---- */

static size_t link_place(const struct learnt *l, const char *host, bool *ret_found)
{
    size_t at = 0;
    while (at < l->n_links && strcmp(l->links[at].host, host) < 0)
        at++;
    *ret_found = at < l->n_links && strcmp(l->links[at].host, host) == 0;
    return at;
}

static struct learnt_link *link_of(struct learnt *l, const char *host)
{
    bool found;
    size_t at = link_place(l, host, &found);
    if (!found) {
        ARRAY_RESERVE(l->links, l->cap_links, l->n_links + 1);
        memmove(&l->links[at + 1], &l->links[at], (l->n_links++ - at) * sizeof *l->links);
        l->links[at] = (struct learnt_link){.host = host};
    }
    return &l->links[at];
}

static uint64_t rate_mbps(const struct lesson *x)
{
    uint64_t ms = MAX(x->ms - MIN(x->ms, (uint64_t)SETUP_MS), x->ms / 2);
    return MIN(x->mib, (uint64_t)INT32_MAX) * 8389 / MAX(ms, (uint64_t)1); /* 2^20 * 8 / 1000 */
}

static bool as_allowed(const struct lesson *x)
{
    uint64_t allowed = (uint64_t)x->move->bandwidth_mib_s * 8389 / 1000;
    return allowed > 0 && rate_mbps(x) * 100 >= allowed * AS_ALLOWED;
}

/* The fastest of the newest in this direction; 0: one was as fast as it might be, or none counts.
 */
static uint64_t fastest(const struct lessons *l, const char *host, bool out)
{
    uint64_t best = 0;
    unsigned n = 0;
    for (size_t i = 0; i < l->n && n < LEARN_LINKS; i++) {
        const struct lesson *x = &l->items[i];
        if (x->ms < LEAST_MS || strcmp(out ? x->move->from : x->move->to, host) != 0)
            continue;
        if (as_allowed(x))
            return 0;
        best = MAX(best, rate_mbps(x));
        n++;
    }
    return best;
}

void learn(const struct state *state, struct learnt *ret)
{
    struct plan *const *plans;
    struct lessons l = {0};
    size_t n = state != NULL ? state_plans(state, &plans) : 0;
    *ret = (struct learnt){0};
    for (size_t i = 0; i < n; i++)
        add_plan(&l, plans[i]);
    if (l.n > 0)
        qsort(l.items, l.n, sizeof *l.items, newest_first);
    for (size_t i = 0; i < l.n; i++) {
        teach_vm(ret, &l.items[i]);
        link_of(ret, l.items[i].move->from);
        link_of(ret, l.items[i].move->to);
    }
    for (size_t i = 0; i < ret->n_vms; i++) {
        ret->vms[i].ms /= ret->vms[i].n;
        ret->vms[i].mib /= ret->vms[i].n;
    }
    for (size_t i = 0; i < ret->n_links; i++) {
        ret->links[i].out_mbps = fastest(&l, ret->links[i].host, true);
        ret->links[i].in_mbps = fastest(&l, ret->links[i].host, false);
    }
    free(l.items);
}

void learnt_done(struct learnt *l)
{
    free(l->vms);
    free(l->links);
    *l = (struct learnt){0};
}

const struct learnt_vm *learnt_vm(const struct learnt *l, const char *uuid)
{
    bool found;
    size_t at = vm_place(l, uuid, &found);
    return found ? &l->vms[at] : NULL;
}

const struct learnt_link *learnt_link(const struct learnt *l, const char *host)
{
    bool found;
    size_t at = link_place(l, host, &found);
    return found ? &l->links[at] : NULL;
}

/* ---- into a snapshot ---- */

static void put(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

/* Measured in real time: the world's may pass faster. */
static void put_learnt_vm(json_t *o, const struct learnt *l, const struct moment *now)
{
    const char *uuid = json_string_value(json_object_get(o, "uuid"));
    const struct learnt_vm *vm = uuid != NULL ? learnt_vm(l, uuid) : NULL;
    if (vm == NULL)
        return;
    put(o, "moved_ms", (uint64_t)hv_clock_span(&now->clock, (msec)vm->ms));
    put(o, "moved_mib", vm->mib);
    put(o, "moved_downtime_ms", vm->downtime_ms);
}

static uint64_t rate_in_world(uint64_t mbps, const struct moment *now)
{
    return mbps * 1000 / (uint64_t)MAX(hv_clock_span(&now->clock, 1000), (msec)1);
}

static void put_learnt_link(json_t *o, const struct learnt *l, const struct moment *now)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    const struct learnt_link *link = name != NULL ? learnt_link(l, name) : NULL;
    if (link == NULL)
        return;
    if (link->out_mbps > 0)
        put(o, "measured_out_mbps", rate_in_world(link->out_mbps, now));
    if (link->in_mbps > 0)
        put(o, "measured_in_mbps", rate_in_world(link->in_mbps, now));
}

void learn_put(const struct state *state, const struct moment *now, json_t *vms, json_t *hosts)
{
    struct learnt l;
    json_t *o;
    size_t i;
    learn(state, &l);
    json_array_foreach(vms, i, o)
    {
        put_learnt_vm(o, &l, now);
    }
    json_array_foreach(hosts, i, o)
    {
        put_learnt_link(o, &l, now);
    }
    learnt_done(&l);
}
