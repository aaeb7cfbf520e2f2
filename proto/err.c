#include "proto/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s as far as it is valid; 0: none begins here or it is cut. */
static size_t sequence(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] > 0xf4 || (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)) /* RFC 3629 */
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* One line of UTF-8, whatever the parts were (a hypervisor's message, a name that was cut): it will
 * travel in messages and JSON, whose readers refuse anything else. */
static void make_line(char *msg)
{
    unsigned char *s = (unsigned char *)msg;
    for (size_t i = 0, n; s[i] != '\0'; i += n) {
        n = sequence(s + i);
        if (n == 0)
            s[i] = '?';
        else if (s[i] < 0x20 || s[i] == 0x7f)
            s[i] = ' ';
        n = n == 0 ? 1 : n;
    }
}

int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
    REQUIRE(code > ERR_OK && code < ERR_COUNT);
    if (err != NULL) {
        char buf[ERR_MSG_MAX]; /* the arguments may point into err->msg */
        vsnprintf(buf, sizeof buf, fmt, ap);
        make_line(buf);
        memcpy(err->msg, buf, sizeof buf);
        err->code = code;
    }
    return -(int)code;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rv = err_setv(err, code, fmt, ap);
    va_end(ap);
    return rv;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (err == NULL)
        return -ERR_INTERNAL;
    char buf[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof buf)
        snprintf(buf + n, sizeof buf - (size_t)n, ": %s", err->msg);
    make_line(buf);
    memcpy(err->msg, buf, sizeof buf);
    return -(int)err->code;
}

static const struct {
    const char *name, *text;
} codes[] = {

#define X(name, text) {#name, text},
    ERR_CODES(X)
#undef X
};

const char *err_name(enum err_code code)
{
    return code < ERR_COUNT ? codes[code].name : "UNKNOWN";
}

const char *err_text(enum err_code code)
{
    return code < ERR_COUNT ? codes[code].text : "unknown error";
}

enum err_code err_from_name(const char *name)
{
    for (unsigned i = 0; i < ERR_COUNT; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (enum err_code)i;
    return ERR_UNKNOWN;
}

void err_require_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "skein: %s:%d: invariant does not hold: %s\n", file, line, cond);
    fflush(stderr);
    abort();
}
