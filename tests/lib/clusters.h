/* clusters.h - random small clusters as snapshots: tight, violating, partly unknown, with every
 * type of rule and of need. A seed gives the same cluster everywhere. */
#ifndef SKEIN_TESTS_LIB_CLUSTERS_H
#define SKEIN_TESTS_LIB_CLUSTERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/util.h"

struct dice {
    uint64_t state;
    unsigned harsh; /* percent: how often what can be odd of a cluster is */
};

static inline uint64_t roll(struct dice *d, uint64_t n)
{
    d->state = d->state * 6364136223846793005U + 1442695040888963407U;
    return (d->state >> 33) % n;
}

static inline bool chance(struct dice *d, unsigned percent)
{
    return roll(d, 100) < percent;
}

/* For what makes moves hard: rarer in a mild cluster. */
static inline bool odd(struct dice *d, unsigned percent)
{
    return roll(d, 10000) < percent * d->harsh;
}

static inline int between(struct dice *d, int low, int high)
{
    return low + (int)roll(d, (uint64_t)(high - low + 1));
}

static inline const char *pick(struct dice *d, const char *const *list, size_t n)
{
    return list[roll(d, n)];
}

#define PICK(d, ...)                                                                               \
    pick(d, (const char *const[]){__VA_ARGS__},                                                    \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

struct cluster {
    int n_hosts, n_vms, n_rules;
    json_t *hosts, *vms, *rules, *limits, *in_flight, *reservations;
};

static inline json_t *cluster_pages(struct dice *d)
{
    json_t *list = json_array();
    int total = between(d, 256, 1024);
    json_array_append_new(list, json_pack("{s:i, s:i, s:i}", "size_kib", 2048, "total", total,
                                          "free", between(d, 0, total)));
    if (chance(d, 20))
        json_array_append_new(list, json_pack("{s:i, s:i, s:i}", "size_kib", 1048576, "total", 2,
                                              "free", between(d, 0, 2)));
    if (chance(d, 10))
        json_object_set_new(json_array_get(list, 0), "free", json_null());
    return list;
}

static inline json_t *cluster_storage(struct dice *d)
{
    json_t *list = json_array();
    json_array_append_new(list, json_pack("{s:s, s:b}", "name", "ceph", "shared", 1));
    json_array_append_new(list, json_pack("{s:s, s:b, s:i}", "name", "local", "shared", 0,
                                          "free_mib", between(d, 0, 3000)));
    if (chance(d, 20))
        json_array_append_new(list, json_pack("{s:s, s:b, s:i}", "name", "scratch", "shared", 0,
                                              "free_mib", between(d, 0, 3000)));
    if (chance(d, 5))
        json_object_set_new(json_array_get(list, 1), "free_mib", json_null());
    if (chance(d, 5))
        json_array_append_new(list, json_string("unsaid"));
    return list;
}

static inline json_t *cluster_numa(struct dice *d)
{
    json_t *list = json_array();
    for (int n = between(d, 1, 3); n > 0; n--)
        json_array_append_new(list, json_pack("{s:i, s:i, s:i}", "cores", between(d, 2, 8),
                                              "memory_mib", 4096, "free_mib", between(d, 0, 4096)));
    return list;
}

/* What is left out, or said to be unknown. */
static inline void cluster_forget(struct dice *d, json_t *h)
{
    json_t *cpu = json_object_get(h, "cpu"), *memory = json_object_get(h, "memory");
    if (odd(d, 4))
        json_object_set_new(memory, "total_mib", json_null());
    if (odd(d, 3))
        json_object_del(cpu, "cores");
    if (odd(d, 3))
        json_object_del(h, "state");
    if (odd(d, 4))
        json_object_del(h, "networks");
    if (odd(d, 4))
        json_object_del(h, "storage");
    if (odd(d, 10))
        json_object_del(h, "qemu");
    if (odd(d, 10))
        json_object_del(cpu, "model");
    if (odd(d, 20))
        json_object_del(h, "failure_domain");
    if (odd(d, 20))
        json_object_del(h, "migration_mbps");
    if (odd(d, 2)) /* implausible */
        json_object_set_new(memory, "used_mib", json_integer(1 << 20));
}

static inline json_t *cluster_host(struct dice *d, int i)
{
    char name[16], domain[32];
    snprintf(name, sizeof name, "h%d", i);
    snprintf(domain, sizeof domain, "dc%d/r%d", (int)roll(d, 2), (int)roll(d, 2));
    const char *state = !odd(d, 30) ? "up"
                                    : PICK(d, "cordoned", "draining", "maintenance", "quarantine",
                                           "standby", "offline");
    json_t *h = json_pack(
        "{s:s, s:s, s:s, s:{s:i, s:i, s:s}, s:{s:i, s:i}, s:i, s:s}", "name", name, "state", state,
        "failure_domain", domain, "cpu", "cores", between(d, 2, 12), "overcommit", between(d, 1, 3),
        "model", PICK(d, "EPYC", "EPYC-Rome", "EPYC-Milan"), "memory", "total_mib",
        3072 + 1024 * between(d, 0, 10), "reserved_mib", 512 * between(d, 0, 2), "migration_mbps",
        1000 * between(d, 1, 10), "qemu", !odd(d, 10) ? "7.2.1" : "8.0.0");
    json_object_set_new(h, "networks", json_pack("[s]", "br0"));
    if (chance(d, 30))
        json_array_append_new(json_object_get(h, "networks"), json_string("br1"));
    json_object_set_new(h, "storage", cluster_storage(d));
    if (chance(d, 30))
        json_object_set_new(h, "hugepages", cluster_pages(d));
    if (chance(d, 50))
        json_object_set_new(h, "numa", cluster_numa(d));
    if (chance(d, 20))
        json_object_set_new(json_object_get(h, "memory"), "overcommit", json_real(1.5));
    if (chance(d, 20))
        json_object_set_new(json_object_get(h, "cpu"), "usable_models",
                            json_pack("[s, s]", "EPYC", "EPYC-Rome"));
    if (chance(d, 60))
        json_object_set_new(json_object_get(h, "cpu"), "features", json_pack("[s]", "avx2"));
    if (chance(d, 60))
        json_object_set_new(h, "machines", json_pack("[s]", "pc-q35-7.2"));
    if (chance(d, 50))
        json_object_set_new(h, "power",
                            json_pack("{s:b, s:b}", "can_wake", (int)chance(d, 80),
                                      "standby_allowed", (int)chance(d, 80)));
    cluster_forget(d, h);
    return h;
}

static inline void cluster_needs(struct dice *d, json_t *v)
{
    if (odd(d, 25))
        json_object_set_new(v, "cpu_model",
                            json_string(PICK(d, "EPYC", "EPYC-Rome", "host-passthrough")));
    if (odd(d, 8))
        json_object_set_new(v, "cpu_features", json_pack("[s]", "avx2"));
    if (odd(d, 8))
        json_object_set_new(v, "machine", json_string("pc-q35-7.2"));
    if (odd(d, 8))
        json_object_set_new(v, "hugepages_kib", json_integer(chance(d, 80) ? 2048 : 1048576));
    if (odd(d, 8))
        json_object_set_new(v, "numa", json_integer(between(d, 1, 2)));
    if (odd(d, 5))
        json_object_set_new(v, "devices",
                            chance(d, 50)
                                ? json_pack("[s]", "vfio")
                                : json_pack("[{s:s, s:b}]", "type", "usb", "migratable", 1));
    if (odd(d, 3))
        json_object_set_new(v, "blockers", json_pack("[s]", "snapshot"));
    if (odd(d, 5))
        json_object_set_new(
            v, "hold_until",
            json_string(chance(d, 70) ? "2026-11-22T03:00:00Z" : "2026-11-22T01:00:00Z"));
    if (odd(d, 3))
        json_object_set_new(v, chance(d, 50) ? "memory_mib" : "vcpus", json_null());
    if (odd(d, 5))
        json_object_del(v, "cpu_used_cores");
    if (odd(d, 20))
        json_object_del(v, "dirty_mib_s");
}

static inline json_t *cluster_vm(struct dice *d, int i, int n_hosts)
{
    char name[16], uuid[64], host[16];
    snprintf(name, sizeof name, "v%d", i);
    snprintf(uuid, sizeof uuid, "%08d-0000-4000-8000-000000000000", (i * 7919) % 100000);
    snprintf(host, sizeof host, "h%d", (int)roll(d, chance(d, 50) ? 2 : (uint64_t)n_hosts));
    const char *state = !odd(d, 12) ? "running" : PICK(d, "stopped", "paused", "crashed");
    json_t *v = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:i, s:i}", "name", name, "uuid",
                          uuid, "host", host, "state", state, "vcpus", between(d, 1, 3),
                          "memory_mib", 256 * between(d, 1, 8), "cpu_used_cores",
                          (double)roll(d, 20) / 10.0, "dirty_mib_s",
                          (int)roll(d, chance(d, 90) ? 60 : 2000), "priority", (int)roll(d, 3));
    json_object_set_new(v, "networks", json_pack("[s]", !odd(d, 10) ? "br0" : "br1"));
    json_object_set_new(v, "storage", json_pack("[s]", !odd(d, 12) ? "ceph" : "local"));
    json_object_set_new(v, "local_disk_mib", json_integer(odd(d, 12) ? between(d, 1, 1500) : 0));
    json_object_set_new(v, "tags", json_pack("{s:s}", "tier", PICK(d, "gold", "iron")));
    cluster_needs(d, v);
    if (odd(d, 2))
        json_object_del(v, "host");
    if (odd(d, 2))
        json_object_del(v, "state");
    return v;
}

