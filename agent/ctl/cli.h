/* cli.h - what every command that asks the agent shares: options, the call, output, failing. */
#ifndef SKEIN_AGENT_CTL_CLI_H
#define SKEIN_AGENT_CTL_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "proto/err.h"
#include "proto/util.h"

#define CLI_SOCKET "/run/skein/agent.sock"

/* Formats of -o; a set of those that a command knows. The table is always there. */
enum cli_format {
    CLI_TABLE = 0,
    CLI_JSON = 1 << 0,
    CLI_WIDE = 1 << 1,
    CLI_NAME = 1 << 2,
    CLI_HTML = 1 << 3
};

enum { CLI_GO = -1 }; /* cli_parse: go on; else the exit status */

struct cli {
    const char *command; /* "plan show" */
    const char *help;
    unsigned formats;
    /* filled by cli_parse */
    enum cli_format format;
    const char *socket;
    const char *url; /* of an agent elsewhere; NULL: the socket */
    const char *tls_certificate, *tls_key, *tls_ca;
    char **operands;
    int n_operands;
};

/* An option of one command; without a letter '\0'. Ends with a NULL name. */
#define CLI_MANY '+'    /* in place of a letter: with a value, any number of times */
#define CLI_MANY_MAX 64 /* and no more; text is then an array of one more, ended by NULL */

struct cli_option {
    const char *name;
    char letter;       /* '\0': none */
    bool *set;         /* given without a value ... */
    const char **text; /* ... or with one; both: the value may be left out (--name=VALUE) */
};

/* The common options and these; between min and max operands. */
int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_option *options, int min,
              int max);
/* Wrong usage, said on stderr: returns 2. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "error: CODE: message" on stderr: returns 1, or 3 for what is not possible here. */
int cli_failed(const struct err *err);

/* Is it a plan's id, or the beginning of one? Anything else never becomes part of a path. 0, or 2:
 * said. */
int cli_plan_id(const struct cli *cli, const char *id);

/* ---- the agent ---- */

/* A new reference in *ret. body NULL: GET; else POST. err has the agent's own code and words, or
 * says why it could not be asked. */
int cli_call(const struct cli *cli, const char *path, const char *body, json_t **ret,
             struct err *err);
/* The same for reading; for people (any format but JSON) made fit for a terminal: see text_tidy. */
int cli_get(const struct cli *cli, const char *path, json_t **ret, struct err *err);

/* Server-sent events: each is called with an event's data, a text, until it answers negatively
 * (which is returned) or the agent ends the stream (ERR_UNAVAILABLE). */
int cli_follow(const struct cli *cli, const char *path,
               int (*each)(void *arg, const char *data, struct err *err), void *arg,
               struct err *err);

/* ---- output ---- */

/* Indented, sorted, one document. */
void cli_print_json(const json_t *doc);
bool cli_color(void); /* stdout is a terminal that may have colours */

#endif
