/* skein token: what lets a new host join, once. */
#include <sys/random.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/host_order.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"
#include "proto/token.h"
#include "tls/anchor.h"

#define ROOT_FILE "/etc/pki/skein/machines.pem"

/* ---- list ---- */

static const char list_help[] =
    "usage: skein token list [-o table|json] [--socket PATH]\n"
    "\n"
    "The tokens by which hosts may join, and what became of them: open, used, revoked, expired.\n"
    "They are forgotten a week after their end.\n"
    "\n"
    "Examples:\n"
    "  skein token list\n"
    "  skein token list -o json | jq '.tokens[] | select(.status == \"open\")'\n";

static void print_tokens(const json_t *tokens)
{
    static const struct table_column columns[] = {{.name = "TOKEN"}, {.name = "HOST"},
                                                  {.name = "ROLE"},  {.name = "STATUS"},
                                                  {.name = "UNTIL"}, {.name = "BY"}};
    size_t i;
    const json_t *one;
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(tokens, i, one)
    {
        table_line(t);
        table_set(t, 0, text_or(one, "id", "?"));
        table_set(t, 1, text_or(one, "host", "?"));
        table_set(t, 2, text_or(one, "role", "?"));
        table_set(t, 3, text_or(one, "status", "?"));
        table_set(t, 4, text_or(one, "until", "?"));
        table_set(t, 5, text_or(one, "created.person", "?"));
    }
    table_print(t, stdout);
}

static int cmd_token_list(int argc, char **argv)
{
    struct cli cli = {.command = "token list", .help = list_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, "/v1/tokens", &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        print_tokens(json_object_get(doc, "tokens"));
    return 0;
}

/* ---- create ---- */

static const char create_help[] =
    "usage: skein token create --host NAME --key FILE [OPTION]...\n"
    "\n"
    "Print a token by which that host can join, once, with skein join. Whoever has it gets\n"
    "that host's certificates: give it to nobody else. Admins may.\n"
    "\n"
    "  --host NAME             who may join\n"
    "  --role ROLE             host: certificates for the agent, libvirt and QEMU (default);\n"
    "                          agent: for a host without libvirt\n"
    "  --dns LIST, --ip LIST   how others reach it, separated by commas: into its certificates\n"
    "  --replace               though there is such a host already: whoever joins takes its place\n"
    "  --root FILE             the machines' root, with people.pem beside it: by both it will "
    "know\n"
    "                          whom to believe (default: " ROOT_FILE ")\n" SIGN_HELP
    "                          (the token ends with it; at most a week)\n"
    "  --dry-run               say what would be signed, and sign nothing\n"
    "\n"
    "Examples:\n"
    "  skein token create --host hv4 --dns hv4,hv4.lab --ip 10.77.0.4 --key anna.key\n"
    "  skein token create --host hv4 --lifetime 600 --key anna.key >/run/token\n";

struct create_args {
    struct sign_args sign;
    const char *host, *role, *dns, *ip, *root;
    bool replace, dry_run;
};

/* Both roots': the people's stands beside the machines'. */
static int root_digests(const char *path, struct token *token, struct err *err)
{
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL ? (int)(slash - path) + 1 : 0;
    _cleanup_(freep) char *people = xasprintf("%.*speople.pem", folder, path);
    int rc = spki_digest_of_file(path, token->machines, err);
    if (rc == 0)
        rc = spki_digest_of_file(people, token->people, err);
    return rc < 0 ? err_wrap(err, "--root") : 0;
}

static int token_new(const struct create_args *a, struct token *ret, struct err *err)
{
    uint8_t secret[HASH_SIZE];
    struct token token = {0};
    int rc = root_digests(a->root != NULL ? a->root : ROOT_FILE, &token, err);
    if (rc < 0)
        return rc;
    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        return err_set(err, ERR_IO, "no random numbers: %m");
    hash_hex(secret, token.secret);
    explicit_bzero(secret, sizeof secret);
    *ret = token;
    return 0;
}

static json_t *command_of(const struct create_args *a, const struct token *token)
{
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    if (!token_proof(token->secret, proof) || !token_hash(proof, hash))
        return NULL;
    json_t *command = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "type", "token-create", "host",
                                a->host, "role", a->role != NULL ? a->role : "host", "hash", hash,
                                "dns", args_list(a->dns != NULL ? a->dns : ""), "addresses",
                                args_list(a->ip != NULL ? a->ip : ""));
    if (command != NULL && a->replace)
        json_object_set_new(command, "replace", json_true());
    return command;
}

