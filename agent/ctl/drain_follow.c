/* drain_follow.c - watching a drain: its hosts, its plans one after another, what stays. */
#include "agent/ctl/drain.h"
#include "agent/ctl/plan_view.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define STUCK_MS 20000   /* nothing moves, nothing is planned: what stays cannot move for now */
#define PLANNED_MS 45000 /* for a plan to come */

struct watch {
    const struct cli *cli;
    const struct drain_hosts *hosts;
    FILE *to;
    json_t *plans;                  /* ids seen; owned */
    char plan[64];                  /* that is shown now */
    struct plan_follower *follower; /* of it; owned */
    char *said;                     /* last line about the hosts; owned */
    msec idle_since;                /* mono; 0: something goes on */
};

static bool is_named(const struct drain_hosts *hosts, const char *name)
{
    for (size_t i = 0; i < hosts->n; i++)
        if (strcmp(hosts->names[i], name) == 0)
            return true;
    return false;
}

/* ---- what is seen in one look ---- */

struct seen {
    json_t *records; /* of our hosts; owned */
    size_t vms, moving, blocked, plans;
    bool taken_back;  /* a host of ours is not being drained */
    bool skips;       /* what cannot move may stay */
    const char *plan; /* the oldest plan that has not ended: id ... */
    const char *state;
};

static void add_record(struct seen *s, json_t *record)
{
    const json_t *plans = json_object_get(record, "plans");
    const char *state = text_or(record, "state", "");
    json_array_append(s->records, record);
    s->vms += json_array_size(json_object_get(record, "vms"));
    s->blocked += json_array_size(json_object_get(record, "blocked"));
    s->moving += (size_t)MAX(number_at(record, "moving"), 0);
    s->plans += json_array_size(plans);
    s->skips = s->skips || strcmp(text_or(record, "fallback", ""), "skip") == 0;
    s->taken_back =
        s->taken_back || (strcmp(state, "draining") != 0 && strcmp(state, "maintenance") != 0);
    const json_t *plan = json_array_get(plans, json_array_size(plans) - 1);
    if (plan != NULL && s->plan == NULL) {
        s->plan = text_or(plan, "id", "");
        s->state = text_or(plan, "state", "");
    }
}

static int look(struct watch *w, struct seen *s, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    size_t i;
    json_t *record;
    *s = (struct seen){.records = json_array()};
    int rc = cli_call(w->cli, "/v1/maintenance", NULL, &doc, err);
    if (rc < 0)
        return rc;
    text_tidy_json(&doc);
    json_array_foreach(json_object_get(doc, "hosts"), i, record)
    {
        if (is_named(w->hosts, text_or(record, "host", "")))
            add_record(s, record);
    }
    s->taken_back = s->taken_back || json_array_size(s->records) < w->hosts->n;
    return 0;
}

static void seen_done(struct seen *s)
{
    json_decref(s->records);
}

/* ---- what is said ---- */

static bool is_known(const json_t *plans, const char *id)
{
    size_t i;
    const json_t *known;
    json_array_foreach(plans, i, known)
    {
        if (strcmp(json_string_value(known), id) == 0)
            return true;
    }
    return false;
}

static void say(struct watch *w, const char *line)
{
    if (w->said != NULL && strcmp(w->said, line) == 0)
        return;
    free(w->said);
    w->said = xstrdup(line);
    fprintf(w->to, "%s\n", line);
    fflush(w->to);
}

/* The plan that runs, move by move. */
static void show_plan(struct watch *w, const char *id)
{
    struct err err;
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = xasprintf("/v1/plans/%s", id);
    if (strcmp(w->plan, id) != 0) {
        plan_follower_free(w->follower);
        w->follower = plan_follower_new(w->to);
        snprintf(w->plan, sizeof w->plan, "%s", id);
    }
    if (cli_call(w->cli, path, NULL, &doc, &err) < 0)
        return;
    text_tidy_json(&doc);
    plan_follower_show(w->follower, doc);
}

static void say_seen(struct watch *w, const struct seen *s)
{
    bool waits = s->plan != NULL && (strcmp(s->state, "PENDING_APPROVAL") == 0 ||
                                     strcmp(s->state, "RECOMMENDED") == 0);
    if (s->plan != NULL && !is_known(w->plans, s->plan))
        json_array_append_new(w->plans, json_string(s->plan));
    bool other = w->plan[0] != '\0' && (s->plan == NULL || strcmp(s->plan, w->plan) != 0);
    if (other) { /* the end of the one that ran */
        show_plan(w, w->plan);
        w->plan[0] = '\0';
    }
    if (s->plan != NULL && !waits) {
        show_plan(w, s->plan);
        return;
    }
    struct buf line = {0};
    buf_addf(&line, "%zu VM%s left", s->vms, s->vms == 1 ? "" : "s");
    if (s->blocked > 0)
        buf_addf(&line, ", %zu cannot move", s->blocked);
    if (waits)
        buf_addf(&line, "; plan %s waits for an approval; try: skein plan approve %s", s->plan,
                 s->plan);
    else if (s->vms > s->blocked)
        buf_adds(&line, "; planning");
    say(w, line.data);
    buf_done(&line);
}

/* ---- is it over? ---- */

