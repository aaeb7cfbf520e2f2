#include "proto/gates.h"

#include <stdio.h>

#define APPROVALS_DEFAULT 1
#define OVERRUN_MINUTES_MAX 1440
#define SECONDS_MAX (7 * 86400)
#define HOOK_SECONDS_DEFAULT 5

static const char *const known[] = {"name",
                                    "classes",
                                    "hosts",
                                    "tags",
                                    "min_actions",
                                    "approvers",
                                    "people",
                                    "orders",
                                    "ticket",
                                    "windows",
                                    "overrun_minutes",
                                    "canary",
                                    "soak_seconds",
                                    "notice_seconds",
                                    "hook",
                                    "hook_seconds",
                                    NULL};

static int check_members(const json_t *o, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] != NULL)
            continue;
        const char *near = nearest_word(key, known);
        return err_set(err, ERR_INVALID, "\"%.40s\" is unknown%s%s%s", key,
                       near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                       near != NULL ? "\"?" : "");
    }
    return 0;
}

static int read_text(const json_t *o, const char *key, char **ret, struct err *err)
{
    const json_t *v = json_object_get(o, key);
    const char *text = json_string_value(v);
    if (v == NULL)
        return 0;
    if (text == NULL || text[0] == '\0' || strlen(text) > GATES_TEXT_MAX)
        return err_set(err, ERR_INVALID, "\"%s\" is not a text of 1 to %d bytes", key,
                       GATES_TEXT_MAX);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(err, ERR_INVALID, "\"%s\" has a control character", key);
    *ret = xstrdup(text);
    return 0;
}

static int read_number(const json_t *o, const char *key, int64_t least, int64_t max, int64_t absent,
                       int64_t *ret, struct err *err)
{
    const json_t *v = json_object_get(o, key);
    *ret = absent;
    if (v == NULL)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > max)
        return err_set(err, ERR_INVALID, "\"%s\" is not a whole number from %lld to %lld", key,
                       (long long)least, (long long)max);
    *ret = json_integer_value(v);
    return 0;
}

static int read_list(const json_t *o, const char *key, size_t max, char ***ret, struct err *err)
{
    const json_t *list = json_object_get(o, key);
    size_t n = json_array_size(list);
    if (list == NULL)
        return 0;
    if (n < 1 || n > max) /* an empty one would match everything, or nothing: say what you mean */
        return err_set(err, ERR_INVALID, "\"%s\" is not a list of 1 to %zu", key, max);
    char **texts = xcalloc(n + 1, sizeof *texts);
    *ret = texts;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text == NULL || text[0] == '\0' || strlen(text) > GATES_TEXT_MAX)
            return err_set(err, ERR_INVALID, "\"%s\"[%zu] is not a name", key, i);
        texts[i] = xstrdup(text);
    }
    return 0;
}

static int read_tags(const json_t *o, struct gate_rule *r, struct err *err)
{
    json_t *tags = json_object_get(o, "tags"), *value;
    const char *key;
    if (tags == NULL)
        return 0;
    if (!json_is_object(tags) || json_object_size(tags) < 1 ||
        json_object_size(tags) > GATES_LIST_MAX)
        return err_set(err, ERR_INVALID, "\"tags\" is not an object with 1 to %d members",
                       GATES_LIST_MAX);
    r->tags = xcalloc(json_object_size(tags), sizeof *r->tags);
    json_object_foreach(tags, key, value)
    {
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "\"tags\".\"%.40s\" is not a text", key);
        r->tags[r->n_tags++] = (struct gate_tag){xstrdup(key), xstrdup(json_string_value(value))};
    }
    return 0;
}

static int read_windows(const json_t *o, struct gate_rule *r, struct err *err)
{
    char **texts = NULL;
    int64_t overrun;
    int rc = read_list(o, "windows", GATES_WINDOWS_MAX, &texts, err);
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        if (rc == 0)
            rc = window_parse(texts[i], &r->windows[r->n_windows++], err);
        free(texts[i]);
    }
    free(texts);
    if (rc == 0)
        rc = read_number(o, "overrun_minutes", 0, OVERRUN_MINUTES_MAX, 0, &overrun, err);
    if (rc < 0)
        return rc;
    r->overrun = overrun * 60000;
    if (r->overrun > 0 && r->n_windows == 0)
        return err_set(err, ERR_INVALID, "\"overrun_minutes\" without \"windows\"");
    return 0;
}

