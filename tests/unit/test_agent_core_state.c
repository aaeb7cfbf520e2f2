#include "tests/lib/test.h"

#include "tests/lib/plans.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};

/* A state that checks its own invariants after every entry. */
struct fixture {
    struct state *st;
    uint64_t index, term;
    msec now;
    int nonce;
    struct err err;
    struct plan *p; /* the plan of start() */
};

static void image_round_trips(const struct state *st);

static int apply(struct fixture *f, Skein__Entry *e)
{
    f->err = (struct err){0};
    int rc = state_apply(f->st, e, ++f->index, f->term, &f->err);
    skein_entry_free(e);
    struct plan *const *plans;
    struct err err = {0};
    size_t n = state_plans(f->st, &plans);
    for (size_t i = 0; i < n; i++)
        assert_ok(plan_invariant(plans[i], &err), &err);
    assert_int_equal(state_index(f->st), f->index);
    assert_int_equal(state_last(f->st)->kind == STATE_REFUSED, rc < 0);
    image_round_trips(f->st);
    return rc;
}

static uint8_t *image_bytes(const struct state *st, size_t *ret_len)
{
    Skein__StateImage *image = state_image(st);
    uint8_t *bytes = codec_pack(&image->base, ret_len);
    skein__state_image__free_unpacked(image, NULL);
    return bytes;
}

static void image_round_trips(const struct state *st)
{
    struct err err = {0};
    size_t len, len2;
    _cleanup_(freep) uint8_t *bytes = image_bytes(st, &len);
    Skein__StateImage *image = NULL;
    assert_ok(codec_image(bytes, len, &image, &err), &err);
    _cleanup_(state_freep) struct state *other = state_new(&conf);
    assert_ok(state_restore(other, image, &err), &err);
    skein__state_image__free_unpacked(image, NULL);
    _cleanup_(freep) uint8_t *again = image_bytes(other, &len2);
    assert_int_equal(len, len2);
    assert_memory_equal(bytes, again, len);
    assert_int_equal(state_index(other), state_index(st));
    assert_int_equal(state_term(other), state_term(st));
}

static const struct test_move moves[] = {
    {0, 1, "hv1", "hv2"}, {0, 2, "hv1", "hv3"}, {1, 3, "hv2", "hv1"}};

static int put(struct fixture *f, const char *policy, uint64_t seed, const struct test_move *m,
               size_t n)
{
    size_t len;
    _cleanup_(freep) char *body = test_body(policy, "safety", seed, NULL, m, n, &len);
    return apply(f, test_put(f->now, body, len, NULL, NULL));
}

static int said(struct fixture *f, const char *person, unsigned roles, json_t *command)
{
    return apply(f, test_said(f->now, test_envelope(person, roles, ++f->nonce, f->now + 10 * MINUTE,
                                                    command)));
}

static int approve(struct fixture *f)
{
    return said(f, "anna", TRUST_APPROVER, test_vote("approve", f->p->body->digest));
}

static int change(struct fixture *f, Skein__PlanState to)
{
    return apply(f, test_change(f->now, f->p->body->id, to));
}

static int permit(struct fixture *f, const char *action, uint32_t attempt)
{
    return apply(f, test_permit(f->now, f->p, action, f->term, attempt));
}

static int report(struct fixture *f, const char *action, Skein__ActionState state)
{
    return apply(f, test_report(f->now, f->p->body->id, action, state));
}

enum begin { BEGIN_PENDING, BEGIN_APPROVED, BEGIN_ONGOING };

static void start(struct fixture *f, enum begin how)
{
    *f = (struct fixture){.st = state_new(&conf), .term = 3, .now = NOW};
    assert_ok(put(f, "p", 1, moves, 3), &f->err);
    struct plan *const *plans;
    assert_int_equal(state_plans(f->st, &plans), 1);
    f->p = plans[0];
    if (how >= BEGIN_APPROVED)
        assert_ok(approve(f), &f->err);
    if (how >= BEGIN_ONGOING)
        assert_ok(change(f, SKEIN__PLAN_STATE__PLAN_ONGOING), &f->err);
}

