/* What nftables is told, and programs that are run with bounded patience. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <time.h>

#include "agent/io/command_run.h"
#include "agent/io/firewall.h"
#include "proto/util.h"

static void assert_part(const char *text, const char *part, bool there)
{
    if ((strstr(text, part) != NULL) != there)
        fail_msg("\"%s\" %s: %s", part, there ? "is missing" : "is there", text);
}

static void test_script(void **state)
{
    (void)state;
    _cleanup_(freep) char *base = firewall_script("49152-49215", "", 0);
    assert_part(base, "tcp dport 49152-49215 tcp flags & (syn | ack) == syn jump sources", true);
    assert_part(base, "element", false);
    _cleanup_(freep) char *open = firewall_script("1-2", "10.78.0.4 fd00::4 host;x", 70001);
    assert_part(open, "add element inet skein sources4 { 10.78.0.4 timeout 71s }", true);
    assert_part(open, "add element inet skein sources6 { fd00::4 timeout 71s }", true);
    assert_part(open, "host;x", false); /* nothing but addresses goes into it */
    _cleanup_(freep) char *shut = firewall_script("1-2", "10.78.0.4", 0);
    assert_part(shut, "delete element inet skein sources4 { 10.78.0.4 }", true);
    assert_part(shut, "timeout 0", false);
    assert_null(firewall_script("1-2", "hv4", 1000));
}

static void run(const char *script, const char *input, msec patience, int rc, int status,
                const char *said)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    char text[64];
    int got = -1;
    struct err err = {0};
    assert_int_equal(command_run(argv, input, patience, text, sizeof text, &got, &err), rc);
    assert_string_equal(text, said);
    if (rc == 0)
        assert_int_equal(got, status);
}

static void test_commands(void **state)
{
    (void)state;
    run("echo yes; echo no >&2; exit 3", NULL, 30000, 0, 3, "yes\nno\n");
    run("cat; printf .", "what it is told", 30000, 0, 0, "what it is told.");
    run("exit 0", "nobody listens", 30000, 0, 0, "");
    run("kill -9 $$", NULL, 30000, -ERR_IO, 0, "");
    /* More than a pipe holds, both ways; what does not fit is not kept. */
    size_t len = 1 << 20;
    _cleanup_(freep) char *large = xcalloc(len + 1, 1);
    memset(large, 'x', len);
    char head[64];
    memset(head, 'x', sizeof head);
    head[sizeof head - 1] = '\0';
    run("cat", large, 30000, 0, 0, head);
    struct err err = {0};
    int status;
    const char *const none[] = {"/nowhere/nft", NULL};
    assert_err(command_run(none, NULL, 1000, NULL, 0, &status, &err), &err, ERR_NOT_FOUND,
               "nowhere");
}

/* With all that it started, and although that holds its outputs. */
static void test_patience_ends(void **state)
{
    (void)state;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run("echo begun; sleep 600 & sleep 600", NULL, 300, -ERR_TIMEOUT, 0, "begun\n");
    run("exec >&- 2>&- <&-; sleep 600", NULL, 100, -ERR_TIMEOUT, 0, "");
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true(to.tv_sec - from.tv_sec < 300);
    /* What it leaves behind is not waited for. */
    run("sleep 60 & echo left", NULL, 50000, 0, 0, "left\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_patience_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
