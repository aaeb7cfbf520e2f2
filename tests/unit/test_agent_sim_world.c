/* The simulated world: time of pre-copy, shares of links, heat, power, fates; and under random
 * orders nothing that must always hold breaks. */
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>

#include "agent/sim/world.h"
#include "proto/util.h"

#define A "00000000-0000-4000-8000-00000000000a"
#define B "00000000-0000-4000-8000-00000000000b"
#define C "00000000-0000-4000-8000-00000000000c"

#define HOST(name)                                                                                 \
    "{\"name\":\"" name "\",\"state\":\"up\",\"cpu\":{\"cores\":8},"                               \
    "\"memory\":{\"total_mib\":32768},\"failure_domain\":\"r1\",\"migration_mbps\":1000,"          \
    "\"power\":{\"wake_seconds\":60},\"storage\":[\"s\"],\"networks\":[\"n\"],"                    \
    "\"machines\":[\"q35\"]}"
#define GUEST(uuid, name, host, more)                                                              \
    "{\"name\":\"" name "\",\"uuid\":\"" uuid "\",\"host\":\"" host "\",\"state\":\"running\","    \
    "\"persistent\":true,\"autostart\":true,\"vcpus\":2,\"memory_mib\":4096,"                      \
    "\"cpu_used_cores\":1" more "}"
/* 1000 Mbit/s, nine tenths of which carry memory */
#define LINK_MIB_S (1e9 / 8 / 1048576 * 0.9)

static struct world *world_of(const char *text)
{
    struct err err = {0};
    struct model *model = NULL;
    struct world *w = NULL;
    struct world_conf conf = {.seed = 7, .begins = 1700000000000};
    assert_ok(model_parse(text, strlen(text), &model, &err), &err);
    assert_ok(world_from_model(&conf, model, &w, &err), &err);
    model_free(model);
    return w;
}

static struct world *small_world(void)
{
    return world_of("{\"schema\":\"skein.snapshot/1\",\"hosts\":[" HOST("h1") "," HOST(
        "h2") "," HOST("h3") "],\"vms\":[" //
                    GUEST(A, "a", "h1",
                          ",\"memory_used_mib\":2048,\"dirty_mib_s\":10,\"wset_mib\":4096") "," //
                    GUEST(B, "b", "h1",
                          ",\"memory_used_mib\":2048,\"dirty_mib_s\":0,\"wset_mib\":1") "," //
                    GUEST(C, "c", "h2",
                          ",\"memory_used_mib\":1024,\"dirty_mib_s\":500,\"wset_mib\":1024") "]}");
}

static struct hv_move move_to(const char *uuid, const char *to)
{
    struct hv_move m = {.persistent = true};
    snprintf(m.uuid, sizeof m.uuid, "%s", uuid);
    snprintf(m.to, sizeof m.to, "%s", to);
    return m;
}

static uint64_t migrate(struct world *w, size_t host, const char *uuid, const char *to)
{
    struct err err = {0};
    struct hv_move m = move_to(uuid, to);
    uint64_t id = 0;
    assert_ok(world_migrate(w, host, &m, &id, &err), &err);
    return id;
}

/* Steps until this migration has ended, at most limit. False: it has not. */
static bool ended(struct world *w, uint64_t id, msec limit, struct world_event *ret)
{
    msec end = world_now(w) + limit;
    for (;;) {
        while (world_event(w, ret))
            if (ret->kind == WORLD_MOVED && ret->migration == id)
                return true;
        if (world_now(w) >= end)
            return false;
        world_step(w, MIN(end, MAX(world_next(w), world_now(w) + 1)));
        assert_null(world_broken(w));
    }
}

static void inject(struct world *w, Skein__SimInject i)
{
    struct err err = {0};
    assert_ok(world_inject(w, &i, &err), &err);
    assert_null(world_broken(w));
}

