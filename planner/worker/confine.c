#include "planner/worker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/util.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int set_limit(__rlimit_resource_t what, uint64_t value, struct err *err)
{
    struct rlimit r = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit(what, &r) != 0)
        return err_set(err, ERR_IO, "setrlimit %d: %s", (int)what, strerror(errno));
    return 0;
}

static int limit_resources(const struct confine_limits *limits, int keep_fd, struct err *err)
{
    /* A sanitizer maps terabytes of shadow. */
    if (!SANITIZED && set_limit(RLIMIT_AS, limits->memory_bytes, err) < 0)
        return -(int)err->code;
    if (set_limit(RLIMIT_CPU, limits->cpu_seconds, err) < 0 ||
        set_limit(RLIMIT_NOFILE, (uint64_t)keep_fd + 1, err) < 0 ||
        set_limit(RLIMIT_NPROC, 0, err) < 0 || set_limit(RLIMIT_FSIZE, 0, err) < 0 ||
        set_limit(RLIMIT_CORE, 0, err) < 0)
        return -(int)err->code;
    return 0;
}

/* What the C library and the sanitizers' runtime need to hold memory, talk on open files and end.
 */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(sched_yield),
#if SANITIZED
    SCMP_SYS(sigaltstack),
    SCMP_SYS(close),
    SCMP_SYS(readlink),
    SCMP_SYS(getrusage),
    SCMP_SYS(mprotect),
    SCMP_SYS(mmap),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(tgkill),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstat),
    SCMP_SYS(prctl),
#endif
};

/* Memory, but never executable memory: libseccomp compares the protection argument under a mask. */
static int allow_memory(scmp_filter_ctx ctx, int syscall)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, syscall, 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* abort() of our own assertions, which names this process and this signal only. */
static int allow_abort(scmp_filter_ctx ctx)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()),
                            SCMP_A2(SCMP_CMP_EQ, SIGABRT));
}

static int load_filter(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
        if (rc < 0)
            return rc;
    }
    int rc = 0;
    if (!SANITIZED)
        rc = allow_memory(ctx, SCMP_SYS(mmap));
    if (rc == 0 && !SANITIZED)
        rc = allow_memory(ctx, SCMP_SYS(mprotect));
    if (rc == 0 && !SANITIZED)
        rc = allow_abort(ctx);
    return rc == 0 ? seccomp_load(ctx) : rc;
}

static int filter_calls(struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (ctx == NULL)
        return err_set(err, ERR_IO, "seccomp: no memory for the filter");
    int rc = load_filter(ctx);
    seccomp_release(ctx);
    if (rc < 0)
        return err_set(err, ERR_UNSUPPORTED, "seccomp: %s", strerror(-rc));
    return 0;
}

int confine_self(const struct confine_limits *limits, int keep_fd, struct err *err)
{
    if (close_range((unsigned)keep_fd + 1, ~0U, 0) != 0)
        return err_set(err, ERR_IO, "close_range: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return err_set(err, ERR_IO, "prctl: %s", strerror(errno));
    int rc = limit_resources(limits, keep_fd, err);
    if (rc < 0)
        return rc;
    return filter_calls(err);
}
