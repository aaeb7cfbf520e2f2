/* cert_args.h - what commands without an agent share in reading their arguments and in failing. */
#ifndef SKEIN_AGENT_CTL_CERT_ARGS_H
#define SKEIN_AGENT_CTL_CERT_ARGS_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>

#include "proto/err.h"
#include "proto/units.h"

/* Wrong usage: one line that says where the help is; returns -1. */
int args_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for what getopt_long answered (':' or '?'). */
int args_wrong_option(const char *command, char **argv, int answer);

/* Gives every option to take (-1: wrong usage, said), what getopt_long does not know to
 * args_wrong_option, and prints help for 'h'. 0 with optind at the first operand, 1 when help was
 * printed, -1 on wrong usage. letters as getopt_long's, beginning with ':'. */
int args_options(const char *command, const char *letters, const struct option *known,
                 const char *help, int argc, char **argv, int (*take)(int option, void *to),
                 void *to);

/* Where argv[1] asks for help it is printed: true. */
bool args_help(int argc, char **argv, const char *help);

/* Which of verbs (NULL-terminated) argv[1] is; -1 when that was all, *ret_status being the exit
 * status: help was printed, or what is wrong was said. */
int args_verb(const char *command, const char *const *verbs, const char *help, int argc,
              char **argv, int *ret_status);

/* "error: CODE: message" on stderr; returns the exit status 1. */
int args_failed(const struct err *err);

/* First line of a file, to be wiped and freed; ERR_INVALID when it is empty. */
int args_passphrase(const char *path, char **ret, struct err *err);
void args_wipep(char **p);

/* An identity_passphrase: from the file that user names, else asked at the terminal, if there is
 * one. */
char *args_ask_passphrase(void *user, const char *path);

/* The certificate beside a key: anna.key -> anna.pem. */
char *args_certificate(const char *key);

/* A whole number from 1 to max; ERR_INVALID names what. */
int args_number(const char *what, const char *text, int max, int *ret, struct err *err);

/* -o json or -o text: wrong usage where it is neither. */
int args_json(const char *command, const char *text, bool *ret);

/* --seed: wrong usage where it is no number from 0 to 2^63 - 1. */
int args_seed(const char *command, const char *text, uint64_t *ret);

/* --param NAME=VALUE, the value a number, true, false, or else text: into *params, which is made
 * when it is NULL. */
int args_param(const char *command, const char *text, json_t **params);

/* "a,b,c" as a list of texts; empty parts are left out. */
json_t *args_list(const char *text);

msec args_now(void); /* the wall clock */

#endif
