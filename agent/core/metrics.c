#include "agent/core/metrics.h"

#include <stdio.h>

#include "agent/core/api_priv.h"
#include "agent/core/membership.h"
#include "agent/core/plan.h"

#define MIB (1024.0 * 1024.0)

void metrics_family(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_sample(struct buf *b, const char *name, const char *labels, double value)
{
    if (labels != NULL)
        buf_addf(b, "%s{%s} %.15g\n", name, labels, value);
    else
        buf_addf(b, "%s %.15g\n", name, value);
}

void metrics_single(struct buf *b, const char *name, const char *type, const char *help,
                    double value)
{
    metrics_family(b, name, type, help);
    metrics_sample(b, name, NULL, value);
}

/* What is unknown is left out, never 0. */
static void gauge_if(struct buf *b, bool known, const char *name, const char *help, double value)
{
    if (known)
        metrics_single(b, name, "gauge", help, value);
}

/* A label's value: backslash, quote and end of line are escaped. */
static void add_label(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "%s%s=\"", b->len > 0 ? "," : "", key);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\\' || *p == '"')
            buf_addf(b, "\\%c", *p);
        else if (*p == '\n')
            buf_adds(b, "\\n");
        else
            buf_add(b, p, 1);
    }
    buf_adds(b, "\"");
}

/* ---- this host ---- */

struct reading {
    bool known;
    const char *labels;
    double value;
};

static void readings(struct buf *b, const char *name, const char *help, const struct reading *list,
                     size_t n)
{
    bool headed = false;
    for (size_t i = 0; i < n; i++) {
        if (!list[i].known)
            continue;
        if (!headed)
            metrics_family(b, name, "gauge", help);
        headed = true;
        metrics_sample(b, name, list[i].labels, list[i].value);
    }
}

static void temperatures(struct buf *b, const Skein__HostSummary *s)
{
    const struct reading now[] = {
        {s->has_inlet_millicelsius, "sensor=\"inlet\"", s->inlet_millicelsius / 1e3},
        {s->has_outlet_millicelsius, "sensor=\"outlet\"", s->outlet_millicelsius / 1e3},
        {s->has_cpu_millicelsius, "sensor=\"cpu\"", s->cpu_millicelsius / 1e3}};
    const struct reading limits[] = {
        {s->has_inlet_max_millicelsius, "sensor=\"inlet\"", s->inlet_max_millicelsius / 1e3},
        {s->has_cpu_max_millicelsius, "sensor=\"cpu\"", s->cpu_max_millicelsius / 1e3}};
    readings(b, "skein_host_temperature_celsius", "What the sensors say.", now, ARRAY_SIZE(now));
    readings(b, "skein_host_temperature_limit_celsius", "At most this, by the sensors or settings.",
             limits, ARRAY_SIZE(limits));
}

static void pressures(struct buf *b, const Skein__HostSummary *s)
{
    const struct reading list[] = {
        {s->has_pressure_cpu_milli, "resource=\"cpu\"", s->pressure_cpu_milli / 1e5},
        {s->has_pressure_memory_milli, "resource=\"memory\"", s->pressure_memory_milli / 1e5},
        {s->has_pressure_io_milli, "resource=\"io\"", s->pressure_io_milli / 1e5}};
    readings(b, "skein_host_pressure_ratio",
             "Share of the last 10 s in which some task waited for it.", list, ARRAY_SIZE(list));
}

static void own_host(struct buf *b, const struct view_host *host)
{
    const Skein__HostSummary *s = host != NULL ? host->summary : NULL;
    if (s == NULL)
        return;
    gauge_if(b, s->has_hypervisor_ok, "skein_host_hypervisor_up", "1 while the hypervisor answers.",
             s->hypervisor_ok);
    gauge_if(b, s->has_cores, "skein_host_cpu_cores", "Cores of this host.", s->cores);
    gauge_if(b, s->has_used_millicores, "skein_host_cpu_used_cores", "Cores in use.",
             s->used_millicores / 1e3);
    gauge_if(b, s->has_memory_total_mib, "skein_host_memory_total_bytes", "Memory of this host.",
             (double)s->memory_total_mib * MIB);
    gauge_if(b, s->has_memory_used_mib, "skein_host_memory_used_bytes", "Memory in use.",
             (double)s->memory_used_mib * MIB);
    gauge_if(b, s->has_power_milliwatts, "skein_host_power_watts", "Power drawn.",
             s->power_milliwatts / 1e3);
    temperatures(b, s);
    pressures(b, s);
    gauge_if(b, s->has_vms, "skein_host_vms", "VMs that run here.", s->vms);
}

