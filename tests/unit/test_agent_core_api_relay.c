/* The API between agents: what the planner has to answer is asked of it. */
#include "tests/unit/api_fixture.h"

/* The one frame sent, to host; free it. */
static Skein__Frame *sent(struct world *w, const char *host)
{
    struct effect *e = find_effect(w, EFFECT_SEND);
    assert_non_null(e);
    assert_string_equal(e->key, host);
    Skein__Frame *frame;
    struct err err = {0};
    assert_ok(codec_frame(e->data, e->len, &frame, &err), &err);
    return frame;
}

static uint64_t asked(struct world *w, const char *host)
{
    _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, host);
    assert_int_equal(frame->kind_case, SKEIN__FRAME__KIND_REQUEST);
    assert_int_equal(token_owner(frame->request->id), OWNER_API);
    return frame->request->id;
}

static void reply(struct world *w, uint64_t id, unsigned status, const char *body, const char *code)
{
    Skein__ApiAnswer answer = SKEIN__API_ANSWER__INIT;
    Skein__Reply r = SKEIN__REPLY__INIT;
    r.has_id = 1;
    r.id = id;
    r.code = (char *)code;
    if (code == NULL) {
        r.kind_case = SKEIN__REPLY__KIND_API;
        r.api = &answer;
        answer.has_status = answer.has_body = 1;
        answer.status = status;
        answer.body = (ProtobufCBinaryData){.data = (uint8_t *)body, .len = strlen(body)};
    } else {
        r.message = (char *)body;
    }
    effects_clear(&w->out);
    api_reply(w->api, &w->c, "hv3", &r); /* who was not asked: nothing */
    assert_int_equal(w->out.n, 0);
    api_reply(w->api, &w->c, "hv2", &r);
}

static void test_relay(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/plans", "limit=3", "ignored");
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_string_equal(frame->request->api->path, "/v1/plans");
        assert_string_equal(frame->request->api->query, "limit=3");
        assert_int_equal(frame->request->api->body.len, 0);
    }
    uint64_t id = asked(w, "hv2");
    reply(w, id, 200, "{\"plans\":[],\"total\":0}", NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_true(json_is_array(json_object_get(o, "plans")));
    reply(w, id, 200, "{}", NULL); /* again: too late */
    assert_int_equal(w->out.n, 0);
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 200, "not JSON", NULL);
    assert_refused(w, 502, "UNAVAILABLE", "no sound answer");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 999, "{}", NULL);
    assert_refused(w, 502, "UNAVAILABLE", "no sound answer");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 0, "an answer of 2000 KiB", "LIMIT");
    assert_refused(w, 429, "LIMIT", "an answer of 2000 KiB");
    call(w, "GET", "/v1/plans", NULL, NULL);
    w->step.now.mono += API_TIMEOUT_MS;
    effects_clear(&w->out);
    api_tick(w->api, &w->c);
    assert_refused(w, 504, "TIMEOUT", "hv2 did not answer");
    world_free(w);
}

/* Waits for an election that brings nobody. */
static void call_in_vain(struct world *w)
{
    call(w, "GET", "/v1/plans", NULL, NULL);
    for (msec end = w->step.now.mono + 4900; w->step.now.mono < end; w->step.now.mono += 100) {
        api_tick(w->api, &w->c);
        assert_int_equal(w->out.n, 0);
    }
    w->step.now.mono += 400;
    api_tick(w->api, &w->c);
}

/* An election is under way, or the agent has just started: what comes meanwhile waits for it. */
static void test_relay_waits_for_an_election(void **unused _unused_)
{
    struct world *w = world_new("");
    call(w, "GET", "/v1/plans", NULL, NULL);
    for (int i = 0; i < 30; i++) {
        w->step.now.mono += 100;
        api_tick(w->api, &w->c);
        assert_int_equal(w->out.n, 0);
    }
    w->c.leader = "hv2";
    w->step.now.mono += 250;
    api_tick(w->api, &w->c);
    reply(w, asked(w, "hv2"), 200, "{\"plans\":[],\"total\":0}", NULL);
    json_decref(answered(w, 200));
    world_free(w);
}

