/* What a VM was before a move, held against what it is. */
#include "agent/core/baseline.h"

#include "proto/codec.h"
#include "tests/lib/test.h"

static void check(const struct baseline *before, const struct baseline *after, const char *changed,
                  const char *wrong)
{
    struct buf c = {0}, w = {0};
    baseline_compare(before->lines, before->n, after, &c, &w);
    assert_string_equal(c.data != NULL ? c.data : "", changed);
    assert_string_equal(w.data != NULL ? w.data : "", wrong);
    buf_done(&c);
    buf_done(&w);
}

static void differences_are_told_by_kind(void **state)
{
    (void)state;
    struct baseline before = {0}, after = {0};
    baseline_add(&before, "def", "memory", "64 MiB");
    baseline_add(&before, "def", "card 52:54", "virtio");
    baseline_add(&before, "set", "disk vda limits", "total_bytes_sec=1");
    baseline_add(&before, "set", "processors vcpupin 0", "1");
    baseline_add(&before, "run", "addresses of 52:54", "10.0.0.5");
    check(&before, &before, "", "");
    check(&before, &after, "", ""); /* nothing is known of it there */

    baseline_add(&after, "def", "memory", "64 MiB");
    baseline_add(&after, "def", "card 52:54", "virtio");
    baseline_add(&after, "set", "disk vda limits", "total_bytes_sec=2");
    baseline_add(&after, "set", "new", "x"); /* what came to it is no difference */
    check(&before, &after,
          "disk vda limits was total_bytes_sec=1, is total_bytes_sec=2; "
          "processors vcpupin 0 was 1, is gone",
          ""); /* an address that was not seen yet is none either */
    baseline_add(&after, "run", "addresses of 52:54", "10.0.0.6");
    free(after.lines[1]);
    after.lines[1] = xstrdup("def card 52:55=virtio");
    check(&before, &after,
          "disk vda limits was total_bytes_sec=1, is total_bytes_sec=2; "
          "processors vcpupin 0 was 1, is gone; "
          "addresses of 52:54 was 10.0.0.5, is 10.0.0.6",
          "card 52:54 was virtio, is gone");
    baseline_done(&before);
    baseline_done(&after);
}

/* Also lines of a peer's, which may be anything. */
static void lines_are_bounded(void **state)
{
    (void)state;
    struct baseline b = {0}, after = {0};
    struct buf c = {0}, w = {0};
    char longer[600];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    baseline_add(&b, "set", "long", longer);
    assert_int_equal(strlen(b.lines[0]), CODEC_NAME_MAX);
    baseline_add(&b, "set", "bad", "a\nb");
    assert_int_equal(b.n, 1);
    for (int i = 0; i < 2 * BASELINE_LINES_MAX; i++)
        baseline_add(&b, "set", "many", "x");
    assert_int_equal(b.n, BASELINE_LINES_MAX);
    baseline_done(&b);

    char *odd[] = {"", "=", "def", "set x", "def =", "run a="};
    baseline_add(&after, "def", "memory", "64 MiB");
    baseline_compare(odd, ARRAY_SIZE(odd), &after, &c, &w);
    assert_true(c.len > 0 && w.len > 0);
    buf_done(&c);
    buf_done(&w);
    baseline_done(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_told_by_kind),
        cmocka_unit_test(lines_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
