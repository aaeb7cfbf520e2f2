/* How hosts sleep and wake others: commands that work, fail and talk; the packet that wakes a card.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/power_driver.h"
#include "proto/util.h"

static char script[] = "/tmp/skein-power.XXXXXX", said[sizeof script + 8];

static struct power_driver *with_script(const char *text)
{
    FILE *f = fopen(script, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", text);
    fclose(f);
    assert_int_equal(chmod(script, 0755), 0);
    return power_driver_new(&(struct power_driver_conf){
        .driver = "command", .command = script, .broadcast = "127.0.0.1"});
}

static void a_command_is_told_what_to_do(void **state)
{
    (void)state;
    struct err err;
    char text[128] = "", line[256];
    snprintf(line, sizeof line, "echo \"$# $1 $2 $3\" > %s", said);
    struct power_driver *p = with_script(line);
    assert_ok(power_driver_wake(p, "hv3", "52:54:00:12:34:56", &err), &err);
    FILE *f = fopen(said, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "3 wake hv3 52:54:00:12:34:56\n");
    assert_ok(power_driver_standby(p, "hv1", &err), &err);
    f = fopen(said, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "2 standby hv1 \n");
    power_driver_free(p);
}

static void what_it_says_last_is_why_it_failed(void **state)
{
    (void)state;
    struct err err;
    struct power_driver *p = with_script("echo trying >&2; echo 'no such chassis' >&2; exit 3");
    assert_true(power_driver_standby(p, "hv1", &err) < 0);
    assert_int_equal(err.code, ERR_HYPERVISOR);
    assert_non_null(strstr(err.msg, "standby failed: no such chassis"));
    power_driver_free(p);
    unlink(script);
    p = power_driver_new(&(struct power_driver_conf){
        .driver = "command", .command = "/nonexistent/power", .broadcast = "127.0.0.1"});
    assert_true(power_driver_wake(p, "hv1", "", &err) < 0);
    power_driver_free(p);
}

static void a_host_without_a_driver_switches_nothing(void **state)
{
    (void)state;
    struct err err;
    struct power_driver *p = power_driver_new(
        &(struct power_driver_conf){.driver = "off", .command = "", .broadcast = "127.0.0.1"});
    assert_true(power_driver_standby(p, "hv1", &err) < 0);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_true(power_driver_wake(p, "hv1", "52:54:00:12:34:56", &err) < 0);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    power_driver_free(p);
}

static void cards_are_woken_by_their_address(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "52:54:00:12:34", "52-54-00-12-34-56",
                                        "52:54:00:12:34:5g", "52:54:00:12:34:56:78"};
    unsigned char mac[6], packet[POWER_DRIVER_PACKET];
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_true(power_driver_mac(wrong[i], mac, &err) < 0);
    assert_ok(power_driver_mac("52:54:00:12:34:aB", mac, &err), &err);
    power_driver_packet(mac, packet);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(packet[i], 0xff);
    for (size_t i = 6; i < sizeof packet; i++)
        assert_int_equal(packet[i], mac[(i - 6) % 6]);
    struct power_driver *p = power_driver_new(
        &(struct power_driver_conf){.driver = "suspend", .command = "", .broadcast = "127.0.0.1"});
    assert_ok(power_driver_wake(p, "hv2", "52:54:00:12:34:ab", &err), &err);
    assert_true(power_driver_wake(p, "hv2", "", &err) < 0);
    assert_int_equal(err.code, ERR_INVALID);
    power_driver_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_told_what_to_do),
        cmocka_unit_test(what_it_says_last_is_why_it_failed),
        cmocka_unit_test(a_host_without_a_driver_switches_nothing),
        cmocka_unit_test(cards_are_woken_by_their_address),
    };
    int fd = mkstemp(script);
    if (fd < 0)
        return 1;
    close(fd);
    snprintf(said, sizeof said, "%s.said", script);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(script);
    unlink(said);
    return rc;
}
