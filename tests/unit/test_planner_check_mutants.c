/* The checker against plans that are almost right: each change that breaks a contract is refused
 * with a code that names what. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/check/check.h"
#include "proto/canon.h"
#include "proto/util.h"

#define SNAPSHOT                                                                                   \
    "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"t\",\"taken_at\":\"2026-11-22T01:30:00Z\","    \
    "\"seed\":1,\"hosts\":["                                                                       \
    "{\"name\":\"h1\",\"state\":\"up\",\"failure_domain\":\"dc/r1\",\"cpu\":{\"cores\":8,"         \
    "\"model\":\"EPYC-Rome\"},\"memory\":{\"total_mib\":8192},\"networks\":[\"br0\"],"             \
    "\"qemu\":\"7.2.1\",\"storage\":[{\"name\":\"local\",\"shared\":false,\"free_mib\":500}]},"    \
    "{\"name\":\"h2\",\"state\":\"up\",\"failure_domain\":\"dc/r2\",\"cpu\":{\"cores\":8,"         \
    "\"model\":\"EPYC-Rome\"},\"memory\":{\"total_mib\":8192},\"networks\":[\"br0\"],"             \
    "\"qemu\":\"7.2.1\",\"hugepages\":[{\"size_kib\":2048,\"total\":512,\"free\":512}],"           \
    "\"storage\":[{\"name\":\"local\",\"shared\":false,\"free_mib\":500}]},"                       \
    "{\"name\":\"h3\",\"state\":\"up\",\"failure_domain\":\"dc/r3\",\"cpu\":{\"cores\":8,"         \
    "\"model\":\"EPYC-Rome\"},\"memory\":{\"total_mib\":8192},\"networks\":[\"br0\"],"             \
    "\"qemu\":\"7.2.1\",\"power\":{\"standby_allowed\":true}},"                                    \
    "{\"name\":\"h4\",\"state\":\"standby\",\"cpu\":{\"cores\":8},\"memory\":{\"total_mib\":8192}" \
    ","                                                                                            \
    "\"networks\":[\"br0\"],\"qemu\":\"7.2.1\"}],\"vms\":["                                        \
    "{\"name\":\"a\",\"uuid\":\"ua\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":2,"           \
    "\"memory_mib\":2048,\"networks\":[\"br0\"]},"                                                 \
    "{\"name\":\"b\",\"uuid\":\"ub\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":2,"           \
    "\"memory_mib\":2048},"                                                                        \
    "{\"name\":\"c\",\"uuid\":\"uc\",\"host\":\"h2\",\"state\":\"running\",\"vcpus\":2,"           \
    "\"memory_mib\":2048}],"                                                                       \
    "\"rules\":[{\"name\":\"apart\",\"type\":\"anti-affinity\",\"vms\":[\"a\",\"c\"]}],"           \
    "\"limits\":{\"total\":2,\"inflow_per_host\":1,\"outflow_per_host\":2,\"n_plus\":0}}"

/* b to h2, and at the same time a to h3; then c to h1; h2 has b, h3 has a. */
#define ACTION(id, vm, from, to)                                                                   \
    "{\"id\":\"" id "\",\"type\":\"migrate\",\"vm\":\"" vm "\",\"uuid\":\"u" vm                    \
    "\",\"from\":\"" from "\",\"to\":\"" to                                                        \
    "\",\"parameters\":{\"mode\":\"precopy\"},\"estimate\":{\"ms\":1}}"
#define BODY                                                                                       \
    "{\"class\":\"optimise\",\"policy\":{\"name\":\"p\",\"digest\":\"d\"},\"steps\":["             \
    "{\"actions\":[" ACTION("s1-1", "a", "h1", "h3") "," ACTION(                                   \
        "s1-2", "b", "h1", "h2") "]},"                                                             \
                                 "{\"actions\":[" ACTION("s2-1", "c", "h2",                        \
                                                         "h1") "]}],\"refused\":[]}"

static json_t *parse(const char *text)
{
    struct err err;
    json_t *doc = NULL;
    assert_ok(canon_parse(text, strlen(text), "test", &doc, &err), &err);
    return doc;
}

