/* Who should vote: by the number of hosts, their failure domains, and how long a voter is away. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "agent/core/voters.h"
#include "proto/util.h"
#include "tests/lib/rng.h"

#define MINUTE 60000
#define HOSTS_MAX 12

static const struct voters_conf conf = {.patience = 10 * MINUTE};

struct fixture {
    struct voters_host hosts[HOSTS_MAX];
    char names[HOSTS_MAX][8], domains[HOSTS_MAX][8];
    size_t n;
    struct voters_change change;
};

/* Hosts a, b, c ... that are well; the first of them vote, a plans; racks: "1123", one a host. */
static void make(struct fixture *f, const char *racks, size_t voters)
{
    *f = (struct fixture){.n = strlen(racks)};
    for (size_t i = 0; i < f->n; i++) {
        snprintf(f->names[i], sizeof f->names[i], "%c", (char)('a' + i));
        snprintf(f->domains[i], sizeof f->domains[i], "r%c", racks[i]);
        f->hosts[i] = (struct voters_host){.name = f->names[i],
                                           .domain = racks[i] != '-' ? f->domains[i] : NULL,
                                           .votes = i < voters,
                                           .self = i == 0,
                                           .there = true,
                                           .fit = true,
                                           .settled = 60 * MINUTE};
    }
}

static struct voters_host *host(struct fixture *f, char name)
{
    return &f->hosts[name - 'a'];
}

static void lose(struct fixture *f, char name, msec away)
{
    host(f, name)->there = false;
    host(f, name)->away = away;
}

static bool choose(struct fixture *f)
{
    return voters_choose(&conf, f->hosts, f->n, &f->change);
}

/* "-c+d": c goes, d comes; "" where nothing is to be done. */
static void expect(struct fixture *f, const char *change)
{
    char is[32] = "";
    if (choose(f))
        snprintf(is, sizeof is, "%s%s%s%s", f->change.remove != NULL ? "-" : "",
                 f->change.remove != NULL ? f->change.remove : "", f->change.add != NULL ? "+" : "",
                 f->change.add != NULL ? f->change.add : "");
    assert_string_equal(is, change);
}

static void apply(struct fixture *f)
{
    if (f->change.add != NULL)
        host(f, f->change.add[0])->votes = true;
    if (f->change.remove != NULL)
        host(f, f->change.remove[0])->votes = false;
}

static void where_all_is_well_nothing_changes(void **state _unused_)
{
    static const struct {
        const char *racks;
        size_t voters;
    } well[] = {{"1", 1}, {"12", 1}, {"123", 3}, {"1234", 3}, {"12345", 5}, {"123451234512", 5}};

    struct fixture f;
    for (size_t i = 0; i < ARRAY_SIZE(well); i++) {
        make(&f, well[i].racks, well[i].voters);
        expect(&f, "");
    }
}

static void a_lost_voter_is_replaced_after_a_while(void **state _unused_)
{
    struct fixture f;
    make(&f, "1234", 3);
    lose(&f, 'c', conf.patience - 1);
    expect(&f, "");
    lose(&f, 'c', conf.patience);
    expect(&f, "-c+d");
    assert_string_equal(f.change.why, "c has been away for 600 s");
    host(&f, 'd')->fit = false;
    expect(&f, "");
    host(&f, 'd')->fit = true;
    host(&f, 'd')->leaves = true;
    expect(&f, "");
    host(&f, 'd')->leaves = false;
    lose(&f, 'd', 1000);
    expect(&f, "");
}

static void the_newcomer_spreads_the_voters(void **state _unused_)
{
    struct fixture f;
    make(&f, "1231243", 3);
    lose(&f, 'c', conf.patience);
    f.n = 5;                     /* a host more would ask for five voters */
    host(&f, 'd')->settled += 1; /* the longest there, but in a's rack */
    lose(&f, 'e', 0);
    f.n = 4;
    expect(&f, "-c+d");
    make(&f, "12312", 3);
    lose(&f, 'c', conf.patience);
    host(&f, 'e')->settled += 1;
    expect(&f, "-c+e"); /* as crowded with either: the older one */
}

static void a_voter_that_is_emptied_is_replaced(void **state _unused_)
{
    struct fixture f;
    make(&f, "1234", 3);
    host(&f, 'b')->leaves = true;
    expect(&f, "-b+d");
    assert_string_equal(f.change.why, "b is being emptied");
    host(&f, 'b')->leaves = false;
    host(&f, 'a')->leaves = true; /* plans: it hands over first */
    expect(&f, "");
    make(&f, "123", 3); /* nobody takes its place: it stays */
    host(&f, 'b')->leaves = true;
    expect(&f, "");
}

static void no_change_without_a_majority(void **state _unused_)
{
    struct fixture f;
    make(&f, "1234567", 3);
    lose(&f, 'b', conf.patience);
    lose(&f, 'c', conf.patience);
    expect(&f, "");
    make(&f, "12345", 3);
    f.n = 5;
    lose(&f, 'b', conf.patience);
    host(&f, 'c')->leaves = true; /* of the two, the lost one first */
    expect(&f, "-b+d");
}