static int read_ticket(const json_t *o, struct gate_rule *r, struct err *err)
{
    if (read_text(o, "ticket", &r->ticket, err) < 0)
        return -(int)err->code;
    if (r->ticket == NULL)
        return 0;
    _cleanup_(freep) char *whole = xasprintf("^(%s)$", r->ticket);
    if (regcomp(&r->ticket_regex, whole, REG_EXTENDED | REG_NOSUB) != 0) {
        free(TAKE_PTR(r->ticket)); /* there is nothing to free of the expression */
        return err_set(err, ERR_INVALID, "\"ticket\" is not a regular expression");
    }
    return 0;
}

static int read_approvals(const json_t *o, struct gate_rule *r, struct err *err)
{
    const json_t *orders = json_object_get(o, "orders");
    int64_t approvers;
    if (read_number(o, "approvers", 1, GATES_APPROVERS_MAX, APPROVALS_DEFAULT, &approvers, err) <
            0 ||
        read_list(o, "people", GATES_LIST_MAX, &r->people, err) < 0 || read_ticket(o, r, err) < 0)
        return -(int)err->code;
    r->approvers = (unsigned)approvers;
    size_t n = 0;
    while (r->people != NULL && r->people[n] != NULL)
        n++;
    if (n > 0 && n < r->approvers)
        return err_set(err, ERR_INVALID, "\"approvers\" is %u, but \"people\" names %zu",
                       r->approvers, n);
    if (orders != NULL && !json_is_boolean(orders))
        return err_set(err, ERR_INVALID, "\"orders\" is neither true nor false");
    bool asks = json_object_get(o, "approvers") != NULL || n > 0 || r->ticket != NULL;
    r->orders = orders != NULL ? json_is_true(orders) : !asks;
    return 0;
}

static int read_canary(const json_t *o, struct gate_rule *r, struct err *err)
{
    int64_t canary, soak;
    if (read_number(o, "canary", 1, 1000, 0, &canary, err) < 0 ||
        read_number(o, "soak_seconds", 0, SECONDS_MAX, 0, &soak, err) < 0)
        return -(int)err->code;
    r->canary = (unsigned)canary;
    r->soak = soak * 1000;
    if (r->soak > 0 && r->canary == 0)
        return err_set(err, ERR_INVALID, "\"soak_seconds\" without \"canary\"");
    return 0;
}

