/* A newer list of revocations on its way to a hypervisor that is a stand-in here. */
#include "tests/unit/tls_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

#include "agent/io/revoker.h"

struct fixture {
    struct world world;
    uv_loop_t loop;
    uv_timer_t guard;
    char *root, *first, *second; /* second names hv4 */
    struct revoker *revoker;
    unsigned held, failed; /* calls of done */
    bool named;            /* hv4, by the last of them */
};

/* The stand-in, which a thread calls. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned reloads, refusals;

static int reload(const struct revoked *revoked, unsigned *ret_ended, struct err *err)
{
    pthread_mutex_lock(&lock);
    reloads++;
    bool refuses = refusals > 0;
    refusals -= refuses;
    pthread_mutex_unlock(&lock);
    *ret_ended = revoked_names(revoked, USE_LIBVIRT, "hv4");
    return refuses ? err_set(err, ERR_UNAVAILABLE, "libvirtd is away") : 0;
}

static void done(void *arg, const struct revoked *revoked, unsigned ended, const struct err *err)
{
    struct fixture *t = arg;
    if (err->code != ERR_OK) {
        t->failed++;
        return;
    }
    t->held++;
    t->named = revoked != NULL && revoked_names(revoked, USE_LIBVIRT, "hv4");
    assert_int_equal(ended, t->named);
    uv_stop(&t->loop);
}

static void too_long(uv_timer_t *timer _unused_)
{
    fail_msg("nothing was heard of the list");
}

static char *list_with(struct fixture *t, const char *previous, const char *name)
{
    struct err err = {0};
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    char *list = NULL;
    if (name != NULL)
        make_pair(&t->world, USE_LIBVIRT, name, 365, NOW, NULL, &crt);
    assert_ok(pki_crl(&t->world.machines, previous, crt, 30, NOW, &list, &err), &err);
    return list;
}

static void open_revoker(struct fixture *t)
{
    _cleanup_(freep) char *libvirt = path_in(&t->world, "CA/cacrl.pem");
    _cleanup_(freep) char *qemu = path_in(&t->world, "qemu/ca-crl.pem");
    t->revoker = revoker_open(&(struct revoker_conf){.loop = &t->loop,
                                                     .state_dir = t->world.directory,
                                                     .libvirt_crl = libvirt,
                                                     .qemu_crl = qemu,
                                                     .retry_after = 20,
                                                     .arg = t,
                                                     .done = done,
                                                     .reload = reload});
}

static void close_revoker(struct fixture *t)
{
    revoker_close(TAKE_PTR(t->revoker));
    uv_run(&t->loop, UV_RUN_DEFAULT);
}

static int set_up(void **state)
{
    struct fixture *t = xcalloc(1, sizeof *t);
    world_init(&t->world, "dc1", UUID_ONE);
    t->root = pki_crt_pem(t->world.machines.crt);
    t->first = list_with(t, NULL, NULL);
    t->second = list_with(t, t->first, "hv4");
    _cleanup_(freep) char *folder = path_in(&t->world, "CA");
    mkdir(folder, 0755); /* and no folder of QEMU's */
    uv_loop_init(&t->loop);
    uv_timer_init(&t->loop, &t->guard);
    uv_timer_start(&t->guard, too_long, 60000, 0);
    uv_unref((uv_handle_t *)&t->guard);
    open_revoker(t);
    reloads = refusals = 0;
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *t = *state;
    uv_close((uv_handle_t *)&t->guard, NULL);
    close_revoker(t);
    assert_int_equal(uv_loop_close(&t->loop), 0);
    world_done(&t->world);
    free(t->root);
    free(t->first);
    free(t->second);
    free(t);
    return 0;
}

static void give(struct fixture *t, const char *list)
{
    revoker_take(t->revoker, t->root, list);
    uv_run(&t->loop, UV_RUN_DEFAULT);
}

static void assert_written(struct fixture *t, const char *list)
{
    struct err err = {0};
    _cleanup_(freep) char *path = path_in(&t->world, "CA/cacrl.pem"), *text = NULL;
    assert_ok(file_read(path, 1 << 20, &text, NULL, &err), &err);
    size_t len = strlen(list); /* then the same once more, in the issuers' name */
    assert_memory_equal(text, list, len);
    assert_int_equal(strncmp(text + len, "-----BEGIN X509 CRL-----", 24), 0);
}

static void test_a_list_is_given_once(void **state)
{
    struct fixture *t = *state;
    give(t, t->first);
    assert_written(t, t->first);
    assert_false(t->named);
    give(t, t->second);
    assert_written(t, t->second);
    assert_true(t->named);
    give(t, t->second);
    assert_int_equal(t->held, 3);
    assert_false(t->named);
    assert_int_equal(reloads, 2);
    /* Nor is it after a restart; and where there is no folder, nothing was put. */
    close_revoker(t);
    open_revoker(t);
    give(t, t->second);
    assert_int_equal(reloads, 2);
    _cleanup_(freep) char *qemu = path_in(&t->world, "qemu");
    assert_false(file_exists(qemu));
}

/* Until libvirtd has read it, those named are still new, also over a restart. */
static void test_it_is_tried_again(void **state)
{
    struct fixture *t = *state;
    give(t, t->first);
    refusals = 2;
    give(t, t->second);
    assert_int_equal(t->failed, 2);
    assert_true(t->named);
    assert_int_equal(reloads, 4);
}

static void test_the_newest_counts(void **state)
{
    struct fixture *t = *state;
    revoker_take(t->revoker, t->root, t->first);
    give(t, t->second); /* while the first is on its way */
    if (!t->named)
        uv_run(&t->loop, UV_RUN_DEFAULT);
    assert_written(t, t->second);
    assert_true(t->named);
}

static void test_closing_waits_for_nobody(void **state)
{
    struct fixture *t = *state;
    revoker_take(t->revoker, t->root, t->first);
    close_revoker(t);
    open_revoker(t);
    give(t, t->first);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_list_is_given_once),
        TEST(test_it_is_tried_again),
        TEST(test_the_newest_counts),
        TEST(test_closing_waits_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