static inline json_t *cluster_names(struct dice *d, const char *prefix, int least, int most,
                                    int among)
{
    json_t *list = json_array();
    for (int n = between(d, least, most); n > 0; n--) {
        char name[16];
        snprintf(name, sizeof name, "%s%d", prefix, (int)roll(d, (uint64_t)among));
        json_array_append_new(list, json_string(name));
    }
    return list;
}

static inline json_t *cluster_rule(struct dice *d, int i, const struct cluster *c)
{
    const char *type = PICK(d, "anti-affinity", "affinity", "run-on", "not-on", "spread",
                            "depends-on", "exclusive", "keep");
    bool keep = strcmp(type, "keep") == 0, depends = strcmp(type, "depends-on") == 0;
    char name[16];
    snprintf(name, sizeof name, "r%d", i);
    json_t *r = json_pack("{s:s, s:s, s:s}", "name", name, "type", type, "enforcement",
                          chance(d, 75) ? "must" : "should");
    if (!keep && !depends && chance(d, 15))
        json_object_set_new(r, "select", json_pack("{s:s}", "tier", "gold"));
    else
        json_object_set_new(r, "vms",
                            cluster_names(d, "v", keep ? 1 : 2, keep ? 1 : 4, c->n_vms + 1));
    if (strcmp(type, "run-on") == 0 || strcmp(type, "not-on") == 0)
        json_object_set_new(r, "hosts", cluster_names(d, "h", 1, 3, c->n_hosts));
    if (strcmp(type, "spread") == 0)
        json_object_set_new(r, "minimum", json_integer(between(d, 1, 3)));
    if (chance(d, 30))
        json_object_set_new(r, "scope", json_string("failure_domain"));
    if (chance(d, 15))
        json_object_set_new(r, "level", json_integer(between(d, 1, 3)));
    return r;
}

