#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/core/planner.h"
#include "proto/util.h"

#define HOST(name)                                                                                 \
    "{\"name\":\"" name "\",\"state\":\"up\",\"cpu\":{\"cores\":8},"                               \
    "\"memory\":{\"total_mib\":8192}}"
#define VM(name, host, mib)                                                                        \
    "{\"name\":\"" name "\",\"host\":\"" host "\",\"state\":\"running\",\"vcpus\":1,"              \
    "\"memory_mib\":" mib ",\"cpu_used_cores\":0.5}"
#define SNAP(hosts, vms, rules)                                                                    \
    "{\"schema\":\"skein.snapshot/1\",\"taken_at\":\"2026-11-22T01:30:00Z\",\"hosts\":[" hosts     \
    "],\"vms\":[" vms "],\"rules\":[" rules "]}"

static struct planner_result *run(struct model **ret_m, const char *snapshot,
                                  enum planner_mode mode, int source)
{
    struct model *m = NULL;
    struct planner_result *r = NULL;
    struct err err;
    assert_ok(model_parse(snapshot, strlen(snapshot), &m, &err), &err);
    struct planner_problem p = {.model = m,
                                .mode = mode,
                                .now = m->taken_at,
                                .sources = &source,
                                .n_sources = mode == PLANNER_DRAIN,
                                .n_plus = QUANTITY_UNKNOWN};
    assert_ok(planner_run(&p, &r, &err), &err);
    *ret_m = m;
    return r;
}

static const struct planner_refusal *find(const struct planner_result *r, const char *code)
{
    for (int i = 0; i < r->n_refusals; i++)
        if (strcmp(r->refusals[i].code, code) == 0)
            return &r->refusals[i];
    fail_msg("no refusal %s", code);
    return NULL;
}

static void names_the_missing_amount(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m = NULL;
    _cleanup_(planner_result_freep) struct planner_result *r =
        run(&m, SNAP(HOST("a") "," HOST("b"), VM("v", "a", "6144") "," VM("w", "b", "4096"), ""),
            PLANNER_DRAIN, 0);
    assert_int_equal(r->n_actions, 0);
    const struct planner_refusal *x = find(r, "MEMORY");
    assert_int_equal(x->why.amount, 2048);
    assert_string_equal(x->why.relax, "free 2048 MiB on b");
    assert_int_equal(find(r, "NO_HOST")->host, MODEL_NONE);
}

static void names_the_smallest_conflict(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m = NULL;
    _cleanup_(planner_result_freep) struct planner_result *r = run(
        &m,
        SNAP(HOST("a") "," HOST("b") "," HOST("c"), VM("v", "a", "1024") "," VM("w", "b", "512"),
             "{\"name\":\"only-bc\",\"type\":\"run-on\",\"vms\":[\"v\"],\"hosts\":[\"b\",\"c\"]},"
             "{\"name\":\"not-c\",\"type\":\"not-on\",\"vms\":[\"v\"],\"hosts\":[\"c\"]},"
             "{\"name\":\"apart\",\"type\":\"anti-affinity\",\"vms\":[\"v\",\"w\"]},"
             "{\"name\":\"beside-the-point\",\"type\":\"not-on\",\"vms\":[\"w\"],"
             "\"hosts\":[\"c\"]}"),
        PLANNER_DRAIN, 0);
    const struct planner_refusal *x = find(r, "RULES_CONFLICT");
    assert_non_null(strstr(x->why.message, "not-c"));
    assert_non_null(strstr(x->why.message, "apart"));
    assert_null(strstr(x->why.message, "only-bc"));
}

