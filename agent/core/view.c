#include "agent/core/view.h"

#include "agent/core/history.h"
#include "planner/core/profile.h"
#include "proto/codec.h"

/* Temperatures of machines that work, in thousandths of a degree: a sensor that says 0, -3, 150 or
 * 900 is broken or not connected. */
#define TEMPERATURE_ABOVE 0
#define TEMPERATURE_BELOW 150000
#define TREND_LIMIT 100000 /* per minute; beyond it a sensor jumps, no machine heats */

/* A life that is older by its clock is believed when the newer one has been silent for this long:
 * a host whose clock was set back and that was then restarted must not be ignored for ever. Links
 * do not hold messages back this long. */
#define VIEW_FORGET 30000

/* The trend is over the last minutes: long enough to see past a fan's or a job's jitter, and over
 * more where the world's time passes so fast that they hold too few samples. One sample in 3 s, so
 * that the ring holds the whole time however often summaries come. */
#define TREND_WINDOW 180000
#define TREND_SPACING 3000
#define TREND_SAMPLES (TREND_WINDOW / TREND_SPACING)
#define TREND_SPAN_MIN 30000
#define TREND_SAMPLES_MIN 5

/* The fleet's load is looked at once a minute of the world's time, over what was heard of hosts
 * this lately; not in the first minutes of a life, in which some were not heard of yet. */
#define LOAD_EVERY 60000
#define LOAD_FRESH 60000
#define LOAD_AFTER 120000

struct sample {
    msec mono;
    msec
        world; /* as much of the hypervisors' time as passed since some moment: no clock is asked */
    int64_t millicelsius;
};

/* Which of two messages of a host is newer. */
struct stamp {
    uint64_t incarnation, sequence;
    msec mono; /* when it arrived here; 0: never */
};

struct entry {
    struct view_host host;
    char *name;                        /* owned */
    char *domain;                      /* owned; NULL: none */
    Skein__HostSummary *summary;       /* owned; NULL: none */
    Skein__HostCapability *capability; /* owned; NULL: none */
    Skein__HostDetail *detail;         /* owned: the VMs are its; NULL: none */
    struct stamp summary_stamp, detail_stamp;
    struct sample samples[TREND_SAMPLES]; /* ring, newest at n_samples - 1 (mod) */
    size_t n_samples;
};

struct view {
    struct entry **entries; /* sorted by name */
    size_t n, cap;
    struct history *history;
    struct profile profile; /* of the whole fleet's load */
    msec first_mono;        /* when something was first heard; 0: nothing yet */
    msec load_world;        /* when the load was last looked at */
};

struct view *view_new(void)
{
    struct view *view = xcalloc(1, sizeof *view);
    view->history = history_new();
    profile_init(&view->profile);
    return view;
}

static void entry_free(struct entry *e)
{
    if (e->summary != NULL)
        skein__host_summary__free_unpacked(e->summary, NULL);
    if (e->capability != NULL)
        skein__host_capability__free_unpacked(e->capability, NULL);
    if (e->detail != NULL)
        skein__host_detail__free_unpacked(e->detail, NULL);
    free(e->name);
    free(e->domain);
    free(e);
}

void view_free(struct view *view)
{
    if (view == NULL)
        return;
    for (size_t i = 0; i < view->n; i++)
        entry_free(view->entries[i]);
    history_free(view->history);
    free(view->entries);
    free(view);
}

