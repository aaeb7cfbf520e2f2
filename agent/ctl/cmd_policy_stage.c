/* skein policy list, shadow, promote, revert: the versions of policies that the cluster holds. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/cmd_policy.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "planner/core/settings.h"
#include "planner/worker/worker.h"
#include "proto/canon.h"
#include "tls/file.h"

#define SOURCE_MAX (128u << 10) /* what the voters hold of one policy */

/* ---- list ---- */

static const char list_help[] =
    "usage: skein policy list [-o table|json] [--socket PATH]\n"
    "\n"
    "The policies that the cluster holds. STATE: ok; errors (single hooks failed), fails (the "
    "last\n"
    "run did), broken (the active version never ran, the one before it does), resting, retired,\n"
    "shadow only. Below: the parameters that versions carry, and what each one in shadow would "
    "have\n"
    "done, beside what the active one does, on the same snapshot.\n"
    "\n"
    "Examples:\n"
    "  skein policy list\n"
    "  skein policy list -o json | jq '.policies[] | {name, state}'\n";

static const struct table_column list_columns[] = {
    {.name = "NAME"}, {.name = "STATE"},  {.name = "ACTIVE"},      {.name = "SINCE"},
    {.name = "BY"},   {.name = "SHADOW"}, {.name = "LAST OUTCOME"}};

static void set_version(struct table *t, size_t column, const json_t *policy, const char *path)
{
    const char *digest = text_at(policy, path);
    _cleanup_(freep) char *text = xasprintf("%.12s", digest != NULL ? digest : "-");
    table_set(t, column, text);
}

static void add_policy(struct table *t, const json_t *p)
{
    bool active = json_is_object(json_object_get(p, "active"));
    table_line(t);
    table_set(t, 0, text_or(p, "name", "?"));
    table_set_state(t, 1, text_or(p, "state", "?"));
    set_version(t, 2, p, "active.digest");
    table_set(t, 3, text_or(p, "active.since", "-"));
    table_set(t, 4, text_or(p, "active.person", active ? "(its file)" : "-"));
    set_version(t, 5, p, "shadow.digest");
    table_set(t, 6, text_or(p, "run.outcome", text_or(p, "shadow_run.outcome", "-")));
}

static bool has_move(const json_t *moves, const json_t *one)
{
    size_t i;
    const json_t *m;
    json_array_foreach(moves, i, m)
    {
        if (json_equal(json_object_get(m, "uuid"), json_object_get(one, "uuid")) &&
            json_equal(json_object_get(m, "to"), json_object_get(one, "to")))
            return true;
    }
    return false;
}

/* As in a comparison of texts: "-" only the active version would, "+" only the one in shadow. */
static void print_moves(const json_t *moves, const json_t *others, const char *only,
                        const char *both)
{
    size_t i;
    const json_t *m;
    json_array_foreach(moves, i, m)
    {
        const char *sign = has_move(others, m) ? both : only;
        if (sign != NULL)
            printf("  %s %s: %s -> %s  %s\n", sign, text_or(m, "vm", "?"), text_or(m, "from", "?"),
                   text_or(m, "to", "?"), text_or(m, "reason", ""));
    }
}

static void print_params(const json_t *policy, const char *stage)
{
    const json_t *version = json_object_get(policy, stage), *v;
    const char *name;
    json_t *params = json_object_get(version, "params");
    if (json_object_size(params) == 0)
        return;
    printf("\n%s, version %.12s", text_or(policy, "name", "?"), text_or(version, "digest", "?"));
    const char *before = ", with ";
    json_object_foreach(params, name, v)
    {
        _cleanup_(freep) char *value =
            json_is_string(v) ? xstrdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY);
        printf("%s%s = %s", before, name, value);
        before = ", ";
    }
    printf("\n");
}

static void print_shadow(const json_t *p)
{
    const json_t *run = json_object_get(p, "shadow_run");
    if (!json_is_object(json_object_get(p, "shadow")))
        return;
    printf("\n%s, version %.12s in shadow since %s by %s", text_or(p, "name", "?"),
           text_or(p, "shadow.digest", "?"), text_or(p, "shadow.since", "?"),
           text_or(p, "shadow.person", "?"));
    if (!json_is_object(run)) {
        printf(": not evaluated yet\n");
        return;
    }
    printf(": %lld rounds, %lld with moves", (long long)number_at(run, "rounds"),
           (long long)number_at(run, "proposed"));
    if (json_is_object(json_object_get(p, "active")))
        printf("; %lld as the active version, %lld otherwise", (long long)number_at(run, "agreed"),
               (long long)number_at(run, "differed"));
    printf("\n  now: %s\n", text_or(run, "outcome", "-"));
    const json_t *active = json_at(p, "run.moves"), *shadow = json_object_get(run, "moves");
    print_moves(active, shadow, "-", NULL);
    print_moves(shadow, active, "+", "=");
}

