/* The agents' gossip on a simulated network: joining, leaving, deaths, pauses, partitions, clones;
 * and random histories of all of them, after which everybody must agree on who lives.
 *   test_agent_core_gossip SEED [SEEDS]   that seed alone, or so many from it on
 *   SKEIN_TEST_FORM=nightly               the long form */
#include "tests/lib/test.h"

#include "tests/lib/gossip_net.h"

#define SECOND 1000000

struct watch {
    uint32_t exempt[64]; /* hosts that may be taken for dead */
    size_t n_exempt;
    unsigned false_deaths;
    char first[128];
};

static void watch_deaths(struct net *net, uint32_t node, const struct gossip_effect *e)
{
    struct watch *w = net->arg;
    if (e->state != GOSSIP_GONE_DEAD)
        return;
    for (size_t i = 0; i < w->n_exempt; i++)
        if (gossip_id_of(net->nodes[w->exempt[i]].name) == e->host)
            return;
    if (w->false_deaths++ == 0)
        snprintf(w->first, sizeof w->first, "at %lld ms %s takes %s for dead",
                 (long long)net_ms(net), net->nodes[node].name, e->item->name);
}

static void start_all(struct net *net, struct watch *w, uint32_t n, unsigned domains, uint64_t seed)
{
    net_init(net, n, domains, seed);
    *w = (struct watch){0};
    net->arg = w;
    net->on_change = watch_deaths;
    for (uint32_t i = 0; i < n; i++)
        net_start(net, i, UINT32_MAX);
    net_acquaint(net);
    net_run(net, 10 * SECOND);
}

static bool all_agree(const struct net *net)
{
    for (uint32_t i = 0; i < net->n; i++) {
        bool runs = net->nodes[i].gossip != NULL;
        uint32_t others = net_running(net) - runs;
        if (runs && net_count(net, i, GOSSIP_ALIVE) != others)
            return false;
        if (!runs && net_count(net, i, GOSSIP_ALIVE) != 0)
            return false;
    }
    return true;
}

static void test_join(void **state)
{
    (void)state;
    struct net net;
    struct watch w = {0};
    net_init(&net, 60, 5, 7);
    net.arg = &w;
    net.on_change = watch_deaths;
    for (uint32_t i = 0; i < net.n; i++)
        net_start(&net, i, i == 0 ? UINT32_MAX : 0);
    net_run(&net, 15 * SECOND);
    assert_true(all_agree(&net));
    net_run(&net, 60 * SECOND);
    for (uint32_t i = 0; i < net.n; i++) {
        struct gossip_stats s;
        gossip_stats(net.nodes[i].gossip, &s);
        assert_in_range(s.mesh_links, 2, 14);
        assert_in_range(s.links, 2, 16); /* the seed has let go of those who only joined by it */
    }
    assert_int_equal(w.false_deaths, 0);
    net_done(&net);
}

static void test_everybody_hears_everybody(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 200, 8, 3);
    for (int t = 0; t < 20; t++) {
        net_run(&net, net.now + SECOND);
        for (uint32_t i = 0; i < net.n; i++)
            for (size_t k = 0; t > 5 && k < gossip_count(net.nodes[i].gossip); k++) {
                struct gossip_member m;
                gossip_at(net.nodes[i].gossip, k, &m);
                assert_non_null(m.summary);
                assert_in_range(net_ms(&net) - m.born, 0, 10000);
            }
    }
    net_done(&net);
}

static usec time_of_death(struct net *net, uint32_t victim, usec limit)
{
    usec began = net->now;
    while (net->now - began < limit && net_count(net, victim, GOSSIP_GONE_DEAD) + 1 < net->n)
        net_run(net, net->now + 20000);
    return net->now - began;
}

static void test_deaths_are_known_in_time(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct net net;
        struct watch w;
        uint32_t victim = (uint32_t)seed * 7;
        start_all(&net, &w, 100, seed % 2 == 0 ? 1 : 6, seed);
        w.exempt[w.n_exempt++] = victim;
        net_kill(&net, victim);
        assert_in_range(time_of_death(&net, victim, 10 * SECOND), 1, 3 * SECOND);
        net_start(&net, victim, 1);
        net_run(&net, net.now + 10 * SECOND);
        assert_true(all_agree(&net));
        net_pause(&net, victim, 600 * (usec)SECOND);
        assert_in_range(time_of_death(&net, victim, 10 * SECOND), 1, 5 * SECOND);
        assert_int_equal(w.false_deaths, 0);
        net_done(&net);
    }
}

