/* skein freeze, unfreeze, hold: signed orders that something is left alone, for a time. */
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/duration.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "agent/ctl/vm_find.h"
#include "proto/canon.h"

#define FREEZE_MAX_S (30 * 86400)
#define HOLD_MAX_S (365 * 86400)

static const char freeze_help[] =
    "usage: skein freeze --key FILE --for TIME [--reason TEXT]\n"
    "       skein freeze --list [-o json]\n"
    "\n"
    "Nothing new starts anywhere until the time is over or the freeze is ended; moves that run "
    "come to\ntheir end, and plans are still made. Operators, approvers and admins may; its owner "
    "or an admin\nends it.\n"
    "\n" SIGN_HELP "  --for TIME              90s, 30m, 2h, 7d; at most 30 days\n"
    "  --list                  the freezes in force\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein freeze --key olga.key --for 4h --reason \"quarter's end\"\n";

static const char unfreeze_help[] =
    "usage: skein unfreeze --key FILE [--reason TEXT] [FREEZE]\n"
    "\n"
    "End a freeze, or all of them when none is named. Its owner may, and admins.\n"
    "\n" SIGN_HELP "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein unfreeze --key olga.key\n"
    "  skein unfreeze --key adam.key 3f2a9c1b7d10\n";

static const char hold_help[] =
    "usage: skein hold --key FILE --for TIME [--reason TEXT] VM\n"
    "       skein hold --key FILE --release VM\n"
    "       skein hold --list [-o json]\n"
    "\n"
    "Leave a VM alone. No plan that was made before may move it, and no later one but of the "
    "classes\nsafety, drain and user, which say so. Operators, approvers and admins may; its owner "
    "or an admin\nends it. VM is a name or a UUID.\n"
    "\n" SIGN_HELP "  --for TIME              90s, 30m, 2h, 7d; at most 365 days\n"
    "  --release               end the hold\n"
    "  --list                  the holds in force\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein hold --key olga.key --for 2h --reason \"vendor looks at it\" db1\n"
    "  skein hold --key olga.key --release db1\n";

/* ---- listing ---- */

static const struct table_column columns[] = {
    {.name = "FREEZE OR VM"}, {.name = "BY"}, {.name = "UNTIL"}, {.name = "REASON", .wrap = true}};

static int list(const struct cli *cli, const char *path, const char *key, const char *name)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    size_t i;
    const json_t *one;
    if (cli_get(cli, path, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli->format == CLI_JSON) {
        cli_print_json(doc);
        return 0;
    }
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(json_object_get(doc, key), i, one)
    {
        table_line(t);
        table_set(t, 0, text_or(one, name, "?"));
        table_set(t, 1, text_or(one, "person", "?"));
        table_set(t, 2, text_or(one, "until", "?"));
        table_set(t, 3, text_or(one, "reason", ""));
    }
    table_print(t, stdout);
    return 0;
}

/* ---- signing ---- */

static int say(const struct cli *cli, const json_t *answer, const char *what)
{
    if (cli->format == CLI_JSON) {
        cli_print_json(answer);
        return 0;
    }
    _cleanup_json_ json_t *tidy = json_incref((json_t *)(uintptr_t)answer);
    text_tidy_json(&tidy);
    printf("%s by %s", what, text_or(tidy, "person", "?"));
    if (text_at(tidy, "until") != NULL)
        printf(" until %s", text_at(tidy, "until"));
    puts("");
    return 0;
}

int cmd_freeze(int argc, char **argv)
{
    struct sign_args sign = {0};
    const char *time = NULL;
    bool lists = false;
    const struct cli_option options[] = {
        SIGN_OPTIONS(sign), {"for", '\0', NULL, &time}, {"list", '\0', &lists, NULL}, {0}};
    struct cli cli = {.command = "freeze", .help = freeze_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int64_t seconds;
    int rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (lists)
        return list(&cli, "/v1/freezes", "freezes", "id");
    if (time == NULL)
        return cli_usage(&cli, "--for is missing: a freeze must end some time");
    if (duration_parse("--for", time, FREEZE_MAX_S, &seconds, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    if ((rc = sign_check(&cli, &sign)) != 0)
        return rc;
    json_t *command = json_pack("{s:s, s:I}", "type", "freeze", "seconds", (json_int_t)seconds);
    if (sign_command(&cli, &sign, command, "/v1/freezes", &answer, &err) < 0)
        return cli_failed(&err);
    _cleanup_(freep) char *what = xasprintf("freeze %.12s", text_or(answer, "id", "?"));
    return say(&cli, answer, what);
}

int cmd_unfreeze(int argc, char **argv)
{
    struct sign_args sign = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(sign), {0}};
    struct cli cli = {.command = "unfreeze", .help = unfreeze_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, 1);
    if (rc != CLI_GO || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s}", "type", "unfreeze", "freeze",
                                cli.n_operands > 0 ? cli.operands[0] : "");
    if (command == NULL)
        return cli_usage(&cli, "the freeze's id is not UTF-8");
    if (sign_command(&cli, &sign, command, "/v1/freezes", &answer, &err) < 0)
        return cli_failed(&err);
    return say(&cli, answer, "unfrozen");
}

static int hold(const struct cli *cli, const struct sign_args *sign, bool release, int64_t seconds,
                json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *vms = NULL;
    const json_t *vm = NULL;
    int rc;
    if ((rc = cli_call(cli, "/v1/vms", NULL, &vms, err)) < 0 ||
        (rc = vm_find(json_object_get(vms, "vms"), cli->operands[0], &vm, err)) < 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s, s:s}", "type", release ? "release" : "hold", "vm",
                                text_or(vm, "name", ""), "uuid", text_or(vm, "uuid", ""));
    if (!release)
        json_object_set_new(command, "seconds", json_integer(seconds));
    return sign_command(cli, sign, command, "/v1/holds", ret, err);
}

int cmd_hold(int argc, char **argv)
{
    struct sign_args sign = {0};
    const char *time = NULL;
    bool lists = false, release = false;
    const struct cli_option options[] = {SIGN_OPTIONS(sign),
                                         {"for", '\0', NULL, &time},
                                         {"release", '\0', &release, NULL},
                                         {"list", '\0', &lists, NULL},
                                         {0}};
    struct cli cli = {.command = "hold", .help = hold_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int64_t seconds = 0;
    int rc = cli_parse(&cli, argc, argv, options, 0, 1);
    if (rc != CLI_GO)
        return rc;
    if (lists)
        return list(&cli, "/v1/holds", "holds", "vm");
    if (cli.n_operands == 0)
        return cli_usage(&cli, "wants a VM");
    if ((time == NULL) != release)
        return cli_usage(&cli, "wants --for TIME or --release");
    if (!release && duration_parse("--for", time, HOLD_MAX_S, &seconds, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    if ((rc = sign_check(&cli, &sign)) != 0)
        return rc;
    if (hold(&cli, &sign, release, seconds, &answer, &err) < 0)
        return cli_failed(&err);
    _cleanup_(freep) char *what =
        xasprintf("%s is %s", cli.operands[0], release ? "released" : "held");
    return say(&cli, answer, what);
}
