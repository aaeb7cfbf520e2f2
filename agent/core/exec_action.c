/* exec_action.c - one action: its state, its journal and audit, what is told of it, its ends. */
#include <stdio.h>

#include "agent/core/exec_action.h"

static const struct {
    const char *name;
    Skein__ActionState told;
} states[] = {

#define X(name, action) [EXEC_##name] = {#name, SKEIN__ACTION_STATE__##action},
    EXEC_STATES(X)
#undef X
};

#define TO(state) (1u << EXEC_##state)

static const unsigned allowed[EXEC_STATE_COUNT] = {
    [EXEC_CONFIRM] = TO(LOOK),
    [EXEC_LOOK] = TO(PRECHECK) | TO(ANNOUNCE) | TO(RUNNING) | TO(SETTLE) | TO(UNDONE),
    [EXEC_ANNOUNCE] = TO(RUNNING) | TO(UNDONE),
    [EXEC_PRECHECK] = TO(RESERVE) | TO(UNDONE),
    [EXEC_RESERVE] = TO(RUNNING) | TO(UNDONE),
    [EXEC_RUNNING] = TO(SETTLE),
    [EXEC_ADOPTED] = TO(SETTLE),
    [EXEC_SETTLE] = TO(ADOPTED) | TO(TIDY) | TO(DONE) | TO(UNDONE) | TO(NEEDS_OPERATOR),
    [EXEC_TIDY] = TO(DONE),
    [EXEC_DONE] = 0,
    [EXEC_UNDONE] = 0,
    [EXEC_NEEDS_OPERATOR] = 0,
};

const char *exec_state_name(enum exec_state state)
{
    REQUIRE(state < EXEC_STATE_COUNT);
    return states[state].name;
}

bool exec_transition_allowed(enum exec_state from, enum exec_state to)
{
    return from < EXEC_STATE_COUNT && to < EXEC_STATE_COUNT && (allowed[from] & (1u << to)) != 0;
}

bool action_is_terminal(const struct action *a)
{
    return a->state == EXEC_DONE || a->state == EXEC_UNDONE || a->state == EXEC_NEEDS_OPERATOR;
}

bool action_has_started(const struct action *a)
{
    return a->record->state == SKEIN__JOURNAL_STATE__JOURNAL_STARTED ||
           a->record->state == SKEIN__JOURNAL_STATE__JOURNAL_FINISHED;
}

void action_goto(struct action *a, struct step *s, enum exec_state to, const char *why)
{
    REQUIRE(exec_transition_allowed(a->state, to));
    effect_trace(s, "exec %s/%s: %s -> %s: %s", a->record->plan, a->record->action,
                 states[a->state].name, states[to].name, why);
    a->state = to;
    a->since_mono = s->now.mono;
    a->retry_mono = s->now.mono;
    a->job = 0;
    a->request = 0;
}

static void journal_key(const struct action *a, char *ret, size_t size)
{
    snprintf(ret, size, "source:%s/%s", a->record->plan, a->record->action);
}

void action_journal(struct action *a, struct step *s, Skein__JournalState state)
{
    char key[2 * HV_NAME_MAX + 32];
    journal_key(a, key, sizeof key);
    a->record->has_state = 1;
    a->record->state = state;
    a->journaled = true;
    effect_journal(s, key, a->record);
}

void action_job_over(struct action *a, struct step *s)
{
    if (a->record->job_over || !action_has_started(a))
        return;
    a->record->has_job_over = a->record->job_over = 1;
    action_journal(a, s, a->record->state);
}

void action_set_text(char **at, const char *text)
{
    char *copy = xstrdup(text);
    free(*at);
    *at = copy;
}

const char *action_text(const char *text)
{
    return text != NULL ? text : "";
}

/* NULL until there is something. */
static json_t *measured(const Skein__JournalRecord *r)
{
    if (!r->has_started_at_ms || !r->has_ended_at_ms || r->ended_at_ms < r->started_at_ms)
        return NULL;
    json_t *o = json_pack("{s:I}", "took_ms", (json_int_t)(r->ended_at_ms - r->started_at_ms));
    if (r->has_downtime_ms)
        json_object_set_new(o, "downtime_ms", json_integer(r->downtime_ms));
    if (r->has_transferred_mib)
        json_object_set_new(o, "mib", json_integer((json_int_t)r->transferred_mib));
    return o;
}

void action_audit(const struct action *a, struct step *s, const char *event)
{
    const Skein__JournalRecord *r = a->record;
    effect_audit(s, event, "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o*}", "plan",
                 r->plan, "action", r->action, "vm", r->vm, "uuid", r->uuid, "from", r->from, "to",
                 r->to, "permit", action_text(r->permit != NULL ? r->permit->id : NULL), "code",
                 action_text(r->code), "reason", action_text(r->message), "evidence",
                 action_text(r->evidence), "measured", measured(r));
}

