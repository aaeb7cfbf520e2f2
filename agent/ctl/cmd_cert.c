/* skein cert: issue, list and revoke certificates, make issuers, and renew a host's; mostly from
 * the authority's directory. */
#include "agent/ctl/cmd_cert.h"

#include <getopt.h>
#include <grp.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "proto/canon.h"
#include "tls/authority.h"
#include "tls/file.h"
#include "tls/renew.h"

#define NAMES_MAX 32

static const char help[] =
    "usage: skein cert issue --directory DIR --host NAME [--dns NAME]... [--ip ADDRESS]... --out "
    "OUT\n"
    "                  [--qemu-group GROUP | --agent-only] [--days N]\n"
    "       skein cert issue --directory DIR --person NAME --roles ROLE[,ROLE]... --out OUT\n"
    "                  [--passphrase-file FILE] [--admin NAME] [--admin-passphrase-file FILE] "
    "[--days N]\n"
    "       skein cert issuer --directory DIR --host NAME --out OUT [--days N]\n"
    "       skein cert list --directory DIR [-o json]\n"
    "       skein cert revoke --directory DIR SERIAL | FILE.pem...\n"
    "       skein cert rotate --from HOST:PORT [--directory DIR] [--new-keys]\n"
    "\n"
    "Work on the directory that skein init made. A host gets three keys: its agent's (OUT/skein),\n"
    "libvirt's (OUT/CA, OUT/libvirt) and QEMU's (OUT/qemu); OUT has the shape of /etc/pki.\n"
    "A person gets OUT/NAME.pem and OUT/NAME.key, and stands in a new roster (DIR/roster.json),\n"
    "signed by an admin whose key is in DIR/people.\n"
    "issuer makes OUT/issuer.pem and OUT/issuer.key, below the machines' root: with them an agent\n"
    "issues certificates to hosts that join by a token (issuer.cert, issuer.key, issuer.listen).\n"
    "rotate is for a host: its certificates below DIR (default: /etc/pki) anew, from an issuer's\n"
    "door, by those that it holds now; then tell its agent (SIGHUP) and libvirtd. An agent with\n"
    "issuer.from does that by itself in time.\n"
    "What it issued is revoked by its file: it keeps copies in its state directory, as\n"
    "issued/HOST.SERIAL.pem; a host that renewed has several.\n"
    "\n"
    "  --host, --person NAME          whom it is for\n"
    "  --dns NAME, --ip ADDRESS       how others reach it: libvirt, QEMU, users of the API "
    "(repeatable)\n"
    "  --roles ROLES                  of viewer, operator, approver, admin\n"
    "  --days N                       validity (default: 365; of an issuer: 1825)\n"
    "  --qemu-group GROUP             may read QEMU's keys (default: their owner alone)\n"
    "  --agent-only                   the agent's key alone: the host has no libvirt (a simulated "
    "one)\n"
    "  --from HOST:PORT               the issuer's door, as its certificate names it\n"
    "  --new-keys                     and new keys (default: the same)\n"
    "  --passphrase-file FILE         its first line encrypts the new person's key\n"
    "  --admin NAME                   who signs the roster (default: the only one with a key)\n"
    "  --admin-passphrase-file FILE   the passphrase of that admin's key (default: asked)\n"
    "\n"
    "Examples:\n"
    "  skein cert issue --directory /root/dc1 --host hv1 --dns hv1 --ip 10.77.0.1 --out /tmp/hv1\n"
    "  skein cert issue --directory /root/dc1 --person bob --roles approver,operator --out "
    "/tmp/bob\n"
    "  skein cert issuer --directory /root/dc1 --host hv1 --out /tmp/hv1\n"
    "  skein cert list --directory /root/dc1 -o json\n"
    "  skein cert revoke --directory /root/dc1 5D0A63F1C2B34E55A1B2C3D4E5F60718\n";

struct options {
    const char *directory, *host, *person, *roles, *out, *format, *days, *qemu_group;
    const char *passphrase_file, *admin, *admin_passphrase_file, *serial, *from;
    const char *dns[NAMES_MAX], *addresses[NAMES_MAX];
    size_t n_dns, n_addresses;
    bool agent_only, new_keys;
    char **more; /* operands after serial */
    int n_more;
};

