#include "agent/ctl/plan_view.h"

#include "agent/ctl/table.h"
#include "agent/ctl/text.h"

bool plan_has_ended(const char *state)
{
    static const char *const ended[] = {"SUCCEEDED",   "PARTIAL",    "FAILED",  "CANCELLED",
                                        "ROLLED_BACK", "SUPERSEDED", "EXPIRED", "REJECTED"};
    for (size_t i = 0; i < ARRAY_SIZE(ended); i++)
        if (strcmp(state, ended[i]) == 0)
            return true;
    return false;
}

/* ---- one action ---- */

static const json_t *result_of(const json_t *doc, const char *action)
{
    size_t i;
    const json_t *result;
    json_array_foreach(json_object_get(doc, "results"), i, result)
    {
        if (strcmp(text_or(result, "action", ""), action) == 0)
            return result;
    }
    return NULL;
}

static void add_progress(struct buf *b, const json_t *progress)
{
    char size[TEXT_SIZE], eta[TEXT_SIZE];
    int64_t percent = number_at(progress, "percent");
    if (percent != QUANTITY_UNKNOWN)
        buf_addf(b, "  %lld %%", (long long)percent);
    if (number_at(progress, "remaining_mib") != QUANTITY_UNKNOWN)
        buf_addf(b, "  %s left", text_mib(number_at(progress, "remaining_mib"), size));
    if (milli_at(progress, "dirty_mib_s") > 0)
        buf_addf(b, "  dirty %s MiB/s", text_milli(milli_at(progress, "dirty_mib_s"), size));
    if (number_at(progress, "eta_ms") != QUANTITY_UNKNOWN)
        buf_addf(b, "  ~%s", text_ms(number_at(progress, "eta_ms"), eta));
    if (text_at(progress, "phase") != NULL)
        buf_addf(b, "  %s", text_at(progress, "phase"));
}

static void add_measured(struct buf *b, const json_t *result)
{
    char text[TEXT_SIZE];
    if (number_at(result, "duration_ms") != QUANTITY_UNKNOWN)
        buf_addf(b, "  %s", text_ms(number_at(result, "duration_ms"), text));
    if (number_at(result, "downtime_ms") != QUANTITY_UNKNOWN)
        buf_addf(b, "  pause %s", text_ms(number_at(result, "downtime_ms"), text));
    if (text_at(result, "code") != NULL)
        buf_addf(b, "  %s: %s", text_at(result, "code"), text_or(result, "message", ""));
}

const char *plan_action_text(const json_t *doc, const json_t *action,
                             char ret[PLAN_ACTION_TEXT_SIZE])
{
    const char *id = text_or(action, "id", "");
    const json_t *result = result_of(doc, id);
    const json_t *progress = json_object_get(json_object_get(doc, "progress"), id);
    _cleanup_(buf_done) struct buf b = {0};
    buf_adds(&b, text_or(result, "state", ""));
    add_measured(&b, result);
    if (progress != NULL)
        add_progress(&b, progress);
    snprintf(ret, PLAN_ACTION_TEXT_SIZE, "%s", b.data);
    return ret;
}

/* ---- the steps ---- */

static const struct table_column move_columns[] = {
    {.name = NULL},
    {.name = ""},
    {.name = "", .right = true},
    {.name = "", .right = true},
    {.name = ""},
    {.name = "", .wide = true}, /* once something was begun */
    {.name = "", .wrap = true},
};

enum { MOVE_VM, MOVE_WAY, MOVE_SIZE, MOVE_TIME, MOVE_PAUSE, MOVE_STATE, MOVE_REASON };

static void set_predictions(struct table *t, const json_t *action)
{
    char text[TEXT_SIZE], cell[TEXT_SIZE + 16];
    int64_t mib = number_at(action, "estimate.mib"), ms = number_at(action, "estimate.ms"),
            pause = number_at(action, "estimate.downtime_ms");
    if (mib > 0)
        table_set(t, MOVE_SIZE, text_mib(mib, text));
    snprintf(cell, sizeof cell, "~%s", text_ms(ms, text));
    if (ms > 0)
        table_set(t, MOVE_TIME, cell);
    snprintf(cell, sizeof cell, "pause ~%s", text_ms(pause, text));
    if (pause > 0)
        table_set(t, MOVE_PAUSE, cell);
}

static void add_parameters(struct table *t, const json_t *action)
{
    const char *key;
    json_t *value;
    _cleanup_(buf_done) struct buf b = {0};
    json_object_foreach(json_object_get(action, "parameters"), key, value)
    {
        _cleanup_(freep) char *text = json_is_string(value)
                                          ? xstrdup(json_string_value(value))
                                          : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        buf_addf(&b, "%s%s %s", b.len > 0 ? ", " : "", key, text);
    }
    table_line(t);
    table_set(t, MOVE_REASON, b.data);
}

