/* People's orders about hosts, VMs and the whole, through the replicated state as they come. */
#include "tests/lib/test.h"

#include "tests/lib/plans.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};

struct fixture {
    struct state *st;
    uint64_t index;
    msec now;
    int nonce;
    struct err err;
};

static void image_round_trips(const struct state *st)
{
    struct err err = {0};
    size_t len, len2;
    Skein__StateImage *image = state_image(st), *read = NULL;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&image->base, &len);
    skein__state_image__free_unpacked(image, NULL);
    assert_ok(codec_image(bytes, len, &read, &err), &err);
    _cleanup_(state_freep) struct state *other = state_new(&conf);
    assert_ok(state_restore(other, read, &err), &err);
    skein__state_image__free_unpacked(read, NULL);
    image = state_image(other);
    _cleanup_(freep) uint8_t *again = codec_pack(&image->base, &len2);
    skein__state_image__free_unpacked(image, NULL);
    assert_int_equal(len, len2);
    assert_memory_equal(bytes, again, len);
}

static int apply(struct fixture *f, Skein__Entry *e)
{
    f->err = (struct err){0};
    int rc = state_apply(f->st, e, ++f->index, 3, &f->err);
    skein_entry_free(e);
    assert_int_equal(state_last(f->st)->kind == STATE_REFUSED, rc < 0);
    image_round_trips(f->st);
    return rc;
}

static int said(struct fixture *f, const char *person, unsigned roles, json_t *command)
{
    return apply(f, test_said(f->now, test_envelope(person, roles, ++f->nonce, f->now + 10 * MINUTE,
                                                    command)));
}

static json_t *order(const char *type, const char *host)
{
    return json_pack("{s:s, s:[s], s:s}", "type", type, "hosts", host, "reason", "new DIMM");
}

static int ordered(struct fixture *f, const char *type, const char *host)
{
    return said(f, "olga", TRUST_OPERATOR, order(type, host));
}

