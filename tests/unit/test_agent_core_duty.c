/* What the planner on duty makes of policies, people, sources and voters, in single situations. */
#include "tests/lib/test.h"

#include "agent/core/snapshot.h"
#include "tests/lib/deciders.h"

#define WITH_WORLD(seed)                                                                           \
    struct world w __attribute__((cleanup(world_close)));                                          \
    world_open(&w, seed)

#define S(x) SKEIN__PLAN_STATE__PLAN_##x
#define A(x) SKEIN__ACTION_STATE__ACTION_##x

static void want(struct world *w, unsigned seed, const struct test_move *moves, size_t n)
{
    memcpy(w->wanted, moves, n * sizeof *moves);
    w->n_wanted = n;
    w->wanted_seed = seed * 1000000;
}

static void want_one(struct world *w)
{
    const struct test_move one[] = {{0, 0, "hv1", "hv3"}};
    want(w, 1, one, 1);
}

static void approve(struct world *w)
{
    say(w, "anna", TRUST_APPROVER, test_vote("approve", newest(w)->body->digest));
}

/* Runs until the newest plan is in this state; fails after the time given. */
static void run_until(struct world *w, Skein__PlanState s, msec limit)
{
    for (msec end = w->now + limit; w->now < end && (newest(w) == NULL || newest(w)->state != s);)
        world_tick(w);
    CHECK(newest(w) != NULL && newest(w)->state == s, "plan is %s, not %s",
          newest(w) != NULL ? plan_state_name(newest(w)->state) : "missing", plan_state_name(s));
}

static void run_to_ongoing(struct world *w)
{
    want_one(w);
    run_until(w, S(PENDING_APPROVAL), 10000);
    approve(w);
    run_until(w, S(ONGOING), 2000);
    w->n_wanted = 0;
}

static const struct plan_item *first_item(struct world *w)
{
    return &newest(w)->items[0];
}

static void a_hot_host_is_relieved(void **state)
{
    (void)state;
    WITH_WORLD(1);
    assert_string_equal(duty_idle_reason(w.voters[0].d),
                        "alpha: no host is hot; beta: no host is hot");
    assert_string_equal(duty_idle_reason(w.voters[1].d), "hv1 plans");
    run_to_ongoing(&w);
    assert_string_equal(duty_idle_reason(w.voters[0].d), "");
    run_until(&w, S(SUCCEEDED), 30000);
    assert_int_equal(w.vm_at[0], 2);
    assert_string_equal(newest(&w)->reason, "1 of 1 moved");
    assert_string_equal(w.audit.data,
                        "planner.begun plan.made plan.approved plan.ONGOING permit.issued "
                        "move.started move.succeeded plan.SUCCEEDED ");
    assert_int_equal(count_plans(&w), 1);
}

static void nothing_moves_without_an_approval(void **state)
{
    (void)state;
    WITH_WORLD(2);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    char id[PLAN_ID_SIZE];
    memcpy(id, newest(&w)->body->id, sizeof id);
    world_run(&w, 4 * MINUTE);
    assert_int_equal(count_plans(&w), 1); /* the same moves: the plan stands */
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "waits for an approval"));
    w.n_wanted = 0;
    world_run(&w, 2 * MINUTE);
    assert_int_equal(w.starts, 0);
    assert_true(plan_state_ended(state_plan(leaders_state(&w), id)->state));
}

static void a_plan_expires(void **state)
{
    (void)state;
    WITH_WORLD(3);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    char id[PLAN_ID_SIZE];
    memcpy(id, newest(&w)->body->id, sizeof id);
    world_run(&w, 6 * MINUTE);
    assert_int_equal(state_plan(leaders_state(&w), id)->state, S(EXPIRED));
    assert_string_not_equal(newest(&w)->body->id, id); /* and is made again */
}

static void a_plan_whose_reason_is_gone_goes(void **state)
{
    (void)state;
    WITH_WORLD(4);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    w.n_wanted = 0;
    world_run(&w, 4000);
    want_one(&w); /* one quiet evaluation is not enough */
    world_run(&w, 20000);
    assert_int_equal(newest(&w)->state, S(PENDING_APPROVAL));
    w.n_wanted = 0;
    run_until(&w, S(SUPERSEDED), DUTY_STAND_MS + 15000);
    assert_string_equal(newest(&w)->reason, "not needed any more: no host is hot");
}

