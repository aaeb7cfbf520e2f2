/* Groups of voters, one after the other, and how an agent learns of them. */
#include "tests/lib/test.h"

#include <string.h>

#include "agent/core/electorate.h"
#include "proto/codec.h"

static const char *const first_hosts[] = {"c", "a", "b"};

static struct voter_group first_group(void)
{
    struct voter_group g;
    struct err err = {0};
    assert_ok(group_first(first_hosts, 3, &g, &err), &err);
    return g;
}

static struct voter_group follow(const struct voter_group *g, const char *add, uint64_t store,
                                 const char *remove)
{
    struct voter_group next;
    struct err err = {0};
    assert_ok(group_next(g, add, store, remove, "why", &next, &err), &err);
    next.index = 10 * next.number;
    next.term = next.number;
    return next;
}

/* ---- groups ---- */

static void one_voter_is_replaced_at_a_time(void **state _unused_)
{
    struct voter_group g = first_group(), next = follow(&g, "d", 4, "b");
    struct err err = {0};
    assert_int_equal(next.number, 2);
    assert_string_equal(next.voters[0].host, "a");
    assert_string_equal(next.voters[1].host, "c");
    assert_string_equal(next.voters[2].host, "d");
    assert_true(group_has(&next, "d", 4));
    assert_false(group_has(&next, "d", 5)); /* another store: another voter */
    assert_true(group_has(&next, "a", 77)); /* not known of the first ones */
    assert_false(group_has(&next, "b", 0));
    assert_ok(group_check_next(&g, &next, &err), &err);
    struct voter_group two = follow(&next, "e", 5, "a");
    assert_err(group_check_next(&g, &two, &err), &err, ERR_CONFLICT, "does not follow group 1");
    two.number = 2;
    memcpy(two.previous, next.previous, sizeof two.previous);
    assert_err(group_check_next(&g, &two, &err), &err, ERR_INVALID, "2 go and 2 come");
    assert_err(group_next(&g, NULL, 0, NULL, "", &two, &err), &err, ERR_INVALID, "0 go and 0 come");
    struct voter_group again = follow(&next, "d", 9, "d"); /* it lost its store */
    assert_true(group_has(&again, "d", 9) && !group_has(&again, "d", 4) && again.n == 3);
}

/* With two voters or one of three, a single host would be a majority. */
static void three_voters_stay_three(void **state _unused_)
{
    struct voter_group g = first_group(), next;
    struct err err = {0};
    assert_err(group_next(&g, NULL, 0, "b", "", &next, &err), &err, ERR_INVALID, "2 of 3 voters");
    next = follow(&g, "d", 4, NULL);
    g = follow(&next, NULL, 0, "b");
    assert_int_equal(g.n, 3);
}

static void what_is_read_is_what_was_written(void **state _unused_)
{
    struct voter_groups gs = {0}, read = {0};
    struct err err = {0};
    struct voter_group g = first_group();
    size_t len;
    groups_add(&gs, &g);
    for (int i = 0; i < 20; i++) {
        g = follow(&g, "d", 100 + (uint64_t)i, i == 0 ? "a" : "d");
        groups_add(&gs, &g);
    }
    assert_int_equal(gs.n, GROUPS_KEPT);
    _cleanup_(freep) uint8_t *bytes = groups_pack(&gs, &len);
    assert_ok(groups_unpack(bytes, len, &read, &err), &err);
    for (size_t i = 0; i < gs.n; i++)
        assert_true(group_same(&gs.list[i], &read.list[i]));
    for (size_t cut = 0; cut < len; cut++) /* nothing that is cut short is believed */
        if (groups_unpack(bytes, cut, &read, &err) >= 0)
            assert_true(read.n < gs.n);
    struct voter_group bad = g;
    snprintf(bad.voters[0].host, sizeof bad.voters[0].host, "zz");
    Skein__VoterGroup *m = group_message(&bad);
    assert_err(group_read(m, &g, &err), &err, ERR_INVALID, "not in order");
    skein__voter_group__free_unpacked(m, NULL);
}

