/* The checker of invariants: a sound move passes, and each way to break a rule is named. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "proto/util.h"
#include "tests/lib/facts_json.h"

/* Two hosts, one VM, a plan of one action that anna approved; all kinds of facts are complete. */
static const char *const before =
    "{\"fact\":\"complete\",\"kinds\":\"vote permit confirmed journal audit started ended "
    "reported\"}"
    "{\"fact\":\"limits\",\"total\":1,\"until\":15000,\"timeout\":60000,\"slack\":1000}"
    "{\"fact\":\"host\",\"host\":\"hv1\",\"memory_mib\":4000,\"vcpus\":4,\"voter\":true}"
    "{\"fact\":\"host\",\"host\":\"hv2\",\"memory_mib\":4000,\"vcpus\":4,\"voter\":true}"
    "{\"fact\":\"host\",\"host\":\"hv3\",\"memory_mib\":4000,\"vcpus\":4,\"voter\":true}"
    "{\"fact\":\"vm\",\"vm\":\"a\",\"memory_mib\":3000,\"vcpus\":2}"
    "{\"fact\":\"domain\",\"at\":1000,\"host\":\"hv1\",\"vm\":\"a\",\"what\":\"running\","
    "\"persistent\":true}"
    "{\"fact\":\"plan\",\"plan\":\"p\",\"what\":\"safety\",\"person\":\"planner\"}"
    "{\"fact\":\"action\",\"plan\":\"p\",\"action\":\"1\",\"vm\":\"a\",\"from\":\"hv1\",\"to\":"
    "\"hv2\",\"step\":0}";

#define VOTE                                                                                       \
    "{\"fact\":\"vote\",\"plan\":\"p\",\"person\":\"anna\",\"what\":\"approve\",\"until\":900000}"
#define PERMIT                                                                                     \
    "{\"fact\":\"permit\",\"at\":2000,\"permit\":\"t\",\"plan\":\"p\",\"action\":\"1\",\"term\":"  \
    "3,\"attempt\":1}"
#define CONFIRMED                                                                                  \
    "{\"fact\":\"confirmed\",\"permit\":\"t\",\"plan\":\"p\",\"action\":\"1\",\"host\":\"hv1\","   \
    "\"from\":\"hv3\",\"term\":3}"
#define RESERVED                                                                                   \
    "{\"fact\":\"journal\",\"host\":\"hv2\",\"plan\":\"p\",\"action\":\"1\",\"what\":"             \
    "\"RESERVED\",\"destination\":true,\"until\":60000}"
#define RECORDED                                                                                   \
    "{\"fact\":\"journal\",\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"1\",\"what\":\"STARTED\"}" \
    "{\"fact\":\"audit\",\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"1\",\"what\":"               \
    "\"move.started\"}"
#define STARTED                                                                                    \
    "{\"fact\":\"started\",\"at\":3000,\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"1\",\"vm\":"   \
    "\"a\",\"to\":\"hv2\",\"permit\":\"t\"}"
#define DOMAIN(host, state)                                                                        \
    "{\"fact\":\"domain\",\"host\":\"" host "\",\"vm\":\"a\",\"what\":\"" state                    \
    "\",\"persistent\":true}"
#define JOB_ENDED "{\"fact\":\"job-ended\",\"vm\":\"a\"}"
#define MOVED                                                                                      \
    DOMAIN("hv2", "incoming")                                                                      \
    DOMAIN("hv1", "paused") DOMAIN("hv2", "running") DOMAIN("hv1", "absent") JOB_ENDED
#define ENDED(what)                                                                                \
    "{\"fact\":\"ended\",\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"1\",\"what\":\"" what "\"}"
#define REPORTED(what)                                                                             \
    "{\"fact\":\"reported\",\"plan\":\"p\",\"action\":\"1\",\"what\":\"" what "\"}"
#define RELEASED                                                                                   \
    "{\"fact\":\"journal\",\"host\":\"hv2\",\"plan\":\"p\",\"action\":\"1\",\"what\":\"absent\","  \
    "\"destination\":true}"
