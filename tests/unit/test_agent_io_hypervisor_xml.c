/* What libvirt's XML says: recorded and written samples, then spoilt ones. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "agent/io/hypervisor_libvirt_xml.h"
#include "agent/io/probe.h"
#include "proto/codec.h"
#include "proto/units.h"

static char *load(const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/tests/unit/libvirt/%s", SKEIN_SOURCE_DIR, name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    struct buf b = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(&b, part, n);
    fclose(f);
    return buf_take(&b);
}

static Skein__HostCapability *capability_new(void)
{
    Skein__HostCapability *cap = xmalloc(sizeof *cap);
    skein__host_capability__init(cap);
    return cap;
}

static bool listed(char **items, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

static void recorded_domain_is_understood(void **state)
{
    (void)state;
    struct err err = {0};
    struct domain_xml d;
    _cleanup_(freep) char *text = load("domain-guest.xml");
    assert_ok(domain_xml_parse(text, &d, &err), &err);
    assert_string_equal(d.vm->name, "g1");
    assert_string_equal(d.vm->machine, "pc-i440fx-7.2");
    assert_string_equal(d.vm->arch, "x86_64");
    assert_string_equal(d.vm->cpu_model, "qemu64");
    assert_int_equal(d.vm->n_cpu_features, 2);
    assert_int_equal(d.vm->memory_mib, 64);
    assert_int_equal(d.vm->vcpus, 1);
    assert_int_equal(d.vm->n_tags, 0); /* its metadata is somebody else's */
    assert_string_equal(d.warning, "");
    assert_int_equal(d.n_disks, 1);
    assert_int_equal(d.disks[0].kind, DISK_FILE);
    assert_string_equal(d.disks[0].path, "/srv/shared/g1.raw");
    assert_int_equal(d.vm->n_devices + d.vm->n_blockers + d.vm->n_networks, 0);
    domain_xml_done(&d);
}

static void check_rich_metadata(const Skein__VmDetail *vm)
{
    assert_string_equal(vm->owner, "sh&op");
    assert_int_equal(vm->priority, 70);
    assert_int_equal(vm->n_tags, 2);
    assert_string_equal(vm->tags[0]->key, "os");
    assert_string_equal(vm->tags[0]->value, "Debian \xe2\x89\xa5 12");
    assert_string_equal(vm->tags[1]->value, "gold");
    assert_int_equal(vm->hold_until_ms, 1796083200000);
    assert_int_equal(vm->max_downtime_ms, 250);
    assert_true(vm->has_postcopy_allowed && vm->postcopy_allowed);
}

static void rich_domain_is_understood(void **state)
{
    (void)state;
    struct err err = {0};
    struct domain_xml d;
    _cleanup_(freep) char *text = load("domain-rich.xml");
    assert_ok(domain_xml_parse(text, &d, &err), &err);
    const Skein__VmDetail *vm = d.vm;
    check_rich_metadata(vm);
    assert_string_equal(d.warning, "");
    assert_int_equal(vm->memory_mib, 8192);
    assert_int_equal(vm->vcpus, 4);
    assert_int_equal(vm->hugepages_kib, 1048576);
    assert_string_equal(vm->cpu_model, "EPYC-Rome");
    assert_int_equal(vm->n_cpu_features, 2);
    assert_string_equal(vm->cpu_features[0], "hypervisor");
    assert_int_equal(vm->n_networks, 2);
    assert_string_equal(vm->networks[0], "br-vm");
    assert_string_equal(vm->networks[1], "default");
    assert_int_equal(vm->n_devices, 3);
    assert_string_equal(vm->devices[0]->type, "interface-hostdev");
    assert_string_equal(vm->devices[1]->type, "hostdev-pci");
    assert_string_equal(vm->devices[2]->type, "filesystem");
    assert_false(vm->devices[1]->migratable);
    assert_int_equal(vm->n_blockers, 1);
    assert_string_equal(vm->blockers[0], "a block job on disk vdb");
    assert_int_equal(d.n_disks, 4); /* the empty drive is none */
    assert_string_equal(d.disks[2].pool, "ceph");
    assert_true(d.disks[2].shareable);
    assert_string_equal(d.disks[3].source, "rbd:vms");
    domain_xml_done(&d);
}

static bool has_line(const struct baseline *b, const char *line)
{
    return listed(b->lines, b->n, line);
}

