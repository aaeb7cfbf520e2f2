/* The search on small random instances: what it promises about cost, capacity, rules and replay. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "planner/core/random.h"
#include "planner/core/relax.h"
#include "planner/core/search.h"
#include "planner/core/walk.h"
#include "proto/util.h"

#define HOSTS 9
#define VMS 60
#define RESOURCES 3
#define SETS 8
#define SEEDS 40

struct world {
    struct instance in;
    int64_t capacity[HOSTS * RESOURCES], safety[HOSTS * RESOURCES], demand[VMS * RESOURCES];
    int64_t move_cost[VMS], distance[HOSTS * HOSTS], open_cost[HOSTS], base[HOSTS];
    int initial[VMS], service[VMS], zone[2][HOSTS], n_domains[2], members[SETS][6];
    int *domain[2];
    struct inst_set sets[SETS];
    struct inst_rule rules[SETS];
    struct inst_balance balance;
    bool closed[HOSTS], fixed[VMS];
};

static void make_sets(struct world *w, struct random *r)
{
    for (int i = 0; i < SETS; i++) {
        w->sets[i] = (struct inst_set){.members = w->members[i], .n = 6, .scope = i % 2};
        for (int k = 0; k < 6; k++)
            w->members[i][k] = (i * 6 + k) % VMS;
        enum inst_kind kind = (enum inst_kind)random_below(r, INST_BESIDE);
        if (random_below(r, 3) == 0) /* rules of hosts, and of zones */
            kind = i % 2 == 0 ? INST_ALONE : INST_BESIDE;
        w->rules[i] = (struct inst_rule){.kind = kind,
                                         .hard = random_below(r, 3) > 0,
                                         .set = i,
                                         .other = -1,
                                         .minimum = 2,
                                         .weight = 50,
                                         .origin = -1};
        if (kind == INST_BESIDE)
            w->rules[i].other = (i + 2) % SETS;
    }
}

static void make_world(struct world *w, uint64_t seed)
{
    struct random r;
    random_seed(&r, seed);
    *w = (struct world){.n_domains = {HOSTS, 3}, .domain = {w->zone[0], w->zone[1]}};
    for (int h = 0; h < HOSTS; h++) {
        w->zone[0][h] = h;
        w->zone[1][h] = h % 3;
        w->open_cost[h] = 20;
        w->base[h] = 100;
        w->closed[h] = random_below(&r, 10) == 0;
        for (int k = 0; k < HOSTS; k++)
            w->distance[h * HOSTS + k] = (h + k) % 3;
        for (int i = 0; i < RESOURCES; i++)
            w->safety[h * RESOURCES + i] = 20 + random_below(&r, 40);
    }
    for (int v = 0; v < VMS; v++) {
        w->initial[v] = random_below(&r, 20) == 0 ? -1 : (int)random_below(&r, HOSTS);
        w->service[v] = v / 6;
        w->move_cost[v] = 1 + random_below(&r, 5);
        w->fixed[v] = random_below(&r, 15) == 0;
        for (int i = 0; i < RESOURCES; i++) {
            w->demand[v * RESOURCES + i] = random_below(&r, 12);
            if (w->initial[v] >= 0)
                w->capacity[w->initial[v] * RESOURCES + i] += w->demand[v * RESOURCES + i];
        }
    }
    for (int i = 0; i < HOSTS * RESOURCES; i++) /* some begin above it */
        w->capacity[i] += (int64_t)random_below(&r, 25) - 3;
    make_sets(w, &r);
    w->balance = (struct inst_balance){.r1 = 0, .r2 = 1, .target = 1, .weight = 2};
    w->in = (struct instance){.n_hosts = HOSTS,
                              .n_vms = VMS,
                              .n_resources = RESOURCES,
                              .resource = {{false, 3}, {true, 2}, {random_below(&r, 2) == 0, 0}},
                              .capacity = w->capacity,
                              .safety = w->safety,
                              .demand = w->demand,
                              .initial = w->initial,
                              .fixed = w->fixed,
                              .closed = w->closed,
                              .n_scopes = 2,
                              .domain = w->domain,
                              .n_domains = w->n_domains,
                              .sets = w->sets,
                              .n_sets = SETS,
                              .rules = w->rules,
                              .n_rules = SETS,
                              .balances = &w->balance,
                              .n_balances = (int)random_below(&r, 2),
                              .open_cost = random_below(&r, 2) == 0 ? w->open_cost : NULL,
                              .move_cost = w->move_cost,
                              .service = w->service,
                              .n_services = VMS / 6,
                              .service_weight = 7,
                              .distance = w->distance,
                              .distance_weight = 2};
    if (random_below(&r, 2) == 0)
        w->in.even[w->in.n_even++] =
            (struct inst_even){.resource = 0, .base = w->base, .weight = 10000};
}

