/* skein policy test: run the tests beside a policy. */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

#define FIXTURE_MAX ((size_t)16 << 20)
#define FIXTURES_MAX 200
#define TEST_MS 60000

/* "dir/name.lua" -> "dir/name_test.lua" */
static char *test_path(const char *policy)
{
    size_t n = strlen(policy);
    if (n > 4 && strcmp(policy + n - 4, ".lua") == 0)
        n -= 4;
    return xasprintf("%.*s_test.lua", (int)n, policy);
}

static char *fixtures_path(const char *policy)
{
    const char *slash = strrchr(policy, '/');
    return slash != NULL ? xasprintf("%.*s/fixtures", (int)(slash - policy), policy)
                         : xstrdup("fixtures");
}

static int add_fixture(const char *dir, const char *file, json_t *all, struct err *err)
{
    size_t n = strlen(file), len;
    if (n <= 5 || strcmp(file + n - 5, ".json") != 0)
        return 0;
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, file);
    _cleanup_(freep) char *name = xmemdup(file, n + 1);
    _cleanup_(freep) char *text = NULL;
    json_t *doc = NULL;
    name[n - 5] = '\0';
    int rc = file_read(path, FIXTURE_MAX, &text, &len, err);
    if (rc == 0)
        rc = canon_parse(text, len, path, &doc, err);
    if (rc == 0 && json_object_set_new(all, name, doc) != 0)
        rc = err_set(err, ERR_INVALID, "%s: its name is not UTF-8", path);
    return rc;
}

/* {NAME: snapshot} of DIR/fixtures, empty where there is no such folder. */
static int load_fixtures(const char *policy, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *dir = fixtures_path(policy);
    _cleanup_json_ json_t *all = json_object();
    DIR *d = opendir(dir);
    int rc = 0;
    for (struct dirent *e; rc == 0 && d != NULL && (e = readdir(d)) != NULL;)
        if (json_object_size(all) < FIXTURES_MAX)
            rc = add_fixture(dir, e->d_name, all, err);
    if (d != NULL)
        closedir(d);
    if (rc == 0)
        *ret = TAKE_PTR(all);
    return rc;
}

static int run_tests(const char *policy, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *path = test_path(policy), *text = NULL, *test = NULL, *fixtures = NULL;
    _cleanup_json_ json_t *all = NULL;
    struct worker_request req = {.task = WORKER_TEST,
                                 .power = true,
                                 .policy_name = policy,
                                 .test_name = path,
                                 .limits = {.lua_ms = TEST_MS, .run_ms = TEST_MS}};
    int rc = file_read(policy, POLICY_MAX, &text, &req.policy_len, err);
    if (rc == 0)
        rc = file_read(path, POLICY_MAX, &test, &req.test_len, err);
    if (rc == 0)
        rc = load_fixtures(policy, &all, err);
    if (rc == 0)
        rc = canon_dump(all, &fixtures, &req.snapshot_len, err);
    if (rc < 0)
        return rc;
    req.policy = text;
    req.test = test;
    req.snapshot = fixtures;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    rc = worker_run(&req, &r, err);
    if (rc == 0)
        *ret = json_incref(r.tests);
    return rc;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static long long number_of(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

/* "3, 5-7" */
static void print_lines(const json_t *lines)
{
    size_t n = json_array_size(lines);
    for (size_t i = 0; i < n;) {
        size_t k = i;
        long long first = (long long)json_integer_value(json_array_get(lines, i)), last = first;
        while (++k < n && (long long)json_integer_value(json_array_get(lines, k)) == last + 1)
            last++;
        printf(last > first ? "%s%lld-%lld" : "%s%lld", i > 0 ? ", " : "", first, last);
        i = k;
    }
}

static void print_coverage(const json_t *c)
{
    long long lines = number_of(c, "lines"), run = number_of(c, "run");
    if (lines == 0)
        return;
    printf(", coverage %lld %%", run * 100 / lines);
    if (run < lines) {
        printf(" (never run: ");
        print_lines(json_object_get(c, "missed"));
        printf(")");
    }
}

/* How many failed. */
static int count_failed(const json_t *r)
{
    size_t i;
    json_t *t;
    int failed = (int)json_array_size(json_object_get(r, "failures"));
    json_array_foreach(json_object_get(r, "tests"), i, t)
    {
        failed += !json_is_true(json_object_get(t, "ok"));
    }
    return failed;
}

static void print_report(const char *policy, const json_t *r)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(r, "tests"), i, t)
    {
        bool ok = json_is_true(json_object_get(t, "ok"));
        printf("%s %s%s%s\n", ok ? "ok    " : "FAILED", text_of(t, "name"), ok ? "" : "\n       ",
               ok ? "" : text_of(t, "message"));
    }
    json_array_foreach(json_object_get(r, "failures"), i, t)
    {
        printf("FAILED %s: not %s: %s\n", text_of(t, "test"), text_of(t, "property"),
               text_of(t, "message"));
    }
    printf("%s: %zu tests, %lld runs, %lld checks of every policy, %d failed", policy,
           json_array_size(json_object_get(r, "tests")), number_of(r, "runs"),
           number_of(r, "checks"), count_failed(r));
    print_coverage(json_object_get(r, "coverage"));
    printf("\n");
}

int cmd_policy_test(int argc, char **argv)
{
    struct policy_options o = {0};
    int rc = policy_parse("policy test", argc, argv, &o), status = 0;
    if (rc == 0 && optind == argc)
        rc = args_usage("policy test", "a policy's file is missing");
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    for (int i = optind; i < argc; i++) {
        _cleanup_json_ json_t *report = NULL;
        struct err err = {0};
        rc = run_tests(argv[i], &report, &err);
        if (rc == 0 && o.json)
            rc = policy_print_json(report, &err);
        else if (rc == 0)
            print_report(argv[i], report);
        if (rc < 0)
            status = args_failed(&err);
        else if (count_failed(report) > 0 || json_array_size(json_object_get(report, "tests")) == 0)
            status = 1;
    }
    return status;
}
