/* skein support-bundle PLAN: all that one agent knows of a plan, in files, for whoever has to find
 * out what went wrong; with a post-mortem form, filled in as far as it is known. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/report_html.h"
#include "agent/ctl/text.h"
#include "proto/canon.h"

#define RECORDS 1000            /* of the audit, the newest: the store gives no more at once */
#define MARGIN_MS (5 * 60000LL) /* before and after the plan, of the journal */

static const char help[] =
    "usage: skein support-bundle [--to DIRECTORY] [--socket PATH] PLAN\n"
    "\n"
    "Put into files what this agent knows of a plan: the plan, its report with the statistics of\n"
    "every move, the snapshot it was made from, this host's audit records of it, its state, what\n"
    "its doctor finds, and the journal of the agent and of libvirtd around that time; and a form\n"
    "for a post-mortem, filled in as far as it is known. Files of a host carry its name: run it "
    "on\n"
    "source, destination and planner with the same DIRECTORY (skein-PLAN by default), and both\n"
    "sides are there. Nothing in it is secret to those who may read the plan; names of VMs are in "
    "it.\n"
    "\n"
    "Examples:\n"
    "  skein support-bundle 3f2a9c\n"
    "  skein support-bundle --to /srv/incident-12 3f2a9c\n";

struct bundle {
    const struct cli *cli;
    const char *directory;
    char *host;       /* owned */
    unsigned missing; /* parts that could not be had */
};

static FILE *part_open(const struct bundle *b, const char *name, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", b->directory, name);
    FILE *f = fopen(path, "we");
    if (f == NULL)
        err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    return f;
}

static int part_close(FILE *f, const char *name, struct err *err)
{
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad)
        return err_set(err, ERR_IO, "%s: %s", name, strerror(errno));
    return 0;
}

static int write_json(const struct bundle *b, const char *name, const json_t *doc, struct err *err)
{
    FILE *f = part_open(b, name, err);
    if (f == NULL)
        return -(int)err->code;
    json_dumpf(doc, f, JSON_INDENT(2) | JSON_SORT_KEYS);
    fputc('\n', f);
    return part_close(f, name, err);
}

/* What cannot be had is said on stderr and does not keep the rest. Only a file that cannot be
 * written is an error. *ret (NULL allowed) is the document or NULL. */
static int fetch(struct bundle *b, const char *path, const char *name, json_t **ret,
                 struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err why = {0};
    if (cli_call(b->cli, path, NULL, &doc, &why) < 0) {
        fprintf(stderr, "without %s: %s\n", name, why.msg);
        b->missing++;
        return 0;
    }
    int rc = write_json(b, name, doc, err);
    if (rc == 0 && ret != NULL)
        *ret = TAKE_PTR(doc);
    return rc;
}

static int fetch_of_host(struct bundle *b, const char *path, const char *what, json_t **ret,
                         struct err *err)
{
    _cleanup_(freep) char *name = xasprintf("%s-%s.json", b->host, what);
    return fetch(b, path, name, ret, err);
}

/* ---- this host's audit, as far as it concerns the plan ---- */

static int audit_part(struct bundle *b, const char *plan, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_json_ json_t *kept = json_array();
    _cleanup_(freep) char *path = xasprintf("/v1/audit?limit=%d", RECORDS);
    _cleanup_(freep) char *name = xasprintf("%s-audit.json", b->host);
    struct err why = {0};
    size_t i;
    json_t *entry;
    if (cli_call(b->cli, path, NULL, &doc, &why) < 0) {
        fprintf(stderr, "without %s: %s\n", name, why.msg);
        b->missing++;
        return 0;
    }
    json_array_foreach(json_object_get(doc, "entries"), i, entry)
    {
        if (strcmp(text_or(entry, "record.plan", ""), plan) == 0)
            json_array_append(kept, entry);
    }
    return write_json(b, name, kept, err);
}

/* ---- the journal ---- */