static void one_group_vouches_for_the_one_before(void **state _unused_)
{
    struct voter_group g1 = first_group(), g2 = follow(&g1, "d", 4, "a"),
                       g3 = follow(&g2, "e", 5, "b"), other = follow(&g1, "x", 9, "b");
    struct voter_groups said = {.list = {g1, g2, g3}, .n = 3}, mine = {.list = {g1}, .n = 1};
    assert_true(group_same(groups_after(&said, &g1), &g2));
    assert_true(group_same(groups_after(&said, &g2), &g3));
    assert_null(groups_after(&said, &g3));
    groups_follow(&mine, &said, &g3);
    assert_int_equal(mine.n, 3);
    assert_true(group_same(&mine.list[1], &g2));
    struct voter_groups lies = {.list = {g1, other, g3}, .n = 3};
    mine = (struct voter_groups){.list = {g1}, .n = 1};
    groups_follow(&mine, &lies, &g3);
    assert_int_equal(mine.n, 2);                            /* g3 does not vouch for it */
    assert_true(group_same(groups_after(&mine, &g1), &g3)); /* the newest, where one is missing */
}

/* ---- an agent ---- */

struct one {
    struct node_conf conf;
    const char *voters[GROUP_VOTERS_MAX];
    struct effects out;
    uint64_t rng, next_token, tokens[3];
    struct electorate *e;
    msec now;
    struct voter_groups followed; /* n 0: none */
    unsigned audited;
    bool planner_known;
};

static const char *const order[] = {"a", "b", "c"};

static void perform(struct one *o)
{
    struct err err = {0};
    for (size_t i = 0; i < o->out.n; i++) {
        struct effect *x = &o->out.items[i];
        Skein__Frame *f = NULL;
        if (x->kind == EFFECT_VOTERS)
            assert_ok(groups_unpack(x->data, x->len, &o->followed, &err), &err);
        o->audited += x->kind == EFFECT_AUDIT;
        if (x->kind != EFFECT_SEND)
            continue;
        assert_ok(codec_frame(x->data, x->len, &f, &err), &err);
        for (int k = 0; k < 3; k++)
            if (strcmp(order[k], x->key) == 0)
                o->tokens[k] = f->request->id;
        skein_frame_free(f);
    }
    effects_clear(&o->out);
}

static struct step step_of(struct one *o)
{
    return (struct step){.now = {.mono = o->now, .wall = o->now},
                         .conf = &o->conf,
                         .out = &o->out,
                         .rng = &o->rng,
                         .next_token = &o->next_token};
}

/* What the shell does: the voters, and the event. */
static void tell(struct one *o, const struct voter_groups *groups)
{
    o->conf.groups = *groups;
    o->conf.group = groups->list[groups->n - 1];
    for (size_t i = 0; i < o->conf.group.n; i++)
        o->voters[i] = o->conf.group.voters[i].host;
    o->conf.voters = o->voters;
    o->conf.n_voters = o->conf.group.n;
    struct step s = step_of(o);
    electorate_changed(o->e, &s);
    perform(o);
}

static void begin(struct one *o, const char *host, bool begins)
{
    struct voter_groups first = {.list = {first_group()}, .n = 1};
    *o = (struct one){
        .conf = {.host = host, .store = 7, .begins = begins}, .e = electorate_new(), .now = 1000};
    tell(o, &first);
}

static void tick(struct one *o)
{
    o->now += 1000;
    struct step s = step_of(o);
    electorate_tick(o->e, &s, o->planner_known);
    perform(o);
}

static void answer(struct one *o, int who, const struct voter_groups *groups, bool begins,
                   uint64_t store)
{
    Skein__VotersSaid said = SKEIN__VOTERS_SAID__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    struct step s = step_of(o);
    said.groups = groups_message(groups);
    said.has_begins = said.has_store = 1;
    said.begins = begins;
    said.store = store;
    reply.id = o->tokens[who];
    reply.kind_case = SKEIN__REPLY__KIND_VOTERS;
    reply.voters = &said;
    electorate_reply(o->e, &s, order[who], &reply);
    skein__voter_groups__free_unpacked(said.groups, NULL);
    perform(o);
}

static void a_majority_of_those_who_voted_is_followed(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group(), g2 = follow(&g1, "d", 4, "a"),
                       g3 = follow(&g2, "e", 5, "b"), lie = follow(&g1, "x", 4, "a");
    struct voter_groups know = {.list = {g1, g2, g3}, .n = 3}, lies = {.list = {g1, lie}, .n = 2},
                        old = {.list = {g1}, .n = 1};
    begin(&o, "z", false);
    tick(&o);
    assert_int_equal(o.tokens[0], 0); /* nobody knows of others: nobody is asked */
    electorate_heard(o.e, 3);
    tick(&o);
    assert_int_not_equal(o.tokens[0], 0);
    answer(&o, 0, &know, false, 0);
    answer(&o, 1, &lies, false, 0);
    answer(&o, 2, &old, false, 0);
    assert_int_equal(o.followed.n, 0);
    answer(&o, 2, &know, false, 0);
    assert_int_equal(o.followed.n, 2); /* first the one that follows this one */
    assert_true(group_same(&o.followed.list[1], &g2));
    tell(&o, &o.followed);
    assert_int_equal(o.audited, 2); /* a went, d came */
    assert_true(electorate_waits(o.e, &o.conf));
    electorate_free(o.e);
}

