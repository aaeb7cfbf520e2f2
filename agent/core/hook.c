#include "agent/core/hook.h"

#include <stdio.h>

static json_t *move_json(const struct plan_move *m, const struct view *view)
{
    const struct view_host *host;
    const Skein__VmDetail *vm = view_vm(view, m->uuid, &host);
    return json_pack("{s:s, s:s, s:s, s:s*, s:s, s:s}", "action", m->id, "vm", m->vm, "uuid",
                     m->uuid, "owner", vm != NULL ? vm->owner : NULL, "from", m->from, "to", m->to);
}

static json_t *moves_json(const struct plan_body *body, const struct plan_move *move,
                          const struct view *view)
{
    json_t *list = json_array();
    for (size_t i = 0; i < body->n_moves; i++)
        if (move == NULL || move == &body->moves[i])
            json_array_append_new(list, move_json(&body->moves[i], view));
    return list;
}

char *hook_questions(const struct node_conf *conf, const struct gate_rules *rules,
                     const struct gate_facts *facts, const struct plan_body *body,
                     const struct plan_move *move, const struct view *view)
{
    json_t *list = json_array();
    for (size_t i = 0; rules != NULL && i < rules->n; i++) {
        const struct gate_rule *r = &rules->rules[i];
        if (r->hook == NULL || (move == NULL && r->notice == 0) ||
            !gate_rule_concerns(r, body, facts))
            continue;
        json_t *question = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "schema",
                                     "skein.hook/1", "event", move != NULL ? "move" : "notice",
                                     "cluster", conf->cluster, "host", conf->host, "rule", r->name,
                                     "plan", body->id, "digest", body->digest, "class", body->class,
                                     "policy", body->policy, "moves", moves_json(body, move, view));
        json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "hook", r->hook, "seconds",
                                              (json_int_t)(r->hook_patience / 1000), "question",
                                              question));
    }
    char *text = json_array_size(list) > 0 ? json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(list);
    return text;
}

struct hv_job hook_job(char *questions, const struct plan_move *move)
{
    struct hv_job job = {.kind = HV_ASK, .questions = questions};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", move->uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", move->vm);
    return job;
}