static void test_relay_needs_a_planner(void **unused _unused_)
{
    struct world *w = world_new("");
    call_in_vain(w);
    assert_refused(w, 503, "UNAVAILABLE", "no planner is elected");
    w->c.leader = "hv3"; /* never linked */
    call_in_vain(w);
    assert_refused(w, 503, "UNAVAILABLE", "hv1 does not hear of the planner hv3");
    call(w, "GET", "/v1/vms", NULL, NULL); /* better than nothing */
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_true(json_is_true(json_object_get(o, "partial")));
    world_free(w);
}

/* The planner changes while a caller waits: reading calls go to the new one. */
static void test_relay_follows_the_planner(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/plans", NULL, NULL);
    reply(w, asked(w, "hv2"), 0, "hv2 does not plan", "NOT_LEADER");
    assert_int_equal(w->out.n, 0);
    w->c.leader = "hv1";
    w->step.now.mono += 250;
    api_tick(w->api, &w->c);
    json_decref(answered(w, 200));
    w->c.leader = "hv2";
    call(w, "GET", "/v1/plans", NULL, NULL);
    effects_clear(&w->out);
    w->c.leader = "hv1";
    api_tick(w->api, &w->c);
    json_decref(answered(w, 200));
    world_free(w);
}

static void test_relayed_command(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    char digest[HASH_HEX_SIZE], path[128];
    add_plan(w, "safety", NULL, digest);
    snprintf(path, sizeof path, "/v1/plans/%.12s/approvals", digest);
    _cleanup_(freep) char *viewer = approval("vera", TRUST_VIEWER, "approve", digest);
    assert_refused_here(w, path, viewer, 403, "DENIED", "vera has no role that may approve");
    _cleanup_(freep) char *text = approval("anna", TRUST_APPROVER, "approve", digest);
    call(w, "POST", path, NULL, text);
    assert_null(find_effect(w, EFFECT_PROPOSE));
    asked(w, "hv2");
    effects_clear(&w->out);
    w->c.leader = "hv1"; /* it may have been recorded: not sent again */
    w->step.now.mono += 1000;
    api_tick(w->api, &w->c);
    assert_int_equal(w->out.n, 0);
    w->step.now.mono += API_TIMEOUT_MS;
    api_tick(w->api, &w->c);
    assert_refused(w, 504, "TIMEOUT", "it is not known whether this was recorded");
    world_free(w);
}

static void relayed(struct world *w, const char *method, const char *path, const char *body)
{
    Skein__ApiCall c = SKEIN__API_CALL__INIT;
    c.method = (char *)method;
    c.path = (char *)path;
    c.has_body = body != NULL;
    c.body = (ProtobufCBinaryData){.data = (uint8_t *)body, .len = body != NULL ? strlen(body) : 0};
    effects_clear(&w->out);
    api_relayed(w->api, &w->c, "hv2", 99, &c);
}

static int follow_nobody(void *arg _unused_, const struct trust_roots *roots _unused_,
                         const struct trust *before _unused_, msec wall _unused_,
                         struct trust **ret _unused_, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "nobody is to be followed here");
}

/* The first planner of all is elected before the voters have agreed on a roster: what people signed
 * is judged a moment later. */
static void test_commands_wait_for_the_roster(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    struct trust follows = trust;
    follows.follow = follow_nobody;
    w->conf.trust = &follows;
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    call(w, "POST", "/v1/migrations", NULL, text);
    for (int i = 0; i < 30; i++) {
        w->step.now.mono += 100;
        api_tick(w->api, &w->c);
        assert_int_equal(w->out.n, 0);
    }
    relayed(w, "POST", "/v1/migrations", text);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_string_equal(frame->reply->code, "NOT_LEADER");
        assert_non_null(strstr(frame->reply->message, "agreed on a roster"));
    }
    effects_clear(&w->out);
    w->conf.trust = &trust; /* they have agreed */
    w->step.now.mono += 250;
    api_tick(w->api, &w->c);
    assert_non_null(find_effect(w, EFFECT_PROPOSE));
    world_free(w);
}