static void test_vanished_hosts_and_two_of_two(void **state)
{
    (void)state;
    for (uint32_t n = 2; n < 8; n++) {
        struct net net;
        struct watch w;
        start_all(&net, &w, n, n, n);
        w.exempt[w.n_exempt++] = 1;
        net_vanish(&net, 1);
        assert_in_range(time_of_death(&net, 1, 20 * SECOND), 1, 6 * SECOND);
        assert_int_equal(w.false_deaths, 0);
        net_done(&net);
    }
}

static void test_pauses_kill_nobody(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 150, 6, 11);
    for (int t = 0; t < 120; t++) {
        for (uint32_t i = 0; i < net.n / 15; i++)
            net_pause(&net, (uint32_t)(net_random(&net) % net.n),
                      500000 + (usec)(net_random(&net) % 2000000));
        net_run(&net, net.now + SECOND);
    }
    if (w.false_deaths > 0)
        fail_msg("%u deaths: %s", w.false_deaths, w.first);
    net_done(&net);
}

static void test_loss_kills_nobody(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 100, 6, 12);
    net.loss = 0.05;
    net_run(&net, net.now + 120 * (usec)SECOND);
    if (w.false_deaths > 0)
        fail_msg("%u deaths: %s", w.false_deaths, w.first);
    net_done(&net);
}

static void test_goodbye_is_no_death(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 50, 5, 13);
    net_leave(&net, 17);
    net_run(&net, net.now + SECOND);
    assert_int_equal(net_count(&net, 17, GOSSIP_GONE_LEFT), 49);
    net_run(&net, net.now + 20 * SECOND);
    assert_int_equal(net_count(&net, 17, GOSSIP_GONE_LEFT), 49);
    assert_int_equal(w.false_deaths, 0);
    net_start(&net, 17, 3);
    net_run(&net, net.now + 10 * SECOND);
    assert_true(all_agree(&net));
    net_done(&net);
}

static void test_mass_restart_leaves_no_stale_deaths(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 80, 4, 14);
    for (uint32_t i = 0; i < net.n; i++)
        if (i != 5)
            net_kill(&net, i);
    net_run(&net, net.now + 30 * SECOND); /* one is left to bury them all */
    for (uint32_t i = 0; i < net.n; i++)
        if (i != 5)
            net_start(&net, i, i % 7);
    net_run(&net, net.now + 40 * SECOND);
    assert_true(all_agree(&net));
    net_done(&net);
}

static void test_partition_heals(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    start_all(&net, &w, 60, 6, 15);
    for (uint32_t i = 0; i < net.n; i += 3)
        net.nodes[i].group = 1;
    net_run(&net, net.now + 90 * (usec)SECOND);
    assert_in_range(net_count(&net, 0, GOSSIP_GONE_DEAD), 30, 40); /* one side buries the other */
    for (uint32_t i = 0; i < net.n; i++)
        net.nodes[i].group = 0;
    net_run(&net, net.now + 120 * (usec)SECOND);
    assert_true(all_agree(&net));
    net_done(&net);
}

/* A host whose clock was set back, restarted: its new life has the smaller number. */
static void test_clock_set_back(void **state)
{
    (void)state;
    struct net net;
    struct watch w;
    struct gossip_member m;
    start_all(&net, &w, 20, 2, 16);
    w.exempt[w.n_exempt++] = 4;
    net_kill(&net, 4);
    net_run(&net, net.now + 5 * SECOND);
    net_start(&net, 4, 0);
    gossip_free(net.nodes[4].gossip);
    net.nodes[4].conf.incarnation = 1000;
    net.nodes[4].gossip = gossip_new(&net.nodes[4].conf, net_ms(&net));
    net_run(&net, net.now + 10 * SECOND);
    assert_true(all_agree(&net));
    assert_true(gossip_find(net.nodes[9].gossip, gossip_id_of(net.nodes[4].name), &m));
    assert_false(m.cloned);
    net_done(&net);
}

static unsigned clones_seen(const struct net *net, const char *name)
{
    struct gossip_member m;
    unsigned seen = 0;
    for (uint32_t i = 0; i < net->n; i++)
        seen += gossip_find(net->nodes[i].gossip, gossip_id_of(name), &m) && m.cloned;
    return seen;
}

/* Two hosts with one name, both alive: each raises its number above the other's, which takes ten
 * seconds to a minute, as links happen to break. */
static void test_clone_is_seen(void **state)
{
    (void)state;
    for (uint64_t seed = 17; seed < 23; seed++) {
        struct net net;
        struct watch w;
        start_all(&net, &w, 20, 2, seed);
        snprintf(net.nodes[4].name, sizeof net.nodes[4].name, "%s", net.nodes[5].name);
        w.exempt[w.n_exempt++] = 5;
        net_kill(&net, 4);
        net_run(&net, net.now + 5 * SECOND);
        net_start(&net, 4, 0);
        for (int s = 0; s < 90 && clones_seen(&net, net.nodes[5].name) < 18; s++)
            net_run(&net, net.now + SECOND);
        assert_in_range(clones_seen(&net, net.nodes[5].name), 18, 20);
        net_done(&net);
    }
}

