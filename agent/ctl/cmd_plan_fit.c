/* skein plan fit: how many more VMs of a size a snapshot's hosts take. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_plan_offline.h"
#include "agent/ctl/table.h"
#include "agent/ctl/whatif.h"
#include "planner/core/room.h"
#include "proto/canon.h"

#define MOST_DEFAULT 10000

static const char fit_help[] =
    "usage: skein plan fit --snapshot FILE --vcpus N --memory-mib N [--n-plus K] [-o json]\n"
    "       skein plan fit --snapshot FILE --like VM [--n-plus K] [-o json]\n"
    "\n"
    "How many more VMs of this size fit on the hosts that are up, were any K hosts lost too: the\n"
    "VMs that run now and the new ones must then still find room elsewhere. Rules are not asked.\n"
    "\n"
    "  --snapshot FILE     skein.snapshot/1 (JSON)\n"
    "  --vcpus N           vCPUs of each\n"
    "  --memory-mib N      memory of each\n"
    "  --like VM           of the size, and with the needs, of this VM; the two above go over it\n"
    "  --n-plus K          hosts whose loss is to be survived (default: the snapshot's limit)\n"
    "  --most N            count no further (default: 10000)\n"
    "  --fail HOST, --add-host FILE, --remove-rule NAME\n"
    "                      in the snapshot altered so; see skein plan make --help\n"
    "  -o json             {fits, fits_anyhow, n_plus, n_plus_holds, hosts: [{host, more, "
    "short}]}\n"
    "\n"
    "Examples:\n"
    "  skein plan fit --snapshot now.json --vcpus 4 --memory-mib 8192 --n-plus 1\n"
    "  skein plan fit --snapshot now.json --like web1 --add-host hv9.json -o json\n";

static const char *const fit_takes[] = {"snapshot", "vcpus", "memory-mib", "like",        "n-plus",
                                        "most",     "fail",  "add-host",   "remove-rule", NULL};

static int choose_size(const struct plan_args *a, const struct model *m, struct model_vm *ret,
                       struct err *err)
{
    *ret = (struct model_vm){.vcpus = QUANTITY_UNKNOWN,
                             .memory_mib = QUANTITY_UNKNOWN,
                             .cpu_used_cores = 0,
                             .local_disk_mib = QUANTITY_UNKNOWN,
                             .hugepages_kib = QUANTITY_UNKNOWN,
                             .numa_nodes = QUANTITY_UNKNOWN,
                             .dirty_mib_s = QUANTITY_UNKNOWN,
                             .last_move = QUANTITY_UNKNOWN,
                             .hold_until = QUANTITY_UNKNOWN};
    if (a->like != NULL) {
        int v = model_find_vm(m, a->like);
        if (v == MODEL_NONE)
            return err_set(err, ERR_NOT_FOUND, "the snapshot has no VM \"%.64s\"", a->like);
        *ret = m->vms[v];
    }
    ret->vcpus = a->vcpus != QUANTITY_UNKNOWN ? a->vcpus : ret->vcpus;
    ret->memory_mib = a->memory_mib != QUANTITY_UNKNOWN ? a->memory_mib : ret->memory_mib;
    if (ret->vcpus == QUANTITY_UNKNOWN || ret->memory_mib == QUANTITY_UNKNOWN)
        return err_set(err, ERR_INVALID,
                       "the vCPUs or the memory of %s are not known: say --vcpus "
                       "and --memory-mib",
                       vm_label(ret));
    return 0;
}

static json_t *hosts_json(const struct model *m, const struct room_answer *r)
{
    json_t *list = json_array();
    for (int h = 0; h < m->n_hosts; h++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "host", m->hosts[h].name, "more",
                                              (json_int_t)r->on[h], "short", r->full[h]));
    return list;
}

static int print_json(const struct room_ask *ask, const struct room_answer *r, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_json_ json_t *doc =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "vcpus", (json_int_t)ask->like->vcpus,
                  "memory_mib", (json_int_t)ask->like->memory_mib, "fits", (json_int_t)r->fits,
                  "fits_anyhow", (json_int_t)r->fits_anyhow, "n_plus", (json_int_t)ask->n_plus,
                  "n_plus_holds", r->n_plus_holds, "hosts", hosts_json(ask->model, r));
    int rc = canon_dump(doc, &text, NULL, err);
    if (rc == 0)
        puts(text);
    return rc;
}

static void print_text(const struct room_ask *ask, const struct room_answer *r)
{
    const struct model *m = ask->model;
    printf("%" PRId64 " more VMs of %" PRId64 " vCPUs and %" PRId64 " MiB fit", r->fits,
           ask->like->vcpus, ask->like->memory_mib);
    if (ask->n_plus == 0)
        printf("\n");
    else if (!r->n_plus_holds)
        printf(": as it is, the loss of %" PRId64 " host%s is too much already (%" PRId64
               " fit without that)\n",
               ask->n_plus, ask->n_plus == 1 ? "" : "s", r->fits_anyhow);
    else
        printf(", the loss of any %" PRId64 " host%s survived (%" PRId64 " without that)\n",
               ask->n_plus, ask->n_plus == 1 ? "" : "s", r->fits_anyhow);
    for (int h = 0; h < m->n_hosts; h++)
        if (r->on[h] > 0)
            printf("  %s: %" PRId64 "\n", m->hosts[h].name, r->on[h]);
        else if (r->full[h][0] != '\0')
            printf("  %s: none, short of %s\n", m->hosts[h].name, r->full[h]);
}

static int fit(const struct plan_args *a, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL;
    _cleanup_(model_freep) struct model *m = NULL;
    struct model_vm like;
    size_t len;
    int rc = whatif_snapshot(a, &snapshot, &len, err);
    if (rc == 0)
        rc = model_parse(snapshot, len, &m, err);
    if (rc == 0)
        rc = choose_size(a, m, &like, err);
    if (rc < 0)
        return rc;
    struct room_ask ask = {.model = m,
                           .like = &like,
                           .n_plus = a->n_plus == QUANTITY_UNKNOWN ? m->limits.n_plus : a->n_plus,
                           .most = a->most == QUANTITY_UNKNOWN ? MOST_DEFAULT : a->most};
    struct room_answer answer;
    rc = room_count(&ask, &answer, err);
    if (rc < 0)
        return rc;
    if (a->json)
        rc = print_json(&ask, &answer, err);
    else
        print_text(&ask, &answer);
    room_answer_done(&answer);
    return rc;
}

int cmd_plan_fit(int argc, char **argv)
{
    _cleanup_(plan_args_done) struct plan_args a = {.command = "plan fit", .help = fit_help};
    struct err err = {0};
    int rc = plan_args_parse(&a, argc, argv, fit_takes);
    if (rc != PLAN_ARGS_GO)
        return rc;
    if (a.n_operands > 0) {
        args_usage(a.command, "\"%s\" is not expected", a.operands[0]);
        return 2;
    }
    if (a.like == NULL && (a.vcpus == QUANTITY_UNKNOWN || a.memory_mib == QUANTITY_UNKNOWN)) {
        args_usage(a.command, "the size is missing: --vcpus and --memory-mib, or --like");
        return 2;
    }
    return fit(&a, &err) < 0 ? args_failed(&err) : 0;
}