static void stop(struct fixture *f)
{
    state_free(f->st);
}

#define WITH_STATE(how)                                                                            \
    struct fixture f __attribute__((cleanup(stop)));                                               \
    start(&f, how)

#define S(x) SKEIN__PLAN_STATE__PLAN_##x
#define A(x) SKEIN__ACTION_STATE__ACTION_##x

static void a_plan_lives_from_put_to_success(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    assert_int_equal(f.p->state, S(PENDING_APPROVAL));
    assert_int_equal(f.p->made_in_term, 3);
    assert_ok(approve(&f), &f.err);
    assert_int_equal(f.p->state, S(APPROVED));
    assert_int_equal(state_last(f.st)->kind, STATE_APPROVAL);
    assert_string_equal(state_last(f.st)->who, "anna");
    assert_ok(change(&f, S(ONGOING)), &f.err);
    static const char *const actions[] = {"s1-0", "s1-1", "s2-2"};
    for (size_t i = 0; i < 3; i++) {
        f.now += 1000;
        assert_ok(permit(&f, actions[i], 1), &f.err);
        f.now += 3000;
        assert_ok(report(&f, actions[i], A(RUNNING)), &f.err);
        assert_ok(report(&f, actions[i], A(SUCCEEDED)), &f.err);
    }
    assert_ok(change(&f, S(SUCCEEDED)), &f.err);
    assert_int_equal(f.p->state, S(SUCCEEDED));
    _cleanup_json_ json_t *doc = plan_doc(f.p), *sum = plan_report(f.p);
    assert_int_equal(json_array_size(json_object_get(doc, "results")), 3);
    assert_int_equal(json_array_size(json_object_get(doc, "approvals")), 1);
    json_t *totals = json_object_get(sum, "totals");
    assert_int_equal(json_integer_value(json_object_get(totals, "duration_ms")), 11000);
    assert_int_equal(json_integer_value(json_object_get(totals, "transferred_mib")), 1800);
    assert_int_equal(json_integer_value(json_object_get(totals, "downtime_max_ms")), 50);
    assert_int_equal(json_integer_value(json_object_get(totals, "succeeded")), 3);
}

static void a_plan_is_paused_and_resumed(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_APPROVED);
    const char *digest = f.p->body->digest;
    assert_err(said(&f, "olga", TRUST_OPERATOR, test_vote("pause", digest)), &f.err, ERR_STALE,
               "too early to pause");
    assert_ok(change(&f, S(ONGOING)), &f.err);
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    const Skein__Permit *given = plan_item(f.p, "s1-0")->permit;
    assert_ok(state_confirm(f.st, given, f.now, &f.err), &f.err);
    assert_err(said(&f, "vera", TRUST_VIEWER, test_vote("pause", digest)), &f.err, ERR_DENIED,
               "no role");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("pause", digest)), &f.err);
    assert_int_equal(f.p->state, S(PAUSED));
    assert_string_equal(f.p->reason, "PAUSED by olga: because");
    assert_err(permit(&f, "s1-1", 1), &f.err, ERR_CONFLICT, "PAUSED, not ONGOING");
    assert_err(state_confirm(f.st, given, f.now, &f.err), &f.err, ERR_CANCELLED, "PAUSED");
    /* what runs comes to its end */
    assert_ok(report(&f, "s1-0", A(RUNNING)), &f.err);
    assert_ok(report(&f, "s1-0", A(SUCCEEDED)), &f.err);
    assert_err(change(&f, S(ONGOING)), &f.err, ERR_DENIED, "people");
    for (int i = 0; i < 2 * GATE_VOTES_MAX; i++) { /* as often as people like */
        assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("resume", digest)), &f.err);
        assert_int_equal(f.p->state, S(ONGOING));
        assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("pause", digest)), &f.err);
    }
    assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("cancel", digest)), &f.err);
    assert_int_equal(f.p->state, S(CANCELLING));
    assert_err(said(&f, "olga", TRUST_OPERATOR, test_vote("resume", digest)), &f.err, ERR_STALE,
               "too late to resume");
}

