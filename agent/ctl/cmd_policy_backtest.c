/* skein policy backtest: what a policy would have done over a recorded time. */
#include <dirent.h>
#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "planner/trace/picture.h"
#include "planner/trace/replay.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

#define COMMAND "policy backtest"
#define SAMPLES_MAX ((size_t)64 << 10) /* of a PlanetLab file; the real ones have about 1 KiB */

static const char help[] =
    "usage: skein policy backtest POLICY --trace DIR [--format recorded|planetlab] [--seed N]\n"
    "                             [--param NAME=VALUE]... [--memory ignore|count] [--svg FILE]\n"
    "                             [-o json]\n"
    "\n"
    "Live through a recorded time again with the policy deciding: the same planner, steps that "
    "are\n"
    "barriers, migrations that take time, hosts' power curves and heat. Beside it stands what "
    "would\n"
    "have happened without any move.\n"
    "\n"
    "  --trace DIR      the folder: snapshots NAME.json (recorded), or one file a VM with 288\n"
    "                   percentages (planetlab)\n"
    "  --format F       recorded (default) or planetlab\n"
    "  --memory M       planetlab: ignore (default), as the published model does, or count, with\n"
    "                   hosts large enough\n"
    "  --seed N         of every run (default: the snapshot's)\n"
    "  --param N=VALUE  a parameter of the policy\n"
    "  --svg FILE       write a picture: hosts in use, load, watts and moves over time\n"
    "  -o json          figures as a document\n"
    "\n"
    "Examples:\n"
    "  skein policy backtest policies/night_consolidation.lua --trace recorded/2026-11-28\n"
    "  skein policy backtest mine.lua --trace 20110303 --format planetlab --svg day.svg -o json\n";

struct options {
    const char *policy, *trace, *svg;
    bool planetlab, memory_counts, json, has_seed;
    uint64_t seed;
    json_t *params; /* owned */
};

static void options_done(struct options *o)
{
    json_decref(o->params);
}

/* ---- reading the trace */

struct names {
    char **items;
    size_t n, cap;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files of the folder, those that end so, in the byte order of their names. */
static int list_files(const char *dir, const char *ending, struct names *ret, struct err *err)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return err_set(err, ERR_NOT_FOUND, "%s: %m", dir);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name), tail = strlen(ending);
        if (e->d_name[0] == '.' || len < tail || strcmp(e->d_name + len - tail, ending) != 0)
            continue;
        ARRAY_RESERVE(ret->items, ret->cap, ret->n + 1);
        if (asprintf(&ret->items[ret->n++], "%s/%s", dir, e->d_name) < 0)
            abort();
    }
    closedir(d);
    if (ret->n == 0)
        return err_set(err, ERR_NOT_FOUND, "%s: no file NAME%s in it", dir, ending);
    qsort(ret->items, ret->n, sizeof *ret->items, by_bytes);
    return 0;
}

static int read_recorded(const struct options *o, struct trace **ret, struct err *err)
{
    _cleanup_(names_done) struct names names = {0};
    _cleanup_(trace_freep) struct trace *t = NULL;
    int rc = list_files(o->trace, ".json", &names, err), left_out = 0;
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        _cleanup_(freep) char *text = NULL;
        size_t len;
        int more = 0;
        rc = file_read(names.items[i], SNAPSHOT_MAX, &text, &len, err);
        if (rc == 0)
            rc = trace_recorded_add(&t, text, len, names.items[i], &more, err);
        left_out = MAX(left_out, more);
    }
    if (rc == 0 && left_out > 0)
        fprintf(stderr, "warning: %d VMs that the first snapshot does not know are left out\n",
                left_out);
    if (rc == 0)
        *ret = TAKE_PTR(t);
    return rc;
}

/* The day that the folder is named after, 20110303; else 2011-03-03, the first of the traces. */
static msec day_of(const char *dir)
{
    _cleanup_(freep) char *copy = xstrdup(dir);
    const char *name = basename(copy);
    char text[TIME_TEXT_SIZE] = "2011-03-03T00:00:00Z";
    msec start = 0;
    struct err err;
    if (strlen(name) == 8 && strspn(name, "0123456789") == 8)
        snprintf(text, sizeof text, "%.4s-%.2s-%.2sT00:00:00Z", name, name + 4, name + 6);
    if (time_parse(text, &start, &err) < 0)
        time_parse("2011-03-03T00:00:00Z", &start, &err);
    return start;
}

static int read_planetlab(const struct options *o, struct trace **ret, struct err *err)
{
    _cleanup_(names_done) struct names names = {0};
    int rc = list_files(o->trace, "", &names, err);
    if (rc < 0)
        return rc;
    _cleanup_(freep) int(*percent)[PLANETLAB_SAMPLES] = xcalloc(names.n, sizeof *percent);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        _cleanup_(freep) char *text = NULL;
        size_t len;
        rc = file_read(names.items[i], SAMPLES_MAX, &text, &len, err);
        if (rc == 0)
            rc = planetlab_parse(text, len, names.items[i], percent[i], err);
    }
    if (rc == 0)
        *ret = trace_planetlab((const int(*)[PLANETLAB_SAMPLES])percent, (int)names.n,
                               day_of(o->trace), o->memory_counts);
    return rc;
}