static const struct admin *admin(const struct fixture *f)
{
    return state_admin(f->st);
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

#define H(x) SKEIN__HOST_STATE__HOST_##x
#define P(x) SKEIN__PLAN_STATE__PLAN_##x
#define A(x) SKEIN__ACTION_STATE__ACTION_##x

/* ---- hosts ---- */

static void every_state_of_a_host_and_what_may_follow(void **state)
{
    (void)state;
    static const char *const verbs[] = {"cordon", "uncordon", "drain", "maintenance", "restore"};

    /* from: how the host gets there; then what each verb makes of it, -1: refused */
    static const struct {
        const char *from;
        int to[5];
    } table[] = {
        {NULL, {H(CORDONED), -1, H(DRAINING), H(MAINTENANCE), -1}},
        {"cordon", {-1, H(UP), H(DRAINING), H(MAINTENANCE), H(UP)}},
        {"drain", {H(CORDONED), -1, H(DRAINING), H(MAINTENANCE), H(UP)}},
        {"maintenance", {H(CORDONED), -1, H(DRAINING), -1, H(UP)}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        for (size_t k = 0; k < ARRAY_SIZE(verbs); k++) {
            WITH_STATE;
            if (table[i].from != NULL)
                assert_ok(ordered(&f, table[i].from, "hv1"), &f.err);
            Skein__HostState before = admin_host_state(admin(&f), "hv1");
            int rc = ordered(&f, verbs[k], "hv1");
            if (table[i].to[k] < 0) {
                assert_true(rc < 0);
                assert_int_equal(admin_host_state(admin(&f), "hv1"), before);
                continue;
            }
            assert_ok(rc, &f.err);
            assert_int_equal(admin_host_state(admin(&f), "hv1"), table[i].to[k]);
            assert_int_equal(admin_host_state(admin(&f), "hv2"), H(UP));
            assert_int_equal(state_last(f.st)->kind, STATE_ADMIN);
            assert_string_equal(state_last(f.st)->who, "olga");
            assert_string_equal(state_last(f.st)->about, "hv1");
            assert_string_equal(state_last(f.st)->reason, "new DIMM");
        }
}

static void an_order_holds_for_all_its_hosts_or_for_none(void **state)
{
    (void)state;
    WITH_STATE;
    assert_ok(ordered(&f, "cordon", "hv2"), &f.err);
    json_t *both = json_pack("{s:s, s:[s, s, s]}", "type", "cordon", "hosts", "hv1", "hv2", "hv1");
    assert_err(said(&f, "olga", TRUST_OPERATOR, both), &f.err, ERR_EXISTS, "hv2 is cordoned");
    assert_null(admin_host(admin(&f), "hv1"));
    both = json_pack("{s:s, s:[s, s, s]}", "type", "drain", "hosts", "hv3", "hv1", "hv3");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, both), &f.err);
    Skein__HostAdmin *const *hosts;
    assert_int_equal(admin_hosts(admin(&f), &hosts), 3);
    assert_string_equal(hosts[0]->host, "hv1");
    assert_string_equal(hosts[2]->host, "hv3");
    assert_string_equal(hosts[0]->drain, hosts[2]->drain);
    assert_string_equal(hosts[0]->fallback, "wait");
}

static void orders_are_checked(void **state)
{
    (void)state;
    WITH_STATE;
    assert_err(said(&f, "vera", TRUST_VIEWER, order("drain", "hv1")), &f.err, ERR_DENIED,
               "no role that may drain");
    assert_err(said(&f, "anna", TRUST_APPROVER, order("cordon", "hv1")), &f.err, ERR_DENIED,
               "no role that may cordon");
    assert_err(said(&f, "olga", TRUST_OPERATOR, json_pack("{s:s}", "type", "drain")), &f.err,
               ERR_INVALID, "\"hosts\"");
    assert_err(ordered(&f, "drain", "hv1/../x"), &f.err, ERR_INVALID, "not a host's name");
    assert_err(ordered(&f, "drain", ""), &f.err, ERR_INVALID, "not a host's name");
    json_t *c = order("drain", "hv1");
    json_object_set_new(c, "fallback", json_string("kill"));
    assert_err(said(&f, "olga", TRUST_OPERATOR, c), &f.err, ERR_UNSUPPORTED,
               "wait, skip, shutdown and suspend");
    c = order("drain", "hv1");
    json_object_set_new(c, "concurrency", json_integer(-1));
    assert_err(said(&f, "olga", TRUST_OPERATOR, c), &f.err, ERR_INVALID, "concurrency");
    c = json_pack("{s:s, s:[]}", "type", "drain", "hosts");
    for (int i = 0; i <= ADMIN_COMMAND_HOSTS; i++)
        json_array_append_new(json_object_get(c, "hosts"), json_sprintf("hv%d", i));
    assert_err(said(&f, "olga", TRUST_OPERATOR, c), &f.err, ERR_LIMIT, "65 hosts");
    Skein__HostAdmin *const *hosts;
    assert_int_equal(admin_hosts(admin(&f), &hosts), 0);
}

static void an_order_counts_once(void **state)
{
    (void)state;
    WITH_STATE;
    char *envelope =
        test_envelope("olga", TRUST_OPERATOR, 1, f.now + MINUTE, order("cordon", "hv1"));
    _cleanup_(freep) char *again = xstrdup(envelope);
    assert_ok(apply(&f, test_said(f.now, envelope)), &f.err);
    assert_ok(ordered(&f, "uncordon", "hv1"), &f.err);
    assert_err(apply(&f, test_said(f.now, xstrdup(again))), &f.err, ERR_EXISTS, "given before");
    assert_int_equal(admin_host_state(admin(&f), "hv1"), H(UP));
}

/* ---- moves under orders ---- */

static const struct test_move moves[] = {{0, 1, "hv1", "hv2"}, {0, 2, "hv1", "hv3"}};

/* A plan of this policy and class, approved and ONGOING. */
static struct plan *running(struct fixture *f, const char *policy, const char *class,
                            const struct test_move *m, size_t n)
{
    size_t len;
    struct plan *const *plans;
    static uint64_t seed;
    _cleanup_(freep) char *body = test_body(policy, class, ++seed, NULL, m, n, &len);
    assert_ok(apply(f, test_put(f->now, body, len, NULL, NULL)), &f->err);
    size_t n_plans = state_plans(f->st, &plans);
    struct plan *p = plans[n_plans - 1];
    assert_ok(said(f, "anna", TRUST_APPROVER, test_vote("approve", p->body->digest)), &f->err);
    assert_ok(apply(f, test_change(f->now, p->body->id, P(ONGOING))), &f->err);
    return p;
}

static int permit(struct fixture *f, const struct plan *p, const char *action)
{
    return apply(f, test_permit(f->now, p, action, 3, 1));
}

static int confirm(struct fixture *f, const struct plan *p, const char *action)
{
    f->err = (struct err){0};
    return state_confirm(f->st, plan_item(p, action)->permit, f->now, &f->err);
}

static void succeed(struct fixture *f, const struct plan *p, const char *action)
{
    if (plan_item(p, action)->permit == NULL)
        assert_ok(permit(f, p, action), &f->err);
    assert_ok(apply(f, test_report(f->now, p->body->id, action, A(RUNNING))), &f->err);
    assert_ok(apply(f, test_report(f->now, p->body->id, action, A(SUCCEEDED))), &f->err);
}

static void nothing_comes_to_a_host_that_takes_nothing(void **state)
{
    (void)state;
    static const char *const verbs[] = {"cordon", "drain", "maintenance"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        WITH_STATE;
        struct plan *p = running(&f, "p", "safety", moves, 2);
        assert_ok(permit(&f, p, "s1-0"), &f.err);
        assert_ok(confirm(&f, p, "s1-0"), &f.err);
        assert_ok(ordered(&f, verbs[i], "hv2"), &f.err);
        assert_err(confirm(&f, p, "s1-0"), &f.err, ERR_CANCELLED, "hv2 takes nothing");
        assert_ok(permit(&f, p, "s1-1"), &f.err); /* to hv3 */
        assert_ok(ordered(&f, "restore", "hv2"), &f.err);
        assert_ok(confirm(&f, p, "s1-0"), &f.err);
    }
}

static void a_drain_that_is_taken_back_moves_nothing(void **state)
{
    (void)state;
    static const char *const verbs[] = {"cordon", "restore"};
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        WITH_STATE;
        assert_ok(ordered(&f, "drain", "hv1"), &f.err);
        struct plan *p = running(&f, ADMIN_DRAIN_POLICY, "drain", moves, 2);
        assert_ok(permit(&f, p, "s1-0"), &f.err);
        assert_ok(confirm(&f, p, "s1-0"), &f.err);
        assert_ok(ordered(&f, verbs[i], "hv1"), &f.err);
        assert_err(confirm(&f, p, "s1-0"), &f.err, ERR_CANCELLED, "not being drained any more");
        assert_err(permit(&f, p, "s1-1"), &f.err, ERR_CANCELLED, "not being drained any more");
    }
}

