#include "agent/ctl/plan_args.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "agent/ctl/cert_args.h"
#include "agent/ctl/cmd_policy.h"
#include "proto/canon.h"
#include "proto/util.h"
#include "tls/file.h"

enum option_id {
    OPT_SNAPSHOT = 256,
    OPT_POLICY,
    OPT_SEED,
    OPT_AT,
    OPT_LUA_MS,
    OPT_PARAM,
    OPT_MODE,
    OPT_DRAIN,
    OPT_DRAIN_DOMAIN,
    OPT_FAIL,
    OPT_ADD_HOST,
    OPT_REMOVE_RULE,
    OPT_SAVE,
    OPT_COPY_STORAGE,
    OPT_STANDBY,
    OPT_N_PLUS,
    OPT_MAX_MOVES,
    OPT_DEADLINE,
    OPT_VCPUS,
    OPT_MEMORY,
    OPT_LIKE,
    OPT_MOST
};

static const struct option known[] = {{"snapshot", required_argument, NULL, OPT_SNAPSHOT},
                                      {"policy", required_argument, NULL, OPT_POLICY},
                                      {"seed", required_argument, NULL, OPT_SEED},
                                      {"at", required_argument, NULL, OPT_AT},
                                      {"lua-ms", required_argument, NULL, OPT_LUA_MS},
                                      {"param", required_argument, NULL, OPT_PARAM},
                                      {"mode", required_argument, NULL, OPT_MODE},
                                      {"drain", required_argument, NULL, OPT_DRAIN},
                                      {"drain-domain", required_argument, NULL, OPT_DRAIN_DOMAIN},
                                      {"fail", required_argument, NULL, OPT_FAIL},
                                      {"add-host", required_argument, NULL, OPT_ADD_HOST},
                                      {"remove-rule", required_argument, NULL, OPT_REMOVE_RULE},
                                      {"save-snapshot", required_argument, NULL, OPT_SAVE},
                                      {"copy-storage", no_argument, NULL, OPT_COPY_STORAGE},
                                      {"standby", no_argument, NULL, OPT_STANDBY},
                                      {"n-plus", required_argument, NULL, OPT_N_PLUS},
                                      {"max-moves", required_argument, NULL, OPT_MAX_MOVES},
                                      {"deadline", required_argument, NULL, OPT_DEADLINE},
                                      {"vcpus", required_argument, NULL, OPT_VCPUS},
                                      {"memory-mib", required_argument, NULL, OPT_MEMORY},
                                      {"like", required_argument, NULL, OPT_LIKE},
                                      {"most", required_argument, NULL, OPT_MOST},
                                      {"output", required_argument, NULL, 'o'},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

static int add_name(struct plan_args *a, struct plan_names *list, const char *word)
{
    if (word[0] == '\0')
        return args_usage(a->command, "a name is empty");
    if (list->n == PLAN_NAMES_MAX)
        return args_usage(a->command, "more than %d names at once", PLAN_NAMES_MAX);
    list->items[list->n++] = word;
    return 0;
}

/* "a,b" is two. text is argv's, and is cut where the commas are. */
static int take_names(struct plan_args *a, struct plan_names *list, char *text)
{
    char *rest = text;
    for (char *word; (word = strsep(&rest, ",")) != NULL;)
        if (add_name(a, list, word) < 0)
            return -1;
    return 0;
}

static int take_amount(struct plan_args *a, const char *name, const char *text, int64_t least,
                       int64_t *ret)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || v < least || v > 1000000000000)
        return args_usage(a->command, "--%s \"%.40s\" is not a whole number from %lld", name, text,
                          (long long)least);
    *ret = v;
    return 0;
}

static int take_at(struct plan_args *a, const char *text)
{
    struct err err;
    a->has_at = true;
    if (time_parse(text, &a->at, &err) < 0)
        return args_usage(a->command, "--at: %s", err.msg);
    return 0;
}

static int take_count(struct plan_args *a, const char *name, int max, int *ret)
{
    struct err err;
    return args_number(name, optarg, max, ret, &err) < 0 ? args_usage(a->command, "%s", err.msg)
                                                         : 0;
}

