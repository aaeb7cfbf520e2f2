/* skein events: what happens in the fleet, from the audit logs of this host and its peers. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/record.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define LIMIT_MAX 500 /* the agent keeps no more */

static const char help[] =
    "usage: skein events [-f] [--limit N] [-o table|json] [--socket PATH]\n"
    "\n"
    "The newest events of the hosts that this one is linked with, and of itself; -f goes on with\n"
    "those to come. They are what the hosts write into their audit logs: plans, approvals, "
    "permits,\n"
    "moves, refusals. An agent remembers them from its start on; the whole is in audit list.\n"
    "\n"
    "  -f, --follow   do not end: show events as they happen\n"
    "  -n, --limit N  at most so many past ones (default: 20)\n"
    "  -o json        one JSON object a line: {\"host\", \"seq\", \"record\"}\n"
    "\n"
    "Examples:\n"
    "  skein events -f\n"
    "  skein events -f -o json | jq -c 'select(.record.event | startswith(\"move.\"))'\n";

static void print_event(const struct cli *cli, json_t *event)
{
    if (cli->format == CLI_JSON) {
        json_dumpf(event, stdout, JSON_COMPACT | JSON_SORT_KEYS);
        putchar('\n');
    } else {
        _cleanup_json_ json_t *tidy = json_incref(event);
        text_tidy_json(&tidy);
        _cleanup_(freep) char *rest = record_details(json_object_get(tidy, "record"), true);
        printf("%-24s %-12s %-20s %s\n", text_or(tidy, "record.at", "-"),
               text_or(tidy, "host", "?"), text_or(tidy, "record.event", "?"), rest);
    }
    fflush(stdout);
}

static int came(void *arg, const char *data, struct err *err)
{
    _cleanup_json_ json_t *event = json_loads(data, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(event))
        print_event(arg, event);
    if (ferror(stdout))
        return err_set(err, ERR_IO, "standard output cannot be written");
    return 0;
}

static int show_recent(const struct cli *cli, int limit, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = xasprintf("/v1/events/recent?limit=%d", limit);
    int rc = cli_call(cli, path, NULL, &doc, err);
    size_t i;
    json_t *event;
    json_array_foreach(json_object_get(doc, "events"), i, event) print_event(cli, event);
    return rc;
}

int cmd_events(int argc, char **argv)
{
    bool follow = false;
    const char *limit_text = NULL;
    const struct cli_option options[] = {
        {"follow", 'f', &follow, NULL}, {"limit", 'n', NULL, &limit_text}, {0}};
    struct cli cli = {.command = "events", .help = help, .formats = CLI_JSON};
    struct err err = {0};
    int limit = 20, rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (limit_text != NULL && args_number("--limit", limit_text, LIMIT_MAX, &limit, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    _cleanup_(freep) char *path = xasprintf("/v1/events?limit=%d", limit);
    rc = follow ? cli_follow(&cli, path, came, &cli, &err) : show_recent(&cli, limit, &err);
    return rc < 0 ? cli_failed(&err) : 0;
}