#define INJECT(kind_, target_, ...)                                                                \
    (Skein__SimInject)                                                                             \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&skein__sim_inject__descriptor), .has_kind = 1,            \
        .kind = SKEIN__SIM_INJECT_KIND__INJECT_##kind_, .target = (char *)(uintptr_t)target_,      \
        __VA_ARGS__                                                                                \
    }

static struct hv_seen look(const struct world *w, size_t host, const char *uuid)
{
    struct hv_seen seen;
    world_look(w, host, uuid, &seen);
    return seen;
}

static bool runs_at(const struct world *w, size_t host, const char *uuid)
{
    struct hv_seen seen = look(w, host, uuid);
    return seen.present && seen.state == SKEIN__VM_STATE__VM_RUNNING;
}

static double cpu_of(const struct world *w, size_t host)
{
    Skein__HostDetail *d = world_observe(w, host);
    double celsius = d->summary->cpu_millicelsius / 1e3;
    skein__host_detail__free_unpacked(d, NULL);
    return celsius;
}

/* ---- migrations ---- */

/* T = (M/B) (1 - x^(n+1)) / (1 - x) with x = dirty rate / bandwidth, when the working set is large
 * enough that nearly every write dirties another page. */
static void test_precopy_time(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    uint64_t id = migrate(w, 0, A, "h2");
    assert_true(look(w, 0, A).job && look(w, 1, A).state == SKEIN__VM_STATE__VM_INCOMING);
    world_step(w, world_now(w) + 1500);
    assert_int_equal(look(w, 0, A).job_ms, 1500);
    assert_true(ended(w, id, 600000, &e));
    assert_int_equal(look(w, 1, A).job_ms, 0);
    assert_int_equal(e.err.code, ERR_OK);
    double x = 10 / LINK_MIB_S, sum = (1 - pow(x, 3)) / (1 - x);
    double want = 600 + 2048 / LINK_MIB_S * sum * 1000;
    assert_true(fabs((double)e.stats.elapsed_ms - want) < 0.05 * want);
    assert_in_range(e.stats.downtime_ms, 25, 300);
    assert_in_range(e.stats.transferred_mib, 2048, 2300);
    assert_true(runs_at(w, 1, A) && !look(w, 0, A).present);
    assert_true(look(w, 1, A).persistent);
    world_free(w);
}

static void test_fair_shares(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct hv_progress p;
    struct world_event e;
    migrate(w, 0, A, "h2"); /* shares h1's link out ... */
    uint64_t b = migrate(w, 0, B, "h3");
    world_step(w, 2000);
    assert_ok(world_progress(w, 0, B, &p, NULL), &e.err);
    assert_true(fabs(p.bandwidth_milli_mib_s / 1e3 - LINK_MIB_S / 2) < 0.01);
    migrate(w, 1, C, "h3"); /* ... and this one h3's link in with b, which has half of it */
    world_step(w, 4000);
    world_progress(w, 1, C, &p, NULL);
    assert_true(fabs(p.bandwidth_milli_mib_s / 1e3 - LINK_MIB_S / 2) < 0.01);
    assert_true(ended(w, b, 600000, &e));
    world_step(w, world_now(w) + 10);
    world_progress(w, 1, C, &p, NULL);
    assert_true(fabs(p.bandwidth_milli_mib_s / 1e3 - LINK_MIB_S) < 0.01);
    world_free(w);
}

static void test_bandwidth_limit(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct hv_move m = move_to(B, "h3");
    struct hv_progress p;
    uint64_t id;
    m.bandwidth_mib_s = 20;
    struct err err = {0};
    assert_ok(world_migrate(w, 0, &m, &id, &err), &err);
    migrate(w, 0, A, "h2");
    world_step(w, 2000);
    world_progress(w, 0, B, &p, NULL);
    assert_true(fabs(p.bandwidth_milli_mib_s / 1e3 - 20) < 0.01);
    world_progress(w, 0, A, &p, NULL);
    assert_true(fabs(p.bandwidth_milli_mib_s / 1e3 - (LINK_MIB_S - 20)) < 0.01);
    world_free(w);
}

