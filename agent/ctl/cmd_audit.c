/* skein audit: this host's log of records, under a Merkle tree whose head is signed, cosigned by
 * voters and committed. */
#include "agent/ctl/audit_check.h"
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/record.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define PAGE 500      /* entries asked for at once by export */
#define LIST_MAX 1000 /* the store gives no more at once */

/* ---- list ---- */

static const char list_help[] =
    "usage: skein audit list [--from SEQ] [--limit N] [-o table|json] [--socket PATH]\n"
    "\n"
    "The newest records of this host's audit, or those from SEQ on.\n"
    "\n"
    "  --from SEQ  begin with this record\n"
    "  --limit N   at most so many (default: 100)\n"
    "\n"
    "Examples:\n"
    "  skein audit list --limit 20\n"
    "  skein audit list -o json | jq '.entries[].record | select(.event == \"move.failed\")'\n";

static const struct table_column columns[] = {{.name = "SEQ", .right = true},
                                              {.name = "AT"},
                                              {.name = "EVENT"},
                                              {.name = "PLAN"},
                                              {.name = "DETAILS", .wrap = true}};

static void print_entries(const json_t *entries)
{
    size_t i;
    const json_t *entry;
    char seq[TEXT_SIZE];
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(entries, i, entry)
    {
        _cleanup_(freep) char *rest = record_details(json_object_get(entry, "record"), false);
        table_line(t);
        table_set(t, 0, text_number(number_at(entry, "seq"), seq));
        table_set(t, 1, text_or(entry, "at", "-"));
        table_set(t, 2, text_or(entry, "record.event", "?"));
        table_set(t, 3, text_or(entry, "record.plan", ""));
        table_set(t, 4, rest);
    }
    table_print(t, stdout);
}

static char *entries_path(int from, int limit)
{
    return from > 0 ? xasprintf("/v1/audit?from=%d&limit=%d", from, limit)
                    : xasprintf("/v1/audit?limit=%d", limit);
}

