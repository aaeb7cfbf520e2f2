/* What was proposed before and waits for its approval. */
#include "planner/worker/waiting.h"

#include "proto/canon.h"

int waiting_moves(const struct evaluation *e, struct planner_move **ret)
{
    const char *text = e->model->decision_state_json;
    _cleanup_json_ json_t *doc = text != NULL ? json_loads(text, 0, NULL) : NULL;
    json_t *plan, *move;
    size_t i, k;
    int n = 0;
    *ret = NULL;
    json_array_foreach(json_object_get(doc, "waiting"), i, plan)
    {
        const char *policy = json_string_value(json_object_get(plan, "policy"));
        json_t *moves = json_object_get(plan, "moves");
        if (policy == NULL || strcmp(policy, e->policy.name) != 0 || n > 0)
            continue;
        *ret = xcalloc(json_array_size(moves), sizeof **ret);
        json_array_foreach(moves, k, move)
        {
            const char *vm = json_string_value(json_object_get(move, "vm"));
            const char *to = json_string_value(json_object_get(move, "to"));
            struct planner_move m = {vm != NULL ? model_find_vm(e->model, vm) : MODEL_NONE,
                                     to != NULL ? model_find_host(e->model, to) : MODEL_NONE};
            if (m.vm == MODEL_NONE || m.to == MODEL_NONE || !e->candidate[m.vm])
                return 0;
            (*ret)[n++] = m;
        }
    }
    return n;
}

/* How much of what must leave stays, over all sources. */
static int64_t relief_missing(const struct evaluation *e, const struct planner_result *r)
{
    int64_t missing = 0;
    for (int i = 0; i < e->n_sources && e->host_relief != NULL; i++) {
        int64_t left = e->host_relief[e->sources[i]];
        for (int k = 0; k < r->n_actions; k++)
            if (r->actions[k].type == PLAN_MIGRATE && r->actions[k].from == e->sources[i])
                left = sat_sub(left, MAX(e->vm_load[r->actions[k].vm], (int64_t)0));
        missing = sat_add(missing, MAX(left, (int64_t)0));
    }
    return missing;
}

/* By the measure of the goal, does the old do no worse than the new? Balance may be worse by 2 %,
 * so that noise does not decide. */
bool waiting_is_as_good(const struct evaluation *e, const struct planner_result *old,
                        const struct planner_result *new)
{
    switch (e->objective.goal) {
    case PLANNER_RELIEVE:
        return relief_missing(e, old) <= relief_missing(e, new);
    case PLANNER_DRAIN:
        return old->n_actions >= new->n_actions;
    case PLANNER_CONSOLIDATE:
        return old->hosts_used_after <= new->hosts_used_after;
    case PLANNER_BALANCE:
        return old->imbalance_after <= sat_add(new->imbalance_after, 2000);
    case PLANNER_ENFORCE:
        return old->violations_after <= new->violations_after && old->n_actions <= new->n_actions;
    case PLANNER_RESTART:
    case PLANNER_MOVES:
        break;
    }
    return false;
}
