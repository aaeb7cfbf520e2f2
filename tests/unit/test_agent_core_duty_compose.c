/* Two policies that want things of the same VMs and hosts. */
#include "tests/lib/test.h"

#include "agent/core/snapshot.h"
#include "tests/lib/deciders.h"

#define S(x) SKEIN__PLAN_STATE__PLAN_##x

/* What alpha and beta want now. */
static struct wish {
    const char *class;
    struct test_move move;
    bool wanted;
} wishes[2];

static char *worker(struct world *w, const struct evaluation *e, size_t *ret_len,
                    const char **ret_nothing)
{
    if (e->policy == NULL)
        return worker_wants(w, e, ret_len, ret_nothing);
    const struct wish *wish = &wishes[strcmp(e->policy, "beta") == 0];
    if (!wish->wanted || w->vm_at[wish->move.vm] != wish->move.from[2] - '1') {
        *ret_nothing = "all is well";
        return NULL;
    }
    return test_body(e->policy, wish->class, 7, e->snapshot_digest, &wish->move, 1, ret_len);
}

static struct plan *plan_of(struct world *w, const char *policy, Skein__PlanState is)
{
    struct plan *const *plans;
    for (size_t i = state_plans(leaders_state(w), &plans); i-- > 0;)
        if (strcmp(plans[i]->body->policy, policy) == 0 && plans[i]->state == is)
            return plans[i];
    return NULL;
}

static void open_two(struct world *w, const char *alpha, const char *beta)
{
    memset(wishes, 0, sizeof wishes);
    world_open(w, 1);
    w->worker = worker;
    wishes[0].class = alpha;
    wishes[1].class = beta;
}

static void wish(int which, int vm, const char *from, const char *to)
{
    wishes[which].move = (struct test_move){0, vm, from, to};
    wishes[which].wanted = true;
}

static const char *outcome_of(struct world *w, const char *policy, char *ret, size_t size)
{
    _cleanup_json_ json_t *status = duty_status(w->voters[0].d);
    size_t i;
    const json_t *o;
    *ret = '\0';
    json_array_foreach(json_object_get(status, "policies"), i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "name")), policy) == 0)
            snprintf(ret, size, "%s", json_string_value(json_object_get(o, "outcome")));
    }
    return ret;
}

static void wait_for(struct world *w, const char *policy, Skein__PlanState is)
{
    for (msec end = w->now + 60000; w->now < end && plan_of(w, policy, is) == NULL;)
        world_tick(w);
    CHECK(plan_of(w, policy, is) != NULL, "no plan of %s is %s", policy, plan_state_name(is));
}

/* The plan that optimises is withdrawn, and is not made again while the other one stands. */
static void what_optimises_gives_way(void **state)
{
    (void)state;
    struct world w __attribute__((cleanup(world_close)));
    char text[300];
    open_two(&w, "thermal", "optimise");
    wish(1, 0, "hv1", "hv2");
    wait_for(&w, "beta", S(PENDING_APPROVAL));
    wish(0, 0, "hv1", "hv3");
    wait_for(&w, "alpha", S(PENDING_APPROVAL));
    wait_for(&w, "beta", S(SUPERSEDED));
    assert_non_null(strstr(plan_of(&w, "beta", S(SUPERSEDED))->reason, "gives way to plan"));
    assert_non_null(strstr(plan_of(&w, "beta", S(SUPERSEDED))->reason, "VM vm0 is part of both"));
    world_run(&w, 60000);
    assert_null(plan_of(&w, "beta", S(PENDING_APPROVAL)));
    assert_non_null(strstr(outcome_of(&w, "beta", text, sizeof text), "(thermal)"));
    assert_non_null(plan_of(&w, "alpha", S(PENDING_APPROVAL)));
    wishes[0].wanted = false; /* it is not needed any more: then the other one may */
    for (msec end = w.now + 600000;
         w.now < end && plan_of(&w, "beta", S(PENDING_APPROVAL)) == NULL;)
        world_tick(&w);
    assert_non_null(plan_of(&w, "beta", S(PENDING_APPROVAL)));
}

/* Of two that optimise the earlier stands: they do not pull at one host in two directions. */
static void the_earlier_stands(void **state)
{
    (void)state;
    struct world w __attribute__((cleanup(world_close)));
    char text[300];
    open_two(&w, "optimise", "optimise");
    wish(0, 0, "hv1", "hv3");
    wait_for(&w, "alpha", S(PENDING_APPROVAL));
    wish(1, 1, "hv2", "hv1");
    world_run(&w, 60000);
    assert_null(plan_of(&w, "beta", S(PENDING_APPROVAL)));
    assert_non_null(strstr(outcome_of(&w, "beta", text, sizeof text),
                           "it takes VMs from hv1, to which this brings some"));
    wish(1, 1, "hv2", "hv3"); /* the same direction */
    wait_for(&w, "beta", S(PENDING_APPROVAL));
    assert_non_null(plan_of(&w, "alpha", S(PENDING_APPROVAL)));
}

/* What protects does not wait for somebody to approve what else protects. */
static void what_protects_stands_beside_it(void **state)
{
    (void)state;
    struct world w __attribute__((cleanup(world_close)));
    open_two(&w, "thermal", "safety");
    wish(0, 0, "hv1", "hv3");
    wait_for(&w, "alpha", S(PENDING_APPROVAL));
    wish(1, 0, "hv1", "hv2");
    wait_for(&w, "beta", S(PENDING_APPROVAL));
    world_run(&w, 30000);
    assert_non_null(plan_of(&w, "alpha", S(PENDING_APPROVAL)));
    assert_non_null(plan_of(&w, "beta", S(PENDING_APPROVAL)));
}

/* What a person asked for goes first, too. */
static void people_go_first(void **state)
{
    (void)state;
    struct world w __attribute__((cleanup(world_close)));
    open_two(&w, "optimise", "optimise");
    wish(0, 0, "hv1", "hv3");
    wait_for(&w, "alpha", S(PENDING_APPROVAL));
    say(&w, "olga", TRUST_OPERATOR, test_request(0, "hv2"));
    wait_for(&w, "alpha", S(SUPERSEDED));
    assert_non_null(strstr(plan_of(&w, "alpha", S(SUPERSEDED))->reason, "(user)"));
    assert_non_null(plan_of(&w, "", S(PENDING_APPROVAL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_optimises_gives_way),
        cmocka_unit_test(the_earlier_stands),
        cmocka_unit_test(what_protects_stands_beside_it),
        cmocka_unit_test(people_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
