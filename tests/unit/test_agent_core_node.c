/* A whole node whose hypervisor lives in a world with a clock of its own. */
#include "tests/lib/test.h"

#include "agent/core/node.h"
#include "tests/lib/plans.h"

#define WORLD ((msec)1000000000000) /* 2001-09-09T01:46:40Z */
#define SPEED 60

struct one {
    struct node_conf conf;
    Skein__HostDetail own;
    Skein__HostSummary own_summary;
    Skein__HostCapability own_capability;
    struct node *node;
    msec now;
    uint64_t observing; /* token of the observation that is asked for */
    uint64_t question;  /* of the evaluation; answered at the next tick */
    msec at;            /* what the last one was asked to plan for; 0: none was */
    json_t *answer;     /* of the API; owned */
};

static void take_effects(struct one *o, struct effects *out)
{
    for (size_t i = 0; i < out->n; i++) {
        struct effect *e = &out->items[i];
        if (e->kind == EFFECT_JOB && e->job->kind == HV_OBSERVE)
            o->observing = e->job->id;
        if (e->kind == EFFECT_EVALUATE) {
            o->question = e->token;
            o->at = e->evaluation->at;
        }
        if (e->kind == EFFECT_ANSWER)
            o->answer = json_loadb((char *)e->data, e->len, 0, NULL);
    }
    effects_clear(out);
}

static void give(struct one *o, const struct event *event)
{
    struct effects out = {0};
    node_step(o->node, event, (struct moment){.mono = o->now, .wall = NOW + o->now}, &out);
    take_effects(o, &out);
}

static void tick_until(struct one *o, msec until)
{
    const struct evaluated quiet = {.nothing = (char *)"quiet"};
    for (; o->now < until; o->now += 100) {
        give(o, &(struct event){.kind = EVENT_TICK});
        struct event answer = {.kind = EVENT_EVALUATED, .token = o->question, .evaluated = &quiet};
        bool asked = o->question != 0;
        o->question = 0;
        if (asked)
            give(o, &answer);
    }
}

/* What the hypervisor says; late: the real milliseconds that its answer took. */
static void observed(struct one *o, msec late)
{
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__HostCapability capability = SKEIN__HOST_CAPABILITY__INIT;
    struct hv_result r = {.job = o->observing, .kind = HV_OBSERVE, .detail = &detail};
    detail.summary = &summary;
    detail.capability = &capability;
    r.clock = (struct hv_clock){.wall = NOW + o->now,
                                .world = WORLD + SPEED * (o->now - late),
                                .speed_milli = SPEED * 1000};
    assert_int_not_equal(o->observing, 0);
    o->observing = 0;
    give(o, &(struct event){.kind = EVENT_HV, .result = &r});
}

static void begin(struct one *o)
{
    static const char *const voters[] = {"hv1"}, *const policies[] = {"balance"};
    struct err err;
    *o = (struct one){.own = SKEIN__HOST_DETAIL__INIT,
                      .own_summary = SKEIN__HOST_SUMMARY__INIT,
                      .own_capability = SKEIN__HOST_CAPABILITY__INIT,
                      .now = 1000};
    o->own.summary = &o->own_summary;
    o->own.capability = &o->own_capability;
    o->own_summary.host = o->own_capability.host = (char *)"hv1";
    o->conf = (struct node_conf){.cluster = "c",
                                 .cluster_uuid = "u",
                                 .host = "hv1",
                                 .voters = voters,
                                 .n_voters = 1,
                                 .own = &o->own,
                                 .policies = policies,
                                 .n_policies = 1,
                                 .observe_every = 1000,
                                 .summary_every = 1000,
                                 .detail_every = 1000,
                                 .evaluate_every = 1000,
                                 .stale_after = 15000,
                                 .simulated = true,
                                 .trust = &test_trust};
    assert_ok(node_new(&o->conf, 1, NULL, 0, &o->node, &err), &err);
    give(o, &(struct event){.kind = EVENT_ROLE, .term = 1, .leader = "hv1"});
}

static json_t *status(struct one *o)
{
    Skein__ApiCall call = SKEIN__API_CALL__INIT;
    call.method = (char *)"GET";
    call.path = (char *)"/v1/status";
    give(o, &(struct event){.kind = EVENT_API, .token = 1, .call = &call});
    assert_non_null(o->answer);
    return TAKE_PTR(o->answer);
}

static void nothing_is_planned_before_the_worlds_time_is_known(void **state)
{
    (void)state;
    struct one o;
    begin(&o);
    tick_until(&o, 5000);
    assert_int_equal(o.at, 0);
    _cleanup_json_ json_t *before = status(&o);
    assert_true(json_is_null(json_object_get(json_object_get(before, "world"), "at")));
    assert_non_null(strstr(json_string_value(json_object_get(before, "idle_reason")), "not known"));
    observed(&o, 0);
    tick_until(&o, 5200);
    assert_in_range(o.at - WORLD, SPEED * 4900, SPEED * 5200);
    _cleanup_json_ json_t *after = status(&o);
    const json_t *world = json_object_get(after, "world");
    assert_int_equal(json_integer_value(json_object_get(world, "speed")), SPEED);
    assert_string_equal(json_string_value(json_object_get(world, "at")), "2001-09-09T01:51:52Z");
    node_free(o.node);
}

/* Answers come late by a little, now more, now less: that is not the world's doing. */
static void the_clock_does_not_waver(void **state)
{
    (void)state;
    struct one o;
    begin(&o);
    tick_until(&o, 1500);
    observed(&o, 10);
    msec last = 0;
    for (int i = 0; i < 20; i++) {
        tick_until(&o, o.now + 1100);
        if (o.observing != 0)
            observed(&o, i % 3 * 40);
        assert_true(o.at > last && o.at <= WORLD + SPEED * o.now);
        last = o.at;
    }
    /* a world that was begun again is followed */
    tick_until(&o, o.now + 1100);
    observed(&o, -3600000);
    tick_until(&o, o.now + 2100);
    msec ago = WORLD + SPEED * (o.now + 3600000) - o.at;
    assert_true(ago >= 0 && ago < SPEED * 3000);
    node_free(o.node);
}

/* An agent that neither plans nor moves anything is woken for what is due alone; the planner, and
 * one whose caller waits, at every tick. */
static void at_rest_little_is_due(void **state)
{
    (void)state;
    struct one o;
    unsigned ticks = 0;
    begin(&o);
    assert_int_equal(node_deadline(o.node, o.now), o.now);
    give(&o, &(struct event){.kind = EVENT_ROLE, .term = 2, .leader = "hv2"});
    give(&o, &(struct event){.kind = EVENT_PEER_UP, .host = "hv2"});
    tick_until(&o, 2000);
    observed(&o, 0);
    for (msec end = o.now + 10000; o.now < end; o.now += 100) {
        if (node_deadline(o.node, o.now) > o.now)
            continue;
        give(&o, &(struct event){.kind = EVENT_TICK});
        ticks++;
        if (o.observing != 0)
            observed(&o, 0);
    }
    assert_in_range(ticks, 10, 50); /* of a hundred */
    Skein__ApiCall call = SKEIN__API_CALL__INIT;
    call.method = (char *)"GET";
    call.path = (char *)"/v1/plans"; /* the planner's to answer */
    give(&o, &(struct event){.kind = EVENT_API, .token = 2, .call = &call});
    assert_null(o.answer);
    assert_int_equal(node_deadline(o.node, o.now), o.now);
    node_free(o.node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_planned_before_the_worlds_time_is_known),
        cmocka_unit_test(the_clock_does_not_waver),
        cmocka_unit_test(at_rest_little_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
