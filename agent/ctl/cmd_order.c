/* skein order: standing orders, which approve the plans of one exact policy within bounds. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/cmd_policy.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

/* ---- list ---- */

static const char list_help[] =
    "usage: skein order list [-o table|json] [--socket PATH]\n"
    "\n"
    "The standing orders in force: which policies' plans are carried out without a person's\n"
    "approval, within which bounds, by whose signature and until when.\n"
    "\n"
    "Examples:\n"
    "  skein order list\n"
    "  skein order list -o json | jq -r '.orders[].id'\n";

static char *joined(const json_t *list, const char *none)
{
    struct buf b = {0};
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
        buf_addf(&b, "%s%s", i > 0 ? ", " : "", json_string_value(item));
    if (i == 0)
        buf_adds(&b, none);
    return buf_take(&b);
}

static void print_orders(const json_t *orders)
{
    static const struct table_column columns[] = {
        {.name = "ID"},     {.name = "NAME"},
        {.name = "POLICY"}, {.name = "MOVES/H", .right = true},
        {.name = "HOSTS"},  {.name = "WINDOWS"},
        {.name = "UNTIL"},  {.name = "BY"}};
    size_t i;
    const json_t *o;
    char moves[TEXT_SIZE];
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(orders, i, o)
    {
        _cleanup_(freep) char *hosts = joined(json_object_get(o, "hosts"), "all");
        _cleanup_(freep) char *windows = joined(json_object_get(o, "windows"), "always");
        table_line(t);
        table_set(t, 0, text_or(o, "id", "?"));
        table_set(t, 1, text_or(o, "name", "?"));
        table_set(t, 2, text_or(o, "policy", "?"));
        table_set(t, 3, text_number(number_at(o, "moves_per_hour"), moves));
        table_set(t, 4, hosts);
        table_set(t, 5, windows);
        table_set(t, 6, text_or(o, "expires_at", "?"));
        table_set(t, 7, text_or(o, "person", "?"));
    }
    table_print(t, stdout);
}

static int cmd_order_list(int argc, char **argv)
{
    struct cli cli = {.command = "order list", .help = list_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, "/v1/orders", &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        print_orders(json_object_get(doc, "orders"));
    return 0;
}

/* ---- add ---- */

static const char add_help[] =
    "usage: skein order add --policy-file FILE --moves-per-hour N --key FILE [OPTION]...\n"
    "\n"
    "Sign, as an admin, that plans of exactly this version of a policy are carried out without\n"
    "anybody's approval, within the bounds given. Every agent that acts verifies it and counts\n"
    "for itself. It ends after --lifetime, or when it is removed; a changed policy needs a new "
    "one.\n"
    "\n"
    "  --policy-file FILE      the policy's source; its name is the file's, its digest is signed\n"
    "  --param NAME=VALUE      of the version that carries this parameter; any number of times\n"
    "  --moves-per-hour N      the budget: of the fleet, and once more of each host\n"
    "  --name NAME             what it is called (default: the policy's name)\n"
    "  --classes LIST          only plans of these classes, separated by commas\n"
    "  --hosts LIST            only moves from and to these hosts\n"
    "  --max-actions N         only plans of at most so many actions\n"
    "  --windows LIST          only within these times, UTC: \"mon-fri 22:00-06:00,sat "
    "00:00-24:00\"\n"
    "  --rollback              putting things back is approved too\n" SIGN_HELP
    "                          a standing order's lifetime is at most 31 days (default: 30)\n"
    "\n"
    "Examples:\n"
    "  skein order add --policy-file policies/thermal_relief.lua --moves-per-hour 20 \\\n"
    "      --key admin.key\n"
    "  skein order add --policy-file night.lua --moves-per-hour 60 --windows \"22:00-05:00\" \\\n"
    "      --lifetime 604800 --key admin.key --reason \"CHG-4711\"\n";

struct order_args {
    struct sign_args sign;
    const char *policy_file, *moves, *name, *classes, *hosts, *max_actions, *windows;
    const struct policy_params *params;
    bool rollback;
};

/* "a,b,c"; a comma within a window's days belongs to them: a part without a colon goes with the
 * next. */
static json_t *windows_of(const char *text)
{
    json_t *list = json_array();
    _cleanup_(freep) char *copy = xstrdup(text);
    _cleanup_(buf_done) struct buf whole = {0};
    char *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        buf_addf(&whole, "%s%s", whole.len > 0 ? "," : "", word);
        if (strchr(word, ':') == NULL)
            continue;
        json_array_append_new(list, json_string(whole.data));
        whole.len = 0;
    }
    if (whole.len > 0) /* the agent says what is wrong with it */
        json_array_append_new(list, json_string(whole.data));
    return list;
}

