/* skein plan make: a policy's plan, or the core's own, from a snapshot file. */
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_plan_offline.h"
#include "agent/ctl/whatif.h"
#include "planner/core/plan_doc.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

static const char make_help[] =
    "usage: skein plan make --snapshot FILE --policy FILE [--param NAME=VALUE]... [WHAT-IF]...\n"
    "       skein plan make --snapshot FILE --mode MODE [WHAT-IF]...\n"
    "       skein plan make --snapshot FILE --drain HOST...\n"
    "\n"
    "Make a plan from a snapshot, with no agent and nothing done: what a policy proposes, or\n"
    "without one what the planner itself finds; or why there is nothing to do. The same inputs "
    "give\n"
    "the same plan, byte for byte.\n"
    "\n"
    "  --snapshot FILE      skein.snapshot/1 (JSON)\n"
    "  --policy FILE        the policy (Lua)\n"
    "  --param N=VALUE      a parameter of the policy, instead of its default or the snapshot's\n"
    "  --lua-ms N           time the policy's Lua may take (default: 500)\n"
    "  --mode MODE          without a policy: balance, consolidate, enforce, drain or restart\n"
    "                       (default: what the what-if asks for, else balance)\n"
    "  --copy-storage       without a policy: local disks may be copied\n"
    "  --standby            without a policy: hosts may be woken, and put on standby when empty\n"
    "  --n-plus K           without a policy: K hosts' loss stays survivable (default: "
    "snapshot's)\n"
    "  --max-moves N        without a policy: no more VMs than so many move\n"
    "  --deadline SECONDS   without a policy: only moves that end by then\n"
    "  --seed N             instead of the snapshot's\n"
    "  --at TIME            decide as of this time, 2026-11-22T01:30:00Z (default: taken_at)\n"
    "  -o json              the plan document (skein.plan/1) instead of text\n"
    "\n"
    "What if:\n"
    "  --drain HOST...      these hosts were to be emptied\n"
    "  --drain-domain D     all hosts of a failure domain were\n"
    "  --fail HOST...       these hosts were lost: their VMs start elsewhere\n"
    "  --add-host FILE      this host (an object as in \"hosts\", or a list of them) were there\n"
    "  --remove-rule NAME   the rule were gone\n"
    "  --save-snapshot FILE write the snapshot so altered: plan verify wants it, or the same "
    "options\n"
    "\n"
    "Examples:\n"
    "  skein plan make --snapshot now.json --policy policies/thermal_relief.lua\n"
    "  skein plan make --snapshot now.json --policy night.lua --at 2026-11-23T02:00:00Z -o json\n"
    "  skein plan make --snapshot now.json --drain hv1 hv2\n"
    "  skein plan make --snapshot now.json --fail hv3 -o json\n"
    "  skein plan make --snapshot now.json --mode enforce --remove-rule web-spread\n";

static const char *const make_takes[] = {"snapshot",      "policy",       "seed",     "at",
                                         "lua-ms",        "param",        "mode",     "drain",
                                         "drain-domain",  "fail",         "add-host", "remove-rule",
                                         "save-snapshot", "copy-storage", "standby",  "n-plus",
                                         "max-moves",     "deadline",     NULL};

/* ---- for people */

static void print_health(const json_t *health)
{
    if (json_integer_value(json_object_get(health, "errors")) == 0)
        return;
    const char *hook;
    json_t *h;
    json_object_foreach(json_object_get(health, "hooks"), hook, h)
    {
        const char *last = json_string_value(json_object_get(h, "last_error"));
        if (last != NULL)
            fprintf(stderr, "warning: hook %s failed %lld times: %s\n", hook,
                    (long long)json_integer_value(json_object_get(h, "errors")), last);
    }
}

static void print_lines(const char *before, const json_t *list)
{
    size_t i;
    json_t *line;
    json_array_foreach(list, i, line)
    {
        fprintf(stderr, "%s: %s\n", before, json_string_value(line));
    }
}

static void add_field(json_t *doc, const char *name, json_t *value)
{
    if (value != NULL && (json_object_size(value) > 0 || json_array_size(value) > 0))
        json_object_set(doc, name, value);
}

static int show(json_t *doc, bool json, struct err *err)
{
    _cleanup_(plan_doc_freep) struct plan_doc *plan = NULL;
    _cleanup_(freep) char *text = NULL;
    int rc = json ? canon_dump(doc, &text, NULL, err) : plan_doc_from_json(doc, &plan, err);
    if (rc < 0)
        return rc;
    if (json) {
        puts(text);
        return 0;
    }
    plan_print(stdout, plan);
    print_lines("warning", json_object_get(doc, "warnings"));
    print_health(json_object_get(doc, "health"));
    return 0;
}

/* ---- by a policy */

/* The plan's envelope, with what the run said beside it. */
static int show_result(const struct worker_result *r, bool json, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc = plan_doc_new(r->body, &doc, err);
    if (rc < 0)
        return rc;
    add_field(doc, "health", r->health);
    add_field(doc, "warnings", r->warnings);
    add_field(doc, "notes", r->notes);
    add_field(doc, "approvals_required", r->approvals);
    print_lines("policy", r->log);
    return show(doc, json, err);
}

