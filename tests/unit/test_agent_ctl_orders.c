/* Orders of hosts, freezes, holds and rollbacks, as the command line signs and shows them. */
#include "tests/unit/canned_agent.h"

#include "agent/ctl/duration.h"
#include "proto/token.h"

#define UUID_WEB "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f01"
#define UUID_BIG "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f02"

/* Three hosts in two racks; big1 fits nowhere but where it is. */
static const char snapshot[] =
    "{\"schema\":\"skein.snapshot/1\",\"cluster\":\"dc1\",\"taken_at\":\"2026-11-22T01:30:00Z\","
    "\"seed\":1,\"limits\":{\"total\":5,\"inflow_per_host\":1,\"outflow_per_host\":2,\"n_plus\":0},"
    "\"hosts\":["
    "{\"name\":\"hv1\",\"state\":\"up\",\"failure_domain\":\"dc1/r1\",\"arch\":\"x86_64\","
    "\"cpu\":{\"cores\":8},\"memory\":{\"total_mib\":16384}},"
    "{\"name\":\"hv2\",\"state\":\"up\",\"failure_domain\":\"dc1/r2\",\"arch\":\"x86_64\","
    "\"cpu\":{\"cores\":8},\"memory\":{\"total_mib\":8192}}],"
    "\"vms\":["
    "{\"name\":\"web1\",\"uuid\":\"" UUID_WEB "\",\"host\":\"hv1\",\"state\":\"running\","
    "\"vcpus\":1,\"memory_mib\":1024},"
    "{\"name\":\"big1\",\"uuid\":\"" UUID_BIG "\",\"host\":\"hv1\",\"state\":\"running\","
    "\"vcpus\":1,\"memory_mib\":12288}]}";

static void test_cordon_and_restore(void **unused _unused_)
{
    can_status();
    answer_with("POST", "/v1/maintenance", 200, "{\"order\":\"cordon\",\"person\":\"olga\"}");
    expect("cordon --key @olga.key --reason fan hv3 hv4", 0,
           "hv3 is cordoned, by olga\nhv4 is cordoned, by olga\n", "");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "type"), "cordon");
    assert_string_equal(text_at(command, "reason"), "fan");
    assert_string_equal(json_string_value(json_array_get(json_object_get(command, "hosts"), 1)),
                        "hv4");
    expect("restore --key @olga.key --no-return hv3", 0, "hv3 is up, by olga\n", "");
    _cleanup_json_ json_t *restored = posted_command("olga");
    assert_true(json_is_true(json_object_get(restored, "no_return")));
    expect("restore --dry-run hv3", 0, "would sign: {\"hosts\":[\"hv3\"],\"type\":\"restore\"}\n",
           "");
    expect_error("cordon hv3", 2, "--key (or SKEIN_KEY) is missing");
    expect_error("cordon --key @olga.key", 2, "an argument is missing");
    expect_error("cordon --key @olga.key --no-return hv3", 2, "unknown option");
    answer_with("POST", "/v1/maintenance", 409,
                "{\"error\":{\"code\":\"CONFLICT\",\"message\":\"hv3 is up\"}}");
    expect_error("uncordon --key @olga.key hv3", 1, "CONFLICT: hv3 is up");
}

static void test_maintenance_wants_an_empty_host(void **unused _unused_)
{
    can_status();
    answer_with("GET", "/v1/vms", 200,
                "{\"vms\":[{\"name\":\"web1\",\"host\":\"hv1\",\"state\":\"running\"},"
                "{\"name\":\"old\",\"host\":\"hv2\",\"state\":\"stopped\"}]}");
    answer_with("POST", "/v1/maintenance", 200, "{\"person\":\"olga\"}");
    expect_error("maintenance --key @olga.key hv1", 1, "CONFLICT: VM web1 runs on hv1");
    assert_null(posted);
    expect("maintenance --key @olga.key hv2", 0, "hv2 is in maintenance, by olga\n", "");
    expect("maintenance --key @olga.key --force hv1", 0, "hv1 is in maintenance, by olga\n", "");
}

