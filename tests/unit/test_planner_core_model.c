#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/core/jread.h"
#include "planner/core/model.h"
#include "proto/util.h"

#define SNAP(hosts, vms, rest)                                                                     \
    "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"dc1\",\"taken_at\":\"2026-11-22T01:30:00Z\","  \
    "\"seed\":1,\"hosts\":[" hosts "],\"vms\":[" vms "]" rest "}"
#define H1                                                                                         \
    "{\"name\":\"hv1\",\"state\":\"up\",\"cpu\":{\"cores\":32,\"used_cores\":9.125},"              \
    "\"memory\":{\"total_mib\":262144,\"reserved_mib\":4096}}"
#define H2                                                                                         \
    "{\"name\":\"hv2\",\"state\":\"up\",\"cpu\":{\"cores\":16},\"memory\":{\"total_mib\":1000}}"
#define V1                                                                                         \
    "{\"name\":\"a\",\"uuid\":\"u1\",\"host\":\"hv1\",\"state\":\"running\",\"vcpus\":2,"          \
    "\"memory_mib\":1024,\"tags\":{\"tier\":\"gold\"}}"
#define V2 "{\"name\":\"b\",\"uuid\":\"u2\",\"host\":\"hv1\",\"state\":\"stopped\"}"

static struct model *parse(const char *text)
{
    struct model *m = NULL;
    struct err err;
    assert_ok(model_parse(text, strlen(text), &m, &err), &err);
    return m;
}

static void refuse(const char *text, const char *part)
{
    struct model *m = NULL;
    struct err err;
    assert_err(model_parse(text, strlen(text), &m, &err), &err, ERR_INVALID, part);
}

static void reads_quantities(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m = parse(SNAP(H2 "," H1, V2 "," V1, ""));
    assert_int_equal(m->n_hosts, 2);
    assert_string_equal(m->hosts[0].name, "hv1");
    assert_int_equal(m->hosts[0].cores, 32000);
    assert_int_equal(m->hosts[0].used_cores, 9125);
    assert_int_equal(host_memory_for_vms_mib(&m->hosts[0]), 258048);
    assert_int_equal(host_vcpus(&m->hosts[0]), 32);
    assert_true(m->hosts[1].used_cores == QUANTITY_UNKNOWN);
    assert_int_equal(m->hosts[0].n_vms, 2);
    assert_string_equal(m->vms[0].name, "a");
    assert_true(m->vms[1].memory_mib == QUANTITY_UNKNOWN);
    assert_false(vm_takes_resources(&m->vms[1]));
    assert_string_equal(model_tag(&m->vms[0].tags, "tier"), "gold");
    assert_int_equal(model_find_vm(m, "b"), 1);
    assert_int_equal(m->limits.outflow_per_host, 2);
    assert_int_equal(m->n_warnings, 0);
}

static void order_does_not_change_the_digest(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *a = parse(SNAP(H1 "," H2, V1 "," V2, ""));
    _cleanup_(model_freep) struct model *b = parse(SNAP(H2 "," H1, V2 "," V1, ""));
    _cleanup_(model_freep) struct model *c = parse(SNAP(H2 "," H1, V2, ""));
    assert_string_equal(a->digest, b->digest);
    assert_string_not_equal(a->digest, c->digest);
}

static void refuses_bad_input(void **state)
{
    (void)state;

    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "snapshot:1:1"},
        {"[]", "must be an object"},
        {"{}", "schema"},
        {SNAP("{\"name\":\"h\",\"cpu\":{\"cores\":-1}}", "", ""),
         "snapshot: hosts[0].cpu.cores: must not be negative"},
        {SNAP(H1 ",{\"name\":\"h\",\"cpu\":{\"cores\":1e16}}", "", ""), "hosts[1]"},
        {SNAP("{\"name\":\"h\",\"cpu\":{\"coers\":1}}", "", ""), "did you mean \"cores\""},
        {SNAP("{\"name\":\"h\",\"name\":\"h\"}", "", ""), "duplicate key"},
        {SNAP("{\"name\":\"h\\u0000\"}", "", ""), "NUL"},
        {SNAP("{\"name\":\"\xff\"}", "", ""), "snapshot:1:"},
        {SNAP("{\"name\":\"\\ud800\"}", "", ""), "surrogate"},
        {SNAP("{\"name\":\"h\",\"state\":\"upp\"}", "", ""), "did you mean \"up\""},
        {SNAP("{\"state\":\"up\"}", "", ""), "name is missing"},
        {SNAP(H1 "," H1, "", ""), "stands twice"},
        {SNAP(H1, V1 "," V1, ""), "stands twice"},
        {SNAP("", V1, ""), "vms[0].host: no host \"hv1\""},
        {SNAP(H1, V1, ",\"vmss\":[]"), "did you mean \"vms\""},
        {SNAP(H1, V1, ",\"vms\":[]"), "duplicate key"},
        {SNAP(H1, V1, ",\"seed\":2"), "duplicate key"},
        {SNAP(H1, V1, ",\"rules\":[{\"name\":\"r\",\"type\":\"spread\",\"vms\":[\"a\"]}]"),
         "minimum"},
        {SNAP(H1, V1, ",\"rules\":[{\"name\":\"r\",\"type\":\"keeep\",\"vms\":[\"a\"]}]"),
         "rules[0].type: \"keeep\" is not known; did you mean \"keep\"?"},
        {SNAP(H1, V1, "} trailing"), "snapshot:1:"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        refuse(cases[i].text, cases[i].part);
}

