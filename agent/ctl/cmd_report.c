/* skein report: what was done, why, by whom, how long it took; predicted beside measured. */
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/report_html.h"
#include "agent/ctl/report_month.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

static const char help[] =
    "usage: skein report [-o table|wide|json|html] [--socket PATH] [PLAN]\n"
    "       skein report --month YYYY-MM [-o table|json] [--socket PATH]\n"
    "\n"
    "What a plan did, why, who approved it, how long it took; the newest plan that was begun when\n"
    "none is named. What was predicted stands in brackets; beside what failed stand the usual "
    "cause\n"
    "and its remedy. -o wide adds the virsh command that would have done the same; -o html prints "
    "a\n"
    "page that needs nothing else.\n"
    "  --month YYYY-MM  statistics of the plans made in that month, as far as they are "
    "remembered:\n"
    "                   how they ended, what failed, how long moves took, how good predictions "
    "were\n"
    "\n"
    "Examples:\n"
    "  skein report\n"
    "  skein report 3f2a9c -o json | jq .totals\n"
    "  skein report 3f2a9c -o html > report.html\n"
    "  skein report --month 2026-11\n";

static const struct table_column columns[] = {
    {.name = "VM"},
    {.name = "FROM"},
    {.name = "TO"},
    {.name = "STATE"},
    {.name = "TOOK", .right = true},
    {.name = "PAUSE", .right = true},
    {.name = "COPIED", .right = true},
    {.name = "STARTED", .wide = true},
    {.name = "ENDED", .wide = true},
    {.name = "EVIDENCE", .wide = true},
    {.name = "APPROVED BY", .wide = true},
    {.name = "BY HAND", .wide = true},
    {.name = "REMARK", .wrap = true},
};

enum {
    MOVE_VM,
    MOVE_FROM,
    MOVE_TO,
    MOVE_STATE,
    MOVE_TOOK,
    MOVE_PAUSE,
    MOVE_COPIED,
    MOVE_STARTED,
    MOVE_ENDED,
    MOVE_EVIDENCE,
    MOVE_APPROVERS,
    MOVE_VIRSH,
    MOVE_REMARK
};

/* "13 s (14 s)": measured, and predicted where it was. */
static char *both(const char *measured, const char *predicted)
{
    return strcmp(predicted, "-") == 0 || strcmp(predicted, "0 ms") == 0 ||
                   strcmp(predicted, "0 MiB") == 0
               ? xstrdup(measured)
               : xasprintf("%s (%s)", measured, predicted);
}

static void set_both(struct table *t, size_t column, const char *measured, const char *predicted)
{
    _cleanup_(freep) char *text = both(measured, predicted);
    table_set(t, column, text);
}

static void add_move(struct table *t, const json_t *move)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    const char *code = text_at(move, "code");
    _cleanup_(freep) char *remark = code != NULL
                                        ? xasprintf("%s: %s", code, text_or(move, "message", ""))
                                        : xstrdup(text_or(move, "reason", ""));
    table_line(t);
    table_set(t, MOVE_VM, text_or(move, "vm", "?"));
    table_set(t, MOVE_FROM, text_or(move, "from", "?"));
    table_set(t, MOVE_TO, text_to(move, "?"));
    table_set_state(t, MOVE_STATE, text_or(move, "state", "?"));
    set_both(t, MOVE_TOOK, text_ms(number_at(move, "duration_ms"), a),
             text_ms(number_at(move, "predicted.duration_ms"), b));
    set_both(t, MOVE_PAUSE, text_ms(number_at(move, "downtime_ms"), a),
             text_ms(number_at(move, "predicted.downtime_ms"), b));
    set_both(t, MOVE_COPIED, text_mib(number_at(move, "transferred_mib"), a),
             text_mib(number_at(move, "predicted.transferred_mib"), b));
    table_set(t, MOVE_STARTED, text_or(move, "started_at", "-"));
    table_set(t, MOVE_ENDED, text_or(move, "ended_at", "-"));
    table_set(t, MOVE_EVIDENCE, text_or(move, "evidence", ""));
    table_set(t, MOVE_APPROVERS, text_or(move, "approvers", "-"));
    table_set(t, MOVE_VIRSH, text_or(move, "virsh", "-"));
    table_set(t, MOVE_REMARK, remark);
}

static void print_head(const json_t *report)
{
    size_t i;
    const json_t *vote;
    printf("plan %s  %s%s%s\n", text_or(report, "id", "?"), text_or(report, "state", "?"),
           text_at(report, "state_reason") != NULL ? ": " : "",
           text_or(report, "state_reason", ""));
    printf("why   %s\n", text_or(report, "why", "-"));
    printf("what  class %s, policy %s, made %s by %s\n", text_or(report, "class", "?"),
           text_or(report, "policy", "none"), text_or(report, "made_at", "?"),
           text_or(report, "author", "?"));
    json_array_foreach(json_object_get(report, "approvals"), i, vote)
    {
        printf("who   %s by %s (%s) at %s%s%s\n", text_or(vote, "verdict", "?"),
               text_or(vote, "person", "?"), text_or(vote, "role", "?"), text_or(vote, "at", "?"),
               text_at(vote, "reason") != NULL ? ": " : "", text_or(vote, "reason", ""));
    }
    printf("when  %s to %s\n\n", text_or(report, "started_at", "not begun"),
           text_or(report, "ended_at", "not ended"));
}