enum option_key {
    OPTION_DIRECTORY = 256,
    OPTION_HOST,
    OPTION_PERSON,
    OPTION_ROLES,
    OPTION_OUT,
    OPTION_DAYS,
    OPTION_QEMU_GROUP,
    OPTION_PASSPHRASE_FILE,
    OPTION_ADMIN,
    OPTION_ADMIN_PASSPHRASE_FILE,
    OPTION_FROM,
    OPTION_DNS,
    OPTION_IP,
    OPTION_AGENT_ONLY,
    OPTION_NEW_KEYS,
};

static const struct option known[] = {
    {"directory", required_argument, NULL, OPTION_DIRECTORY},
    {"host", required_argument, NULL, OPTION_HOST},
    {"person", required_argument, NULL, OPTION_PERSON},
    {"roles", required_argument, NULL, OPTION_ROLES},
    {"out", required_argument, NULL, OPTION_OUT},
    {"days", required_argument, NULL, OPTION_DAYS},
    {"qemu-group", required_argument, NULL, OPTION_QEMU_GROUP},
    {"passphrase-file", required_argument, NULL, OPTION_PASSPHRASE_FILE},
    {"admin", required_argument, NULL, OPTION_ADMIN},
    {"admin-passphrase-file", required_argument, NULL, OPTION_ADMIN_PASSPHRASE_FILE},
    {"dns", required_argument, NULL, OPTION_DNS},
    {"ip", required_argument, NULL, OPTION_IP},
    {"agent-only", no_argument, NULL, OPTION_AGENT_ONLY},
    {"from", required_argument, NULL, OPTION_FROM},
    {"new-keys", no_argument, NULL, OPTION_NEW_KEYS},
    {"help", no_argument, NULL, 'h'},
    {0}};

/* Where a plain option's value goes; NULL for the others. */
static const char **slot_for(struct options *o, int key)
{
    const char **const slots[] = {
        &o->directory, &o->host,       &o->person,          &o->roles, &o->out,
        &o->days,      &o->qemu_group, &o->passphrase_file, &o->admin, &o->admin_passphrase_file,
        &o->from};
    int i = key - OPTION_DIRECTORY;
    return i >= 0 && i < (int)ARRAY_SIZE(slots) ? slots[i] : NULL;
}

static int add_name(const char **names, size_t *n, const char *what)
{
    if (*n == NAMES_MAX)
        return args_usage("cert", "more than %d %s", NAMES_MAX, what);
    names[(*n)++] = optarg;
    return 0;
}

/* 0, or 1 when help was printed, or -1 on wrong usage. */
static int parse(int argc, char **argv, struct options *o)
{
    optind = 0;
    for (int c, rc = 0; (c = getopt_long(argc, argv, ":ho:", known, NULL)) != -1;) {
        const char **slot = slot_for(o, c);
        if (slot != NULL)
            *slot = optarg;
        else if (c == OPTION_DNS)
            rc = add_name(o->dns, &o->n_dns, "DNS names");
        else if (c == OPTION_IP)
            rc = add_name(o->addresses, &o->n_addresses, "addresses");
        else if (c == OPTION_AGENT_ONLY)
            o->agent_only = true;
        else if (c == OPTION_NEW_KEYS)
            o->new_keys = true;
        else if (c == 'o')
            o->format = optarg;
        else if (c == 'h')
            return fputs(help, stdout), 1;
        else
            return args_wrong_option("cert", argv, c);
        if (rc < 0)
            return rc;
    }
    if (o->format != NULL && strcmp(o->format, "json") != 0)
        return args_usage("cert", "-o %s: only json is known", o->format);
    if (optind < argc)
        o->serial = argv[optind++];
    o->more = argv + optind;
    o->n_more = argc - optind;
    return 0;
}

static int issue_host(const struct authority *a, const struct options *o, int days, struct err *err)
{
    gid_t group = FILE_ANY_GROUP;
    if (o->qemu_group != NULL) {
        struct group *g = getgrnam(o->qemu_group);
        if (g == NULL)
            return err_set(err, ERR_NOT_FOUND, "there is no group \"%s\"", o->qemu_group);
        group = g->gr_gid;
    }
    struct pki_request request = {.name = o->host,
                                  .dns = o->dns,
                                  .addresses = o->addresses,
                                  .n_dns = o->n_dns,
                                  .n_addresses = o->n_addresses,
                                  .days = days};
    int rc = o->agent_only ? authority_issue_agent(a, &request, o->out, args_now(), err)
                           : authority_issue_host(a, &request, o->out, group, args_now(), err);
    if (rc == 0)
        printf("host %s: certificates in %s\n", o->host, o->out);
    return rc;
}