static void test_does_not_converge_unless_throttled(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    struct err err = {0};
    uint64_t id = migrate(w, 1, C, "h3");
    assert_false(ended(w, id, 600000, &e));
    struct hv_progress p;
    world_progress(w, 1, C, &p, NULL);
    assert_true(p.running && p.iteration > 20);
    assert_ok(world_abort(w, 1, C, &err), &err);
    assert_true(ended(w, id, 1, &e));
    assert_int_equal(e.err.code, ERR_CANCELLED);
    assert_true(runs_at(w, 1, C) && !look(w, 2, C).present);
    assert_err(world_abort(w, 1, C, &err), &err, ERR_CONFLICT, "no migration");

    struct hv_move m = move_to(C, "h3");
    m.how.auto_converge = true;
    assert_ok(world_migrate(w, 1, &m, &id, &err), &err);
    assert_true(ended(w, id, 600000, &e));
    assert_int_equal(e.err.code, ERR_OK);
    assert_true(runs_at(w, 2, C));
    world_free(w);
}

/* C writes faster than the link carries: only post-copy ends it without slowing it. */
static uint64_t begin_postcopy(struct world *w)
{
    struct err err = {0};
    struct world_event e;
    struct hv_progress p;
    struct hv_move m = move_to(C, "h3");
    uint64_t id;
    m.how.mode = MIGRATE_POSTCOPY;
    assert_ok(world_migrate(w, 1, &m, &id, &err), &err);
    assert_false(ended(w, id, 30000, &e));
    assert_ok(world_postcopy(w, 1, C, &err), &err);
    world_progress(w, 1, C, &p, NULL);
    assert_true(p.running && p.postcopy && p.remaining_mib > 500);
    assert_string_equal(look(w, 1, C).reason, HV_REASON_POSTCOPY);
    assert_int_equal(look(w, 1, C).state, SKEIN__VM_STATE__VM_PAUSED);
    assert_true(runs_at(w, 2, C));
    assert_err(world_abort(w, 1, C, &err), &err, ERR_CONFLICT, "all but ended");
    assert_null(world_broken(w));
    return id;
}

static void test_postcopy(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    struct err err = {0};
    uint64_t id = begin_postcopy(w);
    assert_true(ended(w, id, 30000, &e));
    assert_int_equal(e.err.code, ERR_OK);
    assert_true(e.stats.downtime_ms < 100 && e.stats.transferred_mib >= 2 * 1024);
    assert_true(runs_at(w, 2, C) && !look(w, 1, C).present);
    /* one that was not begun so cannot be switched */
    id = migrate(w, 0, A, "h2");
    assert_false(ended(w, id, 5000, &e));
    assert_err(world_postcopy(w, 0, A, &err), &err, ERR_CONFLICT, "without post-copy");
    world_free(w);
}

static void test_postcopy_breaks_and_is_recovered(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    struct err err = {0};
    uint64_t id = begin_postcopy(w);
    inject(w, INJECT(LINK, "h3", .on = 0));
    assert_true(ended(w, id, 60000, &e));
    assert_int_equal(e.err.code, ERR_HYPERVISOR);
    assert_string_equal(look(w, 1, C).reason, HV_REASON_POSTCOPY_FAILED);
    assert_string_equal(look(w, 2, C).reason, HV_REASON_POSTCOPY_FAILED);
    assert_null(world_broken(w));
    struct hv_move m = move_to(C, "h3");
    m.how.mode = MIGRATE_POSTCOPY;
    m.recover = true;
    assert_err(world_migrate(w, 1, &m, &id, &err), &err, ERR_UNAVAILABLE, "does not answer");
    inject(w, INJECT(LINK, "h3", .on = 1));
    assert_ok(world_migrate(w, 1, &m, &id, &err), &err);
    assert_true(ended(w, id, 60000, &e));
    assert_int_equal(e.err.code, ERR_OK);
    assert_true(runs_at(w, 2, C) && !look(w, 1, C).present);
    world_free(w);
}