/* Moves under way, and room promised. */
static inline void cluster_holds(struct dice *d, struct cluster *c)
{
    c->in_flight = json_array();
    c->reservations = json_array();
    char vm[16], host[16];
    if (chance(d, 15)) {
        snprintf(vm, sizeof vm, "v%d", (int)roll(d, (uint64_t)c->n_vms));
        snprintf(host, sizeof host, "h%d", (int)roll(d, (uint64_t)c->n_hosts));
        json_array_append_new(c->in_flight, json_pack("{s:s, s:s}", "vm", vm, "to", host));
        if (chance(d, 50))
            json_array_append_new(c->reservations,
                                  json_pack("{s:s, s:s, s:i, s:i}", "vm", vm, "host", host,
                                            "memory_mib", 512, "vcpus", 1));
    }
    if (chance(d, 15)) {
        snprintf(host, sizeof host, "h%d", (int)roll(d, (uint64_t)c->n_hosts));
        json_array_append_new(c->reservations,
                              json_pack("{s:s, s:i, s:i}", "host", host, "memory_mib",
                                        between(d, 0, 2048), "vcpus", between(d, 0, 4)));
    }
}

/* A pool holds what is free of it and what its VMs have: else a VM that leaves would make the
 * host's data implausible. */
static inline void cluster_fill_pools(struct cluster *c)
{
    size_t i, k, j;
    json_t *h, *pool, *v;
    json_array_foreach(c->hosts, i, h)
    {
        json_array_foreach(json_object_get(h, "hugepages"), k, pool)
        {
            json_int_t kib = json_integer_value(json_object_get(pool, "size_kib"));
            json_int_t held = json_integer_value(json_object_get(pool, "free"));
            json_array_foreach(c->vms, j, v)
            {
                const char *at = json_string_value(json_object_get(v, "host"));
                if (at != NULL && strcmp(at, json_string_value(json_object_get(h, "name"))) == 0 &&
                    json_integer_value(json_object_get(v, "hugepages_kib")) == kib)
                    held +=
                        (json_integer_value(json_object_get(v, "memory_mib")) * 1024 + kib - 1) /
                        kib;
            }
            if (json_integer_value(json_object_get(pool, "total")) < held)
                json_object_set_new(pool, "total", json_integer(held));
        }
    }
}

