/* skein policy record export: what a planner's agent recorded, as a folder for a backtest. */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "planner/trace/ring.h"
#include "proto/canon.h"
#include "tls/file.h"

#define COMMAND "policy record export"
#define RING_DIRECTORY "/var/lib/skein/recorded"
#define FILE_MAX ((size_t)4 << 30)
#define NAME_SIZE 40

static const char help[] =
    "usage: skein policy record export --to DIR [--from TIME] [--until TIME] [-o json]\n"
    "                                  [FOLDER]...\n"
    "\n"
    "Take the snapshots that policies were shown out of the files in which a planner's agent\n"
    "keeps them, into a new folder, one NAME.json each in the order of their time. Every host\n"
    "that may plan has such a FOLDER (default: " RING_DIRECTORY ");\n"
    "where the planner changed, copy those of the voters to one host and name them all.\n"
    "\n"
    "  --to DIR       made where it is missing; without snapshots in it\n"
    "  --from TIME    not those before it, as 2026-11-28T00:00:00Z\n"
    "  --until TIME   not those from then on\n"
    "  -o json        how many, and their times, as a document\n"
    "\n"
    "Example:\n"
    "  skein policy record export --from 2026-11-28T00:00:00Z --to day\n"
    "  skein policy backtest policies/balance.lua --trace day\n";

struct exporter {
    const char *to;
    bool json, has_from, has_until;
    msec from, until;
    int written, twice;
    msec first, last;
};