static int make_by_policy(const struct plan_args *a, const char *snapshot, size_t len,
                          struct err *err)
{
    _cleanup_(freep) char *policy = NULL, *params = NULL;
    struct worker_request req;
    int rc = plan_args_policy(a, &req, &policy, &params, err);
    if (rc < 0)
        return rc;
    req.snapshot = snapshot;
    req.snapshot_len = len;
    _cleanup_(worker_result_done) struct worker_result result = {0};
    rc = worker_run(&req, &result, err);
    return rc < 0 ? rc : show_result(&result, a->json, err);
}

/* ---- by the core alone */

struct own {
    struct planner_problem p;
    int *sources;
    char why[FIT_TEXT_MAX];
};

static int choose_mode(const struct plan_args *a, enum planner_mode *ret)
{
    static const enum planner_mode modes[] = {PLANNER_BALANCE, PLANNER_CONSOLIDATE, PLANNER_ENFORCE,
                                              PLANNER_DRAIN, PLANNER_RESTART};

    *ret = a->fail.n > 0                        ? PLANNER_RESTART
           : a->drain.n > 0 || a->domains.n > 0 ? PLANNER_DRAIN
                                                : PLANNER_BALANCE;
    for (size_t i = 0; a->mode != NULL && i < ARRAY_SIZE(modes); i++)
        if (strcmp(a->mode, planner_mode_name(modes[i])) == 0) {
            *ret = modes[i];
            return 0;
        }
    if (a->mode != NULL)
        return args_usage(a->command,
                          "--mode \"%.20s\": there are balance, consolidate, enforce, "
                          "drain and restart",
                          a->mode);
    return 0;
}

static bool is_within(const char *domain, const char *of)
{
    size_t n = strlen(of);
    return domain != NULL && strncmp(domain, of, n) == 0 && (domain[n] == '\0' || domain[n] == '/');
}

static int no_host(const struct model *m, const char *name, struct err *err)
{
    _cleanup_(freep) const char **names = xcalloc((size_t)m->n_hosts + 1, sizeof *names);
    for (int h = 0; h < m->n_hosts; h++)
        names[h] = m->hosts[h].name;
    const char *near = nearest_word(name, names);
    if (near != NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "the snapshot has no host \"%.64s\"; did you mean \"%s\"?", name, near);
    return err_set(err, ERR_NOT_FOUND, "the snapshot has no host \"%.64s\"", name);
}

/* Hosts by name, and by failure domain; each once. */
static int find_sources(const struct model *m, const struct plan_names *names,
                        const struct plan_names *domains, struct own *ret, struct err *err)
{
    _cleanup_(freep) bool *is_source = xcalloc((size_t)m->n_hosts + 1, sizeof *is_source);
    for (int i = 0; i < names->n; i++) {
        int h = model_find_host(m, names->items[i]);
        if (h == MODEL_NONE)
            return no_host(m, names->items[i], err);
        is_source[h] = true;
    }
    for (int i = 0; i < domains->n; i++) {
        bool any = false;
        for (int h = 0; h < m->n_hosts; h++)
            if (is_within(m->hosts[h].failure_domain, domains->items[i]))
                is_source[h] = any = true;
        if (!any)
            return err_set(err, ERR_NOT_FOUND, "no host is in failure domain \"%.64s\"",
                           domains->items[i]);
    }
    ret->sources = xcalloc((size_t)m->n_hosts + 1, sizeof *ret->sources);
    for (int h = 0; h < m->n_hosts; h++)
        if (is_source[h])
            ret->sources[ret->p.n_sources++] = h;
    ret->p.sources = ret->sources;
    return 0;
}

/* What ran on a lost host is said to have crashed; for the planner it is what is to run again. */
static void revive(struct model *m, const struct own *own)
{
    for (int i = 0; own->p.mode == PLANNER_RESTART && i < own->p.n_sources; i++) {
        struct model_host *h = &m->hosts[own->sources[i]];
        h->state = HOST_MAINTENANCE; /* VMs may leave it; none comes */
        for (int k = 0; k < h->n_vms; k++)
            if (m->vms[h->vms[k]].state == VM_CRASHED)
                m->vms[h->vms[k]].state = VM_RUNNING;
    }
}

static void say_why(const struct plan_args *a, struct own *own)
{
    static const struct plan_names none;
    const struct plan_names *names = a->fail.n > 0 ? &a->fail : a->drain.n > 0 ? &a->drain : &none;
    size_t at = (size_t)snprintf(own->why, sizeof own->why, "%s",
                                 own->p.mode == PLANNER_RESTART ? "lost:"
                                 : own->p.mode == PLANNER_DRAIN ? "to be emptied:"
                                                                : planner_mode_name(own->p.mode));
    for (int i = 0; i < names->n && at < sizeof own->why; i++)
        at += (size_t)snprintf(own->why + at, sizeof own->why - at, " %s", names->items[i]);
    for (int i = 0; i < a->domains.n && at < sizeof own->why; i++)
        at += (size_t)snprintf(own->why + at, sizeof own->why - at, " all of %s",
                               a->domains.items[i]);
}