static void another_plan_replaces_the_one_that_waits(void **state)
{
    (void)state;
    WITH_WORLD(5);
    const struct test_move other[] = {{0, 2, "hv1", "hv3"}};
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    struct plan *first = newest(&w);
    want(&w, 2, other, 1);
    world_run(&w, DUTY_STAND_MS + 15000);
    assert_int_equal(count_plans(&w), 2);
    assert_int_equal(newest(&w)->state, S(PENDING_APPROVAL));
    assert_int_equal(first->state, S(SUPERSEDED));
    assert_non_null(strstr(first->reason, newest(&w)->body->id));
}

static char *worker_optimises(struct world *w, const struct evaluation *e, size_t *ret_len,
                              const char **ret_nothing)
{
    if (w->n_wanted == 0 || e->policy == NULL || strcmp(e->policy, "alpha") != 0) {
        *ret_nothing = "all is even";
        return NULL;
    }
    return test_body("alpha", "optimise", w->wanted_seed + e->seed, e->snapshot_digest, w->wanted,
                     w->n_wanted, ret_len);
}

static void a_spike_moves_nothing(void **state)
{
    (void)state;
    WITH_WORLD(31);
    w.worker = worker_optimises;
    for (int v = 0; v < VOTERS; v++)
        w.voters[v].conf.policy_agreement = 3;
    for (int spike = 0; spike < 3; spike++) { /* evaluations come every five seconds */
        want_one(&w);
        world_run(&w, 9000);
        assert_non_null(strstr(duty_idle_reason(w.voters[0].d), " of 3 evaluations in a row"));
        w.n_wanted = 0;
        world_run(&w, 11000);
    }
    assert_int_equal(count_plans(&w), 0);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 20000);
}

static void a_policy_may_ask_to_be_held(void **state)
{
    (void)state;
    WITH_WORLD(32);
    w.worker = worker_optimises;
    w.hold = 40000;
    want_one(&w);
    world_run(&w, 35000);
    assert_int_equal(count_plans(&w), 0);
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), " of 40 s"));
    run_until(&w, S(PENDING_APPROVAL), 20000);
}

static void safety_does_not_wait(void **state)
{
    (void)state;
    WITH_WORLD(33);
    w.agreement = 100;
    want_one(&w); /* of class safety */
    run_until(&w, S(PENDING_APPROVAL), 10000);
}

static void what_the_checker_refuses_is_no_plan(void **state)
{
    (void)state;
    WITH_WORLD(6);
    w.checker_refuses = true;
    want_one(&w);
    world_run(&w, 12000);
    assert_int_equal(count_plans(&w), 0);
    assert_non_null(strstr(w.audit.data, "plan.refused"));
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "CAPACITY s1-0: hv2 lacks 4 GiB"));
}

static char *worker_fails(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    (void)w, (void)e, (void)ret_len, (void)ret_nothing;
    return NULL;
}

static char *worker_mixes_up(struct world *w, const struct evaluation *e, size_t *ret_len,
                             const char **ret_nothing)
{
    (void)ret_nothing, (void)e;
    return test_body("alpha", "safety", 1, NULL, w->wanted, w->n_wanted, ret_len);
}

static char *worker_empty(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    (void)w, (void)e, (void)ret_nothing;
    char *text =
        xstrdup("{\"reason\":\"hv1 is hot\",\"refused\":[{\"code\":\"INLET\",\"host\":null,"
                "\"message\":\"the inlet is\\nhot: moving will not help\",\"vm\":\"vm1\"}],"
                "\"steps\":[]}");
    *ret_len = strlen(text);
    return text;
}

static void evaluations_that_fail_stop_nothing(void **state)
{
    (void)state;
    WITH_WORLD(7);
    w.worker = worker_fails;
    world_run(&w, 20000);
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "nil value"));
    _cleanup_json_ json_t *status = duty_status(w.voters[0].d);
    const json_t *policy = json_array_get(json_object_get(status, "policies"), 0);
    assert_true(json_integer_value(json_object_get(policy, "failures")) >= 3);
    w.worker = worker_mixes_up; /* a plan of another snapshot, from either policy */
    want_one(&w);
    world_run(&w, 12000);
    assert_int_equal(count_plans(&w), 0);
    w.worker = worker_wants;
    run_to_ongoing(&w);
    run_until(&w, S(SUCCEEDED), 30000);
}

/* The planner, which reads the snapshot for itself, names it by the same digest. */
static char *worker_reads(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    (void)ret_len;
    struct err err = {0};
    _cleanup_(model_freep) struct model *m = NULL;
    CHECK(model_parse(e->snapshot, e->snapshot_len, &m, &err) == 0, "%s", err.msg);
    CHECK(strcmp(m->digest, e->snapshot_digest) == 0, "digest %s, the planner's is %s",
          e->snapshot_digest, m->digest);
    w->starts++;
    *ret_nothing = "read";
    return NULL;
}

