#include "tests/lib/test.h"

#include <stdio.h>

#include "planner/trace/ring.h"

/* Some 60 KB of which little changes. */
static char *text_of(int i)
{
    struct buf b = {0};
    buf_addf(&b, "{\"taken_at\":%d,\"hosts\":[", i);
    for (int k = 0; k < 1000; k++)
        buf_addf(&b, "{\"name\":\"host-%d\",\"used\":%d,\"hash\":\"%08x\"},", k,
                 k % 50 == i % 50 ? i : 0, (unsigned)k * 2654435761u);
    buf_adds(&b, "0]}");
    return buf_take(&b);
}

static void write_ring(int n, struct buf *out)
{
    struct ring_writer w = {0};
    struct err err;
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *text = text_of(i);
        assert_ok(ring_pack(&w, 1000 + i, text, strlen(text), out, &err), &err);
    }
    assert_int_equal(w.n, n);
    ring_writer_done(&w);
}

static int count(const char *data, size_t len, struct err *err)
{
    struct ring_reader r = {.data = data, .len = len};
    int n = 0, more;
    while ((more = ring_next(&r, err)) > 0) {
        _cleanup_(freep) char *text = text_of(n);
        assert_string_equal(r.text, text);
        assert_int_equal(r.text_len, strlen(text));
        assert_int_equal(r.at, 1000 + n);
        n++;
    }
    ring_reader_done(&r);
    return more < 0 ? more : n;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(buf_done) struct buf one = {0}, all = {0};
    write_ring(1, &one);
    write_ring(40, &all);
    assert_int_equal(count(all.data, all.len, &err), 40);
    size_t each = (all.len - one.len) / 39;
    assert_true(each * 5 < one.len); /* what changed takes far less than all of it */
}

static void a_torn_end_is_the_end(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(buf_done) struct buf all = {0};
    write_ring(3, &all);
    for (size_t len = all.len - 1; len > all.len - 60; len -= 7)
        assert_int_equal(count(all.data, len, &err), 2);
    assert_int_equal(count(all.data, strlen(RING_MAGIC), &err), 0);
}

/* Whatever bytes: read, or refused. */
static void damage_is_found(void **state)
{
    (void)state;
    struct err err = {0};
    _cleanup_(buf_done) struct buf all = {0};
    write_ring(2, &all);
    assert_err(count("nothing", 7, &err), &err, ERR_INVALID, "not a file of recorded snapshots");
    all.data[all.len - 5] ^= 1;
    assert_err(count(all.data, all.len, &err), &err, ERR_INVALID, "damaged at byte");
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 300; round++) {
        _cleanup_(freep) char *copy = xmemdup(all.data, all.len);
        for (int k = 0; k < 4; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            size_t head = strlen(RING_MAGIC) + 40; /* heads above all */
            copy[seed % (k < 3 ? head : all.len)] = (char)(seed >> 40);
        }
        struct ring_reader r = {.data = copy, .len = all.len};
        while (ring_next(&r, &err) > 0)
            ;
        ring_reader_done(&r);
    }
}

static void bounds_hold(void **state)
{
    (void)state;
    struct ring_writer w = {0};
    struct err err = {0};
    _cleanup_(buf_done) struct buf out = {0};
    assert_err(ring_pack(&w, 1, "", 0, &out, &err), &err, ERR_LIMIT, "0 bytes");
    assert_int_equal(out.len, 0);
    ring_writer_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_torn_end_is_the_end),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
