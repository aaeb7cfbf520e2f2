/* skein join: a new host's keys are made here, and its certificates come from an issuer. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_cert.h"
#include "proto/token.h"
#include "tls/ask.h"
#include "tls/file.h"
#include "tls/handles.h"
#include "tls/join.h"
#include "tls/layout.h"
#include "tls/pki.h"

#define OUT "/etc/pki"
#define LINE_MAX_BYTES 4096

static const char help[] =
    "usage: skein join TOKEN --from HOST:PORT --host NAME [--out DIR] [--qemu-group GROUP]\n"
    "                  [--agent-only]\n"
    "\n"
    "Make this host a member: its keys are made here and do not leave it, its certificates come\n"
    "from the issuer at HOST:PORT (issuer.listen there), which is believed when it stands under "
    "the\n"
    "machines' root that the token names, and brings the people's. What the agent, libvirt and "
    "QEMU read is written below DIR.\n"
    "A token counts once: print one with skein token create.\n"
    "\n"
    "  TOKEN                   the token, or - to read it from the standard input\n"
    "  --from HOST:PORT        an issuer, by a name or address that its certificate has\n"
    "  --host NAME             this host's name, as the token says\n"
    "  --out DIR               default: " OUT "\n"
    "  --qemu-group GROUP      may read QEMU's keys (default: their owner alone)\n"
    "  --agent-only            the agent's key alone: a host without libvirt, a token of role "
    "agent\n"
    "\n"
    "Examples:\n"
    "  skein join - --from hv1:7444 --host hv4 --qemu-group libvirt-qemu </run/token\n";

struct join_args {
    const char *token, *from, *host, *out, *qemu_group;
    bool agent_only;
};

static int take(int option, void *to)
{
    struct join_args *a = to;
    switch (option) {
    case 'f':
        a->from = optarg;
        break;
    case 'n':
        a->host = optarg;
        break;
    case 'd':
        a->out = optarg;
        break;
    case 'g':
        a->qemu_group = optarg;
        break;
    default:
        a->agent_only = true;
    }
    return 0;
}

/* 0, or 1 when help was printed, or -1 on wrong usage. */
static int parse(int argc, char **argv, struct join_args *a)
{
    static const struct option known[] = {{"from", required_argument, NULL, 'f'},
                                          {"host", required_argument, NULL, 'n'},
                                          {"out", required_argument, NULL, 'd'},
                                          {"qemu-group", required_argument, NULL, 'g'},
                                          {"agent-only", no_argument, NULL, 'a'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int rc = args_options("join", ":h", known, help, argc, argv, take, a);
    if (rc != 0)
        return rc;
    if (optind == argc)
        return args_usage("join", "the token is missing");
    a->token = argv[optind++];
    if (optind < argc)
        return args_usage("join", "\"%s\" is not expected", argv[optind]);
    if (a->from == NULL || a->host == NULL)
        return args_usage("join", "--%s is missing", a->from == NULL ? "from" : "host");
    if (a->agent_only && a->qemu_group != NULL)
        return args_usage("join", "--qemu-group is for QEMU, which --agent-only leaves out");
    return 0;
}

static int read_token(const char *text, struct token *ret, struct err *err)
{
    char line[LINE_MAX_BYTES];
    if (strcmp(text, "-") != 0)
        return token_parse(text, ret, err);
    if (fgets(line, sizeof line, stdin) == NULL)
        return err_set(err, ERR_INVALID, "the standard input is empty: no token");
    line[strcspn(line, "\r\n")] = '\0';
    int rc = token_parse(line, ret, err);
    explicit_bzero(line, sizeof line);
    return rc;
}

/* Nothing of a member is overwritten by mistake. */
static int check_new(const struct join_args *a, struct err *err)
{
    static const char *const files[] = {"skein/host.pem", "libvirt/servercert.pem",
                                        "qemu/server-cert.pem"};
    for (size_t i = 0; i < (a->agent_only ? 1 : ARRAY_SIZE(files)); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", a->out, files[i]);
        if (file_exists(path))
            return err_set(err, ERR_EXISTS, "%s exists: nothing was changed", path);
    }
    return 0;
}

/* That nothing can be written is said before the token is spent. */
static int check_writable(const char *out, const char *below, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", out, below);
    while (access(path, F_OK) < 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return access(".", W_OK) < 0 ? err_set(err, ERR_IO, "%s: %m", out) : 0;
        slash[slash == path] = '\0';
    }
    return access(path, W_OK | X_OK) < 0 ? err_set(err, ERR_IO, "%s: %m: nothing was asked", path)
                                         : 0;
}

static int check_out(const struct join_args *a, struct err *err)
{
    static const char *const folders[] = {"skein", "CA", "libvirt/private", "qemu"};
    for (size_t i = 0; i < (a->agent_only ? 1 : ARRAY_SIZE(folders)); i++) {
        int rc = check_writable(a->out, folders[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

struct keys {
    gnutls_x509_privkey_t of[JOIN_USES]; /* owned; NULL: not wanted */
};

static void keys_done(struct keys *k)
{
    for (size_t i = 0; i < JOIN_USES; i++)
        key_freep(&k->of[i]);
}

static int make_keys(const struct join_args *a, struct keys *ret, struct err *err)
{
    for (enum identity_use use = 0; use < JOIN_USES; use++) {
        bool wanted = use == USE_AGENT || !a->agent_only;
        int rc = wanted ? pki_key_generate(use, &ret->of[use], err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int put(const struct join_args *a, gid_t group, const struct keys *keys,
               const struct join_answer *answer, struct err *err)
{
    struct layout layout = {
        .out = a->out,
        .qemu_group = group,
        .cluster = &answer->cluster,
        .machines = answer->machines,
        .people = answer->people,
        .crl = answer->crl,
        .roster = answer->roster,
        .issuer = answer->issuer,
    };
    int rc = layout_put_rest(&layout, err);
    for (unsigned i = JOIN_USES; rc == 0 && i-- > 0;) /* the agent's last: it makes the host */
        if (keys->of[i] != NULL)
            rc = layout_put(&layout, (enum identity_use)i, answer->certificates[i], keys->of[i],
                            err);
    return rc;
}

static void print_list(const char *key, const json_t *list)
{
    size_t i;
    const json_t *item;
    printf("%s = [", key);
    json_array_foreach(list, i, item)
        printf("%s \"%s\"", i > 0 ? "," : "", json_string_value(item));
    printf(" ];");
}

/* What stands in agent.conf of the others, as this host should have it too. */
static void tell(const struct join_args *a, const struct join_answer *answer)
{
    printf("host %s: certificates in %s\n"
           "cluster = \"%s\";\nhost = \"%s\";\nmesh = { ",
           a->host, a->out, answer->cluster.name, a->host);
    print_list("seeds", answer->peers);
    printf(" };\nraft = { ");
    print_list("voters", answer->voters);
    printf(" };\n");
}

static int join(const struct join_args *a, const struct token *token, gid_t group, struct err *err)
{
    _cleanup_(keys_done) struct keys keys = {0};
    _cleanup_(join_answer_done) struct join_answer answer = {0};
    _cleanup_(args_wipep) char *request = NULL;
    _cleanup_(freep) char *text = NULL;
    struct ask question = {
        .address = a->from, .cluster = token->cluster, .root = token->machines, .now = args_now()};
    size_t len;
    int rc;
    if ((rc = make_keys(a, &keys, err)) < 0 ||
        (rc = join_request_write(a->host, token->secret, keys.of, NULL, &request, err)) < 0 ||
        (rc = ask(&question, "/v1/join", request, JOIN_ANSWER_MAX, &text, &len, err)) < 0 ||
        (rc = join_answer_read(text, len, &answer, err)) < 0 ||
        (rc = join_answer_check(&answer, token->machines, token->cluster, a->host, keys.of,
                                args_now(), err)) < 0 ||
        (rc = join_answer_check_people(&answer, token->people, args_now(), err)) < 0 ||
        (rc = put(a, group, &keys, &answer, err)) < 0)
        return rc;
    tell(a, &answer);
    return 0;
}

static int run(const struct join_args *a, struct err *err)
{
    struct token token;
    gid_t group = FILE_ANY_GROUP;
    struct group *g = a->qemu_group != NULL ? getgrnam(a->qemu_group) : NULL;
    if (a->qemu_group != NULL && g == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no group \"%s\"", a->qemu_group);
    if (g != NULL)
        group = g->gr_gid;
    int rc = read_token(a->token, &token, err);
    if (rc == 0 && (rc = check_new(a, err)) == 0 && (rc = check_out(a, err)) == 0)
        rc = join(a, &token, group, err);
    explicit_bzero(&token, sizeof token);
    return rc;
}

int cmd_join(int argc, char **argv)
{
    struct join_args args = {.out = OUT};
    struct err err = {0};
    int rc = parse(argc, argv, &args);
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return run(&args, &err) < 0 ? args_failed(&err) : 0;
}