/* A name that sorts as its time does. */
static void name_of(msec at, char ret[NAME_SIZE])
{
    time_t seconds = (time_t)(at / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[24];
    strftime(text, sizeof text, "%Y%m%dT%H%M%S", &tm);
    snprintf(ret, NAME_SIZE, "%s.%03dZ.json", text, (int)(at % 1000));
}

static int taken_at(const char *text, size_t len, msec *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc = canon_parse(text, len, "snapshot", &doc, err);
    if (rc < 0)
        return rc;
    const char *at = json_string_value(json_object_get(doc, "taken_at"));
    return at != NULL ? time_parse(at, ret, err)
                      : err_set(err, ERR_INVALID, "snapshot: taken_at is missing");
}

static int export_one(struct exporter *x, const struct ring_reader *r, struct err *err)
{
    msec at;
    int rc = taken_at(r->text, r->text_len, &at, err);
    if (rc < 0 || (x->has_from && at < x->from) || (x->has_until && at >= x->until))
        return rc;
    char name[NAME_SIZE];
    name_of(at, name);
    _cleanup_(freep) char *path = xasprintf("%s/%s", x->to, name);
    if (file_exists(path)) { /* two planners at the same moment */
        x->twice++;
        return 0;
    }
    if ((rc = file_write(path, r->text, r->text_len, 0600, FILE_ANY_GROUP, err)) < 0)
        return rc;
    x->first = x->written == 0 ? at : MIN(x->first, at);
    x->last = x->written == 0 ? at : MAX(x->last, at);
    x->written++;
    return 0;
}

/* What is damaged costs the rest of its file only. */
static int export_file(struct exporter *x, const char *path, struct err *err)
{
    _cleanup_(freep) char *data = NULL;
    _cleanup_(ring_reader_done) struct ring_reader r = {0};
    struct err damage;
    int rc = file_read(path, FILE_MAX, &data, &r.len, err), more = 0;
    r.data = data;
    while (rc == 0 && (more = ring_next(&r, &damage)) > 0)
        rc = export_one(x, &r, err);
    if (rc == 0 && more < 0)
        fprintf(stderr, "warning: %s: %s; the rest of it is left out\n", path, damage.msg);
    return rc < 0 ? err_wrap(err, "%s", path) : 0;
}

static int is_ring(const struct dirent *e)
{
    return ring_is_name(e->d_name);
}

static int is_snapshot(const struct dirent *e)
{
    size_t len = strlen(e->d_name);
    return len > 5 && strcmp(e->d_name + len - 5, ".json") == 0;
}

static void free_list(struct dirent **list, int n)
{
    for (int i = 0; i < n; i++)
        free(list[i]);
    if (n >= 0)
        free(list);
}

static int export_folder(struct exporter *x, const char *folder, struct err *err)
{
    struct dirent **list;
    int n = scandir(folder, &list, is_ring, alphasort), rc = 0;
    if (n < 0)
        return err_set(err, ERR_NOT_FOUND, "%s: %m", folder);
    for (int i = 0; i < n && rc == 0; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", folder, list[i]->d_name);
        rc = export_file(x, path, err);
    }
    free_list(list, n);
    return rc;
}

/* Others' snapshots among them would be lived through, too. */
static int make_folder(const char *to, struct err *err)
{
    struct dirent **list;
    int rc = file_make_directory(to, 0700, err);
    if (rc < 0)
        return rc;
    int n = scandir(to, &list, is_snapshot, alphasort);
    if (n < 0)
        return err_set(err, ERR_IO, "%s: %m", to);
    free_list(list, n);
    return n > 0 ? err_set(err, ERR_EXISTS, "%s: there are snapshots in it already", to) : 0;
}

static int tell(const struct exporter *x, struct err *err)
{
    char first[TIME_TEXT_SIZE], last[TIME_TEXT_SIZE];
    time_format(x->first, first);
    time_format(x->last, last);
    if (x->json) {
        _cleanup_json_ json_t *doc =
            json_pack("{s:i, s:s, s:s, s:s, s:i}", "snapshots", x->written, "first", first, "last",
                      last, "folder", x->to, "twice", x->twice);
        return policy_print_json(doc, err);
    }
    printf("%d snapshots from %s to %s in %s\n", x->written, first, last, x->to);
    return 0;
}

static int run(struct exporter *x, char **folders, int n, struct err *err)
{
    int rc = make_folder(x->to, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = export_folder(x, folders[i], err);
    if (rc == 0 && n == 0)
        rc = export_folder(x, RING_DIRECTORY, err);
    if (rc == 0 && x->written == 0)
        rc = err_set(err, ERR_NOT_FOUND, "no snapshot was recorded in that time");
    return rc < 0 ? rc : tell(x, err);
}

/* ---- arguments */

enum { OPT_TO = 256, OPT_FROM, OPT_UNTIL };

static int take_time(const char *option, msec *ret, bool *ret_has)
{
    struct err err;
    *ret_has = true;
    return time_parse(optarg, ret, &err) < 0
               ? args_usage(COMMAND, "%s \"%.40s\": a time is wanted, as 2026-11-28T00:00:00Z",
                            option, optarg)
               : 0;
}

static int take_option(int option, void *to)
{
    struct exporter *x = to;
    switch (option) {
    case OPT_TO:
        x->to = optarg;
        return 0;
    case OPT_FROM:
        return take_time("--from", &x->from, &x->has_from);
    case OPT_UNTIL:
        return take_time("--until", &x->until, &x->has_until);
    default:
        return args_json(COMMAND, optarg, &x->json);
    }
}

/* 0, 1 when help was printed, -1 on wrong usage. */
static int parse(int argc, char **argv, struct exporter *x)
{
    static const struct option known[] = {{"to", required_argument, NULL, OPT_TO},
                                          {"from", required_argument, NULL, OPT_FROM},
                                          {"until", required_argument, NULL, OPT_UNTIL},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int rc = args_options(COMMAND, ":ho:", known, help, argc, argv, take_option, x);
    if (rc != 0)
        return rc;
    return x->to != NULL ? 0 : args_usage(COMMAND, "--to is missing");
}

int cmd_policy_record(int argc, char **argv)
{
    struct exporter x = {0};
    struct err err = {0};
    if (args_help(argc, argv, help))
        return 0;
    if (strcmp(argc > 1 ? argv[1] : "", "export") != 0) {
        args_usage("policy record", "there is export");
        return 2;
    }
    int rc = parse(argc - 1, argv + 1, &x);
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return run(&x, argv + 1 + optind, argc - 1 - optind, &err) < 0 ? args_failed(&err) : 0;
}