static void host_state(const struct api_context *c, struct buf *b)
{
    static const struct {
        Skein__HostState state;
        const char *labels;
    } states[] = {{SKEIN__HOST_STATE__HOST_UP, "state=\"up\""},
                  {SKEIN__HOST_STATE__HOST_CORDONED, "state=\"cordoned\""},
                  {SKEIN__HOST_STATE__HOST_DRAINING, "state=\"draining\""},
                  {SKEIN__HOST_STATE__HOST_MAINTENANCE, "state=\"maintenance\""},
                  {SKEIN__HOST_STATE__HOST_QUARANTINE, "state=\"quarantine\""},
                  {SKEIN__HOST_STATE__HOST_STANDBY, "state=\"standby\""}};

    Skein__HostState now = c->membership != NULL && membership_cloned(c->membership, c->step->conf)
                               ? SKEIN__HOST_STATE__HOST_QUARANTINE
                               : admin_host_state(state_admin(c->state), c->step->conf->host);
    metrics_family(b, "skein_host_state", "gauge", "1 for the state that this host is in.");
    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        metrics_sample(b, "skein_host_state", states[i].labels, states[i].state == now);
    metrics_single(b, "skein_host_migrations_leaving", "gauge", "Moves that leave this host now.",
                   (double)exec_active(c->exec));
    metrics_single(b, "skein_host_reservations", "gauge",
                   "Moves that arrive, or may, and hold resources.",
                   (double)reserve_count(c->reserve));
}

/* ---- the mesh, the voters' agreement ---- */

static void mesh(const struct api_context *c, struct buf *b)
{
    struct gossip_stats g;
    msec oldest = 0, now = c->step->now.mono;
    if (c->membership == NULL)
        return;
    membership_stats(c->membership, &g);
    for (size_t i = 0; i < view_count(c->view); i++) {
        const struct view_host *h = view_at(c->view, i);
        if (!h->gone && h->summary_mono > 0)
            oldest = MAX(oldest, now - h->summary_mono);
    }
    metrics_single(b, "skein_mesh_members", "gauge", "Hosts that live, this one too.",
                   (double)membership_alive(c->membership));
    metrics_single(b, "skein_mesh_links", "gauge", "Links of this host.", (double)g.links);
    metrics_single(b, "skein_mesh_stalest_member_seconds", "gauge",
                   "Age of what is known of the member heard of longest ago.",
                   (double)oldest / 1e3);
    metrics_single(b, "skein_mesh_summaries_received_total", "counter", "Summaries that were news.",
                   (double)g.summaries);
    metrics_single(b, "skein_mesh_summaries_repeated_total", "counter",
                   "Summaries that were known.", (double)g.repeats);
    metrics_single(b, "skein_mesh_refutations_total", "counter",
                   "Times this host said that it lives.", (double)g.refutations);
    metrics_single(b, "skein_mesh_slowness", "gauge",
                   "Own slowness, 0 to 4: it stretches suspicion.", (double)g.slow);
}

static void raft(const struct api_context *c, struct buf *b)
{
    metrics_single(b, "skein_raft_voter", "gauge", "1 when this host votes.",
                   step_votes(c->step->conf, c->step->conf->host));
    metrics_single(b, "skein_raft_term", "gauge", "Newest term heard of.", (double)c->term);
    metrics_single(b, "skein_raft_applied_index", "gauge", "Newest entry applied.",
                   (double)state_index(c->state));
    metrics_single(b, "skein_planner_known", "gauge", "1 while a planner is known.",
                   c->leader[0] != '\0');
    metrics_single(b, "skein_planner", "gauge", "1 on the host that plans.", api_leads(c));
}

