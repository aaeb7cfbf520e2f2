/* Both sides of "did the voters really permit this?" */
#include "tests/unit/acting_world.h"

/* ---- the voter ---- */

static enum err_code voter_says(struct attempt *t, const char *from, uint64_t term)
{
    struct effects out = {0};
    struct host *h = &t->w.hosts[1];
    struct step s = step_of(&t->w, h, &out);
    struct confirm_answer a;
    confirm_answer(h->state, term, &s, from, &t->permit, &a);
    if (a.not_yet.code != ERR_OK)
        return a.not_yet.code;
    assert_int_equal(a.confirmed.valid, a.why.code == ERR_OK);
    return a.why.code;
}

static void a_voter_answers_from_its_own_state(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_NOT_FOUND); /* not applied here yet */
    catch_up(&t.w, &t.w.hosts[1], true);
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_OK);
    assert_int_equal(voter_says(&t, "hv3", 0), ERR_OK);
    assert_int_equal(voter_says(&t, "hv2", 1), ERR_DENIED); /* none of its business */
    assert_int_equal(voter_says(&t, "hv1", 2), ERR_STALE);  /* it has elected another */
    t.permit.attempt++;
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_DENIED);
    t.permit.attempt--;
    t.permit.destination = NULL;
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_INVALID);
    t.permit.destination = (char *)"hv3";
    t.w.now += 10000;
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_EXPIRED);
    t.w.now -= 10000;
    commit_envelope(&t.w, "bert", "cancel");
    catch_up(&t.w, &t.w.hosts[1], true);
    assert_int_equal(voter_says(&t, "hv1", 1), ERR_CANCELLED);
    attempt_done(&t);
}

/* ---- the asker: hv9, no voter itself; five voters ---- */

static const char *const five[] = {"v1", "v2", "v3", "v4", "v5"};

struct asker {
    struct node_conf conf;
    struct effects out;
    struct step s;
    uint64_t rng, next_token, tokens[5];
    struct confirm *c;
};

/* Reads the questions that are on their way. */
static unsigned questions(struct asker *a)
{
    unsigned n = 0;
    for (size_t i = 0; i < a->out.n; i++) {
        Skein__Frame *f;
        struct err err;
        assert_int_equal(a->out.items[i].kind, EFFECT_SEND);
        assert_ok(codec_frame(a->out.items[i].data, a->out.items[i].len, &f, &err), &err);
        for (int k = 0; k < 5; k++)
            if (strcmp(a->out.items[i].key, five[k]) == 0)
                a->tokens[k] = f->request->id;
        n++;
        skein_frame_free(f);
    }
    effects_clear(&a->out);
    return n;
}

static void asker_init(struct asker *a)
{
    *a = (struct asker){.conf = {.host = "hv9", .voters = five, .n_voters = 5}};
    a->s = (struct step){{.mono = 1000, .wall = 1000}, &a->conf, &a->out, &a->rng, &a->next_token};
    Skein__Permit p = SKEIN__PERMIT__INIT;
    p.id = (char *)"p";
    p.has_term = 1;
    p.term = 4;
    a->c = confirm_new(&a->s, OWNER_EXEC, NULL, 4, &p, 6000);
    assert_int_equal(questions(a), 5);
}

/* at: the voter's wall clock; 0: it does not tell. */
static uint64_t voters_group; /* of which group the voters say that they are; 0: nothing */

static void say_at(struct asker *a, int voter, const char *from, bool yes, uint64_t term, msec at)
{
    Skein__PermitConfirmed c = SKEIN__PERMIT_CONFIRMED__INIT;
    c.has_at_ms = at != 0;
    c.at_ms = (uint64_t)at;
    c.has_valid = c.has_term = 1;
    c.valid = yes;
    c.term = term;
    c.reason = (char *)"because";
    c.has_voters = voters_group != 0;
    c.voters = voters_group;
    Skein__Reply r = SKEIN__REPLY__INIT;
    r.id = a->tokens[voter];
    r.kind_case = SKEIN__REPLY__KIND_CONFIRMED;
    r.confirmed = &c;
    confirm_reply(a->c, &a->s, from, &r);
}

static void say(struct asker *a, int voter, const char *from, bool yes, uint64_t term)
{
    say_at(a, voter, from, yes, term, 0);
}

static enum confirm_outcome outcome(struct asker *a)
{
    enum confirm_outcome o = confirm_tick(a->c, &a->s, NULL, 4);
    questions(a);
    return o;
}

static void asker_done(struct asker *a)
{
    confirm_free(a->c);
    effects_clear(&a->out);
}

/* Whose clock is wrong is not asked: with a majority of the voters' it must agree. */
static void clocks_that_differ_are_no_word(void **state)
{
    (void)state;
    struct asker a;
    struct err err = {0};
    asker_init(&a);
    a.conf.clock_skew_limit = 2000;
    a.s.now.wall = 100000;
    a.s.now.mono = 1500; /* half a second after it asked */
    say_at(&a, 0, "v1", true, 4, 102000);
    say_at(&a, 1, "v2", true, 4, 97500); /* it may have read it when it was asked */
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    say_at(&a, 2, "v3", true, 4, 102001);
    say_at(&a, 3, "v4", true, 4, 97499);
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    say_at(&a, 4, "v5", true, 4, 500000);
    assert_int_equal(outcome(&a), CONFIRM_REFUSED);
    assert_int_equal(confirm_why(a.c, CONFIRM_REFUSED, &err), -ERR_STALE);
    assert_non_null(strstr(err.msg, "v3: its clock is 2001 ms ahead of ours; 2000 are borne"));
    assert_non_null(strstr(err.msg, "v4: its clock is 2001 ms behind ours"));
    asker_done(&a);
}