static void snapshots_have_the_planners_digest(void **state)
{
    (void)state;
    WITH_WORLD(27);
    w.worker = worker_reads;
    world_run(&w, 12000);
    assert_int_equal(w.starts, 4);
}

static void an_empty_plan_says_why(void **state)
{
    (void)state;
    WITH_WORLD(8);
    w.worker = worker_empty;
    world_run(&w, 12000);
    assert_int_equal(count_plans(&w), 0);
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "moving will not help"));
    _cleanup_json_ json_t *status = duty_status(w.voters[0].d);
    const json_t *policy = json_array_get(json_object_get(status, "policies"), 0);
    assert_int_equal(json_array_size(json_object_get(policy, "refused")), 1);
}

static void stale_data_makes_no_plan(void **state)
{
    (void)state;
    WITH_WORLD(9);
    w.views_frozen = true;
    world_run(&w, 15000);
    want_one(&w);
    world_run(&w, 60000);
    assert_int_equal(count_plans(&w), 0);
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "fresh data of only 0 of 4 hosts"));
}

static void limits_hold_and_steps_are_barriers(void **state)
{
    (void)state;
    WITH_WORLD(10);
    const struct test_move four[] = {
        {0, 0, "hv1", "hv3"}, {0, 2, "hv1", "hv4"}, {0, 4, "hv1", "hv3"}, {1, 1, "hv2", "hv1"}};
    want(&w, 1, four, 4);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    approve(&w);
    run_until(&w, S(SUCCEEDED), 2 * MINUTE); /* catch_up() watches limits and order */
    assert_int_equal(w.starts, 4);
    assert_string_equal(newest(&w)->reason, "4 of 4 moved");
}

/* vm1 was to come where vm0 stayed. */
static void a_failed_move_ends_what_rests_on_it(void **state)
{
    (void)state;
    WITH_WORLD(11);
    const struct test_move two[] = {{0, 0, "hv1", "hv3"}, {1, 1, "hv2", "hv1"}};
    w.faults.failure = 100;
    want(&w, 1, two, 2);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    approve(&w);
    run_until(&w, S(FAILED), 2 * MINUTE);
    assert_int_equal(w.starts, 1);
    assert_int_equal(plan_item_state(&newest(&w)->items[1]), A(CANCELLED));
    assert_int_equal(w.vm_at[0], 0);
}

static void a_failed_move_holds_up_nothing_else(void **state)
{
    (void)state;
    WITH_WORLD(11);
    const struct test_move two[] = {{0, 0, "hv1", "hv3"}, {1, 1, "hv2", "hv4"}};
    w.faults.failure = 100;
    want(&w, 1, two, 2);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    approve(&w);
    run_until(&w, S(FAILED), 2 * MINUTE);
    assert_int_equal(w.starts, 2); /* each failed by itself */
    assert_int_equal(plan_item_state(&newest(&w)->items[1]), A(FAILED));
}

static void cooldown_keeps_moved_vms_out_of_plans(void **state)
{
    (void)state;
    WITH_WORLD(12);
    const struct test_move back[] = {{0, 0, "hv3", "hv1"}};
    run_to_ongoing(&w);
    run_until(&w, S(SUCCEEDED), 30000);
    want(&w, 2, back, 1);
    world_run(&w, 40000);
    assert_int_equal(count_plans(&w), 1);
    assert_non_null(strstr(duty_idle_reason(w.voters[0].d), "vm0 moved less than"));
    world_run(&w, 40000);
    assert_int_equal(count_plans(&w), 2);
}

static void a_refusal_for_good_fails_the_action(void **state)
{
    (void)state;
    WITH_WORLD(13);
    w.start_refusal = ERR_DENIED;
    run_to_ongoing(&w);
    run_until(&w, S(FAILED), MINUTE);
    assert_int_equal(first_item(&w)->permit->attempt, 1);
    assert_string_equal(first_item(&w)->report->code, "DENIED");
    assert_int_equal(w.starts, 0);
}

static void a_refusal_for_now_is_tried_again(void **state)
{
    (void)state;
    WITH_WORLD(14);
    w.start_refusal = ERR_CAPACITY;
    run_to_ongoing(&w);
    world_run(&w, 16000);
    assert_int_equal(first_item(&w)->permit->attempt, 2);
    w.start_refusal = ERR_OK;
    run_until(&w, S(SUCCEEDED), MINUTE);
    assert_int_equal(w.starts, 1);
}

