/* Standby and wake in plans, permits and the replicated state; and one host's own part in its
 * sleep. The whole of it, under faults, is the simulation's. */
#include "tests/lib/test.h"

#include "agent/core/exec.h"
#include "agent/core/snapshot.h"
#include "tests/lib/plans.h"

#define A(x) SKEIN__ACTION_STATE__ACTION_##x

static const char *const voters[] = {"hv1"};

/* ---- bodies ---- */

static json_t *power(const char *id, const char *type, const char *host)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:{s:i}}", "id", id, "type", type, "host", host,
                     "reason", "night", "estimate", "ms", 120000);
}

/* One step each; actions are taken. */
static char *body_of(const char *class, json_t *first, json_t *second, size_t *ret_len)
{
    char digest[HASH_HEX_SIZE], *text = NULL;
    struct err err;
    snprintf(digest, sizeof digest, "%064d", 7);
    json_t *steps = json_pack("[{s:[o]}]", "actions", first);
    if (second != NULL)
        json_array_append_new(steps, json_pack("{s:[o]}", "actions", second));
    _cleanup_json_ json_t *doc =
        json_pack("{s:n, s:s, s:s, s:s, s:i, s:o}", "policy", "class", class, "reason", "r",
                  "snapshot_digest", digest, "seed", 1, "steps", steps);
    REQUIRE(canon_dump(doc, &text, ret_len, &err) == 0);
    return text;
}

static struct plan_body *parsed(const char *class, json_t *first, json_t *second)
{
    size_t len;
    struct err err;
    struct plan_body *b = NULL;
    _cleanup_(freep) char *text = body_of(class, first, second, &len);
    assert_ok(plan_body_parse((const uint8_t *)text, len, &b, &err), &err);
    return b;
}

static void bodies_have_actions_of_hosts(void **state)
{
    (void)state;
    _cleanup_(plan_body_freep) struct plan_body *b =
        parsed("drill", power("s1-1", "standby", "hv3"), power("s2-1", "wake", "hv3"));
    const struct plan_move *sleep = &b->moves[0], *wake = &b->moves[1];
    assert_int_equal(sleep->type, PLAN_STANDBY);
    assert_int_equal(wake->type, PLAN_WAKE);
    assert_string_equal(sleep->from, "hv3");
    assert_string_equal(wake->to, "hv3");
    assert_string_equal(sleep->uuid, "");
    assert_int_equal(wake->estimate_ms, 120000);
    assert_true(plan_move_same_subject(sleep, wake));
    assert_true(plan_move_permits(sleep, "hv3", "hv3"));
    assert_false(plan_move_permits(sleep, "hv1", "hv3"));
    assert_true(plan_move_permits(wake, "hv1", "hv3"));
    assert_false(plan_move_permits(wake, "hv3", "hv3"));
    assert_false(plan_move_permits(wake, "hv1", "hv2"));
    assert_true(gate_is_drill(b, "hv3"));
    assert_false(gate_is_drill(b, "hv2"));
    _cleanup_(plan_body_freep) struct plan_body *only =
        parsed("drill", power("s1-1", "standby", "hv3"), NULL);
    assert_false(gate_is_drill(only, "hv3")); /* nobody would wake it */
    _cleanup_(plan_body_freep) struct plan_body *other =
        parsed("optimise", power("s1-1", "wake", "hv3"), NULL);
    assert_false(gate_is_drill(other, "hv3"));
}

static void a_host_is_switched_once_a_step(void **state)
{
    (void)state;
    size_t len;
    struct err err;
    struct plan_body *b = NULL;
    char *text = body_of("drill", power("s1-1", "standby", "hv3"), NULL, &len);
    _cleanup_json_ json_t *doc = json_loads(text, 0, NULL);
    free(text);
    json_t *actions = json_object_get(json_array_get(json_object_get(doc, "steps"), 0), "actions");
    json_array_append_new(actions, power("s1-2", "wake", "hv3"));
    assert_int_equal(canon_dump(doc, &text, &len, &err), 0);
    assert_true(plan_body_parse((const uint8_t *)text, len, &b, &err) < 0);
    assert_non_null(strstr(err.msg, "host hv3 is switched twice in one step"));
    free(text);
}

/* ---- the state ---- */

static const struct node_conf state_conf = {
    .host = "hv1", .voters = voters, .n_voters = 1, .trust = &test_trust, .cluster_uuid = "c"};

struct fixture {
    struct state *st;
    struct plan *p;
    uint64_t index;
    struct err err;
};

static int apply(struct fixture *f, Skein__Entry *e)
{
    int rc = state_apply(f->st, e, ++f->index, 1, &f->err);
    skein__entry__free_unpacked(e, NULL);
    return rc;
}

