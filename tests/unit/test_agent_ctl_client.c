/* skein against a canned agent: a real HTTP server on a real socket, in a thread of its own. What
 * is printed is compared whole, so that a change of it is seen. */
#include "tests/unit/canned_agent.h"

/* ---- documents ---- */

#define UUID_WEB "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f01"

static json_t *body_json(const char *reason)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:{s:s}, s:s,"
        " s:[{s:[{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:b, s:s}, s:{s:i, s:i, s:i}}]}],"
        " s:[{s:s, s:s, s:s, s:s, s:{s:s}}],"
        " s:{s:i, s:[{s:s, s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i}}]}}",
        "class", "safety", "reason", reason, "policy", "name", "thermal_relief", "snapshot_digest",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "steps", "actions",
        "id", "s1-1", "type", "migrate", "vm", "web1", "uuid", UUID_WEB, "from", "hv3", "to", "hv7",
        "reason", "hot inlet", "parameters", "tls", 1, "mode", "precopy", "estimate", "ms", 14000,
        "downtime_ms", 60, "mib", 8192, "refused", "vm", "db1", "host", "hv7", "code", "MEMORY",
        "message", "db1 needs 8192 MiB, hv7 has 2048 MiB", "relax", "text", "free 6144 MiB on hv7",
        "predicted", "makespan_ms", 14000, "hosts", "host", "hv3", "before", "vms", 4, "memory_mib",
        32768, "vcpus", 16, "after", "vms", 3, "memory_mib", 24576, "vcpus", 12);
    assert_non_null(body);
    return body;
}

/* skein.plan/1 with its life; the digest in ret. */
static json_t *plan_json(json_t *body, const char *state, char ret[HASH_HEX_SIZE])
{
    struct err err = {0};
    char id[PLAN_ID_SIZE];
    assert_ok(plan_body_digest(body, ret, &err), &err);
    plan_id(ret, id);
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:n, s:s, s:s, s:s, s:[], s:[], s:{s:i, s:i}}",
                     "schema", "skein.plan/1", "id", id, "digest", ret, "body", body, "state",
                     state, "state_reason", "author", "planner", "made_at", "2026-11-22T01:30:00Z",
                     "expires_at", "2026-11-22T02:30:00Z", "approvals", "results", "gate",
                     "approvals", 0, "needed", 1);
}

/* The plan under its id in the canned agent; takes doc. */
static void can_plan(json_t *doc, const char *digest, char path[64])
{
    snprintf(path, 64, "/v1/plans/%.12s", digest);
    _cleanup_(freep) char *text = json_dumps(doc, 0);
    json_decref(doc);
    answer_with("GET", path, 200, text);
}

/* ---- reading ---- */

static void test_status(void **unused _unused_)
{
    answer_with("GET", "/v1/status", 200,
                "{\"cluster\":\"dc1\",\"host\":\"hv1\",\"planner\":{\"host\":\"hv2\",\"term\":4},"
                "\"voters\":[{\"host\":\"hv1\",\"up\":true},{\"host\":\"hv2\",\"up\":true},"
                "{\"host\":\"hv3\",\"up\":false}],\"hosts\":{\"up\":3},\"vms\":12,"
                "\"plans\":{\"PENDING_APPROVAL\":1},\"health\":[{\"code\":\"SKEIN_VOTER_DOWN\","
                "\"severity\":\"warning\",\"message\":\"hv1 does not reach voter hv3\"}],"
                "\"in_flight\":[{\"plan\":\"abcdef012345\",\"vm\":\"web1\",\"from\":\"hv3\","
                "\"to\":\"hv7\",\"state\":\"RUNNING\",\"percent\":62,\"eta_ms\":8000}],"
                "\"waiting\":[{\"id\":\"123456789abc\",\"actions\":1,\"reason\":\"hv1 is hot\"}],"
                "\"idle_reason\":\"plan 123456789abc waits for an approval\",\"last_plan\":null}");
    expect("status", 0,
           "cluster  dc1, seen from hv1;  health WARNING\n"
           "planner  hv2 (term 4);  voters 2 of 3 up: hv1 hv2 hv3(down)\n"
           "hosts    3 up;  VMs 12\n"
           "plans    1 PENDING_APPROVAL\n"
           "  warning  SKEIN_VOTER_DOWN: hv1 does not reach voter hv3\n"
           "moving\n"
           "  web1  hv3 -> hv7  RUNNING  62 %  ~8 s  (plan abcdef012345)\n"
           "waiting for an approval\n"
           "  123456789abc  1 move: hv1 is hot; try: skein plan approve 123456789abc\n"
           "idle: plan 123456789abc waits for an approval\n",
           "");
    assert_int_equal(skein("status -o json"), 0);
    _cleanup_json_ json_t *doc = json_loads(printed, 0, NULL);
    assert_string_equal(text_at(doc, "planner.host"), "hv2");
}