static const struct search_conf usual = {.seed = 5, .thorough = true, .effort = 60000};

static void keeps_its_promises(void **ctx)
{
    (void)ctx;
    int improved = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        make_world(&w, seed);
        _cleanup_(search_state_freep) struct state *s = search_state_new(&w.in);
        int64_t before = s->cost;
        assert_true(planner_search(s, &usual, NULL));
        if (s->cost > before || !state_rules_hold(s))
            print_error("seed %d\n", (int)seed);
        assert_true(s->cost <= before);
        assert_true(state_rules_hold(s));
        improved += s->cost < before;
        _cleanup_(search_state_freep) struct state *fresh = search_state_new(&w.in);
        for (int h = 0; h < HOSTS; h++)
            for (int r = 0; r < RESOURCES; r++) {
                int64_t limit = MAX(w.capacity[h * RESOURCES + r], fresh->use[h * RESOURCES + r]);
                assert_true(s->use[h * RESOURCES + r] + s->held[h * RESOURCES + r] <= limit);
            }
        for (int v = 0; v < VMS; v++)
            if (s->at[v] != w.initial[v]) {
                assert_false(w.fixed[v] || w.initial[v] < 0);
                assert_false(w.closed[s->at[v]] || !state_host_fits(fresh, s->at[v]));
            }
        state_assign(fresh, s->at);
        assert_int_equal(fresh->cost, s->cost);
    }
    assert_true(improved > SEEDS / 2);
}

/* The other order stands for any: no walk may see another's work within a part. */
static void run_backwards(void *ctx, void (*task)(void *arg), void *const *args, int n)
{
    ++*(int *)ctx;
    while (n-- > 0)
        task(args[n]);
}

static void order_of_walks_does_not_matter(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w;
        make_world(&w, seed);
        int runs = 0;
        struct search_conf backwards = usual;
        backwards.run = run_backwards;
        backwards.run_ctx = &runs;
        _cleanup_(search_state_freep) struct state *a = search_state_new(&w.in);
        _cleanup_(search_state_freep) struct state *b = search_state_new(&w.in);
        planner_search(a, &usual, NULL);
        planner_search(b, &backwards, NULL);
        assert_int_equal(runs, SEARCH_PARTS);
        assert_memory_equal(a->at, b->at, sizeof w.initial);
        assert_int_equal(a->evaluations, b->evaluations);
    }
}

static bool third_time(void *ctx)
{
    return ++*(int *)ctx > 100;
}

static void a_stopped_search_is_replayed_by_its_parts(void **ctx)
{
    (void)ctx;
    struct world w;
    make_world(&w, 3);
    int asked = 0, parts;
    struct search_conf stopped = usual, replay = usual;
    stopped.stop = third_time;
    stopped.stop_ctx = &asked;
    _cleanup_(search_state_freep) struct state *a = search_state_new(&w.in);
    _cleanup_(search_state_freep) struct state *b = search_state_new(&w.in);
    assert_false(planner_search(a, &stopped, &parts));
    assert_int_equal(parts, 100);
    replay.parts = parts;
    assert_true(planner_search(b, &replay, NULL));
    assert_memory_equal(a->at, b->at, sizeof w.initial);
}

/* A clock of the states' evaluations: so many of them, and the time is up. */
struct pacer {
    const struct state *s;
    double all;
};

static double evaluations_gone(void *ctx)
{
    const struct pacer *p = ctx;
    return (double)p->s->evaluations / p->all;
}

