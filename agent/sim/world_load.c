/* world_load.c - what guests ask of their hosts' processors, and what they get. */
#include <math.h>

#include "agent/sim/world_priv.h"

#define NOISE 0.05     /* use varies by this much ... */
#define NOISE_MS 60000 /* ... from minute to minute */
#define HOURS 24.0

/* Stafford's mix 13 of the splitmix64 generator. */
uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u + b + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double mix_unit(uint64_t a, uint64_t b)
{
    return (double)(mix(a, b) >> 11) * 0x1p-53;
}

static double daily(const struct guest *g, msec wall)
{
    double hour = fmod((double)wall / 3600000, HOURS);
    return 1 + g->swing * cos((hour - g->peak) / HOURS * 2 * M_PI);
}

static double wanted(const struct world *w, const struct guest *g)
{
    msec wall = world_wall(w);
    if (g->held >= 0)
        return g->held;
    if (g->trace != NULL)
        return g->trace[(size_t)(w->now / g->trace_period) % g->n_trace] * g->vcpus / 100.0;
    if (g->swing <= 0)
        return g->cores;
    uint64_t who = mix(w->conf.seed, (uint64_t)(uintptr_t)strtoull(g->uuid, NULL, 16));
    double noise = 1 + NOISE * (2 * mix_unit(who, (uint64_t)(wall / NOISE_MS)) - 1);
    return g->cores * daily(g, wall) * noise;
}

static double throttled(const struct domain *d)
{
    return d->job != NULL && d->job->source == d ? 1 - d->job->throttle : 1;
}

/* A host that is asked for more than it has gives to all alike. */
static void reckon_host(const struct world *w, struct host *h)
{
    h->demand = 0;
    for (size_t i = 0; i < h->n_domains; i++) {
        struct domain *d = h->domains[i];
        struct guest *g = d->guest;
        if (d->state != SKEIN__VM_STATE__VM_RUNNING)
            continue;
        g->demand = MIN(wanted(w, g), (double)g->vcpus) * throttled(d);
        h->demand += g->demand;
    }
    double share = h->demand > h->cores ? h->cores / h->demand : 1;
    h->used = 0;
    for (size_t i = 0; i < h->n_domains; i++) {
        struct guest *g = h->domains[i]->guest;
        if (h->domains[i]->state != SKEIN__VM_STATE__VM_RUNNING)
            continue;
        g->used = g->demand * share;
        h->used += g->used;
    }
}

void load_reckon(struct world *w)
{
    for (size_t i = 0; i < w->n_hosts; i++)
        reckon_host(w, w->hosts[i]);
}
