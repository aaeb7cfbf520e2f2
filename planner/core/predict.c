#include "planner/core/predict.h"

#include "proto/util.h"

/* Connection, TLS handshake, device state and the pause at the end, on ordinary hosts. */
#define SETUP_MS 800
#define SWITCH_MS 40
/* TLS and framing leave about nine tenths of a link. */
#define LINK_EFFICIENCY_PCT 90
/* A link nobody stated: gigabit, the least that is sold. */
#define UNKNOWN_LINK_MBPS 1000
#define DEFAULT_DOWNTIME_MS 500
#define MAX_ROUNDS 30
/* From here one connection does not fill the link (QEMU copies about 1 GiB/s in one thread). */
#define PARALLEL_FROM_MIB_S 1200

static int64_t link_kib_s(const struct model_host *h)
{
    int64_t mbps = h->migration_mbps == QUANTITY_UNKNOWN || h->migration_mbps == 0
                       ? UNKNOWN_LINK_MBPS
                       : h->migration_mbps;
    return sat_mul(mbps, 1000000 / 8 * LINK_EFFICIENCY_PCT / 100) / 1024;
}

/* What moves measured is what TLS and framing left of it. */
static int64_t measured_kib_s(int64_t said, int64_t measured_mbps)
{
    return measured_mbps == QUANTITY_UNKNOWN || measured_mbps == 0
               ? said
               : MIN(said, sat_mul(measured_mbps, 1000000 / 8) / 1024);
}

/* What a move may take: of the links as they are said to be. A rate that was measured is no bound,
 * else a link that was slow once would never be seen to be fast again. */
static int64_t allowed_kib_s(const struct model *m, int from, int to, int64_t out, int64_t in)
{
    int64_t a = link_kib_s(&m->hosts[from]) / MAX(out, 1);
    int64_t b = link_kib_s(&m->hosts[to]) / MAX(in, 1);
    return MAX(MIN(a, b), 1024);
}

/* What it is expected to get. */
static int64_t share_kib_s(const struct model *m, int from, int to, int64_t out, int64_t in)
{
    const struct model_host *f = &m->hosts[from], *t = &m->hosts[to];
    int64_t a = measured_kib_s(link_kib_s(f), f->measured_out_mbps) / MAX(out, 1);
    int64_t b = measured_kib_s(link_kib_s(t), t->measured_in_mbps) / MAX(in, 1);
    return MAX(MIN(a, b), 1024);
}

struct guest {
    int64_t memory_kib, dirty_kib_s, wset_kib;
};

/* What is not known: all memory in use, a quarter of the link dirtied, within a quarter of memory.
 */
static struct guest guest_of(const struct model_vm *vm, int64_t kib_s)
{
    int64_t mib = vm->memory_used_mib != QUANTITY_UNKNOWN && vm->memory_used_mib > 0
                      ? MIN(vm->memory_used_mib, vm->memory_mib)
                      : vm->memory_mib;
    struct guest g = {.memory_kib = sat_mul(MAX(mib, 1), 1024)};
    g.dirty_kib_s =
        vm->dirty_mib_s == QUANTITY_UNKNOWN ? kib_s / 4 : sat_mul(vm->dirty_mib_s, 1024) / 1000;
    g.wset_kib = vm->wset_mib == QUANTITY_UNKNOWN ? g.memory_kib / 4 : sat_mul(vm->wset_mib, 1024);
    g.wset_kib = MIN(g.wset_kib, g.memory_kib);
    return g;
}

static int64_t ms_for(int64_t kib, int64_t kib_s)
{
    return (sat_mul(kib, 1000) + kib_s - 1) / kib_s;
}

struct course {
    int64_t ms, sent_kib, rest_kib;
    bool converged;
};

static struct course precopy(struct guest g, int64_t kib_s, int64_t downtime_ms, bool throttle)
{
    struct course c = {0};
    int64_t left = g.memory_kib;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        if (round > 0 && ms_for(left, kib_s) + SWITCH_MS <= downtime_ms) {
            c.converged = true;
            break;
        }
        int64_t ms = ms_for(left, kib_s);
        c.ms = sat_add(c.ms, ms);
        c.sent_kib = sat_add(c.sent_kib, left);
        left = MIN(sat_mul(g.dirty_kib_s, ms) / 1000, g.wset_kib);
        if (throttle && round > 1) /* auto-converge: 20 % slower, then ten more each round */
            g.dirty_kib_s = g.dirty_kib_s * 8 / 10;
    }
    c.rest_kib = left;
    return c;
}

/* How much more this VM sent than the series says, in thousandths: at the rate that it had then. A
 * factor beyond these bounds is no prediction's error but another VM. */
#define LEARN_LEAST 50
#define LEARN_MOST 4000

static int64_t learnt_factor(const struct model_vm *vm, struct guest g, int64_t downtime_ms)
{
    if (vm->moved_ms == QUANTITY_UNKNOWN || vm->moved_mib == QUANTITY_UNKNOWN ||
        vm->moved_ms == 0 || vm->moved_mib == 0)
        return 1000;
    int64_t ms = MAX(vm->moved_ms - SETUP_MS, vm->moved_ms / 2);
    int64_t kib = sat_mul(vm->moved_mib, 1024);
    struct course c = precopy(g, MAX(sat_mul(kib, 1000) / MAX(ms, 1), 1024), downtime_ms, false);
    int64_t factor = sat_mul(kib, 1000) / MAX(c.sent_kib + c.rest_kib, 1);
    return MAX(MIN(factor, LEARN_MOST), LEARN_LEAST);
}

