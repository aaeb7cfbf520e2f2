/* skein migrate VM HOST: a signed request for one move. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "agent/ctl/vm_find.h"
#include "agent/ctl/wait.h"
#include "planner/core/migration.h"
#include "proto/canon.h"

static const char help[] =
    "usage: skein migrate --key FILE [--cert FILE] [--reason TEXT] [--wait[=SECONDS]]\n"
    "                     [--mode MODE] [--xbzrle] [--parallel N] [--no-auto-converge]\n"
    "                     [--copy-storage[=WHICH]] [--disks LIST] VM HOST\n"
    "\n"
    "Ask for one move: sign the request and print the id of the plan that answers it, or why "
    "there\n"
    "is none. The plan is held to every rule, and waits for somebody else's approval. Operators "
    "and\nadmins may. VM is a name or a UUID.\n"
    "How it is moved is the planner's choice, unless one of these is given:\n"
    "  --mode MODE             precopy; postcopy: switched when pre-copy does not converge;\n"
    "                          postcopy-after-precopy: switched after the first round; offline: "
    "only\n"
    "                          the definition of a VM that is shut off. Post-copy only where the "
    "VM\n"
    "                          allows it\n"
    "  --xbzrle                send pages that are sent again as differences\n"
    "  --parallel N            over N connections\n"
    "  --no-auto-converge      do not slow the guest\n"
    "  --copy-storage[=WHICH]  copy disks that are on its host only: all, or incremental\n"
    "  --disks LIST            only these: vda,vdb\n"
    "What does not go together is refused.\n"
    "\n" SIGN_HELP WAIT_HELP
    "  -o json                 the agent's answer, or with --wait the plan at its end\n"
    "\n"
    "Examples:\n"
    "  skein migrate --key olga.key web1 hv3\n"
    "  skein migrate --key olga.key --reason \"noisy neighbour\" --wait web1 hv3\n"
    "  skein migrate --key olga.key --mode postcopy db1 hv3\n"
    "  skein migrate --key olga.key --copy-storage --disks vdb web1 hv3\n";

struct how_args {
    const char *mode, *parallel, *storage, *disks;
    bool xbzrle, steady, copies;
};

static bool how_given(const struct how_args *a)
{
    return a->mode != NULL || a->parallel != NULL || a->disks != NULL || a->xbzrle || a->steady ||
           a->copies;
}

/* Every field is written out: what was signed is what is carried out. */
static int how_read(const struct how_args *a, struct migration_choice *c, struct err *err)
{
    *c = (struct migration_choice){.xbzrle = a->xbzrle};
    if (a->mode != NULL && !migrate_mode_find(a->mode, &c->mode))
        return err_set(err, ERR_INVALID, "--mode: \"%s\" is no mode; see skein migrate --help",
                       a->mode);
    c->auto_converge =
        !a->steady && c->mode != MIGRATE_OFFLINE && c->mode != MIGRATE_POSTCOPY_AFTER_PRECOPY;
    if (a->copies)
        c->storage = MIGRATE_STORAGE_ALL;
    if (a->storage != NULL &&
        (!migrate_storage_find(a->storage, &c->storage) || c->storage == MIGRATE_STORAGE_NONE))
        return err_set(err, ERR_INVALID, "--copy-storage: \"%s\" is neither all nor incremental",
                       a->storage);
    if (a->disks != NULL && strlen(a->disks) >= sizeof c->disks)
        return err_set(err, ERR_LIMIT, "--disks: too many");
    if (a->disks != NULL)
        snprintf(c->disks, sizeof c->disks, "%s", a->disks);
    if (a->parallel != NULL) {
        char *end;
        unsigned long n = strtoul(a->parallel, &end, 10);
        if (*end != '\0' || a->parallel[0] < '0' || a->parallel[0] > '9' || n < 1 || n > 255)
            return err_set(err, ERR_INVALID, "--parallel: \"%s\" is not a number from 1 to 255",
                           a->parallel);
        c->parallel = (uint32_t)n;
    }
    return migration_check(c, err);
}

static json_t *how_json(const struct migration_choice *c)
{
    json_t *o = json_pack("{s:s, s:b, s:i}", "mode", migrate_mode_name(c->mode), "auto_converge",
                          c->auto_converge, "parallel", (int)c->parallel);
    migration_write(c, o);
    return o;
}

static int request(const struct cli *cli, const struct sign_args *args, json_t *how, json_t **ret,
                   struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    _cleanup_json_ json_t *vms = NULL;
    const json_t *vm = NULL;
    int rc;
    if ((rc = cli_call(cli, "/v1/vms", NULL, &vms, err)) < 0 ||
        (rc = vm_find(json_object_get(vms, "vms"), cli->operands[0], &vm, err)) < 0 ||
        (rc = sign_open(cli, args, &signer, err)) < 0)
        return rc;
    json_t *command =
        json_pack("{s:s, s:s, s:s, s:s}", "type", "migrate", "vm", text_or(vm, "name", ""), "uuid",
                  text_or(vm, "uuid", ""), "to", cli->operands[1]);
    if (command == NULL)
        return err_set(err, ERR_INVALID, "the host's name is not UTF-8");
    if (how != NULL)
        json_object_set(command, "parameters", how);
    return sign_post(cli, signer, command, "/v1/migrations", ret, err);
}

int cmd_migrate(int argc, char **argv)
{
    struct sign_args sign = {0};
    struct wait_args wait = {0};
    struct how_args args = {0};
    struct migration_choice how;
    const struct cli_option options[] = {
        SIGN_OPTIONS(sign),
        WAIT_OPTION(wait),
        {"mode", '\0', NULL, &args.mode},
        {"xbzrle", '\0', &args.xbzrle, NULL},
        {"parallel", '\0', NULL, &args.parallel},
        {"no-auto-converge", '\0', &args.steady, NULL},
        {"copy-storage", '\0', &args.copies, &args.storage},
        {"disks", '\0', NULL, &args.disks},
        {0},
    };
    struct cli cli = {.command = "migrate", .help = help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 2, 2);
    if (rc != CLI_GO || (rc = wait_check(&cli, &wait)) != 0 || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    if (how_read(&args, &how, &err) < 0)
        return cli_usage(&cli, "%s", err.msg);
    _cleanup_json_ json_t *parameters = how_given(&args) ? how_json(&how) : NULL;
    if (request(&cli, &sign, parameters, &answer, &err) < 0)
        return cli_failed(&err);
    return wait_answered(&cli, answer, true, &wait);
}
