/* Hooks of gate rules: what they are asked, and what planners make of their answers. */
#include "tests/lib/test.h"

#include "agent/core/hook.h"
#include "proto/canon.h"
#include "tests/lib/deciders.h"
#include "tests/lib/rules.h"

#define S(x) SKEIN__PLAN_STATE__PLAN_##x

#define WITH_RULES_AND_WORLD(seed, text)                                                           \
    WITH_RULES(text);                                                                              \
    struct world w __attribute__((cleanup(world_close)));                                          \
    world_open(&w, seed)

static bool run_until(struct world *w, Skein__PlanState s, msec limit)
{
    for (msec end = w->now + limit; w->now < end && (newest(w) == NULL || newest(w)->state != s);)
        world_tick(w);
    return newest(w) != NULL && newest(w)->state == s;
}

static void to_approved(struct world *w)
{
    const struct test_move one = {0, 0, "hv1", "hv3"};
    w->wanted[0] = one;
    w->n_wanted = 1;
    assert_true(run_until(w, S(PENDING_APPROVAL), 10000));
    w->n_wanted = 0;
    say(w, "anna", TRUST_APPROVER, test_vote("approve", newest(w)->body->digest));
}

static bool audited(const struct world *w, const char *event)
{
    return strstr(w->audit.data, event) != NULL;
}

static void a_yes_is_a_permit(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(1, "[{\"name\":\"asks\",\"hook\":\"ask\",\"hook_seconds\":3}]");
    to_approved(&w);
    assert_true(run_until(&w, S(SUCCEEDED), 60000));
    assert_int_equal(w.n_asked, 1);
    _cleanup_json_ json_t *list = json_loads(w.asked, 0, NULL);
    const json_t *one = json_array_get(list, 0), *q = json_object_get(one, "question");
    assert_int_equal(json_integer_value(json_object_get(one, "seconds")), 3);
    assert_string_equal(json_string_value(json_object_get(q, "event")), "move");
    assert_string_equal(json_string_value(json_object_get(q, "rule")), "asks");
    assert_string_equal(json_string_value(json_object_get(q, "digest")), newest(&w)->body->digest);
    const json_t *move = json_array_get(json_object_get(q, "moves"), 0);
    assert_string_equal(json_string_value(json_object_get(move, "to")), "hv3");
    assert_true(audited(&w, "hook.answered"));
}

static void a_no_ends_the_move(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(2, "[{\"name\":\"asks\",\"hook\":\"ask\"}]");
    w.hook_says = ERR_DENIED;
    to_approved(&w);
    world_run(&w, 30000);
    assert_true(plan_state_ended(newest(&w)->state));
    assert_int_equal(newest(&w)->items[0].report->state, SKEIN__ACTION_STATE__ACTION_CANCELLED);
    assert_string_equal(newest(&w)->items[0].report->code, "DENIED");
    assert_int_equal(w.starts, 0);
}

static void a_wait_waits(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(3, "[{\"name\":\"asks\",\"hook\":\"ask\"}]");
    w.hook_says = ERR_UNAVAILABLE;
    to_approved(&w);
    world_run(&w, MINUTE);
    assert_int_equal(newest(&w)->state, S(ONGOING));
    assert_int_equal(w.starts, 0);
    assert_true(w.n_asked >= 4 && w.n_asked <= 8);
    w.hook_says = ERR_OK;
    assert_true(run_until(&w, S(SUCCEEDED), 60000));
    /* The approval does not wait for ever. */
    w.hook_says = ERR_UNAVAILABLE;
    w.vm_at[0] = 0;
    world_run(&w, 2 * MINUTE); /* the policy rests */
    to_approved(&w);
    world_run(&w, 30 * MINUTE);
    assert_true(plan_state_ended(newest(&w)->state));
    assert_int_equal(w.vm_at[0], 0);
}

static void rules_of_others_do_not_ask(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(4, "[{\"name\":\"asks\",\"hook\":\"ask\",\"classes\":[\"drain\"]}]");
    to_approved(&w);
    assert_true(run_until(&w, S(SUCCEEDED), 60000));
    assert_int_equal(w.n_asked, 0);
}

static void owners_are_told_in_time(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(5, "[{\"name\":\"tells\",\"hook\":\"tell\",\"notice_seconds\":60}]");
    w.hook_says = ERR_UNAVAILABLE; /* the owners' mail is down: they do not know yet */
    to_approved(&w);
    world_run(&w, 2 * MINUTE);
    assert_int_equal(newest(&w)->state, S(APPROVED));
    w.hook_says = ERR_OK;
    world_run(&w, 20000);
    assert_non_null(strstr(w.asked, "\"event\":\"notice\""));
    world_run(&w, 30000);
    assert_int_equal(newest(&w)->state, S(APPROVED)); /* not a minute after they knew */
    assert_true(run_until(&w, S(SUCCEEDED), 2 * MINUTE));
    assert_true(audited(&w, "owners.told"));
}

static void owners_and_people_veto(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(6, "[{\"name\":\"tells\",\"hook\":\"tell\",\"notice_seconds\":60}]");
    w.hook_says = ERR_DENIED;
    to_approved(&w);
    assert_true(run_until(&w, S(SUPERSEDED), 30000));
    assert_non_null(strstr(newest(&w)->reason, "its hook"));
    assert_int_equal(w.starts, 0);
    w.hook_says = ERR_OK;
    to_approved(&w);
    world_run(&w, 30000);
    say(&w, "bert", TRUST_APPROVER, test_vote("reject", newest(&w)->body->digest));
    assert_int_equal(newest(&w)->state, S(REJECTED));
}

/* Another planner does not believe what this one heard. */
static void a_new_planner_asks_anew(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(8, "[{\"name\":\"tells\",\"hook\":\"tell\",\"notice_seconds\":60}]");
    to_approved(&w);
    world_run(&w, 55000);
    assert_int_equal(w.n_asked, 1);
    restart_voter(&w, 1);
    elect(&w, 1);
    world_run(&w, 30000);
    assert_int_equal(w.n_asked, 2);
    assert_int_equal(newest(&w)->state, S(APPROVED));
    assert_true(run_until(&w, S(SUCCEEDED), 2 * MINUTE));
}

/* No planner can cut it short: voters give no permit before. */
static void voters_hold_to_the_notice(void **state)
{
    (void)state;
    WITH_RULES_AND_WORLD(7, "[{\"name\":\"slow\",\"notice_seconds\":60}]");
    struct err err;
    to_approved(&w);
    const struct state *st = w.voters[w.leader].st;
    assert_err(state_gate_when(st, newest(&w), wall(&w), &err), &err, ERR_UNAVAILABLE,
               "of the notice");
    assert_ok(state_gate_when(st, newest(&w), wall(&w) + 61000, &err), &err);
    world_run(&w, 50000);
    assert_int_equal(newest(&w)->state, S(APPROVED));
    assert_true(run_until(&w, S(SUCCEEDED), MINUTE));
    assert_int_equal(w.n_asked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_yes_is_a_permit),
        cmocka_unit_test(a_no_ends_the_move),
        cmocka_unit_test(a_wait_waits),
        cmocka_unit_test(rules_of_others_do_not_ask),
        cmocka_unit_test(owners_are_told_in_time),
        cmocka_unit_test(owners_and_people_veto),
        cmocka_unit_test(a_new_planner_asks_anew),
        cmocka_unit_test(voters_hold_to_the_notice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