static int cmd_audit_list(int argc, char **argv)
{
    const char *from_text = NULL, *limit_text = NULL;
    const struct cli_option options[] = {
        {"from", '\0', NULL, &from_text}, {"limit", 'n', NULL, &limit_text}, {0}};
    struct cli cli = {.command = "audit list", .help = list_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int from = 0, limit = 100, rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if ((from_text != NULL && args_number("--from", from_text, INT32_MAX, &from, &err) < 0) ||
        (limit_text != NULL && args_number("--limit", limit_text, LIST_MAX, &limit, &err) < 0))
        return cli_usage(&cli, "%s", err.msg);
    _cleanup_(freep) char *path = entries_path(from, limit);
    if (cli_get(&cli, path, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        print_entries(json_object_get(doc, "entries"));
    return 0;
}

/* ---- verify ---- */

static const char verify_help[] =
    "usage: skein audit verify [-o table|json] [--socket PATH]\n"
    "       skein audit verify [--roots PATH] [--anchors FILE] [--cosigned N] [-o FORMAT] FILE...\n"
    "\n"
    "Without FILE: let the agent recompute its whole audit log and hold it against what was "
    "signed\n"
    "of it and what the voters committed. With FILE (of audit export or prove; - is standard\n"
    "input): verify here, with no agent, with the export and the machines' root alone. Exit "
    "status\n"
    "1 when a record was altered, removed, put in or moved.\n"
    "\n"
    "  --roots PATH    machines.pem, or the directory that holds it (default: /etc/pki/skein)\n"
    "  --anchors FILE  checkpoints that were kept elsewhere, one a line: each must be met\n"
    "  --cosigned N    so many other hosts must have cosigned (default: 0)\n"
    "\n"
    "Examples:\n"
    "  skein audit verify\n"
    "  skein audit verify --roots dc1/machines.pem hv1.audit hv2.audit hv3.audit\n"
    "  skein audit verify --roots dc1 --anchors /mnt/worm/skein.anchors hv1.audit\n";

static void print_logs(const json_t *doc)
{
    static const struct table_column log_columns[] = {{.name = "HOST"},
                                                      {.name = "RECORDS", .right = true},
                                                      {.name = "SIGNED AT"},
                                                      {.name = "COSIGNED BY"},
                                                      {.name = "ROOT"}};
    size_t i, j;
    const json_t *log, *witness, *text;
    char records[TEXT_SIZE];
    struct table *t = table_new(log_columns, ARRAY_SIZE(log_columns), false);
    json_array_foreach(json_object_get(doc, "logs"), i, log)
    {
        _cleanup_(buf_done) struct buf by = {0};
        json_array_foreach(json_object_get(log, "cosigned_by"), j, witness)
            buf_addf(&by, "%s%s", j > 0 ? ", " : "", json_string_value(witness));
        table_line(t);
        table_set(t, 0, text_or(log, "host", "?"));
        table_set(t, 1, text_number(number_at(log, "records"), records));
        table_set(t, 2, text_or(log, "at", "?"));
        table_set(t, 3, by.len > 0 ? by.data : "nobody");
        table_set(t, 4, text_or(log, "root", "?"));
    }
    table_print(t, stdout);
    json_array_foreach(json_object_get(doc, "proofs"), i, log)
        printf("%s: record %lld is in its log: %s\n", text_or(log, "host", "?"),
               (long long)number_at(log, "seq"), text_or(log, "record", "(it goes on from there)"));
    json_array_foreach(json_object_get(doc, "notes"), i, text)
        printf("note: %s\n", json_string_value(text));
}

static int verify_files(struct cli *cli, const struct audit_check_args *args)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    if (audit_check(args, cli->operands, cli->n_operands, args_now(), &doc, &err) < 0)
        return cli_failed(&err);
    if (cli->format == CLI_JSON) {
        cli_print_json(doc);
        return 0;
    }
    text_tidy_json(&doc);
    print_logs(doc);
    puts("intact");
    return 0;
}

static int verify_here(struct cli *cli)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    if (cli_get(cli, "/v1/audit/verify", &doc, &err) < 0)
        return cli_failed(&err);
    bool intact = json_is_true(json_object_get(doc, "intact"));
    if (cli->format == CLI_JSON)
        cli_print_json(doc);
    else if (intact)
        printf("intact: %lld records, root %s\n", (long long)MAX(number_at(doc, "entries"), 0),
               text_or(doc, "root", "?"));
    if (intact)
        return 0;
    err_set(&err, ERR_CONFLICT, "the audit is broken at record %lld: %s",
            (long long)MAX(number_at(doc, "broken_seq"), 0),
            text_or(doc, "message", "no reason is given"));
    return cli_failed(&err);
}

static int cmd_audit_verify(int argc, char **argv)
{
    const char *cosigned = NULL;
    struct audit_check_args args = {.roots = "/etc/pki/skein"};
    const struct cli_option options[] = {{"roots", '\0', NULL, &args.roots},
                                         {"anchors", '\0', NULL, &args.anchors},
                                         {"cosigned", '\0', NULL, &cosigned},
                                         {0}};
    struct cli cli = {.command = "audit verify", .help = verify_help, .formats = CLI_JSON};
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, INT32_MAX);
    if (rc != CLI_GO)
        return rc;
    if (cosigned != NULL && args_number("--cosigned", cosigned, 16, &args.cosigned, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    if (cli.n_operands == 0 && (args.anchors != NULL || cosigned != NULL))
        return cli_usage(&cli, "--anchors and --cosigned want exported files");
    return cli.n_operands > 0 ? verify_files(&cli, &args) : verify_here(&cli);
}

/* ---- export ---- */

static const char export_help[] =
    "usage: skein audit export [--socket PATH]\n"
    "\n"
    "This host's whole audit log, for keeping and for audit verify on any machine: a line with a\n"
    "fresh checkpoint, cosigned by voters, and the heads of the other hosts' logs; then the "
    "records,\n"
    "a line each. Do not edit it: the lines' bytes are what was signed.\n"
    "\n"
    "Examples:\n"
    "  skein audit export > hv1.audit\n"
    "  skein audit export | jq -c 'select(.event == \"move.failed\")'\n";

/* One page of records; those after size came later than the checkpoint. */
static int export_page(const struct cli *cli, int64_t *next, int64_t size, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = entries_path((int)*next, PAGE);
    int rc = cli_call(cli, path, NULL, &doc, err);
    if (rc < 0)
        return rc;
    size_t i;
    const json_t *entry;
    int64_t first = *next;
    json_array_foreach(json_object_get(doc, "entries"), i, entry)
    {
        const char *text = text_at(entry, "text");
        if (number_at(entry, "seq") != *next || text == NULL || *next > size)
            break;
        puts(text);
        (*next)++;
    }
    if (*next == first)
        return err_set(err, ERR_INTERNAL, "the agent has no record %lld", (long long)first);
    return 0;
}

static int cmd_audit_export(int argc, char **argv)
{
    struct cli cli = {.command = "audit export", .help = export_help};
    _cleanup_json_ json_t *head = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_call(&cli, "/v1/audit/export", NULL, &head, &err) < 0)
        return cli_failed(&err);
    int64_t size = number_at(head, "checkpoint.body.size");
    if (size < 0 || size > INT32_MAX) {
        err_set(&err, ERR_INTERNAL, "the agent's checkpoint has no size");
        return cli_failed(&err);
    }
    json_dumpf(head, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    putchar('\n');
    for (int64_t next = 1; next <= size;)
        if (export_page(&cli, &next, size, &err) < 0)
            return cli_failed(&err);
    if (fflush(stdout) == 0)
        return 0;
    err_set(&err, ERR_IO, "standard output: %m");
    return cli_failed(&err);
}

/* ---- prove ---- */

static const char prove_help[] =
    "usage: skein audit prove SEQ... [--socket PATH]\n"
    "       skein audit prove --plan PLAN [--action ACTION] [--socket PATH]\n"
    "       skein audit prove --from N [--socket PATH]\n"
    "\n"
    "Prove to somebody who has only the machines' root that records stand in this host's log: a "
    "line\n"
    "of JSON each, with the record, its path, and a fresh checkpoint cosigned by voters. Or, with\n"
    "--from, that the log only went on from the checkpoint of N records that somebody has kept.\n"
    "\n"
    "  --plan PLAN      all records about this plan (its id, or the beginning of one)\n"
    "  --action ACTION  of them, those about this action: a move's whole story on this host\n"
    "  --from N         the proof of consistency; N is the size of the older checkpoint\n"
    "\n"
    "Examples:\n"
    "  skein audit prove 117 > proof; skein audit verify --roots machines.pem proof\n"
    "  skein audit prove --plan 3f2a9c1b7d10 --action a1\n"
    "  skein audit prove --from 5210 | skein audit verify --anchors kept.jsonl -\n";

static int print_proof(const struct cli *cli, const char *what, int64_t number, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = xasprintf("/v1/audit/%s%lld", what, (long long)number);
    int rc = cli_call(cli, path, NULL, &doc, err);
    if (rc < 0)
        return rc;
    json_dumpf(doc, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    putchar('\n');
    return 0;
}

static bool is_about(const json_t *entry, const char *plan, const char *action)
{
    return strncmp(text_or(entry, "record.plan", ""), plan, strlen(plan)) == 0 &&
           (action == NULL || strcmp(text_or(entry, "record.action", ""), action) == 0);
}

/* Looks through the whole log. */
static int prove_plan(const struct cli *cli, const char *plan, const char *action, struct err *err)
{
    bool found = false;
    for (int64_t next = 1, n = PAGE; n == PAGE;) {
        _cleanup_json_ json_t *doc = NULL;
        _cleanup_(freep) char *path = entries_path((int)next, PAGE);
        int rc = cli_call(cli, path, NULL, &doc, err);
        size_t i;
        const json_t *entry;
        if (rc < 0)
            return rc;
        json_array_foreach(json_object_get(doc, "entries"), i, entry)
        {
            if (!is_about(entry, plan, action))
                continue;
            found = true;
            if ((rc = print_proof(cli, "proof?seq=", number_at(entry, "seq"), err)) < 0)
                return rc;
        }
        n = (int64_t)i;
        next += n;
    }
    return found ? 0
                 : err_set(err, ERR_NOT_FOUND,
                           "this host's audit has no record about it; try on the source, the "
                           "destination or the planner");
}

static int cmd_audit_prove(int argc, char **argv)
{
    const char *plan = NULL, *action = NULL, *from = NULL;
    const struct cli_option options[] = {{"plan", '\0', NULL, &plan},
                                         {"action", '\0', NULL, &action},
                                         {"from", '\0', NULL, &from},
                                         {0}};
    struct cli cli = {.command = "audit prove", .help = prove_help};
    struct err err = {0};
    int number, rc = cli_parse(&cli, argc, argv, options, 0, INT32_MAX);
    if (rc != CLI_GO || (plan != NULL && (rc = cli_plan_id(&cli, plan)) != 0))
        return rc;
    if ((plan != NULL) + (from != NULL) + (cli.n_operands > 0) != 1)
        return cli_usage(&cli, "one of SEQ, --plan and --from is wanted");
    if (action != NULL && plan == NULL)
        return cli_usage(&cli, "--action wants --plan");
    if (plan != NULL)
        return prove_plan(&cli, plan, action, &err) < 0 ? cli_failed(&err) : 0;
    if (from != NULL && args_number("--from", from, INT32_MAX, &number, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    if (from != NULL)
        return print_proof(&cli, "consistency?from=", number, &err) < 0 ? cli_failed(&err) : 0;
    for (int i = 0; i < cli.n_operands; i++) {
        if (args_number("SEQ", cli.operands[i], INT32_MAX, &number, &err) < 0)
            return cli_usage(&cli, "%s", err.msg);
        if (print_proof(&cli, "proof?seq=", number, &err) < 0)
            return cli_failed(&err);
    }
    return 0;
}

int cmd_audit(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "the newest records, or those from one on", cmd_audit_list},
        {"verify", "check this host's log, or exported ones with no agent", cmd_audit_verify},
        {"export", "the whole log, with its checkpoint, as lines of JSON", cmd_audit_export},
        {"prove", "a proof that a record stands in the log", cmd_audit_prove},
    };
    return commands_run("skein audit", commands, ARRAY_SIZE(commands), NULL, argc, argv);
}
