/* A trace lived through again: two hosts, two VMs, figures that can be worked out by hand. */
#include <jansson.h>
#include <math.h>

#include "planner/core/model.h"
#include "planner/trace/picture.h"
#include "planner/trace/replay.h"
#include "proto/canon.h"
#include "tests/lib/test.h"

/* Three samples, ten minutes apart; h1: 4 cores, 100 to 200 W; h2: 2 cores, 50 to 100 W. */
static char *sample(int i, const char *used1, const char *used2)
{
    char *text;
    int n = asprintf(
        &text,
        "{\"schema\":\"skein.snapshot/"
        "1\",\"taken_at\":\"2026-11-22T01:%d0:00Z\",\"seed\":1,\"hosts\":["
        "{\"name\":\"h1\",\"state\":\"up\",\"cpu\":{\"cores\":4},\"memory\":{\"total_mib\":8192},"
        "\"temperature\":{\"inlet_celsius\":20,\"cpu_celsius\":50,\"cpu_max_celsius\":60},"
        "\"power\":{"
        "\"watts\":150,\"curve_watts\":[100,110,120,130,140,150,160,170,180,190,200]}},"
        "{\"name\":\"h2\",\"state\":\"up\",\"cpu\":{\"cores\":2},\"memory\":{\"total_mib\":8192},"
        "\"power\":{\"curve_watts\":[50,55,60,65,70,75,80,85,90,95,100],\"wake_seconds\":60}}],"
        "\"vms\":["
        "{\"name\":\"a\",\"uuid\":\"00000000-0000-4000-8000-00000000000a\",\"host\":\"h1\","
        "\"state\":\"running\",\"vcpus\":2,\"memory_mib\":1024,\"cpu_used_cores\":%s},"
        "{\"name\":\"b\",\"host\":\"h1\",\"state\":\"running\",\"vcpus\":2,\"memory_mib\":1024,"
        "\"cpu_used_cores\":%s}]}",
        i, used1, used2);
    assert_true(n > 0);
    return text;
}

static struct trace *record(const char *const used[][2], int n)
{
    struct trace *t = NULL;
    for (int i = 0; i < n; i++) {
        struct err err = {0};
        int left_out;
        _cleanup_(freep) char *text = sample(i, used[i][0], used[i][1]);
        assert_ok(trace_recorded_add(&t, text, strlen(text), "a sample", &left_out, &err), &err);
        assert_int_equal(left_out, 0);
    }
    return t;
}

static const char *const steady[3][2] = {{"1", "1"}, {"1", "1"}, {"1", "1"}};

static struct replay *replay_of(const struct trace *t)
{
    struct replay *r;
    struct err err = {0};
    assert_ok(replay_new(t, &r, &err), &err);
    return r;
}

static bool near(double is, double wanted)
{
    return fabs(is - wanted) <= 1e-6 * MAX(fabs(wanted), 1.0);
}