static void test_drain_says_first_what_stays(void **unused _unused_)
{
    answer_with("GET", "/v1/snapshot", 200, snapshot);
    assert_int_equal(skein("drain --dry-run hv1"), 0);
    assert_says("hv1: 2 VMs\n");
    assert_says("web1  hv1 -> hv2");
    assert_says("1 can move, in about ");
    assert_says("; 1 cannot:\n  big1 on hv1: ");
    assert_null(posted);
    assert_int_equal(skein("drain --dry-run -o json hv1"), 0);
    _cleanup_json_ json_t *doc = json_loads(printed, 0, NULL);
    assert_string_equal(text_at(json_array_get(json_object_get(doc, "blocked"), 0), "vm"), "big1");
    expect_error("drain --dry-run hv9", 1, "NOT_FOUND: there is no host \"hv9\"");
    answer_with("GET", "/v1/hosts", 200,
                "{\"hosts\":[{\"name\":\"hv1\",\"failure_domain\":\"dc1/r1/u3\"},"
                "{\"name\":\"hv2\",\"failure_domain\":\"dc1/r10\"}]}");
    assert_int_equal(skein("drain --dry-run --domain dc1/r1"), 0);
    assert_says("hv1: 2 VMs\n");
    expect_error("drain --dry-run --domain dc1/r2", 1, "no host is in the failure domain");
    expect_error("drain --dry-run --domain dc1/r1 hv1", 2, "wants hosts, or --domain");
    expect_error("drain --dry-run", 2, "wants hosts, or --domain");
    expect_error("drain --dry-run --fallback kill hv1", 2, "wait, skip, shutdown or suspend");
    expect_error("drain --dry-run --concurrency 0 hv1", 2, "--concurrency \"0\"");
    expect_error("drain hv1", 2, "--key (or SKEIN_KEY) is missing");
}

#define RECORD(fallback, vms, blocked, plans)                                                      \
    "{\"hosts\":[{\"host\":\"hv1\",\"state\":\"draining\",\"person\":\"olga\",\"fallback\":"       \
    "\"" fallback "\",\"moving\":0,\"vms\":[" vms "],\"blocked\":[" blocked "],\"plans\":[" plans  \
    "]}]}"
#define BIG "{\"vm\":\"big1\",\"uuid\":\"" UUID_BIG "\"}"

static void can_drain(const char *record)
{
    can_status();
    answer_with("GET", "/v1/snapshot", 200, snapshot);
    answer_with("POST", "/v1/maintenance", 200, "{\"person\":\"olga\"}");
    answer_with("GET", "/v1/maintenance", 200, record);
}

static void test_drain_signs_and_names_the_plan(void **unused _unused_)
{
    can_drain(RECORD("wait", BIG, "", "{\"id\":\"123456789abc\",\"state\":\"PENDING_APPROVAL\"}"));
    assert_int_equal(skein("drain --key @olga.key --concurrency 2 --deadline 60 hv1"), 0);
    assert_says("plan 123456789abc waits for an approval; try: skein plan approve 123456789abc\n");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "type"), "drain");
    assert_int_equal(number_at(command, "concurrency"), 2);
    assert_int_equal(number_at(command, "deadline_seconds"), 60);
    expect_error("drain --key @olga.key --wait=x hv1", 2, "--wait \"x\"");
}

