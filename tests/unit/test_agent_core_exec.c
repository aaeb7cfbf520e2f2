/* The whole acting side under random schedules, and each journal write as a place to die. */
#include "agent/core/exec_action.h"
#include "tests/unit/acting_world.h"

static bool all_ended(struct world *w)
{
    struct plan *p = the_plan(w);
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (!plan_action_ended(plan_item_state(&p->items[i])))
            return false;
    for (int i = 0; i < HOSTS; i++) {
        struct host *h = &w->hosts[i];
        if (!h->up || exec_active(h->exec) > 0)
            return false;
        for (size_t k = 0; k < exec_count(h->exec); k++) {
            struct exec_item item;
            exec_item(h->exec, k, &item);
            if (!item.reported)
                return false;
        }
    }
    return true;
}

/* No faults any more: within bounded time everything has ended and nothing is held. */
static void heal_and_end(struct world *w)
{
    w->faults = false;
    memset(w->cut_until, 0, sizeof w->cut_until);
    for (int i = 0; i < HOSTS; i++)
        w->hosts[i].libvirt_down_until = 0;
    for (int i = 0; i < 60 && !all_ended(w); i++)
        run(w, 10000);
    if (!all_ended(w)) {
        struct plan *p = the_plan(w);
        for (size_t i = 0; i < p->body->n_moves; i++)
            if (!plan_action_ended(plan_item_state(&p->items[i])))
                WORLD_FAIL(w, "action %s has not ended: %s", p->items[i].move->id,
                           plan_action_name(plan_item_state(&p->items[i])));
        WORLD_FAIL(w, "something has not ended or is not reported");
    }
    for (size_t i = 0; i < ARRAY_SIZE(w->migrations); i++) /* what hung for good lets go */
        if (w->migrations[i].active) {
            w->migrations[i].aborted = true;
            w->migrations[i].fate = FATE_FAILS;
        }
    run(w, 90000);
    for (int i = 0; i < HOSTS; i++)
        if (reserve_count(w->hosts[i].reserve) > 0)
            WORLD_FAIL(w, "%s: a reservation stays", host_names[i]);
}

static void one_schedule(uint64_t seed, unsigned tally[EXEC_STATE_COUNT])
{
    struct world w;
    world_init(&w, seed);
    for (int i = 0; i < HOSTS; i++)
        w.hosts[i].skew = between(&w, -400, 400);
    w.vm_mib = chance(&w, 500) ? VM_MIB : VM_MIB / 2;
    for (int i = 0; i < HOSTS; i++) {
        w.hosts[i].conf.limit_inflow = (unsigned)between(&w, 1, 3);
        w.hosts[i].conf.limit_outflow = (unsigned)between(&w, 1, 2);
    }
    run(&w, 2000);
    world_begin(&w);
    w.faults = true;
    bool cancel = chance(&w, 300);
    run(&w, between(&w, 500, 20000));
    if (cancel)
        commit_envelope(&w, "bert", "cancel");
    run(&w, between(&w, 1000, 60000));
    heal_and_end(&w);
    for (int i = 0; i < VMS; i++)
        if (w.ended[i])
            tally[w.end_state[i]]++;
    world_done(&w);
}

/* Seeds that once found something. */
static void schedules_that_once_failed(void **state)
{
    (void)state;
    unsigned tally[EXEC_STATE_COUNT] = {0};
    one_schedule(889, tally); /* a slow release took the reservation of the action's second try */
}

static void random_schedules_keep_the_invariants(void **state)
{
    (void)state;
    unsigned tally[EXEC_STATE_COUNT] = {0};
    const char *only = getenv("SKEIN_TEST_SEED"), *many = getenv("SKEIN_TEST_RUNS");
    uint64_t from = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t n = only != NULL ? 1 : many != NULL ? strtoull(many, NULL, 10) : 150;
    for (uint64_t seed = from; seed < from + n; seed++)
        one_schedule(seed, tally);
    if (only != NULL)
        return;
    print_message("ended: %u done, %u undone, %u need an operator\n", tally[EXEC_DONE],
                  tally[EXEC_UNDONE], tally[EXEC_NEEDS_OPERATOR]);
    assert_true(tally[EXEC_DONE] > 0 && tally[EXEC_UNDONE] > 0 && tally[EXEC_NEEDS_OPERATOR] > 0);
}

static void a_quiet_day_moves_what_fits(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    run(&w, 2000);
    world_begin(&w);
    run(&w, 120000);
    assert_true(all_ended(&w));
    assert_int_equal(w.end_state[1], EXEC_DONE);
    assert_true(w.doms[2][1].present && !w.doms[0][1].present);
    /* hv2 takes vm1 or vm4, not both: capacity at the destination, whatever the plan says */
    assert_int_equal((w.end_state[0] == EXEC_DONE) + (w.end_state[3] == EXEC_DONE), 1);
    world_done(&w);
}

