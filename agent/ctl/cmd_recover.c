/* skein recover: other voters, when most of those that were are lost. The work is done by the
 * agent's own program, which knows its store; here is the word for it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"

#define ARGUMENTS_MAX 12

static const char help[] =
    "usage: skein recover [-c CONFIG] [--out FILE | --from FILE] [--yes --reason TEXT]\n"
    "\n"
    "Gives the cluster other voters when a majority of them is lost and will not come back. Runs\n"
    "on a host whose agent is stopped; CONFIG is its configuration (/etc/skein/agent.conf), whose\n"
    "raft.voters names those that shall vote from now on. Without --yes it says what this host\n"
    "holds and what would be done, and does nothing. What is done stands in the host's audit.\n"
    "\n"
    "  --out FILE     write the log for the other new voters, too\n"
    "  --from FILE    take the log that another new voter wrote\n"
    "  --yes          do it\n"
    "  --reason TEXT  why: for the audit\n"
    "\n"
    "In this order:\n"
    "  1. Make sure that the lost voters stay away: power off, state directories removed.\n"
    "  2. Stop all agents that are left. Guests are not touched.\n"
    "  3. On each voter that is left: skein recover. Go on where term, then entry are highest.\n"
    "  4. In every agent.conf: raft.voters, those that shall vote from now on.\n"
    "  5. There:                       skein recover --out log.db --yes --reason \"...\"\n"
    "  6. On every other new voter:    skein recover --from log.db --yes --reason \"...\"\n"
    "  7. Start all agents, and look at the plans that were under way: skein plan list\n"
    "\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 not possible here.\n";

/* skein-agent beside this program, as it is installed. */
static int agent_program(char *ret, size_t size)
{
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return -1;
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    int len = snprintf(ret, size, "%.*s/skein-agent", slash != NULL ? (int)(slash - own) : 0, own);
    if (len > 0 && (size_t)len < size && access(ret, X_OK) == 0)
        return 0;
    snprintf(ret, size, "/usr/sbin/skein-agent");
    return access(ret, X_OK);
}

static int become_agent(const char *const *options, const char *const *values, bool yes)
{
    char program[PATH_MAX];
    const char *args[ARGUMENTS_MAX] = {program, "--recover"};
    size_t n = 2;
    if (agent_program(program, sizeof program) < 0) {
        fprintf(stderr, "error: there is no skein-agent beside this program\n");
        return 3;
    }
    for (size_t i = 0; options[i] != NULL; i++)
        if (values[i] != NULL) {
            args[n++] = options[i];
            args[n++] = values[i];
        }
    args[n] = yes ? "--yes" : NULL;
    execv(program, (char *const *)(uintptr_t)args);
    perror("error: skein-agent");
    return 3;
}

int cmd_recover(int argc, char **argv)
{
    static const char *const names[] = {"-c", "--out", "--from", "--reason", NULL};
    struct cli cli = {.command = "recover", .help = help};
    const char *values[] = {"/etc/skein/agent.conf", NULL, NULL, NULL};
    bool yes = false;
    const struct cli_option options[] = {
        {"config", 'c', NULL, &values[0]}, {"out", '\0', NULL, &values[1]},
        {"from", '\0', NULL, &values[2]},  {"reason", '\0', NULL, &values[3]},
        {"yes", '\0', &yes, NULL},         {0}};
    int rc = cli_parse(&cli, argc, argv, options, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (values[1] != NULL && values[2] != NULL)
        return cli_usage(&cli, "either --out or --from");
    if (yes && values[3] == NULL)
        return cli_usage(&cli, "--yes wants a reason for the audit: --reason TEXT");
    return become_agent(names, values, yes);
}