static int journal_part(struct bundle *b, const json_t *report, struct err *err)
{
    char since[32], until[32];
    msec begin = time_at(report, "started_at"), end = time_at(report, "ended_at");
    _cleanup_(freep) char *path = xasprintf("%s/%s-journal.txt", b->directory, b->host);
    if (begin == QUANTITY_UNKNOWN)
        begin = time_at(report, "made_at");
    if (begin == QUANTITY_UNKNOWN)
        return 0;
    snprintf(since, sizeof since, "@%lld", (long long)(begin - MARGIN_MS) / 1000);
    snprintf(until, sizeof until, "@%lld",
             (long long)((end != QUANTITY_UNKNOWN ? end : begin + 24 * 3600000LL) + MARGIN_MS) /
                 1000);
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_IO, "fork: %s", strerror(errno));
    if (pid == 0) {
        if (freopen(path, "we", stdout) == NULL)
            _exit(126);
        execlp("journalctl", "journalctl", "--no-pager", "-q", "--utc", "-u", "skein-agent", "-u",
               "libvirtd", "-u", "virtqemud", "--since", since, "--until", until, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "without %s-journal.txt: journalctl says nothing\n", b->host);
        unlink(path);
        b->missing++;
    }
    return 0;
}

/* ---- the form ---- */

static void form_move(FILE *f, const json_t *move)
{
    char took[TEXT_SIZE], pause[TEXT_SIZE], copied[TEXT_SIZE];
    fprintf(f, "- %s from %s to %s: %s, took %s, stood still for %s, copied %s\n",
            text_or(move, "vm", "?"), text_or(move, "from", "?"), text_to(move, "?"),
            text_or(move, "state", "?"), text_ms(number_at(move, "duration_ms"), took),
            text_ms(number_at(move, "downtime_ms"), pause),
            text_mib(number_at(move, "transferred_mib"), copied));
    if (text_at(move, "code") != NULL)
        fprintf(f, "  - said: %s: %s\n", text_at(move, "code"), text_or(move, "message", ""));
    if (text_at(move, "evidence") != NULL)
        fprintf(f, "  - seen: %s\n", text_at(move, "evidence"));
    if (text_at(move, "failure.cause") != NULL)
        fprintf(f, "  - usual cause: %s\n  - usual remedy: %s\n", text_at(move, "failure.cause"),
                text_or(move, "failure.remedy", "?"));
}

static int form_part(const struct bundle *b, const json_t *report, struct err *err)
{
    static const char *const questions[] = {
        "What did users notice, from when to when?",
        "How was it found? By whom, when?",
        "What was the cause? What else made it possible?",
        "What was done by hand, in what order?",
        "What stood in the way of finding or mending it sooner?",
        "What is changed so that it does not come again, who does it, until when?",
    };

    size_t i;
    const json_t *o;
    FILE *f = part_open(b, "post-mortem.md", err);
    if (f == NULL)
        return -(int)err->code;
    fprintf(f, "# Post-mortem: plan %s, %s\n\n%s\n\n", text_or(report, "id", "?"),
            text_or(report, "state", "?"), text_or(report, "state_reason", ""));
    fprintf(f, "- Why: %s\n- Class %s, policy %s, made %s by %s\n- From %s to %s\n",
            text_or(report, "why", "?"), text_or(report, "class", "?"),
            text_or(report, "policy", "none"), text_or(report, "made_at", "?"),
            text_or(report, "author", "?"), text_or(report, "started_at", "not begun"),
            text_or(report, "ended_at", "not ended"));
    json_array_foreach(json_object_get(report, "approvals"), i, o)
    {
        fprintf(f, "- %s by %s at %s\n", text_or(o, "verdict", "?"), text_or(o, "person", "?"),
                text_or(o, "at", "?"));
    }
    fputs("\n## Moves\n\n", f);
    json_array_foreach(json_object_get(report, "moves"), i, o)
    {
        form_move(f, o);
    }
    fputs("\n## To be answered\n", f);
    for (i = 0; i < ARRAY_SIZE(questions); i++)
        fprintf(f, "\n### %s\n\n", questions[i]);
    return part_close(f, "post-mortem.md", err);
}