/* What both ends of a move say alike of a VM, and of which a start makes nothing anew. */
static void baseline_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "<domain type='kvm' id='7'><name>x</name><memory unit='MiB'>64</memory>"
        "<vcpu placement='static' cpuset='0-3'>2</vcpu>"
        "<cputune><shares>900</shares><vcpupin vcpu='1' cpuset='2'/></cputune>"
        "<memtune><hard_limit unit='KiB'>99</hard_limit></memtune>"
        "<numatune><memory mode='strict' nodeset='0'/></numatune>"
        "<os><type machine='pc-q35-7.2'>hvm</type></os><devices>"
        "<disk type='network' device='disk'><driver cache='none'/><source protocol='rbd' "
        "name='vms/x' index='1'/><target dev='vda' bus='virtio'/><iotune>"
        "<read_iops_sec>5</read_iops_sec><write_iops_sec>6</write_iops_sec></iotune>"
        "<alias name='virtio-disk0'/></disk>"
        "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='ovs' "
        "portgroup='blue' portid='1-2' bridge='br7'/><target dev='vnet3'/><model type='virtio'/>"
        "<bandwidth><inbound average='1000' peak='2000'/></bandwidth><link state='up'/>"
        "<filterref filter='clean-traffic'/></interface></devices></domain>";
    struct err err = {0};
    struct baseline b = {0};
    assert_ok(baseline_xml_read(text, &b, &err), &err);
    static const char *const lines[] = {
        "def name=x",
        "def memory=64 MiB",
        "def processors=2",
        "def machine=pc-q35-7.2",
        "set processors cpuset=0-3",
        "set processors shares=900",
        "set processors vcpupin 1=2",
        "set memory hard_limit=99",
        "set nodes memory=mode=strict nodeset=0",
        "def disk vda=disk virtio",
        "set disk vda source=rbd:vms/x",
        "set disk vda limits=read_iops_sec=5 write_iops_sec=6",
        "set disk vda cache=none",
        "def card 52:54:00:00:00:01=virtio",
        "set card 52:54:00:00:00:01 source=network ovs blue",
        "set card 52:54:00:00:00:01 bandwidth=inbound=average=1000 peak=2000",
        "set card 52:54:00:00:00:01 filter=clean-traffic",
        "set card 52:54:00:00:00:01 link=up",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!has_line(&b, lines[i]))
            fail_msg("\"%s\" is missing", lines[i]);
    assert_int_equal(b.n, ARRAY_SIZE(lines));
    baseline_done(&b);
}

#define HEAD                                                                                       \
    "<domain><name>x</name><uuid>0f3c2b1a-1111-4222-8333-444455556666</uuid>"                      \
    "<memory unit='MiB'>64</memory><vcpu>1</vcpu>"

#define META(x)                                                                                    \
    HEAD "<metadata><s:vm xmlns:s='https://skein.dev/domain/1'>" x "</s:vm></metadata></domain>"

static void bad_metadata_is_a_warning(void **state)
{
    (void)state;

    static const struct {
        const char *text, *warning;
    } samples[] = {
        {META("<s:priority>high</s:priority>"), "<priority>"},
        {META("<s:priority>-1</s:priority>"), "<priority>"},
        {META("<s:priority>99999999999999999999</s:priority>"), "<priority>"},
        {META("<s:tag name='a'/>"), "<tag>"},
        {META("<s:tag name='' value='x'/>"), "<tag>"},
        {META("<s:tag name='a' value='x&#10;y'/>"), "<tag>"},
        {META("<s:tag name='a' value='1'/><s:tag name='a' value='2'/>"), "twice"},
        {META("<s:owner/>"), "<owner>"},
        {META("<s:postcopy_allowed>maybe</s:postcopy_allowed>"), "<postcopy_allowed>"},
        {META("<s:max_downtime_ms>1e9</s:max_downtime_ms>"), "<max_downtime_ms>"},
        {META("<s:colour>red</s:colour>"), "<colour>"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct err err = {0};
        struct domain_xml d;
        assert_ok(domain_xml_parse(samples[i].text, &d, &err), &err);
        assert_non_null(strstr(d.warning, samples[i].warning));
        domain_xml_done(&d);
    }
}

static void unreadable_hold_holds(void **state)
{
    (void)state;
    struct err err = {0};
    struct domain_xml d;
    assert_ok(domain_xml_parse(META("<s:hold_until>next week</s:hold_until>"), &d, &err), &err);
    assert_true(d.vm->has_hold_until_ms);
    assert_true(d.vm->hold_until_ms > UINT64_C(4000000000000));
    domain_xml_done(&d);
}

static void bad_domains_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *text, *part;
    } samples[] = {
        {"", "not well-formed"},
        {"<domain>", "not well-formed"},
        {"<domain/>", "no valid <uuid>"},
        {"<network/>", "<domain> expected"},
        {"<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>", "document type"},
        {"<domain><name>x</name><uuid>zz</uuid></domain>", "no valid <uuid>"},
        {"<domain><name>x&#9;y</name><uuid>0f3c2b1a-1111-4222-8333-444455556666</uuid></domain>",
         "its name"},
        {"<domain><name>x</name><uuid>0f3c2b1a-1111-4222-8333-444455556666</uuid>"
         "<memory unit='parsec'>1</memory></domain>",
         "no valid <memory>"},
        {"<domain><name>x</name><uuid>0f3c2b1a-1111-4222-8333-444455556666</uuid>"
         "<memory unit='GiB'>99999999999999</memory><vcpu>1</vcpu></domain>",
         "no valid <memory>"},
        {"<domain><name>x</name><uuid>0f3c2b1a-1111-4222-8333-444455556666</uuid>"
         "<memory>1</memory><vcpu>0</vcpu></domain>",
         "no valid <vcpu>"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct err err = {0};
        struct domain_xml d;
        assert_err(domain_xml_parse(samples[i].text, &d, &err), &err, ERR_INVALID, samples[i].part);
    }
}