/* "move", "standby", "wake": what records of it begin with. */
static const char *audit_word(const struct action *a)
{
    return a->type == PLAN_MIGRATE ? "move" : plan_action_type_name(a->type);
}

void action_audit_what(const struct action *a, struct step *s, const char *what)
{
    char event[64];
    snprintf(event, sizeof event, "%s.%s", audit_word(a), what);
    action_audit(a, s, event);
}

uint64_t action_job(struct action *a, struct step *s, enum hv_kind kind)
{
    struct hv_job job = {.kind = kind, .move = a->move};
    return effect_job(s, OWNER_EXEC, &job);
}

void action_free(struct action *a)
{
    skein__journal_record__free_unpacked(a->record, NULL);
    confirm_free(a->confirm);
    free(a->asker);
    free(a);
}

/* ---- what is told of it ---- */

static Skein__ActionState told_state(const struct action *a)
{
    if (a->state != EXEC_UNDONE)
        return states[a->state].told;
    enum err_code code = err_from_name(action_text(a->record->code));
    if (code == ERR_CANCELLED)
        return SKEIN__ACTION_STATE__ACTION_CANCELLED;
    return code == ERR_EXISTS ? SKEIN__ACTION_STATE__ACTION_SKIPPED
                              : SKEIN__ACTION_STATE__ACTION_FAILED;
}

Skein__ActionReport action_report(const struct action *a, const struct step *s)
{
    const Skein__JournalRecord *r = a->record;
    Skein__ActionReport report = SKEIN__ACTION_REPORT__INIT;
    report.plan = r->plan;
    report.action = r->action;
    report.has_state = 1;
    report.state = told_state(a);
    report.code = r->code;
    report.message = r->message;
    report.reporter = (char *)s->conf->host;
    report.has_started_at_ms = r->has_started_at_ms;
    report.started_at_ms = r->started_at_ms;
    report.has_ended_at_ms = r->has_ended_at_ms;
    report.ended_at_ms = r->ended_at_ms;
    report.has_downtime_ms = r->has_downtime_ms;
    report.downtime_ms = r->downtime_ms;
    report.has_transferred_mib = r->has_transferred_mib;
    report.transferred_mib = r->transferred_mib;
    report.permit = r->permit != NULL ? r->permit->id : NULL;
    report.evidence = r->evidence;
    return report;
}

void action_answer(struct step *s, const char *to, uint64_t id, Skein__ActionReport *report)
{
    Skein__Reply reply = SKEIN__REPLY__INIT;
    reply.kind_case = SKEIN__REPLY__KIND_REPORT;
    reply.report = report;
    effect_reply(s, to, id, &reply, NULL);
}

void action_answer_start(struct action *a, struct step *s, const struct err *err)
{
    if (a->asked == 0)
        return;
    Skein__ActionReport report = action_report(a, s);
    if (err != NULL)
        effect_reply(s, a->asker, a->asked, NULL, err);
    else
        action_answer(s, a->asker, a->asked, &report);
    a->asked = 0;
}

void action_progress(const struct exec *e, const struct action *a, struct step *s,
                     const char *phase)
{
    if (e->leader[0] == '\0')
        return;
    const struct hv_progress *p = &a->progress;
    Skein__Progress m = SKEIN__PROGRESS__INIT;
    m.plan = a->record->plan;
    m.action = a->record->action;
    m.phase = (char *)phase;
    m.has_total_mib = m.has_remaining_mib = m.has_transferred_mib = m.has_percent =
        p->total_mib > 0;
    m.total_mib = p->total_mib;
    m.remaining_mib = MIN(p->remaining_mib, p->total_mib);
    m.transferred_mib = p->transferred_mib;
    if (p->total_mib > 0)
        m.percent = (uint32_t)((p->total_mib - m.remaining_mib) * 100 / p->total_mib);
    m.has_dirty_milli_mib_s = m.has_bandwidth_milli_mib_s = m.has_iteration = p->running;
    m.dirty_milli_mib_s = p->dirty_milli_mib_s;
    m.bandwidth_milli_mib_s = p->bandwidth_milli_mib_s;
    m.iteration = p->iteration;
    m.has_elapsed_ms = 1;
    m.elapsed_ms = p->elapsed_ms;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_PROGRESS;
    frame.progress = &m;
    effect_send(s, e->leader, &frame);
}

/* ---- ends ---- */