/* Half of its memory is on either host: with one of them it is lost, and nowhere runs on. */
static void test_postcopy_dies_with_either_host(void **state)
{
    (void)state;
    for (int lost = 1; lost <= 2; lost++) {
        struct world *w = small_world();
        struct world_event e;
        uint64_t id = begin_postcopy(w);
        if (lost == 1)
            inject(w, INJECT(POWER, "h2", .on = 0));
        else
            inject(w, INJECT(POWER, "h3", .on = 0));
        assert_true(ended(w, id, 60000, &e));
        assert_true(e.err.code != ERR_OK);
        assert_false(runs_at(w, 1, C) || runs_at(w, 2, C));
        assert_null(world_broken(w));
        world_free(w);
    }
}

static void test_copied_disks_take_their_time(void **state)
{
    (void)state;
    struct world *w = world_of("{\"schema\":\"skein.snapshot/1\",\"hosts\":[" HOST("h1") "," HOST(
        "h2") "],\"vms\":[" GUEST(B, "b", "h1",
                                  ",\"memory_used_mib\":1024,\"dirty_mib_s\":0,"
                                  "\"wset_mib\":1,\"local_disk_mib\":5000") "]}");
    struct world_event e;
    struct err err = {0};
    struct hv_move m = move_to(B, "h2");
    uint64_t id;
    m.how.storage = MIGRATE_STORAGE_ALL;
    assert_ok(world_migrate(w, 0, &m, &id, &err), &err);
    assert_true(ended(w, id, 600000, &e));
    assert_int_equal(e.err.code, ERR_OK);
    assert_in_range(e.stats.transferred_mib, 6000, 6200);
    assert_in_range(e.stats.elapsed_ms, (uint64_t)(6024 / LINK_MIB_S * 1000),
                    (uint64_t)(6024 / LINK_MIB_S * 1000) + 3000);
    world_free(w);
}

/* What the call says and what happened, for each fate. */
static void test_fates(void **state)
{
    static const struct {
        Skein__SimFate fate;
        enum err_code says;
        bool moves, leftover;
    } fates[] = {
        {SKEIN__SIM_FATE__FATE_NONE, ERR_OK, true, false},
        {SKEIN__SIM_FATE__FATE_FAIL, ERR_HYPERVISOR, false, false},
        {SKEIN__SIM_FATE__FATE_ERROR_AFTER_SUCCESS, ERR_HYPERVISOR, true, false},
        {SKEIN__SIM_FATE__FATE_SUCCESS_WITHOUT_MOVE, ERR_OK, false, false},
        {SKEIN__SIM_FATE__FATE_LEFTOVER, ERR_OK, true, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fates); i++) {
        struct world *w = small_world();
        struct world_event e;
        struct err err = {0};
        inject(w, INJECT(FATE, "b", .fate = fates[i].fate));
        assert_true(ended(w, migrate(w, 0, B, "h2"), 600000, &e));
        assert_int_equal(e.err.code, fates[i].says);
        assert_int_equal(runs_at(w, 1, B), fates[i].moves);
        assert_int_equal(runs_at(w, 0, B), !fates[i].moves);
        assert_int_equal(look(w, 0, B).present, fates[i].leftover || !fates[i].moves);
        if (fates[i].moves) {
            assert_ok(world_tidy(w, 0, B, &err), &err);
            assert_false(look(w, 0, B).present);
        } else { /* used up: the next one goes as it should */
            assert_err(world_tidy(w, 0, B, &err), &err, ERR_CONFLICT, "active");
            assert_true(ended(w, migrate(w, 0, B, "h2"), 600000, &e));
            assert_true(runs_at(w, 1, B));
        }
        world_free(w);
    }
}

