/* A VM is shut down, or saved, where it is: only where a drain orders it, asked and not killed,
 * told as what it became. */
#include "agent/core/exec_action.h"
#include "tests/unit/acting_world.h"

/* People drain hv1, with that fallback for VMs that cannot move. */
static void order_drain(struct world *w, const char *fallback)
{
    _cleanup_json_ json_t *e = json_pack(
        "{s:s, s:i, s:s, s:b, s:I, s:{s:s, s:[s], s:s}}", "person", "otto", "roles", TRUST_OPERATOR,
        "cluster", CLUSTER, "forged", 0, "expires", (json_int_t)(WORLD_WALL + 86400000), "command",
        "type", "drain", "hosts", "hv1", "fallback", fallback);
    _cleanup_(freep) char *text = json_dumps(e, JSON_COMPACT | JSON_SORT_KEYS);
    Skein__EnvelopePut put = SKEIN__ENVELOPE_PUT__INIT;
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    put.has_envelope = 1;
    put.envelope.data = (uint8_t *)text;
    put.envelope.len = strlen(text);
    entry.kind_case = SKEIN__ENTRY__KIND_ENVELOPE;
    entry.envelope = &put;
    commit_surely(w, &entry, "drain");
}

/* a2 stops vm2 on hv1; the order comes with it, or (NULL) does not. */
static void stop_init(struct attempt *t, const char *stops, const char *fallback)
{
    *t = (struct attempt){0};
    world_init(&t->w, 11);
    t->w.no_planner = true;
    t->w.stops = stops;
    free(t->w.body);
    make_body(&t->w);
    run(&t->w, 2000);
    world_begin(&t->w);
    if (fallback != NULL)
        order_drain(&t->w, fallback);
    t->permit = make_permit(&t->w, plan_item(the_plan(&t->w), "a2"), t->id);
    commit_permit(&t->w, &t->permit);
    t->body = (ProtobufCBinaryData){t->w.body_len, xmemdup(t->w.body, t->w.body_len)};
    char *text =
        envelope(&t->w, "anna", TRUST_APPROVER, "approve", CLUSTER, false, WORLD_WALL + 86400000);
    t->approvals[0] = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    t->n_approvals = 1;
}

static void start(struct attempt *t)
{
    send_start(&t->w, 1, "hv1", &t->permit, &t->body, t->approvals, t->n_approvals, false);
}

static const struct action *the_action(const struct attempt *t)
{
    const struct exec *e = t->w.hosts[0].exec;
    assert_int_equal(e->n, 1);
    return e->actions[0];
}

static void a_vm_that_listens_is_stopped(void **state)
{
    (void)state;
    static const char *const ways[] = {"shutdown", "suspend"};
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct attempt t;
        stop_init(&t, ways[i], ways[i]);
        t.w.guests_listen = true;
        start(&t);
        run(&t.w, 20000);
        const struct action *a = the_action(&t);
        assert_int_equal(a->state, EXEC_DONE);
        assert_non_null(strstr(a->record->evidence, "hv1: shut off"));
        assert_int_equal(t.w.stops_asked, 1);
        assert_int_equal(t.w.migrate_calls[1], 0);
        start(&t); /* again: the same answer, nothing is asked again */
        run(&t.w, 1000);
        assert_int_equal(t.w.last_report, SKEIN__ACTION_STATE__ACTION_SUCCEEDED);
        assert_int_equal(t.w.stops_asked, 1);
        attempt_done(&t);
    }
}

/* It is not killed: it runs on, which is told when its time is over. */
static void a_vm_that_does_not_listen_runs_on(void **state)
{
    (void)state;
    struct attempt t;
    stop_init(&t, "shutdown", "shutdown");
    start(&t);
    run(&t.w, 5000);
    const struct action *a = the_action(&t);
    assert_int_equal(a->state, EXEC_RUNNING);
    run(&t.w, t.w.hosts[0].conf.action_timeout + 60000);
    a = the_action(&t);
    assert_int_equal(a->state, EXEC_UNDONE);
    assert_string_equal(a->record->code, "TIMEOUT");
    assert_non_null(strstr(a->record->evidence, "running"));
    assert_int_equal(t.w.stops_asked, 1);
    assert_int_equal(t.w.doms[0][1].state, SKEIN__VM_STATE__VM_RUNNING);
    attempt_done(&t);
}

