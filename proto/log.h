/* log.h - the program's log: one line an event, to stderr or the journal.
 * Cores do not log; shells do. Six functions, as many as there are levels that mean something. */
#ifndef SKEIN_PROTO_LOG_H
#define SKEIN_PROTO_LOG_H

#include "proto/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* stderr lines are "TIME LEVEL NAME: text" (RFC 3339 UTC, milliseconds); under systemd (a
 * JOURNAL_STREAM in the environment) "<N>text". Not called: NAME is "skein", level INFO. */
void log_init(const char *name, enum log_level level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_err(const struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void log_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* exit 1 */

#endif