/* The rules alone decide: b is bound to h1 as a is, and they must be apart. */
static void finds_conflicts_through_other_vms(void **state)
{
    (void)state;

    static const struct {
        const char *rules, *wanted[4];
    } cases[] = {
        {"{\"name\":\"apart\",\"type\":\"anti-affinity\",\"vms\":[\"v\",\"w\"]},"
         "{\"name\":\"with\",\"type\":\"affinity\",\"vms\":[\"v\",\"w\"]}",
         {"apart", "with"}},
        {"{\"name\":\"apart\",\"type\":\"anti-affinity\",\"vms\":[\"v\",\"w\"]},"
         "{\"name\":\"on1\",\"type\":\"run-on\",\"vms\":[\"v\"],\"hosts\":[\"a\"]},"
         "{\"name\":\"on2\",\"type\":\"run-on\",\"vms\":[\"w\"],\"hosts\":[\"a\"]},"
         "{\"name\":\"not-c\",\"type\":\"not-on\",\"vms\":[\"w\"],\"hosts\":[\"c\"]}",
         {"apart", "on1", "on2"}},
        {"{\"name\":\"on\",\"type\":\"run-on\",\"vms\":[\"v\"],\"hosts\":[\"b\"]},"
         "{\"name\":\"stay\",\"type\":\"keep\",\"vms\":[\"v\"]}",
         {"on", "stay"}},
        {"{\"name\":\"four\",\"type\":\"spread\",\"vms\":[\"v\",\"w\",\"x\"],\"minimum\":3},"
         "{\"name\":\"not-c\",\"type\":\"not-on\",\"vms\":[\"v\",\"w\",\"x\"],\"hosts\":[\"c\"]}",
         {"four", "not-c"}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char snapshot[4096];
        snprintf(snapshot, sizeof snapshot,
                 SNAP(HOST("a") "," HOST("b") "," HOST("c"),
                      VM("v", "a", "1024") "," VM("w", "a", "512") "," VM("x", "a", "512"), "%s"),
                 cases[i].rules);
        _cleanup_(model_freep) struct model *m = NULL;
        _cleanup_(planner_result_freep) struct planner_result *r =
            run(&m, snapshot, PLANNER_ENFORCE, 0);
        const struct planner_refusal *x = find(r, "RULES_CONFLICT");
        int n = 0;
        for (; cases[i].wanted[n] != NULL; n++) {
            assert_true(n < x->n_rules);
            assert_string_equal(m->rules[x->rules[n]].name, cases[i].wanted[n]);
        }
        assert_int_equal(x->n_rules, n);
    }
}

static void one_that_cannot_move_does_not_stop_the_rest(void **state)
{
    (void)state;
    _cleanup_(model_freep) struct model *m = NULL;
    _cleanup_(planner_result_freep) struct planner_result *r =
        run(&m,
            SNAP(HOST("a") "," HOST("b"), VM("v", "a", "1024") "," VM("w", "a", "512"),
                 "{\"name\":\"stay\",\"type\":\"keep\",\"vms\":[\"v\"]}"),
            PLANNER_DRAIN, 0);
    assert_int_equal(r->n_actions, 1);
    assert_string_equal(find(r, "RULE_KEEP")->why.subject, "stay");
}

static struct planner_result *run_limited(struct model **ret_m, const char *snapshot,
                                          struct planner_problem p)
{
    struct planner_result *r = NULL;
    struct err err;
    assert_ok(model_parse(snapshot, strlen(snapshot), ret_m, &err), &err);
    p.model = *ret_m;
    p.now = p.model->taken_at;
    p.n_plus = QUANTITY_UNKNOWN;
    assert_ok(planner_run(&p, &r, &err), &err);
    return r;
}

#define THREE HOST("a") "," HOST("b") "," HOST("c")
#define SIX                                                                                        \
    VM("a1", "a", "512")                                                                           \
    "," VM("b1", "b", "512") "," VM("b2", "b", "512") "," VM("c1", "c", "512") "," VM(             \
        "c2", "c", "512") "," VM("c3", "c", "512")

/* A host is emptied whole or not at all. */
static void no_mode_makes_more_moves_than_allowed(void **state)
{
    (void)state;
    static const int consolidated[] = {3, 1, 1, 3}; /* without a bound; by at most 1, 2, 3 moves */
    for (int most = 0; most <= 3; most++) {
        _cleanup_(model_freep) struct model *m = NULL;
        _cleanup_(planner_result_freep) struct planner_result *r =
            run_limited(&m, SNAP(THREE, SIX, ""),
                        (struct planner_problem){.mode = PLANNER_CONSOLIDATE, .max_moves = most});
        assert_int_equal(r->n_actions, consolidated[most]);
    }

    static const enum planner_mode modes[] = {PLANNER_DRAIN, PLANNER_ENFORCE, PLANNER_RELIEVE};

    const int source = 2;
    const int64_t load[] = {0, 0, 0, 1000, 3000, 2000}, relief[] = {0, 0, 5500};
    const int64_t room[] = {10000, 10000, 10000};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        for (int most = 0; most <= 2; most++) {
            _cleanup_(model_freep) struct model *m = NULL;
            bool relieve = modes[i] == PLANNER_RELIEVE;
            _cleanup_(planner_result_freep) struct planner_result *r =
                run_limited(&m,
                            SNAP(THREE, SIX,
                                 "{\"name\":\"not-c\",\"type\":\"not-on\",\"vms\":[\"c1\","
                                 "\"c2\",\"c3\"],\"hosts\":[\"c\"]}"),
                            (struct planner_problem){.mode = modes[i],
                                                     .sources = &source,
                                                     .n_sources = modes[i] != PLANNER_ENFORCE,
                                                     .vm_load = relieve ? load : NULL,
                                                     .host_relief = relieve ? relief : NULL,
                                                     .host_room = relieve ? room : NULL,
                                                     .max_moves = most});
            assert_int_equal(r->n_actions, most == 0 ? 3 : most);
            if (most > 0)
                find(r, "LIMIT");
            if (relieve && most == 1)
                assert_string_equal(vm_label(&m->vms[r->actions[0].vm]), "c2");
        }
}

static void every_code_is_documented(void **state)
{
    (void)state;
    FILE *f = fopen(SKEIN_SOURCE_DIR "/docs/refusals.md", "r");
    assert_non_null(f);
    static char text[1 << 16];
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    for (int c = 1; c < FIT_COUNT; c++) {
        char quoted[80];
        snprintf(quoted, sizeof quoted, "`%s`", fit_code_name((enum fit_code)c));
        if (strstr(text, quoted) == NULL)
            fail_msg("docs/refusals.md lacks %s", quoted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_the_missing_amount),
        cmocka_unit_test(names_the_smallest_conflict),
        cmocka_unit_test(finds_conflicts_through_other_vms),
        cmocka_unit_test(one_that_cannot_move_does_not_stop_the_rest),
        cmocka_unit_test(no_mode_makes_more_moves_than_allowed),
        cmocka_unit_test(every_code_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