static const struct action *action_of(const struct world *w, int vm)
{
    for (int i = 0; i < HOSTS; i++)
        for (size_t k = 0; k < w->hosts[i].exec->n; k++)
            if (w->hosts[i].exec->actions[k]->record->uuid != NULL &&
                vm_index((struct world *)(uintptr_t)w,
                         w->hosts[i].exec->actions[k]->record->uuid) == vm)
                return w->hosts[i].exec->actions[k];
    return NULL;
}

/* The source takes down what it is like, the destination compares: what is set up otherwise is
 * told, another definition wants an operator. */
static void what_changed_by_the_move_is_told(void **state)
{
    (void)state;

    static const struct {
        const char *becomes, *kind, *told;
        enum exec_state end;
    } days[] = {
        {"virtio", "set", "", EXEC_DONE},
        {"e1000", "set", "not as before: card was virtio, is e1000", EXEC_DONE},
        {"e1000", "def", "another definition than before: card was virtio, is e1000",
         EXEC_NEEDS_OPERATOR},
    };

    for (size_t i = 0; i < ARRAY_SIZE(days); i++) {
        struct world w;
        world_init(&w, 1);
        w.becomes = days[i].becomes;
        w.becomes_kind = days[i].kind;
        run(&w, 2000);
        world_begin(&w);
        run(&w, 60000);
        assert_int_equal(w.end_state[1], days[i].end);
        assert_true(w.doms[2][1].present);
        const struct action *a = action_of(&w, 1);
        assert_non_null(a);
        assert_non_null(strstr(a->record->evidence, days[i].told));
        if (days[i].end == EXEC_DONE && days[i].told[0] != '\0')
            assert_string_equal(a->record->message, days[i].told);
        assert_int_equal(a->record->n_before, 0); /* it has served */
        world_done(&w);
    }
}

/* Dies right after the k-th journal write of the source, for every k, with every fate. */
static void death_at_every_journal_write(void **state)
{
    (void)state;
    for (int fate = 0; fate < FATES; fate++)
        for (unsigned k = 1; k <= 12; k++) {
            struct world w;
            world_init(&w, (uint64_t)fate * 100 + k);
            w.force_fate = (enum fate)fate;
            w.fate_forced = true;
            run(&w, 2000);
            w.only_crash_after = k;
            world_begin(&w);
            run(&w, 60000);
            heal_and_end(&w);
            if (w.migrate_calls[1] > 0 && fate_moves((enum fate)fate))
                assert_int_equal(w.end_state[1], EXEC_DONE);
            world_done(&w);
        }
}

static void run_until_state(struct world *w, enum exec_state want)
{
    for (int i = 0; i < 600; i++) {
        struct exec_item item;
        for (size_t k = 0; k < exec_count(w->hosts[0].exec); k++) {
            exec_item(w->hosts[0].exec, k, &item);
            if (item.state == want)
                return;
        }
        run(w, 100);
    }
    fail_msg("state %s was never seen", exec_state_name(want));
}

/* The plan is begun, and hv1 comes to this state. */
static void begin(struct world *w, enum exec_state want)
{
    run(w, 2000);
    world_begin(w);
    run_until_state(w, want);
}

/* That host's agent dies, and is away for so long. */
static void agent_away(struct world *w, int host, msec away)
{
    agent_down(w, &w->hosts[host]);
    w->hosts[host].up_at = w->now + away;
}

static void cancel_works_in_every_state(void **state)
{
    (void)state;

    static const enum exec_state where[] = {EXEC_CONFIRM, EXEC_RUNNING, EXEC_SETTLE};

    for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
        struct world w;
        world_init(&w, 7);
        w.fate_forced = true;
        w.force_fate = where[i] == EXEC_SETTLE ? FATE_FAILS : FATE_STUCK;
        run(&w, 2000);
        world_begin(&w);
        if (where[i] == EXEC_CONFIRM) /* hv1 gets no voter's word */
            w.cut_until[1][0] = w.cut_until[2][0] = w.now + 4000;
        run_until_state(&w, where[i]);
        commit_envelope(&w, "bert", "cancel");
        msec before = w.now;
        while (!all_ended(&w) && w.now - before < 60000)
            run(&w, 100);
        assert_true(all_ended(&w));
        assert_true(w.now - before < 40000);
        assert_true(w.doms[0][0].present && w.doms[0][1].present);
        world_done(&w);
    }
}