/* However bad it is, a screen holds it. */
static void test_status_stays_short(void **unused _unused_)
{
    _cleanup_json_ json_t *doc = json_pack(
        "{s:s, s:s, s:n, s:[], s:{s:i}, s:i, s:s, s:{s:s, s:s}}", "cluster", "dc1", "host", "hv1",
        "planner", "voters", "hosts", "offline", 900, "vms", 12000, "idle_reason",
        "no planner is elected", "last_plan", "id", "abc", "state", "FAILED");
    static const char *const lists[] = {"health", "in_flight", "waiting"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        json_t *list = json_array();
        for (int k = 0; k < 100; k++)
            json_array_append_new(
                list, json_pack("{s:s, s:s}", "code", "SKEIN_HOST_SILENT", "severity", "error"));
        json_object_set_new(doc, lists[i], list);
    }
    _cleanup_(freep) char *text = json_dumps(doc, 0);
    answer_with("GET", "/v1/status", 200, text);
    assert_int_equal(skein("status"), 0);
    size_t lines = 0;
    for (const char *p = printed; *p != '\0'; p++)
        lines += *p == '\n';
    assert_true(lines <= 24);
    assert_says("health ERROR");
    assert_says("and 95 more");
}

static void test_hosts(void **unused _unused_)
{
    answer_with("GET", "/v1/hosts", 200,
                "{\"hosts\":[{\"name\":\"hv2\",\"state\":\"up\",\"planner\":true,\"vms\":3,"
                "\"in_flight\":1,\"cpu\":{\"cores\":16,\"used_cores\":3.25},"
                "\"memory\":{\"total_mib\":65536,\"used_mib\":1536},"
                "\"temperature\":{\"inlet_celsius\":24.5,\"cpu_celsius\":71},\"age_seconds\":1},"
                "{\"name\":\"hv1\",\"state\":\"offline\",\"age_seconds\":null}]}");
    expect("hosts", 0,
           "HOST  STATE   VMS MOVES      CPU           MEMORY INLET C CPU C   AGE\n"
           "hv1   offline   -     -    - / -            - / -       -     - never\n"
           "hv2 * up        3     1 3.3 / 16 1.5 GiB / 64 GiB    24.5    71   1 s\n",
           "");
    expect("hosts -o name", 0, "hv1\nhv2\n", "");
    assert_int_equal(skein("hosts -o wide"), 0);
    assert_says("LIBVIRT");
}

static void test_vms(void **unused _unused_)
{
    answer_with("GET", "/v1/vms", 200,
                "{\"partial\":true,\"vms\":[{\"name\":\"web1\",\"host\":\"hv1\","
                "\"state\":\"running\",\"vcpus\":4,\"memory_mib\":8192,\"moves_24h\":2}]}");
    expect("vms", 0,
           "VM   HOST STATE   VCPUS CPU MEMORY DIRTY MIB/S MOVES 24H HELD UNTIL\n"
           "web1 hv1  running     4   -  8 GiB           -         2 \n",
           "warning: the planner does not answer: only what this host knows\n");
}

static void test_plan_list(void **unused _unused_)
{
    answer_with("GET", "/v1/plans", 200,
                "{\"total\":1,\"plans\":[{\"id\":\"123456789abc\",\"state\":\"SUCCEEDED\","
                "\"class\":\"safety\",\"actions\":2,\"made_at\":null,\"reason\":\"hv1 is hot\"}]}");
    answer_with("GET", "/v1/plans?limit=3", 200, "{\"plans\":[]}");
    expect("plan list", 0,
           "PLAN         STATE     CLASS  MOVES MADE REASON\n"
           "123456789abc SUCCEEDED safety     2 -    hv1 is hot\n",
           "");
    expect("plan list --limit 3", 0, "", "there are no plans; try: skein status\n");
    expect_error("plan list --limit 0", 2, "--limit");
}