static inline void cluster_make(struct dice *d, struct cluster *c)
{
    d->harsh = 10 * (unsigned)(roll(d, 11) * roll(d, 11) / 10);
    *c = (struct cluster){.n_hosts = between(d, 2, 8),
                          .n_vms = between(d, 1, 24),
                          .n_rules = between(d, 0, 5),
                          .hosts = json_array(),
                          .vms = json_array(),
                          .rules = json_array()};
    for (int i = 0; i < c->n_hosts; i++)
        json_array_append_new(c->hosts, cluster_host(d, i));
    for (int i = 0; i < c->n_vms; i++)
        json_array_append_new(c->vms, cluster_vm(d, i, c->n_hosts));
    cluster_fill_pools(c);
    for (int i = 0; i < c->n_rules; i++)
        json_array_append_new(c->rules, cluster_rule(d, i, c));
    c->limits = json_pack("{s:i, s:i, s:i, s:i}", "total", between(d, 1, 5), "inflow_per_host",
                          between(d, 1, 2), "outflow_per_host", between(d, 1, 3), "n_plus",
                          chance(d, 25) ? between(d, 1, 2) : 0);
    cluster_holds(d, c);
}

static inline json_t *cluster_find(const json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
            return o;
    }
    return NULL;
}

static inline int64_t cluster_number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static inline void cluster_add(json_t *o, const char *key, int64_t amount)
{
    if (json_is_number(json_object_get(o, key)))
        json_object_set_new(o, key, json_integer(MAX(cluster_number(o, key) + amount, 0)));
}

static inline void cluster_take_pages(json_t *host, int64_t size_kib, int64_t pages)
{
    size_t i;
    json_t *pool;
    json_array_foreach(json_object_get(host, "hugepages"), i, pool)
    {
        if (cluster_number(pool, "size_kib") == size_kib)
            cluster_add(pool, "free", -pages);
    }
}

