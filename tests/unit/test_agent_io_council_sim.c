/* Groups of voters that replace one another, under random schedules: see voters_world.h. Voters
 * come and go, also while links are cut, hosts crash, disks are slow or lost with all that was on
 * them. No value that was acknowledged is lost, no term has two leaders, of each number there is
 * one group; and when all is well again all voters of the newest group agree.
 *
 * Each schedule follows from its seed. SKEIN_SEED=N runs that one alone, SKEIN_RUNS=N so many. */
#include "tests/lib/voters_world.h"

#define LEARN_MS 40 /* so often a host asks whether there are other voters */

/* ---- how hosts learn of a group, as agent/core/electorate.c ---- */

static bool linked(const struct world *w, size_t a, size_t b)
{
    return w->nodes[a].c != NULL && w->nodes[b].c != NULL && !w->cut[a][b] && !w->cut[b][a];
}

/* What this voter of the group that n knows says: who came after it. NULL: nothing. */
static const struct voter_group *hear(const struct node *n, size_t voter)
{
    const struct world *w = n->w;
    size_t k = (size_t)(n->group.voters[voter].host[2] - '1');
    return k != n->n && linked(w, n->n, k) ? groups_after(council_groups(w->nodes[k].c), &n->group)
                                           : NULL;
}

/* A majority of those who voted last, as far as it knows, say the same; one that has lost its store
 * says nothing else. */
static bool follow_majority(struct node *n)
{
    for (size_t i = 0; i < n->group.n; i++) {
        const struct voter_group *g = hear(n, i);
        size_t say = 0;
        if (g == NULL)
            continue;
        for (size_t k = 0; k < n->group.n; k++) {
            const struct node *v = &n->w->nodes[n->group.voters[k].host[2] - '1'];
            bool lost =
                (v == n || linked(n->w, n->n, v->n)) &&
                (council_is_new(v->c) || !group_has(&n->group, names[v->n], council_store(v->c)));
            say += lost || (hear(n, k) != NULL && group_same(hear(n, k), g));
        }
        if (say < n->group.n / 2 + 1)
            continue;
        const struct voter_group copy = *g;
        council_follow(n->c, &copy,
                       council_groups(n->w->nodes[n->group.voters[i].host[2] - '1'].c));
        return true;
    }
    return false;
}

/* Of the first voters some know a first group with this store; or all begin now. */
static void found_first(struct node *n)
{
    struct world *w = n->w;
    struct voter_group first = n->group;
    for (size_t i = 0; i < n->group.n; i++) {
        size_t k = (size_t)(n->group.voters[i].host[2] - '1');
        if (k != n->n && !linked(w, n->n, k))
            return;
        const struct council *c = w->nodes[k].c;
        if (!council_is_new(c)) {
            const struct voter_group copy = *council_group(c);
            if (copy.number == 1 && group_has(&copy, names[n->n], council_store(n->c)))
                council_follow(n->c, &copy, NULL);
            return;
        }
        first.voters[i].store = council_store(c);
    }
    council_follow(n->c, &first, NULL);
}

static void learn(struct node *n)
{
    if (n->c == NULL || follow_majority(n) || !council_is_new(n->c) ||
        group_find(&n->group, names[n->n]) == NULL)
        return;
    found_first(n);
}

/* ---- the planner's part ---- */

static size_t count_there(const struct node *leader, const struct voter_group *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        size_t k = (size_t)(g->voters[i].host[2] - '1');
        const struct council *c = leader->w->nodes[k].c;
        n += k == leader->n ||
             (linked(leader->w, leader->n, k) && group_has(g, names[k], council_store(c)));
    }
    return n;
}