static void without_moves_the_curve_is_integrated(void **state)
{
    (void)state;
    _cleanup_(trace_freep) struct trace *t = record(steady, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    while (!replay_ended(r))
        replay_advance(r);
    const struct replay_totals *sum = replay_totals(r);
    assert_true(near(sum->joules, (150 + 50) * 1800.0)); /* h1 at half load, h2 idle */
    assert_true(near(sum->asked, 2 * 1800.0));
    assert_true(near(sum->active_s, 1800.0));
    assert_true(near(sum->unmet, 0) && near(sum->overloaded_s, 0));
    assert_int_equal(sum->migrations, 0);
    assert_int_equal(sum->excursions, 0);
    assert_int_equal(replay_now(r) - t->at[0], 1800000);
}

/* Steps of moves [vm, from, to], each taking so many ms. */
static void begin(struct replay *r, const char *const (*moves)[3], int n, int ms)
{
    struct plan_action actions[8] = {0};
    for (int i = 0; i < n; i++)
        actions[i] = (struct plan_action){.id = (char *)"x",
                                          .type = PLAN_MIGRATE,
                                          .step = i,
                                          .vm = (char *)moves[i][0],
                                          .from = (char *)moves[i][1],
                                          .to = (char *)moves[i][2],
                                          .estimate.ms = ms};
    struct plan_doc plan = {.actions = actions, .n_actions = n, .n_steps = n};
    replay_begin(r, &plan);
}

static void a_move_takes_its_time_and_costs_a_tenth(void **state)
{
    (void)state;
    _cleanup_(trace_freep) struct trace *t = record(steady, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    begin(r, (const char *const[][3]){{"b", "h1", "h2"}}, 1, 60000);
    assert_true(replay_busy(r));
    replay_advance(r);
    assert_false(replay_busy(r));
    const struct replay_totals *sum = replay_totals(r);
    assert_int_equal(sum->migrations, 1);
    assert_true(near(sum->unmet_moving, 0.1 * 1 * 60));
    /* 60 s as before; then h1 at a quarter (125 W), h2 at half (75 W) */
    assert_true(near(sum->joules, 200 * 60.0 + 200 * 540.0));
    assert_true(near(sum->active_s, 600 + 540.0));
}

static void there_and_back_is_pingpong_and_steps_are_barriers(void **state)
{
    (void)state;
    _cleanup_(trace_freep) struct trace *t = record(steady, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    begin(r, (const char *const[][3]){{"b", "h1", "h2"}, {"b", "h2", "h1"}}, 2, 400000);
    replay_advance(r);
    assert_int_equal(replay_totals(r)->migrations, 1); /* the second ends at 800 s */
    assert_int_equal(replay_totals(r)->pingpongs, 0);
    assert_true(replay_busy(r));
    replay_advance(r);
    assert_int_equal(replay_totals(r)->migrations, 2);
    assert_int_equal(replay_totals(r)->pingpongs, 1);
    assert_false(replay_busy(r));
}

static void overload_is_unmet_and_heat_follows(void **state)
{
    (void)state;

    static const char *const busy[3][2] = {{"1", "1"}, {"3", "3"}, {"3", "3"}};

    _cleanup_(trace_freep) struct trace *t = record(busy, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    while (!replay_ended(r))
        replay_advance(r);
    const struct replay_totals *sum = replay_totals(r);
    assert_true(near(sum->unmet, 2 * 1200.0)); /* six cores asked of four */
    assert_true(near(sum->overloaded_s, 1200.0));
    /* at 150 W 30 degrees above the inlet: at 200 W it nears 60 from below, and does not pass it */
    assert_int_equal(sum->excursions, 0);
}

static void the_snapshot_says_what_has_happened(void **state)
{
    (void)state;
    _cleanup_(trace_freep) struct trace *t = record(steady, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    begin(r, (const char *const[][3]){{"a", "h1", "h2"}}, 1, 60000);
    replay_advance(r);
    _cleanup_(freep) char *text = NULL;
    size_t len;
    struct err err = {0};
    assert_ok(replay_snapshot(r, &text, &len, &err), &err);
    _cleanup_(model_freep) struct model *m = NULL;
    assert_ok(model_parse(text, len, &m, &err), &err);
    int a = model_find_vm(m, "a"), h1 = model_find_host(m, "h1"), h2 = model_find_host(m, "h2");
    assert_int_equal(m->taken_at, t->at[1]);
    assert_int_equal(m->vms[a].host, h2);
    assert_int_equal(m->vms[a].last_move, t->at[0] + 60000);
    assert_int_equal(m->vms[a].moves_24h, 1);
    assert_int_equal(m->hosts[h1].used_cores, 1000);
    assert_int_equal(m->hosts[h1].watts, 125000);
    assert_true(m->hosts[h1].cpu_celsius < 50000 && m->hosts[h1].cpu_celsius > 45000);
    assert_int_equal(m->hosts[h2].cpu_celsius, QUANTITY_UNKNOWN); /* it never said */
}

static void standby_and_wake(void **state)
{
    (void)state;
    _cleanup_(trace_freep) struct trace *t = record(steady, 3);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    struct plan_action sleep = {.type = PLAN_STANDBY, .host = (char *)"h2"};
    struct plan_action wake = {.type = PLAN_WAKE, .host = (char *)"h2"};
    replay_begin(r, &(struct plan_doc){.actions = &sleep, .n_actions = 1, .n_steps = 1});
    replay_advance(r);
    assert_true(near(replay_totals(r)->joules, (150 + 4) * 600.0));
    replay_begin(r, &(struct plan_doc){.actions = &wake, .n_actions = 1, .n_steps = 1});
    replay_advance(r);
    assert_true(near(replay_totals(r)->joules, (150 + 4) * 600.0 + (150 + 50) * 600.0));
    assert_false(replay_busy(r));
}

static void bad_recordings_name_the_place(void **state)
{
    (void)state;
    struct err err = {0};
    int left_out;
    _cleanup_(trace_freep) struct trace *t = record(steady, 2);
    _cleanup_(freep) char *again = sample(1, "1", "1");
    assert_err(trace_recorded_add(&t, again, strlen(again), "x.json", &left_out, &err), &err,
               ERR_INVALID, "x.json: taken_at is not later");
    assert_err(trace_recorded_add(&t, "{}", 2, "y.json", &left_out, &err), &err, ERR_INVALID,
               "y.json");
    int percent[PLANETLAB_SAMPLES];
    assert_err(planetlab_parse("5\n101\n", 6, "vm7", percent, &err), &err, ERR_INVALID,
               "vm7: number 2 of 288");
    assert_err(planetlab_parse("5\n", 2, "vm7", percent, &err), &err, ERR_INVALID,
               "vm7: number 2 of 288");
}

static void planetlab_is_the_published_fleet(void **state)
{
    (void)state;

    enum { N = 8 };

    int percent[N][PLANETLAB_SAMPLES];
    for (int v = 0; v < N; v++)
        for (int s = 0; s < PLANETLAB_SAMPLES; s++)
            percent[v][s] = 50;
    _cleanup_(trace_freep) struct trace *t =
        trace_planetlab((const int(*)[PLANETLAB_SAMPLES])percent, N, 0, false);
    _cleanup_(replay_freep) struct replay *r = replay_of(t);
    while (!replay_ended(r))
        replay_advance(r);
    const struct replay_totals *sum = replay_totals(r);
    assert_true(near(sum->asked, 2 * (1.25 + 1 + 0.5 + 0.25) * 86400));
    /* 2500 + 1000 and so on: full sizes 2500, 2500, 2000, 2000, 1000, 1000, 500, 500 fill the first
     * hosts; those that hold nothing draw nothing */
    assert_true(sum->joules < 5 * 135 * 86400.0 && sum->joules > 2 * 86 * 86400.0);
    _cleanup_(freep) char *text = NULL;
    size_t len;
    struct err err = {0};
    _cleanup_(model_freep) struct model *m = NULL;
    assert_ok(replay_snapshot(r, &text, &len, &err), &err);
    assert_ok(model_parse(text, len, &m, &err), &err);
    assert_int_equal(m->n_hosts, PLANETLAB_HOSTS);
    assert_int_equal(m->hosts[1].cores, 5320);
}

static void the_picture_is_escaped(void **state)
{
    (void)state;
    struct replay_row rows[2] = {{.active_hosts = 2, .asked = 1.5, .watts = 90},
                                 {.active_hosts = 1, .asked = 1.0, .watts = 60, .moves = 3}};
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    picture_write(to, "a<b & c", rows, 2);
    picture_write(to, "nothing", rows, 0);
    fclose(to);
    assert_non_null(strstr(text, "a&lt;b &amp; c"));
    assert_null(strstr(text, "nan"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_moves_the_curve_is_integrated),
        cmocka_unit_test(a_move_takes_its_time_and_costs_a_tenth),
        cmocka_unit_test(there_and_back_is_pingpong_and_steps_are_barriers),
        cmocka_unit_test(overload_is_unmet_and_heat_follows),
        cmocka_unit_test(the_snapshot_says_what_has_happened),
        cmocka_unit_test(standby_and_wake),
        cmocka_unit_test(bad_recordings_name_the_place),
        cmocka_unit_test(planetlab_is_the_published_fleet),
        cmocka_unit_test(the_picture_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
