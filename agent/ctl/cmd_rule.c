/* skein rule: the rules that hold for every plan: which VMs go together, apart, where. */
#include "agent/ctl/cert_args.h"
#include "agent/ctl/cli.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/host_order.h"
#include "agent/ctl/sign.h"
#include "agent/ctl/table.h"
#include "agent/ctl/text.h"
#include "agent/ctl/vm_find.h"
#include "proto/canon.h"

/* ---- list ---- */

static const char list_help[] =
    "usage: skein rule list [-o table|json] [--socket PATH]\n"
    "\n"
    "The rules of the cluster, which every plan keeps: which VMs go together, apart, where; by\n"
    "whose signature.\n"
    "\n"
    "Examples:\n"
    "  skein rule list\n"
    "  skein rule list -o json | jq '.rules[].rule'\n";

/* "web1, web2", "role=web", and where */
static char *about(const json_t *one)
{
    struct buf b = {0};
    size_t i;
    const json_t *item, *rule = json_object_get(one, "rule");
    const char *key;
    json_array_foreach(json_object_get(one, "vms"), i, item)
    {
        const char *name = json_string_value(item);
        const json_t *uuid = json_array_get(json_object_get(rule, "vms"), i);
        buf_addf(&b, "%s%s", i > 0 ? ", " : "", name != NULL ? name : json_string_value(uuid));
    }
    json_object_foreach(json_object_get(rule, "select"), key, item)
        buf_addf(&b, "%s%s=%s", b.len > 0 ? " and " : "", key, json_string_value(item));
    json_array_foreach(json_object_get(rule, "hosts"), i, item)
        buf_addf(&b, "%s%s", i > 0 ? ", " : " : ", json_string_value(item));
    return b.data != NULL ? buf_take(&b) : xstrdup("-");
}

static void print_rules(const json_t *rules)
{
    static const struct table_column columns[] = {
        {.name = "NAME"},  {.name = "TYPE"}, {.name = "ENFORCEMENT"}, {.name = "VMS", .wrap = true},
        {.name = "SINCE"}, {.name = "BY"}};
    size_t i;
    const json_t *one;
    struct table *t = table_new(columns, ARRAY_SIZE(columns), false);
    json_array_foreach(rules, i, one)
    {
        _cleanup_(freep) char *vms = about(one);
        table_line(t);
        table_set(t, 0, text_or(one, "name", "?"));
        table_set(t, 1, text_or(one, "rule.type", "?"));
        table_set(t, 2, text_or(one, "rule.enforcement", "must"));
        table_set(t, 3, vms);
        table_set(t, 4, text_or(one, "since", "?"));
        table_set(t, 5, text_or(one, "person", "?"));
    }
    table_print(t, stdout);
}

