/* What failed lately: back-off, the circuit breaker; and what is put back: rollbacks. */
#include "tests/lib/test.h"

#include "agent/core/setback.h"
#include "tests/lib/plans.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};

struct fixture {
    struct state *st;
    uint64_t index, seed;
    msec now;
    int nonce;
    struct err err;
};

static int apply(struct fixture *f, Skein__Entry *e)
{
    struct err err = {0};
    struct plan *const *plans;
    f->err = (struct err){0};
    int rc = state_apply(f->st, e, ++f->index, 3, &f->err);
    skein_entry_free(e);
    for (size_t i = state_plans(f->st, &plans); i-- > 0;)
        assert_ok(plan_invariant(plans[i], &err), &err);
    Skein__StateImage *image = state_image(f->st);
    _cleanup_(state_freep) struct state *other = state_new(&conf);
    assert_ok(state_restore(other, image, &err), &err);
    skein__state_image__free_unpacked(image, NULL);
    return rc;
}

static int said(struct fixture *f, const char *person, unsigned roles, json_t *command)
{
    return apply(f, test_said(f->now, test_envelope(person, roles, ++f->nonce, f->now + 60 * MINUTE,
                                                    command)));
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.st = state_new(&conf), .now = NOW};
}

static void stop(struct fixture *f)
{
    state_free(f->st);
}

#define WITH_STATE                                                                                 \
    struct fixture f __attribute__((cleanup(stop)));                                               \
    begin(&f)

#define P(x) SKEIN__PLAN_STATE__PLAN_##x
#define A(x) SKEIN__ACTION_STATE__ACTION_##x

static struct plan *newest(const struct fixture *f)
{
    struct plan *const *plans;
    size_t n = state_plans(f->st, &plans);
    return plans[n - 1];
}

static struct plan *running(struct fixture *f, const struct test_move *m, size_t n, bool rollback)
{
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "optimise", ++f->seed, NULL, m, n, &len);
    assert_ok(apply(f, test_put(f->now, body, len, NULL, NULL)), &f->err);
    struct plan *p = newest(f);
    json_t *vote = test_vote("approve", p->body->digest);
    json_object_set_new(vote, "rollback", json_boolean(rollback));
    assert_ok(said(f, "anna", TRUST_APPROVER, vote), &f->err);
    assert_ok(apply(f, test_change(f->now, p->body->id, P(ONGOING))), &f->err);
    return p;
}

static void ends(struct fixture *f, struct plan *p, const char *action, Skein__ActionState how)
{
    assert_ok(apply(f, test_permit(f->now, p, action, 3, 1)), &f->err);
    assert_ok(apply(f, test_report(f->now, p->body->id, action, A(RUNNING))), &f->err);
    assert_ok(apply(f, test_report(f->now, p->body->id, action, how)), &f->err);
}

/* One move of this VM that ends so. */
static void moved(struct fixture *f, int vm, Skein__ActionState how)
{
    const struct test_move m = {0, vm, "hv1", "hv2"};
    struct plan *p = running(f, &m, 1, false);
    ends(f, p, "s1-0", how);
    assert_ok(apply(f, test_change(f->now, p->body->id, plan_outcome(p))), &f->err);
}

static size_t resting(const struct fixture *f, struct setback *ret_first)
{
    struct setback *items;
    size_t n = setbacks(f->st, f->now, &items);
    if (n > 0)
        *ret_first = items[0];
    free(items);
    return n;
}

