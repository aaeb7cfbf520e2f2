#include "agent/ctl/wait.h"

#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define WAIT_MAX_S (7 * 86400)

static int limit_of(const struct wait_args *args, int *ret, struct err *err)
{
    *ret = 0;
    return args->seconds != NULL ? args_number("--wait", args->seconds, WAIT_MAX_S, ret, err) : 0;
}

int wait_check(const struct cli *cli, const struct wait_args *args)
{
    struct err err;
    int seconds;
    return limit_of(args, &seconds, &err) < 0 ? cli_usage(cli, "%s", err.msg) : 0;
}

int wait_for_plan(const struct cli *cli, const char *id, const struct wait_args *args)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err;
    int seconds;
    bool json = cli->format == CLI_JSON;
    if (limit_of(args, &seconds, &err) < 0 ||
        plan_follow(cli, id, json ? stderr : stdout, (msec)seconds * 1000, &doc, &err) < 0)
        return cli_failed(&err);
    if (json)
        cli_print_json(doc);
    const char *state = text_or(doc, "state", "?");
    if (strcmp(state, "SUCCEEDED") == 0)
        return 0;
    err_set(&err, strcmp(state, "CANCELLED") == 0 ? ERR_CANCELLED : ERR_CONFLICT,
            "plan %s ended as %s%s%s; try: skein report %s", id, state,
            text_at(doc, "state_reason") != NULL ? ": " : "", text_or(doc, "state_reason", ""), id);
    return cli_failed(&err);
}

int wait_answered(const struct cli *cli, const json_t *answer, bool approval,
                  const struct wait_args *args)
{
    struct err err = {0};
    const char *plan = text_or(answer, "plan", "");
    if (plan[strspn(plan, "0123456789abcdef")] != '\0' || plan[0] == '\0') {
        err_set(&err, ERR_INTERNAL, "the agent's answer names no plan");
        return cli_failed(&err);
    }
    if (cli->format == CLI_JSON && !args->given)
        cli_print_json(answer);
    else if (cli->format != CLI_JSON)
        puts(plan);
    if (approval)
        fprintf(stderr, "the plan waits for an approval; try: skein plan show %s\n", plan);
    return args->given ? wait_for_plan(cli, plan, args) : 0;
}
