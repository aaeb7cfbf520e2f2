/* skein plan approve, reject, cancel, pause, resume: a person's signature over a plan's digest.
 * What is signed is what was shown: the digest is recomputed here, from the body that is printed,
 * and a body whose text a terminal would not show as it is, is refused. */
#include <getopt.h>
#include <unistd.h>

#include "agent/ctl/commands.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "agent/ctl/wait.h"
#include "planner/core/plan_doc.h"
#include "proto/canon.h"

#define COMMON_HELP                                                                                \
    SIGN_HELP "  --yes                   do not ask\n" WAIT_HELP                                   \
              "  -o json                 the agent's answer, or with --wait the plan at its end\n"

static const char approve_help[] =
    "usage: skein plan approve --key FILE [--cert FILE] [--yes] [--wait[=SECONDS]] PLAN\n"
    "\n"
    "Show a plan, ask, and sign its digest: you say that exactly these moves may be made. The\n"
    "agents verify your signature and your role (approver or admin) themselves.\n"
    "\n" COMMON_HELP "  --rollback              putting everything back is approved too\n"
    "  --ticket TEXT           the change ticket, where a gate rule asks for one\n"
    "\n"
    "Examples:\n"
    "  skein plan approve --key ~/.skein/anna.key 3f2a9c1b7d10\n"
    "  SKEIN_KEY=anna.key skein plan approve --yes --wait=300 3f2a9c1b7d10\n";

static const char reject_help[] =
    "usage: skein plan reject --key FILE [--cert FILE] [--yes] [--reason TEXT] PLAN\n"
    "\n"
    "Sign that a plan must not be carried out. One rejection by an approver or admin suffices.\n"
    "\n" COMMON_HELP "\n"
    "Examples:\n"
    "  skein plan reject --key anna.key --reason \"backup is running\" 3f2a9c1b7d10\n";

static const char cancel_help[] =
    "usage: skein plan cancel --key FILE [--cert FILE] [--yes] [--reason TEXT] PLAN\n"
    "\n"
    "Sign that a plan ends: nothing new of it starts, and moves that run are stopped where that "
    "is\nsafe. Operators, approvers and admins may.\n"
    "\n" COMMON_HELP "\n"
    "Examples:\n"
    "  skein plan cancel --key olga.key --wait 3f2a9c1b7d10\n";

static const char pause_help[] =
    "usage: skein plan pause --key FILE [--cert FILE] [--yes] [--reason TEXT] PLAN\n"
    "\n"
    "Sign that nothing new of a running plan starts until it is resumed; moves that run come to "
    "their\nend. Operators, approvers and admins may.\n"
    "\n" COMMON_HELP "\n"
    "Examples:\n"
    "  skein plan pause --key olga.key --reason \"backup window\" 3f2a9c1b7d10\n";

static const char resume_help[] =
    "usage: skein plan resume --key FILE [--cert FILE] [--yes] [--reason TEXT] PLAN\n"
    "\n"
    "Sign that a paused plan goes on, as far as its approvals still count. Operators, approvers "
    "and\nadmins may.\n"
    "\n" COMMON_HELP "\n"
    "Examples:\n"
    "  skein plan resume --key olga.key --wait 3f2a9c1b7d10\n";

static const struct verb {
    const char *type, *command, *path, *help, *done;
} verbs[] = {{"approve", "plan approve", "approvals", approve_help, "approved"},
             {"reject", "plan reject", "approvals", reject_help, "rejected"},
             {"cancel", "plan cancel", "cancel", cancel_help, "cancelled"},
             {"pause", "plan pause", "pause", pause_help, "paused"},
             {"resume", "plan resume", "resume", resume_help, "resumed"}};

struct vote_args {
    struct sign_args sign;
    struct wait_args wait;
    const char *ticket;
    bool yes, rollback;
};

/* The plan asked for, unaltered, and nothing that a terminal would hide. */
static int check_plan(const char *asked, json_t **doc, char ret_digest[HASH_HEX_SIZE],
                      struct err *err)
{
    json_t *body = json_object_get(*doc, "body");
    if (!json_is_object(body))
        return err_set(err, ERR_INTERNAL, "the agent's answer is no plan");
    int rc = plan_body_digest(body, ret_digest, err);
    if (rc < 0)
        return rc;
    const char *stated = text_or(*doc, "digest", "");
    if (strcmp(ret_digest, stated) != 0)
        return err_set(err, ERR_CONFLICT,
                       "plan %.12s: its body has the digest %s, not the stated %.64s: altered on "
                       "the way; nothing was signed",
                       asked, ret_digest, stated);
    if (strncmp(ret_digest, asked, strlen(asked)) != 0)
        return err_set(err, ERR_CONFLICT, "plan %.64s was asked for, %.12s was given", asked,
                       ret_digest);
    json_incref(body);
    bool hidden = text_tidy_json(&body);
    json_decref(body);
    if (hidden)
        return err_set(err, ERR_INVALID,
                       "plan %.12s: its text has control characters, which a terminal does not "
                       "show; nothing was signed; try: skein plan show -o json",
                       ret_digest);
    text_tidy_json(doc);
    return 0;
}

