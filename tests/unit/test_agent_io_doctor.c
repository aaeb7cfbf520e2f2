/* The doctor: each thing that is wrong with a host's files is found, and none that is not. */
#include "agent/io/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/util.h"
#include "tests/lib/test.h"

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
                               .libvirt_directory = directory};
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

    conf.libvirt_directory = NULL; /* another hypervisor: libvirt's files are not asked for */
    doctor_host(&conf, 0, &f);
    assert_false(has(&f, "NO_LOCK_MANAGER"));
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
        cmocka_unit_test(findings_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
