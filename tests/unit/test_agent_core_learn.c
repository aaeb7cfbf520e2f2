/* What past moves teach: VMs by the mean of their newest moves, links by the fastest. */
#include "tests/lib/test.h"

#include "agent/core/learn.h"
#include "agent/core/state.h"
#include "tests/lib/plans.h"

static const struct node_conf conf = {
    .cluster_uuid = "cluster", .host = "hv1", .trust = &test_trust};

struct fixture {
    struct state *st;
    uint64_t index, seed;
    msec now;
    int nonce;
};

static void apply(struct fixture *f, Skein__Entry *e)
{
    struct err err = {0};
    assert_ok(state_apply(f->st, e, ++f->index, 3, &err), &err);
    skein_entry_free(e);
}

/* One move of this VM that took so long and sent so much. */
static void moved(struct fixture *f, int vm, const char *from, const char *to, msec ms,
                  uint64_t mib)
{
    const struct test_move m = {0, vm, from, to};
    struct plan *const *plans;
    size_t len;
    _cleanup_(freep) char *body = test_body("p", "optimise", ++f->seed, NULL, &m, 1, &len);
    apply(f, test_put(f->now, body, len, NULL, NULL));
    const struct plan *p = (state_plans(f->st, &plans), plans[state_plans(f->st, &plans) - 1]);
    apply(f,
          test_said(f->now, test_envelope("anna", TRUST_APPROVER, ++f->nonce, f->now + 60 * MINUTE,
                                          test_vote("approve", p->body->digest))));
    apply(f, test_change(f->now, p->body->id, SKEIN__PLAN_STATE__PLAN_ONGOING));
    apply(f, test_permit(f->now, p, "s1-0", 3, 1));
    apply(f, test_report(f->now, p->body->id, "s1-0", SKEIN__ACTION_STATE__ACTION_RUNNING));
    Skein__Entry *e =
        test_report(f->now, p->body->id, "s1-0", SKEIN__ACTION_STATE__ACTION_SUCCEEDED);
    Skein__ActionReport *r = e->report;
    r->has_started_at_ms = r->has_ended_at_ms = r->has_downtime_ms = r->has_transferred_mib = 1;
    r->started_at_ms = (uint64_t)f->now;
    r->ended_at_ms = (uint64_t)(f->now + ms);
    r->downtime_ms = (uint32_t)(ms / 100);
    r->transferred_mib = mib;
    apply(f, e);
    apply(f, test_change(f->now, p->body->id, plan_outcome(p)));
    f->now += ms + 1000;
}

static void what_was_measured_is_learnt(void **state)
{
    (void)state;
    struct fixture f = {.st = state_new(&conf), .now = NOW};
    struct learnt l;
    char uuid[UUID_SIZE];
    learn(NULL, &l);
    assert_int_equal(l.n_vms, 0);
    moved(&f, 1, "hv1", "hv2", 90000, 9000); /* pushed out by the four newer ones */
    for (int i = 0; i < LEARN_MOVES; i++)
        moved(&f, 1, "hv1", "hv2", 11500, 100 + 10 * (uint64_t)i);
    moved(&f, 2, "hv3", "hv2", 11500, 800);
    moved(&f, 2, "hv2", "hv3", 2000, 1); /* too short to say anything of the links */
    learn(f.st, &l);
    const struct learnt_vm *vm = learnt_vm(&l, test_uuid(1, uuid));
    assert_non_null(vm);
    assert_int_equal(vm->n, LEARN_MOVES);
    assert_int_equal(vm->ms, 11500);
    assert_int_equal(vm->mib, 115);
    assert_int_equal(vm->downtime_ms, 115);
    assert_null(learnt_vm(&l, test_uuid(9, uuid)));
    /* 10 s of copying: 800 MiB are 671 Mbit/s */
    assert_in_range(learnt_link(&l, "hv2")->in_mbps, 851,
                    855); /* the long one: 9000 MiB in 88.5 s */
    assert_in_range(learnt_link(&l, "hv3")->out_mbps, 668, 673);
    assert_int_equal(learnt_link(&l, "hv3")->in_mbps, 0);
    learnt_done(&l);
    json_t *vms = json_pack("[{s:s}]", "uuid", test_uuid(2, uuid));
    json_t *hosts = json_pack("[{s:s}, {s:s}]", "name", "hv3", "name", "hv9");
    const struct moment now = {.wall = f.now};
    learn_put(f.st, &now, vms, hosts);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(vms, 0), "moved_mib")), 400);
    assert_non_null(json_object_get(json_array_get(hosts, 0), "measured_out_mbps"));
    assert_null(json_object_get(json_array_get(hosts, 0), "measured_in_mbps"));
    assert_int_equal(json_object_size(json_array_get(hosts, 1)), 1);
    json_decref(vms);
    json_decref(hosts);
    state_free(f.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_measured_is_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