static void test_drain_ends(void **unused _unused_)
{
    can_drain(RECORD("wait", "", "", ""));
    assert_int_equal(skein("drain --key @olga.key --wait hv1"), 0);
    assert_says("drained\n");
    forget_answers();
    can_drain(RECORD("skip", BIG, BIG, "")); /* the rest may stay */
    assert_int_equal(skein("drain --key @olga.key --wait hv1"), 0);
    assert_says("1 VM left, 1 cannot move\n");
    forget_answers();
    can_drain(RECORD("wait", BIG, "", "{\"id\":\"123456789abc\",\"state\":\"PENDING_APPROVAL\"}"));
    assert_int_equal(skein("drain --key @olga.key --wait=1 hv1"), 1);
    assert_non_null(strstr(complained, "error: TIMEOUT: 1 VMs are left after 1 s"));
    forget_answers();
    can_drain("{\"hosts\":[]}");
    assert_int_equal(skein("drain --key @olga.key --wait hv1"), 1);
    assert_non_null(strstr(complained, "error: CANCELLED: the drain was taken back"));
}

static void test_freeze(void **unused _unused_)
{
    can_status();
    answer_with("POST", "/v1/freezes", 200,
                "{\"id\":\"3f2a9c1b7d10\",\"person\":\"olga\",\"until\":\"2026-11-22T02:00:00Z\"}");
    expect("freeze --key @olga.key --for 30m", 0,
           "freeze 3f2a9c1b7d10 by olga until 2026-11-22T02:00:00Z\n", "");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_int_equal(number_at(command, "seconds"), 1800);
    expect_error("freeze --key @olga.key", 2, "--for is missing");
    expect_error("freeze --key @olga.key --for 31d", 2, "from 1 second to 30 days");
    expect_error("freeze --key @olga.key --for soon", 2, "such as 90s, 30m, 2h or 7d");
    answer_with("GET", "/v1/freezes", 200,
                "{\"freezes\":[{\"id\":\"3f2a9c1b7d10\",\"person\":\"olga\",\"until\":\"then\","
                "\"reason\":\"audit\"}]}");
    assert_int_equal(skein("freeze --list"), 0);
    assert_says("3f2a9c1b7d10 olga then  audit");
    answer_with("POST", "/v1/freezes", 200, "{\"person\":\"olga\"}");
    expect("unfreeze --key @olga.key 3f2a", 0, "unfrozen by olga\n", "");
    _cleanup_json_ json_t *ended = posted_command("olga");
    assert_string_equal(text_at(ended, "freeze"), "3f2a");
}

static void test_hold(void **unused _unused_)
{
    can_status();
    answer_with("GET", "/v1/vms", 200, "{\"vms\":[{\"name\":\"web1\",\"uuid\":\"" UUID_WEB "\"}]}");
    answer_with("POST", "/v1/holds", 200, "{\"person\":\"olga\",\"until\":\"then\"}");
    expect("hold --key @olga.key --for 2h web1", 0, "web1 is held by olga until then\n", "");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "uuid"), UUID_WEB);
    assert_int_equal(number_at(command, "seconds"), 7200);
    answer_with("POST", "/v1/holds", 200, "{\"person\":\"olga\"}");
    expect("hold --key @olga.key --release web1", 0, "web1 is released by olga\n", "");
    _cleanup_json_ json_t *ended = posted_command("olga");
    assert_string_equal(text_at(ended, "type"), "release");
    expect_error("hold --key @olga.key web1", 2, "wants --for TIME or --release");
    expect_error("hold --key @olga.key --release --for 2h web1", 2, "wants --for TIME or");
    expect_error("hold --key @olga.key --for 2h web9", 1, "there is no VM \"web9\"");
}