/* What the checker says of body on snapshot, the plan's digests made right. */
static struct check_report *judge(json_t *snapshot, json_t *body)
{
    struct err err;
    char digest[HASH_HEX_SIZE];
    char *s = NULL, *p = NULL;
    size_t s_len, p_len;
    struct check_report *report = NULL;
    assert_ok(canon_dump(snapshot, &s, &s_len, &err), &err);
    json_t *doc = json_pack("{s:s, s:O}", "schema", "skein.plan/1", "body", body);
    assert_ok(canon_digest("skein.plan/1", body, digest, &err), &err);
    json_object_set_new(doc, "digest", json_string(digest));
    json_object_set_new(doc, "id", json_stringn(digest, 12));
    assert_ok(canon_dump(doc, &p, &p_len, &err), &err);
    assert_ok(plan_check(s, s_len, p, p_len, NULL, &report, &err), &err);
    json_decref(doc);
    free(s);
    free(p);
    return report;
}

static bool has_code(const struct check_report *r, const char *code)
{
    for (int i = 0; i < r->n_findings; i++)
        if (strcmp(r->findings[i].code, code) == 0)
            return true;
    return false;
}

/* A path of keys and numbers into a document: "steps.0.actions.1.to". */
static json_t *parent_of(json_t *at, const char *path, char key[64])
{
    for (;;) {
        size_t n = strcspn(path, ".");
        snprintf(key, 64, "%.*s", (int)n, path);
        if (path[n] == '\0')
            return at;
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
        assert_non_null(at);
        path += n + 1;
    }
}

/* value NULL: removed. */
static void set(json_t *doc, const char *path, const char *value)
{
    char key[64];
    json_t *at = parent_of(doc, path, key);
    json_t *v = value == NULL ? NULL : json_loads(value, JSON_DECODE_ANY, NULL);
    if (json_is_array(at) && v == NULL)
        json_array_remove(at, (size_t)atoi(key));
    else if (json_is_array(at) && (size_t)atoi(key) == json_array_size(at))
        json_array_append_new(at, v);
    else if (json_is_array(at))
        json_array_set_new(at, (size_t)atoi(key), v);
    else if (v == NULL)
        json_object_del(at, key);
    else
        json_object_set_new(at, key, v);
}

/* The snapshot's digest goes into the body. */
static void bind(json_t *snapshot, json_t *body)
{
    static const char *const sorted[] = {"hosts", "vms", "rules"};
    struct err err;
    char digest[HASH_HEX_SIZE];
    _cleanup_json_ json_t *copy = json_deep_copy(snapshot);
    for (size_t k = 0; k < ARRAY_SIZE(sorted); k++) {
        json_t *list = json_object_get(copy, sorted[k]);
        for (size_t i = 1; i < json_array_size(list); i++) /* by their canonical bytes */
            for (size_t j = i; j > 0; j--) {
                char *a = NULL, *b = NULL;
                assert_ok(canon_dump(json_array_get(list, j - 1), &a, NULL, &err), &err);
                assert_ok(canon_dump(json_array_get(list, j), &b, NULL, &err), &err);
                if (strcmp(a, b) > 0) {
                    json_t *x = json_incref(json_array_get(list, j));
                    json_array_set(list, j, json_array_get(list, j - 1));
                    json_array_set_new(list, j - 1, x);
                }
                free(a);
                free(b);
            }
    }
    assert_ok(canon_digest("skein.snapshot/1", copy, digest, &err), &err);
    json_object_set_new(body, "snapshot_digest", json_string(digest));
}

struct mutant {
    const char *where, *value; /* in the body; or "S:..." in the snapshot */
    const char *code;          /* NULL: still safe */
};