static void four_permits_are_enough(void **state)
{
    (void)state;
    WITH_WORLD(15);
    w.start_refusal = ERR_CAPACITY;
    run_to_ongoing(&w);
    run_until(&w, S(FAILED), 2 * MINUTE);
    assert_int_equal(first_item(&w)->permit->attempt, DUTY_ATTEMPTS);
    assert_string_equal(first_item(&w)->report->code, "CAPACITY");
}

static void run_to_start(struct world *w)
{
    run_to_ongoing(w);
    for (int i = 0; i < 40 && w->starts == 0; i++)
        world_tick(w);
    assert_int_equal(w->starts, 1);
}

static void a_move_that_failed_on_the_way_is_tried_again(void **state)
{
    (void)state;
    WITH_WORLD(30);
    w.faults.failure = 100;
    w.faults.failure_code = "HYPERVISOR";
    run_to_start(&w);
    for (int i = 0; i < 300 && !plan_item_returned(first_item(&w)); i++)
        world_tick(&w);
    assert_true(plan_item_returned(first_item(&w)));
    assert_string_equal(first_item(&w)->report->code, "HYPERVISOR");
    assert_false(plan_item_live(first_item(&w)));
    elect(&w, 1); /* that it waits is in the state */
    w.faults.failure = 0;
    run_until(&w, S(SUCCEEDED), 2 * MINUTE);
    assert_int_equal(first_item(&w)->permit->attempt, 2);
    assert_int_equal(w.starts, 2);
}

static void a_move_that_always_fails_has_failed(void **state)
{
    (void)state;
    WITH_WORLD(31);
    w.faults.failure = 100;
    w.faults.failure_code = "UNAVAILABLE";
    run_to_start(&w);
    run_until(&w, S(FAILED), 5 * MINUTE);
    assert_int_equal(w.starts, DUTY_ATTEMPTS);
    assert_string_equal(first_item(&w)->report->code, "UNAVAILABLE");
    assert_int_equal(w.vm_at[0], 0);
}

static void a_silent_source_is_looked_around(void **state)
{
    (void)state;
    WITH_WORLD(16);
    run_to_start(&w);
    w.host_up[0] = false; /* the agent is gone, the migration goes on */
    elect(&w, 1);
    world_run(&w, 12000);
    assert_int_equal(plan_item_state(first_item(&w)), A(UNKNOWN));
    run_until(&w, S(SUCCEEDED), MINUTE);
    assert_non_null(strstr(first_item(&w)->report->evidence, "source silent; seen running on hv3"));
}

/* Its definition has not come along: that is no transient VM. One that was transient before is. */
static void a_guest_without_its_definition_has_not_moved(void **state)
{
    (void)state;
    for (int transient = 0; transient < 2; transient++) {
        WITH_WORLD(16);
        w.undefined[0] = transient == 1;
        run_to_start(&w);
        world_run(&w, 2000); /* so that the planner knows what it was */
        w.host_up[0] = false;
        w.undefined[0] = true;
        world_run(&w, 45000);
        assert_int_equal(plan_item_state(first_item(&w)), transient ? A(SUCCEEDED) : A(UNKNOWN));
    }
}

static void what_cannot_be_decided_needs_an_operator(void **state)
{
    (void)state;
    WITH_WORLD(17);
    w.faults.failure = 100; /* it stays where nobody looks */
    run_to_start(&w);
    w.host_up[0] = false;
    elect(&w, 1);
    world_run(&w, 9 * MINUTE);
    assert_int_equal(plan_item_state(first_item(&w)), A(UNKNOWN));
    elect(&w, 2); /* the time is counted in the state: a new planner does not begin again */
    world_run(&w, 3 * MINUTE);
    assert_int_equal(plan_item_state(first_item(&w)), A(NEEDS_OPERATOR));
    assert_int_equal(newest(&w)->state, S(FAILED));
    w.host_up[0] = true; /* it returns with the truth */
    world_run(&w, 20000);
    assert_int_equal(plan_item_state(first_item(&w)), A(FAILED));
}

static void a_source_that_forgot_is_looked_at(void **state)
{
    (void)state;
    WITH_WORLD(18);
    run_to_start(&w);
    world_run(&w, 3000);
    assert_int_equal(plan_item_state(first_item(&w)), A(RUNNING));
    w.journals[0].forgotten = true;
    run_until(&w, S(SUCCEEDED), MINUTE);
    assert_non_null(strstr(first_item(&w)->report->evidence, "has forgotten"));
}

