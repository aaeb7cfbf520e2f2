#include <stdio.h>
#include <string.h>

#include "planner/trace/trace.h"
#include "proto/canon.h"

#define STEP 300000        /* milliseconds */
#define MIGRATION_MBPS 500 /* the model's 62.5 MB/s: half of a gigabit */

/* Hosts, alternately: two processors of so many MIPS; watts at 0, 10, ... 100 % (SPECpower). */
static const struct {
    int mips;
    double watts[11];
} machines[2] = {
    {2 * 1860, {86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117}},
    {2 * 2660, {93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135}},
};

/* VMs, a quarter of each: MIPS and MB. */
static const struct {
    int mips, mib;
} sizes[4] = {{2500, 870}, {2000, 1740}, {1000, 1740}, {500, 613}};

int planetlab_parse(const char *text, size_t len, const char *what, int ret[PLANETLAB_SAMPLES],
                    struct err *err)
{
    size_t at = 0;
    for (int i = 0; i < PLANETLAB_SAMPLES; i++) {
        int digits = 0, value = 0;
        while (at < len && strchr(" \t\r\n", text[at]) != NULL)
            at++;
        for (; at < len && text[at] >= '0' && text[at] <= '9' && digits < 4; at++, digits++)
            value = value * 10 + (text[at] - '0');
        if (digits == 0 || value > 100)
            return err_set(err, ERR_INVALID, "%s: number %d of %d is not a percentage", what, i + 1,
                           PLANETLAB_SAMPLES);
        ret[i] = value;
    }
    return 0;
}

static int size_of(int vm, int n_vms)
{
    return vm / ((n_vms + 3) / 4);
}

static json_t *host_new(int i, bool memory_counts)
{
    char name[16];
    snprintf(name, sizeof name, "h%03d", i);
    json_t *curve = json_array();
    for (int k = 0; k < 11; k++)
        json_array_append_new(curve, json_real(machines[i % 2].watts[k]));
    return json_pack("{s:s, s:s, s:s, s:{s:o, s:i}, s:{s:i, s:i}, s:{s:o}, s:i}", "name", name,
                     "state", "up", "arch", "x86_64", "cpu", "cores",
                     canon_milli(machines[i % 2].mips), "overcommit", 100, "memory", "total_mib",
                     memory_counts ? 65536 : 4096, "overcommit", memory_counts ? 1 : 1000, "power",
                     "curve_watts", curve, "migration_mbps", MIGRATION_MBPS);
}

static json_t *vm_new(int i, int n_vms, int host)
{
    char name[16], host_name[16];
    snprintf(name, sizeof name, "vm%04d", i);
    snprintf(host_name, sizeof host_name, "h%03d", host);
    int mib = sizes[size_of(i, n_vms)].mib;
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i}", "name", name, "host", host_name, "state",
                     "running", "vcpus", 1, "memory_mib", mib, "memory_used_mib", mib);
}

/* Where each VM begins: the first host that still has all the MIPS that it may ask for. */
static void place(int n_vms, int *ret_host)
{
    int left[PLANETLAB_HOSTS];
    for (int h = 0; h < PLANETLAB_HOSTS; h++)
        left[h] = machines[h % 2].mips;
    for (int v = 0; v < n_vms; v++) {
        int need = sizes[size_of(v, n_vms)].mips, h = 0;
        while (h < PLANETLAB_HOSTS - 1 && left[h] < need)
            h++;
        left[h] -= need;
        ret_host[v] = h;
    }
}

struct trace *trace_planetlab(const int (*percent)[PLANETLAB_SAMPLES], int n_vms, msec start,
                              bool memory_counts)
{
    struct trace *t = xcalloc(1, sizeof *t);
    *t = (struct trace){.n_hosts = PLANETLAB_HOSTS,
                        .n_vms = n_vms,
                        .n_samples = PLANETLAB_SAMPLES,
                        .last = STEP,
                        .empty_takes_off = true};
    json_t *hosts = json_array(), *vms = json_array();
    _cleanup_(freep) int *host = xcalloc((size_t)MAX(n_vms, 1), sizeof *host);
    t->at = xcalloc(PLANETLAB_SAMPLES, sizeof *t->at);
    t->used = xcalloc((size_t)MAX(n_vms, 1) * PLANETLAB_SAMPLES, sizeof *t->used);
    place(n_vms, host);
    for (int h = 0; h < PLANETLAB_HOSTS; h++)
        json_array_append_new(hosts, host_new(h, memory_counts));
    for (int v = 0; v < n_vms; v++)
        json_array_append_new(vms, vm_new(v, n_vms, host[v]));
    for (int s = 0; s < PLANETLAB_SAMPLES; s++) {
        t->at[s] = start + s * (msec)STEP;
        for (int v = 0; v < n_vms; v++) /* a core is 1,000 MIPS: thousandths are MIPS */
            t->used[(size_t)s * (size_t)n_vms + (size_t)v] =
                percent[v][s] * (milli)sizes[size_of(v, n_vms)].mips / 100;
    }
    t->base =
        json_pack("{s:s, s:s, s:i, s:o, s:o, s:{s:i, s:i, s:i}}", "schema", "skein.snapshot/1",
                  "cluster", "planetlab", "seed", 1, "hosts", hosts, "vms", vms, "limits", "total",
                  200, "inflow_per_host", 4, "outflow_per_host", 4);
    return t;
}
