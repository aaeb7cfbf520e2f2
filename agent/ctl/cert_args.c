#include "agent/ctl/cert_args.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/util.h"
#include "tls/file.h"

#define PASSPHRASE_FILE_MAX 4096

int args_usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "skein %s: ", command);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "; see skein %s --help\n", command);
    va_end(ap);
    return -1;
}

int args_wrong_option(const char *command, char **argv, int answer)
{
    const char *word = argv[optind - 1];
    if (answer == ':')
        return args_usage(command, "%s wants a value", word);
    return args_usage(command, "unknown option %s", word);
}

int args_options(const char *command, const char *letters, const struct option *known,
                 const char *help, int argc, char **argv, int (*take)(int option, void *to),
                 void *to)
{
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, letters, known, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            return 1;
        }
        if ((c == ':' || c == '?' ? args_wrong_option(command, argv, c) : take(c, to)) < 0)
            return -1;
    }
    return 0;
}

bool args_help(int argc, char **argv, const char *help)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") != 0 && strcmp(word, "-h") != 0)
        return false;
    fputs(help, stdout);
    return true;
}

/* "a, b, c", the last after another word than the others. */
static char *listed(const char *const *words, const char *last)
{
    struct buf text = {0};
    for (size_t i = 0; words[i] != NULL; i++)
        buf_addf(&text, "%s%s", i == 0 ? "" : words[i + 1] != NULL ? ", " : last, words[i]);
    return buf_take(&text);
}

int args_verb(const char *command, const char *const *verbs, const char *help, int argc,
              char **argv, int *ret_status)
{
    const char *verb = argc > 1 ? argv[1] : "";
    *ret_status = 0;
    if (args_help(argc, argv, help))
        return -1;
    for (int i = 0; verbs[i] != NULL; i++)
        if (strcmp(verb, verbs[i]) == 0)
            return i;
    _cleanup_(freep) char *list = listed(verbs, verb[0] == '\0' ? " or " : ", ");
    *ret_status = 2;
    return verb[0] == '\0' ? args_usage(command, "wants %s", list)
                           : args_usage(command, "\"%s\" is none of %s", verb, list);
}

int args_failed(const struct err *err)
{
    fprintf(stderr, "error: %s: %s\n", err_name(err->code), err->msg);
    return 1;
}

void args_wipep(char **p)
{
    if (*p == NULL)
        return;
    explicit_bzero(*p, strlen(*p));
    free(*p);
}

int args_passphrase(const char *path, char **ret, struct err *err)
{
    _cleanup_(args_wipep) char *text = NULL;
    int rc = file_read(path, PASSPHRASE_FILE_MAX, &text, NULL, err);
    if (rc < 0)
        return rc;
    text[strcspn(text, "\r\n")] = '\0';
    if (text[0] == '\0')
        return err_set(err, ERR_INVALID, "%s: the first line is empty: no passphrase", path);
    *ret = TAKE_PTR(text);
    return 0;
}

char *args_ask_passphrase(void *user, const char *path)
{
    char *passphrase = NULL;
    if (user != NULL)
        return args_passphrase(user, &passphrase, NULL) == 0 ? passphrase : NULL;
    if (!isatty(STDIN_FILENO))
        return NULL;
    _cleanup_(freep) char *prompt = xasprintf("Passphrase of %s: ", path);
    char *typed = getpass(prompt);
    if (typed == NULL)
        return NULL;
    passphrase = xstrdup(typed);
    explicit_bzero(typed, strlen(typed));
    return passphrase;
}

char *args_certificate(const char *key)
{
    size_t n = strlen(key);
    bool plain = n > 4 && strcmp(key + n - 4, ".key") == 0;
    return xasprintf("%.*s.pem", (int)(plain ? n - 4 : n), key);
}

int args_number(const char *what, const char *text, int max, int *ret, struct err *err)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < 1 || v > max)
        return err_set(err, ERR_INVALID, "%s \"%.40s\": wants a number from 1 to %d", what, text,
                       max);
    *ret = (int)v;
    return 0;
}

msec args_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (msec)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int args_json(const char *command, const char *text, bool *ret)
{
    *ret = strcmp(text, "json") == 0;
    if (!*ret && strcmp(text, "text") != 0)
        return args_usage(command, "-o \"%.20s\": there is json and text", text);
    return 0;
}

int args_seed(const char *command, const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || v > INT64_MAX)
        return args_usage(command, "--seed \"%.40s\" is not a number from 0 to %lld", text,
                          (long long)INT64_MAX);
    *ret = v;
    return 0;
}

int args_param(const char *command, const char *text, json_t **params)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return args_usage(command, "--param \"%.60s\" is not NAME=VALUE", text);
    _cleanup_(freep) char *name = xmemdup(text, (size_t)(equals - text) + 1);
    name[equals - text] = '\0';
    json_t *value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (value == NULL || json_is_object(value) || json_is_array(value) || json_is_null(value)) {
        json_decref(value);
        value = json_string(equals + 1);
    }
    if (*params == NULL)
        *params = json_object();
    if (value == NULL || json_object_set_new(*params, name, value) != 0)
        return args_usage(command, "--param \"%.60s\" is not UTF-8", text);
    return 0;
}

json_t *args_list(const char *text)
{
    json_t *list = json_array();
    _cleanup_(freep) char *copy = xstrdup(text);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;)
        if (word[0] != '\0')
            json_array_append_new(list, json_string(word));
    return list;
}