static void a_source_that_returns_is_believed(void **state)
{
    (void)state;
    WITH_WORLD(19);
    run_to_start(&w);
    w.journals[0].ends = w.now + 3 * MINUTE;
    w.host_up[0] = false;
    elect(&w, 1);
    world_run(&w, 15000);
    assert_int_equal(plan_item_state(first_item(&w)), A(UNKNOWN));
    w.host_up[0] = true;
    world_run(&w, 5000);
    assert_int_equal(plan_item_state(first_item(&w)), A(RUNNING));
    run_until(&w, S(SUCCEEDED), 4 * MINUTE);
}

static void a_vm_that_is_there_already_is_skipped(void **state)
{
    (void)state;
    WITH_WORLD(20);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    w.vm_at[0] = 2; /* by hand */
    world_run(&w, 3000);
    approve(&w);
    run_until(&w, S(SUCCEEDED), MINUTE);
    assert_int_equal(plan_item_state(first_item(&w)), A(SKIPPED));
    assert_int_equal(w.starts, 0);
}

static void hosts_out_of_reach_do_not_hold_a_plan_for_ever(void **state)
{
    (void)state;
    WITH_WORLD(21);
    want_one(&w);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    w.host_up[2] = false;
    approve(&w);
    world_run(&w, 9 * MINUTE);
    assert_int_equal(newest(&w)->state, S(ONGOING));
    run_until(&w, S(FAILED), 2 * MINUTE);
    assert_string_equal(first_item(&w)->report->code, "UNAVAILABLE");
    assert_int_equal(w.starts, 0);
}

static void cancelling_stops_what_has_not_begun(void **state)
{
    (void)state;
    WITH_WORLD(22);
    const struct test_move two[] = {{0, 0, "hv1", "hv3"}, {0, 2, "hv1", "hv3"}};
    want(&w, 1, two, 2);
    run_until(&w, S(PENDING_APPROVAL), 10000);
    approve(&w);
    for (int i = 0; i < 40 && w.starts == 0; i++)
        world_tick(&w);
    say(&w, "olga", TRUST_OPERATOR, test_vote("cancel", newest(&w)->body->digest));
    assert_int_equal(newest(&w)->state, S(CANCELLING));
    run_until(&w, S(CANCELLED), MINUTE);
    assert_int_equal(w.starts, 1);
    assert_int_equal(plan_count(newest(&w), A(CANCELLED)), 1);
}

static void a_person_gets_a_plan(void **state)
{
    (void)state;
    WITH_WORLD(23);
    say(&w, "olga", TRUST_OPERATOR, test_request(0, "hv4"));
    run_until(&w, S(PENDING_APPROVAL), 10000);
    assert_string_equal(newest(&w)->put->author, "olga");
    approve(&w);
    run_until(&w, S(SUCCEEDED), MINUTE);
    assert_int_equal(w.vm_at[0], 3);
    say(&w, "olga", TRUST_OPERATOR, test_request(0, "hv4"));
    world_run(&w, 5000);
    Skein__RequestRecord *const *requests;
    assert_int_equal(state_requests(leaders_state(&w), &requests), 2);
    assert_string_equal(requests[0]->plan, newest(&w)->body->id);
    assert_string_equal(requests[1]->message, "the VM is there already");
}

/* hold_until of vm0, milliseconds after the tests' beginning; 0: none */
static msec held_until(struct world *w)
{
    json_t *o = NULL;
    WITH_STEP(w, w->leader, o = snapshot_make(me->view, me->st, s, 1));
    char uuid[UUID_SIZE];
    msec until = NOW;
    size_t i;
    const json_t *vm;
    test_uuid(0, uuid);
    json_array_foreach(json_object_get(o, "vms"), i, vm)
    {
        const char *text = json_string_value(json_object_get(vm, "hold_until"));
        struct err err;
        if (text != NULL && strcmp(json_string_value(json_object_get(vm, "uuid")), uuid) == 0)
            assert_ok(time_parse(text, &until, &err), &err);
    }
    json_decref(o);
    return until - NOW;
}

static void where_a_person_moved_a_vm_it_is_left(void **state)
{
    (void)state;
    WITH_WORLD(26);
    world_run(&w, 2000);
    say(&w, "olga", TRUST_OPERATOR, test_request(0, "hv4"));
    run_until(&w, S(PENDING_APPROVAL), 10000);
    assert_int_equal(held_until(&w), 0);
    approve(&w);
    run_until(&w, S(SUCCEEDED), MINUTE);
    world_run(&w, 5000);
    assert_in_range(held_until(&w), SNAPSHOT_HUMAN_MS, SNAPSHOT_HUMAN_MS + 2 * MINUTE);
}

