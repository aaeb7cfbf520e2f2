/* drain_preview.c - what a drain would do, computed before anybody signs. */
#include "agent/ctl/drain.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "planner/core/planner.h"
#include "proto/canon.h"

static bool is_named(const struct drain_hosts *hosts, const char *name)
{
    for (size_t i = 0; name != NULL && i < hosts->n; i++)
        if (strcmp(hosts->names[i], name) == 0)
            return true;
    return false;
}

/* As it will be once the order is given. */
static void mark_draining(json_t *snapshot, const struct drain_hosts *hosts, unsigned concurrency)
{
    size_t i;
    json_t *host, *limits = json_object_get(snapshot, "limits");
    json_array_foreach(json_object_get(snapshot, "hosts"), i, host)
    {
        if (is_named(hosts, json_string_value(json_object_get(host, "name"))))
            json_object_set_new(host, "state", json_string("draining"));
    }
    if (concurrency > 0 && (json_int_t)concurrency < number_at(limits, "total"))
        json_object_set_new(limits, "total", json_integer(concurrency));
}

static int plan(const struct model *m, const struct drain_hosts *hosts, struct planner_result **ret,
                struct err *err)
{
    _cleanup_(freep) int *sources = xcalloc(hosts->n, sizeof *sources);
    for (size_t i = 0; i < hosts->n; i++) {
        sources[i] = model_find_host(m, hosts->names[i]);
        if (sources[i] == MODEL_NONE)
            return err_set(err, ERR_NOT_FOUND, "there is no host \"%.64s\"; try: skein hosts",
                           hosts->names[i]);
    }
    struct planner_problem problem = {.model = m,
                                      .mode = PLANNER_DRAIN,
                                      .now = m->taken_at,
                                      .override_holds = true,
                                      .sources = sources,
                                      .n_sources = (int)hosts->n,
                                      .n_plus = QUANTITY_UNKNOWN,
                                      .seed = m->seed};
    return planner_run(&problem, ret, err);
}

static json_t *moves_json(const struct model *m, const struct planner_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n_actions; i++) {
        const struct planner_action *a = &r->actions[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:i}", "vm",
                                              vm_label(&m->vms[a->vm]), "from",
                                              m->hosts[a->from].name, "to", m->hosts[a->to].name,
                                              "ms", (json_int_t)a->estimate.ms, "downtime_ms",
                                              (json_int_t)a->estimate.downtime_ms, "mib",
                                              (json_int_t)a->estimate.mib, "step", a->step + 1));
    }
    return list;
}

/* VMs that stay: each once, by its first reason. */
static json_t *blocked_json(const struct model *m, const struct planner_result *r)
{
    json_t *list = json_array();
    _cleanup_(freep) bool *seen = xcalloc((size_t)m->n_vms + 1, sizeof *seen);
    for (int i = 0; i < r->n_actions; i++)
        seen[r->actions[i].vm] = true;
    for (int i = 0; i < r->n_refusals; i++) {
        const struct planner_refusal *f = &r->refusals[i];
        if (f->vm == MODEL_NONE || seen[f->vm])
            continue;
        seen[f->vm] = true;
        const struct model_vm *vm = &m->vms[f->vm];
        json_array_append_new(list,
                              json_pack("{s:s, s:s?, s:s, s:s, s:s?}", "vm", vm_label(vm), "host",
                                        vm->host != MODEL_NONE ? m->hosts[vm->host].name : NULL,
                                        "code", f->code, "message", f->why.message, "relax",
                                        f->why.relax[0] != '\0' ? f->why.relax : NULL));
    }
    return list;
}

static json_t *hosts_json(const struct model *m, const struct drain_hosts *hosts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < hosts->n; i++) {
        const struct model_host *h = &m->hosts[model_find_host(m, hosts->names[i])];
        int running = 0;
        for (int k = 0; k < h->n_vms; k++)
            running += vm_takes_resources(&m->vms[h->vms[k]]);
        json_array_append_new(list, json_pack("{s:s, s:i}", "host", h->name, "vms", running));
    }
    return list;
}

int drain_preview(const struct cli *cli, const struct drain_hosts *hosts, unsigned concurrency,
                  json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *snapshot = NULL;
    _cleanup_(model_freep) struct model *m = NULL;
    _cleanup_(planner_result_freep) struct planner_result *r = NULL;
    int rc = cli_call(cli, "/v1/snapshot", NULL, &snapshot, err);
    if (rc < 0)
        return rc;
    mark_draining(snapshot, hosts, concurrency);
    _cleanup_(freep) char *text = json_dumps(snapshot, JSON_COMPACT);
    if (text == NULL)
        return err_set(err, ERR_INTERNAL, "the agent's snapshot cannot be written");
    if ((rc = model_parse(text, strlen(text), &m, err)) < 0 || (rc = plan(m, hosts, &r, err)) < 0)
        return rc;
    *ret =
        json_pack("{s:o, s:o, s:o, s:I}", "hosts", hosts_json(m, hosts), "moves", moves_json(m, r),
                  "blocked", blocked_json(m, r), "ms", (json_int_t)r->makespan_ms);
    text_tidy_json(ret);
    return 0;
}

/* ---- for people ---- */

static const struct table_column columns[] = {{.name = NULL},
                                              {.name = ""},
                                              {.name = "", .right = true},
                                              {.name = "", .right = true},
                                              {.name = ""}};

static void print_moves(FILE *to, const json_t *moves)
{
    size_t i;
    const json_t *move;
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(moves, i, move)
    {
        char a[TEXT_SIZE];
        _cleanup_(freep) char *vm = xasprintf("  %s", text_or(move, "vm", "?"));
        _cleanup_(freep) char *way =
            xasprintf("%s -> %s", text_or(move, "from", "?"), text_or(move, "to", "?"));
        table_line(t);
        table_set(t, 0, vm);
        table_set(t, 1, way);
        table_set(t, 2, text_mib(number_at(move, "mib"), a));
        _cleanup_(freep) char *time = xasprintf("~%s", text_ms(number_at(move, "ms"), a));
        _cleanup_(freep) char *pause =
            xasprintf("pause ~%s", text_ms(number_at(move, "downtime_ms"), a));
        table_set(t, 3, time);
        table_set(t, 4, pause);
    }
    table_print(t, to);
}

void drain_print_preview(FILE *to, const json_t *preview, bool full)
{
    size_t i;
    const json_t *one, *moves = json_object_get(preview, "moves"),
                       *blocked = json_object_get(preview, "blocked");
    char text[TEXT_SIZE];
    json_array_foreach(json_object_get(preview, "hosts"), i, one)
    {
        fprintf(to, "%s: %lld VM%s\n", text_or(one, "host", "?"), (long long)number_at(one, "vms"),
                number_at(one, "vms") == 1 ? "" : "s");
    }
    if (full)
        print_moves(to, moves);
    fprintf(to, "%zu can move, in about %s; %zu cannot%s\n", json_array_size(moves),
            text_ms(number_at(preview, "ms"), text), json_array_size(blocked),
            json_array_size(blocked) > 0 ? ":" : "");
    json_array_foreach(blocked, i, one)
    {
        fprintf(to, "  %s on %s: %s: %s%s%s\n", text_or(one, "vm", "?"), text_or(one, "host", "?"),
                text_or(one, "code", "?"), text_or(one, "message", "?"),
                text_at(one, "relax") != NULL ? "; it could move if: " : "",
                text_or(one, "relax", ""));
    }
    fflush(to);
}