static const struct mutant mutants[] = {
    {"reason", "\"another reason\"", NULL},
    {"S:vms.0.cpu_used_cores", "1.5", NULL},
    /* places */
    {"steps.0.actions.0.from", "\"h2\"", "PLACE"},
    {"steps.0.actions.0.from", "\"h9\"", "PLACE"},
    {"steps.0.actions.0.to", "\"h9\"", "PLACE"},
    {"steps.0.actions.0.to", "\"h1\"", "PLACE"},
    {"steps.0.actions.0.vm", "\"z\"", NULL}, /* the uuid decides */
    {"steps.0.actions.0.uuid", "\"uz\"", "PLACE"},
    {"steps.0.actions.1.uuid", "\"ua\"", "PLACE"},
    {"steps.0.actions.0.type", "\"teleport\"", "TYPE"},
    {"steps.0.actions.0.type", "\"start\"", "PLACE"},
    /* order and rules */
    {"steps.0", NULL, "RULE"},                  /* c would come to a */
    {"steps.0.actions.0.to", "\"h2\"", "RULE"}, /* both ends: c is there */
    {"S:rules.0.vms", "[\"a\",\"b\",\"c\"]", "RULE"},
    {"S:rules.1", "{\"name\":\"k\",\"type\":\"keep\",\"vms\":[\"b\"]}", "RULE"},
    {"S:rules.1", "{\"name\":\"n\",\"type\":\"not-on\",\"vms\":[\"b\"],\"hosts\":[\"h2\"]}",
     "RULE"},
    {"S:rules.1", "{\"name\":\"o\",\"type\":\"run-on\",\"vms\":[\"b\"],\"hosts\":[\"h1\"]}",
     "RULE"},
    {"S:rules.1", "{\"name\":\"t\",\"type\":\"affinity\",\"vms\":[\"a\",\"b\"]}", "RULE"},
    {"S:rules.1", "{\"name\":\"d\",\"type\":\"depends-on\",\"vms\":[\"a\",\"b\"]}", "RULE"},
    {"S:rules.1", "{\"name\":\"e\",\"type\":\"exclusive\",\"vms\":[\"c\"]}", "RULE"},
    {"S:rules.1", "{\"name\":\"s\",\"type\":\"spread\",\"vms\":[\"b\",\"c\"],\"minimum\":2}",
     "RULE"},
    {"S:rules.1", "{\"name\":\"w\",\"type\":\"keep\",\"vms\":[\"b\"],\"enforcement\":\"should\"}",
     NULL},
    /* limits */
    {"S:limits.total", "1", "LIMIT"},
    {"S:limits.outflow_per_host", "1", "LIMIT"},
    {"S:limits.inflow_per_host", "0", "LIMIT"},
    {"S:limits.n_plus", "3", "N_PLUS"}, /* two are occupied, later three */
    {"S:limits.n_plus", "1", NULL},
    /* capacity, during and after */
    {"S:hosts.2.memory.total_mib", "2047", "CAPACITY"},
    {"S:hosts.2.memory.reserved_mib", "6145", "CAPACITY"},
    {"S:hosts.2.memory.total_mib", "2048", NULL},
    {"S:hosts.2.cpu.cores", "1", "CAPACITY"},
    {"S:hosts.1.memory.total_mib", "5119", "CAPACITY"}, /* pools, c and b; c leaves only later */
    {"S:hosts.1.memory.total_mib", "5120", NULL},
    {"S:vms.1.hugepages_kib", "2048", "CAPACITY"}, /* 1024 pages of 512 */
    {"S:reservations", "[{\"host\":\"h3\",\"memory_mib\":7000,\"vcpus\":1}]", "CAPACITY"},
    {"S:in_flight", "[{\"vm\":\"b\",\"to\":\"h3\"}]", "MOVABLE"},
    /* what must be known, and fit */
    {"S:hosts.2.memory.total_mib", "null", "COMPATIBILITY"},
    {"S:hosts.2.cpu.cores", "null", "COMPATIBILITY"},
    {"S:hosts.2.cpu.cores", "0", "COMPATIBILITY"},
    {"S:hosts.2.memory.used_mib", "9000", "COMPATIBILITY"},
    {"S:hosts.2.state", "\"cordoned\"", "COMPATIBILITY"},
    {"S:hosts.2.state", "null", "COMPATIBILITY"},
    {"S:hosts.2.networks", "null", "COMPATIBILITY"},
    {"S:hosts.2.networks", "[]", "COMPATIBILITY"},
    {"S:hosts.2.qemu", "\"7.1.9\"", "COMPATIBILITY"},
    {"S:hosts.2.qemu", "null", "COMPATIBILITY"},
    {"S:hosts.2.qemu", "\"10.0.0\"", NULL},
    {"S:vms.0.cpu_model", "\"EPYC-Milan\"", "COMPATIBILITY"},
    {"S:vms.0.cpu_model", "\"EPYC\"", NULL},
    {"S:vms.0.cpu_model", "\"host-passthrough\"", NULL},
    {"S:vms.0.cpu_features", "[\"avx2\"]", "COMPATIBILITY"},
    {"S:vms.0.machine", "\"pc-q35-7.2\"", "COMPATIBILITY"},
    {"S:vms.0.storage", "[\"ceph\"]", "COMPATIBILITY"},
    {"S:vms.0.numa", "1", "COMPATIBILITY"},
    {"S:vms.1.local_disk_mib", "100", "COMPATIBILITY"}, /* not copied */
    {"S:vms.0.devices", "[\"vfio\"]", "MOVABLE"},
    {"S:vms.0.devices", "[{\"type\":\"usb\",\"migratable\":true}]", NULL},
    {"S:vms.0.blockers", "[\"snapshot\"]", "MOVABLE"},
    {"S:vms.0.state", "\"paused\"", "MOVABLE"},
    {"S:vms.0.memory_mib", "null", "MOVABLE"},
    {"S:vms.0.vcpus", "null", "MOVABLE"},
    {"S:vms.0.hold_until", "\"2026-11-22T01:30:01Z\"", "MOVABLE"},
    {"S:vms.0.hold_until", "\"2026-11-22T01:30:00Z\"", NULL},
    {"S:hosts.0.state", "\"offline\"", "MOVABLE"},
    /* ids, steps, power */
    {"steps.0.actions.1.id", "\"s1-1\"", "ID"},
    {"steps.0.actions.1.id", "\"\"", "ID"},
    {"steps.2", "{\"actions\":[]}", "ORDER"},
    {"steps", "null", "SCHEMA"},
    {"steps.2", "{\"actions\":[{\"id\":\"x\",\"type\":\"wake\",\"host\":\"h4\"}]}", NULL},
    {"steps.2", "{\"actions\":[{\"id\":\"x\",\"type\":\"wake\",\"host\":\"h3\"}]}", "ORDER"},
    {"steps.2", "{\"actions\":[{\"id\":\"x\",\"type\":\"standby\",\"host\":\"h3\"}]}", "ORDER"},
    {"steps.2", "{\"actions\":[{\"id\":\"x\",\"type\":\"standby\",\"host\":\"h9\"}]}", "PLACE"},
    {"steps.1.actions.1", "{\"id\":\"x\",\"type\":\"standby\",\"host\":\"h1\"}", "ORDER"},
    {"steps.0.actions.2", "{\"id\":\"x\",\"type\":\"standby\",\"host\":\"h1\"}", "ORDER"},
};