static int html_part(const struct bundle *b, const json_t *report, struct err *err)
{
    FILE *f = part_open(b, "report.html", err);
    if (f == NULL)
        return -(int)err->code;
    report_html(f, report);
    return part_close(f, "report.html", err);
}

/* ---- all of it ---- */

/* Digests are hexadecimal; anything else never becomes part of a path. */
static int snapshot_part(struct bundle *b, const json_t *report, struct err *err)
{
    const char *digest = text_or(report, "snapshot_digest", "");
    if (digest[0] == '\0' || digest[strspn(digest, "0123456789abcdef")] != '\0')
        return 0;
    _cleanup_(freep) char *path = xasprintf("/v1/snapshots/%s", digest);
    return fetch(b, path, "snapshot.json", NULL, err);
}

static int host_parts(struct bundle *b, const json_t *report, struct err *err)
{
    int rc = audit_part(b, text_or(report, "id", ""), err);
    if (rc == 0)
        rc = fetch_of_host(b, "/v1/status", "status", NULL, err);
    if (rc == 0)
        rc = fetch_of_host(b, "/v1/doctor", "doctor", NULL, err);
    if (rc == 0)
        rc = fetch_of_host(b, "/v1/events/recent", "events", NULL, err);
    return rc < 0 ? rc : journal_part(b, report, err);
}

/* A host's name becomes part of file names. */
static char *name_of_host(const struct cli *cli, struct err *err)
{
    _cleanup_json_ json_t *status = NULL;
    if (cli_call(cli, "/v1/status", NULL, &status, err) < 0)
        return NULL;
    char *name = xstrdup(text_or(status, "host", "host"));
    for (char *c = name; *c != '\0'; c++)
        if (*c == '/' || *c == '.' || (unsigned char)*c < 0x21)
            *c = '_';
    return name;
}

static int collect(struct bundle *b, const char *plan, struct err *err)
{
    _cleanup_json_ json_t *report = NULL;
    _cleanup_(freep) char *plan_path = xasprintf("/v1/plans/%s", plan);
    _cleanup_(freep) char *report_path = xasprintf("/v1/plans/%s/report", plan);
    if (cli_call(b->cli, report_path, NULL, &report, err) < 0)
        return -(int)err->code;
    if (mkdir(b->directory, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: %s", b->directory, strerror(errno));
    int rc = write_json(b, "report.json", report, err);
    text_tidy_json(&report);
    if (rc == 0)
        rc = fetch(b, plan_path, "plan.json", NULL, err);
    if (rc == 0)
        rc = snapshot_part(b, report, err);
    if (rc == 0)
        rc = html_part(b, report, err);
    if (rc == 0)
        rc = form_part(b, report, err);
    return rc < 0 ? rc : host_parts(b, report, err);
}

int cmd_support_bundle(int argc, char **argv)
{
    const char *to = NULL;
    const struct cli_option options[] = {{"to", '\0', NULL, &to}, {0}};
    struct cli cli = {.command = "support-bundle", .help = help};
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = cli_plan_id(&cli, cli.operands[0])) != 0)
        return rc;
    _cleanup_(freep) char *directory =
        to != NULL ? xstrdup(to) : xasprintf("skein-%s", cli.operands[0]);
    _cleanup_(freep) char *host = name_of_host(&cli, &err);
    if (host == NULL)
        return cli_failed(&err);
    struct bundle b = {.cli = &cli, .directory = directory, .host = host};
    if (collect(&b, cli.operands[0], &err) < 0)
        return cli_failed(&err);
    printf("%s\n", directory);
    if (b.missing > 0)
        fprintf(stderr, "%u parts could not be had from this host\n", b.missing);
    return 0;
}
