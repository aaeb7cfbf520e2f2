/* The doctor: each thing that is wrong with a host's files is found, and none that is not. */
#include "agent/io/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/util.h"
#include "tests/lib/test.h"
#include "tls/pki.h"

static void write_file(const char *directory, const char *name, const char *text)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool has(const struct hv_findings *f, const char *code)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->items[i].code, code) == 0) {
            assert_true(f->items[i].evidence[0] != '\0' && f->items[i].remedy[0] != '\0');
            return true;
        }
    return false;
}

static void what_is_wrong_is_found(void **state)
{
    (void)state;
    char directory[] = "/tmp/skein-doctor-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct doctor_conf conf = {.host = "hv1",
                               .state_dir = directory,
                               .tls_directory = directory,
                               .libvirt_directory = directory,
                               .pki_directory = directory};
    struct hv_findings f;
    write_file(directory, "libvirtd.conf", "# tls_allowed_dn_list = []\nlisten_tcp = 1\n");
    write_file(directory, "qemu.conf", "#lock_manager = \"lockd\"\n");
    doctor_host(&conf, 0, &f);
    assert_true(has(&f, "LIBVIRT_OPEN"));
    assert_true(has(&f, "LIBVIRT_PLAIN"));
    assert_true(has(&f, "NO_LOCK_MANAGER"));
    assert_true(has(&f, "MIGRATION_UNVERIFIED"));
    assert_true(has(&f, "NO_TRUST"));

    write_file(directory, "libvirtd.conf",
               "tls_allowed_dn_list = [ \"CN=hv1\" ]\nlisten_tcp = 0\n");
    write_file(directory, "qemu.conf", "  lock_manager=\"lockd\"\ndefault_tls_x509_verify = 1\n");
    doctor_host(&conf, 0, &f);
    assert_false(has(&f, "LIBVIRT_OPEN") || has(&f, "LIBVIRT_PLAIN") ||
                 has(&f, "NO_LOCK_MANAGER") || has(&f, "MIGRATION_UNVERIFIED"));

    write_file(directory, "libvirtd.conf",
               "tls_no_verify_certificate = 1\nkeepalive_interval = -1\n");
    write_file(directory, "qemu.conf", "security_driver = [ \"none\" ]\nkeepalive_interval = 5\n");
    doctor_host(&conf, 0, &f);
    assert_true(has(&f, "LIBVIRT_UNVERIFIED") && has(&f, "NO_KEEPALIVE") &&
                has(&f, "NO_SECURITY_DRIVER"));
    conf.libvirt_directory = NULL; /* another hypervisor: libvirt's files are not asked for */
    doctor_host(&conf, 0, &f);
    assert_false(has(&f, "NO_LOCK_MANAGER"));
    _cleanup_(freep) char *command = xasprintf("rm -r %s", directory);
    assert_int_equal(system(command), 0);
}

/* Of libvirt's certificates and of those of QEMU's migrations. */
static void certificates_are_looked_at(void **state)
{
    (void)state;
    char directory[] = "/tmp/skein-doctor-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct err err = {0};
    struct pki_root root;
    struct cluster cluster = {.name = "dc1", .uuid = "11111111-2222-4333-8444-555555555555"};
    const msec now = 1795000000000, day = 86400000;
    struct doctor_conf conf = {.host = "hv1",
                               .state_dir = directory,
                               .tls_directory = directory,
                               .libvirt_directory = directory,
                               .pki_directory = directory};
    struct hv_findings f;
    doctor_host(&conf, now, &f);
    assert_true(has(&f, "NO_CERTIFICATE"));
    assert_false(has(&f, "CERTIFICATE_OLD"));

    _cleanup_(freep) char *libvirt = xasprintf("%s/libvirt", directory);
    _cleanup_(freep) char *qemu = xasprintf("%s/qemu", directory);
    assert_ok(pki_root_create(&cluster, ROOT_MACHINES, 10, now, &root, &err), &err);
    _cleanup_(freep) char *pem = pki_crt_pem(root.crt);
    assert_int_equal(mkdir(libvirt, 0700) + mkdir(qemu, 0700), 0);
    write_file(libvirt, "servercert.pem", pem);
    write_file(libvirt, "clientcert.pem", pem);
    write_file(qemu, "server-cert.pem", pem);
    write_file(qemu, "client-cert.pem", pem);
    doctor_host(&conf, now, &f);
    assert_false(has(&f, "NO_CERTIFICATE") || has(&f, "CERTIFICATE_OLD"));
    doctor_host(&conf, now + 9 * day, &f);
    assert_true(has(&f, "CERTIFICATE_OLD"));
    pki_root_done(&root);
    _cleanup_(freep) char *command = xasprintf("rm -r %s", directory);
    assert_int_equal(system(command), 0);
}

static void findings_are_bounded(void **state)
{
    (void)state;
    static struct hv_findings f;
    for (int i = 0; i < 2 * HV_FINDINGS_MAX; i++)
        finding_add(&f, "CODE", "do something", "%d", i);
    assert_int_equal(f.n, HV_FINDINGS_MAX);
    assert_string_equal(f.items[HV_FINDINGS_MAX - 1].evidence, "31");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_found),
        cmocka_unit_test(certificates_are_looked_at),
        cmocka_unit_test(findings_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
