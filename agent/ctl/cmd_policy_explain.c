/* skein policy explain: why a VM may not go to a host, or how good it would be there. */
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

static void print_pair(const json_t *p)
{
    const char *code = json_string_value(json_object_get(p, "code"));
    const char *message =
        json_string_value(json_object_get(p, code != NULL ? "message" : "reason"));
    const char *relax = json_string_value(json_object_get(p, "relax"));
    printf("%s -> %s  ", json_string_value(json_object_get(p, "vm")),
           json_string_value(json_object_get(p, "host")));
    if (code != NULL)
        printf("refused: %s: %s", code, message != NULL ? message : "");
    else
        printf("score %.1f%s%s", (double)canon_to_milli(json_object_get(p, "score")) / 1000,
               message != NULL ? ": " : "", message != NULL ? message : "");
    if (relax != NULL)
        printf(" (%s)", relax);
    printf("\n");
}

static int explain(const struct policy_options *o, char **argv, int n, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL, *policy = NULL;
    struct worker_request req = {.task = WORKER_PLAN,
                                 .policy_name = argv[0],
                                 .explain_vm = argv[1],
                                 .explain_host = n > 2 ? argv[2] : NULL};
    int rc = file_read(o->snapshot, SNAPSHOT_MAX, &snapshot, &req.snapshot_len, err);
    if (rc == 0)
        rc = file_read(argv[0], POLICY_MAX, &policy, &req.policy_len, err);
    if (rc < 0)
        return rc;
    req.snapshot = snapshot;
    req.policy = policy;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    rc = worker_run(&req, &r, err);
    if (rc < 0 || o->json)
        return rc < 0 ? rc : policy_print_json(r.pairs, err);
    size_t i;
    json_t *p;
    printf("%s\n", json_string_value(json_object_get(r.body, "reason")));
    json_array_foreach(r.pairs, i, p)
    {
        print_pair(p);
    }
    return 0;
}

int cmd_policy_explain(int argc, char **argv)
{
    struct policy_options o = {0};
    struct err err = {0};
    int rc = policy_parse("policy explain", argc, argv, &o);
    if (rc == 0 && o.snapshot == NULL)
        rc = args_usage("policy explain", "--snapshot is missing");
    else if (rc == 0 && (argc - optind < 2 || argc - optind > 3))
        rc = args_usage("policy explain", "it wants a policy's file, a VM and perhaps a host");
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return explain(&o, argv + optind, argc - optind, &err) < 0 ? args_failed(&err) : 0;
}