static void who_left_for_a_drain_comes_home(void **state)
{
    (void)state;
    WITH_STATE;
    assert_ok(ordered(&f, "drain", "hv1"), &f.err);
    struct plan *p = running(&f, ADMIN_DRAIN_POLICY, "drain", moves, 2);
    succeed(&f, p, "s1-0");
    succeed(&f, p, "s1-1");
    assert_ok(apply(&f, test_change(f.now, p->body->id, P(SUCCEEDED))), &f.err);
    assert_int_equal(admin_host(admin(&f), "hv1")->n_departures, 2);

    /* hv2 is drained too: its guest's home stays hv1 */
    assert_ok(ordered(&f, "drain", "hv2"), &f.err);
    static const struct test_move on[] = {{0, 1, "hv2", "hv3"}};
    p = running(&f, ADMIN_DRAIN_POLICY, "drain", on, 1);
    succeed(&f, p, "s1-0");
    assert_ok(apply(&f, test_change(f.now, p->body->id, P(SUCCEEDED))), &f.err);
    assert_int_equal(admin_host(admin(&f), "hv2")->n_departures, 0);

    assert_ok(ordered(&f, "maintenance", "hv1"), &f.err);
    assert_int_equal(admin_host(admin(&f), "hv1")->n_departures, 2);
    assert_ok(ordered(&f, "restore", "hv1"), &f.err);
    assert_int_equal(admin_host_state(admin(&f), "hv1"), H(UP));
    assert_int_equal(admin_host(admin(&f), "hv1")->n_departures, 2);

    static const struct test_move home[] = {{0, 1, "hv3", "hv1"}, {0, 2, "hv3", "hv1"}};
    p = running(&f, "", "restore", home, 2);
    succeed(&f, p, "s1-0");
    assert_int_equal(admin_host(admin(&f), "hv1")->n_departures, 1);
    succeed(&f, p, "s1-1");
    assert_null(admin_host(admin(&f), "hv1"));
}

