/* skein policy diff: what a changed policy would do otherwise on a snapshot. */
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static json_t *moves_of(const json_t *steps)
{
    json_t *moves = json_array();
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *actions = json_object_get(json_array_get(steps, i), "actions");
        for (size_t k = 0; k < json_array_size(actions); k++) {
            const json_t *a = json_array_get(actions, k);
            json_array_append_new(
                moves, json_pack("{s:s, s:O?, s:s, s:s, s:s}", "vm", text_of(a, "vm"), "uuid",
                                 json_object_get(a, "uuid"), "from", text_of(a, "from"), "to",
                                 text_of(a, "to"), "reason", text_of(a, "reason")));
        }
    }
    return moves;
}

/* {"reason": text, "moves": [{vm, uuid, from, to, reason}]} of one policy. */
static int run(const char *path, const char *snapshot, size_t len, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *policy = NULL;
    struct worker_request req = {.power = true,
                                 .task = WORKER_PLAN,
                                 .policy_name = path,
                                 .snapshot = snapshot,
                                 .snapshot_len = len};
    int rc = file_read(path, POLICY_MAX, &policy, &req.policy_len, err);
    if (rc < 0)
        return rc;
    req.policy = policy;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    rc = worker_run(&req, &r, err);
    if (rc < 0)
        return rc;
    *ret = json_pack("{s:s, s:o}", "reason", text_of(r.body, "reason"), "moves",
                     moves_of(json_object_get(r.body, "steps")));
    return 0;
}

static bool has_move(const json_t *moves, const json_t *m)
{
    size_t i;
    json_t *x;
    json_array_foreach(moves, i, x)
    {
        if (json_equal(json_object_get(x, "uuid"), json_object_get(m, "uuid")) &&
            strcmp(text_of(x, "vm"), text_of(m, "vm")) == 0 &&
            strcmp(text_of(x, "to"), text_of(m, "to")) == 0)
            return true;
    }
    return false;
}

/* The moves of `of` that `in` has too (both), or has not. */
static json_t *pick(const json_t *of, const json_t *in, bool both)
{
    json_t *out = json_array(), *m;
    size_t i;
    json_array_foreach(json_object_get(of, "moves"), i, m)
    {
        if (has_move(json_object_get(in, "moves"), m) == both)
            json_array_append(out, m);
    }
    return out;
}

static void print_moves(const char *sign, const json_t *moves)
{
    size_t i;
    json_t *m;
    json_array_foreach(moves, i, m)
    {
        printf("%s %s  %s -> %s  %s\n", sign, text_of(m, "vm"), text_of(m, "from"),
               text_of(m, "to"), text_of(m, "reason"));
    }
}

static int diff(const struct policy_options *o, char **paths, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL;
    _cleanup_json_ json_t *old = NULL, *new = NULL, *doc = NULL;
    size_t len;
    int rc = file_read(o->snapshot, SNAPSHOT_MAX, &snapshot, &len, err);
    if (rc == 0)
        rc = run(paths[0], snapshot, len, &old, err);
    if (rc == 0)
        rc = run(paths[1], snapshot, len, &new, err);
    if (rc < 0)
        return rc;
    doc = json_pack("{s:s, s:s, s:o, s:o, s:o}", "old_reason", text_of(old, "reason"), "new_reason",
                    text_of(new, "reason"), "removed", pick(old, new, false), "added",
                    pick(new, old, false), "kept", pick(new, old, true));
    if (o->json)
        return policy_print_json(doc, err);
    printf("old: %s\nnew: %s\n", text_of(doc, "old_reason"), text_of(doc, "new_reason"));
    print_moves("-", json_object_get(doc, "removed"));
    print_moves("+", json_object_get(doc, "added"));
    print_moves(" ", json_object_get(doc, "kept"));
    return 0;
}

int cmd_policy_diff(int argc, char **argv)
{
    struct policy_options o = {0};
    struct err err = {0};
    int rc = policy_parse("policy diff", argc, argv, &o);
    if (rc == 0 && o.snapshot == NULL)
        rc = args_usage("policy diff", "--snapshot is missing");
    else if (rc == 0 && argc - optind != 2)
        rc = args_usage("policy diff", "it wants two policies' files, the old and the new");
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return diff(&o, argv + optind, &err) < 0 ? args_failed(&err) : 0;
}
