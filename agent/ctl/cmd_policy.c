#include "agent/ctl/cmd_policy.h"

#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

static const char help[] =
    "usage: skein policy check [-o json] FILE...\n"
    "       skein policy test [-o json] FILE...\n"
    "       skein policy eval --snapshot FILE [OPTION]... FILE\n"
    "       skein policy explain --snapshot FILE [-o json] FILE VM [HOST]\n"
    "       skein policy diff --snapshot FILE [-o json] OLD NEW\n"
    "       skein policy backtest POLICY --trace DIR [OPTION]...\n"
    "       skein policy record export --to DIR [OPTION]... [FOLDER]...\n"
    "       skein policy list | shadow | promote | revert [OPTION]...\n"
    "\n"
    "  check   load each policy in its sandbox: syntax, declaration, parameters, hooks; unknown "
    "names\n"
    "          are errors that say what was perhaps meant. Two policies of one name are an error.\n"
    "  test    run the tests beside each policy (NAME_test.lua), and on every plan that they make "
    "the\n"
    "          checks that every policy gets: deterministic, step-safe, idempotent, stable under\n"
    "          noise, safe after a partial failure\n"
    "  eval    one run looked at from inside: trigger, hooks, notes; see its own --help\n"
    "  explain what the policy and the planner say of a VM on a host, or on each\n"
    "  diff    the moves that a changed policy would drop (-), add (+) and keep on a snapshot\n"
    "  backtest what a policy would have done over a recorded time; see its own --help\n"
    "  record export  what agents recorded, as a folder for backtest; see its own --help\n"
    "  list    the policies that the cluster holds, how each fares, what shadows would do\n"
    "  shadow  give the cluster a version that is evaluated and proposes nothing\n"
    "  promote make a version the active one\n"
    "  revert  go back to the one before\n"
    "\n"
    "  -o json  a document instead of text\n"
    "\n"
    "Examples:\n"
    "  skein policy check policies/thermal_relief.lua\n"
    "  skein policy check -o json policies/night_consolidation.lua mine.lua\n"
    "  skein policy test policies/thermal_relief.lua\n"
    "  skein policy explain --snapshot now.json policies/thermal_relief.lua web1 hv3\n"
    "  skein policy diff --snapshot now.json policies/balance.lua mine.lua\n";

static int check_file(const char *path, json_t **ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    struct worker_request req = {.task = WORKER_CHECK, .policy_name = path};
    int rc = file_read(path, POLICY_MAX, &text, &req.policy_len, err);
    if (rc < 0)
        return rc;
    req.policy = text;
    _cleanup_(worker_result_done) struct worker_result r = {0};
    rc = worker_run(&req, &r, err);
    if (rc == 0)
        *ret = json_incref(r.manifest);
    return rc;
}

static const char *text_of(const json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));
    return s != NULL ? s : "";
}

/* Was a policy of that name among those before it? */
static const char *earlier(const json_t *manifests, char **paths, const json_t *m)
{
    for (size_t i = 0; i < json_array_size(manifests); i++)
        if (strcmp(text_of(json_array_get(manifests, i), "name"), text_of(m, "name")) == 0)
            return paths[i];
    return NULL;
}

static void print_manifest(const char *path, const json_t *m)
{
    printf("%s: ok: %s (class %s, goal %s), hooks", path, text_of(m, "name"), text_of(m, "class"),
           text_of(m, "goal"));
    size_t i;
    json_t *h;
    json_array_foreach(json_object_get(m, "hooks"), i, h)
    {
        printf(" %s", json_string_value(h));
    }
    printf("\n");
}

static int check_all(int n, char **paths, bool json)
{
    _cleanup_json_ json_t *manifests = json_array();
    int status = 0;
    for (int i = 0; i < n; i++) {
        struct err err = {0};
        json_t *m = NULL;
        int rc = check_file(paths[i], &m, &err);
        const char *same = rc == 0 ? earlier(manifests, paths, m) : NULL;
        if (same != NULL)
            rc = err_set(&err, ERR_EXISTS, "%s: its name \"%s\" is that of %s", paths[i],
                         text_of(m, "name"), same);
        if (rc < 0)
            status = args_failed(&err);
        else if (!json)
            print_manifest(paths[i], m);
        json_array_append_new(manifests, m != NULL ? m : json_null());
    }
    struct err err = {0};
    if (json && policy_print_json(manifests, &err) < 0)
        return args_failed(&err);
    return status;
}

int policy_print_json(const json_t *doc, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    int rc = canon_dump(doc, &text, NULL, err);
    if (rc == 0)
        puts(text);
    return rc;
}

enum { OPT_SNAPSHOT = 256 };

static int take_option(int option, void *to)
{
    struct policy_options *o = to;
    if (option != OPT_SNAPSHOT)
        return args_json(o->command, optarg, &o->json);
    o->snapshot = optarg;
    return 0;
}

int policy_parse(const char *command, int argc, char **argv, struct policy_options *o)
{
    static const struct option known[] = {{"snapshot", required_argument, NULL, OPT_SNAPSHOT},
                                          {"output", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    o->command = command;
    return args_options(command, ":ho:", known, help, argc, argv, take_option, o);
}

static int cmd_check(int argc, char **argv)
{
    struct policy_options o = {0};
    int rc = policy_parse("policy check", argc, argv, &o);
    if (rc == 0 && optind == argc)
        rc = args_usage("policy check", "a policy's file is missing");
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    return check_all(argc - optind, argv + optind, o.json);
}

int cmd_policy(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } verbs[] = {{"check", cmd_check},          {"test", cmd_policy_test},
                 {"eval", cmd_policy_eval},     {"explain", cmd_policy_explain},
                 {"diff", cmd_policy_diff},     {"backtest", cmd_policy_backtest},
                 {"record", cmd_policy_record}, {"list", cmd_policy_list},
                 {"shadow", cmd_policy_shadow}, {"promote", cmd_policy_promote},
                 {"revert", cmd_policy_revert}};

    const char *verb = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name, verb) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    if (args_help(argc, argv, help))
        return 0;
    args_usage("policy", verb[0] != '\0' ? "unknown command \"%s\"" : "wants a command%s", verb);
    return 2;
}
