/* duty_hear.c - what hosts say of a running plan's actions: answers, reports, progress. */
#include <stdio.h>

#include "agent/core/duty_priv.h"

#define PENDING SKEIN__ACTION_STATE__ACTION_PENDING
#define PERMITTED SKEIN__ACTION_STATE__ACTION_PERMITTED
#define RUNNING SKEIN__ACTION_STATE__ACTION_RUNNING
#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED
#define UNKNOWN SKEIN__ACTION_STATE__ACTION_UNKNOWN
#define NEEDS_OPERATOR SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR

/* The source knows nothing of the action. Only where nobody ever heard of its start does that,
 * asked after the permit's end, mean that it will not start; else the source has forgotten. */
static void hear_not_started(struct run *r, Skein__ActionState state, bool final)
{
    if (state == PERMITTED && final)
        r->not_started = true;
    else if (state == RUNNING || state == UNKNOWN)
        r->lost = true;
}

/* What hypervisors and networks recover from. Not a refusal, nor a time that was too short. */
static bool may_recover(const char *code)
{
    enum err_code c = code != NULL ? err_from_name(code) : ERR_OK;
    return c == ERR_UNAVAILABLE || c == ERR_HYPERVISOR || c == ERR_UNKNOWN || c == ERR_IO;
}

/* An attempt that failed on the way and left the VM where it was is not the action's end, as long
 * as there are attempts left: the action waits for another permit. */
static void return_instead(const struct plan *p, const struct plan_item *item,
                           Skein__ActionReport *report)
{
    bool again = report->state == FAILED && may_recover(report->code) && item->permit != NULL &&
                 item->permit->attempt < DUTY_ATTEMPTS && report->permit != NULL &&
                 (p->state == SKEIN__PLAN_STATE__PLAN_ONGOING ||
                  p->state == SKEIN__PLAN_STATE__PLAN_PAUSED) &&
                 plan_report_allowed(plan_item_state(item), PENDING);
    if (again)
        report->state = PENDING;
}

static void hear_report(struct duty *d, struct step *s, const struct plan *p,
                        const struct plan_item *item, struct run *r, bool final, const char *host,
                        const Skein__ActionReport *report)
{
    Skein__ActionState now = plan_item_state(item);
    if (!report->has_state || report->plan == NULL || report->action == NULL ||
        strcmp(report->plan, r->plan) != 0 || strcmp(report->action, r->action) != 0 ||
        plan_report_is_stale(item, report) || plan_item_returned(item))
        return;
    if (report->state == PENDING) {
        hear_not_started(r, now, final);
        return;
    }
    r->lost = r->not_started = false;
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, r->plan, r->action);
    if (report->state == now || !plan_report_allowed(now, report->state) || duty_busy(d, key))
        return;
    Skein__ActionReport copy = *report;
    copy.reporter = (char *)host;
    return_instead(p, item, &copy);
    duty_propose_report(d, s, &copy);
}

static bool is_final_refusal(enum err_code code)
{
    return code == ERR_DENIED || code == ERR_INVALID || code == ERR_INCOMPATIBLE ||
           code == ERR_UNSUPPORTED || code == ERR_UNAUTHENTICATED;
}

static void hear_source(struct duty *d, struct step *s, const struct plan *p,
                        const struct plan_item *item, struct run *r, bool final, const char *host,
                        const Skein__Reply *reply)
{
    r->answered = s->now.mono;
    if (reply->code != NULL && reply->code[0] != '\0') {
        err_set(&r->err, err_from_name(reply->code), "%s: %s", host,
                reply->message != NULL ? reply->message : "refused");
        r->stop = r->stop || is_final_refusal(r->err.code);
        effect_trace(s, "duty: %s/%s: %s", r->plan, r->action, r->err.msg);
    } else if (reply->kind_case == SKEIN__REPLY__KIND_REPORT) {
        hear_report(d, s, p, item, r, final, host, reply->report);
    }
}

static void hear_seen(struct side *side, const Skein__Reply *reply)
{
    *side = (struct side){0};
    if (reply->kind_case != SKEIN__REPLY__KIND_SEEN)
        return;
    const Skein__VmSeen *seen = reply->seen;
    bool incoming = seen->has_state && seen->state == SKEIN__VM_STATE__VM_INCOMING;
    side->known = seen->has_present;
    side->present = seen->present;
    side->running = seen->has_state && seen->state == SKEIN__VM_STATE__VM_RUNNING;
    side->persistent = seen->persistent;
    side->job = seen->job || incoming;
}

static bool acts(const struct plan_item *i, const char *host)
{
    const char *actor = duty_actor(i);
    return actor != NULL && strcmp(host, actor) == 0;
}

/* Has it a part in this action? A host that was asked before to wake another may still report. */
static bool may_report(const struct plan_item *i, const char *host)
{
    return acts(i, host) || strcmp(host, i->move->from) == 0 || strcmp(host, i->move->to) == 0 ||
           i->move->type == PLAN_WAKE;
}