/* What has no billion laughs and no depth without end. */
static void huge_xml_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct domain_xml d;
    struct buf deep = {0}, wide = {0};
    for (int i = 0; i < 20000; i++)
        buf_adds(&deep, "<domain>");
    assert_err(domain_xml_parse(deep.data, &d, &err), &err, ERR_INVALID, "not well-formed");
    while (wide.len <= LIBVIRT_XML_MAX)
        buf_adds(&wide, "<domain><domain><domain><domain><domain><domain>");
    assert_err(domain_xml_parse(wide.data, &d, &err), &err, ERR_LIMIT, "too many");
    buf_done(&deep);
    buf_done(&wide);
}

/* All strings of what came out may stand in a message: the codec would refuse the whole. */
static void check_sendable(Skein__VmDetail *vm)
{
    struct err err = {0};
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT, *back = NULL;
    detail.vms = &vm;
    detail.n_vms = 1;
    frame.kind_case = SKEIN__FRAME__KIND_DETAIL;
    frame.detail = &detail;
    size_t len;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame.base, &len);
    if (len < CODEC_FRAME_MAX)
        assert_ok(codec_frame(bytes, len, &back, &err), &err);
    skein_frame_freep(&back);
}

/* Bytes changed, cut out and doubled, from a fixed seed: no crash, no leak, nothing unsendable. */
static void spoilt_xml_is_survived(void **state)
{
    (void)state;
    _cleanup_(freep) char *text = load("domain-rich.xml");
    size_t len = strlen(text);
    uint64_t seed = 20261122, understood = 0;
    for (int round = 0; round < 3000; round++) {
        _cleanup_(freep) char *copy = xstrdup(text);
        for (int k = 0; k <= round % 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 33) % len;
            copy[at] = (char)(1 + (seed >> 20) % 255);
        }
        struct domain_xml d;
        struct err err = {0};
        if (domain_xml_parse(copy, &d, &err) < 0) {
            assert_true(err.msg[0] != '\0');
            continue;
        }
        understood++;
        check_sendable(d.vm);
        domain_xml_done(&d);
    }
    assert_true(understood > 100);
}

static void capabilities_are_understood(void **state)
{
    (void)state;
    struct err err = {0};
    struct caps_xml c;
    Skein__HostCapability *cap = capability_new();
    _cleanup_(freep) char *text = load("capabilities.xml");
    assert_ok(caps_xml_parse(text, 4, cap, &c, &err), &err);
    assert_string_equal(cap->arch, "x86_64");
    assert_string_equal(c.emulator, "/usr/bin/qemu-system-x86_64");
    assert_true(listed(cap->machines, cap->n_machines, "pc-q35-7.2"));
    assert_int_equal(cap->n_numa, 1);
    assert_int_equal(cap->numa[0]->cores, 2);
    assert_int_equal(cap->n_hugepages, 1); /* not the pages of 4 KiB, not those of which none are */
    assert_int_equal(cap->hugepages[0]->size_kib, 2048);
    assert_int_equal(cap->hugepages[0]->total, 1024);
    assert_int_equal(strlen(cap->hypervisor_uuid), 36);
    caps_xml_done(&c);
    skein__host_capability__free_unpacked(cap, NULL);
}