/* A voter whose store is lost says nothing against what the others say. */
static void a_lost_voter_does_not_hold_up(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group(), g2 = follow(&g1, "d", 4, "a");
    struct voter_groups know = {.list = {g1, g2}, .n = 2}, old = {.list = {g1}, .n = 1};
    begin(&o, "z", false);
    electorate_heard(o.e, 2);
    tick(&o);
    answer(&o, 0, &old, true, 9);
    assert_int_equal(o.followed.n, 0);
    answer(&o, 2, &know, false, 0);
    assert_int_equal(o.followed.n, 2);
    electorate_free(o.e);
}

/* Also when it has learnt since who votes. */
static void nor_one_with_another_store(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group();
    for (size_t i = 0; i < 3; i++)
        g1.voters[i].store = 1 + i;
    struct voter_group g2 = follow(&g1, "d", 4, "a");
    struct voter_groups know = {.list = {g1, g2}, .n = 2}, old = {.list = {g1}, .n = 1};
    for (int lost = 0; lost < 2; lost++) {
        begin(&o, "z", false);
        tell(&o, &old);
        electorate_heard(o.e, 2);
        tick(&o);
        answer(&o, 0, &old, false, lost ? 77 : 1);
        answer(&o, 2, &know, false, 3);
        assert_int_equal(o.followed.n, lost ? 2 : 0);
        electorate_free(o.e);
    }
}

static void the_first_voters_begin_together(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group();
    struct voter_groups old = {.list = {g1}, .n = 1}, began = old;
    begin(&o, "b", true);
    tick(&o);
    answer(&o, 0, &old, true, 1);
    assert_int_equal(o.followed.n, 0); /* c is not heard of */
    answer(&o, 2, &old, true, 3);
    assert_int_equal(o.followed.n, 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(o.followed.list[0].voters[i].store, i == 1 ? 7 : 1 + i);
    electorate_free(o.e);

    began.list[0] = o.followed.list[0]; /* one has begun already, with this one */
    begin(&o, "b", true);
    tick(&o);
    answer(&o, 0, &began, false, 1);
    assert_int_equal(o.followed.n, 1);
    electorate_free(o.e);

    began.list[0].voters[1].store = 6; /* or with another: this one has lost its store */
    begin(&o, "b", true);
    tick(&o);
    answer(&o, 0, &began, false, 1);
    answer(&o, 2, &old, true, 3);
    assert_int_equal(o.followed.n, 0);
    electorate_free(o.e);
}

/* All who voted first were installed anew, and others vote by now: they found nothing. */
static void nobody_begins_beside_a_later_group(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group();
    struct voter_groups old = {.list = {g1}, .n = 1};
    begin(&o, "b", true);
    electorate_heard(o.e, 7);
    tick(&o);
    answer(&o, 0, &old, true, 1);
    answer(&o, 2, &old, true, 3);
    assert_int_equal(o.followed.n, 0);
    electorate_free(o.e);
}

/* Others take it for a voter, or it did not know yet that it is none: nobody told it who plans. */
static void who_votes_no_more_asks_who_plans(void **state _unused_)
{
    struct one o;
    struct voter_group g1 = first_group(), g2 = follow(&g1, "d", 4, "b");
    struct voter_groups now = {.list = {g1, g2}, .n = 2};
    begin(&o, "b", false);
    tell(&o, &now);
    tick(&o);
    uint64_t first = o.tokens[0];
    assert_int_not_equal(first, 0);
    tick(&o);
    assert_int_not_equal(o.tokens[0], first); /* again */
    o.planner_known = true;
    tick(&o);
    assert_false(electorate_waits(o.e, &o.conf));
    electorate_free(o.e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_voter_is_replaced_at_a_time),
        cmocka_unit_test(what_is_read_is_what_was_written),
        cmocka_unit_test(one_group_vouches_for_the_one_before),
        cmocka_unit_test(a_majority_of_those_who_voted_is_followed),
        cmocka_unit_test(a_lost_voter_does_not_hold_up),
        cmocka_unit_test(nor_one_with_another_store),
        cmocka_unit_test(the_first_voters_begin_together),
        cmocka_unit_test(nobody_begins_beside_a_later_group),
        cmocka_unit_test(three_voters_stay_three),
        cmocka_unit_test(who_votes_no_more_asks_who_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