static void test_stuck_and_paused(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    struct err err = {0};
    inject(w, INJECT(FATE, "b", .fate = SKEIN__SIM_FATE__FATE_STUCK));
    uint64_t id = migrate(w, 0, B, "h2");
    assert_false(ended(w, id, 3600000, &e));
    assert_ok(world_abort(w, 0, B, &err), &err);
    inject(w, INJECT(FATE, B, .fate = SKEIN__SIM_FATE__FATE_PAUSED));
    assert_true(ended(w, migrate(w, 0, B, "h2"), 600000, &e));
    assert_int_equal(e.err.code, ERR_HYPERVISOR);
    assert_int_equal(look(w, 0, B).state, SKEIN__VM_STATE__VM_PAUSED);
    assert_int_equal(look(w, 1, B).state, SKEIN__VM_STATE__VM_PAUSED);
    world_free(w);
}

static void test_power_loss_during_a_move(void **state)
{
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct world *w = small_world();
        struct world_event e;
        uint64_t id = migrate(w, 0, B, "h2");
        world_step(w, 3000);
        inject(w, INJECT(POWER, "h2", .on = 0, .silent = silent));
        assert_int_equal(world_answers(w, 1), silent ? WORLD_SILENT : WORLD_REFUSES);
        assert_true(ended(w, id, 31000, &e)); /* silence is noticed after 30 s */
        assert_int_equal(e.err.code, ERR_HYPERVISOR);
        assert_true(silent == (e.stats.elapsed_ms > 30000));
        assert_true(runs_at(w, 0, B));
        inject(w, INJECT(POWER, "h2", .on = 1));
        world_step(w, world_now(w) + 59000);
        assert_int_equal(world_answers(w, 1), WORLD_REFUSES);
        world_step(w, world_now(w) + 2000);
        assert_int_equal(world_answers(w, 1), WORLD_ANSWERS);
        assert_true(runs_at(w, 1, C)); /* autostart */
        assert_false(look(w, 1, B).present);

        id = migrate(w, 0, A, "h3");
        world_step(w, world_now(w) + 3000);
        inject(w, INJECT(POWER, "h1", .on = 0));
        assert_true(ended(w, id, 1, &e));
        assert_int_equal(e.err.code, ERR_UNAVAILABLE);
        assert_false(look(w, 2, A).present);
        assert_int_equal(look(w, 0, A).state, SKEIN__VM_STATE__VM_STOPPED);
        world_free(w);
    }
}

static void test_hang_link_and_full_disk(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct world_event e;
    struct err err = {0};
    uint64_t id = migrate(w, 0, B, "h2");
    world_step(w, 3000);
    inject(w, INJECT(HANG, "h2", .on = 1));
    assert_false(ended(w, id, 600000, &e));
    inject(w, INJECT(HANG, "h2", .on = 0));
    inject(w, INJECT(DISK_FULL, "h2", .on = 1));
    assert_true(ended(w, id, 60000, &e));
    assert_string_equal(err_name(e.err.code), "HYPERVISOR");
    assert_non_null(strstr(e.err.msg, "no space"));
    inject(w, INJECT(LINK, "h1", .on = 0));
    struct hv_move m = move_to(B, "h2");
    assert_err(world_precheck(w, 0, &m, &err), &err, ERR_UNAVAILABLE, "does not answer");
    inject(w, INJECT(LINK, "h1", .on = 1));
    id = migrate(w, 0, B, "h3");
    inject(w, INJECT(LINK, "h1", .on = 0));
    assert_true(ended(w, id, 31000, &e));
    assert_non_null(strstr(e.err.msg, "keepalive"));
    assert_true(runs_at(w, 0, B));
    world_free(w);
}

