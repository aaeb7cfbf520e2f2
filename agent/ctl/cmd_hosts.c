/* skein hosts, skein vms: what is there. */
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

/* ---- hosts ---- */

static const char hosts_help[] =
    "usage: skein hosts [-o table|wide|name|json] [--socket PATH]\n"
    "\n"
    "The hosts as this agent sees them. \"-\" is unknown, never zero. AGE is how long ago the "
    "host\n"
    "was heard of; the planner is marked with \"*\".\n"
    "\n"
    "Examples:\n"
    "  skein hosts\n"
    "  skein hosts -o json | jq '.hosts[] | {name, inlet: .temperature.inlet_celsius}'\n";

static const struct table_column host_columns[] = {
    {.name = "HOST"},
    {.name = "STATE"},
    {.name = "VMS", .right = true},
    {.name = "MOVES", .right = true},
    {.name = "CPU", .right = true},
    {.name = "MEMORY", .right = true},
    {.name = "INLET C", .right = true},
    {.name = "CPU C", .right = true},
    {.name = "OUTLET C", .right = true, .wide = true},
    {.name = "WATTS", .right = true, .wide = true},
    {.name = "DOMAIN", .wide = true},
    {.name = "VOTES", .wide = true},
    {.name = "QEMU", .wide = true},
    {.name = "LIBVIRT", .wide = true},
    {.name = "AGE", .right = true},
};

enum {
    HOST_NAME,
    HOST_STATE,
    HOST_VMS,
    HOST_MOVES,
    HOST_CPU,
    HOST_MEMORY,
    HOST_INLET,
    HOST_CPU_TEMPERATURE,
    HOST_OUTLET,
    HOST_WATTS,
    HOST_DOMAIN,
    HOST_VOTES,
    HOST_QEMU,
    HOST_LIBVIRT,
    HOST_AGE
};

/* "3.2 / 16" */
static void set_of(struct table *t, size_t column, const char *used, const char *total)
{
    _cleanup_(freep) char *text = xasprintf("%s / %s", used, total);
    table_set(t, column, text);
}

static void add_host(struct table *t, const json_t *host)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    bool planner = json_is_true(json_object_get(host, "planner"));
    int64_t age = number_at(host, "age_seconds");
    _cleanup_(freep) char *name =
        xasprintf("%s%s", text_or(host, "name", "?"), planner ? " *" : "");
    table_line(t);
    table_set(t, HOST_NAME, name);
    table_set_state(t, HOST_STATE, text_or(host, "state", "-"));
    table_set(t, HOST_VMS, text_number(number_at(host, "vms"), a));
    table_set(t, HOST_MOVES, text_number(number_at(host, "in_flight"), a));
    set_of(t, HOST_CPU, text_milli(milli_at(host, "cpu.used_cores"), a),
           text_number(number_at(host, "cpu.cores"), b));
    set_of(t, HOST_MEMORY, text_mib(number_at(host, "memory.used_mib"), a),
           text_mib(number_at(host, "memory.total_mib"), b));
    table_set(t, HOST_INLET, text_milli(milli_at(host, "temperature.inlet_celsius"), a));
    table_set(t, HOST_CPU_TEMPERATURE, text_milli(milli_at(host, "temperature.cpu_celsius"), a));
    table_set(t, HOST_OUTLET, text_milli(milli_at(host, "temperature.outlet_celsius"), a));
    table_set(t, HOST_WATTS, text_milli(milli_at(host, "power.watts"), a));
    table_set(t, HOST_DOMAIN, text_or(host, "failure_domain", "-"));
    table_set(t, HOST_VOTES, json_is_true(json_object_get(host, "voter")) ? "yes" : "-");
    table_set(t, HOST_QEMU, text_or(host, "qemu", "-"));
    table_set(t, HOST_LIBVIRT, text_or(host, "libvirt", "-"));
    table_set(t, HOST_AGE, age == QUANTITY_UNKNOWN ? "never" : text_age(sat_mul(age, 1000), a));
}

/* ---- VMs ---- */

static const char vms_help[] =
    "usage: skein vms [-o table|wide|name|json] [--socket PATH]\n"
    "\n"
    "The VMs of all hosts, as the planner sees them; without a planner those of this host. \"-\" "
    "is\nunknown, never zero.\n"
    "\n"
    "Examples:\n"
    "  skein vms\n"
    "  skein vms -o json | jq -r '.vms[] | select(.host == \"hv1\") | .name'\n";