static void print_totals(const json_t *totals)
{
    static const char *const others[] = {"failed", "skipped", "cancelled", "unknown",
                                         "needs_operator"};
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("\n%lld of %lld moved", (long long)MAX(number_at(totals, "succeeded"), 0),
           (long long)MAX(number_at(totals, "actions"), 0));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (number_at(totals, others[i]) > 0)
            printf(", %lld %s", (long long)number_at(totals, others[i]), others[i]);
    _cleanup_(freep) char *took = both(text_ms(number_at(totals, "duration_ms"), a),
                                       text_ms(number_at(totals, "predicted.duration_ms"), b));
    _cleanup_(freep) char *pause = both(text_ms(number_at(totals, "downtime_max_ms"), a),
                                        text_ms(number_at(totals, "predicted.downtime_max_ms"), b));
    _cleanup_(freep) char *copied =
        both(text_mib(number_at(totals, "transferred_mib"), a),
             text_mib(number_at(totals, "predicted.transferred_mib"), b));
    printf("; took %s, longest pause %s, copied %s\n", took, pause, copied);
}

/* Under the table: what usually is behind each failure, and what to do. */
static void print_failures(const json_t *report)
{
    size_t i;
    const json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        if (text_at(move, "failure.kind") == NULL)
            continue;
        printf("\n%s: %s: %s\n  try: %s\n", text_or(move, "vm", "?"), text_at(move, "failure.kind"),
               text_or(move, "failure.cause", "?"), text_or(move, "failure.remedy", "?"));
    }
}

static void print_report(const struct cli *cli, const json_t *report)
{
    size_t i;
    const json_t *move;
    struct table *t = table_new(columns, ARRAY_SIZE(columns), cli->format == CLI_WIDE);
    print_head(report);
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        add_move(t, move);
    }
    table_print(t, stdout);
    print_failures(report);
    print_totals(json_object_get(report, "totals"));
}

/* ---- a month ---- */

static void print_counts(const char *what, const json_t *counts)
{
    const char *key;
    json_t *n;
    if (json_object_size(counts) == 0)
        return;
    printf("%-9s", what);
    json_object_foreach((json_t *)(uintptr_t)counts, key, n)
    {
        printf(" %s %lld", key, (long long)json_integer_value(n));
    }
    putchar('\n');
}

static void print_month(const json_t *o)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("month     %s: %lld plans, %lld moves\n", text_or(o, "month", "?"),
           (long long)number_at(o, "plans"), (long long)number_at(o, "moves"));
    print_counts("plans", json_object_get(o, "states"));
    print_counts("classes", json_object_get(o, "classes"));
    print_counts("moves", json_object_get(o, "outcomes"));
    print_counts("failures", json_object_get(o, "failures"));
    if (number_at(o, "success_pct") != QUANTITY_UNKNOWN)
        printf("success   %lld %%\n", (long long)number_at(o, "success_pct"));
    printf("took      %s, longest %s\n", text_ms(number_at(o, "duration_ms.median"), a),
           text_ms(number_at(o, "duration_ms.longest"), b));
    printf("pause     %s, longest %s\n", text_ms(number_at(o, "downtime_ms.median"), a),
           text_ms(number_at(o, "downtime_ms.longest"), b));
    printf("copied    %s\n", text_mib(number_at(o, "transferred_mib"), a));
    if (number_at(o, "prediction_error_pct") != QUANTITY_UNKNOWN)
        printf("predicted %lld %% off\n", (long long)number_at(o, "prediction_error_pct"));
}

/* The reports of all plans of that month. */
static int month_reports(const struct cli *cli, const char *month, json_t *ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    size_t i;
    const json_t *plan;
    if (cli_get(cli, "/v1/plans", &list, err) < 0)
        return -(int)err->code;
    json_array_foreach(json_object_get(list, "plans"), i, plan)
    {
        json_t *report = NULL;
        const char *id = text_or(plan, "id", "");
        if (!report_month_has(month, plan) || id[0] == '\0' ||
            id[strspn(id, "0123456789abcdef")] != '\0')
            continue;
        _cleanup_(freep) char *path = xasprintf("/v1/plans/%s/report", id);
        if (cli_get(cli, path, &report, err) < 0)
            return -(int)err->code;
        json_array_append_new(ret, report);
    }
    return 0;
}

static int show_month(const struct cli *cli, const char *month)
{
    _cleanup_json_ json_t *reports = json_array(), *statistics = NULL;
    struct err err = {0};
    if (!report_month_ok(month))
        return cli_usage(cli, "--month: \"%.32s\" is not a month like 2026-11", month);
    if (month_reports(cli, month, reports, &err) < 0)
        return cli_failed(&err);
    statistics = report_month(month, reports);
    if (cli->format == CLI_JSON)
        cli_print_json(statistics);
    else
        print_month(statistics);
    return 0;
}

int cmd_report(int argc, char **argv)
{
    const char *month = NULL;
    const struct cli_option options[] = {{"month", '\0', NULL, &month}, {0}};
    struct cli cli = {.command = "report", .help = help, .formats = CLI_JSON | CLI_WIDE | CLI_HTML};
    _cleanup_json_ json_t *report = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, 1);
    if (rc != CLI_GO)
        return rc;
    if (month != NULL && cli.n_operands > 0)
        return cli_usage(&cli, "a plan or a month, not both");
    if (month != NULL)
        return show_month(&cli, month);
    const char *plan = cli.n_operands > 0 ? cli.operands[0] : NULL;
    if (plan != NULL && (rc = cli_plan_id(&cli, plan)) != 0)
        return rc;
    _cleanup_(freep) char *path =
        plan != NULL ? xasprintf("/v1/plans/%s/report", plan) : xstrdup("/v1/report");
    if (cli_get(&cli, path, &report, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(report);
    else if (cli.format == CLI_HTML)
        report_html(stdout, report);
    else
        print_report(&cli, report);
    return 0;
}
