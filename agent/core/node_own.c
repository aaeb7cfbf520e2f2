/* node_own.c - this host: observed, completed, told. */
#include "agent/core/node_priv.h"
#include "proto/codec.h"

#define LOOK_EVERY_MS 1000 /* what this host does is looked at so often: is it important? */
#define CLOCK_SLACK_MS 500 /* real time */

static uint64_t capability_digest(const Skein__HostCapability *capability)
{
    size_t len;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&capability->base, &len);
    uint8_t hash[HASH_SIZE];
    hash_domain("skein.capability/1", bytes, len, hash);
    uint64_t digest;
    memcpy(&digest, hash, sizeof digest);
    return digest;
}

static void complete_clock(const struct node *node, const struct step *s,
                           Skein__HostSummary *summary)
{
    msec apart;
    summary->has_told_at_ms = 1;
    summary->told_at_ms = (uint64_t)s->now.wall;
    summary->has_clock_offset_ms = skew_known(&node->skew, node->leader, &apart);
    if (summary->has_clock_offset_ms)
        summary->clock_offset_ms = (int32_t)MAX(MIN(apart, (msec)INT32_MAX), (msec)INT32_MIN);
}

static void complete_summary(struct node *node, struct step *s, Skein__HostSummary *summary)
{
    complete_clock(node, s, summary);
    summary->has_incarnation = 1;
    summary->incarnation = membership_incarnation(node->membership, s->conf);
    summary->has_sequence = 1;
    summary->sequence = ++node->sequence;
    summary->has_state = 1;
    summary->state =
        membership_cloned(node->membership, s->conf) ? SKEIN__HOST_STATE__HOST_QUARANTINE
        : exec_is_sleeping(node->exec)               ? SKEIN__HOST_STATE__HOST_STANDBY
                                       : admin_host_state(state_admin(node->state), s->conf->host);
    summary->has_in_flight = 1;
    summary->in_flight = (uint32_t)(exec_active(node->exec) + reserve_count(node->reserve));
    summary->has_hypervisor_ok = 1;
    summary->hypervisor_ok = node->hypervisor_ok;
    if (!summary->has_observed_at_ms) {
        summary->has_observed_at_ms = 1;
        summary->observed_at_ms = (uint64_t)s->now.wall;
    }
    summary->has_voters = s->conf->group.number != 0;
    summary->voters = s->conf->begins ? 0 : s->conf->group.number;
    if (node->leader[0] != '\0' && summary->planner == NULL) {
        summary->planner = xstrdup(node->leader);
        summary->has_term = 1;
        summary->term = node->term;
    }
}

/* An answer says the world's time a little late, by what it took to come. A clock that wavers would
 * be worse than one that is a little off: the first is kept as long as it agrees. */
static void follow_clock(struct node *node, const struct hv_clock *seen)
{
    struct hv_clock *clock = &node->clock;
    int64_t off = sat_sub(hv_clock_at(clock, seen->wall), seen->world);
    int64_t slack = hv_clock_span(seen, CLOCK_SLACK_MS);
    if (clock->speed_milli != seen->speed_milli || off > slack || off < -slack)
        *clock = *seen;
}

void node_own_observed(struct node *node, struct step *s, const struct hv_result *result)
{
    node->observing = 0;
    node->observe_at = s->now.mono + s->conf->observe_every;
    bool ok = result->err.code == ERR_OK && result->detail != NULL;
    if (ok != node->hypervisor_ok)
        effect_trace(s, "hypervisor %s%s%s", ok ? "answers" : "does not answer", ok ? "" : ": ",
                     ok ? "" : result->err.msg);
    node->hypervisor_ok = ok;
    if (!ok)
        return;
    follow_clock(node, &result->clock);
    Skein__HostDetail *detail = step_own_detail(s, result->detail);
    if (detail->capability != NULL && detail->summary != NULL) {
        detail->summary->has_capability_digest = 1;
        detail->summary->capability_digest = capability_digest(detail->capability);
        complete_summary(node, s, detail->summary);
        view_detail(node->view, detail, s->now, true);
    }
    skein__host_detail__free_unpacked(detail, NULL);
}

