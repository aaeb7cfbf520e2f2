/* watcher - consolidation like OpenStack Watcher's vm_workload_consolidation, beside it.
 *   watcher [-h HOSTS] [-v VMS] [-s SEED] [-w FILE]
 * Makes a cluster whose VMs take about 30 % of it and lie anywhere, and empties hosts twice: by the
 * planner (from the snapshot's text to sequenced steps), and by the strategy of Watcher 9 as its
 * source has it: hosts by their load, the least loaded emptied first, the VMs of each from the
 * largest on to the most loaded host that takes them, first fit; moves of one VM joined to one.
 * Both count what VMs are allowed, as Watcher does where telemetry has nothing better. -w writes
 * the snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/core/planner.h"
#include "planner/core/random.h"
#include "proto/util.h"
#include "tests/bench/made.h"

#define CORES 64
#define MIB 262144

static char *make_snapshot(int n_hosts, int n_vms, uint64_t seed, size_t *ret_len)
{
    static const int vcpus[] = {1, 1, 1, 1, 1, 2, 2, 2, 4, 4}, gib[] = {1, 2, 2, 4};
    struct random r;
    struct buf b = {0};
    random_seed(&r, seed);
    buf_adds(&b, "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"watcher\",\"taken_at\":"
                 "\"2026-11-22T01:30:00Z\",\"seed\":1,\n\"hosts\":[");
    for (int i = 0; i < n_hosts; i++)
        buf_addf(&b,
                 "%s{\"name\":\"hv%05d\",\"state\":\"up\",\"cpu\":{\"cores\":%d},"
                 "\"memory\":{\"total_mib\":%d},\"migration_mbps\":10000}",
                 i > 0 ? ",\n" : "", i, CORES, MIB);
    buf_adds(&b, "],\n\"vms\":[");
    for (int i = 0; i < n_vms; i++) {
        int n = vcpus[random_below(&r, 10)], mib = n * 1024 * gib[random_below(&r, 4)];
        buf_addf(&b,
                 "%s{\"name\":\"vm%06d\",\"host\":\"hv%05d\",\"state\":\"running\",\"vcpus\":%d,"
                 "\"memory_mib\":%d,\"dirty_mib_s\":10}",
                 i > 0 ? ",\n" : "", i, (int)random_below(&r, (uint32_t)n_hosts), n, mib);
    }
    buf_adds(&b, "],\n\"rules\":[],\n\"limits\":{\"total\":50,\"inflow_per_host\":2,"
                 "\"outflow_per_host\":2}}\n");
    *ret_len = b.len;
    return buf_take(&b);
}

/* ---- Watcher's strategy ---- */

struct packing {
    const struct model *m;
    int *at;                 /* [vm] */
    int64_t *vcpus, *memory; /* [host] taken */
    int *order;              /* hosts, by their load at the start */
};

static const struct packing *sorting; /* qsort has no context */

static int hosts_by_load(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    int64_t d = sorting->vcpus[x] - sorting->vcpus[y];
    return d != 0 ? (d > 0) - (d < 0) : x - y;
}

static int vms_by_size(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    int64_t d = sorting->m->vms[x].vcpus - sorting->m->vms[y].vcpus;
    return d != 0 ? (d > 0) - (d < 0) : x - y;
}

static bool fits(const struct packing *p, int vm, int host)
{
    const struct model_vm *v = &p->m->vms[vm];
    const struct model_host *h = &p->m->hosts[host];
    return p->vcpus[host] + v->vcpus <= host_vcpus(h) &&
           p->memory[host] + v->memory_mib <= host_memory_for_vms_mib(h);
}

static void put(struct packing *p, int vm, int host, int sign)
{
    p->vcpus[host] += sign * p->m->vms[vm].vcpus;
    p->memory[host] += sign * p->m->vms[vm].memory_mib;
    p->at[vm] = host;
}

/* Its VMs, the largest first, each to the most loaded host after it that takes it. */
static void empty_host(struct packing *p, int rank, int *vms)
{
    int host = p->order[rank], n = 0;
    for (int v = 0; v < p->m->n_vms; v++)
        if (p->at[v] == host)
            vms[n++] = v;
    if (n > 0)
        qsort(vms, (size_t)n, sizeof *vms, vms_by_size);
    while (n-- > 0)
        for (int k = p->m->n_hosts - 1; k > rank; k--)
            if (fits(p, vms[n], p->order[k])) {
                put(p, vms[n], host, -1);
                put(p, vms[n], p->order[k], 1);
                break;
            }
}