/* One who says for good that it does not plan, although it is known to. */
static void test_relay_gives_up(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/plans", NULL, NULL);
    for (int i = 0; i < 60 && find_effect(w, EFFECT_ANSWER) == NULL; i++) {
        reply(w, asked(w, "hv2"), 0, "hv2 will plan once", "NOT_LEADER");
        if (find_effect(w, EFFECT_ANSWER) != NULL)
            break;
        w->step.now.mono += 250;
        api_tick(w->api, &w->c);
    }
    assert_refused(w, 503, "NOT_LEADER", "hv2 will plan once");
    world_free(w);
}

static void test_answers_to_others(void **unused _unused_)
{
    struct world *w = world_new("hv1");
    relayed(w, "GET", "/v1/plans", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->id, 99);
        assert_int_equal(frame->reply->api->status, 200);
    }
    relayed(w, "GET", "/v1/nothing", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->api->status, 404);
    }
    _cleanup_(freep) char *text = migration(UUID, "hv2");
    relayed(w, "POST", "/v1/migrations", text);
    commit_proposal(w);
    w->step.now.mono += API_TIMEOUT_MS - 1000; /* before the asker gives up */
    api_tick(w->api, &w->c);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_int_equal(frame->reply->api->status, 504);
    }
    w->c.leader = "hv3";
    relayed(w, "GET", "/v1/plans", NULL);
    {
        _cleanup_(skein_frame_freep) Skein__Frame *frame = sent(w, "hv2");
        assert_string_equal(frame->reply->code, "NOT_LEADER");
        assert_non_null(strstr(frame->reply->message, "hv3 does"));
    }
    relayed(w, NULL, NULL, NULL);
    world_free(w);
}

static void test_status_is_completed_by_the_planner(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    call(w, "GET", "/v1/status", NULL, NULL);
    reply(w, asked(w, "hv2"), 200,
          "{\"idle_reason\":\"a plan waits\",\"plans\":{\"ONGOING\":1},\"host\":\"hv2\","
          "\"health\":[{\"code\":\"SKEIN_VOTER_DOWN\",\"about\":\"hv3\"},"
          "{\"code\":\"SKEIN_NEEDS_OPERATOR\",\"about\":\"abc\"}]}",
          NULL);
    _cleanup_json_ json_t *o = answered(w, 200);
    assert_string_equal(text_at(o, "host"), "hv1"); /* its own */
    assert_string_equal(text_at(o, "idle_reason"), "a plan waits");
    assert_int_equal(json_array_size(json_object_get(o, "health")), 2); /* hv3 said once */
    call(w, "GET", "/v1/status", NULL, NULL);
    effects_clear(&w->out);
    w->step.now.mono += 2000;
    api_tick(w->api, &w->c);
    _cleanup_json_ json_t *alone = answered(w, 200);
    assert_string_equal(text_at(alone, "idle_reason"), "the planner hv2 does not answer");
    world_free(w);
}

static void test_bounded_waiting(void **unused _unused_)
{
    struct world *w = world_new("hv2");
    for (int i = 0; i < 256; i++)
        call(w, "GET", "/v1/plans", NULL, NULL);
    call(w, "GET", "/v1/plans", NULL, NULL);
    assert_refused(w, 503, "UNAVAILABLE", "256 calls wait already");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay),
        cmocka_unit_test(test_relay_needs_a_planner),
        cmocka_unit_test(test_relay_waits_for_an_election),
        cmocka_unit_test(test_commands_wait_for_the_roster),
        cmocka_unit_test(test_relay_gives_up),
        cmocka_unit_test(test_relay_follows_the_planner),
        cmocka_unit_test(test_relayed_command),
        cmocka_unit_test(test_answers_to_others),
        cmocka_unit_test(test_status_is_completed_by_the_planner),
        cmocka_unit_test(test_bounded_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