static void test_rollback(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64], post[96];
    struct err err = {0};
    can_status();
    json_t *body = json_pack("{s:s, s:s, s:s, s:[{s:[{s:s, s:s, s:s, s:s, s:s, s:s}]}]}", "class",
                             "drain", "reason", "x", "snapshot_digest",
                             "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                             "steps", "actions", "id", "s1-1", "type", "migrate", "vm", "web1",
                             "uuid", UUID_WEB, "from", "hv3", "to", "hv7");
    assert_ok(plan_body_digest(body, digest, &err), &err);
    _cleanup_json_ json_t *doc = json_pack(
        "{s:s%, s:s, s:O, s:s, s:[{s:s, s:s}]}", "id", digest, (size_t)12, "digest", digest, "body",
        body, "state", "CANCELLED", "results", "action", "s1-1", "state", "SUCCEEDED");
    json_decref(body);
    snprintf(path, sizeof path, "/v1/plans/%.12s", digest);
    snprintf(post, sizeof post, "/v1/plans/%.12s/rollback", digest);
    _cleanup_(freep) char *text = json_dumps(doc, 0);
    answer_with("GET", path, 200, text);
    answer_with("POST", post, 200, "{\"plan\":\"aaaabbbbcccc\",\"state\":\"APPROVED\"}");
    _cleanup_(freep) char *dry = xasprintf("plan rollback --dry-run %.12s", digest),
                          *line = xasprintf("plan rollback --yes --key @olga.key %.12s", digest);
    expect(dry, 0, "  web1  back to hv3\n", "");
    assert_null(posted);
    expect(line, 0, "  web1  back to hv3\naaaabbbbcccc\n", "");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "digest"), digest);
    const json_t *move = json_array_get(json_object_get(command, "moves"), 0);
    assert_string_equal(text_at(move, "to"), "hv3");
    json_object_set_new(doc, "state", json_string("ONGOING"));
    _cleanup_(freep) char *runs = json_dumps(doc, 0);
    answer_with("GET", path, 200, runs);
    expect_error(line, 1, "is ONGOING; try: skein plan cancel");
}

static void test_durations(void **unused _unused_)
{
    static const struct {
        const char *text;
        int64_t seconds; /* 0: refused */
    } table[] = {{"90", 90},
                 {"90s", 90},
                 {"30m", 1800},
                 {"2h", 7200},
                 {"7d", 604800},
                 {"8d", 0},
                 {"0", 0},
                 {"-1", 0},
                 {"", 0},
                 {"m", 0},
                 {"1w", 0},
                 {"1h2", 0},
                 {"99999999999999999999", 0}};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct err err = {0};
        int64_t seconds = 0;
        int rc = duration_parse("--for", table[i].text, 604800, &seconds, &err);
        assert_int_equal(rc == 0, table[i].seconds != 0);
        assert_int_equal(seconds, table[i].seconds);
    }
}

static void test_rules(void **unused _unused_)
{
    can_status();
    answer_with("GET", "/v1/vms", 200,
                "{\"vms\":[{\"name\":\"web1\",\"uuid\":\"" UUID_WEB "\"},"
                "{\"name\":\"big1\",\"uuid\":\"" UUID_BIG "\"}]}");
    answer_with("POST", "/v1/rules", 200, "{\"order\":\"rule-add\",\"person\":\"olga\"}");
    expect(
        "rule add --key @olga.key --type anti-affinity --vms web1,big1 --should --weight 3 apart",
        0, "", "");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "type"), "rule-add");
    const json_t *rule = json_object_get(command, "rule");
    assert_string_equal(text_at(rule, "name"), "apart");
    assert_string_equal(text_at(rule, "enforcement"), "should");
    assert_int_equal(number_at(rule, "weight"), 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(rule, "vms"), 1)),
                        UUID_BIG);
    expect("rule add --dry-run --type run-on --select role=web --hosts hv1,hv2 near", 0,
           "would sign: {\"rule\":{\"enforcement\":\"must\",\"hosts\":[\"hv1\",\"hv2\"],"
           "\"name\":\"near\",\"select\":{\"role\":\"web\"},\"type\":\"run-on\"},"
           "\"type\":\"rule-add\"}\n",
           "");
    expect_error("rule add --key @olga.key --type keep --vms web9 x", 1, "there is no VM \"web9\"");
    expect_error("rule add --key @olga.key --type keep --select role x", 1, "is not KEY=VALUE");
    expect_error("rule add --key @olga.key --type keep x", 2, "wants --vms or --select");
    expect_error("rule add --key @olga.key --vms web1 x", 2, "--type is missing");
    expect("rule remove --key @olga.key apart", 0, "", "");
    _cleanup_json_ json_t *removed = posted_command("olga");
    assert_string_equal(text_at(removed, "rule"), "apart");
    answer_with("GET", "/v1/rules", 200,
                "{\"rules\":[{\"name\":\"apart\",\"person\":\"olga\",\"since\":"
                "\"2026-11-22T01:30:00Z\",\"vms\":[\"web1\",null],\"rule\":{\"type\":"
                "\"run-on\",\"vms\":[\"" UUID_WEB "\",\"" UUID_BIG "\"],\"hosts\":[\"hv1\"]}}]}");
    assert_int_equal(skein("rule list"), 0);
    assert_says("web1, " UUID_BIG " : hv1");
}