static void print_token(const struct cli *cli, const struct create_args *a,
                        const struct token *token, const json_t *answer)
{
    char text[TOKEN_TEXT_SIZE];
    token_format(token, text);
    if (cli->format == CLI_JSON) {
        _cleanup_json_ json_t *doc = json_pack("{s:s, s:s, s:O*}", "token", text, "host", a->host,
                                               "id", json_object_get(answer, "token"));
        cli_print_json(doc);
    } else {
        printf("%s\n", text);
    }
    explicit_bzero(text, sizeof text);
}

static int create(const struct cli *cli, const struct create_args *a, struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    _cleanup_json_ json_t *answer = NULL;
    struct token token;
    int rc = token_new(a, &token, err);
    if (rc < 0 || (!a->dry_run && (rc = sign_open(cli, &a->sign, &signer, err)) < 0))
        return rc;
    json_t *command = command_of(a, &token);
    if (command == NULL)
        return err_set(err, ERR_INVALID, "--host, --role, --dns or --ip is not UTF-8");
    if (a->dry_run) {
        host_order_dry_run(command);
        json_decref(command);
        return 0;
    }
    snprintf(token.cluster, sizeof token.cluster, "%s", sign_cluster(signer));
    if ((rc = sign_post(cli, signer, command, "/v1/tokens", &answer, err)) < 0)
        return rc;
    print_token(cli, a, &token, answer);
    explicit_bzero(&token, sizeof token);
    return 0;
}

static int cmd_token_create(int argc, char **argv)
{
    struct create_args args = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(args.sign),
                                         {"host", '\0', NULL, &args.host},
                                         {"role", '\0', NULL, &args.role},
                                         {"dns", '\0', NULL, &args.dns},
                                         {"ip", '\0', NULL, &args.ip},
                                         {"root", '\0', NULL, &args.root},
                                         {"replace", '\0', &args.replace, NULL},
                                         {"dry-run", '\0', &args.dry_run, NULL},
                                         {0}};
    struct cli cli = {.command = "token create", .help = create_help, .formats = CLI_JSON};
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO || (!args.dry_run && (rc = sign_check(&cli, &args.sign)) != 0))
        return rc;
    if (args.host == NULL)
        return cli_usage(&cli, "--host is missing");
    return create(&cli, &args, &err) < 0 ? cli_failed(&err) : 0;
}

/* ---- revoke ---- */

static const char revoke_help[] =
    "usage: skein token revoke --key FILE [--cert FILE] [--reason TEXT] TOKEN\n"
    "\n"
    "Take a token back that was not used yet; TOKEN as skein token list shows it. Admins may.\n"
    "\n" SIGN_HELP "\n"
    "Examples:\n"
    "  skein token revoke --key anna.key --reason \"sent to the wrong room\" 1f0c93ab55d2\n";

static int cmd_token_revoke(int argc, char **argv)
{
    struct sign_args sign = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(sign), {0}};
    struct cli cli = {.command = "token revoke", .help = revoke_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s}", "type", "token-revoke", "token", cli.operands[0]);
    if (command == NULL)
        return cli_usage(&cli, "the token is not UTF-8");
    if (sign_command(&cli, &sign, command, "/v1/tokens", &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    return 0;
}

int cmd_token(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "the tokens, and what became of them", cmd_token_list},
        {"create", "a token by which one host can join, once", cmd_token_create},
        {"revoke", "take one back", cmd_token_revoke},
    };
    return commands_run("skein token", commands, ARRAY_SIZE(commands), NULL, argc, argv);
}
