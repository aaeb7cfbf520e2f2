#include "agent/core/verify.h"

#include <stdio.h>

#include "agent/core/state.h"

static int check_permit_form(const Skein__Permit *p, struct err *err)
{
    if (p == NULL)
        return err_set(err, ERR_INVALID, "there is no permit");
    const char *const texts[] = {p->id, p->plan, p->digest, p->action, p->source, p->destination};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i] == NULL || texts[i][0] == '\0')
            return err_set(err, ERR_INVALID, "the permit is incomplete");
    if (p->expires_at_ms > INT64_MAX || p->issued_at_ms >= p->expires_at_ms ||
        p->expires_at_ms - p->issued_at_ms > STATE_PERMIT_MAX_MS)
        return err_set(err, ERR_INVALID, "permit %s: its times make no sense", p->id);
    return 0;
}

static int check_permit_time(const struct step *s, const Skein__Permit *p, struct err *err)
{
    msec wall = s->now.wall;
    if (wall >= (msec)p->expires_at_ms)
        return err_set(err, ERR_EXPIRED, "permit %s expired %lld ms ago", p->id,
                       (long long)(wall - (msec)p->expires_at_ms));
    if ((msec)p->issued_at_ms - wall > s->conf->clock_skew_limit)
        return err_set(err, ERR_DENIED, "permit %s was issued %lld ms in the future: clocks differ",
                       p->id, (long long)((msec)p->issued_at_ms - wall));
    return 0;
}

static int check_move(const struct plan_body *body, const char *digest, const Skein__Permit *p,
                      const struct plan_move **ret, struct err *err)
{
    if (strcmp(digest, p->digest) != 0 || strcmp(body->digest, p->digest) != 0 ||
        strcmp(body->id, p->plan) != 0)
        return err_set(err, ERR_DENIED, "permit %s is for plan %s (%.12s), the body is plan %s's",
                       p->id, p->plan, p->digest, body->id);
    const struct plan_move *move = plan_body_move(body, p->action);
    if (move == NULL)
        return err_set(err, ERR_DENIED, "plan %s has no action %s", body->id, p->action);
    if (!plan_move_permits(move, p->source, p->destination))
        return err_set(err, ERR_DENIED, "permit %s is from %s to %s, the action from %s to %s",
                       p->id, p->source, p->destination, move->from, move->to);
    *ret = move;
    return 0;
}

/* The VM as its host sees it; tags that are not known must not open a gate that asks for them. */
static int find_facts(const struct step *s, const struct plan_body *body,
                      const Skein__Permit *permit, const struct verify_vm *known,
                      struct gate_facts *ret, struct err *err)
{
    const struct gate_rules *rules = trust_gates(s->conf->trust);
    const struct plan_move *move = plan_body_move(body, permit->action);
    const struct view_host *host;
    *ret = (struct gate_facts){.vm = known->vm};
    if (move != NULL && plan_move_is_power(move))
        return 0;
    if (ret->vm == NULL && known->view != NULL && move != NULL)
        ret->vm = view_vm(known->view, move->uuid, &host);
    for (size_t i = 0; rules != NULL && ret->vm == NULL && i < rules->n; i++)
        if (rules->rules[i].n_tags > 0)
            return err_set(err, ERR_UNAVAILABLE,
                           "plan %s: gate rule %s asks for tags of a VM that is not known here",
                           body->id, rules->rules[i].name);
    return 0;
}

int verify_action(const struct step *s, const ProtobufCBinaryData *body,
                  const ProtobufCBinaryData *approvals, size_t n_approvals,
                  const Skein__Permit *permit, const struct verify_vm *vm,
                  struct gate_verdict *ret_verdict, struct plan_body **ret_body,
                  const struct plan_move **ret_move, struct err *err)
{
    char digest[HASH_HEX_SIZE];
    struct gate_verdict verdict = {0};
    struct gate_facts facts;
    _cleanup_(plan_body_freep) struct plan_body *parsed = NULL;
    const struct plan_move *move = NULL;
    int rc = check_permit_form(permit, err);
    if (rc < 0 || (rc = plan_body_parse(body->data, body->len, &parsed, err)) < 0 ||
        (rc = find_facts(s, parsed, permit, vm, &facts, err)) < 0)
        return rc;
    rc = gate_check(s->conf->trust, s->conf->cluster_uuid, body->data, body->len, approvals,
                    n_approvals, &facts, s->now.wall, digest, &verdict, err);
    if (ret_verdict != NULL)
        *ret_verdict = verdict;
    if (rc < 0)
        return rc;
    if (!verdict.open)
        return err_set(err, ERR_DENIED, "the gate is not open");
    rc = check_move(parsed, digest, permit, &move, err);
    if (rc < 0)
        return rc;
    rc = check_permit_time(s, permit, err);
    if (rc < 0)
        return rc;
    /* That it began within a window is what the voters' majority says with the permit. */
    rc = gate_when(trust_gates(s->conf->trust), &facts, parsed, true, s->now.wall, err);
    if (rc < 0)
        return rc;
    *ret_move = move;
    *ret_body = TAKE_PTR(parsed);
    return 0;
}

msec verify_start_by(const struct step *s, const Skein__Permit *permit)
{
    msec left = (msec)permit->expires_at_ms - s->now.wall;
    msec life = (msec)(permit->expires_at_ms - permit->issued_at_ms);
    return s->now.mono + MIN(left, life);
}

void verify_refused(struct verify_refusals *r, struct step *s, const char *event, const char *from,
                    const Skein__Permit *permit, const struct err *err)
{
    const char *id = permit != NULL && permit->id != NULL ? permit->id : "";
    char key[sizeof r->seen[0]];
    snprintf(key, sizeof key, "%.40s %.20s %.32s", id, err_name(err->code), from);
    for (size_t i = 0; i < VERIFY_REFUSALS; i++)
        if (strcmp(r->seen[i], key) == 0)
            return;
    memcpy(r->seen[r->next++ % VERIFY_REFUSALS], key, sizeof key);
    const char *plan = permit != NULL && permit->plan != NULL ? permit->plan : "";
    const char *action = permit != NULL && permit->action != NULL ? permit->action : "";
    effect_audit(s, event, "{s:s, s:s, s:s, s:s, s:s, s:s}", "plan", plan, "action", action,
                 "permit", id, "from", from, "code", err_name(err->code), "reason", err->msg);
}

void verify_ask(struct step *s, enum owner owner, const char *host, Skein__Request *request,
                uint64_t *token)
{
    if (*token == 0) {
        *token = effect_request(s, owner, host, request);
        return;
    }
    request->has_id = 1;
    request->id = *token;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = request;
    effect_send(s, host, &frame);
}
