/* What a VM's definition asks of two hosts: each thing that is wanting is found, with its code, and
 * none where it is there or not known. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/hypervisor_libvirt_needs.h"
#include "agent/io/probe.h"
#include "tls/file.h"

static void read_odd(struct vm_needs *ret)
{
    struct err err = {0};
    _cleanup_(freep) char *text = NULL;
    assert_ok(file_read(SKEIN_SOURCE_DIR "/tests/unit/libvirt/domain-needs.xml", 1 << 20, &text,
                        NULL, &err),
              &err);
    assert_ok(needs_xml_parse(text, ret, &err), &err);
}

static void definition_is_understood(void **state)
{
    (void)state;
    struct vm_needs n;
    read_odd(&n);
    assert_string_equal(n.type, "kvm");
    assert_string_equal(n.machine, "pc-q35-7.2");
    assert_non_null(strstr(n.cpu, "<model>EPYC-Rome</model>"));
    assert_false(n.cpu_of_host);
    assert_string_equal(n.security_model, "apparmor");
    assert_int_equal(n.memory_mib, 512);
    assert_int_equal(n.page_kib, 2048);
    assert_int_equal(n.numa_nodes, 5); /* what is only preferred is no need */
    assert_int_equal(n.cpu_highest, 9);
    assert_int_equal(n.n_disks, 4);
    assert_string_equal(n.disks[0].path, "/dev/sdx");
    assert_string_equal(n.disks[1].secret, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");
    assert_string_equal(n.disks[2].pool, "fast");
    assert_true(n.disks[3].readonly);
    assert_int_equal(n.n_nics, 2);
    assert_string_equal(n.nics[0].portgroup, "blue");
    assert_string_equal(n.nics[0].filter, "clean-traffic");
    assert_int_equal(n.nics[0].mtu, 9000);
    assert_string_equal(n.nics[1].source, "br-vm");
    needs_done(&n);
}

/* Bytes changed, from a fixed seed: no crash, no leak. */
static void spoilt_xml_is_survived(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(freep) char *text = NULL;
    size_t len, understood = 0;
    uint64_t seed = 20261130;
    assert_ok(file_read(SKEIN_SOURCE_DIR "/tests/unit/libvirt/domain-needs.xml", 1 << 20, &text,
                        &len, &err),
              &err);
    for (int round = 0; round < 3000; round++) {
        _cleanup_(freep) char *copy = xstrdup(text);
        for (int k = 0; k <= round % 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[(seed >> 33) % len] = (char)(1 + (seed >> 20) % 255);
        }
        struct vm_needs n;
        struct baseline b = {0};
        if (needs_xml_parse(copy, &n, &err) == 0) {
            struct hv_findings f = {0};
            struct host_facts here = {0}, there = {0};
            needs_check_here(&n, &here, &f);
            needs_check_there(&n, &here, "hv2", &there, &f);
            needs_done(&n);
            understood++;
        }
        baseline_xml_read(copy, &b, &err);
        baseline_done(&b);
    }
    assert_true(understood > 100);
}