/* A drill that a person asked for, another approved, and that runs. */
static void begin(struct fixture *f)
{
    char nonce[HASH_HEX_SIZE];
    size_t len;
    struct plan *const *plans;
    *f = (struct fixture){.st = state_new(&state_conf)};
    _cleanup_(freep) char *body =
        body_of("drill", power("s1-1", "standby", "hv3"), power("s2-1", "wake", "hv3"), &len);
    assert_true(apply(f, test_put(NOW, body, len, "olga", NULL)) < 0); /* nobody asked */
    assert_ok(apply(f, test_said(NOW, test_envelope("olga", TRUST_OPERATOR, 1, NOW + 10 * MINUTE,
                                                    json_pack("{s:s, s:s}", "type", "drill", "host",
                                                              "hv3")))),
              &f->err);
    snprintf(nonce, sizeof nonce, "%032x", 1);
    _cleanup_(freep) char *wrong =
        body_of("drill", power("s1-1", "standby", "hv2"), power("s2-1", "wake", "hv2"), &len);
    assert_true(apply(f, test_put(NOW, wrong, strlen(wrong), "olga", nonce)) < 0);
    assert_ok(apply(f, test_put(NOW, body, strlen(body), "olga", nonce)), &f->err);
    assert_int_equal(state_plans(f->st, &plans), 1);
    f->p = plans[0];
    const char *digest = f->p->body->digest;
    assert_true(apply(f, test_said(NOW, test_envelope("olga", TRUST_ADMIN, 2, NOW + 10 * MINUTE,
                                                      test_vote("approve", digest)))) < 0);
    assert_ok(apply(f, test_said(NOW, test_envelope("anna", TRUST_APPROVER, 3, NOW + 10 * MINUTE,
                                                    test_vote("approve", digest)))),
              &f->err);
    assert_ok(apply(f, test_change(NOW, f->p->body->id, SKEIN__PLAN_STATE__PLAN_ONGOING)), &f->err);
}

static Skein__Entry *report(const struct fixture *f, const char *action, Skein__ActionState s,
                            const char *host)
{
    Skein__Entry *e = test_report(NOW, f->p->body->id, action, s);
    if (host == NULL)
        return e;
    Skein__HostDetail *d = xmalloc(sizeof *d);
    skein__host_detail__init(d);
    d->summary = xmalloc(sizeof *d->summary);
    skein__host_summary__init(d->summary);
    d->summary->host = xstrdup(host);
    d->summary->has_cores = 1;
    d->summary->cores = 32;
    d->capability = xmalloc(sizeof *d->capability);
    skein__host_capability__init(d->capability);
    d->capability->has_can_wake = d->capability->can_wake = 1;
    e->report->host = d;
    return e;
}

static json_t *snapshot_of(const struct state *st, const char *host)
{
    const struct step s = {.now = {.mono = 100000, .wall = NOW + MINUTE}, .conf = &state_conf};
    struct view *view = view_new();
    json_t *doc = snapshot_make(view, st, &s, 1), *found = NULL, *h;
    size_t i;
    json_array_foreach(json_object_get(doc, "hosts"), i, h)
    {
        if (strcmp(json_string_value(json_object_get(h, "name")), host) == 0)
            found = json_incref(h);
    }
    json_decref(doc);
    view_free(view);
    return found;
}

static void a_drill_proves_that_a_host_wakes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_ok(apply(&f, test_permit(NOW, f.p, "s1-1", 1, 1)), &f.err);
    assert_ok(apply(&f, report(&f, "s1-1", A(RUNNING), "hv3")), &f.err);
    assert_false(state_power(f.st, "hv3")->asleep);
    assert_null(plan_item(f.p, "s1-1")->report->host); /* it is kept once */
    assert_ok(apply(&f, report(&f, "s1-1", A(SUCCEEDED), NULL)), &f.err);
    const Skein__HostPower *p = state_power(f.st, "hv3");
    assert_true(p->asleep);
    assert_int_equal(p->proof_ms, 0);

    /* Who plans since then has never heard of it, and can wake it all the same. */
    json_t *h = snapshot_of(f.st, "hv3");
    assert_string_equal(json_string_value(json_object_get(h, "state")), "standby");
    assert_true(json_is_true(json_object_get(json_object_get(h, "power"), "can_wake")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(h, "cpu"), "cores")), 32);
    json_decref(h);

    Skein__Entry *wake = test_permit(NOW, f.p, "s2-1", 1, 1);
    assert_true(apply(&f, wake) < 0); /* by itself */
    wake = test_permit(NOW, f.p, "s2-1", 1, 1);
    free(wake->permit->source);
    wake->permit->source = xstrdup("hv2");
    assert_ok(apply(&f, wake), &f.err);
    assert_ok(apply(&f, report(&f, "s2-1", A(SUCCEEDED), NULL)), &f.err);
    p = state_power(f.st, "hv3");
    assert_false(p->asleep);
    assert_int_equal(p->proof_ms, NOW);
    assert_null(snapshot_of(f.st, "hv3")); /* it is awake, and speaks for itself or not at all */

    Skein__StateImage *image = state_image(f.st);
    struct state *other = state_new(&state_conf);
    assert_ok(state_restore(other, image, &f.err), &f.err);
    assert_int_equal(state_power(other, "hv3")->proof_ms, NOW);
    free(image->power[0]->host);
    image->power[0]->host = xstrdup("hv9"); /* its detail is of another */
    assert_true(state_restore(other, image, &f.err) < 0);
    skein__state_image__free_unpacked(image, NULL);
    state_free(other);
    state_free(f.st);
}

static void what_a_host_says_of_others_is_not_kept(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_ok(apply(&f, test_permit(NOW, f.p, "s1-1", 1, 1)), &f.err);
    assert_ok(apply(&f, report(&f, "s1-1", A(RUNNING), "hv7")), &f.err);
    assert_null(state_power(f.st, "hv3"));
    assert_null(state_power(f.st, "hv7"));
    assert_ok(apply(&f, report(&f, "s1-1", A(FAILED), NULL)), &f.err);
    assert_null(state_power(f.st, "hv3")); /* it never slept */
    state_free(f.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_have_actions_of_hosts),
        cmocka_unit_test(a_host_is_switched_once_a_step),
        cmocka_unit_test(a_drill_proves_that_a_host_wakes),
        cmocka_unit_test(what_a_host_says_of_others_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
