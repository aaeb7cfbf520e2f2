/* scale - from a snapshot's text to a sequenced plan, in seconds and MiB.
 *   scale [-h HOSTS] [-v VMS] [-m balance|consolidate|drain|enforce] [-s SEED] [-w FILE]
 * Makes a cluster (half of the VMs on a quarter of the hosts, anti-affinity groups of three), reads
 * it as the planner reads any snapshot, plans. -w also writes the snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "planner/core/plan_doc.h"
#include "planner/core/planner.h"
#include "planner/core/random.h"
#include "proto/canon.h"
#include "proto/util.h"
#include "tests/bench/made.h"

static void add_host(struct buf *b, int i)
{
    buf_addf(
        b,
        "%s{\"name\":\"hv%05d\",\"state\":\"up\",\"failure_domain\":\"dc1/r%d\","
        "\"cpu\":{\"cores\":64,\"overcommit\":4,\"model\":\"EPYC-Milan\"},"
        "\"memory\":{\"total_mib\":262144,\"reserved_mib\":4096},"
        "\"storage\":[{\"name\":\"ceph-ssd\",\"shared\":true}],\"networks\":[\"br-vm\"],"
        "\"migration_mbps\":10000,\"arch\":\"x86_64\",\"machines\":[\"pc-q35-7.2\"],"
        "\"qemu\":\"7.2.22\",\"libvirt\":\"9.0.0\",\"power\":{\"watts\":310,\"can_wake\":true}}",
        i > 0 ? ",\n" : "", i, i / 40);
}

static void add_vm(struct buf *b, int i, int host, struct random *r)
{
    static const int sizes[] = {1024, 2048, 2048, 4096, 4096, 8192, 16384};
    int mib = sizes[random_below(r, 7)], vcpus = 1 + mib / 4096;
    uint32_t used = 50 + random_below(r, (uint32_t)vcpus * 400);
    buf_addf(
        b,
        "%s{\"name\":\"vm%06d\",\"uuid\":\"%08x-0000-4000-8000-%012x\",\"host\":\"hv%05d\","
        "\"state\":\"running\",\"owner\":\"o%d\",\"priority\":50,\"vcpus\":%d,"
        "\"cpu_used_cores\":%u.%03u,\"memory_mib\":%d,\"memory_used_mib\":%d,\"dirty_mib_s\":%u,"
        "\"wset_mib\":%d,\"storage\":[\"ceph-ssd\"],\"local_disk_mib\":0,"
        "\"networks\":[\"br-vm\"],\"machine\":\"pc-q35-7.2\",\"cpu_model\":\"EPYC-Rome\","
        "\"cpu_features\":[],\"hugepages_kib\":0,\"numa\":null,\"devices\":[],\"blockers\":[],"
        "\"max_downtime_ms\":500,\"postcopy_allowed\":false,\"last_move\":null,"
        "\"moves_24h\":0,\"hold_until\":null}",
        i > 0 ? ",\n" : "", i, (unsigned)random_below(r, UINT32_MAX), (unsigned)i, host, i % 97,
        vcpus, used / 1000, used % 1000, mib, mib * 3 / 4, random_below(r, 40), mib / 8);
}

/* Each third group of three VMs must stay apart; the generator puts them on different hosts. */
static void add_rules(struct buf *b, int n_vms)
{
    for (int i = 0; i + 2 < n_vms && i < 9000; i += 9)
        buf_addf(b,
                 "%s{\"name\":\"apart%06d\",\"type\":\"anti-affinity\",\"vms\":[\"vm%06d\","
                 "\"vm%06d\",\"vm%06d\"]}",
                 i > 0 ? ",\n" : "", i, i, i + 1, i + 2);
}

static char *make_snapshot(int n_hosts, int n_vms, uint64_t seed, size_t *ret_len)
{
    struct random r;
    struct buf b = {0};
    random_seed(&r, seed);
    buf_adds(&b, "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"scale\",\"taken_at\":"
                 "\"2026-11-22T01:30:00Z\",\"seed\":1,\n\"hosts\":[");
    for (int i = 0; i < n_hosts; i++)
        add_host(&b, i);
    buf_adds(&b, "],\n\"vms\":[");
    uint32_t quarter = (uint32_t)MAX(n_hosts / 4, 1);
    for (int i = 0; i < n_vms; i++) {
        uint32_t among = random_below(&r, 100) < 30 ? quarter : (uint32_t)n_hosts;
        add_vm(&b, i, (int)random_below(&r, among), &r);
    }
    buf_adds(&b, "],\n\"rules\":[");
    add_rules(&b, n_vms);
    buf_adds(&b, "],\n\"limits\":{\"total\":500,\"inflow_per_host\":1,\"outflow_per_host\":2}}\n");
    *ret_len = b.len;
    return buf_take(&b);
}

static enum planner_mode mode_of(const char *name)
{
    for (int i = 0; i <= PLANNER_MOVES; i++)
        if (strcmp(planner_mode_name((enum planner_mode)i), name) == 0)
            return (enum planner_mode)i;
    fprintf(stderr, "scale: no such mode: %s\n", name);
    exit(2);
}

static int check(int rc, const struct err *err)
{
    if (rc < 0) {
        fprintf(stderr, "scale: %s\n", err->msg);
        exit(1);
    }
    return rc;
}

static void report(const struct model *m, const struct planner_result *r, double read, double plan,
                   double body)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("%d hosts, %d VMs: read %.3f s, plan %.3f s, document %.3f s, %ld MiB\n", m->n_hosts,
           m->n_vms, read, plan, body, u.ru_maxrss / 1024);
    printf("%d moves in %d steps, %" PRId64 " -> %" PRId64
           " hosts in use, imbalance %.3f -> %.3f %%, "
           "%d refused\n",
           r->n_actions, r->n_steps, r->hosts_used_before, r->hosts_used_after,
           (double)r->imbalance_before / 1000, (double)r->imbalance_after / 1000, r->n_refusals);
}

int main(int argc, char **argv)
{
    struct made made = {.n_hosts = 10000, .n_vms = 200000, .seed = 1};
    const char *mode = "balance";
    for (int c; (c = getopt(argc, argv, "h:v:m:s:w:")) != -1;) {
        if (c == 'm')
            mode = optarg;
        else if (!made_option(&made, c))
            return 2;
    }
    if (!made_enough(&made))
        return 2;
    size_t len;
    char *text = make_snapshot(made.n_hosts, made.n_vms, made.seed, &len);
    made_write(&made, text, len);
    struct model *m;
    struct planner_result *r;
    struct err err;
    json_t *body;
    double begin = cpu_seconds();
    check(model_parse(text, len, &m, &err), &err);
    free(text);
    double parsed = cpu_seconds();
    const int source = 0;
    struct planner_problem p = {.model = m,
                                .mode = mode_of(mode),
                                .now = m->taken_at,
                                .sources = &source,
                                .n_sources = 1,
                                .n_plus = QUANTITY_UNKNOWN};
    p.n_sources = p.mode == PLANNER_DRAIN;
    check(planner_run(&p, &r, &err), &err);
    double planned = cpu_seconds();
    struct plan_origin origin = {.policy_name = "scale", .class = "optimise", .reason = "measured"};
    char digest[HASH_HEX_SIZE];
    check(plan_body_new(m, r, &origin, &body, &err), &err);
    check(plan_body_digest(body, digest, &err), &err);
    report(m, r, parsed - begin, planned - parsed, cpu_seconds() - planned);
    json_decref(body);
    planner_result_free(r);
    model_free(m);
    return 0;
}