static void release(struct action *a, struct step *s, const char *why)
{
    if (a->record->reservation == NULL)
        return;
    Skein__ReleaseReservation release = SKEIN__RELEASE_RESERVATION__INIT;
    release.id = a->record->reservation;
    release.reason = (char *)why;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_RELEASE;
    request.release = &release;
    effect_request(s, OWNER_EXEC, a->record->to, &request); /* lost: it expires by itself */
}

static void remember(struct exec *e, const struct action *a, const struct err *err)
{
    struct forgotten *f = &e->forgotten[e->next_forgotten++ % EXEC_FORGOTTEN];
    snprintf(f->plan, sizeof f->plan, "%s", a->record->plan);
    snprintf(f->action, sizeof f->action, "%s", a->record->action);
    f->err = *err;
}

void action_remove(struct exec *e, struct step *s, struct action *a)
{
    char key[2 * HV_NAME_MAX + 32];
    journal_key(a, key, sizeof key);
    if (a->journaled)
        effect_journal(s, key, NULL);
    for (size_t i = 0; i < e->n; i++)
        if (e->actions[i] == a) {
            memmove(&e->actions[i], &e->actions[i + 1], (--e->n - i) * sizeof *e->actions);
            break;
        }
    action_free(a);
}

void action_forget(struct exec *e, struct step *s, struct action *a, const struct err *err)
{
    REQUIRE(!action_has_started(a));
    effect_trace(s, "exec %s/%s: %s: not started: %s", a->record->plan, a->record->action,
                 states[a->state].name, err->msg);
    verify_refused(&e->refusals, s, "start.refused", a->asker != NULL ? a->asker : "",
                   a->record->permit, err);
    action_answer_start(a, s, err);
    release(a, s, err->msg);
    remember(e, a, err);
    action_remove(e, s, a);
}

/* The body and the approvals have served; the permit's digest still says what was approved. */
static void strip(Skein__JournalRecord *r)
{
    for (size_t i = 0; i < r->n_before; i++)
        free(r->before[i]);
    free(r->before);
    r->before = NULL;
    r->n_before = 0;
    free(r->body.data);
    r->body = (ProtobufCBinaryData){0};
    r->has_body = 0;
    for (size_t i = 0; i < r->n_approvals; i++)
        free(r->approvals[i].data);
    free(r->approvals);
    r->approvals = NULL;
    r->n_approvals = 0;
}

static void action_end(struct action *a, struct step *s, enum exec_state to,
                       Skein__JournalState journal, const struct err *err, const char *what)
{
    Skein__JournalRecord *r = a->record;
    a->away = false;
    action_goto(a, s, to, err->code == ERR_OK ? "ended" : err->msg);
    action_set_text(&r->code, err->code == ERR_OK ? "" : err_name(err->code));
    action_set_text(&r->message, err->msg);
    r->has_ended_at_ms = 1;
    r->ended_at_ms = (uint64_t)MAX(s->now.wall, (msec)r->started_at_ms);
    release(a, s, what);
    strip(r);
    action_journal(a, s, journal);
    if (to == EXEC_NEEDS_OPERATOR)
        action_audit(a, s, "needs.operator");
    else
        action_audit_what(a, s, what);
}

void action_done(struct action *a, struct step *s, const char *message)
{
    struct err none = {0};
    struct buf b = {0};
    buf_adds(&b, message);
    if (a->move.how.storage != MIGRATE_STORAGE_NONE)
        buf_addf(&b, "%sthe disks that were copied are still on %.200s", b.len > 0 ? "; " : "",
                 s->conf->host);
    if (a->changed[0] != '\0')
        buf_addf(&b, "%snot as before: %s", b.len > 0 ? "; " : "", a->changed);
    struct err line; /* makes it one line of UTF-8 */
    err_set(&line, ERR_UNKNOWN, "%s", b.len > 0 ? b.data : "");
    snprintf(none.msg, sizeof none.msg, "%s", line.msg);
    buf_done(&b);
    action_end(a, s, EXEC_DONE, SKEIN__JOURNAL_STATE__JOURNAL_DONE, &none, "succeeded");
}

void action_undone(struct action *a, struct step *s, const struct err *err)
{
    action_end(a, s, EXEC_UNDONE, SKEIN__JOURNAL_STATE__JOURNAL_UNDONE, err,
               action_has_started(a) ? "undone" : "failed");
}

void action_needs_operator(struct action *a, struct step *s, const char *why)
{
    struct err err = {0};
    const char *first = a->outcome.code != ERR_OK ? a->outcome.msg : "";
    err_set(&err, ERR_UNKNOWN, "%s%s%s", why, first[0] != '\0' ? "; it began with: " : "", first);
    action_end(a, s, EXEC_NEEDS_OPERATOR, SKEIN__JOURNAL_STATE__JOURNAL_NEEDS_OPERATOR, &err,
               "needs operator");
}