static void domain_capabilities_are_understood(void **state)
{
    (void)state;
    struct err err = {0};
    Skein__HostCapability *cap = capability_new();
    _cleanup_(freep) char *text = load("domcapabilities.xml");
    char *cpu = NULL;
    assert_ok(domcaps_xml_parse(text, cap, &cpu, &err), &err);
    assert_true(listed(cap->usable_models, cap->n_usable_models, "qemu64"));
    assert_false(listed(cap->usable_models, cap->n_usable_models, "Icelake-Server"));
    assert_non_null(cpu);
    assert_ok(cpu_xml_parse(cpu, cap, &err), &err);
    assert_true(listed(cap->cpu_features, cap->n_cpu_features, "hypervisor"));
    assert_false(listed(cap->cpu_features, cap->n_cpu_features, "vme")); /* policy disable */
    free(cpu);
    skein__host_capability__free_unpacked(cap, NULL);
}

static void pools_are_understood(void **state)
{
    (void)state;
    struct err err = {0};
    struct pool_xml p;
    _cleanup_(freep) char *text = load("pool-dir.xml");
    assert_ok(pool_xml_parse(text, &p, &err), &err);
    assert_string_equal(p.name, "shared");
    assert_string_equal(p.type, "dir");
    assert_string_equal(p.path, "/srv/shared");
    pool_xml_done(&p);
    assert_ok(pool_xml_parse("<pool type='rbd'><name>ceph</name><source><name>vms</name></source>"
                             "<target><path>/x//</path></target></pool>",
                             &p, &err),
              &err);
    assert_string_equal(p.source, "vms");
    assert_string_equal(p.path, "/x");
    pool_xml_done(&p);
    assert_err(pool_xml_parse("<pool><name>&#127;</name></pool>", &p, &err), &err, ERR_INVALID,
               "its name");
}

/* ---- small facts of the kernel ---- */

static void pressure_is_parsed(void **state)
{
    (void)state;
    assert_int_equal(probe_psi_parse("some avg10=12.34 avg60=0.35 avg300=0.27 total=6512270\n"
                                     "full avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"),
                     12340);
    assert_int_equal(probe_psi_parse("some avg10=0.00 avg60=0 avg300=0 total=0\n"), 0);
    assert_int_equal(probe_psi_parse("some avg10=100.00 total=0\n"), 100000);
    static const char *const bad[] = {"",
                                      "full avg10=1.00\n",
                                      "some avg10=-1.00\n",
                                      "some avg10=nan\n",
                                      "some avg10=4000.00\n",
                                      "some avg60=1.00\nfull avg10=2.00\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_true(probe_psi_parse(bad[i]) == QUANTITY_UNKNOWN);
}

static void memory_is_parsed(void **state)
{
    (void)state;
    assert_int_equal(probe_available_parse("MemTotal: 10 kB\nMemAvailable:   2097152 kB\n"), 2048);
    assert_true(probe_available_parse("MemTotal: 10 kB\n") == QUANTITY_UNKNOWN);
    assert_true(probe_available_parse("MemAvailable: many kB\n") == QUANTITY_UNKNOWN);
}

static void mounts_are_found(void **state)
{
    (void)state;
    static const char mounts[] = "/dev/sda1 / ext4 rw 0 0\n"
                                 "nas:/vms /srv/vms nfs4 rw 0 0\n"
                                 "/dev/sdb1 /srv/vms/local\\040disk xfs rw 0 0\n"
                                 "lab /srv/shared fuse.glusterfs rw 0 0\n"
                                 "tmpfs /srv/shared tmpfs rw 0 0\n";
    struct probe_mount m;
    assert_true(probe_mount_of(mounts, "/srv/vms/a.raw", &m));
    assert_true(m.shared);
    assert_string_equal(m.target, "/srv/vms");
    assert_true(probe_mount_of(mounts, "/srv/vms/local disk/a.raw", &m));
    assert_false(m.shared);
    assert_true(probe_mount_of(mounts, "/srv/vmsx", &m));
    assert_string_equal(m.target, "/");
    assert_true(probe_mount_of(mounts, "/srv/shared/x", &m)); /* covered by the later mount */
    assert_string_equal(m.type, "tmpfs");
    assert_false(probe_mount_of("", "/x", &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_domain_is_understood),
        cmocka_unit_test(rich_domain_is_understood),
        cmocka_unit_test(baseline_is_read),
        cmocka_unit_test(bad_metadata_is_a_warning),
        cmocka_unit_test(unreadable_hold_holds),
        cmocka_unit_test(bad_domains_are_refused),
        cmocka_unit_test(huge_xml_is_refused),
        cmocka_unit_test(spoilt_xml_is_survived),
        cmocka_unit_test(capabilities_are_understood),
        cmocka_unit_test(domain_capabilities_are_understood),
        cmocka_unit_test(pools_are_understood),
        cmocka_unit_test(pressure_is_parsed),
        cmocka_unit_test(memory_is_parsed),
        cmocka_unit_test(mounts_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