/* ---- living through it */

struct run {
    const struct options *o;
    char *policy, *params; /* owned */
    size_t policy_len;
    int errors;
    char last_error[sizeof((struct err *)NULL)->msg];
};

static void run_done(struct run *run)
{
    free(run->policy);
    free(run->params);
}

static int load_policy(const struct options *o, struct run *run, struct err *err)
{
    run->o = o;
    int rc = file_read(o->policy, POLICY_MAX, &run->policy, &run->policy_len, err);
    if (rc == 0 && o->params != NULL)
        rc = canon_dump(o->params, &run->params, NULL, err);
    if (rc < 0)
        return rc;
    struct worker_request req = {.task = WORKER_CHECK,
                                 .policy = run->policy,
                                 .policy_len = run->policy_len,
                                 .policy_name = o->policy};
    _cleanup_(worker_result_done) struct worker_result checked = {0};
    return worker_run(&req, &checked, err);
}

/* One evaluation; a policy that fails costs this one, as it does in an agent. */
static int decide(struct run *run, struct replay *r, struct err *err)
{
    _cleanup_(freep) char *snapshot = NULL;
    struct worker_request req = {.task = WORKER_PLAN,
                                 .power = true,
                                 .policy = run->policy,
                                 .policy_len = run->policy_len,
                                 .policy_name = run->o->policy,
                                 .params = run->params,
                                 .has_seed = run->o->has_seed,
                                 .seed = run->o->seed};
    int rc = replay_snapshot(r, &snapshot, &req.snapshot_len, err);
    if (rc < 0)
        return rc;
    req.snapshot = snapshot;
    _cleanup_(worker_result_done) struct worker_result result = {0};
    rc = worker_run(&req, &result, err);
    if (rc == -ERR_POLICY) {
        run->errors++;
        snprintf(run->last_error, sizeof run->last_error, "%s", err->msg);
        return 0;
    }
    if (rc < 0)
        return rc;
    _cleanup_(plan_doc_freep) struct plan_doc *plan = NULL;
    rc = plan_doc_from_json(result.body, &plan, err);
    if (rc == 0)
        replay_begin(r, plan);
    return rc;
}

static int live(struct run *run, struct replay *r, const struct trace *t, struct err *err)
{
    bool shows = isatty(STDERR_FILENO);
    for (int i = 0; !replay_ended(r); i++) {
        int rc = run == NULL || replay_busy(r) ? 0 : decide(run, r, err);
        if (rc < 0)
            return rc;
        replay_advance(r);
        if (run != NULL && shows)
            fprintf(stderr, "\r%d of %d samples, %ld moves%s", i + 1, t->n_samples,
                    replay_totals(r)->migrations, replay_ended(r) ? "\n" : "");
    }
    return 0;
}

/* ---- telling */

