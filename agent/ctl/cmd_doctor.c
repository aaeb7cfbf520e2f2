/* skein doctor: what is wrong with this host, or in the way of a move. */
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

static const char help[] =
    "usage: skein doctor [-o table|json] [--socket PATH] [VM HOST]\n"
    "\n"
    "Without VM: what is wrong with the host of this agent: libvirt's and QEMU's settings, trust,\n"
    "lock manager, clock, limits. With VM and HOST: all that is in the way of moving that VM "
    "there:\n"
    "what its own host finds, there too, through the other's libvirt; ask the agent of the host\n"
    "where it runs. All of it is checked again before anything moves.\n"
    "Each finding has a code, what was found, and what to do; one that forbids no move is advice.\n"
    "Exit status 1 when there is one.\n"
    "\n"
    "Examples:\n"
    "  skein doctor\n"
    "  skein doctor web1 hv2\n"
    "  skein doctor -o json | jq -r '.findings[].code'\n";

static const struct table_column columns[] = {
    {.name = "CODE"}, {.name = "FOUND", .wrap = true}, {.name = "TO DO", .wrap = true}};

/* The VM's UUID, if it runs on the host of this agent. */
static int find_vm(const struct cli *cli, const char *name, char uuid[UUID_SIZE], struct err *err)
{
    _cleanup_json_ json_t *vms = NULL, *status = NULL;
    size_t i;
    const json_t *vm;
    if (cli_get(cli, "/v1/vms", &vms, err) < 0 || cli_get(cli, "/v1/status", &status, err) < 0)
        return -(int)err->code;
    const char *own = text_or(status, "host", "");
    json_array_foreach(json_object_get(vms, "vms"), i, vm)
    {
        const char *host = text_or(vm, "host", "?");
        if (strcmp(text_or(vm, "name", ""), name) != 0 &&
            strcmp(text_or(vm, "uuid", ""), name) != 0)
            continue;
        if (own[0] != '\0' && strcmp(own, host) != 0)
            return err_set(err, ERR_CONFLICT, "%s is on %s: ask the agent there", name, host);
        snprintf(uuid, UUID_SIZE, "%s", text_or(vm, "uuid", ""));
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "there is no VM \"%.64s\"; see: skein vms", name);
}

static void print_findings(const json_t *answer, const char *what)
{
    const json_t *findings = json_object_get(answer, "findings"), *f;
    size_t i;
    if (json_array_size(findings) == 0) {
        printf("nothing is wrong with %s\n", what);
        return;
    }
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(findings, i, f)
    {
        table_line(t);
        table_set(t, 0, text_or(f, "code", "?"));
        table_set(t, 1, text_or(f, "evidence", ""));
        _cleanup_(freep) char *remedy =
            xasprintf("%s%s", json_is_true(json_object_get(f, "advice")) ? "(advice) " : "",
                      text_or(f, "remedy", ""));
        table_set(t, 2, remedy);
    }
    table_print(t, stdout);
}

int cmd_doctor(int argc, char **argv)
{
    struct cli cli = {.command = "doctor", .help = help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    char uuid[UUID_SIZE];
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 2);
    if (rc != CLI_GO)
        return rc;
    if (cli.n_operands == 1) {
        fprintf(stderr, "skein doctor: wants VM and HOST, or neither; see skein doctor --help\n");
        return 2;
    }
    if (cli.n_operands == 2 && find_vm(&cli, cli.operands[0], uuid, &err) < 0)
        return cli_failed(&err);
    _cleanup_(freep) char *path = cli.n_operands == 2
                                      ? xasprintf("/v1/doctor/%s?to=%s", uuid, cli.operands[1])
                                      : xstrdup("/v1/doctor");
    if (cli_get(&cli, path, &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    else
        print_findings(answer,
                       cli.n_operands == 2 ? cli.operands[0] : text_or(answer, "host", "?"));
    return json_array_size(json_object_get(answer, "findings")) > 0 ? 1 : 0;
}
