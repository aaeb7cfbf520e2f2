#include "agent/ctl/commands.h"

#include <locale.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/cmd_cert.h"
#include "agent/ctl/cmd_plan_offline.h"
#include "agent/ctl/cmd_policy.h"
#include "proto/util.h"

#define COMMANDS_MAX 32

/* ---- the tables ---- */

static int cmd_version(int argc, char **argv)
{
    static const char help[] = "usage: skein version [-o json]\n\n"
                               "Print the version of this program.\n\n"
                               "Examples:\n"
                               "  skein version\n";
    struct cli cli = {.command = "version", .help = help, .formats = CLI_JSON};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli.format == CLI_JSON)
        printf("{\"version\": \"%s\"}\n", SKEIN_VERSION);
    else
        printf("skein %s\n", SKEIN_VERSION);
    return 0;
}

static const struct command plan_commands[] = {
    {"list", "all plans that are remembered, the newest first", cmd_plan_list},
    {"show", "what a plan does, why, and how far it is (-f follows)", cmd_plan_show},
    {"explain", "why these moves, and why not others", cmd_plan_explain},
    {"approve", "sign a plan: it may be carried out", cmd_plan_approve},
    {"reject", "sign a refusal: it must not be carried out", cmd_plan_reject},
    {"cancel", "sign that a plan ends: nothing new of it starts", cmd_plan_cancel},
    {"pause", "sign that nothing new of a plan starts for now", cmd_plan_pause},
    {"resume", "sign that a paused plan goes on", cmd_plan_resume},
    {"rollback", "ask that what a plan moved goes back", cmd_plan_rollback},
    {"make", "make a plan from a snapshot file, with no agent", cmd_plan_make},
    {"verify", "check a plan independently, with no agent", cmd_plan_verify},
    {"fit", "how many more VMs of a size fit, with no agent", cmd_plan_fit},
};

int cmd_plan(int argc, char **argv)
{
    return commands_run("skein plan", plan_commands, ARRAY_SIZE(plan_commands), NULL, argc, argv);
}

static const struct command commands[] = {
    {"status", "the cluster on one page, and why nothing is happening", cmd_status},
    {"hosts", "the hosts: state, load, temperatures", cmd_hosts},
    {"vms", "the VMs: where they run and what they use", cmd_vms},
    {"plan", "plans: list, show, explain, approve, reject, cancel...", cmd_plan},
    {"migrate", "ask for one move: a plan of one action", cmd_migrate},
    {"cordon", "nothing new comes to a host", cmd_cordon},
    {"uncordon", "a cordoned host takes VMs again", cmd_uncordon},
    {"drain", "empty hosts; what cannot move is said first", cmd_drain},
    {"maintenance", "people work on an empty host", cmd_maintenance},
    {"restore", "a host takes VMs again, and what left comes home", cmd_restore},
    {"drill", "a host sleeps and wakes, to prove that it can", cmd_drill},
    {"freeze", "nothing new starts anywhere, for a time", cmd_freeze},
    {"unfreeze", "end a freeze", cmd_unfreeze},
    {"hold", "leave a VM alone, for a time", cmd_hold},
    {"doctor", "what is wrong with a host, or in the way of a move", cmd_doctor},
    {"recover", "other voters, when most of them are lost; its agent is stopped", cmd_recover},
    {"report", "what was done, why, by whom, how long it took", cmd_report},
    {"support-bundle", "a plan's logs and figures, and a post-mortem form", cmd_support_bundle},
    {"order", "standing orders: list, add, remove", cmd_order},
    {"rule", "rules of which VMs go together, apart, where: list, add, remove", cmd_rule},
    {"token", "what lets a new host join: list, create, revoke", cmd_token},
    {"join", "make this host a member, by a token", cmd_join},
    {"events", "what happens in the fleet, as it happens (-f follows)", cmd_events},
    {"audit", "this host's audit log: list, verify, export, prove", cmd_audit},
    {"policy", "policies: check, test, backtest, list, shadow, promote...", cmd_policy},
    {"init", "make a new cluster's identity", cmd_init},
    {"cert", "issue, list, revoke and renew certificates; make issuers", cmd_cert},
    {"roster", "the people and the gate rules, by admins' signatures", cmd_roster},
    {"version", "print the version", cmd_version},
};

/* ---- dispatch ---- */

static void print_help(FILE *to, const char *prefix, const struct command *table, size_t n,
                       const char *footer)
{
    fprintf(to, "usage: %s COMMAND [ARGUMENT]...\n\n", prefix);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "  %-14s %s\n", table[i].name, table[i].summary);
    fprintf(to, "\n%s COMMAND --help says more of each.\n%s", prefix, footer != NULL ? footer : "");
}

static int unknown_word(const char *prefix, const struct command *table, size_t n, const char *word)
{
    const char *names[COMMANDS_MAX + 1];
    REQUIRE(n <= COMMANDS_MAX);
    for (size_t i = 0; i < n; i++)
        names[i] = table[i].name;
    names[n] = NULL;
    const char *near = nearest_word(word, names);
    for (size_t i = 0; i < n && near == NULL; i++) /* or its beginning: "stat" */
        if (strlen(word) > 1 && strncmp(word, names[i], strlen(word)) == 0)
            near = names[i];
    fprintf(stderr, "%s: unknown %s \"%.64s\"", prefix, word[0] == '-' ? "option" : "command",
            word);
    if (near != NULL)
        fprintf(stderr, "; did you mean \"%s\"?\n", near);
    else
        fprintf(stderr, "; see %s --help\n", prefix);
    return 2;
}

int commands_run(const char *prefix, const struct command *table, size_t n, const char *footer,
                 int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (word[0] == '\0') {
        fprintf(stderr, "%s: wants a command; see %s --help\n", prefix, prefix);
        return 2;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout, prefix, table, n, footer);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, table[i].name) == 0)
            return table[i].run(argc - 1, argv + 1);
    return unknown_word(prefix, table, n, word);
}

int ctl_main(int argc, char **argv)
{
    static const char footer[] =
        "\n"
        "Commands that ask the agent take:\n"
        "  --socket PATH   the agent's socket (SKEIN_SOCKET; default: " CLI_SOCKET ")\n"
        "  -o FORMAT       table, wide, name or json\n"
        "\n"
        "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 not possible here.\n";
    /* Texts are UTF-8 wherever they are shown: in the C locale libsmartcols would never find the
     * end of a column that holds a character of several bytes. */
    setlocale(LC_CTYPE, "C.UTF-8");
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        argv[1] = (char *)"version";
    if (argc > 2 && strcmp(argv[1], "--socket") == 0) { /* before the command too */
        setenv("SKEIN_SOCKET", argv[2], 1);
        argv[2] = argv[0];
        argc -= 2;
        argv += 2;
    }
    return commands_run("skein", commands, ARRAY_SIZE(commands), footer, argc, argv);
}