static void lists_of_processors(void **state)
{
    (void)state;
    uint64_t bits;
    int highest;
    assert_true(needs_cpu_list("0-3,^2,8", &bits, &highest));
    assert_int_equal(bits, 0x10b);
    assert_int_equal(highest, 8);
    assert_true(needs_cpu_list("500", &bits, &highest));
    assert_int_equal(bits, 0);
    static const char *const bad[] = {"", "a", "3-1", "1,", "1-", "-1", "99999999"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(needs_cpu_list(bad[i], &bits, &highest));
}

/* ---- two hosts ---- */

static void give(struct host_names *names, const char *name)
{
    names->known = true;
    if (name != NULL)
        strings_add(&names->items, &names->n, name);
}

static Skein__HostCapability *capability(uint64_t free_pages, size_t nodes)
{
    Skein__HostCapability *cap = xmalloc(sizeof *cap);
    skein__host_capability__init(cap);
    cap->arch = xstrdup("x86_64");
    strings_add(&cap->machines, &cap->n_machines, "pc-q35-7.2");
    cap->hugepages = xcalloc(1, sizeof *cap->hugepages);
    cap->hugepages[cap->n_hugepages++] = xmalloc(sizeof **cap->hugepages);
    skein__huge_pages__init(cap->hugepages[0]);
    cap->hugepages[0]->size_kib = 2048;
    cap->hugepages[0]->has_free = 1;
    cap->hugepages[0]->free = free_pages;
    cap->numa = xcalloc(nodes, sizeof *cap->numa);
    for (size_t i = 0; i < nodes; i++) {
        cap->numa[cap->n_numa++] = xmalloc(sizeof **cap->numa);
        skein__numa_node__init(cap->numa[i]);
    }
    return cap;
}

static void net(struct host_facts *f, const char *xml)
{
    struct err err = {0};
    f->nets = xrealloc(f->nets, f->n_nets + 1, sizeof *f->nets);
    assert_ok(net_xml_parse(xml, &f->nets[f->n_nets++], &err), &err);
}

/* A host on which nothing is wanting. */
static struct host_facts good_host(void)
{
    struct host_facts f = {.qemu = 7002000,
                           .libvirt = 9000000,
                           .security_model = xstrdup("apparmor"),
                           .cpus = 16,
                           .cap = capability(1024, 3)};
    give(&f.networks_of_host, "ovs");
    give(&f.bridges, "br-vm");
    give(&f.filters, "clean-traffic");
    give(&f.secrets, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");
    give(&f.pools, "fast");
    net(&f, "<network><name>ovs</name><virtualport type='openvswitch'/><mtu size='9000'/>"
            "<portgroup name='blue'/></network>");
    net(&f, "<interface type='bridge' name='br-vm'><mtu size='1500'/></interface>");
    return f;
}

static const struct hv_finding *find(const struct hv_findings *f, const char *code)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->items[i].code, code) == 0)
            return &f->items[i];
    return NULL;
}

static void compare(const struct host_facts *here, const struct host_facts *there,
                    struct hv_findings *ret)
{
    struct vm_needs n;
    read_odd(&n);
    *ret = (struct hv_findings){0};
    needs_check_there(&n, here, "hv2", there, ret);
    for (size_t i = 0; i < ret->n; i++)
        assert_true(ret->items[i].evidence[0] != '\0' && ret->items[i].remedy[0] != '\0');
    needs_done(&n);
}

static void nothing_is_wanting_on_a_good_host(void **state)
{
    (void)state;
    struct hv_findings f;
    struct host_facts here = good_host(), there = good_host(), unknown = {0};
    compare(&here, &there, &f);
    assert_int_equal(f.n, 0);
    compare(&here, &unknown, &f); /* what is not known is not held against it */
    assert_int_equal(f.n, 0);
    host_facts_done(&here);
    host_facts_done(&there);
}

/* One host with one fault: only that is found. */
static void only(void (*spoil)(struct host_facts *there), const char *code, bool advice)
{
    struct hv_findings f;
    struct host_facts here = good_host(), there = good_host();
    spoil(&there);
    compare(&here, &there, &f);
    assert_int_equal(f.n, 1);
    assert_string_equal(f.items[0].code, code);
    assert_int_equal(f.items[0].advice, advice);
    host_facts_done(&here);
    host_facts_done(&there);
}

static void old_qemu(struct host_facts *f)
{
    f->qemu = 7001009;
}

static void old_libvirt(struct host_facts *f)
{
    f->libvirt = 8000000;
}

static void other_arch(struct host_facts *f)
{
    free(f->cap->arch);
    f->cap->arch = xstrdup("aarch64");
}

static void other_machine(struct host_facts *f)
{
    strcpy(f->cap->machines[0], "pc-q35-6.2");
}

static void weak_cpu(struct host_facts *f)
{
    f->cpu_wrong = true;
}

static void few_pages(struct host_facts *f)
{
    f->cap->hugepages[0]->free = 255;
}

static void few_nodes(struct host_facts *f)
{
    skein__numa_node__free_unpacked(f->cap->numa[--f->cap->n_numa], NULL);
}

static void few_cpus(struct host_facts *f)
{
    f->cpus = 9;
}

static void no_pool(struct host_facts *f)
{
    strcpy(f->pools.items[0], "slow");
}

