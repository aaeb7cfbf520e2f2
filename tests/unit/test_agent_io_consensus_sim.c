/* Consensus under random schedules, of voters that stay the same: see voters_world.h.
 *
 * Each schedule follows from its seed. SKEIN_SEED=N runs that one alone, SKEIN_RUNS=N so many. */
#include "tests/lib/voters_world.h"

static bool all_alike(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].log_n != w->nodes[0].log_n)
            return false;
    return true;
}

/* With all of them up and connected, agreement must come within a bound, and a new entry with it.
 */
static void converge(struct world *w)
{
    heal(w);
    w->loss_percent = w->twice_percent = 0;
    w->delay_ms = 5;
    for (size_t i = 0; i < w->n; i++) {
        w->nodes[i].slow_until = 0;
        if (w->nodes[i].c == NULL)
            start(&w->nodes[i]);
    }
    uint64_t until = w->now + 60 * ELECTION_MS;
    size_t acked = w->n_acked;
    while (w->now < until && !(w->n_acked > acked && has_leader(w) && all_alike(w))) {
        step(w);
        if (w->n_acked == acked && w->now % 50 == 0)
            propose(w);
    }
    if (w->now >= until)
        BROKEN(w, "no agreement after all is well");
    for (size_t i = 0; i < w->n; i++)
        check_acked(&w->nodes[i]);
}

struct totals {
    size_t acked, unknown, restores, crashes, elections;
};

static void run_schedule(uint64_t seed, struct totals *t)
{
    struct world *w = world_new(seed, seed % 3 == 0 ? 5 : 3);
    w->loss_percent = (unsigned)rnd(w, 4) * 5;
    w->twice_percent = (unsigned)rnd(w, 3) * 10;
    w->delay_ms = 2 + (unsigned)rnd(w, 3) * 15;
    w->entry_bytes = rnd(w, 8) == 0 ? 70000 : 0; /* three of them go in parts */
    uint64_t until = 3000;
    unsigned every = 20 + (unsigned)rnd(w, 200), busy = 2 + (unsigned)rnd(w, 30);
    while (w->now < until) {
        step(w);
        if (rnd(w, busy) == 0)
            propose(w);
        if (rnd(w, every) == 0)
            trouble(w);
    }
    converge(w);
    t->acked += w->n_acked;
    t->unknown += w->n_unknown;
    t->restores += w->n_restores;
    t->crashes += w->n_crashes;
    t->elections += w->n_elections;
    world_free(w);
}

static void test_random_schedules(void **state _unused_)
{
    uint64_t first = setting("SKEIN_SEED", 1);
    uint64_t runs = setting("SKEIN_RUNS", getenv("SKEIN_SEED") != NULL ? 1 : 1000);
    struct totals t = {0};
    for (uint64_t seed = first; seed < first + runs; seed++)
        run_schedule(seed, &t);
    print_message("%llu schedules: %zu acknowledged, %zu unknown, %zu elections, %zu crashes,"
                  " %zu restores\n",
                  (unsigned long long)runs, t.acked, t.unknown, t.elections, t.crashes, t.restores);
}

/* ---- single situations ---- */

static void test_a_leader_dies(void **state _unused_)
{
    uint64_t total = 0, worst = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world *w = world_new(seed, 3);
        struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
        propose_some(w, 3);
        crash(leader);
        uint64_t at = w->now;
        wait_for_leader(w, 20 * ELECTION_MS);
        total += w->now - at;
        worst = MAX(worst, w->now - at);
        converge(w);
        world_free(w);
    }
    print_message("a new leader after %.1f election timeouts on average, %.1f at worst\n",
                  (double)total / 200 / ELECTION_MS, (double)worst / ELECTION_MS);
}

/* Cut off from the majority, a leader steps down and acknowledges nothing more. */
static void test_a_leader_without_majority_steps_down(void **state _unused_)
{
    struct world *w = world_new(5, 3);
    struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
    propose_some(w, 3);
    size_t acked = w->n_acked;
    for (size_t i = 0; i < w->n; i++)
        w->cut[i][leader->n] = w->cut[leader->n][i] = true;
    uint64_t value = ++w->next_value;
    struct err err;
    assert_ok(council_propose(leader->c, &value, sizeof value, on_proposed, w, &err), &err);
    run_for(w, 5 * ELECTION_MS);
    assert_false(leader->leader);
    assert_int_equal(w->n_acked, acked);
    assert_int_equal(w->n_unknown, 1);
    assert_err(council_propose(leader->c, &value, sizeof value, NULL, NULL, &err), &err,
               ERR_NOT_LEADER, "nobody leads");
    converge(w);
    assert_false(w->acked[value]);
    world_free(w);
}

