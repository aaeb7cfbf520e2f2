/* A world in a process of its own, agents' hypervisors that reach it over its socket, and clients
 * that talk nonsense. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/hypervisor.h"
#include "agent/sim/server.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/log.h"
#include "proto/util.h"

struct fixture {
    char directory[64], socket[128];
    pid_t world;
    struct hypervisor *hosts[3]; /* hv1 ... */
    atomic_int changes;
};

static void rest(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static void world_start(struct fixture *f)
{
    f->world = fork();
    assert_true(f->world >= 0);
    if (f->world == 0) {
        struct world_conf conf = {.seed = 5};
        struct server_conf server = {.socket = f->socket, .speed = 50};
        struct world *w = NULL;
        struct err err = {0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        log_init("world", LOG_LEVEL_ERROR);
        if (world_generate(&conf, 3, 12, &w, &err) < 0 || server_run(w, &server, &err) < 0) {
            fprintf(stderr, "%s\n", err.msg);
            _exit(1);
        }
        world_free(w);
        _exit(0);
    }
    for (int i = 0; i < 500; i++) {
        int fd = frame_connect(f->socket, NULL);
        if (fd >= 0) {
            close(fd);
            return;
        }
        rest(10);
    }
    fail_msg("the world does not listen");
}

static void world_end(struct fixture *f, int number)
{
    int status;
    kill(f->world, number);
    assert_int_equal(waitpid(f->world, &status, 0), f->world);
    if (number == SIGTERM)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void changed(void *arg)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->changes, 1);
}

static int setup(void **state)
{
    struct fixture *f = *state = xcalloc(1, sizeof *f);
    struct err err = {0};
    snprintf(f->directory, sizeof f->directory, "/tmp/skein-world-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->socket, sizeof f->socket, "%s/world", f->directory);
    world_start(f);
    for (size_t i = 0; i < ARRAY_SIZE(f->hosts); i++) {
        _cleanup_(freep) char *uri = xasprintf("sim:%s", f->socket);
        char name[8];
        snprintf(name, sizeof name, "hv%zu", i + 1);
        struct hypervisor_conf conf = {.uri = uri, .host = name};
        assert_ok(hypervisor_open(&conf, &f->hosts[i], &err), &err);
        f->hosts[i]->ops->watch(f->hosts[i], changed, f);
    }
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(f->hosts); i++)
        hypervisor_close(f->hosts[i]);
    if (f->world > 0)
        world_end(f, SIGTERM);
    assert_int_equal(rmdir(f->directory), 0); /* the socket is gone with the world */
    free(f);
    return 0;
}

static struct hv_result call(struct fixture *f, size_t host, enum hv_kind kind, const char *uuid,
                             const char *to)
{
    struct hv_job job = {.id = 3, .kind = kind};
    struct hv_result r;
    job.move.persistent = true;
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", uuid);
    snprintf(job.move.to, sizeof job.move.to, "%s", to);
    hypervisor_call(f->hosts[host], &job, &r);
    return r;
}

/* Some guest of hv1 that fits anywhere. */
static Skein__VmDetail *a_guest(struct fixture *f)
{
    struct hv_result r = call(f, 0, HV_OBSERVE, "", "");
    assert_ok(-(int)r.err.code, &r.err);
    assert_true(r.detail->n_vms > 0);
    Skein__VmDetail *vm = (Skein__VmDetail *)codec_copy(&r.detail->vms[0]->base);
    hv_result_done(&r);
    return vm;
}

/* "" or the code of the error that the world answers with. */
static char *ask(struct fixture *f, const Skein__SimRequest *request)
{
    struct err err = {0};
    uint8_t *bytes;
    size_t len;
    ProtobufCMessage *reply;
    int fd = frame_connect(f->socket, &err);
    assert_ok(fd, &err);
    assert_ok(frame_send(fd, &request->base, &err), &err);
    assert_ok(frame_receive(fd, 5000, &bytes, &len, &err), &err);
    assert_ok(codec_unpack(&skein__sim_reply__descriptor, "reply", bytes, len, &reply, &err), &err);
    const char *code = ((Skein__SimReply *)reply)->code;
    char *answer = xstrdup(code != NULL ? code : "");
    protobuf_c_message_free_unpacked(reply, NULL);
    free(bytes);
    close(fd);
    return answer;
}

static void inject(struct fixture *f, Skein__SimInject inject)
{
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_INJECT;
    request.inject = &inject;
    _cleanup_(freep) char *code = ask(f, &request);
    assert_string_equal(code, "");
}

#define INJECT(kind_, target_, ...)                                                                \
    (Skein__SimInject)                                                                             \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&skein__sim_inject__descriptor), .has_kind = 1,            \
        .kind = SKEIN__SIM_INJECT_KIND__INJECT_##kind_, .target = (char *)(uintptr_t)(target_),    \
        __VA_ARGS__                                                                                \
    }