static void test_refusals(void **state)
{
    (void)state;
    struct world *w = small_world();
    struct err err = {0};
    struct hv_move m = move_to(A, "h9"), twice = move_to(A, "h3");
    uint64_t id;
    assert_err(world_migrate(w, 0, &m, &id, &err), &err, ERR_NOT_FOUND, "h9");
    m = move_to(A, "h1");
    assert_err(world_migrate(w, 0, &m, &id, &err), &err, ERR_INVALID, "already");
    m = move_to(C, "h3");
    assert_err(world_migrate(w, 0, &m, &id, &err), &err, ERR_NOT_FOUND, "not on h1");
    migrate(w, 0, A, "h2");
    assert_err(world_migrate(w, 0, &twice, &id, &err), &err, ERR_CONFLICT, "another job");
    assert_err(world_tidy(w, 0, A, &err), &err, ERR_CONFLICT, "active");

    Skein__HostDetail *d = world_observe(w, 0);
    assert_int_equal(d->n_vms, 2);
    m = move_to(B, "h2");
    assert_ok(world_admit(w, 1, &m, d->vms[1], &err), &err);
    assert_err(world_admit(w, 0, &m, d->vms[1], &err), &err, ERR_EXISTS, "active here");
    d->vms[1]->memory_mib = 60000;
    assert_err(world_admit(w, 1, &m, d->vms[1], &err), &err, ERR_CAPACITY, "60000 MiB");
    d->vms[1]->machine = xstrdup("pc-i440fx");
    assert_err(world_admit(w, 1, &m, d->vms[1], &err), &err, ERR_INCOMPATIBLE, "pc-i440fx");
    skein__host_detail__free_unpacked(d, NULL);

    Skein__SimInject bad = INJECT(FAN, "h1", .has_number = 1, .number = 0);
    assert_err(world_inject(w, &bad, &err), &err, ERR_INVALID, "fan");
    bad = INJECT(LOAD, "nobody", .has_number = 1, .number = 1);
    assert_err(world_inject(w, &bad, &err), &err, ERR_NOT_FOUND, "nobody");
    bad = INJECT(HEAT, "h1", .has_number = 1, .number = NAN);
    assert_err(world_inject(w, &bad, &err), &err, ERR_INVALID, "heat");
    world_free(w);
}

/* ---- heat and load ---- */

static void test_heat_follows_load_and_fan(void **state)
{
    (void)state;
    struct world *w = small_world();
    world_step(w, 600000);
    double rest = cpu_of(w, 0), neighbour = cpu_of(w, 1);
    inject(w, INJECT(FAN, "h1", .has_number = 1, .number = 0.5));
    world_step(w, 660000); /* one time constant: 63 % of the way */
    double part = cpu_of(w, 0);
    world_step(w, 1600000);
    double hot = cpu_of(w, 0);
    assert_true(hot > rest + 10);
    assert_true(fabs((part - rest) / (hot - rest) - 0.632) < 0.05);
    inject(w, INJECT(FAN, "h1", .has_number = 1, .number = 1));
    inject(w, INJECT(LOAD, "a", .has_number = 1, .number = 2));
    inject(w, INJECT(LOAD, "b", .has_number = 1, .number = 2));
    world_step(w, 3200000);
    assert_true(cpu_of(w, 0) > rest + 2);
    assert_true(cpu_of(w, 1) > neighbour); /* what h1 blows back */
    inject(w, INJECT(HEAT, "h1", .has_number = 1, .number = 99));
    assert_true(fabs(cpu_of(w, 0) - 99) < 0.001);
    inject(w, INJECT(HEAT, "h1"));
    assert_true(cpu_of(w, 0) < 90);
    world_free(w);
}

