/* err.h - what went wrong, said once.
 * The caller owns the struct err and passes it last; a failing function fills it and returns a
 * negative number, so that failure is one line:  return err_set(err, ERR_INVALID, "...", ...);
 * Nothing here allocates. A NULL err is allowed: the message is dropped. */
#ifndef SKEIN_PROTO_ERR_H
#define SKEIN_PROTO_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* name, text for people. The name travels in API answers and the audit: never rename one. */
#define ERR_CODES(X)                                                                               \
    X(OK, "no error")                                                                              \
    X(INVALID, "invalid input")                                                                    \
    X(NOT_FOUND, "not found")                                                                      \
    X(EXISTS, "exists already")                                                                    \
    X(DENIED, "not permitted")                                                                     \
    X(UNAUTHENTICATED, "identity not proved")                                                      \
    X(STALE, "out of date")                                                                        \
    X(EXPIRED, "expired")                                                                          \
    X(CONFLICT, "conflicts with the present state")                                                \
    X(CAPACITY, "not enough capacity")                                                             \
    X(INCOMPATIBLE, "incompatible")                                                                \
    X(UNAVAILABLE, "not available now")                                                            \
    X(NOT_LEADER, "another agent is the planner")                                                  \
    X(TIMEOUT, "took too long")                                                                    \
    X(CANCELLED, "cancelled")                                                                      \
    X(UNSUPPORTED, "not possible here")                                                            \
    X(LIMIT, "over a limit")                                                                       \
    X(NO_MEMORY, "out of memory")                                                                  \
    X(IO, "input or output failed")                                                                \
    X(TLS, "TLS failed")                                                                           \
    X(HYPERVISOR, "the hypervisor refused or failed")                                              \
    X(POLICY, "the policy is at fault")                                                            \
    X(UNKNOWN, "the outcome is unknown")                                                           \
    X(INTERNAL, "a defect in skein")

enum err_code {

#define X(name, text) ERR_##name,
    ERR_CODES(X)
#undef X
        ERR_COUNT
};

#define ERR_MSG_MAX 1024

struct err {
    enum err_code code;
    char msg[ERR_MSG_MAX]; /* one line, UTF-8, cut if longer */
};

/* Fill err and return -(int)code, so always negative. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* Put "CONTEXT: " before the message of an err already set; returns -(int)err->code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "NOT_FOUND" and the like; the code for a name, or ERR_UNKNOWN. Never NULL. */
const char *err_name(enum err_code code);
const char *err_text(enum err_code code);
enum err_code err_from_name(const char *name);

/* Our own invariants only, on in release builds too; input is validated, never asserted. */
#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            err_require_failed(#cond, __FILE__, __LINE__);                                         \
    } while (0)
_Noreturn void err_require_failed(const char *cond, const char *file, int line);

#endif