static void warns_of_what_it_can_go_on_with(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m =
        parse(SNAP("{\"name\":\"h\",\"state\":\"up\",\"cpu\":{\"cores\":0},\"colour\":1,"
                   "\"temperature\":{\"cpu_celsius\":900,\"inlet_celsius\":-3}}",
                   "", ",\"rules\":[{\"name\":\"r\",\"type\":\"keep\",\"vms\":[\"gone\"]}]"));
    assert_int_equal(m->n_warnings, 5);
    assert_non_null(m->hosts[0].implausible);
    assert_true(m->hosts[0].cpu_celsius == QUANTITY_UNKNOWN);
    assert_int_equal(m->rules[0].n_vms, 0);
}

static void rules_find_their_vms(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m =
        parse(SNAP(H1 "," H2, V1 "," V2,
                   ",\"rules\":[{\"name\":\"r\",\"type\":\"run-on\",\"select\":{\"tier\":\"gold\"},"
                   "\"hosts\":[\"hv2\"],\"enforcement\":\"should\"},"
                   "{\"name\":\"d\",\"type\":\"depends-on\",\"vms\":[\"b\",\"u1\"]}]"));
    assert_int_equal(m->rules[0].n_vms, 2);
    assert_int_equal(m->rules[0].vms[0], 1);
    assert_int_equal(m->rules[1].n_vms, 1);
    assert_int_equal(m->rules[1].hosts[0], 1);
    assert_false(m->rules[1].must);
}

/* What is kept as it is must not fill the memory either. */
static void bounds_what_it_does_not_read(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf b = {0};
    buf_adds(&b, "{\"schema\":\"skein.snapshot/1\",\"hosts\":[],\"vms\":[],\"history\":[0");
    for (int i = 0; i < 4000000; i++)
        buf_add(&b, ",1", 2);
    buf_adds(&b, "]}");
    refuse(b.data, "snapshot: history: more than 4000000 values in one piece");
}

/* What a number is does not depend on the way it was read. */
static int compare_number(void *ctx, const char *key, int index, const struct jnode *v,
                          struct err *err)
{
    const char *text = ctx;
    (void)key, (void)index, (void)err;
    assert_true(v->type == (strpbrk(text, ".eE") == NULL ? J_INTEGER : J_REAL));
    double want = strtod(text, NULL);
    assert_memory_equal(&v->real, &want, sizeof want);
    if (v->type == J_INTEGER)
        assert_int_equal(v->integer, strtoll(text, NULL, 10));
    return 0;
}

static void reads_numbers_exactly(void **state)
{
    static const char *const cases[] = {"0",
                                        "-0",
                                        "7",
                                        "-12",
                                        "0.1",
                                        "1.005",
                                        "-9.125",
                                        "1e3",
                                        "1.5E-1",
                                        "-0.0",
                                        "0.7",
                                        "0.30000000000000004",
                                        "123456789012345",
                                        "-123456789012345",
                                        "12345678.9012345",
                                        "0.0000000000001",
                                        "1.0000000000005",
                                        "9999999999999.9",
                                        "99999999999999.9",
                                        "0.33333333333333"};
    static const char *const streamed[] = {NULL};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[64];
        struct err err;
        struct jread conf = {
            .streamed = streamed, .piece = compare_number, .ctx = (void *)cases[i]};
        snprintf(text, sizeof text, "{\"x\":%s}", cases[i]);
        assert_ok(jread_run(&conf, "numbers", text, strlen(text), &err), &err);
    }
}

static void lists_that_begin_alike_are_ordered(void **state)
{
    (void)state;
    static const char *const vms[] = {
        "{\"name\":\"vm\",\"uuid\":\"u1\"}", "{\"name\":\"vm1\",\"uuid\":\"u2\"}",
        "{\"name\":\"vm10\",\"uuid\":\"u3\"}", "{\"name\":\"vm-000000001\",\"uuid\":\"u4\"}",
        "{\"name\":\"vm-000000002\",\"uuid\":\"u5\"}"};
    char first[HASH_HEX_SIZE] = "";
    for (size_t turn = 0; turn < ARRAY_SIZE(vms); turn++) {
        _cleanup_(buf_done) struct buf b = {0};
        buf_adds(&b, "{\"schema\":\"skein.snapshot/1\",\"hosts\":[],\"vms\":[");
        for (size_t i = 0; i < ARRAY_SIZE(vms); i++)
            buf_addf(&b, "%s%s", i > 0 ? "," : "", vms[(i + turn) % ARRAY_SIZE(vms)]);
        buf_adds(&b, "]}");
        _cleanup_(model_freep) struct model *m = parse(b.data);
        if (turn == 0)
            strcpy(first, m->digest);
        assert_string_equal(m->digest, first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_what_it_does_not_read),
        cmocka_unit_test(reads_quantities),
        cmocka_unit_test(order_does_not_change_the_digest),
        cmocka_unit_test(reads_numbers_exactly),
        cmocka_unit_test(lists_that_begin_alike_are_ordered),
        cmocka_unit_test(refuses_bad_input),
        cmocka_unit_test(warns_of_what_it_can_go_on_with),
        cmocka_unit_test(rules_find_their_vms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