static void print_notes(const json_t *p)
{
    const char *name = text_or(p, "name", "?");
    const char *broken = text_at(p, "run.broken.reason");
    if (broken != NULL)
        printf("\n%s: version %.12s does not run, %.12s does instead: %s\n", name,
               text_or(p, "run.broken.digest", "?"), text_or(p, "run.digest", "?"), broken);
    const json_t *hook;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)json_at(p, "run.health.hooks"), key, hook)
    {
        const char *error = text_at(hook, "last_error");
        if (error != NULL && number_at(hook, "errors") > 0)
            printf("\n%s: %s failed %lld of %lld times: %s\n", name, key,
                   (long long)number_at(hook, "errors"), (long long)number_at(hook, "calls"),
                   error);
    }
}

int cmd_policy_list(int argc, char **argv)
{
    struct cli cli = {.command = "policy list", .help = list_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, "/v1/policies", &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON) {
        cli_print_json(doc);
        return 0;
    }
    const json_t *list = json_object_get(doc, "policies"), *p;
    size_t i;
    struct table *t = table_new(list_columns, ARRAY_SIZE(list_columns), false);
    json_array_foreach(list, i, p) add_policy(t, p);
    table_print(t, stdout);
    json_array_foreach(list, i, p)
    {
        print_params(p, "active");
        print_params(p, "shadow");
        print_shadow(p);
        print_notes(p);
    }
    return 0;
}

/* ---- what is signed ---- */

struct version {
    char *name, *source; /* owned */
    size_t len;
    char digest[HASH_HEX_SIZE];
};

static void version_done(struct version *v)
{
    free(v->name);
    free(v->source);
}

/* Loads it in the sandbox: what does not load is not given to the cluster. */
static int check_version(const char *what, struct version *v, struct err *err)
{
    struct worker_request req = {
        .task = WORKER_CHECK, .policy_name = what, .policy = v->source, .policy_len = v->len};
    _cleanup_(worker_result_done) struct worker_result r = {0};
    if (v->len > SOURCE_MAX)
        return err_set(err, ERR_LIMIT, "%s: %zu bytes, a cluster holds policies of %u at most",
                       what, v->len, SOURCE_MAX);
    int rc = worker_run(&req, &r, err);
    if (rc < 0)
        return rc;
    v->name = xstrdup(text_or(r.manifest, "name", ""));
    worker_policy_digest(v->source, v->len, v->digest);
    return 0;
}

void policy_params_done(struct policy_params *p)
{
    json_decref(p->all);
}

int policy_params_take(const struct cli *cli, struct policy_params *p)
{
    for (size_t i = 0; p->texts[i] != NULL; i++)
        if (args_param(cli->command, p->texts[i], &p->all) < 0)
            return 2;
    return 0;
}

int policy_params_write(const struct policy_params *p, char **source, size_t *len, struct err *err)
{
    char *text;
    if (p->all == NULL)
        return 0;
    int rc = settings_write(*source, *len, p->all, &text, len, err);
    if (rc < 0)
        return rc;
    free(*source);
    *source = text;
    return 0;
}

/* Checked with its parameters: the policy knows their types and bounds. */
static int carry(const char *what, const struct policy_params *p, struct version *v,
                 struct err *err)
{
    int rc = policy_params_write(p, &v->source, &v->len, err);
    return rc < 0 ? rc : check_version(what, v, err);
}

static int version_of_file(const char *path, const struct policy_params *p, struct version *ret,
                           struct err *err)
{
    int rc = file_read(path, POLICY_MAX, &ret->source, &ret->len, err);
    return rc < 0 ? rc : carry(path, p, ret, err);
}

/* One that is held, as the agent gives it: checked here, not believed. stages: where it is looked
 * for, ended by NULL. */
static int version_held(const struct cli *cli, const char *name, const char *const *stages,
                        const struct policy_params *p, struct version *ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(freep) char *path = xasprintf("/v1/policies/%s", name);
    const json_t *source = NULL;
    int rc = cli_call(cli, path, NULL, &doc, err);
    if (rc < 0)
        return rc;
    for (; *stages != NULL && !json_is_string(source); stages++)
        source = json_object_get(json_object_get(doc, *stages), "source");
    if (!json_is_string(source))
        return err_set(err, ERR_NOT_FOUND,
                       "policy %s has no version in shadow; try: skein policy shadow FILE", name);
    ret->len = json_string_length(source);
    ret->source = xmemdup(json_string_value(source), ret->len);
    if ((rc = carry(name, p, ret, err)) < 0)
        return rc;
    return strcmp(ret->name, name) == 0
               ? 0
               : err_set(err, ERR_CONFLICT, "the source calls itself \"%s\", not \"%s\"", ret->name,
                         name);
}