static void nobody_comes_home_without_return(void **state)
{
    (void)state;
    WITH_STATE;
    assert_ok(ordered(&f, "drain", "hv1"), &f.err);
    struct plan *p = running(&f, ADMIN_DRAIN_POLICY, "drain", moves, 1);
    succeed(&f, p, "s1-0");
    json_t *c = order("restore", "hv1");
    json_object_set_new(c, "no_return", json_true());
    assert_ok(said(&f, "olga", TRUST_OPERATOR, c), &f.err);
    assert_null(admin_host(admin(&f), "hv1"));
}

static void other_plans_are_no_departures(void **state)
{
    (void)state;
    WITH_STATE;
    assert_ok(ordered(&f, "drain", "hv1"), &f.err);
    struct plan *p = running(&f, "p", "safety", moves, 1);
    succeed(&f, p, "s1-0");
    assert_int_equal(admin_host(admin(&f), "hv1")->n_departures, 0);
}

/* ---- freezes ---- */

static json_t *freeze(int seconds)
{
    return json_pack("{s:s, s:i, s:s}", "type", "freeze", "seconds", seconds, "reason", "audit");
}

static void a_freeze_stops_permits_and_their_confirmation(void **state)
{
    (void)state;
    WITH_STATE;
    struct plan *p = running(&f, "p", "safety", moves, 2);
    assert_ok(permit(&f, p, "s1-0"), &f.err);
    assert_ok(said(&f, "olga", TRUST_OPERATOR, freeze(5)), &f.err);
    assert_err(confirm(&f, p, "s1-0"), &f.err, ERR_CANCELLED, "frozen by olga: audit");
    assert_err(permit(&f, p, "s1-1"), &f.err, ERR_CANCELLED, "frozen by olga: audit");
    f.now += 5000; /* its time is over */
    assert_ok(confirm(&f, p, "s1-0"), &f.err);
    assert_ok(permit(&f, p, "s1-1"), &f.err);
}

static void a_freeze_is_its_owners(void **state)
{
    (void)state;
    WITH_STATE;
    json_t *un = json_pack("{s:s}", "type", "unfreeze");
    assert_err(said(&f, "olga", TRUST_OPERATOR, json_incref(un)), &f.err, ERR_NOT_FOUND,
               "nothing is frozen");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, freeze(60)), &f.err);
    assert_ok(said(&f, "anna", TRUST_APPROVER, freeze(60)), &f.err);
    assert_err(said(&f, "olga", TRUST_OPERATOR, json_incref(un)), &f.err, ERR_DENIED, "of anna");
    Skein__Freeze *const *freezes;
    assert_int_equal(admin_freezes(admin(&f), &freezes), 2);
    json_t *one = json_pack("{s:s, s:s}", "type", "unfreeze", "freeze", freezes[0]->id);
    /* the nonces of tests begin alike: the id names both */
    assert_err(said(&f, "olga", TRUST_OPERATOR, one), &f.err, ERR_DENIED, "of anna");
    assert_ok(said(&f, "adam", TRUST_ADMIN, un), &f.err);
    assert_null(admin_freeze(admin(&f), f.now));
    assert_err(said(&f, "olga", TRUST_OPERATOR, freeze(0)), &f.err, ERR_INVALID, "must end");
    assert_err(said(&f, "olga", TRUST_OPERATOR, freeze(ADMIN_FREEZE_MAX_S + 1)), &f.err,
               ERR_INVALID, "seconds");
}

/* ---- holds ---- */

static json_t *hold(const char *type, int vm, int seconds)
{
    char uuid[UUID_SIZE];
    return json_pack("{s:s, s:s, s:s, s:i}", "type", type, "vm", "web1", "uuid",
                     test_uuid(vm, uuid), "seconds", seconds);
}

static void a_hold_stops_its_vm(void **state)
{
    (void)state;

    /* class of the plan; is the hold older than the plan; may it move? */
    static const struct {
        const char *class;
        bool older, moves;
    } table[] = {{"optimise", true, false}, {"optimise", false, false}, {"safety", true, true},
                 {"safety", false, false},  {"drain", true, true},      {"drain", false, false}};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        WITH_STATE;
        if (table[i].older)
            assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
        f.now += 1000;
        struct plan *p = running(&f, "p", table[i].class, moves, 2);
        f.now += 1000;
        if (!table[i].older)
            assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
        if (table[i].moves)
            assert_ok(permit(&f, p, "s1-0"), &f.err);
        else
            assert_err(permit(&f, p, "s1-0"), &f.err, ERR_CANCELLED, "held by olga until");
        assert_ok(permit(&f, p, "s1-1"), &f.err); /* another VM */
    }
}