static void plans_are_found_by_unique_prefix(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    char prefix[PLAN_ID_SIZE];
    memcpy(prefix, f.p->body->id, sizeof prefix);
    assert_ptr_equal(state_plan(f.st, prefix), f.p);
    prefix[4] = '\0';
    assert_ptr_equal(state_plan(f.st, prefix), f.p);
    assert_ptr_equal(state_plan(f.st, f.p->body->digest), f.p);
    assert_null(state_plan(f.st, ""));
    assert_null(state_plan(f.st, "nothing"));
    for (uint64_t seed = 2; seed < 40; seed++)
        assert_ok(put(&f, "p", seed, moves, 3), &f.err);
    prefix[1] = '\0';
    assert_null(state_plan(f.st, prefix)); /* of 39 plans, several begin alike */
}

static void puts_are_checked(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    assert_err(put(&f, "p", 1, moves, 3), &f.err, ERR_EXISTS, "there already");
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "safety", 2, NULL, moves, 3, &len);
    Skein__Entry *e = test_put(f.now, body, len, NULL, NULL);
    e->plan->state = S(APPROVED);
    assert_err(apply(&f, e), &f.err, ERR_INVALID, "RECOMMENDED or PENDING");
    e = test_put(f.now, body, len, NULL, NULL);
    e->plan->expires_at_ms = (uint64_t)f.now;
    assert_err(apply(&f, e), &f.err, ERR_EXPIRED, "expired already");
    e = test_put(f.now, body, len, NULL, NULL);
    e->plan->body.data[30] ^= 1;
    assert_true(apply(&f, e) < 0);
    assert_err(apply(&f, test_put(f.now, body, len, NULL, "x")), &f.err, ERR_DENIED,
               "class safety");
    for (uint64_t seed = 10; seed < 10 + STATE_OPEN_MAX - 1; seed++)
        assert_ok(put(&f, "p", seed, moves, 3), &f.err);
    assert_err(put(&f, "p", 9, moves, 3), &f.err, ERR_LIMIT, "64 plans are open");
}

static void entries_without_sense_change_nothing(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    assert_err(apply(&f, test_entry(f.now)), &f.err, ERR_UNSUPPORTED, "unknown to this version");
    assert_err(apply(&f, test_change(0, f.p->body->id, S(SUPERSEDED))), &f.err, ERR_INVALID,
               "without a time");
    f.term = 2;
    assert_err(change(&f, S(SUPERSEDED)), &f.err, ERR_STALE, "term 2 after one of term 3");
    assert_int_equal(f.p->state, S(PENDING_APPROVAL));
    assert_err(apply(&f, test_change(f.now, "nosuch", S(EXPIRED))), &f.err, ERR_STALE, "term");
    f.term = 3;
    assert_err(apply(&f, test_change(f.now, "nosuch", S(EXPIRED))), &f.err, ERR_NOT_FOUND,
               "nosuch");
}

static void approvals_are_checked(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    const char *digest = f.p->body->digest;
    assert_err(said(&f, "victor", TRUST_VIEWER, test_vote("approve", digest)), &f.err, ERR_DENIED,
               "no role");
    assert_true(state_last(f.st)->command);
    assert_err(said(&f, "olga", TRUST_OPERATOR, test_vote("approve", digest)), &f.err, ERR_DENIED,
               "no role");
    char other[HASH_HEX_SIZE];
    memcpy(other, digest, sizeof other);
    other[50] = other[50] == '0' ? '1' : '0';
    assert_err(said(&f, "anna", TRUST_APPROVER, test_vote("approve", other)), &f.err, ERR_DENIED,
               "another digest");
    assert_string_equal(state_last(f.st)->who, "anna");
    assert_err(apply(&f, test_said(f.now, xstrdup("{\"forged\":true}"))), &f.err,
               ERR_UNAUTHENTICATED, "signature");
    assert_err(apply(&f, test_said(f.now, test_envelope("anna", TRUST_APPROVER, 77, f.now,
                                                        test_vote("approve", digest)))),
               &f.err, ERR_EXPIRED, "expired");
    assert_int_equal(f.p->n_votes, 0);
    assert_int_equal(f.p->state, S(PENDING_APPROVAL));
}