/* Our job has failed, the destination does not answer, and a person moves the VM by hand. */
static void a_job_that_a_person_began_is_left_alone(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 7);
    w.fate_forced = true;
    w.force_fate = FATE_FAILS;
    begin(&w, EXEC_RUNNING);
    for (int i = 1; i < HOSTS; i++) {
        w.hosts[i].libvirt_down_until = w.now + 20000;
        w.cut_until[0][i] = w.cut_until[i][0] = w.now + 20000;
    }
    run_until_state(&w, EXEC_SETTLE);
    run(&w, 11000);
    w.doms[0][0].job = w.doms[0][1].job = true;
    commit_envelope(&w, "bert", "cancel");
    run(&w, 6000);
    assert_int_equal(w.abort_calls, 0);
    w.doms[0][0].job = w.doms[0][1].job = false;
    run(&w, 30000);
    assert_true(all_ended(&w));
    world_done(&w);
}

/* hv1's agent dies as soon as vm2's move to hv3 runs, and is away for so long. */
static void die_while_it_moves(struct world *w, enum fate fate, msec away)
{
    world_init(w, 3);
    w->fate_forced = true;
    w->force_fate = fate;
    run(w, 2000);
    world_begin(w);
    for (int i = 0; i < 600 && !w->doms[0][1].job; i++)
        run(w, 100);
    assert_true(w->doms[0][1].job);
    agent_away(w, 0, away);
}

/* vm2's own job has ended, and a person's begins; cancelled, before hv1's agent is back. */
static void a_person_moves_it(struct world *w, int to)
{
    assert_false(w->doms[0][1].job);
    w->doms[0][1].job = true;
    w->doms[0][1].job_began = w->now;
    w->doms[to][1] = (struct dom){.present = true, .state = SKEIN__VM_STATE__VM_INCOMING};
    commit_envelope(w, "bert", "cancel");
    run(w, 20000);
    assert_non_null(w->hosts[0].exec);
    assert_int_equal(w->abort_calls, 0);
    w->doms[0][1].job = false;
    w->doms[to][1] = (struct dom){0};
    run(w, 30000);
    assert_true(all_ended(w));
    world_done(w);
}

/* It began when ours may have, and goes elsewhere; or where ours went, and began too late. */
static void a_restarted_agent_leaves_a_persons_job_alone(void **state)
{
    (void)state;
    struct world w;
    die_while_it_moves(&w, FATE_FAILS, 12000);
    run(&w, 10000);
    a_person_moves_it(&w, 1);
    die_while_it_moves(&w, FATE_FAILS, 42000);
    run(&w, 40000);
    a_person_moves_it(&w, 2);
}

static void a_restarted_agent_aborts_its_own_job(void **state)
{
    (void)state;
    struct world w;
    die_while_it_moves(&w, FATE_STUCK, 40000);
    commit_envelope(&w, "bert", "cancel");
    run(&w, 50000);
    assert_true(w.abort_calls > 0);
    heal_and_end(&w);
    assert_int_equal(w.end_state[1], EXEC_UNDONE);
    world_done(&w);
}

static void an_agent_that_died_adopts_its_job(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct world w;
        die_while_it_moves(&w, FATE_STUCK, 0);
        w.silent_on_age = silent;
        run(&w, 1000);
        run_until_state(&w, EXEC_ADOPTED);
        for (size_t i = 0; i < ARRAY_SIZE(w.migrations); i++)
            w.migrations[i].fate = FATE_MOVES;
        heal_and_end(&w);
        assert_int_equal(w.end_state[1], EXEC_DONE);
        world_done(&w);
    }
}

static void an_order_still_on_its_way_is_waited_for(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 3);
    w.order_delay = 900; /* written to the hypervisor's socket; then the agent dies */
    begin(&w, EXEC_RUNNING);
    agent_away(&w, 0, 0);
    heal_and_end(&w);
    assert_int_equal(w.end_state[1], EXEC_DONE);
    world_done(&w);
}

static void a_silent_destination_is_asked_through_its_hypervisor(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4);
    begin(&w, EXEC_RUNNING);
    for (int i = 1; i < HOSTS; i++) {
        agent_away(&w, i, 3600000);
    }
    run(&w, 20000);
    for (size_t k = 0; k < exec_count(w.hosts[0].exec); k++) { /* what began has ended */
        struct exec_item item;
        exec_item(w.hosts[0].exec, k, &item);
        assert_true(item.state != EXEC_RUNNING && item.state != EXEC_SETTLE);
    }
    assert_true(w.ended[0] || w.ended[1]);
    for (int i = 0; i < 2; i++)
        assert_true(!w.ended[i] || w.end_state[i] == EXEC_DONE);
    world_done(&w);
}