static void hosts_that_come_make_more_voters(void **state _unused_)
{
    struct fixture f;
    make(&f, "12", 1);
    expect(&f, "");
    make(&f, "123", 1);
    expect(&f, "+b");
    apply(&f);
    expect(&f, "+c");
    apply(&f);
    expect(&f, "");
    make(&f, "1234", 3); /* a fourth voter alone is none better */
    expect(&f, "");
    make(&f, "12113", 3);
    expect(&f, "+e");
    apply(&f);
    expect(&f, "+d");
}

static void hosts_that_are_gone_make_fewer(void **state _unused_)
{
    struct fixture f;
    make(&f, "12345", 5);
    lose(&f, 'd', conf.patience - 1);
    lose(&f, 'e', conf.patience + 1);
    expect(&f, "-e");
    apply(&f);
    lose(&f, 'd', conf.patience);
    expect(&f, "-d");
    apply(&f);
    expect(&f, "");
    lose(&f, 'c', conf.patience); /* of three one: two copies are better than one */
    expect(&f, "");
    make(&f, "12131", 5); /* one too many: one whose rack has two more */
    lose(&f, 'b', conf.patience);
    expect(&f, "-b");
    apply(&f);
    expect(&f, "-e");
}

static void crowded_voters_are_spread_when_all_is_well(void **state _unused_)
{
    struct fixture f;
    make(&f, "1123", 3);
    expect(&f, "-b+d");
    apply(&f);
    expect(&f, "");
    make(&f, "1123", 3);
    host(&f, 'd')->settled = conf.patience - 1;
    expect(&f, "");
    make(&f, "1123", 3);
    lose(&f, 'c', 1000);
    expect(&f, "");
    make(&f, "112-", 3); /* not known where it stands */
    expect(&f, "");
}

/* ---- at random ---- */

static void random_hosts(struct fixture *f, struct rng *rng)
{
    char racks[HOSTS_MAX + 1] = "";
    size_t n = 1 + rng_below(rng, HOSTS_MAX);
    for (size_t i = 0; i < n; i++)
        racks[i] = (char)('1' + (char)rng_below(rng, 4));
    make(f, racks, 0);
    for (size_t i = 0; i < n; i++) {
        struct voters_host *h = &f->hosts[i];
        h->votes = i < VOTERS_MAX && (i == 0 || rng_below(rng, 2) == 0);
        h->fit = rng_below(rng, 5) != 0;
        h->leaves = rng_below(rng, 8) == 0;
        h->settled = rng_between(rng, 0, 60) * MINUTE;
        if (i > 0 && rng_below(rng, 4) == 0)
            lose(f, (char)('a' + i), rng_between(rng, 0, 20) * MINUTE);
    }
}

static void count(const struct fixture *f, size_t *ret_voters, size_t *ret_there)
{
    *ret_voters = *ret_there = 0;
    for (size_t i = 0; i < f->n; i++) {
        *ret_voters += f->hosts[i].votes;
        *ret_there += f->hosts[i].votes && f->hosts[i].there;
    }
}

/* It comes to an end, and at no time are more than a minority of the voters away. */
static void changes_end_and_keep_a_majority(void **state _unused_)
{
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct rng rng = {seed};
        struct fixture f;
        size_t voters, there, changes = 0;
        random_hosts(&f, &rng);
        count(&f, &voters, &there);
        bool majority = there >= voters / 2 + 1;
        while (choose(&f)) {
            assert_true(majority);
            assert_true(f.change.add == NULL || !host(&f, f.change.add[0])->votes);
            assert_true(f.change.remove == NULL || host(&f, f.change.remove[0])->votes);
            assert_true(f.change.remove == NULL || !host(&f, f.change.remove[0])->self);
            assert_true(f.change.add != NULL || f.change.remove != NULL);
            apply(&f);
            count(&f, &voters, &there);
            assert_true(there >= voters / 2 + 1 && voters <= VOTERS_MAX);
            if (++changes > 2 * HOSTS_MAX)
                fail_msg("seed %llu: no end of changes", (unsigned long long)seed);
        }
        if (majority && voters > 1 && voters % 2 == 0 &&
            voters < voters_wanted(&conf, f.hosts, f.n))
            for (size_t i = 0; i < f.n; i++) /* an even number stays only where nobody can come */
                assert_true(f.hosts[i].votes || !f.hosts[i].fit || !f.hosts[i].there ||
                            f.hosts[i].leaves);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_all_is_well_nothing_changes),
        cmocka_unit_test(a_lost_voter_is_replaced_after_a_while),
        cmocka_unit_test(the_newcomer_spreads_the_voters),
        cmocka_unit_test(a_voter_that_is_emptied_is_replaced),
        cmocka_unit_test(no_change_without_a_majority),
        cmocka_unit_test(hosts_that_come_make_more_voters),
        cmocka_unit_test(hosts_that_are_gone_make_fewer),
        cmocka_unit_test(crowded_voters_are_spread_when_all_is_well),
        cmocka_unit_test(changes_end_and_keep_a_majority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
