/* skein init and skein cert, called as the dispatcher calls them. */
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/ctl/cmd_cert.h"
#include "proto/canon.h"
#include "tls/authority.h"
#include "tls/envelope.h"
#include "tls/file.h"

#define WORDS_MAX 24

static char home[64];

/* Run a command given as one line; a leading @ stands for HOME. stdout and stderr go to
 * HOME/out. */
static int run(int (*command)(int, char **), const char *line)
{
    _cleanup_(freep) char *out = xasprintf("%s/out", home);
    char *words[WORDS_MAX + 1] = {0}, *rest;
    int n = 0;
    _cleanup_(freep) char *copy = xstrdup(line);
    for (char *w = strtok_r(copy, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        assert_true(n < WORDS_MAX);
        words[n++] = w[0] == '@' ? xasprintf("%s%s", home, w + 1) : xstrdup(w);
    }
    fflush(stdout);
    fflush(stderr);
    int keep_out = dup(1), keep_err = dup(2), fd = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    int rc = command(n, words);
    fflush(stdout);
    fflush(stderr);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    close(keep_out);
    close(keep_err);
    close(fd);
    while (n > 0)
        free(words[--n]);
    return rc;
}

static char *output(void)
{
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/out", home);
    char *text = NULL;
    assert_ok(file_read(path, 1 << 20, &text, NULL, &err), &err);
    return text;
}

static void expect(int (*command)(int, char **), const char *line, int status, const char *says)
{
    int rc = run(command, line);
    _cleanup_(freep) char *text = output();
    if (rc != status || strstr(text, says) == NULL)
        fail_msg("\"%s\": status %d (wanted %d), output: %s", line, rc, status, text);
    if (status != 0)
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
}

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/skein-ctl-XXXXXX");
    assert_non_null(mkdtemp(home));
    expect(cmd_init, "init --cluster dc1 --directory @/ca --admin ann", 0, "its admin is ann");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    _cleanup_(freep) char *command = xasprintf("rm -rf '%s'", home);
    return system(command);
}

static mode_t mode_of(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", home, name);
    struct stat st;
    if (stat(path, &st) != 0)
        fail_msg("%s is missing", path);
    return st.st_mode & 0777;
}

static void init_refuses_to_overwrite(void **state)
{
    (void)state;
    expect(cmd_init, "init --cluster dc2 --directory @/ca", 1, "error: EXISTS: ");
    expect(cmd_init, "init --cluster DC --directory @/new", 1, "no capitals");
    expect(cmd_init, "init --cluster dc1", 2, "--directory is missing");
    expect(cmd_init, "init --cluster", 2, "--cluster wants a value");
    expect(cmd_init, "init --clutser dc1", 2, "unknown option --clutser");
    expect(cmd_init, "init --help", 0, "Examples:");
    assert_int_equal(mode_of("ca/machines.key"), 0600);
    assert_int_equal(mode_of("ca/people/ann.key"), 0600);
    assert_int_equal(mode_of("ca"), 0700);
}

static void host_gets_what_libvirt_and_qemu_look_for(void **state)
{
    (void)state;
    expect(cmd_cert,
           "cert issue --directory @/ca --host hv1 --dns hv1 --dns hv1.lab --ip 10.77.0.1 "
           "--out @/hv1",
           0, "host hv1");
    static const char *const public_files[] = {
        "CA/cacert.pem",      "libvirt/servercert.pem", "libvirt/clientcert.pem",
        "qemu/ca-cert.pem",   "qemu/server-cert.pem",   "qemu/client-cert.pem",
        "skein/machines.pem", "skein/people.pem",       "skein/crl.pem",
        "skein/host.pem",     "skein/roster.json",      "skein/cluster.json"};
    static const char *const keys[] = {"libvirt/private/serverkey.pem",
                                       "libvirt/private/clientkey.pem", "qemu/server-key.pem",
                                       "qemu/client-key.pem", "skein/host.key"};
    for (size_t i = 0; i < ARRAY_SIZE(public_files); i++) {
        _cleanup_(freep) char *name = xasprintf("hv1/%s", public_files[i]);
        assert_int_equal(mode_of(name), 0644);
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        _cleanup_(freep) char *name = xasprintf("hv1/%s", keys[i]);
        assert_int_equal(mode_of(name), 0600);
    }
    assert_int_equal(mode_of("hv1/qemu"), 0700);
    expect(cmd_cert, "cert issue --directory @/ca --host hv2 --out @/hv2 --qemu-group root", 0, "");
    assert_int_equal(mode_of("hv2/qemu"), 0750);
    assert_int_equal(mode_of("hv2/qemu/server-key.pem"), 0640);
    assert_int_equal(mode_of("hv2/libvirt/private/serverkey.pem"), 0600);
}