static void an_envelope_is_taken_once(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    _cleanup_(freep) char *envelope = test_envelope("anna", TRUST_APPROVER, 5, f.now + MINUTE,
                                                    test_vote("approve", f.p->body->digest));
    assert_ok(apply(&f, test_said(f.now, xstrdup(envelope))), &f.err);
    assert_err(apply(&f, test_said(f.now, xstrdup(envelope))), &f.err, ERR_EXISTS, "given before");
    assert_int_equal(f.p->n_votes, 1);
}

static void approvals_come_in_time_or_not_at_all(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    assert_ok(change(&f, S(SUPERSEDED)), &f.err);
    assert_err(approve(&f), &f.err, ERR_STALE, "SUPERSEDED");
    assert_ok(put(&f, "p", 2, moves, 3), &f.err);
    struct plan *const *plans;
    state_plans(f.st, &plans);
    f.p = plans[1];
    assert_err(change(&f, S(EXPIRED)), &f.err, ERR_CONFLICT, "has not expired");
    f.now += 30 * MINUTE;
    assert_ok(change(&f, S(EXPIRED)), &f.err);
    assert_err(approve(&f), &f.err, ERR_STALE, "EXPIRED");
}

static void one_rejection_vetoes(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_APPROVED);
    assert_err(said(&f, "olga", TRUST_OPERATOR, test_vote("reject", f.p->body->digest)), &f.err,
               ERR_DENIED, "no role");
    assert_ok(said(&f, "carl", TRUST_APPROVER, test_vote("reject", f.p->body->digest)), &f.err);
    assert_int_equal(f.p->state, S(REJECTED));
    assert_string_equal(f.p->reason, "REJECTED by carl: because");
    assert_err(change(&f, S(ONGOING)), &f.err, ERR_CONFLICT, "REJECTED");
}

static void the_planner_cannot_say_what_people_say(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    assert_err(change(&f, S(APPROVED)), &f.err, ERR_DENIED, "a planner does not make it");
    assert_err(change(&f, S(REJECTED)), &f.err, ERR_DENIED, "a planner does not make it");
    assert_err(change(&f, S(ONGOING)), &f.err, ERR_CONFLICT, "cannot become");
    assert_err(change(&f, S(CANCELLED)), &f.err, ERR_CONFLICT, "have not ended");
    assert_ok(approve(&f), &f.err);
    assert_ok(change(&f, S(ONGOING)), &f.err);
    assert_err(change(&f, S(CANCELLING)), &f.err, ERR_DENIED, "a planner does not make it");
    assert_err(change(&f, S(SUCCEEDED)), &f.err, ERR_CONFLICT, "have not ended");
}

static void an_approval_expires_before_it_is_used(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_APPROVED);
    assert_err(change(&f, S(EXPIRED)), &f.err, ERR_CONFLICT, "has not expired");
    f.now += 10 * MINUTE;
    assert_err(change(&f, S(ONGOING)), &f.err, ERR_DENIED, "0 of 1");
    assert_ok(change(&f, S(EXPIRED)), &f.err);
}

