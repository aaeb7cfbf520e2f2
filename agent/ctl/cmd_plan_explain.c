/* skein plan explain: why a plan makes these moves and not others. Everything is said in the plan
 * itself, so that a file explains as well as an agent does. */
#include <stdio.h>

#include "agent/ctl/commands.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/text.h"
#include "planner/core/plan_doc.h"
#include "proto/canon.h"
#include "tls/file.h"

#define PLAN_MAX ((size_t)64 << 20)

static const char explain_help[] =
    "usage: skein plan explain [--vm VM] [-o table|json] [--socket PATH] PLAN\n"
    "\n"
    "Why a plan makes these moves and not others: for each move why that host, what other hosts\n"
    "and not moving would have cost more (or why a host refuses), and for each VM that stays "
    "every\n"
    "refusal with the smallest change that would have allowed it; or why there is nothing to do.\n"
    "PLAN is a plan's id, the first digits of it, or a file that skein plan make -o json wrote.\n"
    "\n"
    "  --vm VM  about this VM only\n"
    "\n"
    "Examples:\n"
    "  skein plan explain 3f2a9c\n"
    "  skein plan explain 3f2a9c --vm db1\n"
    "  skein plan make --snapshot now.json --drain hv1 -o json >plan.json\n"
    "  skein plan explain plan.json -o json | jq '.refused[].relax.text'\n";

/* ---- for people ---- */

static const char *subject(const json_t *action)
{
    return text_or(action, "vm", text_or(action, "host", "?"));
}

static bool is_about(const json_t *o, const char *vm)
{
    return vm == NULL || strcmp(text_or(o, "vm", ""), vm) == 0;
}

/* "instead: h3 +120, not moving +5000; h4 refuses: MEMORY: ..." */
static void explain_alternatives(const json_t *action)
{
    size_t i;
    const json_t *x;
    const char *from = text_or(action, "from", "");
    bool first = true;
    json_array_foreach(json_object_get(action, "alternatives"), i, x)
    {
        const char *host = text_or(x, "host", "?");
        if (text_at(x, "code") != NULL)
            continue;
        printf("%s%s %+lld", first ? "          would cost: " : ", ",
               strcmp(host, from) == 0 ? "not moving" : host, (long long)number_at(x, "cost"));
        first = false;
    }
    if (!first)
        putchar('\n');
    json_array_foreach(json_object_get(action, "alternatives"), i, x)
    {
        if (text_at(x, "code") != NULL)
            printf("          %s: %s: %s\n", text_or(x, "host", "?"), text_or(x, "code", "?"),
                   text_or(x, "message", ""));
    }
}

static void explain_action(const json_t *action, size_t step)
{
    const char *to = text_to(action, NULL);
    int64_t fit = number_at(action, "hosts_fit");
    printf("step %zu  %s", step, subject(action));
    if (to != NULL)
        printf("  %s -> %s", text_or(action, "from", "?"), to);
    else
        printf("  %s", text_or(action, "type", "?"));
    printf(": %s\n", text_or(action, "reason", "no reason is given"));
    if (fit != QUANTITY_UNKNOWN)
        printf("          %lld host%s can take it\n", (long long)fit, fit == 1 ? "" : "s");
    explain_alternatives(action);
}

static void explain_moves(const json_t *doc, const char *vm)
{
    size_t i, k;
    const json_t *step, *action;
    json_array_foreach(json_at(doc, "body.steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            if (is_about(action, vm))
                explain_action(action, i + 1);
        }
    }
}

/* ---- for programs ---- */

/* {"plan", "reason", "steps", "refused"}, the last narrowed to one VM. */
static json_t *explain_json(const json_t *doc, const char *vm)
{
    size_t i;
    json_t *refusal, *refused = json_array();
    json_array_foreach(json_at(doc, "body.refused"), i, refusal)
    {
        if (is_about(refusal, vm))
            json_array_append(refused, refusal);
    }
    return json_pack("{s:s, s:O?, s:O?, s:O?, s:o}", "plan", text_or(doc, "id", "?"), "reason",
                     json_at(doc, "body.reason"), "steps", json_at(doc, "body.steps"), "predicted",
                     json_at(doc, "body.predicted"), "refused", refused);
}

/* ---- the plan ---- */

static int read_file(const char *path, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(plan_doc_freep) struct plan_doc *plan = NULL;
    size_t len;
    int rc = file_read(path, PLAN_MAX, &text, &len, err);
    if (rc == 0)
        rc = plan_doc_parse(text, len, &plan, err);
    if (rc < 0)
        return rc;
    bool whole = json_object_get(plan->json, "body") != NULL;
    *ret = whole ? json_incref(plan->json)
                 : json_pack("{s:s, s:O}", "id", plan->id, "body", plan->json);
    return 0;
}

static int get_plan(const struct cli *cli, json_t **ret, struct err *err)
{
    const char *plan = cli->operands[0];
    if (file_exists(plan)) {
        int rc = read_file(plan, ret, err);
        if (rc == 0 && cli->format != CLI_JSON)
            text_tidy_json(ret);
        return rc;
    }
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", plan);
    return cli_get(cli, path, ret, err);
}

int cmd_plan_explain(int argc, char **argv)
{
    const char *vm = NULL;
    const struct cli_option options[] = {{"vm", '\0', NULL, &vm}, {0}};
    struct cli cli = {.command = "plan explain", .help = explain_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO)
        return rc;
    if (!file_exists(cli.operands[0]) && (rc = cli_plan_id(&cli, cli.operands[0])) != 0)
        return rc;
    if (get_plan(&cli, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON) {
        _cleanup_json_ json_t *out = explain_json(doc, vm);
        cli_print_json(out);
        return 0;
    }
    printf("plan %s: %s\n", text_or(doc, "id", "?"), text_or(doc, "body.reason", "-"));
    if (json_array_size(json_at(doc, "body.steps")) == 0)
        printf("there is nothing to do\n");
    explain_moves(doc, vm);
    plan_view_refusals(stdout, doc, vm);
    return 0;
}