static void a_request_outlives_its_planner_and_expires(void **state)
{
    (void)state;
    WITH_WORLD(24);
    w.worker = worker_fails;
    say(&w, "olga", TRUST_OPERATOR, test_request(0, "hv4"));
    elect(&w, 1);
    w.worker = worker_wants;
    run_until(&w, S(PENDING_APPROVAL), 10000);
    w.worker = worker_fails;
    say(&w, "olga", TRUST_OPERATOR, test_request(2, "hv4"));
    world_run(&w, 20000);
    Skein__RequestRecord *const *requests;
    state_requests(leaders_state(&w), &requests);
    assert_non_null(strstr(requests[1]->message, "nil value"));
}

static void strangers_reports_are_refused(void **state)
{
    (void)state;
    WITH_WORLD(25);
    run_to_start(&w);
    Skein__ActionReport r = SKEIN__ACTION_REPORT__INIT;
    r.plan = newest(&w)->body->id;
    r.action = (char *)"s1-0";
    r.has_state = 1;
    r.state = A(SUCCEEDED);
    WITH_STEP(&w, 0, duty_report(me->d, s, me->st, "hv4", 99, &r));
    world_run(&w, 500);
    assert_int_not_equal(plan_item_state(first_item(&w)), A(SUCCEEDED));
    assert_non_null(strstr(w.audit.data, "report.refused"));
    WITH_STEP(&w, 1, duty_report(me->d, s, me->st, "hv1", 99, &r)); /* does not lead */
    run_until(&w, S(SUCCEEDED), 30000);
}

static void progress_is_kept_while_it_runs(void **state)
{
    (void)state;
    WITH_WORLD(26);
    run_to_start(&w);
    Skein__Progress p = SKEIN__PROGRESS__INIT;
    char id[PLAN_ID_SIZE];
    memcpy(id, newest(&w)->body->id, sizeof id);
    p.plan = id;
    p.action = (char *)"s1-0";
    p.has_percent = 1;
    p.percent = 40;
    WITH_STEP(&w, 0, duty_progress(me->d, s, me->st, "hv4", &p));
    assert_null(duty_progress_of(w.voters[0].d, id, "s1-0"));
    WITH_STEP(&w, 0, duty_progress(me->d, s, me->st, "hv1", &p));
    assert_int_equal(duty_progress_of(w.voters[0].d, id, "s1-0")->percent, 40);
    run_until(&w, S(SUCCEEDED), 30000);
    world_run(&w, 1000);
    assert_null(duty_progress_of(w.voters[0].d, id, "s1-0"));
}

/* Whatever the moment at which the planner goes, the move is done once and the plan succeeds. */
static void the_leader_changes_at_every_point(void **state)
{
    (void)state;
    for (int point = 0; point < 120; point++) {
        WITH_WORLD(1000 + (uint64_t)point);
        want_one(&w);
        for (int tick = 0; tick < 400; tick++) {
            if (tick == point)
                elect(&w, -1);
            if (tick == point + 4)
                elect(&w, 1 + point % 2);
            world_tick(&w);
            w.n_wanted = w.vm_at[0] == 0;
            if (w.leader >= 0 && newest(&w) != NULL && newest(&w)->state == S(PENDING_APPROVAL) &&
                w.vm_at[0] == 0)
                approve(&w);
        }
        CHECK(w.vm_at[0] == 2 && w.starts == 1, "point %d: vm0 on hv%d, %u starts", point,
              w.vm_at[0] + 1, w.starts);
        CHECK(count_plans(&w) == 1 && newest(&w)->state == S(SUCCEEDED), "point %d: %zu plans, %s",
              point, count_plans(&w), plan_state_name(newest(&w)->state));
    }
}

static void order(struct world *w, const char *verb, const char *host)
{
    say(w, "olga", TRUST_OPERATOR, json_pack("{s:s, s:[s]}", "type", verb, "hosts", host));
}

/* Permits, reports, and what is seen of it where its source has forgotten: as of a move. */
static void a_vm_that_cannot_move_is_stopped(void **state)
{
    (void)state;
    static const struct test_move stay[] = {{0, 0, "hv1", "hv1"}};
    for (int forgets = 0; forgets < 2; forgets++) {
        WITH_WORLD(41);
        say(&w, "olga", TRUST_OPERATOR,
            json_pack("{s:s, s:[s], s:s}", "type", "drain", "hosts", "hv1", "fallback",
                      "shutdown"));
        want(&w, 1, stay, 1);
        run_until(&w, S(PENDING_APPROVAL), 10000);
        approve(&w);
        run_until(&w, S(ONGOING), 2000);
        w.n_wanted = 0;
        for (msec end = w.now + MINUTE; w.now < end && w.starts == 0;)
            world_tick(&w);
        assert_int_equal(w.starts, 1);
        for (msec end = w.now + 10000;
             w.now < end && plan_item_state(first_item(&w)) != A(RUNNING);)
            world_tick(&w);
        w.journals[0].forgotten = forgets != 0;
        run_until(&w, S(SUCCEEDED), MINUTE);
        assert_true(w.stopped[0] && w.vm_at[0] == 0);
        const char *evidence = first_item(&w)->report->evidence;
        assert_int_equal(evidence != NULL && strstr(evidence, "seen shut off on hv1") != NULL,
                         forgets);
        assert_string_equal(newest(&w)->reason, "1 of 1 actions done");
    }
}