static void a_failed_move_rests_twice_as_long_each_time(void **state)
{
    (void)state;
    WITH_STATE;
    struct setback b;
    msec rest = SETBACK_FIRST_MS;
    assert_int_equal(resting(&f, &b), 0);
    for (unsigned i = 1; i <= 9; i++) {
        moved(&f, 1, A(FAILED));
        moved(&f, 2, A(SUCCEEDED));
        assert_int_equal(resting(&f, &b), 1);
        assert_string_equal(b.vm, "vm1");
        assert_int_equal(b.failures, i);
        assert_int_equal(b.until, f.now + rest);
        f.now += rest;
        assert_int_equal(resting(&f, &b), 0);
        rest = MIN(2 * rest, SETBACK_LONGEST_MS);
    }
    moved(&f, 1, A(SUCCEEDED)); /* forgiven */
    moved(&f, 1, A(FAILED));
    assert_int_equal(resting(&f, &b), 1);
    assert_int_equal(b.failures, 1);
    f.now += SETBACK_MEMORY_MS;
    assert_int_equal(resting(&f, &b), 0);
}

static void the_breaker_opens_on_a_rate_and_closes(void **state)
{
    (void)state;
    WITH_STATE;
    struct breaker b;
    for (int i = 0; i < BREAKER_FAILURES - 1; i++)
        moved(&f, i, A(FAILED));
    breaker_read(f.st, f.now, &b);
    assert_false(b.open);
    for (int i = 0; i < BREAKER_FAILURES; i++)
        moved(&f, 100 + i, A(SUCCEEDED));
    moved(&f, 90, A(FAILED)); /* 5 of 10 */
    breaker_read(f.st, f.now, &b);
    assert_true(b.open);
    assert_int_equal(b.failed, 5);
    assert_int_equal(b.ended, 10);
    moved(&f, 110, A(SUCCEEDED)); /* 5 of 11: not half of them */
    breaker_read(f.st, f.now, &b);
    assert_false(b.open);
    f.now += 1000;
    moved(&f, 91, A(FAILED));
    assert_err(breaker_check(f.st, "safety", f.now, &f.err), &f.err, ERR_UNAVAILABLE,
               "6 of 12 moves failed");
    assert_ok(breaker_check(f.st, "user", f.now, &f.err), &f.err);

    const struct test_move m = {0, 200, "hv1", "hv2"};
    struct plan *p = running(&f, &m, 1, false);
    assert_ok(apply(&f, test_permit(f.now, p, "s1-0", 3, 1)), &f.err);
    assert_err(state_confirm(f.st, p->items[0].permit, f.now, &f.err), &f.err, ERR_UNAVAILABLE,
               "circuit breaker");
    f.now += BREAKER_WINDOW_MS - 1000; /* the first failures are old, five of them */
    breaker_read(f.st, f.now, &b);
    assert_false(b.open);
}

/* ---- rollback ---- */

static const struct test_move moves[] = {
    {0, 1, "hv1", "hv2"}, {0, 2, "hv1", "hv3"}, {1, 3, "hv2", "hv1"}};

static json_t *rollback(const struct plan *p, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char uuid[UUID_SIZE];
        json_array_append_new(list, json_pack("{s:s, s:s}", "uuid", test_uuid(moves[i].vm, uuid),
                                              "to", moves[i].from));
    }
    json_t *o = test_vote("rollback", p->body->digest);
    json_object_set_new(o, "moves", list);
    return o;
}

/* Cancelled in the middle: the first two moved. */
static struct plan *half_done(struct fixture *f, bool clause)
{
    struct plan *p = running(f, moves, 3, clause);
    ends(f, p, "s1-0", A(SUCCEEDED));
    ends(f, p, "s1-1", A(SUCCEEDED));
    assert_ok(said(f, "olga", TRUST_OPERATOR, test_vote("cancel", p->body->digest)), &f->err);
    assert_ok(apply(f, test_report(f->now, p->body->id, "s2-2", A(CANCELLED))), &f->err);
    assert_err(said(f, "olga", TRUST_OPERATOR, rollback(p, 2)), &f->err, ERR_CONFLICT,
               "CANCELLING");
    assert_ok(apply(f, test_change(f->now, p->body->id, P(CANCELLED))), &f->err);
    return p;
}