static void test_overload_is_shared_and_told(void **state)
{
    (void)state;
    struct world *w = world_of(
        "{\"schema\":\"skein.snapshot/1\",\"hosts\":[{\"name\":\"h1\",\"cpu\":{\"cores\":2},"
        "\"memory\":{\"total_mib\":16384}}],\"vms\":[" GUEST(A, "a", "h1",
                                                             "") "," GUEST(B, "b", "h1", "") "]}");
    inject(w, INJECT(LOAD, "a", .has_number = 1, .number = 2));
    inject(w, INJECT(LOAD, "b", .has_number = 1, .number = 2));
    Skein__HostDetail *d = world_observe(w, 0);
    assert_int_equal(d->summary->used_millicores, 2000);
    assert_int_equal(d->summary->pressure_cpu_milli, 50000);
    assert_int_equal(d->vms[0]->cpu_used_millicores, 1000);
    skein__host_detail__free_unpacked(d, NULL);
    world_free(w);
}

static void test_traces_repeat(void **state)
{
    (void)state;
    struct world *w = small_world();
    world_trace(w, 0, (const uint8_t[]){10, 50}, 2, 300000);
    const double want[] = {0.2, 1, 0.2};
    for (int i = 0; i < 3; i++) {
        world_step(w, 300000 * i + 2000);
        Skein__HostDetail *d = world_observe(w, 0);
        assert_true(fabs(d->vms[0]->cpu_used_millicores / 1e3 - want[i]) < 1e-6);
        skein__host_detail__free_unpacked(d, NULL);
    }
    world_free(w);
}