static void test_plan_show(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_plan(plan_json(body_json("hv3: inlet 41 C"), "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *line = xasprintf("plan show %.12s", digest);
    _cleanup_(freep) char *want =
        xasprintf("plan %.12s  PENDING_APPROVAL  (safety, thermal_relief)\n"
                  "why: hv3: inlet 41 C\n"
                  "made 2026-11-22T01:30:00Z by planner; expires 2026-11-22T02:30:00Z\n"
                  "step 1\n"
                  "  web1  hv3 -> hv7  8 GiB  ~14 s  pause ~60 ms  (hot inlet)\n"
                  "\n"
                  "HOST VMS    MEMORY           VCPUS    CPU USED\n"
                  "hv3  4 -> 3 32 GiB -> 24 GiB 16 -> 12 -\n"
                  "\n"
                  "not moved\n"
                  "  db1  -> hv7  MEMORY  db1 needs 8192 MiB, hv7 has 2048 MiB (possible if: free "
                  "6144 MiB on "
                  "hv7)\n"
                  "\n"
                  "approvals: 0 of 1\n"
                  "\n"
                  "1 move in 1 step, 8 GiB, ~14 s; 1 not moved\n"
                  "digest %s\n",
                  digest, digest);
    expect(line, 0, want, "");
}

/* In any locale: tables measure characters, not bytes. */
static void test_characters_of_several_bytes(void **unused _unused_)
{
    answer_with("GET", "/v1/plans", 200,
                "{\"plans\":[{\"id\":\"1\",\"reason\":\"71.5 \u00b0C \u2265 70 \u00b0C\"}]}");
    assert_int_equal(skein("plan list"), 0);
    assert_says("71.5 \xc2\xb0"
                "C \xe2\x89\xa5 70");
}

static void test_plan_explain(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_plan(plan_json(body_json("hot"), "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *line = xasprintf("plan explain --vm db1 %.12s", digest);
    _cleanup_(freep) char *want = xasprintf(
        "plan %.12s: hot\n"
        "\n"
        "not moved\n"
        "  db1  -> hv7  MEMORY  db1 needs 8192 MiB, hv7 has 2048 MiB (possible if: free 6144 "
        "MiB on hv7)\n",
        digest);
    expect(line, 0, want, "");
    _cleanup_(freep) char *other = xasprintf("plan explain --vm mail1 %.12s", digest);
    assert_int_equal(skein(other), 0);
    assert_says("nothing was refused for mail1");
}

/* Text from elsewhere does not reach the terminal as commands. */
static void test_text_is_tidied(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_plan(plan_json(body_json("\x1b[2Jhot\xc2\x9b"), "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *line = xasprintf("plan show %.12s", digest);
    assert_int_equal(skein(line), 0);
    assert_says("why: ?[2Jhot?\n");
    char text[] = "a\x1b\x7f\xc2\x85\xe2\x80\xae\xe2\x81\xa6\xc3\xa9";
    assert_true(text_tidy(text));
    assert_string_equal(text, "a?????\xc3\xa9");
    assert_false(text_tidy(text));
}

static void test_unencrypted_moves_are_shown(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    json_t *body = body_json("hot");
    json_t *action =
        json_array_get(json_at(json_array_get(json_object_get(body, "steps"), 0), "actions"), 0);
    json_object_set_new(json_object_get(action, "parameters"), "tls", json_false());
    can_plan(plan_json(body, "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *line = xasprintf("plan show %.12s", digest);
    assert_int_equal(skein(line), 0);
    assert_says("NOT ENCRYPTED (hot inlet)");
}

static void test_follow(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    json_t *doc = plan_json(body_json("hot"), "SUCCEEDED", digest);
    json_object_set_new(doc, "results",
                        json_pack("[{s:s, s:s, s:i, s:i}]", "action", "s1-1", "state", "SUCCEEDED",
                                  "duration_ms", 12400, "downtime_ms", 48));
    can_plan(doc, digest, path);
    _cleanup_(freep) char *line = xasprintf("plan show -f %.12s", digest);
    _cleanup_(freep) char *end = xasprintf("\nweb1  hv3 -> hv7  SUCCEEDED  12 s  pause 48 ms\n"
                                           "plan %.12s  SUCCEEDED\n",
                                           digest);
    assert_int_equal(skein(line), 0);
    assert_says(end);
}

static void test_report(void **unused _unused_)
{
    answer_with(
        "GET", "/v1/report", 200,
        "{\"id\":\"123456789abc\",\"state\":\"SUCCEEDED\",\"why\":\"hv1 is hot\","
        "\"class\":\"safety\",\"policy\":\"thermal_relief\",\"made_at\":\"2026-11-22T01:30:00Z\","
        "\"author\":\"planner\",\"approvals\":[{\"person\":\"anna\",\"role\":\"approver\","
        "\"verdict\":\"approve\",\"at\":\"2026-11-22T01:31:00Z\"}],"
        "\"started_at\":\"2026-11-22T01:31:01Z\",\"ended_at\":\"2026-11-22T01:31:13Z\","
        "\"moves\":[{\"vm\":\"web1\",\"from\":\"hv3\",\"to\":\"hv7\",\"state\":\"SUCCEEDED\","
        "\"duration_ms\":12000,\"downtime_ms\":48,\"transferred_mib\":8300,"
        "\"predicted\":{\"duration_ms\":14000,\"downtime_ms\":60,\"transferred_mib\":8192}}],"
        "\"totals\":{\"actions\":1,\"succeeded\":1,\"duration_ms\":12000,\"downtime_max_ms\":48,"
        "\"transferred_mib\":8300,\"predicted\":{\"duration_ms\":14000}}}");
    expect("report", 0,
           "plan 123456789abc  SUCCEEDED\n"
           "why   hv1 is hot\n"
           "what  class safety, policy thermal_relief, made 2026-11-22T01:30:00Z by planner\n"
           "who   approve by anna (approver) at 2026-11-22T01:31:00Z\n"
           "when  2026-11-22T01:31:01Z to 2026-11-22T01:31:13Z\n"
           "\n"
           "VM   FROM TO  STATE            TOOK         PAUSE          COPIED REMARK\n"
           "web1 hv3  hv7 SUCCEEDED 12 s (14 s) 48 ms (60 ms) 8.1 GiB (8 GiB) \n"
           "\n"
           "1 of 1 moved; took 12 s (14 s), longest pause 48 ms, copied 8.1 GiB\n",
           "");
}

static void test_month(void **unused _unused_)
{
    answer_with("GET", "/v1/plans", 200,
                "{\"plans\":[{\"id\":\"123456789abc\",\"made_at\":\"2026-11-22T01:30:00Z\"},"
                "{\"id\":\"223456789abc\",\"made_at\":\"2026-11-23T01:30:00Z\"},"
                "{\"id\":\"323456789abc\",\"made_at\":\"2026-10-22T01:30:00Z\"}]}");
    answer_with("GET", "/v1/plans/123456789abc/report", 200,
                "{\"state\":\"SUCCEEDED\",\"class\":\"safety\",\"moves\":[{\"state\":\"SUCCEEDED\","
                "\"duration_ms\":10000,\"downtime_ms\":50,\"transferred_mib\":1024,"
                "\"predicted\":{\"duration_ms\":12000}},{\"state\":\"SUCCEEDED\","
                "\"duration_ms\":20000,\"downtime_ms\":90,\"transferred_mib\":1024,"
                "\"predicted\":{\"duration_ms\":10000}}]}");
    answer_with("GET", "/v1/plans/223456789abc/report", 200,
                "{\"state\":\"FAILED\",\"class\":\"drain\",\"moves\":[{\"state\":\"FAILED\","
                "\"failure\":{\"kind\":\"connection\"}},{\"state\":\"CANCELLED\"}]}");
    expect("report --month 2026-11", 0,
           "month     2026-11: 2 plans, 4 moves\n"
           "plans     SUCCEEDED 1 FAILED 1\n"
           "classes   safety 1 drain 1\n"
           "moves     SUCCEEDED 2 FAILED 1 CANCELLED 1\n"
           "failures  connection 1\n"
           "success   66 %\n"
           "took      10 s, longest 20 s\n"
           "pause     50 ms, longest 90 ms\n"
           "copied    2 GiB\n"
           "predicted 20 % off\n",
           "");
    assert_int_equal(skein("report --month 2026-13"), 2);
    assert_int_equal(skein("report --month 2026-11 123456789abc"), 2);
}

static void assert_file_has(const char *directory, const char *name, const char *text)
{
    char bytes[8192] = "";
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        fail_msg("%s is not there", path);
    size_t n = fread(bytes, 1, sizeof bytes - 1, f);
    fclose(f);
    bytes[n] = '\0';
    if (strstr(bytes, text) == NULL)
        fail_msg("%s has no \"%s\": %s", path, text, bytes);
}

static void test_support_bundle(void **unused _unused_)
{
    char directory[] = "/tmp/skein-bundle-XXXXXX";
    assert_non_null(mkdtemp(directory));
    _cleanup_(freep) char *line = xasprintf("support-bundle --to %s 123456789abc", directory);
    answer_with("GET", "/v1/status", 200, "{\"host\":\"hv1\"}");
    assert_int_equal(skein(line), 1); /* no such plan: nothing is written */
    answer_with("GET", "/v1/plans/123456789abc", 200, "{\"id\":\"123456789abc\"}");
    answer_with("GET", "/v1/snapshots/00ff", 200, "{\"schema\":\"skein.snapshot/1\"}");
    answer_with(
        "GET", "/v1/plans/123456789abc/report", 200,
        "{\"id\":\"123456789abc\",\"state\":\"FAILED\",\"snapshot_digest\":\"00ff\","
        "\"why\":\"hv1 is hot\",\"moves\":[{\"vm\":\"web1\",\"from\":\"hv3\",\"to\":\"hv7\","
        "\"state\":\"FAILED\",\"code\":\"TIMEOUT\",\"message\":\"too long\","
        "\"evidence\":\"hv3: running; hv7: absent\","
        "\"failure\":{\"kind\":\"timeout\",\"cause\":\"a busy guest\",\"remedy\":\"wait\"}}]}");
    answer_with("GET", "/v1/audit?limit=1000", 200,
                "{\"entries\":[{\"seq\":1,\"record\":{\"plan\":\"123456789abc\",\"event\":\"a\"}},"
                "{\"seq\":2,\"record\":{\"plan\":\"other\",\"event\":\"b\"}}]}");
    assert_int_equal(skein(line), 0); /* what is not canned is missing, and said */
    assert_file_has(directory, "plan.json", "123456789abc");
    assert_file_has(directory, "report.json", "\"too long\"");
    assert_file_has(directory, "report.html", "web1");
    assert_file_has(directory, "snapshot.json", "skein.snapshot/1");
    assert_file_has(directory, "hv1-status.json", "hv1");
    assert_file_has(directory, "hv1-audit.json", "\"seq\": 1");
    assert_file_has(directory, "post-mortem.md", "seen: hv3: running; hv7: absent");
    assert_file_has(directory, "post-mortem.md", "usual cause: a busy guest");
    assert_file_has(directory, "post-mortem.md", "What was the cause?");
    _cleanup_(freep) char *remove_all = xasprintf("rm -r %s", directory);
    assert_int_equal(system(remove_all), 0);
}

static void test_audit(void **unused _unused_)
{
    answer_with("GET", "/v1/audit/verify", 200,
                "{\"intact\":true,\"entries\":12,\"root\":\"00ff\"}");
    expect("audit verify", 0, "intact: 12 records, root 00ff\n", "");
    answer_with("GET", "/v1/audit/verify", 200,
                "{\"intact\":false,\"entries\":7,\"root\":\"00ff\",\"broken_seq\":8,"
                "\"message\":\"the record was changed\"}");
    expect_error("audit verify", 1, "broken at record 8: the record was changed");
    answer_with("GET", "/v1/audit?limit=100", 200,
                "{\"entries\":[{\"seq\":3,\"at\":\"2026-11-22T01:30:00Z\",\"record\":{\"at\":\"x\","
                "\"event\":\"plan.made\",\"plan\":\"123456789abc\",\"host\":\"hv1\","
                "\"policy\":\"thermal_relief\"}}]}");
    expect("audit list", 0,
           "SEQ AT                   EVENT     PLAN         DETAILS\n"
           "  3 2026-11-22T01:30:00Z plan.made 123456789abc policy=thermal_relief\n",
           "");
    answer_with("GET", "/v1/audit/export", 200, "{\"checkpoint\":{\"body\":{\"size\":2}}}");
    answer_with("GET", "/v1/audit?from=1&limit=500", 200,
                "{\"entries\":[{\"seq\":1,\"text\":\"a\"},{\"seq\":2,\"text\":\"b\"},"
                "{\"seq\":3,\"text\":\"later than the checkpoint\"}]}");
    expect("audit export", 0, "{\"checkpoint\":{\"body\":{\"size\":2}}}\na\nb\n", "");
    answer_with("GET", "/v1/audit/export", 200, "{\"checkpoint\":{\"body\":{\"size\":4}}}");
    answer_with("GET", "/v1/audit?from=4&limit=500", 200, "{\"entries\":[]}");
    assert_int_equal(skein("audit export"), 1);
    assert_non_null(strstr(complained, "the agent has no record 4"));
    answer_with("GET", "/v1/audit/proof?seq=3", 200, "{\"seq\":3}");
    expect("audit prove 3", 0, "{\"seq\":3}\n", "");
    answer_with(
        "GET", "/v1/audit?from=1&limit=500", 200,
        "{\"entries\":[{\"seq\":1,\"record\":{\"plan\":\"abcdef012345\",\"action\":\"a1\"}},"
        "{\"seq\":3,\"record\":{\"plan\":\"abcdef012345\",\"action\":\"a2\"}}]}");
    expect("audit prove --plan abcdef --action a2", 0, "{\"seq\":3}\n", "");
    expect_error("audit prove --plan abcdef --action a3", 1, "no record about it");
    expect_error("audit prove", 2, "one of SEQ, --plan and --from");
    expect_error("audit verify --cosigned 1", 2, "want exported files");
}

static void test_events(void **unused _unused_)
{
    answer_with(
        "GET", "/v1/events/recent?limit=20", 200,
        "{\"events\":[{\"host\":\"hv2\",\"seq\":7,\"record\":{\"at\":"
        "\"2026-11-22T01:30:00Z\",\"event\":\"move.started\",\"plan\":\"abcdef012345\"}}]}");
    expect("events", 0,
           "2026-11-22T01:30:00Z     hv2          move.started         plan=abcdef012345\n", "");
    expect("events -o json", 0,
           "{\"host\":\"hv2\",\"record\":{\"at\":\"2026-11-22T01:30:00Z\",\"event\":"
           "\"move.started\",\"plan\":\"abcdef012345\"},\"seq\":7}\n",
           "");
    expect_error("events --limit 501", 2, "from 1 to 500");
}

/* ---- signing ---- */

static void test_approve(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_status();
    can_plan(plan_json(body_json("hot"), "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *to = xasprintf("%s/approvals", path);
    _cleanup_(freep) char *answer =
        xasprintf("{\"plan\":\"%.12s\",\"state\":\"APPROVED\",\"person\":\"anna\"}", digest);
    answer_with("POST", to, 200, answer);
    _cleanup_(freep) char *line =
        xasprintf("plan approve %.12s --yes --key @anna.key --reason urgent", digest);
    assert_int_equal(skein(line), 0);
    assert_says("web1  hv3 -> hv7  8 GiB  ~14 s  pause ~60 ms");
    assert_says("tls true"); /* all that is signed is shown */
    assert_says("approved by anna: plan ");
    _cleanup_json_ json_t *command = posted_command("anna");
    assert_string_equal(text_at(command, "type"), "approve");
    assert_string_equal(text_at(command, "digest"), digest);
    assert_memory_equal(text_at(command, "plan"), digest, 12);
    assert_string_equal(text_at(command, "reason"), "urgent");
    assert_true(json_is_false(json_object_get(command, "rollback")));
}

static void test_approve_with_passphrase_and_wait(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_status();
    can_plan(plan_json(body_json("hot"), "FAILED", digest), digest, path);
    _cleanup_(freep) char *to = xasprintf("%s/approvals", path);
    answer_with("POST", to, 200, "{\"plan\":\"x\",\"state\":\"APPROVED\",\"person\":\"paul\"}");
    write_text(&world, "phrase", PERSONS_PASSPHRASE "\n");
    write_text(&world, "wrong", "incorrect horse\n");
    _cleanup_(freep) char *good = xasprintf("plan approve %.12s --yes --wait=5 --key @paul.key "
                                            "--passphrase-file @phrase",
                                            digest);
    assert_int_equal(skein(good), 1); /* it was signed, and the plan failed */
    assert_non_null(strstr(complained, "ended as FAILED"));
    assert_non_null(posted);
    _cleanup_(freep) char *wrong =
        xasprintf("plan approve %.12s --yes --key @paul.key --passphrase-file @wrong", digest);
    assert_int_equal(skein(wrong), 1);
    assert_non_null(strstr(complained, "error: UNAUTHENTICATED: "));
}

static void test_approve_refuses(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_status();
    json_t *doc = plan_json(body_json("hot"), "PENDING_APPROVAL", digest);
    json_object_set_new(json_object_get(doc, "body"), "reason", json_string("hut"));
    can_plan(doc, digest, path);
    _cleanup_(freep) char *line = xasprintf("plan approve %.12s --yes --key @anna.key", digest);
    expect_error(line, 1, "altered on the way; nothing was signed");
    assert_null(posted);

    /* another plan than the one asked for, sound in itself */
    char other[HASH_HEX_SIZE];
    _cleanup_json_ json_t *another = plan_json(body_json("cold"), "PENDING_APPROVAL", other);
    _cleanup_(freep) char *text = json_dumps(another, 0);
    answer_with("GET", path, 200, text);
    expect_error(line, 1, "was asked for");
    assert_null(posted);

    can_plan(plan_json(body_json("\x1b[8mhidden"), "PENDING_APPROVAL", digest), digest, path);
    _cleanup_(freep) char *hidden = xasprintf("plan approve %.12s --yes --key @anna.key", digest);
    expect_error(hidden, 1, "control characters");
    assert_null(posted);

    _cleanup_(freep) char *ask = xasprintf("plan approve %.12s --key @anna.key", digest);
    expect_error(ask, 2, "there is no terminal to ask on: say --yes");
    expect_error("plan approve abc --yes", 2, "--key (or SKEIN_KEY) is missing");
    expect_error("plan approve --yes --key x --wait=soon abc", 2, "--wait");
    expect_error("plan approve --yes --key x --lifetime 0 abc", 2, "--lifetime");
    expect_error("plan reject --rollback --yes --key x abc", 2,
                 "--rollback and --ticket belong to approve");
}

static void test_approve_refuses_keys(void **unused _unused_)
{
    char digest[HASH_HEX_SIZE], path[64];
    can_plan(plan_json(body_json("hot"), "PENDING_APPROVAL", digest), digest, path);
    can_status();
    _cleanup_(freep) char *none = xasprintf("plan approve %.12s --yes --key @nobody.key", digest);
    assert_int_equal(skein(none), 1);
    assert_non_null(strstr(complained, "nobody.pem"));
    _cleanup_(freep) char *mixed =
        xasprintf("plan approve %.12s --yes --key @anna.key --cert @olga.pem", digest);
    assert_int_equal(skein(mixed), 1);
    assert_non_null(strstr(complained, "error: CONFLICT: "));
    /* the agent serves another cluster than the certificate is of */
    answer_with("GET", "/v1/status", 200,
                "{\"cluster\":\"dc9\",\"cluster_uuid\":\"" UUID_TWO "\"}");
    _cleanup_(freep) char *line = xasprintf("plan approve %.12s --yes --key @anna.key", digest);
    assert_int_equal(skein(line), 1);
    assert_non_null(strstr(complained, "error: UNAUTHENTICATED: "));
    assert_null(posted);
}

static void test_migrate(void **unused _unused_)
{
    can_status();
    answer_with("GET", "/v1/vms", 200,
                "{\"vms\":[{\"name\":\"web1\",\"uuid\":\"" UUID_WEB "\"},"
                "{\"name\":\"twin\",\"uuid\":\"" UUID_ONE "\"},"
                "{\"name\":\"twin\",\"uuid\":\"" UUID_TWO "\"}]}");
    answer_with("POST", "/v1/migrations", 200, "{\"plan\":\"123456789abc\"}");
    expect("migrate --key @olga.key web1 hv7", 0, "123456789abc\n",
           "the plan waits for an approval; try: skein plan show 123456789abc\n");
    _cleanup_json_ json_t *command = posted_command("olga");
    assert_string_equal(text_at(command, "type"), "migrate");
    assert_string_equal(text_at(command, "uuid"), UUID_WEB);
    assert_string_equal(text_at(command, "to"), "hv7");
    expect_error("migrate --key @olga.key web9 hv7", 1, "NOT_FOUND: there is no VM \"web9\"");
    expect_error("migrate --key @olga.key twin hv7", 1, "2 VMs are called twin");
    assert_int_equal(skein("migrate --key @olga.key " UUID_TWO " hv7"), 0);
    expect_error("migrate --key @olga.key web1", 2, "an argument is missing");
    answer_with("POST", "/v1/migrations", 409,
                "{\"error\":{\"code\":\"CONFLICT\",\"message\":\"no plan: hv7 lacks 2 GiB\"}}");
    expect_error("migrate --key @olga.key web1 hv7", 1, "CONFLICT: no plan: hv7 lacks 2 GiB");
}

/* ---- what agents may answer ---- */

static void test_odd_answers(void **unused _unused_)
{
    static const struct {
        unsigned status;
        const char *body, *part;
        int exit;
    } cases[] = {
        {200, "not JSON", "no JSON object", 1},
        {200, "[]", "no JSON object", 1},
        {200, "{\"a\":1,\"a\":2}", "no JSON object", 1},
        {500, "{}", "answers 500 without a reason", 1},
        {503, "{\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"no planner; try: later\"}}",
         "error: UNAVAILABLE: no planner; try: later", 1},
        {400, "{\"error\":{\"code\":\"NEW_CODE\",\"message\":\"x\"}}", "error: UNKNOWN: x", 1},
        {405, "{\"error\":{\"code\":\"UNSUPPORTED\",\"message\":\"x\"}}", "UNSUPPORTED: x", 3},
        {403, "{\"error\":{\"code\":\"DENIED\",\"message\":\"a\\u001b[2Jb\\nc\"}}",
         "error: DENIED: a [2Jb c", 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        forget_answers();
        answer_with("GET", "/v1/status", cases[i].status, cases[i].body);
        expect_error("status", cases[i].exit, cases[i].part);
    }
    answer_with("GET", "/v1/status", 200, "{}"); /* nothing is known */
    assert_int_equal(skein("status"), 0);
    answer_with("GET", "/v1/hosts", 200, "{\"hosts\":[{},7,null]}");
    assert_int_equal(skein("hosts"), 0);
    answer_with("GET", "/v1/plans/abc", 200, "{\"body\":[]}");
    assert_int_equal(skein("plan show abc"), 0);
    expect_error("plan approve --yes --key @anna.key abc", 1, "is no plan");
}

static void test_no_agent(void **unused _unused_)
{
    expect_error("status --socket @nowhere.sock", 1, "error: UNAVAILABLE: no agent answers at ");
    expect_error("--socket @nowhere.sock status", 1, "No such file or directory; try: ");
    setenv("SKEIN_SOCKET", socket_path, 1); /* the leading option replaced it */
}

/* ---- usage ---- */

static void test_usage(void **unused _unused_)
{
    expect_error("", 2, "wants a command");
    expect_error("staus", 2, "did you mean \"status\"?");
    expect_error("stat", 2, "did you mean \"status\"?");
    expect_error("xyzzy", 2, "see skein --help");
    expect_error("plan", 2, "wants a command");
    expect_error("plan shwo", 2, "did you mean \"show\"?");
    expect_error("plan show", 2, "an argument is missing");
    expect_error("plan show abc def", 2, "\"def\" is not expected");
    expect_error("plan show ../status", 2, "is not a plan's id");
    expect_error("plan show ABC", 2, "is not a plan's id");
    expect_error("status --sokcet x", 2, "did you mean --socket?");
    expect_error("status --socket", 2, "--socket wants a value");
    expect_error("status -x", 2, "unknown option -x");
    expect_error("status -o wide", 2, "only table, json are known here");
    assert_int_equal(calls, 0); /* nothing was asked of the agent */
}

static void test_help(void **unused _unused_)
{
    static const char *const commands[] = {
        "status",       "hosts",        "vms",         "plan list",   "plan show",
        "plan explain", "plan approve", "plan reject", "plan cancel", "plan make",
        "plan verify",  "migrate",      "report",      "audit list",  "audit verify",
        "audit export", "audit prove",  "events",      "policy",      "init",
        "cert",         "version",      "plan pause",  "plan resume", "plan rollback",
        "cordon",       "uncordon",     "drain",       "maintenance", "restore",
        "freeze",       "unfreeze",     "hold"};
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        _cleanup_(freep) char *line = xasprintf("%s --help", commands[i]);
        assert_int_equal(skein(line), 0);
        assert_says("usage: skein ");
        assert_string_equal(complained, "");
    }
    assert_int_equal(skein("--help"), 0);
    assert_says("Exit status: 0 done");
}

/* ---- quantities ---- */

static void test_quantities(void **unused _unused_)
{
    static const struct {
        int64_t value;
        const char *mib, *ms;
    } cases[] = {
        {0, "0 MiB", "0 ms"},
        {999, "999 MiB", "999 ms"},
        {1024, "1 GiB", "1 s"},
        {1536, "1.5 GiB", "1.5 s"},
        {14000, "14 GiB", "14 s"},
        {150000, "146 GiB", "2.5 min"},
        {3145728, "3 TiB", "52 min"},
        {QUANTITY_UNKNOWN, "-", "-"},
        {INT64_MAX, "8796093022208 TiB", "106751991167 days"},
    };

    char text[TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_string_equal(text_mib(cases[i].value, text), cases[i].mib);
        assert_string_equal(text_ms(cases[i].value, text), cases[i].ms);
    }
    assert_string_equal(text_milli(71500, text), "71.5");
    assert_string_equal(text_milli(-3000, text), "-3");
    assert_string_equal(text_ago(1000, 15000, text), "14 s ago");
    assert_string_equal(text_ago(9000, 1000, text), "0 s ago"); /* clocks differ */
}

#define TEST(f) cmocka_unit_test_teardown(f, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_status),
        TEST(test_status_stays_short),
        TEST(test_hosts),
        TEST(test_vms),
        TEST(test_plan_list),
        TEST(test_plan_show),
        TEST(test_characters_of_several_bytes),
        TEST(test_plan_explain),
        TEST(test_text_is_tidied),
        TEST(test_unencrypted_moves_are_shown),
        TEST(test_follow),
        TEST(test_report),
        TEST(test_month),
        TEST(test_support_bundle),
        TEST(test_audit),
        TEST(test_events),
        TEST(test_approve),
        TEST(test_approve_with_passphrase_and_wait),
        TEST(test_approve_refuses),
        TEST(test_approve_refuses_keys),
        TEST(test_migrate),
        TEST(test_odd_answers),
        TEST(test_no_agent),
        TEST(test_usage),
        TEST(test_help),
        TEST(test_quantities),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