static int put_back(struct fixture *f, const struct test_move *back, size_t n)
{
    size_t len;
    Skein__RequestRecord *const *requests;
    size_t n_requests = state_requests(f->st, &requests);
    _cleanup_(freep) char *body = test_body("", "rollback", ++f->seed, NULL, back, n, &len);
    return apply(f, test_put(f->now, body, len, "olga", requests[n_requests - 1]->nonce));
}

static const struct test_move back[] = {{0, 1, "hv2", "hv1"}, {0, 2, "hv3", "hv1"}};

static int gate_of(const struct plan *p, msec now, struct err *err)
{
    struct gate_verdict verdict;
    char digest[HASH_HEX_SIZE];
    _cleanup_(freep) ProtobufCBinaryData *envelopes = plan_envelopes(p);
    return gate_check(&test_trust, "cluster", p->put->body.data, p->put->body.len, envelopes,
                      p->n_votes, NULL, now, digest, &verdict, err);
}

static void an_approval_with_the_clause_opens_the_rollback(void **state)
{
    (void)state;
    WITH_STATE;
    struct plan *p = half_done(&f, true);
    assert_ok(said(&f, "olga", TRUST_OPERATOR, rollback(p, 2)), &f.err);
    assert_ok(put_back(&f, back, 2), &f.err);
    p = newest(&f);
    assert_int_equal(p->state, P(APPROVED));
    assert_ok(gate_of(p, f.now, &f.err), &f.err); /* what source and destination ask */
    assert_ok(apply(&f, test_change(f.now, p->body->id, P(ONGOING))), &f.err);
    ends(&f, p, "s1-0", A(SUCCEEDED));
    ends(&f, p, "s1-1", A(SUCCEEDED));
}

static void without_the_clause_it_waits_for_somebody_else(void **state)
{
    (void)state;
    WITH_STATE;
    struct plan *p = half_done(&f, false);
    assert_ok(said(&f, "olga", TRUST_OPERATOR | TRUST_APPROVER, rollback(p, 2)), &f.err);
    assert_ok(put_back(&f, back, 2), &f.err);
    p = newest(&f);
    assert_int_equal(p->state, P(PENDING_APPROVAL));
    assert_err(gate_of(p, f.now, &f.err), &f.err, ERR_DENIED, "0 of 1 approvals");
    assert_err(
        said(&f, "olga", TRUST_OPERATOR | TRUST_APPROVER, test_vote("approve", p->body->digest)),
        &f.err, ERR_DENIED, "does not approve it");
    assert_ok(said(&f, "anna", TRUST_APPROVER, test_vote("approve", p->body->digest)), &f.err);
    assert_int_equal(p->state, P(APPROVED));
    assert_ok(gate_of(p, f.now, &f.err), &f.err);
}

static void what_was_not_moved_or_not_signed_is_refused(void **state)
{
    (void)state;
    WITH_STATE;
    struct plan *p = half_done(&f, true);
    static const struct test_move never[] = {{0, 3, "hv2", "hv1"}},
                                  elsewhere[] = {{0, 1, "hv2", "hv3"}};
    assert_err(said(&f, "anna", TRUST_APPROVER, rollback(p, 2)), &f.err, ERR_DENIED, "no role");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, rollback(p, 1)), &f.err);
    assert_err(put_back(&f, never, 1), &f.err, ERR_DENIED, "does not undo");
    assert_err(put_back(&f, elsewhere, 1), &f.err, ERR_DENIED, "does not undo");
    assert_err(put_back(&f, back, 2), &f.err, ERR_DENIED, "names all of its moves");
    assert_ok(put_back(&f, back, 1), &f.err); /* a part is a plan too */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_move_rests_twice_as_long_each_time),
        cmocka_unit_test(the_breaker_opens_on_a_rate_and_closes),
        cmocka_unit_test(an_approval_with_the_clause_opens_the_rollback),
        cmocka_unit_test(without_the_clause_it_waits_for_somebody_else),
        cmocka_unit_test(what_was_not_moved_or_not_signed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