/* Entries carry the time of whoever plans: a fast clock makes no plan newer, nor a hold. */
static void a_fast_clock_outruns_no_hold(void **state)
{
    (void)state;
    for (int hold_first = 0; hold_first <= 1; hold_first++) {
        WITH_STATE;
        struct plan *p;
        if (hold_first) {
            f.now += 90000;
            assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
            f.now -= 90000;
            p = running(&f, "p", "safety", moves, 2);
            assert_ok(permit(&f, p, "s1-0"), &f.err);
        } else {
            f.now += 90000;
            p = running(&f, "p", "safety", moves, 2);
            f.now -= 90000;
            assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
            assert_err(permit(&f, p, "s1-0"), &f.err, ERR_CANCELLED, "held by olga until");
        }
    }
}

static void a_hold_ends(void **state)
{
    (void)state;
    WITH_STATE;
    char uuid[UUID_SIZE];
    test_uuid(1, uuid);
    assert_err(said(&f, "olga", TRUST_OPERATOR, hold("release", 1, 0)), &f.err, ERR_NOT_FOUND,
               "not held");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
    assert_err(said(&f, "otto", TRUST_OPERATOR, hold("hold", 1, 900)), &f.err, ERR_EXISTS,
               "held by olga");
    assert_err(said(&f, "otto", TRUST_OPERATOR, hold("release", 1, 0)), &f.err, ERR_DENIED,
               "of olga");
    assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 900)), &f.err); /* longer */
    assert_non_null(admin_hold(admin(&f), uuid, f.now + 899000));
    assert_null(admin_hold(admin(&f), uuid, f.now + 901000));
    assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("release", 1, 0)), &f.err);
    assert_null(admin_hold(admin(&f), uuid, f.now));
    assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 1)), &f.err);
    f.now += 2000;
    assert_ok(ordered(&f, "cordon", "hv1"), &f.err); /* any order: what is over is forgotten */
    Skein__Hold *const *holds;
    assert_int_equal(admin_holds(admin(&f), &holds), 0);
}

/* ---- those who do not vote ---- */

static void a_bulletin_is_believed_as_far_as_people_signed_it(void **state)
{
    (void)state;
    WITH_STATE;
    char uuid[UUID_SIZE];
    test_uuid(1, uuid);
    assert_ok(ordered(&f, "drain", "hv4"), &f.err);
    assert_ok(ordered(&f, "cordon", "hv5"), &f.err);
    assert_ok(said(&f, "olga", TRUST_OPERATOR, freeze(60)), &f.err);
    assert_ok(said(&f, "olga", TRUST_OPERATOR, hold("hold", 1, 600)), &f.err);
    Skein__Bulletin *b = admin_bulletin(admin(&f), "hv4", f.index);
    assert_int_equal(b->n_hosts, 1); /* its own record alone */
    _cleanup_(state_freep) struct state *other = state_new(&conf);
    state_learn(other, b, f.now + 1000);
    assert_int_equal(admin_host_state(state_admin(other), "hv4"), H(DRAINING));
    assert_non_null(admin_freeze(state_admin(other), f.now));
    assert_non_null(admin_hold(state_admin(other), uuid, f.now));

    b->hosts[0]->state = H(MAINTENANCE); /* not what was signed */
    b->freezes[0]->until_ms += 1000;     /* nor that */
    b->holds[0]->vote->person[0] = 'x';  /* nor by whom */
    state_learn(other, b, f.now + 1000);
    assert_null(admin_host(state_admin(other), "hv4"));
    assert_null(admin_freeze(state_admin(other), f.now));
    assert_null(admin_hold(state_admin(other), uuid, f.now));
    skein__bulletin__free_unpacked(b, NULL);
}