static void permits_need_everything_right(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_APPROVED);
    assert_err(permit(&f, "s1-0", 1), &f.err, ERR_CONFLICT, "APPROVED, not ONGOING");
    assert_ok(change(&f, S(ONGOING)), &f.err);
    assert_err(apply(&f, test_permit(f.now, f.p, "s1-0", 2, 1)), &f.err, ERR_STALE, "term 2");
    assert_err(apply(&f, test_permit(f.now, f.p, "s1-0", 4, 1)), &f.err, ERR_STALE, "term 4");
    assert_err(apply(&f, test_permit(f.now, f.p, "s7-7", 3, 1)), &f.err, ERR_NOT_FOUND, "s7-7");
    assert_err(permit(&f, "s2-2", 1), &f.err, ERR_CONFLICT, "present step");
    assert_err(permit(&f, "s1-0", 2), &f.err, ERR_STALE, "not the next");
    Skein__Entry *e = test_permit(f.now, f.p, "s1-0", 3, 1);
    e->permit->destination[2] = '3';
    assert_err(apply(&f, e), &f.err, ERR_INVALID, "not of plan");
    e = test_permit(f.now, f.p, "s1-0", 3, 1);
    e->permit->digest[0] = 'x';
    assert_err(apply(&f, e), &f.err, ERR_INVALID, "not of plan");
    e = test_permit(f.now, f.p, "s1-0", 3, 1);
    e->permit->expires_at_ms += STATE_PERMIT_MAX_MS;
    assert_err(apply(&f, e), &f.err, ERR_EXPIRED, "do not fit");
    e = test_permit(f.now, f.p, "s1-0", 3, 1);
    e->permit->id[5] = 'G';
    assert_err(apply(&f, e), &f.err, ERR_INVALID, "missing");
    e = test_permit(f.now, f.p, "s1-0", 3, 1);
    e->permit->has_term = 0;
    assert_err(apply(&f, e), &f.err, ERR_INVALID, "missing");
    f.now += 10 * MINUTE;
    assert_err(permit(&f, "s1-0", 1), &f.err, ERR_DENIED, "0 of 1"); /* the approval expired */
}

static void an_action_has_one_live_permit(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_ONGOING);
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    uint64_t term = 0;
    char first[40];
    snprintf(first, sizeof first, "%s", f.p->items[0].permit->id);
    assert_non_null(state_permit(f.st, first, &term));
    assert_int_equal(term, 3);
    f.now += 9999;
    assert_err(permit(&f, "s1-0", 2), &f.err, ERR_EXISTS, "has not expired");
    f.now += 1;
    assert_ok(permit(&f, "s1-0", 2), &f.err);
    assert_null(state_permit(f.st, first, NULL)); /* the old one is gone */
    assert_ok(report(&f, "s1-0", A(RUNNING)), &f.err);
    f.now += MINUTE;
    assert_err(permit(&f, "s1-0", 3), &f.err, ERR_CONFLICT, "RUNNING");
    assert_ok(report(&f, "s1-0", A(FAILED)), &f.err);
    assert_err(permit(&f, "s1-0", 3), &f.err, ERR_CONFLICT, "FAILED");
}

static void voters_confirm_what_they_hold(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_ONGOING);
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    Skein__Permit *p = (Skein__Permit *)codec_copy(&f.p->items[0].permit->base);
    assert_ok(state_confirm(f.st, p, f.now, &f.err), &f.err);
    assert_err(state_confirm(f.st, p, f.now + 10000, &f.err), &f.err, ERR_EXPIRED, "expired");
    p->expires_at_ms++;
    assert_err(state_confirm(f.st, p, f.now, &f.err), &f.err, ERR_DENIED, "altered");
    p->expires_at_ms--;
    p->id[0] = 'f';
    assert_err(state_confirm(f.st, p, f.now, &f.err), &f.err, ERR_NOT_FOUND, "no such");
    p->id[0] = '0';
    f.term++;
    assert_ok(permit(&f, "s1-1", 1), &f.err); /* a later term has begun */
    assert_err(state_confirm(f.st, p, f.now, &f.err), &f.err, ERR_STALE, "term 3");
    skein__permit__free_unpacked(p, NULL);
    const Skein__Permit *second = f.p->items[1].permit;
    assert_ok(state_confirm(f.st, second, f.now, &f.err), &f.err);
    assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("cancel", f.p->body->digest)), &f.err);
    assert_err(state_confirm(f.st, second, f.now, &f.err), &f.err, ERR_CANCELLED, "CANCELLING");
}

