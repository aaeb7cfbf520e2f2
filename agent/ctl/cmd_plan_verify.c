/* skein plan verify: the independent checker's word on a plan. */
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_plan_offline.h"
#include "agent/ctl/cmd_policy.h"
#include "agent/ctl/whatif.h"
#include "planner/check/check.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

#define PLAN_MAX ((size_t)64 << 20)

static const char verify_help[] =
    "usage: skein plan verify --snapshot FILE [--policy FILE] [--at TIME] [-o json] PLAN\n"
    "\n"
    "Check with the independent checker that a plan is what its digest says, fits the snapshot, "
    "and\n"
    "keeps every hard rule and limit in each of its steps. Exit status 0: it is safe; 1: it is "
    "not,\n"
    "with the reasons.\n"
    "\n"
    "  --snapshot FILE  the snapshot that the plan was made from\n"
    "  --policy FILE    the policy that it must come from\n"
    "  --at TIME        judge holds as of this time (default: the snapshot's taken_at)\n"
    "  -o json          {ok, findings} instead of text\n"
    "\n"
    "A plan made with --fail, --add-host or --remove-rule (or with a policy and --drain or\n"
    "--drain-domain) wants the same here, or the snapshot that --save-snapshot wrote.\n"
    "\n"
    "Examples:\n"
    "  skein plan verify --snapshot now.json plan.json\n"
    "  skein plan verify --snapshot now.json --policy policies/thermal_relief.lua plan.json\n"
    "  skein plan verify --snapshot now.json --fail hv3 plan.json\n";

static const char *const verify_takes[] = {
    "snapshot", "policy", "at", "drain", "fail", "add-host", "remove-rule", "drain-domain", NULL};

static int report_json(const struct check_report *r, struct err *err)
{
    _cleanup_json_ json_t *doc = json_pack("{s:b, s:[]}", "ok", r->ok, "findings");
    _cleanup_(freep) char *text = NULL;
    for (int i = 0; i < r->n_findings; i++) {
        const struct check_finding *f = &r->findings[i];
        json_array_append_new(json_object_get(doc, "findings"),
                              json_pack("{s:i, s:s, s:s, s:s}", "step", f->step, "action",
                                        f->action, "code", f->code, "message", f->message));
    }
    int rc = canon_dump(doc, &text, NULL, err);
    if (rc == 0)
        puts(text);
    return rc;
}

static void report_text(const struct check_report *r)
{
    if (r->ok)
        printf("the plan is safe on this snapshot\n");
    for (int i = 0; i < r->n_findings; i++) {
        const struct check_finding *f = &r->findings[i];
        fprintf(stderr, "refused: %s: ", f->code);
        if (f->step >= 0)
            fprintf(stderr, "step %d%s%s: ", f->step + 1, f->action[0] != '\0' ? ", " : "",
                    f->action);
        fprintf(stderr, "%s\n", f->message);
    }
}

/* 1: not safe. */
static int verify(const struct plan_args *a, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL, *plan = NULL, *policy = NULL;
    size_t snapshot_len, plan_len, policy_len;
    char digest[HASH_HEX_SIZE];
    int rc = whatif_snapshot(a, &snapshot, &snapshot_len, err);
    if (rc == 0)
        rc = file_read(a->operands[0], PLAN_MAX, &plan, &plan_len, err);
    if (rc == 0 && a->policy != NULL)
        rc = file_read(a->policy, POLICY_MAX, &policy, &policy_len, err);
    if (rc < 0)
        return rc;
    struct check_options options = {.now = a->has_at ? a->at : QUANTITY_UNKNOWN};
    if (policy != NULL) {
        worker_policy_digest(policy, policy_len, digest);
        options.policy_digest = digest;
    }
    _cleanup_(check_report_freep) struct check_report *report = NULL;
    rc = plan_check(snapshot, snapshot_len, plan, plan_len, &options, &report, err);
    if (rc < 0)
        return rc;
    if (!a->json)
        report_text(report);
    else if ((rc = report_json(report, err)) < 0)
        return rc;
    return report->ok ? 0 : 1;
}

int cmd_plan_verify(int argc, char **argv)
{
    _cleanup_(plan_args_done) struct plan_args a = {.command = "plan verify", .help = verify_help};
    struct err err = {0};
    int rc = plan_args_parse(&a, argc, argv, verify_takes);
    if (rc != PLAN_ARGS_GO)
        return rc;
    if (a.n_operands != 1) {
        args_usage(a.command, a.n_operands == 0 ? "the plan is missing" : "one plan at a time");
        return 2;
    }
    rc = verify(&a, &err);
    return rc < 0 ? args_failed(&err) : rc;
}