/* An agent that was restarted looks, and asks no more. */
static void a_restart_does_not_ask_twice(void **state)
{
    (void)state;
    struct attempt t;
    stop_init(&t, "shutdown", "shutdown");
    start(&t);
    run(&t.w, 5000);
    assert_int_equal(t.w.stops_asked, 1);
    agent_down(&t.w, &t.w.hosts[0]);
    t.w.hosts[0].up_at = t.w.now + 2000;
    run(&t.w, 8000);
    assert_int_equal(the_action(&t)->state, EXEC_SETTLE); /* it may be on its way down */
    t.w.doms[0][1].state = SKEIN__VM_STATE__VM_STOPPED;
    run(&t.w, 5000);
    assert_int_equal(the_action(&t)->state, EXEC_DONE);
    assert_int_equal(t.w.stops_asked, 1);
    attempt_done(&t);
}

/* Neither a plan alone, nor a drain that orders something else. */
static void without_an_order_nothing_is_stopped(void **state)
{
    (void)state;
    static const char *const orders[] = {NULL, "wait", "suspend"};
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        struct attempt t;
        stop_init(&t, "shutdown", orders[i]);
        t.w.guests_listen = true;
        start(&t);
        run(&t.w, 20000);
        assert_true(t.w.replied);
        assert_int_equal(t.w.last_reply.code, ERR_CANCELLED);
        assert_int_equal(t.w.stops_asked, 0);
        assert_int_equal(exec_count(t.w.hosts[0].exec), 0);
        attempt_done(&t);
    }
}

/* The source asks the hooks itself, as before a move. */
static void hooks_are_asked(void **state)
{
    (void)state;

    static const enum err_code says[] = {ERR_OK, ERR_DENIED, ERR_UNAVAILABLE};

    for (size_t i = 0; i < ARRAY_SIZE(says); i++) {
        struct attempt t;
        struct err err = {0};
        _cleanup_json_ json_t *list = json_loads("[{\"name\":\"asks\",\"hook\":\"ask\"}]", 0, NULL);
        stop_init(&t, "shutdown", "shutdown");
        t.w.guests_listen = true;
        assert_ok(gate_rules_read(list, &fake_rules, &err), &err);
        if (says[i] != ERR_OK)
            err_set(&t.w.hook_says, says[i], "its hook does not say yes");
        start(&t);
        run(&t.w, 20000);
        assert_int_equal(t.w.hooks_asked, 1);
        assert_int_equal(t.w.stops_asked, says[i] == ERR_OK);
        assert_int_equal(exec_count(t.w.hosts[0].exec), says[i] != ERR_UNAVAILABLE);
        attempt_done(&t);
    }
}

/* Somebody was faster. */
static void what_does_not_run_is_skipped(void **state)
{
    (void)state;
    struct attempt t;
    stop_init(&t, "shutdown", "shutdown");
    t.w.doms[0][1].state = SKEIN__VM_STATE__VM_STOPPED;
    start(&t);
    run(&t.w, 20000);
    assert_int_equal(the_action(&t)->state, EXEC_UNDONE);
    assert_string_equal(the_action(&t)->record->code, "EXISTS");
    assert_int_equal(t.w.stops_asked, 0);
    attempt_done(&t);
}

static void bodies_name_one_host(void **state)
{
    (void)state;
    struct attempt t;
    stop_init(&t, "suspend", NULL);
    struct err err = {0};
    struct plan_body *b = NULL;
    assert_ok(plan_body_parse(t.body.data, t.body.len, &b, &err), &err);
    const struct plan_move *m = plan_body_move(b, "a2");
    assert_int_equal(m->type, PLAN_SUSPEND);
    assert_true(plan_move_is_in_place(m) && !plan_move_is_power(m) && !plan_body_only_moves(b));
    assert_string_equal(m->from, m->to);
    assert_true(plan_move_permits(m, "hv1", "hv1"));
    assert_false(plan_move_permits(m, "hv2", "hv1"));
    plan_body_free(b);
    char *to = memmem(t.body.data, t.body.len, "\"to\":\"hv1\",\"type\":\"suspend\"", 26);
    assert_non_null(to);
    to[8] = '3'; /* a VM that is suspended stays where it is */
    assert_err(plan_body_parse(t.body.data, t.body.len, &b, &err), &err, ERR_INVALID, "is to stay");
    attempt_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_that_listens_is_stopped),
        cmocka_unit_test(a_vm_that_does_not_listen_runs_on),
        cmocka_unit_test(a_restart_does_not_ask_twice),
        cmocka_unit_test(without_an_order_nothing_is_stopped),
        cmocka_unit_test(hooks_are_asked),
        cmocka_unit_test(what_does_not_run_is_skipped),
        cmocka_unit_test(bodies_name_one_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
