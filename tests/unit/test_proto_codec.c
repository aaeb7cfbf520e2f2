#include "tests/lib/test.h"

#include <stdio.h>

#include "proto/codec.h"

static void frames_round_trip(void **state)
{
    (void)state;
    struct err err = {0};
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    summary.host = "hv1";
    summary.has_inlet_millicelsius = 1;
    summary.inlet_millicelsius = -3000;
    frame.kind_case = SKEIN__FRAME__KIND_SUMMARY;
    frame.summary = &summary;
    size_t len;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame.base, &len);
    _cleanup_(skein_frame_freep) Skein__Frame *got = NULL;
    assert_ok(codec_frame(bytes, len, &got, &err), &err);
    assert_string_equal(got->summary->host, "hv1");
    assert_int_equal(got->summary->inlet_millicelsius, -3000);
    assert_false(got->summary->has_cpu_millicelsius);
}

/* Bytes of a frame that holds one summary whose host is these bytes. */
static size_t summary_bytes(const char *host, size_t n, uint8_t *out)
{
    size_t len = 0;
    out[len++] = 10 << 3 | 2; /* frame.summary */
    out[len++] = (uint8_t)(n + 2);
    out[len++] = 1 << 3 | 2; /* summary.host */
    out[len++] = (uint8_t)n;
    memcpy(out + len, host, n);
    return len + n;
}

static void names_are_checked(void **state)
{
    (void)state;
    struct err err = {0};
    uint8_t bytes[128];
    Skein__Frame *got = NULL;
    size_t n = summary_bytes("hv\xff", 3, bytes);
    assert_err(codec_frame(bytes, n, &got, &err), &err, ERR_INVALID,
               "summary: host: invalid UTF-8");
    n = summary_bytes("h\nv", 3, bytes);
    assert_err(codec_frame(bytes, n, &got, &err), &err, ERR_INVALID, "control character");
    n = summary_bytes("\xed\xa0\x80", 3, bytes);
    assert_err(codec_frame(bytes, n, &got, &err), &err, ERR_INVALID, "UTF-8");
    n = summary_bytes("h\xc3\xa9", 3, bytes);
    assert_ok(codec_frame(bytes, n, &got, &err), &err);
    skein_frame_free(got);
}

static void unknown_fields_are_tolerated(void **state)
{
    (void)state;
    struct err err = {0};
    uint8_t bytes[128];
    size_t n = summary_bytes("hv1", 3, bytes);
    bytes[1] = (uint8_t)(bytes[1] + 3); /* a field 100 within the summary */
    bytes[n++] = 0xa0;
    bytes[n++] = 0x06;
    bytes[n++] = 7;
    Skein__Frame *got = NULL;
    assert_ok(codec_frame(bytes, n, &got, &err), &err);
    assert_string_equal(got->summary->host, "hv1");
    skein_frame_free(got);
}

/* 1 MiB of empty submessages: 84 times that in memory, were there no budget. */
static void amplification_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    size_t vms = 300000, inner = vms * 2, n = 0;
    _cleanup_(freep) uint8_t *bytes = xmalloc(inner + 16);
    bytes[n++] = 11 << 3 | 2; /* frame.detail */
    for (size_t left = inner;; left >>= 7) {
        bytes[n++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        if (left <= 0x7f)
            break;
    }
    for (size_t i = 0; i < vms; i++) {
        bytes[n++] = 3 << 3 | 2; /* detail.vms, empty */
        bytes[n++] = 0;
    }
    Skein__Frame *got = NULL;
    assert_err(codec_frame(bytes, n, &got, &err), &err, ERR_INVALID, "too much memory");
    assert_null(got);
}

/* Hosts with many VMs of which little is said: the tersest messages that are sent in earnest. */
static void many_small_vms_are_taken(void **state)
{
    (void)state;

    enum { VMS = 2000 };

    static Skein__VmDetail vms[VMS], *list[VMS];
    static char names[VMS][8], uuids[VMS][37];
    Skein__Tag tag = SKEIN__TAG__INIT, *tags[] = {&tag};
    Skein__HostSummary summary = SKEIN__HOST_SUMMARY__INIT;
    Skein__HostDetail detail = SKEIN__HOST_DETAIL__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT, *got = NULL;
    struct err err = {0};
    size_t len;
    tag.key = tag.value = (char *)"a";
    summary.host = (char *)"hv1";
    detail.summary = &summary;
    detail.vms = list;
    frame.kind_case = SKEIN__FRAME__KIND_DETAIL;
    frame.detail = &detail;
    for (; detail.n_vms < VMS; detail.n_vms++) {
        size_t i = detail.n_vms;
        list[i] = &vms[i];
        skein__vm_detail__init(list[i]);
        snprintf(names[i], sizeof names[i], "v%zu", i);
        snprintf(uuids[i], sizeof uuids[i], "00000000-0000-4000-8000-%012zu", i);
        vms[i].name = names[i];
        vms[i].uuid = uuids[i];
        vms[i].tags = tags;
        vms[i].n_tags = i % 2;
    }
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame.base, &len);
    assert_ok(codec_frame(bytes, len, &got, &err), &err);
    assert_int_equal(got->detail->n_vms, VMS);
    skein_frame_free(got);
}