static int issue_person(struct authority *a, const struct options *o, int days, struct err *err)
{
    _cleanup_(args_wipep) char *passphrase = NULL;
    struct person_request request = {.name = o->person,
                                     .days = days,
                                     .admin = o->admin,
                                     .ask = args_ask_passphrase,
                                     .user = (void *)(uintptr_t)o->admin_passphrase_file};
    int rc;
    if ((rc = roles_parse(o->roles, &request.roles, err)) < 0 ||
        (o->passphrase_file != NULL &&
         (rc = args_passphrase(o->passphrase_file, &passphrase, err)) < 0))
        return rc;
    request.passphrase = passphrase;
    if ((rc = authority_issue_person(a, &request, o->out, args_now(), err)) < 0)
        return rc;
    printf("person %s: %s/%s.pem and .key; roster version %llu in %s/roster.%sjson\n", o->person,
           o->out, o->person, (unsigned long long)a->roster->version + 1, o->directory,
           a->waits ? "next." : "");
    if (a->waits)
        printf("it lacks signatures: %s; try: skein roster sign\n", a->lacks);
    return 0;
}

static int check_issue(const struct options *o)
{
    if ((o->host == NULL) == (o->person == NULL))
        return args_usage("cert issue", "wants --host or --person");
    if (o->out == NULL)
        return args_usage("cert issue", "--out is missing");
    if (o->person != NULL && o->roles == NULL)
        return args_usage("cert issue", "a person wants --roles");
    if (o->serial != NULL)
        return args_usage("cert issue", "\"%s\" is not expected", o->serial);
    if (o->person != NULL &&
        (o->n_dns > 0 || o->n_addresses > 0 || o->qemu_group != NULL || o->agent_only))
        return args_usage("cert issue", "--dns, --ip, --qemu-group and --agent-only are for hosts");
    if (o->agent_only && o->qemu_group != NULL)
        return args_usage("cert issue", "--qemu-group is for QEMU, "
                                        "which --agent-only leaves out");
    if (o->host != NULL && (o->roles != NULL || o->passphrase_file != NULL))
        return args_usage("cert issue", "--roles and --passphrase-file are for persons");
    return 0;
}

static int run_issue(struct authority *a, const struct options *o, struct err *err)
{
    int days = PKI_LEAF_DAYS;
    int rc = o->days != NULL ? args_number("--days", o->days, PKI_ROOT_DAYS, &days, err) : 0;
    if (rc < 0)
        return rc;
    return o->host != NULL ? issue_host(a, o, days, err) : issue_person(a, o, days, err);
}

static int check_issuer(const struct options *o)
{
    if (o->host == NULL || o->out == NULL)
        return args_usage("cert issuer", "--%s is missing", o->host == NULL ? "host" : "out");
    if (o->serial != NULL)
        return args_usage("cert issuer", "\"%s\" is not expected", o->serial);
    return 0;
}

static int run_issuer(struct authority *a, const struct options *o, struct err *err)
{
    int days = PKI_ISSUER_DAYS;
    int rc = o->days != NULL ? args_number("--days", o->days, PKI_ROOT_DAYS, &days, err) : 0;
    if (rc < 0 || (rc = authority_make_issuer(a, o->host, days, o->out, args_now(), err)) < 0)
        return rc;
    printf("issuer of host %s: %s/issuer.pem and .key\n", o->host, o->out);
    return 0;
}

/* "364d"; "-" once it has ended. */
static void life_left(const json_t *entry, char ret[24])
{
    struct err err;
    msec end;
    const char *text = json_string_value(json_object_get(entry, "not_after"));
    snprintf(ret, 24, "-");
    if (text != NULL && time_parse(text, &end, &err) == 0 && end > args_now())
        snprintf(ret, 24, "%lldd", (long long)((end - args_now()) / 86400000));
}