#define SETTLED "{\"fact\":\"settled\",\"at\":99000}"
#define FURTHER(kind, rest)                                                                        \
    "{\"fact\":\"" kind                                                                            \
    "\",\"at\":20000,\"permit\":\"u\",\"plan\":\"p\",\"action\":\"1\",\"term\":"                   \
    "3," rest "}"
#define FURTHER_CONFIRMED FURTHER("confirmed", "\"host\":\"hv1\",\"from\":\"hv3\"")
#define ORDER(kind, what, rest) "{\"fact\":\"" kind "\",\"what\":\"" what "\",\"" rest "\"}"
#define LATE_STARTED                                                                               \
    "{\"fact\":\"started\",\"at\":30000,\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"1\",\"vm\":"  \
    "\"a\",\"to\":\"hv2\",\"permit\":\"t\"}"
#define READY VOTE PERMIT CONFIRMED RESERVED RECORDED

static int feed(const char *facts, struct err *err)
{
    char text[16384];
    size_t n;
    snprintf(text, sizeof text, "%s\n%s", before, facts);
    struct invariants *inv = invariants_new();
    int rc = facts_feed(inv, text, strlen(text), &n, err);
    invariants_free(inv);
    return rc;
}

static void a_sound_move_breaks_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    assert_ok(
        feed(READY STARTED MOVED ENDED("succeeded") REPORTED("succeeded") RELEASED SETTLED, &err),
        &err);
}

static void a_further_attempt_breaks_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    assert_ok(feed(READY STARTED JOB_ENDED ENDED("failed") REPORTED("returned")
                       RELEASED FURTHER("permit", "\"attempt\":2")
                           FURTHER_CONFIRMED RESERVED RECORDED FURTHER(
                               "started", "\"host\":\"hv1\",\"vm\":\"a\",\"to\":\"hv2\"")
                               MOVED ENDED("succeeded") REPORTED("succeeded") RELEASED SETTLED,
                   &err),
              &err);
}