static void assert_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t a_len, b_len;
    _cleanup_(freep) uint8_t *a_bytes = codec_pack(a, &a_len), *b_bytes = codec_pack(b, &b_len);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a_bytes, b_bytes, a_len);
}

/* Lists, texts, bytes, oneofs, unknown fields; and nothing of it is shared. */
static void copies_are_deep(void **state)
{
    (void)state;
    Skein__Permit permit = SKEIN__PERMIT__INIT;
    Skein__JournalRecord record = SKEIN__JOURNAL_RECORD__INIT;
    ProtobufCBinaryData approvals[] = {{3, (uint8_t *)"abc"}, {0, NULL}};
    permit.id = (char *)"p1";
    permit.has_term = 1;
    permit.term = 7;
    permit.attempt = 9; /* not there: not copied */
    record.plan = (char *)"0a";
    record.permit = &permit;
    record.n_approvals = 2;
    record.approvals = approvals;
    record.has_body = 1;
    record.body = (ProtobufCBinaryData){4, (uint8_t *)"body"};
    Skein__JournalRecord *copy = (Skein__JournalRecord *)codec_copy(&record.base);
    assert_same(&record.base, &copy->base);
    assert_ptr_not_equal(copy->plan, record.plan);
    assert_ptr_not_equal(copy->permit->id, permit.id);
    assert_int_equal(copy->permit->attempt, 0);
    skein__journal_record__free_unpacked(copy, NULL);

    /* a frame of a newer version: a request with an id, and a field that is not known */
    const uint8_t newer[] = {14 << 3 | 2, 7, 1 << 3, 5, 0xfa, 0x3e, 2, 'h', 'i'};
    Skein__Frame *frame = NULL;
    struct err err = {0};
    assert_ok(codec_frame(newer, sizeof newer, &frame, &err), &err);
    Skein__Frame *second = (Skein__Frame *)codec_copy(&frame->base);
    assert_same(&frame->base, &second->base);
    skein_frame_free(frame);
    assert_int_equal(second->request->id, 5);
    skein__frame__free_unpacked(second, NULL);
}

static void equal_says_the_same(void **state)
{
    (void)state;
    Skein__VmDetail a = SKEIN__VM_DETAIL__INIT, b = SKEIN__VM_DETAIL__INIT;
    assert_true(codec_equal(&a.base, &b.base));
    a.name = (char *)"web1";
    assert_false(codec_equal(&a.base, &b.base)); /* nothing is not a name */
    char other[] = "web1";
    b.name = other;
    assert_true(codec_equal(&a.base, &b.base));
    other[3] = '2';
    assert_false(codec_equal(&a.base, &b.base));
    other[3] = '1';
    a.vcpus = 4; /* has_vcpus says whether it counts */
    assert_true(codec_equal(&a.base, &b.base));
    a.has_vcpus = 1;
    assert_false(codec_equal(&a.base, &b.base));
    b.has_vcpus = 1;
    b.vcpus = 4;
    assert_true(codec_equal(&a.base, &b.base));

    Skein__VmDetail *vms[] = {&a}, *same[] = {&b};
    Skein__HostDetail x = SKEIN__HOST_DETAIL__INIT, y = SKEIN__HOST_DETAIL__INIT;
    x.n_vms = 1;
    x.vms = vms;
    assert_false(codec_equal(&x.base, &y.base));
    y.n_vms = 1;
    y.vms = same;
    assert_true(codec_equal(&x.base, &y.base));
    b.vcpus = 5;
    assert_false(codec_equal(&x.base, &y.base));

    Skein__JournalRecord r = SKEIN__JOURNAL_RECORD__INIT, s = SKEIN__JOURNAL_RECORD__INIT;
    r.has_body = s.has_body = 1;
    r.body = (ProtobufCBinaryData){4, (uint8_t *)"body"};
    s.body = (ProtobufCBinaryData){4, (uint8_t *)"bodi"};
    assert_false(codec_equal(&r.base, &s.base));
    Skein__Frame f = SKEIN__FRAME__INIT, g = SKEIN__FRAME__INIT;
    f.kind_case = SKEIN__FRAME__KIND_DETAIL;
    f.detail = &x;
    assert_false(codec_equal(&f.base, &g.base));
    g.kind_case = SKEIN__FRAME__KIND_DETAIL;
    g.detail = &x;
    assert_true(codec_equal(&f.base, &g.base));
}

static void garbage_never_crashes(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof bytes; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes[i] = (uint8_t)x;
        }
        if (round % 2 == 0) /* half of them begin like a request */
            memcpy(bytes, (uint8_t[]){14 << 3 | 2, 60, 10 << 3 | 2, 50}, 4);
        struct err err;
        Skein__Frame *got = NULL;
        if (codec_frame(bytes, (size_t)(x % sizeof bytes), &got, &err) == 0)
            skein_frame_free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_round_trip),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(unknown_fields_are_tolerated),
        cmocka_unit_test(amplification_is_refused),
        cmocka_unit_test(many_small_vms_are_taken),
        cmocka_unit_test(copies_are_deep),
        cmocka_unit_test(equal_says_the_same),
        cmocka_unit_test(garbage_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
