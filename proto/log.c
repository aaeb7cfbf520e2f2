#include "proto/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *log_name = "skein";
static enum log_level log_limit = LOG_LEVEL_INFO;
static int log_journal;

void log_init(const char *name, enum log_level level)
{
    log_name = name;
    log_limit = level;
    log_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void log_line(enum log_level level, const char *suffix, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7}; /* syslog(3) */
    if (level > log_limit)
        return;
    char text[2048], when[40] = "";
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *p = text; *p != '\0'; p++) /* one event, one line */
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    if (log_journal) {
        fprintf(stderr, "<%d>%s%s\n", priorities[level], text, suffix);
        return;
    }
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(stderr, "%s.%03ldZ %s %s: %s%s\n", when, ts.tv_nsec / 1000000, names[level], log_name,
            text, suffix);
}

#define LOG_BODY(level)                                                                            \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        log_line(level, "", fmt, ap);                                                              \
        va_end(ap);                                                                                \
    }

void log_error(const char *fmt, ...) LOG_BODY(LOG_LEVEL_ERROR) void log_warn(const char *fmt, ...)
    LOG_BODY(LOG_LEVEL_WARN) void log_info(const char *fmt, ...)
        LOG_BODY(LOG_LEVEL_INFO) void log_debug(const char *fmt, ...) LOG_BODY(LOG_LEVEL_DEBUG)

            void log_err(const struct err *err, const char *fmt, ...)
{
    char suffix[ERR_MSG_MAX + 64];
    snprintf(suffix, sizeof suffix, ": %s: %s", err_name(err->code), err->msg);
    va_list ap;
    va_start(ap, fmt);
    log_line(LOG_LEVEL_ERROR, suffix, fmt, ap);
    va_end(ap);
}

void log_fatal(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_line(LOG_LEVEL_ERROR, "", fmt, ap);
    va_end(ap);
    exit(1);
}