static double share(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static json_t *figures(const struct replay *r)
{
    const struct replay_totals *s = replay_totals(r);
    double kwh = s->joules / 3.6e6, slatah = share(s->overloaded_s, s->active_s);
    double pdm = share(s->unmet_moving, s->asked), slav = slatah / 100 * pdm / 100;
    return json_pack("{s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I}", "kwh", kwh, "migrations",
                     (json_int_t)s->migrations, "slatah_pct", slatah, "pdm_pct", pdm, "slav", slav,
                     "esv", slav * kwh, "unmet_pct", share(s->unmet + s->unmet_moving, s->asked),
                     "active_host_hours", s->active_s / 3600, "pingpongs", (json_int_t)s->pingpongs,
                     "temperature_excursions", (json_int_t)s->excursions);
}

static double cpu_seconds(void)
{
    double sum = 0;
    const int whose[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (size_t i = 0; i < ARRAY_SIZE(whose); i++) {
        struct rusage u;
        getrusage(whose[i], &u);
        sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    }
    return sum;
}

static void print_row(const char *name, const json_t *f)
{
    printf("%-12s %9.2f %8lld %9.2f %9.3f %10.2e %9.3f %10.1f %9lld %10lld\n", name,
           json_number_value(json_object_get(f, "kwh")),
           (long long)json_integer_value(json_object_get(f, "migrations")),
           json_number_value(json_object_get(f, "slatah_pct")),
           json_number_value(json_object_get(f, "pdm_pct")),
           json_number_value(json_object_get(f, "esv")),
           json_number_value(json_object_get(f, "unmet_pct")),
           json_number_value(json_object_get(f, "active_host_hours")),
           (long long)json_integer_value(json_object_get(f, "pingpongs")),
           (long long)json_integer_value(json_object_get(f, "temperature_excursions")));
}

static void print_text(const char *day, const struct trace *t, const struct run *run,
                       const json_t *with, const json_t *without)
{
    printf("%s: %d hosts, %d VMs, %d samples\n", day, t->n_hosts, t->n_vms, t->n_samples);
    printf("%-12s %9s %8s %9s %9s %10s %9s %10s %9s %10s\n", "", "KWH", "MOVES", "SLATAH %",
           "PDM %", "ESV", "UNMET %", "HOST-HOURS", "PINGPONGS", "EXCURSIONS");
    print_row("policy", with);
    print_row("no moves", without);
    if (run->errors > 0)
        fprintf(stderr, "warning: the policy failed %d times: %s\n", run->errors, run->last_error);
}

static int write_picture(const char *path, const char *title, const struct replay *r,
                         struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    int n;
    if (to == NULL)
        abort();
    const struct replay_row *rows = replay_rows(r, &n);
    picture_write(to, title, rows, n);
    fclose(to);
    return file_write(path, text, len, FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}

static int tell(const struct options *o, const struct trace *t, const struct run *run,
                const struct replay *r, const struct replay *idle, struct err *err)
{
    _cleanup_(freep) char *copy = xstrdup(o->trace);
    const char *day = basename(copy);
    _cleanup_json_ json_t *with = figures(r), *without = figures(idle);
    char title[256];
    snprintf(title, sizeof title, "%s over %s: %.2f kWh, %ld moves", o->policy, day,
             json_number_value(json_object_get(with, "kwh")), replay_totals(r)->migrations);
    int rc = o->svg != NULL ? write_picture(o->svg, title, r, err) : 0;
    if (rc < 0)
        return rc;
    if (!o->json) {
        print_text(day, t, run, with, without);
        return 0;
    }
    json_object_update_new(with,
                           json_pack("{s:s, s:i, s:i, s:f, s:i, s:O}", "day", day, "hosts",
                                     t->n_hosts, "vms", t->n_vms, "cpu_seconds", cpu_seconds(),
                                     "policy_errors", run->errors, "no_moves", without));
    char *text = json_dumps(with, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
    puts(text);
    free(text);
    return 0;
}

static int backtest(const struct options *o, struct err *err)
{
    _cleanup_(run_done) struct run run = {0};
    _cleanup_(trace_freep) struct trace *t = NULL;
    _cleanup_(replay_freep) struct replay *r = NULL, *idle = NULL;
    int rc = load_policy(o, &run, err);
    if (rc == 0)
        rc = o->planetlab ? read_planetlab(o, &t, err) : read_recorded(o, &t, err);
    if (rc == 0)
        rc = replay_new(t, &r, err);
    if (rc == 0)
        rc = replay_new(t, &idle, err);
    if (rc == 0)
        rc = live(&run, r, t, err);
    if (rc == 0)
        rc = live(NULL, idle, t, err);
    return rc < 0 ? rc : tell(o, t, &run, r, idle, err);
}

/* ---- arguments */

enum { OPT_TRACE = 256, OPT_FORMAT, OPT_MEMORY, OPT_SVG, OPT_SEED, OPT_PARAM };

static int one_of(const char *option, const char *text, const char *yes, const char *no, bool *ret)
{
    *ret = strcmp(text, yes) == 0;
    if (*ret || strcmp(text, no) == 0)
        return 0;
    return args_usage(COMMAND, "%s \"%.20s\": there is %s and %s", option, text, no, yes);
}

static int take_option(int option, void *to)
{
    struct options *o = to;
    switch (option) {
    case OPT_TRACE:
        o->trace = optarg;
        return 0;
    case OPT_FORMAT:
        return one_of("--format", optarg, "planetlab", "recorded", &o->planetlab);
    case OPT_MEMORY:
        return one_of("--memory", optarg, "count", "ignore", &o->memory_counts);
    case OPT_SVG:
        o->svg = optarg;
        return 0;
    case OPT_SEED:
        o->has_seed = true;
        return args_seed(COMMAND, optarg, &o->seed);
    case OPT_PARAM:
        return args_param(COMMAND, optarg, &o->params);
    default:
        return one_of("-o", optarg, "json", "text", &o->json);
    }
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option known[] = {{"trace", required_argument, NULL, OPT_TRACE},
                                          {"format", required_argument, NULL, OPT_FORMAT},
                                          {"memory", required_argument, NULL, OPT_MEMORY},
                                          {"svg", required_argument, NULL, OPT_SVG},
                                          {"seed", required_argument, NULL, OPT_SEED},
                                          {"param", required_argument, NULL, OPT_PARAM},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int rc = args_options(COMMAND, ":ho:", known, help, argc, argv, take_option, o);
    if (rc != 0)
        return rc;
    if (argc - optind != 1)
        return args_usage(COMMAND, "it wants one policy's file");
    o->policy = argv[optind];
    if (o->trace == NULL)
        return args_usage(COMMAND, "--trace is missing");
    return 0;
}

int cmd_policy_backtest(int argc, char **argv)
{
    _cleanup_(options_done) struct options o = {0};
    struct err err = {0};
    int rc = parse(argc, argv, &o);
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return backtest(&o, &err) < 0 ? args_failed(&err) : 0;
}
