/* The destination: what it holds, for how long, and what it has room for. */
#include "tests/unit/acting_world.h"

static struct reserve_item held(struct attempt *t)
{
    struct reserve_item item;
    assert_int_equal(reserve_count(t->w.hosts[2].reserve), 1);
    reserve_item(t->w.hosts[2].reserve, 0, &item);
    return item;
}

static void reserve_vm2(struct attempt *t)
{
    t->w.replied = false;
    send_reserve(t, 0, "hv3");
    run(&t->w, 2000);
    assert_true(t->w.replied);
}

static void a_reservation_is_held_answered_again_and_expires(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_OK);
    struct reserve_item item = held(&t);
    assert_true(item.held);
    assert_int_equal(item.memory_mib, VM_MIB);
    char id[64];
    snprintf(id, sizeof id, "%s", item.id);
    reserve_vm2(&t);
    assert_string_equal(held(&t).id, id);
    run(&t.w, 15000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 1);
    run(&t.w, 4000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    assert_int_equal(t.w.hosts[2].n_journal, 0);
    attempt_done(&t);
}

static void a_restarted_destination_still_holds_it(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    reserve_vm2(&t);
    char id[64];
    snprintf(id, sizeof id, "%s", held(&t).id);
    agent_down(&t.w, &t.w.hosts[2]);
    t.w.hosts[2].up_at = t.w.now + 3000;
    run(&t.w, 4000);
    assert_string_equal(held(&t).id, id);
    run(&t.w, 15000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

static void it_does_not_expire_under_an_arriving_domain(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    reserve_vm2(&t);
    t.w.doms[2][1] = (struct dom){.present = true, .state = SKEIN__VM_STATE__VM_INCOMING};
    agent_down(&t.w, &t.w.hosts[2]);
    t.w.hosts[2].up_at = t.w.now;
    run(&t.w, 60000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 1);
    t.w.hosts[2].libvirt_down_until = t.w.now + 30000; /* not known: kept */
    run(&t.w, 30000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 1);
    t.w.excused[1] = true;
    t.w.doms[2][1].state = SKEIN__VM_STATE__VM_RUNNING; /* arrived: it counts as itself */
    run(&t.w, 3000);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

static void send_release(struct attempt *t, int from, const char *id)
{
    Skein__ReleaseReservation release = SKEIN__RELEASE_RESERVATION__INIT;
    release.id = (char *)id;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.has_id = 1;
    request.id = ++t->w.planner_token << OWNER_BITS | OWNER_DUTY;
    request.kind_case = SKEIN__REQUEST__KIND_RELEASE;
    request.release = &release;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = &request;
    size_t len;
    _cleanup_(freep) uint8_t *data = codec_pack(&frame.base, &len);
    post(&t->w, from, 2, data, len);
}

static void only_its_source_releases_it(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    reserve_vm2(&t);
    char id[64];
    snprintf(id, sizeof id, "%s", held(&t).id);
    send_release(&t, 1, id);
    run(&t.w, 500);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 1);
    send_release(&t, 0, "0123");
    run(&t.w, 500);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 1);
    send_release(&t, 0, id);
    run(&t.w, 500);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

/* libvirt does not carry it over: the destination sets it when the move is over, restarted or not;
 * its hypervisor refuses where nothing has arrived. */
static void what_starts_with_its_host_does_so_here(void **state)
{
    (void)state;
    for (unsigned wanted = 0; wanted <= 1; wanted++) {
        struct attempt t;
        attempt_init(&t);
        t.w.autostart = wanted != 0;
        reserve_vm2(&t);
        char id[64];
        snprintf(id, sizeof id, "%s", held(&t).id);
        assert_int_equal(t.w.autostarts, 0);
        agent_down(&t.w, &t.w.hosts[2]);
        t.w.hosts[2].up_at = t.w.now + 3000;
        run(&t.w, 4000);
        send_release(&t, 0, id);
        run(&t.w, 1000);
        assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
        assert_int_equal(t.w.autostarts, wanted);
        attempt_done(&t);
    }
}

/* A hypervisor that is still busy with the arrival is asked again, by a restarted agent too. */
static void it_is_asked_until_the_hypervisor_agrees(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.autostart = true;
    t.w.autostart_refused = 3;
    reserve_vm2(&t);
    char id[64];
    snprintf(id, sizeof id, "%s", held(&t).id);
    send_release(&t, 0, id);
    run(&t.w, 1500);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    assert_in_range(t.w.autostart_refused, 1, 2);
    agent_down(&t.w, &t.w.hosts[2]);
    t.w.hosts[2].up_at = t.w.now + 1000;
    run(&t.w, 30000);
    assert_int_equal(t.w.autostart_refused, 0);
    unsigned asked = t.w.autostarts;
    run(&t.w, 5000);
    assert_int_equal(t.w.autostarts, asked);
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

/* Opened before the source is told, closed when nothing holds it open any more. */
static void the_firewall_opens_for_it_alone(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.hosts[2].conf.firewall = true;
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(t.w.last_reply.msg, "addresses"));
    t.w.hosts[0].conf.source_addresses = "10.78.0.1 10.77.0.1";
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_OK);
    assert_true(held(&t).held);
    assert_int_equal(t.w.opened, 1);
    assert_int_equal(t.w.closed, 0);
    /* A life later it still knows what it opened. */
    agent_down(&t.w, &t.w.hosts[2]);
    t.w.hosts[2].up_at = t.w.now + 3000;
    run(&t.w, 4000);
    send_release(&t, 0, held(&t).id);
    run(&t.w, 500);
    assert_int_equal(t.w.closed, 1);
    attempt_done(&t);
}

static void no_room_is_said_in_numbers(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.doms[0][0] = (struct dom){0}; /* hv1 has no room for two of that size either */
    t.w.excused[0] = true;
    t.w.vm_mib = 5000; /* vm4 is there: 5000 + 5000 > 8192 */
    run(&t.w, 1500);
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_CAPACITY);
    assert_non_null(strstr(t.w.last_reply.msg, "needs 5000 MiB, 5000 of 8192 MiB are taken"));
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

static void the_hosts_overcommit_counts(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.hosts[2].own_summary.cpu_overcommit_milli = 1000; /* two cores, taken by vm4 */
    reserve_vm2(&t);
    assert_string_equal(t.w.last_reply.msg, "vm2 needs 2 vCPUs, 2 of 2 are taken");
    t.w.hosts[2].own_summary.cpu_overcommit_milli = 2000;
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_OK);
    attempt_done(&t);
}