/* A copied disk: from the storage of the VM's where the host has that, else from the freest. */
static inline void cluster_take_disk(json_t *host, const char *name, int64_t mib)
{
    size_t i;
    json_t *s, *best = NULL;
    json_array_foreach(json_object_get(host, "storage"), i, s)
    {
        if (!json_is_false(json_object_get(s, "shared")))
            continue;
        if (strcmp(json_string_value(json_object_get(s, "name")), name) == 0) {
            best = s;
            break;
        }
        if (best == NULL || cluster_number(s, "free_mib") > cluster_number(best, "free_mib"))
            best = s;
    }
    if (best != NULL)
        cluster_add(best, "free_mib", -mib);
}

/* Each node that it is spread over is one of the freest. */
static inline void cluster_take_nodes(json_t *host, int64_t nodes, int64_t mib)
{
    for (int64_t k = 0; k < nodes; k++) {
        size_t i;
        json_t *n, *best = NULL;
        json_array_foreach(json_object_get(host, "numa"), i, n)
        {
            if (best == NULL || cluster_number(n, "free_mib") > cluster_number(best, "free_mib"))
                best = n;
        }
        cluster_add(best, "free_mib", -mib / nodes);
    }
}

/* The VM has moved: what it holds is there now. */
static inline void cluster_move(struct cluster *c, const char *vm, const char *from, const char *to)
{
    json_t *v = cluster_find(c->vms, vm), *a = cluster_find(c->hosts, from);
    json_t *b = cluster_find(c->hosts, to);
    int64_t mib = cluster_number(v, "memory_mib"), kib = cluster_number(v, "hugepages_kib");
    if (kib > 0) {
        cluster_take_pages(a, kib, -(mib * 1024 + kib - 1) / kib);
        cluster_take_pages(b, kib, (mib * 1024 + kib - 1) / kib);
    }
    cluster_take_disk(b, json_string_value(json_array_get(json_object_get(v, "storage"), 0)),
                      cluster_number(v, "local_disk_mib"));
    cluster_take_nodes(b, cluster_number(v, "numa"), mib);
    json_object_set_new(v, "host", json_string(to));
}

/* The host is gone, and what ran on it. */
static inline void cluster_lose(struct cluster *c, const char *host)
{
    size_t i;
    json_t *v;
    json_object_set_new(cluster_find(c->hosts, host), "state", json_string("offline"));
    json_array_foreach(c->vms, i, v)
    {
        const char *at = json_string_value(json_object_get(v, "host"));
        if (at != NULL && strcmp(at, host) == 0)
            json_object_set_new(v, "state", json_string("crashed"));
    }
}

static inline json_t *cluster_shuffled(struct dice *d, const json_t *list)
{
    json_t *r = json_array();
    for (size_t i = 0; i < json_array_size(list); i++)
        json_array_insert(r, roll(d, i + 1), json_array_get(list, i));
    return r;
}

/* The snapshot's text, to be freed; order NULL: as made, else shuffled. */
static inline char *cluster_snapshot(const struct cluster *c, struct dice *order)
{
    json_t *doc = json_pack("{s:s, s:s, s:s, s:i}", "schema", "skein.snapshot/1", "cluster", "t",
                            "taken_at", "2026-11-22T01:30:00Z", "seed", 1);

    const struct {
        const char *key;
        json_t *list;
    } parts[] = {{"hosts", c->hosts}, {"vms", c->vms}, {"rules", c->rules}};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        json_object_set_new(doc, parts[i].key,
                            order == NULL ? json_incref(parts[i].list)
                                          : cluster_shuffled(order, parts[i].list));
    json_object_set(doc, "limits", c->limits);
    json_object_set(doc, "in_flight", c->in_flight);
    json_object_set(doc, "reservations", c->reservations);
    char *text = json_dumps(doc, JSON_REAL_PRECISION(12));
    json_decref(doc);
    return text;
}

static inline void cluster_done(struct cluster *c)
{
    json_decref(c->hosts);
    json_decref(c->vms);
    json_decref(c->rules);
    json_decref(c->limits);
    json_decref(c->in_flight);
    json_decref(c->reservations);
}

#endif