static void print_table(const json_t *list)
{
    printf("%-8s %-20s %-8s %-21s %-6s %s\n", "USE", "NAME", "STATUS", "NOT AFTER", "LEFT",
           "SERIAL");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        const char *const keys[] = {"use", "name", "status", "not_after", "serial"};
        const char *v[ARRAY_SIZE(keys)];
        char left[24];
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
            v[k] = json_string_value(json_object_get(e, keys[k]));
        life_left(e, left);
        printf("%-8s %-20s %-8s %-21s %-6s %s\n", v[0], v[1], v[2], v[3], left, v[4]);
    }
}

static int check_list(const struct options *o)
{
    return o->serial != NULL ? args_usage("cert list", "\"%s\" is not expected", o->serial) : 0;
}

static int run_list(struct authority *a, const struct options *o, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    int rc = authority_list(a, args_now(), &list, err);
    if (rc < 0)
        return rc;
    if (o->format == NULL) {
        print_table(list);
        return 0;
    }
    json_dumpf(list, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    return 0;
}

static int check_revoke(const struct options *o)
{
    return o->serial == NULL ? args_usage("cert revoke", "the serial number (or a file) is missing")
                             : 0;
}

/* One that is on the list already does not hold the others up. */
static int revoke_more(const struct options *o, struct err *err)
{
    for (int i = 0; i < o->n_more; i++) {
        _cleanup_(authority_done) struct authority a = {0};
        int rc = authority_open(o->directory, args_now(), &a, err);
        if (rc == 0)
            rc = authority_revoke(&a, o->more[i], args_now(), err);
        if (rc < 0 && rc != -ERR_EXISTS)
            return rc;
        printf("%s revoked%s\n", o->more[i], rc < 0 ? " already" : "");
    }
    return 0;
}

static int run_revoke(struct authority *a, const struct options *o, struct err *err)
{
    int rc = authority_revoke(a, o->serial, args_now(), err);
    if (rc < 0 && (rc != -ERR_EXISTS || o->n_more == 0))
        return rc;
    printf("%s revoked: give %s/crl.pem to every host\n", o->serial, o->directory);
    return revoke_more(o, err);
}

static int check_rotate(const struct options *o)
{
    if (o->from == NULL)
        return args_usage("cert rotate", "--from is missing");
    if (o->serial != NULL)
        return args_usage("cert rotate", "\"%s\" is not expected", o->serial);
    return 0;
}

static int run_rotate(struct authority *a _unused_, const struct options *o, struct err *err)
{
    struct renewal renewal = {.out = o->directory != NULL ? o->directory : "/etc/pki",
                              .from = o->from,
                              .new_keys = o->new_keys,
                              .now = args_now()};
    int rc = renew(&renewal, err);
    if (rc == 0)
        printf("certificates in %s are renewed: tell the agent (SIGHUP)\n", renewal.out);
    return rc;
}

static const char *const verb_names[] = {"issue", "issuer", "list", "revoke", "rotate", NULL};

/* In their order. */
static const struct verb {
    int (*check)(const struct options *o); /* -1: wrong usage, said */
    int (*run)(struct authority *a, const struct options *o, struct err *err);
    bool on_host; /* it has no authority's directory */
} verbs[] = {{check_issue, run_issue, false},
             {check_issuer, run_issuer, false},
             {check_list, run_list, false},
             {check_revoke, run_revoke, false},
             {check_rotate, run_rotate, true}};

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    _cleanup_(authority_done) struct authority a = {0};
    struct options options = {0};
    struct err err = {0};
    int rc = parse(argc, argv, &options);
    if (rc > 0)
        return 0;
    if (rc == 0 && !verb->on_host && options.directory == NULL)
        rc = args_usage("cert", "--directory is missing");
    if (rc == 0 && options.n_more > 0 && verb->run != run_revoke)
        rc = args_usage("cert", "\"%s\" is not expected", options.more[0]);
    if (rc < 0 || verb->check(&options) < 0)
        return 2;
    if ((!verb->on_host && authority_open(options.directory, args_now(), &a, &err) < 0) ||
        verb->run(&a, &options, &err) < 0)
        return args_failed(&err);
    return 0;
}

int cmd_cert(int argc, char **argv)
{
    int status, verb = args_verb("cert", verb_names, help, argc, argv, &status);
    return verb < 0 ? status : run_verb(&verbs[verb], argc - 1, argv + 1);
}
