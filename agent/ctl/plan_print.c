/* plan_print.c - a plan read from a file, for people. */
#include <stdio.h>

#include "agent/ctl/cmd_plan_offline.h"
#include "proto/util.h"

static void print_action(FILE *to, const struct plan_action *a)
{
    if (a->host != NULL) {
        fprintf(to, "    %s %s: %s\n", plan_action_type_name(a->type), a->host, a->reason);
        return;
    }
    fprintf(to, "    %s %s  %s -> %s  (about %lld s, pause %lld ms, %lld MiB)\n",
            plan_action_type_name(a->type), a->vm, a->from != NULL ? a->from : "-",
            a->type == PLAN_SHUTDOWN || a->type == PLAN_SUSPEND ? "(stays)"
            : a->to != NULL                                     ? a->to
                                                                : "-",
            (long long)((a->estimate.ms + 999) / 1000), (long long)a->estimate.downtime_ms,
            (long long)a->estimate.mib);
    if (a->reason != NULL && a->reason[0] != '\0')
        fprintf(to, "        %s\n", a->reason);
}

static void print_refused(FILE *to, const json_t *r)
{
    const char *vm = json_string_value(json_object_get(r, "vm"));
    const char *host = json_string_value(json_object_get(r, "host"));
    const char *code = json_string_value(json_object_get(r, "code"));
    const char *message = json_string_value(json_object_get(r, "message"));
    const char *relax = json_string_value(json_object_get(json_object_get(r, "relax"), "text"));
    fprintf(to, "    %s%s%s  %s: %s", vm != NULL ? vm : "",
            vm != NULL && host != NULL ? " -> " : "", host != NULL ? host : "",
            code != NULL ? code : "?", message != NULL ? message : "");
    if (relax != NULL && relax[0] != '\0')
        fprintf(to, " (%s)", relax);
    fputc('\n', to);
}

void plan_print(FILE *to, const struct plan_doc *plan)
{
    fprintf(to, "plan %s by %s (%s): %s\n", plan->id,
            plan->policy_name != NULL ? plan->policy_name : "hand", plan->class, plan->reason);
    if (plan->n_actions == 0)
        fprintf(to, "  nothing to do\n");
    for (int i = 0; i < plan->n_actions; i++) {
        if (i == 0 || plan->actions[i].step != plan->actions[i - 1].step)
            fprintf(to, "  step %d\n", plan->actions[i].step + 1);
        print_action(to, &plan->actions[i]);
    }
    const json_t *refused = json_object_get(plan->body, "refused");
    if (json_array_size(refused) > 0)
        fprintf(to, "  refused\n");
    for (size_t i = 0; i < json_array_size(refused); i++)
        print_refused(to, json_array_get(refused, i));
}
