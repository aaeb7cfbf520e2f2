/* Links between hosts of one cluster: frames pass, links break and come back. */
#include "tests/unit/transport_fixture.h"

static bool check_status(void *arg, const struct transport_link *link)
{
    const struct node *peer = arg;
    assert_int_equal(link->state, LINK_UP);
    assert_string_equal(link->peer.host, peer->name);
    assert_string_equal(link->peer.listen, peer->address);
    assert_string_equal(link->peer.version, "test");
    assert_int_equal(strlen(link->key), 64);
    assert_int_equal(link->expires_wall, NOW + 30 * DAY);
    return true;
}

static void two_join_and_talk(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = true;
    assert_err(transport_send(a->t, "hv2", "x", 1, &err), &err, ERR_UNAVAILABLE, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    transport_links(a->t, check_status, b);
    transport_links(b->t, check_status, a);
    assert_ok(transport_send(a->t, "hv2", "hello", 5, &err), &err);
    run_until(a->frames == 1);
    assert_int_equal(a->bytes, 5);
    assert_ok(transport_send(a->t, "hv2", "", 0, &err), &err);
    run_until(a->frames == 2);
    msec certificate, crl;
    transport_validity(a->t, &certificate, &crl);
    assert_int_equal(certificate, NOW + 30 * DAY);
    assert_int_equal(crl, NOW + 30 * DAY);
}

static void large_frames_pass_up_to_the_limit(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = true;
    dial(a, b);
    run_until(linked(a, b));
    size_t max = 1u << 20;
    _cleanup_(freep) uint8_t *frame = xcalloc(1, max + 1);
    assert_ok(transport_send(a->t, "hv2", frame, max, &err), &err);
    assert_err(transport_send(a->t, "hv2", frame, max + 1, &err), &err, ERR_LIMIT, "1048577");
    run_until(a->frames == 1);
    assert_int_equal(a->bytes, max);
}

/* More than the queues hold at a time, both ways: bounded, nothing lost, order kept. */
static void twenty_thousand_frames(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    b->echo = b->in_order = a->in_order = true;
    dial(a, b);
    run_until(linked(a, b));
    uint8_t frame[300] = {0};
    uint32_t sent = 0;
    msec started = mono();
    while (a->frames < 20000 && mono() < started + 60000) {
        for (int i = 0; i < 100 && sent < 20000; i++) {
            memcpy(frame, &sent, sizeof sent);
            if (transport_send(a->t, "hv2", frame, sizeof frame, &err) < 0)
                break;
            sent++;
        }
        turn();
    }
    assert_int_equal(a->frames, 20000);
    print_message("20000 echoes of 300 B in %lld ms\n", (long long)(mono() - started));
}

static bool take_link(void *arg, const struct transport_link *link)
{
    *(struct transport_link *)arg = *link;
    return link->state != LINK_UP;
}

/* What is sent in one turn of the loop to one peer is one record: a record costs both ends more
 * than what stands in it. */
static void frames_of_one_turn_go_together(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_link before, after;
    b->in_order = true;
    dial(a, b);
    run_until(linked(a, b));
    run_for(50);
    transport_links(a->t, take_link, &before);
    for (uint32_t i = 0; i < 100; i++)
        assert_ok(transport_send(a->t, "hv2", &i, sizeof i, &err), &err);
    run_until(b->frames == 100);
    transport_links(a->t, take_link, &after);
    assert_int_equal(after.frames_out - before.frames_out, 100);
    assert_in_range(after.bytes_out - before.bytes_out, 100 * 8, 100 * 8 + 100);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    run_until(linked(a, b));
    size_t size = 100000;
    _cleanup_(freep) uint8_t *frame = xcalloc(1, size);
    unsigned sent = 0;
    while (transport_send(a->t, "hv2", frame, size, &err) == 0) /* b does not read */
        assert_true(++sent < 1000);
    assert_string_equal(err_name(err.code), "CAPACITY");
    assert_true(sent >= 40);
    run_until(b->frames == sent); /* and all of what was taken arrives */
    assert_ok(transport_send(a->t, "hv2", frame, size, &err), &err);
    run_until(b->frames == sent + 1);
}

static void both_dial_and_one_link_stays(void **state)
{
    (void)state;
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(b, a);
    run_until(linked(a, b));
    run_for(1500);
    assert_true(linked(a, b));
    assert_int_equal(links_of(a), 1);
    assert_int_equal(links_of(b), 1);
    assert_int_equal(a->ups, 1);
    assert_int_equal(b->ups, 1);
    assert_int_equal(a->downs + b->downs, 0);
}

static void peer_dies_and_returns(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(b, a);
    run_until(linked(a, b));
    for (unsigned round = 1; round <= 3; round++) {
        node_stop(b);
        run_until(a->downs == round);
        run_for(100);
        node_start(b);
        if (round == 2)
            dial(b, a);
        run_until(linked(a, b));
        assert_int_equal(a->ups, round + 1);
    }
    b->frames = 0;
    assert_ok(transport_send(a->t, "hv2", "x", 1, &err), &err);
    run_until(b->frames == 1);
}

static void four_make_a_mesh(void **state)
{
    (void)state;
    struct node *n[4];
    const char *const names[] = {"hv1", "hv2", "hv3", "hv4"};
    for (size_t i = 0; i < 4; i++)
        n[i] = node_new(&world_one, names[i]);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            dial(n[i], n[j]); /* itself, too */
    run_until(n[0]->n_up == 3 && n[1]->n_up == 3 && n[2]->n_up == 3 && n[3]->n_up == 3);
    run_for(1300);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(links_of(n[i]), 3);
        assert_int_equal(n[i]->downs, 0);
    }
}

