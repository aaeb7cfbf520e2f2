/* skein drill HOST: a signed request that a host sleeps and wakes, which proves that it can. */
#include <stdio.h>
#include <string.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "agent/ctl/wait.h"
#include "proto/canon.h"

static const char help[] =
    "usage: skein drill --key FILE [--cert FILE] [--reason TEXT] [--wait[=SECONDS]] HOST\n"
    "\n"
    "Ask that a host is put on standby and woken: it proves that it wakes, without which no\n"
    "policy puts it on standby. One that sleeps is only woken. The request is answered by a plan,\n"
    "whose id is printed, and which waits for somebody else's approval. A host that votes, or on\n"
    "which a VM runs, does not sleep. Operators and admins may.\n"
    "\n" SIGN_HELP WAIT_HELP
    "  -o json                 the agent's answer, or with --wait the plan at its end\n"
    "\n"
    "Examples:\n"
    "  skein drain --key olga.key --wait hv3 && skein drill --key olga.key hv3\n";

static int request(const struct cli *cli, const struct sign_args *args, json_t **ret,
                   struct err *err)
{
    _cleanup_(sign_closep) struct signer *signer = NULL;
    int rc = sign_open(cli, args, &signer, err);
    if (rc < 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s}", "type", "drill", "host", cli->operands[0]);
    if (command == NULL)
        return err_set(err, ERR_INVALID, "the host's name is not UTF-8");
    return sign_post(cli, signer, command, "/v1/drills", ret, err);
}

int cmd_drill(int argc, char **argv)
{
    struct sign_args sign = {0};
    struct wait_args wait = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(sign), WAIT_OPTION(wait), {0}};
    struct cli cli = {.command = "drill", .help = help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = wait_check(&cli, &wait)) != 0 || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    if (request(&cli, &sign, &answer, &err) < 0)
        return cli_failed(&err);
    return wait_answered(&cli, answer, true, &wait);
}