/* A VM is stopped where its host's drain orders just that, and as long as it does. */
static void only_its_drain_lets_a_vm_be_stopped(void **state)
{
    (void)state;
    WITH_STATE;
    static const struct test_move stay[] = {{0, 1, "hv1", "hv1"}};
    size_t len;
    _cleanup_(freep) char *text = test_body(ADMIN_DRAIN_POLICY, "drain", 1, NULL, stay, 1, &len);
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    assert_ok(plan_body_parse((uint8_t *)text, len, &body, &f.err), &f.err);
    const struct plan_move *m = &body->moves[0];
    assert_int_equal(m->type, PLAN_SHUTDOWN);
    const char *orders[] = {NULL, "wait", "suspend", "shutdown"};
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        json_t *c = order("drain", "hv1");
        if (orders[i] != NULL)
            json_object_set_new(c, "fallback", json_string(orders[i]));
        assert_ok(said(&f, "olga", TRUST_OPERATOR, c), &f.err);
        int rc = admin_check_move(admin(&f), body, m, 0, f.now, &f.err);
        if (i + 1 < ARRAY_SIZE(orders))
            assert_err(rc, &f.err, ERR_CANCELLED, "no drain of hv1 orders");
        else
            assert_ok(rc, &f.err);
    }
    assert_ok(ordered(&f, "restore", "hv1"), &f.err);
    assert_err(admin_check_move(admin(&f), body, m, 0, f.now, &f.err), &f.err, ERR_CANCELLED,
               "no drain of hv1 orders");
}

/* It learns of its own host alone: of another's drain it cannot say that there is none. */
static void a_destination_does_not_judge_what_it_cannot_know(void **state)
{
    (void)state;
    WITH_STATE;
    static const char *const voters[] = {"hv1", "hv2", "hv3"};
    static const struct test_move out[] = {{0, 1, "hv4", "hv5"}};
    assert_ok(ordered(&f, "drain", "hv4"), &f.err);
    size_t len;
    _cleanup_(freep) char *text = test_body(ADMIN_DRAIN_POLICY, "drain", 1, NULL, out, 1, &len);
    _cleanup_(plan_body_freep) struct plan_body *body = NULL;
    assert_ok(plan_body_parse((uint8_t *)text, len, &body, &f.err), &f.err);
    const struct plan_move *move = &body->moves[0];
    for (int i = 0; i < 2; i++) { /* the source's agent and the destination's */
        const char *host = i == 0 ? "hv4" : "hv5";
        const struct node_conf own = {.cluster_uuid = "cluster",
                                      .host = host,
                                      .trust = &test_trust,
                                      .voters = voters,
                                      .n_voters = 3};
        Skein__Bulletin *b = admin_bulletin(admin(&f), host, f.index);
        Skein__Bulletin nothing = SKEIN__BULLETIN__INIT;
        _cleanup_(state_freep) struct state *other = state_new(&own);
        state_learn(other, b, f.now + 1000);
        skein__bulletin__free_unpacked(b, NULL);
        assert_ok(admin_check_move(state_admin(other), body, move, 0, f.now, &f.err), &f.err);
        state_learn(other, &nothing, f.now + 1000);
        int rc = admin_check_move(state_admin(other), body, move, 0, f.now, &f.err);
        if (i == 0) /* the source knows its own */
            assert_err(rc, &f.err, ERR_CANCELLED, "not being drained");
        else
            assert_ok(rc, &f.err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_of_a_host_and_what_may_follow),
        cmocka_unit_test(an_order_holds_for_all_its_hosts_or_for_none),
        cmocka_unit_test(orders_are_checked),
        cmocka_unit_test(an_order_counts_once),
        cmocka_unit_test(nothing_comes_to_a_host_that_takes_nothing),
        cmocka_unit_test(a_drain_that_is_taken_back_moves_nothing),
        cmocka_unit_test(who_left_for_a_drain_comes_home),
        cmocka_unit_test(nobody_comes_home_without_return),
        cmocka_unit_test(other_plans_are_no_departures),
        cmocka_unit_test(a_freeze_stops_permits_and_their_confirmation),
        cmocka_unit_test(a_freeze_is_its_owners),
        cmocka_unit_test(a_hold_stops_its_vm),
        cmocka_unit_test(a_fast_clock_outruns_no_hold),
        cmocka_unit_test(a_hold_ends),
        cmocka_unit_test(a_bulletin_is_believed_as_far_as_people_signed_it),
        cmocka_unit_test(only_its_drain_lets_a_vm_be_stopped),
        cmocka_unit_test(a_destination_does_not_judge_what_it_cannot_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
