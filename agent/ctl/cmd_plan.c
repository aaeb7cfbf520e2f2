/* skein plan list, show: reading plans. */
#include <getopt.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

/* ---- list ---- */

static const char list_help[] =
    "usage: skein plan list [--limit N] [-o table|wide|name|json] [--socket PATH]\n"
    "\n"
    "All plans that the voters remember, the newest first.\n"
    "\n"
    "  --limit N  at most so many (default: 100)\n"
    "\n"
    "Examples:\n"
    "  skein plan list\n"
    "  skein plan list -o json | jq -r '.plans[] | select(.state == \"FAILED\") | .id'\n";

static const struct table_column list_columns[] = {
    {.name = "PLAN"},
    {.name = "STATE"},
    {.name = "CLASS"},
    {.name = "MOVES", .right = true},
    {.name = "POLICY", .wide = true},
    {.name = "AUTHOR", .wide = true},
    {.name = "MADE"},
    {.name = "EXPIRES", .wide = true},
    {.name = "REASON", .cut = true},
};

enum {
    LIST_ID,
    LIST_STATE,
    LIST_CLASS,
    LIST_MOVES,
    LIST_POLICY,
    LIST_AUTHOR,
    LIST_MADE,
    LIST_EXPIRES,
    LIST_REASON
};

static void list_plan(struct table *t, const json_t *plan, msec now)
{
    char text[TEXT_SIZE];
    table_line(t);
    table_set(t, LIST_ID, text_or(plan, "id", "?"));
    table_set_state(t, LIST_STATE, text_or(plan, "state", "?"));
    table_set(t, LIST_CLASS, text_or(plan, "class", "-"));
    table_set(t, LIST_MOVES, text_number(number_at(plan, "actions"), text));
    table_set(t, LIST_POLICY, text_or(plan, "policy", "-"));
    table_set(t, LIST_AUTHOR, text_or(plan, "author", "-"));
    table_set(t, LIST_MADE, text_ago(time_at(plan, "made_at"), now, text));
    table_set(t, LIST_EXPIRES, text_or(plan, "expires_at", "-"));
    table_set(t, LIST_REASON, text_or(plan, "reason", "-"));
}

static void list_plans(const struct cli *cli, const json_t *plans)
{
    size_t i;
    const json_t *plan;
    struct table *t = table_new(list_columns, ARRAY_SIZE(list_columns), cli->format == CLI_WIDE);
    json_array_foreach(plans, i, plan)
    {
        if (cli->format == CLI_NAME)
            puts(text_or(plan, "id", "?"));
        else
            list_plan(t, plan, args_now());
    }
    table_print(t, stdout);
    if (i == 0 && cli->format != CLI_NAME)
        fputs("there are no plans; try: skein status\n", stderr);
}

int cmd_plan_list(int argc, char **argv)
{
    const char *limit = NULL;
    const struct cli_option options[] = {{"limit", 'n', NULL, &limit}, {0}};
    struct cli cli = {
        .command = "plan list", .help = list_help, .formats = CLI_JSON | CLI_WIDE | CLI_NAME};
    struct err err = {0};
    int n = 0, rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (limit != NULL && args_number("--limit", limit, 500, &n, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    _cleanup_(freep) char *path = n > 0 ? xasprintf("/v1/plans?limit=%d", n) : xstrdup("/v1/plans");
    _cleanup_json_ json_t *doc = NULL;
    if (cli_get(&cli, path, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        list_plans(&cli, json_object_get(doc, "plans"));
    return 0;
}

/* ---- show ---- */

static int get_plan(const struct cli *cli, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", cli->operands[0]);
    return cli_get(cli, path, ret, err);
}

static const char show_help[] =
    "usage: skein plan show [-f] [-o table|wide|json] [--socket PATH] PLAN\n"
    "\n"
    "What a plan does, why, and how far it is. PLAN is its id, or the first digits of it.\n"
    "\n"
    "  -f, --follow  go on until the plan has ended\n"
    "  -o wide       the parameters of each move, and all that is not moved, too\n"
    "\n"
    "Examples:\n"
    "  skein plan show 3f2a9c\n"
    "  skein plan show -f 3f2a9c\n"
    "  skein plan show 3f2a9c -o json | jq .body.refused\n";

static int follow(const struct cli *cli, const json_t *doc)
{
    _cleanup_json_ json_t *last = NULL;
    struct err err = {0};
    bool json = cli->format == CLI_JSON;
    FILE *to = json ? stderr : stdout;
    fputc('\n', to);
    if (plan_follow(cli, text_or(doc, "id", cli->operands[0]), to, 0, &last, &err) < 0)
        return cli_failed(&err);
    if (json)
        cli_print_json(last);
    return 0;
}

int cmd_plan_show(int argc, char **argv)
{
    bool follows = false;
    const struct cli_option options[] = {{"follow", 'f', &follows, NULL}, {0}};
    struct cli cli = {.command = "plan show", .help = show_help, .formats = CLI_JSON | CLI_WIDE};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = cli_plan_id(&cli, cli.operands[0])) != 0)
        return rc;
    if (get_plan(&cli, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format != CLI_JSON)
        plan_view(stdout, doc, cli.format == CLI_WIDE);
    else if (!follows)
        cli_print_json(doc);
    return follows ? follow(&cli, doc) : 0;
}