/* ---- plans and moves ---- */

static void plans(const struct api_context *c, struct buf *b)
{
    struct plan *const *list;
    size_t n = state_plans(c->state, &list), helpless = 0;
    size_t counts[SKEIN__PLAN_STATE__PLAN_REJECTED + 1] = {0};
    for (size_t i = 0; i < n; i++) {
        counts[list[i]->state]++;
        helpless += plan_count(list[i], SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR);
    }
    metrics_family(b, "skein_plans", "gauge",
                   "Plans in the replicated state; ended ones are kept "
                   "for a while.");
    for (size_t s = 0; s < ARRAY_SIZE(counts); s++) {
        _cleanup_(buf_done) struct buf labels = {0};
        add_label(&labels, "state", plan_state_name((Skein__PlanState)s));
        metrics_sample(b, "skein_plans", labels.data, (double)counts[s]);
    }
    metrics_single(b, "skein_actions_needing_operator", "gauge",
                   "Actions that people must look at.", (double)helpless);
}

static void histogram(struct buf *b, const char *name, const char *help,
                      const unsigned bounds[TALLY_BUCKETS], const struct histogram *h)
{
    uint64_t sum = 0;
    metrics_family(b, name, "histogram", help);
    for (size_t i = 0; i < TALLY_BUCKETS; i++) {
        sum += h->buckets[i];
        buf_addf(b, "%s_bucket{le=\"%.15g\"} %llu\n", name, bounds[i] / 1e3,
                 (unsigned long long)sum);
    }
    buf_addf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.15g\n%s_count %llu\n", name,
             (unsigned long long)h->count, name, (double)h->sum_ms / 1e3, name,
             (unsigned long long)h->count);
}

static void tallied(struct buf *b, const struct tally *t)
{
    static const unsigned durations[] = TALLY_DURATIONS_MS, downtimes[] = TALLY_DOWNTIMES_MS;
    metrics_family(b, "skein_records_total", "counter",
                   "Audit records of this host since its agent started.");
    for (size_t i = 0; i < t->n; i++) {
        _cleanup_(buf_done) struct buf labels = {0};
        add_label(&labels, "event", t->lines[i].event);
        add_label(&labels, "code", t->lines[i].code);
        metrics_sample(b, "skein_records_total", labels.data, (double)t->lines[i].count);
    }
    histogram(b, "skein_migration_duration_seconds", "Moves that left this host and succeeded.",
              durations, &t->durations);
    histogram(b, "skein_migration_downtime_seconds", "How long their VMs stood still.", downtimes,
              &t->downtimes);
    metrics_single(b, "skein_migration_transferred_bytes_total", "counter", "What they copied.",
                   (double)t->transferred_mib * MIB);
}

/* What `skein status` warns of, one sample each. */
static void health(const struct api_context *c, struct buf *b)
{
    json_t *status = NULL, *alert;
    size_t i;
    if (api_show_status(c, NULL, &status, NULL) < 0)
        return;
    metrics_family(b, "skein_health_alert", "gauge", "1 for each finding of skein status.");
    json_array_foreach(json_object_get(status, "health"), i, alert)
    {
        static const char *const keys[] = {"code", "severity", "about"};
        _cleanup_(buf_done) struct buf labels = {0};
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
            add_label(&labels, keys[k], json_string_value(json_object_get(alert, keys[k])));
        metrics_sample(b, "skein_health_alert", labels.data, 1);
    }
    json_decref(status);
}

void metrics_render(const struct api_context *c, const struct tally *tally, struct buf *ret)
{
    own_host(ret, view_find(c->view, c->step->conf->host));
    host_state(c, ret);
    mesh(c, ret);
    raft(c, ret);
    plans(c, ret);
    tallied(ret, tally);
    health(c, ret);
}
