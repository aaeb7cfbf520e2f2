/* world_heat.c - power drawn, and the heat that it makes.
 *
 * Two first-order lags a host. Air at the inlet is the room's, plus what the rack's neighbours blow
 * back (the heat recirculation matrix of Tang et al., IEEE Cluster 2006, of which only the terms of
 * the host itself and of those beside it are kept). The processor stands above the inlet by its
 * power times the resistance of heat sink and fan. */
#include <math.h>

#include "agent/sim/world_priv.h"

#define STANDBY_WATTS 4.0
#define BLOWN_BACK_OWN 0.002       /* degrees at the inlet for each watt: its own ... */
#define BLOWN_BACK_NEIGHBOUR 0.003 /* ... and from each neighbour */
#define INLET_LAG 3.0              /* air and racks follow slower than the processor */

double host_power_at(const struct host *h, double used_cores)
{
    double load = used_cores / h->cores * (CURVE_POINTS - 1);
    load = MIN(MAX(load, 0), (double)(CURVE_POINTS - 1));
    size_t at = MIN((size_t)load, (size_t)CURVE_POINTS - 2);
    double part = load - (double)at;
    return h->curve_watts[at] * (1 - part) + h->curve_watts[at + 1] * part;
}

static double power_now(const struct host *h)
{
    switch (h->power) {
    case POWER_ON:
        return host_power_at(h, h->used);
    case POWER_BOOTING:
        return host_power_at(h, h->cores / 2);
    case POWER_STANDBY:
        return STANDBY_WATTS;
    case POWER_OFF:
        break;
    }
    return 0;
}

/* The next one up or down in the same rack, or NULL. */
static const struct host *beside(const struct world *w, const struct host *h, size_t rank)
{
    return rank < w->n_hosts && w->by_rack[rank]->rack == h->rack ? w->by_rack[rank] : NULL;
}

double heat_blown_back(const struct world *w, const struct host *h)
{
    double celsius = h->watts * BLOWN_BACK_OWN;
    const struct host *const others[] = {beside(w, h, h->rank - 1), beside(w, h, h->rank + 1)};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        celsius += others[i] != NULL ? others[i]->watts * BLOWN_BACK_NEIGHBOUR : 0;
    return celsius;
}

double heat_inlet_target(const struct world *w, const struct host *h)
{
    return h->room + h->inlet_add + heat_blown_back(w, h);
}

void heat_pass(struct world *w, double seconds)
{
    double cpu_part = 1 - exp(-seconds / w->conf.heat_seconds);
    double inlet_part = 1 - exp(-seconds / (w->conf.heat_seconds * INLET_LAG));
    for (size_t i = 0; i < w->n_hosts; i++) {
        w->hosts[i]->watts = power_now(w->hosts[i]);
        w->hosts[i]->joules += w->hosts[i]->watts * seconds;
    }
    for (size_t i = 0; i < w->n_hosts; i++) {
        struct host *h = w->hosts[i];
        h->inlet += (heat_inlet_target(w, h) - h->inlet) * inlet_part;
        double rise = h->watts * h->celsius_per_watt / h->fan;
        h->cpu += (h->inlet + h->cpu_add + rise - h->cpu) * cpu_part;
    }
}

double celsius_shown(double now, double held)
{
    return isnan(held) ? now : held;
}