static const struct asked *find_asked(const struct run *r, uint64_t token)
{
    for (size_t i = 0; i < DUTY_ASKED; i++)
        if (r->asked[i].token == token)
            return &r->asked[i];
    return NULL;
}

void duty_reply(struct duty *d, struct step *s, const struct state *state, const char *host,
                const Skein__Reply *reply)
{
    if (!d->leads || !reply->has_id || reply->id == 0)
        return;
    for (size_t i = 0; i < d->n_runs; i++) {
        struct run *r = &d->runs[i];
        const struct plan *p = state_plan(state, r->plan);
        const struct plan_item *item = p != NULL ? plan_item(p, r->action) : NULL;
        if (item == NULL)
            continue;
        if (reply->id == r->to.token && strcmp(host, item->move->to) == 0)
            hear_seen(&r->to, reply);
        else if (reply->id == r->from.token && strcmp(host, item->move->from) == 0)
            hear_seen(&r->from, reply);
        else if (acts(item, host)) {
            const struct asked *asked = find_asked(r, reply->id);
            if (asked != NULL)
                hear_source(d, s, p, item, r, asked->final, host, reply);
        }
    }
}

/* Is there something in this report that the state would take? Else there is nothing more to say
 * of the action, and the source must not repeat it for ever. */
static bool is_news(struct step *s, const struct plan *p, const struct plan_item *item,
                    const Skein__ActionReport *report)
{
    Skein__ActionState now = plan_item_state(item);
    if (!report->has_state || report->state == now || report->state == PENDING ||
        report->state == PERMITTED || plan_report_is_stale(item, report) ||
        (plan_item_returned(item) && report->state == FAILED))
        return false;
    if (plan_report_allowed(now, report->state))
        return plan_state_running(p->state) || now == NEEDS_OPERATOR;
    /* A host was seen asleep: what it says since is of another time. */
    if (plan_move_is_power(item->move))
        return false;
    effect_audit(s, "report.conflict", "{s:s, s:s, s:s, s:s, s:s?}", "plan", p->body->id, "action",
                 item->move->id, "known", plan_action_name(now), "reported",
                 plan_action_name(report->state), "reason", report->message);
    return false;
}

void duty_report(struct duty *d, struct step *s, const struct state *state, const char *host,
                 uint64_t id, const Skein__ActionReport *report)
{
    struct err err = {0};
    if (!d->leads) {
        err_set(&err, ERR_NOT_LEADER, "%s plans", d->leader[0] != '\0' ? d->leader : "nobody");
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    const struct plan *p =
        report->plan != NULL && report->action != NULL ? state_plan(state, report->plan) : NULL;
    const struct plan_item *item = p != NULL ? plan_item(p, report->action) : NULL;
    if (item == NULL) {
        effect_trace(s, "duty: %s reports an action that is not known", host);
        effect_reply(s, host, id, NULL, NULL);
        return;
    }
    if (!may_report(item, host)) {
        err_set(&err, ERR_DENIED, "%s has no part in action %s", host, report->action);
        effect_audit(s, "report.refused", "{s:s, s:s, s:s}", "plan", p->body->id, "action",
                     item->move->id, "who", host);
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    struct run *r = duty_run(d, p->body->id, report->action);
    if (r != NULL && acts(item, host))
        r->answered = s->now.mono;
    char key[DUTY_KEY_SIZE];
    duty_action_key(key, p->body->id, report->action);
    if (!is_news(s, p, item, report)) {
        bool stop = p->state == SKEIN__PLAN_STATE__PLAN_CANCELLING && plan_item_live(item);
        if (stop)
            err_set(&err, ERR_CANCELLED, "plan %s is being cancelled", p->body->id);
        effect_reply(s, host, id, NULL, &err);
        return;
    }
    if (duty_busy(d, key))
        return; /* it will be repeated, and then there is an answer */
    Skein__ActionReport copy = *report;
    copy.plan = p->body->id;
    copy.reporter = (char *)host;
    return_instead(p, item, &copy);
    struct proposal *proposal = duty_propose_report(d, s, &copy);
    snprintf(proposal->reply_host, sizeof proposal->reply_host, "%s", host);
    proposal->reply_id = id;
}

void duty_progress(struct duty *d, struct step *s, const struct state *state, const char *host,
                   const Skein__Progress *progress)
{
    struct run *r = duty_run(d, progress->plan, progress->action);
    const struct plan *p = r != NULL ? state_plan(state, r->plan) : NULL;
    const struct plan_item *item = p != NULL ? plan_item(p, r->action) : NULL;
    if (item == NULL || !d->leads || !acts(item, host))
        return;
    r->answered = s->now.mono;
    if (r->progress != NULL)
        skein__progress__free_unpacked(r->progress, NULL);
    r->progress = (Skein__Progress *)codec_copy(&progress->base);
}

const Skein__Progress *duty_progress_of(const struct duty *d, const char *plan, const char *action)
{
    const struct run *r = duty_run((struct duty *)d, plan, action);
    return r != NULL ? r->progress : NULL;
}
