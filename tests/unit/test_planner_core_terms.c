/* The objective's terms, each alone: what a move costs by it, exactly. */
#include "tests/lib/test.h"

#include "planner/core/lower.h"
#include "proto/util.h"

/* h1 and h2 stand in one rack, h3 in another, h4 nobody knows where; h3 and h4 are empty. */
static const char world[] =
    "{\"schema\":\"skein.snapshot/1\",\"taken_at\":\"2026-11-22T01:30:00Z\",\"hosts\":["
    "{\"name\":\"h1\",\"state\":\"up\",\"failure_domain\":\"dc/r1/h1\",\"cpu\":{\"cores\":16},"
    "\"memory\":{\"total_mib\":32768}},"
    "{\"name\":\"h2\",\"state\":\"up\",\"failure_domain\":\"dc/r1/h2\",\"cpu\":{\"cores\":16},"
    "\"memory\":{\"total_mib\":32768}},"
    "{\"name\":\"h3\",\"state\":\"up\",\"failure_domain\":\"dc/r2/h3\",\"cpu\":{\"cores\":16},"
    "\"memory\":{\"total_mib\":32768},\"power\":{\"watts\":250}},"
    "{\"name\":\"h4\",\"state\":\"up\",\"cpu\":{\"cores\":16},\"memory\":{\"total_mib\":32768},"
    "\"power\":{\"watts\":300,\"curve_watts\":[100,110,120,130,140,150,160,170,180,190,200]}}],"
    "\"vms\":["
    "{\"name\":\"a1\",\"owner\":\"anna\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":2,"
    "\"memory_mib\":8192},"
    "{\"name\":\"a2\",\"owner\":\"anna\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":2,"
    "\"memory_mib\":8192},"
    "{\"name\":\"b1\",\"owner\":\"ben\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":8,"
    "\"memory_mib\":1024},"
    "{\"name\":\"c1\",\"host\":\"h2\",\"state\":\"running\",\"vcpus\":1,\"memory_mib\":1024},"
    "{\"name\":\"c2\",\"host\":\"h2\",\"state\":\"running\",\"vcpus\":1,\"memory_mib\":1024}]}";

enum { H1, H2, H3, H4 };

struct scene {
    struct model *m;
    struct planner_problem p;
    struct verdicts verdicts;
    struct lower *l;
    struct state *s;
};

static void scene_init(struct scene *x, const struct planner_weights *weights)
{
    struct err err;
    *x = (struct scene){0};
    assert_ok(model_parse(world, strlen(world), &x->m, &err), &err);
    x->p = (struct planner_problem){.model = x->m,
                                    .mode = PLANNER_BALANCE,
                                    .now = x->m->taken_at,
                                    .weights = *weights,
                                    .n_plus = QUANTITY_UNKNOWN};
    verdicts_init(&x->verdicts, &x->p);
    x->l = lower_new(&x->p, &x->verdicts);
    x->s = search_state_new(&x->l->in);
}

static void scene_done(struct scene *x)
{
    search_state_free(x->s);
    lower_free(x->l);
    verdicts_done(&x->verdicts);
    model_free(x->m);
}

static int64_t delta(struct scene *x, const char *vm, int host)
{
    return state_cost_delta(x->s, model_find_vm(x->m, vm), host);
}

static void move(struct scene *x, const char *vm, int host)
{
    state_move(x->s, model_find_vm(x->m, vm), host);
}

static void distance_is_counted_in_levels(void **state)
{
    (void)state;
    _cleanup_(scene_done) struct scene x;
    scene_init(&x, &(struct planner_weights){.distance = 10});
    assert_int_equal(delta(&x, "a1", H2), 10);
    assert_int_equal(delta(&x, "a1", H3), 20);
    assert_int_equal(delta(&x, "a1", H4), 30); /* nobody knows: as far as there is */
    move(&x, "a1", H3);
    assert_int_equal(delta(&x, "a1", H2), -10);
    assert_int_equal(delta(&x, "a1", H1), -20);
}

static void the_owner_with_most_moves_counts(void **state)
{
    (void)state;
    _cleanup_(scene_done) struct scene x;
    scene_init(&x, &(struct planner_weights){.owner_moves = 7});
    assert_int_equal(delta(&x, "a1", H3), 7);
    move(&x, "a1", H3);
    assert_int_equal(delta(&x, "a2", H3), 7); /* anna's second */
    assert_int_equal(delta(&x, "b1", H3), 0); /* ben's first is no more than anna's */
    assert_int_equal(delta(&x, "c1", H3), 0); /* nobody's count each for itself */
    move(&x, "c1", H3);
    assert_int_equal(delta(&x, "c2", H3), 0);
    move(&x, "a2", H3);
    assert_int_equal(delta(&x, "a2", H1), -7);
    assert_int_equal(x.s->cost, 14);
}

static void hosts_in_use_cost_by_count_and_watts(void **state)
{
    (void)state;
    _cleanup_(scene_done) struct scene x, y;
    scene_init(&x, &(struct planner_weights){.host_used = 1000});
    scene_init(&y, &(struct planner_weights){.watt = 3});
    assert_int_equal(delta(&x, "c1", H1), 0);
    assert_int_equal(delta(&x, "c1", H3), 1000);
    move(&x, "c1", H1);
    assert_int_equal(delta(&x, "c2", H1), -1000);
    assert_int_equal(delta(&x, "c2", H3), 0);
    assert_int_equal(delta(&y, "c1", H3), 750); /* what it draws */
    assert_int_equal(delta(&y, "c1", H4), 300); /* idle, by its curve */
    assert_int_equal(delta(&y, "c1", H1), 0);
}

/* 2 GiB for each vCPU: h1 has 4 vCPUs free and 15 GiB, were b1 gone 12 and 16 GiB. */
static void free_vcpus_want_memory(void **state)
{
    (void)state;
    _cleanup_(scene_done) struct scene x;
    scene_init(&x, &(struct planner_weights){.ratio = 2});
    const struct instance *in = &x.l->in;
    assert_int_equal(in->n_balances, 1);
    int64_t each = in->balances[0].target, left = 0, before = 0;
    int64_t vcpus = in->capacity[LOWER_VCPUS], memory = in->capacity[LOWER_MEMORY];
    assert_int_equal(each, memory / vcpus);
    before = 2 * MAX(each * (vcpus - 12) - (memory - 17408), 0);
    left = 2 * MAX(each * (vcpus - 4) - (memory - 16384), 0);
    assert_true(left > before);
    assert_int_equal(delta(&x, "b1", H3), left - before); /* h3 has memory to spare */
}

/* Without weights nothing of this is asked: plans stay as they were. */
static void defaults_leave_them_out(void **state)
{
    (void)state;
    _cleanup_(scene_done) struct scene x;
    scene_init(&x, &(struct planner_weights){0});
    assert_null(x.l->in.open_cost);
    assert_null(x.l->in.service);
    assert_int_equal(x.l->in.n_balances, 0);
    assert_int_equal(x.l->weights.distance, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_is_counted_in_levels),
        cmocka_unit_test(the_owner_with_most_moves_counts),
        cmocka_unit_test(hosts_in_use_cost_by_count_and_watts),
        cmocka_unit_test(free_vcpus_want_memory),
        cmocka_unit_test(defaults_leave_them_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
