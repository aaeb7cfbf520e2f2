/* skein drain: a signed order to empty hosts, what stands in its way, and how far it is. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/drain.h"
#include "agent/ctl/host_order.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/text.h"
#include "agent/ctl/wait.h"
#include "proto/canon.h"

#define DEADLINE_MAX_S (30 * 86400)
#define CONCURRENCY_MAX 1000

static const char help[] =
    "usage: skein drain --key FILE [--wait[=SECONDS]] [OPTION]... HOST...\n"
    "       skein drain --key FILE --domain DOMAIN [OPTION]...\n"
    "       skein drain --dry-run HOST...\n"
    "\n"
    "Empty hosts: nothing comes to them any more, and what runs there moves elsewhere, by plans "
    "that\nwait for an approval. What cannot move is said first, and never holds up the rest. The "
    "drain\noutlives agents and planners; it ends with skein restore, or is stopped with skein "
    "cordon.\nWithout --wait, this returns as soon as there is a plan to approve.\n"
    "\n" SIGN_HELP
    "  --domain DOMAIN         every host of this failure domain (\"dc1/room2/rack7\")\n"
    "  --concurrency N         at most so many moves of this drain at once\n"
    "  --deadline SECONDS      by then it should be over: it is a warning when it is not\n"
    "  --fallback WHAT         of VMs that cannot move: wait (the default: they move as soon as\n"
    "                          they can), skip (the drain is done without them), shutdown or\n"
    "                          suspend (to disk): the plan does that, behind all moves\n"
    "  --dry-run               say what would move and what cannot, and sign nothing\n"
    "  --wait[=SECONDS]        until nothing is left that can move (so long at most); exit status\n"
    "                          0 only if the hosts are empty, or the rest may be skipped\n"
    "  -o json                 the hosts' records at the end (with --dry-run: the preview)\n"
    "\n"
    "Examples:\n"
    "  skein drain --dry-run hv3\n"
    "  skein drain --key olga.key --reason \"new DIMM\" --wait hv3\n"
    "  skein drain --key olga.key --domain dc1/r7 --concurrency 5 --wait=7200\n";

struct drain_args {
    struct sign_args sign;
    struct wait_args wait;
    const char *domain, *concurrency, *deadline, *fallback;
    bool dry_run;
    int n_concurrency, n_deadline;
};

static int check_args(const struct cli *cli, struct drain_args *a)
{
    struct err err;
    if ((a->domain != NULL) == (cli->n_operands > 0))
        return cli_usage(cli, "wants hosts, or --domain");
    if (a->concurrency != NULL &&
        args_number("--concurrency", a->concurrency, CONCURRENCY_MAX, &a->n_concurrency, &err) < 0)
        return cli_usage(cli, "%s", err.msg);
    if (a->deadline != NULL &&
        args_number("--deadline", a->deadline, DEADLINE_MAX_S, &a->n_deadline, &err) < 0)
        return cli_usage(cli, "%s", err.msg);
    static const char *const known[] = {"wait", "skip", "shutdown", "suspend"};
    bool found = a->fallback == NULL;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        found = found || strcmp(a->fallback, known[i]) == 0;
    if (!found)
        return cli_usage(cli, "--fallback %.32s: wait, skip, shutdown or suspend is wanted",
                         a->fallback);
    return 0;
}

/* "dc1/r7" holds "dc1/r7/u3", not "dc1/r70". */
static bool within(const char *domain, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(domain, prefix, n) == 0 && (domain[n] == '\0' || domain[n] == '/');
}