static void an_emptied_planner_hands_over(void **state)
{
    (void)state;
    WITH_WORLD(40);
    order(&w, "drain", "hv3");
    order(&w, "cordon", "hv2");
    world_run(&w, 30000);
    assert_int_equal(w.n_yielded, 0);
    order(&w, "drain", "hv1");
    world_run(&w, 1000);
    assert_string_equal(w.yielded, "hv2"); /* takes nothing, but stays */
    assert_non_null(strstr(w.audit.data, "planner.yielded"));
    world_run(&w, 5000); /* it did not take it: not asked all the time, but again */
    assert_int_equal(w.n_yielded, 1);
    world_run(&w, 10000);
    assert_int_equal(w.n_yielded, 2);
    elect(&w, 1);
    world_run(&w, 30000);
    assert_int_equal(w.n_yielded, 2);
    order(&w, "restore", "hv1");
    order(&w, "maintenance", "hv2");
    world_run(&w, 1000);
    assert_string_equal(w.yielded, "hv1"); /* restored */
}

static void nobody_is_asked_to_plan_who_is_away_or_emptied(void **state)
{
    (void)state;
    WITH_WORLD(41);
    w.host_up[1] = false;
    order(&w, "drain", "hv3");
    order(&w, "drain", "hv1");
    world_run(&w, 30000);
    assert_int_equal(w.n_yielded, 0);
    WITH_STEP(&w, 0, duty_resign(me->d, s, me->view, me->st)); /* better one that is emptied */
    assert_string_equal(w.yielded, "hv3");
    WITH_STEP(&w, 1, duty_resign(me->d, s, me->view, me->st)); /* does not plan */
    assert_int_equal(w.n_yielded, 1);
}

/* ---- voters ---- */

static void replace_voters(struct world *w)
{
    struct err err = {0};
    for (int v = 0; v < VOTERS; v++) {
        struct node_conf *conf = &w->voters[v].conf;
        assert_ok(group_first(host_names, VOTERS, &conf->group, &err), &err);
        conf->voters_patience = 20000;
    }
    for (int h = 0; h < HOSTS; h++)
        w->stores[h] = 10 + (uint64_t)h;
    for (int v = 0; v < VOTERS; v++)
        for (int i = 0; i < VOTERS; i++)
            w->voters[v].conf.group.voters[i].store = w->stores[i];
    elect(w, 0);
}

static const struct voter_group *named(struct world *w)
{
    return state_next_group(leaders_state(w));
}

static void a_lost_voter_is_replaced(void **state)
{
    (void)state;
    WITH_WORLD(50);
    replace_voters(&w);
    world_run(&w, 2 * MINUTE);
    assert_null(named(&w)); /* all is well */
    w.host_up[2] = false;
    world_run(&w, 15000);
    assert_null(named(&w));
    world_run(&w, 15000);
    assert_non_null(named(&w));
    assert_int_equal(named(&w)->number, 2);
    assert_null(group_find(named(&w), "hv3"));
    assert_true(group_has(named(&w), "hv4", 13) && named(&w)->n == 3);
    assert_non_null(strstr(named(&w)->reason, "hv3 has been away"));
    assert_true(named(&w)->index > 0 && named(&w)->term == w.term);
}

static void a_voter_in_maintenance_is_replaced_and_a_drained_one_not(void **state)
{
    (void)state;
    WITH_WORLD(51);
    replace_voters(&w);
    order(&w, "drain", "hv2");
    world_run(&w, MINUTE);
    assert_null(named(&w));
    order(&w, "maintenance", "hv2");
    world_run(&w, MINUTE);
    assert_non_null(named(&w));
    assert_null(group_find(named(&w), "hv2"));
}

static void a_voter_with_a_new_store_takes_its_own_place(void **state)
{
    (void)state;
    WITH_WORLD(52);
    replace_voters(&w);
    w.stores[1] = 99;
    w.begins[1] = true;
    world_run(&w, MINUTE);
    assert_non_null(named(&w));
    assert_true(group_has(named(&w), "hv2", 99) && !group_has(named(&w), "hv2", 11));
    assert_int_equal(named(&w)->n, 3);
}

