/* skein plan rollback: a signed request that what a plan moved goes back to where it was. */
#include <unistd.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "agent/ctl/wait.h"
#include "planner/core/plan_doc.h"
#include "proto/canon.h"

#define MOVES_MAX 150 /* what fits into one signed command */

static const char help[] =
    "usage: skein plan rollback --key FILE [--yes] [--reason TEXT] [--wait[=SECONDS]] PLAN\n"
    "\n"
    "Put back what an ended plan has moved: show the moves, ask, sign exactly these, and print the "
    "id\nof the plan that makes them. It is planned and held to every rule like any other. Where "
    "an\n"
    "approval of the first plan said --rollback and still counts, it needs no other; else it "
    "waits\n"
    "for one. Operators and admins may. A plan that runs is cancelled first.\n"
    "\n" SIGN_HELP "  --yes                   do not ask\n"
    "  --dry-run               show the moves, and sign nothing\n" WAIT_HELP
    "  -o json                 the agent's answer, or with --wait the plan at its end\n"
    "\n"
    "Examples:\n"
    "  skein plan rollback --dry-run 3f2a9c1b7d10\n"
    "  skein plan rollback --key olga.key --wait 3f2a9c1b7d10\n";

struct rollback_args {
    struct sign_args sign;
    struct wait_args wait;
    bool yes, dry_run;
};

static bool has_succeeded(const json_t *doc, const char *action)
{
    size_t i;
    const json_t *result;
    json_array_foreach(json_object_get(doc, "results"), i, result)
    {
        if (strcmp(text_or(result, "action", ""), action) == 0)
            return strcmp(text_or(result, "state", ""), "SUCCEEDED") == 0;
    }
    return false;
}

static bool is_listed(const json_t *moves, const char *uuid)
{
    size_t i;
    const json_t *move;
    json_array_foreach(moves, i, move)
    {
        if (strcmp(text_or(move, "uuid", ""), uuid) == 0)
            return true;
    }
    return false;
}

/* [{"uuid", "to"}]: each VM to where its first move took it from. Lines for people on `to`. */
static int moves_back(const json_t *doc, FILE *to, json_t **ret, struct err *err)
{
    size_t i, k;
    const json_t *step, *action;
    _cleanup_json_ json_t *moves = json_array();
    json_array_foreach(json_at(doc, "body.steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            const char *uuid = text_or(action, "uuid", ""), *from = text_or(action, "from", "");
            if (!has_succeeded(doc, text_or(action, "id", "")) || is_listed(moves, uuid))
                continue;
            json_array_append_new(moves, json_pack("{s:s, s:s}", "uuid", uuid, "to", from));
            fprintf(to, "  %s  back to %s\n", text_or(action, "vm", "?"), from);
        }
    }
    fflush(to);
    if (json_array_size(moves) == 0)
        return err_set(err, ERR_CONFLICT, "plan %s has moved nothing", text_or(doc, "id", "?"));
    if (json_array_size(moves) > MOVES_MAX)
        return err_set(err, ERR_LIMIT, "%zu moves: %d may be rolled back at once",
                       json_array_size(moves), MOVES_MAX);
    *ret = TAKE_PTR(moves);
    return 0;
}

/* The plan as it is named by its own body, not by who answered. */
static int read_plan(const struct cli *cli, json_t **ret, char digest[HASH_HEX_SIZE],
                     struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", cli->operands[0]);
    int rc = cli_call(cli, path, NULL, ret, err);
    if (rc < 0)
        return rc;
    if ((rc = plan_body_digest(json_object_get(*ret, "body"), digest, err)) < 0)
        return rc;
    if (strncmp(digest, cli->operands[0], strlen(cli->operands[0])) != 0)
        return err_set(err, ERR_CONFLICT, "plan %.64s was asked for, %.12s was given",
                       cli->operands[0], digest);
    if (!plan_has_ended(text_or(*ret, "state", "")))
        return err_set(err, ERR_CONFLICT, "plan %.12s is %s; try: skein plan cancel %.12s", digest,
                       text_or(*ret, "state", "?"), digest);
    text_tidy_json(ret);
    return 0;
}

static bool ask_person(const char *digest, const char *name)
{
    char line[16] = "";
    fprintf(stderr, "roll back plan %.12s as %s? [y/N] ", digest, name);
    fflush(stderr);
    return fgets(line, sizeof line, stdin) != NULL &&
           (strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0);
}

static int request(const struct cli *cli, const struct rollback_args *args, json_t **ret,
                   struct err *err)
{
    _cleanup_json_ json_t *doc = NULL, *moves = NULL;
    _cleanup_(sign_closep) struct signer *signer = NULL;
    char digest[HASH_HEX_SIZE];
    int rc;
    if ((rc = read_plan(cli, &doc, digest, err)) < 0 ||
        (rc = moves_back(doc, cli->format == CLI_JSON ? stderr : stdout, &moves, err)) < 0 ||
        args->dry_run || (rc = sign_open(cli, &args->sign, &signer, err)) < 0)
        return rc;
    if (!args->yes && !ask_person(digest, sign_name(signer)))
        return err_set(err, ERR_CANCELLED, "nothing was signed");
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%.12s/rollback", digest);
    json_t *command = json_pack("{s:s, s:s%, s:s, s:O}", "type", "rollback", "plan", digest,
                                (size_t)(PLAN_ID_SIZE - 1), "digest", digest, "moves", moves);
    return sign_post(cli, signer, command, path, ret, err);
}

int cmd_plan_rollback(int argc, char **argv)
{
    struct rollback_args args = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(args.sign),
                                         WAIT_OPTION(args.wait),
                                         {"yes", 'y', &args.yes, NULL},
                                         {"dry-run", '\0', &args.dry_run, NULL},
                                         {0}};
    struct cli cli = {.command = "plan rollback", .help = help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = cli_plan_id(&cli, cli.operands[0])) != 0 ||
        (rc = wait_check(&cli, &args.wait)) != 0 ||
        (!args.dry_run && (rc = sign_check(&cli, &args.sign)) != 0))
        return rc;
    if (!args.yes && !args.dry_run && !isatty(STDIN_FILENO))
        return cli_usage(&cli, "there is no terminal to ask on: say --yes");
    if (request(&cli, &args, &answer, &err) < 0)
        return cli_failed(&err);
    if (args.dry_run)
        return 0;
    bool pending = strcmp(text_or(answer, "state", "?"), "PENDING_APPROVAL") == 0;
    return wait_answered(&cli, answer, pending, &args.wait);
}