/* A program's name, never a path: what runs on hosts, their own root put there. */
static bool hook_ok(const char *hook)
{
    if (strncmp(hook, "https://", 8) == 0 || strncmp(hook, "http://", 7) == 0)
        return true;
    return hook[0] != '.' &&
           hook[strspn(hook, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789._-")] == '\0';
}

static int read_hook(const json_t *o, struct gate_rule *r, struct err *err)
{
    int64_t notice, patience;
    if (read_text(o, "hook", &r->hook, err) < 0 ||
        read_number(o, "notice_seconds", 1, SECONDS_MAX, 0, &notice, err) < 0 ||
        read_number(o, "hook_seconds", 1, GATES_HOOK_SECONDS_MAX, HOOK_SECONDS_DEFAULT, &patience,
                    err) < 0)
        return -(int)err->code;
    if (r->hook != NULL && !hook_ok(r->hook))
        return err_set(err, ERR_INVALID, "\"hook\" is neither a program's name nor an http(s) URL");
    if (r->hook == NULL && json_object_get(o, "hook_seconds") != NULL)
        return err_set(err, ERR_INVALID, "\"hook_seconds\" without \"hook\"");
    r->notice = notice * 1000;
    r->hook_patience = patience * 1000;
    return 0;
}

static int read_rule(const json_t *o, struct gate_rule *r, struct err *err)
{
    int64_t min_actions;
    if (!json_is_object(o))
        return err_set(err, ERR_INVALID, "not an object");
    if (check_members(o, err) < 0 || read_text(o, "name", &r->name, err) < 0)
        return -(int)err->code;
    if (r->name == NULL)
        return err_set(err, ERR_INVALID, "\"name\" is missing");
    if (read_list(o, "classes", GATES_LIST_MAX, &r->classes, err) < 0 ||
        read_list(o, "hosts", GATES_LIST_MAX, &r->hosts, err) < 0 || read_tags(o, r, err) < 0 ||
        read_number(o, "min_actions", 1, 1000, 0, &min_actions, err) < 0 ||
        read_approvals(o, r, err) < 0 || read_windows(o, r, err) < 0 ||
        read_canary(o, r, err) < 0 || read_hook(o, r, err) < 0)
        return -(int)err->code;
    r->min_actions = (unsigned)min_actions;
    return 0;
}

static bool name_is_taken(const struct gate_rules *rules)
{
    for (size_t i = 0; i + 1 < rules->n; i++)
        if (strcmp(rules->rules[i].name, rules->rules[rules->n - 1].name) == 0)
            return true;
    return false;
}

int gate_rules_read(const json_t *list, struct gate_rules **ret, struct err *err)
{
    _cleanup_(gate_rules_freep) struct gate_rules *rules = xcalloc(1, sizeof *rules);
    size_t n = json_array_size(list);
    if (list != NULL && (!json_is_array(list) || n > GATES_MAX))
        return err_set(err, ERR_INVALID, "gates: not a list of at most %d rules", GATES_MAX);
    rules->rules = xcalloc(n, sizeof *rules->rules);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(o, "name"));
        rules->n++;
        if (read_rule(o, &rules->rules[i], err) < 0)
            return err_wrap(err, "gates: rule %zu (%.64s)", i + 1, name != NULL ? name : "no name");
        if (name_is_taken(rules))
            return err_set(err, ERR_INVALID, "gates: there are two rules %s", name);
    }
    *ret = TAKE_PTR(rules);
    return 0;
}

static void free_list(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free(list[i]);
    free(list);
}

void gate_rules_free(struct gate_rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->n; i++) {
        struct gate_rule *r = &rules->rules[i];
        free_list(r->classes);
        free_list(r->hosts);
        free_list(r->people);
        for (size_t k = 0; k < r->n_tags; k++) {
            free(r->tags[k].key);
            free(r->tags[k].value);
        }
        free(r->tags);
        if (r->ticket != NULL)
            regfree(&r->ticket_regex);
        free(r->ticket);
        free(r->hook);
        free(r->name);
    }
    free(rules->rules);
    free(rules);
}

static bool is_in(char *const *list, const char *word)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return list == NULL;
}

bool gate_rule_names_class(const struct gate_rule *rule, const char *class)
{
    return is_in(rule->classes, class);
}

bool gate_rule_names_person(const struct gate_rule *rule, const char *person)
{
    return is_in(rule->people, person);
}

bool gate_rule_names_host(const struct gate_rule *rule, const char *host)
{
    for (size_t i = 0; rule->hosts != NULL && rule->hosts[i] != NULL; i++) {
        const char *pattern = rule->hosts[i];
        size_t len = strlen(pattern);
        bool prefix = pattern[len - 1] == '*';
        if (prefix ? strncmp(pattern, host, len - 1) == 0 : strcmp(pattern, host) == 0)
            return true;
    }
    return rule->hosts == NULL;
}

bool gate_rule_takes_ticket(const struct gate_rule *rule, const char *ticket)
{
    if (rule->ticket == NULL)
        return true;
    return ticket[0] != '\0' && regexec(&rule->ticket_regex, ticket, 0, NULL, 0) == 0;
}

bool gate_rule_open(const struct gate_rule *rule, bool begun, msec wall)
{
    msec since = begun ? rule->overrun : 0;
    for (msec ago = 0; ago <= since; ago += 60000) /* windows begin and end with minutes */
        if (window_open(rule->windows, rule->n_windows, sat_sub(wall, ago)))
            return true;
    return false;
}