static void add_action(struct table *t, const json_t *doc, const json_t *action, bool full)
{
    const char *type = text_or(action, "type", "?");
    char state[PLAN_ACTION_TEXT_SIZE];
    bool migrate = strcmp(type, "migrate") == 0;
    _cleanup_(freep) char *vm = xasprintf("  %s%s%s", migrate ? "" : type, migrate ? "" : " ",
                                          text_or(action, "vm", text_or(action, "host", "?")));
    _cleanup_(freep) char *way =
        xasprintf("%s -> %s", text_or(action, "from", "?"), text_to(action, "?"));
    const char *why = text_or(action, "reason", "");
    bool plain = json_is_false(json_at(action, "parameters.tls"));
    _cleanup_(freep) char *reason =
        xasprintf("%s%s%s%s", plain ? "NOT ENCRYPTED " : "", why[0] != '\0' ? "(" : "", why,
                  why[0] != '\0' ? ")" : "");
    table_line(t);
    table_set(t, MOVE_VM, vm);
    table_set(t, MOVE_WAY, text_at(action, "to") != NULL ? way : text_or(action, "from", ""));
    set_predictions(t, action);
    table_set(t, MOVE_STATE, plan_action_text(doc, action, state));
    table_set(t, MOVE_REASON, reason);
    if (full)
        add_parameters(t, action);
}

static void view_steps(FILE *to, const json_t *doc, bool full)
{
    size_t i, k;
    const json_t *step, *action;
    bool begun = json_array_size(json_object_get(doc, "results")) > 0;
    json_array_foreach(json_at(doc, "body.steps"), i, step)
    {
        struct table *t = table_new(move_columns, ARRAY_SIZE(move_columns), begun);
        fprintf(to, "step %zu\n", i + 1);
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            add_action(t, doc, action, full);
        }
        table_print(t, to);
    }
}

/* ---- hosts before and after ---- */

static const struct table_column host_columns[] = {
    {.name = "HOST"}, {.name = "VMS"}, {.name = "MEMORY"}, {.name = "VCPUS"}, {.name = "CPU USED"}};

static void set_change(struct table *t, size_t column, const char *before, const char *after)
{
    _cleanup_(freep) char *text =
        strcmp(before, after) == 0 ? xstrdup(after) : xasprintf("%s -> %s", before, after);
    table_set(t, column, text);
}

static void view_hosts(FILE *to, const json_t *doc)
{
    size_t i;
    const json_t *host;
    struct table *t = table_new(host_columns, ARRAY_SIZE(host_columns), false);
    json_array_foreach(json_at(doc, "body.predicted.hosts"), i, host)
    {
        char a[TEXT_SIZE], b[TEXT_SIZE];
        table_line(t);
        table_set(t, 0, text_or(host, "host", "?"));
        set_change(t, 1, text_number(number_at(host, "before.vms"), a),
                   text_number(number_at(host, "after.vms"), b));
        set_change(t, 2, text_mib(number_at(host, "before.memory_mib"), a),
                   text_mib(number_at(host, "after.memory_mib"), b));
        set_change(t, 3, text_number(number_at(host, "before.vcpus"), a),
                   text_number(number_at(host, "after.vcpus"), b));
        set_change(t, 4, text_milli(milli_at(host, "before.used_cores"), a),
                   text_milli(milli_at(host, "after.used_cores"), b));
    }
    if (i > 0)
        fputc('\n', to);
    table_print(t, to);
}

/* ---- what is not moved ---- */

static const struct table_column refusal_columns[] = {
    {.name = NULL}, {.name = ""}, {.name = ""}, {.name = "", .wrap = true}};

static bool concerns(const json_t *refusal, const char *vm)
{
    return vm == NULL || strcmp(text_or(refusal, "vm", ""), vm) == 0;
}

static void add_refusal(struct table *t, const json_t *refusal)
{
    const char *relax = text_or(refusal, "relax.text", ""), *to = text_at(refusal, "host");
    _cleanup_(freep) char *vm = xasprintf("  %s", text_or(refusal, "vm", "(no VM)"));
    _cleanup_(freep) char *host = to != NULL ? xasprintf("-> %s", to) : xstrdup("any host");
    _cleanup_(freep) char *why =
        xasprintf("%s%s%s%s", text_or(refusal, "message", ""),
                  relax[0] != '\0' ? " (possible if: " : "", relax, relax[0] != '\0' ? ")" : "");
    table_line(t);
    table_set(t, 0, vm);
    table_set(t, 1, host);
    table_set(t, 2, text_or(refusal, "code", ""));
    table_set(t, 3, why);
}

