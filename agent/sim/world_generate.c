/* world_generate.c - a fleet nobody has: ordinary machines, ordinary guests. */
#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"

#define RACK 10     /* hosts */
#define FILLED 0.85 /* of a host's memory may be given to guests */
#define MEMORY_RESERVED 4096

/* Two generations, like the usual mixed fleet. Watts at 0, 10 ... 100 % load follow published
 * SPECpower results in shape: steep at first. */
static const struct generation {
    const char *tag, *model;
    const char *usable[2];
    double cores, memory_mib, idle_watts, full_watts;
} generations[] = {
    {"rome", "EPYC-Rome", {"EPYC", "EPYC-Rome"}, 32, 262144, 95, 340},
    {"milan", "EPYC-Milan", {"EPYC-Rome", "EPYC-Milan"}, 48, 393216, 110, 410},
};

static const struct shape {
    unsigned weight, vcpus;
    unsigned memory_mib;
    double load;  /* of its vCPUs, on average */
    double dirty; /* MiB/s */
    const char *tier;
} shapes[] = {
    {40, 2, 4096, 0.20, 4, "web"},     {30, 4, 8192, 0.25, 12, "app"},
    {15, 8, 32768, 0.35, 60, "db"},    {10, 8, 16384, 0.40, 25, "batch"},
    {5, 16, 65536, 0.30, 90, "cache"},
};

static void set_tag(Skein__Tag ***tags, size_t *n, const char *key, const char *value)
{
    *tags = xcalloc(1, sizeof **tags);
    Skein__Tag *t = (*tags)[(*n)++] = xmalloc(sizeof *t);
    skein__tag__init(t);
    t->key = xstrdup(key);
    t->value = xstrdup(value);
}

static void give_storage(Skein__HostCapability *c)
{
    Skein__Pool *p = xmalloc(sizeof *p);
    skein__pool__init(p);
    p->name = xstrdup("ceph");
    p->has_shared = p->shared = p->has_free_mib = p->has_total_mib = 1;
    p->free_mib = 60u << 20;
    p->total_mib = 100u << 20;
    c->storage = xcalloc(1, sizeof *c->storage);
    c->storage[c->n_storage++] = p;
}

static void give_curve(struct host *h, const struct generation *g)
{
    Skein__HostCapability *c = h->capability;
    c->curve_milliwatts = xcalloc(CURVE_POINTS, sizeof *c->curve_milliwatts);
    c->n_curve_milliwatts = CURVE_POINTS;
    for (size_t i = 0; i < CURVE_POINTS; i++) {
        double load = (double)i / (CURVE_POINTS - 1);
        h->curve_watts[i] =
            g->idle_watts + (g->full_watts - g->idle_watts) * (0.7 * load + 0.3 * sqrt(load));
        c->curve_milliwatts[i] = (uint32_t)lround(h->curve_watts[i] * 1000);
    }
}

static void add_host(struct world *w, size_t number, int digits)
{
    char name[32], domain[64];
    const struct generation *g = &generations[number % ARRAY_SIZE(generations)];
    snprintf(name, sizeof name, "hv%0*zu", digits, number + 1);
    snprintf(domain, sizeof domain, "dc1/room%zu/rack%02zu", number / RACK / 8 + 1,
             number / RACK + 1);
    struct host *h = make_host(w, name);
    Skein__HostCapability *c = h->capability;
    h->cores = g->cores;
    h->memory_mib = g->memory_mib;
    h->reserved_mib = MEMORY_RESERVED;
    give_curve(h, g);
    c->failure_domain = xstrdup(domain);
    set_tag(&c->tags, &c->n_tags, "gen", g->tag);
    c->cpu_model = xstrdup(g->model);
    strings_set(&c->usable_models, &c->n_usable_models, g->usable, ARRAY_SIZE(g->usable));
    strings_set(&c->networks, &c->n_networks, (const char *const[]){"br-vm"}, 1);
    strings_set(&c->machines, &c->n_machines, (const char *const[]){"pc-q35-7.2"}, 1);
    give_storage(c);
    c->arch = xstrdup("x86_64");
    c->qemu = xstrdup("7.2.22");
    c->libvirt = xstrdup("9.0.0");
    c->has_can_wake = c->can_wake = c->has_standby_allowed = c->standby_allowed = 1;
    h->settings->has_memory_reserved_mib = h->settings->has_cpu_overcommit_milli = 1;
    h->settings->has_memory_overcommit_milli = 1;
    h->settings->memory_reserved_mib = MEMORY_RESERVED;
    h->settings->cpu_overcommit_milli = 4000;
    h->settings->memory_overcommit_milli = 1000;
}