static void reports_follow_the_table(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_APPROVED);
    assert_err(report(&f, "s1-0", A(SKIPPED)), &f.err, ERR_CONFLICT, "APPROVED");
    assert_ok(change(&f, S(ONGOING)), &f.err);
    assert_err(report(&f, "s1-0", A(SUCCEEDED)), &f.err, ERR_CONFLICT, "PENDING");
    assert_err(report(&f, "s9-9", A(RUNNING)), &f.err, ERR_NOT_FOUND, "s9-9");
    assert_err(apply(&f, test_report(f.now, "nosuch", "s1-0", A(RUNNING))), &f.err, ERR_NOT_FOUND,
               "nosuch");
    assert_err(report(&f, "s2-2", A(SKIPPED)), &f.err, ERR_CONFLICT, "present step");
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    assert_err(report(&f, "s1-0", A(CANCELLED)), &f.err, ERR_CONFLICT, "may still begin");
    assert_ok(report(&f, "s1-0", A(UNKNOWN)), &f.err);
    assert_ok(report(&f, "s1-0", A(RUNNING)), &f.err);
    assert_ok(report(&f, "s1-0", A(SUCCEEDED)), &f.err);
    assert_ok(report(&f, "s1-0", A(SUCCEEDED)), &f.err);
    assert_true(state_last(f.st)->repeated);
    assert_err(report(&f, "s1-0", A(FAILED)), &f.err, ERR_CONFLICT, "cannot become");
    assert_err(report(&f, "s1-0", (Skein__ActionState)40), &f.err, ERR_CONFLICT, "cannot become");
    assert_ok(report(&f, "s1-1", A(SKIPPED)), &f.err);
    assert_ok(report(&f, "s2-2", A(CANCELLED)), &f.err);
    assert_err(change(&f, S(SUCCEEDED)), &f.err, ERR_CONFLICT, "PARTIAL");
    assert_ok(change(&f, S(PARTIAL)), &f.err);
}

static void late_evidence_replaces_needs_operator(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_ONGOING);
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    assert_ok(report(&f, "s1-0", A(NEEDS_OPERATOR)), &f.err);
    assert_ok(report(&f, "s1-1", A(CANCELLED)), &f.err);
    assert_ok(report(&f, "s2-2", A(CANCELLED)), &f.err);
    assert_ok(change(&f, S(FAILED)), &f.err);
    assert_ok(report(&f, "s1-0", A(SUCCEEDED)), &f.err);
    assert_int_equal(plan_item_state(&f.p->items[0]), A(SUCCEEDED));
    assert_int_equal(f.p->state, S(FAILED));
    assert_err(report(&f, "s1-1", A(SUCCEEDED)), &f.err, ERR_CONFLICT, "FAILED");
}

static void a_cancel_works_in_every_state(void **state)
{
    (void)state;
    for (int how = BEGIN_PENDING; how <= BEGIN_ONGOING; how++) {
        WITH_STATE((enum begin)how);
        const char *digest = f.p->body->digest;
        if (how == BEGIN_ONGOING)
            assert_ok(permit(&f, "s1-0", 1), &f.err);
        assert_err(said(&f, "victor", TRUST_VIEWER, test_vote("cancel", digest)), &f.err,
                   ERR_DENIED, "no role");
        assert_ok(said(&f, "olga", TRUST_OPERATOR, test_vote("cancel", digest)), &f.err);
        assert_int_equal(f.p->state, how == BEGIN_ONGOING ? S(CANCELLING) : S(CANCELLED));
        assert_err(said(&f, "olga", TRUST_OPERATOR, test_vote("cancel", digest)), &f.err, ERR_STALE,
                   "too late");
        if (how != BEGIN_ONGOING)
            continue;
        assert_err(permit(&f, "s1-1", 1), &f.err, ERR_CONFLICT, "CANCELLING");
        assert_ok(report(&f, "s1-0", A(RUNNING)), &f.err);
        assert_ok(report(&f, "s1-0", A(CANCELLED)), &f.err);
        assert_ok(report(&f, "s1-1", A(CANCELLED)), &f.err);
        assert_ok(report(&f, "s2-2", A(CANCELLED)), &f.err);
        assert_ok(change(&f, S(CANCELLED)), &f.err);
    }
}

static void a_vm_runs_in_one_plan(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    struct plan *first = f.p, *const * plans;
    assert_ok(put(&f, "q", 2, moves, 1), &f.err);
    state_plans(f.st, &plans);
    f.p = plans[1];
    assert_ok(approve(&f), &f.err);
    assert_ok(change(&f, S(ONGOING)), &f.err);
    assert_err(put(&f, "r", 3, moves, 3), &f.err, ERR_CONFLICT, "vm1 is part of plan");
    f.p = first;
    assert_ok(approve(&f), &f.err);
    assert_err(change(&f, S(ONGOING)), &f.err, ERR_CONFLICT, "vm1 is part of plan");
}