static void each_way_to_break_a_rule_is_named(void **state)
{
    (void)state;

    static const struct {
        const char *facts, *says;
    } cases[] = {
        {DOMAIN("hv2", "running"), "invariant 1"},
        {DOMAIN("hv1", "absent"), "invariant 2"},
        {READY STARTED MOVED DOMAIN("hv2", "stopped") SETTLED, "invariant 2"},
        {READY STARTED "{\"fact\":\"tidied\",\"host\":\"hv1\",\"vm\":\"a\"}", "invariant 2"},
        {READY STARTED ENDED("failed"), "invariant 3"},
        {READY STARTED MOVED ENDED("failed"), "invariant 3"},
        {READY STARTED JOB_ENDED ENDED("succeeded"), "invariant 3"},
        {READY STARTED JOB_ENDED REPORTED("succeeded"), "invariant 3"},
        {"{\"fact\":\"broken\",\"vm\":\"a\"}" DOMAIN("hv3", "running"), NULL},
        {DOMAIN("hv3", "stopped") DOMAIN("hv1", "stopped") DOMAIN("hv3", "running"), "invariant 4"},
        {PERMIT, "invariant 5"},
        {READY "{\"fact\":\"started\",\"at\":3000,\"host\":\"hv1\",\"plan\":\"p\",\"action\":"
               "\"1\",\"vm\":\"a\",\"to\":\"hv3\",\"permit\":\"t\"}",
         "invariant 5"},
        {READY "{\"fact\":\"check\",\"at\":30000}" STARTED, "invariant 5"},
        {VOTE PERMIT CONFIRMED RESERVED STARTED, "invariant 6"},
        {READY STARTED STARTED, "invariant 6"},
        {READY STARTED JOB_ENDED ENDED("failed") REPORTED("returned") STARTED, "invariant 6"},
        {READY STARTED REPORTED("returned"), "invariant 3"},
        {READY REPORTED("cancelled") STARTED, "invariant 6"},
        {"{\"fact\":\"command\",\"digest\":\"d\"}{\"fact\":\"command\",\"digest\":\"d\"}",
         "invariant 6"},
        {"{\"fact\":\"vm\",\"vm\":\"b\",\"memory_mib\":1500,\"vcpus\":1}"
         "{\"fact\":\"domain\",\"at\":1500,\"host\":\"hv2\",\"vm\":\"b\",\"what\":\"running\"}"
         "{\"fact\":\"admitted\",\"host\":\"hv2\",\"plan\":\"p\",\"action\":\"1\",\"until\":1600}",
         "invariant 7"},
        {VOTE PERMIT CONFIRMED RECORDED STARTED, "invariant 8"},
        {READY STARTED RELEASED, "invariant 8"},
        {READY STARTED SETTLED, "invariant 9"},
        {VOTE PERMIT SETTLED, "invariant 9"},
        {READY STARTED "{\"fact\":\"cancel-known\",\"at\":4000,\"host\":\"hv1\",\"plan\":\"p\"}"
                       "{\"fact\":\"check\",\"at\":40000}",
         "invariant 9"},
        {VOTE PERMIT RESERVED RECORDED STARTED, "invariant 10"},
        {"{\"fact\":\"leader\",\"host\":\"hv1\",\"term\":3}"
         "{\"fact\":\"leader\",\"host\":\"hv2\",\"term\":3}",
         "invariant 10"},
        {VOTE PERMIT "{\"fact\":\"confirmed\",\"permit\":\"t\",\"plan\":\"p\",\"action\":\"1\","
                     "\"host\":\"hv1\",\"from\":\"hv3\",\"term\":4}",
         "invariant 10"},
        {READY "{\"fact\":\"cancel-known\",\"at\":2100,\"host\":\"hv1\",\"plan\":\"p\"}" STARTED,
         "invariant 13"},
        {VOTE ORDER("forbidden", "freeze", "vm\":\"a") PERMIT, "invariant 13"},
        {VOTE ORDER("forbidden", "cordon", "host\":\"hv2") PERMIT, "invariant 13"},
        {VOTE ORDER("forbidden", "drain", "host\":\"hv2") PERMIT, "invariant 13"},
        {VOTE "{\"fact\":\"forbidden\",\"at\":1500,\"what\":\"hold\",\"vm\":\"a\"}" PERMIT,
         "invariant 13"},
        {READY ORDER("forbidden", "freeze", "vm\":\"a") LATE_STARTED, "invariant 13"},
        {"{\"fact\":\"plan\",\"plan\":\"q\",\"what\":\"drain\"}"
         "{\"fact\":\"action\",\"plan\":\"q\",\"action\":\"1\",\"vm\":\"a\",\"from\":\"hv1\","
         "\"to\":"
         "\"hv2\"}{\"fact\":\"permit\",\"permit\":\"t\",\"plan\":\"q\",\"action\":\"1\"}",
         "drained no more"},
        {"{\"fact\":\"planning\",\"host\":\"hv1\",\"seen\":1}", "invariant 14"},
        {"{\"fact\":\"dead\",\"host\":\"hv1\",\"to\":\"hv2\"}", "invariant 14"},
        {"{\"fact\":\"image\",\"host\":\"hv1\",\"index\":4,\"digest\":\"x\"}"
         "{\"fact\":\"image\",\"host\":\"hv2\",\"index\":4,\"digest\":\"y\"}",
         "invariant 15"},
        {READY STARTED "{\"fact\":\"aborted\",\"at\":3500,\"host\":\"hv1\",\"vm\":\"a\"}",
         "invariant 17"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        int rc = feed(cases[i].facts, &err);
        if (cases[i].says == NULL ? rc < 0 : rc >= 0 || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: \"%s\" instead of \"%s\"", i, rc < 0 ? err.msg : "nothing",
                     cases[i].says != NULL ? cases[i].says : "nothing");
    }
}

static void what_is_allowed_again_breaks_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    assert_ok(feed(VOTE ORDER("forbidden", "freeze", "vm\":\"a") ORDER("forbidden", "cordon",
                                                                       "host\":\"hv2")
                       ORDER("forbidden", "hold", "vm\":\"a") ORDER("allowed", "freeze", "vm\":\"a")
                           ORDER("allowed", "cordon", "host\":\"hv2")
                               ORDER("allowed", "hold", "vm\":\"a") PERMIT,
                   &err),
              &err);
    /* a hold that is older than a plan of class safety */
    assert_ok(
        feed(ORDER("forbidden", "hold",
                   "vm\":\"a") "{\"fact\":\"plan\",\"at\":1900,\"plan\":\"q\",\"what\":\"safety\"}"
                               "{\"fact\":\"action\",\"plan\":\"q\",\"action\":\"1\",\"vm\":\"a\","
                               "\"from\":"
                               "\"hv1\",\"to\":\"hv2\"}{\"fact\":\"vote\",\"plan\":\"q\","
                               "\"person\":\"anna\","
                               "\"what\":\"approve\"}"
                               "{\"fact\":\"permit\",\"permit\":\"t\",\"plan\":\"q\",\"action\":"
                               "\"1\"}",
             &err),
        &err);
    assert_ok(feed("{\"fact\":\"planning\",\"host\":\"hv1\",\"seen\":2}", &err), &err);
}