static bool ask_person(const struct verb *verb, const char *digest, const char *name)
{
    char line[16] = "";
    fprintf(stderr, "%s plan %.12s as %s? [y/N] ", verb->type, digest, name);
    fflush(stderr);
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    return strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0;
}

static json_t *command_json(const struct verb *verb, const struct vote_args *args,
                            const char *digest)
{
    char id[PLAN_ID_SIZE];
    snprintf(id, sizeof id, "%.*s", PLAN_ID_SIZE - 1, digest);
    json_t *o = json_pack("{s:s, s:s, s:s}", "type", verb->type, "plan", id, "digest", digest);
    if (strcmp(verb->type, "approve") == 0)
        json_object_set_new(o, "rollback", json_boolean(args->rollback));
    if (args->ticket != NULL)
        json_object_set_new(o, "ticket", json_string(args->ticket));
    return o;
}

static int sign_vote(const struct cli *cli, const struct verb *verb, const struct vote_args *args,
                     char ret_digest[HASH_HEX_SIZE], json_t **ret, struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", cli->operands[0]);
    int rc;
    if ((rc = cli_call(cli, path, NULL, &doc, err)) < 0 ||
        (rc = check_plan(cli->operands[0], &doc, ret_digest, err)) < 0)
        return rc;
    plan_view(cli->format == CLI_JSON ? stderr : stdout, doc, true);
    fflush(stdout);
    if ((rc = sign_open(cli, &args->sign, &signer, err)) < 0)
        return rc;
    if (!args->yes && !ask_person(verb, ret_digest, sign_name(signer)))
        return err_set(err, ERR_CANCELLED, "nothing was signed");
    _cleanup_(freep) char *to = xasprintf("/v1/plans/%.12s/%s", ret_digest, verb->path);
    return sign_post(cli, signer, command_json(verb, args, ret_digest), to, ret, err);
}

static void say_done(const struct cli *cli, const struct verb *verb, json_t *answer)
{
    if (cli->format == CLI_JSON) {
        cli_print_json(answer);
        return;
    }
    _cleanup_json_ json_t *tidy = json_incref(answer);
    text_tidy_json(&tidy);
    const char *plan = text_or(tidy, "plan", "?"), *state = text_or(tidy, "state", "?");
    printf("%s by %s: plan %s is %s", verb->done, text_or(tidy, "person", "?"), plan, state);
    printf(plan_has_ended(state) ? "\n" : "; try: skein plan show -f %s\n", plan);
}

static int vote(const struct verb *verb, int argc, char **argv)
{
    struct vote_args args = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(args.sign),
                                         WAIT_OPTION(args.wait),
                                         {"yes", 'y', &args.yes, NULL},
                                         {"rollback", '\0', &args.rollback, NULL},
                                         {"ticket", '\0', NULL, &args.ticket},
                                         {0}};
    struct cli cli = {.command = verb->command, .help = verb->help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    char digest[HASH_HEX_SIZE];
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO)
        return rc;
    if ((args.rollback || args.ticket != NULL) && strcmp(verb->type, "approve") != 0)
        return cli_usage(&cli, "--rollback and --ticket belong to approve");
    if ((rc = cli_plan_id(&cli, cli.operands[0])) != 0 ||
        (rc = wait_check(&cli, &args.wait)) != 0 || (rc = sign_check(&cli, &args.sign)) != 0)
        return rc;
    if (!args.yes && !isatty(STDIN_FILENO))
        return cli_usage(&cli, "there is no terminal to ask on: say --yes");
    if (sign_vote(&cli, verb, &args, digest, &answer, &err) < 0)
        return cli_failed(&err);
    if (!args.wait.given || cli.format != CLI_JSON)
        say_done(&cli, verb, answer);
    digest[PLAN_ID_SIZE - 1] = '\0';
    return args.wait.given ? wait_for_plan(&cli, digest, &args.wait) : 0;
}

int cmd_plan_approve(int argc, char **argv)
{
    return vote(&verbs[0], argc, argv);
}

int cmd_plan_reject(int argc, char **argv)
{
    return vote(&verbs[1], argc, argv);
}

int cmd_plan_cancel(int argc, char **argv)
{
    return vote(&verbs[2], argc, argv);
}

int cmd_plan_pause(int argc, char **argv)
{
    return vote(&verbs[3], argc, argv);
}

int cmd_plan_resume(int argc, char **argv)
{
    return vote(&verbs[4], argc, argv);
}