static void no_secret(struct host_facts *f)
{
    f->secrets.items[0][0] = 'b';
}

static void no_network(struct host_facts *f)
{
    strcpy(f->networks_of_host.items[0], "n");
}

static void no_bridge(struct host_facts *f)
{
    strcpy(f->bridges.items[0], "eth0");
}

static void no_filter(struct host_facts *f)
{
    f->filters.items[0][0] = 'C';
}

static void small_mtu(struct host_facts *f)
{
    f->nets[0].mtu = 0;
}

static void no_portgroup(struct host_facts *f)
{
    strcpy(f->nets[0].portgroups.items[0], "red");
}

static void other_port(struct host_facts *f)
{
    f->nets[0].virtualport[0] = '\0';
}

static void other_confinement(struct host_facts *f)
{
    strcpy(f->security_model, "selinux");
}

static void each_want_is_found_alone(void **state)
{
    (void)state;
    only(old_qemu, "QEMU_OLDER", false);
    only(old_libvirt, "LIBVIRT_OLDER", true);
    only(other_arch, "ARCH", false);
    only(other_machine, "MACHINE", false);
    only(weak_cpu, "CPU", false);
    only(few_pages, "HUGEPAGES", false);
    only(few_nodes, "NUMA", false);
    only(few_cpus, "PINNING", false);
    only(no_pool, "STORAGE", false);
    only(no_secret, "SECRET", false);
    only(no_network, "NETWORK", false);
    only(no_bridge, "NETWORK", false);
    only(no_filter, "NWFILTER", false);
    only(small_mtu, "MTU", false);
    only(no_portgroup, "PORTGROUP", false);
    only(other_port, "VIRTUALPORT", false);
    only(other_confinement, "SECURITY_MODEL", false);
}

static void source_is_looked_at(void **state)
{
    (void)state;
    struct vm_needs n;
    struct hv_findings f = {0};
    struct host_facts here = {.qemu = 7002000};
    read_odd(&n);
    needs_check_here(&n, &here, &f);
    assert_int_equal(f.n, 2);
    assert_false(find(&f, "CACHE_MODE")->advice);
    assert_true(find(&f, "UNSTABLE_PATH")->advice);
    f = (struct hv_findings){0};
    here.qemu = 3000000; /* which does not drop what it holds of files: the volume is cached too */
    needs_check_here(&n, &here, &f);
    assert_int_equal(f.n, 3);
    needs_done(&n);
}

/* ---- paths to a device ---- */

static void multipath_is_counted(void **state)
{
    (void)state;
    char sysfs[] = "/tmp/skein-sysfs-XXXXXX";
    struct probe_multipath m;
    assert_non_null(mkdtemp(sysfs));
    _cleanup_(freep) char *make = xasprintf(
        "cd %s && mkdir -p block/dm-7/dm block/dm-7/slaves/sda/device block/dm-7/slaves/sdb/device "
        "block/dm-8/dm && echo mpath-3600 >block/dm-7/dm/uuid && echo LVM-x >block/dm-8/dm/uuid && "
        "echo running >block/dm-7/slaves/sda/device/state && "
        "echo offline >block/dm-7/slaves/sdb/device/state",
        sysfs);
    assert_int_equal(system(make), 0);
    assert_true(probe_multipath(sysfs, "/nowhere/dm-7", &m));
    assert_int_equal(m.all, 2);
    assert_int_equal(m.up, 1);
    assert_false(probe_multipath(sysfs, "/nowhere/dm-8", &m));
    assert_false(probe_multipath(sysfs, "/nowhere/sda", &m));
    assert_false(probe_multipath(sysfs, "/nowhere/dm-9", &m));
    _cleanup_(freep) char *drop = xasprintf("rm -r %s", sysfs);
    assert_int_equal(system(drop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definition_is_understood),
        cmocka_unit_test(spoilt_xml_is_survived),
        cmocka_unit_test(lists_of_processors),
        cmocka_unit_test(nothing_is_wanting_on_a_good_host),
        cmocka_unit_test(each_want_is_found_alone),
        cmocka_unit_test(source_is_looked_at),
        cmocka_unit_test(multipath_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