/* ---- random histories ---- */

static void trouble(struct net *net)
{
    uint32_t who = (uint32_t)(net_random(net) % net->n);
    struct net_node *node = &net->nodes[who];
    switch (net_random(net) % 7) {
    case 0:
        if (node->gossip != NULL)
            net_kill(net, who);
        break;
    case 1:
        if (node->gossip != NULL)
            net_vanish(net, who);
        break;
    case 2:
        if (node->gossip == NULL)
            net_start(net, who, who == 0 ? 1 : 0);
        break;
    case 3:
        net_pause(net, who, (usec)(net_random(net) % (20 * SECOND)));
        break;
    case 4:
        for (uint32_t i = 0; i < net->n; i++)
            net->nodes[i].group = net_random(net) % 3 == 0;
        break;
    case 5:
        for (uint32_t i = 0; i < net->n; i++)
            net->nodes[i].group = 0;
        break;
    case 6:
        if (node->gossip != NULL && node->paused_until <= net->now)
            net_leave(net, who);
        break;
    default:
        break;
    }
}

/* Faults stop; all that run must find together again. */
static void settle(struct net *net)
{
    net->loss = 0;
    for (uint32_t i = 0; i < net->n; i++) {
        net->nodes[i].group = 0;
        net->nodes[i].vanished = false;
        if (net->nodes[i].gossip == NULL && (i == 0 || i % 3 != 0)) /* 0 is everybody's seed */
            net_start(net, i, i == 0 ? 1 : 0);
    }
    usec limit = net->now + 300 * (usec)SECOND;
    do
        net_run(net, net->now + 10 * SECOND);
    while (!all_agree(net) && net->now < limit);
}

static const char *history(uint64_t seed)
{
    struct net net;
    struct watch w;
    uint32_t n = 2 + (uint32_t)(seed * 2654435761u % 29);
    const char *wrong = NULL;
    start_all(&net, &w, n, (unsigned)(seed % 5), seed);
    net.on_change = NULL;
    net.loss = seed % 3 == 0 ? 0.05 : 0;
    for (int i = 0; i < 25; i++) {
        trouble(&net);
        net_run(&net, net.now + (usec)(net_random(&net) % (6 * SECOND)));
    }
    settle(&net);
    if (!all_agree(&net))
        wrong = "they do not agree on who lives";
    net_run(&net, net.now + 20 * SECOND); /* links that were cut are given up after ten */
    net.arg = &w;
    w = (struct watch){0};
    net.on_change = watch_deaths;
    net_run(&net, net.now + 40 * SECOND);
    if (wrong == NULL && w.false_deaths > 0)
        wrong = "a death in quiet times";
    for (uint32_t i = 0; i < net.n && wrong == NULL; i++) {
        struct gossip_stats s;
        if (net.nodes[i].gossip == NULL)
            continue;
        gossip_stats(net.nodes[i].gossip, &s);
        if (s.mesh_links > 14)
            wrong = "too many links";
        if (s.orphan && s.alive > 1)
            wrong = "somebody stands outside of the tree";
    }
    net_done(&net);
    return wrong;
}

static unsigned histories(uint64_t first, uint64_t n)
{
    unsigned bad = 0;
    for (uint64_t seed = first; seed < first + n; seed++) {
        const char *wrong = history(seed);
        if (wrong != NULL && bad++ < 10)
            print_error("seed %llu: %s\n", (unsigned long long)seed, wrong);
    }
    return bad;
}

static void test_random_histories(void **state)
{
    (void)state;
    const char *form = getenv("SKEIN_TEST_FORM");
    assert_int_equal(histories(1, form != NULL && strcmp(form, "nightly") == 0 ? 10000 : 200), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_everybody_hears_everybody),
        cmocka_unit_test(test_deaths_are_known_in_time),
        cmocka_unit_test(test_vanished_hosts_and_two_of_two),
        cmocka_unit_test(test_pauses_kill_nobody),
        cmocka_unit_test(test_loss_kills_nobody),
        cmocka_unit_test(test_goodbye_is_no_death),
        cmocka_unit_test(test_mass_restart_leaves_no_stale_deaths),
        cmocka_unit_test(test_partition_heals),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_clone_is_seen),
        cmocka_unit_test(test_random_histories),
    };
    if (argc > 1)
        return histories(strtoull(argv[1], NULL, 10), argc > 2 ? strtoull(argv[2], NULL, 10) : 1) >
               0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
