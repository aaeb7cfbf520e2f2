/* The libvirt hypervisor against libvirt's own test driver, where that can serve. */
#include "tests/lib/test.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/hypervisor.h"
#include "agent/io/sensors.h"
#include "proto/util.h"

static struct hypervisor *open_uri(const char *uri)
{
    struct err err = {0};
    struct hypervisor *hv = NULL;
    struct hypervisor_conf conf = {.uri = uri, .host = "here"};
    assert_ok(hypervisor_open(&conf, &hv, &err), &err);
    return hv;
}

static struct hv_result call(struct hypervisor *hv, enum hv_kind kind, const char *uuid)
{
    struct hv_job job = {.id = 9, .kind = kind};
    struct hv_result r;
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", uuid);
    snprintf(job.move.to, sizeof job.move.to, "there");
    hypervisor_call(hv, &job, &r);
    assert_int_equal(r.job, 9);
    return r;
}

static void uris_are_checked(void **state)
{
    (void)state;

    static const struct {
        const char *uri, *part;
    } bad[] = {
        {"", "unknown scheme"},
        {"xen", "unknown scheme; known: \"libvirt:...\", \"sim:...\""},
        {"vmware:x", "unknown scheme"},
        {"libvirt:", "nothing follows"},
        {"libvirt:qemu", "not a libvirt URI"},
        {"sim:", "nothing follows"},
        {"sim:world", "the path of a socket"},
    };
    struct err err = {0};
    struct hypervisor *hv;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct hypervisor_conf conf = {.uri = bad[i].uri, .host = "here"};
        assert_err(hypervisor_open(&conf, &hv, &err), &err, ERR_INVALID, bad[i].part);
    }
    struct hypervisor_conf conf = {
        .uri = "libvirt:test:///default", .host = "here", .peer_uri = "qemu+tls://x/system"};
    assert_err(hypervisor_open(&conf, &hv, &err), &err, ERR_INVALID, "lacks HOST");
}

static void test_driver_is_observed(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:test:///default");
    for (int round = 0; round < 3; round++) {
        struct hv_result r = call(hv, HV_OBSERVE, "");
        if (r.err.code != ERR_OK)
            fail_msg("%s", r.err.msg);
        const Skein__HostDetail *d = r.detail;
        assert_int_equal(d->summary->cores, 16);
        assert_int_equal(d->summary->memory_total_mib, 3072);
        assert_true(d->summary->hypervisor_ok);
        assert_false(d->summary->has_inlet_millicelsius);
        assert_string_equal(d->capability->arch, "i686");
        assert_int_equal(d->capability->n_storage, 1);
        assert_string_equal(d->capability->storage[0]->name, "default-pool");
        assert_int_equal(d->n_vms, 1);
        assert_string_equal(d->vms[0]->name, "test");
        assert_int_equal(d->vms[0]->state, SKEIN__VM_STATE__VM_RUNNING);
        assert_int_equal(d->vms[0]->memory_mib, 8192);
        assert_string_equal(d->vms[0]->networks[0], "default");
        assert_int_equal(d->vms[0]->local_disk_mib, 1); /* its file does not exist */
        hv_result_done(&r);
    }
    hypervisor_close(hv);
}

