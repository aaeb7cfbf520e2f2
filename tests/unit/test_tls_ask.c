/* Who asks an issuer waits so long for all of it, whatever is at the other end. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/util.h"
#include "tls/ask.h"

/* A door where nobody speaks TLS: silent, or one byte of a record now and then. */
struct door {
    int listener;
    bool dribbles;
    atomic_bool over;
    char address[32];
    pthread_t thread;
};

static void *run_door(void *arg)
{
    struct door *d = arg;
    static const char head[] = "\x16\x03\x03\x3f\xff"; /* of a record of 16 KiB */
    int fd = accept(d->listener, NULL, NULL);
    for (size_t i = 0; !atomic_load(&d->over); i++) {
        if (d->dribbles)
            (void)!send(fd, i < sizeof head - 1 ? &head[i] : "", 1, MSG_NOSIGNAL);
        usleep(10000);
    }
    close(fd);
    return NULL;
}

static void door_open(struct door *d, bool dribbles)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    *d = (struct door){.listener = socket(AF_INET, SOCK_STREAM, 0), .dribbles = dribbles};
    assert_int_equal(bind(d->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(d->listener, 1), 0);
    assert_int_equal(getsockname(d->listener, (struct sockaddr *)&in, &len), 0);
    snprintf(d->address, sizeof d->address, "127.0.0.1:%u", ntohs(in.sin_port));
    assert_int_equal(pthread_create(&d->thread, NULL, run_door, d), 0);
}

static void door_close(struct door *d)
{
    atomic_store(&d->over, true);
    pthread_join(d->thread, NULL);
    close(d->listener);
}

static void nobody_is_waited_for_for_ever(void **state _unused_)
{
    for (int dribbles = 0; dribbles < 2; dribbles++) {
        struct door d;
        struct err err = {0};
        char *answer = NULL;
        size_t len;
        door_open(&d, dribbles);
        struct ask question = {.address = d.address,
                               .cluster = "dc1",
                               .root = "00",
                               .now = 1795000000000,
                               .patience = 300};
        assert_err(ask(&question, "/v1/join", "{}", 1000, &answer, &len, &err), &err, ERR_TIMEOUT,
                   "takes too long");
        door_close(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_waited_for_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
