/* skein status: the cluster on one screen. At most 24 lines, whatever goes on. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

/* Lines of each list; with the fixed lines at most 24. */
#define HEALTH_LINES 5
#define MOVES_LINES 5
#define WAITING_LINES 3

static const char help[] =
    "usage: skein status [-o table|json] [--socket PATH]\n"
    "\n"
    "The cluster on one screen: health, planner and voters, hosts, plans, what moves, what waits\n"
    "for whom, and why nothing is happening.\n"
    "\n"
    "Examples:\n"
    "  skein status\n"
    "  skein status -o json | jq -r '.health[].code'\n";

/* "3 up, 1 offline" */
static char *counts_text(const json_t *counts)
{
    struct buf b = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)counts, key, value)
    {
        buf_addf(&b, "%s%lld %s", b.len > 0 ? ", " : "", (long long)json_integer_value(value), key);
    }
    if (b.len == 0)
        buf_adds(&b, "none");
    return buf_take(&b);
}

static bool has_error(const json_t *status)
{
    size_t i;
    const json_t *check;
    json_array_foreach(json_object_get(status, "health"), i, check)
    {
        if (strcmp(text_or(check, "severity", ""), "error") == 0)
            return true;
    }
    return false;
}

static void print_voters(const json_t *status)
{
    size_t i, up = 0;
    const json_t *voter, *voters = json_object_get(status, "voters");
    _cleanup_(buf_done) struct buf names = {0};
    json_array_foreach(voters, i, voter)
    {
        bool is_up = json_is_true(json_object_get(voter, "up"));
        up += is_up;
        buf_addf(&names, " %s%s", text_or(voter, "host", "?"), is_up ? "" : "(down)");
    }
    const char *planner = text_at(status, "planner.host");
    printf("planner  %s", planner != NULL ? planner : "none");
    if (planner != NULL)
        printf(" (term %lld)", (long long)number_at(status, "planner.term"));
    printf(";  voters %zu of %zu up:%s\n", up, i, names.data != NULL ? names.data : "");
}

/* Of simulated hosts alone: what time it is there. */
static void print_world(const json_t *status)
{
    const json_t *world = json_object_get(status, "world");
    const json_t *speed = json_object_get(world, "speed");
    if (json_is_number(speed))
        printf("world    simulated: %s there, %g times as fast as real time\n",
               text_or(world, "at", "?"), json_number_value(speed));
    else if (world != NULL)
        puts("world    simulated; its time is not known yet");
}

static void print_head(const json_t *status)
{
    size_t problems = json_array_size(json_object_get(status, "health"));
    _cleanup_(freep) char *hosts = counts_text(json_object_get(status, "hosts"));
    _cleanup_(freep) char *plans = counts_text(json_object_get(status, "plans"));
    printf("cluster  %s, seen from %s;  health %s\n", text_or(status, "cluster", "?"),
           text_or(status, "host", "?"),
           has_error(status) ? "ERROR"
           : problems > 0    ? "WARNING"
                             : "OK");
    print_world(status);
    print_voters(status);
    printf("hosts    %s;  VMs %lld\n", hosts, (long long)number_at(status, "vms"));
    printf("plans    %s\n", plans);
}

static void print_more(size_t n, size_t shown)
{
    if (n > shown)
        printf("  and %zu more; try: skein status -o json\n", n - shown);
}

static void print_health(const json_t *status)
{
    size_t i;
    const json_t *check, *health = json_object_get(status, "health");
    json_array_foreach(health, i, check)
    {
        if (i < HEALTH_LINES)
            printf("  %-7s  %s: %s\n", text_or(check, "severity", "?"), text_or(check, "code", "?"),
                   text_or(check, "message", "?"));
    }
    print_more(i, HEALTH_LINES);
}

static void print_moves(const json_t *status)
{
    size_t i;
    const json_t *move, *moves = json_object_get(status, "in_flight");
    if (json_array_size(moves) > 0)
        puts("moving");
    json_array_foreach(moves, i, move)
    {
        char eta[TEXT_SIZE];
        if (i >= MOVES_LINES)
            continue;
        printf("  %s  %s -> %s  %s", text_or(move, "vm", "?"), text_or(move, "from", "?"),
               text_or(move, "to", "?"), text_or(move, "state", "?"));
        if (number_at(move, "percent") != QUANTITY_UNKNOWN)
            printf("  %lld %%", (long long)number_at(move, "percent"));
        if (number_at(move, "eta_ms") != QUANTITY_UNKNOWN)
            printf("  ~%s", text_ms(number_at(move, "eta_ms"), eta));
        printf("  (plan %s)\n", text_or(move, "plan", "?"));
    }
    print_more(i, MOVES_LINES);
}

static void print_waiting(const json_t *status)
{
    size_t i;
    const json_t *plan, *waiting = json_object_get(status, "waiting");
    if (json_array_size(waiting) > 0)
        puts("waiting for an approval");
    json_array_foreach(waiting, i, plan)
    {
        if (i < WAITING_LINES)
            printf("  %s  %lld move%s: %s; try: skein plan approve %s\n", text_or(plan, "id", "?"),
                   (long long)number_at(plan, "actions"),
                   number_at(plan, "actions") == 1 ? "" : "s", text_or(plan, "reason", "-"),
                   text_or(plan, "id", "?"));
    }
    print_more(i, WAITING_LINES);
}

static void print_last(const json_t *status)
{
    char ago[TEXT_SIZE];
    const json_t *last = json_object_get(status, "last_plan");
    const char *idle = text_or(status, "idle_reason", "");
    if (idle[0] != '\0')
        printf("idle: %s\n", idle);
    if (json_is_object(last))
        printf("last plan %s  %s  %s: %s\n", text_or(last, "id", "?"), text_or(last, "state", "?"),
               text_ago(time_at(last, "changed_at"), args_now(), ago),
               text_or(last, "reason", "-"));
}

int cmd_status(int argc, char **argv)
{
    struct cli cli = {.command = "status", .help = help, .formats = CLI_JSON};
    _cleanup_json_ json_t *status = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, "/v1/status", &status, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON) {
        cli_print_json(status);
        return 0;
    }
    print_head(status);
    print_health(status);
    print_moves(status);
    print_waiting(status);
    print_last(status);
    return 0;
}