/* Whatever the first guess of the speed was, the search ends in time and as cold. */
static void cooling_follows_the_time(void **ctx)
{
    (void)ctx;
    static const double guesses[] = {0.2, 1, 7}; /* of what the time allows */
    for (size_t i = 0; i < ARRAY_SIZE(guesses); i++) {
        int64_t begun = 0, by_time = 0, by_effort = 0;
        for (uint64_t seed = 1; seed <= SEEDS / 2; seed++) {
            struct world w;
            make_world(&w, seed);
            _cleanup_(search_state_freep) struct state *s = search_state_new(&w.in);
            _cleanup_(search_state_freep) struct state *counted = search_state_new(&w.in);
            struct pacer pacer = {s, 30000};
            struct search_conf paced = usual;
            begun += s->cost;
            paced.pace = evaluations_gone;
            paced.pace_ctx = &pacer;
            paced.effort = (int64_t)(2 * pacer.all * guesses[i]); /* two walks, one seen */
            assert_true(planner_search(s, &paced, NULL));
            assert_true(state_rules_hold(s));
            by_time += s->cost;
            planner_search(counted, &usual, NULL);
            by_effort += counted->cost;
            assert_true(s->evaluations > 50000 && s->evaluations < 70000);
        }
        assert_true(by_time < begun);
        assert_true(begun - by_time > (begun - by_effort) * 9 / 10);
    }
}

/* A VM that is taken out and put elsewhere leaves what a move would. */
static void putting_counts_as_moving_does(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        make_world(&w, seed);
        _cleanup_(search_state_freep) struct state *moved = search_state_new(&w.in);
        _cleanup_(search_state_freep) struct state *put = search_state_new(&w.in);
        struct random r;
        random_seed(&r, seed);
        for (int i = 0; i < 100; i++) {
            int v = (int)random_below(&r, VMS), to = (int)random_below(&r, HOSTS);
            if (moved->at[v] < 0)
                continue;
            state_move(moved, v, to);
            state_put(put, v, -1);
            state_put(put, v, to);
            assert_memory_equal(put->violations, moved->violations, SETS * sizeof(int64_t));
            assert_memory_equal(put->use, moved->use, sizeof w.capacity);
            assert_memory_equal(put->alone_on, moved->alone_on, HOSTS * sizeof(int));
            assert_int_equal(put->hard_violations, moved->hard_violations);
            assert_int_equal(put->n_worse, moved->n_worse);
            for (int k = 0; k < w.in.n_even; k++)
                assert_true(put->even[k].sum == moved->even[k].sum &&
                            put->even[k].squares == moved->even[k].squares &&
                            put->even[k].n == moved->even[k].n);
        }
    }
}

/* What is judged quickly is what making it costs, within rounding of evenness. */
static void judges_what_it_makes(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;
        make_world(&w, seed);
        w.in.n_rules = 0; /* it judges everything but them, and the most moves of a swap's services
                             as if each moved alone */
        w.in.service_weight = 0;
        _cleanup_(search_state_freep) struct state *s = search_state_new(&w.in);
        struct relax *x = relax_new(s);
        struct random r;
        random_seed(&r, seed);
        relax_set_price(x, 3);
        for (int i = 0; i < 500; i++) {
            int v = (int)random_below(&r, VMS), to = (int)random_below(&r, HOSTS);
            int u = (int)random_below(&r, VMS);
            if (s->at[v] < 0 || s->at[u] < 0)
                continue;
            bool swap = random_below(&r, 2) == 0;
            int back = s->at[v];
            if (back == (swap ? s->at[u] : to))
                continue;
            double before = relax_energy(x);
            double delta = swap ? relax_swap_delta(x, v, u) : relax_shift_delta(x, v, to);
            relax_move(x, v, swap ? s->at[u] : to);
            if (swap)
                relax_move(x, u, back);
            assert_true(fabs(relax_energy(x) - before - delta) <= 2);
        }
        relax_free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_promises),
        cmocka_unit_test(order_of_walks_does_not_matter),
        cmocka_unit_test(a_stopped_search_is_replayed_by_its_parts),
        cmocka_unit_test(cooling_follows_the_time),
        cmocka_unit_test(putting_counts_as_moving_does),
        cmocka_unit_test(judges_what_it_makes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