/* hv2 knows that the link hv1 dialled is dead, hv1 does not, and would prefer it: hv2's new link
 * must win all the same, and stay. */
static void half_dead_link_gives_way(void **state)
{
    (void)state;
    struct err err = {0};
    char address[TRANSPORT_ADDRESS_SIZE];
    struct node *one = node_new(&world_one, "hv1"), *two = node_new(&world_one, "hv2");
    relay_start(two, address);
    assert_ok(transport_dial(one->t, address, &err), &err);
    run_until(linked(one, two));
    relay.frozen = true;
    close(relay.ends[1]);
    run_until(two->downs == 1);
    dial(two, one);
    run_until(transport_is_up(two->t, "hv1"));
    run_for(2500);
    assert_true(linked(one, two));
    assert_int_equal(two->downs, 1);
    assert_int_equal(one->downs, 0);
    assert_ok(transport_send(one->t, "hv2", "a", 1, &err), &err);
    assert_ok(transport_send(two->t, "hv1", "b", 1, &err), &err);
    run_until(one->frames == 1 && two->frames == 1);
    relay_stop();
}

/* Stopped, not closed: TCP stays open, nobody answers. */
static void silent_peers_are_given_up(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_conf conf = conf_of(a);
    conf.ping_ms = 50;
    conf.silence_ms = 300;
    node_start_with(a, &conf);
    dial(a, b);
    run_until(linked(a, b));
    run_for(600); /* pings keep it */
    assert_int_equal(a->downs, 0);
    struct transport *held = b->t;
    b->t = NULL;
    run_until(a->downs == 1);
    assert_non_null(strstr(a->down_why, "no answer for"));
    b->t = held;
    run_until(linked(a, b));
}

static void own_slowness_blames_nobody(void **state)
{
    (void)state;
    struct node *a = node_make(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    struct transport_conf conf = conf_of(a);
    conf.ping_ms = 50;
    conf.silence_ms = 300;
    node_start_with(a, &conf);
    dial(a, b);
    run_until(linked(a, b));
    struct timespec nap = {.tv_nsec = 700000000};
    nanosleep(&nap, NULL);
    transport_tick(a->t, mono()); /* before it has read what came meanwhile */
    run_for(500);
    assert_string_equal(a->down_why, "");
}

static void closing_and_undialling(void **state)
{
    (void)state;
    struct err err = {0};
    struct node *a = node_new(&world_one, "hv1"), *b = node_new(&world_one, "hv2");
    dial(a, b);
    dial(a, b);
    run_until(linked(a, b));
    transport_close(a->t, "hv2", "too many links");
    run_until(a->downs == 1 && b->downs == 1);
    assert_non_null(strstr(b->down_why, "too many links"));
    run_until(linked(a, b)); /* still dialled */
    transport_undial(a->t, b->address);
    transport_close(a->t, "hv2", "enough");
    run_until(a->downs == 2 && b->downs == 2);
    run_for(300);
    assert_false(transport_is_up(a->t, "hv2"));
    assert_err(transport_dial(a->t, "hv2:7440", &err), &err, ERR_INVALID, "not an IP address");
    assert_err(transport_dial(a->t, "127.0.0.1", &err), &err, ERR_INVALID, "IP:PORT");
    assert_err(transport_dial(a->t, "127.0.0.1:0", &err), &err, ERR_INVALID, "port");
    assert_err(transport_dial(a->t, "127.0.0.1:70000", &err), &err, ERR_INVALID, "port");
    assert_err(transport_dial(a->t, "[::1:7440", &err), &err, ERR_INVALID, "IP");
    assert_ok(transport_dial(a->t, "[::1]:7440", &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(two_join_and_talk, stop_all),
        cmocka_unit_test_teardown(large_frames_pass_up_to_the_limit, stop_all),
        cmocka_unit_test_teardown(twenty_thousand_frames, stop_all),
        cmocka_unit_test_teardown(frames_of_one_turn_go_together, stop_all),
        cmocka_unit_test_teardown(queue_is_bounded, stop_all),
        cmocka_unit_test_teardown(both_dial_and_one_link_stays, stop_all),
        cmocka_unit_test_teardown(peer_dies_and_returns, stop_all),
        cmocka_unit_test_teardown(four_make_a_mesh, stop_all),
        cmocka_unit_test_teardown(silent_peers_are_given_up, stop_all),
        cmocka_unit_test_teardown(half_dead_link_gives_way, stop_all),
        cmocka_unit_test_teardown(own_slowness_blames_nobody, stop_all),
        cmocka_unit_test_teardown(closing_and_undialling, stop_all),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