#define REFUSALS_SHOWN 10 /* of a plan; all of them with explain */

static size_t view_some_refusals(FILE *to, const json_t *doc, const char *vm, size_t limit)
{
    size_t i, n = 0;
    const json_t *refusal;
    struct table *t = table_new(refusal_columns, ARRAY_SIZE(refusal_columns), false);
    json_array_foreach(json_at(doc, "body.refused"), i, refusal)
    {
        if (concerns(refusal, vm) && n++ < limit)
            add_refusal(t, refusal);
    }
    if (n > 0)
        fprintf(to, "\nnot moved\n");
    table_print(t, to);
    return n;
}

void plan_view_refusals(FILE *to, const json_t *doc, const char *vm)
{
    if (view_some_refusals(to, doc, vm, SIZE_MAX) == 0)
        fprintf(to, "\nnothing was refused%s%s\n", vm != NULL ? " for " : "", vm != NULL ? vm : "");
}

/* ---- the frame ---- */

static void view_head(FILE *to, const json_t *doc)
{
    const char *policy = text_at(doc, "body.policy.name"), *author = text_at(doc, "author");
    fprintf(to, "plan %s  %s  (%s, %s)\n", text_or(doc, "id", "?"), text_or(doc, "state", "DRAFT"),
            text_or(doc, "body.class", "?"), policy != NULL ? policy : "no policy");
    fprintf(to, "why: %s\n", text_or(doc, "body.reason", "-"));
    if (text_at(doc, "made_at") != NULL)
        fprintf(to, "made %s by %s; expires %s\n", text_at(doc, "made_at"),
                author != NULL ? author : "?", text_or(doc, "expires_at", "never"));
    if (text_at(doc, "state_reason") != NULL)
        fprintf(to, "now: %s\n", text_at(doc, "state_reason"));
}

static void view_approvals(FILE *to, const json_t *doc)
{
    size_t i;
    const json_t *vote;
    json_array_foreach(json_object_get(doc, "approvals"), i, vote)
    {
        fprintf(to, "%s%s by %s (%s) at %s%s%s\n", i == 0 ? "\n" : "",
                text_or(vote, "verdict", "?"), text_or(vote, "person", "?"),
                text_or(vote, "role", "?"), text_or(vote, "at", "?"),
                text_at(vote, "reason") != NULL ? ": " : "", text_or(vote, "reason", ""));
    }
    int64_t needed = number_at(doc, "gate.needed"), given = number_at(doc, "gate.approvals");
    if (needed != QUANTITY_UNKNOWN && given < needed)
        fprintf(to, "%sapprovals: %lld of %lld\n", i == 0 ? "\n" : "", (long long)given,
                (long long)needed);
    const char *gate = text_at(doc, "gate.message");
    if (gate != NULL && json_array_size(json_at(doc, "gate.rules")) > 0)
        fprintf(to, "gate: %s\n", gate);
}

static void view_sum(FILE *to, const json_t *doc)
{
    size_t i, k, moves = 0;
    const json_t *step, *action;
    int64_t mib = 0;
    char size[TEXT_SIZE], time[TEXT_SIZE];
    json_array_foreach(json_at(doc, "body.steps"), i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, action)
        {
            moves++;
            mib = sat_add(mib, MAX(number_at(action, "estimate.mib"), 0));
        }
    }
    int64_t span = number_at(doc, "body.predicted.makespan_ms");
    fprintf(to, "\n%zu move%s in %zu step%s, %s", moves, moves == 1 ? "" : "s", i,
            i == 1 ? "" : "s", text_mib(mib, size));
    if (span > 0)
        fprintf(to, ", ~%s", text_ms(span, time));
    fprintf(to, "; %zu not moved\n", json_array_size(json_at(doc, "body.refused")));
}

void plan_view(FILE *to, const json_t *doc, bool full)
{
    view_head(to, doc);
    view_steps(to, doc, full);
    view_hosts(to, doc);
    size_t refused = view_some_refusals(to, doc, NULL, full ? SIZE_MAX : REFUSALS_SHOWN);
    if (!full && refused > REFUSALS_SHOWN)
        fprintf(to, "  and %zu more; try: skein plan explain %s\n", refused - REFUSALS_SHOWN,
                text_or(doc, "id", ""));
    view_approvals(to, doc);
    view_sum(to, doc);
    fprintf(to, "digest %s\n", text_or(doc, "digest", "?"));
}