static const struct table_column vm_columns[] = {
    {.name = "VM"},
    {.name = "HOST"},
    {.name = "STATE"},
    {.name = "VCPUS", .right = true},
    {.name = "CPU", .right = true},
    {.name = "MEMORY", .right = true},
    {.name = "DIRTY MIB/S", .right = true},
    {.name = "MOVES 24H", .right = true},
    {.name = "HELD UNTIL"},
    {.name = "OWNER", .wide = true},
    {.name = "PRIORITY", .right = true, .wide = true},
    {.name = "UUID", .wide = true},
    {.name = "BLOCKERS", .wide = true},
};

enum {
    VM_NAME,
    VM_HOST,
    VM_STATE,
    VM_VCPUS,
    VM_CPU,
    VM_MEMORY,
    VM_DIRTY,
    VM_MOVES,
    VM_HELD,
    VM_OWNER,
    VM_PRIORITY,
    VM_UUID,
    VM_BLOCKERS
};

static char *list_text(const json_t *list)
{
    struct buf b = {0};
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        buf_addf(&b, "%s%s", i > 0 ? ", " : "", text != NULL ? text : "?");
    }
    return buf_take(&b);
}

static void add_vm(struct table *t, const json_t *vm)
{
    char a[TEXT_SIZE];
    _cleanup_(freep) char *blockers = list_text(json_object_get(vm, "blockers"));
    table_line(t);
    table_set(t, VM_NAME, text_or(vm, "name", "?"));
    table_set(t, VM_HOST, text_or(vm, "host", "-"));
    table_set_state(t, VM_STATE, text_or(vm, "state", "-"));
    table_set(t, VM_VCPUS, text_number(number_at(vm, "vcpus"), a));
    table_set(t, VM_CPU, text_milli(milli_at(vm, "cpu_used_cores"), a));
    table_set(t, VM_MEMORY, text_mib(number_at(vm, "memory_mib"), a));
    table_set(t, VM_DIRTY, text_milli(milli_at(vm, "dirty_mib_s"), a));
    table_set(t, VM_MOVES, text_number(number_at(vm, "moves_24h"), a));
    table_set(t, VM_HELD, text_or(vm, "hold_until", ""));
    table_set(t, VM_OWNER, text_or(vm, "owner", "-"));
    table_set(t, VM_PRIORITY, text_number(number_at(vm, "priority"), a));
    table_set(t, VM_UUID, text_or(vm, "uuid", "-"));
    table_set(t, VM_BLOCKERS, blockers);
}

/* ---- both ---- */

struct listing {
    const char *command, *help, *path, *key;
    const struct table_column *columns;
    size_t n;
    void (*add)(struct table *t, const json_t *item);
};

static int by_name(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;
    int order = strcmp(text_or(*x, "name", ""), text_or(*y, "name", ""));
    return order != 0 ? order : strcmp(text_or(*x, "uuid", ""), text_or(*y, "uuid", ""));
}

static void print_items(const struct listing *l, const struct cli *cli, const json_t *list)
{
    size_t n = json_array_size(list);
    _cleanup_(freep) const json_t **items = xcalloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = json_array_get(list, i);
    qsort(items, n, sizeof *items, by_name);
    struct table *t = table_new(l->columns, l->n, cli->format == CLI_WIDE);
    for (size_t i = 0; i < n; i++) {
        if (cli->format == CLI_NAME)
            puts(text_or(items[i], "name", "?"));
        else
            l->add(t, items[i]);
    }
    table_print(t, stdout);
}

static int show_list(const struct listing *l, int argc, char **argv)
{
    struct cli cli = {
        .command = l->command, .help = l->help, .formats = CLI_JSON | CLI_WIDE | CLI_NAME};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, l->path, &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        print_items(l, &cli, json_object_get(doc, l->key));
    if (json_is_true(json_object_get(doc, "partial")))
        fputs("warning: the planner does not answer: only what this host knows\n", stderr);
    return 0;
}

int cmd_hosts(int argc, char **argv)
{
    static const struct listing hosts = {"hosts", hosts_help,   "/v1/hosts",
                                         "hosts", host_columns, ARRAY_SIZE(host_columns),
                                         add_host};
    return show_list(&hosts, argc, argv);
}

int cmd_vms(int argc, char **argv)
{
    static const struct listing vms = {
        "vms", vms_help, "/v1/vms", "vms", vm_columns, ARRAY_SIZE(vm_columns), add_vm};
    return show_list(&vms, argc, argv);
}