static int command_of(const char *type, const struct version *v, bool with_source, json_t **ret,
                      struct err *err)
{
    json_t *o = json_pack("{s:s, s:s, s:s}", "type", type, "policy", v->name, "digest", v->digest);
    json_t *source = with_source ? json_stringn(v->source, v->len) : NULL;
    if (with_source && source == NULL) {
        json_decref(o);
        return err_set(err, ERR_INVALID, "policy %s: its text is not UTF-8", v->name);
    }
    if (source != NULL)
        json_object_set_new(o, "source", source);
    *ret = o;
    return 0;
}

/* Signs it and posts it. */
static int send_version(const struct cli *cli, const struct sign_args *sign, const char *type,
                        const struct version *v, bool with_source, json_t **ret, struct err *err)
{
    json_t *command = NULL;
    int rc = command_of(type, v, with_source, &command, err);
    return rc < 0 ? rc : sign_command(cli, sign, command, "/v1/policies", ret, err);
}

static void print_done(const struct cli *cli, const json_t *answer, const char *done)
{
    if (cli->format == CLI_JSON)
        cli_print_json(answer);
    else
        printf("%s %.12s %s\n", text_or(answer, "policy", "?"), text_or(answer, "digest", "?"),
               done);
}

/* ---- shadow ---- */

static const char shadow_help[] =
    "usage: skein policy shadow --key FILE [--param NAME=VALUE]... [--cert FILE] [--reason TEXT]\n"
    "                           POLICY-FILE\n"
    "       skein policy shadow --key FILE --param NAME=VALUE... [--cert FILE] [--reason TEXT] "
    "NAME\n"
    "\n"
    "Give the cluster a version of a policy that is evaluated on live data in every round and\n"
    "proposes nothing: that of a file, or the active one of NAME with other parameters.\n"
    "`skein policy list` shows what it would have done; the audit keeps it. Operators and admins\n"
    "may.\n"
    "\n" POLICY_PARAM_HELP SIGN_HELP "\n"
    "Examples:\n"
    "  skein policy shadow --key olga.key my_policy.lua\n"
    "  skein policy shadow --key olga.key --param threshold=15 my_policy.lua\n"
    "  skein policy list\n";

static bool is_file(const char *operand)
{
    size_t n = strlen(operand);
    return strchr(operand, '/') != NULL || (n > 4 && strcmp(operand + n - 4, ".lua") == 0);
}

/* 0 when the operand is a file or a policy's name, which *ret_file says; or 2: said. */
static int operand_check(const struct cli *cli, bool *ret_file)
{
    const char *operand = cli->operands[0];
    *ret_file = is_file(operand);
    if (!*ret_file && strspn(operand, POLICY_NAME_CHARS) != strlen(operand))
        return cli_usage(cli, "\"%.64s\" is neither a policy's name nor a file", operand);
    return 0;
}

static const char *const held_active[] = {"active", NULL};

int cmd_policy_shadow(int argc, char **argv)
{
    struct sign_args sign = {0};
    _cleanup_(policy_params_done) struct policy_params params = {0};
    const struct cli_option options[] = {
        SIGN_OPTIONS(sign), {"param", CLI_MANY, NULL, params.texts}, {0}};
    struct cli cli = {.command = "policy shadow", .help = shadow_help, .formats = CLI_JSON};
    _cleanup_(version_done) struct version v = {0};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    bool file;
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = policy_params_take(&cli, &params)) != 0 ||
        (rc = sign_check(&cli, &sign)) != 0 || (rc = operand_check(&cli, &file)) != 0)
        return rc;
    if (!file && params.all == NULL)
        return cli_usage(&cli, "a file, or the name of a policy and a --param");
    if ((file ? version_of_file(cli.operands[0], &params, &v, &err)
              : version_held(&cli, cli.operands[0], held_active, &params, &v, &err)) < 0 ||
        send_version(&cli, &sign, "policy-shadow", &v, true, &answer, &err) < 0)
        return cli_failed(&err);
    print_done(&cli, answer, "is in shadow");
    return 0;
}

/* ---- promote ---- */

