/* What an agent counts, and how its numbers are written. */
#include "tests/lib/test.h"

#include "agent/core/metrics.h"

static void record(struct tally *t, const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    tally_record(t, doc);
    json_decref(doc);
}

static void records_are_counted_by_event_and_code(void **state _unused_)
{
    struct tally t = {0};
    record(&t, "{\"event\": \"plan.made\"}");
    record(&t, "{\"event\": \"approval.refused\", \"code\": \"EXPIRED\"}");
    record(&t, "{\"event\": \"approval.refused\", \"code\": \"DENIED\"}");
    record(&t, "{\"event\": \"approval.refused\", \"code\": \"EXPIRED\"}");
    record(&t, "{\"code\": \"no event\"}");
    assert_int_equal(t.n, 3);
    assert_string_equal(t.lines[1].event, "approval.refused");
    assert_string_equal(t.lines[1].code, "EXPIRED");
    assert_int_equal(t.lines[1].count, 2);
    tally_done(&t);
}

static void only_measured_moves_enter_the_histograms(void **state _unused_)
{
    struct tally t = {0};
    record(&t, "{\"event\": \"move.succeeded\", \"reporter\": \"hv2\"}"); /* another host's */
    record(&t, "{\"event\": \"move.undone\", \"measured\": {\"took_ms\": 900}}");
    record(&t, "{\"event\": \"move.succeeded\", \"measured\": {\"took_ms\": 2000, \"downtime_ms\": "
               "80, \"mib\": 17}}");
    record(&t, "{\"event\": \"move.succeeded\", \"measured\": {\"took_ms\": 7200000}}");
    assert_int_equal(t.durations.count, 2);
    assert_int_equal(t.durations.buckets[1], 1); /* at most 2 s */
    assert_int_equal(t.durations.buckets[TALLY_BUCKETS], 1);
    assert_int_equal(t.durations.sum_ms, 7202000);
    assert_int_equal(t.downtimes.count, 1);
    assert_int_equal(t.transferred_mib, 17);
    tally_done(&t);
}

static void a_sample_is_written_as_prometheus_reads_it(void **state _unused_)
{
    _cleanup_(buf_done) struct buf b = {0};
    metrics_family(&b, "skein_x", "gauge", "What it is.");
    metrics_sample(&b, "skein_x", "a=\"b\"", 0.25);
    metrics_sample(&b, "skein_x", NULL, 274877906944.0);
    assert_string_equal(b.data, "# HELP skein_x What it is.\n# TYPE skein_x gauge\n"
                                "skein_x{a=\"b\"} 0.25\nskein_x 274877906944\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_counted_by_event_and_code),
        cmocka_unit_test(only_measured_moves_enter_the_histograms),
        cmocka_unit_test(a_sample_is_written_as_prometheus_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