static int take_option(int option, void *to)
{
    struct plan_args *a = to;
    switch (option) {
    case OPT_SNAPSHOT:
        a->snapshot = optarg;
        return 0;
    case OPT_POLICY:
        a->policy = optarg;
        return 0;
    case OPT_SEED:
        a->has_seed = true;
        return args_seed(a->command, optarg, &a->seed);
    case OPT_AT:
        return take_at(a, optarg);
    case OPT_LUA_MS:
        return take_count(a, "--lua-ms", 600000, &a->lua_ms);
    case OPT_PARAM:
        return args_param(a->command, optarg, &a->params);
    case OPT_MODE:
        a->mode = optarg;
        return 0;
    case OPT_DRAIN:
        return take_names(a, &a->drain, optarg);
    case OPT_DRAIN_DOMAIN:
        return take_names(a, &a->domains, optarg);
    case OPT_FAIL:
        return take_names(a, &a->fail, optarg);
    case OPT_ADD_HOST:
        return add_name(a, &a->add, optarg);
    case OPT_REMOVE_RULE:
        return take_names(a, &a->rules, optarg);
    case OPT_SAVE:
        a->save = optarg;
        return 0;
    case OPT_COPY_STORAGE:
        a->copy_storage = true;
        return 0;
    case OPT_STANDBY:
        a->standby = true;
        return 0;
    case OPT_N_PLUS:
        return take_amount(a, "n-plus", optarg, 0, &a->n_plus);
    case OPT_MAX_MOVES:
        return take_count(a, "--max-moves", 1000000, &a->max_moves);
    case OPT_DEADLINE:
        return take_count(a, "--deadline", 1000000, &a->deadline_s);
    case OPT_VCPUS:
        return take_amount(a, "vcpus", optarg, 1, &a->vcpus);
    case OPT_MEMORY:
        return take_amount(a, "memory-mib", optarg, 1, &a->memory_mib);
    case OPT_LIKE:
        a->like = optarg;
        return 0;
    case OPT_MOST:
        return take_amount(a, "most", optarg, 1, &a->most);
    default:
        return args_json(a->command, optarg, &a->json);
    }
}

/* Those of the table that the command takes, and the two that all take. */
static int choose(const char *const *take, struct option *ret)
{
    int n = 0;
    for (const struct option *o = known; o->name != NULL; o++) {
        bool taken = o->val < 256;
        for (const char *const *t = take; *t != NULL && !taken; t++)
            taken = strcmp(*t, o->name) == 0;
        if (taken)
            ret[n++] = *o;
    }
    ret[n] = (struct option){0};
    return n;
}

int plan_args_parse(struct plan_args *a, int argc, char **argv, const char *const *take)
{
    struct option options[ARRAY_SIZE(known)];
    choose(take, options);
    a->n_plus = a->vcpus = a->memory_mib = a->most = QUANTITY_UNKNOWN;
    int rc = args_options(a->command, ":ho:", options, a->help, argc, argv, take_option, a);
    if (rc != 0)
        return rc > 0 ? 0 : 2;
    a->operands = argv + optind;
    a->n_operands = argc - optind;
    if (a->snapshot == NULL) {
        args_usage(a->command, "--snapshot is missing");
        return 2;
    }
    return PLAN_ARGS_GO;
}

void plan_args_done(struct plan_args *a)
{
    json_decref(a->params);
}

int plan_args_policy(const struct plan_args *a, struct worker_request *ret, char **ret_policy,
                     char **ret_params, struct err *err)
{
    *ret = (struct worker_request){.task = WORKER_PLAN,
                                   .power = true,
                                   .policy_name = a->policy,
                                   .has_seed = a->has_seed,
                                   .seed = a->seed,
                                   .has_at = a->has_at,
                                   .at = a->at,
                                   .limits = {.lua_ms = a->lua_ms}};
    int rc = file_read(a->policy, POLICY_MAX, ret_policy, &ret->policy_len, err);
    if (rc == 0 && a->params != NULL)
        rc = canon_dump(a->params, ret_params, NULL, err);
    ret->policy = *ret_policy;
    ret->params = *ret_params;
    return rc;
}

bool plan_args_what_if(const struct plan_args *a)
{
    return a->drain.n > 0 || a->domains.n > 0 || a->fail.n > 0 || a->add.n > 0 || a->rules.n > 0;
}
