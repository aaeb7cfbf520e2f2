/* The worker's own side: take the request, put up the walls, answer, end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "planner/worker/confine.h"
#include "planner/worker/request.h"

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "skein: policy worker: %s\n", what);
    _exit(2);
}

static const struct request_header *map_request(size_t *ret_len)
{
    struct stat st;
    if (fstat(WORKER_FD_REQUEST, &st) < 0 || st.st_size < (off_t)sizeof(struct request_header))
        fail("no request; it is started by skein itself");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, WORKER_FD_REQUEST, 0);
    if (p == MAP_FAILED)
        fail("cannot map the request");
    *ret_len = (size_t)st.st_size;
    return p;
}

static struct sandbox_clock *map_clock(void)
{
    void *p = mmap(NULL, sizeof(struct sandbox_clock), PROT_READ | PROT_WRITE, MAP_SHARED,
                   WORKER_FD_CLOCK, 0);
    if (p == MAP_FAILED)
        fail("cannot map the clock");
    return p;
}

/* Find the texts; the header's lengths must fill the file exactly. */
static void find_texts(const struct request_header *h, size_t len, const char **texts)
{
    const char *p = (const char *)(h + 1);
    size_t room = len - sizeof *h;
    for (int i = 0; i < N_TEXTS; i++) {
        texts[i] = NULL;
        if (h->len[i] == TEXT_ABSENT)
            continue;
        if (h->len[i] >= room)
            fail("the request is not one");
        texts[i] = p;
        p += h->len[i] + 1;
        room -= h->len[i] + 1;
    }
    if (h->magic != WORKER_MAGIC || room != 0 || texts[TEXT_POLICY] == NULL)
        fail("the request is not one");
}

static void read_request(const struct request_header *h, size_t len, struct worker_request *ret)
{
    const char *texts[N_TEXTS];
    find_texts(h, len, texts);
    *ret = (struct worker_request){.task = (enum worker_task)h->task,
                                   .snapshot = texts[TEXT_SNAPSHOT],
                                   .policy = texts[TEXT_POLICY],
                                   .policy_len = h->len[TEXT_POLICY],
                                   .policy_name = texts[TEXT_POLICY_NAME],
                                   .params = texts[TEXT_PARAMS],
                                   .test = texts[TEXT_TEST],
                                   .test_name = texts[TEXT_TEST_NAME],
                                   .explain_vm = texts[TEXT_EXPLAIN_VM],
                                   .explain_host = texts[TEXT_EXPLAIN_HOST],
                                   .has_seed = h->has_seed,
                                   .seed = h->seed,
                                   .has_at = h->has_at,
                                   .power = h->power,
                                   .at = h->at,
                                   .limits = h->limits};
    if (ret->snapshot != NULL)
        ret->snapshot_len = h->len[TEXT_SNAPSHOT];
    if (ret->test != NULL)
        ret->test_len = h->len[TEXT_TEST];
}

/* jansson would open /dev/urandom at its first object. */
static void seed_jansson(void)
{
    size_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        fail("no random seed");
    json_object_seed(seed | 1);
}

static int by_byte(const void *a, const void *b)
{
    return (int)*(const unsigned char *)a - (int)*(const unsigned char *)b;
}

/* What looks around at its first use and must not any more once the walls stand: the hash library,
 * and qsort, which asks how much memory the machine has. */
static void warm_up(void)
{
    uint8_t hash[HASH_SIZE], sorted[4096] = {0};
    hash_sha256("", 0, hash);
    qsort(sorted, sizeof sorted, 1, by_byte);
    seed_jansson();
}

static void send_answer(const char *text, size_t len)
{
    uint64_t head = len;
    const char *parts[] = {(const char *)&head, text};
    size_t sizes[] = {sizeof head, len};
    for (int i = 0; i < 2; i++)
        for (size_t done = 0; done < sizes[i];) {
            ssize_t n = write(WORKER_FD_REPLY, parts[i] + done, sizes[i] - done);
            if (n < 0 && errno != EINTR)
                _exit(3);
            done += n > 0 ? (size_t)n : 0;
        }
}

static _Noreturn void worker_main(void)
{
    size_t len;
    const struct request_header *h = map_request(&len);
    struct sandbox_clock *clock = map_clock();
    struct worker_request req;
    read_request(h, len, &req);
    warm_up();
    sandbox_start_ticks();
    struct confine_limits limits = {.memory_bytes = (uint64_t)h->limits.process_mib << 20,
                                    .cpu_seconds = (uint64_t)h->limits.run_ms / 1000 + 2};
    struct err err = {0};
    if (confine_self(&limits, WORKER_FD_REPLY, &err) < 0)
        fail(err.msg);
    size_t n;
    char *answer = worker_answer(&req, clock, &n);
    send_answer(answer, n);
    _exit(0);
}

void worker_main_if_asked(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], WORKER_ARGUMENT) == 0)
        worker_main();
}