static void a_persons_request_becomes_a_plan(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    size_t len;
    const struct test_move wrong[] = {{0, 5, "hv1", "hv3"}}, right[] = {{0, 5, "hv1", "hv2"}};
    assert_err(said(&f, "victor", TRUST_VIEWER, test_request(5, "hv2")), &f.err, ERR_DENIED,
               "no role");
    assert_ok(said(&f, "olga", TRUST_OPERATOR | TRUST_APPROVER, test_request(5, "hv2")), &f.err);
    assert_int_equal(state_last(f.st)->kind, STATE_COMMAND);
    char nonce[HASH_HEX_SIZE];
    memcpy(nonce, state_last(f.st)->request, sizeof nonce);
    assert_string_equal(state_request(f.st, nonce)->vote->person, "olga");
    _cleanup_(freep) char *bad = test_body("", "user", 1, NULL, wrong, 1, &len);
    assert_err(apply(&f, test_put(f.now, bad, len, "olga", nonce)), &f.err, ERR_DENIED,
               "not what olga asked for");
    _cleanup_(freep) char *good = test_body("", "user", 1, NULL, right, 1, &len);
    assert_err(apply(&f, test_put(f.now, good, len, "olga", NULL)), &f.err, ERR_DENIED,
               "no such request");
    assert_err(apply(&f, test_put(f.now, good, len, "planner", nonce)), &f.err, ERR_DENIED,
               "its author is olga");
    assert_ok(apply(&f, test_put(f.now, good, len, "olga", nonce)), &f.err);
    assert_string_equal(state_request(f.st, nonce)->plan, state_last(f.st)->plan);
    f.p = state_plan(f.st, state_last(f.st)->plan);
    _cleanup_(freep) char *again = test_body("", "user", 2, NULL, right, 1, &len);
    assert_err(apply(&f, test_put(f.now, again, len, "olga", nonce)), &f.err, ERR_DENIED,
               "answered before");
    assert_err(said(&f, "olga", TRUST_APPROVER, test_vote("approve", f.p->body->digest)), &f.err,
               ERR_DENIED, "asked for it");
    assert_ok(approve(&f), &f.err);
    assert_int_equal(f.p->state, S(APPROVED));
}

static Skein__Entry *close_entry(struct fixture *f, const char *nonce)
{
    Skein__Entry *e = test_entry(f->now);
    e->kind_case = SKEIN__ENTRY__KIND_CLOSE;
    e->close = xmalloc(sizeof *e->close);
    skein__request_close__init(e->close);
    e->close->nonce = xstrdup(nonce);
    e->close->reason = xstrdup("no host would do");
    return e;
}

static void requests_are_bounded_and_closed(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    for (int i = 0; i < STATE_REQUESTS_MAX; i++)
        assert_ok(said(&f, "olga", TRUST_ADMIN, test_request(100 + i, "hv2")), &f.err);
    assert_err(said(&f, "olga", TRUST_ADMIN, test_request(5, "hv2")), &f.err, ERR_LIMIT, "wait");
    Skein__RequestRecord *const *requests;
    assert_int_equal(state_requests(f.st, &requests), STATE_REQUESTS_MAX);
    char nonce[HASH_HEX_SIZE];
    snprintf(nonce, sizeof nonce, "%s", requests[7]->nonce);
    assert_ok(apply(&f, close_entry(&f, nonce)), &f.err);
    assert_string_equal(state_request(f.st, nonce)->message, "no host would do");
    assert_err(apply(&f, close_entry(&f, nonce)), &f.err, ERR_CONFLICT, "answered before");
    assert_err(apply(&f, close_entry(&f, "nosuch")), &f.err, ERR_NOT_FOUND, "no such");
    assert_ok(said(&f, "olga", TRUST_ADMIN, test_request(5, "hv2")), &f.err);
    assert_null(state_request(f.st, nonce)); /* the answered one made room */
}