static void each_mutant_is_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(mutants); i++) {
        const struct mutant *m = &mutants[i];
        _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
        bool of_snapshot = strncmp(m->where, "S:", 2) == 0;
        set(of_snapshot ? snapshot : body, m->where + (of_snapshot ? 2 : 0), m->value);
        bind(snapshot, body);
        _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
        if (m->code == NULL ? !r->ok : !has_code(r, m->code))
            fail_msg("%s = %s: %s wanted, %d findings, first %s: %s", m->where,
                     m->value != NULL ? m->value : "(removed)", m->code != NULL ? m->code : "ok",
                     r->n_findings, r->n_findings > 0 ? r->findings[0].code : "-",
                     r->n_findings > 0 ? r->findings[0].message : "-");
    }
}

/* Swap steps; drop each action: what later ones rely on is missed. */
static void order_matters(void **state)
{
    (void)state;
    _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
    json_t *steps = json_object_get(body, "steps");
    json_t *first = json_incref(json_array_get(steps, 0));
    json_array_remove(steps, 0);
    json_array_append_new(steps, first);
    bind(snapshot, body);
    _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
    assert_false(r->ok);
    assert_int_equal(r->findings[0].step, 0);
}

/* A hold binds class optimise, and neither drain, user nor safety; keep binds all. */
static void classes_go_over_holds_only(void **state)
{
    (void)state;
    static const char *const classes[] = {"drain", "user", "safety"};
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
        set(snapshot, "vms.0.hold_until", "\"2026-11-23T00:00:00Z\"");
        json_object_set_new(body, "class", json_string(classes[i]));
        bind(snapshot, body);
        _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
        assert_true(r->ok);
        set(snapshot, "rules.1", "{\"name\":\"k\",\"type\":\"keep\",\"vms\":[\"a\"]}");
        bind(snapshot, body);
        _cleanup_(check_report_freep) struct check_report *kept = judge(snapshot, body);
        assert_true(has_code(kept, "RULE"));
    }
}