static void limits_are_counted(void **state)
{
    (void)state;
    struct err err = {0};
    assert_err(feed(READY STARTED
                    "{\"fact\":\"domain\",\"host\":\"hv3\",\"vm\":\"b\",\"what\":\"running\"}"
                    "{\"fact\":\"action\",\"plan\":\"p\",\"action\":\"2\",\"vm\":\"b\",\"from\":"
                    "\"hv3\",\"to\":\"hv1\",\"step\":0}"
                    "{\"fact\":\"journal\",\"host\":\"hv3\",\"plan\":\"p\",\"action\":\"2\","
                    "\"what\":\"STARTED\"}"
                    "{\"fact\":\"audit\",\"host\":\"hv3\",\"plan\":\"p\",\"action\":\"2\","
                    "\"what\":\"move.started\"}"
                    "{\"fact\":\"journal\",\"host\":\"hv1\",\"plan\":\"p\",\"action\":\"2\","
                    "\"what\":\"RESERVED\",\"destination\":true,\"until\":60000}"
                    "{\"fact\":\"started\",\"at\":3100,\"host\":\"hv3\",\"plan\":\"p\",\"action\":"
                    "\"2\",\"vm\":\"b\",\"to\":\"hv1\",\"permit\":\"u\"}",
                    &err),
               &err, ERR_CONFLICT, "invariant 12");
}

static void what_is_not_said_is_not_demanded(void **state)
{
    (void)state;
    struct err err = {0};
    size_t n;
    const char *text = "[{\"fact\":\"domain\",\"host\":\"hv1\",\"vm\":\"a\",\"what\":\"running\"},"
                       "{\"fact\":\"settled\"}]";
    struct invariants *inv = invariants_new();
    assert_ok(facts_feed(inv, text, strlen(text), &n, &err), &err);
    assert_int_equal(n, 2);
    invariants_free(inv);
}

static void what_is_no_fact_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    assert_err(feed("{\"fact\":\"domian\"}", &err), &err, ERR_INVALID, "did you mean \"domain\"");
    assert_err(feed("{\"fact\":\"domain\",\"hsot\":\"a\"}", &err), &err, ERR_INVALID, "\"hsot\"");
    assert_err(feed("{\"fact\":\"domain\",\"host\":\"a\"}", &err), &err, ERR_INVALID, "\"vm\"");
    assert_err(feed("{\"fact\":\"domain\"", &err), &err, ERR_INVALID, "after fact");
    assert_err(feed("{\"fact\":\"domain\",\"at\":\"now\"}", &err), &err, ERR_INVALID, "number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_move_breaks_nothing),
        cmocka_unit_test(a_further_attempt_breaks_nothing),
        cmocka_unit_test(each_way_to_break_a_rule_is_named),
        cmocka_unit_test(what_is_allowed_again_breaks_nothing),
        cmocka_unit_test(limits_are_counted),
        cmocka_unit_test(what_is_not_said_is_not_demanded),
        cmocka_unit_test(what_is_no_fact_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