static bool runs(struct fixture *f, size_t host, const char *uuid)
{
    struct hv_result r = call(f, host, HV_LOOK, uuid, "");
    assert_ok(-(int)r.err.code, &r.err);
    return r.seen.present && r.seen.state == SKEIN__VM_STATE__VM_RUNNING;
}

static void observed(void **state)
{
    struct fixture *f = *state;
    struct hv_result r = call(f, 0, HV_OBSERVE, "", "");
    struct stat st;
    assert_int_equal(r.err.code, ERR_OK);
    const Skein__HostSummary *s = r.detail->summary;
    assert_null(s->host); /* the configuration's */
    assert_null(r.detail->capability->failure_domain);
    assert_int_equal(r.detail->capability->n_tags, 0);
    assert_int_equal(s->cores, 32);
    assert_in_range(s->cpu_millicelsius, 20000, 80000);
    assert_true(llabs((long long)s->observed_at_ms - (long long)time(NULL) * 1000) < 5000);
    assert_int_equal(s->vms, r.detail->n_vms);
    hv_result_done(&r);
    assert_int_equal(stat(f->socket, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static struct hv_clock clock_of(struct fixture *f)
{
    struct hv_result r = call(f, 0, HV_OBSERVE, "", "");
    struct hv_clock clock = r.clock;
    assert_int_equal(r.err.code, ERR_OK);
    hv_result_done(&r);
    return clock;
}

static void its_clock_is_told_and_can_be_hastened(void **state)
{
    struct fixture *f = *state;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    request.kind_case = SKEIN__SIM_REQUEST__KIND_SPEED;
    request.speed = 4000;
    struct hv_clock before = clock_of(f);
    assert_int_equal(before.speed_milli, 50000);
    atomic_store(&f->changes, 0);
    _cleanup_(freep) char *done = ask(f, &request);
    assert_string_equal(done, "");
    struct hv_clock after = clock_of(f);
    assert_int_equal(after.speed_milli, 4000000);
    rest(100);
    struct hv_clock later = clock_of(f);
    assert_true(after.world >= before.world); /* no jump, neither back nor forth */
    assert_true(after.world - before.world < 4000 * (after.wall - before.wall + 20));
    assert_true(later.world - after.world >= 100 * 4000);
    for (int i = 0; i < 500 && atomic_load(&f->changes) < 3; i++)
        rest(10); /* all who watch are told to look */
    assert_true(atomic_load(&f->changes) >= 3);
    request.speed = -1;
    _cleanup_(freep) char *refused = ask(f, &request);
    assert_string_equal(refused, "INVALID");
    assert_int_equal(clock_of(f).speed_milli, 4000000);
}

static void unknown_hosts_are_told(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *uri = xasprintf("sim:%s", f->socket);
    struct hypervisor_conf conf = {.uri = uri, .host = "hv99"};
    struct hypervisor *hv;
    struct hv_job job = {.kind = HV_OBSERVE};
    struct hv_result r;
    assert_ok(hypervisor_open(&conf, &hv, &r.err), &r.err);
    hypervisor_call(hv, &job, &r);
    assert_err(-(int)r.err.code, &r.err, ERR_NOT_FOUND, "hv99");
    hypervisor_close(hv);
}

/* A VM stops where it is: asked, or saved; one that does not run cannot. */
static void stopped(void **state)
{
    struct fixture *f = *state;
    Skein__VmDetail *vm = a_guest(f);
    struct hv_result r = call(f, 0, HV_SUSPEND, vm->uuid, "");
    assert_ok(-(int)r.err.code, &r.err);
    r = call(f, 0, HV_LOOK, vm->uuid, "");
    assert_int_equal(r.seen.state, SKEIN__VM_STATE__VM_STOPPED);
    assert_string_equal(r.seen.reason, "saved");
    assert_true(r.seen.persistent);
    r = call(f, 0, HV_SHUTDOWN, vm->uuid, "");
    assert_err(-(int)r.err.code, &r.err, ERR_CONFLICT, "does not run here");
    skein__vm_detail__free_unpacked(vm, NULL);
}

struct mover {
    struct fixture *f;
    const char *uuid, *to;
    struct hv_result result;
};

static void *move_main(void *arg)
{
    struct mover *m = arg;
    m->result = call(m->f, 0, HV_MIGRATE, m->uuid, m->to);
    return NULL;
}

static void moved(void **state)
{
    struct fixture *f = *state;
    Skein__VmDetail *vm = a_guest(f);
    struct hv_result r = call(f, 0, HV_PRECHECK, vm->uuid, "hv2");
    assert_int_equal(r.err.code, ERR_OK);
    struct hv_job admit = {.kind = HV_ADMIT, .vm = vm};
    snprintf(admit.move.uuid, sizeof admit.move.uuid, "%s", vm->uuid);
    hypervisor_call(f->hosts[1], &admit, &r);
    assert_ok(-(int)r.err.code, &r.err);
    rest(300);
    int before = atomic_load(&f->changes);
    r = call(f, 0, HV_MIGRATE, vm->uuid, "hv2");
    assert_ok(-(int)r.err.code, &r.err);
    assert_in_range(r.stats.downtime_ms, 1, 500);
    assert_true(r.stats.transferred_mib > 100);
    assert_true(runs(f, 1, vm->uuid));
    assert_false(runs(f, 0, vm->uuid));
    hypervisor_call(f->hosts[1], &admit, &r);
    assert_err(-(int)r.err.code, &r.err, ERR_EXISTS, "active here");
    r = call(f, 0, HV_TIDY, vm->uuid, "");
    assert_int_equal(r.err.code, ERR_OK);
    r = call(f, 1, HV_TIDY, vm->uuid, "");
    assert_int_equal(r.err.code, ERR_CONFLICT);
    rest(100);
    assert_true(atomic_load(&f->changes) > before);
    skein__vm_detail__free_unpacked(vm, NULL);
}

static void aborted_while_it_runs(void **state)
{
    struct fixture *f = *state;
    Skein__VmDetail *vm = a_guest(f);
    inject(f, INJECT(FATE, vm->uuid, .has_fate = 1, .fate = SKEIN__SIM_FATE__FATE_STUCK));
    struct mover m = {f, vm->uuid, "hv3", {0}};
    pthread_t thread;
    struct hv_result r;
    assert_int_equal(pthread_create(&thread, NULL, move_main, &m), 0);
    for (int i = 0; i < 500; i++, rest(10)) {
        r = call(f, 0, HV_PROGRESS, vm->uuid, "");
        if (r.progress.running)
            break;
    }
    assert_true(r.progress.running && r.progress.remaining_mib > 0);
    r = call(f, 0, HV_LOOK, vm->uuid, "");
    assert_true(r.seen.job && r.seen.job_ms > 0 && r.seen.job_ms < 60000);
    assert_true(call(f, 2, HV_LOOK, vm->uuid, "").seen.state == SKEIN__VM_STATE__VM_INCOMING);
    assert_int_equal(call(f, 0, HV_ABORT, vm->uuid, "").err.code, ERR_OK);
    pthread_join(thread, NULL);
    assert_int_equal(m.result.err.code, ERR_CANCELLED);
    assert_true(runs(f, 0, vm->uuid));
    skein__vm_detail__free_unpacked(vm, NULL);
}

/* A move that ends while its host hangs is told when it wakes. */
static void hanging_hosts_answer_when_they_wake(void **state)
{
    struct fixture *f = *state;
    Skein__VmDetail *vm = a_guest(f);
    inject(f, INJECT(HANG, "hv1", .has_on = 1, .on = 1));
    struct mover m = {f, vm->uuid, "hv2", {0}};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, move_main, &m), 0);
    rest(300);
    assert_false(runs(f, 1, vm->uuid)); /* another host answers */
    inject(f, INJECT(HANG, "hv1", .has_on = 1, .on = 0));
    pthread_join(thread, NULL);
    assert_ok(-(int)m.result.err.code, &m.result.err);
    assert_true(runs(f, 1, vm->uuid));
    skein__vm_detail__free_unpacked(vm, NULL);
}

static void dark_hosts_refuse(void **state)
{
    struct fixture *f = *state;
    Skein__VmDetail *vm = a_guest(f);
    inject(f, INJECT(POWER, "hv2", .has_on = 1, .on = 0));
    struct hv_result r = call(f, 1, HV_OBSERVE, "", "");
    assert_err(-(int)r.err.code, &r.err, ERR_UNAVAILABLE, "switched off");
    r = call(f, 0, HV_LOOK_REMOTE, vm->uuid, "hv2");
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    r = call(f, 0, HV_LOOK_REMOTE, vm->uuid, "hv3");
    assert_int_equal(r.err.code, ERR_OK);
    assert_false(r.seen.present);
    r = call(f, 0, HV_PRECHECK, vm->uuid, "hv2");
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    skein__vm_detail__free_unpacked(vm, NULL);
}

static void a_world_that_restarts_is_found_again(void **state)
{
    struct fixture *f = *state;
    rest(300);
    world_end(f, SIGKILL); /* leaves its socket behind */
    struct hv_result r = call(f, 0, HV_OBSERVE, "", "");
    assert_err(-(int)r.err.code, &r.err, ERR_UNAVAILABLE, "simulated world");
    int before = atomic_load(&f->changes);
    world_start(f);
    r = call(f, 0, HV_OBSERVE, "", "");
    assert_int_equal(r.err.code, ERR_OK);
    hv_result_done(&r);
    for (int i = 0; i < 600 && atomic_load(&f->changes) < before + 3; i++)
        rest(10);
    assert_true(atomic_load(&f->changes) >= before + 3); /* each host's watcher is back */
}

static void one_world_a_socket(void **state)
{
    struct fixture *f = *state;
    struct world_conf conf = {.seed = 1};
    struct server_conf server = {.socket = f->socket, .speed = 1};
    struct world *w = NULL;
    struct err err = {0};
    assert_ok(world_generate(&conf, 1, 1, &w, &err), &err);
    assert_err(server_run(w, &server, &err), &err, ERR_EXISTS, "another world");
    server.socket = f->directory;
    assert_err(server_run(w, &server, &err), &err, ERR_EXISTS, "not a socket");
    world_free(w);
}

/* Nonsense of many kinds; afterwards the world still answers. */
static void nonsense_is_sent_away(void **state)
{
    struct fixture *f = *state;
    uint64_t rng = 99;
    for (int i = 0; i < 300; i++) {
        uint8_t bytes[256];
        struct err err = {0};
        int fd = frame_connect(f->socket, &err);
        assert_ok(fd, &err);
        for (size_t k = 0; k < sizeof bytes; k++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            bytes[k] = (uint8_t)(rng >> 56);
        }
        size_t len = 1 + (rng >> 33) % 200;
        if (i % 3 == 1) { /* a frame whose contents are nonsense */
            bytes[0] = bytes[1] = bytes[2] = 0;
            bytes[3] = (uint8_t)(len > FRAME_HEADER ? len - FRAME_HEADER : 0);
        }
        if (i % 3 == 2) /* nearly a request */
            memcpy(bytes, "\0\0\0\x0b\x08\x01\x12\x03hv1\x5a\0\x62", 15);
        send(fd, bytes, len, MSG_NOSIGNAL);
        if (i % 2 == 0)
            shutdown(fd, SHUT_WR);
        close(fd);
    }
    struct hv_result r = call(f, 0, HV_OBSERVE, "", "");
    assert_int_equal(r.err.code, ERR_OK);
    hv_result_done(&r);
}

/* ---- a world that lies ---- */

struct liar {
    int listener;
    const uint8_t *bytes;
    size_t len;
};

static void *liar_main(void *arg)
{
    struct liar *l = arg;
    for (;;) {
        int fd = accept(l->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        char request[512];
        if (recv(fd, request, sizeof request, 0) > 0 && l->len > 0)
            send(fd, l->bytes, l->len, MSG_NOSIGNAL);
        close(fd);
    }
}

static void lies_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum err_code code;
    } lies[] = {
        {"", 0, ERR_UNAVAILABLE},
        {"\0\0\0\x04\x08", 5, ERR_UNAVAILABLE},    /* cut off */
        {"\x7f\xff\xff\xff", 4, ERR_LIMIT},        /* 2 GiB */
        {"\0\0\0\x02\xff\xff", 6, ERR_INVALID},    /* not a message */
        {"\0\0\0\x02\x08\x01", 6, ERR_HYPERVISOR}, /* nothing in it */
        {"\0\0\0\x04\x08\x01\x52\0", 8, ERR_HYPERVISOR} /* an empty detail */,
        {"\0\0\0\x06\x08\x01\x12\x02zz", 10, ERR_UNKNOWN}, /* a code that nobody knows */
    };
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/liar", f->directory);
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        struct liar l = {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                         (const uint8_t *)lies[i].bytes, lies[i].len};
        _cleanup_(freep) char *uri = xasprintf("sim:%s", address.sun_path);
        struct hypervisor_conf conf = {.uri = uri, .host = "hv1"};
        struct hypervisor *hv;
        struct hv_job job = {.kind = HV_OBSERVE};
        struct hv_result r;
        pthread_t thread;
        assert_int_equal(bind(l.listener, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(l.listener, 8), 0);
        pthread_create(&thread, NULL, liar_main, &l);
        assert_ok(hypervisor_open(&conf, &hv, &r.err), &r.err);
        hypervisor_call(hv, &job, &r);
        assert_string_equal(err_name(r.err.code), err_name(lies[i].code));
        hv_result_done(&r);
        hypervisor_close(hv);
        shutdown(l.listener, SHUT_RDWR);
        pthread_join(thread, NULL);
        close(l.listener);
        unlink(address.sun_path);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(observed),
        TEST(its_clock_is_told_and_can_be_hastened),
        TEST(unknown_hosts_are_told),
        TEST(moved),
        TEST(stopped),
        TEST(aborted_while_it_runs),
        TEST(hanging_hosts_answer_when_they_wake),
        TEST(dark_hosts_refuse),
        TEST(a_world_that_restarts_is_found_again),
        TEST(one_world_a_socket),
        TEST(nonsense_is_sent_away),
        TEST(lies_are_refused),
    };
    log_init("test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
