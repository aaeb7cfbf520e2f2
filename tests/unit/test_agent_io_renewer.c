/* Certificates are renewed in time, and tried again where that fails; nothing waits for a thread.
 */
#include "tests/unit/tls_fixture.h"

#include "agent/core/renew.h"
#include "agent/io/renewer.h"

struct fixture {
    struct world world;
    uv_loop_t loop;
    uv_timer_t guard;
    struct config config;
    char *from[2];
    struct renewer *renewer;
    unsigned done;
    struct err err;
};

static msec now;
static int refusals, renewals, reloads;
static char asked[64];
static struct fixture *current;

static msec wall(void)
{
    return now;
}

static int fake_renew(const struct renewal *r, struct err *err)
{
    snprintf(asked, sizeof asked, "%s", r->from);
    if (refusals > 0) {
        refusals--;
        return err_set(err, ERR_UNAVAILABLE, "nobody answers");
    }
    renewals++;
    assert_string_equal(r->out, current->world.directory);
    assert_false(r->new_keys);
    return 0;
}

static int fake_reload(struct err *err)
{
    (void)err;
    reloads++;
    return 0;
}

/* The certificate that is held from now on. */
static void hold(struct fixture *t, int days)
{
    make_pair(&t->world, USE_AGENT, "hv1", days, now, NULL, NULL);
    _cleanup_(freep) char *from = path_in(&t->world, "hv1.pem"),
                          *to = path_in(&t->world, "skein/host.pem");
    assert_int_equal(rename(from, to), 0);
}

static void done(void *arg, const struct err *err)
{
    struct fixture *t = arg;
    t->done++;
    t->err = *err;
    if (err->code == ERR_OK)
        hold(t, 30);
    uv_stop(&t->loop);
}

static void guard_due(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* Until something was done, or for so long. */
static void run(struct fixture *t, uint64_t patience)
{
    uv_timer_start(&t->guard, guard_due, patience, 0);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&t->guard);
}

static int set_up(void **state)
{
    struct fixture *t = xcalloc(1, sizeof *t);
    struct err err = {0};
    world_init(&t->world, "dc1", UUID_ONE);
    current = t;
    now = NOW;
    refusals = renewals = reloads = 0;
    _cleanup_(freep) char *skein = path_in(&t->world, "skein");
    assert_ok(file_make_directory(skein, 0700, &err), &err);
    hold(t, 30);
    uv_loop_init(&t->loop);
    uv_timer_init(&t->loop, &t->guard);
    t->from[0] = xstrdup("hv2:7444");
    t->from[1] = xstrdup("hv3:7444");
    t->config = (struct config){.host = (char *)(uintptr_t) "hv1",
                                .tls_directory = xstrdup(skein),
                                .issuer_from = t->from,
                                .n_issuer_from = 2};
    *state = t;
    return 0;
}

static int open_renewer(struct fixture *t, struct err *err)
{
    struct renewer_conf conf = {.loop = &t->loop,
                                .config = &t->config,
                                .arg = t,
                                .done = done,
                                .wall = wall,
                                .renew = fake_renew,
                                .reload = fake_reload};
    return renewer_open(&conf, &t->renewer, err);
}

static int tear_down(void **state)
{
    struct fixture *t = *state;
    renewer_close(t->renewer);
    uv_close((uv_handle_t *)&t->guard, NULL);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&t->loop), 0);
    free(t->config.tls_directory);
    free(t->from[0]);
    free(t->from[1]);
    world_done(&t->world);
    free(t);
    return 0;
}

static void nothing_before_its_time(void **state)
{
    struct fixture *t = *state;
    struct err err = {0};
    now = NOW + 18 * DAY;
    assert_ok(open_renewer(t, &err), &err);
    run(t, 2500);
    assert_int_equal(t->done, 0);
    assert_int_equal(renewals, 0);
}

static void renewed_in_time(void **state)
{
    struct fixture *t = *state;
    struct err err = {0};
    now = NOW + 21 * DAY;
    refusals = 1;
    assert_ok(open_renewer(t, &err), &err);
    run(t, 20000);
    assert_int_equal(t->done, 1);
    assert_int_equal(t->err.code, ERR_UNAVAILABLE);
    assert_string_equal(asked, "hv2:7444");
    renewer_close(TAKE_PTR(t->renewer)); /* its agent starts anew: at once again */
    assert_ok(open_renewer(t, &err), &err);
    run(t, 20000);
    assert_int_equal(t->done, 2);
    assert_int_equal(t->err.code, ERR_OK);
    assert_int_equal(renewals, 1);
    assert_int_equal(reloads, 0); /* there is no libvirt */
    run(t, 2500);                 /* the new one is young */
    assert_int_equal(t->done, 2);
}

static void libvirt_is_told(void **state)
{
    struct fixture *t = *state;
    struct err err = {0};
    _cleanup_(freep) char *libvirt = path_in(&t->world, "libvirt");
    assert_ok(file_make_directory(libvirt, 0700, &err), &err);
    write_text(&t->world, "libvirt/servercert.pem", "-");
    now = NOW + 21 * DAY;
    assert_ok(open_renewer(t, &err), &err);
    run(t, 20000);
    assert_int_equal(t->err.code, ERR_OK);
    assert_int_equal(reloads, 1);
}

static void the_folder_is_looked_at(void **state)
{
    struct fixture *t = *state;
    struct err err = {0};
    free(t->config.tls_directory);
    t->config.tls_directory = xstrdup("/etc/keys");
    assert_err(open_renewer(t, &err), &err, ERR_INVALID, "no folder \"skein\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_before_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(renewed_in_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(libvirt_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_folder_is_looked_at, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
