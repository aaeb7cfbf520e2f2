/* The failure catalogue: real messages of libvirt and QEMU find their entry. */
#include "tests/lib/test.h"

#include "agent/core/failure.h"

static void real_messages_find_their_kind(void **state)
{
    (void)state;

    static const struct {
        const char *code, *message, *kind;
    } table[] = {
        {"HYPERVISOR", "unable to connect to server at 'hv2:16514': Connection refused",
         "connection"},
        {"HYPERVISOR", "End of file while reading data: Input/output error", "connection"},
        {"UNAVAILABLE", "hv2 is not linked", "connection"},
        {"HYPERVISOR",
         "unsupported configuration: Unable to find security driver for model apparmor",
         "unsupported-configuration"},
        {"HYPERVISOR", "internal error: unable to write: No space left on device", "no-space"},
        {"TIMEOUT", "the move took longer than it may", "timed-out"},
        {"HYPERVISOR", "operation failed: migration in post-copy phase failed", "post-copy-loss"},
        {"HYPERVISOR", "internal error: unable to resume domain web1", "resume-failure"},
        {"HYPERVISOR", "Cannot access storage file '/x': Permission denied", "permission"},
        {"DENIED", "the permit is for hv3", "permission"},
        {"HYPERVISOR", "the CPU is incompatible with host CPU: Host CPU does not provide avx2",
         "cpu"},
        {"HYPERVISOR", "Secret not found: no secret with matching uuid '0f5b'", "storage-secret"},
        {"CAPACITY", "web1 needs 8192 MiB, 4000 of 8192 MiB are taken", "no-capacity"},
        {"TIMEOUT", "web1 was asked, and runs on", "guest-does-not-listen"},
        {"INCOMPATIBLE", "BLOCK_JOB: a block job runs on disk vda; wait for it",
         "unsupported-configuration"},
        {"INCOMPATIBLE", "CPU: the processor of hv2 cannot run the VM's CPU; give it a model",
         "cpu"},
        {"INCOMPATIBLE", "SECRET: disk vda needs secret 0f5b, which hv2 does not know; define it",
         "storage-secret"},
        {"HYPERVISOR", "something new", "hypervisor"},
        {"INTERNAL", "a defect", "other"},
        {NULL, NULL, "unknown"},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct failure *f = failure_find(table[i].code, table[i].message);
        if (strcmp(f->kind, table[i].kind) != 0)
            fail_msg("\"%s\": %s, wanted %s", table[i].message, f->kind, table[i].kind);
        assert_true(strlen(f->cause) > 0 && strlen(f->remedy) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_messages_find_their_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
