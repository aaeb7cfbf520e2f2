#include "tests/lib/test.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/io/config.h"
#include "proto/util.h"

static const char good[] =
    "cluster = \"dc1\"; host = \"hv1\";\n"
    "mesh = { listen = \"10.77.0.1:7440\"; seeds = [ \"10.77.0.2:7440\" ]; };\n"
    "raft = { voters = [ \"hv1\", \"hv2\", \"hv3\" ]; };\n";

/* Load text with extra appended from a file; the file's path stands as FILE in messages. */
static int load(const char *text, const char *extra, struct config **ret, struct err *err)
{
    char path[] = "/tmp/skein-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fprintf(f, "%s%s", text, extra);
    fclose(f);
    int rc = config_load(path, ret, err);
    unlink(path);
    return rc;
}

static void a_short_file_gets_defaults(void **state)
{
    (void)state;
    struct err err = {0};
    struct config *c = NULL;
    assert_ok(load(good, "tags = { gen = \"milan\"; };", &c, &err), &err);
    assert_string_equal(c->host, "hv1");
    assert_string_equal(c->tls_directory, "/etc/pki/skein");
    assert_int_equal(c->n_mesh_seeds, 1);
    assert_int_equal(c->n_raft_voters, 3);
    assert_int_equal(c->limits_total, 5);
    assert_int_equal(c->n_tags, 1);
    assert_string_equal(c->tags[0].value, "milan");
    config_free(c);
}

static void mistakes_are_named(void **state)
{
    (void)state;

    static const struct {
        const char *extra, *part;
    } cases[] = {
        {"hypervizor = \"x\";", ":4: hypervizor: unknown key; did you mean \"hypervisor\"?"},
        {"limits = { totl = 3; };", ":4: limits.totl: unknown key; did you mean \"total\"?"},
        {"limit = { total = 3; };", "limit: unknown key; did you mean \"limits\"?"},
        {"limits = { total = \"3\"; };", "total: a number is wanted"},
        {"limits = { total = 0; };", "0 is not between 1 and"},
        {"state_dir = 7;", "state_dir: a string is wanted"},
        {"log = { level = \"inof\"; };", "did you mean \"info\"?"},
        {"sensors = { source = \"ipmi\"; };", "none of its values"},
        {"power = { driver = \"comand\"; };", "did you mean \"command\"?"},
        {"power = { driver = \"command\"; command = \"power\"; };", "path of a program"},
        {"power = { mac = \"52:54\"; };", "power.mac: \"52:54\" is no hardware address"},
        {"power = { broadcast = \"all\"; };", "no IPv4 address"},
        {"power = { standby = \"no\"; };", "power.standby: \"no\" is none of its values"},
        {"migration = { address = ", "syntax error"},
        {"tags = { a = 1; };", "tags.a: a string is wanted"},
        {"policies = { parms = { }; };", "policies.parms: unknown key; did you mean \"params\"?"},
        {"policies = { params = 3; };", "policies.params: groups are wanted"},
        {"policies = { params = { balance = 3; }; };",
         "policies.params.balance: a group is wanted"},
        {"policies = { active = [ \"balance\" ]; params = { balance = { a = [ 1 ]; }; }; };",
         "policies.params.balance.a: a number, a string or a boolean is wanted"},
        {"policies = { active = [ \"balance\" ]; params = { balence = { a = 1; }; }; };",
         "policies.params: \"balence\" is none of its values; did you mean \"balance\"?"},
        {"policies = { agreement = 0; };", "0 is not between 1 and 100"},
        {"firewall = \"iptables\";", "none of its values"},
        {"firewall = \"nft\"; migration = { ports = \"49152:49215\"; };", "migration.ports"},
        {"firewall = \"nft\"; migration = { address = \"hv1-mig\"; };", "is no address"},
        {"firewall = \"nft\"; hypervisor = \"sim:/tmp/x\";", "simulated hosts have none"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        struct config *c = NULL;
        assert_err(load(good, cases[i].extra, &c, &err), &err, ERR_INVALID, cases[i].part);
        assert_null(c);
    }
}

static void policies_have_parameters(void **state)
{
    (void)state;
    struct err err = {0};
    struct config *c = NULL;
    assert_ok(load(good,
                   "policies = { active = [ \"balance\" ]; hold_s = 60; params = { balance = { "
                   "threshold = 15; gain = 7.5; hold = \"5m\"; deep = true; }; "
                   "maintenance_drain = { }; }; };",
                   &c, &err),
              &err);
    _cleanup_(freep) char *text = json_dumps(c->policies_params, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "[{\"name\":\"balance\",\"params\":{\"deep\":true,\"gain\":7.5,"
                              "\"hold\":\"5m\",\"threshold\":15}},"
                              "{\"name\":\"maintenance_drain\",\"params\":{}}]");
    assert_int_equal(c->policies_agreement, 1);
    assert_int_equal(c->policies_hold_s, 60);
    config_free(c);
}

static void whole_files_are_checked(void **state)
{
    (void)state;
    struct err err = {0};
    struct config *c = NULL;
    assert_err(load("", "", &c, &err), &err, ERR_INVALID, "cluster is missing");
    assert_err(load("cluster=\"a\";host=\"b\";mesh={listen=\"nowhere\";};raft={voters=[\"b\"];};",
                    "", &c, &err),
               &err, ERR_INVALID, "\"nowhere\" is not an address");
    assert_err(
        load("cluster=\"a\";host=\"b/c\";mesh={listen=\"1.2.3.4:5\";};raft={voters=[\"b\"];};", "",
             &c, &err),
        &err, ERR_INVALID, "host: \"b/c\"");
    assert_err(load("cluster=\"a\";host=\"b\";mesh={listen=\"1.2.3.4:5\";};"
                    "raft={voters=[\"a\",\"b\"];};",
                    "", &c, &err),
               &err, ERR_INVALID, "1, 3, 5 or 7 are wanted, not 2");
    assert_err(load("cluster=\"a\";host=\"b\";mesh={listen=\"1.2.3.4:5\";};"
                    "raft={voters=[\"b\"];wanted=3;};",
                    "", &c, &err),
               &err, ERR_INVALID, "raft.wanted is for voters that are replaced");
    assert_err(load("cluster=\"a\";host=\"b\";mesh={listen=\"1.2.3.4:5\";};"
                    "raft={voters=[\"b\"];wanted=4;replace_after_s=600;};",
                    "", &c, &err),
               &err, ERR_INVALID, "raft.wanted: 1, 3, 5 or 7");
    assert_err(config_load("/nonexistent/agent.conf", &c, &err), &err, ERR_IO, "cannot be read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_file_gets_defaults),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(policies_have_parameters),
        cmocka_unit_test(whole_files_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