void node_send_capability(const struct node *node, struct step *s, const char *to)
{
    const struct view_host *own = view_find(node->view, s->conf->host);
    if (own == NULL || own->capability == NULL)
        return;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_CAPABILITY;
    frame.capability = (Skein__HostCapability *)own->capability;
    effect_send(s, to, &frame);
}

Skein__HostSummary *node_own_summary(struct node *node, struct step *s)
{
    const struct view_host *own = view_find(node->view, s->conf->host);
    bool known = own != NULL && own->summary != NULL && node->hypervisor_ok;
    Skein__HostSummary *summary = (Skein__HostSummary *)codec_copy(
        known ? &own->summary->base : &s->conf->own->summary->base);
    free(TAKE_PTR(summary->planner));
    complete_summary(node, s, summary);
    return summary;
}

static void tell_summary(struct node *node, struct step *s, const Skein__HostSummary *summary,
                         bool urgent)
{
    /* Not all hosts at the same moment, though all were started at once. */
    msec early = (msec)(step_random(s) % (uint64_t)(s->conf->summary_every / 8 + 1));
    node->summary_at = s->now.mono + s->conf->summary_every - early;
    news_told(&node->news, summary, urgent, s->now.mono);
    membership_tell(node->membership, s, summary, urgent);
}

/* To everybody: at once what is important, the rest when it is due. */
static void tell(struct node *node, struct step *s)
{
    bool due = s->now.mono >= node->summary_at;
    if (!due && s->now.mono < node->look_at)
        return;
    node->look_at = s->now.mono + LOOK_EVERY_MS;
    Skein__HostSummary *summary = node_own_summary(node, s);
    bool urgent = news_is_important(&node->news, summary, s->now.mono);
    if (urgent || due)
        tell_summary(node, s, summary, urgent);
    skein__host_summary__free_unpacked(summary, NULL);
}

void node_tell_at_once(struct node *node, struct step *s)
{
    Skein__HostSummary *summary = node_own_summary(node, s);
    tell_summary(node, s, summary, true);
    skein__host_summary__free_unpacked(summary, NULL);
}

static bool should_send_detail(const struct node *node, const struct step *s)
{
    const struct view_host *own = view_find(node->view, s->conf->host);
    return own != NULL && own->summary != NULL && node->leader[0] != '\0' &&
           strcmp(node->leader, s->conf->host) != 0 && node->hypervisor_ok;
}

/* To the planner: when something changed beyond the deadband, or it was told long ago. */
static void send_detail(struct node *node, struct step *s)
{
    const struct view_host *own = view_find(node->view, s->conf->host);
    if (!should_send_detail(node, s))
        return;
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    detail.summary = (Skein__HostSummary *)own->summary;
    detail.capability = (Skein__HostCapability *)own->capability;
    detail.n_vms = own->n_vms;
    detail.vms = (Skein__VmDetail **)own->vms;
    size_t members = membership_alive(node->membership);
    if (!news_detail_is_due(&node->news, &detail, node->leader, members, s->now.mono))
        return;
    frame.kind_case = SKEIN__FRAME__KIND_DETAIL;
    frame.detail = &detail;
    effect_send(s, node->leader, &frame);
}

void node_observe_and_tell(struct node *node, struct step *s)
{
    if (node->observing == 0 && s->now.mono >= node->observe_at) {
        struct hv_job job = {.kind = HV_OBSERVE};
        node->observing = effect_job(s, OWNER_NODE, &job);
    }
    tell(node, s);
    if (s->now.mono >= node->detail_at) {
        node->detail_at = s->now.mono + s->conf->detail_every;
        send_detail(node, s);
    }
}
