/* Prediction of moves: what is learnt corrects it, and what is asked for is predicted as that. */
#include "tests/lib/test.h"

#include "planner/core/model.h"
#include "planner/core/predict.h"
#include "proto/util.h"

static struct model *model_of(const char *host_more, const char *vm_more)
{
    struct err err = {0};
    struct model *m = NULL;
    _cleanup_(freep) char *text = xasprintf(
        "{\"schema\":\"skein.snapshot/1\",\"hosts\":["
        "{\"name\":\"a\",\"state\":\"up\",\"cpu\":{\"cores\":8},\"memory\":{\"total_mib\":65536},"
        "\"migration_mbps\":1000%s},"
        "{\"name\":\"b\",\"state\":\"up\",\"cpu\":{\"cores\":8},\"memory\":{\"total_mib\":65536},"
        "\"migration_mbps\":1000}],\"vms\":[{\"name\":\"v\",\"uuid\":"
        "\"00000000-0000-4000-8000-000000000001\",\"host\":\"a\",\"state\":\"running\",\"vcpus\":2,"
        "\"memory_mib\":4096,\"memory_used_mib\":2048,\"dirty_mib_s\":1,\"wset_mib\":512%s}]}",
        host_more, vm_more);
    assert_ok(model_parse(text, strlen(text), &m, &err), &err);
    assert_int_equal(m->n_warnings, 0);
    return m;
}

static struct planner_estimate predict(const char *host_more, const char *vm_more)
{
    struct planner_parameters p;
    struct planner_estimate e;
    struct model *m = model_of(host_more, vm_more);
    predict_move(m, 0, 0, 1, false, 1, 1, &p, &e);
    assert_int_equal(migration_check(&p.how, NULL), 0);
    model_free(m);
    return e;
}

static void a_slower_link_is_reckoned_as_it_was(void **state)
{
    (void)state;
    struct planner_estimate plain = predict("", "");
    struct planner_estimate slow = predict(",\"measured_out_mbps\":100", "");
    assert_in_range(slow.ms, plain.ms * 8, plain.ms * 11); /* a ninth of what was reckoned */
    struct planner_estimate other = predict(",\"measured_in_mbps\":100", "");
    assert_int_equal(other.ms, plain.ms); /* nothing arrives there */
    struct planner_estimate faster = predict(",\"measured_out_mbps\":9000", "");
    assert_int_equal(faster.ms, plain.ms); /* no link is faster than it is said to be */
}

/* A link that was slow is not kept slow: what was measured bounds what is expected, not what a move
 * may take. */
static void a_slower_link_may_still_be_used_as_it_is_said_to_be(void **state)
{
    (void)state;
    struct planner_parameters plain, slow;
    struct planner_estimate e;
    struct model *m = model_of("", ""), *measured = model_of(",\"measured_out_mbps\":100", "");
    predict_move(m, 0, 0, 1, false, 1, 1, &plain, &e);
    predict_move(measured, 0, 0, 1, false, 1, 1, &slow, &e);
    assert_int_equal(slow.bandwidth_mib_s, plain.bandwidth_mib_s);
    model_free(m);
    model_free(measured);
}

/* What a VM sent, at whatever rate, is what it sends again. */
static void a_vm_is_reckoned_by_what_it_sent(void **state)
{
    (void)state;
    struct planner_estimate e =
        predict(",\"measured_out_mbps\":100", ",\"moved_mib\":500,\"moved_ms\":42800,"
                                              "\"moved_downtime_ms\":77");
    assert_in_range(e.mib, 490, 510);
    assert_in_range(e.ms, 40000, 45000);
    assert_int_equal(e.downtime_ms, 77);
    struct planner_estimate absurd = predict("", ",\"moved_mib\":900000000,\"moved_ms\":10");
    assert_true(absurd.mib < 4 * 4096 && absurd.ms > 0);
    struct planner_estimate none = predict("", ",\"moved_mib\":0,\"moved_ms\":0");
    assert_int_equal(none.ms, predict("", "").ms);
}

static void what_is_asked_for_is_predicted(void **state)
{
    (void)state;
    struct model *m = model_of("", ",\"local_disk_mib\":10000");
    struct planner_parameters p;
    struct planner_estimate plain, e;
    struct migration_choice how = {.mode = MIGRATE_PRECOPY, .auto_converge = true};
    predict_move(m, 0, 0, 1, false, 1, 1, &p, &plain);
    predict_as_asked(m, 0, 0, 1, &how, &p, &e);
    assert_int_equal(e.ms, plain.ms);
    assert_true(p.how.auto_converge && p.bandwidth_mib_s > 0);
    how = (struct migration_choice){.mode = MIGRATE_OFFLINE};
    predict_as_asked(m, 0, 0, 1, &how, &p, &e);
    assert_true(e.mib == 0 && e.ms < 2000);
    how = (struct migration_choice){.mode = MIGRATE_POSTCOPY_AFTER_PRECOPY};
    predict_as_asked(m, 0, 0, 1, &how, &p, &e);
    assert_int_equal(e.mib, 2048 + 512);
    how = (struct migration_choice){.storage = MIGRATE_STORAGE_ALL};
    predict_as_asked(m, 0, 0, 1, &how, &p, &e);
    assert_in_range(e.mib, plain.mib + 10000, plain.mib + 10100);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slower_link_is_reckoned_as_it_was),
        cmocka_unit_test(a_slower_link_may_still_be_used_as_it_is_said_to_be),
        cmocka_unit_test(a_vm_is_reckoned_by_what_it_sent),
        cmocka_unit_test(what_is_asked_for_is_predicted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