/* "policies/thermal_relief.lua" -> "thermal_relief" */
static char *policy_name(const char *path)
{
    const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    size_t n = strlen(base);
    if (n > 4 && strcmp(base + n - 4, ".lua") == 0)
        n -= 4;
    return xasprintf("%.*s", (int)n, base);
}

static int command_of(const struct order_args *args, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *source = NULL, *policy = policy_name(args->policy_file);
    char digest[HASH_HEX_SIZE];
    size_t len;
    int moves, max_actions = 0, rc;
    if ((rc = file_read(args->policy_file, POLICY_MAX, &source, &len, err)) < 0 ||
        (rc = policy_params_write(args->params, &source, &len, err)) < 0 ||
        (rc = args_number("--moves-per-hour", args->moves, 1000, &moves, err)) < 0 ||
        (args->max_actions != NULL &&
         (rc = args_number("--max-actions", args->max_actions, 1000, &max_actions, err)) < 0))
        return rc;
    worker_policy_digest(source, len, digest);
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:b}", "type", "order", "name",
                  args->name != NULL ? args->name : policy, "policy", policy, "policy_digest",
                  digest, "moves_per_hour", moves, "rollback", (int)args->rollback);
    if (o == NULL)
        return err_set(err, ERR_INVALID, "--name or the policy's name is not UTF-8");
    if (max_actions > 0)
        json_object_set_new(o, "max_actions", json_integer(max_actions));
    if (args->classes != NULL)
        json_object_set_new(o, "classes", args_list(args->classes));
    if (args->hosts != NULL)
        json_object_set_new(o, "hosts", args_list(args->hosts));
    if (args->windows != NULL)
        json_object_set_new(o, "windows", windows_of(args->windows));
    *ret = o;
    return 0;
}

static int cmd_order_add(int argc, char **argv)
{
    _cleanup_(policy_params_done) struct policy_params params = {0};
    struct order_args args = {.sign = {.lifetime_max = 31 * 86400, .lifetime_default = 30 * 86400},
                              .params = &params};
    const struct cli_option options[] = {SIGN_OPTIONS(args.sign),
                                         {"policy-file", '\0', NULL, &args.policy_file},
                                         {"param", CLI_MANY, NULL, params.texts},
                                         {"moves-per-hour", '\0', NULL, &args.moves},
                                         {"name", '\0', NULL, &args.name},
                                         {"classes", '\0', NULL, &args.classes},
                                         {"hosts", '\0', NULL, &args.hosts},
                                         {"max-actions", '\0', NULL, &args.max_actions},
                                         {"windows", '\0', NULL, &args.windows},
                                         {"rollback", '\0', &args.rollback, NULL},
                                         {0}};
    struct cli cli = {.command = "order add", .help = add_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    json_t *command = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (args.policy_file == NULL || args.moves == NULL)
        return cli_usage(&cli, "--%s is missing",
                         args.policy_file == NULL ? "policy-file" : "moves-per-hour");
    if ((rc = policy_params_take(&cli, &params)) != 0 || (rc = sign_check(&cli, &args.sign)) != 0)
        return rc;
    if (command_of(&args, &command, &err) < 0 ||
        sign_command(&cli, &args.sign, command, "/v1/orders", &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    else
        printf("%.12s\n", text_or(answer, "order", "?"));
    return 0;
}

/* ---- remove ---- */

static const char remove_help[] =
    "usage: skein order remove --key FILE [--cert FILE] [--reason TEXT] ORDER\n"
    "\n"
    "Take a standing order back. Plans that stand under it lose the approval: what waits goes on\n"
    "waiting, and nothing new of what runs begins. Approvers and admins may.\n"
    "\n" SIGN_HELP "\n"
    "Examples:\n"
    "  skein order remove --key admin.key 9c1b7d103f2a\n";

static int cmd_order_remove(int argc, char **argv)
{
    struct sign_args sign = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(sign), {0}};
    struct cli cli = {.command = "order remove", .help = remove_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = cli_plan_id(&cli, cli.operands[0])) != 0 ||
        (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s}", "type", "order-remove", "order", cli.operands[0]);
    if (sign_command(&cli, &sign, command, "/v1/orders", &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    return 0;
}

int cmd_order(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "the standing orders in force", cmd_order_list},
        {"add", "sign that a policy's plans need no approval, within bounds", cmd_order_add},
        {"remove", "take one back", cmd_order_remove},
    };
    return commands_run("skein order", commands, ARRAY_SIZE(commands), NULL, argc, argv);
}
