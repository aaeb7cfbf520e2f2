/* skein roster: the people and the gate rules of a cluster, changed by its admins' signatures. */
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_cert.h"
#include "proto/canon.h"
#include "tls/authority.h"
#include "tls/file.h"

static const char help[] =
    "usage: skein roster show --directory DIR\n"
    "       skein roster set --directory DIR [--threshold N] [--gates FILE] [--remove NAME] "
    "[SIGNER]\n"
    "       skein roster sign --directory DIR [SIGNER]\n"
    "\n"
    "The roster says who may do what, and which approvals plans need (gate rules). A version is "
    "in\n"
    "force when as many admins signed it as its threshold says, of the old roster and of the new.\n"
    "set writes the next version with one signature; sign adds another. Give DIR/roster.json to "
    "any\n"
    "host: the agents pass it on. People are added by skein cert issue --person.\n"
    "\n"
    "  --threshold N       admins' signatures that versions need from then on\n"
    "  --gates FILE        the gate rules, a JSON list: see skein(1); [] for none\n"
    "  --remove NAME       this person is not in it any more\n"
    "  --admin NAME        SIGNER: whose key in DIR/people signs (default: the only one)\n"
    "  --key FILE          SIGNER: or this key of an admin's\n"
    "  --cert FILE         ... and its certificate (default: the key's name with .pem)\n"
    "  --passphrase-file FILE  the passphrase of that key (default: asked)\n"
    "\n"
    "Examples:\n"
    "  skein roster set --directory /root/dc1 --gates gates.json\n"
    "  skein roster set --directory /root/dc1 --threshold 2 --admin alice\n"
    "  skein roster sign --directory /root/dc1 --key /media/usb/bob.key\n";

#define GATES_FILE_MAX (256 << 10)

struct options {
    const char *directory, *threshold, *gates, *remove, *admin, *key, *certificate,
        *passphrase_file;
};

enum option_key {
    OPTION_DIRECTORY = 256,
    OPTION_THRESHOLD,
    OPTION_GATES,
    OPTION_REMOVE,
    OPTION_ADMIN,
    OPTION_KEY,
    OPTION_CERT,
    OPTION_PASSPHRASE_FILE,
};

static const struct option known[] = {
    {"directory", required_argument, NULL, OPTION_DIRECTORY},
    {"threshold", required_argument, NULL, OPTION_THRESHOLD},
    {"gates", required_argument, NULL, OPTION_GATES},
    {"remove", required_argument, NULL, OPTION_REMOVE},
    {"admin", required_argument, NULL, OPTION_ADMIN},
    {"key", required_argument, NULL, OPTION_KEY},
    {"cert", required_argument, NULL, OPTION_CERT},
    {"passphrase-file", required_argument, NULL, OPTION_PASSPHRASE_FILE},
    {"help", no_argument, NULL, 'h'},
    {0}};

/* 0, or 1 when help was printed, or -1 on wrong usage. */
static int parse(int argc, char **argv, struct options *o)
{
    const char **const slots[] = {&o->directory,   &o->threshold,      &o->gates,
                                  &o->remove,      &o->admin,          &o->key,
                                  &o->certificate, &o->passphrase_file};
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", known, NULL)) != -1;) {
        if (c == 'h')
            return fputs(help, stdout), 1;
        if (c < OPTION_DIRECTORY)
            return args_wrong_option("roster", argv, c);
        *slots[c - OPTION_DIRECTORY] = optarg;
    }
    if (optind < argc)
        return args_usage("roster", "\"%s\" is not expected", argv[optind]);
    if (o->directory == NULL)
        return args_usage("roster", "--directory is missing");
    if (o->certificate != NULL && o->key == NULL)
        return args_usage("roster", "--cert without --key");
    if (o->key != NULL && o->admin != NULL)
        return args_usage("roster", "--admin and --key exclude each other");
    return 0;
}

static char *certificate_of(const struct options *o)
{
    if (o->certificate != NULL || o->key == NULL)
        return o->certificate != NULL ? xstrdup(o->certificate) : NULL;
    return args_certificate(o->key);
}

static int say_done(const struct authority *a)
{
    if (a->waits)
        printf("%s/roster.next.json lacks signatures: %s; try: skein roster sign\n", a->directory,
               a->lacks);
    else
        printf("%s/roster.json is the new version: give it to a host, and tell its agent "
               "(SIGHUP)\n",
               a->directory);
    return 0;
}

static int read_gates(const char *path, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    int rc = file_read(path, GATES_FILE_MAX, &text, &len, err);
    return rc < 0 ? rc : canon_parse(text, len, path, ret, err);
}

static int run_set(struct authority *a, const struct options *o, const struct admin_request *by,
                   struct err *err)
{
    _cleanup_json_ json_t *gates = NULL;
    struct roster_change change = {.remove = o->remove};
    int threshold = 0, rc;
    if ((o->threshold != NULL &&
         (rc = args_number("--threshold", o->threshold, 64, &threshold, err)) < 0) ||
        (o->gates != NULL && (rc = read_gates(o->gates, &gates, err)) < 0))
        return rc;
    change.threshold = (unsigned)threshold;
    change.gates = gates;
    rc = authority_roster_change(a, &change, by, args_now(), err);
    return rc < 0 ? rc : say_done(a);
}

static int run_sign(struct authority *a, const struct options *o _unused_,
                    const struct admin_request *by, struct err *err)
{
    int rc = authority_roster_sign(a, by, args_now(), err);
    return rc < 0 ? rc : say_done(a);
}

static int run_show(struct authority *a, const struct options *o _unused_,
                    const struct admin_request *by _unused_, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc = canon_parse(a->roster_text, strlen(a->roster_text), "roster", &doc, err);
    if (rc < 0)
        return rc;
    json_dumpf(json_object_get(doc, "body"), stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    return 0;
}

static int check_set(const struct options *o)
{
    return o->threshold == NULL && o->gates == NULL && o->remove == NULL
               ? args_usage("roster set", "wants --threshold, --gates or --remove")
               : 0;
}

static int check_rest(const struct options *o)
{
    return o->threshold != NULL || o->gates != NULL || o->remove != NULL
               ? args_usage("roster", "--threshold, --gates and --remove belong to set")
               : 0;
}

static const char *const verb_names[] = {"show", "set", "sign", NULL};

/* In their order. */
static const struct verb {
    int (*check)(const struct options *o); /* -1: wrong usage, said */
    int (*run)(struct authority *a, const struct options *o, const struct admin_request *by,
               struct err *err);
} verbs[] = {{check_rest, run_show}, {check_set, run_set}, {check_rest, run_sign}};

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    _cleanup_(authority_done) struct authority a = {0};
    struct options o = {0};
    struct err err = {0};
    int rc = parse(argc, argv, &o);
    if (rc > 0)
        return 0;
    if (rc < 0 || verb->check(&o) < 0)
        return 2;
    _cleanup_(freep) char *certificate = certificate_of(&o);
    struct admin_request by = {.name = o.admin,
                               .key = o.key,
                               .certificate = certificate,
                               .ask = args_ask_passphrase,
                               .user = (void *)(uintptr_t)o.passphrase_file};
    if (authority_open(o.directory, args_now(), &a, &err) < 0 || verb->run(&a, &o, &by, &err) < 0)
        return args_failed(&err);
    return 0;
}

int cmd_roster(int argc, char **argv)
{
    int status, verb = args_verb("roster", verb_names, help, argc, argv, &status);
    return verb < 0 ? status : run_verb(&verbs[verb], argc - 1, argv + 1);
}