static void what_is_unknown_is_no_room(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.vm_mib = 0; /* of the one that is there, and of the one that comes */
    run(&t.w, 1500);
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_INVALID);
    attempt_done(&t);
    attempt_init(&t);
    t.w.doms[2][1] = (struct dom){.present = true, .state = SKEIN__VM_STATE__VM_PAUSED};
    run(&t.w, 1500);
    reserve_vm2(&t); /* something of that name is there already */
    assert_int_equal(t.w.last_reply.code, ERR_CONFLICT);
    attempt_done(&t);
}

static void a_dead_hypervisor_admits_nothing(void **state)
{
    (void)state;
    struct attempt t;
    attempt_init(&t);
    t.w.hosts[2].libvirt_down_until = t.w.now + 60000;
    run(&t.w, 3000);
    reserve_vm2(&t);
    assert_int_equal(t.w.last_reply.code, ERR_UNAVAILABLE);
    assert_null(strchr(t.w.last_reply.msg, '\n'));
    assert_int_equal(reserve_count(t.w.hosts[2].reserve), 0);
    attempt_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reservation_is_held_answered_again_and_expires),
        cmocka_unit_test(a_restarted_destination_still_holds_it),
        cmocka_unit_test(it_does_not_expire_under_an_arriving_domain),
        cmocka_unit_test(only_its_source_releases_it),
        cmocka_unit_test(what_starts_with_its_host_does_so_here),
        cmocka_unit_test(it_is_asked_until_the_hypervisor_agrees),
        cmocka_unit_test(the_firewall_opens_for_it_alone),
        cmocka_unit_test(no_room_is_said_in_numbers),
        cmocka_unit_test(the_hosts_overcommit_counts),
        cmocka_unit_test(what_is_unknown_is_no_room),
        cmocka_unit_test(a_dead_hypervisor_admits_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
