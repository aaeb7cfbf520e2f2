/* Temperatures: configuration, and a machine without or with whatever sensors; what readings mean
 * is proved on made-up chips by tests/e2e/20-hypervisor.sh. */
#include "tests/lib/test.h"

#include "agent/io/sensors.h"
#include "proto/util.h"

static void configuration_is_checked(void **state)
{
    (void)state;
    struct err err = {0};
    struct sensors *s = NULL;
    struct sensors_conf conf = {.source = "ipmi"};
    assert_err(sensors_open(&conf, &s, &err), &err, ERR_INVALID, "neither \"hwmon\" nor \"none\"");
    conf = (struct sensors_conf){.source = "hwmon", .inlet = "Inlet Temp"};
    assert_err(sensors_open(&conf, &s, &err), &err, ERR_INVALID, "CHIP/LABEL");
    assert_null(s);
    sensors_close(NULL);
}

static void none_is_unknown(void **state)
{
    (void)state;
    struct err err = {0};
    struct sensors *s;
    struct sensors_reading r;
    struct sensors_conf conf = {.source = "none", .inlet = "", .inlet_max_millicelsius = 35000};
    assert_ok(sensors_open(&conf, &s, &err), &err);
    sensors_read(s, &r);
    assert_true(r.inlet == QUANTITY_UNKNOWN && r.inlet_max == QUANTITY_UNKNOWN);
    assert_true(r.cpu == QUANTITY_UNKNOWN && r.outlet == QUANTITY_UNKNOWN);
    sensors_close(s);
}

static void readings_are_plausible(void **state)
{
    (void)state;
    struct err err = {0};
    struct sensors *one, *two;
    struct sensors_conf conf = {.source = "hwmon"};
    assert_ok(sensors_open(&conf, &one, &err), &err);
    assert_ok(sensors_open(&conf, &two, &err), &err);
    for (int i = 0; i < 3; i++) {
        struct sensors_reading r;
        sensors_read(i % 2 == 0 ? one : two, &r);
        const milli all[] = {r.inlet, r.inlet_max, r.outlet, r.cpu, r.cpu_max};
        for (size_t k = 0; k < ARRAY_SIZE(all); k++)
            assert_true(all[k] == QUANTITY_UNKNOWN || (all[k] > 0 && all[k] < 150000));
    }
    sensors_close(one);
    struct sensors_reading r;
    sensors_read(two, &r); /* the other's end does not take the library away */
    sensors_close(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_is_checked),
        cmocka_unit_test(none_is_unknown),
        cmocka_unit_test(readings_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