static void ended_plans_are_kept_within_bounds(void **state)
{
    (void)state;
    struct fixture f = {.st = state_new(&conf), .term = 1, .now = NOW};
    struct plan *const *plans;
    struct err err = {0};
    for (uint64_t seed = 1; seed <= STATE_ENDED_MAX + 20; seed++) {
        size_t len;
        _cleanup_(freep) char *body = test_body("p", "safety", seed, NULL, moves, 1, &len);
        Skein__Entry *e = test_put(f.now, body, len, NULL, NULL);
        assert_ok(state_apply(f.st, e, ++f.index, 1, &err), &err);
        Skein__Entry *end = test_change(f.now, e->plan->id, S(SUPERSEDED));
        assert_ok(state_apply(f.st, end, ++f.index, 1, &err), &err);
        skein_entry_free(e);
        skein_entry_free(end);
    }
    assert_int_equal(state_plans(f.st, &plans), STATE_ENDED_MAX);
    image_round_trips(f.st);
    stop(&f);
}

static void used_envelopes_are_forgotten_after_their_expiry(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_PENDING);
    for (int i = 0; i < 20; i++)
        assert_ok(said(&f, "olga", TRUST_ADMIN, test_request(200 + i, "hv2")), &f.err);
    Skein__StateImage *image = state_image(f.st);
    assert_int_equal(image->n_used, 20);
    skein__state_image__free_unpacked(image, NULL);
    f.now += 20 * MINUTE;
    assert_ok(said(&f, "olga", TRUST_ADMIN, test_request(300, "hv2")), &f.err);
    image = state_image(f.st);
    assert_int_equal(image->n_used, 1);
    skein__state_image__free_unpacked(image, NULL);
}

static void broken_images_change_nothing(void **state)
{
    (void)state;
    WITH_STATE(BEGIN_ONGOING);
    assert_ok(permit(&f, "s1-0", 1), &f.err);
    size_t len;
    _cleanup_(freep) uint8_t *before = image_bytes(f.st, &len);
    uint64_t seed = 0x5eed;
    for (int i = 0; i < 3000; i++) {
        _cleanup_(freep) uint8_t *bytes = xmemdup(before, len);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bytes[(seed >> 33) % len] ^= (uint8_t)(1u << (seed >> 20 & 7));
        Skein__StateImage *image = NULL;
        struct err err = {0};
        if (codec_image(bytes, len, &image, &err) < 0)
            continue;
        _cleanup_(state_freep) struct state *other = state_new(&conf);
        if (state_restore(other, image, &err) < 0)
            assert_int_equal(state_index(other), 0);
        else
            image_round_trips(other);
        skein__state_image__free_unpacked(image, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_lives_from_put_to_success),
        cmocka_unit_test(a_plan_is_paused_and_resumed),
        cmocka_unit_test(plans_are_found_by_unique_prefix),
        cmocka_unit_test(puts_are_checked),
        cmocka_unit_test(entries_without_sense_change_nothing),
        cmocka_unit_test(approvals_are_checked),
        cmocka_unit_test(an_envelope_is_taken_once),
        cmocka_unit_test(approvals_come_in_time_or_not_at_all),
        cmocka_unit_test(one_rejection_vetoes),
        cmocka_unit_test(the_planner_cannot_say_what_people_say),
        cmocka_unit_test(an_approval_expires_before_it_is_used),
        cmocka_unit_test(permits_need_everything_right),
        cmocka_unit_test(an_action_has_one_live_permit),
        cmocka_unit_test(voters_confirm_what_they_hold),
        cmocka_unit_test(reports_follow_the_table),
        cmocka_unit_test(late_evidence_replaces_needs_operator),
        cmocka_unit_test(a_cancel_works_in_every_state),
        cmocka_unit_test(a_vm_runs_in_one_plan),
        cmocka_unit_test(a_persons_request_becomes_a_plan),
        cmocka_unit_test(requests_are_bounded_and_closed),
        cmocka_unit_test(ended_plans_are_kept_within_bounds),
        cmocka_unit_test(used_envelopes_are_forgotten_after_their_expiry),
        cmocka_unit_test(broken_images_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