/* A laggard behind the compacted log gets the snapshot, in parts when it is large. */
static void lag(unsigned entry_bytes, size_t entries, unsigned loss_percent)
{
    struct world *w = world_new(9, 3);
    w->entry_bytes = entry_bytes;
    struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
    struct node *laggard = &w->nodes[(leader->n + 1) % 3];
    crash(laggard);
    propose_some(w, entries);
    w->loss_percent = loss_percent;
    start(laggard);
    run_for(w, 20 * ELECTION_MS);
    assert_int_equal(w->n_restores, 1 + (laggard->disk.on_disk.snapshot.index == 0));
    assert_int_equal(laggard->log_n, leader->log_n);
    converge(w);
    world_free(w);
}

static void test_a_laggard_gets_the_snapshot(void **state _unused_)
{
    lag(0, 100, 0);
}

/* A state of 2 MB, with loss: parts are sent again. */
static void test_a_large_snapshot_goes_in_parts(void **state _unused_)
{
    struct world *w = world_new(3, 3);
    struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
    struct node *laggard = &w->nodes[(leader->n + 1) % 3];
    crash(laggard);
    propose_some(w, 2);
    for (size_t i = 0; i < 3; i++) { /* the state grows by records that agree everywhere */
        struct node *n = &w->nodes[i];
        for (size_t k = 0; n != laggard && k < 90000; k++)
            add_record(n, n->log[n->log_n - 1]);
    }
    propose_some(w, 30);
    w->loss_percent = 10;
    start(laggard);
    for (int i = 0; i < 400 && w->n_restores == 0; i++)
        run_for(w, ELECTION_MS);
    assert_int_equal(w->n_restores, 1);
    w->loss_percent = 0;
    run_for(w, 20 * ELECTION_MS);
    assert_int_equal(laggard->log_n, leader->log_n);
    world_free(w);
}

static void test_large_entries_go_in_parts(void **state _unused_)
{
    struct world *w = world_new(4, 3);
    wait_for_leader(w, 20 * ELECTION_MS);
    w->entry_bytes = CONSENSUS_ENTRY_MAX - 8;
    propose_some(w, 3);
    w->entry_bytes = 100000;
    propose_some(w, 10);
    converge(w);
    world_free(w);
}

/* libraft 0.15 alone commits nothing as long as entries keep coming. */
static void test_a_steady_stream_commits(void **state _unused_)
{
    struct world *w = world_new(6, 3);
    struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
    size_t before = w->n_acked;
    for (int i = 0; i < 500; i++) {
        uint64_t value = ++w->next_value;
        struct err err;
        assert_ok(council_propose(leader->c, &value, sizeof value, on_proposed, w, &err), &err);
        step(w);
    }
    assert_true(w->n_acked - before > 400);
    run_for(w, 100);
    assert_int_equal(w->n_acked - before, 500);
    world_free(w);
}

static void test_leadership_is_handed_over(void **state _unused_)
{
    struct world *w = world_new(8, 3);
    struct node *leader = wait_for_leader(w, 20 * ELECTION_MS);
    struct node *other = &w->nodes[(leader->n + 2) % 3];
    propose_some(w, 3);
    struct err err;
    assert_err(council_transfer(other->c, NULL, &err), &err, ERR_NOT_LEADER, names[leader->n]);
    assert_err(council_transfer(leader->c, "hv9", &err), &err, ERR_INVALID, "no other voter");
    assert_ok(council_transfer(leader->c, names[other->n], &err), &err);
    run_for(w, ELECTION_MS);
    assert_true(other->leader);
    assert_false(leader->leader);
    struct consensus_status s;
    council_status(leader->c, &s);
    assert_string_equal(s.leader_host, names[other->n]);
    converge(w);
    world_free(w);
}

static void test_one_voter_is_enough_for_one(void **state _unused_)
{
    struct world *w = world_new(2, 1);
    wait_for_leader(w, 10);
    propose_some(w, 40);
    crash(&w->nodes[0]);
    start(&w->nodes[0]);
    wait_for_leader(w, 10);
    check_acked(&w->nodes[0]);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leader_dies),
        cmocka_unit_test(test_a_leader_without_majority_steps_down),
        cmocka_unit_test(test_a_laggard_gets_the_snapshot),
        cmocka_unit_test(test_a_large_snapshot_goes_in_parts),
        cmocka_unit_test(test_large_entries_go_in_parts),
        cmocka_unit_test(test_a_steady_stream_commits),
        cmocka_unit_test(test_leadership_is_handed_over),
        cmocka_unit_test(test_one_voter_is_enough_for_one),
        cmocka_unit_test(test_random_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