/* c cannot leave h2, which drains: what the drain orders of it is done, and nothing else. */
static void only_a_drain_stops_vms(void **state)
{
    (void)state;

    static const struct {
        const char *class, *state, *fallback, *vm, *host, *code;
    } cases[] = {{"drain", "draining", "shutdown", "c", "h2", NULL},
                 {"optimise", "draining", "shutdown", "c", "h2", "ORDER"},
                 {"drain", "up", "shutdown", "c", "h2", "ORDER"},
                 {"drain", "draining", "suspend", "c", "h2", "ORDER"},
                 {"drain", "draining", "wait", "c", "h2", "ORDER"},
                 {"drain", "draining", "shutdown", "c", "h3", "PLACE"},
                 {"drain", "draining", "shutdown", "z", "h2", "PLACE"}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
        _cleanup_(freep) char *step = xasprintf(
            "[{\"actions\":[{\"id\":\"x\",\"type\":\"shutdown\",\"vm\":\"%s\",\"uuid\":\"u%s\","
            "\"from\":\"%s\",\"to\":\"%s\"}]}]",
            cases[i].vm, cases[i].vm, cases[i].host, cases[i].host);
        json_t *host = json_array_get(json_object_get(snapshot, "hosts"), 1);
        json_object_set_new(host, "state", json_string(cases[i].state));
        json_object_set_new(host, "drain_fallback", json_string(cases[i].fallback));
        json_object_set_new(body, "class", json_string(cases[i].class));
        set(body, "steps", step);
        bind(snapshot, body);
        _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
        assert_int_equal(r->ok, cases[i].code == NULL);
        if (cases[i].code != NULL)
            assert_true(has_code(r, cases[i].code));
    }
}

static void disks_are_copied_where_there_is_room(void **state)
{
    (void)state;

    const struct {
        const char *mib;
        bool ok;
    } cases[] = {{"500", true}, {"501", false}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
        set(snapshot, "vms.1.local_disk_mib", cases[i].mib);
        set(body, "steps.0.actions.1.parameters.copy_storage", "\"all\"");
        bind(snapshot, body);
        _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
        assert_int_equal(r->ok, cases[i].ok);
        assert_int_equal(has_code(r, "CAPACITY"), !cases[i].ok);
    }
}

/* A must-affinity group between the same hosts counts as one. */
static void a_group_counts_as_one(void **state)
{
    (void)state;
    _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
    set(body, "steps.1", NULL);
    set(body, "steps.0.actions.1.to", "\"h3\"");
    bind(snapshot, body);
    _cleanup_(check_report_freep) struct check_report *two = judge(snapshot, body);
    assert_true(has_code(two, "LIMIT"));
    set(snapshot, "rules.1", "{\"name\":\"t\",\"type\":\"affinity\",\"vms\":[\"a\",\"b\"]}");
    bind(snapshot, body);
    _cleanup_(check_report_freep) struct check_report *one = judge(snapshot, body);
    assert_true(one->ok);
}

static void a_loss_that_was_survivable_must_stay_so(void **state)
{
    (void)state;
    _cleanup_json_ json_t *snapshot = parse(SNAPSHOT), *body = parse(BODY);
    set(snapshot, "limits.n_plus", "1");
    set(snapshot, "hosts.0.state", "\"cordoned\"");
    set(body, "steps.1", NULL);
    set(snapshot, "hosts.1.memory.total_mib", "6144"); /* with its pools: room for two */
    set(snapshot, "hosts.2.memory.total_mib", "2048");
    bind(snapshot, body);
    _cleanup_(check_report_freep) struct check_report *r = judge(snapshot, body);
    assert_true(has_code(r, "N_PLUS"));
}

static void digests_bind(void **state)
{
    (void)state;
    struct err err;
    static const char plan[] =
        "{\"schema\":\"skein.plan/1\",\"id\":\"0000\",\"digest\":\"00\",\"body\":" BODY "}";
    struct check_report *r = NULL;
    struct check_options options = {.now = QUANTITY_UNKNOWN, .policy_digest = "another"};
    assert_ok(plan_check(SNAPSHOT, strlen(SNAPSHOT), plan, strlen(plan), &options, &r, &err), &err);
    int n = 0;
    for (int i = 0; i < r->n_findings; i++)
        n += strcmp(r->findings[i].code, "DIGEST") == 0;
    assert_int_equal(n, 4); /* the digest, the id, the snapshot's, the policy's */
    check_report_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mutant_is_told_apart),
        cmocka_unit_test(order_matters),
        cmocka_unit_test(classes_go_over_holds_only),
        cmocka_unit_test(only_a_drain_stops_vms),
        cmocka_unit_test(disks_are_copied_where_there_is_room),
        cmocka_unit_test(a_group_counts_as_one),
        cmocka_unit_test(a_loss_that_was_survivable_must_stay_so),
        cmocka_unit_test(digests_bind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