static const char *class_of(enum planner_mode mode)
{
    return mode == PLANNER_DRAIN ? "drain" : mode == PLANNER_RESTART ? "safety" : "optimise";
}

static int run_own(const struct plan_args *a, const struct model *m, struct own *own,
                   struct err *err)
{
    struct planner_result *r = NULL;
    _cleanup_json_ json_t *body = NULL, *doc = NULL;
    int rc = planner_run(&own->p, &r, err);
    if (rc < 0)
        return rc;
    struct plan_origin origin = {
        .class = class_of(own->p.mode), .reason = own->why, .seed = own->p.seed};
    rc = plan_body_new(m, r, &origin, &body, err);
    planner_result_free(r);
    if (rc == 0)
        rc = plan_doc_new(body, &doc, err);
    if (rc < 0)
        return rc;
    _cleanup_json_ json_t *warnings = json_array();
    for (int i = 0; i < m->n_warnings; i++)
        json_array_append_new(warnings, json_string(m->warnings[i]));
    add_field(doc, "warnings", warnings);
    return show(doc, a->json, err);
}

static int make_own(const struct plan_args *a, enum planner_mode mode, const char *snapshot,
                    size_t len, struct err *err)
{
    static const struct plan_names none;
    _cleanup_(model_freep) struct model *m = NULL;
    int rc = model_parse(snapshot, len, &m, err);
    if (rc < 0)
        return rc;
    struct own own = {.p = {.model = m,
                            .mode = mode,
                            .now = a->has_at ? a->at : m->taken_at,
                            .override_holds = mode == PLANNER_DRAIN || mode == PLANNER_RESTART,
                            .copy_storage = a->copy_storage && mode != PLANNER_RESTART,
                            .power = a->standby,
                            .alternatives = true,
                            .max_moves = a->max_moves,
                            .deadline_ms = (msec)a->deadline_s * 1000,
                            .n_plus = a->n_plus,
                            .seed = a->has_seed ? a->seed : m->seed}};
    bool drains = mode == PLANNER_DRAIN, restarts = mode == PLANNER_RESTART;
    if (drains || restarts)
        rc =
            find_sources(m, drains ? &a->drain : &a->fail, drains ? &a->domains : &none, &own, err);
    if (rc == 0) {
        revive(m, &own);
        say_why(a, &own);
        rc = run_own(a, m, &own, err);
    }
    free(own.sources);
    return rc;
}

/* ---- the command */

static int check_usage(struct plan_args *a, enum planner_mode *mode)
{
    bool hosts = a->drain.n > 0 && a->domains.n + a->fail.n == 0;
    bool lost = a->fail.n > 0 && a->drain.n + a->domains.n == 0;
    struct plan_names *more = hosts ? &a->drain : &a->fail;
    for (int i = 0; i < a->n_operands; i++) { /* --drain hv1 hv2: those behind are hosts too */
        if ((!hosts && !lost) || more->n == PLAN_NAMES_MAX)
            return args_usage(a->command, "\"%s\" is not expected", a->operands[i]);
        more->items[more->n++] = a->operands[i];
    }
    if (a->policy == NULL && a->mode == NULL && !plan_args_what_if(a))
        return args_usage(a->command, "--policy is missing");
    if (a->policy != NULL &&
        (a->mode != NULL || a->copy_storage || a->standby || a->n_plus != QUANTITY_UNKNOWN ||
         a->max_moves > 0 || a->deadline_s > 0))
        return args_usage(a->command,
                          "--mode, --copy-storage, --standby, --n-plus, --max-moves and --deadline "
                          "are the policy's to say");
    if (choose_mode(a, mode) < 0)
        return -1;
    if (*mode == PLANNER_DRAIN && a->drain.n + a->domains.n == 0)
        return args_usage(a->command, "drain wants --drain or --drain-domain");
    if (*mode == PLANNER_RESTART && a->fail.n == 0)
        return args_usage(a->command, "restart wants --fail");
    return 0;
}

int cmd_plan_make(int argc, char **argv)
{
    _cleanup_(plan_args_done) struct plan_args a = {.command = "plan make", .help = make_help};
    _cleanup_(freep) char *snapshot = NULL;
    struct err err = {0};
    enum planner_mode mode = PLANNER_BALANCE;
    size_t len;
    int rc = plan_args_parse(&a, argc, argv, make_takes);
    if (rc != PLAN_ARGS_GO)
        return rc;
    if (check_usage(&a, &mode) < 0)
        return 2;
    rc = whatif_snapshot(&a, &snapshot, &len, &err);
    if (rc == 0)
        rc = a.policy != NULL ? make_by_policy(&a, snapshot, len, &err)
                              : make_own(&a, mode, snapshot, len, &err);
    return rc < 0 ? args_failed(&err) : 0;
}