static void three_of_five_in_one_term(void **state)
{
    (void)state;
    struct asker a;
    asker_init(&a);
    say(&a, 0, "v1", true, 4);
    say(&a, 0, "v1", true, 4); /* twice is once */
    say(&a, 1, "v1", true, 4); /* v1 speaks for v2: not heard */
    say(&a, 2, "hv8", true, 4);
    say(&a, 1, "v2", true, 4);
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    say(&a, 2, "v3", true, 5); /* yes, but in another term */
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    say(&a, 3, "v4", true, 4);
    assert_int_equal(outcome(&a), CONFIRM_VALID);
    asker_done(&a);
}

static void refused_when_a_majority_cannot_come(void **state)
{
    (void)state;
    struct asker a;
    struct err err;
    asker_init(&a);
    for (int i = 0; i < 2; i++)
        say(&a, i, five[i], true, 4);
    for (int i = 2; i < 5; i++) {
        assert_int_equal(outcome(&a), CONFIRM_ASKING);
        say(&a, i, five[i], false, 4);
    }
    assert_int_equal(outcome(&a), CONFIRM_REFUSED);
    assert_err(confirm_why(a.c, CONFIRM_REFUSED, &err), &err, ERR_STALE,
               "2 of 5 voters, 3 are needed; v3: because");
    asker_done(&a);
}

/* A word counts of who knows the same group of voters as the newest; and it is asked anew when the
 * asker learns of another. */
static void only_of_the_same_group(void **state)
{
    (void)state;
    struct asker a;
    struct err err;
    asker_init(&a);
    confirm_free(a.c);
    a.conf.group.number = 3;
    Skein__Permit p = SKEIN__PERMIT__INIT;
    p.id = (char *)"p";
    p.has_term = 1;
    p.term = 4;
    a.c = confirm_new(&a.s, OWNER_EXEC, NULL, 4, &p, 6000);
    questions(&a);
    voters_group = 2; /* they were replaced and do not know it */
    for (int i = 0; i < 3; i++)
        say(&a, i, five[i], true, 4);
    voters_group = 0;
    say(&a, 3, "v4", true, 4);
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    voters_group = 3;
    for (int i = 0; i < 2; i++)
        say(&a, i, five[i], true, 4);
    assert_int_equal(outcome(&a), CONFIRM_ASKING);
    say(&a, 2, "v3", true, 4);
    assert_int_equal(outcome(&a), CONFIRM_VALID);
    a.conf.group.number = 4;
    assert_int_equal(outcome(&a), CONFIRM_REFUSED);
    assert_err(confirm_why(a.c, CONFIRM_REFUSED, &err), &err, ERR_STALE, "the voters have changed");
    voters_group = 0;
    asker_done(&a);
}

static void silence_is_asked_again_and_then_no_answer(void **state)
{
    (void)state;
    struct asker a;
    struct err err;
    asker_init(&a);
    uint64_t first = a.tokens[4];
    say(&a, 0, "v1", true, 4);
    say(&a, 1, "v2", true, 4);
    Skein__Reply not_yet = SKEIN__REPLY__INIT;
    not_yet.id = a.tokens[2];
    not_yet.code = (char *)"NOT_FOUND";
    not_yet.message = (char *)"not applied";
    assert_true(confirm_reply(a.c, &a.s, "v3", &not_yet));
    a.s.now.mono += 300;
    assert_int_equal(confirm_tick(a.c, &a.s, NULL, 4), CONFIRM_ASKING);
    assert_int_equal(questions(&a), 3); /* v3, which may know by now, v4 and v5 */
    assert_int_equal(a.tokens[4], first);
    a.s.now.mono = 6000;
    assert_int_equal(outcome(&a), CONFIRM_TIMEOUT);
    assert_err(confirm_why(a.c, CONFIRM_TIMEOUT, &err), &err, ERR_TIMEOUT,
               "v3: not applied; v4: no answer; v5: no answer");
    say(&a, 4, "v5", true, 4); /* the last moment: a yes is a yes */
    assert_int_equal(outcome(&a), CONFIRM_VALID);
    asker_done(&a);
}

static void without_voters_nothing_is_confirmed(void **state)
{
    (void)state;
    struct asker a = {.conf = {.host = "hv9"}};
    a.s = (struct step){{.mono = 1, .wall = 1}, &a.conf, &a.out, &a.rng, &a.next_token};
    Skein__Permit p = SKEIN__PERMIT__INIT;
    p.id = (char *)"p";
    a.c = confirm_new(&a.s, OWNER_EXEC, NULL, 1, &p, 10);
    assert_int_equal(outcome(&a), CONFIRM_REFUSED);
    asker_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_voter_answers_from_its_own_state),
        cmocka_unit_test(clocks_that_differ_are_no_word),
        cmocka_unit_test(three_of_five_in_one_term),
        cmocka_unit_test(refused_when_a_majority_cannot_come),
        cmocka_unit_test(only_of_the_same_group),
        cmocka_unit_test(silence_is_asked_again_and_then_no_answer),
        cmocka_unit_test(without_voters_nothing_is_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