/* The names are borrowed from *ret_doc or from the command line; the array is the caller's. */
static int find_hosts(const struct cli *cli, const struct drain_args *a, json_t **ret_doc,
                      struct drain_hosts *ret, struct err *err)
{
    size_t i;
    const json_t *host;
    ret->names = xcalloc(HOST_ORDER_MAX, sizeof *ret->names);
    for (int k = 0; k < cli->n_operands; k++)
        ret->names[ret->n++] = cli->operands[k];
    if (a->domain == NULL)
        return 0;
    int rc = cli_call(cli, "/v1/hosts", NULL, ret_doc, err);
    if (rc < 0)
        return rc;
    json_array_foreach(json_object_get(*ret_doc, "hosts"), i, host)
    {
        const char *name = text_at(host, "name");
        if (name == NULL || !within(text_or(host, "failure_domain", ""), a->domain))
            continue;
        if (ret->n == HOST_ORDER_MAX)
            return err_set(err, ERR_LIMIT, "more than %d hosts are in %.64s: name them",
                           HOST_ORDER_MAX, a->domain);
        ret->names[ret->n++] = name;
    }
    if (ret->n == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "no host is in the failure domain \"%.64s\"; try: skein hosts -o wide",
                       a->domain);
    return 0;
}

static json_t *command_of(const struct drain_args *a, const struct drain_hosts *hosts)
{
    json_t *o = host_order("drain", (char *const *)(uintptr_t)hosts->names, hosts->n);
    if (o != NULL && a->n_concurrency > 0)
        json_object_set_new(o, "concurrency", json_integer(a->n_concurrency));
    if (o != NULL && a->n_deadline > 0)
        json_object_set_new(o, "deadline_seconds", json_integer(a->n_deadline));
    if (o != NULL && a->fallback != NULL)
        json_object_set_new(o, "fallback", json_string(a->fallback));
    return o;
}

static int follow(const struct cli *cli, const struct drain_args *a,
                  const struct drain_hosts *hosts, struct err *err)
{
    _cleanup_json_ json_t *records = NULL, *plans = NULL;
    int seconds = 0;
    FILE *to = cli->format == CLI_JSON ? stderr : stdout;
    if (a->wait.seconds != NULL &&
        args_number("--wait", a->wait.seconds, DEADLINE_MAX_S, &seconds, err) < 0)
        return -(int)err->code;
    int rc = drain_follow(cli, hosts, a->wait.given ? DRAIN_DONE : DRAIN_PLANNED,
                          (msec)seconds * 1000, to, &records, &plans, err);
    if (a->wait.given)
        drain_print_report(cli, plans, to);
    if (rc == 0 && a->wait.given)
        fprintf(to, "drained\n");
    if (cli->format == CLI_JSON && records != NULL)
        cli_print_json(records);
    return rc;
}

static int drain(const struct cli *cli, const struct drain_args *a, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL, *preview = NULL, *answer = NULL;
    struct drain_hosts hosts = {0};
    bool json = cli->format == CLI_JSON;
    int rc = find_hosts(cli, a, &doc, &hosts, err);
    _cleanup_(freep) const char **names _unused_ = hosts.names;
    if (rc < 0 || (rc = drain_preview(cli, &hosts, (unsigned)a->n_concurrency, &preview, err)) < 0)
        return rc;
    if (json && a->dry_run)
        cli_print_json(preview);
    else
        drain_print_preview(json ? stderr : stdout, preview, a->dry_run);
    if (a->dry_run)
        return 0;
    rc = host_order_sign(cli, &a->sign, command_of(a, &hosts), &answer, err);
    return rc < 0 ? rc : follow(cli, a, &hosts, err);
}

int cmd_drain(int argc, char **argv)
{
    struct drain_args a = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(a.sign),
                                         WAIT_OPTION(a.wait),
                                         {"domain", '\0', NULL, &a.domain},
                                         {"concurrency", '\0', NULL, &a.concurrency},
                                         {"deadline", '\0', NULL, &a.deadline},
                                         {"fallback", '\0', NULL, &a.fallback},
                                         {"dry-run", '\0', &a.dry_run, NULL},
                                         {0}};
    struct cli cli = {.command = "drain", .help = help, .formats = CLI_JSON};
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 0, HOST_ORDER_MAX);
    if (rc != CLI_GO || (rc = check_args(&cli, &a)) != 0 || (rc = wait_check(&cli, &a.wait)) != 0 ||
        (!a.dry_run && (rc = sign_check(&cli, &a.sign)) != 0))
        return rc;
    return drain(&cli, &a, &err) < 0 ? cli_failed(&err) : 0;
}