/* Where name is, or where it would stand. */
static size_t entry_place(const struct view *view, const char *name, bool *ret_found)
{
    size_t lo = 0, hi = view->n;
    *ret_found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(view->entries[mid]->name, name);
        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct entry *entry_get(struct view *view, const char *name)
{
    bool found;
    size_t at = entry_place(view, name, &found);
    if (found)
        return view->entries[at];
    ARRAY_RESERVE(view->entries, view->cap, view->n + 1);
    memmove(&view->entries[at + 1], &view->entries[at], (view->n - at) * sizeof *view->entries);
    view->n++;
    struct entry *e = view->entries[at] = xcalloc(1, sizeof *e);
    e->name = xstrdup(name);
    e->host.name = e->name;
    return e;
}

static bool name_is_usable(const char *name)
{
    return name != NULL && name[0] != '\0';
}

/* Is a message of this stamp newer than what is there? */
static bool stamp_advance(struct stamp *have, uint64_t incarnation, uint64_t sequence,
                          struct moment now, bool own)
{
    bool newer = incarnation > have->incarnation ||
                 (incarnation == have->incarnation && sequence > have->sequence);
    bool forgotten = incarnation != have->incarnation && now.mono - have->mono > VIEW_FORGET;
    if (have->mono != 0 && !newer && !forgotten && !own)
        return false;
    *have = (struct stamp){incarnation, sequence, MAX(now.mono, (msec)1)};
    return true;
}

static void keep_plausible(protobuf_c_boolean *has, int32_t value)
{
    if (value <= TEMPERATURE_ABOVE || value >= TEMPERATURE_BELOW)
        *has = 0;
}

static void summary_sanitize(Skein__HostSummary *s)
{
    keep_plausible(&s->has_inlet_millicelsius, s->inlet_millicelsius);
    keep_plausible(&s->has_inlet_max_millicelsius, s->inlet_max_millicelsius);
    keep_plausible(&s->has_outlet_millicelsius, s->outlet_millicelsius);
    keep_plausible(&s->has_cpu_millicelsius, s->cpu_millicelsius);
    keep_plausible(&s->has_cpu_max_millicelsius, s->cpu_max_millicelsius);
    if (s->trend_millicelsius_per_min > TREND_LIMIT || s->trend_millicelsius_per_min < -TREND_LIMIT)
        s->has_trend_millicelsius_per_min = 0;
}

/* The processor's temperature, which follows the guests; else the inlet's. */
static bool summary_temperature(const Skein__HostSummary *s, int64_t *ret_millicelsius)
{
    if (s->has_cpu_millicelsius)
        *ret_millicelsius = s->cpu_millicelsius;
    else if (s->has_inlet_millicelsius)
        *ret_millicelsius = s->inlet_millicelsius;
    else
        return false;
    return true;
}

static struct sample *newest_sample(struct entry *e)
{
    return &e->samples[(e->n_samples - 1) % TREND_SAMPLES];
}

static msec world_after(const struct sample *s, struct moment now)
{
    return s->world + hv_clock_span(&now.clock, now.mono - s->mono);
}

static void trend_add(struct entry *e, const Skein__HostSummary *s, struct moment now)
{
    int64_t millicelsius;
    if (!summary_temperature(s, &millicelsius)) {
        e->n_samples = 0; /* a sensor that comes back may be another one */
        return;
    }
    msec world = 0;
    if (e->n_samples > 0) {
        msec since = now.mono - newest_sample(e)->mono;
        if (since < TREND_SPACING)
            return;
        world = world_after(newest_sample(e), now);
        if (since > TREND_WINDOW)
            e->n_samples = 0;
    }
    e->samples[e->n_samples++ % TREND_SAMPLES] = (struct sample){now.mono, world, millicelsius};
}

/* Slope of the least-squares line through the samples of the window, in thousandths of a degree a
 * minute. Integers: times in ms from the newest. */
static bool trend_slope(struct entry *e, struct moment now, int64_t *ret_millicelsius_per_min)
{
    int64_t n = 0, span = 0;
    __int128 sum_t = 0, sum_c = 0, sum_tt = 0, sum_tc = 0;
    size_t have = MIN(e->n_samples, (size_t)TREND_SAMPLES);
    msec world = have > 0 ? world_after(newest_sample(e), now) : 0;
    for (size_t i = 0; i < have; i++) {
        const struct sample *x = &e->samples[(e->n_samples - 1 - i) % TREND_SAMPLES];
        int64_t t = x->world - world;
        if (t < -TREND_WINDOW && (n >= TREND_SAMPLES_MIN || now.mono - x->mono > TREND_WINDOW))
            break;
        n++;
        sum_t += t;
        sum_c += x->millicelsius;
        sum_tt += (__int128)t * t;
        sum_tc += (__int128)t * x->millicelsius;
        span = -t;
    }
    __int128 below = n * sum_tt - sum_t * sum_t;
    if (n < TREND_SAMPLES_MIN || span < TREND_SPAN_MIN || below <= 0)
        return false;
    *ret_millicelsius_per_min = (int64_t)((n * sum_tc - sum_t * sum_c) * 60000 / below);
    return true;
}

/* What all hosts together use, in millicores; unknown where one of them does not say. Hosts that
 * nothing was heard of lately are taken for off. */
static milli fleet_load(const struct view *view, struct moment now)
{
    milli sum = QUANTITY_UNKNOWN;
    for (size_t i = 0; i < view->n; i++) {
        const struct view_host *h = &view->entries[i]->host;
        if (h->summary == NULL || h->gone || now.mono - h->summary_mono > LOAD_FRESH ||
            (h->summary->has_state && h->summary->state == SKEIN__HOST_STATE__HOST_STANDBY))
            continue;
        if (!h->summary->has_used_millicores)
            return QUANTITY_UNKNOWN;
        sum = sat_add(MAX(sum, (milli)0), h->summary->used_millicores);
    }
    return sum;
}

static void load_look(struct view *view, struct moment now)
{
    msec world = moment_world(&now);
    if (view->first_mono == 0)
        view->first_mono = now.mono;
    if (now.mono - view->first_mono < LOAD_AFTER ||
        (world < view->load_world + LOAD_EVERY && world >= view->load_world))
        return;
    view->load_world = world;
    profile_add(&view->profile, fleet_load(view, now), world);
}

static void summary_take(struct view *view, struct entry *e, const Skein__HostSummary *summary,
                         struct moment now, bool own)
{
    if (!stamp_advance(&e->summary_stamp, summary->incarnation, summary->sequence, now, own))
        return;
    Skein__HostSummary *copy = (Skein__HostSummary *)codec_copy(&summary->base);
    summary_sanitize(copy);
    trend_add(e, copy, now);
    history_host(view->history, copy, moment_world(&now));
    int64_t slope;
    if (!copy->has_trend_millicelsius_per_min && trend_slope(e, now, &slope) &&
        slope >= -TREND_LIMIT && slope <= TREND_LIMIT) {
        copy->has_trend_millicelsius_per_min = 1;
        copy->trend_millicelsius_per_min = (int32_t)slope;
    }
    if (e->summary != NULL)
        skein__host_summary__free_unpacked(e->summary, NULL);
    e->host.summary = e->summary = copy;
    e->host.summary_mono = e->summary_stamp.mono;
    load_look(view, now);
}

static void capability_take(struct entry *e, const Skein__HostCapability *capability,
                            struct moment now)
{
    Skein__HostCapability *copy = (Skein__HostCapability *)codec_copy(&capability->base);
    if (e->capability != NULL)
        skein__host_capability__free_unpacked(e->capability, NULL);
    e->host.capability = e->capability = copy;
    e->host.capability_mono = MAX(now.mono, (msec)1);
}

void view_summary(struct view *view, const Skein__HostSummary *summary, struct moment now, msec age)
{
    struct moment then = {
        .mono = MAX(now.mono - age, (msec)1), .wall = now.wall - age, .clock = now.clock};
    if (name_is_usable(summary->host))
        summary_take(view, entry_get(view, summary->host), summary, then, false);
}

void view_capability(struct view *view, const Skein__HostCapability *capability, struct moment now)
{
    if (name_is_usable(capability->host))
        capability_take(entry_get(view, capability->host), capability, now);
}

void view_detail(struct view *view, const Skein__HostDetail *detail, struct moment now, bool own)
{
    const Skein__HostSummary *summary = detail->summary;
    if (summary == NULL || !name_is_usable(summary->host))
        return;
    struct entry *e = entry_get(view, summary->host);
    summary_take(view, e, summary, now, own);
    if (!stamp_advance(&e->detail_stamp, summary->incarnation, summary->sequence, now, own))
        return;
    if (detail->capability != NULL)
        capability_take(e, detail->capability, now);
    if (e->detail != NULL)
        skein__host_detail__free_unpacked(e->detail, NULL);
    e->detail = (Skein__HostDetail *)codec_copy(&detail->base);
    e->host.vms = e->detail->vms;
    e->host.n_vms = e->detail->n_vms;
    e->host.detail_mono = e->detail_stamp.mono;
    for (size_t i = 0; i < e->host.n_vms; i++) {
        const Skein__VmDetail *vm = e->host.vms[i];
        bool runs = vm->has_state && vm->state == SKEIN__VM_STATE__VM_RUNNING;
        if (runs && vm->uuid != NULL && vm->has_cpu_used_millicores)
            history_vm(view->history, vm->uuid, vm->cpu_used_millicores, moment_world(&now));
    }
}

void view_peer(struct view *view, const char *host, bool up, struct moment now)
{
    struct entry *e = entry_get(view, host);
    if (e->host.linked == up && e->host.link_changed_mono != 0)
        return;
    e->host.linked = up;
    e->host.link_changed_mono = MAX(now.mono, (msec)1);
}

json_t *view_history(const struct view *view, struct moment now)
{
    json_t *all = history_json(view->history, moment_world(&now));
    json_t *week = profile_json(&view->profile);
    if (week != NULL)
        json_object_set_new(all, "week", week);
    return all;
}

json_t *view_week(const struct view *view, int64_t *seen)
{
    if (view->profile.slot == *seen)
        return NULL;
    *seen = view->profile.slot;
    return profile_json(&view->profile);
}

void view_week_take(struct view *view, const json_t *week)
{
    profile_take(&view->profile, week);
}

void view_member(struct view *view, const char *host, const struct view_member *member)
{
    struct entry *e = entry_get(view, host);
    e->host.member = true;
    e->host.gone = member->gone;
    e->host.suspected = member->suspected;
    e->host.cloned = member->cloned;
    free(e->domain);
    bool has = member->failure_domain != NULL && member->failure_domain[0] != '\0';
    e->host.failure_domain = e->domain = has ? xstrdup(member->failure_domain) : NULL;
}

bool view_reachable(const struct view_host *host)
{
    return host->linked || (host->member && !host->gone && !host->suspected);
}

size_t view_count(const struct view *view)
{
    return view->n;
}

const struct view_host *view_at(const struct view *view, size_t i)
{
    REQUIRE(i < view->n);
    return &view->entries[i]->host;
}

const struct view_host *view_find(const struct view *view, const char *host)
{
    bool found;
    size_t at = entry_place(view, host, &found);
    return found ? &view->entries[at]->host : NULL;
}

/* How much a copy in this state counts; 0: not at all. */
static int state_weight(const Skein__VmDetail *vm)
{
    if (!vm->has_state)
        return 1;
    switch (vm->state) {
    case SKEIN__VM_STATE__VM_RUNNING:
        return 5;
    case SKEIN__VM_STATE__VM_PAUSED:
        return 4;
    case SKEIN__VM_STATE__VM_CRASHED:
        return 3;
    case SKEIN__VM_STATE__VM_STOPPED:
        return 2;
    case SKEIN__VM_STATE__VM_INCOMING:
    case _SKEIN__VM_STATE_IS_INT_SIZE:
        break;
    }
    return 0;
}

bool view_counts(const Skein__VmDetail *vm)
{
    return state_weight(vm) > 0;
}

bool view_prefers(const Skein__VmDetail *a, const struct view_host *a_host,
                  const Skein__VmDetail *b, const struct view_host *b_host)
{
    int gain = state_weight(a) - state_weight(b);
    return gain > 0 || (gain == 0 && a_host->detail_mono > b_host->detail_mono);
}

const Skein__VmDetail *view_vm(const struct view *view, const char *uuid,
                               const struct view_host **ret_host)
{
    const Skein__VmDetail *best = NULL;
    const struct view_host *where = NULL;
    for (size_t i = 0; i < view->n; i++) {
        const struct view_host *host = &view->entries[i]->host;
        for (size_t k = 0; k < host->n_vms; k++) {
            const Skein__VmDetail *vm = host->vms[k];
            if (vm->uuid == NULL || strcmp(vm->uuid, uuid) != 0 || !view_counts(vm))
                continue;
            if (best == NULL || view_prefers(vm, host, best, where)) {
                best = vm;
                where = host;
            }
        }
    }
    if (ret_host != NULL)
        *ret_host = where;
    return best;
}

bool view_fresh(const struct view_host *host, struct moment now, msec max_age)
{
    msec newest = MAX(host->summary_mono, host->detail_mono);
    return newest != 0 && now.mono - newest <= max_age;
}