static int cmd_rule_list(int argc, char **argv)
{
    struct cli cli = {.command = "rule list", .help = list_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, NULL, 0, 0);
    if (rc != CLI_GO)
        return rc;
    if (cli_get(&cli, "/v1/rules", &doc, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(doc);
    else
        print_rules(json_object_get(doc, "rules"));
    return 0;
}

/* ---- add ---- */

static const char add_help[] =
    "usage: skein rule add --type TYPE (--vms LIST | --select TAGS) --key FILE [OPTION]... NAME\n"
    "\n"
    "Sign a rule that every plan keeps from now on. What breaks it already is not moved by that:\n"
    "the policy enforce_rules proposes what mends it. Operators and admins may.\n"
    "\n"
    "  --type TYPE             anti-affinity, affinity, run-on, not-on, spread, depends-on (the\n"
    "                          first VM on the others), exclusive, keep\n"
    "  --vms LIST              names or UUIDs, separated by commas; UUIDs are signed\n"
    "  --select TAGS           all VMs with these tags: \"role=web,tier=front\"\n"
    "  --hosts LIST            run-on, not-on: which\n"
    "  --should                it may be broken where that is worth it (default: it must hold)\n"
    "  --weight N              should: how much (default: 1)\n"
    "  --scope SCOPE           host or failure_domain\n"
    "  --level N               the leading parts of a failure domain that count (default: all)\n"
    "  --minimum N             spread: over so many at least\n" SIGN_HELP
    "  --dry-run               say what would be signed, and sign nothing\n"
    "\n"
    "Examples:\n"
    "  skein rule add --type anti-affinity --vms db1,db2 --key olga.key db-apart\n"
    "  skein rule add --type spread --select role=web --minimum 2 --key olga.key web-spread\n"
    "  skein rule add --type run-on --vms lic1 --hosts hv1,hv2 --key olga.key licensed\n";

struct rule_args {
    struct sign_args sign;
    const char *type, *vms, *select, *hosts, *weight, *scope, *level, *minimum;
    bool should, dry_run;
};

/* Names as the agent knows them now, into UUIDs. */
static int vms_of(const struct cli *cli, const char *text, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL, *words = args_list(text), *uuids = json_array();
    const json_t *word, *vm;
    size_t i;
    int rc = cli_call(cli, "/v1/vms", NULL, &doc, err);
    if (rc < 0)
        return rc;
    json_array_foreach(words, i, word)
    {
        if ((rc = vm_find(json_object_get(doc, "vms"), json_string_value(word), &vm, err)) < 0)
            return rc;
        json_array_append(uuids, json_object_get(vm, "uuid"));
    }
    *ret = json_incref(uuids);
    return 0;
}

static int tags_of(const char *text, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *words = args_list(text), *tags = json_object();
    const json_t *word;
    size_t i;
    json_array_foreach(words, i, word)
    {
        const char *tag = json_string_value(word), *equals = strchr(tag, '=');
        if (equals == NULL || equals == tag)
            return err_set(err, ERR_INVALID, "--select \"%s\" is not KEY=VALUE", tag);
        _cleanup_(freep) char *key = xasprintf("%.*s", (int)(equals - tag), tag);
        json_object_set_new(tags, key, json_string(equals + 1));
    }
    *ret = json_incref(tags);
    return 0;
}

static int set_number(json_t *rule, const char *option, const char *text, struct err *err)
{
    int n;
    int rc = text != NULL ? args_number(option, text, 1000, &n, err) : 0;
    if (text != NULL && rc == 0)
        json_object_set_new(rule, option + 2, json_integer(n));
    return rc;
}

static int rule_of(const struct cli *cli, const struct rule_args *a, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *rule =
        json_pack("{s:s, s:s, s:s, s:s*}", "name", cli->operands[0], "type", a->type, "enforcement",
                  a->should ? "should" : "must", "scope", a->scope);
    json_t *which = NULL;
    int rc;
    if (rule == NULL)
        return err_set(err, ERR_INVALID, "the rule's name or type is not UTF-8");
    if ((rc = set_number(rule, "--weight", a->weight, err)) < 0 ||
        (rc = set_number(rule, "--level", a->level, err)) < 0 ||
        (rc = set_number(rule, "--minimum", a->minimum, err)) < 0 ||
        (rc = a->vms != NULL ? vms_of(cli, a->vms, &which, err) : tags_of(a->select, &which, err)) <
            0)
        return rc;
    json_object_set_new(rule, a->vms != NULL ? "vms" : "select", which);
    if (a->hosts != NULL)
        json_object_set_new(rule, "hosts", args_list(a->hosts));
    *ret = json_pack("{s:s, s:O}", "type", "rule-add", "rule", rule);
    return 0;
}

static int check_args(const struct cli *cli, const struct rule_args *a)
{
    if (a->type == NULL)
        return cli_usage(cli, "--type is missing");
    if ((a->vms == NULL) == (a->select == NULL))
        return cli_usage(cli, "wants --vms or --select");
    return 0;
}

static int cmd_rule_add(int argc, char **argv)
{
    struct rule_args args = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(args.sign),
                                         {"type", '\0', NULL, &args.type},
                                         {"vms", '\0', NULL, &args.vms},
                                         {"select", '\0', NULL, &args.select},
                                         {"hosts", '\0', NULL, &args.hosts},
                                         {"should", '\0', &args.should, NULL},
                                         {"weight", '\0', NULL, &args.weight},
                                         {"scope", '\0', NULL, &args.scope},
                                         {"level", '\0', NULL, &args.level},
                                         {"minimum", '\0', NULL, &args.minimum},
                                         {"dry-run", '\0', &args.dry_run, NULL},
                                         {0}};
    struct cli cli = {.command = "rule add", .help = add_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    json_t *command = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = check_args(&cli, &args)) != 0 ||
        (!args.dry_run && (rc = sign_check(&cli, &args.sign)) != 0))
        return rc;
    if (rule_of(&cli, &args, &command, &err) < 0)
        return cli_failed(&err);
    if (args.dry_run) {
        host_order_dry_run(command);
        json_decref(command);
        return 0;
    }
    if (sign_command(&cli, &args.sign, command, "/v1/rules", &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    return 0;
}

/* ---- remove ---- */

static const char remove_help[] =
    "usage: skein rule remove --key FILE [--cert FILE] [--reason TEXT] NAME\n"
    "\n"
    "Take a rule back: no later plan is held to it. Operators and admins may.\n"
    "\n" SIGN_HELP "\n"
    "Examples:\n"
    "  skein rule remove --key olga.key --reason \"one database now\" db-apart\n";

static int cmd_rule_remove(int argc, char **argv)
{
    struct sign_args sign = {0};
    const struct cli_option options[] = {SIGN_OPTIONS(sign), {0}};
    struct cli cli = {.command = "rule remove", .help = remove_help, .formats = CLI_JSON};
    _cleanup_json_ json_t *answer = NULL;
    struct err err = {0};
    int rc = cli_parse(&cli, argc, argv, options, 1, 1);
    if (rc != CLI_GO || (rc = sign_check(&cli, &sign)) != 0)
        return rc;
    json_t *command = json_pack("{s:s, s:s}", "type", "rule-remove", "rule", cli.operands[0]);
    if (command == NULL)
        return cli_usage(&cli, "the rule's name is not UTF-8");
    if (sign_command(&cli, &sign, command, "/v1/rules", &answer, &err) < 0)
        return cli_failed(&err);
    if (cli.format == CLI_JSON)
        cli_print_json(answer);
    return 0;
}

int cmd_rule(int argc, char **argv)
{
    static const struct command commands[] = {
        {"list", "the rules of the cluster", cmd_rule_list},
        {"add", "sign a rule that every plan keeps", cmd_rule_add},
        {"remove", "take one back", cmd_rule_remove},
    };
    return commands_run("skein rule", commands, ARRAY_SIZE(commands), NULL, argc, argv);
}