/* No host is overloaded at the start, so its first phase has nothing to do. */
static void watcher_run(struct packing *p)
{
    _cleanup_(freep) int *vms = xcalloc((size_t)p->m->n_vms + 1, sizeof *vms);
    for (int h = 0; h < p->m->n_hosts; h++)
        p->order[h] = h;
    for (int v = 0; v < p->m->n_vms; v++)
        put(p, v, p->m->vms[v].host, 1);
    sorting = p;
    qsort(p->order, (size_t)p->m->n_hosts, sizeof *p->order, hosts_by_load);
    for (int i = 0; i < p->m->n_hosts; i++)
        empty_host(p, i, vms);
}

/* ---- both, measured alike ---- */

static void report(const char *who, const struct model *m, const int *at, double seconds)
{
    _cleanup_(freep) int *n_on = xcalloc((size_t)m->n_hosts + 1, sizeof *n_on);
    int used = 0, moves = 0, fewest = 0;
    for (int v = 0; v < m->n_vms; v++) {
        n_on[at[v]]++;
        moves += at[v] != m->vms[v].host;
    }
    for (int v = 0; v < m->n_vms; v++) /* all that were on a host that is free now */
        fewest += n_on[m->vms[v].host] == 0;
    for (int h = 0; h < m->n_hosts; h++)
        used += n_on[h] > 0;
    printf("%-8s %d hosts in use, %d moves, %d of them needed to free these hosts, %.3f CPU s\n",
           who, used, moves, fewest, seconds);
}

static int64_t hosts_bound(const struct model *m)
{
    int64_t vcpus = 0, memory = 0;
    for (int v = 0; v < m->n_vms; v++) {
        vcpus += m->vms[v].vcpus;
        memory += m->vms[v].memory_mib;
    }
    return MAX((vcpus + CORES - 1) / CORES, (memory + MIB - 1) / MIB);
}

static void run_watcher(const struct model *m)
{
    size_t hosts = (size_t)m->n_hosts + 1;
    struct packing p = {.m = m};
    p.at = xcalloc((size_t)m->n_vms + 1, sizeof *p.at);
    p.vcpus = xcalloc(hosts, sizeof *p.vcpus);
    p.memory = xcalloc(hosts, sizeof *p.memory);
    p.order = xcalloc(hosts, sizeof *p.order);
    double begin = cpu_seconds();
    watcher_run(&p);
    report("Watcher:", m, p.at, cpu_seconds() - begin);
    free(p.at);
    free(p.vcpus);
    free(p.memory);
    free(p.order);
}

static int fail(const struct err *err)
{
    fprintf(stderr, "watcher: %s\n", err->msg);
    return 1;
}

int main(int argc, char **argv)
{
    struct made made = {.n_hosts = 400, .n_vms = 4000, .seed = 1};
    for (int c; (c = getopt(argc, argv, "h:v:s:w:")) != -1;)
        if (!made_option(&made, c))
            return 2;
    if (!made_enough(&made))
        return 2;
    size_t len;
    _cleanup_(freep) char *text = make_snapshot(made.n_hosts, made.n_vms, made.seed, &len);
    made_write(&made, text, len);
    struct model *m;
    struct planner_result *r;
    struct err err;
    double begin = cpu_seconds();
    if (model_parse(text, len, &m, &err) < 0)
        return fail(&err);
    struct planner_problem p = {.model = m,
                                .mode = PLANNER_CONSOLIDATE,
                                .now = m->taken_at,
                                .safety_pct = 100, /* Watcher's coefficients are 1 */
                                .n_plus = QUANTITY_UNKNOWN};
    if (planner_run(&p, &r, &err) < 0)
        return fail(&err);
    double seconds = cpu_seconds() - begin;
    _cleanup_(freep) int *at = xcalloc((size_t)m->n_vms + 1, sizeof *at);
    for (int v = 0; v < m->n_vms; v++)
        at[v] = m->vms[v].host;
    for (int i = 0; i < r->n_actions; i++)
        at[r->actions[i].vm] = r->actions[i].to;
    printf("%d hosts, %d VMs: at least %" PRId64 " hosts hold them\n", made.n_hosts, made.n_vms,
           hosts_bound(m));
    report("Skein:", m, at, seconds);
    run_watcher(m);
    planner_result_free(r);
    model_free(m);
    return 0;
}