static void correct(struct planner_estimate *e, const struct model_vm *vm, int64_t factor)
{
    if (factor == 1000)
        return;
    e->mib = MAX(sat_mul(e->mib, factor) / 1000, 1);
    e->ms = sat_add(SETUP_MS, sat_mul(MAX(e->ms - SETUP_MS, 0), factor) / 1000);
    if (vm->moved_downtime_ms != QUANTITY_UNKNOWN && vm->moved_downtime_ms > 0)
        e->downtime_ms = vm->moved_downtime_ms;
}

static int64_t allowed_downtime(const struct model_vm *vm)
{
    return vm->max_downtime_ms == QUANTITY_UNKNOWN || vm->max_downtime_ms == 0
               ? DEFAULT_DOWNTIME_MS
               : vm->max_downtime_ms;
}

bool predict_converges(const struct model *m, int vm, int from, int to)
{
    int64_t kib_s = share_kib_s(m, from, to, 1, 1);
    return precopy(guest_of(&m->vms[vm], kib_s), kib_s, allowed_downtime(&m->vms[vm]), false)
        .converged;
}

static void predict_postcopy(struct guest g, int64_t kib_s, struct planner_estimate *ret)
{
    int64_t ms = sat_add(ms_for(g.memory_kib, kib_s), ms_for(g.wset_kib, kib_s));
    *ret = (struct planner_estimate){.ms = sat_add(ms, SETUP_MS),
                                     .downtime_ms = 2 * SWITCH_MS,
                                     .mib = (g.memory_kib + g.wset_kib) / 1024};
}

static void add_storage(const struct model_vm *vm, int64_t kib_s, struct planner_estimate *ret)
{
    int64_t mib = vm->local_disk_mib == QUANTITY_UNKNOWN ? 0 : vm->local_disk_mib;
    ret->mib = sat_add(ret->mib, mib);
    ret->ms = sat_add(ret->ms, ms_for(sat_mul(mib, 1024), kib_s));
}

void predict_move(const struct model *m, int v, int from, int to, bool copy_storage,
                  int64_t out_count, int64_t in_count, struct planner_parameters *p,
                  struct planner_estimate *ret)
{
    const struct model_vm *vm = &m->vms[v];
    int64_t kib_s = share_kib_s(m, from, to, out_count, in_count);
    int64_t downtime = allowed_downtime(vm);
    struct guest g = guest_of(vm, kib_s);
    *p = (struct planner_parameters){.how = {.mode = MIGRATE_PRECOPY, .auto_converge = true},
                                     .bandwidth_mib_s =
                                         allowed_kib_s(m, from, to, out_count, in_count) / 1024,
                                     .downtime_ms = downtime};
    if (p->bandwidth_mib_s >= PARALLEL_FROM_MIB_S)
        p->how.parallel = (uint32_t)MIN(p->bandwidth_mib_s / 600, 8);
    p->how.storage = copy_storage ? MIGRATE_STORAGE_ALL : MIGRATE_STORAGE_NONE;
    struct course c = precopy(g, kib_s, downtime, false);
    if (!c.converged && vm->postcopy_allowed == TRI_YES && !copy_storage) {
        p->how.mode = MIGRATE_POSTCOPY; /* which does not go over several connections */
        p->how.parallel = 0;
        predict_postcopy(g, kib_s, ret);
    } else {
        if (!c.converged)
            c = precopy(g, kib_s, downtime, true);
        int64_t stop = ms_for(c.rest_kib, kib_s) + SWITCH_MS;
        *ret = (struct planner_estimate){.ms = sat_add(sat_add(c.ms, stop), SETUP_MS),
                                         .downtime_ms = stop,
                                         .mib = (c.sent_kib + c.rest_kib + 1023) / 1024};
    }
    correct(ret, vm, learnt_factor(vm, g, downtime));
    if (copy_storage)
        add_storage(vm, kib_s, ret);
}

void predict_as_asked(const struct model *m, int v, int from, int to,
                      const struct migration_choice *how, struct planner_parameters *p,
                      struct planner_estimate *ret)
{
    const struct model_vm *vm = &m->vms[v];
    int64_t kib_s = share_kib_s(m, from, to, 1, 1);
    struct guest g = guest_of(vm, kib_s);
    struct course c = precopy(g, kib_s, allowed_downtime(vm), how->auto_converge);
    int64_t stop = ms_for(c.rest_kib, kib_s) + SWITCH_MS;
    p->how = *how;
    if (how->mode == MIGRATE_OFFLINE)
        *ret = (struct planner_estimate){.ms = SETUP_MS};
    else if (how->mode == MIGRATE_POSTCOPY_AFTER_PRECOPY ||
             (how->mode == MIGRATE_POSTCOPY && !c.converged))
        predict_postcopy(g, kib_s, ret);
    else
        *ret = (struct planner_estimate){.ms = sat_add(sat_add(c.ms, stop), SETUP_MS),
                                         .downtime_ms = stop,
                                         .mib = (c.sent_kib + c.rest_kib + 1023) / 1024};
    if (how->storage != MIGRATE_STORAGE_NONE)
        add_storage(vm, kib_s, ret);
}