static const char promote_help[] =
    "usage: skein policy promote --key FILE [--param NAME=VALUE]... [--cert FILE] [--reason TEXT]\n"
    "                            NAME | POLICY-FILE\n"
    "\n"
    "Make a version the active one: that in shadow (NAME), or that of a file; or with --param the\n"
    "one in shadow, else the active one, with other parameters. What was active is kept for\n"
    "`skein policy revert`, and runs again by itself while the new one does not run at all. What "
    "it\n"
    "proposes still waits for approvals: a standing order is for one version. Admins may.\n"
    "\n" POLICY_PARAM_HELP SIGN_HELP "\n"
    "Examples:\n"
    "  skein policy promote --key admin.key my_policy\n"
    "  skein policy promote --key admin.key --param threshold=15 my_policy\n"
    "  skein policy promote --key admin.key --reason CHG-4711 ./my_policy.lua\n";

/* A standing order for another version of it approves nothing any more: better said at once. */
static void warn_of_orders(const struct cli *cli, const struct version *v)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    size_t i;
    const json_t *o;
    if (cli_get(cli, "/v1/orders", &doc, &err) < 0)
        return;
    json_array_foreach(json_object_get(doc, "orders"), i, o)
    {
        if (strcmp(text_or(o, "policy", ""), v->name) == 0 &&
            strcmp(text_or(o, "policy_digest", ""), v->digest) != 0)
            printf("standing order %.12s is for version %.12s: plans of %.12s wait for people "
                   "until there is one for it\n",
                   text_or(o, "id", "?"), text_or(o, "policy_digest", "?"), v->digest);
    }
}

static const char *const held_shadow[] = {"shadow", NULL};
static const char *const held[] = {"shadow", "active", NULL}; /* to be given other parameters */

int cmd_policy_promote(int argc, char **argv)
{
    struct sign_args sign = {0};
    _cleanup_(policy_params_done) struct policy_params params = {0};
    const struct cli_option options[] = {
        SIGN_OPTIONS(sign), {"param", CLI_MANY, NULL, params.texts}, {0}};
    struct cli cli = {.command = "policy promote", .help = promote_help, .formats = CLI_JSON};
    _cleanup_(version_done) struct version v = {0};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    bool file;
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = policy_params_take(&cli, &params)) != 0 ||
        (rc = sign_check(&cli, &sign)) != 0 || (rc = operand_check(&cli, &file)) != 0)
        return rc;
    if ((file ? version_of_file(cli.operands[0], &params, &v, &err)
              : version_held(&cli, cli.operands[0], params.all != NULL ? held : held_shadow,
                             &params, &v, &err)) < 0 ||
        send_version(&cli, &sign, "policy-promote", &v, file || params.all != NULL, &answer, &err) <
            0)
        return cli_failed(&err);
    print_done(&cli, answer, "is active");
    if (cli.format != CLI_JSON)
        warn_of_orders(&cli, &v);
    return 0;
}

/* ---- revert ---- */

static const char revert_help[] =
    "usage: skein policy revert --key FILE [--shadow] [--cert FILE] [--reason TEXT] NAME\n"
    "\n"
    "Make the version before the active one active again. Where there is none, the policy is\n"
    "retired: it stays known and proposes nothing. Operators, approvers and admins may.\n"
    "\n"
    "  --shadow                drop the version in shadow instead\n" SIGN_HELP "\n"
    "Examples:\n"
    "  skein policy revert --key olga.key --reason \"moves too much\" my_policy\n"
    "  skein policy revert --key olga.key --shadow my_policy\n";

static int revert_command(const struct cli *cli, bool shadow, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    const char *name = cli->operands[0], *stage = shadow ? "in shadow" : "active";
    _cleanup_(freep) char *path = xasprintf("/v1/policies/%s", name);
    int rc = cli_call(cli, path, NULL, &doc, err);
    if (rc < 0)
        return rc;
    const char *digest = text_at(doc, shadow ? "shadow.digest" : "active.digest");
    if (digest == NULL)
        return err_set(err, ERR_CONFLICT, "policy %s has no version that is %s", name, stage);
    *ret = json_pack("{s:s, s:s, s:s, s:b}", "type", "policy-revert", "policy", name, "digest",
                     digest, "shadow", (int)shadow);
    return 0;
}

int cmd_policy_revert(int argc, char **argv)
{
    struct sign_args sign = {0};
    bool shadow = false;
    const struct cli_option options[] = {SIGN_OPTIONS(sign), {"shadow", '\0', &shadow, NULL}, {0}};
    struct cli cli = {.command = "policy revert", .help = revert_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    json_t *command = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    if (strspn(cli.operands[0], POLICY_NAME_CHARS) != strlen(cli.operands[0]))
        return cli_usage(&cli, "\"%.64s\" is no policy's name", cli.operands[0]);
    if (revert_command(&cli, shadow, &command, &err) < 0 ||
        sign_command(&cli, &sign, command, "/v1/policies", &answer, &err) < 0)
        return cli_failed(&err);
    print_done(&cli, answer, shadow ? "is dropped" : "is active no more");
    return 0;
}