static bool choose(struct node *leader, struct voter_group *ret)
{
    struct world *w = leader->w;
    const struct voter_group *g = &leader->group;
    struct err err;
    size_t k = rnd(w, w->n), out = rnd(w, g->n);
    const char *add = NULL, *remove = NULL;
    if (strcmp(g->voters[out].host, names[leader->n]) != 0 && (g->n >= 5 || rnd(w, 3) != 0))
        remove = g->voters[out].host;
    bool same = group_find(g, names[k]) != NULL;
    if (w->nodes[k].c != NULL && k != leader->n &&
        (!same || !group_has(g, names[k], council_store(w->nodes[k].c)))) {
        add = names[k];
        remove = same ? names[k] : remove; /* it has lost its store */
    }
    if (add == NULL && (remove == NULL || g->n <= 2 || rnd(w, 3) != 0))
        return false;
    uint64_t store = add != NULL ? council_store(w->nodes[k].c) : 0;
    return group_next(g, add, store, remove, "", ret, &err) >= 0 &&
           count_there(leader, g) >= g->n / 2 + 1 && count_there(leader, ret) >= ret->n / 2 + 1;
}

static void propose_change(struct world *w)
{
    struct voter_group next;
    struct node *n = &w->nodes[rnd(w, w->n)];
    if (n->c == NULL || !n->leader || w->next_value + 1 >= ENTRIES_MAX / 4 ||
        n->group.number + 2 >= GROUPS_MAX || !choose(n, &next))
        return;
    uint64_t value = w->next_value + 1;
    size_t len;
    struct err err;
    struct voter_groups named = {.list = {next}, .n = 1};
    _cleanup_(freep) uint8_t *group = groups_pack(&named, &len);
    _cleanup_(freep) uint8_t *bytes = xcalloc(1, sizeof value + 1 + len);
    memcpy(bytes, &value, sizeof value);
    bytes[sizeof value] = 'G';
    memcpy(bytes + sizeof value + 1, group, len);
    if (council_propose(n->c, bytes, sizeof value + 1 + len, on_proposed, w, &err) < 0)
        return;
    w->next_value = value;
    w->proposed = MAX(w->proposed, next.number);
}

/* ---- lost disks ---- */

/* Of the newest group a majority must be left that has its state; and a host that lost its disk
 * must have learnt where it is before the next one does. */
static bool knows_newest(const struct world *w, const struct node *n)
{
    return n->c != NULL && n->group.number == MAX(w->newest, (uint64_t)1) && !council_is_new(n->c);
}

static uint64_t last_on_disk(const struct node *n)
{
    const struct store_raft_state *s = &n->disk.on_disk;
    return s->n_entries > 0 ? s->entries[s->n_entries - 1].index : s->snapshot.index;
}

static bool may_lose_disk(const struct world *w, const struct node *lost)
{
    size_t whole = 0;
    const struct voter_group *newest = NULL;
    if (w->proposed > w->newest)
        return false; /* it may be one of two that are left */
    for (size_t i = 0; i < w->n; i++) {
        const struct node *n = &w->nodes[i];
        if (n->c != NULL && council_is_new(n->c))
            return false;
        if (knows_newest(w, n))
            newest = &n->group;
    }
    for (size_t i = 0; newest != NULL && i < w->n; i++) {
        const struct node *n = &w->nodes[i];
        whole += n != lost && group_has(newest, names[i], n->disk.store) &&
                 last_on_disk(n) >= MAX(newest->index, (uint64_t)2) && knows_newest(w, n);
    }
    return newest != NULL && whole >= newest->n / 2 + 1;
}

static void lose_disk(struct node *n)
{
    if (n->c == NULL || !may_lose_disk(n->w, n))
        return;
    crash(n);
    store_raft_state_done(&n->disk.on_disk);
    n->disk.on_disk = (struct store_raft_state){0};
    n->disk.cap = 0;
    n->disk.groups.n = 0;
    n->disk.store = ++n->w->stores;
    n->w->n_wiped++;
    start(n);
}

/* ---- schedules ---- */

static void turn(struct world *w)
{
    step(w);
    for (size_t i = 0; i < w->n; i++)
        if ((w->now + 7 * i) % LEARN_MS == 0)
            learn(&w->nodes[i]);
}

static const struct voter_group *newest_group(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].c != NULL && w->nodes[i].group.number == w->newest)
            return &w->nodes[i].group;
    return NULL;
}