/* What the state says of an entry that has hv4 vote in hv3's place. */
static enum err_code replace_by_entry(struct world *w)
{
    struct voter_group next;
    struct err err = {0};
    const struct node_conf *conf = &w->voters[w->leader].conf;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    assert_ok(group_next(&conf->group, "hv4", 13, "hv3", "why", &next, &err), &err);
    entry.has_at_ms = 1;
    entry.at_ms = (uint64_t)wall(w);
    entry.kind_case = SKEIN__ENTRY__KIND_VOTERS;
    entry.voters = group_message(&next);
    commit(w, (Skein__Entry *)codec_copy(&entry.base));
    skein__voter_group__free_unpacked(entry.voters, NULL);
    catch_up(w, w->leader);
    return state_last(leaders_state(w))->err.code;
}

/* Who is asked whether a permit stands may not know of the new voters yet. */
static void no_voter_is_replaced_while_a_permit_stands(void **state)
{
    (void)state;
    WITH_WORLD(53);
    assert_int_equal(replace_by_entry(&w), ERR_UNSUPPORTED); /* they are fixed */
    replace_voters(&w);
    want_one(&w);
    run_to_start(&w);
    assert_int_equal(replace_by_entry(&w), ERR_UNAVAILABLE);
    assert_null(named(&w));
    run_until(&w, S(SUCCEEDED), 2 * MINUTE);
    assert_int_equal(replace_by_entry(&w), ERR_OK);
    assert_non_null(named(&w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hot_host_is_relieved),
        cmocka_unit_test(nothing_moves_without_an_approval),
        cmocka_unit_test(a_plan_expires),
        cmocka_unit_test(a_plan_whose_reason_is_gone_goes),
        cmocka_unit_test(another_plan_replaces_the_one_that_waits),
        cmocka_unit_test(a_spike_moves_nothing),
        cmocka_unit_test(a_policy_may_ask_to_be_held),
        cmocka_unit_test(safety_does_not_wait),
        cmocka_unit_test(what_the_checker_refuses_is_no_plan),
        cmocka_unit_test(evaluations_that_fail_stop_nothing),
        cmocka_unit_test(snapshots_have_the_planners_digest),
        cmocka_unit_test(an_empty_plan_says_why),
        cmocka_unit_test(stale_data_makes_no_plan),
        cmocka_unit_test(limits_hold_and_steps_are_barriers),
        cmocka_unit_test(a_failed_move_ends_what_rests_on_it),
        cmocka_unit_test(a_failed_move_holds_up_nothing_else),
        cmocka_unit_test(cooldown_keeps_moved_vms_out_of_plans),
        cmocka_unit_test(a_refusal_for_good_fails_the_action),
        cmocka_unit_test(a_refusal_for_now_is_tried_again),
        cmocka_unit_test(four_permits_are_enough),
        cmocka_unit_test(a_move_that_failed_on_the_way_is_tried_again),
        cmocka_unit_test(a_move_that_always_fails_has_failed),
        cmocka_unit_test(a_silent_source_is_looked_around),
        cmocka_unit_test(a_guest_without_its_definition_has_not_moved),
        cmocka_unit_test(what_cannot_be_decided_needs_an_operator),
        cmocka_unit_test(a_source_that_forgot_is_looked_at),
        cmocka_unit_test(a_source_that_returns_is_believed),
        cmocka_unit_test(a_vm_that_is_there_already_is_skipped),
        cmocka_unit_test(hosts_out_of_reach_do_not_hold_a_plan_for_ever),
        cmocka_unit_test(cancelling_stops_what_has_not_begun),
        cmocka_unit_test(a_person_gets_a_plan),
        cmocka_unit_test(where_a_person_moved_a_vm_it_is_left),
        cmocka_unit_test(a_request_outlives_its_planner_and_expires),
        cmocka_unit_test(strangers_reports_are_refused),
        cmocka_unit_test(progress_is_kept_while_it_runs),
        cmocka_unit_test(the_leader_changes_at_every_point),
        cmocka_unit_test(a_vm_that_cannot_move_is_stopped),
        cmocka_unit_test(an_emptied_planner_hands_over),
        cmocka_unit_test(nobody_is_asked_to_plan_who_is_away_or_emptied),
        cmocka_unit_test(a_lost_voter_is_replaced),
        cmocka_unit_test(a_voter_in_maintenance_is_replaced_and_a_drained_one_not),
        cmocka_unit_test(a_voter_with_a_new_store_takes_its_own_place),
        cmocka_unit_test(no_voter_is_replaced_while_a_permit_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
