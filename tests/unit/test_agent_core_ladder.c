/* The ladder: no longer a pause than a guest needs, never a longer one than was approved. */
#include "agent/core/ladder.h"
#include "proto/util.h"
#include "tests/lib/test.h"

#define SECOND 1000

static const struct migration_choice throttled = {.auto_converge = true}, steady = {0};

static struct hv_progress round_of(uint32_t iteration, uint64_t left_mib, uint32_t dirty,
                                   uint32_t sent)
{
    return (struct hv_progress){.running = true,
                                .total_mib = 1000,
                                .remaining_mib = left_mib,
                                .iteration = iteration,
                                .dirty_milli_mib_s = dirty * 1000,
                                .bandwidth_milli_mib_s = sent * 1000};
}

static void a_quiet_guest_gets_a_short_pause(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    ladder_init(&l, 400, &throttled, 0);
    assert_int_equal(l.downtime_ms, 50);
    for (int i = 1; i < 60; i++) {
        struct hv_progress p = round_of(3, 2, 1, 100); /* 20 ms would do */
        p.transferred_mib = (uint64_t)i;
        assert_int_equal(ladder_look(&l, &p, i * SECOND, &err), LADDER_GO_ON);
    }
    ladder_init(&l, 20, &throttled, 0); /* a limit below the first step is the first step */
    assert_int_equal(l.downtime_ms, 20);
    ladder_init(&l, 0, &throttled, 0);
    assert_int_equal(l.limit_ms, LADDER_LIMIT_MS);
}

static void steps_go_up_to_the_limit_and_no_further(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    uint32_t last;
    unsigned steps = 0;
    ladder_init(&l, 400, &throttled, 0);
    last = l.downtime_ms;
    for (int i = 1; i < 120; i++) {
        struct hv_progress p = round_of(4, 90, 95, 100); /* 900 ms would be needed */
        p.transferred_mib = (uint64_t)i;
        if (ladder_look(&l, &p, i * SECOND, &err) == LADDER_ALLOW) {
            steps++;
            assert_true(l.downtime_ms > last && l.downtime_ms <= 400);
            last = l.downtime_ms;
        }
    }
    assert_int_equal(steps, 3); /* 100, 200, 400 */
    assert_int_equal(l.downtime_ms, 400);
    assert_int_equal(err.code, ERR_OK); /* throttled: the deadline decides */
}

static void a_step_that_would_do_is_taken_at_once(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    ladder_init(&l, 800, &throttled, 0);
    enum ladder_advice advice = LADDER_GO_ON;
    for (int i = 1; i < 10 && advice == LADDER_GO_ON; i++) {
        struct hv_progress p = round_of(3, 35, 30, 100); /* 350 ms */
        p.transferred_mib = (uint64_t)i;
        advice = ladder_look(&l, &p, i * SECOND, &err);
    }
    assert_int_equal(advice, LADDER_ALLOW);
    assert_int_equal(l.downtime_ms, 350);
}

static void the_first_round_teaches_nothing(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    ladder_init(&l, 400, &throttled, 0);
    for (int i = 1; i < 100; i++) {
        struct hv_progress p = round_of(1, 900, 95, 10);
        p.transferred_mib = (uint64_t)i;
        assert_int_equal(ladder_look(&l, &p, i * SECOND, &err), LADDER_GO_ON);
    }
    assert_int_equal(l.downtime_ms, 50);
}

static void what_cannot_end_is_given_up(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    enum ladder_advice advice = LADDER_GO_ON;
    int i;
    ladder_init(&l, 100, &steady, 0); /* it may not be throttled */
    for (i = 1; i < 300 && advice != LADDER_ABORT; i++) {
        struct hv_progress p = round_of(5, 90, 99, 100);
        p.transferred_mib = (uint64_t)i;
        advice = ladder_look(&l, &p, i * SECOND, &err);
    }
    assert_int_equal(advice, LADDER_ABORT);
    assert_in_range(i, 60, 75);
    assert_err(-(int)err.code, &err, ERR_TIMEOUT, "does not converge: 99 MiB/s are dirtied");
}

