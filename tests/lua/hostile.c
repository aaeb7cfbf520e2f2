/* Every script of a directory as a policy: each ends within 100 ms of its deadline ("-- lua_ms: N"
 * in its second line, else LUA_MS), counted in the processor's time as the deadline is, so that a
 * busy machine changes nothing; with the answer that its first line expects ("-- expect:
 * ALTERNATIVE|ALTERNATIVE", "ok" for none), and leaves this process as it was: no child, no file,
 * no memory, and a good policy still runs. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "planner/worker/worker.h"
#include "tls/file.h"

#define LUA_MS 500
/* Starting and ending a process, which the deadline does not count: its memory, mostly. */
#define START_MS 400
/* Between the processor's time and what passes on a busy machine. */
#define PASSES_MS 25000

static const char good[] = "local P = policy { name = 'good', api = 1 }\n"
                           "function P.trigger(c) return false, 'calm' end\n"
                           "function P.score(c, vm, host) return 1 end\n";

static char *snapshot;
static size_t snapshot_len;

static msec now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The processor's time of all children that have ended. */
static msec children_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static int run(const char *text, size_t len, const char *name, msec lua_ms, struct err *err)
{
    struct worker_request req = {.task = WORKER_PLAN,
                                 .snapshot = snapshot,
                                 .snapshot_len = snapshot_len,
                                 .policy = text,
                                 .policy_len = len,
                                 .policy_name = name,
                                 .limits = {.lua_ms = lua_ms}};
    _cleanup_(worker_result_done) struct worker_result r = {0};
    return worker_run(&req, &r, err);
}

static int count_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (d != NULL && readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* Does the outcome contain one of the '|'-separated alternatives? */
static bool is_expected(const char *expect, const char *outcome)
{
    char list[256];
    snprintf(list, sizeof list, "%s", expect);
    list[strcspn(list, "\r\n")] = '\0';
    char *save = NULL;
    for (char *s = strtok_r(list, "|", &save); s != NULL; s = strtok_r(NULL, "|", &save))
        if (strstr(outcome, s) != NULL)
            return true;
    return false;
}

static bool parent_is_well(int files)
{
    struct err err = {0};
    if (count_files() != files)
        return fprintf(stderr, "  files were left open\n"), false;
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        return fprintf(stderr, "  a child was left\n"), false;
    if (run(good, strlen(good), "good.lua", LUA_MS, &err) < 0)
        return fprintf(stderr, "  a good policy then fails: %s\n", err.msg), false;
    return true;
}

static bool try_script(const char *directory, const char *name)
{
    static const char mark[] = "-- expect: ", deadline[] = "-- lua_ms: ";
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    _cleanup_(freep) char *text = NULL;
    size_t len;
    struct err err = {0};
    if (file_read(path, (size_t)4 << 20, &text, &len, &err) < 0)
        return fprintf(stderr, "%s: %s\n", path, err.msg), false;
    const char *expect = strstr(text, mark);
    expect = expect != NULL ? expect + strlen(mark) : "refused";
    const char *own = strstr(text, deadline);
    msec lua_ms = own != NULL ? atoi(own + strlen(deadline)) : LUA_MS;
    int files = count_files();
    msec start = now_ms(), before = children_ms();
    int rc = run(text, len, name, lua_ms, &err);
    msec took = children_ms() - before, passed = now_ms() - start;
    const char *outcome = rc == 0 ? "ok" : err.msg;
    bool good_time = took <= lua_ms + 100 + START_MS && passed <= PASSES_MS;
    bool good_answer = is_expected(expect, outcome);
    printf("%-24s %5lld ms  %.110s\n", name, (long long)took, outcome);
    if (!good_time)
        fprintf(stderr, "%s: took %lld ms, %lld passed\n", name, (long long)took,
                (long long)passed);
    if (!good_answer)
        fprintf(stderr, "%s: wanted %.100s\n", name, expect);
    return parent_is_well(files) && good_time && good_answer;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_lua(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".lua") == 0;
}

static long peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss / 1024;
}

int main(int argc, char **argv)
{
    worker_main_if_asked(argc, argv);
    struct err err = {0};
    struct dirent **list;
    if (argc != 3 || file_read(argv[1], (size_t)1 << 30, &snapshot, &snapshot_len, &err) < 0) {
        fprintf(stderr, "usage: lua_hostile SNAPSHOT DIRECTORY %s\n", err.msg);
        return 2;
    }
    int n = scandir(argv[2], &list, is_lua, by_name), failed = 0;
    for (int i = 0; i < n; i++) {
        failed += !try_script(argv[2], list[i]->d_name);
        free(list[i]);
    }
    if (n > 0)
        free(list);
    free(snapshot);
    printf("%d scripts, %d failed, this process took %ld MiB at most\n", n, failed, peak_mib());
    return n < 12 || failed > 0;
}