static void simulated_host_gets_its_agents_key_alone(void **state)
{
    (void)state;
    expect(cmd_cert, "cert issue --directory @/ca --host sim1 --agent-only --out @/sim1", 0,
           "host sim1");
    assert_int_equal(mode_of("sim1/skein/host.key"), 0600);
    assert_int_equal(mode_of("sim1/skein/roster.json"), 0644);
    static const char *const absent[] = {"sim1/qemu", "sim1/libvirt", "sim1/CA"};
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        _cleanup_(freep) char *name = xasprintf("%s/%s", home, absent[i]);
        assert_int_equal(access(name, F_OK), -1);
    }
    expect(cmd_cert, "cert issue --directory @/ca --host x --agent-only --qemu-group x --out @/x",
           2, "leaves out");
}

static char *give(void *user, const char *path)
{
    (void)path;
    return xstrdup(user);
}

static void person_can_sign_once_issued(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(freep) char *secret = xasprintf("%s/secret", home),
                          *directory = xasprintf("%s/ca", home);
    _cleanup_(freep) char *crt = xasprintf("%s/p/bob.pem", home),
                          *key = xasprintf("%s/p/bob.key", home);
    assert_ok(file_write(secret, "s3cret\nrest", 11, 0600, FILE_ANY_GROUP, &err), &err);
    expect(cmd_cert,
           "cert issue --directory @/ca --person bob --roles approver,operator --out @/p "
           "--passphrase-file @/secret",
           0, "roster version 2");
    _cleanup_(authority_done) struct authority a = {0};
    _cleanup_(identity_freep) struct identity *bob = NULL;
    _cleanup_(envelope_done) struct envelope e = {0};
    _cleanup_(freep) char *text = NULL;
    _cleanup_json_ json_t *command = json_pack("{s:s}", "type", "freeze");
    static const uint8_t nonce[ENVELOPE_NONCE_SIZE] = {7};
    msec now = (msec)time(NULL) * 1000;
    assert_ok(authority_open(directory, now, &a, &err), &err);
    assert_int_equal(a.roster->version, 2);
    assert_ok(identity_load(crt, key, give, "s3cret", &bob, &err), &err);
    assert_ok(envelope_sign(command, bob, &a.cluster, now, 1000, nonce, &text, &err), &err);
    assert_ok(envelope_verify(text, strlen(text), a.roster, a.anchor, &a.cluster, now, &e, &err),
              &err);
    assert_int_equal(e.roles, ROLE_APPROVER | ROLE_OPERATOR);
}

static void usage_is_told(void **state)
{
    (void)state;
    expect(cmd_cert, "cert", 2, "wants issue, issuer, list, revoke or rotate");
    expect(cmd_cert, "cert isue", 2, "\"isue\" is none of");
    expect(cmd_cert, "cert --help", 0, "Examples:");
    expect(cmd_cert, "cert issue --help", 0, "Examples:");
    expect(cmd_cert, "cert issue --directory @/ca --out @/x", 2, "--host or --person");
    expect(cmd_cert, "cert issue --directory @/ca --host a --person b --out @/x", 2, "--host or");
    expect(cmd_cert, "cert issue --directory @/ca --host a", 2, "--out is missing");
    expect(cmd_cert, "cert issue --directory @/ca --person b --out @/x", 2, "--roles");
    expect(cmd_cert, "cert issue --host a --out @/x", 2, "--directory is missing");
    expect(cmd_cert, "cert issue --directory @/ca --person b --roles admin --dns x --out @/x", 2,
           "for hosts");
    expect(cmd_cert, "cert list --directory @/ca -o yaml", 2, "only json");
    expect(cmd_cert, "cert list --directory @/ca x", 2, "not expected");
    expect(cmd_cert, "cert revoke --directory @/ca", 2, "is missing");
}