static void test_tokens(void **unused _unused_)
{
    struct token token;
    struct err err = {0};
    char root[HASH_HEX_SIZE], proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    _cleanup_(freep) char *pem = pki_crt_pem(world.machines.crt);
    _cleanup_(freep) char *people = pki_crt_pem(world.people.crt);
    write_text(&world, "root.pem", pem);
    write_text(&world, "people.pem", people);
    can_status();
    answer_with("POST", "/v1/tokens", 200, "{\"order\":\"token-create\",\"token\":\"0123\"}");
    assert_int_equal(
        skein("token create --key @olga.key --root @root.pem --host hv9 --role agent --replace "
              "--dns hv9,hv9.lab --ip 10.0.0.9 --lifetime 60 -o json"),
        0);
    _cleanup_json_ json_t *said = json_loads(printed, 0, NULL);
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_ok(token_parse(text_at(said, "token"), &token, &err), &err);
    assert_ok(spki_digest(world.machines.crt, root, &err), &err);
    assert_string_equal(token.cluster, world.cluster.name);
    assert_string_equal(token.machines, root);
    assert_ok(spki_digest(world.people.crt, root, &err), &err);
    assert_string_equal(token.people, root);
    assert_true(token_proof(token.secret, proof) && token_hash(proof, hash));
    assert_string_equal(text_at(command, "hash"), hash);
    assert_string_equal(text_at(command, "host"), "hv9");
    assert_string_equal(text_at(command, "role"), "agent");
    assert_true(json_is_true(json_object_get(command, "replace")));
    assert_int_equal(json_array_size(json_object_get(command, "dns")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(command, "addresses"), 0)),
                        "10.0.0.9");
    expect_error("token create --key @olga.key --root @root.pem", 2, "--host is missing");
    expect_error("token create --key @olga.key --root @none.pem --host hv9", 1, "--root");
    expect_error("token create --host hv9 --root @root.pem", 2, "--key (or SKEIN_KEY) is missing");
    answer_with("POST", "/v1/tokens", 200, "{\"order\":\"token-revoke\"}");
    expect("token revoke --key @olga.key 0123456789ab", 0, "", "");
    _cleanup_json_ json_t *back = posted_command("olga");
    assert_string_equal(text_at(back, "token"), "0123456789ab");
    answer_with("GET", "/v1/tokens", 200,
                "{\"tokens\":[{\"id\":\"0123456789ab\",\"host\":\"hv9\",\"role\":\"agent\","
                "\"status\":\"open\",\"until\":\"2026-11-22T01:30:00Z\","
                "\"created\":{\"person\":\"olga\"}}]}");
    assert_int_equal(skein("token list"), 0);
    assert_says("0123456789ab");
}

#define TEST(f) cmocka_unit_test_teardown(f, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cordon_and_restore),
        TEST(test_maintenance_wants_an_empty_host),
        TEST(test_drain_says_first_what_stays),
        TEST(test_drain_signs_and_names_the_plan),
        TEST(test_drain_ends),
        TEST(test_freeze),
        TEST(test_hold),
        TEST(test_rollback),
        TEST(test_rules),
        TEST(test_tokens),
        TEST(test_durations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