static void looks_and_refusals(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:test:///default");
    struct hv_result r = call(hv, HV_LOOK, "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_int_equal(r.err.code, ERR_OK);
    assert_true(r.seen.present && r.seen.persistent && !r.seen.job);
    assert_int_equal(r.seen.state, SKEIN__VM_STATE__VM_RUNNING);
    r = call(hv, HV_LOOK, "00000000-0000-4000-8000-000000000001");
    assert_int_equal(r.err.code, ERR_OK);
    assert_false(r.seen.present);
    r = call(hv, HV_TIDY, "00000000-0000-4000-8000-000000000001");
    assert_int_equal(r.err.code, ERR_OK); /* tidy already */
    r = call(hv, HV_TIDY, "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_int_equal(r.err.code, ERR_CONFLICT); /* it runs */
    r = call(hv, HV_PRECHECK, "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_int_equal(r.err.code, ERR_INCOMPATIBLE);
    assert_non_null(strstr(r.err.msg, "on this host only"));
    r = call(hv, HV_PRECHECK, "00000000-0000-4000-8000-000000000001");
    assert_int_equal(r.err.code, ERR_NOT_FOUND);
    r = call(hv, HV_ADMIT, "00000000-0000-4000-8000-000000000001");
    assert_int_equal(r.err.code, ERR_INVALID);
    r = call(hv, HV_MIGRATE, "6695eb01-f6a4-8304-79aa-97f2502e193f");
    assert_true(r.err.code != ERR_OK); /* the test driver cannot */
    r = call(hv, HV_LOOK, "no uuid");
    assert_int_equal(r.err.code, ERR_INVALID);
    hypervisor_close(hv);
}

static void names_never_become_uris(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:test:///default");
    static const char *const bad[] = {"",    "-x",  "a/b", "a b", "a?no_verify=1",
                                      "a@b", "a:1", "\xc3"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct hv_job job = {.kind = HV_LOOK_REMOTE};
        struct hv_result r;
        snprintf(job.move.uuid, sizeof job.move.uuid, "6695eb01-f6a4-8304-79aa-97f2502e193f");
        snprintf(job.move.to, sizeof job.move.to, "%s", bad[i]);
        hypervisor_call(hv, &job, &r);
        assert_int_equal(r.err.code, ERR_INVALID);
        job.kind = HV_MIGRATE;
        hypervisor_call(hv, &job, &r);
        assert_int_equal(r.err.code, ERR_INVALID);
    }
    hypervisor_close(hv);
}

static void absent_libvirt_is_unavailable(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:qemu:///system?socket=/nonexistent/libvirt-sock");
    struct hv_result r = call(hv, HV_OBSERVE, "");
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(r.err.msg, "libvirt error"));
    assert_null(strchr(r.err.msg, '\n'));
    assert_null(r.detail);
    r = call(hv, HV_OBSERVE, ""); /* within the pause: the same answer, at once */
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    hypervisor_close(hv);
}

static unsigned changes;

static void on_changed(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST);
}

static bool told_of_change(void)
{
    for (int i = 0; i < 300 && __atomic_load_n(&changes, __ATOMIC_SEQ_CST) == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return __atomic_load_n(&changes, __ATOMIC_SEQ_CST) > 0;
}

static const Skein__VmDetail *first_vm(const struct hv_result *r)
{
    assert_int_equal(r->err.code, ERR_OK);
    assert_int_equal(r->detail->n_vms, 1);
    return r->detail->vms[0];
}

/* Another client of the same libvirt changes the VM: we are told, and the next observation has it.
 */
static void events_bring_changes(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:test:///default");
    hv->ops->watch(hv, on_changed, NULL);
    struct hv_result r = call(hv, HV_OBSERVE, "");
    hv_result_done(&r);
    virConnectPtr other = virConnectOpen("test:///default");
    assert_non_null(other);
    virDomainPtr dom = virDomainLookupByName(other, "test");
    __atomic_store_n(&changes, 0, __ATOMIC_SEQ_CST);
    assert_int_equal(virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT,
                                          "<vm><owner>shop</owner></vm>", "skein",
                                          "https://skein.dev/domain/1", VIR_DOMAIN_AFFECT_LIVE),
                     0);
    assert_true(told_of_change());
    r = call(hv, HV_OBSERVE, "");
    assert_string_equal(first_vm(&r)->owner, "shop");
    hv_result_done(&r);
    assert_int_equal(virDomainSuspend(dom), 0);
    r = call(hv, HV_OBSERVE, "");
    assert_int_equal(first_vm(&r)->state, SKEIN__VM_STATE__VM_PAUSED);
    hv_result_done(&r);
    assert_int_equal(virDomainResume(dom), 0);
    hv->ops->watch(hv, NULL, NULL);
    hypervisor_close(hv);
    virDomainFree(dom);
    virConnectClose(other);
}

static void *observe_often(void *arg)
{
    for (int i = 0; i < 20; i++) {
        struct hv_result r = call(arg, HV_OBSERVE, "");
        assert_int_equal(r.err.code, ERR_OK);
        hv_result_done(&r);
        r = call(arg, HV_LOOK, "6695eb01-f6a4-8304-79aa-97f2502e193f");
        assert_true(r.seen.present);
    }
    return NULL;
}

static void threads_may_call_at_once(void **state)
{
    (void)state;
    struct hypervisor *hv = open_uri("libvirt:test:///default");
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_create(&threads[i], NULL, observe_often, hv);
    for (int i = 0; i < 20; i++) { /* as if calls hung meanwhile */
        hv->ops->reset(hv);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    hypervisor_close(hv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uris_are_checked),
        cmocka_unit_test(test_driver_is_observed),
        cmocka_unit_test(looks_and_refusals),
        cmocka_unit_test(names_never_become_uris),
        cmocka_unit_test(absent_libvirt_is_unavailable),
        cmocka_unit_test(events_bring_changes),
        cmocka_unit_test(threads_may_call_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