static void what_sends_nothing_is_given_up(void **state)
{
    (void)state;
    struct ladder l;
    struct err err = {0};
    enum ladder_advice advice = LADDER_GO_ON;
    int i;
    ladder_init(&l, 100, &throttled, 0);
    for (i = 1; i < 300 && advice != LADDER_ABORT; i++) {
        struct hv_progress p = round_of(1, 500, 0, 100);
        p.transferred_mib = (uint64_t)MIN(i, 10); /* the link is cut after ten seconds */
        advice = ladder_look(&l, &p, i * SECOND, &err);
    }
    assert_int_equal(advice, LADDER_ABORT);
    assert_in_range(i, 39, 42);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

/* Looks once a second until it is advised something else than to go on or a longer pause. */
static enum ladder_advice look_until(struct ladder *l, struct hv_progress p, int from, int to,
                                     int *ret_at, struct err *err)
{
    for (int i = from; i <= to; i++) {
        p.transferred_mib += 100;
        enum ladder_advice advice = ladder_look(l, &p, i * SECOND, err);
        *ret_at = i;
        if (advice != LADDER_GO_ON && advice != LADDER_ALLOW)
            return advice;
    }
    return LADDER_GO_ON;
}

static void post_copy_comes_when_no_pause_would_do(void **state)
{
    (void)state;
    const struct migration_choice how = {.mode = MIGRATE_POSTCOPY};
    struct ladder l;
    struct err err = {0};
    int at;
    ladder_init(&l, 400, &how, 0);
    struct hv_progress p = round_of(1, 900, 95, 100);
    assert_int_equal(look_until(&l, p, 1, 20, &at, &err),
                     LADDER_GO_ON); /* not in the first round */
    p = round_of(4, 90, 95, 100); /* 900 ms would be needed: late in the round, or in ten seconds */
    assert_int_equal(look_until(&l, p, 21, 60, &at, &err), LADDER_POSTCOPY);
    assert_in_range(at, 24, 35);

    ladder_init(&l, 400, &how, 0);
    p = round_of(4, 90, 95, 100);
    assert_int_equal(look_until(&l, p, 1, 5, &at, &err), LADDER_GO_ON);
    p.remaining_mib = 44; /* less than half of the round: but then a pause of 440 ms is too long */
    assert_int_equal(look_until(&l, p, 6, 8, &at, &err), LADDER_POSTCOPY);

    ladder_init(&l, 400, &how, 0); /* a pause that is allowed would do: none is needed */
    p = round_of(4, 30, 20, 100);
    assert_int_equal(look_until(&l, p, 1, 100, &at, &err), LADDER_GO_ON);
    assert_true(l.downtime_ms >= 300);
}

static void post_copy_waits_for_a_link_that_lives(void **state)
{
    (void)state;
    const struct migration_choice how = {.mode = MIGRATE_POSTCOPY_AFTER_PRECOPY};
    struct ladder l;
    struct err err = {0};
    int at;
    ladder_init(&l, 400, &how, 0);
    struct hv_progress p = round_of(1, 90, 10, 100);
    p.transferred_mib = 7;
    enum ladder_advice advice = ladder_look(&l, &p, SECOND, &err);
    assert_int_equal(advice, LADDER_GO_ON);
    p.iteration = 2;
    for (int i = 6; i < 30 && advice == LADDER_GO_ON; i++) /* nothing moves */
        advice = ladder_look(&l, &p, i * SECOND, &err);
    assert_true(advice != LADDER_POSTCOPY);
    ladder_init(&l, 400, &how, 0);
    assert_int_equal(look_until(&l, p, 1, 30, &at, &err), LADDER_POSTCOPY);
    assert_int_equal(at, 1); /* the second round: at once */
    p.postcopy = true;
    for (int i = 40; i < 400; i++) { /* afterwards it goes on, however slowly ... */
        p.transferred_mib += i % 10 == 0;
        assert_int_equal(ladder_look(&l, &p, i * SECOND, &err), LADDER_GO_ON);
    }
    for (int i = 400; i < 419; i++)
        assert_int_equal(ladder_look(&l, &p, i * SECOND, &err), LADDER_GO_ON);
    assert_int_equal(ladder_look(&l, &p, 421 * SECOND, &err),
                     LADDER_BREAK); /* ... while it moves */
}

static void the_deadline_switches_what_may_be_switched(void **state)
{
    (void)state;
    const struct migration_choice how = {.mode = MIGRATE_POSTCOPY, .auto_converge = true};
    struct ladder l;
    struct err err = {0};
    int at;
    ladder_init(&l, 400, &how, 60 * SECOND);
    struct hv_progress p = round_of(3, 38, 30, 100); /* 380 ms: a pause that will be allowed */
    assert_int_equal(look_until(&l, p, 1, 100, &at, &err), LADDER_POSTCOPY);
    assert_in_range(at, 55, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_guest_gets_a_short_pause),
        cmocka_unit_test(steps_go_up_to_the_limit_and_no_further),
        cmocka_unit_test(a_step_that_would_do_is_taken_at_once),
        cmocka_unit_test(the_first_round_teaches_nothing),
        cmocka_unit_test(what_cannot_end_is_given_up),
        cmocka_unit_test(what_sends_nothing_is_given_up),
        cmocka_unit_test(post_copy_comes_when_no_pause_would_do),
        cmocka_unit_test(post_copy_waits_for_a_link_that_lives),
        cmocka_unit_test(the_deadline_switches_what_may_be_switched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