/* What is left of a post-copy that broke goes on only where there is a copy to send it to. */
static void a_broken_postcopy_needs_its_destination(void **state)
{
    (void)state;

    static const struct {
        bool present;
        Skein__VmState state;
        enum settled want;
    } there[] = {
        {true, SKEIN__VM_STATE__VM_RUNNING, SETTLED_BROKEN},
        {true, SKEIN__VM_STATE__VM_PAUSED, SETTLED_BROKEN},
        {true, SKEIN__VM_STATE__VM_INCOMING, SETTLED_BROKEN},
        {true, SKEIN__VM_STATE__VM_STOPPED, SETTLED_LOST},
        {true, SKEIN__VM_STATE__VM_CRASHED, SETTLED_LOST},
        {false, SKEIN__VM_STATE__VM_STOPPED, SETTLED_LOST},
    };

    Skein__JournalRecord record = SKEIN__JOURNAL_RECORD__INIT;
    record.state = SKEIN__JOURNAL_STATE__JOURNAL_STARTED;
    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        struct action a = {.record = &record, .journaled = true};
        a.here = (struct glance){.done = true,
                                 .known = true,
                                 .seen = {.present = true,
                                          .state = SKEIN__VM_STATE__VM_PAUSED,
                                          .persistent = true,
                                          .job = true}};
        snprintf(a.here.seen.reason, sizeof a.here.seen.reason, "%s", HV_REASON_POSTCOPY_FAILED);
        a.there = (struct glance){.done = true,
                                  .known = true,
                                  .seen = {.present = there[i].present, .state = there[i].state}};
        assert_int_equal(settle_decide(&a), there[i].want);
    }
}

/* It is not said to have moved, nor waited for for ever: it runs here. */
static void a_destination_that_is_gone_ends_the_attempt(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4);
    begin(&w, EXEC_RUNNING);
    for (size_t i = 0; i < ARRAY_SIZE(w.migrations); i++)
        w.migrations[i].fate = FATE_FAILS;
    for (int i = 1; i < HOSTS; i++) {
        agent_away(&w, i, 3600000);
        w.hosts[i].libvirt_down_until = w.now + 3600000;
    }
    run(&w, 60000);
    assert_true(w.ended[0] || w.ended[1]);
    for (size_t k = 0; k < exec_count(w.hosts[0].exec); k++) {
        struct exec_item item;
        exec_item(w.hosts[0].exec, k, &item);
        if (item.started_at_ms == 0)
            continue;
        assert_int_equal(item.state, EXEC_UNDONE);
        assert_non_null(strstr(item.evidence, "hv1: running, defined;"));
        assert_non_null(strstr(item.evidence, "not known ("));
    }
    world_done(&w);
}

static void the_table_of_transitions_has_no_way_back(void **state)
{
    (void)state;
    for (int to = 0; to < EXEC_STATE_COUNT; to++) {
        assert_false(exec_transition_allowed(EXEC_DONE, (enum exec_state)to));
        assert_false(exec_transition_allowed(EXEC_UNDONE, (enum exec_state)to));
        assert_false(exec_transition_allowed(EXEC_NEEDS_OPERATOR, (enum exec_state)to));
        assert_false(exec_transition_allowed((enum exec_state)to, EXEC_CONFIRM));
    }
    assert_false(exec_transition_allowed(EXEC_RUNNING, EXEC_DONE)); /* never without looking */
    assert_false(exec_transition_allowed(EXEC_RUNNING, EXEC_UNDONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_transitions_has_no_way_back),
        cmocka_unit_test(a_quiet_day_moves_what_fits),
        cmocka_unit_test(what_changed_by_the_move_is_told),
        cmocka_unit_test(cancel_works_in_every_state),
        cmocka_unit_test(a_job_that_a_person_began_is_left_alone),
        cmocka_unit_test(an_agent_that_died_adopts_its_job),
        cmocka_unit_test(a_restarted_agent_leaves_a_persons_job_alone),
        cmocka_unit_test(a_restarted_agent_aborts_its_own_job),
        cmocka_unit_test(an_order_still_on_its_way_is_waited_for),
        cmocka_unit_test(a_silent_destination_is_asked_through_its_hypervisor),
        cmocka_unit_test(a_broken_postcopy_needs_its_destination),
        cmocka_unit_test(a_destination_that_is_gone_ends_the_attempt),
        cmocka_unit_test(death_at_every_journal_write),
        cmocka_unit_test(schedules_that_once_failed),
        cmocka_unit_test(random_schedules_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