static void test_unknowns_are_refused(void **state)
{
    static const struct {
        const char *hosts, *vms, *part;
    } cases[] = {
        {"{\"name\":\"h1\",\"memory\":{\"total_mib\":1024}}", "", "its cores"},
        {"{\"name\":\"h1\",\"cpu\":{\"cores\":2}}", "", "its memory"},
        {HOST("h1"), "{\"name\":\"x\",\"host\":\"h1\",\"vcpus\":1,\"memory_mib\":64}", "UUID"},
        {HOST("h1"), "{\"name\":\"x\",\"uuid\":\"" A "\",\"host\":\"h1\",\"vcpus\":1}", "memory"},
        {"", "", "needs a host"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        struct model *model = NULL;
        struct world *w = NULL;
        struct world_conf conf = {0};
        _cleanup_(freep) char *text =
            xasprintf("{\"schema\":\"skein.snapshot/1\",\"hosts\":[%s],\"vms\":[%s]}",
                      cases[i].hosts, cases[i].vms);
        assert_ok(model_parse(text, strlen(text), &model, &err), &err);
        assert_err(world_from_model(&conf, model, &w, &err), &err, ERR_INVALID, cases[i].part);
        model_free(model);
    }
}

/* ---- the whole ---- */

static char *packed_status(const struct world *w, size_t *ret_len)
{
    Skein__SimStatus *s = world_status(w);
    char *bytes = xmalloc(*ret_len = skein__sim_status__get_packed_size(s));
    skein__sim_status__pack(s, (uint8_t *)bytes);
    skein__sim_status__free_unpacked(s, NULL);
    return bytes;
}

/* The same seed gives the same world, however often it is asked to let time pass. */
static void test_generated_worlds_repeat(void **state)
{
    (void)state;
    struct world_conf conf = {.seed = 42, .begins = 1700000000000};
    struct world *a = NULL, *b = NULL;
    struct err err = {0};
    size_t na, nb;
    assert_ok(world_generate(&conf, 20, 200, &a, &err), &err);
    assert_ok(world_generate(&conf, 20, 200, &b, &err), &err);
    assert_int_equal(world_hosts(a), 20);
    assert_int_equal(world_guests(a), 200);
    assert_null(world_broken(a));
    for (msec t = 0; t < 7200000; t += 777)
        world_step(a, t);
    world_step(a, 7200000);
    world_step(b, 7200000);
    _cleanup_(freep) char *sa = packed_status(a, &na);
    _cleanup_(freep) char *sb = packed_status(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(sa, sb, na);
    world_free(a);
    world_free(b);
    assert_err(world_generate(&conf, 1, 100000, &a, &err), &err, ERR_CAPACITY, "no room");
    assert_err(world_generate(&conf, 0, 1, &a, &err), &err, ERR_LIMIT, "hosts");
}

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

static void random_order(struct world *w, uint64_t *rng, char uuids[][UUID_SIZE], size_t n)
{
    static const char *const names[] = {"hv1", "hv2", "hv3", "hv4", "hv5"};
    const char *host = names[draw(rng, 5)], *uuid = uuids[draw(rng, n)];
    struct hv_move m = move_to(uuid, names[draw(rng, 5)]);
    bool on = draw(rng, 2) != 0, silent = draw(rng, 2) != 0;
    uint64_t id;
    struct err err;
    m.how.auto_converge = draw(rng, 2) != 0;
    m.persistent = draw(rng, 4) != 0;
    Skein__SimInject i = INJECT(HANG, host, .on = on, .silent = silent);
    size_t at = (size_t)draw(rng, 5);
    switch (draw(rng, 10)) {
    case 0:
        i.kind = SKEIN__SIM_INJECT_KIND__INJECT_POWER;
        break;
    case 1:
        break;
    case 2:
        i.kind = SKEIN__SIM_INJECT_KIND__INJECT_LINK;
        break;
    case 3:
        i.kind = SKEIN__SIM_INJECT_KIND__INJECT_DISK_FULL;
        break;
    case 4:
        i.kind = SKEIN__SIM_INJECT_KIND__INJECT_FATE;
        i.target = (char *)(uintptr_t)uuid;
        i.fate = (Skein__SimFate)draw(rng, 7);
        break;
    case 5:
        world_abort(w, at, uuid, &err);
        return;
    case 6:
        world_tidy(w, at, uuid, &err);
        return;
    default:
        for (at = 0; at < 5; at++)
            if (world_answers(w, at) == WORLD_ANSWERS && world_migrate(w, at, &m, &id, &err) == 0)
                break;
        return;
    }
    world_inject(w, &i, &err);
}

/* Whatever happens, what must hold holds. */
static void test_random_orders(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world_conf conf = {.seed = seed};
        struct world *w = NULL;
        struct err err = {0};
        struct world_event e;
        char uuids[20][UUID_SIZE];
        uint64_t rng = seed;
        size_t n = 0;
        assert_ok(world_generate(&conf, 5, ARRAY_SIZE(uuids), &w, &err), &err);
        Skein__SimStatus *s = world_status(w);
        for (; n < s->n_guests; n++)
            snprintf(uuids[n], UUID_SIZE, "%s", s->guests[n]->uuid);
        skein__sim_status__free_unpacked(s, NULL);
        for (int i = 0; i < 200; i++) {
            random_order(w, &rng, uuids, n);
            if (world_broken(w) == NULL)
                world_step(w, world_now(w) + (msec)draw(&rng, 5000));
            if (world_broken(w) != NULL)
                fail_msg("seed %llu, order %d: %s", (unsigned long long)seed, i, world_broken(w));
            while (world_event(w, &e))
                ;
        }
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precopy_time),
        cmocka_unit_test(test_fair_shares),
        cmocka_unit_test(test_bandwidth_limit),
        cmocka_unit_test(test_does_not_converge_unless_throttled),
        cmocka_unit_test(test_postcopy),
        cmocka_unit_test(test_postcopy_breaks_and_is_recovered),
        cmocka_unit_test(test_postcopy_dies_with_either_host),
        cmocka_unit_test(test_copied_disks_take_their_time),
        cmocka_unit_test(test_fates),
        cmocka_unit_test(test_stuck_and_paused),
        cmocka_unit_test(test_power_loss_during_a_move),
        cmocka_unit_test(test_hang_link_and_full_disk),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_heat_follows_load_and_fan),
        cmocka_unit_test(test_overload_is_shared_and_told),
        cmocka_unit_test(test_traces_repeat),
        cmocka_unit_test(test_unknowns_are_refused),
        cmocka_unit_test(test_generated_worlds_repeat),
        cmocka_unit_test(test_random_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