static void refusals_are_told(void **state)
{
    (void)state;
    expect(cmd_cert, "cert list --directory @/none", 1, "not a directory made by");
    expect(cmd_cert, "cert issue --directory @/ca --host a/b --out @/x", 1, "host name");
    expect(cmd_cert, "cert issue --directory @/ca --host a --ip 1.2.3 --out @/x", 1, "1.2.3");
    expect(cmd_cert, "cert issue --directory @/ca --host a --days 0 --out @/x", 1, "--days");
    expect(cmd_cert, "cert issue --directory @/ca --host a --qemu-group no-such --out @/x", 1,
           "no group");
    expect(cmd_cert, "cert issue --directory @/ca --person b --roles boss --out @/x", 1, "boss");
    expect(cmd_cert, "cert issue --directory @/ca --person b --roles admin --admin eve --out @/x",
           1, "no key of the admin eve");
    expect(cmd_cert, "cert revoke --directory @/ca ../../x", 1, "not a serial number");
    expect(cmd_cert, "cert revoke --directory @/ca ABCD", 1, "ABCD.pem");
}

static const char *find_status(const json_t *list, const char *use, const char *who,
                               const char **ret_serial)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(e, "use")), use) == 0 &&
            strcmp(json_string_value(json_object_get(e, "name")), who) == 0) {
            *ret_serial = json_string_value(json_object_get(e, "serial"));
            return json_string_value(json_object_get(e, "status"));
        }
    }
    fail_msg("%s %s is not listed", use, who);
    return NULL;
}

static json_t *listed(void)
{
    struct err err = {0};
    json_t *list = NULL;
    expect(cmd_cert, "cert list --directory @/ca -o json", 0, "\"serial\"");
    _cleanup_(freep) char *text = output();
    assert_ok(canon_parse(text, strlen(text), "list", &list, &err), &err);
    return list;
}

static void revoked_is_listed_so(void **state)
{
    (void)state;
    const char *serial;
    expect(cmd_cert, "cert issue --directory @/ca --host gone --out @/gone", 0, "");
    _cleanup_json_ json_t *before = listed();
    assert_string_equal(find_status(before, "agent", "gone", &serial), "valid");
    _cleanup_(freep) char *line = xasprintf("cert revoke --directory @/ca %s", serial);
    expect(cmd_cert, line, 0, "revoked");
    expect(cmd_cert, line, 1, "revoked already");
    _cleanup_json_ json_t *after = listed();
    assert_string_equal(find_status(after, "agent", "gone", &serial), "revoked");
    assert_string_equal(find_status(after, "libvirt", "gone", &serial), "valid");
    assert_string_equal(find_status(after, "root", "machines", &serial), "valid");
    expect(cmd_cert, "cert list --directory @/ca", 0, "LEFT   SERIAL");
    expect(cmd_cert, "cert list --directory @/ca", 0, " 364d ");
}

static void issuer_is_made_and_revoked(void **state)
{
    (void)state;
    const char *serial;
    expect(cmd_cert, "cert issuer --directory @/ca --host hv1 --out @/is", 0, "issuer of host hv1");
    assert_int_equal(mode_of("is/issuer.key"), 0600);
    assert_int_equal(mode_of("is/issuer.pem"), 0644);
    expect(cmd_cert, "cert issuer --directory @/ca --host hv1", 2, "--out is missing");
    expect(cmd_cert, "cert issuer --directory @/ca --host ../x --out @/is", 1, "host name");
    _cleanup_json_ json_t *list = listed();
    assert_string_equal(find_status(list, "issuer", "hv1", &serial), "valid");
    expect(cmd_cert, "cert revoke --directory @/ca @/is/issuer.pem", 0, "revoked");
    expect(cmd_cert, "cert revoke --directory @/ca @/is/issuer.pem", 1, "revoked already");
    expect(cmd_cert, "cert revoke --directory @/ca @/is/issuer.key", 1, "error: ");
    expect(cmd_cert, "cert issuer --directory @/ca --host hv2 --out @/is2", 0, "");
    expect(cmd_cert, "cert revoke --directory @/ca @/is/issuer.pem @/is2/issuer.pem", 0, "is2/");
    expect(cmd_cert, "cert rotate --out x", 2, "--from is missing");
    expect(cmd_cert, "cert rotate --directory @/none --from 127.0.0.1:1", 1, "cluster.json");
    _cleanup_json_ json_t *after = listed();
    assert_string_equal(find_status(after, "issuer", "hv1", &serial), "revoked");
}

/* ---- skein roster, in a directory of its own ---- */

static json_t *shown(void)
{
    struct err err = {0};
    json_t *body = NULL;
    expect(cmd_roster, "roster show --directory @/ro", 0, "\"version\"");
    _cleanup_(freep) char *text = output();
    assert_ok(canon_parse(text, strlen(text), "roster", &body, &err), &err);
    return body;
}

static int version(void)
{
    _cleanup_json_ json_t *body = shown();
    return (int)json_integer_value(json_object_get(body, "version"));
}