static int stays(const struct seen *s, struct err *err)
{
    size_t i, k;
    const json_t *record, *vm;
    _cleanup_(buf_done) struct buf names = {0};
    json_array_foreach(s->records, i, record)
    {
        json_array_foreach(json_object_get(record, "vms"), k, vm)
        {
            buf_addf(&names, "%s%s", names.len > 0 ? ", " : "", text_or(vm, "vm", "?"));
        }
    }
    return err_set(
        err, ERR_CONFLICT,
        "%zu VM%s cannot move for now: %.400s; the drain goes on, and moves them as soon "
        "as that is possible; try: skein drain --dry-run",
        s->vms, s->vms == 1 ? "" : "s", names.data != NULL ? names.data : "?");
}

/* 1: over, and well; 0: not yet; negative: over otherwise. */
static int judge(struct watch *w, const struct seen *s, enum drain_until until, msec begun,
                 struct err *err)
{
    bool quiet = s->moving == 0 && s->plans == 0;
    msec now = follow_now();
    if (s->taken_back)
        return err_set(err, ERR_CANCELLED, "the drain was taken back");
    if (s->vms == 0 && quiet)
        return 1;
    if (until == DRAIN_PLANNED && (s->plans > 0 || now - begun >= PLANNED_MS))
        return 1;
    if (!quiet) {
        w->idle_since = 0;
        return 0;
    }
    if (w->idle_since == 0)
        w->idle_since = now;
    /* All are known to be blocked; or nothing came of any planning for long. */
    bool known = s->blocked >= s->vms;
    if (known && (until == DRAIN_PLANNED || (s->skips && now - w->idle_since >= FOLLOW_EVERY_MS)))
        return 1;
    if (now - w->idle_since < (known ? STUCK_MS : PLANNED_MS))
        return 0;
    return s->skips ? 1 : stays(s, err);
}

static int follow(struct watch *w, enum drain_until until, msec limit, json_t **ret,
                  struct err *err)
{
    msec begun = follow_now(), answered = begun;
    for (;;) {
        _cleanup_(seen_done) struct seen s;
        int rc = look(w, &s, err);
        if (rc < 0 && (!follow_may_pass(err) || follow_now() - answered > FOLLOW_PATIENCE_MS))
            return rc;
        if (rc < 0) {
            _cleanup_(freep) char *line = xasprintf("waiting: %s", err->msg);
            say(w, line);
        } else {
            answered = follow_now();
            if (!s.taken_back)
                say_seen(w, &s);
            json_decref(*ret);
            *ret = json_incref(s.records);
            if ((rc = judge(w, &s, until, begun, err)) != 0)
                return MIN(rc, 0);
        }
        if (limit > 0 && follow_now() - begun >= limit)
            return err_set(err, ERR_TIMEOUT, "%zu VMs are left after %lld s; the drain goes on",
                           s.vms, (long long)limit / 1000);
        follow_pause();
    }
}

int drain_follow(const struct cli *cli, const struct drain_hosts *hosts, enum drain_until until,
                 msec limit, FILE *to, json_t **ret, json_t **ret_plans, struct err *err)
{
    struct watch w = {.cli = cli, .hosts = hosts, .to = to, .plans = json_array()};
    *ret = NULL;
    int rc = follow(&w, until, limit, ret, err);
    plan_follower_free(w.follower);
    free(w.said);
    *ret_plans = w.plans;
    return rc;
}

/* ---- the report ---- */

static const struct table_column columns[] = {{.name = "VM"},
                                              {.name = "FROM"},
                                              {.name = "TO"},
                                              {.name = "STATE"},
                                              {.name = "TOOK", .right = true},
                                              {.name = "PAUSE", .right = true},
                                              {.name = "COPIED", .right = true},
                                              {.name = "REMARK", .wrap = true}};

static void add_moves(struct table *t, const json_t *report, size_t *moved, size_t *all)
{
    size_t i;
    const json_t *move;
    json_array_foreach(json_object_get(report, "moves"), i, move)
    {
        char text[TEXT_SIZE];
        const char *state = text_or(move, "state", "?");
        ++*all;
        *moved += strcmp(state, "SUCCEEDED") == 0;
        table_line(t);
        table_set(t, 0, text_or(move, "vm", "?"));
        table_set(t, 1, text_or(move, "from", "?"));
        table_set(t, 2, text_to(move, "?"));
        table_set_state(t, 3, state);
        table_set(t, 4, text_ms(number_at(move, "duration_ms"), text));
        table_set(t, 5, text_ms(number_at(move, "downtime_ms"), text));
        table_set(t, 6, text_mib(number_at(move, "transferred_mib"), text));
        table_set(t, 7, text_or(move, "message", ""));
    }
}

void drain_print_report(const struct cli *cli, const json_t *plans, FILE *to)
{
    size_t i, moved = 0, all = 0;
    const json_t *plan;
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(plans, i, plan)
    {
        struct err err;
        _cleanup_json_ json_t *report = NULL;
        _cleanup_(freep) char *path = xasprintf("/v1/plans/%s/report", json_string_value(plan));
        if (cli_call(cli, path, NULL, &report, &err) < 0)
            continue;
        text_tidy_json(&report);
        add_moves(t, report, &moved, &all);
    }
    table_print(t, to);
    if (all > 0)
        fprintf(to, "\n%zu of %zu moved by %zu plan%s\n", moved, all, i, i == 1 ? "" : "s");
}
