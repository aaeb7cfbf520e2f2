/* skein cordon, uncordon, maintenance, restore: signed orders about hosts. (cmd_drain.c drains.) */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/host_order.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

static const char cordon_help[] =
    "usage: skein cordon --key FILE [--reason TEXT] HOST...\n"
    "\n"
    "Nothing new comes to the hosts; what runs there stays. A drain that goes on is stopped by "
    "it.\n"
    "Operators and admins may.\n"
    "\n" SIGN_HELP "  --dry-run               say what would be signed, and sign nothing\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein cordon --key olga.key --reason \"new kernel to be tried\" hv3\n";

static const char uncordon_help[] =
    "usage: skein uncordon --key FILE [--reason TEXT] HOST...\n"
    "\n"
    "Cordoned hosts take VMs again. A host that is draining or in maintenance is given back with\n"
    "skein restore.\n"
    "\n" SIGN_HELP "  --dry-run               say what would be signed, and sign nothing\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein uncordon --key olga.key hv3\n";

static const char maintenance_help[] =
    "usage: skein maintenance --key FILE [--reason TEXT] [--force] HOST...\n"
    "\n"
    "Say that people work on the hosts: nothing comes, and that they are silent is no alarm. A\n"
    "host on which VMs run is refused: drain it first.\n"
    "\n" SIGN_HELP
    "  --force                 although VMs run there; they are moved away as by a drain\n"
    "  --dry-run               say what would be signed, and sign nothing\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein drain --key olga.key --wait hv3 && skein maintenance --key olga.key hv3\n";

static const char restore_help[] =
    "usage: skein restore --key FILE [--reason TEXT] [--no-return] HOST...\n"
    "\n"
    "The hosts take VMs again, and the VMs that left when they were drained come home: by a plan "
    "that\nwaits for an approval like any other.\n"
    "\n" SIGN_HELP "  --no-return             what left stays where it is\n"
    "  --dry-run               say what would be signed, and sign nothing\n"
    "  -o json                 the agent's answer\n"
    "\n"
    "Examples:\n"
    "  skein restore --key olga.key hv3\n"
    "  skein restore --key olga.key --no-return hv3 hv4\n";

static const struct order {
    const char *type, *help, *done;
} orders[] = {{"cordon", cordon_help, "cordoned"},
              {"uncordon", uncordon_help, "up"},
              {"maintenance", maintenance_help, "in maintenance"},
              {"restore", restore_help, "up"}};

json_t *host_order(const char *type, char *const *hosts, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, json_string(hosts[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return json_pack("{s:s, s:o}", "type", type, "hosts", list);
}

int host_order_sign(const struct cli *cli, const struct sign_args *sign, json_t *command,
                    json_t **ret, struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    if (command == NULL)
        return err_set(err, ERR_INVALID, "a host's name is not UTF-8");
    int rc = sign_open(cli, sign, &signer, err);
    if (rc < 0) {
        json_decref(command);
        return rc;
    }
    return sign_post(cli, signer, command, "/v1/maintenance", ret, err);
}

void host_order_dry_run(const json_t *command)
{
    _cleanup_(freep) char *text = json_dumps(command, JSON_COMPACT | JSON_SORT_KEYS);
    printf("would sign: %s\n", text != NULL ? text : "?");
}

/* Does something run there? */
static int check_empty(const struct cli *cli, struct err *err)
{
    _cleanup_json_ json_t *vms = NULL;
    size_t i;
    const json_t *vm;
    int rc = cli_call(cli, "/v1/vms", NULL, &vms, err);
    if (rc < 0)
        return rc;
    json_array_foreach(json_object_get(vms, "vms"), i, vm)
    {
        for (int k = 0; k < cli->n_operands; k++)
            if (strcmp(text_or(vm, "host", ""), cli->operands[k]) == 0 &&
                strcmp(text_or(vm, "state", ""), "running") == 0)
                return err_set(err, ERR_CONFLICT,
                               "VM %.64s runs on %s; try: skein drain %s, or --force",
                               text_or(vm, "name", "?"), cli->operands[k], cli->operands[k]);
    }
    return 0;
}

static void say_done(const struct cli *cli, const struct order *order, const json_t *answer)
{
    if (cli->format == CLI_JSON) {
        cli_print_json(answer);
        return;
    }
    _cleanup_json_ json_t *tidy = json_incref((json_t *)(uintptr_t)answer);
    text_tidy_json(&tidy);
    for (int i = 0; i < cli->n_operands; i++)
        printf("%s is %s, by %s\n", cli->operands[i], order->done, text_or(tidy, "person", "?"));
}

static int give(const struct order *order, int argc, char **argv)
{
    struct sign_args sign = {0};
    bool force = false, no_return = false, dry_run = false;
    bool maintenance = strcmp(order->type, "maintenance") == 0,
         restore = strcmp(order->type, "restore") == 0;
    const struct cli_option options[] = {SIGN_OPTIONS(sign),
                                         {"dry-run", '\0', &dry_run, NULL},
                                         {maintenance ? "force"
                                          : restore   ? "no-return"
                                                      : NULL,
                                          '\0', maintenance ? &force : &no_return, NULL},
                                         {0}};
    struct cli cli = {.command = order->type, .help = order->help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, HOST_ORDER_MAX);
    if (rc != CLI_GO || (!dry_run && (rc = sign_check(&cli, &sign)) != 0))
        return rc;
    json_t *command = host_order(order->type, cli.operands, (size_t)cli.n_operands);
    if (no_return && command != NULL)
        json_object_set_new(command, "no_return", json_true());
    if (dry_run) {
        host_order_dry_run(command);
        json_decref(command);
        return 0;
    }
    if (maintenance && !force && check_empty(&cli, &err) < 0) {
        json_decref(command);
        return cli_failed(&err);
    }
    if (host_order_sign(&cli, &sign, command, &answer, &err) < 0)
        return cli_failed(&err);
    say_done(&cli, order, answer);
    return 0;
}

int cmd_cordon(int argc, char **argv)
{
    return give(&orders[0], argc, argv);
}

int cmd_uncordon(int argc, char **argv)
{
    return give(&orders[1], argc, argv);
}

int cmd_maintenance(int argc, char **argv)
{
    return give(&orders[2], argc, argv);
}

int cmd_restore(int argc, char **argv)
{
    return give(&orders[3], argc, argv);
}
