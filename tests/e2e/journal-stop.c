/* journal-stop.c - stops an agent exactly where its journal says what a test asks for.
 *
 * usage: LD_PRELOAD=journal-stop.so skein-agent ...; then write "ROLE STATE" into
 * /run/skein/stop-at, for instance "source STARTED" or "destination RESERVED".
 *
 * The agent itself has no hook. Its store is SQLite's, so what passes through three of SQLite's
 * functions tells which journal record was written; right after the COMMIT that makes the first
 * asked-for record durable, and before anything that follows from it, the process stops itself
 * (SIGSTOP). The test then kills it, cuts a link, or takes the power away, and lets it go on
 * (SIGCONT). One wish at a time; it is used up. /run/skein/stopped says that it was met. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WISH "/run/skein/stop-at"
#define MET "/run/skein/stopped"

/* As enum JournalState in proto/skein.proto. */
static const char *const states[] = {"NONE",     "RECEIVED", "RESERVED", "STARTED",
                                     "FINISHED", "DONE",     "UNDONE",   "NEEDS_OPERATOR"};

/* Of the statement that is being bound; the store has one writing thread. */
static __thread char role[16];
static __thread bool met;

static bool wished(const char *who, const char *state)
{
    char wish[64] = "", asked_role[16], asked_state[16];
    int fd = open(WISH, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, wish, sizeof wish - 1);
    close(fd);
    return n > 0 && sscanf(wish, "%15s %15s", asked_role, asked_state) == 2 &&
           strcmp(asked_role, who) == 0 && strcmp(asked_state, state) == 0;
}

int sqlite3_bind_text(sqlite3_stmt *s, int at, const char *text, int len, void (*done)(void *))
{
    int (*real)(sqlite3_stmt *, int, const char *, int, void (*)(void *)) =
        dlsym(RTLD_NEXT, "sqlite3_bind_text");
    const char *colon = text != NULL ? strchr(text, ':') : NULL;
    role[0] = '\0';
    if (at == 1 && colon != NULL && (size_t)(colon - text) < sizeof role)
        snprintf(role, sizeof role, "%.*s", (int)(colon - text), text);
    return real(s, at, text, len, done);
}

/* The record's first field is its state. */
int sqlite3_bind_blob64(sqlite3_stmt *s, int at, const void *data, sqlite3_uint64 len,
                        void (*done)(void *))
{
    int (*real)(sqlite3_stmt *, int, const void *, sqlite3_uint64, void (*)(void *)) =
        dlsym(RTLD_NEXT, "sqlite3_bind_blob64");
    const uint8_t *bytes = data;
    if (at == 2 && role[0] != '\0' && len >= 2 && bytes[0] == 0x08 &&
        bytes[1] < sizeof states / sizeof *states)
        met = met || wished(role, states[bytes[1]]);
    return real(s, at, data, len, done);
}

int sqlite3_step(sqlite3_stmt *s)
{
    int (*real)(sqlite3_stmt *) = dlsym(RTLD_NEXT, "sqlite3_step");
    int rc = real(s);
    if (!met || rc != SQLITE_DONE || strcmp(sqlite3_sql(s), "COMMIT") != 0)
        return rc;
    met = false;
    if (rename(WISH, MET) == 0)
        kill(getpid(), SIGSTOP);
    return rc;
}