static void write_file(const char *name, const char *text)
{
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/%s", home, name);
    assert_ok(file_write(path, text, strlen(text), 0600, FILE_ANY_GROUP, &err), &err);
}

static void roster_changes_by_its_threshold(void **state)
{
    (void)state;
    expect(cmd_init, "init --cluster dc1 --directory @/ro --admin ann", 0, "its admin is ann");
    expect(cmd_cert, "cert issue --directory @/ro --person bob --roles admin --out @/ro/people", 0,
           "roster version 2");
    expect(cmd_cert,
           "cert issue --directory @/ro --person eve --roles viewer --admin ann "
           "--out @/eve",
           0, "roster version 3");
    expect(cmd_init, "init --cluster dc1 --directory @/wh --admin who", 0, "its admin is who");
    write_file("gates.json", "[{\"name\":\"two\",\"approvers\":2}]");
    write_file("wrong.json", "[{\"name\":\"two\",\"aprovers\":2}]");
    expect(cmd_roster, "roster set --directory @/ro --admin ann --gates @/wrong.json", 1,
           "did you mean \"approvers\"");
    expect(cmd_roster, "roster set --directory @/ro --admin ann --gates @/gates.json", 0,
           "is the new version");
    _cleanup_json_ json_t *body = shown();
    assert_int_equal(json_integer_value(json_object_get(body, "version")), 4);
    assert_int_equal(json_array_size(json_object_get(body, "gates")), 1);
    /* From now on two sign: the change itself is one that the new threshold binds. */
    expect(cmd_roster, "roster set --directory @/ro --admin ann --threshold 2", 0,
           "lacks signatures");
    assert_int_equal(version(), 4);
    expect(cmd_roster, "roster sign --directory @/ro --admin ann", 0,
           "lacks signatures"); /* once */
    expect(cmd_roster, "roster sign --directory @/ro --key @/ro/people/bob.key", 0,
           "is the new version");
    assert_int_equal(version(), 5);
    expect(cmd_roster, "roster sign --directory @/ro --admin bob", 1, "error: ");
    expect(cmd_roster, "roster set --directory @/ro --admin bob --remove eve", 0,
           "lacks signatures");
    expect(cmd_roster, "roster sign --directory @/ro --key @/eve/eve.key", 1,
           "error: DENIED: eve is no admin");
    expect(cmd_roster, "roster sign --directory @/ro --key @/wh/people/who.key", 1,
           "error: DENIED: the key's owner is no admin");
    assert_int_equal(version(), 5);
    expect(cmd_roster, "roster sign --directory @/ro --admin ann", 0, "is the new version");
    _cleanup_json_ json_t *after = shown();
    assert_int_equal(json_array_size(json_object_get(after, "people")), 2);
}

static void roster_usage_is_told(void **state)
{
    (void)state;
    expect(cmd_roster, "roster", 2, "wants show, set or sign");
    expect(cmd_roster, "roster shwo", 2, "\"shwo\" is none of");
    expect(cmd_roster, "roster --help", 0, "Examples:");
    expect(cmd_roster, "roster set --help", 0, "Examples:");
    expect(cmd_roster, "roster show", 2, "--directory is missing");
    expect(cmd_roster, "roster set --directory @/ca", 2, "wants --threshold, --gates or --remove");
    expect(cmd_roster, "roster sign --directory @/ca --threshold 2", 2, "belong to set");
    expect(cmd_roster, "roster set --directory @/ca --threshold 2 --cert x", 2, "without --key");
    expect(cmd_roster, "roster set --directory @/ca --remove x --key k --admin a", 2, "exclude");
    expect(cmd_roster, "roster set --directory @/ca --threshold none", 1, "--threshold");
    expect(cmd_roster, "roster set --directory @/ca --remove nobody", 1, "nobody");
    expect(cmd_roster, "roster set --directory @/ca --gates @/nothing", 1, "nothing");
    expect(cmd_roster, "roster show --directory @/none", 1, "not a directory made by");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(issuer_is_made_and_revoked),
        cmocka_unit_test(roster_changes_by_its_threshold),
        cmocka_unit_test(roster_usage_is_told),
        cmocka_unit_test(init_refuses_to_overwrite),
        cmocka_unit_test(host_gets_what_libvirt_and_qemu_look_for),
        cmocka_unit_test(simulated_host_gets_its_agents_key_alone),
        cmocka_unit_test(person_can_sign_once_issued),
        cmocka_unit_test(usage_is_told),
        cmocka_unit_test(refusals_are_told),
        cmocka_unit_test(revoked_is_listed_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
