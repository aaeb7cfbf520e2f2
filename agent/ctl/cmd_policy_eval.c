/* skein policy eval: one run of a policy, looked at from inside: what its hooks were asked and
 * said. */
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "agent/ctl/plan_args.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

static const char help[] =
    "usage: skein policy eval --snapshot FILE --policy FILE [--at TIME] [--seed N]\n"
    "                         [--param NAME=VALUE]... [--lua-ms N] [-o json]\n"
    "\n"
    "One run of a policy over a snapshot, looked at from inside: what its trigger said, how often\n"
    "each hook was asked and failed, what it noted and printed, and how many moves came of it. "
    "The\n"
    "plan itself is `skein plan make`'s, why one VM may not go somewhere `skein policy "
    "explain`'s.\n"
    "\n"
    "Examples:\n"
    "  skein policy eval --snapshot now.json --policy policies/balance.lua\n"
    "  skein policy eval --snapshot now.json --policy mine.lua --at 2026-11-23T02:00:00Z -o json\n";

static long count_actions(const json_t *body)
{
    long n = 0;
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        n += (long)json_array_size(json_object_get(step, "actions"));
    }
    return n;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static void print_hooks(const json_t *health)
{
    const char *name;
    json_t *h;
    json_object_foreach(json_object_get(health, "hooks"), name, h)
    {
        long long calls = json_integer_value(json_object_get(h, "calls"));
        long long errors = json_integer_value(json_object_get(h, "errors"));
        if (calls == 0)
            continue;
        printf("hook     %-10s asked %lld times", name, calls);
        if (errors > 0)
            printf(", failed %lld times: %s", errors, text_of(h, "last_error"));
        printf("\n");
    }
}

static void print_notes(const json_t *notes)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)notes, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("note     %s = %s\n", key, text);
        free(text);
    }
}

static void print_lines(const char *what, const json_t *lines)
{
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line)
    {
        printf("%-8s %s\n", what, json_string_value(line));
    }
}

static void print_text(const struct worker_result *r)
{
    printf("policy   %s (class %s, goal %s)\n", text_of(r->manifest, "name"),
           text_of(r->manifest, "class"), text_of(r->manifest, "goal"));
    printf("reason   %s\n", text_of(r->body, "reason"));
    printf("plan     %ld actions in %zu steps, %zu refusals\n", count_actions(r->body),
           json_array_size(json_object_get(r->body, "steps")),
           json_array_size(json_object_get(r->body, "refused")));
    if (json_array_size(r->approvals) > 0)
        printf("waits    %zu actions want an approver's word besides\n",
               json_array_size(r->approvals));
    print_hooks(r->health);
    print_notes(r->notes);
    print_lines("printed", r->log);
    print_lines("warning", r->warnings);
}

static int print_json(const struct worker_result *r, struct err *err)
{
    _cleanup_json_ json_t *doc = json_pack(
        "{s:O?, s:s, s:I, s:I, s:I, s:O?, s:O?, s:O?, s:O?, s:O?}", "policy", r->manifest, "reason",
        text_of(r->body, "reason"), "actions", (json_int_t)count_actions(r->body), "steps",
        (json_int_t)json_array_size(json_object_get(r->body, "steps")), "refusals",
        (json_int_t)json_array_size(json_object_get(r->body, "refused")), "health", r->health,
        "notes", r->notes, "printed", r->log, "warnings", r->warnings, "approvals_required",
        r->approvals);
    return policy_print_json(doc, err);
}

static int eval(const struct plan_args *a, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL, *policy = NULL, *params = NULL;
    struct worker_request req;
    size_t len;
    int rc = file_read(a->snapshot, SNAPSHOT_MAX, &snapshot, &len, err);
    if (rc == 0)
        rc = plan_args_policy(a, &req, &policy, &params, err);
    if (rc < 0)
        return rc;
    req.snapshot = snapshot;
    req.snapshot_len = len;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    rc = worker_run(&req, &r, err);
    if (rc == 0 && a->json)
        rc = print_json(&r, err);
    else if (rc == 0)
        print_text(&r);
    return rc;
}

int cmd_policy_eval(int argc, char **argv)
{
    static const char *const take[] = {"snapshot", "policy", "at",     "seed",
                                       "param",    "lua-ms", "output", NULL};
    _cleanup_(plan_args_done) struct plan_args a = {.command = "policy eval", .help = help};
    struct err err = {0};
    int status = plan_args_parse(&a, argc, argv, take);
    if (status != PLAN_ARGS_GO)
        return status;
    if (a.policy == NULL && a.n_operands == 1)
        a.policy = a.operands[0];
    else if (a.n_operands > 0 || a.policy == NULL)
        return args_usage(a.command, "it wants one policy's file"), 2;
    if (a.snapshot == NULL)
        return args_usage(a.command, "--snapshot is missing"), 2;
    return eval(&a, &err) < 0 ? args_failed(&err) : 0;
}
