#include "agent/core/news.h"

#include <string.h>

#include "proto/codec.h"
#include "proto/util.h"

#define URGENT_EVERY 1000 /* a host that flutters is paced */

/* A planner hears of every host at least this often, times the cluster's size in DETAIL_HOSTS: some
 * twenty a second, whose links it does not need to keep. */
#define DETAIL_EVERY 15000
#define DETAIL_HOSTS 300

/* Changes that are another load, not noise: of a host, shares of what it has. */
#define LOAD_PERCENT 25
#define MEMORY_PERCENT 10
#define HEAT_MILLICELSIUS 5000

/* Of a VM. */
#define VM_CPU_PERCENT 10 /* of its vCPUs */
#define VM_MEMORY_PERCENT 5
#define VM_DIRTY_PERCENT 25
#define VM_DIRTY_MILLI_MIB 5000 /* less is nothing beside any link's bandwidth */

static bool differs(uint64_t a, uint64_t b, uint64_t by)
{
    return (a > b ? a - b : b - a) > by;
}

static bool text_differs(const char *a, const char *b)
{
    return (a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0);
}

/* Past its limit on one side of the change alone, or far from where it was. */
static bool heat_differs(bool has, int32_t was, int32_t is, bool has_max, int32_t max)
{
    if (!has)
        return false;
    bool crossed = has_max && (was >= max) != (is >= max);
    return crossed || is - was > HEAT_MILLICELSIUS || was - is > HEAT_MILLICELSIUS;
}

static bool heat_is_news(const Skein__HostSummary *a, const Skein__HostSummary *b)
{
    return heat_differs(a->has_cpu_millicelsius && b->has_cpu_millicelsius, a->cpu_millicelsius,
                        b->cpu_millicelsius, b->has_cpu_max_millicelsius,
                        b->cpu_max_millicelsius) ||
           heat_differs(a->has_inlet_millicelsius && b->has_inlet_millicelsius,
                        a->inlet_millicelsius, b->inlet_millicelsius, b->has_inlet_max_millicelsius,
                        b->inlet_max_millicelsius);
}

static bool state_is_news(const Skein__HostSummary *a, const Skein__HostSummary *b)
{
    return a->state != b->state || a->hypervisor_ok != b->hypervisor_ok || a->term != b->term ||
           a->in_flight != b->in_flight || a->incarnation != b->incarnation ||
           a->has_used_millicores != b->has_used_millicores || text_differs(a->planner, b->planner);
}

static bool load_is_news(const Skein__HostSummary *a, const Skein__HostSummary *b)
{
    uint64_t cores = (uint64_t)b->cores * 1000;
    return a->vms != b->vms ||
           differs(a->used_millicores, b->used_millicores, cores * LOAD_PERCENT / 100) ||
           differs(a->memory_used_mib, b->memory_used_mib,
                   b->memory_total_mib * MEMORY_PERCENT / 100);
}

bool news_is_important(const struct news *n, const Skein__HostSummary *summary, msec now)
{
    if (n->told == NULL)
        return true;
    if (n->urgent_at != 0 && now - n->urgent_at < URGENT_EVERY)
        return false;
    return state_is_news(n->told, summary) || load_is_news(n->told, summary) ||
           heat_is_news(n->told, summary);
}

void news_told(struct news *n, const Skein__HostSummary *summary, bool urgent, msec now)
{
    if (n->told != NULL)
        skein__host_summary__free_unpacked(n->told, NULL);
    n->told = (Skein__HostSummary *)codec_copy(&summary->base);
    if (urgent)
        n->urgent_at = now;
}

/* ---- detail ---- */

static bool usage_differs(const Skein__VmDetail *a, const Skein__VmDetail *b)
{
    return a->has_cpu_used_millicores != b->has_cpu_used_millicores ||
           differs(a->cpu_used_millicores, b->cpu_used_millicores,
                   (uint64_t)b->vcpus * 1000 * VM_CPU_PERCENT / 100) ||
           differs(a->memory_used_mib, b->memory_used_mib,
                   b->memory_mib * VM_MEMORY_PERCENT / 100) ||
           differs(a->wset_mib, b->wset_mib, b->memory_mib * VM_MEMORY_PERCENT / 100) ||
           differs(a->dirty_milli_mib_s, b->dirty_milli_mib_s,
                   MAX((uint64_t)b->dirty_milli_mib_s * VM_DIRTY_PERCENT / 100,
                       (uint64_t)VM_DIRTY_MILLI_MIB));
}

/* All but the usage. */
static bool settings_differ(const Skein__VmDetail *a, const Skein__VmDetail *b)
{
    Skein__VmDetail x = *a, y = *b; /* shallow: compared at once, never freed */
    x.has_cpu_used_millicores = y.has_cpu_used_millicores = 0;
    x.has_memory_used_mib = y.has_memory_used_mib = 0;
    x.has_dirty_milli_mib_s = y.has_dirty_milli_mib_s = 0;
    x.has_wset_mib = y.has_wset_mib = 0;
    return !codec_equal(&x.base, &y.base);
}

static bool detail_differs(const Skein__HostDetail *a, const Skein__HostDetail *b)
{
    if (a->n_vms != b->n_vms || state_is_news(a->summary, b->summary) ||
        heat_is_news(a->summary, b->summary) || load_is_news(a->summary, b->summary))
        return true;
    for (size_t i = 0; i < a->n_vms; i++)
        if (usage_differs(a->vms[i], b->vms[i]) || settings_differ(a->vms[i], b->vms[i]))
            return true;
    return false;
}

static msec detail_every(size_t members)
{
    return MAX((msec)DETAIL_EVERY, (msec)DETAIL_EVERY * (msec)members / DETAIL_HOSTS);
}

bool news_detail_is_due(struct news *n, const Skein__HostDetail *detail, const char *planner,
                        size_t members, msec now)
{
    bool due = n->detail == NULL || text_differs(n->planner, planner) ||
               now - n->detail_at >= detail_every(members) || detail_differs(n->detail, detail);
    if (!due)
        return false;
    if (n->detail != NULL)
        skein__host_detail__free_unpacked(n->detail, NULL);
    free(n->planner);
    n->detail = (Skein__HostDetail *)codec_copy(&detail->base);
    n->planner = xstrdup(planner);
    n->detail_at = now;
    return true;
}

void news_done(struct news *n)
{
    if (n->told != NULL)
        skein__host_summary__free_unpacked(n->told, NULL);
    if (n->detail != NULL)
        skein__host_detail__free_unpacked(n->detail, NULL);
    free(n->planner);
}