/* All that have a vote in the newest group and their store agree; all others know of it. */
static bool settled(const struct world *w)
{
    const struct voter_group *g = newest_group(w);
    const struct node *some = NULL;
    for (size_t i = 0; g != NULL && i < w->n; i++) {
        const struct node *n = &w->nodes[i];
        if (n->group.number != w->newest)
            return false;
        if (!n->votes)
            continue;
        if (some != NULL && n->log_n != some->log_n)
            return false;
        some = n;
    }
    return some != NULL && has_leader(w);
}

static void show(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct node *n = &w->nodes[i];
        struct consensus_status s;
        council_status(n->c, &s);
        print_message("%s store %llu group %llu (", names[i],
                      (unsigned long long)council_store(n->c), (unsigned long long)n->group.number);
        for (size_t k = 0; k < n->group.n; k++)
            print_message(" %s:%llu", n->group.voters[k].host,
                          (unsigned long long)n->group.voters[k].store);
        print_message(") base %llu%s%s%s term %llu last %llu commit %llu applied %zu\n",
                      (unsigned long long)n->group.index, n->votes ? " votes" : "",
                      council_is_new(n->c) ? " new" : "", n->leader ? " leads" : "",
                      (unsigned long long)s.term, (unsigned long long)s.last_index,
                      (unsigned long long)s.commit_index, n->log_n);
    }
}

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
    uint64_t until = w->now + 100 * ELECTION_MS;
    size_t acked = w->n_acked;
    while (w->now < until && !(w->n_acked > acked && settled(w))) {
        turn(w);
        if (w->n_acked == acked && w->now % 50 == 0)
            propose(w);
    }
    if (w->now >= until && getenv("SKEIN_TRACE") != NULL)
        show(w);
    if (w->now >= until)
        BROKEN(w, "no agreement after all is well, in group %llu", (unsigned long long)w->newest);
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].votes)
            check_acked(&w->nodes[i]);
}

struct totals {
    size_t acked, unknown, restores, crashes, elections, groups, wiped;
};

static void run_schedule(uint64_t seed, struct totals *t)
{
    size_t first = seed % 5 == 0 ? 1 : seed % 3 == 0 ? 5 : 3;
    bool careful = seed % 4 != 0;
    struct world *w = world_of(seed, seed % 2 == 0 ? 7 : 5, first, careful);
    w->loss_percent = (unsigned)rnd(w, 4) * 5;
    w->twice_percent = (unsigned)rnd(w, 3) * 10;
    w->delay_ms = 2 + (unsigned)rnd(w, 3) * 15;
    uint64_t until = 4000;
    unsigned every = 20 + (unsigned)rnd(w, 200), busy = 2 + (unsigned)rnd(w, 30);
    unsigned changes = 20 + (unsigned)rnd(w, 300);
    while (w->now < until) {
        turn(w);
        if (rnd(w, busy) == 0)
            propose(w);
        if (rnd(w, changes) == 0)
            propose_change(w);
        if (rnd(w, every) == 0)
            trouble(w);
        if (careful && first > 1 && rnd(w, 10 * every) == 0) /* alone it cannot tell */
            lose_disk(&w->nodes[rnd(w, w->n)]);
    }
    converge(w);
    t->acked += w->n_acked;
    t->unknown += w->n_unknown;
    t->restores += w->n_restores;
    t->crashes += w->n_crashes;
    t->elections += w->n_elections;
    t->groups += w->newest > 1 ? w->newest - 1 : 0;
    t->wiped += w->n_wiped;
    world_free(w);
}

static void test_random_schedules(void **state _unused_)
{
    uint64_t first = setting("SKEIN_SEED", 1);
    uint64_t runs = setting("SKEIN_RUNS", getenv("SKEIN_SEED") != NULL ? 1 : 1000);
    struct totals t = {0};
    for (uint64_t seed = first; seed < first + runs; seed++)
        run_schedule(seed, &t);
    print_message("%llu schedules: %zu acknowledged, %zu unknown, %zu elections, %zu crashes, %zu "
                  "restores, %zu changes of voters, %zu disks lost\n",
                  (unsigned long long)runs, t.acked, t.unknown, t.elections, t.crashes, t.restores,
                  t.groups, t.wiped);
    if (runs >= 100)
        assert_true(t.groups > runs && t.wiped > runs / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
