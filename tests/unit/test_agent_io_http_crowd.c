/* Who is at the hosts' door: counted by network, and shown out in time. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "agent/io/http_crowd.h"
#include "proto/util.h"

static const struct sockaddr *at(const char *text)
{
    static struct sockaddr_storage storage;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    storage = (struct sockaddr_storage){.ss_family = AF_UNSPEC};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(&storage, &in, sizeof in);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(&storage, &in6, sizeof in6);
    return (const struct sockaddr *)&storage;
}

static void networks(void **state _unused_)
{
    static const char *const cases[][2] = {{"10.0.0.4", "10.0.0.4"},
                                           {"::ffff:10.0.0.4", "10.0.0.4"},
                                           {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
                                           {"::1", "::"},
                                           {"", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char network[HTTP_NETWORK_SIZE];
        http_network(at(cases[i][0]), network);
        assert_string_equal(network, cases[i][1]);
    }
}

/* Many addresses of one IPv6 network are one guest. */
static void nobody_holds_all_places(void **state _unused_)
{
    struct crowd crowd = {0};
    struct guest_at *first = crowd_add(&crowd, at("2001:db8::1"), -1, 0);
    struct guest_at *second = crowd_add(&crowd, at("2001:db8::2"), -1, 0);
    assert_false(crowd_admits(&crowd, at("2001:db8::3"), 2));
    assert_true(crowd_admits(&crowd, at("2001:db8:0:1::3"), 2));
    assert_true(crowd_admits(&crowd, at("10.0.0.1"), 2));
    crowd_remove(&crowd, first);
    assert_true(crowd_admits(&crowd, at("2001:db8::3"), 2));
    crowd_remove(&crowd, second);
    assert_null(crowd.first);
}

static void nobody_stays(void **state _unused_)
{
    struct crowd crowd = {0};
    char byte;
    int early[2], late[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, early), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, late), 0);
    assert_int_equal(crowd_since(&crowd), -1);
    struct guest_at *one = crowd_add(&crowd, at("10.0.0.1"), early[0], 1000);
    struct guest_at *two = crowd_add(&crowd, at("10.0.0.2"), late[0], 2000);
    assert_int_equal(crowd_since(&crowd), 1000);
    crowd_end(&crowd, 1500);
    assert_int_equal(read(early[1], &byte, 1), 0); /* its end */
    assert_int_equal(read(late[1], &byte, 1), -1);
    assert_int_equal(crowd_since(&crowd), 2000);
    crowd_remove(&crowd, one);
    crowd_remove(&crowd, two);
    for (int i = 0; i < 2; i++) {
        close(early[i]);
        close(late[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
        cmocka_unit_test(nobody_holds_all_places),
        cmocka_unit_test(nobody_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