static const struct shape *shape_of(double luck)
{
    unsigned sum = 0, weight = 0;
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
        sum += shapes[i].weight;
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        weight += shapes[i].weight;
        if (luck * sum < weight)
            return &shapes[i];
    }
    return &shapes[0];
}

/* Busy by day, busy by night (what is batch), or always the same. */
static void give_habits(struct guest *g, const struct shape *shape, uint64_t luck)
{
    bool batch = strcmp(shape->tier, "batch") == 0;
    bool steady = !batch && mix_unit(luck, 1) < 0.25;
    g->cores = shape->load * shape->vcpus * (0.5 + mix_unit(luck, 2));
    g->swing = steady ? 0 : batch ? 0.9 : 0.5 + 0.4 * mix_unit(luck, 3);
    g->peak = batch ? 2 : 12 + 4 * mix_unit(luck, 4);
    g->used_mib = g->memory_mib * (0.4 + 0.5 * mix_unit(luck, 5));
    g->dirty_mib_s = shape->dirty * (0.5 + mix_unit(luck, 6));
    g->wset_mib = g->used_mib * (0.05 + 0.2 * mix_unit(luck, 7));
}

static void describe(struct guest *g, const struct shape *shape, size_t number)
{
    Skein__VmDetail *d = g->detail;
    d->owner = xasprintf("team%zu", number % 12 + 1);
    d->has_priority = d->has_persistent = d->has_autostart = d->has_vcpus = d->has_memory_mib = 1;
    d->has_local_disk_mib = d->has_max_downtime_ms = 1;
    d->priority = 50;
    d->persistent = d->autostart = 1;
    d->vcpus = shape->vcpus;
    d->memory_mib = shape->memory_mib;
    d->max_downtime_ms = 500;
    set_tag(&d->tags, &d->n_tags, "tier", shape->tier);
    strings_set(&d->storage, &d->n_storage, (const char *const[]){"ceph"}, 1);
    strings_set(&d->networks, &d->n_networks, (const char *const[]){"br-vm"}, 1);
    d->machine = xstrdup("pc-q35-7.2");
    d->arch = xstrdup("x86_64");
    d->cpu_model = xstrdup("EPYC-Rome");
}

static bool has_room(const struct host *h, const struct shape *shape)
{
    return host_memory_taken(h) + shape->memory_mib <= FILLED * (h->memory_mib - h->reserved_mib);
}

static int add_guest(struct world *w, size_t number, struct err *err)
{
    uint64_t luck = mix(w->conf.seed, number + 1);
    char uuid[UUID_SIZE], name[32];
    uint64_t halves[2] = {mix(luck, 8), mix(luck, 9)};
    const struct shape *shape = shape_of(mix_unit(luck, 10));
    size_t at = (size_t)(mix(luck, 11) % w->n_hosts), tried = 0;
    while (tried < w->n_hosts && !has_room(w->hosts[at], shape)) {
        at = (at + 1) % w->n_hosts;
        if (++tried == w->n_hosts && shape != &shapes[0]) { /* perhaps a small one */
            shape = &shapes[0];
            tried = 0;
        }
    }
    if (tried == w->n_hosts)
        return err_set(err, ERR_CAPACITY, "%zu hosts have no room for more than %zu guests",
                       w->n_hosts, number);
    uuid_from_random((const uint8_t *)halves, uuid);
    snprintf(name, sizeof name, "%s%zu", shape->tier, number + 1);
    struct guest *g = make_guest(w, w->hosts[at], uuid, name, SKEIN__VM_STATE__VM_RUNNING);
    domain_find(w->hosts[at], uuid)->persistent = true;
    g->vcpus = shape->vcpus;
    g->memory_mib = shape->memory_mib;
    describe(g, shape, number);
    give_habits(g, shape, luck);
    return 0;
}

int world_generate(const struct world_conf *conf, size_t hosts, size_t guests, struct world **ret,
                   struct err *err)
{
    int rc = 0, digits = 1;
    if (hosts == 0 || hosts > WORLD_HOSTS_MAX || guests > WORLD_GUESTS_MAX)
        return err_set(err, ERR_LIMIT, "1 to %d hosts and at most %d guests are possible",
                       WORLD_HOSTS_MAX, WORLD_GUESTS_MAX);
    for (size_t n = hosts; n >= 10; n /= 10)
        digits++;
    struct world *w = make_world(conf);
    for (size_t i = 0; i < hosts; i++)
        add_host(w, i, digits);
    for (size_t i = 0; rc == 0 && i < guests; i++)
        rc = add_guest(w, i, err);
    if (rc < 0) {
        world_free(w);
        return rc;
    }
    make_finish(w);
    *ret = w;
    return 0;
}
